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

const SYNC: u8 = 0x47;
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
        (last.wrapping_sub(first) & ((1 << 33) - 1)) as f64 / 90_000.0
    }
}

impl Found {
    fn packets(&mut self, reader: &mut Reader, layout: Layout, from: u64, to: u64) -> Step<()> {
        let mut at = from;
        while at < to {
            if let Some(packet) = reader.array::<188>(at + layout.lead as u64)? {
                self.packet(&packet);
            }
            at += layout.size as u64;
        }
        Ok(())
    }

    fn packet(&mut self, packet: &[u8; 188]) {
        let [SYNC, high, low, flags, rest @ ..] = packet else {
            return;
        };
        let pid = u16::from(high & 0x1f) << 8 | u16::from(*low);
        let start = high & 0x40 != 0;
        // 2.4.3.2: bit 5 an adaptation field, bit 4 a payload.
        let skip = if flags & 0x20 != 0 {
            usize::from(rest[0]) + 1
        } else {
            0
        };
        let payload = if flags & 0x10 != 0 {
            rest.get(skip..).unwrap_or_default()
        } else {
            &[]
        };
        if pid == 0x1fff || payload.is_empty() {
            return;
        }
        if flags >> 6 != 0 {
            self.scrambled += 1;
            return;
        }
        if pid == 0 && start {
            self.association(payload);
        } else if self.tables.contains(&pid) && start {
            self.map(payload);
        } else if let Some(stream) = self.streams.get_mut(&pid) {
            self.clear += 1;
            stream.payload(payload, start);
        }
    }

    /// 2.4.4.3: which packets carry the program's map.
    fn association(&mut self, payload: &[u8]) {
        let Some(section) = section(payload) else {
            return;
        };
        for entry in section.get(8..).unwrap_or_default().as_chunks::<4>().0 {
            let [p, q, high, low] = *entry;
            let pid = u16::from(high & 0x1f) << 8 | u16::from(low);
            // Program 0 is the network's.
            if (p, q) != (0, 0) && !self.tables.contains(&pid) && self.tables.len() < 64 {
                self.tables.push(pid);
            }
        }
    }

    /// 2.4.4.8: the streams of a program.
    fn map(&mut self, payload: &[u8]) {
        let Some(section) = section(payload) else {
            return;
        };
        let length = |at: usize| {
            let pair = section.get(at..at + 2)?;
            Some(usize::from(pair[0] & 15) << 8 | usize::from(pair[1]))
        };
        let Some(mut at) = length(10).map(|n| 12 + n) else {
            return;
        };
        while let (Some(&[kind, high, low]), Some(more)) = (
            section.get(at..).and_then(|s| s.first_chunk::<3>()),
            length(at + 3),
        ) {
            let descriptors = section.get(at + 5..at + 5 + more).unwrap_or_default();
            // Table 2-34, and what ATSC, Blu-ray and DVB add.
            let video = matches!(
                kind,
                0x01 | 0x02 | 0x10 | 0x1b | 0x1e | 0x20 | 0x21 | 0x24 | 0x33 | 0x42 | 0xd1 | 0xea
            );
            let private = kind == 6
                && matches!(
                    descriptors.first(),
                    Some(0x05 | 0x6a | 0x7a | 0x7b | 0x7c | 0x7f)
                );
            let audio = matches!(kind, 0x03 | 0x04 | 0x0f | 0x11 | 0x1c | 0x80..=0x87) || private;
            self.video |= video;
            self.audio |= audio;
            if video || audio {
                self.streams
                    .entry(u16::from(high & 0x1f) << 8 | u16::from(low))
                    .or_default();
            }
            at += 5 + more;
        }
    }
}

impl Stream {
    fn payload(&mut self, payload: &[u8], start: bool) {
        let have = payload.len() as u64;
        if !start {
            self.owed = self.owed.map(|n| n.saturating_sub(have));
            return;
        }
        self.owed = None;
        let &[0, 0, 1, _, n1, n0, flags, times, _, a, b, c, d, e, ..] = payload else {
            return;
        };
        // 2.4.3.7: a length of 0 is "unknown", for video.
        let length = u64::from(n1) << 8 | u64::from(n0);
        if length > 0 {
            self.owed = Some((length + 6).saturating_sub(have));
        }
        if flags & 0xc0 == 0x80 && times & 0x80 != 0 {
            let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
            let time = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1;
            self.first = Some(self.first.map_or(time, |first| {
                if first.wrapping_sub(time) < 1 << 20 {
                    time
                } else {
                    first
                }
            }));
            // Frames are sent out of order: the latest counts, a wrap included.
            let ahead = |last: u64| (time.wrapping_sub(last) & ((1 << 33) - 1)) < 1 << 32;
            if self.last.is_none_or(ahead) {
                self.last = Some(time);
            }
        }
    }
}

/// A section behind its pointer, without the checksum.
fn section(payload: &[u8]) -> Option<&[u8]> {
    let section = payload.get(usize::from(*payload.first()?) + 1..)?;
    let length = usize::from(section.get(1)? & 15) << 8 | usize::from(*section.get(2)?);
    Some(
        section
            .get(..(length + 3).checked_sub(4)?)
            .unwrap_or(section),
    )
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
