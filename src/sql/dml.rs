//! UPDATE, DELETE and MERGE as one shape: rows of a target, joined with something, and what becomes
//! of each.
//!
//! UPDATE and DELETE are the case of one clause without a condition of its own; [`super::merge`] reads
//! the clauses of MERGE. What the grammar takes from other dialects and this engine does not offer is
//! refused by name.

use sqlparser::ast::{
    self, AssignmentTarget, Expr, FromTable, Ident, ObjectName, SelectItem, TableAlias,
    TableFactor, TableWithJoins, UpdateTableFromKind, VisitMut, VisitorMut,
};

use super::name::{self, RelationRef, fold};
use crate::error::{Error, Result};

/// A change of rows of one table.
#[derive(Debug, Clone)]
pub(crate) struct RowChange {
    /// `UPDATE`, `DELETE` or `MERGE`.
    pub(crate) tag: &'static str,
    pub(crate) table: RelationRef,
    /// What expressions call the table.
    pub(crate) alias: Ident,
    /// Whether that is not its name.
    pub(crate) is_aliased: bool,
    /// `WITH …` before the statement.
    pub(crate) ctes: Option<ast::With>,
    pub(crate) with: With,
    /// The first one that a row meets decides.
    pub(crate) clauses: Vec<Clause>,
    /// What is asked of the rows, of those that went for DELETE, else of the new ones; empty without
    /// RETURNING.
    pub(crate) returning: Vec<SelectItem>,
}

/// What a target is joined with.
#[derive(Debug, Clone)]
pub(crate) enum With {
    /// Other tables, and the condition over all of them: a target row with any partner is changed.
    Tables { tables: Vec<TableWithJoins>, selection: Option<Box<Expr>> },
    /// A source, under the name that it has, whose rows have a partner or not; a target row with two
    /// is an error.
    Source { source: Box<TableFactor>, alias: TableAlias, on: Box<Expr> },
}

/// `WHEN … [AND predicate] THEN action`.
#[derive(Debug, Clone)]
pub(crate) struct Clause {
    pub(crate) when: When,
    pub(crate) predicate: Option<Expr>,
    pub(crate) action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Matched,
    NotMatched,
    NotMatchedBySource,
}

/// A column as it is written: perhaps with its table before it.
pub(crate) type ColumnPath = Vec<Ident>;

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Delete,
    Update(Vec<(ColumnPath, Expr)>),
    /// The target's columns become the source's.
    UpdateAll(Match),
    /// `None` is all columns.
    Insert {
        columns: Option<Vec<ColumnPath>>,
        values: Vec<Expr>,
    },
    /// The source's columns become the target's.
    InsertAll(Match),
    /// The row is left alone, whatever later clauses say.
    Nothing,
}

/// How columns of the source and the target find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    ByPosition,
    ByName,
}

impl RowChange {
    pub(super) fn new(tag: &'static str, target: Target, with: With, clauses: Vec<Clause>) -> Self {
        let Target { table, alias, is_aliased } = target;
        Self { tag, table, alias, is_aliased, ctes: None, with, clauses, returning: vec![] }
    }

    pub(crate) fn of_delete(delete: ast::Delete) -> Result<Self> {
        refuse(
            "DELETE",
            &[
                (delete.output.is_some(), "OUTPUT"),
                (!delete.order_by.is_empty(), "ORDER BY"),
                (delete.limit.is_some(), "LIMIT"),
                (!delete.tables.is_empty(), "a list of tables"),
            ],
        )?;
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = delete.from;
        let target = match <[TableWithJoins; 1]>::try_from(from) {
            Ok([target]) => Target::of(target, "DELETE")?,
            Err(_) => {
                return Err(Error::unsupported("DELETE takes one table")
                    .with_help("name the others with USING"));
            }
        };
        let tables = delete.using.unwrap_or_default();
        let with = With::Tables { tables, selection: delete.selection.map(Box::new) };
        let clause = Clause { when: When::Matched, predicate: None, action: Action::Delete };
        let change = Self::new("DELETE", target, with, vec![clause]);
        Ok(Self { returning: delete.returning.unwrap_or_default(), ..change })
    }

