//! AAC as a stream of ADTS frames (ISO/IEC 14496-3, 1.A.2.2). It promises no length.

use super::{
    frames::{self, Begins, Frame},
    gaps::Gaps,
    id3,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
    rest,
};
use crate::container::adts;

/// Reads the head of a frame.
pub(crate) fn frame(head: &[u8]) -> Option<Frame> {
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
    judge(reader, gaps, tag.end, Begins::BehindTag(tag.title)).map(Some)
}

/// Judges frames that begin at `from`.
pub(crate) fn judge(reader: &mut Reader, gaps: &Gaps, from: u64, begins: Begins) -> Step<Report> {
    let is_part = matches!(begins, Begins::BehindOthers);
    let found = frames::walk(reader, gaps, from, frame)?;
    let len = reader.len();
    let mut report = Report::of(Container::Aac);
    report.kind = Kind::Audio;
    report.open_ended = true;
    if let Begins::BehindTag(title) = begins {
        report.title = title;
    }
    report.set_seconds(found.seconds);
    if !found.missing.is_empty() {
        report.lacks_stretches(found.missing, len);
    } else if found.broken {
        report.damaged(format!("the bytes at {} are no AAC", found.stop));
    } else if let Some(cut) = found.cut.filter(|_| !is_part) {
        report.lacks_end(len, Vec::new(), cut, "ends inside a frame");
    } else {
        report.content_len = Some(found.end);
        rest::note(reader, &mut report)?;
    }
    Ok(report)
}
