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
