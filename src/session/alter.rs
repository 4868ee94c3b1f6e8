//! ALTER TABLE, ALTER VIEW and COMMENT ON.
//!
//! Each change of ALTER TABLE makes a new form of the table value and stages it; the commit writes
//! what the last form differs in. What a change needs to know of the rows, that a column has no
//! NULL or that all rows follow a new constraint, is asked by a query of the same transaction.

use sqlparser::ast::{ColumnDef, DataType, Expr, Ident};

use super::plan::no_such;
use super::{Outcome, Session, constrain, define, layout};
use crate::catalog::Transaction;
use crate::catalog::model::{
    Relation, RelationKind, Rule, Schema, Table, Transform, View, same_name,
};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::name::{self, RelationRef, fold, quote};
use crate::sql::types::column_type;
use crate::sql::{
    AlterTable, Comment, TableAction, columns_of, parse_expr, rename_column, subquery,
};

impl Session {
    pub(super) async fn alter_table(&mut self, alter: &AlterTable) -> Result<Outcome> {
        let name = &alter.name;
        self.change(async |session, transaction, staged| {
            let (schema, table) = match session.table(transaction, name, "ALTER VIEW").await {
                Err(error) if alter.if_exists && error.kind() == ErrorKind::NotFound => {
                    return Ok(Outcome::done("ALTER TABLE"));
                }
                found => found?,
            };
            session.write_inlined(&table, transaction, staged).await?;
            let mut before = table;
            for action in &alter.actions {
                let now = session.altered(transaction, &schema, &before, action).await;
                let now = now.map_err(|e| e.or_span(place(action)).or_span(name.span))?;
                transaction.alter_table(&schema, &before, now.clone()).await?;
                before = now;
            }
            Ok(Outcome::done("ALTER TABLE"))
        })
        .await
        .map_err(|e| e.or_span(name.span))
    }

    /// The table after one change.
    async fn altered(
        &self,
        transaction: &mut Transaction,
        schema: &Schema,
        table: &Table,
        action: &TableAction,
    ) -> Result<Table> {
        let mut now = table.clone();
        match action {
            TableAction::AddColumn { parent, definition, if_not_exists } => {
                let mut path = folded(parent);
                path.push(fold(&definition.name));
                if *if_not_exists && table.column(&path).is_some() {
                    return Ok(now);
                }
                path.pop();
                self.add_column(transaction, &mut now, &path, definition).await?;
            }
            TableAction::DropColumn { path, if_exists } => {
                let path = folded(path);
                if *if_exists && table.column(&path).is_none() {
                    return Ok(now);
                }
                table.require_column(&path)?;
                check_unused(table, &path, "dropped")?;
                now.drop_column(&path)?;
            }
            TableAction::RenameColumn { path, to } => rename(&mut now, &folded(path), &fold(to))?,
            TableAction::SetType { path, data_type } => {
                set_type(&mut now, &folded(path), data_type)?;
            }
            TableAction::SetDefault { path, default } => {
                set_default(&mut now, &folded(path), default.as_ref())?;
            }
            TableAction::SetNullable { path, nullable } => {
                let path = folded(path);
                let column = top_level(&mut now, &path)?;
                column.nullable = *nullable;
                let name = column.name.clone();
                match nullable {
                    true => check_no_primary_key(table, &path)?,
                    false => self.check_no_nulls(transaction, schema, table, &name).await?,
                }
            }
            TableAction::Rename { to } => to.clone_into(&mut now.name),
            TableAction::AddConstraint(constraint) => {
                let added = constrain::declared(table, &[], std::slice::from_ref(constraint))?;
                for constraint in added {
                    self.add_constraint(transaction, schema, &mut now, constraint).await?;
                }
            }
            TableAction::DropConstraint { name, if_exists } => {
                let dropped = fold(name);
                now.constraints.retain(|constraint| !same_name(&constraint.name, &dropped));
                if now.constraints.len() == table.constraints.len() && !if_exists {
                    let known = table.constraints.iter().map(|c| c.name.as_str());
                    return Err(Error::no_such("constraint", &dropped, known));
                }
            }
            TableAction::PartitionBy(keys) => {
                self.set_partition(transaction, &mut now, keys).await?;
            }
            TableAction::SortBy(keys) => now.sort = layout::sort_keys(self, table, keys)?,
        }
        Ok(now)
    }

