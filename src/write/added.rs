//! Files that become a table's as they are: checked, and described to the catalog, by their footers.
//!
//! ```text
//! file's columns ── by name ──> table's columns       a mapping, which the catalog keeps
//! path's name=value ── for columns not in the file ──> constants
//! footer's statistics ── in the table's types ──> what the catalog knows of the file
//! ```
//!
//! A column of the file has the table's type or a narrower one, as in DuckDB. No row is read, so what
//! only rows can tell (CHECK constraints, NULLs that no statistic counts) is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use datafusion::scalar::ScalarValue;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{FooterTail, ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::Type;

use super::stats;
use crate::catalog::model::{
    Column, ColumnId, ColumnStats, ColumnType, DataFile, FilePartition, MappedColumn, NameMapping,
    Rule, Table, Transform, same_name,
};
use crate::catalog::{leaves, retype_stats, widens};
use crate::error::{Error, Result};
use crate::storage::storage;
use crate::table::hive_value;
use crate::table::types::{column_from_field, display_column_type, table_field};

/// Bytes of a file's end that are read at first; nearly always its whole footer.
const TAIL: u64 = 64 << 10;

/// The id of a file's column that is none of the table's, or of which no statistics are kept.
const EXTRA: ColumnId = ColumnId(-1);

/// What is asked of files that are added to a table.
#[derive(Debug, Clone)]
pub(crate) struct Adding {
    pub(crate) table: Table,
    /// Whether the table may have columns that a file has not.
    pub(crate) allow_missing: bool,
    /// Whether a file may have columns that the table has not.
    pub(crate) ignore_extra: bool,
    /// Whether columns that a file has not may be in its path.
    pub(crate) hive: bool,
}

impl Adding {
    /// Whether the table's rules can be checked without reading rows.
    pub(crate) fn check_table(&self) -> Result<()> {
        let constraints = &self.table.constraints;
        match constraints.iter().find(|other| matches!(other.rule, Rule::Check(_))) {
            None => Ok(()),
            Some(check) => Err(Error::unsupported(format!(
                "files cannot be added to table \"{}\": its constraint \"{}\" has to see their rows",
                self.table.name, check.name
            ))
            .with_help("INSERT INTO … SELECT * FROM 'file' checks and copies them")),
        }
    }

    /// A file as one of the table's.
    pub(crate) async fn file(
        &self,
        store: &dyn ObjectStore,
        object: &ObjectMeta,
        path: String,
    ) -> Result<DataFile> {
        let (footer, footer_size) = footer(store, object, &path).await?;
        let described = Mapper { adding: self, path: &path }.describe(&footer)?;
        let Described { columns, column_stats, partition } = described;
        Ok(DataFile {
            id: None,
            record_count: footer.file_metadata().num_rows().max(0).cast_unsigned(),
            file_size_bytes: object.size,
            footer_size: Some(footer_size),
            row_id_start: None,
            begin: None,
            partial_max: None,
            name_mapping: Some(Arc::new(NameMapping { id: None, columns })),
            column_stats,
            partition,
            deletes: vec![],
            deleted: Arc::default(),
            path,
        })
    }
}

/// A file's footer, and the length of its Thrift part.
async fn footer(
    store: &dyn ObjectStore,
    object: &ObjectMeta,
    path: &str,
) -> Result<(ParquetMetaData, u64)> {
    let no_parquet = || {
        Error::invalid(format!("'{path}' is no Parquet file"))
            .with_help("only Parquet files can be added; others can be loaded with INSERT or COPY")
    };
    let read = async |start: u64, end: u64| {
        let bytes = store.get_range(&object.location, start..end).await;
        bytes.map_err(|e| storage(path, e))
    };
    let tail = read(object.size.saturating_sub(TAIL), object.size).await?;
    let end: &[u8; FOOTER_SIZE] = tail.last_chunk().ok_or_else(no_parquet)?;
    let length = FooterTail::try_new(end).map_err(|e| no_parquet().with_source(e))?;
    let length = length.metadata_length();
    let footer = match tail.len().checked_sub(length + FOOTER_SIZE) {
        Some(start) => tail.slice(start..tail.len() - FOOTER_SIZE),
        None => {
            let end = object.size - FOOTER_SIZE as u64;
            read(end.checked_sub(length as u64).ok_or_else(no_parquet)?, end).await?
        }
    };
    let decoded = ParquetMetaDataReader::decode_metadata(&footer);
    Ok((decoded.map_err(|e| no_parquet().with_source(e))?, length as u64))
}

