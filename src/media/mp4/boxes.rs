//! The boxes of a file, nested, read through a [`Reader`].

use std::ops::Range;

use crate::{
    container::mp4,
    media::reader::{Reader, Step},
};

/// The head of one box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its type, such as `moov`.
    pub(crate) kind: [u8; 4],
    /// Offset of its first byte.
    pub(crate) start: u64,
    /// Offset of what it contains.
    pub(crate) body: u64,
    /// Offset behind it, as its size says: it may lie behind the end of the file.
    pub(crate) end: u64,
    /// Its size is 0: it goes on to the end of the file, however long that gets.
    pub(crate) open: bool,
    /// Its type is one that lies at the top of a file.
    pub(crate) is_top: bool,
}

impl Head {
    /// What it contains.
    pub(crate) fn body(&self) -> Range<u64> {
        self.body..self.end
    }
}

/// The box at `at`, in a parent (or file) that ends at `end`.
pub(crate) fn head(reader: &mut Reader, at: u64, end: u64) -> Step<Option<Head>> {
    if end.saturating_sub(at) < 8 {
        return Ok(None);
    }
    let header = mp4::header(reader.bytes(at, mp4::HEADER)?);
    let Some(header) = header.filter(mp4::Header::is_registrable) else {
        return Ok(None);
    };
    let stop = match header.size {
        Some(size) => at.checked_add(size),
        None => Some(end),
    };
    Ok(stop.map(|stop| Head {
        kind: header.kind,
        start: at,
        body: at + header.len,
        end: stop,
        open: header.size.is_none(),
        is_top: header.is_top(),
    }))
}

/// The boxes inside `parent`, each cut to it.
pub(crate) fn children(reader: &mut Reader, parent: Range<u64>) -> Step<Vec<Head>> {
    /// More siblings than any file has; the rest is not read.
    const MOST: usize = 4096;
    let mut found = Vec::new();
    let (mut at, end) = (parent.start, parent.end.min(reader.len()));
    while let Some(mut head) = head(reader, at, end)? {
        at = head.end;
        head.end = head.end.min(end);
        found.push(head);
        if found.len() == MOST {
            break;
        }
    }
    Ok(found)
}
