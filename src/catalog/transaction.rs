//! A pinned snapshot with staged changes on top: what a statement reads, and what it commits.
//!
//! A transaction is a value. Reading through it overlays the changes on the snapshot, so a session
//! sees its own work before anyone else does; cloning it is how a statement can fail without
//! leaving a trace. Objects it creates have provisional ids until the commit numbers them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Catalog;
use super::evolve::number;
use super::model::*;
use super::options::SetOption;
use super::widen::{leaves, retype_stats};
use crate::error::{Error, ErrorKind, Result};

/// A pinned snapshot and the changes staged on it.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub(super) catalog: Catalog,
    pub(super) base: Snapshot,
    pub(super) changes: Changes,
    next_provisional: i64,
}

impl Transaction {
    /// Pins the newest snapshot.
    pub async fn begin(catalog: &Catalog) -> Result<Self> {
        let base = catalog.snapshot().await?;
        let changes = Changes::default();
        Ok(Self { catalog: catalog.clone(), base, changes, next_provisional: PROVISIONAL })
    }

    /// The past of this transaction: the snapshot with an id, and no changes.
    pub async fn at_version(&self, id: SnapshotId) -> Result<Self> {
        let newest = self.base.id;
        let found = if id <= newest { self.catalog.snapshot_with_id(id).await? } else { None };
        let base = found.ok_or_else(|| {
            Error::not_found(format!("version {id} does not exist"))
                .with_help(format!("the newest is {newest}; snapshots() lists them"))
        })?;
        Ok(self.pinned_to(base))
    }

    /// The past of this transaction: the newest snapshot at a time, and no changes.
    pub async fn at_time(&self, time: DateTime<Utc>) -> Result<Self> {
        let found = self.catalog.snapshot_at(time, self.base.id).await?;
        let base = found.ok_or_else(|| {
            Error::not_found(format!("no version is as old as {time}"))
                .with_help("snapshots() lists when each version was committed")
        })?;
        Ok(self.pinned_to(base))
    }

    fn pinned_to(&self, base: Snapshot) -> Self {
        let (catalog, changes) = (self.catalog.clone(), Changes::default());
        Self { catalog, base, changes, next_provisional: PROVISIONAL }
    }

    /// The snapshot it is on.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// What is staged.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What to commit.
    pub fn into_commit(self, author: Option<String>, message: Option<String>) -> Commit {
        Commit {
            base: self.base,
            changes: self.changes,
            deletions: BTreeMap::new(),
            compaction: None,
            flush: None,
            expects: None,
            author,
            message,
        }
    }

    /// Every snapshot up to the pinned one, oldest first.
    pub async fn history(&self) -> Result<Vec<SnapshotRecord>> {
        self.catalog.history(self.base.id).await
    }

    /// How many files each table of the base has, and how large they are.
    pub async fn table_sizes(&self) -> Result<Vec<TableSize>> {
        self.catalog.table_sizes(self.base.id).await
    }

    /// The options of the catalog, as they are now.
    pub async fn options(&self) -> Result<Vec<SetOption>> {
        self.catalog.options().await
    }

    /// The schema and the name of a table of the base.
    pub async fn table_name(&self, table: TableId) -> Result<Option<(Schema, String)>> {
        let Some((schema, name)) = self.catalog.table_name(self.base.id, table).await? else {
            return Ok(None);
        };
        let schemas = self.schemas().await?;
        Ok(schemas.into_iter().find(|other| other.id == schema).map(|schema| (schema, name)))
    }

    /// The schemas, by name.
    pub async fn schemas(&self) -> Result<Vec<Schema>> {
        let mut schemas = self.catalog.known_schemas(&self.base).await?;
        schemas.retain(|schema| !self.changes.dropped_schemas.contains(&schema.id));
        schemas.extend(self.changes.created_schemas.iter().cloned());
        schemas.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(schemas)
    }

    /// A schema by name; an exact match goes before one in another case.
    pub async fn schema(&self, name: &str) -> Result<Option<Schema>> {
        let schemas = self.schemas().await?;
        let exact = schemas.iter().find(|schema| schema.name == name);
        Ok(exact.or_else(|| schemas.iter().find(|schema| same_name(&schema.name, name))).cloned())
    }

