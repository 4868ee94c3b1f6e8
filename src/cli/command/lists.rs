//! The commands that show what there is: objects of the warehouse, and the commands themselves.
//!
//! `.tables` and its relatives are queries, so that what they show is what SQL shows.

use futures::StreamExt;
use futures::future::LocalBoxFuture;

use super::{Call, Command, Lookup, TABLE};
use crate::cli::Flow;
use crate::cli::shell::Shell;
use crate::sql::name::{literal, quote};
use crate::{Outcome, Result, Source};

/// Runs `text` as if it had been typed.
pub(super) async fn query(shell: &mut Shell, text: String) -> Flow {
    shell.run_text(Source { name: "command".into(), text }, Lookup::Exact).await
}

/// `.tables`, and psql's `\d`, `\dt`, `\dv`; `\d NAME` describes.
pub(super) fn tables(call: &Call) -> String {
    let kind = match call.name.as_str() {
        "dt" => " AND table_type = 'BASE TABLE'",
        "dv" => " AND table_type = 'VIEW'",
        "d" if !call.args.is_empty() => return format!("DESCRIBE {}", call.rest),
        _ => "",
    };
    format!(
        "SELECT * FROM information_schema.tables \
         WHERE table_schema <> 'information_schema'{kind}{} ORDER BY table_schema, table_name",
        like(call, "table_name")
    )
}

pub(super) fn schemas(call: &Call) -> String {
    format!(
        "SELECT schema_name FROM information_schema.schemata \
         WHERE schema_name <> 'information_schema'{} ORDER BY schema_name",
        like(call, "schema_name")
    )
}

/// A condition for the pattern of the call: LIKE's, or a shell's `*` and `?`.
fn like(call: &Call, column: &str) -> String {
    let Some(pattern) = call.arg() else {
        return String::new();
    };
    format!(" AND {column} LIKE {}", literal(&like_pattern(pattern)))
}

fn like_pattern(pattern: &str) -> String {
    pattern.trim_end_matches(';').replace('*', "%").replace('?', "_")
}

pub(super) fn functions<'a>(shell: &'a mut Shell, call: &'a Call) -> LocalBoxFuture<'a, Flow> {
    Box::pin(async move {
        let pattern = call.arg().unwrap_or("").trim_matches(['%', '*', ';']).to_lowercase();
        let mut functions = shell.session.names().await?.functions;
        functions.retain(|name| name.to_lowercase().contains(&pattern));
        functions.sort();
        let width = shell.sink.screen().width;
        let text = columns(&functions, width);
        Ok(shell.sink.writer()?.write_all(text.as_bytes())?)
    })
}

/// Names side by side, read downwards; one on each line when there is no screen.
fn columns(names: &[String], width: Option<usize>) -> String {
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) + 2;
    let across = width.map_or(1, |width| (width / widest).max(1));
    let down = names.len().div_ceil(across);
    let mut out = String::new();
    for row in 0..down {
        let line: String =
            names.iter().skip(row).step_by(down).map(|name| format!("{name:<widest$}")).collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `.schema`: CREATE statements, put together from the columns and the views' queries.
pub(super) fn schema<'a>(shell: &'a mut Shell, call: &'a Call) -> LocalBoxFuture<'a, Flow> {
    Box::pin(async move {
        let filter =
            format!("WHERE table_schema <> 'information_schema'{}", like(call, "table_name"));
        let views = rows(
            shell,
            &format!(
                "SELECT table_schema, table_name, definition FROM information_schema.views {filter}"
            ),
        )
        .await?;
        let columns = rows(
            shell,
            &format!(
                "SELECT table_schema, table_name, column_name, data_type, is_nullable \
                 FROM information_schema.columns {filter} \
                 ORDER BY table_schema, table_name, ordinal_position"
            ),
        )
        .await?;
        let text = definitions(&columns, &views);
        Ok(shell.sink.writer()?.write_all(text.as_bytes())?)
    })
}

fn definitions(columns: &[Vec<String>], views: &[Vec<String>]) -> String {
    let mut out = String::new();
    for table in columns.chunk_by(|a, b| a[..2] == b[..2]) {
        let view = views.iter().find(|view| view[..2] == table[0][..2]);
        if let Some(definition) = view.map(|view| view[2].trim_end_matches(';')) {
            // A definition may be the whole statement or only its query.
            let head = format!("CREATE VIEW {} AS ", relation(&table[0]));
            let whole =
                definition.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("create"));
            out.push_str(&format!("{}{definition};\n", if whole { "" } else { &head }));
            continue;
        }
        let columns: Vec<String> = table
            .iter()
            .map(|row| {
                let null = if row[4] == "NO" { " NOT NULL" } else { "" };
                format!("{} {}{null}", quote(&row[2]), row[3].to_uppercase())
            })
            .collect();
        out.push_str(&format!("CREATE TABLE {}({});\n", relation(&table[0]), columns.join(", ")));
    }
    out
}

