//! Which piece fills which slot of one track, and which stretches nothing fills.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range, time::Duration};

use super::{
    ChosenTrack, Missing, OVERLAP,
    bodies::{BodyTable, FilledSlot},
    stretches::Advert,
};
use crate::stream::{Slot, Track, TrackKind, Variant};

/// A track, chosen.
pub(super) struct FilledTrack {
    pub(super) chosen: ChosenTrack,
    /// How long it is.
    pub(super) total: Duration,
    /// How much of that is there.
    pub(super) covered: Duration,
    pub(super) missing: Vec<Missing>,
    /// What was done that is worth saying.
    pub(super) note: Option<String>,
}

/// Slots of a variant with what fills them.
type Filled<'a> = Vec<(&'a Slot, Result<FilledSlot, &'static str>)>;

/// What was taken, by its start, and the index of its variant.
type Taken = BTreeMap<Duration, (FilledSlot, usize)>;

/// Fills the slots of one track.
///
/// One whole variant is best; else the variant with most of the time, with its holes filled from
/// the others. `unusable` stretches can't share a file with the rest.
pub(super) fn fill(
    track: &Track,
    adverts: &[Advert],
    unusable: &[u32],
    table: &mut BodyTable<'_>,
) -> FilledTrack {
    // The slots of each variant on the time line without advertisements, and what fills each.
    let laid: Vec<Vec<Slot>> = track
        .variants
        .iter()
        .map(|v| lay(v, adverts, table))
        .collect();
    let filled: Vec<Filled<'_>> = laid
        .iter()
        .map(|slots| {
            let filled = slots
                .iter()
                .map(|s| match unusable.contains(&s.discontinuity) {
                    true => (s, Err("in codecs that can't share a file with the rest")),
                    false => (s, table.fill(s)),
                });
            filled.collect()
        })
        .collect();
    // Where the track begins and ends: its variants may be cut differently.
    let starts = laid.iter().filter_map(|slots| slots.first());
    let start = starts.map(|slot| slot.start).min().unwrap_or_default();
    let ends = laid.iter().filter_map(|slots| slots.last());
    let end = ends.map(|slot| slot.start + slot.duration).max();
    let time = start..end.unwrap_or_default();
    // The best variant, and what fills its holes.
    let best = best(&filled, &time);
    let taken = take(&filled, best, &time, table);
    // What was taken from elsewhere is said, and what is left is missing.
    let other = taken
        .values()
        .filter(|(_, variant)| *variant != best)
        .count();
    let note =
        (other > 0).then(|| format!("{other} of {} segments are of another quality", taken.len()));
    let total = time.end - time.start;
    let missing = missing(track.kind, time, &taken, &filled);
    let gone: Duration = missing.iter().map(|m| m.time.end - m.time.start).sum();
    FilledTrack {
        total,
        covered: total.saturating_sub(gone),
        missing,
        note,
        chosen: ChosenTrack {
            kind: track.kind,
            language: track.language.clone(),
            slots: taken.into_values().map(|(slot, _)| slot).collect(),
        },
    }
}

/// How much of the time a variant fills.
fn filled_time(variant: &Filled<'_>) -> Duration {
    let there = variant.iter().filter(|(_, fill)| fill.is_ok());
    there.map(|(slot, _)| slot.duration).sum()
}

/// Whether a variant fills all of a track's time.
fn is_whole(variant: &Filled<'_>, time: &Range<Duration>) -> bool {
    let (Some((first, _)), Some((last, _))) = (variant.first(), variant.last()) else {
        return false;
    };
    variant.iter().all(|(_, fill)| fill.is_ok())
        && first.start <= time.start + OVERLAP
        && last.start + last.duration + OVERLAP >= time.end
}

