//! The commands that change or show settings.

use super::{Call, Lookup};
use crate::cli::output::Format;
use crate::cli::settings::{OnError, unescape};
use crate::cli::shell::Shell;
use crate::cli::{Flow, Stop};
use crate::error::{Error, Result, nearest};

pub(super) fn mode(shell: &mut Shell, call: &Call) -> Flow {
    let Some(name) = call.arg() else {
        writeln!(shell.sink.writer()?, "{}", shell.view.format.name())?;
        for (_, name, _, help) in Format::ALL {
            writeln!(shell.sink.writer()?, "  {name:<10} {help}")?;
        }
        return Ok(());
    };
    shell.view.format = format(name, call.lookup)?;
    if let Some(table) = call.args.get(1) {
        shell.view.table = table.clone();
    }
    Ok(())
}

fn format(name: &str, lookup: Lookup) -> Result<Format> {
    if let Some(format) = Format::named(name) {
        return Ok(format);
    }
    let fits = |full: &&str| lookup == Lookup::Prefix && full.starts_with(name);
    let mut formats: Vec<Format> = Format::names().filter(fits).filter_map(Format::named).collect();
    formats.dedup();
    match formats.as_slice() {
        [format] => Ok(*format),
        [_, _, ..] => {
            let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
            Err(Error::invalid(format!("format \"{name}\" is not clear"))
                .with_help(format!("it may be {}", names.join(", "))))
        }
        [] => {
            Err(Error::no_such("format", name, Format::names())
                .with_help("type .mode for all formats"))
        }
    }
}

pub(super) fn expanded(shell: &mut Shell, call: &Call) -> Flow {
    let on = switch(call, shell.view.format == Format::Line)?;
    let plain = if shell.sink.screen().width.is_some() { Format::Box } else { Format::Csv };
    shell.view.format = if on { Format::Line } else { plain };
    Ok(())
}

pub(super) fn headers(shell: &mut Shell, call: &Call) -> Flow {
    shell.view.headers = switch(call, shell.view.headers)?;
    Ok(())
}

pub(super) fn nullvalue(shell: &mut Shell, call: &Call) -> Flow {
    shell.view.null = call.arg().map(str::to_owned);
    Ok(())
}

pub(super) fn separator(shell: &mut Shell, call: &Call) -> Flow {
    shell.view.separator = call.arg().map(unescape);
    Ok(())
}

pub(super) fn maxrows(shell: &mut Shell, call: &Call) -> Flow {
    let value = number(shell, call, shell.view.max_rows)?;
    shell.view.max_rows = value;
    Ok(())
}

pub(super) fn maxwidth(shell: &mut Shell, call: &Call) -> Flow {
    let value = number(shell, call, shell.view.max_width)?;
    shell.view.max_width = value;
    Ok(())
}

pub(super) fn timer(shell: &mut Shell, call: &Call) -> Flow {
    shell.timer = switch(call, shell.timer)?;
    Ok(())
}

pub(super) fn progress(shell: &mut Shell, call: &Call) -> Flow {
    shell.progress = switch(call, shell.progress)?;
    Ok(())
}

pub(super) fn highlight(shell: &mut Shell, call: &Call) -> Flow {
    shell.highlight = switch(call, shell.highlight)?;
    Ok(())
}

pub(super) fn echo(shell: &mut Shell, call: &Call) -> Flow {
    shell.echo = switch(call, shell.echo)?;
    Ok(())
}

pub(super) fn bail(shell: &mut Shell, call: &Call) -> Flow {
    let stops = switch(call, shell.on_error == OnError::Stop)?;
    shell.on_error = if stops { OnError::Stop } else { OnError::KeepGoing };
    Ok(())
}

/// `on` or `off`; without a word, the other one.
fn switch(call: &Call, current: bool) -> Result<bool, Stop> {
    match call.arg() {
        None => Ok(!current),
        Some("on" | "true" | "yes" | "1") => Ok(true),
        Some("off" | "false" | "no" | "0") => Ok(false),
        Some(word) => {
            let error = Error::invalid(format!(".{}: \"{word}\" is not on or off", call.name));
            Err(match nearest(word, ["on", "off"]) {
                Some(near) => error.with_label(format!("did you mean \"{near}\"?")).into(),
                None => error.into(),
            })
        }
    }
}

/// The number that is given; without one, shows the current one.
fn number(shell: &mut Shell, call: &Call, current: usize) -> Result<usize, Stop> {
    let Some(word) = call.arg() else {
        writeln!(shell.sink.writer()?, "{current}")?;
        return Ok(current);
    };
    word.parse()
        .map_err(|_| Error::invalid(format!(".{}: \"{word}\" is not a number", call.name)).into())
}

pub(super) fn print(shell: &mut Shell, call: &Call) -> Flow {
    Ok(writeln!(shell.sink.writer()?, "{}", call.args.join(" "))?)
}

/// `\set` alone.
pub(super) fn variables(shell: &mut Shell) -> Flow {
    let out = shell.sink.writer()?;
    for (name, value) in &shell.variables {
        writeln!(out, "{name} = {}", crate::sql::name::literal(value))?;
    }
    Ok(())
}

pub(super) fn show(shell: &mut Shell, _call: &Call) -> Flow {
    let word = |on: bool| if on { "on" } else { "off" }.to_owned();
    let text = |text: &Option<String>| match text {
        Some(text) => format!("{text:?}"),
        None => "(the format's own)".to_owned(),
    };
    let view = &shell.view;
    let lines = [
        ("warehouse", shell.location()),
        ("mode", view.format.name().to_owned()),
        ("headers", word(view.headers)),
        ("nullvalue", text(&view.null)),
        ("separator", text(&view.separator)),
        ("maxrows", view.max_rows.to_string()),
        ("maxwidth", view.max_width.to_string()),
        ("timer", word(shell.timer)),
        ("progress_bar", word(shell.progress)),
        ("highlight", word(shell.highlight)),
        ("echo", word(shell.echo)),
        ("bail", word(shell.on_error == OnError::Stop)),
    ];
    let out = shell.sink.writer()?;
    for (name, value) in lines {
        writeln!(out, "{name:>13}: {value}")?;
    }
    Ok(())
}
