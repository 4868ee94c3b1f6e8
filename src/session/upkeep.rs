//! CALL and CHECKPOINT: what the procedures of upkeep take, and what they answer.
//!
//! Names, arguments and columns are DuckLake's, with a few columns more. Every procedure takes
//! `dry_run => true`, which tells what it would do. They commit on their own, so a transaction that
//! is open has to end first.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{Expr, Ident, SelectItem, SetExpr, Spanned, Value};

use super::history::listing;
use super::plan::no_such;
use super::travel::cast;
use super::{Outcome, Planner, Rows, Session};
use crate::catalog::model::{Relation, RelationKind, SnapshotId};
use crate::catalog::{Expiry, Transaction};
use crate::diagnostic::Span;
use crate::error::{Error, Result};
use crate::maintain::{Action, Age, Compacted, Flushed, Limits, Restored, Run, Scope, Upkeep};
use crate::sql::name::{self, RelationRef, fold};
use crate::sql::{Call, subquery};

/// A procedure with its parameters, the first of which may be given by position.
struct Procedure {
    name: &'static str,
    by_position: usize,
    parameters: &'static [&'static str],
}

const PROCEDURES: [Procedure; 8] = [
    Procedure {
        name: "add_data_files",
        by_position: 2,
        parameters: &[
            "table_name",
            "files",
            "schema",
            "allow_missing",
            "ignore_extra_columns",
            "hive_partitioning",
        ],
    },
    Procedure {
        name: "merge_adjacent_files",
        by_position: 1,
        parameters: &[
            "table_name",
            "schema",
            "min_file_size",
            "max_file_size",
            "max_compacted_files",
            "dry_run",
        ],
    },
    Procedure {
        name: "rewrite_data_files",
        by_position: 1,
        parameters: &["table_name", "schema", "delete_threshold", "dry_run"],
    },
    Procedure {
        name: "flush_inlined_data",
        by_position: 1,
        parameters: &["table_name", "schema", "dry_run"],
    },
    Procedure {
        name: "expire_snapshots",
        by_position: 0,
        parameters: &["older_than", "versions", "dry_run"],
    },
    Procedure {
        name: "cleanup_old_files",
        by_position: 0,
        parameters: &["cleanup_all", "older_than", "dry_run"],
    },
    Procedure {
        name: "delete_orphaned_files",
        by_position: 0,
        parameters: &["cleanup_all", "older_than", "dry_run"],
    },
    Procedure { name: "rollback_to_snapshot", by_position: 1, parameters: &["version", "dry_run"] },
];

/// Options that say what is old, and what counts without them.
const EXPIRE_OLDER_THAN: &str = "expire_older_than";
const DELETE_OLDER_THAN: &str = "delete_older_than";
const DEFAULT_DELETE_OLDER_THAN: &str = "2 days";

/// What CALL can name.
pub(super) fn procedures() -> impl Iterator<Item = &'static str> {
    PROCEDURES.iter().map(|known| known.name).chain(["set_option"])
}

impl Session {
    pub(super) async fn call(&mut self, call: &Call) -> Result<Outcome> {
        let name = &call.name;
        self.check_warehouse(name.schema.as_deref()).map_err(|e| e.or_span(name.span))?;
        if name.name == "set_option" {
            return self.set_option(call).await.map_err(|e| e.or_span(name.span));
        }
        let Some(procedure) = PROCEDURES.iter().find(|known| known.name == name.name) else {
            return Err(Error::no_such("procedure", &name.name, procedures()).or_span(name.span));
        };
        let planner = self.planner().await?;
        let arguments = Arguments::of(procedure, call, &planner)?;
        if procedure.name == "add_data_files" {
            return self.add_data_files(&arguments).await.map_err(|e| e.or_span(name.span));
        }
        let run = match arguments.flag("dry_run").await? {
            true => Run::Dry,
            false => Run::Real,
        };
        if run == Run::Real {
            self.check_upkeep(procedure.name)?;
        }
        let upkeep = self.upkeep();
        let batch = match procedure.name {
            "merge_adjacent_files" => {
                let limits = Limits {
                    min_file_size: arguments.count("min_file_size").await?,
                    max_file_size: arguments.count("max_file_size").await?,
                    max_new_files: arguments.count("max_compacted_files").await?,
                };
                let scope = self.tables_named(&arguments).await?;
                compacted(&upkeep.merge_adjacent_files(scope, limits, run).await?)?
            }
            "rewrite_data_files" => {
                let threshold = arguments.share("delete_threshold").await?;
                let scope = self.tables_named(&arguments).await?;
                compacted(&upkeep.rewrite_data_files(scope, threshold, run).await?)?
            }
            "flush_inlined_data" => {
                let scope = self.tables_named(&arguments).await?;
                flushed(&upkeep.flush_inlined_data(scope, run).await?)?
            }
            "expire_snapshots" => {
                let expiry = arguments.expiry(&upkeep).await?;
                listing(&upkeep.expire(&expiry, run).await?)?
            }
            "cleanup_old_files" => {
                let age = arguments.age(&upkeep).await?;
                paths(&upkeep.cleanup_old_files(age, run).await?)?
            }
            "delete_orphaned_files" => {
                let age = arguments.age(&upkeep).await?;
                paths(&upkeep.delete_orphaned_files(age, run).await?)?
            }
            _ => {
                let Some(version) = arguments.count("version").await? else {
                    return Err(Error::invalid("rollback_to_snapshot has to know which one")
                        .with_help("snapshots() lists them")
                        .or_span(name.span));
                };
                return self.rollback_to(SnapshotId(version.cast_signed()), &upkeep, run).await;
            }
        };
        Ok(Outcome::Rows(Rows::ready(batch)?))
    }

