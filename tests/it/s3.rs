//! Files in S3: a warehouse of its own there, and reading, writing and failing on a real server.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

use crate::duckdb::{DuckDb, duckdb};
use crate::services::{Kept, free_port, keep, python, wait_for};
use crate::support::{Gotgan, gotgan, http, scratch};

const BUCKET: &str = "storehouse";
const KEY: &str = "it-key";
const SECRET: &str = "it-secret-3f9a";

/// No row is kept in the catalog.
const FILES_ONLY: &str = "CALL set_option('data_inlining_row_limit', 0)";

/// An S3 server; it ends with the tests.
struct Server {
    port: u16,
    _process: Kept,
}

/// The one server of this process; `None` when the tests are offline.
fn server() -> Option<&'static Server> {
    static SERVER: LazyLock<Server> = LazyLock::new(|| start(&python().unwrap()));
    python().map(|_| &*SERVER)
}

fn start(python: &Path) -> Server {
    let dir = scratch().keep();
    let config = serde_json::json!({"identities": [{
        "name": "it",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    fs::write(dir.join("s3.json"), config.to_string()).unwrap();
    let [master, volume, filer, port] = [(); 4].map(|()| free_port());
    let argv = [
        python.with_file_name("weed").display().to_string(),
        "server".into(),
        "-ip=127.0.0.1".into(),
        "-ip.bind=127.0.0.1".into(),
        format!("-dir={}", dir.display()),
        format!("-master.port={master}"),
        "-master.volumeSizeLimitMB=64".into(),
        format!("-volume.port={volume}"),
        "-volume.max=20".into(),
        format!("-filer.port={filer}"),
        "-s3".into(),
        format!("-s3.port={port}"),
        "-s3.port.iceberg=0".into(),
        "-s3.port.lance=0".into(),
        format!("-s3.config={}", dir.join("s3.json").display()),
    ];
    let process = keep(python, "keep.py", &dir, &argv);
    wait_for("the start of the S3 server", || http(port, "GET", "/").is_ok());
    wait_for("a bucket", || {
        http(filer, "POST", &format!("/buckets/{BUCKET}/")).is_ok_and(|a| a.contains(" 201 "))
    });
    let server = Server { port, _process: process };
    wait_for("a first upload to S3", || server.try_put("ready", "x"));
    server
}

impl Server {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn store(&self) -> impl ObjectStore {
        AmazonS3Builder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(BUCKET)
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .build()
            .unwrap()
    }

    fn try_put(&self, key: &str, text: &str) -> bool {
        let (store, key) = (self.store(), key.into());
        block_on(
            async move { store.put_opts(&key, text.to_owned().into(), Default::default()).await },
        )
        .is_ok()
    }

    fn put(&self, key: &str, text: &str) {
        assert!(self.try_put(key, text), "{key}");
    }

    /// The keys below `prefix`, sorted.
    fn keys(&self, prefix: &str) -> Vec<String> {
        let (store, prefix) = (self.store(), prefix.into());
        let listed = async move { store.list(Some(&prefix)).try_collect::<Vec<_>>().await };
        let mut keys: Vec<String> =
            block_on(listed).unwrap().into_iter().map(|meta| meta.location.to_string()).collect();
        keys.sort();
        keys
    }

    /// The program with what it needs to reach this server.
    fn gotgan(&self, args: &[&str]) -> Gotgan {
        gotgan(args)
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_ENDPOINT_URL", &self.endpoint())
            .env("AWS_REGION", "us-east-1")
    }

    #[track_caller]
    fn sql(&self, path: &Path, text: &str) -> String {
        self.gotgan(&[path.to_str().unwrap(), "-no-header", "-c", text]).run().ok()
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

/// DuckDB on the warehouse at `path`, with the key of the server.
fn duckdb_on(server: &Server, path: &Path) -> DuckDb {
    let secret = format!(
        "CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION 'us-east-1',
         ENDPOINT '127.0.0.1:{}', URL_STYLE 'path', USE_SSL false)",
        server.port
    );
    duckdb(path).unwrap().extension("httpfs").setup(&secret)
}

#[test]
fn a_warehouse_with_its_files_in_s3() {
    let Some(server) = server() else { return };
    let dir = scratch();
    let path = dir.path().join("w");
    let name = path.to_str().unwrap();
    let data = format!("s3://{BUCKET}/wh");
    let create = "CREATE TABLE t AS SELECT value AS id, 'n' || value AS name
        FROM generate_series(1, 1000)";
    server.gotgan(&[name, "--data-path", &data, "-c", create]).run().ok();
    // It remembers where its files are.
    server.sql(&path, "CALL set_option('data_inlining_row_limit', 0)");
    server.sql(&path, "INSERT INTO t VALUES (1001, '곳간')");
    server.sql(&path, "CREATE TABLE copy AS SELECT * FROM t WHERE id > 998");
    assert_eq!(server.sql(&path, "SELECT count(*), sum(id) FROM t"), "1001,501501\n");
    assert_eq!(server.sql(&path, "FROM copy ORDER BY id"), "999,n999\n1000,n1000\n1001,곳간\n");
    assert_eq!(server.keys("wh").len(), 3);
    assert!(!path.join("data").exists(), "nothing is beside the catalog");

    let duck = duckdb_on(server, &path);
    assert_eq!(duck.text("SELECT count(*), sum(id), max(name) FROM t"), "1001,501501,곳간\n");
    duck.all(&["INSERT INTO t SELECT 0, 'theirs' FROM range(20)"]);
    let theirs = "SELECT count(*), sum(id) FROM t WHERE name = 'theirs'";
    assert_eq!(server.sql(&path, theirs), "20,0\n");

    let other = server.gotgan(&[name, "--data-path", "s3://elsewhere/x", "-c", "FROM t"]).run();
    assert!(other.fails(1).contains("--data-path"));
    server.sql(&path, "DROP TABLE copy; CREATE OR REPLACE TABLE t AS SELECT 1 AS a");
    assert_eq!(server.sql(&path, "FROM t"), "1\n");
}

#[test]
fn upkeep_of_files_in_s3() {
    let Some(server) = server() else { return };
    let dir = scratch();
    let path = dir.path().join("w");
    let name = path.to_str().unwrap();
    let data = format!("s3://{BUCKET}/upkeep");
    let create = "CREATE TABLE t AS SELECT value AS id FROM generate_series(1, 100)";
    server.gotgan(&[name, "--data-path", &data, "-c", create]).run().ok();
    server.sql(&path, "INSERT INTO t SELECT value FROM generate_series(101, 200)");
    let merged = server.sql(&path, "CALL merge_adjacent_files()");
    assert!(merged.starts_with("main,t,2,1,200,"), "{merged}");
    server.put("upkeep/main/t/ducklake-0.parquet", "orphan");
    server.put("upkeep/main/t/g=a%20b/ducklake-1.parquet", "orphan");
    server.put("upkeep/main/t/notes.parquet", "mine");
    assert_eq!(server.sql(&path, "CALL delete_orphaned_files()"), "");
    let orphans = server.sql(&path, "CALL delete_orphaned_files(cleanup_all => true)");
    assert_eq!(orphans.lines().count(), 2, "{orphans}");
    assert_eq!(server.sql(&path, "CALL cleanup_old_files(cleanup_all => true)").lines().count(), 2);
    let left = server.keys("upkeep");
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains(&"upkeep/main/t/notes.parquet".to_owned()), "{left:?}");
    assert_eq!(server.sql(&path, "SELECT count(*), sum(id) FROM t"), "200,20100\n");
    let duck = duckdb_on(server, &path);
    assert_eq!(duck.text("SELECT sum(id) FROM t AT (VERSION => 1)"), "5050\n");
}

/// Characters that a URL has codes for are in keys as they are, and codes as well: so both engines find
/// the same files.
#[test]
fn partitions_have_the_keys_of_duckdb_in_s3() {
    let Some(server) = server() else { return };
    let dir = scratch();
    let path = dir.path().join("w");
    let name = path.to_str().unwrap();
    let data = format!("s3://{BUCKET}/parts of/all");
    server.gotgan(&[name, "--data-path", &data, "-c", FILES_ONLY]).run().ok();
    server.sql(
        &path,
        "CREATE TABLE t (id INT, n VARCHAR) PARTITIONED BY (n);
         INSERT INTO t VALUES (1, 'a b'), (2, '50%'), (3, '곳/?#'), (4, NULL)",
    );
    let duck = duckdb_on(server, &path);
    let all = "SELECT id, n FROM t ORDER BY id";
    assert_eq!(duck.text(all), "1,a b\n2,50%\n3,곳/?#\n4,∅\n");
    duck.all(&["INSERT INTO t SELECT 10 + id, n FROM t"]);
    let sum = "SELECT n, count(*), sum(id) FROM t GROUP BY n ORDER BY 3";
    assert_eq!(server.sql(&path, sum), "a b,2,12\n50%,2,14\n곳/?#,2,16\n,2,18\n");
    for part in ["n=a%20b", "n=50%25", "n=%EA%B3%B3%2F%3F%23", "n=__HIVE_DEFAULT_PARTITION__"] {
        let keys = server.keys("parts of/all/main/t").into_iter();
        let inside = keys.filter(|key| key.contains(&format!("/{part}/"))).count();
        assert_eq!(inside, 2, "{part}");
    }
    assert_eq!(server.sql(&path, "CALL delete_orphaned_files(cleanup_all => true)"), "");
    server.sql(&path, "CALL merge_adjacent_files(); CALL cleanup_old_files(cleanup_all => true)");
    assert_eq!(server.keys("parts of").len(), 4);
    assert_eq!(duck.text("SELECT count(*), sum(id) FROM t"), "8,60\n");

    // Files that are named, and those that become a table's as they are.
    let file = format!("s3://{BUCKET}/parts of/x=a%20b/f 1.parquet");
    server.sql(&path, &format!("COPY (SELECT 7 AS id) TO '{file}'"));
    assert!(server.keys("parts of").contains(&"parts of/x=a%20b/f 1.parquet".to_owned()));
    assert_eq!(duck.text(&format!("SELECT id FROM read_parquet('{file}')")), "7\n");
    let glob = format!("SELECT id FROM 's3://{BUCKET}/parts of/*a%20b/*.parquet'");
    assert_eq!(server.sql(&path, &glob), "7\n");
    server.sql(&path, &format!("CREATE TABLE u (id BIGINT); CALL add_data_files('u', '{file}')"));
    assert_eq!(server.sql(&path, "FROM u"), "7\n");
    assert_eq!(duck.text("FROM u"), "7\n");
}

#[test]
fn a_failure_leaves_nothing_in_s3() {
    let Some(server) = server() else { return };
    let dir = scratch();
    let path = dir.path().join("w");
    let name = path.to_str().unwrap();
    let data = format!("s3://{BUCKET}/failing");
    server.gotgan(&[name, "--data-path", &data, "-c", FILES_ONLY]).run().ok();
    server.sql(&path, "CREATE TABLE t AS SELECT 1 AS a");
    let before = server.keys("failing");
    assert_eq!(before.len(), 1);
    for text in [
        "CREATE TABLE u AS SELECT 10 / (value - 100000) AS a FROM generate_series(1, 200000)",
        "INSERT INTO t SELECT 10 / (value - 100000) FROM generate_series(1, 200000)",
        "BEGIN; CREATE TABLE u AS SELECT 1 AS a; INSERT INTO t VALUES (2); SELECT * FROM nope",
        "BEGIN; CREATE TABLE u AS SELECT 1 AS a; INSERT INTO t VALUES (2); ROLLBACK; FROM nope",
    ] {
        let err = server.gotgan(&[name, "-c", text]).run().fails(1);
        assert!(!err.contains(SECRET), "{err}");
        assert_eq!(server.keys("failing"), before, "{text}");
        assert_eq!(server.sql(&path, "FROM t"), "1\n");
    }
}

#[test]
fn files_of_s3_are_read_and_written() {
    let Some(server) = server() else { return };
    let dir = scratch();
    let path = dir.path().join("w");
    server.put("logs/2024/a.csv", "id,name\n1,x\n2,y\n");
    server.put("logs/2024/b.csv", "id,name\n3,z\n");
    server.put("logs/2024/c.ndjson", "{\"id\": 4}\n");
    let read = |text: &str| server.sql(&path, text);
    let one = format!("FROM 's3://{BUCKET}/logs/2024/a.csv' ORDER BY id");
    assert_eq!(read(&one), "1,x\n2,y\n");
    let glob = format!("SELECT count(*), sum(id) FROM 's3://{BUCKET}/logs/*/*.csv'");
    assert_eq!(read(&glob), "3,6\n");
    read(&format!("CREATE TABLE t AS FROM 's3://{BUCKET}/logs/2024/?.csv'"));
    assert_eq!(read("SELECT max(name) FROM t"), "z\n");
    for format in ["parquet", "csv", "json"] {
        let target = format!("s3://{BUCKET}/out/t.{format}");
        read(&format!("COPY (FROM t WHERE id > 1) TO '{target}'"));
        assert_eq!(read(&format!("SELECT count(*), sum(id) FROM '{target}'")), "2,5\n");
    }
    assert_eq!(server.keys("out").len(), 3);

    let missing = format!("FROM 's3://{BUCKET}/logs/none.csv'");
    let err = server.gotgan(&["-c", &missing]).run().fails(1);
    assert!(err.contains("none.csv") && err.contains("--> -c:1:"), "{err}");
    let wrong = server.gotgan(&["-c", &one]).env("AWS_SECRET_ACCESS_KEY", "wrong-7c1").run();
    let err = wrong.fails(1);
    assert!(err.contains("a.csv") && !err.contains("wrong-7c1"), "{err}");
}

#[test]
fn a_server_that_is_away_is_an_error() {
    let dir = scratch();
    let port = free_port().to_string();
    let ran = gotgan([
        "w",
        "--data-path",
        "s3://bucket/w",
        "-c",
        FILES_ONLY,
        "-c",
        "CREATE TABLE t AS SELECT 1 AS a",
    ])
    .dir(dir.path())
    .env("AWS_ACCESS_KEY_ID", KEY)
    .env("AWS_SECRET_ACCESS_KEY", SECRET)
    .env("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}"))
    .run();
    let err = ran.fails(1);
    assert!(err.contains("s3://bucket/w") || err.contains(&port), "{err}");
    assert!(!err.contains(SECRET), "{err}");
}

#[test]
fn files_of_a_web_server() {
    let Some(python) = python() else { return };
    let dir = scratch();
    fs::write(dir.path().join("a.csv"), "id,name\n1,x\n2,y\n").unwrap();
    let gzipped = fs::File::create(dir.path().join("b.ndjson")).unwrap();
    writeln!(&gzipped, "{{\"id\": 7, \"tags\": [\"p\", \"q\"]}}").unwrap();
    let port = free_port();
    let argv =
        [python.to_str().unwrap(), "-m", "http.server", "--bind", "127.0.0.1"].map(String::from);
    let rest = ["--directory".into(), dir.path().display().to_string(), port.to_string()];
    let argv: Vec<String> = argv.into_iter().chain(rest).collect();
    let _server = keep(&python, "keep.py", &scratch().keep(), &argv);
    wait_for("the start of the web server", || http(port, "GET", "/").is_ok());
    let read = |text: &str| gotgan(["-no-header", "-c", text]).run();
    let base = format!("http://127.0.0.1:{port}");
    assert_eq!(read(&format!("FROM '{base}/a.csv'")).ok(), "1,x\n2,y\n");
    assert_eq!(read(&format!("SELECT id, tags[2] FROM '{base}/b.ndjson'")).ok(), "7,q\n");
    let err = read(&format!("FROM '{base}/none.csv'")).fails(1);
    assert!(err.contains("none.csv"), "{err}");
}
