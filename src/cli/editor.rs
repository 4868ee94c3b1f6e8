//! The input line: rustyline with completion, colours and continuation prompts.
//!
//! Enter in the middle of a statement begins a new line of the same input, so that all of a
//! statement can still be edited. rustyline draws no prompt before such lines. Here each of them
//! begins with as many [`MARK`]s as the prompt has columns: the highlighter draws them as
//! `   ...> `, the keys step over them as if they were one character, and they are gone from the
//! text that [`Editor::read`] gives.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Event, EventContext,
    EventHandler, Helper, KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
};

use super::complete::{self, Candidate};
use super::highlight::{self, Class};
use crate::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::script::is_complete;

/// A private-use character of width one; nobody types it.
const MARK: char = '\u{e000}';

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
    width: Arc<AtomicUsize>,
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
        let width = Arc::new(AtomicUsize::new(0));
        for key in
            [KeyCode::Enter, KeyCode::Backspace, KeyCode::Left, KeyCode::Right, KeyCode::Home]
        {
            let keys = Keys { key, width: Arc::clone(&width) };
            let event = KeyEvent(key, Modifiers::NONE);
            inner.bind_sequence(event, EventHandler::Conditional(Box::new(keys)));
        }
        let home = Keys { key: KeyCode::Home, width: Arc::clone(&width) };
        inner.bind_sequence(KeyEvent::ctrl('A'), EventHandler::Conditional(Box::new(home)));
        let mut editor = Self { inner, width };
        for entry in history {
            editor.remember(&entry);
        }
        Ok(editor)
    }

    /// Reads one input, a command or whole statements; it begins as `draft`.
    pub(crate) fn read(&mut self, prompt: &str, draft: &str) -> Result<Input> {
        self.width.store(prompt.len(), Ordering::Relaxed);
        let styled = match self.inner.helper() {
            Some(Assistant { colored: true, .. }) => format!("\x1b[1m{prompt}\x1b[0m"),
            _ => prompt.to_owned(),
        };
        let prompt = (prompt, styled);
        match self.inner.readline_with_initial(&prompt, (&self.marked(draft), "")) {
            Ok(line) => Ok(Input::Text(line.replace(MARK, ""))),
            Err(ReadlineError::Interrupted) => Ok(Input::Cleared),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(failed(error)),
        }
    }

    /// Offers `entry` to the arrow keys.
    pub(crate) fn remember(&mut self, entry: &str) {
        let entry = self.marked(entry);
        let _ = self.inner.add_history_entry(entry);
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

    fn marked(&self, text: &str) -> String {
        let width = self.width.load(Ordering::Relaxed).max(super::repl::PROMPT.len());
        text.replace('\n', &line_start(width))
    }
}

fn failed(error: ReadlineError) -> Error {
    Error::new(ErrorKind::Storage, format!("cannot read from the terminal: {error}"))
        .with_source(error)
}

/// A line end and the marks after it.
fn line_start(width: usize) -> String {
    std::iter::once('\n').chain(std::iter::repeat_n(MARK, width)).collect()
}

/// Whether Enter ends the input.
fn is_finished(line: &str) -> bool {
    let text = line.replace(MARK, "");
    text.trim_start().starts_with(['.', '\\']) || is_complete(&text)
}

/// Keys that have to know about the marks.
struct Keys {
    key: KeyCode,
    width: Arc<AtomicUsize>,
}

impl ConditionalEventHandler for Keys {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        let (line, cursor) = (context.line(), context.pos());
        let before = &line[..cursor];
        let marks_before = count(before.chars().rev().take_while(|c| *c == MARK));
        match self.key {
            KeyCode::Enter if !is_finished(line) => {
                Some(Cmd::Insert(1, line_start(self.width.load(Ordering::Relaxed))))
            }
            KeyCode::Backspace if marks_before > 0 => {
                Some(Cmd::Kill(Movement::BackwardChar(marks_before + 1)))
            }
            KeyCode::Left if marks_before > 0 => {
                Some(Cmd::Move(Movement::BackwardChar(marks_before + 1)))
            }
            KeyCode::Right => {
                let rest = line[cursor..].strip_prefix('\n')?;
                let marks = count(rest.chars().take_while(|c| *c == MARK));
                Some(Cmd::Move(Movement::ForwardChar(marks + 1)))
            }
            KeyCode::Home => {
                let start = before.rfind(MARK)? + MARK.len_utf8();
                let typed = &before[start..];
                (!typed.contains('\n'))
                    .then(|| Cmd::Move(Movement::BackwardChar(count(typed.chars()))))
            }
            _ => None,
        }
    }
}

fn count(chars: impl Iterator<Item = char>) -> RepeatCount {
    RepeatCount::try_from(chars.count()).unwrap_or(RepeatCount::MAX - 1)
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
        // Blanks of the same length keep the places.
        let before = line[..cursor].replace(MARK, "   ");
        Ok(complete::complete(&before, self.names.as_ref()))
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
    // As long as the line, so that the classes are at the line's places.
    let text = line.replace(MARK, "   ");
    let mut classes = highlight::classes(&text);
    if let Some(other) = cursor.and_then(|at| highlight::matching_bracket(&text, &classes, at)) {
        classes[other] = Class::Match;
    }
    let mut out = String::with_capacity(line.len() * 2);
    let mut current = Class::Plain;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == MARK {
            let mut width = 1;
            while chars.next_if(|(_, next)| *next == MARK).is_some() {
                width += 1;
            }
            let prompt =
                format!("{:>width$}", "...> ".get(5usize.saturating_sub(width)..).unwrap_or(""));
            let (dim, plain) = if colored { ("\x1b[0;2m", "\x1b[0m") } else { ("", "") };
            out.push_str(&format!("{dim}{prompt}{plain}"));
            current = Class::Plain;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_drawn_as_a_prompt_of_their_width() {
        let line = format!("select{}1,{}2", line_start(8), line_start(9));
        assert_eq!(paint(&line, None, false), "select\n   ...> 1,\n    ...> 2");
        let colored = paint(&line, Some(0), true);
        assert_eq!(console::strip_ansi_codes(&colored), paint(&line, None, false));
        assert!(colored.starts_with("\x1b[0m\x1b[1;34mselect\x1b[0m"), "{colored:?}");
        assert_eq!(paint(&line_start(2), None, false), "\n> ");
    }

    #[test]
    fn commands_end_with_their_line() {
        assert!(is_finished(".tables"));
        assert!(is_finished("  \\d x"));
        assert!(is_finished(&format!("select{}1;", line_start(8))));
        assert!(!is_finished("select 1"));
        assert!(is_finished(""));
    }
}
