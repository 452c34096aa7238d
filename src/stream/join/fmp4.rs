//! Fragmented MP4 (ISO/IEC 14496-12), box by box: what its headers say, and headers rewritten so
//! that tracks of several files share one. Samples are never looked at.

mod write;

use std::{io, ops::Range};

pub(crate) use write::{joined_init, rewrite};

use crate::content::Content;

/// The largest `moov` or `moof` that is read into memory. An hour in one fragment has 3 MB.
const MAX_HEADER: u64 = 16 << 20;
/// Boxes on one level, above which it is no video.
const MAX_BOXES: usize = 100_000;

/// A box and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Atom {
    pub(crate) kind: [u8; 4],
    /// Where the header starts.
    pub(crate) at: u64,
    /// Where the payload starts.
    pub(crate) body: u64,
    /// The first byte after it.
    pub(crate) end: u64,
}

/// What an initialisation segment (`moov`) says.
#[derive(Clone, Debug)]
pub(crate) struct Init {
    /// Units of a second in `mvhd`.
    timescale: u32,
    pub(crate) tracks: Vec<Trak>,
    moov: Vec<u8>,
}

/// One track of it.
#[derive(Clone, Debug)]
pub(crate) struct Trak {
    pub(crate) id: u32,
    /// Units of a second in its media time.
    pub(crate) timescale: u32,
    /// `vide`, `soun`, …
    pub(crate) handler: [u8; 4],
    /// Its samples are encrypted.
    pub(crate) protected: bool,
    /// The `trak` box in `moov`, its payload.
    payload: Range<usize>,
}

/// A `moof` and the data that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) moof: Range<u64>,
    /// The end of its data.
    pub(crate) end: u64,
    pub(crate) trafs: Vec<Traf>,
}

/// One track's part of a fragment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Traf {
    pub(crate) track: u32,
    /// Decode time of its first sample (`tfdt`).
    pub(crate) time: Option<u64>,
    /// Its data's place is told by where it is in the file: it must not lie elsewhere.
    pub(crate) absolute: bool,
    /// Of all samples; 0 where only the `trex` tells.
    pub(crate) duration: u64,
    pub(crate) samples: u64,
}

/// How a track's fragments change.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// The track's new id.
    pub(crate) id: u32,
    /// Added to its decode times.
    pub(crate) shift: i64,
    /// Put in front of the first sample's bytes.
    pub(crate) prefix: Vec<u8>,
}

/// The beginning of a fragment, rewritten.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The `moof` and the header of the data, in place of the first `from` bytes.
    pub(crate) head: Vec<u8>,
    pub(crate) from: u64,
    /// What is inserted behind them, by offset in the old fragment.
    pub(crate) inserts: Vec<(u64, Vec<u8>)>,
}

/// One track of a joined file.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// Its init segment.
    pub(crate) init: &'a Init,
    /// Which track of it.
    pub(crate) track: usize,
}

/// The boxes of `range`, until something is not a box. A box that ends after `range` is not given.
pub(crate) fn atoms<C: Content + ?Sized>(content: &C, range: Range<u64>) -> io::Result<Vec<Atom>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while range.end.saturating_sub(at) >= 8 && found.len() < MAX_BOXES {
        let mut head = [0; 16];
        let want = head
            .len()
            .min(usize::try_from(range.end - at).unwrap_or(16));
        let n = content.read_at(at, &mut head[..want])?;
        let Some((kind, header, len)) = header(&head[..n], range.end - at) else {
            break;
        };
        let end = at + len;
        if end > range.end {
            break;
        }
        found.push(Atom {
            kind,
            at,
            body: at + header,
            end,
        });
        at = end;
    }
    Ok(found)
}

/// Type, length of the header, length of the box. `left` is what a box of length 0 extends over.
fn header(head: &[u8], left: u64) -> Option<([u8; 4], u64, u64)> {
    let kind = head.get(4..8)?.try_into().ok()?;
    let (header, len) = match be32(head, 0)? {
        0 => (8, left),
        1 => (16, be64(head, 8)?),
        n => (8, u64::from(n)),
    };
    // What doesn't even hold its header is no box; beyond 2^63 there are no files.
    (len >= header && len <= i64::MAX as u64).then_some((kind, header, len))
}

/// The boxes in `bytes`: type and payload.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], Range<usize>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let (kind, header, len) = header(rest, rest.len() as u64)?;
        let len = usize::try_from(len).ok().filter(|&n| n <= rest.len())?;
        let payload = at + header as usize..at + len;
        at += len;
        Some((kind, payload))
    })
}

