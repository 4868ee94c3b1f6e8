//! Who gets how much of the memory.
//!
//! ```text
//! |---- what cannot spill ----|---- what spills, in equal shares ----|-- kept free --|
//! ```
//!
//! An operator that spills gets no more once it holds its share, so that others find theirs; the last
//! piece may be larger, because a hash table that is given out takes more than before. Those that hold
//! nothing, because they have not begun or have ended, count with [a little](super::least) only. The
//! last fifth is kept from all of them: it is for what cannot spill and is small, such as the cursors
//! of a merge, and for whoever has spilled and needs room to go on. What cannot spill gets what is
//! there.
//!
//! Whatever the others hold, everyone is granted that little: a sort that is refused its
//! first rows cannot spill them either, and a statement would fail for want of a few pages. So the
//! limit may be passed by that much for each operator.
//!
//! This is DataFusion's [`FairSpillPool`] with three differences: the grant, the part kept free, and
//! exchanges, which count but are never refused. They hold what is on its way from one thread to
//! another; where several threads spill that at once, the reader may wait for the wrong one for ever.
//!
//! [`FairSpillPool`]: datafusion::execution::memory_pool::FairSpillPool

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use super::{FILE, WINDOW};

/// How many of those that hold most an error names.
const NAMED: usize = 3;

/// The memory of a warehouse.
#[derive(Debug)]
pub(super) struct SharedPool {
    limit: usize,
    least: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By their ids.
    operators: HashMap<usize, Operator>,
    /// Bytes of all of them.
    held: usize,
    /// Bytes of those that cannot spill.
    fixed: usize,
    /// How many have a share, and how many of them hold something.
    sharers: usize,
    active: usize,
}

#[derive(Debug)]
struct Operator {
    what: &'static str,
    need: Need,
    held: usize,
}

/// What an operator does when it is refused memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It fails.
    Fixed,
    /// It spills, and needs some memory to do so.
    Share,
    /// It must not be.
    Granted,
}

impl SharedPool {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, least: super::least(limit), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much more an operator may have.
    fn allowed(&self, state: &State, operator: &Operator) -> usize {
        let free = self.limit.saturating_sub(state.held);
        let granted = self.least.saturating_sub(operator.held);
        let more = match operator.need {
            Need::Granted => usize::MAX,
            Need::Fixed => free,
            Need::Share if operator.held < self.share(state, operator) => free,
            Need::Share => 0,
        };
        more.max(granted)
    }

    fn share(&self, state: &State, operator: &Operator) -> usize {
        let shared = (self.limit - self.limit / 5).saturating_sub(state.fixed);
        let active = state.active + usize::from(operator.held == 0);
        let kept = self.least.saturating_mul(state.sharers.saturating_sub(active));
        let of_active = shared.saturating_sub(kept) / active.max(1);
        of_active.max(shared / state.sharers.max(1))
    }

    fn refused(&self, state: &State, operator: &Operator, additional: usize) -> DataFusionError {
        let mut held: Vec<&Operator> = state.operators.values().collect();
        held.sort_by_key(|operator| std::cmp::Reverse(operator.held));
        let held = held.into_iter().take(NAMED).filter(|operator| operator.held > 0);
        let held = held.map(|one| format!("{} {}", one.what, megabytes(one.held)));
        DataFusionError::ResourcesExhausted(format!(
            "the memory limit of {} is reached: {} needs {} more (held by {})",
            megabytes(self.limit),
            operator.what,
            megabytes(additional),
            held.collect::<Vec<_>>().join(", ")
        ))
    }
}

impl State {
    fn add(&mut self, id: usize, bytes: usize) {
        self.held += bytes;
        if let Some(operator) = self.operators.get_mut(&id) {
            let was_active = operator.held > 0;
            operator.held += bytes;
            match operator.need {
                Need::Fixed => self.fixed += bytes,
                Need::Share => self.active += usize::from(!was_active && operator.held > 0),
                Need::Granted => {}
            }
        }
    }

