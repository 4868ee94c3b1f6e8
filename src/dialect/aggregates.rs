//! Aggregates of DuckDB's that are one of the engine's with an order or a condition: `arg_max(a, b)` is
//! the first `a` by `b` from above.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility, lit,
};

use crate::error::Error;

pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for (name, aliases, kind, arguments) in [
        ("arg_max", &["max_by", "argmax"][..], Kind::Largest, 2),
        ("arg_min", &["min_by", "argmin"], Kind::Smallest, 2),
        ("count_if", &["countif"], Kind::Count, 1),
    ] {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        let signature = Signature::any(arguments, Volatility::Immutable);
        let function = Rewritten { name, aliases, kind, signature };
        state.register_udaf(Arc::new(AggregateUDF::from(function)))?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Largest,
    Smallest,
    Count,
}

/// An aggregate that is always written as another one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Rewritten {
    name: &'static str,
    aliases: Vec<String>,
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for Rewritten {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.kind {
            Kind::Count => Ok(DataType::Int64),
            _ => Ok(types.first().cloned().unwrap_or(DataType::Null)),
        }
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let message = format!("{} is not supported as a window function", self.name);
        Err(Error::unsupported(message).with_help("aggregate first, or use row_number()").into())
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let kind = self.kind;
        Some(Box::new(move |function, _| Ok(written(kind, function))))
    }
}

fn written(kind: Kind, function: AggregateFunction) -> Expr {
    let AggregateFunction { func, params } = function;
    let AggregateFunctionParams { mut args, distinct, filter, order_by, null_treatment } = params;
    let given = filter.map(|filter| *filter);
    let also = |condition: Expr| {
        let all = given.clone().map_or(condition.clone(), |given| given.and(condition));
        Some(Box::new(all))
    };
    match (kind, args.as_slice()) {
        (Kind::Count, [condition]) => {
            let filter = also(condition.clone());
            let call = AggregateFunction::new_udf(
                count_udaf(),
                vec![lit(1_i64)],
                false,
                filter,
                vec![],
                None,
            );
            Expr::AggregateFunction(call)
        }
        (_, [value, by]) => {
            // A value that is NULL does not count, as in DuckDB.
            let filter = also(value.clone().is_not_null().and(by.clone().is_not_null()));
            let order = vec![by.clone().sort(kind == Kind::Smallest, false)];
            args.truncate(1);
            let call =
                AggregateFunction::new_udf(first_value_udaf(), args, false, filter, order, None);
            Expr::AggregateFunction(call)
        }
        _ => {
            let filter = given.map(Box::new);
            let params =
                AggregateFunctionParams { args, distinct, filter, order_by, null_treatment };
            Expr::AggregateFunction(AggregateFunction { func, params })
        }
    }
}
