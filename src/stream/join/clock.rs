//! One time line over discontinuities: how much to add to the time stamps of each stretch. Pure; in
//! nanoseconds.

use std::{collections::HashMap, time::Duration};

use super::choose::FilledSlot;

/// A stretch that begins this close to where it should is not moved: playlists round their lengths.
const SLACK: i128 = 1_000_000_000;
/// Time stamps are rounded by less than this.
const ROUNDED: i128 = 2_000_000;
/// The first stretch may start up to this time, and within a stretch stamps may run ahead by this
/// much without a jump.
pub(crate) const LATE: i128 = 10_000_000_000;

/// The segment before: where it starts and ends by its shifted stamps, and where it ends by the
/// playlist.
#[derive(Clone, Copy, Debug)]
struct Last {
    start: i128,
    end: i128,
    listed: Duration,
    /// Its own stamps say where it ends.
    exact: bool,
}

/// See the module. Tracks of one video share a clock, pictures first.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Where time stamps start over.
    wrap: Option<i128>,
    /// For each discontinuity number what is added, and from which time of the playlist on. There
    /// are several if stamps jump where the playlist has no discontinuity.
    shifts: HashMap<u32, Vec<(Duration, i128)>>,
    /// The last segment of this track.
    last: Option<Last>,
}

impl Clock {
    /// For time stamps without end.
    pub(crate) fn endless() -> Self {
        Self {
            wrap: None,
            shifts: HashMap::new(),
            last: None,
        }
    }

    /// For time stamps that start over after `wrap`. They may begin anywhere.
    pub(crate) fn wrapping(wrap: i128) -> Self {
        Self {
            wrap: Some(wrap),
            ..Self::endless()
        }
    }

    /// Another track begins.
    pub(crate) fn rewind(&mut self) {
        self.last = None;
    }

    /// What is added to the time stamps of `slot`, whose first one is `stamp`. A new stretch
    /// continues where the segment before it ended: the playlist's own sum of lengths drifts.
    pub(crate) fn shift(&mut self, slot: &FilledSlot, stamp: i128) -> i128 {
        if let Some(shift) = self.known(slot, stamp) {
            return shift;
        }
        let between = |to: Duration| slot.start.as_nanos() as i128 - to.as_nanos() as i128;
        let shift = match self.last {
            Some(last) => {
                let off = self.moved(last.end + between(last.listed) - stamp, 0);
                // Time never goes back in what is saved.
                let stays = off.abs() < SLACK && !(last.exact && off > ROUNDED);
                if stays { 0 } else { off }
            }
            None if self.wrap.is_some() => 0,
            None => self.moved(between(Duration::ZERO) - stamp, LATE),
        };
        let shifts = self.shifts.entry(slot.discontinuity).or_default();
        shifts.push((slot.start, shift));
        shift
    }

    /// Whether a new stretch begins with `slot`, after another one.
    pub(crate) fn begins_anew(&self, slot: &FilledSlot, stamp: i128) -> bool {
        self.last.is_some() && self.known(slot, stamp).is_none()
    }

    /// The shift of the stretch that `slot` is in, unless its stamps jump.
    fn known(&self, slot: &FilledSlot, stamp: i128) -> Option<i128> {
        let shifts = self.shifts.get(&slot.discontinuity)?;
        let from = |(from, _): &&(Duration, i128)| {
            from.as_nanos() as i128 <= slot.start.as_nanos() as i128 + SLACK
        };
        let shift = shifts.iter().rev().find(from).or(shifts.first())?.1;
        let Some(last) = self.last else {
            return Some(shift);
        };
        // Stamps must rise. A segment may be a little later than the playlist says, because lengths
        // are rounded.
        let off = |to: i128| self.moved(stamp + shift - to, 0);
        let half = slot.duration.as_nanos() as i128 / 2;
        let gap = slot.start.as_nanos() as i128 - last.listed.as_nanos() as i128;
        let rises = off(last.start) > 0 && off(last.end) > -half.max(SLACK);
        (rises && off(last.end) < gap.max(0) + LATE).then_some(shift)
    }

