//! What crosses the border to the database: the logical types of the catalog's columns.
//!
//! Values keep the type that the specification gives their column, so that a database with such
//! types gets them as such and one without gets their text. Coming back, times and identities are
//! text in one form, whatever database they were in.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};

/// A value on its way in or out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Only on its way in.
    Time(DateTime<Utc>),
    /// Only on its way in.
    Uuid(Uuid),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    /// Counts and sizes; none reaches 2^63.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<DateTime<Utc>> for Value {
    fn from(value: DateTime<Utc>) -> Self {
        Self::Time(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Uuid(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result.
#[derive(Debug)]
pub(crate) struct Row(pub(super) Vec<Value>);

impl Row {
    /// An integer that the format says is there.
    pub(crate) fn int(&self, index: usize) -> Result<i64> {
        self.opt_int(index)?.ok_or_else(|| corrupt(index, "is missing"))
    }

    pub(crate) fn opt_int(&self, index: usize) -> Result<Option<i64>> {
        match &self.0[index] {
            Value::Null => Ok(None),
            Value::Int(value) => Ok(Some(*value)),
            Value::Text(text) => text
                .parse()
                .map(Some)
                .map_err(|_| corrupt(index, &format!("is {text:?}, not a number"))),
            other => Err(corrupt(index, &format!("is {other:?}, not a number"))),
        }
    }

    /// A count or size.
    pub(crate) fn count(&self, index: usize) -> Result<u64> {
        u64::try_from(self.int(index)?).map_err(|_| corrupt(index, "is negative"))
    }

    pub(crate) fn opt_count(&self, index: usize) -> Result<Option<u64>> {
        Ok(self.opt_int(index)?.and_then(|value| u64::try_from(value).ok()))
    }

    /// Text that the format says is there.
    pub(crate) fn text(&self, index: usize) -> Result<String> {
        self.opt_text(index).ok_or_else(|| corrupt(index, "is missing"))
    }

    pub(crate) fn opt_text(&self, index: usize) -> Option<String> {
        match &self.0[index] {
            Value::Null => None,
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Text(text) => Some(text.clone()),
            Value::Time(time) => Some(crate::catalog::types::print_time(*time)),
            Value::Uuid(uuid) => Some(uuid.to_string()),
        }
    }

    /// A boolean; SQLite keeps 0 and 1.
    pub(crate) fn flag(&self, index: usize) -> Result<bool> {
        Ok(self.opt_flag(index)?.unwrap_or(false))
    }

    pub(crate) fn opt_flag(&self, index: usize) -> Result<Option<bool>> {
        match &self.0[index] {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(*value)),
            Value::Int(value) => Ok(Some(*value != 0)),
            other => match self.opt_text(index).as_deref() {
                Some("true" | "t" | "1") => Ok(Some(true)),
                Some("false" | "f" | "0") => Ok(Some(false)),
                _ => Err(corrupt(index, &format!("is {other:?}, not a boolean"))),
            },
        }
    }
}

fn corrupt(index: usize, what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("a catalog row is damaged: its value {} {what}", index + 1),
    )
    .with_help("restore the catalog from a backup")
}
