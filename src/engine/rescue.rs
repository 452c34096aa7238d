//! The rescue: where the link came too late, some process still has the file open, and `/proc/PID/fd/N` leads to it.
//!
//! One scan of all processes takes tens of milliseconds, so it runs on a thread of its own and serves everything
//! that is waiting. Most hidden files come from a process that was caught before: those are looked at first, and
//! again for every request that arrives in the middle of a scan, which costs far less than a millisecond.
//!
//! A file is known by the last component of the link's text, since the same file reads differently in another
//! mount namespace; device, owner and folder are compared before it is taken.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, readlinkat_raw, statat},
    io::Errno,
};

use super::{
    hold::{Inode, Producer, open_magic},
    keeper,
};

/// How many processes that were caught before are looked at first.
const REMEMBERED: usize = 32;
/// What the kernel puts behind the path of a removed file (proc(5), `/proc/PID/fd`).
const DELETED: &[u8] = b" (deleted)";

/// What somebody waits for; `ticket` comes back with the answer.
pub(crate) enum Request {
    /// A file that was created under this name and is gone.
    Lost(Wanted),
    /// Who has this file open, and is anyone writing?
    Who { ticket: u64, name: OsString, inode: Inode },
    /// Everything that is open now in these folders.
    Open(Folders),
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
}

/// Decides whether an open file concerns us: folder and name, as the link reads.
pub(crate) type Folders = Arc<dyn Fn(&Path, &OsStr) -> bool + Send + Sync>;

/// What a scan found.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Open files for the ticket: one name can be used again and again, so there may be several.
    Found { ticket: u64, caught: Vec<Caught> },
    /// Everything was looked at and nobody has it open (any more); so many processes could not be read.
    Gone { ticket: u64, unreadable: usize },
    /// Who has it open; whether for writing.
    Who { ticket: u64, producer: Option<Producer>, written: bool },
    /// One open file that concerns us.
    Open { folder: PathBuf, name: OsString, caught: Caught },
    /// All open files were told.
    OpenDone,
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
        Self { file, inode, producer, pid, orphan }
    }
}

/// What one full look at all processes saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Processes whose descriptors could be read.
    pub processes: usize,
    /// Descriptors seen.
    pub descriptors: usize,
    /// Processes of ours whose descriptors could not be read (prctl(2), PR_SET_DUMPABLE).
    pub unreadable: usize,
}

/// Reads every descriptor's link of every process once, as a full scan does.
pub fn survey() -> Survey {
    let mut survey = Survey::default();
    for pid in processes() {
        match each_descriptor(pid, |_, _, _| survey.descriptors += 1) {
            Ok(()) => survey.processes += 1,
            Err(Errno::ACCESS | Errno::PERM) if is_ours(pid) => survey.unreadable += 1,
            Err(_) => {}
        }
    }
    survey
}

/// The thread: sleeps until something is asked, ends when nobody can ask any more.
pub(crate) fn run(requests: &Receiver<Request>, answer: impl Fn(Answer)) {
    let mut scanner = Scanner { answer, known: Vec::new(), lost: HashMap::new(), who: Vec::new() };
    while let Ok(first) = requests.recv() {
        scanner.take(first);
        scanner.take_all(requests);
        while scanner.waits() {
            scanner.round(requests);
        }
    }
}

/// The sending side, for the engine.
pub(crate) type Requests = Sender<Request>;

struct Waiting {
    wanted: Wanted,
    found: Vec<Caught>,
    /// A full round began after it was asked for.
    in_round: bool,
}

struct Asked {
    ticket: u64,
    name: OsString,
    inode: Inode,
    producer: Option<Producer>,
    written: bool,
    in_round: bool,
}

struct Scanner<A: Fn(Answer)> {
    answer: A,
    /// Processes that were caught, the latest last.
    known: Vec<u32>,
    lost: HashMap<OsString, Vec<Waiting>>,
    who: Vec<Asked>,
}

