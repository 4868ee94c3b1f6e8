//! TPC-DS: the 99 queries, checked against DuckDB and compared with other engines.
//!
//! ```text
//! cargo bench --bench tpcds -- --sf 1 --vs duckdb,duckdb-native --runs 3 --queries 4,11,72
//! ```
//!
//! Data and queries are those of DuckDB's extension `tpcds`, generated once into `<target>/bench`.

// A benchmark prints its tables, and reads the clock and the environment.
#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]

#[path = "support/check.rs"]
mod check;
#[path = "support/peer.rs"]
mod peer;
mod support;
#[path = "support/versus.rs"]
mod versus;

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;

use self::support::Result;
use self::versus::{Options, Query};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TABLES: [&str; 24] = [
    "call_center",
    "catalog_page",
    "catalog_returns",
    "catalog_sales",
    "customer",
    "customer_address",
    "customer_demographics",
    "date_dim",
    "household_demographics",
    "income_band",
    "inventory",
    "item",
    "promotion",
    "reason",
    "ship_mode",
    "store",
    "store_returns",
    "store_sales",
    "time_dim",
    "warehouse",
    "web_page",
    "web_returns",
    "web_sales",
    "web_site",
];

/// What has the data and the queries.
const PACKAGES: [&str; 3] =
    ["duckdb==1.5.5", "duckdb-extensions==1.5.5", "duckdb-extension-tpcds==1.5.5"];

/// TPC-DS against other engines
#[derive(Debug, Parser)]
struct Arguments {
    /// Scale factor: 1 is about a gigabyte of text
    #[arg(long, default_value_t = 1.0)]
    sf: f64,

    /// Queries to run; all by default
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=99))]
    queries: Vec<u8>,

    #[command(flatten)]
    options: Options,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.options.bench {
        println!("a benchmark: run it with cargo bench --bench tpcds");
        return Ok(ExitCode::SUCCESS);
    }
    let files = support::directory()?.join(format!("tpcds-sf{}", arguments.sf));
    if !files.exists() {
        generate(&files, arguments.sf)?;
    }
    let mut numbers = arguments.queries.clone();
    if numbers.is_empty() {
        numbers = (1..=99).collect();
    }
    let queries: Result<Vec<Query>> = numbers
        .into_iter()
        .map(|number| {
            let name = format!("q{number:02}");
            let sql = std::fs::read_to_string(files.join(format!("{name}.sql")))?;
            Ok(Query { name, sql: sql.trim_end().trim_end_matches(';').to_owned() })
        })
        .collect();
    versus::run(&arguments.options, &files, &TABLES, &queries?)
}

/// Writes the tables as Parquet files and the queries as text, at once or not at all.
fn generate(files: &Path, scale: f64) -> Result<()> {
    println!("generating TPC-DS");
    let partial = files.with_extension("partial");
    if partial.exists() {
        std::fs::remove_dir_all(&partial)?;
    }
    std::fs::create_dir_all(&partial)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/tpcds/generate.py");
    let mut command = Command::new(support::python(&PACKAGES)?);
    support::timed(command.arg(script).arg(&partial).arg(scale.to_string()))?;
    Ok(std::fs::rename(partial, files)?)
}
