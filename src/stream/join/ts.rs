//! MPEG transport streams (ISO/IEC 13818-1): what the first packets say, and several streams mixed
//! into one.

use std::{
    collections::HashMap,
    io::{self, Write},
    ops::Range,
};

use super::adts;
use crate::{
    content::Content,
    stream::{Body, OpenBody},
};

/// Bytes of a packet.
pub(crate) const PACKET: usize = 188;
/// Ticks of a second in PTS and DTS.
pub(crate) const CLOCK: u64 = 90_000;
/// PTS, DTS and the PCR's base have 33 bits.
const WRAP: i64 = 1 << 33;
const SYNC: u8 = 0x47;
/// Packets that are read at a time, to look at the first ones.
const FEW: usize = 64;
/// Packets that are read at a time, to mix them: 64 KiB, which stay in the processor's cache until
/// they are written.
const MANY: usize = 348;
/// How far into a segment its tables and first time stamp are looked for.
const LOOK: u64 = 1 << 20;
const NULL_PID: u16 = 0x1fff;
/// Where the table of what is mixed goes.
const TABLE_PID: u16 = 0x1000;
/// PIDs of what is mixed, in its order.
const FIRST_PID: u16 = 0x100;

/// One 188-byte packet.
pub(crate) type Packet = [u8; PACKET];

/// One elementary stream of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) pid: u16,
    /// `stream_type` (ISO/IEC 13818-1, table 2-34).
    pub(crate) kind: u8,
    descriptors: Vec<u8>,
}

/// A program map.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Program {
    pcr: u16,
    info: Vec<u8>,
    pub(crate) streams: Vec<Stream>,
}

/// What the beginning of a segment tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// None if it isn't announced: part of a segment, the start of which did.
    pub(crate) program: Option<Program>,
    /// The earliest presentation time in it, in ticks of 1/90000 s.
    pub(crate) time: Option<u64>,
    /// Packets are scrambled.
    pub(crate) scrambled: bool,
}

/// A segment to be mixed.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) body: Body,
    pub(crate) range: Range<u64>,
    pub(crate) content: Payload,
    /// Added to its time stamps.
    pub(crate) shift: i64,
}

/// What a segment consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Transport stream packets.
    Packets(Program),
    /// AAC frames, the first of which is presented at this time.
    Adts(u64),
}

impl Stream {
    pub(crate) fn is_video(&self) -> bool {
        matches!(self.kind, 0x01 | 0x02 | 0x10 | 0x1b | 0x24 | 0x33)
    }
}

impl Program {
    pub(crate) fn has_video(&self) -> bool {
        self.streams.iter().any(Stream::is_video)
    }

    /// Reads a program map section (2.4.4.9) that lies in one packet.
    fn parse(section: &[u8]) -> Option<Self> {
        let len = usize::from(be16(section, 1)? & 0xfff);
        let section = section.get(..3 + len)?;
        let end = section.len().checked_sub(4)?; // CRC
        let info_len = usize::from(be16(section, 10)? & 0xfff);
        let mut at = 12 + info_len;
        let mut program = Self {
            pcr: be16(section, 8)? & 0x1fff,
            info: section.get(12..at)?.to_vec(),
            streams: Vec::new(),
        };
        while at + 5 <= end {
            let n = usize::from(be16(section, at + 3)? & 0xfff);
            program.streams.push(Stream {
                kind: section[at],
                pid: be16(section, at + 1)? & 0x1fff,
                descriptors: section
                    .get(at + 5..at + 5 + n)
                    .filter(|_| at + 5 + n <= end)?
                    .to_vec(),
            });
            at += 5 + n;
        }
        Some(program)
    }

    /// The PAT and PMT packets that announce it; `None` if the map doesn't fit one packet.
    fn tables(&self, counter: u8) -> Option<[Packet; 2]> {
        let mut pat = vec![0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1];
        pat.extend_from_slice(&(0xe000 | TABLE_PID).to_be_bytes());
        let mut pmt = vec![2, 0, 0, 0, 1, 0xc1, 0, 0];
        pmt.extend_from_slice(&(0xe000 | self.pcr).to_be_bytes());
        pmt.extend_from_slice(&(0xf000 | self.info.len() as u16).to_be_bytes());
        pmt.extend_from_slice(&self.info);
        for stream in &self.streams {
            pmt.push(stream.kind);
            pmt.extend_from_slice(&(0xe000 | stream.pid).to_be_bytes());
            pmt.extend_from_slice(&(0xf000 | stream.descriptors.len() as u16).to_be_bytes());
            pmt.extend_from_slice(&stream.descriptors);
        }
        let len = (pmt.len() + 4 - 3) as u16;
        pmt[1..3].copy_from_slice(&(0xb000 | len).to_be_bytes());
        Some([
            section_packet(0, pat, counter)?,
            section_packet(TABLE_PID, pmt, counter)?,
        ])
    }
}

