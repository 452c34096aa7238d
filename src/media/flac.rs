//! FLAC (RFC 9639): the head says how many samples there are, the last frame says which ones it
//! holds.

use super::{
    gaps::Gaps,
    id3,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
    rest, vorbis,
};
use crate::container::flac;

/// Whether FLAC begins at `at`.
pub(crate) fn begins(reader: &mut Reader, at: u64) -> Step<bool> {
    Ok(reader.bytes(at, 4)? == b"fLaC")
}

/// What the metadata blocks say.
#[derive(Default)]
struct Head {
    /// Where the frames begin.
    end: u64,
    block: u32,
    rate: u32,
    /// Bits of a sample.
    bits: u32,
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
    report.title = head.title.clone().or(tag.title);
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
    // Zeros at the end are padding.
    let padding = gaps.stretches(head.end..len, true).pop();
    let solid = padding.map_or(
        len,
        |zeros| if zeros.end == len { zeros.start } else { len },
    );
    let last = last_frame(reader, &head, (solid + 16).min(len))?;
    let done = last.as_ref().map_or(0, |f| f.samples_end);
    let end = last.as_ref().and_then(|frame| frame.whole);
    let mut missing = gaps.stretches(0..head.end, false);
    missing.extend(gaps.stretches(head.end..end.unwrap_or(len), true));
    match last {
        _ if !missing.is_empty() => report.lacks_stretches(missing, end.unwrap_or(len)),
        Some(frame) if head.total == 0 && is_begun(reader, frame.whole)? => {
            report.lacks(len as f64, len as f64, "ends inside the head of a frame");
        }
        Some(frame) if frame.whole.is_some() && (done >= head.total || head.total == 0) => {
            report.content_len = frame.whole;
            if head.total == 0 {
                report.set_seconds(done as f64 / f64::from(head.rate));
            }
            rest::note(reader, &mut report)?;
        }
        Some(frame) if head.total > 0 => {
            // The rest is estimated by the bytes a sample so far; within the first frames, by the
            // length of a frame that the head states.
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
    // 8.1: one bit marks the last block; seven bits are its type, 24 its length.
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
                    head.bits = u32::from((info[12] & 1) << 4 | info[13] >> 4) + 1;
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

/// Whether the first bytes of another frame are all that follows `end`.
fn is_begun(reader: &mut Reader, end: Option<u64>) -> Step<bool> {
    let left = reader.bytes(end.unwrap_or(0), 17)?;
    Ok(end.is_some() && matches!(left, [0xff] | [0xff, 0xf8 | 0xf9, ..]) && left.len() < 17)
}

/// The last frame whose head can be found.
struct Last {
    start: u64,
    samples_start: u64,
    samples_end: u64,
    /// Its end, if all of it is there.
    whole: Option<u64>,
}

/// Searches the end of the file backwards for the head of a frame, which has a checksum of its own.
/// Behind the last frame there may be padding, or a tail of something else.
fn last_frame(reader: &mut Reader, head: &Head, len: u64) -> Step<Option<Last>> {
    /// No frame is longer, if the head doesn't say it.
    const LONGEST: u64 = 1 << 20;
    /// Bytes look like a head by chance once in many millions. If more do, the file is made to
    /// waste time.
    const MOST: usize = 64;
    /// How far before the end the last frame may begin, behind a tail of something else.
    const FAR: u64 = 4 << 20;
    let longest = match u64::from(head.longest) {
        0 => LONGEST,
        n => n.min(LONGEST),
    };
    let mut cut: Vec<Last> = Vec::new();
    let mut end = len;
    while end > head.end && len - end < FAR {
        let from = end.saturating_sub(32 << 10).max(head.end);
        // A head that begins near the end of the stretch reaches beyond it.
        let bytes = reader.vec(from..(end + 16).min(len), usize::MAX)?;
        for i in (0..(end - from) as usize).rev() {
            let Some(frame) = bytes.get(i..).and_then(|b| flac::frame(b, head.block)) else {
                continue;
            };
            let start = from + i as u64;
            let all = reader.vec(start..(start + longest + 16).min(len), usize::MAX)?;
            let Some(n) = frame.frame_len(&all, head.bits) else {
                // A frame that is cut, or bytes inside a frame that look like a head.
                cut.push(Last {
                    start,
                    samples_start: frame.first,
                    samples_end: frame.first,
                    whole: None,
                });
                if cut.len() == MOST {
                    return Ok(cut.into_iter().next());
                }
                continue;
            };
            let whole = start + n as u64;
            // What begins where a whole frame ends is a frame.
            return Ok(match cut.into_iter().find(|next| next.start == whole) {
                Some(next) => Some(next),
                None => Some(Last {
                    start,
                    samples_start: frame.first,
                    samples_end: frame.first + u64::from(frame.samples),
                    whole: Some(whole),
                }),
            });
        }
        end = from;
    }
    Ok(cut.into_iter().next())
}
