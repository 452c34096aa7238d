//! Do the bytes at a sample's place look like a sample? Finds files whose bytes arrived in another
//! order.

use std::ops::Range;

use super::moov::Track;
use crate::media::reader::{Reader, Step};

/// Whether `sample` can be one of `track`. True for codecs that can't be recognized by a few bytes.
pub(crate) fn plausible(reader: &mut Reader, track: &Track, sample: Range<u64>) -> Step<bool> {
    let Some(first) = reader.u8(sample.start)? else {
        return Ok(true);
    };
    Ok(match (&track.codec, track.nal_length) {
        (_, Some(length)) => nal_units(reader, sample, length)?,
        // VP9 bitstream, 6.2: frame_marker is 2.
        (b"vp09", _) => first >> 6 == 2,
        // AV1, 5.3.2: the first bit and the last are 0; types 1 to 8 and 15 exist.
        (b"av01", _) => first & 0x81 == 0 && matches!(first >> 3 & 15, 1..=8 | 15),
        // ISO/IEC 14496-2: start codes.
        (b"mp4v", _) if track.is_mpeg4_part2() => reader.bytes(sample.start, 3)? == [0, 0, 1],
        _ => true,
    })
}

/// NAL units, each after its length, fill the sample exactly (ISO/IEC 14496-15, 5.3.2).
fn nal_units(reader: &mut Reader, sample: Range<u64>, length: u8) -> Step<bool> {
    /// Slices of a frame that are looked at.
    const MOST: usize = 64;
    let mut at = sample.start;
    for i in 0..MOST {
        let left = sample.end - at;
        if left == 0 {
            return Ok(true);
        }
        let field = u64::from(length);
        let Some(bytes) = reader.array::<5>(at)?.filter(|_| left > field) else {
            // Less than a length and a byte: zeros that pad, or nonsense. At the very end of the
            // file, too.
            return Ok(i > 0
                && reader
                    .bytes(at, left.min(5) as usize)?
                    .iter()
                    .all(|&b| b == 0));
        };
        let size = bytes[..usize::from(length)]
            .iter()
            .fold(0u64, |n, &b| n << 8 | u64::from(b));
        if size == 0 {
            // Padding up to the end, as some cameras write it.
            return Ok(i > 0);
        }
        // forbidden_zero_bit
        if bytes[usize::from(length)] & 0x80 != 0 || size > left - field {
            return Ok(false);
        }
        at += field + size;
    }
    Ok(true)
}
