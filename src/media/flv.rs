//! Flash Video: tags one after the other, each followed by its own size (Adobe FLV specification
//! 10.1, annex E).
//!
//! All tags are walked. `onMetaData` may promise a length in bytes or seconds; without it only a
//! tag that is cut shows.

use super::{
    amf,
    gaps::{self, Gaps},
    reader::{Reader, Step},
    report::{Container, Report},
    rest::{self, Rest},
};

/// Whether the file begins with an FLV head.
pub(crate) fn begins(head: &[u8]) -> bool {
    // Some writers set reserved flags; the length of the head is 9 in all versions.
    matches!(head, [b'F', b'L', b'V', 1..=9, _, 0, 0, 0, 9..=64, ..])
}

/// What the tags add up to.
#[derive(Default)]
struct Tags {
    count: u64,
    /// Behind the last whole tag.
    stop: u64,
    /// End of a tag that reaches behind the file.
    cut: Option<u64>,
    /// The bytes at `stop` are no tag.
    broken: bool,
    first: Option<u32>,
    last: u32,
    /// Milliseconds between two tags that follow each other, at most.
    longest: u32,
    video: bool,
    audio: bool,
    /// Sound without compression may be all zeros.
    dense: bool,
    protected: bool,
    /// The encoder said that the stream ends here.
    finished: bool,
    /// Stream numbers, which should be 0, and are not in some files.
    streams: Vec<[u8; 3]>,
    script: amf::Script,
}

/// The head of a tag (annex E.4.1).
struct Tag {
    /// 8 audio, 9 video, 18 script.
    kind: u8,
    encrypted: bool,
    size: u32,
    /// Milliseconds.
    time: u32,
    stream: [u8; 3],
}

/// Bytes of a tag's head.
const HEAD: usize = 11;

impl Tag {
    /// The tag that `bytes` begin with: two reserved bits, one for encryption, then the kind.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[kind, a, b, c, t1, t2, t3, t0, s1, s2, s3, ..] = bytes else {
            return None;
        };
        (matches!(kind & 0x1f, 8 | 9 | 18) && kind & 0xc0 == 0).then_some(Self {
            kind: kind & 0x1f,
            encrypted: kind & 0x20 != 0,
            size: u32::from_be_bytes([0, a, b, c]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
            stream: [s1, s2, s3],
        })
    }

    /// Where it ends if it begins at `at`, with its own size behind it.
    fn end(&self, at: u64) -> u64 {
        at + HEAD as u64 + u64::from(self.size) + 4
    }
}

impl Tags {
    /// The tag at `at`, if one can be there: its stream is known, its size stands behind it, or
    /// another tag of its stream does.
    fn tag(&mut self, reader: &mut Reader, at: u64) -> Step<Option<Tag>> {
        /// Streams that are remembered.
        const MOST: usize = 4;
        let Some(tag) = Tag::parse(reader.bytes(at, HEAD)?) else {
            return Ok(None);
        };
        let end = tag.end(at);
        let known = tag.stream == [0; 3] || self.streams.contains(&tag.stream);
        if !known {
            let next = Tag::parse(reader.bytes(end, HEAD)?);
            let goes_on = next.is_some_and(|next| next.stream == tag.stream);
            if !goes_on && reader.be32(end - 4)? != Some(tag.size + HEAD as u32) {
                return Ok(None);
            }
            if self.streams.len() < MOST {
                self.streams.push(tag.stream);
            }
        }
        Ok(Some(tag))
    }

    /// Whether what lies at `end` can follow a tag: nothing, or another tag.
    fn goes_on(&mut self, reader: &mut Reader, end: u64) -> Step<bool> {
        Ok(end >= reader.len() || self.tag(reader, end)?.is_some())
    }
}

/// Judges a file that [`begins`] like one.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let tags = walk(reader)?;
    let mut report = Report::of(Container::Flv);
    report.set_kind(tags.video, tags.audio);
    let have = f64::from(tags.last - tags.first.unwrap_or(0).min(tags.last)) / 1000.0;
    let whole = tags.script.duration.unwrap_or(0.0);
    report.set_seconds(if whole > 0.0 { whole } else { have });
    report.title.clone_from(&tags.script.title);
    if tags.protected {
        report.protected();
    } else {
        judge(reader, gaps, &tags, have, &mut report)?;
    }
    Ok(report)
}

