//! Lets filters through on their way down a plan whose columns are told from all others by name.
//!
//! DataFusion passes filters, those that joins make of their keys while they run among them, from a
//! plan to its input and looks their columns up by name. Above a join of two tables that both have a
//! column `j`, a filter on the second becomes one on the first, and rows are lost. It takes part in
//! planning alone: [`FilterGateExec::open`] takes it away.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, FilterDescription, FilterPushdownPhase,
};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// The operator.
#[derive(Debug)]
pub(crate) struct FilterGateExec {
    input: Arc<dyn ExecutionPlan>,
}

impl FilterGateExec {
    /// A gate above a plan of which two columns have the same name.
    pub(crate) fn above(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let gate = Self { input: Arc::clone(plan) };
        (gate.told_apart().len() < plan.schema().fields().len()).then_some(gate)
    }

    /// What is behind a gate.
    pub(crate) fn open(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The columns that have their name alone.
    fn told_apart(&self) -> Vec<usize> {
        let schema = self.input.schema();
        let mut n_named: HashMap<&str, usize> = HashMap::new();
        for field in schema.fields() {
            *n_named.entry(field.name()).or_default() += 1;
        }
        let is_alone =
            |index: &usize| n_named.get(schema.field(*index).name().as_str()) == Some(&1);
        (0..schema.fields().len()).filter(is_alone).collect()
    }
}

impl DisplayAs for FilterGateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilterGateExec")
    }
}

impl ExecutionPlan for FilterGateExec {
    fn name(&self) -> &'static str {
        "FilterGateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input })),
            Err(_) => internal_err!("FilterGateExec has one input"),
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let told_apart = self.told_apart().into_iter().collect();
        let input = ChildFilterDescription::from_child_with_allowed_indices(
            &parent_filters,
            told_apart,
            &self.input,
        )?;
        Ok(FilterDescription::new().with_child(input))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
