//! The text of one value: [`Cells`] turns a column into strings, row by row.
//!
//! The forms are DuckDB's: `2013-01-01 05:00:00.12`, `2013-01-01 05:00:00+00`, `[1, 2]`,
//! `{'a': 1, 'b': x}`, `{key=value}`, blobs with `\x00` escapes, floats in their shortest form
//! that reads back to the same number, intervals in words. A value inside a list, struct or map is
//! quoted when it would otherwise be ambiguous. The JSON form of the same value is valid JSON for
//! every type: numbers and booleans bare, nested values as arrays and objects, NaN and infinities
//! `null` (JSON has no word for them), everything else a string in the form above.

use std::fmt::Write;
use std::ops::Range;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, MapArray, OffsetSizeTrait, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Date32Type, Date64Type, Float16Type, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::temporal;
use crate::error::{Error, Result};

/// The three ways to write a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As a cell of a table.
    Plain,
    /// As a part of a list, struct or map.
    Nested,
    /// As JSON.
    Json,
}

type Writer<'a> = Box<dyn Fn(usize, Style, &mut String) + 'a>;

/// One column of a batch, ready to be written.
pub(crate) struct Cells<'a> {
    nulls: Option<NullBuffer>,
    write: Writer<'a>,
}

impl<'a> Cells<'a> {
    /// Prepares `array`; fails for a type that has no text.
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self> {
        Ok(Self { nulls: array.logical_nulls(), write: writer(array)? })
    }

    /// Whether the value of `row` is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of `row`; a NULL is `NULL`, in JSON `null`.
    pub(crate) fn write(&self, row: usize, style: Style, out: &mut String) {
        match (self.is_null(row), style) {
            (true, Style::Json) => out.push_str("null"),
            (true, _) => out.push_str("NULL"),
            (false, _) => (self.write)(row, style, out),
        }
    }

    /// The value of `row` as a table shows it, `None` when NULL.
    pub(crate) fn text(&self, row: usize) -> Option<String> {
        (!self.is_null(row)).then(|| {
            let mut out = String::new();
            (self.write)(row, Style::Plain, &mut out);
            out
        })
    }
}

/// Whether values of this type stand at the right of their column.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
}

fn writer<'a>(array: &'a dyn Array) -> Result<Writer<'a>> {
    Ok(match array.data_type() {
        DataType::Null => Box::new(|_, _, _| {}),
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(|row, _, out| out.push_str(if array.value(row) { "true" } else { "false" }))
        }
        DataType::Utf8 => strings(|row| array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => strings(|row| array.as_string::<i64>().value(row)),
        DataType::Utf8View => strings(|row| array.as_string_view().value(row)),
        DataType::Binary => blobs(|row| array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => blobs(|row| array.as_binary::<i64>().value(row)),
        DataType::BinaryView => blobs(|row| array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => blobs(|row| array.as_fixed_size_binary().value(row)),
        DataType::Float16 => {
            let array = array.as_primitive::<Float16Type>();
            floats(
                |row| f64::from(array.value(row)),
                |row| format!("{:e}", array.value(row).to_f32()),
            )
        }
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            floats(|row| f64::from(array.value(row)), |row| format!("{:e}", array.value(row)))
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            floats(|row| array.value(row), |row| format!("{:e}", array.value(row)))
        }
        DataType::Date32 => {
            let array = array.as_primitive::<Date32Type>();
            quoted(|row, out| temporal::date(i64::from(array.value(row)), out))
        }
        DataType::Date64 => {
            let array = array.as_primitive::<Date64Type>();
            quoted(|row, out| temporal::date(array.value(row).div_euclid(86_400_000), out))
        }
        DataType::Timestamp(..)
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_) => quoted(temporal::writer(array)),
        DataType::List(_) => list(array.as_list::<i32>())?,
        DataType::LargeList(_) => list(array.as_list::<i64>())?,
        DataType::FixedSizeList(_, size) => {
            let (array, size) = (array.as_fixed_size_list(), *size as usize);
            elements(array.values(), move |row| row * size..(row + 1) * size)?
        }
        DataType::Struct(_) => structure(array.as_struct())?,
        DataType::Map(..) => map(array.as_map())?,
        DataType::Dictionary(..) => {
            let array = array.as_any_dictionary();
            let (keys, values) = (array.normalized_keys(), Cells::new(array.values().as_ref())?);
            Box::new(move |row, style, out| values.write(keys[row], style, out))
        }
        other => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())
                .map_err(|error| Error::unsupported(format!("cannot show {other}: {error}")))?;
            let number = other.is_numeric();
            Box::new(move |row, style, out| match (number, style) {
                (false, Style::Json) => json_string(&formatter.value(row).to_string(), out),
                _ => {
                    let _ = write!(out, "{}", formatter.value(row));
                }
            })
        }
    })
}

