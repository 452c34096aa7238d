//! Bounded reading of foreign bytes: offsets past the end give nothing, and a fuel makes every
//! parser end.

use std::{cell::Cell, io, ops::Range, rc::Rc};

use crate::content::Content;

/// Bytes that one inspection may read: the tables of the largest sane file fit many times.
const FUEL_BYTES: u64 = 2 << 30;
/// Reads that one inspection may make (about a microsecond each from the page cache).
const FUEL_READS: u64 = 4_000_000;
/// Where reading is sequential the window grows up to this.
const WINDOW_MAX: usize = 64 << 10;
/// A first look at some place: most headers are smaller.
const WINDOW_MIN: usize = 512;

/// Why a parser stopped before its end.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Reading failed.
    Io(io::Error),
    /// The structure asks for more reading than any honest file does.
    Spent,
}

impl From<io::Error> for Halt {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// What a step of a parser returns.
pub(crate) type Step<T> = Result<T, Halt>;

/// A window that moves over a [`Content`]: small where a parser hops, larger where it reads on.
pub(crate) struct Reader<'a> {
    content: &'a dyn Content,
    len: u64,
    window: Vec<u8>,
    at: u64,
    grown: usize,
    fuel: Rc<Fuel>,
}

/// What is left to spend, for a reader and all its forks.
#[derive(Debug)]
struct Fuel {
    bytes: Cell<u64>,
    reads: Cell<u64>,
}

impl Fuel {
    fn spend(&self, bytes: u64) -> Step<()> {
        self.bytes
            .set(self.bytes.get().checked_sub(bytes).ok_or(Halt::Spent)?);
        self.reads
            .set(self.reads.get().checked_sub(1).ok_or(Halt::Spent)?);
        Ok(())
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(content: &'a dyn Content) -> Self {
        Self {
            content,
            len: content.len(),
            window: Vec::new(),
            at: 0,
            grown: WINDOW_MIN,
            fuel: Rc::new(Fuel {
                bytes: Cell::new(FUEL_BYTES),
                reads: Cell::new(FUEL_READS),
            }),
        }
    }

    /// Another window on the same content, burning the same fuel.
    pub(crate) fn fork(&self) -> Reader<'a> {
        Reader {
            fuel: Rc::clone(&self.fuel),
            len: self.len,
            ..Reader::new(self.content)
        }
    }

    /// Length of the content when the inspection began: what is appended meanwhile is not looked
    /// at.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Looks at nothing behind `end`, as if the content ended there.
    pub(crate) fn end_at(&mut self, end: u64) {
        self.len = self.len.min(end);
        self.window.clear();
    }

