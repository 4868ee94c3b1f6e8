//! A filter of several conditions, each computed for the rows that those before it have left.
//!
//! As soon as few rows are left, the columns that the other conditions need are copied for those rows
//! alone; where these are in the batch is put together from one set of bits per copy:
//!
//! ```text
//! batch        a  b  c  d  e  f  g  h  i  j
//! condition 1  .  1  .  .  .  1  .  .  .  .     few: copied
//! condition 2     .           1                 of the copy
//! rows         .  .  .  .  .  1  .  .  .  .
//! ```
//!
//! DataFusion's filter does this for each AND of two: it copies all columns, and it puts the bits back
//! into a whole batch, one by one, every time. The plan's properties stay those of that filter.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, MutableBuffer};
use arrow::compute::{BatchCoalescer, FilterBuilder};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::bit_util;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{TryStreamExt, stream};

/// With at most this fraction of the rows left, the rest is computed for these alone.
const FEW: f64 = 0.2;

/// The operator.
#[derive(Debug)]
pub(crate) struct ConjunctionExec {
    /// The filter that it stands in for.
    filter: FilterExec,
    conditions: Arc<Conditions>,
    metrics: ExecutionPlanMetricsSet,
}

impl ConjunctionExec {
    /// The same as `filter`; `None` if it has one condition only, or an end before that of its input.
    pub(crate) fn of(filter: &FilterExec) -> Option<Self> {
        let conditions: Vec<_> =
            split_conjunction(filter.predicate()).into_iter().map(Arc::clone).collect();
        (conditions.len() > 1 && filter.fetch().is_none()).then(|| Self {
            filter: filter.clone(),
            conditions: Arc::new(Conditions::new(conditions)),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for ConjunctionExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => self.filter.fmt_as(format, f),
            _ => {
                write!(f, "ConjunctionExec: {}", self.filter.predicate())?;
                if let Some(projection) = self.filter.projection() {
                    let schema = self.filter.input().schema();
                    let column = |at: &usize| format!("{}@{at}", schema.field(*at).name());
                    let columns: Vec<_> = projection.iter().map(column).collect();
                    write!(f, ", projection=[{}]", columns.join(", "))?;
                }
                Ok(())
            }
        }
    }
}

impl ExecutionPlan for ConjunctionExec {
    fn name(&self) -> &'static str {
        "ConjunctionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.filter.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.filter.input()]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.filter.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = Arc::new(self.filter.clone()).replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )?;
        let Some(filter) = filter.downcast_ref::<FilterExec>() else {
            return internal_err!("a filter with another input is no filter");
        };
        let (conditions, metrics) = (Arc::clone(&self.conditions), ExecutionPlanMetricsSet::new());
        Ok(Arc::new(Self { filter: filter.clone(), conditions, metrics }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let batch_size = self.filter.batch_size();
        let filtered = Filtered {
            conditions: Arc::clone(&self.conditions),
            projection: self.filter.projection().as_ref().map(|columns| columns.to_vec()),
            input: self.filter.input().execute(partition, context)?,
            // Batches that are large already are passed on as they are.
            output: BatchCoalescer::new(self.schema(), batch_size)
                .with_biggest_coalesce_batch_size(Some(batch_size / 2)),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            has_ended: false,
        };
        let batches = stream::try_unfold(filtered, Filtered::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The input, filtered.
struct Filtered {
    conditions: Arc<Conditions>,
    projection: Option<Vec<usize>>,
    input: SendableRecordBatchStream,
    output: BatchCoalescer,
    metrics: BaselineMetrics,
    has_ended: bool,
}

impl Filtered {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            if let Some(batch) = self.output.next_completed_batch() {
                return Ok(Some((batch.record_output(&self.metrics), self)));
            }
            if self.has_ended {
                return Ok(None);
            }
            let batch = self.input.try_next().await?;
            let elapsed = self.metrics.elapsed_compute().clone();
            let timer = elapsed.timer();
            match batch {
                Some(batch) => self.push(&batch)?,
                None => {
                    self.has_ended = true;
                    self.output.finish_buffered_batch()?;
                }
            }
            timer.done();
        }
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(rows) = self.conditions.rows(batch)? else { return Ok(()) };
        let batch = match &self.projection {
            Some(columns) => batch.project(columns)?,
            None => batch.clone(),
        };
        Ok(self.output.push_batch_with_filter(batch, &BooleanArray::new(rows, None))?)
    }
}

/// Conditions that must all be true, in the order in which they are computed.
#[derive(Debug)]
struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    is_true: Arc<dyn PhysicalExpr>,
    /// The columns that those after it need.
    later: Vec<usize>,
}

impl Conditions {
    fn new(conditions: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        let mut later: Vec<usize> = vec![];
        let mut all = vec![];
        for is_true in conditions.into_iter().rev() {
            let own = collect_columns(&is_true);
            all.push(Condition { is_true, later: later.clone() });
            later.extend(own.iter().map(|column| column.index()));
            later.sort_unstable();
            later.dedup();
        }
        all.reverse();
        Self(all)
    }

