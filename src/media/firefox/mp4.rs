//! The structure of an MP4 as a guide: its index says where each sample is and how long, and a
//! picture's parts have to add up to that.
//!
//! Boxes: ISO/IEC 14496-12. H.264 and H.265 samples are parts behind their lengths (ISO/IEC
//! 14496-15, 4.2 and 8.2); AV1 samples are units that bear their sizes (AV1 specification, 5.3).
//! Sound has no such marks.

use std::{io, ops::Range};

use super::{
    blocks::{BLOCK, Board, View},
    guide::{Cursor, Enclosure, Fit, Guide},
};
use crate::{
    container::mp4,
    media::{
        mp4::{boxes, moov},
        reader::{Halt, Reader, Step},
    },
};

/// Largest index that is read, in bytes. A film of three hours has one of some 10 MB.
const INDEX: u64 = 128 << 20;
/// Most samples: a day at 60 a second.
const SAMPLES: usize = 24 * 3600 * 60;

/// How samples are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SampleFormat {
    /// H.264, H.265: each part stands behind its length, a number of this many bytes.
    Nal(u8),
    /// AV1.
    Obu,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: u64,
    size: u32,
    format: SampleFormat,
}

/// An index, read.
pub(super) struct Mp4 {
    /// Samples that can be checked, in the order of the file.
    samples: Vec<Sample>,
    /// Slots and cells that the index was read from.
    known: Vec<(usize, usize)>,
    len: u64,
}

impl Mp4 {
    /// Finds and reads the index of the video that begins in a cell.
    pub(super) fn read(board: &Board, head: usize) -> io::Result<Option<Self>> {
        // Until the index says more, a run goes on from free cell to free cell.
        let mut slots: Vec<_> = board.free_from(head).map(Some).collect();
        let mut at = 0;
        // Of the media, whether its length is given.
        let mut media = None;
        let (mut index, mut known) = (None, Vec::new());
        while let Some((kind, len)) = box_at(&board.view(&slots), at)? {
            match &kind {
                b"moov" => {
                    // An index can't be longer than the file: a wrong size must not decide how much
                    // memory is used.
                    let most = INDEX.min(board.cells() as u64 * BLOCK);
                    let Some(len) = len.filter(|len| *len <= most) else {
                        return Ok(None);
                    };
                    index = read_index(&board.view(&slots), at, len)?;
                    if index.is_none() {
                        return Ok(None);
                    }
                    let within = (at / BLOCK) as usize..(at + len).div_ceil(BLOCK) as usize;
                    known.extend(within.filter_map(|slot| Some((slot, (*slots.get(slot)?)?))));
                }
                b"mdat" => media = Some(len.is_some()),
                b"moof" => return Ok(None),
                _ => {}
            }
            let Some(next) = len.and_then(|len| at.checked_add(len)) else {
                break;
            };
            at = next;
            if index.is_some() && media.is_some() {
                break;
            }
            if index.is_none() && media.is_some() && !has_index(&board.view(&slots), at)? {
                // The index lies behind the media in the video, but arrived before most of it.
                let Some(run) = find_index(board, head, at)? else {
                    return Ok(None);
                };
                slots = run;
            }
        }
        let Some(mut samples) = index else {
            return Ok(None);
        };
        samples.sort_unstable_by_key(|sample| sample.at);
        let Some(last) = samples.last() else {
            return Ok(None);
        };
        let end = last.at + u64::from(last.size);
        let len = match media {
            Some(false) => end,
            _ => at,
        };
        Ok((end <= len).then_some(Self {
            samples,
            known,
            len,
        }))
    }
}

impl Guide for Mp4 {
    fn len(&self) -> Option<u64> {
        Some(self.len)
    }

    fn known(&self) -> &[(usize, usize)] {
        &self.known
    }

