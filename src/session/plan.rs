//! From a parsed query to a plan, against one transaction.
//!
//! A [`Planner`] is a value: the settings, a transaction, and where files are. For each statement
//! it opens the readers, makes a catalog of the transaction, and lets DataFusion plan. Views are
//! planned by the same planner with their own schema as the default.

use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::ViewTable;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as DataFusionStatement;
use datafusion::sql::resolve::resolve_table_references;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlparser::ast::{Query, Statement as Ast};
use tokio::task::JoinSet;

use super::label::label;
use super::{constant, readers, recase};
use crate::catalog::Transaction;
use crate::catalog::model::{RelationKind, Schema, View, ViewId};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::{self, name};
use crate::storage::Storage;
use crate::table::{READERS, Readers, SnapshotCatalog, ViewPlanner};

/// Views on views on views: at most this many.
const MAX_VIEW_DEPTH: usize = 64;

/// Plans queries against one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Planner {
    template: Arc<SessionState>,
    warehouse: Arc<str>,
    transaction: Arc<Transaction>,
    storage: Arc<Storage>,
    safe: bool,
    /// What the statement reads besides what its text names.
    extra: Readers,
    /// The views that are being planned, outermost first.
    views: Vec<ViewId>,
}

/// A plan with the state that it is to be executed in.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) state: Arc<SessionState>,
    pub(crate) plan: LogicalPlan,
}

impl Planner {
    pub(crate) fn new(
        template: Arc<SessionState>,
        warehouse: &str,
        transaction: Arc<Transaction>,
        storage: Arc<Storage>,
        safe: bool,
    ) -> Self {
        let warehouse = Arc::from(warehouse);
        let extra = Readers::new();
        Self { template, warehouse, transaction, storage, safe, extra, views: vec![] }
    }

    /// The same, with a table under a name of the schema [`READERS`].
    pub(crate) fn reading(mut self, name: &str, table: Arc<dyn TableProvider>) -> Self {
        self.extra.insert(name.to_owned(), table);
        self
    }

    /// Plans a query.
    pub(crate) async fn query(&self, query: &Query) -> Result<Planned> {
        // Boxed: a planning future is large, and every statement has one or two.
        Box::pin(self.statement(Ast::Query(Box::new(query.clone())))).await
    }

    /// Plans a statement that DataFusion understands: a query, or EXPLAIN of one.
    pub(crate) async fn statement(&self, mut ast: Ast) -> Result<Planned> {
        label(&mut ast);
        let mut readers = readers::open_all(&mut ast, self).await?;
        readers.extend(self.extra.clone());
        let statement = as_statement(&ast);
        let (references, _) = resolve_table_references(&statement, true)?;
        // A state is large: statements that name nothing, and compute nothing, do without their own.
        let mut state = Arc::clone(&self.template);
        if !references.is_empty() {
            let listed = references.iter().any(|r| r.schema() == Some("information_schema"));
            let catalog = Arc::new(self.catalog(readers, listed).await?);
            let list = MemoryCatalogProviderList::new();
            list.register_catalog(self.warehouse.to_string(), catalog);
            Arc::make_mut(&mut state).register_catalog_list(Arc::new(list));
        }
        let mut planned = state.statement_to_plan(statement).await;
        // Each round spells one column as its table does; a statement has only so many.
        while let Err(error) = &planned
            && recase::respell(&mut ast, error)
        {
            planned = state.statement_to_plan(as_statement(&ast)).await;
        }
        match planned {
            Ok(plan) => {
                if !constant::is_constant(&plan) {
                    // now() is one time for the whole statement, and this is when it begins.
                    Arc::make_mut(&mut state).mark_start_execution();
                }
                Ok(Planned { state, plan })
            }
            Err(error) => Err(self.explain_missing(&references, &ast, error.into()).await),
        }
    }

    /// The warehouse as DataFusion's catalog.
    pub(crate) async fn catalog(&self, readers: Readers, listed: bool) -> Result<SnapshotCatalog> {
        let planner = self.clone();
        let views: ViewPlanner = Arc::new(move |view, schema| planner.clone().view(view, schema));
        SnapshotCatalog::load(&self.transaction, &self.storage, views, readers, listed).await
    }

    pub(super) fn transaction(&self) -> &Arc<Transaction> {
        &self.transaction
    }

