//! Making a query's output fit a table: which columns a new table gets, and the casts into them.

use datafusion::common::Column as PlanColumn;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};

use crate::catalog::model::{Column, ColumnDefault};
use crate::error::{Error, Result};
use crate::table::types::{column_from_field, table_field};

/// The columns of a table that CREATE TABLE AS makes of `plan`. A name that comes twice, as joins
/// give it, gets a number, as DuckDB does.
pub(crate) fn created_columns(plan: &LogicalPlan) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::with_capacity(plan.schema().fields().len());
    for field in plan.schema().fields() {
        let mut column = column_from_field(field)?;
        let taken = |name: &str, columns: &[Column]| {
            columns.iter().any(|other| other.name.to_lowercase() == name.to_lowercase())
        };
        let base = column.name.clone();
        let mut number = 0;
        while taken(&column.name, &columns) {
            number += 1;
            column.name = format!("{base}_{number}");
        }
        columns.push(column);
    }
    Ok(columns)
}

/// Projects `plan` to `columns`: for each, the index of the plan's column that fills it, or none for
/// its default. Columns of the plan that no SQL can name stay after them.
pub(crate) fn conform(
    plan: LogicalPlan,
    columns: &[Column],
    filled_by: &[Option<usize>],
) -> Result<LogicalPlan> {
    let expr = |(column, source): (&Column, &Option<usize>)| -> Result<Expr> {
        let field = table_field(column)?;
        let value = match source {
            Some(index) => {
                let (qualifier, source) = plan.schema().qualified_field(*index);
                // Cast even to what seems to be its type: a CASE may turn out wider once its
                // branches are made alike. A cast that does nothing is planned away.
                let value = Expr::Column(PlanColumn::from((qualifier, source)));
                cast(value, field.data_type().clone())
            }
            None => cast(default(column)?, field.data_type().clone()),
        };
        Ok(value.alias(&column.name))
    };
    let hidden = plan.schema().iter().filter(|(_, field)| field.name().starts_with('\0'));
    let hidden = hidden.map(|found| Ok(Expr::Column(PlanColumn::from(found))));
    let exprs = columns.iter().zip(filled_by).map(expr).chain(hidden);
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

/// The value of a column that an INSERT leaves out.
fn default(column: &Column) -> Result<Expr> {
    match &column.default {
        None => Ok(lit(datafusion::common::ScalarValue::Null)),
        Some(ColumnDefault::Literal(text)) => Ok(lit(text.as_str())),
        Some(ColumnDefault::Expression(sql)) => Err(Error::unsupported(format!(
            "the default of column \"{}\" is the expression {sql}, which cannot be evaluated here",
            column.name
        ))
        .with_help("name the column in the INSERT and give it a value")),
    }
}
