//! A plan that is shared, as a table: filters and projections get to its scans as to those of any
//! other.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, TableReference, internal_err};
use datafusion::datasource::{TableType, provider_as_source, source_as_provider};
use datafusion::logical_expr::{
    Expr, LogicalPlan, TableProviderFilterPushDown, TableScan, TableScanBuilder, TableSource,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use tokio::sync::OnceCell;

use super::super::estimate::{ColumnEstimate, Estimate, estimate};
use super::super::selectivity::keep;
use crate::exec::{SharedExec, SharedInput};

/// How the tables are called, with a number.
const NAME: &str = "__shared_";
/// So many rows that a filter leaves some.
const MANY: f64 = 1e15;

/// A plan that is shared; cheap to clone.
#[derive(Debug, Clone)]
pub(in super::super) struct SharedTable {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    number: usize,
    schema: SchemaRef,
    plan: Arc<LogicalPlan>,
    /// Where the plan has the columns of the table; `None` until it is settled which it has.
    columns: Option<Vec<Option<usize>>>,
    estimate: OnceLock<Estimate>,
    /// Made for the first scan.
    input: OnceCell<Arc<SharedInput>>,
}

impl SharedTable {
    /// A table of what a plan gives.
    pub(super) fn new(number: usize, plan: LogicalPlan) -> Self {
        let schema = Arc::new(distinctly_named(plan.schema().as_arrow()));
        Self::of_inner(number, schema, plan, None, OnceLock::new())
    }

    /// The same table of an equal plan.
    pub(super) fn of_plan(&self, plan: LogicalPlan) -> Self {
        let schema = Arc::clone(&self.inner.schema);
        Self::of_inner(self.number(), schema, plan, None, OnceLock::new())
    }

    /// A settled table of a plan that is optimized.
    pub(super) fn as_is(number: usize, plan: LogicalPlan) -> Self {
        let schema = Arc::new(distinctly_named(plan.schema().as_arrow()));
        let columns = (0..schema.fields().len()).map(Some).collect();
        Self::of_inner(number, schema, plan, Some(columns), OnceLock::new())
    }

    /// The same table, computed by a plan that gives only these columns, and only the rows that some
    /// scan asks for.
    pub(super) fn settled(
        &self,
        plan: LogicalPlan,
        columns: &[usize],
        filters: &[Expr],
    ) -> Result<Self> {
        let position = |index| columns.iter().position(|column| *column == index);
        let positions = (0..self.n_columns()).map(position).collect::<Vec<_>>();
        let estimate = self.unfiltered(&plan, &positions, filters)?;
        let schema = Arc::clone(&self.inner.schema);
        Ok(Self::of_inner(self.number(), schema, plan, Some(positions), estimate.into()))
    }

    fn of_inner(
        number: usize,
        schema: SchemaRef,
        plan: LogicalPlan,
        columns: Option<Vec<Option<usize>>>,
        estimate: OnceLock<Estimate>,
    ) -> Self {
        let (plan, input) = (Arc::new(plan), OnceCell::new());
        Self { inner: Arc::new(Inner { number, schema, plan, columns, estimate, input }) }
    }

    /// The table of a scan, if it is such a one.
    pub(in super::super) fn of(scan: &TableScan) -> Option<Self> {
        let provider = source_as_provider(&scan.source).ok()?;
        provider.downcast_ref::<Self>().cloned()
    }

    pub(super) fn number(&self) -> usize {
        self.inner.number
    }

    /// What its clones have in common.
    pub(super) fn identity(&self) -> usize {
        Arc::as_ptr(&self.inner) as usize
    }

    /// Whether it is certain that it is shared, and by which plan.
    pub(in super::super) fn is_settled(&self) -> bool {
        self.inner.columns.is_some()
    }

    pub(in super::super) fn plan(&self) -> &Arc<LogicalPlan> {
        &self.inner.plan
    }

    pub(super) fn name(&self) -> TableReference {
        TableReference::bare(format!("{NAME}{}", self.number()))
    }

    pub(super) fn n_columns(&self) -> usize {
        self.inner.schema.fields().len()
    }

    pub(super) fn column_name(&self, index: usize) -> &str {
        self.inner.schema.field(index).name()
    }

    /// Which column of the table an expression is.
    pub(super) fn position(&self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Column(column) => self.inner.schema.index_of(&column.name).ok(),
            _ => None,
        }
    }

    pub(super) fn source(&self) -> Arc<dyn TableSource> {
        provider_as_source(Arc::new(self.clone()))
    }

    /// A scan of all of it.
    pub(super) fn scan_all(&self) -> Result<LogicalPlan> {
        let scan = TableScanBuilder::new(self.name(), self.source()).build()?;
        Ok(LogicalPlan::TableScan(scan))
    }

    /// What is thought of its rows. Each scan filters them once more, so they are counted as if they
    /// had not been filtered before.
    pub(in super::super) fn estimate(&self) -> &Estimate {
        self.inner.estimate.get_or_init(|| estimate(&self.inner.plan))
    }

    fn unfiltered(
        &self,
        plan: &LogicalPlan,
        positions: &[Option<usize>],
        filters: &[Expr],
    ) -> Result<Estimate> {
        let known = estimate(plan);
        let column = |position: &Option<usize>| {
            let column = position.and_then(|position| known.columns.get(position));
            column.cloned().unwrap_or_else(|| ColumnEstimate::unknown(known.rows))
        };
        let all = Estimate { columns: positions.iter().map(column).collect(), ..known };
        let schema = DFSchema::try_from_qualified_schema(self.name(), &self.inner.schema)?;
        let mut kept = Estimate { rows: MANY, ..all.clone() };
        filters.iter().for_each(|filter| keep(filter, &schema, &mut kept));
        let rows = all.rows * MANY / kept.rows;
        Ok(Estimate { rows, unfiltered: rows, ..all })
    }

    /// The plan for all readers, made for the first.
    async fn input(&self, state: &dyn Session) -> Result<&Arc<SharedInput>> {
        let planned = self.inner.input.get_or_try_init(|| async {
            let plan = match self.is_settled() {
                true => LogicalPlan::clone(&self.inner.plan),
                false => state.optimize(&self.inner.plan)?,
            };
            let planner = DefaultPhysicalPlanner::default();
            let plan = planner.create_physical_plan(&plan, state).await?;
            Ok(Arc::new(SharedInput::new(self.number(), plan)))
        });
        planned.await
    }
}

