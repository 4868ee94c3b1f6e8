//! What a warehouse is opened with: its location, limits and storage credentials.
//!
//! Nothing here reads the environment; a front end collects what it wants to pass on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

/// How to open a warehouse; built by chaining.
///
/// ```
/// # use gotgan::Config;
/// let config = Config::new("shop.wh").threads(2).memory_limit(2 << 30);
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) location: Location,
    pub(crate) data_path: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) safe: bool,
    pub(crate) memory_limit: Option<usize>,
    pub(crate) threads: Option<usize>,
    pub(crate) storage_options: StorageOptions,
    pub(crate) object_stores: Vec<(Url, Arc<dyn ObjectStore>)>,
}

/// Where the catalog is.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    /// `catalog.sqlite` and `data/` inside.
    Directory(PathBuf),
    /// A SQLite file; its data lies beside it unless a data path says otherwise.
    Sqlite(PathBuf),
    /// A directory of its own, removed when the last handle is dropped.
    Temporary,
    /// A URL of a kind that is not offered.
    Unknown(String),
}

impl Config {
    /// A warehouse at `location`: a directory, or `sqlite:PATH`.
    pub fn new(location: impl Into<String>) -> Self {
        let location: String = location.into();
        let location = match location.split_once(':') {
            Some(("sqlite", path)) => Location::Sqlite(path.into()),
            Some((_, rest)) if rest.starts_with("//") => Location::Unknown(location),
            _ => Location::Directory(location.into()),
        };
        Self::at(location)
    }

    /// A warehouse that is gone when the last handle is dropped.
    pub fn temporary() -> Self {
        Self::at(Location::Temporary)
    }

    fn at(location: Location) -> Self {
        Self {
            location,
            data_path: None,
            read_only: false,
            safe: false,
            memory_limit: None,
            threads: None,
            storage_options: StorageOptions::default(),
            object_stores: Vec::new(),
        }
    }

    /// Puts the files of a new warehouse elsewhere: a directory or a URL such as
    /// `s3://bucket/prefix`. An existing warehouse remembers where its files are.
    #[must_use]
    pub fn data_path(mut self, path: impl Into<String>) -> Self {
        self.data_path = Some(path.into());
        self
    }

    /// Refuses every change.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Refuses SQL that reads or writes files outside the warehouse.
    #[must_use]
    pub fn safe(mut self, safe: bool) -> Self {
        self.safe = safe;
        self
    }

    /// Bytes that queries may hold before they spill or fail; four fifths of the machine's memory
    /// by default.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// How many partitions a query runs in; the machine's cores by default.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// An option of the object stores, such as `aws_endpoint`; the names are those of
    /// `object_store`, which are the usual environment variables in lower case.
    #[must_use]
    pub fn storage_option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.storage_options.0.insert(name.into().to_lowercase(), value.into());
        self
    }

    /// Serves URLs below `base` from a store of the caller's own.
    #[must_use]
    pub fn object_store(mut self, base: Url, store: Arc<dyn ObjectStore>) -> Self {
        self.object_stores.push((base, store));
        self
    }
}

/// Options of the object stores. They hold secrets, so only their names are ever shown.
#[derive(Clone, Default)]
pub(crate) struct StorageOptions(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_told_apart_by_their_form() {
        assert!(matches!(Config::new("shop.wh").location, Location::Directory(_)));
        assert!(matches!(Config::new("/a/b").location, Location::Directory(_)));
        assert!(matches!(Config::new("sqlite:/a/b.db").location, Location::Sqlite(_)));
        assert!(matches!(Config::new("postgres://h/db").location, Location::Unknown(_)));
    }

    #[test]
    fn secrets_do_not_show() {
        let config = Config::temporary().storage_option("AWS_SECRET_ACCESS_KEY", "hunter2");
        let shown = format!("{config:?}");
        assert!(shown.contains("aws_secret_access_key") && !shown.contains("hunter2"));
    }
}