    fn check(&self, view: &View, cursor: &mut Cursor, fresh: Range<u64>) -> io::Result<Fit> {
        let mut bits = 0;
        while let Some(sample) = self.samples.get(cursor.index) {
            let end = sample.at + u64::from(sample.size);
            // The cursor goes on in the middle of this sample, or begins with it.
            let at = if cursor.inside == Enclosure::Until(end) {
                cursor.at
            } else {
                sample.at
            };
            (cursor.at, cursor.inside) = (at, Enclosure::Until(end));
            if at >= fresh.end {
                break;
            }
            match sample.format.next(view, at, end, fresh.end)? {
                SamplePart::Beyond => break,
                SamplePart::Unknown => cursor.index += 1,
                SamplePart::Bad => return Ok(None),
                SamplePart::Ok {
                    next,
                    header,
                    length,
                } => {
                    if header > fresh.start {
                        // A length that ends exactly with the sample is full evidence. Any other is
                        // only known to be no larger than the rest of the sample.
                        let fitting = if next == end {
                            0
                        } else {
                            u64::BITS - (end - at).leading_zeros()
                        };
                        bits += length.saturating_sub(fitting);
                    }
                    cursor.at = next;
                    if next == end {
                        cursor.index += 1;
                    }
                }
            }
        }
        // Nothing behind the last sample can be checked.
        if cursor.index == self.samples.len() {
            cursor.at = self.len;
        }
        Ok(Some(bits))
    }

    fn resume(&self, at: u64) -> Option<Cursor> {
        let index = self.samples.partition_point(|sample| sample.at < at);
        let sample = self.samples.get(index)?;
        Some(Cursor {
            at: sample.at,
            index,
            inside: Enclosure::Until(sample.at + u64::from(sample.size)),
            time: 0,
        })
    }
}

/// The result of looking at a part of a sample.
enum SamplePart {
    Ok {
        /// Where the next one begins.
        next: u64,
        /// Where the header of this one ended.
        header: u64,
        /// How many bits its length has.
        length: u32,
    },
    /// Its header reaches beyond what is looked at.
    Beyond,
    /// Its header lies in a slot whose cell isn't known.
    Unknown,
    Bad,
}

impl SampleFormat {
    fn next(self, view: &View, at: u64, end: u64, until: u64) -> io::Result<SamplePart> {
        match self {
            Self::Nal(prefix) => {
                let header = at + u64::from(prefix) + 1;
                if header > end {
                    return Ok(SamplePart::Bad);
                }
                if header > until {
                    return Ok(SamplePart::Beyond);
                }
                let Some(bytes) = view.vec(at, usize::from(prefix) + 1)? else {
                    return Ok(SamplePart::Unknown);
                };
                let (length, kind) = bytes.split_at(usize::from(prefix));
                let length = length
                    .iter()
                    .fold(0, |length, byte| length << 8 | u64::from(*byte));
                let next = at + u64::from(prefix) + length;
                // The first bit of a part is always 0.
                let good = length > 0 && next <= end && kind[0] & 0x80 == 0;
                Ok(if good {
                    SamplePart::Ok {
                        next,
                        header,
                        length: 8 * u32::from(prefix),
                    }
                } else {
                    SamplePart::Bad
                })
            }
            Self::Obu => obu(view, at, end, until),
        }
    }
}

