//! MP4, MOV and M4A: ISO base media, whole or in fragments (ISO/IEC 14496-12; QuickTime File
//! Format).
//!
//! The boxes of the file are walked; `moov` says where each sample lies. A film is whole when every
//! sample lies inside the file and in no gap. In a fragmented one every box must be whole; how many
//! fragments there should be is known only from `sidx`, `mehd` or a closing `mfra`: without them
//! the report is open-ended.

pub(super) mod boxes;
mod fragment;
pub(super) mod moov;
mod probe;
mod title;

use std::ops::Range;

use boxes::Head;
use fragment::Fragments;
use moov::Moov;

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Kind, Report, Verdict},
};

/// Samples of a track that are looked at.
const PROBES: u32 = 384;

/// Whether the file begins with a box that can begin one.
pub(crate) fn begins(head: &[u8]) -> bool {
    let Some((size, rest)) = head.split_first_chunk() else {
        return false;
    };
    let size = u32::from_be_bytes(*size);
    match rest.first_chunk::<4>() {
        Some(b"ftyp" | b"styp") => size >= 12,
        Some(b"moov" | b"mdat" | b"moof" | b"sidx" | b"wide" | b"free" | b"skip" | b"pnot") => {
            !(2..8).contains(&size)
        }
        _ => false,
    }
}

/// What the boxes at the top add up to.
#[derive(Default)]
struct Top {
    brand: Option<[u8; 4]>,
    moov: Option<(Head, Moov)>,
    fragments: Fragments,
    /// End of what the closed boxes promise.
    end: u64,
    /// Where no further box was found.
    stop: u64,
    /// An `mdat` without a size reaches to the end of the file.
    open: bool,
    media: u64,
    /// Bytes of `mdat` in gaps, by holes alone and with zeros.
    media_gaps: (u64, u64),
    other_gaps: u64,
    /// End of what indexes promise, and whether one is for more than its own fragment.
    sidx_end: Option<u64>,
    indexed: bool,
    closed: bool,
}

/// Judges a file that [`begins`] like one.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let mut top = walk(reader, gaps)?;
    let mut report = Report::of(match top.brand.as_ref() {
        Some(b"qt  ") => Container::Mov,
        Some(b"M4A " | b"M4B " | b"M4P ") => Container::M4a,
        // QuickTime before brands.
        None if top.fragments.count == 0 => Container::Mov,
        _ => Container::Mp4,
    });
    if let Some(b"avif" | b"avis" | b"heic" | b"heix" | b"mif1" | b"msf1" | b"crx ") =
        top.brand.as_ref()
    {
        return Ok(Report::not_media("a picture in an MP4 container"));
    }
    let Some((head, moov)) = top.moov.take() else {
        without_moov(reader, gaps, &top, &mut report)?;
        return Ok(report);
    };
    describe(&moov, &top, &mut report);
    if moov.protected || top.fragments.protected {
        report.protected();
        return Ok(report);
    }
    let samples = samples(reader, gaps, &moov)?;
    let fragmented = moov.fragmented || top.fragments.count > 0;
    if fragmented {
        judge_fragments(reader, gaps, &top, &head, &moov, &samples, &mut report)?;
    } else {
        judge_film(reader, &top, &head, &moov, &samples, &mut report)?;
    }
    Ok(report)
}

fn walk(reader: &mut Reader, gaps: &Gaps) -> Step<Top> {
    let mut top = Top::default();
    let len = reader.len();
    while let Some(head) = boxes::head(reader, top.stop, len)? {
        let range = head.start..head.end.min(len);
        match &head.kind {
            b"ftyp" | b"styp" if top.brand.is_none() => top.brand = reader.array(head.body)?,
            b"moov" if top.moov.is_none() => top.moov = Some((head, moov::read(reader, &head)?)),
            b"moof" => {
                let moov = top.moov.as_ref().map(|(_, moov)| moov);
                top.fragments.add(reader, &head, moov)?;
            }
            b"sidx" => {
                if let Some((end, fragments)) = fragment::promised_by(reader, &head)? {
                    top.sidx_end = top.sidx_end.max(Some(end));
                    top.indexed |= fragments > 1;
                }
            }
            b"mfra" => top.closed = head.end <= len,
            _ => {}
        }
        match &head.kind {
            b"mdat" => {
                top.media += range.end - head.body.min(range.end);
                top.media_gaps.0 += gaps.holes_in(range.clone());
                top.media_gaps.1 += gaps.all_in(range);
            }
            b"free" | b"skip" | b"wide" => {}
            _ => top.other_gaps += gaps.holes_in(range),
        }
        if head.open {
            top.open = true;
            top.stop = len;
            break;
        }
        top.end = top.end.max(head.end);
        top.stop = head.end;
    }
    top.stop = top.stop.min(len);
    Ok(top)
}

