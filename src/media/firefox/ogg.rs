//! The structure of Ogg as a guide: each page says where the next one begins, and has a checksum
//! (RFC 3533, 6).

use std::{io, ops::Range};

use super::{
    blocks::View,
    solve::{Cursor, Fit, Guide},
};

/// A page's header without its table of segments.
const HEADER: u64 = 27;

/// A page after page.
pub(super) struct Ogg;

impl Guide for Ogg {
    fn len(&self) -> Option<u64> {
        None
    }

    fn is_gapless(&self) -> bool {
        true
    }

    fn check(&self, view: &View, cursor: &mut Cursor, fresh: Range<u64>) -> io::Result<Fit> {
        let mut bits = 0;
        loop {
            let at = cursor.at;
            if at + HEADER > fresh.end {
                return Ok(Some(bits));
            }
            let Some(header) = view.bytes::<27>(at)? else {
                return Ok(Some(bits));
            };
            if header == [0; 27] {
                // Filled up with zeros: the end.
                return Ok(Some(bits));
            }
            // Version 0, three flags.
            if header[..5] != *b"OggS\0" || header[5] > 7 {
                return Ok(None);
            }
            let table = at + HEADER..at + HEADER + u64::from(header[26]);
            if table.end > fresh.end {
                return Ok(Some(bits));
            }
            let Some(lengths) = view.vec(table.start, usize::from(header[26]))? else {
                return Ok(Some(bits));
            };
            let end = table.end + lengths.iter().map(|len| u64::from(*len)).sum::<u64>();
            if end > fresh.end {
                // Only its beginning is there, and another page may begin at the same place of
                // another block.
                return Ok(Some(bits));
            }
            // Before the checksum of all, the beginning of the next page, where it is known.
            if end + 4 <= fresh.end
                && view
                    .bytes::<4>(end)?
                    .is_some_and(|next| next != *b"OggS" && next != [0; 4])
            {
                return Ok(None);
            }
            let Some(mut page) = view.vec(at, (end - at) as usize)? else {
                return Ok(Some(bits));
            };
            page[22..26].fill(0);
            if checksum(&page)
                != u32::from_le_bytes([header[22], header[23], header[24], header[25]])
            {
                return Ok(None);
            }
            if end > fresh.start {
                bits += 32;
            }
            cursor.at = end;
        }
    }
}

/// CRC-32 with the polynomial 0x04c11db7, not reflected, starting from 0 (RFC 3533, 6).
pub(super) fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |crc, byte| {
        crc << 8 ^ TABLE[(crc >> 24 ^ u32::from(*byte)) as usize]
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = (n as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 {
                crc << 1 ^ 0x04c1_1db7
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};