/// The payload of the first box at `path`, as a range of `bytes`.
fn find(bytes: &[u8], path: &[&[u8; 4]]) -> Option<Range<usize>> {
    let mut within = 0..bytes.len();
    for kind in path {
        let (_, found) = boxes(&bytes[within.clone()]).find(|(k, _)| k == *kind)?;
        within = within.start + found.start..within.start + found.end;
    }
    Some(within)
}

fn payload<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    find(bytes, path).map(|range| &bytes[range])
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at.checked_add(8)?)?
        .try_into()
        .ok()
        .map(u64::from_be_bytes)
}

/// Reads `range` if it is no more than a header may have.
fn read<C: Content + ?Sized>(content: &C, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
    let len = range.end.saturating_sub(range.start);
    if len > MAX_HEADER {
        return Ok(None);
    }
    let mut bytes = vec![0; len as usize];
    let n = content.read_at(range.start, &mut bytes)?;
    Ok((n == bytes.len()).then_some(bytes))
}

/// The first `moov` in `range`, if there is a usable one.
pub(crate) fn init<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Option<Init>> {
    let Some(moov) = atoms(content, range)?
        .into_iter()
        .find(|a| &a.kind == b"moov")
    else {
        return Ok(None);
    };
    Ok(read(content, moov.body..moov.end)?.and_then(Init::parse))
}

impl Init {
    /// Reads the payload of a `moov`.
    fn parse(moov: Vec<u8>) -> Option<Self> {
        let mvhd = payload(&moov, &[b"mvhd"])?;
        let timescale = be32(mvhd, if *mvhd.first()? == 1 { 20 } else { 12 })?;
        let tracks: Vec<_> = boxes(&moov)
            .filter(|(kind, _)| kind == b"trak")
            .filter_map(|(_, range)| Trak::parse(&moov, range))
            .take(64)
            .collect();
        (!tracks.is_empty()).then_some(Self {
            timescale,
            tracks,
            moov,
        })
    }

    /// Whether any track is encrypted.
    pub(crate) fn protected(&self) -> bool {
        self.tracks.iter().any(|t| t.protected) || find(&self.moov, &[b"pssh"]).is_some()
    }

    /// What a decoder needs to know before the first sample of a track.
    pub(crate) fn parameter_sets(&self, track: usize) -> ParameterSets {
        let trak = self
            .tracks
            .get(track)
            .map(|t| &self.moov[t.payload.clone()]);
        let entries = trak
            .and_then(|t| payload(t, STSD))
            .and_then(|stsd| stsd.get(8..));
        let Some((codec, range)) = entries.and_then(|e| boxes(e).next()) else {
            return ParameterSets::default();
        };
        // What a VisualSampleEntry has before its boxes.
        let inner = entries
            .and_then(|e| e.get(range))
            .and_then(|e| e.get(78..))
            .unwrap_or_default();
        let sets = match &codec {
            b"avc1" | b"avc3" => payload(inner, &[b"avcC"]).and_then(avc),
            b"hvc1" | b"hev1" => payload(inner, &[b"hvcC"]).and_then(hevc),
            // VP9 and AV1 say everything in each key frame; sound doesn't change within a time
            // scale.
            _ => None,
        };
        sets.unwrap_or(ParameterSets {
            codec,
            ..ParameterSets::default()
        })
    }

    fn trex(&self, id: u32) -> Option<&[u8]> {
        let mvex = payload(&self.moov, &[b"mvex"])?;
        let all = boxes(mvex)
            .filter(|(kind, _)| kind == b"trex")
            .map(|(_, range)| &mvex[range]);
        all.into_iter().find(|trex| be32(trex, 4) == Some(id))
    }

    /// The duration of each sample where a fragment doesn't tell (`trex`).
    pub(crate) fn default_duration(&self, id: u32) -> u64 {
        self.trex(id).and_then(|t| be32(t, 12)).map_or(0, u64::from)
    }
}

/// Parameter sets of H.264 or H.265 (ISO/IEC 14496-15, 5.3.3 and 8.3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParameterSets {
    codec: [u8; 4],
    /// Bytes of the length before each unit.
    width: usize,
    units: Vec<Vec<u8>>,
}

/// Kind of codec, and bytes of the length before each unit.
pub(crate) type Layout = ([u8; 3], usize);

