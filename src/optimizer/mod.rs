//! Rules of our own for DataFusion's optimizer. Those that make plans cheaper are switched off by
//! [settings](Settings); those that keep answers right are not.
//!
//! ```text
//! analyzed   share: plans that are needed several times become tables
//! logical    … filters pushed down ──> not_in ──> anti_join ──> group_filter ──> join_order ──> …
//!                                                                     │              │
//!                                        collect: the joins of a plan taken apart
//!                                        estimate, selectivity: rows and distinct values, from the catalog
//!                                        rebuild: as a graph, and as a plan again
//!                                                                                    │
//!                                        graph, search: the cheapest tree of joins; pure
//!            … ──> filter_order: cheap and selective conditions first
//!            … ──> decimals: arithmetic with 64 bits where they suffice
//!            … ──> share: computed once, or each for itself again
//! physical   join_sides: hashes the side that join_order chose
//!            spill_joins: sorts what memory does not hold instead of hashing it
//!            … ──> filter_gate: no filter for a column of the same name, which is a fault of the engine's
//!            … ──> grouping_sets: ROLLUP from groups instead of rows
//!            … ──> push_projections: but not through sort-merge joins
//!            … ──> kept_rows: windows, sorts and nested loops within memory
//!            … ──> conjunction: conditions for the rows that others have left
//!            … ──> share: one of the places shows what is computed once
//! ```
//!
//! DataFusion runs its rules several times over, until the plan stays as it is. Its own rules flatten
//! trees of joins each time, so ours come after those in every round, and give the same order again.
//! No rule changes an answer; names, order and types of the columns stay.

mod anti_join;
mod collect;
mod conjunction;
mod decimals;
mod estimate;
mod filter_gate;
mod filter_order;
mod graph;
mod group_filter;
mod grouping_sets;
mod join_order;
mod join_sides;
mod kept_rows;
mod not_in;
mod passes;
mod push_projections;
mod rebuild;
mod search;
mod selectivity;
mod settings;
mod share;
mod spill_joins;

use std::sync::Arc;

use datafusion::optimizer::{AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use self::anti_join::AntiJoin;
use self::conjunction::Conjunction;
use self::decimals::Decimals;
use self::filter_gate::FilterGates;
use self::filter_order::FilterOrder;
use self::group_filter::GroupFilter;
use self::grouping_sets::GroupingSets;
use self::join_order::JoinOrder;
use self::join_sides::JoinSides;
use self::kept_rows::KeptRows;
use self::not_in::NotIn;
use self::push_projections::PushProjections;
pub(crate) use self::settings::Settings;
pub(crate) use self::share::SharingPlanner;
use self::share::{MarkShared, SettleShared, ShowShared};
use self::spill_joins::SpillJoins;

/// The rule for plans that are not optimized yet, after DataFusion's.
pub(crate) fn analyzer_rule() -> Arc<dyn AnalyzerRule + Send + Sync> {
    Arc::new(MarkShared)
}

/// The rules for logical plans: DataFusion's with ours among them.
pub(crate) fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = rules_for_parts();
    rules.push(Arc::new(SettleShared));
    rules
}

/// Those that a plan may be optimized by on its own that is a part of another.
fn rules_for_parts() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    // Joins have their keys and tables their filters by then, and no projection is in between.
    let at = rules.iter().position(|rule| rule.name() == "push_down_filter");
    let at = at.map_or(rules.len(), |at| at + 1);
    let ours: [Arc<dyn OptimizerRule + Send + Sync>; 4] =
        [Arc::new(NotIn), Arc::new(AntiJoin), Arc::new(GroupFilter), Arc::new(JoinOrder)];
    rules.splice(at..at, ours);
    rules.push(Arc::new(FilterOrder));
    rules.push(Arc::new(Decimals));
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
    for rule in rules.iter_mut().filter(|rule| rule.name().starts_with("FilterPushdown")) {
        *rule = Arc::new(FilterGates { inner: Arc::clone(rule) });
    }
    // Exchanges are in place by then, and aggregates that need none are one.
    let at = position(&rules, "ProjectionPushdown");
    rules.insert(at, Arc::new(GroupingSets));
    for rule in rules.iter_mut().filter(|rule| rule.name() == "ProjectionPushdown") {
        *rule = Arc::new(PushProjections);
    }
    // The shape of the plan is settled, and no filter refers to its operators yet.
    let at = position(&rules, "EnsureCooperative");
    rules.insert(at, Arc::new(KeptRows));
    rules.push(Arc::new(Conjunction));
    rules.push(Arc::new(ShowShared));
    rules
}

#[cfg(test)]
mod tests;
