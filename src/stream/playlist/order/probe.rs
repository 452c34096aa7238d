//! What a piece itself says about its place in a video: its tracks, and when it starts and ends.

use std::{collections::BTreeMap, io, time::Duration};

use crate::{
    container::{
        adts,
        fmp4::{self, Fragment, Init},
        ts,
    },
    stream::Piece,
};

/// What a piece itself says about its place. Reads its head and tail, and the headers of fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe(Seen);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
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
    let seen = if let Some(head) = ts::head(&open, range.clone())? {
        let last = ts::last_time(&open, range)?;
        transport(&head, last)
    } else if let Some(head) = adts::head(&open, range.clone())? {
        let length = adts::duration(&open, head.start..range.end)?;
        head.time.map(|start| Seen::Ticks {
            video: false,
            sound: true,
            kinds: vec![0x0f],
            start,
            end: start + length,
        })
    } else {
        let init = fmp4::init(&open, range.clone())?;
        fragmented(init, &fmp4::fragments(&open, range)?)
    };
    Ok(seen.map(Probe))
}

/// A stretch of a transport stream, whose last time stamp is `last`. One without tables can't be
/// distinguished from any other.
fn transport(head: &ts::SegmentHead, last: Option<u64>) -> Option<Seen> {
    let program = head.program.as_ref().filter(|_| !head.scrambled)?;
    Some(Seen::Ticks {
        video: program.has_video(),
        sound: program.streams.iter().any(|s| !s.is_video()),
        kinds: program.streams.iter().map(|s| s.kind).collect(),
        start: head.time?,
        // The last picture is shown for a moment, which counts.
        end: last? + ts::CLOCK / 25,
    })
}

/// An initialisation segment, fragments, or both.
fn fragmented(init: Option<Init>, fragments: &[Fragment]) -> Option<Seen> {
    // Of each track when the first fragment starts and the last one ends, in units of its scale.
    let mut times: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for traf in fragments.iter().flat_map(|f| &f.trafs) {
        let Some(time) = traf.time else { continue };
        let default = init.as_ref().map_or(0, |i| i.default_duration(traf.track));
        let duration = match traf.duration {
            0 => traf.samples.saturating_mul(default),
            stated => stated,
        };
        let (start, end) = times.entry(traf.track).or_insert((time, time));
        (*start, *end) = (time.min(*start), time.saturating_add(duration).max(*end));
    }
    match init {
        Some(init) if init.protected() => None,
        Some(init) if times.is_empty() => {
            let tracks = init.tracks.iter();
            let tracks = tracks.map(|t| (t.id, t.timescale, t.handler));
            Some(Seen::Init(tracks.collect()))
        }
        Some(init) => whole(&init, &times),
        None if times.is_empty() => None,
        None => {
            let times = times.into_iter();
            let times = times.map(|(id, (start, end))| (id, start, end.saturating_sub(start)));
            Some(Seen::Fragments(times.collect()))
        }
    }
}

/// An initialisation segment and fragments in one, and the times of each track.
fn whole(init: &Init, times: &BTreeMap<u32, (u64, u64)>) -> Option<Seen> {
    let spans = init.tracks.iter().filter_map(|track| {
        let nanos = |t: u64| (u128::from(t) * 1_000_000_000 / u128::from(track.timescale)) as u64;
        let (start, end) = times.get(&track.id)?;
        Some((nanos(*start), nanos(*end)))
    });
    let (start, end) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let has = |kind: &[u8; 4]| init.tracks.iter().any(|t| t.handler == *kind);
    Some(Seen::Whole {
        video: has(b"vide"),
        sound: has(b"soun"),
        start,
        end,
    })
}

impl Probe {
    pub(super) fn seen(&self) -> &Seen {
        &self.0
    }

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

/// Ticks of 1/90000 s.
pub(super) fn ticks(t: u64) -> Duration {
    Duration::from_nanos((u128::from(t) * 1_000_000_000 / u128::from(ts::CLOCK)) as u64)
}

/// Units of a time scale, no more than a century.
pub(super) fn scaled(t: u128, scale: u32) -> Duration {
    let nanos = u64::try_from(t * 1_000_000_000 / u128::from(scale.max(1)));
    Duration::from_nanos(nanos.unwrap_or(u64::MAX / 4).min(u64::MAX / 4))
}