impl<A: Fn(Answer)> Scanner<A> {
    fn waits(&self) -> bool {
        !self.lost.is_empty() || !self.who.is_empty()
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Lost(wanted) => {
                let waiting = Waiting { found: Vec::new(), in_round: false, wanted };
                self.lost.entry(waiting.wanted.name.clone()).or_default().push(waiting);
            }
            Request::Who { ticket, name, inode } => {
                self.who.push(Asked { ticket, name, inode, producer: None, written: false, in_round: false });
            }
            Request::Open(concerns) => self.open_files(&concerns),
            Request::Sandboxes => self.sandboxes(),
        }
    }

    /// Takes what has been asked meanwhile and looks for it where files were caught before.
    fn take_all(&mut self, requests: &Receiver<Request>) {
        let mut fresh = false;
        while let Ok(request) = requests.try_recv() {
            self.take(request);
            fresh = true;
        }
        if fresh {
            self.known_processes();
        }
    }

    fn known_processes(&mut self) {
        for pid in self.known.clone().into_iter().rev() {
            let _ = self.process(pid);
        }
        self.settle_found();
    }

    /// One look at every process; what was waiting when it began is answered when it ends.
    fn round(&mut self, requests: &Receiver<Request>) {
        self.known_processes();
        self.lost.values_mut().flatten().for_each(|w| w.in_round = true);
        self.who.iter_mut().for_each(|w| w.in_round = true);
        let mut unreadable = 0;
        for pid in processes() {
            if !self.waits() {
                return;
            }
            if let Err(Errno::ACCESS | Errno::PERM) = self.process(pid)
                && is_ours(pid)
            {
                unreadable += 1;
            }
            self.take_all(requests);
        }
        let gone =
            self.lost.values_mut().flat_map(|all| all.extract_if(.., |w| w.in_round)).collect::<Vec<_>>();
        self.lost.retain(|_, all| !all.is_empty());
        for waiting in gone {
            (self.answer)(Answer::Gone { ticket: waiting.wanted.ticket, unreadable });
        }
        for asked in self.who.extract_if(.., |w| w.in_round) {
            (self.answer)(Answer::Who {
                ticket: asked.ticket,
                producer: asked.producer,
                written: asked.written,
            });
        }
    }

    /// Whoever found what it was waiting for waits no longer.
    fn settle_found(&mut self) {
        let found = |w: &mut Waiting| !w.found.is_empty();
        for waiting in self.lost.values_mut().flat_map(|all| all.extract_if(.., found)).collect::<Vec<_>>() {
            (self.answer)(Answer::Found { ticket: waiting.wanted.ticket, caught: waiting.found });
        }
        self.lost.retain(|_, all| !all.is_empty());
        for asked in self.who.extract_if(.., |w| w.written && w.producer.is_some()) {
            (self.answer)(Answer::Who { ticket: asked.ticket, producer: asked.producer, written: true });
        }
    }

    fn process(&mut self, pid: u32) -> rustix::io::Result<()> {
        let (lost, who) = (&mut self.lost, &mut self.who);
        let mut producer = None;
        each_descriptor(pid, |fds, fd, link| {
            let Some((folder, name, deleted)) = split(link) else { return };
            if let Some(all) = lost.get_mut(name) {
                for waiting in all {
                    let elsewhere = folder != waiting.wanted.folder;
                    if elsewhere && !(deleted && in_other_namespace(pid)) {
                        continue;
                    }
                    // What a living fisga's keeper has is held already.
                    let process = producer.get_or_insert_with(|| identify(pid));
                    if keeper::is_keeper(&process.name) && !keeper::is_orphan(&process.name) {
                        continue;
                    }
                    let Ok((file, inode)) = open_magic(fds, fd) else { continue };
                    if inode.dev != waiting.wanted.dev || waiting.found.iter().any(|c| c.inode == inode) {
                        continue;
                    }
                    waiting.found.push(Caught::from(process, file, inode));
                }
            }
            for asked in who.iter_mut().filter(|asked| asked.name == name) {
                let Ok(stat) = statat(fds, fd, AtFlags::empty()) else { continue };
                if (Inode { dev: stat.st_dev, ino: stat.st_ino }) != asked.inode {
                    continue;
                }
                // The link's own mode says how it was opened (proc(5)).
                let mode = statat(fds, fd, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |s| s.st_mode);
                let writes = mode & 0o200 != 0;
                if keeper::is_keeper(&producer.get_or_insert_with(|| identify(pid)).name) {
                    continue;
                }
                if asked.producer.is_none() || writes && !asked.written {
                    asked.producer = Some(producer.get_or_insert_with(|| identify(pid)).clone());
                }
                asked.written |= writes;
            }
        })?;
        if producer.is_some_and(|producer| !keeper::is_keeper(&producer.name)) {
            self.known.retain(|&known| known != pid);
            self.known.push(pid);
            if self.known.len() > REMEMBERED {
                self.known.remove(0);
            }
            self.settle_found();
        }
        Ok(())
    }

    fn open_files(&self, concerns: &Folders) {
        let mut seen = HashSet::new();
        for pid in processes() {
            let _ = each_descriptor(pid, |fds, fd, link| {
                let Some((folder, name, _)) = split(link) else { return };
                if !concerns(folder, name) {
                    return;
                }
                if let Ok((file, inode)) = open_magic(fds, fd)
                    && seen.insert(inode)
                {
                    let caught = Caught::from(&identify(pid), file, inode);
                    (self.answer)(Answer::Open { folder: folder.into(), name: name.into(), caught });
                }
            });
        }
        (self.answer)(Answer::OpenDone);
    }

    fn sandboxes(&self) {
        let mut seen = HashSet::new();
        for pid in processes().into_iter().filter(|&pid| is_ours(pid) && in_other_namespace(pid)) {
            for folder in ["tmp", "var/tmp"] {
                let root = PathBuf::from(format!("/proc/{pid}/root/{folder}"));
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let Ok(dir) = openat(CWD, &root, flags, Mode::empty()) else { continue };
                if super::hold::inode(&dir).is_ok_and(|inode| seen.insert(inode)) {
                    (self.answer)(Answer::Sandbox { dir, root });
                }
            }
        }
    }
}

