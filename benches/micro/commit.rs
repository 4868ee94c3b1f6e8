//! Commits a second of one client, on catalogs in SQLite and PostgreSQL.

use std::path::Path;
use std::time::Instant;

use gotgan::{Config, Session, Warehouse};

use crate::peer::Peer;
use crate::services::{PASSWORD, Postgres, postgres};
use crate::support::{Result, print_table};
use crate::{best_and_median, duckdb_lake, milliseconds};

/// Rows of one INSERT.
const ROWS: [u32; 3] = [1, 10, 1000];

/// Ours and DuckDB's, each on a lake of its own, `n_commits` of each kind in turns.
pub(crate) async fn measure(directory: &Path, n_commits: u32) -> Result<()> {
    let sqlite = Place {
        catalog: "SQLite",
        config: Config::new(directory.join("commits.wh").display().to_string()),
        lake: format!("sqlite:{}", directory.join("commits.sqlite").display()),
    };
    let mut rows = sqlite.measure(directory, n_commits).await?;
    match postgres() {
        Some(server) => rows.extend(on(server, directory).measure(directory, n_commits).await?),
        None => println!("no PostgreSQL to measure with"),
    }
    println!("\nCommits of one client, {n_commits} of each kind\n");
    let header =
        ["", "commits/s", "median ms", "duckdb-lake commits/s", "median ms", "times as many"];
    print_table(&header.map(String::from), &rows);
    Ok(())
}

fn on(server: &Postgres, directory: &Path) -> Place {
    for database in ["ours", "theirs"] {
        server.execute("postgres", &format!("CREATE DATABASE {database}"));
    }
    let (port, password) = (server.port, PASSWORD.replace('\'', "\\'"));
    let lake = format!(
        "postgres:dbname=theirs host=127.0.0.1 port={port} user=gotgan password='{password}'"
    );
    Place {
        catalog: "PostgreSQL",
        config: Config::new(server.url("ours"))
            .data_path(directory.join("commits.pg").display().to_string()),
        // It stands in a literal.
        lake: lake.replace('\'', "''"),
    }
}

struct Place {
    catalog: &'static str,
    config: Config,
    lake: String,
}

impl Place {
    async fn measure(&self, directory: &Path, n_commits: u32) -> Result<Vec<Vec<String>>> {
        let mut session = Warehouse::open(self.config.clone()).await?.session();
        let mut duckdb = duckdb_lake(directory, self.lake.clone())?;
        let mut table = Vec::new();
        for n_rows in ROWS {
            let create = format!("CREATE TABLE t{n_rows} (id BIGINT, name VARCHAR)");
            session.sql(&create).await?;
            duckdb.ask(&create, false)?;
            let values = |i| format!("({i}, 'name {i}')");
            let values: Vec<String> = (0..n_rows).map(values).collect();
            let insert = format!("INSERT INTO t{n_rows} VALUES {}", values.join(", "));
            let (ours, theirs) = samples(&mut session, &mut duckdb, &insert, n_commits).await?;
            check(&mut session, &format!("t{n_rows}"), n_rows * (n_commits + 1)).await?;
            let name = format!("{}: INSERT of {n_rows} rows", self.catalog);
            table.push(compared(name, ours, theirs));
        }
        Ok(table)
    }
}

/// Seconds of each commit.
async fn samples(
    session: &mut Session,
    duckdb: &mut Peer,
    sql: &str,
    n_commits: u32,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for commit in 0..=n_commits {
        let start = Instant::now();
        session.sql(sql).await?;
        let seconds = start.elapsed().as_secs_f64();
        let their_seconds = duckdb.ask(sql, false)?.seconds;
        // The first one warms up.
        if commit > 0 {
            ours.push(seconds);
            theirs.push(their_seconds);
        }
    }
    Ok((ours, theirs))
}

async fn check(session: &mut Session, table: &str, n_rows: u32) -> Result<()> {
    let sql = format!("SELECT count(*) = {n_rows} AND min(id) = 0 FROM {table}");
    let text = session.sql(&sql).await?.collect().await?;
    let text = arrow::util::pretty::pretty_format_batches(&text)?.to_string();
    if text.contains("true") { Ok(()) } else { Err(format!("{table} lost rows").into()) }
}

fn compared(name: String, ours: Vec<f64>, theirs: Vec<f64>) -> Vec<String> {
    let rate = |samples: &[f64]| samples.len() as f64 / samples.iter().sum::<f64>();
    let (our_rate, their_rate) = (rate(&ours), rate(&theirs));
    let ((_, ours), (_, theirs)) = (best_and_median(ours), best_and_median(theirs));
    vec![
        name,
        format!("{our_rate:.0}"),
        milliseconds(ours),
        format!("{their_rate:.0}"),
        milliseconds(theirs),
        format!("{:.1}", our_rate / their_rate),
    ]
}
