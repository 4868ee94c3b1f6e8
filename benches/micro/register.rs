//! Making a table of thousands of Parquet files that exist already, without a copy.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::duckdb_lake;
use crate::start::query;
use crate::support::{self, Result, print_table};

/// Rows of a file: few, for what is measured does not read them.
const ROWS: i64 = 100;

/// Ours and DuckDB's, each in a process of its own.
pub(crate) fn measure(directory: &Path, n_files: u32) -> Result<()> {
    let files = directory.join("registered");
    write(&files, n_files)?;
    let pattern = files.join("*.parquet");
    let create = "CREATE TABLE events (id BIGINT, day BIGINT, name VARCHAR)";

    let warehouse = directory.join("registered.wh");
    support::timed(&mut query(&warehouse, create))?;
    let call = format!("CALL add_data_files('events', '{}')", pattern.display());
    let ours = support::watched(&mut query(&warehouse, &call), Duration::from_millis(2))?;

    let lake = format!("sqlite:{}", directory.join("registered.sqlite").display());
    let mut duckdb = duckdb_lake(directory, lake)?;
    duckdb.ask(create, false)?;
    duckdb.restart();
    let call = format!("CALL ducklake_add_data_files('lake', 'events', '{}')", pattern.display());
    let seconds = duckdb.ask(&call, false)?.seconds;
    let theirs = (seconds, duckdb.peak_memory());

    let expected = i64::from(n_files) * ROWS;
    let count = "SELECT count(*) FROM events";
    let found = query(&warehouse, count).output()?.stdout;
    let found = String::from_utf8(found)?;
    let their_count = duckdb.ask(count, true)?.rows;
    if !found.contains(&expected.to_string()) || their_count[0][0] != expected {
        return Err(format!("{found} and {their_count:?} rows, not {expected}").into());
    }
    let row = |name: &str, (seconds, peak): (f64, f64)| {
        vec![name.to_owned(), format!("{seconds:.2}"), format!("{peak:.0}")]
    };
    println!("\nRegistering {n_files} files of {ROWS} rows\n");
    let header = ["", "seconds", "peak MiB"].map(String::from);
    print_table(&header, &[row("gotgan", ours), row("duckdb-lake", theirs)]);
    Ok(())
}

fn write(directory: &Path, n_files: u32) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for index in 0..i64::from(n_files) {
        let ids = (index * ROWS..(index + 1) * ROWS).collect::<Vec<_>>();
        let names = ids.iter().map(|id| format!("event {id}")).collect::<Vec<_>>();
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(Int64Array::from(ids))),
            ("day", Arc::new(Int64Array::from_value(index, ROWS as usize))),
            ("name", Arc::new(StringArray::from(names))),
        ];
        let batch = RecordBatch::try_from_iter(columns)?;
        let file = File::create(directory.join(format!("{index:06}.parquet")))?;
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
    }
    Ok(())
}
