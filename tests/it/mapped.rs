//! Files that DuckDB added to a table as they are, without a copy: their columns are found by name,
//! values of partitions in their paths. Both engines answer alike, before and after changes and
//! compaction.

use std::fs;
use std::path::Path;

use crate::duckdb::{DuckDb, duckdb};
use crate::interop::agree;
use crate::support::{files, scratch, sql};

/// Runs statements in DuckDB with `EXT` standing for a directory outside of the warehouse.
fn run(duck: &DuckDb, external: &Path, statements: &[&str]) {
    let external = external.display().to_string();
    let statements: Vec<String> = statements.iter().map(|s| s.replace("EXT", &external)).collect();
    duck.all(&statements.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Two files whose columns are in other orders, of other widths, and not all there.
const NESTED: [&str; 6] = [
    "COPY (SELECT i::INT AS id, 'v' || i AS s, {'a': i::INT, 'b': {'c': (i * 1.5)::FLOAT}} AS st,
           [i, NULL, i + 1] AS l, MAP {'k' || i: i} AS m, [{'x': i, 'y': 'y' || i}] AS ls
           FROM range(1000) r(i)) TO 'EXT/one.parquet' (FORMAT parquet, ROW_GROUP_SIZE 500)",
    "COPY (SELECT i::SMALLINT AS id, [{'y': 'w' || i, 'x': i}] AS ls,
           {'b': {'c': (i * 0.7)::FLOAT}, 'a': i::TINYINT} AS st, 'w' || i AS s
           FROM range(100) r(i)) TO 'EXT/two.parquet' (FORMAT parquet)",
    "CREATE TABLE t (id BIGINT, s VARCHAR, st STRUCT(a BIGINT, b STRUCT(c DOUBLE)), l BIGINT[],
           m MAP(VARCHAR, BIGINT), ls STRUCT(x BIGINT, y VARCHAR)[])",
    "CALL ducklake_add_data_files('lake', 't', 'EXT/one.parquet')",
    "CALL ducklake_add_data_files('lake', 't', 'EXT/two.parquet', allow_missing => true)",
    "INSERT INTO t SELECT i, 'own', NULL, NULL, NULL, NULL FROM range(5000, 5020) r(i)",
];

const OF_NESTED: [&str; 6] = [
    "SELECT * FROM t ORDER BY id, s",
    "SELECT count(*), sum(id), min(id), max(id), sum(st.a) FROM t",
    "SELECT id FROM t WHERE id > 990 ORDER BY id",
    "SELECT count(*), sum(l[3]), count(m), count(ls) FROM t WHERE l IS NULL",
    "SELECT ls[1]['x'], ls[1]['y'] FROM t WHERE id IN (7, 98) ORDER BY id, s",
    "SELECT count(*) FROM t WHERE id BETWEEN 200 AND 300",
];

#[track_caller]
fn agree_on_all(path: &Path, duck: &DuckDb, queries: &[&str]) {
    for query in queries {
        agree(path, duck, query);
    }
}

#[test]
fn columns_are_found_by_name_at_any_depth() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    run(&duck, dir.path(), &NESTED);
    agree_on_all(&path, &duck, &OF_NESTED);
    assert_eq!(sql(&path, "SELECT count(*), sum(id), max(id) FROM t"), "1120,604640,5019\n");
    // 0.7 as a single is a little less as a double; DuckDB compares singles.
    let single = "SELECT count(*) FROM t WHERE st.b.c < 0.69999999 AND st.b.c > 0.1";
    assert_eq!(sql(&path, single), "1\n");
    // Other names, the old one again, and a default for what the files do not have.
    sql(
        &path,
        "ALTER TABLE t RENAME COLUMN s TO s2; ALTER TABLE t ADD COLUMN s VARCHAR DEFAULT 'new';
         ALTER TABLE t RENAME COLUMN st.b.c TO d; ALTER TABLE t ADD COLUMN st.b.c INT;
         ALTER TABLE t DROP COLUMN m",
    );
    let renamed = [
        "SELECT * FROM t ORDER BY id, st.b.d, s2",
        "SELECT s, s2, st.b.d, st.b.c FROM t WHERE id = 5 ORDER BY st.b.d, s2",
        "SELECT count(*) FROM t WHERE s = 'new'",
    ];
    agree_on_all(&path, &duck, &renamed);
    // Rows of these files are changed like any others, by both.
    sql(&path, "UPDATE t SET s2 = 'changed' WHERE id % 100 = 7; DELETE FROM t WHERE id % 10 = 3");
    duck.all(&["DELETE FROM t WHERE id % 10 = 4", "UPDATE t SET s = 'theirs' WHERE id = 17"]);
    agree_on_all(&path, &duck, &renamed);
    let ids = "SELECT count(*), count(DISTINCT rowid), sum(rowid) FROM t";
    let rows = (sql(&path, "SELECT count(*) FROM t"), duck.text(ids));
    assert!(rows.1.starts_with(rows.0.trim()), "{rows:?}");
}

