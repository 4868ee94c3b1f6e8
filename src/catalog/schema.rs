//! The catalog's own tables: DuckLake 1.0, created in one transaction.
//!
//! Column order and count are part of the format: other engines insert by position. Extra indexes
//! are not, and keep look-ups short in catalogs with many tables and files.

use chrono::{DateTime, Utc};

use super::backend::{Backend, Value, WriteTransaction};
use crate::error::{Error, ErrorKind, Result};

/// The format version this crate reads and writes.
pub(crate) const VERSION: &str = "1.0";

/// Table and columns, with the logical types of the specification.
const TABLES: &[(&str, &str)] = &[
    (
        "ducklake_metadata",
        "key VARCHAR NOT NULL, value VARCHAR NOT NULL, scope VARCHAR, scope_id BIGINT",
    ),
    (
        "ducklake_snapshot",
        "snapshot_id BIGINT PRIMARY KEY, snapshot_time TIMESTAMPTZ, schema_version BIGINT, next_catalog_id BIGINT, next_file_id BIGINT",
    ),
    (
        "ducklake_snapshot_changes",
        "snapshot_id BIGINT PRIMARY KEY, changes_made VARCHAR, author VARCHAR, commit_message VARCHAR, commit_extra_info VARCHAR",
    ),
    (
        "ducklake_schema",
        "schema_id BIGINT PRIMARY KEY, schema_uuid UUID, begin_snapshot BIGINT, end_snapshot BIGINT, schema_name VARCHAR, path VARCHAR, path_is_relative BOOLEAN",
    ),
    (
        "ducklake_table",
        "table_id BIGINT, table_uuid UUID, begin_snapshot BIGINT, end_snapshot BIGINT, schema_id BIGINT, table_name VARCHAR, path VARCHAR, path_is_relative BOOLEAN",
    ),
    (
        "ducklake_view",
        "view_id BIGINT, view_uuid UUID, begin_snapshot BIGINT, end_snapshot BIGINT, schema_id BIGINT, view_name VARCHAR, dialect VARCHAR, sql VARCHAR, column_aliases VARCHAR",
    ),
    (
        "ducklake_tag",
        "object_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, key VARCHAR, value VARCHAR",
    ),
    (
        "ducklake_column_tag",
        "table_id BIGINT, column_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, key VARCHAR, value VARCHAR",
    ),
    (
        "ducklake_data_file",
        "data_file_id BIGINT PRIMARY KEY, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, file_order BIGINT, path VARCHAR, path_is_relative BOOLEAN, file_format VARCHAR, record_count BIGINT, file_size_bytes BIGINT, footer_size BIGINT, row_id_start BIGINT, partition_id BIGINT, encryption_key VARCHAR, mapping_id BIGINT, partial_max BIGINT",
    ),
    (
        "ducklake_file_column_stats",
        "data_file_id BIGINT, table_id BIGINT, column_id BIGINT, column_size_bytes BIGINT, value_count BIGINT, null_count BIGINT, min_value VARCHAR, max_value VARCHAR, contains_nan BOOLEAN, extra_stats VARCHAR",
    ),
    (
        "ducklake_file_variant_stats",
        "data_file_id BIGINT, table_id BIGINT, column_id BIGINT, variant_path VARCHAR, shredded_type VARCHAR, column_size_bytes BIGINT, value_count BIGINT, null_count BIGINT, min_value VARCHAR, max_value VARCHAR, contains_nan BOOLEAN, extra_stats VARCHAR",
    ),
    (
        "ducklake_delete_file",
        "delete_file_id BIGINT PRIMARY KEY, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, data_file_id BIGINT, path VARCHAR, path_is_relative BOOLEAN, format VARCHAR, delete_count BIGINT, file_size_bytes BIGINT, footer_size BIGINT, encryption_key VARCHAR, partial_max BIGINT",
    ),
    (
        "ducklake_column",
        "column_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, table_id BIGINT, column_order BIGINT, column_name VARCHAR, column_type VARCHAR, initial_default VARCHAR, default_value VARCHAR, nulls_allowed BOOLEAN, parent_column BIGINT, default_value_type VARCHAR, default_value_dialect VARCHAR",
    ),
    (
        "ducklake_table_stats",
        "table_id BIGINT, record_count BIGINT, next_row_id BIGINT, file_size_bytes BIGINT",
    ),
    (
        "ducklake_table_column_stats",
        "table_id BIGINT, column_id BIGINT, contains_null BOOLEAN, contains_nan BOOLEAN, min_value VARCHAR, max_value VARCHAR, extra_stats VARCHAR",
    ),
    (
        "ducklake_partition_info",
        "partition_id BIGINT, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT",
    ),
    (
        "ducklake_partition_column",
        "partition_id BIGINT, table_id BIGINT, partition_key_index BIGINT, column_id BIGINT, transform VARCHAR",
    ),
    (
        "ducklake_file_partition_value",
        "data_file_id BIGINT, table_id BIGINT, partition_key_index BIGINT, partition_value VARCHAR",
    ),
    (
        "ducklake_files_scheduled_for_deletion",
        "data_file_id BIGINT, path VARCHAR, path_is_relative BOOLEAN, schedule_start TIMESTAMPTZ",
    ),
    ("ducklake_inlined_data_tables", "table_id BIGINT, table_name VARCHAR, schema_version BIGINT"),
    ("ducklake_column_mapping", "mapping_id BIGINT, table_id BIGINT, type VARCHAR"),
    (
        "ducklake_name_mapping",
        "mapping_id BIGINT, column_id BIGINT, source_name VARCHAR, target_field_id BIGINT, parent_column BIGINT, is_partition BOOLEAN",
    ),
    ("ducklake_schema_versions", "begin_snapshot BIGINT, schema_version BIGINT, table_id BIGINT"),
    (
        "ducklake_macro",
        "schema_id BIGINT, macro_id BIGINT, macro_name VARCHAR, begin_snapshot BIGINT, end_snapshot BIGINT",
    ),
    (
        "ducklake_macro_impl",
        "macro_id BIGINT, impl_id BIGINT, dialect VARCHAR, sql VARCHAR, type VARCHAR",
    ),
    (
        "ducklake_macro_parameters",
        "macro_id BIGINT, impl_id BIGINT, column_id BIGINT, parameter_name VARCHAR, parameter_type VARCHAR, default_value VARCHAR, default_value_type VARCHAR",
    ),
    (
        "ducklake_sort_info",
        "sort_id BIGINT, table_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT",
    ),
    (
        "ducklake_sort_expression",
        "sort_id BIGINT, table_id BIGINT, sort_key_index BIGINT, expression VARCHAR, dialect VARCHAR, sort_direction VARCHAR, null_order VARCHAR",
    ),
];

