//! The catalog's statistics as the optimizer's.
//!
//! Bounds in the catalog are text, sound and never too narrow. Text and binary bounds may be wider
//! than the data (writers truncate), so they serve pruning and estimates but not `MIN` and `MAX`.
//! What does not parse is unknown, which is always safe.

use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;

use crate::catalog::model::{Column, ColumnStats, DataFile, TableSummary};

/// What is known of one file, with every sound bound marked exact: the form that pruning takes.
/// A bound that is not known is a NULL of the column's type; without one, a single such file would
/// keep the engine from pruning the others.
pub(crate) fn bounds(file: &DataFile, columns: &[Column], schema: &Schema) -> Statistics {
    let columns = columns.iter().zip(schema.fields());
    Statistics {
        num_rows: Precision::Exact(file.record_count as usize),
        total_byte_size: Precision::Inexact(file.file_size_bytes as usize),
        column_statistics: columns
            .map(|(column, field)| match file.column_stats.get(&column.id) {
                Some(stats) => column_bounds(stats, field.data_type()),
                None => ColumnStatistics {
                    min_value: unknown(field.data_type()),
                    max_value: unknown(field.data_type()),
                    ..ColumnStatistics::new_unknown()
                },
            })
            .collect(),
    }
}

/// The same with bounds that may be wider than the data marked inexact and unknown ones absent: the
/// form that answers aggregates.
pub(crate) fn exact_only(mut statistics: Statistics, schema: &Schema) -> Statistics {
    for (column, field) in statistics.column_statistics.iter_mut().zip(schema.fields()) {
        for bound in [&mut column.min_value, &mut column.max_value] {
            *bound = match std::mem::take(bound) {
                Precision::Exact(value) if value.is_null() => Precision::Absent,
                known if has_exact_bounds(field.data_type()) => known,
                wide => wide.to_inexact(),
            };
        }
    }
    statistics
}

/// The same for a file of whose rows `missing` are not there: bounds may be wider than what is left.
pub(crate) fn without(statistics: Statistics, missing: u64) -> Statistics {
    let num_rows = statistics.num_rows;
    let left = |rows: usize| rows.saturating_sub(missing as usize);
    Statistics {
        num_rows: num_rows.get_value().map_or(num_rows, |rows| Precision::Exact(left(*rows))),
        ..statistics.to_inexact()
    }
}

/// What is known of a table as a whole, nothing of it exact: the form that estimates take.
pub(crate) fn estimates(summary: &TableSummary, columns: &[Column], schema: &Schema) -> Statistics {
    let of_column = |(index, field): (usize, &FieldRef)| {
        let known = columns.get(index).and_then(|column| summary.columns.get(&column.id));
        let Some(known) = known else { return ColumnStatistics::new_unknown() };
        let bound = |text: &Option<String>| {
            let value = text.as_deref().and_then(|text| parse(text, field.data_type()));
            value.map_or(Precision::Absent, Precision::Inexact)
        };
        let null_count = match known.contains_null {
            Some(false) => Precision::Inexact(0),
            _ => Precision::Absent,
        };
        let (min_value, max_value) = (bound(&known.min), bound(&known.max));
        ColumnStatistics { null_count, min_value, max_value, ..ColumnStatistics::new_unknown() }
    };
    Statistics {
        num_rows: Precision::Inexact(summary.record_count as usize),
        total_byte_size: Precision::Absent,
        column_statistics: schema.fields().iter().enumerate().map(of_column).collect(),
    }
}

fn unknown(data_type: &DataType) -> Precision<ScalarValue> {
    match data_type {
        nested if nested.is_nested() => Precision::Absent,
        _ => ScalarValue::try_from(data_type).map_or(Precision::Absent, Precision::Exact),
    }
}

fn has_exact_bounds(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_temporal()
        || data_type.is_floating()
        || matches!(data_type, DataType::Boolean | DataType::Decimal128(..))
}

fn column_bounds(stats: &ColumnStats, data_type: &DataType) -> ColumnStatistics {
    let value = |text: &Option<String>| {
        text.as_deref()
            .and_then(|text| parse(text, data_type))
            .map_or_else(|| unknown(data_type), Precision::Exact)
    };
    // NaN is above every number to the engine and outside of the bounds in the catalog.
    let may_hold_nan = data_type.is_floating() && stats.contains_nan != Some(false);
    ColumnStatistics {
        null_count: stats.null_count.map_or(Precision::Absent, |n| Precision::Exact(n as usize)),
        min_value: value(&stats.min),
        max_value: if may_hold_nan { unknown(data_type) } else { value(&stats.max) },
        byte_size: Precision::Inexact(stats.column_size_bytes as usize),
        ..ColumnStatistics::new_unknown()
    }
}

/// Whether a projected column of `file` may hold a NaN: by [`column_bounds`] it has no maximum then.
/// The columns of filters are projected, for the filters run again on what is read.
pub(crate) fn may_hold_nan(
    file: &PartitionedFile,
    schema: &Schema,
    projection: Option<&Vec<usize>>,
) -> bool {
    let Some(statistics) = &file.statistics else { return true };
    let mut columns = statistics.column_statistics.iter().zip(schema.fields()).enumerate();
    columns.any(|(index, (column, field))| {
        let only_nulls = column.null_count == statistics.num_rows;
        projection.is_none_or(|p| p.contains(&index))
            && field.data_type().is_floating()
            && column.max_value == Precision::Absent
            && !only_nulls
    })
}

/// A bound in the catalog's text form as a value of the column's table form.
pub(crate) fn parse(text: &str, data_type: &DataType) -> Option<ScalarValue> {
    match data_type {
        DataType::Utf8View => Some(ScalarValue::Utf8View(Some(text.to_owned()))),
        DataType::Boolean => match text {
            "0" | "false" => Some(ScalarValue::Boolean(Some(false))),
            "1" | "true" => Some(ScalarValue::Boolean(Some(true))),
            _ => None,
        },
        _ if has_exact_bounds(data_type) => {
            // Arrow's parser takes a zone as hours and minutes.
            let text = text.strip_suffix("+00").unwrap_or(text);
            let value = ScalarValue::from(text).cast_to(data_type).ok()?;
            (!value.is_null()).then_some(value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn text_of_either_writer_parses() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(parse("-7", &DataType::Int8), Some(ScalarValue::Int8(Some(-7))));
        assert_eq!(parse("true", &DataType::Boolean), parse("1", &DataType::Boolean));
        assert_eq!(parse("1e+16", &DataType::Float64), Some(ScalarValue::Float64(Some(1e16))));
        assert_eq!(
            parse("1.50", &DataType::Decimal128(10, 2)),
            Some(ScalarValue::Decimal128(Some(150), 10, 2))
        );
        assert_eq!(
            parse("1970-01-01 00:00:01.5", &timestamp),
            Some(ScalarValue::TimestampMicrosecond(Some(1_500_000), None))
        );
        assert_eq!(
            parse("1970-01-01 00:00:01+00", &zoned),
            Some(ScalarValue::TimestampMicrosecond(Some(1_000_000), Some("UTC".into())))
        );
    }

    #[test]
    fn what_does_not_parse_is_unknown() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        for text in ["infinity", "0044-03-15 (BC) 01:02:03", "", "x"] {
            assert_eq!(parse(text, &timestamp), None, "{text}");
        }
        assert_eq!(parse("300", &DataType::UInt8), None);
        assert_eq!(parse("00FF", &DataType::BinaryView), None);
    }
}
