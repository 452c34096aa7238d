//! FLAC (RFC 9639): the head says how many samples there are, the last frame says which ones it
//! holds.

use std::ops::Range;

use super::{
    gaps::Gaps,
    id3,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
    vorbis,
};

/// Whether FLAC begins at `at`.
pub(crate) fn begins(reader: &mut Reader, at: u64) -> Step<bool> {
    Ok(reader.bytes(at, 4)? == b"fLaC")
}

/// What the metadata blocks tell.
#[derive(Default)]
struct Head {
    /// Where the frames begin.
    end: u64,
    block: u32,
    rate: u32,
    /// Samples of each channel; 0 if the writer didn't know.
    total: u64,
    /// Bytes of the shortest and the longest frame; 0 if unknown.
    shortest: u32,
    longest: u32,
    title: Option<String>,
}

/// Judges a file that [`begins`] like one, perhaps behind an ID3 tag.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let mut report = Report::of(Container::Flac);
    report.kind = Kind::Audio;
    let tag = id3::read(reader)?;
    let head = head(reader, tag.end + 4)?;
    report.title = head.title.or(tag.title);
    report.set_seconds(head.total as f64 / f64::from(head.rate.max(1)));
    report.open_ended = head.total == 0;
    let len = reader.len();
    let frames = head.total as f64 / f64::from(head.block.max(1));
    let middle = f64::from(head.shortest + head.longest) / 2.0;
    if head.end >= len || head.rate == 0 {
        let present = if middle * frames > 0.0 {
            len as f64
        } else {
            0.0
        };
        report.lacks(
            present,
            head.end as f64 + middle * frames,
            "only its head is there",
        );
        return Ok(report);
    }
    let missing = gaps.holes_in(0..head.end) + gaps.all_in(head.end..len);
    let last = last_frame(reader, head.end..len, head.block, head.longest)?;
    let done = last.as_ref().map_or(0, |f| f.samples_end);
    match last {
        Some(frame) if frame.whole.is_some() && (done >= head.total || head.total == 0) => {
            let missing =
                gaps.holes_in(0..head.end) + gaps.all_in(head.end..frame.whole.unwrap_or(len));
            report.content_len = frame.whole;
            if head.total == 0 {
                report.set_seconds(done as f64 / f64::from(head.rate));
            }
            if missing > 0 {
                let end = frame.whole.unwrap_or(len);
                report.lacks(
                    (end - missing) as f64,
                    end as f64,
                    format!("{missing} bytes are missing inside"),
                );
            }
        }
        _ if missing > 0 => {
            report.lacks(
                (len - missing) as f64,
                len as f64,
                format!("{missing} bytes are missing inside"),
            );
        }
        Some(frame) if head.total > 0 => {
            // Bytes a sample so far are taken for the rest; in the first frames, what the head says
            // of their length.
            let so_far = (frame.start - head.end) as f64 / frame.samples_start.max(1) as f64
                * head.total as f64;
            let early = frame.samples_start < 4 * u64::from(head.block) && middle > 0.0;
            let whole = head.end as f64 + if early { middle * frames } else { so_far };
            let share = if frame.samples_start == 0 && !early {
                0.0
            } else {
                len as f64
            };
            report.lacks(
                share,
                whole.max(len as f64),
                format!("{done} of {} samples", head.total),
            );
        }
        Some(_) => report.lacks(len as f64, len as f64, "ends inside a frame"),
        None => report.damaged("its end is no FLAC"),
    }
    Ok(report)
}

fn head(reader: &mut Reader, from: u64) -> Step<Head> {
    let mut head = Head {
        end: from,
        ..Head::default()
    };
    // 8.1: the first bit marks the last block, seven tell its type, 24 its length.
    while let Some([kind, a, b, c]) = reader.array(head.end)? {
        let body = head.end + 4;
        let length = u32::from_be_bytes([0, a, b, c]);
        match kind & 0x7f {
            0 => {
                if let Some(info) = reader.array::<18>(body)? {
                    head.block = u32::from_be_bytes([0, 0, info[2], info[3]]);
                    head.shortest = u32::from_be_bytes([0, info[4], info[5], info[6]]);
                    head.longest = u32::from_be_bytes([0, info[7], info[8], info[9]]);
                    head.rate = u32::from_be_bytes([0, info[10], info[11], info[12]]) >> 4;
                    let low = u32::from_be_bytes([info[14], info[15], info[16], info[17]]);
                    head.total = u64::from(info[13] & 15) << 32 | u64::from(low);
                }
            }
            4 => head.title = vorbis::title(reader.bytes(body, length as usize)?),
            _ => {}
        }
        head.end = body + u64::from(length);
        if kind & 0x80 != 0 {
            break;
        }
    }
    Ok(head)
}

