//! Our grip on a candidate: a descriptor, and where it could be had a hard link in staging.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use rustix::io::Errno;

use super::staging::Staged;
use crate::{event::How, inode::Inode, rule::Rule, title::Family};

/// Tells holds of one run apart.
pub type HoldId = u64;

/// The process that wrote a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its process id.
    pub pid: u32,
    /// Its name (proc(5), `/proc/PID/comm`).
    pub name: String,
    /// Its ancestors then: which player's titles are its.
    pub family: Family,
}

/// A held file: as long as this lives, the content does.
#[derive(Debug)]
pub struct Hold {
    /// Number within this run.
    pub id: HoldId,
    /// The file, open for reading; whoever reads it later keeps it open.
    pub file: Arc<File>,
    /// Which file it is.
    pub inode: Inode,
    /// Our hard link to it, if there is one.
    pub staged: Option<Staged>,
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
    /// Takes a grip on `file`.
    pub(crate) fn new(
        id: HoldId,
        grip: (File, Option<Staged>),
        inode: Inode,
        source: PathBuf,
        rule: Arc<Rule>,
        how: How,
        at: SystemTime,
    ) -> Self {
        let (file, staged) = (Arc::new(grip.0), grip.1);
        let (producer, released) = (OnceLock::new(), AtomicBool::new(false));
        Self {
            id,
            file,
            inode,
            staged,
            source,
            rule,
            how,
            at,
            producer,
            released,
        }
    }

    /// How many names of the file are ours.
    pub fn own_links(&self) -> u64 {
        u64::from(self.staged.is_some() && !self.released.load(Ordering::Relaxed))
    }

    /// Removes our staged name: the file is in the library, or nobody wants it.
    pub fn release(&self) {
        if let Some(staged) = &self.staged
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
