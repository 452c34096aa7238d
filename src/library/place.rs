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
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use rustix::{
    fs::{AtFlags, FileType, Mode},
    io::Errno,
};

use super::{
    draft::Draft,
    folder::{Folder, Means, PlaceError, Placed},
    name::Name,
    shelf,
};
use crate::{
    copy::{self, CopyError, Observer},
    inode::Inode,
};

/// A held file that is to be placed.
#[derive(Debug)]
pub struct Held<'a> {
    /// Read-only descriptor of the inode.
    pub file: &'a File,
    /// Our hard link to it, if there is one.
    pub staged: Option<Staged<'a>>,
    /// Whether somebody still has it open for writing: then it is copied in any case.
    pub writer: bool,
    /// If it is set, only this number of first bytes are the video, and padding follows.
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

/// Makes the library folder, at the start. Nothing else makes it, so that a disk which was
/// unplugged while fisga runs is [`PlaceError::Missing`], and no second library grows in the empty mount
/// point.
///
/// # Errors
/// That it can't be made.
pub fn prepare(library: &Path) -> Result<(), PlaceError> {
    fs::create_dir_all(library).map_err(|e| PlaceError::new("make the folder", library, e))
}

/// Puts a held file into `folder`, under the first name that is free.
///
/// The staged name stays: the caller removes it once the history is written. To the producer's file
/// nothing happens; only an inode that has become ours alone gets the mode of a new file.
///
/// # Errors
/// See [`PlaceError`]; nothing is left in the folder then, and the file is held as before.
pub fn place(
    held: &Held<'_>,
    folder: &Path,
    name: &Name,
    observer: &mut Observer<'_>,
) -> Result<Placed, PlaceError> {
    if observer.stop.load(Ordering::Relaxed) {
        return Err(PlaceError::Stopped);
    }
    let folder = Folder::open(folder)?;
    if let Some(placed) = link(held, &folder, name)? {
        return Ok(placed);
    }
    let draft = Draft::new(&folder)?;
    let means = fill(&draft, held, observer)?;
    draft.publish(name, means)
}

/// Replaces `saved`, a file that this program saved, by the content of `held`: whoever looks sees
/// the old one or the new one, whole. Programs that have the old one open keep reading that.
///
/// # Errors
/// [`PlaceError::Gone`] if the user has moved, removed or replaced it since; otherwise as [`place`], and
/// the old one stays.
pub fn replace(
    saved: &Placed,
    held: &Held<'_>,
    observer: &mut Observer<'_>,
) -> Result<Placed, PlaceError> {
    let folder = Folder::open(parent(&saved.path))?;
    let draft = Draft::new(&folder)?;
    let means = fill(&draft, held, observer)?;
    draft.publish_over(saved, means)
}

/// Puts what `write` writes into `folder`, under the first name that is free. `write` gets an empty
/// file of its own that no name leads to; unless it succeeds, nothing is left.
///
/// # Errors
/// See [`PlaceError`]; what `write` itself returns is sorted like the errors of the folder.
pub fn write_new(
    folder: &Path,
    name: &Name,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<Placed, PlaceError> {
    let folder = Folder::open(folder)?;
    let mut draft = Draft::new(&folder)?;
    write(draft.file_mut()).map_err(|e| PlaceError::new("write the video", &folder.path, e))?;
    draft.publish(name, Means::Written)
}

/// Like [`write_new`], but replaces `saved` as [`replace`] does.
///
/// # Errors
/// As [`replace`] and [`write_new`].
pub fn write_over(
    saved: &Placed,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<Placed, PlaceError> {
    let folder = Folder::open(parent(&saved.path))?;
    let mut draft = Draft::new(&folder)?;
    write(draft.file_mut()).map_err(|e| PlaceError::new("write the video", &folder.path, e))?;
    draft.publish_over(saved, Means::Written)
}

/// The name under which the inode of `held` is in `folder` already: what a crash between linking
/// and removing the staged name leaves. `None` if it isn't there.
///
/// # Errors
/// That the folder can't be read.
pub fn find(folder: &Path, held: &File) -> Result<Option<PathBuf>, PlaceError> {
    let sorted = |e: io::Error| PlaceError::new("look for the file", folder, e);
    let stat = rustix::fs::fstat(held).map_err(|e| PlaceError::Read(e.into()))?;
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
pub fn sweep(folder: &Path) -> Result<usize, PlaceError> {
    super::draft::sweep(&Folder::open(folder)?)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Links the staged name into the folder if the inode is ours alone; `None` means that it must be
/// copied.
fn link(held: &Held<'_>, folder: &Folder, name: &Name) -> Result<Option<Placed>, PlaceError> {
    let Some(staged) = held.staged else {
        return Ok(None);
    };
    let stat = rustix::fs::fstat(held.file).map_err(|e| PlaceError::Read(e.into()))?;
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
        .map_err(|e| PlaceError::new("sync the file", &folder.path, e))?;
    let linked = folder.first_free(name, |name| {
        rustix::fs::linkat(staged.dir, staged.name, &folder.fd, name, AtFlags::empty())
    });
    let name = match linked {
        Ok(name) => name,
        // The two lie on different mounts, the file system has no links, or the staged name has
        // just been removed: a copy is made instead.
        Err(e) => match folder.error("link")(e) {
            error @ PlaceError::NoSpace { .. } => return Err(error),
            _ => return Ok(None),
        },
    };

    // There are two names now, both ours. If there is a third, a reader has just made it through
    // its descriptor.
    let after = rustix::fs::fstat(held.file).map_err(|e| PlaceError::Read(e.into()))?;
    let state = |stat: &rustix::fs::Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if after.st_nlink != 2 || state(&after) != state(&stat) {
        rustix::fs::unlinkat(&folder.fd, &name, AtFlags::empty())
            .map_err(folder.error("take back the link"))?;
        return Ok(None);
    }
    if let Err(e) = rustix::fs::fchmod(held.file, Mode::from_raw_mode(0o644 & !umask())) {
        tracing::debug!(%name, "keeps the mode that its producer gave it: {e}");
    }
    shelf::unopened(held.file);
    folder.sync()?;
    Ok(Some(Placed {
        path: folder.path.join(name),
        id: Inode::from(&stat),
        bytes,
        means: Means::Link,
    }))
}

fn fill(
    draft: &Draft<'_>,
    held: &Held<'_>,
    observer: &mut Observer<'_>,
) -> Result<Means, PlaceError> {
    let there = held.file.metadata().map_err(PlaceError::Read)?.len();
    let len = held.len.map_or(there, |len| len.min(there));
    let copied = copy::clone_or_copy(held.file, draft.file(), len, observer);
    copied.map(Means::from).map_err(|failed| match failed {
        CopyError::Read(e) => PlaceError::Read(e),
        CopyError::Short => PlaceError::Changed,
        CopyError::Stopped => PlaceError::Stopped,
        CopyError::Write(source) if Errno::from_io_error(&source) == Some(Errno::FBIG) => {
            PlaceError::TooBig {
                path: draft.folder().path.clone(),
                bytes: len,
                source,
            }
        }
        CopyError::Write(e) => PlaceError::new("write the copy", &draft.folder().path, e),
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
