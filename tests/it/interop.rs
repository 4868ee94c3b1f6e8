//! DuckDB and the program on one warehouse: each reads what the other wrote, and both give the
//! same answers; where DuckDB leaves something that is not understood, it is refused.

use std::fs;
use std::path::Path;

use crate::duckdb::{DuckDb, Rows, duckdb};
use crate::support::{files, gotgan, query, scratch, sql};

/// The program's answer as text, in the form of [`DuckDb::rows`].
#[track_caller]
pub(crate) fn ours(path: &Path, text: &str) -> Rows {
    let name = path.to_str().unwrap();
    let flags = ["-list", "-no-header", "-separator", "\u{1f}", "-nullvalue", "\u{1e}"];
    let out = gotgan([name].into_iter().chain(flags).chain(["-c", text])).run().ok();
    let value = |value: &str| (value != "\u{1e}").then(|| value.to_owned());
    out.lines().map(|line| line.split('\u{1f}').map(value).collect()).collect()
}

/// Both engines answer `text` alike; gives the answer.
#[track_caller]
pub(crate) fn agree(path: &Path, duck: &DuckDb, text: &str) -> Rows {
    let (ours, theirs) = (ours(path, text), duck.rows(text));
    assert_eq!(ours.len(), theirs.len(), "{text}: ours {ours:#?}\nDuckDB's {theirs:#?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "ours, then DuckDB's answer to {text}");
    }
    ours
}

const SCALARS: &str = "CREATE TABLE t (
    k INT, bo BOOLEAN, i1 TINYINT, i2 SMALLINT, i4 INT, i8 BIGINT, u1 UTINYINT, u2 USMALLINT,
    u4 UINTEGER, u8 UBIGINT, f4 FLOAT, f8 DOUBLE, d4 DECIMAL(4,1), d18 DECIMAL(18,3),
    d38 DECIMAL(38,10), da DATE, ti TIME, ts_s TIMESTAMP_S, ts_ms TIMESTAMP_MS, ts TIMESTAMP,
    ts_ns TIMESTAMP_NS, tz TIMESTAMPTZ, iv INTERVAL, vc VARCHAR, js JSON, bl BLOB, uu UUID)";

const LOW: &str = "(1, false, -128, -32768, -2147483648, -9223372036854775808, 0, 0, 0, 0,
    '-3.4028235e38', '-1.7976931348623157e308', -999.9, -999999999999999.999,
    '-9999999999999999999999999999.9999999999', '0001-01-01', '00:00:00', '1677-09-22 00:12:44',
    '1677-09-22 00:12:44.123', '0001-01-01 00:00:00', '1677-09-22 00:12:43.145224193',
    '0001-01-01 00:00:00+00', '-1 month -2 days -3.5 seconds', '', '{\"a\": [1, null]}', x'',
    '00000000-0000-0000-0000-000000000000')";

const HIGH: &str = "(2, true, 127, 32767, 2147483647, 9223372036854775807, 255, 65535, 4294967295,
    18446744073709551615, '3.4028235e38', '1.7976931348623157e308', 999.9, 999999999999999.999,
    '9999999999999999999999999999.9999999999', '9999-12-31', '23:59:59.999999',
    '9999-12-31 23:59:59', '9999-12-31 23:59:59.999', '9999-12-31 23:59:59.999999',
    '2262-04-11 23:47:16.854775806', '9999-12-31 23:59:59.999999+00',
    '1 year 2 months 3 days 4 hours', '곳간 \"q\", ''x''', '\"s\"', x'00ff61',
    'ffffffff-ffff-ffff-ffff-ffffffffffff')";

const MIDDLE: &str = "(8, true, 1, -1, 1, -1, 1, 2, 3, 4, 1.5, -0.1, 0.1, 0.001, 0.0000000001,
    '1969-12-31', '12:34:56.7', '1969-12-31 23:59:59', '1969-12-31 23:59:59.999',
    '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999999', '1969-12-31 23:59:59.999999+00',
    '1 millisecond', 'plain', '[]', x'41', '6ba7b810-9dad-11d1-80b4-00c04fd430c8')";

