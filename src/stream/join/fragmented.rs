//! Fragmented MP4. One track of one quality is written as it is; otherwise there is one `moov` for
//! all tracks, and fragments follow by decode time.

use std::collections::{HashMap, HashSet};

use super::{
    JoinError, Planner, Recipe, Step,
    choose::{BodyRange, Choice, ChosenTrack, FilledSlot},
    clock::{Clock, LATE},
    fmp4::{Change, Rescale, Source, joined_init},
};
use crate::{
    container::fmp4::{self, Init},
    media::Container,
};

/// Fragments of one video: 24 hours of half-second ones, sound and pictures.
const MAX_FRAGMENTS: usize = 400_000;
const NO_INIT: &str = "a fragmented MP4 without its initialisation segment";

impl Planner<'_> {
    pub(super) fn fragmented(
        &mut self,
        media: &[&ChosenTrack],
        pictures: bool,
    ) -> Result<Container, JoinError> {
        let mut inits = Inits::default();
        for pick in media.iter().flat_map(|t| &t.slots) {
            inits.load(self.choice, pick)?;
        }
        if media
            .iter()
            .flat_map(|t| &t.slots)
            .any(|s| inits.of(s).is_none())
        {
            return Err(JoinError::Unknown(NO_INIT));
        }
        let container = if pictures {
            Container::Mp4
        } else {
            Container::M4a
        };
        let one_init = media[0]
            .slots
            .iter()
            .all(|p| p.init == media[0].slots[0].init);
        let one_stretch = media[0]
            .slots
            .iter()
            .all(|p| p.discontinuity == media[0].slots[0].discontinuity);
        let simple = media.len() == 1 && one_init && one_stretch;
        if simple && (media[0].slots.len() == 1 || !self.must_change(&inits, media[0])?) {
            return Ok(self.verbatim(media[0], container));
        }
        self.join(&inits, media)?;
        Ok(container)
    }

    /// Whether the fragments of a live stream count from somewhere in the past, or those of several
    /// files from the start of their file.
    fn must_change(&self, inits: &Inits, track: &ChosenTrack) -> Result<bool, JoinError> {
        let pick = &track.slots[0];
        let Some(index) = inits.of(pick) else {
            return Ok(false);
        };
        let open = self.open(pick.of.body)?;
        let fragments = fmp4::fragments(&open, pick.of.range.clone()).map_err(JoinError::Read)?;
        let one = track.slots.iter().all(|p| p.of.body == pick.of.body);
        if !one
            && fragments
                .iter()
                .flat_map(|f| &f.trafs)
                .any(|traf| traf.absolute)
        {
            return Ok(true);
        }
        let start = first_time(&fragments, inits.get(index));
        if start.is_some_and(|t| t.abs_diff(pick.start.as_nanos()) > LATE.unsigned_abs()) {
            return Ok(true);
        }
        self.jumps(inits, track)
    }

    /// Whether decode times don't rise from segment to segment as the playlist says.
    fn jumps(&self, inits: &Inits, track: &ChosenTrack) -> Result<bool, JoinError> {
        let mut before: Option<(i128, &FilledSlot)> = None;
        for slot in &track.slots {
            let Some(index) = inits.of(slot) else {
                continue;
            };
            let open = self.open(slot.of.body)?;
            let first = fmp4::first_fragment(&open, slot.of.range.clone());
            let first: Vec<_> = first.map_err(JoinError::Read)?.into_iter().collect();
            let Some(stamp) = first_time(&first, inits.get(index)) else {
                continue;
            };
            let stamp = stamp as i128;
            if let Some((last, other)) = before {
                let listed = slot.start.as_nanos() as i128 - other.start.as_nanos() as i128;
                if stamp <= last || (stamp - last - listed).abs() > LATE {
                    return Ok(true);
                }
            }
            before = Some((stamp, slot));
        }
        Ok(false)
    }

    fn join(&mut self, inits: &Inits, media: &[&ChosenTrack]) -> Result<(), JoinError> {
        let mut outputs: Vec<Output> = Vec::new();
        let mut fragments: Vec<Timed> = Vec::new();
        let mut clock = Clock::endless();
        let scales = scales(inits, media)?;
        for (lane, track) in media.iter().enumerate() {
            clock.rewind();
            let mut known: HashMap<(usize, i128), u32> = HashMap::new();
            let mixed = track.slots.iter().any(|p| p.init != track.slots[0].init);
            for pick in &track.slots {
                let Some(init) = inits.of(pick) else {
                    return Err(JoinError::Unknown(NO_INIT));
                };
                let open = self.open(pick.of.body)?;
                let found =
                    fmp4::fragments(&open, pick.of.range.clone()).map_err(JoinError::Read)?;
                let stamp = first_time(&found, inits.get(init));
                let shift = stamp.map_or(0, |stamp| clock.shift(pick, stamp as i128));
                let recipe = match known.get(&(init, shift)) {
                    Some(recipe) => *recipe,
                    None => {
                        let recipe =
                            recipe(&mut outputs, (lane, mixed), init, inits, (shift, &scales))?;
                        self.recipes.push(recipe);
                        known.insert((init, shift), self.recipes.len() as u32 - 1);
                        self.recipes.len() as u32 - 1
                    }
                };
                for fragment in found {
                    if fragments.len() >= MAX_FRAGMENTS {
                        return Err(JoinError::Unknown("it has more fragments than any video"));
                    }
                    let timed = Timed::new(&fragment, inits.get(init), shift, pick.of.body, recipe);
                    if let Some(timed) = &timed {
                        let begin = stamp.map_or(timed.start, |stamp| stamp as i128 + shift);
                        clock.passed(pick, begin, timed.end);
                    }
                    fragments.extend(timed);
                }
            }
        }
        fragments.sort_by_key(|f| (f.start, f.recipe));
        fragments.dedup_by_key(|f| (f.start, f.recipe));
        let end = fragments
            .iter()
            .map(|f| f.end)
            .max()
            .ok_or(JoinError::Nothing)?;
        let declared = outputs.iter().map(|o| (o.declared, o.timescale));
        let sources: Vec<Source<'_>> = declared
            .map(|((i, track), timescale)| Source {
                init: inits.get(i),
                track,
                factor: timescale / inits.get(i).tracks[track].timescale,
            })
            .collect();
        let head = joined_init(&sources, u64::try_from(end).unwrap_or(0));
        self.steps.push(Step::Bytes(head.ok_or(JoinError::Unknown(
            "its initialisation segments can't be joined",
        ))?));
        self.steps.extend(fragments.into_iter().map(|f| f.step));
        Ok(())
    }
}

