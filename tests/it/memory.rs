//! Statements that need more memory than they may take: they end, with the answers that they have
//! with plenty of it, and leave nothing behind.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Gotgan, Kind, Lake, Ran, gotgan, scratch, sql};

/// A fraction of what a side of a join takes.
const LIMIT: &str = "16MB";

/// Two tables of some 30 MB each in memory, neither in the order of a key, that share half of their
/// keys; and a small one.
fn lake() -> Lake {
    lake_of(300_000)
}

fn lake_of(rows: usize) -> Lake {
    let lake = Kind::Sqlite.lake();
    let columns = "value % 1000 AS g, 'some text about number ' || value AS s, value AS v";
    let series = format!("FROM generate_series(1, {rows})");
    let (keys, half) = (rows + 7, rows / 2);
    sql(
        &lake,
        &format!(
            "CREATE TABLE a AS SELECT (value * 7919) % {keys} AS k, {columns} {series}; \
             CREATE TABLE b AS SELECT (value * 104729) % {keys} + {half} AS k, {columns} {series}; \
             CREATE TABLE c AS SELECT value AS k, value % 7 AS w FROM generate_series(1, 500)"
        ),
    );
    lake
}

fn run(lake: &Lake, limit: &str, directory: &TempDir, statements: &[&str]) -> Ran {
    query(lake, limit, directory, statements).run()
}

fn query(lake: &Lake, limit: &str, directory: &TempDir, statements: &[&str]) -> Gotgan {
    let directory = directory.path().to_str().unwrap();
    let options = ["--memory-limit", limit, "--temp-directory", directory, "--threads", "2"];
    let text = statements.join(";\n");
    gotgan([&[lake.location.as_str(), "-no-header", "-c", &text][..], &options].concat())
}

/// The same with little memory as with plenty, and no file left.
#[track_caller]
fn same_with_little(lake: &Lake, statements: &[&str]) {
    let directory = scratch();
    for statement in statements {
        let plenty = run(lake, "4GB", &directory, &[statement]).ok();
        let little = run(lake, LIMIT, &directory, &[statement]).ok();
        assert_eq!(little, plenty, "{statement}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{statement}");
    }
}

#[test]
fn joins_whose_sides_both_exceed_the_limit_end() {
    let lake = lake();
    same_with_little(
        &lake,
        &[
            "SELECT count(*), sum(a.v), sum(b.v), min(a.s), max(b.s) FROM a JOIN b ON a.k = b.k",
            "SELECT count(*), count(b.s), sum(b.v), max(a.s) FROM a LEFT JOIN b ON a.k = b.k",
            "SELECT count(*), count(a.s), sum(a.v), max(b.s) FROM a RIGHT JOIN b ON a.k = b.k",
            "SELECT count(*), count(a.s), count(b.s), sum(a.v) FROM a FULL JOIN b ON a.k = b.k",
            "SELECT count(*), max(s) FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
            "SELECT count(*), max(s) FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)",
            "SELECT count(*), max(s) FROM a WHERE k NOT IN (SELECT k FROM b)",
            "SELECT count(*), max(s) FROM a WHERE k NOT IN (SELECT nullif(k, 150000) FROM b)",
            "SELECT count(*), max(s) FROM a WHERE nullif(v, 7) NOT IN (SELECT v FROM b WHERE v < 9)",
            "SELECT count(*), max(s) FROM a WHERE nullif(v, 7) NOT IN (SELECT v FROM b WHERE v < 0)",
            "SELECT count(*), max(s) FROM a \
             WHERE v < 9 OR EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.v > a.v)",
        ],
    );
}

#[test]
fn joins_with_more_conditions_end() {
    let lake = lake();
    same_with_little(
        &lake,
        &[
            "SELECT count(*), sum(b.v) FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v AND a.g <> b.g",
            "SELECT count(*), count(a.v), count(b.v) FROM a FULL JOIN b ON a.k = b.k AND a.v < b.v",
            "SELECT count(*) FROM a WHERE NOT EXISTS \
             (SELECT 1 FROM b WHERE b.k = a.k AND b.s <> a.s AND b.v > a.v)",
            // Three joins at once, and a key that many rows share.
            "SELECT count(*), sum(a.v + b.v + d.v) FROM a JOIN b ON a.k = b.k \
             JOIN a AS d ON d.k = b.k JOIN c ON c.k = a.g",
            "SELECT count(*), sum(a.v) FROM a JOIN b ON a.g = b.g WHERE a.v < 3000",
            // No equal columns.
            "SELECT count(*), sum(a.v) FROM a JOIN c ON a.k BETWEEN c.k * 600 AND c.k * 600 + c.w",
            "SELECT count(*), count(a.v) FROM c LEFT JOIN a ON a.k < c.k AND a.v % 500 = c.w",
        ],
    );
}

