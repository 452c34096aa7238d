//! AVI and WAVE: chunks with a size in front (RIFF; OpenDML 1.02 and RF64 for what is longer than 4
//! GiB).

use std::ops::Range;

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Report},
    rest, text,
};

/// Which of the two begins here.
pub(crate) fn begins(head: &[u8]) -> Option<Container> {
    match (head.get(..4)?, head.get(8..12)?) {
        (b"RIFF", b"AVI ") => Some(Container::Avi),
        (b"RIFF" | b"RF64", b"WAVE") => Some(Container::Wav),
        _ => None,
    }
}

/// What was found in the chunks.
#[derive(Default)]
struct Chunks {
    /// End of what the sizes promise.
    end: u64,
    /// A size was left open by a writer that couldn't go back.
    open: bool,
    /// End of the last chunk that was seen inside.
    inside: u64,
    /// A chunk was there that holds sound or pictures.
    content: bool,
    video: bool,
    audio: bool,
    /// A coding that may have long runs of zeros.
    loose: bool,
    seconds: f64,
    byte_rate: u32,
    title: Option<String>,
    /// RF64: the real size of `data`.
    long: Option<u64>,
    media: Vec<Range<u64>>,
}

/// Judges a file that [`begins`] as `container`.
pub(crate) fn inspect(reader: &mut Reader, gaps: &Gaps, container: Container) -> Step<Report> {
    let len = reader.len();
    let mut report = Report::of(container);
    let mut found = Chunks::default();
    let mut at = 0;
    // OpenDML: further RIFF chunks follow.
    while let Some([f0, f1, f2, f3, s0, s1, s2, s3]) = reader.array::<8>(at)? {
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        if !matches!(&[f0, f1, f2, f3], b"RIFF" | b"RF64") {
            break;
        }
        let open = is_size_open(size, at + 8 + u64::from(size), len);
        let end = if open { len } else { at + 8 + u64::from(size) };
        found.chunks(reader, at + 12..end, 0)?;
        if open {
            found.open = true;
            break;
        }
        found.end = found.end.max(end);
        at = end + u64::from(size & 1);
    }
    if let Some(long) = found.long {
        found.end = found.end.max(long);
        found.open = false;
    }
    report.set_kind(found.video, found.audio);
    report.title = found.title.take();
    report.set_seconds(found.seconds);
    report.open_ended = found.open;
    let mut end = found.end;
    // Some writers count the eight bytes before the size, too. Then no chunk reaches that far.
    if end > len && end - len <= 8 && found.inside <= len + 1 {
        end = len;
    }
    let loose = found.loose || container == Container::Wav;
    // If no chunk with content was found, a gap has swallowed its head: then zeros count as a gap.
    let mut missing = gaps.stretches(0..len, !found.content);
    if found.content && !loose {
        let media = |r: &Range<u64>| gaps.stretches(r.clone(), true);
        missing = found.media.iter().flat_map(media).collect();
        let outside = gaps.stretches(0..end.min(len), false);
        missing.extend(outside.into_iter().filter(|hole| {
            let inside = |r: &Range<u64>| r.start < hole.end && hole.start < r.end;
            !found.media.iter().any(inside)
        }));
        missing.sort_by_key(|r| r.start);
    }
    // The byte that pads an odd chunk is often left out.
    if end > len + 1 {
        let what = format!("ends {} bytes early", end - len);
        report.lacks_end(len, missing, end, what);
    } else if !missing.is_empty() {
        report.lacks_stretches(missing, len);
    } else if !found.content {
        report.lacks(0.0, 1.0, "it has a head and no content");
    } else if !found.open {
        report.content_len = Some(end.min(len));
        rest::note(reader, &mut report)?;
    }
    Ok(report)
}

/// Whether a writer that couldn't go back left a count open: some put a large one there.
fn is_open(n: u32) -> bool {
    n == 0 || n >= 0x4000_0000
}

/// The same for a size that leads to `end`: a large one may be true.
fn is_size_open(n: u32, end: u64, len: u64) -> bool {
    matches!(n, 0 | u32::MAX) || is_open(n) && end > len
}

