//! HLS playlists (RFC 8216 and its successor draft-pantos-hls-rfc8216bis).
//!
//! Read line by line here rather than with `m3u8-rs` 6, which was tried: a comma in a segment's title gives it
//! segments that don't exist, a byte that is not UTF-8 ends the list without an error, and a key whose attributes
//! are not quoted as they should be disappears, so that an encrypted stream looks clear.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    time::Duration,
};

use url::Url;

use super::{
    Assembly, Ref, Slot, Track, TrackKind, Variant,
    address::{self, Resolver, TooLong},
};

/// Segments in one playlist: a day of two-second ones.
const MAX_SEGMENTS: usize = 50_000;
/// Variants and renditions in one multivariant playlist.
const MAX_STREAMS: usize = 1_000;
/// A longer segment is a mistake.
const LONGEST_SEGMENT: f64 = 3600.0;

/// Why a text is not a playlist that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first line is not `#EXTM3U`.
    #[error("not an HLS playlist")]
    NotHls,
    /// Its own address is not one of the network.
    #[error("the playlist's own address is not http or https")]
    Address,
    /// No segment and no variant.
    #[error("an HLS playlist without segments")]
    Empty,
    /// Pictures for fast forward only.
    #[error("an HLS playlist of key frames only")]
    KeyFrames,
    /// More of something than a video has.
    #[error("an HLS playlist larger than any video's")]
    TooLarge,
}

/// What a playlist is.
#[derive(Clone, Debug, PartialEq)]
pub enum Playlist {
    /// Lists variants.
    Master(Master),
    /// Lists segments.
    Media(Media),
}

/// A multivariant playlist.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Master {
    /// Its own address.
    pub url: String,
    /// The qualities of the whole, in its order.
    pub streams: Vec<Stream>,
    /// Sound and subtitles with a playlist of their own.
    pub renditions: Vec<Rendition>,
    /// `EXT-X-SESSION-KEY`: how it is encrypted.
    pub protected: Option<String>,
    /// `com.apple.hls.title`.
    pub title: Option<String>,
}

/// `EXT-X-STREAM-INF`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Address of its media playlist.
    pub url: String,
    /// Bits per second, 0 if not told.
    pub bandwidth: u64,
    /// Picture height in pixels.
    pub height: Option<u32>,
    /// Codecs are told, and none is of pictures.
    pub audio_only: bool,
}

/// `EXT-X-MEDIA` with an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendition {
    /// Sound or subtitles.
    pub kind: TrackKind,
    /// Its name for people: renditions of one name in several groups are qualities of the same.
    pub name: String,
    /// RFC 5646.
    pub language: Option<String>,
    /// Address of its media playlist.
    pub url: String,
}

/// A playlist of segments; for a live stream the union of all that were seen.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Media {
    /// Its own address.
    pub url: String,
    /// By media sequence number.
    pub segments: BTreeMap<u64, Segment>,
    /// Longest segment.
    pub target: Duration,
    /// `EXT-X-ENDLIST`: nothing more will come.
    pub ended: bool,
    /// How some segment is encrypted: the method's name.
    pub protected: Option<String>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Where its bytes are; `None` where the stream itself has a gap (`EXT-X-GAP`, an address that can't be loaded).
    pub of: Option<Ref>,
    /// `EXT-X-MAP`.
    pub init: Option<Ref>,
    /// `EXTINF`.
    pub duration: Duration,
    /// Discontinuities before it since the stream began (`EXT-X-DISCONTINUITY-SEQUENCE` counted).
    pub discontinuity: u32,
}

impl From<TooLong> for Error {
    fn from(_: TooLong) -> Self {
        Self::TooLarge
    }
}

/// Reads a playlist that came from `url`. Time and memory are bounded by the text's length, and memory by a
/// few tens of megabytes however long it is.
///
/// # Errors
/// [`Error`], for what can't be used at all. Tags that are unknown or wrong are passed over.
pub fn parse(text: &[u8], url: &str) -> Result<Playlist, Error> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    if !text.starts_with(b"#EXTM3U") {
        return Err(Error::NotHls);
    }
    let base = address::base(url).ok_or(Error::Address)?;
    let mut reader = Reader::new(&base);
    for line in text.split(|&b| b == b'\n') {
        let line = String::from_utf8_lossy(line.trim_ascii());
        reader.line(&line)?;
    }
    reader.finish()
}

