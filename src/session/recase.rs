//! Columns in another case: `SELECT carriername` finds `"CarrierName"`.
//!
//! The engine compares column names exactly, after folding unquoted ones to lower case. When it does
//! not find one, and exactly one column differs from it by case alone, the statement is spelled as
//! the table is and planned again. Statements that find their columns pay nothing.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::ast::{Expr, Ident, Statement, VisitMut, VisitorMut};

use crate::sql::name::fold;

/// Spells the column that `error` misses as its table does; whether that changed the statement.
pub(crate) fn respell(statement: &mut Statement, error: &DataFusionError) -> bool {
    let Some((folded, actual)) = other_case(error) else {
        return false;
    };
    let mut respell = Respell { folded, actual, changed: false };
    let _ = statement.visit(&mut respell);
    respell.changed
}

/// The name that is missing, and the one column that differs from it by case alone.
fn other_case(error: &DataFusionError) -> Option<(String, String)> {
    let DataFusionError::SchemaError(schema, _) = error.find_root() else {
        return None;
    };
    let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref() else {
        return None;
    };
    let wanted = field.name().to_lowercase();
    let candidates: BTreeSet<&str> = valid_fields
        .iter()
        .map(|column| column.name())
        .filter(|name| name.to_lowercase() == wanted && *name != field.name())
        .collect();
    match candidates.into_iter().collect::<Vec<_>>().as_slice() {
        [actual] => Some((field.name().to_owned(), (*actual).to_owned())),
        _ => None,
    }
}

struct Respell {
    folded: String,
    actual: String,
    changed: bool,
}

impl Respell {
    fn ident(&mut self, ident: &mut Ident) {
        if ident.quote_style.is_none() && fold(ident) == self.folded {
            let span = ident.span;
            *ident = Ident { span, ..Ident::with_quote('"', &self.actual) };
            self.changed = true;
        }
    }
}

impl VisitorMut for Respell {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.ident(ident),
            Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last_mut() {
                    self.ident(last);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
