//! The rows of a table as a transaction sees them: those of its base, without what it deletes, and
//! those it adds. Rows are in data files, or, few at a time, in the catalog itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::Transaction;
use super::model::*;
use crate::error::Result;

impl Transaction {
    /// How many data files a table has.
    pub async fn n_data_files(&self, table: &Table) -> Result<usize> {
        let staged = self.changes.appended.get(&table.id).map_or(0, Vec::len);
        match table.id.is_provisional() {
            true => Ok(staged),
            false => Ok(self.catalog.n_data_files(self.base.id, table.id).await? + staged),
        }
    }

    /// The data files of a table, the staged ones last; none of the others has statistics
    /// ([`Self::column_stats`] gives them).
    pub async fn data_files(&self, table: &Table) -> Result<Vec<Arc<DataFile>>> {
        let mut files = self.files_before_deletes(table).await?;
        if let Some(deleted) = self.changes.deleted.get(&table.id) {
            let rows = |file: &DataFile| file.id.and_then(|id| deleted.files.get(&id));
            files.retain(|file| rows(file) != Some(&DeletedRows::All));
            for file in &mut files {
                if let Some(DeletedRows::At(positions)) = rows(file) {
                    *Arc::make_mut(&mut Arc::make_mut(file).deleted) |= positions.as_ref();
                }
            }
        }
        Ok(files)
    }

    /// The same with the rows that this transaction deletes.
    pub async fn files_before_deletes(&self, table: &Table) -> Result<Vec<Arc<DataFile>>> {
        let mut files = match table.id.is_provisional() {
            true => vec![],
            // How the table is partitioned has a part in what its files tell.
            false if self.changes.altered_tables.contains_key(&table.id) => {
                let files = self.catalog.data_files(self.base.id, table).await?;
                files.into_iter().map(Arc::new).collect()
            }
            false => self.catalog.known_files(self.base.id, table).await?,
        };
        let staged = self.changes.appended.get(&table.id).into_iter().flatten();
        files.extend(staged.cloned().map(Arc::new));
        Ok(files)
    }

    /// The rows of a table that are kept in the catalog, the staged ones last.
    pub async fn inlined_rows(&self, table: &Table) -> Result<Vec<InlinedRows>> {
        let mut all = match table.id.is_provisional() {
            true => vec![],
            false => self.catalog.inlined_rows(self.base.id, table.id).await?,
        };
        if let Some(deleted) = self.inlined_deletes(table.id) {
            let is_left = |row: &InlinedRow| !deleted.contains(row.place.cast_unsigned());
            all.iter_mut().for_each(|group| group.rows.retain(is_left));
        }
        all.extend(self.changes.inlined.get(&table.id).into_iter().flatten().cloned());
        all.retain(|group| !group.rows.is_empty());
        Ok(all)
    }

    /// The newest flush of a table since this transaction's snapshot. A flush moves rows and deletes from
    /// the catalog into files, those of older snapshots as well: who reads both, the one query after the
    /// other, and finds another flush afterwards may have missed some, or have them twice.
    pub(crate) async fn last_flush(&self, table: &Table) -> Result<Option<i64>> {
        match table.id.is_provisional() {
            true => Ok(None),
            false => self.catalog.last_flush(self.base.id, table.id).await,
        }
    }

    /// The row ids of the rows in the catalog that this transaction deletes.
    fn inlined_deletes(&self, table: TableId) -> Option<&RoaringTreemap> {
        match self.changes.deleted.get(&table)?.files.get(&INLINED)? {
            DeletedRows::At(rows) => Some(rows),
            DeletedRows::All => None,
        }
    }

    /// Up to how many rows of a write to a table the catalog is to keep.
    pub fn inlining_limit(&self, table: &Table, options: &BTreeMap<String, String>) -> usize {
        // Its new form has no place in the catalog yet.
        match self.changes.altered_tables.contains_key(&table.id) {
            true => 0,
            false => self.catalog.inlining_limit(table, options),
        }
    }

    /// The options that hold for a table, as they are now.
    pub async fn options_of(&self, table: &Table) -> Result<BTreeMap<String, String>> {
        self.catalog.options_of(table).await
    }

    /// Takes back the staged rows that the catalog was to keep.
    pub fn take_inlined(&mut self, table: &Table) -> Vec<InlinedRows> {
        self.changes.inlined.remove(&table.id).unwrap_or_default()
    }

    /// Stages rows that the catalog is to keep.
    pub fn inline(&mut self, table: &Table, mut rows: InlinedRows) {
        for row in &mut rows.rows {
            row.place = row.row_id.unwrap_or_else(|| self.provisional());
        }
        self.changes.inlined.entry(table.id).or_default().push(rows);
    }

    /// Stages files for a table.
    pub fn append(&mut self, table: &Table, files: Vec<DataFile>) {
        for mut file in files {
            file.id = Some(FileId(self.provisional()));
            self.changes.appended.entry(table.id).or_default().push(file);
        }
    }

    /// Stages the end of rows. A file that was added here and loses all of them leaves no trace.
    pub fn delete(&mut self, table: &Table, rows: BTreeMap<FileId, DeletedRows>) {
        let files = BTreeMap::new();
        let deleted = self.changes.deleted.entry(table.id);
        let deleted =
            &mut deleted.or_insert_with(|| DeletedFrom { table: table.clone(), files }).files;
        let appended = self.changes.appended.entry(table.id).or_default();
        for (file, rows) in rows {
            let rows = match rows {
                DeletedRows::At(places) if file == INLINED => {
                    DeletedRows::At(Arc::new(unstage(&mut self.changes.inlined, table.id, &places)))
                }
                rows => rows,
            };
            let all = match (deleted.remove(&file), rows) {
                (Some(DeletedRows::At(before)), DeletedRows::At(now)) => {
                    DeletedRows::At(Arc::new(before.as_ref() | now.as_ref()))
                }
                (Some(DeletedRows::All), _) => DeletedRows::All,
                (_, rows) => rows,
            };
            match appended.iter().position(|other| other.id == Some(file)) {
                Some(index) if all.is_all_of(&appended[index]) => drop(appended.remove(index)),
                _ => drop(deleted.insert(file, all)),
            }
        }
        self.changes.appended.retain(|_, files| !files.is_empty());
        for deleted in self.changes.deleted.values_mut() {
            deleted.files.retain(|_, rows| !matches!(rows, DeletedRows::At(at) if at.is_empty()));
        }
        self.changes.deleted.retain(|_, deleted| !deleted.files.is_empty());
    }
}

/// Takes back staged rows at `places`; gives the places that no staged row is at.
fn unstage(
    inlined: &mut BTreeMap<TableId, Vec<InlinedRows>>,
    table: TableId,
    places: &RoaringTreemap,
) -> RoaringTreemap {
    let mut left = places.clone();
    for group in inlined.get_mut(&table).into_iter().flatten() {
        group.rows.retain(|row| !left.remove(row.place.cast_unsigned()));
    }
    for groups in inlined.values_mut() {
        groups.retain(|group| !group.rows.is_empty());
    }
    inlined.retain(|_, groups| !groups.is_empty());
    left
}
