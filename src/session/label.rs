//! Names for the columns that a query does not name: their text, as people wrote it.
//!
//! The engine would call them `Int64(1)` and `sum(t.x)`. A name that comes twice in one list gets a
//! number, so that it can be selected and stored.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, Query, Select, SelectFlavor, SelectItem, SetExpr, Statement, TableFactor,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use crate::dialect::queries::{count_from_one, rewrite};
use crate::sql::name::fold;

/// Names every unnamed expression in the select lists of `statement`, and spells its clauses so that
/// the engine plans them.
pub(crate) fn label(statement: &mut Statement) {
    struct Labels;
    impl VisitorMut for Labels {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            label_set(&mut query.body);
            rewrite(query);
            ControlFlow::Continue(())
        }

        fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            count_from_one(factor);
            ControlFlow::Continue(())
        }
    }
    let _ = statement.visit(&mut Labels);
}

/// The first part of a set operation names its columns.
fn label_set(set: &mut SetExpr) {
    match set {
        SetExpr::Select(select) => {
            select_all(select);
            label_select(select);
        }
        SetExpr::SetOperation { left, right, .. } => {
            label_set(left);
            select_all_of(right);
        }
        _ => {}
    }
}

/// [`select_all`] in every part of a set operation; a query in brackets is visited by itself.
fn select_all_of(set: &mut SetExpr) {
    match set {
        SetExpr::Select(select) => select_all(select),
        SetExpr::SetOperation { left, right, .. } => {
            select_all_of(left);
            select_all_of(right);
        }
        _ => {}
    }
}

/// `FROM t` alone is every column of it.
fn select_all(select: &mut Select) {
    if select.flavor == SelectFlavor::FromFirstNoSelect {
        select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
        select.flavor = SelectFlavor::Standard;
    }
}

fn label_select(select: &mut Select) {
    let mut taken: Vec<String> = Vec::new();
    for item in &mut select.projection {
        let (name, is_named) = match item {
            SelectItem::ExprWithAlias { alias, .. } => (fold(alias), true),
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => (fold(ident), true),
            // Two tables may well have a column of the same name.
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(_)) => continue,
            SelectItem::UnnamedExpr(expr) => (expr.to_string(), false),
            _ => continue,
        };
        let mut unique = name.clone();
        let mut number = 0;
        while taken.contains(&unique) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        if !is_named || number > 0 {
            relabel(item, &unique);
        }
        taken.push(unique);
    }
}

fn relabel(item: &mut SelectItem, name: &str) {
    let new = Ident::with_quote('"', name);
    match item {
        SelectItem::UnnamedExpr(expr) => {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: new };
        }
        SelectItem::ExprWithAlias { alias, .. } => *alias = new,
        _ => {}
    }
}
