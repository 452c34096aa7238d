//! What can be saved, wherever it comes from: decided on, named, placed, written down.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use chrono::{DateTime, Local};

use super::{
    Pipeline,
    fate::{self, Case, Fate},
};
use crate::{
    engine::{
        Hold, HoldId, Inode, Producer, lease,
        settle::{Stamp, Writers},
    },
    event::{Event, How, Saved, display},
    library::{
        Means,
        history::Entry,
        name::{Fields, Name},
        place::{self, FileId, Held, Placed, Staged, Work as Copying},
    },
    media::{Container, Content, Kind, Report, Verdict},
    rule::Rule,
    stream::video::{Making, VideoId},
};

/// Where files go that are not whole.
pub(super) const APART: &str = "Incomplete";

/// Which video of which source: what was saved under it before is replaced, not saved again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The video that begins at this byte of a held file. Firefox puts several into one.
    Part(HoldId, u64),
    /// Put together from pieces.
    Stream(VideoId),
}

impl Key {
    /// Whether it is of this hold.
    pub(super) fn is_of(self, id: HoldId) -> bool {
        matches!(self, Self::Part(of, _) if of == id)
    }
}

/// A video that is in the library, and may yet change.
#[derive(Clone)]
pub(super) struct Copy {
    pub(super) placed: Placed,
    apart: bool,
    /// The content that it was saved from.
    pub(super) stamp: Option<Stamp>,
}

/// Where the bytes are.
#[derive(Clone, Copy)]
pub(super) enum Substance<'a> {
    /// A held file as it is, or its first bytes alone.
    Held(&'a Hold, Option<u64>),
    /// Something that can be read.
    Read(&'a dyn Content),
    /// Pieces, to be joined.
    Made(&'a Making),
}

/// A video that can be saved.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) key: Key,
    /// What was saved of it under another key before.
    pub(super) replaces: Option<Key>,
    pub(super) source: &'a Path,
    pub(super) rule: &'a Rule,
    pub(super) how: How,
    pub(super) producer: Option<&'a Producer>,
    pub(super) at: SystemTime,
    pub(super) report: &'a Report,
    pub(super) bytes: u64,
    pub(super) substance: Substance<'a>,
    pub(super) stamp: Option<Stamp>,
    pub(super) finished: bool,
    /// A title from the source itself.
    pub(super) title: Option<String>,
    /// Address of the page.
    pub(super) address: Option<String>,
    /// What is missing, or was done, for people.
    pub(super) remarks: Option<String>,
    pub(super) settled: Instant,
}

/// What became of it.
pub(super) enum Became {
    /// It is in the library, or will never be.
    Ended,
    /// It may become more.
    Waits,
}

impl Pipeline {
    /// Decides on a video, and saves it if it is to be.
    pub(super) fn keep(&mut self, item: &Item<'_>) -> Result<Became, place::Error> {
        let Item { report, bytes, finished, .. } = *item;
        // Whole already, and of the same length still: what changed lies behind it. Looked at again at the end.
        let len = report.content_len.unwrap_or(bytes);
        if let (Key::Part(..), Some(copy)) = (item.key, self.copies.get(&item.key))
            && !finished
            && !copy.apart
            && copy.placed.bytes == len
        {
            return Ok(Became::Ended);
        }
        let apart = match fate::decide(Case { report, bytes, private: false, finished }, &self.settings) {
            Fate::Wait => return Ok(Became::Waits),
            // What was saved while it was open stays as it was then.
            Fate::Drop(_) | Fate::SaveApart if self.copies.contains_key(&item.key) => {
                return Ok(Became::Ended);
            }
            Fate::Drop(reason) => {
                self.drop_item(item, reason);
                return Ok(Became::Ended);
            }
            Fate::Save => false,
            Fate::SaveApart => true,
        };
        let title = item.title.clone().or_else(|| report.title.clone());
        let before = self.copies.remove(&item.replaces.unwrap_or(item.key));
        // In its old place, unless it has become whole.
        let over = before.as_ref().filter(|before| before.apart == apart).map(|before| &before.placed);
        let placed = match self.place(item, title.clone(), apart, over) {
            Ok(placed) => placed,
            Err(e) => {
                self.copies.extend(before.map(|before| (item.replaces.unwrap_or(item.key), before)));
                return Err(e);
            }
        };
        self.complained = false;
        let later = over.is_some();
        if let Some(before) = before.filter(|_| !later) {
            remove(&before.placed);
        }
        self.copies.insert(item.key, Copy { placed: placed.clone(), apart, stamp: item.stamp });
        // A later state of what is in the history already is not one more video.
        if !later {
            let event = Event::Saved(saved(item, &placed, title));
            self.end(event, |entry| {
                entry.reason = item.remarks.clone();
                entry.address = item.address.clone().filter(|_| self.settings.addresses);
            });
        }
        Ok(Became::Ended)
    }

    pub(super) fn drop_item(&self, item: &Item<'_>, reason: String) {
        let event = Event::Dropped { source: display(item.source), rule: item.rule.name.clone(), reason };
        self.end(event, |entry| {
            entry.how = Some(item.how);
            entry.program = item.producer.map(|producer| producer.name.clone());
        });
    }

    /// Writes down how a candidate ended, and tells it.
    pub(super) fn end(&self, event: Event, more: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = Entry::of(&event, Local::now()) {
            more(&mut entry);
            if let Err(e) = self.history.append(&entry) {
                tracing::error!("{}", super::chain(&e));
            }
        }
        (self.sink)(event);
    }

    fn place(
        &self,
        item: &Item<'_>,
        title: Option<String>,
        apart: bool,
        before: Option<&Placed>,
    ) -> Result<Placed, place::Error> {
        let folder = self.folder(apart);
        let name = self.settings.name.name(&fields(item, title.clone()));
        let write: &mut dyn FnMut(&mut File) -> io::Result<()> = match &item.substance {
            Substance::Held(hold, len) => return self.place_held(hold, *len, &folder, &name, before, title),
            Substance::Read(content) => &mut |out| copy(*content, out),
            Substance::Made(making) => return place_made(making, &folder, &name, before),
        };
        match before {
            Some(before) => place::write_over(before, write),
            None => place::write_new(&folder, &name, write),
        }
    }

    fn place_held(
        &self,
        hold: &Hold,
        len: Option<u64>,
        folder: &Path,
        name: &Name,
        before: Option<&Placed>,
        title: Option<String>,
    ) -> Result<Placed, place::Error> {
        let (source, title) = (display(&hold.source), title.unwrap_or_else(|| "Video".into()));
        let mut progress = |done, total| {
            (self.sink)(Event::Progress { source: source.clone(), title: title.clone(), done, total });
        };
        let mut copying = Copying { progress: &mut progress, stop: &self.stop };
        let held = Held {
            file: &hold.file,
            staged: hold.staged.as_ref().map(|s| Staged { dir: s.staging.as_fd(), name: &s.name }),
            writer: lease::writers(hold.file.as_fd()) != Writers::None,
            len,
        };
        if let Some(before) = before {
            return place::replace(before, &held, &mut copying);
        }
        // A hold from before our start may have reached the library just before a crash.
        if hold.at < self.started
            && let Some(path) = place::find(folder, held.file)?
        {
            let Inode { dev, ino } = hold.inode;
            let bytes = Content::len(&hold.file);
            return Ok(Placed { path, id: FileId { dev, ino }, bytes, means: Means::Link });
        }
        place::place(&held, folder, name, &mut copying)
    }

    /// The library, or its folder for what is not whole.
    fn folder(&self, apart: bool) -> PathBuf {
        let mut folder = self.settings.library.clone();
        if apart {
            folder.push(APART);
            // One level: a library that is gone stays gone.
            match fs::create_dir(&folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    tracing::debug!("{}: {e}", folder.display())
                }
                _ => {}
            }
        }
        folder
    }
}

