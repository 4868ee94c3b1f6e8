//! Statements that look at what there is: DESCRIBE, SUMMARIZE, SHOW TABLES, and names for completion.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::record_batch::RecordBatch;
use arrow::util::display::FormatOptions;
use futures::TryStreamExt;

use super::plan::no_such;
use super::{Outcome, Rows, Session, readers, upkeep};
use crate::catalog::model::{Column, ColumnDefault, Relation, RelationKind, Rule, Table};
use crate::error::Result;
use crate::sql::name::{literal, quote};
use crate::sql::{QueryOrTable, quoted, subquery};
use crate::table::types::{display_column_type, display_type};

/// The names a front end completes.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Schemas.
    pub schemas: Vec<String>,
    /// Tables and views as a statement writes them: bare in the session's schema, else qualified.
    pub tables: Vec<String>,
    /// Columns of tables, without repetition.
    pub columns: Vec<String>,
    /// Functions and procedures.
    pub functions: Vec<String>,
}

/// Columns are completed for this many tables at most; loading more would be felt.
const MAX_COMPLETED_TABLES: usize = 200;

/// Rows of text columns.
struct TextRows {
    names: &'static [&'static str],
    rows: Vec<Vec<Option<String>>>,
}

impl TextRows {
    fn outcome(self) -> Result<Outcome> {
        let columns = self.names.iter().enumerate().map(|(index, name)| {
            let values = self.rows.iter().map(|row| row[index].as_deref());
            (*name, Arc::new(values.collect::<StringArray>()) as ArrayRef, true)
        });
        let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
        Ok(Outcome::Rows(Rows::ready(batch)?))
    }
}

impl Session {
    pub(super) async fn describe(&self, subject: &QueryOrTable) -> Result<Outcome> {
        let transaction = self.transaction().await?;
        let rows = match subject {
            QueryOrTable::Query(query) => {
                let planned = self.planner_on(&transaction).query(query).await?;
                described_fields(planned.plan.schema().fields())
            }
            QueryOrTable::Table(name) => match self.find(&transaction, name).await? {
                (_, Some(Relation::Table(table))) => {
                    table.columns.iter().map(|column| described_column(&table, column)).collect()
                }
                (_, Some(Relation::View(_))) => {
                    let query = subquery(&format!("SELECT * FROM {}", quoted(name)), name.span)?;
                    let planned = self.planner_on(&transaction).query(&query).await?;
                    described_fields(planned.plan.schema().fields())
                }
                (schema, None) => {
                    let error =
                        no_such(&transaction, &schema, &name.name, RelationKind::Table).await?;
                    return Err(error.or_span(name.span));
                }
            },
        };
        let names = &["column_name", "column_type", "null", "key", "default", "extra"];
        TextRows { names, rows }.outcome()
    }

    /// One pass over the data computes every figure of every column; the row it gives is turned.
    pub(super) async fn summarize(&self, subject: &QueryOrTable) -> Result<Outcome> {
        let from = match subject {
            QueryOrTable::Query(query) => format!("({query})"),
            QueryOrTable::Table(name) => quoted(name),
        };
        let span = match subject {
            QueryOrTable::Table(name) => name.span,
            QueryOrTable::Query(_) => None,
        };
        let transaction = self.transaction().await?;
        let planner = self.planner_on(&transaction);
        let all = planner.query(&*subquery(&format!("SELECT * FROM {from}"), span)?).await?;
        let fields = all.plan.schema().fields().clone();
        let figures: Vec<String> = fields.iter().flat_map(|field| figures(field)).collect();
        let sql = format!("SELECT count(*), {} FROM {from}", figures.join(", "));
        let planned = planner.query(&*subquery(&sql, span)?).await?;
        let Outcome::Rows(rows) = self.rows(planned).await? else {
            return Ok(Outcome::done("SUMMARIZE"));
        };
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let names = &[
            "column_name",
            "column_type",
            "min",
            "max",
            "approx_unique",
            "avg",
            "std",
            "q25",
            "q50",
            "q75",
            "count",
            "null_percentage",
        ];
        let rows = batches.first().map(|batch| turned(batch, &fields)).transpose()?;
        TextRows { names, rows: rows.unwrap_or_default() }.outcome()
    }

    pub(super) async fn show_tables(&self, all: bool) -> Result<Outcome> {
        let transaction = self.transaction().await?;
        let mut names = transaction.relation_names().await?;
        names.sort();
        if !all {
            let here = names.into_iter().filter(|name| name.schema == self.default_schema());
            let rows = here.map(|name| vec![Some(name.name)]).collect();
            return TextRows { names: &["name"], rows }.outcome();
        }
        let row = |name: crate::catalog::model::RelationName| {
            let kind = match name.kind {
                RelationKind::Table => "table",
                RelationKind::View => "view",
            };
            let warehouse = self.warehouse.name().to_owned();
            vec![Some(warehouse), Some(name.schema), Some(name.name), Some(kind.to_owned())]
        };
        let rows = names.into_iter().map(row).collect();
        TextRows { names: &["database", "schema", "name", "type"], rows }.outcome()
    }

