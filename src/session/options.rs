//! `CALL set_option(…)` and `options()`: DuckLake's options, with its keys, texts and columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, IntervalUnit};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::scalar::ScalarValue;
use sqlparser::ast::Expr;

use super::{Outcome, Session, define};
use crate::catalog::Transaction;
use crate::catalog::model::{Relation, RelationKind, Schema};
use crate::catalog::options::Scope;
use crate::error::{Error, Result};
use crate::sql::Call;
use crate::sql::name::RelationRef;
use crate::write::WriteOptions;

/// What the values of an option are.
#[derive(Clone, Copy)]
enum Kind {
    Count,
    Bytes,
    Codec,
    Version,
    Flag,
    Share,
    Interval,
    /// Fixed when the catalog was made.
    Fixed,
}

/// Keys, their values, and what they are.
const OPTIONS: &[(&str, Kind, &str)] = &[
    ("auto_compact", Kind::Flag, "Whether maintenance of the whole catalog includes the table"),
    ("created_by", Kind::Fixed, "Tool used to write the DuckLake"),
    (
        "data_inlining_row_limit",
        Kind::Count,
        "Rows up to which DuckDB keeps an insert in the catalog",
    ),
    ("data_path", Kind::Fixed, "Path to data files"),
    ("delete_older_than", Kind::Interval, "How old unused files have to be to be deleted"),
    ("encrypted", Kind::Fixed, "Whether Parquet files are encrypted"),
    ("expire_older_than", Kind::Interval, "How old snapshots have to be to be expired"),
    (
        "gotgan_auto_flush",
        Kind::Flag,
        "Whether Gotgan moves rows that the catalog keeps into files unasked",
    ),
    ("gotgan_flush_age", Kind::Interval, "How old such rows have to be for that"),
    ("gotgan_flush_rows", Kind::Count, "How many they have to be for that"),
    ("hive_file_pattern", Kind::Flag, "Whether each partition has a directory"),
    ("parquet_compression", Kind::Codec, "Compression of Parquet files"),
    ("parquet_compression_level", Kind::Count, "Level of that compression"),
    ("parquet_row_group_size", Kind::Count, "Rows in a row group of Parquet files"),
    ("parquet_row_group_size_bytes", Kind::Bytes, "Bytes in a row group of Parquet files"),
    ("parquet_version", Kind::Version, "Version of the Parquet format, 1 or 2"),
    ("per_thread_output", Kind::Flag, "Whether each of DuckDB's threads writes files of its own"),
    ("require_commit_message", Kind::Flag, "Whether DuckDB wants a message with each commit"),
    (
        "rewrite_delete_threshold",
        Kind::Share,
        "Share of deleted rows that makes a file be rewritten",
    ),
    ("sort_on_insert", Kind::Flag, "Whether rows are sorted by the table's sort keys"),
    ("target_file_size", Kind::Bytes, "Bytes after which a data file is finished"),
    ("version", Kind::Fixed, "DuckLake format version"),
    ("write_deletion_vectors", Kind::Flag, "Whether DuckDB writes deletes as deletion vectors"),
];

impl Session {
    /// `set_option(key, value [, table_name => t] [, schema => s])`. Options are not part of a
    /// transaction: they hold from now on.
    pub(super) async fn set_option(&mut self, call: &Call) -> Result<Outcome> {
        if self.warehouse.is_read_only() {
            return Err(Error::unsupported("the warehouse is open for reading only")
                .with_help("open it without --read-only to change it"));
        }
        let (mut plain, mut table, mut schema) = (vec![], None, None);
        for (named, value) in &call.arguments {
            let text = text(value)?;
            match named.as_deref() {
                None => plain.push(text),
                Some("table_name") => table = Some(text),
                Some("schema") => schema = Some(text),
                Some(other) => {
                    return Err(Error::no_such("argument", other, ["table_name", "schema"]));
                }
            }
        }
        let [key, value] = plain.as_slice() else {
            return Err(Error::invalid("set_option takes a key and a value")
                .with_help("CALL set_option('parquet_compression', 'zstd', table_name => 't')"));
        };
        let key = key.to_lowercase();
        let keys = OPTIONS.iter().filter(|(_, kind, _)| !matches!(kind, Kind::Fixed));
        let known = keys.clone().find(|(known, _, _)| *known == key);
        let Some((_, kind, _)) = known else {
            return Err(Error::no_such("option", &key, keys.map(|(key, _, _)| *key))
                .with_help("FROM options() lists those that are set"));
        };
        let value = normal(*kind, value).ok_or_else(|| {
            let message = format!("option {key} cannot be {value:?}");
            Error::invalid(message).with_help(format!("it is {}", described(*kind)))
        })?;
        let scope = self.scope(schema, table).await?;
        // With the others of its scope it has to be something that files can be written with.
        let all = self.warehouse.catalog().options().await?.into_iter();
        let others = all.filter(|option| option.scope == Scope::Global || option.scope == scope);
        let mut together: BTreeMap<_, _> = others.map(|other| (other.key, other.value)).collect();
        together.insert(key.clone(), value.clone());
        WriteOptions::of(&together)?;
        self.warehouse.catalog().set_option(&key, &value, scope).await?;
        Ok(Outcome::done("CALL"))
    }

