//! The settings of our rules: `SET gotgan.join_order = false`.

use std::any::Any;

use datafusion::common::config::{
    ConfigEntry, ConfigExtension, ConfigNonZeroUsize, ConfigOptions, ExtensionOptions,
};
use datafusion::common::{DataFusionError, Result};

/// Rows of a batch and of a row group, and memory of a partition, where memory is short. Every sort of
/// a partition needs a few batches at a time.
const SPARE_BATCH: usize = 2048;
const SPARE_ROW_GROUP: usize = 1 << 17;
const SPARE_PARTITION: usize = 64 << 20;

/// One part in so many of the memory is there whatever else is done.
const SURE_PART: usize = 8;

/// Which rules run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(super) join_order: bool,
    pub(super) group_filter: bool,
    pub(super) filter_order: bool,
    pub(super) grouping_sets: bool,
    pub(super) anti_join: bool,
    pub(super) conjunction: bool,
    pub(super) decimals: bool,
    pub(super) share_plans: bool,
    pub(super) spill_joins: bool,
    /// What the statement may expect; not a setting of the user's.
    pub(super) memory: Memory,
}

/// The memory that a statement is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// So many bytes, of which estimates may take a part.
    Bytes(usize),
    /// So many bytes, which were not enough for the plan that was made of them.
    Short(usize),
}

impl Memory {
    /// What may be kept of it without a second thought.
    pub(super) fn sure(self) -> usize {
        let (Self::Bytes(bytes) | Self::Short(bytes)) = self;
        bytes / SURE_PART
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            join_order: true,
            group_filter: true,
            filter_order: true,
            grouping_sets: true,
            anti_join: true,
            conjunction: true,
            decimals: true,
            share_plans: true,
            spill_joins: true,
            memory: Memory::Bytes(usize::MAX),
        }
    }
}

impl Settings {
    /// The defaults, for statements that have `bytes` of memory.
    pub(crate) fn with_memory(bytes: usize) -> Self {
        Self { memory: Memory::Bytes(bytes), ..Self::default() }
    }

    /// Settings under which a statement that ran out of `Memory::Bytes` may end: joins are sorted, and
    /// fewer and smaller batches are on their way at once. False if it was planned like that already,
    /// or is not to be.
    pub(crate) fn spare(options: &mut ConfigOptions) -> bool {
        let settings = Self::of(options);
        let (true, Memory::Bytes(bytes)) = (settings.spill_joins, settings.memory) else {
            return false;
        };
        options.extensions.insert(Self { memory: Memory::Short(bytes), ..settings });
        let execution = &mut options.execution;
        let usual = execution.batch_size;
        execution.batch_size = ConfigNonZeroUsize::try_new(SPARE_BATCH).unwrap_or(usual).min(usual);
        let row_group = &mut execution.parquet.max_row_group_size;
        *row_group = SPARE_ROW_GROUP.min(*row_group);
        let partitions = (bytes / SPARE_PARTITION).max(1);
        execution.target_partitions = execution.target_partitions.min(partitions);
        true
    }

    /// Those of a session; the defaults in a session that has none.
    pub(super) fn of(options: &ConfigOptions) -> Self {
        options.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Names without the prefix, values, and what they are for.
    fn all(&mut self) -> [(&'static str, &mut bool, &'static str); 9] {
        [
            (
                "join_order",
                &mut self.join_order,
                "Whether joins run in the order that is estimated to cost least.",
            ),
            (
                "group_filter",
                &mut self.group_filter,
                "Whether groups that a join drops are filtered before they are aggregated.",
            ),
            (
                "filter_order",
                &mut self.filter_order,
                "Whether cheap and selective conditions are computed before the others.",
            ),
            (
                "grouping_sets",
                &mut self.grouping_sets,
                "Whether ROLLUP and the like group rows once and these groups again.",
            ),
            (
                "anti_join",
                &mut self.anti_join,
                "Whether an outer join of which only rows without a match are wanted is an anti join.",
            ),
            (
                "conjunction",
                &mut self.conjunction,
                "Whether conditions are computed for the rows that others have left.",
            ),
            (
                "decimals",
                &mut self.decimals,
                "Whether decimals that fit into 64 bits are added and multiplied as such.",
            ),
            (
                "share_plans",
                &mut self.share_plans,
                "Whether a plan that is needed several times is computed once.",
            ),
            (
                "spill_joins",
                &mut self.spill_joins,
                "Whether joins that memory does not hold are sorted, which spills, and not hashed.",
            ),
        ]
    }
}

impl ConfigExtension for Settings {
    const PREFIX: &'static str = "gotgan";
}

impl ExtensionOptions for Settings {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let mut all = self.all();
        let known = all.iter_mut().find(|(name, ..)| *name == key);
        let (_, setting, _) = known.ok_or_else(|| {
            DataFusionError::Configuration(format!("there is no setting gotgan.{key}"))
        })?;
        **setting = value.to_lowercase().parse().map_err(|_| {
            DataFusionError::Configuration("it is neither true nor false".to_owned())
        })?;
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |(name, value, description): (&str, &mut bool, &'static str)| ConfigEntry {
            key: format!("{}.{name}", Self::PREFIX),
            value: Some(value.to_string()),
            description,
        };
        self.clone().all().map(entry).into()
    }
}
