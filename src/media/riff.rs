//! AVI and WAVE: chunks with a size in front (RIFF; OpenDML 1.02 and RF64 for what is longer than 4
//! GiB).

use std::ops::Range;

use super::{
    gaps::Gaps,
    reader::{Reader, Step},
    report::{Container, Kind, Report},
    text,
};

/// Which of the two begins here.
pub(crate) fn begins(head: &[u8]) -> Option<Container> {
    match (head.get(..4)?, head.get(8..12)?) {
        (b"RIFF", b"AVI ") => Some(Container::Avi),
        (b"RIFF" | b"RF64", b"WAVE") => Some(Container::Wav),
        _ => None,
    }
}

/// What the chunks tell.
#[derive(Default)]
struct Found {
    /// End of what the sizes promise.
    end: u64,
    /// A size was left open by a writer that couldn't go back.
    open: bool,
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
    let mut found = Found::default();
    let mut at = 0;
    // OpenDML: further RIFF chunks follow.
    while let Some([f0, f1, f2, f3, s0, s1, s2, s3]) = reader.array::<8>(at)? {
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        if !matches!(&[f0, f1, f2, f3], b"RIFF" | b"RF64") {
            break;
        }
        let open = matches!(size, 0 | u32::MAX);
        let end = if open {
            u64::MAX
        } else {
            at + 8 + u64::from(size)
        };
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
    report.kind = match (found.video, found.audio) {
        (true, _) => Kind::Video,
        (_, true) => Kind::Audio,
        _ => Kind::Unknown,
    };
    report.title = found.title.take();
    report.set_seconds(found.seconds);
    report.open_ended = found.open;
    let end = found.end;
    let missing: u64 = if found.loose || container == Container::Wav {
        gaps.holes_in(0..len)
    } else {
        found
            .media
            .iter()
            .map(|r| gaps.all_in(r.clone()))
            .sum::<u64>()
            .max(gaps.holes_in(0..end.min(len)))
    };
    // A gap that swallowed the head of a chunk is proven by that.
    let missing = if found.content {
        missing
    } else {
        gaps.all_in(0..len)
    };
    // The byte that pads an odd chunk is often left out.
    if end > len + 1 {
        report.lacks(
            len.saturating_sub(missing) as f64,
            end as f64,
            format!("ends {} bytes early", end - len),
        );
    } else if missing > 0 {
        report.lacks(
            (len - missing) as f64,
            len as f64,
            format!("{missing} bytes are missing inside"),
        );
    } else if !found.content {
        report.lacks(0.0, 1.0, "it has a head and no content");
    } else if !found.open {
        report.content_len = Some(end.min(len));
    }
    Ok(report)
}

impl Found {
    /// Walks the chunks in `range`, and into the lists among them.
    fn chunks(&mut self, reader: &mut Reader, range: Range<u64>, depth: u8) -> Step<()> {
        /// `RIFF`, `hdrl`, `strl`.
        const DEEPEST: u8 = 3;
        let mut at = range.start;
        while at < range.end {
            let Some([k0, k1, k2, k3, s0, s1, s2, s3]) = reader.array::<8>(at)? else {
                break;
            };
            let size = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
            let body = at + 8;
            let end = body + size;
            let open = matches!(size, 0 | 0xffff_ffff);
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
                    self.seconds = self
                        .seconds
                        .max(f64::from(micros) * f64::from(frames) / 1e6);
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
        let length = f64::from(reader.le32(at + 32)?.unwrap_or(0));
        // PCM: units as large as a sample.
        self.loose |= k0 == b'a' && reader.le32(at + 44)?.is_some_and(|size| size > 1);
        self.seconds = self
            .seconds
            .max(length * f64::from(scale) / f64::from(rate.max(1)));
        Ok(())
    }
}
