//! Rows that the catalog keeps go into files although nobody asks: the catalog stays small however
//! many processes write a row each, and whatever goes wrong is not their error.

use std::sync::Arc;

use gotgan::Warehouse;
use object_store::local::LocalFileSystem;

use crate::duckdb::duckdb;
use crate::faults::{Failing, one, runtime};
use crate::support::{Kind, Lake, files, on_each_catalog, scratch, sql};

on_each_catalog!(
    small_writes_of_many_processes_do_not_pile_up,
    a_flush_that_fails_is_not_the_writers_error,
    every_call_of_a_flush_may_fail,
);

/// Rows in the catalog from which on they are to go, in these tests.
const ENOUGH: u64 = 50;

/// How many commits may pass until one looks, and that many again for one that was not the first.
const UNTIL_ONE_LOOKS: u64 = 2 * 89;

/// How much the catalog keeps of `t`.
fn kept(lake: &Lake) -> u64 {
    let told = sql(lake, "CALL flush_inlined_data('t', dry_run => true)");
    told.trim().rsplit(',').next().map_or(0, |rows| rows.parse().unwrap_or(0))
}

fn small_writes_of_many_processes_do_not_pile_up(kind: Kind) {
    let lake = kind.lake();
    sql(&lake, "CREATE TABLE t (process INT, n INT)");
    sql(&lake, &format!("CALL set_option('gotgan_flush_rows', {ENOUGH})"));
    // Some write row after row, others one row each.
    let n_threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..n_threads {
            let lake = &lake;
            scope.spawn(move || {
                for round in 0..4 {
                    let process = thread * 100 + round;
                    let insert = |n| format!("INSERT INTO t VALUES ({process}, {n});");
                    sql(lake, &(0..24).map(insert).collect::<String>());
                    for n in 24..30 {
                        sql(lake, &insert(n));
                    }
                    let kept = kept(lake);
                    assert!(kept <= ENOUGH + n_threads * UNTIL_ONE_LOOKS, "{kept} rows are kept");
                }
            });
        }
    });
    let all = "SELECT count(*), count(DISTINCT process * 100 + n), sum(n) FROM t";
    assert_eq!(sql(&lake, all), "480,480,6960\n");
    let flushes = "SELECT count(*) FROM snapshots() \
                   WHERE map_extract(changes, 'flushed_inlined')[1] IS NOT NULL";
    let flushes: u64 = sql(&lake, flushes).trim().parse().unwrap();
    assert!(flushes >= 2, "{flushes} flushes");
    let found = files(&lake.data);
    assert_eq!(found.len() as u64, flushes, "a flush that was too late left a file: {found:?}");
}

#[test]
fn duckdb_reads_what_was_flushed_unasked() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t (a INT); CALL set_option('gotgan_flush_rows', 20)");
    let mut expected = 0;
    for n in 0..120 {
        sql(&path, &format!("INSERT INTO t VALUES ({n})"));
        expected += n;
        if n % 20 == 0 {
            let both = "SELECT count(*), sum(a) FROM t";
            assert_eq!(duck.text(both), format!("{},{expected}\n", n + 1));
        }
    }
    let inlined = "SELECT count(*) FROM ducklake_table_info('lake') WHERE file_count > 0";
    assert_eq!(duck.text(inlined), "1\n");
    assert_eq!(duck.text("SELECT count(*), count(DISTINCT rowid) FROM t"), "120,120\n");
}

/// A table whose every insert of [`MANY`] looks, and is enough.
async fn fill(lake: &Lake) {
    let warehouse = Warehouse::open(lake.config()).await.unwrap();
    let mut session = warehouse.session();
    for statement in [
        "CREATE TABLE t (a BIGINT)",
        "CALL set_option('data_inlining_row_limit', 100)",
        "CALL set_option('gotgan_flush_rows', 10)",
    ] {
        session.sql(statement).await.unwrap();
    }
}

const MANY: &str = "INSERT INTO t SELECT * FROM range(70)";

fn a_flush_that_fails_is_not_the_writers_error(kind: Kind) {
    runtime().block_on(async {
        let lake = kind.lake();
        fill(&lake).await;
        for calls in 0..3 {
            let failing = Failing { inner: LocalFileSystem::new(), left: calls.into() };
            let config = lake.config();
            let config = config.object_store("file:///".parse().unwrap(), Arc::new(failing));
            let warehouse = Warehouse::open(config).await.unwrap();
            warehouse.session().sql(MANY).await.unwrap();
            if kept(&lake) == 0 {
                break;
            }
            assert_eq!(kept(&lake), 70 * (calls + 1));
            assert_eq!(files(&lake.data).len(), 0, "a failed flush left a file");
        }
        // The next one makes up for it.
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        warehouse.session().sql(MANY).await.unwrap();
        assert_eq!(kept(&lake), 0);
        assert!(!files(&lake.data).is_empty());
    });
}

fn every_call_of_a_flush_may_fail(kind: Kind) {
    runtime().block_on(async {
        let lake = kind.lake();
        fill(&lake).await;
        let mut rows = 0;
        for calls in 0.. {
            let warehouse = Warehouse::open(lake.config()).await.unwrap();
            warehouse.fail_catalog_after(calls);
            let result = warehouse.session().sql(MANY).await;
            rows += if result.is_ok() { 70 } else { 0 };
            let warehouse = Warehouse::open(lake.config()).await.unwrap();
            let found = one(&mut warehouse.session(), "SELECT count(*) FROM t").await;
            assert_eq!(found, rows.to_string());
            if result.is_ok() && kept(&lake) == 0 {
                break;
            }
            assert_eq!(files(&lake.data).len(), 0, "a failed flush left a file");
        }
    });
}
