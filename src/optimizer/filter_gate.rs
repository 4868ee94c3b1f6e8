//! DataFusion's rule that passes filters down a physical plan, with gates in their way where columns
//! have the same name; see [`Gated`](crate::exec::Passing::Gated). An answer depends on it, so no setting switches it off.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use super::passes::with_passes;
use crate::exec::PassExec;

/// The rule.
#[derive(Debug)]
pub(super) struct FilterGates {
    /// DataFusion's.
    pub(super) inner: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
}

impl PhysicalOptimizerRule for FilterGates {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_check(&self) -> bool {
        self.inner.schema_check()
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        with_passes(plan, PassExec::gate, |plan| self.inner.optimize(plan, config))
    }
}
