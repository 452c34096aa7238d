//! WebM (Matroska, RFC 9559) of several files joined block by block: sound and pictures of a DASH
//! manifest.

use std::{
    collections::VecDeque,
    io::{self, Write},
    ops::Range,
};

use crate::{
    container::ebml::{self, children, id, uint},
    content::Content,
    stream::{Body, OpenBody},
};

/// The largest header or block that is read into memory: a key frame of 8K pictures has 4 MB.
const MAX_ELEMENT: u64 = 16 << 20;
/// A cluster is no longer than this; block times in it have 16 bits. In milliseconds.
const LONGEST_CLUSTER: i64 = 10_000;

/// What an initialisation segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Init {
    /// Nanoseconds of a time stamp's unit.
    scale: u64,
    /// It says how long the video is.
    pub(crate) has_duration: bool,
    pub(crate) tracks: Vec<TrackEntry>,
}

/// A track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrackEntry {
    number: u64,
    /// 1 pictures, 2 sound.
    kind: u64,
    /// It has pictures.
    pub(crate) video: bool,
    pub(crate) encrypted: bool,
    /// The payload of its `TrackEntry`.
    payload: Vec<u8>,
}

/// A segment to be joined, and the new numbers of its tracks.
#[derive(Clone, Debug)]
pub(crate) struct WebmSegment {
    pub(crate) body: Body,
    pub(crate) range: Range<u64>,
    /// Nanoseconds of a time stamp's unit.
    scale: u64,
    numbers: Vec<(u64, u8)>,
}

/// An element's id, where its content starts, and its length; `None` for a length that is not
/// known.
type Element = (u32, u64, Option<u64>);

/// The element at `at`. `None` for what isn't one.
fn element<C: Content + ?Sized>(content: &C, at: u64) -> io::Result<Option<Element>> {
    let mut head = [0; ebml::HEADER];
    let left = usize::try_from(content.len().saturating_sub(at)).unwrap_or(head.len());
    let left = left.min(head.len());
    let n = content.read_at(at, &mut head[..left])?;
    let header = ebml::header(&head[..n]);
    Ok(header.map(|header| (header.id, at + header.len as u64, header.size)))
}

