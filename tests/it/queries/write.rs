//! The random queries. All of them are valid SQL that has one answer, whatever the order of its rows.

use fastrand::Rng;

use super::TABLES;

/// Writes one query.
pub(super) struct Writer {
    rng: Rng,
    n_names: usize,
    /// Joins that may still multiply the rows by much.
    wide: usize,
    /// The common table expressions of the query, with the columns `k`, `j` and `v`.
    common: Vec<&'static str>,
}

/// Something in FROM.
#[derive(Clone)]
struct Relation {
    name: String,
    /// Whether it has the columns `s` and `f` besides `k`, `j` and `v`.
    is_whole: bool,
}

impl Writer {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), n_names: 0, wide: 1, common: vec![] }
    }

    pub(super) fn query(&mut self) -> String {
        let common = self.common();
        let n_relations = 2 + self.below(6);
        let (from, relations, mut filters) = self.from(n_relations);
        for _ in 0..self.below(4) {
            let filter = self.filter(&relations, 2);
            filters.push(filter);
        }
        let filter = match filters.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", filters.join(" AND ")),
        };
        let body = match self.below(5) {
            0 => self.plain(&relations, "", &from, &filter),
            1 => self.plain(&relations, "DISTINCT ", &from, &filter),
            2 => {
                let aggregates = self.aggregates(&relations);
                format!("SELECT {aggregates} FROM {from}{filter}")
            }
            3 => self.grouping_sets(&relations, &from, &filter),
            _ => self.groups(&relations, &from, &filter),
        };
        format!("{common}{body}")
    }

    /// WITH, or nothing.
    fn common(&mut self) -> String {
        if self.below(5) < 3 {
            return String::new();
        }
        let (one, other) = (self.table(), self.table());
        let body = match self.below(8) {
            0 => format!("SELECT DISTINCT k, j, v FROM {one}"),
            1 => format!("SELECT k, j, max(v) AS v FROM {one} GROUP BY k, j"),
            2 => format!("SELECT k, j, sum(v) OVER (PARTITION BY k) AS v FROM {one}"),
            3 => format!(
                "SELECT a.k, max(b.j) AS j, sum(a.v) AS v FROM {one} AS a JOIN {other} AS b \
                 ON a.k = b.k GROUP BY a.k"
            ),
            4 | 5 => format!(
                "SELECT k, 1 AS j, max(v) AS v FROM {one} GROUP BY k UNION ALL \
                 SELECT k, 2 AS j, min(v) AS v FROM {other} GROUP BY k"
            ),
            _ => self.grouped(),
        };
        self.common = vec!["c"];
        if self.one_in(4) {
            self.common.push("d");
            let filter = if self.one_in(2) { " WHERE j > 1" } else { "" };
            let other = format!("SELECT k, min(j) AS j, sum(v) AS v FROM c{filter} GROUP BY k");
            return format!("WITH c AS ({body}), d AS ({other}) ");
        }
        format!("WITH c AS ({body}) ")
    }

    fn plain(&mut self, relations: &[Relation], how: &str, from: &str, filter: &str) -> String {
        let columns: Vec<String> =
            (0..1 + self.below(4)).map(|n| format!("{} AS c{n}", self.column(relations))).collect();
        format!("SELECT {how}{} FROM {from}{filter}", columns.join(", "))
    }

    fn groups(&mut self, relations: &[Relation], from: &str, filter: &str) -> String {
        let key = self.column(relations);
        let aggregates = self.aggregates(relations);
        let having = match self.one_in(3) {
            true => " HAVING count(*) > 1",
            false => "",
        };
        format!("SELECT {key} AS g, {aggregates} FROM {from}{filter} GROUP BY {key}{having}")
    }

    fn grouping_sets(&mut self, relations: &[Relation], from: &str, filter: &str) -> String {
        let mut keys: Vec<String> = vec![];
        for _ in 0..2 + self.below(2) {
            let key = self.column(relations);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let all = keys.join(", ");
        let sets = match self.below(6) {
            2 => format!("CUBE ({all})"),
            3 => format!("GROUPING SETS (({all}), ({}), ())", keys[0]),
            4 => format!("GROUPING SETS (({}), ({all}), ({}))", keys[0], keys[keys.len() - 1]),
            5 if keys.len() > 1 => format!("{}, ROLLUP ({})", keys[0], keys[1..].join(", ")),
            _ => format!("ROLLUP ({all})"),
        };
        let columns = keys.iter().enumerate().map(|(n, key)| format!("{key} AS g{n}"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let aggregates = self.aggregates(relations);
        let having = if self.one_in(4) { " HAVING count(*) > 1" } else { "" };
        format!(
            "SELECT {columns}, grouping({all}) AS h, {aggregates} FROM {from}{filter} GROUP BY {sets}{having}"
        )
    }

    fn aggregates(&mut self, relations: &[Relation]) -> String {
        let aggregate = |writer: &mut Self, n: usize| {
            let column = writer.column(relations);
            let number = writer.number(relations);
            let call = match writer.below(8) {
                0 => "count(*)".to_owned(),
                1 => format!("count({column})"),
                2 => format!("sum({number})"),
                3 => format!("min({column})"),
                4 => return format!("count(DISTINCT {column}) AS a{n}"),
                5 => format!("avg({number})"),
                6 => format!("bool_or({number} > 30)"),
                _ => format!("max({column})"),
            };
            match writer.one_in(4) {
                true => format!("{call} FILTER (WHERE {number} > 5) AS a{n}"),
                false => format!("{call} AS a{n}"),
            }
        };
        let all: Vec<String> = (0..1 + self.below(3)).map(|n| aggregate(self, n)).collect();
        all.join(", ")
    }

    /// FROM, what is in it, and the conditions that belong into WHERE.
    fn from(&mut self, n_relations: usize) -> (String, Vec<Relation>, Vec<String>) {
        let (mut from, first) = self.relation();
        let mut relations = vec![first];
        // Commas bind less than JOIN: with both, an ON sees only what is behind the last comma. So
        // FROM has either commas, with all conditions in WHERE, or joins.
        let (mut filters, has_commas) = (vec![], self.one_in(3));
        for _ in 1..n_relations {
            let (text, relation) = self.relation();
            let kind = self.below(12);
            let on = self.join_condition(&relation, &relations, kind == 9);
            match kind {
                _ if has_commas => {
                    from = format!("{from}, {text}");
                    filters.push(on);
                }
                6 | 7 => from = format!("{from} LEFT JOIN {text} ON {on}"),
                8 => from = format!("{from} RIGHT JOIN {text} ON {on}"),
                9 => from = format!("{from} FULL JOIN {text} ON {on}"),
                10 if self.wide > 0 => {
                    self.wide -= 1;
                    from = format!("{from} CROSS JOIN few AS {}", relation.name);
                }
                _ => from = format!("{from} JOIN {text} ON {on}"),
            }
            relations.push(relation);
        }
        // Those without a match.
        if !has_commas && self.one_in(4) {
            let (text, relation) = self.relation();
            let on = self.join_condition(&relation, &relations, false);
            from = format!("{from} LEFT JOIN {text} ON {on}");
            filters.push(format!("{}.{} IS NULL", relation.name, ["k", "k", "v"][self.below(3)]));
            relations.push(relation);
        }
        (from, relations, filters)
    }

    /// A table, a derived one, or a common one.
    fn relation(&mut self) -> (String, Relation) {
        let name = self.name();
        let (text, is_whole) = match self.below(8) {
            _ if !self.common.is_empty() && self.one_in(3) => (self.some_common(), false),
            0 => (format!("({})", self.grouped()), false),
            1 => {
                let table = self.table();
                let inner = Relation { name: "i".into(), is_whole: true };
                let filter = self.simple_filter(&[inner]);
                (format!("(SELECT * FROM {table} AS i WHERE {filter})"), true)
            }
            3 => (format!("(SELECT DISTINCT k, j, v FROM {})", self.table()), false),
            _ => (self.table().to_owned(), true),
        };
        (format!("{text} AS {name}"), Relation { name, is_whole })
    }

    /// A common table expression, or some of its rows.
    fn some_common(&mut self) -> String {
        let chosen = self.below(self.common.len());
        let common = self.common[chosen].to_owned();
        if self.one_in(2) {
            return common;
        }
        let inner = Relation { name: common.clone(), is_whole: false };
        let filter = self.simple_filter(&[inner]);
        format!("(SELECT * FROM {common} WHERE {filter})")
    }

    /// What a subquery reads: a table, or a common table expression.
    fn source(&mut self) -> (String, bool) {
        match !self.common.is_empty() && self.one_in(2) {
            true => (self.some_common(), false),
            false => (self.table().to_owned(), true),
        }
    }

    fn grouped(&mut self) -> String {
        let table = self.table();
        let having = if self.one_in(4) { " HAVING count(*) > 1" } else { "" };
        format!("SELECT k, min(j) AS j, max(v) AS v FROM {table} GROUP BY k{having}")
    }

    /// What joins `new` to one of `known`.
    fn join_condition(&mut self, new: &Relation, known: &[Relation], only_keys: bool) -> String {
        let n = &new.name;
        let other = self.pick(known).clone();
        let o = &other.name;
        let another = self.pick(known).name.clone();
        let are_whole = new.is_whole && other.is_whole;
        let mut on = match self.below(10) {
            0 => format!("{n}.k = {o}.k AND {n}.j = {another}.j"),
            1 => format!("{o}.k = {n}.k AND {o}.j = {n}.j"),
            2 => format!("{n}.k = {o}.k + 1"),
            3 if are_whole => format!("{n}.k = {o}.k AND {n}.s = {o}.s"),
            4 if are_whole => format!("{n}.f = {o}.f AND {n}.k = {another}.k"),
            5 if self.wide > 0 => {
                self.wide -= 1;
                format!("{n}.j = {o}.j")
            }
            6 => format!("{n}.v = {o}.v"),
            _ => format!("{n}.k = {o}.k"),
        };
        if !only_keys && self.one_in(4) {
            on = format!("{on} AND {n}.v {} {another}.v", self.comparison());
        }
        if !only_keys && self.one_in(6) {
            on = format!("{on} AND {n}.v > {}", self.below(60));
        }
        on
    }

    fn filter(&mut self, relations: &[Relation], depth: usize) -> String {
        match self.below(9) {
            _ if depth == 0 => self.simple_filter(relations),
            0 => {
                // Not NOT IN: below OR the engine takes its NULL for false.
                let one = self.simple_filter(relations);
                let other = match self.below(3) {
                    0 => self.exists(relations),
                    1 => self.is_in(relations, "IN"),
                    _ => self.filter(relations, 0),
                };
                format!("({one} OR {other})")
            }
            1 => self.exists(relations),
            2 => format!("NOT {}", self.exists(relations)),
            3 => self.is_in(relations, "IN"),
            4 => self.is_in(relations, "NOT IN"),
            5 => self.scalar(relations),
            _ => self.simple_filter(relations),
        }
    }

    fn simple_filter(&mut self, relations: &[Relation]) -> String {
        let (number, other) = (self.number(relations), self.number(relations));
        let n = self.below(40);
        match self.below(9) {
            0 => format!("{number} {} {n}", self.comparison()),
            1 => format!("{number} BETWEEN {n} AND {}", n + 20),
            2 => format!("{number} IN ({n}, {}, 3, 4)", n + 1),
            3 => format!("{number} IS NULL"),
            4 => format!("{number} IS NOT NULL"),
            5 => format!("{number} {} {other}", self.comparison()),
            6 => format!("NOT ({number} = {n})"),
            _ => {
                let whole: Vec<Relation> =
                    relations.iter().filter(|relation| relation.is_whole).cloned().collect();
                match whole.is_empty() {
                    true => format!("{number} < {n}"),
                    false => format!("{}.s LIKE 'a%'", self.pick(&whole).name),
                }
            }
        }
    }

    fn exists(&mut self, relations: &[Relation]) -> String {
        let outer = self.pick(relations).name.clone();
        let ((table, _), name) = (self.source(), self.name());
        let mut filter = format!("{name}.k = {outer}.k");
        if self.one_in(3) {
            filter = format!("{filter} AND {name}.v {} {outer}.v", self.comparison());
        }
        if self.one_in(3) {
            filter = format!("{filter} AND {name}.j = {}.j", self.pick(relations).name);
        }
        if self.one_in(3) {
            filter = format!("{filter} AND {name}.v > {}", self.below(60));
        }
        format!("EXISTS (SELECT 1 FROM {table} AS {name} WHERE {filter})")
    }

    fn is_in(&mut self, relations: &[Relation], how: &str) -> String {
        let outer = self.pick(relations).name.clone();
        let ((table, is_whole), name) = (self.source(), self.name());
        let from = match self.one_in(3) {
            true => {
                let (other, second) = (self.table(), self.name());
                format!("{table} AS {name} JOIN {other} AS {second} ON {name}.k = {second}.k")
            }
            false => format!("{table} AS {name}"),
        };
        let inner = Relation { name: name.clone(), is_whole };
        let mut filter = self.simple_filter(&[inner]);
        if how == "IN" && self.one_in(3) {
            filter = format!("{filter} AND {name}.j = {outer}.j");
        }
        format!("{outer}.k {how} (SELECT {name}.k FROM {from} WHERE {filter})")
    }

    /// A comparison with an aggregate, for each row or of everything.
    fn scalar(&mut self, relations: &[Relation]) -> String {
        let outer = self.pick(relations).name.clone();
        let ((table, _), name) = (self.source(), self.name());
        let aggregate = ["max", "min", "sum", "count"][self.below(4)];
        let filter = match self.below(4) {
            0 => String::new(),
            1 => format!(" WHERE {name}.k = {outer}.k AND {name}.j = {outer}.j"),
            _ => format!(" WHERE {name}.k = {outer}.k"),
        };
        let comparison = self.comparison();
        format!(
            "{outer}.v {comparison} (SELECT {aggregate}({name}.v) FROM {table} AS {name}{filter})"
        )
    }

    fn column(&mut self, relations: &[Relation]) -> String {
        let relation = self.pick(relations).clone();
        let columns: &[&str] = if relation.is_whole { &["k", "j", "v", "s"] } else { &["k", "v"] };
        format!("{}.{}", relation.name, columns[self.below(columns.len())])
    }

    fn number(&mut self, relations: &[Relation]) -> String {
        let relation = self.pick(relations).name.clone();
        format!("{relation}.{}", ["k", "j", "v", "v"][self.below(4)])
    }

    fn comparison(&mut self) -> &'static str {
        ["<", ">", "<=", ">=", "<>", "="][self.below(6)]
    }

    fn table(&mut self) -> &'static str {
        // The larger ones more often.
        let n = TABLES.len();
        TABLES[self.below(n).max(self.below(n))].0
    }

    fn name(&mut self) -> String {
        self.n_names += 1;
        format!("t{}", self.n_names)
    }

    fn pick<'a>(&mut self, relations: &'a [Relation]) -> &'a Relation {
        &relations[self.below(relations.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn below(&mut self, n: usize) -> usize {
        self.rng.usize(..n)
    }
}
