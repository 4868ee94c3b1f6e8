//! Random changes of rows on whatever tables there are, in SQL that both engines read. What changes
//! the tables themselves is in `definitions`.

use fastrand::Rng;

use super::steps::By;
use super::tables::{Column, Relation, quoted};

/// More rows than this are not what an interleaved test is about.
const MANY: u64 = 4000;

/// Makes statements; knows the tables, and gives each new row its own id.
pub(crate) struct Author {
    pub(crate) rng: Rng,
    pub(crate) relations: Vec<Relation>,
    pub(crate) schemas: Vec<String>,
    next_id: i64,
}

impl Author {
    pub(super) fn new(seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        Self { rng, relations: vec![], schemas: vec!["main".into()], next_id: 0 }
    }

    /// Any statement; some fail.
    pub(super) fn statement(&mut self, by: By) -> String {
        match self.rng.u8(..100) {
            0..5 => self.failing(),
            _ => self.change(by),
        }
    }

    /// A statement that should work.
    pub(super) fn change(&mut self, by: By) -> String {
        let tables = self.tables();
        if tables.len() < 2 {
            return self.create_table(false);
        }
        let weight = self.rng.u8(..100);
        match weight {
            0..4 => return self.create_table(false),
            4..7 => return self.create_table(true),
            7..12 => return self.create_table_as(),
            12..15 => return self.change_schemas(),
            15..19 => return self.change_views(),
            _ => {}
        }
        let table = self.rng.choice(tables).unwrap();
        match weight {
            19..21 => format!("DROP TABLE {}", table.path()),
            _ if table.rows > MANY => self.shrink(&table),
            21..23 => self.shrink(&table),
            23..30 => self.insert_from_table(&table),
            30..50 => self.insert(&table),
            50..65 => self.delete(&table),
            65..87 => self.update(&table),
            _ => self.merge(&table, by),
        }
    }

    pub(super) fn tables(&self) -> Vec<Relation> {
        self.relations.iter().filter(|relation| !relation.is_view).cloned().collect()
    }

    pub(super) fn table(&mut self) -> Relation {
        let tables = self.tables();
        self.rng.choice(tables).unwrap()
    }

    /// The first of `n` ids that no row has.
    fn ids(&mut self) -> i64 {
        self.next_id += 100_000;
        self.next_id
    }

    /// A query of new rows: ids and values of these columns.
    pub(super) fn generated(&mut self, columns: &[Column]) -> String {
        let first = self.ids();
        let rows = match self.rng.u8(..10) {
            0..6 => self.rng.u32(1..40),
            6..9 => self.rng.u32(1..400),
            _ => self.rng.u32(1..3000),
        };
        let mut projection = vec![format!("CAST({first} + i AS BIGINT) AS \"id\"")];
        for column in columns {
            let value = self.value_by("i", column);
            projection.push(format!("{value} AS {}", quoted(&column.name)));
        }
        format!("SELECT {} FROM generate_series(1, {rows}) AS g(i)", projection.join(", "))
    }

    /// Some values of a column, chosen by a number.
    fn value_by(&mut self, number: &str, column: &Column) -> String {
        if column.kind.is("INTEGER") && self.rng.bool() {
            return format!("CAST({number} % {} AS INTEGER)", self.rng.u8(2..200));
        }
        let n = self.rng.usize(1..5);
        let values: Vec<String> = (0..n).map(|_| self.literal(column)).collect();
        match values.as_slice() {
            [one] => one.clone(),
            [first @ .., last] => {
                let cases = first.iter().enumerate();
                let cases = cases.map(|(i, value)| format!("WHEN {i} THEN {value} "));
                format!("CASE {number} % {n} {}ELSE {last} END", cases.collect::<String>())
            }
            [] => unreachable!("there is one at least"),
        }
    }

    fn literal(&mut self, column: &Column) -> String {
        match column.is_nullable {
            true => column.kind.literal(&mut self.rng),
            false => column.kind.value(&mut self.rng),
        }
    }

    /// Without those columns that may be left out, sometimes.
    fn some_columns(&mut self, table: &Relation) -> Vec<Column> {
        let mut columns = table.values().to_vec();
        if self.rng.u8(..3) == 0 {
            columns.retain(|c| !(c.is_nullable || c.has_default) || self.rng.bool());
            self.rng.shuffle(&mut columns);
        }
        columns
    }

