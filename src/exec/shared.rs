//! One plan, executed once, for several readers.
//!
//! ```text
//!   reader 0       reader 1       reader 2        a SharedExec each, wherever the result is needed
//!       └──────────────┼──────────────┘
//!                  SharedInput                    for each partition a buffer and a task that fills it
//!                      │
//!                the plan's root
//! ```
//!
//! The tasks begin when the first reader is polled, all partitions at once: the plan may wait for all
//! of its partitions, so none of them may wait for a reader. Each goes on as long as its foremost
//! reader is near; what the others have yet to read waits in the [`buffer`], in memory or on disk.
//! A reader that is dropped is waited for no more, and when all of them are gone so is the task. An
//! error reaches every reader. A plan that turns out to have one reader is executed as if alone.
//!
//! While a plan is optimized a reader is a leaf, so that nothing from above, such as the filter of a
//! join, gets into what others read as well. [`SharedExec::showing_input`] is for the end: one of the
//! readers has the plan as its child, for EXPLAIN, metrics and progress.

mod buffer;
mod memory;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{
    EvaluationType, SchedulingType, reset_plan_states,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput, SpillMetrics,
};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions, SpillManager,
};
use futures::stream;

use self::buffer::{Buffer, Reader, fill};
use self::memory::Memory;

/// A plan that is executed once, and what it has given so far.
pub(crate) struct SharedInput {
    number: usize,
    plan: Arc<dyn ExecutionPlan>,
    n_readers: AtomicUsize,
    /// Whether a reader has the plan as its child.
    is_shown: AtomicBool,
    partitions: OnceLock<Vec<Partition>>,
    /// Of the files that the buffers write.
    metrics: ExecutionPlanMetricsSet,
}

/// One partition of a plan that runs.
struct Partition {
    buffer: Arc<Buffer>,
    task: Mutex<Task>,
}

/// Fills a buffer, and ends when it is dropped.
enum Task {
    Waiting,
    Running { _task: SpawnedTask<()> },
    Over,
}

