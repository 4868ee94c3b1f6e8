//! The files that a name stands for: one file, a directory, or a glob, on any storage.
//!
//! In a glob `*`, `?` and `[…]` stay within a directory and `**` goes below any number, as in a
//! shell. Files without a byte are left out: they hold nothing to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::object_store::ObjectStoreUrl;
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt};
use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};
use crate::storage::{self, Located, Storage};

/// Like a shell: a separator is matched only by itself.
const LIKE_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// The files of one reader, in the order of their names.
pub(crate) struct Found {
    pub(crate) url: ObjectStoreUrl,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) objects: Vec<ObjectMeta>,
}

impl Found {
    /// A file's path or URL as the user would write it.
    pub(crate) fn shown(&self, object: &ObjectMeta) -> String {
        match self.url.as_str() {
            "file:///" => format!("/{}", object.location),
            store => format!("{store}{}", object.location),
        }
    }
}

/// Finds all of `names`, which are on one store. A file that two names find is read once.
pub(crate) async fn find(storage: &Storage, names: &[String]) -> Result<Found> {
    let mut store: Option<Located> = None;
    let mut objects = BTreeMap::new();
    for name in names {
        let (located, found) = one(storage, name).await?;
        if found.is_empty() {
            return Err(no_match(name));
        }
        objects.extend(found.into_iter().map(|object| (object.location.clone(), object)));
        match &store {
            Some(first) if first.url != located.url => {
                return Err(Error::unsupported("one reader cannot read from two stores")
                    .with_help("read each on its own and combine them with UNION ALL BY NAME"));
            }
            Some(_) => {}
            None => store = Some(located),
        }
    }
    let Located { url, store, .. } = store.ok_or_else(|| Error::invalid("no file is named"))?;
    Ok(Found { url, store, objects: objects.into_values().collect() })
}

async fn one(storage: &Storage, name: &str) -> Result<(Located, Vec<ObjectMeta>)> {
    let failed = |error: StoreError| match error {
        StoreError::NotFound { .. } => no_match(name).with_source(error),
        error => storage::storage(name, error),
    };
    if let Some((directory, pattern)) = split_glob(name)? {
        let located = storage.locate(directory)?;
        let objects = matching(&located, pattern, name).await.map_err(failed)?;
        return Ok((located, objects));
    }
    let located = storage.locate(name)?;
    let is_directory = name.ends_with('/')
        || (located.url == ObjectStoreUrl::local_filesystem() && storage::absolute(name)?.is_dir());
    let mut objects = match is_directory {
        true => below(&located).await.map_err(failed)?,
        false => vec![located.store.head(&located.path).await.map_err(failed)?],
    };
    objects.retain(|object| object.size > 0);
    Ok((located, objects))
}

/// The directory before the first part of a name that has a wildcard, and the rest. `None` for a
/// name without any, for a URL of a web server, and for a local file that exists as it is written.
fn split_glob(name: &str) -> Result<Option<(&str, &str)>> {
    let remote = storage::remote(name)?;
    let is_plain = match &remote {
        Some(url) => matches!(url.scheme(), "http" | "https"),
        None => storage::absolute(name)?.exists(),
    };
    let Some(wildcard) = name.find(['*', '?', '[']).filter(|_| !is_plain) else {
        return Ok(None);
    };
    let start = name[..wildcard].rfind('/').map_or(0, |slash| slash + 1);
    let directory = if start == 0 { "." } else { &name[..start] };
    Ok(Some((directory, &name[start..])))
}

async fn matching(
    located: &Located,
    pattern: &str,
    name: &str,
) -> std::result::Result<Vec<ObjectMeta>, StoreError> {
    let compiled = Pattern::new(pattern).map_err(|error| StoreError::Generic {
        store: "glob",
        source: format!("'{name}' is not a pattern: {error}").into(),
    })?;
    let prefix = Some(&located.path);
    let mut objects = match pattern.contains('/') || pattern.contains("**") {
        true => located.store.list(prefix).try_collect().await?,
        // One level: the store need not list what lies below.
        false => located.store.list_with_delimiter(prefix).await?.objects,
    };
    let matches = |path: &Path| {
        let mut rest = path.prefix_match(&located.path)?;
        let first = rest.next()?.as_ref().to_owned();
        let relative = rest.fold(first, |path, part| path + "/" + part.as_ref());
        // Some stores keep some characters encoded; patterns are written in plain.
        let plain = percent_decode_str(&relative).decode_utf8_lossy();
        let mut names = [relative.as_str(), &plain].into_iter();
        Some(names.any(|name| compiled.matches_with(name, LIKE_A_SHELL)))
    };
    objects.retain(|object: &ObjectMeta| {
        object.size > 0 && matches(&object.location).unwrap_or(false)
    });
    Ok(objects)
}

/// Everything below a directory but what tools hide there, such as `_SUCCESS` and `.part.crc`.
async fn below(located: &Located) -> std::result::Result<Vec<ObjectMeta>, StoreError> {
    let mut objects: Vec<ObjectMeta> =
        located.store.list(Some(&located.path)).try_collect().await?;
    objects.retain(|object| {
        object.location.filename().is_some_and(|name| !name.starts_with(['_', '.']))
    });
    Ok(objects)
}

fn no_match(name: &str) -> Error {
    let error = match name.contains(['*', '?', '[']) {
        true => format!("no file matches '{name}'"),
        false => format!("file '{name}' does not exist or is empty"),
    };
    Error::not_found(error).with_help(match storage::remote(name) {
        Ok(Some(_)) => "check the URL and the credentials".to_owned(),
        _ => format!(
            "relative paths start at the working directory{}",
            std::env::current_dir().map(|dir| format!(", {}", dir.display())).unwrap_or_default()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_what_stands_before_the_first_wildcard() {
        for (name, expected) in [
            ("logs/*.csv", Some(("logs/", "*.csv"))),
            ("s3://b/logs/*/a?.csv", Some(("s3://b/logs/", "*/a?.csv"))),
            ("*.csv", Some((".", "*.csv"))),
            ("logs/a.csv", None),
            ("https://host/a.csv?token=1", None),
        ] {
            assert_eq!(split_glob(name).unwrap(), expected, "{name}");
        }
    }
}