/// What a footer and a path tell.
struct Described {
    columns: Vec<MappedColumn>,
    column_stats: BTreeMap<ColumnId, ColumnStats>,
    partition: Option<FilePartition>,
}

/// Finds the columns of one file.
struct Mapper<'a> {
    adding: &'a Adding,
    path: &'a str,
}

impl Mapper<'_> {
    fn describe(&self, footer: &ParquetMetaData) -> Result<Described> {
        let file = footer.file_metadata();
        let schema = parquet_to_arrow_schema(file.schema_descr(), None);
        let schema = schema.map_err(|e| storage(self.path, e))?;
        let types = Some(file.schema_descr().root_schema());
        let mut columns = self.columns(schema.fields(), types, &self.adding.table.columns, "")?;
        let mut column_stats = self.statistics(footer, &schema, &columns)?;
        let rows = file.num_rows().max(0).cast_unsigned();
        for (column, value) in self.constants(&columns)? {
            let (values, nulls) = if value.is_some() { (rows, 0) } else { (0, rows) };
            let known = ColumnStats {
                value_count: Some(values),
                null_count: Some(nulls),
                min: value.clone(),
                max: value,
                ..ColumnStats::default()
            };
            column_stats.insert(column.id, known);
            let (name, column) = (column.name.clone(), column.id);
            columns.push(MappedColumn { name, column, is_partition: true, children: vec![] });
        }
        self.check_nulls(&schema, &columns, &column_stats)?;
        let partition = self.partition(&columns)?;
        Ok(Described { columns, column_stats, partition })
    }

    /// The columns that a file's fields are. `types` are the fields as Parquet has them.
    fn columns(
        &self,
        fields: &Fields,
        types: Option<&Type>,
        columns: &[Column],
        parent: &str,
    ) -> Result<Vec<MappedColumn>> {
        let table = &self.adding.table.name;
        let mut mapped: Vec<MappedColumn> = Vec::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            let name = field.name();
            let exact = columns.iter().find(|column| column.name == *name);
            let found = exact.or_else(|| columns.iter().find(|c| same_name(&c.name, name)));
            let Some(column) = found else {
                if self.adding.ignore_extra {
                    continue;
                }
                let what =
                    format!("has a column \"{parent}{name}\" that table \"{table}\" has not");
                return Err(self
                    .error(&what)
                    .with_help("ignore_extra_columns => true leaves it out"));
            };
            if mapped.iter().any(|other| other.column == column.id) {
                return Err(self
                    .error(&format!("has two columns \"{parent}{name}\""))
                    .with_help("names are the same in any case"));
            }
            mapped.push(self.column(field, child_type(types, index), column, parent)?);
        }
        let is_missing = |column: &&Column| !mapped.iter().any(|other| other.column == column.id);
        for column in columns.iter().filter(is_missing) {
            let in_path = parent.is_empty() && self.in_path(&column.name).is_some();
            if !in_path && !self.adding.allow_missing {
                let name = &column.name;
                let what = format!("has no column \"{parent}{name}\", which table \"{table}\" has");
                return Err(self.error(&what).with_help(
                    "allow_missing => true gives its rows the column's default, or NULL",
                ));
            }
        }
        Ok(mapped)
    }

    fn column(
        &self,
        field: &Field,
        parquet: Option<&Type>,
        column: &Column,
        parent: &str,
    ) -> Result<MappedColumn> {
        let below = format!("{parent}{}.", column.name);
        let children = match (field.data_type(), &column.column_type) {
            (DataType::Struct(fields), ColumnType::Struct(columns)) => {
                self.columns(fields, parquet, columns, &below)?
            }
            (DataType::List(field) | DataType::LargeList(field), ColumnType::List(element)) => {
                // What DuckDB calls the element is the node that repeats.
                let repeated = child_type(parquet, 0);
                let mut child = self.column(field, child_type(repeated, 0), element, &below)?;
                child.name = repeated.map_or("list", Type::name).to_owned();
                vec![child]
            }
            (DataType::Map(entries, _), ColumnType::Map(key, value)) => {
                let repeated = child_type(parquet, 0);
                let mut children = Vec::with_capacity(2);
                if let DataType::Struct(fields) = entries.data_type() {
                    for (index, (field, column)) in fields.iter().zip([key, value]).enumerate() {
                        let parquet = child_type(repeated, index);
                        children.push(self.column(field, parquet, column, &below)?);
                    }
                }
                children
            }
            (_, to) => {
                let from = column_from_field(field)?.column_type;
                if !is_read_as(&from, to) {
                    return Err(self
                        .error(&format!(
                            "has {} for column \"{parent}{}\", which is {} in table \"{}\"",
                            display_column_type(&from),
                            column.name,
                            display_column_type(to),
                            self.adding.table.name
                        ))
                        .with_help("INSERT INTO … SELECT with a CAST converts and copies it"));
                }
                vec![]
            }
        };
        Ok(MappedColumn {
            name: field.name().clone(),
            column: column.id,
            is_partition: false,
            children,
        })
    }

    /// What the footer knows of the table's columns.
    fn statistics(
        &self,
        footer: &ParquetMetaData,
        schema: &Schema,
        mapped: &[MappedColumn],
    ) -> Result<BTreeMap<ColumnId, ColumnStats>> {
        let column = |field: &Arc<Field>| {
            let mut column = column_from_field(field)?;
            identify(&mut column, field, mapped.iter().find(|other| other.name == *field.name()));
            Ok(column)
        };
        let of_file = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
        let mut all = stats::collect(footer, &of_file, &[]);
        all.remove(&EXTRA);
        let of_table = leaves(&self.adding.table.columns);
        for leaf in leaves(&of_file) {
            let now = of_table.iter().find(|other| other.id == leaf.id);
            if let (Some(known), Some(now)) = (all.get_mut(&leaf.id), now) {
                retype_stats(known, &leaf.column_type, &now.column_type);
            }
        }
        Ok(all)
    }

    /// The table's columns that the file has not, but its path.
    fn constants(&self, mapped: &[MappedColumn]) -> Result<Vec<(&Column, Option<String>)>> {
        let mut constants = Vec::new();
        for column in &self.adding.table.columns {
            let is_mapped = mapped.iter().any(|other| other.column == column.id);
            let Some(value) = self.in_path(&column.name).filter(|_| !is_mapped) else {
                continue;
            };
            if let Some(text) = &value {
                let data_type = table_field(column)?.data_type().clone();
                let cast = ScalarValue::from(text.as_str()).cast_to(&data_type);
                if cast.map_or(true, |value| value.is_null()) {
                    return Err(self.error(&format!(
                        "is in the directory {}={text}, where table \"{}\" has {}",
                        column.name,
                        self.adding.table.name,
                        display_column_type(&column.column_type)
                    )));
                }
            }
            constants.push((column, value));
        }
        Ok(constants)
    }

    /// What NOT NULL columns promise.
    fn check_nulls(
        &self,
        schema: &Schema,
        mapped: &[MappedColumn],
        stats: &BTreeMap<ColumnId, ColumnStats>,
    ) -> Result<()> {
        for column in self.adding.table.columns.iter().filter(|column| !column.nullable) {
            let found = mapped.iter().find(|other| other.column == column.id);
            let is_required = found.is_some_and(|found| {
                schema.field_with_name(&found.name).is_ok_and(|field| !field.is_nullable())
            });
            let none_counted = stats.get(&column.id).is_some_and(|s| s.null_count == Some(0));
            let has_default = found.is_none() && column.initial_default.is_some();
            if !is_required && !none_counted && !has_default {
                return Err(self
                    .error(&format!(
                        "may have NULL in column \"{}\", which is NOT NULL in table \"{}\"",
                        column.name, self.adding.table.name
                    ))
                    .with_help("INSERT INTO … SELECT * FROM 'file' checks and copies it"));
            }
        }
        Ok(())
    }

    /// The partition of the table that the file is in; only its path can tell.
    fn partition(&self, mapped: &[MappedColumn]) -> Result<Option<FilePartition>> {
        let Some(spec) = &self.adding.table.partition else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(spec.keys.len());
        for key in &spec.keys {
            let found =
                mapped.iter().find(|other| other.column == key.column && other.is_partition);
            let value = found.and_then(|found| self.in_path(&found.name));
            let Some(value) = value.filter(|_| key.transform == Transform::Identity) else {
                return Err(self
                    .error(&format!(
                        "does not tell by its directories which partition of table \"{}\" it is",
                        self.adding.table.name
                    ))
                    .with_help(
                        "INSERT INTO … SELECT * FROM 'file' puts its rows where they belong",
                    ));
            };
            values.push(value);
        }
        Ok(Some(FilePartition { id: spec.id, values }))
    }

    /// The value of a column by the file's directories, if that counts.
    fn in_path(&self, column: &str) -> Option<Option<String>> {
        hive_value(self.path, column).filter(|_| self.adding.hive)
    }

    fn error(&self, what: &str) -> Error {
        Error::invalid(format!("'{}' {what}", self.path))
    }
}

