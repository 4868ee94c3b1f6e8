//! The tokens of one statement to a [`Command`].
//!
//! Queries, column definitions and names are sqlparser's; the statements around them are read here
//! where several dialects meet (COPY, INSERT BY NAME, DESCRIBE and SUMMARIZE of a query, SHOW, SET)
//! and taken from sqlparser's AST otherwise. What is understood and not offered is an
//! `Unsupported` error that names the way to do it, never silently dropped.

use std::any::TypeId;

use sqlparser::ast::{
    self, Expr, Ident, ObjectName, ObjectType, Query, SchemaName, SetExpr, Spanned,
    Statement as Ast,
};
use sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::dml::RowChange;
use super::limits;
use super::name::{self, RelationRef, quote};
use super::{
    Command, Copy, CopyOption, CreateTable, CreateView, Explain, Insert, QueryOrTable, script,
    tokens, types,
};
use crate::diagnostic::{Position, Span};
use crate::error::{Error, ErrorKind, Result};

/// How deep expressions and subqueries may nest before the parser refuses.
const RECURSION_LIMIT: usize = 100;

/// DuckDB's and PostgreSQL's conveniences on sqlparser's permissive dialect.
#[derive(Debug)]
pub(crate) struct WarehouseDialect;

pub(crate) const DIALECT: WarehouseDialect = WarehouseDialect;

impl Dialect for WarehouseDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }
    fn supports_nested_comments(&self) -> bool {
        true
    }
    fn supports_string_escape_constant(&self) -> bool {
        true
    }
    fn supports_numeric_literal_underscores(&self) -> bool {
        true
    }
    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }
    fn supports_within_after_array_aggregation(&self) -> bool {
        true
    }
    fn supports_group_by_expr(&self) -> bool {
        true
    }
    fn supports_order_by_all(&self) -> bool {
        true
    }
    fn supports_from_first_select(&self) -> bool {
        true
    }
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }
    fn supports_select_wildcard_except(&self) -> bool {
        true
    }
    fn supports_select_wildcard_replace(&self) -> bool {
        true
    }
    fn supports_projection_trailing_commas(&self) -> bool {
        true
    }
    fn supports_dictionary_syntax(&self) -> bool {
        true
    }
    fn support_map_literal_syntax(&self) -> bool {
        true
    }
    fn supports_struct_literal(&self) -> bool {
        true
    }
    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }
    fn supports_lambda_functions(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_eq_operator(&self) -> bool {
        true
    }
    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        true
    }
    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }
    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }
    fn supports_values_as_table_factor(&self) -> bool {
        true
    }
    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }
    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }
    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }
    fn supports_notnull_operator(&self) -> bool {
        true
    }
    fn allow_extract_custom(&self) -> bool {
        true
    }
    fn allow_extract_single_quotes(&self) -> bool {
        true
    }
    fn supports_comma_separated_trim(&self) -> bool {
        true
    }
    fn supports_interval_options(&self) -> bool {
        true
    }
    fn supports_table_versioning(&self) -> bool {
        true
    }
    fn supports_limit_comma(&self) -> bool {
        true
    }
    /// `||` binds less than arithmetic: `'n' || i % 2` is text.
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match parser.peek_token_ref().token {
            Token::StringConcat => Some(Ok(self.prec_value(Precedence::PlusMinus) - 1)),
            _ => None,
        }
    }
}

/// Parses the tokens of exactly one statement.
pub(crate) fn parse(tokens: Vec<TokenWithSpan>) -> Result<Command> {
    let end = tokens.iter().rev().find(|t| !matches!(t.token, Token::Whitespace(_)));
    let end = end.and_then(|token| name::span(token.span)).map(|span| span.end);
    limits::check_chains(&tokens)?;
    let tokens = tokens::exact_numbers(tokens::select_all(tokens::plain_top(tokens)));
    let tokens = types::cast_literals(types::bracket_structs(tokens));
    let parser = Parser::new(&DIALECT)
        .with_tokens_with_locations(tokens)
        .with_recursion_limit(RECURSION_LIMIT);
    let mut statement = StatementParser { parser, end };
    let command = statement.command()?;
    match statement.parser.peek_token() {
        TokenWithSpan { token: Token::EOF, .. } => Ok(command),
        token => Err(statement.unexpected("end of statement", &token)),
    }
}

