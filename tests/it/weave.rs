//! The interleaved test: the program and DuckDB change one warehouse in turns, at random, and after
//! each step both have to read the same as a database in memory that ran the same statements.
//!
//! ```text
//! seed -> steps -> the program | DuckDB   on one catalog        look: every table, its past,
//!              \-> a mirror in DuckDB     on its own tables  -> statistics, row ids, the catalog's rows
//! ```
//!
//! It takes as many steps as `GOTGAN_WEAVE_STEPS` says, none without. A run prints its seed, and
//! `GOTGAN_WEAVE_SEED=… GOTGAN_WEAVE_STEPS=… cargo test --test it weave` repeats it.
//! `GOTGAN_WEAVE_SHRINK=1` leaves out, after a failure, the steps that it does not need.

pub(crate) mod engines;
mod statements;
mod types;

use std::collections::BTreeMap;
use std::path::Path;

use gotgan::Config;

use self::engines::{Duck, Gotgan, Side, Sum};
use self::statements::{Author, By, Column, Relation, Step, Upkeep, path, quoted};
use self::types::Type;
use crate::duckdb::Rows;
use crate::services::python;
use crate::support::{Kind, Lake, on_each_catalog};

on_each_catalog!(engines_in_turns);

/// Steps on one warehouse; then a new one begins.
const STEPS: usize = 150;

fn engines_in_turns(kind: Kind) {
    let Some(python) = python() else { return };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("GOTGAN_WEAVE_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    // It still finds differences, so it is run when it is asked for, not with every change.
    let Some(steps) = number("GOTGAN_WEAVE_STEPS").map(|steps| steps as usize) else {
        eprintln!("SKIPPED engines_in_turns: GOTGAN_WEAVE_STEPS says how many steps to take");
        return;
    };
    let shrinks = number("GOTGAN_WEAVE_SHRINK").is_some();
    for (n, start) in (0..steps).step_by(STEPS).enumerate() {
        let seed = first + n as u64;
        println!("GOTGAN_WEAVE_SEED={seed} GOTGAN_WEAVE_STEPS={STEPS}");
        let mut weave = Weave::start(kind, &python, seed);
        let Err(mut error) = weave.steps(STEPS.min(steps - start)) else { continue };
        let mut done = std::mem::take(&mut weave.done);
        drop(weave);
        if shrinks {
            (done, error) = shrink(kind, &python, seed, done, error);
        }
        let told: String = done.iter().map(|step| format!("{step}\n")).collect();
        panic!("seed {seed}, step {}:\n{told}\n{error}", done.len());
    }
}

/// The steps without those that the failure does not need, and the failure then.
fn shrink(
    kind: Kind,
    python: &Path,
    seed: u64,
    mut steps: Vec<Step>,
    mut error: String,
) -> (Vec<Step>, String) {
    // Failures are the same if they are in the same words.
    let words = |error: &str| -> String {
        error.chars().filter(char::is_ascii_lowercase).take(25).collect()
    };
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(steps.len()));
            match Weave::start(kind, python, seed).again(&fewer) {
                Err(other) if words(&other) == words(&error) => (steps, error) = (fewer, other),
                _ => from += size,
            }
        }
        size /= 2;
    }
    (steps, error)
}

/// What a relation was at some time.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    columns: Vec<Column>,
    sum: Sum,
}

/// One run on one warehouse.
struct Weave {
    author: Author,
    duck: Duck,
    gotgan: Gotgan,
    done: Vec<Step>,
    /// Each version's tables, for those versions that can still be read.
    history: BTreeMap<u64, BTreeMap<String, Seen>>,
    newest: u64,
    _lake: Lake,
}

impl Weave {
    fn start(kind: Kind, python: &Path, seed: u64) -> Self {
        let (lake, duck) = engines::beside(kind, python);
        let gotgan = Gotgan::open(&Config::new(&lake.location));
        let (author, done) = (Author::new(seed), vec![]);
        Self { author, duck, gotgan, done, history: BTreeMap::new(), newest: 0, _lake: lake }
    }