    /// The content itself.
    pub(crate) fn content(&self) -> &'a dyn Content {
        self.content
    }

    /// At most `n` (and at most 64 KiB) bytes at `at`; fewer only where the content ends.
    pub(crate) fn bytes(&mut self, at: u64, n: usize) -> Step<&[u8]> {
        let n = n.min(WINDOW_MAX);
        let n = usize::try_from(self.len.saturating_sub(at))
            .unwrap_or(n)
            .min(n);
        let inside = at
            .checked_sub(self.at)
            .and_then(|o| usize::try_from(o).ok());
        let from = match inside {
            Some(o) if o + n <= self.window.len() => o,
            _ if n == 0 => return Ok(&[]),
            _ => {
                self.fill(at, n)?;
                0
            }
        };
        let to = (from + n).min(self.window.len());
        Ok(&self.window[from.min(to)..to])
    }

    fn fill(&mut self, at: u64, n: usize) -> Step<()> {
        let end = self.at + self.window.len() as u64;
        let reads_on = at >= self.at && at <= end + WINDOW_MIN as u64;
        self.grown = if reads_on {
            (self.grown * 2).min(WINDOW_MAX)
        } else {
            WINDOW_MIN
        };
        let want = usize::try_from(self.len - at)
            .unwrap_or(WINDOW_MAX)
            .min(self.grown.max(n));
        self.fuel.spend(want as u64)?;
        self.window.resize(want, 0);
        let got = self.content.read_at(at, &mut self.window);
        self.window.truncate(*got.as_ref().unwrap_or(&0));
        self.at = at;
        got?;
        Ok(())
    }

    /// The bytes of `range`, no more than `most`; fewer where the content ends.
    pub(crate) fn vec(&mut self, range: Range<u64>, most: usize) -> Step<Vec<u8>> {
        let len = range.end.saturating_sub(range.start);
        let len = usize::try_from(len).unwrap_or(most).min(most);
        let mut all = Vec::new();
        while all.len() < len {
            let bytes = self.bytes(range.start + all.len() as u64, len - all.len())?;
            if bytes.is_empty() {
                break;
            }
            all.extend_from_slice(bytes);
        }
        Ok(all)
    }

    /// `N` bytes at `at`, if they are all there.
    pub(crate) fn array<const N: usize>(&mut self, at: u64) -> Step<Option<[u8; N]>> {
        Ok(self.bytes(at, N)?.first_chunk().copied())
    }

    pub(crate) fn u8(&mut self, at: u64) -> Step<Option<u8>> {
        Ok(self.array::<1>(at)?.map(|b| b[0]))
    }

    pub(crate) fn be16(&mut self, at: u64) -> Step<Option<u16>> {
        Ok(self.array(at)?.map(u16::from_be_bytes))
    }

    pub(crate) fn be32(&mut self, at: u64) -> Step<Option<u32>> {
        Ok(self.array(at)?.map(u32::from_be_bytes))
    }

    pub(crate) fn le32(&mut self, at: u64) -> Step<Option<u32>> {
        Ok(self.array(at)?.map(u32::from_le_bytes))
    }

    pub(crate) fn le64(&mut self, at: u64) -> Step<Option<u64>> {
        Ok(self.array(at)?.map(u64::from_le_bytes))
    }

    pub(crate) fn be64(&mut self, at: u64) -> Step<Option<u64>> {
        Ok(self.array(at)?.map(u64::from_be_bytes))
    }

    /// First byte of `range` that is not zero. Holes are skipped without reading.
    pub(crate) fn first_nonzero(&mut self, range: Range<u64>) -> Step<Option<u64>> {
        let (mut at, end) = (range.start, range.end.min(self.len));
        while at < end {
            let bytes = self.bytes(
                at,
                WINDOW_MAX.min(usize::try_from(end - at).unwrap_or(WINDOW_MAX)),
            )?;
            if bytes.is_empty() {
                break;
            }
            if let Some(i) = bytes.iter().position(|&b| b != 0) {
                return Ok(Some(at + i as u64));
            }
            at += bytes.len() as u64;
            at = self.content.next_data(at)?.max(at);
        }
        Ok(None)
    }

    /// Whether `is_it` is true of any place in `range`. It is shown `width` bytes, fewer near the
    /// end.
    pub(crate) fn search(
        &mut self,
        range: Range<u64>,
        width: usize,
        mut is_it: impl FnMut(&[u8]) -> bool,
    ) -> Step<bool> {
        let (mut at, end) = (range.start, range.end.min(self.len));
        while at < end {
            let bytes = self.bytes(at, WINDOW_MAX)?;
            let last = at + bytes.len() as u64 >= end;
            let places = if last {
                bytes.len()
            } else {
                bytes.len().saturating_sub(width - 1)
            };
            let window = |i: usize| &bytes[i..bytes.len().min(i + width)];
            if places == 0 || (0..places).any(|i| is_it(window(i))) {
                return Ok(places > 0);
            }
            at += places as u64;
        }
        Ok(false)
    }

    /// Whether nothing but zeros follows `at` (true at the end itself).
    pub(crate) fn zeros_to_end(&mut self, at: u64) -> Step<bool> {
        Ok(self.first_nonzero(at..self.len)?.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let data: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        let data = data.as_slice();
        let mut r = Reader::new(&data);
        assert_eq!(r.bytes(0, 4).unwrap(), [0, 1, 2, 3]);
        assert_eq!(r.bytes(199_998, 100).unwrap(), &data[199_998..]);
        assert!(r.bytes(200_000, 1).unwrap().is_empty());
        assert!(r.bytes(u64::MAX, 8).unwrap().is_empty());
        assert_eq!(r.be32(199_998).unwrap(), None);
        assert_eq!(r.be16(256).unwrap(), Some(1));
        for at in (0..190_000).step_by(997) {
            assert_eq!(
                r.bytes(at, 300).unwrap(),
                &data[at as usize..at as usize + 300]
            );
        }
    }

    #[test]
    fn the_fuel_ends() {
        let data = &[0; 1 << 20][..];
        let mut r = Reader::new(&data);
        r.fuel.bytes.set(1 << 16);
        assert!(matches!(r.zeros_to_end(0), Err(Halt::Spent)));
    }
}
