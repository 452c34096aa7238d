//! Where the segments of one representation are: templates, time lines, lists, and single files
//! with an index.

use std::{ops::Range, time::Duration};

use url::Url;

use super::{DashError, NANOS, Scope};
use crate::{
    container::fmp4,
    stream::{Init, Pieces, Ref, Slot, address::Resolver, playlist::xml::Node},
};

/// Segments of one representation: a day of two-second ones.
pub(super) const MAX_SEGMENTS: usize = 50_000;

/// Where the segments of one representation in one period are.
pub(super) struct Source<'a> {
    /// Period, adaptation set, representation.
    pub(super) levels: [&'a Node; 3],
    pub(super) base: &'a Url,
    pub(super) scope: &'a Scope,
    pub(super) pieces: &'a dyn Pieces,
    pub(super) live: bool,
}

/// A segment on a time line: number, time and length in units of the time scale.
type Tick = (u64, u64, u64);

impl Source<'_> {
    /// The elements `name` from the outermost level to the innermost: inner ones inherit and
    /// override.
    fn inherited(&self, name: &str) -> Vec<&Node> {
        self.levels
            .iter()
            .filter_map(|level| level.child(name))
            .collect()
    }

    pub(super) fn slots(&self, resolver: &mut Resolver) -> Result<Vec<Slot>, DashError> {
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

    fn template(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Vec<Slot>, DashError> {
        let Some(media) = attribute(nodes, "media") else {
            return Ok(Vec::new());
        };
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

    fn list(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Vec<Slot>, DashError> {
        let Some(list) = nodes.iter().rev().find(|n| n.child("SegmentURL").is_some()) else {
            return Ok(Vec::new());
        };
        let segments: Vec<&Node> = list.all("SegmentURL").collect();
        if segments.len() > MAX_SEGMENTS {
            return Err(DashError::TooLarge);
        }
        let init = self.initialization(nodes, resolver)?;
        let ticks = self.ticks(nodes, Some(segments.len()))?;
        let mut slots = Vec::with_capacity(segments.len());
        for (segment, tick) in segments.into_iter().zip(ticks) {
            let url = resolver.join(self.base, segment.attribute("media").unwrap_or_default())?;
            let range = segment.attribute("mediaRange").and_then(byte_range);
            slots.push(self.slot(
                url.map(|url| Ref { url, range }),
                &init,
                tick,
                nodes,
                resolver,
            )?);
        }
        Ok(slots)
    }

    /// One file, with an index that says where its segments are; without the index, one slot.
    fn single(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Vec<Slot>, DashError> {
        let Some(url) = resolver.join(self.base, "")? else {
            return Ok(Vec::new());
        };
        let whole = Slot {
            of: Some(Ref::whole(url.clone())),
            parts: Vec::new(),
            protected: None,
            init: Init::Own,
            start: self.scope.start,
            duration: self.scope.length.unwrap_or_default(),
            discontinuity: self.scope.number,
        };
        let Some(index) = attribute(nodes, "indexRange").and_then(byte_range) else {
            return Ok(vec![whole]);
        };
        let init = self.initialization(nodes, resolver)?;
        let init = init.at().cloned().unwrap_or_else(|| Ref {
            url: url.clone(),
            range: Some(0..index.start),
        });
        let piece = self.pieces.get(&Ref {
            url: url.clone(),
            range: Some(index.clone()),
        });
        let open = piece.and_then(|p| p.body.open().ok());
        let listed = open
            .and_then(|body| fmp4::sidx(&body, index).ok())
            .unwrap_or_default();
        if listed.is_empty() {
            return Ok(vec![whole]);
        }
        let mut slots = Vec::with_capacity(listed.len());
        let mut start = self.scope.start;
        for segment in listed {
            resolver.charge(url.len() + init.url.len())?;
            let of = Ref {
                url: url.clone(),
                range: Some(segment.bytes),
            };
            let duration = Duration::from_nanos(segment.duration);
            slots.push(Slot {
                of: Some(of),
                parts: Vec::new(),
                protected: None,
                init: Init::At(init.clone()),
                start,
                duration,
                discontinuity: self.scope.number,
            });
            start = start.saturating_add(duration);
        }
        Ok(slots)
    }

    fn initialization(&self, nodes: &[&Node], resolver: &mut Resolver) -> Result<Init, DashError> {
        let Some(init) = nodes.iter().rev().find_map(|n| n.child("Initialization")) else {
            return Ok(Init::Own);
        };
        let range = init.attribute("range").and_then(byte_range);
        self.init(
            init.attribute("sourceURL").unwrap_or_default(),
            range,
            resolver,
        )
    }

    fn init(
        &self,
        url: &str,
        range: Option<Range<u64>>,
        resolver: &mut Resolver,
    ) -> Result<Init, DashError> {
        let url = resolver.join(self.base, url)?;
        Ok(url.map_or(Init::Unknown, |url| Init::At(Ref { url, range })))
    }

    fn slot(
        &self,
        of: Option<Ref>,
        init: &Init,
        (_, time, length): Tick,
        nodes: &[&Node],
        resolver: &mut Resolver,
    ) -> Result<Slot, DashError> {
        if let Some(init) = init.at() {
            resolver.charge(init.url.len())?;
        }
        let scale = scale(nodes);
        let offset = attribute(nodes, "presentationTimeOffset")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        Ok(Slot {
            of,
            parts: Vec::new(),
            protected: None,
            init: init.clone(),
            start: self
                .scope
                .start
                .saturating_add(time_of(time.saturating_sub(offset), scale)),
            duration: time_of(length, scale),
            discontinuity: self.scope.number,
        })
    }

    /// The segments' times: from a time line, or all of one length.
    fn ticks(&self, nodes: &[&Node], count: Option<usize>) -> Result<Vec<Tick>, DashError> {
        let first: u64 = attribute(nodes, "startNumber")
            .and_then(|v| v.parse().ok())
            .unwrap_or(1);
        let end = self.scope.length.map(|length| {
            let offset = attribute(nodes, "presentationTimeOffset")
                .and_then(|v| v.parse().ok())
                .unwrap_or(0);
            (length.as_nanos() * u128::from(scale(nodes)) / NANOS).saturating_add(offset)
        });
        if let Some(line) = nodes.iter().rev().find_map(|n| n.child("SegmentTimeline")) {
            return timeline(line, first, end);
        }
        let Some(length) = attribute(nodes, "duration")
            .and_then(|v| v.parse::<u64>().ok())
            .filter(|&d| d > 0)
        else {
            // A list without lengths: one segment for all of the period.
            let all = end.and_then(|e| u64::try_from(e).ok()).unwrap_or(0);
            return Ok((0..count.unwrap_or(1) as u64)
                .map(|i| {
                    (
                        first + i,
                        if i == 0 { 0 } else { all },
                        if i == 0 { all } else { 0 },
                    )
                })
                .collect());
        };
        let offset: u64 = attribute(nodes, "presentationTimeOffset")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        // The last number is more exact than the sum of the lengths (23009-1, 5.3.9.5.3).
        let last = attribute(nodes, "endNumber").and_then(|v| v.parse::<u64>().ok());
        let numbered = last
            .and_then(|last| last.checked_sub(first))
            .map(|n| n as u128 + 1);
        let count = match (
            count.map(|count| count as u128).or(numbered),
            self.scope.length,
        ) {
            (Some(count), _) => count,
            (None, Some(_)) if self.live => return Err(DashError::Clock),
            // Rounding in the manifest must not make another segment.
            (None, Some(all)) => (all.as_nanos() * u128::from(scale(nodes)))
                .saturating_sub(NANOS * u128::from(length) / 1000)
                .div_ceil(NANOS * u128::from(length)),
            (None, None) if self.live => return Err(DashError::Clock),
            (None, None) => return Ok(Vec::new()),
        };
        if count > MAX_SEGMENTS as u128 {
            return Err(DashError::TooLarge);
        }
        let time = |i: u64| offset.saturating_add(i.saturating_mul(length));
        let rest = |i: u64| {
            end.map_or(length, |end| {
                u64::try_from(end.saturating_sub(time(i).into()))
                    .unwrap_or(length)
                    .min(length)
            })
        };
        Ok((0..count as u64)
            .map(|i| (first.saturating_add(i), time(i), rest(i)))
            .collect())
    }

    /// A template with its identifiers filled in (5.3.9.4.4).
    fn fill(&self, template: &str, (number, time, _): Tick) -> String {
        let representation = self.levels[2];
        let mut out = String::with_capacity(template.len() + 16);
        let mut parts = template.split('$');
        out.push_str(parts.next().unwrap_or_default());
        while let Some(name) = parts.next() {
            let (name, width) = name.split_once("%0").map_or((name, 1), |(n, w)| {
                (n, w.trim_end_matches('d').parse().unwrap_or(1))
            });
            let width = usize::min(width, 20);
            match name {
                "" => out.push('$'),
                "RepresentationID" => {
                    out.push_str(representation.attribute("id").unwrap_or_default())
                }
                "Bandwidth" => {
                    out.push_str(representation.attribute("bandwidth").unwrap_or_default())
                }
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
    attribute(nodes, "timescale")
        .and_then(|v| v.parse().ok())
        .filter(|&s| s > 0)
        .unwrap_or(1)
}

/// `S` elements: each repeats `r` times more, to the next one or the end of the period if `r` is
/// negative.
fn timeline(line: &Node, first: u64, end: Option<u128>) -> Result<Vec<Tick>, DashError> {
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
            let next = entries
                .get(i + 1)
                .and_then(|e| e.number::<u64>("t"))
                .map(u128::from);
            let until = next.or(end).unwrap_or(0).saturating_sub(time.into());
            // A remainder that comes from rounding is no segment.
            until
                .saturating_sub(u128::from(length / 1000))
                .div_ceil(u128::from(length.max(1)))
        };
        if times + ticks.len() as u128 > MAX_SEGMENTS as u128 {
            return Err(DashError::TooLarge);
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
    Duration::from_nanos(
        u64::try_from(nanos)
            .unwrap_or(u64::MAX / 2)
            .min(u64::MAX / 2),
    )
}

fn byte_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < i64::MAX as u64).then(|| first..last + 1)
}
