//! Reads a playlist, line by line.
//!
//! Not with `m3u8-rs` 6, which was tried: a comma in a segment's title gives it segments that don't
//! exist, a byte that is not UTF-8 ends the list without an error, and a key whose attributes are
//! not quoted as they should be disappears, so that an encrypted stream looks clear.

use std::{borrow::Cow, collections::HashMap, ops::Range, time::Duration};

use url::Url;

use super::{HlsError, MAX_SEGMENTS, Master, Media, Playlist, Rendition, Segment, Stream};
use crate::stream::{
    Init, PartialSegment, Ref, TrackKind,
    address::{self, Resolver},
};

/// Variants and renditions in one multivariant playlist.
const MAX_STREAMS: usize = 1_000;
/// The longest length that is believed, in seconds; a longer one is a mistake.
const LONGEST_SEGMENT: f64 = 3600.0;
/// Variables in one playlist (`EXT-X-DEFINE`).
const MAX_VARIABLES: usize = 64;
/// The longest line with its variables filled in, in bytes.
const MAX_LINE: usize = 64 << 10;

/// Reads a playlist that came from `url`. Time and memory are bounded by the text's length, and
/// memory by a few tens of megabytes however long it is.
///
/// # Errors
/// [`HlsError`], for what can't be used at all. Tags that are unknown or wrong are passed over.
pub fn parse(text: &[u8], url: &str) -> Result<Playlist, HlsError> {
    let text = text
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(text)
        .trim_ascii_start();
    if !text.starts_with(b"#EXTM3U") {
        return Err(HlsError::NotHls);
    }
    let base = address::base(url).ok_or(HlsError::Address)?;
    let mut reader = PlaylistReader::new(&base);
    for line in text.split(|&b| b == b'\n') {
        let line = String::from_utf8_lossy(line.trim_ascii());
        reader.line(&line)?;
    }
    reader.finish()
}

/// The state between two lines.
struct PlaylistReader<'a> {
    base: &'a Url,
    resolver: Resolver,
    master: Master,
    media: Media,
    /// `EXT-X-MEDIA-SEQUENCE`, and how many segments a delta update leaves out: in either order.
    sequence: u64,
    skipped: u64,
    /// Of the segments that follow (`EXT-X-KEY`).
    key: Option<String>,
    /// `EXT-X-STREAM-INF`, whose address is on the next line.
    stream: Option<Stream>,
    is_master: bool,
    key_frames: bool,
    duration: Option<Duration>,
    range: Option<(u64, Option<u64>)>,
    map: Init,
    discontinuity: u32,
    gap: bool,
    /// Where the last range ended, and of what; of segments, and of their parts.
    last: Option<(String, u64)>,
    last_part: Option<(String, u64)>,
    /// Parts of the segment that comes next.
    parts: Vec<PartialSegment>,
    part_count: usize,
    /// `EXT-X-DEFINE`.
    variables: HashMap<String, String>,
}

