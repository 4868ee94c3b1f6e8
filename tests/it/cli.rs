//! The command line as scripts see it: exit codes, errors, inputs, formats and flags.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{GOTGAN, files, gotgan, query, scratch, sql};

const MARKER: &str = "hunter2-not-to-be-seen";

#[test]
fn success_is_zero_and_prints_only_the_answer() {
    let dir = scratch();
    let ran = gotgan(["w", "-c", "CREATE TABLE t AS SELECT 1 AS a", "-c", "FROM t"]);
    let ran = ran.dir(dir.path()).run();
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "a\n1\n", ""));
}

#[test]
fn without_a_warehouse_it_is_temporary() {
    let dir = scratch();
    let ran = gotgan(["-c", "CREATE TABLE t AS SELECT 1 AS a; FROM t"])
        .dir(dir.path())
        .env("TMPDIR", dir.path().to_str().unwrap())
        .run();
    assert_eq!(ran.ok(), "a\n1\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn an_error_in_a_file_has_its_place_and_a_caret() {
    let dir = scratch();
    fs::create_dir(dir.path().join("etl")).unwrap();
    let script = "CREATE TABLE orders AS SELECT 1 AS id;\n\nSELECT *\n  FROM ordrs\n";
    fs::write(dir.path().join("etl/daily.sql"), script).unwrap();
    let err = gotgan(["w", "-f", "etl/daily.sql"]).dir(dir.path()).run().fails(1);
    let expected = "error: table \"ordrs\" does not exist
 --> etl/daily.sql:4:8
  |
4 |   FROM ordrs
  |        ^^^^^ did you mean orders?
";
    assert_eq!(err, expected);
}

#[test]
fn an_error_after_line_nine_widens_the_margin() {
    let dir = scratch();
    let script = "\n".repeat(12) + "SELECT\n\t'곳간', nme FROM (SELECT 1 AS name)";
    let err = gotgan(["w"]).dir(dir.path()).stdin(script).run().fails(1);
    let expected = "error: column \"nme\" does not exist
  --> <stdin>:14:8
   |
14 |  '곳간', nme FROM (SELECT 1 AS name)
   |          ^^^ did you mean \"name\"?
help: the columns are name
";
    assert_eq!(err, expected);
}

#[test]
fn a_typo_at_the_end_runs_nothing() {
    let dir = scratch();
    let script = "CREATE TABLE t AS SELECT 1 AS a;\nSELECT 'seen';\nSELEC 2;\n";
    fs::write(dir.path().join("a.sql"), script).unwrap();
    let ran = gotgan(["w", "-c", "SELECT 'first'", "-f", "a.sql"]).dir(dir.path()).run();
    assert_eq!(ran.out, "");
    let err = ran.fails(1);
    assert!(err.contains("--> a.sql:3:1\n") && err.contains("^^^^^"), "{err}");
    assert!(!dir.path().join("w").exists(), "not even the warehouse was made");
}

#[test]
fn the_first_error_stops_a_script() {
    let dir = scratch();
    let ran = gotgan(["-c", "SELECT 1 AS a; SELECT * FROM nope; SELECT 2 AS b"]);
    let ran = ran.dir(dir.path()).run();
    assert_eq!(ran.out, "a\n1\n");
    ran.fails(1);
}

#[test]
fn keep_going_goes_on_and_still_fails() {
    let dir = scratch();
    let script = "SELECT 1 AS a; SELECT * FROM nope; SELECT 2 AS b";
    let ran = gotgan(["--keep-going", "-c", script]).dir(dir.path()).run();
    assert_eq!(ran.out, "a\n1\nb\n2\n");
    assert!(ran.fails(1).contains("table \"nope\" does not exist"));
}

#[test]
fn one_transaction_leaves_no_trace_of_a_failure() {
    let dir = scratch();
    let path = dir.path().join("w");
    sql(&path, "CREATE TABLE kept AS SELECT 1 AS a");
    let before = (files(&path.join("data")), sql(&path, "FROM snapshots()"));
    let script = "INSERT INTO kept VALUES (2); CREATE TABLE t AS SELECT 1 AS a; CREATE SCHEMA s;
        SELECT 1 / 0";
    let err = gotgan([path.to_str().unwrap(), "-1", "-c", script]).run().fails(1);
    assert!(err.to_lowercase().contains("divide by zero"), "{err}");
    assert_eq!(sql(&path, "FROM kept"), "1\n");
    let after = (files(&path.join("data")), sql(&path, "FROM snapshots()"));
    assert_eq!(before, after);
    query(&path, "FROM t").run().fails(1);

    let good = "INSERT INTO kept VALUES (2); CREATE TABLE t AS SELECT 7 AS a";
    gotgan([path.to_str().unwrap(), "-1", "-c", good]).run().ok();
    assert_eq!(sql(&path, "SELECT sum(a) AS a FROM kept UNION ALL FROM t ORDER BY a"), "3\n7\n");
}

#[test]
fn one_transaction_is_not_begun_twice() {
    let dir = scratch();
    let ran = gotgan(["-1", "-c", "SELECT 1;\nBEGIN"]).dir(dir.path()).run();
    assert_eq!(ran.out, "");
    let err = ran.fails(1);
    assert!(err.contains("--> -c:2:1"), "{err}");
}

#[test]
fn a_forgotten_commit_is_an_error_and_rolled_back() {
    let dir = scratch();
    let path = dir.path().join("w");
    let err = query(&path, "BEGIN; CREATE TABLE t AS SELECT 1 AS a").run().fails(1);
    assert!(err.contains("rolled back"), "{err}");
    query(&path, "FROM t").run().fails(1);
    assert!(files(&path.join("data")).is_empty());
}

#[test]
fn commands_and_files_run_in_their_order() {
    let dir = scratch();
    fs::write(dir.path().join("b.sql"), "SELECT 'b';").unwrap();
    let ran = gotgan(["-no-header", "-c", "SELECT 'a'", "-f", "b.sql", "-c", "SELECT 'c'"]);
    assert_eq!(ran.dir(dir.path()).run().ok(), "a\nb\nc\n");
}

#[test]
fn standard_input_is_a_script() {
    let dir = scratch();
    let text = "SELECT 1 AS a; -- one;\nSELECT ';' AS b";
    assert_eq!(gotgan(["w"]).dir(dir.path()).stdin(text).run().ok(), "a\n1\nb\n;\n");
    let ran = gotgan(["w", "-no-header", "-c", "SELECT 0", "-f", "-"]).dir(dir.path());
    assert_eq!(ran.stdin("SELECT 1").run().ok(), "0\n1\n");
    assert_eq!(gotgan(["w"]).dir(dir.path()).stdin("").run().ok(), "");
    assert_eq!(gotgan(["w"]).dir(dir.path()).stdin("-- nothing\n;;").run().ok(), "");
    let err = gotgan(["w"]).dir(dir.path()).stdin(b"SELECT '\xff'".to_vec()).run().fails(1);
    assert!(err.contains("not UTF-8"), "{err}");
}

const ROWS: &str = "SELECT * FROM (VALUES (1, 'x,\"y\"', 1.5), (NULL, 'a|b', NULL)) AS t(a, b, c)";

#[test]
fn csv_quotes_what_needs_it() {
    let expected = "a,b,c\n1,\"x,\"\"y\"\"\",1.5\n,a|b,\n";
    assert_eq!(gotgan(["-csv", "-c", ROWS]).run().ok(), expected);
    let expected = "1,\"x,\"\"y\"\"\",1.5\n-,a|b,-\n";
    assert_eq!(gotgan(["-no-header", "-nullvalue", "-", "-c", ROWS]).run().ok(), expected);
}

#[test]
fn json_is_an_array_and_ndjson_lines() {
    let out = gotgan(["--format", "json", "-c", ROWS]).run().ok();
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    let expected = serde_json::json!([
        {"a": 1, "b": "x,\"y\"", "c": 1.5}, {"a": null, "b": "a|b", "c": null}
    ]);
    assert_eq!(rows, expected, "{out}");
    let out = gotgan(["-ndjson", "-c", ROWS]).run().ok();
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(serde_json::Value::Array(lines), expected);
}

#[test]
fn markdown_escapes_its_bars() {
    let out = gotgan(["-markdown", "-c", ROWS]).run().ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[1].starts_with("| ") && lines[1].contains("--"), "{out}");
    assert!(lines[3].contains("a\\|b"), "{out}");
}

