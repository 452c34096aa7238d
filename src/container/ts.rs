//! MPEG transport streams (ISO/IEC 13818-1): packets, the tables that announce a program, and the
//! time stamps of PES packets.

use std::{collections::HashMap, io, ops::Range};

use super::bytes::be16;
use crate::content::Content;

/// Bytes of a packet.
pub(crate) const PACKET: usize = 188;
/// What each packet begins with.
pub(crate) const SYNC: u8 = 0x47;
/// Packets that only fill up.
pub(crate) const NULL_PID: u16 = 0x1fff;
/// Ticks of a second in PTS and DTS.
pub(crate) const CLOCK: u64 = 90_000;
/// PTS, DTS and the PCR's base have 33 bits.
pub(crate) const WRAP: i64 = 1 << 33;
/// Packets that are read at a time, to look at the first ones.
const FEW: usize = 64;
/// How far into a segment its tables and first time stamp are looked for.
const LOOK: u64 = 1 << 20;

/// One 188-byte packet.
pub(crate) type Packet = [u8; PACKET];

/// The packet's PID (2.4.3.2).
pub(crate) fn pid(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff
}

/// Whether its payload is scrambled.
pub(crate) fn is_scrambled(packet: &Packet) -> bool {
    packet[3] & 0xc0 > 0
}

/// Whether a section or a PES packet starts in its payload.
pub(crate) fn starts_unit(packet: &Packet) -> bool {
    packet[1] & 0x40 > 0
}

/// Where the payload starts, if there is one.
pub(crate) fn payload_at(packet: &Packet) -> Option<usize> {
    let start = if packet[3] & 0x20 > 0 {
        5 + usize::from(packet[4])
    } else {
        4
    };
    (packet[3] & 0x10 > 0 && start < PACKET).then_some(start)
}

/// The section that starts in this packet, up to the packet's end (2.4.4.1).
pub(crate) fn section(packet: &Packet) -> Option<&[u8]> {
    let payload = &packet[payload_at(packet).filter(|_| starts_unit(packet))?..];
    payload.get(1 + usize::from(payload[0])..)
}

/// The bytes of a section behind `from`, without its checksum, as far as they are there.
fn section_body(section: &[u8], from: usize) -> Option<&[u8]> {
    let len = usize::from(be16(section, 1)? & 0xfff);
    let end = (3 + len).checked_sub(4)?.min(section.len());
    section.get(from..end)
}

/// PIDs of the programs' maps in a program association section (2.4.4.3). Program 0 is the
/// network's.
pub(crate) fn map_pids(section: &[u8]) -> impl Iterator<Item = u16> {
    let programs = section_body(section, 8)
        .unwrap_or_default()
        .as_chunks::<4>();
    let programs = programs.0.iter().filter(|p| p[..2] != [0, 0]);
    programs.map(|p| u16::from_be_bytes([p[2], p[3]]) & 0x1fff)
}

/// One elementary stream of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) pid: u16,
    /// `stream_type` (table 2-34).
    pub(crate) kind: u8,
    pub(crate) descriptors: Vec<u8>,
}

impl Stream {
    /// Table 2-34, and what ATSC, Blu-ray and DVB add.
    pub(crate) fn is_video(&self) -> bool {
        matches!(
            self.kind,
            0x01 | 0x02 | 0x10 | 0x1b | 0x1e | 0x20 | 0x21 | 0x24 | 0x33 | 0x42 | 0xd1 | 0xea
        )
    }

    /// As [`Self::is_video`]; private data is sound if its first descriptor says so.
    pub(crate) fn is_audio(&self) -> bool {
        let private = self.kind == 6
            && matches!(
                self.descriptors.first(),
                Some(0x05 | 0x6a | 0x7a | 0x7b | 0x7c | 0x7f)
            );
        private || matches!(self.kind, 0x03 | 0x04 | 0x0f | 0x11 | 0x1c | 0x80..=0x87)
    }
}

/// A program map.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Program {
    /// The PID that carries its clock.
    pub(crate) pcr: u16,
    pub(crate) info: Vec<u8>,
    pub(crate) streams: Vec<Stream>,
}

impl Program {
    pub(crate) fn has_video(&self) -> bool {
        self.streams.iter().any(Stream::is_video)
    }

