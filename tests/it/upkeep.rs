//! Upkeep with others about: DuckDB on the same warehouse, readers that stay behind, a process that
//! is killed, and calls that fail. Whatever happens, no row is lost and no file that is needed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use fastrand::Rng;
use gotgan::Warehouse;
use object_store::local::LocalFileSystem;

use crate::duckdb::{DuckDb, duckdb};
use crate::faults::{Failing, one, runtime};
use crate::support::{Kind, Lake, files, on_each_catalog, query, scratch, sql};

/// A table of three files with a thousand rows each, one of which lost half of its rows; small writes
/// are files, too.
const FILLED: &str =
    "CREATE TABLE t AS SELECT value AS i, 'n' || value AS s FROM generate_series(1, 1000);
     INSERT INTO t SELECT value, 'n' || value FROM generate_series(1001, 2000);
     INSERT INTO t SELECT value, 'n' || value FROM generate_series(2001, 3000);
     UPDATE t SET s = 'changed' WHERE i BETWEEN 2990 AND 3000;
     DELETE FROM t WHERE i BETWEEN 1 AND 500";

/// What every snapshot has, as both engines are asked.
const COUNTS: [(i64, &str); 5] = [
    (1, "1000,500500,1,1000\n"),
    (2, "2000,2001000,1,2000\n"),
    (3, "3000,4501500,1,3000\n"),
    (4, "3000,4501500,1,3000\n"),
    (5, "2500,4376250,501,3000\n"),
];

fn count_at(version: i64) -> String {
    format!("SELECT count(*), sum(i), min(i), max(i) FROM t AT (VERSION => {version})")
}

/// Both engines see every snapshot up to `last` as it was, and the newest state as the last of them.
#[track_caller]
fn check_history(path: &std::path::Path, duck: &DuckDb, from: i64, last: i64) {
    for (version, expected) in COUNTS {
        if (from..=last).contains(&version) {
            assert_eq!(sql(path, &count_at(version)), expected, "ours at {version}");
            assert_eq!(duck.text(&count_at(version)), expected, "DuckDB's at {version}");
        }
    }
    let newest = COUNTS[usize::try_from(last - 1).unwrap()].1;
    let now = "SELECT count(*), sum(i), min(i), max(i) FROM t";
    assert_eq!(sql(path, now), newest);
    assert_eq!(duck.text(now), newest);
    let scanned = "SELECT count(s), count(DISTINCT i), max(s) FROM t WHERE i > 700";
    assert_eq!(sql(path, scanned), duck.text(scanned));
}

const ROW_IDS: &str = "SELECT count(*), count(DISTINCT rowid), sum(rowid), max(rowid) FROM t";

/// The changes of a range of snapshots, as DuckDB lists them.
fn changes(first: i64, last: i64) -> String {
    format!(
        "SELECT snapshot_id, change_type, count(*), sum(rowid), sum(i)
         FROM ducklake_table_changes('lake', 'main', 't', {first}, {last})
         GROUP BY ALL ORDER BY ALL"
    )
}

#[test]
fn duckdb_reads_what_we_merge() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, FILLED.rsplit_once(';').unwrap().0.rsplit_once(';').unwrap().0);
    let (ids, changed) = (duck.text(ROW_IDS), duck.text(&changes(1, 3)));
    let merged = sql(&path, "CALL merge_adjacent_files('t')");
    assert!(merged.starts_with("main,t,3,1,3000,"), "{merged}");
    check_history(&path, &duck, 1, 3);
    // Row ids follow each other, so the file keeps none; the feed of changes is as it was.
    assert_eq!(duck.text(ROW_IDS), ids);
    assert_eq!(duck.text(&changes(1, 3)), changed);
    assert_eq!(duck.text(&changes(4, 4)), "");
    let listed = "SELECT count(*), min(begin_snapshot), max(partial_max), max(row_id_start)
                  FROM __ducklake_metadata_lake.ducklake_data_file";
    assert_eq!(duck.text(listed), "1,1,3,0\n");
    // Both go on from there.
    duck.all(&[
        "DELETE FROM t WHERE i > 2500",
        "INSERT INTO t SELECT i, 'd' FROM range(9000, 9100) r(i)",
    ]);
    sql(&path, "UPDATE t SET s = 'ours' WHERE i = 9000; CALL merge_adjacent_files()");
    let now = "SELECT count(*), sum(i), max(s) FROM t";
    assert_eq!(sql(&path, now), "2600,4031200,ours\n");
    assert_eq!(duck.text(now), "2600,4031200,ours\n");
    assert_eq!(duck.text("SELECT count(*), count(DISTINCT rowid) FROM t"), "2600,2600\n");
}