    /// Files that are there already read the default of the day for the new column.
    async fn add_column(
        &self,
        transaction: &Transaction,
        table: &mut Table,
        parent: &[String],
        definition: &ColumnDef,
    ) -> Result<()> {
        let mut column = define::column(definition, &fold(&definition.name))?;
        column.initial_default = define::literal_default(&column).map(str::to_owned);
        let declared = constrain::of_columns(std::slice::from_ref(definition));
        if !parent.is_empty() && (!column.nullable || declared.is_some()) {
            return Err(Error::unsupported("a field inside of a column cannot be constrained")
                .with_help("constrain the column: CHECK (s.f IS NOT NULL)"));
        }
        if let Some(constraint) = declared {
            return Err(Error::unsupported(format!(
                "ADD COLUMN with {constraint} is not supported"
            ))
            .with_help("add the column, then the constraint with ADD CONSTRAINT"));
        }
        let is_populated = transaction.n_data_files(table).await? > 0
            || !transaction.inlined_rows(table).await?.is_empty();
        if !column.nullable && column.initial_default.is_none() && is_populated {
            return Err(Error::invalid(format!(
                "column \"{}\" is NOT NULL, and the rows of table \"{}\" have no value for it",
                column.name, table.name
            ))
            .with_help("give it a DEFAULT"));
        }
        table.add_column(parent, column)
    }

    pub(super) async fn check_no_nulls(
        &self,
        transaction: &Transaction,
        schema: &Schema,
        table: &Table,
        column: &str,
    ) -> Result<()> {
        let condition = format!("{} IS NULL", quote(column));
        match self.first_row(transaction, schema, table, &condition).await? {
            None => Ok(()),
            Some(row) => Err(Error::invalid(format!(
                "column \"{column}\" of table \"{}\" has NULL, for example in the row {row}",
                table.name
            ))
            .with_help("give such rows a value first")),
        }
    }

    /// A row of the table for which `condition` is true, as text.
    pub(super) async fn first_row(
        &self,
        transaction: &Transaction,
        schema: &Schema,
        table: &Table,
        condition: &str,
    ) -> Result<Option<String>> {
        let relation = format!("{}.{}", quote(&schema.name), quote(&table.name));
        let query = format!("SELECT * FROM {relation} WHERE {condition} LIMIT 1");
        let planned = self.planner_on(transaction).query(&*subquery(&query, None)?).await?;
        let batches = self.rows(planned).await?.collect().await?;
        let mut rows = batches.iter().filter(|batch| batch.num_rows() > 0);
        rows.next().map(|batch| crate::write::show_row(batch, 0, batch.num_columns())).transpose()
    }

