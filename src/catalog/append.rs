//! The rows of a commit that add to a table: data files with their statistics, rows that the catalog
//! keeps, and what the table as a whole is known to hold.
//!
//! Row counts are gross, and bounds only ever widen: other engines answer queries from them.

use std::collections::BTreeMap;

use super::Catalog;
use super::backend::{Row, Value};
use super::bounds::{self, TableColumnStats};
use super::changes::Change;
use super::commit::{Writer, leaf_types, relative};
use super::model::*;
use crate::error::Result;

impl Writer<'_> {
    pub(super) async fn append(
        &mut self,
        catalog: &Catalog,
        table: TableId,
        files: &[DataFile],
        inlined: &[InlinedRows],
    ) -> Result<()> {
        let id = self.table_id(table);
        let (first_row_id, existed) = self.table_stats(id, files, inlined).await?;
        let mut next_row_id = first_row_id;
        let mut columns = BTreeMap::new();
        if !files.is_empty() {
            let directory;
            (directory, columns) = self.layout(catalog, table, id).await?;
            let (mut file_rows, mut stat_rows) = (Vec::new(), Vec::new());
            let mut partition_rows = Vec::new();
            let mappings = self.mapping_ids(catalog, id, files).await?;
            for (file, mapping) in files.iter().zip(mappings) {
                let file_id = self.next_file_id();
                self.file_ids.extend(file.id.map(|staged| (staged, file_id)));
                let partition = self.partition_of(file);
                let since = self.snapshot.id;
                let mut row =
                    file_row(file, file_id, id, since, next_row_id, &directory, partition);
                row[MAPPING_ID] = mapping.into();
                file_rows.push(row);
                if partition.is_some() {
                    partition_rows.extend(partition_values(file, file_id, id));
                }
                stat_rows.extend(file.column_stats.iter().map(|s| stat_row(file_id, id, s)));
                next_row_id += file.record_count.cast_signed();
            }
            self.transaction.insert("ducklake_data_file", file_rows).await?;
            self.transaction.insert("ducklake_file_column_stats", stat_rows).await?;
            self.transaction.insert("ducklake_file_partition_value", partition_rows).await?;
            self.listed.push(Change::id("inserted_into_table", id.0));
        }
        if let Some(newest) = inlined.last() {
            let altered = self.changes.tables().find(|other| other.id == table);
            let current = altered.map_or(&newest.columns, |table| &table.columns).clone();
            self.insert_inlined(catalog, id, &current, inlined, next_row_id).await?;
            columns = leaf_types(&current);
            // Other engines know by this counter that a table's statistics have changed.
            if files.is_empty() {
                self.next_file_id();
            }
        }
        let stats = files.iter().map(|file| &file.column_stats);
        let stats: Vec<_> = stats.chain(inlined.iter().map(|group| &group.column_stats)).collect();
        self.table_column_stats(catalog, id, existed, &stats, &columns).await
    }

    /// The specification of a file's partition; none if the transaction itself has replaced it.
    fn partition_of(&self, file: &DataFile) -> Option<PartitionId> {
        let id = file.partition.as_ref()?.id;
        match id.is_provisional() {
            true => self.partition_ids.get(&id).copied(),
            false => Some(id),
        }
    }

    /// Counts what is added; gives the first of the new row ids, and whether the table was counted
    /// before.
    async fn table_stats(
        &mut self,
        table: TableId,
        files: &[DataFile],
        inlined: &[InlinedRows],
    ) -> Result<(i64, bool)> {
        let in_files: u64 = files.iter().map(|file| file.record_count).sum();
        let in_catalog = || inlined.iter().flat_map(|group| &group.rows);
        let new = in_catalog().filter(|row| row.row_id.is_none()).count() as u64;
        let bytes: u64 = files.iter().map(|file| file.file_size_bytes).sum();
        let records = in_files + in_catalog().count() as u64;
        let row_ids = in_files + new;
        let values = [table.0.into(), records.into(), row_ids.into(), bytes.into()];
        let update = "UPDATE ducklake_table_stats SET record_count = record_count + $2, \
                      next_row_id = next_row_id + $3, file_size_bytes = file_size_bytes + $4 \
                      WHERE table_id = $1 RETURNING next_row_id";
        if let Some(row) = self.transaction.query(update, &values).await?.first() {
            return Ok((row.int(0)? - row_ids.cast_signed(), true));
        }
        let insert = "INSERT INTO ducklake_table_stats VALUES ($1, $2, $3, $4)";
        self.transaction.execute(insert, &values).await?;
        Ok((0, false))
    }

    async fn table_column_stats(
        &mut self,
        catalog: &Catalog,
        table: TableId,
        existed: bool,
        added: &[&BTreeMap<ColumnId, ColumnStats>],
        columns: &BTreeMap<ColumnId, ColumnType>,
    ) -> Result<()> {
        let of_column = |id: &ColumnId| -> Vec<&ColumnStats> {
            added.iter().filter_map(|stats| stats.get(id)).collect()
        };
        if !existed {
            let rows = columns.iter().map(|(id, column_type)| {
                let merged = bounds::of_files(of_column(id), column_type);
                table_stat_row(table, *id, &merged)
            });
            return self.transaction.insert("ducklake_table_column_stats", rows.collect()).await;
        }
        let sql = "SELECT column_id, contains_null, contains_nan, min_value, max_value \
                   FROM ducklake_table_column_stats WHERE table_id = $1";
        for row in self.transaction.query(sql, &[table.0.into()]).await? {
            let id = ColumnId(row.int(0)?);
            let mut merged = TableColumnStats {
                contains_null: row.opt_flag(1)?,
                contains_nan: row.opt_flag(2)?,
                min: row.opt_text(3),
                max: row.opt_text(4),
            };
            let before = merged.clone();
            if let Some(column_type) = columns.get(&id) {
                let added = of_column(&id);
                let new = bounds::of_files(added.iter().copied(), column_type);
                let begins = new.has_bounds() && !merged.has_bounds();
                let earlier = match begins {
                    true => self.earlier_bounds(catalog, table, id).await?,
                    false => None,
                };
                if let Some(earlier) = earlier {
                    let all = earlier.iter().chain(added.iter().copied());
                    merged.begin(bounds::of_files(all, column_type));
                } else {
                    added.into_iter().for_each(|stats| merged.widen(stats, column_type));
                }
            }
            if merged != before {
                self.update_column_stats(table, id, merged).await?;
            }
        }
        Ok(())
    }

    /// The bounds of a column in the files from before this commit, those that time travel alone reads
    /// among them; `None` if a row may have a value outside of them. DuckDB forgets bounds when it
    /// rewrites the last files of a table, and takes a column without bounds for one of NULLs alone.
    async fn earlier_bounds(
        &mut self,
        catalog: &Catalog,
        table: TableId,
        column: ColumnId,
    ) -> Result<Option<Vec<ColumnStats>>> {
        if self.may_have_inlined_values(catalog, table, column).await? {
            return Ok(None);
        }
        let sql = "SELECT DISTINCT s.min_value, s.max_value FROM ducklake_data_file f \
                   LEFT JOIN ducklake_file_column_stats s \
                   ON s.data_file_id = f.data_file_id AND s.column_id = $2 \
                   WHERE f.table_id = $1 AND f.begin_snapshot < $3 \
                   AND (s.value_count IS NULL OR s.value_count > 0)";
        let values = [table.0.into(), column.0.into(), self.snapshot.id.into()];
        let rows = self.transaction.query(sql, &values).await?;
        let stats = |row: &Row| -> Option<ColumnStats> {
            let (min, max) = (Some(row.opt_text(0)?), Some(row.opt_text(1)?));
            Some(ColumnStats { min, max, null_count: Some(0), ..ColumnStats::default() })
        };
        Ok(rows.iter().map(stats).collect())
    }

    async fn update_column_stats(
        &mut self,
        table: TableId,
        column: ColumnId,
        stats: TableColumnStats,
    ) -> Result<()> {
        let sql = "UPDATE ducklake_table_column_stats SET contains_null = $3, contains_nan = $4, \
                   min_value = $5, max_value = $6 WHERE table_id = $1 AND column_id = $2";
        let values = [
            table.0.into(),
            column.0.into(),
            stats.contains_null.into(),
            stats.contains_nan.into(),
            stats.min.into(),
            stats.max.into(),
        ];
        self.transaction.execute(sql, &values).await
    }
}

