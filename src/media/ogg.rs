//! Ogg: pages of several streams, interleaved and chained (RFC 3533).
//!
//! All page heads are walked. The last page of each stream is marked: a file without those marks
//! has lost its end. How much that was, Ogg doesn't say (except Skeleton 4), so the report is then
//! open-ended.

use std::ops::Range;

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Report},
    rest, vorbis,
};
use crate::container::{
    bytes::{be32, le32, le64},
    ogg::{self, PageHead},
};

/// Whether the file begins with a page.
pub(crate) fn begins(head: &[u8]) -> bool {
    head.starts_with(b"OggS\0")
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Codec {
    /// Frames a second, and the bits of the granule that count from the last key frame.
    Theora { rate: f64, shift: u32 },
    /// Another video codec. Only its presence is used.
    Video,
    /// Samples a second, and how many come before the beginning.
    Audio { rate: f64, skip: u64 },
    /// Skeleton or subtitles, whose end says nothing.
    Other,
}

struct Stream {
    serial: u32,
    codec: Codec,
    granule: u64,
    ended: bool,
    packets: u32,
}

#[derive(Default)]
struct Pages {
    count: u64,
    stop: u64,
    cut: Option<u64>,
    broken: bool,
    /// Streams of the current link of the chain.
    streams: Vec<Stream>,
    video: bool,
    audio: bool,
    /// Seconds of the links before.
    before: f64,
    title: Option<String>,
    /// Skeleton 4: bytes of the whole segment.
    promised: Option<u64>,
    /// Stretches of pages that lie in gaps.
    missing: Vec<Range<u64>>,
}

/// Judges a file that [`begins`] like one.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps) -> Step<Report> {
    let pages = walk(reader, gaps)?;
    let mut report = Report::of(if pages.video {
        Container::Ogv
    } else {
        Container::Ogg
    });
    report.set_kind(pages.video, pages.audio);
    report.set_seconds(pages.before + pages.seconds());
    report.title.clone_from(&pages.title);
    let len = reader.len();
    let rest = rest::follows(reader, gaps, pages.stop, 5, |bytes| bytes == b"OggS\0")?;
    let tail = pages.broken && rest.is_tail();
    let mut missing = pages.missing.clone();
    if !tail {
        missing.extend(gaps.stretches(pages.stop..len, true));
    }
    if pages.broken && !tail && missing.is_empty() {
        report.damaged(format!(
            "the bytes at {} are no part of an Ogg file",
            pages.stop
        ));
    } else if !missing.is_empty() {
        report.lacks_stretches(missing, len);
    } else if pages.cut.is_some() || !pages.ended() {
        let end = if tail { pages.stop } else { len };
        let promised = pages.promised.unwrap_or(0).max(pages.cut.unwrap_or(0));
        report.open_ended = pages.promised.is_none();
        let what = if pages.cut.is_some() {
            "ends inside a page"
        } else {
            "its last page is missing"
        };
        report.lacks_end(end, missing, promised, what);
    } else if pages.streams.iter().all(|s| s.granule == 0) {
        report.lacks(0.0, 1.0, "it has a head and no content");
    } else {
        report.content_len = Some(pages.stop);
        rest::note(reader, &mut report)?;
    }
    Ok(report)
}

fn walk(reader: &mut Reader, gaps: &Gaps) -> Step<Pages> {
    let mut pages = Pages::default();
    let len = reader.len();
    while pages.stop < len {
        let at = pages.stop;
        let bytes = reader.bytes(at, ogg::HEAD)?;
        let Some(head) = ogg::page(bytes) else {
            // Fewer bytes than a head are left, and they begin like one: the page is cut.
            let begun = bytes.len() < ogg::HEAD && bytes.iter().zip(b"OggS").all(|(a, b)| a == b);
            pages.broken = !begun;
            pages.cut = begun.then_some(at + ogg::HEAD as u64);
            break;
        };
        let table = reader
            .bytes(at + ogg::HEAD as u64, head.segments.into())?
            .to_vec();
        let segments = u64::from(head.segments);
        let body = at + ogg::HEAD as u64 + segments;
        let end = body + table.iter().map(|&n| u64::from(n)).sum::<u64>();
        if end > len || (table.len() as u64) < segments {
            pages.cut = Some(end.max(len + 1));
            break;
        }
        let carries_media = pages.page(reader, &head, &table, body)?;
        if !gaps.is_empty() {
            // No block of zeros fits into sound or pictures; heads may have some as padding.
            let gaps = gaps.stretches(at..end, carries_media);
            pages.missing.extend(gaps);
        }
        pages.stop = end;
    }
    Ok(pages)
}