    pub(super) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.template
    }

    pub(super) fn is_safe(&self) -> bool {
        self.safe
    }

    /// What stands before a schema is the name of this warehouse.
    pub(super) fn check_warehouse(&self, name: Option<&str>) -> Result<()> {
        match name {
            Some(other) if !other.eq_ignore_ascii_case(&self.warehouse) => {
                Err(Error::no_such("warehouse", other, [&*self.warehouse]))
            }
            _ => Ok(()),
        }
    }

    /// The same planner on another transaction.
    pub(super) fn on(&self, transaction: Transaction) -> Self {
        Self { transaction: Arc::new(transaction), ..self.clone() }
    }

    /// A view's plan as a table. Boxed: planning it may plan other views.
    pub(super) fn view(
        self,
        view: View,
        schema: Schema,
    ) -> BoxFuture<'static, Result<Arc<dyn TableProvider>>> {
        async move {
            let planned = self.view_query(&view, schema).await;
            let planned = planned.map_err(|error| {
                // A view below this one has said which it is.
                if error.message().starts_with("view \"") {
                    return error;
                }
                let message = format!("view \"{}\": {}", view.name, error.message());
                let error = Error::new(error.kind(), message).with_source(error);
                error.with_help("drop the view, or put back what its query names")
            })?;
            let plan = renamed(planned.plan, &view.column_aliases)?;
            let table: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, Some(view.sql)));
            Ok(table)
        }
        .boxed()
    }

    async fn view_query(mut self, view: &View, schema: Schema) -> Result<Planned> {
        if self.views.contains(&view.id) {
            return Err(Error::invalid("it refers to itself"));
        }
        if self.views.len() >= MAX_VIEW_DEPTH {
            return Err(Error::invalid(format!("views nest deeper than {MAX_VIEW_DEPTH}")));
        }
        self.views.push(view.id);
        let template = Arc::make_mut(&mut self.template);
        template.config_mut().options_mut().catalog.default_schema = schema.name;
        let query = sql::subquery(&view.sql, None)?;
        // A task has a stack of its own, so views may nest deeper than one stack allows.
        let mut task = JoinSet::new();
        task.spawn(async move { self.query(&query).await });
        let planned = task.join_next().await.ok_or_else(|| Error::internal("a task is gone"))?;
        planned.map_err(|e| Error::internal(e.to_string()))?
    }

    /// A plan that failed because a table is missing says so with its place and the nearest name.
    async fn explain_missing(
        &self,
        references: &[TableReference],
        ast: &Ast,
        error: Error,
    ) -> Error {
        for reference in references {
            match self.missing(reference).await {
                Ok(None) => {}
                Ok(Some(missing)) => {
                    return missing.or_span(super::locate::relation(ast, reference));
                }
                Err(lookup) => return lookup,
            }
        }
        error
    }

    async fn missing(&self, reference: &TableReference) -> Result<Option<Error>> {
        let default = &self.template.config_options().catalog.default_schema;
        let schema_name = reference.schema().unwrap_or(default);
        let is_other = reference.catalog().is_some_and(|catalog| catalog != &*self.warehouse);
        if is_other {
            let catalog = reference.catalog().unwrap_or_default();
            return Ok(Some(Error::no_such("warehouse", catalog, [&*self.warehouse])));
        }
        let is_function = self.template.table_functions().contains_key(reference.table());
        if is_function || [READERS, "information_schema"].contains(&schema_name) {
            return Ok(None);
        }
        let schemas = self.transaction.schemas().await?;
        let same = |schema: &&Schema| schema.name.to_lowercase() == schema_name.to_lowercase();
        let Some(schema) = schemas.iter().find(same) else {
            let names = schemas.iter().map(|schema| schema.name.as_str());
            return Ok(Some(Error::no_such("schema", schema_name, names)));
        };
        if self.transaction.relation(schema, reference.table()).await?.is_some() {
            return Ok(None);
        }
        no_such(&self.transaction, schema, reference.table(), RelationKind::Table).await.map(Some)
    }
}

fn as_statement(ast: &Ast) -> DataFusionStatement {
    DataFusionStatement::Statement(Box::new(ast.clone()))
}

/// "table does not exist" with the nearest table or view of any schema.
pub(crate) async fn no_such(
    transaction: &Transaction,
    schema: &Schema,
    table: &str,
    kind: RelationKind,
) -> Result<Error> {
    let what = match kind {
        RelationKind::Table => "table",
        RelationKind::View => "view",
    };
    let mut names = transaction.relation_names().await?;
    names.retain(|name| kind == RelationKind::Table || name.kind == kind);
    let shown: Vec<(String, String)> = names
        .into_iter()
        .map(|name| {
            let is_here = name.schema == schema.name;
            let table = name::quote(&name.name);
            let shown =
                if is_here { table } else { format!("{}.{table}", name::quote(&name.schema)) };
            (name.name, shown)
        })
        .collect();
    let error = Error::new(ErrorKind::NotFound, format!("{what} \"{table}\" does not exist"));
    let near = crate::error::nearest(table, shown.iter().map(|(name, _)| name.as_str()));
    let near = near.and_then(|near| shown.iter().find(|(name, _)| name == near));
    Ok(match near {
        Some((_, shown)) => error.with_label(format!("did you mean {shown}?")),
        None if files_named(table) => {
            error.with_help(format!("to read a file write its name in quotes: FROM '{table}'"))
        }
        None => error.with_help("SHOW ALL TABLES lists what there is"),
    })
}

fn files_named(table: &str) -> bool {
    crate::source::files::looks_like_file(table)
}

/// The plan with its columns named as `aliases` say; no aliases keep the query's own names.
fn renamed(plan: LogicalPlan, aliases: &[String]) -> Result<LogicalPlan> {
    use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
    if aliases.is_empty() {
        return Ok(plan);
    }
    let columns = plan.schema().columns();
    let exprs = columns.into_iter().enumerate().map(|(i, column)| match aliases.get(i) {
        Some(alias) => Expr::Column(column).alias(alias),
        None => Expr::Column(column),
    });
    let exprs: Vec<Expr> = exprs.collect();
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}
