//! Random statements on whatever tables there are, in SQL that both engines read.

use std::fmt;

use fastrand::Rng;

use super::types::Type;

/// Who runs a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    Gotgan,
    Duck,
}

impl By {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Gotgan => Self::Duck,
            Self::Duck => Self::Gotgan,
        }
    }
}

/// What happens between two looks at everything.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// One statement on its own.
    Alone(By, String),
    /// Statements between BEGIN and COMMIT, or else ROLLBACK.
    Together(By, Vec<String>, bool),
    /// Statements of a transaction, and one that the other engine commits in the meantime.
    Overlapping(By, Vec<String>, String),
    /// What is about files and not rows.
    Upkeep(By, Upkeep),
}

/// What changes no table's rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Upkeep {
    Merge,
    /// Of one table.
    Rewrite(String, String),
    Flush,
    Cleanup,
    /// All of them, and without arguments.
    Checkpoint,
    /// Of each third snapshot, except the newest.
    Expire(u64),
    /// How many rows at once are kept in the catalog.
    Inline(u8),
    /// ALTER TABLE … SET PARTITIONED BY and the like.
    Layout(String),
}

impl Upkeep {
    /// As one engine spells it; `versions` are those that there are.
    pub(crate) fn sql(&self, by: By, versions: &[u64]) -> String {
        let (call, first) = match by {
            By::Gotgan => ("CALL ", ""),
            By::Duck => ("CALL ducklake_", "'lake', "),
        };
        let alone = first.trim_end_matches(", ");
        let text = |name: &str| format!("'{}'", name.replace('\'', "''"));
        match self {
            Self::Merge => format!("{call}merge_adjacent_files({alone})"),
            Self::Rewrite(schema, name) => format!(
                "{call}rewrite_data_files({first}{}, schema => {}, delete_threshold => 0.3)",
                text(name),
                text(schema)
            ),
            Self::Flush => format!("{call}flush_inlined_data({alone})"),
            Self::Cleanup => format!("{call}cleanup_old_files({first}cleanup_all => true)"),
            Self::Checkpoint => "CHECKPOINT".into(),
            Self::Expire(residue) => {
                let last = versions.last();
                let old = versions.iter().filter(|id| **id % 3 == *residue && Some(*id) != last);
                let old: Vec<String> = old.map(u64::to_string).collect();
                format!("{call}expire_snapshots({first}versions => [{}])", old.join(", "))
            }
            Self::Inline(rows) => {
                let call = if by == By::Gotgan { "CALL" } else { "CALL lake." };
                format!("{call} set_option('data_inlining_row_limit', {rows})").replace(". ", ".")
            }
            Self::Layout(sql) => sql.clone(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(by, sql) => write!(f, "{by:?}: {sql};"),
            Self::Upkeep(by, what) => write!(f, "{by:?}: {what:?};"),
            Self::Together(by, statements, commits) => {
                let end = if *commits { "COMMIT" } else { "ROLLBACK" };
                write!(f, "{by:?}: BEGIN; {}; {end};", statements.join("; "))
            }
            Self::Overlapping(by, mine, theirs) => {
                writeln!(f, "{by:?}: BEGIN; {};", mine.join("; "))?;
                write!(f, "    {:?}: {theirs};\n{by:?}: COMMIT;", by.other())
            }
        }
    }
}

/// A table or a view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relation {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) is_view: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: u64,
    /// Nothing has been written to it.
    pub(crate) is_new: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) has_default: bool,
    pub(crate) is_nullable: bool,
}

impl Relation {
    /// Its full name, quoted.
    pub(crate) fn path(&self) -> String {
        path(&self.schema, &self.name)
    }

    fn id(&self) -> String {
        quoted(&self.columns[0].name)
    }

    fn values(&self) -> &[Column] {
        &self.columns[1..]
    }
}

pub(crate) fn path(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A default for types that have one here.
fn default_of(kind: &Type) -> &'static str {
    match kind.name().as_str() {
        "INTEGER" => " DEFAULT 42",
        "VARCHAR" => " DEFAULT 'it''s'",
        "DECIMAL(18,3)" => " DEFAULT 1.5",
        "DATE" => " DEFAULT '2024-02-29'",
        _ => "",
    }
}

