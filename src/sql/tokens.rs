//! What is done to the tokens of a statement before sqlparser reads them, where its permissive
//! dialect understands something else than people mean.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::name;
use crate::error::{Error, Result};

/// Said wherever a statement asks for one.
pub(crate) const EARLIER_VERSION: &str =
    "reading a table as of an earlier version is not supported";

/// `t AT (VERSION => 3)` is DuckLake's; sqlparser would take it for an alias and its columns.
pub(crate) fn refuse_time_travel(tokens: &[TokenWithSpan]) -> Result<()> {
    let words: Vec<&TokenWithSpan> =
        tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    let is = |token: &Token, names: &[&str]| {
        matches!(token, Token::Word(w) if w.quote_style.is_none()
            && names.iter().any(|name| w.value.eq_ignore_ascii_case(name)))
    };
    let found = words.windows(4).find(|w| {
        is(&w[0].token, &["at"])
            && w[1].token == Token::LParen
            && is(&w[2].token, &["version", "timestamp"])
            && w[3].token == Token::RArrow
    });
    match found {
        Some(at) => Err(Error::unsupported(EARLIER_VERSION).or_span(name::span(at[0].span))),
        None => Ok(()),
    }
}

/// `top` is a name: sqlparser would read `SELECT top` as the clause TOP of other dialects.
pub(crate) fn plain_top(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for token in &mut tokens {
        if let Token::Word(word) = &mut token.token
            && word.keyword == Keyword::TOP
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    tokens
}
