//! What a script and the interactive shell share: a session, the settings that commands change,
//! and running a step with its output, its time and its interruption.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;

use super::output::{Screen, Sink, Target, View};
use super::progress::Indicator;
use super::script::{Loaded, Loader, Step};
use super::settings::{OnError, Settings, WarehouseSettings};
use super::{FAILURE, Flow, INTERRUPTED, Stop, command, report};
use crate::config::SecretUrl;
use crate::error::{Error, ErrorKind};
use crate::{Outcome, Rows, Session, Source, Statement, Warehouse};

/// The state that statements and commands work on.
pub(crate) struct Shell {
    pub(crate) opened: WarehouseSettings,
    pub(crate) warehouse: Warehouse,
    pub(crate) session: Session,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) view: View,
    pub(crate) sink: Sink,
    pub(crate) on_error: OnError,
    pub(crate) timer: bool,
    pub(crate) echo: bool,
    pub(crate) quiet: bool,
    /// Whether long statements show how far they are.
    pub(crate) progress: bool,
    /// Whether the input line is coloured.
    pub(crate) highlight: bool,
    /// Whether an error was reported and passed over.
    pub(crate) failed: bool,
    /// The last text that ran, for `.edit` and `.watch`.
    pub(crate) last: String,
    /// Text that the next prompt begins with.
    pub(crate) draft: Option<String>,
    interrupt: Arc<Notify>,
}

impl Shell {
    /// Opens the warehouse.
    pub(crate) async fn open(settings: Settings) -> Flow<Self> {
        let warehouse = Warehouse::open(settings.warehouse.config()).await?;
        let target =
            settings.output.as_deref().map_or_else(|| Ok(Target::stdout()), Target::open)?;
        let width: Option<fn() -> usize> =
            if settings.terminal { Some(terminal_width) } else { None };
        Ok(Self {
            session: warehouse.session(),
            warehouse,
            opened: settings.warehouse,
            variables: settings.variables,
            progress: console::user_attended_stderr() && !settings.quiet,
            highlight: settings.view.color,
            view: settings.view,
            sink: Sink::new(target, width),
            on_error: settings.on_error,
            timer: false,
            echo: settings.echo,
            quiet: settings.quiet,
            failed: false,
            last: String::new(),
            draft: None,
            interrupt: listen(),
        })
    }

    /// Opens another warehouse in place of this one.
    pub(crate) async fn reopen(&mut self, location: Option<String>) -> Flow {
        if self.session.in_transaction() {
            return Err(Error::invalid("a transaction is open")
                .with_help("COMMIT or ROLLBACK before opening another warehouse")
                .into());
        }
        let settings = self.opened.elsewhere(location);
        self.warehouse = Warehouse::open(settings.config()).await?;
        self.session = self.warehouse.session();
        self.opened = settings;
        Ok(())
    }

    /// What the warehouse is called to the user: a URL without its password.
    pub(crate) fn location(&self) -> String {
        match &self.opened.location {
            Some(url) if url.contains("://") => SecretUrl(url.clone()).to_string(),
            Some(path) => path.clone(),
            None => "a temporary warehouse".to_owned(),
        }
    }

    /// Loads and runs a text.
    pub(crate) async fn run_text(&mut self, source: Source, lookup: command::Lookup) -> Flow {
        let safe = self.opened.safe;
        let loaded = Loader { variables: &mut self.variables, lookup, safe }.load(source)?;
        self.run(&loaded).await
    }