    /// All of upkeep with its defaults, one row for each step.
    pub(super) async fn checkpoint(&mut self, warehouse: Option<&Ident>) -> Result<Outcome> {
        if let Some(name) = warehouse {
            self.check_warehouse(Some(&fold(name)))
                .map_err(|e| e.or_span(name::span(name.span)))?;
        }
        self.check_upkeep("CHECKPOINT")?;
        let (upkeep, planner) = (self.upkeep(), self.planner().await?);
        let (all, run) = (Scope::All { schema: None }, Run::Real);
        let flushed = upkeep.flush_inlined_data(all, run).await?;
        let mut steps = vec![Step {
            rows: Some(flushed.iter().map(|table| table.rows).sum()),
            ..Step::new("flush_inlined_data")
        }];
        let expired = match upkeep.catalog.option(EXPIRE_OLDER_THAN).await? {
            Some(age) => {
                let before = before(&planner, &text(&age)).await?;
                upkeep.expire(&Expiry::Before(before), run).await?.len()
            }
            None => 0,
        };
        steps.push(Step { snapshots: Some(expired as u64), ..Step::new("expire_snapshots") });
        let merged = upkeep.merge_adjacent_files(all, Limits::default(), run).await?;
        steps.push(Step::of_compacted("merge_adjacent_files", &merged));
        let rewritten = upkeep.rewrite_data_files(all, None, run).await?;
        steps.push(Step::of_compacted("rewrite_data_files", &rewritten));
        let age = default_age(&upkeep, &planner).await?;
        let cleaned = upkeep.cleanup_old_files(age, run).await?.len() as u64;
        steps.push(Step { files_processed: Some(cleaned), ..Step::new("cleanup_old_files") });
        let orphans = upkeep.delete_orphaned_files(age, run).await?.len() as u64;
        steps.push(Step { files_processed: Some(orphans), ..Step::new("delete_orphaned_files") });
        Ok(Outcome::Rows(Rows::ready(report(&steps)?)?))
    }

    async fn rollback_to(
        &mut self,
        version: SnapshotId,
        upkeep: &Upkeep,
        run: Run,
    ) -> Result<Outcome> {
        if run == Run::Dry {
            let mut transaction = Transaction::begin(&upkeep.catalog).await?;
            let restored = upkeep.rollback(version, &mut transaction, None).await?;
            return Ok(Outcome::Rows(Rows::ready(rolled_back(&restored)?)?));
        }
        self.change(async |_, transaction, staged| {
            let restored = upkeep.rollback(version, transaction, Some(staged)).await?;
            Ok(Outcome::Rows(Rows::ready(rolled_back(&restored)?)?))
        })
        .await
    }

    fn check_upkeep(&self, what: &str) -> Result<()> {
        if self.warehouse.is_read_only() {
            return Err(Error::unsupported("the warehouse is open for reading only")
                .with_help("open it without --read-only to change it"));
        }
        if self.in_transaction() {
            return Err(Error::invalid(format!("{what} does not run inside of a transaction"))
                .with_help("COMMIT or ROLLBACK first; it commits on its own"));
        }
        Ok(())
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep {
            catalog: self.warehouse.catalog().clone(),
            storage: Arc::clone(self.warehouse.storage()),
            state: self.state().as_ref().clone(),
            progress: self.progress.clone(),
        }
    }