pub(super) struct StatementParser<'a> {
    pub(super) parser: Parser<'a>,
    end: Option<Position>,
}

impl StatementParser<'_> {
    fn command(&mut self) -> Result<Command> {
        let first = self.parser.peek_token();
        let Token::Word(Word { keyword, value, quote_style: None }) = &first.token else {
            return match first.token {
                Token::LParen => self.query().map(Command::Query),
                _ => Err(self.unexpected("a statement", &first)),
            };
        };
        match keyword {
            Keyword::SELECT | Keyword::FROM | Keyword::VALUES | Keyword::TABLE => {
                self.query().map(Command::Query)
            }
            Keyword::WITH => self.with(),
            Keyword::MERGE => self.merge(),
            Keyword::EXPLAIN => self.explain(),
            Keyword::DESCRIBE | Keyword::DESC => {
                self.parser.next_token();
                self.query_or_table().map(Command::Describe)
            }
            Keyword::CREATE if self.creates_table() => self.create_table(),
            Keyword::ALTER => self.alter(),
            Keyword::COMMENT => self.comment(),
            Keyword::CALL => self.call(),
            Keyword::INSERT => self.insert(),
            Keyword::COPY => self.copy(),
            Keyword::SHOW => self.show(),
            Keyword::SET => self.set(),
            Keyword::RESET => {
                self.parser.next_token();
                Ok(Command::Reset { name: self.setting_name()? })
            }
            Keyword::PREPARE => self.prepare(),
            _ if value.eq_ignore_ascii_case("checkpoint") => {
                self.parser.next_token();
                let is_named = self.parser.peek_token_ref().token != Token::EOF;
                let warehouse = if is_named { Some(self.identifier()?) } else { None };
                Ok(Command::Checkpoint { warehouse })
            }
            _ if value.eq_ignore_ascii_case("summarize") => {
                self.parser.next_token();
                self.query_or_table().map(Command::Summarize)
            }
            _ => {
                let ast = self.parser.parse_statement().map_err(|e| self.syntax(e))?;
                from_ast(ast).map_err(|e| e.or_span(name::span(first.span)))
            }
        }
    }

    /// `WITH … ` before a query, or before a statement that changes rows by one.
    fn with(&mut self) -> Result<Command> {
        let start = self.parser.next_token();
        let ctes = ast::With {
            with_token: start.clone().into(),
            recursive: self.word("recursive"),
            cte_tables: self
                .parser
                .parse_comma_separated(Parser::parse_cte)
                .map_err(|e| self.syntax(e))?,
        };
        let mut command = self.command()?;
        match &mut command {
            Command::Query(query) | Command::Insert(Insert { source: Some(query), .. }) => {
                match &mut query.with {
                    Some(own) => {
                        own.recursive |= ctes.recursive;
                        own.cte_tables.splice(0..0, ctes.cte_tables);
                    }
                    none => *none = Some(ctes),
                }
            }
            Command::ChangeRows(change) => change.ctes = Some(ctes),
            _ => {
                let message = "WITH stands before a query, INSERT, UPDATE, DELETE or MERGE";
                return Err(Error::new(ErrorKind::Syntax, message).or_span(name::span(start.span)));
            }
        }
        Ok(command)
    }

    pub(super) fn query(&mut self) -> Result<Box<Query>> {
        self.parser.parse_query().map_err(|e| self.syntax(e))
    }

    pub(super) fn relation(&mut self) -> Result<RelationRef> {
        let name = self.parser.parse_object_name(false).map_err(|e| self.syntax(e))?;
        RelationRef::from_ast(&name)
    }

    pub(super) fn identifier(&mut self) -> Result<Ident> {
        self.parser.parse_identifier().map_err(|e| self.syntax(e))
    }

    pub(super) fn word(&mut self, word: &str) -> bool {
        let matches = matches!(&self.parser.peek_token_ref().token,
            Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
        if matches {
            self.parser.next_token();
        }
        matches
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.word(word) {
            return Ok(());
        }
        let token = self.parser.peek_token();
        Err(self.unexpected(&word.to_uppercase(), &token))
    }

    fn starts_query(&self) -> bool {
        matches!(&self.parser.peek_token_ref().token, Token::LParen)
            || matches!(&self.parser.peek_token_ref().token, Token::Word(w)
                if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::FROM | Keyword::VALUES))
    }

    fn query_or_table(&mut self) -> Result<QueryOrTable> {
        if self.starts_query() {
            return self.query().map(QueryOrTable::Query);
        }
        self.word("table");
        let token = self.parser.peek_token();
        if let Token::SingleQuotedString(file) = &token.token {
            let query = format!("SELECT * FROM {}", name::literal(file));
            self.parser.next_token();
            return subquery(&query, name::span(token.span)).map(QueryOrTable::Query);
        }
        self.relation().map(QueryOrTable::Table)
    }

    /// `EXPLAIN [ANALYZE] [VERBOSE] [FORMAT f]` of a query, or of the query inside a statement.
    fn explain(&mut self) -> Result<Command> {
        let start = self.parser.next_token();
        let analyze = self.word("analyze");
        let verbose = self.word("verbose");
        let format = match self.word("format") {
            true => Some(ast::AnalyzeFormatKind::Keyword(
                self.parser.parse_analyze_format().map_err(|e| self.syntax(e))?,
            )),
            false => None,
        };
        let (query, writes) = match self.command()? {
            Command::Query(query) => (query, false),
            Command::CreateTable(CreateTable { query: Some(query), .. })
            | Command::Insert(Insert { source: Some(query), .. })
            | Command::Copy(Copy { source: query, .. }) => (query, true),
            _ => {
                return Err(Error::unsupported("EXPLAIN needs a statement with a query")
                    .or_span(name::span(start.span)));
            }
        };
        if analyze && writes {
            return Err(Error::unsupported("EXPLAIN ANALYZE would run the statement's writes")
                .with_help("use EXPLAIN, or EXPLAIN ANALYZE with the query alone")
                .or_span(name::span(start.span)));
        }
        let statement = Box::new(Ast::Explain {
            describe_alias: ast::DescribeAlias::Explain,
            analyze,
            verbose,
            query_plan: false,
            estimate: false,
            statement: Box::new(Ast::Query(query)),
            format,
            options: None,
        });
        Ok(Command::Explain(Explain { statement }))
    }

    /// `[RETURNING items]`.
    pub(super) fn returning(&mut self) -> Result<Vec<ast::SelectItem>> {
        if !self.word("returning") {
            return Ok(vec![]);
        }
        self.parser.parse_comma_separated(Parser::parse_select_item).map_err(|e| self.syntax(e))
    }

    /// `COPY (query) | table [(columns)] TO 'file' [[WITH] (options)]`, or `COPY table FROM 'file'`.
    fn copy(&mut self) -> Result<Command> {
        self.parser.next_token();
        if self.parser.peek_token_ref().token == Token::LParen {
            let source = self.query()?;
            self.expect("to")?;
            return self.copy_to(source);
        }
        let table = self.relation()?;
        let columns = match self.parser.peek_token_ref().token {
            Token::LParen => self
                .parser
                .parse_parenthesized_column_list(ast_mandatory(), false)
                .map_err(|e| self.syntax(e))?,
            _ => vec![],
        };
        if self.word("from") {
            return self.copy_from(table, columns);
        }
        self.expect("to")?;
        let list: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let list = if list.is_empty() { "*".to_owned() } else { list.join(", ") };
        let source = subquery(&format!("SELECT {list} FROM {}", quoted(&table)), table.span)?;
        self.copy_to(source)
    }

    fn copy_to(&mut self, source: Box<Query>) -> Result<Command> {
        let (target, target_span) = self.file_name()?;
        let options = self.copy_options()?;
        Ok(Command::Copy(Copy { source, target, target_span, options }))
    }

    /// COPY t FROM 'file' is INSERT INTO t SELECT * FROM the file's reader.
    fn copy_from(&mut self, table: RelationRef, columns: Vec<Ident>) -> Result<Command> {
        let (file, span) = self.file_name()?;
        let options = self.copy_options()?;
        let (format, rest): (Vec<_>, Vec<_>) =
            options.into_iter().partition(|o| o.name.value.eq_ignore_ascii_case("format"));
        let arguments: String =
            rest.iter().map(|o| format!(", {} => {}", o.name, name::literal(&o.value))).collect();
        let file = name::literal(&file);
        let query = match format.first().map(|o| o.value.to_lowercase()) {
            Some(format) => format!("SELECT * FROM read_{format}({file}{arguments})"),
            None if rest.is_empty() => format!("SELECT * FROM {file}"),
            None => format!("SELECT * FROM read_csv({file}{arguments})"),
        };
        let source = Some(subquery(&query, Some(span))?);
        let (alias, by_name, conflict, returning) = (None, false, None, vec![]);
        let insert = Insert { table, alias, columns, by_name, source, conflict, returning };
        Ok(Command::Insert(insert))
    }

    fn file_name(&mut self) -> Result<(String, Span)> {
        let token = self.parser.next_token();
        match (&token.token, name::span(token.span)) {
            (Token::SingleQuotedString(file), Some(span)) => Ok((file.clone(), span)),
            _ => Err(self.unexpected("a file name in single quotes", &token)),
        }
    }

    fn copy_options(&mut self) -> Result<Vec<CopyOption>> {
        self.word("with");
        let mut options = Vec::new();
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(options);
        }
        loop {
            let name = self.identifier()?;
            let _ = self.parser.consume_token(&Token::Eq);
            let token = self.parser.peek_token();
            let value = match &token.token {
                Token::Comma | Token::RParen => "true".to_owned(),
                Token::SingleQuotedString(value) => value.clone(),
                Token::Word(word) => word.value.clone(),
                Token::Number(number, _) => number.clone(),
                _ => return Err(self.unexpected("a value", &token)),
            };
            if !matches!(token.token, Token::Comma | Token::RParen) {
                self.parser.next_token();
            }
            options.push(CopyOption { name, value });
            if self.parser.consume_token(&Token::RParen) {
                return Ok(options);
            }
            if !self.parser.consume_token(&Token::Comma) {
                let token = self.parser.peek_token();
                return Err(self.unexpected(", or )", &token));
            }
        }
    }

    fn show(&mut self) -> Result<Command> {
        self.parser.next_token();
        if self.word("tables") {
            return Ok(Command::ShowTables { all: false });
        }
        let name = self.setting_name()?;
        if name.value.eq_ignore_ascii_case("all") && self.word("tables") {
            return Ok(Command::ShowTables { all: true });
        }
        Ok(Command::Show { name: name.value })
    }

    /// `SET [SESSION | LOCAL | GLOBAL] name = | TO value`, and `SET TIME ZONE value`.
    fn set(&mut self) -> Result<Command> {
        self.parser.next_token();
        let _ = self.word("session") || self.word("local") || self.word("global");
        let name = match self.word("time") {
            true => {
                self.expect("zone")?;
                Ident::new("timezone")
            }
            false => {
                let name = self.setting_name()?;
                if !self.parser.consume_token(&Token::Eq) {
                    self.expect("to")?;
                }
                name
            }
        };
        let values =
            self.parser.parse_comma_separated(Parser::parse_expr).map_err(|e| self.syntax(e))?;
        Ok(Command::Set { name, values })
    }

    /// A dotted name as one identifier.
    fn setting_name(&mut self) -> Result<Ident> {
        let mut name = self.identifier()?;
        while self.parser.consume_token(&Token::Period) {
            let part = self.identifier()?;
            name.span = name.span.union(&part.span);
            name.value = format!("{}.{}", name.value, part.value);
        }
        Ok(name)
    }

    /// `PREPARE name [(types)] AS statement`; parameter types follow from their use.
    fn prepare(&mut self) -> Result<Command> {
        self.parser.next_token();
        let name = self.identifier()?;
        if self.parser.consume_token(&Token::LParen) {
            self.parser
                .parse_comma_separated(Parser::parse_data_type)
                .map_err(|e| self.syntax(e))?;
            self.parser.expect_token(&Token::RParen).map_err(|e| self.syntax(e))?;
        }
        self.expect("as")?;
        let command = Box::new(self.command()?);
        Ok(Command::Prepare { name, command })
    }

    pub(super) fn unexpected(&self, expected: &str, found: &TokenWithSpan) -> Error {
        let (message, span) = match found.token {
            Token::EOF => (format!("expected {expected}, found the end of the statement"), None),
            _ => (format!("expected {expected}, found {}", found.token), name::span(found.span)),
        };
        let end = self.end.map(|end| Span::at(end.line, end.column));
        Error::new(ErrorKind::Syntax, message).or_span(span).or_span(end)
    }

    /// sqlparser's errors are text that ends in " at Line: L, Column: C".
    pub(super) fn syntax(&self, error: ParserError) -> Error {
        let text = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
            ParserError::RecursionLimitExceeded => {
                return Error::invalid("the statement nests too deeply")
                    .with_help(format!("at most {RECURSION_LIMIT} levels are allowed"));
            }
        };
        let (message, place) = match text.rsplit_once(" at Line: ") {
            Some((message, place)) => (message, place.split_once(", Column: ")),
            None => (text.as_str(), None),
        };
        let place = place.and_then(|(l, c)| Some((l.parse().ok()?, c.parse().ok()?)));
        let message = message.replace("found: EOF", "found the end of the statement");
        let message = message.replace("Expected: ", "expected ").replace("found: ", "found ");
        let end = self.end.map(|end| Span::at(end.line, end.column));
        let span = match place {
            Some((line, column)) if line > 0 => Some(self.token_span(line, column)),
            _ => end,
        };
        Error::new(ErrorKind::Syntax, script::decapitalise(&message)).or_span(span)
    }

    /// The whole token that begins at a place.
    fn token_span(&self, line: u64, column: u64) -> Span {
        let at = Span::at(line, column);
        let current = self.parser.get_current_token();
        [current, self.parser.peek_token_ref()]
            .into_iter()
            .filter_map(|token| name::span(token.span))
            .find(|span| span.start == at.start)
            .unwrap_or(at)
    }
}

