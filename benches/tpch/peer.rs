//! The engines to compare with: each a long-lived Python process that is asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{self, Result};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");

/// An engine that answers the same queries over the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    Duckdb,
    Polars,
    Datafusion,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Duckdb => "duckdb",
            Self::Polars => "polars",
            Self::Datafusion => "datafusion",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Duckdb => "duckdb==1.5.5",
            other => other.name(),
        }
    }
}

/// What it takes to start a peer.
pub(crate) struct Place {
    pub(crate) python: PathBuf,
    pub(crate) files: PathBuf,
    pub(crate) threads: usize,
    pub(crate) timeout: Duration,
}

impl Place {
    pub(crate) fn new(
        engines: &[Engine],
        files: &Path,
        threads: usize,
        timeout: u64,
    ) -> Result<Self> {
        let mut packages: Vec<&str> = engines.iter().map(|engine| engine.package()).collect();
        packages.push("pyarrow");
        let python = support::python(&packages)?;
        Ok(Self { python, files: files.to_owned(), threads, timeout: Duration::from_secs(timeout) })
    }
}

/// A peer's answer.
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    /// The rows, where they were asked for.
    pub(crate) rows: Vec<Vec<Value>>,
}

/// An engine in a process, which is started when it is asked and again after it died.
pub(crate) struct Peer<'a> {
    pub(crate) engine: Engine,
    /// Whether its times are shown; if not it only serves to check answers.
    pub(crate) timed: bool,
    place: &'a Place,
    process: Option<Process>,
}

struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(engine: Engine, timed: bool, place: &'a Place) -> Self {
        Self { engine, timed, place, process: None }
    }

    /// Runs a query; an error is the engine's own, its death, or its taking too long.
    pub(crate) fn ask(&mut self, sql: &str, values: bool) -> Result<Answer> {
        let timeout = self.place.timeout;
        let process = match self.process.take() {
            Some(process) => process,
            None => Process::start(self.engine, self.place)?,
        };
        let process = self.process.insert(process);
        let Ok(reply) = process.ask(&json!({ "sql": sql, "values": values }), timeout) else {
            self.process = None;
            return Err("it died, or took too long".into());
        };
        if let Some(error) = reply["error"].as_str() {
            return Err(error.lines().next().unwrap_or_default().into());
        }
        let seconds = reply["seconds"].as_f64().ok_or("an answer without seconds")?;
        let rows = if values { serde_json::from_value(reply["rows"].clone())? } else { vec![] };
        Ok(Answer { seconds, rows })
    }
}

impl Process {
    fn start(engine: Engine, place: &Place) -> Result<Self> {
        let threads = place.threads.to_string();
        let mut child = Command::new(&place.python)
            .args([SCRIPT, engine.name()])
            .arg(&place.files)
            .arg(&threads)
            .env("POLARS_MAX_THREADS", &threads)
            .env("TOKIO_WORKER_THREADS", &threads)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
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
        Ok(Self { child, lines })
    }

    fn ask(&mut self, request: &Value, timeout: Duration) -> Result<Value> {
        let stdin = self.child.stdin.as_mut().ok_or("the peer has no input")?;
        writeln!(stdin, "{request}")?;
        Ok(serde_json::from_str(&self.lines.recv_timeout(timeout)?)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
