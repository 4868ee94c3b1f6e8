//! The example warehouse: `sql/flights/etl.sql` through the program, against DuckDB's answers.
//!
//! `tests/data/flights/N.csv` is what DuckDB 1.5.5 answers to the script's N-th query.

use std::fs;
use std::path::Path;

use crate::support::{gotgan, scratch, sql};

#[test]
fn the_example_answers_as_duckdb_does_and_runs_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected: String = (1..=5)
        .map(|n| fs::read_to_string(root.join(format!("tests/data/flights/{n}.csv"))).unwrap())
        .collect();
    let scratch = scratch();
    let warehouse = scratch.path().join("flights.wh");
    for _ in 0..2 {
        let script = ["-f", "sql/flights/etl.sql"].map(AsRef::as_ref);
        let run = gotgan([warehouse.as_os_str()].into_iter().chain(script)).dir(root).run();
        assert_eq!(run.ok(), expected);
    }
    // The README's examples on it.
    assert_eq!(sql(&warehouse, "SELECT count(*) FROM core.flight"), "80789\n");
    let shown = gotgan([
        warehouse.as_os_str(),
        "-c".as_ref(),
        "FROM mart.daily LIMIT 3".as_ref(),
        "--format".as_ref(),
        "ndjson".as_ref(),
    ]);
    assert_eq!(shown.run().ok().lines().count(), 3);
    let error =
        gotgan([warehouse.as_os_str(), "-c".as_ref(), "SELECT count(*) FROM flihgt".as_ref()]);
    assert_eq!(
        error.run().fails(1),
        "error: table \"flihgt\" does not exist\n --> -c:1:22\n  |\n\
         1 | SELECT count(*) FROM flihgt\n  |                      ^^^^^^ did you mean core.flight?\n"
    );
}
