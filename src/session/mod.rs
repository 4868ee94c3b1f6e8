//! A session: runs statements one at a time, with settings, prepared statements and at most one
//! open transaction.
//!
//! [`Session::execute`] is the only match on what a statement is; each arm is one call.
//!
//! ```text
//! SELECT    pin a snapshot -> plan -> stream
//! writes    clone the transaction -> plan -> files (staged) -> changes -> commit, or keep open
//! upkeep    commits of its own, outside of transactions
//! ```
//!
//! A write works on a clone of the transaction, so a statement that fails leaves the transaction
//! as it was, and its files are deleted. Without BEGIN the clone is committed at once.

mod add_files;
mod alter;
mod bind;
mod constant;
mod constrain;
mod define;
mod dml;
mod feed;
mod flush;
mod history;
mod inspect;
mod label;
mod layout;
mod load;
mod locate;
mod options;
mod outcome;
mod plan;
mod progress;
mod readers;
mod recase;
mod returning;
mod settings;
mod spell;
mod travel;
mod upkeep;
mod upsert;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::scalar::ScalarValue;

pub use self::inspect::Names;
pub use self::outcome::{Outcome, Rows};
pub(crate) use self::plan::{Planned, Planner};
pub use self::progress::{Progress, ProgressReading};
use crate::catalog::Transaction;
use crate::catalog::model::{Committed, RelationKind, SnapshotId};
use crate::diagnostic::Source;
use crate::error::{Error, ErrorKind, Result};
use crate::optimizer::Settings;
use crate::sql::{Command, Script, Statement};
use crate::warehouse::Warehouse;
use crate::write::{Staged, deletes};

/// One user's connection to a warehouse.
#[derive(Debug)]
pub struct Session {
    warehouse: Warehouse,
    /// The settings, functions and runtime that each statement's state starts from.
    template: Arc<SessionState>,
    open: Option<Open>,
    prepared: BTreeMap<String, Command>,
    progress: Progress,
    /// Whether the statement that runs has run out of memory before.
    is_short: bool,
}

/// The transaction between BEGIN and COMMIT.
#[derive(Debug)]
struct Open {
    transaction: Transaction,
    /// The files of each of its statements.
    staged: Vec<Arc<Staged>>,
}

impl Session {
    pub(crate) fn new(warehouse: Warehouse) -> Self {
        let template = Arc::clone(warehouse.template());
        let (prepared, progress) = (BTreeMap::new(), Progress::default());
        Self { warehouse, template, open: None, prepared, progress, is_short: false }
    }

    /// Runs the one statement in `text`.
    pub async fn sql(&mut self, text: &str) -> Result<Outcome> {
        self.sql_with(text, &[]).await
    }

    /// Runs the one statement in `text` with `$1`, `$2`, … standing for `parameters`.
    pub async fn sql_with(&mut self, text: &str, parameters: &[ScalarValue]) -> Result<Outcome> {
        let source = Source { name: "sql".into(), text: text.into() };
        let mut script = Script::parse(&source, &BTreeMap::new())?;
        match (script.statements.pop(), script.statements.is_empty()) {
            (Some(mut statement), true) => {
                if !parameters.is_empty() {
                    bind::bind(&mut statement.command, &bind::expressions(parameters)?)?;
                }
                self.execute(&statement).await
            }
            (None, _) => Err(Error::new(ErrorKind::Syntax, "there is no statement")),
            (Some(second), false) => Err(Error::invalid("there is more than one statement")
                .with_help("parse a Script and execute its statements one by one")
                .with_span(second.span())),
        }
    }

    /// Runs a statement. Rows but the first are computed while they are read; everything else is done
    /// when this returns. Dropping the future, or the rows, cancels the statement and changes nothing, except
    /// once the catalog is told to commit: then it may have.
    pub async fn execute(&mut self, statement: &Statement) -> Result<Outcome> {
        let outcome = self.run_until_done(&statement.command).await;
        outcome.map_err(|error| error.or_span(Some(statement.verb())))
    }

    /// Runs a command, and again when another writer was first: on its own, nobody has seen what it
    /// read. In a transaction the caller has. When memory runs out it is planned once more, for little
    /// of it: no row has been given out then, and nothing that was written is visible.
    async fn run_until_done(&mut self, command: &Command) -> Result<Outcome> {
        self.is_short = false;
        let mut patience = None;
        loop {
            self.progress.reset();
            let is_alone = self.open.is_none();
            // Boxed: planning and writing keep a lot, and every caller would carry it.
            let error = match Box::pin(self.run(command)).await {
                Err(error) if error.kind() == ErrorKind::Resources && self.can_spare() => {
                    tracing::info!(%error, "memory ran out; the statement runs again, and spills");
                    self.is_short = true;
                    continue;
                }
                Err(error) if is_alone && error.is_retryable() => error,
                result => return result,
            };
            let patience = patience.get_or_insert_with(|| self.warehouse.catalog().patience());
            if !patience.pause().await {
                return Err(error);
            }
        }
    }

