//! Gotgan (곳간, "storehouse"): an embedded SQL data warehouse.
//!
//! A [`Warehouse`] is a directory or a bucket: Parquet files, and a catalog that says which of them
//! are which table since when. A [`Session`] runs SQL on it and gives Arrow batches back. The
//! catalog's format is DuckLake 1.0, so DuckDB reads and writes the same warehouse.
//!
//! ```
//! use futures::TryStreamExt;
//! use gotgan::{Config, ErrorKind, Outcome, Warehouse};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> gotgan::Result<()> {
//! # let scratch = tempfile::tempdir().expect("a scratch directory");
//! # let path = scratch.path().join("shop.wh");
//! // Opened, and created on first use.
//! let warehouse = Warehouse::open(Config::new(path.to_str().expect("UTF-8"))).await?;
//! let mut session = warehouse.session();
//!
//! // A statement becomes visible at once or not at all.
//! session.sql("CREATE TABLE orders AS SELECT * FROM (VALUES (1, 9.5), (2, 3.0)) AS t(id, price)").await?;
//!
//! // Rows are Arrow batches, computed while they are read; dropping the stream cancels the query.
//! let Outcome::Rows(rows) = session.sql("SELECT sum(price) AS total FROM orders").await? else {
//!     unreachable!("a query gives rows");
//! };
//! let batches: Vec<_> = rows.try_collect().await?;
//! assert_eq!(batches[0].num_rows(), 1);
//!
//! // A transaction sees its own work before anyone else does.
//! session.sql("BEGIN").await?;
//! session.sql("INSERT INTO orders VALUES (3, 1.25)").await?;
//! session.sql("ROLLBACK").await?;
//!
//! // Errors say what to do next, and where.
//! let error = session.sql("SELECT * FROM ordrs").await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::NotFound);
//! assert_eq!(error.label(), Some("did you mean orders?"));
//! assert_eq!(error.span().expect("a place").start.column, 15);
//!
//! // The tables, in a DataFusion context of your own.
//! let context = datafusion::prelude::SessionContext::new();
//! warehouse.register(&context).await?;
//! let frame = context.sql("SELECT count(*) FROM shop.main.orders").await?;
//! assert_eq!(frame.collect().await?[0].num_rows(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Architecture
//!
//! Dependencies point one way, and a test holds them to it:
//!
//! ```text
//! cli ──> session, warehouse ──> maintain ──> write ──> table ──> catalog ──> (database driver)
//!              │    │               │           │         │
//!              │    └──> source ────┴───────────┴─────────┴──> storage ──> (object stores)
//!              └──> sql, optimizer ──> exec    leaves: error, diagnostic, memory, catalog::model
//! ```
//!
//! - **A query**: text → [`Script`] (statements with their places) → [`Session::execute`] pins a
//!   snapshot → names are resolved once, asynchronously, to just the tables the statement names →
//!   DataFusion plans, with rules of ours in `optimizer` that order joins by the catalog's
//!   statistics, and operators of ours in `exec` → `table::LakeTable` leaves out files by theirs,
//!   without opening one, and yields a plain Parquet scan.
//! - **A write**: the same up to the plan → `write::write`, one Parquet writer per partition, the
//!   statistics gathered from the footers → staged [`catalog::model::Changes`] →
//!   [`catalog::Catalog::commit`]: lock, check for conflicts, number, insert rows, and all of that
//!   again if another writer was first. Nothing is visible before; after a failure the files are
//!   gone again.
//! - **Upkeep**: CALL → `maintain` reads and writes files as above → [`catalog::Catalog::commit`]
//!   with the files that take the place of others. What expires leaves the catalog first, and its
//!   files wait to be cleaned up.
//! - **A transaction** is a value, [`catalog::Transaction`]: a pinned snapshot with changes on top.
//!   Each statement works on a clone, so a failed one leaves no trace.
//!
//! Deliberately absent: `catalog` knows no Arrow and no DataFusion, `storage` no tables, `sql` no
//! catalog; `table` never writes; only `cli` prints, and only it reads the environment.
//!
//! | To add or change | edit | test in |
//! |---|---|---|
//! | a statement | `sql/mod.rs` (`Command`), `sql/parser.rs`, one arm in `session/mod.rs` | `tests/slt/<feature>/` |
//! | an SQL type | `catalog::model::ColumnType`, `catalog/types.rs`, `sql/types.rs`, `table/types.rs` | `tests/slt/types/`, `tests/it/interop.rs` |
//! | a file format or reader option | `source/files.rs`, `source/options.rs` | `tests/slt/files/` |
//! | a function or operator of DuckDB's | `dialect/` | `tests/slt/dialect/` |
//! | what a statement does when memory runs out | `memory/`, `optimizer/spill_joins.rs`, `exec/` | `tests/it/memory.rs` |
//! | the order of joins, or an estimate | `optimizer/`, a pin of `optimizer/tests.rs` | `tests/it/queries.rs`, `tests/slt/optimizer/` |
//! | what is computed once for several places | `optimizer/share.rs`, `exec/shared.rs` | `tests/slt/optimizer/share_plans.slt`, `tests/it/queries.rs` |
//! | an operator | `exec/`, what plans it in `optimizer/` | `tests/it/queries.rs`, `tests/slt/optimizer/` |
//! | a table function | `session/readers.rs` | `tests/slt/` |
//! | the change feed | `catalog/feed.rs` (which files), `table/feed/` (which rows), `session/feed.rs` (arguments) | `tests/slt/changes/`, `tests/it/feed.rs` |
//! | what differs between SQLite and PostgreSQL | `catalog/backend/` | `tests/it/postgres.rs`; all of `tests/slt` runs on both |
//! | what a commit writes | `catalog/commit.rs`, conflicts in `catalog/conflict.rs` | `tests/it/interop.rs` |
//! | a procedure of upkeep | `maintain/`, its parameters in `session/upkeep.rs` | `tests/slt/upkeep/`, `tests/it/upkeep.rs` |
//! | how files are laid out | `write/file.rs` | `benches/tpch.rs` |
//! | a dot command | `cli/command.rs` | its own tests, `tests/it/cli.rs` |
//! | an output format | `cli/output.rs` | its own tests |
//! | an error's words | where it is made; other crates' in `error.rs` | `tests/slt/errors/` |

pub mod catalog;
#[doc(hidden)]
pub mod cli;
mod config;
pub mod diagnostic;
mod dialect;
pub mod error;
mod exec;
mod maintain;
mod memory;
mod optimizer;
mod session;
mod source;
pub mod sql;
mod storage;
mod table;
mod warehouse;
mod write;

pub use config::Config;
pub use diagnostic::Source;
pub use error::{Error, ErrorKind, Result};
pub use session::{Names, Outcome, Progress, ProgressReading, Rows, Session};
pub use sql::{Script, Statement};
pub use warehouse::Warehouse;

/// Types as people write them.
pub mod types {
    pub use crate::table::types::display_type;
}