    /// The names that complete in a statement of this session.
    pub async fn names(&self) -> Result<Names> {
        let transaction = self.transaction().await?;
        let schemas = transaction.schemas().await?;
        let relations = transaction.relation_names().await?;
        let mut columns = Vec::new();
        for relation in relations.iter().take(MAX_COMPLETED_TABLES) {
            let schema = schemas.iter().find(|schema| schema.name == relation.schema);
            let Some(schema) = schema else { continue };
            if let Some(Relation::Table(table)) =
                transaction.relation(schema, &relation.name).await?
            {
                columns.extend(table.columns.iter().map(|column| quote(&column.name)));
            }
        }
        columns.sort();
        columns.dedup();
        let table = |relation: &crate::catalog::model::RelationName| {
            let name = quote(&relation.name);
            let is_here = relation.schema == self.default_schema();
            if is_here { name } else { format!("{}.{name}", quote(&relation.schema)) }
        };
        let mut functions: Vec<String> = self.template.scalar_functions().keys().cloned().collect();
        functions.extend(self.template.aggregate_functions().keys().cloned());
        functions.extend(self.template.window_functions().keys().cloned());
        functions.extend(self.template.table_functions().keys().cloned());
        functions.extend(readers::functions().map(String::from));
        functions.extend(upkeep::procedures().map(String::from));
        functions.sort();
        functions.dedup();
        Ok(Names {
            schemas: schemas.iter().map(|schema| quote(&schema.name)).collect(),
            tables: relations.iter().map(table).collect(),
            columns,
            functions,
        })
    }
}

fn described_fields(fields: &Fields) -> Vec<Vec<Option<String>>> {
    let row = |field: &Arc<Field>| {
        let null = if field.is_nullable() { "YES" } else { "NO" };
        vec![
            Some(field.name().clone()),
            Some(display_type(field)),
            Some(null.into()),
            None,
            None,
            None,
        ]
    };
    fields.iter().map(row).collect()
}

/// Whether a column is in a declared key, in MySQL's words.
fn key(table: &Table, column: &Column) -> Option<String> {
    let mut rules = table.constraints.iter().map(|constraint| &constraint.rule);
    let is_unique = rules
        .clone()
        .any(|rule| matches!(rule, Rule::Unique(columns) if columns.contains(&column.id)));
    match rules.any(|rule| matches!(rule, Rule::PrimaryKey(ids) if ids.contains(&column.id))) {
        true => Some("PRI".into()),
        false => is_unique.then(|| "UNI".into()),
    }
}

fn described_column(table: &Table, column: &Column) -> Vec<Option<String>> {
    let default = column.default.as_ref().map(|default| match default {
        ColumnDefault::Literal(text) => literal(text),
        ColumnDefault::Expression(sql) => sql.clone(),
    });
    let null = if column.nullable { "YES" } else { "NO" };
    vec![
        Some(column.name.clone()),
        Some(display_column_type(&column.column_type)),
        Some(null.into()),
        key(table, column),
        default,
        column.comment.clone(),
    ]
}

/// How many figures each column has in the one row.
const N_FIGURES: usize = 9;

/// The figures of one column, in the order of the output.
fn figures(field: &Field) -> [String; N_FIGURES] {
    let column = format!("\"{}\"", field.name().replace('"', "\"\""));
    let null = || "CAST(NULL AS VARCHAR)".to_owned();
    let data_type = field.data_type();
    let is_ordered = !data_type.is_nested() && *data_type != DataType::Null;
    let ordered = |sql: String| if is_ordered { sql } else { null() };
    let numeric = |sql: String| if data_type.is_numeric() { sql } else { null() };
    let as_double = format!("CAST({column} AS DOUBLE)");
    let is_approximable =
        data_type.is_integer() || data_type.is_temporal() || data_type.is_string();
    let unique = match (is_approximable, is_ordered) {
        (true, _) => format!("approx_distinct({column})"),
        (false, true) => format!("count(DISTINCT {column})"),
        (false, false) => null(),
    };
    [
        ordered(format!("min({column})")),
        ordered(format!("max({column})")),
        unique,
        numeric(format!("avg({as_double})")),
        numeric(format!("stddev({as_double})")),
        numeric(format!("approx_percentile_cont({as_double}, 0.25)")),
        numeric(format!("approx_percentile_cont({as_double}, 0.5)")),
        numeric(format!("approx_percentile_cont({as_double}, 0.75)")),
        format!("count({column})"),
    ]
}

/// The one row of figures as one row per column.
fn turned(batch: &RecordBatch, fields: &Fields) -> Result<Vec<Vec<Option<String>>>> {
    let format = FormatOptions::default()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:::z"));
    let options = CastOptions { safe: true, format_options: format };
    let cell = |index: usize| -> Result<Option<String>> {
        let array = cast_with_options(batch.column(index), &DataType::Utf8, &options)?;
        let array = arrow::array::AsArray::as_string::<i32>(&array);
        Ok((!arrow::array::Array::is_null(array, 0)).then(|| array.value(0).to_owned()))
    };
    let total: f64 = cell(0)?.and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let mut rows = Vec::with_capacity(fields.len());
    for (index, field) in fields.iter().enumerate() {
        let mut row = vec![Some(field.name().clone()), Some(display_type(field))];
        for figure in 0..N_FIGURES {
            row.push(cell(1 + index * N_FIGURES + figure)?);
        }
        let count: f64 = row.last().cloned().flatten().and_then(|t| t.parse().ok()).unwrap_or(0.0);
        let nulls = if total > 0.0 { 100.0 * (total - count) / total } else { 0.0 };
        // DuckDB counts rows here, not values.
        row.pop();
        row.push(Some(format!("{total}")));
        row.push(Some(format!("{nulls:.2}")));
        rows.push(row);
    }
    Ok(rows)
}
