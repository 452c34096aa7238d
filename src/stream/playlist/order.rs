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

use super::address;
use crate::{
    container::{adts, fmp4, ts},
    stream::{Assembly, Piece, Ref, Slot, Track, TrackKind, Variant},
};

/// Time between two segments that is no gap.
const SLACK: Duration = Duration::from_millis(500);
/// Segments this close together are the same one in two qualities.
const SAME: Duration = Duration::from_millis(100);
/// Sound that starts and ends within so much of the pictures belongs to them.
const PAIR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// Of the segments of two qualities, the share that both have after a switch; more are two videos.
const SWITCH: f64 = 0.25;
/// Values of a digit group that may be qualities or videos of their own.
const MAX_SPLIT: usize = 16;
/// Frames of TS time stamps wrap at 2^33.
const WRAP: u64 = 1 << 33;

/// What a piece tells about its place. Reads its head and tail, and the headers of fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(Seen);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Transport stream, or packed audio: times in ticks of 1/90000 s.
    Ticks {
        video: bool,
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
    Whole { video: bool, start: u64, end: u64 },
}

/// What a piece is to a video without a playlist; `None` if nothing.
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
        // A stretch without tables can't be told from any other.
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
                kinds: program.streams.iter().map(|s| s.kind).collect(),
                start,
                // The last picture is shown for a moment, too.
                end: last + ts::CLOCK / 25,
            });
        return Ok(seen.map(Probe));
    }
    if let Some(head) = adts::head(&open, range.clone())? {
        let end = adts::duration(&open, head.start..range.end)?;
        let seen = head.time.map(|start| Seen::Ticks {
            video: false,
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
            let video = init.tracks.iter().any(|t| &t.handler == b"vide");
            span.map(|(start, end)| Seen::Whole { video, start, end })
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
struct Placed<'a> {
    url: &'a str,
    init: Option<Ref>,
    start: Duration,
    end: Duration,
    video: bool,
}

/// Videos in pieces that no playlist names.
pub fn assemblies(pieces: &[(&Piece, &Probe)]) -> Vec<Assembly> {
    let inits: Vec<Init<'_>> = pieces.iter().filter_map(|(p, s)| Init::new(p, s)).collect();
    let mut groups: BTreeMap<(String, bool, Vec<u32>), Vec<Placed<'_>>> = BTreeMap::new();
    for (piece, probe) in pieces {
        let Some((placed, tracks)) = place(piece, &probe.0, &inits) else {
            continue;
        };
        groups
            .entry((pattern(&piece.url), placed.video, tracks))
            .or_default()
            .push(placed);
    }
    let mut runs: Vec<Run> = groups.into_values().flat_map(runs).collect();
    let sound: Vec<Run> = runs.extract_if(.., |r| !r.video).collect();
    let mut used = HashSet::new();
    let mut found: Vec<Assembly> = Vec::new();
    for run in runs {
        let fitting = sound
            .iter()
            .enumerate()
            .filter(|(i, s)| !used.contains(i) && belongs(s, &run));
        let best = fitting.max_by_key(|(_, s)| common_prefix(&s.url, &run.url));
        used.extend(best.map(|(i, _)| i));
        let start = run.start.min(best.map_or(run.start, |(_, s)| s.start));
        let audio = best.map(|(_, s)| s.track(TrackKind::Audio, start));
        found.push(assembly(
            &run.url,
            [Some(run.track(TrackKind::Video, start)), audio]
                .into_iter()
                .flatten()
                .collect(),
        ));
    }
    let alone = sound.iter().enumerate().filter(|(i, _)| !used.contains(i));
    found.extend(alone.map(|(_, s)| assembly(&s.url, vec![s.track(TrackKind::Audio, s.start)])));
    found
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
struct Init<'a> {
    url: &'a str,
    tracks: &'a [(u32, u32, [u8; 4])],
}

impl<'a> Init<'a> {
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
fn place<'a>(piece: &'a Piece, seen: &Seen, inits: &[Init<'_>]) -> Option<(Placed<'a>, Vec<u32>)> {
    let placed = |init, start, end, video| Placed {
        url: &piece.url,
        init,
        start,
        end,
        video,
    };
    match seen {
        Seen::Ticks {
            video,
            kinds,
            start,
            end,
        } => {
            let time = |t: u64| {
                Duration::from_nanos((u128::from(t) * 1_000_000_000 / u128::from(ts::CLOCK)) as u64)
            };
            let end = if end < start { end + WRAP } else { *end };
            Some((
                placed(None, time(*start), time(end), *video),
                kinds.iter().map(|k| (*k).into()).collect(),
            ))
        }
        Seen::Whole { video, start, end } => Some((
            placed(
                None,
                Duration::from_nanos(*start),
                Duration::from_nanos(*end),
                *video,
            ),
            Vec::new(),
        )),
        Seen::Init(_) => None,
        Seen::Fragments(times) => {
            let has_all = |i: &&Init<'_>| {
                times
                    .iter()
                    .all(|(id, _, _)| i.tracks.iter().any(|t| t.0 == *id))
            };
            let likeness = |i: &&Init<'_>| {
                (
                    common_folder(i.url, &piece.url),
                    same_digits(i.url, &piece.url),
                    common_prefix(i.url, &piece.url),
                )
            };
            let init = inits.iter().filter(has_all).max_by_key(likeness);
            let ids = times.iter().map(|t| t.0).collect();
            // Without it neither the scale nor the kind of its tracks is known.
            let Some(init) = init else {
                let (_, start, duration) = times[0];
                let time = |t: u64| Duration::from_millis(t / 90);
                return Some((
                    placed(
                        Some(Ref::whole("")),
                        time(start),
                        time(start.saturating_add(duration)),
                        true,
                    ),
                    ids,
                ));
            };
            let spans = times.iter().filter_map(|(id, start, duration)| {
                let scale = u128::from(init.tracks.iter().find(|t| t.0 == *id)?.1);
                let time = |t: u128| {
                    Duration::from_nanos(
                        u64::try_from(t * 1_000_000_000 / scale)
                            .unwrap_or(u64::MAX / 4)
                            .min(u64::MAX / 4),
                    )
                };
                Some((
                    time((*start).into()),
                    time(u128::from(*start) + u128::from(*duration)),
                ))
            });
            let (start, end) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
            let video = init.tracks.iter().any(|t| &t.2 == b"vide");
            Some((placed(Some(Ref::whole(init.url)), start, end, video), ids))
        }
    }
}

/// An address with each group of digits replaced, without its query.
fn pattern(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for c in address::without_query(url).chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

fn digits(url: &str) -> Vec<&str> {
    address::without_query(url)
        .split(|c: char| !c.is_ascii_digit())
        .filter(|d| !d.is_empty())
        .collect()
}

/// Whether the first digits of both names are the same: `init-2.mp4` and `chunk-2-00017.m4s`.
fn same_digits(a: &str, b: &str) -> bool {
    let first = |url: &'_ str| {
        let path = address::without_query(url);
        digits(&path[path.rfind('/').map_or(0, |i| i + 1)..])
            .first()
            .map(|d| (*d).to_owned())
    };
    first(a).is_some() && first(a) == first(b)
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count()
}

/// Length of the folders that both are in.
fn common_folder(a: &str, b: &str) -> usize {
    a.as_bytes()[..common_prefix(a, b)]
        .iter()
        .rposition(|&c| c == b'/')
        .unwrap_or(0)
}

/// Segments that follow each other, in one or more qualities.
struct Run {
    url: String,
    video: bool,
    start: Duration,
    end: Duration,
    variants: Vec<Vec<Segment>>,
}

/// A segment on its own clock.
struct Segment {
    of: Ref,
    init: Option<Ref>,
    start: Duration,
    end: Duration,
}

/// Parts a group whose segments share times, by the digits that make the difference: qualities of
/// one video, if they hardly overlap; otherwise videos.
fn runs(mut group: Vec<Placed<'_>>) -> Vec<Run> {
    unwrap_times(&mut group);
    group.sort_by_key(|p| p.start);
    if clashes(&group) == 0 {
        return vec![run(vec![group])];
    }
    let Some(parts) = split(&group) else {
        return vec![run(vec![group])];
    };
    let longest = parts.iter().map(Vec::len).max().unwrap_or(1);
    let switched = clashes(&group) as f64 <= SWITCH * longest as f64;
    if switched {
        vec![run(parts)]
    } else {
        parts.into_iter().map(|p| run(vec![p])).collect()
    }
}

/// Segments that begin where another one does. `group` is sorted.
fn clashes(group: &[Placed<'_>]) -> usize {
    group
        .windows(2)
        .filter(|w| w[1].start - w[0].start < SAME)
        .count()
}

fn split<'a>(group: &[Placed<'a>]) -> Option<Vec<Vec<Placed<'a>>>> {
    let positions = digits(group[0].url).len();
    let mut best: Option<HashMap<&str, Vec<Placed<'a>>>> = None;
    for position in 0..positions {
        let mut parts: HashMap<&str, Vec<Placed<'a>>> = HashMap::new();
        for placed in group {
            parts
                .entry(digits(placed.url).get(position).copied().unwrap_or(""))
                .or_default()
                .push(placed.clone());
        }
        let free = parts.len() <= MAX_SPLIT && parts.values().all(|p| clashes(p) == 0);
        if free && best.as_ref().is_none_or(|b| parts.len() < b.len()) {
            best = Some(parts);
        }
    }
    let mut parts: Vec<_> = best?.into_values().collect();
    parts.sort_by(|a, b| a[0].url.cmp(b[0].url));
    Some(parts)
}

