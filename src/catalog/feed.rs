//! What the catalog knows of the changes of a table between two snapshots, its change feed: the files
//! that rows came with or went from, the rows that it keeps itself, and which snapshots changed
//! nothing because they only moved rows.
//!
//! Every row tells the snapshot it came with and the one it went with, so the changes of a snapshot
//! are all there as long as it and the one before it are: what came with a snapshot it shows, what
//! went with it the one before shows. Snapshots in between that have expired are therefore an error,
//! not a gap. Which rows of a file it was is read from files: [`crate::table`] does that.

use std::collections::{BTreeMap, BTreeSet};

use super::Transaction;
use super::changes::{self, Target};
use super::files::{DELETE_FILE, FILE, data_file, delete_file};
use super::model::*;
use crate::error::{Error, Result};

/// A data file with all that ever happened to its rows, up to a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct FileHistory {
    /// The file, with every delete file there is of it, be it replaced or not.
    pub(crate) file: DataFile,
    /// The snapshot that ended it.
    pub(crate) end: Option<SnapshotId>,
    /// Positions that the catalog itself notes as deleted, with the snapshot of each.
    pub(crate) deleted: Vec<(u64, SnapshotId)>,
}

/// The name mapping among the columns of [`FILE`], and the column after them.
const MAPPING: usize = 8;
const END: usize = 11;

/// Snapshots that changed a table without changing a row, as they are listed.
const MOVES: [&str; 2] = ["rewrite_delete", "compacted_table"];

/// The feed of changes ends with the snapshot that the transaction is pinned to. What is staged in it
/// has no snapshot yet, and so is no part of it.
impl Transaction {
    /// The data files that rows of a table came with, or went from, since `first`.
    pub(crate) async fn file_histories(
        &self,
        table: &Table,
        first: SnapshotId,
    ) -> Result<Vec<FileHistory>> {
        let (catalog, last) = (&self.catalog, self.base.id);
        let mut deleted = catalog.inlined_deletes(table.id, last).await?;
        let is_recent = |(_, snapshot): &(u64, SnapshotId)| *snapshot >= first;
        let recent = deleted.iter().filter(|(_, entries)| entries.iter().any(is_recent));
        let recent: Vec<String> = recent.map(|(file, _)| file.to_string()).collect();
        let or_recent = match recent.is_empty() {
            true => String::new(),
            false => format!(" OR data_file_id IN ({})", recent.join(", ")),
        };
        // A flush of DuckDB's does not note up to when the rows of its file were deleted.
        let sql = format!(
            "SELECT {FILE}, end_snapshot FROM ducklake_data_file \
             WHERE table_id = $1 AND begin_snapshot <= $3 AND (begin_snapshot >= $2 \
             OR partial_max >= $2 OR end_snapshot BETWEEN $2 AND $3 \
             OR data_file_id IN (SELECT d.data_file_id FROM ducklake_delete_file d \
             WHERE d.table_id = $1 AND d.begin_snapshot <= $3 \
             AND (coalesce(d.partial_max, d.begin_snapshot) >= $2 \
             OR (d.partial_max IS NULL AND ducklake_data_file.partial_max IS NOT NULL))){or_recent}) \
             ORDER BY data_file_id"
        );
        let values = [table.id.0.into(), first.into(), last.into()];
        let (mut files, mut ends) = (BTreeMap::new(), BTreeMap::new());
        let mut mapped = Vec::new();
        for row in &catalog.backend().query(&sql, &values).await? {
            let id = row.int(0)?;
            let end = row.opt_int(END)?.map(SnapshotId);
            ends.extend(end.filter(|end| *end <= last).map(|end| (id, end)));
            files.insert(id, data_file(table, row)?);
            mapped.extend(row.opt_int(MAPPING)?.map(|mapping| (Ok(id), mapping)));
        }
        if !files.is_empty() {
            let sql = format!(
                "SELECT {DELETE_FILE} FROM ducklake_delete_file WHERE table_id = $1 \
                 AND begin_snapshot <= $2 ORDER BY delete_file_id"
            );
            for row in &catalog.backend().query(&sql, &[table.id.0.into(), last.into()]).await? {
                if let Some(file) = files.get_mut(&row.int(0)?) {
                    file.deletes.push(delete_file(table, row)?);
                }
            }
            catalog.attach_mappings(table, mapped, &mut files).await?;
        }
        // Whoever expires snapshots meanwhile takes their files along.
        self.changes_since(table, first).await?;
        let history = |(id, file)| FileHistory {
            file,
            end: ends.get(&id).copied(),
            deleted: deleted.remove(&FileId(id)).unwrap_or_default(),
        };
        Ok(files.into_iter().map(history).collect())
    }

