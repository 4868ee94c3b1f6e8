//! TPC-H: loading and the 22 queries, checked against DuckDB and compared with other engines.
//!
//! ```text
//! cargo bench --bench tpch -- --sf 1 --vs duckdb,polars,datafusion --runs 3 --queries 1,6,18
//! ```
//!
//! Everybody reads the same Parquet files, generated once into `<target>/bench`; ours are loaded
//! into a warehouse first, the others answer from the files. Queries are run hot, in turns (ours,
//! a peer, ours, …), and the best run counts. A wrong answer is exit code 1.

// A benchmark prints its tables, and reads the clock and the environment.
#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout)]

#[path = "tpch/check.rs"]
mod check;
#[path = "tpch/data.rs"]
mod data;
#[path = "tpch/peer.rs"]
mod peer;
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use clap::Parser;
use gotgan::{Config, Session, Warehouse};

use self::peer::{Engine, Peer, Place};
use self::support::{Result, print_table};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// TPC-H against other engines
#[derive(Debug, Parser)]
struct Args {
    /// Scale factor: 1 is about a gigabyte of text
    #[arg(long, default_value_t = 1.0)]
    sf: f64,

    /// Engines to compare with
    #[arg(long, value_enum, value_delimiter = ',')]
    vs: Vec<Engine>,

    /// Runs of each query; the best counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// Queries to run; all by default
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=22))]
    queries: Vec<u8>,

    /// Threads of every engine; the machine's by default
    #[arg(long)]
    threads: Option<usize>,

    /// Seconds after which a peer's query counts as not answered
    #[arg(long, default_value_t = 300)]
    timeout: u64,

    /// Keep the warehouse of an earlier run instead of loading it
    #[arg(long)]
    reuse: bool,

    /// What cargo says when it runs a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
    }

    fn queries(&self) -> Vec<u8> {
        if self.queries.is_empty() { (1..=22).collect() } else { self.queries.clone() }
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if !args.bench {
        println!("a benchmark: run it with cargo bench --bench tpch");
        return Ok(ExitCode::SUCCESS);
    }
    let files = support::directory()?.join(format!("tpch-sf{}", args.sf));
    data::generate(&files, args.sf)?;
    let warehouse = load(&args, &files)?;
    let mut engines = args.vs.clone();
    if !engines.contains(&Engine::Duckdb) {
        engines.push(Engine::Duckdb);
    }
    let place = Place::new(&engines, &files, args.threads(), args.timeout)?;
    let mut peers: Vec<Peer> = engines
        .iter()
        .map(|&engine| Peer::new(engine, args.vs.contains(&engine), &place))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.threads())
        .enable_all()
        .build()?;
    let lines = runtime.block_on(run(&args, &warehouse, &mut peers))?;
    peers.retain(|peer| peer.timed);
    report(&lines, &peers);
    let is_right = lines.iter().all(|line| line.problem.is_none());
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Loads every table through the binary; the warehouse's place.
fn load(args: &Args, files: &Path) -> Result<PathBuf> {
    let warehouse = files.join("tpch.wh");
    if args.reuse && warehouse.exists() {
        return Ok(warehouse);
    }
    if warehouse.exists() {
        std::fs::remove_dir_all(&warehouse)?;
    }
    let mut rows = Vec::new();
    for table in data::TABLES {
        let path = files.join(data::file(table));
        let sql = format!("CREATE OR REPLACE TABLE {table} AS SELECT * FROM '{}'", path.display());
        let threads = args.threads().to_string();
        let mut command = support::gotgan();
        command.arg(&warehouse).args(["--threads", &threads, "-c", &sql]);
        let (seconds, peak) = support::watched(&mut command, Duration::from_millis(5))?;
        let megabytes = std::fs::metadata(&path)?.len() as f64 / 1e6;
        rows.push(vec![
            table.to_owned(),
            format!("{megabytes:.1}"),
            format!("{:.3}", seconds),
            format!("{:.1}", megabytes / seconds),
            format!("{:.0}", peak),
        ]);
    }
    println!("\nLoading, as whole processes; MB are those of the Parquet file read\n");
    print_table(&["table", "MB", "seconds", "MB/s", "peak MiB"].map(String::from), &rows);
    Ok(warehouse)
}

/// One query's results.
struct Line {
    query: u8,
    ours: Option<f64>,
    /// By timed peer, in order.
    peers: Vec<Option<f64>>,
    /// What is wrong with our answer.
    problem: Option<String>,
}

