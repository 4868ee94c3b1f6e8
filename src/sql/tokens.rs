//! What is done to the tokens of a statement before sqlparser reads them, where its permissive
//! dialect understands something else than people mean.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

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

/// `FROM t WHERE …` without a SELECT takes all columns; sqlparser knows only the bare `FROM t`.
pub(crate) fn select_all(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let keyword = |token: &Token| match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let mut all = Vec::with_capacity(tokens.len());
    let mut before: Option<&Token> = None;
    let mut after_set_operator = false;
    // By depth of parentheses, whether the query there has its SELECT.
    let mut selects = vec![false];
    for (index, token) in tokens.iter().enumerate() {
        let begins_query = match before {
            None | Some(Token::LParen) => true,
            Some(before) => after_set_operator || BEFORE_QUERY.contains(&keyword(before)),
        };
        if keyword(&token.token) == Keyword::FROM
            && begins_query
            && selects.last() != Some(&true)
            && !has_select(&tokens[index..], keyword)
        {
            for added in [Token::make_keyword("SELECT"), Token::Mul] {
                all.push(TokenWithSpan::new(added, token.span));
            }
        }
        match (&token.token, keyword(&token.token)) {
            (Token::LParen, _) => selects.push(false),
            (Token::RParen, _) => drop(selects.pop()),
            (_, Keyword::SELECT) => set_last(&mut selects, true),
            (_, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT) => {
                set_last(&mut selects, false);
            }
            _ => {}
        }
        match (&token.token, keyword(&token.token)) {
            (_, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT) => after_set_operator = true,
            (Token::Whitespace(_), _)
            | (_, Keyword::ALL | Keyword::DISTINCT | Keyword::BY | Keyword::NAME) => {}
            _ => after_set_operator = false,
        }
        all.push(token.clone());
        if !matches!(token.token, Token::Whitespace(_)) {
            before = Some(&token.token);
        }
    }
    all
}

/// A number with more digits than a floating-point number keeps is a decimal, as it is in DuckDB. The
/// engine would round it before anybody can say what its type is. A column's DEFAULT is kept as text.
pub(crate) fn exact_numbers(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut all = Vec::with_capacity(tokens.len());
    let mut is_default = false;
    for TokenWithSpan { token, span } in tokens {
        match &token {
            Token::Number(text, false) if !is_default => match digits(text) {
                Some((precision, scale)) => {
                    let cast = cast(text, precision, scale);
                    all.extend(cast.map(|token| TokenWithSpan::new(token, span)));
                }
                None => all.push(TokenWithSpan::new(token, span)),
            },
            other => {
                is_default = match other {
                    Token::Word(word) => word.keyword == Keyword::DEFAULT,
                    Token::Whitespace(_) | Token::Minus | Token::Plus => is_default,
                    _ => false,
                };
                all.push(TokenWithSpan::new(token, span));
            }
        }
    }
    all
}

/// `CAST('text' AS DECIMAL(precision, scale))`
fn cast(text: &str, precision: usize, scale: usize) -> [Token; 11] {
    let number = |number: usize| Token::Number(number.to_string(), false);
    [
        Token::make_keyword("CAST"),
        Token::LParen,
        Token::SingleQuotedString(text.to_owned()),
        Token::make_keyword("AS"),
        Token::make_keyword("DECIMAL"),
        Token::LParen,
        number(precision),
        Token::Comma,
        number(scale),
        Token::RParen,
        Token::RParen,
    ]
}

/// The precision and scale of a number that only a decimal holds.
fn digits(text: &str) -> Option<(usize, usize)> {
    if text.len() <= f64::DIGITS as usize {
        return None;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let significant = format!("{whole}{fraction}").trim_start_matches('0').len();
    let is_rounded = match fraction {
        "" => whole.parse::<u64>().is_err(),
        _ => significant > f64::DIGITS as usize,
    };
    let precision = whole.len() + fraction.len();
    (is_rounded && (1..=MOST_DIGITS).contains(&precision)).then_some((precision, fraction.len()))
}

/// Of a decimal.
const MOST_DIGITS: usize = 38;

fn set_last(flags: &mut [bool], value: bool) {
    if let Some(last) = flags.last_mut() {
        *last = value;
    }
}

/// The words after which a query may begin.
const BEFORE_QUERY: [Keyword; 5] =
    [Keyword::AS, Keyword::EXPLAIN, Keyword::ANALYZE, Keyword::VERBOSE, Keyword::DESCRIBE];

/// Whether the query that begins with FROM says SELECT later on.
fn has_select(tokens: &[TokenWithSpan], keyword: impl Fn(&Token) -> Keyword) -> bool {
    let mut depth = 0usize;
    for token in tokens {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return false,
            Token::RParen => depth -= 1,
            other if depth == 0 => match keyword(other) {
                Keyword::SELECT => return true,
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => return false,
                _ => {}
            },
            _ => {}
        }
    }
    false
}
