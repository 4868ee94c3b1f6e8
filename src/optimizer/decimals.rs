//! Arithmetic of decimals by [`DecimalArithmetic`] instead of arrow's kernels, where values are computed
//! and not compared: conditions stay as they are, for files are pruned by them.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::settings::Settings;
use crate::exec::DecimalArithmetic;

/// The rule.
#[derive(Debug)]
pub(super) struct Decimals;

impl OptimizerRule for Decimals {
    fn name(&self) -> &'static str {
        "gotgan_decimals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let computes = matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_));
        if !computes || !Settings::of(&config.options()).decimals {
            return Ok(Transformed::no(plan));
        }
        let inputs = plan.inputs();
        let [input] = inputs.as_slice() else { return Ok(Transformed::no(plan)) };
        let schema = Arc::clone(input.schema());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let computed = expr.transform_up(|expr| arithmetic(expr, &schema))?;
            Ok(computed.update_data(|expr| name.restore(expr)))
        })
    }
}

fn arithmetic(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return Ok(Transformed::no(expr));
    };
    let is_decimal = |expr: &Expr| {
        expr.get_type(schema).is_ok_and(|data_type| matches!(data_type, DataType::Decimal128(..)))
    };
    Ok(match DecimalArithmetic::new(op) {
        Some(function) if is_decimal(&left) && is_decimal(&right) => {
            Transformed::yes(ScalarUDF::from(function).call(vec![*left, *right]))
        }
        _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    })
}
