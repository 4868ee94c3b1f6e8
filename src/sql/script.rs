//! A script: its text split into statements by tokens, with psql's variables replaced.
//!
//! The whole text is parsed before anything runs, so that a typo on the last line runs nothing.
//! `:name` becomes the variable's text as SQL, `:'name'` a string literal, `:"name"` a quoted
//! identifier. Replaced tokens keep the place of the variable, so errors point at what the user
//! wrote. A colon that follows a value directly (`a[1:n]`, `{k:v}`, `x::int`) is no variable.

use std::collections::BTreeMap;

use sqlparser::keywords::{ALL_KEYWORDS, Keyword, RESERVED_FOR_COLUMN_ALIAS};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word};

use super::{Statement, name, parser};
use crate::diagnostic::{Position, Source, Span};
use crate::error::{Error, ErrorKind, Result};

/// A parsed script.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Its statements in order; empty ones are left out.
    pub statements: Vec<Statement>,
}

impl Script {
    /// Parses the whole of `source`; the first mistake is the error, with its span.
    pub fn parse(source: &Source, variables: &BTreeMap<String, String>) -> Result<Self> {
        let tokens = substitute(tokenize(&source.text)?, variables)?;
        let lines = LineIndex::new(&source.text);
        let mut statements = Vec::new();
        for slice in tokens.split(|token| token.token == Token::SemiColon) {
            let significant = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
            let (Some(first), Some(last)) =
                (slice.iter().find(significant), slice.iter().rfind(significant))
            else {
                continue;
            };
            let span = Span { start: position(first.span.start), end: position(last.span.end) };
            let command = parser::parse(slice.to_vec()).map_err(|e| e.or_span(Some(span)))?;
            let text = lines.slice(span).to_owned();
            statements.push(Statement { command, span, text });
        }
        Ok(Self { statements })
    }
}

/// Whether `text` ends with a complete statement or holds none at all: what a line editor asks
/// before it runs what was typed. A semicolon inside quotes, comments or brackets does not count.
pub fn is_complete(text: &str) -> bool {
    let Ok(tokens) = tokenize(text) else {
        return false;
    };
    let mut significant = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
    significant.next_back().is_none_or(|last| last.token == Token::SemiColon)
}

/// The words that complete and highlight as keywords, in upper case.
pub fn keywords() -> &'static [&'static str] {
    ALL_KEYWORDS
}

/// Whether a word cannot be a bare identifier.
pub(crate) fn is_reserved(word: &str) -> bool {
    let keyword = match Token::make_word(word, None) {
        Token::Word(Word { keyword, .. }) => keyword,
        _ => Keyword::NoKeyword,
    };
    RESERVED_FOR_COLUMN_ALIAS.contains(&keyword)
        || sqlparser::keywords::RESERVED_FOR_IDENTIFIER.contains(&keyword)
        || sqlparser::keywords::RESERVED_FOR_TABLE_ALIAS.contains(&keyword)
        || matches!(
            keyword,
            Keyword::TABLE
                | Keyword::AS
                | Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::CREATE
                | Keyword::INSERT
                | Keyword::DROP
                | Keyword::DEFAULT
                | Keyword::IN
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::BY
                | Keyword::VALUES
                | Keyword::THEN
                | Keyword::WHEN
                | Keyword::ELSE
                | Keyword::TRUE
                | Keyword::FALSE
        )
}

pub(crate) fn tokenize(text: &str) -> Result<Vec<TokenWithSpan>> {
    Tokenizer::new(&parser::DIALECT, text).tokenize_with_location().map_err(|error| {
        let Location { line, column } = error.location;
        Error::new(ErrorKind::Syntax, decapitalise(&error.message))
            .with_span(Span::at(line, column))
    })
}

/// Foreign messages begin in upper case; ours do not. Words all in capitals stay as they are.
pub(crate) fn decapitalise(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_uppercase() => {
            format!("{first}{}", chars.as_str())
        }
        (Some(first), _) => first.to_lowercase().chain(chars).collect(),
        (None, _) => String::new(),
    }
}

fn substitute(
    tokens: Vec<TokenWithSpan>,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<TokenWithSpan>> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let starts =
            token.token == Token::Colon && !out.last().is_some_and(|t| ends_value(&t.token));
        let Some((name, form)) = tokens.peek().filter(|_| starts).and_then(variable) else {
            out.push(token);
            continue;
        };
        let span = token.span.union(&tokens.next().map_or(token.span, |next| next.span));
        let Some(value) = variables.get(&name) else {
            let error = Error::not_found(format!("variable \"{name}\" is not set"))
                .with_help(format!("set it with -v {name}=VALUE"));
            return Err(error.or_span(name::span(span)));
        };
        match form {
            Form::Sql => {
                let inner = tokenize(value).map_err(|error| {
                    let message = format!("the value of variable \"{name}\": {}", error.message());
                    Error::new(ErrorKind::Syntax, message).or_span(name::span(span))
                })?;
                out.extend(inner.into_iter().map(|t| TokenWithSpan { token: t.token, span }));
            }
            Form::Literal => {
                out.push(TokenWithSpan { token: Token::SingleQuotedString(value.clone()), span });
            }
            Form::Identifier => {
                out.push(TokenWithSpan { token: Token::make_word(value, Some('"')), span });
            }
        }
    }
    Ok(out)
}

