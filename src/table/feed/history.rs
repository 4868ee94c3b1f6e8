//! Which rows of a data file came and went with which snapshot, and which of those that came are what
//! others have become.
//!
//! A file tells the snapshot of each row, or all are of its own. What went is told by delete files,
//! by the catalog, and by the end of the file. A row may be noted as deleted more than once: by a
//! delete file and by the one that took its place, or by that and the end of its file. The first time
//! counts. A row that came and went with one snapshot was never seen, and is no change.
//!
//! All of it is kept as compressed bitmaps: of positions, and of row ids. Only where a snapshot has
//! both deletes and inserts the row ids are looked at: if one of each is the same, it was an update.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use arrow::array::Array;
use futures::TryStreamExt;
use roaring::RoaringTreemap;

use crate::catalog::FileHistory;
use crate::catalog::model::{DataFile, SnapshotId};
use crate::error::Result;
use crate::storage::Storage;
use crate::table::deletes;
use crate::table::types::{ROW_ID, ROW_SNAPSHOT_ID};

/// Positions in a file, or row ids, by the snapshot that something happened to them with.
pub(super) type BySnapshot = BTreeMap<SnapshotId, RoaringTreemap>;

/// The snapshots whose changes are told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) range: RangeInclusive<SnapshotId>,
    /// Those that moved rows and changed none.
    pub(super) moves: BTreeSet<SnapshotId>,
    pub(super) insertions: bool,
    pub(super) deletions: bool,
}

impl Told {
    pub(super) fn tells(&self, snapshot: SnapshotId) -> bool {
        self.range.contains(&snapshot) && !self.moves.contains(&snapshot)
    }
}

/// The rows of a file that came, and those that went, with snapshots that are told.
pub(super) struct FileChanges {
    pub(super) file: DataFile,
    pub(super) came: BySnapshot,
    pub(super) gone: BySnapshot,
}

impl FileChanges {
    pub(super) async fn of(history: FileHistory, told: &Told, storage: &Storage) -> Result<Self> {
        let began = history.file.begin.unwrap_or(*told.range.start());
        let newest = history.file.partial_max.unwrap_or(began);
        let may_have_come = newest >= *told.range.start();
        let mut gone = BySnapshot::new();
        if told.deletions || may_have_come {
            gone = self::gone(&history, told, newest, storage).await?;
        }
        let file = history.file;
        let mut came = match (file.partial_max, may_have_come) {
            (Some(_), true) => rows_by_snapshot(&file, began, storage).await?,
            (None, true) => BySnapshot::from([(began, all_of(&file))]),
            (_, false) => BySnapshot::new(),
        };
        came.retain(|snapshot, _| told.tells(*snapshot));
        for (snapshot, came) in &mut came {
            if let Some(gone) = gone.get_mut(snapshot) {
                let unseen = &*came & &*gone;
                *came -= &unseen;
                *gone -= &unseen;
            }
        }
        let is_left = |rows: &mut BySnapshot, is_told| {
            rows.retain(|snapshot, rows| is_told && told.tells(*snapshot) && !rows.is_empty());
        };
        is_left(&mut came, told.insertions);
        is_left(&mut gone, told.deletions);
        Ok(Self { file, came, gone })
    }
}

/// The row ids of the rows of a file at `positions`.
pub(super) async fn row_ids(
    file: DataFile,
    positions: BySnapshot,
    storage: &Storage,
) -> Result<BySnapshot> {
    let first = file.row_id_start.unwrap_or_default();
    let counted = |at: u64| at.wrapping_add(first.cast_unsigned());
    if !deletes::keeps_row_ids(storage, &file).await? {
        let ids = |rows: RoaringTreemap| rows.into_iter().map(counted).collect();
        return Ok(positions.into_iter().map(|(snapshot, rows)| (snapshot, ids(rows))).collect());
    }
    let mut ids = BySnapshot::new();
    let mut column = deletes::column(storage, &file, ROW_ID).await?;
    let mut start = 0;
    while let Some(own) = column.try_next().await? {
        let end = start + own.len() as u64;
        for (snapshot, positions) in &positions {
            let ids = ids.entry(*snapshot).or_default();
            for at in within(positions, start, end) {
                let row = (at - start) as usize;
                let is_own = own.is_valid(row);
                ids.insert(if is_own { own.value(row).cast_unsigned() } else { counted(at) });
            }
        }
        start = end;
    }
    Ok(ids)
}

/// All positions of a file.
pub(super) fn all_of(file: &DataFile) -> RoaringTreemap {
    let mut all = RoaringTreemap::new();
    all.insert_range(0..file.record_count);
    all
}

/// Every snapshot that deleted rows of a file, each row under the first one that did. If only what
/// came is told, deletes after the `newest` row are of no interest.
async fn gone(
    history: &FileHistory,
    told: &Told,
    newest: SnapshotId,
    storage: &Storage,
) -> Result<BySnapshot> {
    let is_of_interest = |snapshot: SnapshotId| told.deletions || snapshot <= newest;
    let mut gone = BySnapshot::new();
    for delete_file in history.file.deletes.iter().filter(|file| is_of_interest(file.begin)) {
        for (position, snapshot) in deletes::entries(storage, delete_file).await? {
            gone.entry(snapshot).or_default().insert(position);
        }
    }
    for (position, snapshot) in &history.deleted {
        gone.entry(*snapshot).or_default().insert(*position);
    }
    if let Some(end) = history.end {
        gone.entry(end).or_default().insert_range(0..history.file.record_count);
    }
    let mut before = RoaringTreemap::new();
    for positions in gone.values_mut() {
        *positions -= &before;
        before |= &*positions;
    }
    Ok(gone)
}

/// The rows of a file that tells the snapshot of each.
async fn rows_by_snapshot(
    file: &DataFile,
    began: SnapshotId,
    storage: &Storage,
) -> Result<BySnapshot> {
    let mut rows = BySnapshot::new();
    let mut column = deletes::column(storage, file, ROW_SNAPSHOT_ID).await?;
    let mut position = 0;
    while let Some(snapshots) = column.try_next().await? {
        for snapshot in &snapshots {
            let snapshot = snapshot.map_or(began, SnapshotId);
            rows.entry(snapshot).or_default().insert(position);
            position += 1;
        }
    }
    Ok(rows)
}

/// Those of `positions` from `start` to before `end`.
fn within(positions: &RoaringTreemap, start: u64, end: u64) -> impl Iterator<Item = u64> + '_ {
    let mut within = positions.iter();
    within.advance_to(start);
    within.take_while(move |position| *position < end)
}

/// The row ids that are in both, by snapshot.
pub(super) fn in_both(came: &BySnapshot, gone: &BySnapshot) -> BySnapshot {
    let both = came.iter().filter_map(|(snapshot, came)| {
        let both = came & gone.get(snapshot)?;
        (!both.is_empty()).then_some((*snapshot, both))
    });
    both.collect()
}
