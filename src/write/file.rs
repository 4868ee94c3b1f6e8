//! One Parquet file at a time: encode, upload, sync, describe.
//!
//! Layout: row groups of up to [`ROW_GROUP_ROWS`] rows and about [`ROW_GROUP_BYTES`], `lz4_raw`
//! (as fast to scan as uncompressed at about half the size), statistics per page. A file that
//! reaches the target size is finished and the next one begun.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::execution::SessionState;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::arrow::{ArrowWriter, AsyncArrowWriter};
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::check::Checks;
use super::staged::Staged;
use super::stats;
use crate::catalog::model::{
    Column, ColumnId, ColumnStats, DataFile, InlinedRow, InlinedRows, Table,
};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Progress;
use crate::storage::{self, Storage};
use crate::table::convert::{Direction, convert};
use crate::table::inlined;
use crate::table::types::{
    ROW_ID, ROW_ID_COLUMN, ROW_SNAPSHOT_ID, SNAPSHOT_COLUMN, file_schema, table_schema,
    with_field_id,
};

const ROW_GROUP_ROWS: usize = 1 << 20;
const ROW_GROUP_BYTES: usize = 128 << 20;

/// The table that files are written for, and how.
pub(crate) struct Target {
    table: Table,
    storage: Arc<Storage>,
    staged: Arc<Staged>,
    progress: Progress,
    file_schema: SchemaRef,
    checks: Checks,
    /// Bytes after which a file is finished.
    target_file_size: u64,
    /// Up to so many rows are left to the catalog.
    inlining_limit: usize,
}

impl Target {
    pub(crate) fn new(
        state: &SessionState,
        table: Table,
        storage: Arc<Storage>,
        staged: Arc<Staged>,
        progress: Progress,
    ) -> Result<Self> {
        let file_schema = file_schema(&table.columns)?;
        let target_file_size = 512 << 20;
        let checks = Checks::plan(state, &table)?;
        Ok(Self {
            table,
            storage,
            staged,
            progress,
            file_schema,
            checks,
            target_file_size,
            inlining_limit: 0,
        })
    }

    /// The same table, whose catalog keeps writes of up to `rows` rows.
    pub(crate) fn with_inlining(mut self, rows: usize) -> Self {
        self.inlining_limit = rows;
        self
    }

    pub(crate) fn table_name(&self) -> &str {
        &self.table.name
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
        self.target_file_size
    }

    /// Writes a few batches as one file; none for no rows.
    pub(crate) async fn write_small(&self, batches: Vec<RecordBatch>) -> Result<Option<DataFile>> {
        if batches.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(None);
        }
        let mut writer = self.begin()?;
        for batch in batches {
            writer.write(self, &batch).await?;
        }
        writer.finish(self).await.map(Some)
    }

    /// The rows as the catalog is to keep them; `None` if they are too many, or have no text.
    pub(super) fn inline(&self, batches: &[RecordBatch]) -> Result<Option<InlinedRows>> {
        let n_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if n_rows == 0 || n_rows > self.inlining_limit {
            return Ok(None);
        }
        let columns = self.table.columns.clone();
        let mut rows = Vec::with_capacity(n_rows);
        for batch in batches {
            let row_ids = batch.columns().get(columns.len());
            let row_ids = row_ids.and_then(|ids| ids.as_primitive_opt::<Int64Type>());
            for row in 0..batch.num_rows() {
                let value = |(column, array): (&Column, &ArrayRef)| match array.is_null(row) {
                    true => Some(None),
                    false => inlined::text(array, row, column).map(Some),
                };
                let values = columns.iter().zip(batch.columns()).map(value);
                let Some(values) = values.collect::<Option<Vec<_>>>() else {
                    return Ok(None);
                };
                let row_id = row_ids.map(|ids| ids.value(row));
                rows.push(InlinedRow { row_id, place: 0, values });
            }
        }
        let column_stats = self.describe(batches)?;
        Ok(Some(InlinedRows { columns, rows, column_stats }))
    }

    /// Rows that the catalog was to keep as a batch to write, with row ids if files keep them.
    pub(crate) fn batch_of(&self, rows: &InlinedRows) -> Result<RecordBatch> {
        let columns = &self.table.columns;
        let mut arrays = columns
            .iter()
            .map(|column| inlined::array(rows, column))
            .collect::<Result<Vec<_>>>()?;
        let mut fields = table_schema(columns)?.fields().to_vec();
        if self.file_schema.fields().len() > columns.len() {
            let row_ids = rows.rows.iter().map(|row| row.row_id).collect::<Int64Array>();
            arrays.push(Arc::new(row_ids));
            fields.push(Arc::new(Field::new(ROW_ID_COLUMN, DataType::Int64, true)));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|e| Error::internal(format!("rows do not fit their table: {e}")))
    }

    /// The statistics of a few rows: those that a file of them would have.
    fn describe(&self, batches: &[RecordBatch]) -> Result<BTreeMap<ColumnId, ColumnStats>> {
        let internal = |e: parquet::errors::ParquetError| Error::internal(e.to_string());
        let schema = Arc::clone(&self.file_schema);
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).map_err(internal)?;
        let mut nan = vec![false; self.table.columns.len()];
        for batch in batches {
            nan.iter_mut().zip(batch.columns()).for_each(|(nan, array)| *nan |= has_nan(array));
            writer.write(&self.to_file(batch)?).map_err(internal)?;
        }
        let metadata = writer.close().map_err(internal)?;
        Ok(stats::collect(&metadata, &self.table.columns, &nan))
    }

    pub(super) fn begin(&self) -> Result<FileWriter> {
        let path = format!("{}ducklake-{}.parquet", self.table.directory, Uuid::now_v7());
        self.staged.register(&path);
        let output = Counted::new(&self.storage, &path)?;
        let schema = Arc::clone(&self.file_schema);
        let writer = AsyncArrowWriter::try_new(output, schema, Some(properties().build()))
            .map_err(|e| Error::internal(e.to_string()))?;
        Ok(FileWriter {
            writer,
            path,
            nan: vec![false; self.table.columns.len()],
            reported: 0,
            rows: 0,
        })
    }

    /// The batch in the file's form.
    fn to_file(&self, batch: &RecordBatch) -> Result<RecordBatch> {
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
    path: String,
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
        let size = self.size();
        target.progress.wrote(batch.num_rows() as u64, size - self.reported);
        self.reported = size;
        self.rows += batch.num_rows();
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
            partition: None,
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
    let mut writer = AsyncArrowWriter::try_new(output, batch.schema(), Some(properties().build()))
        .map_err(|e| Error::internal(e.to_string()))?;
    writer.write(batch).await.map_err(|e| upload(path, e))?;
    writer.finish().await.map_err(|e| upload(path, e))?;
    let output = writer.into_inner();
    storage.sync(path).await?;
    Ok(Encoded { file_size_bytes: output.bytes, footer_size: output.footer_size() })
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_created_by(format!("gotgan {}", env!("CARGO_PKG_VERSION")))
}

fn has_nan(array: &dyn Array) -> bool {
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
