//! Cells, slots, and a video as an arrangement of cells.

use std::{cell::Cell, io, ops::Range};

use super::NotProven;
use crate::content::Content;

/// Size of a block, in bytes (`MediaCacheStream::BLOCK_SIZE`).
pub(super) const BLOCK: u64 = 32 << 10;

/// A stretch of the video, and where it lies in Firefox's file. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRun {
    /// Where it belongs in the video.
    pub at: u64,
    /// Where it lies in Firefox's file.
    pub from: u64,
    /// How long it is.
    pub len: u64,
}

/// How a video is made out of Firefox's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPlan {
    /// Length of the video in bytes.
    pub len: u64,
    /// The parts that are there, in the video's order. What would lie between two of them never
    /// arrived.
    pub parts: Vec<BlockRun>,
    /// How many blocks of 32 KiB could also be in another order. If there are none, the order is
    /// proven.
    pub doubtful: usize,
}

impl RepairPlan {
    /// The plan for the first `len` bytes of a video whose slots lie in these cells.
    pub(super) fn new(slots: &[Option<usize>], len: u64, doubtful: usize) -> Self {
        let mut parts: Vec<BlockRun> = Vec::new();
        for (slot, cell) in slots.iter().enumerate() {
            let (at, Some(cell)) = (slot as u64 * BLOCK, *cell) else {
                continue;
            };
            let (from, n) = (cell as u64 * BLOCK, BLOCK.min(len.saturating_sub(at)));
            match parts.last_mut() {
                _ if n == 0 => break,
                Some(last) if last.at + last.len == at && last.from + last.len == from => {
                    last.len += n
                }
                _ => parts.push(BlockRun { at, from, len: n }),
            }
        }
        Self {
            len,
            parts,
            doubtful,
        }
    }

    /// What is not proven about it, for people.
    pub fn doubt(&self) -> Option<NotProven> {
        (self.doubtful > 0).then_some(NotProven::Ambiguous {
            blocks: self.doubtful,
        })
    }

    /// Whether the video is the beginning of Firefox's file, as it lies there.
    pub fn is_linear(&self) -> bool {
        matches!(self.parts[..], [BlockRun { at: 0, from: 0, .. }])
    }

    /// Whether every byte of the video is there.
    pub fn is_whole(&self) -> bool {
        self.parts.iter().map(|part| part.len).sum::<u64>() == self.len
    }

    /// The video, read through the plan.
    pub fn view<'a, C: Content + ?Sized>(&'a self, content: &'a C) -> Ordered<'a, C> {
        Ordered {
            content,
            plan: self,
        }
    }

    /// The first part that ends behind `at`.
    fn part(&self, at: u64) -> Option<&BlockRun> {
        self.parts
            .get(self.parts.partition_point(|part| part.at + part.len <= at))
    }
}

/// Firefox's file in the order of a [`RepairPlan`]; what never arrived is a hole.
#[derive(Debug)]
pub struct Ordered<'a, C: ?Sized> {
    content: &'a C,
    plan: &'a RepairPlan,
}

impl<C: Content + ?Sized> Content for Ordered<'_, C> {
    fn len(&self) -> u64 {
        self.plan.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let n = usize::try_from(self.plan.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let mut done = 0;
        while done < n {
            let at = offset + done as u64;
            let part = self.plan.part(at).filter(|part| part.at <= at);
            let until = match part {
                Some(part) => part.at + part.len,
                None => self.plan.part(at).map_or(self.plan.len, |next| next.at),
            };
            let piece = &mut buf[done..n.min(done.saturating_add((until - at) as usize))];
            let read = match part {
                Some(part) => self.content.read_at(part.from + (at - part.at), piece)?,
                None => 0,
            };
            piece[read..].fill(0);
            done += piece.len();
        }
        Ok(n)
    }

    fn next_hole(&self, from: u64) -> io::Result<u64> {
        let mut at = from;
        while let Some(part) = self.plan.part(at).filter(|part| part.at <= at) {
            at = part.at + part.len;
        }
        Ok(at.min(self.plan.len).max(from))
    }

    fn next_data(&self, from: u64) -> io::Result<u64> {
        Ok(self
            .plan
            .part(from)
            .map_or(self.plan.len, |part| part.at)
            .max(from))
    }
}