/// The index of a whole variant, else of the one that fills most; the first, which is the better
/// one, of equals.
fn best(variants: &[Filled<'_>], time: &Range<Duration>) -> usize {
    let rank = |i: &usize| {
        let variant = &variants[*i];
        (is_whole(variant, time), filled_time(variant), Reverse(*i))
    };
    (0..variants.len()).max_by_key(rank).unwrap_or_default()
}

/// What the best variant has, and, where it has holes, what others have that can stand in one file
/// with it.
fn take(
    variants: &[Filled<'_>],
    best: usize,
    time: &Range<Duration>,
    table: &mut BodyTable<'_>,
) -> Taken {
    let mut taken = Taken::new();
    let Some(first) = variants.get(best) else {
        return taken;
    };
    for (slot, fill) in first {
        if let Ok(fill) = fill {
            taken.insert(slot.start, (fill.clone(), best));
        }
    }
    if is_whole(first, time) {
        return taken;
    }
    let form = taken.values().next().and_then(|(fill, _)| table.form(fill));
    let mut others: Vec<usize> = (0..variants.len()).filter(|&i| i != best).collect();
    others.sort_by_key(|&i| Reverse(filled_time(&variants[i])));
    for i in others {
        for (slot, fill) in &variants[i] {
            let Ok(fill) = fill else { continue };
            if fits(&taken, slot) && (taken.is_empty() || table.form(fill) == form) {
                taken.insert(slot.start, (fill.clone(), i));
            }
        }
    }
    taken
}

/// The slots of a variant without the advertisements, whose time is closed. If a segment was only
/// loaded in parts, its parts take its place.
fn lay(variant: &Variant, adverts: &[Advert], table: &mut BodyTable<'_>) -> Vec<Slot> {
    // Tracks of one video lose the same stretches of time, whether or not they have slots there.
    let gone = |start: Duration| -> Duration {
        let before = adverts.iter().filter(|a| a.time.start <= start);
        before.map(|a| a.time.end.min(start) - a.time.start).sum()
    };
    let mut slots = Vec::with_capacity(variant.slots.len());
    for slot in &variant.slots {
        if adverts.iter().any(|a| a.number == slot.discontinuity) {
            continue;
        }
        let mut start = slot.start.saturating_sub(gone(slot.start));
        if slot.of.as_ref().is_some_and(|of| table.place(of).is_some())
            || !slot
                .parts
                .iter()
                .any(|p| p.of.as_ref().is_some_and(|of| table.place(of).is_some()))
        {
            slots.push(Slot {
                start,
                ..slot.clone()
            });
            continue;
        }
        for part in &slot.parts {
            let (of, duration, init) = (part.of.clone(), part.duration, slot.init.clone());
            slots.push(Slot {
                of,
                parts: Vec::new(),
                init,
                start,
                duration,
                ..slot.clone()
            });
            start = start.saturating_add(duration);
        }
    }
    slots
}

fn fits(taken: &Taken, slot: &Slot) -> bool {
    let before = taken.range(..=slot.start).next_back();
    let after = taken.range(slot.start..).next();
    before.is_none_or(|(at, (p, _))| *at + p.duration <= slot.start + OVERLAP && *at < slot.start)
        && after.is_none_or(|(at, _)| slot.start + slot.duration <= *at + OVERLAP)
}

/// The stretches of `all` that nothing fills.
fn missing(
    kind: TrackKind,
    all: Range<Duration>,
    taken: &Taken,
    filled: &[Filled<'_>],
) -> Vec<Missing> {
    let why = |time: &Range<Duration>| {
        let here = filled
            .iter()
            .flatten()
            .filter(|(s, _)| s.start < time.end && s.start + s.duration > time.start);
        // The longest reason is the most helpful one: it says why bytes that are there can't be
        // used.
        here.filter_map(|(_, p)| p.as_ref().err().copied())
            .max_by_key(|w| w.len())
            .unwrap_or("never loaded")
    };
    let mut list: Vec<Missing> = Vec::new();
    let mut at = all.start;
    let ends = taken
        .iter()
        .map(|(start, (p, _))| (*start, *start + p.duration))
        .chain([(all.end, all.end)]);
    for (start, end) in ends {
        if start > at + OVERLAP {
            let time = at..start;
            list.push(Missing {
                why: why(&time),
                kind,
                time,
            });
        }
        at = at.max(end);
    }
    list
}