#[test]
fn compaction_takes_added_files() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    run(&duck, dir.path(), &NESTED);
    let ids = "SELECT count(*), count(DISTINCT rowid), sum(rowid) FROM t";
    let before = duck.text(ids);
    sql(&path, "CALL flush_inlined_data()");
    let merged = sql(&path, "CALL merge_adjacent_files('t')");
    assert!(merged.starts_with("main,t,3,1,1120,"), "{merged}");
    agree_on_all(&path, &duck, &OF_NESTED);
    assert_eq!(duck.text(ids), before);
    let then = "SELECT count(*), sum(id) FROM t AT (VERSION => 2)";
    assert_eq!(sql(&path, then), "1000,499500\n");
    assert_eq!(duck.text(then), "1000,499500\n");
    // The new file is in the warehouse; the added ones are the table's and go when they are unused.
    let live = duck.text("SELECT data_file FROM ducklake_list_files('lake', 't')");
    assert!(live.contains("/w/data/main/t/") && live.lines().count() == 1, "{live}");
    sql(&path, "CALL cleanup_old_files(cleanup_all => true)");
    assert!(!dir.path().join("one.parquet").exists());
    agree_on_all(&path, &duck, &OF_NESTED);
    // Rewritten, a file is as if it had been written here.
    let external = dir.path().join("other");
    fs::create_dir(&external).unwrap();
    run(&duck, &external, &NESTED[..1]);
    run(&duck, &external, &NESTED[3..4]);
    sql(&path, "DELETE FROM t WHERE id BETWEEN 100 AND 900");
    sql(&path, "CALL rewrite_data_files('t', delete_threshold => 0.1)");
    agree_on_all(&path, &duck, &OF_NESTED);
    assert!(!duck.text("SELECT data_file FROM ducklake_list_files('lake', 't')").contains("other"));
}

/// One file for each of a few partitions.
const PARTITIONS: [&str; 4] = [
    "COPY (SELECT i AS id FROM range(100) r(i)) TO 'EXT/y=2024/d=2024-02-29/n=a%20b/f.parquet'",
    "COPY (SELECT i AS id FROM range(50) r(i))
     TO 'EXT/y=2025/d=2025-01-01/n=__HIVE_DEFAULT_PARTITION__/f.parquet'",
    "COPY (SELECT i AS id FROM range(10) r(i)) TO 'EXT/y=2025/d=2025-01-01/n=%EA%B3%B3/f.parquet'",
    "CALL ducklake_add_data_files('lake', 'h', 'EXT/*/*/*/f.parquet', hive_partitioning => true)",
];

const OF_PARTITIONS: [&str; 6] = [
    "SELECT y, d, n, count(*), sum(id) FROM h GROUP BY ALL ORDER BY y, d, n",
    "SELECT count(*), min(y), max(y), min(d), max(n) FROM h",
    "SELECT count(*) FROM h WHERE y = 2024 AND n = 'a b'",
    "SELECT count(*), max(id) FROM h WHERE n IS NULL",
    "SELECT DISTINCT n, d + 1 FROM h WHERE d > '2024-12-31' ORDER BY n",
    "SELECT * FROM h WHERE id = 9 AND y + 1 = 2026 ORDER BY n",
];

const DIRECTORIES: [&str; 3] = [
    "y=2024/d=2024-02-29/n=a%20b",
    "y=2025/d=2025-01-01/n=__HIVE_DEFAULT_PARTITION__",
    "y=2025/d=2025-01-01/n=%EA%B3%B3",
];

