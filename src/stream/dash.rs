//! DASH manifests (ISO/IEC 23009-1): segment templates with numbers and times, time lines, lists, and single files
//! with an index.
//!
//! Read with `quick-xml`, which expands no entities; the crate `dash-mpd` brings an HTTP client along and keeps every
//! attribute of the standard, of which a dozen are needed here.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use url::Url;

use super::{
    Assembly, Pieces, Ref, Slot, Track, TrackKind, Variant,
    address::{self, Resolver, TooLong},
    fmp4,
    xml::{self, Node},
};

/// The longest manifest that is read. A day of a live stream's time line has 2 MB.
const MAX_TEXT: usize = 16 << 20;
/// Segments of one representation: a day of two-second ones.
const MAX_SEGMENTS: usize = 50_000;
/// Representations in all periods.
const MAX_REPRESENTATIONS: usize = 2_000;
/// Alternatives to one address.
const MAX_BASES: usize = 6;
const NANOS: u128 = 1_000_000_000;

/// Why a text is not a manifest that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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

impl From<TooLong> for Error {
    fn from(_: TooLong) -> Self {
        Self::TooLarge
    }
}

impl From<xml::Error> for Error {
    fn from(error: xml::Error) -> Self {
        match error {
            xml::Error::TooLarge => Self::TooLarge,
            xml::Error::Malformed | xml::Error::DocumentType => Self::NotDash,
        }
    }
}

/// The video that a manifest from `url` describes. `pieces` tells which of several servers was used and which
/// representations were played at all (the others are left out), and has the indexes of single files.
///
/// # Errors
/// [`Error`]
pub fn assembly(text: &[u8], url: &str, pieces: &dyn Pieces) -> Result<Assembly, Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::TooLarge);
    }
    let root = xml::parse(String::from_utf8_lossy(text).trim_start_matches('\u{feff}'))?;
    if root.name != "MPD" {
        return Err(Error::NotDash);
    }
    let base = address::base(url).ok_or(Error::Address)?;
    let mut manifest = Manifest {
        pieces,
        resolver: Resolver::default(),
        live: root.attribute("type") == Some("dynamic"),
        tracks: Vec::new(),
        protected: None,
        representations: 0,
    };
    let bases = bases(&root, &[base]);
    let periods: Vec<&Node> = root.all("Period").collect();
    let total = root.attribute("mediaPresentationDuration").map(duration);
    let mut start = Duration::ZERO;
    for (number, period) in (0..).zip(&periods) {
        start = period.attribute("start").map_or(start, duration);
        let next = periods.get(number as usize + 1).and_then(|p| p.attribute("start")).map(duration);
        let length = period.attribute("duration").map(duration);
        let length = length.or_else(|| next.or(total).and_then(|end| end.checked_sub(start)));
        let scope = Scope { bases: self::bases(period, &bases), start, length, number };
        manifest.period(period, &scope)?;
        start = start.saturating_add(length.unwrap_or_default());
    }
    manifest.finish(url, title(&root))
}

fn title(root: &Node) -> Option<String> {
    let title = root.child("ProgramInformation")?.child("Title")?.text.trim();
    (!title.is_empty()).then(|| title.to_owned())
}

/// What holds for a whole period.
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
    protected: Option<String>,
    representations: usize,
}

/// A track while its periods come together.
struct Building {
    kind: TrackKind,
    language: Option<String>,
    /// Which adaptation set of its kind and language.
    nth: usize,
    /// By representation id.
    variants: Vec<(String, Variant)>,
}