    async fn run(&mut self, command: &Command) -> Result<Outcome> {
        match command {
            Command::Query(query) => {
                let planned = self.planner().await?.query(query).await?;
                self.rows(planned).await
            }
            Command::Explain(explain) => {
                let planned = self.planner().await?.statement(*explain.statement.clone()).await?;
                self.rows(planned).await
            }
            Command::CreateSchema { name, if_not_exists } => {
                self.create_schema(name, *if_not_exists).await
            }
            Command::DropSchema { names, if_exists, cascade } => {
                self.drop_schemas(names, *if_exists, *cascade).await
            }
            Command::CreateTable(create) => self.create_table(create).await,
            Command::AlterTable(alter) => self.alter_table(alter).await,
            Command::DropTable { names, if_exists } => {
                self.drop_relations(RelationKind::Table, names, *if_exists).await
            }
            Command::CreateView(create) => self.create_view(create).await,
            Command::AlterView { name, if_exists, to } => {
                self.rename_view(name, *if_exists, to).await
            }
            Command::Comment(comment) => self.comment(comment).await,
            Command::Call(call) => Box::pin(self.call(call)).await,
            Command::DropView { names, if_exists } => {
                self.drop_relations(RelationKind::View, names, *if_exists).await
            }
            Command::Insert(insert) => self.insert(insert).await,
            Command::ChangeRows(change) => Box::pin(self.change_rows(change)).await,
            Command::Truncate { tables } => self.truncate(tables, "TRUNCATE").await,
            Command::Copy(copy) => Box::pin(self.copy(copy)).await,
            Command::Checkpoint { warehouse } => {
                Box::pin(self.checkpoint(warehouse.as_ref())).await
            }
            Command::Describe(subject) => self.describe(subject).await,
            Command::Summarize(subject) => self.summarize(subject).await,
            Command::ShowTables { all } => self.show_tables(*all).await,
            Command::Show { name } => self.show(name).await,
            Command::Set { name, values } => self.set(name, values).await,
            Command::Reset { name } => self.reset(name),
            Command::Use { name } => self.use_schema(name).await,
            Command::Prepare { name, command } => {
                self.prepared.insert(crate::sql::name::fold(name), command.as_ref().clone());
                Ok(Outcome::done("PREPARE"))
            }
            Command::Execute { name, arguments } => {
                let command = self.bound(name, arguments)?;
                Box::pin(self.run(&command)).await
            }
            Command::Deallocate { name } => self.deallocate(name),
            Command::Begin => self.begin().await,
            Command::Commit => self.commit_open().await,
            Command::Rollback => self.rollback().await,
        }
    }

    /// Whether BEGIN has been run and neither COMMIT nor ROLLBACK since.
    pub fn in_transaction(&self) -> bool {
        self.open.is_some()
    }

    /// A handle on the progress of the statement that runs.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The warehouse this session is on.
    pub fn warehouse(&self) -> &Warehouse {
        &self.warehouse
    }

    /// What a statement reads: the open transaction as it is now, or the newest snapshot.
    async fn transaction(&self) -> Result<Transaction> {
        match &self.open {
            Some(open) => Ok(open.transaction.clone()),
            None => Transaction::begin(self.warehouse.catalog()).await,
        }
    }

    async fn planner(&self) -> Result<Planner> {
        Ok(self.planner_on(&self.transaction().await?))
    }

    fn planner_on(&self, transaction: &Transaction) -> Planner {
        self.warehouse.planner(self.state(), Arc::new(transaction.clone()))
    }

    /// What the statement that runs is planned with.
    fn state(&self) -> Arc<SessionState> {
        let mut state = Arc::clone(&self.template);
        if self.is_short {
            Settings::spare(Arc::make_mut(&mut state).config_mut().options_mut());
        }
        state
    }

    /// Whether a statement that ran out of memory may be planned for less.
    fn can_spare(&self) -> bool {
        !self.is_short && Settings::spare(&mut self.template.config_options().as_ref().clone())
    }

    /// The schema that bare names are in.
    fn default_schema(&self) -> &str {
        &self.template.config_options().catalog.default_schema
    }

