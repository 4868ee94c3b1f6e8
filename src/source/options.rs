//! The options of `read_csv`, `read_json` and `read_parquet`, with DuckDB's names.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sqlparser::ast::{self, Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, Value};
use sqlparser::parser::Parser;

use super::files::Format;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::sql::name::fold;
use crate::sql::types::{bracket_structs, child, column_type};
use crate::table::types::table_field;

/// Rows that are looked at to find the types of a text file; DuckDB's number.
pub(crate) const SAMPLE_SIZE: usize = 20_480;

/// What the caller said of the files to read.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadOptions {
    pub(crate) header: Option<bool>,
    pub(crate) delimiter: Option<u8>,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    pub(crate) null: Option<String>,
    pub(crate) compression: Option<String>,
    pub(crate) columns: Option<SchemaRef>,
    pub(crate) all_varchar: bool,
    pub(crate) sample_size: Option<usize>,
    pub(crate) newlines_in_values: Option<bool>,
    pub(crate) ragged: Option<bool>,
    pub(crate) array: bool,
    pub(crate) hive_partitioning: bool,
    pub(crate) filename: bool,
}

const CSV: &[&str] = &[
    "header",
    "delim",
    "delimiter",
    "sep",
    "quote",
    "escape",
    "comment",
    "nullstr",
    "null",
    "compression",
    "columns",
    "all_varchar",
    "sample_size",
    "newlines_in_values",
    "null_padding",
    "hive_partitioning",
    "filename",
];
const JSON: &[&str] =
    &["format", "compression", "columns", "sample_size", "hive_partitioning", "filename"];
const OTHER: &[&str] = &["hive_partitioning", "filename"];

/// Splits the arguments of a reader into its files and its options.
pub(crate) fn parse(
    function: &str,
    format: Format,
    arguments: &[FunctionArg],
) -> Result<(Vec<String>, ReadOptions)> {
    let mut files = Vec::new();
    let mut options = ReadOptions::default();
    for argument in arguments {
        match named(argument) {
            Some((name, value)) => set(&mut options, function, format, &name, value)?,
            None => match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if files.is_empty() => {
                    files = file_names(function, expr)?;
                }
                _ => return Err(usage(function)),
            },
        }
    }
    if files.is_empty() { Err(usage(function)) } else { Ok((files, options)) }
}

fn usage(function: &str) -> Error {
    Error::invalid(format!("{function} takes a file name or a list of them, then named options"))
        .with_help(format!("for example {function}('data/*.gz', name => value)"))
}

/// `name => value`, `name := value` or `name = value`.
fn named(argument: &FunctionArg) -> Option<(String, &Expr)> {
    match argument {
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), operator } => {
            let known = matches!(
                operator,
                FunctionArgOperator::RightArrow
                    | FunctionArgOperator::Assignment
                    | FunctionArgOperator::Equals
            );
            known.then(|| (fold(name), value))
        }
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp { left, op, right })) => {
            match (left.as_ref(), op) {
                (Expr::Identifier(name), ast::BinaryOperator::Eq) => Some((fold(name), right)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn file_names(function: &str, expr: &Expr) -> Result<Vec<String>> {
    match expr {
        Expr::Array(array) => {
            array.elem.iter().map(|e| text(e).ok_or_else(|| usage(function))).collect()
        }
        _ => Ok(vec![text(expr).ok_or_else(|| usage(function))?]),
    }
}

fn set(
    options: &mut ReadOptions,
    function: &str,
    format: Format,
    name: &str,
    value: &Expr,
) -> Result<()> {
    let known = match format {
        Format::Csv => CSV,
        Format::Json => JSON,
        _ => OTHER,
    };
    if !known.contains(&name) {
        let error = Error::invalid(format!("{function} has no option \"{name}\""))
            .with_help(format!("its options are {}", known.join(", ")));
        return Err(match nearest(name, known.iter().copied()) {
            Some(near) => error.with_label(format!("did you mean \"{near}\"?")),
            None => error,
        });
    }
    let wrong = |expected: &str| {
        Error::invalid(format!("option \"{name}\" of {function} takes {expected}, not {value}"))
    };
    let flag = || boolean(value).ok_or_else(|| wrong("true or false"));
    let byte = || character(value).ok_or_else(|| wrong("one ASCII character"));
    match name {
        "header" => options.header = Some(flag()?),
        "delim" | "delimiter" | "sep" => options.delimiter = Some(byte()?),
        "quote" => options.quote = Some(byte()?),
        "escape" => options.escape = Some(byte()?),
        "comment" => options.comment = Some(byte()?),
        "nullstr" | "null" => options.null = Some(text(value).ok_or_else(|| wrong("a string"))?),
        "compression" => {
            options.compression = Some(text(value).ok_or_else(|| wrong("a string"))?);
        }
        "columns" => {
            options.columns = Some(columns(value).ok_or_else(|| wrong("{'name': 'TYPE'}"))??)
        }
        "all_varchar" => options.all_varchar = flag()?,
        "sample_size" => {
            let size = text(value).and_then(|text| text.parse::<i64>().ok());
            let size = size.ok_or_else(|| wrong("a number of rows, -1 for all"))?;
            options.sample_size = Some(usize::try_from(size).unwrap_or(usize::MAX));
        }
        "newlines_in_values" => options.newlines_in_values = Some(flag()?),
        "null_padding" => options.ragged = Some(flag()?),
        "hive_partitioning" => options.hive_partitioning = flag()?,
        "filename" => options.filename = flag()?,
        _ => match text(value).as_deref() {
            Some("array") => options.array = true,
            Some("newline_delimited" | "nd" | "auto") => {}
            _ => return Err(wrong("'newline_delimited' or 'array'")),
        },
    }
    Ok(())
}

/// A string or number literal's text, also below a minus.
fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                Some(text.clone())
            }
            Value::Number(number, _) => Some(number.clone()),
            _ => None,
        },
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => {
            text(expr).map(|t| format!("-{t}"))
        }
        Expr::Nested(inner) => text(inner),
        _ => None,
    }
}

fn boolean(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Boolean(flag) => Some(*flag),
            Value::SingleQuotedString(text) => text.parse().ok(),
            Value::Number(number, _) => Some(number != "0"),
            _ => None,
        },
        _ => None,
    }
}

fn character(expr: &Expr) -> Option<u8> {
    let text = text(expr)?;
    match text.as_bytes() {
        [byte] => Some(*byte),
        b"\\t" => Some(b'\t'),
        _ => None,
    }
}

/// `{'name': 'TYPE', …}` as a schema, in the types' table form.
fn columns(expr: &Expr) -> Option<Result<SchemaRef>> {
    let Expr::Dictionary(fields) = expr else {
        return None;
    };
    let field = |field: &ast::DictionaryField| -> Result<Field> {
        let sql = text(&field.value)
            .ok_or_else(|| Error::invalid(format!("{} is not a type in quotes", field.value)))?;
        let tokens = bracket_structs(crate::sql::script::tokenize(&sql)?);
        let data_type = Parser::new(&crate::sql::DIALECT)
            .with_tokens_with_locations(tokens)
            .parse_data_type()
            .map_err(|e| Error::new(ErrorKind::Syntax, format!("type '{sql}': {e}")))?;
        table_field(&child(&field.key.value, column_type(&data_type)?))
    };
    let fields = fields.iter().map(field).collect::<Result<Vec<_>>>();
    Some(fields.map(|fields| Arc::new(Schema::new(fields))))
}

/// The schema with every column as text.
pub(crate) fn as_text(schema: &Schema) -> Schema {
    let field = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}
