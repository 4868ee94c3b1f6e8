//! Physical operators of our own. What puts them into a plan is in [`crate::optimizer`].

mod conjunction;
mod filter_gate;
mod grouping_sets;

pub(crate) use self::conjunction::ConjunctionExec;
pub(crate) use self::filter_gate::FilterGateExec;
pub(crate) use self::grouping_sets::GroupingSetsExec;
