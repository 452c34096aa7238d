//! Saves a video: decides on it, compares it with the library, makes room, names it, places it,
//! writes it down, makes its picture.

use std::{
    cell::Cell,
    collections::HashMap,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use chrono::Local;

use super::{
    Sink, Store, chain,
    fate::{self, Case, Fate},
    item::{Item, ItemContent, Key, SaveOutcome, SavedCopy, fields, saved},
};
use crate::{
    config::Settings,
    content::Content,
    copy::{self, Observer},
    engine::{
        Hold, HoldId, lease,
        settle::{Stamp, Writers},
    },
    event::{Event, display},
    library::{
        duplicate::{self, Candidate, Duplicates, Judgement},
        folder::{INCOMPLETE, Means, PlaceError, Placed},
        history::{Entry, History},
        incomplete,
        name::Name,
        place::{self, Held, Staged},
        room,
        thumbnail::Thumbnails,
        upkeep,
    },
    media::Kind,
    rule::{Rule, Source},
    stream::collect::video::WriteError,
    title::{Choice, Names, Titles, Wanted},
};

/// How long a program may take to make a picture.
const PICTURE: Duration = Duration::from_secs(5);
/// Videos that are saved within this time of each other are a burst.
const BURST: Duration = Duration::from_secs(2);

/// Why a video is not in the library.
enum NotSaved {
    /// The library has it already.
    Duplicate(String),
    Failed(PlaceError),
}

impl From<PlaceError> for NotSaved {
    fn from(error: PlaceError) -> Self {
        Self::Failed(error)
    }
}

/// What saving needs: the library and what is written beside it.
pub(super) struct Saver {
    settings: Arc<Settings>,
    history: History,
    index: PathBuf,
    duplicates: Duplicates,
    thumbnails: Thumbnails,
    titles: Titles,
    /// When the last picture was made.
    pictured: Cell<Option<Instant>>,
    /// It was reported that the library's file system refuses the template's names.
    said_renamed: Cell<bool>,
    /// When the next incomplete video goes to the trash.
    expiry: Option<Instant>,
    sink: Sink,
    /// Ends a copy under way.
    stop: Arc<AtomicBool>,
    started: SystemTime,
    /// Videos that were saved and may yet change, because the producer still has the file open or
    /// more pieces may come.
    copies: HashMap<Key, SavedCopy>,
}

impl Saver {
    pub(super) fn new(
        settings: Arc<Settings>,
        store: Store,
        stop: Arc<AtomicBool>,
        sink: Sink,
    ) -> Self {
        Self {
            duplicates: Duplicates::new(&settings.library, &store.index),
            settings,
            history: store.history,
            index: store.index,
            thumbnails: store.thumbnails,
            titles: store.titles,
            pictured: Cell::default(),
            said_renamed: Cell::default(),
            expiry: None,
            sink,
            stop,
            started: SystemTime::now(),
            copies: HashMap::new(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes other settings from now on.
    pub(super) fn configure(&mut self, settings: Arc<Settings>) {
        self.duplicates = Duplicates::new(&settings.library, &self.index);
        self.settings = settings;
        self.expire();
    }

    /// Removes unfinished copies that a crash left, and incomplete videos that are old enough.
    pub(super) fn tidy(&mut self) {
        let library = &self.settings.library;
        for folder in [library.clone(), library.join(INCOMPLETE)] {
            if folder.is_dir()
                && let Err(e) = place::sweep(&folder)
            {
                tracing::info!("{}", chain(&e));
            }
        }
        self.expire();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// When [`Saver::expire`] is due.
    pub(super) fn expiry(&self) -> Option<Instant> {
        self.expiry
    }

    /// What was saved of a video that may yet change.
    pub(super) fn copy(&self, key: Key) -> Option<&SavedCopy> {
        self.copies.get(&key)
    }

    /// Notes that a video changes no more.
    pub(super) fn settle(&mut self, key: Key) {
        self.copies.remove(&key);
    }

    /// Whether what was saved of a held file came from this very content.
    pub(super) fn has(&self, id: HoldId, content: Option<Stamp>) -> bool {
        let of_it = self.copies.iter().filter(|(key, _)| key.is_of(id));
        let mut copies = of_it.map(|(_, copy)| copy).peekable();
        copies.peek().is_some() && copies.all(|copy| copy.stamp == content)
    }

    /// Has a held file saved again even if it doesn't change.
    pub(super) fn expect_change(&mut self, id: HoldId) {
        let of_it = self.copies.iter_mut().filter(|(key, _)| key.is_of(id));
        of_it.for_each(|(_, copy)| copy.stamp = None);
    }

    /// Forgets a held file that was let go.
    pub(super) fn forget(&mut self, id: HoldId) {
        self.copies.retain(|key, _| !key.is_of(id));
    }

    /// Reports a failure to the user.
    pub(super) fn fail(&self, message: String) {
        (self.sink)(Event::Error { message });
    }

    /// Decides on a video, and saves it if it is to be.
    pub(super) fn keep(&mut self, item: &Item<'_>) -> Result<SaveOutcome, PlaceError> {
        let Item {
            report,
            bytes,
            finished,
            ..
        } = *item;
        // It was saved whole and has the same length still, so what changed lies behind it. It is
        // judged again when it is closed.
        let len = report.content_len.unwrap_or(bytes);
        if let (Key::Part(..), Some(copy)) = (item.key, self.copies.get(&item.key))
            && !finished
            && !copy.apart
            && copy.placed.bytes == len
        {
            return Ok(SaveOutcome::Ended);
        }
        let choice = self.title(item);
        let hope = match &choice {
            // A temporary file's name is a title. A name from a cache says little, so a title is
            // waited for.
            Choice::Named(name) if name.is_none() || item.rule.source != Source::Temporary => {
                self.title_until(item.deadline)
            }
            _ => None,
        };
        let case = Case {
            report,
            bytes,
            private: choice == Choice::Private,
            finished,
            untitled: hope.is_some(),
        };
        let apart = match fate::decide(case, &self.settings) {
            Fate::Wait => return Ok(SaveOutcome::Waits),
            Fate::WaitForTitle => return Ok(hope.map_or(SaveOutcome::Waits, SaveOutcome::Untitled)),
            // What was saved while it was open stays as it was then.
            Fate::Drop(_) | Fate::SaveApart if self.copies.contains_key(&item.key) => {
                return Ok(SaveOutcome::Ended);
            }
            Fate::Drop(reason) => {
                self.drop_item(item, reason);
                return Ok(SaveOutcome::Ended);
            }
            Fate::Save => false,
            Fate::SaveApart => true,
        };
        let key = item.replaces.unwrap_or(item.key);
        let before = self.copies.remove(&key);
        match self.save(item, choice.title(), apart, before.as_ref()) {
            Ok(copy) => {
                self.copies.insert(item.key, copy);
            }
            // It may yet become another video and is judged again when it is closed, so the
            // duplicate is not written down now.
            Err(NotSaved::Duplicate(_)) if !finished => return Ok(SaveOutcome::Waits),
            Err(NotSaved::Duplicate(of)) => self.drop_item(item, format!("duplicate of {of}")),
            Err(NotSaved::Failed(e)) => {
                self.copies.extend(before.map(|before| (key, before)));
                return Err(e);
            }
        }
        Ok(SaveOutcome::Ended)
    }

    fn title(&self, item: &Item<'_>) -> Choice {
        let length = item.report.duration.filter(|_| !item.report.open_ended);
        self.titles.choose(&Wanted {
            whose: item.whose(),
            from: item.at,
            to: item.until,
            deadline: item.deadline,
            length,
            names: Names {
                source: (item.rule.source == Source::Temporary).then_some(item.source),
                playlist: item.title,
                entry: item.file_title,
                container: item.report.title.as_deref(),
                address: item.address_title,
            },
        })
    }

    /// How long to wait for a title that may come until `deadline`; `None` when that has passed.
    fn title_until(&self, deadline: SystemTime) -> Option<Instant> {
        let left = deadline.duration_since(SystemTime::now()).ok()?;
        self.titles
            .players()
            .is_connected()
            .then(|| Instant::now() + left)
    }

    fn save(
        &mut self,
        item: &Item<'_>,
        title: Option<String>,
        apart: bool,
        before: Option<&SavedCopy>,
    ) -> Result<SavedCopy, NotSaved> {
        let library = self.settings.library.clone();
        let folder = if apart {
            incomplete::folder(&library)?
        } else {
            library.clone()
        };
        // It takes the place of its old state, unless it has become whole: then it moves to the
        // whole ones.
        let over = before
            .filter(|before| before.apart == apart)
            .map(|before| &before.placed);
        let mut replaced = Vec::new();
        if let (ItemContent::Held(hold, len), None) = (item.content, before) {
            let file = hold.open().map_err(PlaceError::Read)?;
            replaced = self.judge(&file, len.unwrap_or(item.bytes), !apart)?;
        }
        let linked =
            matches!(item.content, ItemContent::Held(hold, None) if hold.staged().is_some());
        let need = if linked { 0 } else { item.bytes };
        if let Some(max) = self.settings.max_library {
            let mut tell = |message| (self.sink)(Event::Error { message });
            if let Err(e) = upkeep::keep_below(&library, &self.history, max, item.bytes, &mut tell)
            {
                tracing::warn!("{}", chain(&e));
            }
        }
        room::check(&library, need, self.settings.min_free)?;
        let name = self.settings.name.name(&fields(item, title.clone()));
        let placed = match item.content {
            ItemContent::Held(hold, len) => {
                self.place_held(hold, len, &folder, &name, over, title.clone())?
            }
            ItemContent::Read(content) => {
                self.place_new(&folder, &name, over, !apart, before.is_some(), |out| {
                    let len = content.len();
                    let mut observer = Observer {
                        progress: &mut |_, _| (),
                        stop: &self.stop,
                    };
                    Ok(copy::copy(content, out, len, &mut observer).map_err(io::Error::from)?)
                })?
            }
            ItemContent::Made(planned) => {
                self.place_new(&folder, &name, over, !apart, before.is_some(), |out| {
                    planned.write(out)
                })?
            }
        };
        let later = over.is_some();
        if let Some(before) = before.filter(|_| !later) {
            remove(&before.placed);
        }
        upkeep::replaced(&replaced, &mut |message| tracing::warn!("{message}"));
        // A later state of a video that is in the history already is not counted again.
        if !later {
            let renamed = self.renamed(&name, &placed);
            self.tell(item, &placed, title, renamed);
        }
        if apart {
            self.expire();
        }
        Ok(SavedCopy {
            placed,
            apart,
            stamp: item.stamp,
        })
    }

    /// What to report, once, if the library's file system refuses the name that the template asks
    /// for.
    fn renamed(&self, name: &Name, placed: &Placed) -> Option<String> {
        let refused = name.refused(placed.path.file_name().unwrap_or_default())?;
        if self.said_renamed.replace(true) {
            return None;
        }
        let library = self.settings.library.display();
        let note = format!("{library} takes no {refused:?} in a name");
        tracing::warn!("{note}");
        Some(note)
    }

    /// Writes it into the history, and reports it with a picture.
    fn tell(
        &self,
        item: &Item<'_>,
        placed: &Placed,
        title: Option<String>,
        renamed: Option<String>,
    ) {
        let mut event = saved(item, placed, title);
        self.write_down(&Event::Saved(event.clone()), |entry| {
            let remarks: Vec<_> = item.remarks.clone().into_iter().chain(renamed).collect();
            entry.reason = (!remarks.is_empty()).then(|| remarks.join("; "));
            entry.address = item.address.clone().filter(|_| self.settings.addresses);
        });
        // In a burst nobody would see the picture, and making it would hold up the next file.
        let burst = self
            .pictured
            .replace(Some(Instant::now()))
            .is_some_and(|last| last.elapsed() < BURST);
        if self.settings.thumbnails && item.report.kind == Kind::Video && !burst {
            match self
                .thumbnails
                .make(&placed.path, item.report.duration, PICTURE)
            {
                Ok(picture) => event.thumbnail = picture,
                Err(e) => tracing::info!("{}", chain(&e)),
            }
        }
        (self.sink)(Event::Saved(event));
    }

    /// Which unfinished ones in the library it takes the place of.
    fn judge(&self, file: &File, len: u64, whole: bool) -> Result<Vec<PathBuf>, NotSaved> {
        match self
            .duplicates
            .judge(&Candidate { file, len, whole }, &self.stop)
        {
            Ok(Judgement::Fresh) => Ok(Vec::new()),
            Ok(Judgement::Replaces(paths)) => Ok(paths),
            Ok(Judgement::DuplicateOf(path)) => Err(NotSaved::Duplicate(display(&path))),
            Err(duplicate::CompareError::Stopped) => Err(PlaceError::Stopped.into()),
            Err(duplicate::CompareError::Read(e)) => Err(PlaceError::Read(e).into()),
        }
    }

    /// Places a video that is written anew: it is compared with the library before it gets its
    /// name.
    fn place_new(
        &self,
        folder: &Path,
        name: &Name,
        over: Option<&Placed>,
        whole: bool,
        known: bool,
        write: impl FnOnce(&mut File) -> Result<(), WriteError>,
    ) -> Result<Placed, NotSaved> {
        let mut not_saved = None;
        let mut replaced = Vec::new();
        let write = |out: &mut File| {
            let mut fail = |why| {
                not_saved = Some(why);
                io::Error::other("not saved")
            };
            // If pieces can't be read, the library is not at fault.
            write(out).map_err(|e| match e.of_the_file() {
                Ok(of_the_file) => of_the_file,
                Err(e) => fail(PlaceError::Read(io::Error::other(e)).into()),
            })?;
            if !known {
                let len = Content::len(out);
                replaced = self.judge(out, len, whole).map_err(fail)?;
            }
            Ok(())
        };
        let placed = match over {
            Some(over) => place::write_over(over, write),
            None => place::write_new(folder, name, write),
        };
        match not_saved {
            Some(why) => Err(why),
            None => {
                upkeep::replaced(&replaced, &mut |message| tracing::warn!("{message}"));
                Ok(placed?)
            }
        }
    }

    pub(super) fn drop_item(&self, item: &Item<'_>, reason: String) {
        let event = Event::Dropped {
            source: item.source.to_owned(),
            rule: item.rule.name.clone(),
            reason,
        };
        self.end_with(event, |entry| {
            entry.how = Some(item.how);
            entry.program = item.program();
        });
    }

    /// As [`Saver::drop_item`], for a file that never became an item.
    pub(super) fn drop_source(&self, source: &Path, rule: &Rule, reason: String) {
        self.end(Event::Dropped {
            source: source.to_owned(),
            rule: rule.name.clone(),
            reason,
        });
    }

    /// Writes into the history how a candidate ended, and reports it.
    pub(super) fn end(&self, event: Event) {
        self.end_with(event, |_| {});
    }

    fn end_with(&self, event: Event, more: impl FnOnce(&mut Entry)) {
        self.write_down(&event, more);
        (self.sink)(event);
    }

    fn write_down(&self, event: &Event, more: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = Entry::of(event, Local::now()) {
            more(&mut entry);
            if let Err(e) = self.history.append(&entry) {
                tracing::error!("{}", chain(&e));
            }
        }
    }

    /// Sends what was incomplete for long enough to the trash, and notes when the next is due.
    pub(super) fn expire(&mut self) {
        let Settings {
            library,
            incomplete_days,
            ..
        } = &*self.settings;
        let mut tell = |message| (self.sink)(Event::Error { message });
        let now = SystemTime::now();
        match upkeep::expire(library, &self.history, *incomplete_days, now, &mut tell) {
            Ok(next) => {
                let wait = next.map(|next| next.duration_since(now).unwrap_or_default());
                self.expiry = wait.map(|wait| Instant::now() + wait);
            }
            Err(e) => tracing::warn!("{}", chain(&e)),
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
    ) -> Result<Placed, PlaceError> {
        let source = &hold.source;
        let title = title.unwrap_or_else(|| "Video".into());
        let mut progress = |done, total| {
            (self.sink)(Event::Progress {
                source: source.clone(),
                title: title.clone(),
                done,
                total,
            });
        };
        let mut copying = Observer {
            progress: &mut progress,
            stop: &self.stop,
        };
        let file = hold.open().map_err(PlaceError::Read)?;
        let staged = hold.staged().map(|s| (s.staging.dir(), &s.name));
        let held = Held {
            file: &file,
            staged: staged.as_ref().map(|(dir, name)| Staged {
                dir: dir.as_fd(),
                name,
            }),
            writer: lease::writers(file.as_fd()) != Writers::None,
            len,
        };
        if let Some(before) = before {
            return place::replace(before, &held, &mut copying);
        }
        // A hold from before our start may have reached the library just before a crash.
        if hold.at < self.started
            && let Some(path) = place::find(folder, held.file)?
        {
            let bytes = Content::len(&*file);
            return Ok(Placed {
                path,
                id: hold.inode,
                bytes,
                means: Means::Link,
            });
        }
        place::place(&held, folder, name, &mut copying)
    }
}

/// Removes a file that a better one has replaced, if it is still the one that we put there.
fn remove(old: &Placed) {
    let ours = |m: &fs::Metadata| (m.dev(), m.ino()) == (old.id.dev, old.id.ino);
    if fs::symlink_metadata(&old.path).is_ok_and(|m| ours(&m))
        && let Err(e) = fs::remove_file(&old.path)
    {
        tracing::warn!("{}: {e}", old.path.display());
    }
}
