//! The change feed of a table as a table: what came and what went between two snapshots.
//!
//! ```text
//! files that rows came with   ── rows that came ─┐
//! files that rows went from   ── rows that went ─┼─ union: snapshot_id, rowid, change_type, columns
//! rows that the catalog keeps ── both ───────────┘
//! ```
//!
//! Rows are read by the scans that tables are read by, with the positions that are not told left out
//! like deleted ones. So nothing is held in memory but bitmaps; columns that nobody asks for are not
//! read, filters reach the files, and those on `snapshot_id` narrow the range: a file that has nothing
//! to tell of it is not opened. Which positions those are is in [`history`].
//!
//! A row that went and another that came with the same snapshot and row id are two images of one
//! that was updated. Snapshots that only moved rows have no changes. Columns are those of the last
//! snapshot: earlier ones are found under their ids, and what came later is its default in rows that
//! are older.

mod history;
mod kept;
mod lookup;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{
    Column as ColumnName, Result as DataFusionResult, ScalarValue, Statistics, project_schema,
};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column as ColumnExpr, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringTreemap;

use self::history::{BySnapshot, FileChanges, Told, all_of, in_both};
use super::scan::{self, Layout, ScanFile};
use super::stats::FileStatistics;
use super::types::Identity;
use super::{CONCURRENT_DELETES, prune};
use crate::catalog::Transaction;
use crate::catalog::model::{ColumnId, DataFile, InlinedHistory, SnapshotId, Table, same_name};
use crate::error::{Error, Result};
use crate::storage::Storage;

/// Which changes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedKind {
    /// All, each with its type.
    Changes,
    /// Rows that came, new images of updated ones among them.
    Insertions,
    /// Rows that went, old images of updated ones among them.
    Deletions,
}

/// The columns before the table's, by their place.
const OWN: [&str; 3] = ["snapshot_id", "rowid", "change_type"];
const SNAPSHOT_ID: usize = 0;
const ROW_ID: usize = 1;
const CHANGE_TYPE: usize = 2;

impl FeedKind {
    fn n_own(self) -> usize {
        match self {
            Self::Changes => 3,
            Self::Insertions | Self::Deletions => 2,
        }
    }
}

/// The two halves of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Came,
    Gone,
}

impl Side {
    /// What a change is called on its own, and as an image of an update.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Came => ("insert", "update_postimage"),
            Self::Gone => ("delete", "update_preimage"),
        }
    }

    fn of(self, changes: &FileChanges) -> &BySnapshot {
        match self {
            Self::Came => &changes.came,
            Self::Gone => &changes.gone,
        }
    }
}

/// A file's changes, with what the catalog knows of its columns.
type KnownChanges = (FileChanges, Arc<Statistics>);

/// What happened to one table since a snapshot.
#[derive(Debug)]
pub(crate) struct ChangeFeed {
    kind: FeedKind,
    table: Table,
    layout: Layout,
    schema: SchemaRef,
    first: SnapshotId,
    /// Pinned to the last snapshot.
    transaction: Transaction,
    storage: Arc<Storage>,
}

