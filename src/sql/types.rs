//! SQL type names to the catalog's column types.
//!
//! Names follow DuckDB and PostgreSQL: `INT8` is 64 bits, `FLOAT` 32, `DECIMAL` alone is
//! `DECIMAL(18,3)`. `STRUCT(a INT, b TEXT)` is DuckDB's form; sqlparser's permissive dialect reads
//! `STRUCT<a INT, b TEXT>`, so [`bracket_structs`] exchanges the brackets before parsing.

use sqlparser::ast::{ArrayElemTypeDef, DataType, ExactNumberInfo, StructField, TimezoneInfo};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::name::fold;
use crate::catalog::model::{Column, ColumnId, ColumnType};
use crate::error::{Error, Result};

/// The column type that `sql` names; nested columns carry no ids yet.
pub(crate) fn column_type(sql: &DataType) -> Result<ColumnType> {
    use DataType as D;
    Ok(match sql {
        D::Bool | D::Boolean => ColumnType::Boolean,
        D::TinyInt(_) => ColumnType::Int8,
        D::SmallInt(_) | D::Int2(_) | D::Int16 => ColumnType::Int16,
        D::Int(_) | D::Integer(_) | D::Int4(_) | D::Int32 | D::MediumInt(_) => ColumnType::Int32,
        D::BigInt(_) | D::Int8(_) | D::Int64 => ColumnType::Int64,
        D::UTinyInt | D::TinyIntUnsigned(_) | D::UInt8 => ColumnType::UInt8,
        D::USmallInt | D::SmallIntUnsigned(_) | D::Int2Unsigned(_) | D::UInt16 => {
            ColumnType::UInt16
        }
        D::IntUnsigned(_) | D::IntegerUnsigned(_) | D::Int4Unsigned(_) | D::UInt32 => {
            ColumnType::UInt32
        }
        D::UBigInt | D::BigIntUnsigned(_) | D::Int8Unsigned(_) | D::UInt64 => ColumnType::UInt64,
        D::Real | D::Float4 | D::Float32 => ColumnType::Float32,
        D::Float(ExactNumberInfo::Precision(25..)) => ColumnType::Float64,
        D::Float(_) => ColumnType::Float32,
        D::Double(_) | D::DoublePrecision | D::Float8 | D::Float64 => ColumnType::Float64,
        D::Decimal(info) | D::Numeric(info) | D::Dec(info) => decimal(*info)?,
        D::Date | D::Date32 => ColumnType::Date,
        D::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => ColumnType::Time,
        D::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
        | D::TimestampNtz(precision)
        | D::Datetime(precision) => timestamp(*precision)?,
        D::Timestamp(..) => ColumnType::TimestampTz,
        D::Interval { .. } => ColumnType::Interval,
        D::Varchar(_)
        | D::CharacterVarying(_)
        | D::CharVarying(_)
        | D::Nvarchar(_)
        | D::Char(_)
        | D::Character(_)
        | D::Text
        | D::String(_)
        | D::Clob(_) => ColumnType::Varchar,
        D::JSON | D::JSONB => ColumnType::Json,
        D::Blob(_) | D::Bytea | D::Bytes(_) | D::Binary(_) | D::Varbinary(_) => ColumnType::Blob,
        D::Uuid => ColumnType::Uuid,
        D::Struct(fields, _) => ColumnType::Struct(struct_fields(fields)?),
        D::Array(
            ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::SquareBracket(element, None)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => ColumnType::List(Box::new(child("element", column_type(element)?))),
        D::Map(key, value) => ColumnType::Map(
            Box::new(child("key", column_type(key)?)),
            Box::new(child("value", column_type(value)?)),
        ),
        D::Custom(name, arguments) if arguments.is_empty() => {
            custom(&name.to_string()).ok_or_else(|| unknown(sql))?
        }
        _ => return Err(unknown(sql)),
    })
}

/// A column without a place in a table: nullable, no id, no default.
pub(crate) fn child(name: &str, column_type: ColumnType) -> Column {
    Column {
        id: ColumnId(0),
        name: name.to_owned(),
        column_type,
        nullable: true,
        initial_default: None,
        default: None,
        comment: None,
    }
}

fn struct_fields(fields: &[StructField]) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::with_capacity(fields.len());
    for field in fields {
        let name = field.field_name.as_ref().map(fold);
        let name = name.ok_or_else(|| Error::invalid("a struct field needs a name"))?;
        if columns.iter().any(|column| column.name.eq_ignore_ascii_case(&name)) {
            return Err(Error::invalid(format!("struct field \"{name}\" is named twice")));
        }
        columns.push(child(&name, column_type(&field.field_type)?));
    }
    if columns.is_empty() {
        return Err(Error::invalid("a struct needs at least one field"));
    }
    Ok(columns)
}

