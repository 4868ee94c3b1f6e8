//! The database under the catalog: the only place that knows which one it is.
//!
//! SQL text is shared: `$1` binds in SQLite and in PostgreSQL. What differs is in [`sqlite`] and
//! [`postgres`]: how to connect and lock, what types are called, how a table is looked up, which
//! errors mean "try again". Values cross this border as [`Value`]s, so nothing above imports the
//! driver.
//!
//! Reads are single statements, tried again while their failure may pass. The write lock is held
//! only inside a [`WriteTransaction`]; the sessions of one process take turns for it here, so that
//! those who wait occupy no connection.

mod patience;
mod postgres;
mod sqlite;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::patience::PATIENCE;
pub(crate) use self::patience::Patience;
pub use self::postgres::PostgresUrl;
use self::postgres::{Outcome, Purpose};
pub(crate) use self::value::{Row, Value};
use super::Access;
use super::model::{Column, ColumnType};
use crate::error::{Error, ErrorKind};

/// A result whose error is still the driver's.
type Result<T, E = sqlx::Error> = std::result::Result<T, E>;

/// Where a catalog's database is.
#[derive(Debug, Clone)]
pub enum Address {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
}

/// A connected database; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pool: Pool,
    /// For messages.
    name: Arc<str>,
    /// Whose turn it is to write.
    turn: Arc<Semaphore>,
    seams: Arc<Seams>,
}

#[derive(Debug, Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Where tests take hold.
#[derive(Debug)]
struct Seams {
    /// One more than the calls that still succeed; 0 is no limit.
    calls: AtomicU64,
    /// How long to try again, in milliseconds.
    patience: AtomicU64,
    /// The calls so far.
    made: AtomicU64,
    /// The values of rows that were read so far.
    values: AtomicU64,
}

impl Seams {
    /// Counts one call. Once the last is used up every call fails, as on a lost connection.
    fn count(&self, name: &str) -> Result<(), Error> {
        self.made.fetch_add(1, Ordering::Relaxed);
        let step = |left: u64| (left > 1).then(|| left - 1);
        match self.calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) {
            Err(1) => {
                Err(Error::new(ErrorKind::Catalog, format!("catalog \"{name}\" failed as told")))
            }
            _ => Ok(()),
        }
    }

    fn count_values(&self, rows: &[Row]) {
        let values = rows.first().map_or(0, |row| row.0.len() * rows.len());
        self.values.fetch_add(values as u64, Ordering::Relaxed);
    }
}

impl Backend {
    /// Connects. A SQLite file is created when it is missing and may be.
    pub(crate) async fn open(address: &Address, access: Access) -> Result<Self, Error> {
        let (pool, name) = match address {
            Address::Sqlite(path) => {
                (Pool::Sqlite(sqlite::connect(path, access).await?), path.display().to_string())
            }
            Address::Postgres(url) => {
                let pool = postgres::connect(url).await;
                (
                    Pool::Postgres(pool.map_err(|e| postgres::translate(&url.to_string(), e))?),
                    url.to_string(),
                )
            }
        };
        let millis = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let (made, values) = (0.into(), 0.into());
        let seams = Seams { calls: 0.into(), patience: millis.into(), made, values };
        let turn = Arc::new(Semaphore::new(1));
        Ok(Self { pool, name: name.into(), turn, seams: Arc::new(seams) })
    }

    /// Lets `calls` more calls succeed and fails all others; for tests.
    pub(crate) fn fail_after(&self, calls: u64) {
        self.seams.calls.store(calls + 1, Ordering::SeqCst);
    }

    /// Tries again for this long; for tests.
    pub(crate) fn set_patience(&self, millis: u64) {
        self.seams.patience.store(millis, Ordering::SeqCst);
    }

    /// How many calls there were, and how many values they gave; for tests.
    pub(crate) fn work(&self) -> (u64, u64) {
        (self.seams.made.load(Ordering::SeqCst), self.seams.values.load(Ordering::SeqCst))
    }