    /// Reads a program map section (2.4.4.9), as far as it lies in one packet.
    pub(crate) fn parse(section: &[u8]) -> Option<Self> {
        let body = section_body(section, 0)?;
        let mut at = 12 + usize::from(be16(body, 10)? & 0xfff);
        let mut program = Self {
            pcr: be16(body, 8)? & 0x1fff,
            info: body.get(12..at)?.to_vec(),
            streams: Vec::new(),
        };
        while let (Some(&kind), Some(pid), Some(n)) =
            (body.get(at), be16(body, at + 1), be16(body, at + 3))
        {
            let next = at + 5 + usize::from(n & 0xfff);
            program.streams.push(Stream {
                kind,
                pid: pid & 0x1fff,
                descriptors: body.get(at + 5..next).unwrap_or_default().to_vec(),
            });
            at = next;
        }
        Some(program)
    }

    /// The same, of a section that lies in one packet as a whole.
    fn parse_whole(section: &[u8]) -> Option<Self> {
        let len = usize::from(be16(section, 1)? & 0xfff);
        Self::parse(section.get(..3 + len)?)
    }
}

/// Where PTS and DTS of the PES packet that starts here are (2.4.3.6).
pub(crate) fn stamps(packet: &Packet) -> Option<(usize, Option<usize>)> {
    let at = payload_at(packet).filter(|_| starts_unit(packet))?;
    let head = packet.get(at..at + 14)?;
    let known = matches!(head[3], 0xbd | 0xc0..=0xef | 0xfa | 0xfd);
    if !head.starts_with(&[0, 0, 1]) || !known || head[6] & 0xc0 != 0x80 || head[7] & 0x80 == 0 {
        return None;
    }
    let dts = (head[7] & 0x40 > 0 && at + 19 <= PACKET).then_some(at + 14);
    Some((at + 9, dts))
}

/// A time of 33 bits, spread over five bytes with marker bits (2.4.3.7).
pub(crate) fn stamp(bytes: [u8; 5]) -> u64 {
    let [a, b, c, d, e] = bytes.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

/// The stamp at `at` of a packet; see [`stamps`].
pub(crate) fn stamp_at(packet: &Packet, at: usize) -> u64 {
    super::bytes::array(packet, at).map_or(0, stamp)
}

/// `b - a` on a clock that wraps.
pub(crate) fn difference(a: u64, b: u64) -> i64 {
    (b as i64 - a as i64 + WRAP / 2).rem_euclid(WRAP) - WRAP / 2
}

/// Packets of a stretch, one after the other; what is not a packet is passed over.
pub(crate) struct Packets<C> {
    content: C,
    range: Range<u64>,
    buffer: Vec<u8>,
    filled: usize,
    used: usize,
}

impl<C: Content> Packets<C> {
    /// Reads `packets` of them at a time.
    pub(crate) fn new(content: C, range: Range<u64>, packets: usize) -> Self {
        Self {
            content,
            range,
            buffer: vec![0; packets * PACKET],
            filled: 0,
            used: 0,
        }
    }

    /// The packet at the front.
    pub(crate) fn front(&mut self) -> io::Result<Option<&mut Packet>> {
        loop {
            if self.filled - self.used >= PACKET {
                if self.buffer[self.used] == SYNC {
                    return Ok(self.buffered());
                }
                self.used += 1;
                continue;
            }
            self.buffer.copy_within(self.used..self.filled, 0);
            self.filled -= self.used;
            self.used = 0;
            let left = usize::try_from(self.range.end.saturating_sub(self.range.start))
                .unwrap_or(usize::MAX);
            let want = left.min(self.buffer.len() - self.filled);
            let n = self.content.read_at(
                self.range.start,
                &mut self.buffer[self.filled..self.filled + want],
            )?;
            if n == 0 {
                return Ok(None);
            }
            self.range.start += n as u64;
            self.filled += n;
        }
    }

    /// The packet at the front, if it was read already: looking moves nothing.
    pub(crate) fn buffered(&mut self) -> Option<&mut Packet> {
        self.buffer[self.used..self.filled]
            .first_chunk_mut()
            .filter(|packet| packet[0] == SYNC)
    }

    /// Passes the packet at the front.
    pub(crate) fn pass(&mut self) {
        self.used += PACKET;
    }

    /// Where the front is in the buffer: valid until the next [`Self::front`].
    pub(crate) fn mark(&self) -> usize {
        self.used
    }

    /// The bytes that were passed since a [`Self::mark`].
    pub(crate) fn since(&self, mark: usize) -> &[u8] {
        &self.buffer[mark..self.used]
    }

    fn next(&mut self) -> io::Result<Option<Packet>> {
        let packet = self.front()?.copied();
        self.used += if packet.is_some() { PACKET } else { 0 };
        Ok(packet)
    }
}

/// What the beginning of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    /// `None` if it isn't announced: the segment goes on with the program of the one before.
    pub(crate) program: Option<Program>,
    /// The earliest presentation time in it, in ticks of 1/90000 s.
    pub(crate) time: Option<u64>,
    /// Packets are scrambled.
    pub(crate) scrambled: bool,
}