const UNUSUAL: &str = "INSERT INTO t (k, f4, f8) VALUES
    (4, 'NaN', 'NaN'), (5, 'Infinity', 'Infinity'), (6, '-Infinity', '-Infinity'), (7, -0.0, -0.0)";

const COLUMNS: [&str; 26] = [
    "bo", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "d4", "d18", "d38", "da",
    "ti", "ts_s", "ts_ms", "ts", "ts_ns", "tz", "iv", "vc", "js", "bl", "uu",
];

#[test]
fn scalars_with_extremes_and_nulls() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, SCALARS);
    // Before the first file, after each, and from another process each time.
    assert_eq!(agree(&path, &duck, "SELECT * FROM t"), Rows::new());
    sql(&path, &format!("INSERT INTO t VALUES {LOW}, {HIGH}"));
    sql(&path, "INSERT INTO t (k) VALUES (3)");
    sql(&path, UNUSUAL);
    sql(&path, &format!("INSERT INTO t VALUES {MIDDLE}"));
    let rows = agree(&path, &duck, "SELECT * FROM t ORDER BY k");
    assert_eq!(rows.len(), 8);
    assert!(rows[2][1..].iter().all(Option::is_none), "{:?}", rows[2]);
    let (low, high) = (rows[0].clone(), rows[1].clone());
    let text = |row: &[Option<String>], i: usize| row[i].clone().unwrap();
    assert_eq!(text(&low, 5), "-9223372036854775808");
    assert_eq!(text(&high, 9), "18446744073709551615");
    assert_eq!(text(&high, 14), "9999999999999999999999999999.9999999999");
    assert_eq!(text(&high, 20), "2262-04-11 23:47:16.854775806");
    assert_eq!(text(&high, 23), "곳간 \"q\", 'x'");
}

