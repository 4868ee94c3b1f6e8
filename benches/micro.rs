//! What does not depend on the amount of data, and what should not: starting, planning, committing,
//! changing a few rows of many.
//!
//! ```text
//! cargo bench --bench micro -- --runs 20 --tables 10000 --files 24000 --commits 200 --sf 10
//! ```
//!
//! DuckDB does the same in the same run: its shell where starting counts, and with its `ducklake`
//! extension everywhere else.

// A benchmark prints its tables, and reads the clock and the environment.
#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]

#[path = "micro/change.rs"]
mod change;
#[path = "micro/commit.rs"]
mod commit;
#[path = "tpch/data.rs"]
mod data;
#[path = "../tests/support/made_up.rs"]
mod made_up;
#[path = "support/peer.rs"]
mod peer;
#[path = "micro/plan.rs"]
mod plan;
#[path = "micro/register.rs"]
mod register;
#[path = "../tests/support/services.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "it is of the tests; here only PostgreSQL counts")]
mod services;
#[path = "micro/start.rs"]
mod start;
mod support;

use std::path::Path;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use self::peer::{Engine, Peer, Place};
use self::support::Result;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Starting, planning, committing, changing
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything by default
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,

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

    /// Scale factor of the lineitem that is changed: 1 is 6 million rows
    #[arg(long, default_value_t = 1.0)]
    sf: f64,

    /// What cargo says when it runs a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Start,
    Tables,
    Files,
    Register,
    Commit,
    Change,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("a benchmark: run it with cargo bench --bench micro");
        return Ok(());
    }
    let directory = support::directory()?.join("micro");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wants(Part::Start) {
        start::measure(&directory.join("small.wh"), arguments.runs)?;
    }
    if wants(Part::Tables) {
        let warehouse = directory.join("tables.wh");
        runtime.block_on(plan::create_tables(&warehouse, arguments.tables))?;
        plan::open_one_of_many(&warehouse, arguments.tables, arguments.runs)?;
    }
    if wants(Part::Files) {
        let warehouse = directory.join("files.wh");
        runtime.block_on(plan::over_files(&warehouse, arguments.files, arguments.runs))?;
    }
    if wants(Part::Register) {
        register::measure(&directory, arguments.files)?;
    }
    if wants(Part::Commit) {
        runtime.block_on(commit::measure(&directory, arguments.commits))?;
    }
    if wants(Part::Change) {
        change::measure(&directory, arguments.sf)?;
    }
    Ok(())
}

/// DuckDB with the lake `catalog` attached.
fn duckdb_lake(directory: &Path, catalog: String) -> Result<Peer> {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let timeout = Duration::from_secs(900);
    let place = Place { files: directory.to_owned(), threads, lake: Some(catalog), timeout };
    Peer::new(Engine::DuckdbLake, &place)
}

fn best_and_median(mut samples: Vec<f64>) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    (samples[0], samples[samples.len() / 2])
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2}", seconds * 1e3)
}
