//! Staged changes to a new snapshot, in one short database transaction.
//!
//! ```text
//! take the write lock -> read the newest snapshot
//!   moved since the base? check for conflicts; what does not conflict is rebased
//! number new objects and files -> insert rows -> commit
//!   a lock, another writer's number, a lost connection? all of it again, in growing intervals
//! ```
//!
//! Files are finished before this begins, so the lock is held for milliseconds, and a rebase never
//! touches a file. Counters, row order and texts follow DuckLake 1.0, whose other writers share
//! them: a snapshot id is exactly one more than the last, every file takes a file id, row counts
//! are gross.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};

use super::alter::TableDiff;
use super::backend::{Value, WriteTransaction};
use super::changes::{self, Change};
use super::layout::CONSTRAINTS;
use super::model::*;
use super::read::{self, NEWEST};
use super::types::{print_aliases, print_time, type_name};
use super::widen::leaves;
use super::{Catalog, conflict};
use crate::error::{Error, ErrorKind, Result};

impl Catalog {
    /// Makes `commit` the newest snapshot. A conflict with another writer is an
    /// [`ErrorKind::Conflict`]; on every error but [`ErrorKind::OutcomeUnknown`] nothing has changed.
    ///
    /// `sending` is called when the database is about to be told to commit: until then dropping the
    /// future means that nothing changes, after that it may or may not.
    pub async fn commit(&self, commit: &Commit, sending: impl Fn()) -> Result<Committed> {
        let schemas = self.known_schemas(&commit.base).await?;
        let mut patience = self.backend().patience();
        loop {
            match self.try_commit(commit, schemas.clone(), &sending).await {
                Err(error) if self.backend().is_transient(&error) && patience.pause().await => {}
                result => return result,
            }
        }
    }

    async fn try_commit(
        &self,
        commit: &Commit,
        schemas: Vec<Schema>,
        sending: &impl Fn(),
    ) -> Result<Committed> {
        let mut transaction = self.backend().write().await?;
        let rows = transaction.query(NEWEST, &[]).await?;
        let newest = rows.first().map(read::snapshot).transpose()?;
        let newest = newest.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("catalog \"{}\" has no snapshot", self.name()))
        })?;
        if newest.id != commit.base.id {
            let theirs = changes_between(&mut transaction, commit.base.id, newest.id).await?;
            conflict::check(&commit.changes, &schemas, &theirs)?;
            if let Some(compaction) = &commit.compaction {
                conflict::check_compaction(compaction, &theirs)?;
            }
            if let Some(flush) = &commit.flush {
                conflict::check_flush(flush, &theirs)?;
            }
        }
        if commit.expects.is_some_and(|id| id.0 != newest.id.0 + 1) {
            return Ok(Committed::Overtaken(newest));
        }
        let mut writer = Writer::new(transaction, &newest, &commit.changes, schemas);
        writer.write(self, commit).await?;
        let Writer { transaction, snapshot, .. } = writer;
        sending();
        match transaction.commit().await {
            Ok(()) => Ok(Committed::As(snapshot)),
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                Err(error.with_help(format!(
                    "once the server is back, look in snapshots() for {} of {}: if it is not there, \
                     run the transaction again",
                    snapshot.id,
                    print_time(snapshot.time)
                )))
            }
            Err(error) => Err(error),
        }
    }
}

/// What the snapshots after `base` changed. Ids have no gaps, so one that is missing has expired, and
/// what it changed is not known any more.
async fn changes_between(
    transaction: &mut WriteTransaction,
    base: SnapshotId,
    newest: SnapshotId,
) -> Result<Vec<Change>> {
    let sql = "SELECT changes_made FROM ducklake_snapshot_changes WHERE snapshot_id > $1 \
               ORDER BY snapshot_id";
    let mut all = Vec::new();
    let rows = transaction.query(sql, &[base.into()]).await?;
    if i64::try_from(rows.len()) != Ok(newest.0 - base.0) {
        return Err(Error::new(
            ErrorKind::Conflict,
            "other transactions were first, and some of their snapshots have expired since",
        )
        .with_help("nothing was changed; run the transaction again"));
    }
    for row in rows {
        let text = row.opt_text(0).unwrap_or_default();
        all.extend(changes::parse(&text).ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                "another transaction was first, with changes unknown here",
            )
            .with_help("nothing was changed; run the transaction again")
        })?);
    }
    Ok(all)
}

