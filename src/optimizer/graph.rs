//! The join graph: relations, what makes them joined, and how many rows a join of any of them has.
//! Pure.
//!
//! The estimate of a set of relations depends on the set alone, not on the order in which it is
//! joined; otherwise a search would prefer the orders whose estimates err most. Keys that joins make
//! equal form a class, and joining one more relation by a class keeps one row in as many as the
//! class has values: the *domain* of the class.
//!
//! Semi, anti and outer joins are part of the graph: what they look into is a relation, too, which keeps
//! a fraction of the rows, of an outer join one or more, and can be joined once all that it looks at is
//! there.

/// Values of which nothing is known are thought to be the number of rows to this power.
const GUESSED: f64 = 0.75;

/// Relations of one graph, by their indexes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Relations(u64);

impl Relations {
    /// How many relations a graph can have.
    pub(super) const MAX: usize = u64::BITS as usize;

    pub(super) fn one(index: usize) -> Self {
        Self(1 << index)
    }

    pub(super) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let first = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(first)
        })
    }
}

impl FromIterator<usize> for Relations {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        indexes.into_iter().map(Self::one).fold(Self::default(), Self::union)
    }
}

/// One input of the joins.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    /// How many rows it gives.
    pub(super) rows: f64,
    /// How many it would give without its own filters.
    pub(super) unfiltered: f64,
    pub(super) role: Role,
}

/// What a relation is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Role {
    /// Its columns are in the result.
    Joined,
    /// It is looked into for a match: by a semi or anti join, which keep rows or drop them, or by an
    /// outer join.
    Filtering {
        /// The relations whose columns decide.
        needs: Relations,
        /// The fraction of the rows that is kept; more than one if they have several matches.
        keeps: f64,
        /// Whether there is no key to hash, so that every pair of rows is looked at.
        is_keyless: bool,
        /// Whether the rows that are filtered must be the side that is hashed.
        hashes_filtered: bool,
        /// Whether rows without a match are dropped, so that those of others need not be read.
        drops_others: bool,
    },
}

/// One key of a relation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) relation: usize,
    /// How many values it has in its table.
    pub(super) distinct: f64,
    pub(super) basis: Basis,
    /// The fraction of these that filters on the key leave.
    pub(super) kept: f64,
}

/// Where a number of distinct values comes from, the least reliable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Basis {
    /// There are not more values than rows.
    Rows,
    /// There are not more values than the range between the bounds holds.
    Range,
    /// The values were counted.
    Counted,
}

/// A condition on several relations that is no equality of two.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) needs: Relations,
    /// The fraction of the rows that is kept.
    pub(super) keeps: f64,
}

/// Relations and what joins them.
#[derive(Debug, Clone, Default)]
pub(super) struct JoinGraph {
    pub(super) relations: Vec<Relation>,
    /// Those that are joined, the largest first.
    by_size: Vec<usize>,
    /// By relation: those that classes link with it.
    linked: Vec<Relations>,
    classes: Vec<Class>,
    conditions: Vec<Condition>,
}

/// Keys that the joins make equal.
#[derive(Debug, Clone)]
struct Class {
    of: Relations,
    /// Those that seem to have each value once: there are as many as rows.
    unique: Relations,
    /// How many values it has.
    domain: f64,
    /// How many it has without filters.
    values: f64,
    /// Whether that is no more than a guess.
    is_guessed: bool,
}

impl JoinGraph {
    pub(super) fn new(
        relations: Vec<Relation>,
        classes: &[Vec<Key>],
        conditions: Vec<Condition>,
    ) -> Self {
        // A sketch is off by a few percent.
        let is_unique = |key: &&Key| {
            let rows = relations[key.relation].unfiltered;
            key.basis > Basis::Rows && key.distinct >= 0.9 * rows
        };
        let class = |keys: &Vec<Key>| Class {
            of: keys.iter().map(|key| key.relation).collect(),
            unique: keys.iter().filter(is_unique).map(|key| key.relation).collect(),
            domain: domain(keys),
            values: unfiltered_domain(keys),
            is_guessed: best_basis(keys) == Basis::Rows,
        };
        let classes: Vec<Class> = classes.iter().map(class).collect();
        let linked = |index: usize| {
            let own = Relations::one(index);
            let with = classes.iter().filter(|class| class.of.contains(own));
            with.map(|class| class.of).fold(Relations::default(), Relations::union).without(own)
        };
        let linked = (0..relations.len()).map(linked).collect();
        let joined = |index: &usize| relations[*index].role == Role::Joined;
        let mut by_size: Vec<usize> = (0..relations.len()).filter(joined).collect();
        let size = |index: usize| relations[index].unfiltered;
        by_size.sort_by(|&a, &b| size(b).total_cmp(&size(a)).then(a.cmp(&b)));
        Self { relations, by_size, linked, classes, conditions }
    }