    async fn scope(&self, schema: Option<String>, table: Option<String>) -> Result<Scope> {
        let transaction = self.transaction().await?;
        let uncommitted = || {
            Err(Error::unsupported("options of a table or schema that is not committed yet")
                .with_help("COMMIT first"))
        };
        let Some(table) = table else {
            let Some(schema) = schema else { return Ok(Scope::Global) };
            let schemas = transaction.schemas().await?;
            let known = schemas.iter().map(|schema| schema.name.as_str());
            let missing = Error::no_such("schema", &schema, known);
            let found = transaction.schema(&schema).await?.ok_or(missing)?;
            return match found.id.is_provisional() {
                true => uncommitted(),
                false => Ok(Scope::Schema(found.id)),
            };
        };
        let name = RelationRef { catalog: None, schema, name: table, span: None };
        match self.find(&transaction, &name).await? {
            (_, Some(Relation::Table(table))) if table.id.is_provisional() => uncommitted(),
            (_, Some(Relation::Table(table))) => Ok(Scope::Table(table.id)),
            (_, Some(Relation::View(_))) => Err(define::wrong_kind(&name, "a view", "a table")),
            (schema, None) => {
                let kind = RelationKind::Table;
                Err(super::plan::no_such(&transaction, &schema, &name.name, kind).await?)
            }
        }
    }
}

/// The text of an argument.
fn text(expr: &Expr) -> Result<String> {
    match define::literal(expr).flatten() {
        Some(text) => Ok(text),
        None => Err(Error::invalid(format!("{expr} is not a literal"))
            .with_help("give a number, a string, TRUE or FALSE")),
    }
}

/// A value in the text that the catalog keeps.
fn normal(kind: Kind, value: &str) -> Option<String> {
    let lower = value.trim().to_lowercase();
    match kind {
        Kind::Count => lower.parse::<u64>().ok().map(|count| count.to_string()),
        Kind::Bytes => bytes(&lower).map(|bytes| bytes.to_string()),
        Kind::Codec => ["uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4", "lz4_raw"]
            .contains(&lower.as_str())
            .then_some(lower),
        Kind::Version => match lower.trim_start_matches('v') {
            "1" => Some("V1".into()),
            "2" => Some("V2".into()),
            _ => None,
        },
        Kind::Flag => match lower.as_str() {
            "true" | "yes" | "on" | "1" => Some("true".into()),
            "false" | "no" | "off" | "0" => Some("false".into()),
            _ => None,
        },
        Kind::Share => {
            let share = lower.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            share.map(|share| share.to_string())
        }
        Kind::Interval => {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            ScalarValue::from(lower.as_str()).cast_to(&interval).ok().map(|_| lower)
        }
        Kind::Fixed => None,
    }
}

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Count => "a whole number",
        Kind::Bytes => "a number of bytes, such as 10000000 or '10MB'",
        Kind::Codec => "uncompressed, snappy, gzip, zstd, brotli, lz4 or lz4_raw",
        Kind::Version => "1 or 2",
        Kind::Flag => "true or false",
        Kind::Share => "a number from 0 to 1",
        Kind::Interval => "an interval, such as '7 days'",
        Kind::Fixed => "fixed",
    }
}

/// `10mb` is 10,000,000 and `10mib` 10,485,760, as in DuckDB.
fn bytes(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let factor: u64 = match unit.trim() {
        "" | "b" | "byte" | "bytes" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor),
        Err(_) => {
            let bytes = number.parse::<f64>().ok()? * factor as f64;
            (bytes.is_finite() && bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
        }
    }
}

/// The options that are set, with what they are and what for.
pub(crate) async fn options(transaction: &Transaction) -> Result<Arc<dyn TableProvider>> {
    let schemas = transaction.schemas().await?;
    let mut rows: [Vec<Option<String>>; 5] = Default::default();
    for option in transaction.options().await? {
        let about = OPTIONS.iter().find(|(key, _, _)| *key == option.key);
        let (scope, entry) = match option.scope {
            Scope::Global => ("GLOBAL", None),
            Scope::Schema(id) => {
                let schema = schemas.iter().find(|schema| schema.id == id);
                ("SCHEMA", Some(schema.map(|schema| schema.name.clone())))
            }
            Scope::Table(id) => {
                let shown = |(schema, table): (Schema, String)| format!("{}.{table}", schema.name);
                ("TABLE", Some(transaction.table_name(id).await?.map(shown)))
            }
        };
        // What it was set for is gone.
        let Some(entry) = entry.map_or(Some(None), |entry| entry.map(Some)) else { continue };
        let about = about.map(|(_, _, about)| (*about).to_owned());
        let row = [Some(option.key), about, Some(option.value), Some(scope.into()), entry];
        rows.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    let names = ["option_name", "description", "value", "scope", "scope_entry"];
    let columns = names.into_iter().zip(rows).map(|(name, values)| {
        (name, Arc::new(values.into_iter().collect::<StringArray>()) as ArrayRef, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}
