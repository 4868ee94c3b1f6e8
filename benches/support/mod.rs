//! What the benchmarks share: places, child processes, Python packages, tables of text.

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the benchmarks keep their data: `<target>/bench`.
pub(crate) fn directory() -> Result<PathBuf> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = scratch.parent().unwrap_or(scratch).join("bench");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The real binary.
pub(crate) fn gotgan() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gotgan"))
}

/// Runs a process to its end and looks at its memory every `poll`. The seconds it took and its
/// peak resident memory in MiB, which is 0 where `/proc` does not tell.
pub(crate) fn watched(command: &mut Command, poll: Duration) -> Result<(f64, f64)> {
    let start = Instant::now();
    let mut child = quiet(command).spawn()?;
    let mut peak_mib: f64 = 0.0;
    loop {
        peak_mib = peak_mib.max(peak_memory(&child.id().to_string()));
        if let Some(status) = child.try_wait()? {
            let seconds = start.elapsed().as_secs_f64();
            return match status.success() {
                true => Ok((seconds, peak_mib)),
                false => Err(failed(command, child.stderr.take())),
            };
        }
        std::thread::sleep(poll);
    }
}

/// Runs a process to its end; the seconds it took.
pub(crate) fn timed(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let mut child = quiet(command).spawn()?;
    let status = child.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    if status.success() { Ok(seconds) } else { Err(failed(command, child.stderr.take())) }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped())
}

fn failed(command: &Command, stderr: Option<impl Read>) -> Box<dyn Error> {
    let mut text = String::new();
    if let Some(mut stderr) = stderr {
        let _ = stderr.read_to_string(&mut text);
    }
    format!("{command:?} failed:\n{text}").into()
}

/// The peak resident memory, in MiB, of a process by its id, or of `self`.
pub(crate) fn peak_memory(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// The Python of a virtual environment of the benchmarks' own, one for each set of packages: not
/// all versions can be had beside each other.
pub(crate) fn python(packages: &[&str]) -> Result<PathBuf> {
    let name = packages.first().map_or("python".into(), |package| package.replace("==", "-"));
    let venv = directory()?.join("python").join(name);
    let python = venv.join("bin/python");
    if !python.exists() {
        let venv = venv.display().to_string();
        timed(Command::new("python3").args(["-m", "venv", &venv]))?;
    }
    let missing: Vec<&str> =
        packages.iter().copied().filter(|package| !is_installed(&python, package)).collect();
    if !missing.is_empty() {
        println!("installing {}", missing.join(" "));
        let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check"];
        timed(Command::new(&python).args(pip).args(missing))?;
    }
    Ok(python)
}

fn is_installed(python: &Path, package: &str) -> bool {
    let (name, version) = package.split_once("==").unwrap_or((package, ""));
    let script = format!("import importlib.metadata as m; print(m.version('{name}'), end='')");
    let output = Command::new(python).args(["-c", &script]).output();
    output.is_ok_and(|output| {
        output.status.success() && (version.is_empty() || output.stdout == version.as_bytes())
    })
}

/// Prints rows under a header, the first column to the left and the others to the right.
pub(crate) fn print_table(header: &[String], rows: &[Vec<String>]) {
    let lines = || std::iter::once(header).chain(rows.iter().map(Vec::as_slice));
    let width = |column: usize| {
        lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    for (index, line) in lines().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        if index == 0 {
            let rules = widths.iter().enumerate().map(|(column, &width)| {
                let end = if column == 0 { "-" } else { ":" };
                format!("{}{end}", "-".repeat(width + 1))
            });
            println!("|{}|", rules.collect::<Vec<_>>().join("|"));
        }
    }
}
