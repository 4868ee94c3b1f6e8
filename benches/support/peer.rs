//! The engines to compare with: each a long-lived Python process that is asked line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{self, Result};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/peers.py");

/// An engine that answers the same queries, each over its own storage of the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// DuckDB on Parquet files.
    Duckdb,
    /// DuckDB on DuckLake, with a catalog in SQLite. The extension is one of an earlier DuckDB.
    DuckdbLake,
    /// DuckDB on its own tables.
    DuckdbNative,
    /// Polars, streaming, on Parquet files.
    Polars,
    /// DataFusion as it comes, on Parquet files.
    Datafusion,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Duckdb => "duckdb",
            Self::DuckdbLake => "duckdb-lake",
            Self::DuckdbNative => "duckdb-native",
            Self::Polars => "polars",
            Self::Datafusion => "datafusion",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Duckdb | Self::DuckdbNative => &["duckdb==2.0.1", "pyarrow"],
            Self::DuckdbLake => &LAKE,
            Self::Polars => &["polars==2.1.0", "pyarrow"],
            Self::Datafusion => &["datafusion==55.0.0", "pyarrow"],
        }
    }
}

const LAKE: [&str; 6] = [
    "duckdb==1.5.5",
    "duckdb-extensions==1.5.5",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-postgres-scanner==1.5.5",
    "duckdb-extension-sqlite-scanner==1.5.5",
    "pyarrow",
];

/// What a peer is started with.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Where the Parquet files are, and storage made of them.
    pub(crate) files: PathBuf,
    pub(crate) threads: usize,
    /// A lake to attach, such as `sqlite:path`, instead of the files.
    pub(crate) lake: Option<String>,
    /// After this an answer counts as missing.
    pub(crate) timeout: Duration,
}

/// A peer's answer.
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    /// The rows, where they were asked for.
    pub(crate) rows: Vec<Vec<Value>>,
}

/// An engine in a process, which is started when it is asked and again after it died.
pub(crate) struct Peer {
    pub(crate) engine: Engine,
    place: Place,
    python: PathBuf,
    process: Option<Process>,
}

struct Process {
    child: Child,
    lines: Receiver<String>,
    /// What it says beside its answers.
    log: PathBuf,
}

impl Peer {
    /// Installs what it needs, which happens once.
    pub(crate) fn new(engine: Engine, place: &Place) -> Result<Self> {
        let python = support::python(engine.packages())?;
        Ok(Self { engine, place: place.clone(), python, process: None })
    }

    /// Runs a query; an error is the engine's own, its death, or its taking too long.
    pub(crate) fn ask(&mut self, sql: &str, values: bool) -> Result<Answer> {
        if self.process.is_none() {
            self.process = Some(self.start()?);
        }
        let timeout = self.place.timeout;
        let reply = match &mut self.process {
            Some(process) => process.ask(&json!({ "sql": sql, "values": values }), timeout),
            None => return Err("the peer has not started".into()),
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.process = None;
                return Err(error);
            }
        };
        if let Some(error) = reply["error"].as_str() {
            return Err(error.lines().next().unwrap_or_default().into());
        }
        let seconds = reply["seconds"].as_f64().ok_or("an answer without seconds")?;
        let rows = if values { serde_json::from_value(reply["rows"].clone())? } else { vec![] };
        Ok(Answer { seconds, rows })
    }

    /// Forgets everything that is kept in memory; the next question starts anew.
    pub(crate) fn restart(&mut self) {
        self.process = None;
    }

    /// The peak resident memory, in MiB, of the process that runs.
    pub(crate) fn peak_memory(&self) -> f64 {
        let process = self.process.as_ref();
        process.map_or(0.0, |process| support::peak_memory(&process.child.id().to_string()))
    }

    fn start(&self) -> Result<Process> {
        let threads = self.place.threads.to_string();
        let log = self.place.files.join(format!("{}.log", self.engine.name()));
        let mut child = Command::new(&self.python)
            .args([SCRIPT, self.engine.name()])
            .arg(&self.place.files)
            .arg(&threads)
            .arg(self.place.lake.as_deref().unwrap_or_default())
            .env("POLARS_MAX_THREADS", &threads)
            .env("TOKIO_WORKER_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the peer has no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Process { child, lines, log })
    }
}

impl Process {
    fn ask(&mut self, request: &Value, timeout: Duration) -> Result<Value> {
        let stdin = self.child.stdin.as_mut().ok_or("the peer has no input")?;
        // Where it has died already, what it said tells more than that it cannot be written to.
        let asked = writeln!(stdin, "{request}");
        match self.lines.recv_timeout(timeout) {
            Ok(line) => Ok(asked.and_then(|()| Ok(serde_json::from_str(&line)?))?),
            Err(RecvTimeoutError::Timeout) => Err("it took too long".into()),
            Err(RecvTimeoutError::Disconnected) => {
                let said = std::fs::read_to_string(&self.log)?;
                let last = said.trim_end().lines().last().unwrap_or_default();
                Err(format!("it died: {last}").into())
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
