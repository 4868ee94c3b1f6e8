//! SQLite under the catalog: a file.
//!
//! It runs in WAL mode with `synchronous = FULL`: readers do not block the writer, and a commit that
//! returned survives a power cut. No read transaction outlives a call. Times and identities are
//! text, booleans are 0 and 1.

use std::path::Path;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteExecutor, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, Row as _, TypeInfo, ValueRef};

use super::patience::PATIENCE;
use super::{Result as DatabaseResult, Row, Value};
use crate::catalog::Access;
use crate::catalog::model::ColumnType;
use crate::catalog::types::print_time;
use crate::error::{Error, ErrorKind, Result};

/// SQLite looks up `$N` among all names of a statement, so larger ones take longer for each row; its
/// own limit is 32,766.
pub(super) const MAX_PARAMETERS: usize = 1_000;

/// Rows that are read ahead of who takes them: each time this runs out, two threads change places.
const ROWS_AHEAD: usize = 1_000;

/// Takes the write lock at once: a lock taken later could not be waited for.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// Gives a row when the database has something in it.
pub(super) const IS_FILLED: &str = "SELECT 1 FROM sqlite_master LIMIT 1";

/// Gives a row when it has table `$1`.
pub(super) const HAS_TABLE: &str = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1";

/// What the logical types of the catalog's columns are called where they have other names.
pub(super) const TYPES: &[(&str, &str)] =
    &[("BOOLEAN", "BIGINT"), ("TIMESTAMPTZ", "VARCHAR"), ("UUID", "VARCHAR")];

/// Opens a file; with [`Access::ReadWrite`] it is created when missing.
pub(super) async fn connect(path: &Path, access: Access) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(PATIENCE)
        .row_buffer_size(ROWS_AHEAD)
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
    SqlitePoolOptions::new()
        .max_connections(4)
        .min_connections(0)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(PATIENCE)
        .connect_with(options)
        .await
        .map_err(|e| translate(&path.display().to_string(), e))
}

/// A query on a connection of the pool. A pool gives a connection back in a task of its own: the next
/// query would find none and open another, for which SQLite parses the definitions of all tables.
pub(super) async fn query_pool(
    pool: &SqlitePool,
    sql: &str,
    values: &[Value],
) -> DatabaseResult<Vec<Row>> {
    let mut connection = pool.acquire().await?;
    let rows = query(&mut *connection, sql, values).await;
    connection.return_to_pool().await;
    rows
}

pub(super) async fn query<'e>(
    executor: impl SqliteExecutor<'e>,
    sql: &str,
    values: &[Value],
) -> DatabaseResult<Vec<Row>> {
    let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
    query.fetch_all(executor).await?.iter().map(row).collect()
}

pub(super) async fn execute<'e>(
    executor: impl SqliteExecutor<'e>,
    sql: &str,
    values: &[Value],
) -> DatabaseResult<()> {
    sqlx::query_with(AssertSqlSafe(sql), arguments(values)?).execute(executor).await?;
    Ok(())
}

fn arguments(values: &[Value]) -> DatabaseResult<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Bool(value) => arguments.add(i64::from(*value)),
            Value::Int(value) => arguments.add(*value),
            Value::Text(text) => arguments.add(text.clone()),
            Value::Time(time) => arguments.add(print_time(*time)),
            Value::Uuid(uuid) => arguments.add(uuid.to_string()),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn row(row: &SqliteRow) -> DatabaseResult<Row> {
    let value = |index: usize| {
        let raw = row.try_get_raw(index)?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        Ok(match raw.type_info().name() {
            "INTEGER" => Value::Int(row.try_get_unchecked(index)?),
            "REAL" => Value::Text(row.try_get_unchecked::<f64, _>(index)?.to_string()),
            _ => Value::Text(row.try_get_unchecked(index)?),
        })
    };
    (0..row.len()).map(value).collect::<DatabaseResult<_>>().map(Row)
}

/// The type of a column's values in an inlined table; nested ones are text.
pub(super) fn inlined_type(column_type: &ColumnType) -> Option<&'static str> {
    use ColumnType as C;
    Some(match column_type {
        C::Boolean
        | C::Int8
        | C::Int16
        | C::Int32
        | C::Int64
        | C::UInt8
        | C::UInt16
        | C::UInt32 => "BIGINT",
        C::Blob => "BLOB",
        C::Other(name) if name == "geometry" || name == "variant" => return None,
        _ => "VARCHAR",
    })
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

/// The [primary result code](https://www.sqlite.org/rescode.html): the low byte.
fn code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

/// Whether the same may work a moment later: another connection had the lock.
pub(super) fn is_transient(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(5 | 6))
}

/// The database's error in the user's words.
pub(super) fn translate(name: &str, error: sqlx::Error) -> Error {
    let new = |kind, message: String| Error::new(kind, message);
    let translated = match code(&error) {
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
        _ => super::translate(name, &error),
    };
    translated.with_source(error)
}

/// SQL that gives such a value as text, binary as hexadecimal digits.
pub(super) fn inlined_text(column: &str, column_type: &ColumnType) -> String {
    match column_type {
        // Of NULL it would make the empty text.
        ColumnType::Blob => format!("CASE WHEN {column} IS NOT NULL THEN hex({column}) END"),
        _ => column.to_owned(),
    }
}

/// SQL that makes the value of such text; the column's affinity turns digits into a number.
pub(super) fn inlined_value(parameter: &str, column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Blob => format!("unhex({parameter})"),
        ColumnType::Boolean => format!("CAST({parameter} = 'true' AS INTEGER)"),
        _ => parameter.to_owned(),
    }
}
