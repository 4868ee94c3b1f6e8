//! The rows of a commit that moves what the catalog kept of a table into files: rows of every
//! snapshot, ended ones included, and positions of deleted rows.
//!
//! Every row keeps its row id and its snapshots: the new file is one of several snapshots, and the
//! rows that had ended are in its delete file. So no query, of any version, has another answer.
//!
//! Tables for forms that a table does not have any more stay, empty: sessions of DuckDB that know
//! them from an older version could not read that version without them.

use std::collections::BTreeMap;

use super::Catalog;
use super::append::{file_row, partition_values, stat_row};
use super::changes::Change;
use super::commit::Writer;
use super::model::*;
use crate::error::Result;

impl Catalog {
    /// Every version of every row that the catalog keeps of a table, by the form it was written in.
    pub(crate) async fn inlined_history(
        &self,
        table: TableId,
        through: SnapshotId,
    ) -> Result<Vec<InlinedHistory>> {
        self.inlined_history_since(table, SnapshotId(0), through).await
    }

    /// The same of those rows that came or went since a snapshot.
    pub(super) async fn inlined_history_since(
        &self,
        table: TableId,
        since: SnapshotId,
        through: SnapshotId,
    ) -> Result<Vec<InlinedHistory>> {
        let mut all = Vec::new();
        for (name, columns, rows) in self.inlined_versions(table, since, through).await? {
            if !rows.is_empty() {
                all.push(InlinedHistory { name, columns, rows });
            }
        }
        Ok(all)
    }

    /// Positions of deleted rows that the catalog keeps, with the snapshot of each, by data file.
    pub(crate) async fn inlined_deletes(
        &self,
        table: TableId,
        through: SnapshotId,
    ) -> Result<BTreeMap<FileId, Vec<(u64, SnapshotId)>>> {
        let mut all: BTreeMap<FileId, Vec<(u64, SnapshotId)>> = BTreeMap::new();
        let name = format!("ducklake_inlined_delete_{table}");
        if self.backend().has_table(&name).await? {
            let sql = format!(
                "SELECT file_id, row_id, begin_snapshot FROM {name} WHERE begin_snapshot <= $1"
            );
            for row in self.backend().query(&sql, &[through.into()]).await? {
                let entry = (row.count(1)?, SnapshotId(row.int(2)?));
                all.entry(FileId(row.int(0)?)).or_default().push(entry);
            }
        }
        Ok(all)
    }
}

impl Writer<'_> {
    /// Names the new files, and takes their rows out of the catalog.
    pub(super) async fn flush(&mut self, catalog: &Catalog, flush: &Flush) -> Result<()> {
        let table = &flush.table;
        let through = flush.through;
        let mut bytes = 0;
        for flushed in &flush.files {
            bytes += flushed.file.file_size_bytes;
            self.insert_flushed(table, flushed).await?;
        }
        for name in &flush.inlined_tables {
            let sql =
                format!("DELETE FROM {} WHERE begin_snapshot <= $1", super::inlined::quoted(name));
            self.transaction.execute(&sql, &[through.into()]).await?;
        }
        if !flush.deletions.is_empty() {
            self.delete(catalog, table.id, &flush.deletions).await?;
            for deletion in &flush.deletions {
                let sql = format!(
                    "DELETE FROM ducklake_inlined_delete_{} WHERE file_id = $1 \
                     AND begin_snapshot <= $2",
                    table.id
                );
                let values = [deletion.file.0.into(), through.into()];
                self.transaction.execute(&sql, &values).await?;
            }
        }
        let sql = "UPDATE ducklake_table_stats SET file_size_bytes = file_size_bytes + $2 \
                   WHERE table_id = $1";
        self.transaction.execute(sql, &[table.id.0.into(), bytes.into()]).await?;
        self.listed.push(Change::id("inline_flush", table.id.0));
        Ok(())
    }

    async fn insert_flushed(&mut self, table: &Table, flushed: &FlushedFile) -> Result<()> {
        let FlushedFile { file, ended } = flushed;
        let id = self.next_file_id();
        let begin = file.begin.unwrap_or(self.snapshot.id);
        let start = file.row_id_start.unwrap_or_default();
        let partition = file.partition.as_ref().map(|partition| partition.id);
        let directory = &table.directory;
        let mut row = file_row(file, id, table.id, begin, start, directory, partition);
        // The last value is the newest snapshot of the rows.
        if let Some(last) = row.last_mut() {
            *last = file.partial_max.map(|newest| newest.0).into();
        }
        self.transaction.insert("ducklake_data_file", vec![row]).await?;
        let stats = file.column_stats.iter().map(|stats| stat_row(id, table.id, stats)).collect();
        self.transaction.insert("ducklake_file_column_stats", stats).await?;
        let values = partition_values(file, id, table.id);
        self.transaction.insert("ducklake_file_partition_value", values).await?;
        if let Some(ended) = ended {
            let row = self.delete_file_row(ended, id, table.id, directory);
            self.transaction.insert("ducklake_delete_file", vec![row]).await?;
        }
        Ok(())
    }
}
