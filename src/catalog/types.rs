//! The catalog's text forms: column types, column trees, aliases and times. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::backend::Row;
use super::model::{Column, ColumnDefault, ColumnId, ColumnType};
use crate::error::{Error, ErrorKind, Result};

/// The text of `ducklake_column.column_type`; children are rows of their own.
pub(crate) fn type_name(column_type: &ColumnType) -> String {
    use ColumnType as C;
    match column_type {
        C::Boolean => "boolean".into(),
        C::Int8 => "int8".into(),
        C::Int16 => "int16".into(),
        C::Int32 => "int32".into(),
        C::Int64 => "int64".into(),
        C::UInt8 => "uint8".into(),
        C::UInt16 => "uint16".into(),
        C::UInt32 => "uint32".into(),
        C::UInt64 => "uint64".into(),
        C::Float32 => "float32".into(),
        C::Float64 => "float64".into(),
        C::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        C::Date => "date".into(),
        C::Time => "time".into(),
        C::TimestampS => "timestamp_s".into(),
        C::TimestampMs => "timestamp_ms".into(),
        C::Timestamp => "timestamp".into(),
        C::TimestampNs => "timestamp_ns".into(),
        C::TimestampTz => "timestamptz".into(),
        C::Interval => "interval".into(),
        C::Varchar => "varchar".into(),
        C::Json => "json".into(),
        C::Blob => "blob".into(),
        C::Uuid => "uuid".into(),
        C::Struct(_) => "struct".into(),
        C::List(_) => "list".into(),
        C::Map(..) => "map".into(),
        C::Other(name) => name.clone(),
    }
}

/// A type from its text and its children; what is not known is kept as [`ColumnType::Other`].
pub(super) fn parse_type(text: &str, children: Vec<Column>) -> ColumnType {
    use ColumnType as C;
    let lower = text.to_lowercase();
    match lower.as_str() {
        "boolean" => C::Boolean,
        "int8" => C::Int8,
        "int16" => C::Int16,
        "int32" => C::Int32,
        "int64" => C::Int64,
        "uint8" => C::UInt8,
        "uint16" => C::UInt16,
        "uint32" => C::UInt32,
        "uint64" => C::UInt64,
        "float32" => C::Float32,
        "float64" => C::Float64,
        "date" => C::Date,
        "time" => C::Time,
        "timestamp_s" => C::TimestampS,
        "timestamp_ms" => C::TimestampMs,
        "timestamp" | "timestamp_us" => C::Timestamp,
        "timestamp_ns" => C::TimestampNs,
        "timestamptz" => C::TimestampTz,
        "interval" => C::Interval,
        "varchar" => C::Varchar,
        "json" => C::Json,
        "blob" => C::Blob,
        "uuid" => C::Uuid,
        "struct" if !children.is_empty() => C::Struct(children),
        "list" => match <[Column; 1]>::try_from(children) {
            Ok([element]) => C::List(Box::new(element)),
            Err(_) => C::Other(lower),
        },
        "map" => match <[Column; 2]>::try_from(children) {
            Ok([key, value]) => C::Map(Box::new(key), Box::new(value)),
            Err(_) => C::Other(lower),
        },
        _ => decimal(&lower).unwrap_or(C::Other(lower)),
    }
}

fn decimal(text: &str) -> Option<ColumnType> {
    let inside = text.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(',')?;
    let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    (precision <= 38 && scale <= precision).then_some(ColumnType::Decimal { precision, scale })
}

/// Rows of `ducklake_column`, in column order, as a tree. The row's values are: id, name, type,
/// initial default, default, nulls allowed, parent, default's type.
pub(super) fn assemble(
    rows: &[Row],
    comments: &BTreeMap<ColumnId, Option<String>>,
) -> Result<Vec<Column>> {
    children_of(None, rows, comments, 0)
}

/// Nesting deeper than this is taken for a cycle.
const MAX_DEPTH: usize = 64;

