//! Videos whose playlist was never stored: segments are put in order by the times in them.
//!
//! Segments of one video have addresses that differ only in digits. Their own time stamps order
//! them and show what is missing in between; sound is found by the stretch of time that it covers.
//! The true end is unknown.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    time::Duration,
};

use super::kin;
use crate::{
    container::{adts, fmp4, ts},
    stream::{Assembly, Init, Piece, Ref, Slot, Track, TrackKind, Variant, address},
};

/// The longest time between two segments that is no gap.
const SLACK: Duration = Duration::from_millis(500);
/// Segments this close together are the same one in two qualities.
const SAME: Duration = Duration::from_millis(100);
/// Sound belongs to pictures if its start and its end are less than this apart from theirs.
const PAIR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// The largest share of segments that two qualities may both have after a switch; if they share
/// more time, they are two videos.
const SWITCH: f64 = 0.25;
/// Values of a digit group that may be qualities or videos of their own.
const MAX_SPLIT: usize = 16;
/// Parameters that say how long a segment is.
const LENGTHS: [&str; 8] = [
    "clen", "d", "dur", "duration", "len", "length", "lmt", "size",
];
/// Frames of TS time stamps wrap at 2^33.
const WRAP: u64 = 1 << 33;

/// What a piece itself says about its place. Reads its head and tail, and the headers of fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(Seen);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Transport stream, or packed audio: times in ticks of 1/90000 s.
    Ticks {
        video: bool,
        sound: bool,
        kinds: Vec<u8>,
        start: u64,
        end: u64,
    },
    /// An initialisation segment: id, time scale and handler of each track.
    Init(Vec<(u32, u32, [u8; 4])>),
    /// Fragments: of each track where it starts and how long it lasts, in units of a scale that the
    /// init has.
    Fragments(Vec<(u32, u64, u64)>),
    /// Initialisation and fragments in one, in nanoseconds.
    Whole {
        video: bool,
        sound: bool,
        start: u64,
        end: u64,
    },
}

/// What a piece can be in a video without a playlist; `None` if nothing.
///
/// # Errors
/// What reading returns.
pub fn probe(piece: &Piece) -> io::Result<Option<Probe>> {
    let body = &piece.body;
    if !body.is_whole() || body.is_empty() {
        return Ok(None);
    }
    let range = 0..body.len();
    let open = body.open()?;
    if let Some(head) = ts::head(&open, range.clone())? {
        // A stretch without tables can't be distinguished from any other.
        let Some(program) = head.program else {
            return Ok(None);
        };
        let last = ts::last_time(&open, range)?;
        let seen = head
            .time
            .zip(last)
            .filter(|_| !head.scrambled)
            .map(|(start, last)| Seen::Ticks {
                video: program.has_video(),
                sound: program.streams.iter().any(|s| !s.is_video()),
                kinds: program.streams.iter().map(|s| s.kind).collect(),
                start,
                // The last picture is shown for a moment, which counts.
                end: last + ts::CLOCK / 25,
            });
        return Ok(seen.map(Probe));
    }
    if let Some(head) = adts::head(&open, range.clone())? {
        let end = adts::duration(&open, head.start..range.end)?;
        let seen = head.time.map(|start| Seen::Ticks {
            video: false,
            sound: true,
            kinds: vec![0x0f],
            start,
            end: start + end,
        });
        return Ok(seen.map(Probe));
    }
    let init = fmp4::init(&open, range.clone())?;
    let fragments = fmp4::fragments(&open, range)?;
    let mut times: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for traf in fragments.iter().flat_map(|f| &f.trafs) {
        let Some(time) = traf.time else { continue };
        let told = traf.duration;
        let default = init.as_ref().map_or(0, |i| i.default_duration(traf.track));
        let duration = if told > 0 {
            told
        } else {
            traf.samples.saturating_mul(default)
        };
        let entry = times.entry(traf.track).or_insert((time, time));
        *entry = (
            entry.0.min(time),
            entry.1.max(time.saturating_add(duration)),
        );
    }
    Ok(match init {
        Some(init) if init.protected() => None,
        Some(init) if times.is_empty() => Some(Seen::Init(
            init.tracks
                .iter()
                .map(|t| (t.id, t.timescale, t.handler))
                .collect(),
        )),
        Some(init) => {
            let nanos = |t: &fmp4::Trak, v: u64| {
                (u128::from(v) * 1_000_000_000 / u128::from(t.timescale)) as u64
            };
            let spans = init
                .tracks
                .iter()
                .filter_map(|t| times.get(&t.id).map(|(a, b)| (nanos(t, *a), nanos(t, *b))));
            let span = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            let has = |kind: &[u8; 4]| init.tracks.iter().any(|t| t.handler == *kind);
            let (video, sound) = (has(b"vide"), has(b"soun"));
            span.map(|(start, end)| Seen::Whole {
                video,
                sound,
                start,
                end,
            })
        }
        None if times.is_empty() => None,
        None => Some(Seen::Fragments(
            times
                .into_iter()
                .map(|(id, (a, b))| (id, a, b.saturating_sub(a)))
                .collect(),
        )),
    }
    .map(Probe))
}

