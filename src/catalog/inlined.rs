//! Rows that are kept in the catalog itself: small inserts, and deletes of few rows of a file.
//!
//! For each form a table has had there is a table `ducklake_inlined_data_<table>_<schema version>`
//! with its columns; a row is visible from its begin to its end snapshot like any catalog row. Values
//! cross this border as text. Positions of deleted rows of files are in
//! `ducklake_inlined_delete_<table>`. A flush moves both into files.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use roaring::RoaringTreemap;

use super::Catalog;
use super::backend::{Backend, Row, Value};
use super::changes::Change;
use super::commit::Writer;
use super::model::*;
use super::read::VISIBLE;
use super::types::parse_time;
use super::widen::leaves;
use crate::error::{Error, ErrorKind, Result};

/// Columns that every inlined table has; a table with one of these names is never inlined.
const OWN: [&str; 3] = ["row_id", "begin_snapshot", "end_snapshot"];

/// Row ids looked up in one statement.
const CHUNK: usize = 500;

/// DuckLake's default of the option `data_inlining_row_limit`.
const DEFAULT_LIMIT: usize = 10;

/// The inlined table of a table as of a schema version.
pub(super) fn name(table: TableId, schema_version: i64) -> String {
    format!("ducklake_inlined_data_{table}_{schema_version}")
}

/// The column definitions of an inlined table; `None` if rows of such a table cannot be inlined.
pub(super) fn columns(backend: &Backend, columns: &[Column]) -> Option<String> {
    let mut definitions: Vec<String> = OWN.iter().map(|name| format!("{name} BIGINT")).collect();
    for column in columns {
        let lower = column.name.to_lowercase();
        if OWN.contains(&lower.as_str()) || lower.starts_with("_ducklake_internal_") {
            return None;
        }
        let sql_type = backend.inlined_type(column)?;
        definitions.push(format!("{} {sql_type}", quoted(&column.name)));
    }
    Some(definitions.join(", "))
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// How much the catalog keeps of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Rows, ended ones included, and positions of deleted rows.
    pub(crate) rows: u64,
    /// When the oldest of them came, as far as snapshots are left that tell.
    pub(crate) since: Option<DateTime<Utc>>,
}

/// A registered inlined table.
struct InlinedTable {
    name: String,
    schema_version: i64,
}

impl Catalog {
    /// The rows of a table that are kept in the catalog, by the form they were written in.
    pub async fn inlined_rows(&self, at: SnapshotId, table: TableId) -> Result<Vec<InlinedRows>> {
        let mut all = Vec::new();
        for inlined in self.inlined_tables(table).await? {
            let columns = self.columns_of_version(table, inlined.schema_version).await?;
            let sql = format!(
                "SELECT row_id, {} FROM {} WHERE {VISIBLE} ORDER BY row_id",
                self.texts(&columns),
                quoted(&inlined.name)
            );
            let rows = self.backend().query(&sql, &[at.into()]).await?;
            let row = |row: &Row| {
                let values = (1..=columns.len()).map(|index| row.opt_text(index));
                let id = row.int(0)?;
                Ok(InlinedRow { row_id: Some(id), place: id, values: values.collect() })
            };
            let rows = rows.iter().map(row).collect::<Result<Vec<_>>>()?;
            if !rows.is_empty() {
                let column_stats = BTreeMap::new();
                all.push(InlinedRows { columns, rows, column_stats });
            }
        }
        Ok(all)
    }

    /// The versions of the rows that came up to a snapshot, and came or went `since` another, by
    /// inlined table, with the columns of each.
    pub(super) async fn inlined_versions(
        &self,
        table: TableId,
        since: SnapshotId,
        through: SnapshotId,
    ) -> Result<Vec<(String, Vec<Column>, Vec<InlinedVersion>)>> {
        let mut all = Vec::new();
        for inlined in self.inlined_tables(table).await? {
            let columns = self.columns_of_version(table, inlined.schema_version).await?;
            let sql = format!(
                "SELECT row_id, begin_snapshot, end_snapshot, {} FROM {} \
                 WHERE begin_snapshot <= $1 AND (begin_snapshot >= $2 OR end_snapshot >= $2) \
                 ORDER BY row_id, begin_snapshot",
                self.texts(&columns),
                quoted(&inlined.name)
            );
            let rows = self.backend().query(&sql, &[through.into(), since.into()]).await?;
            let version = |row: &Row| {
                let values =
                    (OWN.len()..OWN.len() + columns.len()).map(|index| row.opt_text(index));
                Ok(InlinedVersion {
                    row_id: row.int(0)?,
                    begin: SnapshotId(row.int(1)?),
                    end: row.opt_int(2)?.map(SnapshotId),
                    values: values.collect(),
                })
            };
            let rows = rows.iter().map(version).collect::<Result<Vec<_>>>()?;
            all.push((inlined.name, columns, rows));
        }
        Ok(all)
    }

