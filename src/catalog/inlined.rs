//! The tables in which other engines keep a table's few rows inside of the catalog: their names and
//! their columns. What a column's values are there is the database's.

use super::model::{Column, TableId};

/// The inlined table of a table as of a schema version.
pub(super) fn name(table: TableId, schema_version: i64) -> String {
    format!("ducklake_inlined_data_{table}_{schema_version}")
}

/// Columns that every inlined table has; a table with one of these names is never inlined.
const OWN: [&str; 3] = ["row_id", "begin_snapshot", "end_snapshot"];

/// The column definitions of an inlined table, with the types that the database has for them; `None`
/// if rows of such a table cannot be inlined.
pub(super) fn columns(
    columns: &[Column],
    column_type: impl Fn(&Column) -> Option<String>,
) -> Option<String> {
    let mut definitions: Vec<String> = OWN.iter().map(|name| format!("{name} BIGINT")).collect();
    for column in columns {
        let lower = column.name.to_lowercase();
        if OWN.contains(&lower.as_str()) || lower.starts_with("_ducklake_internal_") {
            return None;
        }
        let name = column.name.replace('"', "\"\"");
        definitions.push(format!("\"{name}\" {}", column_type(column)?));
    }
    Some(definitions.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::model::{ColumnId, ColumnType};
    use super::*;

    fn column(name: &str, column_type: ColumnType) -> Column {
        Column {
            id: ColumnId(1),
            name: name.into(),
            column_type,
            nullable: true,
            initial_default: None,
            default: None,
            comment: None,
        }
    }

    #[test]
    fn every_column_is_there_or_none() {
        let two = [column("a", ColumnType::Int32), column("b \"c\"", ColumnType::Float64)];
        let own = "row_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT";
        let expected = format!("{own}, \"a\" int32, \"b \"\"c\"\"\" float64");
        let named = |column: &Column| Some(super::super::type_name(&column.column_type));
        assert_eq!(columns(&two, named), Some(expected));
        assert_eq!(columns(&[column("Row_Id", ColumnType::Int32)], named), None);
        assert_eq!(columns(&two, |_| None), None);
        assert_eq!(name(TableId(3), 7), "ducklake_inlined_data_3_7");
    }
}