/// A segment with its place in time.
#[derive(Clone, Debug)]
struct TimedSegment<'a> {
    url: &'a str,
    init: Init,
    start: Duration,
    end: Duration,
    video: bool,
    sound: bool,
}

impl Probe {
    /// When the piece begins on its own clock; a fragment's clock is in its initialisation segment.
    pub(crate) fn start(&self, init: Option<&Self>) -> Option<Duration> {
        match &self.0 {
            Seen::Ticks { start, .. } => Some(ticks(*start)),
            Seen::Whole { start, .. } => Some(Duration::from_nanos(*start)),
            Seen::Fragments(times) => {
                let Seen::Init(tracks) = &init?.0 else {
                    return None;
                };
                let times = times.iter().map(|(id, start, _)| {
                    let (_, scale, _) = tracks.iter().find(|t| t.0 == *id)?;
                    Some(scaled(u128::from(*start), *scale))
                });
                times.collect::<Option<Vec<_>>>()?.into_iter().min()
            }
            Seen::Init(_) => None,
        }
    }

    /// Whether both have the same streams: segments of one track do.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let ids = |times: &[(u32, u64, u64)]| times.iter().map(|t| t.0).collect::<Vec<_>>();
        match (&self.0, &other.0) {
            (Seen::Ticks { kinds: a, .. }, Seen::Ticks { kinds: b, .. }) => a == b,
            (Seen::Fragments(a), Seen::Fragments(b)) => ids(a) == ids(b),
            (Seen::Init(a), Seen::Init(b)) => a == b,
            (
                Seen::Whole { video, sound, .. },
                Seen::Whole {
                    video: v, sound: s, ..
                },
            ) => video == v && sound == s,
            _ => false,
        }
    }
}

fn ticks(t: u64) -> Duration {
    Duration::from_nanos((u128::from(t) * 1_000_000_000 / u128::from(ts::CLOCK)) as u64)
}

/// Units of a time scale, no more than a century.
fn scaled(t: u128, scale: u32) -> Duration {
    let nanos = u64::try_from(t * 1_000_000_000 / u128::from(scale.max(1)));
    Duration::from_nanos(nanos.unwrap_or(u64::MAX / 4).min(u64::MAX / 4))
}

/// Videos in pieces that no playlist names.
pub fn assemblies(pieces: &[(&Piece, &Probe)]) -> Vec<Assembly> {
    let inits: Vec<InitSegment<'_>> = pieces
        .iter()
        .filter_map(|(p, s)| InitSegment::new(p, s))
        .collect();
    let mut groups: BTreeMap<(String, bool, bool, Vec<u32>), Vec<TimedSegment<'_>>> =
        BTreeMap::new();
    for (piece, probe) in pieces {
        let Some((placed, tracks)) = place(piece, &probe.0, &inits) else {
            continue;
        };
        groups
            .entry((form(&piece.url), placed.video, placed.sound, tracks))
            .or_default()
            .push(placed);
    }
    let mut runs: Vec<Sequence> = groups.into_values().flat_map(runs).collect();
    let sound: Vec<Sequence> = runs.extract_if(.., |r| !r.video).collect();
    let pairs = pairs(&runs, &sound);
    let mut found: Vec<Assembly> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let own = pairs.get(&i).map(|&s| &sound[s]);
        let start = run.start.min(own.map_or(run.start, |s| s.start));
        let audio = own.map(|s| s.track(TrackKind::Audio, start));
        found.push(assembly(
            &run.url,
            [Some(run.track(TrackKind::Video, start)), audio]
                .into_iter()
                .flatten()
                .collect(),
        ));
    }
    let used: HashSet<usize> = pairs.into_values().collect();
    let alone = sound.iter().enumerate().filter(|(i, _)| !used.contains(i));
    found.extend(alone.map(|(_, s)| assembly(&s.url, vec![s.track(TrackKind::Audio, s.start)])));
    found
}

