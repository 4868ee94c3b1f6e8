//! The database under the catalog: the only place that knows which one it is.
//!
//! SQL text is shared: `$1` binds in SQLite and in PostgreSQL. What differs is gathered here: how to
//! connect, what types are called, how a table is looked up, which errors mean "try again". Values
//! cross this border as [`Value`]s, so nothing above imports the driver.
//!
//! SQLite runs in WAL mode with `synchronous = FULL`: readers do not block the writer, and a commit
//! that returned survives a power cut. No read transaction outlives a call, and the write lock is
//! held only inside [`Backend::write`]'s work.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, Row as _, Sqlite, TypeInfo, ValueRef};

use super::Access;
use crate::error::{Error, ErrorKind, Result};

/// How long a writer waits for another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bind parameters of one statement at most. SQLite looks up `$N` among all names of a statement, so
/// larger ones take longer for each row; its own limit is 32,766.
const MAX_PARAMETERS: usize = 1_000;

/// A connected database.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pool: SqlitePool,
    /// For messages.
    name: String,
    faults: Faults,
}

/// The seam where tests make the database fail: calls that still succeed, none when not set.
#[derive(Debug, Clone, Default)]
struct Faults(Arc<AtomicU64>);

impl Faults {
    /// Lets `calls` more calls succeed.
    fn after(&self, calls: u64) {
        self.0.store(calls + 1, Ordering::SeqCst);
    }

    /// Counts one call. Once the last is used up every call fails, as on a lost connection.
    fn count(&self, name: &str) -> Result<()> {
        let left = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| (left > 1).then(|| left - 1));
        match left {
            Err(1) => {
                Err(Error::new(ErrorKind::Catalog, format!("catalog \"{name}\" failed as told")))
            }
            _ => Ok(()),
        }
    }
}

/// A value on its way in or out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    /// Counts and sizes; none reaches 2^63.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result.
#[derive(Debug)]
pub(crate) struct Row(Vec<Value>);

impl Row {
    /// An integer that the format says is there.
    pub(crate) fn int(&self, index: usize) -> Result<i64> {
        self.opt_int(index)?.ok_or_else(|| corrupt(index, "is missing"))
    }

    pub(crate) fn opt_int(&self, index: usize) -> Result<Option<i64>> {
        match &self.0[index] {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(*value)),
            Value::Text(text) => text
                .parse()
                .map(Some)
                .map_err(|_| corrupt(index, &format!("is {text:?}, not a number"))),
        }
    }

    /// A count or size.
    pub(crate) fn count(&self, index: usize) -> Result<u64> {
        u64::try_from(self.int(index)?).map_err(|_| corrupt(index, "is negative"))
    }

    pub(crate) fn opt_count(&self, index: usize) -> Result<Option<u64>> {
        Ok(self.opt_int(index)?.and_then(|value| u64::try_from(value).ok()))
    }

    /// Text that the format says is there.
    pub(crate) fn text(&self, index: usize) -> Result<String> {
        self.opt_text(index).ok_or_else(|| corrupt(index, "is missing"))
    }

    pub(crate) fn opt_text(&self, index: usize) -> Option<String> {
        match &self.0[index] {
            Value::Null => None,
            Value::Int(value) => Some(value.to_string()),
            Value::Text(text) => Some(text.clone()),
        }
    }

    /// A boolean; SQLite keeps 0 and 1.
    pub(crate) fn flag(&self, index: usize) -> Result<bool> {
        Ok(self.opt_flag(index)?.unwrap_or(false))
    }

    pub(crate) fn opt_flag(&self, index: usize) -> Result<Option<bool>> {
        match &self.0[index] {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(*value != 0)),
            Value::Text(text) => match text.as_str() {
                "true" | "t" | "1" => Ok(Some(true)),
                "false" | "f" | "0" => Ok(Some(false)),
                _ => Err(corrupt(index, &format!("is {text:?}, not a boolean"))),
            },
        }
    }
}

fn corrupt(index: usize, what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("a catalog row is damaged: its value {} {what}", index + 1),
    )
    .with_help("restore the catalog from a backup")
}

/// The names of the logical types of the catalog's tables.
pub(crate) const TYPES: [(&str, &str); 3] =
    [("BOOLEAN", "BIGINT"), ("TIMESTAMPTZ", "VARCHAR"), ("UUID", "VARCHAR")];

impl Backend {
    /// Connects to a SQLite file; with [`Access::ReadWrite`] it is created when missing.
    pub(crate) async fn open(path: &Path, access: Access) -> Result<Self> {
        let name = path.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(200);
        let options = match access {
            Access::ReadWrite => options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full),
            Access::ReadOnly if is_unwritable(path) => {
                check_recovered(path)?;
                options.immutable(true)
            }
            Access::ReadOnly => options.read_only(true),
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .min_connections(0)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|e| translate(&name, e))?;
        Ok(Self { pool, name, faults: Faults::default() })
    }

    /// Lets `calls` more calls succeed and fails all others; for tests.
    pub(crate) fn fail_after(&self, calls: u64) {
        self.faults.after(calls);
    }

    /// The rows of one query.
    pub(crate) async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        self.faults.count(&self.name)?;
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        let rows = query.fetch_all(&self.pool).await.map_err(|e| translate(&self.name, e))?;
        rows.iter().map(row).collect()
    }

    /// Whether a table is in the database.
    pub(crate) async fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1";
        Ok(!self.query(sql, &[name.into()]).await?.is_empty())
    }

    /// How many tables are in the database.
    pub(crate) async fn is_empty(&self) -> Result<bool> {
        Ok(self.query("SELECT 1 FROM sqlite_master LIMIT 1", &[]).await?.is_empty())
    }

    /// Takes the write lock; it is let go when the transaction is committed or dropped.
    pub(crate) async fn write(&self) -> Result<WriteTransaction> {
        self.faults.count(&self.name)?;
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await;
        let transaction = begun.map_err(|e| translate(&self.name, e))?;
        let (name, faults) = (self.name.clone(), self.faults.clone());
        Ok(WriteTransaction { transaction, name, faults })
    }
}

