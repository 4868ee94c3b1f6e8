//! Rows of the catalog in the feed.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::history::{BySnapshot, Told};
use super::{FeedKind, Side};
use crate::catalog::model::{
    Column, InlinedHistory, InlinedRow, InlinedRows, InlinedVersion, SnapshotId,
};
use crate::error::{Error, ErrorKind, Result};
use crate::table::inlined;

/// The rows that came, or went, with snapshots that are told, each with that snapshot.
fn told_rows<'a>(
    history: &'a InlinedHistory,
    side: Side,
    told: &'a Told,
) -> impl Iterator<Item = (SnapshotId, &'a InlinedVersion)> {
    history.rows.iter().filter_map(move |row| {
        let snapshot = match side {
            Side::Came => Some(row.begin).filter(|_| told.insertions),
            Side::Gone => row.end.filter(|_| told.deletions),
        };
        // What came and went at once was never seen.
        let snapshot = snapshot.filter(|_| row.end != Some(row.begin))?;
        told.tells(snapshot).then_some((snapshot, row))
    })
}

/// The row ids of rows that came, or went, by snapshot.
pub(super) fn row_ids(histories: &[InlinedHistory], side: Side, told: &Told) -> BySnapshot {
    let mut ids = BySnapshot::new();
    for (snapshot, row) in histories.iter().flat_map(|history| told_rows(history, side, told)) {
        ids.entry(snapshot).or_default().insert(row.row_id.cast_unsigned());
    }
    ids
}

/// The rows of one form that came, or went, in the feed's form.
pub(super) fn batch(
    history: &InlinedHistory,
    side: Side,
    told: &Told,
    updates: &BySnapshot,
    (kind, columns, schema): (FeedKind, &[Column], &SchemaRef),
) -> Result<RecordBatch> {
    let rows: Vec<(SnapshotId, &InlinedVersion)> = told_rows(history, side, told).collect();
    let ids = rows.iter().map(|(_, row)| Some(row.row_id));
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(snapshot, _)| Some(snapshot.0)).collect::<Int64Array>()),
        Arc::new(ids.collect::<Int64Array>()),
    ];
    if kind == FeedKind::Changes {
        let (plain, updated) = side.names();
        let is_update = |(snapshot, row): &(SnapshotId, &InlinedVersion)| {
            let ids = updates.get(snapshot);
            ids.is_some_and(|ids| ids.contains(row.row_id.cast_unsigned()))
        };
        let names = rows.iter().map(|row| Some(if is_update(row) { updated } else { plain }));
        arrays.push(Arc::new(names.collect::<StringViewArray>()));
    }
    let row = |(_, row): (_, &InlinedVersion)| InlinedRow {
        row_id: Some(row.row_id),
        place: row.row_id,
        values: row.values.clone(),
    };
    let texts = InlinedRows {
        columns: history.columns.clone(),
        rows: rows.into_iter().map(row).collect(),
        column_stats: Default::default(),
    };
    for column in columns {
        arrays.push(inlined::array(&texts, column)?);
    }
    RecordBatch::try_new(Arc::clone(schema), arrays)
        .map_err(|e| Error::new(ErrorKind::Corrupt, format!("rows of the catalog: {e}")))
}
