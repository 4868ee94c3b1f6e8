//! Every SELECT of the catalog, each as of a snapshot.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Catalog;
use super::backend::{Row, Value};
use super::model::*;
use super::types::{assemble, parse_time};
use crate::error::{Error, ErrorKind, Result};

/// The rows of a versioned table that are visible at snapshot `$1`.
pub(super) const VISIBLE: &str =
    "begin_snapshot <= $1 AND (end_snapshot IS NULL OR $1 < end_snapshot)";

const SNAPSHOT_COLUMNS: &str =
    "s.snapshot_id, s.snapshot_time, s.schema_version, s.next_catalog_id, s.next_file_id";

/// The newest snapshot, as SQL and from its row.
pub(super) const NEWEST: &str = "SELECT snapshot_id, snapshot_time, schema_version, next_catalog_id, \
     next_file_id FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1";

pub(super) fn snapshot(row: &Row) -> Result<Snapshot> {
    Ok(Snapshot {
        id: SnapshotId(row.int(0)?),
        time: parse_time(&row.text(1)?)?,
        schema_version: row.int(2)?,
        next_catalog_id: row.int(3)?,
        next_file_id: row.int(4)?,
    })
}

impl Catalog {
    /// The newest snapshot.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let rows = self.backend().query(NEWEST, &[]).await?;
        let row = rows.first().ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, format!("catalog \"{}\" has no snapshot", self.name()))
                .with_help("restore it from a backup")
        })?;
        snapshot(row)
    }

    /// The id of the newest snapshot.
    pub(super) async fn newest(&self) -> Result<SnapshotId> {
        let sql = "SELECT max(snapshot_id) FROM ducklake_snapshot";
        let rows = self.backend().query(sql, &[]).await?;
        rows.first().map_or(Ok(SnapshotId(0)), |row| row.int(0).map(SnapshotId))
    }

    /// The snapshot with an id, unless there is none (any more).
    pub async fn snapshot_with_id(&self, id: SnapshotId) -> Result<Option<Snapshot>> {
        let sql =
            format!("SELECT {SNAPSHOT_COLUMNS} FROM ducklake_snapshot s WHERE s.snapshot_id = $1");
        let rows = self.backend().query(&sql, &[id.into()]).await?;
        rows.first().map(snapshot).transpose()
    }

    /// The newest snapshot up to `last` that is not younger than `time`. Times are compared here:
    /// their text in the catalog is not the same with every writer.
    pub async fn snapshot_at(
        &self,
        time: DateTime<Utc>,
        last: SnapshotId,
    ) -> Result<Option<Snapshot>> {
        let sql = format!(
            "SELECT {SNAPSHOT_COLUMNS} FROM ducklake_snapshot s WHERE s.snapshot_id <= $1 \
             ORDER BY s.snapshot_id DESC LIMIT 1000"
        );
        let mut last = last;
        loop {
            let rows = self.backend().query(&sql, &[last.into()]).await?;
            for row in &rows {
                let snapshot = snapshot(row)?;
                if snapshot.time <= time {
                    return Ok(Some(snapshot));
                }
                last = SnapshotId(snapshot.id.0 - 1);
            }
            if rows.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Every snapshot up to `at`, oldest first.
    pub async fn history(&self, at: SnapshotId) -> Result<Vec<SnapshotRecord>> {
        let sql = format!(
            "SELECT {SNAPSHOT_COLUMNS}, c.changes_made, c.author, c.commit_message, \
             c.commit_extra_info FROM ducklake_snapshot s LEFT JOIN ducklake_snapshot_changes c \
             ON s.snapshot_id = c.snapshot_id WHERE s.snapshot_id <= $1 ORDER BY s.snapshot_id"
        );
        let rows = self.backend().query(&sql, &[at.0.into()]).await?;
        let record = |row: &Row| {
            Ok(SnapshotRecord {
                snapshot: snapshot(row)?,
                changes: row.opt_text(5),
                author: row.opt_text(6),
                commit_message: row.opt_text(7),
                commit_extra_info: row.opt_text(8),
            })
        };
        rows.iter().map(record).collect()
    }

    /// The schemas, by name.
    pub async fn schemas(&self, at: SnapshotId) -> Result<Vec<Schema>> {
        let sql = format!(
            "SELECT schema_id, schema_uuid, schema_name, path, path_is_relative \
             FROM ducklake_schema WHERE {VISIBLE} ORDER BY schema_name"
        );
        let rows = self.backend().query(&sql, &[at.0.into()]).await?;
        let schema = |row: &Row| {
            Ok(Schema {
                id: SchemaId(row.int(0)?),
                uuid: uuid(row, 1),
                name: row.text(2)?,
                path: path(row, 3)?,
            })
        };
        rows.iter().map(schema).collect()
    }

    /// How many files each table has, and how large they are, in the order of their creation.
    pub async fn table_sizes(&self, at: SnapshotId) -> Result<Vec<TableSize>> {
        let of_files = |what: &str, files: &str| {
            format!(
                "(SELECT CAST({what} AS BIGINT) FROM {files} f \
                 WHERE f.table_id = t.table_id AND {VISIBLE})"
            )
        };
        let (count, bytes) = ("count(*)", "coalesce(sum(f.file_size_bytes), 0)");
        let (data, deletes) = ("ducklake_data_file", "ducklake_delete_file");
        let sql = format!(
            "SELECT t.table_id, t.table_uuid, t.schema_id, t.table_name, {}, {}, {}, {} \
             FROM ducklake_table t WHERE {VISIBLE} ORDER BY t.table_id",
            of_files(count, data),
            of_files(bytes, data),
            of_files(count, deletes),
            of_files(bytes, deletes)
        );
        let size = |row: &Row| {
            Ok(TableSize {
                id: TableId(row.int(0)?),
                uuid: uuid(row, 1),
                schema_id: SchemaId(row.int(2)?),
                name: row.text(3)?,
                file_count: row.count(4)?,
                file_size_bytes: row.count(5)?,
                delete_file_count: row.count(6)?,
                delete_file_size_bytes: row.count(7)?,
            })
        };
        let rows = self.backend().query(&sql, &[at.0.into()]).await?;
        rows.iter().map(size).collect()
    }

    /// The names of all tables and views.
    pub async fn relation_names(&self, at: SnapshotId) -> Result<Vec<RelationName>> {
        let names = |table: &str, column: &str, visible: &str| {
            format!(
                "SELECT s.schema_name, r.{column} FROM {table} r JOIN ducklake_schema s \
                 ON r.schema_id = s.schema_id WHERE {visible} ORDER BY 1, 2"
            )
        };
        let visible = "r.begin_snapshot <= $1 AND (r.end_snapshot IS NULL OR $1 < r.end_snapshot)";
        let mut all = Vec::new();
        for (table, column, kind) in [
            ("ducklake_table", "table_name", RelationKind::Table),
            ("ducklake_view", "view_name", RelationKind::View),
        ] {
            let rows = self.backend().query(&names(table, column, visible), &[at.0.into()]).await?;
            for row in rows {
                all.push(RelationName { schema: row.text(0)?, name: row.text(1)?, kind });
            }
        }
        Ok(all)
    }

    /// What `name` stands for in `schema`; an exact match goes before one in another case.
    pub async fn relation(
        &self,
        at: SnapshotId,
        schema: &Schema,
        name: &str,
    ) -> Result<Option<Relation>> {
        let rows =
            self.named(at, schema, "ducklake_table", "table_name", TABLE_COLUMNS, name).await?;
        if let Some(row) = rows.first() {
            return self.table(at, schema, row).await.map(Relation::Table).map(Some);
        }
        let rows = self.named(at, schema, "ducklake_view", "view_name", VIEW_COLUMNS, name).await?;
        let Some(mut view) = rows.first().map(|row| view(schema, row)).transpose()? else {
            return Ok(None);
        };
        view.comment = self.comment(at, view.id.0).await?;
        Ok(Some(Relation::View(view)))
    }

    /// The schema and the name of a table.
    pub async fn table_name(
        &self,
        at: SnapshotId,
        table: TableId,
    ) -> Result<Option<(SchemaId, String)>> {
        let sql = format!(
            "SELECT schema_id, table_name FROM ducklake_table WHERE table_id = $2 AND {VISIBLE}"
        );
        let rows = self.backend().query(&sql, &[at.0.into(), table.0.into()]).await?;
        rows.first().map(|row| Ok((SchemaId(row.int(0)?), row.text(1)?))).transpose()
    }

    /// The rows of a name: exact ones, which an index finds, else those in another case.
    async fn named(
        &self,
        at: SnapshotId,
        schema: &Schema,
        table: &str,
        column: &str,
        columns: &str,
        name: &str,
    ) -> Result<Vec<Row>> {
        let values = [at.0.into(), schema.id.0.into(), name.into()];
        for condition in [format!("{column} = $3"), format!("lower({column}) = lower($3)")] {
            let sql = format!(
                "SELECT {columns} FROM {table} WHERE schema_id = $2 AND {condition} AND {VISIBLE}"
            );
            let rows = self.backend().query(&sql, &values).await?;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        Ok(vec![])
    }

    /// The tables and views of a schema, with their columns.
    pub async fn relations_in(&self, at: SnapshotId, schema: &Schema) -> Result<Vec<Relation>> {
        let mut relations = Vec::new();
        for name in self.relation_names(at).await? {
            if name.schema == schema.name {
                relations.extend(self.relation(at, schema, &name.name).await?);
            }
        }
        Ok(relations)
    }

    async fn table(&self, at: SnapshotId, schema: &Schema, row: &Row) -> Result<Table> {
        let id = TableId(row.int(0)?);
        let path = path(row, 3)?;
        Ok(Table {
            id,
            uuid: uuid(row, 1),
            schema_id: schema.id,
            name: row.text(2)?,
            directory: path.resolve(&schema.path.resolve(self.data_path())),
            path,
            columns: self.columns(at, id).await?,
            comment: self.comment(at, id.0).await?,
            partition: self.partition(at, id).await?,
            sort: self.sort(at, id).await?,
            constraints: self.constraints(at, id).await?,
            next_column_id: row.int(5)?,
        })
    }

    /// The columns of a table.
    pub(super) async fn columns(&self, at: SnapshotId, id: TableId) -> Result<Vec<Column>> {
        let values = [at.0.into(), id.0.into()];
        let columns = format!(
            "SELECT column_id, column_name, column_type, initial_default, default_value, \
             nulls_allowed, parent_column, default_value_type FROM ducklake_column \
             WHERE table_id = $2 AND {VISIBLE} ORDER BY column_order"
        );
        let columns = self.backend().query(&columns, &values).await?;
        let tags = format!(
            "SELECT column_id, value FROM ducklake_column_tag WHERE table_id = $2 \
             AND key = 'comment' AND {VISIBLE}"
        );
        let tags = self.backend().query(&tags, &values).await?;
        let comments = tags
            .iter()
            .map(|row| Ok((ColumnId(row.int(0)?), row.opt_text(1))))
            .collect::<Result<BTreeMap<_, _>>>()?;
        assemble(&columns, &comments)
    }

    /// The comment on a table or view.
    async fn comment(&self, at: SnapshotId, object: i64) -> Result<Option<String>> {
        let sql = format!(
            "SELECT value FROM ducklake_tag WHERE object_id = $2 AND key = 'comment' AND {VISIBLE}"
        );
        let rows = self.backend().query(&sql, &[at.0.into(), object.into()]).await?;
        Ok(rows.first().and_then(|row| row.opt_text(0)))
    }
}

/// The last one is the id of the next column: above those of all versions of the table.
const TABLE_COLUMNS: &str = "table_id, table_uuid, table_name, path, path_is_relative, \
     (SELECT coalesce(max(c.column_id), 0) + 1 FROM ducklake_column c \
      WHERE c.table_id = ducklake_table.table_id)";
const VIEW_COLUMNS: &str = "view_id, view_uuid, view_name, dialect, sql, column_aliases";

fn view(schema: &Schema, row: &Row) -> Result<View> {
    let aliases = row.opt_text(5).unwrap_or_default();
    Ok(View {
        id: ViewId(row.int(0)?),
        uuid: uuid(row, 1),
        schema_id: schema.id,
        name: row.text(2)?,
        dialect: row.opt_text(3).unwrap_or_default(),
        sql: row.text(4)?,
        column_aliases: super::types::parse_aliases(&aliases),
        comment: None,
    })
}

/// An object's path and, after it, whether it is relative; none is the parent's own.
pub(super) fn path(row: &Row, index: usize) -> Result<ObjectPath> {
    match row.opt_text(index) {
        None => Ok(ObjectPath::Relative(String::new())),
        Some(path) if row.flag(index + 1)? => Ok(ObjectPath::Relative(path)),
        Some(path) => Ok(ObjectPath::Absolute(path)),
    }
}

/// Identity of an object; nothing here depends on it, so a damaged one is no error.
fn uuid(row: &Row, index: usize) -> Uuid {
    row.opt_text(index).and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl From<SnapshotId> for Value {
    fn from(id: SnapshotId) -> Self {
        id.0.into()
    }
}
