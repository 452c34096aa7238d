//! AAC as a stream of ADTS frames (ISO/IEC 14496-3, 1.A.2.2). It promises no length.

use super::{
    frames::{self, Frame},
    gaps::Gaps,
    id3,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
};

/// Reads the head of a frame.
pub(crate) fn frame(head: &[u8]) -> Option<Frame> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8000, 7350,
    ];
    let &[0xff, b, c, d, e, f, g, ..] = head else {
        return None;
    };
    // Synchronization, and a layer of 0.
    if b & 0xf6 != 0xf0 {
        return None;
    }
    let rate = *RATES.get(usize::from(c >> 2 & 15))?;
    let length = u32::from_be_bytes([0, d & 3, e, f]) >> 5;
    let blocks = u32::from(g & 3) + 1;
    if length < 7 {
        return None;
    }
    Some(Frame {
        length,
        samples: 1024 * blocks,
        rate,
        kind: u32::from(b & 0xfe) << 8 | u32::from(c & 0xfc),
    })
}

/// Judges it, if it is ADTS.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Option<Report>> {
    let tag = id3::read(reader)?;
    if tag.end >= reader.len() || !frames::begin_at(reader, tag.end, frame)? {
        return Ok(None);
    }
    let found = frames::walk(reader, gaps, tag.end, frame)?;
    let len = reader.len();
    let mut report = Report::of(Container::Aac);
    report.kind = Kind::Audio;
    report.open_ended = true;
    report.title = tag.title;
    report.set_seconds(found.seconds);
    if found.missing > 0 {
        let what = format!("{} bytes are missing inside", found.missing);
        report.lacks(len.saturating_sub(found.missing) as f64, len as f64, what);
    } else if found.broken {
        report.damaged(format!("the bytes at {} are no AAC", found.stop));
    } else if let Some(cut) = found.cut {
        report.lacks(len as f64, cut as f64, "ends inside a frame");
    } else {
        report.content_len = Some(found.end);
    }
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let good = [0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f, 0xfc];
        let frame_of = |head: &[u8]| frame(head);
        assert_eq!(
            frame_of(&good).map(|f| (f.length, f.samples, f.rate)),
            Some((371, 1024, 44_100))
        );
        assert_eq!(frame_of(&good[..6]), None);
        assert_eq!(frame_of(&[0xff, 0xfb, 0x90, 0x64, 0, 0, 0]), None); // MP3
        assert_eq!(frame_of(&[0xff, 0xf1, 0x7c, 0x80, 0x2e, 0x7f, 0xfc]), None); // no such sample rate
    }
}
