//! WebVTT segments (W3C WebVTT; RFC 8216, 3.5) put together into one text.

use std::{collections::HashSet, fmt::Write, time::Duration};

use crate::container::ts::CLOCK;

/// The longest segment that is read: a whole film's subtitles have 200 KB.
pub(crate) const MAX_SEGMENT: u64 = 4 << 20;
/// Bytes of cues, above which the rest is left out.
const MAX_TEXT: usize = 16 << 20;

/// Collects cues.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    cues: Vec<(Duration, Duration, String)>,
    /// A cue that reaches over the end of its segment is in the next one too.
    seen: HashSet<(Duration, Duration, String)>,
    /// Regions and styles, in the order in which they first came.
    head: Vec<String>,
    /// What the first segment with a time map adds to a cue's time.
    origin: Option<f64>,
    size: usize,
}

impl Merger {
    /// Adds a segment that starts at `start` of the video.
    pub(crate) fn add(&mut self, text: &str, start: Duration) {
        let text = text
            .trim_start_matches('\u{feff}')
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        let mut blocks = text
            .split("\n\n")
            .map(|b| b.trim_matches('\n'))
            .filter(|b| !b.is_empty());
        let Some(head) = blocks.next().filter(|h| h.starts_with("WEBVTT")) else {
            return;
        };
        let offset = self.offset(head, start);
        for block in blocks {
            self.size += block.len() + 16;
            if self.size > MAX_TEXT {
                return;
            }
            if block.starts_with("STYLE") || block.starts_with("REGION") {
                if !self.head.iter().any(|h| h == block) {
                    self.head.push(block.to_owned());
                }
            } else if let Some((from, to, text)) = cue(block) {
                let moved =
                    |t: f64| Duration::try_from_secs_f64((t + offset).max(0.0)).unwrap_or_default();
                let cue = (round(moved(from)), round(moved(to)), text);
                if self.seen.insert(cue.clone()) {
                    self.cues.push(cue);
                }
            }
        }
    }

    /// Seconds to add to the segment's cue times. `X-TIMESTAMP-MAP` says which MPEG time a cue time
    /// is; the first segment that has one ties MPEG time to the video's.
    fn offset(&mut self, head: &str, start: Duration) -> f64 {
        let Some(map) = head
            .lines()
            .find_map(|l| l.strip_prefix("X-TIMESTAMP-MAP="))
        else {
            return 0.0;
        };
        let (mut mpeg, mut local) = (0.0, 0.0);
        for part in map.split(',') {
            if let Some(v) = part.trim().strip_prefix("MPEGTS:") {
                mpeg = v.trim().parse::<u64>().unwrap_or(0) as f64 / CLOCK as f64;
            } else if let Some(v) = part.trim().strip_prefix("LOCAL:") {
                local = time(v.trim()).unwrap_or(0.0);
            }
        }
        // A map that stays the same from segment to segment counts from the start of the video.
        let here = mpeg - local;
        let origin = *self.origin.get_or_insert(if start.is_zero() {
            here
        } else {
            here - start.as_secs_f64()
        });
        here - origin
    }

    /// The whole text; `None` when there was no cue.
    pub(crate) fn finish(mut self) -> Option<String> {
        if self.cues.is_empty() {
            return None;
        }
        self.cues.sort_by_key(|(from, to, _)| (*from, *to));
        let mut text = String::from("WEBVTT\n");
        for block in &self.head {
            let _ = write!(text, "\n{block}\n");
        }
        for (from, to, cue) in &self.cues {
            let _ = write!(text, "\n{} --> {}{cue}\n", stamp(*from), stamp(*to));
        }
        Some(text)
    }
}

/// Start, end, and what follows them: settings and text. An identifier is dropped.
fn cue(block: &str) -> Option<(f64, f64, String)> {
    let timing = block.find("-->")?;
    let line = block[..timing].rfind('\n').map_or(0, |i| i + 1);
    let rest = block[timing + 3..].trim_start();
    let end = rest.find([' ', '\t', '\n']).unwrap_or(rest.len());
    Some((
        time(block[line..timing].trim())?,
        time(&rest[..end])?,
        rest[end..].trim_end().to_owned(),
    ))
}

/// `[hours:]minutes:seconds.thousandths`.
fn time(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    for part in text.split(':') {
        seconds = seconds * 60.0
            + part
                .parse::<f64>()
                .ok()
                .filter(|v| (0.0..1e7).contains(v))?;
    }
    Some(seconds)
}

fn round(time: Duration) -> Duration {
    Duration::from_millis(((time.as_micros() + 500) / 1000) as u64)
}

fn stamp(time: Duration) -> String {
    let (s, ms) = (time.as_secs(), time.subsec_millis());
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_become_one_text() {
        let mut merger = Merger::default();
        let map = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000";
        merger.add(
            &format!("{map}\n\n1\n00:01.000 --> 00:03.000 line:0\nfirst\n\n00:05.500 --> 00:07.000\nover\n"),
            Duration::ZERO,
        );
        merger.add(
            &format!("\u{feff}{map}\r\n\r\n00:05.500 --> 00:07.000\r\nover\r\n"),
            Duration::from_secs(6),
        );
        merger.add("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:1980000\n\n00:01.000 --> 00:02.000\ntwo\nlines\n", Duration::from_secs(12));
        merger.add("<html>not found</html>", Duration::from_secs(18));
        let want = "WEBVTT\n\n00:00:01.000 --> 00:00:03.000 line:0\nfirst\n\n00:00:05.500 --> 00:00:07.000\nover\n\n\
                    00:00:13.000 --> 00:00:14.000\ntwo\nlines\n";
        assert_eq!(merger.finish().unwrap(), want);
    }

    #[test]
    fn nothing_to_read() {
        for text in [
            "",
            "WEBVTT",
            "WEBVTT\n\n-->",
            "WEBVTT\n\n1e999:1 --> x\nx",
            "WEBVTT\n\n00:01 --> ",
        ] {
            let mut merger = Merger::default();
            merger.add(text, Duration::ZERO);
            assert_eq!(merger.finish(), None, "{text}");
        }
    }
}
