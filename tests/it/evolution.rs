//! Tables that change their form, between DuckDB and the program: after each change by one of them
//! both read the same, and the rows that a change leaves in the catalog are DuckDB's own.

use std::path::Path;

use crate::duckdb::{DuckDb, duckdb};
use crate::interop::ours;
use crate::support::{query, scratch, sql};

/// A table with every kind of column, and a row.
const TABLE: &[&str] = &[
    "CREATE TABLE t (k INTEGER, a INTEGER, b VARCHAR, f FLOAT,
        s STRUCT(x INTEGER, y VARCHAR), l STRUCT(p INTEGER)[], m MAP(VARCHAR, INTEGER))",
    "INSERT INTO t SELECT 1, 10, 'one', 0.1, {'x': 1, 'y': 'y'}, [{'p': 1}], MAP {'k': 1}",
];

/// Changes that both engines understand, with a row between them.
const CHANGES: &[&str] = &[
    "ALTER TABLE t ADD COLUMN c INTEGER DEFAULT 42",
    "ALTER TABLE t ADD COLUMN s.z INTEGER DEFAULT 7",
    "ALTER TABLE t ADD COLUMN l.element.q VARCHAR",
    "ALTER TABLE t RENAME COLUMN s.x TO xx",
    "INSERT INTO t SELECT 2, 20, 'two', 0.2, {'xx': 2, 'y': NULL, 'z': 8}, [{'p': 2, 'q': 'q'}], NULL, 43",
    "ALTER TABLE t DROP COLUMN s.y",
    "ALTER TABLE t ADD COLUMN s.y VARCHAR",
    "ALTER TABLE t ALTER c SET DEFAULT 44",
    "ALTER TABLE t RENAME COLUMN a TO aa",
    "ALTER TABLE t ALTER COLUMN aa TYPE BIGINT",
    "ALTER TABLE t ALTER COLUMN f TYPE DOUBLE",
    "ALTER TABLE t DROP COLUMN b",
    "ALTER TABLE t ALTER k SET NOT NULL",
    "COMMENT ON TABLE t IS 'a table'",
    "COMMENT ON COLUMN t.aa IS 'a column'",
    "INSERT INTO t (k, aa) VALUES (3, 9000000000)",
    "ALTER TABLE t ALTER k DROP NOT NULL",
    "ALTER TABLE t ALTER c DROP DEFAULT",
    "COMMENT ON TABLE t IS NULL",
    "ALTER TABLE t ADD COLUMN b VARCHAR",
];

/// Every row, and filters that statistics and fields decide.
const QUESTIONS: &[&str] = &[
    "SELECT * FROM t ORDER BY k",
    "SELECT k FROM t WHERE c = 42 ORDER BY k",
    "SELECT min(c), max(c), count(c), min(k), count(*) FROM t",
];

#[test]
fn duckdb_reads_every_change_of_ours() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    for statement in TABLE.iter().chain(CHANGES) {
        sql(&path, statement);
        // While rows of before and after a change are both there, as they are in the end.
        if statement.starts_with("INSERT") {
            agree_on(&path, &duck, "SELECT * FROM t ORDER BY k");
        }
    }
    agree_on_every_version(&path, &duck);
    // And writes to what came out of it.
    duck.all(&["INSERT INTO t (k, aa, s) VALUES (4, 4, {'xx': 4, 'z': 4, 'y': 'four'})"]);
    QUESTIONS.iter().for_each(|question| agree_on(&path, &duck, question));
}

#[test]
fn every_change_of_duckdb_s_is_read() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    let statements: Vec<&str> = TABLE.iter().chain(CHANGES).copied().collect();
    duck.all(&statements);
    agree_on_every_version(&path, &duck);
    sql(&path, "INSERT INTO t (k, aa) VALUES (4, 4)");
    QUESTIONS.iter().for_each(|question| agree_on(&path, &duck, question));
}

