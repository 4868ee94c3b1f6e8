//! What statements may take of the machine: bytes of memory, which [`pool`] shares out, and files
//! without a name for what memory does not hold, which are [`spill`]'s.
//!
//! A limit holds for all statements of a warehouse together. It counts what operators keep of rows;
//! what only passes through them comes on top.

mod pool;
mod spill;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use self::pool::SharedPool;
use self::spill::SpillFiles;
use crate::config::Config;
use crate::error::Result;

/// How many spilled runs a merge reads at once. Every one takes memory while it is read, and sorts
/// that merge at the same time share that; more runs are merged in several rounds.
const MERGED_AT_ONCE: usize = 16;

/// The names under which operators of ours ask for memory.
pub(crate) const FILE: &str = "FileWriter";
pub(crate) const WINDOW: &str = "GroupedWindowExec";

/// Where the statements of a warehouse run.
pub(crate) fn runtime(config: &Config) -> Result<Arc<RuntimeEnv>> {
    let limit = config.memory_limit.unwrap_or_else(default_limit);
    let directory = config.temp_directory.clone().unwrap_or_else(default_directory);
    let files = DiskManagerBuilder::default()
        .with_temp_file_factory(Arc::new(SpillFiles::new(directory)))
        .with_max_spill_merge_fan_in(MERGED_AT_ONCE);
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(SharedPool::new(limit)))
        .with_disk_manager_builder(files)
        .build_arc()?)
}

/// The limit of a runtime, in bytes.
pub(crate) fn limit(runtime: &RuntimeEnv) -> usize {
    match runtime.memory_pool.memory_limit() {
        MemoryLimit::Finite(bytes) => bytes,
        MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
    }
}

/// What an operator is granted even when nothing is left, so that it can begin, and spill.
pub(crate) fn least(limit: usize) -> usize {
    (limit / 128).clamp(1 << 20, 10 << 20)
}

/// How many rows are in a batch: fewer where there is little memory, because every operator has some
/// batches on their way.
pub(crate) fn batch_rows(limit: usize) -> usize {
    let rows = (limit / (32 << 10)).clamp(1024, 8192);
    1 << rows.ilog2()
}

/// Four fifths of the machine's memory, where the system tells how much that is.
fn default_limit() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().split(' ').next()?.parse::<usize>().ok());
    kib.map_or(usize::MAX, |kib| kib * 1024 / 5 * 4)
}

/// The system's directory for temporary files, but for `/tmp`: many systems keep that in memory,
/// and large files are at home in `/var/tmp`.
fn default_directory() -> PathBuf {
    let (usual, large) = (std::env::temp_dir(), Path::new("/var/tmp"));
    match usual == Path::new("/tmp") && large.is_dir() {
        true => large.to_owned(),
        false => usual,
    }
}
