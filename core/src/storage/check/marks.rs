//! MARK: which of its slots stand.
//!
//! A slot is whole, or was never written (zeros), or is damaged. One damaged slot costs at most the
//! newest step of the mark; the mark only ever tells too little, so this is no damage of data. It
//! does make a later damage of the log's end look like a torn tail.

use bytes::Bytes;

use super::{Checker, Finding, Problem, Severity};
use crate::disk::{DiskError, File};
use crate::storage::format::{MARK_SLOT_BYTES, MARK_SLOT_STRIDE, decode_mark};
use crate::{Offset, PartitionId};

impl Checker {
    /// What MARK tells: everything before was durable.
    pub(super) fn on_mark(&mut self, id: PartitionId, data: Result<Bytes, DiskError>) -> Offset {
        let file = File::Mark(id);
        self.done += self.len_of(file).unwrap_or(0);
        let data = match data {
            Ok(data) => data,
            Err(error) => {
                self.find(file, Problem::Unreadable(error), Severity::Damage);
                return Offset(0);
            }
        };
        let stride = MARK_SLOT_STRIDE as usize;
        for (at, half) in data.chunks(stride).enumerate() {
            let position = at * stride;
            let (slot, rest) = half.split_at(half.len().min(MARK_SLOT_BYTES));
            // A slot by itself, in the place of the first, is read as MARK is.
            let whole = slot.len() == MARK_SLOT_BYTES && slot_stands(slot);
            if !whole && slot.iter().any(|&byte| byte != 0) {
                self.find_at(file, position, Problem::MarkSlot);
            }
            if let Some(behind) = rest.iter().position(|&byte| byte != 0) {
                let at = position + MARK_SLOT_BYTES + behind;
                self.find_at(file, at, Problem::MarkExcess);
            }
        }
        decode_mark(&data).durable_end
    }

    fn find_at(&mut self, file: File, position: usize, problem: Problem) {
        self.report.push(Finding {
            file: alloc::string::ToString::to_string(&file),
            position: position as u64,
            offset: None,
            problem,
            severity: Severity::Note,
        });
    }
}

/// Whether the bytes of one slot are whole. (Turn zero is never written.)
fn slot_stands(slot: &[u8]) -> bool {
    decode_mark(slot).turn > 0
}
