//! Where in a statement a name stands, for errors that the planner gives without a place.

use std::ops::ControlFlow;

use datafusion::common::TableReference;
use sqlparser::ast::{ObjectName, Spanned, Statement, Visit, Visitor};

use crate::diagnostic::Span;
use crate::sql::name::{self, RelationRef};

/// The first place where `statement` names `reference`.
pub(crate) fn relation(statement: &Statement, reference: &TableReference) -> Option<Span> {
    struct Find<'a>(&'a TableReference);
    impl Visitor for Find<'_> {
        type Break = Option<Span>;

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
            match RelationRef::from_ast(relation) {
                Ok(found)
                    if found.name == self.0.table()
                        && found.schema.as_deref() == self.0.schema() =>
                {
                    ControlFlow::Break(name::span(relation.span()))
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Find(reference)) {
        ControlFlow::Break(span) => span,
        ControlFlow::Continue(()) => None,
    }
}
