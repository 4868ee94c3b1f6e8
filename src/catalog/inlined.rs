//! The tables in which other engines keep a table's few rows inside of the catalog: their names and
//! their columns.

use super::backend::Database;
use super::model::{Column, ColumnType, TableId};

/// The inlined table of a table as of a schema version.
pub(super) fn name(table: TableId, schema_version: i64) -> String {
    format!("ducklake_inlined_data_{table}_{schema_version}")
}

/// Columns that every inlined table has; a table with one of these names is never inlined.
const OWN: [&str; 3] = ["row_id", "begin_snapshot", "end_snapshot"];

/// Longer names make PostgreSQL cut them, so such a table is never inlined there.
const MAX_NAME: usize = 63;

/// The column definitions of an inlined table; `None` if rows of such a table cannot be inlined.
pub(super) fn columns(columns: &[Column], database: Database) -> Option<String> {
    let mut definitions: Vec<String> = OWN.iter().map(|name| format!("{name} BIGINT")).collect();
    for column in columns {
        let lower = column.name.to_lowercase();
        let is_own = OWN.contains(&lower.as_str()) || lower.starts_with("_ducklake_internal_");
        if is_own || (database == Database::Postgres && column.name.len() > MAX_NAME) {
            return None;
        }
        let name = column.name.replace('"', "\"\"");
        let column_type = match (&column.column_type, database) {
            (ColumnType::Other(_), _) => return None,
            (column_type, Database::Sqlite) => sqlite_type(column_type).to_owned(),
            (column_type, Database::Postgres) => postgres_type(column_type),
        };
        definitions.push(format!("\"{name}\" {column_type}"));
    }
    Some(definitions.join(", "))
}

/// SQLite's type for a column's values; nested ones are text.
fn sqlite_type(column_type: &ColumnType) -> &'static str {
    use ColumnType as C;
    match column_type {
        C::Boolean
        | C::Int8
        | C::Int16
        | C::Int32
        | C::Int64
        | C::UInt8
        | C::UInt16
        | C::UInt32 => "BIGINT",
        C::Blob => "BLOB",
        _ => "VARCHAR",
    }
}

/// PostgreSQL's; text is in bytes, because its own text does not hold every character.
fn postgres_type(column_type: &ColumnType) -> String {
    use ColumnType as C;
    match column_type {
        C::Boolean => "BOOLEAN",
        C::Int8 | C::Int16 => "SMALLINT",
        C::Int32 | C::UInt8 | C::UInt16 => "INTEGER",
        C::Int64 | C::UInt32 => "BIGINT",
        C::Float32 => "REAL",
        C::Float64 => "DOUBLE PRECISION",
        C::Decimal { precision, scale } => return format!("NUMERIC({precision},{scale})"),
        C::Time => "TIME",
        C::Interval => "INTERVAL",
        C::Uuid => "UUID",
        C::Varchar | C::Json | C::Blob => "BYTEA",
        _ => "VARCHAR",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::model::ColumnId;
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
        let expected = format!("{own}, \"a\" BIGINT, \"b \"\"c\"\"\" VARCHAR");
        assert_eq!(columns(&two, Database::Sqlite), Some(expected));
        assert_eq!(columns(&[column("Row_Id", ColumnType::Int32)], Database::Sqlite), None);
        assert_eq!(
            columns(&[column("v", ColumnType::Other("variant".into()))], Database::Sqlite),
            None
        );
        let expected = format!("{own}, \"a\" INTEGER, \"b \"\"c\"\"\" DOUBLE PRECISION");
        assert_eq!(columns(&two, Database::Postgres), Some(expected));
        let long = "x".repeat(64);
        assert_eq!(columns(&[column(&long, ColumnType::Int32)], Database::Postgres), None);
        assert_eq!(name(TableId(3), 7), "ducklake_inlined_data_3_7");
    }
}
