//! Subqueries in `VALUES`: the engine computes a list of values while it plans, when no query has been
//! run yet. So such a list becomes a union of rows, each a projection of nothing.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union, Values};
use datafusion::optimizer::analyzer::AnalyzerRule;

#[derive(Debug)]
pub(super) struct Rows;

impl AnalyzerRule for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Values(values) if values.values.iter().flatten().any(has_subquery) => {
                Ok(Transformed::yes(union(values)?))
            }
            plan => Ok(Transformed::no(plan)),
        });
        changed.data()
    }
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::ScalarSubquery(_)))).unwrap_or(false)
}

fn union(Values { schema, values }: Values) -> Result<LogicalPlan> {
    let row = |row: Vec<Expr>| {
        let named =
            row.into_iter().zip(schema.fields()).map(|(expr, field)| expr.alias(field.name()));
        LogicalPlanBuilder::empty(true).project(named)?.build()
    };
    let mut rows = values.into_iter().map(row).collect::<Result<Vec<_>>>()?;
    match rows.len() {
        1 => Ok(rows.remove(0)),
        _ => {
            let inputs = rows.into_iter().map(Arc::new).collect();
            Ok(LogicalPlan::Union(Union { inputs, schema: Arc::clone(&schema) }))
        }
    }
}
