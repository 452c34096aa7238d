//! The engine's thread: events in, holds out.
//!
//! Microseconds count for a link and for nothing else: events are read and links made before
//! anything that waits is dealt with, and between any two things that wait.

mod found;
mod tracking;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant, SystemTime},
};

use inotify::{EventMask, WatchDescriptor};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, statat},
    io::{Errno, ioctl_fionread},
};

use super::{
    Command, EngineError, Handle, Notice, Options, Trip,
    hold::{Hold, HoldId},
    keeper::Keeper,
    open::open_regular,
    rescue::{self, Answer, Requests},
    settle::{Manner, Settle, Stamp},
    staging::{Staged, StagedName, Staging, Stagings},
    watch::{Plan, Target, Watches},
};
use crate::{
    event::How,
    inode::Inode,
    rule::{Rule, Source},
};

/// Stands among the deadlines for a look for sandboxes; no hold has this number.
const SANDBOXES: HoldId = 0;
/// When to look, after a sandbox seems to start.
const SANDBOX_LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(700),
    Duration::from_secs(2),
    Duration::from_secs(6),
];

/// File systems keep times by a clock that lags behind the other by as much (`CONFIG_HZ` is 100 or
/// more).
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// What wakes the thread beside the kernel.
#[derive(Debug)]
pub(super) enum Message {
    Command(Command),
    Answer(Answer),
}

/// A candidate of which a link was made, or could not be.
struct Seized {
    node: i32,
    name: OsString,
    source: PathBuf,
    rule: Arc<Rule>,
    staging: Option<Arc<Staging>>,
    staged: OsString,
    link: rustix::io::Result<()>,
}

/// What waits until no link is to be made.
enum Rest {
    Message(Message),
    Seized(Seized),
    /// A name that may be new to us was closed after writing.
    Closed {
        node: i32,
        name: OsString,
    },
    /// A nameless file was opened (`#INODE`).
    Nameless {
        node: i32,
        name: OsString,
    },
    Folder {
        node: i32,
        name: OsString,
    },
    Ended {
        node: i32,
    },
    Tripped {
        trip: Trip,
        mask: EventMask,
    },
    File {
        descriptor: i32,
        mask: EventMask,
    },
    /// Events were lost, of what was made since then.
    Overflow {
        since: SystemTime,
    },
}

struct Tracked {
    hold: Arc<Hold>,
    settle: Settle,
    watch: Option<WatchDescriptor>,
    /// It tells changes too, not only the close.
    changes: bool,
    deadline: Option<Instant>,
    /// The content that was handed over, until [`Command::Done`].
    handed: Option<Stamp>,
}

struct Pending {
    source: PathBuf,
    rule: Arc<Rule>,
    staging: Option<Arc<Staging>>,
}

pub(super) struct Core<N> {
    watches: Watches,
    requests: Requests,
    messages: Receiver<Message>,
    wake: Arc<OwnedFd>,
    rest: VecDeque<Rest>,
    notice: N,
    mounts: Option<File>,
    configuration: Option<PathBuf>,
    runtime: Option<PathBuf>,
    trace: bool,
    paused: Arc<AtomicBool>,
    count: u64,
    holds: HashMap<HoldId, Tracked>,
    by_inode: HashMap<Inode, HoldId>,
    by_watch: HashMap<i32, HoldId>,
    deadlines: BTreeSet<(Instant, HoldId)>,
    pending: HashMap<u64, Pending>,
    /// What is older than this was announced by an event that was read: the queue was empty since.
    drained: SystemTime,
    /// Found by looks for open files that are under way.
    grabbed: u64,
    overflowed: Option<u64>,
    keeper: Keeper,
    /// Keepers whose files are being taken over.
    orphans: BTreeSet<u32>,
}

