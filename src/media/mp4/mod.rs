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
    gaps::{self, Gaps},
    reader::{Reader, Step},
    report::{Container, Kind, Report},
    rest,
};

/// Samples of a track that are looked at.
const PROBES: u32 = 384;
/// Bytes of a file's brands that are looked at.
const MOST_BRANDS: usize = 256;

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

/// What was found in the boxes at the top.
#[derive(Default)]
struct Top {
    brand: Option<[u8; 4]>,
    /// A brand of HEIF is among them, and nothing of a film.
    is_picture: bool,
    moov: Option<(Head, Moov)>,
    fragments: Fragments,
    /// Where the last box ends that has a size.
    end: u64,
    /// Where no further box was found.
    stop: u64,
    /// An `mdat` without a size reaches to the end of the file.
    open: bool,
    media: u64,
    /// Stretches of `mdat`, and of what else may have gaps.
    media_at: Vec<Range<u64>>,
    other_at: Vec<Range<u64>>,
    /// Where the bytes end that indexes promise, and whether an index is for more than its own
    /// fragment.
    sidx_end: Option<u64>,
    indexed: bool,
    closed: bool,
}

/// Judges a file that [`begins`] like one.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let mut top = walk(reader)?;
    let mut report = Report::of(match top.brand.as_ref() {
        Some(b"qt  ") => Container::Mov,
        Some(b"M4A " | b"M4B " | b"M4P ") => Container::M4a,
        // A QuickTime file from before there were brands.
        None if top.fragments.count == 0 => Container::Mov,
        _ => Container::Mp4,
    });
    if top.is_picture {
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
    let film = Film {
        samples: samples(reader, gaps, &moov)?,
        top,
        head,
        moov,
    };
    if film.moov.fragmented || film.top.fragments.count > 0 {
        film.judge_fragments(reader, gaps, &mut report)?;
    } else {
        film.judge_whole(reader, gaps, &mut report)?;
    }
    Ok(report)
}

fn walk(reader: &mut Reader) -> Step<Top> {
    let mut top = Top::default();
    let len = reader.len();
    let mut brands = Vec::new();
    while let Some(head) = boxes::head(reader, top.stop, len)? {
        // An unknown box that reaches past the end is no promise but bytes of something else.
        if !head.is_top && (head.end > len || head.open) {
            break;
        }
        let range = head.start..head.end.min(len);
        match &head.kind {
            b"ftyp" | b"styp" if top.brand.is_none() => {
                top.brand = reader.array(head.body)?;
                brands = reader.vec(head.body(), MOST_BRANDS)?;
            }
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
                top.media_at.push(range);
            }
            b"free" | b"skip" | b"wide" => {}
            _ => top.other_at.push(range),
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
    // Sequences of pictures have a `moov`; a film may name a brand of HEIF beside its own.
    let mut brands = brands.as_chunks::<4>().0.iter();
    let film = top.moov.is_some() || top.fragments.count > 0;
    top.is_picture = brands.next().is_some_and(is_picture) || !film && brands.any(is_picture);
    Ok(top)
}

/// Brands of pictures and sequences of pictures: HEIF (ISO/IEC 23008-12, annex B to L), AVIF, MIAF,
/// JPEG 2000 and Canon's raw files.
fn is_picture(brand: &[u8; 4]) -> bool {
    matches!(
        brand,
        [b'm', b'i', b'f', _]
            | [b'm', b's', b'f', _]
            | b"heic"
            | b"heix"
            | b"heim"
            | b"heis"
            | b"hevc"
            | b"hevx"
            | b"hevm"
            | b"hevs"
            | b"avif"
            | b"avis"
            | b"avio"
            | b"avci"
            | b"avcs"
            | b"jpeg"
            | b"jpgs"
            | b"jxl "
            | b"j2ki"
            | b"j2is"
            | b"miaf"
            | b"MiHB"
            | b"MiHE"
            | b"MiHA"
            | b"MiPr"
            | b"vvic"
            | b"vvis"
            | b"evbi"
            | b"evbs"
            | b"crx "
    )
}

fn describe(moov: &Moov, top: &Top, report: &mut Report) {
    let video = moov.tracks.iter().any(moov::Track::is_video);
    let audio = moov.tracks.iter().any(|t| &t.handler == b"soun");
    report.set_kind(video, audio);
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
        // The film begins with `moov`, and only its first few bytes are there: they say nothing of
        // the film's length.
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
        // Nothing says how long `moov` is.
        report.open_ended = true;
        report.lacks(
            len as f64 - missing as f64,
            promised,
            "its table of contents (moov) is missing",
        );
    }
    Ok(())
}