fn walk(reader: &mut Reader) -> Step<Tags> {
    let mut tags = Tags {
        dense: true,
        ..Tags::default()
    };
    let len = reader.len();
    // Behind the head stands the size of a tag that is none: 0.
    let mut at = u64::from(reader.be32(5)?.unwrap_or(9).clamp(9, 4096)) + 4;
    tags.stop = at.min(len);
    while at < len {
        if len - at < HEAD as u64 {
            // The head of a tag, or a few bytes of something else.
            let first = reader.u8(at)?;
            let begun = matches!(first, Some(8 | 9 | 18 | 0x28 | 0x29 | 0x32));
            tags.cut = begun.then_some(at + HEAD as u64);
            tags.broken = !begun;
            break;
        }
        let Some(tag) = tags.tag(reader, at)? else {
            tags.broken = true;
            break;
        };
        let (size, time) = (tag.size, tag.time);
        let body = at + HEAD as u64;
        let end = tag.end(at);
        if end <= len {
            // Some writers state a wrong size here. Then another tag must follow.
            let back = reader.be32(end - 4)?.unwrap_or(0);
            if back != size + HEAD as u32 && !tags.goes_on(reader, end)? {
                tags.broken = true;
                break;
            }
        }
        let flags = if size > 0 {
            reader.array::<2>(body)?
        } else {
            None
        };
        match (tag.kind, flags) {
            (9, flags) => {
                tags.video = true;
                // AVC: 7, and 2 ends the sequence. Screen video pads nothing either.
                tags.finished = flags.is_some_and(|f| f[0] & 15 == 7 && f[1] == 2);
            }
            (8, flags) => {
                tags.audio = true;
                // 0 and 3 are PCM.
                tags.dense &= flags.is_none_or(|f| !matches!(f[0] >> 4, 0 | 3));
            }
            _ if tags.count == 0 => {
                tags.script = amf::script(reader, body..(body + u64::from(size)).min(len))?
            }
            _ => {}
        }
        tags.protected |= tag.encrypted;
        if end > len {
            tags.cut = Some(end);
            break;
        }
        if tag.kind != 18 {
            if tags.first.is_some() {
                tags.longest = tags.longest.max(time.saturating_sub(tags.last));
            }
            tags.first = Some(tags.first.map_or(time, |first| first.min(time)));
            tags.last = tags.last.max(time);
        }
        tags.count += 1;
        at = end;
        tags.stop = end;
    }
    Ok(tags)
}

/// Seconds by which the last tag may begin before the announced end. The longest time between two
/// tags of the file is added, since a slide is shown for long.
const TOLERANCE: f64 = 1.0;
/// Seconds for which a slide is shown, at most.
const LONGEST_SLIDE: f64 = 120.0;

fn judge(
    reader: &mut Reader,
    gaps: &Gaps,
    tags: &Tags,
    have: f64,
    report: &mut Report,
) -> Step<()> {
    let len = reader.len();
    let rest = rest::follows(reader, gaps, tags.stop, 1, |_| false)?;
    let rest = match rest {
        // Another tag follows bytes that are none: then these are not a tail.
        Rest::Foreign if tags.broken && more(reader, tags.stop)? => Rest::More,
        rest => rest,
    };
    let tail = tags.broken && rest.is_tail();
    let end = if tail { tags.stop } else { len };
    let missing = gaps.stretches(0..end, tags.dense);
    let whole = tags.script.duration.unwrap_or(0.0);
    let size = tags.script.filesize.filter(|&size| size > tags.stop);
    let tolerance = TOLERANCE + (f64::from(tags.longest) / 1000.0).min(LONGEST_SLIDE);
    let last = f64::from(tags.last) / 1000.0;
    let short = whole > 0.0 && have + tolerance < whole && last + tolerance < whole;
    // Frames before it are here up to the announced second: then the file has all that it should,
    // and the announced size counts something else, unless the file is shorter than that.
    let reached = tags.finished || whole > 0.0 && have + 0.1 >= whole;
    let lacks_bytes =
        |size: &u64| *size > len || tags.cut.is_some_and(|cut| cut <= *size) || !reached || short;
    report.open_ended = whole <= 0.0 && tags.script.filesize.is_none();
    if tags.broken && !tail && missing.is_empty() {
        report.damaged(format!(
            "the bytes at {} are no part of an FLV file",
            tags.stop
        ));
    } else if let Some(size) = size.filter(lacks_bytes) {
        let what = format!("ends {} bytes early", size.saturating_sub(end));
        report.lacks_end(end.min(size), missing, size, what);
    } else if short && (tail || !tags.broken) {
        let sum = gaps::bytes_of(&missing);
        let have = have * len.saturating_sub(sum) as f64 / len as f64;
        report.lacks(have, whole, format!("{have:.1} of {whole:.1} seconds"));
        report.missing = missing;
    } else if let Some(cut) = tags.cut {
        report.lacks_end(len, missing, cut, "ends inside a tag");
    } else if !missing.is_empty() {
        report.lacks_stretches(missing, len);
    } else if tags.count == 0 {
        report.lacks(0.0, 1.0, "it has a head and no content");
    } else {
        report.content_len = Some(tags.stop);
        rest::note(reader, report)?;
    }
    Ok(())
}

/// Whether a tag with its size behind it lies anywhere behind `from`.
fn more(reader: &mut Reader, from: u64) -> Step<bool> {
    let mut ends = reader.fork();
    let mut at = from;
    let mut halt = None;
    let found = reader.search(from..reader.len(), HEAD, |bytes| {
        let here = at;
        at += 1;
        let Some(tag) = Tag::parse(bytes).filter(|tag| tag.stream == [0; 3] && tag.size > 0) else {
            return false;
        };
        match ends.be32(tag.end(here) - 4) {
            Ok(back) => back == Some(tag.size + HEAD as u32),
            Err(e) => {
                halt = Some(e);
                true
            }
        }
    })?;
    halt.map_or(Ok(found), Err)
}
