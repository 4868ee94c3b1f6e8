//! What happens between two looks at everything: statements alone, together or at the same time as
//! another's, and upkeep. The statements themselves are made in `statements` and `definitions`.

use std::fmt;

use super::statements::Author;
use super::tables::Relation;

/// How often a statement is thought of before it is given up.
const TRIES: usize = 1000;

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
    /// DuckDB forgets what it knows of the warehouse.
    AttachAgain,
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
            Self::AttachAgain => write!(f, "Duck: attaches again;"),
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

impl Author {
    /// What happens next.
    pub(super) fn step(&mut self) -> Step {
        let by = if self.rng.bool() { By::Gotgan } else { By::Duck };
        match self.rng.u8(..100) {
            0..8 => {
                // Each depends on what the ones before have done.
                let statements = vec![String::new(); self.rng.usize(1..5)];
                Step::Together(by, statements, self.rng.u8(..4) > 0)
            }
            8..14 if !self.tables().is_empty() => {
                let mut mine: Vec<String> = vec![];
                for _ in 0..self.rng.usize(1..3) {
                    mine.extend(self.next(by, &mine, |author| author.own_change(by)));
                }
                let theirs = loop {
                    let theirs = self.own_change(by.other());
                    // Two that insert for rows that they do not see insert what neither would after
                    // the other: a snapshot does not keep them apart.
                    let merges = |sql: &String| sql.starts_with("MERGE");
                    if !merges(&theirs) || !mine.iter().any(merges) {
                        break theirs;
                    }
                };
                Step::Overlapping(by, mine, theirs)
            }
            14..27 => self.upkeep(by),
            27..31 => Step::AttachAgain,
            31..42 if !self.tables().is_empty() => Step::Alone(by, self.alter()),
            _ => Step::Alone(by, self.statement(by)),
        }
    }

    /// One more statement of a transaction. DuckDB is not to change a table twice in one, except by
    /// inserts: if it deletes rows that the same transaction left to the catalog, the statistics count
    /// them no more but keep their bounds; if it creates a table with NULLs and inserts few values,
    /// there are no bounds of these. `None` if nothing else comes to mind.
    fn next(
        &mut self,
        by: By,
        before: &[String],
        statement: impl Fn(&mut Self) -> String,
    ) -> Option<String> {
        (0..TRIES).find_map(|_| {
            let sql = statement(self);
            let is_of = |sql: &str, table: &Relation| {
                sql.find('"').is_some_and(|at| sql[at..].starts_with(&table.path()))
            };
            let inserts = |sql: &str| sql.starts_with("INSERT");
            let writes_again = |table: &Relation| {
                let mut earlier = before.iter().filter(|before| is_of(before, table));
                is_of(&sql, table) && earlier.any(|before| !inserts(&sql) || !inserts(before))
            };
            let is_right = by == By::Gotgan || sql.starts_with("DROP");
            (is_right || !self.tables().iter().any(writes_again)).then_some(sql)
        })
    }

    /// What a transaction does after `before`.
    pub(super) fn change_after(&mut self, by: By, before: &[String]) -> String {
        self.next(by, before, |author| author.change(by)).expect("there is always a new table")
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
        match what {
            // DuckDB looks whether all tables suit such a limit, takes views for tables, and crashes.
            Upkeep::Inline(1..) => Step::Upkeep(By::Gotgan, what),
            _ => Step::Upkeep(by, what),
        }
    }
}
