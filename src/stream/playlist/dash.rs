//! DASH manifests (ISO/IEC 23009-1): segment templates with numbers and times, time lines, lists,
//! and single files with an index.
//!
//! Read with `quick-xml`, which expands no entities; the crate `dash-mpd` brings an HTTP client
//! along and keeps every attribute of the standard, of which a dozen are needed here.

mod source;

use std::{collections::BTreeMap, time::Duration};

use source::Source;
use url::Url;

use super::xml::{self, Node};
use crate::stream::{
    Assembly, Init, Pieces, Slot, Track, TrackKind, Variant,
    address::{self, Resolver, TooLong},
    protection,
};

/// The longest manifest that is read. A day of a live stream's time line has 2 MB.
const MAX_TEXT: usize = 16 << 20;
/// Representations in all periods.
const MAX_REPRESENTATIONS: usize = 2_000;
/// Alternatives to one address.
const MAX_BASES: usize = 6;
const NANOS: u128 = 1_000_000_000;

/// Why a text is not a manifest that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DashError {
    /// Not XML, or with a document type.
    #[error("not a DASH manifest")]
    NotDash,
    /// Its own address is not one of the network.
    #[error("the manifest's own address is not http or https")]
    Address,
    /// No pictures and no sound.
    #[error("a DASH manifest without segments")]
    Empty,
    /// A live stream that counts its segments by the wall clock.
    #[error("a live DASH manifest that doesn't list its segments")]
    Clock,
    /// More of something than a video has.
    #[error("a DASH manifest larger than any video's")]
    TooLarge,
}

impl From<TooLong> for DashError {
    fn from(_: TooLong) -> Self {
        Self::TooLarge
    }
}

impl From<xml::XmlError> for DashError {
    fn from(error: xml::XmlError) -> Self {
        match error {
            xml::XmlError::TooLarge => Self::TooLarge,
            xml::XmlError::Malformed | xml::XmlError::DocumentType => Self::NotDash,
        }
    }
}

/// The video that a manifest from `url` describes. `pieces` shows which of several servers was used
/// and which representations were played at all (the others are left out), and has the indexes of
/// single files.
///
/// # Errors
/// [`DashError`]
pub fn assembly(text: &[u8], url: &str, pieces: &dyn Pieces) -> Result<Assembly, DashError> {
    if text.len() > MAX_TEXT {
        return Err(DashError::TooLarge);
    }
    let root = xml::parse(String::from_utf8_lossy(text).trim_start_matches('\u{feff}'))?;
    if root.name != "MPD" {
        return Err(DashError::NotDash);
    }
    let base = address::base(url).ok_or(DashError::Address)?;
    let mut manifest = Manifest {
        pieces,
        resolver: Resolver::default(),
        live: root.attribute("type") == Some("dynamic"),
        tracks: Vec::new(),
        representations: 0,
    };
    let bases = bases(&root, &[base]);
    let periods: Vec<&Node> = root.all("Period").collect();
    let total = root.attribute("mediaPresentationDuration").map(duration);
    let mut start = Duration::ZERO;
    for (number, period) in (0..).zip(&periods) {
        start = period.attribute("start").map_or(start, duration);
        let next = periods
            .get(number as usize + 1)
            .and_then(|p| p.attribute("start"))
            .map(duration);
        let length = period.attribute("duration").map(duration);
        let length = length.or_else(|| next.or(total).and_then(|end| end.checked_sub(start)));
        let scope = Scope {
            bases: self::bases(period, &bases),
            start,
            length,
            number,
        };
        manifest.period(period, &scope)?;
        start = start.saturating_add(length.unwrap_or_default());
    }
    manifest.finish(url, title(&root))
}

fn title(root: &Node) -> Option<String> {
    let title = root
        .child("ProgramInformation")?
        .child("Title")?
        .text
        .trim();
    (!title.is_empty()).then(|| title.to_owned())
}

/// The properties of a whole period.
struct Scope {
    bases: Vec<Url>,
    start: Duration,
    length: Option<Duration>,
    number: u32,
}

struct Manifest<'a> {
    pieces: &'a dyn Pieces,
    resolver: Resolver,
    live: bool,
    tracks: Vec<Building>,
    representations: usize,
}

/// A track that is being put together, period by period.
struct Building {
    kind: TrackKind,
    language: Option<String>,
    /// The number of its adaptation set among those of its kind and language.
    nth: usize,
    /// By representation id.
    variants: Vec<(String, Variant)>,
}