    /// The tables that the arguments name.
    async fn tables_named(&self, arguments: &Arguments<'_>) -> Result<Scope> {
        let transaction = self.transaction().await?;
        let schema = arguments.text("schema").await?;
        let span = arguments.span("table_name").or(arguments.span("schema"));
        match (arguments.text("table_name").await?, schema) {
            (Some(name), schema) => {
                let table = RelationRef { catalog: None, schema, name, span };
                match self.find(&transaction, &table).await? {
                    (_, Some(Relation::Table(table))) => Ok(Scope::Table(table.id)),
                    (_, Some(Relation::View(_))) => {
                        Err(Error::invalid(format!("\"{table}\" is a view, which has no files"))
                            .or_span(span))
                    }
                    (schema, None) => {
                        let kind = RelationKind::Table;
                        let missing = no_such(&transaction, &schema, &table.name, kind).await?;
                        Err(missing.or_span(span))
                    }
                }
            }
            (None, Some(schema)) => match transaction.schema(&schema).await? {
                Some(schema) => Ok(Scope::All { schema: Some(schema.id) }),
                None => {
                    let schemas = transaction.schemas().await?;
                    let names = schemas.iter().map(|schema| schema.name.as_str());
                    Err(Error::no_such("schema", &schema, names).or_span(span))
                }
            },
            (None, None) => Ok(Scope::All { schema: None }),
        }
    }
}

/// The arguments of one call, by the names of their parameters.
pub(super) struct Arguments<'a> {
    procedure: &'static str,
    given: Vec<(&'static str, &'a Expr)>,
    planner: &'a Planner,
    span: Option<Span>,
}

impl<'a> Arguments<'a> {
    fn of(procedure: &'static Procedure, call: &'a Call, planner: &'a Planner) -> Result<Self> {
        let mut given: Vec<(&'static str, &Expr)> = Vec::new();
        let span = call.name.span;
        for (index, (name, value)) in call.arguments.iter().enumerate() {
            let parameters = procedure.parameters;
            let parameter = match name.as_deref() {
                None if index < procedure.by_position => parameters[index],
                None => {
                    return Err(Error::invalid(format!(
                        "{} takes its arguments by name, such as {} => …",
                        procedure.name, parameters[procedure.by_position]
                    ))
                    .with_help(format!("its parameters are {}", parameters.join(", ")))
                    .or_span(span));
                }
                // DuckLake's own procedures do not agree on one name.
                Some("schema_name") if parameters.contains(&"schema") => "schema",
                Some(name) => {
                    let known = parameters.iter().find(|known| **known == name);
                    *known.ok_or_else(|| {
                        Error::no_such("parameter", name, parameters.iter().copied())
                            .with_help(format!("the parameters are {}", parameters.join(", ")))
                            .or_span(span)
                    })?
                }
            };
            if given.iter().any(|(other, _)| *other == parameter) {
                return Err(Error::invalid(format!("{parameter} is given twice")).or_span(span));
            }
            given.push((parameter, value));
        }
        Ok(Self { procedure: procedure.name, given, planner, span })
    }

    fn expr(&self, parameter: &str) -> Option<&'a Expr> {
        self.given.iter().find(|(name, _)| *name == parameter).map(|(_, value)| *value)
    }

    pub(super) fn span(&self, parameter: &str) -> Option<Span> {
        self.expr(parameter).and_then(|value| name::span(value.span()))
    }

    async fn value(&self, parameter: &str, sql_type: &str) -> Result<Option<ScalarValue>> {
        let Some(expr) = self.expr(parameter) else {
            return Ok(None);
        };
        let span = self.span(parameter).or(self.span);
        let value = self.planner.constant(expr, sql_type).await.map_err(|e| e.or_span(span))?;
        match value.is_null() {
            true => Err(Error::invalid(format!("{parameter} is NULL")).or_span(span)),
            false => Ok(Some(value)),
        }
    }

    pub(super) async fn flag(&self, parameter: &str) -> Result<bool> {
        Ok(self.opt_flag(parameter).await? == Some(true))
    }

    pub(super) async fn opt_flag(&self, parameter: &str) -> Result<Option<bool>> {
        let value = self.value(parameter, "BOOLEAN").await?;
        Ok(value.map(|value| value == ScalarValue::Boolean(Some(true))))
    }

