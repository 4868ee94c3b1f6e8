//! Filters of several conditions run as [`ConjunctionExec`].
//!
//! The last of all rules: no other is to know a filter by another name.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

use super::settings::Settings;
use crate::exec::ConjunctionExec;

/// The rule.
#[derive(Debug)]
pub(super) struct Conjunction;

impl PhysicalOptimizerRule for Conjunction {
    fn name(&self) -> &'static str {
        "gotgan_conjunction"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !Settings::of(config).conjunction {
            return Ok(plan);
        }
        let replaced = |plan: Arc<dyn ExecutionPlan>| {
            let conjunction = plan.downcast_ref::<FilterExec>().and_then(ConjunctionExec::of);
            Ok(match conjunction {
                Some(conjunction) => {
                    Transformed::yes(Arc::new(conjunction) as Arc<dyn ExecutionPlan>)
                }
                None => Transformed::no(plan),
            })
        };
        plan.transform_up(replaced).data()
    }
}
