//! What every target does with foreign bytes.

use std::{io, ops::Range};

use fisga::media::{Content, Verdict, inspect};

/// A file system that shows blocks of zeros as holes.
struct Sparse<'a>(&'a [u8]);

impl Sparse<'_> {
    fn blocks(&self, from: u64, zero: bool) -> u64 {
        let is_zero = |r: Range<usize>| self.0[r].iter().all(|&b| b == 0);
        let len = self.0.len();
        let mut at = usize::try_from(from).unwrap_or(len).min(len);
        while at < len {
            let end = (at / 4096 * 4096 + 4096).min(len);
            if is_zero(at / 4096 * 4096..end) == zero {
                return at as u64;
            }
            at = end;
        }
        from.max(len as u64)
    }
}

impl Content for Sparse<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn next_hole(&self, from: u64) -> io::Result<u64> {
        Ok(self.blocks(from, true))
    }

    fn next_data(&self, from: u64) -> io::Result<u64> {
        Ok(self.blocks(from, false))
    }
}

/// Judges `bytes` behind (in place of their beginning) `magic`, which leads to one parser, with holes and without.
pub fn judge(magic: &[u8], bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(magic.len()), 0);
    bytes[..magic.len()].copy_from_slice(magic);
    for report in [inspect(bytes.as_slice()), inspect(&Sparse(&bytes))] {
        let report = report.expect("memory is always readable");
        if let Verdict::Incomplete { fraction } = report.verdict {
            assert!((0.0..1.0).contains(&fraction), "{report:?}");
        }
        assert!(report.title.is_none_or(|t| t.len() <= 8192));
    }
}
