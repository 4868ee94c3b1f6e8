//! What a transaction stages and a commit is given: changes, and the forms that rows take on their way.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::*;

/// Everything a transaction has staged, as its net effect on its base snapshot.
///
/// An object created and dropped in the same transaction leaves no trace here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// New schemas, with provisional ids.
    pub created_schemas: Vec<Schema>,
    /// Schemas of the base that are gone, with the contained tables and views listed below.
    pub dropped_schemas: Vec<SchemaId>,
    /// New tables, with provisional ids and final column ids.
    pub created_tables: Vec<Table>,
    /// Tables of the base that are gone.
    pub dropped_tables: Vec<TableId>,
    /// New views, with provisional ids.
    pub created_views: Vec<View>,
    /// Views of the base that are gone.
    pub dropped_views: Vec<ViewId>,
    /// Tables of the base that are different now.
    pub altered_tables: BTreeMap<TableId, Altered<Table>>,
    /// Views of the base that are different now.
    pub altered_views: BTreeMap<ViewId, Altered<View>>,
    /// Files added to tables of the base or to new ones.
    pub appended: BTreeMap<TableId, Vec<DataFile>>,
    /// Rows added to tables that the catalog itself will keep.
    pub inlined: BTreeMap<TableId, Vec<InlinedRows>>,
    /// Rows deleted from data files of the base, and from those added here.
    pub deleted: BTreeMap<TableId, DeletedFrom>,
}

impl Changes {
    /// The tables that stand here in another form than in the base.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.created_tables.iter().chain(self.altered_tables.values().map(|altered| &altered.now))
    }

    /// The views that stand here in another form than in the base.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        self.created_views.iter().chain(self.altered_views.values().map(|altered| &altered.now))
    }

    /// Whether a commit of this would change nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An object as the base snapshot has it and as it is now, however many statements made it so.
#[derive(Debug, Clone, PartialEq)]
pub struct Altered<T> {
    /// As of the base snapshot.
    pub base: T,
    /// As the transaction leaves it.
    pub now: T,
}

/// What became of a commit that met no conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It is the newest snapshot.
    As(Snapshot),
    /// Nothing was written: another commit, which is the newest now, took the id that its files
    /// expect.
    Overtaken(Snapshot),
}

/// What `Catalog::commit` is given.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The snapshot the changes were made on.
    pub base: Snapshot,
    /// The changes.
    pub changes: Changes,
    /// What becomes of the deletes among them.
    pub deletions: BTreeMap<TableId, Vec<Deletion>>,
    /// Files that take the place of others. A commit has either this or changes.
    pub compaction: Option<Compaction>,
    /// Rows that move from the catalog into files, in a commit of its own.
    pub flush: Option<Flush>,
    /// The id that files written for this commit say it has, if any does.
    pub expects: Option<SnapshotId>,
    /// Who commits, for history.
    pub author: Option<String>,
    /// Why, for history.
    pub message: Option<String>,
}

impl Commit {
    /// The files that are visible once it is committed.
    pub fn files(&self) -> Vec<String> {
        let data = self.changes.appended.values().flatten().map(|file| file.path.clone());
        let deletions = self.deletions.values().flatten();
        let deletes = deletions.filter_map(|deletion| match &deletion.how {
            DeletionKind::DeleteFile(file) => Some(file),
            _ => None,
        });
        let compacted = self.compaction.iter().flat_map(|compaction| &compaction.replacements);
        let compacted = compacted.filter_map(|replacement| replacement.file.as_ref());
        let flushed = self.flush.iter().flat_map(Flush::files);
        data.chain(deletes.map(|file| file.path.clone()))
            .chain(compacted.map(|file| file.path.clone()))
            .chain(flushed)
            .collect()
    }
}

/// Files of one table that take the place of others; no row changes.
#[derive(Debug, Clone)]
pub struct Compaction {
    /// The table, as of the base.
    pub table: Table,
    /// What becomes of the old files.
    pub kind: CompactionKind,
    /// Which files take the place of which.
    pub replacements: Vec<Replacement>,
}

/// What a compaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompactionKind {
    /// Small files without deletes become one, which keeps the snapshot of each row. The old ones
    /// are gone from every snapshot.
    Merge,
    /// Deleted rows go. The old files stay for the snapshots before.
    Rewrite,
}

/// A file in place of others.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// The files that were read, with their deletes. All are in one partition.
    pub sources: Vec<DataFile>,
    /// The file with their rows; `None` if no row is left.
    pub file: Option<DataFile>,
}

