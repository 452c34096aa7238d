//! Cache entries on the worker: the collector's way to engine, library and history.
//!
//! Single entries are nobody's business: only the videos that come of them make events and history entries.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Local;

use super::{APART, Bench, chain};
use crate::{
    config::Settings,
    engine::{Command, Hold, HoldId},
    event::{Event, How, Saved, display},
    fate::{self, Case, Fate},
    library::{
        history::Entry,
        name::{Fields, Name},
        place::{self, Placed},
    },
    media::{Kind, Report, Verdict},
    stream::{
        Grip,
        collect::{Collector, Held, Limits, Outcome},
        video::{Making, Video, VideoId, WriteError},
    },
};

/// What the worker knows of cache entries.
pub(super) struct Streams {
    collector: Collector,
    holds: HashMap<HoldId, Arc<Hold>>,
    /// Rules by the folder that they led to.
    rules: HashMap<PathBuf, String>,
    /// Incomplete videos that may yet be replaced.
    placed: HashMap<VideoId, Placed>,
    /// Videos that can't be saved just now.
    waiting: Vec<Video>,
}

/// Why a video is not in the library.
enum Failed {
    /// The library's fault: it may go later.
    Place(place::Error),
    /// The pieces' fault.
    Pieces(WriteError),
}

impl Streams {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            collector: Collector::new(limits(settings)),
            holds: HashMap::new(),
            rules: HashMap::new(),
            placed: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    pub(super) fn configure(&mut self, settings: &Settings) {
        self.collector.configure(limits(settings));
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.collector.deadline()
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits { min_size: settings.min_size, min_duration: settings.min_duration }
}

impl Bench {
    /// A cache entry was closed, or one of ranges has grown.
    pub(super) fn entry(&mut self, hold: Arc<Hold>) {
        let (grip, spool) = match &hold.staged {
            Some(staged) => {
                (Grip::path(staged.staging.path().join(&staged.name)), Some(staged.staging.path()))
            }
            None => match hold.file.try_clone() {
                Ok(file) => (Grip::File(Arc::new(file)), None),
                Err(e) => {
                    tracing::warn!("{}: {e}", hold.source.display());
                    return self.done(&hold, false);
                }
            },
        };
        let held = Held { id: hold.id, source: &hold.source, format: hold.rule.source, grip, spool };
        let keep = self.streams.collector.entry(&held, Instant::now());
        self.done(&hold, keep);
        if keep {
            let folder = hold.source.parent().unwrap_or(Path::new("")).to_owned();
            self.streams.rules.entry(folder).or_insert_with(|| hold.rule.name.clone());
            self.streams.holds.insert(hold.id, hold);
        } else {
            self.streams.holds.remove(&hold.id);
        }
    }

    /// Does what is due.
    pub(super) fn streams_due(&mut self) {
        for outcome in self.streams.collector.due(Instant::now()) {
            match outcome {
                Outcome::Video(video) => self.video(*video),
                Outcome::Release(id) => self.let_go(id),
                Outcome::Dropped { folder, url, reason } => {
                    tracing::debug!("{url}: {reason}");
                    let (source, rule) = (display(&folder), self.rule(&folder));
                    self.end(Event::Dropped { source, rule, reason }, None);
                }
            }
        }
    }

    /// Tries again what could not be saved.
    pub(super) fn streams_retry(&mut self) {
        for video in std::mem::take(&mut self.streams.waiting) {
            self.video(video);
        }
    }

    fn let_go(&mut self, id: HoldId) {
        self.streams.holds.remove(&id);
        self.engine.send(Command::Done { id, keep: false });
    }

    fn rule(&self, folder: &Path) -> String {
        self.streams.rules.get(folder).cloned().unwrap_or_default()
    }

    fn video(&mut self, video: Video) {
        let began = Instant::now();
        let making = match video.making() {
            Ok(making) => making,
            Err(e) => return self.drop_video(&video, chain(&e)),
        };
        let report = &making.report;
        let apart = match fate::decide(
            Case { report, bytes: making.bytes, private: false, finished: true },
            &self.settings,
        ) {
            Fate::Drop(reason) => return self.drop_video(&video, reason),
            fate => fate == Fate::SaveApart,
        };
        match self.write(&video, &making, apart) {
            Ok(placed) => {
                self.complained = false;
                self.subtitles(&making, &placed);
                self.replaced(&video, &placed);
                self.tell(&video, &making, &placed, began.elapsed());
                self.finished(video.id);
            }
            Err(Failed::Place(e)) if e.retry() => {
                self.pause_for(&e);
                self.streams.waiting.push(video);
            }
            Err(Failed::Place(e)) => self.drop_video(&video, chain(&e)),
            Err(Failed::Pieces(e)) => self.drop_video(&video, chain(&e)),
        }
    }

