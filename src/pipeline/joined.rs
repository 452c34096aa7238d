//! Saves a video that was put together from pieces, for the worker and for `rebuild`.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    chain,
    item::{GRACE, Item, ItemContent, Key, SaveOutcome},
    saver::Saver,
};
use crate::{
    event::How,
    library::{
        folder::{PlaceError, Placed},
        name::Name,
        place,
    },
    rule::{Rule, Source},
    stream::collect::video::{CachedVideo, PlannedVideo},
};

/// How the pieces of a video came.
pub(super) struct Arrival {
    /// The rule by which their cache is watched.
    pub(super) rule: Arc<Rule>,
    /// When the browser created the first of them.
    pub(super) since: SystemTime,
    /// Until when a player may show the title.
    pub(super) deadline: SystemTime,
}

impl Arrival {
    /// For a cache that isn't watched.
    pub(super) fn unwatched(video: &CachedVideo) -> Self {
        Self {
            rule: unwatched(),
            since: moment(video.since),
            deadline: deadline(video),
        }
    }
}

impl Saver {
    /// Saves it, with the subtitles that were played.
    pub(super) fn stream(
        &mut self,
        video: &CachedVideo,
        arrival: &Arrival,
    ) -> Result<SaveOutcome, PlaceError> {
        let settled = Instant::now();
        let planned = video
            .plan()
            .map_err(|e| PlaceError::Read(io::Error::other(e)))?;
        let item = Item {
            key: Key::Stream(video.id),
            replaces: video.replaces.map(Key::Stream),
            source: &video.folder,
            rule: &arrival.rule,
            how: How::Link,
            producer: None,
            at: arrival.since,
            until: moment(video.until),
            deadline: arrival.deadline,
            report: &planned.report,
            bytes: planned.bytes,
            content: ItemContent::Made(&planned),
            stamp: None,
            finished: true,
            title: video.title.as_deref(),
            file_title: video.file_title.as_deref(),
            address_title: video.address_title.as_deref(),
            address: video.site.clone(),
            remarks: Some(planned.remarks(video)).filter(|remarks| !remarks.is_empty()),
            settled,
        };
        let became = self.keep(&item)?;
        if let Some(copy) = self.copy(item.key) {
            self.subtitles(&planned, &copy.placed);
        }
        if video.whole() {
            self.settle(item.key);
        }
        Ok(became)
    }

    /// Subtitles that were played, beside the video and under its name.
    fn subtitles(&self, planned: &PlannedVideo, placed: &Placed) {
        let Some((language, text)) = planned.subtitles() else {
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
            self.fail(format!("subtitles: {}", chain(&e)));
        }
    }
}

/// Until when a player may show its title. If the video isn't whole, its viewer has left, and no
/// title comes any more.
pub(super) fn deadline(video: &CachedVideo) -> SystemTime {
    let last = moment(video.until);
    if video.whole() { last + GRACE } else { last }
}

/// The rule of a cache that no rule watches.
pub(super) fn unwatched() -> Arc<Rule> {
    Arc::new(Rule {
        name: "browser-cache".into(),
        folders: Vec::new(),
        files: Vec::new(),
        recursive: false,
        source: Source::Chromium,
    })
}

/// The time of day at that instant.
pub(super) fn moment(at: Instant) -> SystemTime {
    SystemTime::now() - at.elapsed()
}