impl<'a> PlaylistReader<'a> {
    fn new(base: &'a Url) -> Self {
        Self {
            base,
            resolver: Resolver::default(),
            master: Master {
                url: base.to_string(),
                ..Master::default()
            },
            media: Media {
                url: base.to_string(),
                ..Media::default()
            },
            sequence: 0,
            skipped: 0,
            key: None,
            stream: None,
            is_master: false,
            key_frames: false,
            duration: None,
            range: None,
            map: Init::Own,
            discontinuity: 0,
            gap: false,
            last: None,
            last_part: None,
            parts: Vec::new(),
            part_count: 0,
            variables: HashMap::new(),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), HlsError> {
        if line.is_empty() {
            return Ok(());
        }
        let line = &*filled(line, &self.variables)?;
        if !line.starts_with('#') {
            return match self.stream.take() {
                Some(stream) => self.stream(stream, line),
                None => self.segment(line),
            };
        }
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXTINF" => self.duration = Some(seconds(value.split(',').next().unwrap_or_default())),
            "#EXT-X-BYTERANGE" => self.range = byte_range(value),
            "#EXT-X-DISCONTINUITY" => self.discontinuity = self.discontinuity.saturating_add(1),
            "#EXT-X-GAP" => self.gap = true,
            "#EXT-X-ENDLIST" => self.media.ended = true,
            "#EXT-X-I-FRAMES-ONLY" => self.key_frames = true,
            "#EXT-X-TARGETDURATION" => self.media.target = seconds(value),
            "#EXT-X-MEDIA-SEQUENCE" => self.sequence = value.trim().parse().unwrap_or(0),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                self.media.counts_discontinuities = true;
                self.discontinuity = value.trim().parse().unwrap_or(0);
            }
            "#EXT-X-DEFINE" => self.define(&attributes(value)),
            "#EXT-X-SKIP" => self.skip(&attributes(value)),
            "#EXT-X-KEY" => self.key = method(value),
            "#EXT-X-PART" => self.part(&attributes(value))?,
            "#EXT-X-MAP" => self.map(&attributes(value))?,
            "#EXT-X-STREAM-INF" => self.stream = Some(stream(&attributes(value))),
            "#EXT-X-MEDIA" => self.rendition(&attributes(value))?,
            "#EXT-X-SESSION-DATA" => self.session_data(&attributes(value)),
            _ => {}
        }
        self.is_master |= tag == "#EXT-X-STREAM-INF";
        Ok(())
    }

    fn resolve(&mut self, reference: &str) -> Result<Option<String>, HlsError> {
        Ok(self.resolver.join(self.base, reference)?)
    }

    fn segment(&mut self, line: &str) -> Result<(), HlsError> {
        let range = self.range.take();
        let duration = self.duration.take().unwrap_or(self.media.target);
        let gap = std::mem::take(&mut self.gap);
        if self.is_master {
            return Ok(()); // an address that no tag announced
        }
        if self.media.segments.len() >= MAX_SEGMENTS {
            return Err(HlsError::TooLarge);
        }
        let of = match self.resolve(line)? {
            Some(url) => place(url, range, &mut self.last),
            None => None,
        };
        self.list(of.filter(|_| !gap), duration)
    }

    fn list(&mut self, of: Option<Ref>, duration: Duration) -> Result<(), HlsError> {
        if let Some(init) = self.map.at() {
            self.resolver.charge(init.url.len())?;
        }
        let segment = Segment {
            of,
            parts: std::mem::take(&mut self.parts),
            init: self.map.clone(),
            protected: self.key.clone(),
            duration,
            discontinuity: self.discontinuity,
        };
        let number = self.media.segments.len() as u64;
        self.media.segments.insert(number, segment);
        Ok(())
    }

    /// A part of the segment that comes next; also one that can't be loaded has its place.
    fn part(&mut self, attributes: &Attributes<'_>) -> Result<(), HlsError> {
        self.part_count += 1;
        if self.part_count > MAX_SEGMENTS {
            return Err(HlsError::TooLarge);
        }
        let (Some(uri), Some(duration)) = (attributes.get("URI"), attributes.get("DURATION"))
        else {
            return Ok(());
        };
        let range = attributes.get("BYTERANGE").and_then(|v| byte_range(v));
        let of = self
            .resolve(uri)?
            .and_then(|url| place(url, range, &mut self.last_part));
        let of = of.filter(|_| attributes.get("GAP").is_none_or(|gap| *gap != "YES"));
        self.parts.push(PartialSegment {
            of,
            duration: seconds(duration),
        });
        Ok(())
    }

    fn map(&mut self, attributes: &Attributes<'_>) -> Result<(), HlsError> {
        let Some(uri) = attributes.get("URI") else {
            return Ok(());
        };
        let range = attributes.get("BYTERANGE").and_then(|v| byte_range(v));
        let of = match (self.resolve(uri)?, range) {
            (Some(url), None) => Some(Ref { url, range: None }),
            (Some(url), Some((len, offset))) => to_range(len, offset.unwrap_or(0)).map(|r| Ref {
                url,
                range: Some(r),
            }),
            (None, _) => None,
        };
        self.map = of.map_or(Init::Unknown, Init::At);
        Ok(())
    }

    /// A variable, defined here or in the playlist's own address. One from a multivariant playlist
    /// (`IMPORT`) stays unknown: the segments are then put in order by their times, as without a
    /// playlist.
    fn define(&mut self, attributes: &Attributes<'_>) {
        let (name, value) = match (attributes.get("NAME"), attributes.get("QUERYPARAM")) {
            (Some(name), _) => (*name, attributes.get("VALUE").map(|v| (*v).to_owned())),
            (None, Some(name)) => {
                let of_name = |(key, _): &(Cow<'_, str>, _)| key == name;
                (
                    *name,
                    self.base
                        .query_pairs()
                        .find(of_name)
                        .map(|(_, value)| value.into_owned()),
                )
            }
            (None, None) => return,
        };
        if let Some(value) = value
            && self.variables.len() < MAX_VARIABLES
        {
            self.variables.insert(name.to_owned(), value);
        }
    }

    /// A delta update leaves out segments that an earlier version had.
    fn skip(&mut self, attributes: &Attributes<'_>) {
        let n = attributes
            .get("SKIPPED-SEGMENTS")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        self.skipped = self.skipped.saturating_add(n);
        self.media.delta = true;
    }

    fn stream(&mut self, mut stream: Stream, line: &str) -> Result<(), HlsError> {
        if self.master.streams.len() >= MAX_STREAMS {
            return Err(HlsError::TooLarge);
        }
        if let Some(url) = self.resolve(line)? {
            stream.url = url;
            self.master.streams.push(stream);
        }
        Ok(())
    }

    fn rendition(&mut self, attributes: &Attributes<'_>) -> Result<(), HlsError> {
        let kind = match attributes.get("TYPE").map(|v| &**v) {
            Some("AUDIO") => TrackKind::Audio,
            Some("SUBTITLES") => TrackKind::Subtitles,
            _ => return Ok(()),
        };
        if self.master.renditions.len() >= MAX_STREAMS {
            return Err(HlsError::TooLarge);
        }
        let group = attributes.get("GROUP-ID").map_or("", |g| *g).to_owned();
        let Some(uri) = attributes.get("URI") else {
            self.master.muxed.push(group);
            return Ok(());
        };
        if let Some(url) = self.resolve(uri)? {
            let language = attributes.get("LANGUAGE").map(|v| v.to_string());
            let name = attributes
                .get("NAME")
                .map(|v| v.to_string())
                .unwrap_or_default();
            self.master.renditions.push(Rendition {
                kind,
                group,
                name,
                language,
                url,
            });
        }
        Ok(())
    }

    fn session_data(&mut self, attributes: &Attributes<'_>) {
        if attributes
            .get("DATA-ID")
            .is_some_and(|id| &**id == "com.apple.hls.title")
        {
            self.master.title = attributes.get("VALUE").map(|v| v.to_string());
        }
    }

    fn finish(mut self) -> Result<Playlist, HlsError> {
        if !self.parts.is_empty() && !self.is_master && self.media.segments.len() < MAX_SEGMENTS {
            self.list(
                None,
                self.parts
                    .iter()
                    .map(|p| p.duration)
                    .fold(Duration::ZERO, Duration::saturating_add),
            )?;
        }
        if self.is_master {
            if self.master.streams.is_empty() {
                return Err(HlsError::Empty);
            }
            return Ok(Playlist::Master(self.master));
        }
        // The first number is known only now, because its tags may stand anywhere.
        let first = self.sequence.saturating_add(self.skipped);
        let segments = std::mem::take(&mut self.media.segments);
        self.media.segments = segments
            .into_iter()
            .map(|(n, segment)| (first.saturating_add(n), segment))
            .collect();
        match () {
            () if self.key_frames => Err(HlsError::KeyFrames),
            () if self.media.segments.is_empty() => Err(HlsError::Empty),
            () => Ok(Playlist::Media(self.media)),
        }
    }
}

