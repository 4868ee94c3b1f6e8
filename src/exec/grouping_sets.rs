//! ROLLUP, CUBE and GROUPING SETS over rows that are grouped by all keys already.
//!
//! The input has one row for each group of all keys, with what its aggregates know so far, their
//! *states*. Each grouping set is then made of the smallest one before it that has its keys:
//!
//! ```text
//! input (a, b, c) ──> (a, b, c)
//!           └───────> (a, b) ──> (a) ──> ()         of CUBE also: (a, c), (b, c), …
//! ```
//!
//! The output is that of DataFusion's partial aggregate with grouping sets: all keys, NULL where a set
//! has them not, `__grouping_id`, and the states, which the final aggregate merges. Of nothing there is
//! still a total: what `()` gives without input is left to that aggregate itself.
//!
//! Groups are held until their chunk of input is at its end; those of several chunks are put together
//! by the final aggregate, as are all if memory is short. What is left out is order: that aggregate asks
//! for none.

use std::fmt;
use std::slice::from_ref;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, lit};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateMode, PhysicalGroupBy, evaluate_group_by,
};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PlanProperties, ReplaceChildrenOptions, common,
};
use futures::{StreamExt, TryStreamExt, stream};

/// So many groups of the input are taken at once.
const CHUNK: usize = 1 << 20;

/// The operator.
#[derive(Debug)]
pub(crate) struct GroupingSetsExec {
    input: Arc<dyn ExecutionPlan>,
    sets: Arc<Sets>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The sets, and what is aggregated.
#[derive(Debug)]
struct Sets {
    /// Those with the most keys first.
    sets: Vec<GroupingSet>,
    n_keys: usize,
    /// Keys and states.
    grouped: SchemaRef,
    /// Keys, `__grouping_id` and states.
    output: SchemaRef,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Of the rows before any aggregate.
    raw: SchemaRef,
    /// What gives the output of no input.
    of_nothing: Arc<dyn ExecutionPlan>,
}

#[derive(Debug)]
struct GroupingSet {
    /// Ascending.
    keys: Vec<usize>,
    /// What `grouping()` is computed from.
    id: ScalarValue,
}

impl GroupingSetsExec {
    /// Gives what `partial` does, a partial aggregate with grouping sets, from `input`, a partial
    /// aggregate of the same by all its keys.
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>, partial: &AggregateExec) -> Result<Self> {
        let group_by = partial.group_expr();
        let mut sets = vec![];
        for (group, id) in group_by.groups().iter().zip(ids(group_by)?) {
            let keys = group.iter().enumerate().filter(|(_, is_null)| !**is_null);
            sets.push(GroupingSet { keys: keys.map(|(key, _)| key).collect(), id });
        }
        sets.sort_by_key(|set| std::cmp::Reverse(set.keys.len()));
        let nothing = Arc::new(EmptyExec::new(partial.input().schema()));
        let of_nothing = Arc::new(partial.clone()).replace_children(
            vec![nothing],
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )?;
        let sets = Arc::new(Sets {
            of_nothing,
            sets,
            n_keys: group_by.expr().len(),
            grouped: input.schema(),
            output: partial.schema(),
            aggregates: partial.aggr_expr().to_vec(),
            raw: partial.input_schema(),
        });
        Ok(Self::over(input, sets))
    }

    fn over(input: Arc<dyn ExecutionPlan>, sets: Arc<Sets>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&sets.output)),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            input.boundedness(),
        );
        let properties = Arc::new(properties);
        Self { input, sets, properties, metrics: ExecutionPlanMetricsSet::new() }
    }
}

/// The `__grouping_id` of each set.
fn ids(group_by: &PhysicalGroupBy) -> Result<Vec<ScalarValue>> {
    let (nulls, groups) = (group_by.null_expr(), group_by.groups());
    let nulls = PhysicalGroupBy::new(nulls.to_vec(), nulls.to_vec(), groups.to_vec(), true);
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    let id = |columns: Vec<ArrayRef>| match columns.last() {
        Some(id) => ScalarValue::try_from_array(id, 0),
        None => internal_err!("a grouping set has no __grouping_id"),
    };
    evaluate_group_by(&nulls, &row)?.into_iter().map(id).collect()
}

