//! `table_changes('t', first, last)`, `table_insertions` and `table_deletions`: what happened to a
//! table from one snapshot to another, both included.
//!
//! Snapshots are given by their numbers or by times: the first one that is not older than one, the
//! last that is not younger than the other. The table is the one that has the name in the last of
//! them, in the form it has there. In a transaction that is what was committed before it began.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::scalar::ScalarValue;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Spanned};

use super::Planner;
use crate::catalog::Transaction;
use crate::catalog::model::{Relation, SnapshotId};
use crate::diagnostic::Span;
use crate::error::{Error, Result};
use crate::sql::name::{self, RelationRef, fold};
use crate::table::{ChangeFeed, FeedKind};

const FUNCTIONS: [(&str, FeedKind); 3] = [
    ("table_changes", FeedKind::Changes),
    ("table_insertions", FeedKind::Insertions),
    ("table_deletions", FeedKind::Deletions),
];

const PARAMETERS: [&str; 3] = ["table_name", "start_snapshot", "end_snapshot"];

/// The names of the functions.
pub(super) fn functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name)
}

/// What a function of this name tells.
pub(super) fn kind(function: &str) -> Option<FeedKind> {
    FUNCTIONS.iter().find(|(name, _)| *name == function).map(|(_, kind)| *kind)
}

/// A snapshot as it is given.
enum Bound {
    Number(SnapshotId),
    Time(chrono::DateTime<chrono::Utc>),
}

impl Planner {
    /// The changes of a table.
    pub(super) fn changes<'a>(
        &'a self,
        kind: FeedKind,
        arguments: &'a [FunctionArg],
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>>> {
        async move {
            let [table, first, last] = parameters(kind, arguments)?;
            let pinned = self.last(last).await.map_err(|e| e.or_span(span(last)))?;
            let newest = self.transaction().base().id;
            let first_id = self.first(first, newest).await.map_err(|e| e.or_span(span(first)))?;
            let last_id = pinned.base().id;
            // A reader that is up to date asks for what comes next, and gets nothing.
            if first_id.0 > last_id.0 + 1 {
                return Err(Error::invalid(format!(
                    "snapshot {first_id} comes after snapshot {last_id}"
                ))
                .with_help("the first snapshot of the changes is given before the last")
                .or_span(span(first)));
            }
            let name = self.named(table).await.map_err(|e| e.or_span(span(table)))?;
            let planner = self.on(pinned.clone());
            let found = match planner.found(&name).await.map_err(|e| e.or_span(span(table)))? {
                (_, Relation::Table(table)) => table,
                (_, Relation::View(_)) => {
                    return Err(Error::invalid(format!("\"{name}\" is a view, not a table"))
                        .with_help("ask for the changes of the tables it reads")
                        .or_span(span(table)));
                }
            };
            let first_id = match first_id > last_id {
                true => first_id,
                false => pinned
                    .changes_since(&found, first_id)
                    .await
                    .map_err(|e| e.or_span(span(first)))?,
            };
            let storage = Arc::clone(self.storage());
            let feed = ChangeFeed::new(kind, found, first_id, pinned, storage)?;
            Ok(Arc::new(feed) as Arc<dyn TableProvider>)
        }
        .boxed()
    }

    /// The past of the transaction up to the last snapshot.
    async fn last(&self, expr: &Expr) -> Result<Transaction> {
        match self.bound(expr).await? {
            Bound::Number(id) => self.transaction().at_version(id).await,
            Bound::Time(time) => self.transaction().at_time(time).await,
        }
    }

    /// The first snapshot; it may be the one that comes after the newest.
    async fn first(&self, expr: &Expr, newest: SnapshotId) -> Result<SnapshotId> {
        match self.bound(expr).await? {
            Bound::Number(id) if id.0 < 0 || id.0 > newest.0 + 1 => {
                Err(Error::not_found(format!("version {id} does not exist"))
                    .with_help(format!("the newest is {newest}; snapshots() lists them")))
            }
            Bound::Number(id) => Ok(id),
            Bound::Time(time) => self.transaction().first_since(time).await,
        }
    }

    async fn bound(&self, expr: &Expr) -> Result<Bound> {
        let data_type = self.type_of(expr).await?;
        if data_type.is_null() {
            return Err(Error::invalid("a snapshot is given by its number or by a time, not NULL"));
        }
        if !data_type.is_integer() {
            return self.instant(expr).await.map(Bound::Time);
        }
        match self.constant(expr, "BIGINT").await? {
            ScalarValue::Int64(Some(id)) => Ok(Bound::Number(SnapshotId(id))),
            _ => Err(Error::invalid(format!("{expr} is not the number of a version"))),
        }
    }

    /// The name of the table, which may have its schema before it.
    async fn named(&self, expr: &Expr) -> Result<RelationRef> {
        let text = self.constant(expr, "VARCHAR").await?;
        if text.is_null() {
            return Err(Error::invalid("the name of the table is NULL"));
        }
        let text = text.to_string();
        // What is no name in SQL may still be one of a table.
        let plain = || RelationRef { catalog: None, schema: None, name: text.clone(), span: None };
        let name = RelationRef::parse(&text).unwrap_or_else(|_| plain());
        Ok(RelationRef { span: span(expr), ..name })
    }
}

/// The arguments in the order of the parameters.
fn parameters(kind: FeedKind, arguments: &[FunctionArg]) -> Result<[&Expr; 3]> {
    let function = FUNCTIONS.iter().find(|(_, other)| *other == kind).map_or("", |(name, _)| name);
    let usage = || format!("write {function}('table', first snapshot, last snapshot)");
    let mut given: [Option<&Expr>; 3] = [None; 3];
    for (index, argument) in arguments.iter().enumerate() {
        let (parameter, value) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if index < 3 => (index, value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                let name = fold(name);
                let known = PARAMETERS.iter().position(|known| *known == name);
                let unknown = || Error::no_such("parameter", &name, PARAMETERS).with_help(usage());
                (known.ok_or_else(unknown)?, value)
            }
            other => {
                let message = format!("{function} does not take {other}");
                return Err(Error::invalid(message).with_help(usage()));
            }
        };
        if given[parameter].replace(value).is_some() {
            let name = PARAMETERS[parameter];
            return Err(Error::invalid(format!("{name} is given twice")).with_help(usage()));
        }
    }
    match given {
        [Some(table), Some(first), Some(last)] => Ok([table, first, last]),
        _ => Err(Error::invalid(format!("{function} takes a table and two snapshots"))
            .with_help(usage())),
    }
}

fn span(expr: &Expr) -> Option<Span> {
    name::span(expr.span())
}
