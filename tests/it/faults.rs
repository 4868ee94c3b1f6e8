//! What goes wrong: every call that can fail, at every point; bytes that are not what they should
//! be. Always the old or the new state, and a sentence.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use gotgan::{Session, Warehouse};
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use crate::support::{Kind, Lake, files, gotgan, on_each_catalog, query, scratch, sql};

/// The local file system, of which only so many calls succeed.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) inner: LocalFileSystem,
    pub(crate) left: AtomicU64,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failing")
    }
}

impl Failing {
    fn count(&self) -> StoreResult<()> {
        let step = |left: u64| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(object_store::Error::Generic { store: "test", source: "failed as told".into() })
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        to: &StorePath,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.count()?;
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &StorePath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.count()?;
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &StorePath, options: GetOptions) -> StoreResult<GetResult> {
        self.count()?;
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<StorePath>>,
    ) -> BoxStream<'static, StoreResult<StorePath>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> StoreResult<ListResult> {
        self.count()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &StorePath,
        to: &StorePath,
        options: CopyOptions,
    ) -> StoreResult<()> {
        self.count()?;
        self.inner.copy_opts(from, to, options).await
    }
}

on_each_catalog!(every_storage_call_may_fail, every_catalog_call_may_fail);

/// A table of `rows` rows and as many deleted ones: few are in the catalog, many in a file with a
/// delete file.
async fn fill(lake: &Lake, rows: u64) {
    let warehouse = Warehouse::open(lake.config()).await.unwrap();
    let mut session = warehouse.session();
    let all = 2 * rows;
    let create = format!("CREATE TABLE t AS SELECT i AS a FROM generate_series(1, {all}) AS g(i)");
    session.sql(&create).await.unwrap();
    session.sql(&format!("DELETE FROM t WHERE a > {rows}")).await.unwrap();
}

const FEW: u64 = 3;
const MANY: u64 = 30;

pub(crate) async fn one(session: &mut Session, query: &str) -> String {
    let batches = session.sql(query).await.unwrap().collect().await.unwrap();
    let column =
        arrow::compute::cast(batches[0].column(0), &arrow::datatypes::DataType::Utf8).unwrap();
    arrow::array::AsArray::as_string::<i32>(&column).value(0).to_owned()
}

/// What `t` sums to after a statement, by its rows before.
type Sum = fn(u64) -> u64;

/// The statements, and what `t` sums to after each.
const WRITES: [(&str, Sum); 6] = [
    ("INSERT INTO t SELECT a + 10 FROM t", |rows| 2 * sum(rows) + 10 * rows),
    ("CREATE OR REPLACE TABLE t AS SELECT a * 100 AS a FROM t", |rows| 100 * sum(rows)),
    ("UPDATE t SET a = a * 10 WHERE a % 2 = 0", |rows| sum(rows) + 9 * evens(rows)),
    ("DELETE FROM t WHERE a % 2 = 0", |rows| sum(rows) - evens(rows)),
    (
        "MERGE INTO t USING (SELECT a AS b FROM t UNION ALL SELECT a + 1000 FROM t) AS s ON t.a = s.b \
         WHEN MATCHED AND b % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET a = 7 \
         WHEN NOT MATCHED THEN INSERT VALUES (s.b)",
        |rows| 7 * (rows - rows / 2) + sum(rows) + 1000 * rows,
    ),
    ("TRUNCATE t", |_| 0),
];

/// What it sums to before.
const fn sum(rows: u64) -> u64 {
    rows * (rows + 1) / 2
}

/// What its even numbers sum to.
const fn evens(rows: u64) -> u64 {
    2 * sum(rows / 2)
}

/// Checks `t` in a fresh process's eyes: old or new, and no file that the catalog does not name.
async fn check(lake: &Lake, succeeded: bool, rows: u64, new: Sum) {
    let warehouse = Warehouse::open(lake.config()).await.unwrap();
    let found = one(&mut warehouse.session(), "SELECT coalesce(sum(a), 0) FROM t").await;
    assert_eq!(found, if succeeded { new(rows) } else { sum(rows) }.to_string());
    if !succeeded {
        let live = if rows == MANY { 2 } else { 0 };
        assert_eq!(files(&lake.data).len(), live, "a failed write left a file");
    }
}

fn every_storage_call_may_fail(kind: Kind) {
    runtime().block_on(async {
        for (statement, new) in WRITES {
            let lake = kind.lake();
            fill(&lake, MANY).await;
            for calls in 0.. {
                let failing = Failing { inner: LocalFileSystem::new(), left: calls.into() };
                let store = ("file:///".parse().unwrap(), Arc::new(failing));
                let config = lake.config().object_store(store.0, store.1);
                let warehouse = Warehouse::open(config).await.unwrap();
                let result = warehouse.session().sql(statement).await;
                check(&lake, result.is_ok(), MANY, new).await;
                if result.is_ok() {
                    let needs_none = statement.starts_with("TRUNCATE");
                    assert!(calls > 1 || needs_none, "the store is not used");
                    break;
                }
            }
        }
    });
}