    /// The rows for which all are true; `None` if there are none.
    fn rows(&self, batch: &RecordBatch) -> Result<Option<BooleanBuffer>> {
        let mut copied: Option<(BooleanBuffer, RecordBatch)> = None;
        let mut rows: Option<BooleanBuffer> = None;
        for (index, condition) in self.0.iter().enumerate() {
            let among = copied.as_ref().map_or(batch, |(_, copy)| copy);
            let found = truths(&condition.is_true, among)?;
            let all = rows.map_or_else(|| found.clone(), |rows| &rows & &found);
            let n_rows = all.count_set_bits();
            if n_rows == 0 {
                return Ok(None);
            }
            let is_last = index + 1 == self.0.len();
            if is_last || n_rows as f64 > FEW * among.num_rows() as f64 {
                rows = Some(all);
                continue;
            }
            let copy = copy(among, &all, n_rows, &condition.later)?;
            let places = match &copied {
                Some((places, _)) => places_among(places, &all),
                None => all,
            };
            copied = Some((places, copy));
            rows = None;
        }
        Ok(match (copied, rows) {
            (Some((places, _)), Some(rows)) => Some(places_among(&places, &rows)),
            (Some((places, _)), None) => Some(places),
            (None, rows) => rows,
        })
    }
}

/// The rows for which a condition is true, which it is not if it is NULL.
fn truths(condition: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanBuffer> {
    let found = condition.evaluate(batch)?.into_array(batch.num_rows())?;
    let found = as_boolean_array(&found)?;
    Ok(match found.nulls() {
        Some(known) => found.values() & known.inner(),
        None => found.values().clone(),
    })
}

/// Some rows of a batch. Of columns that nobody reads, it has any values.
fn copy(
    batch: &RecordBatch,
    rows: &BooleanBuffer,
    n_rows: usize,
    columns: &[usize],
) -> Result<RecordBatch> {
    let rows = FilterBuilder::new(&BooleanArray::new(rows.clone(), None)).optimize().build();
    let column = |(at, column): (usize, &ArrayRef)| match columns.binary_search(&at) {
        Ok(_) => rows.filter(column),
        Err(_) => Ok(column.slice(0, n_rows)),
    };
    let columns: Result<Vec<_>, _> = batch.columns().iter().enumerate().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns?, &options)?)
}

/// The set bits of `places` of which `rows`, one bit for each of these, is set.
fn places_among(places: &BooleanBuffer, rows: &BooleanBuffer) -> BooleanBuffer {
    let mut bits = MutableBuffer::from_len_zeroed(bit_util::ceil(places.len(), 8));
    for (place, is_set) in places.set_indices().zip(rows) {
        if is_set {
            bit_util::set_bit(&mut bits, place);
        }
    }
    BooleanBuffer::new(bits.into(), 0, places.len())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, col, lit};

    use super::*;

    fn compare(batch: &RecordBatch, name: &str, op: Operator, value: i32) -> Arc<dyn PhysicalExpr> {
        let column = col(name, &batch.schema()).unwrap();
        Arc::new(BinaryExpr::new(column, op, lit(value)))
    }

    fn places(rows: Option<BooleanBuffer>) -> Vec<usize> {
        rows.map_or_else(Vec::new, |rows| rows.set_indices().collect())
    }

    /// 1000 rows: `a` counts them, `b` and `c` go round, each with NULLs.
    fn batch() -> RecordBatch {
        let every = |n: i32, null: i32| {
            let value = move |i: i32| (i % null != 0).then_some(i % n);
            Int32Array::from((0..1000).map(value).collect::<Vec<_>>())
        };
        let columns: [(&str, ArrayRef); 3] = [
            ("a", Arc::new(every(1000, 1001))),
            ("b", Arc::new(every(10, 7))),
            ("c", Arc::new(every(3, 11))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, all)| (name, all, true)))
            .unwrap()
    }

    #[test]
    fn rows_are_those_of_all_conditions_together() {
        let batch = batch();
        use Operator::{Eq, Gt, Lt};
        // By what is left of the rows: few at once, few after two, few twice, never few.
        let cases: [&[(&str, Operator, i32)]; 5] = [
            &[("b", Eq, 3), ("c", Gt, 0), ("a", Gt, 100)],
            &[("a", Gt, 500), ("a", Lt, 600), ("b", Gt, 2), ("c", Eq, 1)],
            &[("b", Eq, 3), ("a", Lt, 100), ("c", Eq, 2)],
            &[("a", Gt, 10), ("b", Gt, 0), ("c", Gt, 0)],
            &[("b", Eq, 3), ("a", Gt, 5000), ("c", Eq, 2)],
        ];
        for case in cases {
            let exprs = case.iter().map(|(name, op, value)| compare(&batch, name, *op, *value));
            let exprs: Vec<_> = exprs.collect();
            let one_by_one = exprs.iter().map(|expr| truths(expr, &batch).unwrap());
            let expected = one_by_one.reduce(|a, b| &a & &b);
            let found = Conditions::new(exprs).rows(&batch).unwrap();
            assert_eq!(places(found), places(expected), "{case:?}");
        }
    }

    #[test]
    fn places_are_found_again() {
        let places_of = |bits: &[bool]| BooleanBuffer::from(bits);
        let outer = places_of(&[false, true, true, false, true]);
        let inner = places_of(&[false, true, true]);
        assert_eq!(places(Some(places_among(&outer, &inner))), [2, 4]);
    }
}
