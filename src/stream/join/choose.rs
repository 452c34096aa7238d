//! Which piece fills which slot: one variant where that is enough, the best of each slot otherwise;
//! and what is missing.
//!
//! Variants of fragmented MP4 are mixed like all others: each fragment brings its parameter sets
//! along (see `join`), which ffmpeg, Chromium and Firefox play through a change of size.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    ops::Range,
    time::Duration,
};

use crate::{
    container::{fmp4, ts},
    stream::{Assembly, Body, Init, Piece, Pieces, Ref, Slot, Track, TrackKind, Variant, address},
};

/// The longest stretch that may be an advertisement, or a block of them.
const BLOCK: Duration = Duration::from_secs(180);
/// Words for advertisements in addresses.
const ADVERT_WORDS: [&str; 12] = [
    "ad",
    "ads",
    "adv",
    "advert",
    "advertisement",
    "advertisements",
    "advertising",
    "adverts",
    "commercial",
    "midroll",
    "preroll",
    "slate",
];

/// Segments of two variants that overlap by less fill slots next to each other.
const OVERLAP: Duration = Duration::from_millis(120);

/// Why a fragment can't be used without its `moov`.
pub(crate) const NO_INIT: &str = "without its initialisation segment";

/// What a video is put together from.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Pictures first.
    pub(crate) tracks: Vec<ChosenTrack>,
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
pub(crate) struct ChosenTrack {
    pub(crate) kind: TrackKind,
    pub(crate) language: Option<String>,
    pub(crate) slots: Vec<FilledSlot>,
}

/// A filled slot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilledSlot {
    pub(crate) of: BodyRange,
    pub(crate) init: Option<BodyRange>,
    pub(crate) start: Duration,
    pub(crate) duration: Duration,
    pub(crate) discontinuity: u32,
}

impl FilledSlot {
    /// Where its tracks are declared: in its initialisation segment, or in its own bytes.
    pub(crate) fn head(&self) -> &BodyRange {
        self.init.as_ref().unwrap_or(&self.of)
    }
}

/// Bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BodyRange {
    /// Index into [`Choice::bodies`].
    pub(crate) body: usize,
    pub(crate) range: Range<u64>,
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
        // Of several languages, what was listened to; the first of equals.
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
    // What was left out on a guess may have been part of the video.
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

/// What lies between two discontinuities.
#[derive(Debug)]
struct Stretch {
    number: u32,
    time: Range<Duration>,
    /// Addresses of its segments with their digits replaced, without hosts.
    patterns: HashSet<String>,
    folders: HashSet<String>,
    /// Picture heights of the variants that have it.
    heights: HashSet<Option<u32>>,
    /// All of it is encrypted.
    encrypted: bool,
    /// A part of its address says that it is an advertisement.
    named_advert: bool,
}

/// A stretch that is left out.
#[derive(Clone, Debug)]
struct Advert {
    number: u32,
    time: Range<Duration>,
    /// More than its address and its length says that it isn't part of the video.
    certain: bool,
}

impl Stretch {
    fn duration(&self) -> Duration {
        self.time.end.saturating_sub(self.time.start)
    }

    fn advert(&self, certain: bool) -> Advert {
        Advert {
            number: self.number,
            time: self.time.clone(),
            certain,
        }
    }

    /// Whether both are of one video: their segments are named alike, or lie together, and their
    /// pictures have a size in common.
    fn is_kin(&self, other: &Self) -> bool {
        let alike = !self.patterns.is_disjoint(&other.patterns)
            || !self.folders.is_disjoint(&other.folders);
        // One that was encrypted as a whole beside a clear one lies in the same folder only if it
        // is the same video.
        alike
            && !self.heights.is_disjoint(&other.heights)
            && self.named_advert == other.named_advert
    }
}

/// The stretches of the pictures, or of the sound where there are none, in order of time.
fn stretches(assembly: &Assembly) -> Vec<Stretch> {
    let track = assembly
        .tracks
        .iter()
        .find(|t| t.kind == TrackKind::Video)
        .or(assembly.tracks.first());
    let mut found: BTreeMap<u32, Stretch> = BTreeMap::new();
    for variant in track.iter().flat_map(|t| &t.variants) {
        for slot in &variant.slots {
            let end = slot.start.saturating_add(slot.duration);
            let stretch = found.entry(slot.discontinuity).or_insert_with(|| Stretch {
                number: slot.discontinuity,
                time: slot.start..end,
                patterns: HashSet::new(),
                folders: HashSet::new(),
                heights: HashSet::new(),
                encrypted: true,
                named_advert: false,
            });
            stretch.time = stretch.time.start.min(slot.start)..stretch.time.end.max(end);
            stretch.heights.insert(variant.height);
            stretch.encrypted &= slot.protected.is_some();
            if let Some(of) = &slot.of {
                stretch
                    .patterns
                    .insert(address::without_digits(address::path(&of.url)));
                stretch.folders.insert(folder(&of.url).to_owned());
                stretch.named_advert |= names_advert(&of.url);
            }
        }
    }
    found.into_values().collect()
}

