//! Gotgan: an embedded SQL data warehouse.

pub mod catalog;
pub mod diagnostic;
pub mod error;