    /// The names of all tables and views.
    pub async fn relation_names(&self) -> Result<Vec<RelationName>> {
        let mut names = Vec::new();
        let schemas = self.schemas().await?;
        let schema = |id: SchemaId| {
            schemas.iter().find(|schema| schema.id == id).map(|schema| schema.name.clone())
        };
        let name = |schema_id, name: &str, kind| {
            Some(RelationName { schema: schema(schema_id)?, name: name.to_owned(), kind })
        };
        let tables = self.changes.altered_tables.values();
        let before = tables.map(|a| name(a.base.schema_id, &a.base.name, RelationKind::Table));
        let views = self.changes.altered_views.values();
        let before = before
            .chain(views.map(|a| name(a.base.schema_id, &a.base.name, RelationKind::View)))
            .flatten()
            .collect::<Vec<_>>();
        for name in self.catalog.relation_names(self.base.id).await? {
            if !before.contains(&name) && !self.is_changed(&name).await? {
                names.push(name);
            }
        }
        let tables = self.changes.tables();
        names.extend(tables.filter_map(|t| name(t.schema_id, &t.name, RelationKind::Table)));
        let views = self.changes.views();
        names.extend(views.filter_map(|v| name(v.schema_id, &v.name, RelationKind::View)));
        names.sort();
        Ok(names)
    }

    /// Whether a name of the base is dropped here; only asked while something is.
    async fn is_changed(&self, name: &RelationName) -> Result<bool> {
        let changes = &self.changes;
        if changes.dropped_tables.is_empty()
            && changes.dropped_views.is_empty()
            && changes.dropped_schemas.is_empty()
        {
            return Ok(false);
        }
        let schemas = self.catalog.known_schemas(&self.base).await?;
        let Some(schema) = schemas.iter().find(|schema| schema.name == name.schema) else {
            return Ok(true);
        };
        let relation = self.catalog.known_relation(&self.base, schema, &name.name).await?;
        Ok(changes.dropped_schemas.contains(&schema.id)
            || relation.is_none_or(|relation| self.is_replaced(&relation)))
    }

    /// Whether a relation of the base is dropped here, or stands here in another form.
    fn is_replaced(&self, relation: &Relation) -> bool {
        let changes = &self.changes;
        match relation {
            Relation::Table(Table { id, .. }) => {
                changes.dropped_tables.contains(id) || changes.altered_tables.contains_key(id)
            }
            Relation::View(View { id, .. }) => {
                changes.dropped_views.contains(id) || changes.altered_views.contains_key(id)
            }
        }
    }

    /// What `name` stands for in `schema`.
    pub async fn relation(&self, schema: &Schema, name: &str) -> Result<Option<Relation>> {
        let mut tables = self.changes.tables().filter(|t| t.schema_id == schema.id);
        let mut views = self.changes.views().filter(|v| v.schema_id == schema.id);
        let table = tables.find(|t| same_name(&t.name, name)).cloned().map(Relation::Table);
        let view = || views.find(|v| same_name(&v.name, name)).cloned().map(Relation::View);
        if let Some(staged) = table.or_else(view) {
            return Ok(Some(staged));
        }
        if schema.id.is_provisional() {
            return Ok(None);
        }
        let relation = self.catalog.known_relation(&self.base, schema, name).await?;
        Ok(relation.filter(|relation| !self.is_replaced(relation)))
    }

    /// Stages a new schema.
    pub async fn create_schema(&mut self, name: &str) -> Result<Schema> {
        check_name("schema", name)?;
        if self.schema(name).await?.is_some() {
            return Err(exists("schema", name));
        }
        let uuid = Uuid::now_v7();
        let path = ObjectPath::Relative(directory(name, uuid));
        let schema = Schema { id: SchemaId(self.provisional()), uuid, name: name.to_owned(), path };
        self.changes.created_schemas.push(schema.clone());
        Ok(schema)
    }

