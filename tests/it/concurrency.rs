//! Several processes, and several sessions of one, on one warehouse at once.
//!
//! `GOTGAN_PROCESSES` says how many of them replace tables, and `GOTGAN_COMMITS` how often each of
//! them, and of those that append, does it.

use std::collections::BTreeSet;
use std::time::Instant;

use gotgan::Warehouse;

use crate::faults::one;
use crate::support::{Kind, gotgan, on_each_catalog, query, scratch, sql};

on_each_catalog!(
    appends_of_many_processes_all_arrive,
    one_of_many_creates_a_table_and_the_others_are_told,
    processes_replace_their_own_tables,
    updates_of_one_row_are_all_made,
    many_sessions_of_one_process_write_at_once,
    readers_see_each_row_once_while_rows_are_flushed,
);

/// A number that the environment may raise.
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn appends_of_many_processes_all_arrive(kind: Kind) {
    let (processes, commits) = (8, number("GOTGAN_COMMITS", 4));
    let lake = kind.lake();
    sql(&lake, "CREATE TABLE t (process INT, n INT)");
    let start = Instant::now();
    std::thread::scope(|scope| {
        for process in 0..processes {
            let lake = &lake;
            scope.spawn(move || {
                for n in 0..commits {
                    sql(lake, &format!("INSERT INTO t VALUES ({process}, {n})"));
                }
            });
        }
    });
    let (all, takes) = (processes * commits, start.elapsed().as_secs_f64());
    println!("{processes} processes appended {all} times to one table in {takes:.1} s");
    let distinct = format!("SELECT count(*), count(DISTINCT process * {commits} + n) FROM t");
    assert_eq!(sql(&lake, &distinct), format!("{all},{all}\n"));
    let snapshots = "SELECT max(snapshot_id), count(*) FROM snapshots()";
    assert_eq!(sql(&lake, snapshots), format!("{},{}\n", all + 1, all + 2));
}

fn one_of_many_creates_a_table_and_the_others_are_told(kind: Kind) {
    let lake = kind.lake();
    let codes: Vec<Option<i32>> = std::thread::scope(|scope| {
        let create = |n: i32| {
            let lake = &lake;
            scope.spawn(move || query(lake, &format!("CREATE TABLE t AS SELECT {n} AS a")).run())
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
    let values: BTreeSet<String> = sql(&lake, "FROM t").lines().map(str::to_owned).collect();
    assert_eq!(values.len(), 1);
}

fn processes_replace_their_own_tables(kind: Kind) {
    let (processes, commits) = (number("GOTGAN_PROCESSES", 8), number("GOTGAN_COMMITS", 4));
    let lake = kind.lake();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for process in 0..processes {
            let lake = &lake;
            scope.spawn(move || {
                for n in 0..commits {
                    let select = format!("SELECT {n} AS n FROM generate_series(1, 20)");
                    sql(lake, &format!("CREATE OR REPLACE TABLE t{process} AS {select}"));
                }
            });
        }
    });
    let (all, takes) = (processes * commits, start.elapsed().as_secs_f64());
    println!("{processes} processes replaced tables {all} times in {takes:.1} s");
    let newest = commits - 1;
    for process in 0..processes {
        let found = sql(&lake, &format!("SELECT min(n), max(n), count(*) FROM t{process}"));
        assert_eq!(found, format!("{newest},{newest},20\n"));
    }
    let snapshots = "SELECT max(snapshot_id), count(*) FROM snapshots()";
    assert_eq!(sql(&lake, snapshots), format!("{all},{}\n", all + 1));
}

/// Each reads what the others left: a statement that was overtaken is run again.
fn updates_of_one_row_are_all_made(kind: Kind) {
    let lake = kind.lake();
    sql(&lake, "CREATE TABLE t AS SELECT 1 AS id, 0 AS n UNION ALL SELECT 2, 0");
    std::thread::scope(|scope| {
        for process in 0..6 {
            let lake = &lake;
            scope.spawn(move || {
                for _ in 0..4 {
                    sql(lake, "UPDATE t SET n = n + 1 WHERE id = 1");
                    sql(lake, &format!("INSERT INTO t VALUES ({}, 0)", 10 + process));
                }
            });
        }
    });
    assert_eq!(sql(&lake, "SELECT n FROM t WHERE id = 1"), "24\n");
    assert_eq!(sql(&lake, "SELECT count(*), count(DISTINCT id) FROM t"), "26,8\n");
    // Inside of a transaction the loser is told.
    let two = "BEGIN; UPDATE t SET n = 100 WHERE id = 1; SELECT count(*) FROM t; COMMIT";
    sql(&lake, two);
    assert_eq!(sql(&lake, "SELECT n FROM t WHERE id = 1"), "100\n");
}

/// More of them than a server or a pool has connections for.
fn many_sessions_of_one_process_write_at_once(kind: Kind) {
    let lake = kind.lake();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        warehouse.session().sql("CREATE TABLE t (session INT, n INT)").await.unwrap();
        let write = |session: i32| {
            let warehouse = warehouse.clone();
            tokio::spawn(async move {
                for n in 0..3 {
                    let insert = format!("INSERT INTO t VALUES ({session}, {n})");
                    warehouse.session().sql(&insert).await.unwrap();
                }
            })
        };
        let writes: Vec<_> = (0..32).map(write).collect();
        for write in writes {
            write.await.unwrap();
        }
    });
    assert_eq!(sql(&lake, "SELECT count(*), count(DISTINCT session * 3 + n) FROM t"), "96,96\n");
    assert_eq!(sql(&lake, "SELECT max(snapshot_id) FROM snapshots()"), "97\n");
}

/// Rows move from the catalog into files while they are read there and here.
fn readers_see_each_row_once_while_rows_are_flushed(kind: Kind) {
    let lake = kind.lake();
    let rounds = 20 * number("GOTGAN_COMMITS", 4);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        warehouse.session().sql("CREATE TABLE t (n INT)").await.unwrap();
        let writing = warehouse.clone();
        let write = tokio::spawn(async move {
            let mut session = writing.session();
            for _ in 0..rounds {
                session.sql("INSERT INTO t VALUES (1), (2), (3)").await.unwrap();
                session.sql("CALL flush_inlined_data()").await.unwrap();
            }
        });
        let (mut last, mut reads) = (0, 0);
        while !write.is_finished() {
            // Not answered from what is known of files without their rows.
            let count = "SELECT count(*) FROM t WHERE n > 0";
            let rows: i64 = one(&mut warehouse.session(), count).await.parse().unwrap();
            assert!(rows % 3 == 0 && rows >= last, "{rows} rows after {last}");
            (last, reads) = (rows, reads + 1);
        }
        write.await.unwrap();
        println!("read {reads} times while rows were flushed {rounds} times");
    });
    assert_eq!(
        sql(&lake, "SELECT count(*), sum(n) FROM t"),
        format!("{},{}\n", 3 * rounds, 6 * rounds)
    );
}

#[test]
fn a_warehouse_is_created_once() {
    let Some(server) = crate::services::postgres() else {
        return;
    };
    let (location, scratch) = (server.schema(), scratch());
    let data = scratch.path().join("data").display().to_string();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let args =
                [&location, "--data-path", &data, "-c", &format!("CREATE TABLE t{n} (a INT)")];
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            scope.spawn(move || gotgan(args).run().ok());
        }
    });
    assert_eq!(sql(&location, "SELECT max(snapshot_id) FROM snapshots()"), "8\n");
}
