//! Rules of our own for DataFusion's optimizer, each switched off by a [setting](Settings).
//!
//! ```text
//! logical    … filters pushed down ──> group_filter ──> join_order ──> projections pushed down …
//!                                          │                │
//!                          collect: the joins of a plan taken apart
//!                          estimate, selectivity: rows and distinct values, from the catalog
//!                          rebuild: as a graph, and as a plan again
//!                                                           │
//!                          graph, search: the cheapest tree of joins; pure
//!            … ──> not_in: in words that can be sorted, where memory is short
//!            … ──> filter_order: cheap and selective conditions first
//! physical   join_sides: hashes the side that join_order chose
//!            spill_joins: sorts what memory does not hold instead of hashing it
//!            … ──> push_projections: but not through sort-merge joins
//!            … ──> kept_rows: windows, sorts and nested loops within memory
//! ```
//!
//! DataFusion runs its rules several times over, until the plan stays as it is. Its own rules flatten
//! trees of joins each time, so ours come after those in every round, and give the same order again.
//! No rule changes an answer; names, order and types of the columns stay.

mod collect;
mod estimate;
mod filter_order;
mod graph;
mod group_filter;
mod join_order;
mod join_sides;
mod kept_rows;
mod not_in;
mod push_projections;
mod rebuild;
mod search;
mod selectivity;
mod settings;
mod spill_joins;

use std::sync::Arc;

use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use self::filter_order::FilterOrder;
use self::group_filter::GroupFilter;
use self::join_order::JoinOrder;
use self::join_sides::JoinSides;
use self::kept_rows::KeptRows;
use self::not_in::NotIn;
use self::push_projections::PushProjections;
pub(crate) use self::settings::Settings;
use self::spill_joins::SpillJoins;

/// The rules for logical plans: DataFusion's with ours among them.
pub(crate) fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    // Joins have their keys and tables their filters by then, and no projection is in between.
    let at = rules.iter().position(|rule| rule.name() == "push_down_filter");
    let at = at.map_or(rules.len(), |at| at + 1);
    rules.insert(at, Arc::new(NotIn));
    rules.insert(at + 1, Arc::new(GroupFilter));
    rules.insert(at + 2, Arc::new(JoinOrder));
    rules.push(Arc::new(FilterOrder));
    rules
}

/// The rules for physical plans: DataFusion's with ours among them, some of them held back.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let position = |rules: &[Arc<dyn PhysicalOptimizerRule + Send + Sync>], name: &str| {
        rules.iter().position(|rule| rule.name() == name).unwrap_or(rules.len())
    };
    let at = position(&rules, "join_selection");
    rules
        .splice(at..rules.len().min(at + 1), [Arc::new(JoinSides) as _, Arc::new(SpillJoins) as _]);
    for rule in rules.iter_mut().filter(|rule| rule.name() == "ProjectionPushdown") {
        *rule = Arc::new(PushProjections);
    }
    // The shape of the plan is settled, and no filter refers to its operators yet.
    let at = position(&rules, "EnsureCooperative");
    rules.insert(at, Arc::new(KeptRows));
    rules
}

#[cfg(test)]
mod tests;
