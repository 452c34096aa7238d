//! Cache entries are given to the collector, and the videos that it puts together are saved.

use std::{
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    agenda::Waiting,
    chain,
    item::SaveOutcome,
    joined::{self, Arrival},
    worker::Pipeline,
};
use crate::{
    engine::{
        Hold, HoldId,
        staging::{Mark, Origin},
    },
    library::folder::PlaceError,
    rule::{Rule, Source},
    stream::{
        Storage,
        collect::{HeldEntry, Outcome, video::CachedVideo},
    },
};

impl Pipeline {
    /// Takes in an entry that was closed at this time, or a file of ranges that has grown.
    pub(super) fn piece(&mut self, hold: Arc<Hold>, at: Instant) {
        let staged = hold.staged();
        let storage = match (staged, hold.open()) {
            (Some(staged), _) => Storage::path(staged.staging.path().join(&staged.name)),
            (None, Ok(file)) => Storage::File(file),
            (None, Err(e)) => {
                tracing::warn!("{}: {e}", hold.source.display());
                return self.done(hold.id, false);
            }
        };
        let held = HeldEntry {
            id: hold.id.0,
            source: &hold.source,
            format: hold.rule.source,
            storage,
            spool: staged
                .filter(|_| hold.rule.source == Source::Chromium)
                .map(|staged| {
                    let name = hold.source.file_name().unwrap_or_default().to_owned();
                    let origin = Origin {
                        at: SystemTime::now(),
                        rule: hold.rule.name.clone(),
                        name,
                    };
                    staged
                        .staging
                        .path()
                        .join(origin.encode(Mark::Copy(hold.id.0)))
                }),
        };
        let keep = self.collector.entry(&held, at);
        self.done(hold.id, keep);
        if keep {
            self.end_grace(hold.source.parent());
            self.pieces.insert(hold.id, hold);
        } else {
            self.pieces.remove(&hold.id);
        }
        self.collected(Instant::now());
    }

    /// A piece of another video came into this cache. The next title that its browser shows is that
    /// one's, so the videos before it wait no longer.
    fn end_grace(&mut self, cache: Option<&Path>) {
        for video in self.agenda.untitled_of(cache) {
            self.stream_until(Box::new(video), SystemTime::now());
        }
    }

    /// Does what the collector decided: saves videos, and lets entries go.
    pub(super) fn collected(&mut self, now: Instant) {
        for outcome in self.collector.due(now) {
            match outcome {
                Outcome::Video(video) => self.stream(video),
                Outcome::Release(id) => self.let_go(HoldId(id)),
                Outcome::Dropped {
                    folder,
                    url,
                    reason,
                } => {
                    tracing::debug!("{url}: {reason}");
                    let rule = self.rule_of(&folder);
                    self.saver.drop_source(&folder, &rule, reason);
                }
            }
        }
    }

    fn let_go(&mut self, id: HoldId) {
        self.pieces.remove(&id);
        self.done(id, false);
    }

    /// Saves a video that was put together, and lets its pieces go. They are held while it waits for
    /// its title.
    pub(super) fn stream(&mut self, video: Box<CachedVideo>) {
        let deadline = joined::deadline(&video);
        self.stream_until(video, deadline);
    }

    /// As [`Pipeline::stream`]; `deadline` is until when a player may show the title.
    fn stream_until(&mut self, video: Box<CachedVideo>, deadline: SystemTime) {
        let arrival = Arrival {
            rule: self.rule_of(&video.folder),
            since: self.begin(&video),
            deadline,
        };
        match self.saver.stream(&video, &arrival) {
            Ok(SaveOutcome::Untitled(until)) => {
                return self.agenda.wait_for_title(until, Waiting::Stream(video));
            }
            Ok(SaveOutcome::Ended | SaveOutcome::Waits) => {}
            Err(PlaceError::Stopped) => return,
            Err(e) if e.retry() => return self.wait(Waiting::Stream(video), &e),
            Err(e) => self
                .saver
                .drop_source(&video.folder, &arrival.rule, chain(&e)),
        }
        for id in self.collector.finished(video.id) {
            self.let_go(HoldId(id));
        }
    }

    /// When the browser created the first of its entries, which may be long before it was closed.
    fn begin(&self, video: &CachedVideo) -> SystemTime {
        let holds = video
            .entries
            .iter()
            .filter_map(|&id| self.pieces.get(&HoldId(id)));
        let first = holds.map(|hold| hold.at).min();
        let arrived = joined::moment(video.since);
        first.map_or(arrived, |first| first.min(arrived))
    }

    /// The rule by which a cache folder is watched.
    fn rule_of(&self, folder: &Path) -> Arc<Rule> {
        let of = |hold: &&Arc<Hold>| hold.source.parent() == Some(folder);
        let held = self.pieces.values().find(of);
        held.map_or_else(joined::unwatched, |hold| hold.rule.clone())
    }
}
