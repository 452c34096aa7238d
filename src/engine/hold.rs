//! Our grip on a candidate: a hard link in staging, or else an open descriptor.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use rustix::io::Errno;

use super::{descriptors::OpenFile, staging::Staged};
use crate::{event::How, inode::Inode, rule::Rule, title::Family};

/// A hold's number within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub u64);

/// The process that wrote a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its process id.
    pub pid: u32,
    /// Its name (proc(5), `/proc/PID/comm`).
    pub name: String,
    /// Its ancestors at that time: the player among them shows its titles.
    pub family: Family,
}

/// How a file is held.
#[derive(Debug)]
pub(crate) enum HeldBy {
    /// A hard link: it needs no descriptor while it waits.
    Link(Staged),
    /// An open file, which has no name that is ours.
    Open(OpenFile),
}

/// A file that is to be held.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) held_by: HeldBy,
    pub(crate) inode: Inode,
    pub(crate) source: PathBuf,
    pub(crate) rule: Arc<Rule>,
    pub(crate) how: How,
    pub(crate) producer: Option<Producer>,
    pub(crate) at: SystemTime,
}

/// A held file. Its content can't be lost while this value exists.
#[derive(Debug)]
pub struct Hold {
    /// Its number within this run.
    pub id: HoldId,
    /// Which file it is.
    pub inode: Inode,
    held_by: HeldBy,
    /// Where the producer created it.
    pub source: PathBuf,
    /// The rule that matched.
    pub rule: Arc<Rule>,
    /// By which means.
    pub how: How,
    /// Since when.
    pub at: SystemTime,
    /// The process that had it open, once it is known.
    pub producer: OnceLock<Producer>,
    released: AtomicBool,
}

impl Hold {
    pub(crate) fn new(id: HoldId, candidate: Candidate) -> Self {
        Self {
            id,
            inode: candidate.inode,
            held_by: candidate.held_by,
            source: candidate.source,
            rule: candidate.rule,
            how: candidate.how,
            at: candidate.at,
            producer: candidate.producer.map(OnceLock::from).unwrap_or_default(),
            released: AtomicBool::new(false),
        }
    }

    /// Opens the file for reading. Whoever reads it later keeps it open.
    ///
    /// # Errors
    /// What openat(2) returns for our link, if there is one.
    pub fn open(&self) -> io::Result<Arc<File>> {
        match &self.held_by {
            HeldBy::Link(staged) => Ok(Arc::new(staged.read()?)),
            HeldBy::Open(open) => Ok(open.file.clone()),
        }
    }

    /// Our hard link to it, if there is one.
    pub fn staged(&self) -> Option<&Staged> {
        match &self.held_by {
            HeldBy::Link(staged) => Some(staged),
            HeldBy::Open(_) => None,
        }
    }

    /// Whether it is held by this link. Names in staging are unique, whichever path leads there.
    pub(super) fn is_held_by(&self, link: &Staged) -> bool {
        self.staged().is_some_and(|own| own.name == link.name)
    }

    /// Whether the content is still there: a descriptor keeps it, a link unless somebody removed
    /// it.
    pub(super) fn is_pinned(&self) -> bool {
        self.staged()
            .is_none_or(|link| link.staging.inode(&link.name) == Ok(self.inode))
    }

    /// How many of the file's names are ours: one or none.
    pub fn own_links(&self) -> u64 {
        u64::from(self.staged().is_some() && !self.released.load(Ordering::Relaxed))
    }

    /// Removes our staged name, because the file is in the library or nobody wants it. If it was
    /// the last name, the kernel frees the content, which takes its time.
    pub fn release(&self) {
        if let Some(staged) = self.staged()
            && !self.released.swap(true, Ordering::Relaxed)
        {
            match staged.staging.remove(&staged.name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => tracing::warn!(
                    "{}: {e}",
                    staged.staging.path().join(&staged.name).display()
                ),
            }
        }
    }
}