    /// Stages the end of a schema, with `cascade` of everything in it.
    pub async fn drop_schema(&mut self, schema: &Schema, cascade: bool) -> Result<()> {
        if schema.name == "main" {
            return Err(Error::invalid("schema \"main\" cannot be dropped")
                .with_help("drop the tables in it instead"));
        }
        let names = self.relation_names().await?;
        let inside: Vec<_> = names.into_iter().filter(|name| name.schema == schema.name).collect();
        if !inside.is_empty() && !cascade {
            let listed: Vec<&str> = inside.iter().take(5).map(|name| name.name.as_str()).collect();
            let more = if inside.len() > 5 { ", …" } else { "" };
            return Err(Error::invalid(format!(
                "schema \"{}\" is not empty: it has {}{more}",
                schema.name,
                listed.join(", ")
            ))
            .with_help("DROP SCHEMA … CASCADE drops what is in it, too"));
        }
        for name in inside {
            if let Some(relation) = self.relation(schema, &name.name).await? {
                self.drop_relation(&relation).await?;
            }
        }
        match schema.id.is_provisional() {
            true => self.changes.created_schemas.retain(|other| other.id != schema.id),
            false => self.changes.dropped_schemas.push(schema.id),
        }
        Ok(())
    }

    /// Stages a new table; the columns have their ids (see [`assign_column_ids`]).
    pub async fn create_table(
        &mut self,
        schema: &Schema,
        name: &str,
        columns: Vec<Column>,
    ) -> Result<Table> {
        self.check_free(schema, name, "table").await?;
        if columns.is_empty() {
            return Err(Error::invalid(format!("table \"{name}\" needs at least one column")));
        }
        for (index, column) in columns.iter().enumerate() {
            check_name("column", &column.name)?;
            if columns[..index].iter().any(|other| same_name(&other.name, &column.name)) {
                return Err(Error::invalid(format!(
                    "column \"{}\" comes twice in table \"{name}\"; case does not distinguish names",
                    column.name
                )));
            }
        }
        let uuid = Uuid::now_v7();
        let path = ObjectPath::Relative(directory(name, uuid));
        let table = Table {
            id: TableId(self.provisional()),
            uuid,
            schema_id: schema.id,
            name: name.to_owned(),
            directory: path.resolve(&schema.path.resolve(self.catalog.data_path())),
            path,
            comment: None,
            partition: None,
            sort: vec![],
            constraints: vec![],
            next_column_id: next_column_id(&columns),
            columns,
        };
        self.changes.created_tables.push(table.clone());
        Ok(table)
    }

    /// Stages a new view.
    pub async fn create_view(
        &mut self,
        schema: &Schema,
        name: &str,
        sql: &str,
        column_aliases: Vec<String>,
    ) -> Result<View> {
        self.check_free(schema, name, "view").await?;
        let view = View {
            id: ViewId(self.provisional()),
            uuid: Uuid::new_v4(),
            schema_id: schema.id,
            name: name.to_owned(),
            dialect: "duckdb".into(),
            sql: sql.to_owned(),
            column_aliases,
            comment: None,
        };
        self.changes.created_views.push(view.clone());
        Ok(view)
    }

    /// Stages the end of a table or view. One that was created here leaves no trace, and neither do
    /// the files staged for it.
    pub async fn drop_relation(&mut self, relation: &Relation) -> Result<()> {
        match relation {
            Relation::Table(table) => {
                self.changes.appended.remove(&table.id);
                self.changes.altered_tables.remove(&table.id);
                self.changes.deleted.remove(&table.id);
                self.changes.inlined.remove(&table.id);
                match table.id.is_provisional() {
                    true => self.changes.created_tables.retain(|other| other.id != table.id),
                    false => self.changes.dropped_tables.push(table.id),
                }
            }
            Relation::View(view) => {
                self.changes.altered_views.remove(&view.id);
                match view.id.is_provisional() {
                    true => self.changes.created_views.retain(|other| other.id != view.id),
                    false => self.changes.dropped_views.push(view.id),
                }
            }
        }
        Ok(())
    }

