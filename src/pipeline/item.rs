//! What can be saved, wherever it comes from.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, Local};

use crate::{
    content::Content,
    engine::{Hold, HoldId, Producer, settle::Stamp},
    event::{Completeness, How, Saved},
    library::{folder::Placed, name::Fields},
    media::{Container, Kind, Report, Verdict},
    rule::{Rule, Source},
    source::cache,
    stream::collect::video::{PlannedVideo, VideoId},
    title::{Browser, Family, Whose},
};

/// How long after the hold, or after the last piece, a title may be shown for the first time: a
/// short video is whole before its page begins to play it.
pub(super) const GRACE: Duration = Duration::from_secs(20);
/// The family of a process that isn't known.
static NOBODY: Family = Family::unknown();

/// Identifies a video of a source. What was saved under the same key before is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The video that begins at this byte of a held file. Firefox puts several into one.
    Part(HoldId, u64),
    /// A held file of several videos from which not all could be taken out.
    Remainder(HoldId),
    /// Put together from pieces.
    Stream(VideoId),
}

impl Key {
    /// Whether it is a video of this hold.
    pub(super) fn is_of(self, id: HoldId) -> bool {
        matches!(self, Self::Part(of, _) | Self::Remainder(of) if of == id)
    }
}

/// A video that is in the library, and may yet change.
#[derive(Clone)]
pub(super) struct SavedCopy {
    pub(super) placed: Placed,
    /// It lies in the folder for videos that are not whole.
    pub(super) apart: bool,
    /// The content that it was saved from.
    pub(super) stamp: Option<Stamp>,
}

/// Where the bytes are.
#[derive(Clone, Copy)]
pub(super) enum ItemContent<'a> {
    /// In a held file: all of it, or this number of bytes at its beginning.
    Held(&'a Hold, Option<u64>),
    /// Something that can be read.
    Read(&'a dyn Content),
    /// In pieces, which are joined when it is written.
    Made(&'a PlannedVideo),
}

/// A video that can be saved.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) key: Key,
    /// It was saved under this other key before.
    pub(super) replaces: Option<Key>,
    pub(super) source: &'a Path,
    pub(super) rule: &'a Rule,
    pub(super) how: How,
    pub(super) producer: Option<&'a Producer>,
    /// When it began to come: the time of the hold, or of the first piece.
    pub(super) at: SystemTime,
    /// When the last byte, or the last piece, came.
    pub(super) until: SystemTime,
    /// Until when a player may show its title.
    pub(super) deadline: SystemTime,
    pub(super) report: &'a Report,
    pub(super) bytes: u64,
    pub(super) content: ItemContent<'a>,
    pub(super) stamp: Option<Stamp>,
    pub(super) finished: bool,
    /// The playlist's title.
    pub(super) title: Option<&'a str>,
    /// The name that the server gave the file.
    pub(super) file_title: Option<&'a str>,
    /// What the address says.
    pub(super) address_title: Option<&'a str>,
    /// Address of the page.
    pub(super) address: Option<String>,
    /// What is missing or was done to it, for people.
    pub(super) remarks: Option<String>,
    pub(super) settled: Instant,
}

impl Item<'_> {
    /// Which program it came from: the process that had it open, or the browser whose cache is
    /// watched.
    pub(super) fn program(&self) -> Option<String> {
        let producer = self.producer.map(|producer| producer.name.as_str());
        producer.or_else(|| self.browser()).map(str::to_owned)
    }

    /// The browser whose cache is watched.
    fn browser(&self) -> Option<&str> {
        self.rule
            .source
            .is_cache()
            .then(|| cache::program(self.rule, self.source))
            .flatten()
    }

    /// Whose players may have shown its title.
    pub(super) fn whose(&self) -> Whose<'_> {
        let bus_name = match self.rule.source {
            Source::Firefox => "firefox",
            _ => "chromium",
        };
        match (self.producer, self.browser()) {
            (Some(producer), _) => Whose::Process(&producer.family),
            (None, Some(name)) => Whose::Browser(Browser { name, bus_name }),
            (None, None) => Whose::Process(&NOBODY),
        }
    }
}

/// What came of saving a video.
pub(super) enum SaveOutcome {
    /// It is in the library, or is dropped for good.
    Ended,
    /// It is still being written: it is judged again when it changes.
    Waits,
    /// It is whole, and waits for a title until then.
    Untitled(Instant),
}

/// The file extension for what is in it.
pub(super) fn extension(report: &Report) -> &'static str {
    match (report.container, report.kind) {
        (Some(Container::Mp4), Kind::Audio) => "m4a",
        (container, _) => container.map_or("bin", |container| container.extension()),
    }
}

/// The fields for the name's template.
pub(super) fn fields(item: &Item<'_>, title: Option<String>) -> Fields {
    Fields {
        title,
        program: item.program(),
        rule: item.rule.name.clone(),
        container: extension(item.report).into(),
        length: item.report.duration,
        at: DateTime::<Local>::from(item.at),
        share: match item.report.verdict {
            Verdict::Incomplete { fraction } => Some(fraction),
            _ => None,
        },
    }
}

/// The event that reports it as saved.
pub(super) fn saved(item: &Item<'_>, placed: &Placed, title: Option<String>) -> Saved {
    let (verdict, fraction) = match item.report.verdict {
        Verdict::Complete if item.report.open_ended => (Completeness::OpenEnded, 1.0),
        Verdict::Complete => (Completeness::Complete, 1.0),
        Verdict::Incomplete { fraction } => (Completeness::Incomplete, fraction),
        _ => (Completeness::Damaged, 1.0),
    };
    Saved {
        path: placed.path.clone(),
        source: item.source.to_owned(),
        rule: item.rule.name.clone(),
        how: item.how,
        bytes: placed.bytes,
        container: extension(item.report).into(),
        verdict,
        fraction,
        duration_s: item.report.duration.map(|d| d.as_secs_f64()),
        title: title.unwrap_or_else(|| "Video".into()),
        producer: item.program(),
        ms: u64::try_from(item.settled.elapsed().as_millis()).unwrap_or(u64::MAX),
        thumbnail: None,
    }
}