/// Stands for a data file where rows are kept in the catalog: their positions are their places.
pub const INLINED: FileId = FileId(-1);

/// Rows that are kept in the catalog, all written in one form of their table.
#[derive(Debug, Clone, PartialEq)]
pub struct InlinedRows {
    /// The top-level columns of that form.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<InlinedRow>,
    /// Statistics of the leaf columns; of staged rows only.
    pub column_stats: BTreeMap<ColumnId, ColumnStats>,
}

/// A row that is kept in the catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct InlinedRow {
    /// Its row id; `None` for a new row that is staged.
    pub row_id: Option<i64>,
    /// What tells it from the others: the row id, or a provisional one.
    pub place: i64,
    /// The text of each column's value.
    pub values: Vec<Option<String>>,
}

/// Rows that the catalog keeps of a table in one form, of all snapshots.
#[derive(Debug, Clone, PartialEq)]
pub struct InlinedHistory {
    /// The table of the catalog that they are in.
    pub name: String,
    /// The top-level columns of that form.
    pub columns: Vec<Column>,
    /// The rows by row id and then by age.
    pub rows: Vec<InlinedVersion>,
}

/// One version of a row that the catalog keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct InlinedVersion {
    /// Its row id.
    pub row_id: i64,
    /// The snapshot it came with.
    pub begin: SnapshotId,
    /// The snapshot it went with.
    pub end: Option<SnapshotId>,
    /// The text of each column's value.
    pub values: Vec<Option<String>>,
}

/// What the catalog kept of a table, as files.
#[derive(Debug, Clone, PartialEq)]
pub struct Flush {
    /// The table.
    pub table: Table,
    /// The newest snapshot whose rows are in the files.
    pub through: SnapshotId,
    /// The tables of the catalog that the rows were in.
    pub inlined_tables: Vec<String>,
    /// The rows.
    pub files: Vec<FlushedFile>,
    /// Deleted positions, merged into delete files.
    pub deletions: Vec<Deletion>,
}

impl Flush {
    /// The files that are visible once it is committed.
    fn files(&self) -> Vec<String> {
        let merged = self.deletions.iter().filter_map(|deletion| match &deletion.how {
            DeletionKind::DeleteFile(file) => Some(file.path.clone()),
            _ => None,
        });
        let ended = self.files.iter().filter_map(|flushed| flushed.ended.as_ref());
        let data = self.files.iter().map(|flushed| flushed.file.path.clone());
        data.chain(ended.map(|file| file.path.clone())).chain(merged).collect()
    }
}

/// A data file of rows that the catalog kept.
#[derive(Debug, Clone, PartialEq)]
pub struct FlushedFile {
    /// The file.
    pub file: DataFile,
    /// Those of its rows that had ended.
    pub ended: Option<NewDeleteFile>,
}

/// Rows of one table that a transaction deletes.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedFrom {
    /// The table.
    pub table: Table,
    /// By data file.
    pub files: BTreeMap<FileId, DeletedRows>,
}

/// Rows of one data file that a transaction deletes.
#[derive(Debug, Clone, PartialEq)]
pub enum DeletedRows {
    /// Every row it has.
    All,
    /// Those at these positions.
    At(Arc<RoaringTreemap>),
}

impl DeletedRows {
    /// Whether no row of `file` is left.
    pub fn is_all_of(&self, file: &DataFile) -> bool {
        match self {
            Self::All => true,
            Self::At(positions) => positions.len() >= file.record_count,
        }
    }
}

/// The end of some or all rows of a data file, ready to be committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletion {
    /// The data file.
    pub file: FileId,
    /// The delete files it had, which must still be the current ones.
    pub delete_files: Vec<DeleteFile>,
    /// How it is written down.
    pub how: DeletionKind,
}

/// How deleted rows of a data file are written down.
#[derive(Debug, Clone, PartialEq)]
pub enum DeletionKind {
    /// No row is left: the data file ends.
    WholeFile,
    /// A delete file takes the place of those that there were.
    DeleteFile(NewDeleteFile),
    /// The catalog keeps the positions, besides what the delete files say.
    Inlined(Arc<RoaringTreemap>),
}

/// A delete file that was written for a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeleteFile {
    /// The full path or URL.
    pub path: String,
    /// Rows in it.
    pub delete_count: u64,
    /// Exact size.
    pub file_size_bytes: u64,
    /// The length of the Parquet footer's Thrift part.
    pub footer_size: Option<u64>,
    /// The oldest and newest snapshot it names; `None` if all its deletes are this commit's.
    pub snapshots: Option<(SnapshotId, SnapshotId)>,
}
