//! Going back: a transaction that makes everything as it was at an earlier snapshot.
//!
//! History is not changed; going back is a change like any other. It is worked out as one, and
//! staged in an ordinary transaction:
//!
//! ```text
//! only there now    dropped
//! only there then   created again, with its rows of then copied: a new table
//! there both times  its form is set back; rows that came since are deleted, rows that have gone
//!                   since are inserted again, with their row ids
//! ```
//!
//! Which rows came and went is told by files and positions, so a file that is the same then and now
//! costs nothing. A table whose columns have other types now, or that is partitioned in another way,
//! is dropped and created: its statistics and files are of the new form. So is one that has swapped
//! its name with another. Macros, which only other engines have, and options, which have no history,
//! stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::Upkeep;
use crate::catalog::model::*;
use crate::catalog::{Catalog, Transaction};
use crate::error::{Error, Result};
use crate::table::{self, Moved, deletes};
use crate::write::{self, Staged};

/// What going back does to one table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) action: Action,
    pub(crate) rows_deleted: u64,
    pub(crate) rows_inserted: u64,
}

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Drop,
    Create,
    /// It stays, and its form or its rows change.
    Change,
}

/// Rows that have to be written for a table.
struct Pending {
    /// The table as the transaction has it.
    table: Table,
    rows: Rows,
    /// Whether they keep their row ids.
    row_ids: bool,
}

/// Rows of an earlier snapshot.
#[derive(Default)]
struct Rows {
    /// Files without what is not wanted of them.
    files: Vec<DataFile>,
    inlined: Vec<InlinedRows>,
    count: u64,
}

impl Rows {
    /// Adds the rows of a file that are not `missing`.
    fn push(&mut self, file: &DataFile, missing: RoaringTreemap) {
        let count = file.record_count.saturating_sub(missing.len());
        if count > 0 {
            self.count += count;
            let (deletes, deleted) = (vec![], Arc::new(missing));
            self.files.push(DataFile { deletes, deleted, partial_max: None, ..file.clone() });
        }
    }

    fn push_inlined(&mut self, group: InlinedRows) {
        if !group.rows.is_empty() {
            self.count += group.rows.len() as u64;
            self.inlined.push(group);
        }
    }
}

/// All that one snapshot shows.
struct Shown {
    at: SnapshotId,
    schemas: Vec<Schema>,
    relations: Vec<(Schema, Relation)>,
}

impl Shown {
    async fn at(catalog: &Catalog, at: SnapshotId) -> Result<Self> {
        let schemas = catalog.schemas(at).await?;
        let mut relations = Vec::new();
        for schema in &schemas {
            let inside = catalog.relations_in(at, schema).await?;
            relations.extend(inside.into_iter().map(|relation| (schema.clone(), relation)));
        }
        Ok(Self { at, schemas, relations })
    }

    fn find(&self, wanted: &Relation) -> Option<&Relation> {
        let is_it = |relation: &&Relation| match (relation, wanted) {
            (Relation::Table(a), Relation::Table(b)) => a.id == b.id,
            (Relation::View(a), Relation::View(b)) => a.id == b.id,
            _ => false,
        };
        self.relations.iter().map(|(_, relation)| relation).find(is_it)
    }

    /// Whether a table can be set back to an earlier form of it, which `then` shows.
    fn stays(&self, table: &Table, then: &Shown) -> bool {
        let Some(Relation::Table(old)) = then.find(&Relation::Table(table.clone())) else {
            return false;
        };
        let keys = |table: &Table| table.partition.as_ref().map(|spec| spec.keys.clone());
        let has_its_name = |relation: &Relation| match relation {
            Relation::Table(other) => {
                other.id != table.id && other.schema_id == old.schema_id && other.name == old.name
            }
            Relation::View(view) => view.schema_id == old.schema_id && view.name == old.name,
        };
        let mut others = self.relations.iter().map(|(_, relation)| relation);
        has_types(old, table)
            && keys(old) == keys(table)
            && !others.any(|other| has_its_name(other) && then.find(other).is_some())
    }

