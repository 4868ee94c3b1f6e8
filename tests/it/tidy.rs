//! The house rules that a compiler does not know.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::files;

fn sources() -> Vec<(String, String)> {
    below("src")
}

/// The Rust files of a directory, with their names in it.
fn below(directory: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(path).unwrap())
    };
    files(&root).into_iter().filter(rust).map(read).collect()
}

/// The text without its comments.
fn code(text: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_file_says_what_it_owns() {
    for (name, text) in sources().into_iter().chain(below("tests")) {
        assert!(text.starts_with("//! "), "{name} has no //! at its top");
    }
}

#[test]
fn files_can_be_read_in_one_sitting() {
    for (name, text) in sources().into_iter().chain(below("tests")) {
        assert!(text.lines().count() <= 700, "{name} has {} lines", text.lines().count());
    }
}

#[test]
fn dependencies_point_one_way() {
    // A layer, and those it must not know besides the uppermost.
    let uppermost = ["cli", "session", "warehouse", "maintain"];
    let rules: [(&str, &[&str]); 9] = [
        ("catalog", &["write", "table", "source", "sql", "storage"]),
        ("sql", &["write", "table", "source", "storage"]),
        ("storage", &["write", "table", "source", "sql", "catalog"]),
        ("table", &["write", "source"]),
        ("maintain", &["source", "sql"]),
        ("source", &["write", "catalog"]),
        // What it knows of tables it is told as any engine is.
        ("optimizer", &["write", "table", "source", "sql", "storage", "catalog"]),
        ("exec", &["write", "table", "source", "sql", "storage", "catalog", "optimizer"]),
        ("diagnostic", &["write", "table", "sql", "catalog"]),
    ];
    for (name, text) in sources() {
        let text = code(&text);
        for (layer, forbidden) in rules {
            if name != format!("{layer}.rs") && !name.starts_with(&format!("{layer}/")) {
                continue;
            }
            for other in uppermost.iter().filter(|other| **other != layer).chain(forbidden) {
                let uses = format!("crate::{other}::");
                assert!(!text.contains(&uses), "{name} uses {uses}");
            }
        }
        if !name.starts_with("cli/") && !["main.rs", "build.rs"].contains(&name.as_str()) {
            assert!(!text.contains("crate::cli"), "{name} uses the command line");
            assert!(!text.contains("env::var"), "{name} reads the environment");
        }
    }
    let catalog = sources().into_iter().filter(|(name, _)| name.starts_with("catalog/"));
    for (name, text) in catalog {
        let text = code(&text);
        for engine in ["datafusion::", "arrow::", "object_store::"] {
            assert!(!text.contains(engine), "{name} uses {engine}");
        }
    }
}

#[test]
fn one_version_of_the_engine_is_in_the_tree() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    for package in ["arrow-array", "parquet", "datafusion", "object_store", "sqlparser"] {
        let name = format!("name = \"{package}\"\n");
        assert_eq!(lock.matches(&name).count(), 1, "{package}");
    }
}
