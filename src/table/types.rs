//! Catalog column types and Arrow types, both ways, and their names for people.
//!
//! A column has two Arrow forms. Its *table form* is what queries see: text as `Utf8View`, UUIDs as
//! text, `timestamp_s` in seconds, intervals as `Interval(MonthDayNano)`. Its *file form* is what
//! Parquet stores, chosen so that DuckDB reads it as the same type: UUIDs as 16 bytes,
//! `timestamp_s` in microseconds, intervals as text (Parquet's own INTERVAL type cannot be read
//! back by this Parquet library). [`super::convert`] moves arrays between the two.
//!
//! `json` and `uuid` are text to Arrow, so the table form carries the name in the field's metadata
//! under [`TYPE_KEY`]; it survives projection, and CREATE TABLE AS keeps the type.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit,
};
use datafusion::logical_expr::planner::TypePlanner;
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, RowNumber};

use crate::catalog::model::{Column, ColumnId, ColumnType};
use crate::catalog::type_name;
use crate::error::{Error, Result};
use crate::sql::types::child;

/// The metadata key that names a column type which Arrow alone does not tell.
pub(crate) const TYPE_KEY: &str = "gotgan.type";

/// The key of Arrow's canonical extension types.
const EXTENSION_KEY: &str = "ARROW:extension:name";

/// The columns that files of several snapshots, and of rows that moved, keep besides the user's;
/// readers know them by these field ids.
pub(crate) const ROW_ID_COLUMN: &str = "_ducklake_internal_row_id";
pub(crate) const ROW_ID: i64 = 2_147_483_540;
pub(crate) const SNAPSHOT_COLUMN: &str = "_ducklake_internal_snapshot_id";
pub(crate) const ROW_SNAPSHOT_ID: i64 = 2_147_483_539;

/// What tells one row of a table from all others, as columns after its own. No column of a table can
/// have such a name.
pub(crate) struct Identity;

impl Identity {
    /// The row id, where a file keeps each row's own.
    pub(crate) const ROW_ID: &str = "\0row_id";
    /// The id of the data file.
    pub(crate) const FILE: &str = "\0file";
    /// The row id of the file's first row.
    pub(crate) const FIRST_ROW_ID: &str = "\0first_row_id";
    /// The position in the file, from 0.
    pub(crate) const POSITION: &str = "\0position";
    /// The snapshot that the row came with, where a file keeps each row's own.
    pub(crate) const SNAPSHOT: &str = "\0snapshot";
    /// The snapshot that the file came with.
    pub(crate) const FIRST_SNAPSHOT: &str = "\0first_snapshot";

    /// All of it.
    pub(crate) const ALL: [&str; 6] = [
        Self::ROW_ID,
        Self::SNAPSHOT,
        Self::FILE,
        Self::FIRST_ROW_ID,
        Self::FIRST_SNAPSHOT,
        Self::POSITION,
    ];

    pub(crate) fn columns() -> [Column; 2] {
        [(ROW_ID, Self::ROW_ID), (ROW_SNAPSHOT_ID, Self::SNAPSHOT)]
            .map(|(id, name)| Column { id: ColumnId(id), ..child(name, ColumnType::Int64) })
    }

    pub(crate) fn constants() -> [Field; 3] {
        [Self::FILE, Self::FIRST_ROW_ID, Self::FIRST_SNAPSHOT]
            .map(|name| Field::new(name, DataType::Int64, true))
    }

    pub(crate) fn position() -> Field {
        Field::new(Self::POSITION, DataType::Int64, true).with_extension_type(RowNumber)
    }
}

/// A field of a file under its id.
pub(crate) fn with_field_id(field: Field, id: i64) -> Field {
    field.with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.into(), id.to_string())]))
}

