//! One column of a file in the table's form of today, whatever it was when the file was written.
//!
//! The engine's own casts match the fields of structs by name. Here they are found by id, so that
//! fields may be renamed, dropped and added again under an old name, at any depth; a field that the
//! file does not have is its initial default, else NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::convert::{Direction, convert, differs};
use super::types::table_field;
use crate::catalog::model::{Column, ColumnType};
use crate::error::{Error, Result};

/// Whether a file's nested field has exactly the children of the column, at every depth.
pub(super) fn lines_up(field: &Field, column: &Column) -> bool {
    let children = column.children();
    let fields = children_of(field);
    if children.is_empty() || fields.is_empty() {
        let now = table_field(column).map(|now| now.data_type().clone());
        // Text may or may not be views, which the engine casts.
        let is_text = |data_type: &DataType| data_type.is_string() || data_type.is_binary();
        return fields.is_empty()
            && now.is_ok_and(|now| {
                now == *field.data_type() || (is_text(&now) && is_text(field.data_type()))
            });
    }
    children.len() == fields.len()
        && children.iter().zip(fields).all(|(child, field)| {
            let is_same = match id(field) {
                Some(id) => *id == child.id.to_string(),
                None => true,
            };
            let is_named =
                !matches!(column.column_type, ColumnType::Struct(_)) || *field.name() == child.name;
            is_same && is_named && lines_up(field, child)
        })
}

/// The array of a file's field in the column's table form.
pub(super) fn evolve(array: &ArrayRef, field: &Field, column: &Column) -> Result<ArrayRef> {
    let target = table_field(column)?;
    let evolved = match (&column.column_type, target.data_type()) {
        (ColumnType::Struct(columns), DataType::Struct(targets)) => {
            evolve_struct(array, field, columns, targets)?
        }
        (ColumnType::List(element), DataType::List(target)) => {
            let array: &ListArray = array.as_list_opt().ok_or_else(|| other_shape(column))?;
            let values = child(array.values(), children_of(field), element, target)?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            Arc::new(ListArray::try_new(Arc::clone(target), offsets, values, nulls)?)
        }
        (ColumnType::Map(key, value), DataType::Map(entries, sorted)) => {
            let array: &MapArray = array.as_map_opt().ok_or_else(|| other_shape(column))?;
            let DataType::Struct(targets) = entries.data_type() else {
                return Err(other_shape(column));
            };
            let (Some(keys), Some(values)) =
                (children_of(field).first(), children_of(field).get(1))
            else {
                return Err(other_shape(column));
            };
            let keys = child(array.keys(), std::slice::from_ref(keys), key, &targets[0])?;
            let values = child(array.values(), std::slice::from_ref(values), value, &targets[1])?;
            let pairs = StructArray::try_new(targets.clone(), vec![keys, values], None)?;
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *sorted)?)
        }
        _ if differs(column) => convert(array, column, Direction::ToTable)?,
        _ => Arc::clone(array),
    };
    fit(evolved, target.data_type())
}

fn evolve_struct(
    array: &ArrayRef,
    field: &Field,
    columns: &[Column],
    targets: &Fields,
) -> Result<ArrayRef> {
    let array = array
        .as_struct_opt()
        .ok_or_else(|| Error::internal("a struct column of a file is no struct"))?;
    let fields = children_of(field);
    let has_ids = fields.iter().any(|field| id(field).is_some());
    let source = |column: &Column| {
        fields.iter().position(|field| match id(field) {
            Some(id) => *id == column.id.to_string(),
            None => !has_ids && *field.name() == column.name,
        })
    };
    let mut arrays = Vec::with_capacity(columns.len());
    for (column, target) in columns.iter().zip(targets) {
        arrays.push(match source(column) {
            Some(index) => {
                fit(evolve(array.column(index), &fields[index], column)?, target.data_type())?
            }
            None => fit(missing(column, array.len())?, target.data_type())?,
        });
    }
    let nulls = array.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(targets.clone(), arrays, nulls, array.len())?))
}

