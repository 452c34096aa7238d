//! AAC as a stream of ADTS frames (ISO/IEC 14496-3, 1.A.2.2), alone or as HLS packs it: an ID3 tag
//! with the time of the first frame, then frames (RFC 8216, 3.4).

use std::{io, ops::Range};

use super::{bytes, id3, ts};
use crate::content::Content;

const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000,
    7350,
];
/// The owner of the private ID3 frame that carries the time.
const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";
/// Bytes of a frame's head.
pub(crate) const HEAD: usize = 7;
/// Frames of a segment that are counted: half an hour.
const MAX_FRAMES: usize = 84_000;

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes, its head included.
    pub(crate) len: u32,
    pub(crate) samples: u32,
    /// Samples a second.
    pub(crate) rate: u32,
    /// What does not change within one stream.
    pub(crate) kind: u32,
}

/// The frame whose head begins `head`.
pub(crate) fn frame(head: &[u8]) -> Option<Frame> {
    let &[0xff, b, c, d, e, f, g, ..] = head else {
        return None;
    };
    // Synchronization, and a layer of 0.
    if b & 0xf6 != 0xf0 {
        return None;
    }
    let rate = *RATES.get(usize::from(c >> 2 & 15))?;
    let len = u32::from_be_bytes([0, d & 3, e, f]) >> 5;
    (len as usize >= HEAD).then_some(Frame {
        len,
        samples: 1024 * (u32::from(g & 3) + 1),
        rate,
        kind: u32::from(b & 0xfe) << 8 | u32::from(c & 0xfc),
    })
}

/// What the beginning of a packed audio segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedHead {
    /// When the first frame is presented, in ticks of 1/90000 s, if an ID3 tag says so.
    pub(crate) time: Option<u64>,
    /// Where the first frame is.
    pub(crate) start: u64,
}

/// What the beginning of `range` says; `None` if it isn't packed AAC.
pub(crate) fn head<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Option<PackedHead>> {
    let len = range.end.saturating_sub(range.start);
    let mut head = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(16 << 10)];
    let n = content.read_at(range.start, &mut head)?;
    let head = &head[..n];
    let tag = id3::head(head).map_or(0, |tag| tag.len() as usize);
    let time = head.get(..tag).and_then(|tag| {
        let at = tag.windows(OWNER.len()).position(|w| w == OWNER)? + OWNER.len();
        Some(bytes::be64(tag, at)? & (ts::WRAP as u64 - 1))
    });
    // A tag that is longer than what was read hides the frames: then it is not taken for AAC.
    let frame = head.get(tag..).and_then(frame);
    Ok(frame.map(|_| PackedHead {
        time,
        start: range.start + tag as u64,
    }))
}

/// How long the frames from `range.start` last, in ticks of 1/90000 s; no more than half an hour is
/// counted.
pub(crate) fn duration<C: Content + ?Sized>(content: &C, range: Range<u64>) -> io::Result<u64> {
    let (mut at, mut ticks) = (range.start, 0);
    for _ in 0..MAX_FRAMES {
        let mut head = [0; HEAD];
        if content.read_at(at, &mut head)? < head.len() {
            break;
        }
        let Some(frame) = frame(&head) else {
            break;
        };
        at += u64::from(frame.len);
        if at > range.end {
            break;
        }
        ticks += u64::from(frame.samples) * ts::CLOCK / u64::from(frame.rate);
    }
    Ok(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let good = [0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f, 0xfc];
        assert_eq!(
            frame(&good).map(|f| (f.len, f.samples, f.rate)),
            Some((371, 1024, 44_100))
        );
        assert_eq!(frame(&good[..6]), None);
        assert_eq!(frame(&[0xff, 0xfb, 0x90, 0x64, 0, 0, 0]), None); // MP3
        assert_eq!(frame(&[0xff, 0xf1, 0x7c, 0x80, 0x2e, 0x7f, 0xfc]), None); // no such sample rate
    }
}
