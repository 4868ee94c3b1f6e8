//! Script text to steps: statements, dot commands, and the scripts that `.read` names.
//!
//! A line that begins with `.` or `\` outside a statement is a command, as in sqlite3 and DuckDB;
//! within a statement (before its `;`, or inside quotes, comments or brackets) such a line is SQL.
//! Between two commands the text is parsed by [`Script::parse`] in one piece.
//!
//! Everything is loaded before anything runs: the statements are parsed, the commands are looked
//! up and their arguments counted, `.read` files are read and loaded in turn, and `\set` and
//! `\unset` change the variables of the text that follows. So a typo on the last line, or in the
//! last file, runs nothing. (A file that the script itself writes cannot be read by it.)

use std::collections::BTreeMap;
use std::io::Read;

use super::args::Input;
use super::command::{self, Call, Lookup, Run};
use super::{FAILURE, Flow, Stop, report};
use crate::diagnostic::Span;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::script::is_complete;
use crate::{Script, Source, Statement};

/// `.read` inside `.read` inside …: deeper than this is a cycle.
const MAX_DEPTH: usize = 16;

/// A text, ready to run.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) source: Source,
    pub(crate) steps: Vec<Step>,
}

/// One thing to run.
#[derive(Debug)]
pub(crate) enum Step {
    Statement(Box<Statement>),
    Command(Call),
    Script(Loaded),
}

impl Loaded {
    /// The first BEGIN, COMMIT or ROLLBACK, with the text it is in.
    pub(crate) fn transaction_control(&self) -> Option<(&Source, &Statement)> {
        self.steps.iter().find_map(|step| match step {
            Step::Statement(statement) => {
                statement.is_transaction_control().then_some((&self.source, &**statement))
            }
            Step::Command(_) => None,
            Step::Script(inner) => inner.transaction_control(),
        })
    }
}

/// Reads what `input` names.
pub(crate) fn read(input: &Input) -> Result<Source> {
    let name = match input {
        Input::Command(text) => return Ok(Source { name: "-c".into(), text: text.clone() }),
        Input::File(name) => name,
    };
    let mut bytes = Vec::new();
    let (name, read) = match name.as_str() {
        "-" => ("<stdin>", std::io::stdin().read_to_end(&mut bytes)),
        path => (
            path,
            std::fs::read(path).map(|read| {
                bytes = read;
                bytes.len()
            }),
        ),
    };
    read.map_err(|error| {
        Error::new(ErrorKind::Storage, format!("cannot read \"{name}\": {error}"))
            .with_source(error)
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Error::new(ErrorKind::Syntax, format!("\"{name}\" is not UTF-8 text (byte {place})"))
            .with_help("save the file as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Source { name: name.into(), text })
}

/// Turns texts into steps; remembers the variables.
pub(crate) struct Loader<'a> {
    pub(crate) variables: &'a mut BTreeMap<String, String>,
    pub(crate) lookup: Lookup,
    pub(crate) safe: bool,
}

impl Loader<'_> {
    /// Loads `source`; a mistake is reported with its place.
    pub(crate) fn load(&mut self, source: Source) -> Flow<Loaded> {
        self.load_at(source, 0)
    }

    fn load_at(&mut self, source: Source, depth: usize) -> Flow<Loaded> {
        match self.steps(&source, depth) {
            Ok(steps) => Ok(Loaded { source, steps }),
            Err(Stop::Error(error)) => {
                report::error(&error, Some(&source));
                Err(Stop::Reported(FAILURE))
            }
            Err(stop) => Err(stop),
        }
    }

    fn steps(&mut self, source: &Source, depth: usize) -> Flow<Vec<Step>> {
        let mut steps = Vec::new();
        for part in split(&source.text) {
            match part.kind {
                Kind::Sql => {
                    // Lines before the part stay as empty lines, so that places are right.
                    let text = "\n".repeat(part.line) + part.text;
                    let source = Source { name: source.name.clone(), text };
                    let script = Script::parse(&source, self.variables)?;
                    steps.extend(
                        script.statements.into_iter().map(|s| Step::Statement(Box::new(s))),
                    );
                }
                Kind::Command => {
                    // A command that was just typed needs no place.
                    let place =
                        (self.lookup == Lookup::Exact).then(|| Span::at(part.line as u64 + 1, 1));
                    let step = self.command(part.text, depth).map_err(|stop| match stop {
                        Stop::Error(error) => Stop::Error(error.or_span(place)),
                        stop => stop,
                    })?;
                    steps.extend(step);
                }
            }
        }
        Ok(steps)
    }

    fn command(&mut self, text: &str, depth: usize) -> Flow<Option<Step>> {
        let call = Call::parse(text, self.lookup)?;
        call.check(self.safe)?;
        match call.command.run {
            Run::Read if depth == MAX_DEPTH => {
                Err(Error::invalid(format!("scripts read each other {MAX_DEPTH} levels deep"))
                    .into())
            }
            Run::Read => {
                let source = read(&Input::File(command::expand_home(&call.args[0])))?;
                Ok(Some(Step::Script(self.load_at(source, depth + 1)?)))
            }
            Run::Set if !call.args.is_empty() => {
                command::set_variable(self.variables, &call)?;
                Ok(None)
            }
            Run::Unset => {
                self.variables.remove(&call.args[0]);
                Ok(None)
            }
            _ => Ok(Some(Step::Command(call))),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Sql,
    Command,
}

/// A stretch of text, and how many lines stand before it.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    kind: Kind,
    line: usize,
    text: &'a str,
}

fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let pending = &text[start..offset];
        if line.starts_with(['.', '\\']) && is_complete(pending) {
            parts.push(Part { kind: Kind::Sql, line: start_line, text: pending });
            parts.push(Part { kind: Kind::Command, line: number, text: line.trim_end() });
            (start, start_line) = (offset + line.len(), number + 1);
        }
        offset += line.len();
    }
    parts.push(Part { kind: Kind::Sql, line: start_line, text: &text[start..] });
    parts.retain(|part| !part.text.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Flow<Loaded> {
        let mut variables = BTreeMap::new();
        let mut loader = Loader { variables: &mut variables, lookup: Lookup::Exact, safe: false };
        loader.load(Source { name: "test".into(), text: text.into() })
    }

    #[test]
    fn commands_stand_between_statements_only() {
        let text = ".mode csv\nselect 1\n.5;\nselect '\n.x\n';\n-- c\n.print hi\nselect 2";
        let parts: Vec<(Kind, usize)> =
            split(text).into_iter().map(|part| (part.kind, part.line)).collect();
        let expected = [(Kind::Command, 0), (Kind::Sql, 1), (Kind::Command, 7), (Kind::Sql, 8)];
        assert_eq!(parts, expected);
    }

    #[test]
    fn places_count_in_the_whole_text() {
        let loaded = load(".mode csv\n\n  select 1;\n.print x\nselect 2").unwrap();
        let lines: Vec<u64> = loaded
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Statement(statement) => Some(statement.span().start.line),
                _ => None,
            })
            .collect();
        assert_eq!(lines, [3, 5]);
    }

    #[test]
    fn a_late_mistake_loads_nothing() {
        for text in
            ["select 1;\n.nosuch", "select 1;\n.nullvalue", "select 1;\n.mo csv", "select 'x"]
        {
            assert!(matches!(load(text), Err(Stop::Reported(FAILURE))), "{text}");
        }
    }

    #[test]
    fn variables_are_set_while_loading() {
        let loaded = load("\\set n 41\nselect :n").unwrap();
        assert_eq!(loaded.steps.len(), 1);
    }
}
