//! A catalog in PostgreSQL: opening it, its secrets, connections that break at the worst moment, and
//! DuckDB on the same one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gotgan::{Config, ErrorKind, Session, Warehouse};

use crate::duckdb::duckdb_on;
use crate::services::{PASSWORD, Postgres, postgres};
use crate::support::{Kind, Lake, files, gotgan, query, scratch, sql};

/// A new database: its name, and a warehouse in it.
fn lake_in_database(server: &Postgres) -> (String, Lake) {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let name = format!("lake_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    server.execute("postgres", &format!("CREATE DATABASE {name}"));
    let lake = Lake::at(server.url(&name));
    (name, lake)
}

#[test]
fn a_warehouse_is_created_and_opened_again() {
    let Some(server) = postgres() else {
        return;
    };
    let (location, scratch) = (server.schema(), scratch());
    let error = gotgan(["--read-only", &location, "-c", "SELECT 1"]).run().fails(1);
    assert!(error.contains("there is no warehouse in \"postgres://127.0.0.1:"), "{error}");
    let error = query(&location, "SELECT 1").run().fails(1);
    assert!(error.contains("needs a place for its files"), "{error}");
    assert!(error.contains("--data-path"), "{error}");
    let data = scratch.path().join("data");
    let place = ["--data-path".into(), data.display().to_string()];
    let create = "CREATE TABLE shop.main.t AS SELECT 42 AS a FROM generate_series(1, 20)";
    gotgan(place.iter().chain([&location, &"-c".into(), &create.into()])).run().ok();
    assert_eq!(sql(&location, "SELECT sum(a) FROM t"), "840\n");
    assert_eq!(files(&data).len(), 1);
    gotgan(place.iter().chain([&location, &"-c".into(), &"FROM t".into()])).run().ok();
    let other = ["--data-path", "/elsewhere", &location, "-c", "SELECT 1"];
    let error = gotgan(other).run().fails(1);
    assert!(error.contains("a warehouse remembers it"), "{error}");
    let insert = ["--read-only", &location, "-c", "INSERT INTO t VALUES (1)"];
    let error = gotgan(insert).run().fails(1);
    assert!(error.contains("open for reading only"), "{error}");
    // The same in the words of another URL, and in those of the environment.
    let renamed = location.replacen("postgres:", "postgresql:", 1);
    assert_eq!(sql(renamed, "SELECT max(a) FROM t"), "42\n");
    let (user, rest) = location.split_once(':').unwrap().1.split_once('@').unwrap();
    assert!(user.contains("gotgan:"));
    let without = query(format!("postgres://gotgan@{rest}"), "SELECT max(a) FROM t");
    assert_eq!(without.env("PGPASSWORD", PASSWORD).run().ok(), "42\n");
}

#[test]
fn what_is_wrong_with_a_server_is_said() {
    let Some(server) = postgres() else {
        return;
    };
    let says = |url: &str, sentence: &str| {
        let start = Instant::now();
        let error = query(url, "SELECT 1").run().fails(1);
        assert!(error.contains(sentence), "{error}");
        assert!(error.contains("help: "), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    };
    let port = server.port;
    says(&server.url("nowhere"), "database \"nowhere\" does not exist");
    says(&format!("postgres://gotgan:secret@127.0.0.1:{port}/shop"), "refuses this user");
    says("postgres://gotgan:secret@127.0.0.1:9/shop", "cannot be reached");
    says("postgres://gotgan:secret@no-such-host.invalid/shop", "cannot be reached");
    says("postgres://gotgan:secret@h:port/shop", "this is no URL of a PostgreSQL database");
    says("mysql://gotgan:secret@h/shop", "a catalog at mysql:// is not supported");
}

#[test]
fn the_password_is_never_shown() {
    let Some(server) = postgres() else {
        return;
    };
    let lake = Kind::Postgres(server).lake();
    let escaped = PASSWORD.replace('/', "%2F").replace('@', "%40");
    let input = format!(
        ".databases\n.show\n.open {}\n.conninfo\nCREATE TABLE t AS SELECT 1 AS a;\nEXPLAIN FROM t;\n\
         EXPLAIN VERBOSE SELECT * FROM t;\nSHOW ALL;\nFROM nothing;\nFROM information_schema.tables;\n",
        lake.location
    );
    let home = scratch();
    let shell = gotgan([&lake.location, "--interactive"]).stdin(input);
    let state = home.path().to_str().unwrap();
    let ran = shell.env("RUST_LOG", "trace").env("XDG_STATE_HOME", state).run();
    for shown in [&ran.out, &ran.err] {
        assert!(!shown.contains(PASSWORD) && !shown.contains(&escaped), "{ran:#?}");
    }
    assert!(ran.out.contains("shop: postgres://gotgan@127.0.0.1:"), "{ran:#?}");
    for file in files(home.path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&escaped), "{}: {text}", file.display());
    }
    let config = format!("{:?}", Config::new(&lake.location));
    assert!(!config.contains(PASSWORD) && !config.contains(&escaped), "{config}");
    let opened = format!("{:?}", runtime().block_on(Warehouse::open(lake.config())).unwrap());
    assert!(!opened.contains(PASSWORD) && !opened.contains(&escaped), "{opened}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

#[test]
fn a_lock_is_waited_for_but_not_for_ever() {
    let Some(server) = postgres() else {
        return;
    };
    let lake = Kind::Postgres(server).lake();
    sql(&lake, "CREATE TABLE t (a INT)");
    let schema = lake.location.rsplit("%3D").next().unwrap();
    let hold = |seconds: f64| {
        let held = format!(
            "BEGIN; LOCK TABLE {schema}.ducklake_snapshot IN EXCLUSIVE MODE; \
             SELECT pg_sleep({seconds}); ROLLBACK"
        );
        let holder = std::thread::spawn(move || server.execute("shop", &held));
        std::thread::sleep(Duration::from_millis(300));
        holder
    };
    let holder = hold(1.5);
    sql(&lake, "INSERT INTO t SELECT 1 FROM generate_series(1, 20)");
    holder.join().unwrap();
    let holder = hold(3.0);
    runtime().block_on(async {
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        warehouse.set_catalog_patience(500);
        let insert = "INSERT INTO t SELECT 2 FROM generate_series(1, 20)";
        let error = warehouse.session().sql(insert).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Catalog);
        assert!(error.message().contains("is locked by another writer"), "{error}");
    });
    holder.join().unwrap();
    assert_eq!(sql(&lake, "SELECT count(*), max(a) FROM t"), "20,1\n");
    assert_eq!(files(&lake.data).len(), 1);
}

#[test]
fn connections_may_be_killed_at_any_moment() {
    let Some(server) = postgres() else {
        return;
    };
    let (database, lake) = lake_in_database(server);
    sql(&lake, "CREATE TABLE t (n INT)");
    let done = Arc::new(AtomicBool::new(false));
    let killer = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            let mut kills = 0;
            while !done.load(Ordering::SeqCst) {
                let kill = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = 'gotgan' AND datname = '{database}'"
                );
                server.execute("postgres", &kill);
                kills += 1;
                std::thread::sleep(Duration::from_millis(100 + kills * 37 % 300));
            }
        })
    };
    runtime().block_on(async {
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        let mut session = warehouse.session();
        for n in 0..60 {
            // In turns into the catalog and into a file.
            let rows = [1, 20][n % 2];
            let insert = format!("INSERT INTO t SELECT {n} FROM generate_series(1, {rows})");
            session.sql(&insert).await.unwrap();
        }
    });
    done.store(true, Ordering::SeqCst);
    killer.join().unwrap();
    assert_eq!(sql(&lake, "SELECT count(*), count(DISTINCT n) FROM t"), "630,60\n");
    assert_eq!(sql(&lake, "SELECT max(snapshot_id) FROM snapshots()"), "61\n");
    assert_eq!(files(&lake.data).len(), 30);
}

