//! Random queries, answered as DuckDB answers them: joins of all kinds on small tables full of NULLs,
//! with subqueries, aggregates and CTEs that are used several times, so that every way the optimizer
//! can turn a plan round is taken. They are answered with plenty of memory, where joins are hashed, and
//! with next to none, where they are sorted.
//!
//! `GOTGAN_QUERIES` says how many. A run prints its seed, and a failure that of its query:
//! `GOTGAN_QUERIES_SEED=… GOTGAN_QUERIES=1 cargo test --test it queries` repeats it.

mod write;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use gotgan::{Config, Error, Outcome, Session, Warehouse};

use self::write::Writer;
use crate::duckdb::{Rows, duckdb_alone};

/// Tables of sizes that make every order of joins the best one of some query.
const TABLES: [(&str, i32); 6] =
    [("nobody", 0), ("one", 1), ("few", 7), ("several", 25), ("many", 60), ("most", 150)];

#[test]
fn answers_are_those_of_another_engine() {
    answers_are_right(Config::temporary().threads(3));
}

#[test]
fn answers_without_memory_are_those_of_another_engine() {
    answers_are_right(Config::temporary().threads(3).memory_limit(1));
}

fn answers_are_right(config: Config) {
    let Some(duckdb) = duckdb_alone() else { return };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("GOTGAN_QUERIES_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let n_queries = number("GOTGAN_QUERIES").unwrap_or(300);
    println!("GOTGAN_QUERIES_SEED={first} GOTGAN_QUERIES={n_queries}");

    let tables = tables();
    let queries: Vec<String> =
        (first..first + n_queries).map(|seed| Writer::new(seed).query()).collect();
    let statements: Vec<&str> = tables.iter().chain(&queries).map(String::as_str).collect();
    let mut theirs = duckdb.all(&statements).split_off(tables.len());
    theirs.iter_mut().for_each(|rows| rows.sort());

    let mut refused = vec![];
    let mut problems = vec![];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let warehouse = Warehouse::open(config).await.unwrap();
        let mut session = warehouse.session();
        for table in &tables {
            session.sql(table).await.unwrap();
        }
        for ((seed, query), theirs) in (first..).zip(&queries).zip(&theirs) {
            match answer(&mut session, query).await {
                Ok(ours) if ours == *theirs => {}
                Ok(ours) => {
                    let whose = whose(&warehouse, query, theirs).await;
                    let (ours, theirs) = (differing(&ours, theirs), differing(theirs, &ours));
                    problems.push(format!("seed {seed}: {query}\n{whose}\n-{theirs}\n+{ours}"));
                }
                Err(error) if is_refused(&error) => refused.push(format!("{query}\n{error}")),
                Err(error) => problems.push(format!("seed {seed}: {query}\n{error}")),
            }
        }
    });
    println!("refused {} of {n_queries}", refused.len());
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n\n"));
    // The engine cannot decorrelate every subquery, but most.
    assert!(refused.len() as u64 <= 3 + n_queries / 4, "refused: {}", refused.join("\n\n"));
}

/// Statements that make the tables, the same for every seed.
fn tables() -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut statements = vec![];
    for (table, n_rows) in TABLES {
        statements.push(format!(
            "CREATE TABLE {table} (k INTEGER, j INTEGER, v BIGINT, s VARCHAR, f DOUBLE)"
        ));
        let of_one_null = if table == "several" { 2 } else { 6 };
        let mut value =
            |text: String| if rng.u8(..of_one_null) == 0 { "NULL".to_owned() } else { text };
        let mut numbers = fastrand::Rng::with_seed(n_rows as u64);
        let mut row = || {
            let mut below = |n: i32| numbers.i32(0..n);
            let values = [
                below(4 + n_rows / 2).to_string(),
                below(8).to_string(),
                below(100).to_string(),
                format!("'{}'", ["a", "ab", "abc", "b", "ba", ""][below(6) as usize]),
                format!("{}.5", below(9)),
            ];
            format!("({})", values.map(&mut value).join(", "))
        };
        let rows: Vec<String> = (0..n_rows).map(|_| row()).collect();
        if !rows.is_empty() {
            statements.push(format!("INSERT INTO {table} VALUES {}", rows.join(", ")));
        }
    }
    statements
}

/// The rows of a query as text, sorted.
async fn answer(session: &mut Session, query: &str) -> Result<Rows, Error> {
    let Outcome::Rows(rows) = session.sql(query).await? else { unreachable!("it is a query") };
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    let mut all = vec![];
    for batch in batches {
        let texts = batch.columns().iter().map(|column| cast(column, &DataType::Utf8).unwrap());
        let texts: Vec<_> = texts.collect();
        let value = |column: &dyn Array, row: usize| {
            let text = column.as_string::<i32>();
            text.is_valid(row).then(|| text.value(row).to_owned())
        };
        all.extend((0..batch.num_rows()).map(|row| texts.iter().map(|c| value(c, row)).collect()));
    }
    all.sort();
    Ok(all)
}

/// Whether the engine says that it cannot do this, rather than doing it wrong.
fn is_refused(error: &Error) -> bool {
    let message = error.to_string();
    ["not implemented", "not supported", "does not support"]
        .iter()
        .any(|said| message.contains(said))
}

/// Which rule gives the wrong answer.
async fn whose(warehouse: &Warehouse, query: &str, expected: &Rows) -> String {
    let mut wrong = vec![];
    let all = [
        "join_order",
        "group_filter",
        "grouping_sets",
        "anti_join",
        "conjunction",
        "decimals",
        "share_plans",
        "spill_joins",
    ];
    for rules in all.iter().map(std::slice::from_ref).chain([&all[..]]) {
        let mut session = warehouse.session();
        for rule in rules {
            session.sql(&format!("SET gotgan.{rule} = false")).await.unwrap();
        }
        let is_right = answer(&mut session, query).await.is_ok_and(|rows| rows == *expected);
        let is = if is_right { "right" } else { "wrong" };
        wrong.push(format!("without {}: {is}", rules.join(" and ")));
    }
    wrong.join(", ")
}

/// A few of the rows of `a` that are not in `b`.
fn differing(a: &Rows, b: &Rows) -> String {
    let only: Vec<_> = a.iter().filter(|row| !b.contains(row)).collect();
    let shown = only.iter().take(3).map(|row| crate::duckdb::lines(&vec![(*row).clone()]));
    format!("{} of {} rows: {}", only.len(), a.len(), shown.collect::<String>().replace('\n', " "))
}
