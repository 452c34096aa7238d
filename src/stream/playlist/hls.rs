//! HLS playlists (RFC 8216 and its successor draft-pantos-hls-rfc8216bis), and the videos that they
//! describe.

mod read;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

pub use read::parse;

use crate::stream::{
    Assembly, Init, PartialSegment, Ref, Slot, Track, TrackKind, Variant,
    address::{self, TooLong},
    protection,
};

/// Segments in one playlist: a day of two-second ones.
const MAX_SEGMENTS: usize = 50_000;

/// Why a text is not a playlist that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HlsError {
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
    /// Groups of which one rendition has no playlist: its sound lies beside the pictures.
    pub muxed: Vec<String>,
    /// `com.apple.hls.title`.
    pub title: Option<String>,
}

/// `EXT-X-STREAM-INF`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Address of its media playlist.
    pub url: String,
    /// Its group of sound renditions.
    pub audio: Option<String>,
    /// Bits per second; 0 if the playlist doesn't say.
    pub bandwidth: u64,
    /// Picture height in pixels.
    pub height: Option<u32>,
    /// The playlist lists codecs, and none of them is of pictures.
    pub audio_only: bool,
}

/// `EXT-X-MEDIA` with an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendition {
    /// Sound or subtitles.
    pub kind: TrackKind,
    /// `GROUP-ID`.
    pub group: String,
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
    /// It leaves out segments that an earlier version lists (`EXT-X-SKIP`).
    pub delta: bool,
    /// It numbers its discontinuities (`EXT-X-DISCONTINUITY-SEQUENCE`).
    pub counts_discontinuities: bool,
    /// The sender began anew between two versions: what was lost in between is unknown.
    pub restarted: bool,
}

/// One segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Where its bytes are; `None` where the stream itself has a gap (`EXT-X-GAP`, an address that
    /// can't be loaded), and for the last one of which only parts are listed.
    pub of: Option<Ref>,
    /// `EXT-X-MAP`.
    pub init: Init,
    /// `EXT-X-PART`: the same bytes in parts, as far as they were listed.
    pub parts: Vec<PartialSegment>,
    /// How it is encrypted: the method's name.
    pub protected: Option<String>,
    /// `EXTINF`; if the segment is not listed yet, the sum of its parts.
    pub duration: Duration,
    /// Discontinuities before it since the stream began (`EXT-X-DISCONTINUITY-SEQUENCE` counted).
    pub discontinuity: u32,
}

impl From<TooLong> for HlsError {
    fn from(_: TooLong) -> Self {
        Self::TooLarge
    }
}

/// What is added to the numbers of a later version.
#[derive(Clone, Copy, Debug, Default)]
struct Renumbering {
    number: i64,
    discontinuity: i32,
    restarted: bool,
}

impl Media {
    /// Adds what a later version of the same playlist brings. Returns false, and changes nothing,
    /// if it is not the same stream.
    ///
    /// Numbers name segments only if the sender counts correctly. Some never count up, some start
    /// over: then the segments that both versions list show which number is which.
    ///
    /// Where the versions name one segment by two addresses, the one that is `held` stays.
    pub fn unite(&mut self, later: &Self, held: &dyn Fn(&Ref) -> bool) -> bool {
        if self.segments.len() + later.segments.len() > 2 * MAX_SEGMENTS {
            return false;
        }
        let Some(join) = self.join(later) else {
            return false;
        };
        for (number, segment) in &later.segments {
            let Some(number) = number.checked_add_signed(join.number) else {
                continue;
            };
            let mut segment = segment.clone();
            segment.discontinuity = segment
                .discontinuity
                .saturating_add_signed(join.discontinuity);
            let slot = self
                .segments
                .entry(number)
                .or_insert_with(|| segment.clone());
            // Parts are listed near the end only: a later version has more of them, or none any
            // more.
            let parts = if slot.parts.len() < segment.parts.len() {
                &segment.parts
            } else {
                &slot.parts
            };
            let parts = parts.clone();
            let better = |of: &Ref| segment.of.as_ref().is_some_and(held) && !held(of);
            if slot.of.as_ref().is_none_or(better) {
                *slot = segment;
            }
            slot.parts = parts;
        }
        self.ended |= later.ended;
        self.restarted |= join.restarted;
        self.target = self.target.max(later.target);
        true
    }

