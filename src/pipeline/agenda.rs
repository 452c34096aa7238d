//! Pure: videos that wait, and when each is due again. Time is an argument.
//!
//! A whole video without a title waits for one until its deadline. What the library can't take
//! waits, too: the system doesn't report when a full disk has room again, so saving is tried again
//! after a pause that grows with each try.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{engine::Hold, stream::collect::video::CachedVideo};

/// The pause before the second try. Each further pause is twice as long.
const RETRY: Duration = Duration::from_secs(15);
/// The longest pause.
const RETRY_MOST: Duration = Duration::from_secs(600);

/// A video that waits.
pub(super) enum Waiting {
    /// A player's file.
    Player {
        hold: Arc<Hold>,
        finished: bool,
        at: Instant,
    },
    /// Pieces of a cache, put together.
    Stream(Box<CachedVideo>),
}

/// All videos that wait. `W` is a [`Waiting`], except in tests.
pub(super) struct Agenda<W> {
    /// Those that wait for a title, and until when.
    untitled: Vec<(Instant, W)>,
    /// Those that the library refused.
    refused: Vec<W>,
    /// When the refused ones are tried again.
    retry: Option<Instant>,
    /// The pause before that.
    pause: Duration,
}

impl<W> Agenda<W> {
    pub(super) fn new() -> Self {
        Self {
            untitled: Vec::new(),
            refused: Vec::new(),
            retry: None,
            pause: RETRY,
        }
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        let untitled = self.untitled.iter().map(|(until, _)| *until);
        untitled.chain(self.retry).min()
    }

    /// Keeps a whole video, which waits for a title until then.
    pub(super) fn wait_for_title(&mut self, until: Instant, waiting: W) {
        self.untitled.push((until, waiting));
    }

    /// Keeps a video that the library can't take. Returns whether it is the first one refused since
    /// the library last took all.
    pub(super) fn refuse(&mut self, waiting: W, now: Instant) -> bool {
        let is_news = self.refused.is_empty() && self.pause == RETRY;
        self.refused.push(waiting);
        self.retry = Some(now + self.pause);
        is_news
    }

    /// Takes out what is due at `now`, to be tried again. Then call [`Agenda::tried`].
    pub(super) fn due(&mut self, now: Instant) -> Vec<W> {
        let ended = self.untitled.extract_if(.., |(until, _)| *until <= now);
        let mut due: Vec<_> = ended.map(|(_, waiting)| waiting).collect();
        if self.retry.is_some_and(|retry| retry <= now) {
            due.extend(self.refused());
        }
        due
    }

    /// Takes out what was refused, to be tried again now. Then call [`Agenda::tried`].
    pub(super) fn refused(&mut self) -> Vec<W> {
        if self.retry.take().is_some() {
            self.pause = (self.pause * 2).min(RETRY_MOST);
        }
        std::mem::take(&mut self.refused)
    }

    /// All that was due has been tried. If nothing was refused again, the pause starts over at the
    /// shortest.
    pub(super) fn tried(&mut self) {
        if self.refused.is_empty() {
            self.pause = RETRY;
        }
    }

    /// Takes out those that wait for a title, because one may have been shown.
    pub(super) fn untitled(&mut self) -> Vec<W> {
        let untitled = std::mem::take(&mut self.untitled);
        untitled.into_iter().map(|(_, waiting)| waiting).collect()
    }
}

impl Agenda<Waiting> {
    /// Takes out the videos of this cache that wait for a title.
    pub(super) fn untitled_of(&mut self, cache: Option<&Path>) -> Vec<CachedVideo> {
        let is_of_cache = |waiting: &Waiting| matches!(waiting, Waiting::Stream(video) if Some(&*video.folder) == cache);
        let untitled = &mut self.untitled;
        let ended = untitled.extract_if(.., |(_, waiting)| is_of_cache(waiting));
        ended
            .filter_map(|(_, waiting)| match waiting {
                Waiting::Stream(video) => Some(*video),
                Waiting::Player { .. } => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_tried_after_growing_pauses() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut agenda = Agenda::new();
        assert_eq!(agenda.next(), None);
        assert!(agenda.refuse("a", start));
        assert!(!agenda.refuse("b", start), "said once");
        assert_eq!(agenda.due(at(14)), [""; 0]);

        let mut now = 0;
        for pause in [15, 30, 60, 120, 240, 480, 600, 600] {
            now += pause;
            assert_eq!(agenda.next(), Some(at(now)));
            assert_eq!(agenda.due(at(now)), ["a", "b"]);
            assert!(!agenda.refuse("a", at(now)) && !agenda.refuse("b", at(now)));
            agenda.tried();
        }
        // Something changed, so both are tried at once. One is taken, the other not yet.
        assert_eq!(agenda.refused(), ["a", "b"]);
        assert!(!agenda.refuse("b", at(now)));
        agenda.tried();
        assert_eq!(agenda.refused(), ["b"]);
        agenda.tried();
        assert_eq!(agenda.next(), None);
        assert!(agenda.refuse("c", at(now)), "news again");
        assert_eq!(agenda.next(), Some(at(now + 15)));
    }

    #[test]
    fn titles_are_waited_for() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut agenda = Agenda::new();
        agenda.wait_for_title(at(20), "a");
        agenda.wait_for_title(at(5), "b");
        assert_eq!(agenda.next(), Some(at(5)));
        assert_eq!(agenda.due(at(5)), ["b"]);
        assert_eq!(agenda.due(at(5)), [""; 0]);
        agenda.refuse("c", start);
        assert_eq!(agenda.next(), Some(at(15)));
        assert_eq!(agenda.untitled(), ["a"]);
        assert_eq!(agenda.due(at(20)), ["c"]);
        assert_eq!(agenda.next(), None);
    }
}