/// What is known between two lines.
struct Reader<'a> {
    base: &'a Url,
    resolver: Resolver,
    master: Master,
    media: Media,
    sequence: u64,
    /// `EXT-X-STREAM-INF`, whose address is on the next line.
    stream: Option<Stream>,
    is_master: bool,
    key_frames: bool,
    duration: Option<Duration>,
    range: Option<(u64, Option<u64>)>,
    map: Option<Ref>,
    discontinuity: u32,
    gap: bool,
    /// Where the last range ended, and of what.
    last: Option<(String, u64)>,
}

impl<'a> Reader<'a> {
    fn new(base: &'a Url) -> Self {
        Self {
            base,
            resolver: Resolver::default(),
            master: Master { url: base.to_string(), ..Master::default() },
            media: Media { url: base.to_string(), ..Media::default() },
            sequence: 0,
            stream: None,
            is_master: false,
            key_frames: false,
            duration: None,
            range: None,
            map: None,
            discontinuity: 0,
            gap: false,
            last: None,
        }
    }

    fn line(&mut self, line: &str) -> Result<(), Error> {
        if line.is_empty() {
            return Ok(());
        }
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
            "#EXT-X-DISCONTINUITY-SEQUENCE" => self.discontinuity = value.trim().parse().unwrap_or(0),
            "#EXT-X-SKIP" => self.skip(&attributes(value)),
            "#EXT-X-KEY" => self.media.protected = self.media.protected.take().or(method(value)),
            "#EXT-X-SESSION-KEY" => self.master.protected = self.master.protected.take().or(method(value)),
            "#EXT-X-MAP" => self.map(&attributes(value))?,
            "#EXT-X-STREAM-INF" => self.stream = Some(stream(&attributes(value))),
            "#EXT-X-MEDIA" => self.rendition(&attributes(value))?,
            "#EXT-X-SESSION-DATA" => self.session_data(&attributes(value)),
            _ => {}
        }
        self.is_master |= tag == "#EXT-X-STREAM-INF";
        Ok(())
    }

    fn resolve(&mut self, reference: &str) -> Result<Option<String>, Error> {
        Ok(self.resolver.join(self.base, reference)?)
    }

    fn segment(&mut self, line: &str) -> Result<(), Error> {
        let range = self.range.take();
        let duration = self.duration.take().unwrap_or(self.media.target);
        let gap = std::mem::take(&mut self.gap);
        if self.is_master {
            return Ok(()); // an address that no tag announced
        }
        if self.media.segments.len() >= MAX_SEGMENTS {
            return Err(Error::TooLarge);
        }
        let of = match self.resolve(line)? {
            Some(url) => self.place(url, range),
            None => None,
        };
        if let Some(init) = &self.map {
            self.resolver.charge(init.url.len())?;
        }
        let segment = Segment {
            of: of.filter(|_| !gap),
            init: self.map.clone(),
            duration,
            discontinuity: self.discontinuity,
        };
        self.media.segments.insert(self.sequence, segment);
        self.sequence = self.sequence.saturating_add(1);
        Ok(())
    }

    /// A byte range without an offset begins where the last one of the same address ended (RFC 8216, 4.3.2.2).
    fn place(&mut self, url: String, range: Option<(u64, Option<u64>)>) -> Option<Ref> {
        let Some((len, offset)) = range else {
            self.last = None;
            return Some(Ref { url, range: None });
        };
        let offset = offset.or_else(|| self.last.as_ref().filter(|(u, _)| *u == url).map(|(_, end)| *end));
        let range = to_range(len, offset.unwrap_or(0))?;
        self.last = Some((url.clone(), range.end));
        Some(Ref { url, range: Some(range) })
    }

    fn map(&mut self, attributes: &Attributes<'_>) -> Result<(), Error> {
        let Some(uri) = attributes.get("URI") else { return Ok(()) };
        let range = attributes.get("BYTERANGE").and_then(|v| byte_range(v));
        self.map = match (self.resolve(uri)?, range) {
            (Some(url), None) => Some(Ref { url, range: None }),
            (Some(url), Some((len, offset))) => {
                to_range(len, offset.unwrap_or(0)).map(|r| Ref { url, range: Some(r) })
            }
            (None, _) => None,
        };
        Ok(())
    }

    /// A delta update leaves out segments that an earlier version had.
    fn skip(&mut self, attributes: &Attributes<'_>) {
        let n = attributes.get("SKIPPED-SEGMENTS").and_then(|v| v.parse().ok()).unwrap_or(0);
        self.sequence = self.sequence.saturating_add(n);
    }

    fn stream(&mut self, mut stream: Stream, line: &str) -> Result<(), Error> {
        if self.master.streams.len() >= MAX_STREAMS {
            return Err(Error::TooLarge);
        }
        if let Some(url) = self.resolve(line)? {
            stream.url = url;
            self.master.streams.push(stream);
        }
        Ok(())
    }

    fn rendition(&mut self, attributes: &Attributes<'_>) -> Result<(), Error> {
        let kind = match attributes.get("TYPE").map(|v| &**v) {
            Some("AUDIO") => TrackKind::Audio,
            Some("SUBTITLES") => TrackKind::Subtitles,
            _ => return Ok(()),
        };
        if self.master.renditions.len() >= MAX_STREAMS {
            return Err(Error::TooLarge);
        }
        let Some(uri) = attributes.get("URI") else { return Ok(()) };
        if let Some(url) = self.resolve(uri)? {
            let language = attributes.get("LANGUAGE").map(|v| v.to_string());
            let name = attributes.get("NAME").map(|v| v.to_string()).unwrap_or_default();
            self.master.renditions.push(Rendition { kind, name, language, url });
        }
        Ok(())
    }

    fn session_data(&mut self, attributes: &Attributes<'_>) {
        if attributes.get("DATA-ID").is_some_and(|id| &**id == "com.apple.hls.title") {
            self.master.title = attributes.get("VALUE").map(|v| v.to_string());
        }
    }

    fn finish(self) -> Result<Playlist, Error> {
        if self.is_master {
            if self.master.streams.is_empty() {
                return Err(Error::Empty);
            }
            return Ok(Playlist::Master(self.master));
        }
        match () {
            () if self.key_frames => Err(Error::KeyFrames),
            () if self.media.segments.is_empty() => Err(Error::Empty),
            () => Ok(Playlist::Media(self.media)),
        }
    }
}

