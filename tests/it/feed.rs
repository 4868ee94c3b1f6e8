//! The change feed: what it tells of a snapshot is the difference to the one before, row by row, as
//! time travel shows both and with the row ids that DuckDB tells, whoever did the work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fastrand::Rng;

use crate::duckdb::{DuckDb, duckdb};
use crate::support::{scratch, sql};

/// A row's id, and its values.
type State = BTreeMap<i64, (i64, i64)>;

/// What both engines take.
fn change(rng: &mut Rng, step: i64) -> String {
    let (modulus, rest) = (rng.i64(2..9), rng.i64(0..9));
    match rng.u8(..6) {
        0 => {
            let first = step * 100;
            let last = first + rng.i64(0..5);
            insert(step, first, last)
        }
        1 | 2 => insert(step, step * 100, step * 100 + rng.i64(20..60)),
        3 => format!("UPDATE t SET v = v + 1000 WHERE id % {modulus} = {}", rest % modulus),
        4 => format!("UPDATE t SET v = v + 1000 WHERE id >= {}", step * 100 - 150),
        _ => format!("DELETE FROM t WHERE id % {modulus} = {}", rest % modulus),
    }
}

fn insert(step: i64, first: i64, last: i64) -> String {
    format!("INSERT INTO t SELECT r, {step} FROM generate_series({first}, {last}) AS s(r)")
}

/// Several changes at once; some rows change more than once.
fn several(rng: &mut Rng, step: i64) -> Vec<String> {
    let rest = rng.i64(0..5);
    let mut all = vec![
        "BEGIN".to_owned(),
        format!("UPDATE t SET v = v + 1 WHERE id % 5 = {rest}"),
        format!("UPDATE t SET v = v + 1 WHERE id % 10 = {rest}"),
        format!("DELETE FROM t WHERE id % 20 = {rest}"),
    ];
    if rng.bool() {
        all.push(insert(step, step * 100, step * 100 + rng.i64(2..40)));
    }
    all.push("COMMIT".to_owned());
    all
}

const OUR_UPKEEP: [&str; 4] = [
    "CALL flush_inlined_data('t')",
    "CALL merge_adjacent_files('t')",
    "CALL rewrite_data_files('t', delete_threshold => 0)",
    "CHECKPOINT",
];
const THEIR_UPKEEP: [&str; 3] = [
    "CALL ducklake_flush_inlined_data('lake')",
    "CALL ducklake_merge_adjacent_files('lake')",
    "CALL ducklake_rewrite_data_files('lake', 't', delete_threshold => 0)",
];

fn work(path: &Path, duck: &DuckDb, rng: &mut Rng, step: i64) -> String {
    let is_ours = rng.u8(..3) > 0;
    let statements: Vec<String> = match rng.u8(..8) {
        0..4 => vec![change(rng, step)],
        4 => several(rng, step),
        5 if is_ours => vec![
            "BEGIN".into(),
            insert(step, step * 100, step * 100 + 30),
            format!("UPDATE t SET v = -v WHERE id >= {}", step * 100 + 20),
            format!("DELETE FROM t WHERE id = {} OR id % 7 = 0", step * 100 + 25),
            "COMMIT".into(),
        ],
        _ if is_ours => vec![rng.choice(OUR_UPKEEP).unwrap().to_owned()],
        _ => vec![rng.choice(THEIR_UPKEEP).unwrap().to_owned()],
    };
    let text = statements.join("; ");
    match is_ours {
        true => drop(sql(path, &text)),
        false => drop(duck.all(&statements.iter().map(String::as_str).collect::<Vec<_>>())),
    }
    format!("{}: {text}", if is_ours { "ours" } else { "theirs" })
}

/// The table as of each snapshot from the first one on.
fn states(path: &Path, duck: &DuckDb, newest: i64, done: &[String]) -> Vec<State> {
    let at = |version, columns| format!("SELECT {columns} FROM t AT (VERSION => {version})");
    let queries: Vec<String> = (1..=newest).map(|v| at(v, "rowid, id, v")).collect();
    let answers = duck.all(&queries.iter().map(String::as_str).collect::<Vec<_>>());
    let number = |text: &Option<String>| text.as_ref().unwrap().parse::<i64>().unwrap();
    let states = answers.iter().zip(1..).map(|(rows, version)| {
        let row = |row: &Vec<Option<String>>| {
            (number(&row[0]), (number(&row[1]), number(&row[2])))
        };
        let state: State = rows.iter().map(row).collect();
        assert_eq!(state.len(), rows.len(), "row ids at {version}\n{}", done.join("\n"));
        state
    });
    let states: Vec<State> = states.collect();
    for (version, state) in (1..).zip(&states) {
        let ours = sql(path, &format!("{} ORDER BY id, v", at(version, "id, v")));
        let mut theirs: Vec<(i64, i64)> = state.values().copied().collect();
        theirs.sort_unstable();
        let theirs: String = theirs.iter().map(|(id, v)| format!("{id},{v}\n")).collect();
        assert_eq!(ours, theirs, "version {version}\n{}", done.join("\n"));
    }
    states
}

