//! Which cell is which slot: a walk along the video's structure, and counting where the structure is silent.
//!
//! The walk goes through the slots in the video's order. Mostly the next slot is the next cell; where the structure
//! says that it is not, the cell that fits is looked for, near first. A slot without a mark (the middle of a large
//! picture) is left open. Then the open slots are counted against the free cells: Firefox writes runs, and each cell
//! is somebody's, so the end of one run and the beginning of the next fix each other. If more than one solution is
//! left, nothing is claimed. At the end the structure is checked once more over the finished order.

use std::{io, ops::Range};

use super::{
    NotProven,
    blocks::{BLOCK, Board, Plan, View},
    mp4::Mp4,
    ogg::Ogg,
    webm::Webm,
};

/// How far a guide has come. Each guide uses what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Where the next mark is, in bytes of the video.
    pub(super) at: u64,
    /// Which one it is (MP4: the sample).
    pub(super) index: usize,
    /// Where what surrounds it ends (WebM: the cluster), in bytes of the video.
    pub(super) end: u64,
    /// The time it belongs to (WebM: in the segment's units).
    pub(super) time: i64,
}

/// How well a cell fits: bits that chance would have to guess, or `None` for a contradiction.
pub(super) type Fit = Option<u32>;

/// Knows one video's structure.
pub(super) trait Guide {
    /// Length of the video in bytes, if the structure tells it beforehand.
    fn len(&self) -> Option<u64>;

    /// Looks at the marks from the cursor on that lie before `fresh.end`, and moves the cursor behind them. Only what
    /// reaches into `fresh` counts.
    fn check(&self, view: &View, cursor: &mut Cursor, fresh: Range<u64>) -> io::Result<Fit>;

    /// Cells that are certain before the walk, by slot: the index was read from them.
    fn known(&self) -> &[(usize, usize)] {
        &[]
    }

    /// Whether what lies between two marks is checked too.
    fn is_gapless(&self) -> bool {
        false
    }

    /// The first mark at or behind `at`, where the guide knows it without the content before it.
    fn resume(&self, _at: u64) -> Option<Cursor> {
        None
    }
}

/// Evidence that a near cell needs, in bits. What else could lie there is another video's block.
const NEAR: u32 = 14;
/// Evidence that a cell anywhere needs; there may be 2^14 of them.
const FAR: u32 = 30;
/// Cells that count as near.
const VICINITY: usize = 64;
/// Slots in a row without a cell after which the rest of a run counts as missing.
const MISSES: usize = 4;
/// Open slots that are tried on either side of a boundary between runs.
const SPLITS: usize = 8;
/// Most slots of a video: 128 GiB.
const SLOTS: u64 = 1 << 22;

/// A video that was begun.
struct Video {
    guide: Box<dyn Guide>,
    /// The cell of each slot.
    slots: Vec<Option<usize>>,
    len: u64,
    /// How many slots could lie in other cells too.
    doubtful: usize,
}

