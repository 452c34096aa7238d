//! MPEG transport streams (ISO/IEC 13818-1): packets of 188 bytes, with 4 before (M2TS) or 16 after
//! each.
//!
//! A stream promises no length. What shows is a packet that is cut, and a PES packet of known
//! length that isn't finished; a cut between two packets of video shows nothing, so the report is
//! open-ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Report},
    rest,
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
/// How many packets in a row prove a stream among other bytes.
const RUN: u64 = 12;
/// How far behind other bytes the packets may begin.
const FAR: u64 = 256 << 10;
/// The longest tail of other bytes behind the last packet.
const LONGEST_TAIL: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    lead: usize,
    size: usize,
}

/// Where packets begin, and how they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Start {
    at: u64,
    layout: Layout,
}

/// The layout in which the packets of `head`, which lies at `at` of the file, begin as they should:
/// at least three, and all but one.
pub(crate) fn begins(head: &[u8], at: u64) -> Option<Start> {
    let fits = |l: &&Layout| {
        let syncs = head.iter().skip(l.lead).step_by(l.size);
        let wrong = syncs.clone().filter(|&&b| b != SYNC).count();
        let all = head.len() > 2 * l.size + l.lead;
        all && (wrong == 0 || wrong == 1 && syncs.count() >= 8 && head.get(l.lead) == Some(&SYNC))
    };
    let layout = *LAYOUTS.iter().find(fits)?;
    Some(Start { at, layout })
}

/// Where packets begin behind something else, or behind the rest of a packet.
pub(crate) fn find(reader: &mut Reader) -> Step<Option<Start>> {
    for at in 0..reader.len().min(FAR) {
        for layout in LAYOUTS {
            let start = Start { at, layout };
            if reader.u8(at + layout.lead as u64)? == Some(SYNC) && start.runs(reader)? {
                return Ok(Some(start));
            }
        }
    }
    Ok(None)
}

