//! Runs `tests/slt/<feature>/<topic>.slt`, one trial per file and kind of catalog, through the library.
//!
//! Each trial gets a scratch directory of its own, with the files of an empty warehouse `shop` in
//! `shop.wh/data`, so that trials run at the same time. Its catalog is beside them in SQLite, or in a
//! schema of its own in PostgreSQL; the answers are the same. `connection NAME` is one more session of the same warehouse. In
//! statements `__DIR__` stands for the scratch directory, and in results and errors the scratch
//! directory is shown as `__DIR__` and the ids in names of data files are left out.
//!
//! A query's columns have the types `T` text, `I` integer, `R` other numbers, `B` boolean, `D` date
//! and time, `?` anything else; both their number and their types are checked. Values are shown
//! as the shell shows them: NULL as `NULL`, an empty text as `(empty)`, line ends as `\n`. Of
//! EXPLAIN the lines of the plans are the rows. An expected error is a regular expression for the
//! message with its label and its help.
//!
//! ```text
//! cargo test --test slt                               # all of them
//! cargo test --test slt -- insert                     # those with "insert" in their name
//! cargo test --test slt -- sqlite::                   # those on SQLite
//! GOTGAN_SLT_COMPLETE=1 cargo test --test slt -- x    # write what came out into the files; review it
//! ```

#[path = "support/services.rs"]
#[allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests may")]
mod services;

use std::fmt;
use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use futures::TryStreamExt;
use gotgan::{Config, Outcome, Rows, Session, Warehouse};
use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{AsyncDB, ColumnType, DBOutput, Runner};

use self::services::Postgres;

/// So that plans and the order of rows are the same on every machine.
const THREADS: usize = 4;

fn main() {
    let arguments = Arguments::from_args();
    let complete = std::env::var_os("GOTGAN_SLT_COMPLETE").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut trials = vec![];
    for file in files(&root) {
        let topic = file.strip_prefix(&root).expect("below the root").with_extension("");
        let topic = topic.to_string_lossy().replace('\\', "/");
        let copy = file.clone();
        trials.push(Trial::test(format!("sqlite::{topic}"), move || run(&copy, None, complete)));
        // What is written into a file is what came out on SQLite.
        if !complete {
            let check = move || run(&file, services::postgres(), complete);
            let trial = Trial::test(format!("postgres::{topic}"), check);
            trials.push(trial.with_ignored_flag(services::is_offline()));
        }
    }
    if services::is_offline() {
        services::skipped("postgres::*");
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Every `.slt` below `directory`, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("tests/slt is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    let of = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    let paths = paths.into_iter().flat_map(of);
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "slt")).collect()
}

fn run(file: &Path, server: Option<&Postgres>, complete: bool) -> Result<(), Failed> {
    let scratch = tempfile::Builder::new().prefix("slt-").tempdir()?;
    let directory = scratch.path().to_str().ok_or("the scratch directory is not UTF-8")?;
    let config = match server {
        None => Config::new(format!("{directory}/shop.wh")),
        Some(server) => Config::new(server.schema()).data_path(format!("{directory}/shop.wh/data")),
    };
    let config = config.threads(THREADS);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(Box::pin(check(file, config, directory, complete)))
}

async fn check(file: &Path, config: Config, directory: &str, complete: bool) -> Result<(), Failed> {
    let warehouse = Warehouse::open(config).await?;
    let mut runner = Runner::new(|| async {
        Ok(Database { session: warehouse.session(), directory: directory.to_owned() })
    });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    if complete {
        let update = runner.update_test_file(
            file,
            " ",
            sqllogictest::default_validator,
            sqllogictest::default_normalizer,
            sqllogictest::strict_column_validator,
        );
        return update.await.map_err(|error| error.to_string().into());
    }
    runner.run_file_async(file).await.map_err(|error| error.to_string().into())
}

