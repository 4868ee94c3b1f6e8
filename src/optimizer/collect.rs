//! The joins of a plan taken apart: its relations, and all that is asked of them together.
//!
//! Inner joins, the semi, anti and outer joins among them, and filters and projections between them
//! that only choose columns, are one [`Joins`]; [`super::rebuild`] puts one together again in any order.
//! Everything else is a relation as it is: full joins, aggregates, limits, derived tables. So are
//! joins with volatile conditions, and those whose columns could be confused with another's.
//!
//! What a semi, anti or outer join looks into is *attached* to the relations whose columns decide
//! about a match, and comes behind them. That an outer join may come behind any other,
//! `(a LEFT b) JOIN c = (a JOIN c) LEFT b`, holds if no key of `b` joins `c`. Where one does, rows without
//! a match have NULL for it and are dropped, so the outer join is an inner one (TPC-DS q93).

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
    /// Whether some of them are not the joins that they were taken from.
    pub(super) are_others: bool,
}

/// A relation.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) plan: LogicalPlan,
    /// How it is attached to the others; `None` if it is joined to them.
    pub(super) attached: Option<Attached>,
}

impl Part {
    /// Whether its columns are in the result.
    fn has_columns(&self) -> bool {
        self.attached.as_ref().is_none_or(|attached| attached.kind == Kind::Outer)
    }
}

/// A semi, anti or outer join without its inputs.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub(super) kind: Kind,
    /// Keys of what it is attached to, and those they are looked for among.
    pub(super) on: Vec<(Expr, Expr)>,
    pub(super) filter: Option<Expr>,
    pub(super) null_equality: NullEquality,
    /// `NOT IN`: a NULL among the keys drops every row.
    pub(super) is_null_aware: bool,
}

/// What becomes of rows with a match, and of those without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those with a match are kept.
    Semi,
    /// Those without a match are kept.
    Anti,
    /// All are kept, and the columns of the matches added.
    Outer,
}

impl Kind {
    /// The join of rows on the left with what is attached on the right.
    pub(super) fn left_join(self) -> JoinType {
        match self {
            Self::Semi => JoinType::LeftSemi,
            Self::Anti => JoinType::LeftAnti,
            Self::Outer => JoinType::Left,
        }
    }
}

impl Attached {
    /// Everything it looks at in the rows that it is attached to, and perhaps in its own.
    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        self.on.iter().map(|(own, _)| own).chain(&self.filter)
    }
}

/// The joins at the top of a plan; `None` if there is none that could be in another order.
pub(super) fn collect(plan: &LogicalPlan) -> Option<Joins> {
    let mut joins = apart(plan, OuterJoins::Attached)?;
    while let Some(index) = joins.outer_join_with_key() {
        joins.make_inner(index);
    }
    if joins.has_keys_of_outer_joins() {
        joins = apart(plan, OuterJoins::Whole)?;
    }
    (joins.parts.len() > 1).then_some(joins)
}

/// What becomes of outer joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OuterJoins {
    Attached,
    /// They are relations as they are.
    Whole,
}

#[recursive::recursive]
fn apart(plan: &LogicalPlan, outer: OuterJoins) -> Option<Joins> {
    match plan {
        LogicalPlan::Filter(Filter { predicate, input, .. }) if is_movable(predicate) => {
            let mut joins = apart(input, outer)?;
            joins.conditions.extend(split_conjunction(predicate).into_iter().cloned());
            Some(joins)
        }
        LogicalPlan::Projection(Projection { expr, input, .. })
            if expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
        {
            apart(input, outer)
        }
        LogicalPlan::Join(join) => of_join(join, outer),
        _ => None,
    }
}

fn of_join(join: &Join, outer: OuterJoins) -> Option<Joins> {
    let conditions = join.on.iter().flat_map(|(l, r)| [l, r]).chain(&join.filter);
    if !conditions.into_iter().all(is_movable) {
        return None;
    }
    let (left, right) = (&join.left, &join.right);
    match join.join_type {
        JoinType::Left | JoinType::Right if outer == OuterJoins::Whole => None,
        JoinType::Inner if join.null_equality == NullEquality::NullEqualsNothing => {
            inner_join(join, outer)
        }
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::Left => {
            attached(join, left, right, join.on.clone(), outer)
        }
        JoinType::RightSemi | JoinType::RightAnti | JoinType::Right => {
            let on = join.on.iter().map(|(l, r)| (r.clone(), l.clone()));
            attached(join, right, left, on.collect(), outer)
        }
        _ => None,
    }
}