    /// Whether no two segments have one path.
    fn have_own_paths(&self) -> bool {
        let mut seen = HashSet::new();
        let mut all = self.segments.values().filter_map(|s| s.of.as_ref());
        all.all(|of| seen.insert((address::without_query(&of.url), &of.range)))
    }

    /// How the numbers of a later version become ours.
    fn join(&self, later: &Self) -> Option<Renumbering> {
        // Tokens in queries change. If every segment has a path of its own, only the paths are
        // compared.
        let by_path = self.have_own_paths() && later.have_own_paths();
        let same = |a: &Segment, b: &Segment| match (&a.of, &b.of) {
            (Some(a), Some(b)) => {
                let path = address::without_query;
                a.is_same(b) || by_path && a.range == b.range && path(&a.url) == path(&b.url)
            }
            _ => true,
        };
        // Our segments and the later ones with the same number, if `by` is added to theirs.
        let common = |by: i64| {
            later.segments.iter().filter_map(move |(number, theirs)| {
                let ours = self.segments.get(&number.checked_add_signed(by)?)?;
                Some((ours, theirs))
            })
        };
        let agree = |by: i64| common(by).all(|(ours, theirs)| same(ours, theirs));
        let discontinuity = |by: i64| {
            let (ours, theirs) = common(by).next()?;
            Some(ours.discontinuity as i32 - theirs.discontinuity as i32)
        };
        let as_counted = agree(0);
        if as_counted && let Some(discontinuity) = discontinuity(0) {
            return Some(Renumbering {
                discontinuity,
                ..Renumbering::default()
            });
        }
        let (first, last) = (
            later.segments.first_key_value()?,
            self.segments.last_key_value()?,
        );
        // Otherwise we look for the later one's first segment among ours. The last place at which
        // nothing contradicts is taken, since windows slide forward.
        let found = self.segments.iter().rev().find_map(|(number, segment)| {
            let known = segment.of.is_some() && first.1.of.is_some() && same(segment, first.1);
            let by = (*number as i64)
                .checked_sub(*first.0 as i64)
                .filter(|_| known)?;
            agree(by).then_some(by)
        });
        if let Some(by) = found {
            let discontinuity = discontinuity(by)?;
            return Some(Renumbering {
                number: by,
                discontinuity,
                restarted: false,
            });
        }
        // They have nothing in common: the window has moved on, or the sender began anew with
        // segments of the same kind. What lies in between is unknown, so the clocks may differ.
        let next = last.1.discontinuity.saturating_add(1) as i32 - first.1.discontinuity as i32;
        if as_counted && *first.0 > *last.0 {
            // A delta update doesn't say what it leaves out.
            let told = self.counts_discontinuities && later.counts_discontinuities && !later.delta;
            let discontinuity = if told { 0 } else { next.max(0) };
            return Some(Renumbering {
                number: 0,
                discontinuity,
                restarted: false,
            });
        }
        let alike = match (&first.1.of, &last.1.of) {
            (Some(a), Some(b)) => address::pattern(&a.url) == address::pattern(&b.url),
            _ => false,
        };
        let number = (*last.0 as i64 + 1).checked_sub(*first.0 as i64)?;
        alike.then_some(Renumbering {
            number,
            discontinuity: next,
            restarted: true,
        })
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
                let of = None;
                let (parts, discontinuity) = (Vec::new(), segment.discontinuity);
                slots.push(Slot {
                    of,
                    parts,
                    init: Init::Own,
                    protected: None,
                    start,
                    duration,
                    discontinuity,
                });
                start = start.saturating_add(duration);
            }
            slots.push(Slot {
                of: segment.of.clone(),
                parts: segment.parts.clone(),
                init: segment.init.clone(),
                protected: segment.protected.clone(),
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
        let tracks = vec![Track {
            kind: TrackKind::Video,
            language: None,
            variants: vec![variant],
        }];
        Assembly {
            url: self.url.clone(),
            ended: self.ended && !self.restarted,
            protected: protection(&tracks),
            tracks,
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

    /// The video that it describes, made of the media playlists that `media` has: one that was
    /// never loaded was never played. `None` when there is none.
    pub fn assembly<'m>(&'m self, media: impl Fn(&str) -> Option<&'m Media>) -> Option<Assembly> {
        let mut seen = HashSet::new();
        let mut load =
            |url: &str| media(url).filter(|m| m.url != self.url && seen.insert(m.url.clone()));
        let all_sound = self.streams.iter().all(|s| s.audio_only);
        let mut streams: Vec<(&Stream, &Media)> = self
            .streams
            .iter()
            .filter(|s| all_sound || !s.audio_only)
            .filter_map(|s| Some((s, load(&s.url)?)))
            .collect();
        let played: Vec<&Stream> = streams.iter().map(|(s, _)| *s).collect();
        streams.sort_by_key(|(s, _)| std::cmp::Reverse((s.height, s.bandwidth)));
        let kind = match all_sound {
            true => TrackKind::Audio,
            false => TrackKind::Video,
        };
        let mut groups = Vec::from_iter(Group::of_streams(kind, streams));
        for rendition in &self.renditions {
            if let Some(media) = load(&rendition.url) {
                Group::add(&mut groups, rendition, media);
            }
        }
        // The playlist that starts with the lowest number gives the time line for the others.
        let all = || groups.iter().flat_map(|g| &g.qualities).map(|q| q.media);
        let reference = all().min_by_key(|m| m.first())?;
        let ended = all().all(|m| m.ended && !m.restarted);
        let mut tracks: Vec<Track> = groups.iter().map(|g| g.track(reference)).collect();
        tracks.extend(self.unloaded_sound(&tracks, &played));
        Some(Assembly {
            url: self.url.clone(),
            ended,
            protected: protection(&tracks),
            tracks,
            title: self.title.clone(),
        })
    }

    /// Sound that has a playlist of its own of which nothing is held: the pictures alone are not
    /// the video.
    fn unloaded_sound(&self, tracks: &[Track], played: &[&Stream]) -> Option<Track> {
        let apart = |group: &String| {
            let own = |r: &Rendition| r.kind == TrackKind::Audio && r.group == *group;
            self.renditions.iter().any(own) && !self.muxed.contains(group)
        };
        if tracks.iter().any(|t| t.kind == TrackKind::Audio) || played.is_empty() {
            return None;
        }
        if !played.iter().all(|s| s.audio.as_ref().is_some_and(apart)) {
            return None;
        }
        let pictures = tracks.iter().find(|t| t.kind == TrackKind::Video)?;
        let slots = pictures.variants.first()?.slots.iter().map(|slot| Slot {
            of: None,
            parts: Vec::new(),
            init: Init::Own,
            ..slot.clone()
        });
        Some(Track {
            kind: TrackKind::Audio,
            language: None,
            variants: vec![Variant {
                bandwidth: 0,
                height: None,
                slots: slots.collect(),
            }],
        })
    }
}

/// The playlists of one track, each of another quality.
struct Group<'a> {
    kind: TrackKind,
    language: Option<&'a str>,
    name: &'a str,
    qualities: Vec<Quality<'a>>,
}

struct Quality<'a> {
    media: &'a Media,
    bandwidth: u64,
    height: Option<u32>,
}

