//! Projections as far down as they go, but not through sort-merge joins.
//!
//! DataFusion's [`ProjectionPushdown`] moves the columns of such a join and leaves its further
//! conditions where they were: they look at other columns then, or at none. Columns that nobody needs
//! are gone before, from the logical plan.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;

use crate::exec::{PassExec, Passing};

/// [`ProjectionPushdown`] that does not see sort-merge joins.
#[derive(Debug)]
pub(super) struct PushProjections;

impl PhysicalOptimizerRule for PushProjections {
    fn name(&self) -> &'static str {
        "gotgan_push_projections"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let hide = |plan: Arc<dyn ExecutionPlan>| {
            Ok(match plan.is::<SortMergeJoinExec>() {
                true => Transformed::yes(Arc::new(PassExec::new(plan, Passing::Hidden)) as _),
                false => Transformed::no(plan),
            })
        };
        let show = |plan: Arc<dyn ExecutionPlan>| {
            let hidden = plan.downcast_ref::<PassExec>().and_then(PassExec::hidden).cloned();
            Ok(hidden.map_or_else(|| Transformed::no(plan), Transformed::yes))
        };
        let hidden = plan.transform_up(hide)?;
        if !hidden.transformed {
            return ProjectionPushdown::new().optimize(hidden.data, config);
        }
        let plan = ProjectionPushdown::new().optimize(hidden.data, config)?;
        plan.transform_up(show).data()
    }
}
