//! Writes a chosen video as one file: how is decided first (a [`Plan`]), then bytes are copied, most of them from
//! file to file inside the kernel.
//!
//! | pieces | file |
//! |---|---|
//! | a whole file, or transport stream segments of one program | the same bytes, one after the other |
//! | fragmented MP4, one track | the initialisation segment and the segments, the same bytes |
//! | fragmented MP4, several tracks, variants or time lines | one `moov`, fragments by decode time, headers rewritten |
//! | transport streams with sound of their own, or time lines that jump | packets by decode time under one program map |
//! | packed AAC | mixed with the pictures' transport stream; alone, the same bytes |
//! | WebM with sound of its own, or several variants | blocks by time in new clusters |
//! | WebVTT | one file beside it |

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    ops::Range,
    time::Duration,
};

use super::{
    Body, OpenBody, TrackKind, adts,
    choose::{Choice, Chosen, Pick, Place},
    clock::Clock,
    fmp4::{self, Change, Init, Source},
    ts, webm, webvtt,
};
use crate::media::{Container, Content};

/// Fragments of one video: 24 hours of half-second ones, sound and pictures.
const MAX_FRAGMENTS: usize = 400_000;
/// A single stretch's time stamps may start anywhere up to here without being moved.
const LATE: Duration = Duration::from_secs(10);
/// What goes through memory goes in blocks of this size.
const BLOCK: usize = 256 << 10;

/// Why no file can be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing was chosen.
    #[error("no piece of it is there")]
    Nothing,
    /// Its samples are encrypted.
    #[error("it is encrypted")]
    Protected,
    /// The bytes are of no kind that fisga joins.
    #[error("{0}")]
    Unknown(&'static str),
    /// A piece can't be read.
    #[error("cannot read a piece of the stream")]
    Read(#[source] io::Error),
    /// The file can't be written.
    #[error("cannot write the video")]
    Write(#[source] io::Error),
}

/// How a file is written.
#[derive(Debug)]
pub struct Plan {
    /// What it will be.
    pub container: Container,
    /// Bytes that it will have, to within its headers.
    pub len: u64,
    /// What was done that is worth saying.
    pub notes: Vec<String>,
    /// Subtitles: language and a WebVTT file.
    pub subtitles: Option<(Option<String>, String)>,
    bodies: Vec<Body>,
    steps: Vec<Step>,
    recipes: Vec<Recipe>,
}

/// Old track ids and what becomes of them.
type Recipe = Vec<(u32, Change)>;

#[derive(Debug)]
enum Step {
    Bytes(Vec<u8>),
    Copy(Place),
    /// A `moof` to rewrite, at the start of a fragment.
    Fragment {
        body: u32,
        recipe: u32,
        moof: Range<u64>,
        end: u64,
    },
    Mix(Vec<Vec<ts::Part>>),
    Blocks(Vec<Vec<webm::Part>>),
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ts,
    Mp4,
    Webm,
    Adts,
    Mp3,
}

/// Decides how `choice` becomes a file. Reads the heads of segments, and of fragmented MP4 that has to be joined
/// every fragment's header.
///
/// # Errors
/// [`Error`]: everything but writing can go wrong here already.
pub fn plan(choice: &Choice) -> Result<Plan, Error> {
    let media: Vec<&Chosen> = choice.tracks.iter().filter(|t| t.kind != TrackKind::Subtitles).collect();
    let first = media.first().and_then(|t| t.picks.first()).ok_or(Error::Nothing)?;
    let mut planner = Planner { choice, steps: Vec::new(), recipes: Vec::new(), notes: Vec::new() };
    let format = planner.format(first)?;
    let media = planner.alike(media, format)?;
    let container = match format {
        Format::Ts | Format::Adts if media.len() > 1 || format == Format::Ts => planner.transport(&media)?,
        Format::Mp4 => planner.fragmented(&media)?,
        Format::Ts | Format::Adts => planner.verbatim(media[0], Container::Aac),
        Format::Mp3 => planner.verbatim(media[0], Container::Mp3),
        Format::Webm => planner.webm(&media)?,
    };
    let (steps, recipes, notes) = (planner.steps, planner.recipes, planner.notes);
    let len = steps.iter().map(Step::len).fold(0, u64::saturating_add);
    let subtitles = subtitles(choice).map_err(Error::Read)?;
    Ok(Plan { container, len, notes, subtitles, bodies: choice.bodies.clone(), steps, recipes })
}

impl Step {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Copy(place) => place.range.end - place.range.start,
            Self::Fragment { moof, end, .. } => end - moof.start,
            Self::Blocks(lanes) => lanes.iter().flatten().map(|p| p.range.end - p.range.start).sum(),
            Self::Mix(lanes) => lanes.iter().flatten().map(|p| p.range.end - p.range.start).sum(),
        }
    }
}