    fn has_schema(&self, wanted: &Schema) -> bool {
        self.schemas.iter().any(|schema| schema.id == wanted.id)
    }
}

impl Upkeep {
    /// Stages in `transaction`, which has no changes yet, what makes everything as it was at `to`.
    /// Without `staged` no row is written: the transaction must not be committed then.
    pub(crate) async fn rollback(
        &self,
        to: SnapshotId,
        transaction: &mut Transaction,
        staged: Option<&Arc<Staged>>,
    ) -> Result<Vec<Restored>> {
        // Says so if there is no such snapshot.
        transaction.at_version(to).await?;
        let then = Shown::at(&self.catalog, to).await?;
        let now = Shown::at(&self.catalog, transaction.base().id).await?;
        let mut restored = drop_all(&then, &now, transaction).await?;
        let mut pending = Vec::new();
        let schemas = self.schemas(&then, &now, transaction).await?;
        for (old_schema, relation) in &then.relations {
            let schema = schemas.get(&old_schema.id);
            let schema = schema.ok_or_else(|| Error::internal("a relation without a schema"))?;
            let done = match (relation, now.find(relation)) {
                (Relation::Table(old), Some(Relation::Table(table))) if now.stays(table, &then) => {
                    let pins = (then.at, now.at);
                    self.set_back(schema, old, table, pins, transaction, &mut pending).await?
                }
                (Relation::Table(table), _) => {
                    Some(self.create_again(schema, table, to, transaction, &mut pending).await?)
                }
                (Relation::View(old), Some(Relation::View(view))) if old == view => None,
                (Relation::View(view), _) => {
                    Some(create_view_again(schema, view, transaction).await?)
                }
            };
            restored.extend(done);
        }
        if let Some(staged) = staged {
            for rows in pending {
                self.insert(rows, to, transaction, staged).await?;
            }
        }
        Ok(restored)
    }

    /// The schemas of then as the transaction has them, by the ids they had.
    async fn schemas(
        &self,
        then: &Shown,
        now: &Shown,
        transaction: &mut Transaction,
    ) -> Result<BTreeMap<SchemaId, Schema>> {
        for schema in &now.schemas {
            if !then.has_schema(schema) {
                transaction.drop_schema(schema, true).await?;
            }
        }
        let mut schemas = BTreeMap::new();
        for schema in &then.schemas {
            let current = match now.has_schema(schema) {
                true => schema.clone(),
                false => transaction.create_schema(&schema.name).await?,
            };
            schemas.insert(schema.id, current);
        }
        Ok(schemas)
    }

    /// A table that is there then and now; nothing, if it is the same.
    async fn set_back(
        &self,
        schema: &Schema,
        old: &Table,
        now: &Table,
        (then_at, now_at): (SnapshotId, SnapshotId),
        transaction: &mut Transaction,
        pending: &mut Vec<Pending>,
    ) -> Result<Option<Restored>> {
        let table = Table {
            next_column_id: now.next_column_id,
            partition: now.partition.clone(),
            ..old.clone()
        };
        if table != *now {
            transaction.alter_table(schema, now, table.clone()).await?;
        }
        let (deleted, rows_deleted, rows) = self.difference(old, now, then_at, now_at).await?;
        if table == *now && rows_deleted == 0 && rows.count == 0 {
            return Ok(None);
        }
        let restored = Restored {
            schema: schema.name.clone(),
            name: table.name.clone(),
            action: Action::Change,
            rows_deleted,
            rows_inserted: rows.count,
        };
        if !deleted.is_empty() {
            transaction.delete(&table, deleted);
        }
        pending.push(Pending { table, rows, row_ids: true });
        Ok(Some(restored))
    }

