//! What every written row has to follow: NOT NULL and CHECK.
//!
//! A CHECK is planned once per statement, as an expression over the table's columns, and evaluated
//! on every batch before it is written. NULL passes, as the standard says.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use sqlparser::ast::ExprWithAlias;

use crate::catalog::model::{Rule, Table};
use crate::error::{Error, Result};
use crate::sql;
use crate::table::types::table_schema;

/// The rules of one table.
#[derive(Debug)]
pub(crate) struct Checks {
    table: String,
    /// Columns of the table; a batch may have more.
    n_columns: usize,
    /// NOT NULL columns by index.
    not_null: Vec<(usize, String)>,
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    name: String,
    sql: String,
    expr: Arc<dyn PhysicalExpr>,
}

impl Checks {
    pub(crate) fn plan(state: &SessionState, table: &Table) -> Result<Self> {
        let columns = table.columns.iter().enumerate();
        let not_null = columns.filter(|(_, column)| !column.nullable);
        let not_null = not_null.map(|(index, column)| (index, column.name.clone())).collect();
        let mut checks = Vec::new();
        for constraint in &table.constraints {
            let Rule::Check(sql) = &constraint.rule else { continue };
            let schema = DFSchema::try_from(table_schema(&table.columns)?)?;
            let planned = plan_expr(state, sql, &schema)
                .and_then(|expr| Ok(state.create_physical_expr(expr, &schema)?));
            // Another engine may have renamed or dropped what the constraint names.
            let expr = planned.map_err(|error| {
                Error::invalid(format!(
                    "constraint \"{}\" of table \"{}\", CHECK ({sql}), cannot be evaluated: {}",
                    constraint.name,
                    table.name,
                    error.message()
                ))
                .with_help("drop it with ALTER TABLE … DROP CONSTRAINT, and add it anew")
            })?;
            checks.push(Check { name: constraint.name.clone(), sql: sql.clone(), expr });
        }
        let (name, n_columns) = (table.name.clone(), table.columns.len());
        Ok(Self { table: name, n_columns, not_null, checks })
    }

    /// Refuses a batch with a row that breaks a rule. Its first columns are the table's.
    pub(crate) fn verify(&self, batch: &RecordBatch) -> Result<()> {
        for (index, column) in &self.not_null {
            if batch.column(*index).logical_null_count() > 0 {
                return Err(Error::invalid(format!(
                    "column \"{column}\" of table \"{}\" is NOT NULL, and a row has no value for it",
                    self.table
                ))
                .with_help("leave such rows out with WHERE, or give a value with coalesce()"));
            }
        }
        for check in &self.checks {
            let holds = check.expr.evaluate(batch)?.into_array(batch.num_rows())?;
            let Some(holds) = holds.as_boolean_opt() else { continue };
            // Values below a NULL are anything, so NULLs count as true here.
            let broken = (0..holds.len()).find(|row| holds.is_valid(*row) && !holds.value(*row));
            if let Some(row) = broken {
                return Err(Error::invalid(format!(
                    "a row breaks constraint \"{}\" of table \"{}\", CHECK ({}): {}",
                    check.name,
                    self.table,
                    check.sql,
                    show_row(batch, row, self.n_columns)?
                ))
                .with_help("leave such rows out with WHERE, or correct them"));
            }
        }
        Ok(())
    }
}

/// An expression over a table's columns, from its text in the catalog.
pub(crate) fn plan_expr(state: &SessionState, text: &str, schema: &DFSchema) -> Result<Expr> {
    let expr = ExprWithAlias { expr: sql::parse_expr(text)?, alias: None };
    Ok(state.create_logical_expr_from_sql_expr(expr, schema)?)
}

/// How many columns and characters of a value a message shows.
const SHOWN_COLUMNS: usize = 8;
const SHOWN_CHARS: usize = 40;

/// The first columns of one row for a message: `(id = 1, price = -3.00)`.
pub(crate) fn show_row(batch: &RecordBatch, row: usize, n_columns: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL").with_display_error(true);
    let mut shown = Vec::new();
    let schema = batch.schema();
    for (field, array) in
        schema.fields().iter().zip(batch.columns()).take(n_columns.min(SHOWN_COLUMNS))
    {
        let value = ArrayFormatter::try_new(array, &options)?.value(row).to_string();
        let mut value: String = value.replace(['\n', '\r'], " ");
        if let Some((cut, _)) = value.char_indices().nth(SHOWN_CHARS) {
            value.truncate(cut);
            value.push('…');
        }
        shown.push(format!("{} = {value}", field.name()));
    }
    let more = if n_columns > SHOWN_COLUMNS { ", …" } else { "" };
    Ok(format!("({}{more})", shown.join(", ")))
}
