//! The order in which rows come to their writers.
//!
//! Rows of a partitioned table are brought together by partition and sorted by it, so that a writer
//! has one file open however many partitions there are; the engine's sort spills what memory does not
//! hold. Sort keys of the table order the rows within, or the whole statement's rows if the table is
//! not partitioned: then files follow each other without overlap.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{SortOptions, partition};
use arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};

use super::check::plan_expr;
use super::options::WriteOptions;
use crate::catalog::model::{FilePartition, PartitionId, Table};
use crate::error::Result;
use crate::table::partition::{self, PartitionValue};
use crate::table::types::table_schema;

/// How a table's rows are ordered for writing.
#[derive(Debug)]
pub(super) struct Arrangement {
    partitions: Option<Partitions>,
    sort: Vec<PhysicalSortExpr>,
}

/// How a table's rows are divided into files.
#[derive(Debug)]
pub(super) struct Partitions {
    id: PartitionId,
    /// With the names of their directories.
    keys: Vec<(Arc<PartitionValue>, String)>,
    /// Whether there are such directories.
    hive: bool,
}

impl Arrangement {
    pub(super) fn plan(
        state: &SessionState,
        table: &Table,
        options: &WriteOptions,
    ) -> Result<Self> {
        let partitions = table.partition.as_ref().map(|spec| -> Result<Partitions> {
            let keys = partition::values(table, spec)?;
            Ok(Partitions { id: spec.id, keys, hive: options.hive_file_pattern })
        });
        let sort = if options.sort_on_insert { sort_exprs(state, table)? } else { vec![] };
        Ok(Self { partitions: partitions.transpose()?, sort })
    }

    pub(super) fn partitions(&self) -> Option<&Partitions> {
        self.partitions.as_ref()
    }

    /// The plan with its rows in order; `None` where their order does not matter. The plan's first
    /// columns are the table's.
    pub(super) fn apply(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        threads: usize,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let keys = self.partitions.iter().flat_map(|partitions| &partitions.keys);
        let keys: Vec<Arc<dyn PhysicalExpr>> = keys.map(|(key, _)| Arc::clone(key) as _).collect();
        let ascending = SortOptions { descending: false, nulls_first: true };
        let by_key = keys.iter().map(|key| PhysicalSortExpr::new(Arc::clone(key), ascending));
        let Some(order) = LexOrdering::new(by_key.chain(self.sort.iter().cloned())) else {
            return Ok(None);
        };
        if keys.is_empty() {
            let sorted = SortExec::new(order.clone(), Arc::clone(plan));
            let sorted = Arc::new(sorted.with_preserve_partitioning(true));
            return Ok(Some(Arc::new(SortPreservingMergeExec::new(order, sorted))));
        }
        let is_one = plan.output_partitioning().partition_count() == 1 && threads == 1;
        let gathered: Arc<dyn ExecutionPlan> = match is_one {
            true => Arc::clone(plan),
            false => {
                let by_hash = Partitioning::Hash(keys, threads);
                Arc::new(RepartitionExec::try_new(Arc::clone(plan), by_hash)?)
            }
        };
        Ok(Some(Arc::new(SortExec::new(order, gathered).with_preserve_partitioning(true))))
    }
}

impl Partitions {
    /// The rows of a sorted batch, partition after partition.
    pub(super) fn runs(&self, batch: &RecordBatch) -> Result<Vec<(FilePartition, Range<usize>)>> {
        let value = |(key, _): &(Arc<PartitionValue>, String)| -> Result<ArrayRef> {
            Ok(key.evaluate(batch)?.into_array(batch.num_rows())?)
        };
        let arrays = self.keys.iter().map(value).collect::<Result<Vec<_>>>()?;
        let ranges = partition(&arrays)?.ranges();
        let run = |range: Range<usize>| {
            let keys = self.keys.iter().zip(&arrays);
            let values = keys.map(|((key, _), array)| key.text(array, range.start));
            let values = values.collect::<Result<_>>()?;
            Ok((FilePartition { id: self.id, values }, range))
        };
        ranges.into_iter().map(run).collect()
    }

    /// The rows of any batch by partition, in the order in which each is met first.
    pub(super) fn divided(&self, batch: &RecordBatch) -> Result<Vec<(FilePartition, Vec<usize>)>> {
        let mut parts: Vec<(FilePartition, Vec<usize>)> = Vec::new();
        for (partition, rows) in self.runs(batch)? {
            match parts.iter_mut().find(|(other, _)| *other == partition) {
                Some((_, indices)) => indices.extend(rows),
                None => parts.push((partition, rows.collect())),
            }
        }
        Ok(parts)
    }

    /// The directory of a partition below its table's.
    pub(super) fn directory(&self, partition: &FilePartition) -> String {
        let keys = self.keys.iter().zip(&partition.values).filter(|_| self.hive);
        keys.map(|((_, name), value)| partition::directory(name, value.as_deref())).collect()
    }
}

/// The table's sort keys up to the first that only another engine understands: order is a help to
/// readers, and rows are as right without it.
fn sort_exprs(state: &SessionState, table: &Table) -> Result<Vec<PhysicalSortExpr>> {
    let schema = DFSchema::try_from(table_schema(&table.columns)?)?;
    let mut exprs = Vec::with_capacity(table.sort.len());
    for key in &table.sort {
        let planned = plan_expr(state, &key.expression, &schema)
            .and_then(|expr| Ok(state.create_physical_expr(expr, &schema)?));
        let Ok(expr) = planned else { break };
        let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        exprs.push(PhysicalSortExpr::new(expr, options));
    }
    Ok(exprs)
}
