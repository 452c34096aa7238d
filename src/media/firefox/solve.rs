//! Which cell is which slot: a walk along the video's structure, and counting where the structure
//! is silent.
//!
//! The walk goes through the slots in the video's order. Mostly the next slot is the next cell;
//! where the structure says that it is not, the cell that fits is looked for, near first. A slot
//! without a mark (the middle of a large picture) is left open until the others are known
//! (`count`). At the end the structure is checked once more over the finished order.

use std::{io, ops::Range};

use super::{
    NotProven,
    arrangement::{Arrangement, span},
    blocks::{BLOCK, Board, RepairPlan, View},
    count,
    guide::{Cursor, Guide},
    mp4::Mp4,
    ogg::Ogg,
    webm::Webm,
};

/// Evidence that a near cell needs, in bits. Only a block of another video could lie there instead.
const NEAR: u32 = 14;
/// Evidence that any other cell needs, in bits; there may be 2^14 of them.
const FAR: u32 = 30;
/// Cells that count as near.
const VICINITY: usize = 64;
/// Slots in a row without a cell after which the rest of a run counts as missing.
const MISSES: usize = 4;
/// Open slots that are tried on either side of a boundary between runs.
const SPLITS: usize = 8;
/// Most slots of a video: 128 GiB.
const SLOTS: u64 = 1 << 22;

/// All videos that begin on the board, in the order of their beginnings.
pub(super) fn all(mut board: Board) -> io::Result<Vec<Result<RepairPlan, NotProven>>> {
    let mut videos: Vec<(usize, Result<Arrangement, NotProven>)> = Vec::new();
    // There are two rounds: the blocks of an index may be found only when other videos have taken
    // theirs.
    for _ in 0..2 {
        for head in 0..board.cells() {
            if !board.is_free(head)
                || videos
                    .iter()
                    .any(|(cell, video)| *cell == head && video.is_ok())
            {
                continue;
            }
            // A head whose index was not found in the first round is tried again.
            let guide = match begin(&board, head)? {
                None => continue,
                Some(guide) => guide,
            };
            let video = match guide {
                Some(guide) => Ok(walk(&mut board, guide, head)?),
                None => Err(NotProven::NoIndex),
            };
            videos.retain(|(cell, _)| *cell != head);
            videos.push((head, video));
        }
    }
    videos.sort_by_key(|(head, _)| *head);
    let mut plans = Vec::new();
    let mut found: Vec<Arrangement> = Vec::new();
    for (_, video) in videos {
        match video {
            Ok(video) => {
                plans.push(Ok(found.len()));
                found.push(video);
            }
            Err(e) => plans.push(Err(e)),
        }
    }
    // A video without a usable index still owns cells, so it counts.
    let alone = plans.len() == 1;
    count::settle(&mut board, &mut found, alone);
    plans
        .into_iter()
        .map(|plan| plan.map_or_else(|e| Ok(Err(e)), |n| prove(&board, &found[n])))
        .collect()
}

/// The guide for what begins in a cell: `None` if nothing does, `Some(None)` if its index can't be
/// used.
fn begin(board: &Board, head: usize) -> io::Result<Option<Option<Box<dyn Guide>>>> {
    let slots = [Some(head)];
    let Some(start) = board.view(&slots).bytes::<8>(0)? else {
        return Ok(None);
    };
    Ok(match start {
        [_, _, _, _, b'f', b't', b'y', b'p'] => {
            Some(Mp4::read(board, head)?.map(|guide| Box::new(guide) as _))
        }
        [0x1a, 0x45, 0xdf, 0xa3, ..] => {
            Some(Webm::read(board, head)?.map(|guide| Box::new(guide) as _))
        }
        // A stream's first page: version 0, flag "beginning of stream".
        [b'O', b'g', b'g', b'S', 0, flags, ..] if flags & 2 != 0 => Some(Some(Box::new(Ogg))),
        _ => None,
    })
}

