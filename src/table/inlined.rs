//! Rows that the catalog keeps, between Arrow and text.
//!
//! The text is what DuckDB casts from and to: digits, ISO dates, `[1, NULL]`, `{'a': 1}`, `{k=v}`.
//! Strings inside of nested values are written in single quotes with backslashes; what DuckDB writes
//! (bare words, doubled quotes) is read as well. A row that has no such text is written to a file
//! instead, so nothing here is lossy.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, IntervalMonthDayNanoArray, StringArray,
    new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::convert::parse_interval;
use super::types::table_field;
use crate::catalog::model::{Column, ColumnType, InlinedRows};
use crate::error::{Error, ErrorKind, Result};

/// The text of one value; `None` if it has none that every reader takes. The outer value is not NULL.
pub(crate) fn text(array: &dyn Array, row: usize, column: &Column) -> Option<String> {
    use ColumnType as C;
    match &column.column_type {
        C::Struct(fields) => {
            let array = array.as_struct_opt()?;
            let parts = fields.iter().zip(array.columns()).map(|(field, values)| {
                Some(format!("{}: {}", quoted(&field.name), nested(values, row, field)?))
            });
            Some(format!("{{{}}}", parts.collect::<Option<Vec<_>>>()?.join(", ")))
        }
        C::List(element) => {
            let values = array.as_list_opt::<i32>()?.value(row);
            let parts = (0..values.len()).map(|index| nested(&values, index, element));
            Some(format!("[{}]", parts.collect::<Option<Vec<_>>>()?.join(", ")))
        }
        C::Map(key, value) => {
            let entries = array.as_map_opt()?.value(row);
            let parts = (0..entries.len()).map(|index| {
                let key = nested(entries.column(0), index, key)?;
                Some(format!("{key}={}", nested(entries.column(1), index, value)?))
            });
            Some(format!("{{{}}}", parts.collect::<Option<Vec<_>>>()?.join(", ")))
        }
        _ => scalar(array, row, &column.column_type),
    }
}

