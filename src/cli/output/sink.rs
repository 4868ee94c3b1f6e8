//! Where results go: standard output, a file (`-o`, `.output`, `.once`), or a command's input.

use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Screen;
use crate::error::{Error, ErrorKind, Result};

/// One destination.
pub(crate) enum Target {
    Stdout(BufWriter<Stdout>),
    File(BufWriter<File>),
    Command(Child),
}

impl Target {
    pub(crate) fn stdout() -> Self {
        Self::Stdout(BufWriter::with_capacity(1 << 16, io::stdout()))
    }

    /// A new file, or for `|command` the input of a shell command.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Storage, format!("cannot write \"{name}\": {error}"))
                .with_source(error)
        };
        if let Some(command) = name.strip_prefix('|') {
            let child = Command::new("sh").arg("-c").arg(command).stdin(Stdio::piped()).spawn();
            return Ok(Self::Command(child.map_err(failed)?));
        }
        let file = File::create(Path::new(name)).map_err(failed)?;
        Ok(Self::File(BufWriter::with_capacity(1 << 16, file)))
    }

    fn writer(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Self::Stdout(out) => Ok(out),
            Self::File(out) => Ok(out),
            Self::Command(child) => match &mut child.stdin {
                Some(input) => Ok(input),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    /// Writes what is held back; a command is waited for.
    fn close(mut self) -> io::Result<()> {
        let Self::Command(child) = &mut self else {
            return self.writer()?.flush();
        };
        drop(child.stdin.take());
        child.wait().map(drop)
    }
}

/// The destination of results, with the one that takes only the next result.
pub(crate) struct Sink {
    main: Target,
    once: Option<Target>,
    /// The terminal's width when standard output is one.
    terminal: Option<fn() -> usize>,
}

impl Sink {
    pub(crate) fn new(main: Target, terminal: Option<fn() -> usize>) -> Self {
        Self { main, once: None, terminal }
    }

    /// Sends all further results to `target`.
    pub(crate) fn set_main(&mut self, target: Target) -> io::Result<()> {
        std::mem::replace(&mut self.main, target).close()
    }

    /// Sends the next result to `target`.
    pub(crate) fn set_once(&mut self, target: Target) {
        self.once = Some(target);
    }

    /// Where the next result goes.
    pub(crate) fn writer(&mut self) -> io::Result<&mut dyn Write> {
        self.once.as_mut().unwrap_or(&mut self.main).writer()
    }

    /// Whether the next result goes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.once.as_ref().unwrap_or(&self.main), Target::Stdout(_))
    }

    /// What the next result is shown on.
    pub(crate) fn screen(&self) -> Screen {
        let width = match self.once.as_ref().unwrap_or(&self.main) {
            Target::Stdout(_) => self.terminal.map(|width| width()),
            Target::File(_) | Target::Command(_) => None,
        };
        Screen { width }
    }

    /// Ends a result: everything is written, and `.once` is over.
    pub(crate) fn end_result(&mut self) -> io::Result<()> {
        match self.once.take() {
            Some(once) => once.close(),
            None => self.main.writer()?.flush(),
        }
    }

    /// Ends everything.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.set_main(Target::stdout())
    }
}
