//! Joins put together again: as a graph to search, and from the tree that was found.
//!
//! Each condition goes where all that it needs first comes together. Keys that are equal to each other
//! by way of others form a class; one pair of each class joins two sides that both have keys of it,
//! and that is enough: within a side they are equal already. Floating-point keys stay the pairs they
//! were written as. Conditions on what an outer join adds come behind it.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::{can_hash, conjunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, Join, JoinConstraint, LogicalPlan, Projection,
};

use super::collect::{Attached, Joins, Kind, Part};
use super::estimate::{ColumnEstimate, Estimate, estimate, matched, values};
use super::graph::{Condition, JoinGraph, Key, Relation, Relations, Role};
use super::search::JoinTree;
use super::selectivity::BETWEEN_COLUMNS;

/// The fraction of rows that an equality of more than two relations keeps.
const OF_SEVERAL: f64 = 0.01;
/// An anti join keeps at least this fraction: that nothing is left is a guess too far.
const ANTI: f64 = 0.1;

/// Joins with what is known of them.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) joins: Joins,
    pub(super) graph: JoinGraph,
    pub(super) estimates: Vec<Estimate>,
    /// Equal keys, each of one relation.
    pub(super) classes: Vec<Vec<(usize, Expr)>>,
    /// All other conditions.
    terms: Vec<Term>,
}

#[derive(Debug)]
struct Term {
    needs: Relations,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Both sides are equal, and with their relations on different sides of a join they are its keys.
    Equal(Expr, Expr),
    /// Anything.
    True(Expr),
}

impl Term {
    fn into_expr(what: &What) -> Expr {
        match what {
            What::Equal(left, right) => left.clone().eq(right.clone()),
            What::True(expr) => expr.clone(),
        }
    }
}

impl Model {
    pub(super) fn new(mut joins: Joins) -> Self {
        joins.find_equalities();
        let estimates: Vec<Estimate> =
            joins.parts.iter().map(|part| estimate(&part.plan)).collect();
        let (classes, pairs) = classes(&joins);
        let conditions = joins.conditions.iter().map(|expr| What::True(expr.clone()));
        let terms = pairs.into_iter().map(|(l, r)| What::Equal(l, r)).chain(conditions);
        let terms = terms.map(|what| {
            let needs = joins.with_needs(needs(&joins, &what));
            Term { needs, what }
        });
        let terms = terms.collect();
        let mut model = Self { joins, graph: JoinGraph::default(), estimates, classes, terms };
        model.graph = model.graph();
        model
    }

    fn graph(&self) -> JoinGraph {
        let relation = |(index, part): (usize, &Part)| {
            let Estimate { rows, unfiltered, .. } = self.estimates[index];
            let attached = part.attached.as_ref();
            let role = attached.map_or(Role::Joined, |attached| self.role(index, attached));
            Relation { rows, unfiltered, role }
        };
        let relations = self.joins.parts.iter().enumerate().map(relation).collect();
        let mut classes: Vec<Vec<Key>> =
            self.classes.iter().map(|class| self.keys(class)).collect();
        let mut conditions = vec![];
        for Term { needs, what } in &self.terms {
            let keeps = match what {
                What::Equal(left, right) => {
                    let key = |expr: &Expr| Some((self.joins.only_relation(expr)?, expr.clone()));
                    if let (Some(left), Some(right)) = (key(left), key(right))
                        && left.0 != right.0
                    {
                        classes.push(self.keys(&[left, right]));
                        continue;
                    }
                    OF_SEVERAL
                }
                What::True(_) => BETWEEN_COLUMNS,
            };
            conditions.push(Condition { needs: *needs, keeps });
        }
        conditions.retain(|condition| condition.needs.len() > 1);
        JoinGraph::new(relations, &classes, conditions)
    }

    pub(super) fn keys(&self, class: &[(usize, Expr)]) -> Vec<Key> {
        let key = |(relation, expr): &(usize, Expr)| self.column(*relation, expr).as_key(*relation);
        class.iter().map(key).collect()
    }

    /// What is thought of a relation's expression.
    pub(super) fn column(&self, relation: usize, expr: &Expr) -> ColumnEstimate {
        self.estimates[relation].expression(self.joins.parts[relation].plan.schema(), expr)
    }