fn strings<'a>(value: impl Fn(usize) -> &'a str + 'a) -> Writer<'a> {
    Box::new(move |row, style, out| match style {
        Style::Plain => out.push_str(value(row)),
        Style::Nested => nested_string(value(row), out),
        Style::Json => json_string(value(row), out),
    })
}

/// Values that are strings to JSON and never ambiguous inside a list.
fn quoted<'a>(write: impl Fn(usize, &mut String) + 'a) -> Writer<'a> {
    Box::new(move |row, style, out| {
        if style == Style::Json {
            out.push('"');
        }
        write(row, out);
        if style == Style::Json {
            out.push('"');
        }
    })
}

fn blobs<'a>(value: impl Fn(usize) -> &'a [u8] + 'a) -> Writer<'a> {
    Box::new(move |row, style, out| {
        let mut text = String::new();
        for &byte in value(row) {
            match byte {
                b'\\' | b'\'' | b'"' => write!(text, "\\x{byte:02X}").unwrap_or_default(),
                0x20..0x7f => text.push(char::from(byte)),
                _ => write!(text, "\\x{byte:02X}").unwrap_or_default(),
            }
        }
        match style {
            Style::Json => json_string(&text, out),
            Style::Plain | Style::Nested => out.push_str(&text),
        }
    })
}

/// `scientific` is the shortest form that reads back, as `1.5e0`, in the precision of the type.
fn floats<'a>(
    value: impl Fn(usize) -> f64 + 'a,
    scientific: impl Fn(usize) -> String + 'a,
) -> Writer<'a> {
    Box::new(move |row, style, out| {
        let value = value(row);
        if value.is_finite() {
            float(&scientific(row), out);
        } else if style == Style::Json {
            out.push_str("null");
        } else if value.is_nan() {
            out.push_str("nan");
        } else {
            out.push_str(if value > 0.0 { "inf" } else { "-inf" });
        }
    })
}

/// Lays the digits of `1.25e3` out as `1250.0`, or as `1.25e+30` when that is far from the point.
fn float(scientific: &str, out: &mut String) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
        return;
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    out.push_str(sign);
    if exponent < 0 {
        let _ = write!(out, "0.{}{digits}", "0".repeat((-exponent - 1) as usize));
        return;
    }
    let point = exponent as usize + 1;
    let padded = format!("{digits:0<point$}");
    let (whole, rest) = padded.split_at(point);
    let _ = write!(out, "{whole}.{}", if rest.is_empty() { "0" } else { rest });
}

fn list<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<Writer<'_>> {
    let offsets = array.value_offsets();
    elements(array.values(), |row| offsets[row].as_usize()..offsets[row + 1].as_usize())
}

fn elements<'a>(
    values: &'a ArrayRef,
    range: impl Fn(usize) -> Range<usize> + 'a,
) -> Result<Writer<'a>> {
    let values = Cells::new(values.as_ref())?;
    Ok(Box::new(move |row, style, out| {
        out.push('[');
        for (index, value) in range(row).enumerate() {
            separate(index, style, out);
            values.write(value, inner(style), out);
        }
        out.push(']');
    }))
}

fn structure(array: &StructArray) -> Result<Writer<'_>> {
    let columns = array.fields().iter().zip(array.columns());
    let fields: Vec<(&str, Cells<'_>)> = columns
        .map(|(field, column)| Ok((field.name().as_str(), Cells::new(column.as_ref())?)))
        .collect::<Result<_>>()?;
    Ok(Box::new(move |row, style, out| {
        out.push('{');
        for (index, (name, values)) in fields.iter().enumerate() {
            separate(index, style, out);
            match style {
                Style::Json => json_string(name, out),
                _ => write!(out, "'{}'", name.replace('\'', "''")).unwrap_or_default(),
            }
            out.push_str(if style == Style::Json { ":" } else { ": " });
            values.write(row, inner(style), out);
        }
        out.push('}');
    }))
}

