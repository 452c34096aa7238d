//! Which piece fills which slot: one variant where that is enough, the best of each slot otherwise;
//! and what is missing.
//!
//! Variants of fragmented MP4 are mixed like all others: each fragment brings its parameter sets
//! along (see `join`), which ffmpeg, Chromium and Firefox play through a change of size.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::Duration,
};

use crate::{
    container::fmp4,
    stream::{
        Assembly, Body, Piece, Pieces, Ref, Slot, Track, TrackKind, Variant, playlist::address,
    },
};

/// Segments of two variants that overlap by less fill slots next to each other.
const OVERLAP: Duration = Duration::from_millis(120);

/// What a video is put together from.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Pictures first.
    pub(crate) tracks: Vec<Chosen>,
    /// Each held body once.
    pub(crate) bodies: Vec<Body>,
    /// The share of the time that is there, 0 to 1.
    pub fraction: f64,
    /// What is not, in order of time.
    pub missing: Vec<Missing>,
    /// Every stretch is there, and nothing more can come.
    pub whole: bool,
    /// Whether the end is known: if not, there may be more of it than anyone can tell.
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
pub(crate) struct Chosen {
    pub(crate) kind: TrackKind,
    pub(crate) language: Option<String>,
    pub(crate) picks: Vec<Pick>,
}

/// A filled slot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pick {
    pub(crate) of: Place,
    pub(crate) init: Option<Place>,
    pub(crate) start: Duration,
    pub(crate) duration: Duration,
    pub(crate) discontinuity: u32,
}

/// Bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Index into [`Choice::bodies`].
    pub(crate) body: usize,
    pub(crate) range: Range<u64>,
}

/// Chooses among the variants of `assembly` with what is held in `pieces`. Stretches that look like
/// advertisements are left out: behind a discontinuity and from another host than most of the time,
/// or shorter than `min_duration` and from another folder.
pub fn choose(assembly: &Assembly, pieces: &dyn Pieces, min_duration: Duration) -> Choice {
    let mut notes = Vec::new();
    let adverts = adverts(assembly, min_duration);
    let mut holds = Holds::new(pieces);
    let mut parts = Vec::new();
    for kind in [TrackKind::Video, TrackKind::Audio, TrackKind::Subtitles] {
        let of_kind = assembly.tracks.iter().filter(|t| t.kind == kind);
        let mut done: Vec<Part> = of_kind.map(|t| part(t, &adverts, &mut holds)).collect();
        // Of several languages, what was listened to; the first of equals.
        let most = done.iter().map(|p| p.covered).max().unwrap_or_default();
        if let Some(i) = done.iter().position(|p| {
            p.covered == most && (kind != TrackKind::Subtitles || most > Duration::ZERO)
        }) {
            parts.push(done.swap_remove(i));
        }
    }
    if !adverts.is_empty() {
        notes.push(format!(
            "{} stretches of advertisements left out",
            adverts.len()
        ));
    }
    notes.extend(parts.iter().filter_map(|p| p.note.clone()));
    let media = || {
        parts
            .iter()
            .filter(|p| p.chosen.kind != TrackKind::Subtitles)
    };
    let total: f64 = media().map(|p| p.total.as_secs_f64()).sum();
    let covered: f64 = media().map(|p| p.covered.as_secs_f64()).sum();
    let missing: Vec<Missing> = media().flat_map(|p| p.missing.clone()).collect();
    let duration = media().map(|p| p.total).max().unwrap_or_default();
    if !assembly.ended {
        notes.push("the true end is unknown".into());
    }
    Choice {
        fraction: if total > 0.0 {
            (covered / total).min(1.0)
        } else {
            0.0
        },
        whole: assembly.ended && missing.is_empty() && covered > 0.0,
        ended: assembly.ended,
        missing,
        duration,
        notes,
        tracks: parts
            .into_iter()
            .map(|p| p.chosen)
            .filter(|c| !c.picks.is_empty())
            .collect(),
        bodies: holds.bodies,
    }
}

