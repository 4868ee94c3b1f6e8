//! The fraction of rows that a filter keeps.
//!
//! Comparisons with literals are answered by bounds and distinct values. For the rest there are
//! fractions that have served other planners for long.

use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use super::estimate::{ColumnEstimate, Estimate, number};
use super::graph::Basis;

/// An equality with a value of a column whose values are not known.
const EQUAL: f64 = 0.04;
/// `<`, `>` and the like with a value of such a column.
const RANGE: f64 = 0.3;
/// An inequality of two columns.
pub(super) const BETWEEN_COLUMNS: f64 = 0.5;
/// A pattern with a fixed beginning, and one without.
const PREFIX: f64 = 0.05;
const PATTERN: f64 = 0.1;
/// NULLs in a column of which it is not known.
const NULL: f64 = 0.05;
/// Anything else.
const OTHER: f64 = 0.25;

/// Applies a filter to an estimate; what it says of a column narrows the column, too.
pub(super) fn keep(filter: &Expr, schema: &DFSchema, estimate: &mut Estimate) {
    let fraction = fraction(filter, schema, estimate);
    estimate.rows = (estimate.rows * fraction).max(1.0);
    let mut narrow = |column: &Column, low: Option<f64>, high: Option<f64>| {
        let index = schema.index_of_column_by_name(column.relation.as_ref(), &column.name);
        if let Some(column) = index.and_then(|index| estimate.columns.get_mut(index)) {
            let narrower = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| match (a, b)
            {
                (Some(a), Some(b)) => Some(pick(a, b)),
                (a, b) => a.or(b),
            };
            column.low = narrower(column.low, low, f64::max);
            column.high = narrower(column.high, high, f64::min);
            column.kept *= fraction;
            column.nulls = Some(0.0);
        }
    };
    match filter {
        Expr::BinaryExpr(binary) => {
            if let Some((column, op, value)) = comparison(binary) {
                let at = number(value);
                match op {
                    Operator::Eq => narrow(column, at, at),
                    Operator::Lt | Operator::LtEq => narrow(column, None, at),
                    Operator::Gt | Operator::GtEq => narrow(column, at, None),
                    _ => {}
                }
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            if let (Some(column), Some(low), Some(high)) =
                (column(expr), literal(low), literal(high))
            {
                narrow(column, number(low), number(high));
            }
        }
        Expr::InList(InList { expr, negated: false, .. }) => {
            if let Some(column) = column(expr) {
                narrow(column, None, None);
            }
        }
        _ => {}
    }
}

/// The filters without those that another one implies, such as `a = 1` does `a IN (1, 2)`: of those
/// that name values of a column the one that names the fewest.
pub(super) fn strongest<'a>(filters: impl Iterator<Item = &'a Expr>) -> Vec<&'a Expr> {
    let mut all: Vec<(&Expr, Option<(&Column, usize)>)> = vec![];
    for filter in filters {
        let named = named(filter);
        let same = all.iter_mut().find(|(_, other)| {
            named.zip(*other).is_some_and(|((column, _), (other, _))| column == other)
        });
        match (same, named) {
            (Some(other), Some((_, n))) if other.1.is_some_and(|(_, fewest)| n < fewest) => {
                *other = (filter, named);
            }
            (Some(_), _) => {}
            (None, _) => all.push((filter, named)),
        }
    }
    all.into_iter().map(|(filter, _)| filter).collect()
}

/// The column of which a filter names values, and how many.
fn named(filter: &Expr) -> Option<(&Column, usize)> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((column, n), (other, m)) = named(left).zip(named(right))?;
            (column == other).then_some((column, n + m))
        }
        Expr::BinaryExpr(binary) => {
            let (column, op, _) = comparison(binary)?;
            (op == Operator::Eq).then_some((column, 1))
        }
        Expr::InList(InList { expr, list, negated: false }) => Some((column(expr)?, list.len())),
        _ => None,
    }
}

