//! Fragmented MP4: as it is where one track of one quality is all there is; otherwise one `moov`
//! for all tracks, and fragments by decode time.

use std::collections::HashMap;

use super::{
    Error, Planner, Recipe, Step,
    choose::{Choice, Chosen, Pick, Place},
    clock::{Clock, LATE},
    fmp4::{Change, Source, joined_init},
};
use crate::{
    container::fmp4::{self, Init},
    media::Container,
    stream::TrackKind,
};

/// Fragments of one video: 24 hours of half-second ones, sound and pictures.
const MAX_FRAGMENTS: usize = 400_000;

impl Planner<'_> {
    pub(super) fn fragmented(&mut self, media: &[&Chosen]) -> Result<Container, Error> {
        let mut inits = Inits::default();
        for pick in media.iter().flat_map(|t| &t.picks) {
            inits.load(self.choice, pick)?;
        }
        let container = match media[0].kind {
            TrackKind::Audio => Container::M4a,
            _ => Container::Mp4,
        };
        let one_init = media[0]
            .picks
            .iter()
            .all(|p| p.init == media[0].picks[0].init);
        let one_stretch = media[0]
            .picks
            .iter()
            .all(|p| p.discontinuity == media[0].picks[0].discontinuity);
        let simple = media.len() == 1 && one_init && one_stretch;
        if simple && (media[0].picks.len() == 1 || !self.must_change(&inits, media[0])?) {
            return Ok(self.verbatim(media[0], container));
        }
        self.join(&inits, media)?;
        Ok(container)
    }

    /// Whether the fragments of a live stream count from somewhere in the past, or those of several
    /// files from the start of their file.
    fn must_change(&self, inits: &Inits, track: &Chosen) -> Result<bool, Error> {
        let pick = &track.picks[0];
        let Some((index, _)) = inits.of(pick) else {
            return Ok(false);
        };
        let open = self.open(pick.of.body)?;
        let fragments = fmp4::fragments(&open, pick.of.range.clone()).map_err(Error::Read)?;
        let one = track.picks.iter().all(|p| p.of.body == pick.of.body);
        if !one
            && fragments
                .iter()
                .flat_map(|f| &f.trafs)
                .any(|traf| traf.absolute)
        {
            return Ok(true);
        }
        let start = first_time(&fragments, inits.get(index));
        Ok(start.is_some_and(|t| t.abs_diff(pick.start.as_nanos()) > LATE.unsigned_abs()))
    }

    fn join(&mut self, inits: &Inits, media: &[&Chosen]) -> Result<(), Error> {
        let mut outputs: Vec<Output> = Vec::new();
        let mut fragments: Vec<Timed> = Vec::new();
        let mut clock = Clock::endless();
        for (lane, track) in media.iter().enumerate() {
            clock.rewind();
            let mut known: HashMap<(usize, i128), u32> = HashMap::new();
            let mixed = track.picks.iter().any(|p| p.init != track.picks[0].init);
            for pick in &track.picks {
                let Some((init, own)) = inits.of(pick) else {
                    return Err(Error::Unknown(
                        "a fragmented MP4 without its initialisation segment",
                    ));
                };
                let open = self.open(pick.of.body)?;
                let from = if own {
                    inits.end_of(init).max(pick.of.range.start)
                } else {
                    pick.of.range.start
                };
                let found = fmp4::fragments(&open, from..pick.of.range.end).map_err(Error::Read)?;
                let stamp = first_time(&found, inits.get(init));
                let shift = stamp.map_or(0, |stamp| clock.shift(pick, stamp as i128));
                let recipe = match known.get(&(init, shift)) {
                    Some(recipe) => *recipe,
                    None => {
                        let recipe = recipe(&mut outputs, (lane, mixed), init, inits, shift)?;
                        self.recipes.push(recipe);
                        known.insert((init, shift), self.recipes.len() as u32 - 1);
                        self.recipes.len() as u32 - 1
                    }
                };
                for fragment in found {
                    if fragments.len() >= MAX_FRAGMENTS {
                        return Err(Error::Unknown("it has more fragments than any video"));
                    }
                    let timed = Timed::new(&fragment, inits.get(init), shift, pick.of.body, recipe);
                    timed.iter().for_each(|t| clock.passed(pick, t.end));
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
            .ok_or(Error::Nothing)?;
        let declared = outputs.iter().map(|o| o.declared);
        let sources: Vec<Source<'_>> = declared
            .map(|(i, track)| Source {
                init: inits.get(i),
                track,
            })
            .collect();
        let head = joined_init(&sources, u64::try_from(end).unwrap_or(0));
        self.steps.push(Step::Bytes(head.ok_or(Error::Unknown(
            "its initialisation segments can't be joined",
        ))?));
        self.steps.extend(fragments.into_iter().map(|f| f.step));
        Ok(())
    }
}

/// Decode time of a segment's first fragment, in nanoseconds.
fn first_time(fragments: &[fmp4::Fragment], init: &Init) -> Option<u128> {
    let traf = fragments.first()?.trafs.first()?;
    let track = init.tracks.iter().find(|track| track.id == traf.track)?;
    Some(nanos(traf.time?, track.timescale))
}

fn nanos(time: u64, timescale: u32) -> u128 {
    u128::from(time) * 1_000_000_000 / u128::from(timescale)
}

/// Initialisation segments, each read once.
#[derive(Default)]
struct Inits {
    all: Vec<(Init, u64)>,
    by_place: HashMap<Place, usize>,
}

impl Inits {
    fn load(&mut self, choice: &Choice, pick: &Pick) -> Result<(), Error> {
        let place = pick.init.as_ref().unwrap_or(&pick.of);
        if self.by_place.contains_key(place) {
            return Ok(());
        }
        let open = choice.bodies[place.body].open().map_err(Error::Read)?;
        let Some(init) = fmp4::init(&open, place.range.clone()).map_err(Error::Read)? else {
            return Ok(());
        };
        if init.protected() {
            return Err(Error::Protected);
        }
        self.all.push((init, place.range.start));
        self.by_place.insert(place.clone(), self.all.len() - 1);
        Ok(())
    }

    /// A pick's init, and whether it is in the segment itself.
    fn of(&self, pick: &Pick) -> Option<(usize, bool)> {
        let place = pick.init.as_ref().unwrap_or(&pick.of);
        self.by_place.get(place).map(|i| (*i, pick.init.is_none()))
    }

    fn get(&self, index: usize) -> &Init {
        &self.all[index].0
    }

    fn end_of(&self, index: usize) -> u64 {
        self.all[index].1
    }
}

/// A track of the file that is written.
struct Output {
    lane: usize,
    handler: [u8; 4],
    /// Which of its handler in the lane.
    nth: usize,
    /// Where it is declared: init, and track there.
    declared: (usize, usize),
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
    shift: i128,
) -> Result<Recipe, Error> {
    let mut recipe = Vec::new();
    let tracks = &inits.get(init).tracks;
    for (index, track) in tracks.iter().enumerate() {
        let nth = tracks[..index]
            .iter()
            .filter(|t| t.handler == track.handler)
            .count();
        let same = |o: &Output| o.lane == lane && o.handler == track.handler && o.nth == nth;
        let output = match outputs.iter().position(same) {
            Some(found) => found,
            None => {
                outputs.push(Output {
                    lane,
                    handler: track.handler,
                    nth,
                    declared: (init, index),
                });
                outputs.len() - 1
            }
        };
        let (first, at) = outputs[output].declared;
        if inits.get(first).tracks[at].timescale != track.timescale {
            return Err(Error::Unknown("its variants count time differently"));
        }
        let sets = inits.get(init).parameter_sets(index);
        if sets.layout() != inits.get(first).parameter_sets(at).layout() {
            return Err(Error::Unknown("its variants have different codecs"));
        }
        let shift = shift * i128::from(track.timescale) / 1_000_000_000;
        let change = Change {
            id: output as u32 + 1,
            shift: i64::try_from(shift).unwrap_or(0),
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
