//! The look at everything after a step: each relation, its past, what changed, row ids, statistics
//! and the catalog's rows, from every side.

use std::collections::BTreeMap;
use std::mem;

use super::engines::{Side, Sum};
use super::read::{MapText, Named, duck_values, names};
use super::steps::{By, Step};
use super::tables::{Relation, path, quoted};
use super::{Seen, Weave};

impl Weave {
    /// Looks at everything from every side.
    pub(super) fn look(&mut self, thorough: bool) -> Result<(), String> {
        mem::swap(&mut self.looks, &mut self.author.rng);
        let result = self.look_around(thorough);
        mem::swap(&mut self.looks, &mut self.author.rng);
        result
    }

    fn look_around(&mut self, thorough: bool) -> Result<(), String> {
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
        if thorough {
            for _ in 0..10 {
                self.ask_something()?;
                self.past()?;
                self.row_ids()?;
                self.feed()?;
            }
            return self.catalog();
        }
        self.ask_something()?;
        // What takes long is not asked after each step.
        match self.author.rng.u8(..4) {
            0 => self.past(),
            1 => self.row_ids(),
            2 => self.feed(),
            _ => self.catalog(),
        }
    }

    fn catalog(&mut self) -> Result<(), String> {
        let violations = self.duck.violations()?;
        if !violations.is_empty() {
            return Err(format!("in the catalog:\n{}", violations.join("\n")));
        }
        Ok(())
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
        let is_upkeep = matches!(self.done.last(), Some(Step::Upkeep(..)));
        let most = match self.done.last() {
            // Flushes, merges and rewrites are commits of one table each.
            Some(Step::Upkeep(..)) => 3 * now.len() as u64,
            Some(Step::Overlapping(..)) => 2,
            _ => 1,
        };
        let is_first = self.history.is_empty();
        if newest < self.newest || (newest > self.newest + most && !is_first) {
            return Err(format!("snapshot {newest} comes after {}", self.newest));
        }
        let before = self.history.get(&self.newest);
        if (newest == self.newest || is_upkeep) && before.is_some_and(|before| *before != now) {
            return Err("something changed without a snapshot".into());
        }
        self.history.retain(|id, _| ids.contains(id));
        if is_upkeep && !is_first {
            let new = ids.iter().filter(|id| **id > self.newest);
            self.history.extend(new.map(|id| (*id, now.clone())));
        }
        self.history.insert(newest, now);
        self.newest = newest;
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
        let ours = self.sum(By::Gotgan, false, &relation, Some(version))?;
        // A rewrite of DuckDB's makes a table's statistics those of the rows that are left, and it reads
        // the past by them.
        let table = self.table_id(&relation.schema, &relation.name, Some(version))?;
        let theirs = match self.rewritten.contains(&table) {
            true => seen.sum.clone(),
            false => self.sum(By::Duck, false, &relation, Some(version))?,
        };
        match (&ours, &theirs) == (&seen.sum, &seen.sum) {
            true => Ok(()),
            false => Err(format!(
                "{path} at {version} is {:?}; DuckDB reads {theirs:?}, Gotgan {ours:?}",
                seen.sum
            )),
        }
    }

    /// What an engine says has changed between two versions of a table is what makes one the other.
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
        let table = self.table_id(&schema, &name, None)?;
        // The table may be another of the same name. DuckDB tells wrong of files with rows of several
        // snapshots, of rows that one snapshot changes twice, and takes the rows that a rewrite keeps
        // for updated ones.
        let known = format!(
            "SELECT min(t.begin_snapshot), count(f.data_file_id) + (SELECT count(*) \
             FROM __ducklake_metadata_lake.ducklake_snapshot_changes \
             WHERE regexp_matches(changes_made, 'rewrite_delete:{table}(,|$)')) \
             FROM __ducklake_metadata_lake.ducklake_table AS t \
             LEFT JOIN __ducklake_metadata_lake.ducklake_data_file AS f \
             ON f.table_id = t.table_id AND (f.partial_max IS NOT NULL OR EXISTS ( \
             FROM __ducklake_metadata_lake.ducklake_delete_file AS d \
             WHERE d.data_file_id = f.data_file_id AND d.begin_snapshot = f.begin_snapshot)) \
             WHERE t.table_id = {table}"
        );
        let known = self.duck.run(Side::Lake, &[known])?.remove(0).remove(0).map_text();
        versions.retain(|(id, _)| *id >= known[0].parse().unwrap());
        let Some((from, old)) = self.author.rng.choice(&versions).cloned() else { return Ok(()) };
        if from == self.newest {
            return Ok(());
        }
        let (first, last) = (from + 1, self.newest);
        let feed = format!("table_changes('{path}', {first}, {last})");
        let ours = self.gotgan.rows(false, &format!("SELECT * FROM {feed}"));
        let ours = ours.map_err(|error| format!("{feed}: {error}"))?;
        if old.after_changes(&ours) != new.sum {
            return Err(format!("{feed} does not make {:?} of {old:?}", new.sum));
        }
        // Deletes that the catalog keeps have a table as soon as there are some.
        let twice = format!(
            "SELECT 1 FROM __ducklake_metadata_lake.ducklake_inlined_delete_{table} AS d \
             JOIN __ducklake_metadata_lake.ducklake_data_file AS f \
             ON d.file_id = f.data_file_id AND d.begin_snapshot = f.begin_snapshot"
        );
        let twice = self.duck.run(Side::Lake, &[twice]).unwrap_or_default();
        if known[1] != "0" || twice.iter().any(|rows| !rows.is_empty()) {
            return Ok(());
        }
        let feed = format!("ducklake_table_changes('lake', '{schema}', '{name}', {first}, {last})");
        let query = Sum::changes(&duck_values(&new.columns), &feed);
        let row = self.duck.run(Side::Lake, &[query])?.remove(0).remove(0);
        match old.after(&row) == new.sum {
            true => Ok(()),
            false => Err(format!("{feed} does not make {:?} of {old:?}", new.sum)),
        }
    }

    /// The id of a table that has this name now, or had it then.
    pub(super) fn table_id(
        &mut self,
        schema: &str,
        name: &str,
        at: Option<u64>,
    ) -> Result<String, String> {
        let is_there = |table: &str| match at {
            None => format!("{table}.end_snapshot IS NULL"),
            Some(at) => format!(
                "{table}.begin_snapshot <= {at} AND coalesce({at} < {table}.end_snapshot, true)"
            ),
        };
        let id = format!(
            "SELECT t.table_id FROM __ducklake_metadata_lake.ducklake_table AS t \
             JOIN __ducklake_metadata_lake.ducklake_schema AS s USING (schema_id) \
             WHERE {} AND {} AND s.schema_name = '{schema}' AND t.table_name = '{name}'",
            is_there("t"),
            is_there("s")
        );
        Ok(self.duck.run(Side::Lake, &[id])?.remove(0).remove(0).remove(0).unwrap())
    }

    pub(super) fn forget_row_ids(&mut self) -> Result<(), String> {
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
        let number = self.table_id(&table.schema, &table.name, None)?;
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

fn unquoted(full: &str) -> (String, String) {
    let (schema, name) = full[1..full.len() - 1].split_once("\".\"").unwrap();
    let (schema, name) = (schema.replace("\"\"", "\""), name.replace("\"\"", "\""));
    debug_assert_eq!(path(&schema, &name), full);
    (schema, name)
}
