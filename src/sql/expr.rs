//! Expressions over one table's columns that the catalog keeps as text: CHECK constraints and sort
//! keys. They are parsed, spelled as their table is, and renamed with its columns.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, VisitMut, VisitorMut};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Tokenizer;

use super::limits;
use super::name::{self, fold, quote};
use super::parser::DIALECT;
use crate::catalog::model::{Column, same_name};
use crate::error::{Error, ErrorKind, Result};

/// Parses the text of one expression.
pub(crate) fn parse_expr(text: &str) -> Result<Expr> {
    let wrong = |error: ParserError| Error::new(ErrorKind::Syntax, error.to_string());
    let tokens = Tokenizer::new(&DIALECT, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| wrong(error.into()))?;
    limits::check_chains(&tokens)?;
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens);
    let expr = parser.parse_expr().map_err(wrong)?;
    parser.expect_token(&sqlparser::tokenizer::Token::EOF).map_err(wrong)?;
    Ok(expr)
}

/// Spells every column in `expr` as its table does; a name that is none of `columns`, and a
/// subquery, are errors. `what` is what the expression is for.
pub(crate) fn spell(expr: &mut Expr, columns: &[Column], what: &str) -> Result<()> {
    walk(expr, |ident| {
        let name = fold(ident);
        let exact = columns.iter().find(|column| column.name == name);
        let found = exact.or_else(|| columns.iter().find(|c| same_name(&c.name, &name)));
        match found {
            Some(column) => {
                *ident = exactly(&column.name);
                Ok(())
            }
            None => Err(Error::no_such("column", &name, columns.iter().map(|c| c.name.as_str()))
                .or_span(name::span(ident.span))),
        }
    })
    .map_err(|error| match error.kind() {
        ErrorKind::Unsupported => Error::unsupported(format!("{what} cannot read other tables")),
        _ => error,
    })
}

/// The top-level columns that `expr` names.
pub(crate) fn columns_of(expr: &Expr) -> Vec<String> {
    let mut names = Vec::new();
    // Nothing is changed, and subqueries name columns too.
    let _ = walk(&mut expr.clone(), |ident| {
        names.push(fold(ident));
        Ok(())
    });
    names
}

/// Gives a column another name in `expr`.
pub(crate) fn rename_column(expr: &mut Expr, from: &str, to: &str) -> Result<()> {
    walk(expr, |ident| {
        if same_name(&fold(ident), from) {
            *ident = exactly(to);
        }
        Ok(())
    })
}

/// What DuckDB, which reads sort keys too, does not take for a column unless it is in quotes.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "anti",
    "any",
    "array",
    "as",
    "asc",
    "asof",
    "asymmetric",
    "at",
    "authorization",
    "binary",
    "both",
    "by",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "columns",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "default",
    "deferrable",
    "desc",
    "describe",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "generated",
    "glob",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lambda",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "map",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "pivot",
    "pivot_longer",
    "pivot_wider",
    "placing",
    "positional",
    "primary",
    "qualify",
    "references",
    "returning",
    "right",
    "select",
    "semi",
    "show",
    "similar",
    "some",
    "struct",
    "summarize",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "try_cast",
    "union",
    "unique",
    "unpack",
    "unpivot",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// A name, in quotes where it needs them.
fn exactly(name: &str) -> Ident {
    match quote(name) == name && !RESERVED.contains(&name) {
        true => Ident::new(name),
        false => Ident::with_quote('"', name),
    }
}

/// Calls `visit` with every name of a column: a bare one, or the first part of `column.field`.
fn walk(expr: &mut Expr, visit: impl FnMut(&mut Ident) -> Result<()>) -> Result<()> {
    struct Walk<F>(F);
    impl<F: FnMut(&mut Ident) -> Result<()>> VisitorMut for Walk<F> {
        type Break = Error;

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
            let visited = match expr {
                Expr::Identifier(ident) => (self.0)(ident),
                Expr::CompoundIdentifier(parts) => parts.first_mut().map_or(Ok(()), &mut self.0),
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    Err(Error::unsupported("a subquery"))
                }
                _ => Ok(()),
            };
            visited.map_or_else(ControlFlow::Break, ControlFlow::Continue)
        }
    }
    match expr.visit(&mut Walk(visit)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::ColumnType;
    use crate::sql::types::child;

    fn columns() -> Vec<Column> {
        ["price", "Unit", "s"].map(|name| child(name, ColumnType::Int32)).into()
    }

    #[test]
    fn columns_are_spelled_as_in_the_table() {
        let mut expr = parse_expr("PRICE > 0 AND (unit IS NULL OR s.price < 3)").unwrap();
        spell(&mut expr, &columns(), "a CHECK").unwrap();
        assert_eq!(expr.to_string(), "price > 0 AND (\"Unit\" IS NULL OR s.price < 3)");
        assert_eq!(columns_of(&expr), ["price", "Unit", "s"]);
    }

    #[test]
    fn a_renamed_column_keeps_its_fields() {
        let mut expr = parse_expr("s.price > price").unwrap();
        rename_column(&mut expr, "price", "the cost").unwrap();
        assert_eq!(expr.to_string(), "s.price > \"the cost\"");
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        let check = |text: &str| spell(&mut parse_expr(text)?, &columns(), "a CHECK");
        assert_eq!(check("prize > 0").unwrap_err().label(), Some("did you mean \"price\"?"));
        assert!(check("price IN (SELECT 1)").is_err());
        assert!(check("price > 0, 1").is_err());
        assert!(check("").is_err());
    }
}
