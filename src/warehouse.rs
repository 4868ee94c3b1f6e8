//! A warehouse: its catalog, its files, and the engine that sessions share.
//!
//! Opening reads one row of the catalog; tables are loaded when a statement names them. A
//! directory warehouse finds its data inside itself, wherever it was moved to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::TempDir;

use crate::catalog::options::Scope;
use crate::catalog::{Access, Address, Catalog, PostgresUrl};
use crate::config::{Config, Location};
use crate::dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::memory;
use crate::optimizer;
use crate::session::{Planner, Session};
use crate::storage::{self, Storage};
use crate::table::types::TypeNames;

/// The catalog's file in a directory warehouse.
const CATALOG_FILE: &str = "catalog.sqlite";
/// The files' directory in a directory warehouse.
const DATA_DIRECTORY: &str = "data";
/// The metadata key that marks a warehouse whose files are in its own directory.
const LAYOUT_KEY: &str = "gotgan_layout";

/// An open warehouse; cheap to clone, shared by its sessions.
#[derive(Debug, Clone)]
pub struct Warehouse {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    catalog: Catalog,
    storage: Arc<Storage>,
    template: Arc<SessionState>,
    read_only: bool,
    safe: bool,
    /// Removes a temporary warehouse when the last handle goes.
    temporary: Option<TempDir>,
}

impl Warehouse {
    /// Opens the warehouse that `config` names, creating it on first use.
    pub async fn open(config: Config) -> Result<Self> {
        let temporary = match config.location {
            Location::Temporary => Some(
                TempDir::with_prefix("gotgan-")
                    .map_err(|e| storage::storage("the temporary directory", e))?,
            ),
            _ => None,
        };
        let place = Place::of(&config, temporary.as_ref().map(TempDir::path))?;
        let catalog = place.open_catalog(&config).await?;
        let runtime = memory::runtime(&config)?;
        let storage = Arc::new(Storage::new(Arc::clone(&runtime), config.storage_options.clone()));
        for (url, store) in &config.object_stores {
            runtime.register_object_store(url, Arc::clone(store));
        }
        let template = Arc::new(template(&config, runtime, &place.name)?);
        let inner = Inner {
            name: place.name,
            catalog,
            storage,
            template,
            read_only: config.read_only,
            safe: config.safe,
            temporary,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A session: statements, settings and at most one open transaction.
    pub fn session(&self) -> Session {
        Session::new(self.clone())
    }

    /// The warehouse's name in SQL: its file stem, or the name of its database.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether it is gone when the last handle is dropped.
    pub fn is_temporary(&self) -> bool {
        self.inner.temporary.is_some()
    }

    /// Makes the tables and views, as of now, known to a DataFusion context of the caller's own,
    /// under the warehouse's [name](Self::name): `shop.main.orders`.
    pub async fn register(&self, context: &SessionContext) -> Result<()> {
        let transaction = Arc::new(crate::catalog::Transaction::begin(self.catalog()).await?);
        let state = context.state();
        for (url, store) in self.stores().await? {
            state.runtime_env().register_object_store(&url, store);
        }
        let planner = self.planner(Arc::new(state), transaction);
        let catalog = planner.catalog(Default::default(), true).await?;
        context.register_catalog(self.name(), Arc::new(catalog));
        Ok(())
    }

    /// Lets `calls` more catalog calls succeed and fails all others; for tests of faults.
    #[doc(hidden)]
    pub fn fail_catalog_after(&self, calls: u64) {
        self.catalog().fail_after(calls);
    }

    /// Waits this long for locks and lost servers; for tests of faults.
    #[doc(hidden)]
    pub fn set_catalog_patience(&self, millis: u64) {
        self.catalog().set_patience(millis);
    }

    /// How many calls of the catalog's database there were, and how many values they gave; for tests
    /// of work.
    #[doc(hidden)]
    pub fn catalog_work(&self) -> (u64, u64) {
        self.catalog().work()
    }

    /// The object stores that hold the warehouse's files.
    async fn stores(&self) -> Result<Vec<(url::Url, Arc<dyn object_store::ObjectStore>)>> {
        let located = self.inner.storage.locate(self.inner.catalog.data_path())?;
        let url: &url::Url = located.url.as_ref();
        Ok(vec![(url.clone(), located.store)])
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.inner.storage
    }

    pub(crate) fn template(&self) -> &Arc<SessionState> {
        &self.inner.template
    }

    pub(crate) fn is_safe(&self) -> bool {
        self.inner.safe
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.inner.read_only
    }

    pub(crate) fn planner(
        &self,
        state: Arc<SessionState>,
        transaction: Arc<crate::catalog::Transaction>,
    ) -> Planner {
        let storage = Arc::clone(self.storage());
        Planner::new(state, self.name(), transaction, storage, self.inner.safe)
    }
}

/// Where the parts of a warehouse are.
struct Place {
    name: String,
    catalog: Address,
    /// The default directory of the files; a catalog on a server has none.
    data: Option<String>,
    /// Whether the files are inside of it and move with it.
    is_directory: bool,
}

impl Place {
    fn of(config: &Config, temporary: Option<&Path>) -> Result<Self> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|e| storage::storage(&path.display().to_string(), e))
        };
        let directory = |path: PathBuf, name: String| {
            let data = Some(format!("{}/", path.join(DATA_DIRECTORY).display()));
            let catalog = Address::Sqlite(path.join(CATALOG_FILE));
            Self { name, catalog, data, is_directory: true }
        };
        match (&config.location, temporary) {
            (Location::Directory(path), _) => {
                if path.as_os_str().is_empty() {
                    return Err(Error::invalid("the warehouse's path is empty"));
                }
                let path = absolute(path)?;
                let name = stem(&path);
                Ok(directory(path, name))
            }
            (Location::Sqlite(path), _) => {
                let path = absolute(path)?;
                let (name, data) = (stem(&path), Some(format!("{}.files/", path.display())));
                Ok(Self { name, catalog: Address::Sqlite(path), data, is_directory: false })
            }
            (Location::Postgres(url), _) => {
                let url = PostgresUrl::parse(&url.0)?;
                let name = url.database().to_owned();
                Ok(Self { name, catalog: Address::Postgres(url), data: None, is_directory: false })
            }
            (Location::Temporary, Some(path)) => Ok(directory(path.to_owned(), "memory".into())),
            (Location::Temporary, None) => Err(Error::internal("no temporary directory")),
            (Location::Unknown(url), _) => {
                let scheme = url.0.split(':').next().unwrap_or_default();
                Err(Error::unsupported(format!("a catalog at {scheme}:// is not supported"))
                    .with_help(
                        "name a directory or postgres://…; --data-path can put its files elsewhere",
                    ))
            }
        }
    }

    async fn open_catalog(&self, config: &Config) -> Result<Catalog> {
        let access = if config.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let is_new = match &self.catalog {
            Address::Sqlite(path) if !path.exists() => {
                self.check_new(path, config)?;
                true
            }
            _ => false,
        };
        let data = match &config.data_path {
            Some(path) => Some(normalised(path)?),
            None => self.data.clone(),
        };
        let catalog = Catalog::open(&self.catalog, access, data.as_deref()).await?;
        if is_new {
            if self.is_directory && config.data_path.is_none() {
                catalog.set_option(LAYOUT_KEY, "directory", Scope::Global).await?;
            }
            return Ok(catalog);
        }
        self.settle_data_path(catalog, config, data.as_deref()).await
    }

    /// An existing warehouse: its files are where it says, or inside its directory if that moved.
    async fn settle_data_path(
        &self,
        catalog: Catalog,
        config: &Config,
        data: Option<&str>,
    ) -> Result<Catalog> {
        if config.data_path.is_some() && data.is_some_and(|data| catalog.data_path() != data) {
            return Err(Error::invalid(format!(
                "the warehouse's files are at \"{}\", not \"{}\"",
                catalog.data_path(),
                data.unwrap_or_default()
            ))
            .with_help("leave out --data-path: a warehouse remembers it"));
        }
        let (Some(data), true) = (&self.data, self.is_directory) else {
            return Ok(catalog);
        };
        let moves = catalog.option(LAYOUT_KEY).await?.as_deref() == Some("directory");
        if moves && catalog.data_path() != data {
            return match config.read_only {
                true => Ok(catalog.with_data_path(data)),
                false => catalog.set_data_path(data).await,
            };
        }
        Ok(catalog)
    }

    /// Refuses to turn something else into a warehouse; makes the directory.
    fn check_new(&self, catalog: &Path, config: &Config) -> Result<()> {
        let shown = |path: &Path| format!("\"{}\"", path.display());
        let parent = catalog.parent().unwrap_or(Path::new("/"));
        let subject = if self.is_directory { parent } else { catalog };
        if config.read_only {
            return Err(Error::not_found(format!("there is no warehouse at {}", shown(subject)))
                .with_help("open it once without --read-only to create it"));
        }
        if self.is_directory && parent.is_file() {
            return Err(Error::invalid(format!("{} is a file, not a warehouse", shown(parent)))
                .with_help("a warehouse is a directory; for a catalog file write sqlite:PATH"));
        }
        let entries = std::fs::read_dir(parent).into_iter().flatten();
        if self.is_directory && entries.flatten().next().is_some() {
            let message = format!("{} is a directory with files, not a warehouse", shown(parent));
            return Err(
                Error::invalid(message).with_help("name a new directory, or one that is empty")
            );
        }
        std::fs::create_dir_all(parent).map_err(|e| {
            Error::new(ErrorKind::Storage, format!("{} cannot be created: {e}", shown(parent)))
                .with_help("check the path and its permissions")
                .with_source(e)
        })
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "warehouse".into(), |stem| stem.to_string_lossy().into_owned())
}

