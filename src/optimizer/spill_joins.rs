//! Joins that memory does not hold: their sides are sorted and merged instead of hashed.
//!
//! A hash join keeps one side in memory, and fails if it does not fit. Sorts spill, so a sort-merge
//! join always ends; but it sorts the other side as well, which may be a thousand times larger.
//!
//! Planned the first time, the hash tables of a statement may take half of the memory, by what
//! statistics say of their rows; the largest that do not fit into that are not built. Planned again
//! because memory ran out, the estimates have proved wrong: then only a side is hashed that is small
//! for sure, because the table it is of has no more rows.
//!
//! A cross join becomes a nested loop join, which spills if it has no rows to add without a match.
//! What stays: `NOT IN` with NULLs, unless [`super::not_in`] has put it in other words, and keys without
//! an order.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::union::UnionExec;

use super::settings::{Memory, Settings};

type Plan = Arc<dyn ExecutionPlan>;

/// By estimates, hash tables may take one part in so many of the memory.
const ESTIMATED_PART: usize = 2;
/// What a row takes in a hash table besides its columns: a bucket, of which a table has up to twice
/// as many as rows, and the next row of its chain.
const ROW_BYTES: usize = 36;
/// What a text takes, or anything else whose length its type does not tell.
const TEXT_BYTES: usize = 48;

/// Replaces joins by others that spill.
#[derive(Debug)]
pub(super) struct SpillJoins;

impl PhysicalOptimizerRule for SpillJoins {
    fn name(&self) -> &'static str {
        "gotgan_spill_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let settings = Settings::of(config);
        if !settings.spill_joins {
            return Ok(plan);
        }
        // The bytes that a join keeps.
        let size = |plan: &Plan| -> Result<Option<usize>> {
            let Some(side) = kept_side(plan) else { return Ok(None) };
            let (rows, unknown) = match settings.memory {
                Memory::Bytes(_) => (estimated(side)?, 0),
                Memory::Short(_) => (at_most(side)?, usize::MAX),
            };
            Ok(Some(rows.map_or(unknown, |rows| rows.saturating_mul(row_bytes(&side.schema())))))
        };
        let budget = match settings.memory {
            Memory::Bytes(bytes) => bytes / ESTIMATED_PART,
            Memory::Short(_) => settings.memory.sure(),
        };
        let mut sizes = Vec::new();
        plan.apply(|node| {
            sizes.extend(size(node)?);
            Ok(TreeNodeRecursion::Continue)
        })?;
        let Some(too_large) = first_beyond(sizes, budget) else { return Ok(plan) };
        // From the top, so that a side is still what its size was told of.
        plan.transform_down(|plan| match size(&plan)? {
            Some(bytes) if bytes >= too_large => Ok(Transformed::yes(spilling(plan)?)),
            _ => Ok(Transformed::no(plan)),
        })
        .data()
    }
}

/// The side that a join keeps in memory, if there is another way to join.
fn kept_side(plan: &Plan) -> Option<&Plan> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let schema = join.left().schema();
        let has_order = |key: &DataType| !key.is_nested();
        let mut keys = join.on().iter().map(|(left, _)| left.data_type(&schema));
        let are_sortable = keys.all(|key| key.is_ok_and(|key| has_order(&key)));
        return (are_sortable && !join.null_aware && join.fetch().is_none()).then(|| join.left());
    }
    plan.downcast_ref::<CrossJoinExec>().map(CrossJoinExec::left)
}

/// The smallest of these that does not fit into `budget` together with all that are smaller.
fn first_beyond(mut sizes: Vec<usize>, budget: usize) -> Option<usize> {
    sizes.sort_unstable();
    let mut left = budget;
    sizes.into_iter().find(|size| match left.checked_sub(*size) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// The same join, kept in files where it does not fit.
fn spilling(plan: Plan) -> Result<Plan> {
    if let Some(cross) = plan.downcast_ref::<CrossJoinExec>() {
        let (left, right) = (Arc::clone(cross.left()), Arc::clone(cross.right()));
        return Ok(Arc::new(NestedLoopJoinExec::try_new(
            left,
            right,
            None,
            &JoinType::Inner,
            None,
        )?));
    }
    let Some(join) = plan.downcast_ref::<HashJoinExec>() else { return Ok(plan) };
    let merged: Plan = Arc::new(SortMergeJoinExec::try_new(
        Arc::clone(join.left()),
        Arc::clone(join.right()),
        join.on().to_vec(),
        join.filter().cloned(),
        *join.join_type(),
        vec![SortOptions::default(); join.on().len()],
        join.null_equality(),
    )?);
    let Some(projection) = &join.projection else { return Ok(merged) };
    let schema = merged.schema();
    let columns = projection.iter().map(|index| {
        let name = schema.field(*index).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, *index)), alias: name.clone() }
    });
    let columns: Vec<ProjectionExpr> = columns.collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, merged)?))
}

/// How many rows statistics expect.
pub(super) fn estimated(plan: &Plan) -> Result<Option<usize>> {
    let known = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    Ok(known.num_rows.get_value().copied())
}

/// How many rows there are at most: those of the table that they are of.
fn at_most(plan: &Plan) -> Result<Option<usize>> {
    let fetch = plan.fetch();
    let rows = match plan.children().as_slice() {
        [] => estimated(plan)?,
        [input] => match plan.cardinality_effect() {
            CardinalityEffect::Equal | CardinalityEffect::LowerEqual => at_most(input)?,
            _ => None,
        },
        [left, right] if plan.is::<HashJoinExec>() => match join_type(plan) {
            Some(JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark) => at_most(left)?,
            Some(JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark) => {
                at_most(right)?
            }
            _ => None,
        },
        inputs if plan.is::<UnionExec>() => {
            let rows = inputs.iter().map(|input| at_most(input));
            let rows: Option<Vec<usize>> = rows.collect::<Result<_>>()?;
            rows.map(|rows| rows.into_iter().fold(0, usize::saturating_add))
        }
        _ => None,
    };
    Ok(rows.into_iter().chain(fetch).min())
}

fn join_type(plan: &Plan) -> Option<JoinType> {
    plan.downcast_ref::<HashJoinExec>().map(|join| *join.join_type())
}

/// What a row takes in a hash table.
pub(super) fn row_bytes(schema: &Schema) -> usize {
    let width = |data_type: &DataType| match data_type {
        DataType::Boolean => 1,
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(TEXT_BYTES),
        other => other.primitive_width().unwrap_or(TEXT_BYTES),
    };
    ROW_BYTES + schema.fields().iter().map(|field| width(field.data_type())).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_left_out() {
        assert_eq!(first_beyond(vec![5, 1, 3], 9), None);
        assert_eq!(first_beyond(vec![5, 1, 3], 8), Some(5));
        assert_eq!(first_beyond(vec![5, 1, 3], 2), Some(3));
        assert_eq!(first_beyond(vec![5, usize::MAX], 100), Some(usize::MAX));
        assert_eq!(first_beyond(vec![0, 0], 0), None);
        assert_eq!(first_beyond(vec![], 0), None);
    }
}
