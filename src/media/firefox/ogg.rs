//! The structure of Ogg as a guide: each page says where the next one begins, and has a checksum
//! (RFC 3533, 6).

use std::{io, ops::Range};

use super::{
    blocks::View,
    guide::{Cursor, Fit, Guide},
};
use crate::container::ogg;

/// A page's header without its table of segments.
const HEADER: u64 = ogg::HEAD as u64;

/// Ogg needs no index: each page leads to the next.
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
            let Some(bytes) = view.bytes::<{ ogg::HEAD }>(at)? else {
                return Ok(Some(bits));
            };
            if bytes == [0; ogg::HEAD] {
                // Zeros fill up the last block: the video ends here.
                return Ok(Some(bits));
            }
            let Some(page) = ogg::page(&bytes) else {
                return Ok(None);
            };
            let table = at + HEADER..at + HEADER + u64::from(page.segments);
            if table.end > fresh.end {
                return Ok(Some(bits));
            }
            let Some(lengths) = view.vec(table.start, page.segments.into())? else {
                return Ok(Some(bits));
            };
            let end = table.end + lengths.iter().map(|len| u64::from(*len)).sum::<u64>();
            if end > fresh.end {
                // Only the page's beginning is known, and in another block a page may begin at the
                // same place by chance.
                return Ok(Some(bits));
            }
            // The beginning of the next page, if it is known, is checked first: it costs less than
            // the checksum.
            if end + 4 <= fresh.end
                && view
                    .bytes::<4>(end)?
                    .is_some_and(|next| next != *b"OggS" && next != [0; 4])
            {
                return Ok(None);
            }
            let Some(mut bytes) = view.vec(at, (end - at) as usize)? else {
                return Ok(Some(bits));
            };
            if ogg::checksum(&mut bytes) != page.checksum {
                return Ok(None);
            }
            if end > fresh.start {
                bits += 32;
            }
            cursor.at = end;
        }
    }
}
