//! CREATE and DROP of schemas, tables without a query, and views.

use std::ops::ControlFlow;

use sqlparser::ast::{
    ColumnDef, ColumnOption, Expr, Ident, ObjectName, ObjectNamePart, Query, UnaryOperator, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};

use super::plan::no_such;
use super::{Outcome, Session, constrain, layout};
use crate::catalog::model::{
    Column, ColumnDefault, Relation, RelationKind, Schema, Table, same_name,
};
use crate::catalog::{Transaction, assign_column_ids};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::name::{self, RelationRef, fold};
use crate::sql::types::{child, column_type};
use crate::sql::{CreateTable, CreateView, quoted, subquery};
use crate::table::READERS;
use crate::table::types::table_field;
use crate::write::created_columns;

impl Session {
    pub(super) async fn create_schema(
        &mut self,
        name: &RelationRef,
        if_not_exists: bool,
    ) -> Result<Outcome> {
        self.change(async |session, transaction, _| {
            session.check_warehouse(name.schema.as_deref())?;
            if transaction.schema(&name.name).await?.is_some() {
                return match if_not_exists {
                    true => Ok(Outcome::done("CREATE SCHEMA")),
                    false => Err(exists("schema", &name.name, "IF NOT EXISTS keeps it")),
                };
            }
            if [READERS, "information_schema"].contains(&name.name.to_lowercase().as_str()) {
                return Err(Error::invalid(format!("the name \"{}\" is reserved", name.name)));
            }
            transaction.create_schema(&name.name).await?;
            Ok(Outcome::done("CREATE SCHEMA"))
        })
        .await
        .map_err(|e| e.or_span(name.span))
    }