fn describe(moov: &Moov, top: &Top, report: &mut Report) {
    let video = moov.tracks.iter().any(moov::Track::is_video);
    let audio = moov.tracks.iter().any(|t| &t.handler == b"soun");
    report.kind = match (video, audio) {
        (true, _) => Kind::Video,
        (false, true) => Kind::Audio,
        _ => Kind::Unknown,
    };
    match (report.kind, report.container) {
        (Kind::Audio, Some(Container::Mp4)) => report.container = Some(Container::M4a),
        (Kind::Video, Some(Container::M4a)) => report.container = Some(Container::Mp4),
        _ => {}
    }
    let tracks = moov
        .tracks
        .iter()
        .map(moov::Track::seconds)
        .fold(0.0, f64::max);
    let film = moov::seconds(moov.duration, moov.timescale);
    let whole = moov::seconds(moov.total.unwrap_or(0), moov.timescale);
    let length = if film > 0.0 { film } else { tracks };
    let fragments = top.fragments.seconds(moov);
    // GStreamer adds up all tracks in `mehd`: a closed file knows better.
    report.set_seconds(
        length
            .max(fragments)
            .max(if top.closed { 0.0 } else { whole }),
    );
    report.title.clone_from(&moov.title);
}

/// No `moov`: nothing plays, but `mdat` says how much there should be.
fn without_moov(reader: &mut Reader, gaps: &Gaps, top: &Top, report: &mut Report) -> Step<()> {
    let len = reader.len();
    let end = top
        .end
        .max(top.sidx_end.unwrap_or(0))
        .max(top.fragments.end);
    let missing = gaps.all_in(0..len);
    if top.media == 0 && top.fragments.count == 0 && (missing == 0 || top.end > len) {
        // Of a film that begins with `moov`, only the first few bytes are here: they say nothing of
        // its length.
        report.open_ended = true;
        report.lacks(0.0, 1.0, "ends before its table of contents (moov)");
    } else if top.stop < len
        && missing == 0
        && !reader.zeros_to_end(top.stop)?
        && len - top.stop >= 8
    {
        report.damaged(format!(
            "the bytes at {} are no part of an MP4: not in the order of the container",
            top.stop
        ));
    } else {
        let promised = end.max(len) as f64;
        // How long `moov` is, nothing says.
        report.open_ended = true;
        report.lacks(
            len as f64 - missing as f64,
            promised,
            "its table of contents (moov) is missing",
        );
    }
    Ok(())
}

/// What the sample tables add up to.
#[derive(Default)]
struct Samples {
    count: u64,
    end: u64,
    bytes: u64,
    missing: u64,
    /// Place of a sample that doesn't look like one.
    odd: Option<u64>,
}

fn samples(reader: &mut Reader, gaps: &Gaps, moov: &Moov) -> Step<Samples> {
    let mut found = Samples::default();
    let len = reader.len();
    for track in moov.tracks.iter().filter(|t| !t.elsewhere) {
        let dense = track.is_dense();
        let every = track.offsets.count.div_ceil(PROBES).max(1);
        let mut probes = reader.fork();
        let bytes = track.chunks(reader, |chunk: Range<u64>, first, number| {
            let gap = if gaps.is_empty() {
                0
            } else {
                gaps.missing(chunk.clone(), dense)
            };
            found.missing = found.missing.saturating_add(gap);
            found.end = found.end.max(chunk.end);
            let sample = chunk.start..chunk.start.saturating_add(first.into());
            let look = number % every == 0
                && gap == 0
                && first > 0
                && sample.end <= len
                && found.odd.is_none();
            if look && !probe::plausible(&mut probes, track, sample.clone())? {
                found.odd = Some(sample.start);
            }
            Ok(())
        })?;
        found.count += u64::from(track.sizes.table.count);
        found.bytes = found.bytes.saturating_add(bytes.max(track.bytes(reader)?));
        // A table of zeros is a gap in `moov`: every one of these has entries that can't be 0.
        for table in [
            &track.offsets,
            &track.runs,
            &track.times,
            &track.sizes.table,
        ] {
            found.missing += gaps.all_in(table.range()) - gaps.holes_in(table.range());
        }
    }
    Ok(found)
}

