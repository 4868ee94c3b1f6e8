//! Starting: whole processes, in turns with DuckDB's shell.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{self, Result, print_table};
use crate::{best_and_median, milliseconds};

/// `SELECT 1` in a warehouse, in a temporary one and in DuckDB.
pub(crate) fn measure(warehouse: &Path, runs: u16) -> Result<()> {
    support::timed(query(warehouse, "CREATE TABLE t AS SELECT 1 AS id").arg("-q"))?;
    let mut temporary = support::gotgan();
    temporary.args(["-c", "SELECT 1"]);
    let mut commands = vec![
        ("gotgan, a warehouse", query(warehouse, "SELECT 1")),
        ("gotgan, a temporary warehouse", temporary),
    ];
    match shell() {
        Ok(path) => {
            let mut command = Command::new(path);
            command.args(["-c", "SELECT 1"]);
            commands.push(("duckdb, in memory", command));
        }
        Err(error) => println!("no duckdb to compare with: {error}"),
    }
    processes("SELECT 1 as a whole process", &mut commands, runs)
}

/// Runs commands in turns. Memory is watched in runs of its own, which are not timed.
pub(crate) fn processes(title: &str, commands: &mut [(&str, Command)], runs: u16) -> Result<()> {
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

/// The program with one statement.
pub(crate) fn query(warehouse: &Path, sql: &str) -> Command {
    let mut command = support::gotgan();
    command.arg(warehouse).args(["-c", sql]);
    command
}

/// DuckDB's shell: the one on the PATH, else the one of the Python package `duckdb-cli`. A script
/// that starts it does not count.
pub(crate) fn shell() -> Result<PathBuf> {
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
