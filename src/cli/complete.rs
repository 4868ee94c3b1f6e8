//! What Tab offers: dot commands and their arguments, files inside quotes, and in SQL the names
//! that fit the place, then keywords.
//!
//! Names come from the session and are as fresh as the last statement. Keywords are a chosen list,
//! not all that the parser knows, so that Tab stays useful; they take the case of what was typed.

use std::fs;
use std::path::MAIN_SEPARATOR;

use super::command::TABLE;
use super::output::Format;
use super::{command, highlight};
use crate::Names;

/// Sorted, for the highlighter's search.
#[rustfmt::skip]
pub(crate) const KEYWORDS: &[&str] = &[
    "ADD", "ALL", "ALTER", "ANALYZE", "AND", "ANTI", "ANY", "ARRAY", "AS", "ASC", "AT",
    "ATTACH", "BEGIN", "BETWEEN", "BIGINT", "BOOLEAN", "BY", "CALL", "CASCADE", "CASE", "CAST",
    "CHECKPOINT", "COLUMN", "COMMENT", "COMMIT", "CONSTRAINT", "COPY", "CREATE", "CROSS",
    "CURRENT", "DATE", "DECIMAL", "DEFAULT", "DELETE", "DESC", "DESCRIBE", "DETACH", "DISTINCT",
    "DOUBLE", "DROP", "ELSE", "END", "ESCAPE", "EXCEPT", "EXCLUDE", "EXECUTE", "EXISTS",
    "EXPLAIN", "EXTRACT", "FALSE", "FILTER", "FIRST", "FLOAT", "FOLLOWING", "FOR", "FORMAT",
    "FROM", "FULL", "GROUP", "GROUPING", "HAVING", "IF", "ILIKE", "IN", "INNER", "INSERT",
    "INT", "INTEGER", "INTERSECT", "INTERVAL", "INTO", "IS", "JOIN", "LAST", "LATERAL", "LEFT",
    "LIKE", "LIMIT", "MATCHED", "MERGE", "NATURAL", "NOT", "NULL", "NULLS", "OFFSET", "ON",
    "OR", "ORDER", "OUTER", "OVER", "PARTITION", "PARTITIONED", "PIVOT", "PRECEDING", "PREPARE",
    "QUALIFY", "RANGE", "REFRESH", "RENAME", "REPLACE", "RESET", "RIGHT", "ROLLBACK", "ROW",
    "ROWS", "SCHEMA", "SCHEMAS", "SECRET", "SELECT", "SEMI", "SET", "SHOW", "SMALLINT", "SOME",
    "SORTED", "STRUCT", "SUMMARIZE", "TABLE", "TABLES", "TEMPORARY", "THEN", "TIME",
    "TIMESTAMP", "TIMESTAMPTZ", "TO", "TRANSACTION", "TRUE", "TRUNCATE", "UNBOUNDED", "UNION",
    "UNIQUE", "UNNEST", "UPDATE", "USE", "USING", "VALUES", "VARCHAR", "VIEW", "WHEN", "WHERE",
    "WINDOW", "WITH", "WITHIN",
];

/// After these a table is named.
const BEFORE_TABLE: &[&str] =
    &["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "VIEW", "DESCRIBE", "SUMMARIZE", "TRUNCATE"];

/// One thing Tab can put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) shown: String,
    pub(crate) text: String,
}

impl Candidate {
    fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { shown: text.clone(), text }
    }
}

/// Where the text to replace begins in `before`, the text up to the cursor, and what can replace it.
pub(crate) fn complete(before: &str, names: Option<&Names>) -> (usize, Vec<Candidate>) {
    let lead = before.len() - before.trim_start().len();
    if before[lead..].starts_with(['.', '\\']) {
        return of_command(before, lead, names);
    }
    if let Some(quote) = highlight::open_string(before) {
        return of_path(before, quote + 1);
    }
    of_sql(before, names)
}

