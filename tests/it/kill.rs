//! A process that is killed while it works, at any moment: afterwards there is what was there before
//! or what was to be there, the next one goes on from it, and in the end nothing is wrong with the
//! catalog and its files.
//!
//! `GOTGAN_KILL_ROUNDS` says how many of them there are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::services::python;
use crate::support::{Kind, Lake, on_each_catalog, query, sql};
use crate::weave::engines;

on_each_catalog!(a_process_may_be_killed_at_any_moment);

/// What `t` contains: `n` by `i`.
type Rows = BTreeMap<i64, i64>;

/// As many rounds as take a few seconds.
const ROUNDS: i64 = 40;

fn a_process_may_be_killed_at_any_moment(kind: Kind) {
    let Some(python) = python() else { return };
    let rounds = std::env::var("GOTGAN_KILL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let (lake, mut duck) = engines::beside(kind, &python);
    sql(&lake, "CREATE TABLE t AS SELECT value AS i, 0 AS n FROM generate_series(1, 500)");
    sql(&lake, "INSERT INTO t SELECT value, 0 FROM generate_series(501, 1000)");
    let mut rows: Rows = (1..=1000).map(|i| (i, 0)).collect();
    // How long each kind of work takes, once it was left to end on its own.
    let mut takes: [Option<Duration>; KINDS] = [None; KINDS];
    let (mut killed, mut changes, mut made) = (0, 0, 0);
    for round in 1..=rounds {
        let kind = rng.usize(..KINDS);
        let (statement, new) = change(&rows, kind, round);
        let start = Instant::now();
        let mut process = query(&lake, &statement).spawn();
        let moment = takes[kind].filter(|_| rng.u8(..8) > 0);
        match moment {
            None => {
                process.wait().unwrap();
                takes[kind] = Some(start.elapsed());
            }
            Some(takes) => {
                std::thread::sleep(takes.mul_f64(rng.f64() * 1.2));
                let _ = process.kill();
                process.wait().unwrap();
            }
        }
        let found = sum(&lake);
        let (is_old, is_new) = (found == expected(&rows), found == expected(&new));
        let may_be_old = is_old && moment.is_some();
        assert!(is_new || may_be_old, "round {round}: {statement}: {found}");
        if moment.is_some() {
            killed += 1;
            changes += u32::from(rows != new);
            made += u32::from(rows != new && is_new);
        }
        if is_new {
            rows = new;
        }
    }
    // Every snapshot that is left can be read.
    let ids = sql(&lake, "SELECT snapshot_id FROM snapshots() WHERE snapshot_id > 0");
    let reads = ids.lines().map(|id| format!("SELECT sum(n) FROM t AT (VERSION => {id}); "));
    sql(&lake, &reads.collect::<String>());
    // Of files that a killed process has deleted the catalog may still say that they are to be.
    sql(&lake, "CALL cleanup_old_files(cleanup_all => true)");
    sql(&lake, "CALL delete_orphaned_files(cleanup_all => true)");
    duck.attach_again();
    assert_eq!(duck.violations(), Ok(vec![]));
    println!(
        "{rounds} rounds: {killed} processes were killed at work, {changes} of them while they \
         changed rows: {made} had done so, the others had not, none in part"
    );
}

/// Kinds of work.
const KINDS: usize = 9;

/// Statements of a kind, and what they make of the rows.
fn change(rows: &Rows, kind: usize, round: i64) -> (String, Rows) {
    let mut new = rows.clone();
    let statement = match kind {
        0 => {
            let changed = new.iter_mut().filter(|(i, _)| *i % 3 == round % 3);
            changed.for_each(|(_, n)| *n = round);
            format!("UPDATE t SET n = {round} WHERE i % 3 = {}", round % 3)
        }
        1 => {
            new.retain(|i, _| i % 17 != round % 17);
            format!("DELETE FROM t WHERE i % 17 = {}", round % 17)
        }
        2 => {
            new.extend((round..round + 900).map(|i| (i, -round)));
            let last = round + 899;
            let source = format!("SELECT value AS i FROM generate_series({round}, {last})");
            format!(
                "MERGE INTO t USING ({source}) AS s ON t.i = s.i \
                 WHEN MATCHED THEN UPDATE SET n = -{round} \
                 WHEN NOT MATCHED THEN INSERT VALUES (s.i, -{round})"
            )
        }
        3 => {
            new.values_mut().for_each(|n| *n += round);
            format!("CREATE OR REPLACE TABLE t AS SELECT i, n + {round} AS n FROM t")
        }
        // One row, which the catalog keeps.
        4 => {
            new.insert(10_000 + round, round);
            format!("INSERT INTO t VALUES ({}, {round})", 10_000 + round)
        }
        5 => "CALL flush_inlined_data('t')".to_owned(),
        6 => "CALL merge_adjacent_files('t')".to_owned(),
        7 => "CALL rewrite_data_files('t', delete_threshold => 0)".to_owned(),
        _ => "CALL expire_snapshots(older_than => now()); \
              CALL cleanup_old_files(cleanup_all => true)"
            .to_owned(),
    };
    (statement, new)
}

fn sum(lake: &Lake) -> String {
    sql(lake, "SELECT count(*), count(DISTINCT i), sum(i), sum(n), sum(i * n) FROM t")
}

fn expected(rows: &Rows) -> String {
    let (count, i) = (rows.len(), rows.keys().sum::<i64>());
    let (n, product) = (rows.values().sum::<i64>(), rows.iter().map(|(i, n)| i * n).sum::<i64>());
    format!("{count},{count},{i},{n},{product}\n")
}