    pub(super) async fn drop_schemas(
        &mut self,
        names: &[RelationRef],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Outcome> {
        self.change(async |_, transaction, _| {
            for name in names {
                let Some(schema) = transaction.schema(&name.name).await? else {
                    if if_exists {
                        continue;
                    }
                    let schemas = transaction.schemas().await?;
                    let known = schemas.iter().map(|schema| schema.name.as_str());
                    return Err(Error::no_such("schema", &name.name, known).or_span(name.span));
                };
                let dropped = transaction.drop_schema(&schema, cascade).await;
                dropped.map_err(|e| e.or_span(name.span))?;
            }
            Ok(Outcome::done("DROP SCHEMA"))
        })
        .await
    }

    /// CREATE TABLE with columns; with a query it is [`super::load`]'s.
    pub(super) async fn create_table(&mut self, create: &CreateTable) -> Result<Outcome> {
        let outcome = self.change(async |session, transaction, staged| {
            let schema = session.schema_of(transaction, &create.name).await?;
            let source = transaction.clone();
            let table = &create.name.name;
            match transaction.relation(&schema, table).await? {
                Some(Relation::Table(_)) if create.if_not_exists => {
                    return Ok(Outcome::done("CREATE TABLE"));
                }
                Some(existing @ Relation::Table(_)) if create.or_replace => {
                    transaction.drop_relation(&existing).await?;
                }
                Some(Relation::Table(_)) => {
                    let remedy = "CREATE OR REPLACE TABLE replaces it, IF NOT EXISTS keeps it";
                    return Err(exists("table", table, remedy));
                }
                Some(Relation::View(_)) => {
                    return Err(exists("view", table, "drop it first with DROP VIEW"));
                }
                None => {}
            }
            match &create.query {
                Some(query) => {
                    session
                        .create_table_as(create, query, &schema, &source, transaction, staged)
                        .await
                }
                None => {
                    let mut columns = match &create.like {
                        Some(other) => session.columns_like(&source, other).await?,
                        None => columns(&create.columns)?,
                    };
                    assign_column_ids(&mut columns);
                    let created = transaction.create_table(&schema, table, columns).await?;
                    session.constrain_new(transaction, &schema, &created, create).await?;
                    Ok(Outcome::done("CREATE TABLE"))
                }
            }
        });
        outcome.await.map_err(|e| e.or_span(create.name.span))
    }

    /// The columns of another table or view, with defaults and NOT NULL; not its constraints, its
    /// comments and its layout.
    async fn columns_like(
        &self,
        transaction: &Transaction,
        other: &RelationRef,
    ) -> Result<Vec<Column>> {
        let query = match self.find(transaction, other).await? {
            (_, Some(Relation::Table(mut table))) => {
                table.columns.iter_mut().for_each(forget);
                return Ok(table.columns);
            }
            (_, Some(Relation::View(_))) => format!("SELECT * FROM {}", quoted(other)),
            (schema, None) => {
                let error = no_such(transaction, &schema, &other.name, RelationKind::Table).await?;
                return Err(error.or_span(other.span));
            }
        };
        let query = subquery(&query, other.span)?;
        created_columns(&self.planner_on(transaction).query(&query).await?.plan)
    }

    /// Gives a new table the constraints and the layout that its statement declares.
    pub(super) async fn constrain_new(
        &self,
        transaction: &mut Transaction,
        schema: &Schema,
        table: &Table,
        create: &CreateTable,
    ) -> Result<Table> {
        let mut now = table.clone();
        for constraint in constrain::declared(table, &create.columns, &create.constraints)? {
            self.add_constraint(transaction, schema, &mut now, constraint).await?;
        }
        if let Some(keys) = &create.partition {
            self.set_partition(transaction, &mut now, keys).await?;
        }
        if let Some(keys) = &create.sort {
            now.sort = layout::sort_keys(self, &now, keys)?;
        }
        transaction.alter_table(schema, table, now.clone()).await?;
        Ok(now)
    }

    /// DROP TABLE and DROP VIEW.
    pub(super) async fn drop_relations(
        &mut self,
        kind: RelationKind,
        names: &[RelationRef],
        if_exists: bool,
    ) -> Result<Outcome> {
        self.change(async |session, transaction, _| {
            for name in names {
                match session.drop_relation(transaction, name, kind).await {
                    Err(error) if if_exists && error.kind() == ErrorKind::NotFound => {}
                    done => done?,
                }
            }
            Ok(Outcome::done(match kind {
                RelationKind::Table => "DROP TABLE",
                RelationKind::View => "DROP VIEW",
            }))
        })
        .await
    }

    async fn drop_relation(
        &self,
        transaction: &mut Transaction,
        name: &RelationRef,
        kind: RelationKind,
    ) -> Result<()> {
        match self.find(transaction, name).await? {
            (_, Some(relation)) if relation.kind() == kind => {
                transaction.drop_relation(&relation).await
            }
            (_, Some(_)) => Err(match kind {
                RelationKind::Table => wrong_kind(name, "a view", "DROP VIEW"),
                RelationKind::View => wrong_kind(name, "a table", "DROP TABLE"),
            }),
            (schema, None) => {
                let error = no_such(transaction, &schema, &name.name, kind).await?;
                Err(error.or_span(name.span))
            }
        }
    }

    pub(super) async fn create_view(&mut self, create: &CreateView) -> Result<Outcome> {
        let outcome = self.change(async |session, transaction, _| {
            let schema = session.schema_of(transaction, &create.name).await?;
            let view = &create.name.name;
            let planned = session.planner_on(transaction).query(&create.query).await?;
            let n_columns = planned.plan.schema().fields().len();
            if create.columns.len() > n_columns {
                return Err(Error::invalid(format!(
                    "view \"{view}\" names {} columns and its query has {n_columns}",
                    create.columns.len()
                )));
            }
            let mut aliases: Vec<String> = Vec::with_capacity(create.columns.len());
            for ident in &create.columns {
                let alias = fold(ident);
                if aliases.iter().any(|other| same_name(other, &alias)) {
                    let message = format!("view \"{view}\" names column \"{alias}\" twice");
                    return Err(Error::invalid(message).or_span(name::span(ident.span)));
                }
                aliases.push(alias);
            }
            match transaction.relation(&schema, view).await? {
                Some(Relation::View(_)) if create.if_not_exists => {
                    return Ok(Outcome::done("CREATE VIEW"));
                }
                Some(existing @ Relation::View(_)) if create.or_replace => {
                    transaction.drop_relation(&existing).await?;
                }
                Some(Relation::View(_)) => {
                    return Err(exists("view", view, "CREATE OR REPLACE VIEW replaces it"));
                }
                Some(Relation::Table(_)) => {
                    return Err(exists("table", view, "drop it first with DROP TABLE"));
                }
                None => {}
            }
            let query = qualified(&create.query, session.default_schema());
            transaction.create_view(&schema, view, &query.to_string(), aliases).await?;
            // Replaced by a query that names it, a view would read itself for ever.
            let reads = subquery(&format!("SELECT * FROM {}", quoted(&create.name)), None)?;
            session.planner_on(transaction).query(&reads).await?;
            Ok(Outcome::done("CREATE VIEW"))
        });
        outcome.await.map_err(|e| e.or_span(create.name.span))
    }

    /// The schema a name is in: the one it names, else the session's.
    pub(super) async fn schema_of(
        &self,
        transaction: &Transaction,
        name: &RelationRef,
    ) -> Result<Schema> {
        self.check_warehouse(name.catalog.as_deref())?;
        let schema = name.schema.as_deref().unwrap_or(self.default_schema());
        if let Some(schema) = transaction.schema(schema).await? {
            return Ok(schema);
        }
        let schemas = transaction.schemas().await?;
        let known = schemas.iter().map(|schema| schema.name.as_str());
        let error = Error::no_such("schema", schema, known).or_span(name.span);
        Err(match error.label() {
            Some(_) => error,
            None => {
                error.with_help(format!("create it with CREATE SCHEMA {}", name::quote(schema)))
            }
        })
    }

    pub(super) fn check_warehouse(&self, catalog: Option<&str>) -> Result<()> {
        let own = self.warehouse.name();
        match catalog {
            Some(other) if !other.eq_ignore_ascii_case(own) => {
                Err(Error::no_such("warehouse", other, [own])
                    .with_help(format!("this warehouse is named \"{own}\"")))
            }
            _ => Ok(()),
        }
    }

    /// What a name stands for, if anything.
    pub(super) async fn find(
        &self,
        transaction: &Transaction,
        name: &RelationRef,
    ) -> Result<(Schema, Option<Relation>)> {
        let schema = self.schema_of(transaction, name).await?;
        let relation = transaction.relation(&schema, &name.name).await?;
        Ok((schema, relation))
    }
}

fn exists(what: &str, name: &str, remedy: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("{what} \"{name}\" already exists"))
        .with_help(remedy)
}