impl Start {
    /// Whether packets follow each other here.
    fn runs(self, reader: &mut Reader) -> Step<bool> {
        for n in 1..RUN {
            if !self.is_packet(reader, n)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether most of the packets before `count` begin as they should.
    fn ends_run(self, reader: &mut Reader, count: u64) -> Step<bool> {
        let before = count.saturating_sub(8)..count;
        let (all, mut right) = (before.end - before.start, 0);
        for n in before {
            right += u64::from(self.is_packet(reader, n)?);
        }
        Ok(right >= all - all / 4)
    }

    /// Where packet `n` begins.
    fn packet(self, n: u64) -> u64 {
        self.at + n * self.layout.size as u64
    }

    fn is_packet(self, reader: &mut Reader, n: u64) -> Step<bool> {
        Ok(reader.u8(self.packet(n) + self.layout.lead as u64)? == Some(SYNC))
    }

    /// How many packets there are: behind the last one of a run there is only padding, or other
    /// bytes.
    fn count(self, reader: &mut Reader) -> Step<u64> {
        let all = (reader.len() - self.at) / self.layout.size as u64;
        let least = all.saturating_sub(LONGEST_TAIL / self.layout.size as u64);
        let mut count = all;
        while count > least.max(2) {
            if self.is_packet(reader, count - 1)? && self.ends_run(reader, count)? {
                return Ok(count);
            }
            count -= 1;
        }
        Ok(if least > 0 { all } else { count })
    }
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
struct Streams {
    /// PIDs of all packets.
    seen: BTreeSet<u16>,
    /// PIDs of program maps.
    tables: Vec<u16>,
    video: bool,
    audio: bool,
    streams: BTreeMap<u16, Stream>,
    scrambled: u64,
    clear: u64,
}

/// Judges a stream of packets.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps, start: Start) -> Step<Report> {
    let size = start.layout.size as u64;
    let len = reader.len();
    let mut report = Report::of(Container::Ts);
    report.open_ended = true;
    let count = start.count(reader)?;
    let end = start.packet(count);
    let mut found = Streams::default();
    let head = count.min(ENDS / size);
    found.packets(reader, start, 0..head)?;
    let tail = head.max(count.saturating_sub(ENDS / size));
    if tail > head {
        found.streams.values_mut().for_each(|s| s.owed = None);
    }
    found.packets(reader, start, tail..count)?;
    report.set_kind(found.video, found.audio);
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
    let odd = odd(reader, start, count)?;
    let owed = found.streams.values().filter_map(|s| s.owed).sum::<u64>();
    // Every packet begins with a byte that isn't zero: no block of zeros fits in.
    if gaps.all_in(start.at..end) > 0 {
        report.lacks_stretches(gaps.stretches(start.at..len, true), len);
    } else if let Some(at) = odd {
        report.damaged(format!("no packet begins at {at}"));
    } else if start.at == 0 && found.is_begun(reader, start, count)? {
        // A part of a broadcast, which begins inside a packet, may end inside one too.
        report.lacks_end(len, Vec::new(), end + size, "ends inside a packet");
    } else if start.at == 0 && owed > 0 && len - end != size {
        // If a packet's bytes follow, they are a packet with a wrong first byte.
        let what = format!("{owed} bytes of the last sound are missing");
        report.lacks_end(end, Vec::new(), end + owed, what);
    } else {
        report.content_len = Some(end);
        rest::note(reader, &mut report)?;
    }
    Ok(report)
}

/// The place of a packet that doesn't begin as it should, if there are several. A single one is a
/// fault of transmission, which players pass over.
fn odd(reader: &mut Reader, start: Start, count: u64) -> Step<Option<u64>> {
    let step = (count / SAMPLES).max(1);
    let (mut first, mut wrong, mut seen) = (None, 0, 0);
    for n in (0..count).step_by(step as usize) {
        seen += 1;
        if !start.is_packet(reader, n)? {
            first = first.or(Some(start.packet(n)));
            wrong += 1;
        }
    }
    // One wrong packet in a hundred is allowed, and at least one.
    Ok(first.filter(|_| wrong > (seen / 100).max(1)))
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

impl Streams {
    fn packets(&mut self, reader: &mut Reader, start: Start, range: Range<u64>) -> Step<()> {
        for n in range {
            let at = start.packet(n) + start.layout.lead as u64;
            match reader.array::<PACKET>(at)? {
                Some(packet) if packet[0] == SYNC => self.packet(&packet),
                // It is not known to which streams these bytes belonged.
                Some(_) => self.streams.values_mut().for_each(|s| s.owed = None),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether another packet begins behind the last whole one, and is cut.
    fn is_begun(&self, reader: &mut Reader, start: Start, count: u64) -> Step<bool> {
        let at = start.packet(count);
        let left = reader.len().saturating_sub(at);
        if left == 0 || left >= start.layout.size as u64 {
            return Ok(false);
        }
        let head = reader.bytes(at + start.layout.lead as u64, 3)?;
        Ok(match *head {
            [SYNC, high, low] => {
                let pid = u16::from_be_bytes([high, low]) & 0x1fff;
                pid < 0x20 || pid == NULL_PID || self.seen.contains(&pid)
            }
            [first, ..] => first == SYNC,
            // The time stamp that comes before a packet.
            [] => true,
        })
    }

    fn packet(&mut self, packet: &Packet) {
        let pid = ts::pid(packet);
        let Some(at) = ts::payload_at(packet).filter(|_| pid != NULL_PID) else {
            return;
        };
        self.seen.insert(pid);
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
        // Frames are not sent in the order of time: a time that is a little earlier than the first
        // becomes the first.
        let is_earlier = |first: u64| (0..1 << 20).contains(&ts::difference(time, first));
        if self.first.is_none_or(is_earlier) {
            self.first = Some(time);
        }
        // The latest time counts, also after the clock has wrapped.
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
        let layout = |data: &[u8]| begins(data, 0).map(|start| start.layout);
        assert_eq!(layout(&stream(0, 188)), Some(LAYOUTS[0]));
        assert_eq!(layout(&stream(4, 192)), Some(LAYOUTS[1]));
        assert_eq!(layout(&stream(0, 204)), Some(LAYOUTS[2]));
        assert_eq!(layout(&stream(1, 188)), None);
        assert_eq!(layout(&stream(0, 188)[..300]), None);
        let mut one_wrong = stream(0, 188);
        one_wrong[188 * 3] = 0;
        assert_eq!(layout(&one_wrong), Some(LAYOUTS[0]));
        let moved = [&[7; 100][..], &stream(0, 188)].concat();
        let found = find(&mut Reader::new(&moved.as_slice())).unwrap();
        assert_eq!(
            found.map(|start| (start.at, start.layout)),
            Some((100, LAYOUTS[0]))
        );
    }
}
