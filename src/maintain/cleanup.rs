//! Deleting files: those that the catalog has scheduled for deletion, and those it never named.
//!
//! A file is deleted before its row is, so that a run that is interrupted is taken up by the next one.

use futures::{StreamExt, TryStreamExt, stream};

use super::{Age, Run, Upkeep};
use crate::catalog::Scheduled;
use crate::error::Result;
use crate::storage::Listed;

/// Files that are deleted at the same time.
const CONCURRENT: usize = 16;

/// Files after which the catalog is told.
const BATCH: usize = 1000;

impl Upkeep {
    /// Deletes files that were scheduled for it; gives their paths.
    pub(crate) async fn cleanup_old_files(&self, age: Age, run: Run) -> Result<Vec<String>> {
        let mut files = self.catalog.scheduled().await?;
        files.retain(|file| age.includes(file.since));
        if run == Run::Real {
            for batch in files.chunks(BATCH) {
                let delete = |file: &Scheduled| {
                    let path = file.path.clone();
                    async move { self.storage.delete(&path).await }
                };
                let deletes = stream::iter(batch.iter().map(delete).collect::<Vec<_>>());
                deletes.buffer_unordered(CONCURRENT).try_collect::<Vec<()>>().await?;
                self.catalog.unschedule(batch).await?;
            }
        }
        Ok(files.into_iter().map(|file| file.path).collect())
    }

    /// Deletes files below the data path that no row of the catalog names; gives their paths.
    pub(crate) async fn delete_orphaned_files(&self, age: Age, run: Run) -> Result<Vec<String>> {
        // First the files, then the names: one that a commit names meanwhile is no orphan.
        let mut files = self.storage.list(self.catalog.data_path()).await?;
        let names = self.catalog.file_names().await?;
        files.retain(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            is_ours(name) && age.includes(file.modified) && !names.contains(name)
        });
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if run == Run::Real {
            let deletes =
                stream::iter(files.clone()).map(|file: Listed| async move { file.delete().await });
            deletes.buffer_unordered(CONCURRENT).try_collect::<Vec<()>>().await?;
        }
        Ok(files.into_iter().map(|file| file.path).collect())
    }
}

/// Whether a file has a name that only writers of this format give: a data or delete file, or, with a
/// number after it, what an upload to a local disk has left of one.
fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("ducklake-") else {
        return false;
    };
    let (rest, number) = rest.split_once('#').unwrap_or((rest, "0"));
    rest.ends_with(".parquet") && number.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_names_of_the_format_are_ours() {
        for (name, ours) in [
            ("ducklake-0197.parquet", true),
            ("ducklake-0197-delete.parquet", true),
            ("ducklake-0197.parquet#1", true),
            ("ducklake-0197.parquet#x", false),
            ("ducklake-0197.csv", false),
            ("my-ducklake-0197.parquet", false),
            ("other.parquet", false),
            ("notes.txt", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
