//! Transport streams of several sources mixed into one.

use std::{
    collections::HashMap,
    io::{self, Write},
    ops::Range,
};

use super::{
    packed::{self, Packer},
    packets::{shift_packet, tables},
};
use crate::{
    container::ts::{
        CLOCK, NULL_PID, PACKET, Packet, Packets, Program, Stream, WRAP, difference, pid, stamp_at,
        stamps,
    },
    stream::{Body, OpenBody},
};

/// Packets that are read at a time, to mix them: 64 KiB, which stay in the processor's cache until
/// they are written.
const MANY: usize = 348;
/// The first PID of the mixed streams; the others follow.
const FIRST_PID: u16 = 0x100;

/// A segment to be mixed.
#[derive(Clone, Debug)]
pub(crate) struct TsSegment {
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

/// Mixes lanes of segments, each in order of time, into one stream with new PIDs and counters.
/// Packets are changed in the buffer into which they were read, and as many as follow each other
/// are written at once. Holds a buffer for each lane.
///
/// # Errors
/// What reading or writing returns; `InvalidData` when there is nothing that can be announced in
/// one table.
pub(crate) fn mix(lanes: &[Vec<TsSegment>], out: &mut dyn Write) -> io::Result<u64> {
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
    let (mut counters, mut number) = (Counters::default(), 0_u8);
    let (mut written, mut announced) = (0, None::<i64>);
    let mut origin = None;
    for lane in &mut lanes {
        lane.advance(&mut origin)?;
    }
    while let Some(first) = earliest(&lanes, None) {
        // Tables are written at the start and every half second of the first lane's time.
        let now = lanes[first].remapping.time.unwrap_or(0).max(0);
        if announced.is_none_or(|t| now >= t + CLOCK as i64 / 2) {
            announced = Some(now);
            for table in tables(&program, number).ok_or_else(invalid)? {
                out.write_all(&table)?;
                written += PACKET as u64;
            }
            number = number.wrapping_add(1);
        }
        // Up to the next tables, or to where another lane's turn comes.
        let tables_due = announced.unwrap_or(now) + CLOCK as i64 / 2 - 1;
        let until = earliest(&lanes, Some(first)).map_or(Some(tables_due), |other| {
            lanes[other].remapping.time.min(Some(tables_due))
        });
        written += lanes[first].write(until, &mut counters, &mut origin, out)?;
    }
    Ok(written)
}

/// The lane, other than `but`, whose front is decoded first.
fn earliest(lanes: &[Lane<'_>], but: Option<usize>) -> Option<usize> {
    let there = (0..lanes.len()).filter(|&i| Some(i) != but && lanes[i].ready);
    there.min_by_key(|&i| lanes[i].remapping.time)
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
    parts: std::slice::Iter<'a, TsSegment>,
    reader: Option<SegmentReader>,
    /// New PIDs, by kind of stream and how many of that kind came before.
    pids: HashMap<(u8, usize), u16>,
    /// Where packets with only a PCR go.
    pcr: u16,
    remapping: Remapping,
    /// A packet is at the front, and changed already.
    ready: bool,
}

enum SegmentReader {
    Packets(Packets<OpenBody>),
    Adts(Packer, Packet),
}

/// How the packets of a segment are changed.
struct Remapping {
    /// The segment's PIDs and the new ones: so few that looking through them is faster than
    /// hashing.
    map: Vec<(u16, u16)>,
    shift: i64,
    /// Decode time of what is at the front, without wrapping; none before the first time stamp.
    time: Option<i64>,
}

impl Remapping {
    /// Changes a packet. False, and nothing is changed, if its stream is not one of those that are
    /// mixed.
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
            let time = stamp_at(packet, at);
            let origin = *origin.get_or_insert(time) as i64;
            let before = self.time.unwrap_or(origin);
            self.time = Some(before + difference(before.rem_euclid(WRAP) as u64, time));
        }
        true
    }
}

impl<'a> Lane<'a> {
    /// Takes PIDs in `program` for every stream of its parts.
    fn new(parts: &'a [TsSegment], program: &mut Program) -> Self {
        let mut pids = HashMap::new();
        let mut pcr = NULL_PID;
        for part in parts {
            let adts = packed::program();
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
        let remapping = Remapping {
            map: Vec::new(),
            shift: 0,
            time: None,
        };
        Self {
            parts: parts.iter(),
            reader: None,
            pids,
            pcr,
            remapping,
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
                SegmentReader::Packets(packets) => packets.front()?,
                SegmentReader::Adts(packer, packet) => match packer.next()? {
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
            self.ready = self.remapping.take(packet, origin);
            if let (false, SegmentReader::Packets(packets)) = (self.ready, reader) {
                packets.pass();
            }
        }
        Ok(())
    }

    /// Writes what is at the front, and what follows it in the buffer up to the first that is later
    /// than `until`.
    fn write(
        &mut self,
        until: Option<i64>,
        counters: &mut Counters,
        origin: &mut Option<u64>,
        out: &mut dyn Write,
    ) -> io::Result<u64> {
        let mut taken = false;
        let written = match &mut self.reader {
            None => 0,
            Some(SegmentReader::Adts(_, packet)) => {
                counters.number(packet);
                out.write_all(packet)?;
                PACKET
            }
            Some(SegmentReader::Packets(packets)) => {
                let start = packets.mark();
                while let Some(packet) = packets.buffered() {
                    counters.number(packet);
                    packets.pass();
                    taken = packets
                        .buffered()
                        .is_some_and(|next| self.remapping.take(next, origin));
                    if !taken || self.remapping.time > until {
                        break;
                    }
                }
                out.write_all(packets.since(start))?;
                packets.since(start).len()
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
        let adts = packed::program();
        let range = part.range.clone();
        let (program, reader) = match &part.content {
            Payload::Packets(program) => (
                program,
                SegmentReader::Packets(Packets::new(open, range, MANY)),
            ),
            Payload::Adts(time) => (
                &adts,
                SegmentReader::Adts(Packer::new(open, range, *time), [0; PACKET]),
            ),
        };
        let known = |(key, stream): (_, &Stream)| Some((stream.pid, *self.pids.get(&key)?));
        self.remapping.map = numbered(program).filter_map(known).collect();
        if program.pcr != NULL_PID {
            // This comes behind the streams, so that a stream that also carries the clock is found
            // first.
            self.remapping.map.push((program.pcr, self.pcr));
        }
        self.remapping.shift = part.shift;
        self.reader = Some(reader);
        Ok(true)
    }
}

/// Streams, each with the key by which its counterpart in another segment is found: its kind, and
/// how many of that kind come before.
pub(crate) fn numbered(program: &Program) -> impl Iterator<Item = ((u8, usize), &Stream)> {
    program.streams.iter().enumerate().map(|(i, stream)| {
        let before = program.streams[..i]
            .iter()
            .filter(|s| s.kind == stream.kind)
            .count();
        ((stream.kind, before), stream)
    })
}
