//! The end of snapshots: what no surviving snapshot shows leaves the catalog.
//!
//! Expiry makes no snapshot. It deletes those of the past, then the rows that only they showed: data
//! and delete files, whose paths are scheduled for deletion, and whole tables, schemas and views with
//! all that belongs to them. Old forms of columns stay while their table does: files that were
//! written in them are read with them. Who still reads an expired snapshot is told so by the next
//! look at a table's files (see [`Catalog::data_files`]).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::Catalog;
use super::backend::{Row, WriteTransaction};
use super::commit::relative;
use super::compact::{CHUNK, FILE_ROWS};
use super::layout::CONSTRAINTS;
use super::model::*;
use super::read::{NEWEST, path, snapshot};
use crate::error::{Error, Result};

/// Which snapshots expire. The newest never does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Those that were committed before.
    Before(DateTime<Utc>),
    /// Those with these ids.
    Versions(Vec<SnapshotId>),
}

/// No surviving snapshot shows a row: its end is there, and none is between its begin and its end.
const DEAD: &str = "(end_snapshot IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ducklake_snapshot s \
     WHERE s.snapshot_id >= begin_snapshot AND s.snapshot_id < end_snapshot))";

/// Where a table has rows, besides its files'.
const TABLE_ROWS: [&str; 12] = [
    "ducklake_table",
    "ducklake_table_stats",
    "ducklake_table_column_stats",
    "ducklake_partition_info",
    "ducklake_partition_column",
    "ducklake_column",
    "ducklake_column_tag",
    "ducklake_sort_info",
    "ducklake_sort_expression",
    "ducklake_schema_versions",
    "ducklake_inlined_data_tables",
    "ducklake_column_mapping",
];

/// Every table there ever was, with its part of its directory and its schema's.
const DIRECTORIES: &str = "SELECT DISTINCT t.table_id, t.path, t.path_is_relative, \
     s.path, s.path_is_relative FROM ducklake_table t \
     JOIN ducklake_schema s ON s.schema_id = t.schema_id";

/// The directory in a row of [`DIRECTORIES`].
fn directory(row: &Row, data_path: &str) -> Result<String> {
    Ok(path(row, 1)?.resolve(&path(row, 3)?.resolve(data_path)))
}

impl Catalog {
    /// The snapshots that `expiry` names and that are there, oldest first.
    pub(crate) async fn expirable(&self, expiry: &Expiry) -> Result<Vec<SnapshotRecord>> {
        let newest = self.snapshot().await?.id;
        let mut all = self.history(newest).await?;
        if let Expiry::Versions(versions) = expiry {
            if versions.contains(&newest) {
                let message = format!("version {newest} is the newest, which never expires");
                return Err(Error::invalid(message));
            }
            let is_there = |id: &&SnapshotId| all.iter().any(|record| record.snapshot.id == **id);
            if let Some(unknown) = versions.iter().find(|id| !is_there(id)) {
                return Err(Error::not_found(format!("version {unknown} does not exist"))
                    .with_help(format!("the newest is {newest}; snapshots() lists them")));
            }
        }
        all.retain(|record| {
            let snapshot = &record.snapshot;
            snapshot.id != newest
                && match expiry {
                    Expiry::Before(time) => snapshot.time < *time,
                    Expiry::Versions(versions) => versions.contains(&snapshot.id),
                }
        });
        Ok(all)
    }

    /// Ends `snapshots`, none of which is the newest, and schedules the files that go with them for
    /// deletion. On an error nothing has changed.
    pub(crate) async fn expire(&self, snapshots: &[SnapshotId]) -> Result<()> {
        let mut patience = self.backend().patience();
        loop {
            match self.try_expire(snapshots).await {
                Err(error) if self.backend().is_transient(&error) && patience.pause().await => {}
                result => return result,
            }
        }
    }

    async fn try_expire(&self, snapshots: &[SnapshotId]) -> Result<()> {
        let mut expirer = Expirer { catalog: self, transaction: self.backend().write().await? };
        let newest = expirer.transaction.query(NEWEST, &[]).await?;
        let newest = newest.first().map(snapshot).transpose()?;
        let now = newest.ok_or_else(|| Error::internal("a catalog without snapshots"))?.time;
        for chunk in snapshots.chunks(CHUNK) {
            let ids = list(chunk.iter().map(|id| id.0));
            for rows in ["ducklake_snapshot", "ducklake_snapshot_changes"] {
                expirer.run(&format!("DELETE FROM {rows} WHERE snapshot_id IN ({ids})")).await?;
            }
        }
        let tables = expirer.dead_tables().await?;
        expirer.end_files(&tables, later(now)).await?;
        expirer.end_tables(&tables).await?;
        expirer.end_others().await?;
        expirer.transaction.commit().await
    }
}

/// Now, unless the clock is behind the last commit.
fn later(last: DateTime<Utc>) -> DateTime<Utc> {
    #[allow(clippy::disallowed_methods, reason = "the age of a scheduled file counts from here")]
    Utc::now().max(last)
}

struct Expirer<'a> {
    catalog: &'a Catalog,
    transaction: WriteTransaction,
}

