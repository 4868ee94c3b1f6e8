//! The catalog: which tables there are, which files they consist of, and since when.
//!
//! Its format is [DuckLake 1.0](https://ducklake.select/docs/stable/specification/introduction):
//! rows in a SQL database, each with the snapshot it began and ended with. Reading at a snapshot is
//! a `WHERE`; writing is [`Catalog::commit`], the one place where anything becomes visible.
//!
//! ```text
//! Catalog ── read    SELECTs as of a snapshot          Transaction ── a pinned snapshot + Changes
//!         ── commit  Changes -> rows, one transaction                 (pure overlay)
//!         ── schema  the tables of the format          conflict, changes, bounds, types: pure
//!         ── backend the database: SQLite or PostgreSQL
//! ```
//!
//! Nothing here knows Arrow, DataFusion or object stores. Opening reads one table of settings;
//! objects are read when they are asked for.

mod alter;
mod append;
mod backend;
mod bounds;
mod changes;
mod cleanup;
mod commit;
mod compact;
mod conflict;
mod deletes;
mod evolve;
mod expire;
mod feed;
mod files;
mod flush;
mod inlined;
mod known;
mod layout;
mod mapping;
pub mod model;
pub mod options;
mod read;
mod rows;
mod schema;
mod statistics;
mod summary;
mod transaction;
mod types;
mod widen;

use std::sync::Arc;

use self::backend::Backend;
pub use self::backend::{Address, PostgresUrl};
pub(crate) use self::cleanup::Scheduled;
pub(crate) use self::compact::FileGroup;
pub(crate) use self::expire::Expiry;
pub(crate) use self::feed::FileHistory;
pub(crate) use self::inlined::Kept;
pub(crate) use self::statistics::StatsOfColumn;
pub use self::transaction::{Transaction, assign_column_ids};
pub(crate) use self::types::type_name;
pub(crate) use self::widen::{leaves, retype_stats, widens};
use crate::error::{Error, ErrorKind, Result};

/// Whether a catalog may be changed, and created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It has to be there and stays as it is.
    ReadOnly,
    /// It is created when it is not there.
    ReadWrite,
}

/// A connected catalog; cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    data_path: String,
    known: known::Known,
}

/// The settings of the whole catalog.
const METADATA: &str = "SELECT key, value FROM ducklake_metadata WHERE scope IS NULL";

impl Catalog {
    /// Opens the catalog at `address`. A new one keeps `data_path`, which ends in `/`, as the place
    /// of its files; an existing one has its own.
    pub async fn open(address: &Address, access: Access, data_path: Option<&str>) -> Result<Self> {
        let backend = Backend::open(address, access).await?;
        let rows = match backend.query(METADATA, &[]).await {
            Ok(rows) => rows,
            Err(_) => {
                // What is no database at all says so here.
                if !backend.has_table("ducklake_metadata").await? {
                    create(&backend, access, data_path).await?;
                }
                backend.query(METADATA, &[]).await?
            }
        };
        let value = |key: &str| {
            rows.iter()
                .find(|row| row.opt_text(0).as_deref() == Some(key))
                .and_then(|r| r.opt_text(1))
        };
        let name = backend.name();
        schema::check(name, value("version").as_deref(), value("encrypted").as_deref())?;
        let data_path = value("data_path").ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!("catalog \"{name}\" does not say where its files are"),
            )
            .with_help("restore it from a backup")
        })?;
        Ok(Self::new(backend, data_path))
    }

    fn new(backend: Backend, data_path: String) -> Self {
        Self { inner: Arc::new(Inner { backend, data_path, known: known::Known::default() }) }
    }

    /// Where the files are, with the trailing `/`.
    pub fn data_path(&self) -> &str {
        &self.inner.data_path
    }

    /// The same catalog with its files elsewhere, for this process.
    #[must_use]
    pub fn with_data_path(&self, path: &str) -> Self {
        Self::new(self.backend().clone(), path.to_owned())
    }

    /// Records that the files have moved.
    pub async fn set_data_path(&self, path: &str) -> Result<Self> {
        self.set_option("data_path", path, options::Scope::Global).await?;
        Ok(self.with_data_path(path))
    }

    /// A setting of the whole catalog.
    pub async fn option(&self, key: &str) -> Result<Option<String>> {
        let sql = "SELECT value FROM ducklake_metadata WHERE key = $1 AND scope IS NULL";
        Ok(self.backend().query(sql, &[key.into()]).await?.first().and_then(|row| row.opt_text(0)))
    }

    /// Time for trying again what another writer's commit has overtaken.
    pub(crate) fn patience(&self) -> backend::Patience {
        self.backend().patience()
    }

    /// Lets `calls` more database calls succeed and fails all others; for tests of faults.
    #[doc(hidden)]
    pub fn fail_after(&self, calls: u64) {
        self.backend().fail_after(calls);
    }

    /// Waits this long for locks and lost servers; for tests of faults.
    #[doc(hidden)]
    pub fn set_patience(&self, millis: u64) {
        self.backend().set_patience(millis);
    }

    /// How many database calls there were, and how many values they gave; for tests of work.
    #[doc(hidden)]
    pub fn work(&self) -> (u64, u64) {
        self.backend().work()
    }

    fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    fn known(&self) -> &known::Known {
        &self.inner.known
    }

    fn name(&self) -> &str {
        self.backend().name()
    }
}

/// Makes a catalog where there is none, if that is what was asked for.
async fn create(backend: &Backend, access: Access, data_path: Option<&str>) -> Result<()> {
    let name = backend.name();
    if !backend.query(backend.is_filled(), &[]).await?.is_empty() {
        // Another process may have been first just now.
        if backend.has_table("ducklake_metadata").await? {
            return Ok(());
        }
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("\"{name}\" is a database, but not a DuckLake catalog"),
        )
        .with_help("name a new path for a new warehouse"));
    }
    if access == Access::ReadOnly {
        return Err(Error::not_found(format!("there is no warehouse in \"{name}\""))
            .with_help("open it once without --read-only to create it"));
    }
    let data_path = data_path.ok_or_else(|| {
        Error::invalid(format!("a new warehouse in \"{name}\" needs a place for its files"))
            .with_help(
                "name one with --data-path: a bucket, or a directory that all its users share",
            )
    })?;
    #[allow(clippy::disallowed_methods, reason = "the first snapshot's time")]
    let created = schema::bootstrap(backend, data_path, chrono::Utc::now()).await;
    match created {
        // Another program, with locks of its own, may have been first.
        Err(_) if backend.has_table("ducklake_metadata").await? => Ok(()),
        created => created,
    }
}