struct Planner<'a> {
    choice: &'a Choice,
    steps: Vec<Step>,
    recipes: Vec<Recipe>,
    notes: Vec<String>,
}

impl Planner<'_> {
    fn open(&self, body: usize) -> Result<OpenBody, Error> {
        self.choice.bodies[body].open().map_err(Error::Read)
    }

    fn format(&self, pick: &Pick) -> Result<Format, Error> {
        let place = pick.init.as_ref().unwrap_or(&pick.of);
        let mut head = [0; 12];
        let n = self.open(place.body)?.read_at(place.range.start, &mut head).map_err(Error::Read)?;
        let head = &head[..n];
        Ok(match head {
            [0x47, ..] => Format::Ts,
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Format::Webm,
            _ if matches!(
                head.get(4..8),
                Some(b"ftyp" | b"styp" | b"moof" | b"moov" | b"sidx" | b"emsg" | b"prft")
            ) =>
            {
                Format::Mp4
            }
            [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] => {
                match adts::head(&self.open(place.body)?, place.range.clone()).map_err(Error::Read)? {
                    Some(_) => Format::Adts,
                    None => Format::Mp3,
                }
            }
            _ => return Err(Error::Unknown("its segments are of no format that fisga knows")),
        })
    }

    /// Leaves out sound that is in another container than the pictures: it can't go into their file.
    fn alike<'t>(&mut self, media: Vec<&'t Chosen>, format: Format) -> Result<Vec<&'t Chosen>, Error> {
        let mut kept = Vec::with_capacity(media.len());
        for track in media {
            let own = self.format(&track.picks[0])?;
            if own == format || format == Format::Ts && own == Format::Adts {
                kept.push(track);
            } else {
                self.notes.push("without its sound, which is in another container".into());
            }
        }
        Ok(kept)
    }

    fn copy(&mut self, place: &Place) {
        if let Some(Step::Copy(last)) = self.steps.last_mut()
            && last.body == place.body
            && last.range.end == place.range.start
        {
            last.range.end = place.range.end;
            return;
        }
        self.steps.push(Step::Copy(place.clone()));
    }

    /// Init segments and segments as they are.
    fn verbatim(&mut self, track: &Chosen, container: Container) -> Container {
        let mut places = track.picks.iter().flat_map(|p| p.init.iter().chain([&p.of]));
        // All ranges of one file that is there from end to end: that file, with its index.
        let body = track.picks[0].of.body;
        let len = self.choice.bodies[body].len();
        let mut used = 0;
        let one = places.all(|p| {
            used += p.range.end - p.range.start;
            p.body == body
        });
        // What is not used of it is its index; more would be something that was left out.
        if one && self.choice.bodies[body].is_whole() && used >= len / 10 * 9 {
            self.copy(&Place { body, range: 0..len });
            return container;
        }
        let mut init = None;
        for pick in &track.picks {
            if pick.init.is_some() && init != pick.init.as_ref() {
                init = pick.init.as_ref();
                init.iter().for_each(|place| self.copy(place));
            }
            self.copy(&pick.of);
        }
        container
    }
}

