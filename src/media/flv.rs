//! Flash Video: tags one after the other, each followed by its own size (Adobe FLV specification
//! 10.1, annex E).
//!
//! All tags are walked. `onMetaData` may promise a length in bytes or seconds; without it only a
//! tag that is cut shows.

use super::{
    amf,
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
};

/// Whether the file begins with an FLV head.
pub(crate) fn begins(head: &[u8]) -> bool {
    matches!(head, [b'F', b'L', b'V', 1..=9, flags, ..] if flags & 0xfa == 0)
}

/// What the tags add up to.
#[derive(Default)]
struct Tags {
    count: u64,
    /// Behind the last whole tag.
    stop: u64,
    /// End of a tag that reaches behind the file.
    cut: Option<u64>,
    /// What comes at `stop` is no tag.
    broken: bool,
    first: Option<u32>,
    last: u32,
    video: bool,
    audio: bool,
    /// Sound without compression may be all zeros.
    dense: bool,
    protected: bool,
    /// The encoder said that the stream ends here.
    finished: bool,
    script: amf::Script,
}

/// Judges a file that [`begins`] like one.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let tags = walk(reader)?;
    let mut report = Report::of(Container::Flv);
    report.kind = match (tags.video, tags.audio) {
        (true, _) => Kind::Video,
        (_, true) => Kind::Audio,
        _ => Kind::Unknown,
    };
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
        let Some([kind, a, b, c, t1, t2, t3, t0, s1, s2, s3]) = reader.array::<11>(at)? else {
            tags.cut = Some(at + 11);
            break;
        };
        // Two reserved bits, one for encryption, then 8 audio, 9 video, 18 script; the stream's
        // number is always 0.
        if !matches!(kind & 0x1f, 8 | 9 | 18) || kind & 0xc0 != 0 || [s1, s2, s3] != [0; 3] {
            tags.broken = true;
            break;
        }
        let size = u32::from_be_bytes([0, a, b, c]);
        let body = at + 11;
        let end = body + u64::from(size) + 4;
        let time = u32::from_be_bytes([t0, t1, t2, t3]);
        if end <= len {
            // The first tag may be wrong about this in some writers, none is in all.
            let back = reader.be32(end - 4)?.unwrap_or(0);
            if back != size + 11 && back != 0 && tags.count > 1 {
                tags.broken = true;
                break;
            }
        }
        let flags = if size > 0 {
            reader.array::<2>(body)?
        } else {
            None
        };
        match (kind & 0x1f, flags) {
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
        tags.protected |= kind & 0x20 != 0;
        if end > len {
            tags.cut = Some(end);
            break;
        }
        if kind & 0x1f != 18 {
            tags.first = Some(tags.first.map_or(time, |first| first.min(time)));
            tags.last = tags.last.max(time);
        }
        tags.count += 1;
        at = end;
        tags.stop = end;
    }
    Ok(tags)
}

/// Seconds by which the last tag may begin before the announced end.
const TOLERANCE: f64 = 1.0;

fn judge(
    reader: &mut Reader,
    gaps: &Gaps,
    tags: &Tags,
    have: f64,
    report: &mut Report,
) -> Step<()> {
    let len = reader.len();
    let missing = gaps.missing(0..len, tags.dense);
    let whole = tags.script.duration.unwrap_or(0.0);
    let padded = tags.broken && reader.zeros_to_end(tags.stop)?;
    let size = tags.script.filesize.filter(|&size| size > tags.stop);
    let short = whole > 0.0
        && have + TOLERANCE < whole
        && f64::from(tags.last) / 1000.0 + TOLERANCE < whole;
    // Frames before it are here up to the announced second: then the announced size is another
    // file's.
    let reached = tags.finished || whole > 0.0 && have + 0.1 >= whole;
    report.open_ended = whole <= 0.0 && tags.script.filesize.is_none();
    if tags.broken && !padded && missing == 0 {
        report.damaged(format!(
            "the bytes at {} are no part of an FLV file",
            tags.stop
        ));
    } else if let Some(size) =
        size.filter(|&size| tags.cut.is_some_and(|cut| cut <= size) || !reached || short)
    {
        let have = len
            .min(if padded { tags.stop } else { len })
            .saturating_sub(missing);
        report.lacks(
            have as f64,
            size as f64,
            format!("ends {} bytes early", size.saturating_sub(len)),
        );
    } else if short && (padded || !tags.broken) {
        let have = have * len.saturating_sub(missing) as f64 / len as f64;
        report.lacks(have, whole, format!("{have:.1} of {whole:.1} seconds"));
    } else if let Some(cut) = tags.cut {
        report.lacks(
            len.saturating_sub(missing) as f64,
            cut.max(len) as f64,
            "ends inside a tag",
        );
    } else if missing > 0 && !padded {
        report.lacks(
            (len - missing) as f64,
            len as f64,
            format!("{missing} bytes are missing inside"),
        );
    } else if tags.count == 0 {
        report.lacks(0.0, 1.0, "it has a head and no content");
    } else {
        report.content_len = Some(tags.stop);
        if tags.stop < len {
            report.detail = Some(format!("{} zeros follow its end", len - tags.stop));
        }
    }
    Ok(())
}
