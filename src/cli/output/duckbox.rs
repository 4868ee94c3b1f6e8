//! The box on a terminal, as DuckDB draws it: names over types, numbers at the right, rows and
//! columns that do not fit left out in the middle and counted below.
//!
//! Only the rows that can be shown are kept, however long the result is: the first half, and the
//! last half in a ring.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::fit::{self, Align};
use super::{Renderer, Screen, View, cells, value};
use crate::cli::Stop;

/// The three `·` rows are worth drawing only instead of more rows than these.
const DOTS: usize = 3;

/// Columns are narrowed down to this before any is left out.
const NARROW: usize = 20;

type Row = Vec<Option<String>>;

pub(super) struct DuckBox {
    columns: Vec<Column>,
    null: String,
    headers: bool,
    color: bool,
    /// The columns of the screen; `None` is no limit.
    width: Option<usize>,
    /// Cells are kept up to this width.
    keep: usize,
    /// Rows kept from the start and from the end; all rows when there is no limit.
    first: usize,
    last: usize,
    head: Vec<Row>,
    tail: VecDeque<Row>,
    n_rows: usize,
}

struct Column {
    name: String,
    data_type: String,
    align: Align,
}

impl DuckBox {
    pub(super) fn new(view: &View, schema: &Schema, screen: Screen) -> Self {
        let columns = schema.fields().iter().map(|field| Column {
            name: fit::printable(field.name()).into_owned(),
            data_type: crate::types::display_type(field),
            align: if value::is_number(field.data_type()) { Align::Right } else { Align::Left },
        });
        let width = if view.max_width > 0 { Some(view.max_width) } else { screen.width };
        let limit = if view.max_rows == 0 { usize::MAX } else { view.max_rows };
        let first = limit.div_ceil(2);
        Self {
            columns: columns.collect(),
            null: view.null_text("NULL"),
            headers: view.headers,
            color: view.color && screen.width.is_some(),
            width,
            keep: width.unwrap_or(usize::MAX).max(NARROW),
            first,
            last: (limit - first).saturating_add(DOTS),
            head: Vec::new(),
            tail: VecDeque::new(),
            n_rows: 0,
        }
    }

    fn row(&self, cells: &[value::Cells<'_>], row: usize) -> Row {
        let shown = |text: String| fit::cut(&fit::printable(&text), self.keep).into_owned();
        cells.iter().map(|cells| cells.text(row).map(shown)).collect()
    }
}

impl Renderer for DuckBox {
    fn batch(&mut self, _out: &mut dyn Write, batch: &RecordBatch) -> Result<(), Stop> {
        let n_rows = batch.num_rows();
        self.n_rows += n_rows;
        let n_head = n_rows.min(self.first - self.head.len());
        let from = n_head.max(n_rows.saturating_sub(self.last));
        if n_head == 0 && from == n_rows {
            return Ok(());
        }
        let cells = cells(batch)?;
        for row in 0..n_head {
            self.head.push(self.row(&cells, row));
        }
        for row in from..n_rows {
            if self.tail.len() == self.last {
                self.tail.pop_front();
            }
            self.tail.push_back(self.row(&cells, row));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.columns.is_empty() {
            return writeln!(out, "{}", counted(self.n_rows, "row"));
        }
        let elided = self.n_rows > self.head.len() + self.tail.len();
        if elided {
            self.tail.drain(..self.tail.len().min(DOTS));
        }
        let layout = self.layout();
        let mut text = String::new();
        self.draw(&layout, elided, &mut text);
        self.footer(&layout, elided, &mut text);
        out.write_all(text.as_bytes())
    }
}

/// The columns that are drawn, `None` for the `…` that stands for those left out.
type Layout = Vec<(Option<usize>, usize)>;

impl DuckBox {
    fn layout(&self) -> Layout {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .map(|column| fit::width(&column.name).max(fit::width(&column.data_type)))
            .collect();
        for row in self.head.iter().chain(&self.tail) {
            for (width, cell) in widths.iter_mut().zip(row) {
                let text = cell.as_deref().unwrap_or(&self.null);
                *width = (*width).max(fit::width(text));
            }
        }
        let Some(limit) = self.width else {
            return widths.into_iter().enumerate().map(|(i, w)| (Some(i), w)).collect();
        };
        choose(&narrow(&widths, limit), limit)
    }

