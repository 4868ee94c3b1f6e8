//! After a commit that left rows to the catalog: looking, now and then, whether they should go into
//! files. See [`crate::maintain`] for when.
//!
//! The commit is done, so nothing here is an error of its statement. What fails is reported to
//! [`tracing`], and another commit tries again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Progress;
use crate::catalog::model::{Changes, DeletedRows, INLINED, SnapshotId, TableId};
use crate::maintain::{Upkeep, looks};
use crate::warehouse::Warehouse;

/// The tables of which a commit leaves more to the catalog, with about how many rows. Rows of a new
/// table wait for the next commit.
pub(super) fn left_to_catalog(changes: &Changes) -> BTreeMap<TableId, u64> {
    let mut left = BTreeMap::new();
    for (table, groups) in &changes.inlined {
        *left.entry(*table).or_default() +=
            groups.iter().map(|group| group.rows.len() as u64).sum::<u64>();
    }
    for (table, deleted) in &changes.deleted {
        for (file, rows) in &deleted.files {
            // Positions of files; those of many rows become files of their own.
            if let (DeletedRows::At(rows), true) = (rows, *file != INLINED) {
                *left.entry(*table).or_default() += rows.len();
            }
        }
    }
    left.retain(|table, _| !table.is_provisional());
    left
}

/// Moves rows of these tables into files if that is due and `snapshot` is one of those that look.
pub(super) async fn flush_if_due(
    warehouse: &Warehouse,
    snapshot: SnapshotId,
    left: BTreeMap<TableId, u64>,
) {
    for (table, _) in left.into_iter().filter(|(_, rows)| looks(snapshot, *rows)) {
        let upkeep = Upkeep {
            catalog: warehouse.catalog().clone(),
            storage: Arc::clone(warehouse.storage()),
            state: warehouse.template().as_ref().clone(),
            progress: Progress::default(),
        };
        match upkeep.flush_if_due(table).await {
            Ok(None) => {}
            Ok(Some(flushed)) => {
                tracing::debug!(table = flushed.table, rows = flushed.rows, "rows went into files");
            }
            Err(error) if error.is_retryable() => {
                tracing::debug!(%table, %error, "rows stay in the catalog for now");
            }
            Err(error) => tracing::warn!(%table, %error, "rows stay in the catalog for now"),
        }
    }
}