pub(super) fn ast_mandatory() -> sqlparser::parser::IsOptional {
    sqlparser::parser::IsOptional::Mandatory
}

/// SQL of our own making, each of whose places is `span`.
pub(crate) fn subquery(sql: &str, span: Option<Span>) -> Result<Box<Query>> {
    let wrong = |error: ParserError| Error::new(ErrorKind::Syntax, error.to_string()).or_span(span);
    let tokens = Tokenizer::new(&DIALECT, sql).tokenize_with_location();
    let tokens = tokens::plain_top(tokens.map_err(|error| wrong(error.into()))?);
    let tokens = tokens::exact_numbers(tokens::select_all(tokens));
    Parser::new(&DIALECT).with_tokens_with_locations(tokens).parse_query().map_err(wrong)
}

/// A reference as SQL text.
pub(crate) fn quoted(name: &RelationRef) -> String {
    let parts = [name.catalog.as_ref(), name.schema.as_ref(), Some(&name.name)];
    parts.into_iter().flatten().map(|part| quote(part)).collect::<Vec<_>>().join(".")
}

fn from_ast(ast: Ast) -> Result<Command> {
    Ok(match ast {
        Ast::Query(query) => Command::Query(query),
        Ast::CreateSchema { schema_name, if_not_exists, .. } => match schema_name {
            SchemaName::Simple(name) => {
                Command::CreateSchema { name: RelationRef::from_ast(&name)?, if_not_exists }
            }
            _ => return Err(Error::unsupported("CREATE SCHEMA AUTHORIZATION is not supported")),
        },
        // CREATE TABLE itself is read in another place; what comes here has a word before TABLE.
        Ast::CreateTable(create) => return Err(create_table(&create)),
        Ast::CreateView(create) => Command::CreateView(create_view(create)?),
        Ast::Drop { object_type, if_exists, names, cascade, .. } => {
            drop(object_type, if_exists, &names, cascade)?
        }
        Ast::Delete(delete) => Command::ChangeRows(Box::new(RowChange::of_delete(delete)?)),
        Ast::Update(update) => Command::ChangeRows(Box::new(RowChange::of_update(update)?)),
        Ast::Truncate(truncate) => {
            let names = truncate.table_names.iter();
            let tables = names.map(|target| RelationRef::from_ast(&target.name));
            Command::Truncate { tables: tables.collect::<Result<_>>()? }
        }
        Ast::Use(target) => Command::Use { name: use_target(target)? },
        Ast::Execute { name: Some(name), parameters, using, .. } if using.is_empty() => {
            Command::Execute { name: single_ident(&name)?, arguments: parameters }
        }
        Ast::Deallocate { name, .. } => Command::Deallocate { name },
        Ast::StartTransaction { statements, .. } if statements.is_empty() => Command::Begin,
        Ast::Commit { chain: false, .. } => Command::Commit,
        Ast::Rollback { chain: false, savepoint: None } => Command::Rollback,
        other => return Err(unsupported(&other)),
    })
}