/// The state of one commit: the new snapshot as it is counted up, and the numbers given out.
pub(super) struct Writer<'a> {
    pub(super) transaction: WriteTransaction,
    /// The one before.
    newest: Snapshot,
    pub(super) snapshot: Snapshot,
    pub(super) changes: &'a Changes,
    /// The schemas of the base and the new ones, for names.
    schemas: Vec<Schema>,
    schema_ids: BTreeMap<SchemaId, SchemaId>,
    table_ids: BTreeMap<TableId, TableId>,
    pub(super) partition_ids: BTreeMap<PartitionId, PartitionId>,
    pub(super) file_ids: BTreeMap<FileId, i64>,
    pub(super) listed: Vec<Change>,
}

impl<'a> Writer<'a> {
    fn new(
        transaction: WriteTransaction,
        newest: &Snapshot,
        changes: &'a Changes,
        mut schemas: Vec<Schema>,
    ) -> Self {
        let alters = !changes.created_schemas.is_empty()
            || !changes.dropped_schemas.is_empty()
            || !changes.created_tables.is_empty()
            || !changes.dropped_tables.is_empty()
            || !changes.created_views.is_empty()
            || !changes.dropped_views.is_empty()
            || !changes.altered_tables.is_empty()
            || !changes.altered_views.is_empty();
        let snapshot = Snapshot {
            id: SnapshotId(newest.id.0 + 1),
            time: after(newest.time),
            ..newest.clone()
        };
        schemas.extend(changes.created_schemas.iter().cloned());
        let mut writer = Self {
            transaction,
            snapshot,
            newest: newest.clone(),
            changes,
            schemas,
            schema_ids: BTreeMap::new(),
            table_ids: BTreeMap::new(),
            partition_ids: BTreeMap::new(),
            file_ids: BTreeMap::new(),
            listed: Vec::new(),
        };
        if alters {
            writer.begin_schema_version();
        }
        writer
    }

    /// Says, once, that what sessions know of the schema does not hold any more.
    pub(super) fn begin_schema_version(&mut self) {
        self.snapshot.schema_version = self.newest.schema_version + 1;
    }

    /// Whether what sessions know of the schema may not hold in this commit.
    pub(super) fn is_new_schema_version(&self) -> bool {
        self.snapshot.schema_version != self.newest.schema_version
    }

    async fn write(&mut self, catalog: &Catalog, commit: &Commit) -> Result<()> {
        self.check_names().await?;
        self.drop_all(catalog).await?;
        self.create_schemas().await?;
        self.create_tables().await?;
        self.alter_tables().await?;
        self.create_views().await?;
        self.alter_views().await?;
        let changes = self.changes;
        for (table, deleted) in &changes.deleted {
            if let Some(DeletedRows::At(rows)) = deleted.files.get(&INLINED) {
                self.end_inlined(*table, rows).await?;
            }
        }
        let grown: BTreeSet<&TableId> =
            changes.appended.keys().chain(changes.inlined.keys()).collect();
        for table in grown {
            let files = changes.appended.get(table).map_or(&[][..], Vec::as_slice);
            let rows = changes.inlined.get(table).map_or(&[][..], Vec::as_slice);
            self.append(catalog, *table, files, rows).await?;
        }
        for (table, deletions) in &commit.deletions {
            self.delete(catalog, *table, deletions).await?;
        }
        if let Some(flush) = &commit.flush {
            self.flush(catalog, flush).await?;
        }
        if let Some(compaction) = &commit.compaction {
            self.compact(catalog, compaction).await?;
        }
        self.finish(commit).await
    }

