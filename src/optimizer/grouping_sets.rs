//! ROLLUP, CUBE and GROUPING SETS: rows are grouped by all keys once, and these groups by fewer keys.
//!
//! ```text
//! final aggregate                             final aggregate
//!   exchange                                    exchange
//!     partial aggregate by every set   ──>        grouping sets, each from a larger one
//!       input                                       partial aggregate by all keys
//!                                                     input
//! ```
//!
//! DataFusion looks up every row in every set. What an aggregate knows of a group can be merged, so
//! the first aggregate hands on few groups, and [`GroupingSetsExec`] makes each set of them. The
//! aggregates themselves, their types and how they are computed stay what they are.
//!
//! No estimate decides. If one of the sets has all keys, the groups by all keys are needed anyway, and
//! at worst there are as many as rows: then the others are made of so many, as they were before, and
//! the first aggregate sees that it does not reduce and lets rows pass. Sets of which none has all
//! keys, `GROUPING SETS ((a), (b))`, stay as they are: few groups each may be very many together.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

use super::settings::Settings;
use crate::exec::GroupingSetsExec;

/// The rule.
#[derive(Debug)]
pub(super) struct GroupingSets;

impl PhysicalOptimizerRule for GroupingSets {
    fn name(&self) -> &'static str {
        "gotgan_grouping_sets"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match Settings::of(config).grouping_sets {
            true => plan.transform_up(grouped_first).data(),
            false => Ok(plan),
        }
    }
}

fn grouped_first(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let Some(partial) = plan.downcast_ref::<AggregateExec>().filter(|partial| is_fit(partial))
    else {
        return Ok(Transformed::no(plan));
    };
    let by_all_keys = AggregateExec::try_new(
        AggregateMode::Partial,
        PhysicalGroupBy::new_single(partial.group_expr().expr().to_vec()),
        partial.aggr_expr().to_vec(),
        partial.filter_expr().to_vec(),
        Arc::clone(partial.input()),
        partial.input_schema(),
    )?;
    let sets = GroupingSetsExec::try_new(Arc::new(by_all_keys), partial)?;
    Ok(Transformed::yes(Arc::new(sets)))
}

/// Whether a plan is a partial aggregate by grouping sets whose groups can be grouped again.
fn is_fit(partial: &AggregateExec) -> bool {
    let (group_by, aggregates) = (partial.group_expr(), partial.aggr_expr());
    let has_all_keys = |group: &Vec<bool>| !group.contains(&true);
    *partial.mode() == AggregateMode::Partial
        && group_by.has_grouping_set()
        && !group_by.is_empty()
        && group_by.groups().len() > 1
        && group_by.groups().iter().any(has_all_keys)
        // Otherwise the final aggregate may rely on the order.
        && *partial.input_order_mode() == InputOrderMode::Linear
        && partial.limit_options().is_none()
        && !aggregates.is_empty()
        && aggregates.iter().all(|aggregate| has_small_state(aggregate))
}

/// Whether what an aggregate knows of a group is a few values. Lists of all that it has seen, as of
/// `count(DISTINCT …)` or a median, are no cheaper to merge than the rows are.
fn has_small_state(aggregate: &AggregateFunctionExpr) -> bool {
    let is_value = |field: &FieldRef| {
        let data_type = field.data_type();
        let is_sketch =
            matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
        !data_type.is_nested() && !is_sketch
    };
    !aggregate.is_distinct()
        && aggregate.order_bys().is_empty()
        && aggregate.state_fields().is_ok_and(|fields| fields.iter().all(is_value))
}