fn create_table(create: &ast::CreateTable) -> Error {
    let kind = if create.external { "EXTERNAL" } else { "TEMPORARY" };
    Error::unsupported(format!("{kind} tables in CREATE TABLE are not supported"))
        .or_span(name::span(create.name.span()))
}

fn create_view(create: ast::CreateView) -> Result<CreateView> {
    if create.materialized || create.temporary {
        let what = if create.materialized { "MATERIALIZED" } else { "TEMPORARY" };
        return Err(Error::unsupported(format!("{what} views are not supported"))
            .with_help("CREATE VIEW keeps the query, CREATE TABLE … AS its result"));
    }
    Ok(CreateView {
        name: RelationRef::from_ast(&create.name)?,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        columns: create.columns.into_iter().map(|column| column.name).collect(),
        query: create.query,
    })
}

fn drop(kind: ObjectType, if_exists: bool, names: &[ObjectName], cascade: bool) -> Result<Command> {
    let names = names.iter().map(RelationRef::from_ast).collect::<Result<Vec<_>>>()?;
    Ok(match kind {
        ObjectType::Table => Command::DropTable { names, if_exists },
        ObjectType::View => Command::DropView { names, if_exists },
        ObjectType::Schema => Command::DropSchema { names, if_exists, cascade },
        other => return Err(Error::unsupported(format!("DROP {other} is not supported"))),
    })
}