fn judge_film(
    reader: &mut Reader,
    top: &Top,
    head: &Head,
    moov: &Moov,
    samples: &Samples,
    report: &mut Report,
) -> Step<()> {
    let len = reader.len();
    let end = top.end.max(samples.end);
    // Cut inside a leading `moov`: the places of the samples are not all known, but mostly how many
    // bytes they have.
    let end = if head.end > len && top.media == 0 {
        end.max(head.end.saturating_add(samples.bytes))
    } else {
        end
    };
    let missing = samples.missing + top.other_gaps;
    report.content_len = Some(end.max(top.stop.min(len)));
    if end > len {
        // Cut before `moov` says how large any sample is: only of itself is it known how long it
        // is.
        let silent = head.end > len && top.media == 0 && samples.bytes == 0;
        report.open_ended |= silent;
        let share = if silent {
            0.0
        } else {
            len.saturating_sub(missing) as f64
        };
        report.lacks(share, end as f64, format!("ends {} bytes early", end - len));
    } else if missing > 0 {
        report.lacks(
            end.saturating_sub(missing) as f64,
            end as f64,
            format!("{missing} bytes are missing inside"),
        );
    } else if moov.broken {
        report.damaged("its table of contents (moov) has gaps");
    } else if moov.tracks.is_empty() || samples.count == 0 && top.media == 0 {
        report.lacks(0.0, 1.0, "it has a table of contents and no content");
    } else if let Some(at) = samples.odd {
        report.damaged(format!(
            "the bytes at {at} are not the sample that belongs there"
        ));
    } else if top.open {
        // `mdat` reached to the end of the file; the samples say where it really ends.
        report.content_len = Some(end);
    }
    note_rest(reader, report)
}

fn judge_fragments(
    reader: &mut Reader,
    gaps: &Gaps,
    top: &Top,
    head: &Head,
    moov: &Moov,
    samples: &Samples,
    report: &mut Report,
) -> Step<()> {
    let len = reader.len();
    let boxed = top.end.max(samples.end).max(top.fragments.end);
    let end = boxed.max(top.sidx_end.unwrap_or(0));
    let dense = moov.tracks.iter().all(moov::Track::is_dense);
    // Behind a gap that swallowed the head of a box nothing can be told apart, but further gaps
    // count too.
    let lost = top.stop < len && !reader.zeros_to_end(top.stop)?;
    let rest = if lost { gaps.all_in(top.stop..len) } else { 0 };
    let end = if rest > 0 { end.max(len) } else { end };
    let missing = top.other_gaps
        + rest
        + if dense {
            top.media_gaps.1
        } else {
            top.media_gaps.0
        };
    let present = len.min(end).saturating_sub(missing) as f64;
    // Seconds here, and of the whole where `mehd` tells.
    let (have, whole) = (
        top.fragments.seconds(moov),
        moov::seconds(moov.total.unwrap_or(0), moov.timescale),
    );
    let short = !top.closed && rest == 0 && whole > 0.0 && have + TOLERANCE < whole;
    report.content_len = Some(end);
    let promised = top.closed || top.indexed && top.sidx_end >= Some(boxed) || whole > 0.0;
    report.open_ended = !promised;
    if head.end > len {
        report.lacks(0.0, 1.0, "ends before its table of contents (moov) does");
    } else if short {
        report.open_ended = false;
        // What a second weighs so far, it will weigh on average.
        report.lacks(
            have * (present / boxed.max(1) as f64),
            whole,
            format!("{have:.1} of {whole:.1} seconds"),
        );
    } else if end > len {
        report.lacks(
            present,
            end as f64,
            format!("ends {} bytes early", end - len),
        );
    } else if missing > 0 {
        report.lacks(
            present,
            end as f64,
            format!("{missing} bytes are missing inside"),
        );
    } else if lost {
        if len - top.stop < 8 {
            report.lacks(present, len as f64 + 8.0, "ends inside the head of a box");
        } else {
            report.damaged(format!("the bytes at {} are no part of an MP4", top.stop));
        }
    } else if top.fragments.count == 0 && samples.count == 0 {
        report.lacks(0.0, 1.0, "its beginning only: no fragment follows");
    }
    note_rest(reader, report)
}

/// `mehd` counts in ticks of its own and some writers round it to a frame.
const TOLERANCE: f64 = 0.3;

/// Says what follows a whole film.
fn note_rest(reader: &mut Reader, report: &mut Report) -> Step<()> {
    let len = reader.len();
    if let (Verdict::Complete, Some(end)) = (&report.verdict, report.content_len)
        && end < len
    {
        let what = if reader.zeros_to_end(end)? {
            "zeros"
        } else {
            "other bytes"
        };
        report.detail = Some(format!("{} {what} follow its end", len - end));
    }
    Ok(())
}