impl ChangeFeed {
    /// The changes of `table`, which is as of the snapshot that `transaction` is pinned to, from
    /// `first` up to that. None are, if `first` is after it.
    pub(crate) fn new(
        kind: FeedKind,
        mut table: Table,
        first: SnapshotId,
        transaction: Transaction,
        storage: Arc<Storage>,
    ) -> Result<Self> {
        // What is not NULL now may have been in rows that are gone.
        table.columns.iter_mut().for_each(|column| column.nullable = true);
        let layout = Layout::with_identity(&table.columns)?;
        let schema = schema(kind, &layout.schema().fields()[..table.columns.len()]);
        Ok(Self { kind, table, layout, schema, first, transaction, storage })
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projected = project_schema(&self.schema, projection)?;
        let Some(range) = self.narrowed(state, filters)? else {
            return Ok(Arc::new(EmptyExec::new(projected)));
        };
        let pinned = self.transaction.at_version(*range.end()).await?;
        let told = Told {
            moves: pinned.moves(&self.table, *range.start()).await?,
            insertions: self.kind != FeedKind::Deletions,
            deletions: self.kind != FeedKind::Insertions,
            range,
        };
        let files = self.files(state, filters, &pinned, &told).await?;
        let kept = pinned.inlined_changes(&self.table, *told.range.start()).await?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let is_typed = self.kind == FeedKind::Changes && wanted.contains(&CHANGE_TYPE);
        let updates = match is_typed {
            true => self.updates(&files, &kept, &told).await?,
            false => BySnapshot::new(),
        };
        let updates = Arc::new(updates);
        let mut plans = Vec::new();
        for side in [Side::Came, Side::Gone] {
            plans.extend(self.read(side, &files, &updates, wanted, state, limit)?);
        }
        let mut batches = Vec::new();
        for side in [Side::Came, Side::Gone] {
            for history in &kept {
                let form = (self.kind, self.table.columns.as_slice(), &self.schema);
                batches.push(kept::batch(history, side, &told, &updates, form)?);
            }
        }
        batches.retain(|batch| batch.num_rows() > 0);
        if !batches.is_empty() {
            let (schema, projection) = (Arc::clone(&self.schema), projection.cloned());
            plans.push(MemorySourceConfig::try_new_exec(&[batches], schema, projection)?);
        }
        match plans.is_empty() {
            true => Ok(Arc::new(EmptyExec::new(projected))),
            false => Ok(UnionExec::try_new(plans)?),
        }
    }