/// Times that went over the end of a 33-bit clock come after it.
fn unwrap_times(group: &mut [Placed<'_>]) {
    let wrap = Duration::from_nanos(WRAP * 100_000 / 9);
    let earliest = group.iter().map(|p| p.start).min().unwrap_or_default();
    let latest = group.iter().map(|p| p.start).max().unwrap_or_default();
    let ticks = group.iter().all(|p| p.init.is_none());
    if ticks && latest < wrap && latest - earliest > wrap / 2 {
        for placed in group.iter_mut().filter(|p| p.start < wrap / 2) {
            placed.start += wrap;
            placed.end += wrap;
        }
    }
}

fn run(parts: Vec<Vec<Placed<'_>>>) -> Run {
    let all = || parts.iter().flatten();
    let start = all().map(|p| p.start).min().unwrap_or_default();
    let end = all().map(|p| p.end).max().unwrap_or_default();
    let first = all().min_by_key(|p| p.start);
    let (url, video) = first
        .map(|p| (p.url.to_owned(), p.video))
        .unwrap_or_default();
    let variants = parts.iter().map(|part| {
        let segment = |p: &Placed<'_>| Segment {
            of: Ref::whole(p.url),
            init: p.init.clone(),
            start: p.start,
            end: p.end,
        };
        part.iter().map(segment).collect()
    });
    Run {
        url,
        video,
        start,
        end,
        variants: variants.collect(),
    }
}

/// Whether `sound` covers the same stretch of time as `pictures`, from the same server.
fn belongs(sound: &Run, pictures: &Run) -> bool {
    address::origin(&sound.url) == address::origin(&pictures.url)
        && sound.start.abs_diff(pictures.start) < PAIR.0
        && sound.end.abs_diff(pictures.end) < PAIR.1
}

impl Run {
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
            start: start.saturating_sub(origin),
            duration: end.saturating_sub(start),
            discontinuity: 0,
        };
        slots.push(slot(of.clone(), init.clone(), *start, end));
        if let Some(next) = gap {
            slots.push(slot(Ref::whole(""), None, end, next));
        }
    }
    slots
}