fn add_partitions(duck: &DuckDb, external: &Path) {
    for partition in DIRECTORIES {
        fs::create_dir_all(external.join(partition)).unwrap();
    }
    run(duck, external, &PARTITIONS);
}

#[test]
fn values_of_partitions_are_in_the_path() {
    let dir = scratch();
    let (path, external) = (dir.path().join("w"), dir.path().join("external"));
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE h (id BIGINT, y INT, d DATE, n VARCHAR)");
    add_partitions(&duck, &external);
    agree_on_all(&path, &duck, &OF_PARTITIONS);
    sql(&path, "ALTER TABLE h RENAME COLUMN y TO year; ALTER TABLE h ADD COLUMN y INT DEFAULT 1");
    agree(&path, &duck, "SELECT * FROM h WHERE id = 9 ORDER BY n");
    sql(&path, "ALTER TABLE h DROP COLUMN y; ALTER TABLE h RENAME COLUMN year TO y");
    sql(
        &path,
        "UPDATE h SET id = id + 1000 WHERE n = 'a b' AND id < 5; DELETE FROM h WHERE id = 7",
    );
    agree_on_all(&path, &duck, &OF_PARTITIONS);
    sql(&path, "CALL merge_adjacent_files(); CALL rewrite_data_files(delete_threshold => 0)");
    agree_on_all(&path, &duck, &OF_PARTITIONS);
    // What cannot match is not opened.
    let other = scratch();
    let (path, external) = (other.path().join("w"), other.path().join("external"));
    let duck = duckdb(&path).unwrap();
    sql(&path, "CREATE TABLE h (id BIGINT, y INT, d DATE, n VARCHAR)");
    add_partitions(&duck, &external);
    fs::remove_dir_all(external.join("y=2024")).unwrap();
    assert_eq!(sql(&path, "SELECT sum(id) FROM h WHERE y = 2025"), "1270\n");
    assert_eq!(sql(&path, "SELECT sum(id) FROM h WHERE n IS NULL"), "1225\n");
}

#[test]
fn added_files_are_in_the_tables_partitions() {
    let dir = scratch();
    let (path, external) = (dir.path().join("w"), dir.path().join("external"));
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE h (id BIGINT, y INT, d DATE, n VARCHAR) PARTITIONED BY (y, d, n)");
    add_partitions(&duck, &external);
    sql(&path, "INSERT INTO h SELECT i, 2024, '2024-02-29', 'a b' FROM range(500, 520) r(i)");
    agree_on_all(&path, &duck, &OF_PARTITIONS);
    // DuckDB refuses to merge files of different directories; here they come home.
    assert!(duck.try_all(&["CALL ducklake_merge_adjacent_files('lake')"]).is_err());
    let merged = sql(&path, "CALL merge_adjacent_files()");
    assert!(merged.starts_with("main,h,2,1,120,"), "{merged}");
    let home = files(&path.join("data").join("main/h/y=2024/d=2024-02-29/n=a%20b"));
    assert_eq!(home.len(), 2, "{home:?}");
    agree_on_all(&path, &duck, &OF_PARTITIONS);
    duck.all(&["CALL ducklake_merge_adjacent_files('lake')"]);
    agree_on_all(&path, &duck, &OF_PARTITIONS);
}

