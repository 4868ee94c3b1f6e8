//! The input line: rustyline with completion, colours and continuation prompts.
//!
//! Enter in the middle of a statement begins a new line of the same input, so that all of a
//! statement can still be edited. rustyline draws no prompt before such lines. Here each of them
//! begins with a tab and [`MARK`]: rustyline takes the tab for eight columns, the highlighter draws
//! `   ...> ` there, and both are gone from the text that [`Editor::read`] gives.

use std::borrow::Cow;
use std::cell::Cell;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    CharSearch, Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Event,
    EventContext, EventHandler, Helper, KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
};

use super::complete::{self, Candidate};
use super::highlight::{self, Class};
use crate::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::script::is_complete;

/// A character without width that nobody types (a language tag, deprecated): the tab before it is
/// not the user's.
const MARK: char = '\u{e0001}';

/// A line end in the middle of a statement.
const NEW_LINE: &str = "\n\t\u{e0001}";

/// What stands in the place of a mark and its tab.
const CONTINUATION: &str = "   ...> ";

/// What reading a line gives.
pub(crate) enum Input {
    Text(String),
    /// Ctrl-C: the line is thrown away.
    Cleared,
    /// Ctrl-D.
    End,
}

/// The line editor.
pub(crate) struct Editor {
    inner: rustyline::Editor<Assistant, MemHistory>,
}

impl Editor {
    /// An editor with these earlier entries.
    pub(crate) fn new(history: Vec<String>) -> Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .max_history_size(10_000)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(failed)?
            // The highlighter also draws the continuation prompts, so it works without colour.
            .color_mode(ColorMode::Forced)
            .build();
        let mut inner =
            rustyline::Editor::with_history(config, MemHistory::new()).map_err(failed)?;
        inner.set_helper(Some(Assistant::default()));
        for (event, key) in [
            (KeyEvent(KeyCode::Enter, Modifiers::NONE), Key::Enter),
            (KeyEvent(KeyCode::Left, Modifiers::NONE), Key::Left),
            (KeyEvent(KeyCode::Backspace, Modifiers::NONE), Key::Backspace),
            (KeyEvent(KeyCode::Home, Modifiers::NONE), Key::Home),
            (KeyEvent::ctrl('A'), Key::Home),
        ] {
            inner.bind_sequence(event, EventHandler::Conditional(Box::new(key)));
        }
        let mut editor = Self { inner };
        for entry in history {
            editor.remember(&entry);
        }
        Ok(editor)
    }

    /// Reads one input, a command or whole statements; it begins as `draft`.
    pub(crate) fn read(&mut self, prompt: &str, draft: &str) -> Result<Input> {
        let styled = match self.inner.helper() {
            Some(Assistant { colored: true, .. }) => format!("\x1b[1m{prompt}\x1b[0m"),
            _ => prompt.to_owned(),
        };
        let prompt = (prompt, styled);
        match self.inner.readline_with_initial(&prompt, (&marked(draft), "")) {
            Ok(line) => Ok(Input::Text(unmarked(&line))),
            Err(ReadlineError::Interrupted) => Ok(Input::Cleared),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(failed(error)),
        }
    }

    /// Offers `entry` to the arrow keys.
    pub(crate) fn remember(&mut self, entry: &str) {
        let _ = self.inner.add_history_entry(marked(entry));
    }

    /// Completes with these names from now on.
    pub(crate) fn set_names(&mut self, names: Names) {
        if let Some(helper) = self.inner.helper_mut() {
            helper.names = Some(names);
        }
    }

    /// Colours the input, or leaves it plain.
    pub(crate) fn set_colored(&mut self, colored: bool) {
        if let Some(helper) = self.inner.helper_mut() {
            helper.colored = colored;
        }
    }
}

fn failed(error: ReadlineError) -> Error {
    Error::new(ErrorKind::Storage, format!("cannot read from the terminal: {error}"))
        .with_source(error)
}

fn marked(text: &str) -> String {
    text.replace('\n', NEW_LINE)
}

