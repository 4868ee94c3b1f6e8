//! Merging small files, and rewriting files of which much is deleted.
//!
//! Files become one that are in one partition and one directory, as many as fit into a file of the
//! target size. Each new file is written from a stream, a few of them at the same time, so memory
//! holds a row group for each. A row keeps its row id: in a column of its own, unless the ids of a
//! merged file follow each other. The rows of a sorted table are sorted.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use super::{Run, Scope, Upkeep};
use crate::catalog::FileGroup;
use crate::catalog::model::*;
use crate::error::{Error, ErrorKind, Result};
use crate::table::{self, Moved, deletes, partition};
use crate::write::{Staged, write_whole};

/// The option that says how large files become, and what it is without.
const TARGET_FILE_SIZE: &str = "target_file_size";
const DEFAULT_FILE_SIZE: u64 = 512 << 20;

/// New files that are written at the same time; each keeps a row group in memory.
const CONCURRENT_FILES: usize = 4;

/// Files whose deletes are read at the same time.
const CONCURRENT_DELETES: usize = 16;

/// Which files are merged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Only files of at least this size.
    pub(crate) min_file_size: Option<u64>,
    /// Only files below this size; the target size unless it is given.
    pub(crate) max_file_size: Option<u64>,
    /// At most this many new files for each table.
    pub(crate) max_new_files: Option<u64>,
}

/// What became of the files of one table, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) files_before: u64,
    pub(crate) files_after: u64,
    /// Rows in the new files.
    pub(crate) rows: u64,
    pub(crate) bytes_before: u64,
    /// `None` if it was not done.
    pub(crate) bytes_after: Option<u64>,
}

/// What is done to the files of a table.
#[derive(Debug, Clone, Copy)]
enum Work {
    Merge(Limits),
    /// Of those files of which this share of rows is deleted; the option's without one.
    Rewrite(Option<f64>),
}

/// Files that become one.
#[derive(Debug)]
struct Bin {
    sources: Vec<DataFile>,
    /// Rows of theirs that are there.
    rows: u64,
    /// The columns as the new file has them.
    columns: Vec<Column>,
    /// The directory of the sources.
    directory: String,
}

impl Upkeep {
    /// Merges small files without deletes.
    pub(crate) async fn merge_adjacent_files(
        &self,
        scope: Scope,
        limits: Limits,
        run: Run,
    ) -> Result<Vec<Compacted>> {
        self.compact_all(scope, Work::Merge(limits), run).await
    }

    /// Rewrites files without their deleted rows.
    pub(crate) async fn rewrite_data_files(
        &self,
        scope: Scope,
        threshold: Option<f64>,
        run: Run,
    ) -> Result<Vec<Compacted>> {
        self.compact_all(scope, Work::Rewrite(threshold), run).await
    }