    /// Names are checked again under the lock: the rules above see only well-behaved writers.
    async fn check_names(&mut self) -> Result<()> {
        let changes = self.changes;
        let names = changes.tables().map(|t| (t.schema_id, &t.name));
        let names = names.chain(changes.views().map(|v| (v.schema_id, &v.name)));
        // Altered objects, which may have given up their names, are checked where they are renamed.
        let tables = changes.dropped_tables.iter().chain(changes.altered_tables.keys());
        let tables: Vec<i64> = tables.map(|table| table.0).collect();
        let views = changes.dropped_views.iter().chain(changes.altered_views.keys());
        let views: Vec<i64> = views.map(|view| view.0).collect();
        for (schema, name) in names.filter(|(schema, _)| !schema.is_provisional()) {
            for (table, id, column, own) in [
                ("ducklake_table", "table_id", "table_name", &tables),
                ("ducklake_view", "view_id", "view_name", &views),
            ] {
                let sql = format!(
                    "SELECT {id} FROM {table} WHERE schema_id = $1 AND end_snapshot IS NULL \
                     AND ({column} = $2 OR lower({column}) = lower($2))"
                );
                let rows =
                    self.transaction.query(&sql, &[schema.0.into(), name.as_str().into()]).await?;
                for row in rows {
                    if !own.contains(&row.int(0)?) {
                        return Err(Error::new(
                            ErrorKind::Conflict,
                            format!("another transaction was first: it created \"{name}\""),
                        )
                        .with_help("nothing was changed; run the transaction again"));
                    }
                }
            }
        }
        Ok(())
    }

    async fn drop_all(&mut self, catalog: &Catalog) -> Result<()> {
        for schema in &self.changes.dropped_schemas {
            self.end("ducklake_schema", "schema_id", schema.0).await?;
            self.listed.push(Change::id("dropped_schema", schema.0));
        }
        for table in &self.changes.dropped_tables {
            for dependent in [
                "ducklake_table",
                "ducklake_partition_info",
                "ducklake_column",
                "ducklake_column_tag",
                "ducklake_data_file",
                "ducklake_delete_file",
                "ducklake_sort_info",
            ] {
                self.end(dependent, "table_id", table.0).await?;
            }
            if catalog.backend().has_table(CONSTRAINTS).await? {
                self.end(CONSTRAINTS, "table_id", table.0).await?;
            }
            self.end("ducklake_tag", "object_id", table.0).await?;
            self.listed.push(Change::id("dropped_table", table.0));
        }
        for view in &self.changes.dropped_views {
            self.end("ducklake_view", "view_id", view.0).await?;
            self.end("ducklake_tag", "object_id", view.0).await?;
            self.listed.push(Change::id("dropped_view", view.0));
        }
        Ok(())
    }

    pub(super) async fn end(&mut self, table: &str, column: &str, id: i64) -> Result<()> {
        let sql = format!(
            "UPDATE {table} SET end_snapshot = $1 WHERE {column} = $2 AND end_snapshot IS NULL"
        );
        self.transaction.execute(&sql, &[self.snapshot.id.into(), id.into()]).await
    }

    async fn create_schemas(&mut self) -> Result<()> {
        for schema in &self.changes.created_schemas {
            let id = SchemaId(self.next_catalog_id());
            self.schema_ids.insert(schema.id, id);
            let mut row = vec![
                id.0.into(),
                schema.uuid.into(),
                self.snapshot.id.into(),
                Value::Null,
                schema.name.clone().into(),
            ];
            row.extend(path_values(&schema.path));
            self.transaction.insert("ducklake_schema", vec![row]).await?;
            self.listed.push(Change::name("created_schema", &[&schema.name]));
        }
        Ok(())
    }

