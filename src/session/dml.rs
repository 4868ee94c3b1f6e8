//! UPDATE, DELETE, MERGE and TRUNCATE: rows of a table, found by a query and replaced.
//!
//! ```text
//! target with identities  JOIN  source      one query, planned like any other
//!   -> action, new values, identity         one row for each row that changes
//!   -> positions to delete, rows to write   streamed; nothing is kept but bitmaps
//! ```
//!
//! A row that is updated keeps its row id: it is deleted where it was and written again with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use roaring::RoaringTreemap;
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, Query, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value,
};

use super::load::{column_index, fit_value, stage};
use super::{Outcome, Planned, Session};
use crate::catalog::Transaction;
use crate::catalog::model::{Column, ColumnDefault, DeletedRows, INLINED, Table};
use crate::error::{Error, Result};
use crate::sql::dml::{Action, Clause, ColumnPath, RowChange, When, With};
use crate::sql::name::{self, RelationRef, fold};
use crate::sql::subquery;
use crate::table::types::Identity;
use crate::table::{LakeTable, READERS};
use crate::write::rows::{self, RowAction, RowTarget};
use crate::write::{Staged, conform};

/// The name of the target among a statement's readers.
const TARGET: &str = "\0target";
/// The name of the rows of an INSERT among them.
pub(super) const SOURCE: &str = "\0source";
/// The column that tells a row of the source from none.
const HERE: &str = "\0here";

impl Session {
    /// UPDATE, DELETE and MERGE.
    pub(super) async fn change_rows(&mut self, change: &RowChange) -> Result<Outcome> {
        if change.is_everything() {
            return self.truncate(std::slice::from_ref(&change.table), change.tag).await;
        }
        self.change(async |session, transaction, staged| {
            let table = session.writable(transaction, &change.table).await?;
            session.run_change(change, None, &table, transaction, staged).await
        })
        .await
    }

    /// Runs a change whose source may be rows that have been planned already: [`SOURCE`].
    pub(super) async fn run_change(
        &self,
        change: &RowChange,
        source: Option<Arc<dyn TableProvider>>,
        table: &Table,
        transaction: &mut Transaction,
        staged: &Arc<Staged>,
    ) -> Result<Outcome> {
        let change = &self.spelled(change, table, transaction).await?;
        let query = query(change, table)?;
        let storage = Arc::clone(self.warehouse.storage());
        let pinned = Arc::new(transaction.clone());
        let summary = transaction.summary(table).await?;
        let target = LakeTable::with_identity(table.clone(), pinned, storage)?;
        let target: Arc<dyn TableProvider> = Arc::new(target.summarized(&summary));
        let mut planner = self.planner_on(transaction).reading(TARGET, target);
        if let Some(source) = source {
            planner = planner.reading(SOURCE, source);
        }
        let Planned { state, plan } = planner.query(&query).await?;
        let columns = if change.writes() { table.columns.as_slice() } else { &[] };
        let sources: Vec<Option<usize>> = (0..columns.len()).map(Some).collect();
        let plan = conform(plan, columns, &sources)?;
        let plan = state.create_physical_plan(&plan).await?;
        self.progress.watch(&plan);
        let target = async || self.target(&state, table, transaction, staged).await;
        let once = matches!(change.with, With::Source { .. });
        let target = RowTarget::new(target().await?, target().await?, once)?;
        let changed = rows::change(plan, state.task_ctx(), Arc::new(target)).await?;
        let outcome = match change.returning.is_empty() {
            true => Outcome::Changed { tag: change.tag, rows: Some(changed.rows) },
            false => {
                let rows = match change.writes() {
                    true => self.written_rows(table, &changed.written)?,
                    false => self.rows_at(table, &changed.deleted, transaction).await?,
                };
                self.returned(&change.returning, &change.alias, rows, transaction).await?
            }
        };
        transaction.delete(table, changed.deleted);
        stage(transaction, table, changed.written);
        Ok(outcome)
    }

    /// TRUNCATE, and DELETE without a condition: every file ends.
    pub(super) async fn truncate(
        &mut self,
        tables: &[RelationRef],
        tag: &'static str,
    ) -> Result<Outcome> {
        self.change(async |session, transaction, _| {
            let mut rows = 0;
            for name in tables {
                let table = session.writable(transaction, name).await?;
                let storage = Arc::clone(session.warehouse.storage());
                let pinned = Arc::new(transaction.clone());
                rows += LakeTable::new(table.clone(), pinned, storage)?.count().await?;
                let files = transaction.data_files(&table).await?;
                let ids = files.iter().filter_map(|file| file.id);
                let mut all: BTreeMap<_, _> = ids.map(|id| (id, DeletedRows::All)).collect();
                let inlined = transaction.inlined_rows(&table).await?;
                let places = inlined.iter().flat_map(|group| &group.rows);
                let places: RoaringTreemap = places.map(|row| row.place.cast_unsigned()).collect();
                all.insert(INLINED, DeletedRows::At(Arc::new(places)));
                transaction.delete(&table, all);
            }
            Ok(Outcome::Changed { tag, rows: Some(rows) })
        })
        .await
    }
}

