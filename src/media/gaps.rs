//! Where bytes are missing inside a file: holes, and blocks of zeros that stand for holes.
//!
//! A hole is certain: nobody wrote there (lseek(2), `SEEK_HOLE`). A file system without holes shows
//! zeros instead. Those prove nothing by themselves (silence in PCM is zeros too); a parser asks
//! for them only where its format can't have a whole block of zeros.

use std::ops::Range;

use super::reader::{Halt, Reader, Step};

/// Granularity of both; file systems store no smaller hole.
const BLOCK: u64 = 4096;
/// Up to this length every block is looked at.
const READ_ALL: u64 = 24 << 20;
/// In longer files this many blocks are looked at, at even distances.
const SAMPLES: u64 = 6144;
/// Holes that are kept apart at most; a file with more is far from whole anyway.
const MAX_RANGES: usize = 65_536;

/// Sorted ranges that don't overlap.
#[derive(Debug, Default)]
struct Ranges(Vec<Range<u64>>);

impl Ranges {
    fn push(&mut self, range: Range<u64>) {
        let full = self.0.len() == MAX_RANGES;
        match self.0.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ if full => {}
            _ => self.0.push(range),
        }
    }

    /// The parts of them that lie in `range`.
    fn parts(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let Range { start, end } = *range;
        let from = self.0.partition_point(|r| r.end <= start);
        let inside = self.0[from..].iter().take_while(move |r| r.start < end);
        inside.map(move |r| r.start.max(start)..r.end.min(end))
    }

    fn within(&self, range: &Range<u64>) -> u64 {
        self.parts(range).map(|r| r.end - r.start).sum()
    }
}

/// All gaps of one file.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    holes: Ranges,
    zeros: Ranges,
}

impl Gaps {
    /// Asks the file system for holes, then looks for blocks of zeros: at all of them in a short
    /// file, at a sample of a long one, so that the time is bounded.
    ///
    /// A hole at the end was never written: the reader is made to end before it, and that place is
    /// returned.
    pub(crate) fn find(reader: &mut Reader) -> Step<(Self, Option<u64>)> {
        let len = reader.len();
        let mut gaps = Self::default();
        let mut at = 0;
        while at < len && gaps.holes.0.len() < MAX_RANGES {
            let hole = reader.content().next_hole(at)?;
            if hole >= len {
                break;
            }
            let data = reader.content().next_data(hole)?.min(len);
            if data <= hole {
                break;
            }
            gaps.holes.push(hole..data);
            at = data;
        }
        let tail = gaps.holes.0.pop_if(|last| last.end == len);
        let tail = tail.map(|tail| tail.start);
        reader.end_at(tail.unwrap_or(len));
        let mut own = Reader::new(reader.content());
        own.end_at(reader.len());
        match if own.len() <= READ_ALL {
            gaps.read_all(&mut own)
        } else {
            gaps.sample(&mut own)
        } {
            Err(Halt::Io(e)) => Err(e.into()),
            // The file has gigabytes of zeros: what was found so far is enough for a verdict.
            Ok(()) | Err(Halt::Spent) => Ok((gaps, tail)),
        }
    }

    fn read_all(&mut self, reader: &mut Reader) -> Step<()> {
        let mut at = 0;
        while at < reader.len() {
            let data = reader.content().next_data(at)?;
            at = data.max(at) / BLOCK * BLOCK;
            let bytes = reader.bytes(at, 16 * BLOCK as usize)?;
            if bytes.is_empty() {
                break;
            }
            for block in bytes.chunks(BLOCK as usize) {
                let end = at + block.len() as u64;
                // A few zeros at the very end are ordinary, unless they end a longer run.
                let counts =
                    block.len() as u64 == BLOCK || self.zeros.0.last().is_some_and(|z| z.end == at);
                if counts && is_zero(block) {
                    self.zeros.push(at..end);
                }
                at = end;
            }
        }
        Ok(())
    }

    fn sample(&mut self, reader: &mut Reader) -> Step<()> {
        let len = reader.len();
        let stride = (len / SAMPLES).div_ceil(BLOCK) * BLOCK;
        let mut at = 0;
        while at < len {
            let block = at..at + BLOCK;
            if self.holes.within(&block) == 0
                && reader.bytes(at, 32)?.iter().all(|&b| b == 0)
                && is_zero(reader.bytes(at, BLOCK as usize)?)
            {
                let end = reader.first_nonzero(at..len.min(at + stride))?;
                let end = end.map_or(at + stride, |e| e / BLOCK * BLOCK).min(len);
                let mut start = at;
                while start > at.saturating_sub(stride)
                    && is_zero(reader.bytes(start - BLOCK, BLOCK as usize)?)
                {
                    start -= BLOCK;
                }
                self.zeros.push(start..end.max(at + BLOCK).min(len));
            }
            at += stride;
        }
        Ok(())
    }

