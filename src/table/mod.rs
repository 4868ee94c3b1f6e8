//! Tables as DataFusion reads them.
//!
//! A [`LakeTable`] is one table as of one transaction. Its scan asks the catalog for the files and
//! their statistics, leaves out the files that cannot hold a matching row, and yields a plain
//! `DataSourceExec` over Parquet, so that every optimisation of DataFusion applies. No file is
//! opened to plan. Row counts are exact, so `COUNT(*)`, and `MIN` and `MAX` where the bounds are,
//! are answered without a scan.
//!
//! Tables are read-only here: writes go through [`crate::write`].

mod adapter;
pub(crate) mod convert;
mod evolve;
mod resolve;
mod stats;
pub(crate) mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::{DFSchema, Result as DataFusionResult, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr_adapter::PhysicalExprAdapterFactory;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;

pub(crate) use self::resolve::{READERS, Readers, SnapshotCatalog, ViewPlanner};
use crate::catalog::Transaction;
use crate::catalog::model::{Column, ColumnId, DataFile, Table};
use crate::error::{Error, Result};
use crate::storage::{Located, Storage};

/// Up to this many statistics are loaded for a plan; beyond, only those of filtered columns.
const MAX_STATS: usize = 100_000;

/// One table as of one transaction.
#[derive(Debug)]
pub(crate) struct LakeTable {
    table: Arc<Table>,
    schema: SchemaRef,
    transaction: Arc<Transaction>,
    storage: Arc<Storage>,
}

impl LakeTable {
    pub(crate) fn new(
        table: Table,
        transaction: Arc<Transaction>,
        storage: Arc<Storage>,
    ) -> Result<Self> {
        let schema = types::table_schema(&table.columns)?;
        Ok(Self { table: Arc::new(table), schema, transaction, storage })
    }

    /// The files that may hold a row that matches `filters`, with what is known of each.
    async fn files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Vec<(DataFile, Arc<Statistics>)>> {
        let columns = self.columns_with_stats(projection, filters).await?;
        let files = self.transaction.data_files(&self.table, &columns).await?;
        self.check_readable(&files).await?;
        let bounds: Vec<Arc<Statistics>> = files
            .iter()
            .map(|file| Arc::new(stats::bounds(file, &self.table.columns, &self.schema)))
            .collect();
        let keep = self.prune(state, filters, &bounds)?;
        let kept = files.into_iter().zip(bounds).zip(keep).filter(|(_, keep)| *keep);
        Ok(kept.map(|(file, _)| file).collect())
    }

    async fn columns_with_stats(
        &self,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Vec<ColumnId>> {
        let filtered: Vec<&str> =
            filters.iter().flat_map(Expr::column_refs).map(|column| column.name()).collect();
        let is_filtered = |column: &&Column| filtered.contains(&column.name.as_str());
        let is_projected = |index: usize| projection.is_none_or(|p| p.contains(&index));
        let columns = self.table.columns.iter().enumerate();
        let wanted: Vec<&Column> = columns
            .filter(|(index, column)| is_projected(*index) || is_filtered(column))
            .map(|(_, column)| column)
            .collect();
        let n_files = self.transaction.n_data_files(&self.table).await?;
        let affordable = n_files.saturating_mul(wanted.len()) <= MAX_STATS;
        let chosen = wanted.into_iter().filter(|column| affordable || is_filtered(column));
        Ok(chosen.map(|column| column.id).collect())
    }

    /// Refuses what another engine wrote and this reader would get wrong.
    async fn check_readable(&self, files: &[DataFile]) -> Result<()> {
        let traits = |of: fn(&DataFile) -> bool| files.iter().any(of);
        let what = if traits(|f| f.traits.has_deletes) {
            "deleted rows"
        } else if traits(|f| f.traits.is_partial) {
            "files that span several snapshots"
        } else if traits(|f| f.traits.has_name_mapping) {
            "files that were added with a name mapping"
        } else if self.transaction.has_inlined_data(&self.table).await? {
            "rows that DuckDB keeps inside the catalog"
        } else {
            return Ok(());
        };
        Err(Error::unsupported(format!("table \"{}\" has {what}", self.table.name)).with_help(
            "copy it with DuckDB into a new table: CREATE TABLE … AS SELECT, \
             with data_inlining_row_limit 0",
        ))
    }

    fn prune(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        bounds: &[Arc<Statistics>],
    ) -> Result<Vec<bool>> {
        let all = vec![true; bounds.len()];
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(all);
        };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let predicate = state.create_physical_expr(filter, &schema)?;
        // A predicate that pruning cannot express keeps every file; the filter still runs.
        let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema));
        let Ok(predicate) = builder.try_build(predicate) else {
            return Ok(all);
        };
        let statistics = PrunableStatistics::new(bounds.to_vec(), Arc::clone(&self.schema));
        Ok(predicate.prune(&statistics)?)
    }

    /// One scan per object store; nearly always one.
    fn scan_files(
        &self,
        state: &dyn Session,
        files: Vec<(DataFile, Arc<Statistics>)>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut stores: BTreeMap<String, (Located, Vec<PartitionedFile>)> = BTreeMap::new();
        for (file, statistics) in files {
            let located = self.storage.locate(&file.path)?;
            let statistics = stats::exact_only(Arc::unwrap_or_clone(statistics), &self.schema);
            let partitioned = partitioned_file(&file, &located, statistics);
            let store = stores.entry(located.url.to_string());
            store.or_insert_with(|| (located, vec![])).1.push(partitioned);
        }
        let scan = |(located, files): (Located, Vec<PartitionedFile>)| {
            self.scan_store(state, &located, files, projection, limit)
        };
        let mut scans = stores.into_values().map(scan).collect::<Result<Vec<_>>>()?;
        match scans.len() {
            0 => Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?))),
            1 => Ok(scans.remove(0)),
            _ => Ok(UnionExec::try_new(scans)?),
        }
    }

    fn scan_store(
        &self,
        state: &dyn Session,
        located: &Located,
        files: Vec<PartitionedFile>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let merged = files.iter().filter_map(|file| file.statistics.as_deref());
        let statistics = Statistics::try_merge_iter(merged, &self.schema)?;
        let mut options = state.table_options().parquet.clone();
        if files.iter().any(|file| stats::may_hold_nan(file, &self.schema, projection)) {
            // Bounds in Parquet leave NaN out, and it is above every number to the engine.
            options.global.pruning = false;
            options.global.enable_page_index = false;
        }
        let groups = file_groups(files, state);
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let readers = CachedParquetFileReaderFactory::new(Arc::clone(&located.store), cache);
        let source = ParquetSource::new(Arc::clone(&self.schema))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(readers));
        let adapter: Arc<dyn PhysicalExprAdapterFactory> =
            Arc::new(adapter::FieldIdAdapterFactory::new(&self.table.columns));
        let url: ObjectStoreUrl = located.url.clone();
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_expr_adapter(Some(adapter))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// The files in as many groups as there are partitions. Small tables stay in one group, read in the
/// order they were filled: starting more readers costs more than it gains.
fn file_groups(files: Vec<PartitionedFile>, state: &dyn Session) -> Vec<FileGroup> {
    let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let is_small = bytes < state.config_options().optimizer.repartition_file_min_size as u64;
    let n_groups = if is_small { 1 } else { state.config().target_partitions() };
    FileGroup::new(files).split_files(n_groups)
}

fn partitioned_file(file: &DataFile, located: &Located, statistics: Statistics) -> PartitionedFile {
    let meta = ObjectMeta {
        location: located.path.clone(),
        // Data files never change, so any fixed time makes cached footers valid for ever.
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: file.file_size_bytes,
        e_tag: None,
        version: None,
    };
    let partitioned = PartitionedFile::from(meta).with_statistics(Arc::new(statistics));
    match file.footer_size {
        // The Thrift part, its length and the magic bytes: one read fetches the whole footer.
        Some(size) => partitioned.with_metadata_size_hint(size as usize + 8),
        None => partitioned,
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
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
        let files = self.files(state, projection, filters).await?;
        Ok(self.scan_files(state, files, projection, limit)?)
    }
}