    /// How much is kept of a table, and since when.
    pub(crate) async fn kept(&self, table: TableId) -> Result<Kept> {
        let tables = self.inlined_tables(table).await?.into_iter();
        let mut names: Vec<String> = tables.map(|inlined| quoted(&inlined.name)).collect();
        let deletes = format!("ducklake_inlined_delete_{table}");
        if self.backend().has_table(&deletes).await? {
            names.push(deletes);
        }
        let (mut rows, mut oldest) = (0, None);
        for name in names {
            let sql = format!("SELECT count(*), min(begin_snapshot) FROM {name}");
            for row in self.backend().query(&sql, &[]).await? {
                rows += row.count(0)?;
                oldest = oldest.into_iter().chain(row.opt_int(1)?).min();
            }
        }
        let Some(oldest) = oldest else {
            return Ok(Kept::default());
        };
        let sql = "SELECT snapshot_time FROM ducklake_snapshot WHERE snapshot_id >= $1 \
                   ORDER BY snapshot_id LIMIT 1";
        let times = self.backend().query(sql, &[SnapshotId(oldest).into()]).await?;
        let since = times.first().map(|row| parse_time(&row.text(0)?)).transpose()?;
        Ok(Kept { rows, since })
    }

    /// The columns of an inlined table as text.
    fn texts(&self, columns: &[Column]) -> String {
        let texts = columns
            .iter()
            .map(|column| self.backend().inlined_text(&quoted(&column.name), &column.column_type));
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Up to how many rows of a write are kept in the catalog; none if this table's cannot be.
    pub fn inlining_limit(&self, table: &Table, options: &BTreeMap<String, String>) -> usize {
        if columns(self.backend(), &table.columns).is_none() {
            return 0;
        }
        let limit = options.get("data_inlining_row_limit");
        limit.and_then(|limit| limit.parse().ok()).unwrap_or(DEFAULT_LIMIT)
    }

    /// The newest snapshot after `since` that moved what the catalog keeps of a table into files.
    pub(super) async fn last_flush(
        &self,
        since: SnapshotId,
        table: TableId,
    ) -> Result<Option<i64>> {
        let is_listed = |word| format!("',' || changes_made || ',' LIKE '%,{word}:{},%'", table.0);
        let sql = format!(
            "SELECT max(snapshot_id) FROM ducklake_snapshot_changes \
             WHERE snapshot_id > $1 AND ({} OR {})",
            is_listed("inline_flush"),
            is_listed("flushed_inlined")
        );
        let rows = self.backend().query(&sql, &[since.into()]).await?;
        rows.first().map_or(Ok(None), |row| row.opt_int(0))
    }

    async fn inlined_tables(&self, table: TableId) -> Result<Vec<InlinedTable>> {
        let sql = "SELECT table_name, schema_version FROM ducklake_inlined_data_tables \
                   WHERE table_id = $1 ORDER BY schema_version";
        let rows = self.backend().query(sql, &[table.0.into()]).await?;
        let table =
            |row: &Row| Ok(InlinedTable { name: row.text(0)?, schema_version: row.int(1)? });
        rows.iter().map(table).collect()
    }

    /// The columns a table had at a schema version: those of its last change up to then. DuckDB makes
    /// an inlined table under a version that changed nothing else of it, and notes none.
    async fn columns_of_version(&self, table: TableId, version: i64) -> Result<Vec<Column>> {
        let noted = "SELECT begin_snapshot FROM ducklake_schema_versions \
                     WHERE table_id = $1 AND schema_version <= $2 ORDER BY schema_version DESC LIMIT 1";
        let first = "SELECT min(begin_snapshot) FROM ducklake_table WHERE table_id = $1";
        let id: Value = table.0.into();
        let mut rows = self.backend().query(noted, &[id.clone(), version.into()]).await?;
        if rows.is_empty() {
            rows = self.backend().query(first, &[id]).await?;
        }
        let at = rows.first().map_or(Ok(0), |row| row.int(0))?;
        self.columns(SnapshotId(at), table).await
    }
}

impl Writer<'_> {
    /// Makes the inlined table of a table's new form: other engines insert few rows into the newest of
    /// them, by position. Where there is none DuckDB makes one of its own, but does not note under its
    /// schema version which form the table has. It then takes the first columns of the table for its
    /// own, and having read a change feed it takes the tables of that time for those of later versions.
    pub(super) async fn make_inlined_table(&mut self, id: TableId, table: &Table) -> Result<()> {
        if let Some(definitions) = columns(self.transaction.backend(), &table.columns) {
            self.create_inlined_table(id, &definitions).await?;
        }
        Ok(())
    }