impl Manifest<'_> {
    fn period(&mut self, period: &Node, scope: &Scope) -> Result<(), Error> {
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
                self.tracks.push(Building { kind, language, nth, variants: Vec::new() });
                self.tracks.len() - 1
            });
            let set_bases = bases(set, &scope.bases);
            for representation in set.all("Representation") {
                self.representations += 1;
                if self.representations > MAX_REPRESENTATIONS {
                    return Err(Error::TooLarge);
                }
                if set
                    .all("ContentProtection")
                    .chain(representation.all("ContentProtection"))
                    .next()
                    .is_some()
                {
                    self.protected = Some("DRM".into());
                }
                let levels = [period, set, representation];
                let slots = self.slots(levels, &bases(representation, &set_bases), scope)?;
                self.add(at, representation, set, slots);
            }
        }
        Ok(())
    }

    /// Lays the slots of one period behind those of the same representation before.
    fn add(&mut self, track: usize, representation: &Node, set: &Node, slots: Vec<Slot>) {
        let id = representation.attribute("id").unwrap_or_default();
        let number = |name| representation.number(name).or_else(|| set.number(name));
        let bandwidth = representation.number("bandwidth").unwrap_or(0);
        let height = number("height");
        let variants = &mut self.tracks[track].variants;
        let alike = |v: &Variant| v.bandwidth == bandwidth && v.height == height;
        let found = variants.iter().position(|(i, v)| i == id && v.height == height);
        match found.or_else(|| variants.iter().position(|(_, v)| alike(v))) {
            Some(i) => variants[i].1.slots.extend(slots),
            None => variants.push((id.to_owned(), Variant { bandwidth, height, slots })),
        }
    }

    /// The slots of a representation, at whichever of its addresses most of them are held.
    fn slots(&mut self, levels: [&Node; 3], bases: &[Url], scope: &Scope) -> Result<Vec<Slot>, Error> {
        let mut best: Option<(usize, Vec<Slot>, Resolver)> = None;
        let before = self.resolver.clone();
        for base in bases {
            self.resolver = before.clone();
            let source = Source { levels, base, scope, pieces: self.pieces, live: self.live };
            let slots = source.slots(&mut self.resolver)?;
            let held = slots.iter().filter(|s| self.pieces.get(&s.of).is_some()).count();
            if best.as_ref().is_none_or(|(n, _, _)| held > *n) {
                best = Some((held, slots, self.resolver.clone()));
            }
        }
        let (_, slots, resolver) = best.ok_or(Error::Empty)?;
        self.resolver = resolver;
        Ok(slots)
    }

    fn finish(self, url: &str, title: Option<String>) -> Result<Assembly, Error> {
        let mut tracks = Vec::new();
        for building in self.tracks {
            let mut variants: Vec<Variant> = building.variants.into_iter().map(|(_, v)| v).collect();
            variants.retain(|v| !v.slots.is_empty());
            variants.sort_by_key(|v| std::cmp::Reverse((v.height, v.bandwidth)));
            let played = |v: &Variant| v.slots.iter().any(|s| self.pieces.get(&s.of).is_some());
            if variants.iter().any(played) {
                variants.retain(played);
            } else {
                variants.truncate(1);
            }
            if !variants.is_empty() {
                tracks.push(Track { kind: building.kind, language: building.language, variants });
            }
        }
        if !tracks.iter().any(|t| t.kind != TrackKind::Subtitles) {
            return Err(Error::Empty);
        }
        Ok(Assembly { url: url.into(), tracks, ended: !self.live, protected: self.protected, title })
    }
}

/// Where the segments of one representation in one period are.
struct Source<'a> {
    levels: [&'a Node; 3],
    base: &'a Url,
    scope: &'a Scope,
    pieces: &'a dyn Pieces,
    live: bool,
}

/// A segment on a time line: number, time and length in units of the time scale.
type Tick = (u64, u64, u64);

