//! The rows of new and altered tables: what differs between two forms of a table, and the commit of
//! that difference.
//!
//! A transaction may alter a table many times; what is committed is the difference between its form
//! in the base snapshot and its last one. A new table is the difference from nothing, so that
//! creating and altering write rows in one way. [`TableDiff`] is pure.

use std::collections::BTreeMap;

use super::backend::Value;
use super::changes::Change;
use super::commit::{Writer, column_row};
use super::layout::{CONSTRAINT_COLUMNS, CONSTRAINTS, print_rule, print_transform};
use super::model::*;
use super::widen::{leaves, retyped};
use crate::error::{Error, ErrorKind, Result};

/// What a commit has to write for one table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TableDiff<'a> {
    pub(super) is_renamed: bool,
    /// Columns whose current row ends.
    ended_columns: Vec<ColumnId>,
    /// Columns that get a row, parents before children, with their parents.
    columns: Vec<(Option<ColumnId>, &'a Column)>,
    /// Whether one of them differs in more than its default and its nullability.
    reshapes: bool,
    comment: Option<Option<&'a str>>,
    column_comments: Vec<(ColumnId, Option<&'a str>)>,
    /// Columns that are gone with their comments.
    ended_comments: Vec<ColumnId>,
    partition: Option<Option<&'a PartitionSpec>>,
    sort: Option<&'a [SortKey]>,
    ended_constraints: Vec<&'a str>,
    constraints: Vec<&'a Constraint>,
}

impl<'a> TableDiff<'a> {
    /// From one form of a table, or from nothing, to another.
    pub(super) fn between(base: Option<&'a Table>, now: &'a Table) -> Self {
        let before = base.map(|base| flat(&base.columns)).unwrap_or_default();
        let after = flat(&now.columns);
        let was: BTreeMap<ColumnId, _> = before.iter().map(|c| (c.1.id, *c)).collect();
        let is: BTreeMap<ColumnId, _> = after.iter().map(|c| (c.1.id, *c)).collect();
        let same = |id| was.get(&id).zip(is.get(&id)).is_some_and(|(a, b)| has_same_row(*a, *b));
        let shape = |(_, column): &(_, &Column)| {
            (column.name.clone(), super::type_name(&column.column_type))
        };
        let reshapes = was.len() != is.len()
            || was.iter().any(|(id, old)| is.get(id).is_none_or(|new| shape(old) != shape(new)));
        let ids = before.iter().map(|(_, column)| column.id);
        let comments = after.iter().filter_map(|(_, column)| {
            let old = was.get(&column.id).and_then(|(_, old)| old.comment.as_deref());
            (old != column.comment.as_deref()).then_some((column.id, column.comment.as_deref()))
        });
        let gone = before.iter().filter(|(_, old)| !is.contains_key(&old.id));
        let gone = gone.filter(|(_, old)| old.comment.is_some()).map(|(_, old)| old.id);
        let partition = base.and_then(|base| base.partition.as_ref());
        let old_constraints = base.map(|base| base.constraints.as_slice()).unwrap_or_default();
        let old_comment = base.and_then(|base| base.comment.as_deref());
        let old_sort = base.map(|base| base.sort.as_slice()).unwrap_or_default();
        let changed =
            |constraint: &&Constraint, others: &[Constraint]| !others.contains(constraint);
        Self {
            is_renamed: base.is_some_and(|base| base.name != now.name),
            ended_columns: ids.filter(|id| !same(*id)).collect(),
            columns: after.iter().filter(|(_, column)| !same(column.id)).copied().collect(),
            reshapes,
            comment: (old_comment != now.comment.as_deref()).then_some(now.comment.as_deref()),
            column_comments: comments.collect(),
            ended_comments: gone.collect(),
            partition: (partition != now.partition.as_ref()).then_some(now.partition.as_ref()),
            sort: (old_sort != now.sort).then_some(&now.sort),
            ended_constraints: old_constraints
                .iter()
                .filter(|old| changed(old, &now.constraints))
                .map(|old| old.name.as_str())
                .collect(),
            constraints: now
                .constraints
                .iter()
                .filter(|new| changed(new, old_constraints))
                .collect(),
        }
    }

    /// Whether more changes than the name.
    fn alters(&self) -> bool {
        Self { is_renamed: false, ..self.clone() } != Self::default()
    }

    /// Whether readers have to tell files before and after apart: a row of `schema_versions`.
    fn is_versioned(&self) -> bool {
        self.is_renamed
            || !self.columns.is_empty()
            || self.ends_columns()
            || self.partition.is_some()
    }

    fn ends_columns(&self) -> bool {
        !self.ended_columns.is_empty()
    }

    /// Whether rows that other engines keep in the catalog need a table of the new form.
    fn needs_inlined_table(&self) -> bool {
        self.is_renamed || self.reshapes || self.partition.is_some()
    }
}

/// Columns and nested fields, parents first, each with its parent.
fn flat(columns: &[Column]) -> Vec<(Option<ColumnId>, &Column)> {
    fn push<'a>(
        parent: Option<ColumnId>,
        column: &'a Column,
        all: &mut Vec<(Option<ColumnId>, &'a Column)>,
    ) {
        all.push((parent, column));
        column.children().into_iter().for_each(|child| push(Some(column.id), child, all));
    }
    let mut all = Vec::new();
    columns.iter().for_each(|column| push(None, column, &mut all));
    all
}

/// Whether two forms of a column have one row; children and comments have their own.
fn has_same_row(a: (Option<ColumnId>, &Column), b: (Option<ColumnId>, &Column)) -> bool {
    let ((parent, a), (other_parent, b)) = (a, b);
    parent == other_parent
        && a.name == b.name
        && super::type_name(&a.column_type) == super::type_name(&b.column_type)
        && a.nullable == b.nullable
        && a.initial_default == b.initial_default
        && a.default == b.default
}

impl Writer<'_> {
    pub(super) async fn alter_tables(&mut self) -> Result<()> {
        for (id, Altered { base, now }) in &self.changes.altered_tables {
            let diff = TableDiff::between(Some(base), now);
            if diff.is_renamed {
                self.rename_table(base, now).await?;
            }
            self.retype_table_stats(base, now).await?;
            self.write_diff(*id, &diff).await?;
            if diff.is_versioned() {
                self.version_schema(*id).await?;
            }
            if diff.needs_inlined_table() {
                self.make_inlined_table(*id, now).await?;
            }
            if diff.alters() {
                self.listed.push(Change::id("altered_table", id.0));
            }
        }
        Ok(())
    }

    async fn rename_table(&mut self, base: &Table, now: &Table) -> Result<()> {
        let values = [base.id.0.into(), base.name.clone().into()];
        let sql = "SELECT 1 FROM ducklake_table WHERE table_id = $1 AND table_name = $2 \
                   AND end_snapshot IS NULL";
        if self.transaction.query(sql, &values).await?.is_empty() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("another transaction was first: it renamed table \"{}\"", base.name),
            )
            .with_help("nothing was changed; run the transaction again"));
        }
        self.end("ducklake_table", "table_id", base.id.0).await?;
        self.insert_table(base.id, now).await?;
        let schema = self.schema_name(now.schema_id);
        self.listed.push(Change::name("created_table", &[&schema, &now.name]));
        Ok(())
    }

    /// Bounds of the whole table, in the new types of its columns.
    async fn retype_table_stats(&mut self, base: &Table, now: &Table) -> Result<()> {
        let before = leaves(&base.columns);
        let mut retypes = false;
        for leaf in leaves(&now.columns) {
            let old = before.iter().find(|old| old.id == leaf.id);
            let Some(old) = old.filter(|old| old.column_type != leaf.column_type) else {
                continue;
            };
            retypes = true;
            let sql = "SELECT min_value, max_value FROM ducklake_table_column_stats \
                       WHERE table_id = $1 AND column_id = $2";
            let values = [now.id.0.into(), leaf.id.0.into()];
            for row in self.transaction.query(sql, &values).await? {
                let bound = |index: usize| {
                    let text = row.opt_text(index);
                    text.and_then(|text| retyped(&text, &old.column_type, &leaf.column_type))
                };
                let sql = "UPDATE ducklake_table_column_stats SET min_value = $3, max_value = $4 \
                           WHERE table_id = $1 AND column_id = $2";
                let [table, column] = values.clone();
                let values = [table, column, bound(0).into(), bound(1).into()];
                self.transaction.execute(sql, &values).await?;
            }
        }
        if retypes {
            // Other engines know by this counter that a table's statistics have changed.
            self.next_file_id();
        }
        Ok(())
    }

    /// The rows of everything below the table's own.
    pub(super) async fn write_diff(&mut self, table: TableId, diff: &TableDiff<'_>) -> Result<()> {
        for column in &diff.ended_columns {
            self.end_in("ducklake_column", table, "column_id", column.0).await?;
        }
        let at = self.snapshot.id;
        let rows =
            diff.columns.iter().map(|(parent, column)| column_row(column, *parent, table, at));
        self.transaction.insert("ducklake_column", rows.collect()).await?;
        if let Some(comment) = diff.comment {
            self.comment(table.0, comment).await?;
        }
        let commented = diff.column_comments.iter().map(|(column, _)| column);
        for column in commented.chain(&diff.ended_comments) {
            self.end_in("ducklake_column_tag", table, "column_id", column.0).await?;
        }
        let tags = diff.column_comments.iter().map(|(column, comment)| {
            let (key, text) = ("comment".into(), (*comment).into());
            vec![table.0.into(), column.0.into(), at.into(), Value::Null, key, text]
        });
        self.transaction.insert("ducklake_column_tag", tags.collect()).await?;
        if let Some(partition) = diff.partition {
            self.set_partition(table, partition).await?;
        }
        if let Some(sort) = diff.sort {
            self.set_sort(table, sort).await?;
        }
        self.set_constraints(table, diff).await
    }

    /// Ends one column's row in a table whose rows belong to a table.
    async fn end_in(&mut self, rows: &str, table: TableId, column: &str, id: i64) -> Result<()> {
        let sql = format!(
            "UPDATE {rows} SET end_snapshot = $1 WHERE table_id = $2 AND {column} = $3 \
             AND end_snapshot IS NULL"
        );
        let values = [self.snapshot.id.into(), table.0.into(), id.into()];
        self.transaction.execute(&sql, &values).await
    }

    /// Sets the comment of a table or view; as in DuckDB, NULL is what removes it.
    pub(super) async fn comment(&mut self, object: i64, comment: Option<&str>) -> Result<()> {
        let sql = "UPDATE ducklake_tag SET end_snapshot = $1 WHERE object_id = $2 \
                   AND key = 'comment' AND end_snapshot IS NULL";
        self.transaction.execute(sql, &[self.snapshot.id.into(), object.into()]).await?;
        let tag = vec![
            object.into(),
            self.snapshot.id.into(),
            Value::Null,
            "comment".into(),
            comment.into(),
        ];
        self.transaction.insert("ducklake_tag", vec![tag]).await
    }

    /// A table that is no longer partitioned gets a specification without keys, as in DuckDB.
    async fn set_partition(&mut self, table: TableId, spec: Option<&PartitionSpec>) -> Result<()> {
        self.end("ducklake_partition_info", "table_id", table.0).await?;
        let id = self.next_catalog_id();
        let info = vec![id.into(), table.0.into(), self.snapshot.id.into(), Value::Null];
        self.transaction.insert("ducklake_partition_info", vec![info]).await?;
        let Some(spec) = spec else {
            return Ok(());
        };
        self.partition_ids.insert(spec.id, PartitionId(id));
        let keys = spec.keys.iter().zip(0i64..).map(|(key, index)| {
            let transform = print_transform(key.transform);
            vec![id.into(), table.0.into(), index.into(), key.column.0.into(), transform.into()]
        });
        self.transaction.insert("ducklake_partition_column", keys.collect()).await
    }

    async fn set_sort(&mut self, table: TableId, keys: &[SortKey]) -> Result<()> {
        self.end("ducklake_sort_info", "table_id", table.0).await?;
        if keys.is_empty() {
            return Ok(());
        }
        let id = self.next_catalog_id();
        let info = vec![id.into(), table.0.into(), self.snapshot.id.into(), Value::Null];
        self.transaction.insert("ducklake_sort_info", vec![info]).await?;
        let rows = keys.iter().zip(0i64..).map(|(key, index)| {
            vec![
                id.into(),
                table.0.into(),
                index.into(),
                key.expression.clone().into(),
                key.dialect.clone().into(),
                if key.descending { "DESC" } else { "ASC" }.into(),
                if key.nulls_first { "NULLS_FIRST" } else { "NULLS_LAST" }.into(),
            ]
        });
        self.transaction.insert("ducklake_sort_expression", rows.collect()).await
    }

    async fn set_constraints(&mut self, table: TableId, diff: &TableDiff<'_>) -> Result<()> {
        for name in &diff.ended_constraints {
            let sql = format!(
                "UPDATE {CONSTRAINTS} SET end_snapshot = $1 WHERE table_id = $2 \
                 AND constraint_name = $3 AND end_snapshot IS NULL"
            );
            let values = [self.snapshot.id.into(), table.0.into(), (*name).into()];
            self.transaction.execute(&sql, &values).await?;
        }
        if diff.constraints.is_empty() {
            return Ok(());
        }
        let sql = format!("CREATE TABLE IF NOT EXISTS {CONSTRAINTS}({CONSTRAINT_COLUMNS})");
        self.transaction.execute(&sql, &[]).await?;
        let rows = diff.constraints.iter().map(|constraint| {
            let (kind, definition) = print_rule(&constraint.rule);
            vec![
                table.0.into(),
                self.snapshot.id.into(),
                Value::Null,
                constraint.name.clone().into(),
                kind.into(),
                definition.into(),
            ]
        });
        let rows = rows.collect();
        self.transaction.insert(CONSTRAINTS, rows).await
    }

    /// Says that the table has a new form from this snapshot on.
    pub(super) async fn version_schema(&mut self, table: TableId) -> Result<()> {
        let version =
            vec![self.snapshot.id.into(), self.snapshot.schema_version.into(), table.0.into()];
        self.transaction.insert("ducklake_schema_versions", vec![version]).await
    }

    pub(super) async fn alter_views(&mut self) -> Result<()> {
        for (id, Altered { base, now }) in &self.changes.altered_views {
            if base.name != now.name {
                self.end("ducklake_view", "view_id", id.0).await?;
                self.insert_view(id.0, now).await?;
                let schema = self.schema_name(now.schema_id);
                self.listed.push(Change::name("created_view", &[&schema, &now.name]));
            }
            if base.comment != now.comment {
                self.comment(id.0, now.comment.as_deref()).await?;
                self.listed.push(Change::id("altered_view", id.0));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(id: i64, name: &str, column_type: ColumnType) -> Column {
        Column {
            id: ColumnId(id),
            name: name.into(),
            column_type,
            nullable: true,
            initial_default: None,
            default: None,
            comment: None,
        }
    }

    fn table() -> Table {
        let field = column(3, "x", ColumnType::Int32);
        let columns = vec![
            column(1, "a", ColumnType::Int32),
            column(2, "s", ColumnType::Struct(vec![field])),
        ];
        Table {
            id: TableId(1),
            uuid: uuid::Uuid::nil(),
            schema_id: SchemaId(0),
            name: "t".into(),
            directory: String::new(),
            path: ObjectPath::Relative("t/".into()),
            columns,
            comment: None,
            partition: None,
            sort: vec![],
            constraints: vec![],
            next_column_id: 4,
        }
    }

    /// The ids of columns that end and that get rows.
    fn rows(base: Option<&Table>, now: &Table) -> (Vec<i64>, Vec<i64>) {
        let diff = TableDiff::between(base, now);
        let ended = diff.ended_columns.iter().map(|id| id.0).collect();
        (ended, diff.columns.iter().map(|(_, column)| column.id.0).collect())
    }

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn a_new_table_is_the_difference_from_nothing() {
        assert_eq!(rows(None, &table()), (vec![], vec![1, 2, 3]));
        assert_eq!(TableDiff::between(Some(&table()), &table()), TableDiff::default());
    }

    #[test]
    fn only_what_differs_is_written() {
        let base = table();
        let mut now = base.clone();
        now.rename_column(&path("s.x"), "y").unwrap();
        assert_eq!(rows(Some(&base), &now), (vec![3], vec![3]), "the struct's row stays");
        now.rename_column(&path("s.y"), "x").unwrap();
        assert_eq!(rows(Some(&base), &now), (vec![], vec![]), "and back again");
        now.add_column(&path("s"), column(0, "z", ColumnType::Date)).unwrap();
        now.drop_column(&path("a")).unwrap();
        assert_eq!(rows(Some(&base), &now), (vec![1], vec![4]));
        let diff = TableDiff::between(Some(&base), &now);
        assert!(diff.alters() && diff.is_versioned() && diff.needs_inlined_table());
    }

    #[test]
    fn comments_defaults_and_names_version_what_duckdb_versions() {
        let base = table();
        let mut now = base.clone();
        now.comment = Some("noted".into());
        let diff = TableDiff::between(Some(&base), &now);
        assert!(diff.alters() && !diff.is_versioned());
        now = base.clone();
        now.columns[0].default = Some(ColumnDefault::Literal("1".into()));
        let diff = TableDiff::between(Some(&base), &now);
        assert!(diff.is_versioned() && !diff.needs_inlined_table());
        now = base.clone();
        now.name = "u".into();
        let diff = TableDiff::between(Some(&base), &now);
        assert!(!diff.alters() && diff.is_versioned() && diff.needs_inlined_table());
    }
}
