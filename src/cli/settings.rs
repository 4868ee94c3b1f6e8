//! What was asked, checked and complete: arguments, environment and terminals in one value.
//!
//! The only reader of the environment: `AWS_*`, `GOOGLE_*` and `AZURE_*` become storage options
//! under their lower-case names; `NO_COLOR` and `TERM` decide about colour.

use std::collections::BTreeMap;
use std::env;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::args::{self, Input, Typed};
use super::output::{Format, View};
use super::{SUCCESS, USAGE};
use crate::Config;

/// How to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Run the inputs and exit.
    Script,
    /// Read statements from the user.
    Shell,
}

/// What happens after an error in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    Stop,
    KeepGoing,
}

/// The validated command line. Not printable: it holds credentials.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) warehouse: WarehouseSettings,
    pub(crate) mode: Mode,
    /// `--init` and `--cmd`.
    pub(crate) first: Vec<Input>,
    /// `-c`, `-f`, or standard input.
    pub(crate) inputs: Vec<Input>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) view: View,
    pub(crate) output: Option<String>,
    pub(crate) on_error: OnError,
    pub(crate) single_transaction: bool,
    pub(crate) echo: bool,
    pub(crate) quiet: bool,
    /// Whether standard output is a terminal that takes boxes and colour.
    pub(crate) terminal: bool,
}

/// What opening a warehouse needs; `.open` uses it again with another location.
#[derive(Clone, Default)]
pub(crate) struct WarehouseSettings {
    pub(crate) location: Option<String>,
    pub(crate) safe: bool,
    pub(crate) read_only: bool,
    data_path: Option<String>,
    memory_limit: Option<usize>,
    temp_directory: Option<String>,
    threads: Option<usize>,
    storage_options: Vec<(String, String)>,
}

impl WarehouseSettings {
    /// The same for another warehouse; where files are kept is each warehouse's own.
    pub(crate) fn elsewhere(&self, location: Option<String>) -> Self {
        Self { location, data_path: None, ..self.clone() }
    }

    /// The library's configuration.
    pub(crate) fn config(&self) -> Config {
        let mut config = match &self.location {
            Some(location) => Config::new(location),
            None => Config::temporary(),
        };
        config = config.read_only(self.read_only).safe(self.safe);
        if let Some(path) = &self.data_path {
            config = config.data_path(path);
        }
        if let Some(bytes) = self.memory_limit {
            config = config.memory_limit(bytes);
        }
        if let Some(directory) = &self.temp_directory {
            config = config.temp_directory(directory);
        }
        if let Some(threads) = self.threads {
            config = config.threads(threads);
        }
        self.storage_options.iter().fold(config, |config, (name, value)| {
            config.storage_option(name.as_str(), value.as_str())
        })
    }
}

/// A command line that cannot be run, or that only asks for help.
#[derive(Debug)]
pub(crate) enum Usage {
    Clap(clap::Error),
    Wrong(String),
}

impl Usage {
    /// Prints it; help is a success.
    pub(crate) fn print(self) -> ExitCode {
        match self {
            Self::Clap(error) => {
                let _ = error.print();
                ExitCode::from(if error.use_stderr() { USAGE } else { SUCCESS })
            }
            Self::Wrong(message) => {
                let _ = writeln!(
                    std::io::stderr(),
                    "error: {message}\nFor more information, try '--help'."
                );
                ExitCode::from(USAGE)
            }
        }
    }
}

impl Settings {
    /// From the process's arguments, environment and terminals.
    pub(crate) fn from_process() -> Result<Self, Usage> {
        let (typed, inputs) = args::parse(env::args_os().collect()).map_err(Usage::Clap)?;
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || dumb {
            console::set_colors_enabled(false);
            console::set_colors_enabled_stderr(false);
        }
        let terminal = std::io::stdout().is_terminal();
        let stdin_is_terminal = std::io::stdin().is_terminal();
        let mut settings =
            Self::new(typed, inputs, terminal, stdin_is_terminal).map_err(Usage::Wrong)?;
        settings.view.color = terminal && console::colors_enabled();
        settings.warehouse.storage_options = storage_options(env::vars_os());
        Ok(settings)
    }

    fn new(
        typed: Typed,
        inputs: Vec<Input>,
        terminal: bool,
        stdin_is_terminal: bool,
    ) -> Result<Self, String> {
        let mode = mode(&typed, &inputs, stdin_is_terminal);
        if typed.single_transaction && mode == Mode::Shell {
            return Err("-1 needs a script: give -c, -f or standard input".into());
        }
        let view = view(&typed, terminal)?;
        let first = typed.init.into_iter().map(Input::File);
        let first = first.chain(typed.cmd.into_iter().map(Input::Command)).collect();
        let from_stdin = mode == Mode::Script && inputs.is_empty() && !typed.no_stdin;
        Ok(Self {
            warehouse: WarehouseSettings {
                location: typed.warehouse,
                safe: typed.safe,
                read_only: typed.read_only,
                data_path: typed.data_path,
                memory_limit: typed.memory_limit.as_deref().map(bytes).transpose()?,
                temp_directory: typed.temp_directory,
                threads: threads(typed.threads)?,
                storage_options: Vec::new(),
            },
            mode,
            first,
            inputs: if from_stdin { vec![Input::File("-".into())] } else { inputs },
            variables: typed
                .variables
                .iter()
                .map(|text| variable(text))
                .collect::<Result<_, _>>()?,
            view,
            output: typed.output,
            on_error: if typed.keep_going { OnError::KeepGoing } else { OnError::Stop },
            single_transaction: typed.single_transaction,
            echo: typed.echo,
            quiet: typed.quiet,
            terminal,
        })
    }
}

