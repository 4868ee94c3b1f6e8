//! How much of the catalog a statement asks for, counted: what costs time, whatever the machine.

use std::path::Path;

use gotgan::catalog::model::{Relation, Schema};
use gotgan::catalog::{Access, Address, Catalog, PostgresUrl, Transaction};
use gotgan::{Session, Warehouse};

use crate::faults::one;
use crate::made_up;
use crate::support::{Kind, Lake, on_each_catalog};

on_each_catalog!(planning_asks_for_what_it_needs, a_small_insert_makes_few_calls);

/// Files of a table, its columns, and rows of a file.
const FILES: u64 = 400;
const COLUMNS: u64 = 8;
const ROWS: u64 = 1000;

/// Values of a file, and of the statistics of one column in a file.
const OF_FILE: u64 = 11;
const OF_STATS: u64 = 7;

/// More than anything that does not grow with the files.
const ELSE: u64 = 300;

fn planning_asks_for_what_it_needs(kind: Kind) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let lake = kind.lake();
        let catalog = catalog(kind, &lake).await;
        create(&catalog).await;
        append(&catalog, 0..FILES).await;
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        let mut session = warehouse.session();
        let (key, half) = (FILES / 2 * ROWS + 7, FILES / 2 * ROWS);

        // What is filtered of all files, all else of those that are left.
        let (plan, values) = explained(&mut session, &format!("WHERE c0 = {key}")).await;
        assert_eq!(named(&plan), [FILES / 2], "{plan}");
        assert_between(values, FILES * (OF_FILE + OF_STATS), ELSE);

        // Files of a snapshot that is the newest still, and statistics, are known from then on, to
        // every session.
        let mut other = warehouse.session();
        let (plan, values) = explained(&mut other, &format!("WHERE c0 = {}", key + ROWS)).await;
        assert_eq!(named(&plan), [FILES / 2 + 1], "{plan}");
        assert_between(values, 0, ELSE);

        let both = format!("WHERE c0 < {half} AND c1 >= {}", half - ROWS);
        let (plan, values) = explained(&mut session, &both).await;
        assert_eq!(named(&plan), [FILES / 2 - 1], "{plan}");
        assert_between(values, FILES * OF_STATS, ELSE);

        // Half of the files and more: the other columns are worth it.
        let (_, values) = explained(&mut session, &format!("WHERE c0 < {}", half + ROWS)).await;
        assert_between(values, FILES * (COLUMNS - 2) * OF_STATS, ELSE);

        // Another file: what is known of the others stays.
        append(&catalog, FILES..FILES + 1).await;
        let newest = FILES * ROWS;
        let (plan, values) = explained(&mut session, &format!("WHERE c0 >= {newest}")).await;
        assert_eq!(named(&plan), [FILES], "{plan}");
        assert_between(values, (FILES + 1) * OF_FILE, ELSE);

        let (plan, values) = explained(&mut session, "").await;
        assert!(named(&plan).len() > 1, "{plan}");
        assert_between(values, 0, ELSE);
    });
}

/// The newest snapshot to begin with, and the options of the table. Then in the catalog's transaction:
/// its begin, the newest snapshot, the table's counters, the row, the table's bounds, the snapshot and
/// what it changed, its commit.
const CALLS_OF_INSERT: u64 = 10;

fn a_small_insert_makes_few_calls(kind: Kind) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let lake = kind.lake();
        let warehouse = Warehouse::open(lake.config()).await.unwrap();
        let mut session = warehouse.session();
        session.sql("CREATE TABLE t (id BIGINT, name VARCHAR)").await.unwrap();
        session.sql("PREPARE p AS INSERT INTO t VALUES ($1, $2)").await.unwrap();
        for insert in [
            "INSERT INTO t VALUES (1, 'one')",
            "INSERT INTO t SELECT 1, 'one'",
            "EXECUTE p(1, 'one')",
        ] {
            let mut calls = Vec::new();
            // The first makes room, and some look whether rows should go into files.
            for _ in 0..4 {
                let (before, _) = warehouse.catalog_work();
                session.sql(insert).await.unwrap();
                let (after, _) = warehouse.catalog_work();
                calls.push(after - before);
            }
            assert_eq!(calls.iter().min(), Some(&CALLS_OF_INSERT), "{insert}: {calls:?}");
        }
        assert_eq!(one(&mut session, "SELECT count(*) FROM t WHERE id = 1").await, "12");
    });
}

#[track_caller]
fn assert_between(values: u64, least: u64, more: u64) {
    assert!((least..=least + more).contains(&values), "{values} values, not {least} and a few");
}

/// The plan of `SELECT *`, and how many values it took of the catalog.
async fn explained(session: &mut Session, condition: &str) -> (String, u64) {
    let (_, before) = session.warehouse().catalog_work();
    let rows = session.sql(&format!("EXPLAIN SELECT * FROM t {condition}")).await.unwrap();
    let batches = rows.collect().await.unwrap();
    let (_, after) = session.warehouse().catalog_work();
    (arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string(), after - before)
}

/// The numbers of the files that a plan names.
fn named(plan: &str) -> Vec<u64> {
    let names = plan.split("made-up-").skip(1);
    names.map(|rest| rest.split('.').next().unwrap().parse().unwrap()).collect()
}

async fn catalog(kind: Kind, lake: &Lake) -> Catalog {
    let address = match kind {
        Kind::Sqlite => Address::Sqlite(Path::new(&lake.location).join("catalog.sqlite")),
        Kind::Postgres(_) => Address::Postgres(PostgresUrl::parse(&lake.location).unwrap()),
    };
    Catalog::open(&address, Access::ReadWrite, None).await.unwrap()
}

async fn schema(transaction: &Transaction) -> Schema {
    transaction.schema("main").await.unwrap().unwrap()
}

async fn create(catalog: &Catalog) {
    let mut transaction = Transaction::begin(catalog).await.unwrap();
    transaction
        .create_table(&schema(&transaction).await, "t", made_up::columns(COLUMNS as usize))
        .await
        .unwrap();
    catalog.commit(&transaction.into_commit(None, None), || {}).await.unwrap();
}

/// Registers files that are not there; planning opens none.
async fn append(catalog: &Catalog, files: std::ops::Range<u64>) {
    let mut transaction = Transaction::begin(catalog).await.unwrap();
    let schema = schema(&transaction).await;
    let Some(Relation::Table(table)) = transaction.relation(&schema, "t").await.unwrap() else {
        panic!("the table is not there");
    };
    transaction.append(&table, files.map(|index| made_up::file(&table, index, ROWS)).collect());
    catalog.commit(&transaction.into_commit(None, None), || {}).await.unwrap();
}
