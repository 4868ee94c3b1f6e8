//! `csv`, `tsv` and `list`: values and a separator.
//!
//! CSV and TSV quote as RFC 4180 says, with line feeds; a NULL is empty and an empty string is
//! `""`, so that both survive. A list writes values as they are.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::value::Style;
use super::{Format, Renderer, View, cells, names};
use crate::cli::Stop;

pub(super) struct Delimited {
    names: Option<Vec<String>>,
    null: String,
    separator: String,
    quotes: bool,
}

impl Delimited {
    pub(super) fn new(view: &View, schema: &Schema) -> Self {
        let separator = match view.format {
            Format::Csv => ",",
            Format::Tsv => "\t",
            _ => "|",
        };
        Self {
            names: view.headers.then(|| names(schema)),
            null: view.null_text(""),
            separator: view.separator.clone().unwrap_or_else(|| separator.to_owned()),
            quotes: view.format != Format::List,
        }
    }

    fn quote(&self, line: &mut String, start: usize) {
        let text = &line[start..];
        let special = text.is_empty()
            || text == self.null
            || text.contains(['"', '\n', '\r'])
            || text.contains(&self.separator);
        if self.quotes && special {
            let quoted = format!("\"{}\"", text.replace('"', "\"\""));
            line.replace_range(start.., &quoted);
        }
    }
}

impl Renderer for Delimited {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), Stop> {
        let Some(names) = self.names.as_ref().filter(|names| !names.is_empty()) else {
            return Ok(());
        };
        let mut line = String::new();
        for (index, name) in names.iter().enumerate() {
            line.push_str(if index > 0 { &self.separator } else { "" });
            let start = line.len();
            line.push_str(name);
            self.quote(&mut line, start);
        }
        Ok(writeln!(out, "{line}")?)
    }

    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), Stop> {
        let cells = cells(batch)?;
        let mut line = String::new();
        for row in 0..batch.num_rows() {
            line.clear();
            for (index, cells) in cells.iter().enumerate() {
                line.push_str(if index > 0 { &self.separator } else { "" });
                if cells.is_null(row) {
                    line.push_str(&self.null);
                    continue;
                }
                let start = line.len();
                cells.write(row, Style::Plain, &mut line);
                self.quote(&mut line, start);
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::super::testing::{render, sample};
    use super::*;

    #[test]
    fn quotes_where_needed() {
        assert_eq!(
            render(&View::new(Format::Csv), None, &[sample()]),
            "n,name,x\n1,\"곳간, \"\"a\"\"\",0.5\n20,,2.0\n"
        );
        assert_eq!(
            render(&View::new(Format::List), None, &[sample()]),
            "n|name|x\n1|곳간, \"a\"|0.5\n20||2.0\n"
        );
        let view = View { headers: false, null: Some("-".into()), ..View::new(Format::Tsv) };
        assert_eq!(render(&view, None, &[sample()]), "1\t\"곳간, \"\"a\"\"\"\t0.5\n20\t-\t2.0\n");
    }

    #[test]
    fn null_and_the_empty_string_differ() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("a\nb")]));
        let batch = RecordBatch::try_from_iter([("v", column)]).unwrap();
        assert_eq!(render(&View::new(Format::Csv), None, &[batch]), "v\n\"\"\n\n\"a\nb\"\n");
    }
}