/// WebM.
impl Planner<'_> {
    fn webm(&mut self, media: &[&Chosen]) -> Result<Container, Error> {
        let mut lanes = Vec::new();
        let mut declared: Vec<webm::Init> = Vec::new();
        let mut inits: HashMap<Place, Option<webm::Init>> = HashMap::new();
        for track in media {
            let first = declared.iter().map(|i| i.tracks.len() as u8).sum::<u8>() + 1;
            let mut lane: Vec<webm::Part> = Vec::with_capacity(track.picks.len());
            for pick in &track.picks {
                let place = pick.init.as_ref().unwrap_or(&pick.of);
                if !inits.contains_key(place) {
                    let init =
                        webm::init(&self.open(place.body)?, place.range.clone()).map_err(Error::Read)?;
                    inits.insert(place.clone(), init);
                }
                let Some(init) = inits.get(place).and_then(Option::as_ref) else {
                    return Err(Error::Unknown("a WebM stream without its initialisation segment"));
                };
                if init.tracks.iter().any(|t| t.encrypted) {
                    return Err(Error::Protected);
                }
                if lane.is_empty() {
                    declared.push(init.clone());
                }
                let known = &declared[declared.len() - 1];
                let body = self.choice.bodies[pick.of.body].clone();
                lane.push(webm::Part::new(body, pick.of.range.clone(), init, known, first));
            }
            lanes.push(lane);
        }
        if media.len() == 1 && media[0].picks.iter().all(|p| p.init == media[0].picks[0].init) {
            return Ok(self.verbatim(media[0], Container::Webm));
        }
        let declared: Vec<&webm::Init> = declared.iter().collect();
        let head = webm::head(&declared, self.choice.duration.as_millis() as u64);
        self.steps.push(Step::Bytes(head));
        self.steps.push(Step::Blocks(lanes));
        Ok(Container::Webm)
    }
}

/// Transport streams.
impl Planner<'_> {
    fn transport(&mut self, media: &[&Chosen]) -> Result<Container, Error> {
        let mut lanes = Vec::new();
        let mut plain = media.len() == 1;
        let mut clock = Clock::wrapping((1 << 33) * TICK.0 / TICK.1);
        for track in media {
            clock.rewind();
            let mut lane: Vec<ts::Part> = Vec::with_capacity(track.picks.len());
            for pick in &track.picks {
                let Some((content, time, start)) = self.segment(pick)? else {
                    self.notes.push(format!(
                        "a segment at {:.0} s is not what it should be",
                        pick.start.as_secs_f64()
                    ));
                    continue;
                };
                let shift = time.map_or(0, |time| {
                    let stamp = i128::from(time) * TICK.0 / TICK.1;
                    let shift = clock.shift(pick, stamp);
                    clock.passed(pick, stamp + shift + pick.duration.as_nanos() as i128);
                    (shift * TICK.1 / TICK.0) as i64
                });
                plain &= shift == 0 && lane.first().is_none_or(|p| p.content == content);
                let body = self.choice.bodies[pick.of.body].clone();
                lane.push(ts::Part { body, range: start..pick.of.range.end, content, shift });
            }
            lanes.push(lane);
        }
        lanes.retain(|lane| !lane.is_empty());
        let video = lanes.first().ok_or(Error::Nothing)?;
        if plain && matches!(video[0].content, ts::Payload::Packets(_)) && video.len() == media[0].picks.len()
        {
            return Ok(self.verbatim(media[0], Container::Ts));
        }
        self.steps.push(Step::Mix(lanes));
        Ok(Container::Ts)
    }

    /// What a segment is, its first time stamp, and where its first packet or frame is.
    fn segment(&self, pick: &Pick) -> Result<Option<(ts::Payload, Option<u64>, u64)>, Error> {
        let body = &self.choice.bodies[pick.of.body];
        let start = pick.of.range.start;
        match ts::head(body, pick.of.range.clone()).map_err(Error::Read)? {
            Some(head) if head.scrambled => return Err(Error::Protected),
            Some(head) => return Ok(Some((ts::Payload::Packets(head.program), head.time, start))),
            None => {}
        }
        let open = self.open(pick.of.body)?;
        let Some(head) = adts::head(&open, pick.of.range.clone()).map_err(Error::Read)? else {
            return Ok(None);
        };
        let start = pick.start.as_nanos() as i128 * TICK.1 / TICK.0;
        let time = head.time.unwrap_or_else(|| u64::try_from(start).unwrap_or(0));
        Ok(Some((ts::Payload::Adts(time), Some(time), head.start)))
    }
}

/// Ticks of 1/90000 s as nanoseconds, and back.
const TICK: (i128, i128) = (100_000, 9);

