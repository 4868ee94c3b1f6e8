//! `snapshots()`, the history of the warehouse, and `table_info()`, what its tables take, as tables in
//! DuckLake's columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, ListBuilder, MapBuilder, MapFieldNames, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};

use crate::catalog::Transaction;
use crate::catalog::model::{SnapshotRecord, TableSize};
use crate::error::Result;

/// Every snapshot up to the transaction's, oldest first.
pub(crate) async fn snapshots(transaction: &Transaction) -> Result<Arc<dyn TableProvider>> {
    let batch = listing(&transaction.history().await?)?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// The tables with the number and the size of their files, as of the transaction's snapshot.
pub(crate) async fn table_info(transaction: &Transaction) -> Result<Arc<dyn TableProvider>> {
    let sizes = transaction.table_sizes().await?;
    let number = |of: fn(&TableSize) -> i64| -> ArrayRef {
        Arc::new(sizes.iter().map(|size| Some(of(size))).collect::<Int64Array>())
    };
    let text = |of: fn(&TableSize) -> String| -> ArrayRef {
        Arc::new(sizes.iter().map(|size| Some(of(size))).collect::<StringArray>())
    };
    let columns = [
        ("table_name", text(|size| size.name.clone())),
        ("schema_id", number(|size| size.schema_id.0)),
        ("table_id", number(|size| size.id.0)),
        ("table_uuid", text(|size| size.uuid.to_string())),
        ("file_count", number(|size| size.file_count.cast_signed())),
        ("file_size_bytes", number(|size| size.file_size_bytes.cast_signed())),
        ("delete_file_count", number(|size| size.delete_file_count.cast_signed())),
        ("delete_file_size_bytes", number(|size| size.delete_file_size_bytes.cast_signed())),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// Snapshots as rows.
pub(super) fn listing(records: &[SnapshotRecord]) -> Result<RecordBatch> {
    let number = |of: fn(&SnapshotRecord) -> i64| -> ArrayRef {
        Arc::new(records.iter().map(|record| Some(of(record))).collect::<Int64Array>())
    };
    let text = |of: fn(&SnapshotRecord) -> Option<&String>| -> ArrayRef {
        Arc::new(records.iter().map(|record| of(record)).collect::<StringArray>())
    };
    let times = records.iter().map(|record| Some(record.snapshot.time.timestamp_micros()));
    let times = times.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("snapshot_id", number(|r| r.snapshot.id.0), false),
        ("snapshot_time", Arc::new(times) as ArrayRef, false),
        ("schema_version", number(|r| r.snapshot.schema_version), false),
        ("changes", changes(records)?, true),
        ("author", text(|r| r.author.as_ref()), true),
        ("commit_message", text(|r| r.commit_message.as_ref()), true),
        ("commit_extra_info", text(|r| r.commit_extra_info.as_ref()), true),
    ])?)
}

/// The change lists as maps from a kind of change to the objects it happened to.
fn changes(records: &[SnapshotRecord]) -> Result<ArrayRef> {
    let names =
        MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let element = Field::new("element", DataType::Utf8, true);
    let lists = ListBuilder::new(StringBuilder::new()).with_field(element);
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), lists);
    for record in records {
        for (kind, objects) in record.changes_by_kind() {
            map.keys().append_value(kind);
            map.values().append_value(objects.into_iter().map(Some));
        }
        map.append(true)?;
    }
    Ok(Arc::new(map.finish()))
}
