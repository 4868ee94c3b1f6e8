//! Values that the engine would get wrong: sums of integers that do not fit, numbers and their text
//! cast to integers, times cast to text.
//!
//! An analyzer rule, after the engine has made operands alike: so casts that it adds itself, as in
//! `'at ' || time`, are the same as those that are written.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::{self, kernels::numeric};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TryCast, Volatility, cast,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

use crate::error::Error;

#[derive(Debug)]
pub(super) struct Values;

impl AnalyzerRule for Values {
    fn name(&self) -> &'static str {
        "values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|expr| changed(expr, &schema))?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        });
        Ok(plan?.data)
    }
}

fn changed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    // A column of an outer query has a type that is not known here: it has no operators of its own.
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let is_integer = |expr: &Expr| expr.get_type(schema).is_ok_and(|t| t.is_integer());
            match checked(op).filter(|_| is_integer(&left) && is_integer(&right)) {
                Some(checked) => Transformed::yes(call(checked, *left, Some(*right))),
                None => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Cast(Cast { expr, field }) => match prepared(&expr, field.data_type(), schema) {
            Some(expr) => Transformed::yes(Expr::Cast(Cast { expr: Box::new(expr), field })),
            None => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        Expr::TryCast(TryCast { expr, field }) => {
            match prepared(&expr, field.data_type(), schema) {
                Some(expr) => {
                    Transformed::yes(Expr::TryCast(TryCast { expr: Box::new(expr), field }))
                }
                None => Transformed::no(Expr::TryCast(TryCast { expr, field })),
            }
        }
        other => Transformed::no(other),
    })
}

fn checked(op: Operator) -> Option<Work> {
    match op {
        Operator::Plus => Some(Work::Add),
        Operator::Minus => Some(Work::Subtract),
        Operator::Multiply => Some(Work::Multiply),
        _ => None,
    }
}

/// What is cast instead of `expr`, if the cast alone would not do.
fn prepared(expr: &Expr, to: &DataType, schema: &DFSchema) -> Option<Expr> {
    match (expr.get_type(schema).ok()?, to) {
        (DataType::Float32 | DataType::Float64, to) if to.is_integer() => {
            Some(call(Work::Round, expr.clone(), None))
        }
        // Fewer digits after the point are rounded.
        (DataType::Decimal128(_, scale), to) if to.is_integer() && scale > 0 => {
            Some(cast(expr.clone(), DataType::Decimal128(38, 0)))
        }
        (text, to) if text.is_string() && to.is_integer() => {
            Some(call(Work::Whole, expr.clone(), None))
        }
        (DataType::Timestamp(..), to) if to.is_string() => {
            Some(call(Work::Print, expr.clone(), None))
        }
        _ => None,
    }
}

fn call(work: Work, first: Expr, second: Option<Expr>) -> Expr {
    let function =
        ScalarUDF::from(Value { work, signature: Signature::variadic_any(Volatility::Immutable) });
    function.call([first].into_iter().chain(second).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    Add,
    Subtract,
    Multiply,
    /// To the next whole number, halves to the even one.
    Round,
    /// Text of a number as that of the next whole one, other text as it is.
    Whole,
    /// A time as text.
    Print,
}

/// A function that no text names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Value {
    work: Work,
    signature: Signature,
}

impl ScalarUDFImpl for Value {
    fn name(&self) -> &'static str {
        match self.work {
            Work::Add => "checked_add",
            Work::Subtract => "checked_subtract",
            Work::Multiply => "checked_multiply",
            Work::Round => "rounded",
            Work::Whole => "whole_text",
            Work::Print => "time_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.work {
            Work::Print => DataType::Utf8,
            _ => types.first().cloned().unwrap_or(DataType::Null),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kernel = match self.work {
            Work::Add => numeric::add,
            Work::Subtract => numeric::sub,
            Work::Multiply => numeric::mul,
            Work::Round => return of_each(&args, rounded),
            Work::Whole => return of_each(&args, whole),
            Work::Print => return of_each(&args, printed),
        };
        match args.args.as_slice() {
            [left, right] => apply(left, right, kernel).map_err(overflow),
            _ => Err(Error::internal("an operator without its operands").into()),
        }
    }
}

