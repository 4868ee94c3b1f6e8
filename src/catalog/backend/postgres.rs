//! PostgreSQL under the catalog: a database on a server that several machines share.
//!
//! A write takes a lock on `ducklake_snapshot` that conflicts with inserting into it and with
//! itself, and not with reading. So writers of this program queue up instead of failing, and DuckDB,
//! which takes no lock and relies on the table's primary key, either waits for us or is waited for.
//! The lock ends with the transaction, and the server ends a transaction whose client is gone.
//!
//! A connection can break after the server was told to commit and before it answered. Then the
//! server is asked about the transaction's number, on a new connection, until it knows.
//!
//! Catalogs are in the schema that the search path names first. The usual variables and files of
//! PostgreSQL's clients (`PGPASSWORD`, `~/.pgpass`, …) fill in what a URL leaves out.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgConnectOptions, PgConnection, PgDatabaseError, PgExecutor,
    PgPool, PgPoolOptions, PgRow, PgTypeInfo,
};
use sqlx::{
    Arguments, AssertSqlSafe, Connection, Encode, Postgres, Row as _, Type, TypeInfo, ValueRef,
};
use uuid::Uuid;

use super::patience::{PATIENCE, Patience};
use super::{Result as DatabaseResult, Row, Value};
use crate::catalog::model::{Column, ColumnType};
use crate::catalog::types::print_time;
use crate::error::{Error, ErrorKind, Result};

/// PostgreSQL's own limit is 65,535.
pub(super) const MAX_PARAMETERS: usize = 20_000;

/// Gives a row when there is a catalog; the database may be used for other things as well.
pub(super) const IS_FILLED: &str = "SELECT 1 WHERE to_regclass('ducklake_metadata') IS NOT NULL";

/// Gives a row when there is a table `$1`.
pub(super) const HAS_TABLE: &str = "SELECT 1 WHERE to_regclass(quote_ident($1)) IS NOT NULL";

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A transaction waits for its client this long before the server ends it and its lock.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A `postgres://` URL, taken apart. It shows itself without user and password.
#[derive(Clone)]
pub struct PostgresUrl {
    options: Box<PgConnectOptions>,
}

impl PostgresUrl {
    /// Reads a URL. What it leaves out is taken from the variables and files of PostgreSQL's own
    /// clients.
    pub fn parse(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            Error::invalid(format!("this is no URL of a PostgreSQL database: {error}"))
                .with_help("write postgres://user@host:5432/database; % before special characters")
        })?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("gotgan"),
        };
        Ok(Self { options: Box::new(options) })
    }

    /// The database's name, which is the user's when the URL has none.
    pub fn database(&self) -> &str {
        self.options.get_database().unwrap_or(self.options.get_username())
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        match self.options.get_socket() {
            Some(socket) => {
                write!(f, "postgres:///{}?host={}", self.database(), socket.display())
            }
            None => write!(f, "postgres://{host}:{port}/{}", self.database()),
        }
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) async fn connect(url: &PostgresUrl) -> DatabaseResult<PgPool> {
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .min_connections(0)
        .idle_timeout(Duration::from_secs(60))
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(url.options.as_ref().clone());
    if let Ok(first) = tokio::time::timeout(Duration::from_secs(1), pool.acquire()).await {
        return first.map(|_| pool);
    }
    // A pool waits for a server that refuses; a connection of its own says what is wrong.
    let mut patience = Patience::new(PATIENCE);
    loop {
        let connecting = PgConnection::connect_with(url.options.as_ref());
        let timed_out = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out);
        match connected.and_then(|connection| connection) {
            Ok(connection) => {
                connection.close().await?;
                return Ok(pool);
            }
            Err(error) if is_busy(&error) && patience.pause().await => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) async fn query<'e>(
    executor: impl PgExecutor<'e>,
    sql: &str,
    values: &[Value],
) -> DatabaseResult<Vec<Row>> {
    let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
    query.fetch_all(executor).await?.iter().map(row).collect()
}

/// What a transaction is for, which decides what it locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Creating the catalog's tables.
    Create,
    /// Changing what is in them.
    Change,
}

/// A transaction that holds the write lock.
pub(super) struct Transaction {
    inner: sqlx::Transaction<'static, Postgres>,
    pool: PgPool,
    /// Its number on the server.
    number: i64,
}

