//! Which folders are watched, and why: patterns become watch descriptors, and stay right while
//! folders come and go.
//!
//! Every folder on the way to a pattern's end is watched for the next component, so a folder that
//! is made later, or deleted and made again, is found by its parent's event. A watch is put in
//! place before the folder is read, so nothing that appears between the two is missed (inotify(7),
//! "Limitations and caveats"). Mounts raise no inotify event: the thread looks at
//! `/proc/self/mountinfo` and calls `Watches::rebuild`.

mod plan;

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
pub use plan::Trip;
use plan::{Component, Watched, literal, private, same_literal};
pub(crate) use plan::{Plan, Target};
use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat},
    io::Errno,
};

use super::{
    open::fd_path,
    staging::{self, Staging, Stagings},
};
use crate::{inode::Inode, rule::Matcher};

/// Folders below a recursive rule's own are watched so deep.
const MAX_DEPTH: usize = 32;

/// A folder that can't be watched.
#[derive(Debug, thiserror::Error)]
#[error("{} is not watched", path.display())]
pub struct Unwatched {
    /// The folder.
    pub path: PathBuf,
    /// What inotify_add_watch(2) or openat(2) returned.
    pub source: io::Error,
}

impl Unwatched {
    /// One line for people, with the line that mends it where there is one.
    pub fn advice(&self) -> String {
        if self.source.raw_os_error() == Some(libc::ENOSPC) {
            let now = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches")
                .unwrap_or_default();
            let more = now
                .trim()
                .parse()
                .unwrap_or(8192_u64)
                .saturating_mul(2)
                .max(524_288);
            return format!(
                "{self}: the limit of inotify watches is reached; raise it: sysctl fs.inotify.max_user_watches={more}"
            );
        }
        format!("{self}: {}", self.source)
    }
}

/// Why a folder is watched.
#[derive(Clone, Debug)]
enum Role {
    /// On the way to a pattern's end: the component at `depth` is looked for here.
    Step {
        watched: Arc<Watched>,
        folder: usize,
        depth: usize,
    },
    /// Files here concern us; `depth` counts folders below the pattern's end.
    Leaf { watched: Arc<Watched>, depth: usize },
}

impl PartialEq for Role {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Step {
                    watched: a,
                    folder: f,
                    depth: d,
                },
                Self::Step {
                    watched: b,
                    folder: g,
                    depth: e,
                },
            ) => Arc::ptr_eq(a, b) && (f, d) == (g, e),
            (Self::Leaf { watched: a, .. }, Self::Leaf { watched: b, .. }) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A watched folder.
#[derive(Debug)]
pub(crate) struct Node {
    descriptor: WatchDescriptor,
    /// Held open by path only, so that a link is made in this very folder whatever its name is by
    /// now.
    dir: OwnedFd,
    path: PathBuf,
    pub(crate) dev: u64,
    roles: Vec<Role>,
    /// A sandbox's own, reached through `/proc`: not found again by walking the patterns.
    private: bool,
    /// Where links to its files go; none for a folder in which we can't keep any.
    pub(crate) staging: Option<Arc<Staging>>,
}

impl Node {
    /// What a file of this name means here.
    pub(crate) fn target(&self, name: &OsStr) -> Option<&Target> {
        self.roles.iter().find_map(|role| match role {
            Role::Leaf { watched, .. } if watched.names.matches(name) => Some(&watched.target),
            _ => None,
        })
    }

    /// Whether files here may concern us, as opposed to folders on the way.
    pub(crate) fn is_leaf(&self) -> bool {
        self.roles
            .iter()
            .any(|r| matches!(r, Role::Leaf { watched, .. } if matches!(watched.target, Target::Rule(_))))
    }