const SCHEMAS: [&str; 3] = ["main", "raw", "S 2"];
const TABLES: [&str; 5] = ["t1", "t2", "t3", "orders", "Ta \"b\" le"];
const VIEWS: [&str; 3] = ["v1", "v2", "v3"];
const COLUMNS: [&str; 7] = ["c1", "c2", "c3", "c4", "c5", "select", "Sp ace"];

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
    pub(crate) fn new(seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        Self { rng, relations: vec![], schemas: vec!["main".into()], next_id: 0 }
    }

    /// What happens next.
    pub(crate) fn step(&mut self) -> Step {
        let by = if self.rng.bool() { By::Gotgan } else { By::Duck };
        match self.rng.u8(..100) {
            0..8 => {
                // Each depends on what the ones before have done.
                let statements = vec![String::new(); self.rng.usize(1..5)];
                Step::Together(by, statements, self.rng.u8(..4) > 0)
            }
            8..14 if !self.tables().is_empty() => {
                let mine = (0..self.rng.usize(1..3)).map(|_| self.own_change(by)).collect();
                Step::Overlapping(by, mine, self.own_change(by.other()))
            }
            14..28 => self.upkeep(by),
            28..40 if !self.tables().is_empty() => Step::Alone(by, self.alter()),
            _ => Step::Alone(by, self.statement(by)),
        }
    }

    /// Any statement; some fail.
    fn statement(&mut self, by: By) -> String {
        match self.rng.u8(..100) {
            0..5 => self.failing(),
            _ => self.change(by),
        }
    }

    /// A statement that should work.
    pub(crate) fn change(&mut self, by: By) -> String {
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

    /// A statement that reads nothing but the table it changes, and so may go before or after one
    /// on another table or on other rows.
    fn own_change(&mut self, by: By) -> String {
        let table = self.table();
        match self.rng.u8(..10) {
            0..4 => self.insert(&table),
            4..6 => format!("DELETE FROM {} WHERE {}", table.path(), self.predicate(&table, 1)),
            6..8 => self.update_own(&table),
            8 => self.merge(&table, by),
            _ => format!("TRUNCATE {}", table.path()),
        }
    }

    fn tables(&self) -> Vec<Relation> {
        self.relations.iter().filter(|relation| !relation.is_view).cloned().collect()
    }

    fn table(&mut self) -> Relation {
        let tables = self.tables();
        self.rng.choice(tables).unwrap()
    }

    fn new_name(&mut self) -> String {
        let schema = self.rng.choice(self.schemas.clone()).unwrap();
        path(&schema, self.rng.choice(TABLES).unwrap())
    }

    /// The first of `n` ids that no row has.
    fn ids(&mut self) -> i64 {
        self.next_id += 100_000;
        self.next_id
    }

    fn create_table(&mut self, replaces: bool) -> String {
        let name = self.new_name();
        let mut columns = vec!["\"id\" BIGINT NOT NULL".to_owned()];
        for column in &COLUMNS[..self.rng.usize(1..=COLUMNS.len())] {
            let kind = Type::random(&mut self.rng);
            let mut text = format!("{} {}", quoted(column), kind.name());
            // DuckDB's extension takes NULL where a nested value is NOT NULL.
            if self.rng.u8(..10) == 0 && !kind.is_nested() {
                text += " NOT NULL";
            }
            if self.rng.u8(..4) == 0 {
                text += default_of(&kind);
            }
            columns.push(text);
        }
        let create = if replaces { "CREATE OR REPLACE TABLE" } else { "CREATE TABLE" };
        format!("{create} {name} ({})", columns.join(", "))
    }

    fn create_table_as(&mut self) -> String {
        let create = match self.rng.u8(..3) {
            0 => "CREATE OR REPLACE TABLE",
            1 => "CREATE TABLE IF NOT EXISTS",
            _ => "CREATE TABLE",
        };
        let name = self.new_name();
        let query = match self.rng.bool() {
            true => {
                let table = self.table();
                let names: Vec<String> = table.columns.iter().map(|c| quoted(&c.name)).collect();
                let predicate = self.predicate(&table, 1);
                format!("SELECT {} FROM {} WHERE {predicate}", names.join(", "), table.path())
            }
            false => {
                let columns = COLUMNS[..self.rng.usize(1..5)].iter().map(|name| {
                    let mut kind = Type::random(&mut self.rng);
                    // An expression of the program's that gives these gives text.
                    while kind.is("UUID") || kind.is("JSON") {
                        kind = Type::random(&mut self.rng);
                    }
                    let name = (*name).to_owned();
                    Column { name, kind, has_default: false, is_nullable: true }
                });
                let columns: Vec<Column> = columns.collect();
                self.generated(&columns)
            }
        };
        format!("{create} {name} AS {query}")
    }

    /// A query of new rows: ids and values of these columns.
    fn generated(&mut self, columns: &[Column]) -> String {
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

    fn insert(&mut self, table: &Relation) -> String {
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

    fn update_own(&mut self, table: &Relation) -> String {
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

    fn merge(&mut self, table: &Relation, by: By) -> String {
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

    fn change_schemas(&mut self) -> String {
        let schema = self.rng.choice(&SCHEMAS[1..]).unwrap();
        match self.rng.u8(..3) {
            0 => format!("CREATE SCHEMA {}", quoted(schema)),
            1 => format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)),
            _ => format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(schema)),
        }
    }

    fn change_views(&mut self) -> String {
        let schema = self.rng.choice(self.schemas.clone()).unwrap();
        let name = path(&schema, self.rng.choice(VIEWS).unwrap());
        if self.rng.u8(..4) == 0 {
            return format!("DROP VIEW IF EXISTS {name}");
        }
        let table = self.table();
        let column = self.rng.choice(&table.columns).unwrap();
        let create = if self.rng.bool() { "CREATE OR REPLACE VIEW" } else { "CREATE VIEW" };
        format!(
            "{create} {name} AS SELECT {} AS a, {} AS b FROM {} WHERE {} % 3 = {}",
            table.id(),
            quoted(&column.name),
            table.path(),
            table.id(),
            self.rng.u8(..3)
        )
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

    fn upkeep(&mut self, by: By) -> Step {
        let table = match self.tables().is_empty() {
            true => return Step::Upkeep(by, Upkeep::Flush),
            false => self.table(),
        };
        let what = match self.rng.u8(..13) {
            0..3 => Upkeep::Merge,
            3 => Upkeep::Rewrite(table.schema, table.name),
            4 | 5 => Upkeep::Flush,
            6 => Upkeep::Cleanup,
            7 => Upkeep::Expire(self.rng.u64(..3)),
            // DuckDB's rewrites every table.
            8 if by == By::Gotgan => Upkeep::Checkpoint,
            8 => Upkeep::Rewrite(table.schema, table.name),
            9 => Upkeep::Inline(self.rng.choice([0, 3, 10]).unwrap()),
            _ => self.layout(&table),
        };
        Step::Upkeep(by, what)
    }

    /// Partitions or a sort order, on columns that have both.
    fn layout(&mut self, table: &Relation) -> Upkeep {
        let path = table.path();
        let kinds =
            ["INTEGER", "SMALLINT", "VARCHAR", "DATE", "BOOLEAN", "DECIMAL(4,1)", "TIMESTAMP"];
        let columns = table.values().iter().filter(|c| kinds.iter().any(|kind| c.kind.is(kind)));
        let columns: Vec<Column> = columns.cloned().collect();
        let Some(column) = self.rng.choice(columns) else {
            return Upkeep::Layout(format!(
                "ALTER TABLE {path} SET SORTED BY ({} ASC)",
                table.id()
            ));
        };
        let name = quoted(&column.name);
        let is_temporal = column.kind.is("DATE") || column.kind.is("TIMESTAMP");
        Upkeep::Layout(match self.rng.u8(..6) {
            0 => format!("ALTER TABLE {path} RESET PARTITIONED BY"),
            1 => format!("ALTER TABLE {path} SET SORTED BY ({name} DESC, {} ASC)", table.id()),
            2 => format!("ALTER TABLE {path} RESET SORTED BY"),
            3 if is_temporal => {
                format!("ALTER TABLE {path} SET PARTITIONED BY (year({name}), month({name}))")
            }
            // DuckDB does not find what was there before buckets were.
            4 if table.is_new => {
                format!("ALTER TABLE {path} SET PARTITIONED BY (bucket(3, {name}))")
            }
            _ => format!("ALTER TABLE {path} SET PARTITIONED BY ({name})"),
        })
    }

    /// A change of a table's form.
    fn alter(&mut self) -> String {
        let table = self.table();
        let alter = format!("ALTER TABLE {}", table.path());
        let Some(column) = self.rng.choice(table.values()).cloned() else {
            return format!("{alter} ADD COLUMN \"c1\" INTEGER");
        };
        let name = quoted(&column.name);
        let is_free = |name: &&&str| !table.columns.iter().any(|c| c.name == **name);
        let free: Vec<&&str> = COLUMNS.iter().filter(is_free).collect();
        let free = self.rng.choice(free).map(|name| quoted(name));
        match (self.rng.u8(..10), free) {
            (0..3, Some(free)) => {
                let kind = Type::random(&mut self.rng);
                format!("{alter} ADD COLUMN {free} {}{}", kind.name(), default_of(&kind))
            }
            (3, _) if table.columns.len() > 2 => format!("{alter} DROP COLUMN {name}"),
            (4, Some(free)) => format!("{alter} RENAME COLUMN {name} TO {free}"),
            (5, _) => match column.kind.wider() {
                Some(wider) => format!("{alter} ALTER COLUMN {name} TYPE {wider}"),
                None => format!("{alter} ALTER COLUMN {name} DROP DEFAULT"),
            },
            (6, _) => match default_of(&column.kind) {
                "" if !column.is_nullable => format!("{alter} ALTER COLUMN {name} DROP NOT NULL"),
                "" => format!("{alter} ALTER COLUMN {name} DROP DEFAULT"),
                default => format!("{alter} ALTER COLUMN {name} SET{default}"),
            },
            (7, _) if !column.kind.is_nested() => {
                format!("{alter} ALTER COLUMN {name} SET NOT NULL")
            }
            (8, _) => format!("{alter} RENAME TO {}", quoted(self.rng.choice(TABLES).unwrap())),
            (9, _) => self.alter_field(&alter, &name, &column.kind),
            _ => format!("COMMENT ON COLUMN {}.{name} IS 'it''s {}'", table.path(), column.name),
        }
    }

    /// A change of a field of a struct, if there is one.
    fn alter_field(&mut self, alter: &str, name: &str, kind: &Type) -> String {
        let (fields, path) = match kind {
            Type::Struct(fields) => (fields, name.to_owned()),
            Type::List(element) => match element.as_ref() {
                Type::Struct(fields) => (fields, format!("{name}.element")),
                _ => return format!("{alter} ALTER COLUMN {name} DROP DEFAULT"),
            },
            _ => return format!("{alter} ALTER COLUMN {name} DROP DEFAULT"),
        };
        let names = ["a", "b", "c", "d"];
        let free = names.into_iter().find(|name| !fields.iter().any(|(field, _)| field == name));
        let field = &self.rng.choice(fields).unwrap().0;
        match (self.rng.u8(..3), free) {
            (0, Some(free)) => format!("{alter} ADD COLUMN {path}.{free} INTEGER"),
            (1, Some(free)) => format!("{alter} RENAME COLUMN {path}.{field} TO {free}"),
            _ if fields.len() > 1 => format!("{alter} DROP COLUMN {path}.{field}"),
            _ => format!("{alter} ALTER COLUMN {name} DROP DEFAULT"),
        }
    }

    /// A condition on a row.
    pub(crate) fn predicate(&mut self, table: &Relation, depth: u8) -> String {
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
