//! The pages of Ogg (RFC 3533, 6).

use super::{
    bytes::{le32, le64},
    crc,
};

/// Bytes of a page's head without its table of segments.
pub(crate) const HEAD: usize = 27;
/// The first page of a stream.
pub(crate) const BEGINS: u8 = 2;
/// The last page of a stream.
pub(crate) const ENDS: u8 = 4;

/// What stands before a page's table of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageHead {
    pub(crate) flags: u8,
    /// Where the stream is at the end of the page, in units of its codec; all ones if no packet
    /// ends on it.
    pub(crate) granule: u64,
    pub(crate) serial: u32,
    pub(crate) checksum: u32,
    /// Entries of the table.
    pub(crate) segments: u8,
}

/// The page that `bytes` begin with, if they are a whole head of version 0.
pub(crate) fn page(bytes: &[u8]) -> Option<PageHead> {
    let head: &[u8; HEAD] = bytes.first_chunk()?;
    let flags = head[5];
    (head.starts_with(b"OggS\0") && flags < 8).then_some(PageHead {
        flags,
        granule: le64(head, 6)?,
        serial: le32(head, 14)?,
        checksum: le32(head, 22)?,
        segments: head[26],
    })
}

/// The checksum that a whole page should have.
pub(crate) fn checksum(page: &mut [u8]) -> u32 {
    if let Some(field) = page.get_mut(22..26) {
        field.fill(0);
    }
    crc::crc32(0, page)
}