/// Firefox's file as cells, some of them known to belong to a video.
pub(super) struct Board<'a> {
    content: &'a dyn Content,
    owned: Vec<Owned>,
    reads: Cell<u32>,
}

/// Whether a cell belongs to a video, and how that is known.
#[derive(Clone, Copy, PartialEq)]
enum Owned {
    /// It belongs to no video yet.
    Free,
    /// A mark in it fits only this video.
    Marked,
    /// It follows from other cells.
    Inferred,
}

/// Most reads, whatever the bytes are: they take half a minute. A film of two hours takes a
/// million.
const READS: u32 = 50_000_000;

impl<'a> Board<'a> {
    pub(super) fn new(content: &'a dyn Content) -> Self {
        let cells = content.len().div_ceil(BLOCK) as usize;
        Self {
            content,
            owned: vec![Owned::Free; cells],
            reads: Cell::new(0),
        }
    }

    /// Whether the search has taken too long and ends with what it has found.
    pub(super) fn is_spent(&self) -> bool {
        self.reads.get() > READS
    }

    /// How many cells there are.
    pub(super) fn cells(&self) -> usize {
        self.owned.len()
    }

    /// Marks a cell as inferred to belong to a video.
    pub(super) fn take(&mut self, cell: usize) {
        self.owned[cell] = Owned::Inferred;
    }

    /// Marks a cell as one with a video's mark.
    pub(super) fn mark(&mut self, cell: usize) {
        self.owned[cell] = Owned::Marked;
    }

    /// Whether none of these cells was only inferred.
    pub(super) fn infers_none(&self, mut cells: Range<usize>) -> bool {
        cells.all(|cell| self.owned.get(cell) != Some(&Owned::Inferred))
    }

    pub(super) fn is_free(&self, cell: usize) -> bool {
        self.owned.get(cell) == Some(&Owned::Free)
    }

    /// Free cells from `cell` on.
    pub(super) fn free_from(&self, cell: usize) -> impl Iterator<Item = usize> + '_ {
        (cell..self.cells()).filter(|cell| self.is_free(*cell))
    }

    /// A video whose slots lie in these cells.
    pub(super) fn view<'b>(&'b self, slots: &'b [Option<usize>]) -> View<'b> {
        View {
            content: self.content,
            slots,
            reads: &self.reads,
        }
    }
}

/// A video as far as its slots are known.
pub(super) struct View<'a> {
    content: &'a dyn Content,
    slots: &'a [Option<usize>],
    reads: &'a Cell<u32>,
}

impl View<'_> {
    /// Fills `buf` from `at`; `false` if a byte of it lies in no known cell.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> io::Result<bool> {
        self.reads.set(self.reads.get().saturating_add(1));
        let mut done = 0;
        while done < buf.len() {
            let at = at.saturating_add(done as u64);
            let Some(Some(cell)) = usize::try_from(at / BLOCK)
                .ok()
                .and_then(|slot| self.slots.get(slot))
            else {
                return Ok(false);
            };
            let n = (buf.len() - done).min((BLOCK - at % BLOCK) as usize);
            let piece = &mut buf[done..done + n];
            if self
                .content
                .read_at(*cell as u64 * BLOCK + at % BLOCK, piece)?
                < n
            {
                return Ok(false);
            }
            done += n;
        }
        Ok(true)
    }

    /// Bytes at a place, if all of them are known.
    pub(super) fn bytes<const N: usize>(&self, at: u64) -> io::Result<Option<[u8; N]>> {
        let mut buf = [0; N];
        Ok(self.read(at, &mut buf)?.then_some(buf))
    }

    /// The same for a length that is read from the content; the caller bounds it.
    pub(super) fn vec(&self, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let mut buf = vec![0; len];
        Ok(self.read(at, &mut buf)?.then_some(buf))
    }
}
