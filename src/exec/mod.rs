//! Physical operators of our own, where DataFusion has none, or its own take more memory than they need
//! or count.
//!
//! They know of no table and no catalog; [`crate::optimizer`] puts them into plans.

mod conjunction;
mod grouping_sets;
mod pass;
mod shared;
mod window;

pub(crate) use self::conjunction::ConjunctionExec;
pub(crate) use self::grouping_sets::GroupingSetsExec;
pub(crate) use self::pass::{PassExec, Passing};
pub(crate) use self::shared::{SharedExec, SharedInput};
pub(crate) use self::window::GroupedWindowExec;
