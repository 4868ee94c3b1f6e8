//! Upkeep: fewer and fuller files, and no more history than is wanted. No row of any table changes,
//! but by going back to an earlier snapshot ([`rollback`]), which is an ordinary transaction.
//!
//! ```text
//! flush     rows that the catalog keeps         -> files; every snapshot finds them there
//! merge     small files of one partition        -> one; every snapshot finds its rows in it
//! rewrite   files of which much is deleted      -> one without; older snapshots keep the old ones
//! expire    snapshots                           -> gone, with the rows of the catalog only they show
//! cleanup   files that only waited for deletion -> gone
//! orphans   files that the catalog never named  -> gone
//! ```
//!
//! Merging and rewriting ([`compact`]) commit table by table, and a table that another writer changes
//! meanwhile is done again: a run that is interrupted keeps what it has done. [`cleanup`] is the only
//! place that deletes files which a commit has named. Only flushing also happens unasked, when [`due`]
//! says so. What a statement says and answers is the
//! session's.

mod cleanup;
mod compact;
mod due;
mod flush;
mod rollback;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::execution::SessionState;

pub(crate) use self::compact::{Compacted, Limits};
pub(crate) use self::due::looks;
pub(crate) use self::rollback::{Action, Restored};
use crate::Progress;
use crate::catalog::model::{Schema, SchemaId, SnapshotId, SnapshotRecord, Table, TableId};
use crate::catalog::{Catalog, Expiry};
use crate::error::Result;
use crate::storage::Storage;
use crate::write::{Staged, Target, WriteOptions};

/// Whether something is done, or only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Real,
    Dry,
}

/// The tables that are looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One table.
    Table(TableId),
    /// All of one schema, or of the warehouse, whose option `auto_compact` does not say otherwise.
    All { schema: Option<SchemaId> },
}

/// Which scheduled or unnamed files are old enough to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// All of them.
    Any,
    /// Those from before.
    Before(DateTime<Utc>),
}

impl Age {
    fn includes(self, time: DateTime<Utc>) -> bool {
        match self {
            Self::Any => true,
            Self::Before(limit) => time < limit,
        }
    }
}

/// What upkeep works with; cheap to clone.
#[derive(Clone)]
pub(crate) struct Upkeep {
    pub(crate) catalog: Catalog,
    pub(crate) storage: Arc<Storage>,
    /// For reading files.
    pub(crate) state: SessionState,
    pub(crate) progress: Progress,
}

/// Rows that were kept in the catalog and are in files now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flushed {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) rows: u64,
}

impl Upkeep {
    /// Where rows of a table go.
    async fn target(&self, table: Table, staged: Arc<Staged>) -> Result<Target> {
        let options = WriteOptions::of(&self.catalog.options_of(&table).await?)?;
        let (storage, progress) = (Arc::clone(&self.storage), self.progress.clone());
        Target::new(&self.state, table, options, storage, staged, progress)
    }

    /// Whether upkeep of `scope` looks after a table.
    async fn is_in(&self, scope: Scope, schema: &Schema, table: &Table) -> Result<bool> {
        let Scope::All { schema: wanted } = scope else {
            return Ok(true);
        };
        let option = self.catalog.options_of(table).await?.remove("auto_compact");
        let is_wanted = wanted.is_none_or(|wanted| wanted == schema.id);
        Ok(is_wanted && option.as_deref() != Some("false"))
    }

    /// Ends snapshots; gives those that end.
    pub(crate) async fn expire(&self, expiry: &Expiry, run: Run) -> Result<Vec<SnapshotRecord>> {
        let expired = self.catalog.expirable(expiry).await?;
        if run == Run::Real && !expired.is_empty() {
            let ids: Vec<SnapshotId> = expired.iter().map(|record| record.snapshot.id).collect();
            self.catalog.expire(&ids).await?;
        }
        Ok(expired)
    }

    async fn tables(&self, at: SnapshotId, scope: Scope) -> Result<Vec<TableId>> {
        match scope {
            Scope::Table(id) => Ok(vec![id]),
            Scope::All { .. } => self.catalog.table_ids(at).await,
        }
    }
}
