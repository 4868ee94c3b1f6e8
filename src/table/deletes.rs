//! Which rows of a data file are not there: positions from delete files, from the catalog, and of
//! rows that are younger than the snapshot.
//!
//! Formats: DuckLake's Parquet delete file (file path, position, and perhaps the snapshot of each
//! delete) and the bare blob of Iceberg's `deletion-vector-v1`
//! (<https://iceberg.apache.org/puffin-spec/#deletion-vector-v1-blob-type>). Both are small beside
//! their data file; positions are kept as a compressed bitmap.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use roaring::{RoaringBitmap, RoaringTreemap};

use super::types::{ROW_ID, ROW_SNAPSHOT_ID, SNAPSHOT_COLUMN};
use crate::catalog::model::{DataFile, DeleteFile, DeleteFormat, SnapshotId};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{self, Storage};

/// The positions of the rows of `file` that are not there at `at`.
pub(crate) async fn missing(
    storage: &Storage,
    file: &DataFile,
    at: SnapshotId,
) -> Result<Arc<RoaringTreemap>> {
    let mut missing = Arc::clone(&file.deleted);
    for delete_file in &file.deletes {
        let entries = entries(storage, delete_file).await?;
        let gone = entries.into_iter().filter(|(_, snapshot)| *snapshot <= at);
        Arc::make_mut(&mut missing).extend(gone.map(|(position, _)| position));
    }
    if file.partial_max.is_some_and(|newest| newest > at) {
        Arc::make_mut(&mut missing).extend(younger_rows(storage, file, at).await?);
    }
    Ok(missing)
}

/// Every position in a delete file with the snapshot that deleted it, in the order of positions.
pub(crate) async fn entries(
    storage: &Storage,
    file: &DeleteFile,
) -> Result<Vec<(u64, SnapshotId)>> {
    match file.format {
        DeleteFormat::Parquet => parquet_entries(storage, file).await,
        DeleteFormat::DeletionVector => {
            let located = storage.locate(&file.path)?;
            let read = located.store.get(&located.path).await;
            let bytes = match read {
                Ok(found) => found.bytes().await,
                Err(error) => Err(error),
            };
            let bytes = bytes.map_err(|e| storage::storage(&file.path, e))?;
            let positions = deletion_vector(&bytes).ok_or_else(|| damaged(&file.path))?;
            Ok(positions.into_iter().map(|position| (position, file.begin)).collect())
        }
    }
}

async fn parquet_entries(storage: &Storage, file: &DeleteFile) -> Result<Vec<(u64, SnapshotId)>> {
    let batches = read(storage, &file.path, file.file_size_bytes).await?;
    let mut entries = Vec::new();
    for batch in batches {
        let positions = integers(&batch, 1, &file.path)?;
        // Only a third column of exactly this name and type is the snapshot of each delete.
        let has_snapshots = batch.num_columns() == 3
            && batch.schema_ref().field(2).name() == SNAPSHOT_COLUMN
            && *batch.column(2).data_type() == DataType::Int64;
        let snapshots = if has_snapshots { Some(integers(&batch, 2, &file.path)?) } else { None };
        for row in 0..batch.num_rows() {
            let snapshot = match snapshots {
                Some(snapshots) if snapshots.is_valid(row) => SnapshotId(snapshots.value(row)),
                _ => file.begin,
            };
            let position = u64::try_from(positions.value(row)).map_err(|_| damaged(&file.path))?;
            entries.push((position, snapshot));
        }
    }
    Ok(entries)
}

/// The positions of rows that a file of several snapshots has from after `at`.
async fn younger_rows(storage: &Storage, file: &DataFile, at: SnapshotId) -> Result<Vec<u64>> {
    let mut snapshots = column(storage, file, ROW_SNAPSHOT_ID).await?;
    let mut younger = Vec::new();
    let mut start = 0;
    while let Some(batch) = snapshots.try_next().await? {
        let rows = (start..).zip(batch.iter());
        let late = rows.filter(|(_, snapshot)| snapshot.is_some_and(|snapshot| snapshot > at.0));
        younger.extend(late.map(|(position, _)| position));
        start += batch.len() as u64;
    }
    Ok(younger)
}

/// The values of a column of integers in the order of the file, a batch at a time.
pub(crate) async fn column(
    storage: &Storage,
    file: &DataFile,
    field_id: i64,
) -> Result<BoxStream<'static, Result<Int64Array>>> {
    let path = file.path.clone();
    let builder = open(storage, &path, file.file_size_bytes).await?;
    let column = column_with_id(builder.schema(), field_id).ok_or_else(|| damaged(&path))?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
    let stream = builder.with_projection(mask).with_batch_size(64 * 1024).build();
    let stream = stream.map_err(|error| storage::storage(&path, error))?;
    let values = move |batch: std::result::Result<RecordBatch, ParquetError>| {
        let batch = batch.map_err(|error| storage::storage(&path, error))?;
        integers(&batch, 0, &path).cloned()
    };
    Ok(stream.map(values).boxed())
}

