//! `x NOT IN (SELECT y …)` where memory is short and there may be NULLs.
//!
//! DataFusion has one join for it, which hashes the side of `x`, all of its rows. Only two facts set it
//! apart from a join that can be sorted: no row passes if some `y` is NULL, and all do, even those
//! whose `x` is NULL, if there is no `y`. They cost one more reading of the subquery:
//!
//! ```text
//! x anti join y, NULLs aside      ->   rows = 0 OR rows = values AND x IS NOT NULL
//!                                        x anti join y   CROSS JOIN
//!                                        count(*) AS rows, count(y) AS values
//! ```

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::settings::{Memory, Settings};

/// The names of the facts.
const ROWS: &str = "\0rows";
const VALUES: &str = "\0values";

/// The rule.
#[derive(Debug)]
pub(super) struct NotIn;

impl OptimizerRule for NotIn {
    fn name(&self) -> &'static str {
        "gotgan_not_in"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let is_short = matches!(Settings::of(&config.options()).memory, Memory::Short(_));
        match plan {
            LogicalPlan::Join(join) if is_short && is_separable(&join)? => {
                Ok(Transformed::yes(separated(join)?))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Whether the facts are the same for every row, and however often the subquery is read.
fn is_separable(join: &Join) -> Result<bool> {
    let is_alone = join.on.len() == 1 && join.filter.is_none();
    let varies = |plan: &LogicalPlan| {
        let is_cut = match plan {
            LogicalPlan::Limit(_) => true,
            LogicalPlan::TableScan(scan) => scan.fetch.is_some(),
            _ => false,
        };
        Ok(is_cut || plan.expressions().iter().any(Expr::is_volatile))
    };
    let is_null_aware = join.null_aware && join.join_type == JoinType::LeftAnti;
    Ok(is_null_aware && is_alone && !join.right.exists(varies)?)
}

fn separated(mut join: Join) -> Result<LogicalPlan> {
    let [(x, y)] = join.on.as_slice() else { return Ok(LogicalPlan::Join(join)) };
    let facts = vec![count(lit(1i64)).alias(ROWS), count(y.clone()).alias(VALUES)];
    let facts = LogicalPlanBuilder::from(join.right.as_ref().clone())
        .aggregate(Vec::<Expr>::new(), facts)?;
    let is_empty = column(ROWS).eq(lit(0i64));
    let has_no_null = column(ROWS).eq(column(VALUES));
    let passes = is_empty.or(has_no_null.and(x.clone().is_not_null()));
    let given: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    join.null_aware = false;
    facts.cross_join(LogicalPlan::Join(join))?.filter(passes)?.project(given)?.build()
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}
