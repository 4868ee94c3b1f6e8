//! The queries of a benchmark, run by a warehouse and by its peers in turns, and checked.
//!
//! Hot: every query is run once to warm up, which is when answers are compared, then in turns (ours,
//! a peer, ours, …); the best run counts. Cold: every run is the first of a new session or process,
//! after the system has dropped what it kept of files.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use clap::Args;
use gotgan::{Config, Session, Warehouse};

use crate::check;
use crate::peer::{Answer, Engine, Peer, Place};
use crate::support::{self, Result, print_table};

/// What can be said on the command line.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Engines to compare with
    #[arg(long, value_enum, value_delimiter = ',')]
    vs: Vec<Engine>,

    /// Runs of each query, beside the one that is checked; the best counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// Drop what is kept of files before every run, and start it anew
    #[arg(long)]
    cold: bool,

    /// Threads of every engine; the machine's by default
    #[arg(long)]
    threads: Option<usize>,

    /// A limit of our memory; four fifths of the machine's by default
    #[arg(long)]
    memory_mib: Option<usize>,

    /// Settings of ours, such as gotgan.join_order=false
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Seconds after which a peer's query counts as not answered
    #[arg(long, default_value_t = 300)]
    timeout: u64,

    /// Keep the warehouse of an earlier run instead of loading it
    #[arg(long)]
    reuse: bool,

    /// What cargo says when it runs a benchmark
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// A query of the benchmark.
pub(crate) struct Query {
    pub(crate) name: String,
    pub(crate) sql: String,
}

/// One query's results.
struct Line<'a> {
    name: &'a str,
    ours: Option<f64>,
    /// By peer, in order.
    peers: Vec<Option<f64>>,
    /// What is wrong with our answer.
    problem: Option<String>,
}

/// Loads the tables from their files, runs the queries, prints what came of it. A wrong answer is
/// exit code 1.
pub(crate) fn run(
    options: &Options,
    files: &Path,
    tables: &[&str],
    queries: &[Query],
) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads())
        .enable_all()
        .build()?;
    let is_right = runtime.block_on(async {
        let mut versus = Versus::new(options, files, tables)?;
        let mut lines = Vec::new();
        println!("\nrunning");
        for query in queries {
            let line = versus.measure(query).await?;
            let times = [line.ours].into_iter().chain(line.peers.iter().copied());
            let times: Vec<String> = times.map(|time| shown(time, 3)).collect();
            println!("{} {}", query.name, times.join(" "));
            lines.push(line);
        }
        versus.report(&lines);
        Ok::<_, Box<dyn std::error::Error>>(lines.iter().all(|line| line.problem.is_none()))
    })?;
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
    }
}

/// A warehouse and its peers.
struct Versus<'a> {
    options: &'a Options,
    config: Config,
    session: Option<Session>,
    peers: Vec<Peer>,
    /// Their peak memory in MiB.
    peaks: Vec<f64>,
    /// Who says what is right, if it is not one of the peers.
    oracle: Option<Peer>,
}

impl<'a> Versus<'a> {
    fn new(options: &'a Options, files: &Path, tables: &[&str]) -> Result<Self> {
        let warehouse = files.join("gotgan.wh");
        if !options.reuse || !warehouse.exists() {
            load(options, files, tables, &warehouse)?;
        }
        let place = Place {
            files: files.to_owned(),
            threads: options.threads(),
            lake: None,
            timeout: Duration::from_secs(options.timeout),
        };
        let peers = options.vs.iter().map(|&engine| Peer::new(engine, &place));
        let oracle = match options.vs.contains(&Engine::Duckdb) {
            true => None,
            false => Some(Peer::new(Engine::Duckdb, &place)?),
        };
        let mut config = Config::new(warehouse.display().to_string()).threads(options.threads());
        if let Some(mib) = options.memory_mib {
            config = config.memory_limit(mib << 20);
        }
        let peers = peers.collect::<Result<Vec<_>>>()?;
        let peaks = vec![0.0; peers.len()];
        Ok(Self { options, config, session: None, peers, peaks, oracle })
    }

