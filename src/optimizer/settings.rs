//! The settings of our rules: `SET gotgan.join_order = false`.

use std::any::Any;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::common::{DataFusionError, Result};

/// Which rules run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(super) join_order: bool,
    pub(super) group_filter: bool,
    pub(super) filter_order: bool,
    pub(super) grouping_sets: bool,
    pub(super) anti_join: bool,
    pub(super) conjunction: bool,
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
        }
    }
}

impl Settings {
    /// Those of a session; the defaults in a session that has none.
    pub(super) fn of(options: &ConfigOptions) -> Self {
        options.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Names without the prefix, values, and what they are for.
    fn all(&mut self) -> [(&'static str, &mut bool, &'static str); 6] {
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
