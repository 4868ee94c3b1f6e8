//! The interactive shell: read, run, show, until Ctrl-D.
//!
//! Ctrl-C clears the line at the prompt and cancels a running statement; it never leaves. Leaving
//! with an open transaction needs a second try, because its changes are lost then.

use super::command::Lookup;
use super::editor::{Editor, Input};
use super::script::{self, Loader};
use super::settings::Settings;
use super::shell::Shell;
use super::{FAILURE, Flow, SUCCESS, Stop, history, report};
use crate::Source;

/// The prompt outside a transaction.
const PROMPT: &str = "gotgan> ";

/// psql's mark for an open transaction.
const PROMPT_IN_TRANSACTION: &str = "gotgan*> ";

/// Runs the shell; gives the exit code.
pub(crate) async fn main(settings: Settings) -> u8 {
    match run(settings).await {
        Ok(()) | Err(Stop::ClosedPipe) => SUCCESS,
        Err(Stop::Quit(code) | Stop::Reported(code)) => code,
        Err(Stop::Error(error)) => {
            report::error(&error, None);
            FAILURE
        }
    }
}

async fn run(settings: Settings) -> Flow {
    let first = settings.first.clone();
    let mut shell = Shell::open(settings).await?;
    for input in &first {
        let mut loader = Loader {
            variables: &mut shell.variables,
            lookup: Lookup::Exact,
            safe: shell.opened.safe,
        };
        let loaded = loader.load(script::read(input)?)?;
        survive(shell.run(&loaded).await)?;
    }
    if !shell.quiet {
        banner(&mut shell)?;
    }
    history::trim();
    let mut editor = Editor::new(history::load())?;
    let result = converse(&mut shell, &mut editor).await;
    if shell.session.in_transaction() {
        shell.session.sql("ROLLBACK").await?;
    }
    shell.sink.close()?;
    result
}

fn banner(shell: &mut Shell) -> Flow {
    let version = env!("CARGO_PKG_VERSION");
    let location = shell.location();
    let out = shell.sink.writer()?;
    writeln!(out, "gotgan {version}, {location}")?;
    if shell.warehouse.is_temporary() {
        let out = shell.sink.writer()?;
        writeln!(out, "What you create here is gone at the end; .open PATH opens a lasting one.")?;
    }
    let out = shell.sink.writer()?;
    writeln!(out, "Type .help for commands, .quit to leave; end SQL with a semicolon.")?;
    Ok(out.flush()?)
}

async fn converse(shell: &mut Shell, editor: &mut Editor) -> Flow {
    let mut warned = false;
    refresh(shell, editor).await;
    loop {
        editor.set_colored(shell.highlight);
        let open = shell.session.in_transaction();
        let prompt = if open { PROMPT_IN_TRANSACTION } else { PROMPT };
        let draft = shell.draft.take().unwrap_or_default();
        let result = match editor.read(prompt, &draft)? {
            Input::Text(text) => input(shell, editor, text.trim()).await,
            Input::Cleared => Ok(()),
            Input::End => Err(Stop::Quit(SUCCESS)),
        };
        match result {
            Err(Stop::Quit(_)) if shell.session.in_transaction() && !warned => {
                warned = true;
                report::warning("a transaction is open: COMMIT it, or leave again to roll back");
            }
            result => {
                survive(result)?;
                warned &= shell.session.in_transaction();
            }
        }
    }
}

/// An error that was reported does not end the shell.
fn survive(result: Flow) -> Flow {
    match result {
        Err(Stop::Reported(_)) => Ok(()),
        result => result,
    }
}

async fn input(shell: &mut Shell, editor: &mut Editor, text: &str) -> Flow {
    if text.is_empty() {
        return Ok(());
    }
    editor.remember(text);
    if !history::holds_secret(text) {
        history::append(text);
    }
    if !text.starts_with(['.', '\\']) {
        text.clone_into(&mut shell.last);
    }
    shell.forget_interrupt();
    let source = Source { name: "input".into(), text: text.to_owned() };
    let result = shell.run_text(source, Lookup::Prefix).await;
    shell.sink.writer()?.flush()?;
    refresh(shell, editor).await;
    result
}

/// Completion knows what there is now. Without names it still knows the language.
async fn refresh(shell: &Shell, editor: &mut Editor) {
    if let Ok(names) = shell.session.names().await {
        editor.set_names(names);
    }
}
