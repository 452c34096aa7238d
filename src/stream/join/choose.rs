//! Chooses which piece fills which slot, and says what is missing. One variant is taken if it is
//! whole; otherwise others fill its holes.
//!
//! Variants of fragmented MP4 are mixed like all others: each fragment brings its parameter sets
//! along (see `join`), which ffmpeg, Chromium and Firefox play through a change of size.

mod bodies;
mod fill;
mod stretches;

use std::{collections::HashMap, ops::Range, time::Duration};

pub(crate) use self::bodies::{BodyRange, FilledSlot, NO_INIT};
use self::{
    bodies::BodyTable,
    fill::{FilledTrack, fill},
    stretches::{Advert, Stretch, adverts, foreign, is_short, stretches},
};
use crate::stream::{Assembly, Body, Pieces, TrackKind};

/// Segments of two variants that overlap by less fill slots next to each other.
const OVERLAP: Duration = Duration::from_millis(120);

/// What a video is put together from.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Pictures first.
    pub(crate) tracks: Vec<ChosenTrack>,
    /// Each held body once.
    pub(crate) bodies: Vec<Body>,
    /// The share of the time that is there, 0 to 1.
    pub fraction: f64,
    /// What is missing, in order of time.
    pub missing: Vec<Missing>,
    /// Every stretch is there, and nothing more can come.
    pub whole: bool,
    /// Whether the end is known. If it is not, any amount may be missing there.
    pub ended: bool,
    /// How long it is, gaps counted, advertisements not.
    pub duration: Duration,
    /// What was done that is worth saying.
    pub notes: Vec<String>,
}

/// A stretch that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// On the video's time line.
    pub time: Range<Duration>,
    /// Of what.
    pub kind: TrackKind,
    /// Why, for people.
    pub why: &'static str,
}

/// One track of it.
#[derive(Clone, Debug)]
pub(crate) struct ChosenTrack {
    pub(crate) kind: TrackKind,
    pub(crate) language: Option<String>,
    pub(crate) slots: Vec<FilledSlot>,
}

/// Chooses among the variants of `assembly` with what is held in `pieces`.
///
/// What belongs to the video is decided first, stretch by stretch (a stretch lies between two
/// discontinuities): advertisements are left out, and so is a short stretch that can't share a file
/// with the rest, because its codecs are others. Then each track is chosen by itself, and of
/// several languages the one that was listened to.
pub fn choose(assembly: &Assembly, pieces: &dyn Pieces) -> Choice {
    let mut table = BodyTable::new(pieces);
    let stretches = stretches(assembly);
    let mut adverts = adverts(&stretches);
    let foreign = foreign(assembly, &stretches, &adverts, &mut table);
    let (short, long): (Vec<&Stretch>, Vec<&Stretch>) = foreign
        .into_iter()
        .partition(|s| is_short(s.duration(), &stretches));
    let others: Vec<Advert> = short.into_iter().map(|s| s.advert(true)).collect();
    let mut notes = Vec::new();
    if !adverts.is_empty() {
        notes.push(format!(
            "{} stretches of advertisements left out",
            adverts.len()
        ));
    }
    if !others.is_empty() {
        notes.push(format!(
            "{} short stretches in other codecs left out",
            others.len()
        ));
    }
    adverts.extend(others);
    let unusable: Vec<u32> = long.iter().map(|s| s.number).collect();
    let mut filled = Vec::new();
    for kind in [TrackKind::Video, TrackKind::Audio, TrackKind::Subtitles] {
        let of_kind = assembly.tracks.iter().filter(|t| t.kind == kind);
        let mut done: Vec<FilledTrack> = of_kind
            .map(|t| fill(t, &adverts, &unusable, &mut table))
            .collect();
        // Of several languages, the one of which most was loaded is taken, because it was listened
        // to; the first of equals.
        let most = done.iter().map(|p| p.covered).max().unwrap_or_default();
        if let Some(i) = done.iter().position(|p| {
            p.covered == most && (kind != TrackKind::Subtitles || most > Duration::ZERO)
        }) {
            filled.push(done.swap_remove(i));
        }
    }
    notes.extend(filled.iter().filter_map(|p| p.note.clone()));
    let media = || {
        filled
            .iter()
            .filter(|p| p.chosen.kind != TrackKind::Subtitles)
    };
    let total: f64 = media().map(|p| p.total.as_secs_f64()).sum();
    let covered: f64 = media().map(|p| p.covered.as_secs_f64()).sum();
    let missing: Vec<Missing> = media().flat_map(|p| p.missing.clone()).collect();
    let duration = media().map(|p| p.total).max().unwrap_or_default();
    // A stretch that was left out on a guess may have been part of the video, so its end isn't
    // certain then.
    let ended = assembly.ended && adverts.iter().all(|a| a.certain);
    if !assembly.ended {
        notes.push("the true end is unknown".into());
    }
    close_gaps(&mut filled);
    Choice {
        fraction: if total > 0.0 {
            (covered / total).min(1.0)
        } else {
            0.0
        },
        whole: assembly.ended && missing.is_empty() && covered > 0.0,
        ended,
        missing,
        duration,
        notes,
        tracks: filled
            .into_iter()
            .map(|p| p.chosen)
            .filter(|c| !c.slots.is_empty())
            .collect(),
        bodies: table.bodies,
    }
}

/// Closes each stretch of time that no track has, so that the saved video has no hole in its time.
fn close_gaps(filled: &mut [FilledTrack]) {
    let mut media = filled
        .iter()
        .filter(|t| t.chosen.kind != TrackKind::Subtitles);
    let Some(first) = media.next() else { return };
    let mut gaps: Vec<Range<Duration>> = first.missing.iter().map(|m| m.time.clone()).collect();
    for track in media {
        let other = || track.missing.iter().map(|m| &m.time);
        let both = gaps.iter().flat_map(|gap| {
            other().map(move |time| gap.start.max(time.start)..gap.end.min(time.end))
        });
        gaps = both.filter(|gap| gap.start < gap.end).collect();
    }
    if gaps.is_empty() {
        return;
    }
    // What follows a gap gets a discontinuity number of its own, so that its time stamps are moved.
    let mut numbers: HashMap<(u32, usize), u32> = HashMap::new();
    let mut move_slot = |slot: &mut FilledSlot| {
        let before = gaps.iter().filter(|gap| gap.end <= slot.start + OVERLAP);
        let (count, time) = before.fold((0, Duration::ZERO), |(count, time), gap| {
            (count + 1, time + (gap.end - gap.start))
        });
        slot.start = slot.start.saturating_sub(time);
        let next = numbers.len() as u32;
        slot.discontinuity = *numbers.entry((slot.discontinuity, count)).or_insert(next);
    };
    let slots = filled.iter_mut().flat_map(|t| &mut t.chosen.slots);
    slots.for_each(&mut move_slot);
}
