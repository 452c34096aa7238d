//! The rescue: where the link came too late, some process still has the file open, and
//! `/proc/PID/fd/N` leads to it.
//!
//! One scan of all processes takes tens of milliseconds, so it is shared by as many threads as
//! there are processors, and serves everything that waits when it begins. Most hidden files come
//! from a process that was caught before: those are looked into at once for every request, in the
//! middle of a scan too, which costs far less than a millisecond.
//!
//! Each file that is taken needs a descriptor. When none is left (see `descriptors`), the search
//! goes on until there is one.
//!
//! A file is known by the last component of the link's text, since the same file reads differently
//! in another mount namespace; device, owner, and folder or age are compared before it is taken.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, HashMap, HashSet},
    ffi::{OsStr, OsString},
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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
    descriptors::{Descriptors, OpenFile},
    hold::{HoldId, Producer},
    keeper,
    open::{born, is_own_regular, reopen},
    priority,
    processes::{self, Processes, each_descriptor, in_other_namespace, is_ours, split},
};
use crate::{inode::Inode, rule::Matcher, title::Family};

/// How many processes that were caught before are looked at first.
const REMEMBERED: usize = 32;

/// Comes back with the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// What somebody waits for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A file that was created under this name and is gone.
    Hidden(HiddenFile),
    /// Who has this file open, and is anyone writing?
    Who {
        id: HoldId,
        name: OsString,
        inode: Inode,
    },
    /// Everything that is open now in these folders.
    Open { concerns: Concerns, asked: bool },
    /// Private `/tmp` and `/var/tmp` of sandboxes.
    Sandboxes,
}

/// A file that was seen and whose name is gone.
#[derive(Clone, Debug)]
pub(crate) struct HiddenFile {
    pub(crate) ticket: Ticket,
    /// The folder's path as the kernel gives it.
    pub(crate) folder: PathBuf,
    pub(crate) name: OsString,
    pub(crate) dev: u64,
    /// It was created after this.
    pub(crate) since: SystemTime,
}

/// The folders that hold candidates, by their paths as links read, and the globs of their files.
#[derive(Debug)]
pub(crate) struct Concerns(HashMap<PathBuf, Vec<Arc<Matcher>>>);

/// Two folders may have one path: a sandbox's `/tmp` reads as the one outside.
impl FromIterator<(PathBuf, Vec<Arc<Matcher>>)> for Concerns {
    fn from_iter<I: IntoIterator<Item = (PathBuf, Vec<Arc<Matcher>>)>>(folders: I) -> Self {
        let mut globs: HashMap<_, Vec<_>> = HashMap::new();
        for (folder, matchers) in folders {
            globs.entry(folder).or_default().extend(matchers);
        }
        Self(globs)
    }
}

impl Concerns {
    fn include(&self, folder: &Path, name: &OsStr) -> bool {
        let globs = self.0.get(folder);
        globs.is_some_and(|globs| globs.iter().any(|glob| glob.matches(name)))
    }
}

/// What a scan found.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Open files for the ticket: one name can be used again and again, so there may be several.
    Found {
        ticket: Ticket,
        caught: Vec<CaughtFile>,
    },
    /// No process has it open any more. `unreadable` processes could not be looked into.
    Gone { ticket: Ticket, unreadable: usize },
    /// Who has it open; whether for writing.
    Who {
        id: HoldId,
        producer: Option<Producer>,
        written: bool,
    },
    /// One open file that concerns us.
    Open {
        folder: PathBuf,
        name: OsString,
        caught: CaughtFile,
    },
    /// All open files have been reported. `asked` is repeated from the request.
    OpenDone { asked: bool },
    /// A sandbox's private folder, open, with its path as the kernel gives it.
    Sandbox { dir: OwnedFd, root: PathBuf },
}

/// A file taken from another process.
#[derive(Debug)]
pub(crate) struct CaughtFile {
    pub(crate) file: OpenFile,
    pub(crate) inode: Inode,
    /// The program that had it open; `None` if only a keeper had.
    pub(crate) producer: Option<Producer>,
    /// The process that it was taken from.
    pub(crate) pid: u32,
    /// It was taken from a keeper whose fisga has died.
    pub(crate) orphan: bool,
}