/// A line with `{$name}` replaced; names that are not known stay as they are (rfc8216bis, 4.3).
fn filled<'l>(
    line: &'l str,
    variables: &HashMap<String, String>,
) -> Result<Cow<'l, str>, HlsError> {
    if variables.is_empty() || !line.contains("{$") {
        return Ok(line.into());
    }
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some((before, after)) = rest.split_once("{$") {
        out.push_str(before);
        let known = after
            .split_once('}')
            .and_then(|(name, after)| Some((variables.get(name)?, after)));
        rest = match known {
            Some((value, after)) => {
                out.push_str(value);
                after
            }
            None => {
                out.push_str("{$");
                after
            }
        };
        if out.len() > MAX_LINE {
            return Err(HlsError::TooLarge);
        }
    }
    out.push_str(rest);
    Ok(out.into())
}

type Attributes<'a> = HashMap<&'a str, &'a str>;

/// `NAME=value,NAME="value"` (RFC 8216, 4.2). Missing or unclosed quotes are tolerated.
fn attributes(list: &str) -> Attributes<'_> {
    let mut found = HashMap::new();
    let mut rest = list.trim();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value
                .split_once(',')
                .map_or((value, ""), |(v, after)| (v, after)),
        };
        found.insert(name.trim_start_matches(',').trim(), value.trim());
        rest = after;
    }
    found
}

