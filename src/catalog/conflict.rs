//! Whether changes made on an older snapshot still hold on a newer one.
//!
//! The rules are DuckLake's, so that all its writers agree. Changes that do not conflict are
//! rebased: they commit as they are, with new ids.

use super::changes::{Change, Target};
use super::model::{Changes, Compaction, CompactionKind, Schema};
use crate::error::{Error, ErrorKind, Result};

/// Checks `mine` against what others committed since its base. `schemas` are those that `mine`
/// creates tables and views in.
pub(crate) fn check(mine: &Changes, schemas: &[Schema], theirs: &[Change]) -> Result<()> {
    for change in theirs {
        if let Some(reason) = conflict(mine, schemas, change) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("another transaction was first: {reason}"),
            )
            .with_help("nothing was changed; run the transaction again"));
        }
    }
    Ok(())
}

/// The same for files that take the place of others. Whether those are still as they were read is
/// checked file by file, under the lock; what is left are changes of the table itself.
pub(crate) fn check_compaction(mine: &Compaction, theirs: &[Change]) -> Result<()> {
    let id = Target::Id(mine.table.id.0);
    let clash = theirs.iter().filter(|change| change.target == id).find(|change| {
        match change.kind.as_str() {
            "dropped_table" => true,
            // What a rewrite writes is of the newest form, a merged file of its rows' own.
            "altered_table" => mine.kind == CompactionKind::Rewrite,
            _ => false,
        }
    });
    match clash {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::Conflict,
            format!("another transaction was first: it changed table \"{}\"", mine.table.name),
        )
        .with_help("nothing was changed; run the statement again")),
    }
}

fn conflict(mine: &Changes, schemas: &[Schema], theirs: &Change) -> Option<String> {
    match (theirs.kind.as_str(), &theirs.target) {
        ("created_schema", Target::Name(name)) => {
            let clash = mine.created_schemas.iter().any(|s| Some(&s.name) == name.first());
            clash.then(|| format!("it created schema \"{}\"", name.join(".")))
        }
        ("created_table" | "created_view", Target::Name(name)) => created(mine, schemas, name),
        ("dropped_schema", Target::Id(id)) => {
            let used = schemas.iter().find(|schema| schema.id.0 == *id);
            let dropped = mine.dropped_schemas.iter().any(|schema| schema.0 == *id);
            match used {
                Some(schema) => Some(format!("it dropped schema \"{}\"", schema.name)),
                None => dropped.then(|| "it dropped the same schema".to_owned()),
            }
        }
        ("dropped_view", Target::Id(id)) => {
            let clash = mine.dropped_views.iter().any(|view| view.0 == *id);
            clash.then(|| "it dropped the same view".to_owned())
        }
        ("dropped_table", Target::Id(id)) => {
            let dropped = mine.dropped_tables.iter().any(|table| table.0 == *id);
            let changed = mine.appends_to(*id) || mine.deletes_from(*id);
            (dropped || changed).then(|| "it dropped a table this one changes".to_owned())
        }
        ("altered_table" | "inlined_delete", Target::Id(id)) => {
            let changed = mine.appends_to(*id) || mine.deletes_from(*id);
            changed.then(|| "it changed a table this one changes, too".to_owned())
        }
        // Deletes of other files are no conflict; the commit checks each file it touches.
        ("deleted_from_table", Target::Id(id)) => {
            let inserts = mine.appends_to(*id) && !mine.deletes_from(*id);
            inserts.then(|| "it deleted from a table this one inserts into".to_owned())
        }
        (
            "inserted_into_table"
            | "inlined_insert"
            | "merge_adjacent"
            | "rewrite_delete"
            | "compacted_table"
            | "inline_flush"
            | "flushed_inlined",
            Target::Id(id),
        ) => mine.deletes_from(*id).then(|| "it wrote to a table this one deletes from".to_owned()),
        _ => None,
    }
}

impl Changes {
    fn appends_to(&self, table: i64) -> bool {
        self.appended.keys().any(|other| other.0 == table)
    }

    fn deletes_from(&self, table: i64) -> bool {
        self.deleted.keys().any(|other| other.0 == table)
    }
}

/// Names compare without regard to case.
fn created(mine: &Changes, schemas: &[Schema], theirs: &[String]) -> Option<String> {
    let [schema, name] = theirs else {
        return None;
    };
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    let in_theirs = |id| schemas.iter().any(|s| s.id == id && same(&s.name, schema));
    let table = mine.created_tables.iter().any(|t| same(&t.name, name) && in_theirs(t.schema_id));
    let view = mine.created_views.iter().any(|v| same(&v.name, name) && in_theirs(v.schema_id));
    if table || view {
        return Some(format!("it created \"{schema}.{name}\""));
    }
    let dropped =
        schemas.iter().any(|s| same(&s.name, schema) && mine.dropped_schemas.contains(&s.id));
    dropped.then(|| format!("it created \"{name}\" in schema \"{schema}\", which this one drops"))
}

#[cfg(test)]
mod tests {
    use super::super::changes::parse;
    use super::super::model::{ObjectPath, SchemaId, TableId};
    use super::*;

    fn mine() -> (Changes, Vec<Schema>) {
        let path = ObjectPath::Relative("main/".into());
        let main = Schema { id: SchemaId(0), uuid: uuid::Uuid::nil(), name: "main".into(), path };
        let mut changes = Changes::default();
        changes.appended.insert(TableId(7), vec![]);
        changes.dropped_tables.push(TableId(8));
        (changes, vec![main])
    }

    #[test]
    fn the_rules_of_inserts_and_drops() {
        let (mine, schemas) = mine();
        for (theirs, conflicts) in [
            ("inserted_into_table:7", false),
            ("deleted_from_table:7", true),
            ("inlined_delete:7", true),
            ("inlined_insert:7", false),
            ("altered_table:7", true),
            ("dropped_table:7", true),
            ("dropped_table:8", true),
            ("altered_table:8", false),
            ("inserted_into_table:8", false),
            ("merge_adjacent:7", false),
            ("dropped_schema:0", true),
            ("created_table:\"main\".\"other\"", false),
        ] {
            let result = check(&mine, &schemas, &parse(theirs).unwrap());
            assert_eq!(result.is_err(), conflicts, "{theirs}");
            assert!(result.is_ok() || result.unwrap_err().is_retryable());
        }
    }
}