/// The last frame whose head can be found.
struct Last {
    start: u64,
    samples_start: u64,
    samples_end: u64,
    /// Its end, if its checksum says that all of it is there.
    whole: Option<u64>,
}

/// Searches the end of `range` backwards for the head of a frame (9.1), which has a checksum of its
/// own.
fn last_frame(
    reader: &mut Reader,
    range: Range<u64>,
    block: u32,
    longest: u32,
) -> Step<Option<Last>> {
    /// No frame is longer, if the head doesn't tell.
    const LONGEST: u64 = 1 << 20;
    // Zeros that pad the file are no part of the frame; its checksum may end in a zero or two.
    let window = match u64::from(longest) {
        0 => LONGEST,
        n => (n + 16).min(LONGEST),
    };
    let mut end = range.end;
    while end > range.start {
        let from = end.saturating_sub(4096).max(range.start);
        let bytes = reader.bytes(from, (end - from) as usize)?;
        match bytes.iter().rposition(|&b| b != 0) {
            Some(i) => {
                end = from + i as u64 + 1;
                break;
            }
            None => end = from,
        }
    }
    let from = end.saturating_sub(window).max(range.start);
    let mut tail = Vec::new();
    while from + (tail.len() as u64) < (end + 2).min(range.end) {
        let at = from + tail.len() as u64;
        let bytes = reader.bytes(at, ((end + 2).min(range.end) - at) as usize)?;
        if bytes.is_empty() {
            break;
        }
        tail.extend_from_slice(bytes);
    }
    /// Bytes that look like a head by chance are one in many millions: more are a trap.
    const MOST: usize = 32;
    let mut found: Option<Last> = None;
    let heads = (0..tail.len())
        .rev()
        .filter_map(|i| Some((i, frame_head(&tail[i..], block)?)));
    for (i, (first, samples)) in heads.take(MOST) {
        let start = from + i as u64;
        // The checksum closes the frame: over all of it, it gives 0.
        let solid = (end - start) as usize;
        let whole = (solid..=solid + 2)
            .find(|&n| i + n <= tail.len() && n > 8 && crc16(&tail[i..i + n]) == 0);
        let this = Last {
            start,
            samples_start: first,
            samples_end: if whole.is_some() {
                first + samples
            } else {
                first
            },
            whole: whole.map(|n| start + n as u64),
        };
        if this.whole.is_some() {
            return Ok(Some(this));
        }
        // Bytes inside a frame may look like a head; a real one is nearest to the frame size before
        // the end. The first found is taken unless an earlier one proves whole.
        found.get_or_insert(this);
    }
    Ok(found)
}

/// First sample and number of samples, if a frame's head stands here.
fn frame_head(bytes: &[u8], block: u32) -> Option<(u64, u64)> {
    let &[0xff, sync, sizes, format, first, ..] = bytes else {
        return None;
    };
    if sync & 0xfe != 0xf8 || format & 1 != 0 || sizes & 15 == 15 || sizes >> 4 == 0 {
        return None;
    }
    // The coded number is like UTF-8 with up to seven bytes.
    let extra = match first.leading_ones() {
        0 => 0,
        n @ 2..=7 => n as usize - 1,
        _ => return None,
    };
    let mask = 0x7fu8.checked_shr(first.leading_ones()).unwrap_or(0);
    let mut number = u64::from(first & mask);
    for &byte in bytes.get(5..5 + extra)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        number = number << 6 | u64::from(byte & 0x3f);
    }
    let mut at = 5 + extra;
    let samples = match sizes >> 4 {
        1 => 192,
        n @ 2..=5 => 576 << (n - 2),
        6 => {
            at += 1;
            u64::from(*bytes.get(at - 1)?) + 1
        }
        7 => {
            at += 2;
            u64::from(u16::from_be_bytes(*bytes.get(at - 2..at)?.first_chunk()?)) + 1
        }
        n => 256 << (n - 8),
    };
    at += match sizes & 15 {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    let head = bytes.get(..=at)?;
    // Fixed block size: the number counts frames, else samples.
    let start = if sync & 1 == 0 {
        number.saturating_mul(block.into())
    } else {
        number
    };
    (crc8(head) == 0).then_some((start, samples))
}

fn crc8(bytes: &[u8]) -> u8 {
    let step = |crc: u8| {
        if crc & 0x80 != 0 {
            crc << 1 ^ 0x07
        } else {
            crc << 1
        }
    };
    bytes
        .iter()
        .fold(0, |crc, &b| (0..8).fold(crc ^ b, |crc, _| step(crc)))
}

fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16| {
        if crc & 0x8000 != 0 {
            crc << 1 ^ 0x8005
        } else {
            crc << 1
        }
    };
    bytes.iter().fold(0, |crc, &b| {
        (0..8).fold(crc ^ u16::from(b) << 8, |crc, _| step(crc))
    })
}
