//! How results look: the formats, the settings that shape them, and the one interface that every
//! format implements.
//!
//! A [`Renderer`] sees the schema, then batch after batch, then the end. Formats that programs read
//! write each batch when it comes and hold nothing; `box` holds the rows it will show, `table`,
//! `column` and `markdown` hold the first thousand to find the widths. [`Sink`] is where the text
//! goes.

mod aligned;
mod delimited;
mod duckbox;
mod fit;
mod json;
mod records;
mod sink;
mod temporal;
pub(crate) mod value;

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

pub(crate) use sink::{Sink, Target};

use crate::cli::Stop;

/// Writes one result.
pub(crate) trait Renderer {
    /// Writes what stands before the rows.
    fn begin(&mut self, _out: &mut dyn Write) -> Result<(), Stop> {
        Ok(())
    }

    /// Takes a batch: writes it, or keeps what it needs of it.
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), Stop>;

    /// Writes what is left.
    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// A result format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Box,
    Table,
    Column,
    Line,
    List,
    Csv,
    Tsv,
    Json,
    Ndjson,
    Markdown,
    Html,
    Insert,
    Trash,
}

impl Format {
    /// Every format with its name, other names for it, and what it is.
    pub(crate) const ALL: &[(Self, &str, &[&str], &str)] = &[
        (Self::Box, "box", &["duckbox"], "a box with types, cut to the terminal"),
        (Self::Table, "table", &[], "an ASCII table"),
        (Self::Column, "column", &["columns"], "columns under their names"),
        (Self::Line, "line", &["lines"], "one value on each line"),
        (Self::List, "list", &[], "values separated by | as they are"),
        (Self::Csv, "csv", &[], "comma-separated values; NULL is empty, an empty string is \"\""),
        (Self::Tsv, "tsv", &["tabs"], "the same, separated by tabs"),
        (Self::Json, "json", &[], "an array of objects"),
        (Self::Ndjson, "ndjson", &["jsonlines", "nd-json"], "an object on each line"),
        (Self::Markdown, "markdown", &[], "a Markdown table"),
        (Self::Html, "html", &[], "an HTML table"),
        (Self::Insert, "insert", &[], "INSERT statements"),
        (Self::Trash, "trash", &["none"], "no output"),
    ];

    /// The format called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let known = |(_, main, others, _): &&(Self, &str, &[&str], &str)| {
            *main == name || others.contains(&name)
        };
        Self::ALL.iter().find(known).map(|(format, ..)| *format)
    }

    /// Its main name.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(format, ..)| *format == self).map_or("", |(_, name, ..)| name)
    }

    /// Whether rows are written as they come.
    pub(crate) fn streams(self) -> bool {
        self != Self::Box
    }

    /// All names, for completion and messages.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL
            .iter()
            .flat_map(|(_, name, others, _)| std::iter::once(*name).chain(others.iter().copied()))
    }
}

/// What shapes a result: the `.mode` family of settings.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) format: Format,
    /// Whether column names are shown, where a format can leave them out.
    pub(crate) headers: bool,
    /// What stands for NULL; `None` is the format's own.
    pub(crate) null: Option<String>,
    /// Between the values of `list`, `csv` and `tsv`; `None` is the format's own.
    pub(crate) separator: Option<String>,
    /// The most rows a box shows; 0 is all.
    pub(crate) max_rows: usize,
    /// The widest a box may be; 0 is the terminal's width.
    pub(crate) max_width: usize,
    /// The table that `insert` names.
    pub(crate) table: String,
    /// Whether boxes may be coloured, when they go to a terminal.
    pub(crate) color: bool,
}

/// What is known about the place that a result is written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Its width in columns; `None` when it is no terminal.
    pub(crate) width: Option<usize>,
}

impl View {
    /// The settings at the start, with `format`.
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            headers: true,
            null: None,
            separator: None,
            max_rows: 40,
            max_width: 0,
            table: "table".into(),
            color: false,
        }
    }

    /// The renderer for a result of `schema` on `screen`.
    pub(crate) fn renderer(&self, schema: &Schema, screen: Screen) -> Box<dyn Renderer> {
        match self.format {
            Format::Box => Box::new(duckbox::DuckBox::new(self, schema, screen)),
            Format::Table | Format::Column | Format::Markdown => {
                Box::new(aligned::Aligned::new(self, schema))
            }
            Format::List | Format::Csv | Format::Tsv => {
                Box::new(delimited::Delimited::new(self, schema))
            }
            Format::Json | Format::Ndjson => Box::new(json::Json::new(self, schema)),
            Format::Line | Format::Html | Format::Insert => {
                Box::new(records::Records::new(self, schema))
            }
            Format::Trash => Box::new(Trash),
        }
    }

    /// The text for NULL, or the format's own.
    fn null_text(&self, default: &str) -> String {
        self.null.clone().unwrap_or_else(|| default.to_owned())
    }
}

struct Trash;

impl Renderer for Trash {
    fn batch(&mut self, _out: &mut dyn Write, _batch: &RecordBatch) -> Result<(), Stop> {
        Ok(())
    }
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn cells(batch: &RecordBatch) -> crate::Result<Vec<value::Cells<'_>>> {
    batch.columns().iter().map(|column| value::Cells::new(column.as_ref())).collect()
}

/// The rows of a batch as texts, NULL as the empty one.
pub(crate) fn texts(batch: &RecordBatch) -> crate::Result<Vec<Vec<String>>> {
    let cells = cells(batch)?;
    let text = |row| cells.iter().map(|cells| cells.text(row).unwrap_or_default()).collect();
    Ok((0..batch.num_rows()).map(text).collect())
}

#[cfg(test)]
mod testing {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    /// `n INTEGER, name VARCHAR, x DOUBLE` with a NULL, a quote and wide characters.
    pub(super) fn sample() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![1, 20])) as ArrayRef),
            ("name", Arc::new(StringArray::from(vec![Some("곳간, \"a\""), None]))),
            ("x", Arc::new(Float64Array::from(vec![0.5, 2.0]))),
        ])
        .expect("columns of one length")
    }

    /// `count` rows of one column `i`, counting from 0.
    pub(super) fn counting(count: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
        RecordBatch::try_from_iter([("i", column)]).expect("one column")
    }

    /// One row of `count` integer columns.
    pub(super) fn wide(count: usize) -> RecordBatch {
        let fields: Vec<Field> =
            (0..count).map(|i| Field::new(format!("c{i}"), DataType::Int64, true)).collect();
        let columns = (0..count).map(|i| Arc::new(Int64Array::from(vec![i as i64])) as ArrayRef);
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).expect("one row")
    }

    pub(super) fn render(view: &View, width: Option<usize>, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let schema = batches[0].schema();
        let mut renderer = view.renderer(&schema, Screen { width });
        renderer.begin(&mut out).expect("a vector takes all");
        for batch in batches {
            renderer.batch(&mut out, batch).expect("a vector takes all");
        }
        renderer.finish(&mut out).expect("a vector takes all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_format_takes_no_rows_no_columns_and_many_columns() {
        for (format, name, ..) in Format::ALL {
            let view = View::new(*format);
            let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
            let no_columns = render(&view, Some(80), &[empty]);
            assert!(no_columns.len() < 200, "{name}: {no_columns}");
            render(&view, Some(80), &[sample().slice(0, 0)]);
            for width in [None, Some(1), Some(3), Some(80)] {
                render(&view, width, &[wide(1000)]);
                render(&view, width, &[sample()]);
            }
        }
    }
}
