//! The stretches of a video between its discontinuities, and which of them are advertisements.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    time::Duration,
};

use super::bodies::{BodyTable, Form};
use crate::stream::{Assembly, TrackKind, address};

/// The longest stretch that may be an advertisement, or a block of them.
const BLOCK: Duration = Duration::from_secs(180);
/// Words for advertisements in addresses.
const ADVERT_WORDS: [&str; 12] = [
    "ad",
    "ads",
    "adv",
    "advert",
    "advertisement",
    "advertisements",
    "advertising",
    "adverts",
    "commercial",
    "midroll",
    "preroll",
    "slate",
];

/// What lies between two discontinuities.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) number: u32,
    time: Range<Duration>,
    /// Addresses of its segments with their digits replaced, without hosts.
    patterns: HashSet<String>,
    folders: HashSet<String>,
    /// Picture heights of the variants that have it.
    heights: HashSet<Option<u32>>,
    /// All of it is encrypted.
    encrypted: bool,
    /// A part of its address says that it is an advertisement.
    named_advert: bool,
}

/// A stretch that is left out.
#[derive(Clone, Debug)]
pub(super) struct Advert {
    pub(super) number: u32,
    pub(super) time: Range<Duration>,
    /// Not only its address and its length show that it isn't part of the video.
    pub(super) certain: bool,
}

impl Stretch {
    pub(super) fn duration(&self) -> Duration {
        self.time.end.saturating_sub(self.time.start)
    }

    pub(super) fn advert(&self, certain: bool) -> Advert {
        Advert {
            number: self.number,
            time: self.time.clone(),
            certain,
        }
    }

    /// Whether both are of one video: their segments are named alike, or lie together, and their
    /// pictures have a size in common.
    fn is_kin(&self, other: &Self) -> bool {
        let alike = !self.patterns.is_disjoint(&other.patterns)
            || !self.folders.is_disjoint(&other.folders);
        // An encrypted stretch beside a clear one lies in the same folder only if it is of the same
        // video.
        alike
            && !self.heights.is_disjoint(&other.heights)
            && self.named_advert == other.named_advert
    }
}

/// The stretches of the pictures, or of the sound where there are none, in order of time.
pub(super) fn stretches(assembly: &Assembly) -> Vec<Stretch> {
    let track = assembly
        .tracks
        .iter()
        .find(|t| t.kind == TrackKind::Video)
        .or(assembly.tracks.first());
    let mut found: BTreeMap<u32, Stretch> = BTreeMap::new();
    for variant in track.iter().flat_map(|t| &t.variants) {
        for slot in &variant.slots {
            let end = slot.start.saturating_add(slot.duration);
            let stretch = found.entry(slot.discontinuity).or_insert_with(|| Stretch {
                number: slot.discontinuity,
                time: slot.start..end,
                patterns: HashSet::new(),
                folders: HashSet::new(),
                heights: HashSet::new(),
                encrypted: true,
                named_advert: false,
            });
            stretch.time = stretch.time.start.min(slot.start)..stretch.time.end.max(end);
            stretch.heights.insert(variant.height);
            stretch.encrypted &= slot.protected.is_some();
            if let Some(of) = &slot.of {
                stretch
                    .patterns
                    .insert(address::without_digits(address::path(&of.url)));
                stretch.folders.insert(folder(&of.url).to_owned());
                stretch.named_advert |= names_advert(&of.url);
            }
        }
    }
    found.into_values().collect()
}

/// Short beside all of the video, and no longer than a block of advertisements.
pub(super) fn is_short(time: Duration, all: &[Stretch]) -> bool {
    let total: Duration = all.iter().map(Stretch::duration).sum();
    time <= BLOCK && time * 3 <= total
}

/// Stretches that are advertisements: they are kin to no stretch of the longest family, by name,
/// place or size, and are short beside it.
pub(super) fn adverts(stretches: &[Stretch]) -> Vec<Advert> {
    // Families of stretches that are kin: a stretch unites all families in which it has kin.
    let mut families: Vec<Vec<&Stretch>> = Vec::new();
    for stretch in stretches {
        let (mut kin, others): (Vec<_>, Vec<_>) = families
            .into_iter()
            .partition(|family| family.iter().any(|s| s.is_kin(stretch)));
        let mut own: Vec<&Stretch> = kin.drain(..).flatten().collect();
        own.push(stretch);
        families = others;
        families.push(own);
    }
    let time = |family: &Vec<&Stretch>| family.iter().map(|s| s.duration()).sum::<Duration>();
    let Some(main) = (0..families.len()).max_by_key(|&i| time(&families[i])) else {
        return Vec::new();
    };
    let main = families.swap_remove(main);
    let most = time(&main);
    let clear = main.iter().any(|s| !s.encrypted);
    let mut adverts: Vec<Advert> = Vec::new();
    for family in families {
        // A gap of the stream itself has no address.
        let placed = family.iter().all(|s| !s.patterns.is_empty());
        let brief = family.iter().all(|s| s.duration() <= BLOCK) && time(&family) * 2 <= most;
        if placed && brief {
            let certain = |s: &Stretch| {
                s.named_advert
                    || s.encrypted && clear
                    || main.iter().all(|m| m.heights.is_disjoint(&s.heights))
            };
            adverts.extend(family.iter().map(|s| s.advert(certain(s))));
        }
    }
    adverts.sort_by_key(|a| a.number);
    adverts
}

/// Stretches whose pieces can't share a file with those of the stretch that has most of the time.
pub(super) fn foreign<'s>(
    assembly: &Assembly,
    stretches: &'s [Stretch],
    adverts: &[Advert],
    table: &mut BodyTable<'_>,
) -> Vec<&'s Stretch> {
    let rest: Vec<&Stretch> = stretches
        .iter()
        .filter(|s| adverts.iter().all(|a| a.number != s.number))
        .collect();
    if rest.len() < 2 {
        return Vec::new();
    }
    let mut other: HashSet<u32> = HashSet::new();
    for track in assembly
        .tracks
        .iter()
        .filter(|t| t.kind != TrackKind::Subtitles)
    {
        // The first piece of a stretch that is there says what all of it is.
        let mut forms: Vec<(&Stretch, Form)> = Vec::new();
        for &stretch in &rest {
            let slots = track.variants.iter().flat_map(|v| &v.slots);
            let mut own = slots.filter(|s| s.discontinuity == stretch.number);
            let form = own.find_map(|slot| table.fill(slot).ok().and_then(|f| table.form(&f)));
            forms.extend(form.map(|form| (stretch, form)));
        }
        let time = |form: &Form| {
            let same = forms.iter().filter(|(_, f)| f == form);
            same.map(|(s, _)| s.duration()).sum::<Duration>()
        };
        if let Some(main) = forms.iter().map(|(_, f)| f).max_by_key(|f| time(f)) {
            let unlike = forms.iter().filter(|(_, form)| form != main);
            other.extend(unlike.map(|(stretch, _)| stretch.number));
        }
    }
    rest.into_iter()
        .filter(|s| other.contains(&s.number))
        .collect()
}

fn folder(url: &str) -> &str {
    let path = address::without_query(url);
    path.rfind('/').map_or(path, |i| &path[..i])
}

/// Whether a part of the host or of the path is a word for advertisements.
fn names_advert(url: &str) -> bool {
    let words = address::without_query(url).split(|c: char| !c.is_ascii_alphabetic());
    let words = words.map(str::to_ascii_lowercase);
    words.into_iter().any(|word| ADVERT_WORDS.contains(&&*word))
}