fn stream(attributes: &Attributes<'_>) -> Stream {
    let height = attributes
        .get("RESOLUTION")
        .and_then(|v| v.split_once('x'))
        .and_then(|(_, h)| h.parse().ok());
    let sound = |codec: &str| {
        ["mp4a", "ac-3", "ec-3", "opus", "Opus", "fLaC", "alac"]
            .iter()
            .any(|s| codec.trim().starts_with(s))
    };
    Stream {
        url: String::new(),
        audio: attributes.get("AUDIO").map(|v| v.to_string()),
        bandwidth: attributes
            .get("BANDWIDTH")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0),
        height,
        audio_only: height.is_none()
            && attributes
                .get("CODECS")
                .is_some_and(|c| c.split(',').all(sound)),
    }
}

/// The method of a key, unless it is `NONE`. A key whose method can't be read still counts as a
/// key.
fn method(value: &str) -> Option<String> {
    let attributes = attributes(value);
    match attributes.get("METHOD").map(|m| m.trim_matches('"')) {
        Some("NONE") => None,
        Some(method) => Some(method.chars().take(40).collect()),
        None => Some("an unknown method".into()),
    }
}

fn seconds(text: &str) -> Duration {
    let value = text
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite())
        .unwrap_or(0.0);
    Duration::try_from_secs_f64(value.clamp(0.0, LONGEST_SEGMENT)).unwrap_or_default()
}

/// A byte range without an offset begins where the last one of the same address ended (RFC 8216,
/// 4.3.2.2).
fn place(
    url: String,
    range: Option<(u64, Option<u64>)>,
    last: &mut Option<(String, u64)>,
) -> Option<Ref> {
    let Some((len, offset)) = range else {
        *last = None;
        return Some(Ref { url, range: None });
    };
    let offset = offset.or_else(|| {
        last.as_ref()
            .filter(|(u, _)| *u == url)
            .map(|(_, end)| *end)
    });
    let range = to_range(len, offset.unwrap_or(0))?;
    *last = Some((url.clone(), range.end));
    Some(Ref {
        url,
        range: Some(range),
    })
}

/// `length[@offset]`.
fn byte_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (len, offset) = match text.trim().split_once('@') {
        Some((len, offset)) => (len, Some(offset.trim().parse().ok()?)),
        None => (text.trim(), None),
    };
    Some((len.trim().parse().ok()?, offset))
}

/// Offsets beyond what a file can have are no ranges.
fn to_range(len: u64, offset: u64) -> Option<Range<u64>> {
    offset
        .checked_add(len)
        .filter(|&end| end <= i64::MAX as u64 && len > 0)
        .map(|end| offset..end)
}