fn put(out: &mut Vec<u8>, id: u32, payload: &[u8]) {
    let id = id.to_be_bytes();
    out.extend_from_slice(&id[id.iter().take_while(|b| **b == 0).count()..]);
    out.extend_from_slice(&(payload.len() as u64 | 1 << 56).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Info and tracks at the start of `range`.
pub(crate) fn init<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Option<Init>> {
    let mut at = range.start;
    let mut init = Init {
        scale: 1_000_000,
        has_duration: false,
        tracks: Vec::new(),
    };
    while at < range.end {
        let Some((id, start, len)) = element(content, at)? else {
            break;
        };
        if id == id::SEGMENT {
            at = start;
            continue;
        }
        let Some(len) = len.filter(|_| id != id::CLUSTER) else {
            break;
        };
        if matches!(id, id::INFO | id::TRACKS) && len <= MAX_ELEMENT && start + len <= range.end {
            let mut payload = vec![0; len as usize];
            let n = content.read_at(start, &mut payload)?;
            payload.truncate(n);
            if id == id::INFO {
                let scale = children(&payload)
                    .find(|(id, _)| *id == id::TIMESTAMP_SCALE)
                    .map(|(_, v)| uint(v));
                init.scale = scale.filter(|s| *s > 0).unwrap_or(1_000_000);
                init.has_duration = children(&payload).any(|(id, _)| id == id::DURATION);
            } else {
                let entries = children(&payload).filter(|(id, _)| *id == id::TRACK_ENTRY);
                init.tracks = entries
                    .take(64)
                    .filter_map(|(_, entry)| TrackEntry::parse(entry))
                    .collect();
            }
        }
        let Some(next) = start.checked_add(len) else {
            break;
        };
        at = next;
    }
    Ok((!init.tracks.is_empty()).then_some(init))
}

impl TrackEntry {
    fn parse(payload: &[u8]) -> Option<Self> {
        let field = |wanted| {
            children(payload)
                .find(|(id, _)| *id == wanted)
                .map(|(_, v)| v)
        };
        let encodings = field(id::ENCODINGS).unwrap_or_default();
        let encrypted = children(encodings)
            .filter(|(id, _)| *id == id::ENCODING)
            .any(|(_, e)| children(e).any(|(id, _)| id == id::ENCRYPTION));
        Some(Self {
            number: field(id::TRACK_NUMBER).map(uint)?,
            kind: field(id::TRACK_TYPE).map(uint)?,
            video: field(id::TRACK_TYPE).map(uint)? == 1,
            encrypted,
            payload: payload.to_vec(),
        })
    }
}

/// Header, info and tracks of a file with all tracks of `inits`, numbered from 1. `duration` in
/// milliseconds.
pub(crate) fn head(inits: &[&Init], duration: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut ebml = Vec::new();
    for (id, value) in [
        (0x4286, 1),
        (0x42f7, 1),
        (0x42f2, 4),
        (0x42f3, 8),
        (0x4287, 4),
        (0x4285, 2),
    ] {
        put(&mut ebml, id, &[value]);
    }
    put(&mut ebml, 0x4282, b"webm");
    put(&mut out, id::EBML, &ebml);
    // A segment of unknown length: everything to the end of the file.
    out.extend_from_slice(&id::SEGMENT.to_be_bytes());
    out.extend_from_slice(&u64::to_be_bytes(0x01ff_ffff_ffff_ffff));
    let mut info = Vec::new();
    put(&mut info, id::TIMESTAMP_SCALE, &1_000_000_u32.to_be_bytes());
    put(&mut info, id::DURATION, &(duration as f64).to_be_bytes());
    put(&mut info, id::MUXING_APP, b"fisga");
    put(&mut info, id::WRITING_APP, b"fisga");
    put(&mut out, id::INFO, &info);
    let mut tracks = Vec::new();
    for (number, entry) in (1_u8..).zip(inits.iter().flat_map(|i| &i.tracks)) {
        let mut renumbered = Vec::new();
        put(&mut renumbered, id::TRACK_NUMBER, &[number]);
        for (id, payload) in children(&entry.payload).filter(|(id, _)| *id != id::TRACK_NUMBER) {
            put(&mut renumbered, id, payload);
        }
        put(&mut tracks, id::TRACK_ENTRY, &renumbered);
    }
    put(&mut out, id::TRACKS, &tracks);
    out
}

impl WebmSegment {
    /// A segment whose tracks are those of `own`, in a lane that is declared as `declared` with
    /// numbers from `first`.
    pub(crate) fn new(
        body: Body,
        range: Range<u64>,
        own: &Init,
        declared: &Init,
        first: u8,
    ) -> Self {
        let nth = |tracks: &[TrackEntry], i: usize| {
            tracks[..i]
                .iter()
                .filter(|t| t.kind == tracks[i].kind)
                .count()
        };
        let numbers = own.tracks.iter().enumerate().filter_map(|(i, track)| {
            let like = |d: &usize| {
                declared.tracks[*d].kind == track.kind
                    && nth(&declared.tracks, *d) == nth(&own.tracks, i)
            };
            let found = (0..declared.tracks.len()).find(like)?;
            Some((track.number, first + u8::try_from(found).ok()?))
        });
        Self {
            body,
            range,
            scale: own.scale,
            numbers: numbers.collect(),
        }
    }
}

/// A block with its new number, at a time in milliseconds.
struct Block {
    time: i64,
    /// A cluster of its source began here, so pictures can be decoded from it on.
    opens: bool,
    id: u32,
    /// Payload, with the track's number in the first byte and its time in the next two.
    payload: Vec<u8>,
    /// Where in the payload the block itself starts.
    at: usize,
}

/// Blocks of one lane's segments, in order.
struct Lane<'a> {
    parts: std::slice::Iter<'a, WebmSegment>,
    open: Option<(OpenBody, &'a WebmSegment, u64)>,
    cluster: i64,
    opens: bool,
    next: VecDeque<Block>,
}

impl<'a> Lane<'a> {
    fn new(parts: &'a [WebmSegment]) -> Self {
        Self {
            parts: parts.iter(),
            open: None,
            cluster: 0,
            opens: false,
            next: VecDeque::new(),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.next.is_empty() {
            let Some((body, part, at)) = &mut self.open else {
                let Some(part) = self.parts.next() else {
                    return Ok(());
                };
                self.open = Some((part.body.open()?, part, part.range.start));
                continue;
            };
            let found = if *at < part.range.end {
                element(body, *at)?
            } else {
                None
            };
            let Some((id, start, len)) = found else {
                self.open = None;
                continue;
            };
            if matches!(id, id::SEGMENT | id::CLUSTER) {
                self.opens |= id == id::CLUSTER;
                *at = start;
                continue;
            }
            let end = len
                .and_then(|len| start.checked_add(len))
                .filter(|end| *end <= part.range.end);
            let Some(end) = end else {
                self.open = None;
                continue;
            };
            *at = end;
            if !matches!(id, id::TIMESTAMP | id::SIMPLE_BLOCK | id::BLOCK_GROUP)
                || end - start > MAX_ELEMENT
            {
                continue;
            }
            let mut payload = vec![0; (end - start) as usize];
            if body.read_at(start, &mut payload)? < payload.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if id == id::TIMESTAMP {
                self.cluster = i64::try_from(uint(&payload)).unwrap_or(0);
            } else if let Some(block) = Block::new(id, payload, self.cluster, part, self.opens) {
                self.opens = false;
                self.next.push_back(block);
            }
        }
        Ok(())
    }
}

impl Block {
    /// `None` for blocks of tracks that are not wanted, and for other elements.
    fn new(
        id: u32,
        payload: Vec<u8>,
        cluster: i64,
        part: &WebmSegment,
        opens: bool,
    ) -> Option<Self> {
        let at = if id == id::BLOCK_GROUP {
            let (_, block) = children(&payload).find(|(id, _)| *id == id::BLOCK)?;
            block.as_ptr() as usize - payload.as_ptr() as usize
        } else {
            0
        };
        let head = ebml::block(&payload[at..])?;
        let new = part.numbers.iter().find(|(old, _)| *old == head.track)?.1;
        // A track number of one byte, as nearly all files have.
        if head.width != 1 {
            return None;
        }
        let mut payload = payload;
        payload[at] = 0x80 | new;
        let time = i128::from(cluster.saturating_add(head.time.into())) * i128::from(part.scale)
            / 1_000_000;
        Some(Self {
            time: i64::try_from(time).ok()?,
            opens,
            id,
            payload,
            at,
        })
    }

    fn write(mut self, cluster: i64, out: &mut dyn Write) -> io::Result<u64> {
        let relative = i16::try_from(self.time - cluster).unwrap_or(0);
        self.payload[self.at + 1..self.at + 3].copy_from_slice(&relative.to_be_bytes());
        out.write_all(&[self.id as u8])?;
        out.write_all(&(self.payload.len() as u64 | 1 << 56).to_be_bytes())?;
        out.write_all(&self.payload)?;
        Ok(9 + self.payload.len() as u64)
    }
}

/// Writes the blocks of all lanes by time, behind a [`head`]. Clusters begin where those of the
/// first lane do.
///
/// # Errors
/// What reading or writing returns.
pub(crate) fn join(lanes: &[Vec<WebmSegment>], out: &mut dyn Write) -> io::Result<u64> {
    let mut lanes: Vec<Lane<'_>> = lanes.iter().map(|parts| Lane::new(parts)).collect();
    let mut cluster: Option<i64> = None;
    let mut written = 0;
    loop {
        for lane in &mut lanes {
            lane.fill()?;
        }
        let first = lanes
            .iter()
            .enumerate()
            .filter_map(|(i, l)| Some((l.next.front()?.time, i)))
            .min();
        let Some((time, i)) = first else {
            return Ok(written);
        };
        let Some(block) = lanes[i].next.pop_front() else {
            return Ok(written);
        };
        let fits = |start: i64| (0..LONGEST_CLUSTER).contains(&(time - start));
        let start = match cluster {
            Some(start) if fits(start) && !(i == 0 && block.opens) => start,
            _ => {
                // Of unknown length: it ends where the next begins.
                let mut head = id::CLUSTER.to_be_bytes().to_vec();
                head.extend_from_slice(&u64::to_be_bytes(0x01ff_ffff_ffff_ffff));
                put(
                    &mut head,
                    id::TIMESTAMP,
                    &u64::try_from(time).unwrap_or(0).to_be_bytes(),
                );
                out.write_all(&head)?;
                written += head.len() as u64;
                time.max(0)
            }
        };
        cluster = Some(start);
        written += block.write(start, out)?;
    }
}
