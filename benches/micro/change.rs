//! UPDATE, DELETE and MERGE on a large table, each statement in a process of its own.

use std::path::Path;
use std::time::Duration;

use crate::peer::Peer;
use crate::support::{self, Result, print_table};
use crate::{data, duckdb_lake};

/// Statements, with what tells their runs apart as `{}`.
const STATEMENTS: [(&str, &str); 3] = [
    (
        "UPDATE of 1 %",
        "UPDATE lineitem SET l_quantity = l_quantity + 1 WHERE l_orderkey % 100 = {}",
    ),
    ("DELETE of 1 %", "DELETE FROM lineitem WHERE l_orderkey % 100 = {} + 50"),
    (
        "MERGE of 1,000 rows",
        "MERGE INTO lineitem AS t USING news{} AS s \
         ON t.l_orderkey = s.l_orderkey AND t.l_linenumber = s.l_linenumber \
         WHEN MATCHED THEN UPDATE SET l_quantity = s.l_quantity, l_comment = 'merged' \
         WHEN NOT MATCHED THEN INSERT VALUES (s.l_orderkey, s.l_partkey, s.l_suppkey, \
         s.l_linenumber, s.l_quantity, s.l_extendedprice, s.l_discount, s.l_tax, s.l_returnflag, \
         s.l_linestatus, s.l_shipdate, s.l_commitdate, s.l_receiptdate, s.l_shipinstruct, \
         s.l_shipmode, s.l_comment)",
    ),
];

/// A third of the rows that are merged is new, the rest in a range of keys.
const NEWS: &str = "CREATE TABLE news{} AS \
     (SELECT * FROM lineitem WHERE l_orderkey > ({} + 1) * 60000 ORDER BY l_orderkey, l_linenumber LIMIT 667) \
     UNION ALL (SELECT * REPLACE (-l_orderkey AS l_orderkey) FROM lineitem \
     WHERE l_orderkey > ({} + 3) * 60000 ORDER BY l_orderkey, l_linenumber LIMIT 333)";

const RUNS: usize = 3;

/// The same statements on the same rows in a warehouse of ours and in DuckDB's DuckLake.
pub(crate) fn measure(directory: &Path, scale: f64) -> Result<()> {
    let files = support::directory()?.join(format!("tpch-sf{scale}"));
    data::generate(&files, scale)?;
    let lineitem = files.join("lineitem.parquet");
    let load =
        format!("CREATE TABLE lineitem AS SELECT * FROM read_parquet('{}')", lineitem.display());
    let lake = format!("sqlite:{}", directory.join("change.sqlite").display());
    let mut both = Both { directory, duckdb: duckdb_lake(directory, lake)?, rows: Vec::new() };
    both.run("CTAS", &[load])?;
    for run in 0..RUNS {
        both.prepare(&NEWS.replace("{}", &run.to_string()))?;
    }
    for (name, sql) in STATEMENTS {
        let runs = (0..RUNS).map(|run| sql.replace("{}", &run.to_string()));
        both.run(name, &runs.collect::<Vec<_>>())?;
    }
    both.compare()?;
    println!("\nlineitem of SF{scale}, best of {RUNS} runs on other rows each\n");
    let header =
        ["", "gotgan s", "peak MiB", "duckdb-lake s", "peak MiB", "ratio"].map(String::from);
    print_table(&header, &both.rows);
    Ok(())
}

struct Both<'a> {
    directory: &'a Path,
    duckdb: Peer,
    rows: Vec<Vec<String>>,
}

impl Both<'_> {
    fn prepare(&mut self, sql: &str) -> Result<()> {
        self.ours(sql)?;
        self.theirs(sql)?;
        Ok(())
    }

    fn run(&mut self, name: &str, runs: &[String]) -> Result<()> {
        let mut best = [(f64::INFINITY, 0.0_f64); 2];
        for sql in runs {
            for ((seconds, peak), found) in
                best.iter_mut().zip([self.ours(sql)?, self.theirs(sql)?])
            {
                *seconds = seconds.min(found.0);
                *peak = peak.max(found.1);
            }
        }
        let [ours, theirs] = best;
        let shown = |(seconds, peak): (f64, f64)| [format!("{seconds:.2}"), format!("{peak:.0}")];
        let cells = [shown(ours), shown(theirs)].concat();
        let ratio = format!("{:.2}", ours.0 / theirs.0);
        self.rows.push([vec![name.to_owned()], cells, vec![ratio]].concat());
        Ok(())
    }

    fn ours(&self, sql: &str) -> Result<(f64, f64)> {
        let mut command = support::gotgan();
        command.arg(self.directory.join("change.wh")).args(["-c", sql]);
        support::watched(&mut command, Duration::from_millis(2))
    }

    fn theirs(&mut self, sql: &str) -> Result<(f64, f64)> {
        self.duckdb.restart();
        let seconds = self.duckdb.ask(sql, false)?.seconds;
        Ok((seconds, self.duckdb.peak_memory()))
    }

    /// Both have the same rows after all of it.
    fn compare(&mut self) -> Result<()> {
        let sums = "SELECT count(*) AS n, sum(l_quantity) AS quantity, sum(l_orderkey) AS keys, \
                    count(*) FILTER (WHERE l_comment = 'merged') AS merged FROM lineitem";
        let mut command = support::gotgan();
        command.arg(self.directory.join("change.wh")).args(["-csv", "-c", sums]);
        let output = command.output()?;
        let ours = String::from_utf8(output.stdout)?;
        let ours: Vec<&str> = ours.lines().nth(1).unwrap_or_default().split(',').collect();
        let theirs = self.duckdb.ask(sums, true)?.rows.remove(0);
        let text = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), Into::into);
        let theirs: Vec<String> = theirs.iter().map(text).collect();
        if ours == theirs { Ok(()) } else { Err(format!("{ours:?}, but DuckDB {theirs:?}").into()) }
    }
}