/// Goes through the slots in the video's order; takes the cells that are certain.
fn walk(board: &mut Board, guide: Box<dyn Guide>, head: usize) -> io::Result<Arrangement> {
    let most = guide
        .len()
        .map_or(board.cells() as u64, |len| len.div_ceil(BLOCK))
        .clamp(1, SLOTS) as usize;
    let mut slots = vec![None; most];
    let mut cursor = Cursor::default();
    // What the index was read from is certain before the walk.
    for &(slot, cell) in [(0, head)].iter().chain(guide.known()) {
        if let Some(open) = slots.get_mut(slot) {
            *open = Some(cell);
            board.take(cell);
        }
    }
    board.mark(head);
    let (mut last, mut misses, mut slot) = (0, 0, 0);
    while slot < most {
        // If no mark lies in the slot, it is left open.
        let silent =
            cursor.at >= span(slot).end && !(slot + 1 == most && padding(&*guide).is_some());
        if slots[slot].is_some() {
            // The cell is known already: the guide moves on over it, unless it finds a
            // contradiction.
            if guide
                .check(&board.view(&slots), &mut cursor, span(slot))?
                .is_none()
            {
                break;
            }
            last = slot;
        } else if !silent {
            match find(board, &*guide, &mut slots, cursor, last, slot)? {
                FoundCell::Cell { before, cell, next } => {
                    for (slot, cell) in before {
                        slots[slot] = Some(cell);
                        board.take(cell);
                    }
                    slots[slot] = Some(cell);
                    board.mark(cell);
                    (cursor, last, misses) = (next, slot, 0);
                }
                FoundCell::Open => {}
                FoundCell::Nothing => misses += 1,
            }
        }
        slot += 1;
        if board.is_spent() || (misses > 0 && board.free_from(0).next().is_none()) {
            break;
        }
        // The last certain slot is too far away: the walk goes on where another run can be
        // recognized.
        if misses == MISSES {
            let Some((next, behind)) = resume(board, &*guide, &mut slots, slot)? else {
                break;
            };
            (slot, cursor, misses) = (next, behind, 0);
        }
    }
    let len = guide.len().unwrap_or(cursor.at);
    slots.truncate(len.div_ceil(BLOCK).max(1) as usize);
    Ok(Arrangement {
        guide,
        slots,
        len,
        doubtful: 0,
    })
}

/// Where the zeros are that fill the last slot up.
fn padding(guide: &dyn Guide) -> Option<Range<u64>> {
    guide
        .len()
        .filter(|len| len % BLOCK > 0)
        .map(|len| len..len.next_multiple_of(BLOCK))
}

enum FoundCell {
    Cell {
        /// Open slots before it whose cells are certain now too.
        before: Vec<(usize, usize)>,
        cell: usize,
        /// The cursor behind it.
        next: Cursor,
    },
    /// A cell would do, but nothing proves it.
    Open,
    Nothing,
}

/// The cell of a slot, given the last slot that is certain.
fn find(
    board: &Board,
    guide: &dyn Guide,
    slots: &mut [Option<usize>],
    cursor: Cursor,
    last: usize,
    slot: usize,
) -> io::Result<FoundCell> {
    let from = slots[last].unwrap_or_default();
    let next = from + (slot - last);
    let mut weak = false;
    // Mostly the run goes on: the next cell needs the least evidence.
    let in_a_row = (from + 1..=next).all(|cell| board.is_free(cell));
    if in_a_row {
        match fit(board, guide, slots, cursor, last, slot, next)? {
            Some((bits, found)) if bits >= NEAR => return Ok(found),
            // Nothing in the cell can be checked.
            Some((0, _)) => return Ok(FoundCell::Open),
            // The next cell may be the right one, so no other near cell can be certain.
            Some(_) => weak = true,
            None => {}
        }
    }
    // Otherwise another run begins. Its cell is looked for behind the last certain one first, then
    // before it.
    let anywhere = board
        .free_from(from + 1)
        .chain(board.free_from(0).take_while(|cell| *cell <= from));
    let (mut near, mut sure) = (Vec::new(), Vec::new());
    for cell in anywhere.take_while(|_| !board.is_spent()) {
        let in_vicinity = cell > from && cell - from < VICINITY;
        let found_some = !near.is_empty() || !sure.is_empty();
        if found_some && !in_vicinity {
            break;
        }
        match fit(board, guide, slots, cursor, last, slot, cell)? {
            Some((bits, found)) if bits >= NEAR => {
                // The cell behind it counts as evidence, too.
                if bits + beyond(board, guide, slots, &found, slot, 1)?.1 >= FAR {
                    sure.push(found);
                } else if in_vicinity && !weak {
                    near.push(found);
                }
            }
            _ => {}
        }
    }
    // Several cells may fit, if a mark of another part of the video lies at the same place of its
    // block. The right one is followed by the most cells that fit, too.
    let mut best = None;
    for found in sure {
        let reach = beyond(board, guide, slots, &found, slot, VICINITY)?.0;
        if best.as_ref().is_none_or(|(most, _)| reach > *most) {
            best = Some((reach, found));
        }
    }
    if let Some((_, found)) = best {
        return Ok(found);
    }
    // A near cell with less evidence is taken only if no other fits.
    Ok(match near.pop() {
        Some(found) if near.is_empty() => found,
        None if !weak => FoundCell::Nothing,
        _ => FoundCell::Open,
    })
}

/// How many of the next cells, `most` at most, fit behind the one that was found, and how well.
fn beyond(
    board: &Board,
    guide: &dyn Guide,
    slots: &mut [Option<usize>],
    found: &FoundCell,
    slot: usize,
    most: usize,
) -> io::Result<(usize, u32)> {
    let FoundCell::Cell {
        cell,
        next: mut cursor,
        ..
    } = *found
    else {
        return Ok((0, 0));
    };
    let (mut reach, mut bits) = (0, 0);
    slots[slot] = Some(cell);
    while reach < most
        && slots.get(slot + reach + 1) == Some(&None)
        && board.is_free(cell + reach + 1)
    {
        let next = slot + reach + 1;
        slots[next] = Some(cell + reach + 1);
        let Some(more) = guide.check(&board.view(slots), &mut cursor, span(next))? else {
            slots[next] = None;
            break;
        };
        (reach, bits) = (reach + 1, bits + more);
    }
    slots[slot..=slot + reach].fill(None);
    Ok((reach, bits))
}

