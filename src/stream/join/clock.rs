//! One time line over discontinuities: how much to add to the time stamps of each stretch. Pure; in
//! nanoseconds.

use std::{collections::HashMap, time::Duration};

use super::choose::Pick;

/// A stretch that goes on this close to where it should stays as it is: a playlist rounds its
/// lengths.
const SLACK: i128 = 1_000_000_000;
/// The first stretch may start anywhere up to here.
pub(crate) const LATE: i128 = 10_000_000_000;

/// See the module. Tracks of one video share a clock, pictures first.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Where time stamps start over.
    wrap: Option<i128>,
    /// By discontinuity.
    shifts: HashMap<u32, i128>,
    /// Where the last segment ended, stamped and by the playlist.
    last: Option<(i128, Duration)>,
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

    /// For time stamps that start over after `wrap`. Where they begin is nobody's concern.
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

    /// What is added to the time stamps of `pick`, whose first one is `stamp`. A new stretch
    /// continues where the segment before it ended: the playlist's own sum of lengths drifts.
    pub(crate) fn shift(&mut self, pick: &Pick, stamp: i128) -> i128 {
        if let Some(shift) = self.shifts.get(&pick.discontinuity) {
            return *shift;
        }
        let between = |to: Duration| pick.start.as_nanos() as i128 - to.as_nanos() as i128;
        let shift = match self.last {
            Some((end, slot)) => self.moved(end + between(slot) - stamp, SLACK),
            None if self.wrap.is_some() => 0,
            None => self.moved(between(Duration::ZERO) - stamp, LATE),
        };
        self.shifts.insert(pick.discontinuity, shift);
        shift
    }

    /// `pick` is stamped up to `end`, shifted.
    pub(crate) fn passed(&mut self, pick: &Pick, end: i128) {
        self.last = Some((end, pick.start.saturating_add(pick.duration)));
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
    use super::super::choose::Place;
    use super::*;

    const S: i128 = 1_000_000_000;

    /// Lays segments of four seconds: start by the playlist, discontinuity, first time stamp →
    /// shift, in seconds.
    fn lay(mut clock: Clock, cases: &[(f64, u32, i128, i128)]) {
        for &(start, discontinuity, stamp, want) in cases {
            let of = Place {
                body: 0,
                range: 0..1,
            };
            let (start, duration) = (Duration::from_secs_f64(start), Duration::from_secs(4));
            let pick = Pick {
                of,
                init: None,
                start,
                duration,
                discontinuity,
            };
            let shift = clock.shift(&pick, stamp * S);
            assert_eq!(shift, want * S, "{start:?}");
            clock.passed(&pick, stamp * S + shift + 4 * S);
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
