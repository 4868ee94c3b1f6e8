//! The one way rows become files: a plan in, data files out, nothing visible.
//!
//! ```text
//! plan ── partition 0 ──> writer ──> file, file …     each partition encodes on its own, so the
//!      ── partition 1 ──> writer ──> file …           cost, encoding, uses every core
//!      ── partition 2 ──> (few rows) ┐
//!      ── partition 3 ──> (few rows) ┴> one file      small ends are written together
//! ```
//!
//! Files are named, written and synced before the catalog learns of them; [`Staged`] deletes them
//! again unless the commit that names them succeeds. Memory holds one row group per writer.
//! What makes a commit is the session's; [`mod@file`] is one file, [`stats`] its statistics.

mod check;
mod conform;
mod file;
mod staged;
mod stats;

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use futures::TryStreamExt;
use tokio::task::JoinSet;

pub(crate) use self::check::{plan_expr, show_row};
pub(crate) use self::conform::{conform, created_columns};
pub(crate) use self::file::Target;
pub(crate) use self::staged::Staged;
use crate::catalog::model::DataFile;
use crate::error::{Error, Result};

/// A partition that ends with fewer rows, and fewer bytes, does not get a file of its own.
const SMALL_ROWS: usize = 100_000;
const SMALL_BYTES: usize = 16 << 20;

/// Runs `plan` and writes its rows as data files of `target`; they are in `target`'s [`Staged`].
pub(crate) async fn write(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    target: Arc<Target>,
) -> Result<Vec<DataFile>> {
    let plan = spread(plan, context.session_config().target_partitions())?;
    let mut tasks = JoinSet::new();
    for partition in 0..plan.output_partitioning().partition_count() {
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
    let mut files = Vec::new();
    let mut rest = Vec::new();
    for (_, output) in outputs {
        files.extend(output.files);
        rest.extend(output.rest);
    }
    files.extend(target.write_small(rest).await?);
    Ok(files)
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
    let mut head: Vec<RecordBatch> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(batch) = stream.try_next().await? {
        target.check(&batch)?;
        rows += batch.num_rows();
        bytes += batch.get_array_memory_size();
        head.push(batch);
        if rows >= SMALL_ROWS || bytes >= SMALL_BYTES {
            let files = target.write_stream(head, stream).await?;
            return Ok(Output { files, rest: vec![] });
        }
    }
    Ok(Output { files: vec![], rest: head })
}