impl CaughtFile {
    fn from(process: &Producer, file: OpenFile, inode: Inode) -> Self {
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
pub(crate) enum RescueMessage {
    Asked(Request),
    /// There are descriptors again.
    Freed,
    /// Descriptors of one process that may be what somebody waits for.
    Seen(Vec<SeenFile>),
    /// One of the threads of a full scan has finished. `unreadable` processes could not be looked
    /// into.
    Scanned {
        unreadable: usize,
    },
    /// Ends the thread.
    End,
}

/// A descriptor of another process with a name that somebody waits for.
pub(crate) struct SeenFile {
    process: Producer,
    folder: PathBuf,
    name: OsString,
    deleted: bool,
    writes: bool,
    /// Opened only if its name is one of a hidden file.
    file: Option<OpenFile>,
    inode: Inode,
    born: Option<SystemTime>,
}

/// The sending side, for the engine and for the threads of a scan.
pub(crate) type Requests = Sender<RescueMessage>;

/// The thread: sleeps until something is asked or found.
pub(crate) fn run(
    inbox: &Receiver<RescueMessage>,
    own: Requests,
    descriptors: Descriptors,
    answer: impl Fn(Answer),
) {
    let mut scanner = Scanner {
        opening: Opening {
            descriptors,
            starved: Arc::default(),
        },
        answer,
        own,
        known: Vec::new(),
        hidden: HashMap::new(),
        who: Vec::new(),
        round: None,
    };
    // Some files are open for a few milliseconds only: they are caught in that time or never.
    priority::wake_soon();
    while let Ok(message) = inbox.recv() {
        let mut asked = false;
        for message in std::iter::once(message).chain(inbox.try_iter()) {
            match message {
                RescueMessage::Asked(request) => {
                    scanner.take(request);
                    asked = true;
                }
                RescueMessage::Freed => {
                    scanner.opening.starved.store(false, Ordering::Relaxed);
                    asked = true;
                }
                RescueMessage::Seen(seen) => scanner.seen(seen),
                RescueMessage::Scanned { unreadable } => scanner.scanned(unreadable),
                RescueMessage::End => return scanner.end_round(),
            }
        }
        if asked {
            scanner.known_processes();
        }
        scanner.next_round();
    }
}

struct Waiting {
    file: HiddenFile,
    /// A full scan began after it was asked for.
    in_round: bool,
    /// A full scan did not find it. A descriptor that one process hands to another (unix(7),
    /// SCM_RIGHTS) belongs to no process on its way, and may move from a process that the scan has
    /// yet to reach to one that it has passed; Firefox does so with every file. Only what a second
    /// scan misses too is gone.
    missed: bool,
}

struct Asked {
    id: HoldId,
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
    opening: Opening,
    /// Processes that were caught, the latest last.
    known: Vec<u32>,
    hidden: HashMap<OsString, Vec<Waiting>>,
    who: Vec<Asked>,
    round: Option<Round>,
}

impl<A: Fn(Answer)> Scanner<A> {
    fn take(&mut self, request: Request) {
        match request {
            Request::Hidden(file) => {
                let all = self.hidden.entry(file.name.clone()).or_default();
                all.push(Waiting {
                    in_round: false,
                    missed: false,
                    file,
                });
            }
            Request::Who { id, name, inode } => {
                self.who.push(Asked {
                    id,
                    name,
                    inode,
                    producer: None,
                    in_round: false,
                });
            }
            Request::Open { concerns, asked } => {
                self.open_files(&concerns);
                (self.answer)(Answer::OpenDone { asked });
            }
            Request::Sandboxes => self.sandboxes(),
        }
    }

    fn names(&self) -> Names {
        let asked = self.who.iter().map(|asked| asked.name.clone());
        Names {
            hidden: self.hidden.keys().cloned().collect(),
            asked: asked.collect(),
        }
    }

    fn known_processes(&mut self) {
        let names = self.names();
        if names.is_empty() {
            return;
        }
        for pid in self.known.clone().into_iter().rev() {
            if let Ok(seen) = look_into(pid, &names, &self.opening) {
                self.seen(seen);
            }
        }
    }

    /// Begins a full scan if somebody waits and none is under way. What waits now is answered when
    /// it ends.
    fn next_round(&mut self) {
        if self.round.is_some() || self.opening.is_starved() {
            return;
        }
        let names = self.names();
        if names.is_empty() {
            return;
        }
        self.hidden
            .values_mut()
            .flatten()
            .for_each(|w| w.in_round = true);
        self.who.iter_mut().for_each(|w| w.in_round = true);
        let (names, processes) = (Arc::new(names), Arc::new(Processes::new()));
        let spawn = |_| {
            let (names, processes, own) = (names.clone(), processes.clone(), self.own.clone());
            let opening = self.opening.clone();
            let body = move || {
                priority::stand_back();
                scan(&names, &processes, &opening, &own);
            };
            std::thread::Builder::new().name("scan".into()).spawn(body)
        };
        let threads: Vec<_> = (0..processes::width())
            .filter_map(|n| spawn(n).ok())
            .collect();
        let running = threads.len();
        if running == 0 {
            // The system gives no thread, so the scan runs on this one.
            scan(&names, &processes, &self.opening, &self.own);
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
        if self.opening.is_starved() {
            let waiting = self.hidden.values_mut().flatten();
            waiting.for_each(|w| w.in_round = false);
        }
        let gone: Vec<_> = self
            .hidden
            .values_mut()
            .flat_map(|all| all.extract_if(.., |w| w.in_round && w.missed))
            .collect();
        for waiting in self.hidden.values_mut().flatten().filter(|w| w.in_round) {
            (waiting.in_round, waiting.missed) = (false, true);
        }
        self.hidden.retain(|_, all| !all.is_empty());
        for waiting in gone {
            (self.answer)(Answer::Gone {
                ticket: waiting.file.ticket,
                unreadable,
            });
        }
        for asked in self.who.extract_if(.., |w| w.in_round) {
            (self.answer)(Answer::Who {
                id: asked.id,
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
    fn seen(&mut self, all: Vec<SeenFile>) {
        let mut found: BTreeMap<Ticket, Vec<CaughtFile>> = BTreeMap::new();
        for seen in &all {
            let keeper = keeper::is_keeper(&seen.process.name);
            // What a living fisga's keeper has is held already.
            if let Some(file) = &seen.file
                && (!keeper || keeper::is_orphan(&seen.process.name))
            {
                for waiting in self.hidden.get(&seen.name).into_iter().flatten() {
                    if seen.is(&waiting.file) {
                        let caught = CaughtFile::from(&seen.process, file.clone(), seen.inode);
                        found.entry(waiting.file.ticket).or_default().push(caught);
                    }
                }
            }
            if !keeper {
                self.opened_by(seen);
                self.remember(seen.process.pid);
            }
        }
        if !found.is_empty() {
            self.hidden.retain(|_, all| {
                all.retain(|w| !found.contains_key(&w.file.ticket));
                !all.is_empty()
            });
        }
        for (ticket, caught) in found {
            (self.answer)(Answer::Found { ticket, caught });
        }
        if let Some(round) = &self.round
            && !self.hidden.values().flatten().any(|w| w.in_round)
            && !self.who.iter().any(|w| w.in_round)
        {
            round.processes.skip_all();
        }
    }

    /// Answers who has a file open: a writer at once, any other when the scan is through.
    fn opened_by(&mut self, seen: &SeenFile) {
        let answer = &self.answer;
        self.who.retain_mut(|asked| {
            if asked.inode != seen.inode {
                return true;
            }
            if !seen.writes {
                asked.producer.get_or_insert_with(|| seen.process.clone());
                return true;
            }
            answer(Answer::Who {
                id: asked.id,
                producer: Some(seen.process.clone()),
                written: true,
            });
            false
        });
    }

    fn remember(&mut self, pid: u32) {
        self.known.retain(|&known| known != pid);
        self.known.push(pid);
        if self.known.len() > REMEMBERED {
            self.known.remove(0);
        }
    }

    fn open_files(&self, concerns: &Concerns) {
        let mut seen = HashSet::new();
        for pid in processes::all() {
            let process = LazyCell::new(|| identify(pid));
            let _ = each_descriptor(pid, |fds, fd, link| {
                let Some((folder, name, _)) = split(link) else {
                    return;
                };
                if !concerns.include(folder, name) {
                    return;
                }
                if let Ok((path, inode)) = own_regular(fds, fd)
                    && seen.insert(inode)
                    && let Some(file) = self.opening.open(path)
                {
                    let caught = CaughtFile::from(&process, file, inode);
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

impl SeenFile {
    /// Whether it is the file that was created there. In another mount namespace its path reads
    /// differently: then it must have lost its name, as the file that is searched for has, and must
    /// not be older.
    fn is(&self, hidden: &HiddenFile) -> bool {
        let elsewhere = || {
            self.deleted
                && in_other_namespace(self.process.pid)
                && self.born.is_some_and(|born| born >= hidden.since)
        };
        self.inode.dev == hidden.dev && (self.folder == hidden.folder || elsewhere())
    }
}

/// The names that somebody waits for.
struct Names {
    hidden: HashSet<OsString>,
    /// Names of held files: who has them open?
    asked: HashSet<OsString>,
}

impl Names {
    fn is_empty(&self) -> bool {
        self.hidden.is_empty() && self.asked.is_empty()
    }
}

/// Opens files while there are descriptors for them.
#[derive(Clone)]
struct Opening {
    descriptors: Descriptors,
    /// A file was seen for which there was no descriptor: no file is called gone until there is
    /// one.
    starved: Arc<AtomicBool>,
}

impl Opening {
    fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    fn open(&self, path: OwnedFd) -> Option<OpenFile> {
        let Some(permit) = self.descriptors.take() else {
            self.starved.store(true, Ordering::Relaxed);
            return None;
        };
        match reopen(&path) {
            Ok(file) => Some(OpenFile::new(file, permit)),
            Err(e) => {
                if matches!(e, Errno::MFILE | Errno::NFILE) {
                    self.starved.store(true, Ordering::Relaxed);
                }
                None
            }
        }
    }
}

/// A thread's part of a full scan.
fn scan(names: &Names, processes: &Processes, opening: &Opening, own: &Requests) {
    let mut unreadable = 0;
    while let Some(pid) = processes.next() {
        match look_into(pid, names, opening) {
            Ok(seen) if !seen.is_empty() => drop(own.send(RescueMessage::Seen(seen))),
            Err(Errno::ACCESS | Errno::PERM) if is_ours(pid) => unreadable += 1,
            _ => {}
        }
    }
    let _ = own.send(RescueMessage::Scanned { unreadable });
}

/// What a process has open under one of these names.
fn look_into(pid: u32, names: &Names, opening: &Opening) -> rustix::io::Result<Vec<SeenFile>> {
    let mut all: Vec<SeenFile> = Vec::new();
    let process = LazyCell::new(|| identify(pid));
    each_descriptor(pid, |fds, fd, link| {
        let Some((folder, name, deleted)) = split(link) else {
            return;
        };
        let hidden = names.hidden.contains(name);
        if !hidden && !names.asked.contains(name) {
            return;
        }
        let Ok((path, inode)) = own_regular(fds, fd) else {
            return;
        };
        // The link's own mode says how it was opened (proc(5)).
        let writes =
            statat(fds, fd, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| s.st_mode & 0o200 != 0);
        if let Some(seen) = all.iter_mut().find(|seen| seen.inode == inode) {
            seen.writes |= writes;
            return;
        }
        // Opened before anything else: it may be closed at any moment.
        let born = born(&path, OsStr::new("")).ok();
        let file = hidden.then(|| opening.open(path)).flatten();
        all.push(SeenFile {
            process: process.clone(),
            folder: folder.to_owned(),
            name: name.to_owned(),
            deleted,
            writes,
            file,
            inode,
            born,
        });
    })?;
    Ok(all)
}

/// Opens what a link such as `/proc/PID/fd/N` refers to (O_PATH), if it is a regular file of ours.
fn own_regular(fds: BorrowedFd<'_>, fd: &OsStr) -> rustix::io::Result<(OwnedFd, Inode)> {
    let path = openat(fds, fd, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&path)?;
    match is_own_regular(&stat) {
        true => Ok((path, Inode::from(&stat))),
        false => Err(Errno::PERM),
    }
}

fn identify(pid: u32) -> Producer {
    let name = super::program::name(pid);
    Producer {
        pid,
        name,
        family: Family::of(pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_with_one_path_concern_us_with_all_their_globs() {
        let folder = |path: &str, glob: &str| {
            let matcher = Matcher::new(&[glob.to_owned()]).unwrap();
            (PathBuf::from(path), vec![Arc::new(matcher)])
        };
        let outside = folder("/tmp", "mozilla-temp-*");
        let sandbox = folder("/tmp", "WebKit-Media-*");
        let other = folder("/var/tmp", "Flash*");
        let concerns = Concerns::from_iter([outside, sandbox, other]);
        let cases = [
            ("/tmp", "mozilla-temp-1", true),
            ("/tmp", "WebKit-Media-1", true),
            ("/tmp", "Flash1", false),
            ("/var/tmp", "Flash1", true),
            ("/home", "Flash1", false),
        ];
        for (folder, name, expected) in cases {
            let includes = concerns.include(Path::new(folder), OsStr::new(name));
            assert_eq!(includes, expected, "{folder}/{name}");
        }
    }
}