    fn steps(&mut self, n: usize) -> Result<(), String> {
        for _ in 0..n {
            if self.author.rng.u8(..16) == 0 {
                self.duck.attach_again();
            }
            let mut step = self.author.step();
            let result = self.perform(&mut step);
            self.done.push(step);
            result?;
            self.look(false)?;
        }
        Ok(())
    }

    /// What is wrong after these steps, of which some may not work any more.
    fn again(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            self.perform(&mut step.clone())?;
        }
        self.look(true)
    }

    fn run(&mut self, by: By, sql: &str) -> Result<(), String> {
        match by {
            By::Gotgan => self.gotgan.run(sql).map_err(|error| error.to_string()),
            By::Duck => {
                let result = self.duck.run(Side::Lake, &[sql]).map(drop);
                // DuckDB leaves the files of a failed statement.
                if result.is_err() {
                    self.duck.leave_files();
                }
                result
            }
        }
    }

    fn mirror(&mut self, sql: &str) -> Result<(), String> {
        self.duck.run(Side::Mirror, &[sql]).map(drop)
    }

    fn perform(&mut self, step: &mut Step) -> Result<(), String> {
        match step {
            Step::Alone(by, sql) => self.alone(*by, sql).map(drop),
            Step::Together(by, statements, commits) => self.together(*by, statements, *commits),
            Step::Overlapping(by, mine, theirs) => self.overlapping(*by, mine, theirs),
            Step::Upkeep(by, what) => self.upkeep(*by, what),
        }
    }

    fn upkeep(&mut self, by: By, what: &Upkeep) -> Result<(), String> {
        if let (By::Duck, Upkeep::Rewrite(schema, name)) = (by, what) {
            // DuckDB forgets the bounds of a column if a file has only NULLs in it, and the next
            // insert leaves the table with its own.
            let unknown = format!(
                "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_file_column_stats \
                 JOIN __ducklake_metadata_lake.ducklake_data_file AS f USING (data_file_id) \
                 JOIN __ducklake_metadata_lake.ducklake_table AS t ON t.table_id = f.table_id \
                 JOIN __ducklake_metadata_lake.ducklake_schema USING (schema_id) \
                 WHERE f.end_snapshot IS NULL AND t.end_snapshot IS NULL AND min_value IS NULL \
                 AND schema_name = '{schema}' AND table_name = '{name}'"
            );
            if self.duck.run(Side::Lake, &[unknown])?[0][0][0].as_deref() != Some("0") {
                return Ok(());
            }
        }
        let versions: Vec<u64> = self.history.keys().copied().collect();
        let sql = what.sql(by, &versions);
        match self.run(by, &sql) {
            // It forgets the ids of updated rows where the ranges of files are adjacent.
            Ok(()) if (by, what) == (By::Duck, &Upkeep::Merge) => self.forget_row_ids(),
            // It drops tables that it goes on to read for older versions.
            Ok(()) if (by, what) == (By::Duck, &Upkeep::Flush) => {
                self.duck.attach_again();
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) if is_known(by, &error) => Ok(()),
            Err(error) => Err(format!("{by:?}: {sql}: {error}")),
        }
    }

    /// Runs a statement on an engine and on the mirror; whether it worked.
    fn alone(&mut self, by: By, sql: &str) -> Result<bool, String> {
        match self.run(by, sql) {
            Ok(()) => match self.mirror(sql) {
                Ok(()) => Ok(true),
                Err(error) => Err(format!("{by:?} took what is wrong: {sql}: {error}")),
            },
            Err(error) => {
                self.mirror("BEGIN")?;
                let works = self.mirror(sql).is_ok();
                self.mirror("ROLLBACK")?;
                match works && !is_known(by, &error) {
                    true => Err(format!("{by:?} refused what is right: {sql}: {error}")),
                    false => Ok(false),
                }
            }
        }
    }

    /// Statements of a transaction, which alone sees what it did. What is empty is not decided yet.
    fn together(&mut self, by: By, statements: &mut [String], commits: bool) -> Result<(), String> {
        let mut before = self.relations(Side::Mirror)?;
        self.keep_whole(&mut before);
        let outside = self.sums(Side::Mirror, &before)?;
        self.run(by, "BEGIN")?;
        self.mirror("BEGIN")?;
        for sql in statements {
            if sql.is_empty() {
                *sql = self.author.change(by);
            }
            let (done, mirrored) = (self.run(by, sql), self.mirror(sql));
            if let (Ok(()), Ok(())) = (&done, &mirrored) {
                self.inside(by, sql)?;
                continue;
            }
            // An error ends a transaction of DuckDB's.
            let _ = (self.run(by, "ROLLBACK"), self.mirror("ROLLBACK"));
            return match (done, mirrored) {
                (Err(error), Ok(())) if !is_known(by, &error) => {
                    Err(format!("{by:?} refused what is right, inside: {sql}: {error}"))
                }
                (Ok(()), Err(error)) => Err(format!("{by:?} took what is wrong: {sql}: {error}")),
                _ => Ok(()),
            };
        }
        for (relation, expected) in before.iter().zip(outside) {
            let sum = self.sum(by.other(), false, relation, None)?;
            if sum != expected {
                return Err(format!(
                    "{} changed before COMMIT: {expected:?} {sum:?}",
                    relation.path()
                ));
            }
        }
        let end = if commits { "COMMIT" } else { "ROLLBACK" };
        self.mirror(end)?;
        self.run(by, end).map_err(|error| format!("{by:?}: {end}: {error}"))
    }

    /// A transaction's own view is the mirror's.
    fn inside(&mut self, by: By, sql: &str) -> Result<(), String> {
        let mut relations = self.relations(Side::Mirror)?;
        self.keep_whole(&mut relations);
        let expected = self.sums(Side::Mirror, &relations)?;
        for (relation, expected) in relations.iter().zip(expected) {
            let sum = self.sum(by, true, relation, None)?;
            if sum != expected {
                let path = relation.path();
                return Err(format!("inside after {sql}: {path} is {sum:?}, not {expected:?}"));
            }
        }
        self.author.relations = relations;
        Ok(())
    }

    /// A transaction of one engine, during which the other commits: it fails, or both have happened
    /// one after the other.
    fn overlapping(&mut self, by: By, mine: &[String], theirs: &str) -> Result<(), String> {
        self.run(by, "BEGIN")?;
        for sql in mine {
            if let Err(error) = self.run(by, sql) {
                let _ = self.run(by, "ROLLBACK");
                return match is_known(by, &error) {
                    true => Ok(()),
                    false => Err(format!("{by:?} refused what is right: {sql}: {error}")),
                };
            }
        }
        let arrived = self.run(by.other(), theirs);
        if let Err(error) = &arrived
            && !is_known(by.other(), error)
            && !is_conflict(error)
        {
            return Err(format!("{:?} refused what is right: {theirs}: {error}", by.other()));
        }
        let committed = self.run(by, "COMMIT");
        if let Err(error) = &committed {
            let _ = self.run(by, "ROLLBACK");
            if !is_conflict(error) {
                return Err(format!("{by:?}: COMMIT: {error}"));
            }
        }
        let theirs: Vec<&str> = arrived.iter().map(|()| theirs).collect();
        let mine: Vec<&str> = committed.iter().flat_map(|()| mine).map(String::as_str).collect();
        self.either_order(&theirs, &mine)
    }

    /// Makes the mirror what the warehouse is: the one after the other, or the other way round.
    fn either_order(&mut self, theirs: &[&str], mine: &[&str]) -> Result<(), String> {
        let mut tried = String::new();
        for order in [[theirs, mine].concat(), [mine, theirs].concat()] {
            let all = [vec!["BEGIN"], order].concat();
            self.duck.run(Side::Mirror, &all)?;
            let mut relations = self.relations(Side::Mirror)?;
            self.keep_whole(&mut relations);
            let (expected, found) =
                (self.sums(Side::Mirror, &relations)?, self.sums(Side::Lake, &relations)?);
            if expected == found {
                return self.mirror("COMMIT");
            }
            self.mirror("ROLLBACK")?;
            tried += &format!("{expected:?}, not {found:?}\n");
        }
        Err(format!("two transactions are not one after the other:\n{tried}"))
    }

    /// Looks at everything from every side.
    fn look(&mut self, thorough: bool) -> Result<(), String> {
        let mut relations = self.relations(Side::Mirror)?;
        let theirs = self.relations(Side::Lake)?;
        self.names_of_ours(&relations)?;
        let (expected, found) = (names(&relations), names(&theirs));
        if found != expected {
            let only = |these: &[Named], those: &[Named]| -> Vec<Named> {
                these.iter().filter(|named| !those.contains(named)).cloned().collect()
            };
            let (more, less) = (only(&found, &expected), only(&expected, &found));
            return Err(format!("DuckDB has {more:?}\nnot {less:?}"));
        }
        self.keep_whole(&mut relations);
        let expected = self.sums(Side::Mirror, &relations)?;
        let found = self.sums(Side::Lake, &relations)?;
        let before = self.history.get(&self.newest).cloned().unwrap_or_default();
        let mut now = BTreeMap::new();
        for (i, relation) in relations.iter_mut().enumerate() {
            let (path, expected) = (relation.path(), expected[i].clone());
            if found[i] != expected {
                let rows = self.difference(By::Duck, relation);
                return Err(format!(
                    "DuckDB reads {path} as {:?}, not {expected:?}{rows}",
                    found[i]
                ));
            }
            relation.rows = expected.rows;
            relation.is_new = expected.rows == 0 && !before.contains_key(&path);
            let seen = Seen { columns: relation.columns.clone(), sum: expected.clone() };
            // What did not change is looked at now and then.
            if before.get(&path) != Some(&seen) || self.author.rng.u8(..5) == 0 {
                let ours = self.sum(By::Gotgan, false, relation, None)?;
                if ours != expected {
                    let rows = self.difference(By::Gotgan, relation);
                    return Err(format!("{path} is read as {ours:?}, not {expected:?}{rows}"));
                }
            }
            if !relation.is_view {
                now.insert(path, seen);
            }
        }
        self.author.relations = relations;
        let schemas = "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'mirror' \
                       AND (schema_name = 'main' OR NOT internal)";
        let schemas = self.duck.run(Side::Mirror, &[schemas])?.remove(0);
        self.author.schemas = schemas.into_iter().map(|mut row| row.remove(0).unwrap()).collect();
        self.snapshots(now)?;
        self.ask_something()?;
        // What takes long is not asked after each step.
        let part = self.author.rng.u8(..4);
        if part == 0 || thorough {
            self.past()?;
        }
        if part == 1 || thorough {
            self.row_ids()?;
        }
        if part == 2 || thorough {
            self.feed()?;
        }
        if part == 3 || thorough {
            self.catalog()?;
        }
        Ok(())
    }

    fn catalog(&mut self) -> Result<(), String> {
        let violations = self.duck.violations()?;
        if !violations.is_empty() {
            return Err(format!("in the catalog:\n{}", violations.join("\n")));
        }
        Ok(())
    }

    fn relations(&mut self, side: Side) -> Result<Vec<Relation>, String> {
        let database = if side == Side::Lake { "lake" } else { "mirror" };
        let columns = format!(
            "SELECT schema_name, table_name, column_name, data_type, is_nullable, \
             column_default IS NOT NULL FROM duckdb_columns() WHERE database_name = '{database}' \
             AND NOT internal ORDER BY schema_name, table_name, column_index"
        );
        let views = format!(
            "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = '{database}' \
             AND NOT internal"
        );
        let mut answers = self.duck.run(side, &[columns, views])?;
        let views = answers.pop().unwrap();
        let mut relations: Vec<Relation> = Vec::new();
        for row in answers.pop().unwrap() {
            let [schema, name, column, kind, is_nullable, has_default] =
                row.map_text().try_into().unwrap();
            let is_new =
                relations.last().is_none_or(|last| (&last.schema, &last.name) != (&schema, &name));
            if is_new {
                let is_view = views.contains(&vec![Some(schema.clone()), Some(name.clone())]);
                relations.push(Relation {
                    schema,
                    name,
                    is_view,
                    columns: vec![],
                    rows: 0,
                    is_new: false,
                });
            }
            relations.last_mut().unwrap().columns.push(Column {
                name: column,
                kind: Type::parse(&kind),
                is_nullable: is_nullable == "true",
                has_default: has_default == "true",
            });
        }
        // The columns of a view whose table is gone are not known.
        for view in views {
            let [schema, name] = view.map_text().try_into().unwrap();
            if !relations.iter().any(|r| (&r.schema, &r.name) == (&schema, &name)) {
                relations.push(Relation {
                    schema,
                    name,
                    is_view: true,
                    columns: vec![],
                    rows: 0,
                    is_new: false,
                });
            }
        }
        relations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        Ok(relations)
    }

    /// The program has the same relations, and the tables have the same columns.
    fn names_of_ours(&mut self, relations: &[Relation]) -> Result<(), String> {
        let tables = "SELECT table_schema, table_name, table_type = 'VIEW' AS is_view \
                      FROM information_schema.tables WHERE table_schema <> 'information_schema' \
                      ORDER BY table_schema, table_name";
        let columns = "SELECT table_schema, table_name, column_name FROM information_schema.columns \
                       WHERE table_schema <> 'information_schema' \
                       ORDER BY table_schema, table_name, ordinal_position";
        let mut rows = |sql| self.gotgan.rows(false, sql).map_err(|e| format!("{sql}: {e}"));
        let (tables, columns) = (rows(tables)?, rows(columns)?);
        let row = |relation: &Relation, more: &str| -> Vec<Option<String>> {
            [&relation.schema, &relation.name, more].map(|text| Some(text.to_owned())).to_vec()
        };
        let all = relations.iter().map(|r| row(r, if r.is_view { "true" } else { "false" }));
        let of_tables = relations.iter().filter(|relation| !relation.is_view);
        let expected: Rows =
            of_tables.flat_map(|r| r.columns.iter().map(|c| row(r, &c.name))).collect();
        let is_missing = |row: &&Vec<Option<String>>| !columns.contains(row);
        match (tables == all.collect::<Rows>(), expected.iter().find(is_missing)) {
            (true, None) => Ok(()),
            (true, Some(column)) => Err(format!("there is no column {column:?}")),
            (false, _) => Err(format!("there is {tables:?}, not {:?}", names(relations))),
        }
    }

    /// Without the views whose table is gone, or is another one.
    fn keep_whole(&mut self, relations: &mut Vec<Relation>) {
        relations.retain(|relation| {
            let query = format!("FROM {}", relation.path());
            !relation.is_view || self.duck.run(Side::Mirror, &[query]).is_ok()
        });
    }

    /// The sums of relations as one side of DuckDB's sees them.
    fn sums(&mut self, side: Side, relations: &[Relation]) -> Result<Vec<Sum>, String> {
        let queries: Vec<String> = relations.iter().map(|r| duck_query(r, None)).collect();
        let answers = self.duck.run(side, &queries)?;
        Ok(answers.iter().map(|rows| Sum::from_answer(&rows[0])).collect())
    }

    /// The sum of a relation as one engine sees it: in its transaction or outside, now or then.
    fn sum(
        &mut self,
        by: By,
        inside: bool,
        relation: &Relation,
        at: Option<u64>,
    ) -> Result<Sum, String> {
        match by {
            By::Duck => {
                let answer = self.duck.run(Side::Lake, &[duck_query(relation, at)])?;
                Ok(Sum::from_answer(&answer[0][0]))
            }
            By::Gotgan => {
                let sql = format!("SELECT * FROM {}{}", relation.path(), version(at));
                let rows = self.gotgan.rows(inside, &sql);
                rows.map(|rows| Sum::of(&rows)).map_err(|error| format!("{sql}: {error}"))
            }
        }
    }

    /// The rows that an engine should not have, or has not.
    fn difference(&mut self, by: By, relation: &Relation) -> String {
        let expressions = duck_values(&relation.columns);
        let sql = format!("SELECT {} FROM {}", expressions.join(", "), relation.path());
        let Ok(mut expected) = self.duck.run(Side::Mirror, &[&sql]) else { return String::new() };
        let found = match by {
            By::Duck => self.duck.run(Side::Lake, &[&sql]).map(|mut answers| answers.remove(0)),
            By::Gotgan => {
                let sql = format!("SELECT * FROM {}", relation.path());
                self.gotgan.rows(false, &sql).map_err(|error| error.to_string())
            }
        };
        let (mut expected, mut found) = (expected.remove(0), found.unwrap_or_default());
        expected.sort();
        found.sort();
        let only = |these: &Rows, those: &Rows| -> String {
            let rows = these.iter().filter(|row| those.binary_search(row).is_err()).take(3);
            rows.map(|row| format!("    {row:?}\n")).collect()
        };
        let (more, less) = (only(&found, &expected), only(&expected, &found));
        format!("\n  wrong:\n{more}  missing:\n{less}")
    }

    /// At most one snapshot is new, and both engines count the same ones.
    fn snapshots(&mut self, now: BTreeMap<String, Seen>) -> Result<(), String> {
        let query =
            "SELECT CAST(snapshot_id AS VARCHAR) AS id FROM snapshots() ORDER BY snapshot_id";
        let ours = self.gotgan.rows(false, query).map_err(|error| error.to_string())?;
        let query = query.replace("snapshots()", "ducklake_snapshots('lake')");
        let theirs = self.duck.run(Side::Lake, &[query])?.remove(0);
        if ours != theirs {
            return Err(format!("snapshots are {ours:?} and {theirs:?}"));
        }
        let ids: Vec<u64> =
            ours.into_iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
        let newest = *ids.last().unwrap();
        let overlapped = matches!(self.done.last(), Some(Step::Overlapping(..)));
        if newest < self.newest || newest > self.newest + 1 + u64::from(overlapped) {
            return Err(format!("snapshot {newest} comes after {}", self.newest));
        }
        if newest == self.newest && self.history.get(&newest).is_some_and(|before| *before != now) {
            return Err("something changed without a snapshot".into());
        }
        self.newest = newest;
        self.history.retain(|id, _| ids.contains(id));
        self.history.insert(newest, now);
        Ok(())
    }

    /// A question that statistics may answer, or help to.
    fn ask_something(&mut self) -> Result<(), String> {
        let tables: Vec<Relation> =
            self.author.relations.iter().filter(|r| !r.is_view).cloned().collect();
        let Some(table) = self.author.rng.choice(tables) else { return Ok(()) };
        let predicate = self.author.predicate(&table, 2);
        let mut questions = vec![
            format!("SELECT count(*) AS n FROM {}", table.path()),
            format!(
                "SELECT count(*) AS n, sum(\"id\") AS ids FROM {} WHERE {predicate}",
                table.path()
            ),
        ];
        let column = self.author.rng.choice(&table.columns).unwrap();
        let name = quoted(&column.name);
        if column.kind.is_ordered() {
            questions.push(format!(
                "SELECT min({name}) AS a, max({name}) AS b, count({name}) AS n FROM {}",
                table.path()
            ));
        }
        let expected = self.duck.run(Side::Mirror, &questions)?;
        let theirs = self.duck.run(Side::Lake, &questions)?;
        for (i, question) in questions.iter().enumerate() {
            if theirs[i] != expected[i] {
                return Err(format!(
                    "{question}: DuckDB says {:?}, not {:?}",
                    theirs[i], expected[i]
                ));
            }
            let ours = self.gotgan.rows(false, question).map_err(|e| format!("{question}: {e}"))?;
            if ours != expected[i] {
                return Err(format!("{question}: {ours:?}, not {:?}", expected[i]));
            }
        }
        Ok(())
    }

    /// An earlier version of a table is what it was.
    fn past(&mut self) -> Result<(), String> {
        let versions: Vec<u64> = self.history.keys().copied().collect();
        let version = self.author.rng.choice(versions).unwrap();
        let tables: Vec<(String, Seen)> = self.history[&version].clone().into_iter().collect();
        let Some((path, seen)) = self.author.rng.choice(tables) else { return Ok(()) };
        let (schema, name) = unquoted(&path);
        let relation = Relation {
            schema,
            name,
            is_view: false,
            columns: seen.columns,
            rows: 0,
            is_new: false,
        };
        for by in [By::Duck, By::Gotgan] {
            let sum = self.sum(by, false, &relation, Some(version))?;
            if sum != seen.sum {
                return Err(format!(
                    "{by:?} reads {path} at {version} as {sum:?}, not {:?}",
                    seen.sum
                ));
            }
        }
        Ok(())
    }

    /// What either engine says has changed between two versions of a table makes one the other.
    fn feed(&mut self) -> Result<(), String> {
        let tables: Vec<(String, Seen)> = self.history[&self.newest].clone().into_iter().collect();
        let Some((path, new)) = self.author.rng.choice(tables) else { return Ok(()) };
        // Versions one after the other in which it was there in this form.
        let mut versions: Vec<(u64, Sum)> = Vec::new();
        for (id, tables) in self.history.iter().rev() {
            let follows = versions.last().is_none_or(|(next, _)| *next == id + 1);
            match tables.get(&path) {
                Some(seen) if follows && seen.columns == new.columns => {
                    versions.push((*id, seen.sum.clone()));
                }
                _ => break,
            }
        }
        let (schema, name) = unquoted(&path);
        let table = self.table_id(&schema, &name)?;
        // The table may be another of the same name; of files with rows of several snapshots DuckDB
        // tells wrong.
        let known = format!(
            "SELECT min(t.begin_snapshot), count(f.data_file_id) \
             FROM __ducklake_metadata_lake.ducklake_table AS t \
             LEFT JOIN __ducklake_metadata_lake.ducklake_data_file AS f \
             ON f.table_id = t.table_id AND f.partial_max IS NOT NULL WHERE t.table_id = {table}"
        );
        let known = self.duck.run(Side::Lake, &[known])?.remove(0).remove(0).map_text();
        versions.retain(|(id, _)| *id >= known[0].parse().unwrap());
        let oldest = self.author.rng.choice(&versions).cloned();
        let Some((from, old)) = oldest else { return Ok(()) };
        if from == self.newest {
            return Ok(());
        }
        let ours = format!(
            "SELECT * FROM table_changes('{}', {}, {})",
            path.replace('\'', "''"),
            from + 1,
            self.newest
        );
        let rows = self.gotgan.rows(false, &ours).map_err(|error| format!("{ours}: {error}"))?;
        let is_new = |row: &Vec<Option<String>>| {
            matches!(row[2].as_deref(), Some("insert" | "update_postimage"))
        };
        let (came, gone): (Rows, Rows) = rows.into_iter().partition(is_new);
        let values = |rows: Rows| Sum::of(&rows.into_iter().map(|row| row[3..].to_vec()).collect());
        if old.with(&values(came)) != new.sum.with(&values(gone)) {
            return Err(format!("{ours} does not make {:?} of {old:?}", new.sum));
        }
        if known[1] != "0" {
            return Ok(());
        }
        let feed = format!(
            "ducklake_table_changes('lake', '{schema}', '{name}', {}, {})",
            from + 1,
            self.newest
        );
        let query = Sum::changes(&duck_values(&new.columns), &feed);
        let row = self.duck.run(Side::Lake, &[query])?.remove(0).remove(0);
        match old.after(&row) == new.sum {
            true => Ok(()),
            false => Err(format!("{feed} does not make {:?} of {old:?}", new.sum)),
        }
    }

    fn table_id(&mut self, schema: &str, name: &str) -> Result<String, String> {
        let id = format!(
            "SELECT t.table_id FROM __ducklake_metadata_lake.ducklake_table AS t \
             JOIN __ducklake_metadata_lake.ducklake_schema AS s USING (schema_id) \
             WHERE t.end_snapshot IS NULL AND s.end_snapshot IS NULL \
             AND s.schema_name = '{schema}' AND t.table_name = '{name}'"
        );
        Ok(self.duck.run(Side::Lake, &[id])?.remove(0).remove(0).remove(0).unwrap())
    }

    fn forget_row_ids(&mut self) -> Result<(), String> {
        let tables = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'copied' \
                      AND starts_with(table_name, 'row_ids_')";
        let tables = self.duck.run(Side::Mirror, &[tables])?.remove(0);
        let drop = |row: Vec<Option<String>>| {
            format!("DROP TABLE copied.main.{}", row[0].as_ref().unwrap())
        };
        let drops: Vec<String> = tables.into_iter().map(drop).collect();
        self.duck.run(Side::Mirror, &drops).map(|_| ())
    }

    /// Each row keeps its id as long as it lives, and no other row has it.
    fn row_ids(&mut self) -> Result<(), String> {
        let tables: Vec<Relation> =
            self.author.relations.iter().filter(|r| !r.is_view).cloned().collect();
        let Some(table) = self.author.rng.choice(tables) else { return Ok(()) };
        let number = self.table_id(&table.schema, &table.name)?;
        let kept = format!("copied.main.row_ids_{number}");
        let (path, id) = (format!("lake.{}", table.path()), quoted(&table.columns[0].name));
        let answers = self.duck.run(
            Side::Mirror,
            &[
                format!("CREATE TABLE IF NOT EXISTS {kept} (id BIGINT, number BIGINT)"),
                format!("SELECT count(*) - count(DISTINCT rowid) FROM {path}"),
                format!(
                    "SELECT count(*) FROM {path} AS t JOIN {kept} AS k ON t.{id} = k.id \
                     WHERE t.rowid <> k.number"
                ),
                format!(
                    "SELECT count(*) FROM {path} AS t JOIN {kept} AS k ON t.rowid = k.number \
                     WHERE t.{id} <> k.id"
                ),
                format!("CREATE OR REPLACE TABLE {kept} AS SELECT {id} AS id, rowid AS number FROM {path}"),
            ],
        )?;
        let count = |i: usize| answers[i][0][0].clone().unwrap();
        match (count(1).as_str(), count(2).as_str(), count(3).as_str()) {
            ("0", "0", "0") => Ok(()),
            (twice, moved, reused) => Err(format!(
                "row ids of {path}: {twice} given twice, {moved} changed, {reused} of other rows"
            )),
        }
    }
}