impl Expirer<'_> {
    async fn run(&mut self, sql: &str) -> Result<()> {
        self.transaction.execute(sql, &[]).await
    }

    /// The tables of which no surviving snapshot shows any version.
    async fn dead_tables(&mut self) -> Result<BTreeSet<i64>> {
        let sql = format!(
            "SELECT DISTINCT t.table_id FROM ducklake_table t WHERE NOT EXISTS \
             (SELECT 1 FROM ducklake_table v WHERE v.table_id = t.table_id AND NOT {})",
            DEAD.replace("begin_snapshot", "v.begin_snapshot")
                .replace("end_snapshot", "v.end_snapshot")
        );
        let rows = self.transaction.query(&sql, &[]).await?;
        rows.iter().map(|row| row.int(0)).collect()
    }

    /// Schedules the files that no snapshot shows, and deletes their rows.
    async fn end_files(&mut self, tables: &BTreeSet<i64>, now: DateTime<Utc>) -> Result<()> {
        let mut files = self.files("ducklake_data_file", "data_file_id", DEAD).await?;
        for chunk in chunks(tables) {
            let of_tables = format!("table_id IN ({chunk})");
            files.extend(self.files("ducklake_data_file", "data_file_id", &of_tables).await?);
        }
        let mut deletes = self.files("ducklake_delete_file", "delete_file_id", DEAD).await?;
        // A file that lost all its rows ended without its delete file.
        let ids: BTreeSet<i64> = files.keys().copied().collect();
        for chunk in chunks(&ids) {
            let of_files = format!("data_file_id IN ({chunk})");
            deletes.extend(self.files("ducklake_delete_file", "delete_file_id", &of_files).await?);
        }
        self.schedule(files.iter().chain(&deletes), now).await?;
        for chunk in chunks(&ids) {
            for rows in FILE_ROWS {
                self.run(&format!("DELETE FROM {rows} WHERE data_file_id IN ({chunk})")).await?;
            }
        }
        for chunk in chunks(&deletes.keys().copied().collect()) {
            let sql = format!("DELETE FROM ducklake_delete_file WHERE delete_file_id IN ({chunk})");
            self.run(&sql).await?;
        }
        Ok(())
    }

    /// Files by id, with their tables and paths.
    async fn files(
        &mut self,
        rows: &str,
        id: &str,
        which: &str,
    ) -> Result<BTreeMap<i64, (i64, ObjectPath)>> {
        let sql =
            format!("SELECT {id}, table_id, path, path_is_relative FROM {rows} WHERE {which}");
        let rows = self.transaction.query(&sql, &[]).await?;
        rows.iter().map(|row| Ok((row.int(0)?, (row.int(1)?, path(row, 2)?)))).collect()
    }

    async fn schedule<'f>(
        &mut self,
        files: impl Iterator<Item = (&'f i64, &'f (i64, ObjectPath))>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let data_path = self.catalog.data_path();
        let mut directories = BTreeMap::new();
        for row in self.transaction.query(DIRECTORIES, &[]).await? {
            directories.insert(row.int(0)?, directory(&row, data_path)?);
        }
        let mut scheduled = Vec::new();
        for (id, (table, path)) in files {
            // A file of an unknown table is left to the search for orphans, unless it says where
            // it is.
            let full = match (directories.get(table), path) {
                (Some(directory), path) => path.resolve(directory),
                (None, ObjectPath::Absolute(path)) => path.clone(),
                (None, ObjectPath::Relative(_)) => continue,
            };
            let (path, is_relative) = relative(&full, data_path);
            scheduled.push(vec![(*id).into(), path.into(), is_relative.into(), now.into()]);
        }
        self.transaction.insert("ducklake_files_scheduled_for_deletion", scheduled).await
    }

    async fn end_tables(&mut self, tables: &BTreeSet<i64>) -> Result<()> {
        for chunk in chunks(tables) {
            let sql = format!(
                "SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id IN ({chunk})"
            );
            for row in self.transaction.query(&sql, &[]).await? {
                let name = row.text(0)?.replace('"', "\"\"");
                self.run(&format!("DROP TABLE IF EXISTS \"{name}\"")).await?;
            }
            if self.catalog.backend().has_table(CONSTRAINTS).await? {
                self.run(&format!("DELETE FROM {CONSTRAINTS} WHERE table_id IN ({chunk})")).await?;
            }
            for rows in TABLE_ROWS {
                self.run(&format!("DELETE FROM {rows} WHERE table_id IN ({chunk})")).await?;
            }
        }
        for table in tables {
            self.run(&format!("DROP TABLE IF EXISTS ducklake_inlined_delete_{table}")).await?;
        }
        Ok(())
    }

    /// Schemas, views, tags and macros that no snapshot shows, and what belonged to what is gone.
    async fn end_others(&mut self) -> Result<()> {
        for rows in ["schema", "view", "tag", "column_tag", "macro"] {
            self.run(&format!("DELETE FROM ducklake_{rows} WHERE {DEAD}")).await?;
        }
        for (rows, id, of) in [
            ("macro_impl", "macro_id", "macro"),
            ("macro_parameters", "macro_id", "macro"),
            ("name_mapping", "mapping_id", "column_mapping"),
        ] {
            let sql = format!(
                "DELETE FROM ducklake_{rows} WHERE {id} NOT IN (SELECT {id} FROM ducklake_{of})"
            );
            self.run(&sql).await?;
        }
        Ok(())
    }
}

/// Ids as lists for `IN`.
fn chunks(ids: &BTreeSet<i64>) -> Vec<String> {
    let ids: Vec<i64> = ids.iter().copied().collect();
    ids.chunks(CHUNK).map(|chunk| list(chunk.iter().copied())).collect()
}

fn list(ids: impl Iterator<Item = i64>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}