pub(super) fn wrong_kind(name: &RelationRef, is: &str, instead: &str) -> Error {
    Error::invalid(format!("\"{name}\" is {is}"))
        .with_help(format!("use {instead}"))
        .or_span(name.span)
}

/// A column of a new table has no past and no comment.
fn forget(column: &mut Column) {
    column.initial_default = None;
    column.comment = None;
    column.children_mut().into_iter().for_each(forget);
}

/// Column definitions as the catalog's columns, ids not assigned yet.
pub(super) fn columns(definitions: &[ColumnDef]) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let span = name::span(definition.name.span);
        let name = fold(&definition.name);
        if columns.iter().any(|other| other.name.to_lowercase() == name.to_lowercase()) {
            return Err(Error::invalid(format!("column \"{name}\" is named twice")).or_span(span));
        }
        columns.push(column(definition, &name).map_err(|e| e.or_span(span))?);
    }
    Ok(columns)
}

pub(super) fn column(definition: &ColumnDef, name: &str) -> Result<Column> {
    let mut column = child(name, column_type(&definition.data_type)?);
    for option in &definition.options {
        match &option.option {
            ColumnOption::NotNull => column.nullable = false,
            ColumnOption::Null => column.nullable = true,
            ColumnOption::Default(expr) => column.default = default(expr, &column)?,
            ColumnOption::PrimaryKey(_) => column.nullable = false,
            // Constraints of the whole table, see [`constrain`].
            ColumnOption::Check(_) | ColumnOption::Unique(_) => {}
            other => {
                return Err(Error::unsupported(format!("column option {other} is not supported"))
                    .with_help(
                        "columns take NOT NULL, DEFAULT with a literal, CHECK, PRIMARY KEY, UNIQUE",
                    ));
            }
        }
    }
    Ok(column)
}

