//! One Parquet file at a time: encode, upload, sync, describe.
//!
//! Its layout is [`WriteOptions`]'. A file that reaches the target size is finished and the next one
//! begun. A row group, which is kept until it is complete, ends early where memory is short.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::async_writer::AsyncFileWriter;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::arrange::{Arrangement, Partitions};
use super::check::Checks;
use super::options::WriteOptions;
use super::staged::Staged;
use super::stats;
use crate::catalog::model::{DataFile, FilePartition, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::session::Progress;
use crate::storage::{self, Storage};
use crate::table::convert::{Direction, convert};
use crate::table::types::{
    ROW_ID, ROW_ID_COLUMN, ROW_SNAPSHOT_ID, SNAPSHOT_COLUMN, file_schema, with_field_id,
};

/// A row group that takes less is not ended for want of memory.
const SMALLEST_GROUP: usize = 8 << 20;

/// The table that files are written for, and how.
pub(crate) struct Target {
    pub(super) table: Table,
    storage: Arc<Storage>,
    staged: Arc<Staged>,
    progress: Progress,
    pub(super) file_schema: SchemaRef,
    checks: Checks,
    arrangement: Arrangement,
    options: WriteOptions,
    memory: Arc<dyn MemoryPool>,
    /// Up to so many rows are left to the catalog.
    pub(super) inlining_limit: usize,
}

impl Target {
    pub(crate) fn new(
        state: &SessionState,
        table: Table,
        options: WriteOptions,
        storage: Arc<Storage>,
        staged: Arc<Staged>,
        progress: Progress,
    ) -> Result<Self> {
        let file_schema = file_schema(&table.columns)?;
        let checks = Checks::plan(state, &table)?;
        let arrangement = Arrangement::plan(state, &table, &options)?;
        let memory = Arc::clone(&state.runtime_env().memory_pool);
        Ok(Self {
            table,
            storage,
            staged,
            progress,
            file_schema,
            checks,
            arrangement,
            options,
            memory,
            inlining_limit: 0,
        })
    }

    /// The same table, whose catalog keeps writes of up to `rows` rows.
    pub(crate) fn with_inlining(mut self, rows: usize) -> Self {
        // Rows of a partition are in its files.
        self.inlining_limit = if self.partitions().is_some() { 0 } else { rows };
        self
    }

    pub(crate) fn table_name(&self) -> &str {
        &self.table.name
    }

    /// The plan with its rows in the order in which they are to be written; `None` for any.
    pub(super) fn arrange(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        threads: usize,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        self.arrangement.apply(plan, threads)
    }

    /// How rows are divided into files, if the table is partitioned.
    pub(super) fn partitions(&self) -> Option<&Partitions> {
        self.arrangement.partitions()
    }

    /// The rows of a batch by the file they belong in.
    pub(crate) fn divided(
        &self,
        batch: &RecordBatch,
    ) -> Result<Vec<(Option<FilePartition>, Vec<usize>)>> {
        match self.partitions() {
            None => Ok(vec![(None, (0..batch.num_rows()).collect())]),
            Some(partitions) => {
                let parts = partitions.divided(batch)?.into_iter();
                Ok(parts.map(|(partition, rows)| (Some(partition), rows)).collect())
            }
        }
    }

    /// Refuses rows that break a rule of the table.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<()> {
        self.checks.verify(batch)
    }

    /// The same table, with the row id of each row after its columns.
    pub(crate) fn with_row_ids(self) -> Self {
        self.with_column(ROW_ID_COLUMN, ROW_ID)
    }

    /// The same table, with the snapshot of each row after its columns and its row id, if it has one.
    pub(crate) fn with_snapshots(self) -> Self {
        self.with_column(SNAPSHOT_COLUMN, ROW_SNAPSHOT_ID)
    }

    fn with_column(mut self, name: &str, id: i64) -> Self {
        let column = Arc::new(with_field_id(Field::new(name, DataType::Int64, true), id));
        let fields = self.file_schema.fields().iter().cloned().chain([column]);
        self.file_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        self
    }

    /// Bytes after which a file is finished.
    pub(super) fn file_size(&self) -> u64 {
        self.options.target_file_size
    }

    /// Writes a few batches as one file; none for no rows.
    pub(crate) async fn write_small(
        &self,
        batches: Vec<RecordBatch>,
        partition: Option<&FilePartition>,
    ) -> Result<Option<DataFile>> {
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(None);
        }
        let mut writer = self.begin(partition)?;
        for batch in batches {
            writer.write(self, &batch).await?;
        }
        writer.finish(self).await.map(Some)
    }

    pub(super) fn begin(&self, partition: Option<&FilePartition>) -> Result<FileWriter> {
        let within = partition.zip(self.partitions());
        let within = within.map(|(partition, partitions)| partitions.directory(partition));
        let (directory, within) = (&self.table.directory, within.unwrap_or_default());
        let path = format!("{directory}{within}ducklake-{}.parquet", Uuid::now_v7());
        self.staged.register(&path);
        let output = Counted::new(&self.storage, &path)?;
        let schema = Arc::clone(&self.file_schema);
        let properties = self.options.properties().build();
        let writer = AsyncArrowWriter::try_new(output, schema, Some(properties))
            .map_err(|e| Error::internal(e.to_string()))?;
        let consumer = MemoryConsumer::new(memory::FILE).with_can_spill(true);
        Ok(FileWriter {
            writer,
            kept: consumer.register(&self.memory),
            path,
            partition: partition.cloned(),
            nan: vec![false; self.table.columns.len()],
            reported: 0,
            rows: 0,
        })
    }

    /// The batch in the file's form.
    pub(super) fn to_file(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.table.columns.iter().zip(batch.columns());
        let mut arrays = columns
            .map(|(column, array)| convert(array, column, Direction::ToFile))
            .collect::<Result<Vec<_>>>()?;
        // Row ids and snapshots, if there are any, have one form.
        arrays.extend(batch.columns().iter().skip(arrays.len()).cloned());
        RecordBatch::try_new(Arc::clone(&self.file_schema), arrays)
            .map_err(|e| Error::internal(format!("a batch does not fit its table: {e}")))
    }
}

