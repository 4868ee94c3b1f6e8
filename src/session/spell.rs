//! What a change of rows leaves unsaid, spelled out: all columns of a source one by one, and names of
//! tables with their schema before them as the query calls them.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, SetExpr, TableFactor, TableWithJoins, VisitorMut};

use super::Session;
use super::load::column_index;
use crate::catalog::Transaction;
use crate::catalog::model::{Table, same_name};
use crate::error::{Error, Result};
use crate::sql::dml::{Action, ColumnPath, Match, RowChange, With};
use crate::sql::name::{self, RelationRef, fold};
use crate::sql::subquery;

/// A table without an alias: its full name, and what the query calls it.
struct Known {
    path: [String; 3],
    called: Ident,
}

impl Known {
    /// How many of the parts of a name stand for the table and what is before it.
    fn prefix(&self, parts: &[Ident]) -> Option<usize> {
        let is_it = |n: &usize| {
            parts.len() > *n
                && parts
                    .iter()
                    .zip(&self.path[3 - n..])
                    .all(|(part, name)| same_name(&fold(part), name))
        };
        [3, 2].into_iter().find(is_it)
    }
}

struct Speller {
    known: Vec<Known>,
}

impl VisitorMut for Speller {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::CompoundIdentifier(parts) = expr {
            let found = self.known.iter().find_map(|known| Some((known, known.prefix(parts)?)));
            if let Some((known, n)) = found {
                parts.splice(0..n, [known.called.clone()]);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Session {
    /// The change with every column and every name as its query has them.
    pub(super) async fn spelled(
        &self,
        change: &RowChange,
        table: &Table,
        transaction: &Transaction,
    ) -> Result<RowChange> {
        let mut change = change.clone();
        let known = |name: &RelationRef, called: &Ident| Known {
            path: [
                self.warehouse.name().to_owned(),
                name.schema.clone().unwrap_or_else(|| self.default_schema().to_owned()),
                name.name.clone(),
            ],
            called: called.clone(),
        };
        let target = (!change.is_aliased).then(|| known(&change.table, &change.alias));
        for clause in &mut change.clauses {
            check_qualifiers(&mut clause.action, &change.alias, target.as_ref())?;
        }
        let mut speller = Speller { known: target.into_iter().collect() };
        if let With::Source { source, alias, .. } = &change.with
            && let TableFactor::Table { name, alias: None, args: None, .. } = source.as_ref()
        {
            speller.known.push(known(&RelationRef::from_ast(name)?, &alias.name));
        }
        if let ControlFlow::Break(error) = change.visit(&mut speller) {
            return Err(error);
        }
        self.spell_all(&mut change, table, transaction).await?;
        Ok(change)
    }

    /// Names the columns where all of a source's are meant.
    async fn spell_all(
        &self,
        change: &mut RowChange,
        table: &Table,
        transaction: &Transaction,
    ) -> Result<()> {
        let is_short =
            |action: &Action| matches!(action, Action::UpdateAll(_) | Action::InsertAll(_));
        let With::Source { source, alias, .. } = &change.with else {
            return Ok(());
        };
        if !change.clauses.iter().any(|clause| is_short(&clause.action)) {
            return Ok(());
        }
        let mut query = subquery("SELECT *", change.table.span)?;
        query.with = change.ctes.clone();
        if let SetExpr::Select(select) = query.body.as_mut() {
            let relation = source.as_ref().clone();
            select.from = vec![TableWithJoins { relation, joins: vec![] }];
        }
        let planned = self.planner_on(transaction).query(&query).await?;
        let names = planned.plan.schema().fields().iter().map(|field| field.name().clone());
        let names: Vec<String> = names.collect();
        for clause in &mut change.clauses {
            let spelled = match &clause.action {
                Action::UpdateAll(matching) => {
                    Action::Update(pairs(table, &names, &alias.name, *matching, "UPDATE")?)
                }
                Action::InsertAll(matching) => {
                    let pairs = pairs(table, &names, &alias.name, *matching, "INSERT")?;
                    let (columns, values) = pairs.into_iter().unzip();
                    Action::Insert { columns: Some(columns), values }
                }
                _ => continue,
            };
            clause.action = spelled;
        }
        Ok(())
    }
}

/// Each column of a source with the table's that it is for.
fn pairs(
    table: &Table,
    names: &[String],
    source: &Ident,
    matching: Match,
    action: &str,
) -> Result<Vec<(ColumnPath, Expr)>> {
    if matching == Match::ByPosition && names.len() != table.columns.len() {
        return Err(Error::invalid(format!(
            "{action} of all columns takes {} and the source of the MERGE has {}",
            table.columns.len(),
            names.len()
        ))
        .with_help(format!("{action} BY NAME takes those that it has")));
    }
    let pair = |(index, name): (usize, &String)| {
        let column = match matching {
            Match::ByPosition => index,
            Match::ByName => column_index(&table.columns, name)?,
        };
        let column = Ident::with_quote('"', &table.columns[column].name);
        let value = vec![source.clone(), Ident::with_quote('"', name)];
        Ok((vec![column], Expr::CompoundIdentifier(value)))
    };
    names.iter().enumerate().map(pair).collect()
}

/// Leaves the names of columns alone where those of their table stand before them.
fn check_qualifiers(action: &mut Action, alias: &Ident, target: Option<&Known>) -> Result<()> {
    let check = |path: &mut ColumnPath| {
        let is_alias = path.len() == 2 && same_name(&fold(&path[0]), &fold(alias));
        let prefix = match is_alias {
            true => Some(1),
            false => target.and_then(|target| target.prefix(path)),
        };
        let n_before = path.len().saturating_sub(1);
        if n_before > 0 && prefix != Some(n_before) {
            let shown: Vec<String> = path.iter().map(ToString::to_string).collect();
            let message = format!("{} is not a column of \"{}\"", shown.join("."), fold(alias));
            let help = "a field inside of a column is set with the whole of it";
            let span = path.first().and_then(|first| name::span(first.span));
            return Err(Error::invalid(message).with_help(help).or_span(span));
        }
        path.drain(..n_before);
        Ok(())
    };
    match action {
        Action::Update(assignments) => assignments.iter_mut().try_for_each(|(path, _)| check(path)),
        Action::Insert { columns: Some(columns), .. } => columns.iter_mut().try_for_each(check),
        _ => Ok(()),
    }
}
