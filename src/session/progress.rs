//! How far a statement is, readable from another task while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use crate::exec::SharedExec;

/// A handle on the progress of a session's current statement; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    rows_written: AtomicU64,
    bytes_written: AtomicU64,
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

/// The progress at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProgressReading {
    /// Rows that the scans have given so far.
    pub rows_read: u64,
    /// Rows written to new files.
    pub rows_written: u64,
    /// Bytes written to new files.
    pub bytes_written: u64,
    /// The share of the input that is read, 0 to 1, where its size is known.
    pub fraction: Option<f64>,
}

impl Progress {
    /// The progress now.
    pub fn read(&self) -> ProgressReading {
        let plan = self.state.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut read, mut total, mut is_known) = (0, 0, plan.is_some());
        if let Some(plan) = plan {
            scans(&plan, &mut |scan| {
                let rows = scan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0);
                let statistics =
                    StatisticsContext::new().compute(scan.as_ref(), &StatisticsArgs::new());
                let expected = statistics.ok().and_then(|s| s.num_rows.get_value().copied());
                read += rows as u64;
                total += expected.unwrap_or(0) as u64;
                is_known &= expected.is_some();
            });
        }
        ProgressReading {
            rows_read: read,
            rows_written: self.state.rows_written.load(Ordering::Relaxed),
            bytes_written: self.state.bytes_written.load(Ordering::Relaxed),
            fraction: (is_known && total > 0).then(|| (read as f64 / total as f64).min(1.0)),
        }
    }

    /// A new statement begins.
    pub(crate) fn reset(&self) {
        self.state.rows_written.store(0, Ordering::Relaxed);
        self.state.bytes_written.store(0, Ordering::Relaxed);
        *self.state.plan.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The plan whose scans are to be watched.
    pub(crate) fn watch(&self, plan: &Arc<dyn ExecutionPlan>) {
        *self.state.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(plan));
    }

    pub(crate) fn wrote(&self, rows: u64, bytes: u64) {
        self.state.rows_written.fetch_add(rows, Ordering::Relaxed);
        self.state.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn scans(plan: &Arc<dyn ExecutionPlan>, visit: &mut impl FnMut(&Arc<dyn ExecutionPlan>)) {
    let children = plan.children();
    if children.is_empty() && plan.downcast_ref::<SharedExec>().is_some() {
        // What it reads is below another one.
        return;
    }
    if children.is_empty() {
        return visit(plan);
    }
    for child in children {
        scans(child, visit);
    }
}
