//! Files of other buckets than a filter's values: left out by their hash.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};

use super::partition::{self, PartitionValue};
use super::stats::FileStatistics;
use crate::catalog::model::{DataFile, Table, Transform};
use crate::error::Result;

/// The statistics of files, and the buckets they are in.
pub(super) struct BucketStatistics<'a> {
    bounds: &'a FileStatistics,
    keys: Vec<Bucketed>,
}

/// One bucket key of the table's partitions.
struct Bucketed {
    key: Arc<PartitionValue>,
    /// By file: the bucket, which is `None` for NULL; or nothing, if it is not known.
    buckets: Vec<Option<Option<i32>>>,
}

impl<'a> BucketStatistics<'a> {
    pub(super) fn new(
        table: &Table,
        files: &[Arc<DataFile>],
        bounds: &'a FileStatistics,
    ) -> Result<Self> {
        let mut keys = Vec::new();
        if let Some(spec) = &table.partition {
            let values = partition::values(table, spec)?.into_iter().zip(&spec.keys);
            for (index, ((key, _), of)) in values.enumerate() {
                if !matches!(of.transform, Transform::Bucket(_)) {
                    continue;
                }
                // A file of an earlier specification may have been hashed into other buckets.
                let bucket = |file: &Arc<DataFile>| {
                    let partition = file.partition.as_ref().filter(|p| p.id == spec.id)?;
                    match partition.values.get(index)? {
                        None => Some(None),
                        Some(text) => text.parse().ok().map(Some),
                    }
                };
                keys.push(Bucketed { key, buckets: files.iter().map(bucket).collect() });
            }
        }
        Ok(Self { bounds, keys })
    }
}

impl PruningStatistics for BucketStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds.min_values(column)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds.max_values(column)
    }

    fn num_containers(&self) -> usize {
        self.bounds.num_containers()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds.null_counts(column)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        self.bounds.row_counts()
    }

    /// False for the files none of whose rows can have one of `values`.
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let bucketed =
            self.keys.iter().find(|bucketed| bucketed.key.column_name() == column.name)?;
        let wanted = values.iter().map(|value| bucketed.key.bucket_of(value));
        let wanted: HashSet<i32> = wanted.collect::<Option<_>>()?;
        let files = bucketed.buckets.iter().map(|bucket| match bucket {
            Some(Some(bucket)) if wanted.contains(bucket) => None,
            Some(_) => Some(false),
            None => None,
        });
        Some(files.collect())
    }
}
