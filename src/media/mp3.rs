//! MP3: frames of MPEG audio, layer 3 (ISO/IEC 11172-3, 2.4.1.3), with ID3 around and a Xing, Info
//! or VBRI head within.
//!
//! All frames are walked. A head that counts them promises a length; without it only a frame that
//! is cut shows.

use super::{
    frames::{self, Begins, Frame},
    gaps::Gaps,
    id3,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
    rest,
};

/// Kilobits a second of layer 3: MPEG 1, then MPEG 2 and 2.5.
const RATES: [[u32; 16]; 2] = [
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0,
    ],
    [
        0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0,
    ],
];

/// Reads the head of a frame.
pub(crate) fn frame(head: &[u8]) -> Option<Frame> {
    let &[0xff, b, c, _, ..] = head else {
        return None;
    };
    // Three more bits of synchronization; layer 3 is 01.
    if b & 0xe6 != 0xe2 {
        return None;
    }
    let divider = match b >> 3 & 3 {
        3 => 1,
        2 => 2,
        0 => 4,
        _ => return None,
    };
    let rate = [44_100, 48_000, 32_000, 0][usize::from(c >> 2 & 3)] / divider;
    let first = divider == 1;
    let bits = RATES[usize::from(!first)][usize::from(c >> 4)] * 1000;
    if rate == 0 || bits == 0 {
        return None;
    }
    let samples = if first { 1152 } else { 576 };
    let length = samples / 8 * bits / rate + u32::from(c >> 1 & 1);
    Some(Frame {
        length,
        samples,
        rate,
        kind: u32::from(b & 0x1e) << 8 | u32::from(c & 0x0c),
    })
}

/// What the first frame says of the whole file.
#[derive(Default)]
struct Promise {
    frames: Option<u32>,
    bytes: Option<u32>,
}

/// Judges it, if it is MP3 (a tag alone counts as its beginning).
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Option<Report>> {
    let tag = id3::read(reader)?;
    let len = reader.len();
    if tag.end >= len && tag.end > 0 {
        let mut report = Report::of(Container::Mp3);
        report.kind = Kind::Audio;
        report.title = tag.title;
        report.open_ended = true;
        report.lacks(0.0, 1.0, "ends inside its tag");
        return Ok(Some(report));
    }
    // Some tags are followed by a few zeros.
    let from = if tag.end > 0 {
        reader.first_nonzero(tag.end..len)?.unwrap_or(len)
    } else {
        0
    };
    if !frames::begin_at(reader, from, frame)? {
        return Ok(None);
    }
    judge(reader, gaps, from, Begins::BehindTag(tag.title)).map(Some)
}

/// Judges frames that begin at `from`.
pub(crate) fn judge(reader: &mut Reader, gaps: &Gaps, from: u64, begins: Begins) -> Step<Report> {
    let is_part = matches!(begins, Begins::BehindOthers);
    let len = reader.len();
    let mut report = Report::of(Container::Mp3);
    report.kind = Kind::Audio;
    if let Begins::BehindTag(title) = begins {
        report.title = title;
    }
    let promise = promise(reader, from)?;
    let found = frames::walk(reader, gaps, from, frame)?;
    // The frame with the count in it is not counted.
    let count = found.count - u64::from(promise.frames.is_some() && found.count > 0);
    let each = found.seconds / found.count.max(1) as f64;
    report.set_seconds(
        promise
            .frames
            .map_or(found.seconds, |n| f64::from(n) * each),
    );
    report.open_ended = promise.frames.is_none() && promise.bytes.is_none();
    let end = promise.bytes.map_or(0, |n| from + u64::from(n));
    let few = promise.frames.is_some_and(|n| {
        // Some writers count that frame too, and count tags among the bytes. So it is enough that
        // the file has this many frames.
        let all = found.count >= u64::from(n) && end <= len;
        count < u64::from(n) && !all && (end == 0 || end > found.stop)
    });
    if !found.missing.is_empty() {
        report.lacks_end(len, found.missing, end.max(len), "bytes are missing inside");
    } else if found.broken {
        report.damaged(format!("the bytes at {} are no MP3", found.stop));
    } else if few {
        let of = promise.frames.unwrap_or(0);
        let here = found.cut.map_or(found.end, |_| len);
        if end > here {
            let what = format!("ends {} bytes early", end - here);
            report.lacks_end(here, Vec::new(), end, what);
        } else {
            // Without a byte count, the bytes so far say how much a frame weighs.
            let whole =
                from as f64 + (found.stop - from) as f64 / count.max(1) as f64 * f64::from(of);
            report.lacks(
                here as f64,
                whole.max(here as f64),
                format!("{count} of {of} frames"),
            );
        }
    } else if let Some(cut) = found.cut.filter(|_| !is_part) {
        report.lacks_end(
            len,
            Vec::new(),
            cut.max(end),
            "ends inside a frame or a tag",
        );
    } else {
        report.content_len = Some(found.end);
        rest::note(reader, &mut report)?;
    }
    Ok(report)
}

/// The Xing head stands behind the side information, whose length depends on version and channels;
/// VBRI always at 36.
fn promise(reader: &mut Reader, at: u64) -> Step<Promise> {
    let Some([_, b, _, d]) = reader.array::<4>(at)? else {
        return Ok(Promise::default());
    };
    let (first, mono) = (b >> 3 & 3 == 3, d >> 6 == 3);
    let xing = at
        + match (first, mono) {
            (true, false) => 36,
            (true, true) | (false, false) => 21,
            (false, true) => 13,
        };
    if let Some(b"Xing" | b"Info") = reader.array::<4>(xing)?.as_ref() {
        let flags = reader.be32(xing + 4)?.unwrap_or(0);
        let frames = if flags & 1 != 0 {
            reader.be32(xing + 8)?
        } else {
            None
        };
        let place = xing + 8 + if flags & 1 != 0 { 4 } else { 0 };
        let bytes = if flags & 2 != 0 {
            reader.be32(place)?
        } else {
            None
        };
        return Ok(Promise {
            frames: frames.filter(|&n| n > 0),
            bytes: bytes.filter(|&n| n > 0),
        });
    }
    if reader.array::<4>(at + 36)?.as_ref() == Some(b"VBRI") {
        return Ok(Promise {
            bytes: reader.be32(at + 46)?,
            frames: reader.be32(at + 50)?,
        });
    }
    Ok(Promise::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let length = |head: [u8; 4]| frame(&head).map(|f| f.length);
        assert_eq!(length([0xff, 0xfb, 0x90, 0x64]), Some(417)); // 128 kbit/s, 44.1 kHz
        assert_eq!(length([0xff, 0xfb, 0x92, 0x64]), Some(418)); // with padding
        assert_eq!(length([0xff, 0xf3, 0x80, 0x00]), Some(208)); // MPEG 2, 64 kbit/s, 22.05 kHz
        assert_eq!(length([0xff, 0xf1, 0x50, 0x80]), None); // AAC
        assert_eq!(length([0xff, 0xfb, 0xf0, 0x00]), None); // no such bit rate
        assert_eq!(length([0xff, 0xfb, 0x9c, 0x00]), None); // no such sample rate
    }
}