/// Fragmented MP4.
impl Planner<'_> {
    fn fragmented(&mut self, media: &[&Chosen]) -> Result<Container, Error> {
        let mut inits = Inits::default();
        for pick in media.iter().flat_map(|t| &t.picks) {
            inits.load(self.choice, pick)?;
        }
        let container = match media[0].kind {
            TrackKind::Audio => Container::M4a,
            _ => Container::Mp4,
        };
        let one_init = media[0].picks.iter().all(|p| p.init == media[0].picks[0].init);
        let one_stretch = media[0].picks.iter().all(|p| p.discontinuity == media[0].picks[0].discontinuity);
        let simple = media.len() == 1 && one_init && one_stretch;
        if simple && (media[0].picks.len() == 1 || !self.is_late(&inits, media[0])?) {
            return Ok(self.verbatim(media[0], container));
        }
        self.join(&inits, media)?;
        Ok(container)
    }

    /// Whether the fragments of a live stream count from somewhere in the past.
    fn is_late(&self, inits: &Inits, track: &Chosen) -> Result<bool, Error> {
        let pick = &track.picks[0];
        let Some((index, _)) = inits.of(pick) else { return Ok(false) };
        let open = self.open(pick.of.body)?;
        let fragments = fmp4::fragments(&open, pick.of.range.clone()).map_err(Error::Read)?;
        let start = first_time(&fragments, inits.get(index));
        Ok(start.is_some_and(|t| t.abs_diff(pick.start.as_nanos()) > LATE.as_nanos()))
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
                    return Err(Error::Unknown("a fragmented MP4 without its initialisation segment"));
                };
                let open = self.open(pick.of.body)?;
                let from =
                    if own { inits.end_of(init).max(pick.of.range.start) } else { pick.of.range.start };
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
        let end = fragments.iter().map(|f| f.end).max().ok_or(Error::Nothing)?;
        let declared = outputs.iter().map(|o| o.declared);
        let sources: Vec<Source<'_>> =
            declared.map(|(i, track)| Source { init: inits.get(i), track }).collect();
        let head = fmp4::joined_init(&sources, u64::try_from(end).unwrap_or(0));
        self.steps
            .push(Step::Bytes(head.ok_or(Error::Unknown("its initialisation segments can't be joined"))?));
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
        let Some(init) = fmp4::init(&open, place.range.clone()).map_err(Error::Read)? else { return Ok(()) };
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

/// How the tracks of `init` become tracks of the file, which gets new ones where it has none for them. Where a track's
/// `mixed` variants decode differently, each fragment brings its parameter sets along: a second sample entry
/// is what the format has for it, but neither ffmpeg nor Chromium plays one.
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
        let nth = tracks[..index].iter().filter(|t| t.handler == track.handler).count();
        let same = |o: &Output| o.lane == lane && o.handler == track.handler && o.nth == nth;
        let output = match outputs.iter().position(same) {
            Some(found) => found,
            None => {
                outputs.push(Output { lane, handler: track.handler, nth, declared: (init, index) });
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
    fn new(fragment: &fmp4::Fragment, init: &Init, shift: i128, body: usize, recipe: u32) -> Option<Self> {
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
        let step =
            Step::Fragment { body: body as u32, recipe, moof: fragment.moof.clone(), end: fragment.end };
        Some(Self { start, end, recipe, step })
    }
}

fn subtitles(choice: &Choice) -> io::Result<Option<(Option<String>, String)>> {
    let Some(track) = choice.tracks.iter().find(|t| t.kind == TrackKind::Subtitles) else { return Ok(None) };
    let mut merged = webvtt::Merger::default();
    for pick in &track.picks {
        let open = choice.bodies[pick.of.body].open()?;
        let len = (pick.of.range.end - pick.of.range.start).min(webvtt::MAX_SEGMENT);
        let mut text = vec![0; len as usize];
        let n = open.read_at(pick.of.range.start, &mut text)?;
        merged.add(&String::from_utf8_lossy(&text[..n]), pick.start);
    }
    Ok(merged.finish().map(|text| (track.language.clone(), text)))
}

impl Plan {
    /// Writes the file, from the start of `out`, which is empty. Returns its length.
    ///
    /// # Errors
    /// [`Error::Read`] when a piece is gone or cut short meanwhile, [`Error::Write`].
    pub fn write(&self, out: &File) -> Result<u64, Error> {
        let mut writer = Writer { out, opened: None, written: 0, block: Vec::new() };
        let mut sequence = 0_u32;
        for step in &self.steps {
            match step {
                Step::Bytes(bytes) => writer.bytes(bytes)?,
                Step::Copy(place) => writer.copy(&self.bodies, place.body, place.range.clone())?,
                Step::Fragment { body, recipe, moof, end } => {
                    sequence = sequence.wrapping_add(1);
                    let recipe = &self.recipes[*recipe as usize];
                    writer.fragment(
                        &self.bodies,
                        *body as usize,
                        moof.start..*end,
                        moof.end,
                        (sequence, recipe),
                    )?;
                }
                Step::Mix(lanes) => writer.through(|out| ts::mix(lanes, out))?,
                Step::Blocks(lanes) => writer.through(|out| webm::join(lanes, out))?,
            }
        }
        Ok(writer.written)
    }
}

/// Where writing is.
struct Writer<'a> {
    out: &'a File,
    /// The body that was opened last.
    opened: Option<(usize, OpenBody)>,
    written: u64,
    block: Vec<u8>,
}