    /// A table of then that is not there now, or not in a form that can be set back.
    async fn create_again(
        &self,
        schema: &Schema,
        old: &Table,
        at: SnapshotId,
        transaction: &mut Transaction,
        pending: &mut Vec<Pending>,
    ) -> Result<Restored> {
        let created = transaction.create_table(schema, &old.name, old.columns.clone()).await?;
        let mut partition = old.partition.clone();
        if let Some(spec) = &mut partition {
            spec.id = transaction.partition_id();
        }
        let table = Table {
            comment: old.comment.clone(),
            sort: old.sort.clone(),
            constraints: old.constraints.clone(),
            partition,
            ..created.clone()
        };
        if table != created {
            transaction.alter_table(schema, &created, table.clone()).await?;
        }
        let mut rows = Rows::default();
        for file in self.catalog.data_files(at, old).await? {
            let missing = deletes::missing(&self.storage, &file, at).await?;
            rows.push(&file, Arc::unwrap_or_clone(missing));
        }
        for group in self.catalog.inlined_rows(at, old.id).await? {
            rows.push_inlined(group);
        }
        let restored = Restored {
            schema: schema.name.clone(),
            name: table.name.clone(),
            action: Action::Create,
            rows_deleted: 0,
            rows_inserted: rows.count,
        };
        pending.push(Pending { table, rows, row_ids: false });
        Ok(restored)
    }

    /// The rows of a table that have come since then, and those that have gone.
    async fn difference(
        &self,
        old: &Table,
        now: &Table,
        then_at: SnapshotId,
        now_at: SnapshotId,
    ) -> Result<(BTreeMap<FileId, DeletedRows>, u64, Rows)> {
        let (mut deleted, mut n_deleted, mut gone) = (BTreeMap::new(), 0, Rows::default());
        let by_id = |files: Vec<DataFile>| -> BTreeMap<FileId, DataFile> {
            files.into_iter().filter_map(|file| Some((file.id?, file))).collect()
        };
        let mut current = by_id(self.catalog.data_files(now_at, now).await?);
        for (id, before) in by_id(self.catalog.data_files(then_at, old).await?) {
            let Some(after) = current.remove(&id) else {
                let missing = deletes::missing(&self.storage, &before, then_at).await?;
                gone.push(&before, Arc::unwrap_or_clone(missing));
                continue;
            };
            let is_same = before == after && after.partial_max.is_none_or(|max| max <= then_at);
            if is_same && after.deletes.is_empty() {
                continue;
            }
            let was_missing = deletes::missing(&self.storage, &before, then_at).await?;
            let is_missing = deletes::missing(&self.storage, &after, now_at).await?;
            let came = was_missing.as_ref() - is_missing.as_ref();
            let went = is_missing.as_ref() - was_missing.as_ref();
            if !came.is_empty() {
                n_deleted += came.len();
                deleted.insert(id, DeletedRows::At(Arc::new(came)));
            }
            if !went.is_empty() {
                let mut all = RoaringTreemap::new();
                all.insert_range(0..before.record_count);
                gone.push(&before, all - went);
            }
        }
        for (id, after) in current {
            let missing = deletes::missing(&self.storage, &after, now_at).await?;
            n_deleted += after.record_count.saturating_sub(missing.len());
            deleted.insert(id, DeletedRows::All);
        }
        let before = self.catalog.inlined_rows(then_at, old.id).await?;
        let after = self.catalog.inlined_rows(now_at, now.id).await?;
        let came: RoaringTreemap = rows_without(&after, &before)
            .iter()
            .flat_map(|group| &group.rows)
            .map(|row| row.place.cast_unsigned())
            .collect();
        if !came.is_empty() {
            n_deleted += came.len();
            deleted.insert(INLINED, DeletedRows::At(Arc::new(came)));
        }
        rows_without(&before, &after).into_iter().for_each(|group| gone.push_inlined(group));
        Ok((deleted, n_deleted, gone))
    }

