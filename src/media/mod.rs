//! Judges a file: its container, its length, and whether it is whole. Pure over bytes; each
//! container has a file of its own.
//!
//! The readers here are fisga's own. `mp4-atom`, `matroska-demuxer` and `symphonia` decode good
//! files and stop with an error at the first thing that is cut; they load tables (and `mdat`) into
//! memory and follow sizes without a bound. A verdict needs the opposite: how far the structure
//! reaches, where it breaks, and how much it promised, in bounded memory and time whatever the
//! bytes are.
//!
//! | container | who promises how much there is | what a cut leaves unseen |
//! |---|---|---|
//! | MP4, MOV | sizes of boxes, sample tables; `sidx`, `mehd` of fragments | fragments without either: whole ones that are gone |
//! | Matroska, WebM | size of the segment, index, duration | live: whole blocks that are gone |
//! | FLV | `onMetaData`: bytes or seconds | without it: whole tags that are gone |
//! | Ogg | marks on the last pages, but not how much was before them | nothing, but the share is an upper bound |
//! | MP3 | Xing, Info, VBRI | without one: whole frames that are gone |
//! | FLAC | number of samples | without it: whole frames that are gone |
//! | AVI, WAVE | sizes of chunks | sizes left open by a pipe |
//! | MPEG-TS, MPEG-PS, AAC | nobody | whole packets or frames that are gone |
//!
//! Where nothing promises a length, [`Report::open_ended`] says so. A gap inside is seen
//! everywhere: holes always (one at the end is never padding), and blocks of zeros unless the
//! coding may have them (PCM, stuffed MPEG-2, intra codecs of a fixed frame size). Bytes of
//! something else behind the end of the structure change nothing.

mod adts;
mod amf;
mod elements;
pub mod firefox;
mod flac;
mod flv;
mod frames;
mod gaps;
mod id3;
mod matroska;
pub(crate) mod mp3;
mod mp4;
mod ogg;
mod other;
mod ps;
mod reader;
mod report;
mod rest;
mod riff;
mod text;
mod ts;
mod vorbis;

use std::io;

use crate::content::Content;
use frames::Begins;
use gaps::Gaps;
use reader::{Halt, Reader, Step};
pub use report::{Container, Kind, Report, Verdict};

/// Bytes of the beginning by which every container is recognized.
const HEAD: usize = 4096;

/// Looks at the structure of `content`, not at all of its bytes.
///
/// # Errors
/// Only what reading itself returns; foreign bytes are never an error but a [`Verdict`].
pub fn inspect<C: Content + ?Sized>(content: &C) -> io::Result<Report> {
    let mut reader = Reader::new(&content);
    match judge(&mut reader) {
        Ok(report) => Ok(report),
        Err(Halt::Io(e)) => Err(e),
        Err(Halt::Spent) => Ok(Report::not_media(
            "a file whose structure refers to more than any video has",
        )),
    }
}

fn judge(reader: &mut Reader) -> Step<Report> {
    let len = reader.len();
    let (gaps, tail) = Gaps::find(reader)?;
    let mut report = container(reader, &gaps)?;
    if let Some(from) = tail {
        report.ends_in_hole(from, len);
    }
    Ok(report)
}

/// Finds the container by its beginning, and judges it.
fn container(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let head = reader.bytes(0, HEAD)?.to_vec();
    if mp4::begins(&head) {
        return mp4::inspect(reader, gaps);
    }
    if matroska::begins(&head)
        && let Some(report) = matroska::inspect(reader, gaps)?
    {
        return Ok(report);
    }
    if flv::begins(&head) {
        return flv::inspect(reader, gaps);
    }
    if ogg::begins(&head) {
        return ogg::inspect(reader, gaps);
    }
    if let Some(container) = riff::begins(&head) {
        return riff::inspect(reader, gaps, container);
    }
    if let Some(start) = ts::begins(&head, 0) {
        return ts::inspect(reader, gaps, start);
    }
    if ps::begins(&head) {
        return ps::inspect(reader, gaps);
    }
    // A tag may stand before any of these.
    let tag = id3::read(reader)?.end;
    if flac::begins(reader, tag)? {
        return flac::inspect(reader, gaps);
    }
    if let Some(report) = adts::inspect(reader, gaps)? {
        return Ok(report);
    }
    if let Some(report) = mp3::inspect(reader, gaps)? {
        return Ok(report);
    }
    let missing = gaps.all_in(0..1);
    if missing > 0 && !reader.zeros_to_end(0)? {
        let mut report = Report::not_media(other::describe(reader)?);
        report.damaged("its beginning is missing");
        return Ok(report);
    }
    // What begins as a page may be a script's words before what it sends.
    let is_page = head.trim_ascii_start().starts_with(b"<");
    match other::known(reader)? {
        Some(what) if !is_page => Ok(Report::not_media(what)),
        _ => behind_something(reader, gaps),
    }
}

/// Streams that begin with something else: packets or frames are looked for behind it.
fn behind_something(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    if let Some(start) = ts::find(reader)? {
        return ts::inspect(reader, gaps, start);
    }
    if let Some(from) = frames::find(reader, adts::frame)? {
        return adts::judge(reader, gaps, from, Begins::BehindOthers);
    }
    if let Some(from) = frames::find(reader, mp3::frame)? {
        return mp3::judge(reader, gaps, from, Begins::BehindOthers);
    }
    Ok(Report::not_media(other::describe(reader)?))
}
