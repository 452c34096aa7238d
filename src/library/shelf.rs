//! Lists the files in the library folder.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{OFlags, Timespec, Timestamps};

use super::folder::INCOMPLETE;
use crate::inode::Inode;

/// How deep folders below the library are looked into: users rarely sort deeper, and a loop of
/// mounts must end.
const DEPTH: usize = 8;

/// A file in the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFile {
    /// Where.
    pub path: PathBuf,
    /// Its inode.
    pub id: Inode,
    /// Its size in bytes.
    pub bytes: u64,
    /// Last change of the content: seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// When it was last read, if the mount records that.
    pub accessed: (i64, i64),
    /// Whether it lies outside of the folder of the incomplete ones.
    pub whole: bool,
}

impl LibraryFile {
    fn new(path: PathBuf, metadata: &Metadata, whole: bool) -> Self {
        Self {
            path,
            id: Inode {
                dev: metadata.dev(),
                ino: metadata.ino(),
            },
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            accessed: (metadata.atime(), metadata.atime_nsec()),
            whole,
        }
    }

    /// Whether somebody has read it since it was saved. Saving makes both times the same.
    pub fn opened(&self) -> bool {
        self.accessed != self.modified
    }
}

/// All files in the library and in the folders below it, hidden ones left out, in no order.
/// Symbolic links are not followed; what can't be read is left out, with a warning in the log.
pub fn videos(library: &Path) -> Vec<LibraryFile> {
    let mut videos = Vec::new();
    look(library, DEPTH, true, &mut videos);
    videos
}

fn look(folder: &Path, depth: usize, whole: bool, videos: &mut Vec<LibraryFile>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => return tracing::warn!("can't look into {}: {e}", folder.display()),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        // DirEntry::metadata doesn't follow links.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        if metadata.is_file() {
            videos.push(LibraryFile::new(entry.path(), &metadata, whole));
        } else if metadata.is_dir() && depth > 0 {
            look(
                &entry.path(),
                depth - 1,
                whole && name != OsStr::new(INCOMPLETE),
                videos,
            );
        }
    }
}

/// Makes a file that was just saved count as not opened yet: its times of access and of change
/// become the same, to the nanosecond. The first reading after that moves the time of access, on
/// mounts with `relatime` (the default) too, which update it when it is not later than the change
/// (mount(8)).
pub(super) fn forget_access(file: &File) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    rustix::fs::futimens(file, &access(stat.st_mtime as _, stat.st_mtime_nsec as _))
}

/// Makes a file that is ours count as never opened (see [`LibraryFile::opened`]), and reading it
/// through this descriptor doesn't count as opening it. Where the system doesn't allow that, it
/// counts as opened, and `max_library` leaves it alone.
pub(super) fn unopened(file: &File) {
    let set = || -> rustix::io::Result<()> {
        rustix::fs::fcntl_setfl(file, rustix::fs::fcntl_getfl(file)? | OFlags::NOATIME)?;
        forget_access(file)
    };
    if let Err(e) = set() {
        tracing::debug!("a saved file will count as opened: {e}");
    }
}

/// Runs `look` on the file and puts its time of access back, so that what we or a program of ours
/// read doesn't count as the user's opening it.
pub(super) fn unseen<T>(path: &Path, look: impl FnOnce() -> T) -> T {
    let before = fs::symlink_metadata(path);
    let result = look();
    if let Ok(before) = before {
        let times = access(before.atime(), before.atime_nsec());
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags);
    }
    result
}

/// A change of the time of access alone.
fn access(seconds: i64, nanoseconds: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds as _,
        },
        last_modification: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT as _,
        },
    }
}

/// Opens a file of the library for reading, without following a link, waiting, or touching its time
/// of access.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let open = |flags| OpenOptions::new().read(true).custom_flags(flags).open(path);
    // O_NOATIME is for the owner only (open(2)).
    open(flags | libc::O_NOATIME).or_else(|_| open(flags))
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn files_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("Films/old")).unwrap();
        fs::create_dir_all(path("Incomplete")).unwrap();
        fs::create_dir_all(path(".fisga-0")).unwrap();
        for name in [
            "a.mp4",
            "Films/old/b.mp4",
            "Incomplete/c 45 %.mp4",
            ".hidden",
            ".fisga-0/place-1",
        ] {
            fs::write(path(name), name).unwrap();
        }
        symlink(path("a.mp4"), path("link")).unwrap();
        symlink(dir.path(), path("loop")).unwrap();
        let mut found: Vec<_> = videos(dir.path())
            .into_iter()
            .map(|v| {
                (
                    v.path.strip_prefix(dir.path()).unwrap().to_owned(),
                    v.bytes,
                    v.whole,
                )
            })
            .collect();
        found.sort();
        let expected = [
            ("Films/old/b.mp4", 15, true),
            ("Incomplete/c 45 %.mp4", 21, false),
            ("a.mp4", 5, true),
        ];
        assert_eq!(
            found,
            expected.map(|(name, bytes, whole)| (PathBuf::from(name), bytes, whole))
        );
        assert_eq!(videos(&path("not there")), []);
    }

    #[test]
    fn opened_is_what_others_read() {
        let dir = tempfile::tempdir_in(std::env::home_dir().unwrap()).unwrap();
        let flags = rustix::fs::statvfs(dir.path()).unwrap().f_flag;
        assert!(
            !flags.contains(rustix::fs::StatVfsMountFlags::NOATIME),
            "this test needs a mount without noatime"
        );
        let path = dir.path().join("a");
        fs::write(&path, "content").unwrap();
        fs::read(&path).unwrap();
        forget_access(&File::open(&path).unwrap()).unwrap();
        let opened = || videos(dir.path())[0].opened();
        assert!(!opened());
        open(&path).unwrap().read_to_end(&mut Vec::new()).unwrap();
        assert!(!opened(), "our own look");
        unseen(&path, || fs::read(&path).unwrap());
        assert!(!opened(), "a look of a program of ours");
        fs::read(&path).unwrap();
        assert!(opened());
    }
}