impl<N: Fn(Notice)> Core<N> {
    pub(super) fn new(
        options: Options,
        stagings: Stagings,
        requests: Requests,
        messages: Receiver<Message>,
        handle: &Handle,
        notice: N,
    ) -> Result<Self, EngineError> {
        let plan = Plan::new(
            &options.rules,
            &options.library,
            options.configuration.as_deref(),
            options.runtime.as_deref(),
        )?;
        Ok(Self {
            watches: Watches::new(plan, options.trace, stagings).map_err(EngineError::Inotify)?,
            requests,
            messages,
            wake: handle.wake.clone(),
            rest: VecDeque::new(),
            notice,
            mounts: File::open("/proc/self/mountinfo").ok(),
            configuration: options.configuration,
            runtime: options.runtime,
            trace: options.trace,
            paused: handle.paused.clone(),
            count: 0,
            holds: HashMap::new(),
            by_inode: HashMap::new(),
            by_watch: HashMap::new(),
            deadlines: BTreeSet::new(),
            pending: HashMap::new(),
            drained: SystemTime::now() - CLOCK_TICK,
            grabbed: 0,
            overflowed: None,
            keeper: Keeper::new(options.keeper),
            orphans: BTreeSet::new(),
        })
    }

    pub(super) fn run(mut self) {
        super::priority::wake_soon();
        self.watches.rebuild();
        self.after_walk();
        (self.notice)(Notice::Ready);
        self.recover();
        self.look_for_open(false);
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
        let _ = self.requests.send(rescue::Message::End);
        self.keeper.end();
        self.watches.stagings.tidy();
    }

