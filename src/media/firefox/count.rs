//! Cells for slots without a mark of their own, by counting.
//!
//! Firefox writes runs of blocks, and each cell belongs to a video. If the number of free cells
//! between two certain ones is the number of slots that are open there, these cells fill these
//! slots. If more than one solution remains, the video is in doubt.

use std::ops::Range;

use super::{arrangement::Arrangement, blocks::Board};

/// Open slots of a video between two certain cells, or behind the last one.
struct Gap {
    video: usize,
    slots: Range<usize>,
    left: usize,
    right: Option<usize>,
}

/// Gives open slots the free cells that must fill them. Where more than one solution remains, takes
/// one of them and counts the slots as doubtful.
pub(super) fn settle(board: &mut Board, videos: &mut [Arrangement], alone: bool) {
    while count(board, videos, alone) {}
    for gap in gaps(videos) {
        let until = gap
            .right
            .filter(|right| *right > gap.left)
            .unwrap_or(board.cells());
        let free: Vec<usize> = board
            .free_from(gap.left + 1)
            .take_while(|cell| *cell < until)
            .collect();
        let video = &mut videos[gap.video];
        video.doubtful += gap.slots.len().min(free.len());
        for (slot, cell) in gap.slots.zip(free) {
            video.slots[slot] = Some(cell);
            board.take(cell);
        }
    }
    // If cells are left over, each belongs to one of the videos that lack blocks, but nothing says
    // to which.
    if board.free_from(0).next().is_some() {
        for video in videos {
            video.doubtful += video.slots.iter().filter(|cell| cell.is_none()).count();
        }
    }
}

fn gaps(videos: &[Arrangement]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (video, Arrangement { slots, .. }) in videos.iter().enumerate() {
        let mut slot = 0;
        while slot < slots.len() {
            let start = slot;
            while slot < slots.len() && slots[slot].is_none() {
                slot += 1;
            }
            if let Some(left) = start.checked_sub(1).and_then(|slot| slots[slot])
                && slot > start
            {
                let right = slots.get(slot).copied().flatten();
                gaps.push(Gap {
                    video,
                    slots: start..slot,
                    left,
                    right,
                });
            }
            slot += 1;
        }
    }
    gaps
}

/// Fills each gap that has exactly as many free cells as open slots, if no other gap claims the
/// cells. Beside another video that is safe only if all taken cells in between bear a mark: one
/// that was inferred, such as the second block of an index, may be the very cell that belongs here.
/// Returns whether any gap was filled.
fn count(board: &mut Board, videos: &mut [Arrangement], alone: bool) -> bool {
    let mut claims: Vec<(usize, usize, usize)> = Vec::new();
    for gap in gaps(videos) {
        let until = gap.right.unwrap_or(board.cells());
        let free: Vec<usize> = board
            .free_from(gap.left + 1)
            .take_while(|cell| *cell < until)
            .collect();
        let sure = alone || board.infers_none(gap.left + 1..until);
        if sure && free.len() == gap.slots.len() {
            claims.extend(
                free.into_iter()
                    .zip(gap.slots)
                    .map(|(cell, slot)| (cell, gap.video, slot)),
            );
        }
    }
    claims.sort_unstable();
    let once = |n: &usize| {
        let cell = claims[*n].0;
        n.checked_sub(1)
            .is_none_or(|before| claims[before].0 != cell)
            && claims.get(n + 1).is_none_or(|after| after.0 != cell)
    };
    let certain: Vec<_> = (0..claims.len()).filter(once).map(|n| claims[n]).collect();
    for &(cell, video, slot) in &certain {
        videos[video].slots[slot] = Some(cell);
        board.take(cell);
    }
    !certain.is_empty()
}
