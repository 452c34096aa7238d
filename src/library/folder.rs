//! Shared by all that write into the library: an open folder of it, a file that was placed there,
//! and the errors.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::name::{Limits, Name};
use crate::{copy::Method, inode::Inode, units::Size};

/// The folder below the library for videos that are not whole.
pub const INCOMPLETE: &str = "Incomplete";

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

/// How content got into the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The inode itself, linked.
    Link,
    /// Shared blocks (reflink), which part ways when either side is changed.
    Clone,
    /// A copy of the bytes.
    Copy,
    /// Made by this program.
    Written,
}

impl From<Method> for Means {
    fn from(method: Method) -> Self {
        match method {
            Method::Clone => Self::Clone,
            Method::Copy => Self::Copy,
        }
    }
}

/// Why a file is not in the library. Nothing of it is left there.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
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
    /// [`Observer::stop`](crate::copy::Observer::stop) was set.
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

impl PlaceError {
    /// Whether it is worth keeping the file held and trying again later: yes if the library is at
    /// fault, no if the file is.
    pub fn retry(&self) -> bool {
        !matches!(
            self,
            Self::Read(_) | Self::TooBig { .. } | Self::Gone { .. }
        )
    }

    /// Sorts what the system said about the library folder `path`.
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
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
    pub(super) fn open(path: &Path) -> Result<Self, PlaceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| PlaceError::new("open the folder", path, e.into()))?;
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }

    pub(super) fn error(&self, doing: &'static str) -> impl FnOnce(Errno) -> PlaceError {
        move |e| PlaceError::new(doing, &self.path, e.into())
    }

    /// Makes the names in it durable. Some file systems in user space know no fsync of a folder
    /// (`EINVAL`).
    pub(super) fn sync(&self) -> Result<(), PlaceError> {
        match rustix::fs::fsync(&self.fd) {
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(self.error("sync the folder")(e)),
        }
    }

    /// Runs `link` with one name after the other until one is free; returns that name. A name
    /// that the file system refuses is tried once more as the strictest one would take it.
    pub(super) fn first_free(
        &self,
        name: &Name,
        mut link: impl FnMut(&str) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<String> {
        let mut limits = self.limits();
        let mut n = 1;
        while n <= 100_000 {
            let attempt = name.attempt(n, limits);
            match link(&attempt) {
                Ok(()) => return Ok(attempt),
                Err(Errno::EXIST) => n += 1,
                Err(e) if refused(e) && attempt != name.attempt(n, Limits::STRICT) => {
                    limits = Limits::STRICT;
                }
                Err(e) => return Err(e),
            }
        }
        Err(Errno::EXIST)
    }

    fn limits(&self) -> Limits {
        let max = rustix::fs::fstatvfs(&self.fd).map(|stat| stat.f_namemax);
        max.map_or(Limits::USUAL, Limits::of_length)
    }
}

/// Whether the file system may have refused the name itself: `EINVAL` and `EILSEQ` come from the
/// file systems of Windows, `ENOENT` from its servers.
fn refused(e: Errno) -> bool {
    matches!(
        e,
        Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG | Errno::NOENT
    )
}

/// To whole MiB, for people.
fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20).saturating_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::{
        super::name::{Fields, Template},
        *,
    };

    fn name(template: &str) -> Name {
        let at = chrono::Local.with_ymd_and_hms(2026, 11, 21, 14, 30, 5);
        Template::parse(template).unwrap().name(&Fields {
            title: None,
            program: None,
            rule: String::new(),
            container: "mp4".to_owned(),
            length: None,
            at: at.unwrap(),
            share: None,
        })
    }

    /// A made-up file system: whether it takes a name, and what it says if it doesn't.
    type Takes = fn(&str) -> rustix::io::Result<()>;

    fn windows(error: Errno) -> impl Fn(&str) -> rustix::io::Result<()> {
        move |name| {
            if name.contains(':') {
                Err(error)
            } else {
                Ok(())
            }
        }
    }

    #[test]
    fn a_refused_name_is_tried_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let colon = name("{time:%H:%M}");
        for error in [Errno::INVAL, Errno::ILSEQ, Errno::NOENT] {
            let takes = windows(error);
            assert_eq!(folder.first_free(&colon, takes), Ok("14-30.mp4".into()));
        }
        let ecryptfs: Takes = |name| match name.len() {
            ..=143 => Ok(()),
            _ => Err(Errno::NAMETOOLONG),
        };
        let long = Name::plain(&"é".repeat(200), "mp4");
        let found = folder.first_free(&long, ecryptfs).unwrap();
        assert_eq!(found, format!("{}.mp4", "é".repeat(62)));

        // A name is tried once more only, and only for errors that the name may have caused.
        let mut tried = 0;
        for (error, times) in [(Errno::INVAL, 2), (Errno::NOSPC, 1), (Errno::ACCESS, 1)] {
            tried = 0;
            let refuses = |_: &str| {
                tried += 1;
                Err(error)
            };
            assert_eq!(folder.first_free(&colon, refuses), Err(error));
            assert_eq!(tried, times, "{error}");
        }
        let refuses = |_: &str| {
            tried += 1;
            Err(Errno::INVAL)
        };
        let plain = Name::plain("A film", "mp4");
        assert_eq!(folder.first_free(&plain, refuses), Err(Errno::INVAL));
        assert_eq!(tried, 2, "the safer name would be the same");
    }
}
