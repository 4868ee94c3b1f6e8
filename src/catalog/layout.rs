//! What a table has besides columns: partition keys, sort keys, and our constraints.
//!
//! Constraints are not part of DuckLake. They live in a table of their own, [`CONSTRAINTS`], which
//! is made when the first one is declared and whose rows begin and end with snapshots like all
//! others; other engines leave it alone.

use super::Catalog;
use super::backend::Row;
use super::model::*;
use super::read::VISIBLE;
use crate::error::{Error, ErrorKind, Result};

/// The table of constraints.
pub(super) const CONSTRAINTS: &str = "gotgan_constraint";

/// Its columns, in the logical types of the format.
pub(super) const CONSTRAINT_COLUMNS: &str = "table_id BIGINT, begin_snapshot BIGINT, \
     end_snapshot BIGINT, constraint_name VARCHAR, constraint_type VARCHAR, definition VARCHAR";

impl Catalog {
    /// How a table is partitioned; a specification without keys is none.
    pub(super) async fn partition(
        &self,
        at: SnapshotId,
        table: TableId,
    ) -> Result<Option<PartitionSpec>> {
        let sql = format!(
            "SELECT i.partition_id, c.column_id, c.transform FROM ducklake_partition_info i \
             JOIN ducklake_partition_column c ON i.partition_id = c.partition_id \
             WHERE i.table_id = $2 AND {VISIBLE} ORDER BY c.partition_key_index"
        );
        let rows = self.backend().query(&sql, &[at.0.into(), table.0.into()]).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let key = |row: &Row| {
            let text = row.text(2)?;
            let transform = parse_transform(&text).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("unknown partition transform {text:?}"))
                    .with_help("use a newer gotgan")
            })?;
            Ok(PartitionKey { column: ColumnId(row.int(1)?), transform })
        };
        let keys = rows.iter().map(key).collect::<Result<Vec<_>>>()?;
        Ok(Some(PartitionSpec { id: PartitionId(first.int(0)?), keys }))
    }

    /// How a table's files are sorted.
    pub(super) async fn sort(&self, at: SnapshotId, table: TableId) -> Result<Vec<SortKey>> {
        let sql = format!(
            "SELECT e.expression, e.dialect, e.sort_direction, e.null_order \
             FROM ducklake_sort_info i JOIN ducklake_sort_expression e ON i.sort_id = e.sort_id \
             WHERE i.table_id = $2 AND {VISIBLE} ORDER BY e.sort_key_index"
        );
        let rows = self.backend().query(&sql, &[at.0.into(), table.0.into()]).await?;
        let is = |row: &Row, index: usize, text: &str| {
            row.opt_text(index).is_some_and(|value| value.eq_ignore_ascii_case(text))
        };
        let key = |row: &Row| {
            Ok(SortKey {
                expression: row.text(0)?,
                dialect: row.opt_text(1).unwrap_or_default(),
                descending: is(row, 2, "DESC"),
                nulls_first: is(row, 3, "NULLS_FIRST"),
            })
        };
        rows.iter().map(key).collect()
    }

    /// A table's constraints, by name.
    pub(super) async fn constraints(
        &self,
        at: SnapshotId,
        table: TableId,
    ) -> Result<Vec<Constraint>> {
        if !self.backend().has_table(CONSTRAINTS).await? {
            return Ok(vec![]);
        }
        let sql = format!(
            "SELECT constraint_name, constraint_type, definition FROM {CONSTRAINTS} \
             WHERE table_id = $2 AND {VISIBLE} ORDER BY constraint_name"
        );
        let rows = self.backend().query(&sql, &[at.0.into(), table.0.into()]).await?;
        let constraint = |row: &Row| {
            let (name, kind, definition) = (row.text(0)?, row.text(1)?, row.text(2)?);
            let rule = parse_rule(&kind, definition).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("constraint \"{name}\" is damaged"))
                    .with_help("restore the catalog from a backup")
            })?;
            Ok(Constraint { name, rule })
        };
        rows.iter().map(constraint).collect()
    }
}

/// `bucket(8)`, `year`, …
pub(super) fn print_transform(transform: Transform) -> String {
    match transform {
        Transform::Identity => "identity".into(),
        Transform::Year => "year".into(),
        Transform::Month => "month".into(),
        Transform::Day => "day".into(),
        Transform::Hour => "hour".into(),
        Transform::Bucket(n) => format!("bucket({n})"),
    }
}

fn parse_transform(text: &str) -> Option<Transform> {
    Some(match text.to_lowercase().as_str() {
        "identity" => Transform::Identity,
        "year" => Transform::Year,
        "month" => Transform::Month,
        "day" => Transform::Day,
        "hour" => Transform::Hour,
        other => {
            let n = other.strip_prefix("bucket(")?.strip_suffix(')')?.trim().parse().ok()?;
            (n > 0).then_some(Transform::Bucket(n))?
        }
    })
}

/// A rule's type and definition: a CHECK's SQL, or a key's column ids between commas.
pub(super) fn print_rule(rule: &Rule) -> (&'static str, String) {
    let ids = |columns: &[ColumnId]| {
        columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    match rule {
        Rule::Check(sql) => ("check", sql.clone()),
        Rule::PrimaryKey(columns) => ("primary key", ids(columns)),
        Rule::Unique(columns) => ("unique", ids(columns)),
    }
}

fn parse_rule(kind: &str, definition: String) -> Option<Rule> {
    let id = |id: &str| id.parse().ok().map(ColumnId);
    let ids = || definition.split(',').map(id).collect::<Option<Vec<_>>>();
    match kind {
        "check" => Some(Rule::Check(definition)),
        "primary key" => Some(Rule::PrimaryKey(ids()?)),
        "unique" => Some(Rule::Unique(ids()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses() {
        for transform in [Transform::Identity, Transform::Hour, Transform::Bucket(16)] {
            assert_eq!(parse_transform(&print_transform(transform)), Some(transform));
        }
        for text in ["bucket(0)", "bucket(-1)", "bucket", "decade", ""] {
            assert_eq!(parse_transform(text), None, "{text}");
        }
        let key = vec![ColumnId(3), ColumnId(1)];
        for rule in
            [Rule::Check("a > ','".into()), Rule::PrimaryKey(key.clone()), Rule::Unique(key)]
        {
            let (kind, definition) = print_rule(&rule);
            assert_eq!(parse_rule(kind, definition), Some(rule));
        }
        assert_eq!(parse_rule("unique", String::new()), None);
    }
}
