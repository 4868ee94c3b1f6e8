//! SET PARTITIONED BY and SET SORTED BY: how a table's files are laid out.

use datafusion::common::DFSchema;

use super::Session;
use crate::catalog::Transaction;
use crate::catalog::model::{
    Column, ColumnType, PartitionKey, PartitionSpec, SortKey, Table, Transform,
};
use crate::error::{Error, Result};
use crate::sql::name::{self, fold};
use crate::sql::{PartitionBy, SortBy, spell};
use crate::table::types::{display_column_type, table_schema};
use crate::write::plan_expr;

impl Session {
    /// Sets how `table` is partitioned from now on; no keys: not at all.
    pub(super) async fn set_partition(
        &self,
        transaction: &mut Transaction,
        table: &mut Table,
        keys: &[PartitionBy],
    ) -> Result<()> {
        let keys = keys.iter().map(|key| partition_key(table, key)).collect::<Result<Vec<_>>>()?;
        let is_twice = |i: usize| keys[..i].contains(&keys[i]);
        if (0..keys.len()).any(is_twice) {
            return Err(Error::invalid("a partition key comes twice"));
        }
        let before = table.partition.as_ref().map(|spec| spec.keys.as_slice()).unwrap_or_default();
        if before == keys {
            return Ok(());
        }
        let is_bucketed = keys.iter().any(|key| matches!(key.transform, Transform::Bucket(_)));
        let is_populated = transaction.n_data_files(table).await? > 0;
        if is_bucketed && is_populated {
            return Err(Error::unsupported(format!(
                "table \"{}\" has files, and DuckDB would not find their rows in the new buckets",
                table.name
            ))
            .with_help(
                "rebuild it: CREATE OR REPLACE TABLE t PARTITIONED BY (bucket(n, c)) AS SELECT * FROM t",
            ));
        }
        let id = transaction.partition_id();
        table.partition = (!keys.is_empty()).then_some(PartitionSpec { id, keys });
        Ok(())
    }
}

fn partition_key(table: &Table, key: &PartitionBy) -> Result<PartitionKey> {
    let span = name::span(key.column.span);
    let column = table.require_column(&[fold(&key.column)]).map_err(|e| e.or_span(span))?;
    let is_nested = !column.children().is_empty();
    let fits = match key.transform {
        Transform::Year | Transform::Month | Transform::Day => is_dated(column),
        Transform::Hour => is_dated(column) && column.column_type != ColumnType::Date,
        Transform::Identity | Transform::Bucket(_) => {
            !is_nested && !matches!(column.column_type, ColumnType::Interval | ColumnType::Other(_))
        }
    };
    match fits {
        true => Ok(PartitionKey { column: column.id, transform: key.transform }),
        false => Err(Error::invalid(format!(
            "column \"{}\" of type {} cannot be partitioned in this way",
            column.name,
            display_column_type(&column.column_type)
        ))
        .with_help("year, month and day take dates and times, hour takes times")
        .or_span(span)),
    }
}

fn is_dated(column: &Column) -> bool {
    use ColumnType as C;
    matches!(
        column.column_type,
        C::Date | C::TimestampS | C::TimestampMs | C::Timestamp | C::TimestampNs | C::TimestampTz
    )
}

/// Sort keys as the catalog keeps them; no keys: not sorted.
pub(super) fn sort_keys(session: &Session, table: &Table, keys: &[SortBy]) -> Result<Vec<SortKey>> {
    let schema = DFSchema::try_from(table_schema(&table.columns)?)?;
    let sort_key = |key: &SortBy| {
        let mut expr = key.expr.clone();
        spell(&mut expr, &table.columns, "a sort key")?;
        let expression = expr.to_string();
        let planned = plan_expr(&session.template, &expression, &schema)?;
        if planned.is_volatile() {
            return Err(Error::invalid(format!("{expression} does not sort: it is random")));
        }
        let SortBy { descending, nulls_first, .. } = *key;
        Ok(SortKey { expression, dialect: "duckdb".into(), descending, nulls_first })
    };
    keys.iter().map(sort_key).collect()
}
