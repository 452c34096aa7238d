//! The structure of WebM and Matroska as a guide: each element says where the next one begins (RFC
//! 8794), clusters and blocks bear times that go on, blocks the numbers of tracks that exist (RFC
//! 9559).

use std::{io, ops::Range};

use super::{
    blocks::{Board, View},
    guide::{Cursor, Enclosure, Fit, Guide},
};
use crate::container::ebml::{self, id};

/// Elements that a cluster may have beside blocks.
const IN_CLUSTER: [u32; 3] = [id::POSITION, id::PREV_SIZE, id::SILENT_TRACKS];

/// How far the time of a cluster or block may lie from the one before, in the segment's units,
/// which are milliseconds in all files met.
const STEP: i64 = 6000;

/// What the beginning of a segment says.
pub(super) struct Webm {
    /// Where the segment's first element begins.
    start: u64,
    /// Where the segment ends, if it says so.
    end: Option<u64>,
    /// Track numbers.
    tracks: Vec<u64>,
}

impl Webm {
    /// Reads the beginning of the video that begins in a cell.
    pub(super) fn read(board: &Board, head: usize) -> io::Result<Option<Self>> {
        let slots: Vec<_> = board.free_from(head).take(64).map(Some).collect();
        let view = board.view(&slots);
        let Some(Element { end: Some(end), .. }) = Element::read(&view, 0)? else {
            return Ok(None);
        };
        let Some(segment) = Element::read(&view, end)?.filter(|e| e.id == id::SEGMENT) else {
            return Ok(None);
        };
        let mut this = Self {
            start: segment.body,
            end: segment.end,
            tracks: Vec::new(),
        };
        let mut at = this.start;
        while let Some(Element {
            id,
            body,
            end: Some(end),
        }) = Element::read(&view, at)?.filter(|e| e.id != id::CLUSTER)
        {
            if id == id::TRACKS {
                this.read_tracks(&view, body..end)?;
            }
            at = end;
        }
        Ok((!this.tracks.is_empty()).then_some(this))
    }

    fn read_tracks(&mut self, view: &View, tracks: Range<u64>) -> io::Result<()> {
        let mut at = tracks.start;
        while let Some(element) =
            Element::read(view, at)?.filter(|element| element.body <= tracks.end)
        {
            // Goes into each track, and past all other elements.
            at = match (element.id, element.end) {
                (id::TRACK_ENTRY, _) => element.body,
                (id::TRACK_NUMBER, Some(end)) => {
                    self.tracks.extend(number(view, element.body, end)?);
                    end
                }
                (_, Some(end)) => end,
                (_, None) => break,
            };
        }
        Ok(())
    }

    /// Whether an element fits at the cursor.
    fn judge(
        &self,
        view: &View,
        cursor: &mut Cursor,
        element: &Element,
        until: u64,
    ) -> io::Result<Judged> {
        let (in_cluster, limit) = match cursor.inside {
            Enclosure::Until(end) if cursor.at < end => (true, Some(end)),
            Enclosure::Open => (true, None),
            Enclosure::Until(_) | Enclosure::None => (false, self.end),
        };
        if let (Some(end), Some(limit)) = (element.end, limit)
            && end > limit
        {
            return Ok(Judged::Bad);
        }
        // An open cluster ends where the next element of the segment begins.
        let may_leave = !in_cluster || cursor.inside == Enclosure::Open;
        match element.id {
            id::CLUSTER if may_leave => {
                if element.body + 10 > until {
                    return Ok(Judged::Beyond);
                }
                let Some(time) = cluster_time(view, element.body)? else {
                    return Ok(Judged::Bad);
                };
                if (time - cursor.time).abs() > STEP {
                    return Ok(Judged::Bad);
                }
                cursor.time = time;
                cursor.inside = element.end.map_or(Enclosure::Open, Enclosure::Until);
                Ok(Judged::Good(40))
            }
            id if id::BESIDE_CLUSTERS.contains(&id) && may_leave => {
                cursor.inside = Enclosure::None;
                Ok(Judged::Good(24))
            }
            id::VOID | id::CRC if element.end.is_some() => Ok(Judged::Good(4)),
            id::TIMESTAMP if in_cluster => Ok(Judged::Good(8)),
            id if in_cluster && IN_CLUSTER.contains(&id) => Ok(Judged::Good(8)),
            id::BLOCK_GROUP if in_cluster && element.end.is_some() => {
                self.block(view, cursor, element.body, until)
            }
            id::SIMPLE_BLOCK if in_cluster && element.end.is_some() => {
                self.block_body(view, cursor, element.body, until)
            }
            _ => Ok(Judged::Bad),
        }
    }

