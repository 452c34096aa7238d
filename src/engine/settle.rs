//! Pure: when is a held file finished? Time is an argument; events only say when to look.
//!
//! A look finds whether anyone has the file open for writing ([`Writers`], from the lease), whether
//! it still has a name outside staging, and a [`Stamp`] that changes with the content. The answer
//! is a [`Step`].

use std::time::{Duration, Instant};

/// A file that still has a name may be opened again. If nothing changed for this time, nobody will
/// open it.
pub const GRACE: Duration = Duration::from_secs(1);
/// The same for an empty file: its producer may come back to it later (Firefox closes it once
/// before it writes a byte).
pub const EMPTY: Duration = Duration::from_secs(60);
/// A file that is open for writing and has not changed for this time is looked into.
pub const QUIET: Duration = Duration::from_secs(2);
/// How often a growing file of pieces is looked at: its content must be copied before the browser
/// removes it again. Chromium writes 32 KiB at a time: at 20 Mbit/s that is every 13 ms.
pub const OFTEN: Duration = Duration::from_millis(10);
/// On a file system without leases, `/proc` is asked who writes when nothing changed for this time.
pub const UNSURE: Duration = Duration::from_secs(10);

/// The kernel reports a close before it reduces the count of writers (`__fput` in Linux's
/// fs/file_table.c; on a busy machine another task may run in between). A writer that is seen
/// within this time after a close may be the one that closed.
pub const CLOSING: Duration = Duration::from_secs(1);
/// If a look right after a close found a writer, the next one follows after this time, and each
/// further one after twice the time.
const SOON: Duration = Duration::from_millis(1);
/// The same after the file was held: only rarely is it closed just before we watch it.
const LATER: Duration = Duration::from_millis(500);

/// Who has the file open for writing (writable mappings included).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writers {
    /// Nobody.
    None,
    /// At least one descriptor or mapping.
    Some,
    /// The file system has no leases.
    #[default]
    Unknown,
}

/// Changes whenever the content does: size in bytes and modification time (seconds, nanoseconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds and nanoseconds since the epoch.
    pub modified: (i64, u32),
}

/// What one look at a held file found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Who writes.
    pub writers: Writers,
    /// Whether a name other than ours leads to it.
    pub named: bool,
    /// State of the content.
    pub stamp: Stamp,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again then, at the latest; until then changes need not be reported.
    LookAt(Instant),
    /// Nothing is due: look when the file changes or is closed.
    Sleep,
    /// It is open, but has stopped growing: judge its content, then sleep.
    Quiet,
    /// There is no lease to ask, and nothing changes: ask `/proc` who writes.
    Ask,
    /// Nobody writes, and nobody will.
    Finished,
}

/// What kind of file it is: how its writers behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileKind {
    /// A player's file: kept open long after the last byte, or closed and opened again.
    #[default]
    Player,
    /// A cache entry: whole at each close, as long as nobody opens it again.
    Entry,
    /// A cache entry that is appended to and emptied while it is open: looked at also while it
    /// grows.
    Growing,
}

/// The state of one held file.
#[derive(Clone, Debug)]
pub struct Settle {
    kind: FileKind,
    stamp: Stamp,
    changed: Instant,
    /// The first change that was not judged.
    since: Instant,
    /// The content at `stamp` was reported already.
    judged: bool,
    /// When it was last closed, as far as is known, and how long after that to look again.
    closed: (Instant, Duration),
}

impl Settle {
    /// A file held at `now` with this content.
    pub fn new(kind: FileKind, stamp: Stamp, now: Instant) -> Self {
        Self {
            kind,
            stamp,
            changed: now,
            since: now,
            judged: false,
            closed: (now, LATER),
        }
    }

    /// Whether each change should raise an event, or only the close.
    pub fn wants_changes(&self) -> bool {
        self.kind != FileKind::Entry
    }

    /// Somebody closed it at `now`.
    pub fn closed(&mut self, now: Instant) {
        self.closed = (now, SOON);
    }

    /// The next step, after a look at `now`.
    pub fn step(&mut self, look: Observation, now: Instant) -> Step {
        let step = self.decide(look, now);
        let (closed, first) = self.closed;
        let since = now.saturating_duration_since(closed);
        if look.writers != Writers::Some || since >= CLOSING {
            return step;
        }
        let again = now + since.max(first);
        match step {
            Step::Sleep => Step::LookAt(again),
            Step::LookAt(due) => Step::LookAt(due.min(again)),
            step => step,
        }
    }

