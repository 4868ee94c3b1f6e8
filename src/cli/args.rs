//! The command line as typed: what clap parses, after DuckDB's forms are turned into clap's.
//!
//! DuckDB and sqlite3 write long flags with one dash (`-csv`, `-readonly`); [`normalise`] gives
//! them two. Nothing is checked here beyond the grammar: [`super::settings`] does that.

use std::ffi::OsString;

use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser};

use super::output::Format;

/// SQL warehouse: tables over Parquet files, in a directory or a bucket
#[derive(Debug, Parser)]
#[command(
    name = "gotgan",
    version,
    disable_version_flag = true,
    after_help = "Formats: box (on a terminal), csv (otherwise), table, column, line, list, tsv, \
        json, ndjson, markdown, html, insert, trash; each is also a flag of its own: -csv, -json.\n\
        Exit codes: 0 success, 1 a statement failed, 2 wrong usage, 130 interrupted."
)]
pub(crate) struct Typed {
    /// Directory, sqlite:PATH or postgres://… of the warehouse; without one, a temporary warehouse
    pub(crate) warehouse: Option<String>,

    /// Run SQL, then exit; repeatable, in the order given with -f
    #[arg(short, long, value_name = "SQL", allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,

    /// Run a script, then exit; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<String>,

    /// Run SQL or a dot command first, then go on
    #[arg(long, value_name = "SQL", allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,

    /// Run a script before everything else
    #[arg(long, value_name = "FILE")]
    pub(crate) init: Vec<String>,

    /// Set a script variable, used as :NAME, :'NAME' or :"NAME"
    #[arg(short = 'v', long = "variable", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,

    /// One transaction around everything; all or nothing
    #[arg(short = '1', long, conflicts_with = "keep_going")]
    pub(crate) single_transaction: bool,

    /// Go on after an error; the exit code still tells
    #[arg(long, conflicts_with = "bail")]
    pub(crate) keep_going: bool,

    /// Stop at the first error; scripts do anyway
    #[arg(long)]
    pub(crate) bail: bool,

    /// How results look
    #[arg(long, value_name = "FORMAT", overrides_with = "format")]
    pub(crate) format: Option<String>,

    /// Write results to a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<String>,

    /// Show column names (the default)
    #[arg(long, overrides_with = "no_header")]
    pub(crate) header: bool,

    /// Leave column names out
    #[arg(long, visible_alias = "noheader", overrides_with = "header")]
    pub(crate) no_header: bool,

    /// Text that stands for NULL
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) nullvalue: Option<String>,

    /// Text between the values of csv, tsv and list
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) separator: Option<String>,

    /// Most rows in a box; 0 shows all
    #[arg(long, value_name = "N")]
    pub(crate) maxrows: Option<usize>,

    /// Where a new warehouse keeps its files, such as s3://bucket/prefix
    #[arg(long, value_name = "URL")]
    pub(crate) data_path: Option<String>,

    /// Change nothing in the warehouse
    #[arg(long, visible_alias = "readonly")]
    pub(crate) read_only: bool,

    /// No access to files, network or shell from SQL and dot commands
    #[arg(long)]
    pub(crate) safe: bool,

    /// Memory for queries, such as 2GB or 512MiB
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<String>,

    /// Where queries put what memory does not hold
    #[arg(long, value_name = "DIR")]
    pub(crate) temp_directory: Option<String>,

    /// Threads for queries
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Print statements before they run
    #[arg(long)]
    pub(crate) echo: bool,

    /// No banner and no words about changes
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Start the shell even when standard input is no terminal
    #[arg(long, conflicts_with = "batch")]
    pub(crate) interactive: bool,

    /// Never start the shell
    #[arg(long)]
    pub(crate) batch: bool,

    /// Do not read standard input
    #[arg(long)]
    pub(crate) no_stdin: bool,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// SQL to run, in the order of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Command(String),
    File(String),
}

/// Parses `argv`, the program's name first; with the `-c` and `-f` inputs in their order.
pub(crate) fn parse(argv: Vec<OsString>) -> Result<(Typed, Vec<Input>), clap::Error> {
    let command = Typed::command();
    let argv = normalise(&command, argv);
    let matches = command.try_get_matches_from(argv)?;
    let inputs = inputs(&matches);
    Ok((Typed::from_arg_matches(&matches)?, inputs))
}

