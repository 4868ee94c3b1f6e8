//! Sums, differences and products of decimals that fit into 64 bits.
//!
//! Arrow computes all of them with 128 bits and asks each time whether that was enough; to bring two
//! numbers to one scale is two more such products. Prices and quantities are narrower: what two numbers
//! of 64 bits make always has its place in 128, so nothing needs to be asked. Where a batch has a wider
//! number, arrow's kernels compute it.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// `+`, `-` or `*` of two decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DecimalArithmetic {
    operator: Operator,
    signature: Signature,
}

impl DecimalArithmetic {
    /// `None` for an operator that is none of them.
    pub(crate) fn new(operator: Operator) -> Option<Self> {
        matches!(operator, Operator::Plus | Operator::Minus | Operator::Multiply)
            .then(|| Self { operator, signature: Signature::any(2, Volatility::Immutable) })
    }
}

impl ScalarUDFImpl for DecimalArithmetic {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "decimal_plus",
            Operator::Minus => "decimal_minus",
            _ => "decimal_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let [left, right] = arguments else {
            return internal_err!("arithmetic of {} numbers", arguments.len());
        };
        BinaryTypeCoercer::new(left, &self.operator, right).get_result_type()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = arguments.args.as_slice() else {
            return internal_err!("arithmetic of {} numbers", arguments.args.len());
        };
        let result = arguments.return_field.data_type();
        if let DataType::Decimal128(precision, scale) = *result
            && let (Some(one), Some(other)) = (Narrow::of(left), Narrow::of(right))
            && let Some(values) = self.values(&one, &other, scale, arguments.number_rows)
        {
            let nulls = NullBuffer::union(one.nulls(), other.nulls());
            let array = Decimal128Array::new(values.into(), nulls);
            let array = array.with_precision_and_scale(precision, scale)?;
            return Ok(ColumnarValue::Array(Arc::new(array)));
        }
        match self.operator {
            Operator::Plus => apply(left, right, numeric::add),
            Operator::Minus => apply(left, right, numeric::sub),
            _ => apply(left, right, numeric::mul),
        }
    }
}

impl DecimalArithmetic {
    /// Values of `scale`; `None` if the way to it is too far.
    fn values(&self, one: &Narrow, other: &Narrow, scale: i8, rows: usize) -> Option<Vec<i128>> {
        if self.operator == Operator::Multiply {
            return Some(each(one, other, rows, |a, b| wide(a) * wide(b)));
        }
        let (a_factor, b_factor) = (factor(scale, one.scale)?, factor(scale, other.scale)?);
        Some(match self.operator {
            Operator::Plus => {
                each(one, other, rows, |a, b| wide(a) * a_factor + wide(b) * b_factor)
            }
            _ => each(one, other, rows, |a, b| wide(a) * a_factor - wide(b) * b_factor),
        })
    }
}

fn wide(value: i64) -> i128 {
    i128::from(value)
}

/// What brings a value of one scale to another: at most 10^18, so that a product has its place.
fn factor(to: i8, from: i8) -> Option<i128> {
    let digits = u32::try_from(to.checked_sub(from)?).ok()?;
    10i64.checked_pow(digits).map(i128::from)
}

/// An operand of which every value fits into 64 bits.
struct Narrow<'a> {
    values: Values<'a>,
    scale: i8,
}

enum Values<'a> {
    One(i64),
    Many(&'a Decimal128Array),
}

impl<'a> Narrow<'a> {
    fn of(value: &'a ColumnarValue) -> Option<Self> {
        match value {
            ColumnarValue::Scalar(ScalarValue::Decimal128(Some(value), _, scale)) => {
                let value = i64::try_from(*value).ok()?;
                Some(Self { values: Values::One(value), scale: *scale })
            }
            ColumnarValue::Array(array) => {
                let array = array.as_primitive_opt::<Decimal128Type>()?;
                let fits = is_narrow(array.values());
                fits.then(|| Self { values: Values::Many(array), scale: array.scale() })
            }
            ColumnarValue::Scalar(_) => None,
        }
    }

    fn nulls(&self) -> Option<&'a NullBuffer> {
        match self.values {
            Values::One(_) => None,
            Values::Many(array) => array.nulls(),
        }
    }
}

/// Whether the upper halves say no more than the sign; several are compared at a time.
fn is_narrow(values: &[i128]) -> bool {
    let beyond = |value: &i128| ((value >> 64) as i64) ^ ((*value as i64) >> 63);
    values.iter().fold(0, |all, value| all | beyond(value)) == 0
}

