//! Operators that keep more rows than they may, and do not say so.
//!
//! A window function over whole groups keeps all rows of its input: [`GroupedWindowExec`] keeps those
//! of a group. A nested loop join that runs out of memory gives wrong rows, unless it gives nothing but
//! pairs: [`OnceExec`] lets it fail. The first rows of an order are kept where they are few; where they
//! are many, all are sorted, which spills.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::WindowAggExec;

use super::settings::Settings;
use super::spill_joins::row_bytes;
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
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let bytes = Settings::of(config).memory.sure();
        plan.transform_up(|plan| bounded(plan, bytes)).data()
    }
}

fn bounded(
    plan: Arc<dyn ExecutionPlan>,
    bytes: usize,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let first =
            sort.fetch().filter(|rows| rows.saturating_mul(row_bytes(&sort.schema())) > bytes);
        let Some(rows) = first else { return Ok(Transformed::no(plan)) };
        let all = Arc::new(sort.with_fetch(None));
        return Ok(Transformed::yes(Arc::new(LocalLimitExec::new(all, rows))));
    }
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
