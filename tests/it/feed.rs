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

/// A table's past: what is done to it, and what every snapshot made of it. Its rows are looked at when
/// they are new: files that one engine has left, the other may still read wrong in an earlier version
/// after it has moved deletes of them.
struct Past<'a> {
    path: &'a Path,
    duck: DuckDb,
    states: Vec<State>,
    done: Vec<String>,
}

impl Past<'_> {
    fn work(&mut self, rng: &mut Rng, step: i64) {
        let is_ours = rng.u8(..3) > 0;
        let mut statements: Vec<String> = match rng.u8(..8) {
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
        self.done.push(format!("{}: {text}", if is_ours { "ours" } else { "theirs" }));
        if is_ours {
            sql(self.path, &text);
            statements.clear();
        }
        statements.push("SELECT rowid, id, v FROM t".into());
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        let rows = self.duck.all(&statements).pop().unwrap();
        let number = |text: &Option<String>| text.as_ref().unwrap().parse::<i64>().unwrap();
        let row = |row: &Vec<Option<String>>| (number(&row[0]), (number(&row[1]), number(&row[2])));
        let state: State = rows.iter().map(row).collect();
        assert_eq!(state.len(), rows.len(), "row ids are given once\n{}", self.done());
        let newest = sql(self.path, "SELECT max(snapshot_id) FROM snapshots()");
        self.states.resize(newest.trim().parse().unwrap(), state);
    }

    fn done(&self) -> String {
        self.done.join("\n")
    }

    fn newest(&self) -> i64 {
        self.states.len().try_into().unwrap()
    }

    /// Every version is what it was when it was the newest.
    fn check_versions(&self) {
        for (version, state) in (1..).zip(&self.states) {
            let rows = format!("SELECT id, v FROM t AT (VERSION => {version}) ORDER BY id, v");
            let mut then: Vec<(i64, i64)> = state.values().copied().collect();
            then.sort_unstable();
            let then: String = then.iter().map(|(id, v)| format!("{id},{v}\n")).collect();
            assert_eq!(sql(self.path, &rows), then, "version {version}\n{}", self.done());
        }
    }

    fn check_changes(&self, first: i64, last: i64) {
        let told = format!(
            "SELECT snapshot_id, rowid, change_type, id, v FROM table_changes('t', {first}, {last})"
        );
        let told = lines(&sql(self.path, &told));
        let expected = expected(&self.states, first, last);
        let missing: Vec<&String> = expected.difference(&told).take(5).collect();
        let wrong: Vec<&String> = told.difference(&expected).take(5).collect();
        assert!(
            missing.is_empty() && wrong.is_empty(),
            "from {first} to {last}: not told {missing:?}, told {wrong:?}\n{}",
            self.done()
        );
        // Its halves, by one column and on a condition.
        let half = |function, images: [&str; 2]| {
            let ids = format!("SELECT rowid FROM {function}('t', {first}, {last}) WHERE v > 1000");
            let ids = sql(self.path, &ids);
            let mut ids: Vec<i64> = ids.lines().map(|id| id.parse().unwrap()).collect();
            let parts = expected.iter().map(|line| line.split(',').collect::<Vec<_>>());
            let parts = parts.filter(|parts| images.contains(&parts[2]));
            let parts = parts.filter(|parts| parts[4].parse::<i64>().unwrap() > 1000);
            let mut wanted: Vec<i64> = parts.map(|parts| parts[1].parse().unwrap()).collect();
            ids.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(ids, wanted, "{function} from {first} to {last}\n{}", self.done());
        };
        half("table_insertions", ["insert", "update_postimage"]);
        half("table_deletions", ["delete", "update_preimage"]);
    }
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
        let states = vec![State::new()];
        let mut past = Past { path: &path, duck, states, done: vec![] };
        (1..=16).for_each(|step| past.work(&mut rng, step));
        past.check_versions();
        let newest = past.newest();
        past.check_changes(1, newest);
        for _ in 0..4 {
            let first = rng.i64(1..=newest);
            past.check_changes(first, rng.i64(first..=newest));
        }
    }
}