/// Decode time of a segment's first fragment, in nanoseconds.
fn first_time(fragments: &[fmp4::Fragment], init: &Init) -> Option<u128> {
    let times = fragments.first()?.trafs.iter().filter_map(|traf| {
        let track = init.tracks.iter().find(|track| track.id == traf.track)?;
        Some(nanos(traf.time?, track.timescale))
    });
    times.min()
}

fn nanos(time: u64, timescale: u32) -> u128 {
    u128::from(time) * 1_000_000_000 / u128::from(timescale)
}

/// Initialisation segments, each read once.
#[derive(Default)]
struct Inits {
    all: Vec<Init>,
    by_place: HashMap<BodyRange, usize>,
}

impl Inits {
    fn load(&mut self, choice: &Choice, pick: &FilledSlot) -> Result<(), JoinError> {
        let place = pick.head();
        if self.by_place.contains_key(place) {
            return Ok(());
        }
        let open = choice.bodies[place.body].open().map_err(JoinError::Read)?;
        let Some(init) = fmp4::init(&open, place.range.clone()).map_err(JoinError::Read)? else {
            return Ok(());
        };
        if init.protected() {
            return Err(JoinError::Protected);
        }
        self.all.push(init);
        self.by_place.insert(place.clone(), self.all.len() - 1);
        Ok(())
    }

    /// The index of a segment's initialisation segment.
    fn of(&self, pick: &FilledSlot) -> Option<usize> {
        self.by_place.get(pick.head()).copied()
    }

    fn get(&self, index: usize) -> &Init {
        &self.all[index]
    }
}

/// A track of the file that is written.
struct Output {
    key: TrackKey,
    /// Where it is declared: init, and track there.
    declared: (usize, usize),
    /// Its time scale, in which everything that goes into it can count.
    timescale: u32,
}

