//! Scalar functions of DuckDB's that are a few words of the engine's own: `year(t)` is
//! `date_part('year', t)`.
//!
//! Each has a type when a query is planned, and is written out before the engine makes arguments
//! alike, so nothing of it is left in a plan.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions::datetime::expr_fn::{
    date_part, date_trunc, to_char, to_timestamp_micros,
};
use datafusion::functions::regex::expr_fn::{regexp_like, regexp_match};
use datafusion::functions::string::expr_fn::concat;
use datafusion::functions::unicode::expr_fn::character_length;
use datafusion::functions_nested::expr_fn::{array_element, array_length, cardinality};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast, lit, when,
};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercionRewriter;

use crate::error::Error;

/// A function, and what it stands for.
#[derive(Debug)]
struct Macro {
    name: &'static str,
    aliases: &'static [&'static str],
    arguments: RangeInclusive<usize>,
    /// Its type, by those of its arguments.
    returns: fn(&[DataType]) -> DataType,
    expand: fn(&[Expr], &[DataType]) -> Result<Expr>,
}

macro_rules! date_parts {
    ($($name:literal $aliases:expr => $part:literal),+ $(,)?) => {
        [$(Macro {
            name: $name,
            aliases: &$aliases,
            arguments: 1..=1,
            returns: |_| DataType::Int64,
            expand: |args, _| Ok(date_part(lit($part), args[0].clone())),
        }),+]
    };
}

static PARTS: [Macro; 11] = date_parts![
    "year" [] => "year",
    "quarter" [] => "quarter",
    "month" [] => "month",
    "week" ["weekofyear"] => "week",
    "day" ["dayofmonth"] => "day",
    "dayofweek" ["weekday"] => "dow",
    "dayofyear" [] => "doy",
    "hour" [] => "hour",
    "minute" [] => "minute",
    "second" [] => "second",
    "millisecond" [] => "millisecond",
];

static MACROS: [Macro; 14] = [
    Macro {
        name: "dayname",
        aliases: &[],
        arguments: 1..=1,
        returns: |_| DataType::Utf8,
        expand: |args, _| Ok(to_char(args[0].clone(), lit("%A"))),
    },
    Macro {
        name: "monthname",
        aliases: &[],
        arguments: 1..=1,
        returns: |_| DataType::Utf8,
        expand: |args, _| Ok(to_char(args[0].clone(), lit("%B"))),
    },
    Macro {
        name: "last_day",
        aliases: &[],
        arguments: 1..=1,
        returns: |_| DataType::Date32,
        expand: |args, types| {
            let first = date_trunc(lit("month"), time(&args[0], &types[0], TimeUnit::Microsecond));
            let rest = IntervalMonthDayNano { months: 1, days: -1, nanoseconds: 0 };
            Ok(first + lit(ScalarValue::IntervalMonthDayNano(Some(rest))))
        },
    },
    Macro {
        name: "epoch",
        aliases: &[],
        arguments: 1..=1,
        returns: |_| DataType::Float64,
        expand: |args, _| Ok(date_part(lit("epoch"), args[0].clone())),
    },
    Macro {
        name: "epoch_ms",
        aliases: &[],
        arguments: 1..=1,
        returns: |types| match types.first() {
            Some(number) if number.is_integer() => microseconds(),
            _ => DataType::Int64,
        },
        expand: |args, types| {
            let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
            Ok(match types[0].is_integer() {
                true => cast(cast(args[0].clone(), DataType::Int64), milliseconds),
                false => time(&args[0], &types[0], TimeUnit::Millisecond),
            })
        },
    },
    Macro {
        name: "epoch_us",
        aliases: &[],
        arguments: 1..=1,
        returns: |_| DataType::Int64,
        expand: |args, types| Ok(time(&args[0], &types[0], TimeUnit::Microsecond)),
    },
    Macro {
        name: "epoch_ns",
        aliases: &[],
        arguments: 1..=1,
        returns: |_| DataType::Int64,
        expand: |args, types| Ok(time(&args[0], &types[0], TimeUnit::Nanosecond)),
    },
    Macro {
        name: "date_diff",
        aliases: &["datediff"],
        arguments: 3..=3,
        returns: |_| DataType::Int64,
        expand: date_diff,
    },
    Macro {
        name: "strftime",
        aliases: &[],
        arguments: 2..=2,
        returns: |_| DataType::Utf8,
        expand: |args, types| {
            // Either order, as in DuckDB.
            let (time, format) = if types[0].is_string() { (1, 0) } else { (0, 1) };
            // The engine's `%f` are nanoseconds.
            let format = literal(&args[format], "strftime")?.replace("%f", "%6f");
            Ok(to_char(args[time].clone(), lit(format.replace("%g", "%3f"))))
        },
    },
    Macro {
        name: "strptime",
        aliases: &[],
        arguments: 2..=2,
        returns: |_| microseconds(),
        expand: |args, _| {
            let format = literal(&args[1], "strptime")?.replace(".%f", "%.f");
            Ok(to_timestamp_micros(vec![args[0].clone(), lit(format.replace("%f", "%6f"))]))
        },
    },
    Macro {
        name: "len",
        aliases: &[],
        arguments: 1..=1,
        returns: |_| DataType::Int64,
        expand: |args, types| {
            Ok(match &types[0] {
                DataType::Map(..) => cardinality(args[0].clone()),
                list if list.is_list() => array_length(args[0].clone()),
                _ => character_length(args[0].clone()),
            })
        },
    },
    Macro {
        name: "regexp_extract",
        aliases: &[],
        arguments: 2..=3,
        returns: |_| DataType::Utf8,
        expand: |args, _| {
            let (text, pattern) = (args[0].clone(), args[1].clone());
            let group = args.get(2).cloned().unwrap_or_else(|| lit(0));
            // Around the whole there is one group more, the first one.
            let whole = concat(vec![lit("("), pattern.clone(), lit(")")]);
            let found = array_element(regexp_match(text.clone(), whole, None), group + lit(1));
            when(text.is_not_null().and(pattern.is_not_null()), coalesce(vec![found, lit("")]))
                .end()
        },
    },
    Macro {
        name: "regexp_full_match",
        aliases: &[],
        arguments: 2..=2,
        returns: |_| DataType::Boolean,
        expand: |args, _| {
            let whole = concat(vec![lit("^(?:"), args[1].clone(), lit(")$")]);
            Ok(regexp_like(args[0].clone(), whole, None))
        },
    },
    Macro {
        name: "ifnull",
        aliases: &[],
        arguments: 2..=2,
        returns: |types| types.iter().find(|t| !t.is_null()).cloned().unwrap_or(DataType::Null),
        expand: |args, _| Ok(coalesce(args.to_vec())),
    },
];