    /// How many rows a join of `set` has. The largest relation comes first: it tends to hold the
    /// facts, and each of the others then adds its columns to them.
    pub(super) fn rows(&self, set: Relations) -> f64 {
        let in_set = |index: &usize| set.contains(Relations::one(*index));
        let mut left: Vec<usize> = self.by_size.iter().copied().filter(in_set).collect();
        let mut rows = 1.0;
        let mut joined = Relations::default();
        while !left.is_empty() {
            let next = left.iter().position(|&index| self.linked[index].intersects(joined));
            let next = left.remove(next.unwrap_or(0));
            rows *= self.relations[next].rows * self.fraction(joined, next);
            joined = joined.union(Relations::one(next));
        }
        for condition in self.conditions.iter().filter(|c| set.contains(c.needs)) {
            rows *= condition.keeps;
        }
        for index in set.iter() {
            if let Role::Filtering { keeps, .. } = self.relations[index].role {
                rows *= keeps;
            }
        }
        rows.max(1.0)
    }

    /// How many rows of the relations of `probing` a filter can spare that has the keys of `hashed`,
    /// of which there are so many rows. Such a filter is known before the first row of `probing` is
    /// read, and where rows are stored in the order of the key, few are read.
    pub(super) fn spared(&self, hashed: Relations, n_hashed: f64, probing: Relations) -> f64 {
        let rows =
            |of: Relations| -> f64 { of.iter().map(|index| self.relations[index].rows).sum() };
        let alone = hashed.iter().next().filter(|_| hashed.len() == 1);
        match alone.map(|index| &self.relations[index].role) {
            Some(Role::Filtering {
                needs, keeps, is_keyless: false, drops_others: true, ..
            }) => (1.0 - keeps) * rows(*needs),
            Some(Role::Filtering { .. }) => 0.0,
            _ => {
                let links =
                    |class: &&Class| class.of.intersects(hashed) && class.of.intersects(probing);
                let spared = |class: &Class| {
                    let found = (n_hashed / class.values).min(1.0);
                    (1.0 - found) * rows(class.of.common(probing))
                };
                self.classes.iter().filter(links).map(spared).sum()
            }
        }
    }

    /// Whether a class has keys of both.
    pub(super) fn are_linked(&self, a: Relations, b: Relations) -> bool {
        a.iter().any(|index| self.linked[index].intersects(b))
    }

    /// The relations that classes link with `index`.
    pub(super) fn neighbours(&self, index: usize) -> Relations {
        self.linked[index]
    }

    /// The fraction of all pairs of a joined row and a row of `next` that match.
    fn fraction(&self, joined: Relations, next: usize) -> f64 {
        let own = Relations::one(next);
        let links = |class: &&Class| class.of.contains(own) && class.of.intersects(joined);
        let mut open: Vec<&Class> = self.classes.iter().filter(links).collect();
        let is_unique = open.iter().any(|class| class.unique.contains(own));
        let mut fraction = 1.0;
        if let [only] = open.as_slice() {
            fraction /= only.domain;
            open.clear();
        }
        while !open.is_empty() {
            // The keys with one other relation are a key together; so few other relations are best.
            let with =
                |other: usize| move |class: &&&Class| class.of.contains(Relations::one(other));
            let shared = |other: usize| open.iter().filter(with(other)).count();
            let other = joined.iter().max_by_key(|&other| (shared(other), usize::MAX - other));
            let Some(other) = other else { break };
            let together = open.iter().filter(with(other)).copied();
            fraction /= self.values(together, other, next);
            open.retain(|class| !class.of.contains(Relations::one(other)));
        }
        // Each row has at most one match then.
        let most = if is_unique { 1.0 / self.relations[next].rows.max(1.0) } else { 1.0 };
        f64::min(fraction, most)
    }

    /// How many values keys between two relations have together. Guesses are not multiplied: columns of
    /// which nothing is known may well depend on each other.
    fn values<'a>(&self, together: impl Iterator<Item = &'a Class>, a: usize, b: usize) -> f64 {
        let (mut n_keys, mut known, mut guessed) = (0, 1.0, 1.0_f64);
        for class in together {
            n_keys += 1;
            match class.is_guessed {
                true => guessed = guessed.max(class.domain),
                false => known *= class.domain,
            }
        }
        let product = known * guessed;
        if n_keys <= 1 {
            return product;
        }
        // One of both has hardly more rows than there are values, but not which one is known; what
        // is between them is at most the square root of the truth away.
        let (a, b) = (self.relations[a].unfiltered, self.relations[b].unfiltered);
        f64::min(product, (a * b).sqrt()).max(1.0)
    }
}