fn of_command(before: &str, lead: usize, names: Option<&Names>) -> (usize, Vec<Candidate>) {
    let line = &before[lead..];
    let Some((head, _)) = line.split_once(char::is_whitespace) else {
        return (lead, commands(line));
    };
    let start = before.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let word = &before[start..];
    let Ok(call) = command::Call::parse(head, command::Lookup::Prefix) else {
        return (start, Vec::new());
    };
    let words: Vec<&str> = match call.command.name {
        "mode" => Format::ALL.iter().map(|(_, name, ..)| *name).collect(),
        "help" => TABLE.iter().map(|command| command.name).collect(),
        "read" | "output" | "once" | "cd" | "open" | "edit" => return of_path(before, start),
        "tables" | "schema" => {
            names.map(|n| n.tables.iter().map(String::as_str).collect()).unwrap_or_default()
        }
        _ if call.command.is_switch() => vec!["on", "off"],
        _ => Vec::new(),
    };
    let fits = words.into_iter().filter(|candidate| candidate.starts_with(word));
    (start, fits.map(Candidate::plain).collect())
}

fn commands(line: &str) -> Vec<Candidate> {
    let all: Vec<String> = if line.starts_with('.') {
        TABLE.iter().map(|command| format!(".{}", command.name)).collect()
    } else {
        TABLE.iter().flat_map(|c| c.aliases).map(|alias| format!("\\{alias}")).collect()
    };
    all.into_iter().filter(|name| name.starts_with(line)).map(Candidate::plain).collect()
}

/// The files that continue the path from `start` on.
fn of_path(before: &str, start: usize) -> (usize, Vec<Candidate>) {
    let typed = &before[start..];
    let (directory, prefix) = match typed.rfind(MAIN_SEPARATOR) {
        Some(at) => typed.split_at(at + 1),
        None => ("", typed),
    };
    let place = if directory.is_empty() { "./".into() } else { command::expand_home(directory) };
    let mut found: Vec<Candidate> = fs::read_dir(place)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let mut name = entry.file_name().into_string().ok()?;
            let fits =
                name.starts_with(prefix) && (!name.starts_with('.') || prefix.starts_with('.'));
            if entry.path().is_dir() {
                name.push(MAIN_SEPARATOR);
            }
            fits.then(|| Candidate { text: format!("{directory}{name}"), shown: name })
        })
        .collect();
    found.sort_by(|a, b| a.shown.cmp(&b.shown));
    (start, found)
}

fn of_sql(before: &str, names: Option<&Names>) -> (usize, Vec<Candidate>) {
    let part_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"');
    let start = before.trim_end_matches(part_of_word).len();
    let word = &before[start..];
    let previous = before[..start].split_whitespace().next_back().unwrap_or("").to_uppercase();
    let wants_table = BEFORE_TABLE.contains(&previous.as_str());
    if word.is_empty() && !wants_table {
        return (start, Vec::new());
    }
    let mut found = Found { word, candidates: Vec::new() };
    if let Some(names) = names {
        if !wants_table {
            found.add(names.columns.iter().map(String::as_str));
        }
        found.add(names.tables.iter().map(String::as_str));
        found.add(names.schemas.iter().map(String::as_str));
        if let Some((qualifier, column)) = word.rsplit_once('.').filter(|_| !wants_table) {
            found.add_qualified(qualifier, column, &names.columns);
        }
        if !word.is_empty() {
            let calls: Vec<String> =
                names.functions.iter().map(|name| format!("{name}(")).collect();
            found.add(calls.iter().map(String::as_str));
        }
    }
    if !word.is_empty() && (!wants_table || found.candidates.is_empty()) {
        found.add_keywords();
    }
    (start, found.candidates)
}

/// Collects what continues `word`, in the order of usefulness, each once.
struct Found<'a> {
    word: &'a str,
    candidates: Vec<Candidate>,
}

