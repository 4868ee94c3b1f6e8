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

use datafusion::common::DataFusionError;

use crate::diagnostic::Span;

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
            message: message.into(),
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