/// Folder, name, and whether the name was removed; nothing for sockets, pipes and the like.
fn split(link: &[u8]) -> Option<(&Path, &OsStr, bool)> {
    if link.first() != Some(&b'/') {
        return None;
    }
    let (link, deleted) = link.strip_suffix(DELETED).map_or((link, false), |l| (l, true));
    let slash = link.iter().rposition(|&b| b == b'/')?;
    let folder = if slash == 0 { &link[..1] } else { &link[..slash] };
    Some((Path::new(OsStr::from_bytes(folder)), OsStr::from_bytes(&link[slash + 1..]), deleted))
}

/// Calls `each` with the fd folder, the descriptor's name in it and the link's text.
fn each_descriptor(pid: u32, mut each: impl FnMut(BorrowedFd<'_>, &OsStr, &[u8])) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fds = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty())?;
    let mut buf = Vec::with_capacity(32 * 1024);
    let mut dir = RawDir::new(&fds, buf.spare_capacity_mut());
    let mut text = [std::mem::MaybeUninit::<u8>::uninit(); 4352];
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        if let Ok((link, _)) = readlinkat_raw(&fds, name, &mut text) {
            each(fds.as_fd(), OsStr::from_bytes(name.to_bytes()), link);
        }
    }
    Ok(())
}

/// All processes but this one, the youngest first.
fn processes() -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = pids.filter(|&pid| pid != own).collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    pids
}

fn is_ours(pid: u32) -> bool {
    rustix::fs::stat(format!("/proc/{pid}")).is_ok_and(|s| s.st_uid == rustix::process::getuid().as_raw())
}

fn in_other_namespace(pid: u32) -> bool {
    let ours = std::fs::read_link("/proc/self/ns/mnt");
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/mnt"));
    matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours != theirs)
}

fn identify(pid: u32) -> Producer {
    let comm = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = OsString::from_vec(comm).to_string_lossy().trim_end().to_owned();
    Producer { pid, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_says() {
        let cases = [
            ("/tmp/Flash1 (deleted)", Some(("/tmp", "Flash1", true))),
            ("/tmp/Flash1", Some(("/tmp", "Flash1", false))),
            ("/x", Some(("/", "x", false))),
            ("/var/tmp/#1234 (deleted)", Some(("/var/tmp", "#1234", true))),
            ("socket:[1]", None),
            ("", None),
        ];
        for (link, want) in cases {
            let want = want.map(|(folder, name, gone)| (Path::new(folder), OsStr::new(name), gone));
            assert_eq!(split(link.as_bytes()), want, "{link}");
        }
    }
}
