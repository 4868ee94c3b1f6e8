//! The commands that reach beyond the warehouse: files, programs, the history, the end.

use std::env;
use std::process::{Command as Program, Stdio};

use futures::future::LocalBoxFuture;

use super::{Call, Lookup, expand_home};
use crate::Source;
use crate::cli::output::Target;
use crate::cli::shell::Shell;
use crate::cli::{Flow, SUCCESS, Stop, history as typed};
use crate::error::{Error, ErrorKind};

pub(super) fn quit(_shell: &mut Shell, call: &Call) -> Flow {
    let code = match call.arg() {
        None => SUCCESS,
        Some(code) => code.parse().map_err(|_| {
            Error::invalid(format!("\"{code}\" is not an exit code, a number from 0 to 255"))
        })?,
    };
    Err(Stop::Quit(code))
}

pub(super) fn open<'a>(shell: &'a mut Shell, call: &'a Call) -> LocalBoxFuture<'a, Flow> {
    Box::pin(shell.reopen(call.arg().map(expand_home)))
}

pub(super) fn output(shell: &mut Shell, call: &Call) -> Flow {
    let target = match file(call) {
        Some(name) => Target::open(&name)?,
        None => Target::stdout(),
    };
    Ok(shell.sink.set_main(target)?)
}

pub(super) fn once(shell: &mut Shell, call: &Call) -> Flow {
    if let Some(name) = file(call) {
        shell.sink.set_once(Target::open(&name)?);
    }
    Ok(())
}

/// The file, or everything after `|`.
fn file(call: &Call) -> Option<String> {
    if call.rest.starts_with('|') { Some(call.rest.clone()) } else { call.arg().map(expand_home) }
}

pub(super) fn cd(_shell: &mut Shell, call: &Call) -> Flow {
    let directory = call.arg().map_or_else(|| expand_home("~/"), expand_home);
    env::set_current_dir(&directory).map_err(|error| {
        let message = format!("cannot change to \"{directory}\": {error}");
        Error::new(ErrorKind::Storage, message).with_source(error).into()
    })
}

pub(super) fn shell(shell: &mut Shell, call: &Call) -> Flow {
    shell.sink.writer()?.flush()?;
    let status = Program::new("sh").arg("-c").arg(&call.rest).stdin(Stdio::inherit()).status();
    let status = status.map_err(|error| cannot_run("sh", error))?;
    shell.forget_interrupt();
    if status.success() {
        return Ok(());
    }
    Err(Error::invalid(format!("the program failed: {status}")).into())
}

fn cannot_run(program: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("cannot run \"{program}\": {error}")).with_source(error)
}

/// Opens the last statement, or a file, in the editor; the result is the next input line.
pub(super) fn edit(shell: &mut Shell, call: &Call) -> Flow {
    let failed = |error: std::io::Error| {
        let message = format!("cannot edit: {error}");
        Error::new(ErrorKind::Storage, message).with_source(error)
    };
    let scratch = tempfile::Builder::new().suffix(".sql").tempfile().map_err(failed)?;
    let path = match call.arg() {
        Some(path) => expand_home(path).into(),
        None => {
            std::fs::write(scratch.path(), &shell.last).map_err(failed)?;
            scratch.path().to_owned()
        }
    };
    let editor = ["GOTGAN_EDITOR", "EDITOR", "VISUAL"].into_iter().find_map(env::var_os);
    let editor = editor.and_then(|editor| editor.into_string().ok()).unwrap_or("vi".into());
    // The editor may be a command with arguments, such as `code --wait`.
    let script = format!("{editor} \"$1\"");
    let status = Program::new("sh").arg("-c").arg(script).arg("sh").arg(&path).status();
    shell.forget_interrupt();
    if status.map_err(|error| cannot_run(&editor, error))?.success() {
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        shell.draft = Some(text.trim_end().to_owned());
    }
    Ok(())
}

/// Repeats the last statement until Ctrl-C.
pub(super) fn watch<'a>(shell: &'a mut Shell, call: &'a Call) -> LocalBoxFuture<'a, Flow> {
    Box::pin(async move {
        let seconds =
            match call.arg() {
                None => 2.0,
                Some(text) => text.parse::<f64>().ok().filter(|s| *s > 0.0).ok_or_else(|| {
                    Error::invalid(format!("\"{text}\" is not a number of seconds"))
                })?,
            };
        if shell.last.is_empty() {
            return Err(Error::invalid("there is no last statement to run again").into());
        }
        loop {
            let source = Source { name: "input".into(), text: shell.last.clone() };
            shell.run_text(source, Lookup::Exact).await?;
            if !shell.sleep(seconds).await {
                return Ok(());
            }
        }
    })
}

pub(super) fn history(shell: &mut Shell, call: &Call) -> Flow {
    let count = match call.arg() {
        None => usize::MAX,
        Some(text) => {
            text.parse().map_err(|_| Error::invalid(format!("\"{text}\" is not a number")))?
        }
    };
    let entries = typed::load();
    let out = shell.sink.writer()?;
    for entry in &entries[entries.len().saturating_sub(count)..] {
        writeln!(out, "{entry}")?;
    }
    Ok(())
}
