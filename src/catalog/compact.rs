//! The rows of a commit that puts data files in the place of others, and what has to be known to
//! choose them.
//!
//! Files can be merged that have the columns of one schema version and are in one partition. A merged
//! file is visible since the oldest of its sources and keeps the snapshot of each row, so the sources
//! leave the catalog: every snapshot finds its rows in the merged one. A rewritten file begins with
//! its commit, and its sources end there. Row counts and bounds of the table stay as they are: both
//! may be wider than the rows that are left, and older snapshots use them, too.

use std::collections::BTreeMap;

use super::Catalog;
use super::append::stat_row;
use super::backend::Value;
use super::changes::Change;
use super::commit::{Writer, relative};
use super::model::*;
use super::read::VISIBLE;
use crate::error::{Error, ErrorKind, Result};

/// Files named in one statement.
pub(super) const CHUNK: usize = 500;

/// What the files that may become one have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileGroup {
    schema_version: Option<i64>,
    partition: Option<i64>,
    values: Vec<Option<String>>,
}

impl FileGroup {
    /// The group of those that are rewritten in the newest form.
    pub(crate) fn without_version(self) -> Self {
        Self { schema_version: None, ..self }
    }

    /// The partition they are all in.
    pub(crate) fn partition(&self) -> Option<FilePartition> {
        let id = PartitionId(self.partition?);
        Some(FilePartition { id, values: self.values.clone() })
    }
}

impl Catalog {
    /// The tables there are, in the order they were created.
    pub(crate) async fn table_ids(&self, at: SnapshotId) -> Result<Vec<TableId>> {
        let sql = format!("SELECT table_id FROM ducklake_table WHERE {VISIBLE} ORDER BY table_id");
        let rows = self.backend().query(&sql, &[at.into()]).await?;
        rows.iter().map(|row| Ok(TableId(row.int(0)?))).collect()
    }

    /// A table whatever its name is, with its schema.
    pub(crate) async fn table_with_id(
        &self,
        at: SnapshotId,
        id: TableId,
    ) -> Result<Option<(Schema, Table)>> {
        let sql = format!(
            "SELECT schema_id, table_name FROM ducklake_table WHERE table_id = $2 AND {VISIBLE}"
        );
        let rows = self.backend().query(&sql, &[at.into(), id.0.into()]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let schema = self.schemas(at).await?.into_iter().find(|s| row.int(0).ok() == Some(s.id.0));
        let Some(schema) = schema else {
            return Ok(None);
        };
        match self.relation(at, &schema, &row.text(1)?).await? {
            Some(Relation::Table(table)) if table.id == id => Ok(Some((schema, table))),
            _ => Ok(None),
        }
    }

    /// What the current files of a table have in common with others.
    pub(crate) async fn file_groups(
        &self,
        at: SnapshotId,
        table: TableId,
    ) -> Result<BTreeMap<FileId, FileGroup>> {
        let sql = "SELECT begin_snapshot, schema_version FROM ducklake_schema_versions \
                   WHERE table_id = $1 ORDER BY begin_snapshot DESC";
        let mut versions = Vec::new();
        for row in self.backend().query(sql, &[table.0.into()]).await? {
            versions.push((row.int(0)?, row.int(1)?));
        }
        let values = [at.into(), table.0.into()];
        let sql = format!(
            "SELECT data_file_id, begin_snapshot, partition_id FROM ducklake_data_file \
             WHERE table_id = $2 AND {VISIBLE}"
        );
        let mut groups = BTreeMap::new();
        for row in self.backend().query(&sql, &values).await? {
            let begin = row.int(1)?;
            let version = versions.iter().find(|(since, _)| *since <= begin);
            let schema_version = version.map(|(_, version)| *version);
            let partition = row.opt_int(2)?;
            let group = FileGroup { schema_version, partition, values: vec![] };
            groups.insert(FileId(row.int(0)?), group);
        }
        if groups.values().any(|group| group.partition.is_some()) {
            let sql = "SELECT data_file_id, partition_value FROM ducklake_file_partition_value \
                       WHERE table_id = $1 ORDER BY data_file_id, partition_key_index";
            for row in self.backend().query(sql, &[table.0.into()]).await? {
                if let Some(group) = groups.get_mut(&FileId(row.int(0)?)) {
                    group.values.push(row.opt_text(1));
                }
            }
        }
        Ok(groups)
    }
}

impl Writer<'_> {
    /// Puts files in the place of others, if those are still as they were read.
    pub(super) async fn compact(
        &mut self,
        catalog: &Catalog,
        compaction: &Compaction,
    ) -> Result<()> {
        let Compaction { table, kind, replacements } = compaction;
        let sources: Vec<&DataFile> = replacements.iter().flat_map(|r| &r.sources).collect();
        self.check_sources(catalog, table, &sources).await?;
        for replacement in replacements {
            if let Some(file) = &replacement.file {
                self.insert_compacted(table, *kind, &replacement.sources, file).await?;
            }
        }
        let ids: Vec<String> = sources.iter().filter_map(|f| f.id).map(|i| i.to_string()).collect();
        for chunk in ids.chunks(CHUNK) {
            match kind {
                CompactionKind::Merge => self.forget_files(table.id, chunk).await?,
                CompactionKind::Rewrite => self.end_files(table.id, chunk).await?,
            }
        }
        let listed = match kind {
            CompactionKind::Rewrite => "rewrite_delete",
            CompactionKind::Merge => {
                for source in sources {
                    if let Some(id) = source.id {
                        self.schedule(catalog, id, &source.path).await?;
                    }
                }
                "merge_adjacent"
            }
        };
        self.listed.push(Change::id(listed, table.id.0));
        Ok(())
    }