/// A value inside of another.
fn nested(array: &dyn Array, row: usize, column: &Column) -> Option<String> {
    use ColumnType as C;
    if array.is_null(row) {
        return Some("NULL".to_owned());
    }
    let text = text(array, row, column)?;
    Some(match column.column_type {
        C::Struct(_) | C::List(_) | C::Map(..) => text,
        // The escapes of one are not the same at every depth, the other has no JSON.
        C::Blob | C::Interval => return None,
        _ => quoted(&text),
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn scalar(array: &dyn Array, row: usize, column_type: &ColumnType) -> Option<String> {
    use ColumnType as C;
    match column_type {
        C::Blob => {
            let bytes = cast(array, &DataType::BinaryView).ok()?;
            Some(bytes.as_binary_view().value(row).iter().map(|b| format!("{b:02X}")).collect())
        }
        C::Varchar | C::Json | C::Uuid => {
            let text = cast(array, &DataType::Utf8View).ok()?;
            let text = text.as_string_view().value(row).to_owned();
            // Not every database keeps a NUL in text.
            (!text.contains('\0')).then_some(text)
        }
        C::Interval => {
            let file = super::convert::convert(
                &array.slice(row, 1),
                &Column { column_type: C::Interval, ..crate::sql::types::child("", C::Interval) },
                super::convert::Direction::ToFile,
            );
            Some(file.ok()?.as_string_view().value(0).to_owned())
        }
        C::Float32 | C::Float64 => {
            let value = cast(array, &DataType::Float64).ok()?;
            let value = value.as_primitive::<arrow::datatypes::Float64Type>().value(row);
            let text = match column_type {
                C::Float32 => format!("{:?}", value as f32),
                _ => format!("{value:?}"),
            };
            Some(text.replace("NaN", "nan"))
        }
        _ => {
            let options = FormatOptions::default()
                .with_display_error(false)
                .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
                .with_time_format(Some("%H:%M:%S%.f"));
            // DuckDB takes the ends of the range for infinity, and does not read their digits.
            let is_end = cast(array, &DataType::Int64).is_ok_and(|units| {
                let units = units.as_primitive::<arrow::datatypes::Int64Type>();
                units.is_valid(row) && units.value(row).unsigned_abs() >= i64::MAX as u64
            });
            if is_end && matches!(array.data_type(), DataType::Timestamp(..)) {
                return None;
            }
            let array = match column_type {
                // The text of an instant is in UTC.
                C::TimestampTz => {
                    let plain = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
                    cast(array, &plain).ok()?
                }
                _ => array.slice(0, array.len()),
            };
            let formatter = ArrayFormatter::try_new(&array, &options).ok()?;
            let text = formatter.value(row).try_to_string().ok()?;
            let is_dated = matches!(
                column_type,
                C::Date
                    | C::Timestamp
                    | C::TimestampS
                    | C::TimestampMs
                    | C::TimestampNs
                    | C::TimestampTz
            );
            let is_plain = text.as_bytes().get(4) == Some(&b'-')
                && text.starts_with(|c: char| c.is_ascii_digit());
            match column_type {
                _ if is_dated && !is_plain => None,
                C::TimestampTz => Some(text + "+00"),
                _ => Some(text),
            }
        }
    }
}

/// The values of one column of today in rows of the form they were written in.
pub(crate) fn array(rows: &InlinedRows, column: &Column) -> Result<ArrayRef> {
    let data_type = table_field(column)?.data_type().clone();
    let texts: Vec<Option<&str>> = match rows.columns.iter().position(|other| other.id == column.id)
    {
        Some(index) => rows.rows.iter().map(|row| row.values[index].as_deref()).collect(),
        None => vec![column.initial_default.as_deref(); rows.rows.len()],
    };
    if texts.iter().all(Option::is_none) {
        return Ok(new_null_array(&data_type, texts.len()));
    }
    let damaged = |why: String| {
        let message =
            format!("a row of column \"{}\" in the catalog is damaged: {why}", column.name);
        Error::new(ErrorKind::Corrupt, message)
    };
    match &column.column_type {
        ColumnType::Struct(_) | ColumnType::List(_) | ColumnType::Map(..) => {
            let written = rows.columns.iter().find(|other| other.id == column.id).unwrap_or(column);
            let values = texts.iter().map(|text| match text {
                Some(text) => parse(text, written, column).ok_or_else(|| damaged((*text).into())),
                None => Ok(Json::Null),
            });
            from_json(values.collect::<Result<Vec<_>>>()?, column, &data_type)
                .map_err(|e| damaged(e.to_string()))
        }
        ColumnType::Blob => {
            let bytes = texts.iter().map(|text| {
                text.map(unhex).map_or(Ok(None), |b| {
                    b.map(Some).ok_or_else(|| damaged("it is not hexadecimal".into()))
                })
            });
            let bytes = bytes.collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(BinaryViewArray::from_iter(bytes)))
        }
        ColumnType::Interval => {
            let value = |text: &Option<&str>| match text {
                Some(text) => parse_interval(text).map(Some).ok_or_else(|| damaged((*text).into())),
                None => Ok(None),
            };
            let values = texts.iter().map(value).collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(values.into_iter().collect::<IntervalMonthDayNanoArray>()))
        }
        _ => {
            let written = rows.columns.iter().find(|other| other.id == column.id).unwrap_or(column);
            let written_type = &written.column_type;
            let normal = texts.iter().map(|text| text.map(|text| normalised(text, written_type)));
            let text: ArrayRef = Arc::new(normal.collect::<StringArray>());
            // First the type it was written in: a wider one might read more into the digits.
            let values = cast(&text, table_field(written)?.data_type())
                .and_then(|values| cast(&values, &data_type))
                .map_err(|e| damaged(e.to_string()))?;
            // A cast makes NULL of what it cannot read.
            match (0..values.len()).find(|row| values.is_null(*row) && text.is_valid(*row)) {
                Some(row) => Err(damaged(format!("{:?}", texts[row].unwrap_or_default()))),
                None => Ok(values),
            }
        }
    }
}

/// Text in the form that Arrow's casts read.
fn normalised(text: &str, column_type: &ColumnType) -> String {
    use ColumnType as C;
    match column_type {
        C::TimestampTz => text.strip_suffix("+00").unwrap_or(text).to_owned() + "Z",
        C::Uuid => text.parse::<Uuid>().map_or_else(|_| text.to_owned(), |uuid| uuid.to_string()),
        _ => text.to_owned(),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if pairs.remainder().is_empty() { pairs.map(byte).collect() } else { None }
}

fn from_json(
    values: Vec<Json>,
    column: &Column,
    data_type: &DataType,
) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
    let field = Field::new(&column.name, data_type.clone(), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let mut decoder =
        ReaderBuilder::new(schema).with_batch_size(values.len().max(1)).build_decoder()?;
    let rows: Vec<Json> = values
        .into_iter()
        .map(|value| Json::Object(Map::from_iter([(column.name.clone(), value)])))
        .collect();
    decoder.serialize(&rows)?;
    let batch = decoder.flush()?;
    Ok(batch.map_or_else(|| new_null_array(data_type, 0), |batch| Arc::clone(batch.column(0))))
}

/// The text of a nested value, written as `from`, as JSON of the column `to`.
fn parse(text: &str, from: &Column, to: &Column) -> Option<Json> {
    let mut parser = Parser { rest: text };
    let value = parser.value(from, to, &[])?;
    parser.rest.trim().is_empty().then_some(value)
}

fn scalar_json(text: &str, column_type: &ColumnType) -> Json {
    match (column_type, text) {
        (ColumnType::Boolean, "true" | "1") => Json::Bool(true),
        (ColumnType::Boolean, "false" | "0") => Json::Bool(false),
        _ => Json::String(normalised(text, column_type)),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self, from: &Column, to: &Column, ends: &[char]) -> Option<Json> {
        self.rest = self.rest.trim_start();
        let is_null = self.rest.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("null"))
            && self.rest[4..].trim_start().chars().next().is_none_or(|c| ends.contains(&c));
        if is_null {
            self.rest = &self.rest[4..];
            return Some(Json::Null);
        }
        match (&from.column_type, &to.column_type) {
            (ColumnType::List(from), ColumnType::List(to)) => self.list(from, to),
            (ColumnType::Struct(from), ColumnType::Struct(to)) => self.fields(from, to),
            (ColumnType::Map(key, value), ColumnType::Map(to_key, to_value)) => {
                self.map((key, value), (to_key, to_value))
            }
            (_, to) => Some(scalar_json(&self.text(ends)?, to)),
        }
    }

    fn list(&mut self, from: &Column, to: &Column) -> Option<Json> {
        self.take('[')?;
        let mut values = Vec::new();
        while !self.try_take(']') {
            if !values.is_empty() {
                self.take(',')?;
            }
            values.push(self.value(from, to, &[',', ']'])?);
        }
        Some(Json::Array(values))
    }

    fn fields(&mut self, from: &[Column], to: &[Column]) -> Option<Json> {
        self.take('{')?;
        let mut fields = Map::new();
        let mut is_first = true;
        while !self.try_take('}') {
            if !is_first {
                self.take(',')?;
            }
            is_first = false;
            self.rest = self.rest.trim_start();
            let name = self.text(&[':'])?;
            self.take(':')?;
            let field = from.iter().find(|field| field.name.eq_ignore_ascii_case(&name))?;
            let now = to.iter().find(|other| other.id == field.id);
            let value = self.value(field, now.unwrap_or(field), &[',', '}'])?;
            // A field that was dropped since is read and left out.
            if let Some(now) = now {
                fields.insert(now.name.clone(), value);
            }
        }
        for added in to.iter().filter(|field| from.iter().all(|other| other.id != field.id)) {
            if let Some(default) = &added.initial_default {
                fields.insert(added.name.clone(), scalar_json(default, &added.column_type));
            }
        }
        Some(Json::Object(fields))
    }

    fn map(&mut self, from: (&Column, &Column), to: (&Column, &Column)) -> Option<Json> {
        self.take('{')?;
        let mut entries = Map::new();
        while !self.try_take('}') {
            if !entries.is_empty() {
                self.take(',')?;
            }
            let key = self.value(from.0, to.0, &['='])?;
            self.take('=')?;
            let key = match key {
                Json::String(key) => key,
                Json::Bool(key) => key.to_string(),
                _ => return None,
            };
            entries.insert(key, self.value(from.1, to.1, &[',', '}'])?);
        }
        Some(Json::Object(entries))
    }

    /// A quoted string, or everything up to one of `ends`.
    fn text(&mut self, ends: &[char]) -> Option<String> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            let end = self.rest.find(ends).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(word.trim_end().to_owned());
        };
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((index, c)) = chars.next() {
            match c {
                '\\' => text.push(chars.next()?.1),
                _ if c == quote => match chars.peek() {
                    // DuckDB doubles quotes inside of structs.
                    Some((_, next)) if *next == quote => text.push(chars.next()?.1),
                    _ => {
                        self.rest = &self.rest[index + 1..];
                        return Some(text);
                    }
                },
                _ => text.push(c),
            }
        }
        None
    }

    fn take(&mut self, c: char) -> Option<()> {
        self.try_take(c).then_some(())
    }

    fn try_take(&mut self, c: char) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::types::child;

    fn list(element: ColumnType) -> Column {
        child("l", ColumnType::List(Box::new(child("element", element))))
    }

    #[test]
    fn both_writers_nested_text_is_read() {
        let words = list(ColumnType::Varchar);
        for (text, json) in [
            ("[]", r#"[]"#),
            ("[a, b c, NULL]", r#"["a","b c",null]"#),
            (r"['it\'s', 'a\\b', 'NULL', '']", r#"["it's","a\\b","NULL",""]"#),
            (r#"['it''s', "x, y"]"#, r#"["it's","x, y"]"#),
        ] {
            assert_eq!(parse(text, &words, &words).unwrap().to_string(), json, "{text}");
        }
        for text in ["", "[", "[a", "['a", "[a]]", "{a}", r"['a\"] {
            assert_eq!(parse(text, &words, &words), None, "{text}");
        }
        let map = ColumnType::Map(
            Box::new(child("key", ColumnType::Varchar)),
            Box::new(child("value", ColumnType::Int32)),
        );
        let map = child("m", map);
        let json = parse("{k=1, 'a=b'=NULL}", &map, &map).unwrap();
        assert_eq!(json.to_string(), r#"{"k":"1","a=b":null}"#);
    }

    #[test]
    fn hexadecimal_is_read_back() {
        assert_eq!(unhex("00FF61"), Some(vec![0, 255, 97]));
        assert_eq!((unhex("0"), unhex("zz"), unhex("é0")), (None, None, None));
    }
}
