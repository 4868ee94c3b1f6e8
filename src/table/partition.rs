//! The values that make partitions: computed from columns, as text, as directories, and as hashes.
//!
//! All of it is DuckDB's to the byte, because both engines put files of one partition into one
//! directory, group them by the text of their values, and leave files out by the hash of a bucket.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::compute::{DatePart, cast, date_part};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Schema,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::catalog::model::{Column, ColumnType, PartitionKey, PartitionSpec, Table, Transform};
use crate::error::{Error, Result};

/// One key of a table's partitions as an expression over its columns, in their table form.
#[derive(Debug, Clone)]
pub(crate) struct PartitionValue {
    input: Arc<dyn PhysicalExpr>,
    column: Column,
    transform: Transform,
}

/// The keys of `spec`, and for each the name of its directories.
pub(crate) fn values(
    table: &Table,
    spec: &PartitionSpec,
) -> Result<Vec<(Arc<PartitionValue>, String)>> {
    let mut keys: Vec<(Arc<PartitionValue>, String)> = Vec::with_capacity(spec.keys.len());
    for PartitionKey { column: id, transform } in &spec.keys {
        let index = table.columns.iter().position(|column| column.id == *id);
        let index = index.ok_or_else(|| {
            Error::internal(format!("table \"{}\" is partitioned by no column", table.name))
        })?;
        let column = table.columns[index].clone();
        let input: Arc<dyn PhysicalExpr> = Arc::new(ColumnExpr::new(&column.name, index));
        let word = match transform {
            Transform::Identity => column.name.as_str(),
            Transform::Year => "year",
            Transform::Month => "month",
            Transform::Day => "day",
            Transform::Hour => "hour",
            Transform::Bucket(_) => "bucket",
        };
        let is_taken = keys.iter().any(|(_, other)| other == word);
        let name = match is_taken {
            false => word.to_owned(),
            true => format!("{word}_{}", column.name),
        };
        keys.push((Arc::new(PartitionValue { input, column, transform: *transform }), name));
    }
    Ok(keys)
}

/// What a directory's name keeps of a name and a value; all else is percent-encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// `name=value/`.
pub(crate) fn directory(name: &str, value: Option<&str>) -> String {
    let name = utf8_percent_encode(name, PLAIN);
    match value {
        Some(value) => format!("{name}={}/", utf8_percent_encode(value, PLAIN)),
        None => format!("{name}=__HIVE_DEFAULT_PARTITION__/"),
    }
}

impl PartitionValue {
    fn of(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let part = |part| -> Result<ArrayRef> { Ok(date_part(array, part)?) };
        match self.transform {
            Transform::Identity => Ok(Arc::clone(array)),
            Transform::Year => part(DatePart::Year),
            Transform::Month => part(DatePart::Month),
            Transform::Day => part(DatePart::Day),
            Transform::Hour => part(DatePart::Hour),
            Transform::Bucket(n) => {
                let hashes = hashes(array, &self.column.column_type)?;
                let bucket = |hash: u32| ((hash & 0x7fff_ffff) % n).cast_signed();
                let buckets = hashes.into_iter().map(|hash| hash.map(bucket));
                Ok(Arc::new(buckets.collect::<Int32Array>()))
            }
        }
    }

    /// The text of one computed value.
    pub(crate) fn text(&self, values: &dyn Array, row: usize) -> Result<Option<String>> {
        if values.is_null(row) {
            return Ok(None);
        }
        let column_type = match self.transform {
            Transform::Identity => &self.column.column_type,
            _ => &ColumnType::Int32,
        };
        text(values, row, column_type).map(Some)
    }

    /// The bucket of a value of the column; `None` for other keys and values.
    pub(crate) fn bucket_of(&self, value: &ScalarValue) -> Option<i32> {
        let Transform::Bucket(_) = self.transform else {
            return None;
        };
        let data_type = super::types::table_field(&self.column).ok()?.data_type().clone();
        let array = value.cast_to(&data_type).ok()?.to_array().ok()?;
        let bucket = self.of(&array).ok()?;
        let bucket = bucket.as_primitive::<Int32Type>();
        bucket.is_valid(0).then(|| bucket.value(0))
    }

    pub(crate) fn column_name(&self) -> &str {
        &self.column.name
    }
}

