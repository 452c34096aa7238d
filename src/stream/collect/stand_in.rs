//! Pieces that are held under another address than the playlist names.
//!
//! A browser stores an answer under the address that a redirect led to, and credentials change from
//! one request to the next. Such a piece may stand in for what the playlist names, but only if it
//! proves itself: no playlist names it, nothing else is named like it, it has the streams of its
//! neighbours, and its time stamps go on where theirs end. Where that can't be shown, the slot stays
//! empty, and the piece is put in order without the playlist.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::pieces::{HeldPiece, PieceIndex};
use crate::stream::{
    Assembly, Init, Ref, Slot, Variant, address, cache::classify::Class, playlist::order::Probe,
};

/// How far the time stamps of a stand-in may be from where they should be, as a share of its length.
const DRIFT: f64 = 0.45;

/// Lets pieces that prove themselves fill the empty slots of `assembly`. A piece whose address is
/// among those that playlists have `named` stands in for no other.
pub(super) fn resolve(assembly: &mut Assembly, pieces: &PieceIndex, named: &HashSet<String>) {
    let search = Search { pieces, named };
    for variant in assembly.tracks.iter_mut().flat_map(|t| &mut t.variants) {
        search.inits(variant);
        search.segments(variant);
    }
}

struct Search<'a> {
    pieces: &'a PieceIndex,
    named: &'a HashSet<String>,
}

