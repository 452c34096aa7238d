//! MPEG transport streams (ISO/IEC 13818-1): packets of 188 bytes, with 4 before (M2TS) or 16 after
//! each.
//!
//! A stream promises no length. What shows is a packet that is cut, and a PES packet of known
//! length that isn't finished; a cut between two packets of video shows nothing, so the report is
//! open-ended.

use std::collections::BTreeMap;

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
};
use crate::container::{
    bytes::be16,
    ts::{self, NULL_PID, PACKET, Packet, Program, SYNC, WRAP},
};

/// Where the synchronization byte stands, and the distance of packets.
const LAYOUTS: [Layout; 3] = [
    Layout { lead: 0, size: 188 },
    Layout { lead: 4, size: 192 },
    Layout { lead: 0, size: 204 },
];
/// Bytes at both ends that are read for tables and times.
const ENDS: u64 = 2 << 20;
/// Packets whose synchronization is looked at.
const SAMPLES: u64 = 8192;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layout {
    lead: usize,
    size: usize,
}

/// The layout in which all packets of the head begin as they should; at least three.
pub(crate) fn begins(head: &[u8]) -> Option<Layout> {
    let fits = |l: &&Layout| {
        let mut syncs = head.iter().skip(l.lead).step_by(l.size);
        head.len() > 2 * l.size + l.lead && syncs.all(|&b| b == SYNC)
    };
    LAYOUTS.iter().find(fits).copied()
}

/// One elementary stream.
#[derive(Default)]
struct Stream {
    first: Option<u64>,
    last: Option<u64>,
    /// Bytes of the current PES packet that are still to come, if its length is known.
    owed: Option<u64>,
}

#[derive(Default)]
struct Found {
    tables: Vec<u16>,
    video: bool,
    audio: bool,
    streams: BTreeMap<u16, Stream>,
    scrambled: u64,
    clear: u64,
}

/// Judges a stream of the given layout.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps, layout: Layout) -> Step<Report> {
    let size = layout.size as u64;
    let len = reader.len();
    let mut report = Report::of(Container::Ts);
    report.open_ended = true;
    // Zeros at the end are padding, not packets.
    let mut end = len / size * size;
    while end >= size && reader.u8(end - size + layout.lead as u64)? == Some(0) {
        end -= size;
    }
    let mut found = Found::default();
    let head = ENDS.min(end) / size * size;
    found.packets(reader, layout, 0, head)?;
    let tail = head.max(end.saturating_sub(ENDS) / size * size);
    if tail > head {
        found.streams.values_mut().for_each(|s| s.owed = None);
    }
    found.packets(reader, layout, tail, end)?;
    report.kind = match (found.video, found.audio) {
        (true, _) => Kind::Video,
        (_, true) => Kind::Audio,
        _ => Kind::Unknown,
    };
    report.set_seconds(
        found
            .streams
            .values()
            .map(Stream::seconds)
            .fold(0.0, f64::max),
    );
    if found.scrambled > found.clear {
        report.protected();
        return Ok(report);
    }
    let mut odd = None;
    for i in (0..end / size).step_by((end / size / SAMPLES).max(1) as usize) {
        let at = i * size + layout.lead as u64;
        if reader.u8(at)? != Some(SYNC) {
            odd = Some(at);
            break;
        }
    }
    let rest = reader.first_nonzero(end..len)?;
    let owed = found.streams.values().filter_map(|s| s.owed).sum::<u64>();
    // Every packet begins with a byte that isn't zero: no block of zeros fits in.
    let missing = gaps.all_in(0..end);
    if missing > 0 {
        let missing = gaps.all_in(0..len);
        report.lacks(
            (len - missing) as f64,
            len as f64,
            format!("{missing} bytes are missing inside"),
        );
    } else if let Some(at) = odd {
        report.damaged(format!("no packet begins at {at}"));
    } else if rest.is_some() {
        report.lacks(
            len as f64,
            (end + size).max(len) as f64,
            "ends inside a packet",
        );
    } else if owed > 0 {
        report.lacks(
            end as f64,
            (end + owed) as f64,
            format!("{owed} bytes of the last sound are missing"),
        );
    } else {
        report.content_len = Some(end);
    }
    Ok(report)
}

impl Stream {
    fn seconds(&self) -> f64 {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return 0.0;
        };
        // 33 bits of 90 kHz that may wrap once.
        last.wrapping_sub(first).rem_euclid(WRAP as u64) as f64 / ts::CLOCK as f64
    }
}

impl Found {
    fn packets(&mut self, reader: &mut Reader, layout: Layout, from: u64, to: u64) -> Step<()> {
        let mut at = from;
        while at < to {
            if let Some(packet) = reader.array::<PACKET>(at + layout.lead as u64)? {
                self.packet(&packet);
            }
            at += layout.size as u64;
        }
        Ok(())
    }

    fn packet(&mut self, packet: &Packet) {
        let pid = ts::pid(packet);
        let Some(at) = ts::payload_at(packet).filter(|_| packet[0] == SYNC && pid != NULL_PID)
        else {
            return;
        };
        if ts::is_scrambled(packet) {
            self.scrambled += 1;
        } else if pid == 0 {
            for pid in ts::section(packet).into_iter().flat_map(ts::map_pids) {
                if !self.tables.contains(&pid) && self.tables.len() < 64 {
                    self.tables.push(pid);
                }
            }
        } else if self.tables.contains(&pid) {
            let program = ts::section(packet).and_then(Program::parse);
            for stream in program.iter().flat_map(|program| &program.streams) {
                self.video |= stream.is_video();
                self.audio |= stream.is_audio();
                if stream.is_video() || stream.is_audio() {
                    self.streams.entry(stream.pid).or_default();
                }
            }
        } else if let Some(stream) = self.streams.get_mut(&pid) {
            self.clear += 1;
            stream.packet(packet, at);
        }
    }
}

impl Stream {
    /// Takes a packet of the stream whose payload begins at `at`.
    fn packet(&mut self, packet: &Packet, at: usize) {
        let payload = &packet[at..];
        let have = payload.len() as u64;
        if !ts::starts_unit(packet) {
            self.owed = self.owed.map(|n| n.saturating_sub(have));
            return;
        }
        // 2.4.3.7: a length of 0 is "unknown", for video.
        let length = be16(payload, 4).filter(|&n| n > 0 && payload.starts_with(&[0, 0, 1]));
        self.owed = length.map(|n| (u64::from(n) + 6).saturating_sub(have));
        let Some((pts, _)) = ts::stamps(packet) else {
            return;
        };
        let time = ts::stamp_at(packet, pts);
        // Frames are sent out of order: one that is a little earlier than the first is the first.
        let is_earlier = |first: u64| (0..1 << 20).contains(&ts::difference(time, first));
        if self.first.is_none_or(is_earlier) {
            self.first = Some(time);
        }
        // The latest counts, a wrap included.
        if self.last.is_none_or(|last| ts::difference(last, time) > 0) {
            self.last = Some(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let stream = |lead: usize, size: usize| {
            let mut data = vec![0u8; 4096];
            data.iter_mut()
                .skip(lead)
                .step_by(size)
                .for_each(|b| *b = SYNC);
            data
        };
        assert_eq!(begins(&stream(0, 188)), Some(LAYOUTS[0]));
        assert_eq!(begins(&stream(4, 192)), Some(LAYOUTS[1]));
        assert_eq!(begins(&stream(0, 204)), Some(LAYOUTS[2]));
        assert_eq!(begins(&stream(1, 188)), None);
        assert_eq!(begins(&stream(0, 188)[..300]), None);
    }
}