/// How well a cell fits into a slot, and what is certain if it is the one.
fn fit(
    board: &Board,
    guide: &dyn Guide,
    slots: &mut [Option<usize>],
    cursor: Cursor,
    last: usize,
    slot: usize,
    cell: usize,
) -> io::Result<Option<(u32, FoundCell)>> {
    let (from, open) = (slots[last].unwrap_or_default(), slot - last - 1);
    slots[slot] = Some(cell);
    // A mark that began before this slot reaches over open slots, so these need cells for the
    // check. Their cells follow the last certain one, or precede this one, or the run changes
    // somewhere between: each split is tried.
    let splits = if cursor.at < span(slot).start {
        0..=open.min(SPLITS)
    } else {
        0..=0
    };
    let mut best = None;
    for ahead in splits {
        for n in 1..=open {
            let other = if n <= ahead {
                Some(from + n)
            } else {
                cell.checked_sub(open + 1 - n)
            };
            slots[last + n] = other.filter(|cell| board.is_free(*cell));
        }
        // The evidence: the marks in the slot and, in the last slot, the zeros that fill it up.
        let mut next = cursor;
        let mut bits = guide.check(&board.view(slots), &mut next, span(slot))?;
        if let (Some(bits), Some(padding)) = (
            &mut bits,
            padding(guide).filter(|_| slot + 1 == slots.len()),
        ) {
            *bits += zeros(&board.view(slots), padding)?;
        }
        if let Some(bits) = bits.filter(|bits| best.as_ref().is_none_or(|(best, _)| bits > best)) {
            // If all bytes up to here were checked, the open slots before this one are certain too.
            let certain = guide.is_gapless() && next.at > span(slot).start;
            let before = (last + 1..slot)
                .filter_map(|n| Some((n, slots[n]?)))
                .filter(|_| certain)
                .collect();
            best = Some((bits, FoundCell::Cell { before, cell, next }));
        }
    }
    slots[last + 1..=slot].fill(None);
    Ok(best)
}

/// Evidence in bits that a last slot is filled up with zeros; few zeros prove little.
fn zeros(view: &View, padding: Range<u64>) -> io::Result<u32> {
    let len = (padding.end - padding.start) as usize;
    let zero = view
        .vec(padding.start, len)?
        .is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    Ok(if zero { (2 * len).min(40) as u32 } else { 0 })
}

/// The next slot that the beginning of a free run can be, and the cursor for it.
fn resume(
    board: &Board,
    guide: &dyn Guide,
    slots: &mut [Option<usize>],
    after: usize,
) -> io::Result<Option<(usize, Cursor)>> {
    let starts: Vec<usize> = board
        .free_from(0)
        .filter(|cell| *cell == 0 || !board.is_free(cell - 1))
        .flat_map(|c| c..c + MISSES)
        .collect();
    for slot in after + 1..slots.len() {
        let Some(cursor) = guide.resume(span(slot).start) else {
            return Ok(None);
        };
        if board.is_spent() {
            return Ok(None);
        }
        if cursor.at >= span(slot).end {
            continue;
        }
        for cell in starts.iter().filter(|cell| board.is_free(**cell)) {
            slots[slot] = Some(*cell);
            let fit = guide.check(&board.view(slots), &mut cursor.clone(), span(slot));
            slots[slot] = None;
            if fit?.is_some_and(|bits| bits >= FAR) {
                return Ok(Some((slot, cursor)));
            }
        }
    }
    Ok(None)
}

/// Checks the finished order once more from the beginning, and makes the plan.
fn prove(board: &Board, video: &Arrangement) -> io::Result<Result<RepairPlan, NotProven>> {
    if !video.fits(board)? {
        return Ok(Err(NotProven::Broken));
    }
    let view = board.view(&video.slots);
    let known = video
        .slots
        .iter()
        .rposition(Option::is_some)
        .map_or(0, |slot| slot + 1);
    let mut len = video.len;
    if known < video.slots.len() {
        // The rest never arrived. The video ends with the last byte that did.
        len = last_byte(&view, span(known - 1))?;
    }
    Ok(Ok(RepairPlan::new(
        &video.slots[..known],
        len,
        video.doubtful,
    )))
}

/// The end of what is not zero in a slot.
fn last_byte(view: &View, slot: Range<u64>) -> io::Result<u64> {
    let bytes = view.vec(slot.start, BLOCK as usize)?.unwrap_or_default();
    Ok(slot.start
        + bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |n| n as u64 + 1))
}
