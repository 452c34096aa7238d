//! What is held, from our grip until [`Command::Done`](super::super::Command::Done): when each file
//! is looked at, and what that says.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::unix::ffi::OsStrExt,
    sync::Arc,
    time::{Duration, Instant},
};

use inotify::{EventMask, WatchDescriptor, WatchMask, Watches};

use super::super::{
    hold::{Candidate, HeldBy, Hold, HoldId},
    lease,
    open::fd_path,
    rescue::Request,
    settle::{FileKind, Observation, Settle, Stamp, Step, Writers},
};
use crate::{inode::Inode, rule::Source};

/// How often a file is looked at that can't be watched.
const UNWATCHED: Duration = Duration::from_secs(2);
/// When to look again at a file that could not be opened.
const UNOPENED: Duration = Duration::from_secs(2);

/// A held file's state.
struct Tracked {
    hold: Arc<Hold>,
    settle: Settle,
    watch: Option<WatchDescriptor>,
    /// It is watched for changes too, not only for its close.
    changes: bool,
    deadline: Option<Instant>,
    /// The content that was handed over, until the caller is done with it.
    handed: Option<Stamp>,
}

/// What is to be done after a look at a held file.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing yet.
    Nothing,
    /// Ask who has it open.
    Ask(Request),
    /// It can be judged.
    Settled { hold: Arc<Hold>, finished: bool },
    /// Somebody removed our link to it.
    Vanished(Arc<Hold>),
    /// The caller is done with it.
    Released(Arc<Hold>),
}

/// A file that is held from now on.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) hold: Arc<Hold>,
    /// The first look at it.
    pub(super) seen: Observation,
    /// Why it can't be watched.
    pub(super) unwatched: Option<io::Error>,
    /// A file that had the same inode number, and that is gone.
    pub(super) vanished: Option<Arc<Hold>>,
}

/// All held files.
pub(super) struct HeldFiles {
    watches: Watches,
    /// How many there were so far; the next one gets the next number.
    count: u64,
    by_id: HashMap<HoldId, Tracked>,
    by_inode: HashMap<Inode, HoldId>,
    by_watch: HashMap<i32, HoldId>,
    deadlines: BTreeSet<(Instant, HoldId)>,
}

