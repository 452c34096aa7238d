//! `moov`: the tracks of a film, and where each sample lies (ISO/IEC 14496-12, 8.2 to 8.7).

use std::{io::Read, ops::Range};

use super::{
    boxes::{self, Head, children},
    title,
};
use crate::{
    container::mp4::{self, Trex},
    media::reader::{Reader, Step},
};

/// All of `moov` that a verdict needs. The sample tables stay in the file.
#[derive(Debug, Default)]
pub(crate) struct Moov {
    pub(crate) tracks: Vec<Track>,
    /// Ticks a second of the two durations below.
    pub(crate) timescale: u32,
    /// `mvhd`: length of what `moov` itself describes.
    pub(crate) duration: u64,
    /// `mvex`: fragments follow.
    pub(crate) fragmented: bool,
    /// `mehd`: length with all the fragments.
    pub(crate) total: Option<u64>,
    /// `trex`: what a fragment's sample lasts and measures unless it says so itself.
    pub(crate) defaults: Vec<Trex>,
    pub(crate) protected: bool,
    /// The content of it, or of a track, is not boxes up to the end.
    pub(crate) broken: bool,
    pub(crate) title: Option<String>,
    /// QuickTime's compressed `moov`, unpacked: the tables' places count in it. Empty for others.
    pub(crate) unpacked: Vec<u8>,
}

/// One `trak`.
#[derive(Debug, Default)]
pub(crate) struct Track {
    pub(crate) id: u32,
    /// `hdlr`: `vide`, `soun`, `text` …
    pub(crate) handler: [u8; 4],
    /// `stsd`: the first sample entry's type.
    pub(crate) codec: [u8; 4],
    /// `esds`: which of MPEG's codecs `mp4v` means.
    pub(crate) object: Option<u8>,
    /// Bytes of a NAL unit's length, for AVC and HEVC.
    pub(crate) nal_length: Option<u8>,
    pub(crate) timescale: u32,
    pub(crate) duration: u64,
    /// As [`Moov::broken`].
    broken: bool,
    /// `dref`: its samples lie in another file.
    pub(crate) elsewhere: bool,
    pub(crate) sizes: Sizes,
    pub(crate) offsets: Table,
    /// `stsc`: which chunk holds how many samples.
    pub(crate) runs: Table,
    /// `stts`, kept only to see whether it is there.
    pub(crate) times: Table,
}

/// A table in the file: `count` entries of `width` bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) at: u64,
    pub(crate) count: u32,
    pub(crate) width: u64,
}

impl Table {
    pub(crate) fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(u64::from(self.count) * self.width)
    }
}

/// `stsz` and `stz2`.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// All samples are this long, if it is not 0.
    pub(crate) constant: u32,
    /// Bits of an entry.
    bits: u64,
    /// One entry a sample (with `constant`, only the count holds).
    pub(crate) table: Table,
}

impl Sizes {
    fn get(&self, reader: &mut Reader, i: u32) -> Step<Option<u32>> {
        if i >= self.table.count {
            return Ok(None);
        }
        if self.constant != 0 {
            return Ok(Some(self.constant));
        }
        let bit = u64::from(i) * self.bits;
        let at = self.table.at + bit / 8;
        Ok(match self.bits {
            32 => reader.be32(at)?,
            16 => reader.be16(at)?.map(u32::from),
            8 => reader.u8(at)?.map(u32::from),
            _ => reader.u8(at)?.map(|b| {
                u32::from(if bit.is_multiple_of(8) {
                    b >> 4
                } else {
                    b & 15
                })
            }),
        })
    }
}

impl Track {
    /// Whether no sample can contain a whole block of zeros (PCM and intra codecs of a fixed frame
    /// size can).
    pub(crate) fn is_dense(&self) -> bool {
        const DENSE: [&[u8; 4]; 16] = [
            b"avc1", b"avc3", b"hvc1", b"hev1", b"dvh1", b"dvhe", b"vp08", b"vp09", b"av01",
            b"s263", b"mp4a", b".mp3", b"Opus", b"fLaC", b"ac-3", b"ec-3",
        ];
        self.is_mpeg4_part2() || DENSE.contains(&&self.codec)
    }

