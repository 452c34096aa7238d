//! Matroska and WebM (RFC 9559).
//!
//! The elements of the segment are walked from head to head: clusters of a known size are hopped
//! over, in those of unknown size (live WebM) every block is. The segment's size says how much
//! there should be. A live one has no size: then only an index that is announced and not there, a
//! duration that isn't reached, or a block that is cut show that something is missing, and the
//! report is open-ended.

use std::{iter, ops::Range};

use super::{
    elements::{self, Element},
    gaps::{self, Gaps},
    reader::{Reader, Step},
    report::{Container, Report},
    rest, text,
};
use crate::container::ebml::{self, id};

/// Whether the file begins with an EBML head.
pub(crate) fn begins(head: &[u8]) -> bool {
    head.starts_with(&id::EBML.to_be_bytes())
}

/// What was seen of the segment.
#[derive(Default)]
struct Segment {
    /// Its end, if it has a size.
    end: Option<u64>,
    /// Where the walk stopped.
    stop: u64,
    /// The end of the element that reaches behind the file.
    cut: Option<u64>,
    /// No element can begin at `stop`.
    broken: bool,
    /// Offset of the last element that the seek head announces.
    announced: u64,
    /// Nanoseconds of a tick.
    scale: u64,
    /// Ticks, as the head says.
    duration: f64,
    title: Option<String>,
    video: bool,
    audio: bool,
    protected: bool,
    /// There is no track whose coded data may have long runs of zeros.
    dense: bool,
    clusters: u64,
    first: Option<u64>,
    last: u64,
    /// Stretches of clusters, which hold the coded tracks; and what else may have gaps.
    media: Vec<Range<u64>>,
    other: Vec<Range<u64>>,
    /// Numbers of the tracks.
    tracks: Vec<u64>,
    /// The last cluster of a known size, whose blocks are not walked yet.
    unread: Option<Element>,
}

/// Judges a file that [`begins`] like one; `None` where EBML holds something else than Matroska.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Option<Report>> {
    let Some(head) = elements::element(reader, 0)? else {
        return Ok(None);
    };
    let mut container = Container::Mkv;
    for child in elements::children(reader, head.range())? {
        if child.id == id::DOC_TYPE {
            match child.bytes(reader)?.split(|&b| b == 0).next() {
                Some(b"webm") => container = Container::Webm,
                Some(b"matroska") => {}
                _ => return Ok(None),
            }
        }
    }
    let mut report = Report::of(container);
    let segment = walk(reader, gaps, head.range().end)?;
    report.set_kind(segment.video, segment.audio);
    let tick = segment.scale as f64 / 1e9;
    let played = segment.last.saturating_sub(segment.first.unwrap_or(0)) as f64 * tick;
    report.set_seconds(if segment.duration > 0.0 {
        segment.duration * tick
    } else {
        played
    });
    report.title.clone_from(&segment.title);
    if segment.protected {
        report.protected();
    } else {
        judge(reader, gaps, &segment, &mut report)?;
    }
    Ok(Some(report))
}

fn walk(reader: &mut Reader, gaps: &Gaps, from: u64) -> Step<Segment> {
    let mut found = Segment {
        scale: 1_000_000,
        dense: true,
        stop: from,
        ..Segment::default()
    };
    let len = reader.len();
    // Void and CRC-32 may stand before the segment.
    let segment = loop {
        match elements::element(reader, found.stop)? {
            Some(e) if e.id == id::SEGMENT => break e,
            Some(Element {
                id: id::VOID | id::CRC,
                end: Some(end),
                ..
            }) if end < len => found.stop = end,
            _ => return Ok(found),
        }
    };
    (found.stop, found.end) = (segment.body, segment.end);
    let end = segment.end.map_or(len, |end| end.min(len));
    while found.stop < end {
        let Some(element) = elements::element(reader, found.stop)?.filter(|element| {
            // An element that no segment has, and that reaches beyond the file, is a tail of other
            // bytes.
            id::belongs_in_segment(element.id) || element.end.is_some_and(|end| end <= len)
        }) else {
            found.broken = true;
            break;
        };
        // A segment of unknown size ends where another document begins.
        if matches!(element.id, id::EBML | id::SEGMENT) {
            break;
        }
        top(reader, &element, segment.body, &mut found)?;
        let stop = match element.end {
            Some(end) => end,
            None if element.id == id::CLUSTER => blocks(reader, element.body, &mut found)?,
            // Only segments and clusters may be of unknown size (RFC 9559, 5.1).
            None => {
                found.broken = true;
                break;
            }
        };
        let range = element.start..stop.min(len);
        match element.id {
            _ if gaps.is_empty() => {}
            id::CLUSTER => found.media.push(range),
            id::VOID => {}
            _ => found.other.push(range),
        }
        if stop > len {
            found.cut = Some(stop);
        }
        found.stop = stop.min(len);
        if found.broken {
            break;
        }
    }
    if found.broken && !reader.zeros_to_end(found.stop)? {
        // In a gap: no element can be found behind it, but further gaps count too. Where one gap
        // is certain, blocks of zeros elsewhere are taken for gaps as well.
        found.dense |= gaps.all_in(found.stop..found.stop + 1) > 0;
        found.media.push(found.stop..end);
    }
    if let Some(cluster) = found
        .unread
        .take()
        .filter(|_| found.duration == 0.0 || found.end.is_none())
    {
        // The last cluster's blocks say how far it got.
        let broken = found.broken;
        blocks(reader, cluster.body, &mut found)?;
        found.broken = broken;
    }
    Ok(found)
}

