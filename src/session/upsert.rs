//! INSERT OR REPLACE, OR IGNORE and ON CONFLICT: an INSERT as a change of rows, like MERGE.
//!
//! ```text
//! rows of the INSERT, fitted to the table     of those with the same key the first one, as in DuckDB
//!   LEFT JOIN the table ON the key            matched: updated, or left alone; else inserted
//! ```
//!
//! The columns of the rows have names that no SQL can say, so that a bare name is always a column of
//! the table; `excluded.c` is respelled. NULL is equal to nothing, so a row with NULL in its key is
//! always inserted. Keys are declared and not enforced: where several rows of the table have one key,
//! all of them are updated.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::Column as PlanColumn;
use datafusion::datasource::ViewTable;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Expr as PlanExpr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, SortExpr, ident, lit,
};
use sqlparser::ast::{BinaryOperator, Expr, Ident, VisitMut, VisitorMut};

use super::dml::{self, SOURCE, binary, column_of};
use super::load::column_index;
use crate::catalog::model::{Column, ColumnId, Rule, Table, same_name};
use crate::error::{Error, Result};
use crate::sql::Insert;
use crate::sql::dml::{Action, Clause, ColumnPath, RowChange, When, With};
use crate::sql::insert::{Conflict, Key, OnConflict};
use crate::sql::name::{self, fold};

/// What expressions call the rows of the INSERT.
const EXCLUDED: &str = "excluded";
/// The place of a row among those of the INSERT.
const PLACE: &str = "\0place";

/// An INSERT as a change of rows.
pub(super) struct Upsert {
    pub(super) change: RowChange,
    /// The names of the columns that tell one row from another.
    pub(super) key: Vec<String>,
}

/// The change that an INSERT makes. `named` tells for each column whether the INSERT gives its value.
pub(super) fn change(
    insert: &Insert,
    conflict: &Conflict,
    table: &Table,
    named: &[bool],
) -> Result<Upsert> {
    let key = key_columns(conflict, table).map_err(|e| e.or_span(conflict.span))?;
    let alias = insert.called(&table.name);
    let same = key.iter().map(|column| {
        binary(column_of(&alias, &column.name), BinaryOperator::Eq, excluded(&column.name))
    });
    let on = same.reduce(|all, one| binary(all, BinaryOperator::And, one));
    let on = on.ok_or_else(|| Error::internal("a key without columns"))?;
    let insert_row = Action::Insert {
        columns: None,
        values: table.columns.iter().map(|column| excluded(&column.name)).collect(),
    };
    let mut clauses = Vec::new();
    if let Some((assignments, predicate)) = update(&conflict.action, table, named)? {
        let action = Action::Update(assignments);
        clauses.push(Clause { when: When::Matched, predicate, action });
    }
    clauses.push(Clause { when: When::NotMatched, predicate: None, action: insert_row });
    let source_alias = dml::named(Ident::with_quote('"', EXCLUDED));
    let source = Box::new(dml::reader(SOURCE, source_alias.name.clone()));
    let with = With::Source { source, alias: source_alias, on: Box::new(on) };
    let change = RowChange {
        tag: "INSERT",
        table: insert.table.clone(),
        alias,
        is_aliased: insert.alias.is_some(),
        ctes: None,
        with,
        clauses,
        returning: insert.returning.clone(),
    };
    Ok(Upsert { change, key: key.into_iter().map(|column| column.name.clone()).collect() })
}

/// What is done to a row of the table, and on what condition.
#[allow(clippy::type_complexity, reason = "assignments and a condition, as a clause has them")]
fn update(
    action: &OnConflict,
    table: &Table,
    named: &[bool],
) -> Result<Option<(Vec<(ColumnPath, Expr)>, Option<Expr>)>> {
    match action {
        OnConflict::Ignore => Ok(None),
        OnConflict::Replace => {
            let given = table.columns.iter().zip(named).filter(|(_, named)| **named);
            let set = given.map(|(column, _)| {
                (vec![Ident::with_quote('"', column.name.clone())], excluded(&column.name))
            });
            Ok(Some((set.collect(), None)))
        }
        OnConflict::Update { assignments, predicate } => {
            let (mut assignments, mut predicate) =
                (assignments.clone(), predicate.as_deref().cloned());
            for (_, value) in &mut assignments {
                respell(value, table)?;
            }
            if let Some(predicate) = &mut predicate {
                respell(predicate, table)?;
            }
            Ok(Some((assignments, predicate)))
        }
    }
}

