//! What each target does with foreign bytes. A normal test does the same with what fuzzing kept:
//! see `tests/media`.
#![allow(unreachable_pub, reason = "the test has it as a module")]

mod caches;
mod streams;

use std::{io, ops::Range};

use fisga::{
    content::Content,
    media::{Verdict, inspect},
};

/// What a target does.
pub type Target = fn(&[u8]);

/// All of them, by name: the folders of the corpus are called so, too.
pub const TARGETS: [(&str, Target); 18] = [
    ("adts", |bytes| judge(b"\xff\xf1", bytes)),
    ("any", |bytes| judge(b"", bytes)),
    ("cache_chromium", caches::chromium),
    ("cache_firefox", caches::firefox),
    ("collect", caches::collect),
    ("decode", caches::decode),
    ("flac", |bytes| judge(b"fLaC", bytes)),
    ("flv", |bytes| judge(b"FLV\x01", bytes)),
    ("hls", streams::hls),
    ("join", streams::join),
    ("matroska", |bytes| judge(b"\x1a\x45\xdf\xa3", bytes)),
    ("mp3", |bytes| judge(b"\xff\xfb", bytes)),
    ("mp4", |bytes| judge(b"\0\0\0", bytes)),
    ("mpd", streams::mpd),
    ("ogg", |bytes| judge(b"OggS\0", bytes)),
    ("ps", |bytes| judge(b"\0\0\x01\xba", bytes)),
    ("riff", |bytes| judge(b"RIFF", bytes)),
    ("ts", |bytes| judge(b"\x47", bytes)),
];

/// Runs a target, by name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    target.expect("a name of the table").1(bytes);
}

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

/// Judges `bytes` behind (in place of their beginning) `magic`, which leads to one parser, with
/// holes and without.
fn judge(magic: &[u8], bytes: &[u8]) {
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