    async fn create_tables(&mut self) -> Result<()> {
        for table in &self.changes.created_tables {
            let id = TableId(self.next_catalog_id());
            self.table_ids.insert(table.id, id);
            self.insert_table(id, table).await?;
            self.write_diff(id, &TableDiff::between(None, table)).await?;
            self.version_schema(id).await?;
            self.make_inlined_table(id, table).await?;
            let schema = self.schema_name(table.schema_id);
            self.listed.push(Change::name("created_table", &[&schema, &table.name]));
        }
        Ok(())
    }

    /// The table's own row.
    pub(super) async fn insert_table(&mut self, id: TableId, table: &Table) -> Result<()> {
        let mut row = vec![
            id.0.into(),
            table.uuid.into(),
            self.snapshot.id.into(),
            Value::Null,
            self.schema_id(table.schema_id).0.into(),
            table.name.clone().into(),
        ];
        row.extend(path_values(&table.path));
        self.transaction.insert("ducklake_table", vec![row]).await
    }

    async fn create_views(&mut self) -> Result<()> {
        for view in &self.changes.created_views {
            let id = self.next_catalog_id();
            self.insert_view(id, view).await?;
            if view.comment.is_some() {
                self.comment(id, view.comment.as_deref()).await?;
            }
            let schema = self.schema_name(view.schema_id);
            self.listed.push(Change::name("created_view", &[&schema, &view.name]));
        }
        Ok(())
    }

    pub(super) async fn insert_view(&mut self, id: i64, view: &View) -> Result<()> {
        let row = vec![
            id.into(),
            view.uuid.into(),
            self.snapshot.id.into(),
            Value::Null,
            self.schema_id(view.schema_id).0.into(),
            view.name.clone().into(),
            view.dialect.clone().into(),
            view.sql.clone().into(),
            print_aliases(&view.column_aliases).into(),
        ];
        self.transaction.insert("ducklake_view", vec![row]).await
    }

    /// A table's directory and the types of its leaf columns.
    pub(super) async fn layout(
        &mut self,
        catalog: &Catalog,
        table: TableId,
        id: TableId,
    ) -> Result<(String, BTreeMap<ColumnId, ColumnType>)> {
        if let Some(table) = self.changes.tables().find(|t| t.id == table) {
            return Ok((table.directory.clone(), leaf_types(&table.columns)));
        }
        let gone = || {
            Error::new(ErrorKind::Conflict, "another transaction was first: it dropped the table")
                .with_help("nothing was changed; run the transaction again")
        };
        let sql = "SELECT schema_id, table_name FROM ducklake_table WHERE table_id = $1 \
                   AND end_snapshot IS NULL";
        let rows = self.transaction.query(sql, &[id.0.into()]).await?;
        let row = rows.first().ok_or_else(gone)?;
        let (schema_id, name) = (SchemaId(row.int(0)?), row.text(1)?);
        let schema = self.schemas.iter().find(|schema| schema.id == schema_id).ok_or_else(gone)?;
        // Columns cannot have changed since the base: that is a conflict. So reading them outside
        // of the lock's transaction sees the same rows.
        match catalog.known_relation(&self.newest, schema, &name).await? {
            Some(Relation::Table(table)) => {
                let leaves = leaf_types(&table.columns);
                Ok((table.directory, leaves))
            }
            _ => Err(gone()),
        }
    }

    /// The snapshot's own rows, once all is counted.
    async fn finish(&mut self, commit: &Commit) -> Result<()> {
        let snapshot = vec![
            self.snapshot.id.into(),
            self.snapshot.time.into(),
            self.snapshot.schema_version.into(),
            self.snapshot.next_catalog_id.into(),
            self.snapshot.next_file_id.into(),
        ];
        self.transaction.insert("ducklake_snapshot", vec![snapshot]).await?;
        let order = |change: &Change| {
            let kinds = LISTING.iter().position(|kind| *kind == change.kind);
            kinds.unwrap_or(LISTING.len())
        };
        self.listed.sort_by_key(order);
        let changes = vec![
            self.snapshot.id.into(),
            changes::print(&self.listed).into(),
            commit.author.clone().into(),
            commit.message.clone().into(),
            Value::Null,
        ];
        self.transaction.insert("ducklake_snapshot_changes", vec![changes]).await
    }