/// Which sound belongs to which pictures: they cover the same time, are named alike, and their
/// addresses fit no others as well.
fn pairs(pictures: &[Sequence], sound: &[Sequence]) -> HashMap<usize, usize> {
    let mut found: HashMap<usize, usize> = HashMap::new();
    for (s, own) in sound.iter().enumerate() {
        let near =
            (0..pictures.len()).filter(|&p| !pictures[p].sound && belongs(own, &pictures[p]));
        // If two are equally near, it can't be known whose sound it is.
        if let Some(p) = only_best(near, |p| common_folder(&pictures[p].url, &own.url)) {
            found.entry(p).or_insert(s);
        }
    }
    found
}

/// The one with most of `key`, if no other has as much.
fn only_best<T: Copy, K: Ord>(all: impl Iterator<Item = T>, key: impl Fn(T) -> K) -> Option<T> {
    let keyed: Vec<(K, T)> = all.map(|one| (key(one), one)).collect();
    let most = keyed.iter().map(|(key, _)| key).max()?;
    let mut best = keyed.iter().filter(|(key, _)| key == most);
    match (best.next(), best.next()) {
        (Some((_, one)), None) => Some(*one),
        _ => None,
    }
}

fn assembly(url: &str, tracks: Vec<Track>) -> Assembly {
    Assembly {
        url: url.into(),
        tracks,
        ended: false,
        protected: None,
        title: None,
    }
}

/// An initialisation segment.
struct InitSegment<'a> {
    url: &'a str,
    tracks: &'a [(u32, u32, [u8; 4])],
}

impl<'a> InitSegment<'a> {
    fn new(piece: &'a Piece, probe: &'a Probe) -> Option<Self> {
        match &probe.0 {
            Seen::Init(tracks) => Some(Self {
                url: &piece.url,
                tracks,
            }),
            _ => None,
        }
    }
}

/// Where a segment belongs, and its tracks.
fn place<'a>(
    piece: &'a Piece,
    seen: &Seen,
    inits: &[InitSegment<'_>],
) -> Option<(TimedSegment<'a>, Vec<u32>)> {
    let placed = |init, start, end, video, sound| TimedSegment {
        url: &piece.url,
        init,
        start,
        end,
        video,
        sound,
    };
    match seen {
        Seen::Ticks {
            video,
            sound,
            kinds,
            start,
            end,
        } => {
            let end = if end < start { end + WRAP } else { *end };
            Some((
                placed(Init::Own, ticks(*start), ticks(end), *video, *sound),
                kinds.iter().map(|k| (*k).into()).collect(),
            ))
        }
        Seen::Whole {
            video,
            sound,
            start,
            end,
        } => Some((
            placed(
                Init::Own,
                Duration::from_nanos(*start),
                Duration::from_nanos(*end),
                *video,
                *sound,
            ),
            Vec::new(),
        )),
        Seen::Init(_) => None,
        Seen::Fragments(times) => {
            let has_all = |i: &&InitSegment<'_>| {
                times
                    .iter()
                    .all(|(id, _, _)| i.tracks.iter().any(|t| t.0 == *id))
            };
            let likeness = |i: &InitSegment<'_>| {
                (
                    common_folder(i.url, &piece.url),
                    same_digits(i.url, &piece.url),
                    common_prefix(i.url, &piece.url),
                )
            };
            // The initialisation segment that is named as this segment's own would be, if no other
            // is as near to that.
            let of_kin = |i: &&InitSegment<'_>| has_all(i) && kin::may_be_one(i.url, &piece.url);
            let init = only_best(inits.iter().filter(of_kin), likeness);
            let ids = times.iter().map(|t| t.0).collect();
            // Without an initialisation segment neither the scale nor the kind of the tracks is
            // known.
            let Some(init) = init else {
                let (_, start, duration) = times[0];
                let time = |t: u64| Duration::from_millis(t / 90);
                return Some((
                    placed(
                        Init::Unknown,
                        time(start),
                        time(start.saturating_add(duration)),
                        true,
                        false,
                    ),
                    ids,
                ));
            };
            let spans = times.iter().filter_map(|(id, start, duration)| {
                let scale = init.tracks.iter().find(|t| t.0 == *id)?.1;
                let end = u128::from(*start) + u128::from(*duration);
                Some((scaled((*start).into(), scale), scaled(end, scale)))
            });
            let (start, end) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
            let has = |kind: &[u8; 4]| init.tracks.iter().any(|t| t.2 == *kind);
            let (video, sound) = (has(b"vide"), has(b"soun"));
            let init = Init::At(Ref::whole(init.url));
            Some((placed(init, start, end, video, sound), ids))
        }
    }
}

