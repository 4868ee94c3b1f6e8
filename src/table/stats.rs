//! The catalog's statistics as the optimizer's.
//!
//! Bounds in the catalog are text, sound and never too narrow. Text and binary bounds may be wider
//! than the data (writers truncate), so they serve pruning and estimates but not `MIN` and `MAX`.
//! What does not parse is unknown, which is always safe. Files are many and few of them are left of
//! most queries: so what is known of all is one array of bounds for each column that is asked for,
//! and only files that are read get values of their own.

use std::borrow::{Borrow, Cow};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, StringArray, UInt64Array, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, UInt64Type};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column as ColumnName, ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;

use crate::catalog::StatsOfColumn;
use crate::catalog::model::{Column, ColumnStats, DataFile, TableSummary};
use crate::error::{Error, Result};

/// What is known of files, in the form that pruning takes: NULL is unknown.
#[derive(Debug)]
pub(crate) struct FileStatistics {
    schema: SchemaRef,
    rows: UInt64Array,
    bytes: UInt64Array,
    /// By index in the schema, those that were asked for.
    columns: BTreeMap<usize, ColumnBounds>,
}

/// What is known of one column, by file.
#[derive(Debug)]
struct ColumnBounds {
    min: ArrayRef,
    max: ArrayRef,
    nulls: UInt64Array,
    bytes: UInt64Array,
}

impl FileStatistics {
    /// Of files whose columns `schema` names.
    pub(crate) fn new<F: Borrow<DataFile>>(files: &[F], schema: SchemaRef) -> Self {
        let of = |count: fn(&DataFile) -> u64| {
            UInt64Array::from_iter_values(files.iter().map(|file| count(file.borrow())))
        };
        let (rows, bytes) = (of(|file| file.record_count), of(|file| file.file_size_bytes));
        Self { schema, rows, bytes, columns: BTreeMap::new() }
    }

    /// Adds what is known of the column at an index, in the same files.
    pub(crate) fn add<F: Borrow<DataFile>>(
        &mut self,
        index: usize,
        files: &[F],
        stats: &StatsOfColumn,
    ) -> Result<()> {
        let field = self.schema.field(index);
        let known: Vec<_> = files.iter().map(|file| stats.of(file.borrow())).collect();
        self.columns.insert(index, ColumnBounds::parse(&known, field.data_type())?);
        Ok(())
    }

    /// The same of the files that `mask` chooses.
    pub(crate) fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        let array = |array: &dyn Array| Ok::<_, Error>(filter(array, mask)?);
        let counts = |counts: &UInt64Array| -> Result<UInt64Array> {
            Ok(array(counts)?.as_primitive::<UInt64Type>().clone())
        };
        let bounds = |(index, bounds): (&usize, &ColumnBounds)| {
            let (min, max) = (array(&bounds.min)?, array(&bounds.max)?);
            let (nulls, bytes) = (counts(&bounds.nulls)?, counts(&bounds.bytes)?);
            Ok((*index, ColumnBounds { min, max, nulls, bytes }))
        };
        Ok(Self {
            schema: Arc::clone(&self.schema),
            rows: counts(&self.rows)?,
            bytes: counts(&self.bytes)?,
            columns: self.columns.iter().map(bounds).collect::<Result<_>>()?,
        })
    }

    /// What is known of one file, up to the last column of which anything is: the form that answers
    /// aggregates. Bounds that may be wider than the data are inexact, unknown ones absent.
    pub(crate) fn of_file(&self, file: usize) -> Result<Statistics> {
        let n_columns = self.columns.last_key_value().map_or(0, |(last, _)| last + 1);
        let mut columns = vec![ColumnStatistics::new_unknown(); n_columns];
        for (index, bounds) in &self.columns {
            columns[*index] = bounds.of_file(file)?;
        }
        Ok(Statistics {
            num_rows: Precision::Exact(self.rows.value(file) as usize),
            total_byte_size: Precision::Inexact(self.bytes.value(file) as usize),
            column_statistics: columns,
        })
    }

    fn column(&self, name: &str) -> Option<&ColumnBounds> {
        self.columns.get(&self.schema.index_of(name).ok()?)
    }
}

