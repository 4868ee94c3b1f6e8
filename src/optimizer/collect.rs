//! The joins of a plan taken apart: its relations, and all that is asked of them together.
//!
//! Inner joins, the semi and anti joins among them, and filters and projections between them that
//! only choose columns, are one [`Joins`]; [`super::rebuild`] puts one together again in any order.
//! Everything else is a relation as it is: outer joins, aggregates, limits, derived tables. So are
//! joins with volatile conditions, and those whose columns could be confused with another's.

use std::collections::{HashMap, HashSet};

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, Operator, Projection};

use super::graph::Relations;
use super::search::JoinTree;

/// Joins taken apart.
#[derive(Debug, Clone)]
pub(super) struct Joins {
    pub(super) parts: Vec<Part>,
    /// Pairs that inner joins make equal.
    pub(super) equalities: Vec<(Expr, Expr)>,
    /// What else must be true of the result.
    pub(super) conditions: Vec<Expr>,
    /// The order they are in.
    pub(super) tree: JoinTree,
}

/// A relation.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) plan: LogicalPlan,
    /// How it filters the others; `None` if its columns are joined to theirs.
    pub(super) filtering: Option<Filtering>,
}

/// A semi or anti join without its inputs.
#[derive(Debug, Clone)]
pub(super) struct Filtering {
    /// Keys of what is filtered, and those they are looked for among.
    pub(super) on: Vec<(Expr, Expr)>,
    pub(super) filter: Option<Expr>,
    /// Whether rows with a match are dropped.
    pub(super) is_anti: bool,
    pub(super) null_equality: NullEquality,
    /// `NOT IN`: a NULL among the keys drops every row.
    pub(super) is_null_aware: bool,
}

impl Filtering {
    /// Everything it looks at in the rows that it filters, and perhaps in the others.
    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.on.iter().map(|(own, _)| own).chain(&self.filter)
    }
}

/// The joins at the top of a plan; `None` if there is none that could be in another order.
pub(super) fn collect(plan: &LogicalPlan) -> Option<Joins> {
    let joins = apart(plan)?;
    (joins.parts.len() > 1).then_some(joins)
}

#[recursive::recursive]
fn apart(plan: &LogicalPlan) -> Option<Joins> {
    match plan {
        LogicalPlan::Filter(Filter { predicate, input, .. }) if is_movable(predicate) => {
            let mut joins = apart(input)?;
            joins.conditions.extend(split_conjunction(predicate).into_iter().cloned());
            Some(joins)
        }
        LogicalPlan::Projection(Projection { expr, input, .. })
            if expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
        {
            apart(input)
        }
        LogicalPlan::Join(join) => of_join(join),
        _ => None,
    }
}

fn of_join(join: &Join) -> Option<Joins> {
    let conditions = join.on.iter().flat_map(|(l, r)| [l, r]).chain(&join.filter);
    if !conditions.into_iter().all(is_movable) {
        return None;
    }
    let (outer, inner) = (&join.left, &join.right);
    match join.join_type {
        JoinType::Inner if join.null_equality == NullEquality::NullEqualsNothing => {
            inner_join(join)
        }
        JoinType::LeftSemi | JoinType::LeftAnti => filtering(join, outer, inner, join.on.clone()),
        JoinType::RightSemi | JoinType::RightAnti => {
            let on = join.on.iter().map(|(l, r)| (r.clone(), l.clone()));
            filtering(join, inner, outer, on.collect())
        }
        _ => None,
    }
}

fn inner_join(join: &Join) -> Option<Joins> {
    let mut left = apart(&join.left).unwrap_or_else(|| relation(&join.left));
    let mut right = apart(&join.right).unwrap_or_else(|| relation(&join.right));
    // What a side hides may be confused with the other: then it is one relation.
    if !fit(&left, &right) {
        right = relation(&join.right);
    }
    if !fit(&left, &right) {
        left = relation(&join.left);
    }
    if !fit(&left, &right) {
        return None;
    }
    let shift = left.parts.len();
    left.parts.append(&mut right.parts);
    left.equalities.append(&mut right.equalities);
    left.conditions.append(&mut right.conditions);
    left.tree = JoinTree::join(left.tree, right.tree.shifted(shift));
    left.equalities.extend(join.on.iter().cloned());
    left.conditions.extend(join.filter.iter().flat_map(split_conjunction).cloned());
    Some(left)
}