/// A literal default, checked to be a value of the column.
pub(super) fn default(expr: &Expr, column: &Column) -> Result<Option<ColumnDefault>> {
    let text = match literal(expr) {
        Some(text) => text,
        None => {
            return Err(Error::unsupported(format!(
                "the default of column \"{}\" is not a literal",
                column.name
            ))
            .with_help("give a number, a string, TRUE, FALSE or NULL"));
        }
    };
    let Some(text) = text else {
        return Ok(None);
    };
    let field = table_field(column)?;
    let value = datafusion::scalar::ScalarValue::from(text.as_str()).cast_to(field.data_type());
    if value.is_err() || text == "NULL" {
        return Err(Error::invalid(format!(
            "the default {text:?} is not a value of column \"{}\"",
            column.name
        )));
    }
    Ok(Some(ColumnDefault::Literal(text)))
}

/// The text of a column's default, for rows of files that do not have the column.
pub(super) fn literal_default(column: &Column) -> Option<&str> {
    match &column.default {
        Some(ColumnDefault::Literal(text)) => Some(text),
        _ => None,
    }
}

/// The text of a literal; `Some(None)` is NULL.
pub(super) fn literal(expr: &Expr) -> Option<Option<String>> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(Some(text.clone())),
            Value::Number(number, _) => Some(Some(number.clone())),
            Value::Boolean(flag) => Some(Some(flag.to_string())),
            Value::Null => Some(None),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            literal(expr).map(|text| text.map(|text| format!("-{text}")))
        }
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(text) => Some(Some(text.clone())),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

/// The query with its bare table names put into `schema`, so that a view means the same wherever
/// it is read. Names of common table expressions stay bare.
fn qualified(query: &Query, schema: &str) -> Query {
    #[derive(Default)]
    struct CommonTables(Vec<String>);
    impl Visitor for CommonTables {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let tables = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(tables.map(|cte| fold(&cte.alias.name)));
            ControlFlow::Continue(())
        }
    }
    struct Qualify<'a>(&'a [String], &'a str);
    impl VisitorMut for Qualify<'_> {
        type Break = ();
        fn pre_visit_table_factor(
            &mut self,
            factor: &mut sqlparser::ast::TableFactor,
        ) -> ControlFlow<()> {
            if let sqlparser::ast::TableFactor::Table { name, args: None, .. } = factor {
                qualify(name, self.0, self.1);
            }
            ControlFlow::Continue(())
        }
    }
    let mut common = CommonTables::default();
    let _ = query.visit(&mut common);
    let mut query = query.clone();
    let _ = VisitMut::visit(&mut query, &mut Qualify(&common.0, schema));
    query
}

fn qualify(name: &mut ObjectName, common: &[String], schema: &str) {
    if let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() {
        let is_file = ident.quote_style == Some('\'');
        if !is_file && !common.contains(&fold(ident)) {
            let schema = match name::quote(schema) == schema {
                true => Ident::new(schema),
                false => Ident::with_quote('"', schema),
            };
            name.0.insert(0, ObjectNamePart::Identifier(schema));
        }
    }
}
