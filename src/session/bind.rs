//! Parameters of statements: `$1`, `$2`, … or `?`, replaced in the text before planning.
//!
//! PREPARE keeps the parsed statement, so each EXECUTE plans against the newest snapshot and the
//! planner sees the values.

use std::ops::ControlFlow;

use datafusion::logical_expr::lit;
use datafusion::scalar::ScalarValue;
use datafusion::sql::unparser::expr_to_sql;
use sqlparser::ast::{Expr, Ident, Value, VisitMut, VisitorMut};

use super::{Outcome, Session};
use crate::error::{Error, Result};
use crate::sql::name::{self, fold};
use crate::sql::{Command, QueryOrTable};

impl Session {
    /// The prepared statement with its parameters replaced.
    pub(super) fn bound(&self, name: &Ident, arguments: &[Expr]) -> Result<Command> {
        let key = fold(name);
        let Some(command) = self.prepared.get(&key) else {
            let known = self.prepared.keys().map(String::as_str);
            return Err(
                Error::no_such("prepared statement", &key, known).or_span(name::span(name.span))
            );
        };
        let mut command = command.clone();
        bind(&mut command, arguments).map_err(|e| e.or_span(name::span(name.span)))?;
        Ok(command)
    }

    pub(super) fn deallocate(&mut self, name: &Ident) -> Result<Outcome> {
        let key = fold(name);
        if key == "all" && name.quote_style.is_none() {
            self.prepared.clear();
        } else if self.prepared.remove(&key).is_none() {
            let known = self.prepared.keys().map(String::as_str);
            return Err(
                Error::no_such("prepared statement", &key, known).or_span(name::span(name.span))
            );
        }
        Ok(Outcome::done("DEALLOCATE"))
    }
}

/// Values as SQL expressions.
pub(super) fn expressions(values: &[ScalarValue]) -> Result<Vec<Expr>> {
    let expression = |value: &ScalarValue| {
        expr_to_sql(&lit(value.clone())).map_err(|e| {
            Error::unsupported(format!(
                "a parameter of type {} is not supported",
                value.data_type()
            ))
            .with_source(e)
        })
    };
    values.iter().map(expression).collect()
}

/// Replaces every parameter of `command`; as many values as parameters are needed.
pub(super) fn bind(command: &mut Command, arguments: &[Expr]) -> Result<()> {
    let mut binder = Binder { arguments, used: vec![false; arguments.len()], next: 0 };
    if let ControlFlow::Break(error) = visit(command, &mut binder) {
        return Err(error);
    }
    match binder.used.iter().position(|used| !used) {
        Some(unused) => {
            Err(Error::invalid(format!("the statement has no parameter ${}", unused + 1)))
        }
        None => Ok(()),
    }
}

fn visit(command: &mut Command, binder: &mut Binder<'_>) -> ControlFlow<Error> {
    match command {
        Command::Query(query) => query.visit(binder),
        Command::Explain(explain) => explain.statement.visit(binder),
        Command::CreateTable(create) => create.query.visit(binder),
        Command::CreateView(create) => create.query.visit(binder),
        Command::Insert(insert) => insert.visit(binder),
        Command::ChangeRows(change) => change.visit(binder),
        Command::Copy(copy) => copy.source.visit(binder),
        Command::Call(call) => {
            for (_, value) in &mut call.arguments {
                value.visit(binder)?;
            }
            ControlFlow::Continue(())
        }
        Command::Describe(QueryOrTable::Query(query))
        | Command::Summarize(QueryOrTable::Query(query)) => query.visit(binder),
        _ => ControlFlow::Continue(()),
    }
}

struct Binder<'a> {
    arguments: &'a [Expr],
    used: Vec<bool>,
    /// The index of the next `?`.
    next: usize,
}

impl VisitorMut for Binder<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Value(value) = expr else {
            return ControlFlow::Continue(());
        };
        let (Value::Placeholder(name), span) = (&value.value, name::span(value.span)) else {
            return ControlFlow::Continue(());
        };
        let index = match name.strip_prefix('$').map(str::parse::<usize>) {
            Some(Ok(number)) => number.wrapping_sub(1),
            None if name == "?" => {
                self.next += 1;
                self.next - 1
            }
            _ => {
                let error = Error::unsupported(format!("parameter {name} is not a number"))
                    .with_help("parameters are $1, $2, … or ?");
                return ControlFlow::Break(error.or_span(span));
            }
        };
        let Some(argument) = self.arguments.get(index) else {
            let error = Error::invalid(format!("parameter {name} has no value"));
            return ControlFlow::Break(error.or_span(span));
        };
        self.used[index] = true;
        *expr = argument.clone();
        ControlFlow::Continue(())
    }
}