    /// Runs one query; who has failed is not asked again.
    async fn measure<'q>(&mut self, query: &'q Query) -> Result<Line<'q>> {
        let (name, sql) = (query.name.as_str(), query.sql.as_str());
        let mut ours = self.answer(sql).await;
        let mut theirs = Vec::new();
        for peer in &mut self.peers {
            if self.options.cold {
                forget(Some(peer))?;
            }
            theirs.push(peer.ask(sql, true));
        }
        let problem = self.judge(sql, &ours, &mut theirs);
        for (peer, answer) in self.peers.iter().zip(&theirs) {
            if let Err(error) = answer {
                println!("{name} {}: {error}", peer.engine.name());
            }
        }
        // Cold, the first run is as good as any other; hot, it only warms up.
        let first = |seconds: f64| if self.options.cold { seconds } else { f64::INFINITY };
        let mut best = ours.as_ref().ok().map(|(seconds, _)| first(*seconds));
        let seconds = |answer: &Result<Answer>| answer.as_ref().ok().map(|a| first(a.seconds));
        let mut bests: Vec<Option<f64>> = theirs.iter().map(seconds).collect();
        for _ in 0..self.options.runs {
            if let Some(before) = best {
                ours = self.answer(sql).await;
                best = ours.as_ref().ok().map(|(seconds, _)| seconds.min(before));
            }
            for (peer, best) in self.peers.iter_mut().zip(&mut bests) {
                let Some(before) = *best else { continue };
                if self.options.cold {
                    forget(Some(peer))?;
                }
                *best = peer.ask(sql, false).ok().map(|answer| answer.seconds.min(before));
            }
        }
        for (peer, peak) in self.peers.iter().zip(&mut self.peaks) {
            *peak = peer.peak_memory().max(*peak);
        }
        Ok(Line { name, ours: best, peers: bests, problem })
    }

    async fn answer(&mut self, sql: &str) -> Result<(f64, Vec<RecordBatch>)> {
        if self.options.cold {
            self.session = None;
            forget(None)?;
        }
        let start = Instant::now();
        let session = match self.session.take() {
            Some(session) => session,
            None => self.open().await?,
        };
        let session = self.session.insert(session);
        let rows = session.sql(sql).await?.collect().await?;
        Ok((start.elapsed().as_secs_f64(), rows))
    }

    async fn open(&self) -> Result<Session> {
        let mut session = Warehouse::open(self.config.clone()).await?.session();
        for setting in &self.options.set {
            session.sql(&format!("SET {setting}")).await?;
        }
        Ok(session)
    }

    /// What is wrong with our answer. A peer's that differs from a right one becomes an error.
    fn judge(
        &mut self,
        sql: &str,
        ours: &Result<(f64, Vec<RecordBatch>)>,
        answers: &mut [Result<Answer>],
    ) -> Option<String> {
        let batches = match ours {
            Ok((_, batches)) => batches,
            Err(error) => return Some(error.to_string()),
        };
        let asked = self.oracle.as_mut().map(|oracle| oracle.ask(sql, true));
        let duckdb = self.peers.iter().position(|peer| peer.engine == Engine::Duckdb);
        let expected = match (&asked, duckdb) {
            (Some(Ok(answer)), _) => answer,
            (_, Some(index)) if answers[index].is_ok() => answers[index].as_ref().ok()?,
            _ => return Some("DuckDB has no answer to check it with".into()),
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

    fn report(&self, lines: &[Line]) {
        let mut header = vec!["query".to_owned(), "gotgan".to_owned()];
        for peer in &self.peers {
            header.extend([peer.engine.name().to_owned(), "ratio".to_owned()]);
        }
        let mut rows: Vec<Vec<String>> = lines.iter().map(row).collect();
        rows.push(means(lines, self.peers.len()));
        let kind = if self.options.cold { "cold" } else { "hot" };
        println!(
            "\nSeconds, {kind}, best run; ratio = ours / the peer's, so less than 1 is faster\n"
        );
        print_table(&header, &rows);
        let ours = ("gotgan", support::peak_memory("self"));
        let theirs = self.peers.iter().zip(&self.peaks);
        let theirs = theirs.map(|(peer, peak)| (peer.engine.name(), *peak));
        let peaks: Vec<Vec<String>> = std::iter::once(ours)
            .chain(theirs)
            .map(|(name, peak)| vec![name.to_owned(), format!("{peak:.0}")])
            .collect();
        println!("\nPeak memory over all queries\n");
        print_table(&["engine", "MiB"].map(String::from), &peaks);
        for line in lines {
            if let Some(problem) = &line.problem {
                println!("{} is WRONG: {problem}", line.name);
            }
        }
    }
}

/// Loads every table through the binary.
fn load(options: &Options, files: &Path, tables: &[&str], warehouse: &Path) -> Result<()> {
    if warehouse.exists() {
        std::fs::remove_dir_all(warehouse)?;
    }
    let mut rows = Vec::new();
    for table in tables {
        let path = files.join(format!("{table}.parquet"));
        let sql = format!("CREATE OR REPLACE TABLE {table} AS SELECT * FROM '{}'", path.display());
        let threads = options.threads().to_string();
        let mut command = support::gotgan();
        command.arg(warehouse).args(["--threads", &threads, "-c", &sql]);
        let (seconds, peak) = support::watched(&mut command, Duration::from_millis(5))?;
        let megabytes = std::fs::metadata(&path)?.len() as f64 / 1e6;
        rows.push(vec![
            (*table).to_owned(),
            format!("{megabytes:.1}"),
            format!("{seconds:.3}"),
            format!("{:.1}", megabytes / seconds),
            format!("{peak:.0}"),
        ]);
    }
    println!("\nLoading, as whole processes; MB are those of the Parquet file read\n");
    print_table(&["table", "MB", "seconds", "MB/s", "peak MiB"].map(String::from), &rows);
    Ok(())
}

/// Has the system drop what it keeps of files, and a peer what it keeps of anything.
fn forget(peer: Option<&mut Peer>) -> Result<()> {
    if let Some(peer) = peer {
        peer.restart();
    }
    support::timed(&mut Command::new("sync"))?;
    std::fs::write("/proc/sys/vm/drop_caches", "3").map_err(|error| {
        format!("cold runs need the right to drop the system's caches: {error}")
    })?;
    Ok(())
}

fn row(line: &Line) -> Vec<String> {
    let mut row = vec![line.name.to_owned(), shown(line.ours, 3)];
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