/// The fraction of rows for which `expr` is true.
fn fraction(expr: &Expr, schema: &DFSchema, estimate: &Estimate) -> f64 {
    let of = |expr: &Expr| fraction(expr, schema, estimate);
    let fraction = match expr {
        Expr::Alias(alias) => of(&alias.expr),
        Expr::Literal(ScalarValue::Boolean(Some(true)), _) => 1.0,
        Expr::Literal(..) => 0.0,
        Expr::Column(_) => 0.5,
        Expr::Not(inner) => 1.0 - of(inner),
        Expr::IsTrue(inner) | Expr::IsNotFalse(inner) => of(inner),
        Expr::IsFalse(inner) | Expr::IsNotTrue(inner) => 1.0 - of(inner),
        Expr::IsNull(inner) | Expr::IsUnknown(inner) => nulls(inner, schema, estimate),
        Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => 1.0 - nulls(inner, schema, estimate),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => of(left) * of(right),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            1.0 - (1.0 - of(left)) * (1.0 - of(right))
        }
        Expr::BinaryExpr(binary) => compared(binary, schema, estimate),
        Expr::Between(between) => {
            let Between { expr, negated, low, high } = between;
            let known = column(expr).and_then(|column| estimate.column(schema, column));
            let within =
                known.zip(literal(low).zip(literal(high))).and_then(|(column, (low, high))| {
                    within(column, Some(number(low)?), Some(number(high)?))
                });
            negate_if(*negated, within.unwrap_or(RANGE * RANGE))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let known = estimate.expression(schema, expr);
            let each = equal(&known, None, estimate.unfiltered);
            negate_if(*negated, (each * list.len() as f64).min(0.9))
        }
        Expr::Like(like) | Expr::SimilarTo(like) => pattern(like),
        _ => OTHER,
    };
    fraction.clamp(0.0, 1.0)
}

fn negate_if(negated: bool, fraction: f64) -> f64 {
    if negated { 1.0 - fraction } else { fraction }
}

fn compared(binary: &BinaryExpr, schema: &DFSchema, estimate: &Estimate) -> f64 {
    if let Some((column, op, value)) = comparison(binary) {
        if value.is_null() {
            return 0.0;
        }
        let unknown = || ColumnEstimate::unknown(estimate.unfiltered);
        let known = estimate.column(schema, column).cloned().unwrap_or_else(unknown);
        let at = number(value);
        return match op {
            Operator::Eq => equal(&known, at, estimate.unfiltered),
            Operator::NotEq => 1.0 - equal(&known, at, estimate.unfiltered),
            Operator::Lt | Operator::LtEq => within(&known, None, at).unwrap_or(RANGE),
            Operator::Gt | Operator::GtEq => within(&known, at, None).unwrap_or(RANGE),
            _ => OTHER,
        };
    }
    let is_fixed = |expr: &Expr| expr.column_refs().is_empty();
    let one_is_fixed = is_fixed(&binary.left) || is_fixed(&binary.right);
    match binary.op {
        Operator::Eq | Operator::IsNotDistinctFrom if one_is_fixed => EQUAL,
        Operator::Eq | Operator::IsNotDistinctFrom => {
            let values = |expr| estimate.expression(schema, expr).values();
            1.0 / values(&binary.left).max(values(&binary.right)).clamp(1.0, 1.0 / EQUAL)
        }
        Operator::NotEq | Operator::IsDistinctFrom => 0.9,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq if one_is_fixed => RANGE,
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => BETWEEN_COLUMNS,
        _ => OTHER,
    }
}

/// A column compared with a literal, the column on the left.
fn comparison(binary: &BinaryExpr) -> Option<(&Column, Operator, &ScalarValue)> {
    match (column(&binary.left), literal(&binary.right)) {
        (Some(column), Some(value)) => Some((column, binary.op, value)),
        _ => {
            let (column, value) = column(&binary.right).zip(literal(&binary.left))?;
            Some((column, binary.op.swap()?, value))
        }
    }
}

fn column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn equal(column: &ColumnEstimate, at: Option<f64>, rows: f64) -> f64 {
    let is_outside = |at: f64| {
        column.low.is_some_and(|low| at < low) || column.high.is_some_and(|high| at > high)
    };
    if at.is_some_and(is_outside) {
        return 0.0;
    }
    match column.basis {
        Basis::Rows => EQUAL.max(1.0 / rows.max(1.0)),
        Basis::Range | Basis::Counted => 1.0 / column.values(),
    }
}

/// The part of a column's range that is between two bounds; `None` if the range is not known.
fn within(column: &ColumnEstimate, from: Option<f64>, to: Option<f64>) -> Option<f64> {
    let (low, high) = column.low.zip(column.high)?;
    if from.is_none() && to.is_none() {
        return None;
    }
    let (from, to) = (from.unwrap_or(low).max(low), to.unwrap_or(high).min(high));
    if from > to {
        return Some(0.0);
    }
    // One value in a range of several is not nothing.
    let least = 1.0 / column.values();
    match high > low {
        true => Some(((to - from) / (high - low)).max(least)),
        false => Some(1.0),
    }
}