type Attributes<'a> = HashMap<&'a str, &'a str>;

/// `NAME=value,NAME="value"` (RFC 8216, 4.2). Quotes that are missing or never closed are forgiven.
fn attributes(list: &str) -> Attributes<'_> {
    let mut found = HashMap::new();
    let mut rest = list.trim();
    while let Some((name, value)) = rest.split_once('=') {
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => value.split_once(',').map_or((value, ""), |(v, after)| (v, after)),
        };
        found.insert(name.trim_start_matches(',').trim(), value.trim());
        rest = after;
    }
    found
}

fn stream(attributes: &Attributes<'_>) -> Stream {
    let height =
        attributes.get("RESOLUTION").and_then(|v| v.split_once('x')).and_then(|(_, h)| h.parse().ok());
    let sound = |codec: &str| {
        ["mp4a", "ac-3", "ec-3", "opus", "Opus", "fLaC", "alac"].iter().any(|s| codec.trim().starts_with(s))
    };
    Stream {
        url: String::new(),
        bandwidth: attributes.get("BANDWIDTH").and_then(|v| v.parse().ok()).unwrap_or(0),
        height,
        audio_only: height.is_none() && attributes.get("CODECS").is_some_and(|c| c.split(',').all(sound)),
    }
}

/// The method of a key, unless it is `NONE`. A key whose method can't be read is a key all the same.
fn method(value: &str) -> Option<String> {
    let attributes = attributes(value);
    match attributes.get("METHOD").map(|m| m.trim_matches('"')) {
        Some("NONE") => None,
        Some(method) => Some(method.chars().take(40).collect()),
        None => Some("an unknown method".into()),
    }
}