    /// Executes a plan as a stream.
    async fn rows(&self, planned: Planned) -> Result<Outcome> {
        let Planned { state, plan } = planned;
        if matches!(plan, LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_)) {
            return Err(Error::unsupported("SELECT … INTO is not supported")
                .with_help("use CREATE TABLE … AS SELECT"));
        }
        let plan = state.create_physical_plan(&plan).await?;
        self.progress.watch(&plan);
        Ok(Outcome::Rows(Rows::begun(execute_stream(plan, state.task_ctx())?).await?))
    }

    /// Runs a write on a clone of the transaction, and commits it unless one is open.
    async fn change<W>(&mut self, work: W) -> Result<Outcome>
    where
        W: AsyncFnOnce(&Self, &mut Transaction, &Arc<Staged>) -> Result<Outcome>,
    {
        if self.warehouse.is_read_only() {
            return Err(Error::unsupported("the warehouse is open for reading only")
                .with_help("open it without --read-only to change it"));
        }
        let mut transaction = self.transaction().await?;
        let staged = Staged::new(Arc::clone(self.warehouse.storage()));
        let outcome = match work(self, &mut transaction, &staged).await {
            Ok(outcome) => outcome,
            Err(error) => {
                staged.discard().await;
                return Err(error);
            }
        };
        match &mut self.open {
            Some(open) => {
                open.transaction = transaction;
                open.staged.push(staged);
            }
            None => commit(&self.warehouse, transaction, &[staged]).await?,
        }
        Ok(outcome)
    }

    async fn begin(&mut self) -> Result<Outcome> {
        if self.open.is_some() {
            return Err(Error::invalid("a transaction is open already")
                .with_help("end it with COMMIT or ROLLBACK"));
        }
        let transaction = Transaction::begin(self.warehouse.catalog()).await?;
        self.open = Some(Open { transaction, staged: vec![] });
        Ok(Outcome::done("BEGIN"))
    }

    async fn commit_open(&mut self) -> Result<Outcome> {
        let open = self.open.take().ok_or_else(no_transaction)?;
        commit(&self.warehouse, open.transaction, &open.staged).await?;
        Ok(Outcome::done("COMMIT"))
    }

    async fn rollback(&mut self) -> Result<Outcome> {
        let open = self.open.take().ok_or_else(no_transaction)?;
        for staged in &open.staged {
            staged.discard().await;
        }
        Ok(Outcome::done("ROLLBACK"))
    }
}

fn no_transaction() -> Error {
    Error::invalid("no transaction is open").with_help("BEGIN opens one")
}

/// Makes a transaction visible. Its files stay if that succeeds, except those that no row of it
/// names any more; if it fails they are all deleted.
async fn commit(
    warehouse: &Warehouse,
    transaction: Transaction,
    staged: &[Arc<Staged>],
) -> Result<()> {
    let late = Staged::new(Arc::clone(warehouse.storage()));
    let left = flush::left_to_catalog(transaction.changes());
    let committed = match transaction.is_empty() {
        true => Ok((transaction.base().id, vec![])),
        false => {
            let sending = || staged.iter().chain([&late]).for_each(|staged| staged.committing());
            commit_rebased(warehouse, transaction, &late, sending).await
        }
    };
    let all = staged.iter().chain([&late]);
    match committed {
        Ok((snapshot, live)) => {
            for staged in all {
                staged.keep_only(&live).await?;
            }
            flush::flush_if_due(warehouse, snapshot, left).await;
            Ok(())
        }
        Err(error) => {
            for staged in all {
                match error.kind() {
                    ErrorKind::OutcomeUnknown => staged.keep_all(),
                    _ => staged.discard().await,
                }
            }
            Err(error)
        }
    }
}

/// Commits, on top of whatever is the newest snapshot; gives the new one and its visible files.
async fn commit_rebased(
    warehouse: &Warehouse,
    transaction: Transaction,
    staged: &Staged,
    sending: impl Fn(),
) -> Result<(SnapshotId, Vec<String>)> {
    let (catalog, storage) = (warehouse.catalog(), warehouse.storage());
    let mut newest = match transaction.changes().deleted.is_empty() {
        true => transaction.base().clone(),
        false => catalog.snapshot().await?,
    };
    let mut commit = transaction.clone().into_commit(None, None);
    loop {
        let next = SnapshotId(newest.id.0 + 1);
        let (deletions, depends) = deletes::prepare(&transaction, next, storage, staged).await?;
        commit.deletions = deletions;
        commit.expects = depends.then_some(next);
        match catalog.commit(&commit, &sending).await? {
            Committed::As(snapshot) => return Ok((snapshot.id, commit.files())),
            Committed::Overtaken(by) => newest = by,
        }
    }
}
