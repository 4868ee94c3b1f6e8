//! Orders for the shapes of TPC-H's and TPC-DS' queries, with the cardinalities of scale 1.

use super::super::graph::{Basis, Condition, Key, Relation};
use super::*;

/// A graph by names.
#[derive(Default)]
struct Named {
    names: Vec<&'static str>,
    relations: Vec<Relation>,
    classes: Vec<Vec<Key>>,
    conditions: Vec<Condition>,
}

impl Named {
    /// A table with its rows after and before its filters.
    fn table(mut self, name: &'static str, rows: f64, unfiltered: f64) -> Self {
        self.names.push(name);
        self.relations.push(Relation { rows, unfiltered, role: Role::Joined });
        self
    }

    /// What a semi join on the columns of one table looks into.
    fn semi(mut self, name: &'static str, rows: f64, on: &str, keeps: f64) -> Self {
        let needs = Relations::one(self.index(on));
        let role = Role::Filtering {
            needs,
            keeps,
            is_keyless: false,
            hashes_filtered: false,
            drops_others: true,
        };
        self.names.push(name);
        self.relations.push(Relation { rows, unfiltered: rows, role });
        self
    }

    /// Columns that are equal: of each table, with how many values.
    fn equal(mut self, keys: &[(&str, f64)]) -> Self {
        let key = |(name, distinct): &(&str, f64)| Key {
            relation: self.index(name),
            distinct: *distinct,
            basis: Basis::Range,
            kept: 1.0,
        };
        let class = keys.iter().map(key).collect();
        self.classes.push(class);
        self
    }

    fn condition(mut self, on: &[&str], keeps: f64) -> Self {
        let needs = on.iter().map(|name| self.index(name)).collect();
        self.conditions.push(Condition { needs, keeps });
        self
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|other| *other == name).unwrap()
    }

    fn graph(&self) -> JoinGraph {
        JoinGraph::new(self.relations.clone(), &self.classes, self.conditions.clone())
    }

    /// The best order: `(hashed probing)`.
    fn best(&self) -> String {
        self.show(&best(&self.graph()))
    }

    /// What it costs, in parts of what the order as written does.
    fn gain(&self) -> f64 {
        let graph = self.graph();
        cost(&graph, &best(&graph)) / cost(&graph, &as_written(self.names.len()))
    }

    fn show(&self, tree: &JoinTree) -> String {
        match tree {
            JoinTree::Leaf(index) => self.names[*index].to_owned(),
            JoinTree::Join(hashed, probing) => {
                format!("({} {})", self.show(hashed), self.show(probing))
            }
        }
    }
}

/// The order of a chain of names as it is written: each table is hashed for what comes before.
fn as_written(n_relations: usize) -> JoinTree {
    (1..n_relations)
        .fold(JoinTree::Leaf(0), |tree, index| JoinTree::join(tree, JoinTree::Leaf(index)))
}

#[test]
fn the_smaller_side_is_hashed() {
    let two = |a: f64, b: f64| {
        let named = Named::default().table("a", a, a).table("b", b, b);
        named.equal(&[("a", a), ("b", b)]).best()
    };
    assert_eq!(two(10.0, 1000.0), "(a b)");
    assert_eq!(two(1000.0, 10.0), "(b a)");
    // Equal ones stay as they are written.
    assert_eq!(two(10.0, 10.0), "(a b)");
}

#[test]
fn a_semi_join_runs_before_a_large_join() {
    // q18: few orders are large, and only their lines are needed.
    let q18 = Named::default()
        .table("customer", 150e3, 150e3)
        .table("orders", 1.5e6, 1.5e6)
        .table("lineitem", 6e6, 6e6)
        .equal(&[("customer", 150e3), ("orders", 150e3)])
        .equal(&[("orders", 1.5e6), ("lineitem", 6e6)])
        .semi("large", 60.0, "orders", 0.00004);
    assert_eq!(q18.best(), "(((large orders) customer) lineitem)");
}

#[test]
fn a_semi_join_that_keeps_all_waits_until_few_rows_are_left() {
    // q21: nearly every order has another supplier; of one nation there are few.
    let q21 = Named::default()
        .table("supplier", 10e3, 10e3)
        .table("lineitem", 2e6, 6e6)
        .table("orders", 500e3, 1.5e6)
        .table("nation", 1.0, 25.0)
        .equal(&[("supplier", 10e3), ("lineitem", 10e3)])
        .equal(&[("orders", 1.5e6), ("lineitem", 6e6)])
        .equal(&[("supplier", 25.0), ("nation", 25.0)])
        .semi("others", 6e6, "lineitem", 1.0);
    assert_eq!(q21.best(), "((((nation supplier) lineitem) orders) others)");
}