/// Short beside all of the video, and no longer than a block of advertisements.
fn is_short(time: Duration, all: &[Stretch]) -> bool {
    let total: Duration = all.iter().map(Stretch::duration).sum();
    time <= BLOCK && time * 3 <= total
}

/// Stretches that are not the video: they belong to no stretch of the longest family by name, place
/// or size, and are short beside it.
fn adverts(stretches: &[Stretch]) -> Vec<Advert> {
    // Families: each stretch joins the first that has one of its kin.
    let mut families: Vec<Vec<&Stretch>> = Vec::new();
    for stretch in stretches {
        let (mut kin, others): (Vec<_>, Vec<_>) = families
            .into_iter()
            .partition(|family| family.iter().any(|s| s.is_kin(stretch)));
        let mut own: Vec<&Stretch> = kin.drain(..).flatten().collect();
        own.push(stretch);
        families = others;
        families.push(own);
    }
    let time = |family: &Vec<&Stretch>| family.iter().map(|s| s.duration()).sum::<Duration>();
    let Some(main) = (0..families.len()).max_by_key(|&i| time(&families[i])) else {
        return Vec::new();
    };
    let main = families.swap_remove(main);
    let most = time(&main);
    let clear = main.iter().any(|s| !s.encrypted);
    let mut adverts: Vec<Advert> = Vec::new();
    for family in families {
        // A gap of the stream itself has no address.
        let placed = family.iter().all(|s| !s.patterns.is_empty());
        let brief = family.iter().all(|s| s.duration() <= BLOCK) && time(&family) * 2 <= most;
        if placed && brief {
            let certain = |s: &Stretch| {
                s.named_advert
                    || s.encrypted && clear
                    || main.iter().all(|m| m.heights.is_disjoint(&s.heights))
            };
            adverts.extend(family.iter().map(|s| s.advert(certain(s))));
        }
    }
    adverts.sort_by_key(|a| a.number);
    adverts
}

/// Stretches whose pieces can't share a file with those of the stretch that has most of the time.
fn foreign<'s>(
    assembly: &Assembly,
    stretches: &'s [Stretch],
    adverts: &[Advert],
    table: &mut BodyTable<'_>,
) -> Vec<&'s Stretch> {
    let rest: Vec<&Stretch> = stretches
        .iter()
        .filter(|s| adverts.iter().all(|a| a.number != s.number))
        .collect();
    if rest.len() < 2 {
        return Vec::new();
    }
    let mut other: HashSet<u32> = HashSet::new();
    for track in assembly
        .tracks
        .iter()
        .filter(|t| t.kind != TrackKind::Subtitles)
    {
        // The first piece of a stretch that is there says what all of it is.
        let mut forms: Vec<(&Stretch, Form)> = Vec::new();
        for &stretch in &rest {
            let slots = track.variants.iter().flat_map(|v| &v.slots);
            let mut own = slots.filter(|s| s.discontinuity == stretch.number);
            let form = own.find_map(|slot| table.fill(slot).ok().and_then(|f| table.form(&f)));
            forms.extend(form.map(|form| (stretch, form)));
        }
        let time = |form: &Form| {
            let same = forms.iter().filter(|(_, f)| f == form);
            same.map(|(s, _)| s.duration()).sum::<Duration>()
        };
        if let Some(main) = forms.iter().map(|(_, f)| f).max_by_key(|f| time(f)) {
            let unlike = forms.iter().filter(|(_, form)| form != main);
            other.extend(unlike.map(|(stretch, _)| stretch.number));
        }
    }
    rest.into_iter()
        .filter(|s| other.contains(&s.number))
        .collect()
}

/// Moves together what lies before and behind a stretch of time that no track has: what is saved
/// has no hole in its time.
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
    // What follows a gap is a stretch of its own: its time stamps are moved.
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

fn folder(url: &str) -> &str {
    let path = address::without_query(url);
    path.rfind('/').map_or(path, |i| &path[..i])
}