    /// Seconds, as the media header says.
    pub(crate) fn seconds(&self) -> f64 {
        seconds(self.duration, self.timescale)
    }

    /// `mp4v` with MPEG-4's own codec. It may also mean MPEG-2, which is stuffed with zeros, or
    /// pictures as JPEG and PNG (ISO/IEC 14496-1, table 5).
    pub(crate) fn is_mpeg4_part2(&self) -> bool {
        &self.codec == b"mp4v" && matches!(self.object, None | Some(0x20))
    }

    /// Video, but no cover picture or chapter images.
    pub(crate) fn is_video(&self) -> bool {
        let count = f64::from(self.sizes.table.count);
        let still = match &self.codec {
            b"jpeg" | b"png " | b"mjpa" | b"mjpg" => count <= self.seconds().max(1.0),
            b"mp4v" => matches!(self.object, Some(0x6c | 0x6d)) && count == 1.0,
            _ => false,
        };
        &self.handler == b"vide" && !still
    }

    /// Calls `each` with every chunk's place, its first sample, and how many samples it has. Stops
    /// where a table is cut.
    fn runs(
        &self,
        reader: &Reader,
        mut each: impl FnMut(u64, u32, u32, u32) -> Step<bool>,
    ) -> Step<()> {
        let (mut runs, mut offsets) = (reader.fork(), reader.fork());
        let (mut sample, mut per_chunk) = (0, 0);
        let mut run = 0;
        let mut next_run = Some(1);
        for chunk in 0..self.offsets.count {
            while next_run.is_some_and(|first| first <= chunk.saturating_add(1)) {
                let at = self.runs.at + u64::from(run) * 12;
                let Some(count) = (run < self.runs.count)
                    .then(|| runs.be32(at + 4))
                    .transpose()?
                    .flatten()
                else {
                    next_run = None;
                    break;
                };
                per_chunk = count;
                run += 1;
                next_run = if run < self.runs.count {
                    runs.be32(at + 12)?
                } else {
                    None
                };
            }
            let at = self.offsets.at + u64::from(chunk) * self.offsets.width;
            let offset = if self.offsets.width == 8 {
                offsets.be64(at)?
            } else {
                offsets.be32(at)?.map(u64::from)
            };
            let Some(offset) = offset else {
                break;
            };
            let count = per_chunk.min(self.sizes.table.count - sample);
            if !each(offset, chunk, sample, count)? {
                break;
            }
            sample += count;
        }
        Ok(())
    }

    /// Calls `each` with the place and the size of every sample. Stops where a table is cut.
    pub(crate) fn samples(&self, reader: &Reader, mut each: impl FnMut(u64, u32)) -> Step<()> {
        let mut sizes = reader.fork();
        self.runs(reader, |mut at, _, sample, count| {
            for i in sample..sample + count {
                let Some(size) = self.sizes.get(&mut sizes, i)? else {
                    return Ok(false);
                };
                each(at, size);
                at = at.saturating_add(size.into());
            }
            Ok(true)
        })
    }

    /// Calls `each` with every chunk's extent, its first sample's length, and its number. Stops
    /// where a table is cut.
    ///
    /// Returns the sum of all extents.
    pub(crate) fn chunks(
        &self,
        reader: &Reader,
        mut each: impl FnMut(Range<u64>, u32, u32) -> Step<()>,
    ) -> Step<u64> {
        let mut sizes = reader.fork();
        let mut sum = 0u64;
        self.runs(reader, |offset, chunk, sample, count| {
            let Some(first) = self.sizes.get(&mut sizes, sample)? else {
                return Ok(false);
            };
            let mut length = 0u64;
            if self.sizes.constant != 0 {
                length = u64::from(count) * u64::from(self.sizes.constant);
            } else {
                for i in sample..sample + count {
                    // The count may promise more than there is.
                    let Some(size) = self.sizes.get(&mut sizes, i)? else {
                        break;
                    };
                    length += u64::from(size);
                }
            }
            sum = sum.saturating_add(length);
            each(offset..offset.saturating_add(length), first, chunk)?;
            Ok(true)
        })?;
        Ok(sum)
    }