/// A data path as the catalog keeps it: absolute, with one `/` at its end.
fn normalised(path: &str) -> Result<String> {
    let path = match storage::remote(path)? {
        Some(_) => path.to_owned(),
        None => storage::absolute(path)?.display().to_string(),
    };
    Ok(format!("{}/", path.trim_end_matches('/')))
}

/// What the state of every statement starts from: functions, rules and settings, no catalog.
fn template(config: &Config, runtime: Arc<RuntimeEnv>, name: &str) -> Result<SessionState> {
    let limit = memory::limit(&runtime);
    let mut session = SessionConfig::new()
        .with_batch_size(memory::batch_rows(limit))
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(name, "main");
    if let Some(threads) = config.threads {
        session = session.with_target_partitions(threads.max(1));
    }
    let options = session.options_mut();
    options.sql_parser.collect_spans = true;
    options.explain.logical_plan_only = false;
    options.execution.sort_spill_reservation_bytes = memory::least(limit);
    options.extensions.insert(optimizer::Settings::with_memory(limit));
    let mut state = SessionStateBuilder::new()
        .with_config(session)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rule(optimizer::analyzer_rule())
        .with_optimizer_rules(optimizer::rules())
        .with_physical_optimizer_rules(optimizer::physical_rules())
        .with_query_planner(Arc::new(optimizer::SharingPlanner))
        .with_type_planner(Arc::new(TypeNames))
        .build();
    dialect::extend(&mut state)?;
    Ok(state)
}
