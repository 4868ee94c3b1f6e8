//! Dot commands: a table of what there is, and how a line becomes a call of one of them.
//!
//! Names and meanings are DuckDB's and sqlite3's; psql's backslash commands are other names for
//! the same entries. Arguments are words; quotes keep spaces together. In the interactive shell a
//! prefix that fits one command only is enough (`.mo ma`), in scripts names are written out.
//!
//! [`TABLE`] is the place to add a command.

mod display;
mod lists;
mod system;

use std::collections::BTreeMap;

use futures::future::LocalBoxFuture;

use super::Flow;
use super::settings::is_variable_name;
use super::shell::Shell;
use crate::error::{Error, ErrorKind, Result, nearest};

/// A command and everything to know about it.
#[derive(Debug)]
pub(crate) struct Command {
    /// Without its dot.
    pub(crate) name: &'static str,
    /// psql's names, without their backslash.
    pub(crate) aliases: &'static [&'static str],
    /// `[X]` may be left out, `X...` takes the rest of the line.
    args: &'static str,
    help: &'static str,
    /// Whether `--safe` allows it.
    reach: Reach,
    pub(crate) run: Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Touches nothing but the warehouse and the shell's own settings.
    Inside,
    /// Reaches files or programs.
    Outside,
}

type Plain = fn(&mut Shell, &Call) -> Flow;
type Awaited = for<'a> fn(&'a mut Shell, &'a Call) -> LocalBoxFuture<'a, Flow>;

/// How a command is carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// The loader puts the file's steps in its place.
    Read,
    /// The loader changes the variables of the text that follows.
    Set,
    Unset,
    Plain(Plain),
    Awaited(Awaited),
    /// It is the query that this gives.
    Query(fn(&Call) -> String),
}

impl Command {
    /// Whether it takes `on` or `off`.
    pub(crate) fn is_switch(&self) -> bool {
        self.args.contains("on|off")
    }
}

const fn entry(
    name: &'static str,
    aliases: &'static [&'static str],
    args: &'static str,
    run: Run,
    help: &'static str,
) -> Command {
    Command { name, aliases, args, help, reach: Reach::Inside, run }
}

const fn outside(command: Command) -> Command {
    Command { reach: Reach::Outside, ..command }
}

/// Every command, in the order of `.help`.
pub(crate) const TABLE: &[Command] = &[
    entry("help", &["?"], "[PATTERN]", Run::Plain(lists::help), "Show these commands"),
    entry("quit", &["q"], "[CODE]", Run::Plain(system::quit), "Leave"),
    entry("exit", &[], "[CODE]", Run::Plain(system::quit), "Leave with an exit code"),
    outside(entry(
        "open",
        &["c"],
        "[WAREHOUSE]",
        Run::Awaited(system::open),
        "Open another warehouse",
    )),
    entry("databases", &["conninfo", "l"], "", Run::Plain(lists::databases), "Show the warehouse"),
    entry("schemas", &["dn"], "[LIKE]", Run::Query(lists::schemas), "List schemas"),
    entry(
        "tables",
        &["d", "dt", "dv"],
        "[LIKE]",
        Run::Query(lists::tables),
        "List tables; \\d NAME describes one",
    ),
    entry("schema", &[], "[LIKE]", Run::Awaited(lists::schema), "Show tables as CREATE statements"),
    entry("functions", &["df"], "[LIKE]", Run::Awaited(lists::functions), "List functions"),
    entry("mode", &[], "[FORMAT] [TABLE]", Run::Plain(display::mode), "Choose how results look"),
    entry("x", &["x"], "[on|off]", Run::Plain(display::expanded), "One value on each line"),
    entry("headers", &[], "on|off", Run::Plain(display::headers), "Show column names"),
    entry("nullvalue", &[], "TEXT", Run::Plain(display::nullvalue), "Text that stands for NULL"),
    entry(
        "separator",
        &[],
        "TEXT",
        Run::Plain(display::separator),
        "Text between values (csv, tsv, list)",
    ),
    entry("maxrows", &[], "[N]", Run::Plain(display::maxrows), "Most rows in a box; 0 shows all"),
    entry("maxwidth", &[], "[N]", Run::Plain(display::maxwidth), "Widest box; 0 is the terminal"),
    entry(
        "timer",
        &["timing"],
        "[on|off]",
        Run::Plain(display::timer),
        "Show how long statements take",
    ),
    entry(
        "progress_bar",
        &[],
        "[on|off]",
        Run::Plain(display::progress),
        "Show how far long statements are",
    ),
    entry("highlight", &[], "[on|off]", Run::Plain(display::highlight), "Colour what is typed"),
    entry("echo", &[], "[on|off]", Run::Plain(display::echo), "Print statements before they run"),
    entry(
        "bail",
        &[],
        "[on|off]",
        Run::Plain(display::bail),
        "Stop at the first error of a script",
    ),
    entry("show", &[], "", Run::Plain(display::show), "Show these settings"),
    entry("print", &["echo", "qecho"], "[TEXT...]", Run::Plain(display::print), "Print a text"),
    entry("set", &["set"], "[NAME] [VALUE...]", Run::Set, "Set a variable, used as :NAME"),
    entry("unset", &["unset"], "NAME", Run::Unset, "Forget a variable"),
    outside(entry("read", &["i", "ir"], "FILE", Run::Read, "Run a script")),
    outside(entry(
        "output",
        &["o"],
        "[FILE]",
        Run::Plain(system::output),
        "Write results to a file or |command",
    )),
    outside(entry(
        "once",
        &[],
        "FILE",
        Run::Plain(system::once),
        "Write only the next result there",
    )),
    outside(entry(
        "edit",
        &["e"],
        "[FILE]",
        Run::Plain(system::edit),
        "Edit the last statement in $EDITOR",
    )),
    entry(
        "watch",
        &["watch"],
        "[SECONDS]",
        Run::Awaited(system::watch),
        "Run the last statement again and again",
    ),
    entry("history", &["s"], "[N]", Run::Plain(system::history), "Show what was typed"),
    outside(entry(
        "cd",
        &["cd"],
        "[DIRECTORY]",
        Run::Plain(system::cd),
        "Change the working directory",
    )),
    outside(entry("shell", &["!"], "COMMAND...", Run::Plain(system::shell), "Run a program")),
    outside(entry("system", &[], "COMMAND...", Run::Plain(system::shell), "Run a program")),
    entry("version", &[], "", Run::Plain(lists::version), "Show the version"),
];