    /// Bytes of all samples, by the size table alone: known before the offsets are.
    pub(crate) fn bytes(&self, reader: &Reader) -> Step<u64> {
        let mut sizes = reader.fork();
        if self.sizes.constant != 0 {
            return Ok(u64::from(self.sizes.table.count) * u64::from(self.sizes.constant));
        }
        let mut sum = 0u64;
        for i in 0..self.sizes.table.count {
            match self.sizes.get(&mut sizes, i)? {
                Some(size) => sum += u64::from(size),
                // The table is cut here. The rest is estimated by the first part.
                None => {
                    return Ok(
                        (sum as f64 / f64::from(i.max(1)) * f64::from(self.sizes.table.count))
                            as u64,
                    );
                }
            }
        }
        Ok(sum)
    }
}

/// `ticks` in seconds.
pub(crate) fn seconds(ticks: u64, timescale: u32) -> f64 {
    // All ones: unknown (8.2.2).
    if timescale == 0 || ticks == u64::MAX || ticks == u64::from(u32::MAX) {
        return 0.0;
    }
    ticks as f64 / f64::from(timescale)
}

/// Reads what there is of `moov`: one that is cut gives what came before the cut.
pub(crate) fn read(reader: &mut Reader, moov: &Head) -> Step<Moov> {
    let inside = children(reader, moov.body())?;
    if let [packed] = &inside[..]
        && &packed.kind == b"cmov"
    {
        return unpack(reader, packed);
    }
    film(reader, moov, inside)
}

/// Reads the boxes that lie in `moov`.
fn film(reader: &mut Reader, moov: &Head, inside: Vec<Head>) -> Step<Moov> {
    /// More tracks than any player takes.
    const MOST_TRACKS: usize = 256;
    let mut found = Moov {
        broken: !fills(reader, &inside, moov)?,
        ..Moov::default()
    };
    for head in inside {
        match &head.kind {
            b"mvhd" => (found.timescale, found.duration) = media_time(reader, &head)?,
            b"trak" if found.tracks.len() < MOST_TRACKS => {
                let track = trak(reader, &head)?;
                found.broken |= track.broken;
                found.protected |= mp4::is_encrypted(&track.codec);
                found.tracks.push(track);
            }
            b"mvex" => mvex(reader, &head, &mut found)?,
            b"pssh" => found.protected = true,
            b"udta" | b"meta" if found.title.is_none() => found.title = title::find(reader, &head)?,
            _ => {}
        }
    }
    Ok(found)
}

/// Reads QuickTime's compressed `moov` (QuickTime File Format, "compressed movie resources"): the
/// method, the length of what was packed, and the bytes of a `moov` as zlib packs them.
fn unpack(reader: &mut Reader, packed: &Head) -> Step<Moov> {
    /// The index of a day has some 60 MB.
    const MOST: u64 = 64 << 20;
    let packed = reader.vec(packed.body(), MOST as usize)?;
    let data = mp4::payload(&packed, &[b"cmvd"]).and_then(|data| data.get(4..));
    let is_zlib = mp4::payload(&packed, &[b"dcom"]) == Some(b"zlib");
    let mut bytes = Vec::new();
    let decoder = flate2::read::ZlibDecoder::new(data.unwrap_or_default());
    let whole = is_zlib && decoder.take(MOST).read_to_end(&mut bytes).is_ok();
    let content = bytes.as_slice();
    let mut inner = Reader::new(&content);
    let head = boxes::head(&mut inner, 0, content.len() as u64)?;
    let Some(head) = head.filter(|head| whole && &head.kind == b"moov") else {
        return Ok(Moov {
            broken: true,
            ..Moov::default()
        });
    };
    let inside = children(&mut inner, head.body())?;
    let moov = film(&mut inner, &head, inside)?;
    Ok(Moov {
        unpacked: bytes,
        ..moov
    })
}

/// Time scale and duration of `mvhd` and `mdhd`.
fn media_time(reader: &mut Reader, head: &Head) -> Step<(u32, u64)> {
    Ok(mp4::media_time(reader.bytes(head.body, 32)?).unwrap_or_default())
}

fn mvex(reader: &mut Reader, head: &Head, found: &mut Moov) -> Step<()> {
    found.fragmented = true;
    for head in children(reader, head.body())? {
        let at = head.body;
        match &head.kind {
            b"mehd" if reader.u8(at)? == Some(1) => found.total = reader.be64(at + 4)?,
            b"mehd" => found.total = reader.be32(at + 4)?.map(u64::from),
            b"trex" => found.defaults.extend(mp4::trex(reader.bytes(at, 24)?)),
            _ => {}
        }
    }
    Ok(())
}