    /// Every source is still there, and exactly the same rows of it are deleted.
    async fn check_sources(
        &mut self,
        catalog: &Catalog,
        table: &Table,
        sources: &[&DataFile],
    ) -> Result<()> {
        let as_read = sources.iter().filter_map(|source| {
            let (delete_files, how) = (source.deletes.clone(), DeletionKind::WholeFile);
            source.id.map(|file| Deletion { file, delete_files, how })
        });
        self.check_current(table.id, &as_read.collect::<Vec<_>>()).await?;
        let inlined = format!("ducklake_inlined_delete_{}", table.id);
        if !catalog.backend().has_table(&inlined).await? {
            return Ok(());
        }
        for chunk in sources.chunks(CHUNK) {
            let expected: u64 = chunk.iter().map(|source| source.deleted.len()).sum();
            let ids: Vec<String> =
                chunk.iter().filter_map(|f| f.id).map(|i| i.to_string()).collect();
            let sql =
                format!("SELECT count(*) FROM {inlined} WHERE file_id IN ({})", ids.join(", "));
            let rows = self.transaction.query(&sql, &[]).await?;
            if rows.first().map(|row| row.count(0)).transpose()? != Some(expected) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "another transaction was first: it deleted rows of the same files",
                )
                .with_help("nothing was changed; run the statement again"));
            }
        }
        Ok(())
    }

    async fn insert_compacted(
        &mut self,
        table: &Table,
        kind: CompactionKind,
        sources: &[DataFile],
        file: &DataFile,
    ) -> Result<()> {
        let id = self.next_file_id();
        let (path, is_relative) = relative(&file.path, &table.directory);
        let begin = match kind {
            CompactionKind::Merge => file.begin.unwrap_or(self.snapshot.id),
            CompactionKind::Rewrite => self.snapshot.id,
        };
        let source = sources.first().and_then(|source| source.id);
        let source = source.ok_or_else(|| Error::internal("a file in the place of none"))?;
        let partition = "SELECT partition_id FROM ducklake_data_file WHERE data_file_id = $1";
        let partition = self.transaction.query(partition, &[source.0.into()]).await?;
        let partition = partition.first().map(|row| row.opt_int(0)).transpose()?.flatten();
        let row = vec![
            id.into(),
            table.id.0.into(),
            begin.into(),
            Value::Null,
            Value::Null,
            path.into(),
            is_relative.into(),
            "parquet".into(),
            file.record_count.into(),
            file.file_size_bytes.into(),
            file.footer_size.into(),
            file.row_id_start.into(),
            partition.into(),
            Value::Null,
            Value::Null,
            file.partial_max.map(|max| max.0).into(),
        ];
        self.transaction.insert("ducklake_data_file", vec![row]).await?;
        let stats = file.column_stats.iter().map(|stats| stat_row(id, table.id, stats)).collect();
        self.transaction.insert("ducklake_file_column_stats", stats).await?;
        let values = "SELECT partition_key_index, partition_value \
                      FROM ducklake_file_partition_value WHERE data_file_id = $1";
        let mut rows = Vec::new();
        for row in self.transaction.query(values, &[source.0.into()]).await? {
            let (index, value) = (row.int(0)?, row.opt_text(1));
            rows.push(vec![id.into(), table.id.0.into(), index.into(), value.into()]);
        }
        self.transaction.insert("ducklake_file_partition_value", rows).await
    }

    async fn forget_files(&mut self, table: TableId, ids: &[String]) -> Result<()> {
        for rows in FILE_ROWS {
            let sql = format!(
                "DELETE FROM {rows} WHERE table_id = $1 AND data_file_id IN ({})",
                ids.join(", ")
            );
            self.transaction.execute(&sql, &[table.0.into()]).await?;
        }
        Ok(())
    }

    async fn end_files(&mut self, table: TableId, ids: &[String]) -> Result<()> {
        for rows in ["ducklake_data_file", "ducklake_delete_file"] {
            let sql = format!(
                "UPDATE {rows} SET end_snapshot = $1 WHERE table_id = $2 AND end_snapshot IS NULL \
                 AND data_file_id IN ({})",
                ids.join(", ")
            );
            self.transaction.execute(&sql, &[self.snapshot.id.into(), table.0.into()]).await?;
        }
        Ok(())
    }
}

/// Where a data file has rows.
pub(super) const FILE_ROWS: [&str; 4] = [
    "ducklake_data_file",
    "ducklake_file_column_stats",
    "ducklake_file_variant_stats",
    "ducklake_file_partition_value",
];
