//! The rescue: where the link came too late, some process still has the file open, and
//! `/proc/PID/fd/N` leads to it.
//!
//! One scan of all processes takes tens of milliseconds, so it is shared by as many threads as
//! there are processors, and serves everything that waits when it begins. Most hidden files come
//! from a process that was caught before: those are looked into at once for every request, in the
//! middle of a scan too, which costs far less than a millisecond.
//!
//! A file is known by the last component of the link's text, since the same file reads differently
//! in another mount namespace; device, owner, and folder or age are compared before it is taken.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread::JoinHandle,
    time::SystemTime,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat},
    io::Errno,
};

use super::{
    hold::Producer,
    keeper,
    open::{born, open_magic},
    priority,
    processes::{self, Processes, each_descriptor, in_other_namespace, is_ours, split},
};
use crate::{inode::Inode, title::Family};

/// How many processes that were caught before are looked at first.
const REMEMBERED: usize = 32;

/// What somebody waits for; `ticket` comes back with the answer.
pub(crate) enum Request {
    /// A file that was created under this name and is gone.
    Lost(Wanted),
    /// Who has this file open, and is anyone writing?
    Who {
        ticket: u64,
        name: OsString,
        inode: Inode,
    },
    /// Everything that is open now in these folders.
    Open { folders: Folders, asked: bool },
    /// Private `/tmp` and `/var/tmp` of sandboxes.
    Sandboxes,
}

/// A file that was seen and is gone.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) ticket: u64,
    /// The folder's path as the kernel tells it.
    pub(crate) folder: PathBuf,
    pub(crate) name: OsString,
    pub(crate) dev: u64,
    /// It was created after this.
    pub(crate) since: SystemTime,
}

/// Decides whether an open file concerns us: folder and name, as the link reads.
pub(crate) type Folders = Arc<dyn Fn(&Path, &OsStr) -> bool + Send + Sync>;

/// What a scan found.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Open files for the ticket: one name can be used again and again, so there may be several.
    Found { ticket: u64, caught: Vec<Caught> },
    /// Everything was looked at and nobody has it open (any more); so many processes could not be
    /// read.
    Gone { ticket: u64, unreadable: usize },
    /// Who has it open; whether for writing.
    Who {
        ticket: u64,
        producer: Option<Producer>,
        written: bool,
    },
    /// One open file that concerns us.
    Open {
        folder: PathBuf,
        name: OsString,
        caught: Caught,
    },
    /// All open files were told; whether the user had asked.
    OpenDone { asked: bool },
    /// A sandbox's private folder, open, with its path as the kernel tells it.
    Sandbox { dir: OwnedFd, root: PathBuf },
}

/// A file taken from another process.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) file: File,
    pub(crate) inode: Inode,
    /// Who had it open; nobody where it was only kept for us.
    pub(crate) producer: Option<Producer>,
    /// The process that it was taken from.
    pub(crate) pid: u32,
    /// It was taken from a keeper whose fisga has died.
    pub(crate) orphan: bool,
}

impl Caught {
    fn from(process: &Producer, file: File, inode: Inode) -> Self {
        let (pid, orphan) = (process.pid, keeper::is_orphan(&process.name));
        let producer = (!keeper::is_keeper(&process.name)).then(|| process.clone());
        Self {
            file,
            inode,
            producer,
            pid,
            orphan,
        }
    }
}

/// What the thread wakes for.
pub(crate) enum Message {
    Asked(Request),
    /// Descriptors of one process that may be what somebody waits for.
    Seen(Vec<Seen>),
    /// One of the threads of a full scan is through; so many processes could not be read.
    Scanned {
        unreadable: usize,
    },
    /// Nobody asks any more.
    End,
}

/// A descriptor of another process with a name that somebody waits for.
pub(crate) struct Seen {
    process: Producer,
    folder: PathBuf,
    name: OsString,
    deleted: bool,
    writes: bool,
    file: File,
    inode: Inode,
}

/// The sending side, for the engine and for the threads of a scan.
pub(crate) type Requests = Sender<Message>;

/// The thread: sleeps until something is asked or found.
pub(crate) fn run(inbox: &Receiver<Message>, own: Requests, answer: impl Fn(Answer)) {
    let mut scanner = Scanner {
        answer,
        own,
        known: Vec::new(),
        lost: HashMap::new(),
        who: Vec::new(),
        round: None,
    };
    // A file that is kept open for a few milliseconds is caught in them, or not.
    priority::wake_soon();
    while let Ok(message) = inbox.recv() {
        let mut asked = false;
        for message in std::iter::once(message).chain(inbox.try_iter()) {
            match message {
                Message::Asked(request) => {
                    scanner.take(request);
                    asked = true;
                }
                Message::Seen(seen) => scanner.seen(seen),
                Message::Scanned { unreadable } => scanner.scanned(unreadable),
                Message::End => return scanner.end_round(),
            }
        }
        if asked {
            scanner.known_processes();
        }
        scanner.next_round();
    }
}