/// Aggregates and comparisons answer from statistics of the catalog: they must be right.
#[test]
fn statistics_never_change_an_answer() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, SCALARS);
    for values in [LOW, HIGH, MIDDLE] {
        sql(&path, &format!("INSERT INTO t VALUES {values}"));
    }
    sql(&path, "INSERT INTO t (k) VALUES (3)");
    sql(&path, UNUSUAL);
    let mut queries = Vec::new();
    for column in COLUMNS {
        queries.push(format!("SELECT count({column}) FROM t"));
        queries.push(format!("SELECT k FROM t WHERE {column} IS NULL ORDER BY k"));
        // JSON has no order in DuckDB, an interval another one than its text.
        if !["js", "iv", "f4", "f8"].contains(&column) {
            let type_of = ["bo", "bl", "uu"];
            if !type_of.contains(&column) {
                queries.push(format!("SELECT min({column}), max({column}) FROM t"));
            }
            for operator in ["=", "<>", "<", ">="] {
                queries.push(format!(
                    "SELECT k FROM t WHERE {column} {operator}
                     (SELECT {column} FROM t WHERE k = 8) ORDER BY k"
                ));
            }
        }
    }
    for (column, literal) in [
        ("bo", "true"),
        ("i1", "-128"),
        ("i8", "9223372036854775807"),
        ("u8", "18446744073709551615"),
        ("d4", "999.9"),
        ("d38", "0.0000000001"),
        ("da", "DATE '9999-12-31'"),
        ("ti", "TIME '23:59:59.999999'"),
        ("ts", "TIMESTAMP '1969-12-31 23:59:59.999999'"),
        ("ts_ns", "'1969-12-31 23:59:59.999999999'::TIMESTAMP_NS"),
        ("tz", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"),
        ("vc", "'곳간 \"q\", ''x'''"),
        ("vc", "''"),
        ("f8", "'Infinity'::DOUBLE"),
        ("f8", "1.7976931348623157e308"),
        ("f8", "0.0"),
        ("f4", "1.5"),
    ] {
        for operator in ["=", "<", "<=", ">"] {
            queries.push(format!("SELECT k FROM t WHERE {column} {operator} {literal} ORDER BY k"));
        }
    }
    queries.push("SELECT k, f8 FROM t WHERE k > 3 ORDER BY f8 DESC NULLS LAST LIMIT 1".into());
    let texts: Vec<&str> = queries.iter().map(String::as_str).collect();
    let theirs = duck.all(&texts);
    let mut wrong = Vec::new();
    // One run of ours: the answers are told apart by a row between them.
    let marked: String = queries.iter().map(|q| format!("SELECT '--'; {q};\n")).collect();
    let mut answers: Vec<Rows> = Vec::new();
    for row in ours(&path, &marked) {
        match row[0].as_deref() {
            Some("--") => answers.push(Rows::new()),
            _ => answers.last_mut().unwrap().push(row),
        }
    }
    for ((query, ours), theirs) in queries.iter().zip(answers).zip(theirs) {
        if ours != theirs {
            wrong.push(format!("{query}\n  ours {ours:?}\n  DuckDB's {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), queries.len(), wrong.join("\n"));
}

/// DuckDB takes a column without bounds for one of NULLs alone, and bounds it by what comes next.
#[test]
fn values_after_nulls_have_bounds() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    for (table, nulls, by_duckdb) in [("a", 1, false), ("b", 1, true), ("c", 50, false)] {
        sql(&path, &format!("CREATE TABLE {table} (id INT, v INT, s VARCHAR)"));
        let first = format!("INSERT INTO {table} SELECT i, NULL, NULL FROM range({nulls}) AS r(i)");
        match by_duckdb {
            true => drop(duck.all(&[&first])),
            false => drop(sql(&path, &first)),
        }
        sql(&path, &format!("INSERT INTO {table} VALUES (100, 7, 'm'), (101, NULL, NULL)"));
        duck.all(&[&format!("INSERT INTO {table} VALUES (102, 5, 'k')")]);
        let query = format!("SELECT id FROM {table} WHERE v = 7 AND s = 'm'");
        assert_eq!(duck.text(&query), "100\n", "{table}");
        agree(&path, &duck, &format!("SELECT min(v), max(v), max(s), count(v) FROM {table}"));
    }
}

/// DuckDB forgets the bounds of a table when it rewrites the last of its files, and bounds it by what
/// it inserts next.
#[test]
fn values_after_a_rewrite_of_the_last_rows_have_bounds() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t AS SELECT i AS id, 's' || i AS s FROM range(15) AS r(i)");
    sql(&path, "DELETE FROM t WHERE id < 8; DELETE FROM t WHERE id >= 8");
    sql(&path, "CALL flush_inlined_data()");
    duck.all(&["CALL ducklake_rewrite_data_files('lake', 't', delete_threshold => 0)"]);
    sql(&path, "INSERT INTO t SELECT i, 'm' FROM range(100, 150) AS r(i)");
    duck.all(&["INSERT INTO t VALUES (200, 'z')"]);
    let query = "SELECT count(*) FROM t WHERE id < 120 AND s = 'm'";
    assert_eq!(duck.text(query), "20\n");
    agree(&path, &duck, "SELECT min(id), max(id), min(s), max(s), count(*) FROM t");
}

#[test]
fn few_rows_after_columns_changed_while_none_were_inlined() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t (id BIGINT, a VARCHAR, b VARCHAR)");
    duck.all(&[
        "INSERT INTO t VALUES (1, 'a1', 'b1')",
        "CALL lake.set_option('data_inlining_row_limit', 0)",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t ADD COLUMN c VARCHAR",
        "CALL lake.set_option('data_inlining_row_limit', 10)",
    ]);
    sql(&path, "INSERT INTO t (id, b, c) VALUES (2, 'b2', 'c2')");
    duck.all(&["INSERT INTO t VALUES (3, 'b3', 'c3')"]);
    let all = "SELECT id, b, c FROM t ORDER BY id";
    assert_eq!(duck.text(all), "1,b1,∅\n2,b2,c2\n3,b3,c3\n");
    agree(&path, &duck, all);
}

#[test]
fn nested_values() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(
        &path,
        "CREATE TABLE n (
            k INT, s STRUCT(a INT, b VARCHAR), l INT[], m MAP(VARCHAR, INT),
            deep STRUCT(x STRUCT(y INT[])[], z MAP(VARCHAR, STRUCT(p DOUBLE, q DATE[]))));
         INSERT INTO n SELECT 1, {'a': 1, 'b': 'x'}, [1, NULL, 3], MAP {'a': 1, 'b': NULL},
            {'x': [{'y': [1, 2]}, {'y': [3]}],
             'z': MAP {'k': {'p': 1.5, 'q': [DATE '2024-02-29', NULL]}}};
         INSERT INTO n VALUES (2, NULL, NULL, NULL, NULL);
         INSERT INTO n SELECT 3, {'a': NULL, 'b': NULL}, [], NULL, NULL;",
    );
    let parts = "SELECT k, s, s.a, s.b, l, l[1], l[3], m FROM n ORDER BY k";
    agree(&path, &duck, parts);
    agree(&path, &duck, "SELECT k, m FROM n ORDER BY k");
    agree(&path, &duck, "SELECT k, deep.x, deep.z FROM n ORDER BY k");
    agree(&path, &duck, "SELECT k, deep['x'][1]['y'][2] FROM n ORDER BY k");
}