impl ParameterSets {
    /// What must be equal for samples to go into one track: how their units' lengths are written.
    pub(crate) fn layout(&self) -> Layout {
        // avc1 and avc3, hvc1 and hev1 differ in where the sets may be.
        let [a, b, c, _] = self.codec;
        (
            if [a, b, c] == *b"hev" {
                *b"hvc"
            } else {
                [a, b, c]
            },
            self.width,
        )
    }

    /// The sets as units in front of a sample.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for unit in &self.units {
            out.extend_from_slice(&(unit.len() as u32).to_be_bytes()[4 - self.width..]);
            out.extend_from_slice(unit);
        }
        out
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(|b| u16::from_be_bytes(b).into())
}

/// Takes `count` units with 16-bit lengths from `bytes`.
fn units(bytes: &mut &[u8], count: usize, into: &mut Vec<Vec<u8>>) -> Option<()> {
    for _ in 0..count {
        let len = be16(bytes, 0)?;
        into.push(bytes.get(2..2 + len)?.to_vec());
        *bytes = &bytes[2 + len..];
    }
    Some(())
}

fn avc(config: &[u8]) -> Option<ParameterSets> {
    let width = usize::from(config.get(4)? & 3) + 1;
    let mut list = Vec::new();
    let mut rest = config.get(6..)?;
    units(&mut rest, usize::from(config[5] & 31), &mut list)?;
    let pictures = *rest.first()?;
    rest = &rest[1..];
    units(&mut rest, pictures.into(), &mut list)?;
    // One byte can't hold a set's length.
    (width > 1).then_some(ParameterSets {
        codec: *b"avc1",
        width,
        units: list,
    })
}

fn hevc(config: &[u8]) -> Option<ParameterSets> {
    let width = usize::from(config.get(21)? & 3) + 1;
    let mut list = Vec::new();
    let mut rest = config.get(23..)?;
    for _ in 0..config[22] {
        let count = be16(rest, 1)?;
        rest = rest.get(3..)?;
        units(&mut rest, count, &mut list)?;
    }
    (width > 1).then_some(ParameterSets {
        codec: *b"hvc1",
        width,
        units: list,
    })
}

const STSD: &[&[u8; 4]] = &[b"mdia", b"minf", b"stbl", b"stsd"];

impl Trak {
    fn parse(moov: &[u8], range: Range<usize>) -> Option<Self> {
        let trak = &moov[range.clone()];
        let tkhd = payload(trak, &[b"tkhd"])?;
        let id = be32(tkhd, if *tkhd.first()? == 1 { 20 } else { 12 })?;
        let mdhd = payload(trak, &[b"mdia", b"mdhd"])?;
        let timescale = be32(mdhd, if *mdhd.first()? == 1 { 20 } else { 12 }).filter(|&t| t > 0)?;
        let handler = payload(trak, &[b"mdia", b"hdlr"])?
            .get(8..12)?
            .try_into()
            .ok()?;
        let entries = payload(trak, STSD)?.get(8..)?;
        let protected =
            boxes(entries).any(|(kind, _)| matches!(&kind, b"encv" | b"enca" | b"enct"));
        Some(Self {
            id,
            timescale,
            handler,
            protected,
            payload: range,
        })
    }
}

/// The fragments in `range`: each `moof` with the data up to the next.
pub(crate) fn fragments<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Vec<Fragment>> {
    let mut found: Vec<Fragment> = Vec::new();
    for atom in atoms(content, range)? {
        match &atom.kind {
            b"moof" => {
                let trafs = read(content, atom.body..atom.end)?
                    .map(|m| trafs(&m))
                    .unwrap_or_default();
                if !trafs.is_empty() {
                    found.push(Fragment {
                        moof: atom.at..atom.end,
                        end: atom.end,
                        trafs,
                    });
                }
            }
            b"mdat" => {
                if let Some(last) = found.last_mut().filter(|f| f.end == atom.at) {
                    last.end = atom.end;
                }
            }
            _ => {}
        }
    }
    found.retain(|f| f.end > f.moof.end);
    Ok(found)
}

fn trafs(moof: &[u8]) -> Vec<Traf> {
    let all = boxes(moof).filter(|(kind, _)| kind == b"traf");
    all.take(64)
        .filter_map(|(_, range)| traf(&moof[range]))
        .collect()
}

