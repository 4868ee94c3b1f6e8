//! Operators of our own, for plans that DataFusion's cannot express.

mod shared;

pub(crate) use self::shared::{SharedExec, SharedInput};
