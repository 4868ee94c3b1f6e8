//! How a table's files are written: the catalog's options under DuckLake's keys, else our own
//! choice.
//!
//! `lz4_raw` is the fastest codec to read, and large row groups cost little to read in parts. Numbers
//! and repeated values hardly shrink, and to undo it takes longer than to scan the rest: a page stays as
//! it is unless compression makes it much smaller, which only pages of version 2 can say of themselves.

use std::collections::BTreeMap;

use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

use crate::error::{Error, Result};

const ROW_GROUP_ROWS: usize = 1 << 20;
const ROW_GROUP_BYTES: usize = 128 << 20;
const FILE_BYTES: u64 = 512 << 20;

/// What is left of a page that is worth compressing. At 0.6 TPC-H's lineitem takes 15 % more space than
/// compressed altogether, and is scanned in 15 % less time.
const WORTH: f64 = 0.6;

/// How a table's files are written.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    compression: Compression,
    pages: Pages,
    row_group_rows: usize,
    row_group_bytes: usize,
    /// Bytes after which a file is finished.
    pub(super) target_file_size: u64,
    /// Whether each partition has a directory.
    pub(super) hive_file_pattern: bool,
    /// Whether rows are sorted by the table's keys.
    pub(super) sort_on_insert: bool,
}

/// The form of a file's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// Those of version 2 that are worth it are compressed; values that do not repeat are plain.
    Worth,
    /// Those of a version that was asked for, or of a codec.
    Version(WriterVersion),
}

impl WriteOptions {
    /// From the options of a table.
    pub(crate) fn of(options: &BTreeMap<String, String>) -> Result<Self> {
        let given = |key: &str| options.get(key).map(String::as_str);
        let number = |key: &str| -> Result<Option<u64>> {
            let parsed = |text: &str| text.parse().map_err(|_| wrong(key, text));
            given(key).map(parsed).transpose()
        };
        let flag = |key: &str| given(key).is_none_or(|text| !text.eq_ignore_ascii_case("false"));
        let size = |key: &str, default: usize| -> Result<usize> {
            let given = number(key)?.and_then(|size| usize::try_from(size).ok());
            Ok(given.unwrap_or(default).max(1))
        };
        let level = number("parquet_compression_level")?;
        Ok(Self {
            compression: match given("parquet_compression") {
                Some(codec) => compression(codec, level)?,
                None => Compression::LZ4_RAW,
            },
            pages: match given("parquet_version") {
                Some(version) if version.eq_ignore_ascii_case("v2") => {
                    Pages::Version(WriterVersion::PARQUET_2_0)
                }
                None if given("parquet_compression").is_none() => Pages::Worth,
                _ => Pages::Version(WriterVersion::PARQUET_1_0),
            },
            row_group_rows: size("parquet_row_group_size", ROW_GROUP_ROWS)?,
            row_group_bytes: size("parquet_row_group_size_bytes", ROW_GROUP_BYTES)?,
            target_file_size: number("target_file_size")?.unwrap_or(FILE_BYTES).max(1),
            hive_file_pattern: flag("hive_file_pattern"),
            sort_on_insert: flag("sort_on_insert"),
        })
    }

    pub(super) fn properties(&self) -> WriterPropertiesBuilder {
        let builder = match self.pages {
            Pages::Worth => WriterProperties::builder()
                .set_writer_version(WriterVersion::PARQUET_2_0)
                .set_encoding(Encoding::PLAIN)
                .set_data_page_v2_compression_ratio_threshold(WORTH),
            Pages::Version(version) => WriterProperties::builder().set_writer_version(version),
        };
        builder
            .set_compression(self.compression)
            .set_max_row_group_row_count(Some(self.row_group_rows))
            .set_max_row_group_bytes(Some(self.row_group_bytes))
            .set_created_by(format!("gotgan {}", env!("CARGO_PKG_VERSION")))
    }
}

/// A codec by its name; without a level it has its usual one.
fn compression(codec: &str, level: Option<u64>) -> Result<Compression> {
    let level = |usual: u32| level.map_or(usual, |level| u32::try_from(level).unwrap_or(u32::MAX));
    let no_level = |_| {
        Error::invalid(format!("{codec} has no compression level {}", level(0)))
            .with_help("CALL set_option('parquet_compression_level', …) with a level it has")
    };
    Ok(match codec.to_lowercase().as_str() {
        "uncompressed" => Compression::UNCOMPRESSED,
        "snappy" => Compression::SNAPPY,
        "gzip" => Compression::GZIP(GzipLevel::try_new(level(6)).map_err(no_level)?),
        "zstd" => {
            let level = i32::try_from(level(3)).unwrap_or(i32::MAX);
            Compression::ZSTD(ZstdLevel::try_new(level).map_err(no_level)?)
        }
        "brotli" => Compression::BROTLI(BrotliLevel::try_new(level(5)).map_err(no_level)?),
        "lz4" | "lz4_raw" => Compression::LZ4_RAW,
        _ => return Err(wrong("parquet_compression", codec)),
    })
}

fn wrong(key: &str, value: &str) -> Error {
    Error::invalid(format!("option {key} has the value {value:?}, which cannot be used"))
        .with_help(format!("CALL set_option('{key}', …) sets another"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<WriteOptions> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        WriteOptions::of(&options.collect())
    }

    #[test]
    fn options_have_defaults_and_limits() {
        let usual = of(&[]).unwrap();
        assert_eq!(usual.compression, Compression::LZ4_RAW);
        assert_eq!(usual.pages, Pages::Worth);
        assert!(usual.hive_file_pattern && usual.sort_on_insert);
        let other = of(&[
            ("parquet_compression", "ZSTD"),
            ("parquet_compression_level", "19"),
            ("target_file_size", "10000000"),
            ("hive_file_pattern", "false"),
        ])
        .unwrap();
        assert_eq!(other.compression, Compression::ZSTD(ZstdLevel::try_new(19).unwrap()));
        assert_eq!(other.pages, Pages::Version(WriterVersion::PARQUET_1_0));
        assert_eq!(other.target_file_size, 10_000_000);
        assert!(!other.hive_file_pattern);
        for wrong in [
            [("parquet_compression", "lzo"), ("x", "")],
            [("parquet_row_group_size", "many"), ("x", "")],
            [("parquet_compression", "gzip"), ("parquet_compression_level", "99")],
        ] {
            assert!(of(&wrong).unwrap_err().help().is_some(), "{wrong:?}");
        }
    }
}