impl RowChange {
    /// Whether it is a DELETE of every row that nobody asks to see again.
    fn is_everything(&self) -> bool {
        self.returning.is_empty()
            && matches!(self.clauses.as_slice(), [Clause { action: Action::Delete, .. }])
            && matches!(&self.with, With::Tables { tables, selection: None } if tables.is_empty())
    }

    /// Whether any row is written.
    fn writes(&self) -> bool {
        let written = |action: &Action| !matches!(action, Action::Delete | Action::Nothing);
        self.clauses.iter().any(|clause| written(&clause.action))
    }

    fn has(&self, when: When) -> bool {
        self.clauses.iter().any(|clause| clause.when == when)
    }
}

/// The rows that change: the table's columns with their new values (if any are written), then the
/// row id, file and position of the old row, then the action.
fn query(change: &RowChange, table: &Table) -> Result<Box<Query>> {
    let of_target = |column: &str| column_of(&change.alias, column);
    let mut projection = Vec::new();
    if change.writes() {
        for (index, column) in table.columns.iter().enumerate() {
            projection.push(aliased(new_value(change, table, index)?, &column.name));
        }
    }
    // Where no file keeps the row's own id, it follows from the position; rows of this transaction
    // have none yet.
    let counted = binary(
        of_target(Identity::FIRST_ROW_ID),
        BinaryOperator::Plus,
        of_target(Identity::POSITION),
    );
    let row_id = function("coalesce", vec![of_target(Identity::ROW_ID), counted]);
    projection.push(aliased(row_id, Identity::ROW_ID));
    projection.push(aliased(of_target(Identity::FILE), Identity::FILE));
    projection.push(aliased(of_target(Identity::POSITION), Identity::POSITION));
    projection.push(aliased(action(change), rows::ACTION));
    let mut query = subquery("SELECT 1", change.table.span)?;
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::internal("a SELECT that is none"));
    };
    select.projection = projection;
    select.from = from(change)?;
    select.selection = selection(change);
    query.with = change.ctes.clone();
    Ok(query)
}

/// What happens to a row; NULL if nothing does.
fn action(change: &RowChange) -> Expr {
    let actions = change.clauses.iter().map(|clause| match clause.action {
        Action::Delete => number(RowAction::Delete as i64),
        Action::Update(_) | Action::UpdateAll(_) => number(RowAction::Update as i64),
        Action::Insert { .. } | Action::InsertAll(_) => number(RowAction::Insert as i64),
        Action::Nothing => null(),
    });
    decided(change, actions.collect())
}

/// The target, joined with the rest.
fn from(change: &RowChange) -> Result<Vec<TableWithJoins>> {
    let target = reader(TARGET, change.alias.clone());
    match &change.with {
        With::Tables { tables, .. } => {
            let target = TableWithJoins { relation: target, joins: vec![] };
            Ok([target].into_iter().chain(tables.iter().cloned()).collect())
        }
        With::Source { source, alias, on } => {
            let on = JoinConstraint::On(on.as_ref().clone());
            let operator =
                match (change.has(When::NotMatched), change.has(When::NotMatchedBySource)) {
                    (false, false) => JoinOperator::Inner(on),
                    (true, false) => JoinOperator::LeftOuter(on),
                    (false, true) => JoinOperator::RightOuter(on),
                    (true, true) => JoinOperator::FullOuter(on),
                };
            let join = Join { relation: target, global: false, join_operator: operator };
            let source = marked(source, alias, &change.alias)?;
            Ok(vec![TableWithJoins { relation: source, joins: vec![join] }])
        }
    }
}

/// One of the statement's readers under an alias.
pub(super) fn reader(reader: &str, alias: Ident) -> TableFactor {
    let part = |value: &str| ObjectNamePart::Identifier(Ident::with_quote('"', value));
    TableFactor::Table {
        name: ObjectName(vec![part(READERS), part(reader)]),
        alias: Some(named(alias)),
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

pub(super) fn named(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: vec![], at: None }
}

/// The source with a column that is never NULL, under the name it had.
fn marked(source: &TableFactor, alias: &TableAlias, target: &Ident) -> Result<TableFactor> {
    if fold(&alias.name) == fold(target) {
        let error = Error::invalid("the target and the source of the MERGE have the same name");
        return Err(error.with_help("give one of them another with AS"));
    }
    let mut query = subquery(&format!("SELECT *, TRUE AS \"{HERE}\""), None)?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.from = vec![TableWithJoins { relation: source.clone(), joins: vec![] }];
    }
    Ok(TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias: Some(TableAlias { columns: vec![], ..alias.clone() }),
        sample: None,
    })
}

