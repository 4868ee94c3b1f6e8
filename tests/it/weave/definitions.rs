//! Random changes of what there is and of its form: schemas, tables, views, columns, layout.

use super::statements::Author;
use super::steps::Upkeep;
use super::tables::{Column, Relation, default_of, path, quoted};
use super::types::Type;

const SCHEMAS: [&str; 3] = ["main", "raw", "S 2"];
const TABLES: [&str; 5] = ["t1", "t2", "t3", "orders", "Ta \"b\" le"];
const VIEWS: [&str; 3] = ["v1", "v2", "v3"];
const COLUMNS: [&str; 7] = ["c1", "c2", "c3", "c4", "c5", "select", "Sp ace"];

impl Author {
    fn new_name(&mut self) -> String {
        let schema = self.rng.choice(self.schemas.clone()).unwrap();
        path(&schema, self.rng.choice(TABLES).unwrap())
    }

    pub(super) fn create_table(&mut self, replaces: bool) -> String {
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

    pub(super) fn create_table_as(&mut self) -> String {
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

    pub(super) fn change_schemas(&mut self) -> String {
        let schema = self.rng.choice(&SCHEMAS[1..]).unwrap();
        match self.rng.u8(..3) {
            0 => format!("CREATE SCHEMA {}", quoted(schema)),
            1 => format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)),
            _ => format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(schema)),
        }
    }

    pub(super) fn change_views(&mut self) -> String {
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

    /// Partitions or a sort order, on columns that have both.
    pub(super) fn layout(&mut self, table: &Relation) -> Upkeep {
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
    pub(super) fn alter(&mut self) -> String {
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
}
