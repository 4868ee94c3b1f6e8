//! Where the engine answers otherwise than DuckDB and PostgreSQL do, and what it does not know.
//!
//! ```text
//! query  ── FETCH FIRST, ORDER BY ALL ────────────> the parsed query      queries
//! a // b, date + interval ────────────────────────> expressions           operators
//! year(t), len(x), date_diff(…), arg_max(a, b) ───> the engine's own      functions, aggregates
//! generate_series(day, day, step) ───────────────> the engine's own      series
//! a + b, CAST(3.7 AS INT), CAST(time AS VARCHAR) ─> checked, rounded      values
//! sum(integers) ──────────────────────────────────> checked               sums
//! a = 1 OR b NOT IN (SELECT …) ───────────────────> unknown for NULL      membership
//! VALUES ((SELECT …)) ────────────────────────────> a union of rows       rows
//! ```
//!
//! All of it is rewriting: what is executed are functions of the engine, but for those of [`values`]
//! and [`sums`]. Nothing here knows tables.

mod aggregates;
mod functions;
mod membership;
mod operators;
pub(crate) mod queries;
mod rows;
mod series;
mod sums;
mod values;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};

/// Names of DuckDB's for functions of the engine.
const SCALAR_ALIASES: [(&str, &[&str]); 9] = [
    ("string_to_array", &["string_split", "str_split", "split"]),
    ("regexp_like", &["regexp_matches"]),
    ("octet_length", &["strlen"]),
    ("starts_with", &["prefix"]),
    ("ends_with", &["suffix"]),
    ("upper", &["ucase"]),
    ("lower", &["lcase"]),
    ("uuid", &["gen_random_uuid"]),
    ("current_date", &["today"]),
];
const AGGREGATE_ALIASES: [(&str, &[&str]); 4] = [
    ("array_agg", &["list"]),
    ("first_value", &["first"]),
    ("last_value", &["last"]),
    ("approx_distinct", &["approx_count_distinct"]),
];

/// Teaches a state all of it.
pub(crate) fn extend(state: &mut SessionState) -> Result<()> {
    for (name, aliases) in SCALAR_ALIASES {
        let function = state.udf(name)?;
        let function = function.as_ref().clone().with_aliases(aliases.iter().copied());
        state.register_udf(Arc::new(function))?;
    }
    for (name, aliases) in AGGREGATE_ALIASES {
        let function = state.udaf(name)?;
        let function = function.as_ref().clone().with_aliases(aliases.iter().copied());
        state.register_udaf(Arc::new(function))?;
    }
    functions::register(state)?;
    series::register(state);
    aggregates::register(state)?;
    sums::register(state)?;
    state.register_expr_planner(Arc::new(operators::Operators))?;
    state.add_analyzer_rule(Arc::new(values::Values));
    state.add_analyzer_rule(Arc::new(rows::Rows));
    state.add_analyzer_rule(Arc::new(membership::Membership));
    Ok(())
}
