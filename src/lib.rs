//! Gotgan: an embedded SQL data warehouse.

pub mod catalog;
#[doc(hidden)]
pub mod cli;
pub mod diagnostic;
pub mod error;
mod standin;

pub use diagnostic::Source;
pub use error::{Error, ErrorKind, Result};
pub use standin::*;