    /// The globs of all rules that concern this folder.
    pub(crate) fn matchers(&self) -> Vec<Matcher> {
        let leaf = self.roles.iter().filter_map(|role| match role {
            Role::Leaf { watched, .. } if matches!(watched.target, Target::Rule(_)) => {
                Some(watched.names.clone())
            }
            _ => None,
        });
        leaf.collect()
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its path as the kernel tells it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A file that was found by reading a folder, not by an event.
#[derive(Debug)]
pub(crate) struct Found {
    /// The folder's watch descriptor.
    pub(crate) node: i32,
    pub(crate) name: OsString,
}

/// All watched folders.
pub(crate) struct Watches {
    pub(crate) inotify: Inotify,
    nodes: HashMap<i32, Node>,
    pub(crate) stagings: Stagings,
    plan: Plan,
    /// Report removals too (`watch --events`).
    trace: bool,
    pub(crate) unwatched: Vec<Unwatched>,
    pub(crate) found: Vec<Found>,
    pub(crate) tripped: Vec<Trip>,
}

impl Watches {
    pub(crate) fn new(plan: Plan, trace: bool, stagings: Stagings) -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init()?,
            nodes: HashMap::new(),
            stagings,
            plan,
            trace,
            unwatched: Vec::new(),
            found: Vec::new(),
            tripped: Vec::new(),
        })
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
        self.rebuild();
    }

    pub(crate) fn get(&self, descriptor: i32) -> Option<&Node> {
        self.nodes.get(&descriptor)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (i32, &Node)> {
        self.nodes.iter().map(|(&id, node)| (id, node))
    }

    /// Walks all patterns again. A folder that is watched already keeps its descriptor and misses
    /// nothing.
    pub(crate) fn rebuild(&mut self) {
        let (kept, old) = std::mem::take(&mut self.nodes)
            .into_iter()
            .partition(|(_, node)| node.private);
        self.nodes = kept;
        let old: HashMap<i32, Node> = old;
        let mut roles = Vec::new();
        for watched in &self.plan.watched {
            for (folder, components) in watched.folders.iter().enumerate() {
                if private(components).is_none() {
                    roles.push(Role::Step {
                        watched: watched.clone(),
                        folder,
                        depth: 0,
                    });
                }
            }
        }
        match open_dir(CWD, OsStr::new("/"), true) {
            Ok(root) => self.enter(root, roles, false, false),
            Err(e) => self.unwatched.push(Unwatched {
                path: "/".into(),
                source: e.into(),
            }),
        }
        for (id, node) in old {
            if !self.nodes.contains_key(&id) {
                let _ = self.inotify.watches().remove(node.descriptor);
            }
        }
    }

    /// A folder appeared in a watched one: whatever it may concern is looked for in it, files
    /// included.
    pub(crate) fn appeared(&mut self, parent: i32, name: &OsStr) {
        let Some(node) = self.nodes.get(&parent) else {
            return;
        };
        let roles = node.roles.clone();
        let private = node.private;
        let trips = roles.iter().filter_map(|role| match role {
            Role::Leaf { watched, .. } if watched.names.matches(name) => match watched.target {
                Target::Trip(trip) => Some(trip),
                Target::Rule(_) => None,
            },
            _ => None,
        });
        self.tripped.extend(trips);
        self.descend(parent, &roles, Some(name), true, private);
    }

    /// The kernel removed the watch, or the folder went elsewhere: it and all below it are
    /// forgotten.
    pub(crate) fn gone(&mut self, descriptor: i32) {
        let Some(node) = self.nodes.remove(&descriptor) else {
            return;
        };
        let _ = self.inotify.watches().remove(node.descriptor);
        let below: Vec<i32> = self
            .nodes()
            .filter(|(_, n)| n.path.starts_with(&node.path))
            .map(|(id, _)| id)
            .collect();
        for id in below {
            if let Some(node) = self.nodes.remove(&id) {
                let _ = self.inotify.watches().remove(node.descriptor);
            }
        }
    }

    /// A sandbox's private folder, reached through a process in it (`root`,
    /// "/proc/PID/root/var/tmp"). False when it is watched already, or of no concern.
    pub(crate) fn enter_private(&mut self, dir: OwnedFd, root: &Path) -> bool {
        let inside: Vec<_> = root.components().skip(4).filter_map(literal).collect();
        let mut roles = Vec::new();
        for watched in &self.plan.watched {
            let reaches = |folder: &Vec<Component>| {
                private(folder).is_some_and(|rest| {
                    rest.len() == inside.len()
                        && rest.iter().zip(&inside).all(|(a, b)| same_literal(a, b))
                })
            };
            if watched.folders.iter().any(reaches) {
                roles.push(Role::Leaf {
                    watched: watched.clone(),
                    depth: 0,
                });
            }
        }
        let before = self.nodes.len();
        if !roles.is_empty() {
            self.enter(dir, roles, true, true);
        }
        self.nodes.len() > before
    }

    /// Watches a folder for these roles, then looks into it.
    fn enter(&mut self, dir: OwnedFd, mut roles: Vec<Role>, fresh: bool, private: bool) {
        // A step that has no component left is a leaf.
        for role in &mut roles {
            if let Role::Step {
                watched,
                folder,
                depth,
            } = role
                && watched.folders[*folder].len() == *depth
            {
                *role = Role::Leaf {
                    watched: watched.clone(),
                    depth: 0,
                };
            }
        }
        let path = std::fs::read_link(fd_path(&dir)).unwrap_or_default();
        let leaf = |role: &Role| matches!(role, Role::Leaf { watched, .. } if matches!(watched.target, Target::Rule(_)));
        let already = self
            .nodes
            .values()
            .find(|n| n.path == path && same_inode(&n.dir, &dir));
        if let Some(node) = already {
            roles.retain(|role| !node.roles.contains(role));
            if roles.is_empty() {
                return;
            }
        }
        let all = already
            .map(|n| n.roles.as_slice())
            .unwrap_or_default()
            .iter()
            .chain(&roles);
        let mut mask =
            WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        mask |= WatchMask::ONLYDIR;
        for role in all.filter(|role| matches!(role, Role::Leaf { .. })) {
            if let Role::Leaf { watched, .. } = role {
                mask.set(
                    WatchMask::CLOSE_WRITE,
                    mask.contains(WatchMask::CLOSE_WRITE) || watched.reuses_names(),
                );
                mask.set(
                    WatchMask::OPEN,
                    mask.contains(WatchMask::OPEN) || watched.nameless,
                );
            }
            mask.set(WatchMask::DELETE | WatchMask::MOVED_FROM, self.trace);
        }
        let descriptor = match self.inotify.watches().add(fd_path(&dir), mask) {
            Ok(descriptor) => descriptor,
            Err(source) => return self.unwatched.push(Unwatched { path, source }),
        };
        let id = descriptor.get_watch_descriptor_id();
        let holds_files = roles.iter().any(leaf);
        let node = self.nodes.entry(id).or_insert_with(|| Node {
            descriptor,
            dev: fstat(&dir).map_or(0, |s| s.st_dev),
            dir,
            path,
            roles: Vec::new(),
            staging: None,
            private,
        });
        node.roles.extend(roles.iter().cloned());
        if holds_files && node.staging.is_none() {
            node.staging =
                match self
                    .stagings
                    .for_folder(node.dir.as_fd(), &node.path, &self.plan.library)
                {
                    Ok(staging) => Some(staging),
                    Err(e) => {
                        tracing::info!("{e}: files there are held by descriptor only");
                        None
                    }
                };
        }
        self.descend(id, &roles, None, fresh, private);
    }

    /// Looks for what `roles` want in a watched folder: folders to enter, and when it is `fresh`,
    /// files that were there before the watch was. With `only`, that name alone.
    fn descend(
        &mut self,
        id: i32,
        roles: &[Role],
        only: Option<&OsStr>,
        fresh: bool,
        private: bool,
    ) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let Ok(dir) = open_dir(node.dir(), OsStr::new("."), false) else {
            return;
        };
        let mut listing = None;
        let mut children: HashMap<OsString, Vec<Role>> = HashMap::new();
        for role in roles {
            let mut add =
                |name: &OsStr, role: Role| children.entry(name.to_owned()).or_default().push(role);
            match role {
                Role::Step {
                    watched,
                    folder,
                    depth,
                } => {
                    let next = Role::Step {
                        watched: watched.clone(),
                        folder: *folder,
                        depth: depth + 1,
                    };
                    match &watched.folders[*folder][*depth] {
                        Component::Literal(name) if only.is_none_or(|only| only == name) => {
                            add(name, next)
                        }
                        Component::Literal(_) => {}
                        Component::Glob(glob) => match only {
                            Some(name) if glob.matches(name) => add(name, next),
                            Some(_) => {}
                            None => {
                                let entries = listing.get_or_insert_with(|| list(&dir));
                                let matching = entries
                                    .iter()
                                    .filter(|(name, folder)| *folder && glob.matches(name));
                                matching.for_each(|(name, _)| add(name, next.clone()));
                            }
                        },
                    }
                }
                Role::Leaf { watched, depth } => {
                    let next = Role::Leaf {
                        watched: watched.clone(),
                        depth: depth + 1,
                    };
                    if let Some(name) = only {
                        if watched.recursive && *depth < MAX_DEPTH {
                            add(name, next);
                        }
                        continue;
                    }
                    if !(watched.recursive || fresh || matches!(watched.target, Target::Trip(_))) {
                        continue;
                    }
                    for (name, is_folder) in listing.get_or_insert_with(|| list(&dir)).iter() {
                        match watched.target {
                            Target::Trip(trip) if fresh && watched.names.matches(name) => {
                                self.tripped.push(trip)
                            }
                            Target::Rule(_)
                                if *is_folder && watched.recursive && *depth < MAX_DEPTH =>
                            {
                                add(name, next.clone());
                            }
                            Target::Rule(_)
                                if !is_folder && fresh && watched.names.matches(name) =>
                            {
                                self.found.push(Found {
                                    node: id,
                                    name: name.clone(),
                                });
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
        let shared = fstat(&dir).is_ok_and(|s| s.st_mode & 0o022 != 0);
        for (name, roles) in children {
            if name.as_bytes().starts_with(staging::PREFIX.as_bytes()) {
                continue;
            }
            // A link in a folder that others may write to could lead anywhere.
            match open_dir(dir.as_fd(), &name, !shared) {
                Ok(child) => self.enter(child, roles, fresh, private),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => {
                    let path = self
                        .nodes
                        .get(&id)
                        .map_or_else(PathBuf::new, |n| n.path.join(&name));
                    self.unwatched.push(Unwatched {
                        path,
                        source: e.into(),
                    });
                }
            }
        }
    }

    /// Makes staging folders anew that somebody removed.
    pub(crate) fn renew_stagings(&mut self) {
        self.stagings.forget_gone();
        for node in self.nodes.values_mut() {
            if node
                .staging
                .as_ref()
                .is_some_and(|staging| staging.is_gone())
            {
                node.staging = self
                    .stagings
                    .for_folder(node.dir.as_fd(), &node.path, &self.plan.library)
                    .ok();
            }
        }
    }

    /// Files in the folders that hold candidates, for a look after events were lost.
    pub(crate) fn list_leaves(&mut self) {
        let ids: Vec<i32> = self
            .nodes()
            .filter(|(_, node)| node.is_leaf())
            .map(|(id, _)| id)
            .collect();
        for id in ids {
            let Some(node) = self.nodes.get(&id) else {
                continue;
            };
            let Ok(dir) = open_dir(node.dir(), OsStr::new("."), false) else {
                continue;
            };
            for (name, folder) in list(&dir) {
                if !folder && matches!(node.target(&name), Some(Target::Rule(_))) {
                    self.found.push(Found { node: id, name });
                }
            }
        }
    }

    /// Watches a held file itself, named or not, for its close and, with `changes`, its next
    /// change.
    pub(crate) fn watch_file(
        &self,
        file: &impl AsFd,
        changes: bool,
    ) -> io::Result<WatchDescriptor> {
        let mask = if changes {
            WatchMask::CLOSE_WRITE | WatchMask::MODIFY
        } else {
            WatchMask::CLOSE_WRITE
        };
        self.inotify.watches().add(fd_path(file), mask)
    }
}

impl Watches {
    /// Whether the kernel says that the watched folder itself is gone.
    pub(crate) fn is_end(mask: EventMask) -> bool {
        mask.intersects(
            EventMask::IGNORED | EventMask::MOVE_SELF | EventMask::DELETE_SELF | EventMask::UNMOUNT,
        )
    }
}

fn same_inode(a: &OwnedFd, b: &OwnedFd) -> bool {
    let inode = |dir| fstat(dir).map(|stat| Inode::from(&stat)).ok();
    inode(a) == inode(b)
}

/// Opens a folder by path only, or with "." to read it; a symbolic link only where `follow` allows.
fn open_dir(at: BorrowedFd<'_>, name: &OsStr, follow: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    flags |= if name == "." {
        OFlags::RDONLY
    } else {
        OFlags::PATH
    };
    flags.set(OFlags::NOFOLLOW, !follow);
    openat(at, name, flags, Mode::empty())
}

/// Names in a folder, and whether each is a folder.
fn list(dir: &OwnedFd) -> Vec<(OsString, bool)> {
    let Ok(entries) = Dir::read_from(dir) else {
        return Vec::new();
    };
    let entries = entries.flatten().map(|entry| {
        let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        (name, entry.file_type() == FileType::Directory)
    });
    entries
        .filter(|(name, _)| name != "." && name != "..")
        .collect()
}
