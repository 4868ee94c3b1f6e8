//! The interleaved test: the program and DuckDB change one warehouse in turns, at random, and after
//! each step both have to read the same as a database in memory that ran the same statements.
//!
//! ```text
//! seed -> steps -> the program | DuckDB   on one catalog        look: every table, its past,
//!              \-> a mirror in DuckDB     on its own tables  -> statistics, row ids, the catalog's rows
//! ```
//!
//! A run takes the same steps each time, or, from a new seed, as many as `GOTGAN_WEAVE_STEPS` says. It
//! prints its seeds; `GOTGAN_WEAVE_SEED=… GOTGAN_WEAVE_STEPS=… cargo test --test it weave` repeats one.
//! `GOTGAN_WEAVE_SHRINK=1` leaves out, after a failure, the steps that it does not need.

mod definitions;
pub(crate) mod engines;
mod look;
mod read;
mod statements;
mod steps;
mod tables;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fastrand::Rng;
use gotgan::Config;

use self::engines::{Duck, Gotgan, Side, Sum};
use self::statements::Author;
use self::steps::{By, Step, Upkeep};
use self::tables::{Column, quoted};
use crate::services::python;
use crate::support::{Kind, Lake, on_each_catalog};

on_each_catalog!(engines_in_turns);

/// Steps on one warehouse; then a new one begins.
const STEPS: usize = 150;

/// The seed and the steps of a run if nothing else is said: a change is judged by what passed before.
const USUAL: (u64, u64) = (7, 100);

fn engines_in_turns(kind: Kind) {
    let Some(python) = python() else { return };
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, steps) = match (number("GOTGAN_WEAVE_SEED"), number("GOTGAN_WEAVE_STEPS")) {
        (None, None) => USUAL,
        (seed, steps) => {
            (seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000)), steps.unwrap_or(USUAL.1))
        }
    };
    let steps = steps as usize;
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
    let fails = |steps: &[Step], looks: bool, error: &str| {
        let other = Weave::start(kind, python, seed).again(steps, looks).err()?;
        (words(&other) == words(error)).then_some(other)
    };
    // Looking on the way takes long, and is needed by few failures.
    let looks = fails(&steps, false, &error).is_none();
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(steps.len()));
            match fails(&fewer, looks, &error) {
                Some(other) => (steps, error) = (fewer, other),
                None => from += size,
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
    /// Chooses what is looked at, so that it does not change what is done.
    looks: Rng,
    duck: Duck,
    gotgan: Gotgan,
    done: Vec<Step>,
    /// Each version's tables, for those versions that can still be read.
    history: BTreeMap<u64, BTreeMap<String, Seen>>,
    newest: u64,
    /// Ids of tables that DuckDB has rewritten.
    rewritten: BTreeSet<String>,
    /// Tables, by schema and name, of which DuckDB will not find all rows.
    forgotten: Vec<[String; 2]>,
    _lake: Lake,
}

impl Weave {
    fn start(kind: Kind, python: &Path, seed: u64) -> Self {
        let (lake, duck) = engines::beside(kind, python);
        let gotgan = Gotgan::open(&Config::new(&lake.location));
        let (author, looks, history) = (Author::new(seed), Rng::with_seed(seed), BTreeMap::new());
        Self {
            author,
            looks,
            duck,
            gotgan,
            done: vec![],
            history,
            newest: 0,
            rewritten: BTreeSet::new(),
            forgotten: vec![],
            _lake: lake,
        }
    }

    fn steps(&mut self, n: usize) -> Result<(), String> {
        for _ in 0..n {
            let mut step = match self.forgotten.pop() {
                Some([schema, name]) => {
                    let drop = format!("DROP TABLE {}.{}", quoted(&schema), quoted(&name));
                    Step::Alone(By::Gotgan, drop)
                }
                None => self.author.step(),
            };
            let result = self.perform(&mut step);
            self.done.push(step);
            result?;
            self.look(false)?;
        }
        Ok(())
    }