/// Which rows the query gives: with a source those that meet a clause.
fn selection(change: &RowChange) -> Option<Expr> {
    match &change.with {
        With::Tables { selection, .. } => selection.as_deref().cloned(),
        With::Source { .. } => {
            // A clause that does nothing hides what comes after it.
            if change.clauses.iter().any(|clause| matches!(clause.action, Action::Nothing)) {
                return Some(Expr::IsNotNull(Box::new(action(change))));
            }
            let met = change.clauses.iter().map(|clause| condition(change, clause));
            met.reduce(|all, one| binary(all, BinaryOperator::Or, one))
        }
    }
}

/// What the row has to meet for a clause of a MERGE.
fn condition(change: &RowChange, clause: &Clause) -> Expr {
    let position = Box::new(column_of(&change.alias, Identity::POSITION));
    let here = || Box::new(Expr::Identifier(Ident::with_quote('"', HERE)));
    let when = match clause.when {
        When::Matched => {
            binary(Expr::IsNotNull(position), BinaryOperator::And, Expr::IsNotNull(here()))
        }
        When::NotMatched => Expr::IsNull(position),
        When::NotMatchedBySource => Expr::IsNull(here()),
    };
    match &clause.predicate {
        Some(predicate) => {
            binary(when, BinaryOperator::And, Expr::Nested(Box::new(predicate.clone())))
        }
        None => when,
    }
}

/// The one of `values`, one for each clause, that belongs to the first clause a row meets.
fn decided(change: &RowChange, mut values: Vec<Expr>) -> Expr {
    if matches!(change.with, With::Tables { .. }) {
        return values.remove(0);
    }
    let whens = change.clauses.iter().zip(values);
    let conditions =
        whens.map(|(clause, result)| CaseWhen { condition: condition(change, clause), result });
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: None,
    }
}

/// The new value of a column.
fn new_value(change: &RowChange, table: &Table, index: usize) -> Result<Expr> {
    let column = &table.columns[index];
    let values = change.clauses.iter().map(|clause| match &clause.action {
        Action::Delete | Action::Nothing => Ok(null()),
        Action::Update(assignments) => {
            for (name, value) in assignments {
                if target_index(table, name)? == index {
                    return Ok(fitted(value, column));
                }
            }
            Ok(column_of(&change.alias, &column.name))
        }
        Action::Insert { columns, values } => inserted(table, columns.as_deref(), values, index),
        Action::UpdateAll(_) | Action::InsertAll(_) => {
            Err(Error::internal("columns of a MERGE that are not spelled out"))
        }
    });
    Ok(decided(change, values.collect::<Result<Vec<_>>>()?))
}

fn inserted(
    table: &Table,
    columns: Option<&[ColumnPath]>,
    values: &[Expr],
    index: usize,
) -> Result<Expr> {
    let n_columns = columns.map_or(table.columns.len(), <[ColumnPath]>::len);
    if n_columns != values.len() {
        return Err(Error::invalid(format!(
            "INSERT of the MERGE has {} values for {n_columns} columns",
            values.len()
        )));
    }
    let column = &table.columns[index];
    let Some(columns) = columns else {
        return Ok(fitted(&values[index], column));
    };
    for (name, value) in columns.iter().zip(values) {
        if target_index(table, name)? == index {
            return Ok(fitted(value, column));
        }
    }
    match &column.default {
        None => Ok(null()),
        Some(ColumnDefault::Literal(text)) => {
            Ok(Expr::value(Value::SingleQuotedString(text.clone())))
        }
        Some(ColumnDefault::Expression(sql)) => Err(Error::unsupported(format!(
            "the default of column \"{}\" is the expression {sql}, which cannot be evaluated here",
            column.name
        ))
        .with_help("give the column a value")),
    }
}

fn target_index(table: &Table, path: &ColumnPath) -> Result<usize> {
    let column = path.last().ok_or_else(|| Error::internal("a column without a name"))?;
    let index = column_index(&table.columns, &fold(column));
    index.map_err(|e| e.or_span(name::span(column.span)))
}

/// DEFAULT, and numbers for decimals, as INSERT takes them.
fn fitted(value: &Expr, column: &Column) -> Expr {
    let mut value = value.clone();
    fit_value(&mut value, column);
    value
}

pub(super) fn column_of(alias: &Ident, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![alias.clone(), Ident::with_quote('"', column)])
}

fn aliased(expr: Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) }
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn number(value: i64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

fn function(name: &str, arguments: Vec<Expr>) -> Expr {
    use sqlparser::ast::{
        Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    };
    let args = arguments.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