    fn take(&mut self, id: usize, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
        if let Some(operator) = self.operators.get_mut(&id) {
            let was_active = operator.held > 0;
            operator.held = operator.held.saturating_sub(bytes);
            match operator.need {
                Need::Fixed => self.fixed = self.fixed.saturating_sub(bytes),
                Need::Share => self.active -= usize::from(was_active && operator.held == 0),
                Need::Granted => {}
            }
        }
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        "shared"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        let operator = Operator::of(consumer);
        let mut state = self.state();
        state.sharers += usize::from(operator.need == Need::Share);
        state.operators.insert(consumer.id(), operator);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        let Some(operator) = state.operators.remove(&consumer.id()) else { return };
        let is_sharer = operator.need == Need::Share;
        state.sharers -= usize::from(is_sharer);
        state.active -= usize::from(is_sharer && operator.held > 0);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.state().add(reservation.consumer().id(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.state().take(reservation.consumer().id(), shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state();
        let id = reservation.consumer().id();
        if let Some(operator) = state.operators.get(&id)
            && self.allowed(&state, operator) < additional
        {
            return Err(self.refused(&state, operator, additional));
        }
        state.add(id, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state().held
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shared({})", megabytes(self.limit))
    }
}

impl Operator {
    /// DataFusion names operators in code, with the number of their partition.
    fn of(consumer: &MemoryConsumer) -> Self {
        let name = consumer.name().split(['[', '(', ' ']).next().unwrap_or_default();
        let what = match name {
            "HashJoinInput" => "a hash join",
            "NestedLoopJoinLoad" | "NestedLoopJoinGlobalRightBitmaps" => "a nested loop join",
            "CrossJoinExec" => "a cross join",
            "SMJStream" => "a sort-merge join",
            "ExternalSorter" | "ExternalSorterMerge" | "SortPreservingMergeExec" => "a sort",
            "TopK" | "PartitionedTopK" | "PartitionedTopKRank" => "the first rows of an order",
            "RepartitionExec" => "an exchange",
            "RecursiveQuery" | "RecursiveQueryHashTable" => "a recursive query",
            FILE | "ParquetSink" => "the writer of a file",
            WINDOW => "a window function",
            aggregate if aggregate.contains("Aggregate") => "an aggregation",
            _ => "an operator",
        };
        let need = match name {
            "RepartitionExec" => Need::Granted,
            // It spills the rows that it buffers, and does not say so.
            "SMJStream" => Need::Share,
            _ if consumer.can_spill() => Need::Share,
            _ => Need::Fixed,
        };
        Self { what, need, held: 0 }
    }
}

/// As people write limits.
fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LIMIT: usize = 125 << 20;
    const LEAST: usize = 1 << 20;

    fn pool() -> Arc<dyn MemoryPool> {
        Arc::new(SharedPool::new(LIMIT))
    }

    fn sort(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
        MemoryConsumer::new("ExternalSorter[0]").with_can_spill(true).register(pool)
    }

    fn hash_join(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
        MemoryConsumer::new("HashJoinInput[0]").register(pool)
    }

    #[test]
    fn what_spills_has_equal_shares_of_four_fifths() {
        let pool = pool();
        let (one, other) = (sort(&pool), sort(&pool));
        other.try_grow(1).unwrap();
        one.try_grow(LIMIT / 5 * 2).unwrap();
        one.try_grow(1).unwrap_err();
        other.try_grow(LIMIT / 5 * 2).unwrap();
        other.try_grow(1).unwrap_err();
        drop(other);
        one.try_grow(1).unwrap();
    }

    #[test]
    fn what_has_not_begun_is_left_a_little() {
        let pool = pool();
        let (one, _others) = (sort(&pool), [sort(&pool), sort(&pool)]);
        one.try_grow(LIMIT / 5 * 4 - 2 * LEAST - 1).unwrap();
        one.try_grow(2).unwrap();
        one.try_grow(1).unwrap_err();
    }

    #[test]
    fn the_last_piece_may_be_larger() {
        let pool = pool();
        let (one, other) = (sort(&pool), sort(&pool));
        other.try_grow(LEAST).unwrap();
        one.try_grow(LIMIT / 5).unwrap();
        one.try_grow(LIMIT).unwrap_err();
        one.try_grow(LIMIT / 2).unwrap();
        one.try_grow(1).unwrap_err();
    }

    #[test]
    fn what_cannot_spill_has_what_is_there() {
        let pool = pool();
        let (join, sort) = (hash_join(&pool), sort(&pool));
        join.try_grow(LIMIT / 10 * 9).unwrap();
        join.try_grow(LIMIT / 5).unwrap_err();
        // Nothing is left to share, but a sort can begin.
        sort.try_grow(LEAST).unwrap();
        sort.try_grow(1).unwrap_err();
        join.free();
        sort.try_grow(LIMIT / 2).unwrap();
        assert_eq!(pool.reserved(), LEAST + LIMIT / 2);
    }

    #[test]
    fn an_exchange_takes_no_share_and_is_not_refused() {
        let pool = pool();
        let exchange = || MemoryConsumer::new("RepartitionExec[1]").with_can_spill(true);
        let exchanges: Vec<_> = (0..99).map(|_| exchange().register(&pool)).collect();
        let (sort, join) = (sort(&pool), hash_join(&pool));
        sort.try_grow(LIMIT / 5 * 4 - 1).unwrap();
        sort.try_grow(1).unwrap();
        exchanges[0].try_grow(LIMIT).unwrap();
        join.try_grow(LEAST + 1).unwrap_err();
    }

    #[test]
    fn parts_of_an_operator_count_together() {
        let pool = pool();
        let one = sort(&pool);
        one.try_grow(LIMIT / 5 * 4).unwrap();
        let part = one.split(LIMIT / 5);
        one.try_grow(1).unwrap_err();
        drop(part);
        one.try_grow(1).unwrap();
    }

    #[test]
    fn an_error_names_the_limit_and_who_holds_it() {
        let pool = pool();
        let join = hash_join(&pool);
        join.try_grow(LIMIT / 2).unwrap();
        let error = join.try_grow(LIMIT).unwrap_err();
        assert_eq!(
            crate::error::message_of(&error),
            "the memory limit of 131.1 MB is reached: a hash join needs 131.1 MB more (held by a \
             hash join 65.5 MB)"
        );
    }
}
