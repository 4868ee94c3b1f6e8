//! Which side of a join is hashed, and whether once or in partitions.
//!
//! DataFusion's [`JoinSelection`] turns joins round by statistics that are guessed anew for every
//! physical operator. [`super::join_order`] has decided that from the same catalog with more of it
//! at hand, so the left side is the one that is hashed, as the logical plan has it.
//!
//! Hashed once, by one thread, no row of either side changes threads; in partitions all rows of both
//! sides do, but the hash tables are filled side by side:
//!
//! ```text
//! once           build               + probe / threads
//! in partitions  build / threads     + probe / threads     + (build + probe) / threads to exchange
//! ```
//!
//! A row costs about as much to exchange as to put into a table, so once is cheaper if
//! `build * (threads - 1) <= build + probe`: with two threads always, with many if the other side is
//! so much larger.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::join_selection::JoinSelection;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

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
        let threads = config.execution.target_partitions;
        let plan = plan.transform_up(|plan| hashed_once(plan, threads)).data()?;
        let mut config = config.clone();
        config.optimizer.join_reordering = false;
        JoinSelection::new().optimize(plan, &config)
    }
}

/// Decides for a join that can run in both ways; the others are left to DataFusion.
fn hashed_once(
    plan: Arc<dyn ExecutionPlan>,
    threads: usize,
) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(join) = plan.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(plan)) };
    if *join.partition_mode() != PartitionMode::Auto {
        return Ok(Transformed::no(plan));
    }
    let build = rows(join.left())?;
    // The larger side is the other one; how much larger may not be known.
    let probe = rows(join.right())?.or(build);
    let is_cheaper = match (build, probe) {
        (Some(build), Some(probe)) => {
            build.saturating_mul(threads.saturating_sub(1)) <= build.saturating_add(probe)
        }
        _ => threads <= 2,
    };
    if !is_cheaper {
        return Ok(Transformed::no(plan));
    }
    let once = join.builder().with_partition_mode(PartitionMode::CollectLeft).build()?;
    Ok(Transformed::yes(Arc::new(once)))
}

fn rows(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<usize>> {
    let known = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    Ok(known.num_rows.get_value().copied())
}
