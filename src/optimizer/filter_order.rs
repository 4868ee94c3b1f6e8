//! Conditions in the order that costs least: cheap ones first, among those the selective ones.
//!
//! The engine computes the conditions of an AND from left to right, and as soon as few rows are left,
//! the rest for those alone. Numbers are compared several at a time, texts one by one, and a pattern is
//! matched character by character. Conditions over the same columns stay together: the two ends of a
//! range keep few rows only both.
//!
//! What may fail, such as a division or a cast, keeps its place behind what the query has before it,
//! and nothing that may fail comes earlier than it is written: `a <> 0 AND 1 / a > 2` is never the other
//! way round.

use std::collections::BTreeSet;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::estimate::{Estimate, estimate};
use super::selectivity::keep;
use super::settings::Settings;

/// The rule.
#[derive(Debug)]
pub(super) struct FilterOrder;

impl OptimizerRule for FilterOrder {
    fn name(&self) -> &'static str {
        "gotgan_filter_order"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(filter) if Settings::of(&config.options()).filter_order => {
                ordered(filter)
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn ordered(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let written = split_conjunction_owned(filter.predicate.clone());
    if written.len() < 2 {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = filter.input.schema();
    let order = order(&written, schema, &estimate(&filter.input));
    if order.iter().copied().eq(0..written.len()) {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let predicate = conjunction(order.into_iter().map(|index| written[index].clone()));
    let predicate = predicate.unwrap_or(filter.predicate);
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
}

/// What a condition costs for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    Number,
    Text,
    Pattern,
    /// Unknown, and it may fail.
    Other,
}

/// Conditions over the same columns.
struct Group {
    cost: Cost,
    /// The fraction of rows that it keeps.
    fraction: f64,
    /// By their place in the query.
    conditions: Vec<usize>,
}

/// The places of conditions in the order in which they are to be computed.
fn order(conditions: &[Expr], schema: &DFSchema, input: &Estimate) -> Vec<usize> {
    let mut groups: Vec<(BTreeSet<Column>, Group)> = Vec::new();
    let mut last = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let cost = cost(condition, schema);
        if cost == Cost::Other {
            last.push(index);
            continue;
        }
        let columns: BTreeSet<Column> = condition.column_refs().into_iter().cloned().collect();
        match groups.iter_mut().find(|(others, group)| *others == columns && group.cost == cost) {
            Some((_, group)) => group.conditions.push(index),
            None => groups.push((columns, Group { cost, fraction: 1.0, conditions: vec![index] })),
        }
    }
    let mut groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
    for group in &mut groups {
        let mut kept = input.clone();
        for index in &group.conditions {
            keep(&conditions[*index], schema, &mut kept);
        }
        group.fraction = kept.rows / input.rows.max(1.0);
    }
    // Stable, so that equal ones stay as they are written.
    groups.sort_by(|a, b| a.cost.cmp(&b.cost).then(a.fraction.total_cmp(&b.fraction)));
    groups.into_iter().flat_map(|group| group.conditions).chain(last).collect()
}

fn cost(condition: &Expr, schema: &DFSchema) -> Cost {
    let all =
        |exprs: &[&Expr]| exprs.iter().map(|expr| cost(expr, schema)).max().unwrap_or(Cost::Number);
    match condition {
        Expr::Literal(..) => Cost::Number,
        Expr::Column(_) => match condition.get_type(schema) {
            Ok(found) if found.is_primitive() || found == arrow::datatypes::DataType::Boolean => {
                Cost::Number
            }
            Ok(found) if !found.is_nested() => Cost::Text,
            _ => Cost::Other,
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(*op) || op.is_logic_operator() =>
        {
            all(&[left, right])
        }
        Expr::Not(inner)
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner) => cost(inner, schema),
        Expr::Between(Between { expr, low, high, .. }) => all(&[expr, low, high]),
        Expr::InList(InList { expr, list, .. }) => {
            cost(expr, schema).max(all(&list.iter().collect::<Vec<_>>()))
        }
        Expr::Like(like) => all(&[&like.expr, &like.pattern]).max(Cost::Pattern),
        _ => Cost::Other,
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator as O;
    matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq)
        || matches!(op, O::IsDistinctFrom | O::IsNotDistinctFrom)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::prelude::{col, lit};

    use super::*;

    fn ordered_names(conditions: &[Expr]) -> Vec<String> {
        let fields = [
            Field::new("number", DataType::Int64, true),
            Field::new("other", DataType::Int64, true),
            Field::new("text", DataType::Utf8View, true),
        ];
        let schema = DFSchema::try_from(Schema::new(fields.to_vec())).unwrap();
        let input = Estimate::unknown(1000.0, 3);
        let order = order(conditions, &schema, &input);
        order.into_iter().map(|index| conditions[index].to_string()).collect()
    }

    #[test]
    fn numbers_come_before_texts_and_patterns_last() {
        let conditions = [
            col("text").like(lit("%x%")),
            col("text").eq(lit("x")),
            col("number").lt(lit(5_i64)),
            col("other").eq(lit(5_i64)),
            col("number").gt(lit(1_i64)),
        ];
        assert_eq!(
            ordered_names(&conditions),
            [
                "other = Int64(5)",
                "number < Int64(5)",
                "number > Int64(1)",
                "text = Utf8(\"x\")",
                "text LIKE Utf8(\"%x%\")"
            ]
        );
    }

    #[test]
    fn what_may_fail_stays_behind_what_guards_it() {
        let conditions = [
            col("number").not_eq(lit(0_i64)),
            (lit(1_i64) / col("number")).gt(lit(2_i64)),
            (lit(1_i64) / col("other")).gt(lit(2_i64)),
            col("text").eq(lit("x")),
        ];
        let names = ordered_names(&conditions);
        assert_eq!(names[2], conditions[1].to_string());
        assert_eq!(names[3], conditions[2].to_string());
    }
}