impl Pages {
    /// Takes a page; whether it carries sound or pictures, and no heads of streams.
    fn page(
        &mut self,
        reader: &mut Reader,
        head: &PageHead,
        table: &[u8],
        body: u64,
    ) -> Step<bool> {
        /// More streams than any player takes.
        const MOST: usize = 64;
        let &PageHead {
            flags,
            granule,
            serial,
            ..
        } = head;
        self.count += 1;
        if flags & ogg::BEGINS != 0 {
            // A stream begins. After sound or video it is the next link of a chain.
            if self
                .streams
                .iter()
                .any(|s| s.granule > 0 && s.codec != Codec::Other)
            {
                self.before += self.seconds();
                self.streams.clear();
            }
            let length: usize = table.iter().map(|&n| usize::from(n)).sum();
            let first = reader.bytes(body, length.min(256))?.to_vec();
            let codec = codec(&first);
            self.video |= matches!(codec, Codec::Theora { .. } | Codec::Video);
            self.audio |= matches!(codec, Codec::Audio { .. });
            if let (b"fishead\0", Some(size)) =
                (first.first_chunk().unwrap_or(&[0; 8]), le64(&first, 64))
                && first.get(8..10) == Some(&[4, 0])
                && size > 0
            {
                self.promised = Some(size);
            }
            if self.streams.len() < MOST {
                self.streams.push(Stream {
                    serial,
                    codec,
                    granule: 0,
                    ended: false,
                    packets: 0,
                });
            }
        }
        let Some(stream) = self.streams.iter_mut().find(|s| s.serial == serial) else {
            return Ok(true);
        };
        stream.packets += 1;
        if stream.packets == 2 && self.title.is_none() {
            let length = table.iter().map(|&n| usize::from(n)).sum();
            let comments = reader.bytes(body, length)?;
            let skip = match stream.codec {
                Codec::Theora { .. } => 7,
                _ if comments.starts_with(b"OpusTags") => 8,
                _ if comments.starts_with(b"\x03vorbis") => 7,
                // FLAC: the head of a metadata block.
                _ => 4,
            };
            self.title = vorbis::title(comments.get(skip..).unwrap_or_default());
        }
        // All ones: no packet ends on this page.
        if granule != u64::MAX {
            stream.granule = stream.granule.max(granule);
        }
        stream.ended |= flags & ogg::ENDS != 0;
        Ok(stream.granule > 0)
    }

    /// Of the longest stream of this link.
    fn seconds(&self) -> f64 {
        self.streams.iter().map(Stream::seconds).fold(0.0, f64::max)
    }

    /// Whether each stream of the last link was ended. GStreamer's muxer can leave out one's mark:
    /// then the stream must reach as far as one that was.
    fn ended(&self) -> bool {
        let mut content = self.streams.iter().filter(|s| s.codec != Codec::Other);
        let end = content
            .clone()
            .filter(|s| s.ended)
            .map(Stream::seconds)
            .fold(-1.0, f64::max);
        content.all(|s| s.ended || end > 0.0 && s.seconds() + TOLERANCE >= end)
    }
}

/// Seconds: a few frames.
const TOLERANCE: f64 = 0.25;

impl Stream {
    fn seconds(&self) -> f64 {
        match self.codec {
            Codec::Theora { rate, shift } if rate > 0.0 => {
                let key = self.granule >> shift;
                (key + (self.granule - (key << shift))) as f64 / rate
            }
            Codec::Audio { rate, skip } if rate > 0.0 => {
                self.granule.saturating_sub(skip) as f64 / rate
            }
            _ => 0.0,
        }
    }
}

/// By the first packet of a stream.
fn codec(first: &[u8]) -> Codec {
    let at = |i: usize| first.get(i).copied().unwrap_or(0);
    let number = |n: Option<u32>| f64::from(n.unwrap_or(0));
    match first {
        // Theora specification, 6.2: FRN, FRD, KFGSHIFT.
        [0x80, b't', b'h', b'e', b'o', b'r', b'a', ..] => Codec::Theora {
            rate: number(be32(first, 22)) / number(be32(first, 26)).max(1.0),
            shift: u32::from(at(40) & 3) << 3 | u32::from(at(41) >> 5),
        },
        [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => Codec::Audio {
            rate: number(le32(first, 12)),
            skip: 0,
        },
        // RFC 7845: always 48 kHz; the pre-skip stands at 10.
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => Codec::Audio {
            rate: 48_000.0,
            skip: u64::from(at(10)) | u64::from(at(11)) << 8,
        },
        // The FLAC mapping: STREAMINFO follows 13 bytes and its own head of 4.
        [0x7f, b'F', b'L', b'A', b'C', ..] => Codec::Audio {
            rate: number(be32(first, 27).map(|n| n >> 12)),
            skip: 0,
        },
        [b'S', b'p', b'e', b'e', b'x', b' ', ..] => Codec::Audio {
            rate: number(le32(first, 36)),
            skip: 0,
        },
        [b'B', b'B', b'C', b'D', 0, ..]
        | [1, b'v', b'i', b'd', b'e', b'o', ..]
        | [0x4f, b'V', b'P', b'8', b'0', ..] => Codec::Video,
        _ => Codec::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_packets_tell_the_codec() {
        let mut theora = vec![0; 42];
        theora[..7].copy_from_slice(b"\x80theora");
        theora[22..30].copy_from_slice(&[0, 0, 0, 30, 0, 0, 0, 1]);
        theora[41] = 6 << 5;
        assert_eq!(
            codec(&theora),
            Codec::Theora {
                rate: 30.0,
                shift: 6
            }
        );
        let mut opus = b"OpusHead\x01\x02\x38\x01".to_vec();
        opus.resize(19, 0);
        assert_eq!(
            codec(&opus),
            Codec::Audio {
                rate: 48_000.0,
                skip: 312
            }
        );
        assert_eq!(codec(b"fishead\0"), Codec::Other);
        assert_eq!(codec(b""), Codec::Other);
    }
}
