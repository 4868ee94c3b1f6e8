//! The one public error of the crate.
//!
//! An [`Error`] answers two questions: *what now?* (its [`ErrorKind`]) and *where?* (its
//! [`Span`], in the coordinates of the script it came from). Messages are lower case, without a
//! full stop, and name the object; the remedy goes into [`Error::help`]. This file is the only
//! place that maps errors of other crates, so an error of ours keeps its kind and span when it
//! travels through DataFusion and back.
//!
//! Rendering with a caret is [`crate::diagnostic`]'s; exit codes are the front end's.

use std::fmt;

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};

use crate::diagnostic::{Position, Span};

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is not SQL: correct it.
    Syntax,
    /// The statement, option or value makes no sense: correct it.
    Invalid,
    /// The object does not exist: correct the name or create it.
    NotFound,
    /// The object exists already: choose another name, or `IF NOT EXISTS`, `OR REPLACE`.
    AlreadyExists,
    /// Another writer was first: run the transaction again.
    Conflict,
    /// This is understood and not offered: see the help for another way.
    Unsupported,
    /// Memory, disk or another limit is exhausted: raise it or ask for less.
    Resources,
    /// Stored bytes are not what they should be: restore the file.
    Corrupt,
    /// Reading or writing files failed: check the path, the permissions and the network.
    Storage,
    /// The catalog database failed: check its path and permissions.
    Catalog,
    /// The connection to the catalog was lost while it committed: look whether the change is there
    /// before making it again.
    OutcomeUnknown,
    /// The caller asked to stop.
    Cancelled,
    /// A defect in this crate: report it.
    Internal,
}

/// An error with its kind, its place and its remedy. One pointer wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    label: Option<String>,
    help: Option<String>,
    span: Option<Span>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; the message names the object, in lower case and without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: without_passwords(message.into()),
            label: None,
            help: None,
            span: None,
            source: None,
        }))
    }

    /// Adds the remedy, one sentence.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds the few words that stand beside the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.0.label = Some(label.into());
        self
    }

    /// Sets the place, in the coordinates of the script; replaces an earlier one.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.0.span = Some(span);
        self
    }

    /// Sets the place unless a more exact one is known already.
    #[must_use]
    pub fn or_span(mut self, span: Option<Span>) -> Self {
        self.0.span = self.0.span.or(span);
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without place and remedy.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The remedy, when there is one to name.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The words beside the caret.
    pub fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The place in the script.
    pub fn span(&self) -> Option<Span> {
        self.0.span
    }

    /// Whether running the same transaction again can succeed.
    pub fn is_retryable(&self) -> bool {
        self.0.kind == ErrorKind::Conflict
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
            .with_help("this is a defect in gotgan; please report it with the statement")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// "`what` "`name`" does not exist", with the nearest of `candidates` as the label.
    pub(crate) fn no_such<'a>(
        what: &str,
        name: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let error = Self::not_found(format!("{what} \"{name}\" does not exist"));
        match nearest(name, candidates) {
            Some(near) => error.with_label(format!("did you mean \"{near}\"?")),
            None => error,
        }
    }
}

/// A URL may carry a user and a password, and messages end up in logs.
fn without_passwords(message: String) -> String {
    let mut shown = String::new();
    let mut rest = message.as_str();
    while let Some(at) = rest.find("://") {
        let (before, authority) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = |c: char| c.is_whitespace() || "/?#\"'".contains(c);
        let end = authority.find(ends).unwrap_or(authority.len());
        rest = match authority[..end].rfind('@') {
            Some(user) => &authority[user + 1..],
            None => authority,
        };
    }
    match shown.is_empty() {
        true => message,
        false => shown + rest,
    }
}

/// The candidate that is most like `name`, if one is close enough to be meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(label) = &self.0.label {
            write!(f, " ({label})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, label, help, span, source } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("label", label)
            .field("help", help)
            .field("span", span)
            .field("source", source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

/// Errors of the engine: kind, place and words in our form; ours inside come out as they went in.
impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        if let Some(own) = own_error(&error) {
            return own;
        }
        let span = diagnosed_span(&error);
        let (kind, message) = classify(&error);
        // The planner's suggestion stands on a line of its own.
        let (message, suggestion) = match message.split_once(".\nDid you mean '") {
            Some((message, near)) => {
                (message.to_owned(), near.strip_suffix("'?").map(str::to_owned))
            }
            None => (message.replace('\n', " "), None),
        };
        let mut own = Error::new(kind, message).or_span(span);
        if let Some(near) = suggestion {
            own = own.with_label(format!("did you mean \"{near}\"?"));
        }
        if let Some(remedy) = remedy(&error, kind) {
            own = own.with_help(remedy);
        }
        if let Some(label) = field_candidates(&error) {
            own = own.with_label(label);
        }
        own.with_source(error)
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl Error {
    /// The same error without its source, for one that is shared.
    fn duplicate(&self) -> Self {
        let Inner { kind, message, label, help, span, source: _ } = &*self.0;
        Self(Box::new(Inner {
            kind: *kind,
            message: message.clone(),
            label: label.clone(),
            help: help.clone(),
            span: *span,
            source: None,
        }))
    }
}

/// An error of ours that travelled through the engine.
fn own_error(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(own.duplicate());
        }
        current = match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref() as _),
            Some(DataFusionError::ArrowError(inner, _)) => Some(inner.as_ref() as _),
            Some(DataFusionError::Collection(errors)) => errors.first().map(|e| e as _),
            _ => match error.downcast_ref::<ArrowError>() {
                Some(ArrowError::ExternalError(inner)) => Some(inner.as_ref() as _),
                _ => error.source(),
            },
        };
    }
    None
}