/// Stretches, by discontinuity, that are not the video.
fn adverts(assembly: &Assembly, min_duration: Duration) -> Vec<u32> {
    let track = assembly
        .tracks
        .iter()
        .find(|t| t.kind == TrackKind::Video)
        .or(assembly.tracks.first());
    let Some(slots) = track.and_then(|t| t.variants.first()).map(|v| &v.slots) else {
        return Vec::new();
    };
    let mut stretches: BTreeMap<u32, (Duration, &str, &str)> = BTreeMap::new();
    let mut by_host: HashMap<&str, Duration> = HashMap::new();
    let mut by_folder: HashMap<&str, Duration> = HashMap::new();
    for slot in slots {
        let (host, folder) = (address::origin(&slot.of.url), folder(&slot.of.url));
        stretches
            .entry(slot.discontinuity)
            .or_insert((Duration::ZERO, host, folder))
            .0 += slot.duration;
        *by_host.entry(host).or_default() += slot.duration;
        *by_folder.entry(folder).or_default() += slot.duration;
    }
    let most = |times: HashMap<&'_ str, Duration>| {
        times
            .into_iter()
            .max_by_key(|&(name, time)| (time, name.to_owned()))
            .map(|(name, _)| name.to_owned())
    };
    let (host, folder) = (most(by_host), most(by_folder));
    let is_advert = |(time, its_host, its_folder): (Duration, &str, &str)| {
        !its_host.is_empty() && Some(its_host) != host.as_deref()
            || time < min_duration && Some(its_folder) != folder.as_deref()
    };
    if stretches.len() < 2 {
        return Vec::new();
    }
    stretches
        .into_iter()
        .filter(|(_, s)| is_advert(*s))
        .map(|(n, _)| n)
        .collect()
}

fn folder(url: &str) -> &str {
    let path = address::without_query(url);
    path.rfind('/').map_or(path, |i| &path[..i])
}

/// Pieces that were asked for, each body once.
struct Holds<'a> {
    pieces: &'a dyn Pieces,
    bodies: Vec<Body>,
    known: HashMap<*const Piece, usize>,
    /// What initialisation segments have in common with those that can share a file with them.
    forms: HashMap<Place, Form>,
}

impl<'a> Holds<'a> {
    fn new(pieces: &'a dyn Pieces) -> Self {
        Self {
            pieces,
            bodies: Vec::new(),
            known: HashMap::new(),
            forms: HashMap::new(),
        }
    }

    fn place(&mut self, of: &Ref) -> Option<Place> {
        let piece = self.pieces.get(of).filter(|_| !of.url.is_empty())?;
        // Compressed on the wire: its bytes are not the segment's.
        if piece.encoding.as_deref().is_some_and(|e| e != "identity") {
            return None;
        }
        let range = of.range.clone().unwrap_or(0..piece.body.len());
        if range.is_empty() || !piece.body.has(&range) {
            return None;
        }
        let body = *self.known.entry(piece).or_insert_with(|| {
            self.bodies.push(piece.body.clone());
            self.bodies.len() - 1
        });
        Some(Place { body, range })
    }

    fn pick(&mut self, slot: &Slot) -> Result<Pick, &'static str> {
        let init = match &slot.init {
            Some(init) => Some(
                self.place(init)
                    .ok_or("without its initialisation segment")?,
            ),
            None => None,
        };
        let of = self.place(&slot.of).ok_or(if slot.of.url.is_empty() {
            "not in the stream"
        } else {
            "never loaded"
        })?;
        let (start, duration, discontinuity) = (slot.start, slot.duration, slot.discontinuity);
        Ok(Pick {
            of,
            init,
            start,
            duration,
            discontinuity,
        })
    }

    /// Picks with different forms can't share a file.
    fn form(&mut self, pick: &Pick) -> Form {
        let place = pick.init.as_ref()?;
        if let Some(known) = self.forms.get(place) {
            return known.clone();
        }
        let init = self.bodies[place.body]
            .open()
            .and_then(|b| fmp4::init(&b, place.range.clone()))
            .ok()
            .flatten();
        let form = init.map(|init| {
            let layout = |i: usize| init.parameter_sets(i).layout();
            init.tracks
                .iter()
                .enumerate()
                .map(|(i, t)| (t.timescale, layout(i)))
                .collect()
        });
        self.forms.insert(place.clone(), form);
        self.forms[place].clone()
    }
}

/// Time scale and kind of codec of each track of fragmented MP4.
type Form = Option<Vec<(u32, fmp4::Layout)>>;

/// A track, chosen.
struct Part {
    chosen: Chosen,
    total: Duration,
    covered: Duration,
    missing: Vec<Missing>,
    note: Option<String>,
}

/// Slots of a variant with what fills them.
type Filled<'a> = Vec<(&'a Slot, Result<Pick, &'static str>)>;