impl Chunks {
    /// Walks the chunks in `range`, and into the lists among them.
    fn chunks(&mut self, reader: &mut Reader, range: Range<u64>, depth: u8) -> Step<()> {
        /// `RIFF`, `hdrl`, `strl`.
        const DEEPEST: u8 = 3;
        let mut at = range.start;
        while at < range.end {
            let Some([k0, k1, k2, k3, s0, s1, s2, s3]) = reader.array::<8>(at)? else {
                break;
            };
            let size = u32::from_le_bytes([s0, s1, s2, s3]);
            let body = at + 8;
            let end = body + u64::from(size);
            let open = is_size_open(size, end, reader.len());
            let size = u64::from(size);
            if !open {
                self.inside = self.inside.max(end);
            }
            match &[k0, k1, k2, k3] {
                b"LIST" => match reader.array::<4>(body)?.as_ref() {
                    Some(b"movi") => {
                        self.content = true;
                        self.open |= open;
                        self.end = self.end.max(if open { 0 } else { end });
                        self.media.push(body..end.min(reader.len()));
                    }
                    Some(_) if depth < DEEPEST => {
                        self.chunks(reader, body + 4..end.min(range.end), depth + 1)?
                    }
                    _ => {}
                },
                b"avih" => {
                    let (micros, frames) = (
                        reader.le32(body)?.unwrap_or(0),
                        reader.le32(body + 16)?.unwrap_or(0),
                    );
                    let seconds = f64::from(micros) * f64::from(frames) / 1e6;
                    if !is_open(frames) {
                        self.seconds = self.seconds.max(seconds);
                    }
                }
                b"strh" => self.stream(reader, body)?,
                b"strf" | b"fmt " => {
                    if self.audio && !self.video || k0 == b'f' {
                        self.byte_rate = reader.le32(body + 8)?.unwrap_or(0);
                    }
                    self.audio |= k0 == b'f';
                }
                b"ds64" => {
                    self.long = reader.le64(body)?.map(|n| n.saturating_add(8));
                    let data = reader.le64(body + 8)?.unwrap_or(0);
                    self.seconds = data as f64;
                }
                b"data" => {
                    self.content = true;
                    let size = match (self.long, open) {
                        (Some(_), true) => self.seconds as u64,
                        (None, true) => {
                            self.open = true;
                            reader.len().saturating_sub(body)
                        }
                        _ => size,
                    };
                    self.seconds = size as f64 / f64::from(self.byte_rate.max(1));
                    self.end = self.end.max(if self.open {
                        0
                    } else {
                        body.saturating_add(size)
                    });
                }
                b"INAM" => self.title = text::utf8(reader.bytes(body, size as usize)?),
                _ => {}
            }
            if open && size != 0 {
                break;
            }
            at = end + (size & 1);
        }
        Ok(())
    }

    /// `AVISTREAMHEADER`: kind, codec, and the length in units of scale and rate.
    fn stream(&mut self, reader: &mut Reader, at: u64) -> Step<()> {
        const DENSE: [&[u8; 4]; 12] = [
            b"H264", b"X264", b"XVID", b"DIVX", b"DX50", b"FMP4", b"MP42", b"MP43", b"DIV3",
            b"VP80", b"VP90", b"FLV1",
        ];
        let Some([k0, k1, k2, k3, c0, c1, c2, c3]) = reader.array::<8>(at)? else {
            return Ok(());
        };
        let codec = [c0, c1, c2, c3].map(|c| c.to_ascii_uppercase());
        match &[k0, k1, k2, k3] {
            b"vids" => {
                self.video = true;
                self.loose |= !DENSE.contains(&&codec);
            }
            b"auds" => self.audio = true,
            _ => return Ok(()),
        }
        let (scale, rate) = (
            reader.le32(at + 20)?.unwrap_or(0),
            reader.le32(at + 24)?.unwrap_or(0),
        );
        let length = reader.le32(at + 32)?.filter(|&n| !is_open(n));
        let length = f64::from(length.unwrap_or(0));
        // A unit larger than a byte is a sample of PCM.
        self.loose |= k0 == b'a' && reader.le32(at + 44)?.is_some_and(|size| size > 1);
        self.seconds = self
            .seconds
            .max(length * f64::from(scale) / f64::from(rate.max(1)));
        Ok(())
    }
}