/// Whether a part of the host or of the path is a word for advertisements.
fn names_advert(url: &str) -> bool {
    let words = address::without_query(url).split(|c: char| !c.is_ascii_alphabetic());
    let words = words.map(str::to_ascii_lowercase);
    words.into_iter().any(|word| ADVERT_WORDS.contains(&&*word))
}

/// Pieces that were asked for, each body once.
struct BodyTable<'a> {
    pieces: &'a dyn Pieces,
    bodies: Vec<Body>,
    known: HashMap<*const Piece, usize>,
    /// Those that stand in an address itself.
    inline: HashMap<String, Option<usize>>,
    /// What pieces have in common with those that can share a file with them.
    forms: HashMap<BodyRange, Option<Form>>,
}

impl<'a> BodyTable<'a> {
    fn new(pieces: &'a dyn Pieces) -> Self {
        Self {
            pieces,
            bodies: Vec::new(),
            known: HashMap::new(),
            inline: HashMap::new(),
            forms: HashMap::new(),
        }
    }

    fn place(&mut self, of: &Ref) -> Option<BodyRange> {
        if of.url.starts_with("data:") {
            return self.inline(of);
        }
        let piece = self.pieces.get(of)?;
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
        Some(BodyRange { body, range })
    }

    /// Bytes that stand in the playlist.
    fn inline(&mut self, of: &Ref) -> Option<BodyRange> {
        if !self.inline.contains_key(&of.url) {
            let body = address::inline(&of.url).map(|bytes| {
                self.bodies.push(Body::bytes(bytes));
                self.bodies.len() - 1
            });
            self.inline.insert(of.url.clone(), body);
        }
        let body = self.inline[&of.url]?;
        let all = 0..self.bodies[body].len();
        let range = of.range.clone().unwrap_or(all.clone());
        (range.start < range.end && range.end <= all.end).then_some(BodyRange { body, range })
    }

    fn fill(&mut self, slot: &Slot) -> Result<FilledSlot, &'static str> {
        if slot.protected.is_some() {
            return Err("encrypted");
        }
        let init = match &slot.init {
            Init::Own => None,
            Init::At(init) => Some(self.place(init).ok_or(NO_INIT)?),
            Init::Unknown => return Err(NO_INIT),
        };
        let of = slot.of.as_ref().ok_or("not in the stream")?;
        let of = self.place(of).ok_or("never loaded")?;
        let (start, duration, discontinuity) = (slot.start, slot.duration, slot.discontinuity);
        Ok(FilledSlot {
            of,
            init,
            start,
            duration,
            discontinuity,
        })
    }

    /// What `slot` must have in common with others to share a file with them; `None` where that
    /// can't be said.
    fn form(&mut self, slot: &FilledSlot) -> Option<Form> {
        let place = slot.head();
        if let Some(known) = self.forms.get(place) {
            return known.clone();
        }
        let form = Form::read(&self.bodies[place.body], place.range.clone()).unwrap_or_default();
        self.forms.insert(place.clone(), form.clone());
        form
    }
}

/// What pieces of one file must have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Of each track its kind, its codec, and for sound how it is sampled.
    Mp4(Vec<([u8; 4], fmp4::Layout, Option<u32>)>),
    /// The kinds of the streams.
    Ts(Vec<u8>),
}

impl Form {
    fn read(body: &Body, range: Range<u64>) -> io::Result<Option<Self>> {
        let open = body.open()?;
        if let Some(head) = ts::head(&open, range.clone())? {
            let program = head.program;
            return Ok(program.map(|p| Self::Ts(p.streams.iter().map(|s| s.kind).collect())));
        }
        let init = fmp4::init(&open, range)?;
        Ok(init.map(|init| {
            let track = |(i, t): (usize, &fmp4::Trak)| {
                let sampled = (&t.handler == b"soun").then_some(t.timescale);
                (t.handler, init.parameter_sets(i).layout(), sampled)
            };
            Self::Mp4(init.tracks.iter().enumerate().map(track).collect())
        }))
    }
}

/// A track, chosen.
struct FilledTrack {
    chosen: ChosenTrack,
    total: Duration,
    covered: Duration,
    missing: Vec<Missing>,
    note: Option<String>,
}

/// Slots of a variant with what fills them.
type Filled<'a> = Vec<(&'a Slot, Result<FilledSlot, &'static str>)>;