fn decimal(info: ExactNumberInfo) -> Result<ColumnType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (18, 3),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
            Ok(ColumnType::Decimal { precision, scale })
        }
        _ => Err(Error::invalid(format!("DECIMAL({precision},{scale}) is out of range"))
            .with_help("the precision is 1 to 38, the scale 0 to the precision")),
    }
}

fn timestamp(precision: Option<u64>) -> Result<ColumnType> {
    Ok(match precision {
        None | Some(4..=6) => ColumnType::Timestamp,
        Some(0) => ColumnType::TimestampS,
        Some(1..=3) => ColumnType::TimestampMs,
        Some(7..=9) => ColumnType::TimestampNs,
        Some(other) => {
            return Err(Error::invalid(format!("TIMESTAMP({other}) is out of range"))
                .with_help("the precision is 0 to 9 digits of a second"));
        }
    })
}

/// Names that sqlparser does not know as types.
fn custom(name: &str) -> Option<ColumnType> {
    Some(match name.to_lowercase().as_str() {
        "int1" => ColumnType::Int8,
        "short" => ColumnType::Int16,
        "long" => ColumnType::Int64,
        "uinteger" => ColumnType::UInt32,
        "usmallint" => ColumnType::UInt16,
        "utinyint" => ColumnType::UInt8,
        "ubigint" => ColumnType::UInt64,
        "timestamp_s" => ColumnType::TimestampS,
        "timestamp_ms" => ColumnType::TimestampMs,
        "timestamp_us" => ColumnType::Timestamp,
        "timestamp_ns" => ColumnType::TimestampNs,
        "timestamptz" | "timestamp_tz" => ColumnType::TimestampTz,
        "bpchar" => ColumnType::Varchar,
        _ => return None,
    })
}

fn unknown(sql: &DataType) -> Error {
    let error = Error::unsupported(format!("type {sql} is not supported"));
    match sql {
        DataType::HugeInt | DataType::UHugeInt | DataType::Int128 | DataType::UInt128 => {
            error.with_help("use BIGINT, or DECIMAL(38,0) for up to 38 digits")
        }
        DataType::Time(..) => error.with_help("use TIME, or TIMESTAMPTZ for an instant"),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, Some(_))) => {
            error.with_help(format!("use the list type {element}[]"))
        }
        DataType::Enum(..) => error.with_help("use VARCHAR"),
        _ => error,
    }
}

