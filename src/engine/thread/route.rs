//! Deferred work, done one piece at a time: commands, answers, news and events.

use std::{
    ffi::{OsStr, OsString},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use inotify::EventMask;
use rustix::{
    fs::{AtFlags, statat},
    io::Errno,
};

use super::{
    super::{
        Change, Command, Notice, Unwatched, WatchPlan,
        chores::Chore,
        descriptors::OpenFile,
        hold::{Candidate, HeldBy, Hold},
        keeper,
        open::open_regular,
        rescue::{Answer, CaughtFile, HiddenFile, Request, RescueMessage},
        settle::Writers,
        staging::{Leftover, Mark, Staged, Staging, staged_name},
        watch::{Cause, Folder, FoundFile, News, Target, Walk, WalkRequest},
    },
    Core, Deferred, EngineMessage, LinkAttempt, SANDBOX_LOOKS, WALK_AGAIN, attempt_link, concerns,
    holds::{Outcome, who},
    pending::Searched,
};
use crate::{event::How, inode::Inode, rule::Rule};

/// An event is read at most this long after what it reports, however busy the machine is.
const RECENT: Duration = Duration::from_secs(5);

impl<N: Fn(Notice)> Core<N> {
    pub(super) fn route(&mut self, deferred: Deferred) {
        match deferred {
            Deferred::Message(EngineMessage::Command(command)) => self.command(command),
            Deferred::Message(EngineMessage::Answer(answer)) => self.answer(answer),
            Deferred::Message(EngineMessage::News(news)) => self.news(news),
            Deferred::Message(EngineMessage::Freed) => self.freed(),
            Deferred::Linked(attempt) => self.linked(attempt),
            Deferred::Closed { folder, name } => {
                self.consider(&folder, &name);
            }
            Deferred::Nameless { folder, name } => self.search(&folder, name),
            Deferred::Walk(request) => self.folders.ask(request),
            Deferred::Changed { change, mask } => self.changed(change, mask),
            Deferred::HeldFile { descriptor, mask } => {
                let outcome = self.holds.event(descriptor, mask, Instant::now());
                self.outcome(outcome);
            }
            Deferred::Overflow { since } => {
                self.overflowed.get_or_insert_default();
                self.folders.ask(WalkRequest::Rescan { since });
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Grab if self.is_paused() => (self.notice)(Notice::Grabbed {
                count: 0,
                asked: true,
            }),
            Command::Grab => self.look_for_open(true),
            Command::Configure { rules, library } => self.configure(&rules, library),
            Command::Done { id, keep } => {
                let outcome = self.holds.done(id, keep, Instant::now());
                self.outcome(outcome);
            }
            // These three take effect without this thread: see [`super::super::Handle::send`].
            Command::Pause | Command::Resume | Command::Stop => {}
        }
    }

    fn configure(&mut self, rules: &[Rule], library: PathBuf) {
        let (configuration, runtime) = (self.configuration.as_deref(), self.runtime.as_deref());
        match WatchPlan::new(rules, &library, configuration, runtime) {
            Ok(plan) => {
                self.library = library;
                let since = self.dealt_with;
                self.folders.ask(WalkRequest::Plan { plan, since });
            }
            Err(e) => (self.notice)(Notice::Failed(e.into())),
        }
    }

    /// A configuration file is read only when it is whole: after it was closed, or moved there.
    fn changed(&mut self, change: Change, mask: EventMask) {
        let whole = mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO);
        match change {
            Change::Sandbox => self.sandbox_starts(),
            Change::Configuration if !whole => {}
            change => (self.notice)(Notice::Changed(change)),
        }
    }

    /// A launcher changes its root while it starts, and its program takes a while to start. So
    /// sandboxes are looked for now and a few times later.
    fn sandbox_starts(&mut self) {
        let now = Instant::now();
        self.sandbox_looks = SANDBOX_LOOKS.map(|wait| now + wait).into();
    }

    /// Takes in what the walking thread reports.
    fn news(&mut self, news: News) {
        match news {
            // Taken in as soon as it came: see [`Core::messages`].
            News::Watched(_) => {}
            News::Forgotten(folder) => self.folders.forgotten(folder),
            News::Found(found) => self.found(&found),
            News::Ready => (self.notice)(Notice::Ready),
            News::Leftover(left, rule, source) => self.leftover(left, rule, source),
            News::Unwatched(unwatched) => {
                if unwatched.is_limit() {
                    self.walk_again = Some(Instant::now() + WALK_AGAIN);
                }
                (self.notice)(Notice::Unwatched(unwatched));
            }
            News::Changed(Change::Sandbox) => self.sandbox_starts(),
            News::Changed(change) => (self.notice)(Notice::Changed(change)),
            News::Done(walk) => self.walked(walk),
        }
    }

    fn walked(&mut self, walk: Walk) {
        self.folders.walked();
        match walk {
            // A new rule is also for files that are open already, and a file whose events were lost
            // may still be open.
            Walk::Plan if !self.is_paused() => self.look_for_open(false),
            Walk::Rescan => self.look_for_open(false),
            // Files that are open in it were created before it was watched.
            Walk::Private(true) => self.look_into(false),
            Walk::Plan | Walk::Again | Walk::Change | Walk::Private(false) => {}
        }
        if !self.folders.is_walking() {
            for asked in std::mem::take(&mut self.grab.wanted) {
                self.look_for_open(asked);
            }
        }
    }

    fn found(&mut self, found: &FoundFile) {
        let Some(folder) = self.folders.get(found.folder).cloned() else {
            return;
        };
        if !self.is_paused()
            && self.consider(&folder, &found.name)
            && let Some(count) = &mut self.overflowed
        {
            *count += 1;
        }
    }

    fn leftover(&mut self, left: Leftover, rule: Arc<Rule>, source: PathBuf) {
        self.hold(Candidate {
            held_by: HeldBy::Link(left.staged),
            inode: left.inode,
            source,
            rule,
            how: How::Link,
            producer: None,
            at: left.origin.at,
        });
    }

    /// Holds a file that is there, found by its close or by reading the folder. False if it was
    /// held already, or can't be.
    fn consider(&mut self, folder: &Arc<Folder>, name: &OsStr) -> bool {
        let Some(Target::Rule(rule)) = folder.target(name) else {
            return false;
        };
        let stat = |dir| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let Ok(stat) = folder.open().and_then(stat) else {
            return false;
        };
        let inode = Inode::from(&stat);
        if self.holds.has(&inode) {
            return false;
        }
        self.count += 1;
        let attempt = attempt_link(folder, name, rule, self.count);
        self.linked(attempt);
        self.holds.has(&inode)
    }

    /// Makes a hold of the link. If there is none, the file is searched for among the descriptors
    /// of other processes.
    fn linked(&mut self, attempt: LinkAttempt) {
        let LinkAttempt {
            folder,
            name,
            rule,
            staged,
            link,
        } = attempt;
        let staging = folder.staging.clone();
        match (link, staging) {
            (Ok(()), Some(staging)) => self.link_made(
                &folder,
                name,
                rule,
                Staged {
                    staging,
                    name: staged,
                },
            ),
            (Err(Errno::NOENT), Some(staging)) if staging.is_gone() => {
                if let Err(e) = staging.renew() {
                    tracing::info!("{}: {e}", staging.path().display());
                    return self.by_name(&folder, name, rule);
                }
                self.count += 1;
                let again = attempt_link(&folder, &name, &rule, self.count);
                match again.link {
                    Err(Errno::NOENT) => self.search(&folder, name),
                    _ => self.linked(again),
                }
            }
            (Err(Errno::NOENT), _) => self.search(&folder, name),
            // No link can be made here: the folder is on another mount, or its file system has no
            // links or is full.
            (Err(_), _) | (Ok(()), None) => self.by_name(&folder, name, rule),
        }
    }

    fn link_made(&mut self, folder: &Folder, name: OsString, rule: Arc<Rule>, staged: Staged) {
        let source = folder.path().join(&name);
        match staged.staging.inode(&staged.name) {
            Ok(inode) => self.hold(Candidate {
                held_by: HeldBy::Link(staged),
                inode,
                source,
                rule,
                how: How::Link,
                producer: None,
                at: SystemTime::now(),
            }),
            Err(Errno::PERM) => self.chores.send(Chore::Remove(staged)),
            Err(e) => {
                self.chores.send(Chore::Remove(staged));
                self.lost(source, rule, format!("it can't be read: {e}"));
            }
        }
    }

    /// Holds a file, whose name is still there, by a descriptor.
    fn by_name(&mut self, folder: &Arc<Folder>, name: OsString, rule: Arc<Rule>) {
        let Some(permit) = self.descriptors.take() else {
            return self.pending.queue(folder.id, name);
        };
        let source = folder.path().join(&name);
        let opened = folder
            .open()
            .and_then(|dir| open_regular(dir.as_fd(), &name));
        match opened.and_then(|file| Ok((rustix::fs::fstat(&file)?, file))) {
            Ok((stat, file)) => self.hold(Candidate {
                held_by: HeldBy::Open(OpenFile::new(file, permit)),
                inode: Inode::from(&stat),
                source,
                rule,
                how: How::Rescue,
                producer: None,
                at: SystemTime::now(),
            }),
            Err(Errno::NOENT) => self.search(folder, name),
            Err(Errno::MFILE | Errno::NFILE) => self.pending.queue(folder.id, name),
            Err(Errno::PERM) => {}
            Err(e) => self.lost(source, rule, format!("it can't be read: {e}")),
        }
    }

    /// There are descriptors again: files that wait under their names get them first, then hidden
    /// ones.
    fn freed(&mut self) {
        for _ in 0..self.pending.unopened() {
            let Some((folder, name)) = self.pending.next_unopened() else {
                break;
            };
            if let Some(folder) = self.folders.get(folder).cloned() {
                self.consider(&folder, &name);
            }
        }
        let _ = self.requests.send(RescueMessage::Freed);
    }

    /// The name is gone already: the file is searched for among the descriptors of other processes.
    fn search(&mut self, folder: &Folder, name: OsString) {
        let Some(Target::Rule(rule)) = folder.target(&name) else {
            return;
        };
        let ticket = self.pending.search(Searched {
            source: folder.path().join(&name),
            rule: rule.clone(),
            staging: folder.staging.clone(),
        });
        self.ask(Request::Hidden(HiddenFile {
            ticket,
            folder: folder.path().into(),
            name,
            dev: folder.inode.dev,
            since: self.drained.max(SystemTime::now() - RECENT),
        }));
    }

    /// Holds a file, whose content can't be lost from now on.
    fn hold(&mut self, candidate: Candidate) {
        let now = Instant::now();
        let added = match self.holds.add(candidate, now) {
            Ok(added) => added,
            Err(Some(HeldBy::Link(staged))) => return self.chores.send(Chore::Remove(staged)),
            Err(Some(HeldBy::Open(file))) => return self.chores.send(Chore::Close(file)),
            Err(None) => return,
        };
        if let Some(vanished) = added.vanished {
            self.outcome(Outcome::Vanished(vanished));
        }
        let (hold, seen) = (added.hold, added.seen);
        if let Some(source) = added.unwatched {
            self.unwatched(&hold, source);
        }
        self.keep(&hold);
        let known = hold.producer.get().is_some();
        // If nobody writes to it, no producer can be found.
        if !known && seen.writers != Writers::None && !hold.rule.source.is_cache() {
            self.ask(who(&hold));
        }
        let id = hold.id;
        (self.notice)(Notice::Held(hold));
        let outcome = self.holds.step(id, seen, now);
        self.outcome(outcome);
    }

    /// Gives a file without a link to the keeper, too.
    fn keep(&self, hold: &Hold) {
        if hold.staged().is_some() {
            return;
        }
        let Ok(file) = hold.open() else { return };
        let name = hold.source.file_name().unwrap_or_default();
        self.chores.send(Chore::Keep {
            id: hold.id,
            file,
            staged: staged_name(hold.at, Mark::Kept(hold.id.0), &hold.rule.name, name),
            source: hold.source.clone(),
            places: vec![self.library.clone()],
        });
    }

    /// A held file can't be watched: it is looked at now and then instead. The user hears of it
    /// once.
    fn unwatched(&mut self, hold: &Hold, source: std::io::Error) {
        let unwatched = Unwatched {
            paths: vec![hold.source.clone()],
            cause: Cause::System(source),
        };
        tracing::debug!("{}", unwatched.advice());
        if !self.complained {
            self.complained = true;
            (self.notice)(Notice::Unwatched(unwatched));
        }
    }

    /// Does what has to follow a look at a held file.
    pub(super) fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Ask(request) => self.ask(request),
            Outcome::Settled { hold, finished } => {
                (self.notice)(Notice::Settled { hold, finished });
            }
            // The caller took our link away itself.
            Outcome::Vanished(hold) if hold.own_links() == 0 => {}
            Outcome::Vanished(hold) => {
                let reason = "our link to it was removed".into();
                self.lost(hold.source.clone(), hold.rule.clone(), reason);
            }
            Outcome::Released(hold) => {
                (self.notice)(Notice::Released {
                    id: hold.id,
                    rule: hold.rule.clone(),
                });
                self.chores.send(Chore::Release(hold));
            }
        }
    }

    fn lost(&self, source: PathBuf, rule: Arc<Rule>, reason: String) {
        (self.notice)(Notice::Lost {
            source,
            rule,
            reason,
        });
    }

    pub(super) fn ask(&self, request: Request) {
        let asked = RescueMessage::Asked(request);
        if self.requests.send(asked).is_err() {
            tracing::error!("the rescue thread has ended");
        }
    }

    /// Takes in what the rescue thread found.
    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Found { ticket, caught } => {
                let Some(searched) = self.pending.take(ticket) else {
                    return;
                };
                for caught in caught {
                    let (source, staging) = (searched.source.clone(), searched.staging.clone());
                    self.caught(caught, source, searched.rule.clone(), staging, How::Rescue);
                }
            }
            Answer::Gone { ticket, unreadable } => {
                let Some(searched) = self.pending.take(ticket) else {
                    return;
                };
                let mut reason =
                    String::from("its name was removed, and no process has it open any more");
                if unreadable > 0 {
                    reason.push_str(&format!(" ({unreadable} could not be looked into)"));
                }
                self.lost(searched.source, searched.rule, reason);
            }
            Answer::Who {
                id,
                producer,
                written,
            } => {
                if let (Some(hold), Some(producer)) = (self.holds.get(id), producer) {
                    let _ = hold.producer.set(producer);
                }
                let outcome = self.holds.opened_by(id, written, Instant::now());
                self.outcome(outcome);
            }
            // The user has paused fisga since the look began.
            Answer::Open { .. } if self.is_paused() => {}
            Answer::Open {
                folder,
                name,
                caught,
            } => self.open_file(folder, &name, caught),
            Answer::OpenDone { asked } => self.open_done(asked),
            Answer::Sandbox { dir, root } => self.folders.ask(WalkRequest::Private { dir, root }),
        }
    }

    /// A file that a process has open in a watched folder.
    fn open_file(&mut self, path: PathBuf, name: &OsStr, caught: CaughtFile) {
        // A sandbox's folder has the same path as the one outside; the device distinguishes them.
        let there = self.folders.iter().filter(|folder| folder.path() == path);
        let best = there
            .filter_map(|folder| match folder.target(name) {
                Some(Target::Rule(rule)) => Some((folder, rule)),
                _ => None,
            })
            .max_by_key(|(folder, _)| folder.inode.dev == caught.inode.dev);
        let Some((folder, rule)) = best else {
            return self.chores.send(Chore::Close(caught.file));
        };
        let (rule, staging) = (rule.clone(), folder.staging.clone());
        let is_new = !self.holds.has(&caught.inode);
        let (inode, source) = (caught.inode, path.join(name));
        // If this very file is searched for, the search is over.
        self.pending.found(&source);
        self.caught(caught, source, rule, staging, How::Attach);
        self.grab.found += u64::from(is_new && self.holds.has(&inode));
    }

    fn open_done(&mut self, asked: bool) {
        let count = std::mem::take(&mut self.grab.found);
        std::mem::take(&mut self.orphans)
            .into_iter()
            .for_each(keeper::dismiss);
        if let Some(listed) = self.overflowed.take() {
            (self.notice)(Notice::Overflow {
                recovered: listed + count,
            });
        }
        (self.notice)(Notice::Grabbed { count, asked });
    }

    /// Holds a file that was taken from a process: by a link of our own if it still has a name, or
    /// never had one (O_TMPFILE).
    fn caught(
        &mut self,
        caught: CaughtFile,
        source: PathBuf,
        rule: Arc<Rule>,
        staging: Option<Arc<Staging>>,
        how: How,
    ) {
        if caught.orphan {
            self.orphans.insert(caught.pid);
        }
        if self.holds.has(&caught.inode) {
            return self.chores.send(Chore::Close(caught.file));
        }
        self.count += 1;
        let at = SystemTime::now();
        let name = source.file_name().unwrap_or_default();
        let name = staged_name(at, Mark::Link(self.count), &rule.name, name);
        let linked = staging.filter(|staging| staging.link_open(&caught.file.file, &name).is_ok());
        let held_by = match linked {
            Some(staging) => {
                self.chores.send(Chore::Close(caught.file));
                HeldBy::Link(Staged { staging, name })
            }
            None => HeldBy::Open(caught.file),
        };
        self.hold(Candidate {
            held_by,
            inode: caught.inode,
            source,
            rule,
            how,
            producer: caught.producer,
            at,
        });
    }

    /// Looks for files that are open already, named or not, in all folders of the rules; once the
    /// folders are known.
    fn look_for_open(&mut self, asked: bool) {
        if self.folders.is_walking() {
            if asked || self.grab.wanted.is_empty() {
                self.grab.wanted.push(asked);
            }
            return;
        }
        self.ask(Request::Sandboxes);
        self.look_into(asked);
    }

    fn look_into(&self, asked: bool) {
        self.ask(Request::Open {
            concerns: concerns(&self.folders),
            asked,
        });
    }
}