/// The database's transaction around one commit.
pub(crate) struct WriteTransaction {
    transaction: sqlx::Transaction<'static, Sqlite>,
    name: String,
    faults: Faults,
}

impl WriteTransaction {
    pub(crate) async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        self.faults.count(&self.name)?;
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        let rows = query.fetch_all(&mut *self.transaction).await;
        rows.map_err(|e| translate(&self.name, e))?.iter().map(row).collect()
    }

    pub(crate) async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<()> {
        self.faults.count(&self.name)?;
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        query.execute(&mut *self.transaction).await.map_err(|e| translate(&self.name, e))?;
        Ok(())
    }

    /// Inserts rows of equal length, many in one statement.
    pub(crate) async fn insert(&mut self, table: &str, rows: Vec<Vec<Value>>) -> Result<()> {
        let Some(width) = rows.first().map(Vec::len) else {
            return Ok(());
        };
        for chunk in rows.chunks((MAX_PARAMETERS / width).max(1)) {
            let mut sql = format!("INSERT INTO {table} VALUES ");
            for row in 0..chunk.len() {
                sql.push_str(if row == 0 { "(" } else { ", (" });
                for column in 0..width {
                    let comma = if column == 0 { "" } else { ", " };
                    sql.push_str(&format!("{comma}${}", row * width + column + 1));
                }
                sql.push(')');
            }
            let values: Vec<Value> = chunk.iter().flatten().cloned().collect();
            self.execute(&sql, &values).await?;
        }
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<()> {
        self.faults.count(&self.name)?;
        self.transaction.commit().await.map_err(|e| translate(&self.name, e))
    }
}

fn arguments(values: &[Value]) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(value) => arguments.add(*value),
            Value::Text(text) => arguments.add(text.clone()),
        };
        added.map_err(|e| Error::internal(format!("a catalog value cannot be bound: {e}")))?;
    }
    Ok(arguments)
}

fn row(row: &SqliteRow) -> Result<Row> {
    let value = |index: usize| -> std::result::Result<Value, sqlx::Error> {
        let raw = row.try_get_raw(index)?;
        let is_null = raw.is_null();
        let type_name = raw.type_info().name().to_owned();
        Ok(match type_name.as_str() {
            _ if is_null => Value::Null,
            "INTEGER" => Value::Int(row.try_get_unchecked(index)?),
            "REAL" => Value::Text(row.try_get_unchecked::<f64, _>(index)?.to_string()),
            _ => Value::Text(row.try_get_unchecked(index)?),
        })
    };
    let values = (0..row.len()).map(value).collect::<std::result::Result<Vec<_>, _>>();
    values
        .map(Row)
        .map_err(|e| Error::new(ErrorKind::Corrupt, format!("a catalog row is damaged: {e}")))
}

/// A database in a directory that cannot be written can only be read as one that nobody changes.
fn is_unwritable(path: &Path) -> bool {
    let directory = path.parent().unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix(".gotgan-probe-").tempfile_in(directory).is_err()
}

/// A log that a killed process left has to be merged before the file alone is the database.
fn check_recovered(path: &Path) -> Result<()> {
    let log = format!("{}-wal", path.display());
    match std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        true => Err(Error::new(
            ErrorKind::Catalog,
            format!("catalog \"{}\" was left by a process that was killed", path.display()),
        )
        .with_help("make its directory writable and open it once, to let it recover")),
        false => Ok(()),
    }
}

/// The database's error in the user's words.
fn translate(name: &str, error: sqlx::Error) -> Error {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|c| c.parse::<i32>().ok()),
        _ => None,
    };
    let new = |kind, message: String| Error::new(kind, message);
    // The primary result code is the low byte: https://www.sqlite.org/rescode.html
    let translated = match code.map(|code| code & 0xff) {
        Some(5 | 6) => {
            new(ErrorKind::Catalog, format!("catalog \"{name}\" is locked by another process"))
                .with_help("try again when its statement has ended")
        }
        Some(8) => new(ErrorKind::Catalog, format!("catalog \"{name}\" cannot be written"))
            .with_help("check the permissions of the file and its directory, or use --read-only"),
        Some(10) => new(
            ErrorKind::Catalog,
            format!("catalog \"{name}\" cannot be read or written: {error}"),
        ),
        Some(11) => new(ErrorKind::Corrupt, format!("catalog \"{name}\" is damaged"))
            .with_help("restore it from a backup"),
        Some(13) => new(ErrorKind::Catalog, format!("no space left to write catalog \"{name}\""))
            .with_help("free some disk space; nothing was changed"),
        Some(14) => new(ErrorKind::Catalog, format!("catalog \"{name}\" cannot be opened"))
            .with_help("check that the path exists and its permissions"),
        Some(26) => new(
            ErrorKind::Corrupt,
            format!("\"{name}\" is not a catalog: it is no SQLite database"),
        )
        .with_help("name the directory of a warehouse, or restore its catalog from a backup"),
        _ => new(ErrorKind::Catalog, format!("catalog \"{name}\": {error}")),
    };
    translated.with_source(error)
}