/// The schema that queries see.
pub(crate) fn table_schema(columns: &[Column]) -> Result<SchemaRef> {
    let fields = columns.iter().map(table_field).collect::<Result<Fields>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The schema of the files, with the Parquet field ids.
pub(crate) fn file_schema(columns: &[Column]) -> Result<SchemaRef> {
    let fields = columns.iter().map(file_field).collect::<Result<Fields>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// A column as queries see it.
pub(crate) fn table_field(column: &Column) -> Result<Field> {
    let data_type = match &column.column_type {
        ColumnType::TimestampS => DataType::Timestamp(TimeUnit::Second, None),
        ColumnType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        ColumnType::Uuid => DataType::Utf8View,
        _ => arrow_type(column, |child| Ok(plain(table_field(child)?)))?,
    };
    let field = Field::new(&column.name, data_type, column.nullable);
    Ok(match column.column_type {
        ColumnType::Uuid => named(field, "uuid"),
        ColumnType::Json => named(field, "json"),
        _ => field,
    })
}

/// A column as files store it.
pub(crate) fn file_field(column: &Column) -> Result<Field> {
    let data_type = match &column.column_type {
        ColumnType::TimestampS => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::Interval => DataType::Utf8View,
        ColumnType::Uuid => DataType::FixedSizeBinary(16),
        _ => arrow_type(column, |child| Ok(plain(file_field(child)?)))?,
    };
    let mut metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.into(), column.id.to_string())]);
    match column.column_type {
        ColumnType::Uuid => metadata.insert(EXTENSION_KEY.into(), "arrow.uuid".into()),
        ColumnType::Json => metadata.insert(EXTENSION_KEY.into(), "arrow.json".into()),
        _ => None,
    };
    // Every column is optional in the file: NOT NULL is the writer's check, and may be dropped.
    Ok(Field::new(&column.name, data_type, true).with_metadata(metadata))
}

/// Text and binary inside of nested values are not views: the engine's functions on lists and maps
/// compare them with plain text.
fn plain(field: Field) -> Field {
    match field.data_type() {
        DataType::Utf8View => field.with_data_type(DataType::Utf8),
        DataType::BinaryView => field.with_data_type(DataType::Binary),
        _ => field,
    }
}

/// What both forms have in common; `of` gives the children.
fn arrow_type(column: &Column, of: fn(&Column) -> Result<Field>) -> Result<DataType> {
    use ColumnType as C;
    Ok(match &column.column_type {
        C::Boolean => DataType::Boolean,
        C::Int8 => DataType::Int8,
        C::Int16 => DataType::Int16,
        C::Int32 => DataType::Int32,
        C::Int64 => DataType::Int64,
        C::UInt8 => DataType::UInt8,
        C::UInt16 => DataType::UInt16,
        C::UInt32 => DataType::UInt32,
        C::UInt64 => DataType::UInt64,
        C::Float32 => DataType::Float32,
        C::Float64 => DataType::Float64,
        C::Decimal { precision, scale } => DataType::Decimal128(*precision, scale.cast_signed()),
        C::Date => DataType::Date32,
        C::Time => DataType::Time64(TimeUnit::Microsecond),
        C::TimestampMs => DataType::Timestamp(TimeUnit::Millisecond, None),
        C::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        C::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        C::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        C::Varchar | C::Json => DataType::Utf8View,
        C::Blob => DataType::BinaryView,
        C::Struct(fields) => DataType::Struct(fields.iter().map(of).collect::<Result<Fields>>()?),
        C::List(element) => DataType::List(Arc::new(of(element)?)),
        C::Map(key, value) => {
            let entries = Fields::from(vec![of(key)?.with_nullable(false), of(value)?]);
            let entries = Field::new("key_value", DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), false)
        }
        C::TimestampS | C::Interval | C::Uuid => {
            return Err(Error::internal("a type with two forms has no common one"));
        }
        C::Other(name) => {
            return Err(Error::unsupported(format!(
                "column \"{}\" has type {name}, which cannot be read",
                column.name
            ))
            .with_help("read the table with DuckDB, or select it into another type there"));
        }
    })
}

/// The same names in casts and elsewhere in queries.
#[derive(Debug)]
pub(crate) struct TypeNames;

impl TypePlanner for TypeNames {
    fn plan_type_field(
        &self,
        sql: &sqlparser::ast::DataType,
    ) -> datafusion::common::Result<Option<FieldRef>> {
        // What no column can have may still be a type of the engine's.
        match crate::sql::types::column_type(sql) {
            Ok(column_type) => Ok(Some(Arc::new(table_field(&child("", column_type))?))),
            Err(_) => Ok(None),
        }
    }
}

fn named(field: Field, name: &str) -> Field {
    field.with_metadata(HashMap::from([(TYPE_KEY.into(), name.into())]))
}

/// The column type that stores values of a query's output field; ids are not assigned yet.
pub(crate) fn column_from_field(field: &Field) -> Result<Column> {
    let column_type = from_arrow(field)?;
    Ok(Column { nullable: true, ..child(field.name(), column_type) })
}