fn trak(reader: &mut Reader, head: &Head) -> Step<Track> {
    let inside = children(reader, head.body())?;
    let mut track = Track {
        broken: !fills(reader, &inside, head)?,
        ..Track::default()
    };
    for head in inside {
        match &head.kind {
            b"tkhd" => track.id = mp4::track_id(reader.bytes(head.body, 24)?).unwrap_or(0),
            b"mdia" => mdia(reader, &head, &mut track)?,
            _ => {}
        }
    }
    Ok(track)
}

/// Whether the children reach to the end of their parent; a few zeros may end the list, as in
/// QuickTime.
fn fills(reader: &mut Reader, inside: &[Head], parent: &Head) -> Step<bool> {
    let end = inside.last().map_or(parent.body, |last| last.end);
    let parent = parent.end.min(reader.len());
    Ok(parent.saturating_sub(end) < 64 && reader.first_nonzero(end..parent)?.is_none())
}

/// `mdia`, `minf`, `dinf` and `stbl`: four levels that only nest.
fn mdia(reader: &mut Reader, mdia: &Head, track: &mut Track) -> Step<()> {
    let mut parents = vec![*mdia];
    while let Some(parent) = parents.pop() {
        let inside = children(reader, parent.body())?;
        track.broken |= !fills(reader, &inside, &parent)?;
        for head in inside {
            let at = head.body;
            match (&parent.kind, &head.kind) {
                (b"mdia", b"minf") | (b"minf", b"dinf" | b"stbl") => parents.push(head),
                (b"mdia", b"mdhd") => {
                    (track.timescale, track.duration) = media_time(reader, &head)?
                }
                (b"mdia", b"hdlr") => track.handler = reader.array(at + 8)?.unwrap_or_default(),
                // One reference; bit 0 of its flags: the samples are in this very file (8.7.2).
                (b"dinf", b"dref") => {
                    track.elsewhere = reader.u8(at + 19)?.is_some_and(|f| f & 1 == 0)
                }
                (b"stbl", b"stsd") => stsd(reader, &head, track)?,
                (b"stbl", b"stsc") => track.runs = table(reader, at + 4, 12)?,
                (b"stbl", b"stts") => track.times = table(reader, at + 4, 8)?,
                (b"stbl", b"stco") => track.offsets = table(reader, at + 4, 4)?,
                (b"stbl", b"co64") => track.offsets = table(reader, at + 4, 8)?,
                (b"stbl", b"stsz") => {
                    let constant = reader.be32(at + 4)?.unwrap_or(0);
                    let table = table(reader, at + 8, if constant == 0 { 4 } else { 0 })?;
                    track.sizes = Sizes {
                        constant,
                        bits: 32,
                        table,
                    };
                }
                (b"stbl", b"stz2") => {
                    let bits = u64::from(reader.u8(at + 7)?.unwrap_or(8));
                    let table = table(reader, at + 8, bits.div_ceil(8))?;
                    track.sizes = Sizes {
                        constant: 0,
                        bits,
                        table,
                    };
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A count at `at`, and the entries behind it.
fn table(reader: &mut Reader, at: u64, width: u64) -> Step<Table> {
    Ok(Table {
        at: at + 4,
        count: reader.be32(at)?.unwrap_or(0),
        width,
    })
}

fn stsd(reader: &mut Reader, head: &Head, track: &mut Track) -> Step<()> {
    /// No description of samples is longer.
    const LONGEST: usize = 64 << 10;
    for entry in children(reader, head.body + 8..head.end)? {
        // Several entries, one of them encrypted: encrypted.
        if track.codec == [0; 4] || mp4::is_encrypted(&entry.kind) {
            track.codec = entry.kind;
        }
        let body = reader.vec(entry.body(), LONGEST)?;
        track.nal_length = mp4::nal_length(&entry.kind, &body).or(track.nal_length);
        track.object = track.object.or(mp4::object_type(&entry.kind, &body));
    }
    Ok(())
}