impl Source<'_> {
    /// The elements `name` from the outermost level to the innermost: inner ones inherit and override.
    fn inherited(&self, name: &str) -> Vec<&Node> {
        self.levels.iter().filter_map(|level| level.child(name)).collect()
    }

    fn slots(&self, resolver: &mut Resolver) -> Result<Vec<Slot>, Error> {
        let templates = self.inherited("SegmentTemplate");
        if !templates.is_empty() {
            return self.template(&templates, resolver);
        }
        let lists = self.inherited("SegmentList");
        if !lists.is_empty() {
            return self.list(&lists, resolver);
        }
        self.single(&self.inherited("SegmentBase"), resolver)
    }

    fn template(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Vec<Slot>, Error> {
        let Some(media) = attribute(nodes, "media") else { return Ok(Vec::new()) };
        let ticks = self.ticks(nodes, None)?;
        let init = match attribute(nodes, "initialization") {
            Some(template) => self.init(&self.fill(template, (0, 0, 0)), None, resolver)?,
            None => self.initialization(nodes, resolver)?,
        };
        let mut slots = Vec::with_capacity(ticks.len());
        for tick in ticks {
            let of = resolver.join(self.base, &self.fill(media, tick))?;
            slots.push(self.slot(of.map(Ref::whole), &init, tick, nodes, resolver)?);
        }
        Ok(slots)
    }

    fn list(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Vec<Slot>, Error> {
        let Some(list) = nodes.iter().rev().find(|n| n.child("SegmentURL").is_some()) else {
            return Ok(Vec::new());
        };
        let segments: Vec<&Node> = list.all("SegmentURL").collect();
        if segments.len() > MAX_SEGMENTS {
            return Err(Error::TooLarge);
        }
        let init = self.initialization(nodes, resolver)?;
        let ticks = self.ticks(nodes, Some(segments.len()))?;
        let mut slots = Vec::with_capacity(segments.len());
        for (segment, tick) in segments.into_iter().zip(ticks) {
            let url = resolver.join(self.base, segment.attribute("media").unwrap_or_default())?;
            let range = segment.attribute("mediaRange").and_then(byte_range);
            slots.push(self.slot(url.map(|url| Ref { url, range }), &init, tick, nodes, resolver)?);
        }
        Ok(slots)
    }

    /// One file, with an index that says where its segments are; without the index, one slot.
    fn single(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Vec<Slot>, Error> {
        let Some(url) = resolver.join(self.base, "")? else { return Ok(Vec::new()) };
        let whole = Slot {
            of: Ref::whole(url.clone()),
            init: None,
            start: self.scope.start,
            duration: self.scope.length.unwrap_or_default(),
            discontinuity: self.scope.number,
        };
        let Some(index) = attribute(nodes, "indexRange").and_then(byte_range) else { return Ok(vec![whole]) };
        let init = self.initialization(nodes, resolver)?;
        let init = init.unwrap_or_else(|| Ref { url: url.clone(), range: Some(0..index.start) });
        let piece = self.pieces.get(&Ref { url: url.clone(), range: Some(index.clone()) });
        let open = piece.and_then(|p| p.body.open().ok());
        let listed = open.and_then(|body| fmp4::sidx(&body, index).ok()).unwrap_or_default();
        if listed.is_empty() {
            return Ok(vec![whole]);
        }
        let mut slots = Vec::with_capacity(listed.len());
        let mut start = self.scope.start;
        for segment in listed {
            resolver.charge(url.len() + init.url.len())?;
            let of = Ref { url: url.clone(), range: Some(segment.bytes) };
            let duration = Duration::from_nanos(segment.duration);
            slots.push(Slot {
                of,
                init: Some(init.clone()),
                start,
                duration,
                discontinuity: self.scope.number,
            });
            start = start.saturating_add(duration);
        }
        Ok(slots)
    }

    fn initialization(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Option<Ref>, Error> {
        let Some(init) = nodes.iter().rev().find_map(|n| n.child("Initialization")) else { return Ok(None) };
        let range = init.attribute("range").and_then(byte_range);
        self.init(init.attribute("sourceURL").unwrap_or_default(), range, resolver)
    }

    fn init(
        &self,
        url: &str,
        range: Option<Range<u64>>,
        resolver: &mut Resolver,
    ) -> Result<Option<Ref>, Error> {
        Ok(resolver.join(self.base, url)?.map(|url| Ref { url, range }))
    }

    fn slot(
        &self,
        of: Option<Ref>,
        init: &Option<Ref>,
        (_, time, length): Tick,
        nodes: &[&Node],
        resolver: &mut Resolver,
    ) -> Result<Slot, Error> {
        if let Some(init) = init {
            resolver.charge(init.url.len())?;
        }
        let scale = scale(nodes);
        let offset = attribute(nodes, "presentationTimeOffset").and_then(|v| v.parse().ok()).unwrap_or(0);
        Ok(Slot {
            of: of.unwrap_or_else(|| Ref::whole("")),
            init: init.clone(),
            start: self.scope.start.saturating_add(time_of(time.saturating_sub(offset), scale)),
            duration: time_of(length, scale),
            discontinuity: self.scope.number,
        })
    }

    /// The segments' times: from a time line, or all of one length.
    fn ticks(&self, nodes: &[&Node], count: Option<usize>) -> Result<Vec<Tick>, Error> {
        let first: u64 = attribute(nodes, "startNumber").and_then(|v| v.parse().ok()).unwrap_or(1);
        let end = self.scope.length.map(|length| {
            let offset = attribute(nodes, "presentationTimeOffset").and_then(|v| v.parse().ok()).unwrap_or(0);
            (length.as_nanos() * u128::from(scale(nodes)) / NANOS).saturating_add(offset)
        });
        if let Some(line) = nodes.iter().rev().find_map(|n| n.child("SegmentTimeline")) {
            return timeline(line, first, end);
        }
        let Some(length) =
            attribute(nodes, "duration").and_then(|v| v.parse::<u64>().ok()).filter(|&d| d > 0)
        else {
            // A list without lengths: one segment for all of the period.
            let all = end.and_then(|e| u64::try_from(e).ok()).unwrap_or(0);
            return Ok((0..count.unwrap_or(1) as u64)
                .map(|i| (first + i, if i == 0 { 0 } else { all }, if i == 0 { all } else { 0 }))
                .collect());
        };
        let offset: u64 =
            attribute(nodes, "presentationTimeOffset").and_then(|v| v.parse().ok()).unwrap_or(0);
        let count = match (count, self.scope.length) {
            (Some(count), _) => count as u128,
            (None, Some(_)) if self.live => return Err(Error::Clock),
            // Rounding in the manifest must not make another segment.
            (None, Some(all)) => (all.as_nanos() * u128::from(scale(nodes)))
                .saturating_sub(NANOS * u128::from(length) / 1000)
                .div_ceil(NANOS * u128::from(length)),
            (None, None) if self.live => return Err(Error::Clock),
            (None, None) => return Ok(Vec::new()),
        };
        if count > MAX_SEGMENTS as u128 {
            return Err(Error::TooLarge);
        }
        let time = |i: u64| offset.saturating_add(i.saturating_mul(length));
        let rest = |i: u64| {
            end.map_or(length, |end| {
                u64::try_from(end.saturating_sub(time(i).into())).unwrap_or(length).min(length)
            })
        };
        Ok((0..count as u64).map(|i| (first.saturating_add(i), time(i), rest(i))).collect())
    }

    /// A template with its identifiers filled in (5.3.9.4.4).
    fn fill(&self, template: &str, (number, time, _): Tick) -> String {
        let representation = self.levels[2];
        let mut out = String::with_capacity(template.len() + 16);
        let mut parts = template.split('$');
        out.push_str(parts.next().unwrap_or_default());
        while let Some(name) = parts.next() {
            let (name, width) = name
                .split_once("%0")
                .map_or((name, 1), |(n, w)| (n, w.trim_end_matches('d').parse().unwrap_or(1)));
            let width = usize::min(width, 20);
            match name {
                "" => out.push('$'),
                "RepresentationID" => out.push_str(representation.attribute("id").unwrap_or_default()),
                "Bandwidth" => out.push_str(representation.attribute("bandwidth").unwrap_or_default()),
                "Number" => out.push_str(&format!("{number:0width$}")),
                "Time" => out.push_str(&format!("{time:0width$}")),
                _ => {}
            }
            out.push_str(parts.next().unwrap_or_default());
        }
        out
    }
}

/// The innermost value of an attribute.
fn attribute<'a>(nodes: &[&'a Node], name: &str) -> Option<&'a str> {
    nodes.iter().rev().find_map(|n| n.attribute(name))
}