impl Search<'_> {
    fn is_held(&self, of: &Ref) -> bool {
        of.url.starts_with("data:") || self.pieces.find(of).is_some()
    }

    /// Finds initialisation segments that are held under another address.
    fn inits(&self, variant: &mut Variant) {
        let wanted: HashSet<Ref> = variant
            .slots
            .iter()
            .filter_map(|s| s.init.at())
            .filter(|of| !self.is_held(of))
            .cloned()
            .collect();
        for of in wanted {
            let Some(found) = self.candidate(&of) else {
                continue;
            };
            for slot in &mut variant.slots {
                if slot.init.at() == Some(&of) {
                    slot.init = Init::At(under(&of, found));
                }
            }
        }
    }

    fn segments(&self, variant: &mut Variant) {
        let empty = |slot: &Slot| slot.of.as_ref().filter(|of| !self.is_held(of)).cloned();
        let found: Vec<(usize, Arc<HeldPiece>)> = variant
            .slots
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, self.candidate(&empty(slot)?)?.clone())))
            .collect();
        if found.is_empty() {
            return;
        }
        let exact: Vec<(usize, Arc<HeldPiece>)> = variant
            .slots
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, self.pieces.find(slot.of.as_ref()?)?.clone())))
            .collect();
        let proven: Vec<(usize, Arc<HeldPiece>)> = if exact.is_empty() {
            if self.follow_each_other(variant, &found) {
                found
            } else {
                Vec::new()
            }
        } else {
            let fits =
                |(i, piece): &(usize, Arc<HeldPiece>)| self.fits_beside(variant, &exact, *i, piece);
            found.into_iter().filter(fits).collect()
        };
        for (i, piece) in proven {
            let slot = &mut variant.slots[i];
            slot.of = slot.of.as_ref().map(|of| under(of, &piece));
        }
    }

    /// The piece that is named most like `of`, if there is one such: one's path is the end of the
    /// other's, and every parameter that isn't a credential is the same. A folder of another name
    /// may be another video.
    fn candidate(&self, of: &Ref) -> Option<&Arc<HeldPiece>> {
        let depth = address::depth(&of.url);
        let likeness = |kept: &Arc<HeldPiece>| address::common_tail(&kept.piece.url, &of.url);
        let usable = |kept: &&Arc<HeldPiece>| {
            let url = &kept.piece.url;
            let own = || address::parameters(url);
            !self.named.contains(url)
                && kept.class == Class::Segment
                && kept.fits(of)
                && likeness(kept) >= depth.min(address::depth(url).max(2))
                && address::parameters(&of.url).all(|p| own().any(|q| q == p))
        };
        let all: Vec<_> = self
            .pieces
            .named(address::file_name(&of.url))
            .filter(usable)
            .collect();
        let most = all.iter().map(|kept| likeness(kept)).max()?;
        let best: Vec<_> = all
            .into_iter()
            .filter(|kept| likeness(kept) == most)
            .collect();
        let identity = |kept: &Arc<HeldPiece>| address::identity(&kept.piece.url);
        let first = identity(best[0]);
        // If they are the same piece under several credentials, the newest is taken.
        let one = best.iter().all(|kept| identity(kept) == first);
        best.into_iter().filter(|_| one).max_by_key(|kept| kept.at)
    }

    /// Whether stand-ins alone are one stretch of one track.
    fn follow_each_other(&self, variant: &Variant, found: &[(usize, Arc<HeldPiece>)]) -> bool {
        let one = variant.slots.len() == 1;
        let alike = |pair: &[(usize, Arc<HeldPiece>)]| {
            let [(a, first), (b, second)] = pair else {
                return true;
            };
            let (before, slot) = (&variant.slots[*a], &variant.slots[*b]);
            before.discontinuity != slot.discontinuity
                || self.goes_on((before, first), (slot, second))
        };
        let timed =
            |(i, piece): &(usize, Arc<HeldPiece>)| self.start(&variant.slots[*i], piece).is_some();
        (one || found.len() > 1) && found.iter().all(timed) && found.windows(2).all(alike)
    }

    /// Whether a stand-in goes on where the nearest piece that the playlist names ends. It must
    /// come from the same operator: other pieces lie under the addresses in the playlist, so this
    /// one was not redirected to another.
    fn fits_beside(
        &self,
        variant: &Variant,
        exact: &[(usize, Arc<HeldPiece>)],
        i: usize,
        piece: &Arc<HeldPiece>,
    ) -> bool {
        let slot = &variant.slots[i];
        let Some(of) = &slot.of else { return false };
        if of.url.contains('?') || address::domain(&of.url) != address::domain(&piece.piece.url) {
            return false;
        }
        let stretch = |(n, _): &&(usize, Arc<HeldPiece>)| {
            variant.slots[*n].discontinuity == slot.discontinuity
        };
        let near = exact
            .iter()
            .filter(stretch)
            .min_by_key(|(n, _)| n.abs_diff(i));
        near.is_some_and(|(n, other)| self.goes_on((&variant.slots[*n], other), (slot, piece)))
    }

    /// Whether two pieces are as far apart by their time stamps as their slots are.
    fn goes_on(&self, a: (&Slot, &HeldPiece), b: (&Slot, &HeldPiece)) -> bool {
        let alike = || Some(a.1.probe()?.is_like(b.1.probe()?));
        let (Some(from), Some(to)) = (self.start(a.0, a.1), self.start(b.0, b.1)) else {
            return false;
        };
        let stamped = to.as_secs_f64() - from.as_secs_f64();
        let listed = b.0.start.as_secs_f64() - a.0.start.as_secs_f64();
        let shorter = a.0.duration.min(b.0.duration);
        alike() == Some(true) && (stamped - listed).abs() <= shorter.as_secs_f64() * DRIFT
    }

    /// When a piece begins, by its own time stamps.
    fn start(&self, slot: &Slot, piece: &HeldPiece) -> Option<Duration> {
        let init: Option<&Probe> = match &slot.init {
            Init::At(of) => self.pieces.find(of).and_then(|init| init.probe()),
            Init::Own | Init::Unknown => None,
        };
        piece.probe()?.start(init)
    }
}

/// The bytes of `of`, at the address of `piece`.
fn under(of: &Ref, piece: &HeldPiece) -> Ref {
    Ref {
        url: piece.piece.url.clone(),
        range: of.range.clone(),
    }
}