impl<'a> Group<'a> {
    /// All qualities of the whole.
    fn of_streams(kind: TrackKind, streams: Vec<(&'a Stream, &'a Media)>) -> Option<Self> {
        let qualities = streams.into_iter().map(|(stream, media)| Quality {
            media,
            bandwidth: stream.bandwidth,
            height: stream.height,
        });
        let qualities: Vec<_> = qualities.collect();
        (!qualities.is_empty()).then_some(Self {
            kind,
            language: None,
            name: "",
            qualities,
        })
    }

    /// Adds a rendition to the group of its language and name, or as a new one.
    fn add(groups: &mut Vec<Self>, rendition: &'a Rendition, media: &'a Media) {
        let (kind, language) = (rendition.kind, rendition.language.as_deref());
        let name = &*rendition.name;
        let same = |g: &&mut Self| (g.kind, g.language, g.name) == (kind, language, name);
        let quality = Quality {
            media,
            bandwidth: 0,
            height: None,
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.qualities.push(quality),
            None => groups.push(Self {
                kind,
                language,
                name,
                qualities: vec![quality],
            }),
        }
    }

    /// The track, on the time line of `reference`.
    fn track(&self, reference: &Media) -> Track {
        let variants = self.qualities.iter().map(|quality| {
            let first = quality.media.first();
            Variant {
                bandwidth: quality.bandwidth,
                height: quality.height,
                slots: quality.media.slots(first, reference.start_of(first)),
            }
        });
        Track {
            kind: self.kind,
            language: self.language.map(str::to_owned),
            variants: variants.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
