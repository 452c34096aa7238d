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
    item::{Item, Key, Substance},
};
use crate::{
    config::Settings,
    engine::{Hold, HoldId, staging::Origin},
    event::{Event, How},
    library::{
        folder::{PlaceError, Placed},
        name::Name,
        place,
    },
    rule::{Rule, Source},
    stream::{
        Grip,
        collect::{
            Held, Limits, Outcome,
            video::{Making, Video},
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
    /// An entry was closed, or a file of ranges has grown.
    pub(super) fn piece(&mut self, hold: Arc<Hold>) {
        let now = Instant::now();
        let staged = hold.staged.as_ref();
        let held = Held {
            id: hold.id,
            source: &hold.source,
            format: hold.rule.source,
            grip: Grip::File(hold.file.clone()),
            spool: staged
                .filter(|_| hold.rule.source == Source::Chromium)
                .map(|staged| {
                    let name = hold.source.file_name().unwrap_or_default().to_owned();
                    let origin = Origin {
                        at: SystemTime::now(),
                        rule: hold.rule.name.clone(),
                        name,
                    };
                    staged.staging.path().join(origin.encode(hold.id))
                }),
        };
        let keep = self.collector.entry(&held, now);
        self.done(hold.id, keep);
        if keep {
            self.pieces.insert(hold.id, hold);
        } else {
            self.pieces.remove(&hold.id);
        }
        self.collected(now);
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

    /// Saves a video that was put together, and lets its pieces go.
    pub(super) fn stream(&mut self, video: Box<Video>) {
        match self.save_stream(&video) {
            Ok(()) => {}
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

    fn save_stream(&mut self, video: &Video) -> Result<(), PlaceError> {
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
            at: SystemTime::now() - video.since.elapsed(),
            report: &making.report,
            bytes: making.bytes,
            substance: Substance::Made(&making),
            stamp: None,
            finished: true,
            title: video.title.clone(),
            address: video.site.clone(),
            remarks: Some(making.remarks(video)).filter(|remarks| !remarks.is_empty()),
            settled,
        };
        self.keep(&item)?;
        if let Some(copy) = self.copies.get(&item.key) {
            self.subtitles(&making, &copy.placed);
        }
        if video.whole() {
            self.copies.remove(&item.key);
        }
        Ok(())
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