fn from_arrow(field: &Field) -> Result<ColumnType> {
    use DataType as D;
    let extension = field.metadata().get(TYPE_KEY).or(field.metadata().get(EXTENSION_KEY));
    match extension.map(String::as_str) {
        Some("uuid" | "arrow.uuid") => return Ok(ColumnType::Uuid),
        Some("json" | "arrow.json") => return Ok(ColumnType::Json),
        _ => {}
    }
    let nested = |name: &str, field: &Field| -> Result<Box<Column>> {
        Ok(Box::new(child(name, from_arrow(field)?)))
    };
    Ok(match field.data_type() {
        D::Boolean => ColumnType::Boolean,
        D::Int8 => ColumnType::Int8,
        D::Int16 => ColumnType::Int16,
        // DuckDB's choice for a column that is NULL throughout.
        D::Int32 | D::Null => ColumnType::Int32,
        D::Int64 => ColumnType::Int64,
        D::UInt8 => ColumnType::UInt8,
        D::UInt16 => ColumnType::UInt16,
        D::UInt32 => ColumnType::UInt32,
        D::UInt64 => ColumnType::UInt64,
        D::Float16 | D::Float32 => ColumnType::Float32,
        D::Float64 => ColumnType::Float64,
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale)
        | D::Decimal256(precision, scale) => decimal(*precision, *scale),
        D::Date32 => ColumnType::Date,
        D::Date64 => ColumnType::TimestampMs,
        D::Time32(_) | D::Time64(_) => ColumnType::Time,
        D::Timestamp(_, Some(_)) => ColumnType::TimestampTz,
        D::Timestamp(TimeUnit::Second, None) => ColumnType::TimestampS,
        D::Timestamp(TimeUnit::Millisecond, None) => ColumnType::TimestampMs,
        D::Timestamp(TimeUnit::Microsecond, None) => ColumnType::Timestamp,
        D::Timestamp(TimeUnit::Nanosecond, None) => ColumnType::TimestampNs,
        D::Interval(_) | D::Duration(_) => ColumnType::Interval,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => ColumnType::Varchar,
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => ColumnType::Blob,
        D::List(element)
        | D::LargeList(element)
        | D::FixedSizeList(element, _)
        | D::ListView(element)
        | D::LargeListView(element) => ColumnType::List(nested("element", element)?),
        D::Struct(fields) => {
            let fields = fields.iter().map(|f| Ok(*nested(f.name(), f)?));
            ColumnType::Struct(fields.collect::<Result<_>>()?)
        }
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(fields) if fields.len() == 2 => {
                ColumnType::Map(nested("key", &fields[0])?, nested("value", &fields[1])?)
            }
            _ => return Err(Error::internal("a map without key and value")),
        },
        D::Dictionary(_, value) => {
            return from_arrow(&Field::new(field.name(), value.as_ref().clone(), true));
        }
        D::RunEndEncoded(_, values) => return from_arrow(values),
        D::Union(..) => {
            return Err(Error::unsupported(format!(
                "column \"{}\" is a union, which a table cannot store",
                field.name()
            ))
            .with_help("cast it to VARCHAR"));
        }
    })
}

/// Sums and products widen decimals past 38 digits; the digits after the point are kept.
fn decimal(precision: u8, scale: i8) -> ColumnType {
    let scale = scale.max(0).cast_unsigned().min(38);
    ColumnType::Decimal { precision: precision.clamp(scale.max(1), 38), scale }
}

/// A field's type as people write it in SQL.
pub fn display_type(field: &Field) -> String {
    match column_from_field(field) {
        Ok(column) if *field.data_type() != DataType::Null => {
            display_column_type(&column.column_type)
        }
        _ => field.data_type().to_string().to_lowercase(),
    }
}

/// A column type's name as people write it in SQL.
pub(crate) fn display_column_type(column_type: &ColumnType) -> String {
    use ColumnType as C;
    let quoted = |column: &Column| {
        let name = crate::sql::name::quote(&column.name);
        format!("{name} {}", display_column_type(&column.column_type))
    };
    match column_type {
        C::Float32 => "float".into(),
        C::Float64 => "double".into(),
        C::TimestampTz => "timestamp with time zone".into(),
        C::Struct(fields) => {
            format!("struct({})", fields.iter().map(quoted).collect::<Vec<_>>().join(", "))
        }
        C::List(element) => format!("{}[]", display_column_type(&element.column_type)),
        C::Map(key, value) => format!(
            "map({}, {})",
            display_column_type(&key.column_type),
            display_column_type(&value.column_type)
        ),
        other => type_name(other),
    }
}
