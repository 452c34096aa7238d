//! Which cells hold a video, as far as that is known.

use std::{io, ops::Range};

use super::{
    blocks::{BLOCK, Board},
    guide::{Cursor, Guide},
};

/// A video whose first cell was found.
pub(super) struct Arrangement {
    pub(super) guide: Box<dyn Guide>,
    /// The cell of each slot.
    pub(super) slots: Vec<Option<usize>>,
    pub(super) len: u64,
    /// How many slots have a cell that is not proven.
    pub(super) doubtful: usize,
}

impl Arrangement {
    /// Whether nothing in the order contradicts the structure.
    pub(super) fn fits(&self, board: &Board) -> io::Result<bool> {
        let view = board.view(&self.slots);
        let mut cursor = Cursor::default();
        for slot in 0..self.slots.len() {
            if self.guide.check(&view, &mut cursor, span(slot))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The bytes of a slot.
pub(super) fn span(slot: usize) -> Range<u64> {
    slot as u64 * BLOCK..(slot as u64 + 1) * BLOCK
}