/// Errors that one of two overlapping transactions may end with.
fn is_conflict(error: &str) -> bool {
    ["another transaction was first", "onflict", "database is locked", "is locked by another"]
        .iter()
        .any(|told| error.contains(told))
}

/// What an engine says about a statement that it does not offer.
fn is_known(by: By, error: &str) -> bool {
    let known: &[&str] = match by {
        By::Gotgan => &[],
        By::Duck => &["Not implemented Error: MERGE INTO with DuckLake only supports"],
    };
    known.iter().any(|told| error.contains(told))
}

/// A relation's name, whether it is a view, and the names and types of a table's columns.
type Named = (String, bool, Vec<(String, String, bool)>);

fn names(relations: &[Relation]) -> Vec<Named> {
    let column = |c: &Column| (c.name.clone(), c.kind.name(), c.is_nullable);
    let named = |relation: &Relation| {
        let columns = relation.columns.iter().filter(|_| !relation.is_view);
        (relation.path(), relation.is_view, columns.map(column).collect())
    };
    relations.iter().map(named).collect()
}

fn unquoted(full: &str) -> (String, String) {
    let (schema, name) = full[1..full.len() - 1].split_once("\".\"").unwrap();
    let (schema, name) = (schema.replace("\"\"", "\""), name.replace("\"\"", "\""));
    debug_assert_eq!(path(&schema, &name), full);
    (schema, name)
}

fn version(at: Option<u64>) -> String {
    at.map(|at| format!(" AT (VERSION => {at})")).unwrap_or_default()
}

fn duck_query(relation: &Relation, at: Option<u64>) -> String {
    let from = format!("{}{}", relation.path(), version(at));
    Sum::query(&duck_values(&relation.columns), &from)
}

/// The columns as the text that both engines' values are compared as.
fn duck_values(columns: &[Column]) -> Vec<String> {
    let value = |column: &Column| {
        let name = quoted(&column.name);
        match column.kind.is_nested() {
            true => format!("CAST(to_json({name}) AS VARCHAR)"),
            false if column.kind.is("BLOB") => format!("hex({name})"),
            false => format!("CAST({name} AS VARCHAR)"),
        }
    };
    columns.iter().map(value).collect()
}

trait MapText {
    fn map_text(self) -> Vec<String>;
}

impl MapText for Vec<Option<String>> {
    fn map_text(self) -> Vec<String> {
        self.into_iter().map(Option::unwrap_or_default).collect()
    }
}
