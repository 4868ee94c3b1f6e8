//! Physical operators of our own, and arithmetic, where DataFusion has none, or its own take more memory
//! than they need or count, or more time.
//!
//! They know of no table and no catalog; [`crate::optimizer`] puts them into plans.

mod conjunction;
mod decimals;
mod grouping_sets;
mod pass;
mod shared;
mod window;

pub(crate) use self::conjunction::ConjunctionExec;
pub(crate) use self::decimals::DecimalArithmetic;
pub(crate) use self::grouping_sets::GroupingSetsExec;
pub(crate) use self::pass::{PassExec, Passing};
pub(crate) use self::shared::{SharedExec, SharedInput};
pub(crate) use self::window::GroupedWindowExec;