impl Found<'_> {
    fn add<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let word = self.word.to_lowercase();
        let fits = |name: &&str| name.to_lowercase().starts_with(&word);
        let mut found: Vec<Candidate> = names.filter(fits).map(Candidate::plain).collect();
        found.sort_by(|a, b| a.text.cmp(&b.text));
        self.extend(found);
    }

    fn add_qualified(&mut self, qualifier: &str, column: &str, columns: &[String]) {
        let column = column.to_lowercase();
        let fits = |name: &&String| name.to_lowercase().starts_with(&column);
        let found = columns
            .iter()
            .filter(fits)
            .map(|name| Candidate { shown: name.clone(), text: format!("{qualifier}.{name}") });
        let mut found: Vec<Candidate> = found.collect();
        found.sort_by(|a, b| a.text.cmp(&b.text));
        self.extend(found);
    }

    fn add_keywords(&mut self) {
        let upper = self.word.to_uppercase();
        let lower_case = !self.word.contains(char::is_uppercase);
        let fits = KEYWORDS.iter().filter(|keyword| keyword.starts_with(&upper));
        let cased = |keyword: &&str| {
            Candidate::plain(if lower_case { keyword.to_lowercase() } else { (*keyword).into() })
        };
        let found: Vec<Candidate> = fits.map(cased).collect();
        self.extend(found);
    }

    fn extend(&mut self, found: Vec<Candidate>) {
        for candidate in found {
            if !self.candidates.contains(&candidate) {
                self.candidates.push(candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(before: &str) -> (usize, Vec<String>) {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names = Names {
            schemas: list(&["main", "staging"]),
            tables: list(&["orders", "staging.raw"]),
            columns: list(&["order_id", "origin", "Odd Name"]),
            functions: list(&["sum", "substr"]),
        };
        let (start, found) = complete(before, Some(&names));
        (start, found.into_iter().map(|candidate| candidate.text).collect())
    }

    #[test]
    fn keywords_are_sorted_and_known_to_the_parser() {
        assert!(KEYWORDS.is_sorted());
        let all = crate::sql::script::keywords();
        let ours = ["SORTED", "SUMMARIZE", "TIMESTAMPTZ", "PIVOT", "CHECKPOINT"];
        for keyword in KEYWORDS {
            assert!(all.contains(keyword) || ours.contains(keyword), "{keyword}");
        }
    }

    #[test]
    fn the_place_decides() {
        assert_eq!(
            offered("select * from "),
            (14, vec!["orders".into(), "staging.raw".into(), "main".into(), "staging".into()])
        );
        assert_eq!(offered("select * from sta").1, ["staging.raw", "staging"]);
        assert_eq!(offered("select ord").1, ["order_id", "orders", "order"]);
        assert_eq!(offered("SELECT ORD").1, ["order_id", "orders", "ORDER"]);
        assert_eq!(offered("select o.or").1, ["o.order_id", "o.origin"]);
        assert_eq!(offered("select su").1, ["substr(", "sum(", "summarize"]);
        assert_eq!(offered("select ").1, [""; 0]);
    }

    #[test]
    fn commands_and_their_arguments() {
        assert_eq!(offered(".mo"), (0, vec![".mode".into()]));
        assert_eq!(offered(".mode ma"), (6, vec!["markdown".into()]));
        assert_eq!(offered(".timer "), (7, vec!["on".into(), "off".into()]));
        assert_eq!(offered("\\ti").1, ["\\timing"]);
        assert_eq!(offered("\\d ord").1, ["orders"]);
    }

    #[test]
    fn files_inside_quotes() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a b.csv"), "").unwrap();
        fs::create_dir(directory.path().join("ab")).unwrap();
        let before = format!("select * from '{}/a", directory.path().display());
        let (start, found) = offered(&before);
        assert_eq!(start, 15);
        let expected = ["a b.csv", "ab/"].map(|n| format!("{}/{n}", directory.path().display()));
        assert_eq!(found, expected);
    }
}
