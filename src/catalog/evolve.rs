//! Changing the columns of a table value: add, drop, rename, retype. Pure.
//!
//! Fields inside of structs, list elements and map values are reached by a path of names; a list's
//! child is `element`, a map's are `key` and `value`. Every column keeps its id for life, and files
//! are read by id, so nothing here touches a file.

use super::model::{Column, ColumnId, ColumnType, Table, same_name};
use super::types::type_name;
use super::widen::widens;
use crate::error::{Error, ErrorKind, Result};

impl Table {
    /// The column at a path, if there is one.
    pub fn column(&self, path: &[String]) -> Option<&Column> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(find(self.columns.iter(), first)?, |column, name| {
            find(column.children().into_iter(), name)
        })
    }

    /// The column at a path, which has to be there.
    pub fn require_column(&self, path: &[String]) -> Result<&Column> {
        self.column(path).ok_or_else(|| self.no_column(path))
    }

    /// A top-level column by id.
    pub fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// The column at a path, to be changed; its type and its children stay as they are.
    pub fn column_mut(&mut self, path: &[String]) -> Result<&mut Column> {
        let missing = self.no_column(path);
        let Some((first, rest)) = path.split_first() else {
            return Err(missing);
        };
        let mut column = find_mut(self.columns.iter_mut(), first);
        for name in rest {
            column = column.and_then(|column| find_mut(column.children_mut().into_iter(), name));
        }
        column.ok_or(missing)
    }

    /// Adds a column at the end, or with a path a field at the end of the struct there. Ids are
    /// given here.
    pub fn add_column(&mut self, parent: &[String], mut column: Column) -> Result<()> {
        if column.name.is_empty() || column.name.contains('\0') {
            return Err(Error::invalid(format!("{:?} is not a name for a column", column.name)));
        }
        let mut next = self.next_column_id;
        number(&mut column, &mut next);
        let siblings = self.fields_mut(parent)?;
        if siblings.iter().any(|other| same_name(&other.name, &column.name)) {
            return Err(taken(&column.name));
        }
        siblings.push(column);
        self.next_column_id = next;
        Ok(())
    }

    /// Drops a column, or a field of a struct.
    pub fn drop_column(&mut self, path: &[String]) -> Result<()> {
        let id = self.require_column(path)?.id;
        let name = path.join(".");
        let siblings = self.fields_mut(&path[..path.len() - 1])?;
        if siblings.len() == 1 {
            let whole = if path.len() == 1 { "its table" } else { "its struct" };
            return Err(Error::invalid(format!("column \"{name}\" is the only one of {whole}"))
                .with_help(match path.len() {
                    1 => "drop the table instead",
                    _ => "drop the struct column instead",
                }));
        }
        siblings.retain(|column| column.id != id);
        Ok(())
    }

    /// Renames a column, or a field of a struct.
    pub fn rename_column(&mut self, path: &[String], to: &str) -> Result<()> {
        let id = self.require_column(path)?.id;
        if to.is_empty() || to.contains('\0') {
            return Err(Error::invalid(format!("{to:?} is not a name for a column")));
        }
        let siblings = self.fields_mut(&path[..path.len() - 1])?;
        if siblings.iter().any(|other| other.id != id && same_name(&other.name, to)) {
            return Err(taken(to));
        }
        if let Some(column) = siblings.iter_mut().find(|column| column.id == id) {
            to.clone_into(&mut column.name);
        }
        Ok(())
    }

    /// Changes a column's type to a wider one. Fields of a struct are matched by name: new ones are
    /// added, missing ones dropped.
    pub fn set_type(&mut self, path: &[String], to: ColumnType) -> Result<()> {
        let mut next = self.next_column_id;
        let name = path.join(".");
        let column = self.column_mut(path)?;
        let from = std::mem::replace(&mut column.column_type, ColumnType::Boolean);
        column.column_type = retype(&name, from, to, &mut next)?;
        self.next_column_id = next;
        Ok(())
    }

    /// The columns of the table, or the fields of the struct at a path.
    fn fields_mut(&mut self, path: &[String]) -> Result<&mut Vec<Column>> {
        if path.is_empty() {
            return Ok(&mut self.columns);
        }
        let column = self.column_mut(path)?;
        match &mut column.column_type {
            ColumnType::Struct(fields) => Ok(fields),
            other => Err(Error::invalid(format!(
                "\"{}\" is a {}, not a struct",
                path.join("."),
                type_name(other)
            ))
            .with_help(
                "fields of a list's struct are under \"element\", of a map's under \"value\"",
            )),
        }
    }

    fn no_column(&self, path: &[String]) -> Error {
        let depth = (1..path.len()).take_while(|n| self.column(&path[..*n]).is_some()).count();
        let siblings: Vec<&str> = match self.column(&path[..depth]) {
            Some(parent) => parent.children().iter().map(|child| child.name.as_str()).collect(),
            None => self.columns.iter().map(|column| column.name.as_str()).collect(),
        };
        let missing = path.get(depth).map_or("", String::as_str);
        Error::no_such("column", missing, siblings)
    }
}