/// A value as DuckDB casts it to VARCHAR.
fn text(values: &dyn Array, row: usize, column_type: &ColumnType) -> Result<String> {
    use ColumnType as C;
    let options = FormatOptions::default()
        .with_display_error(false)
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_time_format(Some("%H:%M:%S%.f"));
    let shown = |values: &dyn Array| -> Result<String> {
        Ok(ArrayFormatter::try_new(values, &options)?.value(row).try_to_string()?)
    };
    Ok(match column_type {
        C::Time | C::TimestampS | C::TimestampMs | C::Timestamp | C::TimestampNs => {
            without_zeros(shown(values)?)
        }
        C::TimestampTz => without_zeros(shown(values)?) + "+00",
        C::Float32 => {
            let value = values.as_primitive::<Float32Type>().value(row);
            float_text(&value.to_string(), &format!("{value:e}"))
        }
        C::Float64 => {
            let value = values.as_primitive::<Float64Type>().value(row);
            float_text(&value.to_string(), &format!("{value:e}"))
        }
        C::Blob => {
            blob_text(cast(&values.slice(row, 1), &DataType::Binary)?.as_binary::<i32>().value(0))
        }
        _ => shown(values)?,
    })
}

/// A fraction of a second ends with its last digit that is not zero.
fn without_zeros(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The shortest text that gives the same number, with an exponent where it is shorter to read:
/// `100.0`, `0.0001`, `1e+16`, `1e-05`.
fn float_text(shortest: &str, scientific: &str) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        // Infinities and NaN.
        return shortest.to_lowercase();
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    match exponent {
        -4..16 if shortest.contains('.') => shortest.to_owned(),
        -4..16 => format!("{shortest}.0"),
        _ => format!("{mantissa}e{exponent:+03}"),
    }
}

/// Printable characters as they are, other bytes as `\x00`.
fn blob_text(bytes: &[u8]) -> String {
    let is_plain = |byte: u8| (0x20..0x7f).contains(&byte) && !b"\\'\"".contains(&byte);
    let shown = |&byte: &u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("\\x{byte:02X}"),
    };
    bytes.iter().map(shown).collect()
}

/// The hash of each value: of small numbers as eight bytes, of text as its bytes, and of all else as
/// the bytes of its text.
fn hashes(array: &ArrayRef, column_type: &ColumnType) -> Result<Vec<Option<u32>>> {
    use ColumnType as C;
    let number = |value: i64| murmur3(&value.to_le_bytes());
    let integers = |array: &ArrayRef| -> Vec<Option<u32>> {
        array.as_primitive::<Int64Type>().iter().map(|value| value.map(number)).collect()
    };
    Ok(match column_type {
        C::Boolean | C::Int8 | C::Int16 | C::Int32 | C::Int64 => {
            integers(&cast(array, &DataType::Int64)?)
        }
        C::Date => {
            let days = array.as_primitive::<Date32Type>().iter();
            days.map(|day| day.map(|day| number(day.into()))).collect()
        }
        C::Time
        | C::TimestampS
        | C::TimestampMs
        | C::Timestamp
        | C::TimestampNs
        | C::TimestampTz => integers(&cast(array, &DataType::Int64)?),
        C::Decimal { precision: ..=18, .. } => {
            let unscaled = array.as_primitive::<Decimal128Type>().iter();
            // Eighteen digits fit.
            unscaled.map(|value| value.map(|value| number(value as i64))).collect()
        }
        C::Float32 | C::Float64 => {
            let doubles = cast(array, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>().iter();
            // Both zeros are one value.
            let bits = |value: f64| if value == 0.0 { 0 } else { value.to_bits() };
            doubles.map(|value| value.map(|value| murmur3(&bits(value).to_le_bytes()))).collect()
        }
        C::Varchar | C::Json | C::Blob => {
            let bytes = cast(array, &DataType::BinaryView)?;
            bytes.as_binary_view().iter().map(|value| value.map(murmur3)).collect()
        }
        _ => {
            let hash = |row: usize| -> Result<Option<u32>> {
                match array.is_null(row) {
                    true => Ok(None),
                    false => Ok(Some(murmur3(text(array, row, column_type)?.as_bytes()))),
                }
            };
            (0..array.len()).map(hash).collect::<Result<_>>()?
        }
    })
}

/// MurmurHash3, 32 bits for x86, with seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    let mix =
        |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut blocks = bytes.chunks_exact(4);
    let mut hash = 0u32;
    for block in blocks.by_ref() {
        let block = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        hash = (hash ^ mix(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = blocks.remainder();
    if !tail.is_empty() {
        let block = tail.iter().rev().fold(0u32, |block, byte| (block << 8) | u32::from(*byte));
        hash ^= mix(block);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

impl PartialEq for PartitionValue {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input)
            && self.column == other.column
            && self.transform == other.transform
    }
}

impl Eq for PartitionValue {}

impl Hash for PartitionValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.column.id.hash(state);
    }
}

impl fmt::Display for PartitionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transform = match self.transform {
            Transform::Identity => return self.input.fmt(f),
            Transform::Bucket(n) => format!("bucket({n})"),
            other => format!("{other:?}").to_lowercase(),
        };
        write!(f, "{transform}({})", self.input)
    }
}