/// How many values a class of keys has: those of its key that filters leave the most of.
pub(super) fn domain(class: &[Key]) -> f64 {
    let kept = class.iter().map(|key| key.kept).fold(0.0, f64::max);
    (kept * unfiltered_domain(class)).clamp(1.0, f64::MAX)
}

/// How many values a class of keys has without filters. Counted ones tell: the key with the most has
/// them all. Others are upper bounds, and one that is too high comes from a foreign key, whose values
/// are those of the key it refers to: the lowest is nearest. Of text not even bounds tell, so it is
/// guessed between a value in each row and the few that a label has: to take labels for keys costs much
/// more than the other way round.
pub(super) fn unfiltered_domain(class: &[Key]) -> f64 {
    let best = best_basis(class);
    let distinct = class.iter().filter(|key| key.basis == best).map(|key| key.distinct);
    match best {
        Basis::Counted => distinct.fold(1.0, f64::max),
        Basis::Range => distinct.fold(f64::INFINITY, f64::min),
        Basis::Rows => distinct.fold(f64::INFINITY, f64::min).powf(GUESSED),
    }
}

fn best_basis(class: &[Key]) -> Basis {
    class.iter().map(|key| key.basis).max().unwrap_or(Basis::Rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(rows: f64, unfiltered: f64) -> Relation {
        Relation { rows, unfiltered, role: Role::Joined }
    }

    fn key(relation: usize, distinct: f64, basis: Basis) -> Key {
        Key { relation, distinct, basis, kept: 1.0 }
    }

    #[test]
    fn a_foreign_key_finds_one_row_each() {
        // The key of orders has gaps: its range is four times as long as lineitem is.
        let relations = vec![relation(6e6, 6e6), relation(1.5e6, 1.5e6)];
        let class = vec![key(0, 6e6, Basis::Range), key(1, 1.5e6, Basis::Range)];
        let graph = JoinGraph::new(relations, &[class], vec![]);
        assert_eq!(graph.rows([0, 1].into_iter().collect()), 6e6);
    }

    #[test]
    fn a_filter_on_a_key_is_passed_on() {
        let relations = vec![relation(1.4e6, 1.4e6), relation(366.0, 73_000.0)];
        let class = vec![key(0, 1_800.0, Basis::Range), key(1, 73_000.0, Basis::Range)];
        let graph = JoinGraph::new(relations, &[class], vec![]);
        let rows = graph.rows([0, 1].into_iter().collect());
        assert!((200_000.0..400_000.0).contains(&rows), "{rows}");
    }

    #[test]
    fn a_filter_on_the_key_itself_finds_its_part() {
        let rows_of = |a: Key, a_rows: f64, b: Key, b_rows: f64| {
            let relations = vec![relation(a_rows, 20_000.0), relation(b_rows, 10_000.0)];
            JoinGraph::new(relations, &[vec![a, b]], vec![]).rows([0, 1].into_iter().collect())
        };
        let whole = |relation| key(relation, 10_000.0, Basis::Range);
        let part = |relation| Key { kept: 0.001, ..whole(relation) };
        assert_eq!(rows_of(whole(0), 20_000.0, part(1), 10.0), 20.0);
        assert_eq!(rows_of(part(0), 20.0, part(1), 10.0), 20.0);
    }

    #[test]
    fn two_keys_between_two_relations_are_one() {
        let relations = vec![relation(6e6, 6e6), relation(8e5, 8e5)];
        let classes = [
            vec![key(0, 2e5, Basis::Range), key(1, 2e5, Basis::Range)],
            vec![key(0, 1e4, Basis::Range), key(1, 1e4, Basis::Range)],
        ];
        let graph = JoinGraph::new(relations, &classes, vec![]);
        let rows = graph.rows([0, 1].into_iter().collect());
        assert!((8e5..=6e6).contains(&rows), "{rows}");
    }

    #[test]
    fn a_filtering_relation_adds_no_rows() {
        let needs = Relations::one(0);
        let role = Role::Filtering {
            needs,
            keeps: 0.1,
            is_keyless: false,
            hashes_filtered: false,
            drops_others: true,
        };
        let relations = vec![relation(1000.0, 1000.0), Relation { role, ..relation(5e6, 5e6) }];
        let graph = JoinGraph::new(relations, &[], vec![]);
        assert_eq!(graph.rows([0, 1].into_iter().collect()), 100.0);
    }

    #[test]
    fn counted_values_go_before_guesses() {
        let counted = key(0, 400.0, Basis::Counted);
        assert_eq!(domain(&[counted, key(1, 50.0, Basis::Range)]), 400.0);
        assert_eq!(domain(&[counted, key(1, 500.0, Basis::Counted)]), 500.0);
        assert_eq!(domain(&[key(0, 30.0, Basis::Rows), key(1, 50.0, Basis::Range)]), 50.0);
    }
}
