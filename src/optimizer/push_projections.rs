//! Projections as far down as they go, but not through sort-merge joins.
//!
//! DataFusion's [`ProjectionPushdown`] moves the columns of such a join and leaves its further
//! conditions where they were: they look at other columns then, or at none. Columns that nobody needs
//! are gone before, from the logical plan.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;

use super::passes::with_passes;
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
        let hide = |plan: &Arc<dyn ExecutionPlan>| {
            let is_join = plan.is::<SortMergeJoinExec>();
            is_join.then(|| PassExec::new(Arc::clone(plan), Passing::Hidden))
        };
        with_passes(plan, hide, |plan| ProjectionPushdown::new().optimize(plan, config))
    }
}
