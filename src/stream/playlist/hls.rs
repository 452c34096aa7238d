//! HLS playlists (RFC 8216 and its successor draft-pantos-hls-rfc8216bis): what they say, and the
//! video that they describe together.

mod read;

use std::{collections::BTreeMap, time::Duration};

pub use read::parse;

use super::address::{self, TooLong};
use crate::stream::{Assembly, Part, Ref, Slot, Track, TrackKind, Variant};

/// Segments in one playlist: a day of two-second ones.
const MAX_SEGMENTS: usize = 50_000;

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
    /// Where its bytes are; `None` where the stream itself has a gap (`EXT-X-GAP`, an address that
    /// can't be loaded), and for the last one of which only parts are listed.
    pub of: Option<Ref>,
    /// `EXT-X-MAP`.
    pub init: Option<Ref>,
    /// `EXT-X-PART`: the same bytes in parts, as far as they were listed.
    pub parts: Vec<Part>,
    /// `EXTINF`; of one that is not listed yet, as long as its parts are.
    pub duration: Duration,
    /// Discontinuities before it since the stream began (`EXT-X-DISCONTINUITY-SEQUENCE` counted).
    pub discontinuity: u32,
}

impl From<TooLong> for Error {
    fn from(_: TooLong) -> Self {
        Self::TooLarge
    }
}

impl Media {
    /// Adds what a later version of the same playlist brings. Returns false, and changes nothing,
    /// if it is not the same stream: a number that names another segment than before.
    pub fn unite(&mut self, later: &Self) -> bool {
        let same = |a: &Segment, b: &Segment| match (&a.of, &b.of) {
            (Some(a), Some(b)) => {
                address::without_query(&a.url) == address::without_query(&b.url)
                    && a.range == b.range
            }
            _ => true,
        };
        let clash = later
            .segments
            .iter()
            .any(|(n, s)| self.segments.get(n).is_some_and(|old| !same(old, s)));
        if clash || self.segments.len() + later.segments.len() > 2 * MAX_SEGMENTS {
            return false;
        }
        for (number, segment) in &later.segments {
            let slot = self
                .segments
                .entry(*number)
                .or_insert_with(|| segment.clone());
            // Parts are listed near the end only: a later version has more of them, or none any
            // more.
            let parts = if slot.parts.len() < segment.parts.len() {
                &segment.parts
            } else {
                &slot.parts
            };
            let parts = parts.clone();
            if slot.of.is_none() {
                *slot = segment.clone();
            }
            slot.parts = parts;
        }
        self.ended |= later.ended;
        self.target = self.target.max(later.target);
        self.protected = self.protected.take().or_else(|| later.protected.clone());
        true
    }

    /// Slots with the segment `first` at `origin`. Numbers that no version had are stretches
    /// without an address.
    fn slots(&self, first: u64, origin: Duration) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::with_capacity(self.segments.len());
        let (mut start, mut next) = (origin, first);
        for (&number, segment) in &self.segments {
            let skipped = u32::try_from(number.saturating_sub(next))
                .unwrap_or(0)
                .min(MAX_SEGMENTS as u32);
            if skipped > 0 {
                let duration = self.target.saturating_mul(skipped);
                let of = Ref::whole("");
                let (parts, discontinuity) = (Vec::new(), segment.discontinuity);
                slots.push(Slot {
                    of,
                    parts,
                    init: None,
                    start,
                    duration,
                    discontinuity,
                });
                start = start.saturating_add(duration);
            }
            slots.push(Slot {
                of: segment.of.clone().unwrap_or_else(|| Ref::whole("")),
                parts: segment.parts.clone(),
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
        self.segments
            .range(..number)
            .map(|(_, s)| s.duration)
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    /// A video of this playlist alone.
    pub fn assembly(&self) -> Assembly {
        let slots = self.slots(self.first(), Duration::ZERO);
        let variant = Variant {
            bandwidth: 0,
            height: None,
            slots,
        };
        Assembly {
            url: self.url.clone(),
            tracks: vec![Track {
                kind: TrackKind::Video,
                language: None,
                variants: vec![variant],
            }],
            ended: self.ended,
            protected: self.protected.clone(),
            title: None,
        }
    }
}

impl Master {
    /// The addresses of all media playlists that it names.
    pub fn playlists(&self) -> impl Iterator<Item = &str> {
        self.streams
            .iter()
            .map(|s| &*s.url)
            .chain(self.renditions.iter().map(|r| &*r.url))
    }

    /// The video that it describes, of those media playlists that `media` has: what was never
    /// loaded was never played. `None` when there is none.
    pub fn assembly<'m>(&self, media: impl Fn(&str) -> Option<&'m Media>) -> Option<Assembly> {
        let mut seen = std::collections::HashSet::new();
        let mut load =
            |url: &str| media(url).filter(|m| m.url != self.url && seen.insert(m.url.clone()));
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
            let kind = if all_sound {
                TrackKind::Audio
            } else {
                TrackKind::Video
            };
            groups.push((
                kind,
                None,
                "",
                streams
                    .into_iter()
                    .map(|(s, m)| (s.bandwidth, s.height, m))
                    .collect(),
            ));
        }
        for rendition in &self.renditions {
            let Some(media) = load(&rendition.url) else {
                continue;
            };
            let same =
                |(kind, language, name, _): &&mut (TrackKind, Option<String>, &str, Vec<_>)| {
                    *kind == rendition.kind
                        && *language == rendition.language
                        && *name == rendition.name
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
        let all = || {
            groups
                .iter()
                .flat_map(|(_, _, _, v)| v.iter().map(|(_, _, m)| *m))
        };
        let reference = all().min_by_key(|m| m.first())?;
        let (ended, protected) = (
            all().all(|m| m.ended),
            all().find_map(|m| m.protected.clone()),
        );
        let slots = |m: &Media| m.slots(m.first(), reference.start_of(m.first()));
        let tracks = groups
            .iter()
            .map(|(kind, language, _, variants)| Track {
                kind: *kind,
                language: language.clone(),
                variants: variants
                    .iter()
                    .map(|&(bandwidth, height, m)| Variant {
                        bandwidth,
                        height,
                        slots: slots(m),
                    })
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
mod tests;