fn scale(nodes: &[&Node]) -> u64 {
    attribute(nodes, "timescale").and_then(|v| v.parse().ok()).filter(|&s| s > 0).unwrap_or(1)
}

/// `S` elements: each repeats `r` times more, to the next one or the end of the period if `r` is negative.
fn timeline(line: &Node, first: u64, end: Option<u128>) -> Result<Vec<Tick>, Error> {
    let mut ticks: Vec<Tick> = Vec::new();
    let entries: Vec<&Node> = line.all("S").collect();
    let (mut number, mut time) = (first, 0_u64);
    for (i, entry) in entries.iter().enumerate() {
        number = entry.number("n").unwrap_or(number);
        time = entry.number("t").unwrap_or(time);
        let length: u64 = entry.number("d").unwrap_or(0);
        let repeat: i64 = entry.number("r").unwrap_or(0);
        let times = if repeat >= 0 {
            repeat as u128 + 1
        } else {
            let next = entries.get(i + 1).and_then(|e| e.number::<u64>("t")).map(u128::from);
            let until = next.or(end).unwrap_or(0).saturating_sub(time.into());
            // A remainder that is rounding is no segment.
            until.saturating_sub(u128::from(length / 1000)).div_ceil(u128::from(length.max(1)))
        };
        if times + ticks.len() as u128 > MAX_SEGMENTS as u128 {
            return Err(Error::TooLarge);
        }
        for _ in 0..times {
            ticks.push((number, time, length));
            number = number.saturating_add(1);
            time = time.saturating_add(length);
        }
    }
    Ok(ticks)
}

