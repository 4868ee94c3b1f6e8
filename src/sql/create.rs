//! The grammar of CREATE TABLE.
//!
//! Ours rather than sqlparser's for its clauses `PARTITIONED BY (…)` and `SORTED BY (…)`, and so
//! that `key`, `index` and their like are plain column names. Types, column options, constraints and
//! queries are sqlparser's.

use sqlparser::ast::{ColumnDef, ColumnOptionDef, Ident, TableConstraint};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::parser::StatementParser;
use super::{Command, CreateTable, PartitionBy, SortBy, name};
use crate::catalog::model::Transform;
use crate::error::{Error, Result};

/// Clauses of other engines, for an error that says more than "unexpected".
const FOREIGN_CLAUSES: &[&str] = &[
    "clone",
    "cluster",
    "clustered",
    "comment",
    "engine",
    "inherits",
    "location",
    "on",
    "options",
    "partition",
    "row",
    "stored",
    "tablespace",
    "tblproperties",
    "using",
    "with",
];

impl StatementParser<'_> {
    /// Whether what follows is `CREATE [OR REPLACE] TABLE`.
    pub(super) fn creates_table(&self) -> bool {
        let is = |n: usize, keyword: Keyword| matches!(&self.parser.peek_nth_token_ref(n).token, Token::Word(w) if w.keyword == keyword);
        is(1, Keyword::TABLE)
            || (is(1, Keyword::OR) && is(2, Keyword::REPLACE) && is(3, Keyword::TABLE))
    }

    /// `CREATE [OR REPLACE] TABLE [IF NOT EXISTS] name [(columns) | LIKE other]
    /// [PARTITIONED BY (…)] [SORTED BY (…)] [AS query]`.
    pub(super) fn create_table(&mut self) -> Result<Command> {
        self.expect("create")?;
        let or_replace = self.word("or");
        if or_replace {
            self.expect("replace")?;
        }
        self.expect("table")?;
        let if_not_exists = self.if_not_exists()?;
        let mut create = CreateTable {
            name: self.relation()?,
            or_replace,
            if_not_exists,
            columns: vec![],
            constraints: vec![],
            like: None,
            partition: None,
            sort: None,
            query: None,
        };
        if self.word("like") {
            create.like = Some(Box::new(self.relation()?));
        } else if self.parser.consume_token(&Token::LParen) {
            if self.word("like") {
                create.like = Some(Box::new(self.relation()?));
                self.close()?;
            } else {
                (create.columns, create.constraints) = self.columns()?;
            }
        }
        loop {
            if self.word("partitioned") {
                create.partition = Some(self.partition_by()?);
            } else if self.word("sorted") {
                create.sort = Some(self.sort_by()?);
            } else {
                break;
            }
        }
        self.refuse_foreign_clause()?;
        if self.word("as") {
            create.query = Some(self.query()?);
        }
        Ok(Command::CreateTable(create))
    }

    fn refuse_foreign_clause(&mut self) -> Result<()> {
        let token = self.parser.peek_token();
        let Some(clause) = FOREIGN_CLAUSES.iter().find(|clause| {
            matches!(&token.token, Token::Word(w)
                if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(clause))
        }) else {
            return Ok(());
        };
        let clause = clause.to_uppercase();
        let error = Error::unsupported(format!("{clause} in CREATE TABLE is not supported"));
        Err(match clause.as_str() {
            "PARTITION" => error.with_help("write PARTITIONED BY (column, year(column), …)"),
            "CLUSTER" | "CLUSTERED" => error.with_help("write SORTED BY (column, …)"),
            "COMMENT" => error.with_help("use COMMENT ON TABLE t IS '…'"),
            _ => error,
        }
        .or_span(name::span(token.span)))
    }

    pub(super) fn if_not_exists(&mut self) -> Result<bool> {
        let given = self.word("if");
        if given {
            self.expect("not")?;
            self.expect("exists")?;
        }
        Ok(given)
    }

    pub(super) fn close(&mut self) -> Result<()> {
        self.token(&Token::RParen, ")")
    }

    pub(super) fn token(&mut self, token: &Token, shown: &str) -> Result<()> {
        if self.parser.consume_token(token) {
            return Ok(());
        }
        let found = self.parser.peek_token();
        Err(self.unexpected(shown, &found))
    }

    /// Columns and constraints up to the closing bracket.
    fn columns(&mut self) -> Result<(Vec<ColumnDef>, Vec<TableConstraint>)> {
        let (mut columns, mut constraints) = (vec![], vec![]);
        // An empty list is read, so that its error can say what is missing.
        while !self.parser.consume_token(&Token::RParen) {
            match self.table_constraint()? {
                Some(constraint) => constraints.push(constraint),
                None => {
                    let name = self.identifier()?;
                    columns.push(self.column_definition(name)?);
                }
            }
            if self.parser.consume_token(&Token::RParen) {
                return Ok((columns, constraints));
            }
            self.token(&Token::Comma, ", or )")?;
        }
        Ok((columns, constraints))
    }

    /// A constraint of a table, when that is what comes next.
    pub(super) fn table_constraint(&mut self) -> Result<Option<TableConstraint>> {
        let word = |n: usize| match &self.parser.peek_nth_token_ref(n).token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
            _ => None,
        };
        let opens = self.parser.peek_nth_token_ref(1).token == Token::LParen;
        let is_constraint = match (word(0), word(1)) {
            (Some(Keyword::CONSTRAINT), _) => true,
            (Some(Keyword::PRIMARY | Keyword::FOREIGN), Some(Keyword::KEY)) => true,
            (Some(Keyword::CHECK | Keyword::UNIQUE), _) => opens,
            _ => false,
        };
        match is_constraint {
            true => self.parser.parse_optional_table_constraint().map_err(|e| self.syntax(e)),
            false => Ok(None),
        }
    }

    /// A column's type and options, after its name.
    pub(super) fn column_definition(&mut self, name: Ident) -> Result<ColumnDef> {
        let data_type = self.parser.parse_data_type().map_err(|e| self.syntax(e))?;
        let mut options = vec![];
        loop {
            let constraint = match self.word("constraint") {
                true => Some(self.identifier()?),
                false => None,
            };
            match self.parser.parse_optional_column_option().map_err(|e| self.syntax(e))? {
                Some(option) => options.push(ColumnOptionDef { name: constraint, option }),
                None if constraint.is_some() => {
                    let found = self.parser.peek_token();
                    return Err(self.unexpected("a constraint", &found));
                }
                None => return Ok(ColumnDef { name, data_type, options }),
            }
        }
    }

    /// `BY (key, …)`, after PARTITIONED. A key is a column, a part of its date, or its bucket.
    pub(super) fn partition_by(&mut self) -> Result<Vec<PartitionBy>> {
        self.expect("by")?;
        self.token(&Token::LParen, "(")?;
        let mut keys = vec![];
        loop {
            keys.push(self.partition_key()?);
            if self.parser.consume_token(&Token::RParen) {
                return Ok(keys);
            }
            self.token(&Token::Comma, ", or )")?;
        }
    }

    fn partition_key(&mut self) -> Result<PartitionBy> {
        let first = self.identifier()?;
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(PartitionBy { transform: Transform::Identity, column: first });
        }
        let span = name::span(first.span);
        let transform = match first.value.to_lowercase().as_str() {
            "identity" => Transform::Identity,
            "year" => Transform::Year,
            "month" => Transform::Month,
            "day" => Transform::Day,
            "hour" => Transform::Hour,
            "bucket" => {
                let buckets = self.parser.parse_literal_uint().map_err(|e| self.syntax(e))?;
                let buckets = u32::try_from(buckets).ok().filter(|n| (1..1 << 31).contains(n));
                self.token(&Token::Comma, ",")?;
                Transform::Bucket(buckets.ok_or_else(|| {
                    Error::invalid("the number of buckets is 1 to 2147483647").or_span(span)
                })?)
            }
            other => {
                return Err(Error::invalid(format!("{other} does not partition"))
                    .with_help(
                        "a key is a column, or year, month, day, hour or bucket(n, …) of one",
                    )
                    .or_span(span));
            }
        };
        let column = self.identifier()?;
        self.close()?;
        Ok(PartitionBy { transform, column })
    }

    /// `BY (expression [ASC | DESC] [NULLS FIRST | LAST], …)`, after SORTED.
    pub(super) fn sort_by(&mut self) -> Result<Vec<SortBy>> {
        self.expect("by")?;
        self.token(&Token::LParen, "(")?;
        let keys = self.parser.parse_comma_separated(Parser::parse_order_by_expr);
        let keys = keys.map_err(|e| self.syntax(e))?;
        self.close()?;
        let key = |key: sqlparser::ast::OrderByExpr| SortBy {
            expr: key.expr,
            descending: key.options.asc == Some(false),
            nulls_first: key.options.nulls_first == Some(true),
        };
        Ok(keys.into_iter().map(key).collect())
    }
}