/// What is a time here and an infinity there must not make the table unreadable there.
#[test]
fn the_last_nanosecond() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(
        &path,
        "CREATE TABLE t (k INT, ts TIMESTAMP_NS);
         INSERT INTO t VALUES (1, '2262-04-11 23:47:16.854775807'), (2, '2024-01-01')",
    );
    agree(&path, &duck, "SELECT k FROM t WHERE ts > '2025-01-01'::TIMESTAMP_NS");
    agree(&path, &duck, "SELECT count(ts), min(ts) FROM t");
}

#[test]
fn names_of_any_kind() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    let create = r#"CREATE SCHEMA "S ""x";
        CREATE TABLE "S ""x"."표 '1'; --" ("열 ""a""" INT, "select" VARCHAR, "a.b" INT, "Ünï" INT);
        INSERT INTO "S ""x"."표 '1'; --" VALUES (1, 'x', 3, 4)"#;
    sql(&path, create);
    agree(&path, &duck, r#"SELECT * FROM "S ""x"."표 '1'; --""#);
    let parts =
        r#"SELECT "열 ""a""", "select", "a.b", "Ünï" FROM "S ""x"."표 '1'; --" WHERE "a.b" = 3"#;
    assert_eq!(agree(&path, &duck, parts).len(), 1);
    let names = "SELECT schema_name FROM information_schema.schemata WHERE catalog_name = 'lake'";
    assert!(duck.text(names).contains("S \"x"), "{}", duck.text(names));
}

#[test]
fn a_thousand_columns() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    let columns: Vec<String> = (0..1000).map(|i| format!("{i} AS c{i}")).collect();
    sql(&path, &format!("CREATE TABLE wide AS SELECT {}", columns.join(", ")));
    let row = agree(&path, &duck, "SELECT * FROM wide").remove(0);
    assert_eq!((row.len(), row[999].as_deref()), (1000, Some("999")));
    agree(&path, &duck, "SELECT sum(c7 + c998) FROM wide WHERE c500 = 500");
}

#[test]
fn a_million_rows() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(
        &path,
        "CREATE TABLE big AS SELECT value AS id, value % 97 AS g, 'n' || (value % 1000) AS name,
            value * 0.5 AS half FROM generate_series(0, 999999)",
    );
    let all =
        "SELECT count(*), sum(id), min(id), max(id), sum(half), min(name), max(name) FROM big";
    let expected = "1000000,499999500000,0,999999,249999750000.0,n0,n999\n";
    assert_eq!(crate::duckdb::lines(&agree(&path, &duck, all)), expected);
    agree(&path, &duck, "SELECT g, count(*), sum(id) FROM big GROUP BY g ORDER BY g");
    agree(&path, &duck, "SELECT * FROM big WHERE id BETWEEN 499998 AND 500002 ORDER BY id");
    // Row ids are unique, whatever wrote the files.
    assert_eq!(duck.text("SELECT count(DISTINCT rowid) FROM big"), "1000000\n");
}