impl Segment {
    /// Whether an element can be in a cluster: numbers are short, and blocks are of tracks that
    /// there are.
    fn belongs_in_cluster(&self, reader: &mut Reader, element: &Element) -> Step<bool> {
        let size = element.end.map(|end| end - element.body);
        let block = match element.id {
            id::SIMPLE_BLOCK | id::ENCRYPTED_BLOCK => element.body,
            id::BLOCK_GROUP => match elements::element(reader, element.body)? {
                Some(inner) if inner.id == id::BLOCK => inner.body,
                inner => return Ok(inner.is_some() || element.body >= reader.len()),
            },
            id::TIMESTAMP | id::POSITION | id::PREV_SIZE | id::CRC => {
                return Ok(size.is_some_and(|size| size <= 8));
            }
            id::VOID | id::SILENT_TRACKS => return Ok(true),
            _ => return Ok(false),
        };
        let head = ebml::block(reader.bytes(block, 11)?);
        Ok(head.is_none_or(|head| self.tracks.is_empty() || self.tracks.contains(&head.track)))
    }
}

/// Takes in one element of the segment.
fn top(reader: &mut Reader, element: &Element, base: u64, found: &mut Segment) -> Step<()> {
    match element.id {
        id::SEEK_HEAD => {
            for seek in elements::children(reader, element.range())? {
                for field in elements::children(reader, seek.range())? {
                    if seek.id == id::SEEK && field.id == id::SEEK_POSITION {
                        found.announced = found
                            .announced
                            .max(base.saturating_add(field.uint(reader)?));
                    }
                }
            }
        }
        id::INFO => {
            for field in elements::children(reader, element.range())? {
                match field.id {
                    id::TIMESTAMP_SCALE => found.scale = field.uint(reader)?,
                    id::DURATION => found.duration = field.float(reader)?,
                    id::TITLE => found.title = text::utf8(field.bytes(reader)?),
                    _ => {}
                }
            }
        }
        id::TRACKS => {
            for entry in elements::children(reader, element.range())? {
                if entry.id == id::TRACK_ENTRY {
                    track(reader, &entry, found)?;
                }
            }
        }
        id::CLUSTER => {
            found.clusters += 1;
            let time = timestamp(reader, element)?;
            found.first = found.first.or(time);
            found.last = found.last.max(time.unwrap_or(0));
            found.unread = element.end.is_some().then_some(*element);
        }
        _ => {}
    }
    Ok(())
}

