//! Reading any file of a table as the table is now: columns are found by Parquet field id.
//!
//! A file keeps the names and types of the day it was written. For each file DataFusion asks for
//! an adapter that rewrites expressions over the table's schema into expressions over the file's:
//!
//! ```text
//! table column --id--> file column   renamed: refer to the old name
//!                                    other width: DataFusion's adapter casts
//!                                    other form: [`Convert`] (uuid, interval, timestamp_s)
//!                                    other fields inside: [`Convert`], by [`evolve`]
//!              --id--> nothing       the value in the file's path ([`super::mapped`]), else the
//!                                    column's initial default, else NULL
//! ```
//!
//! A file without field ids (another writer's) is read by name.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column as ColumnExpr, Literal};
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::convert::differs;
use super::evolve::{evolve, initial_default, lines_up};
use super::mapped::constant;
use super::types::{Identity, table_field};
use crate::catalog::model::Column;

/// Makes an adapter for each file of one table.
#[derive(Debug, Clone)]
pub(crate) struct FieldIdAdapterFactory {
    columns: Arc<[Column]>,
}

impl FieldIdAdapterFactory {
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.into() }
    }

    /// For each field of the file, the table's column it holds.
    fn matched(&self, physical: &Schema) -> Vec<Option<usize>> {
        let ids: Vec<Option<String>> = physical
            .fields()
            .iter()
            .map(|field| field.metadata().get(PARQUET_FIELD_ID_META_KEY).cloned())
            .collect();
        let has_ids = ids.iter().any(Option::is_some);
        let column = |(field, id): (&Arc<Field>, &Option<String>)| {
            self.columns.iter().position(|column| match id {
                Some(id) => column.id.to_string() == *id,
                None => !has_ids && column.name == *field.name(),
            })
        };
        physical.fields().iter().zip(&ids).map(column).collect()
    }
}

impl PhysicalExprAdapterFactory for FieldIdAdapterFactory {
    fn create(
        &self,
        logical: SchemaRef,
        physical: SchemaRef,
    ) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let matched = self.matched(&physical);
        let presented = present(&physical, &matched, &self.columns)?;
        let inner = DefaultPhysicalExprAdapterFactory.create(logical, presented)?;
        let missing = (0..self.columns.len()).filter(|i| !matched.contains(&Some(*i)));
        let mut defaults = Vec::new();
        for column in missing.map(|i| &self.columns[i]) {
            let data_type = table_field(column)?.data_type().clone();
            let value = match constant(&physical, column) {
                Some(Some(text)) => Some(ScalarValue::from(text).cast_to(&data_type)?),
                Some(None) => Some(ScalarValue::try_new_null(&data_type)?),
                None => initial_default(column, &data_type)?,
            };
            defaults.extend(value.map(|value| (column.name.clone(), value)));
        }
        Ok(Arc::new(FieldIdAdapter {
            inner,
            physical,
            matched,
            defaults,
            columns: Arc::clone(&self.columns),
        }))
    }
}

/// The file's schema under the table's names, with the type a converted column will have.
fn present(physical: &Schema, matched: &[Option<usize>], columns: &[Column]) -> Result<SchemaRef> {
    let field = |(i, field): (usize, &Arc<Field>)| -> Result<Arc<Field>> {
        match matched[i].map(|column| &columns[column]) {
            // Made by the reader: it has its name already.
            None if field.name() == Identity::POSITION => Ok(Arc::clone(field)),
            None => Ok(Arc::new(field.as_ref().clone().with_name(format!("\0unmatched {i}")))),
            Some(column) if is_converted(field, column) => {
                Ok(Arc::new(table_field(column)?.with_nullable(field.is_nullable())))
            }
            Some(column) => Ok(Arc::new(field.as_ref().clone().with_name(&column.name))),
        }
    };
    let fields = physical.fields().iter().enumerate().map(field).collect::<Result<Fields>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Whether the engine cannot bring a file's column into its table form by a cast.
fn is_converted(field: &Field, column: &Column) -> bool {
    differs(column) || (!column.children().is_empty() && !lines_up(field, column))
}

#[derive(Debug)]
struct FieldIdAdapter {
    inner: Arc<dyn PhysicalExprAdapter>,
    physical: SchemaRef,
    matched: Vec<Option<usize>>,
    defaults: Vec<(String, ScalarValue)>,
    columns: Arc<[Column]>,
}

impl PhysicalExprAdapter for FieldIdAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let with_defaults = expr.transform(|expr| Ok(self.default(expr))).data()?;
        let renamed = self.inner.rewrite(with_defaults)?;
        renamed.transform(|expr| Ok(self.physical_column(expr))).data()
    }
}

impl FieldIdAdapter {
    fn default(&self, expr: Arc<dyn PhysicalExpr>) -> Transformed<Arc<dyn PhysicalExpr>> {
        let column = expr.downcast_ref::<ColumnExpr>();
        let default =
            column.and_then(|column| self.defaults.iter().find(|(name, _)| name == column.name()));
        match default {
            Some((_, value)) => Transformed::yes(Arc::new(Literal::new(value.clone()))),
            None => Transformed::no(expr),
        }
    }

    fn physical_column(&self, expr: Arc<dyn PhysicalExpr>) -> Transformed<Arc<dyn PhysicalExpr>> {
        let Some(index) = expr.downcast_ref::<ColumnExpr>().map(ColumnExpr::index) else {
            return Transformed::no(expr);
        };
        let field = &self.physical.fields()[index];
        let input: Arc<dyn PhysicalExpr> = Arc::new(ColumnExpr::new(field.name(), index));
        match self.matched[index].map(|column| &self.columns[column]) {
            // The new node has a column below it that is in place already: do not descend.
            Some(column) if is_converted(field, column) => Transformed::new(
                Arc::new(Convert { input, field: Arc::clone(field), column: column.clone() }),
                true,
                datafusion::common::tree_node::TreeNodeRecursion::Jump,
            ),
            _ => Transformed::yes(input),
        }
    }
}

/// A column of a file brought into its table form.
#[derive(Debug)]
struct Convert {
    input: Arc<dyn PhysicalExpr>,
    /// The column as the file has it.
    field: Arc<Field>,
    column: Column,
}

impl PartialEq for Convert {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input) && self.field == other.field && self.column == other.column
    }
}

impl Eq for Convert {}

impl Hash for Convert {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.column.id.hash(state);
    }
}

impl fmt::Display for Convert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from_file({})", self.input)
    }
}

impl PhysicalExpr for Convert {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(table_field(&self.column)?.data_type().clone())
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.input.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(evolve(&array, &self.field, &self.column)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        let (field, column) = (Arc::clone(&self.field), self.column.clone());
        Ok(Arc::new(Self { input, field, column }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}
