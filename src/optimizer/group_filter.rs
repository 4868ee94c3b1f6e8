//! Groups that a join drops anyway are filtered before they are aggregated.
//!
//! ```text
//! join on a.k = g.k                      join on a.k = g.k
//!   a, filtered to few rows                a, filtered to few rows
//!   g: aggregate by k            ──>       g: aggregate by k
//!     facts                                  semi join on facts.k = a.k
//!                                              facts
//!                                              k of a, filtered to few rows
//! ```
//!
//! This is what a correlated subquery becomes (TPC-H q02, q17, q20): decorrelated it aggregates for
//! every key there is, and the query asks for few of them. What provides the keys is read once more,
//! so it must be a filtered table, smaller than what is aggregated. Where in the joins below the
//! aggregate the semi join runs is up to [`super::join_order`].

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, JoinConstraint, LogicalPlan, Projection, SubqueryAlias,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::collect::{Joins, Kind, collect};
use super::estimate::{has_alias, rows_read};
use super::graph::unfiltered_domain;
use super::join_order::inside;
use super::rebuild::Model;
use super::settings::Settings;

/// How the keys are called in a plan.
const KEYS: &str = "__group_keys";
/// At most this fraction of the groups may be left for a filter to be worth its while.
const LEFT: f64 = 0.3;

/// The rule.
#[derive(Debug)]
pub(super) struct GroupFilter;

impl OptimizerRule for GroupFilter {
    fn name(&self) -> &'static str {
        "gotgan_group_filter"
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
        match Settings::of(&config.options()).group_filter {
            true => filtered(plan, config),
            false => Ok(Transformed::no(plan)),
        }
    }
}

#[recursive::recursive]
fn filtered(plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    match collect(&plan) {
        Some(joins) => of_joins(plan, joins, config),
        None => inside(plan, |plan| filtered(plan, config)),
    }
}

fn of_joins(
    plan: LogicalPlan,
    mut joins: Joins,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let mut is_other = joins.map_parts(|part| filtered(part, config))?;
    let mut model = Model::new(joins);
    for index in 0..model.joins.parts.len() {
        let Some((group, keys)) = grouped(&model, index)? else { continue };
        let keys = SubqueryAlias::try_new(Arc::new(keys), config.alias_generator().next(KEYS))?;
        let part = &model.joins.parts[index].plan;
        if let Some(filtered) = push(part, &group, &LogicalPlan::SubqueryAlias(keys))? {
            model.joins.parts[index].plan = filtered;
            is_other = true;
        }
    }
    match is_other {
        true => Ok(Transformed::yes(model.build(&model.joins.tree, &plan)?)),
        false => Ok(Transformed::no(plan)),
    }
}

/// The column of a part by which it is grouped, and a plan of the few values of it that are needed.
fn grouped(model: &Model, index: usize) -> Result<Option<(Column, LogicalPlan)>> {
    let part = &model.joins.parts[index];
    let Some(input) = aggregated(&part.plan) else { return Ok(None) };
    if part.attached.is_some() || has_alias(&part.plan, KEYS) {
        return Ok(None);
    }
    let n_rows = rows_read(input);
    let mut best: Option<(f64, Column, &LogicalPlan, &Expr)> = None;
    for class in &model.classes {
        let Some(group) = class.iter().find_map(|(relation, expr)| match expr {
            Expr::Column(column) if *relation == index => Some(column),
            _ => None,
        }) else {
            continue;
        };
        for (source, key) in sources(model, class, index) {
            let known = &model.estimates[source];
            let plan = &model.joins.parts[source].plan;
            if known.unfiltered > n_rows || !is_filtered_table(plan) {
                continue;
            }
            let left = known.rows / domain(model, class, index);
            if left <= LEFT && best.as_ref().is_none_or(|(least, ..)| left < *least) {
                best = Some((left, group.clone(), plan, key));
            }
        }
    }
    let Some((_, group, plan, key)) = best else { return Ok(None) };
    let keys = Projection::try_new(vec![key.clone().alias("key")], Arc::new(plan.clone()))?;
    Ok(Some((group, LogicalPlan::Projection(keys))))
}