    fn decide(&mut self, look: Observation, now: Instant) -> Step {
        if look.stamp != self.stamp {
            self.stamp = look.stamp;
            self.changed = now;
            if self.judged {
                self.since = now;
            }
            self.judged = false;
        }
        if self.kind != FileKind::Player {
            return self.entry(look.writers, now);
        }
        let empty = look.stamp.size == 0;
        match look.writers {
            Writers::None if !look.named => Step::Finished,
            Writers::None => self.after(if empty { EMPTY } else { GRACE }, now, Step::Finished),
            Writers::Some if empty || self.judged => Step::Sleep,
            Writers::Some => {
                let step = self.after(QUIET, now, Step::Quiet);
                self.judged = step == Step::Quiet;
                step
            }
            Writers::Unknown => self.after(UNSURE, now, Step::Ask),
        }
    }

    /// The next step for a cache entry, which is finished once for each content: when it is closed,
    /// or while it grows.
    fn entry(&mut self, writers: Writers, now: Instant) -> Step {
        let step = match writers {
            _ if self.judged => return Step::Sleep,
            Writers::None => Step::Finished,
            Writers::Some if self.kind == FileKind::Growing && now >= self.since + OFTEN => {
                Step::Quiet
            }
            Writers::Some if self.kind == FileKind::Growing => Step::LookAt(self.since + OFTEN),
            Writers::Some => Step::Sleep,
            Writers::Unknown => self.after(GRACE, now, Step::Finished),
        };
        self.judged = matches!(step, Step::Finished | Step::Quiet);
        step
    }