impl HeldFiles {
    pub(super) fn new(watches: Watches) -> Self {
        Self {
            watches,
            count: 0,
            by_id: HashMap::new(),
            by_inode: HashMap::new(),
            by_watch: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Whether this file is held. If our link to a held file is gone, another file may have its
    /// inode number by now.
    pub(super) fn has(&self, inode: &Inode) -> bool {
        let hold = self.by_inode.get(inode).and_then(|id| self.get(*id));
        hold.is_some_and(|hold| hold.is_pinned())
    }

    pub(super) fn has_watch(&self, descriptor: i32) -> bool {
        self.by_watch.contains_key(&descriptor)
    }

    pub(super) fn get(&self, id: HoldId) -> Option<&Arc<Hold>> {
        self.by_id.get(&id).map(|tracked| &tracked.hold)
    }

    /// When something is to be looked at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(due, _)| due)
    }

    /// Adds a file, whose content can't be lost from now on.
    ///
    /// # Errors
    /// The file is held already. The link or descriptor comes back unless it is the very link by
    /// which the file is held: staging folders are searched for leftovers while links are made in
    /// them.
    pub(super) fn add(
        &mut self,
        candidate: Candidate,
        now: Instant,
    ) -> Result<Added, Option<HeldBy>> {
        let held = self.by_inode.get(&candidate.inode).copied();
        if let Some(held) = held.and_then(|id| self.get(id)).filter(|h| h.is_pinned()) {
            let same = matches!(&candidate.held_by, HeldBy::Link(link) if held.is_held_by(link));
            return Err((!same).then_some(candidate.held_by));
        }
        let vanished = held.and_then(|id| self.remove(id));
        self.count += 1;
        let id = HoldId(self.count);
        let hold = Arc::new(Hold::new(id, candidate));
        // Watched before it is looked at: what changes in between raises an event.
        let (watch, unwatched) = match watch_file(&mut self.watches, &hold, false) {
            Ok(watch) => (Some(watch), None),
            Err(e) => (None, Some(e)),
        };
        if let Some(watch) = &watch {
            self.by_watch.insert(watch.get_watch_descriptor_id(), id);
        }
        let seen = observe(&hold).unwrap_or_else(|e| {
            tracing::debug!("{}: {e}", hold.source.display());
            Observation::default()
        });
        self.by_inode.insert(hold.inode, id);
        let tracked = Tracked {
            settle: Settle::new(kind(&hold), seen.stamp, now),
            hold: hold.clone(),
            watch,
            changes: false,
            deadline: None,
            handed: None,
        };
        self.by_id.insert(id, tracked);
        Ok(Added {
            hold,
            seen,
            unwatched,
            vanished,
        })
    }

    /// An event of a held file.
    pub(super) fn event(&mut self, descriptor: i32, mask: EventMask, now: Instant) -> Outcome {
        let Some(&id) = self.by_watch.get(&descriptor) else {
            return Outcome::Nothing;
        };
        if mask.contains(EventMask::IGNORED) {
            self.by_watch.remove(&descriptor);
            return Outcome::Nothing;
        }
        if mask.contains(EventMask::CLOSE_WRITE)
            && let Some(tracked) = self.by_id.get_mut(&id)
        {
            tracked.settle.closed(now);
        }
        self.look(id, now)
    }

    /// The next file whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Outcome> {
        let id = self.deadlines.first().filter(|(due, _)| *due <= now)?.1;
        self.set_deadline(id, None);
        Some(self.look(id, now))
    }

