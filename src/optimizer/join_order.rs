//! Joins in the order that costs least, and each with the side hashed that is smaller.
//!
//! Stock DataFusion joins in the order the query is written in. This rule takes each tree of inner
//! and semi joins apart ([`super::collect`]), searches the cheapest order ([`super::search`]) and
//! puts it together again ([`super::rebuild`]), unless the order it found is as good. Outer joins
//! stay where they are; they are turned round if their right side is the smaller one.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::collect::{Joins, collect};
use super::estimate::estimate;
use super::rebuild::Model;
use super::search::{best, cost};
use super::settings::Settings;

/// Another order must be cheaper by this factor, apart from what any order costs, to be worth a
/// change.
const CHEAPER: f64 = 0.99;

/// The rule.
#[derive(Debug)]
pub(super) struct JoinOrder;

impl OptimizerRule for JoinOrder {
    fn name(&self) -> &'static str {
        "gotgan_join_order"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        // A tree of joins is one thing, so the way down is this rule's own.
        None
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match Settings::of(&config.options()).join_order {
            true => ordered(plan),
            false => Ok(Transformed::no(plan)),
        }
    }
}

#[recursive::recursive]
fn ordered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let Some(joins) = collect(&plan) {
        return of_joins(plan, joins);
    }
    let plan = inside(plan, ordered)?;
    Ok(match turned(&plan.data)? {
        Some(turned) => Transformed::yes(turned),
        None => plan,
    })
}

fn of_joins(plan: LogicalPlan, mut joins: Joins) -> Result<Transformed<LogicalPlan>> {
    let is_other = joins.map_parts(ordered)? || joins.are_others;
    let model = Model::new(joins);
    let written = &model.joins.tree;
    let found = best(&model.graph);
    // Each relation is read in any order.
    let read: f64 = model.graph.relations.iter().map(|relation| relation.rows).sum();
    let cost = |tree| cost(&model.graph, tree) - read;
    let (own, of_written) = (cost(&found), cost(written));
    let is_cheaper = of_written - own > (1.0 - CHEAPER) * of_written.abs();
    let tree = if is_cheaper { &found } else { written };
    match is_cheaper || is_other {
        true => Ok(Transformed::yes(model.build(tree, &plan)?)),
        false => Ok(Transformed::no(plan)),
    }
}

/// Applies a rule to all that is inside of a plan.
pub(super) fn inside(
    plan: LogicalPlan,
    mut rule: impl FnMut(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
) -> Result<Transformed<LogicalPlan>> {
    let plan = plan.map_uncorrelated_subqueries(&mut rule)?;
    let plan = plan.transform_sibling(|plan| plan.map_children(&mut rule))?;
    match plan.transformed {
        true => plan.map_data(LogicalPlan::recompute_schema),
        false => Ok(plan),
    }
}

/// The same join with its smaller side hashed, if that is the other one.
fn turned(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Join(join) = plan else { return Ok(None) };
    let must_stay = join.null_aware || join.join_type == JoinType::Inner && join.on.is_empty();
    if must_stay || estimate(&join.left).rows <= 1.5 * estimate(&join.right).rows {
        return Ok(None);
    }
    let turned = LogicalPlan::Join(Join::try_new(
        Arc::clone(&join.right),
        Arc::clone(&join.left),
        join.on.iter().map(|(left, right)| (right.clone(), left.clone())).collect(),
        join.filter.clone(),
        join.join_type.swap(),
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?);
    let columns = plan.schema().columns();
    if turned.schema().columns() == columns {
        return Ok(Some(turned));
    }
    let columns = columns.into_iter().map(Expr::Column).collect();
    let projection = Projection::try_new(columns, Arc::new(turned))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}
