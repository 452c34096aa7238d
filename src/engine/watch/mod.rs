//! Which folders are watched, and why: patterns become watch descriptors, and stay right while
//! folders come and go.
//!
//! Every folder on the way to a pattern's end is watched for the next component, so a folder that
//! is made later, or deleted and made again, is found by its parent's event. A watch is put in
//! place before the folder is read, so nothing that appears between the two is missed (inotify(7),
//! "Limitations and caveats"). Mounts raise no inotify event: the engine's thread looks at
//! `/proc/self/mountinfo` and asks for another walk.
//!
//! Opening and listing folders takes its time, and a file system of another machine may never
//! answer: that is done on a thread of its own (`walk`). It reports each watched folder (`folder`)
//! to the engine's thread, which keeps events of an unknown folder until the report comes.

mod folder;
mod plan;
mod problems;
mod tree;
mod walk;

use std::{ffi::OsString, io, path::PathBuf};

pub(crate) use folder::{Folder, FolderId};
pub use plan::Change;
pub(crate) use plan::{Target, WatchPlan};
pub(crate) use walk::{News, Walk, WalkRequest, Walker};

/// Folders that can't be watched, for one reason.
#[derive(Debug)]
pub struct Unwatched {
    /// The folders, one at least.
    pub paths: Vec<PathBuf>,
    /// Why.
    pub cause: Cause,
}

/// Why a folder can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// What inotify_add_watch(2) or openat2(2) returned.
    #[error(transparent)]
    System(io::Error),
    /// The rule has more folders than a rule may have.
    #[error("rule {rule} has more than {most} folders")]
    TooMany {
        /// Its name.
        rule: String,
        /// How many are watched.
        most: usize,
    },
    /// Others may put anything in its place.
    #[error("others may write to a folder above it")]
    Unsafe,
}

impl Unwatched {
    /// One line for people, with the command that helps if there is one.
    pub fn advice(&self) -> String {
        let mut line = self.paths.first().map_or_else(String::new, |path| {
            format!("{} is not watched", path.display())
        });
        match self.paths.len() {
            0 | 1 => {}
            2 => line.push_str(", nor is another folder"),
            n => line.push_str(&format!(", nor are {} other folders", n - 1)),
        }
        if self.is_limit() {
            let now = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches")
                .unwrap_or_default();
            let more = now.trim().parse().unwrap_or(8192_u64);
            let more = more.saturating_mul(2).max(524_288);
            return format!(
                "{line}: the limit of inotify watches is reached; raise it: sysctl fs.inotify.max_user_watches={more}"
            );
        }
        format!("{line}: {}", self.cause)
    }

    /// The limit of watches is reached (inotify_add_watch(2), ENOSPC).
    pub(crate) fn is_limit(&self) -> bool {
        matches!(&self.cause, Cause::System(e) if e.raw_os_error() == Some(libc::ENOSPC))
    }
}

/// A file that was found by reading a folder, not by an event.
#[derive(Debug)]
pub(crate) struct FoundFile {
    pub(crate) folder: FolderId,
    pub(crate) name: OsString,
}
