//! Names of schemas, tables and views as a statement writes them.
//!
//! Unquoted parts are folded to lower case, as DataFusion's planner does; the catalog then matches
//! without regard to case. What a missing schema means is the session's to say.

use std::fmt;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Spanned};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::parser::DIALECT;
use crate::diagnostic::{Position, Span};
use crate::error::{Error, Result};

/// `[[catalog.]schema.]name`, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationRef {
    /// The warehouse, when named.
    pub catalog: Option<String>,
    /// The schema, when named.
    pub schema: Option<String>,
    /// The table or view; for schema statements, the schema.
    pub name: String,
    /// Where it stands.
    pub span: Option<Span>,
}

impl RelationRef {
    /// From text, such as `schema.table`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = |_| Error::invalid(format!("\"{text}\" is not a name"));
        let mut parser = Parser::new(&DIALECT).try_with_sql(text).map_err(wrong)?;
        let name = parser.parse_object_name(false).map_err(wrong)?;
        parser.expect_token(&Token::EOF).map_err(wrong)?;
        Self::from_ast(&name)
    }

    /// From the parser's form; more than three parts are an error.
    pub(crate) fn from_ast(name: &ObjectName) -> Result<Self> {
        let span = span(name.span());
        let parts = name.0.iter().map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ObjectNamePart::Function(_) => Err(Error::invalid(format!("\"{name}\" is not a name"))),
        });
        let mut parts = parts.collect::<Result<Vec<_>>>().map_err(|e| e.or_span(span))?;
        let (last, schema, catalog) = (parts.pop(), parts.pop(), parts.pop());
        match (last, parts.is_empty()) {
            (Some(name), true) => Ok(Self { catalog, schema, name, span }),
            _ => Err(Error::invalid(format!("name \"{name}\" has too many parts"))
                .with_help("write schema.table, or warehouse.schema.table")
                .or_span(span)),
        }
    }
}

impl fmt::Display for RelationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.catalog, &self.schema].into_iter().flatten() {
            write!(f, "{part}.")?;
        }
        f.write_str(&self.name)
    }
}

/// An identifier's value: as written when quoted, else in lower case.
pub(crate) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// An identifier as SQL text, quoted when it has to be.
pub fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !super::script::is_reserved(name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A string as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The parser's span as ours; `None` when the parser knows no place. Its end names the character
/// after the last one.
pub(crate) fn span(span: sqlparser::tokenizer::Span) -> Option<Span> {
    let position = |l: sqlparser::tokenizer::Location| Position { line: l.line, column: l.column };
    (span.start.line > 0).then(|| Span { start: position(span.start), end: position(span.end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_keeps_what_folding_would_change() {
        assert_eq!(quote("orders"), "orders");
        assert_eq!(quote("Orders"), "\"Orders\"");
        assert_eq!(quote("a b"), "\"a b\"");
        assert_eq!(quote("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(quote("select"), "\"select\"");
        assert_eq!(quote("곳간"), "\"곳간\"");
        assert_eq!(quote(""), "\"\"");
    }
}