/// A semi or anti join of `outer` with what is looked for in `inner`.
fn filtering(
    join: &Join,
    outer: &LogicalPlan,
    inner: &LogicalPlan,
    on: Vec<(Expr, Expr)>,
) -> Option<Joins> {
    let filtering = Filtering {
        on,
        filter: join.filter.clone(),
        is_anti: matches!(join.join_type, JoinType::LeftAnti | JoinType::RightAnti),
        null_equality: join.null_equality,
        is_null_aware: join.null_aware,
    };
    let mut joins = apart(outer).unwrap_or_else(|| relation(outer));
    if !fit(&joins, &relation(inner)) {
        joins = relation(outer);
    }
    let looks_at_rows = filtering.expressions().any(|expr| !joins.relations(expr).is_empty());
    if !fit(&joins, &relation(inner)) || !looks_at_rows {
        return None;
    }
    let added = JoinTree::Leaf(joins.parts.len());
    joins.parts.push(Part { plan: inner.clone(), filtering: Some(filtering) });
    joins.tree = match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti => JoinTree::join(added, joins.tree),
        _ => JoinTree::join(joins.tree, added),
    };
    Some(joins)
}

/// A plan as a relation.
fn relation(plan: &LogicalPlan) -> Joins {
    Joins {
        parts: vec![Part { plan: plan.clone(), filtering: None }],
        equalities: vec![],
        conditions: vec![],
        tree: JoinTree::Leaf(0),
    }
}

/// Whether two can be taken as one: every column is told from every other, and they are not too many.
fn fit(a: &Joins, b: &Joins) -> bool {
    let mut names: HashMap<String, HashSet<Option<String>>> = HashMap::new();
    let parts = || a.parts.iter().chain(&b.parts);
    let mut is_new = |column: Column| {
        let tables = names.entry(column.name).or_default();
        let table = column.relation.map(|table| table.table().to_owned());
        // A name without a table could be that of any.
        let is_clear = !tables.contains(&None) && (table.is_some() || tables.is_empty());
        is_clear && tables.insert(table)
    };
    parts().count() <= Relations::MAX
        && parts().flat_map(|part| part.plan.schema().columns()).all(&mut is_new)
}

/// Whether an expression gives the same wherever it stands. Subqueries stay where they are.
fn is_movable(expr: &Expr) -> bool {
    let has_subquery = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    });
    !expr.is_volatile() && !has_subquery.unwrap_or(true)
}

impl Joins {
    /// The relations whose columns an expression needs, those that filter left out.
    pub(super) fn relations(&self, expr: &Expr) -> Relations {
        let mut found = Relations::default();
        for column in expr.column_refs() {
            let has =
                |part: &Part| part.filtering.is_none() && part.plan.schema().has_column(column);
            found = found
                .union(self.parts.iter().position(has).map(Relations::one).unwrap_or_default());
        }
        found
    }

    /// The one relation whose columns an expression needs.
    pub(super) fn only_relation(&self, expr: &Expr) -> Option<usize> {
        let relations = self.relations(expr);
        relations.iter().next().filter(|_| relations.len() == 1)
    }

    /// The relations that a part needs to filter.
    pub(super) fn needs(&self, filtering: &Filtering) -> Relations {
        let expressions = filtering.expressions().map(|expr| self.relations(expr));
        expressions.fold(Relations::default(), Relations::union)
    }

    /// Moves conditions that are plain equalities of two relations to the others.
    pub(super) fn find_equalities(&mut self) {
        let conditions = std::mem::take(&mut self.conditions);
        for condition in conditions {
            match condition {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                    if self.are_apart(&left, &right) =>
                {
                    self.equalities.push((*left, *right));
                }
                other => self.conditions.push(other),
            }
        }
    }

    fn are_apart(&self, a: &Expr, b: &Expr) -> bool {
        match (self.only_relation(a), self.only_relation(b)) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        }
    }

    /// The same with other plans for its parts; `true` if one is another.
    pub(super) fn map_parts(
        &mut self,
        mut map: impl FnMut(LogicalPlan) -> Result<Transformed<LogicalPlan>>,
    ) -> Result<bool> {
        let mut is_other = false;
        for part in &mut self.parts {
            let mapped = map(std::mem::take(&mut part.plan))?;
            is_other |= mapped.transformed;
            part.plan = mapped.data;
        }
        Ok(is_other)
    }
}
