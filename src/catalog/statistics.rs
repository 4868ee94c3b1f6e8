//! What is known of columns in data files.
//!
//! Neither a file nor what is known of it changes, and ids of files grow. So the statistics of a
//! column are read once in a process, and after that those of files that came since; which of the
//! files a snapshot has is not asked here. A reader wants one or two columns of all files, to choose
//! among them, and then all columns of those that are left: of few files they are read by the ids of
//! these, and not kept.
//!
//! Statistics have the form that they were written in. If the column has another type since,
//! [`StatsOfColumn::of`] gives them in that.

use std::borrow::{Borrow, Cow};
use std::collections::HashMap;
use std::sync::Arc;

use super::backend::Row;
use super::model::*;
use super::types::parse_type;
use super::widen::{leaves, retype_stats};
use super::{Catalog, Transaction};
use crate::error::Result;

/// Statistics of one column by file, as they were written.
pub(super) type StatsByFile = HashMap<FileId, ColumnStats>;

/// Ids of files in one statement.
const CHUNK: usize = 500;

/// What is known of one column in files of its table.
#[derive(Debug)]
pub(crate) struct StatsOfColumn {
    column: ColumnId,
    by_file: Arc<StatsByFile>,
    /// The types it had, up to the present one.
    history: Vec<FormerType>,
    /// The type in the transaction's base.
    base: ColumnType,
    /// The type in the transaction itself.
    now: ColumnType,
}

/// A type that a column had once.
#[derive(Debug, Clone)]
pub(super) struct FormerType {
    column: ColumnId,
    column_type: ColumnType,
    begin: SnapshotId,
    end: SnapshotId,
}

impl StatsOfColumn {
    /// The column.
    pub(crate) fn column(&self) -> ColumnId {
        self.column
    }

    /// What is known of the column in one of the files that were asked for.
    pub(crate) fn of<'a>(&'a self, file: &'a DataFile) -> Option<Cow<'a, ColumnStats>> {
        let Some(id) = file.id.filter(|id| !id.is_provisional()) else {
            return file.column_stats.get(&self.column).map(Cow::Borrowed);
        };
        // A file that was added as it is may have a narrower float, whose shortest text is another
        // number in the column's type.
        if self.now == ColumnType::Float64 && file.name_mapping.is_some() {
            return None;
        }
        let stats = self.by_file.get(&id)?;
        let is_of = |former: &&FormerType| {
            file.begin.is_some_and(|begin| former.begin <= begin && begin < former.end)
        };
        let former = self.history.iter().find(is_of);
        let written = former.map_or(&self.base, |former| &former.column_type);
        if *written == self.now {
            return Some(Cow::Borrowed(stats));
        }
        let mut stats = stats.clone();
        retype_stats(&mut stats, written, &self.now);
        Some(Cow::Owned(stats))
    }
}

impl Transaction {
    /// What is known of some columns in `files`, which are `few` of their table's, or most. Columns
    /// that have none, nested ones, are left out.
    pub(crate) async fn column_stats<F: Borrow<DataFile>>(
        &self,
        table: &Table,
        columns: &[ColumnId],
        files: &[F],
        few: bool,
    ) -> Result<Vec<StatsOfColumn>> {
        let base = self.changes.altered_tables.get(&table.id).map_or(table, |a| &a.base);
        let (base, now) = (leaves(&base.columns), leaves(&table.columns));
        let type_in = |leaves: &[&Column], id: ColumnId| {
            leaves.iter().find(|leaf| leaf.id == id).map(|leaf| leaf.column_type.clone())
        };
        let columns = columns.iter().filter_map(|id| Some((*id, type_in(&now, *id)?)));
        let columns: Vec<(ColumnId, ColumnType)> = columns.collect();
        let ids: Vec<ColumnId> = columns.iter().map(|(id, _)| *id).collect();
        let files = files.iter().filter_map(|file| file.borrow().id);
        let files: Vec<FileId> = files.filter(|id| !id.is_provisional()).collect();
        let (read, history) = match ids.is_empty() || files.is_empty() {
            true => (vec![Arc::default(); ids.len()], Arc::default()),
            false => (
                self.catalog.stats_by_file(table.id, &ids, &files, few).await?,
                self.catalog.known_types(&self.base, table.id).await?,
            ),
        };
        let of_column = |((column, now), by_file): ((ColumnId, ColumnType), _)| StatsOfColumn {
            column,
            by_file,
            history: history.iter().filter(|former| former.column == column).cloned().collect(),
            base: type_in(&base, column).unwrap_or_else(|| now.clone()),
            now,
        };
        Ok(columns.into_iter().zip(read).map(of_column).collect())
    }
}