fn overflow(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::ArrowError(inner, _)
            if matches!(*inner, ArrowError::ArithmeticOverflow(_)) =>
        {
            let text = inner.to_string();
            let sum = text.rsplit_once("on: ").map_or(text.as_str(), |(_, sum)| sum);
            Error::invalid(format!("overflow: {sum} does not fit into its type"))
                .with_help(
                    "cast one side to a larger type, such as BIGINT, DECIMAL(38, 0) or DOUBLE",
                )
                .into()
        }
        other => other,
    }
}

/// Applies `work` to the only argument.
fn of_each(
    args: &ScalarFunctionArgs,
    work: fn(&ArrayRef) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    match args.args.first() {
        Some(ColumnarValue::Array(array)) => work(array).map(ColumnarValue::Array),
        Some(ColumnarValue::Scalar(value)) => {
            let array = work(&value.to_array()?)?;
            let value = datafusion::common::ScalarValue::try_from_array(&array, 0)?;
            Ok(ColumnarValue::Scalar(value))
        }
        None => Err(Error::internal("a function without its argument").into()),
    }
}

fn rounded(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float32 => Arc::new(
            array.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even),
        ),
        DataType::Float64 => Arc::new(
            array.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even),
        ),
        _ => Arc::clone(array),
    })
}

fn whole(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = compute::cast(array, &DataType::Utf8View)?;
    let texts = texts.as_string_view();
    let is_whole = |text: &str| !text.contains(['.', 'e', 'E']);
    if texts.iter().flatten().all(is_whole) {
        return Ok(Arc::clone(array));
    }
    let text = |text: &str| whole_text(text).unwrap_or_else(|| text.to_owned());
    let whole: StringArray = texts.iter().map(|given| given.map(text)).collect();
    Ok(compute::cast(&whole, array.data_type())?)
}

/// `4` for `3.7`, and `1500` for `1.5e3`: halves go away from zero. None if it is no number, or one
/// that no integer type has.
fn whole_text(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (number, exponent) = match digits.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let point = exponent.checked_add(i64::try_from(whole.len()).ok()?)?;
    // A point before the first digit leaves less than a tenth.
    let Ok(point) = usize::try_from(point) else {
        return Some("0".to_owned());
    };
    let is_half = digits.as_bytes().get(point).is_some_and(|digit| *digit >= b'5');
    let kept = digits.get(..point).unwrap_or(&digits).trim_start_matches('0');
    if kept.is_empty() {
        return Some(format!("{sign}{}", u8::from(is_half)));
    }
    let zeros = u32::try_from(point.saturating_sub(digits.len())).ok()?;
    let value = kept.parse::<u128>().ok()?.checked_mul(10u128.checked_pow(zeros)?)?;
    Some(format!("{sign}{}", value.checked_add(u128::from(is_half))?))
}

/// `2020-01-02 03:04:05.12`, and `2020-01-02 03:04:05+09` with a zone.
fn printed(array: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::default()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
    let has_zone = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let text = |row| -> Result<Option<String>> {
        if array.is_null(row) {
            return Ok(None);
        }
        let text = formatter.value(row).try_to_string()?;
        let (time, zone) = text.split_at(text.len() - if has_zone { "+00:00".len() } else { 0 });
        let time = match time.contains('.') {
            true => time.trim_end_matches('0').trim_end_matches('.'),
            false => time,
        };
        Ok(Some(format!("{time}{}", zone.strip_suffix(":00").unwrap_or(zone))))
    };
    let texts = (0..array.len()).map(text).collect::<Result<StringArray>>()?;
    Ok(Arc::new(texts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_numbers_becomes_whole() {
        for (text, whole) in [
            ("3.7", "4"),
            ("-2.5", "-3"),
            ("0.5", "1"),
            (" +.49 ", "0"),
            ("3.", "3"),
            ("1e3", "1000"),
            ("15e-1", "2"),
            ("0.04e1", "0"),
            ("12e-5", "0"),
            ("1.25E+1", "13"),
            ("0e99", "0"),
            ("00012.5", "13"),
            ("99999999999999999999.9", "100000000000000000000"),
        ] {
            assert_eq!(whole_text(text).as_deref(), Some(whole), "{text}");
        }
        for text in ["", ".", "-", "e1", "1e", "1.2.3", "1e1.5", "0x1.8", "1 .5", "nan", "1e99"] {
            assert_eq!(whole_text(text), None, "{text}");
        }
        assert_eq!(whole_text("1e9223372036854775807"), None);
        assert_eq!(whole_text("1e-9223372036854775808").as_deref(), Some("0"));
    }
}