    fn draw(&self, layout: &Layout, elided: bool, out: &mut String) {
        rule(out, layout, ['┌', '┬', '┐']);
        if self.headers {
            self.line(out, layout, Some("\x1b[1m"), |column| (&column.name, Align::Center));
            self.line(out, layout, Some("\x1b[2m"), |column| (&column.data_type, Align::Center));
            if self.n_rows > 0 {
                rule(out, layout, ['├', '┼', '┤']);
            }
        }
        for row in &self.head {
            self.cells(out, layout, row);
        }
        if elided {
            for _ in 0..DOTS {
                self.line(out, layout, Some("\x1b[2m"), |column| {
                    ("·", if column.align == Align::Right { Align::Right } else { Align::Center })
                });
            }
        }
        for row in &self.tail {
            self.cells(out, layout, row);
        }
        rule(out, layout, ['└', '┴', '┘']);
    }

    fn cells(&self, out: &mut String, layout: &Layout, row: &Row) {
        for &(column, width) in layout {
            let (text, align) = match column {
                Some(index) => (row[index].as_deref(), self.columns[index].align),
                None => (Some("…"), Align::Center),
            };
            out.push_str("│ ");
            let dim = self.color && text.is_none();
            out.push_str(if dim { "\x1b[2m" } else { "" });
            fit::pad(out, text.unwrap_or(&self.null), width, align);
            out.push_str(if dim { "\x1b[0m" } else { "" });
            out.push(' ');
        }
        out.push_str("│\n");
    }

    fn line<'a>(
        &'a self,
        out: &mut String,
        layout: &Layout,
        color: Option<&str>,
        text: impl Fn(&'a Column) -> (&'a str, Align),
    ) {
        let color = color.filter(|_| self.color);
        for &(column, width) in layout {
            let (text, align) = match column {
                Some(index) => text(&self.columns[index]),
                None => ("…", Align::Center),
            };
            out.push_str("│ ");
            out.push_str(color.unwrap_or(""));
            fit::pad(out, text, width, align);
            out.push_str(color.map_or("", |_| "\x1b[0m"));
            out.push(' ');
        }
        out.push_str("│\n");
    }

