//! Whether changes made on an older snapshot still hold on a newer one.
//!
//! The rules are DuckLake's, so that all its writers agree. Changes that do not conflict are
//! rebased: they commit as they are, with new ids.

use super::changes::{Change, Target};
use super::model::{
    Altered, Changes, Compaction, CompactionKind, Flush, Schema, Table, TableId, ViewId, same_name,
};
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

/// The same for rows that move from the catalog into files: none of them may have changed.
pub(crate) fn check_flush(mine: &Flush, theirs: &[Change]) -> Result<()> {
    const CLASHES: [&str; 4] =
        ["dropped_table", "inlined_delete", "inline_flush", "flushed_inlined"];
    let id = Target::Id(mine.table.id.0);
    let clashes = |change: &Change| change.target == id && CLASHES.contains(&change.kind.as_str());
    match theirs.iter().any(clashes) {
        false => Ok(()),
        true => Err(Error::new(
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
            let dropped = mine.dropped_views.iter().any(|view| view.0 == *id);
            let altered = mine.altered_views.contains_key(&ViewId(*id));
            (dropped || altered).then(|| "it dropped the same view".to_owned())
        }
        ("altered_view", Target::Id(id)) => {
            let altered = mine.altered_views.contains_key(&ViewId(*id));
            altered.then(|| "it altered the same view".to_owned())
        }
        (kind, Target::Id(id)) => on_table(mine, kind, TableId(*id)).map(str::to_owned),
        _ => None,
    }
}

/// What happened to a table that this transaction works on.
fn on_table(mine: &Changes, theirs: &str, table: TableId) -> Option<&'static str> {
    let appends = mine.appended.contains_key(&table) || mine.inlined.contains_key(&table);
    let deletes = mine.deleted.contains_key(&table);
    let altered = mine.altered_tables.get(&table);
    let is_dropped = mine.dropped_tables.contains(&table);
    match theirs {
        "dropped_table" if appends || deletes || altered.is_some() || is_dropped => {
            Some("it dropped a table this one changes")
        }
        "altered_table" if altered.is_some() => Some("it altered a table this one alters"),
        "altered_table" | "inlined_delete" if appends || deletes => {
            Some("it changed a table this one changes, too")
        }
        // Deletes of other files are no conflict; the commit checks each file it touches.
        "deleted_from_table" if appends && !deletes => {
            Some("it deleted from a table this one inserts into")
        }
        "inserted_into_table"
        | "inlined_insert"
        | "merge_adjacent"
        | "rewrite_delete"
        | "compacted_table"
        | "inline_flush"
        | "flushed_inlined"
            if deletes =>
        {
            Some("it wrote to a table this one deletes from")
        }
        // Stricter than DuckLake: the rows that a new rule was checked against are not all.
        "inserted_into_table" | "inlined_insert" if altered.is_some_and(tightens) => {
            Some("it inserted into a table this one has checked against a new constraint")
        }
        _ => None,
    }
}

/// Whether a table has a rule now that its rows had to follow already.
fn tightens(altered: &Altered<Table>) -> bool {
    let Altered { base, now } = altered;
    let is_nullable = |id| base.column_by_id(id).is_none_or(|column| column.nullable);
    now.columns.iter().any(|column| !column.nullable && is_nullable(column.id))
        || now.constraints.iter().any(|constraint| !base.constraints.contains(constraint))
}

/// Names compare without regard to case.
fn created(mine: &Changes, schemas: &[Schema], theirs: &[String]) -> Option<String> {
    let [schema, name] = theirs else {
        return None;
    };
    let in_theirs = |id| schemas.iter().any(|s| s.id == id && same_name(&s.name, schema));
    let table = mine.tables().any(|t| same_name(&t.name, name) && in_theirs(t.schema_id));
    let view = mine.views().any(|v| same_name(&v.name, name) && in_theirs(v.schema_id));
    if table || view {
        return Some(format!("it created \"{schema}.{name}\""));
    }
    let dropped =
        schemas.iter().any(|s| same_name(&s.name, schema) && mine.dropped_schemas.contains(&s.id));
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
