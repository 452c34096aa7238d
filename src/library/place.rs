//! Puts a file into the library: whole, safe from a crash, and nobody else's.
//!
//! A name appears in a library folder only when the content behind it is complete and on the disk,
//! and the inode behind it belongs to the library alone:
//!
//! - If the staged link is the only name, nobody writes, and both lie on one mount, the inode is
//!   ours already: it is linked into the library. The staged name goes when the caller has written
//!   the history, so a crash in between leaves both names, which [`find`] recognises.
//! - Otherwise the content is copied into a file that has no name, and that is linked.
//!
//! Neither replaces anything: `linkat` fails with `EEXIST`, and the next number is tried.
//!
//! # What fsync gives
//! `fsync` returns when the file's data, size and blocks have reached the device, and a disk that
//! doesn't lie about its cache has them on the medium (fsync(2)). It says nothing about the name,
//! which is an entry of the folder: that is why the folder is synced after linking. So when
//! [`place`] returns, both survive a power cut; when power fails before, there is either no name or
//! a whole file, since the name is made after the data was synced. Linking a file that has just
//! been written waits for the kernel to write out what is still in memory: at a browser's pace that
//! is the last 30 seconds at most (`vm.dirty_expire_centisecs`), while 4 GiB written at once take
//! what the disk takes.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    copy::{self, Means},
    draft::Draft,
    name::Name,
    shelf,
};
use crate::{inode::Inode, units::Size};

/// A held file that is to be placed.
#[derive(Debug)]
pub struct Held<'a> {
    /// Read-only descriptor of the inode.
    pub file: &'a File,
    /// Our hard link to it, if there is one.
    pub staged: Option<Staged<'a>>,
    /// Whether somebody still has it open for writing: then it is copied in any case.
    pub writer: bool,
    /// Only the first so many bytes are the video; what follows is padding.
    pub len: Option<u64>,
}

/// A name in staging.
#[derive(Clone, Copy, Debug)]
pub struct Staged<'a> {
    /// The staging folder.
    pub dir: BorrowedFd<'a>,
    /// The name in it.
    pub name: &'a OsStr,
}

/// Who looks on while bytes are copied.
#[allow(missing_debug_implementations, reason = "holds a closure")]
pub struct Work<'a> {
    /// Called now and then with the bytes copied and the bytes in all.
    pub progress: &'a mut dyn FnMut(u64, u64),
    /// Set to end at once with [`Error::Stopped`].
    pub stop: &'a AtomicBool,
}

/// A file that is in the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where.
    pub path: PathBuf,
    /// Its inode.
    pub id: Inode,
    /// Its size in bytes.
    pub bytes: u64,
    /// How the content got there.
    pub means: Means,
}

