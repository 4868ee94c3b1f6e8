//! The files of a table as of a snapshot: data files, their statistics, and what is deleted of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::Catalog;
use super::backend::{Row, Value};
use super::model::*;
use super::read::{VISIBLE, path};
use super::types::parse_type;
use super::widen::{leaves, retype_stats};
use crate::error::{Error, ErrorKind, Result};

/// The columns of a data file, for [`data_file`].
pub(super) const FILE: &str = "data_file_id, path, path_is_relative, record_count, \
     file_size_bytes, footer_size, row_id_start, partial_max, mapping_id, begin_snapshot, \
     partition_id";

/// The columns of a delete file, the first of which is its data file's id, for [`delete_file`].
pub(super) const DELETE_FILE: &str = "data_file_id, path, path_is_relative, delete_file_id, \
     format, file_size_bytes, begin_snapshot, delete_count";

impl Catalog {
    /// How many data files a table has.
    pub async fn n_data_files(&self, at: SnapshotId, table: TableId) -> Result<usize> {
        let sql =
            format!("SELECT count(*) FROM ducklake_data_file WHERE table_id = $2 AND {VISIBLE}");
        let rows = self.backend().query(&sql, &[at.0.into(), table.0.into()]).await?;
        let count = rows.first().map_or(Ok(0), |row| row.count(0))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// The data files of a table in the order they were added, with the statistics of `stats_of`. If
    /// the snapshot has expired meanwhile, some may be gone: then none are given.
    pub async fn data_files(
        &self,
        at: SnapshotId,
        table: &Table,
        stats_of: &[ColumnId],
    ) -> Result<Vec<DataFile>> {
        let sql = format!(
            "SELECT {FILE} FROM ducklake_data_file WHERE table_id = $2 AND {VISIBLE} \
             ORDER BY data_file_id"
        );
        let values = [at.0.into(), table.id.0.into()];
        let (mut files, mut mapped) = (BTreeMap::new(), Vec::new());
        for row in &self.backend().query(&sql, &values).await? {
            files.insert(row.int(0)?, data_file(table, row)?);
            mapped.extend(row.opt_int(8)?.map(|mapping| (row.int(0), mapping)));
        }
        if !files.is_empty() {
            self.attach_deletes(table, &values, &mut files).await?;
            self.attach_stats(table.id, stats_of, &mut files).await?;
            self.retype_stats(table, stats_of, &mut files).await?;
            self.attach_partitions(table, &mut files).await?;
            self.attach_mappings(table, mapped, &mut files).await?;
        }
        self.check_unexpired(at).await?;
        Ok(files.into_values().collect())
    }

    /// What was read of a snapshot before is all there was of it, if it is still there.
    async fn check_unexpired(&self, at: SnapshotId) -> Result<()> {
        match self.snapshot_with_id(at).await? {
            Some(_) => Ok(()),
            None => Err(Error::new(
                ErrorKind::Conflict,
                format!("snapshot {at} has expired while it was read"),
            )
            .with_help(
                "begin again; let snapshots live longer than the longest transaction: \
                 expire_snapshots(older_than => …)",
            )),
        }
    }

    async fn attach_deletes(
        &self,
        table: &Table,
        values: &[Value],
        files: &mut BTreeMap<i64, DataFile>,
    ) -> Result<()> {
        let sql = format!(
            "SELECT {DELETE_FILE} FROM ducklake_delete_file WHERE table_id = $2 AND {VISIBLE} \
             ORDER BY delete_file_id"
        );
        for row in &self.backend().query(&sql, values).await? {
            if let Some(file) = files.get_mut(&row.int(0)?) {
                file.deletes.push(delete_file(table, row)?);
            }
        }
        // The table of deletes in the catalog exists once there has been one.
        let inlined = format!("ducklake_inlined_delete_{}", table.id);
        if self.backend().has_table(&inlined).await? {
            let sql = format!("SELECT file_id, row_id FROM {inlined} WHERE begin_snapshot <= $1");
            for row in &self.backend().query(&sql, &values[..1]).await? {
                if let Some(file) = files.get_mut(&row.int(0)?) {
                    Arc::make_mut(&mut file.deleted).insert(row.count(1)?);
                }
            }
        }
        Ok(())
    }

    pub(super) async fn attach_stats(
        &self,
        table: TableId,
        stats_of: &[ColumnId],
        files: &mut BTreeMap<i64, DataFile>,
    ) -> Result<()> {
        if stats_of.is_empty() {
            return Ok(());
        }
        let columns: Vec<String> = stats_of.iter().map(ToString::to_string).collect();
        let sql = format!(
            "SELECT data_file_id, column_id, column_size_bytes, value_count, null_count, min_value, \
             max_value, contains_nan FROM ducklake_file_column_stats \
             WHERE table_id = $1 AND column_id IN ({})",
            columns.join(", ")
        );
        for row in self.backend().query(&sql, &[table.0.into()]).await? {
            if let Some(file) = files.get_mut(&row.int(0)?) {
                file.column_stats.insert(ColumnId(row.int(1)?), column_stats(&row)?);
            }
        }
        Ok(())
    }

    /// The partition values of files, where they tell more than the statistics do: buckets.
    async fn attach_partitions(
        &self,
        table: &Table,
        files: &mut BTreeMap<i64, DataFile>,
    ) -> Result<()> {
        let mut keys = table.partition.iter().flat_map(|spec| &spec.keys);
        if !keys.any(|key| matches!(key.transform, Transform::Bucket(_))) {
            return Ok(());
        }
        let sql = "SELECT data_file_id, partition_value FROM ducklake_file_partition_value \
                   WHERE table_id = $1 ORDER BY data_file_id, partition_key_index";
        for row in self.backend().query(sql, &[table.id.0.into()]).await? {
            let file = files.get_mut(&row.int(0)?);
            if let Some(partition) = file.and_then(|file| file.partition.as_mut()) {
                partition.values.push(row.opt_text(1));
            }
        }
        Ok(())
    }

    /// How the columns of files that were added as they are come from them.
    pub(super) async fn attach_mappings(
        &self,
        table: &Table,
        mapped: Vec<(Result<i64>, i64)>,
        files: &mut BTreeMap<i64, DataFile>,
    ) -> Result<()> {
        if mapped.is_empty() {
            return Ok(());
        }
        let mappings = self.name_mappings(table.id).await?;
        for (id, mapping) in mapped {
            let Some(file) = files.get_mut(&id?) else { continue };
            let mapping = mappings.get(&mapping).ok_or_else(|| {
                let message = format!("{} has a name mapping that is not there", file.path);
                Error::new(ErrorKind::Corrupt, message)
            })?;
            file.name_mapping = Some(Arc::clone(mapping));
            file.column_stats.retain(|column, _| !is_widened(table, *column));
        }
        Ok(())
    }

    /// Brings statistics of files that were written before a column's type changed to the new type.
    pub(super) async fn retype_stats(
        &self,
        table: &Table,
        stats_of: &[ColumnId],
        files: &mut BTreeMap<i64, DataFile>,
    ) -> Result<()> {
        let leaves: BTreeMap<i64, &ColumnType> = leaves(&table.columns)
            .into_iter()
            .filter(|leaf| stats_of.contains(&leaf.id))
            .map(|leaf| (leaf.id.0, &leaf.column_type))
            .collect();
        let sql = "SELECT DISTINCT column_id, column_type FROM ducklake_column \
                   WHERE table_id = $1 AND end_snapshot IS NOT NULL";
        let mut changed = Vec::new();
        for row in self.backend().query(sql, &[table.id.0.into()]).await? {
            let (id, old) = (row.int(0)?, row.text(1)?);
            let is_changed = leaves.get(&id).is_some_and(|now| parse_type(&old, vec![]) != **now);
            if is_changed {
                changed.push(id.to_string());
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT f.data_file_id, c.column_id, c.column_type FROM ducklake_column c \
             JOIN ducklake_data_file f ON f.table_id = c.table_id \
             AND f.begin_snapshot >= c.begin_snapshot AND f.begin_snapshot < c.end_snapshot \
             WHERE c.table_id = $1 AND c.column_id IN ({})",
            changed.join(", ")
        );
        for row in self.backend().query(&sql, &[table.id.0.into()]).await? {
            let (column, old) = (row.int(1)?, parse_type(&row.text(2)?, vec![]));
            let file = files.get_mut(&row.int(0)?);
            let stats = file.and_then(|file| file.column_stats.get_mut(&ColumnId(column)));
            if let (Some(stats), Some(now)) = (stats, leaves.get(&column)) {
                retype_stats(stats, &old, now);
            }
        }
        Ok(())
    }
}

/// Whether files that were added as they are may have a narrower float, whose shortest text is another
/// number in the column's type.
fn is_widened(table: &Table, column: ColumnId) -> bool {
    let leaves = leaves(&table.columns);
    let leaf = leaves.into_iter().find(|leaf| leaf.id == column);
    leaf.is_some_and(|leaf| leaf.column_type == ColumnType::Float64)
}

pub(super) fn data_file(table: &Table, row: &Row) -> Result<DataFile> {
    Ok(DataFile {
        id: Some(FileId(row.int(0)?)),
        path: path(row, 1)?.resolve(&table.directory),
        record_count: row.count(3)?,
        file_size_bytes: row.count(4)?,
        footer_size: row.opt_count(5)?,
        row_id_start: row.opt_int(6)?,
        begin: Some(SnapshotId(row.int(9)?)),
        partial_max: row.opt_int(7)?.map(SnapshotId),
        name_mapping: None,
        column_stats: BTreeMap::new(),
        partition: row.opt_int(10)?.map(|id| FilePartition { id: PartitionId(id), values: vec![] }),
        deletes: vec![],
        deleted: Arc::new(RoaringTreemap::new()),
    })
}

pub(super) fn delete_file(table: &Table, row: &Row) -> Result<DeleteFile> {
    let format = row.text(4)?;
    Ok(DeleteFile {
        id: FileId(row.int(3)?),
        path: path(row, 1)?.resolve(&table.directory),
        format: match format.as_str() {
            "parquet" => DeleteFormat::Parquet,
            "puffin" => DeleteFormat::DeletionVector,
            other => {
                let message = format!("table \"{}\" has deletes in format {other}", table.name);
                return Err(Error::unsupported(message)
                    .with_help("compact the table with the program that wrote it"));
            }
        },
        delete_count: row.count(7)?,
        file_size_bytes: row.count(5)?,
        begin: SnapshotId(row.int(6)?),
    })
}

fn column_stats(row: &Row) -> Result<ColumnStats> {
    Ok(ColumnStats {
        column_size_bytes: row.opt_count(2)?.unwrap_or(0),
        value_count: row.opt_count(3)?,
        null_count: row.opt_count(4)?,
        min: row.opt_text(5),
        max: row.opt_text(6),
        contains_nan: row.opt_flag(7)?,
    })
}
