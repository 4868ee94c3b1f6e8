//! MERGE: the standard's clauses, and DuckDB's short ones that take all columns of the source.
//!
//! ```text
//! MERGE INTO target [AS a] USING source [AS b] ON condition | USING (columns)
//!   WHEN [NOT] MATCHED [BY SOURCE | BY TARGET] [AND condition] THEN
//!     UPDATE SET column = value, … | UPDATE [SET *] | UPDATE BY NAME
//!     INSERT [(columns)] VALUES (…) | INSERT [*] | INSERT BY NAME [*] | INSERT DEFAULT VALUES
//!     DELETE | DO NOTHING
//! ```

use sqlparser::ast::{BinaryOperator, Expr, Ident, TableAlias, TableFactor, TableWithJoins, Value};
use sqlparser::parser::{IsOptional, Parser};
use sqlparser::tokenizer::{Token, Word};

use super::Command;
use super::dml::{
    Action, Clause, ColumnPath, Match, RowChange, Target, When, With, assignments, path, refuse,
};
use super::name;
use super::parser::StatementParser;
use crate::error::{Error, ErrorKind, Result};

impl StatementParser<'_> {
    pub(super) fn merge(&mut self) -> Result<Command> {
        self.parser.next_token();
        self.word("into");
        let relation = self.table_factor()?;
        let target = Target::of(TableWithJoins { relation, joins: vec![] }, "MERGE")?;
        self.expect("using")?;
        let source = self.table_factor()?;
        let alias = alias_of(&source)?;
        let on = match self.word("using") {
            true => self.common_columns(target.alias(), &alias.name)?,
            false => {
                self.expect("on")?;
                self.expr()?
            }
        };
        let mut clauses = Vec::new();
        while self.word("when") {
            clauses.push(self.merge_clause()?);
        }
        if clauses.is_empty() {
            return Err(Error::invalid("MERGE has no WHEN clause").or_span(target.table().span));
        }
        refuse("MERGE", &[(!self.returning()?.is_empty(), "RETURNING")]).map_err(|e| {
            e.with_help("table_changes('t', n, n) tells what snapshot n has changed")
        })?;
        let with = With::Source { source: Box::new(source), alias, on: Box::new(on) };
        Ok(Command::ChangeRows(Box::new(RowChange::new("MERGE", target, with, clauses))))
    }

    fn merge_clause(&mut self) -> Result<Clause> {
        let is_matched = !self.word("not");
        self.expect("matched")?;
        let when = match is_matched {
            true => When::Matched,
            false if self.word("by") => match self.word("source") {
                true => When::NotMatchedBySource,
                false => {
                    self.expect("target")?;
                    When::NotMatched
                }
            },
            false => When::NotMatched,
        };
        let predicate = if self.word("and") { Some(self.expr()?) } else { None };
        self.expect("then")?;
        let action = self.merge_action(when)?;
        let token = self.parser.peek_token();
        refuse("MERGE", &[(self.word("where"), "WHERE after an action")]).map_err(|e| {
            e.with_help("put the condition after WHEN … AND").or_span(name::span(token.span))
        })?;
        Ok(Clause { when, predicate, action })
    }

    fn merge_action(&mut self, when: When) -> Result<Action> {
        let token = self.parser.peek_token();
        let action = match () {
            () if self.word("delete") => Action::Delete,
            () if self.word("update") => self.merge_update()?,
            () if self.word("insert") => self.merge_insert()?,
            () if self.word("do") => {
                self.expect("nothing")?;
                Action::Nothing
            }
            () => return Err(self.unexpected("UPDATE, DELETE, INSERT or DO NOTHING", &token)),
        };
        let (is_wrong, clause) = match (&action, when) {
            (Action::Delete | Action::Update(_) | Action::UpdateAll(_), When::NotMatched) => {
                (true, "NOT MATCHED")
            }
            (Action::Insert { .. } | Action::InsertAll(_), When::Matched) => (true, "MATCHED"),
            (Action::Insert { .. } | Action::InsertAll(_), When::NotMatchedBySource) => {
                (true, "NOT MATCHED BY SOURCE")
            }
            _ => (false, ""),
        };
        match is_wrong {
            false => Ok(action),
            true => {
                let message = format!("{} is not allowed in a {clause} clause", token.token);
                Err(Error::new(ErrorKind::Syntax, message).or_span(name::span(token.span)))
            }
        }
    }

    fn merge_update(&mut self) -> Result<Action> {
        if !self.word("set") {
            return self.matching().map(Action::UpdateAll);
        }
        if self.parser.consume_token(&Token::Mul) {
            return Ok(Action::UpdateAll(Match::ByPosition));
        }
        let given = self.parser.parse_comma_separated(Parser::parse_assignment);
        Ok(Action::Update(assignments(given.map_err(|e| self.syntax(e))?)?))
    }

    fn merge_insert(&mut self) -> Result<Action> {
        if self.word("default") {
            self.expect("values")?;
            return Ok(Action::Insert { columns: Some(vec![]), values: vec![] });
        }
        let has_values = matches!(
            &self.parser.peek_token_ref().token,
            Token::LParen | Token::Word(Word { keyword: sqlparser::keywords::Keyword::VALUES, .. })
        );
        if !has_values {
            let matching = self.matching()?;
            let _ = self.parser.consume_token(&Token::Mul);
            return Ok(Action::InsertAll(matching));
        }
        let columns = match self.parser.consume_token(&Token::LParen) {
            true => Some(self.column_paths()?),
            false => None,
        };
        self.expect("values")?;
        self.parser.expect_token(&Token::LParen).map_err(|e| self.syntax(e))?;
        let values = self.parser.parse_comma_separated(Parser::parse_expr);
        let values = values.map_err(|e| self.syntax(e))?;
        self.parser.expect_token(&Token::RParen).map_err(|e| self.syntax(e))?;
        if self.parser.peek_token_ref().token == Token::Comma {
            return Err(Error::unsupported("INSERT of a MERGE takes one row of VALUES"));
        }
        Ok(Action::Insert { columns, values })
    }

    /// `[BY NAME | BY POSITION]`.
    fn matching(&mut self) -> Result<Match> {
        if !self.word("by") {
            return Ok(Match::ByPosition);
        }
        if self.word("name") {
            return Ok(Match::ByName);
        }
        self.expect("position")?;
        Ok(Match::ByPosition)
    }

    /// Columns after an opening parenthesis, and the closing one.
    fn column_paths(&mut self) -> Result<Vec<ColumnPath>> {
        let names = self.parser.parse_comma_separated(|parser| parser.parse_object_name(false));
        let names = names.map_err(|e| self.syntax(e))?;
        self.parser.expect_token(&Token::RParen).map_err(|e| self.syntax(e))?;
        names.iter().map(path).collect()
    }

    /// `(columns)` of USING as a condition.
    fn common_columns(&mut self, target: &Ident, source: &Ident) -> Result<Expr> {
        let columns = self.parser.parse_parenthesized_column_list(IsOptional::Mandatory, false);
        let of = |table: &Ident, column: &Ident| {
            Box::new(Expr::CompoundIdentifier(vec![table.clone(), column.clone()]))
        };
        let equal = |column: Ident| Expr::BinaryOp {
            left: of(target, &column),
            op: BinaryOperator::Eq,
            right: of(source, &column),
        };
        let both = |left, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(right),
        };
        let columns = columns.map_err(|e| self.syntax(e))?;
        let all = columns.into_iter().map(equal).reduce(both);
        Ok(all.unwrap_or_else(|| Expr::value(Value::Boolean(true))))
    }

    fn table_factor(&mut self) -> Result<TableFactor> {
        self.parser.parse_table_factor().map_err(|e| self.syntax(e))
    }

    fn expr(&mut self) -> Result<Expr> {
        self.parser.parse_expr().map_err(|e| self.syntax(e))
    }
}

/// The name of a source.
fn alias_of(source: &TableFactor) -> Result<TableAlias> {
    match source {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. } => Ok(alias.clone()),
        TableFactor::Table { name, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident());
            let last = last.ok_or_else(|| Error::invalid(format!("{name} is not a table")))?;
            Ok(TableAlias { explicit: true, name: last.clone(), columns: vec![], at: None })
        }
        other => Err(Error::invalid(format!("the source {other} of a MERGE has no name"))
            .with_help("give it one with AS")),
    }
}
