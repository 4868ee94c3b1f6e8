//! The two engines, and what they say in one form: DuckDB in a process of its own, the program
//! through its library.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use gotgan::{Config, Error, Session, Warehouse};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::duckdb::{Rows, postgres_lake};
use crate::services::script;
use crate::support::{Kind, Lake};

/// DuckDB with the warehouse as `lake`, and a database in memory, `mirror`.
pub(crate) struct Duck {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A new warehouse, and DuckDB beside it.
pub(crate) fn beside(kind: Kind, python: &Path) -> (Lake, Duck) {
    let (lake, catalog, extensions) = match kind {
        Kind::Sqlite => {
            let lake = kind.lake();
            let catalog = format!("sqlite:{}/catalog.sqlite", lake.location);
            (lake, catalog, vec![])
        }
        // DuckDB looks for the catalog where a database keeps its tables.
        Kind::Postgres(server) => {
            static NUMBER: AtomicU32 = AtomicU32::new(1);
            let name = format!("beside_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
            server.execute("postgres", &format!("CREATE DATABASE {name}"));
            let lake = Lake::at(server.url(&name));
            (lake, postgres_lake(server, &name), vec!["postgres_scanner"])
        }
    };
    let task = json!({
        "lake": catalog, "data": format!("{}/", lake.data.display()),
        "extensions": extensions, "setup": ["SET TimeZone = 'UTC'", "SET threads = 1"],
    });
    (lake, Duck::start(python, &task))
}

/// Which database of DuckDB's process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side {
    Lake,
    Mirror,
}

impl Duck {
    /// Starts it; `task` is the first line that `weave.py` reads.
    fn start(python: &Path, task: &Value) -> Self {
        // Isolated, so that no script's name hides a package.
        let mut process = Command::new(python)
            .arg("-I")
            .arg(script("weave.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut duck = Self { process, requests, answers };
        writeln!(duck.requests, "{task}").unwrap();
        duck
    }

    fn ask(&mut self, request: &Value) -> Value {
        let mut line = String::new();
        let asked = writeln!(self.requests, "{request}");
        let _ = asked.and_then(|()| self.answers.read_line(&mut line));
        let died = |_| json!({"error": format!("DuckDB's process died at {request}")});
        serde_json::from_str(&line).unwrap_or_else(died)
    }

    /// The answers of statements, up to the first error.
    pub(crate) fn run<S: AsRef<str>>(&mut self, on: Side, sql: &[S]) -> Result<Vec<Rows>, String> {
        let on = if on == Side::Lake { "lake" } else { "mirror" };
        let sql: Vec<String> = sql.iter().map(|sql| for_duckdb(sql.as_ref())).collect();
        let mut answer = self.ask(&json!({"on": on, "run": sql}));
        match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap().to_owned()),
            None => Ok(serde_json::from_value(answer["answers"].take()).unwrap()),
        }
    }

    /// Attaches the warehouse anew: nothing is cached.
    pub(crate) fn attach_again(&mut self) {
        self.ask(&json!({"again": true}));
    }

    /// Files that no catalog names are no fault if they are there now.
    pub(crate) fn leave_files(&mut self) {
        self.ask(&json!({"leave": true}));
    }

    /// Something may have changed; whether DuckDB did it. The tables, by schema and name, of which it
    /// has forgotten the bounds of values.
    pub(crate) fn wrote(&mut self, by_duckdb: bool) -> Vec<[String; 2]> {
        let mut answer = self.ask(&json!({"wrote": by_duckdb}));
        serde_json::from_value(answer["forgotten"].take()).unwrap()
    }

    /// What is wrong with the catalog and its files.
    pub(crate) fn violations(&mut self) -> Result<Vec<String>, String> {
        let mut answer = self.ask(&json!({"check": true}));
        let found = serde_json::from_value(answer["violations"].take());
        found.map_err(|_| answer["error"].to_string())
    }
}

impl Drop for Duck {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The one thing that the engines write differently: `X'00FF'` is `'\x00\xFF'::BLOB` there.
fn for_duckdb(sql: &str) -> String {
    let mut out = String::new();
    let mut rest = sql;
    while let Some(at) = rest.find("X'") {
        let end = at + 2 + rest[at + 2..].find('\'').unwrap();
        let digits = &rest.as_bytes()[at + 2..end];
        out += &rest[..at];
        out += "CAST('";
        for pair in digits.chunks(2) {
            out += &format!("\\x{}", str::from_utf8(pair).unwrap());
        }
        out += "' AS BLOB)";
        rest = &rest[end + 1..];
    }
    out + rest
}

/// The program, through its library.
pub(crate) struct Gotgan {
    pub(crate) runtime: Runtime,
    warehouse: Warehouse,
    /// The one that changes things, and may have a transaction open.
    session: Session,
}

impl Gotgan {
    pub(crate) fn open(config: &Config) -> Self {
        let runtime = Runtime::new().unwrap();
        let warehouse = runtime.block_on(Warehouse::open(config.clone())).unwrap();
        let session = warehouse.session();
        Self { runtime, warehouse, session }
    }

    pub(crate) fn run(&mut self, sql: &str) -> Result<(), Error> {
        let Self { runtime, session, .. } = self;
        runtime.block_on(async { session.sql(sql).await?.collect().await }).map(drop)
    }

    /// Rows as the session sees them, or as any other does.
    pub(crate) fn rows(&mut self, inside: bool, sql: &str) -> Result<Rows, Error> {
        let Self { runtime, warehouse, session } = self;
        let batches = runtime.block_on(async {
            match inside {
                true => session.sql(sql).await?.collect().await,
                false => warehouse.session().sql(sql).await?.collect().await,
            }
        })?;
        let mut rows = Rows::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                rows.push(batch.columns().iter().map(|column| text(column, row)).collect());
            }
        }
        Ok(rows)
    }
}

