//! A written file's statistics in the catalog's form.
//!
//! They come from the Parquet footer, one leaf column at a time, as the text DuckDB would print.
//! What has no sound text (binary, intervals, bounds with NUL) is left unknown.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Time64MicrosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use uuid::Uuid;

use crate::catalog::model::{Column, ColumnId, ColumnStats, ColumnType};

/// Statistics of every leaf column; `nan` says for each top-level column whether it holds a NaN.
pub(crate) fn collect(
    metadata: &ParquetMetaData,
    columns: &[Column],
    nan: &[bool],
) -> BTreeMap<ColumnId, ColumnStats> {
    let mut leaves = Vec::new();
    columns.iter().for_each(|column| push_leaves(column, &mut leaves));
    leaves
        .into_iter()
        .enumerate()
        .map(|(index, leaf)| {
            let mut stats = leaf_stats(metadata, index, leaf);
            let top_level = columns.iter().position(|column| column.id == leaf.id);
            if let (ColumnType::Float32 | ColumnType::Float64, Some(top)) =
                (&leaf.column_type, top_level)
            {
                stats.contains_nan = nan.get(top).copied();
            }
            (leaf.id, stats)
        })
        .collect()
}

/// Parquet's leaf order is depth first, as the columns are.
fn push_leaves<'a>(column: &'a Column, leaves: &mut Vec<&'a Column>) {
    match column.children() {
        children if children.is_empty() => leaves.push(column),
        children => children.into_iter().for_each(|child| push_leaves(child, leaves)),
    }
}

fn leaf_stats(metadata: &ParquetMetaData, index: usize, leaf: &Column) -> ColumnStats {
    let chunks = metadata.row_groups().iter().map(|group| group.column(index));
    let (mut size, mut values, mut nulls) = (0, 0, Some(0));
    let mut bounds: Option<(Bound, Bound)> = None;
    let mut is_sound = true;
    for chunk in chunks {
        size += chunk.compressed_size().max(0).cast_unsigned();
        values += chunk.num_values().max(0).cast_unsigned();
        let statistics = chunk.statistics();
        let chunk_nulls = statistics.and_then(Statistics::null_count_opt);
        nulls = nulls.zip(chunk_nulls).map(|(all, these)| all + these);
        if chunk_nulls == Some(chunk.num_values().max(0).cast_unsigned()) {
            continue;
        }
        match statistics.and_then(|statistics| chunk_bounds(statistics, &leaf.column_type)) {
            Some((min, max)) => {
                bounds = Some(match bounds.take() {
                    Some((low, high)) => (low.smaller(min), high.larger(max)),
                    None => (min, max),
                });
            }
            // Of values some are numbers unless all are NaN, which bounds leave out.
            None if matches!(leaf.column_type, ColumnType::Float32 | ColumnType::Float64) => {}
            None => is_sound = false,
        }
    }
    let bounds = bounds.filter(|_| is_sound);
    let text = |bound: &Bound| bound.text(&leaf.column_type);
    ColumnStats {
        column_size_bytes: size,
        value_count: nulls.map(|nulls| values.saturating_sub(nulls)),
        null_count: nulls,
        min: bounds.as_ref().and_then(|(min, _)| text(min)),
        max: bounds.as_ref().and_then(|(_, max)| text(max)),
        contains_nan: None,
    }
}

/// A bound in a form that compares as its column does.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Bound {
    /// Integers, decimals, dates and times in their own unit.
    Int(i128),
    Float(f64),
    Bytes(Vec<u8>),
}

