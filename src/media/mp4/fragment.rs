//! Fragments: `moof` with its runs of samples, and `sidx`, the index that promises them (ISO/IEC
//! 14496-12, 8.8 and 8.16).

use std::collections::BTreeMap;

use super::{
    boxes::{Head, children},
    moov::{Defaults, Moov, seconds},
};
use crate::media::reader::{Reader, Step};

/// What the fragments so far add up to.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// How many `moof` there were.
    pub(crate) count: u64,
    /// Of each track: where its media time begins and ends, in its own ticks.
    times: BTreeMap<u32, (u64, u64)>,
    /// End of the last byte that any run points to.
    pub(crate) end: u64,
    pub(crate) protected: bool,
}

impl Fragments {
    /// Adds one `moof`.
    pub(crate) fn add(
        &mut self,
        reader: &mut Reader,
        moof: &Head,
        moov: Option<&Moov>,
    ) -> Step<()> {
        self.count += 1;
        for head in children(reader, moof.body())? {
            match &head.kind {
                b"traf" => self.traf(reader, moof, &head, moov)?,
                b"pssh" => self.protected = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn traf(
        &mut self,
        reader: &mut Reader,
        moof: &Head,
        traf: &Head,
        moov: Option<&Moov>,
    ) -> Step<()> {
        let mut defaults = Defaults::default();
        let (mut base, mut data) = (moof.start, None);
        let mut start = None;
        let mut ticks = 0u64;
        for head in children(reader, traf.body())? {
            let Some(flags) = reader.be32(head.body)? else {
                break;
            };
            let (version, flags) = (flags >> 24, flags & 0xff_ffff);
            let mut at = head.body + 4;
            match &head.kind {
                b"tfhd" => {
                    let track = reader.be32(at)?.unwrap_or(0);
                    let known = moov.and_then(|m| m.defaults.iter().find(|d| d.track == track));
                    defaults = Defaults {
                        track,
                        ..known.copied().unwrap_or_default()
                    };
                    at += 4;
                    if flags & 1 != 0 {
                        base = reader.be64(at)?.unwrap_or(base);
                        at += 8;
                    }
                    at += if flags & 2 != 0 { 4 } else { 0 };
                    if flags & 8 != 0 {
                        defaults.duration = reader.be32(at)?.unwrap_or(0);
                        at += 4;
                    }
                    if flags & 0x10 != 0 {
                        defaults.size = reader.be32(at)?.unwrap_or(0);
                    }
                }
                b"tfdt" => {
                    start = if version == 1 {
                        reader.be64(at)?
                    } else {
                        reader.be32(at)?.map(u64::from)
                    };
                }
                b"trun" => {
                    let run = trun(reader, at, flags, &defaults)?;
                    ticks = ticks.saturating_add(run.ticks);
                    let from = match run.offset {
                        Some(offset) => base.saturating_add_signed(offset.into()),
                        None => data.unwrap_or(base),
                    };
                    data = Some(from.saturating_add(run.bytes));
                    self.end = self.end.max(from.saturating_add(run.bytes));
                }
                _ => {}
            }
        }
        let known = self.times.get(&defaults.track).copied();
        let start = start.unwrap_or(known.map_or(0, |(_, end)| end));
        let (first, end) = known.unwrap_or((start, start));
        self.times.insert(
            defaults.track,
            (first.min(start), end.max(start.saturating_add(ticks))),
        );
        Ok(())
    }

    /// Seconds of the longest track.
    pub(crate) fn seconds(&self, moov: &Moov) -> f64 {
        let length = |(id, &(first, end)): (&u32, &(u64, u64))| {
            let track = moov.tracks.iter().find(|t| t.id == *id)?;
            // Samples in `moov` come before those in fragments; without them the first fragment is
            // the beginning.
            let begin = if track.sizes.table.count > 0 {
                0
            } else {
                first
            };
            Some(seconds(end - begin, track.timescale))
        };
        self.times.iter().filter_map(length).fold(0.0, f64::max)
    }
}

struct Run {
    offset: Option<i32>,
    bytes: u64,
    ticks: u64,
}

/// 8.8.8: what isn't in the run comes from the defaults.
fn trun(reader: &mut Reader, mut at: u64, flags: u32, defaults: &Defaults) -> Step<Run> {
    let count = reader.be32(at)?.unwrap_or(0);
    at += 4;
    let mut run = Run {
        offset: None,
        bytes: 0,
        ticks: 0,
    };
    if flags & 1 != 0 {
        run.offset = reader.be32(at)?.map(u32::cast_signed);
        at += 4;
    }
    at += if flags & 4 != 0 { 4 } else { 0 };
    let (has_duration, has_size) = (flags & 0x100 != 0, flags & 0x200 != 0);
    let width = 4 * u64::from((flags >> 8 & 15).count_ones());
    if !has_duration {
        run.ticks = u64::from(count) * u64::from(defaults.duration);
    }
    if !has_size {
        run.bytes = u64::from(count) * u64::from(defaults.size);
    }
    if has_duration || has_size {
        for i in 0..u64::from(count) {
            let entry = at + i * width;
            let Some(first) = reader.be32(entry)? else {
                break;
            };
            run.ticks += if has_duration { first.into() } else { 0 };
            if has_size {
                let size = if has_duration {
                    reader.be32(entry + 4)?
                } else {
                    Some(first)
                };
                run.bytes += u64::from(size.unwrap_or(0));
            }
        }
    }
    Ok(run)
}

/// End of the bytes that `sidx` indexes, and how many parts they have.
pub(crate) fn promised_by(reader: &mut Reader, sidx: &Head) -> Step<Option<(u64, u16)>> {
    let mut at = sidx.body + 12;
    let offset = if reader.u8(sidx.body)? == Some(1) {
        at += 16;
        reader.be64(at - 8)?
    } else {
        at += 8;
        reader.be32(at - 4)?.map(u64::from)
    };
    let (Some(offset), Some(count)) = (offset, reader.be16(at + 2)?) else {
        return Ok(None);
    };
    let mut end = sidx.end.saturating_add(offset);
    for i in 0..u64::from(count) {
        // The first bit says that it leads to another index; its size counts all the same.
        let Some(size) = reader.be32(at + 4 + i * 12)? else {
            return Ok(None);
        };
        end = end.saturating_add(u64::from(size & 0x7fff_ffff));
    }
    Ok(Some((end, count)))
}
