//! Writes a chosen video as one file. First a [`JoinPlan`] is made, then bytes are copied, most of
//! them from file to file inside the kernel.
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
    choose::{BodyRange, Choice, ChosenTrack, FilledSlot},
    clock::Clock,
    fmp4::Change,
};
use crate::{
    container::{adts, fmp4::init as fmp4_init, id3, ts},
    content::Content,
    media::{Container, mp3},
    stream::{Body, OpenBody, TrackKind},
};

/// Why no file can be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
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
pub struct JoinPlan {
    /// What it will be.
    pub container: Container,
    /// There are pictures in it.
    pub pictures: bool,
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

/// Old track ids, and how each track changes.
type Recipe = Vec<(u32, Change)>;

#[derive(Debug)]
enum Step {
    Bytes(Vec<u8>),
    Copy(BodyRange),
    /// A `moof` to rewrite, at the start of a fragment.
    Fragment {
        body: u32,
        recipe: u32,
        moof: Range<u64>,
        end: u64,
    },
    Mix(Vec<Vec<mix::TsSegment>>),
    Blocks(Vec<Vec<webm::WebmSegment>>),
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
/// [`JoinError`]: every error but those of writing shows here already.
pub fn plan(choice: &Choice) -> Result<JoinPlan, JoinError> {
    let media: Vec<&ChosenTrack> = choice
        .tracks
        .iter()
        .filter(|t| t.kind != TrackKind::Subtitles)
        .collect();
    let first = media
        .first()
        .and_then(|t| t.slots.first())
        .ok_or(JoinError::Nothing)?;
    let mut planner = Planner {
        choice,
        steps: Vec::new(),
        recipes: Vec::new(),
        notes: Vec::new(),
    };
    let format = planner.format(first)?;
    let media = planner.alike(media, format)?;
    let mut pictures = false;
    for track in &media {
        pictures |= planner.has_pictures(track, format)?;
    }
    let container = match format {
        Format::Ts | Format::Adts if media.len() > 1 || format == Format::Ts => {
            planner.transport(&media)?
        }
        Format::Mp4 => planner.fragmented(&media, pictures)?,
        Format::Ts | Format::Adts => planner.verbatim(media[0], Container::Aac),
        Format::Mp3 => planner.mp3(media[0])?,
        Format::Webm => planner.webm(&media)?,
    };
    let (steps, recipes, notes) = (planner.steps, planner.recipes, planner.notes);
    let len = steps.iter().map(Step::len).fold(0, u64::saturating_add);
    let subtitles = subtitles(choice).map_err(JoinError::Read)?;
    Ok(JoinPlan {
        container,
        pictures,
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
    fn open(&self, body: usize) -> Result<OpenBody, JoinError> {
        self.choice.bodies[body].open().map_err(JoinError::Read)
    }

    fn format(&self, pick: &FilledSlot) -> Result<Format, JoinError> {
        let place = pick.head();
        let mut head = [0; 12];
        let n = self
            .open(place.body)?
            .read_at(place.range.start, &mut head)
            .map_err(JoinError::Read)?;
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
                    .map_err(JoinError::Read)?
                {
                    Some(_) => Format::Adts,
                    None => Format::Mp3,
                }
            }
            _ => {
                return Err(JoinError::Unknown(
                    "its segments are of no format that fisga knows",
                ));
            }
        })
    }

    /// Whether a track has pictures: a playlist of sound alone doesn't always say so.
    fn has_pictures(&self, track: &ChosenTrack, format: Format) -> Result<bool, JoinError> {
        let slot = &track.slots[0];
        let place = slot.head();
        let (open, range) = (self.open(place.body)?, place.range.clone());
        let found = match format {
            Format::Adts | Format::Mp3 => Some(false),
            Format::Ts => ts::head(&open, range)
                .map_err(JoinError::Read)?
                .and_then(|head| Some(head.program?.has_video())),
            Format::Mp4 => fmp4_init(&open, range)
                .map_err(JoinError::Read)?
                .map(|init| init.tracks.iter().any(|t| &t.handler == b"vide")),
            Format::Webm => webm::init(&open, range)
                .map_err(JoinError::Read)?
                .map(|init| init.tracks.iter().any(|t| t.video)),
        };
        Ok(found.unwrap_or(track.kind == TrackKind::Video))
    }

