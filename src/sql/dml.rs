//! UPDATE, DELETE and MERGE as one shape: rows of a target, joined with something, and what becomes
//! of each.
//!
//! UPDATE and DELETE are the case of one clause without a condition of its own. What the grammar
//! takes from other dialects and this engine does not offer is refused by name.

use sqlparser::ast::{
    self, AssignmentTarget, Expr, FromTable, Ident, MergeAction, MergeClauseKind, MergeInsertKind,
    ObjectName, SelectItem, TableFactor, TableWithJoins, UpdateTableFromKind, VisitMut, VisitorMut,
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
    /// A source whose rows have a partner or not; a target row with two is an error.
    Source { source: Box<TableFactor>, on: Box<Expr> },
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

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Delete,
    Update(Vec<(Ident, Expr)>),
    /// No columns are all columns.
    Insert {
        columns: Vec<Ident>,
        values: Vec<Expr>,
    },
}

impl RowChange {
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
        let (table, alias) = match <[TableWithJoins; 1]>::try_from(from) {
            Ok([target]) => target_of(target, "DELETE")?,
            Err(_) => {
                return Err(Error::unsupported("DELETE takes one table")
                    .with_help("name the others with USING"));
            }
        };
        let tables = delete.using.unwrap_or_default();
        let with = With::Tables { tables, selection: delete.selection.map(Box::new) };
        let clause = Clause { when: When::Matched, predicate: None, action: Action::Delete };
        let returning = delete.returning.unwrap_or_default();
        Ok(Self { tag: "DELETE", table, alias, with, clauses: vec![clause], returning })
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
        let (table, alias) = target_of(update.table, "UPDATE")?;
        let tables = match update.from {
            Some(
                UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables),
            ) => tables,
            None => vec![],
        };
        let with = With::Tables { tables, selection: update.selection.map(Box::new) };
        let action = Action::Update(assignments(update.assignments)?);
        let clause = Clause { when: When::Matched, predicate: None, action };
        let returning = update.returning.unwrap_or_default();
        Ok(Self { tag: "UPDATE", table, alias, with, clauses: vec![clause], returning })
    }

    pub(crate) fn of_merge(merge: ast::Merge) -> Result<Self> {
        refuse("MERGE", &[(merge.output.is_some(), "RETURNING")]).map_err(|e| {
            e.with_help("table_changes('t', n, n) tells what snapshot n has changed")
        })?;
        let target = TableWithJoins { relation: merge.table, joins: vec![] };
        let (table, alias) = target_of(target, "MERGE")?;
        let clauses = merge.clauses.into_iter().map(clause).collect::<Result<Vec<_>>>()?;
        if clauses.is_empty() {
            return Err(Error::invalid("MERGE has no WHEN clause").or_span(table.span));
        }
        let with = With::Source { source: Box::new(merge.source), on: merge.on };
        Ok(Self { tag: "MERGE", table, alias, with, clauses, returning: vec![] })
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
            With::Source { source, on } => {
                source.visit(visitor)?;
                on.visit(visitor)?;
            }
        }
        for clause in &mut self.clauses {
            clause.predicate.visit(visitor)?;
            match &mut clause.action {
                Action::Delete => {}
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

fn refuse(statement: &str, given: &[(bool, &str)]) -> Result<()> {
    match given.iter().find(|(given, _)| *given) {
        Some((_, what)) => {
            Err(Error::unsupported(format!("{statement} with {what} is not supported")))
        }
        None => Ok(()),
    }
}

fn target_of(target: TableWithJoins, statement: &str) -> Result<(RelationRef, Ident)> {
    match target {
        TableWithJoins {
            relation: TableFactor::Table { name, alias, args: None, version: None, .. },
            joins,
        } if joins.is_empty() => {
            let table = RelationRef::from_ast(&name)?;
            let own = || Ident::with_quote('"', table.name.clone());
            let alias = alias.map_or_else(own, |alias| alias.name);
            Ok((table, alias))
        }
        other => Err(Error::unsupported(format!("{statement} cannot change {other}"))
            .with_help("name one table; FROM and USING name what it is joined with")),
    }
}

fn assignments(given: Vec<ast::Assignment>) -> Result<Vec<(Ident, Expr)>> {
    let mut all = Vec::with_capacity(given.len());
    for assignment in given {
        match (assignment.target, assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => all.push((column(&name)?, value)),
            (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                if names.len() == values.len() =>
            {
                for (name, value) in names.iter().zip(values) {
                    all.push((column(name)?, value));
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
    for (index, (column, _)) in all.iter().enumerate() {
        if all[..index].iter().any(|(other, _)| fold(other) == fold(column)) {
            return Err(Error::invalid(format!("column {column} is set twice"))
                .or_span(name::span(column.span)));
        }
    }
    Ok(all)
}

/// The column of an assignment; a table's name before it adds nothing.
fn column(name: &ObjectName) -> Result<Ident> {
    let idents: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    match idents.as_slice() {
        [.., column] if idents.len() <= 2 => Ok((*column).clone()),
        _ => Err(Error::invalid(format!("{name} is not a column"))),
    }
}

fn clause(clause: ast::MergeClause) -> Result<Clause> {
    let when = match clause.clause_kind {
        MergeClauseKind::Matched => When::Matched,
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => When::NotMatched,
        MergeClauseKind::NotMatchedBySource => When::NotMatchedBySource,
    };
    let action = match clause.action {
        MergeAction::Delete { .. } => Action::Delete,
        MergeAction::Update(update) => {
            let has_where = update.update_predicate.is_some() || update.delete_predicate.is_some();
            refuse("MERGE", &[(has_where, "UPDATE … WHERE")])
                .map_err(|e| e.with_help("put the condition after WHEN MATCHED AND"))?;
            Action::Update(assignments(update.assignments)?)
        }
        MergeAction::Insert(insert) => {
            refuse("MERGE", &[(insert.insert_predicate.is_some(), "INSERT … WHERE")])
                .map_err(|e| e.with_help("put the condition after WHEN NOT MATCHED AND"))?;
            let columns = insert.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
            let values = match insert.kind {
                MergeInsertKind::Values(values) => values.rows,
                MergeInsertKind::Row => vec![],
            };
            match <[_; 1]>::try_from(values) {
                Ok([values]) => Action::Insert { columns, values: values.content },
                Err(_) => {
                    return Err(Error::unsupported("INSERT of a MERGE takes one row of VALUES"));
                }
            }
        }
    };
    Ok(Clause { when, predicate: clause.predicate, action })
}