impl Catalog {
    /// The statistics of columns, of `files` at least.
    async fn stats_by_file(
        &self,
        table: TableId,
        columns: &[ColumnId],
        files: &[FileId],
        few: bool,
    ) -> Result<Vec<Arc<StatsByFile>>> {
        let through = files.iter().max().copied().unwrap_or(FileId(-1));
        loop {
            let (missing, since) = match self.known_stats(table, columns, through) {
                Ok(known) => return Ok(known),
                Err(_) if few => return self.stats_of_few(table, columns, files).await,
                Err(missing) => missing,
            };
            let after = format!("data_file_id > {since}");
            let read = self.read_stats(table, &missing, &after).await?;
            self.learn_stats(table, &missing, (since, through), read);
        }
    }

    async fn stats_of_few(
        &self,
        table: TableId,
        columns: &[ColumnId],
        files: &[FileId],
    ) -> Result<Vec<Arc<StatsByFile>>> {
        let mut all = vec![StatsByFile::new(); columns.len()];
        for chunk in files.chunks(CHUNK) {
            let ids: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            let among = format!("data_file_id IN ({})", ids.join(", "));
            let read = self.read_stats(table, columns, &among).await?;
            all.iter_mut().zip(read).for_each(|(all, read)| all.extend(read));
        }
        Ok(all.into_iter().map(Arc::new).collect())
    }

    /// Statistics of the files that a condition names, by column.
    async fn read_stats(
        &self,
        table: TableId,
        columns: &[ColumnId],
        files: &str,
    ) -> Result<Vec<StatsByFile>> {
        let ids: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let sql = format!(
            "SELECT data_file_id, column_id, column_size_bytes, null_count, min_value, max_value, \
             contains_nan FROM ducklake_file_column_stats \
             WHERE table_id = $1 AND column_id IN ({}) AND {files}",
            ids.join(", ")
        );
        let mut all = vec![StatsByFile::new(); columns.len()];
        for row in self.backend().query(&sql, &[table.0.into()]).await? {
            let column = ColumnId(row.int(1)?);
            if let Some(index) = columns.iter().position(|other| *other == column) {
                all[index].insert(FileId(row.int(0)?), column_stats(&row)?);
            }
        }
        Ok(all)
    }

    /// The types that columns of a table had before the ones they have.
    pub(super) async fn former_types(&self, table: TableId) -> Result<Vec<FormerType>> {
        let sql = "SELECT column_id, column_type, begin_snapshot, end_snapshot FROM ducklake_column \
                   WHERE table_id = $1 AND end_snapshot IS NOT NULL";
        let rows = self.backend().query(sql, &[table.0.into()]).await?;
        let former = |row: &Row| {
            Ok(FormerType {
                column: ColumnId(row.int(0)?),
                column_type: parse_type(&row.text(1)?, vec![]),
                begin: SnapshotId(row.int(2)?),
                end: SnapshotId(row.int(3)?),
            })
        };
        rows.iter().map(former).collect()
    }
}

fn column_stats(row: &Row) -> Result<ColumnStats> {
    Ok(ColumnStats {
        column_size_bytes: row.opt_count(2)?.unwrap_or(0),
        value_count: None,
        null_count: row.opt_count(3)?,
        min: row.opt_text(4),
        max: row.opt_text(5),
        contains_nan: row.opt_flag(6)?,
    })
}
