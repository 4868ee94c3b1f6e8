//! Arrays between a column's table form and its file form (see [`super::types`]).
//!
//! Only the values of UUIDs, intervals and `timestamp_s` differ; every other array passes through
//! untouched. Nested arrays are rebuilt around their children: to a file always, because a file's
//! nested fields carry their ids, to a table only around a child that differs.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, IntervalMonthDayNanoBuilder, ListArray,
    MapArray, StringViewBuilder, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalMonthDayNanoType};
use uuid::Uuid;

use super::types::{file_field, table_field};
use crate::catalog::model::{Column, ColumnType};
use crate::error::{Error, ErrorKind, Result};

/// Which way an array goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// Table form to file form, on write.
    ToFile,
    /// File form to table form, on read.
    ToTable,
}

/// Whether the two forms of a column differ.
pub(crate) fn differs(column: &Column) -> bool {
    match column.column_type {
        ColumnType::Uuid | ColumnType::Interval | ColumnType::TimestampS => true,
        _ => column.children().into_iter().any(differs),
    }
}

/// The array in the other form.
pub(crate) fn convert(array: &ArrayRef, column: &Column, direction: Direction) -> Result<ArrayRef> {
    let is_nested = !column.children().is_empty();
    let is_rebuilt = differs(column) || (is_nested && direction == Direction::ToFile);
    if !is_rebuilt {
        return Ok(Arc::clone(array));
    }
    let target = match direction {
        Direction::ToFile => file_field(column)?,
        Direction::ToTable => table_field(column)?,
    };
    let target = target.data_type();
    match &column.column_type {
        ColumnType::TimestampS => cast(array, target).map_err(|e| internal(&e)),
        ColumnType::Uuid if direction == Direction::ToFile => uuid_bytes(array, &column.name),
        ColumnType::Uuid => uuid_text(array),
        ColumnType::Interval if direction == Direction::ToFile => interval_text(array),
        ColumnType::Interval => interval_value(array, &column.name),
        _ => nested(array, column, target, direction),
    }
}

fn nested(
    array: &ArrayRef,
    column: &Column,
    target: &DataType,
    direction: Direction,
) -> Result<ArrayRef> {
    match (target, &column.column_type) {
        (DataType::Struct(fields), ColumnType::Struct(columns)) => {
            let array = array.as_struct();
            let children = array.columns().iter().zip(columns).zip(fields);
            let children = children
                .map(|((array, column), field)| child(array, column, field, direction))
                .collect::<Result<_>>()?;
            let array = StructArray::try_new(fields.clone(), children, array.nulls().cloned());
            Ok(Arc::new(array.map_err(|e| internal(&e))?))
        }
        (DataType::List(field), ColumnType::List(element)) => {
            let array: &ListArray = array.as_list();
            let values = child(array.values(), element, field, direction)?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            let array = ListArray::try_new(Arc::clone(field), offsets, values, nulls);
            Ok(Arc::new(array.map_err(|e| internal(&e))?))
        }
        (DataType::Map(field, sorted), ColumnType::Map(key, value)) => {
            let array = array.as_map();
            let DataType::Struct(fields) = field.data_type() else {
                return Err(Error::internal("a map without entries"));
            };
            let children = vec![
                child(array.keys(), key, &fields[0], direction)?,
                child(array.values(), value, &fields[1], direction)?,
            ];
            let entries =
                StructArray::try_new(fields.clone(), children, None).map_err(|e| internal(&e))?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            let array = MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted);
            Ok(Arc::new(array.map_err(|e| internal(&e))?))
        }
        _ => Err(Error::internal("a column and its array have different types")),
    }
}

/// A child in the other form, and in the type that nested values have there.
fn child(
    array: &ArrayRef,
    column: &Column,
    field: &Field,
    direction: Direction,
) -> Result<ArrayRef> {
    let array = convert(array, column, direction)?;
    match array.data_type() == field.data_type() {
        true => Ok(array),
        false => cast(&array, field.data_type()).map_err(|e| internal(&e)),
    }
}

