//! Planning over many tables and many files, which are in the catalog only: planning opens no file.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use gotgan::catalog::model::{Relation, Schema};
use gotgan::catalog::{Access, Address, Catalog, Transaction};
use gotgan::{Config, Session, Warehouse};

use crate::made_up;
use crate::start::{processes, query, shell};
use crate::support::{self, Result, print_table};
use crate::{best_and_median, duckdb_lake, milliseconds};

/// Columns of the made-up tables, each with statistics in each file.
const COLUMNS: usize = 16;
/// Rows of a made-up file.
const ROWS: u64 = 100_000;
/// Tables that one commit creates.
const TABLES_PER_COMMIT: usize = 500;

// Many tables.

/// Creates empty tables.
pub(crate) async fn create_tables(warehouse: &Path, n_tables: u32) -> Result<()> {
    let start = Instant::now();
    let (_, catalog) = open(warehouse).await?;
    let names: Vec<String> = (0..n_tables).map(table_name).collect();
    for names in names.chunks(TABLES_PER_COMMIT) {
        let mut transaction = Transaction::begin(&catalog).await?;
        let schema = main_schema(&transaction).await?;
        for name in names {
            transaction.create_table(&schema, name, made_up::columns(COLUMNS)).await?;
        }
        catalog.commit(&transaction.into_commit(None, None), || {}).await?;
    }
    println!("\n{n_tables} tables created in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// One of many tables: a process of ours that opens the warehouse, DuckDB that attaches it.
pub(crate) fn open_one_of_many(warehouse: &Path, n_tables: u32, runs: u16) -> Result<()> {
    let table = table_name(n_tables / 2);
    support::timed(&mut query(warehouse, &format!("INSERT INTO {table} (c0) VALUES (1)")))?;
    let directory = warehouse.parent().unwrap_or(warehouse);
    let other = format!("sqlite:{}", directory.join("other.sqlite").display());
    // It installs the extensions that the shell loads as well.
    let mut duckdb = duckdb_lake(directory, other)?;
    let catalog = warehouse.join("catalog.sqlite");
    let attach = format!("ATTACH 'ducklake:sqlite:{}' AS many", catalog.display());
    let ours = format!("SELECT * FROM {table}");
    let theirs = format!("SELECT * FROM many.{table}");
    let in_shell = |sql: &str| -> Result<Command> {
        let mut command = Command::new(shell()?);
        let sql = format!("LOAD ducklake; LOAD sqlite_scanner; {attach}; {sql}");
        command.args(["-c", &sql]);
        Ok(command)
    };
    let mut commands = [
        ("gotgan: SELECT 1", query(warehouse, "SELECT 1")),
        ("duckdb's shell: ATTACH, SELECT 1", in_shell("SELECT 1")?),
        ("gotgan: SELECT * FROM one of them", query(warehouse, &ours)),
        ("duckdb's shell: ATTACH, SELECT * FROM one of them", in_shell(&theirs)?),
    ];
    let title = format!("A warehouse of {n_tables} tables, as a whole process");
    processes(&title, &mut commands, runs)?;

    let mut rows = Vec::new();
    for (name, sql) in
        [("ATTACH, SELECT 1", "SELECT 1".to_owned()), ("ATTACH, SELECT * FROM one of them", theirs)]
    {
        let mut samples = Vec::new();
        for run in 0..=runs {
            let seconds = [&attach, &sql, "DETACH many"].map(|sql| duckdb.ask(sql, false));
            let [attach, select, detach] = seconds;
            detach?;
            if run > 0 {
                samples.push(attach?.seconds + select?.seconds);
            }
        }
        let (best, median) = best_and_median(samples);
        rows.push(vec![name.to_owned(), milliseconds(best), milliseconds(median)]);
    }
    println!("\nDuckDB on the same warehouse, in a process that runs already\n");
    print_table(&["", "best ms", "median ms"].map(String::from), &rows);
    Ok(())
}

fn table_name(index: u32) -> String {
    format!("t{index}")
}

// Many files.

/// Plans selective and other queries over a table with many files.
pub(crate) async fn over_files(warehouse: &Path, n_files: u32, runs: u16) -> Result<()> {
    let (mut session, catalog) = open(warehouse).await?;
    let commit = append_files(&catalog, n_files).await?;
    let lake = format!("sqlite:{}", warehouse.join("catalog.sqlite").display());
    let mut duckdb = duckdb_lake(warehouse, lake)?;
    let mut rows = Vec::new();
    let key = u64::from(n_files) * ROWS / 2 + 7;
    for (name, condition) in [
        ("WHERE c0 = k", format!("WHERE c0 = {key}")),
        ("WHERE c0 < half", format!("WHERE c0 < {key}")),
        ("no condition", String::new()),
    ] {
        let sql = format!("EXPLAIN SELECT * FROM t {condition}");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in 0..=runs {
            let start = Instant::now();
            session.sql(&sql).await?.collect().await?;
            let seconds = start.elapsed().as_secs_f64();
            let their_seconds = duckdb.ask(&sql, false).map(|answer| answer.seconds);
            if run > 0 {
                ours.push(seconds);
                theirs.extend(their_seconds);
            }
        }
        rows.push(compared(name, ours, theirs));
    }
    println!("\nA table of {n_files} files with statistics of {COLUMNS} columns\n");
    println!("their commit: {commit:.2} s\n");
    let header =
        ["EXPLAIN SELECT", "best ms", "median ms", "duckdb-lake best ms", "median ms", "ratio"];
    print_table(&header.map(String::from), &rows);
    Ok(())
}

/// A line of both, `-` for who has no answers; the ratio is that of medians.
fn compared(name: &str, ours: Vec<f64>, theirs: Vec<f64>) -> Vec<String> {
    let (best, median) = best_and_median(ours);
    let mut row = vec![name.to_owned(), milliseconds(best), milliseconds(median)];
    if theirs.is_empty() {
        row.extend(["-", "-", "-"].map(String::from));
        return row;
    }
    let (their_best, their_median) = best_and_median(theirs);
    row.extend([milliseconds(their_best), milliseconds(their_median)]);
    row.push(format!("{:.2}", median / their_median));
    row
}

/// Registers made-up files of a table; the seconds that the commit took.
async fn append_files(catalog: &Catalog, n_files: u32) -> Result<f64> {
    let mut transaction = Transaction::begin(catalog).await?;
    let schema = main_schema(&transaction).await?;
    transaction.create_table(&schema, "t", made_up::columns(COLUMNS)).await?;
    catalog.commit(&transaction.into_commit(None, None), || {}).await?;

    let mut transaction = Transaction::begin(catalog).await?;
    let Some(Relation::Table(table)) = transaction.relation(&schema, "t").await? else {
        return Err("the table that was created is not there".into());
    };
    let files = (0..u64::from(n_files)).map(|index| made_up::file(&table, index, ROWS)).collect();
    transaction.append(&table, files);
    let commit = transaction.into_commit(None, None);
    let start = Instant::now();
    catalog.commit(&commit, || {}).await?;
    Ok(start.elapsed().as_secs_f64())
}

// What both need.

/// A new warehouse, and its catalog on a connection of its own.
async fn open(path: &Path) -> Result<(Session, Catalog)> {
    let session = Warehouse::open(Config::new(path.display().to_string())).await?.session();
    let data = format!("{}/", path.join("data").display());
    let address = Address::Sqlite(path.join("catalog.sqlite"));
    let catalog = Catalog::open(&address, Access::ReadWrite, Some(&data)).await?;
    Ok((session, catalog))
}

async fn main_schema(transaction: &Transaction) -> Result<Schema> {
    Ok(transaction.schema("main").await?.ok_or("there is no schema main")?)
}
