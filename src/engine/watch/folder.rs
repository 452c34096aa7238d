//! A watched folder, as the thread that reads the events needs it.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use inotify::WatchMask;
use rustix::io::Errno;

use super::{
    super::{staging::Staging, trust::open_straight},
    plan::{Component, Target, Watched},
};
use crate::{inode::Inode, rule::Matcher};

/// A folder's watch descriptor.
pub(crate) type FolderId = i32;

/// Why a folder is watched.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// On the way to a pattern's end: the component at `depth` is looked for here.
    Step {
        watched: Arc<Watched>,
        folder: usize,
        depth: usize,
    },
    /// Files here concern us; `depth` counts folders below the pattern's end.
    Leaf { watched: Arc<Watched>, depth: usize },
}

impl Role {
    pub(super) fn watched(&self) -> &Arc<Watched> {
        match self {
            Self::Step { watched, .. } | Self::Leaf { watched, .. } => watched,
        }
    }

    /// The component that is looked for; none at the pattern's end.
    pub(super) fn component(&self) -> Option<&Component> {
        match self {
            Self::Step {
                watched,
                folder,
                depth,
            } => watched.folders[*folder].get(*depth),
            Self::Leaf { .. } => None,
        }
    }

    /// The same role one folder further down.
    pub(super) fn below(&self) -> Self {
        let mut role = self.clone();
        let (Self::Step { depth, .. } | Self::Leaf { depth, .. }) = &mut role;
        *depth += 1;
        role
    }

    /// A step with no component left has come to the pattern's end.
    pub(super) fn at_end(self) -> Self {
        match self {
            Self::Step { ref watched, .. } if self.component().is_none() => Self::Leaf {
                watched: watched.clone(),
                depth: 0,
            },
            role => role,
        }
    }

    /// The events that this role needs.
    pub(super) fn mask(&self) -> WatchMask {
        let mut mask = WatchMask::ONLYDIR
            | WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        if let Self::Leaf { watched, .. } = self {
            mask.set(WatchMask::CLOSE_WRITE, watched.reuses_names());
            mask.set(WatchMask::OPEN, watched.nameless);
        }
        mask
    }

    fn holds_candidates(&self) -> bool {
        matches!(self, Self::Leaf { watched, .. } if matches!(watched.target, Target::Rule(_)))
    }
}

impl PartialEq for Role {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(self.watched(), other.watched());
        match (self, other) {
            (
                Self::Step {
                    folder: f,
                    depth: d,
                    ..
                },
                Self::Step {
                    folder: g,
                    depth: e,
                    ..
                },
            ) => same && (f, d) == (g, e),
            (Self::Leaf { .. }, Self::Leaf { .. }) => same,
            _ => false,
        }
    }
}

/// A watched folder. It never changes: when its path or its roles do, another takes its place.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) id: FolderId,
    pub(crate) inode: Inode,
    pub(super) path: PathBuf,
    /// Open by path only, where microseconds count (a rule's own folders) or where the path doesn't
    /// lead to it (a sandbox's). All others are opened when something happens in them.
    pub(super) dir: Option<Arc<OwnedFd>>,
    pub(super) roles: Vec<Role>,
    /// Where links to its files go; none for a folder in which we can't keep any.
    pub(crate) staging: Option<Arc<Staging>>,
}

/// A folder that is open for the moment, or for longer.
pub(crate) enum FolderFd<'a> {
    Kept(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for FolderFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kept(fd) => *fd,
            Self::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Folder {
    /// What a file of this name means here.
    pub(crate) fn target(&self, name: &OsStr) -> Option<&Target> {
        self.roles.iter().find_map(|role| match role {
            Role::Leaf { watched, .. } if watched.names.matches(name) => Some(&watched.target),
            _ => None,
        })
    }

    /// Whether files here may concern us, as opposed to folders on the way.
    pub(crate) fn holds_candidates(&self) -> bool {
        self.roles.iter().any(Role::holds_candidates)
    }

    /// The globs of all rules that concern this folder.
    pub(crate) fn matchers(&self) -> Vec<Arc<Matcher>> {
        let leaves = self.roles.iter().filter(|role| role.holds_candidates());
        leaves.map(|role| role.watched().names.clone()).collect()
    }

    /// The folder itself, whatever else has its path by now.
    ///
    /// # Errors
    /// ENOENT when it isn't at its path any more, or what openat2(2) returns.
    pub(crate) fn open(&self) -> rustix::io::Result<FolderFd<'_>> {
        if let Some(dir) = &self.dir {
            return Ok(FolderFd::Kept(dir.as_fd()));
        }
        match open_straight(&self.path)? {
            (dir, inode) if inode == self.inode => Ok(FolderFd::Opened(dir)),
            _ => Err(Errno::NOENT),
        }
    }

    /// Its path as the kernel gives it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
