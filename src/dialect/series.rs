//! `generate_series` and `range` of dates and times of any unit; the engine's own take nanoseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, ident};

/// The functions that are wrapped.
const NAMES: [&str; 2] = ["generate_series", "range"];

pub(super) fn register(state: &mut SessionState) {
    for name in NAMES {
        if let Some(engine) = state.table_functions().get(name).cloned() {
            let series = Series { engine: Arc::clone(engine.function()) };
            state.register_udtf(name, Arc::new(series));
        }
    }
}

#[derive(Debug)]
struct Series {
    engine: Arc<dyn TableFunctionImpl>,
}

impl TableFunctionImpl for Series {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let exprs = args.exprs().iter().map(in_nanoseconds).collect::<Result<Vec<_>>>()?;
        let series = self.engine.call_with_args(TableFunctionArgs::new(&exprs, args.session()))?;
        let schema = series.schema();
        let (name, zone) = match schema.field(0).data_type() {
            DataType::Timestamp(_, zone) => (schema.field(0).name(), zone.clone()),
            _ => return Ok(series),
        };
        let microseconds = DataType::Timestamp(TimeUnit::Microsecond, zone);
        let plan = LogicalPlanBuilder::scan("series", provider_as_source(series), None)?;
        let plan = plan.project([cast(ident(name), microseconds).alias(name)])?.build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

fn in_nanoseconds(expr: &Expr) -> Result<Expr> {
    match expr {
        Expr::Literal(value, metadata) => match value.data_type() {
            DataType::Timestamp(_, zone) => {
                let nanoseconds = DataType::Timestamp(TimeUnit::Nanosecond, zone);
                Ok(Expr::Literal(value.cast_to(&nanoseconds)?, metadata.clone()))
            }
            _ => Ok(expr.clone()),
        },
        _ => Ok(expr.clone()),
    }
}