/// When a proxy cuts the connection, the first time that a transaction is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The server does not hear of it.
    Before,
    /// The server has done it, and its answer does not arrive.
    After,
    /// The same, and it cannot be reached any more.
    ForGood,
    /// The server has done it, and its answer takes for ever.
    Silence,
}

/// A proxy before the server.
struct Proxy {
    server: u16,
    cut: Cut,
    /// Whether the next COMMIT is the one.
    armed: AtomicBool,
    gone: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Its port.
    fn start(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, proxy) = (listener.local_addr().unwrap().port(), Arc::clone(self));
        std::thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                if proxy.gone.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(("127.0.0.1", proxy.server)).unwrap();
                proxy.connections.lock().unwrap().push(client.try_clone().unwrap());
                let (answers, hears) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let is_cut = Arc::new(AtomicBool::new(false));
                let (proxy, cut) = (Arc::clone(&proxy), Arc::clone(&is_cut));
                let silent = proxy.cut == Cut::Silence;
                std::thread::spawn(move || proxy.requests(client, server, &cut));
                std::thread::spawn(move || Self::answers(answers, hears, &is_cut, silent));
            }
        });
        port
    }

    /// What the client says, up to the COMMIT that the connection is cut at.
    fn requests(&self, mut client: TcpStream, mut server: TcpStream, is_cut: &AtomicBool) {
        let mut buffer = [0; 65536];
        while let Ok(read @ 1..) = client.read(&mut buffer) {
            let said = &buffer[..read];
            let commits = said.windows(7).any(|window| window == b"COMMIT\0");
            if commits && self.armed.swap(false, Ordering::SeqCst) {
                if self.cut == Cut::ForGood {
                    self.gone.store(true, Ordering::SeqCst);
                    let connections = self.connections.lock().unwrap();
                    connections.iter().for_each(|c| drop(c.shutdown(Shutdown::Both)));
                }
                is_cut.store(true, Ordering::SeqCst);
                if self.cut != Cut::Before {
                    // Its answer arrives at the other thread, which hangs up.
                    server.write_all(said).unwrap();
                    return;
                }
            } else if server.write_all(said).is_ok() {
                continue;
            }
            break;
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    fn answers(mut server: TcpStream, mut client: TcpStream, is_cut: &AtomicBool, silent: bool) {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            if is_cut.load(Ordering::SeqCst) && silent {
                continue;
            }
            if is_cut.load(Ordering::SeqCst) || client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }
}

const ROWS: &str = "SELECT a, count(*) FROM t GROUP BY a ORDER BY a";

/// What comes of an INSERT of 2 whose connection is cut.
async fn insert_through(
    server: &Postgres,
    cut: Cut,
    lake: &Lake,
) -> gotgan::Result<gotgan::Outcome> {
    let proxy = Arc::new(Proxy {
        server: server.port,
        cut,
        armed: AtomicBool::new(false),
        gone: AtomicBool::new(false),
        connections: Mutex::default(),
    });
    let through = lake.location.replace(&server.port.to_string(), &proxy.start().to_string());
    let warehouse = Warehouse::open(Config::new(through)).await.unwrap();
    let mut session: Session = warehouse.session();
    session.sql("CREATE TABLE t AS SELECT 1 AS a FROM generate_series(1, 20)").await.unwrap();
    proxy.armed.store(true, Ordering::SeqCst);
    warehouse.set_catalog_patience(if cut == Cut::ForGood { 1_000 } else { 20_000 });
    let result = session.sql("INSERT INTO t SELECT 2 FROM generate_series(1, 20)").await;
    assert!(!proxy.armed.load(Ordering::SeqCst), "the connection was not cut");
    result
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_out_about() {
    let Some(server) = postgres() else {
        return;
    };
    for cut in [Cut::Before, Cut::After] {
        let lake = Kind::Postgres(server).lake();
        runtime().block_on(insert_through(server, cut, &lake)).unwrap();
        assert_eq!(sql(&lake, ROWS), "1,20\n2,20\n", "{cut:?}");
        assert_eq!(sql(&lake, "SELECT max(snapshot_id) FROM snapshots()"), "2\n", "{cut:?}");
        assert_eq!(files(&lake.data).len(), 2, "{cut:?}");
    }
}

#[test]
fn a_commit_that_cannot_be_found_out_about_is_told_so() {
    let Some(server) = postgres() else {
        return;
    };
    let lake = Kind::Postgres(server).lake();
    let error = runtime().block_on(insert_through(server, Cut::ForGood, &lake)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(!error.is_retryable());
    assert!(error.help().unwrap().contains("look in snapshots() for 2 of 20"), "{error}");
    // It did commit, and its file is there.
    assert_eq!(sql(&lake, ROWS), "1,20\n2,20\n");
}

#[test]
fn a_cancelled_commit_keeps_its_files() {
    let Some(server) = postgres() else {
        return;
    };
    let lake = Kind::Postgres(server).lake();
    runtime().block_on(async {
        let insert = insert_through(server, Cut::Silence, &lake);
        assert!(tokio::time::timeout(Duration::from_secs(5), insert).await.is_err());
    });
    assert_eq!(sql(&lake, ROWS), "1,20\n2,20\n");
}

#[test]
fn duckdb_reads_and_writes_the_same_tables() {
    let Some(server) = postgres() else {
        return;
    };
    let (database, lake) = lake_in_database(server);
    sql(
        &lake,
        "CREATE SCHEMA s; \
         CREATE TABLE s.t AS SELECT i AS a, i::text AS b, i % 2 = 0 AS c, \
         TIMESTAMP '2024-01-02 03:04:05.6' AS d FROM generate_series(1, 1000) AS g(i); \
         CREATE VIEW v AS SELECT sum(a) AS total FROM s.t",
    );
    let Some(duckdb) = duckdb_on(server, &database) else {
        return;
    };
    assert_eq!(
        duckdb.text("SELECT count(*), sum(a), min(d) FROM s.t WHERE c"),
        "500,250500,2024-01-02 03:04:05.6\n"
    );
    assert_eq!(duckdb.text("FROM v"), "500500\n");
    duckdb.all(&[
        "INSERT INTO s.t VALUES (-1, 'from DuckDB', NULL, NULL)",
        "CREATE TABLE made AS SELECT range AS n, {'x': range} AS nested FROM range(5)",
        "DROP VIEW v",
    ]);
    assert_eq!(sql(&lake, "SELECT b FROM s.t WHERE a < 0"), "from DuckDB\n");
    assert_eq!(sql(&lake, "SELECT sum(n) FROM made"), "10\n");
    assert!(query(&lake, "FROM v").run().fails(1).contains("does not exist"));
    sql(&lake, "INSERT INTO made SELECT n + 10, nested FROM made; DROP TABLE s.t");
    assert_eq!(duckdb.text("SELECT count(*), sum(n) FROM made"), "10,70\n");
    let listed = "SELECT snapshot_id, changes FROM lake.snapshots() ORDER BY 1 DESC LIMIT 1";
    assert!(duckdb.text(listed).contains("tables_dropped"));
    assert_eq!(
        duckdb.text("SELECT count(*) FROM lake.snapshots()"),
        sql(&lake, "SELECT count(*) FROM snapshots()")
    );
}

#[test]
fn duckdb_makes_the_catalog() {
    let Some(server) = postgres() else {
        return;
    };
    let (database, scratch) = ("made_by_duckdb", scratch());
    server.execute("postgres", &format!("CREATE DATABASE {database}"));
    let Some(duckdb) = duckdb_on(server, database) else {
        return;
    };
    let data = scratch.path().join("files").display().to_string();
    duckdb.option(&format!("DATA_PATH '{data}', DATA_INLINING_ROW_LIMIT 0")).all(&[
        "CREATE TABLE t (a INTEGER, b VARCHAR, \"C d\" TIMESTAMPTZ)",
        "INSERT INTO t VALUES (1, 'x', '2024-01-01 00:00:00+00'), (2, NULL, NULL)",
        "COMMENT ON TABLE t IS 'made elsewhere'",
        "CREATE VIEW v AS SELECT max(a) AS m FROM t",
    ]);
    let location = server.url(database);
    assert_eq!(sql(&location, "SELECT a, b FROM t ORDER BY a"), "1,x\n2,\n");
    assert_eq!(sql(&location, "FROM v"), "2\n");
    sql(
        &location,
        "INSERT INTO t VALUES (3, 'y', NULL); CREATE OR REPLACE VIEW v AS SELECT min(b) FROM t",
    );
    let Some(duckdb) = duckdb_on(server, database) else {
        return;
    };
    assert_eq!(duckdb.text("SELECT count(*), max(a), max(b) FROM t"), "3,3,y\n");
    assert_eq!(duckdb.text("FROM v"), "x\n");
}

/// DuckDB inserts few rows into tables of the catalog, whose types are PostgreSQL's.
#[test]
fn duckdb_keeps_rows_in_the_catalog_of_a_table_altered_here() {
    let Some(server) = postgres() else {
        return;
    };
    let (database, scratch) = ("inlined", scratch());
    server.execute("postgres", &format!("CREATE DATABASE {database}"));
    let data = scratch.path().join("files").display().to_string();
    let values = "true, 1::TINYINT, 2::USMALLINT, 3::UBIGINT, 1.5::FLOAT, 2.5::DOUBLE, 3.25::DECIMAL(9, 2), \
                  DATE '2024-02-03', TIME '01:02:03.5', TIMESTAMP '2024-02-03 04:05:06', \
                  TIMESTAMPTZ '2024-02-03 04:05:06+00', INTERVAL 3 DAYS AS i, 'it''s', '\\xAA'::BLOB, \
                  uuid '6ba7b810-9dad-11d1-80b4-00c04fd430c8', [1, NULL], {'a': 'b'}, \
                  '{\"a\": 1}'::JSON";
    let create = format!("CREATE TABLE t AS SELECT {values} FROM range(20)");
    let insert = format!("INSERT INTO t SELECT {values}, 7");
    let Some(duckdb) = duckdb_on(server, database) else {
        return;
    };
    duckdb.option(&format!("DATA_PATH '{data}'")).all(&[&create]);
    let location = server.url(database);
    sql(&location, "ALTER TABLE t ADD COLUMN added INTEGER");
    let duckdb = duckdb_on(server, database).unwrap();
    duckdb.all(&[&insert]);
    assert_eq!(files(scratch.path()).len(), 1, "the row is not in the catalog");
    let distinct = duckdb.text("SELECT DISTINCT COLUMNS(* EXCLUDE added)::VARCHAR FROM t");
    assert_eq!(distinct.lines().count(), 1, "{distinct}");
    assert_eq!(duckdb.text("SELECT count(*), sum(added) FROM t"), "21,7\n");
    assert_eq!(sql(&location, "SELECT count(*), sum(added) FROM t"), "21,7\n");
    let distinct = "SELECT count(*) FROM (SELECT DISTINCT * EXCLUDE (added, i) FROM t)";
    assert_eq!(sql(&location, distinct), "1\n");
}

#[test]
fn duckdb_and_the_program_append_at_the_same_time() {
    let Some(server) = postgres() else {
        return;
    };
    let (database, lake) = lake_in_database(server);
    sql(&lake, "CREATE TABLE t (writer INT, n INT)");
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (lake, database) = (&lake, &database);
            scope.spawn(move || {
                for n in 0..8 {
                    sql(lake, &format!("INSERT INTO t VALUES ({writer}, {n})"));
                }
            });
            scope.spawn(move || {
                let inserts: Vec<String> = (0..8)
                    .map(|n| format!("INSERT INTO t VALUES ({}, {n})", writer + 10))
                    .collect();
                let inserts: Vec<&str> = inserts.iter().map(String::as_str).collect();
                // Many retries: how often DuckDB may be second is not what is tested.
                let retries = "SET ducklake_max_retry_count = 1000";
                duckdb_on(server, database).unwrap().setup(retries).all(&inserts);
            });
        }
    });
    assert_eq!(sql(&lake, "SELECT count(*), count(DISTINCT writer * 10 + n) FROM t"), "48,48\n");
    assert_eq!(sql(&lake, "SELECT max(snapshot_id) FROM snapshots()"), "49\n");
    let duckdb = duckdb_on(server, &database).unwrap();
    assert_eq!(duckdb.text("SELECT count(*), count(DISTINCT rowid) FROM t"), "48,48\n");
}
