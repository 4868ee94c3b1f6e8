//! What every test uses: scratch directories and the program. The servers are in `services`.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gotgan::Config;
use tempfile::TempDir;

use crate::services::Postgres;

/// The program under test.
pub(crate) const GOTGAN: &str = env!("CARGO_BIN_EXE_gotgan");

/// A directory that is removed when the test ends.
pub(crate) fn scratch() -> TempDir {
    TempDir::with_prefix_in("it-", env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output of a run that went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    /// Standard error of a run that ended with `code`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.err.is_empty(), "no word about the failure: {self:#?}");
        self.err
    }
}

/// One run of the program; built by chaining.
pub(crate) struct Gotgan {
    command: Command,
    stdin: Vec<u8>,
}

/// The program with `args`, in a clean environment.
pub(crate) fn gotgan<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Gotgan {
    let mut command = Command::new(GOTGAN);
    command.args(args);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    Gotgan { command, stdin: Vec::new() }
}

impl Gotgan {
    pub(crate) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Starts it without waiting; what it prints is dropped.
    pub(crate) fn spawn(mut self) -> Child {
        let command = self.command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs it to its end. A panic in it is always a failure of the test.
    #[track_caller]
    pub(crate) fn run(mut self) -> Ran {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let (mut input, text) = (child.stdin.take().unwrap(), self.stdin);
        let writer = std::thread::spawn(move || drop(input.write_all(&text)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        let ran = Ran { code: output.status.code(), out, err };
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        ran
    }
}

/// Runs `sql` on a warehouse; the answer is CSV without names.
#[track_caller]
pub(crate) fn sql(location: impl AsRef<OsStr>, sql: &str) -> String {
    query(location, sql).run().ok()
}

/// The run behind [`sql`], for one that may fail or needs an environment.
pub(crate) fn query(location: impl AsRef<OsStr>, sql: &str) -> Gotgan {
    gotgan([location.as_ref(), "-no-header".as_ref(), "-c".as_ref(), sql.as_ref()])
}

/// The database that a catalog is in.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Sqlite,
    Postgres(&'static Postgres),
}

/// A warehouse without tables, removed when the test ends.
pub(crate) struct Lake {
    pub(crate) location: String,
    /// The directory of its files.
    pub(crate) data: PathBuf,
    _scratch: TempDir,
}

impl Kind {
    pub(crate) fn lake(self) -> Lake {
        match self {
            Self::Sqlite => {
                let scratch = scratch();
                let path = scratch.path().join("lake.wh");
                let (location, data) = (path.display().to_string(), path.join("data"));
                sql(&location, "SELECT 1");
                Lake { location, data, _scratch: scratch }
            }
            Self::Postgres(server) => Lake::at(server.schema()),
        }
    }
}

impl Lake {
    /// A new one with its catalog at a URL.
    pub(crate) fn at(location: String) -> Self {
        let scratch = scratch();
        let data = scratch.path().join("data");
        let place = data.display().to_string();
        gotgan([&location, "--data-path", &place, "-c", "SELECT 1"]).run().ok();
        Self { location, data, _scratch: scratch }
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(&self.location)
    }
}

impl AsRef<OsStr> for Lake {
    fn as_ref(&self) -> &OsStr {
        self.location.as_ref()
    }
}

/// Makes tests `sqlite::NAME` and `postgres::NAME` of functions that take a [`Kind`].
macro_rules! on_each_catalog {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                super::$name($crate::support::Kind::Sqlite);
            })+
        }

        mod postgres {
            $(#[test]
            fn $name() {
                if let Some(server) = $crate::services::postgres() {
                    super::$name($crate::support::Kind::Postgres(server));
                }
            })+
        }
    };
}
pub(crate) use on_each_catalog;

/// The files below `path`, sorted; empty when there is no such directory.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// An HTTP request without a body: the status line and all that follows.
pub(crate) fn http(port: u16, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = "Host: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{head}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
