//! Files that were added as they are: their columns get the ids of the table's when their footer is
//! read, so that everything else ([`super::adapter`]) finds them as in any other file.
//!
//! ```text
//! footer ── schema by Parquet ──> fields with ids by name ──> the footer's "ARROW:schema"
//! path   ── name=value ─────────> constants, in the first field's metadata
//! ```
//!
//! Field ids that such a file has itself are of another table and do not count. Nothing of the file
//! is changed, nor of its footer in the engine's cache.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use bytes::Bytes;
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{
    ARROW_SCHEMA_META_KEY, PARQUET_FIELD_ID_META_KEY, encode_arrow_schema, parquet_to_arrow_schema,
};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder};
use percent_encoding::percent_decode_str;

use crate::catalog::model::{Column, ColumnId, DataFile, MappedColumn, NameMapping};

/// The id of a field that is no column of the table.
const UNMAPPED: &str = "unmapped";

/// What a hive directory calls NULL.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The metadata key of the constant of a column.
fn constant_key(column: ColumnId) -> String {
    format!("gotgan.constant.{column}")
}

/// The value that a column has in all of a file, if its fields say so; the inner `None` is NULL.
pub(super) fn constant<'a>(file: &'a Schema, column: &Column) -> Option<Option<&'a str>> {
    let key = constant_key(column.id);
    let value = file.fields().iter().find_map(|field| field.metadata().get(&key))?;
    Some(value.strip_prefix('='))
}

/// How the columns of one file are found; goes along with the file to its reader.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    mapping: Arc<NameMapping>,
    /// Columns whose value is in the path.
    constants: Vec<(ColumnId, Option<String>)>,
}

impl Labels {
    /// Those of a file that was added as it is.
    pub(super) fn of(file: &DataFile) -> Option<Self> {
        let mapping = Arc::clone(file.name_mapping.as_ref()?);
        let in_path = mapping.columns.iter().filter(|column| column.is_partition);
        let constant =
            |column: &MappedColumn| (column.column, hive_value(&file.path, &column.name).flatten());
        let constants = in_path.map(constant).collect();
        Some(Self { mapping, constants })
    }

    /// The footer as if the file had been written for the table.
    fn apply(&self, footer: &ParquetMetaData) -> ParquetResult<ParquetMetaData> {
        let file = footer.file_metadata();
        let schema = parquet_to_arrow_schema(file.schema_descr(), None)?;
        let mut fields: Vec<FieldRef> = labelled(schema.fields(), &self.mapping.columns);
        if let Some(first) = fields.first_mut() {
            let mut metadata = first.metadata().clone();
            for (column, value) in &self.constants {
                let text = value.as_ref().map_or(String::new(), |value| format!("={value}"));
                metadata.insert(constant_key(*column), text);
            }
            *first = Arc::new(first.as_ref().clone().with_metadata(metadata));
        }
        let mut entries = file.key_value_metadata().cloned().unwrap_or_default();
        entries.retain(|entry| entry.key != ARROW_SCHEMA_META_KEY);
        let encoded = encode_arrow_schema(&Schema::new(fields));
        entries.push(KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encoded));
        let file = FileMetaData::new(
            file.version(),
            file.num_rows(),
            file.created_by().map(str::to_owned),
            Some(entries),
            file.schema_descr_ptr(),
            file.column_orders().cloned(),
        );
        Ok(ParquetMetaDataBuilder::new(file)
            .set_row_groups(footer.row_groups().to_vec())
            .set_column_index(footer.column_index().cloned())
            .set_offset_index(footer.offset_index().cloned())
            .build())
    }
}

/// Fields with the ids of the columns they are, at every depth.
fn labelled(fields: &Fields, columns: &[MappedColumn]) -> Vec<FieldRef> {
    let label = |field: &FieldRef| {
        let of_file = |column: &&MappedColumn| !column.is_partition && column.name == *field.name();
        with_id(field, columns.iter().find(of_file))
    };
    fields.iter().map(label).collect()
}

fn with_id(field: &FieldRef, column: Option<&MappedColumn>) -> FieldRef {
    let mut metadata = field.metadata().clone();
    let id = column.map_or_else(|| UNMAPPED.to_owned(), |column| column.column.to_string());
    metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), id);
    let children = column.map_or(&[][..], |column| &column.children);
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(labelled(fields, children).into()),
        // The only child; its name is the writer's choice.
        DataType::List(element) => DataType::List(with_id(element, children.first())),
        DataType::LargeList(element) => DataType::LargeList(with_id(element, children.first())),
        DataType::Map(entries, sorted) => {
            let fields = match entries.data_type() {
                DataType::Struct(fields) => fields.iter().enumerate(),
                _ => [].iter().enumerate(),
            };
            let fields = fields.map(|(index, field)| with_id(field, children.get(index)));
            let fields = DataType::Struct(fields.collect());
            DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(fields)), *sorted)
        }
        plain => plain.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type).with_metadata(metadata))
}

/// The value of a part `name=value` of a path, if there is one; the inner `None` is NULL.
pub(crate) fn hive_value(path: &str, name: &str) -> Option<Option<String>> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let directories = path.rsplit_once('/').map_or("", |(directories, _)| directories);
    let parts = directories.split('/').filter_map(|part| part.split_once('='));
    let mut found = parts.filter(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value));
    found.next_back().map(|value| (value != HIVE_NULL).then_some(value))
}

/// Readers that share the engine's cache of footers, and label those of files with [`Labels`].
#[derive(Debug)]
pub(super) struct LabellingReaders(pub(super) CachedParquetFileReaderFactory);

impl ParquetFileReaderFactory for LabellingReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DataFusionResult<Box<dyn AsyncFileReader + Send>> {
        let labels = file.extension::<Labels>().cloned();
        let reader = self.0.create_reader(partition, file, footer_hint, metrics)?;
        Ok(match labels {
            None => reader,
            Some(labels) => Box::new(LabellingReader { reader, labels }),
        })
    }
}

struct LabellingReader {
    reader: Box<dyn AsyncFileReader + Send>,
    labels: Labels,
}

impl AsyncFileReader for LabellingReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.reader.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.reader.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let (reader, labels) = (&mut self.reader, &self.labels);
        async move {
            let footer = reader.get_metadata(options).await?;
            labels.apply(&footer).map(Arc::new)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_values() {
        let path = "s3://b/y=2024/n=a%20b/y=2025/f.parquet";
        let some = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(hive_value(path, "n"), some("a b"));
        assert_eq!(hive_value(path, "y"), some("2025"));
        assert_eq!(hive_value(path, "z"), None);
        assert_eq!(hive_value("/d/y=__HIVE_DEFAULT_PARTITION__/f", "y"), Some(None));
        assert_eq!(hive_value("/d/y=/f", "y"), some(""));
        assert_eq!(hive_value("/d/y=1", "y"), None);
    }
}
