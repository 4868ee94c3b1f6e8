//! `json`, an array of objects, and `ndjson`, an object on each line.
//!
//! Columns of the same name get `_1`, `_2`, … so that every object keeps every value.

use std::collections::HashSet;
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::value::{Style, json_string};
use super::{Format, Renderer, View, cells, names};
use crate::cli::Stop;

pub(super) struct Json {
    lines: bool,
    /// `"name":`, escaped.
    keys: Vec<String>,
    first: bool,
}

impl Json {
    pub(super) fn new(view: &View, schema: &Schema) -> Self {
        let key = |name: String| {
            let mut key = String::new();
            json_string(&name, &mut key);
            key + ":"
        };
        let keys = distinct(names(schema)).into_iter().map(key).collect();
        Self { lines: view.format == Format::Ndjson, keys, first: true }
    }
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen = HashSet::new();
    for name in &mut names {
        if seen.insert(name.clone()) {
            continue;
        }
        let free =
            (1..).map(|n| format!("{name}_{n}")).find(|candidate| !taken.contains(candidate));
        *name = free.unwrap_or_default();
        taken.insert(name.clone());
    }
    names
}

impl Renderer for Json {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), Stop> {
        if !self.lines {
            out.write_all(b"[")?;
        }
        Ok(())
    }

    fn batch(&mut self, out: &mut dyn Write, batch: &RecordBatch) -> Result<(), Stop> {
        let cells = cells(batch)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            text.clear();
            if !self.lines && !std::mem::take(&mut self.first) {
                text.push_str(",\n");
            }
            text.push('{');
            for (index, (key, cells)) in self.keys.iter().zip(&cells).enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                text.push_str(key);
                cells.write(row, Style::Json, &mut text);
            }
            text.push('}');
            if self.lines {
                text.push('\n');
            }
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.lines { Ok(()) } else { out.write_all(b"]\n") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{counting, render, sample};
    use super::*;

    #[test]
    fn objects() {
        let lines = [r#"{"n":1,"name":"곳간, \"a\"","x":0.5}"#, r#"{"n":20,"name":null,"x":2.0}"#];
        assert_eq!(
            render(&View::new(Format::Ndjson), None, &[sample()]),
            format!("{}\n{}\n", lines[0], lines[1])
        );
        assert_eq!(
            render(&View::new(Format::Json), None, &[sample()]),
            format!("[{},\n{}]\n", lines[0], lines[1])
        );
        assert_eq!(render(&View::new(Format::Json), None, &[counting(0)]), "[]\n");
    }

    #[test]
    fn keys_are_distinct() {
        let names = ["a", "a", "a_1", "a"].map(String::from).to_vec();
        assert_eq!(distinct(names), ["a", "a_2", "a_1", "a_3"]);
    }
}
