//! Folders that can't be watched, to be reported: each once, and those with one reason together.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{super::trust::Refusal, Cause, Unwatched};

/// A rule's share of the watches.
pub(super) const MOST_FOLDERS: usize = 8192;

/// Why a folder can't be watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Problem {
    /// What the system said (errno(3)).
    System(i32),
    /// The rule of this name has as many folders as a rule may have.
    TooMany(String),
    /// Others may put anything in its place.
    Unsafe,
}

/// The problems of a walk, and the folders that had one in an earlier walk.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<(PathBuf, Problem)>,
    reported: HashSet<PathBuf>,
}

impl Problems {
    /// A folder can't be watched.
    pub(super) fn add(&mut self, path: PathBuf, problem: Problem) {
        self.found.push((path, problem));
    }

    /// A folder was not entered. That is a problem only if a rule names it; a folder of another
    /// user is none.
    pub(super) fn refused(&mut self, path: PathBuf, refusal: Refusal, named: bool) {
        match refusal {
            Refusal::System(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Refusal::System(e) => self.add(path, Problem::System(e.raw_os_error())),
            Refusal::Unsafe if named => self.add(path, Problem::Unsafe),
            refusal => tracing::debug!("{}: not entered: {refusal:?}", path.display()),
        }
    }

    /// A folder is watched: its next problem is news again.
    pub(super) fn solved(&mut self, path: &Path) {
        self.reported.remove(path);
    }

    /// What is to be reported: one message for each reason, with folders that were not reported
    /// before.
    pub(super) fn take(&mut self) -> Vec<Unwatched> {
        let mut by_problem: BTreeMap<Problem, Vec<PathBuf>> = BTreeMap::new();
        for (path, problem) in self.found.drain(..) {
            if self.reported.len() < MOST_FOLDERS && self.reported.insert(path.clone()) {
                by_problem.entry(problem).or_default().push(path);
            }
        }
        let messages = by_problem.into_iter().map(|(problem, paths)| Unwatched {
            paths,
            cause: match problem {
                Problem::System(errno) => Cause::System(io::Error::from_raw_os_error(errno)),
                Problem::TooMany(rule) => Cause::TooMany {
                    rule,
                    most: MOST_FOLDERS,
                },
                Problem::Unsafe => Cause::Unsafe,
            },
        });
        messages.collect()
    }
}