async fn run(args: &Args, warehouse: &Path, peers: &mut [Peer<'_>]) -> Result<Vec<Line>> {
    let config = Config::new(warehouse.display().to_string()).threads(args.threads());
    let mut session = Warehouse::open(config).await?.session();
    let mut lines = Vec::new();
    println!("\nrunning");
    for query in args.queries() {
        let path = format!("{}/benches/tpch/q{query:02}.sql", env!("CARGO_MANIFEST_DIR"));
        let sql = std::fs::read_to_string(path)?;
        let sql = sql.trim_end().trim_end_matches(';');
        let line = measure(query, sql, args.runs, &mut session, peers).await;
        let seconds = |value: Option<f64>| value.map_or("-".into(), |s| format!("{s:.3}"));
        let theirs: Vec<String> = line.peers.iter().map(|&value| seconds(value)).collect();
        println!("q{query:02} {} {}", seconds(line.ours), theirs.join(" "));
        lines.push(line);
    }
    Ok(lines)
}

/// Runs one query in turns; who has failed is not asked again. The answers of the first run are
/// compared: ours with DuckDB's, then, where those agree, the other peers' with ours.
async fn measure(
    query: u8,
    sql: &str,
    runs: u16,
    session: &mut Session,
    peers: &mut [Peer<'_>],
) -> Line {
    let (mut ours, batches) = match answer(session, sql).await {
        Ok((seconds, batches)) => (Some(seconds), Ok(batches)),
        Err(error) => (None, Err(error.to_string())),
    };
    let mut first: Vec<Result<peer::Answer>> =
        peers.iter_mut().map(|peer| peer.ask(sql, true)).collect();
    let problem = judge(&batches, peers, &mut first);
    for (peer, answer) in peers.iter().zip(&first) {
        if let Err(error) = answer {
            println!("q{query:02} {}: {error}", peer.engine.name());
        }
    }
    let mut times: Vec<Option<f64>> =
        first.iter().map(|answer| answer.as_ref().ok().map(|a| a.seconds)).collect();
    for _ in 1..runs {
        if let Some(best) = ours {
            ours = answer(session, sql).await.ok().map(|(seconds, _)| seconds.min(best));
        }
        for (peer, time) in peers.iter_mut().zip(&mut times).filter(|(peer, _)| peer.timed) {
            if let Some(best) = *time {
                *time = peer.ask(sql, false).ok().map(|answer| answer.seconds.min(best));
            }
        }
    }
    let timed = peers.iter().zip(times).filter(|(peer, _)| peer.timed);
    Line { query, ours, peers: timed.map(|(_, time)| time).collect(), problem }
}

/// What is wrong with our answer. A peer's that differs from a right one becomes an error.
fn judge(
    ours: &std::result::Result<Vec<RecordBatch>, String>,
    peers: &[Peer],
    answers: &mut [Result<peer::Answer>],
) -> Option<String> {
    let batches = match ours {
        Ok(batches) => batches,
        Err(error) => return Some(error.clone()),
    };
    let oracle = peers.iter().position(|peer| peer.engine == Engine::Duckdb);
    let Some(Ok(expected)) = oracle.map(|index| &answers[index]) else {
        return Some("DuckDB has no answer to check it with".into());
    };
    let problem = check::difference(batches, &expected.rows);
    if problem.is_none() {
        for answer in answers {
            let rows = answer.as_ref().ok().map(|answer| &answer.rows);
            if let Some(difference) = rows.and_then(|rows| check::difference(batches, rows)) {
                *answer = Err(format!("a wrong answer ({difference})").into());
            }
        }
    }
    problem
}

async fn answer(session: &mut Session, sql: &str) -> gotgan::Result<(f64, Vec<RecordBatch>)> {
    let start = Instant::now();
    let rows = session.sql(sql).await?.collect().await?;
    Ok((start.elapsed().as_secs_f64(), rows))
}

fn report(lines: &[Line], peers: &[Peer]) {
    let mut header = vec!["query".to_owned(), "gotgan".to_owned()];
    for peer in peers {
        header.extend([peer.engine.name().to_owned(), "ratio".to_owned()]);
    }
    let mut rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    rows.push(means(lines, peers.len()));
    println!("\nSeconds, best run; ratio = ours / the peer's, so less than 1 is faster\n");
    print_table(&header, &rows);
    println!("\npeak memory of our queries: {:.0} MiB", support::peak_memory("self"));
    for line in lines {
        if let Some(problem) = &line.problem {
            println!("q{:02} is WRONG: {problem}", line.query);
        }
    }
}

fn row(line: &Line) -> Vec<String> {
    let mut row = vec![format!("q{:02}", line.query), shown(line.ours, 3)];
    for &peer in &line.peers {
        row.extend([shown(peer, 3), shown(ratio(line, peer), 2)]);
    }
    row
}

/// The last row: geometric means, the ratios' over the queries that both have answered.
fn means(lines: &[Line], n_peers: usize) -> Vec<String> {
    let ours = geometric_mean(lines.iter().filter_map(|line| line.ours));
    let mut row = vec!["geometric mean".to_owned(), shown(ours, 3)];
    for index in 0..n_peers {
        let seconds = geometric_mean(lines.iter().filter_map(|line| line.peers[index]));
        let ratios = lines.iter().filter_map(|line| ratio(line, line.peers[index]));
        row.extend([shown(seconds, 3), shown(geometric_mean(ratios), 2)]);
    }
    row
}

fn ratio(line: &Line, peer: Option<f64>) -> Option<f64> {
    Some(line.ours? / peer?)
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let logs: Vec<f64> = values.map(f64::ln).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}
