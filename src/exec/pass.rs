//! Operators that pass the rows of their input on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, AsArray, GenericByteViewArray};
use arrow::datatypes::{ByteViewType, DataType, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
    FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;

/// Gives the rows of its input.
#[derive(Debug)]
pub(crate) struct PassExec {
    input: Arc<dyn ExecutionPlan>,
    how: Passing,
    /// Whether it has been executed.
    is_read: AtomicBool,
}

/// How rows are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Without the bytes of other rows. A text column read from Parquet refers to whole pages of its
    /// file, and one that a sort-merge join gives to all batches that its rows come from, however few
    /// they are. What keeps batches, and counts what they take, then counts the same bytes with each of
    /// them, several times what the rows are: a sort would spill that much earlier.
    Compact,
    /// Once. A nested loop join that runs out of memory reads its left side again and joins it part by
    /// part. Which rows of a part have found no match is then known to nobody, so that rows come twice
    /// or not at all. What is below such a join gives an error instead.
    Once,
    /// As they are: optimizer rules do not see what is below.
    Hidden,
    /// As they are, and filters on their way down only if their columns are told from all others by
    /// name. DataFusion passes filters, those that joins make of their keys while they run among them,
    /// from a plan to its input and looks their columns up by name. Above a join of two tables that both
    /// have a column `j`, a filter on the second becomes one on the first, and rows are lost.
    Gated,
}

impl PassExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, how: Passing) -> Self {
        Self { input, how, is_read: AtomicBool::new(false) }
    }

    /// The same input to be passed on compact, if that makes a difference.
    pub(crate) fn compact(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match refers_to_pages(&input.schema()) {
            true => Arc::new(Self::new(input, Passing::Compact)),
            false => input,
        }
    }

    /// A gate above a plan of which two columns have the same name.
    pub(crate) fn gate(input: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let schema = input.schema();
        let has_twins = told_apart(&schema).len() < schema.fields().len();
        has_twins.then(|| Self::new(Arc::clone(input), Passing::Gated))
    }

    /// What is below of what takes part in planning alone.
    pub(crate) fn opened(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        matches!(self.how, Passing::Hidden | Passing::Gated).then_some(&self.input)
    }
}

/// The columns that have their name alone.
fn told_apart(schema: &Schema) -> Vec<usize> {
    let mut n_named: HashMap<&str, usize> = HashMap::new();
    for field in schema.fields() {
        *n_named.entry(field.name()).or_default() += 1;
    }
    let is_alone = |index: &usize| n_named.get(schema.field(*index).name().as_str()) == Some(&1);
    (0..schema.fields().len()).filter(is_alone).collect()
}

fn refers_to_pages(schema: &Schema) -> bool {
    let mut types = schema.fields().iter().map(|field| field.data_type());
    types.any(|data_type| matches!(data_type, DataType::Utf8View | DataType::BinaryView))
}

fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => compact_views(column.as_string_view(), column),
        DataType::BinaryView => compact_views(column.as_binary_view(), column),
        _ => Arc::clone(column),
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)?)
}

/// Copies texts that take much less than what they refer to.
fn compact_views<T: ByteViewType>(views: &GenericByteViewArray<T>, column: &ArrayRef) -> ArrayRef {
    let referred: usize = views.data_buffers().iter().map(|buffer| buffer.capacity()).sum();
    match referred > 2 * views.total_buffer_bytes_used() {
        true => Arc::new(views.gc()),
        false => Arc::clone(column),
    }
}

impl DisplayAs for PassExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassExec: {:?}", self.how)
    }
}

impl ExecutionPlan for PassExec {
    fn name(&self) -> &str {
        "PassExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.how)))
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.how)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if self.how == Passing::Once && self.is_read.swap(true, Ordering::SeqCst) {
            return Err(DataFusionError::ResourcesExhausted(
                "the memory limit is reached: neither side of a join without equal columns fits"
                    .into(),
            ));
        }
        let rows = self.input.execute(partition, context)?;
        if self.how != Passing::Compact {
            return Ok(rows);
        }
        let rows = rows.and_then(|batch| std::future::ready(compact(&batch)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        if self.how != Passing::Gated {
            return FilterDescription::from_children(filters, &self.children());
        }
        let told_apart = told_apart(&self.schema()).into_iter().collect();
        let input = ChildFilterDescription::from_child_with_allowed_indices(
            &filters,
            told_apart,
            &self.input,
        )?;
        Ok(FilterDescription::new().with_child(input))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}