    /// Sleeps until something happens, makes the links and deals with one thing that waits. False
    /// ends the thread.
    fn turn(&mut self, buffer: &mut [u8]) -> Result<bool, EngineError> {
        let system = |call| {
            move |e: Errno| EngineError::System {
                call,
                source: e.into(),
            }
        };
        let busy = (!self.rest.is_empty()).then(Timespec::default);
        let timeout = busy.or_else(|| {
            let (due, _) = self.deadlines.first()?;
            let left = due.saturating_duration_since(Instant::now());
            Some(Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            })
        });
        let (events, woken, mounts) = {
            let (inotify, wake) = (self.watches.inotify.as_fd(), self.wake.as_fd());
            let mounts = self.mounts.as_ref().map(|mounts| mounts.as_fd());
            // A changed mount table shows as an exceptional condition (proc(5), /proc/PID/mounts).
            let mut fds = [
                PollFd::from_borrowed_fd(inotify, PollFlags::IN),
                PollFd::from_borrowed_fd(wake, PollFlags::IN),
                PollFd::from_borrowed_fd(mounts.unwrap_or(wake), PollFlags::PRI),
            ];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(system("poll")(e)),
            }
            let ready = |i: usize| !fds[i].revents().is_empty();
            (ready(0), ready(1), ready(2))
        };
        if events {
            self.events(buffer)?;
        }
        if mounts {
            self.watches.rebuild();
            self.after_walk();
            (self.notice)(Notice::Tripped(Trip::Library));
        }
        if woken {
            let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
            for message in self.messages.try_iter() {
                match message {
                    Message::Command(Command::Stop) => return Ok(false),
                    message => self.rest.push_back(Rest::Message(message)),
                }
            }
        }
        if let Some(rest) = self.rest.pop_front() {
            self.rest(rest);
        }
        self.due(Instant::now());
        Ok(true)
    }

    fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Reads one batch of events and makes the links.
    fn events(&mut self, buffer: &mut [u8]) -> Result<(), EngineError> {
        let events = match self.watches.inotify.read_events(buffer) {
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
            let (descriptor, mask) = (event.wd.get_watch_descriptor_id(), event.mask);
            if mask.contains(EventMask::Q_OVERFLOW) {
                self.rest.push_back(Rest::Overflow {
                    since: self.drained,
                });
                continue;
            }
            let Some(node) = self.watches.get(descriptor) else {
                self.rest.push_back(Rest::File { descriptor, mask });
                continue;
            };
            let Some(name) = event.name else {
                if Watches::is_end(mask) {
                    self.rest.push_back(Rest::Ended { node: descriptor });
                }
                continue;
            };
            let created = mask.intersects(EventMask::CREATE | EventMask::MOVED_TO);
            if self.trace && node.is_leaf() {
                if created {
                    (self.notice)(Notice::Created(node.path().join(name)));
                } else if mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM) {
                    (self.notice)(Notice::Removed(node.path().join(name)));
                }
            }
            if mask.contains(EventMask::ISDIR) {
                if created {
                    self.rest.push_back(Rest::Folder {
                        node: descriptor,
                        name: name.into(),
                    });
                }
                continue;
            }
            match node.target(name) {
                None => {}
                Some(Target::Trip(trip)) => {
                    self.rest.push_back(Rest::Tripped { trip: *trip, mask })
                }
                Some(Target::Rule(_)) if self.paused() => {}
                Some(Target::Rule(rule)) if created => {
                    self.count += 1;
                    self.rest.push_back(Rest::Seized(seize(
                        node, descriptor, name, rule, self.count,
                    )));
                }
                Some(Target::Rule(_)) if mask.contains(EventMask::CLOSE_WRITE) => {
                    self.rest.push_back(Rest::Closed {
                        node: descriptor,
                        name: name.into(),
                    });
                }
                Some(Target::Rule(_)) if mask.contains(EventMask::OPEN) => {
                    self.rest.push_back(Rest::Nameless {
                        node: descriptor,
                        name: name.into(),
                    });
                }
                Some(Target::Rule(_)) => {}
            }
        }
        // Not for the thousands of files that are not ours: the call costs as much as reading of
        // one.
        if !self.rest.is_empty() {
            let now = SystemTime::now();
            if ioctl_fionread(&self.watches.inotify).is_ok_and(|left| left == 0) {
                self.drained = now - CLOCK_TICK;
            }
        }
        Ok(())
    }

    /// A configuration file is read when it is whole: closed, or moved there.
    fn tripped(&mut self, trip: Trip, mask: EventMask) {
        if trip == Trip::Sandbox {
            return self.sandbox_starts();
        }
        if trip == Trip::Library || mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) {
            (self.notice)(Notice::Tripped(trip));
        }
    }

    fn rest(&mut self, rest: Rest) {
        match rest {
            Rest::Message(Message::Command(command)) => self.command(command),
            Rest::Message(Message::Answer(answer)) => self.answer(answer),
            Rest::Seized(seized) => self.seized(seized),
            Rest::Closed { node, name } => {
                self.consider(node, &name);
            }
            Rest::Nameless { node, name } => self.wanted(node, name),
            Rest::Folder { node, name } => {
                self.watches.appeared(node, &name);
                self.after_walk();
            }
            Rest::Ended { node } => self.watches.gone(node),
            Rest::Tripped { trip, mask } => self.tripped(trip, mask),
            Rest::File { descriptor, mask } => self.file(descriptor, mask),
            Rest::Overflow { since } => self.overflow(since),
        }
    }

    /// A file that is there, found by its close or by reading the folder: held unless it is
    /// already.
    fn consider(&mut self, descriptor: i32, name: &OsStr) -> bool {
        let Some(node) = self.watches.get(descriptor) else {
            return false;
        };
        let Some(Target::Rule(rule)) = node.target(name) else {
            return false;
        };
        let Ok(stat) = statat(node.dir(), name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        if self.by_inode.contains_key(&Inode::from(&stat)) {
            return false;
        }
        self.count += 1;
        let seized = seize(node, descriptor, name, rule, self.count);
        let before = self.holds.len();
        self.seized(seized);
        self.holds.len() > before
    }

    /// The link becomes a hold, or somebody else's descriptor is asked for.
    fn seized(&mut self, seized: Seized) {
        let Seized {
            node,
            name,
            source,
            rule,
            staging,
            staged,
            link,
        } = seized;
        let now = SystemTime::now();
        match (link, staging) {
            (Ok(()), Some(staging)) => match staging.read(&staged) {
                Ok(file) => self.hold(
                    file,
                    Some(Staged {
                        staging,
                        name: staged,
                    }),
                    source,
                    rule,
                    How::Link,
                    None,
                    now,
                ),
                Err(e) => {
                    let _ = staging.remove(&staged);
                    if e != Errno::PERM {
                        self.lost(source, rule, format!("it can't be read: {e}"));
                    }
                }
            },
            (Err(Errno::NOENT), Some(staging)) if staging.is_gone() => {
                self.watches.renew_stagings();
                let Some(folder) = self.watches.get(node) else {
                    return;
                };
                let again = seize(folder, node, &name, &rule, self.count);
                match &again.staging {
                    // Removed once more: whoever has the file open is left.
                    Some(staging) if staging.is_gone() => self.wanted(node, name),
                    _ => self.seized(again),
                }
            }
            (Err(Errno::NOENT), _) => self.wanted(node, name),
            // No link to be had here: another mount, a file system without links, a full one. The
            // name still leads to the file.
            (Err(_), _) | (Ok(()), None) => {
                let Some(folder) = self.watches.get(node) else {
                    return;
                };
                match open_regular(folder.dir(), &name) {
                    Ok(file) => self.hold(file, None, source, rule, How::Rescue, None, now),
                    Err(Errno::NOENT) => self.wanted(node, name),
                    Err(Errno::PERM) => {}
                    Err(e) => self.lost(source, rule, format!("it can't be read: {e}")),
                }
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

    fn command(&mut self, command: Command) {
        match command {
            Command::Grab if self.paused() => (self.notice)(Notice::Grabbed {
                count: 0,
                asked: true,
            }),
            Command::Grab => self.look_for_open(true),
            Command::Configure { rules, library } => {
                match Plan::new(
                    &rules,
                    &library,
                    self.configuration.as_deref(),
                    self.runtime.as_deref(),
                ) {
                    Ok(plan) => {
                        self.watches.set_plan(plan);
                        self.after_walk();
                        // What is playing already concerns a new rule as it does at the start.
                        if !self.paused() {
                            self.look_for_open(false);
                        }
                    }
                    Err(e) => (self.notice)(Notice::Failed(e.into())),
                }
            }
            Command::Done { id, keep } => self.done(id, keep),
            // Both are in force without us: see [`Handle::send`].
            Command::Pause | Command::Resume | Command::Stop => {}
        }
    }

    /// A launcher changes root while it starts, and its program takes a while: looked for now and a
    /// few times more.
    fn sandbox_starts(&mut self) {
        let now = Instant::now();
        self.deadlines.retain(|&(_, id)| id != SANDBOXES);
        self.deadlines
            .extend(SANDBOX_LOOKS.map(|wait| (now + wait, SANDBOXES)));
    }

    /// What walking the folders brought to light.
    fn after_walk(&mut self) {
        for unwatched in std::mem::take(&mut self.watches.unwatched) {
            (self.notice)(Notice::Unwatched(unwatched));
        }
        for trip in std::mem::take(&mut self.watches.tripped) {
            match trip {
                Trip::Sandbox => self.sandbox_starts(),
                trip => (self.notice)(Notice::Tripped(trip)),
            }
        }
        let found = std::mem::take(&mut self.watches.found);
        if !self.paused() {
            for found in found {
                self.consider(found.node, &found.name);
            }
        }
    }
}

/// The fast path: one link, at once.
fn seize(
    node: &super::watch::Node,
    descriptor: i32,
    name: &OsStr,
    rule: &Arc<Rule>,
    count: u64,
) -> Seized {
    let staged = StagedName::new(SystemTime::now(), count, &rule.name, name);
    let link = match &node.staging {
        Some(staging) => staging.link(node.dir(), name, staged.as_ref()),
        None => Err(Errno::XDEV),
    };
    let staged = staged.as_ref().to_owned();
    let (source, name, rule) = (node.path().join(name), name.to_owned(), rule.clone());
    Seized {
        node: descriptor,
        name,
        source,
        rule,
        staging: node.staging.clone(),
        staged,
        link,
    }
}

/// How the writers of a held file behave. Chromium's files of ranges (`_s`) are emptied while they
/// are open.
fn manner(hold: &Hold) -> Manner {
    match hold.rule.source {
        Source::Temporary => Manner::Player,
        Source::Chromium if hold.source.as_os_str().as_bytes().ends_with(b"_s") => Manner::Growing,
        Source::Chromium | Source::Firefox => Manner::Entry,
    }
}
