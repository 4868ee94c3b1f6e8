//! `FROM 'file'`, `read_csv`, `read_json`, `read_parquet`: files as tables.
//!
//! A name is a path, a URL or a glob of either. The format follows from the function or the
//! extension, the compression from the extension, the types from a sample that covers every file;
//! files that disagree get the type that holds both. [`super::find`](mod@super::find) lists the files, [`super::scan`]
//! reads them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::config::{CsvOptions, JsonOptions};
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::avro::AvroFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::SessionState;
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, lit};
use datafusion::scalar::ScalarValue;
use object_store::ObjectMeta;
use percent_encoding::percent_decode_str;

use super::find::{Found, find};
use super::options::{ReadOptions, SAMPLE_SIZE, as_text};
use super::scan::FileTable;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Json,
    Parquet,
    Avro,
    Arrow,
}

impl Format {
    /// The format a table function reads.
    pub(crate) fn of_function(name: &str) -> Option<Self> {
        Some(match name {
            "read_csv" | "read_csv_auto" => Self::Csv,
            "read_json" | "read_json_auto" | "read_ndjson" | "read_ndjson_auto" => Self::Json,
            "read_parquet" | "parquet_scan" => Self::Parquet,
            "read_avro" => Self::Avro,
            "read_arrow" => Self::Arrow,
            _ => return None,
        })
    }

    /// The format that an extension stands for.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_lowercase().as_str() {
            "csv" | "tsv" => Self::Csv,
            "json" | "ndjson" | "jsonl" => Self::Json,
            "parquet" | "pq" => Self::Parquet,
            "avro" => Self::Avro,
            "arrow" | "ipc" | "feather" => Self::Arrow,
            _ => return None,
        })
    }
}

/// The format and compression that a file name's ending tells, such as `.csv.gz`.
pub(crate) fn by_extension(name: &str) -> (Option<Format>, CompressionTypeVariant) {
    // Only a web server's URL has a query and a fragment; elsewhere `?` is any character.
    let name = match name.starts_with("http://") || name.starts_with("https://") {
        true => name.split(['?', '#']).next().unwrap_or(name),
        false => name,
    };
    let mut parts = name.rsplit('.');
    let last = parts.next().unwrap_or_default();
    match compression(last) {
        Some(compression) => (parts.next().and_then(Format::of_extension), compression),
        None => (Format::of_extension(last), CompressionTypeVariant::UNCOMPRESSED),
    }
}

fn compression(name: &str) -> Option<CompressionTypeVariant> {
    Some(match name.to_lowercase().as_str() {
        "gz" | "gzip" => CompressionTypeVariant::GZIP,
        "bz2" | "bzip2" => CompressionTypeVariant::BZIP2,
        "xz" => CompressionTypeVariant::XZ,
        "zst" | "zstd" => CompressionTypeVariant::ZSTD,
        "none" | "uncompressed" => CompressionTypeVariant::UNCOMPRESSED,
        _ => return None,
    })
}

/// Whether a bare name in FROM is meant as a file.
pub(crate) fn looks_like_file(name: &str) -> bool {
    name.contains(['/', '*', '?']) || by_extension(name).0.is_some()
}

/// Opens `names` as one table.
pub(crate) async fn open(
    state: &SessionState,
    storage: &Storage,
    names: &[String],
    format: Option<Format>,
    options: &ReadOptions,
) -> Result<Arc<dyn TableProvider>> {
    let first = names.first().ok_or_else(|| Error::invalid("no file is named"))?;
    let (by_name, by_suffix) = by_extension(first);
    let format = format.or(by_name).ok_or_else(|| {
        Error::invalid(format!("the format of '{first}' does not follow from its name"))
            .with_help("use read_csv('…'), read_json('…') or read_parquet('…')")
    })?;
    let compression = match &options.compression {
        Some(name) if name == "auto" => by_suffix,
        Some(name) => compression(name).ok_or_else(|| {
            Error::invalid(format!("compression \"{name}\" is not known"))
                .with_help("the known ones are none, gzip, bzip2, xz, zstd")
        })?,
        None => by_suffix,
    };
    let found = find(storage, names).await?;
    let is_tsv = first.to_lowercase().contains(".tsv");
    let file_format = file_format(format, compression, options, is_tsv);
    let schema = match &options.columns {
        Some(schema) => Arc::clone(schema),
        None => infer(state, &file_format, &found, format, options).await?,
    };
    let (constants, files) = partitioned(&found, options)?;
    let read = match &options.null {
        Some(_) => Arc::new(as_text(&schema)),
        None => Arc::clone(&schema),
    };
    let store = (found.url, &found.store);
    let table = FileTable::new(state, store, file_format, read, constants.clone(), files).await?;
    let table: Arc<dyn TableProvider> = Arc::new(table);
    match &options.null {
        Some(null) => {
            let fields = schema.fields().iter().chain(&constants).cloned();
            with_nulls(table, &Schema::new(fields.collect::<Vec<_>>()), null)
        }
        None => Ok(table),
    }
}