/// Gives a column and its children the next ids, depth first.
pub(super) fn number(column: &mut Column, next: &mut i64) {
    column.id = ColumnId(*next);
    *next += 1;
    column.children_mut().into_iter().for_each(|child| number(child, next));
}

fn retype(path: &str, from: ColumnType, to: ColumnType, next: &mut i64) -> Result<ColumnType> {
    match (from, to) {
        (ColumnType::Struct(mut old), ColumnType::Struct(new)) => {
            let mut fields = Vec::with_capacity(new.len());
            for mut field in new {
                let kept = old.iter().position(|other| same_name(&other.name, &field.name));
                fields.push(match kept.map(|index| old.remove(index)) {
                    Some(kept) => {
                        let path = format!("{path}.{}", kept.name);
                        let (from, to) = (kept.column_type, field.column_type);
                        Column { column_type: retype(&path, from, to, next)?, ..kept }
                    }
                    None => {
                        number(&mut field, next);
                        field
                    }
                });
            }
            // Readers order fields by id, so a new field between old ones comes last.
            fields.sort_by_key(|field| field.id);
            Ok(ColumnType::Struct(fields))
        }
        (ColumnType::List(old), ColumnType::List(new)) => {
            Ok(ColumnType::List(child(path, *old, *new, next)?))
        }
        (ColumnType::Map(key, value), ColumnType::Map(new_key, new_value)) => Ok(ColumnType::Map(
            child(path, *key, *new_key, next)?,
            child(path, *value, *new_value, next)?,
        )),
        (from, to) if widens(&from, &to) => Ok(to),
        (from, to) => Err(Error::unsupported(format!(
            "column \"{path}\" cannot change from {} to {}",
            type_name(&from),
            type_name(&to)
        ))
        .with_help(
            "only to a type that holds all values of the old one; else rebuild the table: \
             CREATE OR REPLACE TABLE t AS SELECT … FROM t",
        )),
    }
}

fn child(path: &str, mut old: Column, new: Column, next: &mut i64) -> Result<Box<Column>> {
    let path = format!("{path}.{}", old.name);
    let from = std::mem::replace(&mut old.column_type, ColumnType::Boolean);
    old.column_type = retype(&path, from, new.column_type, next)?;
    Ok(Box::new(old))
}

/// An exact match goes before one in another case.
fn find<'a>(columns: impl Iterator<Item = &'a Column> + Clone, name: &str) -> Option<&'a Column> {
    let exact = columns.clone().find(|column| column.name == name);
    exact.or_else(|| columns.into_iter().find(|column| same_name(&column.name, name)))
}

fn find_mut<'a>(
    columns: impl Iterator<Item = &'a mut Column>,
    name: &str,
) -> Option<&'a mut Column> {
    let mut folded = None;
    for column in columns {
        if column.name == name {
            return Some(column);
        }
        if folded.is_none() && same_name(&column.name, name) {
            folded = Some(column);
        }
    }
    folded
}

fn taken(name: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("column \"{name}\" already exists"))
        .with_help("case does not distinguish names")
}
