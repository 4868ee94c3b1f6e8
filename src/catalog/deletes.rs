//! The rows of a commit that end data files, or some of their rows.
//!
//! A data file has at most one delete file. A later delete replaces it by one that names the
//! snapshot of every delete; the old row goes and its file is scheduled for deletion, as DuckLake's
//! own writer does, because its change feed depends on it. Whether the replaced delete file is still
//! the current one is checked here, under the write lock: the change lists of snapshots alone miss
//! two deletes of one file that already had deletes.

use std::collections::{BTreeMap, BTreeSet};

use super::Catalog;
use super::backend::Value;
use super::changes::Change;
use super::commit::{Writer, relative};
use super::model::*;
use crate::error::{Error, ErrorKind, Result};

/// Files looked up in one statement.
const CHUNK: usize = 500;

impl Writer<'_> {
    /// Ends rows and files of `table`.
    pub(super) async fn delete(
        &mut self,
        catalog: &Catalog,
        table: TableId,
        deletions: &[Deletion],
    ) -> Result<()> {
        let id = self.table_id(table);
        self.check_current(id, deletions).await?;
        let directory = self.layout(catalog, table, id).await?.0;
        let (mut delete_files, mut inlined) = (Vec::new(), BTreeMap::new());
        for deletion in deletions {
            let file = self.file_id(deletion.file);
            match &deletion.how {
                DeletionKind::WholeFile => {
                    self.end("ducklake_data_file", "data_file_id", file).await?;
                }
                DeletionKind::Inlined(positions) => {
                    inlined.insert(file, positions.as_ref());
                }
                DeletionKind::DeleteFile(new) => {
                    delete_files.push(self.delete_file_row(new, file, id, &directory));
                    for old in &deletion.delete_files {
                        let sql = "DELETE FROM ducklake_delete_file WHERE delete_file_id = $1";
                        self.transaction.execute(sql, &[old.id.0.into()]).await?;
                        self.schedule(catalog, old.id, &old.path).await?;
                    }
                }
            }
        }
        if deletions.len() > inlined.len() {
            self.transaction.insert("ducklake_delete_file", delete_files).await?;
            self.listed.push(Change::id("deleted_from_table", id.0));
        }
        if !inlined.is_empty() {
            self.insert_inlined_deletes(id, &inlined).await?;
            self.list_inlined_delete(id);
        }
        Ok(())
    }

    /// Notes once that rows were deleted in the catalog.
    pub(super) fn list_inlined_delete(&mut self, table: TableId) {
        let change = Change::id("inlined_delete", table.0);
        if !self.listed.contains(&change) {
            self.listed.push(change);
        }
    }

    pub(super) fn delete_file_row(
        &mut self,
        new: &NewDeleteFile,
        file: i64,
        table: TableId,
        directory: &str,
    ) -> Vec<Value> {
        let (path, is_relative) = relative(&new.path, directory);
        let begin = new.snapshots.map_or(self.snapshot.id, |(oldest, _)| oldest);
        vec![
            self.next_file_id().into(),
            table.0.into(),
            begin.into(),
            Value::Null,
            file.into(),
            path.into(),
            is_relative.into(),
            "parquet".into(),
            new.delete_count.into(),
            new.file_size_bytes.into(),
            new.footer_size.into(),
            Value::Null,
            new.snapshots.map(|(_, newest)| newest.0).into(),
        ]
    }

    /// Leaves a file that no row names any more to be cleaned up later: older readers may be at it.
    pub(super) async fn schedule(
        &mut self,
        catalog: &Catalog,
        id: FileId,
        full_path: &str,
    ) -> Result<()> {
        let (path, is_relative) = relative(full_path, catalog.data_path());
        let now = self.snapshot.time;
        let row = vec![id.0.into(), path.into(), is_relative.into(), now.into()];
        self.transaction.insert("ducklake_files_scheduled_for_deletion", vec![row]).await
    }

    /// Every file is still there, with the delete file that was merged from.
    pub(super) async fn check_current(
        &mut self,
        table: TableId,
        deletions: &[Deletion],
    ) -> Result<()> {
        let committed: Vec<&Deletion> =
            deletions.iter().filter(|deletion| !deletion.file.is_provisional()).collect();
        let mut current: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for chunk in committed.chunks(CHUNK) {
            let ids: Vec<String> = chunk.iter().map(|deletion| deletion.file.to_string()).collect();
            let sql = format!(
                "SELECT f.data_file_id, d.delete_file_id FROM ducklake_data_file f \
                 LEFT JOIN ducklake_delete_file d ON d.data_file_id = f.data_file_id \
                 AND d.end_snapshot IS NULL AND d.table_id = $1 \
                 WHERE f.end_snapshot IS NULL AND f.data_file_id IN ({})",
                ids.join(", ")
            );
            for row in self.transaction.query(&sql, &[table.0.into()]).await? {
                current.entry(row.int(0)?).or_default().extend(row.opt_int(1)?);
            }
        }
        let is_current = |deletion: &&Deletion| {
            let expected = deletion.delete_files.iter().map(|old| old.id.0).collect();
            current.get(&deletion.file.0) == Some(&expected)
        };
        match committed.iter().all(is_current) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Conflict,
                "another transaction was first: it changed rows of the same file",
            )
            .with_help("nothing was changed; run the transaction again")),
        }
    }
}
