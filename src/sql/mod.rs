//! The language: script text to spanned, classified statements.
//!
//! [`script`] splits a whole text into [`Statement`]s by its tokens (never by lines) after
//! replacing `:name` variables; [`tokens`] smooths what sqlparser would misread; [`parser`] turns
//! the tokens of one statement into a [`Command`], [`dml`] and [`merge`] those that change rows,
//! [`insert`] those that add some; [`types`] maps SQL
//! type names. Every span counts in the text as the user wrote it, because the
//! tokens keep their places through substitution.
//!
//! This layer knows the grammar and nothing else: no catalog, no planning, no I/O. A query inside
//! a command stays sqlparser's [`Query`], which DataFusion plans.

mod alter;
mod create;
pub(crate) mod dml;
mod expr;
pub(crate) mod insert;
mod limits;
mod merge;
pub mod name;
mod parser;
pub mod script;
mod tokens;
pub mod types;

use sqlparser::ast::{ColumnDef, DataType, Expr, Ident, Query, Statement as Ast, TableConstraint};

pub(crate) use expr::{columns_of, parse_expr, rename_column, spell};
pub(crate) use insert::Insert;
pub use name::RelationRef;
pub(crate) use parser::{DIALECT, quoted, subquery, values_rows};
pub use script::Script;

use crate::catalog::model::{RelationKind, Transform};
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
    AlterTable(AlterTable),
    DropTable { names: Vec<RelationRef>, if_exists: bool },
    CreateView(CreateView),
    AlterView { name: RelationRef, if_exists: bool, to: String },
    DropView { names: Vec<RelationRef>, if_exists: bool },
    Comment(Comment),
    Call(Call),
    Checkpoint { warehouse: Option<Ident> },
    Insert(Insert),
    ChangeRows(Box<dml::RowChange>),
    Truncate { tables: Vec<RelationRef> },
    Copy(Copy),
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
    pub(crate) constraints: Vec<TableConstraint>,
    /// The table whose columns it gets.
    pub(crate) like: Option<Box<RelationRef>>,
    pub(crate) partition: Option<Vec<PartitionBy>>,
    pub(crate) sort: Option<Vec<SortBy>>,
    pub(crate) query: Option<Box<Query>>,
}

/// One key of PARTITIONED BY.
#[derive(Debug, Clone)]
pub(crate) struct PartitionBy {
    pub(crate) transform: Transform,
    pub(crate) column: Ident,
}

/// One key of SORTED BY.
#[derive(Debug, Clone)]
pub(crate) struct SortBy {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct AlterTable {
    pub(crate) name: RelationRef,
    pub(crate) if_exists: bool,
    pub(crate) actions: Vec<TableAction>,
}

/// One change of ALTER TABLE. A path names a column, or a field inside of one.
#[derive(Debug, Clone)]
pub(crate) enum TableAction {
    AddColumn {
        parent: Vec<Ident>,
        definition: ColumnDef,
        if_not_exists: bool,
    },
    DropColumn {
        path: Vec<Ident>,
        if_exists: bool,
    },
    RenameColumn {
        path: Vec<Ident>,
        to: Ident,
    },
    SetType {
        path: Vec<Ident>,
        data_type: DataType,
    },
    SetDefault {
        path: Vec<Ident>,
        default: Option<Expr>,
    },
    SetNullable {
        path: Vec<Ident>,
        nullable: bool,
    },
    Rename {
        to: String,
    },
    AddConstraint(TableConstraint),
    DropConstraint {
        name: Ident,
        if_exists: bool,
    },
    /// No keys: RESET.
    PartitionBy(Vec<PartitionBy>),
    /// No keys: RESET.
    SortBy(Vec<SortBy>),
}

#[derive(Debug, Clone)]
pub(crate) struct Comment {
    /// What `name` is said to be.
    pub(crate) kind: RelationKind,
    pub(crate) name: RelationRef,
    pub(crate) column: Option<Ident>,
    pub(crate) text: Option<String>,
}

/// `CALL name(arguments)`; arguments may be named.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) name: RelationRef,
    pub(crate) arguments: Vec<(Option<String>, Expr)>,
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
