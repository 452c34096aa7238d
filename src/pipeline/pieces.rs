//! Cache entries: handed to the collector, and what it puts together saved as everything else.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    Pipeline, Waiting, chain,
    item::{Became, GRACE, Item, Key, Substance},
};
use crate::{
    config::Settings,
    engine::{
        Hold, HoldId,
        staging::{Mark, Origin},
    },
    event::{Event, How},
    library::{
        folder::{PlaceError, Placed},
        name::Name,
        place,
    },
    rule::{Rule, Source},
    stream::{
        Storage,
        collect::{
            HeldEntry, Limits, Outcome,
            video::{CachedVideo, Making},
        },
    },
};

/// What the collector keeps out by itself.
pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        min_size: settings.min_size,
        min_duration: settings.min_duration,
    }
}

impl Pipeline {
    /// An entry was closed at this time, or a file of ranges has grown.
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
            id: hold.id,
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
                        .join(origin.encode(Mark::Copy(hold.id)))
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

    /// Another video's piece came into this cache: what its browser shows next is that one's title.
    fn end_grace(&mut self, cache: Option<&Path>) {
        let is_of_cache = |waiting: &Waiting| matches!(waiting, Waiting::Stream(video) if Some(&*video.folder) == cache);
        let ended: Vec<_> = self
            .untitled
            .extract_if(.., |(_, waiting)| is_of_cache(waiting))
            .collect();
        for (_, waiting) in ended {
            if let Waiting::Stream(video) = waiting {
                self.stream_until(video, SystemTime::now());
            }
        }
    }

    /// Saves and lets go what the collector says.
    pub(super) fn collected(&mut self, now: Instant) {
        for outcome in self.collector.due(now) {
            match outcome {
                Outcome::Video(video) => self.stream(video),
                Outcome::Release(id) => self.let_go(id),
                Outcome::Dropped {
                    folder,
                    url,
                    reason,
                } => {
                    tracing::debug!("{url}: {reason}");
                    let (source, rule) = (folder.clone(), self.rule_of(&folder).name.clone());
                    self.end(
                        Event::Dropped {
                            source,
                            rule,
                            reason,
                        },
                        |_| {},
                    );
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
        let last = moment(video.until);
        // The viewer of what isn't whole has left.
        let deadline = if video.whole() { last + GRACE } else { last };
        self.stream_until(video, deadline);
    }

    /// As [`Pipeline::stream`]; `deadline` is until when a player may show the title.
    fn stream_until(&mut self, video: Box<CachedVideo>, deadline: SystemTime) {
        match self.save_stream(&video, deadline) {
            Ok(Became::Untitled(until)) => {
                return self.untitled.push((until, Waiting::Stream(video)));
            }
            Ok(Became::Ended | Became::Waits) => {}
            Err(PlaceError::Stopped) => return,
            Err(e) if e.retry() => return self.wait(Waiting::Stream(video), &e),
            Err(e) => {
                let (source, rule) = (
                    video.folder.clone(),
                    self.rule_of(&video.folder).name.clone(),
                );
                self.end(
                    Event::Dropped {
                        source,
                        rule,
                        reason: chain(&e),
                    },
                    |_| {},
                );
            }
        }
        for id in self.collector.finished(video.id) {
            self.let_go(id);
        }
    }

    fn save_stream(
        &mut self,
        video: &CachedVideo,
        deadline: SystemTime,
    ) -> Result<Became, PlaceError> {
        let (rule, settled) = (self.rule_of(&video.folder), Instant::now());
        let making = video
            .making()
            .map_err(|e| PlaceError::Read(io::Error::other(e)))?;
        let item = Item {
            key: Key::Stream(video.id),
            replaces: video.replaces.map(Key::Stream),
            source: &video.folder,
            rule: &rule,
            how: How::Link,
            producer: None,
            at: self.begin(video),
            until: moment(video.until),
            deadline,
            report: &making.report,
            bytes: making.bytes,
            substance: Substance::Made(&making),
            stamp: None,
            finished: true,
            title: video.title.as_deref(),
            file_title: video.file_title.as_deref(),
            address_title: video.address_title.as_deref(),
            address: video.site.clone(),
            remarks: Some(making.remarks(video)).filter(|remarks| !remarks.is_empty()),
            settled,
        };
        let became = self.keep(&item)?;
        if let Some(copy) = self.copies.get(&item.key) {
            self.subtitles(&making, &copy.placed);
        }
        if video.whole() {
            self.copies.remove(&item.key);
        }
        Ok(became)
    }

    /// When the browser created the first of its entries, which may be long before it was closed.
    fn begin(&self, video: &CachedVideo) -> SystemTime {
        let holds = video.entries.iter().filter_map(|id| self.pieces.get(id));
        let first = holds.map(|hold| hold.at).min();
        let arrived = moment(video.since);
        first.map_or(arrived, |first| first.min(arrived))
    }

    /// Subtitles that were played, beside the video and under its name.
    fn subtitles(&self, making: &Making, placed: &Placed) {
        let Some((language, text)) = making.subtitles() else {
            return;
        };
        let (Some(folder), Some(stem)) = (placed.path.parent(), placed.path.file_stem()) else {
            return;
        };
        let stem = stem.to_string_lossy();
        let stem =
            language.map_or_else(|| stem.to_string(), |language| format!("{stem}.{language}"));
        let write = |file: &mut File| file.write_all(text.as_bytes());
        if let Err(e) = place::write_new(folder, &Name::plain(&stem, "vtt"), write) {
            (self.sink)(Event::Error {
                message: format!("subtitles: {}", chain(&e)),
            });
        }
    }

    /// The rule by which a cache folder is watched.
    fn rule_of(&self, folder: &Path) -> Arc<Rule> {
        let of = |hold: &&Arc<Hold>| hold.source.parent() == Some(folder);
        match self.pieces.values().find(of) {
            Some(hold) => hold.rule.clone(),
            None => Arc::new(Rule {
                name: "browser-cache".into(),
                folders: Vec::new(),
                files: Vec::new(),
                recursive: false,
                source: Source::Chromium,
            }),
        }
    }
}

/// The time of day at that instant.
fn moment(at: Instant) -> SystemTime {
    SystemTime::now() - at.elapsed()
}