fn section_packet(pid: u16, mut section: Vec<u8>, counter: u8) -> Option<Packet> {
    section.extend_from_slice(&crc32(&section).to_be_bytes());
    let mut packet = [0xff; PACKET];
    packet[0] = 0x47;
    packet[1..3].copy_from_slice(&(0x4000 | pid).to_be_bytes());
    packet[3] = 0x10 | (counter & 15);
    packet[4] = 0;
    packet
        .get_mut(5..5 + section.len())?
        .copy_from_slice(&section);
    Some(packet)
}

/// CRC-32 of tables (annex A): polynomial 0x04c11db7, not reflected.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 24), |c, _| {
            if c >> 31 == 1 {
                c << 1 ^ 0x04c1_1db7
            } else {
                c << 1
            }
        })
    })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

fn pid(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff
}

/// Where the payload starts, if there is one.
fn payload(packet: &Packet) -> Option<usize> {
    let start = if packet[3] & 0x20 > 0 {
        5 + usize::from(packet[4])
    } else {
        4
    };
    (packet[3] & 0x10 > 0 && start < PACKET).then_some(start)
}

fn starts_unit(packet: &Packet) -> bool {
    packet[1] & 0x40 > 0
}

/// Where PTS and DTS of the PES packet that starts here are (2.4.3.6).
fn stamps(packet: &Packet) -> Option<(usize, Option<usize>)> {
    let at = payload(packet).filter(|_| starts_unit(packet))?;
    let head = packet.get(at..at + 14)?;
    let known = matches!(head[3], 0xbd | 0xc0..=0xef | 0xfa | 0xfd);
    if !head.starts_with(&[0, 0, 1]) || !known || head[6] & 0xc0 != 0x80 || head[7] & 0x80 == 0 {
        return None;
    }
    let dts = (head[7] & 0x40 > 0 && at + 19 <= PACKET).then_some(at + 14);
    Some((at + 9, dts))
}

