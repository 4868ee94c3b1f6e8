//! What does not depend on the amount of data: starting, planning, committing.
//!
//! ```text
//! cargo bench --bench micro -- --runs 20 --tables 10000 --files 24000 --commits 200
//! ```
//!
//! Starting is measured as whole processes, in turns with DuckDB's shell. The tables with
//! thousands of files exist in the catalog only: planning opens no file.

// A benchmark prints its tables, and reads the clock and the environment.
#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use gotgan::catalog::model::{
    Column, ColumnId, ColumnStats, ColumnType, DataFile, Relation, Schema, Table,
};
use gotgan::catalog::{Access, Address, Catalog, Transaction, assign_column_ids};
use gotgan::{Config, Session, Warehouse};

use self::support::{Result, print_table};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Columns of the made-up tables, each with statistics in each file.
const COLUMNS: usize = 16;
/// Rows of a made-up file.
const ROWS: u64 = 100_000;
/// Tables that one commit creates.
const TABLES_PER_COMMIT: usize = 500;

/// Starting, planning, committing
#[derive(Debug, Parser)]
struct Args {
    /// Runs of what is short; best and median are shown
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// Tables of the warehouse with many tables
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    tables: u32,

    /// Files of the table with many files
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u32).range(1..))]
    files: u32,

    /// Commits of each kind
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    commits: u32,

    /// What cargo says when it runs a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.bench {
        println!("a benchmark: run it with cargo bench --bench micro");
        return Ok(());
    }
    let directory = support::directory()?.join("micro");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let place = |name: &str| directory.join(name);
    start(&place("small.wh"), args.runs)?;
    runtime.block_on(create_tables(&place("tables.wh"), args.tables))?;
    start_with_tables(&place("tables.wh"), &args)?;
    runtime.block_on(plan(&place("files.wh"), &args))?;
    runtime.block_on(commit(&place("commits.wh"), args.commits))
}

// Starting.

fn start(warehouse: &Path, runs: u16) -> Result<()> {
    support::timed(query(warehouse, "CREATE TABLE t AS SELECT 1 AS id").arg("-q"))?;
    let mut commands = vec![
        ("gotgan, a warehouse", query(warehouse, "SELECT 1")),
        ("gotgan, a temporary warehouse", temporary("SELECT 1")),
    ];
    match duckdb() {
        Ok(path) => {
            let mut command = Command::new(path);
            command.args(["-c", "SELECT 1"]);
            commands.push(("duckdb, in memory", command));
        }
        Err(error) => println!("no duckdb to compare with: {error}"),
    }
    processes("SELECT 1 as a whole process", &mut commands, runs)
}

fn start_with_tables(warehouse: &Path, args: &Args) -> Result<()> {
    let table = table_name(args.tables / 2);
    support::timed(&mut query(warehouse, &format!("INSERT INTO {table} (c0) VALUES (1)")))?;
    let mut commands = [
        ("SELECT 1", query(warehouse, "SELECT 1")),
        ("SELECT * FROM one of them", query(warehouse, &format!("SELECT * FROM {table}"))),
    ];
    let title = format!("A warehouse of {} tables, as a whole process", args.tables);
    processes(&title, &mut commands, args.runs)
}

/// Runs commands in turns. Memory is watched in runs of its own, which are not timed.
fn processes(title: &str, commands: &mut [(&str, Command)], runs: u16) -> Result<()> {
    let mut samples = vec![Vec::new(); commands.len()];
    let mut peaks = vec![0.0_f64; commands.len()];
    for run in 0..=runs {
        for (index, (_, command)) in commands.iter_mut().enumerate() {
            let seconds = support::timed(command)?;
            // The first one warms up.
            if run > 0 {
                samples[index].push(seconds);
            }
        }
    }
    for _ in 0..3 {
        for (peak, (_, command)) in peaks.iter_mut().zip(commands.iter_mut()) {
            let (_, seen) = support::watched(command, Duration::from_micros(200))?;
            *peak = peak.max(seen);
        }
    }
    let names = commands.iter().map(|(name, _)| *name);
    let rows = names.zip(samples).zip(peaks).map(|((name, samples), peak)| {
        let (best, median) = best_and_median(samples);
        vec![name.to_owned(), milliseconds(best), milliseconds(median), format!("{peak:.0}")]
    });
    println!("\n{title}\n");
    let header = ["", "best ms", "median ms", "peak MiB"].map(String::from);
    print_table(&header, &rows.collect::<Vec<_>>());
    Ok(())
}