/// What was found by the sample tables.
#[derive(Default)]
struct Samples {
    count: u64,
    end: u64,
    bytes: u64,
    /// Stretches of samples and of their tables that are missing.
    missing: Vec<Range<u64>>,
    /// Place of a sample that doesn't look like one.
    odd: Option<u64>,
}

fn samples(reader: &mut Reader, gaps: &Gaps, moov: &Moov) -> Step<Samples> {
    let unpacked = moov.unpacked.as_slice();
    let tables = match unpacked {
        [] => reader.fork(),
        _ => Reader::new(&unpacked),
    };
    let mut found = Samples::default();
    let len = reader.len();
    for track in moov.tracks.iter().filter(|t| !t.elsewhere) {
        let dense = track.is_dense();
        let every = track.offsets.count.div_ceil(PROBES).max(1);
        let mut probes = reader.fork();
        let bytes = track.chunks(&tables, |chunk: Range<u64>, first, number| {
            let missing = if gaps.is_empty() {
                Vec::new()
            } else {
                gaps.stretches(chunk.clone(), dense)
            };
            let is_there = missing.is_empty();
            found.lack(missing);
            found.end = found.end.max(chunk.end);
            let sample = chunk.start..chunk.start.saturating_add(first.into());
            let look = number % every == 0
                && is_there
                && first > 0
                && sample.end <= len
                && found.odd.is_none();
            if look && !probe::plausible(&mut probes, track, sample.clone())? {
                found.odd = Some(sample.start);
            }
            Ok(())
        })?;
        if &track.codec == b"alac" && !gaps.is_empty() {
            // Silence may be all zeros behind the head of a sample, which never is.
            track.samples(&tables, |at, size| {
                let head = at..at + u64::from(size).min(16);
                if gaps.all_in(head.clone()) == head.end - head.start {
                    found.lack(gaps.stretches(at..at.saturating_add(size.into()), true));
                }
            })?;
        }
        found.count += u64::from(track.sizes.table.count);
        found.bytes = found.bytes.saturating_add(bytes.max(track.bytes(&tables)?));
        // A table of zeros is a gap in `moov`: every one of these has entries that can't be 0.
        for table in [
            &track.offsets,
            &track.runs,
            &track.times,
            &track.sizes.table,
        ] {
            if moov.unpacked.is_empty() {
                found.lack(gaps.stretches(table.range(), true));
            }
        }
    }
    Ok(found)
}

impl Samples {
    /// Notes missing stretches. Tables in a broken file may name the same ones again and again.
    fn lack(&mut self, stretches: Vec<Range<u64>>) {
        const MANY: usize = 1 << 17;
        self.missing.extend(stretches);
        if self.missing.len() > MANY {
            self.missing = gaps::merged(std::mem::take(&mut self.missing));
        }
    }
}

/// A file with a `moov`: all that its boxes say.
struct Film {
    top: Top,
    /// The head of `moov`.
    head: Head,
    moov: Moov,
    samples: Samples,
}