#[async_trait]
impl TableProvider for SharedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.inner.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    /// A scan gives all rows; that it is told of filters tells [`super::SettleShared`] of them.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = Box::pin(self.input(state)).await?;
        let shared: Arc<dyn ExecutionPlan> = Arc::new(SharedExec::new(input));
        let all: Vec<usize>;
        let wanted = match projection {
            Some(projection) => projection,
            None => {
                all = (0..self.n_columns()).collect();
                &all
            }
        };
        let given = shared.schema();
        let mut columns: Vec<(Arc<dyn PhysicalExpr>, String)> = vec![];
        for index in wanted {
            let position = self.inner.columns.as_ref().map_or(Some(*index), |all| all[*index]);
            let Some(position) = position else {
                return internal_err!("a shared plan lacks column {index}");
            };
            let column = Column::new(given.field(position).name(), position);
            columns.push((Arc::new(column), self.column_name(*index).to_owned()));
        }
        let is_all = columns.len() == given.fields().len();
        let is_same = is_all
            && wanted.iter().enumerate().all(|(place, index)| {
                let position = self.inner.columns.as_ref().map_or(Some(*index), |all| all[*index]);
                position == Some(place) && given.field(place).name() == self.column_name(*index)
            });
        match is_same {
            true => Ok(shared),
            false => Ok(Arc::new(ProjectionExec::try_new(columns, shared)?)),
        }
    }
}

/// The fields of a schema, a number after the names that others have, too.
fn distinctly_named(schema: &Schema) -> Schema {
    let mut names: HashSet<&str> = HashSet::new();
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(index, field)| match names.insert(field.name()) {
        true => Arc::clone(field),
        false => Arc::new(field.as_ref().clone().with_name(format!("{}:{index}", field.name()))),
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}