fn query(warehouse: &Path, sql: &str) -> Command {
    let mut command = support::gotgan();
    command.arg(warehouse).args(["-c", sql]);
    command
}

fn temporary(sql: &str) -> Command {
    let mut command = support::gotgan();
    command.args(["-c", sql]);
    command
}

/// DuckDB's shell: the one on the PATH, else the one of the Python package `duckdb-cli`. A script
/// that starts it does not count.
fn duckdb() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join("duckdb"));
    if let Some(path) = found.into_iter().find(|path| is_program(path)) {
        return Ok(path);
    }
    let python = support::python(&["duckdb-cli==1.5.5"])?;
    let script = "import duckdb_cli; print(duckdb_cli.__path__[0], end='')";
    let output = Command::new(python).args(["-c", script]).output()?;
    let path = Path::new(std::str::from_utf8(&output.stdout)?).join("duckdb");
    if is_program(&path) { Ok(path) } else { Err("duckdb-cli holds no program".into()) }
}

fn is_program(path: &Path) -> bool {
    let mut start = [0; 2];
    let file = std::fs::File::open(path);
    file.is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && &start != b"#!"
}

// Many tables.

fn table_name(index: u32) -> String {
    format!("t{index}")
}

async fn create_tables(warehouse: &Path, n_tables: u32) -> Result<()> {
    let start = Instant::now();
    let (_, catalog) = open(warehouse).await?;
    let names: Vec<String> = (0..n_tables).map(table_name).collect();
    for names in names.chunks(TABLES_PER_COMMIT) {
        let mut transaction = Transaction::begin(&catalog).await?;
        let schema = main_schema(&transaction).await?;
        for name in names {
            transaction.create_table(&schema, name, columns()).await?;
        }
        catalog.commit(&transaction.into_commit(None, None), || {}).await?;
    }
    println!("\n{n_tables} tables created in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

// Many files.

async fn plan(warehouse: &Path, args: &Args) -> Result<()> {
    let (mut session, catalog) = open(warehouse).await?;
    let commit = append_files(&catalog, args.files).await?;
    let mut rows = Vec::new();
    let key = u64::from(args.files) * ROWS / 2 + 7;
    for (name, condition) in [
        ("WHERE c0 = k", format!("WHERE c0 = {key}")),
        ("WHERE c0 < half", format!("WHERE c0 < {key}")),
        ("no condition", String::new()),
    ] {
        let sql = format!("EXPLAIN SELECT * FROM t {condition}");
        let mut samples = Vec::new();
        for run in 0..=args.runs {
            let start = Instant::now();
            session.sql(&sql).await?.collect().await?;
            if run > 0 {
                samples.push(start.elapsed().as_secs_f64());
            }
        }
        let (best, median) = best_and_median(samples);
        rows.push(vec![name.to_owned(), milliseconds(best), milliseconds(median)]);
    }
    println!("\nA table of {} files with statistics of {COLUMNS} columns\n", args.files);
    println!("their commit: {commit:.2} s\n");
    print_table(&["EXPLAIN SELECT", "best ms", "median ms"].map(String::from), &rows);
    Ok(())
}

/// Registers made-up files of a table; the seconds that the commit took.
async fn append_files(catalog: &Catalog, n_files: u32) -> Result<f64> {
    let mut transaction = Transaction::begin(catalog).await?;
    let schema = main_schema(&transaction).await?;
    transaction.create_table(&schema, "t", columns()).await?;
    catalog.commit(&transaction.into_commit(None, None), || {}).await?;

    let mut transaction = Transaction::begin(catalog).await?;
    let Some(Relation::Table(table)) = transaction.relation(&schema, "t").await? else {
        return Err("the table that was created is not there".into());
    };
    let files = (0..n_files).map(|index| made_up(&table, index)).collect();
    transaction.append(&table, files);
    let commit = transaction.into_commit(None, None);
    let start = Instant::now();
    catalog.commit(&commit, || {}).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// The file with the values from `index * ROWS` on in each column.
fn made_up(table: &Table, index: u32) -> DataFile {
    let min = u64::from(index) * ROWS;
    let stats = ColumnStats {
        column_size_bytes: ROWS * 8,
        value_count: Some(ROWS),
        null_count: Some(0),
        min: Some(min.to_string()),
        max: Some((min + ROWS - 1).to_string()),
        contains_nan: None,
    };
    let column_stats: BTreeMap<ColumnId, ColumnStats> =
        table.columns.iter().map(|column| (column.id, stats.clone())).collect();
    DataFile {
        id: None,
        path: format!("{}made-up-{index:08}.parquet", table.directory),
        record_count: ROWS,
        file_size_bytes: ROWS * 8 * COLUMNS as u64,
        footer_size: Some(4096),
        row_id_start: None,
        column_stats,
        begin: None,
        partial_max: None,
        name_mapping: None,
        deletes: vec![],
        deleted: Default::default(),
        partition: None,
    }
}

// Commits.

async fn commit(warehouse: &Path, n_commits: u32) -> Result<()> {
    let (mut session, catalog) = open(warehouse).await?;
    session.sql("CREATE TABLE t (id BIGINT)").await?;
    let insert = |index| format!("INSERT INTO t VALUES ({index})");
    let view = |index| format!("CREATE VIEW v{index} AS SELECT {index} AS id");
    let rows = [
        rate("INSERT of one row", &mut session, n_commits, insert).await?,
        rate("CREATE VIEW", &mut session, n_commits, view).await?,
    ];
    let expected = i64::from(n_commits) * 2 + 1;
    let snapshot = Transaction::begin(&catalog).await?.base().id.0;
    if snapshot < expected {
        return Err(format!("snapshot {snapshot} after {expected} commits").into());
    }
    println!("\nCommits of one session, {n_commits} of each kind\n");
    let header = ["statement", "commits/s", "best ms", "median ms"].map(String::from);
    print_table(&header, &rows);
    Ok(())
}

async fn rate(
    name: &str,
    session: &mut Session,
    n_commits: u32,
    sql: impl Fn(u32) -> String,
) -> Result<Vec<String>> {
    let mut samples = Vec::new();
    for index in 0..n_commits {
        let start = Instant::now();
        session.sql(&sql(index)).await?;
        samples.push(start.elapsed().as_secs_f64());
    }
    let per_second = f64::from(n_commits) / samples.iter().sum::<f64>();
    let (best, median) = best_and_median(samples);
    Ok(vec![name.to_owned(), format!("{per_second:.0}"), milliseconds(best), milliseconds(median)])
}

// What they share.

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

fn columns() -> Vec<Column> {
    let column = |index| Column {
        id: ColumnId(0),
        name: format!("c{index}"),
        column_type: ColumnType::Int64,
        nullable: true,
        initial_default: None,
        default: None,
        comment: None,
    };
    let mut columns: Vec<Column> = (0..COLUMNS).map(column).collect();
    assign_column_ids(&mut columns);
    columns
}

fn best_and_median(mut samples: Vec<f64>) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    (samples[0], samples[samples.len() / 2])
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2}", seconds * 1e3)
}
