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
    pub(crate) temp_directory: Option<PathBuf>,
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
    /// A PostgreSQL database; its files are where a data path says.
    Postgres(SecretUrl),
    /// A directory of its own, removed when the last handle is dropped.
    Temporary,
    /// A URL of a kind that is not offered.
    Unknown(SecretUrl),
}

impl Config {
    /// A warehouse at `location`: a directory, `sqlite:PATH`, or `postgres://…` with a
    /// [data path](Self::data_path).
    pub fn new(location: impl Into<String>) -> Self {
        let location: String = location.into();
        let location = match location.split_once(':') {
            Some(("sqlite", path)) => Location::Sqlite(path.into()),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Location::Postgres(SecretUrl(location))
            }
            Some((_, rest)) if rest.starts_with("//") => Location::Unknown(SecretUrl(location)),
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
            temp_directory: None,
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

    /// Where queries put what their memory does not hold, in files without a name; `/var/tmp`, or what
    /// the system says, by default.
    #[must_use]
    pub fn temp_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.temp_directory = Some(path.into());
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

/// A URL that may carry a password, and shows itself without one.
#[derive(Clone)]
pub(crate) struct SecretUrl(pub(crate) String);

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(mut url) = Url::parse(&self.0) else {
            // Where in it the password would be cannot be told.
            return write!(f, "{}://…", self.0.split(':').next().unwrap_or_default());
        };
        // A URL without a host has no password to take away.
        let _ = url.set_password(None);
        let shown: Vec<String> = url
            .query_pairs()
            .filter(|(name, _)| !name.contains("password"))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        url.set_query((!shown.is_empty()).then(|| shown.join("&")).as_deref());
        url.fmt(f)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
        for url in ["postgres://h/db", "postgresql://u:p@h:5432/db", "postgres:///db"] {
            assert!(matches!(Config::new(url).location, Location::Postgres(_)), "{url}");
        }
        assert!(matches!(Config::new("mysql://h/db").location, Location::Unknown(_)));
    }

    #[test]
    fn secrets_do_not_show() {
        let config = Config::temporary().storage_option("AWS_SECRET_ACCESS_KEY", "hunter2");
        let shown = format!("{config:?}");
        assert!(shown.contains("aws_secret_access_key") && !shown.contains("hunter2"));
        for (url, expected) in [
            ("postgres://ann:hunter2@h:5433/db", "postgres://ann@h:5433/db"),
            (
                "postgresql://h/db?password=hunter2&sslmode=require",
                "postgresql://h/db?sslmode=require",
            ),
            ("postgres:///db?host=/run/pg&password=hunter2", "postgres:///db?host=/run/pg"),
            ("postgres://ann:hunter2@h:port/db", "postgres://…"),
            ("mysql://ann:hunter2@h/db", "mysql://ann@h/db"),
        ] {
            let shown = format!("{:?}", Config::new(url).location);
            assert!(shown.contains(expected) && !shown.contains("hunter2"), "{shown}");
        }
    }
}
