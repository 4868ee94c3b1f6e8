//! Which side of a join is hashed: the left one, as the logical plan has it.
//!
//! DataFusion's [`JoinSelection`] turns joins round by statistics that are guessed anew for every
//! physical operator. [`super::join_order`] has decided that from the same catalog with more of it
//! at hand, so here it only chooses whether a join runs in partitions.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::join_selection::JoinSelection;
use datafusion::physical_plan::ExecutionPlan;

use super::settings::Settings;

/// [`JoinSelection`] that leaves sides alone where our rule has chosen them.
#[derive(Debug)]
pub(super) struct JoinSides;

impl PhysicalOptimizerRule for JoinSides {
    fn name(&self) -> &'static str {
        "gotgan_join_sides"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !Settings::of(config).join_order {
            return JoinSelection::new().optimize(plan, config);
        }
        let mut config = config.clone();
        config.optimizer.join_reordering = false;
        JoinSelection::new().optimize(plan, &config)
    }
}
