//! What sessions of this process have read of the catalog.
//!
//! Whoever changes the schema begins another version of it, so what was read of one holds as long as
//! the process runs. What is known of a table's rows as a whole holds until there is another file.
//! The files of a snapshot are the same while it is the newest: whoever merges them makes another.
//! Statistics of a file hold for ever. Options and the rows of tables have no part in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Catalog;
use super::model::*;
use super::statistics::{FormerType, StatsByFile};
use crate::error::Result;

/// Entries after which all is forgotten: a bound of memory, far above what sessions use.
const MAX: usize = 2_000;

/// The same of files, and of statistics of a column in a file: some 50 MB of either.
const MAX_IN_FILES: usize = 250_000;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    schemas: HashMap<i64, Vec<Schema>>,
    relations: HashMap<(i64, SchemaId, String), Option<Relation>>,
    types: HashMap<(i64, TableId), Arc<[FormerType]>>,
    /// The newest table of inlined rows.
    inlined: HashMap<(i64, TableId), String>,
    /// With the schema version and the next file's id, of which either changes with them.
    summaries: HashMap<TableId, (i64, i64, TableSummary)>,
    /// With the snapshot whose files they are.
    files: HashMap<TableId, (SnapshotId, Vec<Arc<DataFile>>)>,
    stats: HashMap<(TableId, ColumnId), KnownStats>,
}

/// Statistics of one column.
#[derive(Debug)]
struct KnownStats {
    /// Those of all files up to this one are there.
    through: FileId,
    by_file: Arc<StatsByFile>,
}

/// Ids of files begin after it.
const BEFORE_ALL: FileId = FileId(-1);

impl Known {
    fn with<T>(&self, look: impl FnOnce(&mut Entries) -> T) -> T {
        // Entries are put in whole, so those that a panic left behind are right.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut entries)
    }

    /// A look for something that may be there; before it, all is forgotten that has become too much.
    fn look<T>(&self, look: impl FnOnce(&Entries) -> T) -> T {
        self.with(|entries| {
            let Entries { schemas, relations, types, inlined, summaries, files, stats } = &*entries;
            let n_objects = schemas.len() + relations.len() + types.len() + inlined.len();
            let n_files: usize = files.values().map(|(_, files)| files.len()).sum();
            let n_stats: usize = stats.values().map(|stats| stats.by_file.len()).sum();
            let n_lists = n_objects + summaries.len() + files.len() + stats.len();
            if n_lists > MAX || n_files + n_stats > MAX_IN_FILES {
                *entries = Entries::default();
            }
            look(entries)
        })
    }
}

impl Catalog {
    /// [`Self::schemas`] of a snapshot, read once for each schema version.
    pub(super) async fn known_schemas(&self, at: &Snapshot) -> Result<Vec<Schema>> {
        let version = at.schema_version;
        if let Some(schemas) = self.known().look(|known| known.schemas.get(&version).cloned()) {
            return Ok(schemas);
        }
        let schemas = self.schemas(at.id).await?;
        self.known().with(|known| known.schemas.insert(version, schemas.clone()));
        Ok(schemas)
    }

    /// [`Self::relation`] of a snapshot, read once for each schema version.
    pub(super) async fn known_relation(
        &self,
        at: &Snapshot,
        schema: &Schema,
        name: &str,
    ) -> Result<Option<Relation>> {
        let key = (at.schema_version, schema.id, name.to_owned());
        if let Some(relation) = self.known().look(|known| known.relations.get(&key).cloned()) {
            return Ok(relation);
        }
        let relation = self.relation(at.id, schema, name).await?;
        self.known().with(|known| known.relations.insert(key, relation.clone()));
        Ok(relation)
    }

