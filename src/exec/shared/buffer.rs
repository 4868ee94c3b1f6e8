//! What one partition has given and somebody has yet to read.
//!
//! ```text
//! batches   0 1 2 3 4 5 6 7 8 9 …
//!           └spilled┘ └in memory┘ next
//!               ^           ^
//!           a reader     the foremost reader, at most AHEAD behind
//! ```
//!
//! When memory is short all of the batches in memory become one file. Batches and files that every
//! reader has behind it are gone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err, internal_err};
use datafusion::execution::spill_file::SpillFile;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, SpillManager};
use futures::StreamExt;
use tokio::sync::Notify;

use super::memory::Memory;

/// So many batches are made before the foremost reader asks for them.
const AHEAD: usize = 4;

/// The batches of a partition on their way from its task to the readers.
pub(super) struct Buffer {
    state: Mutex<State>,
    /// There is another batch, or the end of them.
    given: Notify,
    /// A reader went on, or left. Only the task waits for it.
    taken: Notify,
    spill: SpillManager,
}

struct State {
    /// How many batches there have been.
    next: usize,
    spilled: VecDeque<Spilled>,
    /// The last ones.
    kept: VecDeque<RecordBatch>,
    memory: Memory,
    readers: Vec<Place>,
    end: Option<End>,
}

/// Batches from `first` on, before `end`.
struct Spilled {
    first: usize,
    end: usize,
    file: Arc<dyn SpillFile>,
}

/// Where a reader is.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// It may still come.
    Expected,
    /// Its next batch.
    At(usize),
    Gone,
}

#[derive(Clone)]
enum End {
    Reached,
    Failed(Arc<DataFusionError>),
}

/// What there is for a reader.
enum Found {
    Batch(RecordBatch),
    /// Batches, after so many that it has read already.
    File(Arc<dyn SpillFile>, usize),
    End(End),
    Nothing,
}

impl Buffer {
    pub(super) fn new(n_readers: usize, memory: Memory, spill: SpillManager) -> Self {
        let state = State {
            next: 0,
            spilled: VecDeque::new(),
            kept: VecDeque::new(),
            memory,
            readers: vec![Place::Expected; n_readers],
            end: None,
        };
        Self { state: Mutex::new(state), given: Notify::new(), taken: Notify::new(), spill }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the foremost reader is near.
    async fn wanted(&self) {
        loop {
            // A notice from between the look and the wait is kept for the wait.
            let is_near = {
                let state = self.state();
                state.next < state.foremost() + AHEAD
            };
            if is_near {
                return;
            }
            self.taken.notified().await;
        }
    }

    /// Adds the next batch.
    fn push(&self, batch: RecordBatch) -> Result<()> {
        let (first, mut batches) = {
            let mut state = self.state();
            if state.memory.try_keep(&batch).is_ok() {
                state.kept.push_back(batch);
                state.next += 1;
                drop(state);
                self.given.notify_waiters();
                return Ok(());
            }
            (state.first_kept(), Vec::from(state.kept.clone()))
        };
        // The readers go on while the file is written; the task alone adds batches.
        batches.push(batch);
        let end = first + batches.len();
        let file = self.spill.spill_record_batch_and_finish(&batches, "SharedExec")?;
        let Some(file) = file else { return internal_err!("a file of batches is missing") };
        let mut state = self.state();
        while let Some(batch) = state.kept.pop_front() {
            state.memory.release(&batch);
        }
        state.spilled.push_back(Spilled { first, end, file });
        state.next = end;
        drop(state);
        self.given.notify_waiters();
        Ok(())
    }

    /// No batch follows.
    fn finish(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.given.notify_waiters();
    }

    fn take(&self, reader: usize) -> Found {
        let mut state = self.state();
        let found = state.find(reader);
        if matches!(found, Found::Batch(_) | Found::File(..)) {
            state.forget_read();
            drop(state);
            self.taken.notify_one();
        }
        found
    }
}

impl State {
    fn first_kept(&self) -> usize {
        self.next - self.kept.len()
    }

    fn foremost(&self) -> usize {
        let at = |place: &Place| match place {
            Place::At(at) => *at,
            Place::Expected | Place::Gone => 0,
        };
        self.readers.iter().map(at).max().unwrap_or(0)
    }

