//! Operators that keep more rows than they may, and do not say so.
//!
//! A window function over whole groups keeps all rows of its input: [`GroupedWindowExec`] keeps those
//! of a group. A nested loop join that runs out of memory gives wrong rows, unless it gives nothing but
//! pairs: [`Passing::Once`] lets it fail. The first rows of an order are kept where they are few; where they
//! are many, all are sorted, which spills. What is sorted and may not fit is made as small as it is
//! first: [`Passing::Compact`].

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
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
        // What a few rows refer to is more batches, until there are so many.
        let beside = match memory {
            Memory::Bytes(_) => 0,
            Memory::Short(_) => 20 * config.execution.batch_size.get(),
        };
        let most = |width: usize| (memory.sure() / width).saturating_sub(beside);
        plan.transform_up(|plan| sorted(plan, most)?.transform_data(bounded)).data()
    }
}

/// A sort of more rows than memory surely holds, by what one of them takes.
fn sorted(
    plan: Arc<dyn ExecutionPlan>,
    most: impl Fn(usize) -> usize,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(Transformed::no(plan)) };
    let most = most(row_bytes(&sort.schema()));
    let fit = |rows: usize| rows <= most;
    let is_small = sort.fetch().is_some_and(fit) || estimated(sort.input())?.is_some_and(fit);
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

/// A window function or a nested loop join.
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
    let left = Arc::new(PassExec::new(Arc::clone(join.left()), Passing::Once));
    let sides: Vec<Arc<dyn ExecutionPlan>> = vec![left, Arc::clone(join.right())];
    Ok(Transformed::yes(replace_children_if_necessary(plan, sides)?))
}