    /// What is known of a table as a whole, read once until it changes.
    pub(super) async fn known_summary(
        &self,
        at: &Snapshot,
        table: TableId,
    ) -> Result<TableSummary> {
        let (schema_version, next_file) = (at.schema_version, at.next_file_id);
        let known = self.known().look(|known| {
            let (schemas, files, summary) = known.summaries.get(&table)?;
            (*schemas == schema_version && *files == next_file).then(|| summary.clone())
        });
        if let Some(summary) = known {
            return Ok(summary);
        }
        let summary = self.summary(table).await?;
        let entry = (schema_version, next_file, summary.clone());
        self.known().with(|known| known.summaries.insert(table, entry));
        Ok(summary)
    }

    /// [`Self::former_types`] of a snapshot, read once for each schema version.
    pub(super) async fn known_types(
        &self,
        at: &Snapshot,
        table: TableId,
    ) -> Result<Arc<[FormerType]>> {
        let key = (at.schema_version, table);
        if let Some(types) = self.known().look(|known| known.types.get(&key).cloned()) {
            return Ok(types);
        }
        let types: Arc<[FormerType]> = self.former_types(table).await?.into();
        self.known().with(|known| known.types.insert(key, Arc::clone(&types)));
        Ok(types)
    }

    /// The newest table of a table's inlined rows. Whoever makes one begins a schema version.
    pub(super) fn known_inlined_table(&self, at: &Snapshot, table: TableId) -> Option<String> {
        self.known().look(|known| known.inlined.get(&(at.schema_version, table)).cloned())
    }

    pub(super) fn learn_inlined_table(&self, at: &Snapshot, table: TableId, name: &str) {
        let key = (at.schema_version, table);
        self.known().with(|known| known.inlined.insert(key, name.to_owned()));
    }

    /// [`Self::data_files`], read once for a snapshot that stays the newest.
    pub(super) async fn known_files(
        &self,
        at: SnapshotId,
        table: &Table,
    ) -> Result<Vec<Arc<DataFile>>> {
        let is_newest = self.newest().await? == at;
        if is_newest {
            let known = self.known().look(|known| {
                let (of, files) = known.files.get(&table.id)?;
                (*of == at).then(|| files.clone())
            });
            if let Some(files) = known {
                return Ok(files);
            }
        }
        let files = self.data_files(at, table).await?;
        let files: Vec<Arc<DataFile>> = files.into_iter().map(Arc::new).collect();
        if is_newest {
            self.known().with(|known| known.files.insert(table.id, (at, files.clone())));
        }
        Ok(files)
    }

    /// The statistics of columns in all files up to `through`; if some are not known, those columns
    /// and the file after which they are to be read.
    pub(super) fn known_stats(
        &self,
        table: TableId,
        columns: &[ColumnId],
        through: FileId,
    ) -> Result<Vec<Arc<StatsByFile>>, (Vec<ColumnId>, FileId)> {
        self.known().with(|known| {
            let of = |column: &ColumnId| known.stats.get(&(table, *column));
            let last = |column: &ColumnId| of(column).map_or(BEFORE_ALL, |stats| stats.through);
            let missing = columns.iter().copied().filter(|column| last(column) < through);
            let missing: Vec<ColumnId> = missing.collect();
            match missing.iter().map(last).min() {
                Some(since) => Err((missing, since)),
                None => Ok(columns.iter().filter_map(of).map(|s| Arc::clone(&s.by_file)).collect()),
            }
        })
    }

    /// Adds what was read of the files after `since` up to `through`, unless what was known of those
    /// before is forgotten.
    pub(super) fn learn_stats(
        &self,
        table: TableId,
        columns: &[ColumnId],
        (since, through): (FileId, FileId),
        read: Vec<StatsByFile>,
    ) {
        // Files that came after the last one that was asked for have been read as well.
        let newest = read.iter().flat_map(|read| read.keys()).max();
        let through = newest.map_or(through, |newest| through.max(*newest));
        self.known().with(|known| {
            for (column, read) in columns.iter().zip(read) {
                let nothing = || KnownStats { through: BEFORE_ALL, by_file: Arc::default() };
                let entry = known.stats.entry((table, *column)).or_insert_with(nothing);
                if entry.through >= since {
                    Arc::make_mut(&mut entry.by_file).extend(read);
                    entry.through = entry.through.max(through);
                }
            }
        });
    }
}
