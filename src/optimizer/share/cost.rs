//! What a plan costs, in rows that somebody has to touch.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use super::super::estimate::estimate;
use super::SharedTable;

/// A row that is filtered, against one that is read or joined.
const FILTERED: f64 = 0.2;
/// A row that is put into a group, a set or an order.
const GROUPED: f64 = 2.0;
/// A value that is kept for all readers, and one that is read from there.
const SHARED: f64 = 0.05;

/// What it costs to execute a plan.
pub(super) fn cost(plan: &LogicalPlan) -> f64 {
    let rows = |plan: &LogicalPlan| estimate(plan).rows;
    let mut cost = 0.0;
    // The closure gives no error.
    let _ = plan.apply_with_subqueries(|node| {
        let inputs: f64 = node.inputs().into_iter().map(rows).sum();
        cost += match node {
            LogicalPlan::TableScan(scan) if SharedTable::of(scan).is_some() => shared(node),
            LogicalPlan::TableScan(_) => estimate(node).unfiltered,
            LogicalPlan::Filter(_) => FILTERED * inputs,
            LogicalPlan::Join(_) => inputs + rows(node),
            LogicalPlan::Aggregate(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_) => GROUPED * inputs,
            LogicalPlan::Unnest(_) | LogicalPlan::RecursiveQuery(_) => rows(node),
            _ => 0.0,
        };
        Ok(TreeNodeRecursion::Continue)
    });
    cost
}

/// What it costs besides to give the rows of a plan to several readers.
pub(super) fn cost_of_sharing(plan: &LogicalPlan, n_readers: usize) -> f64 {
    shared(plan) * (1.0 + n_readers as f64)
}

/// What it costs to keep the rows of a plan, or to read them from where they are kept.
fn shared(plan: &LogicalPlan) -> f64 {
    SHARED * estimate(plan).rows * (1.0 + plan.schema().fields().len() as f64)
}