    pub(crate) fn of_update(update: ast::Update) -> Result<Self> {
        refuse(
            "UPDATE",
            &[
                (update.output.is_some(), "OUTPUT"),
                (!update.order_by.is_empty(), "ORDER BY"),
                (update.limit.is_some(), "LIMIT"),
                (update.or.is_some(), "OR"),
            ],
        )?;
        let target = Target::of(update.table, "UPDATE")?;
        let tables = match update.from {
            Some(
                UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables),
            ) => tables,
            None => vec![],
        };
        let with = With::Tables { tables, selection: update.selection.map(Box::new) };
        let action = Action::Update(assignments(update.assignments)?);
        let clause = Clause { when: When::Matched, predicate: None, action };
        let change = Self::new("UPDATE", target, with, vec![clause]);
        Ok(Self { returning: update.returning.unwrap_or_default(), ..change })
    }

    /// Shows every expression and query in it to `visitor`.
    pub(crate) fn visit<V: VisitorMut>(
        &mut self,
        visitor: &mut V,
    ) -> std::ops::ControlFlow<V::Break> {
        match &mut self.with {
            With::Tables { tables, selection } => {
                tables.visit(visitor)?;
                selection.visit(visitor)?;
            }
            With::Source { source, on, .. } => {
                source.visit(visitor)?;
                on.visit(visitor)?;
            }
        }
        self.ctes.visit(visitor)?;
        for clause in &mut self.clauses {
            clause.predicate.visit(visitor)?;
            match &mut clause.action {
                Action::Delete | Action::UpdateAll(_) | Action::InsertAll(_) | Action::Nothing => {}
                Action::Update(assignments) => {
                    for (_, value) in assignments {
                        value.visit(visitor)?;
                    }
                }
                Action::Insert { values, .. } => values.visit(visitor)?,
            }
        }
        self.returning.visit(visitor)
    }
}

pub(super) fn refuse(statement: &str, given: &[(bool, &str)]) -> Result<()> {
    match given.iter().find(|(given, _)| *given) {
        Some((_, what)) => {
            Err(Error::unsupported(format!("{statement} with {what} is not supported")))
        }
        None => Ok(()),
    }
}

/// The table that a statement changes.
pub(super) struct Target {
    table: RelationRef,
    alias: Ident,
    is_aliased: bool,
}

impl Target {
    pub(super) fn of(target: TableWithJoins, statement: &str) -> Result<Self> {
        match target {
            TableWithJoins {
                relation: TableFactor::Table { name, alias, args: None, version: None, .. },
                joins,
            } if joins.is_empty() => {
                let table = RelationRef::from_ast(&name)?;
                let own = || Ident::with_quote('"', table.name.clone());
                let is_aliased = alias.is_some();
                let alias = alias.map_or_else(own, |alias| alias.name);
                Ok(Self { table, alias, is_aliased })
            }
            other => Err(Error::unsupported(format!("{statement} cannot change {other}"))
                .with_help("name one table; FROM and USING name what it is joined with")),
        }
    }

    pub(super) fn alias(&self) -> &Ident {
        &self.alias
    }

    pub(super) fn table(&self) -> &RelationRef {
        &self.table
    }
}

pub(super) fn assignments(given: Vec<ast::Assignment>) -> Result<Vec<(ColumnPath, Expr)>> {
    let mut all: Vec<(ColumnPath, Expr)> = Vec::with_capacity(given.len());
    for assignment in given {
        match (assignment.target, assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => all.push((path(&name)?, value)),
            (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                if names.len() == values.len() =>
            {
                for (name, value) in names.iter().zip(values) {
                    all.push((path(name)?, value));
                }
            }
            (AssignmentTarget::Tuple(names), value) => {
                return Err(Error::unsupported(format!(
                    "{} columns cannot be set from {value}",
                    names.len()
                ))
                .with_help("give each column its own value: SET (a, b) = (1, 2)"));
            }
        }
    }
    let last = |path: &ColumnPath| path.last().map(fold);
    for (index, (path, _)) in all.iter().enumerate() {
        if all[..index].iter().any(|(other, _)| last(other) == last(path)) {
            let column = path.last().map_or_else(String::new, ToString::to_string);
            let span = path.last().and_then(|column| name::span(column.span));
            return Err(Error::invalid(format!("column {column} is set twice")).or_span(span));
        }
    }
    Ok(all)
}

/// A column, with the names that stand before it.
pub(super) fn path(name: &ObjectName) -> Result<ColumnPath> {
    let path: Option<ColumnPath> = name.0.iter().map(|part| part.as_ident().cloned()).collect();
    path.ok_or_else(|| Error::invalid(format!("{name} is not a column")))
}