fn read_stamp(b: &[u8]) -> u64 {
    let [a, b, c, d, e] = [b[0], b[1], b[2], b[3], b[4]].map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

pub(crate) fn write_stamp(b: &mut [u8], prefix: u8, time: u64) {
    b[0] = prefix << 4 | ((time >> 30 & 7) << 1) as u8 | 1;
    b[1] = (time >> 22) as u8;
    b[2] = ((time >> 15) << 1) as u8 | 1;
    b[3] = (time >> 7) as u8;
    b[4] = (time << 1) as u8 | 1;
}

fn shifted(time: u64, shift: i64) -> u64 {
    (time as i64).wrapping_add(shift).rem_euclid(WRAP) as u64
}

/// `b - a` on a clock that wraps.
pub(crate) fn difference(a: u64, b: u64) -> i64 {
    (b as i64 - a as i64 + WRAP / 2).rem_euclid(WRAP) - WRAP / 2
}

/// Adds `shift` to PTS, DTS and PCR.
fn shift_packet(packet: &mut Packet, shift: i64) {
    if let Some((pts, dts)) = stamps(packet) {
        for at in [Some(pts), dts].into_iter().flatten() {
            let time = shifted(read_stamp(&packet[at..at + 5]), shift);
            let prefix = packet[at] >> 4;
            write_stamp(&mut packet[at..at + 5], prefix, time);
        }
    }
    let has_pcr = packet[3] & 0x20 > 0 && packet[4] >= 7 && packet[5] & 0x10 > 0;
    if has_pcr {
        let b = &mut packet[6..11];
        let base = [b[0], b[1], b[2], b[3]]
            .iter()
            .fold(0, |n, &x| n << 8 | u64::from(x))
            << 1
            | u64::from(b[4] >> 7);
        let base = shifted(base, shift);
        b[..4].copy_from_slice(&((base >> 1) as u32).to_be_bytes());
        b[4] = b[4] & 0x7f | ((base & 1) as u8) << 7;
    }
}

/// Packets of a stretch, one after the other; what is not a packet is passed over.
struct Packets {
    body: OpenBody,
    range: Range<u64>,
    buffer: Vec<u8>,
    filled: usize,
    used: usize,
}

impl Packets {
    fn new(body: OpenBody, range: Range<u64>, packets: usize) -> Self {
        Self {
            body,
            range,
            buffer: vec![0; packets * PACKET],
            filled: 0,
            used: 0,
        }
    }

    /// The packet at the front.
    fn front(&mut self) -> io::Result<Option<&mut Packet>> {
        loop {
            if self.filled - self.used >= PACKET {
                if self.buffer[self.used] == SYNC {
                    return Ok(self.read());
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
            let n = self.body.read_at(
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
    fn read(&mut self) -> Option<&mut Packet> {
        self.buffer[self.used..self.filled]
            .first_chunk_mut()
            .filter(|packet| packet[0] == SYNC)
    }

    fn next(&mut self) -> io::Result<Option<Packet>> {
        let packet = self.front()?.copied();
        self.used += if packet.is_some() { PACKET } else { 0 };
        Ok(packet)
    }
}

/// What the beginning of `range` tells; `None` if it is no transport stream.
pub(crate) fn head(body: &Body, range: Range<u64>) -> io::Result<Option<Head>> {
    let range = range.start..range.end.min(range.start.saturating_add(LOOK));
    let open = body.open()?;
    let mut sync = [0; PACKET + 1];
    let n = open.read_at(
        range.start,
        &mut sync[..usize::try_from(range.end - range.start)
            .unwrap_or(0)
            .min(PACKET + 1)],
    )?;
    if n < PACKET || sync[0] != 0x47 || n > PACKET && sync[PACKET] != 0x47 {
        return Ok(None);
    }
    let mut packets = Packets::new(open, range, FEW);
    let (mut table, mut program, mut time, mut scrambled) = (None, None, None::<u64>, false);
    let mut stamped = HashMap::new();
    while let Some(packet) = packets.next()? {
        let id = pid(&packet);
        scrambled |= id != NULL_PID && packet[3] & 0xc0 > 0;
        let section = payload(&packet)
            .filter(|_| starts_unit(&packet))
            .map(|at| &packet[at..]);
        let section = section.and_then(|s| s.get(1 + usize::from(s[0])..));
        if id == 0 {
            table = table.or_else(|| section.and_then(first_program));
        } else if Some(id) == table && program.is_none() {
            program = section.and_then(Program::parse);
        } else if let Some((pts, _)) = stamps(&packet) {
            let pts = read_stamp(&packet[pts..pts + 5]);
            if time.is_none_or(|t| difference(t, pts) < 0) {
                time = Some(pts);
            }
            *stamped.entry(id).or_insert(0_u32) += 1;
        }
        // Pictures come out of order: a few of one stream tell the earliest.
        if program.is_some() && stamped.values().any(|&n| n >= 4) {
            break;
        }
    }
    Ok(Some(Head {
        program,
        time,
        scrambled,
    }))
}

/// The last presentation time in `range`, from its end.
pub(crate) fn last_time(body: &Body, range: Range<u64>) -> io::Result<Option<u64>> {
    let from = range.end.saturating_sub(LOOK).max(range.start);
    let from = from - (from - range.start) % PACKET as u64;
    let mut packets = Packets::new(body.open()?, from..range.end, FEW);
    let mut last = None;
    while let Some(packet) = packets.next()? {
        if let Some((pts, _)) = stamps(&packet) {
            let pts = read_stamp(&packet[pts..pts + 5]);
            if last.is_none_or(|t| difference(t, pts) > 0) {
                last = Some(pts);
            }
        }
    }
    Ok(last)
}

/// PID of the first program's map in a program association section (2.4.4.3).
fn first_program(section: &[u8]) -> Option<u16> {
    let len = usize::from(be16(section, 1)? & 0xfff);
    let programs = section.get(8..(3 + len).checked_sub(4)?)?;
    programs
        .chunks_exact(4)
        .find(|p| p[..2] != [0, 0])
        .and_then(|p| be16(p, 2))
        .map(|p| p & 0x1fff)
}

/// Mixes lanes of segments, each in order of time, into one stream with new PIDs and counters.
/// Packets are changed where they were read, and written as many at a time as lie side by side.
/// Holds a buffer for each lane.
///
/// # Errors
/// What reading or writing returns; `InvalidData` when there is nothing that can be announced in
/// one table.
pub(crate) fn mix(lanes: &[Vec<Part>], out: &mut dyn Write) -> io::Result<u64> {
    let mut program = Program {
        pcr: NULL_PID,
        ..Program::default()
    };
    let mut lanes: Vec<Lane<'_>> = lanes
        .iter()
        .map(|parts| Lane::new(parts, &mut program))
        .collect();
    let invalid = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "its streams don't fit one program map",
        )
    };
    if program.streams.is_empty() {
        return Err(invalid());
    }
    let (mut counters, mut tables) = (Counters::default(), 0_u8);
    let (mut written, mut announced) = (0, None::<i64>);
    let mut origin = None;
    for lane in &mut lanes {
        lane.advance(&mut origin)?;
    }
    while let Some(first) = earliest(&lanes, usize::MAX) {
        // Tables every half second of the first lane's time, and at the very start.
        let now = lanes[first].course.time.max(0);
        if announced.is_none_or(|t| now >= t + CLOCK as i64 / 2) {
            announced = Some(now);
            for table in program.tables(tables).ok_or_else(invalid)? {
                out.write_all(&table)?;
                written += PACKET as u64;
            }
            tables = tables.wrapping_add(1);
        }
        let other = earliest(&lanes, first).map_or(i64::MAX, |i| lanes[i].course.time);
        let until = other.min(announced.unwrap_or(now) + CLOCK as i64 / 2 - 1);
        written += lanes[first].write(until, &mut counters, &mut origin, out)?;
    }
    Ok(written)
}

/// The lane, other than `but`, whose front is decoded first.
fn earliest(lanes: &[Lane<'_>], but: usize) -> Option<usize> {
    let there = (0..lanes.len()).filter(|&i| i != but && lanes[i].ready);
    there.min_by_key(|&i| lanes[i].course.time)
}

/// The continuity counter of each PID (2.4.3.3): only packets with a payload count.
struct Counters(Box<[u8]>);

impl Default for Counters {
    fn default() -> Self {
        Self(vec![15; 1 << 13].into())
    }
}

impl Counters {
    fn number(&mut self, packet: &mut Packet) {
        let counter = &mut self.0[usize::from(pid(packet))];
        if packet[3] & 0x10 > 0 {
            *counter = (*counter + 1) & 15;
        }
        packet[3] = packet[3] & 0xf0 | *counter;
    }
}

/// Segments that follow each other.
struct Lane<'a> {
    parts: std::slice::Iter<'a, Part>,
    reader: Option<Reader>,
    /// New PIDs, by kind of stream and how many of that kind came before.
    pids: HashMap<(u8, usize), u16>,
    /// Where packets with only a PCR go.
    pcr: u16,
    course: Course,
    /// A packet is at the front, and changed already.
    ready: bool,
}

enum Reader {
    Packets(Packets),
    Adts(adts::Packer, Packet),
}

/// What becomes of a part's packets.
struct Course {
    /// The part's PIDs → new ones: a handful, which is faster looked through than hashed.
    map: Vec<(u16, u16)>,
    shift: i64,
    /// Decode time of what is at the front, without wrapping.
    time: i64,
}

impl Course {
    /// Changes a packet; false, and nothing is changed, if it doesn't belong to what is mixed.
    fn take(&mut self, packet: &mut Packet, origin: &mut Option<u64>) -> bool {
        let old = pid(packet);
        let Some(&(_, new)) = self.map.iter().find(|(known, _)| *known == old) else {
            return false;
        };
        let [high, low] = new.to_be_bytes();
        packet[1] = packet[1] & 0xe0 | high;
        packet[2] = low;
        if self.shift != 0 {
            shift_packet(packet, self.shift);
        }
        if let Some((pts, dts)) = stamps(packet) {
            let at = dts.unwrap_or(pts);
            let time = read_stamp(&packet[at..at + 5]);
            let origin = *origin.get_or_insert(time) as i64;
            let before = if self.time == i64::MIN {
                origin
            } else {
                self.time
            };
            self.time = before + difference(before.rem_euclid(WRAP) as u64, time);
        }
        true
    }
}

impl<'a> Lane<'a> {
    /// Takes PIDs in `program` for every stream of its parts.
    fn new(parts: &'a [Part], program: &mut Program) -> Self {
        let mut pids = HashMap::new();
        let mut pcr = NULL_PID;
        for part in parts {
            let adts = adts::program();
            let theirs = match &part.content {
                Payload::Packets(program) => program,
                Payload::Adts(_) => &adts,
            };
            for (key, stream) in numbered(theirs) {
                pids.entry(key).or_insert_with(|| {
                    let pid = FIRST_PID + program.streams.len() as u16;
                    program.streams.push(Stream {
                        pid,
                        ..stream.clone()
                    });
                    pid
                });
            }
            let carrier = numbered(theirs)
                .find(|(_, s)| s.pid == theirs.pcr)
                .or_else(|| numbered(theirs).next());
            if let Some(pid) = carrier
                .and_then(|(key, _)| pids.get(&key))
                .filter(|_| pcr == NULL_PID)
            {
                pcr = *pid;
            }
        }
        if program.pcr == NULL_PID {
            program.pcr = pcr;
        }
        let course = Course {
            map: Vec::new(),
            shift: 0,
            time: i64::MIN,
        };
        Self {
            parts: parts.iter(),
            reader: None,
            pids,
            pcr,
            course,
            ready: false,
        }
    }

    /// Brings the next packet to the front. `origin` is the first time of any lane, from which all
    /// are counted.
    fn advance(&mut self, origin: &mut Option<u64>) -> io::Result<()> {
        self.ready = false;
        while !self.ready {
            let Some(reader) = &mut self.reader else {
                if !self.open()? {
                    return Ok(());
                }
                continue;
            };
            let front = match reader {
                Reader::Packets(packets) => packets.front()?,
                Reader::Adts(packer, packet) => match packer.next()? {
                    Some(next) => {
                        *packet = next;
                        Some(packet)
                    }
                    None => None,
                },
            };
            let Some(packet) = front else {
                self.reader = None;
                continue;
            };
            self.ready = self.course.take(packet, origin);
            if let (false, Reader::Packets(packets)) = (self.ready, reader) {
                packets.used += PACKET;
            }
        }
        Ok(())
    }

    /// Writes what is at the front, and what follows it in the buffer up to the first that is later
    /// than `until`.
    fn write(
        &mut self,
        until: i64,
        counters: &mut Counters,
        origin: &mut Option<u64>,
        out: &mut dyn Write,
    ) -> io::Result<u64> {
        let mut taken = false;
        let written = match &mut self.reader {
            None => 0,
            Some(Reader::Adts(_, packet)) => {
                counters.number(packet);
                out.write_all(packet)?;
                PACKET
            }
            Some(Reader::Packets(packets)) => {
                let start = packets.used;
                while let Some(packet) = packets.read() {
                    counters.number(packet);
                    packets.used += PACKET;
                    taken = packets
                        .read()
                        .is_some_and(|next| self.course.take(next, origin));
                    if !taken || self.course.time > until {
                        break;
                    }
                }
                out.write_all(&packets.buffer[start..packets.used])?;
                packets.used - start
            }
        };
        if !taken {
            self.advance(origin)?;
        }
        Ok(written as u64)
    }

    fn open(&mut self) -> io::Result<bool> {
        let Some(part) = self.parts.next() else {
            return Ok(false);
        };
        let open = part.body.open()?;
        let adts = adts::program();
        let range = part.range.clone();
        let (program, reader) = match &part.content {
            Payload::Packets(program) => {
                (program, Reader::Packets(Packets::new(open, range, MANY)))
            }
            Payload::Adts(time) => (
                &adts,
                Reader::Adts(adts::Packer::new(open, range, *time), [0; PACKET]),
            ),
        };
        let known = |(key, stream): (_, &Stream)| Some((stream.pid, *self.pids.get(&key)?));
        self.course.map = numbered(program).filter_map(known).collect();
        if program.pcr != NULL_PID {
            // Behind the streams: one that carries the clock is found first.
            self.course.map.push((program.pcr, self.pcr));
        }
        self.course.shift = part.shift;
        self.reader = Some(reader);
        Ok(true)
    }
}

/// Streams with what finds their like in another segment: their kind, and how many of it came
/// before.
fn numbered(program: &Program) -> impl Iterator<Item = ((u8, usize), &Stream)> {
    program.streams.iter().enumerate().map(|(i, stream)| {
        let before = program.streams[..i]
            .iter()
            .filter(|s| s.kind == stream.kind)
            .count();
        ((stream.kind, before), stream)
    })
}

/// A program of one stream.
pub(crate) fn single(pid: u16, kind: u8) -> Program {
    Program {
        pcr: NULL_PID,
        info: Vec::new(),
        streams: vec![Stream {
            pid,
            kind,
            descriptors: Vec::new(),
        }],
    }
}