fn map(array: &MapArray) -> Result<Writer<'_>> {
    let (keys, values) = (Cells::new(array.keys().as_ref())?, Cells::new(array.values().as_ref())?);
    let offsets = array.value_offsets();
    Ok(Box::new(move |row, style, out| {
        out.push('{');
        let entries = offsets[row] as usize..offsets[row + 1] as usize;
        for (index, entry) in entries.enumerate() {
            separate(index, style, out);
            if style == Style::Json {
                json_string(&keys.text(entry).unwrap_or_default(), out);
                out.push(':');
            } else {
                keys.write(entry, Style::Nested, out);
                out.push('=');
            }
            values.write(entry, inner(style), out);
        }
        out.push('}');
    }))
}

fn inner(style: Style) -> Style {
    if style == Style::Json { Style::Json } else { Style::Nested }
}

fn separate(index: usize, style: Style, out: &mut String) {
    if index > 0 {
        out.push_str(if style == Style::Json { "," } else { ", " });
    }
}

fn nested_string(text: &str, out: &mut String) {
    let ambiguous = text.is_empty()
        || text.trim() != text
        || text.eq_ignore_ascii_case("null")
        || text.contains(['[', ']', '{', '}', '(', ')', ',', '\'', '"', '\\', '=', ':']);
    if !ambiguous {
        out.push_str(text);
        return;
    }
    let _ = write!(out, "'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
}

/// Appends `text` as a JSON string.
pub(crate) fn json_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::datatypes::{Field, Fields, Int32Type};

    use super::*;

    fn forms(array: &dyn Array, row: usize) -> (String, String) {
        let cells = Cells::new(array).unwrap();
        let (mut plain, mut json) = (String::new(), String::new());
        cells.write(row, Style::Plain, &mut plain);
        cells.write(row, Style::Json, &mut json);
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        (plain, json)
    }

    fn plain(array: &dyn Array) -> Vec<String> {
        (0..array.len()).map(|row| forms(array, row).0).collect()
    }

    #[test]
    fn floats_are_shortest_and_keep_their_point() {
        let array = Float64Array::from(vec![
            1.0,
            -0.1,
            1e15,
            1e16,
            1e300,
            1e-4,
            1.5e-5,
            123_456_789.0,
            0.0,
            f64::NAN,
            f64::NEG_INFINITY,
        ]);
        let expected = [
            "1.0",
            "-0.1",
            "1000000000000000.0",
            "1e+16",
            "1e+300",
            "0.0001",
            "1.5e-05",
            "123456789.0",
            "0.0",
            "nan",
            "-inf",
        ];
        assert_eq!(plain(&array), expected);
        assert_eq!(forms(&array, 9).1, "null");
        assert_eq!(plain(&Float32Array::from(vec![0.1, 16_777_216.0])), ["0.1", "16777216.0"]);
    }

    #[test]
    fn blobs_escape_what_is_not_printable() {
        let array = BinaryArray::from_vec(vec![b"\x00\xffab'"]);
        assert_eq!(forms(&array, 0), (r"\x00\xFFab\x27".into(), r#""\\x00\\xFFab\\x27""#.into()));
    }

    #[test]
    fn nested_values() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        assert_eq!(forms(&list, 0), ("[1, NULL]".into(), "[1,null]".into()));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["x y", "it's, ok"]));
        let fields = Fields::from(vec![Field::new("a", DataType::Utf8, true)]);
        let array = StructArray::new(fields, vec![texts], None);
        assert_eq!(forms(&array, 0), ("{'a': x y}".into(), r#"{"a":"x y"}"#.into()));
        assert_eq!(forms(&array, 1).0, r"{'a': 'it\'s, ok'}");
        let mut map = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        map.keys().append_value(7);
        map.values().append_value("v");
        map.append(true).unwrap();
        assert_eq!(forms(&map.finish(), 0), ("{7=v}".into(), r#"{"7":"v"}"#.into()));
    }

    #[test]
    fn dictionaries_show_their_values() {
        let array: DictionaryArray<Int32Type> = [Some("곳간"), None].into_iter().collect();
        assert_eq!(plain(&array), ["곳간", "NULL"]);
        assert_eq!(Cells::new(&array).unwrap().text(1), None);
    }

    #[test]
    fn decimals_keep_their_scale() {
        let array = Decimal128Array::from(vec![1500]).with_precision_and_scale(10, 3).unwrap();
        assert_eq!(forms(&array, 0), ("1.500".into(), "1.500".into()));
    }
}
