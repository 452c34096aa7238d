//! The elements of an EBML file, read through a [`Reader`].

use std::ops::Range;

use super::reader::{Reader, Step};
use crate::container::ebml;

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
    let header = ebml::header(reader.bytes(at, ebml::HEADER)?);
    Ok(header.map(|header| {
        let body = at + header.len as u64;
        Element {
            id: header.id,
            start: at,
            body,
            end: header.size.map(|size| body.saturating_add(size)),
        }
    }))
}

/// The elements inside `parent`, each cut to it. One of unknown size ends the list.
pub(crate) fn children(reader: &mut Reader, parent: Range<u64>) -> Step<Vec<Element>> {
    /// More siblings than the head of any file has; the rest is not read.
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
        Ok(ebml::uint(reader.bytes(self.body, n)?))
    }

    /// A float of four or eight bytes (RFC 8794, 7.3).
    pub(crate) fn float(&self, reader: &mut Reader) -> Step<f64> {
        let n = (self.range().end - self.body).min(8) as usize;
        Ok(ebml::float(reader.bytes(self.body, n)?))
    }

    /// The bytes of a string, a kilobyte at most.
    pub(crate) fn bytes<'r>(&self, reader: &'r mut Reader) -> Step<&'r [u8]> {
        let n = (self.range().end - self.body).min(1024) as usize;
        reader.bytes(self.body, n)
    }
}
