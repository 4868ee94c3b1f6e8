//! Where bytes are: paths and URLs to object stores, and the few operations on whole files.
//!
//! A path is resolved to a store and a location in it; stores are made on first use from the
//! options the warehouse was opened with and kept in DataFusion's registry, so that scans, readers
//! and writers share them. This layer does not know what a table is.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, parse_url_opts};
use url::Url;

use crate::config::StorageOptions;
use crate::error::{Error, ErrorKind, Result};

/// The schemes that are not local files.
const REMOTE: [&str; 11] =
    ["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss", "http", "https", "memory"];

/// The warehouse's access to files.
#[derive(Debug)]
pub(crate) struct Storage {
    runtime: Arc<RuntimeEnv>,
    options: StorageOptions,
}

/// One of the stores.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// Its key in DataFusion's registry.
    pub(crate) url: ObjectStoreUrl,
    /// The store.
    pub(crate) store: Arc<dyn ObjectStore>,
}

/// A file or prefix in a store.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// The store's key in DataFusion's registry.
    pub(crate) url: ObjectStoreUrl,
    /// The store.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The place in it.
    pub(crate) path: Path,
}

impl Storage {
    pub(crate) fn new(runtime: Arc<RuntimeEnv>, options: StorageOptions) -> Self {
        Self { runtime, options }
    }

    /// The store and place of a local path (absolute, or relative to the working directory) or URL.
    pub(crate) fn locate(&self, path: &str) -> Result<Located> {
        let Store { url, store } = self.store(path)?;
        Ok(Located { url, store, path: place(path)? })
    }

    /// The store of a path. All paths of one [`authority`] are in one store.
    pub(crate) fn store(&self, path: &str) -> Result<Store> {
        let url = match remote(path)? {
            Some(url) => self.register(&url)?,
            None => local_base(),
        };
        let store = self.runtime.object_store(&url).map_err(|e| storage(path, e))?;
        Ok(Store { url, store })
    }

    /// Makes the store of `url` known to DataFusion, once.
    pub(crate) fn register(&self, url: &Url) -> Result<ObjectStoreUrl> {
        let base = ObjectStoreUrl::parse(&url[..url::Position::BeforePath])
            .map_err(|e| bad_path(url.as_str(), e))?;
        if self.runtime.object_store(&base).is_err() {
            let (store, _) =
                parse_url_opts(url, self.options_for(url)).map_err(|e| storage(url.as_str(), e))?;
            self.runtime.register_object_store(base.as_ref(), Arc::from(store));
        }
        Ok(base)
    }

    /// The user's options, with plain HTTP allowed where the user named an HTTP endpoint.
    fn options_for(&self, url: &Url) -> Vec<(String, String)> {
        let mut options: Vec<(String, String)> =
            self.options.0.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let endpoint_is_http =
            |(k, v): &(String, String)| k.contains("endpoint") && v.starts_with("http://");
        if url.scheme() == "http" || options.iter().any(endpoint_is_http) {
            options.push(("allow_http".into(), "true".into()));
        }
        options
    }

    /// Makes a finished local file survive a power cut: its bytes and its directory entry.
    /// Object stores are durable when an upload has returned.
    pub(crate) async fn sync(&self, path: &str) -> Result<()> {
        if remote(path)?.is_some() {
            return Ok(());
        }
        let (path, shown) = (absolute(path)?, path.to_owned());
        let synced = tokio::task::spawn_blocking(move || {
            std::fs::File::open(&path)?.sync_all()?;
            path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
        });
        synced.await.map_err(|e| Error::internal(e.to_string()))?.map_err(|e| storage(&shown, e))
    }

