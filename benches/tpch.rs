//! TPC-H: loading and the 22 queries, checked against DuckDB and compared with other engines.
//!
//! ```text
//! cargo bench --bench tpch -- --sf 1 --vs duckdb,polars,datafusion --runs 3 --queries 1,6,18
//! cargo bench --bench tpch -- --sf 10 --vs duckdb,duckdb-lake,duckdb-native,polars,datafusion
//! ```
//!
//! Everybody starts from the same Parquet files, generated once into `<target>/bench`; ours are
//! loaded into a warehouse first, peers answer from the files or load storage of their own.

// A benchmark prints its tables, and reads the clock and the environment.
#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]

#[path = "support/check.rs"]
mod check;
#[path = "tpch/data.rs"]
mod data;
#[path = "support/peer.rs"]
mod peer;
mod support;
#[path = "support/versus.rs"]
mod versus;

use std::process::ExitCode;

use clap::Parser;

use self::support::Result;
use self::versus::{Options, Query};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// TPC-H against other engines
#[derive(Debug, Parser)]
struct Arguments {
    /// Scale factor: 1 is about a gigabyte of text
    #[arg(long, default_value_t = 1.0)]
    sf: f64,

    /// Queries to run; all by default
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=22))]
    queries: Vec<u8>,

    #[command(flatten)]
    options: Options,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.options.bench {
        println!("a benchmark: run it with cargo bench --bench tpch");
        return Ok(ExitCode::SUCCESS);
    }
    let files = support::directory()?.join(format!("tpch-sf{}", arguments.sf));
    data::generate(&files, arguments.sf)?;
    let mut numbers = arguments.queries.clone();
    if numbers.is_empty() {
        numbers = (1..=22).collect();
    }
    let queries: Result<Vec<Query>> = numbers.into_iter().map(query).collect();
    versus::run(&arguments.options, &files, &data::TABLES, &queries?)
}

fn query(number: u8) -> Result<Query> {
    let name = format!("q{number:02}");
    let path = format!("{}/benches/tpch/{name}.sql", env!("CARGO_MANIFEST_DIR"));
    let sql = std::fs::read_to_string(path)?;
    Ok(Query { name, sql: sql.trim_end().trim_end_matches(';').to_owned() })
}
