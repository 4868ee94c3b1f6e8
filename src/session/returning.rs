//! RETURNING: what a statement gives back of the rows that it changes.
//!
//! The rows are read from where the statement wrote them, or from where it deletes them, so they are
//! as they are stored. All of that happens before anything is committed: an expression that fails
//! fails the statement. What comes out is kept until it is read, in memory or in a temporary file.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::SpillManager;
use futures::TryStreamExt;
use sqlparser::ast::{Ident, SelectItem, SetExpr, TableWithJoins};

use super::dml::reader;
use super::{Outcome, Planned, Rows, Session};
use crate::catalog::Transaction;
use crate::catalog::model::{DeletedRows, FileId, Table};
use crate::error::{Error, Result};
use crate::sql::subquery;
use crate::table::ChosenRows;
use crate::write::Written;

/// The name of the rows among a statement's readers.
const RETURNED: &str = "\0returned";

/// Rows that take more are kept in a file.
const KEPT_BYTES: usize = 8 << 20;

impl Session {
    /// What a statement wrote for a table.
    pub(super) fn written_rows(&self, table: &Table, written: &Written) -> Result<ChosenRows> {
        let storage = Arc::clone(self.warehouse.storage());
        ChosenRows::new(table, &written.files, &written.inlined, storage)
    }

    /// What a statement deletes from a table; `transaction` still shows it.
    pub(super) async fn rows_at(
        &self,
        table: &Table,
        rows: &BTreeMap<FileId, DeletedRows>,
        transaction: &Transaction,
    ) -> Result<ChosenRows> {
        let storage = Arc::clone(self.warehouse.storage());
        ChosenRows::deleted(table, rows, transaction, storage).await
    }

    /// What `items` are for each of `rows`, which they call `alias`. Subqueries read `transaction`.
    pub(super) async fn returned(
        &self,
        items: &[SelectItem],
        alias: &Ident,
        rows: ChosenRows,
        transaction: &Transaction,
    ) -> Result<Outcome> {
        let mut query = subquery("SELECT 1", None)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = items.to_vec();
            let relation = reader(RETURNED, alias.clone());
            select.from = vec![TableWithJoins { relation, joins: vec![] }];
        }
        let planner = self.planner_on(transaction).reading(RETURNED, Arc::new(rows));
        let Planned { state, plan } = planner.query(&query).await?;
        let is_of_many = |node: &LogicalPlan| {
            Ok(matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)))
        };
        if plan.exists(is_of_many)? {
            return Err(Error::invalid("RETURNING takes expressions over one row each")
                .with_help("aggregates and window functions belong in a query of their own"));
        }
        let plan = state.create_physical_plan(&plan).await?;
        let stream = execute_stream(plan, state.task_ctx())?;
        let stream = finished(stream, state.runtime_env()).await?;
        Ok(Outcome::Rows(Rows::new(stream, None)))
    }
}

/// A stream that has been read to its end.
async fn finished(
    mut rows: SendableRecordBatchStream,
    env: &Arc<RuntimeEnv>,
) -> Result<SendableRecordBatchStream> {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = rows.try_next().await? {
        bytes += batch.get_array_memory_size();
        kept.push(batch);
        if bytes > KEPT_BYTES {
            return spilled(kept, rows, env).await;
        }
    }
    let schema = rows.schema();
    Ok(Box::pin(MemoryStream::try_new(kept, schema, None)?))
}

/// The same in a temporary file, which is gone when the stream is.
async fn spilled(
    first: Vec<RecordBatch>,
    mut rows: SendableRecordBatchStream,
    env: &Arc<RuntimeEnv>,
) -> Result<SendableRecordBatchStream> {
    let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
    let spill = SpillManager::new(Arc::clone(env), metrics, rows.schema());
    let mut file = spill.create_in_progress_file("RETURNING")?;
    for batch in first {
        file.append_batch(&batch)?;
    }
    while let Some(batch) = rows.try_next().await? {
        file.append_batch(&batch)?;
    }
    let file = file.finish()?.ok_or_else(|| Error::internal("rows that were not spilled"))?;
    Ok(spill.read_spill_as_stream(file, None)?)
}
