//! Partitioned and sorted tables, between DuckDB and the program: the same directories, the same
//! partition values, and files that DuckDB finds by them.

use std::path::Path;

use crate::duckdb::{DuckDb, duckdb, lines};
use crate::interop::ours;
use crate::support::{scratch, sql};

#[track_caller]
fn agree_on(path: &Path, duck: &DuckDb, question: &str) {
    assert_eq!(ours(path, question), duck.rows(question), "ours, then DuckDB's: {question}");
}

/// Tables, each with its keys and its rows.
const TABLES: &[(&str, &str, &str)] = &[
    (
        "dated (a INTEGER, ts TIMESTAMP, d DATE)",
        "year(ts), month(ts), day(ts), hour(ts), year(d), month(d)",
        "(1, '2024-02-29 13:14:15', '2023-12-31'), (2, '2024-02-29 13:59:59', '2023-12-01'),
         (3, '1969-12-31 23:59:59.5', '1900-01-01'), (4, NULL, NULL)",
    ),
    (
        "ints (i TINYINT, u UBIGINT, b BOOLEAN, \"a b\" INTEGER)",
        "i, u, b, \"a b\"",
        "(-128, 18446744073709551615, true, 1), (NULL, 0, false, NULL), (7, NULL, NULL, -5)",
    ),
    (
        "texts (s VARCHAR, k INTEGER)",
        "s",
        "('plain', 1), ('a b/c=d%', 2), ('곳간', 3), ('', 4), (NULL, 5), ('O''Neil \"x\"', 6)",
    ),
    (
        "others (d DECIMAL(9,2), f DOUBLE, ti TIME, ts TIMESTAMP, u UUID, tz TIMESTAMPTZ)",
        "d, f, ti, ts, u, tz",
        "('1.50', 0.5, '01:02:03.5', '2020-01-02 03:04:05.25', 'f79c3e09-677c-4bbd-a479-3f349cb785e7',
          '2020-01-02 03:04:05+00'),
         ('-0.05', 1e16, '00:00:00', '1969-12-31 23:59:59', NULL, '1970-01-01 00:00:00.123+00'),
         (NULL, -100, NULL, NULL, '00000000-0000-0000-0000-000000000000', NULL)",
    ),
    (
        "buckets (i INTEGER, l BIGINT, s VARCHAR, d DATE, ts TIMESTAMP, de DECIMAL(9,2),
          de38 DECIMAL(38,2), u UUID, f FLOAT, b BOOLEAN, us USMALLINT)",
        "bucket(16, i), bucket(7, l), bucket(5, s), bucket(4, d), bucket(9, ts), bucket(8, de),
         bucket(3, de38), bucket(6, u), bucket(11, f), bucket(2, b), bucket(13, us)",
        "(34, -34, 'iceberg', '2017-11-16', '2017-11-16 22:31:08', 14.20, 14.20,
          'f79c3e09-677c-4bbd-a479-3f349cb785e7', 1.0, true, 65535),
         (-1, 0, '', '1969-12-31', '1969-12-31 23:59:59.999999', -0.05, -0.05,
          '00000000-0000-0000-0000-000000000000', -0.0, false, 0),
         (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    ),
];

/// The files of a table with their rows, keys and directories, whoever wrote them.
const FILES: &str = "SELECT t.table_name, regexp_replace(f.path, '[^/]*$', '') AS directory,
        f.record_count, (SELECT string_agg(coalesce(v.partition_value, 'NULL'), '|' ORDER BY
            v.partition_key_index) FROM __ducklake_metadata_lake.ducklake_file_partition_value v
            WHERE v.data_file_id = f.data_file_id) AS vals
    FROM __ducklake_metadata_lake.ducklake_data_file f
    JOIN __ducklake_metadata_lake.ducklake_table t ON f.table_id = t.table_id
    ORDER BY ALL";

#[test]
fn partitions_are_duckdb_s() {
    let dir = scratch();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let Some(our_duck) = duckdb(&ours) else { return };
    let Some(their_duck) = duckdb(&theirs) else { return };
    // Few rows go to files, too.
    sql(&theirs, "CALL set_option('data_inlining_row_limit', 0)");
    let mut statements = Vec::new();
    for (table, keys, rows) in TABLES {
        let name = table.split(' ').next().unwrap();
        statements.push(format!("CREATE TABLE {table}"));
        statements.push(format!("ALTER TABLE {name} SET PARTITIONED BY ({keys})"));
        statements.push(format!("INSERT INTO {name} VALUES {rows}"));
    }
    let texts: Vec<&str> = statements.iter().map(String::as_str).collect();
    let files_only = "CALL lake.set_option('data_inlining_row_limit', 0)";
    their_duck.all(&[files_only]);
    their_duck.all(&texts);
    sql(&ours, &statements.iter().map(|text| format!("{text};\n")).collect::<String>());
    assert_eq!(lines(&our_duck.rows(FILES)), lines(&their_duck.rows(FILES)), "ours, then DuckDB's");
    for (table, _, _) in TABLES {
        let name = table.split(' ').next().unwrap();
        agree_on(&ours, &our_duck, &format!("SELECT * FROM {name} ORDER BY 1"));
        agree_on(&theirs, &their_duck, &format!("SELECT * FROM {name} ORDER BY 1"));
    }
    // Either finds the other's rows by their bucket.
    for (path, duck) in [(&ours, &our_duck), (&theirs, &their_duck)] {
        for filter in ["i = 34", "s = 'iceberg'", "de38 = 14.20", "l IN (0, 5)", "i IS NULL"] {
            let question = format!("SELECT count(*) FROM buckets WHERE {filter}");
            agree_on(path, duck, &question);
            assert_eq!(duck.text(&question), "1\n", "{question}");
        }
    }
}