/// Fills the slots of one track.
///
/// One whole variant is best; else the variant with most of the time, with its holes filled from
/// the others. `unusable` stretches can't share a file with the rest.
fn fill(
    track: &Track,
    adverts: &[Advert],
    unusable: &[u32],
    table: &mut BodyTable<'_>,
) -> FilledTrack {
    // The slots of each variant on the time line without advertisements, and what fills each.
    let laid: Vec<Vec<Slot>> = track
        .variants
        .iter()
        .map(|v| lay(v, adverts, table))
        .collect();
    let filled: Vec<Filled<'_>> = laid
        .iter()
        .map(|slots| {
            let filled = slots
                .iter()
                .map(|s| match unusable.contains(&s.discontinuity) {
                    true => (s, Err("in codecs that can't share a file with the rest")),
                    false => (s, table.fill(s)),
                });
            filled.collect()
        })
        .collect();
    // How much of the time a variant fills, and where the track begins and ends.
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
    // What the best variant has, by its start.
    let mut taken: BTreeMap<Duration, (FilledSlot, usize)> = BTreeMap::new();
    for (slot, pick) in filled.get(best).into_iter().flatten() {
        if let Ok(pick) = pick {
            taken.insert(slot.start, (pick.clone(), best));
        }
    }
    // The others fill its holes, if their bytes can stand in the same file.
    if !filled.get(best).is_some_and(whole) {
        let mut others: Vec<usize> = (0..filled.len()).filter(|&i| i != best).collect();
        others.sort_by_key(|&i| std::cmp::Reverse(time(&filled[i])));
        let form = taken
            .values()
            .next()
            .map(|(p, _)| p.clone())
            .and_then(|p| table.form(&p));
        for i in others {
            for (slot, pick) in &filled[i] {
                let Ok(pick) = pick else { continue };
                if fits(&taken, slot) && (taken.is_empty() || table.form(pick) == form) {
                    taken.insert(slot.start, (pick.clone(), i));
                }
            }
        }
    }
    // What was taken from elsewhere is said, and what is left is missing.
    let other = taken.values().filter(|(_, v)| *v != best).count();
    let note =
        (other > 0).then(|| format!("{other} of {} segments are of another quality", taken.len()));
    let missing = missing(track.kind, start..total, &taken, &filled);
    let gone: Duration = missing.iter().map(|m| m.time.end - m.time.start).sum();
    FilledTrack {
        total: total - start,
        covered: (total - start).saturating_sub(gone),
        missing,
        note,
        chosen: ChosenTrack {
            kind: track.kind,
            language: track.language.clone(),
            slots: taken.into_values().map(|(p, _)| p).collect(),
        },
    }
}

/// The slots of a variant without advertisements, moved together; in the place of a segment that
/// was only loaded in parts, those.
fn lay(variant: &Variant, adverts: &[Advert], table: &mut BodyTable<'_>) -> Vec<Slot> {
    // Tracks of one video lose the same stretches of time, whether or not they have slots there.
    let gone = |start: Duration| -> Duration {
        let before = adverts.iter().filter(|a| a.time.start <= start);
        before.map(|a| a.time.end.min(start) - a.time.start).sum()
    };
    let mut slots = Vec::with_capacity(variant.slots.len());
    for slot in &variant.slots {
        if adverts.iter().any(|a| a.number == slot.discontinuity) {
            continue;
        }
        let mut start = slot.start.saturating_sub(gone(slot.start));
        if slot.of.as_ref().is_some_and(|of| table.place(of).is_some())
            || !slot
                .parts
                .iter()
                .any(|p| p.of.as_ref().is_some_and(|of| table.place(of).is_some()))
        {
            slots.push(Slot {
                start,
                ..slot.clone()
            });
            continue;
        }
        for part in &slot.parts {
            let (of, duration, init) = (part.of.clone(), part.duration, slot.init.clone());
            slots.push(Slot {
                of,
                parts: Vec::new(),
                init,
                start,
                duration,
                ..slot.clone()
            });
            start = start.saturating_add(duration);
        }
    }
    slots
}

fn fits(taken: &BTreeMap<Duration, (FilledSlot, usize)>, slot: &Slot) -> bool {
    let before = taken.range(..=slot.start).next_back();
    let after = taken.range(slot.start..).next();
    before.is_none_or(|(at, (p, _))| *at + p.duration <= slot.start + OVERLAP && *at < slot.start)
        && after.is_none_or(|(at, _)| slot.start + slot.duration <= *at + OVERLAP)
}

/// The stretches of `all` that nothing fills.
fn missing(
    kind: TrackKind,
    all: Range<Duration>,
    taken: &BTreeMap<Duration, (FilledSlot, usize)>,
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