/// Ours: a look-up reads what it is about, not the whole catalog.
const INDEXES: &[(&str, &str)] = &[
    ("ducklake_table", "schema_id, table_name"),
    ("ducklake_table", "table_id"),
    ("ducklake_view", "schema_id, view_name"),
    ("ducklake_tag", "object_id"),
    ("ducklake_column_tag", "table_id"),
    ("ducklake_column", "table_id"),
    ("ducklake_data_file", "table_id"),
    ("ducklake_delete_file", "table_id"),
    ("ducklake_file_column_stats", "table_id, column_id, data_file_id"),
    ("ducklake_table_stats", "table_id"),
    ("ducklake_table_column_stats", "table_id"),
    ("ducklake_partition_info", "table_id"),
    ("ducklake_inlined_data_tables", "table_id"),
];

/// Makes an empty database a catalog.
pub(crate) async fn bootstrap(
    backend: &Backend,
    data_path: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut transaction = backend.create().await?;
    // Another process may have been first while this one waited for the lock.
    if !transaction.query(backend.is_filled(), &[]).await?.is_empty() {
        return Ok(());
    }
    for (table, columns) in TABLES {
        let sql = format!("CREATE TABLE {table}({})", backend.typed(columns));
        transaction.execute(&sql, &[]).await?;
    }
    for (number, (table, columns)) in INDEXES.iter().enumerate() {
        let sql = format!("CREATE INDEX gotgan_index_{number} ON {table}({columns})");
        transaction.execute(&sql, &[]).await?;
    }
    first_rows(&mut transaction, data_path, now).await?;
    transaction.commit().await
}

async fn first_rows(
    transaction: &mut WriteTransaction,
    data_path: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let created_by = format!("gotgan {}", env!("CARGO_PKG_VERSION"));
    let metadata = [
        ("version", VERSION),
        ("created_by", &created_by),
        ("data_path", data_path),
        ("encrypted", "false"),
    ];
    let rows =
        metadata.map(|(key, value)| vec![key.into(), value.into(), Value::Null, Value::Null]);
    transaction.insert("ducklake_metadata", rows.into()).await?;
    let snapshot = vec![0i64.into(), now.into(), 0i64.into(), 1i64.into(), 0i64.into()];
    transaction.insert("ducklake_snapshot", vec![snapshot]).await?;
    let changes = "created_schema:\"main\"".into();
    let changes = vec![0i64.into(), changes, Value::Null, Value::Null, Value::Null];
    transaction.insert("ducklake_snapshot_changes", vec![changes]).await?;
    let main = vec![
        0i64.into(),
        uuid::Uuid::now_v7().into(),
        0i64.into(),
        Value::Null,
        "main".into(),
        "main/".into(),
        true.into(),
    ];
    transaction.insert("ducklake_schema", vec![main]).await
}

/// Refuses catalogs of another version, and those whose files are encrypted.
pub(crate) fn check(name: &str, version: Option<&str>, encrypted: Option<&str>) -> Result<()> {
    match version {
        Some(VERSION) => {}
        Some(other) => {
            return Err(Error::unsupported(format!(
                "catalog \"{name}\" has format version {other}; this program reads {VERSION}"
            ))
            .with_help("use the program that wrote it, or a newer gotgan"));
        }
        None => {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("catalog \"{name}\" names no format version"),
            )
            .with_help("restore it from a backup"));
        }
    }
    if encrypted == Some("true") {
        return Err(Error::unsupported(format!("the files of catalog \"{name}\" are encrypted"))
            .with_help("copy its tables with DuckDB into a warehouse that is not"));
    }
    Ok(())
}
