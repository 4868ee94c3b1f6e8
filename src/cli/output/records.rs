//! `line`, `html` and `insert`: a few words of text around every value.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::{Format, Renderer, View, cells, fit, names, value};
use crate::cli::Stop;
use crate::sql::name::{literal, quote};

pub(super) struct Records {
    format: Format,
    names: Vec<String>,
    /// Columns whose values are SQL numbers or booleans, which stand without quotes.
    bare: Vec<bool>,
    headers: bool,
    null: String,
    table: String,
    first: bool,
}

impl Records {
    pub(super) fn new(view: &View, schema: &Schema) -> Self {
        let bare = |data_type: &arrow::datatypes::DataType| {
            value::is_number(data_type) || *data_type == arrow::datatypes::DataType::Boolean
        };
        Self {
            format: view.format,
            names: names(schema),
            bare: schema.fields().iter().map(|field| bare(field.data_type())).collect(),
            headers: view.headers,
            null: view.null_text(if view.format == Format::Html { "" } else { "NULL" }),
            table: quote(&view.table),
            first: true,
        }
    }

    fn line(&self, row: &[Option<String>]) -> String {
        let width = self.names.iter().map(|name| fit::width(name)).max().unwrap_or(0);
        let mut out = String::from(if self.first { "" } else { "\n" });
        for (name, value) in self.names.iter().zip(row) {
            fit::pad(&mut out, &fit::printable(name), width, fit::Align::Right);
            let value = value.as_deref().unwrap_or(&self.null);
            out.push_str(" = ");
            out.push_str(&fit::printable(value));
            out.push('\n');
        }
        out
    }

    fn html(&self, row: &[Option<String>]) -> String {
        let cells = row.iter().map(|value| value.as_deref().unwrap_or(&self.null));
        html_row("td", cells)
    }

    fn insert(&self, row: &[Option<String>]) -> String {
        let columns: Vec<String> = self.names.iter().map(|name| quote(name)).collect();
        let values = row.iter().zip(&self.bare).map(|(value, bare)| match value {
            None => "NULL".to_owned(),
            Some(value) if *bare && value.ends_with(|c: char| c.is_ascii_digit() || c == 'e') => {
                value.clone()
            }
            Some(value) => literal(value),
        });
        let (columns, values) = (columns.join(", "), values.collect::<Vec<_>>().join(", "));
        format!("INSERT INTO {} ({columns}) VALUES ({values});\n", self.table)
    }
}

fn html_row<'a>(tag: &str, cells: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::from("<tr>");
    for cell in cells {
        let cell = cell.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        out.push_str(&format!("<{tag}>{}</{tag}>", cell.replace('"', "&quot;")));
    }
    out + "</tr>\n"
}

impl Renderer for Records {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), Stop> {
        if self.format == Format::Html {
            out.write_all(b"<table>\n")?;
            if self.headers {
                out.write_all(html_row("th", self.names.iter().map(String::as_str)).as_bytes())?;
            }
        }
        Ok(())
    }

    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), Stop> {
        let cells = cells(batch)?;
        for row in 0..batch.num_rows() {
            let values: Vec<Option<String>> = cells.iter().map(|cells| cells.text(row)).collect();
            let text = match self.format {
                Format::Html => self.html(&values),
                Format::Insert => self.insert(&values),
                _ => self.line(&values),
            };
            self.first = false;
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.format == Format::Html { out.write_all(b"</table>\n") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{render, sample};
    use super::*;

    #[test]
    fn line() {
        assert_eq!(
            render(&View::new(Format::Line), None, &[sample()]),
            "   n = 1\nname = 곳간, \"a\"\n   x = 0.5\n\n   n = 20\nname = NULL\n   x = 2.0\n"
        );
    }

    #[test]
    fn html() {
        assert_eq!(
            render(&View::new(Format::Html), None, &[sample().slice(0, 1)]),
            "<table>\n<tr><th>n</th><th>name</th><th>x</th></tr>\n\
             <tr><td>1</td><td>곳간, &quot;a&quot;</td><td>0.5</td></tr>\n</table>\n"
        );
    }

    #[test]
    fn insert() {
        let view = View { table: "Some table".into(), ..View::new(Format::Insert) };
        assert_eq!(
            render(&view, None, &[sample()]),
            "INSERT INTO \"Some table\" (n, name, x) VALUES (1, '곳간, \"a\"', 0.5);\n\
             INSERT INTO \"Some table\" (n, name, x) VALUES (20, NULL, 2.0);\n"
        );
    }
}