fn time_of(ticks: u64, scale: u64) -> Duration {
    let nanos = u128::from(ticks) * NANOS / u128::from(scale);
    // Nothing is longer than three centuries.
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2).min(u64::MAX / 2))
}

/// The addresses that relative ones are seen from: each `BaseURL`, from each of the outer ones.
fn bases(node: &Node, outer: &[Url]) -> Vec<Url> {
    let own: Vec<&str> = node.all("BaseURL").map(|b| b.text.trim()).filter(|b| !b.is_empty()).collect();
    if own.is_empty() {
        return outer.to_vec();
    }
    let all = own.iter().flat_map(|own| outer.iter().filter_map(|o| o.join(own).ok()));
    all.filter(|u| u.as_str().len() <= 64 << 10).take(MAX_BASES).collect()
}

fn byte_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < i64::MAX as u64).then(|| first..last + 1)
}

fn kind(set: &Node) -> Option<TrackKind> {
    let representation = set.child("Representation");
    let mime = set.attribute("mimeType").or_else(|| representation.and_then(|r| r.attribute("mimeType")));
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
    let properties = set.all("EssentialProperty").chain(set.all("SupplementalProperty"));
    properties.filter_map(|p| p.attribute("schemeIdUri")).any(|s| s.ends_with("trickmode"))
}

/// ISO 8601, of which manifests use days and less. What isn't one is no time at all.
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
            let same = |v: &&mut Variant| v.bandwidth == variant.bandwidth && v.height == variant.height;
            match known.variants.iter_mut().find(same) {
                Some(old) => {
                    let mut slots: BTreeMap<Duration, Slot> =
                        old.slots.drain(..).map(|s| (s.start, s)).collect();
                    for slot in variant.slots {
                        slots.entry(slot.start).or_insert(slot);
                    }
                    old.slots = slots.into_values().take(2 * MAX_SEGMENTS).collect();
                }
                None => known.variants.push(variant),
            }
        }
    }
}

