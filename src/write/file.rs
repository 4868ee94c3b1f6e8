//! One Parquet file at a time: encode, upload, sync, describe.
//!
//! Layout: row groups of up to [`ROW_GROUP_ROWS`] rows and about [`ROW_GROUP_BYTES`], `lz4_raw`
//! (as fast to scan as uncompressed at about half the size), statistics per page. A file that
//! reaches the target size is finished and the next one begun.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::check::Checks;
use super::staged::Staged;
use super::stats;
use crate::catalog::model::{DataFile, FileTraits, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Progress;
use crate::storage::{self, Storage};
use crate::table::convert::{Direction, convert};
use crate::table::types::file_schema;

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
        Ok(Self { table, storage, staged, progress, file_schema, checks, target_file_size })
    }

    /// Refuses rows that break a rule of the table.
    pub(crate) fn check(&self, batch: &RecordBatch) -> Result<()> {
        self.checks.verify(batch)
    }

    /// Writes `head` and the rest of `stream`, rolling over to new files by size.
    pub(crate) async fn write_stream(
        &self,
        head: Vec<RecordBatch>,
        mut stream: SendableRecordBatchStream,
    ) -> Result<Vec<DataFile>> {
        let mut files = Vec::new();
        let mut writer = self.begin()?;
        for batch in head {
            writer.write(self, &batch).await?;
        }
        while let Some(batch) = stream.try_next().await? {
            self.check(&batch)?;
            if writer.size() >= self.target_file_size {
                files.push(writer.finish(self).await?);
                writer = self.begin()?;
            }
            writer.write(self, &batch).await?;
        }
        files.push(writer.finish(self).await?);
        Ok(files)
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

    fn begin(&self) -> Result<FileWriter> {
        let path = format!("{}ducklake-{}.parquet", self.table.directory, Uuid::now_v7());
        self.staged.register(&path);
        let located = self.storage.locate(&path)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_created_by(format!("gotgan {}", env!("CARGO_PKG_VERSION")))
            .build();
        let output = Counted {
            inner: BufWriter::new(located.store, located.path),
            bytes: 0,
            tail: Bytes::new(),
        };
        let schema = Arc::clone(&self.file_schema);
        let writer = AsyncArrowWriter::try_new(output, schema, Some(properties))
            .map_err(|e| Error::internal(e.to_string()))?;
        Ok(FileWriter { writer, path, nan: vec![false; self.table.columns.len()], reported: 0 })
    }

    /// The batch in the file's form.
    fn to_file(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.table.columns.iter().zip(batch.columns());
        let arrays = columns
            .map(|(column, array)| convert(array, column, Direction::ToFile))
            .collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.file_schema), arrays)
            .map_err(|e| Error::internal(format!("a batch does not fit its table: {e}")))
    }
}

/// A file that is being written.
struct FileWriter {
    writer: AsyncArrowWriter<Counted>,
    path: String,
    /// By top-level column: whether a NaN was written.
    nan: Vec<bool>,
    /// Bytes that progress knows of.
    reported: u64,
}

impl FileWriter {
    async fn write(&mut self, target: &Target, batch: &RecordBatch) -> Result<()> {
        for (nan, array) in self.nan.iter_mut().zip(batch.columns()) {
            *nan = *nan || has_nan(array);
        }
        let batch = target.to_file(batch)?;
        self.writer.write(&batch).await.map_err(|e| upload(&self.path, e))?;
        let size = self.size();
        target.progress.wrote(batch.num_rows() as u64, size - self.reported);
        self.reported = size;
        Ok(())
    }

    fn size(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    async fn finish(mut self, target: &Target) -> Result<DataFile> {
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
            column_stats: stats::collect(&metadata, &target.table.columns, &self.nan),
            partition: None,
            traits: FileTraits::default(),
        })
    }
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