    /// What is wrong after these steps, of which some may not work any more.
    fn again(&mut self, steps: &[Step], looks: bool) -> Result<(), String> {
        for step in steps {
            self.perform(&mut step.clone())?;
            self.done.push(step.clone());
            if looks {
                self.look(false)?;
            }
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
        let (by, done) = match step {
            Step::Alone(by, sql) => (*by, self.alone(*by, sql).map(drop)),
            Step::Together(by, statements, commits) => {
                (*by, self.together(*by, statements, *commits))
            }
            Step::Overlapping(by, mine, theirs) => (By::Duck, self.overlapping(*by, mine, theirs)),
            Step::Upkeep(by, what) => (*by, self.upkeep(*by, what)),
            Step::AttachAgain => {
                self.duck.attach_again();
                return Ok(());
            }
        };
        self.forgotten.extend(self.duck.wrote(by == By::Duck));
        done
    }

    fn upkeep(&mut self, by: By, what: &Upkeep) -> Result<(), String> {
        if by == By::Duck && !self.duck_is_right(what)? {
            return Ok(());
        }
        let versions: Vec<u64> = self.history.keys().copied().collect();
        let sql = what.sql(by, &versions);
        match self.run(by, &sql) {
            Ok(()) if by == By::Duck => self.after_duck(what),
            Ok(()) => Ok(()),
            Err(error) if is_known(by, &error) => Ok(()),
            Err(error) if (by, what) == (By::Duck, &Upkeep::Flush) && is_of_the_past(&error) => {
                Ok(())
            }
            Err(error) => Err(format!("{by:?}: {sql}: {error}")),
        }
    }

    /// Whether DuckDB does this without losing something, or failing.
    fn duck_is_right(&mut self, what: &Upkeep) -> Result<bool, String> {
        match what {
            Upkeep::Rewrite(schema, name) => {
                // It forgets the bounds of a column if a file has only NULLs in it, and the next
                // insert leaves the table with its own.
                let unknown = format!(
                    "SELECT count(*) FROM __ducklake_metadata_lake.ducklake_file_column_stats \
                     JOIN __ducklake_metadata_lake.ducklake_data_file AS f USING (data_file_id) \
                     JOIN __ducklake_metadata_lake.ducklake_table AS t ON t.table_id = f.table_id \
                     JOIN __ducklake_metadata_lake.ducklake_schema USING (schema_id) \
                     WHERE f.end_snapshot IS NULL AND t.end_snapshot IS NULL AND min_value IS NULL \
                     AND schema_name = '{schema}' AND table_name = '{name}'"
                );
                if !self.finds_none(&unknown)? {
                    return Ok(false);
                }
                let table = self.table_id(schema, name, None)?;
                self.rewritten.insert(table);
                // Deletes that the catalog keeps for the files that it rewrites, its next flush adds
                // to those that the old files have in delete files.
                match self.run(By::Gotgan, "CALL flush_inlined_data()") {
                    Err(error) if is_known(By::Gotgan, &error) => Ok(false),
                    flushed => flushed.map(|()| true),
                }
            }
            // It forgets the bounds of a column if rows of an older type come to files, too.
            Upkeep::Flush => self.finds_none(
                "SELECT count(*) FROM (SELECT table_id, column_id \
                 FROM __ducklake_metadata_lake.ducklake_column \
                 GROUP BY table_id, column_id HAVING count(DISTINCT column_type) > 1)",
            ),
            // In PostgreSQL it cannot expire nothing.
            Upkeep::Expire(residue) => {
                let mut old = self.history.keys().rev().skip(1);
                Ok(old.any(|version| version % 3 == *residue))
            }
            _ => Ok(true),
        }
    }

    fn finds_none(&mut self, count: &str) -> Result<bool, String> {
        let found = self.duck.run(Side::Lake, &[count])?;
        Ok(found[0][0][0].as_deref() == Some("0"))
    }

    /// What DuckDB does not know, or knows wrong, when it has done this.
    fn after_duck(&mut self, what: &Upkeep) -> Result<(), String> {
        // It forgets the ids of updated rows where the ranges of files are adjacent.
        if what == &Upkeep::Merge {
            self.forget_row_ids()?;
        }
        match what {
            // It goes on to know the schema when a file came as that of the last change of the file's
            // table before; or drops tables that it goes on to read for older versions.
            Upkeep::Merge | Upkeep::Rewrite(..) | Upkeep::Flush => self.duck.attach_again(),
            _ => {}
        }
        Ok(())
    }

    /// Runs a statement on an engine and on the mirror; whether it worked.
    fn alone(&mut self, by: By, sql: &str) -> Result<bool, String> {
        match self.run(by, sql) {
            Ok(()) => match self.mirror(sql) {
                Ok(()) => {
                    // It goes on with the statistics of a column's old type.
                    if by == By::Duck && sql.starts_with("ALTER") && sql.contains(" TYPE ") {
                        self.duck.attach_again();
                    }
                    Ok(true)
                }
                Err(error) => Err(format!("{by:?} took what is wrong: {sql}: {error}")),
            },
            Err(error) => self.refused(by, &[], sql, &error).map(|()| false),
        }
    }

    /// An engine may refuse what it does not offer, and what the mirror refuses too after what came
    /// `before` it.
    fn refused(&mut self, by: By, before: &[String], sql: &str, error: &str) -> Result<(), String> {
        self.mirror("BEGIN")?;
        let mut statements = before.iter().map(String::as_str).chain([sql]);
        let works = statements.all(|sql| self.mirror(sql).is_ok());
        self.mirror("ROLLBACK")?;
        match works && !is_known(by, error) {
            true => Err(format!("{by:?} refused what is right: {sql}: {error}")),
            false => Ok(()),
        }
    }

    /// Statements of a transaction, which alone sees what it did. What is empty is not decided yet.
    fn together(&mut self, by: By, statements: &mut [String], commits: bool) -> Result<(), String> {
        let mut before = self.relations(Side::Mirror)?;
        self.keep_whole(&mut before);
        let outside = self.sums(Side::Mirror, &before)?;
        self.run(by, "BEGIN")?;
        self.mirror("BEGIN")?;
        for n in 0..statements.len() {
            if statements[n].is_empty() {
                statements[n] = self.author.change_after(by, &statements[..n]);
            }
            let sql = &statements[n];
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
        self.run(by, end).map_err(|error| format!("{by:?}: {end}: {error}"))?;
        match self.mirror(end) {
            // A table that the mirror has replaced, in a schema that it has then dropped.
            Err(error) if error.contains("has dropped this table") => {
                statements.iter().try_for_each(|sql| self.mirror(sql))
            }
            ended => ended,
        }
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
        for (n, sql) in mine.iter().enumerate() {
            if let Err(error) = self.run(by, sql) {
                let _ = self.run(by, "ROLLBACK");
                return self.refused(by, &mine[..n], sql, &error);
            }
        }
        let arrived = self.run(by.other(), theirs);
        if let Err(error) = &arrived
            && !is_conflict(error)
        {
            self.refused(by.other(), &[], theirs, error)?;
        }
        let committed = self.run(by, "COMMIT");
        if let Err(error) = &committed {
            let _ = self.run(by, "ROLLBACK");
            if !is_conflict(error) {
                return Err(format!("{by:?}: COMMIT: {error}"));
            }
            // For the number of the snapshot that it did not make, DuckDB goes on to know that a
            // table's deletes are not in the catalog.
            if by == By::Duck {
                self.duck.attach_again();
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
            if let Err(error) = self.duck.run(Side::Mirror, &all) {
                self.mirror("ROLLBACK")?;
                tried += &format!("{error}\n");
                continue;
            }
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
}

/// Errors that one of two overlapping transactions may end with.
fn is_conflict(error: &str) -> bool {
    ["another transaction was first", "onflict", "database is locked", "is locked by another"]
        .iter()
        .any(|told| error.contains(told))
}

/// DuckDB's flush asks rows of the past for what holds of those that are left, and sorts rows of an older
/// form by columns that they do not have.
fn is_of_the_past(error: &str) -> bool {
    ["NOT NULL constraint failed", "not found in FROM clause"]
        .iter()
        .any(|told| error.contains(told))
}

/// What an engine says about a statement that it does not offer.
fn is_known(by: By, error: &str) -> bool {
    let known: &[&str] = match by {
        By::Gotgan => &[
            // A partition of a long text has no directory in most file systems.
            "File name too long",
            // The mirror has neither partitions nor an order.
            "cannot be dropped: the table is partitioned by it",
            "cannot be dropped: the table is sorted by it",
            "cannot change its type: the table is partitioned by its hash",
        ],
        By::Duck => &[
            "File name too long",
            "the table is partitioned by this column",
            "the table is sorted by this column",
            "Not implemented Error: MERGE INTO with DuckLake only supports",
            // It goes by statistics, which may be wider than the rows, or are not there.
            "Catalog Error: Cannot SET NOT NULL on",
        ],
    };
    known.iter().any(|told| error.contains(told))
}
