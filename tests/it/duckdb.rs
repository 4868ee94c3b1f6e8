//! DuckDB as the other engine on a warehouse, in its own process: two SQLite libraries in one
//! process do not lock each other out.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::services::{PASSWORD, Postgres, python, script};

/// Rows of text; `None` is NULL.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// DuckDB, attached to a warehouse as `lake`.
pub(crate) struct DuckDb {
    python: std::path::PathBuf,
    task: Value,
}

/// DuckDB on the warehouse directory `path`; `None` when the tests are offline.
pub(crate) fn duckdb(path: &Path) -> Option<DuckDb> {
    attached(&format!("sqlite:{}", path.join("catalog.sqlite").display()))
}

/// DuckDB on the warehouse with its catalog in a PostgreSQL database.
pub(crate) fn duckdb_on(server: &Postgres, database: &str) -> Option<DuckDb> {
    // It stands in a literal.
    let lake = postgres_lake(server, database).replace('\'', "''");
    attached(&lake).map(|duckdb| duckdb.extension("postgres_scanner"))
}

/// How DuckDB names the catalog in a PostgreSQL database.
pub(crate) fn postgres_lake(server: &Postgres, database: &str) -> String {
    let (port, password) = (server.port, PASSWORD.replace('\'', "\\'"));
    format!(
        "postgres:dbname={database} host=127.0.0.1 port={port} user=gotgan password='{password}'"
    )
}

/// DuckDB with a database in memory.
pub(crate) fn duckdb_alone() -> Option<DuckDb> {
    on(json!(null))
}

fn attached(lake: &str) -> Option<DuckDb> {
    on(json!(lake))
}

fn on(lake: Value) -> Option<DuckDb> {
    let task = json!({
        "lake": lake, "options": "", "setup": [], "queries": [], "extensions": [],
    });
    Some(DuckDb { python: python()?, task })
}

impl DuckDb {
    /// Loads a Python package `duckdb-extension-NAME` first.
    pub(crate) fn extension(mut self, name: &str) -> Self {
        self.task["extensions"].as_array_mut().unwrap().push(name.into());
        self
    }

    /// Options of the warehouse, such as where its files are.
    pub(crate) fn option(mut self, options: &str) -> Self {
        self.task["options"] = format!("({options})").into();
        self
    }

    /// A statement to run before the warehouse is attached.
    pub(crate) fn setup(mut self, statement: &str) -> Self {
        self.task["setup"].as_array_mut().unwrap().push(statement.into());
        self
    }

    /// The answers of `statements`, each with its rows, or what DuckDB said against one.
    pub(crate) fn try_all(&self, statements: &[&str]) -> Result<Vec<Rows>, String> {
        let mut task = self.task.clone();
        task["queries"] = json!(statements);
        // Isolated, so that the script's own name hides no package.
        let mut child = Command::new(&self.python)
            .arg("-I")
            .arg(script("duckdb.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "DuckDB's process failed: {said}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(serde_json::from_value(answer).unwrap()),
        }
    }

    /// The answers of `statements`, which must all work.
    #[track_caller]
    pub(crate) fn all(&self, statements: &[&str]) -> Vec<Rows> {
        self.try_all(statements).unwrap_or_else(|error| panic!("DuckDB: {error}"))
    }

    /// The answer of one statement.
    #[track_caller]
    pub(crate) fn rows(&self, statement: &str) -> Rows {
        self.all(&[statement]).remove(0)
    }

    /// An answer as CSV without quotes, `∅` for NULL.
    #[track_caller]
    pub(crate) fn text(&self, statement: &str) -> String {
        lines(&self.rows(statement))
    }
}

/// Rows as lines, values between commas, `∅` for NULL.
pub(crate) fn lines(rows: &Rows) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "∅".into());
    rows.iter().map(|row| row.iter().map(shown).collect::<Vec<_>>().join(",") + "\n").collect()
}