fn seconds(text: &str) -> Duration {
    let value = text.trim().parse::<f64>().ok().filter(|v| v.is_finite()).unwrap_or(0.0);
    Duration::try_from_secs_f64(value.clamp(0.0, LONGEST_SEGMENT)).unwrap_or_default()
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
    offset.checked_add(len).filter(|&end| end <= i64::MAX as u64 && len > 0).map(|end| offset..end)
}

impl Media {
    /// Adds what a later version of the same playlist brings. Returns false, and changes nothing, if it is not
    /// the same stream: a number that names another segment than before.
    pub fn unite(&mut self, later: &Self) -> bool {
        let same = |a: &Segment, b: &Segment| match (&a.of, &b.of) {
            (Some(a), Some(b)) => {
                address::without_query(&a.url) == address::without_query(&b.url) && a.range == b.range
            }
            _ => true,
        };
        let clash = later.segments.iter().any(|(n, s)| self.segments.get(n).is_some_and(|old| !same(old, s)));
        if clash || self.segments.len() + later.segments.len() > 2 * MAX_SEGMENTS {
            return false;
        }
        for (number, segment) in &later.segments {
            let slot = self.segments.entry(*number).or_insert_with(|| segment.clone());
            if slot.of.is_none() {
                *slot = segment.clone();
            }
        }
        self.ended |= later.ended;
        self.target = self.target.max(later.target);
        self.protected = self.protected.take().or_else(|| later.protected.clone());
        true
    }

    /// Slots with the segment `first` at `origin`. Numbers that no version had are stretches without an address.
    fn slots(&self, first: u64, origin: Duration) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::with_capacity(self.segments.len());
        let (mut start, mut next) = (origin, first);
        for (&number, segment) in &self.segments {
            let skipped = u32::try_from(number.saturating_sub(next)).unwrap_or(0).min(MAX_SEGMENTS as u32);
            if skipped > 0 {
                let duration = self.target.saturating_mul(skipped);
                let of = Ref::whole("");
                slots.push(Slot { of, init: None, start, duration, discontinuity: segment.discontinuity });
                start = start.saturating_add(duration);
            }
            slots.push(Slot {
                of: segment.of.clone().unwrap_or_else(|| Ref::whole("")),
                init: segment.init.clone(),
                start,
                duration: segment.duration,
                discontinuity: segment.discontinuity,
            });
            start = start.saturating_add(segment.duration);
            next = number.saturating_add(1);
        }
        slots
    }

    fn first(&self) -> u64 {
        self.segments.keys().next().copied().unwrap_or(0)
    }

    /// When the segment `number` starts, with this playlist's first at 0.
    fn start_of(&self, number: u64) -> Duration {
        self.segments.range(..number).map(|(_, s)| s.duration).fold(Duration::ZERO, Duration::saturating_add)
    }

    /// A video of this playlist alone.
    pub fn assembly(&self) -> Assembly {
        let slots = self.slots(self.first(), Duration::ZERO);
        let variant = Variant { bandwidth: 0, height: None, slots };
        Assembly {
            url: self.url.clone(),
            tracks: vec![Track { kind: TrackKind::Video, language: None, variants: vec![variant] }],
            ended: self.ended,
            protected: self.protected.clone(),
            title: None,
        }
    }
}

impl Master {
    /// The addresses of all media playlists that it names.
    pub fn playlists(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().map(|s| &*s.url).chain(self.renditions.iter().map(|r| &*r.url))
    }

