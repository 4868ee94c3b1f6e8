//! The names of a warehouse, as of one transaction, as DataFusion's catalog.
//!
//! The schemas are loaded when the catalog is made (one query), a table or view when a statement
//! names it: DataFusion resolves the references of a statement asynchronously, once, before it
//! plans. Listings of all names are loaded only for statements that read `information_schema`.
//!
//! Readers of files and table functions are not in the warehouse; the session puts them, ready
//! made, into the schema [`READERS`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

use super::LakeTable;
use crate::catalog::Transaction;
use crate::catalog::model::{Relation, RelationKind, RelationName, Schema, View};
use crate::error::{Error, Result};
use crate::storage::Storage;

/// The schema of what a statement reads besides tables. No SQL name can clash with it.
pub(crate) const READERS: &str = "file";

/// Plans the query of a view against the same transaction.
pub(crate) type ViewPlanner =
    Arc<dyn Fn(View, Schema) -> BoxFuture<'static, Result<Arc<dyn TableProvider>>> + Send + Sync>;

/// Readers by the name that the statement was rewritten to use.
pub(crate) type Readers = HashMap<String, Arc<dyn TableProvider>>;

/// One warehouse as of one transaction.
pub(crate) struct SnapshotCatalog {
    schemas: Vec<Arc<SnapshotSchema>>,
    readers: Arc<ReaderSchema>,
}

impl SnapshotCatalog {
    /// Loads the schemas, and with `listed` the names of all tables and views.
    pub(crate) async fn load(
        transaction: &Arc<Transaction>,
        storage: &Arc<Storage>,
        views: ViewPlanner,
        readers: Readers,
        listed: bool,
    ) -> Result<Self> {
        let names = if listed { transaction.relation_names().await? } else { vec![] };
        let schema = |schema: Schema| {
            let in_schema = |name: &&RelationName| name.schema == schema.name;
            Arc::new(SnapshotSchema {
                names: names.iter().filter(in_schema).cloned().collect(),
                schema,
                transaction: Arc::clone(transaction),
                storage: Arc::clone(storage),
                views: Arc::clone(&views),
            })
        };
        let schemas = transaction.schemas().await?.into_iter().map(schema).collect();
        Ok(Self { schemas, readers: Arc::new(ReaderSchema { readers }) })
    }
}

impl fmt::Debug for SnapshotCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.schema_names()).finish()
    }
}

impl CatalogProvider for SnapshotCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.iter().map(|schema| schema.schema.name.clone()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let exact = self.schemas.iter().find(|s| s.schema.name == name);
        let found = exact.or_else(|| {
            self.schemas.iter().find(|s| s.schema.name.to_lowercase() == name.to_lowercase())
        });
        match found {
            Some(schema) => Some(Arc::clone(schema) as _),
            None if name == READERS => Some(Arc::clone(&self.readers) as _),
            None => None,
        }
    }
}

/// One schema as of one transaction; tables are loaded when asked for.
struct SnapshotSchema {
    schema: Schema,
    names: Vec<RelationName>,
    transaction: Arc<Transaction>,
    storage: Arc<Storage>,
    views: ViewPlanner,
}

impl fmt::Debug for SnapshotSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schema.fmt(f)
    }
}

#[async_trait]
impl SchemaProvider for SnapshotSchema {
    fn table_names(&self) -> Vec<String> {
        self.names.iter().map(|name| name.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let Some(relation) = self.transaction.relation(&self.schema, name).await? else {
            return Ok(None);
        };
        let kind = relation.kind();
        match self.open(relation).await {
            Ok(provider) => Ok(Some(provider)),
            // A listing of everything goes on without the columns of what cannot be read.
            Err(error) if self.table_exist(name) => Ok(Some(Arc::new(Unreadable { kind, error }))),
            Err(error) => Err(error.into()),
        }
    }

    async fn table_type(&self, name: &str) -> DataFusionResult<Option<TableType>> {
        // Only listings ask for it.
        let named = self.names.iter().find(|other| other.name == name);
        Ok(named.map(|named| table_type(named.kind)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.iter().any(|other| other.name == name)
    }
}

impl SnapshotSchema {
    async fn open(&self, relation: Relation) -> Result<Arc<dyn TableProvider>> {
        match relation {
            Relation::Table(table) => {
                let summary = self.transaction.summary(&table).await?;
                let transaction = Arc::clone(&self.transaction);
                let table = LakeTable::new(table, transaction, Arc::clone(&self.storage))?;
                Ok(Arc::new(table.summarized(&summary)))
            }
            Relation::View(view) => (self.views)(view, self.schema.clone()).await,
        }
    }
}

fn table_type(kind: RelationKind) -> TableType {
    match kind {
        RelationKind::Table => TableType::Base,
        RelationKind::View => TableType::View,
    }
}

/// A view whose query has become wrong, or a table with a type that cannot be read.
#[derive(Debug)]
struct Unreadable {
    kind: RelationKind,
    error: Error,
}

#[async_trait]
impl TableProvider for Unreadable {
    fn schema(&self) -> SchemaRef {
        Arc::new(ArrowSchema::empty())
    }

    fn table_type(&self) -> TableType {
        table_type(self.kind)
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Err(Error::new(self.error.kind(), self.error.message()).into())
    }
}

/// What a statement reads besides tables.
#[derive(Debug)]
struct ReaderSchema {
    readers: Readers,
}

#[async_trait]
impl SchemaProvider for ReaderSchema {
    fn table_names(&self) -> Vec<String> {
        vec![]
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.readers.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.readers.contains_key(name)
    }
}
