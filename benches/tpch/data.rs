//! The TPC-H tables as Parquet files, generated once per scale factor.

use std::fs::File;
use std::path::Path;

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tpchgen::generators as rows;
use tpchgen_arrow::{self as arrays, RecordBatchIterator};

use crate::support::Result;

/// The tables, the large ones first.
pub(crate) const TABLES: [&str; 8] =
    ["lineitem", "orders", "partsupp", "part", "customer", "supplier", "nation", "region"];

/// DuckDB's size of a row group, which no engine here minds.
const ROW_GROUP: usize = 122_880;

/// Writes the files that are not there yet, each table in a thread of its own.
pub(crate) fn generate(directory: &Path, scale: f64) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    std::thread::scope(|scope| {
        let missing = TABLES.iter().filter(|table| !directory.join(file(table)).exists());
        let threads: Vec<_> = missing
            .map(|table| {
                println!("generating {table}");
                scope.spawn(move || write(directory, table, scale).map_err(|e| e.to_string()))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err("a generator panicked".into()),
        })
    })
}

/// The name of a table's file.
pub(crate) fn file(table: &str) -> String {
    format!("{table}.parquet")
}

fn write(directory: &Path, table: &str, scale: f64) -> Result<()> {
    let batches = batches(table, scale)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build();
    // Plain Parquet: no hint that one engine would read and another not.
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let partial = directory.join(format!("{table}.partial"));
    let schema = std::sync::Arc::clone(batches.schema());
    let mut writer = ArrowWriter::try_new_with_options(File::create(&partial)?, schema, options)?;
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(std::fs::rename(partial, directory.join(file(table)))?)
}

fn batches(table: &str, scale: f64) -> Result<Box<dyn RecordBatchIterator>> {
    Ok(match table {
        "lineitem" => {
            Box::new(arrays::LineItemArrow::new(rows::LineItemGenerator::new(scale, 1, 1)))
        }
        "orders" => Box::new(arrays::OrderArrow::new(rows::OrderGenerator::new(scale, 1, 1))),
        "partsupp" => {
            Box::new(arrays::PartSuppArrow::new(rows::PartSuppGenerator::new(scale, 1, 1)))
        }
        "part" => Box::new(arrays::PartArrow::new(rows::PartGenerator::new(scale, 1, 1))),
        "customer" => {
            Box::new(arrays::CustomerArrow::new(rows::CustomerGenerator::new(scale, 1, 1)))
        }
        "supplier" => {
            Box::new(arrays::SupplierArrow::new(rows::SupplierGenerator::new(scale, 1, 1)))
        }
        "nation" => Box::new(arrays::NationArrow::new(rows::NationGenerator::new(scale, 1, 1))),
        "region" => Box::new(arrays::RegionArrow::new(rows::RegionGenerator::new(scale, 1, 1))),
        other => return Err(format!("TPC-H has no table {other}").into()),
    })
}
