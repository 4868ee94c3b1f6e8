//! The commands that show what there is: objects of the warehouse, and the commands themselves.
//!
//! `.tables` and its relatives are queries, so that what they show is what SQL shows.

use arrow::datatypes::Schema;
use futures::StreamExt;
use futures::future::LocalBoxFuture;

use super::{Call, Command, Lookup, TABLE};
use crate::cli::Flow;
use crate::cli::shell::Shell;
use crate::sql::name::{literal, quote};
use crate::types::display_type;
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
        "SELECT * EXCLUDE (table_catalog) FROM information_schema.tables \
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

/// `.schema`: CREATE statements, put together from the tables' columns and the views' queries.
pub(super) fn schema<'a>(shell: &'a mut Shell, call: &'a Call) -> LocalBoxFuture<'a, Flow> {
    Box::pin(async move {
        let filter = format!("table_schema <> 'information_schema'{}", like(call, "table_name"));
        let views = format!(
            "SELECT table_schema, table_name, definition FROM information_schema.views \
             WHERE {filter} AND definition IS NOT NULL"
        );
        let views = rows(shell, &views).await?;
        let names = format!(
            "SELECT table_schema, table_name FROM information_schema.tables \
             WHERE {filter} ORDER BY table_schema, table_name"
        );
        for name in rows(shell, &names).await? {
            let relation = relation(&name);
            let text = match views.iter().find(|view| view[..2] == name[..]) {
                Some(view) => view_definition(&relation, &view[2]),
                None => {
                    let columns = format!("SELECT * FROM {relation}");
                    let Outcome::Rows(rows) = shell.session.sql(&columns).await? else { continue };
                    table_definition(&relation, &rows.schema())
                }
            };
            shell.sink.writer()?.write_all(text.as_bytes())?;
        }
        Ok(())
    })
}

/// A definition may be the whole statement or only its query.
fn view_definition(relation: &str, definition: &str) -> String {
    let definition = definition.trim_end_matches(';');
    let whole = definition.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("create"));
    let head = if whole { String::new() } else { format!("CREATE VIEW {relation} AS ") };
    format!("{head}{definition};\n")
}

fn table_definition(relation: &str, schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        format!("{} {}{null}", quote(field.name()), display_type(field).to_uppercase())
    });
    format!("CREATE TABLE {relation}({});\n", columns.collect::<Vec<_>>().join(", "))
}

fn relation(name: &[String]) -> String {
    match name[0].as_str() {
        "main" => quote(&name[1]),
        schema => format!("{}.{}", quote(schema), quote(&name[1])),
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
    let (name, location) = (shell.warehouse.name().to_owned(), shell.location());
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
    use arrow::datatypes::{DataType, Field};

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
        let schema = Schema::new(vec![
            Field::new("id", DataType::Float64, false),
            Field::new("Name", DataType::Utf8, true),
        ]);
        assert_eq!(
            table_definition(&relation(&["main".into(), "t".into()]), &schema),
            "CREATE TABLE t(id DOUBLE NOT NULL, \"Name\" VARCHAR);\n"
        );
        let name = relation(&["s".into(), "Odd v".into()]);
        let expected = "CREATE VIEW s.\"Odd v\" AS SELECT 1;\n";
        assert_eq!(view_definition(&name, "SELECT 1"), expected);
        assert_eq!(view_definition(&name, expected.trim_end()), expected);
    }
}
