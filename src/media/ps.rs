//! MPEG program streams (ISO/IEC 13818-1, 2.5; ISO/IEC 11172-1): packs of PES packets. They promise
//! no length.

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Report},
    rest::{self, Rest},
};
use crate::container::ts;

/// Whether the file begins with a pack.
pub(crate) fn begins(head: &[u8]) -> bool {
    matches!(head, [0, 0, 1, 0xba, mark, ..] if mark >> 6 == 1 || mark >> 4 == 2)
}

/// Judges a file that [`begins`] like one.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let len = reader.len();
    let mut report = Report::of(Container::Mpg);
    report.open_ended = true;
    let (mut at, mut cut, mut broken, mut ended) = (0, None, false, false);
    let (mut first, mut last) = (u64::MAX, 0);
    let (mut video, mut audio) = (false, false);
    while at < len {
        let Some([0, 0, 1, code, a, b]) = reader.array::<6>(at)? else {
            let left = reader.bytes(at, 6)?;
            ended |= left == [0, 0, 1, 0xb9];
            let partial = left.iter().zip([0, 0, 1]).all(|(&x, y)| x == y);
            cut = (left.len() < 6 && partial && !ended && left.len() > 2).then_some(len + 1);
            broken = cut.is_none() && !ended;
            at += if ended { 4 } else { 0 };
            break;
        };
        let end = match code {
            0xba if a >> 6 == 1 => match reader.u8(at + 13)? {
                Some(stuffing) => at + 14 + u64::from(stuffing & 7),
                None => len + 1,
            },
            0xba => at + 12,
            0xb9 => at + 4,
            0xbb..=0xff => at + 6 + (u64::from(a) << 8 | u64::from(b)),
            _ => {
                broken = true;
                break;
            }
        };
        video |= matches!(code, 0xe0..=0xef);
        // Private stream 1 is AC-3 and its like on DVDs.
        audio |= matches!(code, 0xc0..=0xdf | 0xbd);
        if let 0xbd..=0xef = code
            && let Some(time) = time(reader, at + 6)?
        {
            first = first.min(time);
            last = last.max(time);
        }
        if end > len {
            cut = Some(end);
            break;
        }
        ended = code == 0xb9;
        at = end;
    }
    report.set_kind(video, audio);
    report.set_seconds(last.saturating_sub(first) as f64 / 90_000.0);
    let rest = rest::follows(reader, gaps, at, 5, begins)?;
    let tail = broken && rest.is_tail();
    // Zero stuffing is legal here: only holes prove.
    let mut missing = gaps.stretches(0..if tail { at } else { len }, false);
    if let (true, Rest::Gap(_), []) = (broken, rest, &missing[..]) {
        let gap = reader.first_nonzero(at..len)?.unwrap_or(len);
        missing.extend(gaps.stretches(at..len, true));
        if missing.is_empty() {
            missing.push(at..gap);
        }
    }
    if !missing.is_empty() {
        report.lacks_stretches(missing, len);
    } else if broken && !tail {
        report.damaged(format!("no packet begins at {at}"));
    } else if let Some(cut) = cut {
        report.lacks_end(len, missing, cut, "ends inside a packet");
    } else {
        // An end code closes the stream, but few writers bother.
        report.open_ended = !ended;
        report.content_len = Some(at);
        rest::note(reader, &mut report)?;
    }
    Ok(report)
}

/// The presentation time behind the length of a PES packet, of either version.
fn time(reader: &mut Reader, at: u64) -> Step<Option<u64>> {
    let bytes = reader.bytes(at, 32)?;
    let stamp = match bytes {
        [flags, times, _, stamp @ ..] if flags >> 6 == 2 => {
            if times & 0x80 == 0 {
                return Ok(None);
            }
            stamp
        }
        // MPEG-1: stuffing, a buffer size, then the time.
        _ => {
            let stuffing = bytes.iter().take_while(|&&b| b == 0xff).count();
            let rest = &bytes[stuffing..];
            let rest = if rest.first().is_some_and(|b| b >> 6 == 1) {
                rest.get(2..).unwrap_or_default()
            } else {
                rest
            };
            if !rest.first().is_some_and(|b| matches!(b >> 4, 2 | 3)) {
                return Ok(None);
            }
            rest
        }
    };
    Ok(stamp.first_chunk().copied().map(ts::stamp))
}