/// The only child of a list, or one side of a map.
fn child(
    array: &ArrayRef,
    fields: &[Arc<Field>],
    column: &Column,
    target: &Field,
) -> Result<ArrayRef> {
    let field = fields.first().ok_or_else(|| other_shape(column))?;
    fit(evolve(array, field, column)?, target.data_type())
}

/// A column that a file does not have.
fn missing(column: &Column, rows: usize) -> Result<ArrayRef> {
    let data_type = table_field(column)?.data_type().clone();
    Ok(match initial_default(column, &data_type)? {
        Some(value) => value.to_array_of_size(rows)?,
        None => new_null_array(&data_type, rows),
    })
}

/// The value of a column in files that were written before it was added.
pub(super) fn initial_default(
    column: &Column,
    data_type: &DataType,
) -> Result<Option<ScalarValue>> {
    let text = column.initial_default.as_deref();
    Ok(text.map(|text| ScalarValue::from(text).cast_to(data_type)).transpose()?)
}

fn fit(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    match array.data_type() == data_type {
        true => Ok(array),
        false => Ok(cast(&array, data_type)?),
    }
}

/// The fields of a struct, the element of a list, key and value of a map.
fn children_of(field: &Field) -> &[Arc<Field>] {
    match field.data_type() {
        DataType::Struct(fields) => fields,
        DataType::List(element) | DataType::LargeList(element) => std::slice::from_ref(element),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields,
            _ => &[],
        },
        _ => &[],
    }
}

fn id(field: &Field) -> Option<&String> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)
}

fn other_shape(column: &Column) -> Error {
    Error::unsupported(format!("column \"{}\" has another shape in a file", column.name))
        .with_help("rewrite the table with the engine that wrote it")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::array::{Int32Array, Int64Array, StringArray};

    use super::*;
    use crate::catalog::model::ColumnId;
    use crate::sql::types::child;

    fn column(id: i64, name: &str, column_type: ColumnType) -> Column {
        Column { id: ColumnId(id), ..child(name, column_type) }
    }

    fn field(id: i64, name: &str, data_type: DataType) -> Field {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, data_type, true).with_metadata(id)
    }

    /// `{a (2): 1, b (3): "x"}` as a file has it.
    fn file() -> (Field, ArrayRef) {
        let fields =
            Fields::from(vec![field(2, "a", DataType::Int32), field(3, "b", DataType::Utf8)]);
        let arrays: Vec<ArrayRef> =
            vec![Arc::new(Int32Array::from(vec![1])), Arc::new(StringArray::from(vec!["x"]))];
        let array = StructArray::try_new(fields.clone(), arrays, None).unwrap();
        (field(1, "s", DataType::Struct(fields)), Arc::new(array))
    }

    #[test]
    fn fields_are_found_by_id() {
        let (field, array) = file();
        let added =
            Column { initial_default: Some("7".into()), ..column(4, "a", ColumnType::Int64) };
        // "a" was renamed and widened, another "a" was added, "b" was dropped.
        let now = vec![column(2, "was_a", ColumnType::Int64), added];
        let now = column(1, "s", ColumnType::Struct(now));
        assert!(!lines_up(&field, &now));
        let array = evolve(&array, &field, &now).unwrap();
        let expected: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![7]))];
        assert_eq!(array.as_struct().columns(), expected);
    }

    #[test]
    fn what_has_not_changed_lines_up() {
        let (field, _) = file();
        let fields = vec![column(2, "a", ColumnType::Int32), column(3, "b", ColumnType::Varchar)];
        assert!(lines_up(&field, &column(1, "s", ColumnType::Struct(fields.clone()))));
        let mut swapped = fields;
        swapped.reverse();
        assert!(!lines_up(&field, &column(1, "s", ColumnType::Struct(swapped))));
    }
}