/// The files with the constants that each has: the `key=value` directories of its path, and its
/// name.
fn partitioned(
    found: &Found,
    options: &ReadOptions,
) -> Result<(Vec<FieldRef>, Vec<PartitionedFile>)> {
    let keys = match (options.hive_partitioning, found.objects.first()) {
        (true, Some(first)) => hive(first).into_iter().map(|(key, _)| key).collect(),
        _ => vec![],
    };
    let file = |object: &ObjectMeta| {
        let values = hive(object);
        let mut constants = Vec::with_capacity(keys.len() + 1);
        for key in &keys {
            let value = values.iter().find(|(name, _)| name == key).ok_or_else(|| {
                let message = format!("'{}' has no directory {key}=…", found.shown(object));
                Error::invalid(message).with_help("every file needs the keys of the first one")
            })?;
            let is_null = value.1 == "__HIVE_DEFAULT_PARTITION__";
            constants.push(ScalarValue::Utf8((!is_null).then(|| value.1.clone())));
        }
        if options.filename {
            constants.push(ScalarValue::from(found.shown(object)));
        }
        Ok(PartitionedFile::from(object.clone()).with_partition_values(constants))
    };
    let files = found.objects.iter().map(file).collect::<Result<Vec<_>>>()?;
    let names = keys.iter().map(String::as_str).chain(options.filename.then_some("filename"));
    let field = |name| Arc::new(Field::new(name, DataType::Utf8, true));
    Ok((names.map(field).collect(), files))
}

/// The `key=value` directories of a path, outermost first.
fn hive(object: &ObjectMeta) -> Vec<(String, String)> {
    let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let parts = object.location.parts().map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
    let directories = parts.iter().take(parts.len().saturating_sub(1));
    let pairs = directories.filter_map(|part| part.split_once('='));
    // An object store's path encodes `%`, which hive's own encoding has used.
    pairs.map(|(key, value)| (decoded(key), decoded(&decoded(value)))).collect()
}

/// The table, read as text, with `null` as NULL and then its types. DataFusion's CSV reader takes
/// only the empty field for NULL.
fn with_nulls(
    table: Arc<dyn TableProvider>,
    schema: &Schema,
    null: &str,
) -> Result<Arc<dyn TableProvider>> {
    let typed = |field: &Arc<Field>| {
        let column = Expr::Column(Column::from_name(field.name()));
        let value = nullif(column, lit(null));
        let value = match field.data_type() {
            // A column of NULLs throughout stays text.
            DataType::Utf8 | DataType::Null => value,
            other => cast(value, other.clone()),
        };
        value.alias(field.name())
    };
    let exprs: Vec<Expr> = schema.fields().iter().map(typed).collect();
    let plan = LogicalPlanBuilder::scan("csv", provider_as_source(table), None)?;
    Ok(Arc::new(ViewTable::new(plan.project(exprs)?.build()?, None)))
}

fn file_format(
    format: Format,
    compression: CompressionTypeVariant,
    options: &ReadOptions,
    is_tsv: bool,
) -> Arc<dyn FileFormat> {
    let sample = Some(options.sample_size.unwrap_or(SAMPLE_SIZE));
    match format {
        Format::Csv => {
            let defaults = CsvOptions::default();
            let delimiter = if is_tsv { b'\t' } else { defaults.delimiter };
            let null = options.null.as_deref();
            Arc::new(CsvFormat::default().with_options(CsvOptions {
                has_header: Some(options.header.unwrap_or(true)),
                delimiter: options.delimiter.unwrap_or(delimiter),
                quote: options.quote.unwrap_or(defaults.quote),
                escape: options.escape,
                comment: options.comment,
                compression,
                schema_infer_max_rec: sample,
                newlines_in_values: options.newlines_in_values,
                truncated_rows: options.ragged,
                null_regex: null.map(|null| format!("^({})?$", escape_regex(null))),
                ..defaults
            }))
        }
        Format::Json => Arc::new(JsonFormat::default().with_options(JsonOptions {
            compression,
            schema_infer_max_rec: sample,
            newline_delimited: !options.array,
            ..JsonOptions::default()
        })),
        Format::Parquet => Arc::new(ParquetFormat::default()),
        Format::Avro => Arc::new(AvroFormat),
        Format::Arrow => Arc::new(ArrowFormat),
    }
}

