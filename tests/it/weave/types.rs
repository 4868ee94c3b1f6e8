//! The types of columns, as DuckDB names them, and literals of each that both engines understand.

use fastrand::Rng;

/// A type of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    /// By its name, such as `DECIMAL(18,3)`.
    Scalar(String),
    List(Box<Type>),
    Struct(Vec<(String, Type)>),
    Map(Box<Type>, Box<Type>),
}

/// Types with values of each, from the least to the greatest where they have an order. There is no
/// -0.0, which DuckDB makes 0.0 when it merges files.
const SCALARS: [(&str, &[&str]); 25] = [
    ("BOOLEAN", &["false", "true"]),
    ("TINYINT", &["-128", "-1", "0", "1", "7", "127"]),
    ("SMALLINT", &["-32768", "-3", "0", "42", "32767"]),
    ("INTEGER", &["-2147483648", "-7", "0", "1", "99", "2147483647"]),
    (
        "BIGINT",
        &["-9223372036854775808", "-1", "0", "5", "9007199254740993", "9223372036854775807"],
    ),
    ("UTINYINT", &["0", "1", "200", "255"]),
    ("USMALLINT", &["0", "2", "65535"]),
    ("UINTEGER", &["0", "3", "4294967295"]),
    ("UBIGINT", &["0", "4", "9223372036854775808", "18446744073709551615"]),
    ("FLOAT", &["-Infinity", "-1.5", "0.0", "0.25", "1000.5", "Infinity", "NaN"]),
    ("DOUBLE", &["-Infinity", "-2.5", "0.0", "0.1", "12345.678", "Infinity", "NaN"]),
    ("DECIMAL(4,1)", &["-999.9", "-0.1", "0.0", "12.5", "999.9"]),
    ("DECIMAL(18,3)", &["-999999999999999.999", "-1.001", "0.000", "7.250", "999999999999999.999"]),
    (
        "DECIMAL(38,10)",
        &["-9999999999999999999999999999.9999999999", "0.0000000001", "3.1400000000"],
    ),
    ("DATE", &["0001-01-01", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"]),
    ("TIME", &["00:00:00", "12:34:56.7", "23:59:59.999999"]),
    ("TIMESTAMP_S", &["1677-09-22 00:12:44", "2024-02-29 23:59:59", "9999-12-31 23:59:59"]),
    ("TIMESTAMP_MS", &["1677-09-22 00:12:44.123", "2024-02-29 23:59:59.001"]),
    ("TIMESTAMP", &["0001-01-01 00:00:00", "1969-12-31 23:59:59.999999", "2024-02-29 12:00:00.12"]),
    ("TIMESTAMP_NS", &["1677-09-22 00:12:43.145224193", "2024-02-29 12:00:00.123456789"]),
    ("TIMESTAMP WITH TIME ZONE", &["1969-12-31 23:59:59.999999+00", "2024-02-29 12:00:00.5+00"]),
    ("VARCHAR", &["", " ", "''", "NULL", "a", "b''c", "x,y", "ünïcödé 곳간", "~"]),
    ("JSON", &["\"s\"", "[]", "{\"a\": [1, null]}"]),
    ("BLOB", &["", "00", "00ff61", "5c27"]),
    ("UUID", &["00000000-0000-0000-0000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"]),
];

/// The types that values of structs, lists and maps have.
const INNER: [&str; 5] = ["INTEGER", "VARCHAR", "DOUBLE", "DATE", "BOOLEAN"];
/// Text in nested values: of other text DuckDB damages some when it keeps rows in the catalog.
const PLAIN: [&str; 4] = ["a", "bc", "Z z", "q9"];

impl Type {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        match rng.u8(..10) {
            0 => Self::List(Box::new(Self::inner(rng))),
            1 => Self::record(rng),
            2 => Self::Map(Box::new(Self::scalar("VARCHAR")), Box::new(Self::inner(rng))),
            3 => Self::List(Box::new(Self::record(rng))),
            // The types that there is most to do with.
            4 => Self::scalar("INTEGER"),
            5 => Self::scalar("VARCHAR"),
            _ => Self::scalar(SCALARS[rng.usize(..SCALARS.len())].0),
        }
    }

    fn record(rng: &mut Rng) -> Self {
        let fields = ["a", "b", "c"].iter().take(rng.usize(1..=3));
        let field = |name: &&str| {
            let mut kind = Self::inner(rng);
            // DuckDB keeps the date of a struct in the catalog as `CAST('…' AS DATE)`, and cannot
            // read that.
            while kind.is("DATE") {
                kind = Self::inner(rng);
            }
            ((*name).to_owned(), kind)
        };
        Self::Struct(fields.map(field).collect())
    }

    fn inner(rng: &mut Rng) -> Self {
        Self::scalar(INNER[rng.usize(..INNER.len())])
    }

    pub(crate) fn scalar(name: &str) -> Self {
        Self::Scalar(name.to_owned())
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Scalar(mine) if mine == name)
    }

    pub(crate) fn is_nested(&self) -> bool {
        !matches!(self, Self::Scalar(_))
    }

    /// A type that holds all of its values.
    pub(crate) fn wider(&self) -> Option<&'static str> {
        let Self::Scalar(name) = self else { return None };
        Some(match name.as_str() {
            "TINYINT" => "SMALLINT",
            "SMALLINT" | "UTINYINT" => "INTEGER",
            "INTEGER" | "USMALLINT" => "BIGINT",
            "UINTEGER" => "UBIGINT",
            "FLOAT" => "DOUBLE",
            "DECIMAL(4,1)" => "DECIMAL(18,3)",
            _ => return None,
        })
    }

    /// Whether `<` means the same to both engines.
    pub(crate) fn is_ordered(&self) -> bool {
        let unordered = ["BOOLEAN", "JSON", "BLOB", "UUID", "FLOAT", "DOUBLE"];
        matches!(self, Self::Scalar(name) if !unordered.contains(&name.as_str()))
    }

    /// From the name that DuckDB gives it.
    pub(crate) fn parse(name: &str) -> Self {
        if let Some(element) = name.strip_suffix("[]") {
            return Self::List(Box::new(Self::parse(element)));
        }
        let inside = |prefix: &str| name.strip_prefix(prefix).and_then(|s| s.strip_suffix(')'));
        if let Some(fields) = inside("STRUCT(") {
            let field = |text: &str| {
                let (name, kind) = text.trim().split_once(' ').unwrap();
                (name.trim_matches('"').to_owned(), Self::parse(kind))
            };
            return Self::Struct(split(fields).into_iter().map(field).collect());
        }
        if let Some(parts) = inside("MAP(") {
            let parts = split(parts);
            let part = |i: usize| Box::new(Self::parse(parts[i].trim()));
            return Self::Map(part(0), part(1));
        }
        Self::scalar(name)
    }

    /// Its name in SQL.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Scalar(name) => name.clone(),
            Self::List(element) => format!("{}[]", element.name()),
            Self::Struct(fields) => {
                let fields =
                    fields.iter().map(|(name, kind)| format!("\"{name}\" {}", kind.name()));
                format!("STRUCT({})", fields.collect::<Vec<_>>().join(", "))
            }
            Self::Map(key, value) => format!("MAP({}, {})", key.name(), value.name()),
        }
    }

    /// A value, or NULL, as an expression of this very type.
    pub(crate) fn literal(&self, rng: &mut Rng) -> String {
        match rng.u8(..8) {
            0 => format!("CAST(NULL AS {})", self.name()),
            _ => self.value(rng),
        }
    }

    /// A value that is not NULL.
    pub(crate) fn value(&self, rng: &mut Rng) -> String {
        match self {
            Self::Scalar(name) => scalar(name, rng),
            Self::List(element) => {
                let values: Vec<String> =
                    (0..rng.usize(..4)).map(|_| element.inside(rng)).collect();
                format!("CAST([{}] AS {})", values.join(", "), self.name())
            }
            Self::Struct(fields) => {
                let fields =
                    fields.iter().map(|(name, kind)| format!("'{name}': {}", kind.inside(rng)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
            Self::Map(_, value) => {
                let keys = ["k", "two", "3"].iter().take(rng.usize(1..=3));
                let entries = keys.map(|key| format!("'{key}': {}", value.inside(rng)));
                format!("MAP {{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn inside(&self, rng: &mut Rng) -> String {
        match self.is("VARCHAR") && rng.bool() {
            true => format!("'{}'", PLAIN[rng.usize(..PLAIN.len())]),
            false if self.is("VARCHAR") => "CAST(NULL AS VARCHAR)".into(),
            false if self.is("DOUBLE") => {
                format!("CAST({} AS DOUBLE)", f64::from(rng.i8(..)) / 4.0)
            }
            false => self.literal(rng),
        }
    }
}

fn scalar(name: &str, rng: &mut Rng) -> String {
    let known = SCALARS.iter().find(|(known, _)| *known == name);
    let text = match (name, known) {
        // Longer than the bounds that the catalog keeps.
        ("VARCHAR", _) if rng.u8(..20) == 0 => return "repeat('z', 300)".into(),
        ("VARCHAR", _) if rng.bool() => format!("s{}", rng.u8(..40)),
        ("INTEGER" | "BIGINT", _) if rng.bool() => rng.i32(-1000..1000).to_string(),
        (_, Some((_, values))) => values[rng.usize(..values.len())].to_owned(),
        // What ALTER TABLE made of another: a value that fits any decimal.
        (_, None) => "0".into(),
    };
    match name {
        "BLOB" => format!("CAST(X'{text}' AS BLOB)"),
        _ => format!("CAST('{text}' AS {name})"),
    }
}

/// Splits at commas that are in no parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
