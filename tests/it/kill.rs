//! A process that is killed while it writes, at any moment: afterwards there is what was there before
//! or what was to be there, and the next one goes on from it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::support::{Kind, Lake, on_each_catalog, query, sql};

on_each_catalog!(a_process_may_be_killed_at_any_moment);

/// What `t` contains: `n` by `i`.
type Rows = BTreeMap<i64, i64>;

fn a_process_may_be_killed_at_any_moment(kind: Kind) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let lake = kind.lake();
    sql(&lake, "CREATE TABLE t AS SELECT value AS i, 0 AS n FROM generate_series(1, 500)");
    sql(&lake, "INSERT INTO t SELECT value, 0 FROM generate_series(501, 1000)");
    let mut rows: Rows = (1..=1000).map(|i| (i, 0)).collect();
    let mut takes = Duration::from_millis(100);
    for round in 1..=60 {
        let (statement, new) = change(&rows, round);
        let start = Instant::now();
        let mut process = query(&lake, &statement).spawn();
        // Each sixth ends on its own, and tells how long that takes.
        let is_left = round % 6 == 0;
        if is_left {
            process.wait().unwrap();
            takes = start.elapsed();
        } else {
            std::thread::sleep(takes.mul_f64(rng.f64() * 1.2));
            let _ = process.kill();
            process.wait().unwrap();
        }
        let found = sum(&lake);
        let (is_old, is_new) = (found == expected(&rows), found == expected(&new));
        assert!(is_new || (is_old && !is_left), "round {round}: {statement}: {found}");
        if is_new {
            rows = new;
        }
    }
}

/// A statement, and what it makes of the rows.
fn change(rows: &Rows, round: i64) -> (String, Rows) {
    let mut new = rows.clone();
    let statement = match round % 4 {
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
        _ => {
            new.values_mut().for_each(|n| *n += round);
            format!("CREATE OR REPLACE TABLE t AS SELECT i, n + {round} AS n FROM t")
        }
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