impl Bound {
    fn smaller(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    fn text(&self, column_type: &ColumnType) -> Option<String> {
        use ColumnType as C;
        // DuckDB takes the ends of the range for infinity and does not read them as times.
        let is_end = matches!(self, Self::Int(value) if value.unsigned_abs() >= i64::MAX as u128);
        let is_time =
            matches!(column_type, C::TimestampMs | C::TimestampNs | C::Timestamp | C::TimestampTz);
        if is_end && is_time {
            return None;
        }
        match (self, column_type) {
            (Self::Int(value), C::Decimal { precision, scale }) => {
                let array = Decimal128Array::from_iter_values([*value]);
                let array = array.with_precision_and_scale(*precision, scale.cast_signed()).ok()?;
                format_value(&array)
            }
            (Self::Int(value), C::Date) => temporal::<Date32Type>(i32::try_from(*value).ok()?),
            (Self::Int(value), C::Time) => {
                temporal::<Time64MicrosecondType>(i64::try_from(*value).ok()?)
            }
            (Self::Int(value), C::TimestampMs) => {
                temporal::<TimestampMillisecondType>(i64::try_from(*value).ok()?)
            }
            (Self::Int(value), C::TimestampNs) => {
                temporal::<TimestampNanosecondType>(i64::try_from(*value).ok()?)
            }
            (Self::Int(value), C::Timestamp | C::TimestampS) => {
                temporal::<TimestampMicrosecondType>(i64::try_from(*value).ok()?)
            }
            (Self::Int(value), C::TimestampTz) => {
                let text = temporal::<TimestampMicrosecondType>(i64::try_from(*value).ok()?)?;
                Some(text + "+00")
            }
            (Self::Int(value), _) => Some(value.to_string()),
            // Writers should leave it out of bounds, and not all do.
            (Self::Float(value), _) if value.is_nan() => None,
            // A shortest round trip either way; single precision is widened exactly.
            (Self::Float(value), C::Float32) => Some(format!("{:?}", *value as f32)),
            (Self::Float(value), _) => Some(format!("{value:?}")),
            (Self::Bytes(bytes), C::Uuid) => Some(Uuid::from_slice(bytes).ok()?.to_string()),
            (Self::Bytes(bytes), _) => {
                let text = std::str::from_utf8(bytes).ok()?;
                (!text.contains('\0')).then(|| text.to_owned())
            }
        }
    }
}

fn chunk_bounds(statistics: &Statistics, column_type: &ColumnType) -> Option<(Bound, Bound)> {
    use ColumnType as C;
    let int = |min: i128, max: i128| Some((Bound::Int(min), Bound::Int(max)));
    match (statistics, column_type) {
        (_, C::Blob | C::Interval | C::Other(_)) => None,
        (Statistics::Boolean(s), _) => int((*s.min_opt()?).into(), (*s.max_opt()?).into()),
        (Statistics::Int32(s), C::UInt8 | C::UInt16 | C::UInt32) => {
            int(s.min_opt()?.cast_unsigned().into(), s.max_opt()?.cast_unsigned().into())
        }
        (Statistics::Int32(s), _) => int((*s.min_opt()?).into(), (*s.max_opt()?).into()),
        (Statistics::Int64(s), C::UInt64) => {
            int(s.min_opt()?.cast_unsigned().into(), s.max_opt()?.cast_unsigned().into())
        }
        (Statistics::Int64(s), _) => int((*s.min_opt()?).into(), (*s.max_opt()?).into()),
        (Statistics::Float(s), _) => {
            Some((Bound::Float((*s.min_opt()?).into()), Bound::Float((*s.max_opt()?).into())))
        }
        (Statistics::Double(s), _) => {
            Some((Bound::Float(*s.min_opt()?), Bound::Float(*s.max_opt()?)))
        }
        (Statistics::FixedLenByteArray(s), C::Decimal { .. }) => {
            int(big_endian(s.min_opt()?.data())?, big_endian(s.max_opt()?.data())?)
        }
        (Statistics::FixedLenByteArray(s), C::Uuid) => Some((
            Bound::Bytes(s.min_opt()?.data().to_vec()),
            Bound::Bytes(s.max_opt()?.data().to_vec()),
        )),
        (Statistics::ByteArray(s), C::Varchar | C::Json) => Some((
            Bound::Bytes(s.min_opt()?.data().to_vec()),
            Bound::Bytes(s.max_opt()?.data().to_vec()),
        )),
        _ => None,
    }
}

/// A two's complement big-endian integer of at most 16 bytes.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = *bytes.first()? >= 0x80;
    let mut full = [if negative { 0xff } else { 0 }; 16];
    full.get_mut(16usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(full))
}

fn temporal<T: ArrowPrimitiveType>(value: T::Native) -> Option<String> {
    let array: ArrayRef = std::sync::Arc::new(PrimitiveArray::<T>::from_iter_values([value]));
    format_value(array.as_ref())
}

/// One value's text, without fractional zeros; `None` for what lies outside of the calendar.
fn format_value(array: &dyn Array) -> Option<String> {
    let format = "%Y-%m-%d %H:%M:%S%.f";
    let options = FormatOptions::default()
        .with_display_error(false)
        .with_timestamp_format(Some(format))
        .with_time_format(Some("%H:%M:%S%.f"));
    let text = ArrayFormatter::try_new(array, &options).ok()?.value(0).try_to_string().ok()?;
    let is_common_era = text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && !(text.starts_with('-') && text.contains(':'));
    let is_dated = matches!(array.data_type(), arrow::datatypes::DataType::Date32);
    (is_common_era && !(is_dated && text.starts_with('-'))).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_print_as_duckdb_does() {
        use ColumnType as C;
        for (bound, column_type, text) in [
            (Bound::Int(150), C::Decimal { precision: 10, scale: 2 }, Some("1.50")),
            (Bound::Int(-5), C::Decimal { precision: 10, scale: 2 }, Some("-0.05")),
            (Bound::Int(0), C::Date, Some("1970-01-01")),
            (Bound::Int(3_723_500_000), C::Time, Some("01:02:03.500")),
            (Bound::Int(1_500_000), C::Timestamp, Some("1970-01-01 00:00:01.500")),
            (Bound::Int(0), C::TimestampTz, Some("1970-01-01 00:00:00+00")),
            (Bound::Int(1), C::Boolean, Some("1")),
            (Bound::Int(i64::MAX.into()), C::TimestampNs, None),
            (Bound::Float(0.1), C::Float64, Some("0.1")),
            (Bound::Bytes(b"a\0b".to_vec()), C::Varchar, None),
        ] {
            assert_eq!(bound.text(&column_type).as_deref(), text, "{column_type:?}");
        }
        // Before our era, and beyond the calendar: unknown rather than another engine's format.
        assert_eq!(Bound::Int(-800_000).text(&C::Date), None);
        assert_eq!(Bound::Int(i64::MAX.into()).text(&C::Timestamp), None);
    }

    #[test]
    fn decimals_of_any_width_are_read() {
        assert_eq!(big_endian(&[0xff, 0x38]), Some(-200));
        assert_eq!(big_endian(&[0x01, 0x00]), Some(256));
        assert_eq!(big_endian(&i128::MIN.to_be_bytes()), Some(i128::MIN));
        assert_eq!(big_endian(&[0; 17]), None);
    }
}
