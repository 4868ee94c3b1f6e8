//! Statements that turn a query into files: CREATE TABLE AS, INSERT, COPY TO.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use datafusion::datasource::file_format::csv::CsvFormatFactory;
use datafusion::datasource::file_format::json::JsonFormatFactory;
use datafusion::datasource::file_format::parquet::ParquetFormatFactory;
use datafusion::datasource::file_format::{FileFormatFactory, format_as_file_type};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::collect;
use sqlparser::ast::{Expr, Ident, Query, UnaryOperator, Value};

use super::plan::no_such;
use super::{Outcome, Planned, Session, constant, define, upsert};
use crate::catalog::model::{
    Column, ColumnDefault, ColumnType, InlinedRows, Relation, RelationKind, Schema, Table,
};
use crate::catalog::{Transaction, assign_column_ids};
use crate::error::{Error, Result, nearest};
use crate::source::files::{Format, by_extension};
use crate::sql::name::{self, RelationRef, fold};
use crate::sql::{Copy, CreateTable, Insert, subquery, values_rows};
use crate::storage;
use crate::write::{self, Staged, Target, WriteOptions, Written, conform, created_columns};

impl Session {
    /// The query reads `source`, the transaction before a table it replaces was dropped.
    pub(super) async fn create_table_as(
        &self,
        create: &CreateTable,
        query: &Query,
        schema: &Schema,
        source: &Transaction,
        transaction: &mut Transaction,
        staged: &Arc<Staged>,
    ) -> Result<Outcome> {
        let Planned { state, plan } = self.planner_on(source).query(query).await?;
        let mut columns = match create.columns.is_empty() {
            true => created_columns(&plan)?,
            false => define::columns(&create.columns)?,
        };
        if columns.len() != plan.schema().fields().len() {
            return Err(Error::invalid(format!(
                "table \"{}\" has {} columns and its query {}",
                create.name.name,
                columns.len(),
                plan.schema().fields().len()
            )));
        }
        assign_column_ids(&mut columns);
        let table = transaction.create_table(schema, &create.name.name, columns).await?;
        let table = self.constrain_new(transaction, schema, &table, create).await?;
        let sources: Vec<Option<usize>> = (0..table.columns.len()).map(Some).collect();
        let plan = conform(plan, &table.columns, &sources)?;
        let written = self.write(&state, plan, &table, transaction, staged).await?;
        let rows = written.rows();
        stage(transaction, &table, written);
        Ok(Outcome::Changed { tag: "CREATE TABLE", rows: Some(rows) })
    }

    pub(super) async fn insert(&mut self, insert: &Insert) -> Result<Outcome> {
        self.change(async |session, transaction, staged| {
            let table = session.writable(transaction, &insert.table).await?;
            let targets = target_columns(&table, &insert.columns)?;
            let query = insert_query(insert, &table, &targets)?;
            let Planned { state, plan } = session.planner_on(transaction).query(&query).await?;
            let sources = match insert.by_name {
                true => sources_by_name(&table, &plan)?,
                false => sources_by_position(&table, &targets, insert, &plan)?,
            };
            match &insert.conflict {
                None => {
                    let plan = conform(plan, &table.columns, &sources)?;
                    let written = session.write(&state, plan, &table, transaction, staged).await?;
                    let outcome = match insert.returning.is_empty() {
                        true => Outcome::Changed { tag: "INSERT", rows: Some(written.rows()) },
                        false => {
                            let rows = session.written_rows(&table, &written)?;
                            let name = insert.called(&table.name);
                            session.returned(&insert.returning, &name, rows, transaction).await?
                        }
                    };
                    stage(transaction, &table, written);
                    Ok(outcome)
                }
                Some(conflict) => {
                    let named: Vec<bool> = sources.iter().map(Option::is_some).collect();
                    let plan = conform(upsert::numbered(plan)?, &table.columns, &sources)?;
                    let upsert = upsert::change(insert, conflict, &table, &named)?;
                    let source = Some(upsert::source(plan, &upsert.key)?);
                    session.run_change(&upsert.change, source, &table, transaction, staged).await
                }
            }
        })
        .await
    }