impl Writer<'_> {
    /// What `write` writes, through a buffer.
    fn through(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<u64>) -> Result<(), Error> {
        let mut buffered = io::BufWriter::with_capacity(BLOCK, self.out);
        let n = write(&mut buffered).and_then(|n| buffered.flush().map(|()| n));
        self.written += n.map_err(Error::Write)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = self.out;
        out.write_all(bytes).map_err(Error::Write)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn open(&mut self, bodies: &[Body], body: usize) -> Result<OpenBody, Error> {
        match self.opened.take() {
            Some((index, open)) if index == body => Ok(open),
            _ => bodies[body].open().map_err(Error::Read),
        }
    }

    /// Writes a fragment of which the `moof` ends at `data`, with its number and its changes.
    fn fragment(
        &mut self,
        bodies: &[Body],
        body: usize,
        range: Range<u64>,
        data: u64,
        (sequence, recipe): (u32, &Recipe),
    ) -> Result<(), Error> {
        let open = self.open(bodies, body)?;
        // With the header of the data, which follows.
        let mut old = vec![0; (data - range.start) as usize + 16];
        let n = open.read_at(range.start, &mut old).map_err(Error::Read)?;
        self.opened = Some((body, open));
        let change = |id| recipe.iter().find(|(old, _)| *old == id).map(|(_, change)| change.clone());
        let new = fmp4::rewrite(&old[..n], sequence, &change);
        let new = new.ok_or(Error::Unknown("its fragments are of a kind that can't be joined"))?;
        self.bytes(&new.head)?;
        let mut from = range.start + new.from;
        for (at, bytes) in &new.inserts {
            self.copy(bodies, body, from..range.start + at)?;
            self.bytes(bytes)?;
            from = range.start + at;
        }
        self.copy(bodies, body, from..range.end)
    }

    fn copy(&mut self, bodies: &[Body], body: usize, range: Range<u64>) -> Result<(), Error> {
        let open = self.open(bodies, body)?;
        let mut at = range.start;
        while at < range.end {
            let n = match open.file_at(at..range.end) {
                Some((file, within)) => copy_range(file, within, self.out)?,
                None => 0,
            };
            // Bytes in memory, or a file system that can't: through a block.
            let n = if n > 0 { n } else { self.through_memory(&open, at..range.end)? };
            at += n;
            self.written += n;
        }
        self.opened = Some((body, open));
        Ok(())
    }

    fn through_memory(&mut self, open: &OpenBody, range: Range<u64>) -> Result<u64, Error> {
        self.block.resize(BLOCK, 0);
        let want = usize::try_from(range.end - range.start).unwrap_or(BLOCK).min(BLOCK);
        let n = open.read_at(range.start, &mut self.block[..want]).map_err(Error::Read)?;
        if n == 0 {
            return Err(Error::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut out = self.out;
        out.write_all(&self.block[..n]).map_err(Error::Write)?;
        Ok(n as u64)
    }
}

/// Copies inside the kernel (copy_file_range(2)); 0 where it can't.
fn copy_range(from: &File, range: Range<u64>, to: &File) -> Result<u64, Error> {
    use rustix::io::Errno;
    let mut at = range.start;
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(1 << 30);
    match rustix::fs::copy_file_range(from, Some(&mut at), to, None, len) {
        Ok(n) => Ok(n as u64),
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::INTR) => {
            Ok(0)
        }
        Err(e) => Err(Error::Write(e.into())),
    }
}
