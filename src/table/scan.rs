//! Chosen files as a plan: one `DataSourceExec` over Parquet for each object store.
//!
//! ```text
//! table schema = columns | row id, snapshot || file, first row id and snapshot || position
//!                         from the files    || constants of each file         || from the reader
//!                         └──────────────────────── identity only ───────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, new_null_array};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics, project_schema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetRowSelection,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{self, binary, case, col, is_not_null};
use datafusion::physical_expr_adapter::PhysicalExprAdapterFactory;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;
use object_store::path::Path;
use roaring::RoaringTreemap;

use super::mapped::{LabellingReaders, Labels};
use super::types::{Identity, ROW_ID_COLUMN, SNAPSHOT_COLUMN, table_schema};
use super::{adapter, deletes, inlined, stats};
use crate::catalog::model::{Column, DataFile, INLINED, InlinedRow, InlinedRows};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{self, Storage, Store};

/// A file that is to be read.
pub(super) struct ScanFile {
    pub(super) file: Arc<DataFile>,
    /// What the catalog knows of its columns, all of its rows counted; nothing of those that are not
    /// there.
    pub(super) statistics: Arc<Statistics>,
    /// The positions of the rows that are not there.
    pub(super) missing: Arc<RoaringTreemap>,
}

impl ScanFile {
    /// A file of whose columns nothing is known.
    pub(super) fn unknown(file: Arc<DataFile>, missing: Arc<RoaringTreemap>) -> Self {
        let statistics = Statistics {
            num_rows: Precision::Exact(file.record_count as usize),
            total_byte_size: Precision::Inexact(file.file_size_bytes as usize),
            column_statistics: vec![],
        };
        Self { file, statistics: Arc::new(statistics), missing }
    }
}

/// Which columns a scan gives, and where each comes from.
#[derive(Debug)]
pub(super) struct Layout {
    columns: Arc<[Column]>,
    schema: TableSchema,
    has_identity: bool,
}

impl Layout {
    /// The columns alone.
    pub(super) fn of_columns(columns: &[Column]) -> Result<Self> {
        let schema = TableSchema::from(table_schema(columns)?);
        Ok(Self { columns: columns.into(), schema, has_identity: false })
    }

    /// The columns, and after them the identity of each row.
    pub(super) fn with_identity(columns: &[Column]) -> Result<Self> {
        let columns: Vec<Column> = columns.iter().cloned().chain(Identity::columns()).collect();
        let constants: Vec<FieldRef> = Identity::constants().map(Arc::new).into();
        let schema = TableSchema::builder(table_schema(&columns)?)
            .with_table_partition_cols(constants)
            .with_virtual_columns(vec![Arc::new(Identity::position())])
            .build();
        Ok(Self { columns: columns.into(), schema, has_identity: true })
    }

    /// All that a scan can give.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.schema.table_schema()
    }

    /// What the files hold, as [`Self::columns`] and as their schema.
    pub(super) fn in_files(&self) -> &SchemaRef {
        self.schema.file_schema()
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Rows of the catalog with all that a scan can give.
    pub(super) fn batch(&self, rows: &InlinedRows) -> Result<RecordBatch> {
        let n_columns =
            self.columns.len() - if self.has_identity { Identity::columns().len() } else { 0 };
        let columns = self.columns.iter().take(n_columns);
        let mut arrays = columns
            .map(|column| inlined::array(rows, column))
            .collect::<Result<Vec<ArrayRef>>>()?;
        if self.has_identity {
            let n_rows = rows.rows.len();
            let of = |value: fn(&InlinedRow) -> Option<i64>| -> ArrayRef {
                Arc::new(rows.rows.iter().map(value).collect::<Int64Array>())
            };
            let unknown = || new_null_array(&DataType::Int64, n_rows);
            arrays.extend([of(|row| row.row_id), unknown()]);
            arrays.push(Arc::new(Int64Array::from_value(INLINED.0, n_rows)));
            arrays.extend([unknown(), unknown(), of(|row| Some(row.place))]);
        }
        // What NOT NULL promises was checked when the rows were written.
        RecordBatch::try_new(Arc::clone(self.schema()), arrays)
            .map_err(|e| Error::new(ErrorKind::Corrupt, format!("a row of the catalog: {e}")))
    }

    fn constants(&self, file: &DataFile) -> Vec<ScalarValue> {
        match self.has_identity {
            true => vec![
                ScalarValue::Int64(file.id.map(|id| id.0)),
                ScalarValue::Int64(file.row_id_start),
                ScalarValue::Int64(file.begin.map(|snapshot| snapshot.0)),
            ],
            false => vec![],
        }
    }
}

/// One scan per object store; nearly always one.
pub(super) fn scan(
    layout: &Layout,
    storage: &Storage,
    state: &dyn Session,
    files: &[ScanFile],
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut stores: BTreeMap<&str, (Store, Vec<PartitionedFile>)> = BTreeMap::new();
    for file in files {
        let path = file.file.path.as_str();
        let (_, files) = match stores.entry(storage::authority(path)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert((storage.store(path)?, vec![])),
        };
        files.push(partitioned_file(layout, file, storage::place(path)?));
    }
    let scan = |(store, files): (Store, Vec<PartitionedFile>)| {
        scan_store(layout, state, &store, files, projection, limit)
    };
    let mut scans = stores.into_values().map(scan).collect::<Result<Vec<_>>>()?;
    match scans.len() {
        0 => Ok(Arc::new(EmptyExec::new(project_schema(layout.schema(), projection)?))),
        1 => Ok(scans.remove(0)),
        _ => Ok(UnionExec::try_new(scans)?),
    }
}