    pub(super) fn insert(&mut self, table: &Relation) -> String {
        let columns = self.some_columns(table);
        let names: Vec<String> = columns.iter().map(|c| quoted(&c.name)).collect();
        let names = [vec![table.id()], names].concat().join(", ");
        if self.rng.bool() {
            return format!("INSERT INTO {} ({names}) {}", table.path(), self.generated(&columns));
        }
        let first = self.ids();
        let rows = (0..self.rng.i64(1..=12)).map(|row| {
            let values = columns.iter().map(|column| self.literal(column));
            let values: Vec<String> =
                [(first + row).to_string()].into_iter().chain(values).collect();
            format!("({})", values.join(", "))
        });
        let rows: Vec<String> = rows.collect();
        format!("INSERT INTO {} ({names}) VALUES {}", table.path(), rows.join(", "))
    }

    /// Rows of any table, with new ids; columns of the same type keep their values.
    fn insert_from_table(&mut self, table: &Relation) -> String {
        let source = self.table();
        let first = self.ids();
        let number = format!("row_number() OVER (ORDER BY {})", source.id());
        let mut projection = vec![format!("{first} + {number} AS {}", table.id())];
        for column in table.values() {
            let same = source.values().iter().find(|c| c.kind == column.kind);
            let value = same.map_or_else(|| self.literal(column), |same| quoted(&same.name));
            projection.push(format!("{value} AS {}", quoted(&column.name)));
        }
        let predicate = self.predicate(&source, 1);
        let by_name = if self.rng.u8(..4) == 0 { "BY NAME " } else { "" };
        format!(
            "INSERT INTO {} {by_name}SELECT {} FROM {} WHERE {predicate}",
            table.path(),
            projection.join(", "),
            source.path()
        )
    }

    fn shrink(&mut self, table: &Relation) -> String {
        match self.rng.u8(..3) {
            0 => format!("TRUNCATE {}", table.path()),
            1 => format!("DELETE FROM {}", table.path()),
            _ => format!("DELETE FROM {} WHERE {} % 4 > 0", table.path(), table.id()),
        }
    }

    fn delete(&mut self, table: &Relation) -> String {
        if self.rng.u8(..4) > 0 {
            return format!("DELETE FROM {} WHERE {}", table.path(), self.predicate(table, 2));
        }
        let other = self.table();
        let predicate = self.predicate(&other, 1);
        let (path, id) = (table.path(), table.id());
        match self.rng.bool() {
            true => format!(
                "DELETE FROM {path} AS x USING (SELECT {} AS k FROM {} WHERE {predicate}) AS s \
                 WHERE x.{id} = s.k",
                other.id(),
                other.path()
            ),
            false => format!(
                "DELETE FROM {path} WHERE {id} IN (SELECT {} FROM {} WHERE {predicate})",
                other.id(),
                other.path()
            ),
        }
    }

    fn update(&mut self, table: &Relation) -> String {
        if self.rng.u8(..4) > 0 {
            return self.update_own(table);
        }
        let other = self.table();
        let Some(column) = self.rng.choice(table.values()).cloned() else {
            return self.update_own(table);
        };
        let value = self.value_by(&other.id(), &column);
        let predicate = self.predicate(&other, 1);
        format!(
            "UPDATE {} AS x SET {} = s.v FROM (SELECT {} AS k, {value} AS v FROM {} WHERE {predicate}) \
             AS s WHERE x.{} = s.k",
            table.path(),
            quoted(&column.name),
            other.id(),
            other.path(),
            table.id()
        )
    }

    pub(super) fn update_own(&mut self, table: &Relation) -> String {
        let columns = table.values().to_vec();
        let n = self.rng.usize(1..=2.min(columns.len().max(1)));
        let chosen = self.rng.choose_multiple(columns.iter(), n);
        let assignments = chosen.into_iter().map(|column| {
            let same = columns.iter().filter(|other| other.kind == column.kind);
            let same: Vec<&Column> = same.collect();
            let name = quoted(&column.name);
            let value = match self.rng.u8(..4) {
                0 => quoted(&self.rng.choice(same).unwrap().name),
                1 if column.kind.is("VARCHAR") => format!("substr({name} || 'x', 1, 50)"),
                1 if column.kind.is("INTEGER") => format!("{name} % 1000 + 1"),
                2 => self.value_by(&table.id(), column),
                _ => column.kind.literal(&mut self.rng),
            };
            format!("{name} = {value}")
        });
        let assignments: Vec<String> = assignments.collect();
        let change = format!("UPDATE {} SET {}", table.path(), assignments.join(", "));
        match self.rng.u8(..12) {
            0 => change,
            _ => format!("{change} WHERE {}", self.predicate(table, 2)),
        }
    }