impl Transaction {
    pub(super) async fn begin(
        pool: &PgPool,
        purpose: Purpose,
        patience: Duration,
    ) -> DatabaseResult<Self> {
        let (begin, lock) = match purpose {
            // What is read after the lock was waited for is what the one before has left.
            Purpose::Create => ("BEGIN", format!("SELECT pg_advisory_xact_lock({CREATE_LOCK})")),
            // LOCK comes before the first read, so the one snapshot of it all is newer, too.
            Purpose::Change => (
                "BEGIN ISOLATION LEVEL REPEATABLE READ",
                "LOCK TABLE ducklake_snapshot IN SHARE ROW EXCLUSIVE MODE".to_owned(),
            ),
        };
        let mut inner = pool.begin_with(begin).await?;
        let sql = format!(
            "SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; \
             {lock}; SELECT txid_current()",
            patience.as_millis().max(1),
            IDLE_TIMEOUT.as_millis(),
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *inner).await?;
        let number = rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
        Ok(Self { inner, pool: pool.clone(), number })
    }

    pub(super) async fn query(&mut self, sql: &str, values: &[Value]) -> DatabaseResult<Vec<Row>> {
        query(&mut *self.inner, sql, values).await
    }

    pub(super) async fn execute(&mut self, sql: &str, values: &[Value]) -> DatabaseResult<()> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?);
        query.execute(&mut *self.inner).await?;
        Ok(())
    }

    /// Commits. An error that is not [`Outcome::Unknown`] says that nothing was changed.
    pub(super) async fn commit(self, patience: Duration) -> DatabaseResult<Outcome> {
        let Self { inner, pool, number } = self;
        let committed = tokio::time::timeout(patience, inner.commit()).await;
        let error = match committed {
            Ok(Ok(())) => return Ok(Outcome::Committed),
            Ok(Err(error)) if !is_lost(&error) => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
        };
        let mut patience = Patience::new(patience);
        loop {
            let status = sqlx::query_scalar("SELECT txid_status($1)").bind(number);
            let status: DatabaseResult<Option<String>> = status.fetch_one(&pool).await;
            match status.as_ref().map(Option::as_deref) {
                Ok(Some("committed")) => return Ok(Outcome::Committed),
                Ok(Some("aborted")) => return Err(error),
                // The server has not noticed yet, or is not back yet.
                Ok(Some("in progress")) => {}
                Err(error) if is_transient(error) => {}
                Ok(_) | Err(_) => return Ok(Outcome::Unknown(error)),
            }
            if !patience.pause().await {
                return Ok(Outcome::Unknown(error));
            }
        }
    }
}

/// How a commit ended, as far as can be told.
pub(super) enum Outcome {
    Committed,
    /// The connection was lost while committing, and the server could not be asked since.
    Unknown(sqlx::Error),
}

/// Any number that others are unlikely to use.
const CREATE_LOCK: i64 = 0x676f_7467_616e;

/// NULL of whatever type the server infers.
struct Untyped;

impl Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> std::result::Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

fn arguments(values: &[Value]) -> DatabaseResult<PgArguments> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Null => Arguments::add(&mut arguments, Untyped),
            Value::Bool(value) => Arguments::add(&mut arguments, *value),
            Value::Int(value) => Arguments::add(&mut arguments, *value),
            Value::Text(text) => Arguments::add(&mut arguments, text.as_str()),
            Value::Time(time) => Arguments::add(&mut arguments, *time),
            Value::Uuid(uuid) => Arguments::add(&mut arguments, *uuid),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn row(row: &PgRow) -> DatabaseResult<Row> {
    let value = |index: usize| {
        let raw = row.try_get_raw(index)?;
        let is_null = raw.is_null();
        let type_name = raw.type_info().name().to_owned();
        Ok(match type_name.as_str() {
            _ if is_null => Value::Null,
            "BOOL" => Value::Bool(row.try_get(index)?),
            "INT2" => Value::Int(row.try_get::<i16, _>(index)?.into()),
            "INT4" => Value::Int(row.try_get::<i32, _>(index)?.into()),
            "INT8" => Value::Int(row.try_get(index)?),
            "TIMESTAMPTZ" => Value::Text(print_time(row.try_get::<DateTime<Utc>, _>(index)?)),
            "UUID" => Value::Text(row.try_get::<Uuid, _>(index)?.to_string()),
            _ => Value::Text(row.try_get(index)?),
        })
    };
    (0..row.len()).map(value).collect::<DatabaseResult<_>>().map(Row)
}

/// The type of a column's values in an inlined table. Text is bytes, because it may have NUL in it;
/// times of days that PostgreSQL does not have, and nested values, are text.
pub(super) fn inlined_type(column: &Column) -> Option<String> {
    // Longer names are cut off; every table has these columns already.
    const RESERVED: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
    if column.name.len() > 63 || RESERVED.contains(&column.name.as_str()) {
        return None;
    }
    value_type(&column.column_type)
}

