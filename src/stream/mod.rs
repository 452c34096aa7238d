//! Videos that came in pieces, put together from the browsers' disk caches.
//!
//! Most sites send a video as a playlist and many segments, or as ranges of one address. A
//! browser's HTTP cache keeps every answer as a file of its own, so what was watched can be put
//! together without downloading a byte.
//!
//! A playlist becomes an [`Assembly`]: which bytes of which address fill which stretch of time. The
//! writer takes an assembly and [`Pieces`] and knows nothing of caches, files in them, or browsers.
//!
//! | room | what it is about |
//! |---|---|
//! | [`cache`] | what a file of a browser's disk cache is: both formats, ranges, decoding |
//! | [`playlist`] | HLS and DASH, and order where no playlist was stored |
//! | [`collect`] | what is held, by site; when a video is due |
//! | [`join`] | the choice among qualities, and the writing of one file |

use std::{ops::Range, sync::Arc, time::Duration};

mod address;
pub mod body;
pub mod cache;
pub mod collect;
pub mod decode;
pub mod join;
pub mod playlist;

pub use body::{Body, OpenBody, Opened, Storage};

/// One answer that a browser stored: a playlist, a segment, ranges of a file, or a whole file.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The address that it came from, absolute, with its query.
    pub url: String,
    /// Who may see it: the browser's partition, as the browser writes it. Compared, never parsed
    /// for meaning.
    pub partition: String,
    /// HTTP status: 200 or 206.
    pub status: u16,
    /// The `Content-Type` header, lower case, without parameters.
    pub content_type: Option<String>,
    /// The `Content-Encoding` header, lower case.
    pub encoding: Option<String>,
    /// The `ETag` header, or `Last-Modified` where there is none: ranges with different ones don't
    /// mix.
    pub validator: Option<String>,
    /// The name that the server gave the file: `Content-Disposition`.
    pub file_name: Option<String>,
    /// The bytes.
    pub body: Body,
}

/// Bytes of an address: all of them, or a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ref {
    /// Absolute address.
    pub url: String,
    /// First byte and the one after the last; the whole body when absent.
    pub range: Option<Range<u64>>,
}

/// The held pieces of one browser, profile and partition.
pub trait Pieces {
    /// The piece that has every byte of `of`, by its exact address. Where several have, the newest. `range` is relative to the start of [`Piece::body`].
    fn get(&self, of: &Ref) -> Option<&Piece>;
}

/// A playlist that was stored, in every version: a live one is replaced as its window slides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Absolute address.
    pub url: String,
    /// Decoded texts, the oldest first.
    pub versions: Vec<Arc<str>>,
}

/// A video as its playlist describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembly {
    /// Address of the playlist, the outermost one; of the first segment when there was none.
    pub url: String,
    /// Pictures (with or without sound in the same segments), sound, subtitles.
    pub tracks: Vec<Track>,
    /// Whether nothing more can come: `EXT-X-ENDLIST`, a static MPD. Without it the true end is
    /// unknown.
    pub ended: bool,
    /// How most of it is encrypted ("AES-128", "DRM"): such a stream is left alone.
    pub protected: Option<String>,
    /// The playlist's own title, if it has one.
    pub title: Option<String>,
}

/// What a track is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures, perhaps with sound in the same segments.
    Video,
    /// Sound only.
    Audio,
    /// WebVTT.
    Subtitles,
}

/// One thing to be seen or heard, in one or more qualities.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// What it is.
    pub kind: TrackKind,
    /// Language tag (RFC 5646), if the playlist has it.
    pub language: Option<String>,
    /// The same content in different qualities, the best first.
    pub variants: Vec<Variant>,
}

/// One quality of a track.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Bits per second; 0 if the playlist doesn't say.
    pub bandwidth: u64,
    /// Picture height in pixels, if the playlist has it.
    pub height: Option<u32>,
    /// In order of time, without overlap.
    pub slots: Vec<Slot>,
}

/// A stretch of time and the bytes that fill it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The segment; `None` where the stream itself has a gap.
    pub of: Option<Ref>,
    /// The segment again, in parts, for players that didn't wait for its end.
    pub parts: Vec<PartialSegment>,
    /// Where its initialisation segment is (`EXT-X-MAP`, `Initialization`).
    pub init: Init,
    /// How it is encrypted ("AES-128", "DRM"): such a segment is left alone.
    pub protected: Option<String>,
    /// Start on the video's own time line, from 0.
    pub start: Duration,
    /// How long it lasts.
    pub duration: Duration,
    /// Counts the discontinuities before it (DASH: the period): where it changes, time stamps and
    /// codecs may.
    pub discontinuity: u32,
}

/// Where the initialisation segment of a slot is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Init {
    /// It needs none, or brings its own.
    #[default]
    Own,
    /// At this address.
    At(Ref),
    /// It needs one, and nothing says where that is.
    Unknown,
}

impl Init {
    /// Its address, if it has one.
    pub fn at(&self) -> Option<&Ref> {
        match self {
            Self::At(of) => Some(of),
            Self::Own | Self::Unknown => None,
        }
    }
}

/// A partial segment (draft-pantos-hls-rfc8216bis, 4.4.4.9).
#[derive(Clone, Debug, PartialEq)]
pub struct PartialSegment {
    /// Its bytes; `None` for a gap (`GAP=YES`), which takes its time nevertheless.
    pub of: Option<Ref>,
    /// How long it lasts.
    pub duration: Duration,
}

impl Ref {
    /// Whether both name the same bytes, credentials aside.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.range == other.range
            && (self.url == other.url
                || address::identity(&self.url) == address::identity(&other.url))
    }

    /// All bytes of an address.
    pub fn whole(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            range: None,
        }
    }
}

/// How a video is encrypted: of its pictures, or of its sound, at least half of the time. If less
/// is encrypted, perhaps advertisements, that is only missing.
pub(crate) fn protection(tracks: &[Track]) -> Option<String> {
    let media = tracks.iter().filter(|t| t.kind != TrackKind::Subtitles);
    media
        .filter_map(|t| t.variants.first())
        .find_map(|variant| {
            let time = |slots: &mut dyn Iterator<Item = &Slot>| {
                slots.map(|s| s.duration).sum::<Duration>()
            };
            let all = time(&mut variant.slots.iter());
            let gone = time(&mut variant.slots.iter().filter(|s| s.protected.is_some()));
            let how = variant.slots.iter().find_map(|s| s.protected.clone());
            how.filter(|_| gone * 2 >= all)
        })
}

impl Assembly {
    /// Every address that it may need: segments, their parts and initialisation segments of every
    /// variant.
    pub fn refs(&self) -> impl Iterator<Item = &Ref> {
        let slots = self
            .tracks
            .iter()
            .flat_map(|t| &t.variants)
            .flat_map(|v| &v.slots);
        slots.flat_map(|s| {
            let parts = s.parts.iter().filter_map(|p| p.of.as_ref());
            s.init.at().into_iter().chain(&s.of).chain(parts)
        })
    }

    /// How long it is: the end of the last slot of the longest track.
    pub fn duration(&self) -> Duration {
        let slots = self
            .tracks
            .iter()
            .flat_map(|t| &t.variants)
            .filter_map(|v| v.slots.last());
        slots
            .map(|s| s.start.saturating_add(s.duration))
            .max()
            .unwrap_or_default()
    }
}