#[test]
fn views_replacements_and_drops() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(
        &path,
        "CREATE TABLE t AS SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(id, name);
         CREATE VIEW v AS SELECT id + 1 AS next, name FROM t;
         CREATE VIEW named(x, y) AS SELECT id, name FROM t WHERE id > 1",
    );
    agree(&path, &duck, "SELECT * FROM v ORDER BY next");
    agree(&path, &duck, "SELECT x, y FROM named");
    sql(&path, "CREATE OR REPLACE TABLE t AS SELECT 7 AS id, 'z' AS name, 1.5 AS more");
    agree(&path, &duck, "SELECT * FROM t");
    agree(&path, &duck, "SELECT * FROM v");
    sql(&path, "CREATE OR REPLACE VIEW v AS SELECT more FROM t");
    agree(&path, &duck, "SELECT * FROM v");
    sql(&path, "DROP VIEW v; DROP VIEW named; DROP TABLE t; CREATE TABLE t AS SELECT 'new' AS id");
    assert_eq!(agree(&path, &duck, "SELECT * FROM t").len(), 1);
    assert!(duck.try_all(&["SELECT * FROM v"]).unwrap_err().contains("does not exist"));
    sql(&path, "CREATE SCHEMA s; CREATE TABLE s.a AS SELECT 1 AS x; DROP SCHEMA s CASCADE");
    assert!(duck.try_all(&["SELECT * FROM s.a"]).unwrap_err().contains("does not exist"));
}

#[test]
fn duckdb_inserts_into_our_table() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t (id BIGINT, name VARCHAR); INSERT INTO t VALUES (-1, 'ours')");
    duck.all(&[
        "INSERT INTO t SELECT i, 'n' || i FROM range(100) r(i)",
        "INSERT INTO t VALUES (1000, NULL)",
    ]);
    sql(&path, "INSERT INTO t VALUES (2000, 'ours again')");
    duck.all(&["INSERT INTO t VALUES (3000, 'last')"]);
    let expected = "104,10949,-1,3000,103\n";
    let text = "SELECT count(*), sum(id), min(id), max(id), count(name) FROM t";
    assert_eq!(crate::duckdb::lines(&agree(&path, &duck, text)), expected);
    agree(&path, &duck, "SELECT * FROM t WHERE id > 97 ORDER BY id");
    assert_eq!(duck.text("SELECT count(DISTINCT rowid) FROM t"), "104\n");
}

#[test]
fn duckdb_creates_tables() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    let values = [LOW, HIGH, MIDDLE].map(|values| values.replace(" x'", " '"));
    let hex = |text: &str| text.replace("'00ff61'", "'\\x00\\xFFa'").replace("'41'", "'A'");
    duck.all(&[
        SCALARS,
        // Parquet's intervals are not negative there.
        &format!(
            "INSERT INTO t VALUES {}, {}",
            hex(&values[0]).replace("'-1 month -2 days -3.5 seconds'", "NULL"),
            hex(&values[1])
        ),
        &format!("INSERT INTO t VALUES {}", hex(&values[2])),
        UNUSUAL,
        "INSERT INTO t (k) VALUES (3)",
        "CREATE TABLE nested AS SELECT i AS k, {'a': i, 'b': [i, NULL]} AS s,
            MAP {'x': i} AS m, [{'y': i}] AS l FROM range(20) r(i)",
        "CREATE SCHEMA raw",
        "CREATE TABLE raw.part AS SELECT i AS id, i % 3 AS g FROM range(30) r(i)",
        "CREATE VIEW seen AS SELECT id, g FROM lake.raw.part WHERE g = 1",
    ]);
    let without =
        "SELECT k, bo, i1, i2, i4, i8, u1, u2, u4, u8, f4, f8, d4, d18, d38, da, ti, ts_s,
        ts_ms, ts, ts_ns, tz, vc, js, bl, uu FROM t ORDER BY k";
    agree(&path, &duck, without);
    agree(&path, &duck, "SELECT k FROM t WHERE f8 > 'Infinity'::DOUBLE ORDER BY k");
    agree(&path, &duck, "SELECT * FROM nested ORDER BY k");
    agree(&path, &duck, "SELECT g, count(*), sum(id) FROM raw.part GROUP BY g ORDER BY g");
}