fn every_catalog_call_may_fail(kind: Kind) {
    runtime().block_on(async {
        for ((statement, new), rows) in WRITES.into_iter().flat_map(|w| [(w, FEW), (w, MANY)]) {
            let lake = kind.lake();
            fill(&lake, rows).await;
            for calls in 0.. {
                let warehouse = Warehouse::open(lake.config()).await.unwrap();
                warehouse.fail_catalog_after(calls);
                let result = warehouse.session().sql(statement).await;
                check(&lake, result.is_ok(), rows, new).await;
                if result.is_ok() {
                    assert!(calls > 5, "the catalog is not used");
                    break;
                }
            }
        }
    });
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

/// The one data file of a warehouse.
fn data_file(path: &Path) -> PathBuf {
    files(&path.join("data")).into_iter().next().unwrap()
}

#[test]
fn a_damaged_data_file_is_named() {
    let scratch = scratch();
    let path = scratch.path().join("d.wh");
    sql(&path, "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS g(i)");
    let file = data_file(&path);
    let bytes = fs::read(&file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    for damaged in [vec![b'x'; bytes.len()], bytes[..bytes.len() / 2].to_vec(), vec![]] {
        fs::write(&file, damaged).unwrap();
        let error = query(&path, "SELECT sum(i) FROM t").run().fails(1);
        assert!(error.starts_with("error: "), "{error}");
    }
    fs::remove_file(&file).unwrap();
    let error = query(&path, "SELECT sum(i) FROM t").run().fails(1);
    assert!(error.contains(name), "{error}");
    // What the catalog knows needs no file.
    assert_eq!(sql(&path, "SELECT count(*) FROM t"), "1000\n");
}

#[test]
fn a_truncated_gzip_is_named() {
    let scratch = scratch();
    let path = scratch.path().join("d.wh");
    let log = scratch.path().join("log.csv.gz");
    sql(
        &path,
        &format!("COPY (SELECT i FROM generate_series(1, 100000) AS g(i)) TO '{}'", log.display()),
    );
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    let load = format!("CREATE TABLE t AS SELECT * FROM '{}'", log.display());
    let error = query(&path, &load).run().fails(1);
    assert!(error.starts_with("error: "), "{error}");
    assert!(query(&path, "FROM t").run().fails(1).contains("table \"t\" does not exist"));
    assert!(files(&path.join("data")).is_empty());
}

#[test]
fn what_is_no_warehouse_is_left_alone() {
    let scratch = scratch();
    let refuse = |path: &Path, sentence: &str| {
        let before: Vec<_> = files(scratch.path()).iter().map(|f| fs::read(f).unwrap()).collect();
        let error = query(path, "CREATE TABLE t AS SELECT 1 AS a").run().fails(1);
        assert!(error.contains(sentence), "{error}");
        let after: Vec<_> = files(scratch.path()).iter().map(|f| fs::read(f).unwrap()).collect();
        assert_eq!(before, after);
    };
    let other = scratch.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    refuse(&other, "is a directory with files, not a warehouse");
    refuse(&other.join("notes.txt"), "is a file, not a warehouse");
    let garbage = scratch.path().join("garbage");
    fs::create_dir(&garbage).unwrap();
    fs::write(garbage.join("catalog.sqlite"), "this is no database".repeat(100)).unwrap();
    refuse(&garbage, "it is no SQLite database");
    let error = gotgan(["--read-only", "-c", "SELECT 1", "no/such.wh"]).run().fails(1);
    assert!(error.contains("there is no warehouse at"), "{error}");
    refuse(Path::new("/proc/no.wh"), "cannot be created");
}

#[test]
fn a_newer_catalog_is_refused() {
    let scratch = scratch();
    let path = scratch.path().join("n.wh");
    sql(&path, "CREATE TABLE t AS SELECT 1 AS a");
    let python = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
                  c.execute(\"UPDATE ducklake_metadata SET value = '2.0' WHERE key = 'version'\"); c.commit()";
    let catalog = path.join("catalog.sqlite");
    let done = std::process::Command::new("python3").args(["-c", python]).arg(&catalog).status();
    assert!(done.unwrap().success());
    let error = query(&path, "FROM t").run().fails(1);
    assert!(error.contains("has format version 2.0; this program reads 1.0"), "{error}");
}

/// A file system of four megabytes, unmounted when the test ends.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    let scratch = scratch();
    let Some(disk) = SmallDisk::mount(scratch.path().join("disk")) else {
        eprintln!("SKIPPED a_full_disk_changes_nothing: mounting needs root");
        return;
    };
    let path = disk.0.join("f.wh");
    sql(&path, "CREATE TABLE t AS SELECT 1 AS a");
    let big = "CREATE OR REPLACE TABLE t AS SELECT i AS a, md5(i::text) AS h \
               FROM generate_series(1, 400000) AS g(i)";
    let error = query(&path, big).run().fails(1);
    assert!(error.to_lowercase().contains("no space left"), "{error}");
    assert_eq!(sql(&path, "FROM t"), "1\n");
    assert!(files(&path.join("data")).is_empty());
}