#[test]
fn duckdb_reads_what_we_rewrite_expire_and_clean_up() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, FILLED);
    let (ids, changed) = (duck.text(ROW_IDS), duck.text(&changes(1, 5)));
    let rewritten = sql(&path, "CALL rewrite_data_files(delete_threshold => 0.3)");
    assert!(rewritten.starts_with("main,t,1,1,500,"), "{rewritten}");
    check_history(&path, &duck, 1, 5);
    assert_eq!(duck.text(ROW_IDS), ids);
    assert_eq!(duck.text(&changes(1, 5)), changed);
    // What is small is merged, updated rows with their ids.
    sql(&path, "CALL merge_adjacent_files()");
    check_history(&path, &duck, 1, 5);
    assert_eq!(duck.text(ROW_IDS), ids);
    sql(&path, "CALL expire_snapshots(versions => [1, 2, 3])");
    check_history(&path, &duck, 4, 5);
    sql(&path, "CALL cleanup_old_files(cleanup_all => true)");
    check_history(&path, &duck, 4, 5);
    sql(&path, "CALL expire_snapshots(older_than => now())");
    sql(&path, "CALL cleanup_old_files(cleanup_all => true)");
    check_history(&path, &duck, 6, 5);
    check_files(&path.join("data"), &duck);
    assert_eq!(sql(&path, "CALL delete_orphaned_files(cleanup_all => true)"), "");
    duck.all(&["INSERT INTO t SELECT i, 'd' FROM range(9000, 9100) r(i)", "CHECKPOINT"]);
    assert_eq!(sql(&path, "SELECT count(*), max(i) FROM t"), "2600,9099\n");
    assert_eq!(duck.text("SELECT count(*), max(i) FROM t"), "2600,9099\n");
}

#[test]
fn we_read_what_duckdb_merges_rewrites_and_expires() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, FILLED);
    duck.all(&["CALL ducklake_flush_inlined_data('lake')"]);
    duck.all(&["CALL ducklake_merge_adjacent_files('lake')"]);
    check_history(&path, &duck, 1, 5);
    duck.all(&["CALL ducklake_rewrite_data_files('lake', delete_threshold => 0.1)"]);
    for (version, expected) in COUNTS {
        assert_eq!(sql(&path, &count_at(version)), expected, "at {version}");
    }
    duck.all(&["CALL ducklake_expire_snapshots('lake', versions => [1, 2, 3, 4])"]);
    duck.all(&["CALL ducklake_cleanup_old_files('lake', cleanup_all => true)"]);
    assert_eq!(sql(&path, &count_at(5)), COUNTS[4].1);
    assert!(query(&path, &count_at(4)).run().fails(1).contains("version 4 does not exist"));
    // Ours come on top of theirs.
    sql(&path, "INSERT INTO t SELECT value, 'x' FROM generate_series(5001, 5100)");
    sql(&path, "CALL merge_adjacent_files(); CALL rewrite_data_files(delete_threshold => 0)");
    sql(
        &path,
        "CALL expire_snapshots(older_than => now()); CALL cleanup_old_files(cleanup_all => true)",
    );
    let now = "SELECT count(*), sum(i), max(i) FROM t";
    assert_eq!(sql(&path, now), "2600,4881300,5100\n");
    assert_eq!(duck.text(now), "2600,4881300,5100\n");
    check_files(&path.join("data"), &duck);
}

/// Exactly the files are there that the catalog names.
#[track_caller]
fn check_files(data: &std::path::Path, duck: &DuckDb) {
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let named = duck.rows(
        "SELECT path FROM __ducklake_metadata_lake.ducklake_data_file
         UNION ALL SELECT path FROM __ducklake_metadata_lake.ducklake_delete_file
         UNION ALL SELECT path FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion",
    );
    let named: BTreeSet<String> = named.iter().map(|row| name(row[0].as_ref().unwrap())).collect();
    let found = files(data).iter().map(|path| name(path.to_str().unwrap())).collect();
    assert_eq!(named, found);
}