    /// What comes next for a reader, which goes on behind it.
    fn find(&mut self, reader: usize) -> Found {
        let Some(Place::At(at)) = self.readers.get(reader).copied() else {
            return Found::End(End::Reached);
        };
        let (found, next) = if let Some(kept) = at.checked_sub(self.first_kept())
            && let Some(batch) = self.kept.get(kept)
        {
            (Found::Batch(batch.clone()), at + 1)
        } else if let Some(spilled) = self.spilled.iter().find(|spilled| at < spilled.end) {
            (Found::File(Arc::clone(&spilled.file), at - spilled.first), spilled.end)
        } else if let Some(end) = &self.end {
            return Found::End(end.clone());
        } else {
            return Found::Nothing;
        };
        self.readers[reader] = Place::At(next);
        found
    }

    /// Drops what every reader has behind it.
    fn forget_read(&mut self) {
        let needed = self.readers.iter().filter_map(|place| match place {
            Place::Expected => Some(0),
            Place::At(at) => Some(*at),
            Place::Gone => None,
        });
        let needed = needed.min().unwrap_or(self.next);
        while self.spilled.front().is_some_and(|spilled| spilled.end <= needed) {
            self.spilled.pop_front();
        }
        while self.first_kept() < needed
            && let Some(batch) = self.kept.pop_front()
        {
            self.memory.release(&batch);
        }
    }
}

/// Fills a buffer with a partition of a plan.
pub(super) async fn fill(
    buffer: Arc<Buffer>,
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    context: Arc<TaskContext>,
) {
    let filling = Filling(Arc::clone(&buffer));
    let end = match give_all(&buffer, plan, partition, context).await {
        Ok(()) => End::Reached,
        Err(error) => End::Failed(Arc::new(error)),
    };
    buffer.finish(end);
    drop(filling);
}

async fn give_all(
    buffer: &Buffer,
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    context: Arc<TaskContext>,
) -> Result<()> {
    let mut batches = plan.execute(partition, context)?;
    buffer.wanted().await;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            buffer.push(batch)?;
            buffer.wanted().await;
        }
    }
    Ok(())
}

/// A task that panics leaves no reader waiting.
struct Filling(Arc<Buffer>);

impl Drop for Filling {
    fn drop(&mut self) {
        let error = internal_datafusion_err!("the task of a shared plan ended early");
        self.0.finish(End::Failed(Arc::new(error)));
    }
}

/// One reader's way through the batches.
pub(super) struct Reader {
    buffer: Arc<Buffer>,
    index: usize,
    /// The file that it is in, and how many of its batches are behind it.
    file: Option<(SendableRecordBatchStream, usize)>,
}

impl Reader {
    pub(super) fn new(buffer: Arc<Buffer>, index: usize) -> Result<Self> {
        match buffer.state().readers.get_mut(index) {
            Some(place @ Place::Expected) => *place = Place::At(0),
            Some(_) => return internal_err!("a shared plan is read twice by one reader"),
            None => return internal_err!("a shared plan has a new reader while it is executed"),
        }
        Ok(Self { buffer, index, file: None })
    }

    /// The next batch, once there is one.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((batches, behind)) = &mut self.file {
                match batches.next().await.transpose()? {
                    Some(_) if *behind > 0 => *behind -= 1,
                    Some(batch) => return Ok(Some(batch)),
                    None => self.file = None,
                }
                continue;
            }
            // Made before the look: a notice from in between is for this one, too.
            let given = self.buffer.given.notified();
            match self.buffer.take(self.index) {
                Found::Batch(batch) => return Ok(Some(batch)),
                Found::File(file, behind) => {
                    let batches = self.buffer.spill.read_spill_as_stream(file, None)?;
                    self.file = Some((batches, behind));
                }
                Found::End(End::Reached) => return Ok(None),
                Found::End(End::Failed(error)) => return Err(DataFusionError::Shared(error)),
                Found::Nothing => given.await,
            }
        }
    }

    /// Reads no more. Whether it was the last one.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.buffer.state();
        state.readers[self.index] = Place::Gone;
        state.forget_read();
        let is_last = state.readers.iter().all(|place| *place == Place::Gone);
        drop(state);
        self.buffer.taken.notify_one();
        is_last
    }
}