    /// Runs the steps in order; reports errors with their places.
    pub(crate) async fn run(&mut self, loaded: &Loaded) -> Flow {
        for step in &loaded.steps {
            let result = match step {
                Step::Statement(statement) => self.statement(statement).await,
                Step::Command(call) => Box::pin(call.run(self)).await,
                Step::Script(inner) => Box::pin(self.run(inner)).await,
            };
            match result {
                Err(Stop::Error(error)) => self.fail(&error, &loaded.source)?,
                other => other?,
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &Error, source: &Source) -> Flow {
        report::error(error, Some(source));
        self.failed = true;
        if error.kind() == ErrorKind::Cancelled {
            return Err(Stop::Reported(INTERRUPTED));
        }
        match self.on_error {
            OnError::Stop => Err(Stop::Reported(FAILURE)),
            OnError::KeepGoing => Ok(()),
        }
    }

    async fn statement(&mut self, statement: &Statement) -> Flow {
        if self.echo {
            writeln!(self.sink.writer()?, "{};", statement.text())?;
        }
        let started = Instant::now();
        let indicator = self.progress.then(|| Indicator::start(self.session.progress()));
        let interrupt = Arc::clone(&self.interrupt);
        let result = tokio::select! {
            result = self.execute(statement, indicator.as_ref()) => result,
            () = interrupt.notified() => {
                Err(Error::new(ErrorKind::Cancelled, "interrupted").into())
            }
        };
        drop(indicator);
        let to_stdout = self.sink.is_stdout();
        let ended = self.sink.end_result();
        match result {
            // A pager that was left early is no reason to stop.
            Err(Stop::ClosedPipe) if !to_stdout => {}
            result => result.and(ended.map_err(Stop::from))?,
        }
        if self.timer {
            report::time(started.elapsed());
        }
        Ok(())
    }

    async fn execute(&mut self, statement: &Statement, indicator: Option<&Indicator>) -> Flow {
        let place = |error: Error| error.or_span(Some(statement.span()));
        match self.session.execute(statement).await.map_err(place)? {
            Outcome::Rows(rows) => self.show(rows, indicator).await.map_err(|stop| match stop {
                Stop::Error(error) => Stop::Error(place(error)),
                stop => stop,
            }),
            Outcome::Changed { tag, rows } => {
                if let Some(indicator) = indicator {
                    indicator.clear();
                }
                self.confirm(tag, rows)
            }
        }
    }

    async fn show(&mut self, mut rows: Rows, indicator: Option<&Indicator>) -> Flow {
        let screen = self.sink.screen();
        let mut renderer = self.view.renderer(&rows.schema(), screen);
        let clear = || indicator.inspect(|indicator| indicator.clear());
        // A format that writes at once shares the terminal with the indicator from the start.
        if screen.width.is_some() && self.view.format.streams() {
            clear();
        }
        let out = self.sink.writer()?;
        renderer.begin(out)?;
        while let Some(batch) = rows.next().await {
            renderer.batch(out, &batch?)?;
        }
        clear();
        renderer.finish(out)?;
        Ok(())
    }

    /// Says what a statement without rows did, to a person.
    fn confirm(&mut self, tag: &str, rows: Option<u64>) -> Flow {
        let Screen { width: Some(_) } = self.sink.screen() else {
            return Ok(());
        };
        if self.quiet {
            return Ok(());
        }
        let out = self.sink.writer()?;
        match rows {
            Some(1) => writeln!(out, "{tag} (1 row)")?,
            Some(rows) => writeln!(out, "{tag} ({rows} rows)")?,
            None => writeln!(out, "{tag}")?,
        }
        Ok(())
    }

    /// Forgets a Ctrl-C that came while nothing was running.
    pub(crate) fn forget_interrupt(&self) {
        let _ = self.interrupt.notified().now_or_never();
    }

    /// Waits for `seconds`; `false` when Ctrl-C ended the wait.
    pub(crate) async fn sleep(&self, seconds: f64) -> bool {
        let time = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.interrupt.notified() => false,
        }
    }
}

fn terminal_width() -> usize {
    usize::from(console::Term::stdout().size().1)
}

/// Counts every Ctrl-C from now on, even one that comes between two statements.
fn listen() -> Arc<Notify> {
    let interrupt = Arc::new(Notify::new());
    let notify = Arc::clone(&interrupt);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            notify.notify_one();
        }
    });
    interrupt
}