impl ColumnBounds {
    fn parse(known: &[Option<Cow<'_, ColumnStats>>], data_type: &DataType) -> Result<Self> {
        // NaN is above every number to the engine and outside of the bounds in the catalog.
        let may_hold_nan =
            |stats: &ColumnStats| data_type.is_floating() && stats.contains_nan != Some(false);
        let min = known.iter().map(|stats| stats.as_ref()?.min.as_deref());
        let max = known.iter().map(|stats| {
            let stats = stats.as_ref().filter(|stats| !may_hold_nan(stats))?;
            stats.max.as_deref()
        });
        let nulls = known.iter().map(|stats| stats.as_ref()?.null_count);
        let bytes = known.iter().map(|stats| Some(stats.as_ref()?.column_size_bytes));
        Ok(Self {
            min: parse_all(min, data_type)?,
            max: parse_all(max, data_type)?,
            nulls: nulls.collect(),
            bytes: bytes.collect(),
        })
    }

    fn of_file(&self, file: usize) -> Result<ColumnStatistics> {
        let bound = |bounds: &ArrayRef| {
            Ok::<_, Error>(match bounds.is_null(file) {
                true => Precision::Absent,
                false => {
                    let value = ScalarValue::try_from_array(bounds, file)?;
                    match has_exact_bounds(bounds.data_type()) {
                        true => Precision::Exact(value),
                        false => Precision::Inexact(value),
                    }
                }
            })
        };
        let count =
            |counts: &UInt64Array| counts.is_valid(file).then(|| counts.value(file) as usize);
        Ok(ColumnStatistics {
            null_count: count(&self.nulls).map_or(Precision::Absent, Precision::Exact),
            min_value: bound(&self.min)?,
            max_value: bound(&self.max)?,
            byte_size: count(&self.bytes).map_or(Precision::Absent, Precision::Inexact),
            ..ColumnStatistics::new_unknown()
        })
    }
}

/// An array of which something is known.
fn known<A: Array>(array: &A) -> Option<&A> {
    (array.null_count() < array.len()).then_some(array)
}

impl PruningStatistics for FileStatistics {
    fn min_values(&self, column: &ColumnName) -> Option<ArrayRef> {
        known(&self.column(&column.name)?.min).cloned()
    }

    fn max_values(&self, column: &ColumnName) -> Option<ArrayRef> {
        known(&self.column(&column.name)?.max).cloned()
    }

    fn num_containers(&self) -> usize {
        self.rows.len()
    }

    fn null_counts(&self, column: &ColumnName) -> Option<ArrayRef> {
        known(&self.column(&column.name)?.nulls).map(|nulls| Arc::new(nulls.clone()) as ArrayRef)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.rows.clone()))
    }

    fn contained(&self, _: &ColumnName, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// What is known of a file of whose rows `missing` are not there: bounds may be wider than what is
/// left.
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

fn has_exact_bounds(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_temporal()
        || data_type.is_floating()
        || matches!(data_type, DataType::Boolean | DataType::Decimal128(..))
}

/// Whether a projected column of `file` may hold a NaN: by [`ColumnBounds::parse`] it has no maximum
/// then. The columns of filters are projected, for the filters run again on what is read.
pub(crate) fn may_hold_nan(
    file: &PartitionedFile,
    schema: &Schema,
    projection: Option<&Vec<usize>>,
) -> bool {
    let Some(statistics) = &file.statistics else { return true };
    schema.fields().iter().enumerate().any(|(index, field)| {
        let is_projected = projection.is_none_or(|p| p.contains(&index));
        let is_free_of_nan = |column: &ColumnStatistics| {
            column.max_value != Precision::Absent || column.null_count == statistics.num_rows
        };
        is_projected
            && field.data_type().is_floating()
            && !statistics.column_statistics.get(index).is_some_and(is_free_of_nan)
    })
}

/// A bound in the catalog's text form as a value of the column's table form.
fn parse(text: &str, data_type: &DataType) -> Option<ScalarValue> {
    let parsed = parse_all(std::iter::once(Some(text)), data_type).ok()?;
    ScalarValue::try_from_array(&parsed, 0).ok().filter(|value| !value.is_null())
}

/// Many bounds at once. Those that are no values of the type are NULL.
fn parse_all<'a>(
    texts: impl ExactSizeIterator<Item = Option<&'a str>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    if *data_type != DataType::Utf8View && !has_exact_bounds(data_type) {
        return Ok(new_null_array(data_type, texts.len()));
    }
    // Arrow's parser takes a zone as hours and minutes.
    let plain = |text: &'a str| match data_type.is_temporal() {
        true => text.strip_suffix("+00").unwrap_or(text),
        false => text,
    };
    let texts: StringArray = texts.map(|text| text.map(plain)).collect();
    let lenient = CastOptions { safe: true, ..CastOptions::default() };
    Ok(cast_with_options(&texts, data_type, &lenient)?)
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
