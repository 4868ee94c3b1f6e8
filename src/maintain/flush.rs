//! Moving what the catalog keeps of tables into files, so that no catalog grows without bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

use super::{Flushed, Run, Scope, Upkeep};
use crate::catalog::model::{
    Changes, Commit, Deletion, DeletionKind, FileId, Flush, FlushedFile, InlinedHistory,
    InlinedRow, InlinedRows, InlinedVersion, Snapshot, SnapshotId, Table, TableId,
};
use crate::error::{Error, ErrorKind, Result};
use crate::table::types::{ROW_ID_COLUMN, SNAPSHOT_COLUMN, table_schema};
use crate::table::{deletes as positions, inlined};
use crate::write::{Staged, deletes};

impl Upkeep {
    /// Writes the rows, and the positions of deleted rows, that the catalog keeps of tables to files.
    pub(crate) async fn flush_inlined_data(&self, scope: Scope, run: Run) -> Result<Vec<Flushed>> {
        let mut all = Vec::new();
        let at = self.catalog.snapshot().await?.id;
        for table in self.tables(at, scope).await? {
            let mut patience = self.catalog.patience();
            let flushed = loop {
                match self.flush_table(table, scope, run).await {
                    Err(error) if error.is_retryable() && patience.pause().await => {}
                    result => break result?,
                }
            };
            all.extend(flushed);
        }
        Ok(all)
    }

    pub(super) async fn flush_table(
        &self,
        id: TableId,
        scope: Scope,
        run: Run,
    ) -> Result<Option<Flushed>> {
        let base = self.catalog.snapshot().await?;
        let Some((schema, table)) = self.catalog.table_with_id(base.id, id).await? else {
            return Ok(None);
        };
        if !self.is_in(scope, &schema, &table).await? {
            return Ok(None);
        }
        let histories = self.catalog.inlined_history(id, base.id).await?;
        let mut deleted = self.catalog.inlined_deletes(id, base.id).await?;
        if !deleted.is_empty() {
            // Of files that have ended only older versions need them, where they are.
            let files = self.catalog.data_files(base.id, &table).await?;
            let current: BTreeSet<FileId> = files.iter().filter_map(|file| file.id).collect();
            deleted.retain(|file, _| current.contains(file));
        }
        let rows = histories.iter().map(|history| history.rows.len() as u64).sum::<u64>();
        let rows = rows + deleted.values().map(|positions| positions.len() as u64).sum::<u64>();
        if rows == 0 {
            return Ok(None);
        }
        if run == Run::Real {
            let staged = Staged::new(Arc::clone(&self.storage));
            let files = self.write_flush(&base, &table, histories, &staged).await;
            let result = match files {
                Ok(flush) => self.commit_flush(base, table.clone(), flush, &staged).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                match error.kind() {
                    ErrorKind::OutcomeUnknown => staged.keep_all(),
                    _ => staged.discard().await,
                }
                return Err(error);
            }
        }
        Ok(Some(Flushed { schema: schema.name, table: table.name, rows }))
    }

    async fn commit_flush(
        &self,
        base: Snapshot,
        table: Table,
        flush: Flush,
        staged: &Staged,
    ) -> Result<()> {
        let commit = Commit {
            base,
            changes: Changes::default(),
            deletions: BTreeMap::new(),
            compaction: None,
            flush: Some(Flush { table, ..flush }),
            expects: None,
            author: None,
            message: None,
        };
        self.catalog.commit(&commit, || staged.committing()).await?;
        staged.keep_only(&commit.files()).await
    }

    async fn write_flush(
        &self,
        base: &Snapshot,
        table: &Table,
        histories: Vec<InlinedHistory>,
        staged: &Arc<Staged>,
    ) -> Result<Flush> {
        let inlined_tables = histories.iter().map(|history| history.name.clone()).collect();
        let mut files = Vec::new();
        for history in histories {
            files.extend(self.write_history(table, history, staged).await?);
        }
        let deletions = self.write_deletes(base.id, table, staged).await?;
        Ok(Flush { table: table.clone(), through: base.id, inlined_tables, files, deletions })
    }