/// What the addresses of one video's segments have in common: all but numbers and the values of
/// parameters.
fn form(url: &str) -> String {
    let mut form = address::without_digits(address::without_query(url));
    for (name, _) in address::parameters(url) {
        form.push('&');
        form.push_str(name);
    }
    form
}

/// What differs between the addresses of one form: the numbers in the path, then the values of the
/// parameters.
fn positions(url: &str) -> Vec<&str> {
    let mut values = digits(address::path(url));
    let parameters = address::parameters(url).filter(|(name, _)| !LENGTHS.contains(name));
    values.extend(parameters.map(|(_, value)| value));
    values
}

fn digits(path: &str) -> Vec<&str> {
    path.split(|c: char| !c.is_ascii_digit())
        .filter(|d| !d.is_empty())
        .collect()
}

/// Whether the first digits of both names are the same: `init-2.mp4` and `chunk-2-00017.m4s`.
fn same_digits(a: &str, b: &str) -> bool {
    let first = |url: &'_ str| {
        digits(address::file_name(url))
            .first()
            .map(|d| (*d).to_owned())
    };
    first(a).is_some() && first(a) == first(b)
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

/// How many bytes of folders the two addresses have in common.
fn common_folder(a: &str, b: &str) -> usize {
    a.as_bytes()[..common_prefix(a, b)]
        .iter()
        .rposition(|&c| c == b'/')
        .unwrap_or(0)
}

/// Segments that follow each other, in one or more qualities.
struct Sequence {
    url: String,
    video: bool,
    /// There is sound in the same segments.
    sound: bool,
    start: Duration,
    end: Duration,
    variants: Vec<Vec<Segment>>,
}

/// A segment on its own clock.
struct Segment {
    of: Ref,
    init: Init,
    start: Duration,
    end: Duration,
}

/// Divides a group by the part of the addresses that names a video. Qualities of one video stay
/// together if they are named as such, and if a switch between them is all that they have in
/// common.
fn runs(mut group: Vec<TimedSegment<'_>>) -> Vec<Sequence> {
    unwrap_times(&mut group);
    group.sort_by_key(|p| p.start);
    let mut parts = separate(group.clone());
    parts.sort_by(|a, b| a[0].url.cmp(b[0].url));
    let longest = parts.iter().map(Vec::len).max().unwrap_or(1);
    let shared = clashes(&group);
    let switched = shared > 0 && shared as f64 <= SWITCH * longest as f64;
    if parts.len() > 1 && switched && differ_in_quality(&parts) {
        vec![run(parts)]
    } else {
        parts.into_iter().map(|p| run(vec![p])).collect()
    }
}

