//! CHECK constraints and declared keys: from their declaration to the table's rules.
//!
//! A CHECK is kept as SQL with the table's own spelling of its columns, so that renaming a column
//! can rename it there; [`crate::write`] enforces it on every row that is written. Keys are declared
//! and not enforced: they say what identifies a row to statements that need to know.

use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr as PlanExpr;
use sqlparser::ast::{ColumnDef, ColumnOption, Expr, Ident, IndexColumn, TableConstraint};

use super::Session;
use crate::catalog::Transaction;
use crate::catalog::model::{ColumnId, Constraint, Rule, Schema, Table, same_name};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::name::{self, fold};
use crate::sql::spell;
use crate::table::types::table_schema;
use crate::write::plan_expr;

/// The constraints that a statement declares for `table`, each with a name that is free there.
pub(super) fn declared(
    table: &Table,
    columns: &[ColumnDef],
    constraints: &[TableConstraint],
) -> Result<Vec<Constraint>> {
    let mut rules: Vec<(Option<String>, Rule)> = Vec::new();
    for definition in columns {
        let column = || vec![definition.name.clone()];
        for option in &definition.options {
            let given = |inner: &Option<Ident>| option.name.as_ref().or(inner.as_ref()).map(fold);
            rules.push(match &option.option {
                ColumnOption::Check(check) => (given(&check.name), check_rule(table, &check.expr)?),
                ColumnOption::PrimaryKey(key) => {
                    (given(&key.name), Rule::PrimaryKey(key_columns(table, &column())?))
                }
                ColumnOption::Unique(key) => {
                    (given(&key.name), Rule::Unique(key_columns(table, &column())?))
                }
                _ => continue,
            });
        }
    }
    for constraint in constraints {
        rules.push(match constraint {
            TableConstraint::Check(check) => {
                (check.name.as_ref().map(fold), check_rule(table, &check.expr)?)
            }
            TableConstraint::PrimaryKey(key) => {
                let columns = key_columns(table, &names(&key.columns)?)?;
                (key.name.as_ref().map(fold), Rule::PrimaryKey(columns))
            }
            TableConstraint::Unique(key) => {
                let columns = key_columns(table, &names(&key.columns)?)?;
                (key.name.as_ref().map(fold), Rule::Unique(columns))
            }
            other => {
                return Err(Error::unsupported(format!("constraint {other} is not supported"))
                    .with_help("tables take CHECK, PRIMARY KEY and UNIQUE"));
            }
        });
    }
    let mut taken = table.constraints.clone();
    let mut declared = Vec::with_capacity(rules.len());
    for (given, rule) in rules {
        let constraint = Constraint { name: free_name(table, given, &rule, &taken)?, rule };
        let is_second_key = matches!(constraint.rule, Rule::PrimaryKey(_))
            && taken.iter().any(|other| matches!(other.rule, Rule::PrimaryKey(_)));
        if is_second_key {
            return Err(Error::invalid(format!("table \"{}\" has a primary key", table.name))
                .with_help("there is one at most; declare the other UNIQUE"));
        }
        taken.push(constraint.clone());
        declared.push(constraint);
    }
    Ok(declared)
}

/// What a column's definition declares for the whole table, for an error.
pub(super) fn of_columns(columns: &[ColumnDef]) -> Option<&'static str> {
    let mut options = columns.iter().flat_map(|column| &column.options);
    options.find_map(|option| match &option.option {
        ColumnOption::Check(_) => Some("CHECK"),
        ColumnOption::PrimaryKey(_) => Some("PRIMARY KEY"),
        ColumnOption::Unique(_) => Some("UNIQUE"),
        _ => None,
    })
}

fn check_rule(table: &Table, expr: &Expr) -> Result<Rule> {
    let mut expr = expr.clone();
    spell(&mut expr, &table.columns, "a CHECK constraint")?;
    Ok(Rule::Check(expr.to_string()))
}

fn names(columns: &[IndexColumn]) -> Result<Vec<Ident>> {
    let name = |column: &IndexColumn| match &column.column.expr {
        Expr::Identifier(ident) => Ok(ident.clone()),
        other => Err(Error::invalid(format!("{other} is not a column"))
            .with_help("a key is a list of columns")),
    };
    columns.iter().map(name).collect()
}