/// The table as each change left it, read by both.
#[track_caller]
fn agree_on_every_version(path: &Path, duck: &DuckDb) {
    let last = TABLE.len() + CHANGES.len();
    let at = |version| format!("SELECT * FROM t AT (VERSION => {version}) ORDER BY k");
    let questions: Vec<String> = (1..=last).map(at).collect();
    let texts: Vec<&str> = questions.iter().map(String::as_str).collect();
    let theirs = duck.all(&texts);
    // One run of ours: the answers are told apart by a row between them.
    let marked: String = questions.iter().map(|q| format!("SELECT '--'; {q};\n")).collect();
    let rows = ours(path, &marked);
    let answers: Vec<_> = rows.split(|row| row[0].as_deref() == Some("--")).skip(1).collect();
    for ((question, ours), theirs) in questions.iter().zip(answers).zip(theirs) {
        assert_eq!(ours, theirs, "ours, then DuckDB's answer to {question}");
    }
}

#[track_caller]
fn agree_on(path: &Path, duck: &DuckDb, question: &str) {
    assert_eq!(ours(path, question), duck.rows(question), "ours, then DuckDB's: {question}");
}

/// The same statements leave the same rows, whoever runs them.
#[test]
fn the_catalog_has_duckdb_s_rows() {
    let dir = scratch();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let Some(our_duck) = duckdb(&ours) else { return };
    let Some(their_duck) = duckdb(&theirs) else { return };
    // Whole numbers of files: what is written is not what is compared, and DuckDB makes tables for rows
    // in the catalog earlier.
    for path in [&ours, &theirs] {
        sql(path, "CALL set_option('data_inlining_row_limit', 0)");
    }
    let statements: Vec<&str> = TABLE.iter().chain(CHANGES).chain(LAYOUT).copied().collect();
    let each = statements.iter().map(|statement| format!("{statement};\n"));
    sql(&ours, &each.collect::<String>());
    their_duck.all(&statements);
    let text = |(table, columns): &(&str, &str)| {
        format!("SELECT {columns} FROM __ducklake_metadata_lake.ducklake_{table}")
    };
    let texts: Vec<String> = ROWS.iter().map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answers = our_duck.all(&texts).into_iter().zip(their_duck.all(&texts));
    for ((table, _), (mut ours, mut theirs)) in ROWS.iter().zip(answers) {
        ours.sort();
        theirs.sort();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{table}: ours, then DuckDB's");
        }
        assert_eq!(ours.len(), theirs.len(), "{table}");
    }
}

/// Partitions and sort keys, and what renaming does to them.
const LAYOUT: &[&str] = &[
    "CREATE TABLE p (pk INTEGER, ts TIMESTAMP, word VARCHAR)",
    "ALTER TABLE p SET PARTITIONED BY (year(ts), month(ts), bucket(4, pk), word)",
    "ALTER TABLE p SET SORTED BY (pk DESC, lower(word) ASC NULLS FIRST)",
    "ALTER TABLE p RENAME COLUMN word TO w2",
    "ALTER TABLE p SET PARTITIONED BY (year(ts), month(ts), bucket(4, pk), w2)",
    "ALTER TABLE p RESET PARTITIONED BY",
    "ALTER TABLE p RESET SORTED BY",
    "ALTER TABLE p SET SORTED BY (w2)",
    "CREATE VIEW v AS SELECT 1 AS one",
    "COMMENT ON VIEW v IS 'a view'",
    "ALTER VIEW v RENAME TO w",
    "ALTER TABLE p RENAME TO p2",
];

