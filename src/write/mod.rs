//! The one way rows become files: a plan in, data files out, nothing visible.
//!
//! ```text
//! plan ── partition 0 ──> writer ──> file, file …     each partition encodes on its own, so the
//!      ── partition 1 ──> writer ──> file …           cost, encoding, uses every core
//!      ── partition 2 ──> (few rows) ┐
//!      ── partition 3 ──> (few rows) ┴> one file      small ends are written together
//! ```
//!
//! Up to as many rows as the option `data_inlining_row_limit` says become no file at all: the
//! catalog keeps them. Files are named, written and synced before the catalog learns of them; [`Staged`] deletes them
//! again unless the commit that names them succeeds. Memory holds one row group per writer.
//! What makes a commit is the caller's. [`mod@file`] is one file, [`stats`] its statistics; [`rows`]
//! writes what UPDATE and MERGE change, [`deletes`] the positions that they and DELETE leave.
//! [`added`] writes nothing: it takes files that are there already.

pub(crate) mod added;
mod arrange;
mod check;
mod conform;
pub(crate) mod deletes;
mod file;
mod inline;
mod options;
pub(crate) mod rows;
mod staged;
mod stats;

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use futures::TryStreamExt;
use tokio::task::JoinSet;

pub(crate) use self::check::{plan_expr, show_row};
pub(crate) use self::conform::{conform, created_columns};
use self::file::FileWriter;
pub(crate) use self::file::Target;
pub(crate) use self::options::WriteOptions;
pub(crate) use self::staged::Staged;
use crate::catalog::model::{DataFile, FilePartition, InlinedRows};
use crate::error::{Error, Result};

/// A partition that ends with fewer rows, and fewer bytes, does not get a file of its own.
const SMALL_ROWS: usize = 100_000;
const SMALL_BYTES: usize = 16 << 20;

/// What a write became.
#[derive(Default)]
pub(crate) struct Written {
    /// Data files, which are in the target's [`Staged`].
    pub(crate) files: Vec<DataFile>,
    /// Rows for the catalog to keep.
    pub(crate) inlined: Vec<InlinedRows>,
}

impl Written {
    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        let in_files: u64 = self.files.iter().map(|file| file.record_count).sum();
        in_files + self.inlined.iter().map(|group| group.rows.len() as u64).sum::<u64>()
    }

    fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.inlined.extend(other.inlined);
    }
}

/// Runs `plan` and writes its rows for `target`.
pub(crate) async fn write(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    target: Arc<Target>,
) -> Result<Written> {
    let threads = context.session_config().target_partitions();
    let plan = match target.arrange(&plan, threads)? {
        Some(arranged) => arranged,
        None => spread(plan, threads)?,
    };
    let n_partitions = plan.output_partitioning().partition_count();
    if n_partitions == 1 {
        let output = write_partition(plan.execute(0, context)?, &target).await?;
        return finish(vec![output], &target).await;
    }
    let mut tasks = JoinSet::new();
    for partition in 0..n_partitions {
        let stream = plan.execute(partition, Arc::clone(&context))?;
        let target = Arc::clone(&target);
        tasks.spawn(async move { (partition, write_partition(stream, &target).await) });
    }
    let mut outputs = Vec::with_capacity(tasks.len());
    // The first failure ends the statement; dropping the set cancels the other partitions.
    while let Some(joined) = tasks.join_next().await {
        let (partition, output) = joined.map_err(|e| Error::internal(e.to_string()))?;
        outputs.push((partition, output?));
    }
    outputs.sort_by_key(|(partition, _)| *partition);
    finish(outputs.into_iter().map(|(_, output)| output).collect(), &target).await
}

/// Runs `plan` and writes its rows as one file, whatever its size and whatever the table demands of
/// new rows; no file for no rows. They are in the order of the plan's partitions, or in the table's.
pub(crate) async fn write_whole(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    target: &Target,
) -> Result<Option<DataFile>> {
    let plan = target.arrange(&plan, 1)?.unwrap_or(plan);
    let mut file: Option<FileWriter> = None;
    for partition in 0..plan.output_partitioning().partition_count() {
        let mut rows = plan.execute(partition, Arc::clone(&context))?;
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() > 0 {
                let file = match &mut file {
                    Some(file) => file,
                    none => none.insert(target.begin(None)?),
                };
                file.write(target, &batch).await?;
            }
        }
    }
    match file {
        Some(file) => file.finish(target).await.map(Some),
        None => Ok(None),
    }
}