/// One session, as the runner sees it.
struct Database {
    session: Session,
    directory: String,
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Shown;
    type ColumnType = Column;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Column>, Shown> {
        let sql = sql.replace("__DIR__", &self.directory);
        let output = match self.session.sql(&sql).await {
            Ok(Outcome::Rows(rows)) => output(rows).await,
            Ok(Outcome::Changed { rows, .. }) => {
                Ok(DBOutput::StatementComplete(rows.unwrap_or_default()))
            }
            Err(error) => Err(error),
        };
        match output {
            Ok(DBOutput::Rows { types, mut rows }) => {
                for value in rows.iter_mut().flatten() {
                    *value = masked(value, &self.directory);
                }
                Ok(DBOutput::Rows { types, rows })
            }
            Ok(done) => Ok(done),
            Err(error) => Err(Shown::new(&error, &self.directory)),
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "sqlite"
    }
}

async fn output(rows: Rows) -> gotgan::Result<DBOutput<Column>> {
    let schema = rows.schema();
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let rows = values(&batches)?;
    if names == ["plan_type", "plan"] {
        return Ok(plan(&rows));
    }
    Ok(DBOutput::Rows { types: Column::of(&schema), rows })
}

/// The values of all rows, as text.
fn values(batches: &[RecordBatch]) -> gotgan::Result<Vec<Vec<String>>> {
    let mut rows = vec![];
    for batch in batches {
        let columns = batch.columns().iter().map(|column| gotgan::cli::texts(column));
        let columns = columns.collect::<gotgan::Result<Vec<_>>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            columns.iter().map(|column| value(column[row].as_deref())).collect::<Vec<_>>()
        }));
    }
    Ok(rows)
}

fn value(text: Option<&str>) -> String {
    match text {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.replace('\r', "\\r").replace('\n', "\\n"),
    }
}

/// `text` without what differs from run to run: the scratch directory, the ids in names of files.
fn masked(text: &str, directory: &str) -> String {
    const FILE: &str = "ducklake-";
    const ID_LENGTH: usize = "01234567-89ab-cdef-0123-456789abcdef".len();
    let text =
        text.replace(directory, "__DIR__").replace(directory.trim_start_matches('/'), "__DIR__");
    let mut parts = text.split(FILE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(FILE);
        out.push_str(part.get(ID_LENGTH..).unwrap_or(part));
    }
    out
}

/// The physical plan of EXPLAIN, one row per line.
fn plan(rows: &[Vec<String>]) -> DBOutput<Column> {
    let physical = rows.iter().filter(|row| row[0] != "logical_plan");
    let lines = physical.flat_map(|row| row[1].split("\\n"));
    let rows = lines.map(str::trim).filter(|line| !line.is_empty());
    DBOutput::Rows { types: vec![Column::Text], rows: rows.map(|line| vec![line.into()]).collect() }
}

/// What `query` records call a column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Text,
    Integer,
    Real,
    Boolean,
    Time,
    Other,
}

impl Column {
    fn of(schema: &Schema) -> Vec<Self> {
        let of = |data_type: &DataType| match data_type {
            other if other.is_string() => Self::Text,
            other if other.is_integer() => Self::Integer,
            other if other.is_numeric() => Self::Real,
            DataType::Boolean => Self::Boolean,
            other if other.is_temporal() => Self::Time,
            _ => Self::Other,
        };
        schema.fields().iter().map(|field| of(field.data_type())).collect()
    }
}

impl ColumnType for Column {
    fn from_char(value: char) -> Option<Self> {
        Some(match value {
            'T' => Self::Text,
            'I' => Self::Integer,
            'R' => Self::Real,
            'B' => Self::Boolean,
            'D' => Self::Time,
            '?' => Self::Other,
            _ => return None,
        })
    }

    fn to_char(&self) -> char {
        match self {
            Self::Text => 'T',
            Self::Integer => 'I',
            Self::Real => 'R',
            Self::Boolean => 'B',
            Self::Time => 'D',
            Self::Other => '?',
        }
    }
}

/// An error in one line: the message, the label in parentheses, the help.
#[derive(Debug)]
struct Shown(String);

impl Shown {
    fn new(error: &gotgan::Error, directory: &str) -> Self {
        let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
        Self(format!("{error}{help}").replace(directory, "__DIR__").replace('\n', "\\n"))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Shown {}