    /// The rows of a table that the catalog keeps and that came or went since `first`.
    pub(crate) async fn inlined_changes(
        &self,
        table: &Table,
        first: SnapshotId,
    ) -> Result<Vec<InlinedHistory>> {
        self.catalog.inlined_history_since(table.id, first, self.base.id).await
    }

    /// The snapshots since `first` that moved rows of a table, and changed none.
    pub(crate) async fn moves(
        &self,
        table: &Table,
        first: SnapshotId,
    ) -> Result<BTreeSet<SnapshotId>> {
        let sql = "SELECT snapshot_id, changes_made FROM ducklake_snapshot_changes \
                   WHERE snapshot_id BETWEEN $1 AND $2";
        let values = [first.into(), self.base.id.into()];
        let mut moves = BTreeSet::new();
        for row in self.catalog.backend().query(sql, &values).await? {
            let made = row.opt_text(1).as_deref().and_then(changes::parse).unwrap_or_default();
            let is_move = made.iter().any(|change| {
                MOVES.contains(&change.kind.as_str()) && change.target == Target::Id(table.id.0)
            });
            if is_move {
                moves.insert(SnapshotId(row.int(0)?));
            }
        }
        Ok(moves)
    }

    /// The first snapshot since `first` that the table is in. An error, if any change since then is
    /// not there any more.
    pub(crate) async fn changes_since(
        &self,
        table: &Table,
        first: SnapshotId,
    ) -> Result<SnapshotId> {
        let (catalog, last) = (&self.catalog, self.base.id);
        let created = "SELECT min(begin_snapshot) FROM ducklake_table WHERE table_id = $1";
        let created = catalog.backend().query(created, &[table.id.0.into()]).await?;
        let created = created.first().map_or(Ok(0), |row| row.int(0))?;
        let first = first.max(SnapshotId(created));
        // Nothing went with its first snapshot.
        let oldest = (first.0 - 1).max(created);
        let sql = "SELECT snapshot_id FROM ducklake_snapshot WHERE snapshot_id BETWEEN $1 AND $2 \
                   ORDER BY snapshot_id DESC";
        let mut next = last.0;
        for row in catalog.backend().query(sql, &[oldest.into(), last.into()]).await? {
            if row.int(0)? != next {
                break;
            }
            next -= 1;
        }
        if next < oldest {
            return Ok(first);
        }
        let error = Error::not_found(format!(
            "the changes of table \"{}\" since snapshot {first} are not all there any more: \
             snapshot {next} has expired",
            table.name
        ));
        Err(match next + 2 <= last.0 {
            true => error.with_help(format!("the oldest to begin with is snapshot {}", next + 2)),
            false => error.with_help(format!("none up to snapshot {last} are; ask for later ones")),
        })
    }

    /// The first snapshot that is not older than `time`; the one after the pinned one, if all are.
    pub(crate) async fn first_since(
        &self,
        time: chrono::DateTime<chrono::Utc>,
    ) -> Result<SnapshotId> {
        let newest = self.base.id;
        let before = time - chrono::TimeDelta::microseconds(1);
        let older = self.catalog.snapshot_at(before, newest).await?;
        let older = older.map_or(SnapshotId(-1), |older| older.id);
        let sql = "SELECT min(snapshot_id) FROM ducklake_snapshot WHERE snapshot_id > $1";
        let rows = self.catalog.backend().query(sql, &[older.into()]).await?;
        let first = rows.first().map(|row| row.opt_int(0)).transpose()?.flatten();
        Ok(SnapshotId(first.unwrap_or(newest.0 + 1).min(newest.0 + 1)))
    }
}