#[test]
fn groups_orders_and_windows_end() {
    let lake = lake();
    same_with_little(
        &lake,
        &[
            "SELECT count(*), sum(n), max(s) FROM \
             (SELECT k, s, count(*) AS n FROM (SELECT * FROM a UNION ALL SELECT * FROM b) \
              GROUP BY k, s)",
            "SELECT count(*), sum(n) FROM (SELECT g, count(DISTINCT s) AS n FROM a GROUP BY g)",
            "SELECT count(DISTINCT s) FROM a",
            "SELECT count(*) FROM (SELECT DISTINCT k, s FROM a UNION SELECT k, s FROM b)",
            "SELECT count(*) FROM (SELECT s FROM a INTERSECT SELECT s FROM b)",
            "SELECT sum(n * v) FROM (SELECT v, row_number() OVER (ORDER BY s DESC) AS n FROM a)",
            "SELECT sum(n * v) FROM (SELECT v, rank() OVER (PARTITION BY g ORDER BY s) AS n FROM a)",
            "SELECT sum(v * t), count(*), sum(l) FROM (SELECT v, sum(v) OVER (PARTITION BY g) AS t, \
             last_value(v) OVER (PARTITION BY g ORDER BY s ROWS BETWEEN UNBOUNDED PRECEDING AND \
             UNBOUNDED FOLLOWING) AS l FROM a)",
            "SELECT count(*), max(s) FROM (SELECT * FROM a ORDER BY s LIMIT 250000)",
        ],
    );
}

#[test]
fn every_row_of_a_large_answer_comes_once() {
    let (lake, directory) = (lake(), scratch());
    let rows = |limit| {
        let statement = "SELECT a.k, a.s, b.s FROM a JOIN b ON a.k = b.k";
        let answer = run(&lake, limit, &directory, &[statement]).ok();
        let mut rows: Vec<String> = answer.lines().map(str::to_owned).collect();
        rows.sort_unstable();
        rows
    };
    let plenty = rows("4GB");
    assert!(plenty.len() > 100_000, "{}", plenty.len());
    assert!(rows(LIMIT) == plenty, "the rows are not the same");
}