/// Why a file is not in the library. Nothing of it is left there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ENOSPC`, `EDQUOT`.
    #[error("no room left in {}", path.display())]
    NoSpace {
        /// The library folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is room, but the user wants it left free (see [`room::check`](super::room::check)).
    #[error("{} has {} too little to leave {} free", path.display(), Size(round_up(*missing)), Size(*min_free))]
    MinFree {
        /// The library folder.
        path: PathBuf,
        /// Bytes that are to stay free.
        min_free: u64,
        /// Bytes that are missing.
        missing: u64,
    },
    /// `EROFS`, `EACCES`, `EPERM`.
    #[error("{} can't be written to", path.display())]
    ReadOnly {
        /// The library folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is gone, or the disk under it: `ENOENT`, `ENOTDIR`, `ENODEV`, `ENXIO`, `ESTALE`,
    /// `ENOTCONN`.
    #[error("{} is not there", path.display())]
    Missing {
        /// The library folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `EFBIG`: more than the library's file system takes in one file (FAT: 4 GiB).
    #[error("the file system of {} takes no file of {bytes} bytes", path.display())]
    TooBig {
        /// The library folder.
        path: PathBuf,
        /// The size of the video.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The held file can't be read.
    #[error("the held file can't be read")]
    Read(#[source] io::Error),
    /// The held file became shorter while it was copied.
    #[error("the held file became shorter while it was copied")]
    Changed,
    /// The file to be replaced is not there any more, or is another one.
    #[error("{} is not the file that was saved any more", path.display())]
    Gone {
        /// The file that was to be replaced.
        path: PathBuf,
    },
    /// [`Work::stop`] was set.
    #[error("stopped before the copy was complete")]
    Stopped,
    /// Anything else.
    #[error("can't {doing} in {}", path.display())]
    Other {
        /// The operation that failed.
        doing: &'static str,
        /// The library folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether it is worth keeping the file held and trying again later: yes for what ails the
    /// library, no for what ails the file.
    pub fn retry(&self) -> bool {
        !matches!(
            self,
            Self::Read(_) | Self::TooBig { .. } | Self::Gone { .. }
        )
    }

    /// Sorts what the system said about the library folder `path`.
    pub(super) fn sorted(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::NoSpace { path, source },
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Self::ReadOnly { path, source },
            Some(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::NODEV
                | Errno::NXIO
                | Errno::STALE
                | Errno::NOTCONN,
            ) => Self::Missing { path, source },
            _ => Self::Other {
                doing,
                path,
                source,
            },
        }
    }
}

/// A folder of the library, open.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Error::sorted("open the folder", path, e.into()))?;
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }

    pub(super) fn error(&self, doing: &'static str) -> impl FnOnce(Errno) -> Error {
        move |e| Error::sorted(doing, &self.path, e.into())
    }

    /// Makes the names in it durable. Some file systems in user space know no fsync of a folder
    /// (`EINVAL`).
    pub(super) fn sync(&self) -> Result<(), Error> {
        match rustix::fs::fsync(&self.fd) {
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(self.error("sync the folder")(e)),
        }
    }

    /// Runs `link` with one name after the other until one is free; returns that name.
    pub(super) fn first_free(
        &self,
        name: &Name,
        mut link: impl FnMut(&str) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<String> {
        for n in 1..=100_000 {
            let name = name.attempt(n);
            match link(&name) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::EXIST)
    }
}

/// Makes the library folder, at the start. Nothing else makes it, so that a disk which was
/// unplugged while fisga runs is [`Error::Missing`], and no second library grows in the empty mount
/// point.
///
/// # Errors
/// That it can't be made.
pub fn prepare(library: &Path) -> Result<(), Error> {
    fs::create_dir_all(library).map_err(|e| Error::sorted("make the folder", library, e))
}

/// Puts a held file into `folder`, under the first name that is free.
///
/// The staged name stays: the caller removes it once the history is written. To the producer's file
/// nothing happens; only an inode that has become ours alone gets the mode of a new file.
///
/// # Errors
/// See [`Error`]; nothing is left in the folder then, and the file is held as before.
pub fn place(
    held: &Held<'_>,
    folder: &Path,
    name: &Name,
    work: &mut Work<'_>,
) -> Result<Placed, Error> {
    if work.stop.load(Ordering::Relaxed) {
        return Err(Error::Stopped);
    }
    let folder = Folder::open(folder)?;
    if let Some(placed) = link(held, &folder, name)? {
        return Ok(placed);
    }
    let draft = Draft::new(&folder)?;
    let means = fill(&draft, held, work)?;
    draft.publish(name, means)
}

/// Replaces `saved`, a file that this program saved, by the content of `held`: whoever looks sees
/// the old one or the new one, whole. Programs that have the old one open keep reading that.
///
/// # Errors
/// [`Error::Gone`] if the user has moved, removed or replaced it since; otherwise as [`place`], and
/// the old one stays.
pub fn replace(saved: &Placed, held: &Held<'_>, work: &mut Work<'_>) -> Result<Placed, Error> {
    let folder = Folder::open(parent(&saved.path))?;
    let draft = Draft::new(&folder)?;
    let means = fill(&draft, held, work)?;
    draft.publish_over(saved, means)
}

/// Puts what `write` writes into `folder`, under the first name that is free. `write` gets an empty
/// file of its own that no name leads to; unless it succeeds, nothing is left.
///
/// # Errors
/// See [`Error`]; what `write` itself returns is sorted like the errors of the folder.
pub fn write_new(
    folder: &Path,
    name: &Name,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<Placed, Error> {
    let folder = Folder::open(folder)?;
    let mut draft = Draft::new(&folder)?;
    write(draft.file_mut()).map_err(|e| Error::sorted("write the video", &folder.path, e))?;
    draft.publish(name, Means::Written)
}

/// Like [`write_new`], but replaces `saved` as [`replace`] does.
///
/// # Errors
/// As [`replace`] and [`write_new`].
pub fn write_over(
    saved: &Placed,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<Placed, Error> {
    let folder = Folder::open(parent(&saved.path))?;
    let mut draft = Draft::new(&folder)?;
    write(draft.file_mut()).map_err(|e| Error::sorted("write the video", &folder.path, e))?;
    draft.publish_over(saved, Means::Written)
}

/// The name under which the inode of `held` is in `folder` already: what a crash between linking
/// and removing the staged name leaves. `None` if it isn't there.
///
/// # Errors
/// That the folder can't be read.
pub fn find(folder: &Path, held: &File) -> Result<Option<PathBuf>, Error> {
    let sorted = |e: io::Error| Error::sorted("look for the file", folder, e);
    let stat = rustix::fs::fstat(held).map_err(|e| Error::Read(e.into()))?;
    if stat.st_nlink < 2 {
        return Ok(None);
    }
    let folder_fd = Folder::open(folder)?.fd;
    for entry in rustix::fs::Dir::read_from(&folder_fd).map_err(|e| sorted(e.into()))? {
        let entry = entry.map_err(|e| sorted(e.into()))?;
        if entry.ino() != stat.st_ino {
            continue;
        }
        let found = rustix::fs::statat(&folder_fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| Inode::from(&found) == Inode::from(&stat)) {
            return Ok(Some(
                folder.join(OsStr::from_bytes(entry.file_name().to_bytes())),
            ));
        }
    }
    Ok(None)
}

/// Removes what a crash left of copies in `folder`; returns how many there were. Copies of another
/// fisga that is at work are left alone.
///
/// # Errors
/// That the folder can't be read.
pub fn sweep(folder: &Path) -> Result<usize, Error> {
    super::draft::sweep(&Folder::open(folder)?)
}

/// To whole MiB, for people.
fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20).saturating_mul(1 << 20)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Links the staged name into the folder if the inode is ours alone; `None` means that it must be
/// copied.
fn link(held: &Held<'_>, folder: &Folder, name: &Name) -> Result<Option<Placed>, Error> {
    let Some(staged) = held.staged else {
        return Ok(None);
    };
    let stat = rustix::fs::fstat(held.file).map_err(|e| Error::Read(e.into()))?;
    let bytes = u64::try_from(stat.st_size).unwrap_or(0);
    let ours = |found: &rustix::fs::Stat| {
        Inode::from(found) == Inode::from(&stat)
            && found.st_uid == rustix::process::geteuid().as_raw()
            && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
    };
    let named = rustix::fs::statat(staged.dir, staged.name, AtFlags::SYMLINK_NOFOLLOW);
    let cut = held.len.is_some_and(|len| len < bytes);
    if held.writer || cut || stat.st_nlink != 1 || !named.is_ok_and(|found| ours(&found)) {
        return Ok(None);
    }

    held.file
        .sync_all()
        .map_err(|e| Error::sorted("sync the file", &folder.path, e))?;
    let linked = folder.first_free(name, |name| {
        rustix::fs::linkat(staged.dir, staged.name, &folder.fd, name, AtFlags::empty())
    });
    let name = match linked {
        Ok(name) => name,
        // Two mounts, a kind of file system that forbids it, a staged name that has just gone: a
        // copy does.
        Err(e) => match folder.error("link")(e) {
            error @ Error::NoSpace { .. } => return Err(error),
            _ => return Ok(None),
        },
    };

    // Two names now, both ours. A third was made while we looked, through a descriptor that a
    // reader still has.
    let after = rustix::fs::fstat(held.file).map_err(|e| Error::Read(e.into()))?;
    let state = |stat: &rustix::fs::Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if after.st_nlink != 2 || state(&after) != state(&stat) {
        rustix::fs::unlinkat(&folder.fd, &name, AtFlags::empty())
            .map_err(folder.error("take back the link"))?;
        return Ok(None);
    }
    if let Err(e) = rustix::fs::fchmod(held.file, Mode::from_raw_mode(0o644 & !umask())) {
        tracing::debug!(%name, "keeps the mode that its producer gave it: {e}");
    }
    unopened(held.file);
    folder.sync()?;
    Ok(Some(Placed {
        path: folder.path.join(name),
        id: Inode::from(&stat),
        bytes,
        means: Means::Link,
    }))
}

fn fill(draft: &Draft<'_>, held: &Held<'_>, work: &mut Work<'_>) -> Result<Means, Error> {
    let there = held.file.metadata().map_err(Error::Read)?.len();
    let len = held.len.map_or(there, |len| len.min(there));
    copy::copy(held.file, draft.file(), len, work).map_err(|failed| match failed {
        copy::Failed::Read(e) => Error::Read(e),
        copy::Failed::Short => Error::Changed,
        copy::Failed::Stopped => Error::Stopped,
        copy::Failed::Write(source) if Errno::from_io_error(&source) == Some(Errno::FBIG) => {
            Error::TooBig {
                path: draft.folder().path.clone(),
                bytes: len,
                source,
            }
        }
        copy::Failed::Write(e) => Error::sorted("write the copy", &draft.folder().path, e),
    })
}

/// The process's file mode creation mask. umask(2) can only be asked by setting it, for all
/// threads, so the kernel's account of it is read instead (proc_pid_status(5), `Umask`).
fn umask() -> u32 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        .unwrap_or(0o022)
}

/// Makes a file that is ours count as never opened (see [`shelf`](super::shelf)), and reading it
/// through this descriptor as no opening. Where that can't be had, it counts as opened, and
/// `max_library` leaves it alone.
pub(super) fn unopened(file: &File) {
    let set = || -> rustix::io::Result<()> {
        rustix::fs::fcntl_setfl(file, rustix::fs::fcntl_getfl(file)? | OFlags::NOATIME)?;
        shelf::forget_access(file)
    };
    if let Err(e) = set() {
        tracing::debug!("a saved file will count as opened: {e}");
    }
}

/// Where a nameless file can be linked from (linkat(2), open(2) under `O_TMPFILE`).
pub(super) fn by_descriptor(file: &File) -> (rustix::fd::BorrowedFd<'static>, String) {
    (
        CWD,
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)),
    )
}
