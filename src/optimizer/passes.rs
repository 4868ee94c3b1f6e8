//! Runs a rule of DataFusion's on a plan in which some operators are behind a [`PassExec`].

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_plan::ExecutionPlan;

use crate::exec::PassExec;

/// The plan after `rule`, which saw it with `pass` above its operators, where there is one.
pub(super) fn with_passes(
    plan: Arc<dyn ExecutionPlan>,
    pass: impl Fn(&Arc<dyn ExecutionPlan>) -> Option<PassExec>,
    rule: impl FnOnce(Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let close = |plan: Arc<dyn ExecutionPlan>| {
        Ok(match pass(&plan) {
            Some(pass) => Transformed::yes(Arc::new(pass) as Arc<dyn ExecutionPlan>),
            None => Transformed::no(plan),
        })
    };
    let open = |plan: Arc<dyn ExecutionPlan>| {
        let opened = plan.downcast_ref::<PassExec>().and_then(PassExec::opened).cloned();
        Ok(opened.map_or_else(|| Transformed::no(plan), Transformed::yes))
    };
    let closed = plan.transform_up(close)?;
    let plan = rule(closed.data)?;
    match closed.transformed {
        true => plan.transform_up(open).data(),
        false => Ok(plan),
    }
}
