//! `table`, `column` and `markdown`: every row, in columns of one width.
//!
//! The widths come from the first thousand rows; a wider value further down widens its own line
//! only, so that a result of any length is written without being held.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::fit::{self, Align};
use super::{Format, Renderer, View, cells, value};
use crate::cli::Stop;

const SAMPLE: usize = 1000;

pub(super) struct Aligned {
    format: Format,
    headers: bool,
    null: String,
    names: Vec<String>,
    aligns: Vec<Align>,
    widths: Vec<usize>,
    /// Rows held until the widths are known; `None` once they are.
    held: Option<Vec<Vec<String>>>,
}

impl Aligned {
    pub(super) fn new(view: &View, schema: &Schema) -> Self {
        let align = |number| {
            if number && view.format != Format::Column { Align::Right } else { Align::Left }
        };
        let format = view.format;
        let names: Vec<String> =
            schema.fields().iter().map(|field| harmless(format, field.name())).collect();
        let minimum = if format == Format::Markdown { 3 } else { 1 };
        Self {
            format,
            headers: view.headers || format == Format::Markdown,
            null: view.null_text(if format == Format::Markdown { "" } else { "NULL" }),
            widths: names.iter().map(|name| fit::width(name).max(minimum)).collect(),
            names,
            aligns: schema
                .fields()
                .iter()
                .map(|field| align(value::is_number(field.data_type())))
                .collect(),
            held: Some(Vec::new()),
        }
    }

    /// Writes the header and the held rows; the widths are fixed from now on.
    fn release(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(rows) = self.held.take() else {
            return Ok(());
        };
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(fit::width(cell));
            }
        }
        self.header(out)?;
        rows.iter().try_for_each(|row| self.row(out, row, &self.aligns))
    }

    fn header(&self, out: &mut dyn Write) -> io::Result<()> {
        let heads = match self.format {
            Format::Column => vec![Align::Left; self.names.len()],
            _ => vec![Align::Center; self.names.len()],
        };
        if self.format == Format::Table {
            self.rule(out)?;
        }
        if !self.headers {
            return Ok(());
        }
        self.row(out, &self.names, &heads)?;
        match self.format {
            Format::Table => self.rule(out),
            Format::Markdown => {
                let rules =
                    self.widths.iter().zip(&self.aligns).map(|(width, align)| match align {
                        Align::Right => "-".repeat(width - 1) + ":",
                        _ => "-".repeat(*width),
                    });
                self.row(out, &rules.collect::<Vec<_>>(), &heads)
            }
            _ => {
                let rules: Vec<String> =
                    self.widths.iter().map(|width| "-".repeat(*width)).collect();
                self.row(out, &rules, &heads)
            }
        }
    }

    fn row(&self, out: &mut dyn Write, row: &[String], aligns: &[Align]) -> io::Result<()> {
        let (start, between, end) = match self.format {
            Format::Column => ("", "  ", ""),
            _ => ("| ", " | ", " |"),
        };
        let mut line = String::from(start);
        for (index, cell) in row.iter().enumerate() {
            line.push_str(if index > 0 { between } else { "" });
            fit::pad(&mut line, cell, self.widths[index].max(fit::width(cell)), aligns[index]);
        }
        line.push_str(end);
        writeln!(out, "{}", line.trim_end())
    }

    fn rule(&self, out: &mut dyn Write) -> io::Result<()> {
        let dashes: Vec<String> = self.widths.iter().map(|width| "-".repeat(width + 2)).collect();
        writeln!(out, "+{}+", dashes.join("+"))
    }
}

fn harmless(format: Format, text: &str) -> String {
    let text = fit::printable(text);
    match format {
        Format::Markdown => text.replace('\\', "\\\\").replace('|', "\\|"),
        _ => text.into_owned(),
    }
}

impl Renderer for Aligned {
    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), Stop> {
        let cells = cells(batch)?;
        for row in 0..batch.num_rows() {
            let row: Vec<String> = cells
                .iter()
                .map(|cells| match cells.text(row) {
                    Some(text) => harmless(self.format, &text),
                    None => self.null.clone(),
                })
                .collect();
            match &mut self.held {
                Some(held) => held.push(row),
                None => self.row(out, &row, &self.aligns)?,
            }
            if self.held.as_ref().is_some_and(|held| held.len() == SAMPLE) {
                self.release(out)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.release(out)?;
        if self.format == Format::Table { self.rule(out) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{counting, render, sample};
    use super::*;

    fn shown(format: Format) -> String {
        render(&View::new(format), None, &[sample()])
    }

    #[test]
    fn table() {
        assert_eq!(
            shown(Format::Table),
            "\
+----+-----------+-----+
| n  |   name    |  x  |
+----+-----------+-----+
|  1 | 곳간, \"a\" | 0.5 |
| 20 | NULL      | 2.0 |
+----+-----------+-----+
"
        );
    }

    #[test]
    fn column() {
        assert_eq!(
            shown(Format::Column),
            "n   name       x\n--  ---------  ---\n1   곳간, \"a\"  0.5\n20  NULL       2.0\n"
        );
    }

    #[test]
    fn markdown() {
        assert_eq!(
            shown(Format::Markdown),
            "\
|  n  |   name    |  x  |
| --: | --------- | --: |
|   1 | 곳간, \"a\" | 0.5 |
|  20 |           | 2.0 |
"
        );
        assert_eq!(harmless(Format::Markdown, "a|b\n"), "a\\|b\\\\n");
    }

    #[test]
    fn later_rows_are_written_at_once() {
        let text = render(&View::new(Format::Column), None, &[counting(1500)]);
        assert_eq!(text.lines().count(), 1502);
        assert!(text.contains("\n999\n1000\n"), "{text}");
    }
}
