//! Which files a filter can leave out, by their statistics alone. No file is opened.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

/// For each file whether it may hold a row that matches all of `filters`. A filter that pruning
/// cannot express keeps every file; it still runs on the rows.
pub(crate) fn may_match(
    state: &dyn Session,
    filters: &[Expr],
    schema: &SchemaRef,
    files: &dyn PruningStatistics,
) -> Result<Vec<bool>> {
    let all = vec![true; files.num_containers()];
    let Some(filter) = conjunction(filters.iter().cloned()) else {
        return Ok(all);
    };
    let df_schema = DFSchema::try_from(Arc::clone(schema))?;
    let predicate = state.create_physical_expr(filter, &df_schema)?;
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
    let Ok(predicate) = builder.try_build(predicate) else {
        return Ok(all);
    };
    predicate.prune(files)
}
