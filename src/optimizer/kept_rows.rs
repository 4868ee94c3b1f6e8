//! Operators that keep more rows than they may, and do not say so.
//!
//! - A window function over whole groups keeps all rows of its input: [`GroupedWindowExec`] keeps those
//!   of a group.
//! - A nested loop join that runs out of memory gives wrong rows, unless it gives nothing but pairs:
//!   [`Passing::Once`] lets it fail.
//! - The first rows of an order are kept where they are few; where they are many, all are sorted,
//!   which spills.
//! - Rows refer to the bytes of others, which are kept with them. What is sorted and may not fit, and
//!   what comes out of a sort-merge join, is made as small as it is: [`Passing::Compact`].

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::{NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use super::settings::{Memory, Settings};
use super::spill_joins::{estimated, row_bytes};
use crate::exec::{GroupedWindowExec, PassExec, Passing};

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
        let memory = Settings::of(config).memory;
        let batch = config.execution.batch_size.get();
        plan.transform_up(|plan| sorted(plan, memory, batch)?.transform_data(bounded)).data()
    }
}

/// How many batches the first rows of an order may refer to before they are copied.
const REFERRED_BATCHES: usize = 20;

/// A sort that may be of more rows than memory surely holds.
fn sorted(
    plan: Arc<dyn ExecutionPlan>,
    memory: Memory,
    batch: usize,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(Transformed::no(plan)) };
    let most = memory.sure() / row_bytes(&sort.schema());
    let is_short = matches!(memory, Memory::Short(_));
    let beside = if is_short { REFERRED_BATCHES * batch } else { 0 };
    let rows = estimated(sort.input())?;
    let is_small = match sort.fetch() {
        Some(first) => first.saturating_add(beside) <= most || rows.is_some_and(|n| n <= most),
        None => rows.map_or(!is_short, |n| n <= most),
    };
    if is_small {
        return Ok(Transformed::no(plan));
    }
    let input = PassExec::compact(Arc::clone(sort.input()));
    let all = replace_children_if_necessary(Arc::new(sort.with_fetch(None)), vec![input])?;
    Ok(Transformed::yes(match sort.fetch() {
        Some(rows) => Arc::new(LocalLimitExec::new(all, rows)),
        None => all,
    }))
}

/// A window function, or a join that is not hashed.
fn bounded(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(window) = plan.downcast_ref::<WindowAggExec>() {
        return Ok(Transformed::yes(Arc::new(GroupedWindowExec::new(window.clone()))));
    }
    if plan.is::<SortMergeJoinExec>() {
        return Ok(Transformed::yes(PassExec::compact(plan)));
    }
    let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else {
        return Ok(Transformed::no(plan));
    };
    if *join.join_type() == JoinType::Inner {
        return Ok(Transformed::no(plan));
    }
    let left = Arc::new(PassExec::new(Arc::clone(join.left()), Passing::Once));
    let sides: Vec<Arc<dyn ExecutionPlan>> = vec![left, Arc::clone(join.right())];
    Ok(Transformed::yes(replace_children_if_necessary(plan, sides)?))
}