    /// Looks at a held file, unless the caller is busy with it.
    pub(super) fn look(&mut self, id: HoldId, now: Instant) -> Outcome {
        let Some(tracked) = self.by_id.get(&id).filter(|t| t.handed.is_none()) else {
            return Outcome::Nothing;
        };
        match observe(&tracked.hold) {
            Ok(seen) => self.step(id, seen, now),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.remove(id).map_or(Outcome::Nothing, Outcome::Vanished)
            }
            // Mostly because there are no descriptors left.
            Err(e) => {
                tracing::debug!("{}: {e}", tracked.hold.source.display());
                self.set_deadline(id, Some(now + UNOPENED));
                Outcome::Nothing
            }
        }
    }

    /// Takes in whether `/proc` shows a writer, which counts only where there is no lease to ask.
    pub(super) fn opened_by(&mut self, id: HoldId, written: bool, now: Instant) -> Outcome {
        let Some(tracked) = self.by_id.get(&id).filter(|t| t.handed.is_none()) else {
            return Outcome::Nothing;
        };
        match observe(&tracked.hold) {
            Ok(mut seen) if seen.writers == Writers::Unknown => {
                seen.writers = match written {
                    true => Writers::Some,
                    false => Writers::None,
                };
                self.step(id, seen, now)
            }
            _ => Outcome::Nothing,
        }
    }

    /// Does what the settle machine says after a look.
    pub(super) fn step(&mut self, id: HoldId, seen: Observation, now: Instant) -> Outcome {
        let Some(tracked) = self.by_id.get_mut(&id) else {
            return Outcome::Nothing;
        };
        let step = tracked.settle.step(seen, now);
        // While a file grows, a look now and then costs less than an event for each write.
        let rests = matches!(step, Step::Sleep | Step::Quiet);
        let changes = rests && tracked.settle.wants_changes();
        let mut watched_late = false;
        if tracked.changes != changes
            && let Ok(watch) = watch_file(&mut self.watches, &tracked.hold, changes)
        {
            self.by_watch.insert(watch.get_watch_descriptor_id(), id);
            (tracked.watch, tracked.changes) = (Some(watch), changes);
            watched_late = changes;
        }
        let unwatched = tracked.watch.is_none() || tracked.changes != changes;
        let due = match step {
            Step::LookAt(due) => Some(due),
            Step::Sleep if unwatched => Some(now + UNWATCHED),
            _ => None,
        };
        let hold = tracked.hold.clone();
        if matches!(step, Step::Quiet | Step::Finished) {
            tracked.handed = Some(seen.stamp);
        }
        self.set_deadline(id, due);
        match step {
            // What changed between the look and the watch raised no event.
            Step::Sleep if watched_late => match observe(&hold) {
                Ok(again) if again != seen => self.step(id, again, now),
                _ => Outcome::Nothing,
            },
            Step::Sleep | Step::LookAt(_) => Outcome::Nothing,
            Step::Ask => Outcome::Ask(who(&hold)),
            Step::Quiet | Step::Finished => Outcome::Settled {
                hold,
                finished: step == Step::Finished,
            },
        }
    }

    /// The caller has dealt with a file. If it changed meanwhile, it is looked at again.
    pub(super) fn done(&mut self, id: HoldId, keep: bool, now: Instant) -> Outcome {
        let Some(tracked) = self.by_id.get_mut(&id) else {
            return Outcome::Nothing;
        };
        let handed = tracked.handed.take();
        let hold = &tracked.hold;
        let changed = || {
            let stamp = hold.open().and_then(|file| lease::stamp(&file));
            handed.is_some_and(|handed| stamp.is_ok_and(|stamp| stamp != handed))
        };
        if keep || changed() {
            return self.look(id, now);
        }
        self.remove(id).map_or(Outcome::Nothing, Outcome::Released)
    }

    fn remove(&mut self, id: HoldId) -> Option<Arc<Hold>> {
        self.set_deadline(id, None);
        let tracked = self.by_id.remove(&id)?;
        self.by_inode.remove(&tracked.hold.inode);
        if let Some(watch) = tracked.watch {
            self.by_watch.remove(&watch.get_watch_descriptor_id());
            let _ = self.watches.remove(watch);
        }
        Some(tracked.hold)
    }

    fn set_deadline(&mut self, id: HoldId, due: Option<Instant>) {
        let Some(tracked) = self.by_id.get_mut(&id) else {
            return;
        };
        if let Some(old) = tracked.deadline {
            self.deadlines.remove(&(old, id));
        }
        tracked.deadline = due;
        self.deadlines.extend(due.map(|due| (due, id)));
    }
}

/// Asks who has a held file open.
pub(super) fn who(hold: &Hold) -> Request {
    Request::Who {
        id: hold.id,
        name: hold.source.file_name().unwrap_or_default().to_owned(),
        inode: hold.inode,
    }
}

fn observe(hold: &Hold) -> io::Result<Observation> {
    lease::look(&*hold.open()?, hold.own_links())
}

/// Watches a held file itself, named or not, for its close and, with `changes`, its next change.
fn watch_file(watches: &mut Watches, hold: &Hold, changes: bool) -> io::Result<WatchDescriptor> {
    let mut mask = WatchMask::CLOSE_WRITE;
    mask.set(WatchMask::MODIFY, changes);
    match hold.staged() {
        Some(staged) => watches.add(fd_path(&*staged.staging.dir()).join(&staged.name), mask),
        None => watches.add(fd_path(&*hold.open()?), mask),
    }
}

/// How the writers of a held file behave. Chromium's files of ranges (`_s`) are emptied while they
/// are open.
fn kind(hold: &Hold) -> FileKind {
    match hold.rule.source {
        Source::Temporary => FileKind::Player,
        Source::Chromium if hold.source.as_os_str().as_bytes().ends_with(b"_s") => {
            FileKind::Growing
        }
        Source::Chromium | Source::Firefox => FileKind::Entry,
    }
}
