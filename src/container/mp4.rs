//! The boxes of ISO base media (ISO/IEC 14496-12, 4.2), and the fields of those that more than one
//! reader needs.

use std::{io, ops::Range};

use super::bytes::{array, be32, be64};
use crate::content::Content;

/// The longest header of a box: size, type, and a long size.
pub(crate) const HEADER: usize = 16;
/// Boxes on one level, above which it is no video.
const MAX_BOXES: usize = 100_000;
/// What a `SampleEntry` and a `VisualSampleEntry` have before their boxes (12.1.3).
pub(crate) const VISUAL_ENTRY: usize = 78;
/// From a `trak` to its sample descriptions.
pub(crate) const STSD: &[&[u8; 4]] = &[b"mdia", b"minf", b"stbl", b"stsd"];

/// The header of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its type, such as `moov`.
    pub(crate) kind: [u8; 4],
    /// Bytes of the header: 8 or 16.
    pub(crate) len: u64,
    /// Bytes of the box, its header included; `None` for a size of 0, which reaches to the end of
    /// what the box is in.
    pub(crate) size: Option<u64>,
}

/// The header that `bytes` begin with. A size that doesn't even hold the header is none.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let kind = array(bytes, 4)?;
    let (len, size) = match be32(bytes, 0)? {
        0 => (8, None),
        1 => (16, Some(be64(bytes, 8)?)),
        n => (8, Some(u64::from(n))),
    };
    size.is_none_or(|size| size >= len)
        .then_some(Header { kind, len, size })
}

impl Header {
    /// Whether it is one that lies at the top of a file (14496-12, table 1; QuickTime; DASH; what
    /// cameras write).
    pub(crate) fn is_top(&self) -> bool {
        matches!(
            &self.kind,
            b"ftyp"
                | b"styp"
                | b"moov"
                | b"moof"
                | b"mdat"
                | b"sidx"
                | b"ssix"
                | b"mfra"
                | b"free"
                | b"skip"
                | b"wide"
                | b"pnot"
                | b"uuid"
                | b"meta"
                | b"emsg"
                | b"prft"
                | b"pdin"
                | b"udta"
                | b"bloc"
                | b"imda"
                | b"PICT"
                | b"pict"
        )
    }

    /// Whether its type is one that may be registered: without control characters (©… included).
    pub(crate) fn is_registrable(&self) -> bool {
        self.kind.iter().all(|&k| k >= 0x20 && k != 0x7f)
    }
}

/// The boxes in `bytes`: type, and where the payload is. Ends at what is no whole box.
pub(crate) fn boxes(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], Range<usize>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..)?;
        let header = header(rest)?;
        let size = match header.size {
            Some(size) => usize::try_from(size).ok().filter(|&n| n <= rest.len())?,
            None => rest.len(),
        };
        let payload = at + header.len as usize..at + size;
        at += size;
        Some((header.kind, payload))
    })
}

/// Where in `bytes` the payload of the first box at `path` is.
pub(crate) fn find(bytes: &[u8], path: &[&[u8; 4]]) -> Option<Range<usize>> {
    let mut within = 0..bytes.len();
    for kind in path {
        let (_, found) = boxes(&bytes[within.clone()]).find(|(k, _)| k == *kind)?;
        within = within.start + found.start..within.start + found.end;
    }
    Some(within)
}

/// The payload of the first box at `path`.
pub(crate) fn payload<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    find(bytes, path).map(|range| &bytes[range])
}

/// A box and where it lies in a file.
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

/// The box at the start of `range`; `None` for what isn't one, or ends after it.
pub(crate) fn atom<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Option<Atom>> {
    let at = range.start;
    let left = range.end.saturating_sub(at);
    if left < 8 {
        return Ok(None);
    }
    let mut head = [0; HEADER];
    let want = usize::try_from(left).unwrap_or(HEADER).min(HEADER);
    let n = content.read_at(at, &mut head[..want])?;
    let Some(header) = header(&head[..n]) else {
        return Ok(None);
    };
    let end = match header.size {
        Some(size) => at.checked_add(size),
        None => Some(range.end),
    };
    let end = end.filter(|&end| end <= range.end);
    Ok(end.map(|end| Atom {
        kind: header.kind,
        at,
        body: at + header.len,
        end,
    }))
}