/// Pieces that can't be read are no fault of the library.
fn place_made(
    making: &Making,
    folder: &Path,
    name: &Name,
    before: Option<&Placed>,
) -> Result<Placed, place::Error> {
    let mut of_the_pieces = None;
    let write = |out: &mut File| {
        making.write(out).map_err(|e| match e.of_the_file() {
            Ok(of_the_file) => of_the_file,
            Err(e) => {
                of_the_pieces = Some(io::Error::other(e));
                io::Error::other("the pieces can't be read")
            }
        })
    };
    let placed = match before {
        Some(before) => place::write_over(before, write),
        None => place::write_new(folder, name, write),
    };
    match of_the_pieces {
        Some(e) => Err(place::Error::Read(e)),
        None => placed,
    }
}

/// What a better one took the place of goes, if it is still the file that we put there.
fn remove(old: &Placed) {
    use std::os::unix::fs::MetadataExt;
    let ours = |m: &fs::Metadata| (m.dev(), m.ino()) == (old.id.dev, old.id.ino);
    if fs::symlink_metadata(&old.path).is_ok_and(|m| ours(&m))
        && let Err(e) = fs::remove_file(&old.path)
    {
        tracing::warn!("{}: {e}", old.path.display());
    }
}

/// Data only: what is a hole stays one.
fn copy(content: &dyn Content, out: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    out.set_len(content.len())?;
    let mut at = content.next_data(0)?;
    while at < content.len() {
        let end = content.next_hole(at)?;
        io::Seek::seek(out, io::SeekFrom::Start(at))?;
        while at < end {
            let most = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            let n = content.read_at(at, &mut buffer[..most])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out.write_all(&buffer[..n])?;
            at += n as u64;
        }
        at = content.next_data(at)?;
    }
    Ok(())
}

fn extension(report: &Report) -> &'static str {
    match (report.container, report.kind) {
        (Some(Container::Mp4), Kind::Audio) => "m4a",
        (container, _) => container.map_or("bin", |container| container.extension()),
    }
}

fn fields(item: &Item<'_>, title: Option<String>) -> Fields {
    Fields {
        title,
        program: item.producer.map(|producer| producer.name.clone()),
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

fn saved(item: &Item<'_>, placed: &Placed, title: Option<String>) -> Saved {
    let (verdict, fraction) = match item.report.verdict {
        Verdict::Complete if item.report.open_ended => ("open-ended", 1.0),
        Verdict::Complete => ("complete", 1.0),
        Verdict::Incomplete { fraction } => ("incomplete", fraction),
        _ => ("damaged", 1.0),
    };
    Saved {
        path: display(&placed.path),
        source: display(item.source),
        rule: item.rule.name.clone(),
        how: item.how,
        bytes: placed.bytes,
        container: extension(item.report).into(),
        verdict: verdict.into(),
        fraction,
        duration_s: item.report.duration.map(|d| d.as_secs_f64()),
        title: title.unwrap_or_else(|| "Video".into()),
        producer: item.producer.map(|producer| producer.name.clone()),
        ms: u64::try_from(item.settled.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}