fn use_target(target: ast::Use) -> Result<RelationRef> {
    match target {
        ast::Use::Schema(name) | ast::Use::Database(name) | ast::Use::Object(name) => {
            RelationRef::from_ast(&name)
        }
        other => Err(Error::unsupported(format!("{other} is not supported"))
            .with_help("USE takes the name of a schema")),
    }
}

fn single_ident(name: &ObjectName) -> Result<Ident> {
    match name.0.as_slice() {
        [part] => part.as_ident().cloned(),
        _ => None,
    }
    .ok_or_else(|| Error::invalid(format!("\"{name}\" is not the name of a prepared statement")))
}

/// Understood by the grammar, not offered: says so and what to do instead.
fn unsupported(ast: &Ast) -> Error {
    let text = ast.to_string();
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let verb = words.first().copied().unwrap_or_default();
    let shown = match verb {
        "CREATE" | "ALTER" | "DROP" => words.join(" "),
        _ => verb.to_owned(),
    };
    Error::unsupported(format!("{shown} is not supported"))
}

/// The rows of a VALUES list that is the whole of a query.
pub(crate) fn values_rows(query: &mut Query) -> Option<&mut Vec<ast::Parens<Vec<Expr>>>> {
    match query.body.as_mut() {
        SetExpr::Values(values) => Some(&mut values.rows),
        _ => None,
    }
}
