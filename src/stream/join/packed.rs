//! AAC that HLS packs by itself, put into transport stream packets.

use std::{collections::VecDeque, io, ops::Range};

use super::packets::{self, write_stamp};
use crate::{
    container::{
        adts::{self, HEAD},
        ts::{CLOCK, PACKET, Packet, Program, SYNC, WRAP},
    },
    content::Content,
    stream::OpenBody,
};

const PID: u16 = 0x101;
/// Frames in one PES packet: about a tenth of a second.
const TOGETHER: usize = 5;

/// The program that a packed segment becomes.
pub(crate) fn program() -> Program {
    packets::single(PID, 0x0f)
}

/// Puts frames into transport stream packets.
pub(crate) struct Packer {
    body: OpenBody,
    range: Range<u64>,
    first: u64,
    /// Samples so far, at the last frame's rate.
    samples: u64,
    ready: VecDeque<Packet>,
}

impl Packer {
    /// `range` starts with a frame, which is presented at `first`.
    pub(crate) fn new(body: OpenBody, range: Range<u64>, first: u64) -> Self {
        Self {
            body,
            range,
            first,
            samples: 0,
            ready: VecDeque::new(),
        }
    }

    /// The next packet.
    ///
    /// # Errors
    /// What reading returns. Bytes that are no frame end the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<Packet>> {
        if self.ready.is_empty() {
            self.pack()?;
        }
        Ok(self.ready.pop_front())
    }

    fn pack(&mut self) -> io::Result<()> {
        let mut frames = Vec::new();
        let mut samples = self.samples;
        let mut rate = 0;
        for _ in 0..TOGETHER {
            let mut head = [0; HEAD];
            if self.range.end.saturating_sub(self.range.start) < HEAD as u64
                || self.body.read_at(self.range.start, &mut head)? < HEAD
            {
                break;
            }
            let Some(frame) = adts::frame(&head) else {
                break;
            };
            let len = frame.len as usize;
            if len as u64 > self.range.end - self.range.start {
                break;
            }
            let old = frames.len();
            frames.resize(old + len, 0);
            if self.body.read_at(self.range.start, &mut frames[old..])? < len {
                frames.truncate(old);
                break;
            }
            self.range.start += len as u64;
            samples += u64::from(frame.samples);
            rate = u64::from(frame.rate);
        }
        if !frames.is_empty() {
            let time = self.first.wrapping_add(self.samples * CLOCK / rate) & (WRAP as u64 - 1);
            self.samples = samples;
            self.ready = packets(&frames, time);
        }
        Ok(())
    }
}

/// One PES packet, in transport stream packets.
fn packets(frames: &[u8], time: u64) -> VecDeque<Packet> {
    let mut pes = vec![0, 0, 1, 0xc0];
    let len = u16::try_from(frames.len() + 8).unwrap_or(0);
    pes.extend_from_slice(&len.to_be_bytes());
    pes.extend_from_slice(&[0x80, 0x80, 5, 0, 0, 0, 0, 0]);
    write_stamp(&mut pes[9..14], 2, time);
    pes.extend_from_slice(frames);
    let chunks = pes.chunks(PACKET - 4).enumerate();
    chunks.map(|(i, chunk)| packet(chunk, i == 0)).collect()
}

/// A packet with `payload` at its end, filled up with an adaptation field.
fn packet(payload: &[u8], first: bool) -> Packet {
    let mut packet = [0xff; PACKET];
    let [high, low] = PID.to_be_bytes();
    packet[..4].copy_from_slice(&[SYNC, high | if first { 0x40 } else { 0 }, low, 0x10]);
    let stuffing = PACKET - 4 - payload.len();
    if stuffing > 0 {
        packet[3] |= 0x20;
        packet[4] = (stuffing - 1) as u8;
        if stuffing > 1 {
            packet[5] = 0;
        }
    }
    packet[PACKET - payload.len()..].copy_from_slice(payload);
    packet
}