/// DuckDB writes intervals as Parquet intervals, which cannot be read: a clear word, no answer.
#[test]
fn intervals_of_duckdb_are_right_or_refused() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    duck.all(&["CREATE TABLE t AS SELECT INTERVAL '1 month 2 days' AS iv, 1 AS a FROM range(20)"]);
    assert_eq!(sql(&path, "SELECT sum(a) FROM t"), "20\n");
    let ran = query(&path, "SELECT DISTINCT iv FROM t").run();
    match ran.code {
        Some(0) => assert_eq!(ran.out, "1 month 2 days\n"),
        _ => {
            let err = ran.fails(1);
            assert!(err.to_lowercase().contains("interval"), "{err}");
        }
    }
}

#[test]
fn what_duckdb_keeps_in_the_catalog() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t AS SELECT 1 AS id, 'ours' AS name");
    duck.all(&[
        "INSERT INTO t VALUES (2, 'it''s'), (3, NULL)",
        "UPDATE t SET id = 10 WHERE id = 1",
    ]);
    for text in ["SELECT * FROM t ORDER BY id", "SELECT count(*), min(id), max(name) FROM t"] {
        agree(&path, &duck, text);
    }
    sql(&path, "UPDATE t SET name = 'theirs' WHERE id = 2; DELETE FROM t WHERE id = 3");
    agree(&path, &duck, "SELECT * FROM t ORDER BY id");
    assert_eq!(files(&path.join("data")).len(), 0, "all of it is in the catalog");
    // Written out as files by either, the rows are the same, then and now.
    duck.all(&["CALL ducklake_flush_inlined_data('lake')"]);
    agree(&path, &duck, "SELECT * FROM t ORDER BY id");
    duck.all(&["INSERT INTO t VALUES (4, 'four')", "DELETE FROM t WHERE id = 2"]);
    sql(&path, "INSERT INTO t VALUES (5, 'five'); CALL flush_inlined_data('t')");
    agree(&path, &duck, "SELECT * FROM t ORDER BY id");
    for version in 2..=9 {
        agree(&path, &duck, &format!("SELECT * FROM t AT (VERSION => {version}) ORDER BY id"));
    }
}

#[test]
fn what_duckdb_deletes_and_updates() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t AS SELECT value AS id FROM generate_series(1, 100)");
    sql(&path, "CREATE TABLE u AS SELECT value AS id FROM generate_series(1, 100)");
    duck.all(&["DELETE FROM t WHERE id % 2 = 0", "UPDATE u SET id = 0 WHERE id = 1"]);
    for text in [
        "SELECT count(*), sum(id), min(id), max(id) FROM t",
        "SELECT count(*) FROM t WHERE id = 2",
        "SELECT count(*), sum(id), min(id), max(id) FROM u",
    ] {
        agree(&path, &duck, text);
    }
    // A second delete of the same file, and one that is kept in the catalog.
    duck.all(&[
        "DELETE FROM t WHERE id > 90",
        "CALL lake.set_option('data_inlining_row_limit', 10)",
        "DELETE FROM t WHERE id = 5",
        "DELETE FROM u WHERE id = 50",
    ]);
    agree(&path, &duck, "SELECT count(*), sum(id), min(id), max(id) FROM t");
    agree(&path, &duck, "SELECT count(*), sum(id), min(id), max(id) FROM u");
    // Ours come on top of theirs.
    sql(&path, "DELETE FROM t WHERE id < 10; DELETE FROM u WHERE id BETWEEN 40 AND 60");
    agree(&path, &duck, "SELECT count(*), sum(id), min(id), max(id) FROM t");
    agree(&path, &duck, "SELECT count(*), sum(id), min(id), max(id) FROM u");
    // A delete of all rows, and a truncation, leave nothing behind.
    duck.all(&["DELETE FROM t"]);
    agree(&path, &duck, "SELECT count(*) FROM t");
    duck.all(&["CALL lake.set_option('write_deletion_vectors', true)"]);
    duck.all(&["DELETE FROM u WHERE id % 3 = 0"]);
    agree(&path, &duck, "SELECT count(*), sum(id), min(id), max(id) FROM u");
}