    /// Stages a table's new form; `before` is the one this transaction has of it.
    pub async fn alter_table(&mut self, schema: &Schema, before: &Table, now: Table) -> Result<()> {
        if before.name != now.name {
            self.check_rename(schema, &Relation::Table(before.clone()), &now.name).await?;
        }
        // Files staged before this statement have statistics in the types of their day.
        if let Some(files) = self.changes.appended.get_mut(&now.id) {
            files.iter_mut().for_each(|file| retype_file(file, before, &now));
        }
        if let Some(created) = self.changes.created_tables.iter_mut().find(|t| t.id == now.id) {
            *created = now;
            return Ok(());
        }
        let altered = self.changes.altered_tables.entry(now.id);
        let altered = altered.or_insert_with(|| Altered { base: before.clone(), now: now.clone() });
        altered.now = now;
        let (id, is_unchanged) = (altered.now.id, altered.now == altered.base);
        if is_unchanged {
            self.changes.altered_tables.remove(&id);
        }
        Ok(())
    }

    /// Stages a view's new form.
    pub async fn alter_view(&mut self, schema: &Schema, before: &View, now: View) -> Result<()> {
        if before.name != now.name {
            self.check_rename(schema, &Relation::View(before.clone()), &now.name).await?;
        }
        if let Some(created) = self.changes.created_views.iter_mut().find(|v| v.id == now.id) {
            *created = now;
            return Ok(());
        }
        let altered = self.changes.altered_views.entry(now.id);
        let altered = altered.or_insert_with(|| Altered { base: before.clone(), now: now.clone() });
        altered.now = now;
        let (id, is_unchanged) = (altered.now.id, altered.now == altered.base);
        if is_unchanged {
            self.changes.altered_views.remove(&id);
        }
        Ok(())
    }

    /// The id of a new partition specification.
    pub fn partition_id(&mut self) -> PartitionId {
        PartitionId(self.provisional())
    }

    pub(super) fn provisional(&mut self) -> i64 {
        self.next_provisional += 1;
        self.next_provisional - 1
    }

    /// A relation may get its own name in another case.
    async fn check_rename(&self, schema: &Schema, own: &Relation, name: &str) -> Result<()> {
        match self.relation(schema, name).await? {
            Some(found) if found == *own => check_name("table", name),
            _ => self.check_free(schema, name, "table").await,
        }
    }

    async fn check_free(&self, schema: &Schema, name: &str, what: &str) -> Result<()> {
        check_name(what, name)?;
        match self.relation(schema, name).await? {
            Some(Relation::Table(_)) => Err(exists("table", name)),
            Some(Relation::View(_)) => Err(exists("view", name)),
            None => Ok(()),
        }
    }
}

/// Numbers columns and their children from 1, depth first.
pub fn assign_column_ids(columns: &mut [Column]) {
    let mut next = 1;
    columns.iter_mut().for_each(|column| number(column, &mut next));
}

fn next_column_id(columns: &[Column]) -> i64 {
    fn largest(column: &Column) -> i64 {
        column.children().into_iter().map(largest).max().unwrap_or(0).max(column.id.0)
    }
    columns.iter().map(largest).max().unwrap_or(0) + 1
}

/// Brings a file's statistics from the column types of one form of its table to those of another.
pub(super) fn retype_file(file: &mut DataFile, from: &Table, to: &Table) {
    let before = leaves(&from.columns);
    for leaf in leaves(&to.columns) {
        let old = before.iter().find(|column| column.id == leaf.id);
        if let (Some(old), Some(stats)) = (old, file.column_stats.get_mut(&leaf.id)) {
            retype_stats(stats, &old.column_type, &leaf.column_type);
        }
    }
}

fn exists(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{what} \"{name}\" already exists"))
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.contains('\0') {
        return Err(Error::invalid(format!("{name:?} is not a name for a {what}")));
    }
    Ok(())
}

/// The directory of an object: its name where that is plain, else its identity.
fn directory(name: &str, uuid: Uuid) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_plain { format!("{name}/") } else { format!("{uuid}/") }
}