/// The same files, added here: DuckDB reads them as if it had added them itself.
#[test]
fn duckdb_reads_what_is_added_here() {
    let dir = scratch();
    let (path, external) = (dir.path().join("w"), dir.path().join("external"));
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    run(&duck, dir.path(), &NESTED[..3]);
    let ours =
        |statement: &str| sql(&path, &statement.replace("EXT", &dir.path().display().to_string()));
    ours("CALL add_data_files('t', 'EXT/one.parquet')");
    ours("CALL add_data_files('t', ['EXT/t*.parquet'], allow_missing => true)");
    duck.all(&NESTED[5..]);
    agree_on_all(&path, &duck, &OF_NESTED);
    let mappings = "SELECT n.source_name, n.target_field_id, n.parent_column, n.is_partition
                    FROM __ducklake_metadata_lake.ducklake_name_mapping n ORDER BY mapping_id, column_id";
    let told = duck.text(mappings);
    assert!(
        told.starts_with(
            "id,1,∅,0\ns,2,∅,0\nst,3,∅,0\na,4,2,0\nb,5,2,0\nc,6,4,0\nl,7,∅,0\nlist,8,6,0\n"
        ),
        "{told}"
    );
    let ids = "SELECT count(*), count(DISTINCT rowid), max(rowid) FROM t";
    assert_eq!(duck.text(ids), "1120,1120,1119\n");
    // DuckDB changes and compacts them.
    duck.all(&[
        "ALTER TABLE t RENAME s TO s2",
        "ALTER TABLE t RENAME s2 TO s",
        "DELETE FROM t WHERE id % 3 = 0",
        "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)",
        "CALL ducklake_merge_adjacent_files('lake')",
    ]);
    agree_on_all(&path, &duck, &OF_NESTED);
    // Partitions.
    sql(&path, "CREATE TABLE h (id BIGINT, y INT, d DATE, n VARCHAR) PARTITIONED BY (y, d, n)");
    for (partition, copy) in DIRECTORIES.iter().zip(&PARTITIONS) {
        fs::create_dir_all(external.join(partition)).unwrap();
        run(&duck, &external, &[copy]);
    }
    ours("CALL add_data_files('h', 'EXT/external/*/*/*/f.parquet')");
    agree_on_all(&path, &duck, &OF_PARTITIONS);
    let kept = "SELECT partition_key_index, partition_value
                FROM __ducklake_metadata_lake.ducklake_file_partition_value ORDER BY ALL";
    assert_eq!(
        duck.text(kept),
        "0,2024\n0,2025\n0,2025\n1,2024-02-29\n1,2025-01-01\n1,2025-01-01\n2,a b\n2,곳\n2,∅\n"
    );
    duck.all(&["INSERT INTO h VALUES (1, 2024, '2024-02-29', 'a b')"]);
    agree_on_all(&path, &duck, &OF_PARTITIONS);
    let error = crate::support::query(
        &path,
        &format!(
            "CALL add_data_files('h', '{}/one.parquet', ignore_extra_columns => true, allow_missing => true)",
            dir.path().display()
        ),
    );
    assert!(error.run().fails(1).contains("which partition of table \"h\" it is"));
}

#[test]
fn every_type_is_read_from_an_added_file() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    let columns = "bo BOOLEAN, i1 TINYINT, i2 SMALLINT, i4 INT, i8 BIGINT, u1 UTINYINT,
        u2 USMALLINT, u4 UINTEGER, u8 UBIGINT, f4 FLOAT, f8 DOUBLE, d4 DECIMAL(4,1),
        d18 DECIMAL(18,3), d38 DECIMAL(38,10), da DATE, ti TIME, ts TIMESTAMP, ts_ms TIMESTAMP_MS,
        ts_ns TIMESTAMP_NS, tz TIMESTAMPTZ, vc VARCHAR, bl BLOB, uu UUID";
    let row = "true, 1, -2, 3, -4, 5, 6, 7, 8, 1.5, -0.1, 0.1, 0.001, 0.0000000001, '1969-12-31',
        '12:34:56.7', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999',
        '1969-12-31 23:59:59.999999999', '1969-12-31 23:59:59.999999+00', '곳간', 'A'::BLOB,
        '6ba7b810-9dad-11d1-80b4-00c04fd430c8'";
    let (create, temp) =
        (format!("CREATE TABLE t ({columns})"), format!("CREATE TEMP TABLE x ({columns})"));
    let fill = format!("INSERT INTO x VALUES ({row}), ({})", vec!["NULL"; 23].join(", "));
    let statements = [
        create.as_str(),
        &temp,
        &fill,
        "COPY x TO 'EXT/x.parquet'",
        "CALL ducklake_add_data_files('lake', 't', 'EXT/x.parquet')",
    ];
    run(&duck, dir.path(), &statements);
    for column in columns.split(',').filter_map(|c| c.split_whitespace().next()) {
        if column.chars().all(|c| c.is_ascii_digit() || c == ')') || column.contains(')') {
            continue;
        }
        agree(&path, &duck, &format!("SELECT {column} FROM t ORDER BY 1 NULLS LAST"));
        agree(&path, &duck, &format!("SELECT count(*) FROM t WHERE {column} IS NULL"));
    }
}
