//! The cheapest tree of joins for a graph. Pure.
//!
//! A hash join reads one side into a table and probes it with the other; [`JoinTree::Join`] has the
//! side that is hashed first. Every join costs the rows it hashes (twice: they are also kept),
//! probes and gives, less a little for rows that need not be read because their keys are not among
//! those that are hashed. Up to [`EXHAUSTIVE`] relations all trees are compared, bushy ones included, by
//! dynamic programming over their subsets; more are joined greedily, the smallest result first.
//! Relations that nothing links become cross products, as late as possible.

use std::collections::HashMap;

use super::graph::{JoinGraph, Relations, Role};

/// So many relations are joined in the best of all orders.
const EXHAUSTIVE: usize = 12;

/// A row that is hashed costs so many that are probed.
const HASHING: f64 = 2.0;

/// What not reading a row is worth, times how likely it is that there is no row to be read near it.
const SPARED: f64 = 0.05;

/// An order of joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JoinTree {
    /// A relation, by its index.
    Leaf(usize),
    /// A join: the side that is hashed, and the one that probes.
    Join(Box<JoinTree>, Box<JoinTree>),
}

impl JoinTree {
    pub(super) fn join(hashed: Self, probing: Self) -> Self {
        Self::Join(Box::new(hashed), Box::new(probing))
    }

    pub(super) fn relations(&self) -> Relations {
        match self {
            Self::Leaf(index) => Relations::one(*index),
            Self::Join(hashed, probing) => hashed.relations().union(probing.relations()),
        }
    }

    /// The same with every index raised.
    pub(super) fn shifted(self, by: usize) -> Self {
        match self {
            Self::Leaf(index) => Self::Leaf(index + by),
            Self::Join(hashed, probing) => Self::join(hashed.shifted(by), probing.shifted(by)),
        }
    }
}

/// What the joins of a tree cost.
pub(super) fn cost(graph: &JoinGraph, tree: &JoinTree) -> f64 {
    match tree {
        JoinTree::Leaf(_) => 0.0,
        JoinTree::Join(hashed, probing) => {
            let (left, right) = (Side::of(graph, hashed), Side::of(graph, probing));
            let rows = graph.rows(left.set.union(right.set));
            let own = join_cost(graph, &left, &right, rows);
            own + cost(graph, hashed) + cost(graph, probing)
        }
    }
}

/// The cheapest tree there is, or one not far from it.
pub(super) fn best(graph: &JoinGraph) -> JoinTree {
    let (components, late) = components(graph);
    let mut sides: Vec<Side> = components
        .into_iter()
        .map(|component| match component.len() {
            1..=EXHAUSTIVE => exhaustive(graph, &component),
            _ => greedy(graph, component.iter().map(|index| Side::leaf(graph, *index)).collect()),
        })
        .collect();
    sides.extend(late.into_iter().map(|index| Side::leaf(graph, index)));
    greedy(graph, sides).tree
}

/// A part of the tree.
#[derive(Debug, Clone)]
struct Side {
    set: Relations,
    rows: f64,
    /// Of all its joins.
    cost: f64,
    tree: JoinTree,
}

impl Side {
    fn leaf(graph: &JoinGraph, index: usize) -> Self {
        let rows = graph.relations[index].rows;
        Self { set: Relations::one(index), rows, cost: 0.0, tree: JoinTree::Leaf(index) }
    }

    fn of(graph: &JoinGraph, tree: &JoinTree) -> Self {
        match tree {
            JoinTree::Leaf(index) => Self::leaf(graph, *index),
            tree => {
                let set = tree.relations();
                Self { set, rows: graph.rows(set), cost: 0.0, tree: tree.clone() }
            }
        }
    }

    /// The relation that filters, if this is one alone.
    fn filtering<'a>(&self, graph: &'a JoinGraph) -> Option<&'a Role> {
        let index = self.set.iter().next().filter(|_| self.set.len() == 1)?;
        let role = &graph.relations[index].role;
        (*role != Role::Joined).then_some(role)
    }
}

/// Whether two sides can be joined, and whether something links them.
fn link(graph: &JoinGraph, a: &Side, b: &Side) -> Option<bool> {
    match (a.filtering(graph), b.filtering(graph)) {
        (Some(_), Some(_)) => None,
        (Some(Role::Filtering { needs, .. }), None) => b.set.contains(*needs).then_some(true),
        (None, Some(Role::Filtering { needs, .. })) => a.set.contains(*needs).then_some(true),
        _ => Some(graph.are_linked(a.set, b.set)),
    }
}

/// The cost of one join with `hashed` read into the table; infinite if it must be the other one.
fn join_cost(graph: &JoinGraph, hashed: &Side, probing: &Side, rows: f64) -> f64 {
    let (is_nested, is_barred) = match (hashed.filtering(graph), probing.filtering(graph)) {
        (Some(Role::Filtering { is_keyless, hashes_filtered, .. }), _) => {
            (*is_keyless, *hashes_filtered)
        }
        (_, Some(Role::Filtering { is_keyless, .. })) => (*is_keyless, false),
        _ => (!graph.are_linked(hashed.set, probing.set), false),
    };
    let pairs = if is_nested { hashed.rows * probing.rows } else { 0.0 };
    match is_barred {
        true => f64::INFINITY,
        false => {
            let spared = graph.spared(hashed.set, hashed.rows, probing.set);
            HASHING * hashed.rows + probing.rows + rows + pairs - SPARED * spared
        }
    }
}