#[test]
fn tables_that_duckdb_partitions_and_alters() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE p (id INTEGER, g INTEGER, v VARCHAR)");
    duck.all(&["ALTER TABLE p SET PARTITIONED BY (g)"]);
    for _ in 0..3 {
        duck.all(&["INSERT INTO p SELECT i, i % 2, 'x' FROM range(100) r(i)"]);
        sql(&path, "INSERT INTO p SELECT value, value % 2, 'y' FROM generate_series(100, 199)");
    }
    duck.all(&["ALTER TABLE p ADD COLUMN w INTEGER DEFAULT 5", "ALTER TABLE p RENAME v TO name"]);
    duck.all(&["INSERT INTO p SELECT i, i % 2, 'z', 6 FROM range(200, 300) r(i)"]);
    let text =
        "SELECT g, name, w, count(*), sum(id) FROM p GROUP BY g, name, w ORDER BY g, name, w";
    let before = duck.text(text);
    let merged = sql(&path, "CALL merge_adjacent_files('p')");
    assert!(merged.starts_with("main,p,12,2,600,"), "{merged}");
    assert_eq!((duck.text(text), sql(&path, text)), (before.clone(), before.clone()));
    let one = "SELECT count(*), count(name) FROM p WHERE g = 1 AND id < 150";
    assert_eq!((duck.text(one), sql(&path, one)), ("225,225\n".into(), "225,225\n".into()));
    // DuckDB merges what we merged with what it writes later.
    duck.all(&["INSERT INTO p SELECT i, i % 2, 'z', 6 FROM range(300, 400) r(i)"]);
    duck.all(&["CALL ducklake_merge_adjacent_files('lake')"]);
    assert_eq!(sql(&path, text), duck.text(text));
    assert_eq!(duck.text("SELECT count(*), count(DISTINCT rowid) FROM p"), "800,800\n");
    let old = "SELECT count(*), max(v) FROM p AT (VERSION => 3)";
    assert_eq!((duck.text(old), sql(&path, old)), ("100,x\n".into(), "100,x\n".into()));
}

#[test]
fn duckdb_reads_what_we_roll_back() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, FILLED);
    sql(
        &path,
        "CREATE SCHEMA s; CREATE TABLE s.u AS SELECT value AS a FROM generate_series(1, 50)",
    );
    sql(&path, "CREATE VIEW v AS SELECT count(*) AS n FROM t");
    let then: i64 = sql(&path, "SELECT max(snapshot_id) FROM snapshots()").trim().parse().unwrap();
    let ids = duck.text(ROW_IDS);
    duck.all(&[
        "DELETE FROM t WHERE i > 2000",
        "INSERT INTO t SELECT i, 'new' FROM range(5000, 5100) r(i)",
        "DROP SCHEMA s CASCADE",
        "DROP VIEW v",
        "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)",
        "ALTER TABLE t ADD COLUMN more INTEGER",
    ]);
    sql(&path, &format!("CALL rollback_to_snapshot({then})"));
    check_history(&path, &duck, 1, 5);
    assert_eq!(duck.text(ROW_IDS), ids, "every row has its id again");
    for text in ["SELECT sum(a) FROM s.u", "SELECT * FROM v", "SELECT max(s) FROM t WHERE i > 2995"]
    {
        assert_eq!(sql(&path, text), duck.text(text), "{text}");
    }
    let between = format!("SELECT count(*), max(i) FROM t AT (VERSION => {})", then + 2);
    assert_eq!(duck.text(&between), "1600,5099\n");
    assert_eq!(sql(&path, &between), "1600,5099\n");
    duck.all(&["INSERT INTO t VALUES (9999, 'on')", "INSERT INTO s.u SELECT 1 FROM range(20)"]);
    assert_eq!(sql(&path, "SELECT count(*) FROM t"), "2501\n");
    assert_eq!(duck.text("SELECT count(*), count(DISTINCT rowid) FROM t"), "2501,2501\n");
    sql(
        &path,
        "CALL expire_snapshots(older_than => now()); CALL cleanup_old_files(cleanup_all => true)",
    );
    assert_eq!(duck.text("SELECT count(*), max(i) FROM t"), "2501,9999\n");
    check_files(&path.join("data"), &duck);
}