fn nulls(expr: &Expr, schema: &DFSchema, estimate: &Estimate) -> f64 {
    column(expr).and_then(|column| estimate.column(schema, column)?.nulls).unwrap_or(NULL)
}

fn pattern(like: &Like) -> f64 {
    let text = literal(&like.pattern).and_then(|value| value.try_as_str().flatten());
    let kept = match text {
        Some(text) if !text.contains(['%', '_']) => EQUAL,
        Some(text) if !text.starts_with(['%', '_']) => PREFIX,
        _ => PATTERN,
    };
    negate_if(like.negated, kept)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::prelude::{col, lit};

    use super::*;

    /// 1000 rows: `id` is a key from 1 to 1000, `day` one of 100 values up from 0, `name` a text.
    fn table() -> (DFSchema, Estimate) {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let schema = Schema::new(vec![
            field("id", DataType::Int32),
            field("day", DataType::Date32),
            field("name", DataType::Utf8View),
        ]);
        let schema = DFSchema::try_from_qualified_schema("t", &schema).unwrap();
        let column = |distinct, low, high| ColumnEstimate {
            distinct,
            basis: Basis::Range,
            kept: 1.0,
            low: Some(low),
            high: Some(high),
            nulls: Some(0.0),
        };
        let columns = vec![
            column(1000.0, 1.0, 1000.0),
            column(100.0, 0.0, 99.0),
            ColumnEstimate::unknown(1000.0),
        ];
        (schema, Estimate { rows: 1000.0, unfiltered: 1000.0, columns })
    }

    /// The rows that filters keep, one after the other.
    fn kept(filters: &[Expr]) -> f64 {
        let (schema, mut estimate) = table();
        filters.iter().for_each(|filter| keep(filter, &schema, &mut estimate));
        estimate.rows.round()
    }

    #[test]
    fn bounds_and_distinct_values_answer_comparisons() {
        assert_eq!(kept(&[col("t.id").eq(lit(7))]), 1.0);
        assert_eq!(kept(&[col("t.id").eq(lit(5000))]), 1.0);
        assert_eq!(kept(&[col("t.day").eq(lit(ScalarValue::Date32(Some(3))))]), 10.0);
        assert_eq!(kept(&[col("t.id").lt(lit(250))]), 249.0);
        assert_eq!(kept(&[lit(250).gt(col("t.id"))]), 249.0);
        assert_eq!(kept(&[col("t.id").in_list(vec![lit(1), lit(2), lit(3)], false)]), 3.0);
    }

    #[test]
    fn both_ends_of_a_range_are_one_filter() {
        let (from, to) = (col("t.id").gt_eq(lit(901)), col("t.id").lt(lit(951)));
        assert!((40.0..60.0).contains(&kept(&[from, to])));
        assert!((40.0..60.0).contains(&kept(&[col("t.id").between(lit(901), lit(951))])));
    }

    #[test]
    fn what_another_filter_implies_says_nothing() {
        let few = col("t.day").in_list(vec![lit(1), lit(2), lit(3)], false);
        let two = col("t.day").eq(lit(2)).or(col("t.day").eq(lit(3)));
        let (one, range) = (col("t.day").eq(lit(3)), col("t.day").lt(lit(3)));
        let other = col("t.id").eq(lit(3));
        let all = [&few, &two, &range, &one, &other, &two];
        assert_eq!(strongest(all.into_iter()), [&one, &range, &other]);
    }

    #[test]
    fn what_is_not_known_is_guessed() {
        assert_eq!(kept(&[col("t.name").eq(lit("x"))]), 40.0);
        assert_eq!(kept(&[col("t.name").like(lit("x%"))]), 50.0);
        assert_eq!(kept(&[col("t.name").not_like(lit("%x%"))]), 900.0);
        assert_eq!(kept(&[col("t.id").is_null()]), 1.0);
        assert_eq!(kept(&[col("t.name").is_null()]), 50.0);
        let either = col("t.name").eq(lit("x")).or(col("t.name").eq(lit("y")));
        assert_eq!(kept(&[either]), 78.0);
    }
}