/// The columns of the key that a conflict is about.
fn key_columns<'a>(conflict: &Conflict, table: &'a Table) -> Result<Vec<&'a Column>> {
    let keys: Vec<(&str, bool, &[ColumnId])> = table
        .constraints
        .iter()
        .filter_map(|constraint| match &constraint.rule {
            Rule::PrimaryKey(columns) => Some((constraint.name.as_str(), true, &columns[..])),
            Rule::Unique(columns) => Some((constraint.name.as_str(), false, &columns[..])),
            Rule::Check(_) => None,
        })
        .collect();
    let chosen = match &conflict.key {
        Key::Declared => {
            let primary = keys.iter().find(|(_, is_primary, _)| *is_primary);
            match (primary, keys.as_slice()) {
                (Some(primary), _) => Some(primary),
                (None, [only]) => Some(only),
                (None, []) => None,
                (None, _) => {
                    return Err(Error::invalid(format!(
                        "table \"{}\" has several keys",
                        table.name
                    ))
                    .with_help(format!("say which: ON CONFLICT {}", shown(table, &keys))));
                }
            }
        }
        Key::Columns(columns) => {
            let mut wanted = Vec::with_capacity(columns.len());
            for column in columns {
                let index = column_index(&table.columns, &fold(column));
                let index = index.map_err(|e| e.or_span(name::span(column.span)))?;
                wanted.push(table.columns[index].id);
            }
            wanted.sort_unstable();
            wanted.dedup();
            keys.iter().find(|(_, _, key)| {
                let mut key = key.to_vec();
                key.sort_unstable();
                key == wanted
            })
        }
        Key::Constraint(wanted) => {
            let found = keys.iter().find(|(name, _, _)| same_name(name, &fold(wanted)));
            let names = keys.iter().map(|(name, _, _)| *name);
            let missing = || Error::no_such("key", &fold(wanted), names);
            Some(found.ok_or_else(|| missing().or_span(name::span(wanted.span)))?)
        }
    };
    match chosen {
        Some((_, _, columns)) => {
            Ok(columns.iter().filter_map(|id| table.column_by_id(*id)).collect())
        }
        None if keys.is_empty() => Err(Error::invalid(format!(
            "table \"{}\" has no key that tells which rows are the same",
            table.name
        ))
        .with_help(format!(
            "declare one: ALTER TABLE {} ADD PRIMARY KEY (…); or use MERGE INTO, which takes any \
             condition",
            name::quote(&table.name)
        ))),
        None => {
            let message = format!("these columns are no key of table \"{}\"", table.name);
            Err(Error::invalid(message).with_help(format!("its keys are {}", shown(table, &keys))))
        }
    }
}

/// Keys as lists of columns.
fn shown(table: &Table, keys: &[(&str, bool, &[ColumnId])]) -> String {
    let lists = keys.iter().map(|(_, _, columns)| {
        let names = columns.iter().filter_map(|id| table.column_by_id(*id));
        format!("({})", names.map(|c| name::quote(&c.name)).collect::<Vec<_>>().join(", "))
    });
    lists.collect::<Vec<_>>().join(" or ")
}

/// A column of the rows of the INSERT.
fn excluded(column: &str) -> Expr {
    column_of(&Ident::with_quote('"', EXCLUDED), &hidden(column))
}

fn hidden(column: &str) -> String {
    format!("\0excluded {column}")
}

/// Gives `excluded.c` the name that the column has there.
fn respell(expr: &mut Expr, table: &Table) -> Result<()> {
    struct Respeller<'a>(&'a Table);

    impl VisitorMut for Respeller<'_> {
        type Break = Error;

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
            if let Expr::CompoundIdentifier(parts) = expr
                && let [first, column, ..] = parts.as_mut_slice()
                && fold(first) == EXCLUDED
            {
                match column_index(&self.0.columns, &fold(column)) {
                    Ok(index) => {
                        column.value = hidden(&self.0.columns[index].name);
                        column.quote_style = Some('"');
                    }
                    Err(error) => {
                        return ControlFlow::Break(error.or_span(name::span(column.span)));
                    }
                }
            }
            ControlFlow::Continue(())
        }
    }

    match expr.visit(&mut Respeller(table)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Adds the place of each row to a query, by its ORDER BY if it has one.
pub(super) fn numbered(plan: LogicalPlan) -> Result<LogicalPlan> {
    // What it is sorted by need not be among its columns.
    if let LogicalPlan::Projection(projection) = &plan
        && matches!(projection.input.as_ref(), LogicalPlan::Sort(_))
    {
        let input = numbered(projection.input.as_ref().clone())?;
        let exprs = projection.expr.iter().cloned().chain([ident(PLACE)]);
        return Ok(LogicalPlanBuilder::from(input).project(exprs)?.build()?);
    }
    let order = match &plan {
        LogicalPlan::Sort(sort) => sort.expr.clone(),
        _ => vec![],
    };
    with_row_number(plan, vec![], order, PLACE)
}

/// The rows of an INSERT, fitted to the table and [`numbered`], as a table: each key once.
pub(super) fn source(plan: LogicalPlan, key: &[String]) -> Result<Arc<dyn TableProvider>> {
    const NTH: &str = "\0nth";
    let key: Vec<PlanExpr> = key.iter().map(ident).collect();
    let is_unknown = key.iter().cloned().map(PlanExpr::is_null).reduce(PlanExpr::or);
    let plan = with_row_number(plan, key, vec![ident(PLACE).sort(true, false)], NTH)?;
    let is_first = ident(NTH).eq(lit(1_u64));
    let is_kept = match is_unknown {
        Some(is_unknown) => is_first.or(is_unknown),
        None => is_first,
    };
    let fields = plan.schema().fields().iter();
    let columns = fields.map(|field| field.name()).filter(|name| !name.starts_with('\0'));
    let columns: Vec<PlanExpr> = columns.map(|name| ident(name).alias(hidden(name))).collect();
    let plan = LogicalPlanBuilder::from(plan).filter(is_kept)?.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// A plan with one column more, named `name`: which row of those with the same `key` each is.
fn with_row_number(
    plan: LogicalPlan,
    key: Vec<PlanExpr>,
    order: Vec<SortExpr>,
    name: &str,
) -> Result<LogicalPlan> {
    let columns = plan.schema().iter().map(|column| PlanExpr::Column(PlanColumn::from(column)));
    let mut columns: Vec<PlanExpr> = columns.collect();
    let number = row_number().partition_by(key);
    let number = if order.is_empty() { number } else { number.order_by(order) }.build()?;
    columns.push(ident(number.schema_name().to_string()).alias(name));
    Ok(LogicalPlanBuilder::from(plan).window([number])?.project(columns)?.build()?)
}
