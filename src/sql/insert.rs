//! INSERT, with what it is to do about rows whose key the table has already.
//!
//! `OR REPLACE` and `OR IGNORE` are SQLite's and DuckDB's short forms of PostgreSQL's `ON CONFLICT`.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, Query, SelectItem, VisitMut, VisitorMut};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Command;
use super::dml::{ColumnPath, assignments};
use super::name::{self, RelationRef};
use super::parser::{StatementParser, ast_mandatory};
use crate::diagnostic::Span;
use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub(crate) struct Insert {
    pub(crate) table: RelationRef,
    /// What expressions call the table, if not by its name.
    pub(crate) alias: Option<Ident>,
    pub(crate) columns: Vec<Ident>,
    pub(crate) by_name: bool,
    /// `None` is DEFAULT VALUES.
    pub(crate) source: Option<Box<Query>>,
    pub(crate) conflict: Option<Box<Conflict>>,
    /// What is asked of the new rows; empty without RETURNING.
    pub(crate) returning: Vec<SelectItem>,
}

/// What becomes of a row whose key is in the table.
#[derive(Debug, Clone)]
pub(crate) struct Conflict {
    pub(crate) key: Key,
    pub(crate) action: OnConflict,
    pub(crate) span: Option<Span>,
}

/// Which key.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    /// The primary key, or the only other one.
    Declared,
    /// The one of these columns, in any order.
    Columns(Vec<Ident>),
    /// The one of this name.
    Constraint(Ident),
}

#[derive(Debug, Clone)]
pub(crate) enum OnConflict {
    /// It is not inserted.
    Ignore,
    /// Its values take the place of those that are there.
    Replace,
    /// The row that is there is updated, if it meets the predicate.
    Update { assignments: Vec<(ColumnPath, Expr)>, predicate: Option<Box<Expr>> },
}

impl Insert {
    /// Shows every expression and query in it to `visitor`.
    pub(crate) fn visit<V: VisitorMut>(&mut self, visitor: &mut V) -> ControlFlow<V::Break> {
        self.source.visit(visitor)?;
        let conflict = self.conflict.as_mut().map(|conflict| &mut conflict.action);
        if let Some(OnConflict::Update { assignments, predicate }) = conflict {
            for (_, value) in assignments {
                value.visit(visitor)?;
            }
            predicate.visit(visitor)?;
        }
        self.returning.visit(visitor)
    }

    /// What expressions call the table.
    pub(crate) fn called(&self, name: &str) -> Ident {
        self.alias.clone().unwrap_or_else(|| Ident::with_quote('"', name))
    }
}

impl StatementParser<'_> {
    /// `INSERT [OR REPLACE | OR IGNORE] INTO t [AS alias] [(columns)] [BY NAME | BY POSITION]
    /// query | DEFAULT VALUES [ON CONFLICT …] [RETURNING …]`.
    pub(super) fn insert(&mut self) -> Result<Command> {
        self.parser.next_token();
        let or = self.or_action()?;
        self.expect("into")?;
        self.word("table");
        let table = self.relation()?;
        let alias = if self.word("as") { Some(self.identifier()?) } else { None };
        let columns = match self.parser.peek_token_ref().token {
            Token::LParen if !self.parenthesised_query() => self.column_list()?,
            _ => vec![],
        };
        let by_name = self.word("by") && {
            let by_name = self.word("name");
            if !by_name {
                self.expect("position")?;
            }
            by_name
        };
        let source = match self.word("default") {
            true => {
                self.expect("values")?;
                None
            }
            false => Some(self.query()?),
        };
        let conflict = match (or, self.on_conflict()?) {
            (Some(_), Some(conflict)) => {
                return Err(Error::invalid("INSERT OR … and ON CONFLICT exclude each other")
                    .with_help("ON CONFLICT alone says it all")
                    .or_span(conflict.span));
            }
            (or, on) => or.or(on),
        };
        let (conflict, returning) = (conflict.map(Box::new), self.returning()?);
        let insert = Insert { table, alias, columns, by_name, source, conflict, returning };
        Ok(Command::Insert(insert))
    }

    /// `OR REPLACE` or `OR IGNORE`.
    fn or_action(&mut self) -> Result<Option<Conflict>> {
        let start = self.parser.peek_token();
        if !self.word("or") {
            return Ok(None);
        }
        let token = self.parser.peek_token();
        let action = match (self.word("replace"), self.word("ignore")) {
            (true, _) => OnConflict::Replace,
            (_, true) => OnConflict::Ignore,
            _ => return Err(self.unexpected("REPLACE or IGNORE", &token)),
        };
        Ok(Some(Conflict { key: Key::Declared, action, span: name::span(start.span) }))
    }

    /// `ON CONFLICT [(columns) | ON CONSTRAINT name] DO NOTHING | DO UPDATE SET … [WHERE …]`.
    fn on_conflict(&mut self) -> Result<Option<Conflict>> {
        let start = self.parser.peek_token();
        if !self.word("on") {
            return Ok(None);
        }
        self.expect("conflict")?;
        let has_columns = self.parser.peek_token_ref().token == Token::LParen;
        let key = match has_columns {
            true => Key::Columns(self.column_list()?),
            false if self.word("on") => {
                self.expect("constraint")?;
                Key::Constraint(self.identifier()?)
            }
            false => Key::Declared,
        };
        let token = self.parser.peek_token();
        if self.word("where") {
            return Err(Error::unsupported("a part of the table as the target of ON CONFLICT")
                .with_help("keys are of whole tables; leave out this WHERE")
                .or_span(name::span(token.span)));
        }
        self.expect("do")?;
        let action = match self.word("nothing") {
            true => OnConflict::Ignore,
            false => {
                self.expect("update")?;
                self.expect("set")?;
                let given = self.parser.parse_comma_separated(Parser::parse_assignment);
                let assignments = assignments(given.map_err(|e| self.syntax(e))?)?;
                let predicate = match self.word("where") {
                    true => Some(Box::new(self.parser.parse_expr().map_err(|e| self.syntax(e))?)),
                    false => None,
                };
                OnConflict::Update { assignments, predicate }
            }
        };
        Ok(Some(Conflict { key, action, span: name::span(start.span) }))
    }

    fn parenthesised_query(&self) -> bool {
        let mut depth = 0;
        while self.parser.peek_nth_token_ref(depth).token == Token::LParen {
            depth += 1;
        }
        matches!(&self.parser.peek_nth_token_ref(depth).token, Token::Word(w)
            if w.quote_style.is_none()
                && matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::FROM | Keyword::VALUES))
    }

    fn column_list(&mut self) -> Result<Vec<Ident>> {
        let list = self.parser.parse_parenthesized_column_list(ast_mandatory(), false);
        list.map_err(|e| self.syntax(e))
    }
}