    /// For messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The rows of one query.
    pub(crate) async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        self.seams.count(&self.name)?;
        let mut patience = self.patience();
        loop {
            let rows = match &self.pool {
                Pool::Sqlite(pool) => sqlite::query_pool(pool, sql, values).await,
                Pool::Postgres(pool) => postgres::query(pool, sql, values).await,
            };
            match rows.map_err(|e| self.translate(e)) {
                Err(error) if self.is_transient(&error) && patience.pause().await => {}
                Err(error) => return Err(error),
                Ok(rows) => {
                    self.seams.count_values(&rows);
                    return Ok(rows);
                }
            }
        }
    }

    /// Whether a table is in the database.
    pub(crate) async fn has_table(&self, name: &str) -> Result<bool, Error> {
        let sql = match self.pool {
            Pool::Sqlite(_) => sqlite::HAS_TABLE,
            Pool::Postgres(_) => postgres::HAS_TABLE,
        };
        Ok(!self.query(sql, &[name.into()]).await?.is_empty())
    }

    /// A query that gives a row unless a catalog can be created here.
    pub(crate) fn is_filled(&self) -> &'static str {
        match self.pool {
            Pool::Sqlite(_) => sqlite::IS_FILLED,
            Pool::Postgres(_) => postgres::IS_FILLED,
        }
    }

    /// Columns with this database's names for the logical types of the specification.
    pub(crate) fn typed(&self, columns: &str) -> String {
        let types = match self.pool {
            Pool::Sqlite(_) => sqlite::TYPES,
            Pool::Postgres(_) => &[],
        };
        let replace = |columns: String, (logical, physical): &(&str, &str)| {
            columns.replace(logical, physical)
        };
        types.iter().fold(columns.to_owned(), replace)
    }

    /// The type that keeps a column's values in a table of inlined rows; `None` for what cannot be
    /// kept there.
    pub(crate) fn inlined_type(&self, column: &Column) -> Option<String> {
        match self.pool {
            Pool::Sqlite(_) => sqlite::inlined_type(&column.column_type).map(str::to_owned),
            Pool::Postgres(_) => postgres::inlined_type(column),
        }
    }

    /// SQL that gives such a value as text.
    pub(crate) fn inlined_text(&self, column: &str, column_type: &ColumnType) -> String {
        match self.pool {
            Pool::Sqlite(_) => sqlite::inlined_text(column, column_type),
            Pool::Postgres(_) => postgres::inlined_text(column, column_type),
        }
    }

    /// SQL that makes such a value of a text parameter.
    pub(crate) fn inlined_value(&self, parameter: &str, column_type: &ColumnType) -> String {
        match self.pool {
            Pool::Sqlite(_) => sqlite::inlined_value(parameter, column_type),
            Pool::Postgres(_) => postgres::inlined_value(parameter, column_type),
        }
    }

    /// Takes the write lock; it is let go when the transaction is committed or dropped.
    pub(crate) async fn write(&self) -> Result<WriteTransaction, Error> {
        self.begin(Purpose::Change).await
    }

    /// Takes the lock under which the catalog's tables are created.
    pub(crate) async fn create(&self) -> Result<WriteTransaction, Error> {
        self.begin(Purpose::Create).await
    }

    async fn begin(&self, purpose: Purpose) -> Result<WriteTransaction, Error> {
        self.seams.count(&self.name)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|e| Error::internal(format!("writers take no turns: {e}")))?;
        let connection = match &self.pool {
            Pool::Sqlite(pool) => pool.begin_with(sqlite::BEGIN).await.map(Connection::Sqlite),
            Pool::Postgres(pool) => {
                let begun = postgres::Transaction::begin(pool, purpose, self.time()).await;
                begun.map(|transaction| Connection::Postgres(Box::new(transaction)))
            }
        };
        let connection = connection.map_err(|e| self.translate(e))?;
        Ok(WriteTransaction { connection, backend: self.clone(), _turn: turn })
    }

    /// Time for trying again what [is transient](Self::is_transient).
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.time())
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.seams.patience.load(Ordering::SeqCst))
    }

    /// Whether the same may work a moment later. After such an error in a transaction nothing of it
    /// is committed.
    pub(super) fn is_transient(&self, error: &Error) -> bool {
        use std::error::Error as _;
        let source = error.source().and_then(|source| source.downcast_ref::<sqlx::Error>());
        source.is_some_and(|source| match self.pool {
            _ if error.kind() == ErrorKind::OutcomeUnknown => false,
            Pool::Sqlite(_) => sqlite::is_transient(source),
            Pool::Postgres(_) => postgres::is_transient(source),
        })
    }

    fn translate(&self, error: sqlx::Error) -> Error {
        match self.pool {
            Pool::Sqlite(_) => sqlite::translate(&self.name, error),
            Pool::Postgres(_) => postgres::translate(&self.name, error),
        }
    }
}

