//! Files as one table: a fixed list, found and described before planning.
//!
//! DataFusion's listing table would list again for every scan and takes `*` across directories; here
//! the files a statement saw first are the ones it reads. Columns that are not in the files (hive
//! partitions, `filename`) are constants of each file.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result as DataFusionResult, Statistics, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore};

use crate::table::prune;

/// What a field takes in a file whose rows are not counted.
const BYTES_OF_FIELD: usize = 8;

/// The files of one reader.
#[derive(Debug)]
pub(crate) struct FileTable {
    url: ObjectStoreUrl,
    format: Arc<dyn FileFormat>,
    schema: TableSchema,
    files: Vec<PartitionedFile>,
    /// Of all files together.
    statistics: Statistics,
}

impl FileTable {
    /// `files` with the values of `constants` in each; formats that keep statistics are asked for
    /// them.
    pub(crate) async fn new(
        state: &dyn Session,
        (url, store): (ObjectStoreUrl, &Arc<dyn ObjectStore>),
        format: Arc<dyn FileFormat>,
        schema: SchemaRef,
        constants: Vec<FieldRef>,
        files: Vec<PartitionedFile>,
    ) -> DataFusionResult<Self> {
        let described = |mut file: PartitionedFile| {
            let (format, schema) = (Arc::clone(&format), Arc::clone(&schema));
            async move {
                let meta: &ObjectMeta = &file.object_meta;
                let statistics = format.infer_stats(state, store, schema, meta).await?;
                file = file.with_statistics(Arc::new(statistics));
                Ok::<_, DataFusionError>(file)
            }
        };
        let concurrency = state.config_options().execution.meta_fetch_concurrency.get();
        let files = stream::iter(files).map(described).buffered(concurrency);
        let files: Vec<PartitionedFile> = files.try_collect().await?;
        let schema = TableSchema::builder(schema).with_table_partition_cols(constants).build();
        let mut statistics = merged(&files, schema.table_schema())?;
        if let (Precision::Absent, Some(bytes)) =
            (statistics.num_rows, statistics.total_byte_size.get_value())
        {
            let n_fields = schema.table_schema().fields().len().max(1);
            statistics.num_rows = Precision::Inexact(bytes / (n_fields * BYTES_OF_FIELD));
        }
        Ok(Self { url, format, schema, files, statistics })
    }
}

/// What is known of all files together.
fn merged(files: &[PartitionedFile], schema: &SchemaRef) -> DataFusionResult<Statistics> {
    let known = files.iter().filter_map(|file| file.statistics.as_deref());
    let mut statistics = Statistics::try_merge_iter(known, schema)?;
    if statistics.total_byte_size == Precision::Absent {
        let bytes = files.iter().map(|file| file.object_meta.size as usize).sum();
        statistics.total_byte_size = Precision::Inexact(bytes);
    }
    Ok(statistics)
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics.clone())
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
        let schema = self.schema.table_schema();
        let known = self.files.iter().map(|file| {
            let unknown = || Arc::new(Statistics::new_unknown(schema));
            file.statistics.clone().unwrap_or_else(unknown)
        });
        let known = PrunableStatistics::new(known.collect(), Arc::clone(schema));
        let keep = prune::may_match(state, filters, schema, &known)?;
        let kept = self.files.iter().zip(keep).filter(|(_, keep)| *keep);
        let files: Vec<PartitionedFile> = kept.map(|(file, _)| file.clone()).collect();
        let statistics = merged(&files, schema)?;
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let source = self.format.file_source(self.schema.clone());
        let config = FileScanConfigBuilder::new(self.url.clone(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        if config.file_groups.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(schema, projection)?)));
        }
        self.format.create_physical_plan(state, config).await
    }
}
