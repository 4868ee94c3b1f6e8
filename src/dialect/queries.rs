//! Clauses of queries that the engine does not plan, in words that it does.

use sqlparser::ast::{
    Expr, Fetch, Ident, LimitClause, OrderBy, OrderByExpr, OrderByKind, Query, SelectItem, SetExpr,
    TableAlias, TableFactor, Value,
};

use crate::sql::name::fold;
use crate::sql::subquery;

/// `FETCH FIRST n ROWS` becomes LIMIT, `ORDER BY ALL` the place of each column.
pub(crate) fn rewrite(query: &mut Query) {
    if let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch {
        let limit = Some(quantity.clone().unwrap_or_else(|| number(1)));
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit: none @ None, .. }) => *none = limit,
            none @ None => {
                *none = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: vec![] });
            }
            Some(_) => return,
        }
        query.fetch = None;
    }
    if let Some(OrderBy { kind, interpolate: None }) = &mut query.order_by
        && let OrderByKind::All(options) = kind
        && let Some(columns) = n_columns(&query.body)
    {
        let key = |place| OrderByExpr { expr: number(place), options: *options, with_fill: None };
        *kind = OrderByKind::Expressions((1..=columns).map(key).collect());
    }
}

/// Columns in `information_schema.columns` count from 1.
pub(crate) fn count_from_one(factor: &mut TableFactor) {
    let TableFactor::Table { name, alias, args: None, .. } = factor else {
        return;
    };
    let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(fold).collect();
    let [.., schema, table] = parts.as_slice() else {
        return;
    };
    if schema != "information_schema" || table != "columns" {
        return;
    }
    let own =
        TableAlias { explicit: false, name: Ident::new("columns"), columns: vec![], at: None };
    let alias = alias.take().unwrap_or(own);
    const COLUMNS: &str = "SELECT * REPLACE (CAST(ordinal_position AS INT) + 1 AS ordinal_position) \
                           FROM columns";
    let Ok(mut query) = subquery(COLUMNS, None) else {
        return;
    };
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(from) = select.from.first_mut()
    {
        from.relation = factor.clone();
    }
    *factor =
        TableFactor::Derived { lateral: false, subquery: query, alias: Some(alias), sample: None };
}

fn number(value: usize) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

/// How many columns a query lists; none if it does not list them one by one.
fn n_columns(set: &SetExpr) -> Option<usize> {
    match set {
        SetExpr::Select(select) => {
            let is_one = |item: &SelectItem| {
                matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
            };
            let is_listed = !select.projection.is_empty() && select.projection.iter().all(is_one);
            is_listed.then_some(select.projection.len())
        }
        SetExpr::SetOperation { left, .. } => n_columns(left),
        SetExpr::Query(query) => n_columns(&query.body),
        _ => None,
    }
}
