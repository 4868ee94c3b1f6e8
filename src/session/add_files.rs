//! `CALL add_data_files('t', 'files')`: Parquet files that are there become a table's, without a copy.
//!
//! Only footers are read, many at a time, and all files are one commit, so thousands take seconds. From
//! then on they are the table's own: compaction takes them, and deletes them when nobody needs them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{StringArray, UInt64Array};
use arrow::record_batch::RecordBatch;
use tokio::task::JoinSet;

use super::upkeep::Arguments;
use super::{Outcome, Rows, Session};
use crate::catalog::model::DataFile;
use crate::error::{Error, Result};
use crate::source::{Found, find};
use crate::sql::name::RelationRef;
use crate::write::added::Adding;

/// Footers that are read at the same time.
const CONCURRENT_FOOTERS: usize = 64;

impl Session {
    /// `add_data_files(table_name, files [, schema, allow_missing, ignore_extra_columns,
    /// hive_partitioning])`, with DuckLake's names. `files` is a name, a glob, or a list of them.
    pub(super) async fn add_data_files(&mut self, arguments: &Arguments<'_>) -> Result<Outcome> {
        if self.warehouse.is_safe() {
            return Err(Error::unsupported("reading files is not allowed in safe mode"));
        }
        let names = arguments.texts("files").await?;
        let (Some(name), false) = (arguments.text("table_name").await?, names.is_empty()) else {
            return Err(Error::invalid("add_data_files has to know which table and which files")
                .with_help("CALL add_data_files('orders', 'export/*.parquet')"));
        };
        let schema = arguments.text("schema").await?;
        let span = arguments.span("table_name");
        let name = RelationRef { catalog: None, schema, name, span };
        let allow_missing = arguments.flag("allow_missing").await?;
        let ignore_extra = arguments.flag("ignore_extra_columns").await?;
        let hive = arguments.opt_flag("hive_partitioning").await?.unwrap_or(true);
        let files_span = arguments.span("files");
        self.change(async |session, transaction, _| {
            let table = session.writable(transaction, &name).await?;
            let adding = Adding { table: table.clone(), allow_missing, ignore_extra, hive };
            adding.check_table()?;
            let found = find(session.warehouse.storage(), &names).await;
            let found = found.map_err(|e| e.or_span(files_span))?;
            let present = transaction.data_files(&table).await?;
            let present = present.iter().map(|file| file.path.clone()).collect();
            let files = described(found, adding, &present).await?;
            let outcome = Rows::ready(report(&table.name, &files)?)?;
            transaction.append(&table, files);
            Ok(Outcome::Rows(outcome))
        })
        .await
    }
}

/// The files by their footers, in the order of their names.
async fn described(
    found: Found,
    adding: Adding,
    present: &HashSet<String>,
) -> Result<Vec<DataFile>> {
    let adding = Arc::new(adding);
    let mut paths = Vec::with_capacity(found.objects.len());
    for object in &found.objects {
        let path = found.shown(object);
        if present.contains(&path) {
            return Err(Error::invalid(format!(
                "'{path}' is in table \"{}\" already",
                adding.table.name
            ))
            .with_help("a file is added once; name those that are new"));
        }
        paths.push(path);
    }
    let mut waiting = found.objects.into_iter().zip(paths).enumerate();
    let (mut tasks, mut files) = (JoinSet::new(), Vec::new());
    loop {
        while tasks.len() < CONCURRENT_FOOTERS
            && let Some((index, (object, path))) = waiting.next()
        {
            let (adding, store) = (Arc::clone(&adding), Arc::clone(&found.store));
            tasks.spawn(async move { (index, adding.file(&*store, &object, path).await) });
        }
        match tasks.join_next().await {
            Some(joined) => {
                let (index, file) = joined.map_err(|e| Error::internal(e.to_string()))?;
                files.push((index, file?));
            }
            None => break,
        }
    }
    files.sort_by_key(|(index, _)| *index);
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

fn report(table: &str, files: &[DataFile]) -> Result<RecordBatch> {
    let number = |n: u64| Arc::new(UInt64Array::from(vec![n]));
    let rows = files.iter().map(|file| file.record_count).sum();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("table_name", Arc::new(StringArray::from(vec![table])) as _, false),
        ("files", number(files.len() as u64) as _, false),
        ("rows", number(rows) as _, false),
    ])?)
}