    pub(super) async fn rename_view(
        &mut self,
        name: &RelationRef,
        if_exists: bool,
        to: &str,
    ) -> Result<Outcome> {
        self.change(async |session, transaction, _| {
            match session.view(transaction, name, "ALTER TABLE").await {
                Ok((schema, view)) => {
                    let now = View { name: to.to_owned(), ..view.clone() };
                    transaction.alter_view(&schema, &view, now).await?;
                }
                Err(error) if if_exists && error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            Ok(Outcome::done("ALTER VIEW"))
        })
        .await
        .map_err(|e| e.or_span(name.span))
    }

    async fn table(
        &self,
        transaction: &Transaction,
        name: &RelationRef,
        instead: &str,
    ) -> Result<(Schema, Table)> {
        match self.find(transaction, name).await? {
            (schema, Some(Relation::Table(table))) => Ok((schema, table)),
            (_, Some(Relation::View(_))) => Err(define::wrong_kind(name, "a view", instead)),
            (schema, None) => {
                let error = no_such(transaction, &schema, &name.name, RelationKind::Table).await?;
                Err(error.or_span(name.span))
            }
        }
    }

    async fn view(
        &self,
        transaction: &Transaction,
        name: &RelationRef,
        instead: &str,
    ) -> Result<(Schema, View)> {
        match self.find(transaction, name).await? {
            (schema, Some(Relation::View(view))) => Ok((schema, view)),
            (_, Some(Relation::Table(_))) => Err(define::wrong_kind(name, "a table", instead)),
            (schema, None) => {
                Err(no_such(transaction, &schema, &name.name, RelationKind::View).await?)
            }
        }
    }

    pub(super) async fn comment(&mut self, comment: &Comment) -> Result<Outcome> {
        let Comment { kind, name, column, text } = comment;
        self.change(async |session, transaction, _| {
            if *kind == RelationKind::View {
                let (schema, view) = session.view(transaction, name, "COMMENT ON TABLE").await?;
                let now = View { comment: text.clone(), ..view.clone() };
                transaction.alter_view(&schema, &view, now).await?;
                return Ok(Outcome::done("COMMENT"));
            }
            let (schema, table) = session.table(transaction, name, "COMMENT ON VIEW").await?;
            let mut now = table.clone();
            match column {
                None => now.comment.clone_from(text),
                Some(column) => {
                    let commented = now.column_mut(&[fold(column)]);
                    let commented = commented.map_err(|e| e.or_span(name::span(column.span)))?;
                    commented.comment.clone_from(text);
                }
            }
            transaction.alter_table(&schema, &table, now).await?;
            Ok(Outcome::done("COMMENT"))
        })
        .await
        .map_err(|e| e.or_span(name.span))
    }
}

fn folded(path: &[Ident]) -> Vec<String> {
    path.iter().map(fold).collect()
}

/// Where the thing stands that a change is about.
fn place(action: &TableAction) -> Option<crate::diagnostic::Span> {
    let ident = match action {
        TableAction::AddColumn { definition, .. } => Some(&definition.name),
        TableAction::DropColumn { path, .. }
        | TableAction::RenameColumn { path, .. }
        | TableAction::SetType { path, .. }
        | TableAction::SetDefault { path, .. }
        | TableAction::SetNullable { path, .. } => path.last(),
        TableAction::DropConstraint { name, .. } => Some(name),
        TableAction::PartitionBy(keys) => keys.first().map(|key| &key.column),
        TableAction::Rename { .. } | TableAction::AddConstraint(_) | TableAction::SortBy(_) => None,
    };
    ident.and_then(|ident| name::span(ident.span))
}

fn rename(table: &mut Table, path: &[String], to: &str) -> Result<()> {
    let from = table.require_column(path)?.name.clone();
    table.rename_column(path, to)?;
    if path.len() > 1 {
        return check_unused(table, path, "renamed");
    }
    let renamed = |text: &str, what: &str| -> Result<String> {
        let unreadable = |error: Error| {
            Error::unsupported(format!("{what} names columns in SQL that cannot be read: {text}"))
                .with_help("drop it before the column is renamed, and set it anew")
                .with_source(error)
        };
        let mut expr = parse_expr(text).map_err(unreadable)?;
        rename_column(&mut expr, &from, to).map_err(unreadable)?;
        Ok(expr.to_string())
    };
    for key in &mut table.sort {
        key.expression = renamed(&key.expression, "the sort order")?;
    }
    for constraint in &mut table.constraints {
        if let Rule::Check(sql) = &mut constraint.rule {
            *sql = renamed(sql, &format!("constraint \"{}\"", constraint.name))?;
        }
    }
    Ok(())
}

/// Refuses to take away what the table's layout or constraints name.
fn check_unused(table: &Table, path: &[String], what: &str) -> Result<()> {
    let Some(column) = table.column(&path[..1]) else {
        return Ok(());
    };
    let name = path.join(".");
    let used = |by: String, help: String| {
        Err(Error::invalid(format!("column \"{name}\" cannot be {what}: {by}")).with_help(help))
    };
    let names = |text: &str| {
        parse_expr(text)
            .map(|expr| columns_of(&expr).iter().any(|used| same_name(used, &column.name)))
            .unwrap_or(true)
    };
    let keys = table.partition.iter().flat_map(|spec| &spec.keys);
    if keys.clone().any(|key| key.column == column.id) {
        return used("the table is partitioned by it".into(), "RESET PARTITIONED BY first".into());
    }
    if table.sort.iter().any(|key| names(&key.expression)) {
        return used("the table is sorted by it".into(), "RESET SORTED BY first".into());
    }
    for constraint in &table.constraints {
        let is_used = match &constraint.rule {
            Rule::Check(sql) => names(sql),
            Rule::PrimaryKey(columns) | Rule::Unique(columns) => columns.contains(&column.id),
        };
        if is_used {
            let by = format!("constraint \"{}\" needs it", constraint.name);
            return used(by, format!("DROP CONSTRAINT {} first", quote(&constraint.name)));
        }
    }
    Ok(())
}

fn check_no_primary_key(table: &Table, path: &[String]) -> Result<()> {
    let id = table.require_column(path)?.id;
    let key = table.constraints.iter().find(|constraint| match &constraint.rule {
        Rule::PrimaryKey(columns) => columns.contains(&id),
        _ => false,
    });
    match key {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!(
            "column \"{}\" is in the primary key \"{}\"",
            path.join("."),
            key.name
        ))
        .with_help(format!("DROP CONSTRAINT {} first", quote(&key.name)))),
    }
}

fn set_type(table: &mut Table, path: &[String], data_type: &DataType) -> Result<()> {
    let to = column_type(data_type)?;
    let id = table.require_column(path)?.id;
    let mut keys = table.partition.iter().flat_map(|spec| &spec.keys);
    if keys.any(|key| key.column == id && matches!(key.transform, Transform::Bucket(_))) {
        return Err(Error::invalid(format!(
            "column \"{}\" cannot change its type: the table is partitioned by its hash",
            path.join(".")
        ))
        .with_help("RESET PARTITIONED BY first"));
    }
    table.set_type(path, to)
}

fn set_default(table: &mut Table, path: &[String], default: Option<&Expr>) -> Result<()> {
    let column = top_level(table, path)?;
    column.default = match default {
        Some(expr) => define::default(expr, column)?,
        None => None,
    };
    Ok(())
}

fn top_level<'a>(
    table: &'a mut Table,
    path: &[String],
) -> Result<&'a mut crate::catalog::model::Column> {
    let column = table.column_mut(path)?;
    match path.len() {
        1 => Ok(column),
        _ => Err(Error::unsupported(format!(
            "\"{}\" is a field inside of a column: only columns have defaults and NOT NULL",
            path.join(".")
        ))),
    }
}
