//! AAC as a stream of ADTS frames (ISO/IEC 14496-3, 1.A.2.2). It promises no length.

use super::{
    frames::{self, Frame},
    gaps::Gaps,
    id3,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
};
use crate::container::adts;

/// Reads the head of a frame.
fn frame(head: &[u8]) -> Option<Frame> {
    let adts::Frame {
        len,
        samples,
        rate,
        kind,
    } = adts::frame(head)?;
    Some(Frame {
        length: len,
        samples,
        rate,
        kind,
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