fn value_type(column_type: &ColumnType) -> Option<String> {
    use ColumnType as C;
    let name = match column_type {
        C::Boolean => "BOOLEAN",
        C::Int8 | C::Int16 => "SMALLINT",
        C::Int32 | C::UInt8 | C::UInt16 => "INTEGER",
        C::Int64 | C::UInt32 => "BIGINT",
        C::Float32 => "REAL",
        C::Float64 => "DOUBLE PRECISION",
        C::Decimal { precision, scale } => return Some(format!("NUMERIC({precision}, {scale})")),
        C::Time => "TIME",
        C::Interval => "INTERVAL",
        C::Varchar | C::Json | C::Blob => "BYTEA",
        C::Uuid => "UUID",
        C::Other(name) if name == "timetz" => "TIMETZ",
        C::Other(name) if name == "geometry" || name == "variant" => return None,
        _ => "VARCHAR",
    };
    Some(name.to_owned())
}

/// The [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html).
fn code(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    Some(error.code())
}

/// Whether the connection is gone; what was open on it is rolled back.
fn is_lost(error: &sqlx::Error) -> bool {
    match code(error) {
        // Connection exceptions; shut down by an administrator, by a crash, by a time limit.
        Some(code) => {
            code.starts_with("08") || ["57P01", "57P02", "57P05", "25P03"].contains(&code)
        }
        None => {
            use sqlx::Error::{Io, PoolTimedOut, Protocol};
            matches!(error, Io(_) | Protocol(_) | PoolTimedOut)
        }
    }
}

/// Whether a server takes no connection for now: it starts up, or has as many as it may have.
fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some("57P03" | "53300"))
}

/// Whether the same may work a moment later: another writer was first, or had a lock, or the
/// connection is lost. Decided by code, never by words: those are in the server's language.
pub(super) fn is_transient(error: &sqlx::Error) -> bool {
    let is_number_taken = || {
        let error = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>());
        error.and_then(PgDatabaseError::table) == Some("ducklake_snapshot")
    };
    match code(error) {
        // Serialization failure, deadlock, lock timeout; another writer took the snapshot's number.
        Some("40001" | "40P01" | "55P03") => true,
        Some("23505") => is_number_taken(),
        _ => is_lost(error) || is_busy(error),
    }
}

/// The database's error in the user's words.
pub(super) fn translate(name: &str, error: sqlx::Error) -> Error {
    let new = |message: String| Error::new(ErrorKind::Catalog, message);
    let said = match &error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    let translated = match code(&error) {
        Some("28000" | "28P01") => new(format!("catalog \"{name}\" refuses this user: {said}"))
            .with_help("check user and password: in the URL, in PGPASSWORD or in ~/.pgpass"),
        Some("3D000") => new(format!("catalog \"{name}\" cannot be opened: {said}"))
            .with_help("create the database first, with createdb or CREATE DATABASE"),
        Some("25006") => new(format!("catalog \"{name}\" cannot be written: {said}"))
            .with_help("name the primary server, or use --read-only"),
        Some("42501") => new(format!("catalog \"{name}\": {said}"))
            .with_help("ask its owner to GRANT this user what it needs, or use --read-only"),
        Some("53300") => new(format!("catalog \"{name}\" takes no more connections: {said}"))
            .with_help("try again when others have ended, or raise max_connections"),
        Some("53100") => new(format!("no space left on the server of catalog \"{name}\"")),
        Some("55P03" | "40001" | "40P01" | "23505") => {
            new(format!("catalog \"{name}\" is locked by another writer: {said}"))
                .with_help("try again when its statement has ended; nothing was changed")
        }
        _ if is_lost(&error) || is_busy(&error) => new(format!(
            "catalog \"{name}\" cannot be reached: {said}"
        ))
        .with_help("check host, port and network, and that the server runs; nothing was changed"),
        _ => super::translate(name, &error),
    };
    translated.with_source(error)
}

/// SQL that gives such a value as text, binary as hexadecimal digits.
pub(super) fn inlined_text(column: &str, column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Varchar | ColumnType::Json => format!("convert_from({column}, 'UTF8')"),
        ColumnType::Blob => format!("encode({column}, 'hex')"),
        _ => format!("CAST({column} AS text)"),
    }
}

/// SQL that makes the value of such text. The parameter is cast to text first: the server would infer another type
/// for it, and statements are prepared once for values and for NULLs.
pub(super) fn inlined_value(parameter: &str, column_type: &ColumnType) -> String {
    let text = format!("CAST({parameter} AS text)");
    match column_type {
        ColumnType::Varchar | ColumnType::Json => format!("convert_to({text}, 'UTF8')"),
        ColumnType::Blob => format!("decode({text}, 'hex')"),
        _ => match value_type(column_type) {
            Some(name) => format!("CAST({text} AS {name})"),
            None => text,
        },
    }
}
