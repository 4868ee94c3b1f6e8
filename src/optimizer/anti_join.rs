//! An outer join of which only rows without a match are wanted is an anti join.
//!
//! ```text
//! filter b.k IS NULL                    columns of a, and NULL for those of b
//!   left join on a.k = b.k      ──>       anti join on a.k = b.k
//!     a                                     a
//!     b                                     b
//! ```
//!
//! A key that is NULL matches nothing, so where `b.k` is NULL there was no match. An anti join keeps no
//! columns of `b` and gives each row once, and [`super::join_order`] may put it where few rows are
//! left, behind other joins (TPC-DS q78), which it never does with an outer join.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Projection};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::settings::Settings;

/// The rule.
#[derive(Debug)]
pub(super) struct AntiJoin;

impl OptimizerRule for AntiJoin {
    fn name(&self) -> &'static str {
        "gotgan_anti_join"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let anti = match &plan {
            LogicalPlan::Filter(filter) if Settings::of(&config.options()).anti_join => {
                unmatched(filter)?
            }
            _ => None,
        };
        Ok(anti.map_or_else(|| Transformed::no(plan), Transformed::yes))
    }
}

/// The same as an anti join, if the filter keeps no row with a match.
fn unmatched(filter: &Filter) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Join(join) = filter.input.as_ref() else { return Ok(None) };
    let kind = match join.join_type {
        JoinType::Left => JoinType::LeftAnti,
        JoinType::Right => JoinType::RightAnti,
        _ => return Ok(None),
    };
    let is_missing = |condition: &&Expr| match condition {
        Expr::IsNull(key) if matches!(**key, Expr::Column(_)) => {
            join.on.iter().any(|(left, right)| match kind {
                JoinType::LeftAnti => right == &**key,
                _ => left == &**key,
            })
        }
        _ => false,
    };
    let (missing, rest): (Vec<_>, Vec<_>) =
        split_conjunction(&filter.predicate).into_iter().partition(is_missing);
    if missing.is_empty() || join.null_equality != NullEquality::NullEqualsNothing {
        return Ok(None);
    }
    let anti = Join::try_new(
        Arc::clone(&join.left),
        Arc::clone(&join.right),
        join.on.clone(),
        join.filter.clone(),
        kind,
        join.join_constraint,
        join.null_equality,
        false,
    )?;
    let mut columns = vec![];
    for (table, field) in join.schema.iter() {
        let column = Column::from((table, field));
        columns.push(match anti.schema.has_column(&column) {
            true => Expr::Column(column),
            false => {
                let null = Expr::Literal(ScalarValue::try_from(field.data_type())?, None);
                null.alias_qualified(table.cloned(), field.name())
            }
        });
    }
    let anti = Arc::new(LogicalPlan::Join(anti));
    let columns = LogicalPlan::Projection(Projection::try_new(columns, anti)?);
    Ok(Some(match conjunction(rest.into_iter().cloned()) {
        Some(rest) => LogicalPlan::Filter(Filter::try_new(rest, Arc::new(columns))?),
        None => columns,
    }))
}
