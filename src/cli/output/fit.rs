//! Text that has to fit: display widths, cutting, padding, and harmless forms of control
//! characters.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where a value stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Center,
    Right,
}

/// `text` with everything that could drive a terminal or break a line replaced by an escape.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unsafe(c) => write!(out, "\\u{{{:x}}}", c as u32).unwrap_or_default(),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Control characters, and those that reorder or hide the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The columns that `text` takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// `text` cut to at most `limit` columns, the last one `…` when something is missing.
pub(super) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit || text.width() <= limit {
        return Cow::Borrowed(text);
    }
    if limit == 0 {
        return Cow::Borrowed("");
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < limit
    };
    let kept: String = text.chars().take_while(fits).collect();
    Cow::Owned(kept + "…")
}

/// `text` cut and padded to exactly `width` columns.
pub(super) fn pad(out: &mut String, text: &str, width: usize, align: Align) {
    let text = cut(text, width);
    let space = width - text.width().min(width);
    let before = match align {
        Align::Left => 0,
        Align::Center => space / 2,
        Align::Right => space,
    };
    let _ = write!(out, "{:before$}{text}{:after$}", "", "", after = space - before);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_columns() {
        assert_eq!(cut("곳간", 4), "곳간");
        assert_eq!(cut("곳간", 3), "곳…");
        assert_eq!(cut("곳간", 2), "…");
        assert_eq!(cut("abc", 0), "");
        let mut out = String::new();
        pad(&mut out, "곳간", 3, Align::Left);
        pad(&mut out, "a", 4, Align::Center);
        pad(&mut out, "곳간창고", 4, Align::Right);
        assert_eq!(out, "곳… a   곳…"); // 곳… is three columns, so one space leads the last
    }

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n\u{202e}c\u{85}"), "a\\u{1b}[2Jb\\n\\u{202e}c\\u{85}");
        assert_eq!(printable("곳간"), "곳간");
    }
}
