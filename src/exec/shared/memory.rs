//! How much memory batches hold that share some of it.
//!
//! Operators cut large batches into slices that all hold the whole, so each Arrow buffer counts once,
//! from the first batch that holds it to the last.

use std::collections::HashMap;

use arrow::array::{Array, ArrayData};
use arrow::buffer::Buffer;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;

/// The memory of the batches that are kept.
pub(super) struct Memory {
    reservation: MemoryReservation,
    /// By address, how many arrays hold a buffer.
    holders: HashMap<usize, usize>,
}

impl Memory {
    pub(super) fn new(reservation: MemoryReservation) -> Self {
        Self { reservation, holders: HashMap::new() }
    }

    /// Counts a batch; an error, and nothing counted, if there is no memory for it.
    pub(super) fn try_keep(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut bytes = 0;
        each_buffer(batch, &mut |buffer| {
            let holders = self.holders.entry(address(buffer)).or_insert(0);
            *holders += 1;
            if *holders == 1 {
                bytes += buffer.capacity();
            }
        });
        let grown = self.reservation.try_grow(bytes);
        if grown.is_err() {
            self.forget(batch);
        }
        grown
    }

    /// A batch that was kept is no more.
    pub(super) fn release(&mut self, batch: &RecordBatch) {
        let bytes = self.forget(batch);
        self.reservation.shrink(bytes);
    }

    /// The bytes that only this batch held.
    fn forget(&mut self, batch: &RecordBatch) -> usize {
        let mut bytes = 0;
        each_buffer(batch, &mut |buffer| {
            let address = address(buffer);
            if let Some(holders) = self.holders.get_mut(&address) {
                *holders -= 1;
                if *holders == 0 {
                    self.holders.remove(&address);
                    bytes += buffer.capacity();
                }
            }
        });
        bytes
    }
}

fn address(buffer: &Buffer) -> usize {
    buffer.data_ptr().as_ptr() as usize
}

fn each_buffer(batch: &RecordBatch, visit: &mut impl FnMut(&Buffer)) {
    for column in batch.columns() {
        of_array(&column.to_data(), visit);
    }
}

fn of_array(data: &ArrayData, visit: &mut impl FnMut(&Buffer)) {
    data.buffers().iter().for_each(&mut *visit);
    if let Some(nulls) = data.nulls() {
        visit(nulls.inner().inner());
    }
    for child in data.child_data() {
        of_array(child, visit);
    }
}
