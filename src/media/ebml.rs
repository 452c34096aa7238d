//! EBML, the binary tree under Matroska: identifiers and sizes of variable length (RFC 8794).

use std::ops::Range;

use super::reader::{Reader, Step};

/// The head of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// Identifier, its length marker included.
    pub(crate) id: u32,
    /// Offset of its first byte.
    pub(crate) start: u64,
    /// Offset of its content.
    pub(crate) body: u64,
    /// Offset behind it, or `None` where the size is unknown (RFC 8794, 6.2).
    pub(crate) end: Option<u64>,
}

/// The element at `at`; `None` where none can begin.
pub(crate) fn element(reader: &mut Reader, at: u64) -> Step<Option<Element>> {
    let bytes = reader.bytes(at, 12)?;
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let width = first.leading_zeros() as usize + 1;
    if width > 4 || bytes.len() <= width {
        return Ok(None);
    }
    let id = bytes[..width].iter().fold(0, |n, &b| n << 8 | u32::from(b));
    let bytes = &bytes[width..];
    let length = bytes[0].leading_zeros() as usize + 1;
    if length > 8 || bytes.len() < length {
        return Ok(None);
    }
    let marked = bytes[..length]
        .iter()
        .fold(0, |n, &b| n << 8 | u64::from(b));
    let value = marked & ((1 << (7 * length)) - 1);
    let body = at + (width + length) as u64;
    let unknown = value == (1 << (7 * length)) - 1;
    let end = if unknown {
        None
    } else {
        Some(body.saturating_add(value))
    };
    Ok(Some(Element {
        id,
        start: at,
        body,
        end,
    }))
}

/// The elements inside `parent`, each cut to it. One of unknown size ends the list.
pub(crate) fn children(reader: &mut Reader, parent: Range<u64>) -> Step<Vec<Element>> {
    /// More siblings than a head of a file has; the rest is not looked at.
    const MOST: usize = 4096;
    let (mut at, end) = (parent.start, parent.end.min(reader.len()));
    let mut found = Vec::new();
    while at < end && found.len() < MOST {
        let Some(mut element) = element(reader, at)? else {
            break;
        };
        let Some(stop) = element.end.map(|e| e.min(end)) else {
            break;
        };
        element.end = Some(stop.max(element.body));
        at = stop;
        found.push(element);
    }
    Ok(found)
}

impl Element {
    /// What it contains, as far as its size is known.
    pub(crate) fn range(&self) -> Range<u64> {
        self.body..self.end.unwrap_or(self.body).max(self.body)
    }

    /// An unsigned number of up to eight bytes (RFC 8794, 7.2).
    pub(crate) fn uint(&self, reader: &mut Reader) -> Step<u64> {
        let n = (self.range().end - self.body).min(8) as usize;
        Ok(reader
            .bytes(self.body, n)?
            .iter()
            .fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    /// A float of four or eight bytes (RFC 8794, 7.3).
    pub(crate) fn float(&self, reader: &mut Reader) -> Step<f64> {
        let n = (self.range().end - self.body).min(8) as usize;
        let bytes = reader.bytes(self.body, n)?;
        Ok(match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
            (Some(b), _) => f64::from_be_bytes(*b),
            (None, Some(b)) => f32::from_be_bytes(*b).into(),
            _ => 0.0,
        })
    }

    /// The bytes of a string, a kilobyte at most.
    pub(crate) fn bytes<'r>(&self, reader: &'r mut Reader) -> Step<&'r [u8]> {
        let n = (self.range().end - self.body).min(1024) as usize;
        reader.bytes(self.body, n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(data: &[u8]) -> Option<Element> {
        element(&mut Reader::new(&data), 0).unwrap()
    }

    #[test]
    fn heads_of_all_widths() {
        let known = |id, body, end| {
            Some(Element {
                id,
                start: 0,
                body,
                end: Some(end),
            })
        };
        assert_eq!(at(&[0xec, 0x81, 0]), known(0xec, 2, 3));
        assert_eq!(
            at(&[0x1a, 0x45, 0xdf, 0xa3, 0x01, 0, 0, 0, 0, 0, 0, 5]),
            known(0x1a45_dfa3, 12, 17)
        );
        assert_eq!(at(&[0xec, 0x40, 0x02]), known(0xec, 3, 5));
        assert_eq!(at(&[0x1f, 0x43, 0xb6, 0x75, 0xff]).unwrap().end, None);
        assert_eq!(at(&[0xec, 0x7f, 0xff]).unwrap().end, None);
        for nonsense in [
            &[0u8, 0, 0][..],
            &[0xec],
            &[0xec, 0x40],
            &[0x08, 1, 2, 3, 4, 0x81],
            &[0xec, 0],
        ] {
            assert_eq!(at(nonsense), None, "{nonsense:?}");
        }
    }
}