/// Whether the folders in which the parts differ are named after qualities.
fn differ_in_quality(parts: &[Vec<TimedSegment<'_>>]) -> bool {
    let folders = |i: usize| {
        let mut all: Vec<&str> = address::path(parts[i][0].url).split('/').collect();
        all.pop();
        all
    };
    let first = folders(0);
    (1..parts.len()).all(|i| {
        let other = folders(i);
        let mut apart = first.iter().zip(&other).filter(|(a, b)| a != b).peekable();
        apart.peek().is_some() && apart.all(|(a, b)| kin::names_quality(a) && kin::names_quality(b))
    })
}

/// Divides a group until no position in its addresses distinguishes two videos in it.
///
/// A position that takes few values, each in several segments, names the video or its quality; one
/// that takes another value in each segment numbers them, or is a token. Where two segments have
/// one time, they are of two videos in any case.
fn separate(group: Vec<TimedSegment<'_>>) -> Vec<Vec<TimedSegment<'_>>> {
    let values: Vec<Vec<&str>> = group.iter().map(|p| positions(p.url)).collect();
    let count = values[0].len();
    let varies = |i: &usize| values.iter().any(|v| v.get(*i) != values[0].get(*i));
    let varying = (0..count).filter(varies).count();
    let shared = clashes(&group);
    let mut best: Option<BTreeMap<&str, Vec<TimedSegment<'_>>>> = None;
    for position in 0..count {
        let mut parts: BTreeMap<&str, Vec<TimedSegment<'_>>> = BTreeMap::new();
        for (placed, values) in group.iter().zip(&values) {
            let value = values.get(position).copied().unwrap_or("");
            parts.entry(value).or_default().push(placed.clone());
        }
        let left: usize = parts.values().map(|p| clashes(p)).sum();
        let names = match shared {
            // With two segments, a number can't be distinguished from a name.
            0 => parts.len() < group.len() || group.len() == 2 && varying > 1,
            _ => left < shared,
        };
        let fewer = best.as_ref().is_none_or(|b| parts.len() < b.len());
        if parts.len() > 1 && parts.len() <= MAX_SPLIT && names && fewer {
            best = Some(parts);
        }
    }
    match best {
        Some(parts) => parts.into_values().flat_map(separate).collect(),
        None => vec![group],
    }
}

/// Segments that begin where another one does. `group` is sorted.
fn clashes(group: &[TimedSegment<'_>]) -> usize {
    group
        .windows(2)
        .filter(|w| w[1].start - w[0].start < SAME)
        .count()
}

/// Moves times that lie behind a wrap of the 33-bit clock behind the others.
fn unwrap_times(group: &mut [TimedSegment<'_>]) {
    let wrap = Duration::from_nanos(WRAP * 100_000 / 9);
    let earliest = group.iter().map(|p| p.start).min().unwrap_or_default();
    let latest = group.iter().map(|p| p.start).max().unwrap_or_default();
    let ticks = group.iter().all(|p| p.init == Init::Own);
    if ticks && latest < wrap && latest - earliest > wrap / 2 {
        for placed in group.iter_mut().filter(|p| p.start < wrap / 2) {
            placed.start += wrap;
            placed.end += wrap;
        }
    }
}

fn run(parts: Vec<Vec<TimedSegment<'_>>>) -> Sequence {
    let all = || parts.iter().flatten();
    let start = all().map(|p| p.start).min().unwrap_or_default();
    let end = all().map(|p| p.end).max().unwrap_or_default();
    let first = all().min_by_key(|p| p.start);
    let (url, video, sound) = first
        .map(|p| (p.url.to_owned(), p.video, p.sound))
        .unwrap_or_default();
    let variants = parts.iter().map(|part| {
        let segment = |p: &TimedSegment<'_>| Segment {
            of: Ref::whole(p.url),
            init: p.init.clone(),
            start: p.start,
            end: p.end,
        };
        part.iter().map(segment).collect()
    });
    Sequence {
        url,
        video,
        sound,
        start,
        end,
        variants: variants.collect(),
    }
}

/// Whether `sound` covers the same time as `pictures`, and is named as their sound would be.
fn belongs(sound: &Sequence, pictures: &Sequence) -> bool {
    kin::may_be_one(&sound.url, &pictures.url)
        && sound.start.abs_diff(pictures.start) < PAIR.0
        && sound.end.abs_diff(pictures.end) < PAIR.1
}

impl Sequence {
    /// A track whose time line begins at `origin`.
    fn track(&self, kind: TrackKind, origin: Duration) -> Track {
        let variants = self.variants.iter().map(|slots| Variant {
            bandwidth: 0,
            height: None,
            slots: lay(slots, origin),
        });
        Track {
            kind,
            language: None,
            variants: variants.collect(),
        }
    }
}

/// Segments as slots, with a slot that nothing fills for each gap.
fn lay(segments: &[Segment], origin: Duration) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::with_capacity(segments.len());
    for (
        i,
        Segment {
            of,
            init,
            start,
            end,
        },
    ) in segments.iter().enumerate()
    {
        let next = segments.get(i + 1).map(|s| s.start);
        if next.is_some_and(|next| next - *start < SAME) {
            continue; // the same one again
        }
        let gap = next.filter(|next| *next > *end + SLACK);
        let end = match (next, gap) {
            (Some(next), None) => next,
            _ => *end,
        };
        let slot = |of, init, start: Duration, end: Duration| Slot {
            of,
            parts: Vec::new(),
            init,
            protected: None,
            start: start.saturating_sub(origin),
            duration: end.saturating_sub(start),
            discontinuity: 0,
        };
        slots.push(slot(Some(of.clone()), init.clone(), *start, end));
        if let Some(next) = gap {
            slots.push(slot(None, Init::Own, end, next));
        }
    }
    slots
}