fn inputs(matches: &ArgMatches) -> Vec<Input> {
    let mut inputs: Vec<(usize, Input)> = Vec::new();
    for (id, wrap) in [("command", Input::Command as fn(String) -> Input), ("file", Input::File)] {
        let places = matches.indices_of(id).into_iter().flatten();
        let values = matches.get_many::<String>(id).into_iter().flatten();
        inputs.extend(places.zip(values.cloned().map(wrap)));
    }
    inputs.sort_by_key(|(place, _)| *place);
    inputs.into_iter().map(|(_, input)| input).collect()
}

/// `-csv` and `--csv` become `--format=csv`; other long flags with one dash get two.
fn normalise(command: &clap::Command, argv: Vec<OsString>) -> Vec<OsString> {
    let mut out = Vec::with_capacity(argv.len());
    let mut argv = argv.into_iter();
    out.extend(argv.next());
    while let Some(arg) = argv.next() {
        let Some(text) = arg.to_str().filter(|text| text.starts_with('-') && text.len() > 1) else {
            out.push(arg);
            continue;
        };
        if text == "--" {
            out.push(arg);
            out.extend(argv.by_ref());
            break;
        }
        let name = text.trim_start_matches('-');
        let (flag, value) = name.split_once('=').map_or((name, None), |(f, v)| (f, Some(v)));
        let long = command.get_arguments().find(|known| is_long(known, flag));
        if value.is_none() && Format::named(flag).is_some() {
            out.push(format!("--format={flag}").into());
        } else if long.is_some() && flag.chars().count() > 1 {
            out.push(format!("--{name}").into());
        } else {
            out.push(arg.clone());
        }
        let takes_value = match long {
            Some(known) => known.get_action().takes_values(),
            None => command.get_arguments().any(|known| {
                known.get_action().takes_values()
                    && known.get_short().is_some_and(|short| name == short.to_string())
            }),
        };
        if takes_value && value.is_none() {
            out.extend(argv.next());
        }
    }
    out
}

fn is_long(known: &clap::Arg, flag: &str) -> bool {
    let aliases = known.get_all_aliases().into_iter().flatten();
    known.get_long().into_iter().chain(aliases).any(|long| long == flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(argv: &[&str]) -> (Typed, Vec<Input>) {
        let argv = std::iter::once("gotgan").chain(argv.iter().copied()).map(OsString::from);
        parse(argv.collect()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_definition_is_sound() {
        Typed::command().debug_assert();
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        let (typed, _) = parsed(&["-csv", "-readonly", "-noheader", "-nullvalue", "-", "shop.wh"]);
        assert_eq!(typed.format.as_deref(), Some("csv"));
        assert!(typed.read_only && typed.no_header);
        assert_eq!(typed.nullvalue.as_deref(), Some("-"));
        assert_eq!(typed.warehouse.as_deref(), Some("shop.wh"));
        let (typed, _) = parsed(&["--csv", "-jsonlines", "-separator", "-csv", "-1", "-no-stdin"]);
        assert_eq!(typed.format.as_deref(), Some("jsonlines"), "the last one counts");
        assert_eq!(typed.separator.as_deref(), Some("-csv"), "a value is no flag");
        assert!(typed.single_transaction && typed.no_stdin);
        let (typed, _) = parsed(&["-header", "-no-header", "-m", "2GB", "-init", "a.sql"]);
        assert!(typed.no_header && !typed.header);
        assert_eq!(typed.init, ["a.sql"]);
    }

    #[test]
    fn commands_and_files_keep_their_order() {
        let (_, inputs) = parsed(&["w", "-c", "-- a", "-f", "b", "-csv", "-c", "c", "-fd"]);
        let [a, b, c, d] = ["-- a", "b", "c", "d"].map(String::from);
        let expected = [Input::Command(a), Input::File(b), Input::Command(c), Input::File(d)];
        assert_eq!(inputs, expected);
    }

    #[test]
    fn after_two_dashes_all_is_taken_as_it_is() {
        let (typed, _) = parsed(&["--", "-csv"]);
        assert_eq!(typed.warehouse.as_deref(), Some("-csv"));
        assert_eq!(typed.format, None);
    }
}