/// Whether a file keeps the row id of each row, which then does not follow from its position. Row ids
/// in a file that was added as it is are of another table.
pub(crate) async fn keeps_row_ids(storage: &Storage, file: &DataFile) -> Result<bool> {
    if file.name_mapping.is_some() {
        return Ok(false);
    }
    let builder = open(storage, &file.path, file.file_size_bytes).await?;
    Ok(column_with_id(builder.schema(), ROW_ID).is_some())
}

/// A Parquet file with its footer read.
async fn open(
    storage: &Storage,
    path: &str,
    size: u64,
) -> Result<ParquetRecordBatchStreamBuilder<Box<dyn AsyncFileReader>>> {
    let located = storage.locate(path)?;
    let file = PartitionedFile::new(located.path.to_string(), size);
    let file = PartitionedFile {
        object_meta: ObjectMeta { location: located.path, ..file.object_meta },
        ..file
    };
    let reader: Box<dyn AsyncFileReader> = DefaultParquetFileReaderFactory::new(located.store)
        .create_reader(0, file, None, &ExecutionPlanMetricsSet::new())?;
    let opened = ParquetRecordBatchStreamBuilder::new(reader).await;
    opened.map_err(|error| storage::storage(path, error))
}

/// The column of a file that has a field id.
fn column_with_id(schema: &Schema, id: i64) -> Option<usize> {
    let id = id.to_string();
    let found = |field: &FieldRef| field.metadata().get(PARQUET_FIELD_ID_META_KEY) == Some(&id);
    schema.fields().iter().position(found)
}

/// The rows of a Parquet file.
async fn read(storage: &Storage, path: &str, size: u64) -> Result<Vec<RecordBatch>> {
    let failed = |error: ParquetError| storage::storage(path, error);
    let builder = open(storage, path, size).await?;
    let stream = builder.with_batch_size(64 * 1024).build().map_err(failed)?;
    stream.try_collect().await.map_err(failed)
}

fn integers<'a>(batch: &'a RecordBatch, column: usize, path: &str) -> Result<&'a Int64Array> {
    let column = batch.columns().get(column);
    column.and_then(|array| array.as_primitive_opt::<Int64Type>()).ok_or_else(|| damaged(path))
}

fn damaged(path: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("\"{path}\" is not what the catalog says it is"))
        .with_help("restore the file from a backup, or go back to a snapshot without it")
}

/// Length (big-endian), magic, the number of bitmaps (little-endian), each with the upper half of
/// its positions, and a checksum that is not looked at: Parquet pages are trusted likewise.
fn deletion_vector(bytes: &[u8]) -> Option<RoaringTreemap> {
    const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];
    let mut rest = bytes.get(4..bytes.len().checked_sub(4)?)?.strip_prefix(&MAGIC)?;
    let count = u64::from_le_bytes(take(&mut rest)?);
    let mut positions = RoaringTreemap::new();
    for _ in 0..count {
        let upper = u64::from(u32::from_le_bytes(take(&mut rest)?)) << 32;
        let lower = RoaringBitmap::deserialize_from(&mut rest).ok()?;
        positions.extend(lower.into_iter().map(|lower| upper | u64::from(lower)));
    }
    Some(positions)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_at_checked(N)?;
    *rest = tail;
    head.try_into().ok()
}

/// The rows of a file that are there, as Parquet's reader takes it.
pub(crate) fn selection(missing: &RoaringTreemap, n_rows: u64) -> RowSelection {
    let mut selectors = Vec::new();
    let mut next = 0;
    for position in missing.iter().take_while(|position| *position < n_rows) {
        if position > next {
            selectors.push(RowSelector::select((position - next) as usize));
        }
        selectors.push(RowSelector::skip(1));
        next = position + 1;
    }
    if next < n_rows {
        selectors.push(RowSelector::select((n_rows - next) as usize));
    }
    // Neighbouring selectors of one kind are joined.
    selectors.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_missing_is_selected() {
        let missing = RoaringTreemap::from_iter([0, 1, 5, 9, 40]);
        let expected: RowSelection = vec![
            RowSelector::skip(2),
            RowSelector::select(3),
            RowSelector::skip(1),
            RowSelector::select(3),
            RowSelector::skip(1),
        ]
        .into();
        assert_eq!(selection(&missing, 10), expected);
    }

    #[test]
    fn deletion_vectors_are_read_and_damaged_ones_are_not() {
        let mut bytes = vec![0, 0, 0, 0, 0xD1, 0xD3, 0x39, 0x64];
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        RoaringBitmap::from_iter([3, 7]).serialize_into(&mut bytes).unwrap();
        bytes.extend([0; 4]);
        let positions: Vec<u64> = deletion_vector(&bytes).unwrap().into_iter().collect();
        assert_eq!(positions, [(1 << 32) + 3, (1 << 32) + 7]);
        for end in 0..bytes.len() {
            let _ = deletion_vector(&bytes[..end]);
        }
        bytes[5] = 0;
        assert_eq!(deletion_vector(&bytes), None);
    }
}