/// A file that is being written.
pub(super) struct FileWriter {
    writer: AsyncArrowWriter<Counted>,
    /// What the rows take that wait for the end of their row group.
    kept: MemoryReservation,
    path: String,
    partition: Option<FilePartition>,
    /// By top-level column: whether a NaN was written.
    nan: Vec<bool>,
    /// Bytes that progress knows of.
    reported: u64,
    rows: usize,
}

impl FileWriter {
    pub(super) async fn write(&mut self, target: &Target, batch: &RecordBatch) -> Result<()> {
        for (nan, array) in self.nan.iter_mut().zip(batch.columns()) {
            *nan = *nan || has_nan(array);
        }
        let batch = target.to_file(batch)?;
        self.writer.write(&batch).await.map_err(|e| upload(&self.path, e))?;
        self.make_room().await?;
        let size = self.size();
        target.progress.wrote(batch.num_rows() as u64, size - self.reported);
        self.reported = size;
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Ends the row group if there is no memory for more of it.
    async fn make_room(&mut self) -> Result<()> {
        let kept = self.writer.memory_size();
        if self.kept.try_resize(kept).is_err() {
            if kept >= SMALLEST_GROUP {
                self.writer.flush().await.map_err(|e| upload(&self.path, e))?;
            }
            self.kept.resize(self.writer.memory_size());
        }
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// The file, unless no row is in it: then it is left to [`Staged`], which deletes it.
    pub(super) async fn finish_unless_empty(self, target: &Target) -> Result<Option<DataFile>> {
        match self.rows {
            0 => Ok(None),
            _ => self.finish(target).await.map(Some),
        }
    }

    pub(super) async fn finish(mut self, target: &Target) -> Result<DataFile> {
        let metadata = self.writer.finish().await.map_err(|e| upload(&self.path, e))?;
        let output = self.writer.into_inner();
        target.storage.sync(&self.path).await?;
        Ok(DataFile {
            id: None,
            path: self.path,
            record_count: metadata.file_metadata().num_rows().cast_unsigned(),
            file_size_bytes: output.bytes,
            footer_size: output.footer_size(),
            row_id_start: None,
            begin: None,
            partial_max: None,
            name_mapping: None,
            column_stats: stats::collect(&metadata, &target.table.columns, &self.nan),
            partition: self.partition,
            deletes: vec![],
            deleted: Arc::default(),
        })
    }
}

/// A small file as it was written.
pub(super) struct Encoded {
    pub(super) file_size_bytes: u64,
    pub(super) footer_size: Option<u64>,
}

/// Writes one batch as a file.
pub(super) async fn encode(storage: &Storage, path: &str, batch: &RecordBatch) -> Result<Encoded> {
    let output = Counted::new(storage, path)?;
    let properties = WriteOptions::of(&BTreeMap::new())?.properties().build();
    let mut writer = AsyncArrowWriter::try_new(output, batch.schema(), Some(properties))
        .map_err(|e| Error::internal(e.to_string()))?;
    writer.write(batch).await.map_err(|e| upload(path, e))?;
    writer.finish().await.map_err(|e| upload(path, e))?;
    let output = writer.into_inner();
    storage.sync(path).await?;
    Ok(Encoded { file_size_bytes: output.bytes, footer_size: output.footer_size() })
}

pub(super) fn has_nan(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().values().iter().any(|value| value.is_nan())
        }
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().values().iter().any(|value| value.is_nan())
        }
        _ => false,
    }
}

fn upload(path: &str, error: parquet::errors::ParquetError) -> Error {
    let error = storage::storage(path, error);
    match error.message().contains("No space left") || error.message().contains("os error 28") {
        true => Error::new(ErrorKind::Storage, format!("no space left to write \"{path}\""))
            .with_help("free some disk space; nothing was changed")
            .with_source(error),
        false => error.with_help("nothing was changed"),
    }
}

/// Counts what goes through, and keeps the last bytes: they hold the footer's length.
struct Counted {
    inner: BufWriter,
    bytes: u64,
    tail: Bytes,
}

impl Counted {
    fn new(storage: &Storage, path: &str) -> Result<Self> {
        let located = storage.locate(path)?;
        let inner = BufWriter::new(located.store, located.path);
        Ok(Self { inner, bytes: 0, tail: Bytes::new() })
    }

    /// The length of the footer's Thrift part: four bytes before the closing magic.
    fn footer_size(&self) -> Option<u64> {
        let tail = self.tail.get(self.tail.len().checked_sub(8)?..)?;
        let length = tail.get(..4)?.try_into().ok()?;
        Some(u64::from(u32::from_le_bytes(length)))
    }
}

impl AsyncFileWriter for Counted {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, parquet::errors::Result<()>> {
        self.bytes += bytes.len() as u64;
        self.tail = bytes.slice(bytes.len().saturating_sub(8)..);
        async move { Ok(self.inner.put(bytes).await?) }.boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, parquet::errors::Result<()>> {
        async move { Ok(self.inner.shutdown().await?) }.boxed()
    }
}