    /// Leaves out sound that is in another container than the pictures: it can't go into their
    /// file.
    fn alike<'t>(
        &mut self,
        media: Vec<&'t ChosenTrack>,
        format: Format,
    ) -> Result<Vec<&'t ChosenTrack>, JoinError> {
        let mut kept = Vec::with_capacity(media.len());
        for track in media {
            let own = self.format(&track.slots[0])?;
            if own == format || format == Format::Ts && own == Format::Adts {
                kept.push(track);
            } else {
                self.notes
                    .push("without its sound, which is in another container".into());
            }
        }
        Ok(kept)
    }

    fn copy(&mut self, place: &BodyRange) {
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
    fn verbatim(&mut self, track: &ChosenTrack, container: Container) -> Container {
        let mut places = track
            .slots
            .iter()
            .flat_map(|p| p.init.iter().chain([&p.of]));
        // All ranges of one file that is there from end to end: that file, with its index.
        let body = track.slots[0].of.body;
        let len = self.choice.bodies[body].len();
        let mut used = 0;
        let one = places.all(|p| {
            used += p.range.end - p.range.start;
            p.body == body
        });
        // The bytes that are not used are the file's index. If there are more, something was left
        // out, and the file can't be taken as it is.
        if one && self.choice.bodies[body].is_whole() && used >= len / 10 * 9 {
            self.copy(&BodyRange {
                body,
                range: 0..len,
            });
            return container;
        }
        let mut init = None;
        for pick in &track.slots {
            if pick.init.is_some() && init != pick.init.as_ref() {
                init = pick.init.as_ref();
                init.iter().for_each(|place| self.copy(place));
            }
            self.copy(&pick.of);
        }
        container
    }
}

/// MP3.
impl Planner<'_> {
    /// Writes the frames alone: a tag, or a head that counts frames, is of one segment only.
    fn mp3(&mut self, track: &ChosenTrack) -> Result<Container, JoinError> {
        for slot in &track.slots {
            let range = slot.of.range.clone();
            let start = self.first_frame(slot.of.body, range.clone())?;
            self.copy(&BodyRange {
                body: slot.of.body,
                range: start.min(range.end)..range.end,
            });
        }
        Ok(Container::Mp3)
    }

    fn first_frame(&self, body: usize, range: Range<u64>) -> Result<u64, JoinError> {
        let open = self.open(body)?;
        let mut head = [0; 256];
        let n = open
            .read_at(range.start, &mut head)
            .map_err(JoinError::Read)?;
        let tag = id3::head(&head[..n]).map_or(0, |tag| tag.len());
        let start = range.start + tag;
        let n = open.read_at(start, &mut head).map_err(JoinError::Read)?;
        let head = &head[..n];
        let Some(frame) = mp3::frame(head) else {
            return Ok(start);
        };
        let counts = |w: &[u8]| matches!(w, b"Xing" | b"Info" | b"VBRI");
        let own = if head.windows(4).take(48).any(counts) {
            frame.length.into()
        } else {
            0
        };
        Ok(start + own)
    }
}

