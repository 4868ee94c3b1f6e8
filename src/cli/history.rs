//! What was typed, kept between sessions.
//!
//! One file in the user's state directory, readable by the user only, one entry on a line with
//! line ends escaped; every entry is appended when it is typed, so several shells can share it.
//! Statements that carry secrets are not kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file is cut to this many entries when it has twice as many.
const MAX_ENTRIES: usize = 5_000;

/// `$XDG_STATE_HOME/gotgan/history` or its like on other systems.
fn path() -> Option<PathBuf> {
    let state = dirs::state_dir().or_else(|| Some(dirs::home_dir()?.join(".local/state")))?;
    Some(state.join("gotgan").join("history"))
}

/// All entries, the oldest first; none when there is no file.
pub(crate) fn load() -> Vec<String> {
    let text = path().and_then(|path| fs::read(path).ok()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(unescape).collect()
}

/// Keeps `entry`. A history that cannot be written is no reason to disturb.
pub(crate) fn append(entry: &str) {
    if let Some(path) = path() {
        let _ = append_to(&path, entry);
    }
}

fn append_to(path: &Path, entry: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(format!("{}\n", escape(entry)).as_bytes())
}

/// Shortens a file that has grown too long.
pub(crate) fn trim() {
    let entries = load();
    if entries.len() < 2 * MAX_ENTRIES {
        return;
    }
    if let Some(path) = path() {
        let recent = &entries[entries.len() - MAX_ENTRIES..];
        let lines: Vec<String> = recent.iter().map(|entry| escape(entry) + "\n").collect();
        let _ = fs::write(path, lines.concat());
    }
}

/// Whether a statement has something in it that should not be written to a file.
pub(crate) fn holds_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let telling = ["secret", "password", "passwd", "pwd", "token", "access_key", "account_key"];
    words.iter().any(|word| telling.iter().any(|t| word == t || word.ends_with(&format!("_{t}"))))
        || has_url_password(&text)
}

/// `scheme://user:password@host`.
fn has_url_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let end = rest.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(rest.len());
        rest[..end].split_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

fn escape(entry: &str) -> String {
    entry.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "")
}

fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            }),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/gotgan/history");
        let entries = ["select '\\n',\n  1;", "곳간 \\", ""];
        for entry in entries {
            append_to(&path, entry).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().map(unescape).collect::<Vec<_>>(), entries);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn secrets_are_seen() {
        for text in [
            "CREATE SECRET s (TYPE s3)",
            "attach 'host=x password=hunter2' as p",
            "SET s3_secret_access_key = 'x'",
            "attach 'postgres://me:pw@host/db' as p",
            "\\set pg_password x",
        ] {
            assert!(holds_secret(text), "{text}");
        }
        for text in ["select secretary from t", "attach 'postgres://me@host/a:b'", "select 1;"] {
            assert!(!holds_secret(text), "{text}");
        }
    }
}