    fn after(&self, patience: Duration, now: Instant, then: Step) -> Step {
        let due = self.changed + patience;
        if now >= due { then } else { Step::LookAt(due) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Writers = Writers::None;
    const SOME: Writers = Writers::Some;

    /// The kernel reduces the count of writers only after it has reported the close, and reports
    /// nothing then: so the file is looked at again.
    #[test]
    fn a_close_that_is_not_counted_yet() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let look = |writers, size| Observation {
            writers,
            named: false,
            stamp: Stamp {
                size,
                modified: (0, 0),
            },
        };
        let (some, none) = (look(SOME, 9), look(NONE, 9));
        for kind in [FileKind::Player, FileKind::Entry] {
            let mut settle = Settle::new(kind, some.stamp, start);
            settle.closed(start);
            assert_eq!(
                settle.step(some, start),
                Step::LookAt(start + ms(1)),
                "{kind:?}"
            );
            assert_eq!(
                settle.step(some, start + ms(1)),
                Step::LookAt(start + ms(2)),
                "{kind:?}"
            );
            assert_eq!(
                settle.step(some, start + ms(2)),
                Step::LookAt(start + ms(4)),
                "{kind:?}"
            );
            assert_eq!(settle.step(none, start + ms(4)), Step::Finished, "{kind:?}");
        }
        // A second writer stays: the looks come to an end.
        for (closed, first, expected) in [(true, 1, 11), (false, 500, 2)] {
            let mut settle = Settle::new(FileKind::Entry, some.stamp, start);
            if closed {
                settle.closed(start);
            }
            let (mut at, mut looks) = (start, 0);
            while let Step::LookAt(due) = settle.step(some, at) {
                assert!(looks > 0 || due == start + ms(first));
                (at, looks) = (due, looks + 1);
            }
            assert_eq!((looks, at >= start + CLOSING), (expected, true));
        }
        // What was judged while it was open is finished by its close alone.
        let mut settle = Settle::new(FileKind::Player, some.stamp, start);
        assert_eq!(settle.step(some, start + QUIET), Step::Quiet);
        let end = start + 2 * QUIET;
        assert_eq!(settle.step(some, end), Step::Sleep);
        settle.closed(end);
        assert_eq!(settle.step(some, end), Step::LookAt(end + ms(1)));
        assert_eq!(settle.step(none, end + ms(1)), Step::Finished);
    }

    /// Each case: the story, then looks as (seconds, writers, named, size) with the step expected.
    #[test]
    fn stories() {
        use Writers::Unknown;
        let s = |secs: f64| Duration::from_secs_f64(secs);
        #[derive(Debug, PartialEq)]
        enum Want {
            At(f64),
            Sleep,
            Quiet,
            Ask,
            Finished,
        }
        use Want::*;
        type Story = (&'static str, &'static [(f64, Writers, bool, u64, Want)]);
        let stories: &[Story] = &[
            (
                "hidden, written, closed",
                &[
                    (0.0, SOME, false, 0, Sleep),
                    (3.0, NONE, false, 9, Finished),
                ],
            ),
            (
                "closed once before a byte was written, then written",
                &[
                    (0.0, NONE, true, 0, At(60.0)),
                    (0.2, SOME, false, 0, Sleep),
                    (5.0, NONE, false, 9, Finished),
                ],
            ),
            (
                "closed by a producer that keeps the name",
                &[
                    (0.0, NONE, true, 9, At(1.0)),
                    (1.0, NONE, true, 9, Finished),
                ],
            ),
            (
                "reopened within the grace and appended to",
                &[
                    (0.0, NONE, true, 9, At(1.0)),
                    (0.5, SOME, true, 9, At(2.0)),
                    (0.9, NONE, true, 12, At(1.9)),
                    (1.9, NONE, true, 12, Finished),
                ],
            ),
            (
                "kept open long after the last byte, then more, then closed",
                &[
                    (0.0, SOME, false, 9, At(2.0)),
                    (2.0, SOME, false, 30, At(4.0)),
                    (4.0, SOME, false, 30, Quiet),
                    (4.1, SOME, false, 30, Sleep),
                    (60.0, SOME, false, 31, At(62.0)),
                    (62.0, SOME, false, 31, Quiet),
                    (99.0, NONE, false, 31, Finished),
                ],
            ),
            (
                "empty and left behind",
                &[
                    (0.0, NONE, true, 0, At(60.0)),
                    (60.0, NONE, true, 0, Finished),
                ],
            ),
            (
                "no leases on this file system",
                &[
                    (0.0, Unknown, true, 9, At(10.0)),
                    (10.0, Unknown, true, 9, Ask),
                ],
            ),
            (
                "entry: judged at each close, and once for each content",
                &[
                    (0.0, SOME, true, 0, Sleep),
                    (0.5, SOME, true, 9, Sleep),
                    (0.6, NONE, true, 12, Finished),
                    (0.6, NONE, true, 12, Sleep),
                    (9.0, SOME, true, 3, Sleep),
                    (9.1, NONE, false, 5, Finished),
                ],
            ),
            (
                "growing: looked at every 10 ms though it never rests",
                &[
                    (0.0, SOME, true, 9, At(0.01)),
                    (0.005, SOME, true, 10, At(0.01)),
                    (0.01, SOME, true, 11, Quiet),
                    (0.011, SOME, true, 11, Sleep),
                    (0.2, SOME, true, 12, At(0.21)),
                    (0.21, SOME, true, 5, Quiet),
                    (0.22, NONE, true, 5, Sleep),
                ],
            ),
        ];
        for (story, looks) in stories {
            let start = Instant::now();
            let kind = match story {
                _ if story.starts_with("entry: ") => FileKind::Entry,
                _ if story.starts_with("growing: ") => FileKind::Growing,
                _ => FileKind::Player,
            };
            let mut settle = Settle::new(
                kind,
                Stamp {
                    size: looks[0].3,
                    modified: (0, 0),
                },
                start,
            );
            settle.closed.0 -= CLOSING;
            for (i, (at, writers, named, size, want)) in looks.iter().enumerate() {
                let stamp = Stamp {
                    size: *size,
                    modified: (0, 0),
                };
                let got = match settle.step(
                    Observation {
                        writers: *writers,
                        named: *named,
                        stamp,
                    },
                    start + s(*at),
                ) {
                    Step::LookAt(t) => At(((t - start).as_secs_f64() * 1000.0).round() / 1000.0),
                    Step::Sleep => Sleep,
                    Step::Quiet => Quiet,
                    Step::Ask => Ask,
                    Step::Finished => Finished,
                };
                assert_eq!(&got, want, "{story}, look {i}");
            }
        }
    }
}
