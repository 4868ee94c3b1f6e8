//! `x IN (SELECT c …)` where it is unknown: neither found nor ruled out, because of a NULL.
//!
//! A condition that is all of `WHERE`, or one part of an `AND` there, the engine turns into a join
//! that minds NULL, if the query does not depend on the row. Elsewhere it marks the rows that are
//! found, and takes all others for not found. That is as good where unknown and false come to the
//! same, which is below `AND` and `OR` alone. What is left is said in words that the engine minds:
//!
//! ```text
//! x IN S   =   EXISTS (S where c = x)  OR
//!              NULL AND (EXISTS (S where c IS NULL)  OR  x IS NULL AND EXISTS S)
//! ```
//!
//! An analyzer rule: types are alike by then, and subqueries still in their place.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, JoinType, Result, ScalarValue};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery,
    exists, lit, not,
};
use datafusion::optimizer::analyzer::AnalyzerRule;

#[derive(Debug)]
pub(super) struct Membership;

impl AnalyzerRule for Membership {
    fn name(&self) -> &'static str {
        "membership"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => {
                let predicate = whole(filter.predicate, filter.input.schema())?;
                Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
            }
            LogicalPlan::Join(mut join)
                if join.join_type == JoinType::Inner
                    && join.filter.as_ref().is_some_and(has_subquery) =>
            {
                let condition = join.filter.take().unwrap_or_else(|| lit(true));
                let condition = whole(condition, &join.schema)?;
                let joined = Arc::new(LogicalPlan::Join(join));
                Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(condition, joined)?)))
            }
            plan => Ok(Transformed::no(plan)),
        });
        changed.data()
    }
}

/// All of a condition.
fn whole(condition: Expr, schema: &DFSchema) -> Result<Expr> {
    // The engine's join minds NULL in what it compares, and only if that does not depend on the row.
    let is_minded = |part: &Expr| match part {
        Expr::InSubquery(part) => !part.negated || part.subquery.outer_ref_columns.is_empty(),
        _ => false,
    };
    let parts = split_conjunction_owned(condition).into_iter();
    let parts = parts.map(|part| match part {
        Expr::Not(part) => match *part {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                Expr::InSubquery(InSubquery { expr, subquery, negated: !negated })
            }
            part => not(part),
        },
        part => part,
    });
    let parts = parts.map(|part| match is_minded(&part) {
        true => Ok(part),
        false => minding(part, schema),
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Ok(conjunction(parts).unwrap_or_else(|| lit(true)))
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_)))).unwrap_or(false)
}

/// A condition that is unknown where it ought to be, as far as that makes a difference.
fn minding(condition: Expr, schema: &DFSchema) -> Result<Expr> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (minding(*left, schema)?, minding(*right, schema)?);
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::InSubquery(InSubquery { negated: false, .. }) => Ok(condition),
        condition => condition
            .transform_up(|expr| match expr {
                Expr::InSubquery(membership) => {
                    three_valued(membership, schema).map(Transformed::yes)
                }
                expr => Ok(Transformed::no(expr)),
            })
            .data(),
    }
}

fn three_valued(membership: InSubquery, schema: &DFSchema) -> Result<Expr> {
    let InSubquery { expr, subquery, negated } = membership;
    let (qualifier, field) = subquery.subquery.schema().qualified_field(0);
    let column = Expr::from((qualifier, field));
    let value = outer(expr.as_ref().clone(), schema)?;
    let found = any(&subquery, |rows| rows.filter(value.eq(column.clone())))?;
    let mut unknown = Vec::new();
    if field.is_nullable() {
        unknown.push(any(&subquery, |rows| rows.filter(column.is_null()))?);
    }
    if expr.nullable(schema)? {
        unknown.push(expr.is_null().and(any(&subquery, Ok)?));
    }
    let found = match disjunction(unknown) {
        Some(unknown) => found.or(lit(ScalarValue::Boolean(None)).and(unknown)),
        None => found,
    };
    Ok(if negated { not(found) } else { found })
}

/// An expression as a query inside of its own names it.
fn outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = expr.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        expr => Ok(Transformed::no(expr)),
    });
    outer.data()
}

/// Whether there is any of some rows.
fn any(
    rows: &Subquery,
    chosen: impl FnOnce(LogicalPlanBuilder) -> Result<LogicalPlanBuilder>,
) -> Result<Expr> {
    let plan = LogicalPlanBuilder::from(rows.subquery.as_ref().clone());
    let plan = chosen(plan)?.limit(0, Some(1))?.build()?;
    Ok(exists(Arc::new(plan)))
}