#[test]
fn what_duckdb_sees_of_our_changes() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(
        &path,
        "CREATE TABLE t AS SELECT value AS id, 'n' || value AS name FROM generate_series(1, 1000);
         DELETE FROM t WHERE id % 10 = 0;
         UPDATE t SET name = 'changed' WHERE id % 7 = 0;
         DELETE FROM t WHERE id > 900;
         MERGE INTO t USING (VALUES (1, 'one'), (2000, 'new')) AS s(id, name) ON t.id = s.id
           WHEN MATCHED THEN UPDATE SET name = s.name
           WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name)",
    );
    agree(&path, &duck, "SELECT * FROM t ORDER BY id");
    agree(&path, &duck, "SELECT count(*), min(id), max(id), max(name) FROM t");
    // Row ids survive updates, and no two rows share one.
    let ids = "SELECT count(*), count(DISTINCT rowid), max(rowid) FILTER (id = 7) FROM t";
    assert_eq!(duck.text(&ids.replace("(id = 7)", "(WHERE id = 7)")), "811,811,6\n");
    assert_eq!(duck.text("SELECT rowid FROM t WHERE id = 1"), "0\n");
    // The snapshots in between, and what each of them changed.
    assert_eq!(duck.text("SELECT count(*) FROM t AT (VERSION => 2)"), "900\n");
    assert_eq!(duck.text("SELECT count(*) FROM t AT (VERSION => 4)"), "810\n");
    let changes = "SELECT snapshot_id, change_type, count(*)
        FROM ducklake_table_changes('lake', 'main', 't', 2, 5) GROUP BY ALL ORDER BY ALL";
    assert_eq!(
        duck.text(changes),
        "2,delete,100\n3,update_postimage,128\n3,update_preimage,128\n4,delete,90\n\
         5,insert,1\n5,update_postimage,1\n5,update_preimage,1\n"
    );
    // Theirs come on top of ours.
    duck.all(&["DELETE FROM t WHERE id < 20", "UPDATE t SET name = 'duck' WHERE id = 2000"]);
    agree(&path, &duck, "SELECT * FROM t ORDER BY id");
    sql(&path, "DELETE FROM t");
    assert_eq!(duck.text("SELECT count(*) FROM t"), "0\n");
    // The last rows of a file some of whose deletes the catalog keeps.
    sql(
        &path,
        "CREATE TABLE u AS SELECT value AS id FROM generate_series(1, 40);
         DELETE FROM u WHERE id <= 5; TRUNCATE u",
    );
    let changes = "SELECT snapshot_id, change_type, count(*)
        FROM ducklake_table_changes('lake', 'main', 'u', 11, 11) GROUP BY ALL";
    assert_eq!(duck.text(changes), "11,delete,35\n");
}

