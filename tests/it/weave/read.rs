//! What each side has: the relations, their columns, and the sums of their rows.

use super::Weave;
use super::engines::{Side, Sum};
use super::steps::By;
use super::tables::{Column, Relation, quoted};
use super::types::Type;
use crate::duckdb::Rows;

impl Weave {
    pub(super) fn relations(&mut self, side: Side) -> Result<Vec<Relation>, String> {
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
    pub(super) fn names_of_ours(&mut self, relations: &[Relation]) -> Result<(), String> {
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

    /// Without the views whose table is gone, or is another one. The columns of the others are as they
    /// are now, and not as when the view was made.
    pub(super) fn keep_whole(&mut self, relations: &mut Vec<Relation>) {
        relations.retain_mut(|relation| {
            if !relation.is_view {
                return true;
            }
            let path = relation.path();
            let query = format!("SELECT column_type FROM (DESCRIBE FROM {path})");
            let Ok(mut answers) = self.duck.run(Side::Mirror, &[query]) else { return false };
            for (column, row) in relation.columns.iter_mut().zip(answers.remove(0)) {
                column.kind = Type::parse(&row.map_text().remove(0));
            }
            true
        });
    }

    /// The sums of relations as one side of DuckDB's sees them.
    pub(super) fn sums(&mut self, side: Side, relations: &[Relation]) -> Result<Vec<Sum>, String> {
        let queries: Vec<String> = relations.iter().map(|r| duck_query(r, None)).collect();
        let answers = self.duck.run(side, &queries)?;
        Ok(answers.iter().map(|rows| Sum::from_answer(&rows[0])).collect())
    }

    /// The sum of a relation as one engine sees it: in its transaction or outside, now or then.
    pub(super) fn sum(
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
    pub(super) fn difference(&mut self, by: By, relation: &Relation) -> String {
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
}

/// A relation's name, whether it is a view, and the names and types of a table's columns.
pub(super) type Named = (String, bool, Vec<(String, String, bool)>);

pub(super) fn names(relations: &[Relation]) -> Vec<Named> {
    let column = |c: &Column| (c.name.clone(), c.kind.name(), c.is_nullable);
    let named = |relation: &Relation| {
        let columns = relation.columns.iter().filter(|_| !relation.is_view);
        (relation.path(), relation.is_view, columns.map(column).collect())
    };
    relations.iter().map(named).collect()
}

fn version(at: Option<u64>) -> String {
    at.map(|at| format!(" AT (VERSION => {at})")).unwrap_or_default()
}

fn duck_query(relation: &Relation, at: Option<u64>) -> String {
    let from = format!("{}{}", relation.path(), version(at));
    Sum::query(&duck_values(&relation.columns), &from)
}

/// The columns as the text that both engines' values are compared as.
pub(super) fn duck_values(columns: &[Column]) -> Vec<String> {
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

pub(super) trait MapText {
    fn map_text(self) -> Vec<String>;
}

impl MapText for Vec<Option<String>> {
    fn map_text(self) -> Vec<String> {
        self.into_iter().map(Option::unwrap_or_default).collect()
    }
}
