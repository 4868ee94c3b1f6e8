//! Changed rows: a plan of old places and new values in, positions to delete and data files out.
//!
//! The plan gives the table's columns (or none, if nothing is written), then the row id, file and
//! position of the old row, and the action. Rows that keep their row id go to files of their own,
//! which hold it as a further column.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use roaring::RoaringTreemap;
use tokio::task::JoinSet;

use super::file::Target;
use super::{Output, PartitionWriter, Written, finish};
use crate::catalog::model::{DeletedRows, FileId};
use crate::error::{Error, Result};

/// The name of the plan's last column.
pub(crate) const ACTION: &str = "\0action";

/// What the last column of the plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowAction {
    /// The old row goes.
    Delete = 0,
    /// The old row goes, and a new one takes its row id.
    Update = 1,
    /// A new row comes.
    Insert = 2,
}

/// The columns after the table's own: row id, file, position, action.
const EXTRA: usize = 4;

/// Where the changes of one statement go.
pub(crate) struct RowTarget {
    table: String,
    inserted: Target,
    updated: Target,
    gone: Mutex<BTreeMap<i64, RoaringTreemap>>,
    /// How many rows are inserted.
    new_rows: AtomicU64,
    /// Whether a second change of a row is an error; else the first one counts.
    once: bool,
}

/// What a statement has changed.
pub(crate) struct Changed {
    pub(crate) deleted: BTreeMap<FileId, DeletedRows>,
    pub(crate) written: Written,
    /// Rows deleted, updated and inserted.
    pub(crate) rows: u64,
}

impl RowTarget {
    /// New rows go to `inserted`, rows that keep their id to `updated`.
    pub(crate) fn new(inserted: Target, updated: Target, once: bool) -> Result<Self> {
        let (updated, table) = (updated.with_row_ids(), inserted.table_name().to_owned());
        let (gone, new_rows) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { table, inserted, updated, gone, new_rows, once })
    }

    /// Notes the old rows of a batch; gives the rows that are the first change of theirs.
    fn note(&self, batch: &RecordBatch, places: &Places<'_>) -> Result<BooleanArray> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = Vec::with_capacity(batch.num_rows());
        let mut new_rows = 0;
        for row in 0..batch.num_rows() {
            if places.action(row) == RowAction::Insert as i64 {
                fresh.push(true);
                new_rows += 1;
                continue;
            }
            let (file, position) = (places.file.value(row), places.position.value(row));
            let is_first = gone.entry(file).or_default().insert(position.cast_unsigned());
            if !is_first && self.once {
                return Err(Error::invalid(format!(
                    "MERGE changes a row of \"{}\" twice",
                    self.table
                ))
                .with_help(
                    "make the source unique on the columns of ON, with DISTINCT ON or GROUP BY",
                ));
            }
            fresh.push(is_first);
        }
        self.new_rows.fetch_add(new_rows, Ordering::Relaxed);
        Ok(fresh.into())
    }
}

/// The extra columns of one batch.
struct Places<'a> {
    row_id: &'a PrimitiveArray<Int64Type>,
    file: &'a PrimitiveArray<Int64Type>,
    position: &'a PrimitiveArray<Int64Type>,
    action: &'a PrimitiveArray<Int64Type>,
}

impl<'a> Places<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let column = |back: usize| {
            let index = batch.num_columns().checked_sub(back);
            let array = index.and_then(|index| batch.column(index).as_primitive_opt::<Int64Type>());
            array.ok_or_else(|| Error::internal("a changed row has no identity"))
        };
        Ok(Self { row_id: column(4)?, file: column(3)?, position: column(2)?, action: column(1)? })
    }

    fn action(&self, row: usize) -> i64 {
        self.action.value(row)
    }

    /// The rows of a batch that are written with, and without, a row id of their own. A row that
    /// this transaction inserted has none yet.
    fn written(&self, fresh: &BooleanArray) -> (BooleanArray, BooleanArray) {
        let is_update = |row| fresh.value(row) && self.action(row) == RowAction::Update as i64;
        let rows = 0..self.action.len();
        let updated = rows.clone().map(|row| is_update(row) && self.row_id.is_valid(row));
        let inserted = rows.map(|row| {
            self.action(row) == RowAction::Insert as i64
                || (is_update(row) && self.row_id.is_null(row))
        });
        (updated.collect::<Vec<_>>().into(), inserted.collect::<Vec<_>>().into())
    }
}

/// Runs `plan`, and notes and writes what it gives.
pub(crate) async fn change(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    target: Arc<RowTarget>,
) -> Result<Changed> {
    let plan = match plan.schema().fields().len() {
        // Nothing is written, so nothing has an order.
        EXTRA => plan,
        _ => {
            let threads = context.session_config().target_partitions();
            target.inserted.arrange(&plan, threads)?.unwrap_or(plan)
        }
    };
    let mut tasks = JoinSet::new();
    for partition in 0..plan.output_partitioning().partition_count() {
        let stream = plan.execute(partition, Arc::clone(&context))?;
        let target = Arc::clone(&target);
        tasks.spawn(async move { change_partition(stream, &target).await });
    }
    let (mut updated, mut inserted) = (vec![], vec![]);
    while let Some(joined) = tasks.join_next().await {
        let (updates, inserts) = joined.map_err(|e| Error::internal(e.to_string()))??;
        updated.push(updates);
        inserted.push(inserts);
    }
    let mut written = finish(updated, &target.updated).await?;
    written.extend(finish(inserted, &target.inserted).await?);
    let gone = std::mem::take(&mut *target.gone.lock().unwrap_or_else(PoisonError::into_inner));
    let n_gone: u64 = gone.values().map(RoaringTreemap::len).sum();
    let rows = n_gone + target.new_rows.load(Ordering::Relaxed);
    let deleted =
        gone.into_iter().map(|(file, rows)| (FileId(file), DeletedRows::At(Arc::new(rows))));
    Ok(Changed { deleted: deleted.collect(), rows, written })
}

async fn change_partition(
    mut stream: SendableRecordBatchStream,
    target: &RowTarget,
) -> Result<(Output, Output)> {
    let mut updates = PartitionWriter::new(&target.updated);
    let mut inserts = PartitionWriter::new(&target.inserted);
    while let Some(batch) = stream.try_next().await? {
        let places = Places::of(&batch)?;
        let fresh = target.note(&batch, &places)?;
        let n_columns = batch.num_columns() - EXTRA;
        if n_columns == 0 {
            continue;
        }
        let (updated, inserted) = places.written(&fresh);
        updates.push_some(&batch, &updated, n_columns + 1).await?;
        inserts.push_some(&batch, &inserted, n_columns).await?;
    }
    Ok((updates.end().await?, inserts.end().await?))
}
