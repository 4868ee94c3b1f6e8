//! The grammar of ALTER, COMMENT ON and CALL.

use sqlparser::ast::{Expr, Ident};
use sqlparser::tokenizer::Token;

use super::name::{self, RelationRef, fold};
use super::parser::StatementParser;
use super::{AlterTable, Call, Command, Comment, TableAction};
use crate::catalog::model::RelationKind;
use crate::error::{Error, Result};

impl StatementParser<'_> {
    pub(super) fn alter(&mut self) -> Result<Command> {
        let start = name::span(self.parser.next_token().span);
        if self.word("table") {
            return self.alter_table();
        }
        if self.word("view") {
            let if_exists = self.if_exists()?;
            let name = self.relation()?;
            self.expect("rename")?;
            self.expect("to")?;
            let to = self.new_name(&name)?;
            return Ok(Command::AlterView { name, if_exists, to });
        }
        if self.word("schema") {
            return Err(Error::unsupported(
                "a schema cannot be renamed: the catalog's format has no way",
            )
            .with_help("create a schema with the new name and rebuild its tables there")
            .or_span(start));
        }
        let what = self.parser.next_token();
        Err(Error::unsupported(format!("ALTER {} is not supported", what.token))
            .with_help("ALTER changes a TABLE or a VIEW")
            .or_span(start))
    }

    pub(super) fn if_exists(&mut self) -> Result<bool> {
        let given = self.word("if");
        if given {
            self.expect("exists")?;
        }
        Ok(given)
    }

    /// `ALTER TABLE [IF EXISTS] name action, …`.
    fn alter_table(&mut self) -> Result<Command> {
        let if_exists = self.if_exists()?;
        let name = self.relation()?;
        let mut actions = vec![self.table_action(&name)?];
        while self.parser.consume_token(&Token::Comma) {
            actions.push(self.table_action(&name)?);
        }
        Ok(Command::AlterTable(AlterTable { name, if_exists, actions }))
    }

    fn table_action(&mut self, table: &RelationRef) -> Result<TableAction> {
        if self.word("add") {
            return self.add();
        }
        if self.word("drop") {
            if self.word("constraint") {
                let if_exists = self.if_exists()?;
                return Ok(TableAction::DropConstraint { name: self.identifier()?, if_exists });
            }
            self.word("column");
            let if_exists = self.if_exists()?;
            let path = self.path()?;
            let _ = self.word("cascade") || self.word("restrict");
            return Ok(TableAction::DropColumn { path, if_exists });
        }
        if self.word("rename") {
            if self.word("to") {
                return Ok(TableAction::Rename { to: self.new_name(table)? });
            }
            self.word("column");
            let path = self.path()?;
            self.expect("to")?;
            return Ok(TableAction::RenameColumn { path, to: self.identifier()? });
        }
        if self.word("alter") {
            return self.alter_column();
        }
        if self.word("set") {
            if self.word("partitioned") {
                return self.partition_by().map(TableAction::PartitionBy);
            }
            self.expect("sorted")?;
            return self.sort_by().map(TableAction::SortBy);
        }
        if self.word("reset") {
            let action = match self.word("partitioned") {
                true => TableAction::PartitionBy(vec![]),
                false => {
                    self.expect("sorted")?;
                    TableAction::SortBy(vec![])
                }
            };
            self.expect("by")?;
            return Ok(action);
        }
        let found = self.parser.peek_token();
        Err(self.unexpected("ADD, DROP, RENAME, ALTER, SET or RESET", &found))
    }

    fn add(&mut self) -> Result<TableAction> {
        if let Some(constraint) = self.table_constraint()? {
            return Ok(TableAction::AddConstraint(constraint));
        }
        self.word("column");
        let if_not_exists = self.if_not_exists()?;
        let mut parent = self.path()?;
        let Some(name) = parent.pop() else {
            return Err(Error::internal("a path without a name"));
        };
        let definition = self.column_definition(name)?;
        Ok(TableAction::AddColumn { parent, definition, if_not_exists })
    }

    /// `[COLUMN] path [SET DATA] TYPE t | SET | DROP DEFAULT | NOT NULL`, after ALTER.
    fn alter_column(&mut self) -> Result<TableAction> {
        self.word("column");
        let path = self.path()?;
        if self.word("type") {
            return self.column_type(path);
        }
        if self.word("drop") {
            if self.word("default") {
                return Ok(TableAction::SetDefault { path, default: None });
            }
            self.expect("not")?;
            self.expect("null")?;
            return Ok(TableAction::SetNullable { path, nullable: true });
        }
        self.expect("set")?;
        if self.word("data") {
            self.expect("type")?;
            return self.column_type(path);
        }
        if self.word("default") {
            let default = Some(self.parser.parse_expr().map_err(|e| self.syntax(e))?);
            return Ok(TableAction::SetDefault { path, default });
        }
        self.expect("not")?;
        self.expect("null")?;
        Ok(TableAction::SetNullable { path, nullable: false })
    }

    fn column_type(&mut self, path: Vec<Ident>) -> Result<TableAction> {
        let data_type = self.parser.parse_data_type().map_err(|e| self.syntax(e))?;
        let token = self.parser.peek_token();
        if self.word("using") {
            return Err(Error::unsupported("USING is not supported: files are not rewritten")
                .with_help("rebuild the table: CREATE OR REPLACE TABLE t AS SELECT … FROM t")
                .or_span(name::span(token.span)));
        }
        Ok(TableAction::SetType { path, data_type })
    }

    /// `name` or `name.field.field`.
    fn path(&mut self) -> Result<Vec<Ident>> {
        let mut path = vec![self.identifier()?];
        while self.parser.consume_token(&Token::Period) {
            path.push(self.identifier()?);
        }
        Ok(path)
    }

    /// The name after RENAME TO: in the same schema.
    fn new_name(&mut self, old: &RelationRef) -> Result<String> {
        let new = self.relation()?;
        match new.schema.is_none() || new.schema == old.schema {
            true => Ok(new.name),
            false => Err(Error::unsupported(format!("\"{old}\" cannot move to another schema"))
                .with_help("rebuild it there with CREATE TABLE … AS, and drop this one")
                .or_span(new.span)),
        }
    }

    /// `COMMENT ON TABLE | VIEW | COLUMN name IS 'text' | NULL`.
    pub(super) fn comment(&mut self) -> Result<Command> {
        self.parser.next_token();
        self.expect("on")?;
        let on = self.parser.next_token();
        let kind = match &on.token {
            Token::Word(word) => word.value.to_lowercase(),
            _ => String::new(),
        };
        let (kind, column) = match kind.as_str() {
            "table" => (RelationKind::Table, false),
            "view" => (RelationKind::View, false),
            "column" => (RelationKind::Table, true),
            _ => return Err(self.unexpected("TABLE, VIEW or COLUMN", &on)),
        };
        let (name, column) = match column {
            false => (self.relation()?, None),
            true => {
                let mut path = self.path()?;
                let column = path.pop().filter(|_| !path.is_empty()).ok_or_else(|| {
                    Error::invalid("a comment on a column needs its table: COMMENT ON COLUMN t.c")
                        .or_span(name::span(on.span))
                })?;
                let name = sqlparser::ast::ObjectName::from(path);
                (RelationRef::from_ast(&name)?, Some(column))
            }
        };
        self.expect("is")?;
        let token = self.parser.peek_token();
        let text = match &token.token {
            Token::SingleQuotedString(text) => {
                self.parser.next_token();
                Some(text.clone())
            }
            _ => {
                self.expect("null")?;
                None
            }
        };
        Ok(Command::Comment(Comment { kind, name, column, text }))
    }

    /// `CALL [warehouse.]name(argument, name => argument, …)`.
    pub(super) fn call(&mut self) -> Result<Command> {
        self.parser.next_token();
        let name = self.relation()?;
        self.token(&Token::LParen, "(")?;
        let mut arguments: Vec<(Option<String>, Expr)> = vec![];
        while !self.parser.consume_token(&Token::RParen) {
            if !arguments.is_empty() {
                self.token(&Token::Comma, ", or )")?;
            }
            let is_named = matches!(
                self.parser.peek_nth_token_ref(1).token,
                Token::RArrow | Token::Assignment
            );
            let named = match is_named {
                true => {
                    let ident = self.identifier()?;
                    self.parser.next_token();
                    Some(fold(&ident))
                }
                false => None,
            };
            arguments.push((named, self.parser.parse_expr().map_err(|e| self.syntax(e))?));
        }
        Ok(Command::Call(Call { name, arguments }))
    }
}