on_each_catalog!(
    a_pinned_reader_keeps_its_answers,
    writers_and_upkeep_at_the_same_time,
    every_storage_call_of_upkeep_may_fail,
    every_catalog_call_of_upkeep_may_fail,
);

fn a_pinned_reader_keeps_its_answers(kind: Kind) {
    let lake = kind.lake();
    sql(&lake, FILLED);
    runtime().block_on(async {
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        let mut reader = warehouse.session();
        reader.sql("BEGIN").await.unwrap();
        let asked = "SELECT concat(count(*), ' ', sum(i), ' ', max(s)) FROM t";
        let before = one(&mut reader, asked).await;
        for step in [
            "CALL merge_adjacent_files()",
            "CALL rewrite_data_files(delete_threshold => 0)",
            "DELETE FROM t WHERE i > 1500",
            "INSERT INTO t SELECT value, 'z' FROM generate_series(9000, 9100)",
            "CALL merge_adjacent_files()",
            "CALL expire_snapshots(versions => [1, 2, 3, 4])",
            "CALL cleanup_old_files(cleanup_all => true)",
            "CALL delete_orphaned_files(cleanup_all => true)",
        ] {
            sql(&lake, step);
            assert_eq!(one(&mut reader, asked).await, before, "after {step}");
        }
        // Once its snapshot has expired it is told so.
        sql(&lake, "CALL expire_snapshots(older_than => now())");
        let error = reader.sql(asked).await.unwrap_err();
        assert!(error.message().contains("has expired while it was read"), "{error}");
        reader.sql("ROLLBACK").await.unwrap();
        assert_eq!(one(&mut reader, "SELECT count(*) FROM t").await, "1101");
    });
}

fn writers_and_upkeep_at_the_same_time(kind: Kind) {
    let lake = kind.lake();
    sql(&lake, "CREATE TABLE t (writer INT, n INT)");
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let lake = &lake;
            scope.spawn(move || {
                for n in 0..6 {
                    let rows = format!("SELECT {writer}, {n} FROM generate_series(1, 50)");
                    sql(lake, &format!("INSERT INTO t {rows}"));
                    sql(lake, &format!("DELETE FROM t WHERE writer = {writer} AND n < {n}"));
                }
            });
        }
        for _ in 0..6 {
            sql(&lake, "CALL merge_adjacent_files()");
            sql(&lake, "CALL rewrite_data_files(delete_threshold => 0.2)");
            sql(&lake, "CALL expire_snapshots(older_than => now() - INTERVAL '2 seconds')");
            sql(&lake, "CALL cleanup_old_files(older_than => now() - INTERVAL '5 seconds')");
        }
    });
    let found = "SELECT count(*), min(n), max(n), count(DISTINCT writer) FROM t";
    assert_eq!(sql(&lake, found), "150,5,5,3\n");
    sql(&lake, "CHECKPOINT; CALL expire_snapshots(older_than => now())");
    sql(&lake, "CALL cleanup_old_files(cleanup_all => true)");
    assert_eq!(sql(&lake, found), "150,5,5,3\n");
    assert_eq!(sql(&lake, "CALL delete_orphaned_files(cleanup_all => true)"), "");
}

/// The calls, in an order in which each has something to do.
const CALLS: [&str; 6] = [
    "CALL merge_adjacent_files()",
    "CALL rewrite_data_files(delete_threshold => 0)",
    "CALL rollback_to_snapshot(3)",
    "CALL expire_snapshots(older_than => now())",
    "CALL cleanup_old_files(cleanup_all => true)",
    "CHECKPOINT",
];

/// The files that answer the query are there, and the answer is right. What the rollback gives is its
/// other right answer.
async fn check(lake: &Lake, call: &str) {
    let warehouse = Warehouse::open(lake.config()).await.unwrap();
    let mut session = warehouse.session();
    let found = one(&mut session, "SELECT concat(count(*), ' ', sum(i)) FROM t").await;
    assert!(["2500 4376250", "3000 4501500"].contains(&found.as_str()), "{found} after {call}");
    let scanned = one(&mut session, "SELECT max(s) FROM t WHERE i > 2000").await;
    assert!(scanned.starts_with('n'), "{scanned}");
}