/// Turns `STRUCT(name type, …)` into `STRUCT<name type, …>`; calls of the function `struct(…)`,
/// whose arguments are not pairs of a name and a type, stay.
pub(crate) fn bracket_structs(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let significant: Vec<usize> =
        (0..tokens.len()).filter(|&i| !matches!(tokens[i].token, Token::Whitespace(_))).collect();
    for at in 0..significant.len() {
        let token = |i: usize| significant.get(at + i).map(|&i| &tokens[i].token);
        let is_type = matches!(token(0), Some(Token::Word(w)) if w.keyword == Keyword::STRUCT)
            && token(1) == Some(&Token::LParen)
            && matches!(token(2), Some(Token::Word(_)))
            && matches!(token(3), Some(Token::Word(w)) if is_type_word(w));
        if !is_type {
            continue;
        }
        let mut depth = 0;
        let close = significant[at + 1..].iter().copied().find(|&i| {
            match tokens[i].token {
                Token::LParen => depth += 1,
                // An inner STRUCT is handled after the outer one, so its brackets count still.
                Token::RParen => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        if let Some(close) = close {
            tokens[significant[at + 1]].token = Token::Lt;
            tokens[close].token = Token::Gt;
        }
    }
    tokens
}

/// Turns `TIMESTAMP_NS '…'` into a cast: sqlparser knows typed literals of its own types only.
pub(crate) fn cast_literals(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let is_literal = matches!(token.token, Token::SingleQuotedString(_));
        let last = out.iter().rposition(|t| !matches!(t.token, Token::Whitespace(_)));
        let named = last.filter(|&i| match &out[i].token {
            Token::Word(word) => word.quote_style.is_none() && custom(&word.value).is_some(),
            _ => false,
        });
        match named.filter(|_| is_literal) {
            Some(at) => {
                let name = out.split_off(at).remove(0);
                let place = |token| TokenWithSpan { token, span: name.span };
                let word = |text| Token::make_word(text, None);
                out.extend([place(word("CAST")), place(Token::LParen), token]);
                out.extend([place(word("AS")), place(name.token.clone()), place(Token::RParen)]);
            }
            None => out.push(token),
        }
    }
    out
}

/// Whether a word after a name can only be a type.
fn is_type_word(word: &Word) -> bool {
    word.quote_style.is_none()
        && (custom(&word.value).is_some()
            || matches!(
                word.keyword,
                Keyword::BOOL
                    | Keyword::BOOLEAN
                    | Keyword::TINYINT
                    | Keyword::SMALLINT
                    | Keyword::INT
                    | Keyword::INTEGER
                    | Keyword::INT2
                    | Keyword::INT4
                    | Keyword::INT8
                    | Keyword::INT16
                    | Keyword::INT32
                    | Keyword::INT64
                    | Keyword::BIGINT
                    | Keyword::UTINYINT
                    | Keyword::USMALLINT
                    | Keyword::UBIGINT
                    | Keyword::REAL
                    | Keyword::FLOAT
                    | Keyword::FLOAT4
                    | Keyword::FLOAT8
                    | Keyword::DOUBLE
                    | Keyword::DECIMAL
                    | Keyword::NUMERIC
                    | Keyword::DATE
                    | Keyword::TIME
                    | Keyword::TIMESTAMP
                    | Keyword::TIMESTAMPTZ
                    | Keyword::INTERVAL
                    | Keyword::VARCHAR
                    | Keyword::CHAR
                    | Keyword::TEXT
                    | Keyword::STRING
                    | Keyword::JSON
                    | Keyword::BLOB
                    | Keyword::BYTEA
                    | Keyword::UUID
                    | Keyword::STRUCT
                    | Keyword::MAP
                    | Keyword::DATETIME
            ))
}

#[cfg(test)]
mod tests {
    use sqlparser::parser::Parser;

    use super::*;
    use crate::sql::script::tokenize;

    fn parsed(text: &str) -> Result<ColumnType> {
        let tokens = bracket_structs(tokenize(text).unwrap());
        let mut parser =
            Parser::new(&super::super::parser::DIALECT).with_tokens_with_locations(tokens);
        column_type(&parser.parse_data_type().unwrap())
    }

    #[test]
    fn names_mean_what_duckdb_says() {
        for (text, expected) in [
            ("INT8", ColumnType::Int64),
            ("int4", ColumnType::Int32),
            ("TINYINT", ColumnType::Int8),
            ("UINTEGER", ColumnType::UInt32),
            ("FLOAT", ColumnType::Float32),
            ("DOUBLE PRECISION", ColumnType::Float64),
            ("DECIMAL", ColumnType::Decimal { precision: 18, scale: 3 }),
            ("DECIMAL(5)", ColumnType::Decimal { precision: 5, scale: 0 }),
            ("TIMESTAMP", ColumnType::Timestamp),
            ("TIMESTAMP_NS", ColumnType::TimestampNs),
            ("TIMESTAMP WITH TIME ZONE", ColumnType::TimestampTz),
            ("TIMESTAMPTZ", ColumnType::TimestampTz),
            ("STRING", ColumnType::Varchar),
        ] {
            assert_eq!(parsed(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn nested_types_nest() {
        let ColumnType::Struct(fields) =
            parsed("STRUCT(a INT, s STRUCT(b TEXT[], d DECIMAL(4,2)), m MAP(TEXT, BIGINT))")
                .unwrap()
        else {
            panic!("a struct");
        };
        assert_eq!(fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["a", "s", "m"]);
        assert!(matches!(fields[2].column_type, ColumnType::Map(..)));
    }

    #[test]
    fn impossible_types_say_what_to_use() {
        for text in ["DECIMAL(39,2)", "DECIMAL(2,3)", "HUGEINT", "INT[3]", "TIME WITH TIME ZONE"] {
            assert!(parsed(text).unwrap_err().help().is_some(), "{text}");
        }
    }
}