    fn block(&self, view: &View, cursor: &Cursor, at: u64, until: u64) -> io::Result<Judged> {
        if at + HEADER > until {
            return Ok(Judged::Beyond);
        }
        match Element::read(view, at)? {
            Some(Element {
                id: id::BLOCK,
                body,
                end: Some(_),
            }) => self.block_body(view, cursor, body, until),
            // Other children may come first; they prove nothing.
            Some(_) => Ok(Judged::Good(0)),
            None => Ok(Judged::Bad),
        }
    }

    /// The head of a block: its track exists, and its time goes on.
    fn block_body(&self, view: &View, cursor: &Cursor, at: u64, until: u64) -> io::Result<Judged> {
        if at + 4 > until {
            return Ok(Judged::Beyond);
        }
        let Some(bytes) = view.bytes::<4>(at)? else {
            return Ok(Judged::Beyond);
        };
        // A longer head has a track from 128 on, which hardly a file has.
        let (known, time) = match ebml::block(&bytes) {
            Some(head) if head.width == 1 => (self.tracks.contains(&head.track), head.time),
            head => (
                self.tracks.iter().any(|track| *track > 0x7f),
                head.map_or(0, |head| head.time),
            ),
        };
        let time = i64::from(time);
        let good = known && (-STEP..=STEP * 6).contains(&time) && cursor.time >= -time;
        Ok(if good { Judged::Good(16) } else { Judged::Bad })
    }
}

/// The longest header of an element.
const HEADER: u64 = ebml::HEADER as u64;

/// What an element says about the place that it was found at.
enum Judged {
    /// It fits: evidence in bits.
    Good(u32),
    /// It needs bytes that lie beyond what is looked at.
    Beyond,
    /// It contradicts what came before.
    Bad,
}

impl Guide for Webm {
    fn len(&self) -> Option<u64> {
        self.end
    }

    fn check(&self, view: &View, cursor: &mut Cursor, fresh: Range<u64>) -> io::Result<Fit> {
        cursor.at = cursor.at.max(self.start);
        let mut bits = 0;
        while self.end.is_none_or(|end| cursor.at < end) {
            let at = cursor.at;
            // The header of the last element may be shorter than the longest.
            let longest = at + HEADER;
            if self.end.map_or(longest, |end| end.min(longest)) > fresh.end {
                break;
            }
            let Some(element) = Element::read(view, at)? else {
                // If the bytes are there, no element is; otherwise they are not known yet.
                return Ok(if view.bytes::<1>(at)?.is_some() && self.end.is_some() {
                    None
                } else {
                    Some(bits)
                });
            };
            match self.judge(view, cursor, &element, fresh.end)? {
                Judged::Good(found) => {
                    cursor.at = element.next();
                    if element.body > fresh.start {
                        bits += found;
                    }
                }
                Judged::Beyond => break,
                Judged::Bad => return Ok(None),
            }
        }
        Ok(Some(bits))
    }
}

struct Element {
    id: u32,
    body: u64,
    /// `None` for a size that is not known.
    end: Option<u64>,
}

impl Element {
    /// Where the next element is looked for: inside a cluster, behind any other element.
    fn next(&self) -> u64 {
        match self.end {
            Some(end) if self.id != id::CLUSTER => end,
            _ => self.body,
        }
    }

    fn read(view: &View, at: u64) -> io::Result<Option<Self>> {
        // Near the end fewer bytes than the longest header are there.
        let mut bytes = [0; HEADER as usize];
        let mut n = bytes.len();
        while n > 1 && !view.read(at, &mut bytes[..n])? {
            n -= 1;
        }
        Ok(ebml::header(&bytes[..n]).map(|header| {
            let body = at + header.len as u64;
            let end = header.size.and_then(|size| body.checked_add(size));
            Self {
                id: header.id,
                body,
                end,
            }
        }))
    }
}

fn number(view: &View, from: u64, to: u64) -> io::Result<Option<u64>> {
    if to - from > 8 {
        return Ok(None);
    }
    let bytes = view.vec(from, (to - from) as usize)?;
    Ok(bytes.map(|bytes| ebml::uint(&bytes)))
}

/// A cluster's first element is its time, but for a checksum.
fn cluster_time(view: &View, at: u64) -> io::Result<Option<i64>> {
    let mut at = at;
    for _ in 0..3 {
        match Element::read(view, at)? {
            Some(Element {
                id: id::TIMESTAMP,
                body,
                end: Some(end),
            }) => {
                return Ok(number(view, body, end)?.and_then(|time| i64::try_from(time).ok()));
            }
            Some(Element { end: Some(end), .. }) => at = end,
            _ => return Ok(None),
        }
    }
    Ok(None)
}