    /// The rows of one form, in the order of their row ids, one file for each partition.
    async fn write_history(
        &self,
        table: &Table,
        history: InlinedHistory,
        staged: &Arc<Staged>,
    ) -> Result<Vec<FlushedFile>> {
        let InlinedHistory { mut columns, rows, .. } = history;
        // Rows of the past may have the NULLs that a column had then, and no longer has.
        columns.iter_mut().for_each(|column| column.nullable = true);
        let names: BTreeSet<_> = columns.iter().map(|column| column.id).collect();
        let partition = table
            .partition
            .clone()
            .filter(|spec| spec.keys.iter().all(|key| names.contains(&key.column)));
        // Nothing is checked: rows of older forms were by the rules of their day.
        let like = Table { columns, partition, constraints: vec![], ..table.clone() };
        let batch = batch(&like, &rows)?;
        let target = self.target(like, Arc::clone(staged)).await?;
        let target = target.with_row_ids().with_snapshots();
        let mut files = Vec::new();
        for (partition, indices) in target.divided(&batch)? {
            let chosen = UInt64Array::from_iter_values(indices.iter().map(|index| *index as u64));
            let part = take_record_batch(&batch, &chosen)?;
            let Some(mut file) = target.write_small(vec![part], partition.as_ref()).await? else {
                continue;
            };
            let part: Vec<&InlinedVersion> = indices.iter().map(|index| &rows[*index]).collect();
            file.begin = part.iter().map(|row| row.begin).min();
            file.partial_max = part.iter().map(|row| row.begin).max();
            file.row_id_start = part.iter().map(|row| row.row_id).min();
            let ended = part.iter().zip(0u64..).filter_map(|(row, at)| Some((at, row.end?)));
            let ended: Vec<(u64, SnapshotId)> = ended.collect();
            let ended = match ended.is_empty() {
                true => None,
                false => {
                    let with = (&*self.storage, &**staged);
                    Some(deletes::delete_file(table, &file.path, &ended, true, with).await?)
                }
            };
            files.push(FlushedFile { file, ended });
        }
        Ok(files)
    }

    /// Positions from the catalog, merged into the delete files of their data files.
    async fn write_deletes(
        &self,
        at: SnapshotId,
        table: &Table,
        staged: &Arc<Staged>,
    ) -> Result<Vec<Deletion>> {
        let mut inlined = self.catalog.inlined_deletes(table.id, at).await?;
        let mut deletions = Vec::new();
        for file in self.catalog.data_files(at, table).await? {
            let Some((id, mut entries)) = file.id.and_then(|id| inlined.remove_entry(&id)) else {
                continue;
            };
            for earlier in &file.deletes {
                entries.extend(positions::entries(&self.storage, earlier).await?);
            }
            entries.sort_unstable();
            entries.dedup_by_key(|(position, _)| *position);
            let with = (&*self.storage, &**staged);
            let written = deletes::delete_file(table, &file.path, &entries, true, with).await?;
            let how = DeletionKind::DeleteFile(written);
            deletions.push(Deletion { file: id, delete_files: file.deletes, how });
        }
        Ok(deletions)
    }
}

/// Rows with their row ids and snapshots.
fn batch(table: &Table, rows: &[InlinedVersion]) -> Result<RecordBatch> {
    let text = InlinedRows {
        columns: table.columns.clone(),
        rows: rows
            .iter()
            .map(|row| InlinedRow {
                row_id: Some(row.row_id),
                place: row.row_id,
                values: row.values.clone(),
            })
            .collect(),
        column_stats: BTreeMap::new(),
    };
    let arrays = table.columns.iter().map(|column| inlined::array(&text, column));
    let mut arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
    let mut fields = table_schema(&table.columns)?.fields().to_vec();
    let row_ids = rows.iter().map(|row| row.row_id).collect::<Vec<_>>();
    let snapshots = rows.iter().map(|row| row.begin.0).collect::<Vec<_>>();
    for (name, values) in [(ROW_ID_COLUMN, row_ids), (SNAPSHOT_COLUMN, snapshots)] {
        arrays.push(Arc::new(Int64Array::from(values)));
        fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|e| Error::new(ErrorKind::Corrupt, format!("rows of the catalog: {e}")))
}