#[test]
fn small_dimensions_are_joined_with_each_other_first() {
    // q05: customers of the same nation as their supplier, in one region.
    let q05 = Named::default()
        .table("customer", 150e3, 150e3)
        .table("orders", 228e3, 1.5e6)
        .table("lineitem", 6e6, 6e6)
        .table("supplier", 10e3, 10e3)
        .table("nation", 25.0, 25.0)
        .table("region", 1.0, 5.0)
        .equal(&[("customer", 150e3), ("orders", 150e3)])
        .equal(&[("orders", 1.5e6), ("lineitem", 6e6)])
        .equal(&[("supplier", 10e3), ("lineitem", 10e3)])
        .equal(&[("customer", 25.0), ("supplier", 25.0), ("nation", 25.0)])
        .equal(&[("nation", 5.0), ("region", 5.0)]);
    let best = q05.best();
    assert!(best.contains("((region nation) customer) orders)"), "{best}");
    assert!(q05.gain() < 0.9);
}

#[test]
fn two_filtered_branches_meet_in_a_bushy_tree() {
    // TPC-DS q72: sales and stock share only the item, and weeks that come from their dates.
    let q72 = Named::default()
        .table("sales", 1.4e6, 1.4e6)
        .table("inventory", 11.7e6, 11.7e6)
        .table("item", 18e3, 18e3)
        .table("sold", 365.0, 73e3)
        .table("stocked", 73e3, 73e3)
        .table("household", 1_440.0, 7_200.0)
        .equal(&[("sales", 18e3), ("inventory", 18e3), ("item", 18e3)])
        .equal(&[("sales", 1_837.0), ("sold", 73e3)])
        .equal(&[("inventory", 1_821.0), ("stocked", 73e3)])
        .equal(&[("sold", 10_436.0), ("stocked", 10_436.0)])
        .equal(&[("sales", 7_200.0), ("household", 7_200.0)])
        .condition(&["sales", "inventory"], 0.5);
    let best = q72.best();
    assert!(!best.contains("(sales inventory)"), "{best}");
    assert!(q72.gain() < 0.1);
}

#[test]
fn keys_that_spare_rows_of_a_large_table_are_hashed() {
    // Of q37 of TPC-DS: to hash the joined rows is a little cheaper, but then all of them are read.
    let q37 = Named::default()
        .table("item", 2.0, 18_000.0)
        .table("inventory", 4.5e6, 11.7e6)
        .table("date", 600.0, 73_049.0)
        .equal(&[("inventory", 18_000.0), ("item", 18_000.0)])
        .equal(&[("inventory", 1_820.0), ("date", 1_820.0)]);
    assert_eq!(q37.best(), "(date (item inventory))");
}

#[test]
fn what_nothing_links_is_crossed_last() {
    let named = Named::default()
        .table("a", 1000.0, 1000.0)
        .table("b", 3.0, 3.0)
        .table("c", 100.0, 100.0)
        .equal(&[("a", 1000.0), ("c", 1000.0)]);
    assert_eq!(named.best(), "(b (c a))");
}

#[test]
fn a_semi_join_on_two_unlinked_tables_comes_after_their_product() {
    let mut named = Named::default().table("a", 10.0, 10.0).table("b", 20.0, 20.0);
    named = named.semi("s", 1000.0, "a", 0.5);
    let both = [0, 1].into_iter().collect();
    if let Role::Filtering { needs, .. } = &mut named.relations[2].role {
        *needs = both;
    }
    assert_eq!(named.best(), "((a b) s)");
}

#[test]
fn the_filtered_side_of_not_in_is_hashed() {
    let mut named = Named::default().table("a", 1e6, 1e6).semi("s", 10.0, "a", 0.5);
    assert_eq!(named.best(), "(s a)");
    if let Role::Filtering { hashes_filtered, .. } = &mut named.relations[1].role {
        *hashes_filtered = true;
    }
    assert_eq!(named.best(), "(a s)");
}

#[test]
fn many_relations_are_ordered_greedily() {
    // A fact table and 30 dimensions, the last of which is filtered the most.
    let names: Vec<&'static str> =
        (0..30).map(|i| &*Box::leak(format!("d{i:02}").into_boxed_str())).collect();
    let mut named = Named::default().table("facts", 1e7, 1e7);
    for (i, name) in names.iter().enumerate() {
        let rows = if i == 29 { 10.0 } else { 1000.0 };
        named = named.table(name, rows, 1000.0).equal(&[("facts", 1000.0), (name, 1000.0)]);
    }
    let best = named.best();
    assert!(best.contains("(d29 facts)"), "{best}");
    let tree = super::best(&named.graph());
    assert_eq!(tree.relations(), (0..31).collect());
}