/// The boxes of `range`, until something is not a box. A box that ends after `range` is not given.
pub(crate) fn atoms<C: Content + ?Sized>(content: &C, range: Range<u64>) -> io::Result<Vec<Atom>> {
    let mut found: Vec<Atom> = Vec::new();
    let mut at = range.start;
    while found.len() < MAX_BOXES
        && let Some(next) = atom(content, at..range.end)?
    {
        at = next.end;
        found.push(next);
    }
    Ok(found)
}

/// Time scale and duration of `mvhd` and `mdhd`, which begin alike (8.2.2, 8.4.2).
pub(crate) fn media_time(body: &[u8]) -> Option<(u32, u64)> {
    Some(match body.first()? {
        1 => (be32(body, 20)?, be64(body, 24)?),
        _ => (be32(body, 12)?, be32(body, 16)?.into()),
    })
}

/// Where in a `tkhd` the track's id is (8.3.2).
pub(crate) fn track_id_at(tkhd: &[u8]) -> Option<usize> {
    Some(if *tkhd.first()? == 1 { 20 } else { 12 })
}

/// The track's id in a `tkhd`.
pub(crate) fn track_id(tkhd: &[u8]) -> Option<u32> {
    be32(tkhd, track_id_at(tkhd)?)
}

/// Whether a sample entry's type means encrypted samples: encv, enca, enct … (8.12), and Apple's
/// own drms, drmi, drmt.
pub(crate) fn is_encrypted(entry: &[u8; 4]) -> bool {
    entry.starts_with(b"enc") || matches!(entry, b"drms" | b"drmi" | b"drmt")
}

/// The decoder configuration of H.264 or H.265 in a sample entry of the type `entry`.
pub(crate) fn configuration<'a>(entry: &[u8; 4], body: &'a [u8]) -> Option<&'a [u8]> {
    let inner = body.get(VISUAL_ENTRY..)?;
    match entry {
        b"avc1" | b"avc3" => payload(inner, &[b"avcC"]),
        b"hvc1" | b"hev1" => payload(inner, &[b"hvcC"]),
        b"dvh1" | b"dvhe" => payload(inner, &[b"hvcC"]),
        _ => None,
    }
}

/// Bytes of the length before each NAL unit: `lengthSizeMinusOne` (ISO/IEC 14496-15, 5.3.3.1 and
/// 8.3.3.1).
pub(crate) fn nal_length(entry: &[u8; 4], body: &[u8]) -> Option<u8> {
    let configuration = configuration(entry, body)?;
    let at = if entry.starts_with(b"avc") { 4 } else { 21 };
    Some((configuration.get(at)? & 3) + 1)
}

/// `objectTypeIndication` of a sample entry of MPEG-4 kind (ISO/IEC 14496-1, 7.2.6.6): which
/// codec its samples have.
pub(crate) fn object_type(entry: &[u8; 4], body: &[u8]) -> Option<u8> {
    if entry != b"mp4v" {
        return None;
    }
    let esds = payload(body.get(VISUAL_ENTRY..)?, &[b"esds"])?;
    // ES_Descriptor: number and flags, and what the flags announce; a decoder's description.
    let es = descriptor(esds.get(4..)?, 3)?;
    let flags = *es.get(2)?;
    let url = if flags & 0x40 != 0 {
        1 + usize::from(*es.get(if flags & 0x80 != 0 { 5 } else { 3 })?)
    } else {
        0
    };
    let width = |flag| if flags & flag != 0 { 2 } else { 0 };
    let decoder = es.get(3 + width(0x80) + url + width(0x20)..)?;
    descriptor(decoder, 4)?.first().copied()
}