fn classify(error: &DataFusionError) -> (ErrorKind, String) {
    let kind = match root(error) {
        DataFusionError::SQL(..) => ErrorKind::Syntax,
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { .. } => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        },
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Resources,
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => ErrorKind::Storage,
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::IoError(..) => ErrorKind::Storage,
            ArrowError::ParquetError(_) | ArrowError::AvroError(_) | ArrowError::IpcError(_) => {
                ErrorKind::Corrupt
            }
            ArrowError::NotYetImplemented(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        },
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => ErrorKind::Internal,
        _ => ErrorKind::Invalid,
    };
    (kind, message_of(error))
}

/// The innermost error of the engine.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, root),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
                Some(inner) => root(inner),
                None => error,
            },
            _ => error,
        },
        DataFusionError::External(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => root(inner),
            None => error,
        },
        _ => error,
    }
}

/// What an error of the engine says, in one line and in our style.
pub(crate) fn message_of(error: &DataFusionError) -> String {
    let root = root(error);
    if let DataFusionError::SchemaError(schema, _) = root
        && let SchemaError::FieldNotFound { field, .. } = schema.as_ref()
    {
        return format!("column \"{}\" does not exist", field.flat_name());
    }
    let text = match root {
        DataFusionError::ArrowError(inner, _) => inner.to_string(),
        DataFusionError::ParquetError(inner) => inner.to_string(),
        DataFusionError::ObjectStore(inner) => inner.to_string(),
        DataFusionError::IoError(inner) => inner.to_string(),
        other => other.strip_backtrace(),
    };
    let mut text = text.as_str();
    const PREFIXES: [&str; 16] = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Parser error: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "External error: ",
        "Csv error: ",
        "Cast error: ",
        "Compute error: ",
        "Invalid argument error: ",
        "Json error: ",
        "Resources exhausted: ",
        "SQL error: ",
        "Parquet error: ",
        "Invalid or Unsupported Configuration: ",
    ];
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    let text = text.split("\n\nThis issue was likely caused by").next().unwrap_or(text);
    crate::sql::script::decapitalise(text.trim().trim_end_matches('.'))
}

fn diagnosed_span(error: &DataFusionError) -> Option<Span> {
    let span = error.diagnostic()?.span?;
    let position = |l: datafusion::common::Location| Position { line: l.line, column: l.column };
    (span.start.line > 0).then(|| Span { start: position(span.start), end: position(span.end) })
}

/// The nearest name for a column that does not exist.
fn field_candidates(error: &DataFusionError) -> Option<String> {
    let DataFusionError::SchemaError(schema, _) = root(error) else {
        return None;
    };
    let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref() else {
        return None;
    };
    let near = nearest(field.name(), valid_fields.iter().map(|column| column.name()))?;
    Some(format!("did you mean \"{near}\"?"))
}

fn remedy(error: &DataFusionError, kind: ErrorKind) -> Option<String> {
    let no_space = |e: &std::io::Error| e.kind() == std::io::ErrorKind::StorageFull;
    match (root(error), kind) {
        (DataFusionError::SchemaError(schema, _), _) => match schema.as_ref() {
            SchemaError::FieldNotFound { valid_fields, .. } if !valid_fields.is_empty() => {
                let names: Vec<String> =
                    valid_fields.iter().take(12).map(|c| c.flat_name()).collect();
                let more = if valid_fields.len() > 12 { ", …" } else { "" };
                Some(format!("the columns are {}{more}", names.join(", ")))
            }
            _ => None,
        },
        (_, ErrorKind::Resources) => Some(
            "raise --memory-limit, or lower --threads so that fewer partitions share it".into(),
        ),
        (DataFusionError::IoError(io), _) if no_space(io) => Some("free some disk space".into()),
        (DataFusionError::ArrowError(arrow, _), _) if matches!(arrow.as_ref(), ArrowError::IoError(_, io) if no_space(io)) => {
            Some("free some disk space, or name another place with --temp-directory".into())
        }
        (_, ErrorKind::Corrupt) => {
            Some("check that the file is complete and of this format".into())
        }
        (_, ErrorKind::Internal) => {
            Some("this is a defect; please report it with the statement".into())
        }
        _ => None,
    }
}
