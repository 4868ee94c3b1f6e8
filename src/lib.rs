//! Gotgan: an embedded SQL data warehouse.

pub mod catalog;
#[doc(hidden)]
pub mod cli;
mod config;
pub mod diagnostic;
pub mod error;
mod session;
mod source;
pub mod sql;
mod storage;
mod table;
mod warehouse;
mod write;

pub use config::Config;
pub use diagnostic::Source;
pub use error::{Error, ErrorKind, Result};
pub use session::{Names, Outcome, Progress, ProgressReading, Rows, Session};
pub use sql::{Script, Statement};
pub use warehouse::Warehouse;

/// Types as people write them.
pub mod types {
    pub use crate::table::types::display_type;
}