#[test]
fn variables_have_three_forms() {
    let text = r#"SELECT :n + 1, :'s', :"c" FROM (SELECT 5 AS "a b")"#;
    let ran = gotgan(["-no-header", "-v", "n=41", "-v", "s=it's", "-v", "c=a b", "-c", text]);
    assert_eq!(ran.run().ok(), "42,it's,5\n");
    let err = gotgan(["-v", "nam=1", "-c", "SELECT 1,\n  :name"]).run().fails(1);
    assert!(err.contains("--> -c:2:3"), "{err}");
    assert!(err.contains("name"), "{err}");
}

#[test]
fn read_only_changes_nothing() {
    let dir = scratch();
    let path = dir.path().join("w");
    sql(&path, "CREATE TABLE t AS SELECT 1 AS a");
    let before = files(&path);
    let name = path.to_str().unwrap();
    for text in [
        "INSERT INTO t VALUES (2)",
        "CREATE TABLE u AS SELECT 1 AS a",
        "DROP TABLE t",
        "CREATE SCHEMA s",
        "CREATE VIEW v AS SELECT 1 AS a",
    ] {
        let err = gotgan([name, "--read-only", "-c", text]).run().fails(1);
        assert!(err.contains("reading only"), "{text}: {err}");
    }
    assert_eq!(gotgan([name, "-readonly", "-c", "FROM t"]).run().ok(), "a\n1\n");
    let data = |files: &[std::path::PathBuf]| {
        files.iter().filter(|f| f.extension().is_some_and(|e| e == "parquet")).count()
    };
    assert_eq!(data(&before), data(&files(&path)));
    let err = gotgan(["w2", "--read-only", "-c", "SELECT 1"]).dir(dir.path()).run().fails(1);
    assert!(err.contains("there is no warehouse"), "{err}");
    assert!(!dir.path().join("w2").exists());
}