    /// The snapshots that `filters` leave of the feed's.
    fn narrowed(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Option<RangeInclusive<SnapshotId>>> {
        let (first, last) = (self.first, self.transaction.base().id);
        if first > last {
            return Ok(None);
        }
        let name = OWN[SNAPSHOT_ID];
        let is_filtered = |filter: &Expr| filter.column_refs().iter().any(|c| c.name() == name);
        if !filters.iter().any(is_filtered) {
            return Ok(Some(first..=last));
        }
        let snapshots = Snapshots(Arc::new(Int64Array::from_iter_values(first.0..=last.0)));
        let may_match = prune::may_match(state, filters, &self.schema, &snapshots)?;
        let mut left = (first.0..=last.0).zip(may_match).filter(|(_, may_match)| *may_match);
        let Some((oldest, _)) = left.next() else {
            return Ok(None);
        };
        let newest = left.last().map_or(oldest, |(newest, _)| newest);
        Ok(Some(SnapshotId(oldest)..=SnapshotId(newest)))
    }

    /// What is told of the data files that may have a row that matches `filters`.
    async fn files(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        pinned: &Transaction,
        told: &Told,
    ) -> Result<Vec<KnownChanges>> {
        let fields = self.schema.fields().iter().skip(self.kind.n_own());
        let filtered: BTreeSet<&str> =
            filters.iter().flat_map(Expr::column_refs).map(ColumnName::name).collect();
        let columns = fields.zip(&self.table.columns);
        let stats_of: Vec<ColumnId> = columns
            .filter(|(field, _)| filtered.contains(field.name().as_str()))
            .map(|(_, column)| column.id)
            .collect();
        let first = *told.range.start();
        let histories = pinned.file_histories(&self.table, first).await?;
        let files: Vec<&DataFile> = histories.iter().map(|history| &history.file).collect();
        let mut known = FileStatistics::new(&files, Arc::clone(&self.schema));
        for stats in pinned.column_stats(&self.table, &stats_of, &files, true).await? {
            let mut columns = self.table.columns.iter();
            if let Some(index) = columns.position(|column| column.id == stats.column()) {
                known.add(self.kind.n_own() + index, &files, &stats)?;
            }
        }
        let keep = prune::may_match(state, filters, &self.schema, &known)?;
        let kept = histories.into_iter().zip(keep).enumerate().filter(|(_, (_, keep))| *keep);
        let changes = |(index, (history, _))| {
            let statistics = self.of_table(&known, index);
            async move {
                let changes = FileChanges::of(history, told, &self.storage).await?;
                Ok::<_, Error>((changes, Arc::new(statistics?)))
            }
        };
        stream::iter(kept).map(changes).buffered(CONCURRENT_DELETES).try_collect().await
    }

    /// What is known of a file's columns, without those of the feed's own.
    fn of_table(&self, known: &FileStatistics, file: usize) -> Result<Statistics> {
        let mut statistics = known.of_file(file)?;
        let n_own = self.kind.n_own().min(statistics.column_statistics.len());
        statistics.column_statistics.drain(..n_own);
        Ok(statistics)
    }

    /// The row ids that both went and came, by snapshot.
    async fn updates(
        &self,
        files: &[KnownChanges],
        kept: &[InlinedHistory],
        told: &Told,
    ) -> Result<BySnapshot> {
        let mut kept_gone = kept::row_ids(kept, Side::Gone, told);
        let gone = files.iter().flat_map(|(changes, _)| changes.gone.keys());
        let gone: BTreeSet<SnapshotId> = gone.chain(kept_gone.keys()).copied().collect();
        let mut came = kept::row_ids(kept, Side::Came, told);
        came.retain(|snapshot, _| gone.contains(snapshot));
        extend(&mut came, self.row_ids(files, Side::Came, &gone).await?);
        let both = came.keys().copied().collect();
        extend(&mut kept_gone, self.row_ids(files, Side::Gone, &both).await?);
        Ok(in_both(&came, &kept_gone))
    }

    /// The row ids of the rows of files that came, or went, with one of `snapshots`.
    async fn row_ids(
        &self,
        files: &[KnownChanges],
        side: Side,
        snapshots: &BTreeSet<SnapshotId>,
    ) -> Result<BySnapshot> {
        let of_file = |(changes, _): &KnownChanges| {
            let rows = side.of(changes).iter().filter(|(at, _)| snapshots.contains(at));
            rows.map(|(at, rows)| (*at, rows.clone())).collect::<BySnapshot>()
        };
        let files = files.iter().map(|file| (file.0.file.clone(), of_file(file)));
        let files: Vec<_> = files.filter(|(_, rows)| !rows.is_empty()).collect();
        let read = |(file, rows)| history::row_ids(file, rows, &self.storage);
        let mut found = stream::iter(files).map(read).buffered(CONCURRENT_DELETES);
        let mut ids = BySnapshot::new();
        while let Some(of_file) = found.try_next().await? {
            extend(&mut ids, of_file);
        }
        Ok(ids)
    }

    /// A scan of the rows of files that came, or went.
    fn read(
        &self,
        side: Side,
        files: &[KnownChanges],
        updates: &Arc<BySnapshot>,
        wanted: &[usize],
        state: &dyn Session,
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let chosen = files.iter().filter(|(changes, _)| !side.of(changes).is_empty());
        let scan_file = |(changes, statistics): &KnownChanges| {
            let told =
                side.of(changes).values().fold(RoaringTreemap::new(), |all, rows| all | rows);
            let missing = Arc::new(all_of(&changes.file) - told);
            let (file, statistics) = (Arc::new(changes.file.clone()), Arc::clone(statistics));
            ScanFile { file, statistics, missing }
        };
        let scan_files: Vec<ScanFile> = chosen.map(scan_file).collect();
        if scan_files.is_empty() {
            return Ok(None);
        }
        let (n_own, n_columns) = (self.kind.n_own(), self.table.columns.len());
        let mut indices: Vec<usize> =
            wanted.iter().filter(|index| **index >= n_own).map(|index| index - n_own).collect();
        let identity: BTreeSet<&str> = wanted
            .iter()
            .filter(|index| **index < n_own)
            .flat_map(|index| sources(*index, side, updates))
            .copied()
            .collect();
        let fields = self.layout.schema().fields().iter().enumerate().skip(n_columns);
        indices.extend(
            fields.filter(|(_, f)| identity.contains(f.name().as_str())).map(|(index, _)| index),
        );
        let scan =
            scan::scan(&self.layout, &self.storage, state, &scan_files, Some(&indices), limit)?;
        if wanted.is_empty() {
            return Ok(Some(scan));
        }
        let schema = scan.schema();
        let mut exprs = Vec::with_capacity(wanted.len());
        for index in wanted {
            let expr = match index.checked_sub(n_own) {
                Some(column) => {
                    let at = indices.iter().position(|index| *index == column);
                    let at = at.ok_or_else(|| Error::internal("a column that is not read"))?;
                    Arc::new(ColumnExpr::new(schema.field(at).name(), at))
                }
                None => self.own(*index, side, files, updates, &schema, state)?,
            };
            exprs.push((expr, self.schema.field(*index).name().clone()));
        }
        Ok(Some(Arc::new(ProjectionExec::try_new(exprs, scan)?)))
    }

    /// One of the feed's own columns, of what a scan gives.
    fn own(
        &self,
        index: usize,
        side: Side,
        files: &[KnownChanges],
        updates: &Arc<BySnapshot>,
        schema: &Schema,
        state: &dyn Session,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match (index, side) {
            (ROW_ID, _) => scan::row_id(schema),
            (SNAPSHOT_ID, Side::Came) => scan::row_snapshot(schema),
            (SNAPSHOT_ID, Side::Gone) => {
                let of_file =
                    |(changes, _): &KnownChanges| Some((changes.file.id?.0, changes.gone.clone()));
                let gone = files.iter().filter_map(of_file).collect();
                let column = |name| col(name, schema);
                let (file, position) = (column(Identity::FILE)?, column(Identity::POSITION)?);
                lookup::deleted_at(gone, file, position, schema, state)
            }
            _ if updates.is_empty() => {
                Ok(lit(ScalarValue::Utf8View(Some(side.names().0.to_owned()))))
            }
            _ => {
                let snapshot = self.own(SNAPSHOT_ID, side, files, updates, schema, state)?;
                let row_id = scan::row_id(schema)?;
                lookup::change_type(side.names(), updates, snapshot, row_id, schema, state)
            }
        }
    }
}

/// What of a row's identity one of the feed's own columns is made of.
fn sources(index: usize, side: Side, updates: &BySnapshot) -> &'static [&'static str] {
    match (index, side) {
        (ROW_ID, _) => &[Identity::ROW_ID, Identity::FIRST_ROW_ID, Identity::POSITION],
        (SNAPSHOT_ID, Side::Came) => &[Identity::SNAPSHOT, Identity::FIRST_SNAPSHOT],
        (SNAPSHOT_ID, Side::Gone) => &[Identity::FILE, Identity::POSITION],
        _ if updates.is_empty() => &[],
        _ => &Identity::ALL,
    }
}