struct Waiting {
    wanted: Wanted,
    /// A full scan began after it was asked for.
    in_round: bool,
    /// A full scan did not find it. A descriptor that one process hands to another (unix(7),
    /// SCM_RIGHTS) is nobody's on its way, and may move from a process that the scan has still to
    /// come to to one behind it; Firefox does so with every file. Only what a second scan misses
    /// too is gone.
    missed: bool,
}

struct Asked {
    ticket: u64,
    name: OsString,
    inode: Inode,
    producer: Option<Producer>,
    in_round: bool,
}

/// A full scan under way.
struct Round {
    threads: Vec<JoinHandle<()>>,
    running: usize,
    unreadable: usize,
    processes: Arc<Processes>,
}

struct Scanner<A: Fn(Answer)> {
    answer: A,
    own: Requests,
    /// Processes that were caught, the latest last.
    known: Vec<u32>,
    lost: HashMap<OsString, Vec<Waiting>>,
    who: Vec<Asked>,
    round: Option<Round>,
}

impl<A: Fn(Answer)> Scanner<A> {
    fn take(&mut self, request: Request) {
        match request {
            Request::Lost(wanted) => {
                let waiting = Waiting {
                    in_round: false,
                    missed: false,
                    wanted,
                };
                self.lost
                    .entry(waiting.wanted.name.clone())
                    .or_default()
                    .push(waiting);
            }
            Request::Who {
                ticket,
                name,
                inode,
            } => {
                self.who.push(Asked {
                    ticket,
                    name,
                    inode,
                    producer: None,
                    in_round: false,
                });
            }
            Request::Open { folders, asked } => {
                self.open_files(&folders);
                (self.answer)(Answer::OpenDone { asked });
            }
            Request::Sandboxes => self.sandboxes(),
        }
    }

    fn names(&self) -> HashSet<OsString> {
        self.lost
            .keys()
            .chain(self.who.iter().map(|asked| &asked.name))
            .cloned()
            .collect()
    }

    fn known_processes(&mut self) {
        let names = self.names();
        if names.is_empty() {
            return;
        }
        for pid in self.known.clone().into_iter().rev() {
            if let Ok(seen) = look_into(pid, &names) {
                self.seen(seen);
            }
        }
    }

    /// Begins a full scan if somebody waits and none is under way. What waits now is answered when
    /// it ends.
    fn next_round(&mut self) {
        let names = self.names();
        if names.is_empty() || self.round.is_some() {
            return;
        }
        self.lost
            .values_mut()
            .flatten()
            .for_each(|w| w.in_round = true);
        self.who.iter_mut().for_each(|w| w.in_round = true);
        let (names, processes) = (Arc::new(names), Arc::new(Processes::new()));
        let spawn = |_| {
            let (names, processes, own) = (names.clone(), processes.clone(), self.own.clone());
            let body = move || {
                priority::stand_back();
                scan(&names, &processes, &own);
            };
            std::thread::Builder::new().name("scan".into()).spawn(body)
        };
        let threads: Vec<_> = (0..processes::width())
            .filter_map(|n| spawn(n).ok())
            .collect();
        let running = threads.len();
        if running == 0 {
            // No thread to be had: then here.
            scan(&names, &processes, &self.own);
        }
        self.round = Some(Round {
            threads,
            running: running.max(1),
            unreadable: 0,
            processes,
        });
    }

    fn scanned(&mut self, unreadable: usize) {
        let Some(round) = &mut self.round else { return };
        round.running -= 1;
        round.unreadable += unreadable;
        if round.running > 0 {
            return;
        }
        let unreadable = round.unreadable;
        self.end_round();
        let gone: Vec<_> = self
            .lost
            .values_mut()
            .flat_map(|all| all.extract_if(.., |w| w.in_round && w.missed))
            .collect();
        for waiting in self.lost.values_mut().flatten().filter(|w| w.in_round) {
            (waiting.in_round, waiting.missed) = (false, true);
        }
        self.lost.retain(|_, all| !all.is_empty());
        for waiting in gone {
            (self.answer)(Answer::Gone {
                ticket: waiting.wanted.ticket,
                unreadable,
            });
        }
        for asked in self.who.extract_if(.., |w| w.in_round) {
            (self.answer)(Answer::Who {
                ticket: asked.ticket,
                producer: asked.producer,
                written: false,
            });
        }
    }

    /// Lets the threads of a scan end, and waits for them.
    fn end_round(&mut self) {
        if let Some(round) = self.round.take() {
            round.processes.skip_all();
            for thread in round.threads {
                if thread.join().is_err() {
                    tracing::error!("a scan of /proc panicked");
                }
            }
        }
    }