fn track(reader: &mut Reader, entry: &Element, found: &mut Segment) -> Step<()> {
    for field in elements::children(reader, entry.range())? {
        match field.id {
            id::TRACK_TYPE => match field.uint(reader)? {
                1 => found.video = true,
                2 => found.audio = true,
                _ => {}
            },
            id::TRACK_NUMBER => found.tracks.push(field.uint(reader)?),
            id::CODEC => {
                let codec = field.bytes(reader)?;
                let loose: [&[u8]; 6] = [
                    b"A_PCM",
                    b"V_UNCOMPRESSED",
                    b"V_MS",
                    b"V_QUICKTIME",
                    b"V_MPEG2",
                    b"V_PRORES",
                ];
                found.dense &= !loose.iter().any(|name| codec.starts_with(name));
            }
            id::ENCODINGS => {
                for encoding in elements::children(reader, field.range())? {
                    for part in elements::children(reader, encoding.range())? {
                        found.protected |= encoding.id == id::ENCODING
                            && (part.id == id::ENCRYPTION
                                || part.id == id::ENCODING_TYPE && part.uint(reader)? == 1);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A cluster's own time; it should be its first child, but a CRC or a position may come before it.
fn timestamp(reader: &mut Reader, cluster: &Element) -> Step<Option<u64>> {
    let mut at = cluster.body;
    for _ in 0..4 {
        let Some(child) = elements::element(reader, at)? else {
            break;
        };
        if child.id == id::TIMESTAMP {
            return Ok(Some(child.uint(reader)?));
        }
        let Some(end) = child.end else { break };
        at = end;
    }
    Ok(None)
}

/// Walks the blocks of a cluster from `at`, until something that can't be in one; returns where
/// that is.
fn blocks(reader: &mut Reader, mut at: u64, found: &mut Segment) -> Step<u64> {
    let mut time = 0;
    while at < reader.len() {
        let Some(element) = elements::element(reader, at)? else {
            found.broken = true;
            break;
        };
        if id::ends_cluster(element.id) {
            break;
        }
        if !found.belongs_in_cluster(reader, &element)? {
            found.broken = true;
            break;
        }
        // Blocks in a group stand behind its head; their relative time is a signed 16-bit number
        // after the track.
        let block = match element.id {
            id::SIMPLE_BLOCK => Some(element),
            id::BLOCK_GROUP => {
                elements::element(reader, element.body)?.filter(|inner| inner.id == id::BLOCK)
            }
            _ => None,
        };
        if element.id == id::TIMESTAMP {
            time = element.uint(reader)?;
        } else if let Some(block) = block
            && let Some(head) = ebml::block(reader.bytes(block.body, 11)?)
        {
            let at = time.saturating_add_signed(head.time.into());
            found.last = found.last.max(at);
        }
        let Some(end) = element.end else {
            found.broken = true;
            break;
        };
        at = end;
    }
    Ok(at)
}

/// Seconds by which the last block may begin before the announced end: a frame lasts that long at
/// most.
const TOLERANCE: f64 = 1.5;

fn judge(reader: &mut Reader, gaps: &Gaps, segment: &Segment, report: &mut Report) -> Step<()> {
    let len = reader.len();
    let mut missing = gaps.among(&segment.media, segment.dense, &segment.other);
    if let Some(end) = segment.end {
        report.content_len = Some(end);
        if end > len {
            let what = format!("ends {} bytes early", end - len);
            report.lacks_end(len, missing, end, what);
        } else if !missing.is_empty() {
            report.lacks_stretches(missing, end);
        } else if segment.broken || segment.cut.is_some() {
            broken(reader, segment, report)?;
        } else if segment.clusters == 0 {
            report.lacks(0.0, 1.0, "it has a head and no content");
        }
        return rest::note(reader, report);
    }
    report.open_ended = true;
    let tick = segment.scale as f64 / 1e9;
    let (have, whole) = (segment.last as f64 * tick, segment.duration * tick);
    let announced = segment.announced.max(segment.cut.unwrap_or(0));
    let rest = rest::follows(reader, gaps, segment.stop, 4, |bytes| {
        bytes == id::CLUSTER.to_be_bytes()
    })?;
    if rest.is_tail() {
        missing.retain(|stretch| stretch.start < segment.stop);
    }
    if segment.clusters == 0 && missing.is_empty() {
        report.lacks(0.0, 1.0, "only its beginning is there");
    } else if segment.broken && !missing.is_empty() {
        report.lacks_end(len, missing, announced.max(len), "bytes are missing inside");
    } else if whole > 0.0 && have + TOLERANCE < whole {
        report.open_ended = false;
        let sum = gaps::bytes_of(&missing);
        let share = len.saturating_sub(sum) as f64 / len as f64;
        report.lacks(
            have * share,
            whole,
            format!("{have:.1} of {whole:.1} seconds"),
        );
        report.missing = missing;
    } else if announced > len {
        report.open_ended = segment.announced <= len;
        let what = "ends inside a block or before its index";
        report.lacks_end(len, missing, announced, what);
    } else if !missing.is_empty() {
        report.lacks_stretches(missing, len);
    } else if segment.broken && is_begun(reader, segment.stop)? {
        let what = "ends inside the head of an element";
        report.lacks_end(len, Vec::new(), len + 1, what);
    } else if segment.broken && !rest.is_tail() {
        broken(reader, segment, report)?;
    } else {
        report.content_len = Some(segment.stop);
        rest::note(reader, report)?;
    }
    Ok(())
}

/// Whether less than the head of an element is left, and begins like one.
fn is_begun(reader: &mut Reader, stop: u64) -> Step<bool> {
    let left = reader.bytes(stop, ebml::HEADER + 1)?;
    let first = left.first().copied().unwrap_or(0);
    let longest = left.len() <= ebml::HEADER;
    let short = [id::SIMPLE_BLOCK, id::BLOCK_GROUP, id::TIMESTAMP, id::VOID];
    let begins = |id: &u32| id.to_be_bytes().starts_with(&left[..left.len().min(4)]);
    let long = id::BESIDE_CLUSTERS.iter().chain([&id::CLUSTER]).any(begins);
    Ok(longest && first != 0 && (short.contains(&first.into()) || long))
}

/// The walk has met bytes that are no element: zeros are a gap, anything else is damage.
fn broken(reader: &mut Reader, segment: &Segment, report: &mut Report) -> Step<()> {
    let len = reader.len();
    let next = reader.first_nonzero(segment.stop..len)?.unwrap_or(len);
    if next - segment.stop >= 64 {
        report.lacks_stretches(iter::once(segment.stop..next).collect(), len);
    } else {
        report.damaged(format!(
            "the bytes at {} are no part of a Matroska file",
            segment.stop
        ));
    }
    Ok(())
}
