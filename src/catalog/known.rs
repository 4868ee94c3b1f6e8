//! What sessions of this process have read of the schema, by its version.
//!
//! Whoever changes the schema begins another version of it, so what was read of one holds as long as
//! the process runs. Options and the rows of tables have no part in it; what is known of a table's rows
//! as a whole holds until there is another file.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Catalog;
use super::model::*;
use crate::error::Result;

/// Entries after which all is forgotten: a bound of memory, far above what sessions use.
const MAX: usize = 2_000;

/// Schemas and relations that were read.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    schemas: HashMap<i64, Vec<Schema>>,
    relations: HashMap<(i64, SchemaId, String), Option<Relation>>,
    /// With the schema version and the next file's id, of which either changes with them.
    summaries: HashMap<TableId, (i64, i64, TableSummary)>,
}

impl Known {
    fn with<T>(&self, look: impl FnOnce(&mut Entries) -> T) -> T {
        // Entries are put in whole, so those that a panic left behind are right.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Entries { schemas, relations, summaries } = &*entries;
        if schemas.len() + relations.len() + summaries.len() > MAX {
            *entries = Entries::default();
        }
        look(&mut entries)
    }
}

impl Catalog {
    /// [`Self::schemas`] of a snapshot, read once for each schema version.
    pub(super) async fn known_schemas(&self, at: &Snapshot) -> Result<Vec<Schema>> {
        let version = at.schema_version;
        if let Some(schemas) = self.known().with(|known| known.schemas.get(&version).cloned()) {
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
        if let Some(relation) = self.known().with(|known| known.relations.get(&key).cloned()) {
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
        let known = self.known().with(|known| {
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
}