/// Moves a live stream's time line, which begins when the sender was switched on, to where it was watched from.
pub fn from_zero(assembly: &mut Assembly) {
    let slots = |a: &Assembly| {
        a.tracks.iter().flat_map(|t| &t.variants).filter_map(|v| v.slots.first()).map(|s| s.start).min()
    };
    let first = slots(assembly).unwrap_or_default();
    for slot in assembly.tracks.iter_mut().flat_map(|t| &mut t.variants).flat_map(|v| &mut v.slots) {
        slot.start = slot.start.saturating_sub(first);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Piece, *};

    const URL: &str = "https://a.example/v/manifest.mpd?token=1";

    /// Holds nothing, or everything.
    struct All(Option<Piece>);

    impl Pieces for All {
        fn get(&self, _: &Ref) -> Option<&Piece> {
            self.0.as_ref()
        }
    }

    fn mpd(attributes: &str, inner: &str) -> Result<Assembly, Error> {
        let text = format!(
            "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' {attributes}>{inner}</MPD>"
        );
        assembly(text.as_bytes(), URL, &All(None))
    }

    /// One representation of 20 s.
    fn one(segments: &str) -> Result<Assembly, Error> {
        let set = "<AdaptationSet mimeType='video/mp4'>";
        mpd(
            "mediaPresentationDuration='PT20S'",
            &format!(
                "<Period>{set}<Representation id='v1' bandwidth='500'>{segments}</Representation></AdaptationSet></Period>"
            ),
        )
    }

    /// The end of each address, start in milliseconds, length in milliseconds.
    fn slots(assembly: &Assembly) -> Vec<(&str, u128, u128)> {
        let slots = &assembly.tracks[0].variants[0].slots;
        let name = |s: &'_ Slot| s.of.url.trim_start_matches("https://a.example/v/").len();
        slots
            .iter()
            .map(|s| (&s.of.url[s.of.url.len() - name(s)..], s.start.as_millis(), s.duration.as_millis()))
            .collect()
    }

    #[test]
    fn templates() {
        type Listed<'a> = &'a [(&'a str, u128, u128)];
        let cases: [(&str, Listed<'_>); 6] = [
            (
                "<SegmentTemplate timescale='10' duration='80' media='$RepresentationID$/$Number%03d$.m4s' startNumber='7'/>",
                &[("v1/007.m4s", 0, 8000), ("v1/008.m4s", 8000, 8000), ("v1/009.m4s", 16_000, 4000)],
            ),
            (
                "<SegmentTemplate timescale='10' media='$Time$$$$Bandwidth$'><SegmentTimeline><S t='0' d='100' r='1'/></SegmentTimeline></SegmentTemplate>",
                &[("0$500", 0, 10_000), ("100$500", 10_000, 10_000)],
            ),
            (
                "<SegmentTemplate timescale='10' media='$Time$' presentationTimeOffset='50'><SegmentTimeline><S t='50' d='90' r='-1'/></SegmentTimeline></SegmentTemplate>",
                &[("50", 0, 9000), ("140", 9000, 9000), ("230", 18_000, 9000)],
            ),
            (
                "<SegmentTemplate media='$Number$'><SegmentTimeline><S d='5' r='-1'/><S t='10' d='7'/></SegmentTimeline></SegmentTemplate>",
                &[("1", 0, 5000), ("2", 5000, 5000), ("3", 10_000, 7000)],
            ),
            (
                "<SegmentList duration='10'><SegmentURL media='a'/><SegmentURL media='b'/></SegmentList>",
                &[("a", 0, 10_000), ("b", 10_000, 10_000)],
            ),
            ("<BaseURL>whole.mp4</BaseURL>", &[("whole.mp4", 0, 20_000)]),
        ];
        for (segments, want) in cases {
            assert_eq!(slots(&one(segments).unwrap()), want, "{segments}");
        }
    }

    #[test]
    fn rounding_makes_no_further_segment() {
        let found = one("<SegmentTemplate timescale='1000' duration='4999' media='$Number$'/>").unwrap();
        assert_eq!(slots(&found).len(), 4, "20 s are four segments of 4.999 s and nothing");
    }

    #[test]
    fn addresses_are_inherited() {
        let found = mpd("mediaPresentationDuration='PT4S'", "<BaseURL>//cdn.example/x/</BaseURL><Period><BaseURL>p/</BaseURL>\
            <SegmentTemplate timescale='2' duration='8'/><AdaptationSet contentType='video'><SegmentTemplate initialization='i'/>\
            <Representation id='a'><BaseURL>r/</BaseURL><SegmentTemplate media='m?x=1&amp;y=2'/></Representation></AdaptationSet></Period>").unwrap();
        let slot = &found.tracks[0].variants[0].slots[0];
        assert_eq!(slot.of.url, "https://cdn.example/x/p/r/m?x=1&y=2");
        assert_eq!(slot.init.as_ref().unwrap().url, "https://cdn.example/x/p/r/i");
        assert_eq!(slot.duration, Duration::from_secs(4));
    }

    #[test]
    fn periods_follow_each_other() {
        let period = |id: &str, attributes: &str| {
            format!(
                "<Period {attributes}><AdaptationSet mimeType='video/mp4'><Representation id='{id}' bandwidth='5' height='90'>\
             <SegmentTemplate duration='5' media='{id}-$Number$'/></Representation></AdaptationSet></Period>"
            )
        };
        let found =
            mpd("", &(period("a", "duration='PT10S'") + &period("b", "duration='PT0M5.0S'"))).unwrap();
        assert_eq!(found.tracks.len(), 1);
        let all: Vec<_> =
            found.tracks[0].variants[0].slots.iter().map(|s| (s.start.as_secs(), s.discontinuity)).collect();
        assert_eq!(all, [(0, 0), (5, 0), (10, 1)]);
    }

    #[test]
    fn what_is_left_out_and_what_is_left_alone() {
        let set = |inner: &str, attributes: &str| {
            format!(
                "<AdaptationSet {attributes}>{inner}<Representation id='1'><SegmentTemplate duration='5' media='$Number$'/></Representation></AdaptationSet>"
            )
        };
        let tracks =
            |sets: &str| mpd("mediaPresentationDuration='PT10S'", &format!("<Period>{sets}</Period>"));
        let trick = "<EssentialProperty schemeIdUri='http://dashif.org/guidelines/trickmode' value='1'/>";
        let all = [
            set("", "mimeType='video/mp4'"),
            set(trick, "mimeType='video/mp4'"),
            set("", "mimeType='image/jpeg'"),
            set("", "mimeType='application/mp4' codecs='stpp'"),
            set("", "mimeType='audio/mp4' lang='de'"),
            set("", "mimeType='audio/mp4' lang='en'"),
        ];
        let found = tracks(&all.concat()).unwrap();
        assert_eq!(
            found.tracks.iter().map(|t| t.language.as_deref()).collect::<Vec<_>>(),
            [None, Some("de"), Some("en")]
        );
        let drm = "<ContentProtection schemeIdUri='urn:mpeg:dash:mp4protection:2011' value='cenc'/>";
        assert_eq!(tracks(&set(drm, "contentType='video'")).unwrap().protected.as_deref(), Some("DRM"));
        assert_eq!(tracks(&all[2]), Err(Error::Empty));
    }

    #[test]
    fn a_live_manifest_slides() {
        let version = |from: u64, kind: &str| {
            mpd(&format!("type='{kind}'"), &format!(
            "<Period start='PT100S'><AdaptationSet mimeType='video/mp4'><Representation id='1' bandwidth='5'>\
             <SegmentTemplate media='$Time$'><SegmentTimeline><S t='{from}' d='4' r='2'/></SegmentTimeline></SegmentTemplate>\
             </Representation></AdaptationSet></Period>"
        )).unwrap()
        };
        let mut live = version(1000, "dynamic");
        assert!(!live.ended);
        unite(&mut live, version(1004, "dynamic"));
        unite(&mut live, version(1016, "static"));
        from_zero(&mut live);
        let starts: Vec<_> = slots(&live).iter().map(|s| (s.0.to_owned(), s.1 / 1000)).collect();
        let want =
            [("1000", 0), ("1004", 4), ("1008", 8), ("1012", 12), ("1016", 16), ("1020", 20), ("1024", 24)];
        assert_eq!(starts, want.map(|(n, s)| (n.to_owned(), s)));
        assert!(live.ended);
        let clock = "<Period><AdaptationSet mimeType='video/mp4'><Representation id='1'><SegmentTemplate duration='4' media='$Number$'/></Representation></AdaptationSet></Period>";
        assert_eq!(mpd("type='dynamic'", clock), Err(Error::Clock));
    }

    #[test]
    fn hostile() {
        let repeat = |r: &str| {
            one(&format!(
                "<SegmentTemplate media='$Time$'><SegmentTimeline><S t='0' d='1' r='{r}'/></SegmentTimeline></SegmentTemplate>"
            ))
        };
        assert_eq!(repeat("1000000"), Err(Error::TooLarge));
        assert_eq!(repeat("9223372036854775807"), Err(Error::TooLarge));
        assert!(repeat("-9223372036854775808").is_ok());
        assert!(repeat("x").is_ok());
        let cases = [
            "<SegmentTemplate media='$Number%099999999999d$' duration='5'/>",
            "<SegmentTemplate media='$' duration='5'/>",
            "<SegmentTemplate media='$Number$' duration='18446744073709551615' timescale='18446744073709551615'/>",
            "<SegmentTemplate media='$Time$' presentationTimeOffset='18446744073709551615' duration='18446744073709551615'/>",
            "<SegmentTemplate media='$Time$'><SegmentTimeline><S t='18446744073709551615' d='18446744073709551615' r='5'/></SegmentTimeline></SegmentTemplate>",
            "<SegmentTemplate media='file:///etc/passwd' duration='5'/>",
            "<SegmentTemplate media='../../../../etc/passwd' duration='5'/>",
            "<SegmentList><SegmentURL mediaRange='5-1'/><SegmentURL mediaRange='0-18446744073709551615'/></SegmentList>",
            "<SegmentBase indexRange='0-9223372036854775807'><Initialization range='-'/></SegmentBase>",
            "<BaseURL>http://[</BaseURL>",
        ];
        for case in cases {
            let Ok(found) = one(case) else { continue };
            let urls = found.refs().filter(|r| !r.url.is_empty() && !r.url.starts_with("https://a.example/"));
            assert_eq!(urls.count(), 0, "{case}");
            assert!(found.duration() < Duration::from_secs(1 << 40));
        }
        assert_eq!(
            one("<SegmentTemplate media='$Number$' duration='1' timescale='1000000'/>"),
            Err(Error::TooLarge)
        );
        let long =
            format!("<SegmentTemplate media='{}$Number$' duration='1' timescale='1000'/>", "x".repeat(5000));
        assert_eq!(one(&long), Err(Error::TooLarge));
        assert_eq!(assembly(&vec![b' '; MAX_TEXT + 1], URL, &All(None)), Err(Error::TooLarge));
        for text in ["", "<MPD", "<html/>", "<!DOCTYPE MPD [<!ENTITY x 'y'>]><MPD>&x;</MPD>"] {
            assert_eq!(assembly(text.as_bytes(), URL, &All(None)), Err(Error::NotDash), "{text}");
        }
        let sets = format!(
            "<AdaptationSet mimeType='video/mp4'>{}</AdaptationSet>",
            "<Representation/>".repeat(5000)
        );
        assert_eq!(mpd("", &format!("<Period>{sets}</Period>")), Err(Error::TooLarge));
    }

    #[test]
    fn durations() {
        let cases = [
            ("PT20S", 20.0),
            ("PT1H2M3.5S", 3723.5),
            ("P1DT1S", 86_401.0),
            ("P1M", 2_592_000.0),
            ("PT1M", 60.0),
            ("", 0.0),
            ("x", 0.0),
            ("PT1e9S", 0.0),
            ("PT99999999999999999999999S", 9e9),
        ];
        for (text, want) in cases {
            assert_eq!(duration(text).as_secs_f64(), want, "{text}");
        }
    }
}