    /// One text, or a list of them.
    pub(super) async fn texts(&self, parameter: &str) -> Result<Vec<String>> {
        let is_list = match self.expr(parameter) {
            Some(expr) => self.planner.type_of(expr).await?.is_list(),
            None => false,
        };
        if !is_list {
            return Ok(self.text(parameter).await?.into_iter().collect());
        }
        match self.value(parameter, "VARCHAR[]").await? {
            Some(ScalarValue::List(list)) => {
                let texts = arrow::compute::cast(&list.value(0), &DataType::Utf8)?;
                let texts = arrow::array::AsArray::as_string::<i32>(&texts);
                Ok(texts.iter().flatten().map(str::to_owned).collect())
            }
            _ => Err(Error::internal("a list of text that is none")),
        }
    }

    pub(super) async fn text(&self, parameter: &str) -> Result<Option<String>> {
        let value = self.value(parameter, "VARCHAR").await?;
        Ok(value.map(|value| value.to_string()))
    }

    async fn count(&self, parameter: &str) -> Result<Option<u64>> {
        match self.value(parameter, "BIGINT").await? {
            None => Ok(None),
            Some(ScalarValue::Int64(Some(count))) if count >= 0 => Ok(Some(count.cast_unsigned())),
            Some(other) => Err(Error::invalid(format!("{parameter} cannot be {other}"))
                .or_span(self.span(parameter))),
        }
    }

    async fn share(&self, parameter: &str) -> Result<Option<f64>> {
        match self.value(parameter, "DOUBLE").await? {
            None => Ok(None),
            Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(&share) => {
                Ok(Some(share))
            }
            Some(other) => Err(Error::invalid(format!("{parameter} cannot be {other}"))
                .with_help("it is a share of the rows, from 0 to 1")
                .or_span(self.span(parameter))),
        }
    }

    async fn instant(&self, parameter: &str) -> Result<Option<DateTime<Utc>>> {
        let Some(expr) = self.expr(parameter) else {
            return Ok(None);
        };
        let time = before(self.planner, expr).await;
        time.map(Some).map_err(|e| e.or_span(self.span(parameter)).or_span(self.span))
    }

    /// Which snapshots expire.
    async fn expiry(&self, upkeep: &Upkeep) -> Result<Expiry> {
        let versions = match self.value("versions", "BIGINT[]").await? {
            None => None,
            Some(ScalarValue::List(list)) => {
                let values = list.value(0);
                let values = arrow::array::AsArray::as_primitive_opt(&values).cloned();
                let values: Option<arrow::array::Int64Array> = values;
                Some(values.iter().flatten().flatten().map(SnapshotId).collect::<Vec<_>>())
            }
            Some(other) => return Err(Error::internal(format!("{other} is not a list"))),
        };
        match (versions, self.instant("older_than").await?) {
            (Some(versions), None) => Ok(Expiry::Versions(versions)),
            (None, Some(time)) => Ok(Expiry::Before(time)),
            (Some(_), Some(_)) => Err(self.one_of("versions", "older_than")),
            (None, None) => match upkeep.catalog.option(EXPIRE_OLDER_THAN).await? {
                Some(age) => Ok(Expiry::Before(before(self.planner, &text(&age)).await?)),
                None => Err(Error::invalid("expire_snapshots has to know which snapshots")
                    .with_help(
                        "give older_than => INTERVAL '30 days', or versions => [1, 2], or set the \
                         option expire_older_than",
                    )
                    .or_span(self.span)),
            },
        }
    }

    /// Which files are old enough.
    async fn age(&self, upkeep: &Upkeep) -> Result<Age> {
        match (self.flag("cleanup_all").await?, self.instant("older_than").await?) {
            (true, None) => Ok(Age::Any),
            (false, Some(time)) => Ok(Age::Before(time)),
            (true, Some(_)) => Err(self.one_of("cleanup_all", "older_than")),
            (false, None) => default_age(upkeep, self.planner).await,
        }
    }

    fn one_of(&self, one: &str, other: &str) -> Error {
        let message = format!("{} takes {one} or {other}, not both", self.procedure);
        Error::invalid(message).or_span(self.span(other)).or_span(self.span)
    }
}

async fn default_age(upkeep: &Upkeep, planner: &Planner) -> Result<Age> {
    let age = upkeep.catalog.option(DELETE_OLDER_THAN).await?;
    let age = age.unwrap_or_else(|| DEFAULT_DELETE_OLDER_THAN.to_owned());
    Ok(Age::Before(before(planner, &text(&age)).await?))
}

