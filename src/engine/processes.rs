//! What all processes have open, by `/proc/PID/fd` (proc(5)).

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::{
    fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw},
    io::Errno,
};

/// What the kernel puts behind the path of a removed file (proc(5), `/proc/PID/fd`).
const DELETED: &[u8] = b" (deleted)";

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
    let processes = Processes::new();
    let part = || {
        let mut part = Survey::default();
        while let Some(pid) = processes.next() {
            match each_descriptor(pid, |_, _, _| part.descriptors += 1) {
                Ok(()) => part.processes += 1,
                Err(Errno::ACCESS | Errno::PERM) if is_ours(pid) => part.unreadable += 1,
                Err(_) => {}
            }
        }
        part
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (1..width()).map(|_| scope.spawn(part)).collect();
        let own = part();
        parts
            .into_iter()
            .filter_map(|part| part.join().ok())
            .fold(own, |a, b| Survey {
                processes: a.processes + b.processes,
                descriptors: a.descriptors + b.descriptors,
                unreadable: a.unreadable + b.unreadable,
            })
    })
}

/// The processes of a scan, handed out one by one to its threads.
pub(super) struct Processes {
    all: Vec<u32>,
    next: AtomicUsize,
}

impl Processes {
    pub(super) fn new() -> Self {
        Self {
            all: all(),
            next: AtomicUsize::new(0),
        }
    }

    pub(super) fn next(&self) -> Option<u32> {
        self.all
            .get(self.next.fetch_add(1, Ordering::Relaxed))
            .copied()
    }

    pub(super) fn skip_all(&self) {
        self.next.store(self.all.len(), Ordering::Relaxed);
    }
}

/// How many threads share a full scan: nearly all of the work is done in the kernel, which lets
/// them run in parallel.
pub(super) fn width() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
}

/// Splits a link's text into folder and name, and says whether the name was removed. `None` for
/// sockets, pipes and the like.
pub(super) fn split(link: &[u8]) -> Option<(&Path, &OsStr, bool)> {
    if link.first() != Some(&b'/') {
        return None;
    }
    let (link, deleted) = link
        .strip_suffix(DELETED)
        .map_or((link, false), |l| (l, true));
    let slash = link.iter().rposition(|&b| b == b'/')?;
    let folder = if slash == 0 {
        &link[..1]
    } else {
        &link[..slash]
    };
    Some((
        Path::new(OsStr::from_bytes(folder)),
        OsStr::from_bytes(&link[slash + 1..]),
        deleted,
    ))
}

/// Calls `each` with the fd folder, the descriptor's name in it and the link's text.
pub(super) fn each_descriptor(
    pid: u32,
    mut each: impl FnMut(BorrowedFd<'_>, &OsStr, &[u8]),
) -> rustix::io::Result<()> {
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
pub(super) fn all() -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = pids.filter(|&pid| pid != own).collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    pids
}

pub(super) fn is_ours(pid: u32) -> bool {
    rustix::fs::stat(format!("/proc/{pid}"))
        .is_ok_and(|s| s.st_uid == rustix::process::getuid().as_raw())
}

pub(super) fn in_other_namespace(pid: u32) -> bool {
    let ours = std::fs::read_link("/proc/self/ns/mnt");
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/mnt"));
    matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours != theirs)
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
            (
                "/var/tmp/#1234 (deleted)",
                Some(("/var/tmp", "#1234", true)),
            ),
            ("socket:[1]", None),
            ("", None),
        ];
        for (link, want) in cases {
            let want = want.map(|(folder, name, gone)| (Path::new(folder), OsStr::new(name), gone));
            assert_eq!(split(link.as_bytes()), want, "{link}");
        }
    }
}
