//! Window functions, one group of rows after the other.
//!
//! DataFusion's [`WindowAggExec`] keeps all rows of its input until the last has come, uncounted. Its
//! input is in the order of PARTITION BY, and no row looks beyond its own group, so whole groups are
//! enough:
//!
//! ```text
//! 1 1 1 2 | 2 2 3 3 | 3 3 3 3 | 3 4 …      batches of the input
//! ------- | --- --- | - - - - | - ---
//! 1 1 1     2 2 2     3 3 3 3 3 3 3 4 …    what is computed at once
//! ```
//!
//! A group has to fit into memory, where it is counted: as it comes, and put together. Without
//! PARTITION BY all rows are one group.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{BatchCoalescer, concat, concat_batches, partition};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions,
};
use futures::{TryStreamExt, stream};

use crate::memory::WINDOW;

/// A [`WindowAggExec`] that computes whole groups as they come.
#[derive(Debug)]
pub(crate) struct GroupedWindowExec {
    window: WindowAggExec,
    metrics: ExecutionPlanMetricsSet,
}

impl GroupedWindowExec {
    pub(crate) fn new(window: WindowAggExec) -> Self {
        Self { window, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for GroupedWindowExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => self.window.fmt_as(format, f),
            _ => {
                let functions = self.window.window_expr().iter();
                let functions = functions.map(|function| {
                    format!("{}, frame: {:?}", function.name(), function.get_window_frame())
                });
                let functions: Vec<String> = functions.collect();
                write!(f, "GroupedWindowExec: wdw=[{}]", functions.join(", "))
            }
        }
    }
}

impl ExecutionPlan for GroupedWindowExec {
    fn name(&self) -> &str {
        WINDOW
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.window.input()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.window.maintains_input_order()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.window.required_input_ordering()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.window.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.window.input_distribution_requirements()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let window: Arc<dyn ExecutionPlan> = Arc::new(self.window.clone());
        let window = window.replace_children(children, options)?;
        let Some(window) = window.downcast_ref::<WindowAggExec>() else { return Ok(window) };
        Ok(Arc::new(Self::new(window.clone())))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let reservation =
            MemoryConsumer::new(format!("{WINDOW}[{partition}]")).register(context.memory_pool());
        let batch_size = context.session_config().batch_size();
        let groups = Groups {
            functions: self.window.window_expr().to_vec(),
            keys: self.window.partition_by_sort_keys()?,
            schema: self.window.schema(),
            input: Some(self.window.input().execute(partition, context)?),
            kept: vec![],
            done: BatchCoalescer::new(self.window.schema(), batch_size),
            reservation,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let rows = stream::try_unfold(groups, async |mut groups| {
            Ok(groups.next().await?.map(|batch| (batch, groups)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.window.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.window.statistics_from_inputs(inputs, args)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The groups of one partition of the plan.
struct Groups {
    functions: Vec<Arc<dyn WindowExpr>>,
    /// What is the same in all rows of a group.
    keys: Vec<PhysicalSortExpr>,
    schema: SchemaRef,
    /// None once it has ended.
    input: Option<SendableRecordBatchStream>,
    /// The rows of a group whose end is not seen yet.
    kept: Vec<RecordBatch>,
    done: BatchCoalescer,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
}

impl Groups {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.done.next_completed_batch() {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            let Some(input) = &mut self.input else { return Ok(None) };
            match input.try_next().await? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => self.push(batch)?,
                None => {
                    // What is below is not needed any more.
                    self.input = None;
                    let rest = std::mem::take(&mut self.kept);
                    self.compute(&rest)?;
                    self.done.finish_buffered_batch()?;
                    self.reservation.free();
                }
            }
        }
    }

    /// Takes rows; computes the groups that have ended.
    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let _timer = self.metrics.elapsed_compute().clone();
        let _timer = _timer.timer();
        match self.last_group(&batch)? {
            None => self.kept.push(batch),
            Some(start) => {
                let mut ended = std::mem::take(&mut self.kept);
                ended.push(batch.slice(0, start));
                self.compute(&ended)?;
                self.kept.push(batch.slice(start, batch.num_rows() - start));
            }
        }
        // Once as they are, and once more to put them together.
        let kept: usize = self.kept.iter().map(RecordBatch::get_array_memory_size).sum();
        self.reservation.try_resize(2 * kept)
    }

    /// Where the last group of a batch begins; `None` if it began before.
    fn last_group(&self, batch: &RecordBatch) -> Result<Option<usize>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let keys = self.keys_of(batch)?;
        let start = partition(&keys)?.ranges().last().map_or(0, |last| last.start);
        let Some(before) = self.kept.last().filter(|_| start == 0) else {
            return Ok((start > 0).then_some(start));
        };
        let before = self.keys_of(&before.slice(before.num_rows() - 1, 1))?;
        let pairs = before.iter().zip(&keys);
        let pairs = pairs.map(|(before, first)| concat(&[before, &first.slice(0, 1)]));
        let is_other = partition(&pairs.collect::<Result<Vec<_>, _>>()?)?.len() > 1;
        Ok(is_other.then_some(0))
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let key = |key: &PhysicalSortExpr| key.expr.evaluate(batch)?.into_array(batch.num_rows());
        self.keys.iter().map(key).collect()
    }

    /// Puts rows of whole groups out, with what the functions say of them.
    fn compute(&mut self, rows: &[RecordBatch]) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        let batch = concat_batches(&first.schema(), rows)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let all = 0..batch.num_rows();
        let groups = match self.keys.is_empty() {
            true => vec![all],
            false => partition(&self.keys_of(&batch)?)?.ranges(),
        };
        let mut columns = batch.columns().to_vec();
        for function in &self.functions {
            let values = groups
                .iter()
                .map(|group| function.evaluate(&batch.slice(group.start, group.len())));
            let values: Vec<ArrayRef> = values.collect::<Result<_>>()?;
            let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
            columns.push(concat(&values)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.done.push_batch(batch).map_err(DataFusionError::from)
    }
}