fn each(one: &Narrow, other: &Narrow, rows: usize, f: impl Fn(i64, i64) -> i128) -> Vec<i128> {
    let low = |value: &i128| *value as i64;
    match (&one.values, &other.values) {
        (Values::One(a), Values::One(b)) => vec![f(*a, *b); rows],
        (Values::One(a), Values::Many(b)) => b.values().iter().map(|b| f(*a, low(b))).collect(),
        (Values::Many(a), Values::One(b)) => a.values().iter().map(|a| f(low(a), *b)).collect(),
        (Values::Many(a), Values::Many(b)) => {
            let pairs = a.values().iter().zip(b.values());
            pairs.map(|(a, b)| f(low(a), low(b))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::ArrayRef;
    use arrow::datatypes::Field;
    use datafusion::common::config::ConfigOptions;

    use super::*;

    fn decimals(values: Vec<Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
        let array = Decimal128Array::from(values).with_precision_and_scale(precision, scale);
        Arc::new(array.unwrap())
    }

    fn computed(
        operator: Operator,
        operands: [&ColumnarValue; 2],
        rows: usize,
    ) -> Result<ArrayRef> {
        let function = DecimalArithmetic::new(operator).unwrap();
        let types = operands.map(ColumnarValue::data_type);
        let result = function.return_type(&types).unwrap();
        let field = |data_type: &DataType| Arc::new(Field::new("x", data_type.clone(), true));
        let arguments = ScalarFunctionArgs {
            args: operands.map(Clone::clone).to_vec(),
            arg_fields: types.iter().map(field).collect(),
            number_rows: rows,
            return_field: field(&result),
            config_options: Arc::new(ConfigOptions::default()),
        };
        function.invoke_with_args(arguments)?.into_array(rows)
    }

    /// What arrow's kernel makes of them.
    fn expected(
        operator: Operator,
        operands: [&ColumnarValue; 2],
        rows: usize,
    ) -> Result<ArrayRef> {
        let [left, right] = operands;
        let value = match operator {
            Operator::Plus => apply(left, right, numeric::add),
            Operator::Minus => apply(left, right, numeric::sub),
            _ => apply(left, right, numeric::mul),
        };
        value?.into_array(rows)
    }

    #[test]
    fn everything_is_what_arrow_computes() {
        let edge = i128::from(i64::MAX);
        let numbers = [0, 1, -1, 7, -350, 10_000, edge, -edge - 1, edge + 1, -edge - 2, 1 << 100];
        let mut rng = fastrand::Rng::with_seed(7);
        let mut value = || match rng.u8(..8) {
            0 => None,
            1 => Some(i128::from(rng.i64(..))),
            _ => rng.choice(numbers),
        };
        let mut overflows = 0;
        for round in 0..2000 {
            let rows = 1 + round % 4;
            let mut many = |scale| {
                ColumnarValue::Array(decimals((0..rows).map(|_| value()).collect(), 38, scale))
            };
            let (left, right) = (many([0, 2, 6][round % 3]), many([2, 0, 20][round / 3 % 3]));
            let one = |value: &ColumnarValue| {
                let array = value.to_array(rows).unwrap();
                ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0).unwrap())
            };
            let operands = match round / 9 % 3 {
                0 => (left, right),
                1 => (one(&left), right),
                _ => (left, one(&right)),
            };
            let operands = [&operands.0, &operands.1];
            for operator in [Operator::Plus, Operator::Minus, Operator::Multiply] {
                match (computed(operator, operands, rows), expected(operator, operands, rows)) {
                    (Ok(computed), Ok(expected)) => assert_eq!(&computed, &expected),
                    (Err(computed), Err(expected)) => {
                        overflows += 1;
                        assert_eq!(computed.to_string(), expected.to_string());
                    }
                    (computed, expected) => panic!("{computed:?}, not {expected:?}"),
                }
            }
        }
        assert!(overflows > 100, "{overflows}");
    }

    #[test]
    fn half_of_the_bits_are_enough_or_not() {
        let edge = i128::from(i64::MAX);
        assert!(is_narrow(&[0, -1, edge, -edge - 1]));
        assert!(!is_narrow(&[0, edge + 1]));
        assert!(!is_narrow(&[-edge - 2, 0]));
        assert!(!is_narrow(&[1 << 64]));
    }
}
