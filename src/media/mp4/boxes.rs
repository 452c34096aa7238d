//! The boxes of ISO base media: size and type, nested (ISO/IEC 14496-12, 4.2).

use std::{io, ops::Range};

use crate::{
    content::Content,
    media::reader::{Halt, Reader, Step},
};

/// The head of one box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its type, such as `moov`.
    pub kind: [u8; 4],
    /// Offset of its first byte.
    pub start: u64,
    /// Offset of what it contains.
    pub body: u64,
    /// Offset behind it, as its size says: it may lie behind the end of the file.
    pub end: u64,
    /// Its size is 0: it goes on to the end of the file, however long that gets.
    pub open: bool,
}

impl Head {
    /// What it contains.
    pub fn body(&self) -> Range<u64> {
        self.body..self.end
    }
}

/// The boxes that lie side by side in `range` of `content`. Ends where no box can be: less than a
/// head is left, a size is smaller than its head, or the type has a control character (every
/// registered type is printable, ©… included).
///
/// A box may claim to reach behind `range`; it is then the last. An error is reading's own, and the
/// last item.
pub fn boxes<'a>(content: &'a dyn Content, range: Range<u64>) -> Boxes<'a> {
    Boxes {
        reader: Reader::new(content),
        at: range.start,
        end: range.end,
    }
}

/// See [`boxes`].
pub struct Boxes<'a> {
    reader: Reader<'a>,
    at: u64,
    end: u64,
}

impl Iterator for Boxes<'_> {
    type Item = io::Result<Head>;

    fn next(&mut self) -> Option<Self::Item> {
        let head = head(&mut self.reader, self.at, self.end);
        self.at = head
            .as_ref()
            .ok()
            .and_then(|h| *h)
            .map_or(self.end, |h| h.end);
        match head {
            Ok(head) => head.map(Ok),
            Err(Halt::Io(e)) => Some(Err(e)),
            Err(Halt::Spent) => None,
        }
    }
}

impl std::fmt::Debug for Boxes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Boxes")
            .field("at", &self.at)
            .field("end", &self.end)
            .finish()
    }
}

/// The box at `at`, in a parent (or file) that ends at `end`.
pub(crate) fn head(reader: &mut Reader, at: u64, end: u64) -> Step<Option<Head>> {
    if end.saturating_sub(at) < 8 {
        return Ok(None);
    }
    let Some([a, b, c, d, kind @ ..]) = reader.array::<8>(at)? else {
        return Ok(None);
    };
    if kind.iter().any(|&k| k < 0x20 || k == 0x7f) {
        return Ok(None);
    }
    let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (8, None),
        1 => match reader.be64(at + 8)? {
            Some(size) => (16, Some(size)),
            None => return Ok(None),
        },
        size => (8, Some(u64::from(size))),
    };
    let stop = match size {
        Some(size) if size < header => return Ok(None),
        Some(size) => match at.checked_add(size) {
            Some(stop) => stop,
            None => return Ok(None),
        },
        None => end,
    };
    Ok(Some(Head {
        kind,
        start: at,
        body: at + header,
        end: stop,
        open: size.is_none(),
    }))
}

/// The boxes inside `parent`, each cut to it.
pub(crate) fn children(reader: &mut Reader, parent: Range<u64>) -> Step<Vec<Head>> {
    /// More siblings than in any file; the rest is not looked at.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(data: &[u8]) -> Vec<(String, u64, u64)> {
        let name = |h: Head| (String::from_utf8_lossy(&h.kind).into_owned(), h.body, h.end);
        boxes(&data, 0..data.len() as u64)
            .map(|h| name(h.unwrap()))
            .collect()
    }

    #[test]
    fn sizes_of_all_kinds() {
        let mut data = b"\0\0\0\x0cfree1234\0\0\0\x01mdat\0\0\0\0\0\0\0\x12ab".to_vec();
        data.extend(b"\0\0\0\0mdatrest");
        assert_eq!(
            walk(&data),
            [
                ("free".into(), 8, 12),
                ("mdat".into(), 28, 30),
                ("mdat".into(), 38, 42)
            ]
        );
    }

    #[test]
    fn nonsense_ends_the_walk() {
        for data in [
            &b"\0\0\0\x07free"[..],
            b"\0\0\0",
            b"\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f",
        ] {
            assert_eq!(walk(data), [], "{data:?}");
        }
        let endless = walk(b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xffx");
        assert_eq!(endless, [("mdat".into(), 16, u64::MAX)]);
    }
}