/// Tables of the catalog, and what of their rows has to be the same. DuckDB marks nested fields
/// that change as NOT NULL and without a kind of default, which means nothing.
const ROWS: &[(&str, &str)] = &[
    (
        "column",
        "column_id, begin_snapshot, end_snapshot, table_id, column_order, column_name, column_type, \
         initial_default, default_value, parent_column, \
         CASE WHEN parent_column IS NULL THEN nulls_allowed END",
    ),
    ("snapshot", "snapshot_id, schema_version, next_catalog_id"),
    ("snapshot_changes", "snapshot_id, changes_made"),
    ("schema_versions", "begin_snapshot, schema_version, table_id"),
    ("table", "table_id, begin_snapshot, end_snapshot, schema_id, table_name, path"),
    ("view", "view_id, begin_snapshot, end_snapshot, schema_id, view_name, column_aliases"),
    ("tag", "object_id, begin_snapshot, end_snapshot, key, value"),
    ("column_tag", "table_id, column_id, begin_snapshot, end_snapshot, key, value"),
    ("partition_info", "partition_id, table_id, begin_snapshot, end_snapshot"),
    ("partition_column", "partition_id, table_id, partition_key_index, column_id, transform"),
    ("sort_info", "sort_id, table_id, begin_snapshot, end_snapshot"),
    (
        "sort_expression",
        "sort_id, table_id, sort_key_index, expression, dialect, sort_direction, null_order",
    ),
];

/// Rows that DuckDB keeps in the catalog go into the newest of a table's tables there, by position.
#[test]
fn duckdb_keeps_rows_of_a_table_that_was_altered_here() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "SELECT 1");
    duck.all(&[
        "CALL lake.set_option('data_inlining_row_limit', 10)",
        "CREATE TABLE t (a INTEGER, f DOUBLE)",
        "INSERT INTO t VALUES (1, 0.5)",
    ]);
    sql(&path, "ALTER TABLE t ADD COLUMN b VARCHAR DEFAULT 'x'");
    duck.all(&["INSERT INTO t VALUES (2, 1.5, 'y')"]);
    sql(&path, "ALTER TABLE t RENAME COLUMN a TO c");
    duck.all(&["INSERT INTO t VALUES (3, 2.5, 'z')"]);
    sql(&path, "ALTER TABLE t DROP COLUMN f, ADD COLUMN bl BLOB");
    duck.all(&["INSERT INTO t VALUES (4, 'w', '\\x01'::BLOB)"]);
    sql(&path, "ALTER TABLE t RENAME TO u");
    duck.all(&["INSERT INTO u VALUES (5, 'v', NULL)"]);
    let rows = duck.text("SELECT c, b, bl FROM u ORDER BY c");
    assert_eq!(rows, "1,x,∅\n2,y,∅\n3,z,∅\n4,w,\\x01\n5,v,∅\n");
    duck.all(&["CALL ducklake_flush_inlined_data('lake')"]);
    assert_eq!(duck.text("SELECT c, b, bl FROM u ORDER BY c"), rows);
}

/// Constraints are ours alone: DuckDB opens and writes the lake, and may pull a column away.
#[test]
fn duckdb_is_not_disturbed_by_constraints() {
    let dir = scratch();
    let path = dir.path().join("w");
    let Some(duck) = duckdb(&path) else { return };
    sql(&path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER CONSTRAINT pos CHECK (v > 0))");
    sql(&path, "INSERT INTO t VALUES (1, 1)");
    duck.all(&["INSERT INTO t VALUES (2, -2)", "ALTER TABLE t ADD COLUMN w INTEGER"]);
    agree_on(&path, &duck, "SELECT * FROM t ORDER BY id");
    let err = query(&path, "INSERT INTO t VALUES (3, -3, 3)").run().fails(1);
    assert!(err.contains("\"pos\"") && err.contains("id = 3, v = -3"), "{err}");
    duck.all(&["ALTER TABLE t RENAME COLUMN v TO x"]);
    let err = query(&path, "INSERT INTO t VALUES (3, 3, 3)").run().fails(1);
    assert!(err.contains("\"pos\"") && err.contains("DROP CONSTRAINT"), "{err}");
    sql(&path, "ALTER TABLE t DROP CONSTRAINT pos");
    sql(&path, "INSERT INTO t VALUES (3, 3, 3)");
    duck.all(&["DROP TABLE t", "CREATE TABLE t (id INTEGER)"]);
    sql(&path, "INSERT INTO t VALUES (NULL)");
    agree_on(&path, &duck, "SELECT * FROM t");
}
