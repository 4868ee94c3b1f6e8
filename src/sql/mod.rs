//! The language: script text to spanned, classified statements.
//!
//! [`script`] splits a whole text into [`Statement`]s by its tokens (never by lines) after
//! replacing `:name` variables; [`tokens`] smooths what sqlparser would misread; [`parser`] turns
//! the tokens of one statement into a [`Command`], [`dml`] those that change rows, [`call`] those of procedures; [`types`] maps SQL
//! type names. Every span counts in the text as the user wrote it, because the
//! tokens keep their places through substitution.
//!
//! This layer knows the grammar and nothing else: no catalog, no planning, no I/O. A query inside
//! a command stays sqlparser's [`Query`], which DataFusion plans.

pub(crate) mod call;
pub(crate) mod dml;
mod limits;
pub mod name;
mod parser;
pub mod script;
mod tokens;
pub mod types;

use sqlparser::ast::{ColumnDef, Expr, Ident, Query, Statement as Ast};

pub use name::RelationRef;
pub(crate) use parser::{DIALECT, quoted, subquery, values_rows};
pub use script::Script;

use crate::diagnostic::{Position, Span};

/// One statement of a script, parsed.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(crate) command: Command,
    span: Span,
    text: String,
}

impl Statement {
    /// Where it stands in its script, without the closing semicolon.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Where its first word stands: the place of errors that have no other.
    pub(crate) fn verb(&self) -> Span {
        let width = self.text.chars().take_while(|c| c.is_alphanumeric()).count().max(1);
        let Span { start, .. } = self.span;
        let end = Position { line: start.line, column: start.column + width as u64 };
        Span { start, end }
    }

    /// Its text as written, without the closing semicolon.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is BEGIN, COMMIT or ROLLBACK.
    pub fn is_transaction_control(&self) -> bool {
        matches!(self.command, Command::Begin | Command::Commit | Command::Rollback)
    }
}

/// What a statement asks for. The session's one match is on this.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Query(Box<Query>),
    Explain(Explain),
    CreateSchema { name: RelationRef, if_not_exists: bool },
    DropSchema { names: Vec<RelationRef>, if_exists: bool, cascade: bool },
    CreateTable(CreateTable),
    DropTable { names: Vec<RelationRef>, if_exists: bool },
    CreateView(CreateView),
    DropView { names: Vec<RelationRef>, if_exists: bool },
    Insert(Insert),
    ChangeRows(Box<dml::RowChange>),
    Truncate { tables: Vec<RelationRef> },
    Copy(Copy),
    Call(call::Call),
    Checkpoint { warehouse: Option<Ident> },
    Describe(QueryOrTable),
    Summarize(QueryOrTable),
    ShowTables { all: bool },
    Show { name: String },
    Set { name: Ident, values: Vec<Expr> },
    Reset { name: Ident },
    Use { name: RelationRef },
    Prepare { name: Ident, command: Box<Command> },
    Execute { name: Ident, arguments: Vec<Expr> },
    Deallocate { name: Ident },
    Begin,
    Commit,
    Rollback,
}

#[derive(Debug, Clone)]
pub(crate) struct Explain {
    /// DataFusion's own EXPLAIN around the query, with its options.
    pub(crate) statement: Box<Ast>,
}

#[derive(Debug, Clone)]
pub(crate) struct CreateTable {
    pub(crate) name: RelationRef,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) query: Option<Box<Query>>,
}

#[derive(Debug, Clone)]
pub(crate) struct CreateView {
    pub(crate) name: RelationRef,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Box<Query>,
}

#[derive(Debug, Clone)]
pub(crate) struct Insert {
    pub(crate) table: RelationRef,
    pub(crate) columns: Vec<Ident>,
    pub(crate) by_name: bool,
    /// `None` is DEFAULT VALUES.
    pub(crate) source: Option<Box<Query>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) source: Box<Query>,
    pub(crate) target: String,
    pub(crate) target_span: Span,
    pub(crate) options: Vec<CopyOption>,
}

/// One `NAME value` of COPY's parentheses; a bare name is `true`.
#[derive(Debug, Clone)]
pub(crate) struct CopyOption {
    pub(crate) name: Ident,
    pub(crate) value: String,
}

/// What DESCRIBE and SUMMARIZE take.
#[derive(Debug, Clone)]
pub(crate) enum QueryOrTable {
    Query(Box<Query>),
    Table(RelationRef),
}