impl PhysicalExpr for PartitionValue {
    fn data_type(&self, schema: &Schema) -> DataFusionResult<DataType> {
        match self.transform {
            Transform::Identity => self.input.data_type(schema),
            _ => Ok(DataType::Int32),
        }
    }

    fn nullable(&self, schema: &Schema) -> DataFusionResult<bool> {
        self.input.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DataFusionResult<ColumnarValue> {
        let array = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(self.of(&array)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input, ..Self::clone(&self) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, StringViewArray};
    use arrow::datatypes::TimeUnit;

    use super::*;

    /// DuckDB's own, signed as it prints them.
    #[test]
    fn hashes_are_duckdb_s() {
        use ColumnType as C;
        let of = |value: ScalarValue, column_type: C| {
            hashes(&value.to_array().unwrap(), &column_type).unwrap()[0].unwrap().cast_signed()
        };
        let text = |text: &str| ScalarValue::Utf8View(Some(text.into()));
        let decimal = |precision| -> ScalarValue {
            let array = Decimal128Array::from(vec![1420]).with_precision_and_scale(precision, 2);
            ScalarValue::try_from_array(&array.unwrap(), 0).unwrap()
        };
        assert_eq!(of(34i32.into(), C::Int32), 2_017_239_379);
        assert_eq!(of(34i64.into(), C::Int64), 2_017_239_379);
        assert_eq!(of(text("iceberg"), C::Varchar), 1_210_000_089);
        assert_eq!(of(ScalarValue::Date32(Some(17486)), C::Date), -653_330_422);
        let time = ScalarValue::TimestampMicrosecond(Some(1_510_871_468_000_000), None);
        assert_eq!(time.data_type(), DataType::Timestamp(TimeUnit::Microsecond, None));
        assert_eq!(of(time, C::Timestamp), -2_047_944_441);
        assert_eq!(of(decimal(9), C::Decimal { precision: 9, scale: 2 }), -622_427_183);
        assert_eq!(of(decimal(38), C::Decimal { precision: 38, scale: 2 }), -1_660_625_346);
        assert_eq!(of(text("f79c3e09-677c-4bbd-a479-3f349cb785e7"), C::Uuid), 980_414_783);
        assert_eq!(of(1.0f64.into(), C::Float64), -142_385_009);
        assert_eq!(of(1.0f32.into(), C::Float32), -142_385_009);
        assert_eq!(of((-0.0f64).into(), C::Float64), of(0.0f64.into(), C::Float64));
    }

    #[test]
    fn directories_are_encoded() {
        assert_eq!(directory("name", Some("plain_1-~.")), "name=plain_1-~./");
        assert_eq!(directory("a b", Some("곳/=")), "a%20b=%EA%B3%B3%2F%3D/");
        assert_eq!(directory("a", None), "a=__HIVE_DEFAULT_PARTITION__/");
        assert_eq!(directory("a", Some("")), "a=/");
    }

    #[test]
    fn values_print_as_in_duckdb() {
        use ColumnType as C;
        let of = |value: ScalarValue, column_type: C| {
            text(&value.to_array().unwrap(), 0, &column_type).unwrap()
        };
        assert_eq!(of(true.into(), C::Boolean), "true");
        assert_eq!(of(1e16f64.into(), C::Float64), "1e+16");
        assert_eq!(of(1e-5f64.into(), C::Float64), "1e-05");
        assert_eq!(of(100f64.into(), C::Float64), "100.0");
        assert_eq!(of((-3e38f32).into(), C::Float32), "-3e+38");
        assert_eq!(of(0.0001f64.into(), C::Float64), "0.0001");
        assert_eq!(of(f64::NEG_INFINITY.into(), C::Float64), "-inf");
        let time = ScalarValue::TimestampMicrosecond(Some(1_500_000), None);
        assert_eq!(of(time, C::Timestamp), "1970-01-01 00:00:01.5");
        let blob = ScalarValue::BinaryView(Some(b"\0a\\\xff".to_vec()));
        assert_eq!(of(blob, C::Blob), "\\x00a\\x5C\\xFF");
        let array = StringViewArray::from(vec!["x"]);
        assert_eq!(text(&array, 0, &C::Varchar).unwrap(), "x");
    }
}