/// The parts, other than `index`, that have a key of the class, and the key.
fn sources<'a>(
    model: &'a Model,
    class: &'a [(usize, Expr)],
    index: usize,
) -> impl Iterator<Item = (usize, &'a Expr)> {
    let parts = &model.joins.parts;
    let joined = class.iter().map(|(relation, expr)| (*relation, expr));
    // A semi join needs a match for its own key, which is in the class.
    let semi = parts.iter().enumerate().flat_map(move |(source, part)| {
        let semi = part.attached.as_ref().filter(|attached| {
            attached.kind == Kind::Semi && attached.null_equality == NullEquality::NullEqualsNothing
        });
        let on = semi.into_iter().flat_map(|semi| &semi.on);
        let keys = on.filter(move |(own, _)| {
            let relation = model.joins.only_relation(own);
            relation.is_some_and(|relation| class.contains(&(relation, own.clone())))
        });
        keys.map(move |(_, other)| (source, other))
    });
    joined.chain(semi).filter(move |(source, _)| *source != index)
}

/// How many values a class has without filters, for all that is known but for the part that is
/// grouped.
fn domain(model: &Model, class: &[(usize, Expr)], index: usize) -> f64 {
    let mut keys = model.keys(class);
    keys.retain(|key| key.relation != index);
    unfiltered_domain(&keys).max(1.0)
}

/// What a part aggregates, if that is all it does.
fn aggregated(plan: &LogicalPlan) -> Option<&LogicalPlan> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => aggregated(&alias.input),
        LogicalPlan::Projection(projection) => aggregated(&projection.input),
        LogicalPlan::Filter(filter) => aggregated(&filter.input),
        LogicalPlan::Aggregate(aggregate) => Some(&aggregate.input),
        LogicalPlan::Distinct(Distinct::All(input)) => Some(input),
        _ => None,
    }
}

/// Whether a plan can be read twice and gives the same rows: a table with filters.
fn is_filtered_table(plan: &LogicalPlan) -> bool {
    let is_plain = |plan: &LogicalPlan| match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none(),
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            !plan.expressions().iter().any(Expr::is_volatile)
        }
        _ => false,
    };
    !plan.exists(|plan| Ok(!is_plain(plan))).unwrap_or(true)
}

/// The plan with what it aggregates filtered by `keys`; `None` if `column` is not what it groups by.
fn push(plan: &LogicalPlan, column: &Column, keys: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let index = plan.schema().index_of_column_by_name(column.relation.as_ref(), &column.name);
    let Some(index) = index else { return Ok(None) };
    let below = |input: &LogicalPlan| push(input, &input.schema().columns()[index], keys);
    Ok(match plan {
        LogicalPlan::SubqueryAlias(alias) => match below(&alias.input)? {
            Some(input) => {
                let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                Some(LogicalPlan::SubqueryAlias(alias))
            }
            None => None,
        },
        LogicalPlan::Filter(filter) if !filter.predicate.is_volatile() => {
            let input = below(&filter.input)?;
            let filter = |input| Filter::try_new(filter.predicate.clone(), Arc::new(input));
            input.map(filter).transpose()?.map(LogicalPlan::Filter)
        }
        LogicalPlan::Projection(projection) => {
            let Expr::Column(inner) = projection.expr[index].clone().unalias() else {
                return Ok(None);
            };
            let input = push(&projection.input, &inner, keys)?;
            let project = |input| Projection::try_new(projection.expr.clone(), Arc::new(input));
            input.map(project).transpose()?.map(LogicalPlan::Projection)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let groups = &aggregate.group_expr;
            let is_plain = |expr: &Expr| !matches!(expr, Expr::GroupingSet(_));
            match groups.get(index).filter(|_| groups.iter().all(is_plain)) {
                Some(group) if !group.is_volatile() => {
                    let key = group.clone().unalias();
                    let input = Arc::new(semi_join(&aggregate.input, key, keys)?);
                    let (groups, rest) = (groups.clone(), aggregate.aggr_expr.clone());
                    Some(LogicalPlan::Aggregate(Aggregate::try_new(input, groups, rest)?))
                }
                _ => None,
            }
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let key = Expr::Column(input.schema().columns()[index].clone());
            let input = semi_join(input, key, keys)?;
            Some(LogicalPlan::Distinct(Distinct::All(Arc::new(input))))
        }
        _ => None,
    })
}

fn semi_join(input: &Arc<LogicalPlan>, key: Expr, keys: &LogicalPlan) -> Result<LogicalPlan> {
    let on = vec![(key, Expr::Column(keys.schema().columns()[0].clone()))];
    let (kind, using) = (JoinType::LeftSemi, JoinConstraint::On);
    let nulls = NullEquality::NullEqualsNothing;
    let (left, right) = (Arc::clone(input), Arc::new(keys.clone()));
    Join::try_new(left, right, on, None, kind, using, nulls, false).map(LogicalPlan::Join)
}