    /// Counts below the box, when it does not show everything or is too long to count by eye.
    fn footer(&self, layout: &Layout, elided: bool, out: &mut String) {
        let shown = layout.iter().filter(|(column, _)| column.is_some()).count();
        let all_columns = shown == self.columns.len();
        if !elided && all_columns && (1..10).contains(&self.n_rows) {
            return;
        }
        let mut rows = counted(self.n_rows, "row");
        if elided {
            let _ = write!(rows, " ({} shown)", self.head.len() + self.tail.len());
        }
        let mut columns = counted(self.columns.len(), "column");
        if !all_columns {
            let _ = write!(columns, " ({shown} shown)");
        }
        let total: usize = layout.iter().map(|(_, width)| width + 3).sum::<usize>() + 1;
        let gap = total.saturating_sub(4 + fit::width(&rows) + fit::width(&columns)).max(2);
        let (dim, plain) = if self.color { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(out, "{dim}  {rows}{:gap$}{columns}{plain}", "");
    }
}

/// `1 row`, `1,234 rows`.
fn counted(count: usize, unit: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let plural = if count == 1 { "" } else { "s" };
    format!("{text} {unit}{plural}")
}

/// The widths under the highest common limit with which everything fits, [`NARROW`] at least.
fn narrow(widths: &[usize], limit: usize) -> Vec<usize> {
    let capped = |cap: usize| widths.iter().map(move |width| (*width).min(cap));
    let fits = |cap: usize| capped(cap).map(|width| width + 3).sum::<usize>() < limit;
    let widest = widths.iter().copied().max().unwrap_or(0);
    let (mut low, mut high) = (NARROW, widest.max(NARROW));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    capped(low).collect()
}

/// As many columns as fit, from both ends, with `…` for the ones in the middle.
fn choose(widths: &[usize], limit: usize) -> Layout {
    let total: usize = widths.iter().map(|width| width + 3).sum::<usize>() + 1;
    if total <= limit {
        return widths.iter().copied().enumerate().map(|(i, w)| (Some(i), w)).collect();
    }
    if let [width] = widths {
        return vec![(Some(0), (*width).min(limit.saturating_sub(4).max(1)))];
    }
    let mut budget = limit.saturating_sub(5);
    let (mut left, mut right) = (0, widths.len());
    while left < right {
        let from_left = left <= widths.len() - right;
        let next = widths[if from_left { left } else { right - 1 }] + 3;
        if next > budget {
            break;
        }
        budget -= next;
        if from_left { left += 1 } else { right -= 1 }
    }
    if left == 0 {
        return vec![(Some(0), widths[0].min(limit.saturating_sub(8).max(1))), (None, 1)];
    }
    let numbered = |range: std::ops::Range<usize>| range.map(|i| (Some(i), widths[i]));
    numbered(0..left).chain([(None, 1)]).chain(numbered(right..widths.len())).collect()
}

fn rule(out: &mut String, layout: &Layout, [left, middle, right]: [char; 3]) {
    out.push(left);
    for (index, (_, width)) in layout.iter().enumerate() {
        if index > 0 {
            out.push(middle);
        }
        out.extend(std::iter::repeat_n('─', width + 2));
    }
    out.push(right);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::testing::{counting, render, sample, wide};
    use super::*;

    fn view() -> View {
        View::new(Format::Box)
    }

    #[test]
    fn names_types_and_values() {
        assert_eq!(
            render(&view(), Some(80), &[sample()]),
            "\
┌───────┬───────────┬────────┐
│   n   │   name    │   x    │
│ int64 │  varchar  │ double │
├───────┼───────────┼────────┤
│     1 │ 곳간, \"a\" │    0.5 │
│    20 │ NULL      │    2.0 │
└───────┴───────────┴────────┘
"
        );
    }

    #[test]
    fn no_rows_are_counted() {
        assert_eq!(
            render(&view(), Some(80), &[counting(0)]),
            "┌───────┐\n│   i   │\n│ int64 │\n└───────┘\n  0 rows  1 column\n"
        );
    }

    #[test]
    fn rows_are_left_out_in_the_middle() {
        let batches = [counting(3), counting(3), counting(4)];
        let text = render(&View { max_rows: 4, ..view() }, Some(80), &batches);
        let rows: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "│     0 │",
                "│     1 │",
                "│     · │",
                "│     · │",
                "│     · │",
                "│     2 │",
                "│     3 │",
                "└───────┘",
                "  10 rows (4 shown)  1 column"
            ]
        );
        let all = render(&View { max_rows: 4, ..view() }, Some(80), &[counting(7)]);
        assert_eq!(all.lines().count(), 4 + 7 + 1, "three dots never replace three rows");
        let long = render(&view(), Some(80), &vec![counting(8192); 3]);
        assert!(long.contains("24,576 rows (40 shown)"), "{long}");
    }

    #[test]
    fn columns_are_left_out_in_the_middle() {
        let text = render(&view(), Some(40), &[wide(1000)]);
        assert!(text.lines().all(|line| fit::width(line) <= 41), "{text}");
        assert!(text.contains("│  c0   │  c1   │ … │ c998  │ c999  │"), "{text}");
        assert!(text.contains("1,000 columns (4 shown)"), "{text}");
    }

    #[test]
    fn wide_cells_are_narrowed_before_columns_are_dropped() {
        assert_eq!(narrow(&[5, 100, 30], 80), [5, 35, 30]);
        assert_eq!(narrow(&[100, 100, 100], 40), [20, 20, 20]);
        assert_eq!(narrow(&[], 40), [0; 0]);
    }

    #[test]
    fn a_tiny_terminal_still_shows_something() {
        let text = render(&view(), Some(3), &[sample()]);
        assert!(text.starts_with("┌───┬───┐\n│ n │ … │\n"), "{text}");
    }
}