enum Form {
    Sql,
    Literal,
    Identifier,
}

fn variable(token: &TokenWithSpan) -> Option<(String, Form)> {
    match &token.token {
        Token::SingleQuotedString(name) => Some((name.clone(), Form::Literal)),
        Token::Word(Word { value, quote_style: Some('"'), .. }) => {
            Some((value.clone(), Form::Identifier))
        }
        Token::Word(Word { value, quote_style: None, .. }) => Some((value.clone(), Form::Sql)),
        _ => None,
    }
}

/// Whether a colon right after this token belongs to it.
fn ends_value(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(_)
            | Token::Number(..)
            | Token::RBracket
            | Token::RParen
            | Token::SingleQuotedString(_)
            | Token::LBracket
    )
}

fn position(location: Location) -> Position {
    Position { line: location.line, column: location.column }
}

/// Finds the bytes of a line and column.
struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1));
        Self { text, starts: starts.collect() }
    }

    fn offset(&self, at: Position) -> usize {
        let Some(&start) = self.starts.get(at.line.saturating_sub(1) as usize) else {
            return self.text.len();
        };
        let column = at.column.saturating_sub(1) as usize;
        let rest = &self.text[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(byte, _)| byte)
    }

    fn slice(&self, span: Span) -> &'a str {
        let start = self.offset(span.start);
        &self.text[start..self.offset(span.end).max(start)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Script> {
        let source = Source { name: "test".into(), text: text.into() };
        let variables = variables.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Script::parse(&source, &variables)
    }

    fn texts(script: &Script) -> Vec<&str> {
        script.statements.iter().map(Statement::text).collect()
    }

    #[test]
    fn statements_are_split_by_tokens() {
        let script =
            parse("select ';' -- a; b\n ; /* ; */ ;\n select \"a;b\" from 곳간;", &[]).unwrap();
        assert_eq!(texts(&script), ["select ';'", "select \"a;b\" from 곳간"]);
        assert_eq!(script.statements[1].span().start, Position { line: 3, column: 2 });
    }

    #[test]
    fn a_late_mistake_has_its_place() {
        let error = parse("select 1;\nselect 2;\nselct 3;", &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax);
        assert_eq!(error.span().unwrap().start, Position { line: 3, column: 1 });
        let error = parse("select 1;\n  select 'open", &[]).unwrap_err();
        assert_eq!(error.span().unwrap().start.line, 2);
    }

    #[test]
    fn variables_have_three_forms() {
        let set = [("d", "2013-01-01"), ("t", "Weird Table"), ("n", "1 + 1")];
        let script = parse("select :'d', :n from :\"t\"", &set).unwrap();
        let Statement { command: super::super::Command::Query(query), .. } = &script.statements[0]
        else {
            panic!("a query");
        };
        assert_eq!(query.to_string(), "SELECT '2013-01-01', 1 + 1 FROM \"Weird Table\"");
        let error = parse("select :missing", &[]).unwrap_err();
        assert_eq!(error.message(), "variable \"missing\" is not set");
        assert_eq!(error.span().unwrap().start.column, 8);
    }

    #[test]
    fn colons_of_other_syntax_stay() {
        for text in
            ["select a[1:2] from t", "select x::int from t", "select {'a':1}", "select a[:2]"]
        {
            parse(text, &[]).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }

    #[test]
    fn completeness_ignores_semicolons_that_are_not_the_end() {
        for (text, complete) in [
            ("select 1;", true),
            ("select 1; -- done", true),
            ("select 1", false),
            ("select ';", false),
            ("select 1 /* ; */", false),
            ("", true),
            ("-- only a comment", true),
        ] {
            assert_eq!(is_complete(text), complete, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "[ -~\n곳]{0,80}") {
            let _ = parse(&text, &[]);
            is_complete(&text);
        }

        #[test]
        fn slices_are_parts_of_the_source(text in "(select [a-z0-9 ',+]{0,20};?\n?){0,4}") {
            if let Ok(script) = parse(&text, &[]) {
                for statement in &script.statements {
                    prop_assert!(text.contains(statement.text()));
                }
            }
        }
    }
}