#[test]
fn what_is_written_with_little_memory_is_the_same() {
    let directory = scratch();
    let written = |limit| {
        let lake = lake();
        let statements = [
            "CREATE TABLE joined AS SELECT a.k, a.s, b.s AS t FROM a LEFT JOIN b ON a.k = b.k",
            "CREATE TABLE sorted (k BIGINT, g BIGINT, s VARCHAR)",
            "ALTER TABLE sorted SET SORTED BY (s)",
            "INSERT INTO sorted SELECT k, g, s FROM a",
            "CREATE TABLE parted (k BIGINT, g BIGINT, s VARCHAR)",
            "ALTER TABLE parted SET PARTITIONED BY (bucket(4, k))",
            "INSERT INTO parted SELECT k, g, s FROM b",
            "UPDATE a SET s = b.s, g = -1 FROM b WHERE a.k = b.k",
            "MERGE INTO b USING joined AS j ON b.k = j.k WHEN MATCHED THEN UPDATE SET s = j.s \
             WHEN NOT MATCHED THEN INSERT VALUES (j.k, 0, j.s, 0)",
            "DELETE FROM sorted USING parted AS p WHERE p.k = sorted.k",
        ];
        run(&lake, limit, &directory, &statements).ok();
        let sums: Vec<String> = ["joined", "sorted", "parted", "a", "b"]
            .map(|table| {
                sql(&lake, &format!("SELECT count(*), sum(k), min(s), max(s) FROM {table}"))
            })
            .into();
        // What an attempt wrote that ran out of memory is gone.
        let orphans =
            sql(&lake, "CALL delete_orphaned_files(cleanup_all => true, dry_run => true)");
        assert_eq!(orphans, "", "with {limit}");
        sums
    };
    assert_eq!(written(LIMIT), written("4GB"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn joins_are_hashed_or_sorted_by_what_fits() {
    let (lake, directory) = (lake(), scratch());
    let join = "SELECT count(*) FROM a JOIN b ON a.k = b.k";
    let plan = |limit, statement: &str| run(&lake, limit, &directory, &[statement]).ok();
    let explained = format!("EXPLAIN {join}");
    assert!(plan("4GB", &explained).contains("HashJoinExec"));
    assert!(plan(LIMIT, &explained).contains("SortMergeJoinExec"));
    // The small table is hashed, whatever the other one is.
    let small = "EXPLAIN SELECT count(*) FROM a JOIN c ON a.k = c.k";
    assert!(plan(LIMIT, small).contains("HashJoinExec"));
    // Nobody knows how many rows a condition on two columns keeps; what is analysed is what ran.
    let unexpected = "EXPLAIN ANALYZE SELECT count(*), max(x.s) FROM \
                      (SELECT k, s FROM a WHERE k + g > 0 AND k * g >= 0 AND g + v > 0 AND \
                       k - g <= k) AS x JOIN b ON x.k = b.k";
    assert!(plan(LIMIT, unexpected).contains("SortMergeJoinExec"));
}

#[test]
fn what_cannot_be_done_within_the_limit_says_so() {
    let (lake, directory) = (lake(), scratch());
    let hashed = ["SET gotgan.spill_joins = false", "SELECT count(*) FROM a JOIN b ON a.s = b.s"];
    let error = run(&lake, LIMIT, &directory, &hashed).fails(1);
    assert!(error.contains("the memory limit of 16.0 MB is reached: a hash join needs"), "{error}");
    assert!(error.contains("--memory-limit"), "{error}");
    let error =
        run(&lake, LIMIT, &directory, &["SELECT count(DISTINCT s), count(DISTINCT k) FROM a"])
            .fails(1);
    assert!(error.contains("is reached: an aggregation needs"), "{error}");
    let missing = ["--memory-limit", LIMIT, "--temp-directory", "/no/such/place", "-c"];
    let sort = "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY s) AS n FROM a)";
    let arguments = [&[lake.location.as_str()], &missing[..], &[sort]].concat();
    let error = gotgan(arguments).run().fails(1);
    assert!(error.contains("no temporary file can be made in \"/no/such/place\""), "{error}");
}

#[test]
fn a_process_that_is_killed_leaves_no_file() {
    let (lake, directory) = (lake(), scratch());
    let sort = "SELECT sum(n) FROM (SELECT row_number() OVER (ORDER BY x.s, y.s) AS n \
                FROM a AS x JOIN a AS y ON x.g = y.g)";
    let mut process = query(&lake, LIMIT, &directory, &[sort]).spawn();
    while spilled(&process) == 0 {
        assert_eq!(process.try_wait().unwrap(), None, "it ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// How many files without a name a process has open.
fn spilled(process: &Child) -> usize {
    let handles = fs::read_dir(format!("/proc/{}/fd", process.id()));
    let handles = handles.into_iter().flatten().flatten();
    let target = |path: &Path| fs::read_link(path).unwrap_or_default();
    handles.filter(|handle| target(&handle.path()).to_string_lossy().contains("(deleted)")).count()
}

#[test]
fn the_process_stays_near_its_limit() {
    // Large enough that what the rows take outweighs what a process takes without any.
    let (lake, directory) = (lake_of(1_200_000), scratch());
    let join = "SELECT count(*), max(x.s || y.s || z.s) FROM a AS x JOIN b AS y ON x.k = y.k \
                JOIN a AS z ON z.k = y.k";
    let peak = |limit| {
        let mut process = query(&lake, limit, &directory, &[join]).spawn();
        let mut peak = 0;
        while process.try_wait().unwrap().is_none() {
            peak = allocated(&process).max(peak);
            std::thread::sleep(Duration::from_millis(5));
        }
        peak
    };
    let (little, plenty) = (peak("32MB"), peak("4GB"));
    println!("{little} MiB with 32MB, {plenty} MiB with plenty");
    assert!(2 * little < plenty, "{little} MiB with 32MB, {plenty} MiB with plenty");
}

/// The memory that a process has now, in MiB, without what it maps of files: its own program.
fn allocated(process: &Child) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let now = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    now.and_then(|rest| rest.trim().split(' ').next()?.parse::<usize>().ok()).unwrap_or(0) / 1024
}