/// The database's transaction around one commit.
pub(crate) struct WriteTransaction {
    connection: Connection,
    backend: Backend,
    _turn: OwnedSemaphorePermit,
}

enum Connection {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(Box<postgres::Transaction>),
}

impl WriteTransaction {
    /// The database it is on.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        self.backend.seams.count(&self.backend.name)?;
        let rows = match &mut self.connection {
            Connection::Sqlite(connection) => sqlite::query(&mut **connection, sql, values).await,
            Connection::Postgres(connection) => connection.query(sql, values).await,
        };
        let rows = rows.map_err(|e| self.backend.translate(e))?;
        self.backend.seams.count_values(&rows);
        Ok(rows)
    }

    pub(crate) async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<(), Error> {
        self.backend.seams.count(&self.backend.name)?;
        let done = match &mut self.connection {
            Connection::Sqlite(connection) => sqlite::execute(&mut **connection, sql, values).await,
            Connection::Postgres(connection) => connection.execute(sql, values).await,
        };
        done.map_err(|e| self.backend.translate(e))
    }

    /// Inserts rows of equal length, many in one statement.
    pub(crate) async fn insert(&mut self, table: &str, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        let Some(width) = rows.first().map(Vec::len) else {
            return Ok(());
        };
        let max_parameters = match self.connection {
            Connection::Sqlite(_) => sqlite::MAX_PARAMETERS,
            Connection::Postgres(_) => postgres::MAX_PARAMETERS,
        };
        for chunk in rows.chunks((max_parameters / width).max(1)) {
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

    /// Commits. An error means that nothing was changed, except [`ErrorKind::OutcomeUnknown`].
    pub(crate) async fn commit(self) -> Result<(), Error> {
        let Self { connection, backend, _turn } = self;
        backend.seams.count(&backend.name)?;
        let committed = match connection {
            Connection::Sqlite(transaction) => {
                transaction.commit().await.map(|()| Outcome::Committed)
            }
            Connection::Postgres(transaction) => transaction.commit(backend.time()).await,
        };
        match committed.map_err(|e| backend.translate(e))? {
            Outcome::Committed => Ok(()),
            Outcome::Unknown(error) => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                format!(
                    "the connection to catalog \"{}\" was lost while it committed, and whether it \
                     did could not be asked since",
                    backend.name
                ),
            )
            .with_help("look whether the change is there before you make it again")
            .with_source(error)),
        }
    }
}

/// An error that is none of the database's own.
fn translate(name: &str, error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Error::new(
            ErrorKind::Corrupt,
            format!("a row of catalog \"{name}\" is damaged: {error}"),
        )
        .with_help("restore the catalog from a backup"),
        sqlx::Error::Database(error) => {
            Error::new(ErrorKind::Catalog, format!("catalog \"{name}\": {}", error.message()))
        }
        error => Error::new(ErrorKind::Catalog, format!("catalog \"{name}\": {error}")),
    }
}