fn uuid_bytes(array: &ArrayRef, column: &str) -> Result<ArrayRef> {
    let array = cast(array, &DataType::Utf8View).map_err(|e| internal(&e))?;
    let array = array.as_string_view();
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for text in array {
        match text {
            None => builder.append_null(),
            Some(text) => {
                let uuid = Uuid::parse_str(text.trim()).map_err(|e| {
                    Error::invalid(format!("column \"{column}\": {text:?} is not a UUID"))
                        .with_source(e)
                })?;
                builder.append_value(uuid.as_bytes()).map_err(|e| internal(&e))?;
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn uuid_text(array: &ArrayRef) -> Result<ArrayRef> {
    let array = array
        .as_fixed_size_binary_opt()
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a uuid column does not hold 16 bytes"))?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut buffer = Uuid::encode_buffer();
    for bytes in array {
        match bytes.and_then(|bytes| Uuid::from_slice(bytes).ok()) {
            None => builder.append_null(),
            Some(uuid) => builder.append_value(uuid.hyphenated().encode_lower(&mut buffer)),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Text that DuckDB and [`interval_value`] read: `14 months 3 days 500000 microseconds`.
fn interval_text(array: &ArrayRef) -> Result<ArrayRef> {
    let array = array.as_primitive::<IntervalMonthDayNanoType>();
    let mut builder = StringViewBuilder::with_capacity(array.len());
    for value in array {
        match value {
            None => builder.append_null(),
            Some(IntervalMonthDayNano { months, days, nanoseconds }) => {
                let micros = nanoseconds / 1000;
                builder.append_value(format!("{months} months {days} days {micros} microseconds"));
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn interval_value(array: &ArrayRef, column: &str) -> Result<ArrayRef> {
    let text = match array.data_type() {
        DataType::Interval(_) => {
            return Err(Error::unsupported(format!(
                "column \"{column}\" is stored as a Parquet INTERVAL, which cannot be read"
            ))
            .with_help("rewrite the table with its interval cast to VARCHAR"));
        }
        DataType::Utf8View => Arc::clone(array),
        _ => cast(array, &DataType::Utf8View).map_err(|e| internal(&e))?,
    };
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(text.len());
    for text in text.as_string_view() {
        let value = text.map(|text| {
            parse_interval(text).ok_or_else(|| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("column \"{column}\": {text:?} is not an interval"),
                )
            })
        });
        builder.append_option(value.transpose()?);
    }
    Ok(Arc::new(builder.finish()))
}

/// The interval in a text of ours, DuckDB's or PostgreSQL's: `14 months 3 days 500000 microseconds`,
/// `1 year 2 mons -3 days 01:02:03.5`.
pub(crate) fn parse_interval(text: &str) -> Option<IntervalMonthDayNano> {
    let (mut months, mut days, mut nanos) = (0i32, 0i32, 0i64);
    let mut words = text.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word.contains(':') {
            nanos = nanos.checked_add(parse_clock(word)?)?;
            continue;
        }
        let amount: i64 = word.parse().ok()?;
        let small = i32::try_from(amount).ok();
        match words.next()?.trim_end_matches('s') {
            "year" => months = months.checked_add(small?.checked_mul(12)?)?,
            "month" | "mon" => months = months.checked_add(small?)?,
            "day" => days = days.checked_add(small?)?,
            "microsecond" => nanos = nanos.checked_add(amount.checked_mul(1000)?)?,
            _ => return None,
        }
    }
    Some(IntervalMonthDayNano::new(months, days, nanos))
}

/// Nanoseconds of `[+-]HH:MM:SS[.fraction]`; there may be more than 24 hours.
fn parse_clock(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds = parts.next().unwrap_or("0");
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let whole = hours.checked_mul(3600)?.checked_add(minutes * 60)?.checked_add(seconds)?;
    Some(sign * whole.checked_mul(1_000_000_000)?.checked_add(fraction)?)
}

fn internal(error: &arrow::error::ArrowError) -> Error {
    Error::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_all_writers_are_read() {
        for (text, expected) in [
            ("14 months 3 days 500000 microseconds", (14, 3, 500_000_000)),
            ("1 year 2 mons 3 days 00:00:01", (14, 3, 1_000_000_000)),
            ("-1 days +02:03:00", (0, -1, 7_380_000_000_000)),
            ("-1 years -2 months -00:00:00.5", (-14, 0, -500_000_000)),
            ("00:00:00", (0, 0, 0)),
            ("30:00:00.123456", (0, 0, 108_000_123_456_000)),
        ] {
            let (months, days, nanos) = expected;
            let expected = IntervalMonthDayNano::new(months, days, nanos);
            assert_eq!(parse_interval(text), Some(expected), "{text}");
        }
        for text in ["x", "1", "1 week ago", "1:2:x", "99999999999 years"] {
            assert_eq!(parse_interval(text), None, "{text}");
        }
    }
}