/// A time, or an age as an interval before now.
async fn before(planner: &Planner, expr: &Expr) -> Result<DateTime<Utc>> {
    let is_interval = match planner.type_of(expr).await? {
        DataType::Interval(_) => true,
        // Text is what it can be read as.
        other if other.is_string() => planner.instant(expr).await.is_err(),
        _ => false,
    };
    if !is_interval {
        return planner.instant(expr).await;
    }
    let mut query = subquery("SELECT now() - NULL", None)?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(SelectItem::UnnamedExpr(mut then)) = select.projection.pop()
        && let Expr::BinaryOp { right, .. } = &mut then
    {
        **right = cast(expr, "INTERVAL")?;
        let time = planner.instant(&then).await;
        return time.map_err(|_| Error::invalid(format!("{expr} is neither a time nor an age")));
    }
    Err(Error::internal("a subtraction that is none"))
}

fn text(value: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(value.to_owned()))
}

fn compacted(tables: &[Compacted]) -> Result<RecordBatch> {
    let number = |of: fn(&Compacted) -> Option<u64>| numbers(tables.iter().map(of));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("schema_name", texts(tables.iter().map(|table| table.schema.as_str())), false),
        ("table_name", texts(tables.iter().map(|table| table.table.as_str())), false),
        ("files_processed", number(|table| Some(table.files_before)), false),
        ("files_created", number(|table| Some(table.files_after)), false),
        ("rows", number(|table| Some(table.rows)), false),
        ("bytes_before", number(|table| Some(table.bytes_before)), false),
        ("bytes_after", number(|table| table.bytes_after), true),
    ])?)
}

fn rolled_back(relations: &[Restored]) -> Result<RecordBatch> {
    let number = |of: fn(&Restored) -> u64| numbers(relations.iter().map(|r| Some(of(r))));
    let action = |relation: &Restored| match relation.action {
        Action::Drop => "drop",
        Action::Create => "create",
        Action::Change => "change",
    };
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("schema_name", texts(relations.iter().map(|relation| relation.schema.as_str())), false),
        ("name", texts(relations.iter().map(|relation| relation.name.as_str())), false),
        ("action", texts(relations.iter().map(action)), false),
        ("rows_deleted", number(|relation| relation.rows_deleted), false),
        ("rows_inserted", number(|relation| relation.rows_inserted), false),
    ])?)
}

fn flushed(tables: &[Flushed]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("schema_name", texts(tables.iter().map(|table| table.schema.as_str())), false),
        ("table_name", texts(tables.iter().map(|table| table.table.as_str())), false),
        ("rows_flushed", numbers(tables.iter().map(|table| Some(table.rows))), false),
    ])?)
}

fn paths(paths: &[String]) -> Result<RecordBatch> {
    let paths = texts(paths.iter().map(String::as_str));
    Ok(RecordBatch::try_from_iter_with_nullable([("path", paths, false)])?)
}

/// One step of CHECKPOINT; what does not apply to it is NULL.
#[derive(Default)]
struct Step {
    name: &'static str,
    snapshots: Option<u64>,
    files_processed: Option<u64>,
    files_created: Option<u64>,
    rows: Option<u64>,
    bytes_before: Option<u64>,
    bytes_after: Option<u64>,
}

impl Step {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn of_compacted(name: &'static str, tables: &[Compacted]) -> Self {
        let sum = |of: fn(&Compacted) -> u64| Some(tables.iter().map(of).sum());
        Self {
            name,
            snapshots: None,
            files_processed: sum(|table| table.files_before),
            files_created: sum(|table| table.files_after),
            rows: sum(|table| table.rows),
            bytes_before: sum(|table| table.bytes_before),
            bytes_after: sum(|table| table.bytes_after.unwrap_or(0)),
        }
    }
}

fn report(steps: &[Step]) -> Result<RecordBatch> {
    let number = |of: fn(&Step) -> Option<u64>| numbers(steps.iter().map(of));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("step", texts(steps.iter().map(|step| step.name)), false),
        ("snapshots", number(|step| step.snapshots), true),
        ("files_processed", number(|step| step.files_processed), true),
        ("files_created", number(|step| step.files_created), true),
        ("rows", number(|step| step.rows), true),
        ("bytes_before", number(|step| step.bytes_before), true),
        ("bytes_after", number(|step| step.bytes_after), true),
    ])?)
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.collect::<UInt64Array>())
}