    async fn create_inlined_table(&mut self, id: TableId, definitions: &str) -> Result<String> {
        let version = self.snapshot.schema_version;
        let name = name(id, version);
        self.transaction.execute(&format!("CREATE TABLE {name}({definitions})"), &[]).await?;
        let row = vec![id.0.into(), name.clone().into(), version.into()];
        self.transaction.insert("ducklake_inlined_data_tables", vec![row]).await?;
        Ok(name)
    }

    /// The newest inlined table if it has the present form, or else a new one: while an option says
    /// that no rows are inlined, another engine makes and alters tables without. Other sessions know
    /// what they have seen as long as the schema version is the same, so it is another one then.
    async fn inlined_table(
        &mut self,
        catalog: &Catalog,
        id: TableId,
        current: &[Column],
    ) -> Result<String> {
        let is_new = self.is_new_schema_version();
        if let Some(name) = catalog.known_inlined_table(&self.snapshot, id).filter(|_| !is_new) {
            return Ok(name);
        }
        let sql = "SELECT table_name, schema_version FROM ducklake_inlined_data_tables \
                   WHERE table_id = $1 ORDER BY schema_version DESC LIMIT 1";
        if let Some(row) = self.transaction.query(sql, &[id.0.into()]).await?.first() {
            let (name, version) = (row.text(0)?, row.int(1)?);
            let is_of_this_commit = is_new && version == self.snapshot.schema_version;
            if is_of_this_commit
                || have_one_form(&catalog.columns_of_version(id, version).await?, current)
            {
                if !is_new {
                    catalog.learn_inlined_table(&self.snapshot, id, &name);
                }
                return Ok(name);
            }
        }
        let definitions = columns(self.transaction.backend(), current)
            .ok_or_else(|| Error::internal("rows that the catalog cannot keep"))?;
        self.begin_schema_version();
        let version = self.snapshot.schema_version;
        let sql =
            "SELECT 1 FROM ducklake_schema_versions WHERE table_id = $1 AND schema_version = $2";
        if self.transaction.query(sql, &[id.0.into(), version.into()]).await?.is_empty() {
            self.version_schema(id).await?;
        }
        self.create_inlined_table(id, &definitions).await
    }