fn key_columns(table: &Table, names: &[Ident]) -> Result<Vec<ColumnId>> {
    let mut ids = Vec::with_capacity(names.len());
    for ident in names {
        let span = name::span(ident.span);
        let column = table.require_column(&[fold(ident)]).map_err(|e| e.or_span(span))?;
        if ids.contains(&column.id) {
            return Err(
                Error::invalid(format!("column \"{}\" is named twice", column.name)).or_span(span)
            );
        }
        ids.push(column.id);
    }
    Ok(ids)
}

/// The name given, or PostgreSQL's: `orders_price_check`, `orders_pkey`, `orders_id_key`.
fn free_name(
    table: &Table,
    given: Option<String>,
    rule: &Rule,
    taken: &[Constraint],
) -> Result<String> {
    let is_taken = |name: &str| taken.iter().any(|other| same_name(&other.name, name));
    if let Some(name) = given {
        return match is_taken(&name) {
            false => Ok(name),
            true => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("constraint \"{name}\" of table \"{}\" already exists", table.name),
            )),
        };
    }
    let column = |id: &ColumnId| table.column_by_id(*id).map_or("", |column| &column.name);
    let base = match rule {
        Rule::PrimaryKey(_) => format!("{}_pkey", table.name),
        Rule::Unique(columns) => {
            let names: Vec<&str> = columns.iter().map(column).collect();
            format!("{}_{}_key", table.name, names.join("_"))
        }
        Rule::Check(sql) => {
            let mut names = crate::sql::columns_of(&crate::sql::parse_expr(sql)?);
            names.dedup();
            match names.as_slice() {
                [column] => format!("{}_{column}_check", table.name),
                _ => format!("{}_check", table.name),
            }
        }
    };
    let mut name = base.clone();
    let mut number = 0;
    while is_taken(&name) {
        number += 1;
        name = format!("{base}{number}");
    }
    Ok(name)
}

impl Session {
    /// Adds a constraint to `table`, once the rows that are there follow it.
    pub(super) async fn add_constraint(
        &self,
        transaction: &Transaction,
        schema: &Schema,
        table: &mut Table,
        constraint: Constraint,
    ) -> Result<()> {
        match &constraint.rule {
            Rule::Check(sql) => {
                self.plan_check(table, sql)?;
                let broken = format!("NOT ({sql})");
                if let Some(row) = self.first_row(transaction, schema, table, &broken).await? {
                    return Err(Error::invalid(format!(
                        "table \"{}\" has a row that breaks constraint \"{}\", CHECK ({sql}): {row}",
                        table.name, constraint.name
                    ))
                    .with_help("change or delete such rows first"));
                }
            }
            Rule::PrimaryKey(columns) => {
                for id in columns {
                    let column = table.columns.iter_mut().find(|column| column.id == *id);
                    let Some(column) = column.filter(|column| column.nullable) else { continue };
                    column.nullable = false;
                    let name = column.name.clone();
                    self.check_no_nulls(transaction, schema, table, &name).await?;
                }
            }
            Rule::Unique(_) => {}
        }
        table.constraints.push(constraint);
        // As the catalog lists them, so that a table read back is the same.
        table.constraints.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// A CHECK has to be a condition on one row that is the same whenever it is asked.
    fn plan_check(&self, table: &Table, sql: &str) -> Result<()> {
        let schema = DFSchema::try_from(table_schema(&table.columns)?)?;
        let expr = plan_expr(&self.template, sql, &schema)?;
        let of_many = |expr: &PlanExpr| {
            Ok(matches!(
                expr,
                PlanExpr::AggregateFunction(_) | PlanExpr::WindowFunction(_) | PlanExpr::Unnest(_)
            ))
        };
        use datafusion::common::tree_node::TreeNode;
        if expr.exists(of_many)? || expr.is_volatile() {
            return Err(Error::invalid(format!("CHECK ({sql}) is not a condition on one row"))
                .with_help(
                    "aggregates, window functions and random values are not allowed in it",
                ));
        }
        use datafusion::logical_expr::ExprSchemable;
        let data_type = expr.get_type(&schema)?;
        if !matches!(
            data_type,
            arrow::datatypes::DataType::Boolean | arrow::datatypes::DataType::Null
        ) {
            return Err(Error::invalid(format!(
                "CHECK ({sql}) is not a condition: it is {data_type}"
            ))
            .with_help("write a comparison"));
        }
        Ok(())
    }
}
