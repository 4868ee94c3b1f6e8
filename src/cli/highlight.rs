//! Colours for what is being typed.
//!
//! The tokens are sqlparser's. Where they end, because a quote or a comment is still open, the rest
//! of the text has the colour of what is open. Dot commands are left plain except for their name.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::complete::KEYWORDS;

/// Longer input is left plain: each key press looks at all of it.
const MAX_LENGTH: usize = 20_000;

/// What a byte of the text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Plain,
    Keyword,
    String,
    Number,
    Comment,
    Command,
    /// The bracket that belongs to the one at the cursor.
    Match,
}

impl Class {
    /// The escape sequence that begins it.
    pub(crate) fn color(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Keyword => "\x1b[1;34m",
            Self::String => "\x1b[32m",
            Self::Number => "\x1b[36m",
            Self::Comment => "\x1b[2m",
            Self::Command => "\x1b[35m",
            Self::Match => "\x1b[1;4;33m",
        }
    }
}

/// The class of every byte of `text`.
pub(crate) fn classes(text: &str) -> Vec<Class> {
    let mut classes = vec![Class::Plain; text.len()];
    if text.len() > MAX_LENGTH {
        return classes;
    }
    if text.starts_with(['.', '\\']) {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        classes[..end].fill(Class::Command);
        return classes;
    }
    let (tokens, rest) = tokens(text);
    for (token, range) in tokens {
        classes[range].fill(class(&token.token));
    }
    let open = match text[rest..].trim_start() {
        rest if rest.starts_with("/*") => Class::Comment,
        rest if rest.starts_with(['\'', '$']) => Class::String,
        _ => Class::Plain,
    };
    classes[rest..].fill(open);
    classes
}

/// Where the string literal begins that is still open at the end of `text`.
pub(crate) fn open_string(text: &str) -> Option<usize> {
    let (_, rest) = tokens(text);
    let start = rest + text[rest..].len() - text[rest..].trim_start().len();
    text[start..].starts_with('\'').then_some(start)
}

/// The tokens with their bytes, and where they end.
fn tokens(text: &str) -> (Vec<(TokenWithSpan, std::ops::Range<usize>)>, usize) {
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let byte = |at: Location| {
        let line = starts.get(at.line.saturating_sub(1) as usize).copied().unwrap_or(text.len());
        let column = at.column.saturating_sub(1) as usize;
        let found = text[line..].char_indices().nth(column).map(|(offset, _)| line + offset);
        found.unwrap_or(text.len())
    };
    let mut tokens = Vec::new();
    let result =
        Tokenizer::new(&GenericDialect {}, text).tokenize_with_location_into_buf(&mut tokens);
    let spanned: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let (start, end) = (byte(token.span.start), byte(token.span.end));
            (token, start..end.max(start))
        })
        .collect();
    let end = match result {
        Ok(()) => text.len(),
        Err(_) => spanned.last().map_or(0, |(_, range)| range.end),
    };
    (spanned, end)
}

fn class(token: &Token) -> Class {
    match token {
        Token::Word(word) if word.quote_style.is_none() && is_keyword(&word.value) => {
            Class::Keyword
        }
        Token::Number(..) => Class::Number,
        Token::SingleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::DollarQuotedString(_) => Class::String,
        Token::Whitespace(
            Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_),
        ) => Class::Comment,
        _ => Class::Plain,
    }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search(&word.to_ascii_uppercase().as_str()).is_ok()
}

/// The bracket that belongs to the one at the cursor, or to the one just before it.
pub(crate) fn matching_bracket(text: &str, classes: &[Class], cursor: usize) -> Option<usize> {
    let bracket = |at: usize| {
        let c = *text.as_bytes().get(at)?;
        (classes[at] == Class::Plain && b"()[]{}".contains(&c)).then_some(c)
    };
    let before = cursor.checked_sub(1);
    let at = [Some(cursor), before].into_iter().flatten().find(|at| bracket(*at).is_some())?;
    let opens = |c: u8| b"([{".contains(&c);
    let forward = opens(bracket(at)?);
    let mut depth = 0;
    let mut step = |position: &usize| {
        let Some(c) = bracket(*position) else {
            return false;
        };
        depth += if opens(c) == forward { 1 } else { -1 };
        depth == 0
    };
    if forward { (at..text.len()).find(&mut step) } else { (0..=at).rev().find(&mut step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each character.
    fn shown(text: &str) -> String {
        let classes = classes(text);
        let letter = |(at, _)| match classes[at] {
            Class::Plain => '.',
            Class::Keyword => 'k',
            Class::String => 's',
            Class::Number => 'n',
            Class::Comment => 'c',
            Class::Command => 'd',
            Class::Match => 'm',
        };
        text.char_indices().map(letter).collect()
    }

    #[test]
    fn classes_of_a_statement() {
        assert_eq!(shown("select 'a', 12 -- x"), "kkkkkk.sss..nn.cccc");
        assert_eq!(shown("from 곳간\nwhere"), "kkkk....kkkkk");
        assert_eq!(shown("\"select\" x"), "..........");
    }

    #[test]
    fn what_is_open_colours_the_rest() {
        assert_eq!(shown("select 'a b"), "kkkkkk.ssss");
        assert_eq!(shown("select /* b"), "kkkkkk.cccc");
        assert_eq!(shown(".mode csv"), "ddddd....");
    }

    #[test]
    fn open_strings() {
        assert_eq!(open_string("select * from 'a/b"), Some(14));
        assert_eq!(open_string("select 'it''s"), Some(7));
        assert_eq!(open_string("select 'a' from "), None);
    }

    #[test]
    fn brackets_match_outside_strings() {
        let text = "f(')', [1])";
        let matching = |cursor| matching_bracket(text, &classes(text), cursor);
        assert_eq!(matching(1), Some(10));
        assert_eq!(matching(11), Some(1));
        assert_eq!(matching(7), Some(9));
        assert_eq!(matching(4), None);
        assert_eq!(matching_bracket("(", &classes("("), 0), None);
    }
}