    /// The files below a directory, with what unfinished uploads have left there.
    pub(crate) async fn list(&self, directory: &str) -> Result<Vec<Listed>> {
        if remote(directory)?.is_none() {
            let (path, shown) = (absolute(directory)?, directory.to_owned());
            let walked = tokio::task::spawn_blocking(move || {
                let mut found = Vec::new();
                walk(&path, &mut found).map(|()| found)
            });
            let walked = walked.await.map_err(|e| Error::internal(e.to_string()))?;
            return walked.map_err(|e| storage(&shown, e));
        }
        let located = self.locate(directory)?;
        let base = located.url.as_str().trim_end_matches('/').to_owned();
        let listed = located.store.list(Some(&located.path)).map_ok(|meta| Listed {
            path: format!("{base}/{}", meta.location),
            modified: meta.last_modified,
            place: Place::Remote(Arc::clone(&located.store), meta.location),
        });
        listed.try_collect().await.map_err(|e| storage(directory, e))
    }

    /// Deletes a file; one that is gone already is no error.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        let located = self.locate(path)?;
        match located.store.delete(&located.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(storage(path, error)),
        }
    }
}

/// A file that was found.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The full path or URL.
    pub(crate) path: String,
    /// When it was written.
    pub(crate) modified: DateTime<Utc>,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Local(PathBuf),
    Remote(Arc<dyn ObjectStore>, Path),
}

impl Listed {
    /// Deletes it, if it is still there.
    pub(crate) async fn delete(&self) -> Result<()> {
        match &self.place {
            Place::Local(path) => match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(storage(&self.path, error))
                }
                _ => Ok(()),
            },
            Place::Remote(store, path) => match store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(storage(&self.path, error)),
            },
        }
    }
}

fn walk(directory: &std::path::Path, found: &mut Vec<Listed>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), found)?;
        } else if kind.is_file() {
            // One that is deleted in this moment is not there.
            if let Ok(metadata) = entry.metadata() {
                let (path, modified) = (entry.path(), metadata.modified()?.into());
                let (shown, place) = (path.display().to_string(), Place::Local(path));
                found.push(Listed { path: shown, modified, place });
            }
        }
    }
    Ok(())
}

/// The URL of a remote path; `None` for a local one. `file://` counts as local.
pub(crate) fn remote(path: &str) -> Result<Option<Url>> {
    let Some((scheme, _)) = path.split_once("://") else {
        return Ok(None);
    };
    if scheme == "file" {
        return Ok(None);
    }
    if !REMOTE.contains(&scheme) {
        return Err(Error::unsupported(format!("\"{scheme}://\" is not a known kind of storage"))
            .with_help("use a local path, s3://, gs://, az://, abfss://, http:// or https://"));
    }
    Url::parse(path).map(Some).map_err(|e| bad_path(path, e))
}

/// What of a path names its store: `s3://bucket`, and nothing of a local path.
pub(crate) fn authority(path: &str) -> &str {
    let Some(start) = path.find("://").map(|scheme| scheme + 3) else {
        return "";
    };
    path[start..].find('/').map_or(path, |end| &path[..start + end])
}

/// A remote path as a URL for those who decode it.
pub(crate) fn encoded(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F").replace('#', "%23")
}

/// The place of a path in its store.
pub(crate) fn place(path: &str) -> Result<Path> {
    if let Some(url) = remote(path)? {
        // The path of a web server's URL is encoded. In a store's, as in DuckDB, a key is as it is.
        let place = match url.scheme() {
            "http" | "https" => Path::from_url_path(url.path()),
            _ => Path::parse(&path[authority(path).len()..]),
        };
        return place.map_err(|e| bad_path(path, e));
    }
    // Most are absolute and plain.
    if path.starts_with('/')
        && let Ok(place) = Path::parse(path)
    {
        return Ok(place);
    }
    Path::from_absolute_path(absolute(path)?).map_err(|e| bad_path(path, e))
}

/// A local path made absolute, without touching the disk.
pub(crate) fn absolute(path: &str) -> Result<PathBuf> {
    let path = path.strip_prefix("file://").unwrap_or(path);
    std::path::absolute(path).map_err(|e| bad_path(path, e))
}

fn local_base() -> ObjectStoreUrl {
    ObjectStoreUrl::local_filesystem()
}

fn bad_path(path: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(format!("\"{path}\" is not a usable path: {error}")).with_source(error)
}

/// A storage error of one file. The message of the store is kept: it names the operation.
pub(crate) fn storage(path: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Storage, format!("\"{path}\": {error}")).with_source(error)
}