fn escape_regex(text: &str) -> String {
    let special = |c: char| !c.is_alphanumeric() && c.is_ascii() && !c.is_ascii_whitespace();
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// At most this many files are sampled for their types.
const MAX_SAMPLED: usize = 64;

async fn infer(
    state: &SessionState,
    format: &Arc<dyn FileFormat>,
    found: &Found,
    kind: Format,
    options: &ReadOptions,
) -> Result<SchemaRef> {
    let mut schema: Option<Schema> = None;
    for object in found.objects.iter().take(MAX_SAMPLED) {
        let one = std::slice::from_ref(object);
        let inferred = format.infer_schema(state, &found.store, one).await.map_err(|e| {
            let message = crate::error::message_of(&e);
            Error::new(
                ErrorKind::Corrupt,
                format!("'{}' cannot be read: {message}", found.shown(object)),
            )
            .with_source(e)
        })?;
        schema = Some(match schema {
            None => inferred.as_ref().clone(),
            Some(schema) => unify(&schema, &inferred),
        });
    }
    let schema = schema.ok_or_else(|| Error::internal("a reader without files"))?;
    if schema.fields().is_empty() {
        let message = format!("'{}' has no columns", found.shown(&found.objects[0]));
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    match kind {
        Format::Csv if options.all_varchar => Ok(Arc::new(as_text(&schema))),
        _ => Ok(Arc::new(nullable(&schema))),
    }
}

/// A file that says a column has no NULLs speaks for itself only: the next one may lack the column.
fn nullable(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Schema::new(fields.collect::<Vec<_>>())
}

/// The schema that reads both: all columns of either, each wide enough for both.
fn unify(left: &Schema, right: &Schema) -> Schema {
    let mut fields: Vec<Field> = left.fields().iter().map(|f| f.as_ref().clone()).collect();
    for field in right.fields() {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => {
                let data_type = wider(known.data_type(), field.data_type());
                *known = known.clone().with_data_type(data_type).with_nullable(true);
            }
            None => fields.push(field.as_ref().clone().with_nullable(true)),
        }
    }
    Schema::new(fields)
}

fn wider(left: &DataType, right: &DataType) -> DataType {
    use DataType as D;
    match (left, right) {
        _ if left == right => left.clone(),
        (D::Null, other) | (other, D::Null) => other.clone(),
        (D::Struct(a), D::Struct(b)) => {
            D::Struct(unify(&Schema::new(a.clone()), &Schema::new(b.clone())).fields)
        }
        (D::List(a), D::List(b)) => {
            let element = a.as_ref().clone().with_data_type(wider(a.data_type(), b.data_type()));
            D::List(Arc::new(element.with_nullable(true)))
        }
        (a, b) if a.is_numeric() && b.is_numeric() => {
            if a.is_integer() && b.is_integer() {
                D::Int64
            } else {
                D::Float64
            }
        }
        (D::Date32, D::Timestamp(..)) => right.clone(),
        (D::Timestamp(..), D::Date32) => left.clone(),
        _ => D::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_format_and_compression() {
        use CompressionTypeVariant as C;
        for (name, format, compression) in [
            ("a.csv", Some(Format::Csv), C::UNCOMPRESSED),
            ("s3://b/logs/*.json.gz", Some(Format::Json), C::GZIP),
            ("x.ndjson.zst", Some(Format::Json), C::ZSTD),
            ("x.PARQUET", Some(Format::Parquet), C::UNCOMPRESSED),
            ("s3://b/logs/?.csv", Some(Format::Csv), C::UNCOMPRESSED),
            ("https://h/x.csv?token=1.gz", Some(Format::Csv), C::UNCOMPRESSED),
            ("x.dat", None, C::UNCOMPRESSED),
        ] {
            assert_eq!(by_extension(name), (format, compression), "{name}");
        }
        assert!(
            looks_like_file("a/b") && looks_like_file("x.csv.gz") && !looks_like_file("orders")
        );
    }

    #[test]
    fn files_that_disagree_get_the_wider_type() {
        use DataType as D;
        assert_eq!(wider(&D::Int64, &D::Float64), D::Float64);
        assert_eq!(wider(&D::Null, &D::Boolean), D::Boolean);
        assert_eq!(wider(&D::Int64, &D::Utf8), D::Utf8);
        assert_eq!(wider(&D::Boolean, &D::Int64), D::Utf8);
    }
}
