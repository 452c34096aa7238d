//! The frames of FLAC (RFC 9639, 9): their heads, and how long they are.

use super::bytes::be16;

/// What the head of a frame says (9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// The first sample of each channel.
    pub(crate) first: u64,
    /// Samples of each channel.
    pub(crate) samples: u32,
    /// Bytes of the head.
    len: usize,
    channels: u8,
    /// The channel that is a difference, and so has one bit more, if one is.
    side: Option<u8>,
    /// Bits of a sample; 0 where the stream's own head says it.
    bits: u32,
}

/// The frame whose head `bytes` begin with, if its checksum is right. `block` is the stream's
/// length of a block in samples.
pub(crate) fn frame(bytes: &[u8], block: u32) -> Option<FrameHead> {
    let &[0xff, sync, sizes, format, number, ..] = bytes else {
        return None;
    };
    if sync & 0xfe != 0xf8 || format & 1 != 0 || sizes & 15 == 15 || sizes >> 4 == 0 {
        return None;
    }
    // The coded number is like UTF-8 with up to seven bytes.
    let extra = match number.leading_ones() {
        0 => 0,
        n @ 2..=7 => n as usize - 1,
        _ => return None,
    };
    let mask = 0x7fu8.checked_shr(number.leading_ones()).unwrap_or(0);
    let mut count = u64::from(number & mask);
    for &byte in bytes.get(5..5 + extra)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        count = count << 6 | u64::from(byte & 0x3f);
    }
    let mut at = 5 + extra;
    let samples = match sizes >> 4 {
        1 => 192,
        n @ 2..=5 => 576 << (n - 2),
        6 => {
            at += 1;
            u32::from(*bytes.get(at - 1)?) + 1
        }
        7 => {
            at += 2;
            u32::from(be16(bytes, at - 2)?) + 1
        }
        n => 256 << (n - 8),
    };
    at += match sizes & 15 {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    let (channels, side) = match format >> 4 {
        n @ 0..=7 => (n + 1, None),
        // Left and side, side and right, mid and side.
        8 | 10 => (2, Some(1)),
        9 => (2, Some(0)),
        _ => return None,
    };
    let bits = [0, 8, 12, 0, 16, 20, 24, 32][usize::from(format >> 1 & 7)];
    // Blocks of a fixed size are counted in frames, others in samples.
    let first = if sync & 1 == 0 {
        count.saturating_mul(block.into())
    } else {
        count
    };
    (crc8(bytes.get(..=at)?) == 0).then_some(FrameHead {
        first,
        samples,
        len: at + 1,
        channels,
        side,
        bits,
    })
}

impl FrameHead {
    /// Bytes of the frame that begins `bytes`, by walking its subframes, if all of it is there and
    /// its checksum is right. `bits` is the stream's number of bits of a sample.
    pub(crate) fn frame_len(&self, bytes: &[u8], bits: u32) -> Option<usize> {
        let mut walk = Bits {
            bytes,
            at: self.len * 8,
        };
        for channel in 0..self.channels {
            let side = u32::from(self.side == Some(channel));
            let own = if self.bits == 0 { bits } else { self.bits };
            walk.subframe(self.samples, own + side)?;
        }
        let len = walk.at.div_ceil(8) + 2;
        (crc16(bytes.get(..len)?) == 0).then_some(len)
    }
}

/// A place among bits.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// A number of `n` bits, 32 at most.
    fn take(&mut self, n: u32) -> Option<u32> {
        let mut value = 0u64;
        for _ in 0..n {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u64::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        u32::try_from(value).ok()
    }

    fn skip(&mut self, n: u64) -> Option<()> {
        self.at = self.at.checked_add(usize::try_from(n).ok()?)?;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    /// The zeros before the next one, which is passed, too.
    fn unary(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
        }
        Some(zeros)
    }

    /// One channel of a frame (9.2).
    fn subframe(&mut self, samples: u32, bits: u32) -> Option<()> {
        if self.take(1)? != 0 {
            return None;
        }
        let kind = self.take(6)?;
        let wasted = if self.take(1)? == 1 {
            self.unary()? + 1
        } else {
            0
        };
        let bits = u64::from(bits.checked_sub(wasted).filter(|&bits| bits > 0)?);
        match kind {
            0 => self.skip(bits),
            1 => self.skip(bits * u64::from(samples)),
            8..=12 => {
                let order = kind - 8;
                self.skip(bits * u64::from(order))?;
                self.residual(samples, order)
            }
            32..=63 => {
                let order = kind - 31;
                self.skip(bits * u64::from(order))?;
                let precision = self.take(4)? + 1;
                self.skip(5 + u64::from(precision * order))?;
                self.residual(samples, order)
            }
            _ => None,
        }
    }

    /// What prediction leaves, in Rice codes (9.2.5).
    fn residual(&mut self, samples: u32, order: u32) -> Option<()> {
        let width = match self.take(2)? {
            0 => 4,
            1 => 5,
            _ => return None,
        };
        let escape = (1 << width) - 1;
        let partitions = 1 << self.take(4)?;
        for partition in 0..partitions {
            let warm_up = if partition == 0 { order } else { 0 };
            let count = (samples / partitions).checked_sub(warm_up)?;
            let parameter = self.take(width)?;
            if parameter == escape {
                let bits = self.take(5)?;
                self.skip(u64::from(bits) * u64::from(count))?;
                continue;
            }
            for _ in 0..count {
                self.unary()?;
                self.skip(parameter.into())?;
            }
        }
        Some(())
    }
}

fn crc8(bytes: &[u8]) -> u8 {
    let step = |crc: u8| {
        if crc & 0x80 != 0 {
            crc << 1 ^ 0x07
        } else {
            crc << 1
        }
    };
    bytes
        .iter()
        .fold(0, |crc, &b| (0..8).fold(crc ^ b, |crc, _| step(crc)))
}

fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16| {
        if crc & 0x8000 != 0 {
            crc << 1 ^ 0x8005
        } else {
            crc << 1
        }
    };
    bytes.iter().fold(0, |crc, &b| {
        (0..8).fold(crc ^ u16::from(b) << 8, |crc, _| step(crc))
    })
}
