//! The files of a table as of a snapshot: data files, and what is deleted of them. What is known of
//! their columns is in [`super::statistics`].

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::Catalog;
use super::backend::{Row, Value};
use super::model::*;
use super::read::{VISIBLE, path};
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

    /// The data files of a table in the order they were added, without statistics. If the snapshot has
    /// expired meanwhile, some may be gone: then none are given.
    pub async fn data_files(&self, at: SnapshotId, table: &Table) -> Result<Vec<DataFile>> {
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
        }
        Ok(())
    }
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
