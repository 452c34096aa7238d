//! Fragmented MP4 (ISO/IEC 14496-12), box by box: what an initialisation segment, fragments and an
//! index say. Samples are never looked at.

use std::{io, ops::Range};

use super::{
    bytes::be16,
    mp4::{self, STSD, Tfhd, Trex, Trun, atom, atoms, boxes, find, payload},
};
use crate::content::Content;

/// The largest `moov` or `moof` that is read into memory. An hour in one fragment has 3 MB.
const MAX_HEADER: u64 = 16 << 20;

/// What an initialisation segment (`moov`) says.
#[derive(Clone, Debug)]
pub(crate) struct Init {
    /// Units of a second in `mvhd`.
    pub(crate) timescale: u32,
    pub(crate) tracks: Vec<Trak>,
    /// The payload of the `moov`.
    pub(crate) moov: Vec<u8>,
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
    /// Where in the `moov` its payload is.
    pub(crate) payload: Range<usize>,
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
    /// Its data is found by its place in the file: it must not be moved.
    pub(crate) absolute: bool,
    /// Of all samples; 0 where only the `trex` says it.
    pub(crate) duration: u64,
    pub(crate) samples: u64,
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
        let (timescale, _) = mp4::media_time(payload(&moov, &[b"mvhd"])?)?;
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
        let Some((entries, (codec, range))) = entries.and_then(|e| Some((e, boxes(e).next()?)))
        else {
            return ParameterSets::default();
        };
        let configuration = mp4::configuration(&codec, &entries[range]);
        let sets = match &codec {
            b"avc1" | b"avc3" => configuration.and_then(avc),
            b"hvc1" | b"hev1" => configuration.and_then(hevc),
            // VP9 and AV1 say everything in each key frame; sound doesn't change within a time
            // scale.
            _ => None,
        };
        sets.unwrap_or(ParameterSets {
            codec,
            ..ParameterSets::default()
        })
    }

    /// The payload of a track's `trex`.
    pub(crate) fn trex(&self, id: u32) -> Option<&[u8]> {
        let mvex = payload(&self.moov, &[b"mvex"])?;
        let mut all = boxes(mvex)
            .filter(|(kind, _)| kind == b"trex")
            .map(|(_, range)| &mvex[range]);
        all.find(|body| mp4::trex(body).is_some_and(|trex| trex.track == id))
    }

    /// The duration of each sample where a fragment leaves it out.
    pub(crate) fn default_duration(&self, id: u32) -> u64 {
        let trex: Option<Trex> = self.trex(id).and_then(mp4::trex);
        trex.map_or(0, |trex| trex.duration.into())
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

/// Takes `count` units with 16-bit lengths from `bytes`.
fn units(bytes: &mut &[u8], count: usize, into: &mut Vec<Vec<u8>>) -> Option<()> {
    for _ in 0..count {
        let len = usize::from(be16(bytes, 0)?);
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
        units(&mut rest, count.into(), &mut list)?;
    }
    (width > 1).then_some(ParameterSets {
        codec: *b"hvc1",
        width,
        units: list,
    })
}

impl Trak {
    fn parse(moov: &[u8], range: Range<usize>) -> Option<Self> {
        let trak = &moov[range.clone()];
        let (timescale, _) = mp4::media_time(payload(trak, &[b"mdia", b"mdhd"])?)?;
        let handler = payload(trak, &[b"mdia", b"hdlr"])?
            .get(8..12)?
            .try_into()
            .ok()?;
        let entries = payload(trak, STSD)?.get(8..)?;
        Some(Self {
            id: mp4::track_id(payload(trak, &[b"tkhd"])?)?,
            timescale: Some(timescale).filter(|&t| t > 0)?,
            handler,
            protected: boxes(entries).any(|(kind, _)| mp4::is_encrypted(&kind)),
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

/// The first fragment in `range`; nothing behind it is read.
pub(crate) fn first_fragment<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Option<Fragment>> {
    let mut at = range.start;
    while let Some(atom) = atom(content, at..range.end)? {
        at = atom.end;
        if &atom.kind != b"moof" {
            continue;
        }
        let trafs = read(content, atom.body..atom.end)?.map(|m| trafs(&m));
        return Ok(trafs.filter(|t| !t.is_empty()).map(|trafs| Fragment {
            moof: atom.at..atom.end,
            end: atom.end,
            trafs,
        }));
    }
    Ok(None)
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
            b"tfdt" => traf.time = mp4::tfdt(body),
            b"trun" => {
                if let Some(run) = Trun::parse(body) {
                    let (duration, _) = run.sums(tfhd.duration.unwrap_or(0), 0);
                    traf.samples = traf.samples.saturating_add(run.count.into());
                    traf.duration = traf.duration.saturating_add(duration);
                }
            }
            _ => {}
        }
    }
    Some(traf)
}

/// A stretch of a file that a `sidx` lists.
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
        .and_then(|b| indexed(&mp4::sidx(&b)?, atom.end))
        .unwrap_or_default())
}

fn indexed(sidx: &mp4::Sidx, anchor: u64) -> Option<Vec<Indexed>> {
    let timescale = Some(u64::from(sidx.timescale)).filter(|&t| t > 0)?;
    let mut from = anchor.checked_add(sidx.offset)?;
    let mut list = Vec::with_capacity(sidx.references.len());
    for reference in &sidx.references {
        let end = from
            .checked_add(reference.bytes.into())
            .filter(|&e| e <= i64::MAX as u64 && !reference.is_index)?;
        list.push(Indexed {
            bytes: from..end,
            duration: u64::from(reference.duration) * 1_000_000_000 / timescale,
        });
        from = end;
    }
    Some(list)
}