    fn write(&self, video: &Video, making: &Making, apart: bool) -> Result<Placed, Failed> {
        let folder = if apart { self.settings.library.join(APART) } else { self.settings.library.clone() };
        if apart {
            place::prepare(&folder).map_err(Failed::Place)?;
        }
        let name = self.settings.name.name(&Fields {
            title: video.title.clone(),
            program: None,
            rule: self.rule(&video.folder),
            container: extension(&making.report).into(),
            length: making.report.duration,
            at: Local::now(),
            share: match making.report.verdict {
                Verdict::Incomplete { fraction } => Some(fraction),
                _ => None,
            },
        });
        let mut failed = None;
        let placed = place::write_new(&folder, &name, |file| {
            making.write(file).map_err(|e| match e.of_the_file() {
                Ok(of_the_file) => of_the_file,
                Err(of_the_pieces) => {
                    failed = Some(of_the_pieces);
                    io::Error::other("the pieces can't be read")
                }
            })
        });
        match (placed, failed) {
            (_, Some(e)) => Err(Failed::Pieces(e)),
            (placed, None) => placed.map_err(Failed::Place),
        }
    }

    /// Subtitles that were played, beside the video and under its name.
    fn subtitles(&self, making: &Making, placed: &Placed) {
        let Some((language, text)) = making.subtitles() else { return };
        let (Some(folder), Some(stem)) = (placed.path.parent(), placed.path.file_stem()) else { return };
        let stem = stem.to_string_lossy();
        let stem = language.map_or_else(|| stem.to_string(), |language| format!("{stem}.{language}"));
        let write = |file: &mut fs::File| io::Write::write_all(file, text.as_bytes());
        if let Err(e) = place::write_new(folder, &Name::plain(&stem, "vtt"), write) {
            (self.sink)(Event::Error { message: format!("subtitles: {}", chain(&e)) });
        }
    }

    /// What was saved of the same video before goes, if it is still the file that we put there.
    fn replaced(&mut self, video: &Video, placed: &Placed) {
        if let Some(old) = video.replaces.and_then(|id| self.streams.placed.remove(&id)) {
            let same = |m: &fs::Metadata| (m.dev(), m.ino()) == (old.id.dev, old.id.ino);
            if fs::symlink_metadata(&old.path).is_ok_and(|m| same(&m))
                && let Err(e) = fs::remove_file(&old.path)
            {
                tracing::warn!("{}: {e}", old.path.display());
            }
        }
        if !video.whole() {
            self.streams.placed.insert(video.id, placed.clone());
        }
    }

    fn tell(&self, video: &Video, making: &Making, placed: &Placed, took: Duration) {
        let (verdict, fraction) = match making.report.verdict {
            Verdict::Incomplete { fraction } => ("incomplete", fraction),
            _ if making.report.open_ended => ("open-ended", 1.0),
            _ => ("complete", 1.0),
        };
        let event = Event::Saved(Saved {
            path: display(&placed.path),
            source: display(&video.folder),
            rule: self.rule(&video.folder),
            how: How::Link,
            bytes: placed.bytes,
            container: extension(&making.report).into(),
            verdict: verdict.into(),
            fraction,
            duration_s: making.report.duration.map(|d| d.as_secs_f64()),
            title: video.title.clone().unwrap_or_else(|| "Video".into()),
            producer: None,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        let remarks = making.remarks(video);
        self.end_with(event, |entry: &mut Entry| {
            entry.reason = Some(remarks).filter(|r| !r.is_empty());
            entry.address = video.site.clone().filter(|_| self.settings.addresses);
        });
    }

    fn drop_video(&mut self, video: &Video, reason: String) {
        tracing::debug!("{}: {reason}", video.url);
        let (source, rule) = (display(&video.folder), self.rule(&video.folder));
        self.end(Event::Dropped { source, rule, reason }, None);
        self.finished(video.id);
    }

    fn finished(&mut self, video: VideoId) {
        for id in self.streams.collector.finished(video) {
            self.let_go(id);
        }
    }
}

fn extension(report: &Report) -> &'static str {
    match (report.container, report.kind) {
        (Some(crate::media::Container::Mp4), Kind::Audio) => "m4a",
        (container, _) => container.map_or("bin", |container| container.extension()),
    }
}