/// The place of its mapping in a data file's row.
const MAPPING_ID: usize = 14;

pub(super) fn file_row(
    file: &DataFile,
    id: i64,
    table: TableId,
    snapshot: SnapshotId,
    row_id_start: i64,
    directory: &str,
    partition: Option<PartitionId>,
) -> Vec<Value> {
    let (path, is_relative) = relative(&file.path, directory);
    vec![
        id.into(),
        table.0.into(),
        snapshot.into(),
        Value::Null,
        Value::Null,
        path.into(),
        is_relative.into(),
        "parquet".into(),
        file.record_count.into(),
        file.file_size_bytes.into(),
        file.footer_size.into(),
        row_id_start.into(),
        partition.map(|partition| partition.0).into(),
        Value::Null,
        Value::Null,
        Value::Null,
    ]
}

pub(super) fn partition_values(file: &DataFile, id: i64, table: TableId) -> Vec<Vec<Value>> {
    let values = file.partition.iter().flat_map(|partition| &partition.values).zip(0i64..);
    let row = |(value, index): (&Option<String>, i64)| {
        vec![id.into(), table.0.into(), index.into(), value.clone().into()]
    };
    values.map(row).collect()
}

pub(super) fn stat_row(
    file: i64,
    table: TableId,
    (column, stats): (&ColumnId, &ColumnStats),
) -> Vec<Value> {
    vec![
        file.into(),
        table.0.into(),
        column.0.into(),
        stats.column_size_bytes.into(),
        stats.value_count.into(),
        stats.null_count.into(),
        stats.min.clone().into(),
        stats.max.clone().into(),
        stats.contains_nan.into(),
        Value::Null,
    ]
}

fn table_stat_row(table: TableId, column: ColumnId, stats: &TableColumnStats) -> Vec<Value> {
    vec![
        table.0.into(),
        column.0.into(),
        stats.contains_null.into(),
        stats.contains_nan.into(),
        stats.min.clone().into(),
        stats.max.clone().into(),
        Value::Null,
    ]
}
