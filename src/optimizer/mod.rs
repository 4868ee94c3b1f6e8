//! Rules of our own for DataFusion's optimizer, each switched off by a [setting](Settings).
//!
//! ```text
//! logical    … filters pushed down ──> anti_join ──> group_filter ──> join_order ──> projections …
//!                                                        │                │
//!                                        collect: the joins of a plan taken apart
//!                                        estimate, selectivity: rows and distinct values, from the catalog
//!                                        rebuild: as a graph, and as a plan again
//!                                                                         │
//!                                        graph, search: the cheapest tree of joins; pure
//!            … ──> filter_order: cheap and selective conditions first
//! physical   join_sides: hashes the side that join_order chose
//!            … ──> grouping_sets: ROLLUP from groups instead of rows
//!            … ──> filter_gate: no filter for a column of the same name, which is a fault of the engine's
//!            … ──> conjunction: conditions for the rows that others have left
//! ```
//!
//! DataFusion runs its rules several times over, until the plan stays as it is. Its own rules flatten
//! trees of joins each time, so ours come after those in every round, and give the same order again.
//! No rule changes an answer; names, order and types of the columns stay.

mod anti_join;
mod collect;
mod conjunction;
mod estimate;
mod filter_gate;
mod filter_order;
mod graph;
mod group_filter;
mod grouping_sets;
mod join_order;
mod join_sides;
mod rebuild;
mod search;
mod selectivity;
mod settings;

use std::sync::Arc;

use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use self::anti_join::AntiJoin;
use self::conjunction::Conjunction;
use self::filter_gate::FilterGates;
use self::filter_order::FilterOrder;
use self::group_filter::GroupFilter;
use self::grouping_sets::GroupingSets;
use self::join_order::JoinOrder;
use self::join_sides::JoinSides;
pub(crate) use self::settings::Settings;

/// The rules for logical plans: DataFusion's with ours among them.
pub(crate) fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    // Joins have their keys and tables their filters by then, and no projection is in between.
    let at = rules.iter().position(|rule| rule.name() == "push_down_filter");
    let at = at.map_or(rules.len(), |at| at + 1);
    rules.insert(at, Arc::new(AntiJoin));
    rules.insert(at + 1, Arc::new(GroupFilter));
    rules.insert(at + 2, Arc::new(JoinOrder));
    rules.push(Arc::new(FilterOrder));
    rules
}

/// The rules for physical plans: DataFusion's, one of them held back, and ours.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    for rule in &mut rules {
        if rule.name() == "join_selection" {
            *rule = Arc::new(JoinSides);
        }
        if rule.name().starts_with("FilterPushdown") {
            *rule = Arc::new(FilterGates { inner: Arc::clone(rule) });
        }
    }
    // Exchanges are in place by then, and aggregates that need none are one.
    let at = rules.iter().position(|rule| rule.name() == "ProjectionPushdown");
    rules.insert(at.unwrap_or(rules.len()), Arc::new(GroupingSets));
    rules.push(Arc::new(Conjunction));
    rules
}

#[cfg(test)]
mod tests;