fn part(track: &Track, adverts: &[u32], holds: &mut Holds<'_>) -> Part {
    let laid: Vec<Vec<Slot>> = track
        .variants
        .iter()
        .map(|v| lay(v, adverts, holds))
        .collect();
    let filled: Vec<Filled<'_>> = laid
        .iter()
        .map(|slots| slots.iter().map(|s| (s, holds.pick(s))).collect())
        .collect();
    let time = |f: &Filled<'_>| {
        f.iter()
            .filter(|(_, p)| p.is_ok())
            .map(|(s, _)| s.duration)
            .sum::<Duration>()
    };
    let total = laid
        .iter()
        .filter_map(|s| s.last())
        .map(|s| s.start + s.duration)
        .max()
        .unwrap_or_default();
    let start = laid
        .iter()
        .filter_map(|s| s.first())
        .map(|s| s.start)
        .min()
        .unwrap_or_default();
    // One whole variant; else the one with most of it, the better of equals.
    let whole = |f: &Filled<'_>| {
        let from = f.first().map_or(Duration::MAX, |(s, _)| s.start);
        let to = f
            .last()
            .map_or(Duration::ZERO, |(s, _)| s.start + s.duration);
        f.iter().all(|(_, p)| p.is_ok()) && from <= start + OVERLAP && to + OVERLAP >= total
    };
    let best = filled
        .iter()
        .enumerate()
        .max_by_key(|(i, f)| (whole(f), time(f), std::cmp::Reverse(*i)))
        .map_or(0, |(i, _)| i);
    let mut taken: BTreeMap<Duration, (Pick, usize)> = BTreeMap::new();
    for (slot, pick) in filled.get(best).into_iter().flatten() {
        if let Ok(pick) = pick {
            taken.insert(slot.start, (pick.clone(), best));
        }
    }
    if !filled.get(best).is_some_and(whole) {
        let mut others: Vec<usize> = (0..filled.len()).filter(|&i| i != best).collect();
        others.sort_by_key(|&i| std::cmp::Reverse(time(&filled[i])));
        let form = taken
            .values()
            .next()
            .map(|(p, _)| p.clone())
            .and_then(|p| holds.form(&p));
        for i in others {
            for (slot, pick) in &filled[i] {
                let Ok(pick) = pick else { continue };
                if fits(&taken, slot) && (taken.is_empty() || holds.form(pick) == form) {
                    taken.insert(slot.start, (pick.clone(), i));
                }
            }
        }
    }
    let other = taken.values().filter(|(_, v)| *v != best).count();
    let note =
        (other > 0).then(|| format!("{other} of {} segments are of another quality", taken.len()));
    let missing = missing(track.kind, start..total, &taken, &filled);
    let gone: Duration = missing.iter().map(|m| m.time.end - m.time.start).sum();
    Part {
        total: total - start,
        covered: (total - start).saturating_sub(gone),
        missing,
        note,
        chosen: Chosen {
            kind: track.kind,
            language: track.language.clone(),
            picks: taken.into_values().map(|(p, _)| p).collect(),
        },
    }
}

/// The slots of a variant without advertisements, moved together; in the place of a segment that
/// was only loaded in parts, those.
fn lay(variant: &Variant, adverts: &[u32], holds: &mut Holds<'_>) -> Vec<Slot> {
    let mut gone = Duration::ZERO;
    let mut slots = Vec::with_capacity(variant.slots.len());
    for slot in &variant.slots {
        if adverts.contains(&slot.discontinuity) {
            gone += slot.duration;
            continue;
        }
        let mut start = slot.start.saturating_sub(gone);
        if holds.place(&slot.of).is_some()
            || !slot.parts.iter().any(|p| holds.place(&p.of).is_some())
        {
            slots.push(Slot {
                start,
                ..slot.clone()
            });
            continue;
        }
        for part in &slot.parts {
            let (of, duration, init) = (part.of.clone(), part.duration, slot.init.clone());
            let (parts, discontinuity) = (Vec::new(), slot.discontinuity);
            slots.push(Slot {
                of,
                parts,
                init,
                start,
                duration,
                discontinuity,
            });
            start = start.saturating_add(duration);
        }
    }
    slots
}

fn fits(taken: &BTreeMap<Duration, (Pick, usize)>, slot: &Slot) -> bool {
    let before = taken.range(..=slot.start).next_back();
    let after = taken.range(slot.start..).next();
    before.is_none_or(|(at, (p, _))| *at + p.duration <= slot.start + OVERLAP && *at < slot.start)
        && after.is_none_or(|(at, _)| slot.start + slot.duration <= *at + OVERLAP)
}

/// The stretches of `all` that nothing fills.
fn missing(
    kind: TrackKind,
    all: Range<Duration>,
    taken: &BTreeMap<Duration, (Pick, usize)>,
    filled: &[Filled<'_>],
) -> Vec<Missing> {
    let why = |time: &Range<Duration>| {
        let here = filled
            .iter()
            .flatten()
            .filter(|(s, _)| s.start < time.end && s.start + s.duration > time.start);
        // The most telling: bytes that are there but can't be used.
        here.filter_map(|(_, p)| p.as_ref().err().copied())
            .max_by_key(|w| w.len())
            .unwrap_or("never loaded")
    };
    let mut list: Vec<Missing> = Vec::new();
    let mut at = all.start;
    let ends = taken
        .iter()
        .map(|(start, (p, _))| (*start, *start + p.duration))
        .chain([(all.end, all.end)]);
    for (start, end) in ends {
        if start > at + OVERLAP {
            let time = at..start;
            list.push(Missing {
                why: why(&time),
                kind,
                time,
            });
        }
        at = at.max(end);
    }
    list
}