/// Whether a prefix is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    Exact,
    Prefix,
}

/// A command with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) command: &'static Command,
    /// The name it was called by, without dot or backslash.
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    /// The arguments as typed.
    pub(crate) rest: String,
    pub(crate) lookup: Lookup,
}

impl Call {
    /// From a line that begins with `.` or `\`.
    pub(crate) fn parse(line: &str, lookup: Lookup) -> Result<Self> {
        let psql = line.starts_with('\\');
        let body = line.get(1..).unwrap_or_default();
        let (name, rest) = match body.strip_prefix('!').filter(|_| psql) {
            Some(rest) => ("!", rest),
            None => body.split_once(char::is_whitespace).unwrap_or((body, "")),
        };
        let name = name.strip_suffix('+').filter(|_| psql).unwrap_or(name).trim_end_matches(';');
        let command = if psql { by_alias(name)? } else { by_name(name, lookup)? };
        let rest = rest.trim().to_owned();
        Ok(Self { command, name: name.to_owned(), args: words(&rest)?, rest, lookup })
    }

    /// Whether the arguments are as many as it takes, and `--safe` lets it run.
    pub(crate) fn check(&self, safe: bool) -> Result<()> {
        let Command { name, args, reach, .. } = self.command;
        if safe && *reach == Reach::Outside {
            return Err(Error::unsupported(format!(".{name} is not allowed with --safe")));
        }
        let required = args.split(' ').filter(|arg| !arg.is_empty() && !arg.starts_with('['));
        let open_ended = args.contains("...") || self.rest.starts_with('|');
        let most = args.split(' ').filter(|arg| !arg.is_empty()).count();
        if self.args.len() < required.count() || (!open_ended && self.args.len() > most) {
            return Err(Error::invalid(format!("usage: .{name} {args}")));
        }
        Ok(())
    }

    /// Carries it out.
    pub(crate) async fn run(&self, shell: &mut Shell) -> Flow {
        match self.command.run {
            Run::Plain(run) => run(shell, self),
            Run::Awaited(run) => run(shell, self).await,
            Run::Query(text) => lists::query(shell, text(self)).await,
            Run::Set => display::variables(shell),
            Run::Read | Run::Unset => Err(Error::internal("a loader's command was run").into()),
        }
    }

    /// The first argument.
    pub(crate) fn arg(&self) -> Option<&str> {
        self.args.first().map(String::as_str)
    }
}

fn by_name(name: &str, lookup: Lookup) -> Result<&'static Command> {
    let names = || TABLE.iter().map(|command| command.name);
    if let Some(command) = TABLE.iter().find(|command| command.name == name) {
        return Ok(command);
    }
    let fits: Vec<&Command> =
        TABLE.iter().filter(|command| command.name.starts_with(name)).collect();
    match (fits.as_slice(), lookup) {
        (&[command], Lookup::Prefix) if !name.is_empty() => return Ok(command),
        ([_, _, ..], Lookup::Prefix) if !name.is_empty() => {
            let candidates: Vec<String> = fits.iter().map(|c| format!(".{}", c.name)).collect();
            return Err(Error::invalid(format!("\".{name}\" is not clear"))
                .with_help(format!("it may be {}", candidates.join(", "))));
        }
        _ => {}
    }
    let near = match fits.as_slice() {
        &[command] if !name.is_empty() => Some(command.name),
        _ => nearest(name, names()),
    };
    Err(unknown(&format!(".{name}"), near.map(|near| format!(".{near}"))))
}