    /// Compares what one process has open with what is waited for.
    fn seen(&mut self, all: Vec<Seen>) {
        let mut found: BTreeMap<u64, Vec<Caught>> = BTreeMap::new();
        for seen in &all {
            let keeper = keeper::is_keeper(&seen.process.name);
            // What a living fisga's keeper has is held already.
            if !keeper || keeper::is_orphan(&seen.process.name) {
                for waiting in self.lost.get(&seen.name).into_iter().flatten() {
                    if seen.is(&waiting.wanted)
                        && let Ok(caught) = seen.caught()
                    {
                        found.entry(waiting.wanted.ticket).or_default().push(caught);
                    }
                }
            }
            for asked in self
                .who
                .iter_mut()
                .filter(|asked| asked.inode == seen.inode && !keeper)
            {
                if seen.writes || asked.producer.is_none() {
                    asked.producer = Some(seen.process.clone());
                }
                if seen.writes {
                    let (ticket, producer) = (asked.ticket, asked.producer.take());
                    (self.answer)(Answer::Who {
                        ticket,
                        producer,
                        written: true,
                    });
                    asked.ticket = 0;
                }
            }
            if !keeper {
                self.remember(seen.process.pid);
            }
        }
        self.who.retain(|asked| asked.ticket != 0);
        for (ticket, caught) in found {
            (self.answer)(Answer::Found { ticket, caught });
            for all in self.lost.values_mut() {
                all.retain(|w| w.wanted.ticket != ticket);
            }
        }
        self.lost.retain(|_, all| !all.is_empty());
        if let Some(round) = &self.round
            && !self.lost.values().flatten().any(|w| w.in_round)
            && !self.who.iter().any(|w| w.in_round)
        {
            round.processes.skip_all();
        }
    }

    fn remember(&mut self, pid: u32) {
        self.known.retain(|&known| known != pid);
        self.known.push(pid);
        if self.known.len() > REMEMBERED {
            self.known.remove(0);
        }
    }

    fn open_files(&self, concerns: &Folders) {
        let mut seen = HashSet::new();
        for pid in processes::all() {
            let _ = each_descriptor(pid, |fds, fd, link| {
                let Some((folder, name, _)) = split(link) else {
                    return;
                };
                if !concerns(folder, name) {
                    return;
                }
                if let Ok((file, inode)) = open_magic(fds, fd)
                    && seen.insert(inode)
                {
                    let caught = Caught::from(&identify(pid), file, inode);
                    (self.answer)(Answer::Open {
                        folder: folder.into(),
                        name: name.into(),
                        caught,
                    });
                }
            });
        }
    }

    fn sandboxes(&self) {
        let mut seen = HashSet::new();
        for pid in processes::all()
            .into_iter()
            .filter(|&pid| is_ours(pid) && in_other_namespace(pid))
        {
            for folder in ["tmp", "var/tmp"] {
                let root = PathBuf::from(format!("/proc/{pid}/root/{folder}"));
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let Ok(dir) = openat(CWD, &root, flags, Mode::empty()) else {
                    continue;
                };
                if fstat(&dir).is_ok_and(|stat| seen.insert(Inode::from(&stat))) {
                    (self.answer)(Answer::Sandbox { dir, root });
                }
            }
        }
    }
}

impl Seen {
    /// Whether it is the file that was created there. In another mount namespace its path reads
    /// differently; then its name has to be gone, as it is where we looked, and it has to be as
    /// young.
    fn is(&self, wanted: &Wanted) -> bool {
        let elsewhere = || {
            self.deleted
                && in_other_namespace(self.process.pid)
                && born(&self.file, OsStr::new("")).is_ok_and(|born| born >= wanted.since)
        };
        self.inode.dev == wanted.dev && (self.folder == wanted.folder || elsewhere())
    }

    fn caught(&self) -> io::Result<Caught> {
        Ok(Caught::from(
            &self.process,
            self.file.try_clone()?,
            self.inode,
        ))
    }
}

/// A thread's part of a full scan.
fn scan(names: &HashSet<OsString>, processes: &Processes, own: &Requests) {
    let mut unreadable = 0;
    while let Some(pid) = processes.next() {
        match look_into(pid, names) {
            Ok(seen) if !seen.is_empty() => drop(own.send(Message::Seen(seen))),
            Err(Errno::ACCESS | Errno::PERM) if is_ours(pid) => unreadable += 1,
            _ => {}
        }
    }
    let _ = own.send(Message::Scanned { unreadable });
}

/// What a process has open under one of these names, opened.
fn look_into(pid: u32, names: &HashSet<OsString>) -> rustix::io::Result<Vec<Seen>> {
    let mut all: Vec<Seen> = Vec::new();
    each_descriptor(pid, |fds, fd, link| {
        let Some((folder, name, deleted)) = split(link) else {
            return;
        };
        if !names.contains(name) {
            return;
        }
        let Ok((file, inode)) = open_magic(fds, fd) else {
            return;
        };
        // The link's own mode says how it was opened (proc(5)).
        let writes =
            statat(fds, fd, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| s.st_mode & 0o200 != 0);
        match all.iter_mut().find(|seen| seen.inode == inode) {
            Some(seen) => seen.writes |= writes,
            None => {
                let (process, folder, name) = (identify(pid), folder.to_owned(), name.to_owned());
                all.push(Seen {
                    process,
                    folder,
                    name,
                    deleted,
                    writes,
                    file,
                    inode,
                });
            }
        }
    })?;
    Ok(all)
}

fn identify(pid: u32) -> Producer {
    let name = super::program::name(pid);
    Producer {
        pid,
        name,
        family: Family::of(pid),
    }
}