fn relation(row: &[String]) -> String {
    match row[0].as_str() {
        "main" => quote(&row[1]),
        schema => format!("{}.{}", quote(schema), quote(&row[1])),
    }
}

/// The rows of a query as texts.
async fn rows(shell: &mut Shell, text: &str) -> Result<Vec<Vec<String>>> {
    let Outcome::Rows(mut stream) = shell.session.sql(text).await? else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        rows.extend(crate::cli::output::texts(&batch?)?);
    }
    Ok(rows)
}

pub(super) fn databases(shell: &mut Shell, _call: &Call) -> Flow {
    let (name, location) = (shell.warehouse.name().to_owned(), shell.location().to_owned());
    let access = if shell.opened.read_only { ", read-only" } else { "" };
    Ok(writeln!(shell.sink.writer()?, "{name}: {location}{access}")?)
}

pub(super) fn version(shell: &mut Shell, _call: &Call) -> Flow {
    let version = concat!("gotgan ", env!("CARGO_PKG_VERSION"));
    Ok(writeln!(shell.sink.writer()?, "{version}")?)
}

pub(super) fn help(shell: &mut Shell, call: &Call) -> Flow {
    let pattern = call.arg().unwrap_or("").trim_start_matches(['.', '\\']).to_lowercase();
    let fits = |command: &&Command| {
        command.name.contains(&pattern)
            || command.help.to_lowercase().contains(&pattern)
            || command.aliases.contains(&pattern.as_str())
    };
    let out = shell.sink.writer()?;
    for command in TABLE.iter().filter(fits) {
        let usage = format!(".{} {}", command.name, command.args);
        let aliases: Vec<String> =
            command.aliases.iter().map(|alias| format!("\\{alias}")).collect();
        writeln!(out, "{usage:<22} {:<14} {}", aliases.join(" "), command.help)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Call {
        Call::parse(line, Lookup::Exact).unwrap()
    }

    #[test]
    fn lists_are_queries() {
        assert_eq!(tables(&call("\\d main.orders")), "DESCRIBE main.orders");
        assert!(tables(&call("\\dv")).contains("table_type = 'VIEW'"));
        assert!(tables(&call(".tables o'*")).contains("table_name LIKE 'o''%'"));
    }

    #[test]
    fn names_fill_columns_downwards() {
        let names = ["a", "bb", "c", "d", "e"].map(String::from);
        assert_eq!(columns(&names, Some(9)), "a   d\nbb  e\nc\n");
        assert_eq!(columns(&names[..2], None), "a\nbb\n");
        assert_eq!(columns(&[], Some(80)), "");
    }

    #[test]
    fn definitions_can_be_run_again() {
        let row = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let columns = [
            row(&["main", "t", "id", "bigint", "NO"]),
            row(&["main", "t", "Name", "varchar", "YES"]),
            row(&["s", "v", "id", "bigint", "YES"]),
        ];
        let views = [row(&["s", "v", "SELECT id FROM t"])];
        assert_eq!(
            definitions(&columns, &views),
            "CREATE TABLE t(id BIGINT NOT NULL, \"Name\" VARCHAR);\n\
             CREATE VIEW s.v AS SELECT id FROM t;\n"
        );
    }
}
