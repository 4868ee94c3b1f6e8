//! Tables as DataFusion reads them.
//!
//! A [`LakeTable`] is one table as of one transaction. Its scan asks the catalog for the files and
//! for statistics of the columns that are filtered, leaves out the files that cannot hold a matching
//! row ([`prune`]), and yields a plain `DataSourceExec` over Parquet ([`scan`]), so that every
//! optimisation of DataFusion applies. What else is known is asked of the files that are left. No
//! data file is opened to plan; what is deleted of one becomes a row selection ([`deletes`]).
//! The columns of files that were added as they are are found by name ([`mapped`]). Few
//! rows may be in the catalog itself ([`inlined`]): they are one more input of a union. Row counts are
//! exact, so `COUNT(*)`, and `MIN` and `MAX` where the bounds are, are answered without a scan. A [`ChangeFeed`] is what came and went of a table between two snapshots, read likewise.
//!
//! Tables are read-only here: writes go through [`crate::write`].

mod adapter;
mod bucket;
mod chosen;
pub(crate) mod convert;
pub(crate) mod deletes;
mod evolve;
mod feed;
pub(crate) mod inlined;
mod mapped;
pub(crate) mod partition;
pub(crate) mod prune;
mod resolve;
mod scan;
mod stats;
pub(crate) mod types;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as DataFusionResult, Statistics};
use datafusion::datasource::TableType;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, TryStreamExt, stream};

use self::bucket::BucketStatistics;
pub(crate) use self::chosen::ChosenRows;
pub(crate) use self::feed::{ChangeFeed, FeedKind};
pub(crate) use self::mapped::hive_value;
pub(crate) use self::resolve::{READERS, Readers, SnapshotCatalog, ViewPlanner};
use self::scan::{Layout, ScanFile};
use self::stats::FileStatistics;
use crate::catalog::Transaction;
use crate::catalog::model::{
    Column, ColumnId, DataFile, InlinedRows, SnapshotId, Table, TableSummary,
};
use crate::error::{Error, Result};
use crate::storage::Storage;

/// Up to this many statistics are loaded of columns that no filter names.
const MAX_STATS: usize = 100_000;

/// Files whose deletes are read at the same time.
const CONCURRENT_DELETES: usize = 16;

/// One table as of one transaction.
#[derive(Debug)]
pub(crate) struct LakeTable {
    table: Arc<Table>,
    layout: Layout,
    transaction: Arc<Transaction>,
    storage: Arc<Storage>,
    /// Of the table as a whole, for estimates.
    summary: Option<Statistics>,
}

impl LakeTable {
    /// The table as queries see it.
    pub(crate) fn new(
        table: Table,
        transaction: Arc<Transaction>,
        storage: Arc<Storage>,
    ) -> Result<Self> {
        let layout = Layout::of_columns(&table.columns)?;
        Ok(Self { table: Arc::new(table), layout, transaction, storage, summary: None })
    }

    /// The table with the [identity](types::Identity) of each row after its columns.
    pub(crate) fn with_identity(
        table: Table,
        transaction: Arc<Transaction>,
        storage: Arc<Storage>,
    ) -> Result<Self> {
        let layout = Layout::with_identity(&table.columns)?;
        Ok(Self { table: Arc::new(table), layout, transaction, storage, summary: None })
    }

    /// The same, and the optimizer is told what the catalog knows of the table as a whole.
    pub(crate) fn summarized(mut self, summary: &TableSummary) -> Self {
        let columns = self.layout.columns();
        self.summary = Some(stats::estimates(summary, columns, self.layout.schema()));
        self
    }

    /// The files that may hold a row that matches `filters`, with what is known of each: of the
    /// columns that are filtered, and of others that are read where that is not too much.
    async fn files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Vec<ScanFile>> {
        let schema = self.layout.in_files();
        let filters: Vec<Expr> =
            filters.iter().filter(|filter| is_over(filter, schema)).cloned().collect();
        let all = self.transaction.data_files(&self.table).await?;
        let filtered = self.filtered(&filters);
        let mut known = FileStatistics::new(&all, Arc::clone(schema));
        self.learn(&mut known, &filtered, &all, false).await?;
        let buckets = BucketStatistics::new(&self.table, &all, &known)?;
        let keep = BooleanArray::from(prune::may_match(state, &filters, schema, &buckets)?);
        let (n_all, n_kept) = (all.len(), keep.true_count());
        let mut files = all;
        if n_kept < n_all {
            known = known.filter(&keep)?;
            let mut keep = keep.values().iter();
            files.retain(|_| keep.next().unwrap_or(true));
        }
        let is_read = |index: &usize| projection.is_none_or(|p| p.contains(index));
        let others = (0..self.table.columns.len()).filter(is_read);
        let others: Vec<usize> = others.filter(|index| !filtered.contains(index)).collect();
        if n_kept.saturating_mul(others.len()) <= MAX_STATS {
            self.learn(&mut known, &others, &files, n_kept < n_all / 2).await?;
        }
        let at = self.transaction.base().id;
        let described = |(index, file): (usize, Arc<DataFile>)| {
            let statistics = known.of_file(index);
            async move {
                let missing = deletes::missing(&self.storage, &file, at).await?;
                Ok(ScanFile { file, statistics: Arc::new(statistics?), missing })
            }
        };
        let files = files.into_iter().enumerate().map(described);
        stream::iter(files).buffered(CONCURRENT_DELETES).try_collect().await
    }