/// Both sides joined, the cheaper way round.
fn joined(graph: &JoinGraph, a: &Side, b: &Side, rows: f64) -> Side {
    let (forth, back) = (join_cost(graph, a, b, rows), join_cost(graph, b, a, rows));
    let (own, hashed, probing) = if back < forth { (back, b, a) } else { (forth, a, b) };
    Side {
        set: a.set.union(b.set),
        rows,
        cost: own + a.cost + b.cost,
        tree: JoinTree::join(hashed.tree.clone(), probing.tree.clone()),
    }
}

/// The relations that equalities link, with those that filter one such group, and the filtering ones
/// that need several groups.
fn components(graph: &JoinGraph) -> (Vec<Vec<usize>>, Vec<usize>) {
    let mut open: Relations = (0..graph.relations.len())
        .filter(|&index| graph.relations[index].role == Role::Joined)
        .collect();
    let mut components = vec![];
    while let Some(first) = open.iter().next() {
        let mut component = Relations::one(first);
        loop {
            let near = component.iter().map(|index| graph.neighbours(index));
            let grown = near.fold(component, Relations::union);
            if grown == component {
                break;
            }
            component = grown;
        }
        open = open.without(component);
        components.push(component);
    }
    let mut late = vec![];
    for (index, relation) in graph.relations.iter().enumerate() {
        if let Role::Filtering { needs, .. } = relation.role {
            match components.iter_mut().find(|component| component.contains(needs)) {
                Some(component) => *component = component.union(Relations::one(index)),
                None => late.push(index),
            }
        }
    }
    (components.into_iter().map(|component| component.iter().collect()).collect(), late)
}

/// The cheapest tree of a few linked relations: the best of each subset from the best of the two
/// parts it can be made of.
fn exhaustive(graph: &JoinGraph, members: &[usize]) -> Side {
    let n_sets = 1usize << members.len();
    let mut table: Vec<Option<Side>> = vec![None; n_sets];
    for (position, &index) in members.iter().enumerate() {
        table[1 << position] = Some(Side::leaf(graph, index));
    }
    for set in 1..n_sets {
        if !set.is_power_of_two() {
            table[set] = best_split(graph, &table, set);
        }
    }
    match table.pop().flatten() {
        Some(side) => side,
        // Its relations are linked, so this is not reached; any tree is right.
        None => greedy(graph, members.iter().map(|index| Side::leaf(graph, *index)).collect()),
    }
}

fn best_split(graph: &JoinGraph, table: &[Option<Side>], set: usize) -> Option<Side> {
    let mut best: Option<(f64, &Side, &Side)> = None;
    let mut rows = None;
    // The part with the lowest member stands for both parts.
    let lowest = set & set.wrapping_neg();
    let mut part = (set - 1) & set;
    while part > 0 {
        if part & lowest != 0
            && let (Some(a), Some(b)) = (&table[part], &table[set ^ part])
            && link(graph, a, b) == Some(true)
        {
            let rows = *rows.get_or_insert_with(|| graph.rows(a.set.union(b.set)));
            let own = join_cost(graph, a, b, rows).min(join_cost(graph, b, a, rows));
            let cost = own + a.cost + b.cost;
            if best.is_none_or(|(least, ..)| cost < least) {
                best = Some((cost, a, b));
            }
        }
        part = (part - 1) & set;
    }
    let (_, a, b) = best?;
    Some(joined(graph, a, b, rows.unwrap_or(1.0)))
}

/// Joins the two sides with the smallest result until one is left; linked ones first.
fn greedy(graph: &JoinGraph, mut sides: Vec<Side>) -> Side {
    let mut known: HashMap<Relations, f64> = HashMap::new();
    while sides.len() > 1 {
        let mut best: Option<(bool, f64, f64, usize, usize)> = None;
        for (i, a) in sides.iter().enumerate() {
            for (j, b) in sides.iter().enumerate().skip(i + 1) {
                let Some(is_linked) = link(graph, a, b) else { continue };
                let set = a.set.union(b.set);
                let rows = *known.entry(set).or_insert_with(|| graph.rows(set));
                let cost = join_cost(graph, a, b, rows).min(join_cost(graph, b, a, rows));
                let is_better = best.is_none_or(|(linked, least, cheapest, ..)| {
                    (!is_linked, rows, cost) < (!linked, least, cheapest)
                });
                if is_better {
                    best = Some((is_linked, rows, cost, i, j));
                }
            }
        }
        // There is always a pair: at least one side is not filtering, and with all of these joined
        // every filtering one has what it needs.
        let Some((_, rows, _, i, j)) = best else { break };
        let b = sides.remove(j);
        let a = std::mem::replace(&mut sides[i], b);
        sides[i] = joined(graph, &a, &sides[i], rows);
    }
    sides.swap_remove(0)
}

#[cfg(test)]
mod tests;
