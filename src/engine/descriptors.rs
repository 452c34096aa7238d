//! How many files may be held by an open descriptor: a share of all that the process may have
//! (getrlimit(2), RLIMIT_NOFILE). The rest stays for the worker, the history, the session bus and
//! the scans of `/proc`.
//!
//! A file with a link in staging needs none. Any other takes a [`Permit`] along with its
//! descriptor, and gives it back when it is closed.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::{Resource, getrlimit};

/// Descriptors for everything else; half of what there is, if that is less.
const RESERVE: usize = 512;

/// What is left of our share.
#[derive(Clone)]
pub(crate) struct Descriptors(Arc<Share>);

struct Share {
    left: AtomicUsize,
    /// Called when a descriptor is free again after there was none.
    freed: Box<dyn Fn() + Send + Sync>,
}

impl Descriptors {
    pub(crate) fn new(freed: impl Fn() + Send + Sync + 'static) -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self::with(limit - RESERVE.min(limit / 2), freed)
    }

    fn with(left: usize, freed: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Share {
            left: AtomicUsize::new(left),
            freed: Box::new(freed),
        }))
    }

    /// A permit to open one more file, if one is left.
    pub(crate) fn take(&self) -> Option<Permit> {
        let less = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.left.fetch_update(set, fetch, less).ok()?;
        Some(Permit(self.0.clone()))
    }
}

/// The permission to have one file open. Dropping it gives it back.
pub(crate) struct Permit(Arc<Share>);

impl Drop for Permit {
    fn drop(&mut self) {
        if self.0.left.fetch_add(1, Ordering::AcqRel) == 0 {
            (self.0.freed)();
        }
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

/// An open file and its permit.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: Arc<File>,
    _permit: Arc<Permit>,
}

impl OpenFile {
    pub(crate) fn new(file: File, permit: Permit) -> Self {
        Self {
            file: Arc::new(file),
            _permit: Arc::new(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_there_are_and_a_word_when_there_is_one_again() {
        let freed = Arc::new(AtomicUsize::new(0));
        let count = freed.clone();
        let all = Descriptors::with(2, move || _ = count.fetch_add(1, Ordering::Relaxed));
        let (one, two) = (all.take().unwrap(), all.take().unwrap());
        assert!(all.take().is_none());
        drop(one);
        assert_eq!(freed.load(Ordering::Relaxed), 1);
        let three = all.take().unwrap();
        assert!(all.take().is_none());
        drop((two, three));
        assert_eq!(freed.load(Ordering::Relaxed), 2);
    }
}
