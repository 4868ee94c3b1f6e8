//! Deleted rows as files: what becomes of a transaction's deletes when it commits.
//!
//! Deletes are positions in memory until then, as compressed bitmaps. A file that loses all its rows
//! ends; few positions go into the catalog; else the file gets a delete file, which takes over what an earlier one says and names the
//! snapshot of every delete. So it has to know the id of the commit: if another one takes it, the
//! few small files are written again, the data files never.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use roaring::RoaringTreemap;
use uuid::Uuid;

use super::file::{Encoded, encode};
use super::staged::Staged;
use crate::catalog::Transaction;
use crate::catalog::model::{
    DataFile, DeletedRows, Deletion, DeletionKind, INLINED, NewDeleteFile, SnapshotId, Table,
    TableId,
};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;
use crate::table::deletes;
use crate::table::types::{ROW_SNAPSHOT_ID, SNAPSHOT_COLUMN, with_field_id};

/// Field ids of a delete file's columns.
const FILE_PATH_ID: i64 = 2_147_483_646;
const POSITION_ID: i64 = 2_147_483_645;

/// Everything that `transaction` deletes, ready for a commit with the id `new`, and whether a file
/// among it depends on that id.
pub(crate) async fn prepare(
    transaction: &Transaction,
    new: SnapshotId,
    storage: &Storage,
    staged: &Staged,
) -> Result<(BTreeMap<TableId, Vec<Deletion>>, bool)> {
    let (mut all, mut depends) = (BTreeMap::new(), false);
    let with = (storage, staged);
    for (id, deleted) in &transaction.changes().deleted {
        let files = transaction.files_before_deletes(&deleted.table).await?;
        let options = transaction.options_of(&deleted.table).await?;
        let limit = transaction.inlining_limit(&deleted.table, &options);
        let mut deletions = Vec::with_capacity(deleted.files.len());
        for file in files {
            if let Some(rows) = file.id.and_then(|id| deleted.files.get(&id)) {
                let snapshots = (transaction.base().id, new);
                let how = deletion(&deleted.table, &file, rows, (snapshots, limit), with).await?;
                let names_snapshots = |file: &NewDeleteFile| file.snapshots.is_some();
                depends |= matches!(&how, DeletionKind::DeleteFile(file) if names_snapshots(file));
                let id = file.id.ok_or_else(|| Error::internal("a file without an id"))?;
                deletions.push(Deletion { file: id, delete_files: file.deletes.clone(), how });
            }
        }
        let expected = deleted.files.keys().filter(|id| **id != INLINED).count();
        if deletions.len() != expected {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "another transaction was first: it merged files of table \"{}\"",
                    deleted.table.name
                ),
            )
            .with_help("nothing was changed; run the transaction again"));
        }
        if !deletions.is_empty() {
            all.insert(*id, deletions);
        }
    }
    Ok((all, depends))
}

async fn deletion(
    table: &Table,
    file: &DataFile,
    rows: &DeletedRows,
    ((base, new), limit): ((SnapshotId, SnapshotId), usize),
    (storage, staged): (&Storage, &Staged),
) -> Result<DeletionKind> {
    let positions = match rows {
        // Change feeds do not look for deletes in the catalog of a file that has ended: one with
        // such deletes stays, as DuckDB leaves it.
        DeletedRows::All if file.deleted.is_empty() => return Ok(DeletionKind::WholeFile),
        DeletedRows::All => {
            let mut left = RoaringTreemap::new();
            left.insert_range(0..file.record_count);
            left -= deletes::missing(storage, file, base).await?.as_ref();
            Arc::new(left)
        }
        DeletedRows::At(positions) => Arc::clone(positions),
    };
    let in_files: u64 = file.deletes.iter().map(|file| file.delete_count).sum();
    if file.deleted.is_empty() && positions.len() + in_files >= file.record_count {
        return Ok(DeletionKind::WholeFile);
    }
    if positions.len() <= limit as u64 {
        return Ok(DeletionKind::Inlined(positions));
    }
    let mut entries: Vec<(u64, SnapshotId)> =
        positions.iter().map(|position| (position, new)).collect();
    for earlier in &file.deletes {
        entries.extend(deletes::entries(storage, earlier).await?);
    }
    entries.sort_unstable();
    entries.dedup_by_key(|(position, _)| *position);
    // The first delete file of a data file has but one snapshot: that of its own row.
    let with_snapshots = !file.deletes.is_empty();
    let written = delete_file(table, &file.path, &entries, with_snapshots, (storage, staged));
    Ok(DeletionKind::DeleteFile(written.await?))
}

/// Writes the positions of deleted rows of the data file at `path`, in their order.
pub(crate) async fn delete_file(
    table: &Table,
    path: &str,
    entries: &[(u64, SnapshotId)],
    with_snapshots: bool,
    (storage, staged): (&Storage, &Staged),
) -> Result<NewDeleteFile> {
    let batch = batch(path, entries, with_snapshots)?;
    let path = format!("{}ducklake-{}-delete.parquet", table.directory, Uuid::now_v7());
    staged.register(&path);
    let Encoded { file_size_bytes, footer_size } = encode(storage, &path, &batch).await?;
    let named = || entries.iter().map(|(_, snapshot)| *snapshot);
    let snapshots = if with_snapshots { named().min().zip(named().max()) } else { None };
    let delete_count = entries.len() as u64;
    Ok(NewDeleteFile { path, delete_count, file_size_bytes, footer_size, snapshots })
}

/// The rows of a delete file; with a third column that names the snapshot of each.
fn batch(file: &str, entries: &[(u64, SnapshotId)], with_snapshots: bool) -> Result<RecordBatch> {
    let field = |name: &str, data_type, id| with_field_id(Field::new(name, data_type, true), id);
    let mut fields = vec![
        field("file_path", DataType::Utf8, FILE_PATH_ID),
        field("pos", DataType::Int64, POSITION_ID),
    ];
    let paths = StringArray::from_iter_values(std::iter::repeat_n(file, entries.len()));
    let positions = Int64Array::from_iter_values(entries.iter().map(|(p, _)| p.cast_signed()));
    let mut columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(paths), Arc::new(positions)];
    if with_snapshots {
        fields.push(field(SNAPSHOT_COLUMN, DataType::Int64, ROW_SNAPSHOT_ID));
        let snapshots = entries.iter().map(|(_, snapshot)| snapshot.0);
        columns.push(Arc::new(Int64Array::from_iter_values(snapshots)));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::internal(e.to_string()))
}