/// An AV1 unit: header, perhaps an extension, size (LEB128). The last one of a sample may leave its
/// size out.
fn obu(view: &View, at: u64, end: u64, until: u64) -> io::Result<SamplePart> {
    let longest = (end - at).min(10);
    if at + longest > until {
        return Ok(SamplePart::Beyond);
    }
    let Some(bytes) = view.vec(at, longest as usize)? else {
        return Ok(SamplePart::Unknown);
    };
    let flags = bytes[0];
    if flags & 0x81 != 0 {
        return Ok(SamplePart::Bad);
    }
    let mut used = 1 + usize::from(flags >> 2 & 1);
    if flags & 2 == 0 {
        return Ok(SamplePart::Ok {
            next: end,
            header: at + used as u64,
            length: 0,
        });
    }
    let (mut size, mut shift) = (0, 0);
    loop {
        let Some(byte) = bytes.get(used).filter(|_| shift < 35) else {
            return Ok(SamplePart::Bad);
        };
        size |= u64::from(byte & 0x7f) << shift;
        (used, shift) = (used + 1, shift + 7);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let header = at + used as u64;
    let next = header + size;
    Ok(if next <= end {
        SamplePart::Ok {
            next,
            header,
            length: shift,
        }
    } else {
        SamplePart::Bad
    })
}

/// Kind and whole length of the box at a place; no length for "up to the end of the file".
fn box_at(view: &View, at: u64) -> io::Result<Option<([u8; 4], Option<u64>)>> {
    // Near the end fewer bytes than the longest header are there.
    let Some(short) = view.bytes::<8>(at)? else {
        return Ok(None);
    };
    let long = view.bytes::<{ mp4::HEADER }>(at)?;
    let header = mp4::header(long.as_ref().map_or(&short[..], |long| &long[..]));
    let is_name = |kind: &[u8; 4]| kind.iter().all(|c| c.is_ascii_alphanumeric() || *c == b' ');
    Ok(header
        .filter(|header| is_name(&header.kind))
        .map(|header| (header.kind, header.size)))
}

/// Whether an index, with its header first as in all files met, begins at a place.
fn has_index(view: &View, at: u64) -> io::Result<bool> {
    Ok(view
        .bytes::<16>(at)?
        .is_some_and(|bytes| &bytes[4..8] == b"moov" && &bytes[12..] == b"mvhd"))
}

/// The free cells from the one on in which the index begins at `at`, as slots.
fn find_index(board: &Board, head: usize, at: u64) -> io::Result<Option<Vec<Option<usize>>>> {
    let Some(slot) = usize::try_from(at / BLOCK)
        .ok()
        .filter(|slot| *slot < 1 << 22)
    else {
        return Ok(None);
    };
    let free: Vec<usize> = board.free_from(head + 1).collect();
    // The index can't lie further on than all of its video.
    let mut slots = vec![None; slot];
    for n in 0..free.len() {
        slots.truncate(slot);
        slots.extend(free[n..].iter().take(2).copied().map(Some));
        if has_index(&board.view(&slots), at)? {
            slots.truncate(slot);
            slots.extend(free[n..].iter().copied().map(Some));
            return Ok(Some(slots));
        }
    }
    Ok(None)
}

/// The samples that an index lists and that can be checked.
fn read_index(view: &View, at: u64, len: u64) -> io::Result<Option<Vec<Sample>>> {
    let Some(bytes) = view.vec(at, len as usize)? else {
        return Ok(None);
    };
    let bytes = bytes.as_slice();
    let reader = &mut Reader::new(&bytes);
    match samples(reader, len) {
        Ok(samples) => Ok(samples.filter(|samples| !samples.is_empty())),
        Err(Halt::Io(e)) => Err(e),
        Err(Halt::Spent) => Ok(None),
    }
}

/// The samples of the tracks in the `moov` that the reader begins with; `None` if its tables
/// contradict each other. A track without marks adds none.
fn samples(reader: &mut Reader, len: u64) -> Step<Option<Vec<Sample>>> {
    let Some(head) = boxes::head(reader, 0, len)? else {
        return Ok(None);
    };
    let mut samples = Vec::new();
    for track in moov::read(reader, &head)?.tracks {
        let format = match (&track.codec, track.nal_length) {
            (b"av01", _) => SampleFormat::Obu,
            (_, Some(length)) => SampleFormat::Nal(length),
            _ => continue,
        };
        let count = track.sizes.table.count;
        if samples.len() + count as usize > SAMPLES {
            return Ok(None);
        }
        let mut seen = 0;
        track.samples(reader, |at, size| {
            seen += 1;
            if size > 0 {
                samples.push(Sample { at, size, format });
            }
        })?;
        if seen != count {
            return Ok(None);
        }
    }
    Ok(Some(samples))
}
