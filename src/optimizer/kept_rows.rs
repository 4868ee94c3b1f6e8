//! Operators that keep more rows than they may, and do not say so.
//!
//! A window function over whole groups keeps all rows of its input: [`GroupedWindowExec`] keeps those
//! of a group. A nested loop join that runs out of memory gives wrong rows, unless it gives nothing but
//! pairs: [`OnceExec`] lets it fail.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::windows::WindowAggExec;

use crate::exec::{GroupedWindowExec, OnceExec};

/// Replaces such operators, or what is below them.
#[derive(Debug)]
pub(super) struct KeptRows;

impl PhysicalOptimizerRule for KeptRows {
    fn name(&self) -> &'static str {
        "gotgan_kept_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(bounded).data()
    }
}

fn bounded(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(window) = plan.downcast_ref::<WindowAggExec>() {
        return Ok(Transformed::yes(Arc::new(GroupedWindowExec::new(window.clone()))));
    }
    let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else {
        return Ok(Transformed::no(plan));
    };
    if *join.join_type() == JoinType::Inner {
        return Ok(Transformed::no(plan));
    }
    let left = Arc::new(OnceExec::new(Arc::clone(join.left())));
    let sides: Vec<Arc<dyn ExecutionPlan>> = vec![left, Arc::clone(join.right())];
    Ok(Transformed::yes(plan.with_new_children(sides)?))
}
