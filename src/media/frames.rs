//! Streams of self-contained frames, MP3 and AAC: nothing but one frame after the other, perhaps
//! with tags around.

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
};

/// What the head of a frame tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    /// Bytes, its head included.
    pub(crate) length: u32,
    pub(crate) samples: u32,
    pub(crate) rate: u32,
    /// What does not change within one stream.
    pub(crate) kind: u32,
}

/// Reads a frame's head from up to eight bytes.
pub(crate) type Parse = fn(&[u8]) -> Option<Frame>;

/// What the frames add up to.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Behind the last whole frame.
    pub(crate) stop: u64,
    /// End of a frame that reaches behind the file.
    pub(crate) cut: Option<u64>,
    /// Something at `stop` is neither a frame nor a tag nor zeros up to the end.
    pub(crate) broken: bool,
    /// Behind tags that close the file.
    pub(crate) end: u64,
    /// Bytes in gaps.
    pub(crate) missing: u64,
}

/// Whether frames of one kind follow each other at `at`: three, or all there are.
pub(crate) fn begin_at(reader: &mut Reader, mut at: u64, parse: Parse) -> Step<bool> {
    let mut first = None;
    for i in 0..3 {
        let Some(frame) = parse(reader.bytes(at, 8)?) else {
            return Ok(i > 0 && at >= reader.len());
        };
        if *first.get_or_insert(frame.kind) != frame.kind {
            return Ok(false);
        }
        at += u64::from(frame.length);
    }
    Ok(true)
}

/// Walks all frames from `from`.
pub(crate) fn walk(reader: &mut Reader, gaps: &Gaps, from: u64, parse: Parse) -> Step<Frames> {
    let mut frames = Frames {
        stop: from,
        ..Frames::default()
    };
    let len = reader.len();
    while frames.stop < len {
        let at = frames.stop;
        let head = reader.bytes(at, 8)?;
        match parse(head) {
            Some(frame) => {
                let end = at + u64::from(frame.length);
                if end > len {
                    frames.cut = Some(end);
                    break;
                }
                frames.count += 1;
                frames.seconds += f64::from(frame.samples) / f64::from(frame.rate.max(1));
                frames.stop = end;
            }
            None if tag(reader, at)?.is_some() => break,
            // Too short for a head: a frame that has just begun.
            None if len - at < 8 && reader.u8(at)? == Some(0xff) => {
                frames.cut = Some(len + 1);
                break;
            }
            None => match resync(reader, at, parse)? {
                Some(next) => frames.stop = next,
                None => {
                    frames.broken = !reader.zeros_to_end(at)?;
                    break;
                }
            },
        }
    }
    frames.end = frames.stop;
    while let Some(end) = tag(reader, frames.end)? {
        if end > len {
            frames.cut = Some(end);
            break;
        }
        frames.end = end;
    }
    // Frames are shorter than a block: no block of zeros can be among them.
    frames.missing = gaps.all_in(from..frames.stop) + gaps.holes_in(0..from);
    if frames.missing > 0 {
        frames.missing += gaps.all_in(frames.stop..len);
    }
    Ok(frames)
}

/// The next two frames behind junk, if they are near.
fn resync(reader: &mut Reader, from: u64, parse: Parse) -> Step<Option<u64>> {
    /// Junk between frames is short; a gap may be longer, and is skipped before.
    const NEAR: u64 = 128 << 10;
    let from = reader
        .first_nonzero(from..reader.len())?
        .unwrap_or(reader.len());
    let mut at = from;
    while at < (from + NEAR).min(reader.len()) {
        if reader.u8(at)? == Some(0xff) && begin_at(reader, at, parse)? {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}

/// End of a tag that may close such a file: ID3v1 (128 bytes), APE, Lyrics3.
fn tag(reader: &mut Reader, at: u64) -> Step<Option<u64>> {
    let left = reader.len().saturating_sub(at);
    // ID3v1 is the last thing but for padding.
    let last = reader.bytes(at, 3)? == b"TAG" && (left <= 128 || reader.zeros_to_end(at + 128)?);
    let head = reader.bytes(at, 32)?;
    Ok(if head.starts_with(b"APETAGEX") {
        let size = head
            .get(12..16)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u32::from_le_bytes(*b));
        Some(at + 32 + u64::from(size))
    } else if last {
        Some(at + 128)
    } else if head.starts_with(b"LYRICSBEGIN") {
        Some(at + left.saturating_sub(128).max(1))
    } else {
        None
    })
}
