//! Data files that only the catalog knows, for what looks at plans: planning opens no file.

use std::collections::BTreeMap;

use gotgan::catalog::assign_column_ids;
use gotgan::catalog::model::{Column, ColumnId, ColumnStats, ColumnType, DataFile, Table};

/// The columns `c0`, `c1` and so on.
pub(crate) fn columns(n: usize) -> Vec<Column> {
    let column = |index| Column {
        id: ColumnId(0),
        name: format!("c{index}"),
        column_type: ColumnType::Int64,
        nullable: true,
        initial_default: None,
        default: None,
        comment: None,
    };
    let mut columns: Vec<Column> = (0..n).map(column).collect();
    assign_column_ids(&mut columns);
    columns
}

/// A file with the values from `index * n_rows` on in each column.
pub(crate) fn file(table: &Table, index: u64, n_rows: u64) -> DataFile {
    let min = index * n_rows;
    let stats = ColumnStats {
        column_size_bytes: n_rows * 8,
        value_count: Some(n_rows),
        null_count: Some(0),
        min: Some(min.to_string()),
        max: Some((min + n_rows - 1).to_string()),
        contains_nan: None,
    };
    let column_stats: BTreeMap<ColumnId, ColumnStats> =
        table.columns.iter().map(|column| (column.id, stats.clone())).collect();
    DataFile {
        id: None,
        path: format!("{}made-up-{index:08}.parquet", table.directory),
        record_count: n_rows,
        file_size_bytes: n_rows * 8 * table.columns.len() as u64,
        footer_size: Some(4096),
        row_id_start: None,
        column_stats,
        begin: None,
        partial_max: None,
        name_mapping: None,
        deletes: vec![],
        deleted: Default::default(),
        partition: None,
    }
}
