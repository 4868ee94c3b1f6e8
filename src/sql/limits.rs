//! How long an expression may be. Trees that are too deep for any stack are refused by their tokens,
//! before there is a tree.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::name;
use crate::error::{Error, Result};

/// How many operators may follow each other at one level: `a OR b OR …` becomes a tree as deep as it
/// is long, and what walks it needs as much stack.
const CHAIN_LIMIT: usize = 1_000;

/// Refuses expressions that chain too many operators, at the first operator too many.
pub(super) fn check_chains(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut chains = vec![0];
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => chains.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if chains.len() > 1 => {
                chains.pop();
            }
            Token::Comma => *chains.last_mut().unwrap_or(&mut 0) = 0,
            other if is_operator(other) => {
                let chain = chains.last_mut().map_or(0, |chain| {
                    *chain += 1;
                    *chain
                });
                if chain > CHAIN_LIMIT {
                    return Err(Error::invalid("the expression chains too many operators")
                        .with_help(format!(
                            "at most {CHAIN_LIMIT} may follow each other; use IN (…), or parentheses"
                        ))
                        .or_span(name::span(token.span)));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            matches!(word.keyword, Keyword::AND | Keyword::OR | Keyword::UNION | Keyword::JOIN)
        }
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => {
            true
        }
        Token::DoubleColon | Token::Arrow | Token::LongArrow | Token::Pipe | Token::Ampersand => {
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::script::tokenize;

    fn check(text: &str) -> Result<()> {
        check_chains(&tokenize(text).unwrap())
    }

    #[test]
    fn long_chains_are_refused_and_long_lists_are_not() {
        let ones = vec!["1"; CHAIN_LIMIT + 2];
        assert!(check(&format!("SELECT {}", ones.join(" + "))).is_err());
        assert!(check(&format!("SELECT {}", ones[1..].join(" OR "))).is_ok());
        assert!(check(&format!("SELECT 1 IN ({})", ones.join(", "))).is_ok());
        assert!(check(&format!("SELECT {}", vec!["1 + 1"; CHAIN_LIMIT].join(", "))).is_ok());
    }
}
