//! Videos whose playlist was never stored: segments are put in order by the times in them.
//!
//! Segments of one video have addresses that differ only in digits. Their own time stamps order
//! them and show what is missing in between; sound is found by the stretch of time that it covers.
//! The true end is unknown.

mod probe;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

pub use self::probe::{Probe, probe};
use self::probe::{Seen, scaled, ticks};
use super::kin;
use crate::stream::{Assembly, Init, Piece, Ref, Slot, Track, TrackKind, Variant, address};

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

/// Videos in pieces that no playlist names.
pub fn assemblies(pieces: &[(&Piece, &Probe)]) -> Vec<Assembly> {
    let inits: Vec<InitSegment<'_>> = pieces
        .iter()
        .filter_map(|(p, s)| InitSegment::new(p, s))
        .collect();
    let mut groups: BTreeMap<(String, bool, bool, Vec<u32>), Vec<TimedSegment<'_>>> =
        BTreeMap::new();
    for (piece, probe) in pieces {
        let Some((placed, tracks)) = place(piece, probe.seen(), &inits) else {
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
        match probe.seen() {
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
    let placed = |start, end, video, sound| TimedSegment {
        url: &piece.url,
        init: Init::Own,
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
                placed(ticks(*start), ticks(end), *video, *sound),
                kinds.iter().map(|k| (*k).into()).collect(),
            ))
        }
        Seen::Whole {
            video,
            sound,
            start,
            end,
        } => {
            let nanos = Duration::from_nanos;
            Some((
                placed(nanos(*start), nanos(*end), *video, *sound),
                Vec::new(),
            ))
        }
        Seen::Init(_) => None,
        Seen::Fragments(times) => {
            let ids = times.iter().map(|t| t.0).collect();
            Some((place_fragments(piece, times, inits)?, ids))
        }
    }
}

/// Places fragments by the initialisation segment that is named as their own would be, if no other
/// is as near to that. `times` are those of each track: id, start, and length.
fn place_fragments<'a>(
    piece: &'a Piece,
    times: &[(u32, u64, u64)],
    inits: &[InitSegment<'_>],
) -> Option<TimedSegment<'a>> {
    let has_all = |i: &InitSegment<'_>| {
        let has = |id| i.tracks.iter().any(|t| t.0 == id);
        times.iter().all(|&(id, _, _)| has(id))
    };
    let of_kin = |i: &&InitSegment<'_>| has_all(i) && kin::may_be_one(i.url, &piece.url);
    let likeness = |i: &InitSegment<'_>| {
        (
            common_folder(i.url, &piece.url),
            same_digits(i.url, &piece.url),
            common_prefix(i.url, &piece.url),
        )
    };
    // Without an initialisation segment neither the scale nor the kind of the tracks is known.
    let Some(init) = only_best(inits.iter().filter(of_kin), likeness) else {
        let (_, start, duration) = times[0];
        let time = |t: u64| Duration::from_millis(t / 90);
        return Some(TimedSegment {
            url: &piece.url,
            init: Init::Unknown,
            start: time(start),
            end: time(start.saturating_add(duration)),
            video: true,
            sound: false,
        });
    };
    let spans = times.iter().filter_map(|(id, start, duration)| {
        let scale = init.tracks.iter().find(|t| t.0 == *id)?.1;
        let end = u128::from(*start) + u128::from(*duration);
        Some((scaled((*start).into(), scale), scaled(end, scale)))
    });
    let (start, end) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let has = |kind: &[u8; 4]| init.tracks.iter().any(|t| t.2 == *kind);
    Some(TimedSegment {
        url: &piece.url,
        init: Init::At(Ref::whole(init.url)),
        start,
        end,
        video: has(b"vide"),
        sound: has(b"soun"),
    })
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