#[test]
fn both_write_into_one_partitioned_table() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(
        &path,
        "CREATE TABLE p (k INTEGER, g INTEGER, ts TIMESTAMP) PARTITIONED BY (g, bucket(4, k));
         INSERT INTO p SELECT value, value % 3, NULL FROM generate_series(1, 200)",
    );
    duck.all(&["INSERT INTO p SELECT i, i % 3, NULL FROM range(1000, 1200) r(i)"]);
    let sums = "SELECT g, count(*), sum(k) FROM p GROUP BY g ORDER BY g";
    agree_on(&path, &duck, sums);
    sql(&path, "UPDATE p SET g = 7 WHERE k = 1100; DELETE FROM p WHERE k % 10 = 0");
    duck.all(&["UPDATE p SET g = 8 WHERE k = 1101", "DELETE FROM p WHERE k % 10 = 1"]);
    agree_on(&path, &duck, sums);
    for k in [5, 1005, 1100, 1101] {
        agree_on(&path, &duck, &format!("SELECT k, g FROM p WHERE k = {k}"));
    }
    // DuckDB merges files of one partition only if they are in one directory.
    duck.all(&["CALL ducklake_merge_adjacent_files('lake')"]);
    agree_on(&path, &duck, sums);
    sql(&path, "ALTER TABLE p RESET PARTITIONED BY; INSERT INTO p VALUES (5000, 1, NULL)");
    agree_on(&path, &duck, sums);
    duck.all(&["ALTER TABLE p SET PARTITIONED BY (year(ts))"]);
    sql(&path, "INSERT INTO p VALUES (5001, 1, '2024-05-06 07:08:09')");
    agree_on(&path, &duck, "SELECT k FROM p WHERE ts >= TIMESTAMP '2024-01-01'");
    agree_on(&path, &duck, sums);
}

/// Options of either engine hold for what the program writes.
#[test]
fn options_shape_files() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t (k INTEGER) SORTED BY (k); CREATE TABLE u (k INTEGER)");
    duck.all(&["CALL lake.set_option('parquet_compression', 'zstd', table_name => 't')"]);
    sql(
        &path,
        "CALL set_option('parquet_row_group_size', 1000, table_name => 't');
         CALL set_option('sort_on_insert', false, table_name => 't', schema => 'main');
         CALL set_option('target_file_size', '200kb', schema => 'main');
         CALL set_option('hive_file_pattern', 'no');
         INSERT INTO t SELECT 3000 - value FROM generate_series(1, 3000);
         INSERT INTO u SELECT value FROM generate_series(1, 300000);
         CREATE TABLE p PARTITIONED BY (k) AS SELECT 1 AS k UNION ALL SELECT 2",
    );
    let files = |table: &str| {
        duck.rows(&format!(
            "SELECT f.path FROM __ducklake_metadata_lake.ducklake_data_file f
             JOIN __ducklake_metadata_lake.ducklake_table t ON f.table_id = t.table_id
             WHERE table_name = '{table}'"
        ))
    };
    let file = path.join("data/main/t").join(files("t")[0][0].as_deref().unwrap());
    let about = format!(
        "SELECT DISTINCT compression, row_group_num_rows, num_row_groups FROM
         parquet_metadata('{0}'), (SELECT num_row_groups FROM parquet_file_metadata('{0}'))",
        file.display()
    );
    assert_eq!(duck.text(&about), "ZSTD,1000,3\n");
    assert_eq!(ours(&path, "SELECT k FROM t LIMIT 1")[0][0].as_deref(), Some("2999"));
    assert!(files("u").len() > 1, "{:?}", files("u"));
    assert!(files("p").iter().all(|file| !file[0].as_deref().unwrap().contains('/')));
    agree_on(&path, &duck, "SELECT k FROM p ORDER BY k");
    agree_on(&path, &duck, "SELECT sum(k), count(*) FROM u");
    // DuckDB reads what was set here, and keeps to it.
    let options = "SELECT option_name, value, scope, scope_entry FROM lake.options()
        WHERE option_name NOT IN ('created_by', 'data_path', 'version', 'encrypted')
        AND option_name NOT LIKE 'gotgan%' ORDER BY ALL";
    let theirs = duck.rows(options);
    let ours = ours(&path, &options.replace("lake.options()", "options()").replace("ALL", "1, 2"));
    assert_eq!(ours, theirs, "ours, then DuckDB's");
}