impl Film {
    /// Judges a film whose samples are all described by `moov`.
    fn judge_whole(&self, reader: &mut Reader, gaps: &Gaps, report: &mut Report) -> Step<()> {
        let Self {
            top,
            head,
            moov,
            samples,
        } = self;
        let len = reader.len();
        let end = top.end.max(samples.end);
        // Cut inside a leading `moov`: the places of the samples are not all known, but mostly how many
        // bytes they have.
        let end = if head.end > len && top.media == 0 {
            end.max(head.end.saturating_add(samples.bytes))
        } else {
            end
        };
        let mut missing = samples.missing.clone();
        missing.extend(gaps.among(&[], false, &top.other_at));
        let missing = gaps::merged(missing);
        report.content_len = Some(end.max(top.stop.min(len)));
        if end > len {
            // The file is cut before `moov` states the size of any sample, so only the length of `moov`
            // itself is known.
            let silent = head.end > len && top.media == 0 && samples.bytes == 0;
            report.open_ended |= silent;
            let what = format!("ends {} bytes early", end - len);
            if silent {
                report.lacks(0.0, end as f64, what);
            } else {
                report.lacks_end(len, missing, end, what);
            }
        } else if !missing.is_empty() {
            report.lacks_stretches(missing, end);
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
        rest::note(reader, report)
    }

    /// Judges a film in fragments.
    fn judge_fragments(&self, reader: &mut Reader, gaps: &Gaps, report: &mut Report) -> Step<()> {
        let Self {
            top,
            head,
            moov,
            samples,
        } = self;
        let len = reader.len();
        let boxed = top.end.max(samples.end).max(top.fragments.end);
        let end = boxed.max(top.sidx_end.unwrap_or(0));
        let dense = moov.tracks.iter().all(moov::Track::is_dense);
        let rest = rest::follows(reader, gaps, top.stop, 8, |bytes| {
            let kind = bytes.get(4..8);
            matches!(kind, Some(b"moof" | b"mdat")) && bytes[0] < 0x10
        })?;
        let mut missing = gaps.among(&top.media_at, dense, &top.other_at);
        // Behind a gap that swallowed the head of a box no box can be found, but further gaps count
        // too.
        let lost = !rest.is_tail();
        let unknown = if lost {
            gaps.stretches(top.stop..len, true)
        } else {
            Vec::new()
        };
        let end = if unknown.is_empty() {
            end
        } else {
            end.max(len)
        };
        let in_gap = !unknown.is_empty();
        missing.extend(unknown);
        let sum = gaps::bytes_of(&missing);
        let present = len.min(end).saturating_sub(sum) as f64;
        // Seconds here, and of the whole where `mehd` says it.
        let (have, whole) = (
            top.fragments.seconds(moov),
            moov::seconds(moov.total.unwrap_or(0), moov.timescale),
        );
        let short = !top.closed && !in_gap && whole > 0.0 && have + TOLERANCE < whole;
        report.content_len = Some(end);
        let promised = top.closed || top.indexed && top.sidx_end >= Some(boxed) || whole > 0.0;
        report.open_ended = !promised;
        if head.end > len {
            report.lacks(0.0, 1.0, "ends before its table of contents (moov) does");
        } else if short {
            report.open_ended = false;
            report.content_len = None;
            // The rest is estimated by the bytes a second so far.
            report.lacks(
                have * (present / boxed.max(1) as f64),
                whole,
                format!("{have:.1} of {whole:.1} seconds"),
            );
        } else if end > len {
            let what = format!("ends {} bytes early", end - len);
            report.lacks_end(len, missing, end, what);
        } else if !missing.is_empty() {
            report.lacks_stretches(missing, end);
        } else if is_begun(reader, top.stop)? {
            let what = "ends inside the head of a box";
            report.lacks_end(len, missing, len + 8, what);
        } else if lost {
            report.damaged(format!("the bytes at {} are no part of an MP4", top.stop));
        } else if top.fragments.count == 0 && samples.count == 0 {
            report.lacks(0.0, 1.0, "its beginning only: no fragment follows");
        }
        rest::note(reader, report)
    }
}

/// Whether fewer bytes are left than the head of a box has, and they begin like one.
fn is_begun(reader: &mut Reader, stop: u64) -> Step<bool> {
    let left = reader.bytes(stop, 8)?;
    let kind = left.get(4..).unwrap_or_default();
    let names = [&b"moof"[..], b"mdat", b"sidx", b"styp", b"emsg", b"mfra"];
    // The size comes first, and is less than 16 MiB.
    Ok(matches!(left, [0, _, ..])
        && left.len() < 8
        && left.iter().any(|&b| b != 0)
        && names.iter().any(|name| name.starts_with(kind)))
}

/// `mehd` counts in ticks of its own and some writers round it to a frame.
const TOLERANCE: f64 = 0.3;