fn children_of(
    parent: Option<i64>,
    rows: &[Row],
    comments: &BTreeMap<ColumnId, Option<String>>,
    depth: usize,
) -> Result<Vec<Column>> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::Corrupt, "the catalog's columns nest without end"));
    }
    let mut columns = Vec::new();
    for row in rows {
        if row.opt_int(6)? != parent {
            continue;
        }
        let id = row.int(0)?;
        let type_name = row.text(2)?;
        let is_nested = matches!(type_name.as_str(), "struct" | "list" | "map");
        let children = match is_nested {
            true => children_of(Some(id), rows, comments, depth + 1)?,
            false => vec![],
        };
        columns.push(Column {
            id: ColumnId(id),
            name: row.text(1)?,
            column_type: parse_type(&type_name, children),
            // NOT NULL means something at the top only: DuckDB marks nested fields at random.
            nullable: parent.is_some() || row.opt_flag(5)?.unwrap_or(true),
            initial_default: row.opt_text(3),
            default: default(row.opt_text(4), row.opt_text(7)),
            comment: comments.get(&ColumnId(id)).cloned().flatten(),
        });
    }
    Ok(columns)
}

/// The text `NULL` stands for none.
fn default(text: Option<String>, kind: Option<String>) -> Option<ColumnDefault> {
    let text = text.filter(|text| text != "NULL")?;
    match kind.as_deref() {
        Some("expression") => Some(ColumnDefault::Expression(text)),
        _ => Some(ColumnDefault::Literal(text)),
    }
}

/// Names as `"a","b c"`; none is the empty text, never NULL.
pub(super) fn print_aliases(aliases: &[String]) -> String {
    let quoted = |alias: &String| format!("\"{}\"", alias.replace('"', "\"\""));
    aliases.iter().map(quoted).collect::<Vec<_>>().join(",")
}

pub(super) fn parse_aliases(text: &str) -> Vec<String> {
    let mut aliases = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.next_if_eq(&'"').is_some() {
        let mut alias = String::new();
        while let Some(c) = chars.next() {
            match c {
                '"' if chars.next_if_eq(&'"').is_none() => break,
                c => alias.push(c),
            }
        }
        aliases.push(alias);
        chars.next_if_eq(&',');
    }
    aliases
}

/// A time in the text form that other engines compare as text.
pub(super) fn print_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

pub(super) fn parse_time(text: &str) -> Result<DateTime<Utc>> {
    ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"]
        .iter()
        .find_map(|format| DateTime::parse_from_str(text, format).ok())
        .map(|time| time.with_timezone(&Utc))
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("the catalog has the time {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_parse_back() {
        use ColumnType as C;
        for column_type in
            [C::Int8, C::Float32, C::Decimal { precision: 38, scale: 10 }, C::TimestampTz]
        {
            assert_eq!(parse_type(&type_name(&column_type), vec![]), column_type);
        }
        assert_eq!(parse_type("DECIMAL(10, 2)", vec![]), C::Decimal { precision: 10, scale: 2 });
        assert_eq!(parse_type("variant", vec![]), C::Other("variant".into()));
        assert_eq!(parse_type("struct", vec![]), C::Other("struct".into()));
        assert_eq!(parse_type("decimal", vec![]), C::Other("decimal".into()));
    }

    #[test]
    fn aliases_keep_quotes_and_commas() {
        let aliases = vec!["a".to_owned(), "b,c".to_owned(), "say \"hi\"".to_owned()];
        assert_eq!(parse_aliases(&print_aliases(&aliases)), aliases);
        assert_eq!(parse_aliases(""), Vec::<String>::new());
    }

    #[test]
    fn times_of_any_writer_parse() {
        for text in [
            "2026-11-24 01:02:03+00",
            "2026-11-24 01:02:03.5+00",
            "2026-11-24T01:02:03.000001+00:00",
        ] {
            parse_time(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
        let time = parse_time("2026-11-24 01:02:03.5+00").unwrap();
        assert_eq!(print_time(time), "2026-11-24 01:02:03.500000+00");
        assert!(parse_time("yesterday").is_err());
    }
}