fn child_type(parent: Option<&Type>, index: usize) -> Option<&Type> {
    parent.filter(|parent| parent.is_group())?.get_fields().get(index).map(AsRef::as_ref)
}

/// Whether a file's values of `from` may stand in a column of `to`, as in DuckDB.
fn is_read_as(from: &ColumnType, to: &ColumnType) -> bool {
    use ColumnType as C;
    let is_time = |column_type: &ColumnType| {
        matches!(column_type, C::TimestampS | C::TimestampMs | C::Timestamp | C::TimestampNs)
    };
    let is_decimal = |column_type: &ColumnType| matches!(column_type, C::Decimal { .. });
    let is_integer = |column_type: &ColumnType| {
        !is_decimal(column_type) && widens(column_type, &C::Decimal { precision: 38, scale: 0 })
    };
    match (from, to) {
        _ if from == to => true,
        (C::Float32, C::Float64) => true,
        _ if is_time(from) && is_time(to) => true,
        _ => {
            let is_alike =
                (is_decimal(from) && is_decimal(to)) || (is_integer(from) && is_integer(to));
            is_alike && widens(from, to)
        }
    }
}

/// Gives a file's column the id it has in the table, so that its statistics are found by it.
fn identify(column: &mut Column, field: &Field, mapped: Option<&MappedColumn>) {
    column.id = mapped.map_or(EXTRA, |mapped| mapped.column);
    let children = mapped.map_or(&[][..], |mapped| &mapped.children);
    match (&mut column.column_type, field.data_type()) {
        (ColumnType::Struct(columns), DataType::Struct(fields)) => {
            for (column, field) in columns.iter_mut().zip(fields) {
                identify(column, field, children.iter().find(|other| other.name == *field.name()));
            }
        }
        (ColumnType::List(element), DataType::List(field) | DataType::LargeList(field)) => {
            identify(element, field, children.first());
        }
        (ColumnType::Map(key, value), DataType::Map(entries, _)) => {
            if let DataType::Struct(fields) = entries.data_type() {
                for (index, (column, field)) in [key, value].into_iter().zip(fields).enumerate() {
                    identify(column, field, children.get(index));
                }
            }
        }
        // Bounds would be read in the unit that the column type has.
        (_, DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond)) => column.id = EXTRA,
        (_, DataType::Timestamp(unit, Some(_))) if *unit != TimeUnit::Microsecond => {
            column.id = EXTRA;
        }
        _ => {}
    }
}
