//! Where data comes from besides the warehouse's own tables.
//!
//! [`files`] reads CSV, JSON, Parquet, Avro and Arrow files from disk, object stores and HTTP:
//! [`find`](mod@find) lists them, [`scan`] makes a table of them; [`options`] is the common options of their
//! table functions.

pub(crate) mod files;
mod find;
pub(crate) mod options;
mod scan;

pub(crate) use self::find::{Found, find};