impl DisplayAs for GroupingSetsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |key: &usize| self.sets.grouped.field(*key).name().as_str();
        let set = |set: &GroupingSet| {
            format!("({})", set.keys.iter().map(name).collect::<Vec<_>>().join(", "))
        };
        let sets = self.sets.sets.iter().map(set).collect::<Vec<_>>().join(", ");
        match format {
            DisplayFormatType::TreeRender => write!(f, "sets={sets}"),
            _ => write!(f, "GroupingSetsExec: sets=[{sets}]"),
        }
    }
}

impl ExecutionPlan for GroupingSetsExec {
    fn name(&self) -> &'static str {
        "GroupingSetsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // The aggregate below has seen to that.
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::over(input, Arc::clone(&self.sets)))),
            Err(_) => internal_err!("GroupingSetsExec has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new(format!("GroupingSetsExec[{partition}]"));
        let chunks = Chunks {
            sets: Arc::clone(&self.sets),
            input: self.input.execute(partition, Arc::clone(&context))?,
            memory: memory.register(context.memory_pool()),
            context,
            metrics: BaselineMetrics::new(&self.metrics, partition),
            is_first: true,
            has_ended: false,
        };
        let (sets, metrics) = (Arc::clone(&self.sets), chunks.metrics.clone());
        let groups = stream::try_unfold(chunks, Chunks::next)
            .map_ok(|groups| stream::iter(groups.into_iter().map(Ok)))
            .try_flatten()
            .map(move |groups: Result<Groups>| Ok(sets.widened(groups?)?.record_output(&metrics)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), groups)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// What goes out.
enum Groups {
    /// Keys and states of one of the sets, by its index.
    Of(usize, RecordBatch),
    /// All columns.
    Whole(RecordBatch),
}

/// The input, so much of it at once as there is room for.
struct Chunks {
    sets: Arc<Sets>,
    input: SendableRecordBatchStream,
    memory: MemoryReservation,
    context: Arc<TaskContext>,
    metrics: BaselineMetrics,
    is_first: bool,
    has_ended: bool,
}

impl Chunks {
    async fn next(mut self) -> Result<Option<(Vec<Groups>, Self)>> {
        if self.has_ended {
            return Ok(None);
        }
        self.memory.free();
        let chunk = self.read().await?;
        let elapsed = self.metrics.elapsed_compute().clone();
        let timer = elapsed.timer();
        let groups = match chunk.is_empty() && self.is_first {
            true => {
                let of_nothing = self.sets.of_nothing.execute(0, Arc::clone(&self.context))?;
                let batches = common::collect(of_nothing).await?;
                batches.into_iter().map(Groups::Whole).collect()
            }
            false => self.sets.of(&chunk, &self.context).await?,
        };
        timer.done();
        self.is_first = false;
        Ok(Some((groups, self)))
    }

    async fn read(&mut self) -> Result<Vec<RecordBatch>> {
        let (mut chunk, mut n_rows) = (vec![], 0);
        while n_rows < CHUNK {
            let Some(batch) = self.input.try_next().await? else {
                self.has_ended = true;
                break;
            };
            n_rows += batch.num_rows();
            // A batch may be a part of a larger one that was counted already.
            let size = |column: &ArrayRef| column.to_data().get_slice_memory_size();
            let size: usize = batch.columns().iter().filter_map(|column| size(column).ok()).sum();
            chunk.push(batch);
            if self.memory.try_grow(size).is_err() {
                break;
            }
        }
        Ok(chunk)
    }
}

impl Sets {
    /// The groups of every set.
    async fn of(&self, chunk: &[RecordBatch], context: &Arc<TaskContext>) -> Result<Vec<Groups>> {
        let all_keys: Vec<usize> = (0..self.n_keys).collect();
        let mut made: Vec<(&GroupingSet, Vec<RecordBatch>)> = vec![];
        for set in &self.sets {
            let groups = if set.keys.len() == self.n_keys {
                chunk.to_vec()
            } else {
                let has_keys =
                    |from: &GroupingSet| set.keys.iter().all(|key| from.keys.contains(key));
                let before = made.iter().filter(|(from, _)| has_keys(from));
                let smallest = before.min_by_key(|(_, groups)| n_rows(groups));
                match smallest {
                    Some((from, groups)) if from.keys == set.keys => groups.clone(),
                    Some((from, groups)) => {
                        self.regrouped(&from.keys, groups, &set.keys, context).await?
                    }
                    None => self.regrouped(&all_keys, chunk, &set.keys, context).await?,
                }
            };
            made.push((set, groups));
        }
        let of = |(set, (_, groups)): (usize, (_, Vec<RecordBatch>))| {
            groups.into_iter().map(move |batch| Groups::Of(set, batch))
        };
        Ok(made.into_iter().enumerate().flat_map(of).collect())
    }

    /// Groups by some of the keys that groups are of.
    async fn regrouped(
        &self,
        of: &[usize],
        groups: &[RecordBatch],
        keys: &[usize],
        context: &Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let n_states = self.grouped.fields().len() - self.n_keys;
        // By no key is by one that is always the same: an aggregate without any has other states.
        let kept: Vec<usize> = if keys.is_empty() { of[..1].to_vec() } else { keys.to_vec() };
        let fields = kept.iter().copied().chain(self.n_keys..self.n_keys + n_states);
        let schema = Arc::new(self.grouped.project(&fields.collect::<Vec<_>>())?);
        let places = of.iter().enumerate().filter(|(_, key)| kept.contains(key));
        let places = places.map(|(place, _)| place).chain(of.len()..of.len() + n_states);
        let places: Vec<usize> = places.collect();
        let groups = projected(groups, &places)?;
        let input = MemorySourceConfig::try_new_exec(from_ref(&groups), Arc::clone(&schema), None)?;
        let key = |place: usize| {
            let name = schema.field(place).name().clone();
            let key: Arc<dyn PhysicalExpr> = match keys.is_empty() {
                true => lit(true),
                false => Arc::new(Column::new(&name, place)),
            };
            (key, name)
        };
        let aggregate = AggregateExec::try_new(
            AggregateMode::PartialReduce,
            PhysicalGroupBy::new_single((0..kept.len()).map(key).collect()),
            self.aggregates.clone(),
            vec![None; self.aggregates.len()],
            input,
            Arc::clone(&self.raw),
        )?;
        let groups = match common::collect(aggregate.execute(0, Arc::clone(context))?).await {
            // The final aggregate puts them together, and can do so on disk.
            Err(error) if is_short_of_memory(&error) => groups,
            regrouped => regrouped?,
        };
        match keys.is_empty() {
            true => projected(&groups, &(1..=n_states).collect::<Vec<_>>()),
            false => Ok(groups),
        }
    }

    /// The groups of a set with all columns of the output.
    fn widened(&self, groups: Groups) -> Result<RecordBatch> {
        let (set, groups) = match groups {
            Groups::Of(set, groups) => (&self.sets[set], groups),
            Groups::Whole(batch) => return Ok(batch),
        };
        let n_rows = groups.num_rows();
        let mut given = groups.columns().iter().cloned();
        let mut columns = Vec::with_capacity(self.output.fields().len());
        for (key, field) in self.output.fields().iter().take(self.n_keys).enumerate() {
            let kept = if set.keys.contains(&key) { given.next() } else { None };
            columns.push(kept.unwrap_or_else(|| new_null_array(field.data_type(), n_rows)));
        }
        columns.push(set.id.to_array_of_size(n_rows)?);
        columns.extend(given);
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }
}

fn projected(batches: &[RecordBatch], columns: &[usize]) -> Result<Vec<RecordBatch>> {
    batches.iter().map(|batch| Ok(batch.project(columns)?)).collect()
}

fn is_short_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

fn n_rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}