/// The content of the descriptor with this tag that `bytes` begin with: its length has up to four
/// bytes of seven bits.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    let width = rest.iter().take(4).position(|b| b & 0x80 == 0)? + 1;
    (*first == tag).then(|| rest.get(width..))?
}

/// Per-sample values of a track that fragments leave out (8.8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trex {
    pub(crate) track: u32,
    pub(crate) duration: u32,
    pub(crate) size: u32,
}

/// Reads a `trex`.
pub(crate) fn trex(body: &[u8]) -> Option<Trex> {
    Some(Trex {
        track: be32(body, 4)?,
        duration: be32(body, 12)?,
        size: be32(body, 16)?,
    })
}

/// A fragment of a track: its values and where its data is counted from (8.8.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tfhd {
    pub(crate) flags: u32,
    pub(crate) track: u32,
    /// Where its data's offsets count from, in the file.
    pub(crate) base: Option<u64>,
    pub(crate) duration: Option<u32>,
    pub(crate) size: Option<u32>,
}

impl Tfhd {
    /// `base-data-offset-present`.
    pub(crate) const HAS_BASE: u32 = 1;
    /// `sample-description-index-present`.
    pub(crate) const HAS_DESCRIPTION: u32 = 2;
    /// `default-sample-duration-present`.
    pub(crate) const HAS_DURATION: u32 = 8;
    /// `default-base-is-moof`: offsets count from the `moof`.
    pub(crate) const BASE_IS_MOOF: u32 = 0x02_0000;

    /// Reads a `tfhd`.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let flags = be32(body, 0)? & 0xff_ffff;
        let mut at = 8;
        let mut field = |flag: u32, width: usize| {
            let here = (flags & flag != 0).then_some(at);
            at += if here.is_some() { width } else { 0 };
            here
        };
        let (base, _) = (field(Self::HAS_BASE, 8), field(Self::HAS_DESCRIPTION, 4));
        let (duration, size) = (field(Self::HAS_DURATION, 4), field(0x10, 4));
        let number = |at: Option<usize>| at.map(|at| be32(body, at).ok_or(())).transpose();
        Some(Self {
            flags,
            track: be32(body, 4)?,
            base: match base {
                Some(at) => Some(be64(body, at)?),
                None => None,
            },
            duration: number(duration).ok()?,
            size: number(size).ok()?,
        })
    }

    /// Where offsets count from, seen from a `moof` that lies there in the file.
    pub(crate) fn from(&self, moof: u64) -> Option<i64> {
        let base = self.base.unwrap_or(moof);
        i64::try_from(base)
            .ok()?
            .checked_sub(i64::try_from(moof).ok()?)
    }
}

/// Decode time of a fragment's first sample (8.8.12).
pub(crate) fn tfdt(body: &[u8]) -> Option<u64> {
    match body.first()? {
        1 => be64(body, 4),
        _ => be32(body, 4).map(u64::from),
    }
}

/// A run of samples (8.8.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trun<'a> {
    pub(crate) flags: u32,
    pub(crate) count: u32,
    /// Where its data begins, counted from where its track's data is counted from.
    pub(crate) offset: Option<i32>,
    entries: &'a [u8],
}

impl<'a> Trun<'a> {
    pub(crate) const HAS_OFFSET: u32 = 1;
    pub(crate) const HAS_FIRST_FLAGS: u32 = 4;
    pub(crate) const HAS_DURATION: u32 = 0x100;
    pub(crate) const HAS_SIZE: u32 = 0x200;
    pub(crate) const HAS_FLAGS: u32 = 0x400;
    pub(crate) const HAS_COMPOSITION: u32 = 0x800;

