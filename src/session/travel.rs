//! Reading the past: `t AT (VERSION => 3)`, `t AT (TIMESTAMP => '…')`.
//!
//! A table, or a view, as of a snapshot is planned like any other, on a transaction that is pinned
//! to that snapshot and has no changes of its own.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::collect;
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Query, SelectItem, SetExpr,
    TableVersion,
};

use super::plan::no_such;
use super::{Planned, Planner};
use crate::catalog::Transaction;
use crate::catalog::model::{Relation, RelationKind, Schema, SnapshotId};
use crate::error::{Error, Result};
use crate::sql::name::{RelationRef, fold};
use crate::sql::subquery;
use crate::table::LakeTable;

/// Which snapshot is meant.
enum Version<'a> {
    Id(&'a Expr),
    Time(&'a Expr),
}

impl<'a> Version<'a> {
    fn of(version: &'a TableVersion) -> Result<Self> {
        match version {
            TableVersion::VersionAsOf(id) => Ok(Self::Id(id)),
            TableVersion::TimestampAsOf(time) | TableVersion::ForSystemTimeAsOf(time) => {
                Ok(Self::Time(time))
            }
            TableVersion::Function(function) => Self::of_function(function).ok_or_else(|| {
                Error::unsupported(format!("{function} is not supported")).with_help(
                    "write t AT (VERSION => n) or t AT (TIMESTAMP => '2024-01-01 00:00:00')",
                )
            }),
            TableVersion::Changes { .. } => Err(Error::unsupported("CHANGES is not supported")
                .with_help("use table_changes('t', first, last)")),
        }
    }

    /// `AT (name => value)`.
    fn of_function(function: &'a Expr) -> Option<Self> {
        let Expr::Function(function) = function else {
            return None;
        };
        let FunctionArguments::List(list) = &function.args else {
            return None;
        };
        let [argument] = list.args.as_slice() else {
            return None;
        };
        let (name, value) = match argument {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (fold(name), value)
            }
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => (fold(name), value),
            _ => return None,
        };
        let is_at = function.name.to_string().eq_ignore_ascii_case("at");
        match name.as_str() {
            "version" if is_at => Some(Self::Id(value)),
            "timestamp" if is_at => Some(Self::Time(value)),
            _ => None,
        }
    }
}

impl Planner {
    /// A table or view as of an earlier snapshot.
    pub(super) fn earlier<'a>(
        &'a self,
        name: &'a ObjectName,
        version: &'a TableVersion,
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>>> {
        async move {
            let pinned = self.on(self.pinned(&Version::of(version)?).await?);
            pinned.relation(&RelationRef::from_ast(name)?).await
        }
        .boxed()
    }

    async fn relation(self, name: &RelationRef) -> Result<Arc<dyn TableProvider>> {
        let transaction = Arc::clone(self.transaction());
        match self.found(name).await? {
            (_, Relation::Table(table)) => {
                let storage = Arc::clone(self.storage());
                let summary = transaction.summary(&table).await?;
                let table = LakeTable::new(table, transaction, storage)?;
                Ok(Arc::new(table.summarized(&summary)))
            }
            (schema, Relation::View(view)) => self.view(view, schema).await,
        }
    }

    /// What a name stands for as of the snapshot that this planner is pinned to, with its schema.
    pub(super) async fn found(&self, name: &RelationRef) -> Result<(Schema, Relation)> {
        let transaction = self.transaction();
        let id = transaction.base().id;
        self.check_warehouse(name.catalog.as_deref())?;
        let schema_name = match &name.schema {
            Some(schema) => schema.clone(),
            None => self.state().config_options().catalog.default_schema.clone(),
        };
        let Some(schema) = transaction.schema(&schema_name).await? else {
            let schemas = transaction.schemas().await?;
            let names = schemas.iter().map(|schema| schema.name.as_str());
            return Err(Error::no_such("schema", &schema_name, names)
                .with_help(format!("as of version {id}")));
        };
        match transaction.relation(&schema, &name.name).await? {
            Some(relation) => Ok((schema, relation)),
            None => {
                let error = no_such(transaction, &schema, &name.name, RelationKind::Table).await?;
                let message = format!("{} as of version {id}", error.message());
                let help = "snapshots() lists what each version changed";
                Err(Error::not_found(message).with_help(help).with_source(error))
            }
        }
    }

    /// The transaction's past as of a version.
    async fn pinned(&self, version: &Version<'_>) -> Result<Transaction> {
        match version {
            Version::Id(expr) => match self.constant(expr, "BIGINT").await? {
                ScalarValue::Int64(Some(id)) => self.transaction().at_version(SnapshotId(id)).await,
                _ => Err(Error::invalid(format!("{expr} is not the number of a version"))),
            },
            Version::Time(expr) => {
                let time = self.instant(expr).await?;
                self.transaction().at_time(time).await
            }
        }
    }

    /// The value of an expression without columns, as a point in time.
    pub(super) async fn instant(&self, expr: &Expr) -> Result<DateTime<Utc>> {
        let time = self.constant(expr, "TIMESTAMPTZ").await?;
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let time = match time.cast_to(&utc)? {
            ScalarValue::TimestampMicrosecond(Some(micros), _) => {
                DateTime::from_timestamp_micros(micros)
            }
            _ => None,
        };
        time.ok_or_else(|| Error::invalid(format!("{expr} is not a timestamp")))
    }

    /// The value of an expression without columns.
    pub(super) async fn constant(&self, expr: &Expr, sql_type: &str) -> Result<ScalarValue> {
        let Planned { state, plan } = self.query(&*selecting(cast(expr, sql_type)?)?).await?;
        let plan = state.create_physical_plan(&plan).await?;
        let batches = collect(plan, state.task_ctx()).await?;
        let batch = batches.iter().find(|batch| batch.num_rows() > 0);
        let batch = batch.ok_or_else(|| Error::internal("a constant without a value"))?;
        Ok(ScalarValue::try_from_array(batch.column(0), 0)?)
    }

    /// The type of an expression without columns.
    pub(super) async fn type_of(&self, expr: &Expr) -> Result<DataType> {
        let planned = self.query(&*selecting(expr.clone())?).await?;
        Ok(planned.plan.schema().field(0).data_type().clone())
    }
}

/// `SELECT expr`.
fn selecting(expr: Expr) -> Result<Box<Query>> {
    let mut query = subquery("SELECT NULL", None)?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(expr)];
    }
    Ok(query)
}

/// `CAST(expr AS sql_type)`.
pub(super) fn cast(expr: &Expr, sql_type: &str) -> Result<Expr> {
    let mut query = subquery(&format!("SELECT CAST(NULL AS {sql_type})"), None)?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(SelectItem::UnnamedExpr(mut cast)) = select.projection.pop()
        && let Expr::Cast { expr: inner, .. } = &mut cast
    {
        **inner = expr.clone();
        return Ok(cast);
    }
    Err(Error::internal(format!("{sql_type} is no type")))
}
