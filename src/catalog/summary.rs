//! What the catalog knows of a table as a whole, for estimates: one row for the table and one for each
//! column, whatever the number of its files.
//!
//! DuckLake keeps these rows for the newest snapshot only and does not take deletions off them. So
//! nothing here may decide an answer, only a plan.

use std::collections::BTreeMap;

use super::bounds::{self, TableColumnStats};
use super::commit::leaf_types;
use super::model::*;
use super::{Catalog, Transaction};
use crate::error::Result;

impl Catalog {
    pub(super) async fn summary(&self, table: TableId) -> Result<TableSummary> {
        let sql = "SELECT t.record_count, c.column_id, c.contains_null, c.min_value, c.max_value \
                   FROM ducklake_table_stats t LEFT JOIN ducklake_table_column_stats c \
                   ON c.table_id = t.table_id WHERE t.table_id = $1";
        let mut summary = TableSummary::default();
        for row in self.backend().query(sql, &[table.0.into()]).await? {
            summary.record_count = row.count(0)?;
            if let Some(id) = row.opt_int(1)? {
                let contains_null = row.opt_flag(2)?;
                let column =
                    ColumnSummary { contains_null, min: row.opt_text(3), max: row.opt_text(4) };
                summary.columns.insert(ColumnId(id), column);
            }
        }
        Ok(summary)
    }
}

impl Transaction {
    /// What is known of a table as a whole, with what is staged of it.
    pub async fn summary(&self, table: &Table) -> Result<TableSummary> {
        let mut summary = match table.id.is_provisional() {
            true => TableSummary::default(),
            false => self.catalog.known_summary(&self.base, table.id).await?,
        };
        let files = self.changes.appended.get(&table.id).into_iter().flatten();
        let files = files.map(|file| (file.record_count, &file.column_stats));
        let inlined = self.changes.inlined.get(&table.id).into_iter().flatten();
        let inlined = inlined.map(|group| (group.rows.len() as u64, &group.column_stats));
        let added: Vec<(u64, &BTreeMap<ColumnId, ColumnStats>)> = files.chain(inlined).collect();
        if added.is_empty() {
            return Ok(summary);
        }
        summary.record_count += added.iter().map(|(rows, _)| rows).sum::<u64>();
        for (id, column_type) in leaf_types(&table.columns) {
            let of_column = || added.iter().filter_map(|(_, stats)| stats.get(&id));
            let merged = match summary.columns.remove(&id) {
                Some(before) => {
                    let mut merged = TableColumnStats::from(before);
                    of_column().for_each(|stats| merged.widen(stats, &column_type));
                    merged
                }
                None => bounds::of_files(of_column(), &column_type),
            };
            summary.columns.insert(id, merged.into());
        }
        Ok(summary)
    }
}

impl From<ColumnSummary> for TableColumnStats {
    fn from(ColumnSummary { contains_null, min, max }: ColumnSummary) -> Self {
        Self { contains_null, contains_nan: None, min, max }
    }
}

impl From<TableColumnStats> for ColumnSummary {
    fn from(TableColumnStats { contains_null, min, max, .. }: TableColumnStats) -> Self {
        Self { contains_null, min, max }
    }
}