/// A scan of files, and rows besides.
pub(super) fn with_rows(
    scan: Arc<dyn ExecutionPlan>,
    layout: &Layout,
    rows: Vec<RecordBatch>,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if rows.is_empty() {
        return Ok(scan);
    }
    let schema = Arc::clone(layout.schema());
    let rows = MemorySourceConfig::try_new_exec(&[rows], schema, projection.cloned())?;
    match scan.is::<EmptyExec>() {
        true => Ok(rows),
        false => Ok(UnionExec::try_new(vec![scan, rows])?),
    }
}

/// The first columns of a scan with identity, and the row id and the snapshot of each row: its own,
/// or what follows from its file.
pub(super) fn identified(
    scan: Arc<dyn ExecutionPlan>,
    n_columns: usize,
    row_ids: bool,
    snapshots: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = scan.schema();
    let mut exprs: Vec<(Arc<dyn PhysicalExpr>, String)> = schema.fields()[..n_columns]
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let column = expressions::Column::new(field.name(), index);
            (Arc::new(column) as Arc<dyn PhysicalExpr>, field.name().clone())
        })
        .collect();
    if row_ids {
        exprs.push((row_id(&schema)?, ROW_ID_COLUMN.to_owned()));
    }
    if snapshots {
        exprs.push((row_snapshot(&schema)?, SNAPSHOT_COLUMN.to_owned()));
    }
    Ok(Arc::new(ProjectionExec::try_new(exprs, scan)?))
}

/// The row id of a row of a scan with identity.
pub(super) fn row_id(schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let first = col(Identity::FIRST_ROW_ID, schema)?;
    let counted = binary(first, Operator::Plus, col(Identity::POSITION, schema)?, schema)?;
    own_or(col(Identity::ROW_ID, schema)?, counted)
}

/// The snapshot that a row of a scan with identity came with.
pub(super) fn row_snapshot(schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    own_or(col(Identity::SNAPSHOT, schema)?, col(Identity::FIRST_SNAPSHOT, schema)?)
}

/// What a file says of the row itself, or what follows from the file.
fn own_or(
    own: Arc<dyn PhysicalExpr>,
    other: Arc<dyn PhysicalExpr>,
) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(case(None, vec![(is_not_null(Arc::clone(&own))?, own)], Some(other))?)
}

fn scan_store(
    layout: &Layout,
    state: &dyn Session,
    store: &Store,
    files: Vec<PartitionedFile>,
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let known = files.iter().filter_map(|file| file.statistics.as_deref());
    let mut statistics = Statistics::try_merge_iter(known, layout.schema())?;
    let n_columns = layout.schema().fields().len();
    statistics.column_statistics.resize(n_columns, ColumnStatistics::new_unknown());
    let mut options = state.table_options().parquet.clone();
    if files.iter().any(|file| stats::may_hold_nan(file, layout.in_files(), projection)) {
        // Bounds in Parquet leave NaN out, and it is above every number to the engine.
        options.global.pruning = false;
        options.global.enable_page_index = false;
    }
    let groups = file_groups(files, state);
    let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
    let readers = CachedParquetFileReaderFactory::new(Arc::clone(&store.store), cache);
    let readers = LabellingReaders(readers);
    let source = ParquetSource::new(layout.schema.clone())
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(readers));
    let adapter: Arc<dyn PhysicalExprAdapterFactory> =
        Arc::new(adapter::FieldIdAdapterFactory::new(layout.columns()));
    let config = FileScanConfigBuilder::new(store.url.clone(), Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(statistics)
        .with_projection_indices(projection.cloned())?
        .with_limit(limit)
        .with_expr_adapter(Some(adapter))
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// The files in as many groups as there are partitions. Small tables stay in one group, read in the
/// order they were filled: starting more readers costs more than it gains.
fn file_groups(files: Vec<PartitionedFile>, state: &dyn Session) -> Vec<FileGroup> {
    let bytes: u64 = files.iter().map(|file| file.object_meta.size).sum();
    let is_small = bytes < state.config_options().optimizer.repartition_file_min_size as u64;
    let n_groups = if is_small { 1 } else { state.config().target_partitions() };
    FileGroup::new(files).split_files(n_groups)
}

fn partitioned_file(layout: &Layout, scan: &ScanFile, location: Path) -> PartitionedFile {
    let file = &scan.file;
    let meta = ObjectMeta {
        location,
        // Data files never change, so any fixed time makes cached footers valid for ever.
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: file.file_size_bytes,
        e_tag: None,
        version: None,
    };
    let mut statistics = Arc::clone(&scan.statistics);
    if !scan.missing.is_empty() {
        let all = Arc::unwrap_or_clone(statistics);
        statistics = Arc::new(stats::without(all, scan.missing.len()));
    }
    if layout.has_identity {
        // Those of the constants come after them.
        let (n_columns, unknown) = (layout.columns.len(), ColumnStatistics::new_unknown());
        Arc::make_mut(&mut statistics).column_statistics.resize(n_columns, unknown);
    }
    let mut partitioned = PartitionedFile::from(meta)
        .with_partition_values(layout.constants(file))
        .with_statistics(statistics);
    if !scan.missing.is_empty() {
        let selection = deletes::selection(&scan.missing, file.record_count);
        partitioned = partitioned.with_extension(ParquetRowSelection::new(selection));
    }
    if let Some(labels) = Labels::of(file) {
        partitioned = partitioned.with_extension(labels);
    }
    match file.footer_size {
        // The Thrift part, its length and the magic bytes: one read fetches the whole footer.
        Some(size) => partitioned.with_metadata_size_hint(size as usize + 8),
        None => partitioned,
    }
}
