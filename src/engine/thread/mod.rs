//! The engine's thread: events in, holds out.
//!
//! Only links must be made within microseconds. So events are read and links made before any
//! deferred work, and again after each piece of it. This file decides who does what:
//!
//! | room | what it keeps |
//! |---|---|
//! | [`folders`] | watched folders, as the walking thread reported them |
//! | [`holds`] | what is held, and when to look at it |
//! | [`pending`] | what is searched for, or waits for a descriptor |

mod folders;
mod holds;
mod pending;
mod route;

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant, SystemTime},
};

use folders::Folders;
use holds::HeldFiles;
use inotify::{EventMask, Inotify};
use pending::Pending;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionread},
};

use super::{
    Change, Command, EngineError, Notice,
    chores::{Chore, Chores},
    descriptors::Descriptors,
    rescue::{self, Answer, Requests, RescueMessage},
    staging::{Mark, staged_name},
    watch::{Folder, News, Target, WalkRequest, WatchPlan},
};
use crate::rule::Rule;

/// When to look, after a sandbox seems to start.
const SANDBOX_LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(700),
    Duration::from_secs(2),
    Duration::from_secs(6),
];

/// The clock of file systems may lag behind the system's clock by this much (`CONFIG_HZ` is 100 or
/// more).
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// How long after watches or descriptors ran out the folders are walked again.
const WALK_AGAIN: Duration = Duration::from_secs(60);

/// What wakes the thread beside the kernel.
#[derive(Debug)]
pub(super) enum EngineMessage {
    Command(Command),
    Answer(Answer),
    News(News),
    /// There are descriptors again.
    Freed,
}

/// A candidate of which a link was made, or could not be.
#[derive(Debug)]
struct LinkAttempt {
    folder: Arc<Folder>,
    name: OsString,
    rule: Arc<Rule>,
    staged: OsString,
    link: rustix::io::Result<()>,
}

/// Deferred work: it is done when no link is to be made.
#[derive(Debug)]
enum Deferred {
    Message(EngineMessage),
    Linked(LinkAttempt),
    /// A file was closed after writing, whose name may be new to us.
    Closed {
        folder: Arc<Folder>,
        name: OsString,
    },
    /// A nameless file was opened (`#INODE`).
    Nameless {
        folder: Arc<Folder>,
        name: OsString,
    },
    Walk(WalkRequest),
    Changed {
        change: Change,
        mask: EventMask,
    },
    HeldFile {
        descriptor: i32,
        mask: EventMask,
    },
    /// Events were lost: of files that were made since then, some may be unknown.
    Overflow {
        since: SystemTime,
    },
}

/// What the thread is given at its start.
pub(super) struct Parts {
    pub(super) inotify: Inotify,
    pub(super) plan: WatchPlan,
    pub(super) walker: std::sync::mpsc::Sender<WalkRequest>,
    pub(super) requests: Requests,
    pub(super) chores: Chores,
    pub(super) descriptors: Descriptors,
    pub(super) messages: Receiver<EngineMessage>,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) paused: Arc<AtomicBool>,
    pub(super) configuration: Option<PathBuf>,
    pub(super) runtime: Option<PathBuf>,
    pub(super) trace: bool,
}

/// A look for files that are open already.
#[derive(Debug, Default)]
struct Grab {
    /// Looks to be made when no folder is being walked; true if the user asked for it.
    wanted: Vec<bool>,
    /// Found by looks that are under way.
    found: u64,
}

pub(super) struct Core<N> {
    inotify: Inotify,
    folders: Folders,
    holds: HeldFiles,
    pending: Pending,
    requests: Requests,
    chores: Chores,
    descriptors: Descriptors,
    messages: Receiver<EngineMessage>,
    wake: Arc<OwnedFd>,
    deferred: VecDeque<Deferred>,
    notice: N,
    mounts: Option<File>,
    library: PathBuf,
    configuration: Option<PathBuf>,
    runtime: Option<PathBuf>,
    trace: bool,
    paused: Arc<AtomicBool>,
    /// Keeps staged names of one millisecond apart.
    count: u64,
    /// The queue of events was empty at this time: the event of each file that was made before has
    /// been read.
    drained: SystemTime,
    /// The event of each file that was made before this time has also been dealt with.
    dealt_with: SystemTime,
    grab: Grab,
    /// Events were lost and the files are being looked for: how many were found so far.
    overflowed: Option<u64>,
    /// Keepers whose files are being taken over.
    orphans: BTreeSet<u32>,
    sandbox_looks: VecDeque<Instant>,
    /// When folders are walked again that could not be watched.
    walk_again: Option<Instant>,
    /// The user knows that held files can't be watched.
    complained: bool,
}

