//! The command line: arguments, scripts, and the interactive shell.
//!
//! The only part that prints, reads the environment, or knows about terminals; everything it does
//! to a warehouse goes through the public library API. From top to bottom: `args` and `settings`
//! (what was asked), `run` and `repl` (the two ways to work), `shell` (what both share), `script`
//! (text to steps), `command` (the dot commands), `output` and `progress` (what is shown).

mod args;
mod command;
mod complete;
mod editor;
mod highlight;
mod history;
mod output;
mod progress;
mod repl;
mod report;
mod run;
mod script;
mod settings;
mod shell;

use std::io;
use std::process::ExitCode;

use arrow::array::Array;

use crate::error::{Error, ErrorKind, Result};
use settings::{Mode, Settings};

/// Everything went well.
const SUCCESS: u8 = 0;
/// A statement or a command failed.
const FAILURE: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;
/// Ctrl-C ended a script.
const INTERRUPTED: u8 = 130;

/// Why work stops before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An error that nobody has seen yet.
    Error(Error),
    /// An error that was reported, with the exit code it leads to.
    Reported(u8),
    /// `.quit` and `.exit`.
    Quit(u8),
    /// Nobody reads the output any more (`| head`).
    ClosedPipe,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        let message = format!("cannot write the output: {error}");
        Self::Error(Error::new(ErrorKind::Storage, message).with_source(error))
    }
}

/// The values of a column as the shell shows them, `None` for NULL.
pub fn texts(column: &dyn Array) -> Result<Vec<Option<String>>> {
    let cells = output::value::Cells::new(column)?;
    Ok((0..column.len()).map(|row| cells.text(row)).collect())
}

/// What a step of the shell gives.
pub(crate) type Flow<T = ()> = std::result::Result<T, Stop>;

/// The program: the process's arguments in, its exit code out.
pub fn main() -> ExitCode {
    // Long expressions are deep trees; a roomy stack costs only the pages it uses.
    let work = std::thread::Builder::new().stack_size(STACK).spawn(run_process);
    match work.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        _ => ExitCode::from(FAILURE),
    }
}

/// Bytes of stack for planning.
const STACK: usize = 256 << 20;

fn run_process() -> ExitCode {
    let settings = match Settings::from_process() {
        Ok(settings) => settings,
        Err(usage) => return usage.print(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report::error(&Error::internal(format!("cannot start threads: {error}")), None);
            return ExitCode::from(FAILURE);
        }
    };
    let mode = settings.mode;
    let code = runtime.block_on(async {
        match mode {
            Mode::Script => run::main(settings).await,
            Mode::Shell => repl::main(settings).await,
        }
    });
    // Cancelled work ends at its next pause and deletes its files; it is not waited for longer.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ExitCode::from(code)
}