/// All videos that begin on the board, in the order of their beginnings.
pub(super) fn all(mut board: Board) -> io::Result<Vec<Result<Plan, NotProven>>> {
    let mut videos: Vec<(usize, Result<Video, NotProven>)> = Vec::new();
    // A second round, since the blocks of an index are found among what the others left.
    for _ in 0..2 {
        for head in 0..board.cells() {
            if !board.is_free(head) || videos.iter().any(|(cell, video)| *cell == head && video.is_ok()) {
                continue;
            }
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
    let mut found: Vec<Video> = Vec::new();
    for (_, video) in videos {
        match video {
            Ok(video) => {
                plans.push(Ok(found.len()));
                found.push(video);
            }
            Err(e) => plans.push(Err(e)),
        }
    }
    let alone = plans.len() == 1;
    settle(&mut board, &mut found, alone);
    plans.into_iter().map(|plan| plan.map_or_else(|e| Ok(Err(e)), |n| prove(&board, &found[n]))).collect()
}

/// The guide for what begins in a cell: `None` if nothing does, `Some(None)` if its index can't be used.
fn begin(board: &Board, head: usize) -> io::Result<Option<Option<Box<dyn Guide>>>> {
    let slots = [Some(head)];
    let Some(start) = board.view(&slots).bytes::<8>(0)? else { return Ok(None) };
    Ok(match start {
        [_, _, _, _, b'f', b't', b'y', b'p'] => {
            Some(Mp4::read(board, head)?.map(|guide| Box::new(guide) as _))
        }
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Some(Webm::read(board, head)?.map(|guide| Box::new(guide) as _)),
        // A stream's first page: version 0, flag "beginning of stream".
        [b'O', b'g', b'g', b'S', 0, flags, ..] if flags & 2 != 0 => Some(Some(Box::new(Ogg))),
        _ => None,
    })
}

/// Goes through the slots in the video's order; takes the cells that are certain.
fn walk(board: &mut Board, guide: Box<dyn Guide>, head: usize) -> io::Result<Video> {
    let most = guide.len().map_or(board.cells() as u64, |len| len.div_ceil(BLOCK)).clamp(1, SLOTS) as usize;
    let mut slots = vec![None; most];
    let mut cursor = Cursor::default();
    for &(slot, cell) in [(0, head)].iter().chain(guide.known()) {
        if let Some(open) = slots.get_mut(slot) {
            *open = Some(cell);
            board.take(cell);
        }
    }
    let (mut last, mut misses, mut slot) = (0, 0, 0);
    while slot < most {
        // No mark lies in it: left open.
        let silent = cursor.at >= span(slot).end && !(slot + 1 == most && padding(&*guide).is_some());
        if slots[slot].is_some() {
            if guide.check(&board.view(&slots), &mut cursor, span(slot))?.is_none() {
                break;
            }
            last = slot;
        } else if !silent {
            match find(board, &*guide, &mut slots, cursor, last, slot)? {
                Found::Cell { before, cell, next } => {
                    for (slot, cell) in before.into_iter().chain([(slot, cell)]) {
                        slots[slot] = Some(cell);
                        board.take(cell);
                    }
                    (cursor, last, misses) = (next, slot, 0);
                }
                Found::Open => {}
                Found::Nothing => misses += 1,
            }
        }
        slot += 1;
        if board.is_spent() || (misses > 0 && board.free_from(0).next().is_none()) {
            break;
        }
        if misses == MISSES {
            let Some((next, behind)) = resume(board, &*guide, &mut slots, slot)? else { break };
            (slot, cursor, misses) = (next, behind, 0);
        }
    }
    let len = guide.len().unwrap_or(cursor.at);
    slots.truncate(len.div_ceil(BLOCK).max(1) as usize);
    Ok(Video { guide, slots, len, doubtful: 0 })
}

/// Where the zeros are that fill the last slot up.
fn padding(guide: &dyn Guide) -> Option<Range<u64>> {
    guide.len().filter(|len| len % BLOCK > 0).map(|len| len..len.next_multiple_of(BLOCK))
}

enum Found {
    Cell {
        /// Open slots before it that are certain now too.
        before: Vec<(usize, usize)>,
        cell: usize,
        /// The cursor behind it.
        next: Cursor,
    },
    /// The next cell would do, but nothing proves it.
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
) -> io::Result<Found> {
    let from = slots[last].unwrap_or_default();
    let next = from + (slot - last);
    let mut weak = false;
    let in_a_row = (from + 1..=next).all(|cell| board.is_free(cell));
    if in_a_row {
        match fit(board, guide, slots, cursor, last, slot, next)? {
            Some((bits, found)) if bits >= NEAR => return Ok(found),
            Some((0, _)) => return Ok(Found::Open),
            Some(_) => weak = true,
            None => {}
        }
    }
    let anywhere = board.free_from(from + 1).chain(board.free_from(0).take_while(|cell| *cell <= from));
    for cell in anywhere.take_while(|_| !board.is_spent()) {
        let enough = if cell.abs_diff(from) < VICINITY && !weak { NEAR } else { FAR };
        if let Some((bits, found)) = fit(board, guide, slots, cursor, last, slot, cell)?
            && bits >= enough
        {
            return Ok(found);
        }
    }
    Ok(if weak { Found::Open } else { Found::Nothing })
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
) -> io::Result<Option<(u32, Found)>> {
    let (from, open) = (slots[last].unwrap_or_default(), slot - last - 1);
    slots[slot] = Some(cell);
    // A mark that began before this slot reads the open ones too. They go on behind the last certain cell, or come up
    // to this one, or first the one and then the other.
    let splits = if cursor.at < span(slot).start { 0..=open.min(SPLITS) } else { 0..=0 };
    let mut best = None;
    for ahead in splits {
        for n in 1..=open {
            let other = if n <= ahead { Some(from + n) } else { cell.checked_sub(open + 1 - n) };
            slots[last + n] = other.filter(|cell| board.is_free(*cell));
        }
        let mut next = cursor;
        let mut bits = guide.check(&board.view(slots), &mut next, span(slot))?;
        if let (Some(bits), Some(padding)) = (&mut bits, padding(guide).filter(|_| slot + 1 == slots.len())) {
            *bits += zeros(&board.view(slots), padding)?;
        }
        if let Some(bits) = bits.filter(|bits| best.as_ref().is_none_or(|(best, _)| bits > best)) {
            let certain = guide.is_gapless() && next.at > span(slot).start;
            let before = (last + 1..slot).filter_map(|n| Some((n, slots[n]?))).filter(|_| certain).collect();
            best = Some((bits, Found::Cell { before, cell, next }));
        }
    }
    slots[last + 1..=slot].fill(None);
    Ok(best)
}

/// Evidence in bits that a last slot is filled up with zeros; few zeros prove little.
fn zeros(view: &View, padding: Range<u64>) -> io::Result<u32> {
    let len = (padding.end - padding.start) as usize;
    let zero = view.vec(padding.start, len)?.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
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
        let Some(cursor) = guide.resume(span(slot).start) else { return Ok(None) };
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

/// The bytes of a slot.
fn span(slot: usize) -> Range<u64> {
    slot as u64 * BLOCK..(slot as u64 + 1) * BLOCK
}

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

/// Gives open slots the free cells that they must be; where more than one solution is left, one of them.
fn settle(board: &mut Board, videos: &mut [Video], alone: bool) {
    while count(board, videos) {}
    if alone && let [video] = videos {
        tile(board, video);
    }
    for gap in gaps(videos) {
        let until = gap.right.filter(|right| *right > gap.left).unwrap_or(board.cells());
        let free: Vec<usize> = board.free_from(gap.left + 1).take_while(|cell| *cell < until).collect();
        let video = &mut videos[gap.video];
        video.doubtful += gap.slots.len().min(free.len());
        for (slot, cell) in gap.slots.zip(free) {
            video.slots[slot] = Some(cell);
            board.take(cell);
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
                gaps.push(Gap { video, slots: start..slot, left, right, after: (0, 0), before: (0, 0) });
            }
            slot += 1;
        }
    }
    gaps
}

/// Where exactly as many free cells lie between two certain ones as slots are open, and nobody else could be meant,
/// they are it. Whether any were.
fn count(board: &mut Board, videos: &mut [Video]) -> bool {
    let mut claims: Vec<(usize, usize, usize)> = Vec::new();
    for gap in gaps(videos) {
        let until = gap.right.unwrap_or(board.cells());
        let free: Vec<usize> = board.free_from(gap.left + 1).take_while(|cell| *cell < until).collect();
        if free.len() == gap.slots.len() {
            claims.extend(free.into_iter().zip(gap.slots).map(|(cell, slot)| (cell, gap.video, slot)));
        }
    }
    claims.sort_unstable();
    let once = |n: &usize| {
        let cell = claims[*n].0;
        n.checked_sub(1).is_none_or(|before| claims[before].0 != cell)
            && claims.get(n + 1).is_none_or(|after| after.0 != cell)
    };
    let certain: Vec<_> = (0..claims.len()).filter(once).map(|n| claims[n]).collect();
    for &(cell, video, slot) in &certain {
        videos[video].slots[slot] = Some(cell);
        board.take(cell);
    }
    !certain.is_empty()
}

/// For one video alone: each stretch of free cells is the end of the run before it and the beginning of the run
/// behind it, and each gap is the end of one run and the beginning of another. Narrows both down as far as they
/// determine each other.
fn tile(board: &mut Board, video: &mut Video) {
    let mut gaps = gaps(std::slice::from_ref(video));
    let open: usize = gaps.iter().map(|gap| gap.slots.len()).sum();
    let whole = board.free_from(0).count() == open;
    for gap in &mut gaps {
        gap.after = (0, gap.slots.len());
        gap.before = (0, if gap.right.is_some() { gap.slots.len() } else { 0 });
    }
    // Stretches: first cell, length, the gap that may go on into it, the gap that may come up to its end.
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
        let back = gap.right.into_iter().flat_map(|right| (1..=before).map(move |n| (n, right - n)));
        for (slot, cell) in ahead.chain(back.map(|(n, cell)| (gap.slots.end - n, cell))) {
            if board.is_free(cell) {
                video.slots[slot] = Some(cell);
                board.take(cell);
            }
        }
    }
}

/// Narrows two ranges of which values add up to `sum` (or, if not `exact`, to no more). A contradiction leaves them
/// as they are: nothing follows from it.
fn narrow(a: &mut (usize, usize), b: &mut (usize, usize), sum: usize, exact: bool) {
    let side = |own: (usize, usize), other: (usize, usize)| {
        let least = if exact { own.0.max(sum.saturating_sub(other.1)) } else { own.0 };
        (least, own.1.min(sum.saturating_sub(other.0)))
    };
    let (new_a, new_b) = (side(*a, *b), side(*b, *a));
    if new_a.0 <= new_a.1 && new_b.0 <= new_b.1 {
        (*a, *b) = (new_a, new_b);
    }
}

/// Checks the finished order once more from the beginning, and makes the plan.
fn prove(board: &Board, video: &Video) -> io::Result<Result<Plan, NotProven>> {
    let view = board.view(&video.slots);
    let mut cursor = Cursor::default();
    for slot in 0..video.slots.len() {
        if video.guide.check(&view, &mut cursor, span(slot))?.is_none() {
            return Ok(Err(NotProven::Broken));
        }
    }
    let known = video.slots.iter().rposition(Option::is_some).map_or(0, |slot| slot + 1);
    let mut len = video.len;
    if known < video.slots.len() {
        // The rest never arrived: ends with the last byte that did.
        len = last_byte(&view, span(known - 1))?;
    }
    Ok(Ok(Plan::new(&video.slots[..known], len, video.doubtful)))
}

/// The end of what is not zero in a slot.
fn last_byte(view: &View, slot: Range<u64>) -> io::Result<u64> {
    let bytes = view.vec(slot.start, BLOCK as usize)?.unwrap_or_default();
    Ok(slot.start + bytes.iter().rposition(|byte| *byte != 0).map_or(0, |n| n as u64 + 1))
}