    fn role(&self, index: usize, attached: &Attached) -> Role {
        let needs = self.joins.needs(index);
        let own = |expr: &Expr| match self.joins.only_relation(expr) {
            Some(relation) => self.column(relation, expr),
            None => ColumnEstimate::unknown(f64::MAX),
        };
        let keys = attached.on.iter().map(|(outer, inner)| (own(outer), self.column(index, inner)));
        let keys: Vec<_> = keys.collect();
        let unfiltered = needs.iter().map(|relation| self.estimates[relation].unfiltered);
        let unfiltered = unfiltered.fold(1.0, f64::max);
        let rows = self.estimates[index].rows;
        let matched = || matched(&keys, unfiltered, rows);
        Role::Filtering {
            needs,
            keeps: match attached.kind {
                Kind::Semi => matched(),
                Kind::Anti => (1.0 - matched()).max(ANTI),
                Kind::Outer => (rows / values(&keys, unfiltered)).max(1.0),
            },
            is_keyless: attached.on.is_empty(),
            hashes_filtered: attached.is_null_aware,
            drops_others: attached.kind == Kind::Semi,
        }
    }

    /// A plan with the joins in the order of `tree` that gives the columns of `like`.
    pub(super) fn build(&self, tree: &JoinTree, like: &LogicalPlan) -> Result<LogicalPlan> {
        let (mut plan, _) = self.subtree(tree)?;
        let fixed = self.terms.iter().filter(|term| term.needs.is_empty());
        plan = filtered(plan, fixed.map(|term| Term::into_expr(&term.what)))?;
        let columns = like.schema().columns();
        if plan.schema().columns() != columns {
            let columns = columns.into_iter().map(Expr::Column).collect();
            plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?);
        }
        Ok(plan)
    }

    fn subtree(&self, tree: &JoinTree) -> Result<(LogicalPlan, Relations)> {
        let (hashed, probing) = match tree {
            JoinTree::Leaf(index) => return Ok((self.leaf(*index)?, Relations::one(*index))),
            JoinTree::Join(hashed, probing) => (hashed.as_ref(), probing.as_ref()),
        };
        let ((left, left_set), (right, right_set)) =
            (self.subtree(hashed)?, self.subtree(probing)?);
        let attached = |tree: &JoinTree| match tree {
            JoinTree::Leaf(index) => self.joins.parts[*index].attached.as_ref(),
            JoinTree::Join(..) => None,
        };
        let (left, right) = (Arc::new(left), Arc::new(right));
        let both = left_set.union(right_set);
        let join = match (attached(hashed), attached(probing)) {
            (Some(attached), _) => {
                let on = attached.on.iter().map(|(own, other)| (other.clone(), own.clone()));
                let kind = attached.kind.left_join().swap();
                attach(attached, left, right, on.collect(), kind)?
            }
            (None, Some(attached)) => {
                attach(attached, left, right, attached.on.clone(), attached.kind.left_join())?
            }
            (None, None) => {
                let (on, filter) = self.between(left_set, right_set);
                let (kind, using) = (JoinType::Inner, JoinConstraint::On);
                let nulls = NullEquality::NullEqualsNothing;
                Join::try_new(left, right, on, conjunction(filter), kind, using, nulls, false)?
            }
        };
        let is_outer = matches!(join.join_type, JoinType::Left | JoinType::Right);
        let join = LogicalPlan::Join(join);
        // Other joins have them among their own conditions.
        let later = self.new_terms(left_set, right_set).filter(|_| is_outer);
        Ok((filtered(join, later.map(|term| Term::into_expr(&term.what)))?, both))
    }

    /// What can be asked only of both sides together.
    fn new_terms(&self, left: Relations, right: Relations) -> impl Iterator<Item = &Term> {
        let both = left.union(right);
        let is_new = move |needs: Relations| {
            both.contains(needs) && !left.contains(needs) && !right.contains(needs)
        };
        self.terms.iter().filter(move |term| is_new(term.needs))
    }

    /// A relation with the conditions that concern it alone.
    fn leaf(&self, index: usize) -> Result<LogicalPlan> {
        let part = &self.joins.parts[index];
        let own = Relations::one(index);
        let mut filters = vec![];
        for class in &self.classes {
            let mut keys = class.iter().filter(|(relation, _)| *relation == index);
            if let Some((_, first)) = keys.next() {
                filters.extend(keys.map(|(_, other)| first.clone().eq(other.clone())));
            }
        }
        let terms = self.terms.iter().filter(|term| term.needs == own);
        filters.extend(terms.map(|term| Term::into_expr(&term.what)));
        filtered(part.plan.clone(), filters)
    }

    /// The keys and the other conditions of an inner join of two sides.
    fn between(&self, left: Relations, right: Relations) -> (Vec<(Expr, Expr)>, Vec<Expr>) {
        let mut on = vec![];
        for class in &self.classes {
            let key_of = |side: Relations| {
                let mut keys = class.iter();
                keys.find(|(relation, _)| side.contains(Relations::one(*relation)))
            };
            if let (Some((_, l)), Some((_, r))) = (key_of(left), key_of(right)) {
                on.push((l.clone(), r.clone()));
            }
        }
        let mut filter = vec![];
        for term in self.new_terms(left, right) {
            match &term.what {
                What::Equal(a, b) => match self.sides(a, b, left, right) {
                    Some(pair) => on.push(pair),
                    None => filter.push(Term::into_expr(&term.what)),
                },
                What::True(expr) => filter.push(expr.clone()),
            }
        }
        (on, filter)
    }

    /// Two equal expressions as a pair of keys, if each is of one side and can be hashed.
    fn sides(&self, a: &Expr, b: &Expr, left: Relations, right: Relations) -> Option<(Expr, Expr)> {
        let (of_a, of_b) = (self.joins.relations(a), self.joins.relations(b));
        if of_a.is_empty() || of_b.is_empty() || !self.can_hash(a) || !self.can_hash(b) {
            return None;
        }
        if left.contains(of_a) && right.contains(of_b) {
            return Some((a.clone(), b.clone()));
        }
        (left.contains(of_b) && right.contains(of_a)).then(|| (b.clone(), a.clone()))
    }

    fn can_hash(&self, expr: &Expr) -> bool {
        let relation = self.joins.only_relation(expr);
        let schema = relation.map(|relation| self.joins.parts[relation].plan.schema());
        let data_type = schema.and_then(|schema| expr.get_type(schema).ok());
        data_type.is_some_and(|data_type| can_hash(&data_type))
    }
}