fn mode(typed: &Typed, inputs: &[Input], stdin_is_terminal: bool) -> Mode {
    let interactive = typed.interactive || (stdin_is_terminal && !typed.batch);
    let shell = interactive && inputs.is_empty() && !typed.no_stdin;
    if shell { Mode::Shell } else { Mode::Script }
}

fn view(typed: &Typed, terminal: bool) -> Result<View, String> {
    let default = if terminal && typed.output.is_none() { Format::Box } else { Format::Csv };
    let format = match typed.format.as_deref() {
        Some(name) => Format::named(name).ok_or_else(|| {
            let near = crate::error::nearest(name, Format::names());
            let near = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            format!("unknown format \"{name}\"{near}")
        })?,
        None => default,
    };
    let mut view = View::new(format);
    view.headers = !typed.no_header;
    view.null = typed.nullvalue.clone();
    view.separator = typed.separator.as_deref().map(unescape);
    view.max_rows = typed.maxrows.unwrap_or(view.max_rows);
    Ok(view)
}

/// `\t`, `\n` and `\\` as a shell user writes them.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n").replace("\\\\", "\\")
}

fn threads(count: Option<usize>) -> Result<Option<usize>, String> {
    match count {
        Some(0) => Err("--threads must be at least 1".into()),
        count => Ok(count),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| is_variable_name(name))
    else {
        return Err(format!("-v {text}: write NAME=VALUE, NAME of letters, digits and _"));
    };
    Ok((name.to_owned(), value.to_owned()))
}

/// Whether `:name` can refer to it.
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// `2GB`, `512MiB`, `1.5g`, plain bytes. `GB` counts in thousands, `GiB` and `G` in 1024s.
fn bytes(text: &str) -> Result<usize, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(format!("memory limit \"{text}\": write a size such as 2GB or 512MiB")),
    };
    let bytes = number.parse::<f64>().ok().map(|number| number * factor as f64);
    match bytes {
        Some(bytes) if bytes >= 1.0 && bytes < usize::MAX as f64 => Ok(bytes as usize),
        _ => Err(format!("memory limit \"{text}\": write a size such as 2GB or 512MiB")),
    }
}

fn storage_options(
    variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Vec<(String, String)> {
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| {
            ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix))
        })
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(argv: &[&str], terminal: bool) -> Result<Settings, String> {
        let argv = std::iter::once("gotgan").chain(argv.iter().copied()).map(Into::into);
        let (typed, inputs) = args::parse(argv.collect()).map_err(|error| error.to_string())?;
        Settings::new(typed, inputs, terminal, terminal)
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("2GB", 2_000_000_000),
            ("512MiB", 512 << 20),
            ("1.5g", 3 << 29),
            ("4096", 4096),
            ("10 kb", 10_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GB", "0", "-1", "2XB", "1.2.3GB", "99999999TB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_terminal_decides_about_the_shell_and_the_format() {
        let shell = settings(&["shop.wh"], true).unwrap();
        assert_eq!((shell.mode, shell.view.format), (Mode::Shell, Format::Box));
        let piped = settings(&["shop.wh"], false).unwrap();
        assert_eq!((piped.mode, piped.view.format), (Mode::Script, Format::Csv));
        assert_eq!(piped.inputs, [Input::File("-".into())]);
        let command = settings(&["-c", "select 1", "-o", "x"], true).unwrap();
        assert_eq!((command.mode, command.view.format), (Mode::Script, Format::Csv));
        assert_eq!(settings(&["-no-stdin"], true).unwrap().inputs, []);
    }

    #[test]
    fn wrong_usage_says_what_is_right() {
        for (argv, expected) in [
            (&["-1"][..], "-1 needs a script"),
            (&["-v", "x"], "write NAME=VALUE"),
            (&["-v", "1x=2"], "write NAME=VALUE"),
            (&["--format", "jsno"], "did you mean \"json\"?"),
            (&["--threads", "0"], "at least 1"),
            (&["-1", "--keep-going", "-c", ""], "cannot be used with"),
        ] {
            let error = settings(argv, true).err().unwrap_or_default();
            assert!(error.contains(expected), "{argv:?}: {error}");
        }
    }

    #[test]
    fn cloud_variables_become_options() {
        let variables = [("AWS_REGION", "eu"), ("HOME", "/"), ("GOOGLE_BUCKET", "b")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let expected = [("aws_region", "eu"), ("google_bucket", "b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(storage_options(variables.into_iter()), expected);
    }
}