    async fn compact_all(&self, scope: Scope, work: Work, run: Run) -> Result<Vec<Compacted>> {
        let at = self.catalog.snapshot().await?.id;
        let mut all = Vec::new();
        for id in self.tables(at, scope).await? {
            match self.compact(id, scope, work, run).await {
                Ok(compacted) => all.extend(compacted),
                // What this program cannot read it cannot look after; the other tables it can.
                Err(error)
                    if matches!(scope, Scope::All { .. })
                        && error.kind() == ErrorKind::Unsupported =>
                {
                    tracing::warn!(table = %id, %error, "a table is left as it is");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Compacts one table; again, if another writer was first.
    async fn compact(
        &self,
        id: TableId,
        scope: Scope,
        work: Work,
        run: Run,
    ) -> Result<Option<Compacted>> {
        let mut patience = self.catalog.patience();
        loop {
            match self.try_compact(id, scope, work, run).await {
                Err(error) if error.is_retryable() && patience.pause().await => {}
                result => return result,
            }
        }
    }

    async fn try_compact(
        &self,
        id: TableId,
        scope: Scope,
        work: Work,
        run: Run,
    ) -> Result<Option<Compacted>> {
        let base = self.catalog.snapshot().await?;
        let Some((schema, table)) = self.catalog.table_with_id(base.id, id).await? else {
            return Ok(None);
        };
        if !self.is_in(scope, &schema, &table).await? {
            return Ok(None);
        }
        let bins = match work {
            Work::Merge(limits) => self.bins_to_merge(base.id, &table, limits).await?,
            Work::Rewrite(threshold) => self.bins_to_rewrite(base.id, &table, threshold).await?,
        };
        if bins.is_empty() {
            return Ok(None);
        }
        let sources = || bins.iter().flat_map(|bin| &bin.sources);
        if run == Run::Real && sources().any(|file| !file.deleted.is_empty()) {
            // A file ends without deletes in the catalog: DuckDB's change feed does not look for them
            // there any more, and its flush makes of them delete files of a file that has ended.
            self.flush_table(id, scope, run).await?;
            return Box::pin(self.try_compact(id, scope, work, run)).await;
        }
        let mut compacted = Compacted {
            schema: schema.name,
            table: table.name.clone(),
            files_before: sources().count() as u64,
            files_after: bins.iter().filter(|bin| bin.rows > 0).count() as u64,
            rows: bins.iter().map(|bin| bin.rows).sum(),
            bytes_before: sources().map(|file| file.file_size_bytes).sum(),
            bytes_after: None,
        };
        if run == Run::Real {
            let kind = match work {
                Work::Merge(_) => CompactionKind::Merge,
                Work::Rewrite(_) => CompactionKind::Rewrite,
            };
            compacted.bytes_after = Some(self.replace(base, table, kind, bins).await?);
        }
        Ok(Some(compacted))
    }

    async fn bins_to_merge(
        &self,
        at: SnapshotId,
        table: &Table,
        limits: Limits,
    ) -> Result<Vec<Bin>> {
        let target = self.target_file_size(table).await?;
        let below = limits.max_file_size.unwrap_or(target);
        let least = limits.min_file_size.unwrap_or(0);
        let mut groups: BTreeMap<(FileGroup, String), Vec<DataFile>> = BTreeMap::new();
        let mut keys = self.catalog.file_groups(at, table.id).await?;
        for file in self.catalog.data_files(at, table).await? {
            let is_whole = file.deletes.is_empty() && file.deleted.is_empty();
            let is_small = (least..below).contains(&file.file_size_bytes);
            if let Some(key) = file.id.and_then(|id| keys.remove(&id))
                && is_whole
                && is_small
            {
                let directory = directory(table, &file, &key)?;
                groups.entry((key, directory)).or_default().push(file);
            }
        }
        let mut bins = Vec::new();
        for ((_, directory), mut files) in groups {
            files.sort_by_key(|file| (file.begin, file.row_id_start, file.id));
            for sources in filled(files, target, |file| file.file_size_bytes) {
                let first = sources.first().and_then(|file| file.begin);
                let (Some(first), true) = (first, sources.len() > 1) else {
                    continue;
                };
                // As the table was when the files were written; dropped columns are still in them.
                let Some((_, then)) = self.catalog.table_with_id(first, table.id).await? else {
                    continue;
                };
                let rows = sources.iter().map(|file| file.record_count).sum();
                let directory = directory.clone();
                bins.push(Bin { sources, rows, columns: then.columns, directory });
            }
        }
        bins.truncate(limits.max_new_files.map_or(usize::MAX, |max| max as usize));
        Ok(bins)
    }

    async fn bins_to_rewrite(
        &self,
        at: SnapshotId,
        table: &Table,
        threshold: Option<f64>,
    ) -> Result<Vec<Bin>> {
        let target = self.target_file_size(table).await?;
        let threshold = match threshold {
            Some(threshold) => threshold,
            None => self.number(table, "rewrite_delete_threshold", 0.95).await?,
        };
        let mut keys = self.catalog.file_groups(at, table.id).await?;
        let files = self.catalog.data_files(at, table).await?;
        let changed = files.into_iter().filter(|f| !f.deletes.is_empty() || !f.deleted.is_empty());
        let counted = changed.map(|file| async move {
            let missing = deletes::missing(&self.storage, &file, at).await?;
            Ok::<_, Error>((file.record_count.saturating_sub(missing.len()), file))
        });
        let counted = stream::iter(counted).buffered(CONCURRENT_DELETES);
        let counted: Vec<(u64, DataFile)> = counted.try_collect().await?;
        let mut groups: BTreeMap<(FileGroup, String), Vec<(u64, DataFile)>> = BTreeMap::new();
        for (live, file) in counted {
            let deleted = file.record_count - live;
            let is_worth_it = deleted > 0 && deleted as f64 >= threshold * file.record_count as f64;
            if let Some(key) = file.id.and_then(|id| keys.remove(&id))
                && is_worth_it
            {
                let directory = directory(table, &file, &key)?;
                groups.entry((key.without_version(), directory)).or_default().push((live, file));
            }
        }
        let size = |(live, file): &(u64, DataFile)| {
            (file.file_size_bytes as f64 * (*live as f64 / file.record_count as f64)) as u64
        };
        let mut bins = Vec::new();
        for ((_, directory), files) in groups {
            for files in filled(files, target, size) {
                bins.push(Bin {
                    rows: files.iter().map(|(live, _)| live).sum(),
                    sources: files.into_iter().map(|(_, file)| file).collect(),
                    columns: table.columns.clone(),
                    directory: directory.clone(),
                });
            }
        }
        Ok(bins)
    }

    async fn target_file_size(&self, table: &Table) -> Result<u64> {
        self.number(table, TARGET_FILE_SIZE, DEFAULT_FILE_SIZE).await
    }

    async fn number<T: std::str::FromStr>(
        &self,
        table: &Table,
        option: &str,
        default: T,
    ) -> Result<T> {
        match self.catalog.options_of(table).await?.remove(option) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| {
                Error::invalid(format!("option \"{option}\" is {text:?}, which is not a number"))
            }),
        }
    }

    /// Writes the new files and commits them; gives their bytes.
    async fn replace(
        &self,
        base: Snapshot,
        table: Table,
        kind: CompactionKind,
        bins: Vec<Bin>,
    ) -> Result<u64> {
        let staged = Staged::new(Arc::clone(&self.storage));
        let replaced = async {
            let replacements = self.write(base.id, &table, kind, bins, &staged).await?;
            let compaction = Some(Compaction { table, kind, replacements });
            let commit = Commit {
                base,
                changes: Changes::default(),
                deletions: BTreeMap::new(),
                compaction,
                flush: None,
                expects: None,
                author: None,
                message: None,
            };
            self.catalog.commit(&commit, || staged.committing()).await?;
            Ok::<_, Error>(commit)
        };
        match replaced.await {
            Ok(commit) => {
                staged.keep_only(&commit.files()).await?;
                let replacements = commit.compaction.iter().flat_map(|c| &c.replacements);
                let files = replacements.filter_map(|replacement| replacement.file.as_ref());
                Ok(files.map(|file| file.file_size_bytes).sum())
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::OutcomeUnknown => staged.keep_all(),
                    _ => staged.discard().await,
                }
                Err(error)
            }
        }
    }

    /// A few new files at a time.
    async fn write(
        &self,
        at: SnapshotId,
        table: &Table,
        kind: CompactionKind,
        bins: Vec<Bin>,
        staged: &Arc<Staged>,
    ) -> Result<Vec<Replacement>> {
        let n_tasks = CONCURRENT_FILES.min(self.state.config().target_partitions());
        let (mut bins, mut tasks) = (bins.into_iter(), JoinSet::new());
        let mut replacements = Vec::new();
        loop {
            while tasks.len() < n_tasks.max(1)
                && let Some(bin) = bins.next()
            {
                let (upkeep, staged) = (self.clone(), Arc::clone(staged));
                let table = table.clone();
                tasks.spawn(async move { upkeep.write_bin(at, table, kind, bin, staged).await });
            }
            match tasks.join_next().await {
                Some(joined) => {
                    replacements.push(joined.map_err(|e| Error::internal(e.to_string()))??);
                }
                None => return Ok(replacements),
            }
        }
    }

    async fn write_bin(
        &self,
        at: SnapshotId,
        table: Table,
        kind: CompactionKind,
        bin: Bin,
        staged: Arc<Staged>,
    ) -> Result<Replacement> {
        let Bin { sources, rows: expected, columns, directory } = bin;
        let first_row_id = match kind {
            CompactionKind::Merge if table.sort.is_empty() => self.first_row_id(&sources).await?,
            _ => None,
        };
        let moved = Moved {
            columns: &columns,
            files: sources.clone(),
            inlined: vec![],
            row_ids: first_row_id.is_none(),
            snapshots: kind == CompactionKind::Merge,
        };
        let plan = table::moved(moved, at, &self.state, &self.storage).await?;
        // All rows are of one partition, and by the rules of their day.
        let (constraints, partition) = (vec![], None);
        let like = Table { columns, directory, constraints, partition, ..table };
        let mut target = self.target(like, staged).await?;
        if first_row_id.is_none() {
            target = target.with_row_ids();
        }
        if kind == CompactionKind::Merge {
            target = target.with_snapshots();
        }
        let mut file = write_whole(plan, self.state.task_ctx(), &target).await?;
        if file.as_ref().map_or(0, |file| file.record_count) != expected {
            return Err(Error::internal("a compacted file has not the rows of its sources"));
        }
        if let (Some(file), CompactionKind::Merge) = (&mut file, kind) {
            file.row_id_start = first_row_id;
            file.begin = sources.iter().filter_map(|source| source.begin).min();
            file.partial_max = sources.iter().filter_map(|s| s.partial_max.or(s.begin)).max();
        }
        Ok(Replacement { sources, file })
    }

    /// The first row id of files whose row ids follow each other, in the order of their rows.
    async fn first_row_id(&self, files: &[DataFile]) -> Result<Option<i64>> {
        let mut next = files.first().and_then(|file| file.row_id_start);
        let first = next;
        for file in files {
            if next.is_none() || file.row_id_start != next {
                return Ok(None);
            }
            next = next.map(|id| id + file.record_count.cast_signed());
        }
        // Those of several stores are not read in their order.
        let store = |file: &DataFile| Ok(self.storage.locate(&file.path)?.url);
        let stores = files.iter().map(store).collect::<Result<Vec<_>>>()?;
        if stores.iter().any(|other| *other != stores[0]) {
            return Ok(None);
        }
        for file in files {
            if deletes::keeps_row_ids(&self.storage, file).await? {
                return Ok(None);
            }
        }
        Ok(first)
    }
}

/// The directory for what takes the place of a file, with its trailing `/`: the same, but for files
/// that were added from elsewhere that of their partition.
fn directory(table: &Table, file: &DataFile, group: &FileGroup) -> Result<String> {
    if file.path.starts_with(&table.directory) {
        let end = file.path.rfind('/').map_or(0, |slash| slash + 1);
        return Ok(file.path[..end].to_owned());
    }
    let mut directory = table.directory.clone();
    if let (Some(spec), Some(partition)) = (&table.partition, group.partition())
        && spec.id == partition.id
    {
        let keys = partition::values(table, spec)?;
        let names = keys.iter().zip(&partition.values);
        directory
            .extend(names.map(|((_, name), value)| partition::directory(name, value.as_deref())));
    }
    Ok(directory)
}

/// Items in their order, in parts of which none is larger than `limit` unless one item is.
fn filled<T>(items: Vec<T>, limit: u64, size: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let (mut parts, mut filled): (Vec<Vec<T>>, u64) = (vec![], 0);
    for item in items {
        let size = size(&item);
        match parts.last_mut() {
            Some(part) if filled + size <= limit => {
                part.push(item);
                filled += size;
            }
            _ => {
                parts.push(vec![item]);
                filled = size;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_filled_in_order() {
        let parts = |sizes: &[u64]| filled(sizes.to_vec(), 10, |size| *size);
        assert_eq!(parts(&[]), Vec::<Vec<u64>>::new());
        assert_eq!(parts(&[4, 6, 1]), [vec![4, 6], vec![1]]);
        assert_eq!(parts(&[9, 9, 1, 1]), [vec![9], vec![9, 1], vec![1]]);
        assert_eq!(parts(&[20, 1, 20]), [vec![20], vec![1], vec![20]]);
    }
}
