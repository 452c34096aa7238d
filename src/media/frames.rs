//! Streams of self-contained frames, MP3 and AAC: nothing but one frame after the other, perhaps
//! with tags around.

use std::ops::Range;

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    rest,
};
use crate::container::bytes::le32;

/// What the head of a frame says.
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

/// How the frames of a file begin.
#[derive(Debug)]
pub(crate) enum Begins {
    /// At the beginning, or behind a tag with this title.
    BehindTag(Option<String>),
    /// Behind something else: a part of a broadcast, which may also end inside a frame.
    BehindOthers,
}

/// What the frames add up to.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Behind the last whole frame.
    pub(crate) stop: u64,
    /// End of a frame that reaches behind the file.
    pub(crate) cut: Option<u64>,
    /// What is at `stop` is neither a frame nor a tag nor a tail of something else.
    pub(crate) broken: bool,
    /// Behind tags that close the file.
    pub(crate) end: u64,
    /// Stretches that lie in gaps.
    pub(crate) missing: Vec<Range<u64>>,
}

/// How many frames of one kind in a row prove a stream at the beginning of a file.
const AT_BEGINNING: usize = 3;
/// The same where frames are searched for among other bytes.
const BEHIND_OTHERS: usize = 8;
/// How far behind other bytes they may begin.
const FAR: u64 = 256 << 10;

/// Whether frames of one kind follow each other at `at`: three, or all there are.
pub(crate) fn begin_at(reader: &mut Reader, at: u64, parse: Parse) -> Step<bool> {
    let (count, end) = run(reader, at, AT_BEGINNING, parse)?;
    Ok(count == AT_BEGINNING || count > 0 && end >= reader.len())
}

/// How many frames of one kind follow each other at `at`, `most` at most, and where they end.
fn run(reader: &mut Reader, mut at: u64, most: usize, parse: Parse) -> Step<(usize, u64)> {
    let (mut kind, mut count) = (None, 0);
    while count < most {
        match parse(reader.bytes(at, 8)?) {
            Some(frame) if *kind.get_or_insert(frame.kind) == frame.kind => {
                (count, at) = (count + 1, at + u64::from(frame.length));
            }
            _ => break,
        }
    }
    Ok((count, at))
}

/// Where frames begin behind something else.
pub(crate) fn find(reader: &mut Reader, parse: Parse) -> Step<Option<u64>> {
    for at in 0..reader.len().min(FAR) {
        if reader.u8(at)? == Some(0xff) && run(reader, at, BEHIND_OTHERS, parse)?.0 == BEHIND_OTHERS
        {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Walks all frames from `from`.
pub(crate) fn walk(reader: &mut Reader, gaps: &Gaps, from: u64, parse: Parse) -> Step<Frames> {
    let mut frames = Frames {
        stop: from,
        ..Frames::default()
    };
    let len = reader.len();
    let mut kind = None;
    while frames.stop < len {
        let at = frames.stop;
        match parse(reader.bytes(at, 8)?) {
            // A frame of another kind may be an accident: it needs a second one.
            Some(frame)
                if *kind.get_or_insert(frame.kind) == frame.kind
                    || run(reader, at, 2, parse)?.0 == 2 =>
            {
                let end = at + u64::from(frame.length);
                if end > len {
                    frames.cut = Some(end);
                    break;
                }
                frames.count += 1;
                frames.seconds += f64::from(frame.samples) / f64::from(frame.rate.max(1));
                frames.stop = end;
            }
            _ if tag(reader, at)?.is_some() => break,
            // Fewer bytes than a head are left: a frame has just begun.
            _ if len - at < 8 && reader.u8(at)? == Some(0xff) => {
                frames.cut = Some(len + 1);
                break;
            }
            _ => match resync(reader, at, kind, parse)? {
                Some(next) => frames.stop = next,
                None => {
                    // A long stretch without a frame is not a tail.
                    frames.broken = !rest::follows(reader, gaps, at, 1, |_| false)?.is_tail();
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
    frames.missing = gaps.stretches(0..from, false);
    frames
        .missing
        .extend(gaps.stretches(from..frames.stop, true));
    if !frames.missing.is_empty() {
        frames
            .missing
            .extend(gaps.stretches(frames.stop..len, true));
    }
    Ok(frames)
}

/// The next two frames of the same kind behind junk or a gap.
fn resync(reader: &mut Reader, from: u64, kind: Option<u32>, parse: Parse) -> Step<Option<u64>> {
    /// Junk between frames is short; a gap may be longer, and is skipped before.
    const NEAR: u64 = 128 << 10;
    let len = reader.len();
    let from = reader.first_nonzero(from..len)?.unwrap_or(len);
    for at in from..len.min(from + NEAR) {
        if reader.u8(at)? != Some(0xff) {
            continue;
        }
        let is_known =
            parse(reader.bytes(at, 8)?).is_some_and(|f| kind.is_none_or(|k| k == f.kind));
        let (count, end) = run(reader, at, 2, parse)?;
        if is_known && (count == 2 || count == 1 && end == len) {
            return Ok(Some(at));
        }
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
        // A footer without the items before it counts them all the same.
        let size = le32(head, 12).map_or(0, u64::from);
        Some(at + 32 + size.min(left.saturating_sub(32)))
    } else if last {
        Some(at + 128)
    } else if head.starts_with(b"LYRICSBEGIN") {
        Some(at + left.saturating_sub(128).max(1))
    } else {
        None
    })
}