    /// Adds what the catalog knows of columns by their indexes, in files that are `few` of the
    /// table's, or most.
    async fn learn(
        &self,
        known: &mut FileStatistics,
        columns: &[usize],
        files: &[Arc<DataFile>],
        few: bool,
    ) -> Result<()> {
        let ids: Vec<ColumnId> = columns.iter().map(|i| self.table.columns[*i].id).collect();
        for stats in self.transaction.column_stats(&self.table, &ids, files, few).await? {
            let index = self.table.columns.iter().position(|column| column.id == stats.column());
            index.map_or(Ok(()), |index| known.add(index, files, &stats))?;
        }
        Ok(())
    }

    /// The indexes of the columns that `filters` name.
    fn filtered(&self, filters: &[Expr]) -> Vec<usize> {
        let names: HashSet<&str> =
            filters.iter().flat_map(Expr::column_refs).map(|column| column.name()).collect();
        let columns = self.table.columns.iter().enumerate();
        let named = columns.filter(|(_, column)| names.contains(column.name.as_str()));
        named.map(|(index, _)| index).collect()
    }

    /// How many rows there are.
    pub(crate) async fn count(&self) -> Result<u64> {
        let mut flushed = None;
        loop {
            let rows = self.count_once().await?;
            if self.is_unmoved(&mut flushed).await? {
                return Ok(rows);
            }
        }
    }

    async fn count_once(&self) -> Result<u64> {
        let files = self.transaction.data_files(&self.table).await?;
        let at = self.transaction.base().id;
        let inlined = self.transaction.inlined_rows(&self.table).await?;
        let mut rows = inlined.iter().map(|group| group.rows.len() as u64).sum();
        for file in files {
            let missing = deletes::missing(&self.storage, &file, at).await?;
            rows += file.record_count.saturating_sub(missing.len());
        }
        Ok(rows)
    }

    /// The files that may hold a row that matches `filters`, and the rows that the catalog keeps.
    async fn rows(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<(Vec<ScanFile>, Vec<RecordBatch>)> {
        let mut flushed = None;
        loop {
            let rows = (self.files(state, projection, filters).await?, self.inlined().await?);
            if self.is_unmoved(&mut flushed).await? {
                return Ok(rows);
            }
        }
    }

    /// Whether the last flush of the table is still `flushed`, so that what was read of files and of the
    /// catalog since then fits together; notes which it is. Most snapshots have none after them.
    async fn is_unmoved(&self, flushed: &mut Option<i64>) -> Result<bool> {
        let before = std::mem::replace(flushed, self.transaction.last_flush(&self.table).await?);
        Ok(before == *flushed)
    }

    /// The rows that the catalog keeps.
    async fn inlined(&self) -> Result<Vec<RecordBatch>> {
        let groups = self.transaction.inlined_rows(&self.table).await?;
        groups.iter().map(|group| self.layout.batch(group)).collect()
    }
}

/// Rows that are read to be written elsewhere, as they are.
pub(crate) struct Moved<'a> {
    /// In this form.
    pub(crate) columns: &'a [Column],
    /// Those of data files.
    pub(crate) files: Vec<DataFile>,
    /// Those that the catalog keeps.
    pub(crate) inlined: Vec<InlinedRows>,
    /// Whether each comes with its row id.
    pub(crate) row_ids: bool,
    /// Whether each comes with its snapshot.
    pub(crate) snapshots: bool,
}

/// Rows as of a snapshot, with the columns that [`Moved`] asks for. With one store and no rows of the
/// catalog the plan has one partition, which gives them in the order of the files.
pub(crate) async fn moved(
    rows: Moved<'_>,
    at: SnapshotId,
    state: &SessionState,
    storage: &Storage,
) -> Result<Arc<dyn ExecutionPlan>> {
    let layout = Layout::with_identity(rows.columns)?;
    let described = |file: DataFile| async {
        let missing = deletes::missing(storage, &file, at).await?;
        Ok::<_, Error>(ScanFile::unknown(Arc::new(file), missing))
    };
    let files = stream::iter(rows.files).map(described).buffered(CONCURRENT_DELETES);
    let files: Vec<ScanFile> = files.try_collect().await?;
    let mut state = state.clone();
    state.config_mut().options_mut().execution.target_partitions = 1;
    let scan = scan::scan(&layout, storage, &state, &files, None, None)?;
    let inlined = rows.inlined.iter().map(|group| layout.batch(group));
    let scan = scan::with_rows(scan, &layout, inlined.collect::<Result<_>>()?, None)?;
    scan::identified(scan, rows.columns.len(), rows.row_ids, rows.snapshots)
}

/// Whether a filter needs only columns that `schema` has.
fn is_over(filter: &Expr, schema: &Schema) -> bool {
    filter.column_refs().iter().all(|column| schema.field_with_name(column.name()).is_ok())
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.layout.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        self.summary.clone()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let (files, inlined) = self.rows(state, projection, filters).await?;
        let scan = scan::scan(&self.layout, &self.storage, state, &files, projection, limit)?;
        Ok(scan::with_rows(scan, &self.layout, inlined, projection)?)
    }
}