impl Manifest<'_> {
    fn period(&mut self, period: &Node, scope: &Scope) -> Result<(), DashError> {
        let mut seen: Vec<(TrackKind, Option<&str>)> = Vec::new();
        for set in period.all("AdaptationSet").filter(|s| !is_trick(s)) {
            let Some(kind) = kind(set) else { continue };
            let language = set.attribute("lang");
            let nth = seen.iter().filter(|s| **s == (kind, language)).count();
            seen.push((kind, language));
            let at = self
                .tracks
                .iter()
                .position(|t| t.kind == kind && t.language.as_deref() == language && t.nth == nth);
            let at = at.unwrap_or_else(|| {
                let language = language.map(str::to_owned);
                self.tracks.push(Building {
                    kind,
                    language,
                    nth,
                    variants: Vec::new(),
                });
                self.tracks.len() - 1
            });
            let set_bases = bases(set, &scope.bases);
            for representation in set.all("Representation") {
                self.representations += 1;
                if self.representations > MAX_REPRESENTATIONS {
                    return Err(DashError::TooLarge);
                }
                let levels = [period, set, representation];
                let mut slots = self.slots(levels, &bases(representation, &set_bases), scope)?;
                let protected = [set, representation]
                    .iter()
                    .any(|level| level.child("ContentProtection").is_some());
                if protected {
                    slots
                        .iter_mut()
                        .for_each(|s| s.protected = Some("DRM".into()));
                }
                self.add(at, representation, set, slots);
            }
        }
        Ok(())
    }

    /// Appends the slots of one period to those of the same representation in earlier ones.
    fn add(&mut self, track: usize, representation: &Node, set: &Node, slots: Vec<Slot>) {
        let id = representation.attribute("id").unwrap_or_default();
        let number = |name| representation.number(name).or_else(|| set.number(name));
        let bandwidth = representation.number("bandwidth").unwrap_or(0);
        let height = number("height");
        let variants = &mut self.tracks[track].variants;
        let alike = |v: &Variant| v.bandwidth == bandwidth && v.height == height;
        let found = variants
            .iter()
            .position(|(i, v)| i == id && v.height == height);
        match found.or_else(|| variants.iter().position(|(_, v)| alike(v))) {
            Some(i) => variants[i].1.slots.extend(slots),
            None => variants.push((
                id.to_owned(),
                Variant {
                    bandwidth,
                    height,
                    slots,
                },
            )),
        }
    }

    /// The slots of a representation, each at whichever of its addresses it is held: the servers of
    /// one manifest have the same (5.6.5).
    fn slots(
        &mut self,
        levels: [&Node; 3],
        bases: &[Url],
        scope: &Scope,
    ) -> Result<Vec<Slot>, DashError> {
        let mut all: Vec<Vec<Slot>> = Vec::new();
        for base in bases {
            let source = Source {
                levels,
                base,
                scope,
                pieces: self.pieces,
                live: self.live,
            };
            all.push(source.slots(&mut self.resolver)?);
        }
        let held = |slots: &Vec<Slot>| slots.iter().filter(|s| is_held(s, self.pieces)).count();
        let most = (0..all.len()).rev().max_by_key(|&i| held(&all[i]));
        let mut best = all.swap_remove(most.ok_or(DashError::Empty)?);
        let count = best.len();
        for other in all.iter().filter(|other| other.len() == count) {
            for (slot, other) in best.iter_mut().zip(other) {
                if !is_held(slot, self.pieces) && is_held(other, self.pieces) {
                    slot.of = other.of.clone();
                }
                let there = |init: &Init| init.at().is_some_and(|of| self.pieces.get(of).is_some());
                if !there(&slot.init) && there(&other.init) {
                    slot.init = other.init.clone();
                }
            }
        }
        Ok(best)
    }

    fn finish(self, url: &str, title: Option<String>) -> Result<Assembly, DashError> {
        let mut tracks = Vec::new();
        for building in self.tracks {
            let mut variants: Vec<Variant> =
                building.variants.into_iter().map(|(_, v)| v).collect();
            variants.retain(|v| !v.slots.is_empty());
            variants.sort_by_key(|v| std::cmp::Reverse((v.height, v.bandwidth)));
            let played = |v: &Variant| v.slots.iter().any(|s| is_held(s, self.pieces));
            if variants.iter().any(played) {
                variants.retain(played);
            } else {
                variants.truncate(1);
            }
            if !variants.is_empty() {
                tracks.push(Track {
                    kind: building.kind,
                    language: building.language,
                    variants,
                });
            }
        }
        if !tracks.iter().any(|t| t.kind != TrackKind::Subtitles) {
            return Err(DashError::Empty);
        }
        Ok(Assembly {
            url: url.into(),
            ended: !self.live,
            protected: protection(&tracks),
            tracks,
            title,
        })
    }
}

