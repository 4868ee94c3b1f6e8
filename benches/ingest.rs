//! Loading: CREATE TABLE AS from Parquet, CSV and NDJSON, compared with DuckDB.
//!
//! ```text
//! cargo bench --bench ingest -- --sf 1 --runs 3
//! ```
//!
//! The rows are TPC-H's lineitem. DuckDB loads them into a Parquet file, and into DuckLake. Runs take
//! turns, each in a process of its own; the best counts, the greatest peak memory is shown.

// A benchmark prints its tables, and reads the clock and the environment.
#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]

#[path = "tpch/data.rs"]
mod data;
#[path = "support/peer.rs"]
mod peer;
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use self::peer::{Engine, Peer, Place};
use self::support::{Result, print_table};

const FORMATS: [(&str, &str, &str); 3] = [
    ("parquet", "read_parquet", ""),
    ("csv", "read_csv", "(FORMAT csv, HEADER)"),
    ("ndjson", "read_json", "(FORMAT json)"),
];

/// Loading against DuckDB
#[derive(Debug, Parser)]
struct Arguments {
    /// Scale factor: 1 is 6 million rows
    #[arg(long, default_value_t = 1.0)]
    sf: f64,

    /// Formats to load; all by default
    #[arg(long, value_delimiter = ',')]
    formats: Vec<String>,

    /// Runs of each; the best counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// What cargo says when it runs a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The best seconds and the greatest peak memory in MiB.
#[derive(Clone, Copy)]
struct Best {
    seconds: f64,
    peak: f64,
}

impl Best {
    const NONE: Self = Self { seconds: f64::INFINITY, peak: 0.0 };

    fn add(&mut self, seconds: f64, peak: f64) {
        self.seconds = self.seconds.min(seconds);
        self.peak = self.peak.max(peak);
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("a benchmark: run it with cargo bench --bench ingest");
        return Ok(());
    }
    let files = support::directory()?.join(format!("tpch-sf{}", arguments.sf));
    data::generate(&files, arguments.sf)?;
    let scratch = support::directory()?.join("ingest");
    let mut rows = Vec::new();
    for (format, function, options) in FORMATS {
        if !arguments.formats.is_empty() && !arguments.formats.iter().any(|name| name == format) {
            continue;
        }
        let source = provide(&files, format, options)?;
        let megabytes = std::fs::metadata(&source)?.len() as f64 / 1e6;
        let query = format!("SELECT * FROM {function}('{}')", source.display());
        let [ours, file, lake] = measure(&query, &scratch, arguments.runs)?;
        let mut row = vec![format.to_owned(), format!("{megabytes:.0}")];
        row.extend(shown(ours, megabytes));
        for theirs in [file, lake] {
            row.extend(shown(theirs, megabytes));
            row.push(format!("{:.2}", ours.seconds / theirs.seconds));
        }
        rows.push(row);
    }
    println!("\nlineitem of SF{}; ratio = ours / DuckDB's, less than 1 is faster\n", arguments.sf);
    let header = [
        "from",
        "MB",
        "gotgan s",
        "MB/s",
        "peak MiB",
        "duckdb to Parquet s",
        "MB/s",
        "peak MiB",
        "ratio",
        "duckdb to DuckLake s",
        "MB/s",
        "peak MiB",
        "ratio",
    ];
    print_table(&header.map(String::from), &rows);
    Ok(())
}

/// The file with lineitem in a format, written by DuckDB unless it is there.
fn provide(files: &Path, format: &str, options: &str) -> Result<PathBuf> {
    let parquet = files.join("lineitem.parquet");
    let path = files.join("text").join(format!("lineitem.{format}"));
    if format == "parquet" {
        return Ok(parquet);
    }
    if !path.exists() {
        println!("generating {}", path.display());
        std::fs::create_dir_all(files.join("text"))?;
        let partial = path.with_extension("partial");
        let sql = format!("COPY lineitem TO '{}' {options}", partial.display());
        Peer::new(Engine::Duckdb, &place(files, None))?.ask(&sql, false)?;
        std::fs::rename(partial, &path)?;
    }
    Ok(path)
}

/// Ours, DuckDB into a file, DuckDB into a lake.
fn measure(query: &str, scratch: &Path, runs: u16) -> Result<[Best; 3]> {
    let mut best = [Best::NONE; 3];
    let table = format!("CREATE TABLE lineitem AS {query}");
    let out = format!("'{}'", scratch.join("out.parquet").display());
    let file = format!("COPY ({query}) TO {out}");
    let catalog = format!("sqlite:{}", scratch.join("lake.sqlite").display());
    let mut peers = [
        (Peer::new(Engine::Duckdb, &place(scratch, None))?, &file, out.as_str()),
        (Peer::new(Engine::DuckdbLake, &place(scratch, Some(catalog)))?, &table, "lineitem"),
    ];
    for _ in 0..runs {
        if scratch.exists() {
            std::fs::remove_dir_all(scratch)?;
        }
        std::fs::create_dir_all(scratch)?;
        let mut command = support::gotgan();
        command.arg(scratch.join("gotgan.wh")).args(["-c", &table]);
        let (seconds, peak) = support::watched(&mut command, Duration::from_millis(5))?;
        best[0].add(seconds, peak);
        let n_rows = count(scratch)?;
        for (best, (peer, sql, loaded)) in best[1..].iter_mut().zip(&mut peers) {
            peer.restart();
            let seconds = peer.ask(sql, false)?.seconds;
            best.add(seconds, peer.peak_memory());
            let count = peer.ask(&format!("SELECT count(*) FROM {loaded}"), true)?.rows;
            if count[0][0] != n_rows {
                let name = peer.engine.name();
                return Err(format!("{name} has {count:?} rows, not {n_rows}").into());
            }
        }
    }
    Ok(best)
}

/// The rows that we loaded.
fn count(scratch: &Path) -> Result<i64> {
    let mut command = support::gotgan();
    command.arg(scratch.join("gotgan.wh")).args(["-csv", "-c", "SELECT count(*) FROM lineitem"]);
    let text = String::from_utf8(command.output()?.stdout)?;
    Ok(text.lines().nth(1).ok_or("no count")?.parse()?)
}

fn place(files: &Path, lake: Option<String>) -> Place {
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    Place { files: files.to_owned(), threads, lake, timeout: Duration::from_secs(900) }
}

fn shown(best: Best, megabytes: f64) -> [String; 3] {
    [
        format!("{:.2}", best.seconds),
        format!("{:.0}", megabytes / best.seconds),
        format!("{:.0}", best.peak),
    ]
}