/// A value as DuckDB's cast to text gives it; what is nested as its `to_json` does.
fn text(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => json(column, row),
        DataType::Float32 => float(column.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        DataType::FixedSizeBinary(16) => {
            let bytes = column.as_fixed_size_binary().value(row);
            uuid(&hex(bytes))
        }
        DataType::Timestamp(..) | DataType::Time64(_) | DataType::Time32(_) => {
            let shown = shown(column, row);
            let (digits, zone) = match shown.strip_suffix("Z") {
                Some(digits) => (digits, "+00"),
                None => (shown.as_str(), ""),
            };
            let digits = match digits.contains('.') {
                true => digits.trim_end_matches('0').trim_end_matches('.'),
                false => digits,
            };
            format!("{digits}{zone}")
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            shown(column, row).to_uppercase()
        }
        _ => shown(column, row),
    })
}

fn shown(column: &dyn Array, row: usize) -> String {
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.9f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.9fZ"))
        .with_time_format(Some("%H:%M:%S%.9f"));
    ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uuid(hex: &str) -> String {
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn float(value: f64) -> String {
    if value.is_nan() { "nan".into() } else { format!("{value:?}") }
}

fn json(column: &dyn Array, row: usize) -> String {
    let list = |values: &dyn Array| -> Vec<String> {
        (0..values.len()).map(|i| json(values, i)).collect()
    };
    if column.is_null(row) {
        return "null".into();
    }
    match column.data_type() {
        DataType::List(_) => format!("[{}]", list(&column.as_list::<i32>().value(row)).join(",")),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            let field = |(field, column): (&arrow::datatypes::FieldRef, &dyn Array)| {
                format!("{}:{}", json!(field.name()), json(column, row))
            };
            let columns = columns.iter().map(|column| column.as_ref());
            let fields: Vec<String> = fields.iter().zip(columns).map(field).collect();
            format!("{{{}}}", fields.join(","))
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let keys = (0..entries.len()).map(|i| text(entries.column(0), i).unwrap());
            let values = list(entries.column(1));
            let entries = keys.zip(values).map(|(key, value)| format!("{}:{value}", json!(key)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Date32 => {
            json!(text(column, row)).to_string()
        }
        _ => text(column, row).unwrap(),
    }
}

/// Stands between the values of a row, and for NULL.
const BETWEEN: &str = "\u{1f}";
const NULL: &str = "\u{1e}";

/// How many rows, and a number of their contents in whatever order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    number: u128,
}

impl Sum {
    /// Of rows that are here.
    pub(crate) fn of(rows: &Rows) -> Self {
        let number = |row: &Vec<Option<String>>| {
            let digest = Md5::digest(line(row));
            u128::from(u64::from_le_bytes(digest[8..].try_into().unwrap()))
        };
        Self { rows: rows.len() as u64, number: rows.iter().map(number).sum() }
    }

    /// What makes DuckDB compute it of `rows`, a query whose values are all text.
    pub(crate) fn query(expressions: &[String], from: &str) -> String {
        let values = expressions.iter().map(|value| format!("coalesce({value}, '{NULL}')"));
        let values = values.collect::<Vec<_>>().join(", ");
        format!(
            "SELECT count(*), coalesce(sum(md5_number_lower(line)), 0) FROM \
             (SELECT concat_ws('{BETWEEN}', {values}) AS line FROM {from})"
        )
    }

    /// What makes DuckDB compute the difference that the rows of a change feed make.
    pub(crate) fn changes(expressions: &[String], feed: &str) -> String {
        let values = expressions.iter().map(|value| format!("coalesce({value}, '{NULL}')"));
        let values = values.collect::<Vec<_>>().join(", ");
        format!(
            "SELECT coalesce(sum(sign), 0), coalesce(sum(sign * md5_number_lower(line)::HUGEINT), 0) \
             FROM (SELECT concat_ws('{BETWEEN}', {values}) AS line, CASE WHEN change_type IN \
             ('insert', 'update_postimage') THEN 1 ELSE -1 END AS sign FROM {feed})"
        )
    }

    /// With the difference from the answer to [`Sum::changes`].
    pub(crate) fn after(&self, row: &[Option<String>]) -> Self {
        let difference = |i: usize| row[i].as_deref().unwrap();
        Self {
            rows: self.rows.wrapping_add_signed(difference(0).parse().unwrap()),
            number: self.number.wrapping_add_signed(difference(1).parse().unwrap()),
        }
    }

    /// With the rows of a change feed: snapshot, row id and kind of change, and the row.
    pub(crate) fn after_changes(&self, changes: &Rows) -> Self {
        changes.iter().fold(self.clone(), |sum, change| {
            let row = Self::of(&vec![change[3..].to_vec()]);
            let came = matches!(change[2].as_deref(), Some("insert" | "update_postimage"));
            let (rows, number) = match came {
                true => (sum.rows.wrapping_add(1), sum.number.wrapping_add(row.number)),
                false => (sum.rows.wrapping_sub(1), sum.number.wrapping_sub(row.number)),
            };
            Self { rows, number }
        })
    }

    /// From the answer to [`Sum::query`].
    pub(crate) fn from_answer(row: &[Option<String>]) -> Self {
        let number = |i: usize| row[i].as_deref().unwrap();
        Self { rows: number(0).parse().unwrap(), number: number(1).parse().unwrap() }
    }
}

fn line(row: &[Option<String>]) -> String {
    row.iter().map(|value| value.as_deref().unwrap_or(NULL)).collect::<Vec<_>>().join(BETWEEN)
}
