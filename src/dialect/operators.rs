//! Operators that mean something else to the engine, or nothing.
//!
//! `//` divides integers without a rest; by zero it is NULL. A date and an interval are a time, as in
//! DuckDB and PostgreSQL; only where the interval is a literal of whole days they stay a date, which
//! compares with columns of dates without a cast.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, binary_expr, cast};
use sqlparser::ast::BinaryOperator;

#[derive(Debug)]
pub(super) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let operator = match expr.op {
            BinaryOperator::DuckIntegerDivide => return divided(expr, schema),
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let RawBinaryExpr { left, right, .. } = &expr;
        let (Ok(from), Ok(to)) = (left.get_type(schema), right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        let as_time =
            |date: &Expr| cast(date.clone(), DataType::Timestamp(TimeUnit::Microsecond, None));
        Ok(match (from, to) {
            (DataType::Date32, DataType::Interval(_)) if !is_whole_days(right) => {
                PlannerResult::Planned(binary_expr(as_time(left), operator, right.clone()))
            }
            (DataType::Interval(_), DataType::Date32)
                if operator == Operator::Plus && !is_whole_days(left) =>
            {
                PlannerResult::Planned(binary_expr(left.clone(), operator, as_time(right)))
            }
            _ => PlannerResult::Original(expr),
        })
    }
}

fn divided(expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let RawBinaryExpr { left, right, .. } = expr;
    let (from, by) = (left.get_type(schema)?, right.get_type(schema)?);
    let right = match (from.is_integer() && by.is_integer(), &right) {
        (false, _) => right,
        (true, Expr::Literal(value, _)) if !is_zero(value) => right,
        (true, _) => nullif(right, Expr::Literal(ScalarValue::new_zero(&by)?, None)),
    };
    Ok(PlannerResult::Planned(binary_expr(left, Operator::Divide, right)))
}

fn is_zero(value: &ScalarValue) -> bool {
    value.is_null() || ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| zero == *value)
}

/// Whether an interval is a literal without hours, minutes and seconds.
fn is_whole_days(interval: &Expr) -> bool {
    match interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) => {
            interval.nanoseconds == 0
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => {
            interval.milliseconds == 0
        }
        Expr::Literal(ScalarValue::IntervalYearMonth(Some(_)), _) => true,
        Expr::Negative(inner) | Expr::Cast(datafusion::logical_expr::Cast { expr: inner, .. }) => {
            is_whole_days(inner)
        }
        _ => false,
    }
}