fn is_held(slot: &Slot, pieces: &dyn Pieces) -> bool {
    slot.of.as_ref().is_some_and(|of| pieces.get(of).is_some())
}

/// The base addresses of an element: each `BaseURL`, resolved against each of the outer ones.
fn bases(node: &Node, outer: &[Url]) -> Vec<Url> {
    let own: Vec<&str> = node
        .all("BaseURL")
        .map(|b| b.text.trim())
        .filter(|b| !b.is_empty())
        .collect();
    if own.is_empty() {
        return outer.to_vec();
    }
    let all = own
        .iter()
        .flat_map(|own| outer.iter().filter_map(|o| o.join(own).ok()));
    all.filter(|u| u.as_str().len() <= 64 << 10)
        .take(MAX_BASES)
        .collect()
}

fn kind(set: &Node) -> Option<TrackKind> {
    let representation = set.child("Representation");
    let mime = set
        .attribute("mimeType")
        .or_else(|| representation.and_then(|r| r.attribute("mimeType")));
    match (set.attribute("contentType"), mime) {
        (_, Some("text/vtt")) => Some(TrackKind::Subtitles),
        (Some("video"), _) => Some(TrackKind::Video),
        (Some("audio"), _) => Some(TrackKind::Audio),
        (None, Some(mime)) if mime.starts_with("video/") => Some(TrackKind::Video),
        (None, Some(mime)) if mime.starts_with("audio/") => Some(TrackKind::Audio),
        _ => None,
    }
}

/// Key frames for fast forward.
fn is_trick(set: &Node) -> bool {
    let properties = set
        .all("EssentialProperty")
        .chain(set.all("SupplementalProperty"));
    properties
        .filter_map(|p| p.attribute("schemeIdUri"))
        .any(|s| s.ends_with("trickmode"))
}

/// A duration of ISO 8601, of which manifests use days and shorter units. Any other text is zero.
fn duration(text: &str) -> Duration {
    let mut seconds = 0.0;
    let mut number = String::new();
    let mut in_time = false;
    for c in text.trim().chars() {
        let factor = match c {
            '0'..='9' | '.' if number.len() < 32 => {
                number.push(c);
                continue;
            }
            'P' => continue,
            'T' => {
                in_time = true;
                continue;
            }
            'Y' => 31_536_000.0,
            'M' if !in_time => 2_592_000.0,
            'D' => 86_400.0,
            'H' => 3600.0,
            'M' => 60.0,
            'S' => 1.0,
            _ => return Duration::ZERO,
        };
        seconds += std::mem::take(&mut number).parse::<f64>().unwrap_or(0.0) * factor;
    }
    Duration::try_from_secs_f64(seconds.clamp(0.0, 9e9)).unwrap_or_default()
}

/// Adds what a later version of the same live manifest brings.
pub fn unite(earlier: &mut Assembly, later: Assembly) {
    earlier.ended |= later.ended;
    earlier.protected = earlier.protected.take().or(later.protected);
    for track in later.tracks {
        let same = |t: &&mut Track| t.kind == track.kind && t.language == track.language;
        let Some(known) = earlier.tracks.iter_mut().find(same) else {
            earlier.tracks.push(track);
            continue;
        };
        for variant in track.variants {
            let same =
                |v: &&mut Variant| v.bandwidth == variant.bandwidth && v.height == variant.height;
            match known.variants.iter_mut().find(same) {
                Some(old) => {
                    let mut slots: BTreeMap<Duration, Slot> =
                        old.slots.drain(..).map(|s| (s.start, s)).collect();
                    for slot in variant.slots {
                        slots.entry(slot.start).or_insert(slot);
                    }
                    old.slots = slots.into_values().take(2 * source::MAX_SEGMENTS).collect();
                }
                None => known.variants.push(variant),
            }
        }
    }
}

/// Moves a live stream's time line, which begins when the sender was switched on, to where it was
/// watched from.
pub fn from_zero(assembly: &mut Assembly) {
    let slots = |a: &Assembly| {
        a.tracks
            .iter()
            .flat_map(|t| &t.variants)
            .filter_map(|v| v.slots.first())
            .map(|s| s.start)
            .min()
    };
    let first = slots(assembly).unwrap_or_default();
    for slot in assembly
        .tracks
        .iter_mut()
        .flat_map(|t| &mut t.variants)
        .flat_map(|v| &mut v.slots)
    {
        slot.start = slot.start.saturating_sub(first);
    }
}

#[cfg(test)]
mod tests;