/// Which track of a lane: its handler, and how many of that kind come before it.
type TrackKey = (usize, [u8; 4], usize);

fn track_keys(lane: usize, init: &Init) -> impl Iterator<Item = TrackKey> {
    init.tracks.iter().enumerate().map(move |(index, track)| {
        let before = &init.tracks[..index];
        let nth = before.iter().filter(|t| t.handler == track.handler).count();
        (lane, track.handler, nth)
    })
}

/// The time scale in which each track of the file can count whatever goes into it: parts of one
/// video may count time differently.
fn scales(inits: &Inits, media: &[&ChosenTrack]) -> Result<HashMap<TrackKey, u32>, JoinError> {
    let mut scales: HashMap<TrackKey, u32> = HashMap::new();
    for (lane, track) in media.iter().enumerate() {
        let used: HashSet<usize> = track.slots.iter().filter_map(|s| inits.of(s)).collect();
        for init in used.into_iter().map(|i| inits.get(i)) {
            for (key, track) in track_keys(lane, init).zip(&init.tracks) {
                let scale = scales.entry(key).or_insert(track.timescale);
                *scale = common_multiple(*scale, track.timescale).ok_or(JoinError::Unknown(
                    "its parts count time in ways that don't fit one file",
                ))?;
            }
        }
    }
    Ok(scales)
}

fn common_multiple(a: u32, b: u32) -> Option<u32> {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).checked_mul(b)
}

/// How the tracks of `init` become tracks of the file, which gets new ones where it has none for
/// them. Where a track's `mixed` variants decode differently, each fragment brings its parameter
/// sets along: a second sample entry is what the format has for it, but neither ffmpeg nor Chromium
/// plays one.
fn recipe(
    outputs: &mut Vec<Output>,
    (lane, mixed): (usize, bool),
    init: usize,
    inits: &Inits,
    (shift, scales): (i128, &HashMap<TrackKey, u32>),
) -> Result<Recipe, JoinError> {
    let mut recipe = Vec::new();
    let own = inits.get(init);
    for (index, (key, track)) in track_keys(lane, own).zip(&own.tracks).enumerate() {
        let timescale = scales.get(&key).copied().unwrap_or(track.timescale);
        let output = match outputs.iter().position(|o| o.key == key) {
            Some(found) => found,
            None => {
                outputs.push(Output {
                    key,
                    declared: (init, index),
                    timescale,
                });
                outputs.len() - 1
            }
        };
        let (first, at) = outputs[output].declared;
        let sets = own.parameter_sets(index);
        if sets.layout() != inits.get(first).parameter_sets(at).layout() {
            return Err(JoinError::Unknown("its variants have different codecs"));
        }
        let shift = shift * i128::from(timescale) / 1_000_000_000;
        // The default durations are those of the file that declares the track, so fragments of
        // another file must state theirs.
        let rescale = (timescale != track.timescale || first != init).then(|| Rescale {
            factor: timescale / track.timescale,
            default_duration: own.default_duration(track.id) as u32,
        });
        let change = Change {
            id: output as u32 + 1,
            shift: i64::try_from(shift).unwrap_or(0),
            rescale,
            prefix: if mixed { sets.prefix() } else { Vec::new() },
        };
        recipe.push((track.id, change));
    }
    Ok(recipe)
}

/// A fragment and when it is decoded, in nanoseconds.
struct Timed {
    start: i128,
    end: i128,
    recipe: u32,
    step: Step,
}

impl Timed {
    fn new(
        fragment: &fmp4::Fragment,
        init: &Init,
        shift: i128,
        body: usize,
        recipe: u32,
    ) -> Option<Self> {
        let times = fragment.trafs.iter().filter_map(|traf| {
            let track = init.tracks.iter().find(|t| t.id == traf.track)?;
            let duration = match traf.duration {
                0 => traf.samples.saturating_mul(init.default_duration(track.id)),
                told => told,
            };
            let start = nanos(traf.time?, track.timescale) as i128 + shift;
            Some((start, start + nanos(duration, track.timescale) as i128))
        });
        let (start, end) = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let step = Step::Fragment {
            body: body as u32,
            recipe,
            moof: fragment.moof.clone(),
            end: fragment.end,
        };
        Some(Self {
            start,
            end,
            recipe,
            step,
        })
    }
}
