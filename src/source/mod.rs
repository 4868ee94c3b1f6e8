//! Where data comes from besides the warehouse's own tables.
//!
//! [`files`] reads CSV, JSON, Parquet, Avro and Arrow files from disk, object stores and HTTP;
//! [`options`] is the common options of their table functions.

pub(crate) mod files;
pub(crate) mod options;
