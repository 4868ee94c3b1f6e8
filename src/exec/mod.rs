//! Physical operators of our own. What puts them into a plan is in [`crate::optimizer`].

mod conjunction;
mod grouping_sets;

pub(crate) use self::conjunction::ConjunctionExec;
pub(crate) use self::grouping_sets::GroupingSetsExec;
