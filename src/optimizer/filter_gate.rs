//! DataFusion's rule that passes filters down a physical plan, with gates in their way where columns
//! have the same name; see [`FilterGateExec`]. An answer depends on it, so no setting switches it off.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::exec::FilterGateExec;

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
        let close = |plan: Arc<dyn ExecutionPlan>| {
            Ok(match FilterGateExec::above(&plan) {
                Some(gate) => Transformed::yes(Arc::new(gate) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(plan),
            })
        };
        let open = |plan: Arc<dyn ExecutionPlan>| {
            Ok(match plan.downcast_ref::<FilterGateExec>() {
                Some(gate) => Transformed::yes(Arc::clone(gate.open())),
                None => Transformed::no(plan),
            })
        };
        let gated = plan.transform_up(close)?;
        let has_gates = gated.transformed;
        let plan = self.inner.optimize(gated.data, config)?;
        match has_gates {
            true => plan.transform_up(open).data(),
            false => Ok(plan),
        }
    }
}
