//! Scripts: everything is read and loaded, then run in order, and the exit code tells how it went.
//!
//! The first error ends the run unless `--keep-going` asks for the rest. With `-1` one transaction
//! is around everything and any error rolls all of it back. A script that ends inside its own
//! transaction has forgotten something: that is an error, and its changes are rolled back.

use super::command::Lookup;
use super::script::{self, Loaded, Loader};
use super::settings::Settings;
use super::shell::Shell;
use super::{FAILURE, Flow, SUCCESS, Stop, report};
use crate::error::{Error, ErrorKind};

/// Runs what `settings` ask for; gives the exit code.
pub(crate) async fn main(settings: Settings) -> u8 {
    match run(settings).await {
        Ok(code) | Err(Stop::Reported(code) | Stop::Quit(code)) => code,
        Err(Stop::ClosedPipe) => SUCCESS,
        Err(Stop::Error(error)) => {
            report::error(&error, None);
            FAILURE
        }
    }
}

async fn run(mut settings: Settings) -> Flow<u8> {
    let scripts = load(&mut settings)?;
    let single = settings.single_transaction;
    let mut shell = Shell::open(settings).await?;
    let result = if single {
        in_transaction(&mut shell, &scripts).await
    } else {
        all(&mut shell, &scripts).await
    };
    let closed = shell.sink.close();
    result?;
    closed?;
    Ok(if shell.failed { FAILURE } else { SUCCESS })
}

/// Reads and parses every input before the first one runs.
fn load(settings: &mut Settings) -> Flow<Vec<Loaded>> {
    let safe = settings.warehouse.safe;
    let mut loader = Loader { variables: &mut settings.variables, lookup: Lookup::Exact, safe };
    let inputs = settings.first.iter().chain(&settings.inputs);
    let scripts: Vec<Loaded> =
        inputs.map(|input| loader.load(script::read(input)?)).collect::<Flow<_>>()?;
    if settings.single_transaction
        && let Some((source, statement)) = scripts.iter().find_map(Loaded::transaction_control)
    {
        let error = Error::new(ErrorKind::Invalid, "-1 is one transaction around everything")
            .with_label("begins or ends another one")
            .with_help("remove this statement, or run without -1")
            .with_span(statement.span());
        report::error(&error, Some(source));
        return Err(Stop::Reported(FAILURE));
    }
    Ok(scripts)
}

async fn all(shell: &mut Shell, scripts: &[Loaded]) -> Flow {
    let mut result = Ok(());
    for script in scripts {
        result = shell.run(script).await;
        if result.is_err() {
            break;
        }
    }
    if shell.session.in_transaction() {
        // Not left to the end of the process: files in an object store take a while to delete.
        shell.session.sql("ROLLBACK").await?;
        result?;
        let error = Error::invalid("the script ends inside a transaction: it was rolled back")
            .with_help("end it with COMMIT, or leave BEGIN out and run with -1");
        return Err(error.into());
    }
    result
}

/// `.exit 0` in the middle is a chosen end and commits; everything else that stops rolls back.
async fn in_transaction(shell: &mut Shell, scripts: &[Loaded]) -> Flow {
    shell.session.sql("BEGIN").await?;
    let mut result = Ok(());
    for script in scripts {
        result = shell.run(script).await;
        if result.is_err() {
            break;
        }
    }
    if matches!(result, Ok(()) | Err(Stop::Quit(SUCCESS))) {
        shell.session.sql("COMMIT").await?;
    } else if shell.session.in_transaction() {
        shell.session.sql("ROLLBACK").await?;
    }
    result
}
