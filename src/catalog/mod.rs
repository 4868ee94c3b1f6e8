//! The catalog.

pub mod model;
