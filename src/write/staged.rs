//! Files that exist and that no commit names yet.
//!
//! Whoever writes a file registers it here first; dropping the value deletes the files, so a
//! statement that fails, is cancelled or is rolled back leaves nothing behind. After a successful
//! commit [`Staged::keep_only`] lets go of them. Once a commit is on its way they outlive a cancelled
//! statement, because it may name them. They, and those of a killed process, are left unreferenced at
//! worst, where maintenance finds them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::storage::{self, Storage};

/// The files of one transaction, deleted on drop.
#[derive(Debug)]
pub(crate) struct Staged {
    storage: Arc<Storage>,
    paths: Mutex<Vec<String>>,
    /// Whether a commit that names them may be on its way.
    committing: AtomicBool,
}

impl Staged {
    pub(crate) fn new(storage: Arc<Storage>) -> Arc<Self> {
        Arc::new(Self {
            storage,
            paths: Mutex::new(Vec::new()),
            committing: AtomicBool::new(false),
        })
    }

    /// Keeps the files even when this is dropped: a commit that names them is about to be sent.
    pub(crate) fn committing(&self) {
        self.committing.store(true, Ordering::SeqCst);
    }

    /// Takes charge of a file that is about to be written.
    pub(crate) fn register(&self, path: &str) {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    }

    /// Lets go of the files that a commit names now, and deletes the others.
    pub(crate) async fn keep_only(&self, live: &[String]) -> Result<()> {
        for path in self.take() {
            if !live.contains(&path) {
                self.storage.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Lets go of all files: whether a commit names them is not known.
    pub(crate) fn keep_all(&self) {
        self.take();
    }

    /// Deletes the files. One that cannot be deleted is left to maintenance: no commit names it, and
    /// the caller has an error of its own to tell.
    pub(crate) async fn discard(&self) {
        for path in self.take() {
            if let Err(error) = self.storage.delete(&path).await {
                tracing::warn!(%path, %error, "an unreferenced file could not be deleted");
            }
        }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.paths.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Staged {
    /// Local files go at once; those in object stores in the background, while the runtime lives.
    fn drop(&mut self) {
        if self.committing.load(Ordering::SeqCst) {
            return;
        }
        let mut remote = Vec::new();
        for path in self.take() {
            match storage::remote(&path) {
                Ok(Some(_)) => remote.push(path),
                _ => {
                    // The file, or what an unfinished upload has of it. One that is already gone,
                    // or was never begun, is as it should be.
                    for name in [format!("{path}#1"), path] {
                        if let Ok(local) = storage::absolute(&name) {
                            let _ = std::fs::remove_file(local);
                        }
                    }
                }
            }
        }
        if let (false, Ok(runtime)) = (remote.is_empty(), tokio::runtime::Handle::try_current()) {
            let storage = Arc::clone(&self.storage);
            runtime.spawn(async move {
                for path in remote {
                    if let Err(error) = storage.delete(&path).await {
                        tracing::warn!(%path, %error, "an unreferenced file could not be deleted");
                    }
                }
            });
        }
    }
}