fn traf(bytes: &[u8]) -> Option<Traf> {
    let tfhd = Tfhd::parse(payload(bytes, &[b"tfhd"])?)?;
    let mut traf = Traf {
        track: tfhd.track,
        absolute: tfhd.base.is_some(),
        ..Traf::default()
    };
    for (kind, range) in boxes(bytes) {
        let body = &bytes[range];
        match &kind {
            b"tfdt" => {
                traf.time = if body.first() == Some(&1) {
                    be64(body, 4)
                } else {
                    be32(body, 4).map(u64::from)
                }
            }
            b"trun" => {
                let (samples, duration) = trun(body, tfhd.duration).unwrap_or_default();
                traf.samples = traf.samples.saturating_add(samples);
                traf.duration = traf.duration.saturating_add(duration);
            }
            _ => {}
        }
    }
    Some(traf)
}

/// What a `tfhd` holds, and where.
#[derive(Clone, Copy)]
struct Tfhd {
    flags: u32,
    track: u32,
    /// Where its data's offsets count from, in the file.
    base: Option<u64>,
    duration: u64,
}

/// Offsets count from the `moof`.
const BASE_IS_MOOF: u32 = 0x02_0000;
const HAS_BASE: u32 = 1;
const HAS_ENTRY: u32 = 2;
const HAS_DURATION: u32 = 8;

impl Tfhd {
    fn parse(tfhd: &[u8]) -> Option<Self> {
        let flags = be32(tfhd, 0)?;
        let at = 8
            + if flags & HAS_BASE > 0 { 8 } else { 0 }
            + if flags & HAS_ENTRY > 0 { 4 } else { 0 };
        let duration = if flags & HAS_DURATION > 0 {
            be32(tfhd, at)?
        } else {
            0
        };
        let base = if flags & HAS_BASE > 0 {
            Some(be64(tfhd, 8)?)
        } else {
            None
        };
        Some(Self {
            flags,
            track: be32(tfhd, 4)?,
            base,
            duration: duration.into(),
        })
    }

    /// Where offsets count from, seen from a `moof` that lies there in the file.
    fn from(&self, moof: u64) -> Option<i64> {
        let base = self.base.unwrap_or(moof);
        i64::try_from(base)
            .ok()?
            .checked_sub(i64::try_from(moof).ok()?)
    }
}

/// Samples of a `trun`, and how long they last. The count must be backed by bytes where a sample
/// has any.
fn trun(trun: &[u8], default: u64) -> Option<(u64, u64)> {
    let flags = be32(trun, 0)?;
    let count = be32(trun, 4)? as usize;
    let first = 8 + [1, 4].iter().filter(|&&f| flags & f > 0).count() * 4;
    let size = [0x100, 0x200, 0x400, 0x800]
        .iter()
        .filter(|&&f| flags & f > 0)
        .count()
        * 4;
    if size == 0 || flags & 0x100 == 0 {
        return Some((count as u64, (count as u64).saturating_mul(default)));
    }
    let samples = trun.get(first..)?.chunks_exact(size).take(count);
    let duration = samples
        .filter_map(|s| be32(s, 0))
        .map(u64::from)
        .fold(0, u64::saturating_add);
    Some((count as u64, duration))
}

/// A stretch of a file that a `sidx` tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) bytes: Range<u64>,
    /// In nanoseconds.
    pub(crate) duration: u64,
}

/// What the first `sidx` in `range` of a file lists; empty when there is none, or when it lists
/// other indexes.
pub(crate) fn sidx<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Vec<Indexed>> {
    let Some(atom) = atoms(content, range)?
        .into_iter()
        .find(|a| &a.kind == b"sidx")
    else {
        return Ok(Vec::new());
    };
    Ok(read(content, atom.body..atom.end)?
        .and_then(|b| index(&b, atom.end))
        .unwrap_or_default())
}

fn index(sidx: &[u8], anchor: u64) -> Option<Vec<Indexed>> {
    let timescale = be32(sidx, 8).filter(|&t| t > 0)?;
    let (offset, at) = if *sidx.first()? == 0 {
        (be32(sidx, 16)?.into(), 20)
    } else {
        (be64(sidx, 20)?, 28)
    };
    let count = usize::from(u16::from_be_bytes(
        sidx.get(at + 2..at + 4)?.try_into().ok()?,
    ));
    let mut from = anchor.checked_add(offset)?;
    let mut list = Vec::with_capacity(count);
    for entry in sidx.get(at + 4..)?.chunks_exact(12).take(count) {
        let size = be32(entry, 0)?;
        if size >> 31 == 1 {
            return None; // a reference to another index
        }
        let end = from
            .checked_add(size.into())
            .filter(|&e| e <= i64::MAX as u64)?;
        let duration = u64::from(be32(entry, 4)?) * 1_000_000_000 / u64::from(timescale);
        list.push(Indexed {
            bytes: from..end,
            duration,
        });
        from = end;
    }
    Some(list)
}