fn needs(joins: &Joins, what: &What) -> Relations {
    match what {
        What::Equal(left, right) => joins.relations(left).union(joins.relations(right)),
        What::True(expr) => joins.relations(expr),
    }
}

/// The equalities as classes, and those that are none.
#[allow(clippy::type_complexity, reason = "two lists of pairs")]
fn classes(joins: &Joins) -> (Vec<Vec<(usize, Expr)>>, Vec<(Expr, Expr)>) {
    let mut classes: Vec<Vec<(usize, Expr)>> = vec![];
    let mut rest = vec![];
    for (left, right) in &joins.equalities {
        let Some((a, b)) = class_keys(joins, left, right) else {
            rest.push((left.clone(), right.clone()));
            continue;
        };
        let (mut merged, others): (Vec<_>, Vec<_>) =
            classes.into_iter().partition(|class| class.contains(&a) || class.contains(&b));
        let mut class: Vec<(usize, Expr)> = merged.drain(..).flatten().collect();
        for key in [a, b] {
            if !class.contains(&key) {
                class.push(key);
            }
        }
        classes = others;
        classes.push(class);
    }
    (classes, rest)
}

/// Both sides of an equality, if what they are equal to is equal to each other.
fn class_keys(joins: &Joins, left: &Expr, right: &Expr) -> Option<((usize, Expr), (usize, Expr))> {
    let key = |expr: &Expr| {
        let relation = joins.only_relation(expr)?;
        let data_type = expr.get_type(joins.parts[relation].plan.schema()).ok()?;
        Some((relation, data_type))
    };
    let ((a, a_type), (b, b_type)) = (key(left)?, key(right)?);
    let is_transitive = |data_type: &DataType| can_hash(data_type) && !data_type.is_floating();
    let is_class = a != b && a_type == b_type && is_transitive(&a_type);
    is_class.then(|| ((a, left.clone()), (b, right.clone())))
}

fn attach(
    attached: &Attached,
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    on: Vec<(Expr, Expr)>,
    kind: JoinType,
) -> Result<Join> {
    let Attached { filter, null_equality, is_null_aware, .. } = attached;
    let using = JoinConstraint::On;
    Join::try_new(left, right, on, filter.clone(), kind, using, *null_equality, *is_null_aware)
}

/// The plan with more filters; one filter over another becomes one.
fn filtered(plan: LogicalPlan, filters: impl IntoIterator<Item = Expr>) -> Result<LogicalPlan> {
    let Some(predicate) = conjunction(filters) else { return Ok(plan) };
    let filter = match plan {
        LogicalPlan::Filter(Filter { predicate: before, input, .. }) => {
            Filter::try_new(before.and(predicate), input)?
        }
        plan => Filter::try_new(predicate, Arc::new(plan))?,
    };
    Ok(LogicalPlan::Filter(filter))
}