/// The feed's own columns and the table's, which give way where names are the same.
fn schema(kind: FeedKind, of_table: &[FieldRef]) -> SchemaRef {
    let own = OWN.iter().take(kind.n_own()).enumerate().map(|(index, name)| {
        let is_text = index == CHANGE_TYPE;
        let data_type = if is_text { DataType::Utf8View } else { DataType::Int64 };
        Arc::new(Field::new(*name, data_type, true))
    });
    let mut fields: Vec<FieldRef> = own.collect();
    let is_taken = |fields: &[FieldRef], name: &str| {
        let mut others = fields.iter().chain(of_table);
        others.any(|other| same_name(other.name(), name))
    };
    for field in of_table {
        let is_own = fields[..kind.n_own()].iter().any(|own| same_name(own.name(), field.name()));
        if !is_own {
            fields.push(Arc::clone(field));
            continue;
        }
        let others = (1..).map(|number: u32| format!("{}_{number}", field.name()));
        let mut free = others.filter(|name| !is_taken(&fields, name));
        let name = free.next().unwrap_or_else(|| field.name().clone());
        fields.push(Arc::new(field.as_ref().clone().with_name(name)));
    }
    Arc::new(Schema::new(fields))
}

fn extend(all: &mut BySnapshot, more: BySnapshot) {
    for (snapshot, rows) in more {
        *all.entry(snapshot).or_default() |= rows;
    }
}

/// Each snapshot of a range, as what a filter on them can be tested with.
struct Snapshots(ArrayRef);

impl PruningStatistics for Snapshots {
    fn min_values(&self, column: &ColumnName) -> Option<ArrayRef> {
        (column.name == OWN[SNAPSHOT_ID]).then(|| Arc::clone(&self.0))
    }

    fn max_values(&self, column: &ColumnName) -> Option<ArrayRef> {
        self.min_values(column)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &ColumnName) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(
        &self,
        _: &ColumnName,
        _: &std::collections::HashSet<ScalarValue>,
    ) -> Option<BooleanArray> {
        None
    }
}

#[async_trait]
impl TableProvider for ChangeFeed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
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
        Ok(self.plan(state, projection, filters, limit).await?)
    }
}
