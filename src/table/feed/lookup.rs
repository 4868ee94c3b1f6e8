//! Columns of the feed that follow from what is known of rows by their position, or by their row id.
//!
//! They are functions in the plan, so that the engine computes them with the rest of its projection,
//! and leaves them out where nobody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::catalog::Session;
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use roaring::RoaringTreemap;

use super::history::BySnapshot;
use crate::catalog::model::SnapshotId;
use crate::error::{Error, Result};

/// The snapshot that deleted a row, of its file and its position there.
pub(super) fn deleted_at(
    gone: BTreeMap<i64, BySnapshot>,
    file: Arc<dyn PhysicalExpr>,
    position: Arc<dyn PhysicalExpr>,
    schema: &Schema,
    state: &dyn Session,
) -> Result<Arc<dyn PhysicalExpr>> {
    let snapshots = move |files: &Int64Array, positions: &Int64Array| -> ArrayRef {
        // Neighbours are of one file, and mostly of one snapshot.
        let mut last: Option<(i64, SnapshotId, &RoaringTreemap)> = None;
        let snapshot = |(file, position): (Option<i64>, Option<i64>)| {
            let (file, position) = (file?, position?.cast_unsigned());
            match last {
                Some((of, snapshot, rows)) if of == file && rows.contains(position) => {
                    Some(snapshot.0)
                }
                _ => {
                    let mut rows = gone.get(&file)?.iter();
                    let (snapshot, rows) = rows.find(|(_, rows)| rows.contains(position))?;
                    last = Some((file, *snapshot, rows));
                    Some(snapshot.0)
                }
            }
        };
        Arc::new(files.iter().zip(positions).map(snapshot).collect::<Int64Array>())
    };
    of_numbers("deleted_at", DataType::Int64, snapshots, [file, position], schema, state)
}

/// What a change is called: `updated`, if its snapshot and row id are among the `updates`, else
/// `plain`.
pub(super) fn change_type(
    (plain, updated): (&'static str, &'static str),
    updates: &Arc<BySnapshot>,
    snapshot: Arc<dyn PhysicalExpr>,
    row_id: Arc<dyn PhysicalExpr>,
    schema: &Schema,
    state: &dyn Session,
) -> Result<Arc<dyn PhysicalExpr>> {
    let updates = Arc::clone(updates);
    let names = move |snapshots: &Int64Array, row_ids: &Int64Array| -> ArrayRef {
        let name = |(snapshot, row_id): (Option<i64>, Option<i64>)| {
            let is_update = snapshot.zip(row_id).is_some_and(|(snapshot, id)| {
                let ids = updates.get(&SnapshotId(snapshot));
                ids.is_some_and(|ids| ids.contains(id.cast_unsigned()))
            });
            Some(if is_update { updated } else { plain })
        };
        Arc::new(snapshots.iter().zip(row_ids).map(name).collect::<StringViewArray>())
    };
    of_numbers("change_type", DataType::Utf8View, names, [snapshot, row_id], schema, state)
}

/// A function of two numbers as an expression.
fn of_numbers(
    name: &str,
    gives: DataType,
    function: impl Fn(&Int64Array, &Int64Array) -> ArrayRef + Send + Sync + 'static,
    of: [Arc<dyn PhysicalExpr>; 2],
    schema: &Schema,
    state: &dyn Session,
) -> Result<Arc<dyn PhysicalExpr>> {
    let function = move |values: &[ColumnarValue]| -> DataFusionResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        match arrays.as_slice() {
            [a, b] => {
                let (a, b) = (a.as_primitive_opt(), b.as_primitive_opt::<Int64Type>());
                let (a, b) = a.zip(b).ok_or_else(|| Error::internal("numbers that are none"))?;
                Ok(ColumnarValue::Array(function(a, b)))
            }
            _ => Err(Error::internal("a function of two values has others").into()),
        }
    };
    let numbers = vec![DataType::Int64, DataType::Int64];
    let function = create_udf(name, numbers, gives, Volatility::Stable, Arc::new(function));
    let options = Arc::clone(state.config().options());
    let call = ScalarFunctionExpr::try_new(Arc::new(function), of.into(), schema, options)?;
    Ok(Arc::new(call))
}
