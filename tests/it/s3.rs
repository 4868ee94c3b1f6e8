//! The files of a warehouse in S3, on a real server (SeaweedFS), and files read over S3 and HTTP.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::duckdb::duckdb;
use crate::support::{Kept, free_port, gotgan, http, keep, python, query, scratch, wait_for};

const KEY: &str = "gotgan-key";
const SECRET: &str = "gotgan-secret-marker";

/// One server for all tests of the process.
struct Server {
    s3: u16,
    filer: u16,
    _scratch: TempDir,
    _process: Kept,
}

/// The server; `None` when the tests are offline.
fn server() -> Option<&'static Server> {
    static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| python().map(|p| start(&p)));
    SERVER.as_ref()
}

fn start(python: &Path) -> Server {
    let scratch = scratch();
    let identity = format!(
        r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],
        "actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
    );
    let config = scratch.path().join("s3.json");
    fs::write(&config, identity).unwrap();
    let (master, volume, filer, s3) = (free_port(), free_port(), free_port(), free_port());
    let weed = python.with_file_name("weed");
    let argv = [
        weed.display().to_string(),
        "server".into(),
        format!("-dir={}", scratch.path().display()),
        "-ip=127.0.0.1".into(),
        "-ip.bind=127.0.0.1".into(),
        "-s3".into(),
        format!("-s3.config={}", config.display()),
        format!("-s3.port={s3}"),
        format!("-master.port={master}"),
        format!("-volume.port={volume}"),
        format!("-filer.port={filer}"),
    ];
    let process = keep(python, &argv, &scratch.path().join("log"));
    wait_for("the S3 server's start", || {
        http(s3, "GET", "/").is_ok() && bucket(filer).is_some_and(|ok| ok)
    });
    Server { s3, filer, _scratch: scratch, _process: process }
}

/// Makes the bucket; whether the server took it.
fn bucket(filer: u16) -> Option<bool> {
    let answer = http(filer, "POST", "/buckets/lake/").ok()?;
    Some(answer.starts_with("HTTP/1.1 2"))
}

impl Server {
    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.s3)),
            ("AWS_REGION", "us-east-1".into()),
        ]
    }

    /// The names of the objects below a prefix of the bucket, as the filer lists them.
    fn listing(&self, prefix: &str) -> String {
        http(self.filer, "GET", &format!("/buckets/lake/{prefix}?pretty=y&limit=1000")).unwrap()
    }

    #[track_caller]
    fn sql(&self, path: &Path, text: &str) -> String {
        query(path, text).envs(&self.environment()).run().ok()
    }
}

#[test]
fn a_warehouse_keeps_its_files_in_s3() {
    let Some(server) = server() else { return };
    let scratch = scratch();
    let path = scratch.path().join("s.wh");
    let create = gotgan([
        path.as_os_str(),
        "--data-path".as_ref(),
        "s3://lake/one".as_ref(),
        "-c".as_ref(),
        "CREATE TABLE t AS SELECT i, 'n' || i AS name FROM generate_series(1, 1000) AS g(i)"
            .as_ref(),
    ]);
    create.envs(&server.environment()).run().ok();
    assert!(!path.join("data").exists());
    assert!(server.listing("one/main/t/").contains(".parquet"));
    // The warehouse remembers where its files are.
    server.sql(&path, "INSERT INTO t VALUES (5000, 'more')");
    assert_eq!(
        server.sql(&path, "SELECT count(*), sum(i), max(name) FROM t"),
        "1001,505500,n999\n"
    );

    // So does DuckDB, for which it is the same warehouse.
    let secret = format!(
        "CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION 'us-east-1', \
         ENDPOINT '127.0.0.1:{}', URL_STYLE 'path', USE_SSL false)",
        server.s3
    );
    if let Some(duck) = duckdb(&path) {
        let duck = duck.extension("httpfs").setup(&secret);
        assert_eq!(duck.text("SELECT count(*), sum(i) FROM t"), "1001,505500\n");
    }

    // A statement that fails leaves nothing.
    let broken = "CREATE TABLE broken AS SELECT 1 / (i - 900) AS x FROM t";
    let error = query(&path, broken).envs(&server.environment()).run().fails(1);
    assert!(error.contains("divide by zero"), "{error}");
    assert!(!server.listing("one/main/broken/").contains(".parquet"));

    // Nor does anything leak.
    let wrong = [("AWS_SECRET_ACCESS_KEY", "another-marker".to_owned())];
    let run = query(&path, "SELECT sum(i) FROM t").envs(&server.environment()).envs(&wrong);
    let error = run.run().fails(1);
    assert!(!error.contains("another-marker") && !error.contains(SECRET), "{error}");
    let catalog = fs::read(path.join("catalog.sqlite")).unwrap();
    assert!(!catalog.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
}

#[test]
fn files_are_read_and_written_over_s3() {
    let Some(server) = server() else { return };
    let scratch = scratch();
    let path = scratch.path().join("f.wh");
    server.sql(&path, "COPY (SELECT 1 AS a UNION ALL SELECT 2) TO 's3://lake/files/x.csv'");
    server.sql(&path, "COPY (SELECT 40 AS a) TO 's3://lake/files/y.csv.gz'");
    server.sql(&path, "COPY (SELECT 7 AS a) TO 's3://lake/files/z.parquet'");
    assert_eq!(server.sql(&path, "SELECT sum(a) FROM 's3://lake/files/x.csv'"), "3\n");
    assert_eq!(server.sql(&path, "SELECT sum(a) FROM 's3://lake/files/*.csv.gz'"), "40\n");
    assert_eq!(
        server.sql(&path, "SELECT sum(a) FROM read_parquet('s3://lake/files/z.parquet')"),
        "7\n"
    );
    let missing = query(&path, "FROM 's3://lake/files/none.csv'").envs(&server.environment());
    assert!(missing.run().fails(1).contains("does not exist or is empty"));
}

#[test]
fn files_are_read_over_http() {
    let Some(python) = python() else { return };
    let scratch = scratch();
    fs::write(scratch.path().join("a.csv"), "id,name\n1,x\n2,y\n").unwrap();
    let port = free_port();
    let directory = scratch.path().display().to_string();
    let port_text = port.to_string();
    let argv = [
        python.to_str().unwrap(),
        "-m",
        "http.server",
        &port_text,
        "--bind",
        "127.0.0.1",
        "--directory",
        &directory,
    ];
    let _server = keep(&python, &argv, &scratch.path().join("log"));
    wait_for("the HTTP server's start", || http(port, "GET", "/a.csv").is_ok());
    let path = scratch.path().join("h.wh");
    let text = format!("SELECT count(*), max(name) FROM 'http://127.0.0.1:{port}/a.csv'");
    assert_eq!(query(&path, &text).run().ok(), "2,y\n");
    let missing = format!("FROM 'http://127.0.0.1:{port}/b.csv'");
    let error = query(&path, &missing).run().fails(1);
    assert!(error.contains("b.csv"), "{error}");
}
