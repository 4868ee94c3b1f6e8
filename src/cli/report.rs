//! What goes to standard error: the library's plain error text, coloured when a terminal reads
//! it, warnings, and times.

use std::io::Write;
use std::time::Duration;

use console::Style;

use crate::diagnostic::{self, Source};
use crate::error::Error;

/// Prints `error` with its place in `source`.
pub(crate) fn error(error: &Error, source: Option<&Source>) {
    let text = diagnostic::render(error, source);
    print(&if console::colors_enabled_stderr() { paint(&text) } else { text });
}

/// Prints something worth knowing that is no error.
pub(crate) fn warning(message: &str) {
    let style = Style::new().for_stderr().yellow().bold();
    print(&format!("{} {message}\n", style.apply_to("warning:")));
}

/// Prints how long a statement took.
pub(crate) fn time(elapsed: Duration) {
    print(&format!("Run Time (s): real {:.3}\n", elapsed.as_secs_f64()));
}

/// A standard error that is closed is no reason to panic.
fn print(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Colours the lines of a rendered error by what they begin with.
fn paint(text: &str) -> String {
    let red = Style::new().force_styling(true).red().bold();
    let blue = Style::new().force_styling(true).blue().bold();
    let cyan = Style::new().force_styling(true).cyan().bold();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("error:") {
            out.push_str(&format!("{}{rest}", red.apply_to("error:")));
        } else if let Some(rest) = line.strip_prefix("help:") {
            out.push_str(&format!("{}{rest}", cyan.apply_to("help:")));
        } else if line.trim_start().starts_with("-->") {
            out.push_str(&blue.apply_to(line).to_string());
        } else if let Some((margin, rest)) = line.split_once('|') {
            out.push_str(&blue.apply_to(format!("{margin}|")).to_string());
            if rest.trim_start().starts_with('^') {
                out.push_str(&red.apply_to(rest).to_string());
            } else {
                out.push_str(rest);
            }
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_leave_the_text_alone() {
        let text = "error: no\n  --> a.sql:1:8\n  |\n1 | FROM a | b\n  |      ^ here\nhelp: do\n";
        let painted = paint(text);
        assert_ne!(painted, text);
        assert_eq!(console::strip_ansi_codes(&painted), text);
    }
}