    /// Bytes of `range` that lie in holes or in blocks of zeros.
    pub(crate) fn all_in(&self, range: Range<u64>) -> u64 {
        if self.holes.0.is_empty() {
            return self.zeros.within(&range);
        }
        bytes_of(&self.stretches(range, true))
    }

    /// The stretches of `range` that lie in holes or, where `zeros_prove`, in blocks of zeros.
    pub(crate) fn stretches(&self, range: Range<u64>, zeros_prove: bool) -> Vec<Range<u64>> {
        let mut all: Vec<_> = self.holes.parts(&range).collect();
        if zeros_prove {
            all.extend(self.zeros.parts(&range));
        }
        merged(all)
    }

    /// The gaps in the parts with `media`, where blocks of zeros are some if it is `dense`, and the
    /// holes in the `other` parts, in order.
    pub(crate) fn among(
        &self,
        media: &[Range<u64>],
        dense: bool,
        other: &[Range<u64>],
    ) -> Vec<Range<u64>> {
        let media = media.iter().map(|r| (r, dense));
        let parts = media.chain(other.iter().map(|r| (r, false)));
        let mut found: Vec<_> = parts
            .flat_map(|(r, zeros_prove)| self.stretches(r.clone(), zeros_prove))
            .collect();
        found.sort_by_key(|r| r.start);
        found
    }

    /// Whether there is nothing to look for at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.holes.0.is_empty() && self.zeros.0.is_empty()
    }
}

/// The same bytes as stretches in order that don't touch.
pub(crate) fn merged(mut stretches: Vec<Range<u64>>) -> Vec<Range<u64>> {
    stretches.sort_unstable_by_key(|r| r.start);
    let mut merged = Ranges::default();
    stretches.into_iter().for_each(|r| merged.push(r));
    merged.0
}

fn is_zero(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| b == 0)
}

/// How long these stretches are together.
pub(crate) fn bytes_of(stretches: &[Range<u64>]) -> u64 {
    stretches.iter().map(|r| r.end - r.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(data: &[u8]) -> Gaps {
        Gaps::find(&mut Reader::new(&data)).unwrap().0
    }

    #[test]
    fn blocks_of_zeros_are_found_and_counted() {
        let mut data = vec![7; 100_000];
        data[8192..16384].fill(0);
        data[20_000..22_000].fill(0); // less than a block
        data[94_208..].fill(0);
        let gaps = find(&data);
        assert_eq!(gaps.zeros.0, [8192..16384, 94_208..100_000]);
        assert_eq!(gaps.all_in(0..100_000), 8192 + 5792);
        assert_eq!(gaps.all_in(10_000..12_000), 2000);
        assert_eq!(gaps.stretches(0..100_000, false), []);
        assert!(find(&[1; 10]).is_empty());
    }

    #[test]
    fn a_long_file_is_sampled() {
        let mut data = vec![7; READ_ALL as usize * 2];
        data[4 << 20..5 << 20].fill(0);
        assert_eq!(find(&data).all_in(0..data.len() as u64), 1 << 20);
    }

    #[test]
    fn real_holes_are_found() {
        use std::{io::Write, os::unix::fs::FileExt};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 65536]).unwrap();
        file.write_all_at(&[1; 65536], 1 << 20).unwrap();
        let (gaps, tail) = Gaps::find(&mut Reader::new(&file)).unwrap();
        assert_eq!(tail, None);
        assert!(
            gaps.stretches(0..2 << 20, false)
                .iter()
                .eq([&(65536..1 << 20)])
        );
        assert_eq!(gaps.all_in(0..2 << 20), (1 << 20) - 65536);
        file.set_len(4 << 20).unwrap();
        let mut reader = Reader::new(&file);
        let (gaps, tail) = Gaps::find(&mut reader).unwrap();
        assert_eq!(tail, Some((1 << 20) + 65536));
        assert_eq!(reader.len(), (1 << 20) + 65536);
        assert!(
            gaps.stretches(0..2 << 20, true)
                .iter()
                .eq([&(65536..1 << 20)])
        );
    }
}