fn microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// A date or time, or text of one, in a unit.
fn time(value: &Expr, data_type: &DataType, unit: TimeUnit) -> Expr {
    let zone = match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    cast(value.clone(), DataType::Timestamp(unit, zone))
}

/// How many borders of a part of time are between two times.
fn date_diff(args: &[Expr], types: &[DataType]) -> Result<Expr> {
    let given = literal(&args[0], "date_diff")?.to_lowercase();
    let part = given.strip_suffix('s').unwrap_or(&given);
    let micros = |index: usize| time(&args[index], &types[index], TimeUnit::Microsecond);
    let integer = |expr| cast(expr, DataType::Int64);
    let field = |part: &str, index: usize| integer(date_part(lit(part), micros(index)));
    let days = |index| integer(cast(cast(micros(index), DataType::Date32), DataType::Int32));
    let count: Box<dyn Fn(usize) -> Expr> = match part {
        "year" => Box::new(|index| field("year", index)),
        "quarter" => Box::new(|index| field("year", index) * lit(4_i64) + field("quarter", index)),
        "month" => Box::new(|index| field("year", index) * lit(12_i64) + field("month", index)),
        "day" | "week" => Box::new(days),
        "hour" | "minute" | "second" | "millisecond" | "microsecond" => {
            Box::new(|index| integer(date_trunc(lit(part), micros(index))))
        }
        _ => {
            let parts = [
                "year",
                "quarter",
                "month",
                "week",
                "day",
                "hour",
                "minute",
                "second",
                "millisecond",
                "microsecond",
            ];
            return Err(Error::no_such("part of a date", &given, parts)
                .with_help(format!("the parts are {}", parts.join(", ")))
                .into());
        }
    };
    let each: i64 = match part {
        "week" => 7,
        "hour" => 3_600_000_000,
        "minute" => 60_000_000,
        "second" => 1_000_000,
        "millisecond" => 1_000,
        _ => 1,
    };
    Ok((count(2) - count(1)) / lit(each))
}

/// An argument that has to be known when the query is planned.
fn literal(expr: &Expr, function: &str) -> Result<String> {
    match expr {
        Expr::Literal(value, _) if value.data_type().is_string() && !value.is_null() => {
            Ok(value.to_string())
        }
        other => Err(Error::unsupported(format!("{function} takes a literal, not {other}")).into()),
    }
}

pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for known in macros() {
        let aliases = known.aliases.iter().map(|alias| (*alias).to_owned()).collect();
        let signature = Signature::variadic_any(Volatility::Immutable);
        let function = Named { name: known.name, aliases, signature };
        state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    }
    state.register_function_rewrite(Arc::new(Expand))
}

fn macros() -> impl Iterator<Item = &'static Macro> {
    PARTS.iter().chain(&MACROS)
}

/// A [`Macro`] as the engine knows it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Named {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl Named {
    fn known(&self) -> Result<&'static Macro> {
        let known = macros().find(|known| known.name == self.name);
        Ok(known.ok_or_else(|| Error::internal("a function without a meaning"))?)
    }
}

impl ScalarUDFImpl for Named {
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
        let known = self.known()?;
        if known.arguments.contains(&types.len()) {
            return Ok((known.returns)(types));
        }
        let (least, most) = (known.arguments.start(), known.arguments.end());
        let count = if least == most { least.to_string() } else { format!("{least} or {most}") };
        let message = format!("{} takes {count} arguments, not {}", self.name, types.len());
        Err(Error::invalid(message.replace(" 1 arguments", " 1 argument")).into())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(Error::internal(format!("{} was not written out", self.name)).into())
    }
}

#[derive(Debug)]
struct Expand;

impl FunctionRewrite for Expand {
    fn name(&self) -> &'static str {
        "macros"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(ScalarFunction { func, args }) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let Some(known) = macros().find(|known| known.name == func.name()) else {
            return Ok(Transformed::no(expr));
        };
        let types = args.iter().map(|arg| arg.get_type(schema)).collect::<Result<Vec<_>>>()?;
        let expanded = cast((known.expand)(args, &types)?, (known.returns)(&types));
        // Where the engine does that before, not after.
        let coerced = expanded.rewrite(&mut TypeCoercionRewriter::new(schema))?;
        Ok(Transformed::yes(coerced.data))
    }
}