    pub(super) fn next_catalog_id(&mut self) -> i64 {
        self.snapshot.next_catalog_id += 1;
        self.snapshot.next_catalog_id - 1
    }

    pub(super) fn next_file_id(&mut self) -> i64 {
        self.snapshot.next_file_id += 1;
        self.snapshot.next_file_id - 1
    }

    /// The id of a table of the base, or the new one of a table that this commit creates.
    pub(super) fn table_id(&self, id: TableId) -> TableId {
        self.table_ids.get(&id).copied().unwrap_or(id)
    }

    /// The same of a data file.
    pub(super) fn file_id(&self, id: FileId) -> i64 {
        self.file_ids.get(&id).copied().unwrap_or(id.0)
    }

    fn schema_id(&self, id: SchemaId) -> SchemaId {
        self.schema_ids.get(&id).copied().unwrap_or(id)
    }

    pub(super) fn schema_name(&self, id: SchemaId) -> String {
        let schema = self.schemas.iter().find(|schema| schema.id == id);
        schema.map(|schema| schema.name.clone()).unwrap_or_default()
    }
}

/// The order in which changes are listed.
const LISTING: [&str; 15] = [
    "dropped_schema",
    "dropped_table",
    "dropped_view",
    "created_schema",
    "created_table",
    "created_view",
    "inserted_into_table",
    "deleted_from_table",
    "altered_table",
    "altered_view",
    "inlined_insert",
    "inlined_delete",
    "inline_flush",
    "merge_adjacent",
    "rewrite_delete",
];

/// Now, but later than the last snapshot: time travel needs their order.
fn after(last: DateTime<Utc>) -> DateTime<Utc> {
    #[allow(clippy::disallowed_methods, reason = "the commit is what gives a snapshot its time")]
    Utc::now().max(last + Duration::microseconds(1))
}

fn path_values(path: &ObjectPath) -> [Value; 2] {
    match path {
        ObjectPath::Relative(path) => [path.clone().into(), true.into()],
        ObjectPath::Absolute(path) => [path.clone().into(), false.into()],
    }
}

pub(super) fn leaf_types(columns: &[Column]) -> BTreeMap<ColumnId, ColumnType> {
    leaves(columns).into_iter().map(|leaf| (leaf.id, leaf.column_type.clone())).collect()
}

/// A column's own row.
pub(super) fn column_row(
    column: &Column,
    parent: Option<ColumnId>,
    table: TableId,
    snapshot: SnapshotId,
) -> Vec<Value> {
    let is_nested = !column.children().is_empty();
    let (default, kind) = match &column.default {
        Some(ColumnDefault::Literal(text)) => (text.as_str(), "literal"),
        Some(ColumnDefault::Expression(sql)) => (sql.as_str(), "expression"),
        None if is_nested => ("NULL", ""),
        None => ("NULL", "literal"),
    };
    vec![
        column.id.0.into(),
        snapshot.into(),
        Value::Null,
        table.0.into(),
        column.id.0.into(),
        column.name.clone().into(),
        type_name(&column.column_type).into(),
        column.initial_default.clone().into(),
        default.into(),
        column.nullable.into(),
        parent.map(|parent| parent.0).into(),
        kind.into(),
        Value::Null,
    ]
}

/// A path below `directory`, or else the full one, and which of the two it is.
pub(super) fn relative<'a>(path: &'a str, directory: &str) -> (&'a str, bool) {
    match path.strip_prefix(directory) {
        Some(relative) => (relative, true),
        None => (path, false),
    }
}