    /// Writes rows of then for a table of the transaction.
    async fn insert(
        &self,
        pending: Pending,
        at: SnapshotId,
        transaction: &mut Transaction,
        staged: &Arc<Staged>,
    ) -> Result<()> {
        let Pending { table, rows, row_ids } = pending;
        if rows.count == 0 {
            return Ok(());
        }
        let limit = transaction.inlining_limit(&table, &transaction.options_of(&table).await?);
        let target = self.target(table.clone(), Arc::clone(staged)).await?;
        let target = target.with_inlining(limit);
        let target = if row_ids { target.with_row_ids() } else { target };
        let moved = Moved {
            columns: &table.columns,
            files: rows.files,
            inlined: rows.inlined,
            row_ids,
            snapshots: false,
        };
        let plan = table::moved(moved, at, &self.state, &self.storage).await?;
        self.progress.watch(&plan);
        let written = write::write(plan, self.state.task_ctx(), Arc::new(target)).await?;
        if !written.files.is_empty() {
            transaction.append(&table, written.files);
        }
        for group in written.inlined {
            transaction.inline(&table, group);
        }
        Ok(())
    }
}

/// Drops what is not there then, and what has to be created again.
async fn drop_all(
    then: &Shown,
    now: &Shown,
    transaction: &mut Transaction,
) -> Result<Vec<Restored>> {
    let mut dropped = Vec::new();
    for (schema, relation) in &now.relations {
        let name = match (relation, then.find(relation)) {
            (Relation::Table(table), Some(_)) if now.stays(table, then) => continue,
            (Relation::View(view), Some(Relation::View(old))) if old == view => continue,
            (Relation::Table(Table { name, .. }) | Relation::View(View { name, .. }), _) => name,
        };
        transaction.drop_relation(relation).await?;
        dropped.push(Restored {
            schema: schema.name.clone(),
            name: name.clone(),
            action: Action::Drop,
            rows_deleted: 0,
            rows_inserted: 0,
        });
    }
    Ok(dropped)
}

async fn create_view_again(
    schema: &Schema,
    view: &View,
    transaction: &mut Transaction,
) -> Result<Restored> {
    let aliases = view.column_aliases.clone();
    let created = transaction.create_view(schema, &view.name, &view.sql, aliases).await?;
    let (dialect, comment) = (view.dialect.clone(), view.comment.clone());
    let now = View { dialect, comment, ..created.clone() };
    transaction.alter_view(schema, &created, now).await?;
    Ok(Restored {
        schema: schema.name.clone(),
        name: view.name.clone(),
        action: Action::Create,
        rows_deleted: 0,
        rows_inserted: 0,
    })
}

/// Whether every leaf column that two forms of a table share has one type.
fn has_types(old: &Table, now: &Table) -> bool {
    fn collect<'a>(column: &'a Column, all: &mut BTreeMap<ColumnId, &'a ColumnType>) {
        let children = column.children();
        if children.is_empty() {
            all.insert(column.id, &column.column_type);
        }
        children.into_iter().for_each(|child| collect(child, all));
    }
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    old.columns.iter().for_each(|column| collect(column, &mut before));
    now.columns.iter().for_each(|column| collect(column, &mut after));
    before.iter().all(|(id, column_type)| after.get(id).is_none_or(|other| other == column_type))
}

/// The rows of `these` that are not among `those`.
fn rows_without(these: &[InlinedRows], those: &[InlinedRows]) -> Vec<InlinedRows> {
    let ids = |group: &InlinedRows| group.columns.iter().map(|c| c.id).collect::<Vec<_>>();
    let is_in = |group: &InlinedRows, row: &InlinedRow| {
        let same = those.iter().filter(|other| ids(other) == ids(group));
        same.flat_map(|other| &other.rows).any(|other| other == row)
    };
    let without = |group: &InlinedRows| InlinedRows {
        rows: group.rows.iter().filter(|row| !is_in(group, row)).cloned().collect(),
        ..group.clone()
    };
    these.iter().map(without).filter(|group| !group.rows.is_empty()).collect()
}
