//! Room: saving stops before the disk is full, and the library stays below a size if the user wants
//! that.
//!
//! Both are decided here. The caller reports them, and then does them.
//!
//! A library that is to stay below a size gives up the oldest files that were saved by this program
//! and never opened. "Opened" is what the kernel's time of access shows (see
//! [`LibraryFile::opened`]), so a program that reads all files, such as a search index of contents,
//! counts as opening them: they stay then. On a mount with `noatime` that isn't known, and nothing
//! is given up.

use std::{collections::HashSet, io, path::Path, path::PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::{folder::PlaceError, shelf::LibraryFile};

/// How much is free, and whether the mount records that a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that we may still write.
    pub free: u64,
    /// Whether the mount records when a file is read.
    pub records_opened: bool,
}

/// What must go so that the library stays below its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The files to move to the trash, the oldest first.
    pub trash: Vec<LibraryFile>,
    /// By how many bytes the library is still too large then: all other files were opened, or are
    /// not ours.
    pub over: u64,
}

impl Disk {
    /// The disk that a folder lies on.
    ///
    /// # Errors
    /// What statvfs(3) returns.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(Self {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            records_opened: !stat
                .f_flag
                .intersects(StatVfsMountFlags::NOATIME | StatVfsMountFlags::RDONLY),
        })
    }

    /// How many bytes are missing for a file that takes `need` more (0 if it is only linked), when
    /// `min_free` are to stay free. `None` if there is room.
    pub fn missing(self, need: u64, min_free: u64) -> Option<u64> {
        need.saturating_add(min_free)
            .checked_sub(self.free)
            .filter(|&missing| missing > 0)
    }
}

/// Whether `need` more bytes can be written to the disk of `folder` with `min_free` bytes left; a
/// file that is only linked needs none.
///
/// # Errors
/// [`PlaceError::MinFree`], or that the folder is not there.
pub fn check(folder: &Path, need: u64, min_free: u64) -> Result<(), PlaceError> {
    let disk = Disk::of(folder).map_err(|e| PlaceError::new("ask for the room left", folder, e))?;
    match disk.missing(need, min_free) {
        None => Ok(()),
        Some(missing) => Err(PlaceError::MinFree {
            path: folder.to_owned(),
            min_free,
            missing,
        }),
    }
}

/// What must go before `need` bytes are added to a library that is to stay below `max` bytes. Only
/// files in `saved` are ours to move (see [`History::saved`](super::history::History::saved)).
pub fn plan(
    videos: &[LibraryFile],
    saved: &HashSet<PathBuf>,
    disk: Disk,
    max: u64,
    need: u64,
) -> Plan {
    let total = videos
        .iter()
        .fold(need, |sum, video| sum.saturating_add(video.bytes));
    let mut plan = Plan {
        trash: Vec::new(),
        over: total.saturating_sub(max),
    };
    if plan.over == 0 || !disk.records_opened {
        return plan;
    }
    let mut unopened: Vec<_> = videos
        .iter()
        .filter(|v| !v.opened() && saved.contains(&v.path))
        .collect();
    unopened.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    for video in unopened {
        if plan.over == 0 {
            break;
        }
        plan.over = plan.over.saturating_sub(video.bytes);
        plan.trash.push(video.clone());
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode::Inode;

    #[test]
    fn what_stays_free() {
        for (free, need, min_free, missing) in [
            (100, 50, 50, None),
            (100, 51, 50, Some(1)),
            (100, 0, 100, None),
            (100, 0, 101, Some(1)),
            (0, 0, 0, None),
            (0, u64::MAX, u64::MAX, Some(u64::MAX)),
        ] {
            let disk = Disk {
                free,
                records_opened: true,
            };
            assert_eq!(
                disk.missing(need, min_free),
                missing,
                "{need} into {free} with {min_free} to stay"
            );
        }
        assert!(Disk::of(Path::new("/")).unwrap().free > 0);
        assert!(matches!(
            check(Path::new("/not there"), 0, 0),
            Err(PlaceError::Missing { .. })
        ));
        let full = check(Path::new("/"), 0, u64::MAX).unwrap_err();
        assert!(
            matches!(full, PlaceError::MinFree { .. }) && full.retry(),
            "{full}"
        );
        assert!(check(Path::new("/"), 0, 0).is_ok());
    }

    #[test]
    fn the_oldest_unopened_go() {
        let video = |name: &str, modified: i64, opened: bool| LibraryFile {
            path: name.into(),
            id: Inode { dev: 1, ino: 1 },
            bytes: 10,
            modified: (modified, 0),
            accessed: (modified + i64::from(opened), 0),
            whole: true,
        };
        let videos = [
            video("c", 3, false),
            video("a", 1, false),
            video("opened", 0, true),
            video("mine", 0, false),
            video("b", 2, false),
        ];
        let saved: HashSet<PathBuf> = ["a", "b", "c", "opened"].map(PathBuf::from).into();
        for (max, need, records_opened, trash, over) in [
            (60, 10, true, vec![], 0),
            (59, 10, true, vec!["a"], 0),
            (45, 10, true, vec!["a", "b"], 0),
            (10, 0, true, vec!["a", "b", "c"], 10),
            (10, 0, false, vec![], 40),
            (0, u64::MAX, true, vec!["a", "b", "c"], u64::MAX - 30),
        ] {
            let plan = plan(
                &videos,
                &saved,
                Disk {
                    free: 0,
                    records_opened,
                },
                max,
                need,
            );
            let names: Vec<_> = plan
                .trash
                .iter()
                .map(|v| v.path.to_str().unwrap())
                .collect();
            assert_eq!((names, plan.over), (trash, over), "{need} more into {max}");
        }
    }
}
