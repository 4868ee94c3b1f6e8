//! Places in a script, and how an error with a place is shown.
//!
//! A [`Span`] is data that errors carry; [`render`] is the one function that turns an error and
//! its source text into the form every front end prints:
//!
//! ```text
//! error: table "ordrs" does not exist
//!   --> etl/daily.sql:14:8
//!    |
//! 14 |   FROM ordrs
//!    |        ^^^^^ did you mean "orders"?
//! ```
//!
//! Colour is the front end's: the text here is plain.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::error::Error;

/// A character position in a script. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, in characters (not bytes).
    pub column: u64,
}

/// A range of a script, from its first character to the one after its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first character.
    pub start: Position,
    /// One past the last character.
    pub end: Position,
}

impl Span {
    /// The span of one character.
    pub fn at(line: u64, column: u64) -> Self {
        let start = Position { line, column };
        Self { start, end: Position { line, column: column + 1 } }
    }
}

/// A named script text: a file, standard input, or a `-c` argument.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name shown before line and column, such as `etl/daily.sql`.
    pub name: String,
    /// The whole text that spans count in.
    pub text: String,
}

/// Shows `error` with its place in `source`, its caret and its remedy; ends in a newline.
pub fn render(error: &Error, source: Option<&Source>) -> String {
    let mut out = format!("error: {}\n", error.message());
    let shown = source.zip(error.span()).is_some_and(|(source, span)| {
        let line = source.text.lines().nth(span.start.line.saturating_sub(1) as usize);
        if let Some(line) = line {
            snippet(&mut out, &source.name, line, span, error.label());
        }
        line.is_some()
    });
    if !shown && let Some(label) = error.label() {
        let _ = writeln!(out, "  {label}");
    }
    if let Some(help) = error.help() {
        let _ = writeln!(out, "help: {help}");
    }
    out
}

/// Long lines are cut around the caret to this many characters.
const MAX_LINE: usize = 120;

fn snippet(out: &mut String, name: &str, line: &str, span: Span, label: Option<&str>) {
    let chars: Vec<char> = line.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
    let column = (span.start.column.max(1) as usize - 1).min(chars.len());
    let end = if span.end.line > span.start.line {
        chars.len()
    } else {
        (span.end.column.max(1) as usize - 1).clamp(column, chars.len())
    };
    let from = if column > MAX_LINE * 2 / 3 { column - MAX_LINE / 2 } else { 0 };
    let to = chars.len().min(from + MAX_LINE);
    let text = |range: std::ops::Range<usize>| -> String { chars[range].iter().collect() };

    let (before, after) =
        (if from > 0 { "…" } else { "" }, if to < chars.len() { "…" } else { "" });
    let number = span.start.line.to_string();
    let margin = " ".repeat(number.len());
    let indent = " ".repeat(before.width() + text(from..column).width());
    let carets = "^".repeat(text(column..end.min(to).max(column)).width().max(1));
    let label = label.map(|label| format!(" {label}")).unwrap_or_default();
    let _ = write!(
        out,
        "{margin}--> {name}:{number}:{}\n{margin} |\n{number} | {before}{}{after}\n\
         {margin} | {indent}{carets}{label}\n",
        span.start.column,
        text(from..to).trim_end(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn shown(text: &str, span: Span) -> String {
        let error = Error::new(ErrorKind::NotFound, "table \"ordrs\" does not exist")
            .with_label("did you mean \"orders\"?")
            .with_span(span);
        render(&error, Some(&Source { name: "etl/daily.sql".into(), text: text.into() }))
    }

    fn span(line: u64, start: u64, end: u64) -> Span {
        Span { start: Position { line, column: start }, end: Position { line, column: end } }
    }

    #[test]
    fn caret_stands_below_the_word() {
        assert_eq!(
            shown("SELECT *\n  FROM ordrs\n", span(2, 8, 13)),
            "error: table \"ordrs\" does not exist\n \
             --> etl/daily.sql:2:8\n  |\n2 |   FROM ordrs\n  |        ^^^^^ did you mean \"orders\"?\n"
        );
    }

    #[test]
    fn wide_characters_move_the_caret_by_their_width() {
        let text = shown("SELECT '곳간' FROM ordrs", span(1, 18, 23));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[4].find('^'), Some("1 | ".len() + "SELECT '".len() + 4 + "' FROM ".len()));
    }

    #[test]
    fn places_outside_the_text_do_not_panic() {
        for (line, start, end) in [(0, 0, 0), (1, 99, 120), (7, 1, 2), (1, 5, 2)] {
            shown("SELECT 1", span(line, start, end));
        }
        let long = format!("SELECT '{}' FROM ordrs", "x".repeat(500));
        assert!(shown(&long, span(1, 516, 521)).contains("FROM ordrs\n"));
    }
}
