//! Cells for slots without a mark of their own, by counting.
//!
//! Firefox writes runs, and each cell is somebody's, so the end of one run and the beginning of the
//! next fix each other. If more than one solution is left, the video is in doubt.

use std::ops::Range;

use super::{blocks::Board, solve::Video};

/// Open slots of a video between two certain cells, or behind the last one.
struct Gap {
    video: usize,
    slots: Range<usize>,
    left: usize,
    right: Option<usize>,
    /// How many of them go on behind `left`: least and most.
    after: (usize, usize),
    /// How many of them come up to `right`: least and most.
    before: (usize, usize),
}

/// Gives open slots the free cells that they must be; where more than one solution is left, one of
/// them.
pub(super) fn settle(board: &mut Board, videos: &mut [Video], alone: bool) {
    while count(board, videos, alone) {}
    if alone && let [video] = videos {
        tile(board, video);
    }
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
    // Cells that are nobody's are somebody's: of the videos that lack blocks.
    if board.free_from(0).next().is_some() {
        for video in videos {
            video.doubtful += video.slots.iter().filter(|cell| cell.is_none()).count();
        }
    }
}

fn gaps(videos: &[Video]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (video, Video { slots, .. }) in videos.iter().enumerate() {
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
                    after: (0, 0),
                    before: (0, 0),
                });
            }
            slot += 1;
        }
    }
    gaps
}

/// Where exactly as many free cells lie between two certain ones as slots are open, and nobody else
/// could be meant, they are it. Beside another video that holds only if whatever else lies between
/// is marked: what was inferred, as the second block of an index is, may be the very cell that is
/// looked for. Whether any were.
fn count(board: &mut Board, videos: &mut [Video], alone: bool) -> bool {
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

/// For one video alone: each stretch of free cells is the end of the run before it and the
/// beginning of the run behind it, and each gap is the end of one run and the beginning of another.
/// Narrows both down as far as they determine each other.
fn tile(board: &mut Board, video: &mut Video) {
    let mut gaps = gaps(std::slice::from_ref(video));
    let open: usize = gaps.iter().map(|gap| gap.slots.len()).sum();
    let whole = board.free_from(0).count() == open;
    for gap in &mut gaps {
        gap.after = (0, gap.slots.len());
        gap.before = (
            0,
            if gap.right.is_some() {
                gap.slots.len()
            } else {
                0
            },
        );
    }
    // Stretches: first cell, length, the gap that may go on into it, the gap that may come up to
    // its end.
    let mut stretches = Vec::new();
    let mut cell = 0;
    while cell < board.cells() {
        let start = cell;
        while board.is_free(cell) {
            cell += 1;
        }
        if cell > start {
            let left = gaps.iter().position(|gap| gap.left + 1 == start);
            let right = gaps.iter().position(|gap| gap.right == Some(cell));
            stretches.push((cell - start, left, right));
        }
        cell += 1;
    }
    for (n, gap) in gaps.iter_mut().enumerate() {
        // No stretch on a side: nothing comes from there.
        if !stretches.iter().any(|(_, left, _)| *left == Some(n)) {
            gap.after = (0, 0);
        }
        if !stretches.iter().any(|(_, _, right)| *right == Some(n)) {
            gap.before = (0, 0);
        }
    }
    loop {
        let old: Vec<_> = gaps.iter().map(|gap| (gap.after, gap.before)).collect();
        for gap in &mut gaps {
            narrow(&mut gap.after, &mut gap.before, gap.slots.len(), whole);
        }
        for &(len, left, right) in &stretches {
            let mut after = left.map_or((0, 0), |n| gaps[n].after);
            let mut before = right.map_or((0, 0), |n| gaps[n].before);
            narrow(&mut after, &mut before, len, true);
            if let Some(n) = left {
                gaps[n].after = after;
            }
            if let Some(n) = right {
                gaps[n].before = before;
            }
        }
        if gaps.iter().map(|gap| (gap.after, gap.before)).eq(old) {
            break;
        }
    }
    for gap in gaps {
        let ((after, most_after), (before, most_before)) = (gap.after, gap.before);
        if after != most_after || before != most_before || after + before > gap.slots.len() {
            continue;
        }
        let ahead = (0..after).map(|n| (gap.slots.start + n, gap.left + 1 + n));
        let back = gap
            .right
            .into_iter()
            .flat_map(|right| (1..=before).map(move |n| (n, right - n)));
        for (slot, cell) in ahead.chain(back.map(|(n, cell)| (gap.slots.end - n, cell))) {
            if board.is_free(cell) {
                video.slots[slot] = Some(cell);
                board.take(cell);
            }
        }
    }
}

/// Narrows two ranges of which values add up to `sum` (or, if not `exact`, to no more). A
/// contradiction leaves them as they are: nothing follows from it.
fn narrow(a: &mut (usize, usize), b: &mut (usize, usize), sum: usize, exact: bool) {
    let side = |own: (usize, usize), other: (usize, usize)| {
        let least = if exact {
            own.0.max(sum.saturating_sub(other.1))
        } else {
            own.0
        };
        (least, own.1.min(sum.saturating_sub(other.0)))
    };
    let (new_a, new_b) = (side(*a, *b), side(*b, *a));
    if new_a.0 <= new_a.1 && new_b.0 <= new_b.1 {
        (*a, *b) = (new_a, new_b);
    }
}
