//! The text of `ducklake_snapshot_changes.changes_made`: what a snapshot changed, in a form that
//! every writer reads to find conflicts.
//!
//! Grammar: `entry ("," entry)*`, where an entry is `type:value` and a value an id or a quoted name,
//! `"schema"."name"`, with quotes doubled inside.

use std::fmt::Write;

use super::model::SnapshotRecord;

/// One entry: its type in lower case, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: String,
    pub(crate) target: Target,
}

/// What a change happened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// An object by id.
    Id(i64),
    /// An object by name: `["schema"]` or `["schema", "name"]`.
    Name(Vec<String>),
}

impl Change {
    pub(crate) fn id(kind: &str, id: i64) -> Self {
        Self { kind: kind.to_owned(), target: Target::Id(id) }
    }

    pub(crate) fn name(kind: &str, parts: &[&str]) -> Self {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Self { kind: kind.to_owned(), target: Target::Name(parts) }
    }
}

/// The text of a list of changes.
pub(crate) fn print(changes: &[Change]) -> String {
    let mut text = String::new();
    for (index, change) in changes.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}:", change.kind);
        match &change.target {
            Target::Id(id) => {
                let _ = write!(text, "{id}");
            }
            Target::Name(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    let dot = if index == 0 { "" } else { "." };
                    let _ = write!(text, "{dot}\"{}\"", part.replace('"', "\"\""));
                }
            }
        }
    }
    text
}

/// The changes in a text; `None` if it does not follow the grammar.
pub(crate) fn parse(text: &str) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, after) = rest.split_once(':')?;
        let (target, after) = target(after)?;
        changes.push(Change { kind: kind.to_lowercase(), target });
        rest = match after.strip_prefix(',') {
            Some(next) => next,
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(changes)
}

fn target(text: &str) -> Option<(Target, &str)> {
    if !text.starts_with('"') {
        let end = text.find(',').unwrap_or(text.len());
        return Some((Target::Id(text[..end].parse().ok()?), &text[end..]));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = quoted(rest)?;
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return Some((Target::Name(parts), after)),
        }
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text.strip_prefix('"')?;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

/// The listing's name for each type of change.
const KINDS: &[(&str, &str)] = &[
    ("created_schema", "schemas_created"),
    ("dropped_schema", "schemas_dropped"),
    ("created_table", "tables_created"),
    ("dropped_table", "tables_dropped"),
    ("altered_table", "tables_altered"),
    ("inserted_into_table", "tables_inserted_into"),
    ("deleted_from_table", "tables_deleted_from"),
    ("created_view", "views_created"),
    ("dropped_view", "views_dropped"),
    ("altered_view", "views_altered"),
    ("created_scalar_macro", "scalar_macros_created"),
    ("dropped_scalar_macro", "scalar_macros_dropped"),
    ("created_table_macro", "table_macros_created"),
    ("dropped_table_macro", "table_macros_dropped"),
    ("inlined_insert", "inlined_insert"),
    ("inlined_delete", "inlined_delete"),
    ("inline_flush", "flushed_inlined"),
    ("flushed_inlined", "flushed_inlined"),
    ("merge_adjacent", "merge_adjacent"),
    ("compacted_table", "merge_adjacent"),
    ("rewrite_delete", "rewrite_delete"),
];

impl SnapshotRecord {
    /// The changes grouped under the names that `snapshots()` lists, each with its objects.
    pub fn changes_by_kind(&self) -> Vec<(&'static str, Vec<String>)> {
        let changes = self.changes.as_deref().and_then(parse).unwrap_or_default();
        let mut groups: Vec<(&'static str, Vec<String>)> = Vec::new();
        for change in changes {
            let Some((_, listed)) = KINDS.iter().find(|(kind, _)| *kind == change.kind) else {
                continue;
            };
            let object = match change.target {
                Target::Id(id) => id.to_string(),
                Target::Name(parts) => parts.join("."),
            };
            match groups.iter_mut().find(|(kind, _)| kind == listed) {
                Some((_, objects)) => objects.push(object),
                None => groups.push((listed, vec![object])),
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        let name = prop::collection::vec("[a-z\",.: 곳]{1,6}", 1..3).prop_map(Target::Name);
        let target = prop_oneof![any::<i64>().prop_map(Target::Id), name];
        ("[a-z_]{1,12}", target).prop_map(|(kind, target)| Change { kind, target })
    }

    proptest! {
        #[test]
        fn what_is_printed_parses(changes in prop::collection::vec(change(), 0..5)) {
            prop_assert_eq!(parse(&print(&changes)), Some(changes));
        }

        #[test]
        fn no_text_panics(text in "[a-z\",.:0-9]{0,20}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn the_specification_s_example_parses() {
        let changes = parse(r#"created_table:"main"."a ""b""",INSERTED_INTO_TABLE:7"#).unwrap();
        assert_eq!(changes[0], Change::name("created_table", &["main", "a \"b\""]));
        assert_eq!(changes[1], Change::id("inserted_into_table", 7));
        assert_eq!(parse("nonsense"), None);
    }
}
