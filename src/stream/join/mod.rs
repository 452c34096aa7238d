//! Writes a chosen video as one file: how is decided first (a [`Plan`]), then bytes are copied,
//! most of them from file to file inside the kernel.
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

pub mod choose;
mod clock;
mod fmp4;
mod fragmented;
mod mix;
mod packed;
mod packets;
mod webm;
mod webvtt;
mod write;

use std::{collections::HashMap, io, ops::Range};

use self::{
    choose::{Choice, Chosen, Pick, Place},
    clock::Clock,
    fmp4::Change,
};
use crate::{
    container::{adts, ts},
    content::Content,
    media::Container,
    stream::{Body, OpenBody, TrackKind},
};

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
    Mix(Vec<Vec<mix::Part>>),
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

/// Decides how `choice` becomes a file. Reads the heads of segments, and of fragmented MP4 that has
/// to be joined every fragment's header.
///
/// # Errors
/// [`Error`]: everything but writing can go wrong here already.
pub fn plan(choice: &Choice) -> Result<Plan, Error> {
    let media: Vec<&Chosen> = choice
        .tracks
        .iter()
        .filter(|t| t.kind != TrackKind::Subtitles)
        .collect();
    let first = media
        .first()
        .and_then(|t| t.picks.first())
        .ok_or(Error::Nothing)?;
    let mut planner = Planner {
        choice,
        steps: Vec::new(),
        recipes: Vec::new(),
        notes: Vec::new(),
    };
    let format = planner.format(first)?;
    let media = planner.alike(media, format)?;
    let container = match format {
        Format::Ts | Format::Adts if media.len() > 1 || format == Format::Ts => {
            planner.transport(&media)?
        }
        Format::Mp4 => planner.fragmented(&media)?,
        Format::Ts | Format::Adts => planner.verbatim(media[0], Container::Aac),
        Format::Mp3 => planner.verbatim(media[0], Container::Mp3),
        Format::Webm => planner.webm(&media)?,
    };
    let (steps, recipes, notes) = (planner.steps, planner.recipes, planner.notes);
    let len = steps.iter().map(Step::len).fold(0, u64::saturating_add);
    let subtitles = subtitles(choice).map_err(Error::Read)?;
    Ok(Plan {
        container,
        len,
        notes,
        subtitles,
        bodies: choice.bodies.clone(),
        steps,
        recipes,
    })
}

impl Step {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Copy(place) => place.range.end - place.range.start,
            Self::Fragment { moof, end, .. } => end - moof.start,
            Self::Blocks(lanes) => lanes
                .iter()
                .flatten()
                .map(|p| p.range.end - p.range.start)
                .sum(),
            Self::Mix(lanes) => lanes
                .iter()
                .flatten()
                .map(|p| p.range.end - p.range.start)
                .sum(),
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
        let n = self
            .open(place.body)?
            .read_at(place.range.start, &mut head)
            .map_err(Error::Read)?;
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
                match adts::head(&self.open(place.body)?, place.range.clone())
                    .map_err(Error::Read)?
                {
                    Some(_) => Format::Adts,
                    None => Format::Mp3,
                }
            }
            _ => {
                return Err(Error::Unknown(
                    "its segments are of no format that fisga knows",
                ));
            }
        })
    }

    /// Leaves out sound that is in another container than the pictures: it can't go into their
    /// file.
    fn alike<'t>(
        &mut self,
        media: Vec<&'t Chosen>,
        format: Format,
    ) -> Result<Vec<&'t Chosen>, Error> {
        let mut kept = Vec::with_capacity(media.len());
        for track in media {
            let own = self.format(&track.picks[0])?;
            if own == format || format == Format::Ts && own == Format::Adts {
                kept.push(track);
            } else {
                self.notes
                    .push("without its sound, which is in another container".into());
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
        let mut places = track
            .picks
            .iter()
            .flat_map(|p| p.init.iter().chain([&p.of]));
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
            self.copy(&Place {
                body,
                range: 0..len,
            });
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
                    let init = webm::init(&self.open(place.body)?, place.range.clone())
                        .map_err(Error::Read)?;
                    inits.insert(place.clone(), init);
                }
                let Some(init) = inits.get(place).and_then(Option::as_ref) else {
                    return Err(Error::Unknown(
                        "a WebM stream without its initialisation segment",
                    ));
                };
                if init.tracks.iter().any(|t| t.encrypted) {
                    return Err(Error::Protected);
                }
                if lane.is_empty() {
                    declared.push(init.clone());
                }
                let known = &declared[declared.len() - 1];
                let body = self.choice.bodies[pick.of.body].clone();
                lane.push(webm::Part::new(
                    body,
                    pick.of.range.clone(),
                    init,
                    known,
                    first,
                ));
            }
            lanes.push(lane);
        }
        if media.len() == 1
            && media[0]
                .picks
                .iter()
                .all(|p| p.init == media[0].picks[0].init)
        {
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
            let mut lane: Vec<mix::Part> = Vec::with_capacity(track.picks.len());
            for pick in &track.picks {
                let Some((content, time, start)) = self.segment(pick, lane.last())? else {
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
                lane.push(mix::Part {
                    body,
                    range: start..pick.of.range.end,
                    content,
                    shift,
                });
            }
            lanes.push(lane);
        }
        lanes.retain(|lane| !lane.is_empty());
        let video = lanes.first().ok_or(Error::Nothing)?;
        if plain
            && matches!(video[0].content, mix::Payload::Packets(_))
            && video.len() == media[0].picks.len()
        {
            return Ok(self.verbatim(media[0], Container::Ts));
        }
        self.steps.push(Step::Mix(lanes));
        Ok(Container::Ts)
    }

    /// What a segment is, its first time stamp, and where its first packet or frame is. One that
    /// doesn't announce its program is more of the one `before` it.
    fn segment(
        &self,
        pick: &Pick,
        before: Option<&mix::Part>,
    ) -> Result<Option<(mix::Payload, Option<u64>, u64)>, Error> {
        let open = self.open(pick.of.body)?;
        let start = pick.of.range.start;
        match ts::head(&open, pick.of.range.clone()).map_err(Error::Read)? {
            Some(head) if head.scrambled => return Err(Error::Protected),
            Some(head) => {
                let content = head.program.map(mix::Payload::Packets);
                let content = content.or_else(|| {
                    before
                        .map(|part| part.content.clone())
                        .filter(|c| !matches!(c, mix::Payload::Adts(_)))
                });
                return Ok(content.map(|content| (content, head.time, start)));
            }
            None => {}
        }
        let Some(head) = adts::head(&open, pick.of.range.clone()).map_err(Error::Read)? else {
            return Ok(None);
        };
        let start = pick.start.as_nanos() as i128 * TICK.1 / TICK.0;
        let time = head
            .time
            .unwrap_or_else(|| u64::try_from(start).unwrap_or(0));
        Ok(Some((mix::Payload::Adts(time), Some(time), head.start)))
    }
}

/// Ticks of 1/90000 s as nanoseconds, and back.
const TICK: (i128, i128) = (100_000, 9);

fn subtitles(choice: &Choice) -> io::Result<Option<(Option<String>, String)>> {
    let Some(track) = choice
        .tracks
        .iter()
        .find(|t| t.kind == TrackKind::Subtitles)
    else {
        return Ok(None);
    };
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