impl SharedInput {
    /// The plan, shown with a number.
    pub(crate) fn new(number: usize, plan: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            number,
            plan,
            n_readers: AtomicUsize::new(0),
            is_shown: AtomicBool::new(false),
            partitions: OnceLock::new(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn n_partitions(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }

    /// One more reader begins with a partition.
    fn join(
        self: &Arc<Self>,
        reader: usize,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Reader> {
        let partitions = self.partitions.get_or_init(|| self.buffers(context));
        let Some(Partition { buffer, .. }) = partitions.get(partition) else {
            return internal_err!("SharedExec has no partition {partition}");
        };
        Reader::new(Arc::clone(buffer), reader)
    }

    fn buffers(&self, context: &TaskContext) -> Vec<Partition> {
        let compression = context.session_config().spill_compression();
        let buffer = |partition| {
            let metrics = SpillMetrics::new(&self.metrics, partition);
            let spill = SpillManager::new(context.runtime_env(), metrics, self.plan.schema());
            let consumer = MemoryConsumer::new(format!("SharedExec[{}, {partition}]", self.number));
            let memory = consumer.with_can_spill(true).register(context.memory_pool());
            let buffer = Buffer::new(
                self.n_readers.load(Ordering::Acquire),
                Memory::new(memory),
                spill.with_compression_type(compression),
            );
            Partition { buffer: Arc::new(buffer), task: Mutex::new(Task::Waiting) }
        };
        (0..self.n_partitions()).map(buffer).collect()
    }

    /// Lets all partitions run that do not run yet.
    fn start(&self, context: &Arc<TaskContext>) {
        for (index, partition) in self.partitions.get().into_iter().flatten().enumerate() {
            let mut task = partition.task.lock().unwrap_or_else(PoisonError::into_inner);
            if let Task::Waiting = *task {
                let (plan, context) = (Arc::clone(&self.plan), Arc::clone(context));
                let filling = fill(Arc::clone(&partition.buffer), plan, index, context);
                *task = Task::Running { _task: SpawnedTask::spawn(filling) };
            }
        }
    }

    /// Ends a partition that nobody reads any more.
    fn stop(&self, partition: usize) {
        if let Some(partition) = self.partitions.get().and_then(|all| all.get(partition)) {
            *partition.task.lock().unwrap_or_else(PoisonError::into_inner) = Task::Over;
        }
    }
}

impl fmt::Debug for SharedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedInput")
            .field("number", &self.number)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// A reader of a plan that is executed once for several.
#[derive(Debug)]
pub(crate) struct SharedExec {
    input: Arc<SharedInput>,
    reader: usize,
    shows_input: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SharedExec {
    /// One more reader; all are there before the first is executed.
    pub(crate) fn new(input: &Arc<SharedInput>) -> Self {
        let properties = PlanProperties::clone(input.plan.properties())
            .with_scheduling_type(SchedulingType::Cooperative)
            .with_evaluation_type(EvaluationType::Eager);
        Self {
            input: Arc::clone(input),
            reader: input.n_readers.fetch_add(1, Ordering::AcqRel),
            shows_input: false,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The same reader with the plan as its child, if no other reader has it.
    pub(crate) fn showing_input(&self) -> Option<Self> {
        let is_first = !self.input.is_shown.swap(true, Ordering::AcqRel);
        is_first.then(|| Self {
            input: Arc::clone(&self.input),
            reader: self.reader,
            shows_input: true,
            properties: Arc::clone(&self.properties),
            metrics: self.metrics.clone(),
        })
    }
}

impl DisplayAs for SharedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.input.number;
        match format {
            DisplayFormatType::TreeRender => write!(f, "plan=#{number}"),
            _ if self.shows_input => {
                let n_readers = self.input.n_readers.load(Ordering::Acquire);
                write!(f, "SharedExec: #{number}, readers={n_readers}")
            }
            _ => write!(f, "SharedExec: #{number}"),
        }
    }
}

impl ExecutionPlan for SharedExec {
    fn name(&self) -> &'static str {
        "SharedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        if self.shows_input { vec![&self.input.plan] } else { vec![] }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true; self.children().len()]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children().len()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    /// Another input is not the one that the others read: then this place has it for itself.
    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(child) if !Arc::ptr_eq(&child, &self.input.plan) => Ok(child),
            _ => Ok(self),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    /// What is executed again, as a part of a recursion is, is not what the others have read.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        reset_plan_states(Arc::clone(&self.input.plan))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if self.input.n_readers.load(Ordering::Acquire) == 1 {
            return self.input.plan.execute(partition, context);
        }
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let reading = Reading {
            reader: self.input.join(self.reader, partition, &context)?,
            input: Arc::clone(&self.input),
            partition,
        };
        let batches = stream::try_unfold(reading, move |mut reading| {
            let (context, metrics) = (Arc::clone(&context), metrics.clone());
            async move {
                reading.input.start(&context);
                let batch = reading.reader.next().await?;
                let batch = batch.map(|batch| (batch.record_output(&metrics), reading));
                Ok::<_, DataFusionError>(batch)
            }
        });
        let batches = RecordBatchStreamAdapter::new(self.schema(), batches);
        Ok(make_cooperative(Box::pin(batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.metrics.clone_inner();
        if self.shows_input {
            let written = self.input.metrics.clone_inner();
            written.iter().for_each(|metric| metrics.push(Arc::clone(metric)));
        }
        Some(metrics)
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        StatisticsContext::new().compute(self.input.plan.as_ref(), args)
    }
}

/// A reader on its way through a partition.
struct Reading {
    reader: Reader,
    input: Arc<SharedInput>,
    partition: usize,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.reader.leave() {
            self.input.stop(self.partition);
        }
    }
}

#[cfg(test)]
mod tests;