#[test]
fn safe_keeps_sql_in_the_warehouse() {
    let dir = scratch();
    fs::write(dir.path().join("a.csv"), "x\n1\n").unwrap();
    fs::write(dir.path().join("b.sql"), "SELECT 1;").unwrap();
    for text in [
        "FROM 'a.csv'",
        "SELECT * FROM read_csv('a.csv')",
        "CREATE TABLE t AS FROM 'a.csv'",
        "COPY (SELECT 1 AS a) TO 'out.csv'",
        "FROM 'http://127.0.0.1:1/a.csv'",
        ".read b.sql",
        ".output out.csv",
        ".shell touch out.csv",
    ] {
        let ran = gotgan(["w", "--safe", "-c", text]).dir(dir.path()).run();
        assert_eq!(ran.out, "", "{text}");
        let err = ran.fails(1);
        assert!(err.to_lowercase().contains("safe"), "{text}: {err}");
        assert!(!dir.path().join("out.csv").exists(), "{text}");
    }
    let text = "CREATE TABLE t AS SELECT 1 AS a; FROM t";
    assert_eq!(gotgan(["w", "--safe", "-c", text]).dir(dir.path()).run().ok(), "a\n1\n");
}

#[test]
fn output_goes_to_a_file() {
    let dir = scratch();
    let ran = gotgan(["-o", "out.csv", "-c", "SELECT 1 AS a"]).dir(dir.path()).run();
    assert_eq!(ran.ok(), "");
    assert_eq!(fs::read_to_string(dir.path().join("out.csv")).unwrap(), "a\n1\n");
    let err = gotgan(["-o", "no/out.csv", "-c", "SELECT 1"]).dir(dir.path()).run().fails(1);
    assert!(err.contains("no/out.csv"), "{err}");
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let text = "SELECT * FROM range(3000000); SELECT * FROM generate_series(1, 3000000)";
    let mut child = Command::new(GOTGAN)
        .args(["-c", text])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 10];
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn wrong_usage_is_two() {
    let dir = scratch();
    for (args, expected) in [
        (&["--nope"][..], "unexpected argument '--nope'"),
        (&["--format", "jsno"], "did you mean \"json\"?"),
        (&["-v", "x"], "NAME=VALUE"),
        (&["--memory-limit", "2XB"], "memory limit"),
        (&["--threads", "0"], "at least 1"),
        (&["-1", "--keep-going"], "cannot be used with"),
        (&["a", "b"], "unexpected argument 'b'"),
    ] {
        let ran = gotgan(args).dir(dir.path()).run();
        assert_eq!(ran.out, "", "{args:?}");
        let err = ran.fails(2);
        assert!(err.contains(expected), "{args:?}: {err}");
    }
    let version = gotgan(["--version"]).run().ok();
    assert_eq!(version.trim(), concat!("gotgan ", env!("CARGO_PKG_VERSION")));
    assert!(gotgan(["--help"]).run().ok().contains("Exit codes"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_script_runs_nothing() {
    let dir = scratch();
    let ran = gotgan(["w", "-c", "SELECT 1", "-f", "nope.sql"]).dir(dir.path()).run();
    assert_eq!(ran.out, "");
    let err = ran.fails(1);
    assert!(err.contains("cannot read \"nope.sql\""), "{err}");
    assert!(!dir.path().join("w").exists());
}

#[test]
fn secrets_show_nowhere() {
    let dir = scratch();
    let hidden = |path: &Path, text: &str| {
        let ran = gotgan([path.to_str().unwrap(), "--keep-going", "-c", text])
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", MARKER)
            .env("AWS_SESSION_TOKEN", MARKER)
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .env("AWS_REGION", "us-east-1")
            .run();
        assert!(!ran.out.contains(MARKER) && !ran.err.contains(MARKER), "{text}: {ran:#?}");
        ran
    };
    let path = dir.path().join("w");
    hidden(&path, "CREATE TABLE t AS SELECT 1 AS a; FROM nope; SHOW ALL; FROM snapshots()");
    hidden(&path, "SELECT * FROM information_schema.df_settings");
    hidden(&path, "FROM 's3://bucket/a.csv'").fails(1);
    let with_key = format!("FROM 'http://user:{MARKER}@127.0.0.1:1/a.csv'");
    let ran = gotgan([path.to_str().unwrap(), "-c", &with_key]).run();
    let line = |line: &&str| line.starts_with("error:") || line.starts_with("help:");
    assert!(!ran.err.lines().filter(line).any(|line| line.contains(MARKER)), "{}", ran.err);
    for file in files(&path) {
        let bytes = fs::read(&file).unwrap();
        let found = bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
        assert!(!found, "{}", file.display());
    }
}