fn every_storage_call_of_upkeep_may_fail(kind: Kind) {
    runtime().block_on(async {
        let lake = kind.lake();
        sql(&lake, FILLED);
        for call in CALLS {
            for calls in 0.. {
                let left = AtomicU64::new(calls);
                let failing = Failing { inner: LocalFileSystem::new(), left };
                let store = ("file:///".parse().unwrap(), Arc::new(failing));
                let config = lake.config().object_store(store.0, store.1);
                let warehouse = Warehouse::open(config).await.unwrap();
                let result = warehouse.session().sql(call).await;
                check(&lake, call).await;
                if result.is_ok() {
                    break;
                }
            }
        }
        sql(&lake, "CALL delete_orphaned_files(cleanup_all => true)");
        check(&lake, "all").await;
    });
}

fn every_catalog_call_of_upkeep_may_fail(kind: Kind) {
    // Connecting to a server takes its time; the calls are the same.
    let step = if matches!(kind, Kind::Sqlite) { 1 } else { 5 };
    runtime().block_on(async {
        let lake = kind.lake();
        sql(&lake, FILLED);
        for call in CALLS {
            for calls in (0..).step_by(step) {
                let warehouse = Warehouse::open(lake.config()).await.unwrap();
                warehouse.fail_catalog_after(calls);
                let result = warehouse.session().sql(call).await;
                check(&lake, call).await;
                if result.is_ok() {
                    assert!(calls > 3, "the catalog is not used");
                    break;
                }
            }
        }
        // Nothing that failed has left a file.
        let orphans = sql(&lake, "CALL delete_orphaned_files(cleanup_all => true)");
        assert_eq!(orphans, "");
    });
}

#[test]
fn upkeep_may_be_killed_at_any_moment() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut takes = Duration::from_millis(200);
    let scratch = scratch();
    let path = scratch.path().join("k.wh");
    sql(&path, "CREATE TABLE t AS SELECT value AS i, 0 AS n FROM generate_series(1, 20000)");
    let mut rows = 20_000;
    for round in 1..=40 {
        let first = 20_000 + round * 100;
        sql(
            &path,
            &format!(
                "INSERT INTO t SELECT value, {round} FROM generate_series({first}, {})",
                first + 99
            ),
        );
        rows += 100;
        sql(
            &path,
            &format!("DELETE FROM t WHERE i BETWEEN {} AND {}", round * 100, round * 100 + 49),
        );
        rows -= 50;
        let call = match rng.u8(..5) {
            0 => "CALL merge_adjacent_files()",
            1 => "CALL rewrite_data_files(delete_threshold => 0)",
            2 => "CALL expire_snapshots(older_than => now())",
            3 => "CALL cleanup_old_files(cleanup_all => true)",
            _ => {
                "CALL merge_adjacent_files(); CALL expire_snapshots(older_than => now());
                  CALL cleanup_old_files(cleanup_all => true)"
            }
        };
        let start = Instant::now();
        let mut child = query(&path, call).spawn();
        // Each eighth ends on its own, and tells how long that takes.
        if round % 8 == 0 {
            child.wait().unwrap();
            takes = start.elapsed();
        } else {
            std::thread::sleep(takes.mul_f64(rng.f64() * 1.2));
            let _ = child.kill();
            child.wait().unwrap();
        }
        let expected = format!("{rows},{rows},{round}\n");
        let found = "SELECT count(*), count(DISTINCT i), max(n) FROM t WHERE i > 0";
        assert_eq!(sql(&path, found), expected, "round {round}, {call}");
    }
    // What nobody names goes, all else stays; then only what is needed is left.
    sql(&path, "CALL delete_orphaned_files(cleanup_all => true)");
    for version in sql(&path, "SELECT snapshot_id FROM snapshots() WHERE snapshot_id > 0").lines() {
        let count = format!("SELECT count(*) > 10000 FROM t AT (VERSION => {version}) WHERE i > 0");
        assert_eq!(sql(&path, &count), "true\n", "version {version}");
    }
    sql(
        &path,
        "CALL expire_snapshots(older_than => now()); CALL cleanup_old_files(cleanup_all => true)",
    );
    assert_eq!(sql(&path, "SELECT count(*) FROM t WHERE i > 0"), format!("{rows}\n"));
    let Some(duck) = duckdb(&path) else { return };
    check_files(&path.join("data"), &duck);
    assert_eq!(duck.text("SELECT count(*) FROM t WHERE i > 0"), format!("{rows}\n"));
}
