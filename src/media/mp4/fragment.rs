//! Fragments: `moof` with its runs of samples, and `sidx`, the index that promises them (ISO/IEC
//! 14496-12, 8.8 and 8.16).

use std::collections::BTreeMap;

use super::{
    boxes::Head,
    moov::{Moov, seconds},
};
use crate::{
    container::mp4::{self, Tfhd, Trun},
    media::reader::{Reader, Step},
};

/// The largest `moof` or `sidx` that is looked at. An hour in one fragment has 3 MB.
const MOST: usize = 16 << 20;

/// What was found in the fragments so far.
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
        let body = reader.vec(moof.body(), MOST)?;
        for (kind, range) in mp4::boxes(&body) {
            match &kind {
                b"traf" => self.traf(moof.start, &body[range], moov),
                b"pssh" => self.protected = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn traf(&mut self, moof: u64, traf: &[u8], moov: Option<&Moov>) {
        let Some(tfhd) = mp4::payload(traf, &[b"tfhd"]).and_then(Tfhd::parse) else {
            return;
        };
        let known = moov.and_then(|m| m.defaults.iter().find(|d| d.track == tfhd.track));
        let default = known.copied().unwrap_or_default();
        let duration = tfhd.duration.unwrap_or(default.duration);
        let size = tfhd.size.unwrap_or(default.size);
        let base = tfhd.base.unwrap_or(moof);
        let (mut start, mut data, mut ticks) = (None, None, 0u64);
        for (kind, range) in mp4::boxes(traf) {
            match &kind {
                b"tfdt" => start = mp4::tfdt(&traf[range]),
                b"trun" => {
                    let Some(run) = Trun::parse(&traf[range]) else {
                        continue;
                    };
                    let (lasts, bytes) = run.sums(duration, size);
                    ticks = ticks.saturating_add(lasts);
                    let from = match run.offset {
                        Some(offset) => base.saturating_add_signed(offset.into()),
                        None => data.unwrap_or(base),
                    };
                    data = Some(from.saturating_add(bytes));
                    self.end = self.end.max(from.saturating_add(bytes));
                }
                _ => {}
            }
        }
        // Behind samples that `moov` describes.
        let in_moov = moov
            .and_then(|moov| moov.tracks.iter().find(|t| t.id == tfhd.track))
            .filter(|track| track.sizes.table.count > 0)
            .map(|track| (0, track.duration));
        let known = self.times.get(&tfhd.track).copied().or(in_moov);
        let start = start.unwrap_or(known.map_or(0, |(_, end)| end));
        let (first, end) = known.unwrap_or((start, start));
        let times = (first.min(start), end.max(start.saturating_add(ticks)));
        self.times.insert(tfhd.track, times);
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

/// End of the bytes that `sidx` indexes, and how many parts they have.
pub(crate) fn promised_by(reader: &mut Reader, sidx: &Head) -> Step<Option<(u64, usize)>> {
    let body = reader.vec(sidx.body(), MOST)?;
    Ok(mp4::sidx(&body).map(|index| {
        // A reference to another index has a size, too.
        let sizes = index.references.iter().map(|r| u64::from(r.bytes));
        let start = sidx.end.saturating_add(index.offset);
        let end = sizes.fold(start, u64::saturating_add);
        (end, index.references.len())
    }))
}