#[test]
fn columns_that_duckdb_changes() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t AS SELECT 1 AS a, 'x' AS b, struct(1 AS p) AS s");
    duck.all(&["ALTER TABLE t ADD COLUMN c INTEGER DEFAULT 42"]);
    agree(&path, &duck, "SELECT * FROM t");
    duck.all(&["INSERT INTO t VALUES (2, 'y', {'p': 2}, 43)"]);
    agree(&path, &duck, "SELECT * FROM t ORDER BY a");
    duck.all(&["ALTER TABLE t RENAME COLUMN a TO z", "ALTER TABLE t DROP COLUMN b"]);
    agree(&path, &duck, "SELECT * FROM t ORDER BY z");
    duck.all(&["ALTER TABLE t ALTER COLUMN c SET DATA TYPE BIGINT"]);
    agree(&path, &duck, "SELECT * FROM t WHERE c >= 42 ORDER BY z");
    sql(&path, "INSERT INTO t (z, c) VALUES (9, 5000000000)");
    agree(&path, &duck, "SELECT * FROM t ORDER BY z");
    duck.all(&["ALTER TABLE t RENAME TO renamed"]);
    agree(&path, &duck, "SELECT z, c FROM renamed ORDER BY z");
    query(&path, "FROM t").run().fails(1);
}

#[test]
fn a_partitioned_table_of_duckdb() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    duck.all(&[
        "CREATE TABLE p (id INTEGER, g INTEGER)",
        "ALTER TABLE p SET PARTITIONED BY (g)",
        "INSERT INTO p SELECT i, i % 4 FROM range(100) r(i)",
    ]);
    agree(&path, &duck, "SELECT g, count(*), sum(id) FROM p GROUP BY g ORDER BY g");
    agree(&path, &duck, "SELECT count(*) FROM p WHERE g = 3");
    // Writing to it must keep its partitions or say that it cannot.
    let ran = query(&path, "INSERT INTO p VALUES (1000, 1)").run();
    if ran.code != Some(0) {
        let err = ran.fails(1);
        assert!(err.contains("partition"), "{err}");
    }
    agree(&path, &duck, "SELECT count(*), sum(id) FROM p WHERE g = 1");
}

/// Indexes of ours and the WAL mode are no business of DuckDB's.
#[test]
fn the_catalog_suits_duckdb_as_it_is() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t AS SELECT 1 AS id");
    duck.all(&[
        "BEGIN",
        "CREATE TABLE a AS SELECT i AS id FROM range(50) r(i)",
        "INSERT INTO t SELECT i FROM range(50) r(i)",
        "COMMIT",
        "CREATE SCHEMA s",
        "CREATE TABLE s.b AS SELECT 1 AS x FROM range(20)",
        "DROP TABLE s.b",
        "DROP SCHEMA s",
        "COMMENT ON TABLE a IS 'noted'",
        "INSERT INTO a SELECT i FROM range(50) r(i)",
        "CALL ducklake_merge_adjacent_files('lake')",
    ]);
    agree(&path, &duck, "SELECT count(*), sum(id) FROM a");
    agree(&path, &duck, "SELECT count(*), sum(id) FROM t");
    sql(&path, "INSERT INTO a VALUES (1)");
    duck.all(&[
        "CALL ducklake_expire_snapshots('lake', older_than => now() + INTERVAL 1 DAY)",
        "CALL ducklake_cleanup_old_files('lake', cleanup_all => true)",
    ]);
    agree(&path, &duck, "SELECT count(*), sum(id) FROM a");
    // Every file that is left is one that the catalog knows.
    let listed = duck.rows("SELECT path FROM __ducklake_metadata_lake.ducklake_data_file");
    assert_eq!(files(&path.join("data")).len(), listed.len());
}

#[test]
fn a_moved_warehouse_still_opens() {
    let dir = scratch();
    let path = dir.path().join("w");
    sql(&path, "CREATE TABLE t AS SELECT 1 AS id");
    let moved = dir.path().join("elsewhere");
    fs::rename(&path, &moved).unwrap();
    assert_eq!(sql(&moved, "FROM t"), "1\n");
    sql(&moved, "INSERT INTO t VALUES (2)");
    let Some(duck) = duckdb(&moved) else { return };
    agree(&moved, &duck, "SELECT * FROM t ORDER BY id");
}