/// What the beginning of `range` says; `None` if it is no transport stream.
pub(crate) fn head<C: Content>(content: C, range: Range<u64>) -> io::Result<Option<SegmentHead>> {
    let range = range.start..range.end.min(range.start.saturating_add(LOOK));
    let mut sync = [0; PACKET + 1];
    let want = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
    let n = content.read_at(range.start, &mut sync[..want.min(PACKET + 1)])?;
    if n < PACKET || sync[0] != SYNC || n > PACKET && sync[PACKET] != SYNC {
        return Ok(None);
    }
    let mut packets = Packets::new(content, range, FEW);
    let (mut table, mut program, mut time, mut scrambled) = (None, None, None::<u64>, false);
    let mut stamped = HashMap::new();
    while let Some(packet) = packets.next()? {
        let id = pid(&packet);
        scrambled |= id != NULL_PID && is_scrambled(&packet);
        if id == 0 {
            table = table.or_else(|| section(&packet).and_then(|s| map_pids(s).next()));
        } else if Some(id) == table && program.is_none() {
            program = section(&packet).and_then(Program::parse_whole);
        } else if let Some((pts, _)) = stamps(&packet) {
            let pts = stamp_at(&packet, pts);
            if time.is_none_or(|t| difference(t, pts) < 0) {
                time = Some(pts);
            }
            *stamped.entry(id).or_insert(0_u32) += 1;
        }
        // Pictures come out of order: after a few of one stream the earliest is known.
        if program.is_some() && stamped.values().any(|&n| n >= 4) {
            break;
        }
    }
    Ok(Some(SegmentHead {
        program,
        time,
        scrambled,
    }))
}

/// The last presentation time in `range`, from its end.
pub(crate) fn last_time<C: Content>(content: C, range: Range<u64>) -> io::Result<Option<u64>> {
    let from = range.end.saturating_sub(LOOK).max(range.start);
    let from = from - (from - range.start) % PACKET as u64;
    let mut packets = Packets::new(content, from..range.end, FEW);
    let mut last = None;
    while let Some(packet) = packets.next()? {
        if let Some((pts, _)) = stamps(&packet) {
            let pts = stamp_at(&packet, pts);
            if last.is_none_or(|t| difference(t, pts) > 0) {
                last = Some(pts);
            }
        }
    }
    Ok(last)
}

/// When the first unit of each stream is decoded, by PID, from the start of `range`.
pub(crate) fn first_stamps<C: Content>(
    content: C,
    range: Range<u64>,
) -> io::Result<HashMap<u16, u64>> {
    let end = range.end.min(range.start.saturating_add(LOOK));
    let mut packets = Packets::new(content, range.start..end, FEW);
    let mut first = HashMap::new();
    while let Some(packet) = packets.next()? {
        if let Some((pts, dts)) = stamps(&packet) {
            let time = stamp_at(&packet, dts.unwrap_or(pts));
            first.entry(pid(&packet)).or_insert(time);
        }
    }
    Ok(first)
}

/// The last unit of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastUnit {
    /// When it is decoded.
    pub(crate) time: u64,
    /// Since the unit before it.
    pub(crate) step: i64,
    /// Its payload, of streams that were asked for.
    pub(crate) payload: Vec<u8>,
}

/// The last unit of each stream by PID, from the end of `range`; with its payload for `wanted`.
pub(crate) fn last_units<C: Content>(
    content: C,
    range: Range<u64>,
    wanted: &[u16],
) -> io::Result<HashMap<u16, LastUnit>> {
    let from = range.end.saturating_sub(LOOK).max(range.start);
    let from = from - (from - range.start) % PACKET as u64;
    let mut packets = Packets::new(content, from..range.end, FEW);
    let mut units: HashMap<u16, LastUnit> = HashMap::new();
    while let Some(packet) = packets.next()? {
        let id = pid(&packet);
        let mut payload = payload_at(&packet);
        if let Some((pts, dts)) = stamps(&packet) {
            let time = stamp_at(&packet, dts.unwrap_or(pts));
            let before = units.get(&id).map_or(time, |unit| unit.time);
            let unit = units.entry(id).or_default();
            (unit.time, unit.step) = (time, difference(before, time).max(0));
            unit.payload.clear();
            // What is left of the packet behind the unit's own head (2.4.3.7).
            payload = payload.map(|at| at + 9 + usize::from(packet[at + 8]));
        }
        if let Some(unit) = units.get_mut(&id).filter(|_| wanted.contains(&id)) {
            let rest = payload.and_then(|at| packet.get(at..));
            unit.payload.extend_from_slice(rest.unwrap_or_default());
        }
    }
    Ok(units)
}
