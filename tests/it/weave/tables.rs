//! Tables and views as the mirror has them, and how their names are written.

use super::types::Type;

/// A table or a view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relation {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) is_view: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: u64,
    /// Nothing has been written to it.
    pub(crate) is_new: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) has_default: bool,
    pub(crate) is_nullable: bool,
}

impl Relation {
    /// Its full name, quoted.
    pub(crate) fn path(&self) -> String {
        path(&self.schema, &self.name)
    }

    pub(crate) fn id(&self) -> String {
        quoted(&self.columns[0].name)
    }

    pub(crate) fn values(&self) -> &[Column] {
        &self.columns[1..]
    }
}

pub(crate) fn path(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A default for types that have one here.
pub(crate) fn default_of(kind: &Type) -> &'static str {
    match kind.name().as_str() {
        "INTEGER" => " DEFAULT 42",
        "VARCHAR" => " DEFAULT 'it''s'",
        "DECIMAL(18,3)" => " DEFAULT 1.5",
        "DATE" => " DEFAULT '2024-02-29'",
        _ => "",
    }
}
