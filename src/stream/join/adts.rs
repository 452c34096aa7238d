//! AAC in ADTS frames (ISO/IEC 13818-7, 6.2), as HLS stores packed audio: an ID3 tag with the time
//! of the first frame, then frames.

use std::{collections::VecDeque, io, ops::Range};

use super::ts::{self, PACKET, Packet};
use crate::{content::Content, stream::OpenBody};

/// The private frame that carries the time (RFC 8216, 3.4).
const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";
const PID: u16 = 0x101;
/// Samples of an AAC frame.
const FRAME: u64 = 1024;
/// Frames of a segment.
const MAX_FRAMES: usize = 84_000;
/// Frames in one PES packet: about a tenth of a second.
const TOGETHER: usize = 5;
const RATES: [u64; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// What the beginning of a packed audio segment tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// When the first frame is presented, in ticks of 1/90000 s, if an ID3 tag tells.
    pub(crate) time: Option<u64>,
    /// Where the first frame is.
    pub(crate) start: u64,
}

/// The program that a packed segment becomes.
pub(crate) fn program() -> ts::Program {
    ts::single(PID, 0x0f)
}

/// What the beginning of `range` tells; `None` if it isn't packed AAC.
pub(crate) fn head<C: Content + ?Sized>(
    content: &C,
    range: Range<u64>,
) -> io::Result<Option<Head>> {
    let len = range.end.saturating_sub(range.start);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(16 << 10)];
    let n = content.read_at(range.start, &mut bytes)?;
    let bytes = &bytes[..n];
    let tag = if bytes.len() >= 10 && bytes.starts_with(b"ID3") {
        10 + bytes[6..10]
            .iter()
            .fold(0, |n, b| n << 7 | usize::from(b & 0x7f))
    } else {
        0
    };
    let time = bytes.get(..tag).and_then(|tag| {
        let at = tag.windows(OWNER.len()).position(|w| w == OWNER)? + OWNER.len();
        let time = u64::from_be_bytes(tag.get(at..at + 8)?.try_into().ok()?);
        Some(time & 0x1_ffff_ffff)
    });
    // Without frames at once it may still be: a tag longer than what was read.
    let frame = bytes.get(tag..).and_then(frame);
    Ok(frame.map(|_| Head {
        time,
        start: range.start + tag as u64,
    }))
}

/// Length and sampling rate of the frame at the start of `bytes`.
pub(crate) fn frame(bytes: &[u8]) -> Option<(usize, u64)> {
    let head: &[u8; 7] = bytes.first_chunk()?;
    if head[0] != 0xff || head[1] & 0xf6 != 0xf0 {
        return None;
    }
    let rate = *RATES.get(usize::from(head[2] >> 2 & 15))?;
    let len =
        usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
    (len >= 7).then_some((len, rate))
}

/// How long the frames from `range.start` last, in ticks of 1/90000 s; no more than half an hour is
/// counted.
pub(crate) fn duration<C: Content + ?Sized>(content: &C, range: Range<u64>) -> io::Result<u64> {
    let (mut at, mut ticks) = (range.start, 0);
    for _ in 0..MAX_FRAMES {
        let mut head = [0; 7];
        if content.read_at(at, &mut head)? < head.len() {
            break;
        }
        let Some((len, rate)) = frame(&head) else {
            break;
        };
        at += len as u64;
        if at > range.end {
            break;
        }
        ticks += FRAME * ts::CLOCK / rate;
    }
    Ok(ticks)
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
            let mut head = [0; 7];
            if self.range.end.saturating_sub(self.range.start) < 7
                || self.body.read_at(self.range.start, &mut head)? < 7
            {
                break;
            }
            let Some((len, hz)) = frame(&head) else { break };
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
            samples += FRAME;
            rate = hz;
        }
        if !frames.is_empty() {
            let time = self.first.wrapping_add(self.samples * ts::CLOCK / rate) & 0x1_ffff_ffff;
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
    ts::write_stamp(&mut pes[9..14], 2, time);
    pes.extend_from_slice(frames);
    let chunks = pes.chunks(PACKET - 4).enumerate();
    chunks.map(|(i, chunk)| packet(chunk, i == 0)).collect()
}

/// A packet with `payload` at its end, filled up with an adaptation field.
fn packet(payload: &[u8], first: bool) -> Packet {
    let mut packet = [0xff; PACKET];
    let [high, low] = PID.to_be_bytes();
    packet[..4].copy_from_slice(&[0x47, high | if first { 0x40 } else { 0 }, low, 0x10]);
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