/// WebM.
impl Planner<'_> {
    fn webm(&mut self, media: &[&ChosenTrack]) -> Result<Container, JoinError> {
        let mut lanes = Vec::new();
        let mut declared: Vec<webm::Init> = Vec::new();
        let mut inits: HashMap<BodyRange, Option<webm::Init>> = HashMap::new();
        for track in media {
            let first = declared.iter().map(|i| i.tracks.len() as u8).sum::<u8>() + 1;
            let mut lane: Vec<webm::WebmSegment> = Vec::with_capacity(track.slots.len());
            for pick in &track.slots {
                let place = pick.head();
                if !inits.contains_key(place) {
                    let init = webm::init(&self.open(place.body)?, place.range.clone())
                        .map_err(JoinError::Read)?;
                    inits.insert(place.clone(), init);
                }
                let Some(init) = inits.get(place).and_then(Option::as_ref) else {
                    return Err(JoinError::Unknown(
                        "a WebM stream without its initialisation segment",
                    ));
                };
                if init.tracks.iter().any(|t| t.encrypted) {
                    return Err(JoinError::Protected);
                }
                if lane.is_empty() {
                    declared.push(init.clone());
                }
                let known = &declared[declared.len() - 1];
                let body = self.choice.bodies[pick.of.body].clone();
                lane.push(webm::WebmSegment::new(
                    body,
                    pick.of.range.clone(),
                    init,
                    known,
                    first,
                ));
            }
            lanes.push(lane);
        }
        let timed = declared.iter().all(|init| init.has_duration);
        if media.len() == 1
            && timed
            && media[0]
                .slots
                .iter()
                .all(|p| p.init == media[0].slots[0].init)
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
    fn transport(&mut self, media: &[&ChosenTrack]) -> Result<Container, JoinError> {
        let mut lanes = Vec::new();
        let mut plain = media.len() == 1;
        let mut clock = Clock::wrapping((1 << 33) * TICK.0 / TICK.1);
        for track in media {
            clock.rewind();
            let mut lane: Vec<mix::TsSegment> = Vec::with_capacity(track.slots.len());
            for pick in &track.slots {
                let Some((content, time, start)) = self.segment(pick, lane.last())? else {
                    self.notes.push(format!(
                        "a segment at {:.0} s is not what it should be",
                        pick.start.as_secs_f64()
                    ));
                    continue;
                };
                let mut part = mix::TsSegment {
                    body: self.choice.bodies[pick.of.body].clone(),
                    range: start..pick.of.range.end,
                    content,
                    shift: 0,
                };
                if let Some(time) = time {
                    let stamp = i128::from(time) * TICK.0 / TICK.1;
                    // Where exactly the last segment ends is only looked up when a new stretch
                    // begins.
                    if clock.begins_anew(pick, stamp)
                        && let Some(before) = lane.last()
                        && let Some(seam) = seam(before, &part)?
                    {
                        clock.ended(stamp + i128::from(seam) * TICK.0 / TICK.1);
                    }
                    let by = clock.shift(pick, stamp);
                    let start = stamp + by;
                    clock.passed(pick, start, start + pick.duration.as_nanos() as i128);
                    part.shift = (by * TICK.1 / TICK.0) as i64;
                }
                plain &= part.shift == 0 && lane.first().is_none_or(|p| p.content == part.content);
                lane.push(part);
            }
            lanes.push(lane);
        }
        lanes.retain(|lane| !lane.is_empty());
        let video = lanes.first().ok_or(JoinError::Nothing)?;
        if plain
            && matches!(video[0].content, mix::Payload::Packets(_))
            && video.len() == media[0].slots.len()
        {
            return Ok(self.verbatim(media[0], Container::Ts));
        }
        self.steps.push(Step::Mix(lanes));
        Ok(Container::Ts)
    }

    /// What a segment is, its first time stamp, and where its first packet or frame is. A segment
    /// that doesn't announce its program continues the one `before` it.
    fn segment(
        &self,
        pick: &FilledSlot,
        before: Option<&mix::TsSegment>,
    ) -> Result<Option<(mix::Payload, Option<u64>, u64)>, JoinError> {
        let open = self.open(pick.of.body)?;
        let start = pick.of.range.start;
        match ts::head(&open, pick.of.range.clone()).map_err(JoinError::Read)? {
            Some(head) if head.scrambled => return Err(JoinError::Protected),
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
        let Some(head) = adts::head(&open, pick.of.range.clone()).map_err(JoinError::Read)? else {
            return Ok(None);
        };
        let start = pick.start.as_nanos() as i128 * TICK.1 / TICK.0;
        let time = head
            .time
            .unwrap_or_else(|| u64::try_from(start).unwrap_or(0));
        Ok(Some((mix::Payload::Adts(time), Some(time), head.start)))
    }
}

/// What is added to the time stamps of a segment so that each of its streams begins where the same
/// one ends in the segment `before`, or later: sound is cut at other times than pictures.
fn seam(before: &mix::TsSegment, next: &mix::TsSegment) -> Result<Option<i64>, JoinError> {
    let (mix::Payload::Packets(old), mix::Payload::Packets(new)) = (&before.content, &next.content)
    else {
        return Ok(None);
    };
    let of = |part: &mix::TsSegment| part.body.open().map(|open| (open, part.range.clone()));
    let aac: Vec<u16> = streams(old)
        .filter(|s| s.1.kind == AAC)
        .map(|s| s.1.pid)
        .collect();
    let (open, range) = of(before).map_err(JoinError::Read)?;
    let last = ts::last_units(open, range, &aac).map_err(JoinError::Read)?;
    let (open, range) = of(next).map_err(JoinError::Read)?;
    let first = ts::first_stamps(open, range).map_err(JoinError::Read)?;
    let ends: HashMap<_, &ts::LastUnit> = streams(old)
        .filter_map(|(key, s)| Some((key, last.get(&s.pid)?)))
        .collect();
    let shifts = streams(new).filter_map(|(key, s)| {
        let (start, unit) = (*first.get(&s.pid)?, *ends.get(&key)?);
        let own = adts::duration(&&unit.payload[..], 0..unit.payload.len() as u64);
        let since = ts::difference(unit.time, start);
        let lasts = match own {
            Ok(ticks @ 1..) => ticks as i64,
            // As long as the one before it, unless the next one follows sooner.
            _ if (1..unit.step).contains(&since) => since,
            _ => unit.step,
        };
        Some(lasts - since + before.shift)
    });
    let later = |a: i64, b: i64| ts::difference(a as u64, b as u64) > 0;
    Ok(shifts.reduce(|a, b| if later(a, b) { b } else { a }))
}

/// Pictures and sound of a program, each with the key by which its counterpart in another one is
/// found.
fn streams(program: &ts::Program) -> impl Iterator<Item = ((u8, usize), &ts::Stream)> {
    mix::numbered(program).filter(|(_, s)| s.is_video() || s.is_audio())
}

/// `stream_type` of AAC in ADTS frames (ISO/IEC 13818-1, table 2-34).
const AAC: u8 = 0x0f;

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
    for pick in &track.slots {
        let open = choice.bodies[pick.of.body].open()?;
        let len = (pick.of.range.end - pick.of.range.start).min(webvtt::MAX_SEGMENT);
        let mut text = vec![0; len as usize];
        let n = open.read_at(pick.of.range.start, &mut text)?;
        merged.add(&String::from_utf8_lossy(&text[..n]), pick.start);
    }
    Ok(merged.finish().map(|text| (track.language.clone(), text)))
}
