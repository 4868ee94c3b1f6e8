//! Whether two engines gave the same rows.
//!
//! Floats and decimals have to agree within 1e-6 of their size. Where the other engine's type is
//! a float and ours a decimal, ours can also be no closer than its last digit. Everything else is
//! compared as text.

use std::result::Result;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

const TOLERANCE: f64 = 1e-6;

/// Rows that tie in the order may be this far apart.
const WINDOW: usize = 32;

/// A value as text, with its type.
struct Cell {
    text: Option<String>,
    data_type: DataType,
}

/// What is different, if anything is.
pub(crate) fn difference(ours: &[RecordBatch], theirs: &[Vec<Value>]) -> Option<String> {
    let mut ours = match rows(ours) {
        Ok(ours) => ours,
        Err(error) => return Some(error.to_string()),
    };
    if ours.len() != theirs.len() {
        return Some(format!("{} rows, not {}", ours.len(), theirs.len()));
    }
    for (index, expected) in theirs.iter().enumerate() {
        let window = ours.iter().enumerate().skip(index).take(WINDOW);
        let found = window.filter(|(_, row)| same_row(row, expected)).map(|(at, _)| at).next();
        let Some(found) = found else {
            let row: Vec<_> = ours[index].iter().map(|cell| cell.text.as_deref()).collect();
            return Some(format!("row {}: {row:?}, not {expected:?}", index + 1));
        };
        ours[index..=found].rotate_right(1);
    }
    None
}

fn rows(batches: &[RecordBatch]) -> Result<Vec<Vec<Cell>>, ArrowError> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().zip(batch.columns()).map(|(format, column)| Cell {
                text: column.is_valid(row).then(|| format.value(row).to_string()),
                data_type: column.data_type().clone(),
            });
            rows.push(cells.collect());
        }
    }
    Ok(rows)
}

fn same_row(ours: &[Cell], theirs: &[Value]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
}

fn same(ours: &Cell, theirs: &Value) -> bool {
    let Some(text) = &ours.text else { return theirs.is_null() };
    let expected = match theirs {
        Value::Null => return false,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let DataType::Decimal128(_, scale) = ours.data_type else {
        let is_float = ours.data_type.is_floating() || theirs.is_f64();
        return if is_float { close(text, &expected, 0.0) } else { *text == expected };
    };
    let last_digit = if theirs.is_f64() { 10f64.powi(-i32::from(scale)) } else { 0.0 };
    close(text, &expected, last_digit)
}

fn close(a: &str, b: &str, at_least: f64) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return a == b };
    (a - b).abs() <= at_least.max(TOLERANCE * a.abs().max(b.abs()))
}