    /// The table that a statement changes.
    pub(super) async fn writable(
        &self,
        transaction: &Transaction,
        name: &RelationRef,
    ) -> Result<Table> {
        let table = match self.find(transaction, name).await? {
            (_, Some(Relation::Table(table))) => table,
            (_, Some(Relation::View(_))) => {
                return Err(Error::invalid(format!("\"{name}\" is a view"))
                    .with_help("change the tables it reads")
                    .or_span(name.span));
            }
            (schema, None) => {
                let error = no_such(transaction, &schema, &name.name, RelationKind::Table).await?;
                return Err(error.or_span(name.span));
            }
        };
        Ok(table)
    }

    /// Runs a plan whose output fits `table`, and writes its rows.
    async fn write(
        &self,
        state: &SessionState,
        plan: LogicalPlan,
        table: &Table,
        transaction: &Transaction,
        staged: &Arc<Staged>,
    ) -> Result<Written> {
        let (plan, context) = match constant::is_constant(&plan) {
            true => (constant::operators(state, plan)?, constant::context(state)),
            false => (state.create_physical_plan(&plan).await?, state.task_ctx()),
        };
        self.progress.watch(&plan);
        let target = self.target(state, table, transaction, staged).await?;
        write::write(plan, context, Arc::new(target)).await
    }

    /// Writes the rows that the catalog was to keep as files: a table is about to change its form, and
    /// their text is of the present one.
    pub(super) async fn write_inlined(
        &self,
        table: &Table,
        transaction: &mut Transaction,
        staged: &Arc<Staged>,
    ) -> Result<()> {
        let groups = transaction.take_inlined(table);
        if groups.is_empty() {
            return Ok(());
        }
        let planner = self.planner_on(transaction);
        let new = self.target(planner.state(), table, transaction, staged).await?;
        let kept = self.target(planner.state(), table, transaction, staged).await?;
        let kept = kept.with_row_ids();
        for InlinedRows { columns, rows, column_stats } in groups {
            let (with_ids, without): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row| row.row_id.is_some());
            for (rows, target) in [(with_ids, &kept), (without, &new)] {
                let (columns, column_stats) = (columns.clone(), column_stats.clone());
                let rows = InlinedRows { columns, rows, column_stats };
                let file = target.write_small(vec![target.batch_of(&rows)?], None).await?;
                transaction.append(table, file.into_iter().collect());
            }
        }
        Ok(())
    }

    /// Where a statement's rows for `table` go.
    pub(super) async fn target(
        &self,
        state: &SessionState,
        table: &Table,
        transaction: &Transaction,
        staged: &Arc<Staged>,
    ) -> Result<Target> {
        let storage = Arc::clone(self.warehouse.storage());
        let options = transaction.options_of(table).await?;
        let limit = transaction.inlining_limit(table, &options);
        let options = WriteOptions::of(&options)?;
        let (staged, progress) = (Arc::clone(staged), self.progress.clone());
        let target = Target::new(state, table.clone(), options, storage, staged, progress)?;
        Ok(target.with_inlining(limit))
    }

    pub(super) async fn copy(&mut self, copy: &Copy) -> Result<Outcome> {
        if self.warehouse.is_safe() {
            return Err(Error::unsupported("writing files is not allowed in safe mode"));
        }
        let Planned { state, plan } = self.planner().await?.query(&copy.source).await?;
        let (format, options) = copy_format(copy)?;
        let storage = self.warehouse.storage();
        let target = match storage::remote(&copy.target)? {
            Some(url) => {
                storage.register(&url)?;
                storage::encoded(&copy.target)
            }
            None => {
                let path = storage::absolute(&copy.target)?;
                let parent = path.parent().unwrap_or(&path);
                if !parent.is_dir() {
                    let message = format!("directory \"{}\" does not exist", parent.display());
                    return Err(Error::not_found(message).or_span(Some(copy.target_span)));
                }
                path.display().to_string()
            }
        };
        let file_type = format_as_file_type(format);
        let plan =
            LogicalPlanBuilder::copy_to(plan, target, file_type, options, vec![])?.build()?;
        let plan = state.create_physical_plan(&plan).await?;
        self.progress.watch(&plan);
        let batches = collect(plan, state.task_ctx()).await;
        let batches = batches.map_err(|e| Error::from(e).or_span(Some(copy.target_span)))?;
        let count = |batch: &arrow::record_batch::RecordBatch| -> u64 {
            batch.column(0).as_primitive::<UInt64Type>().values().iter().sum()
        };
        Ok(Outcome::Changed { tag: "COPY", rows: Some(batches.iter().map(count).sum()) })
    }
}

