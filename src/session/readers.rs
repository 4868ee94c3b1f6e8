//! What a statement reads besides tables: found in its text, opened, and named so that the planner
//! finds them.
//!
//! `FROM 'file'`, `read_csv(…)`, `snapshots()` and `t AT (VERSION => 3)` are not names a catalog can
//! hold, and opening them is asynchronous while planning is not. So before planning each is replaced by a name in the
//! schema [`READERS`], whose providers are opened here.

use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use sqlparser::ast::{
    FunctionArg, Ident, ObjectName, ObjectNamePart, Spanned, Statement, TableAlias, TableFactor,
    TableVersion, VisitMut, VisitorMut,
};

use super::{Planner, feed, history};
use crate::diagnostic::Span;
use crate::error::{Error, Result};
use crate::source::files::{self, Format};
use crate::source::options::{self, ReadOptions};
use crate::sql::name::{self, fold};
use crate::table::{FeedKind, READERS, Readers};

/// One thing to read.
struct Reader {
    key: String,
    /// The warehouse, where a function is named with it.
    warehouse: Option<String>,
    what: What,
    span: Option<Span>,
}

enum What {
    File(String),
    Function { name: String, format: Format, arguments: Vec<FunctionArg> },
    Snapshots,
    Options,
    TableInfo,
    Changes { kind: FeedKind, arguments: Vec<FunctionArg> },
    Earlier { name: ObjectName, version: Box<TableVersion> },
}

/// Replaces every reader in `statement` by a name, and opens them all.
pub(crate) async fn open_all(statement: &mut Statement, planner: &Planner) -> Result<Readers> {
    let mut finder = Finder { found: vec![] };
    if let ControlFlow::Break(error) = statement.visit(&mut finder) {
        return Err(error);
    }
    let mut readers = Readers::new();
    for reader in finder.found {
        planner.check_warehouse(reader.warehouse.as_deref()).map_err(|e| e.or_span(reader.span))?;
        if let Entry::Vacant(entry) = readers.entry(reader.key) {
            let opened = open(&reader.what, planner).await;
            entry.insert(opened.map_err(|e| e.or_span(reader.span))?);
        }
    }
    Ok(readers)
}

async fn open(what: &What, planner: &Planner) -> Result<Arc<dyn TableProvider>> {
    let (names, format, options) = match what {
        What::Snapshots => return history::snapshots(planner.transaction()).await,
        What::Options => return super::options::options(planner.transaction()).await,
        What::TableInfo => return history::table_info(planner.transaction()).await,
        What::Changes { kind, arguments } => return planner.changes(*kind, arguments).await,
        What::Earlier { name, version } => return planner.earlier(name, version).await,
        What::File(name) => (vec![name.clone()], None, ReadOptions::default()),
        What::Function { name, format, arguments } => {
            let (names, options) = options::parse(name, *format, arguments)?;
            (names, Some(*format), options)
        }
    };
    if planner.is_safe() {
        return Err(Error::unsupported("reading files is not allowed in safe mode"));
    }
    files::open(planner.state(), planner.storage(), &names, format, &options).await
}

struct Finder {
    found: Vec<Reader>,
}

impl VisitorMut for Finder {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, alias, args, version, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let span = name::span(name.span());
        let arguments = args.as_ref().map(|args| args.args.as_slice());
        let found = match version.take() {
            Some(version) => Some(earlier(name, version)),
            None => reader(name, arguments),
        };
        let Some((key, what, default_alias)) = found else {
            return ControlFlow::Continue(());
        };
        let warehouse = match (name.0.as_slice(), &what) {
            (_, What::Earlier { .. }) => None,
            ([ObjectNamePart::Identifier(warehouse), _], _) => Some(fold(warehouse)),
            _ => None,
        };
        let part = |value: &str| ObjectNamePart::Identifier(Ident::with_quote('"', value));
        *name = ObjectName(vec![part(READERS), part(&key)]);
        *args = None;
        alias.get_or_insert_with(|| TableAlias {
            explicit: false,
            name: Ident::with_quote('"', default_alias),
            columns: vec![],
            at: None,
        });
        self.found.push(Reader { key, warehouse, what, span });
        ControlFlow::Continue(())
    }
}

/// A table as of an earlier snapshot.
fn earlier(name: &ObjectName, version: TableVersion) -> (String, What, String) {
    let key = format!("{name} {version}");
    let alias = name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default();
    let version = Box::new(version);
    (key, What::Earlier { name: name.clone(), version }, alias)
}

/// The reader that a name in FROM stands for: its key, itself, and the alias it has unless the
/// statement gives one.
fn reader(name: &ObjectName, arguments: Option<&[FunctionArg]>) -> Option<(String, What, String)> {
    let (ident, is_bare) = match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => (ident, true),
        [_, ObjectNamePart::Identifier(ident)] if arguments.is_some() => (ident, false),
        _ => return None,
    };
    let Some(arguments) = arguments else {
        let is_file = ident.quote_style == Some('\'')
            || (ident.quote_style == Some('"') && files::looks_like_file(&ident.value));
        let file = is_file.then(|| ident.value.clone())?;
        return Some((file.clone(), What::File(file.clone()), stem(&file)));
    };
    let function = fold(ident);
    let text: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let key = format!("{function}({})", text.join(", "));
    let what = match Format::of_function(&function) {
        Some(_) if !is_bare => return None,
        Some(format) => {
            What::Function { name: function.clone(), format, arguments: arguments.to_vec() }
        }
        None if function == "snapshots" && arguments.is_empty() => What::Snapshots,
        None if function == "options" && arguments.is_empty() => What::Options,
        None if function == "table_info" && arguments.is_empty() => What::TableInfo,
        None => What::Changes { kind: feed::kind(&function)?, arguments: arguments.to_vec() },
    };
    Some((key, what, function))
}

/// What can stand in FROM with arguments, besides the engine's own functions.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    let files = ["read_csv", "read_json", "read_parquet"];
    files.into_iter().chain(["snapshots", "options", "table_info"]).chain(feed::functions())
}

/// A file's name without directories and endings.
fn stem(file: &str) -> String {
    let last = file.rsplit('/').next().unwrap_or(file);
    let stem = last.split('.').next().unwrap_or(last);
    if stem.is_empty() || stem.contains('*') { "file".to_owned() } else { stem.to_owned() }
}
