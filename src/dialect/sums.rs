//! Sums of integers that do not fit their type are an error; the engine's own begin anew from below.
//!
//! Without groups a sum is exact until it is given: it is kept in twice the width. In groups it is
//! kept in the width of its type, checked at each addition, so a sum that does not fit on the way is
//! an error even if what comes after would bring it back. All else is the engine's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{ArrowNativeTypeOp, DataType, FieldRef, Int64Type, UInt64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator,
    Operator, ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use crate::error::Error;

pub(super) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udaf(Arc::new(AggregateUDF::from(CheckedSum { sum: Sum::new() })))?;
    Ok(())
}

/// The engine's sum, but for integers.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    sum: Sum,
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.sum.name()
    }

    fn signature(&self) -> &Signature {
        self.sum.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.sum.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 if !args.is_distinct => Ok(Box::new(Exact::<Int64Type>::default())),
            DataType::UInt64 if !args.is_distinct => Ok(Box::new(Exact::<UInt64Type>::default())),
            _ => self.sum.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.sum.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.sum.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 => Ok(Box::new(Groups::of::<Int64Type>())),
            DataType::UInt64 => Ok(Box::new(Groups::of::<UInt64Type>())),
            _ => self.sum.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 if !args.is_distinct => Ok(Box::new(Exact::<Int64Type>::default())),
            DataType::UInt64 if !args.is_distinct => Ok(Box::new(Exact::<UInt64Type>::default())),
            _ => self.sum.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.sum.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.sum.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.sum.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.sum.set_monotonicity(data_type)
    }

    fn simplify_expr_op_literal(
        &self,
        function: &AggregateFunction,
        arg: &Expr,
        op: Operator,
        lit: &Expr,
        arg_is_left: bool,
    ) -> Result<Option<Expr>> {
        self.sum.simplify_expr_op_literal(function, arg, op, lit, arg_is_left)
    }

    fn value_from_stats(&self, args: &StatisticsArgs) -> Option<ScalarValue> {
        self.sum.value_from_stats(args)
    }
}

/// The integers that are summed.
trait Summed:
    ArrowPrimitiveType<Native: ArrowNativeTypeOp + TryFrom<i128>> + fmt::Debug + Send + Sync
{
    /// The halves of a value, of which the upper one has the sign: their sums fit for any batch, and
    /// the processor takes several values at once.
    fn halves(value: Self::Native) -> (i64, i64);
}

impl Summed for Int64Type {
    fn halves(value: i64) -> (i64, i64) {
        (value >> 32, value & 0xffff_ffff)
    }
}

impl Summed for UInt64Type {
    fn halves(value: u64) -> (i64, i64) {
        ((value >> 32).cast_signed(), (value & 0xffff_ffff).cast_signed())
    }
}

/// The sum of the values of a batch that are not NULL.
fn exact<T: Summed>(values: &PrimitiveArray<T>) -> i128 {
    let (mut high, mut low) = (0, 0);
    let mut add = |value| {
        let (upper, lower) = T::halves(value);
        high += upper;
        low += lower;
    };
    match values.null_count() {
        0 => values.values().iter().copied().for_each(&mut add),
        _ => values.iter().flatten().for_each(&mut add),
    }
    (i128::from(high) << 32) + i128::from(low)
}

/// One sum, from which what leaves a window is taken off again.
#[derive(Debug)]
struct Exact<T: Summed> {
    sum: i128,
    count: usize,
    summed: std::marker::PhantomData<T>,
}

impl<T: Summed> Default for Exact<T> {
    fn default() -> Self {
        Self { sum: 0, count: 0, summed: std::marker::PhantomData }
    }
}

impl<T: Summed> Accumulator for Exact<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<T>();
        self.sum += exact(values);
        self.count += values.len() - values.null_count();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<T>();
        self.sum -= exact(values);
        self.count -= values.len() - values.null_count();
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = match self.count {
            0 => None,
            _ => Some(T::Native::try_from(self.sum).map_err(|_| overflow(&T::DATA_TYPE))?),
        };
        ScalarValue::new_primitive::<T>(sum, &T::DATA_TYPE)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of groups.
struct Groups {
    data_type: DataType,
    sums: Box<dyn GroupsAccumulator>,
    /// Whether one of them did not fit.
    overflowed: Arc<AtomicBool>,
}

impl Groups {
    fn of<T: Summed>() -> Self {
        let overflowed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&overflowed);
        let add = move |sum: &mut T::Native, value: T::Native| match sum.add_checked(value) {
            Ok(next) => *sum = next,
            Err(_) => flag.store(true, Ordering::Relaxed),
        };
        let sums = Box::new(PrimitiveGroupsAccumulator::<T, _>::new(&T::DATA_TYPE, add));
        Self { data_type: T::DATA_TYPE, sums, overflowed }
    }

    fn check(&self) -> Result<()> {
        match self.overflowed.load(Ordering::Relaxed) {
            true => Err(overflow(&self.data_type).into()),
            false => Ok(()),
        }
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.sums.update_batch(values, groups, filter, n_groups)?;
        self.check()
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        n_groups: usize,
    ) -> Result<()> {
        self.sums.merge_batch(values, groups, n_groups)?;
        self.check()
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.sums.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.sums.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.sums.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.sums.size()
    }
}

fn overflow(data_type: &DataType) -> Error {
    let name = if *data_type == DataType::Int64 { "BIGINT" } else { "UBIGINT" };
    Error::invalid(format!("overflow: a sum does not fit into {name}"))
        .with_help("sum a larger type, such as DECIMAL(38, 0) or DOUBLE: sum(x::DECIMAL(38, 0))")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, UInt64Array};

    use super::*;

    #[test]
    fn sums_of_any_values_are_exact() {
        let values = [i64::MAX, i64::MIN, -1, 0, 1, i64::MAX, 1 << 32, -(1 << 32) - 1];
        let expected: i128 = values.into_iter().map(i128::from).sum();
        assert_eq!(exact(&Int64Array::from(values.to_vec())), expected);
        assert_eq!(exact(&Int64Array::from(vec![Some(i64::MIN), None, Some(-1)])), {
            i128::from(i64::MIN) - 1
        });
        let largest = UInt64Array::from(vec![u64::MAX, u64::MAX]);
        assert_eq!(exact(&largest), 2 * i128::from(u64::MAX));
    }

    #[test]
    fn what_leaves_a_window_makes_room() {
        let mut sum = Exact::<Int64Type>::default();
        let large: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let small: ArrayRef = Arc::new(Int64Array::from(vec![2]));
        sum.update_batch(&[Arc::clone(&large)]).unwrap();
        sum.update_batch(&[Arc::clone(&small)]).unwrap();
        assert!(sum.evaluate().unwrap_err().to_string().contains("does not fit into BIGINT"));
        sum.retract_batch(&[large]).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Int64(Some(2)));
        sum.retract_batch(&[small]).unwrap();
        assert_eq!(sum.evaluate().unwrap(), ScalarValue::Int64(None));
    }
}
