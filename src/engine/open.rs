//! Opening a file so that nothing can block us or lead us astray.

use std::{
    ffi::OsStr,
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxFlags, fstat, openat, statx},
    io::Errno,
};

/// `/proc/self/fd/N`: a path to an open file, for calls that take no descriptor (proc(5)).
pub(crate) fn fd_path(file: &impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// Opens a file for reading if it is a regular file of our own user: looked at through O_PATH
/// first, so that a FIFO can't block us, a device isn't touched, and a symbolic link isn't followed
/// (open(2)).
///
/// # Errors
/// EPERM when it is anything else, or what openat(2) returns.
pub(crate) fn open_regular(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<File> {
    let path = openat(
        dir,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    reopen(&path)
}

/// Opens for reading what is open by path only, if it is a regular file of our own user.
///
/// # Errors
/// EPERM when it is anything else, or what openat(2) returns.
pub(crate) fn reopen(path: &OwnedFd) -> rustix::io::Result<File> {
    if !is_own_regular(&fstat(path)?) {
        return Err(Errno::PERM);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(CWD, fd_path(path), flags, Mode::empty())?.into())
}

/// A regular file of our own user.
pub(crate) fn is_own_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::getuid().as_raw()
}

/// When a file was made; on a file system that doesn't keep it, the last change of its status,
/// which is never earlier (statx(2), STATX_BTIME). An empty name means `dir` itself.
///
/// # Errors
/// What statx(2) returns.
pub(crate) fn born(dir: &impl AsFd, name: &OsStr) -> rustix::io::Result<SystemTime> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let stat = statx(dir, name, flags, StatxFlags::BTIME | StatxFlags::CTIME)?;
    let born = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
        stat.stx_ctime
    } else {
        stat.stx_btime
    };
    let since_epoch = Duration::new(u64::try_from(born.tv_sec).unwrap_or_default(), born.tv_nsec);
    Ok(SystemTime::UNIX_EPOCH + since_epoch)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FileType, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_of_ours_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = File::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("regular"), "x").unwrap();
        mknodat(&at, "fifo", FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink("regular", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(open_regular(at.as_fd(), OsStr::new("regular")).is_ok());
        for name in ["fifo", "link", "folder", "socket"] {
            let got = open_regular(at.as_fd(), OsStr::new(name)).map(drop);
            assert_eq!(got, Err(Errno::PERM), "{name}");
        }
        drop(socket);
    }
}