    /// The video that it describes, of those media playlists that `media` has: what was never loaded was never
    /// played. `None` when there is none.
    pub fn assembly<'m>(&self, media: impl Fn(&str) -> Option<&'m Media>) -> Option<Assembly> {
        let mut seen = std::collections::HashSet::new();
        let mut load = |url: &str| media(url).filter(|m| m.url != self.url && seen.insert(m.url.clone()));
        let all_sound = self.streams.iter().all(|s| s.audio_only);
        let mut streams: Vec<(&Stream, &Media)> = self
            .streams
            .iter()
            .filter(|s| all_sound || !s.audio_only)
            .filter_map(|s| Some((s, load(&s.url)?)))
            .collect();
        streams.sort_by_key(|(s, _)| std::cmp::Reverse((s.height, s.bandwidth)));
        let mut groups = Vec::new();
        if !streams.is_empty() {
            let kind = if all_sound { TrackKind::Audio } else { TrackKind::Video };
            groups.push((
                kind,
                None,
                "",
                streams.into_iter().map(|(s, m)| (s.bandwidth, s.height, m)).collect(),
            ));
        }
        for rendition in &self.renditions {
            let Some(media) = load(&rendition.url) else { continue };
            let same = |(kind, language, name, _): &&mut (TrackKind, Option<String>, &str, Vec<_>)| {
                *kind == rendition.kind && *language == rendition.language && *name == rendition.name
            };
            match groups.iter_mut().find(same) {
                Some((_, _, _, variants)) => variants.push((0, None, media)),
                None => groups.push((
                    rendition.kind,
                    rendition.language.clone(),
                    &rendition.name,
                    vec![(0, None, media)],
                )),
            }
        }
        // What starts with the lowest number is the time line that the others are laid on.
        let all = || groups.iter().flat_map(|(_, _, _, v)| v.iter().map(|(_, _, m)| *m));
        let reference = all().min_by_key(|m| m.first())?;
        let (ended, protected) = (all().all(|m| m.ended), all().find_map(|m| m.protected.clone()));
        let slots = |m: &Media| m.slots(m.first(), reference.start_of(m.first()));
        let tracks = groups
            .iter()
            .map(|(kind, language, _, variants)| Track {
                kind: *kind,
                language: language.clone(),
                variants: variants
                    .iter()
                    .map(|&(bandwidth, height, m)| Variant { bandwidth, height, slots: slots(m) })
                    .collect(),
            })
            .collect();
        Some(Assembly {
            url: self.url.clone(),
            tracks,
            ended,
            protected: self.protected.clone().or(protected),
            title: self.title.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URL: &str = "https://a.example/v/list.m3u8?token=1";

    fn media(lines: &str) -> Media {
        match parse(format!("#EXTM3U\n{lines}").as_bytes(), URL).unwrap() {
            Playlist::Media(media) => media,
            Playlist::Master(_) => panic!("a master playlist"),
        }
    }

    fn master(lines: &str) -> Master {
        match parse(format!("#EXTM3U\n{lines}").as_bytes(), URL).unwrap() {
            Playlist::Master(master) => master,
            Playlist::Media(_) => panic!("a media playlist"),
        }
    }

    /// Number, address and range of each segment.
    fn listed(media: &Media) -> Vec<(u64, String, Option<Range<u64>>)> {
        let named = media.segments.iter().filter_map(|(n, s)| Some((*n, s.of.clone()?)));
        named.map(|(n, of)| (n, of.url.rsplit('/').next().unwrap().into(), of.range)).collect()
    }

    fn names(media: &Media) -> Vec<String> {
        listed(media).into_iter().map(|(_, name, _)| name).collect()
    }

    #[test]
    fn what_is_no_playlist() {
        let cases: [(&[u8], &str, Error); 8] = [
            (b"", URL, Error::NotHls),
            (b"<html>", URL, Error::NotHls),
            (b"#EXTM3U", URL, Error::Empty),
            (b"#EXTM3U\n#EXT-X-ENDLIST\n", URL, Error::Empty),
            (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", URL, Error::Empty),
            (b"#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:1,\na.ts\n", URL, Error::KeyFrames),
            (b"#EXTM3U\n#EXTINF:1,\na.ts\n", "file:///etc/list.m3u8", Error::Address),
            (b"#EXTM3U\n#EXTINF:1,\na.ts\n", "no address", Error::Address),
        ];
        for (text, url, want) in cases {
            assert_eq!(parse(text, url), Err(want), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn what_other_readers_stumble_over() {
        assert_eq!(names(&media("#EXTINF:6,Title, with commas\na.ts\n#EXTINF:6,\nb.ts\n")), ["a.ts", "b.ts"]);
        let bytes = b"\xef\xbb\xbf#EXTM3U\r\n#EXTINF:6,\xff\r\na.ts\r\n\r\n#EXTINF:6\r\n\xff.ts\r\n#EXTINF:6,\r\nc.ts";
        let Ok(Playlist::Media(found)) = parse(bytes, URL) else { panic!() };
        assert_eq!(names(&found), ["a.ts", "%EF%BF%BD.ts", "c.ts"]);
        assert_eq!(names(&media("a.ts\n#comment\nb.ts\n")), ["a.ts", "b.ts"], "without EXTINF");
    }

    #[test]
    fn lengths_are_numbers_of_seconds() {
        let cases = [
            ("4.5", 4.5),
            ("4", 4.0),
            ("-1", 0.0),
            ("nan", 0.0),
            ("inf", 0.0),
            ("1e300", 3600.0),
            ("", 0.0),
            ("x", 0.0),
        ];
        for (text, want) in cases {
            let found = media(&format!("#EXTINF:{text},\na.ts\n"));
            assert_eq!(found.segments[&0].duration.as_secs_f64(), want, "{text}");
        }
    }

    #[test]
    fn byte_ranges() {
        let range = |n: u64| 10 * n..10 * n + 10;
        let found = media(
            "#EXT-X-BYTERANGE:10@0\na\n#EXT-X-BYTERANGE:10\na\n#EXT-X-BYTERANGE:10@50\na\n#EXT-X-BYTERANGE:10\na\n\
             #EXT-X-BYTERANGE:10\nb\nb\n",
        );
        let ranges: Vec<_> = listed(&found).into_iter().map(|(_, _, r)| r).collect();
        let want = [Some(range(0)), Some(range(1)), Some(range(5)), Some(range(6)), Some(range(0)), None];
        assert_eq!(ranges, want);
        for wrong in ["18446744073709551615@1", "1@9223372036854775807", "0@5"] {
            assert_eq!(listed(&media(&format!("#EXT-X-BYTERANGE:{wrong}\na\nb\n"))).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn initialisation_segments_hold_until_the_next() {
        let found = media(
            "#EXT-X-MAP:URI=\"i,1.mp4\",BYTERANGE=\"20@5\"\na\nb\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"i2\"\nc\n",
        );
        let inits: Vec<_> = found.segments.values().map(|s| s.init.clone().unwrap()).collect();
        assert_eq!(inits[0], Ref { url: "https://a.example/v/i,1.mp4".into(), range: Some(5..25) });
        assert_eq!(inits[1], inits[0]);
        assert_eq!(inits[2], Ref::whole("https://a.example/v/i2"));
        assert_eq!(found.segments.values().map(|s| s.discontinuity).collect::<Vec<_>>(), [0, 0, 1]);
    }

    #[test]
    fn a_key_is_seen_however_it_is_written() {
        let cases = [
            ("METHOD=AES-128,URI=\"k\"", Some("AES-128")),
            ("METHOD=AES-128,URI=k", Some("AES-128")),
            ("METHOD=\"SAMPLE-AES\",URI=\"k\"", Some("SAMPLE-AES")),
            ("URI=\"skd://x,METHOD=NONE\",METHOD=SAMPLE-AES-CTR", Some("SAMPLE-AES-CTR")),
            ("garbage", Some("an unknown method")),
            ("", Some("an unknown method")),
            ("METHOD=NONE", None),
        ];
        for (attributes, want) in cases {
            let found = media(&format!("#EXT-X-KEY:{attributes}\na.ts\n"));
            assert_eq!(found.protected.as_deref(), want, "{attributes}");
        }
        assert!(media("a\n#EXT-X-KEY:METHOD=AES-128\nb\n#EXT-X-KEY:METHOD=NONE\nc\n").protected.is_some());
        assert!(
            master("#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv\n")
                .protected
                .is_some()
        );
    }

    #[test]
    fn a_master_playlist() {
        let found = master(
            "#EXT-X-SESSION-DATA:DATA-ID=\"com.apple.hls.title\",VALUE=\"A film\"\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"de\",LANGUAGE=\"de\",URI=\"de-hi.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"lo\",NAME=\"de\",LANGUAGE=\"de\",URI=\"de-lo.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"en\",LANGUAGE=\"en\"\n\
             #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"en\",LANGUAGE=\"en\",URI=\"s.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=100,RESOLUTION=160x90,CODECS=\"avc1.4d,mp4a.40.2\"\nl.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=900,RESOLUTION=1280x720\nh.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=50,CODECS=\"mp4a.40.2\"\nsound.m3u8\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://a.example/v/list.m3u8?token=1\n",
        );
        assert_eq!(found.title.as_deref(), Some("A film"));
        let media: Vec<Media> = found
            .playlists()
            .map(|url| Media { url: url.into(), ended: true, ..media("#EXTINF:4,\na.ts\n") })
            .collect();
        let assembly = found.assembly(|url| media.iter().find(|m| m.url == url)).unwrap();
        let shape: Vec<_> =
            assembly.tracks.iter().map(|t| (t.kind, t.language.as_deref(), t.variants.len())).collect();
        assert_eq!(
            shape,
            [
                (TrackKind::Video, None, 2),
                (TrackKind::Audio, Some("de"), 2),
                (TrackKind::Subtitles, Some("en"), 1)
            ],
            "sound only is no quality of pictures, and no playlist is its own variant"
        );
        assert_eq!(assembly.tracks[0].variants[0].height, Some(720), "the best first");
        assert!(assembly.ended);
        assert_eq!(found.assembly(|_| None), None);
    }

    #[test]
    fn windows_of_a_live_stream() {
        let window = |from: u64, to: u64| {
            let lines = (from..to)
                .fold(format!("#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{from}\n"), |t, n| {
                    t + &format!("#EXTINF:4,\ns{n}.ts?t={from}\n")
                });
            media(&lines)
        };
        let mut live = window(5, 8);
        assert!(live.unite(&window(6, 10)), "tokens change");
        assert!(live.unite(&window(12, 13)));
        let slots = &live.assembly().tracks[0].variants[0].slots;
        let starts: Vec<_> = slots.iter().map(|s| s.start.as_secs()).collect();
        assert_eq!(starts, [0, 4, 8, 12, 16, 20, 28], "two segments that no window had are one gap");
        assert_eq!(slots[5].of, Ref::whole(""));
        let other = media("#EXT-X-MEDIA-SEQUENCE:6\nother.ts\n");
        assert!(!live.unite(&other), "another stream at the same address");
        let skipped = media("#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:4,\ns8.ts\n");
        assert!(live.unite(&skipped));
        let gap = media("#EXT-X-GAP\n#EXTINF:4,\na\n#EXTINF:4,\nb\n");
        assert_eq!(names(&gap), ["b"]);
    }

    #[test]
    fn hostile() {
        let many = |n: usize| "#EXTINF:1,\na\n".repeat(n);
        assert_eq!(parse(format!("#EXTM3U\n{}", many(100_000)).as_bytes(), URL), Err(Error::TooLarge));
        let streams = "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n".repeat(100_000);
        assert_eq!(parse(format!("#EXTM3U\n{streams}").as_bytes(), URL), Err(Error::TooLarge));
        let long = format!("#EXTM3U\n#EXT-X-MAP:URI=\"{}\"\n{}", "x".repeat(60_000), many(40_000));
        assert_eq!(parse(long.as_bytes(), URL), Err(Error::TooLarge), "one long address for each segment");
        // Each of these took another reader quadratic time.
        for line in ["#EXT-X-KEY:\n", "#EXT-X-MEDIA:=\n", "#EXT-X-MEDIA:A=\"\n", "#EXT-X-MAP:,,,,\n"] {
            let _ = parse(format!("#EXTM3U\n{}", line.repeat(100_000)).as_bytes(), URL);
        }
        let far = media("#EXT-X-MEDIA-SEQUENCE:18446744073709551615\na\nb\n");
        assert_eq!(far.assembly().tracks[0].variants[0].slots.len(), far.segments.len());
        let mut near = media("#EXT-X-TARGETDURATION:3600\na\n");
        assert!(near.unite(&far));
        assert!(near.assembly().duration() < Duration::from_secs(1 << 40));
    }

    proptest! {
        #[test]
        fn never_panics(lines in prop::collection::vec("(#EXT(INF|-X-(KEY|MAP|MEDIA|STREAM-INF|BYTERANGE|SKIP|MEDIA-SEQUENCE|DISCONTINUITY))?)?:?[ -~\u{e9}]{0,20}", 0..40)) {
            if let Ok(Playlist::Media(media)) = parse(format!("#EXTM3U\n{}", lines.join("\n")).as_bytes(), URL) {
                let _ = media.assembly().duration();
            }
        }
    }
}
