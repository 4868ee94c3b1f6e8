//! THROWAWAY stand-in for the session layer; deleted at integration.
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{Stream, StreamExt};
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::diagnostic::{Position, Source, Span};
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Default)]
pub struct Config { location: Option<String> }
impl Config {
    pub fn new(location: impl Into<String>) -> Self { Self { location: Some(location.into()) } }
    pub fn temporary() -> Self { Self { location: None } }
    pub fn data_path(self, _: impl Into<String>) -> Self { self }
    pub fn read_only(self, _: bool) -> Self { self }
    pub fn safe(self, _: bool) -> Self { self }
    pub fn memory_limit(self, _: usize) -> Self { self }
    pub fn threads(self, _: usize) -> Self { self }
    pub fn storage_option(self, _: impl Into<String>, _: impl Into<String>) -> Self { self }
}
#[derive(Clone)]
pub struct Warehouse { name: String, temporary: bool, ctx: SessionContext }
impl Warehouse {
    pub async fn open(config: Config) -> Result<Self> {
        let temporary = config.location.is_none();
        let name = config.location.map_or("temporary".into(), |l| std::path::Path::new(&l).file_stem().unwrap_or_default().to_string_lossy().into_owned());
        let ctx = SessionContext::new_with_config(SessionConfig::new().with_information_schema(true)).enable_url_table();
        Ok(Self { name, temporary, ctx })
    }
    pub fn session(&self) -> Session { Session { ctx: self.ctx.clone(), transaction: false } }
    pub fn name(&self) -> &str { &self.name }
    pub fn is_temporary(&self) -> bool { self.temporary }
}
pub struct Session { ctx: SessionContext, transaction: bool }
impl Session {
    pub async fn execute(&mut self, statement: &Statement) -> Result<Outcome> {
        let upper = statement.text.trim().to_uppercase();
        let changed = |tag| Ok(Outcome::Changed { tag, rows: None });
        match upper.as_str() {
            "BEGIN" => { self.transaction = true; return changed("BEGIN") }
            "COMMIT" => { self.transaction = false; return changed("COMMIT") }
            "ROLLBACK" => { self.transaction = false; return changed("ROLLBACK") }
            _ => {}
        }
        let fail = |e: datafusion::error::DataFusionError| {
            let e = Error::new(ErrorKind::Invalid, e.strip_backtrace()).with_span(statement.span);
            e
        };
        let frame = self.ctx.sql(&statement.text).await.map_err(fail)?;
        let stream = frame.execute_stream().await.map_err(fail)?;
        if upper.starts_with("CREATE") { return Ok(Outcome::Changed { tag: "CREATE TABLE", rows: Some(336776) }) }
        Ok(Outcome::Rows(Rows { stream }))
    }
    pub async fn sql(&mut self, text: &str) -> Result<Outcome> {
        let script = Script::parse(&Source { name: "sql".into(), text: text.into() }, &BTreeMap::new())?;
        self.execute(&script.statements[0]).await
    }
    pub fn in_transaction(&self) -> bool { self.transaction }
    pub fn progress(&self) -> Progress { Progress }
    pub async fn names(&self) -> Result<Names> {
        let mut names = Names { schemas: vec!["main".into()], ..Default::default() };
        let catalog = self.ctx.catalog("datafusion").unwrap();
        let schema = catalog.schema("public").unwrap();
        for table in schema.table_names() {
            let provider = schema.table(&table).await.unwrap().unwrap();
            names.columns.extend(provider.schema().fields().iter().map(|f| f.name().clone()));
            names.tables.push(table);
        }
        names.functions = self.ctx.state().scalar_functions().keys().cloned().collect();
        Ok(names)
    }
}
pub enum Outcome { Rows(Rows), Changed { tag: &'static str, rows: Option<u64> } }
pub struct Rows { stream: SendableRecordBatchStream }
impl Rows { pub fn schema(&self) -> SchemaRef { self.stream.schema() } }
impl Stream for Rows {
    type Item = Result<RecordBatch>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(cx).map_err(|e| Error::new(ErrorKind::Invalid, e.strip_backtrace()))
    }
}
#[derive(Clone)]
pub struct Progress;
impl Progress { pub fn read(&self) -> ProgressReading { ProgressReading { rows_read: 123456, ..Default::default() } } }
#[derive(Default)]
pub struct ProgressReading { pub rows_read: u64, pub rows_written: u64, pub bytes_written: u64, pub fraction: Option<f64> }
#[derive(Default, Clone)]
pub struct Names { pub schemas: Vec<String>, pub tables: Vec<String>, pub columns: Vec<String>, pub functions: Vec<String> }
#[derive(Debug, Clone)]
pub struct Statement { span: Span, text: String }
impl Statement {
    pub fn span(&self) -> Span { self.span }
    pub fn text(&self) -> &str { &self.text }
    pub fn is_transaction_control(&self) -> bool { ["BEGIN", "COMMIT", "ROLLBACK"].contains(&self.text.to_uppercase().as_str()) }
}
#[derive(Debug, Default)]
pub struct Script { pub statements: Vec<Statement> }
impl Script {
    pub fn parse(source: &Source, variables: &BTreeMap<String, String>) -> Result<Self> {
        let mut text = source.text.clone();
        for (k, v) in variables { text = text.replace(&format!(":{k}"), v); }
        let tokens = Tokenizer::new(&sqlparser::dialect::GenericDialect {}, &text).tokenize_with_location()
            .map_err(|e| Error::new(ErrorKind::Syntax, e.message).with_span(Span::at(e.location.line, e.location.column)))?;
        let mut statements = Vec::new();
        for slice in tokens.split(|t| t.token == Token::SemiColon) {
            let sig: Vec<_> = slice.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
            let (Some(a), Some(b)) = (sig.first(), sig.last()) else { continue };
            let p = |l: sqlparser::tokenizer::Location| Position { line: l.line, column: l.column };
            let text: String = slice.iter().map(|t| t.token.to_string()).collect();
            let span = Span { start: p(a.span.start), end: p(b.span.end) };
            datafusion::sql::parser::DFParser::parse_sql(text.trim()).map_err(|e| Error::new(ErrorKind::Syntax, e.to_string()).with_span(span))?;
            statements.push(Statement { text: text.trim().to_owned(), span });
        }
        Ok(Self { statements })
    }
}
pub mod sql {
    pub mod script {
        use super::super::*;
        pub fn is_complete(text: &str) -> bool {
            let Ok(tokens) = Tokenizer::new(&sqlparser::dialect::GenericDialect {}, text).tokenize() else { return false };
            tokens.iter().rfind(|t| !matches!(t, Token::Whitespace(_))).is_none_or(|l| *l == Token::SemiColon)
        }
        pub fn keywords() -> &'static [&'static str] { sqlparser::keywords::ALL_KEYWORDS }
    }
    pub mod name {
        pub fn literal(text: &str) -> String { format!("'{}'", text.replace('\'', "''")) }
        pub fn quote(name: &str) -> String {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
            if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
        }
    }
}
pub mod types {
    use super::*;
    pub fn display_type(field: &Field) -> String {
        use arrow::datatypes::DataType as T;
        match field.data_type() {
            T::Utf8 | T::Utf8View | T::LargeUtf8 => "varchar".into(),
            T::Float64 => "double".into(),
            T::Timestamp(_, None) => "timestamp".into(),
            T::Date32 => "date".into(),
            T::List(f) => format!("{}[]", display_type(f)),
            other => other.to_string().to_lowercase(),
        }
    }
}
