//! Plans that read nothing: a list of values, or one row of them, as most INSERTs have.
//!
//! To optimise such a plan takes longer than all else of a small write does, and leaves it as it
//! was. So it is only analysed, which makes types alike and checks what is checked everywhere, and
//! turned into the operators that the engine would choose. Plans that call functions go the long
//! way: some of these are made of others by the optimizer.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection, Values};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::error::{Error, Result};

/// Whether a plan gives the same rows whenever and wherever it runs, by its form.
pub(super) fn is_constant(plan: &LogicalPlan) -> bool {
    let is_constant = |plan: &LogicalPlan| match plan {
        LogicalPlan::Values(values) => values.values.iter().flatten().all(is_plain),
        LogicalPlan::Projection(projection) => projection.expr.iter().all(is_plain),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::SubqueryAlias(_) => true,
        _ => false,
    };
    !plan.exists(|plan| Ok(!is_constant(plan))).unwrap_or(true)
}

fn is_plain(expr: &Expr) -> bool {
    let is_plain = |expr: &Expr| {
        matches!(
            expr,
            Expr::Literal(..)
                | Expr::Column(_)
                | Expr::Alias(_)
                | Expr::Cast(_)
                | Expr::TryCast(_)
                | Expr::Negative(_)
                | Expr::BinaryExpr(_)
        )
    };
    !expr.exists(|expr| Ok(!is_plain(expr))).unwrap_or(true)
}

/// The operators of a plan that [is constant](is_constant).
pub(super) fn operators(state: &SessionState, plan: LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let options = state.config_options();
    let analyzed = state.analyzer().execute_and_check(plan, options, |_, _| {})?;
    operator(state, &analyzed)
}

/// What they run in. They have the functions that they call, and look up none.
pub(super) fn context(state: &SessionState) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        state.config().clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        Arc::clone(state.runtime_env()),
    ))
}

fn operator(state: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let expr = |expr: &Expr, over: &DFSchema| -> Result<Arc<dyn PhysicalExpr>> {
        let context = PhysicalPlanningContext::default();
        Ok(create_physical_expr(expr, over, state.execution_props(), &context)?)
    };
    Ok(match plan {
        LogicalPlan::Values(Values { schema, values }) => {
            let row = |row: &Vec<Expr>| row.iter().map(|value| expr(value, schema)).collect();
            let rows = values.iter().map(row).collect::<Result<_>>()?;
            MemorySourceConfig::try_new_as_values(Arc::clone(schema.inner()), rows)?
        }
        LogicalPlan::Projection(Projection { expr: exprs, input, schema, .. }) => {
            let named = exprs.iter().zip(schema.fields());
            let named =
                named.map(|(e, field)| Ok((expr(e, input.schema())?, field.name().clone())));
            let named = named.collect::<Result<Vec<_>>>()?;
            Arc::new(ProjectionExec::try_new(named, operator(state, input)?)?)
        }
        LogicalPlan::EmptyRelation(EmptyRelation { schema, .. }) => {
            Arc::new(PlaceholderRowExec::new(Arc::clone(schema.inner())))
        }
        LogicalPlan::SubqueryAlias(alias) => operator(state, &alias.input)?,
        other => return Err(Error::internal(format!("{} is not constant", other.display()))),
    })
}
