//! Several processes on one warehouse at once.

use std::collections::BTreeSet;

use crate::support::{query, scratch, sql};

#[test]
fn appends_of_many_processes_all_arrive() {
    let scratch = scratch();
    let path = scratch.path().join("c.wh");
    sql(&path, "CREATE TABLE t (process INT, n INT)");
    std::thread::scope(|scope| {
        for process in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for n in 0..5 {
                    sql(path, &format!("INSERT INTO t VALUES ({process}, {n})"));
                }
            });
        }
    });
    assert_eq!(sql(&path, "SELECT count(*), count(DISTINCT process * 5 + n) FROM t"), "40,40\n");
    assert_eq!(sql(&path, "SELECT max(snapshot_id), count(*) FROM snapshots()"), "41,42\n");
}

#[test]
fn one_of_many_creates_a_table_and_the_others_are_told() {
    let scratch = scratch();
    let path = scratch.path().join("c.wh");
    sql(&path, "SELECT 1");
    let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let create = |n: i32| {
            let path = &path;
            scope.spawn(move || query(path, &format!("CREATE TABLE t AS SELECT {n} AS a")).run())
        };
        let runs: Vec<_> = (0..6).map(create).collect();
        let runs = runs.into_iter().map(|run| run.join().unwrap());
        runs.map(|ran| {
            let told = ["already exists", "another transaction was first"];
            assert!(ran.code == Some(0) || told.iter().any(|t| ran.err.contains(t)), "{ran:?}");
            ran.code
        })
        .collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1);
    let values: BTreeSet<String> = sql(&path, "FROM t").lines().map(str::to_owned).collect();
    assert_eq!(values.len(), 1);
}
