//! Which files the catalog names, and which of them are only waiting to be deleted.
//!
//! A file that no snapshot shows any more is *scheduled*: its row says since when, so that readers of
//! an older state have time to finish. Deleting the files themselves is not the catalog's.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::Catalog;
use super::backend::Row;
use super::read::path;
use super::types::parse_time;
use crate::error::Result;

/// A file that waits for its deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// The full path or URL.
    pub(crate) path: String,
    /// Since when.
    pub(crate) since: DateTime<Utc>,
    /// What tells its row from others.
    key: (i64, String),
}

impl Catalog {
    /// The files that wait for their deletion, oldest first.
    pub(crate) async fn scheduled(&self) -> Result<Vec<Scheduled>> {
        let sql = "SELECT data_file_id, path, path_is_relative, schedule_start \
                   FROM ducklake_files_scheduled_for_deletion ORDER BY data_file_id";
        let rows = self.backend().query(sql, &[]).await?;
        let scheduled = |row: &Row| {
            Ok(Scheduled {
                path: path(row, 1)?.resolve(self.data_path()),
                since: parse_time(&row.text(3)?)?,
                key: (row.int(0)?, row.text(1)?),
            })
        };
        let mut all = rows.iter().map(scheduled).collect::<Result<Vec<_>>>()?;
        all.sort_by_key(|file| file.since);
        Ok(all)
    }

    /// Forgets files that have been deleted.
    pub(crate) async fn unschedule(&self, deleted: &[Scheduled]) -> Result<()> {
        let mut patience = self.backend().patience();
        loop {
            match self.try_unschedule(deleted).await {
                Err(error) if self.backend().is_transient(&error) && patience.pause().await => {}
                result => return result,
            }
        }
    }

    async fn try_unschedule(&self, deleted: &[Scheduled]) -> Result<()> {
        let mut transaction = self.backend().write().await?;
        let sql = "DELETE FROM ducklake_files_scheduled_for_deletion \
                   WHERE data_file_id = $1 AND path = $2";
        for Scheduled { key: (id, path), .. } in deleted {
            transaction.execute(sql, &[(*id).into(), path.as_str().into()]).await?;
        }
        transaction.commit().await
    }

    /// The name, without directories, of every file that a row names: data and delete files of any
    /// snapshot, and those that wait for their deletion. Names are unique, and unlike paths they are
    /// spelled in one way only.
    pub(crate) async fn file_names(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for rows in
            ["ducklake_data_file", "ducklake_delete_file", "ducklake_files_scheduled_for_deletion"]
        {
            for row in self.backend().query(&format!("SELECT path FROM {rows}"), &[]).await? {
                let path = row.text(0)?;
                names.insert(path.rsplit('/').next().unwrap_or_default().to_owned());
            }
        }
        Ok(names)
    }
}