    pub(super) fn merge(&mut self, table: &Relation, by: By) -> String {
        let (path, id, columns) = (table.path(), table.id(), table.values().to_vec());
        let first = self.ids();
        let mut known = vec![format!("{id} AS \"id\"")];
        let mut new = vec![format!("CAST({first} + i AS BIGINT) AS \"id\"")];
        for column in &columns {
            let name = quoted(&column.name);
            known.push(format!("{} AS {name}", self.value_by(&id, column)));
            new.push(format!("{} AS {name}", self.value_by("i", column)));
        }
        let source = format!(
            "SELECT {} FROM {path} WHERE {} UNION ALL SELECT {} FROM generate_series(1, {}) AS g(i)",
            known.join(", "),
            self.predicate(table, 1),
            new.join(", "),
            self.rng.u8(1..20)
        );
        let names: Vec<String> = columns.iter().map(|c| quoted(&c.name)).collect();
        let set: Vec<String> = names.iter().map(|name| format!("{name} = s.{name}")).collect();
        let all: Vec<String> = [id.clone()].into_iter().chain(names).collect();
        let insert = format!(
            "WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
            all.join(", "),
            all.iter().map(|name| format!("s.{name}")).collect::<Vec<_>>().join(", ")
        );
        let update = format!("THEN UPDATE SET {}", set.join(", "));
        let residue = format!("AND x.{id} % 3 = {}", self.rng.u8(..3));
        let clauses = match self.rng.u8(..6) {
            0 => format!("WHEN MATCHED {update} {insert}"),
            1 => format!("WHEN MATCHED {residue} THEN DELETE {insert}"),
            2 => format!("WHEN NOT MATCHED BY SOURCE {residue} THEN DELETE {insert}"),
            3 => format!("WHEN MATCHED {residue} {update}"),
            // DuckDB's extension takes one UPDATE or DELETE.
            _ if by == By::Duck => insert,
            4 => format!(
                "WHEN MATCHED {residue} THEN DELETE WHEN MATCHED {update} {insert} \
                 WHEN NOT MATCHED BY SOURCE {residue} THEN DELETE"
            ),
            _ => format!("WHEN MATCHED {residue} {update} WHEN MATCHED THEN DELETE"),
        };
        format!("MERGE INTO {path} AS x USING ({source}) AS s ON x.{id} = s.\"id\" {clauses}")
    }

    /// A statement that most likely fails, at once or after thousands of rows.
    fn failing(&mut self) -> String {
        let tables = self.tables();
        let Some(table) = self.rng.choice(tables) else {
            return "DROP TABLE nothing".into();
        };
        let (path, id, first) = (table.path(), table.id(), self.ids());
        let late = format!(
            "SELECT CASE WHEN i = 2500 THEN CAST('x' || CAST(i AS VARCHAR) AS BIGINT) ELSE i + {first} \
             END AS \"id\" FROM generate_series(1, 3000) AS g(i)"
        );
        match self.rng.u8(..9) {
            0 => format!("INSERT INTO {path} ({id}) {late}"),
            1 => format!("CREATE OR REPLACE TABLE {path} AS {late}"),
            2 => format!("UPDATE {path} SET {id} = CAST('x' || CAST({id} AS VARCHAR) AS BIGINT)"),
            3 => format!("INSERT INTO {path} ({id}) VALUES (NULL)"),
            4 => format!("CREATE TABLE {path} (\"id\" BIGINT)"),
            5 => format!("DELETE FROM {path} WHERE nothing = 1"),
            6 => "DROP TABLE \"main\".\"nothing\"".into(),
            7 => "CREATE SCHEMA main".into(),
            _ => format!("DROP VIEW {path}"),
        }
    }

    /// A condition on a row.
    pub(super) fn predicate(&mut self, table: &Relation, depth: u8) -> String {
        let choice = self.rng.u8(..10);
        if depth > 0 && choice < 3 {
            let left = self.predicate(table, depth - 1);
            let right = self.predicate(table, depth - 1);
            return match choice {
                0 => format!("({left} AND {right})"),
                1 => format!("({left} OR {right})"),
                _ => format!("NOT ({left})"),
            };
        }
        let id = table.id();
        let ordered: Vec<Column> =
            table.values().iter().filter(|c| c.kind.is_ordered()).cloned().collect();
        let column = self.rng.choice(table.values()).cloned();
        match (choice, column, self.rng.choice(ordered)) {
            (3..5, Some(column), _) => {
                let not = if self.rng.bool() { "NOT " } else { "" };
                format!("{} IS {not}NULL", quoted(&column.name))
            }
            (5..9, _, Some(column)) => {
                let operator = self.rng.choice(["=", "<>", "<", "<=", ">", ">="]).unwrap();
                let value = column.kind.value(&mut self.rng);
                format!("{} {operator} {value}", quoted(&column.name))
            }
            _ => format!("{id} % {} = {}", self.rng.u8(2..12), self.rng.u8(..3)),
        }
    }
}