    /// Ends rows that are kept in the catalog. Each of them must still be there.
    pub(super) async fn end_inlined(&mut self, id: TableId, rows: &RoaringTreemap) -> Result<()> {
        let sql = "SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id = $1";
        let tables = self.transaction.query(sql, &[id.0.into()]).await?;
        let ids: Vec<String> = rows.iter().map(|row| row.to_string()).collect();
        let mut ended = 0;
        for table in tables {
            let table = quoted(&table.text(0)?);
            for chunk in ids.chunks(CHUNK) {
                let live = format!("row_id IN ({}) AND end_snapshot IS NULL", chunk.join(", "));
                let sql = format!("SELECT count(*) FROM {table} WHERE {live}");
                let found = self.transaction.query(&sql, &[]).await?;
                ended += found.first().map_or(Ok(0), |row| row.count(0))?;
                let sql = format!("UPDATE {table} SET end_snapshot = $1 WHERE {live}");
                self.transaction.execute(&sql, &[self.snapshot.id.into()]).await?;
            }
        }
        self.list_inlined_delete(id);
        match ended == rows.len() {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Conflict,
                "another transaction was first: it changed the same rows",
            )
            .with_help("nothing was changed; run the transaction again")),
        }
    }

    /// Whether an inlined row from before this commit may have a value in a leaf column.
    pub(super) async fn may_have_inlined_values(
        &mut self,
        catalog: &Catalog,
        id: TableId,
        leaf: ColumnId,
    ) -> Result<bool> {
        for inlined in catalog.inlined_tables(id).await? {
            let columns = catalog.columns_of_version(id, inlined.schema_version).await?;
            let has_leaf = |column: &&Column| {
                leaves(std::slice::from_ref(column)).iter().any(|other| other.id == leaf)
            };
            let is_value = match columns.iter().find(has_leaf) {
                Some(column) => format!("{} IS NOT NULL", quoted(&column.name)),
                // The column's default is its value in such rows.
                None => "1 = 1".to_owned(),
            };
            let table = quoted(&inlined.name);
            let sql =
                format!("SELECT 1 FROM {table} WHERE begin_snapshot < $1 AND {is_value} LIMIT 1");
            if !self.transaction.query(&sql, &[self.snapshot.id.into()]).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Inserts rows into the newest inlined table; those without a row id get the next ones.
    pub(super) async fn insert_inlined(
        &mut self,
        catalog: &Catalog,
        id: TableId,
        current: &[Column],
        rows: &[InlinedRows],
        mut next_row_id: i64,
    ) -> Result<()> {
        let table = quoted(&self.inlined_table(catalog, id, current).await?);
        let sql = insert_sql(self.transaction.backend(), &table, current);
        for group in rows {
            for row in &group.rows {
                let row_id = row.row_id.unwrap_or(next_row_id);
                next_row_id += i64::from(row.row_id.is_none());
                let mut values = vec![row_id.into(), self.snapshot.id.into(), Value::Null];
                values.extend(current.iter().map(|column| value(group, row, column)));
                self.transaction.execute(&sql, &values).await?;
            }
        }
        self.listed.push(Change::id("inlined_insert", id.0));
        Ok(())
    }

    /// Notes deleted positions of data files.
    pub(super) async fn insert_inlined_deletes(
        &mut self,
        id: TableId,
        deletes: &BTreeMap<i64, &RoaringTreemap>,
    ) -> Result<()> {
        let table = format!("ducklake_inlined_delete_{id}");
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {table}(file_id BIGINT, row_id BIGINT, begin_snapshot BIGINT)"
        );
        self.transaction.execute(&sql, &[]).await?;
        let snapshot = self.snapshot.id;
        let rows = deletes.iter().flat_map(|(file, positions)| {
            positions.iter().map(|p| vec![(*file).into(), p.into(), snapshot.into()])
        });
        let rows: Vec<Vec<Value>> = rows.collect();
        self.transaction.insert(&table, rows).await
    }
}

/// Whether rows of the one are rows of the other, value by value.
fn have_one_form(one: &[Column], other: &[Column]) -> bool {
    let form = |column: &Column| (column.id, column.name.clone(), column.column_type.clone());
    one.iter().map(form).eq(other.iter().map(form))
}

fn insert_sql(backend: &Backend, table: &str, columns: &[Column]) -> String {
    let values = columns.iter().enumerate().map(|(index, column)| {
        backend.inlined_value(&format!("${}", index + OWN.len() + 1), &column.column_type)
    });
    let values: Vec<String> = values.collect();
    format!("INSERT INTO {table} VALUES ($1, $2, $3, {})", values.join(", "))
}

/// The value of a column of today in a row of the form it was staged in.
fn value(group: &InlinedRows, row: &InlinedRow, column: &Column) -> Value {
    match group.columns.iter().position(|other| other.id == column.id) {
        Some(index) => row.values[index].clone().into(),
        None => column.initial_default.clone().into(),
    }
}