/// Stages what a statement wrote.
pub(super) fn stage(transaction: &mut Transaction, table: &Table, written: Written) {
    transaction.append(table, written.files);
    for rows in written.inlined {
        transaction.inline(table, rows);
    }
}

/// The columns that an INSERT fills, by index in the table.
fn target_columns(table: &Table, names: &[Ident]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut targets = Vec::with_capacity(names.len());
    for ident in names {
        let span = name::span(ident.span);
        let index = column_index(&table.columns, &fold(ident)).map_err(|e| e.or_span(span))?;
        if targets.contains(&index) {
            return Err(Error::invalid(format!("column {ident} is named twice")).or_span(span));
        }
        targets.push(index);
    }
    Ok(targets)
}

pub(super) fn column_index(columns: &[Column], name: &str) -> Result<usize> {
    let exact = columns.iter().position(|column| column.name == name);
    let folded = || columns.iter().position(|c| c.name.to_lowercase() == name.to_lowercase());
    exact.or_else(folded).ok_or_else(|| {
        Error::no_such("column", name, columns.iter().map(|column| column.name.as_str()))
    })
}

/// The query of an INSERT. In a VALUES list DEFAULT becomes the column's default, and numbers for
/// decimal columns become text, so that no digit is lost on the way through a double.
fn insert_query(insert: &Insert, table: &Table, targets: &[usize]) -> Result<Box<Query>> {
    let Some(source) = &insert.source else {
        return subquery("SELECT 1 AS \"no column\"", insert.table.span);
    };
    let mut query = source.clone();
    if let Some(rows) = values_rows(&mut query) {
        for row in rows {
            for (value, target) in row.content.iter_mut().zip(targets) {
                fit_value(value, &table.columns[*target]);
            }
        }
    }
    Ok(query)
}

pub(super) fn fit_value(value: &mut Expr, column: &Column) {
    let text = |text: String| Expr::value(Value::SingleQuotedString(text));
    match value {
        Expr::Identifier(ident)
            if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") =>
        {
            *value = match &column.default {
                Some(ColumnDefault::Literal(default)) => text(default.clone()),
                _ => Expr::value(Value::Null),
            };
        }
        _ if matches!(column.column_type, ColumnType::Decimal { .. } | ColumnType::UInt64) => {
            if let Some(number) = number(value) {
                *value = text(number);
            }
        }
        _ => {}
    }
}

/// A number literal's text, also below a sign.
fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(number.clone()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|n| format!("-{n}")),
        _ => None,
    }
}

fn sources_by_position(
    table: &Table,
    targets: &[usize],
    insert: &Insert,
    plan: &LogicalPlan,
) -> Result<Vec<Option<usize>>> {
    let given = plan.schema().fields().len();
    if insert.source.is_none() {
        return Ok(vec![None; table.columns.len()]);
    }
    if given != targets.len() {
        let names: Vec<&str> = targets.iter().map(|i| table.columns[*i].name.as_str()).collect();
        return Err(Error::invalid(format!(
            "table \"{}\" takes {} values and the query has {given} columns",
            table.name,
            targets.len()
        ))
        .with_help(format!("the columns are {}; BY NAME matches them by name", names.join(", ")))
        .or_span(insert.table.span));
    }
    Ok((0..table.columns.len()).map(|i| targets.iter().position(|t| *t == i)).collect())
}