fn inner_join(join: &Join, outer: OuterJoins) -> Option<Joins> {
    let mut left = apart(&join.left, outer).unwrap_or_else(|| relation(&join.left));
    let mut right = apart(&join.right, outer).unwrap_or_else(|| relation(&join.right));
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

/// A semi, anti or outer join of `rows` with what is looked for in `among`.
fn attached(
    join: &Join,
    rows: &LogicalPlan,
    among: &LogicalPlan,
    on: Vec<(Expr, Expr)>,
    outer: OuterJoins,
) -> Option<Joins> {
    let kind = match join.join_type {
        JoinType::Left | JoinType::Right => Kind::Outer,
        JoinType::LeftAnti | JoinType::RightAnti => Kind::Anti,
        _ => Kind::Semi,
    };
    let (filter, null_equality) = (join.filter.clone(), join.null_equality);
    let attached = Attached { kind, on, filter, null_equality, is_null_aware: join.null_aware };
    let mut joins = apart(rows, outer).unwrap_or_else(|| relation(rows));
    if !fit(&joins, &relation(among)) {
        joins = relation(rows);
    }
    let looks_at_rows = attached.expressions().any(|expr| !joins.relations(expr).is_empty());
    if !fit(&joins, &relation(among)) || !looks_at_rows {
        return None;
    }
    let added = JoinTree::Leaf(joins.parts.len());
    joins.parts.push(Part { plan: among.clone(), attached: Some(attached) });
    joins.tree = match join.join_type {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::Right => {
            JoinTree::join(added, joins.tree)
        }
        _ => JoinTree::join(joins.tree, added),
    };
    Some(joins)
}

/// A plan as a relation.
fn relation(plan: &LogicalPlan) -> Joins {
    Joins {
        parts: vec![Part { plan: plan.clone(), attached: None }],
        equalities: vec![],
        conditions: vec![],
        tree: JoinTree::Leaf(0),
        are_others: false,
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
    /// The relations whose columns an expression needs.
    pub(super) fn relations(&self, expr: &Expr) -> Relations {
        let mut found = Relations::default();
        for column in expr.column_refs() {
            let has = |part: &Part| part.has_columns() && part.plan.schema().has_column(column);
            found = found
                .union(self.parts.iter().position(has).map(Relations::one).unwrap_or_default());
        }
        found
    }

    /// The one relation whose columns an expression needs, if it is joined.
    pub(super) fn only_relation(&self, expr: &Expr) -> Option<usize> {
        let relations = self.relations(expr);
        let only = relations.iter().next().filter(|_| relations.len() == 1);
        only.filter(|index| self.parts[*index].attached.is_none())
    }

    /// An outer join that adds a column that inner joins have for a key.
    fn outer_join_with_key(&self) -> Option<usize> {
        let is_key = |index: usize| {
            let is_own = |key: &&Expr| {
                matches!(key, Expr::Column(_)) && self.relations(key) == Relations::one(index)
            };
            self.equalities.iter().flat_map(|(left, right)| [left, right]).any(|key| is_own(&key))
        };
        let is_outer = |part: &Part| {
            part.attached.as_ref().is_some_and(|attached| {
                attached.kind == Kind::Outer
                    && attached.null_equality == NullEquality::NullEqualsNothing
            })
        };
        (0..self.parts.len()).find(|index| is_outer(&self.parts[*index]) && is_key(*index))
    }

    fn make_inner(&mut self, index: usize) {
        if let Some(Attached { on, filter, .. }) = self.parts[index].attached.take() {
            self.equalities.extend(on);
            self.conditions.extend(filter.iter().flat_map(split_conjunction).cloned());
            self.are_others = true;
        }
    }

    /// Whether inner joins have a key that an outer join adds.
    fn has_keys_of_outer_joins(&self) -> bool {
        let outer = self.parts.iter().enumerate().filter(|(_, part)| part.attached.is_some());
        let outer: Relations = outer.map(|(index, _)| index).collect();
        let mut keys = self.equalities.iter().flat_map(|(left, right)| [left, right]);
        keys.any(|key| self.relations(key).intersects(outer))
    }

    /// The relations that one is attached to.
    pub(super) fn needs(&self, index: usize) -> Relations {
        let attached = self.parts[index].attached.iter();
        let expressions = attached.flat_map(Attached::expressions);
        let needs = expressions.map(|expr| self.relations(expr));
        needs.fold(Relations::default(), Relations::union).without(Relations::one(index))
    }

    /// The same with all that those among them which are attached are attached to.
    pub(super) fn with_needs(&self, mut relations: Relations) -> Relations {
        loop {
            let needs = relations.iter().map(|index| self.needs(index));
            let all = needs.fold(relations, Relations::union);
            if all == relations {
                return all;
            }
            relations = all;
        }
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