fn by_alias(name: &str) -> Result<&'static Command> {
    let known = |command: &&Command| command.aliases.contains(&name);
    TABLE.iter().find(known).ok_or_else(|| {
        let aliases = TABLE.iter().flat_map(|command| command.aliases.iter().copied());
        unknown(&format!("\\{name}"), nearest(name, aliases).map(|near| format!("\\{near}")))
    })
}

fn unknown(name: &str, near: Option<String>) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("there is no command \"{name}\""));
    match near {
        Some(near) => error.with_label(format!("did you mean \"{near}\"?")),
        None => error.with_help("type .help for all commands"),
    }
}

/// Splits at spaces; `'…'` and `"…"` keep them, doubled quotes stand for one.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        if c == '\'' || c == '"' {
            chars.next();
            loop {
                match chars.next() {
                    Some(next) if next == c && chars.peek() == Some(&c) => {
                        chars.next();
                        word.push(c);
                    }
                    Some(next) if next == c => break,
                    Some(next) => word.push(next),
                    None => return Err(Error::invalid(format!("a quote {c} is not closed"))),
                }
            }
        } else {
            while let Some(next) = chars.next_if(|next| !next.is_whitespace()) {
                word.push(next);
            }
        }
        words.push(word);
    }
    Ok(words)
}

/// `\set NAME VALUE…`: several values are joined, as in psql.
pub(crate) fn set_variable(variables: &mut BTreeMap<String, String>, call: &Call) -> Result<()> {
    let (name, values) = call.args.split_first().unwrap_or((&call.name, &[]));
    if !is_variable_name(name) {
        return Err(Error::invalid(format!("\"{name}\" cannot be the name of a variable"))
            .with_help("use letters, digits and _"));
    }
    variables.insert(name.clone(), values.concat());
    Ok(())
}

/// `~/x` under the home directory.
pub(crate) fn expand_home(path: &str) -> String {
    match (path.strip_prefix("~/"), dirs::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest).to_string_lossy().into_owned(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(line: &str, lookup: Lookup) -> Result<&'static str> {
        Call::parse(line, lookup).map(|call| call.command.name)
    }

    #[test]
    fn names_and_aliases_are_distinct() {
        for (index, command) in TABLE.iter().enumerate() {
            let others = &TABLE[index + 1..];
            assert!(others.iter().all(|other| other.name != command.name), "{}", command.name);
            for alias in command.aliases {
                assert!(others.iter().all(|other| !other.aliases.contains(alias)), "{alias}");
            }
        }
    }

    #[test]
    fn prefixes_work_when_they_are_clear() {
        assert_eq!(name(".mo ma", Lookup::Prefix).unwrap(), "mode");
        assert_eq!(name(".schema", Lookup::Prefix).unwrap(), "schema", "exact before prefix");
        assert_eq!(name(".x", Lookup::Prefix).unwrap(), "x");
        let error = name(".ma", Lookup::Prefix).unwrap_err();
        assert_eq!(error.help(), Some("it may be .maxrows, .maxwidth"));
        let error = name(".mo", Lookup::Exact).unwrap_err();
        assert_eq!(error.label(), Some("did you mean \".mode\"?"));
        let error = name(".tabels", Lookup::Prefix).unwrap_err();
        assert_eq!(error.label(), Some("did you mean \".tables\"?"));
        assert!(name(".", Lookup::Prefix).is_err());
    }

    #[test]
    fn psql_names() {
        for (line, expected) in [
            ("\\d orders", "tables"),
            ("\\dt+", "tables"),
            ("\\!ls -l", "shell"),
            ("\\q", "quit"),
            ("\\timing", "timer"),
            ("\\?", "help"),
            ("\\x", "x"),
        ] {
            assert_eq!(name(line, Lookup::Exact).unwrap(), expected, "{line}");
        }
        assert!(name("\\tables", Lookup::Prefix).is_err());
    }

    #[test]
    fn words_keep_what_is_quoted() {
        assert_eq!(
            words(" a  'b c' \"d\"\"e\" 'f''g' '' ").unwrap(),
            ["a", "b c", "d\"e", "f'g", ""]
        );
        assert!(words("'open").is_err());
    }

    #[test]
    fn arguments_are_counted_and_safety_is_kept() {
        for (line, fine) in [
            (".mode", true),
            (".mode csv t", true),
            (".mode a b c", false),
            (".read", false),
            (".print", true),
            (".print a b c d", true),
            (".quit now please", false),
        ] {
            assert_eq!(
                Call::parse(line, Lookup::Exact).unwrap().check(false).is_ok(),
                fine,
                "{line}"
            );
        }
        for line in
            [".shell ls", "\\! ls", ".read f", ".once f", ".output", ".edit", ".cd", ".open"]
        {
            let error = Call::parse(line, Lookup::Exact).unwrap().check(true).unwrap_err();
            assert!(error.message().ends_with("not allowed with --safe"), "{line}");
        }
    }
}