fn sources_by_name(table: &Table, plan: &LogicalPlan) -> Result<Vec<Option<usize>>> {
    let mut sources = vec![None; table.columns.len()];
    for (index, field) in plan.schema().fields().iter().enumerate() {
        let column = column_index(&table.columns, field.name())?;
        if sources[column].replace(index).is_some() {
            return Err(Error::invalid(format!("the query has two columns \"{}\"", field.name())));
        }
    }
    Ok(sources)
}

/// The writer of COPY and its options under DataFusion's names.
fn copy_format(copy: &Copy) -> Result<(Arc<dyn FileFormatFactory>, HashMap<String, String>)> {
    let (by_name, by_suffix) = by_extension(&copy.target);
    let named = copy.options.iter().find(|option| option.name.value.eq_ignore_ascii_case("format"));
    let format = match named {
        Some(option) => Format::of_extension(&option.value).ok_or_else(|| {
            Error::invalid(format!("COPY cannot write format \"{}\"", option.value))
                .with_help("the formats are parquet, csv and json")
                .or_span(name::span(option.name.span))
        })?,
        None => by_name.unwrap_or(Format::Csv),
    };
    let format_kind = format;
    let mut options = HashMap::new();
    let (format, known): (Arc<dyn FileFormatFactory>, &[(&str, &str)]) = match format {
        Format::Csv => {
            options.insert("format.has_header".to_owned(), "true".to_owned());
            options.insert("format.compression".to_owned(), by_suffix.to_string());
            if copy.target.to_lowercase().contains(".tsv") {
                options.insert("format.delimiter".to_owned(), "\t".to_owned());
            }
            (Arc::new(CsvFormatFactory::new()), CSV_OPTIONS)
        }
        Format::Json => {
            options.insert("format.compression".to_owned(), by_suffix.to_string());
            (Arc::new(JsonFormatFactory::new()), JSON_OPTIONS)
        }
        Format::Parquet => (Arc::new(ParquetFormatFactory::new()), PARQUET_OPTIONS),
        Format::Avro | Format::Arrow => {
            return Err(Error::unsupported("COPY writes parquet, csv and json")
                .or_span(Some(copy.target_span)));
        }
    };
    for option in &copy.options {
        let name = option.name.value.to_lowercase();
        if name == "format" {
            continue;
        }
        let span = name::span(option.name.span);
        let Some((_, key)) = known.iter().find(|(ours, _)| *ours == name) else {
            let error = Error::invalid(format!("COPY has no option \"{name}\" for this format"));
            return Err(match nearest(&name, known.iter().map(|(ours, _)| *ours)) {
                Some(near) => error.with_label(format!("did you mean \"{near}\"?")),
                None => error,
            }
            .or_span(span));
        };
        let value = match (format_kind, *key) {
            (Format::Parquet, "format.compression") => with_level(&option.value),
            _ => option.value.clone(),
        };
        options.insert((*key).to_owned(), value);
    }
    Ok((format, options))
}

/// Codecs with a level get their usual one unless the caller named one.
fn with_level(codec: &str) -> String {
    match codec.to_lowercase().as_str() {
        "zstd" => "zstd(3)".to_owned(),
        "gzip" => "gzip(6)".to_owned(),
        "brotli" => "brotli(5)".to_owned(),
        "lz4" => "lz4_raw".to_owned(),
        other => other.to_owned(),
    }
}

const CSV_OPTIONS: &[(&str, &str)] = &[
    ("header", "format.has_header"),
    ("delimiter", "format.delimiter"),
    ("delim", "format.delimiter"),
    ("sep", "format.delimiter"),
    ("quote", "format.quote"),
    ("escape", "format.escape"),
    ("null", "format.null_value"),
    ("nullstr", "format.null_value"),
    ("compression", "format.compression"),
    ("dateformat", "format.date_format"),
    ("timestampformat", "format.timestamp_format"),
];
const JSON_OPTIONS: &[(&str, &str)] = &[("compression", "format.compression")];
const PARQUET_OPTIONS: &[(&str, &str)] = &[
    ("compression", "format.compression"),
    ("codec", "format.compression"),
    ("row_group_size", "format.max_row_group_size"),
];
