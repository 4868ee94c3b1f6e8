//! Rows that a statement has written, or is about to delete, as a table: chosen files, of each the
//! rows at some positions, and chosen rows of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use roaring::RoaringTreemap;

use super::scan::{self, Layout, ScanFile};
use crate::catalog::Transaction;
use crate::catalog::model::{DataFile, DeletedRows, FileId, INLINED, InlinedRows, Table};
use crate::error::Result;
use crate::storage::Storage;

/// Some rows of one table.
#[derive(Debug)]
pub(crate) struct ChosenRows {
    layout: Layout,
    /// Each with the positions of the rows that are not chosen.
    files: Vec<(Arc<DataFile>, Arc<RoaringTreemap>)>,
    inlined: Vec<InlinedRows>,
    storage: Arc<Storage>,
}

impl ChosenRows {
    /// All rows of some files, and some of the catalog.
    pub(crate) fn new(
        table: &Table,
        files: &[DataFile],
        inlined: &[InlinedRows],
        storage: Arc<Storage>,
    ) -> Result<Self> {
        let layout = Layout::of_columns(&table.columns)?;
        let files = files.iter().map(|file| (Arc::new(file.clone()), Arc::default())).collect();
        Ok(Self { layout, files, inlined: inlined.to_vec(), storage })
    }

    /// The rows that a statement deletes of a table; `transaction` still shows them.
    pub(crate) async fn deleted(
        table: &Table,
        rows: &BTreeMap<FileId, DeletedRows>,
        transaction: &Transaction,
        storage: Arc<Storage>,
    ) -> Result<Self> {
        let layout = Layout::of_columns(&table.columns)?;
        let mut files = Vec::new();
        for file in transaction.data_files(table).await? {
            if let Some(DeletedRows::At(chosen)) = file.id.and_then(|id| rows.get(&id)) {
                let mut others = RoaringTreemap::new();
                others.insert_range(0..file.record_count);
                others -= chosen.as_ref();
                files.push((file, Arc::new(others)));
            }
        }
        let mut inlined = Vec::new();
        if let Some(DeletedRows::At(places)) = rows.get(&INLINED) {
            inlined = transaction.inlined_rows(table).await?;
            for group in &mut inlined {
                group.rows.retain(|row| places.contains(row.place.cast_unsigned()));
            }
            inlined.retain(|group| !group.rows.is_empty());
        }
        Ok(Self { layout, files, inlined, storage })
    }
}

#[async_trait]
impl TableProvider for ChosenRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.layout.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let file = |(file, missing): &(Arc<DataFile>, Arc<RoaringTreemap>)| {
            ScanFile::unknown(Arc::clone(file), Arc::clone(missing))
        };
        let files: Vec<ScanFile> = self.files.iter().map(file).collect();
        let scan = scan::scan(&self.layout, &self.storage, state, &files, projection, limit)?;
        let inlined = self.inlined.iter().map(|group| self.layout.batch(group));
        let inlined = inlined.collect::<Result<Vec<_>>>()?;
        Ok(scan::with_rows(scan, &self.layout, inlined, projection)?)
    }
}