impl<N: Fn(Notice)> Core<N> {
    pub(super) fn new(parts: Parts, notice: N) -> Self {
        let now = SystemTime::now() - CLOCK_TICK;
        let library = parts.plan.library.clone();
        let mut folders = Folders::new(parts.walker);
        folders.ask(WalkRequest::Plan {
            plan: parts.plan,
            since: now,
        });
        Self {
            folders,
            holds: HeldFiles::new(parts.inotify.watches()),
            inotify: parts.inotify,
            pending: Pending::default(),
            requests: parts.requests,
            chores: parts.chores,
            descriptors: parts.descriptors,
            messages: parts.messages,
            wake: parts.wake,
            deferred: VecDeque::new(),
            notice,
            mounts: File::open("/proc/self/mountinfo").ok(),
            library,
            configuration: parts.configuration,
            runtime: parts.runtime,
            trace: parts.trace,
            paused: parts.paused,
            count: 0,
            drained: now,
            dealt_with: now,
            grab: Grab::default(),
            overflowed: None,
            orphans: BTreeSet::new(),
            sandbox_looks: VecDeque::new(),
            walk_again: None,
            complained: false,
        }
    }

    pub(super) fn run(mut self) {
        super::priority::wake_soon();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.turn(&mut buffer) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => {
                    (self.notice)(Notice::Failed(e));
                    break;
                }
            }
        }
        let _ = self.requests.send(RescueMessage::End);
        self.chores.send(Chore::End);
    }

    /// Sleeps until something happens, makes the links and does one piece of deferred work. False
    /// ends the thread.
    fn turn(&mut self, buffer: &mut [u8]) -> Result<bool, EngineError> {
        let (events, woken, mounts) = self.sleep()?;
        if events {
            self.events(buffer)?;
        }
        if mounts {
            let since = self.dealt_with;
            self.folders.ask(WalkRequest::Again { since });
            (self.notice)(Notice::Changed(Change::Library));
        }
        if woken && !self.messages() {
            return Ok(false);
        }
        match self.deferred.pop_front() {
            Some(deferred) => self.route(deferred),
            None if !self.folders.is_walking() => self.dealt_with = self.drained,
            None => {}
        }
        self.due(Instant::now());
        Ok(true)
    }

    /// Waits for events, messages and mounts, and says which of the three came.
    fn sleep(&self) -> Result<(bool, bool, bool), EngineError> {
        let busy = (!self.deferred.is_empty()).then(Timespec::default);
        let timeout = busy.or_else(|| {
            let left = self.next_due()?.saturating_duration_since(Instant::now());
            Some(Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            })
        });
        let (inotify, wake) = (self.inotify.as_fd(), self.wake.as_fd());
        let mounts = self.mounts.as_ref().map(|mounts| mounts.as_fd());
        // A changed mount table shows as an exceptional condition (proc(5), /proc/PID/mounts).
        let mut fds = [
            PollFd::from_borrowed_fd(inotify, PollFlags::IN),
            PollFd::from_borrowed_fd(wake, PollFlags::IN),
            PollFd::from_borrowed_fd(mounts.unwrap_or(wake), PollFlags::PRI),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => {
                return Err(EngineError::System {
                    call: "poll",
                    source: e.into(),
                });
            }
        }
        let ready = |i: usize| !fds[i].revents().is_empty();
        Ok((ready(0), ready(1), ready(2)))
    }

    fn next_due(&self) -> Option<Instant> {
        let dues = [
            self.holds.next_due(),
            self.sandbox_looks.front().copied(),
            self.walk_again,
        ];
        dues.into_iter().flatten().min()
    }

    /// Everything whose time has come.
    fn due(&mut self, now: Instant) {
        while let Some(outcome) = self.holds.due(now) {
            self.outcome(outcome);
        }
        while self.sandbox_looks.front().is_some_and(|due| *due <= now) {
            self.sandbox_looks.pop_front();
            self.ask(rescue::Request::Sandboxes);
        }
        if self.walk_again.is_some_and(|due| due <= now) {
            self.walk_again = None;
            let since = self.dealt_with;
            self.folders.ask(WalkRequest::Again { since });
        }
    }

    /// Takes what was sent. False when the thread is to end.
    fn messages(&mut self) -> bool {
        let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
        while let Ok(message) = self.messages.try_recv() {
            match message {
                EngineMessage::Command(Command::Stop) => return false,
                // Links may have to be made for its events so far.
                EngineMessage::News(News::Watched(folder)) => {
                    let id = folder.id;
                    for early in self.folders.watched(folder) {
                        self.event(id, early.mask, early.name.as_deref());
                    }
                }
                message => self.deferred.push_back(Deferred::Message(message)),
            }
        }
        true
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Reads one batch of events and makes the links.
    fn events(&mut self, buffer: &mut [u8]) -> Result<(), EngineError> {
        let events = match self.inotify.read_events(buffer) {
            Ok(events) => events,
            Err(e)
                if e.kind() == io::ErrorKind::WouldBlock
                    || e.kind() == io::ErrorKind::Interrupted =>
            {
                return Ok(());
            }
            Err(e) => return Err(EngineError::Inotify(e)),
        };
        for event in events {
            if event.mask.contains(EventMask::Q_OVERFLOW) {
                let since = self.drained;
                self.deferred.push_back(Deferred::Overflow { since });
            } else {
                self.event(event.wd.get_watch_descriptor_id(), event.mask, event.name);
            }
        }
        // Only if one of these files may be ours: the call costs as much as reading an event, and
        // most events are of files that are not.
        if !self.deferred.is_empty() {
            let now = SystemTime::now();
            if ioctl_fionread(&self.inotify).is_ok_and(|left| left == 0) {
                self.drained = now - CLOCK_TICK;
            }
        }
        Ok(())
    }

    /// One event: the link at once, everything else later.
    fn event(&mut self, descriptor: i32, mask: EventMask, name: Option<&OsStr>) {
        let Some(folder) = self.folders.get(descriptor) else {
            if self.holds.has_watch(descriptor) {
                let held = Deferred::HeldFile { descriptor, mask };
                self.deferred.push_back(held);
            } else if !self.folders.keep_early(descriptor, mask, name) {
                let since = self.dealt_with;
                self.deferred.push_back(Deferred::Overflow { since });
            }
            return;
        };
        // Without a name it concerns the folder itself.
        let Some(name) = name else {
            return self.folder_itself(descriptor, mask);
        };
        let created = mask.intersects(EventMask::CREATE | EventMask::MOVED_TO);
        if self.trace && folder.holds_candidates() {
            if created {
                (self.notice)(Notice::Created(folder.path().join(name)));
            } else if mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM) {
                (self.notice)(Notice::Removed(folder.path().join(name)));
            }
        }
        if mask.contains(EventMask::ISDIR) {
            if created {
                self.deferred
                    .push_back(Deferred::Walk(WalkRequest::Appeared {
                        parent: descriptor,
                        name: name.into(),
                        made: mask.contains(EventMask::CREATE),
                    }));
            }
            return;
        }
        let deferred = match folder.target(name) {
            None => return,
            Some(Target::Change(change)) => Deferred::Changed {
                change: *change,
                mask,
            },
            Some(Target::Rule(_)) if self.is_paused() => return,
            Some(Target::Rule(rule)) if created => {
                self.count += 1;
                Deferred::Linked(attempt_link(folder, name, rule, self.count))
            }
            Some(Target::Rule(_)) if mask.contains(EventMask::CLOSE_WRITE) => Deferred::Closed {
                folder: folder.clone(),
                name: name.into(),
            },
            Some(Target::Rule(_)) if mask.contains(EventMask::OPEN) => Deferred::Nameless {
                folder: folder.clone(),
                name: name.into(),
            },
            Some(Target::Rule(_)) => return,
        };
        self.deferred.push_back(deferred);
    }

    fn folder_itself(&mut self, folder: i32, mask: EventMask) {
        let ended = EventMask::IGNORED | EventMask::DELETE_SELF | EventMask::UNMOUNT;
        if mask.intersects(ended) {
            let gone = WalkRequest::Gone { folder };
            self.deferred.push_back(Deferred::Walk(gone));
        } else if mask.contains(EventMask::MOVE_SELF) {
            let moved = WalkRequest::Moved { folder };
            self.deferred.push_back(Deferred::Walk(moved));
        }
    }
}

/// The fast path: one link, at once.
fn attempt_link(folder: &Arc<Folder>, name: &OsStr, rule: &Arc<Rule>, count: u64) -> LinkAttempt {
    let staged = staged_name(SystemTime::now(), Mark::Link(count), &rule.name, name);
    let link = match &folder.staging {
        Some(staging) => folder
            .open()
            .and_then(|dir| staging.link(dir.as_fd(), name, &staged)),
        None => Err(Errno::XDEV),
    };
    LinkAttempt {
        folder: folder.clone(),
        name: name.to_owned(),
        rule: rule.clone(),
        staged,
        link,
    }
}

/// The folders that hold candidates, and their globs, as they are now.
fn concerns(folders: &Folders) -> rescue::Concerns {
    let leaves = folders.iter().filter(|folder| folder.holds_candidates());
    leaves
        .map(|folder| (folder.path().to_owned(), folder.matchers()))
        .collect()
}