    /// Reads a `trun`. There may be fewer entries than it counts.
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        let flags = be32(body, 0)? & 0xff_ffff;
        let offset = if flags & Self::HAS_OFFSET != 0 {
            Some(be32(body, 8)?.cast_signed())
        } else {
            None
        };
        let run = Self {
            flags,
            count: be32(body, 4)?,
            offset,
            entries: &[],
        };
        Some(Self {
            entries: body.get(run.first_entry()..).unwrap_or_default(),
            ..run
        })
    }

    /// Where in the box the first sample's entry is.
    pub(crate) fn first_entry(&self) -> usize {
        let optional = Self::HAS_OFFSET | Self::HAS_FIRST_FLAGS;
        8 + 4 * (self.flags & optional).count_ones() as usize
    }

    /// Duration and size of all samples: what an entry leaves out comes from the defaults.
    pub(crate) fn sums(&self, duration: u32, size: u32) -> (u64, u64) {
        let count = u64::from(self.count);
        let sum = |flag: u32, default: u32, at: usize| {
            if self.flags & flag == 0 {
                return count.saturating_mul(default.into());
            }
            let width = 4 * (self.flags >> 8 & 15).count_ones() as usize;
            let entries = self.entries.chunks_exact(width).take(self.count as usize);
            entries
                .filter_map(|entry| be32(entry, at))
                .map(u64::from)
                .sum()
        };
        let size_at = if self.flags & Self::HAS_DURATION != 0 {
            4
        } else {
            0
        };
        (
            sum(Self::HAS_DURATION, duration, 0),
            sum(Self::HAS_SIZE, size, size_at),
        )
    }
}

/// An index of a stretch of the file (8.16.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidx {
    /// Units of a second in durations.
    pub(crate) timescale: u32,
    /// Bytes between the index and the first thing that it lists.
    pub(crate) offset: u64,
    pub(crate) references: Vec<Reference>,
}

/// What an index lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// It is another index.
    pub(crate) is_index: bool,
    pub(crate) bytes: u32,
    pub(crate) duration: u32,
}

/// Reads a `sidx`; `None` if it is not whole.
pub(crate) fn sidx(body: &[u8]) -> Option<Sidx> {
    let (offset, at) = match body.first()? {
        0 => (be32(body, 16)?.into(), 20),
        _ => (be64(body, 20)?, 28),
    };
    let count = usize::from(super::bytes::be16(body, at + 2)?);
    let entries = body.get(at + 4..)?.get(..count * 12)?;
    let reference = |entry: &[u8; 12]| {
        let [a, b, c, d, e, f, g, h, ..] = *entry;
        Reference {
            is_index: a & 0x80 != 0,
            bytes: u32::from_be_bytes([a & 0x7f, b, c, d]),
            duration: u32::from_be_bytes([e, f, g, h]),
        }
    };
    Some(Sidx {
        timescale: be32(body, 8)?,
        offset,
        references: entries.as_chunks().0.iter().map(reference).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Vec<([u8; 4], Range<usize>)> {
        boxes(bytes).collect()
    }

    #[test]
    fn sizes_of_all_kinds() {
        let mut bytes = b"\0\0\0\x0cfree1234\0\0\0\x01mdat\0\0\0\0\0\0\0\x12ab".to_vec();
        bytes.extend(b"\0\0\0\0mdatrest");
        assert_eq!(
            walk(&bytes),
            [(*b"free", 8..12), (*b"mdat", 28..30), (*b"mdat", 38..42)]
        );
        let found = atoms(bytes.as_slice(), 0..42).unwrap();
        let places = found
            .iter()
            .map(|a| (a.kind, a.body as usize..a.end as usize));
        assert_eq!(places.collect::<Vec<_>>(), walk(&bytes));
    }

    #[test]
    fn nonsense_ends_the_walk() {
        for bytes in [
            &b"\0\0\0\x07free"[..],
            b"\0\0\0",
            b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f",
            b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xffx",
        ] {
            assert_eq!(walk(bytes), [], "{bytes:?}");
            assert_eq!(atoms(bytes, 0..bytes.len() as u64).unwrap(), []);
        }
    }
}
