//! Physical operators of our own, where DataFusion's take more memory than they need or count.
//!
//! They know of no table and no catalog; [`crate::optimizer`] puts them into plans.

mod pass;
mod window;

pub(crate) use self::pass::{PassExec, Passing};
pub(crate) use self::window::GroupedWindowExec;