/// What the feed has to tell from one snapshot to another.
fn expected(states: &[State], first: i64, last: i64) -> BTreeSet<String> {
    let state = |version: i64| usize::try_from(version - 1).ok().and_then(|at| states.get(at));
    let none = State::new();
    let mut lines = BTreeSet::new();
    for snapshot in first..=last {
        let (before, after) = (state(snapshot - 1).unwrap_or(&none), state(snapshot).unwrap());
        let mut line = |rowid: &i64, kind: &str, (id, v): (i64, i64)| {
            lines.insert(format!("{snapshot},{rowid},{kind},{id},{v}"));
        };
        for (rowid, old) in before {
            match after.get(rowid) {
                None => line(rowid, "delete", *old),
                Some(new) if new != old => {
                    line(rowid, "update_preimage", *old);
                    line(rowid, "update_postimage", *new);
                }
                Some(_) => {}
            }
        }
        for (rowid, new) in after.iter().filter(|(rowid, _)| !before.contains_key(rowid)) {
            line(rowid, "insert", *new);
        }
    }
    lines
}

fn lines(text: &str) -> BTreeSet<String> {
    let lines: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), text.lines().count(), "each change is told once");
    lines
}

#[track_caller]
fn check(path: &Path, states: &[State], (first, last): (i64, i64), done: &[String]) {
    let told = format!(
        "SELECT snapshot_id, rowid, change_type, id, v FROM table_changes('t', {first}, {last})"
    );
    let (told, expected) = (lines(&sql(path, &told)), expected(states, first, last));
    let missing: Vec<&String> = expected.difference(&told).take(5).collect();
    let wrong: Vec<&String> = told.difference(&expected).take(5).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "from {first} to {last}: not told {missing:?}, told {wrong:?}\n{}",
        done.join("\n")
    );
    // Its halves, by one column and on a condition.
    let half = |function, images: [&str; 2]| {
        let ids = format!("SELECT rowid FROM {function}('t', {first}, {last}) WHERE v > 1000");
        let mut ids: Vec<i64> = sql(path, &ids).lines().map(|id| id.parse().unwrap()).collect();
        let parts = expected.iter().map(|line| line.split(',').collect::<Vec<_>>());
        let parts = parts.filter(|parts| images.contains(&parts[2]));
        let parts = parts.filter(|parts| parts[4].parse::<i64>().unwrap() > 1000);
        let mut wanted: Vec<i64> = parts.map(|parts| parts[1].parse().unwrap()).collect();
        ids.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(ids, wanted, "{function} from {first} to {last}\n{}", done.join("\n"));
    };
    half("table_insertions", ["insert", "update_postimage"]);
    half("table_deletions", ["delete", "update_preimage"]);
}

#[test]
fn what_a_snapshot_changed_is_the_difference_to_the_one_before() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("GOTGAN_FEED_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    for seed in first..first + number("GOTGAN_FEED_ROUNDS").unwrap_or(2) {
        println!("GOTGAN_FEED_SEED={seed} GOTGAN_FEED_ROUNDS=1");
        let mut rng = Rng::with_seed(seed);
        let dir = scratch();
        let path = dir.path().join("w");
        let Some(duck) = duckdb(&path) else { return };
        sql(&path, "CREATE TABLE t (id BIGINT, v BIGINT)");
        let done: Vec<String> = (1..=16).map(|step| work(&path, &duck, &mut rng, step)).collect();
        let newest = sql(&path, "SELECT max(snapshot_id) FROM snapshots()");
        let newest: i64 = newest.trim().parse().unwrap();
        let states = states(&path, &duck, newest, &done);
        check(&path, &states, (1, newest), &done);
        for _ in 0..4 {
            let first = rng.i64(1..=newest);
            check(&path, &states, (first, rng.i64(first..=newest)), &done);
        }
    }
}