/// Removes the marks with their tabs, wherever the cursor was when something was typed.
fn unmarked(line: &str) -> String {
    let lines = line.split('\n').map(|line| {
        if !line.contains(MARK) {
            return line.to_owned();
        }
        let line = line.replacen("\t\u{e0001}", "\u{e0001}", 1);
        let split = line.strip_prefix('\t').filter(|_| !line.starts_with(MARK));
        split.unwrap_or(&line).replace(MARK, "")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether Enter ends the input.
fn is_finished(line: &str) -> bool {
    let text = unmarked(line);
    text.trim_start().starts_with(['.', '\\']) || is_complete(&text)
}

/// Keys that have to know about the marks.
enum Key {
    Enter,
    Left,
    Backspace,
    Home,
}

impl ConditionalEventHandler for Key {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        let before = &context.line()[..context.pos()];
        let line_end = Movement::ViCharSearch(1, CharSearch::Backward('\n'));
        let at_start = before.trim_end_matches(MARK).ends_with("\n\t");
        match self {
            Self::Enter => {
                (!is_finished(context.line())).then(|| Cmd::Insert(1, NEW_LINE.to_owned()))
            }
            Self::Left => at_start.then_some(Cmd::Move(line_end)),
            Self::Backspace => at_start.then_some(Cmd::Kill(line_end)),
            Self::Home => {
                let line = &before[before.rfind('\n')?..];
                line.strip_prefix(NEW_LINE)?;
                Some(Cmd::Move(Movement::ViCharSearch(1, CharSearch::BackwardAfter(MARK))))
            }
        }
    }
}

/// What rustyline asks while a line is edited.
#[derive(Default)]
struct Assistant {
    names: Option<Names>,
    colored: bool,
    /// The line is about to leave the editor: no bracket is marked any more.
    leaving: Cell<bool>,
}

impl Helper for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let finished = is_finished(context.input());
        Ok(if finished { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl rustyline::completion::Candidate for Candidate {
    fn display(&self) -> &str {
        &self.shown
    }

    fn replacement(&self) -> &str {
        &self.text
    }
}

impl Completer for Assistant {
    type Candidate = Candidate;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Candidate>)> {
        Ok(complete::complete(&blank(&line[..cursor]), self.names.as_ref()))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, cursor: usize) -> Cow<'l, str> {
        if !self.colored && !line.contains(MARK) {
            return Cow::Borrowed(line);
        }
        let cursor = (!self.leaving.get()).then_some(cursor);
        Cow::Owned(paint(line, cursor, self.colored))
    }

    fn highlight_char(&self, _line: &str, _cursor: usize, kind: CmdKind) -> bool {
        self.leaving.set(kind == CmdKind::ForcedRefresh);
        true
    }
}

/// `line` with its marks as continuation prompts, coloured if wanted.
fn paint(line: &str, cursor: Option<usize>, colored: bool) -> String {
    let text = blank(line);
    let mut classes = highlight::classes(&text);
    if let Some(other) = cursor.and_then(|at| highlight::matching_bracket(&text, &classes, at)) {
        classes[other] = Class::Match;
    }
    let mut out = String::with_capacity(line.len() * 2);
    let mut current = Class::Plain;
    let (dim, plain) = if colored { ("\x1b[0;2m", "\x1b[0m") } else { ("", "") };
    let mut begins = true;
    for (at, c) in line.char_indices() {
        let begin = std::mem::replace(&mut begins, c == '\n');
        if begin && c == '\t' && has_mark(&line[at..]) {
            out.push_str(&format!("{dim}{CONTINUATION}{plain}"));
            current = Class::Plain;
            continue;
        }
        if c == MARK {
            continue;
        }
        if colored && classes[at] != current {
            current = classes[at];
            out.push_str("\x1b[0m");
            out.push_str(current.color());
        }
        out.push(c);
    }
    if current != Class::Plain {
        out.push_str("\x1b[0m");
    }
    out
}

/// Whether the first line of `rest` has a mark.
fn has_mark(rest: &str) -> bool {
    rest.lines().next().is_some_and(|line| line.contains(MARK))
}

/// The line with blanks for its marks, so that every byte keeps its place.
fn blank(line: &str) -> String {
    line.replace(MARK, "    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_drawn_as_prompts_and_leave_no_trace() {
        let text = "select\n1,\n\t'a\n  b'";
        let line = marked(text);
        assert_eq!(unmarked(&line), text, "the user's own tab stays");
        let split = line.replacen("\n\t", "\n\tx", 1);
        assert_eq!(unmarked(&split), text.replacen("\n", "\nx", 1));
        let plain = paint(&line, None, false);
        assert_eq!(plain, "select\n   ...> 1,\n   ...> \t'a\n   ...>   b'");
        let colored = paint(&line, Some(0), true);
        assert_eq!(console::strip_ansi_codes(&colored), plain);
        assert!(colored.starts_with("\x1b[0m\x1b[1;34mselect\x1b[0m"), "{colored:?}");
    }

    #[test]
    fn commands_end_with_their_line() {
        assert!(is_finished(".tables"));
        assert!(is_finished("  \\d x"));
        assert!(is_finished(&marked("select\n1;")));
        assert!(!is_finished("select 1"));
        assert!(is_finished(""));
    }
}