    /// `slot` is stamped from `start` to `end`, shifted.
    pub(crate) fn passed(&mut self, slot: &FilledSlot, start: i128, end: i128) {
        let listed = slot.start.saturating_add(slot.duration);
        self.last = Some(Last {
            start,
            end,
            listed,
            exact: false,
        });
    }

    /// The last segment ends there, as its own last stamps say.
    pub(crate) fn ended(&mut self, end: i128) {
        if let Some(last) = &mut self.last {
            (last.end, last.exact) = (end, true);
        }
    }

    fn moved(&self, off: i128, slack: i128) -> i128 {
        let off = self
            .wrap
            .map_or(off, |wrap| (off + wrap / 2).rem_euclid(wrap) - wrap / 2);
        if off.abs() < slack { 0 } else { off }
    }
}

#[cfg(test)]
mod tests {
    use super::super::choose::BodyRange;
    use super::*;

    const S: i128 = 1_000_000_000;

    /// Lays segments of four seconds: start by the playlist, discontinuity, first time stamp →
    /// shift, in seconds.
    fn lay(mut clock: Clock, cases: &[(f64, u32, i128, i128)]) {
        for &(start, discontinuity, stamp, want) in cases {
            let of = BodyRange {
                body: 0,
                range: 0..1,
            };
            let (start, duration) = (Duration::from_secs_f64(start), Duration::from_secs(4));
            let pick = FilledSlot {
                of,
                init: None,
                start,
                duration,
                discontinuity,
            };
            let shift = clock.shift(&pick, stamp * S);
            assert_eq!(shift, want * S, "{start:?}");
            clock.passed(&pick, stamp * S + shift, stamp * S + shift + 4 * S);
        }
    }

    #[test]
    fn stretches_follow_each_other() {
        lay(
            Clock::endless(),
            &[
                (0.0, 0, 0, 0),
                (4.0, 0, 4, 0),
                (8.0, 1, 0, 8),
                (12.0, 1, 4, 8),
                (16.0, 2, 16, 0),
            ],
        );
        // A segment is missing before the second stretch.
        lay(Clock::endless(), &[(0.0, 0, 0, 0), (8.0, 1, 0, 8)]);
        // The playlist's lengths are rounded up: its time runs ahead of the stamps.
        lay(
            Clock::endless(),
            &[
                (0.0, 0, 0, 0),
                (40.0, 0, 36, 0),
                (44.0, 1, 40, 0),
                (48.0, 2, 0, 44),
            ],
        );
    }

    #[test]
    fn stamps_that_jump_where_the_playlist_says_nothing() {
        let again = [(0.0, 0, 0, 0), (4.0, 0, 0, 4), (8.0, 0, 0, 8)];
        lay(Clock::endless(), &again);
        lay(Clock::wrapping(1000 * S), &again);
        lay(
            Clock::endless(),
            &[(0.0, 0, 0, 0), (4.0, 0, 500, -496), (8.0, 0, 504, -496)],
        );
        // A segment that is missing is no jump.
        lay(Clock::endless(), &[(0.0, 0, 0, 0), (40.0, 0, 40, 0)]);
    }

    #[test]
    fn where_it_begins() {
        lay(Clock::endless(), &[(0.0, 0, 9, 0), (4.0, 0, 13, 0)]);
        lay(
            Clock::endless(),
            &[
                (0.0, 0, 1_700_000_000, -1_700_000_000),
                (4.0, 0, 1_700_000_004, -1_700_000_000),
            ],
        );
        lay(
            Clock::wrapping(100 * S),
            &[(0.0, 0, 90, 0), (4.0, 0, 94, 0), (8.0, 1, 98, 0)],
        );
    }

    #[test]
    fn stamps_that_start_over_are_no_jump() {
        lay(
            Clock::wrapping(100 * S),
            &[
                (0.0, 0, 95, 0),
                (4.0, 1, 99, 0),
                (8.0, 2, 3, 0),
                (12.0, 3, 50, -43),
            ],
        );
    }
}