/// The files of all partitions; their small ends become one, and a few rows in all none.
async fn finish(outputs: Vec<Output>, target: &Target) -> Result<Written> {
    let (mut files, mut rest) = (Vec::new(), Vec::new());
    for output in outputs {
        files.extend(output.files);
        rest.extend(output.rest);
    }
    let mut inlined = Vec::new();
    match if files.is_empty() { target.inline(&rest)? } else { None } {
        Some(rows) => inlined.push(rows),
        None => files.extend(target.write_small(rest, None).await?),
    }
    inlined.retain(|group: &InlinedRows| !group.rows.is_empty());
    Ok(Written { files, inlined })
}

/// A plan of one partition whose order nobody asked for is spread over the cores.
fn spread(plan: Arc<dyn ExecutionPlan>, threads: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let is_ordered = plan.output_ordering().is_some();
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    let rows = statistics.num_rows;
    let is_small = rows.get_value().is_some_and(|rows| *rows < SMALL_ROWS);
    if plan.output_partitioning().partition_count() > 1 || is_ordered || is_small || threads < 2 {
        return Ok(plan);
    }
    Ok(Arc::new(RepartitionExec::try_new(plan, Partitioning::RoundRobinBatch(threads))?))
}

/// What one partition became.
struct Output {
    files: Vec<DataFile>,
    rest: Vec<RecordBatch>,
}

async fn write_partition(mut stream: SendableRecordBatchStream, target: &Target) -> Result<Output> {
    let mut writer = PartitionWriter::new(target);
    while let Some(batch) = stream.try_next().await? {
        writer.push(batch).await?;
    }
    writer.end().await
}

/// Writes the rows of one stream: kept until they are worth a file, then to one file after the
/// other, each of about the target's size. Files of a partitioned table end with their partition.
struct PartitionWriter<'a> {
    target: &'a Target,
    /// The partition of the rows that are kept, or in the file that is open.
    partition: Option<FilePartition>,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    kept_bytes: usize,
    file: Option<FileWriter>,
    files: Vec<DataFile>,
}

impl<'a> PartitionWriter<'a> {
    fn new(target: &'a Target) -> Self {
        let (kept, files) = (vec![], vec![]);
        Self { target, partition: None, kept, kept_rows: 0, kept_bytes: 0, file: None, files }
    }

    async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.target.check(&batch)?;
        let Some(partitions) = self.target.partitions() else {
            return self.write(batch).await;
        };
        for (partition, rows) in partitions.runs(&batch)? {
            if self.partition.as_ref() != Some(&partition) {
                self.end_partition().await?;
                self.partition = Some(partition);
            }
            self.write(batch.slice(rows.start, rows.len())).await?;
        }
        Ok(())
    }

    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let Some(file) = &mut self.file else {
            self.kept_rows += batch.num_rows();
            self.kept_bytes += batch.get_array_memory_size();
            self.kept.push(batch);
            if self.kept_rows >= SMALL_ROWS || self.kept_bytes >= SMALL_BYTES {
                let mut file = self.target.begin(self.partition.as_ref())?;
                for batch in self.kept.drain(..) {
                    file.write(self.target, &batch).await?;
                }
                self.file = Some(file);
            }
            return Ok(());
        };
        file.write(self.target, &batch).await?;
        if file.size() >= self.target.file_size() {
            let next = self.target.begin(self.partition.as_ref())?;
            let full = std::mem::replace(file, next);
            self.files.push(full.finish(self.target).await?);
        }
        Ok(())
    }

    /// Finishes the files of the partition that was written last.
    async fn end_partition(&mut self) -> Result<()> {
        let kept = std::mem::take(&mut self.kept);
        (self.kept_rows, self.kept_bytes) = (0, 0);
        self.files.extend(match self.file.take() {
            // A file may have been full when the rows ended.
            Some(file) => file.finish_unless_empty(self.target).await?,
            None => self.target.write_small(kept, self.partition.as_ref()).await?,
        });
        Ok(())
    }

    /// Pushes the rows of a batch that `mask` chooses, with its first columns.
    async fn push_some(
        &mut self,
        batch: &RecordBatch,
        mask: &BooleanArray,
        n_columns: usize,
    ) -> Result<()> {
        if mask.true_count() == 0 {
            return Ok(());
        }
        let columns: Vec<usize> = (0..n_columns).collect();
        let chosen = batch.project(&columns).and_then(|batch| filter_record_batch(&batch, mask));
        self.push(chosen.map_err(|e| Error::internal(e.to_string()))?).await
    }

    async fn end(mut self) -> Result<Output> {
        if self.file.is_some() || self.target.partitions().is_some() {
            self.end_partition().await?;
        }
        Ok(Output { files: self.files, rest: self.kept })
    }
}
