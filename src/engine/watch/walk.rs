//! The thread that walks the folders: it opens, watches and lists them.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
    time::SystemTime,
};

use inotify::{WatchMask, Watches};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, openat, statat};

use super::{
    super::{
        open::{born, fd_path},
        staging::{self, Leftover, Stagings},
        trust::{Access, Dir},
    },
    Change, Folder, FolderId, FoundFile, Target, Unwatched, WatchPlan,
    folder::Role,
    plan::{Component, literal, private, same_literal},
    problems::{MOST_FOLDERS, Problem, Problems},
    tree::{Node, Tree},
};
use crate::{inode::Inode, rule::Rule};

/// Folders below a recursive rule's own are watched down to this depth.
const MAX_DEPTH: usize = 32;
/// Rules' own folders that are kept open; more than these are opened when they are needed.
const MOST_OPEN: usize = 256;

/// What the thread is asked to do. Each request is answered by one [`News::Done`].
#[derive(Debug)]
pub(crate) enum WalkRequest {
    /// Walks all patterns of a new plan. The first time, it also reports what an earlier run left.
    Plan { plan: WatchPlan, since: SystemTime },
    /// Walks all patterns again: something was mounted.
    Again { since: SystemTime },
    /// Events were lost: everything made since then is looked for.
    Rescan { since: SystemTime },
    /// A folder was made in a watched one, or moved there.
    Appeared {
        parent: FolderId,
        name: OsString,
        made: bool,
    },
    /// A watched folder was moved. An event of its new parent says where to.
    Moved { folder: FolderId },
    /// The kernel removed the watch.
    Gone { folder: FolderId },
    /// A sandbox's private folder, reached through a process in it ("/proc/PID/root/var/tmp").
    Private { dir: OwnedFd, root: PathBuf },
    /// Ends the thread.
    End,
}

/// Which kind of request was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    Plan,
    Again,
    Rescan,
    Change,
    /// A sandbox's folder; whether it was new.
    Private(bool),
}

/// What the thread has to say.
#[derive(Debug)]
pub(crate) enum News {
    /// A folder is watched, or is now for other reasons or under another path.
    Watched(Arc<Folder>),
    /// It is watched no more.
    Forgotten(FolderId),
    /// A file that is there.
    Found(FoundFile),
    /// Watches are in place.
    Ready,
    /// What an earlier run left in staging.
    Leftover(Leftover, Arc<Rule>, PathBuf),
    Unwatched(Unwatched),
    Changed(Change),
    Done(Walk),
}

/// Which of the files that are there already are reported.
#[derive(Clone, Copy, Debug)]
enum Existing {
    None,
    /// In folders that were not watched before, or not for this.
    New,
    /// In every folder.
    All,
    /// Made since then, in folders that were not watched before, or not for this.
    NewSince(SystemTime),
    /// Made since then, in every folder.
    AllSince(SystemTime),
}

impl Existing {
    fn in_known(self) -> bool {
        matches!(self, Self::All | Self::AllSince(_))
    }

    fn since(self) -> Option<SystemTime> {
        match self {
            Self::NewSince(since) | Self::AllSince(since) => Some(since),
            _ => None,
        }
    }
}

/// How folders are walked.
#[derive(Clone, Copy, Debug)]
struct Scope {
    existing: Existing,
    /// All patterns are walked: a folder that the walk doesn't reach is forgotten.
    whole: bool,
    /// Inside a sandbox, whose paths don't lead there from outside.
    private: bool,
}

/// The thread's state.
pub(crate) struct Walker<T> {
    watches: Watches,
    /// Report removals too (`watch --events`).
    trace: bool,
    tell: T,
    plan: WatchPlan,
    tree: Tree,
    stagings: Stagings,
    /// The number of the present walk.
    walk: u64,
    problems: Problems,
    started: bool,
}

impl<T: Fn(News)> Walker<T> {
    pub(crate) fn new(watches: Watches, stagings: Stagings, trace: bool, tell: T) -> Self {
        Self {
            watches,
            trace,
            tell,
            plan: WatchPlan::default(),
            tree: Tree::default(),
            stagings,
            walk: 0,
            problems: Problems::default(),
            started: false,
        }
    }

    /// The thread: sleeps until something is asked.
    pub(crate) fn run(mut self, requests: &Receiver<WalkRequest>) {
        while let Ok(request) = requests.recv() {
            let done = match request {
                WalkRequest::Plan { plan, since } => {
                    self.plan = plan;
                    self.plan(since)
                }
                WalkRequest::Again { since } => {
                    self.all(Existing::NewSince(since));
                    Walk::Again
                }
                WalkRequest::Rescan { since } => {
                    self.all(Existing::AllSince(since));
                    Walk::Rescan
                }
                WalkRequest::Appeared { parent, name, made } => {
                    let existing = if made { Existing::All } else { Existing::New };
                    self.appeared(parent, &name, existing);
                    Walk::Change
                }
                WalkRequest::Moved { folder } => {
                    self.moved(folder);
                    Walk::Change
                }
                WalkRequest::Gone { folder } => {
                    self.forget(folder);
                    Walk::Change
                }
                WalkRequest::Private { dir, root } => Walk::Private(self.enter_private(dir, &root)),
                WalkRequest::End => break,
            };
            self.report_problems();
            (self.tell)(News::Done(done));
        }
        self.stagings.tidy();
    }

    fn report_problems(&mut self) {
        for unwatched in self.problems.take() {
            (self.tell)(News::Unwatched(unwatched));
        }
    }

    /// At the start, files that are there already are nothing new, and what an earlier run left is
    /// taken over.
    fn plan(&mut self, since: SystemTime) -> Walk {
        if self.started {
            self.all(Existing::NewSince(since));
        } else {
            self.started = true;
            self.all(Existing::None);
            self.report_problems();
            (self.tell)(News::Ready);
            self.leftovers();
        }
        Walk::Plan
    }

    /// Walks all patterns. A folder that is watched already misses nothing.
    fn all(&mut self, existing: Existing) {
        self.walk += 1;
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
        let scope = Scope {
            existing,
            whole: true,
            private: false,
        };
        match Dir::resolve(Path::new("/")) {
            Ok(root) => self.enter(&root, None, roles, scope),
            Err(refusal) => self.problems.refused("/".into(), refusal, true),
        }
        let left = |node: &&Node| !node.private && node.walk != self.walk;
        let left: Vec<FolderId> = self.tree.iter().filter(left).map(|n| n.folder.id).collect();
        for id in left {
            self.forget_one(id);
        }
    }

    /// A folder appeared in a watched one: it is entered for each role that it may have.
    fn appeared(&mut self, parent: FolderId, name: &OsStr, existing: Existing) {
        let Some(node) = self.tree.get(parent) else {
            return;
        };
        let (folder, private) = (node.folder.clone(), node.private);
        for role in &folder.roles {
            if let Role::Leaf { watched, .. } = role
                && let Target::Change(change) = watched.target
                && watched.names.matches(name)
            {
                (self.tell)(News::Changed(change));
            }
        }
        let Some(dir) = open(&folder) else {
            return;
        };
        self.walk += 1;
        let scope = Scope {
            existing,
            whole: false,
            private,
        };
        self.descend(
            &folder,
            &dir,
            (&folder.roles, &folder.roles),
            Some(name),
            scope,
        );
    }

    /// If a folder was moved to another place that we watch, it has been entered under its new path
    /// already. Otherwise it is forgotten.
    fn moved(&mut self, id: FolderId) {
        let Some(node) = self.tree.get(id) else {
            return;
        };
        let there = Dir::resolve(node.folder.path()).map(|dir| dir.inode);
        if node.private || there != Ok(node.folder.inode) {
            self.forget(id);
        }
    }

    /// Forgets a folder and all below it.
    fn forget(&mut self, id: FolderId) {
        for id in self.tree.with_all_below(id) {
            self.forget_one(id);
        }
    }

    fn forget_one(&mut self, id: FolderId) {
        let Some(node) = self.tree.remove(id) else {
            return;
        };
        // Fails if the kernel has removed it already.
        let _ = self.watches.remove(node.watch);
        (self.tell)(News::Forgotten(id));
    }

    /// Watches a sandbox's folder. False if it is watched already, or no rule looks there.
    fn enter_private(&mut self, dir: OwnedFd, root: &Path) -> bool {
        let inside: Vec<_> = root.components().skip(4).filter_map(literal).collect();
        let reaches = |folder: &Vec<Component>| {
            private(folder).is_some_and(|rest| {
                rest.len() == inside.len()
                    && rest.iter().zip(&inside).all(|(a, b)| same_literal(a, b))
            })
        };
        let concerned = self
            .plan
            .watched
            .iter()
            .filter(|w| w.folders.iter().any(reaches));
        let roles: Vec<_> = concerned
            .map(|watched| Role::Leaf {
                watched: watched.clone(),
                depth: 0,
            })
            .collect();
        self.walk += 1;
        let before = self.tree.len();
        if !roles.is_empty()
            && let Ok(dir) = Dir::admit(Access::Ours, dir)
        {
            let scope = Scope {
                existing: Existing::New,
                whole: false,
                private: true,
            };
            self.enter(&dir, None, roles, scope);
        }
        self.tree.len() > before
    }

    /// Watches a folder for these roles, then looks into it.
    fn enter(&mut self, dir: &Dir, parent: Option<FolderId>, roles: Vec<Role>, scope: Scope) {
        let roles: Vec<_> = roles.into_iter().map(Role::at_end).collect();
        let path = std::fs::read_link(fd_path(&dir.fd)).unwrap_or_default();
        // The kernel says which folder it is: one that is watched already keeps its descriptor, and
        // the events that it is watched for are added to.
        let mut mask = WatchMask::MASK_ADD;
        roles.iter().for_each(|role| mask |= role.mask());
        if self.trace {
            mask |= WatchMask::DELETE | WatchMask::MOVED_FROM;
        }
        let watch = match self.watches.add(fd_path(&dir.fd), mask) {
            Ok(watch) => watch,
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or_default();
                return self.problems.add(path, Problem::System(errno));
            }
        };
        let id = watch.get_watch_descriptor_id();
        let known = self.tree.get(id);
        if known.is_none()
            && let Some(problem) = self.too_many(&roles)
        {
            let _ = self.watches.remove(watch);
            return self.problems.add(path, problem);
        }
        // A folder with two paths (a bind mount, a link) has the roles of both, and the first path.
        let moved = known.is_some_and(|n| n.walk != self.walk && n.folder.path != path);
        let anew =
            known.is_none() || moved || scope.whole && known.is_some_and(|n| n.walk != self.walk);
        let had = known.map_or_else(Vec::new, |node| node.folder.roles.clone());
        let before = if anew { Vec::new() } else { had.clone() };
        let path = match known {
            Some(node) if !anew => node.folder.path.clone(),
            _ => path,
        };
        let added: Vec<Role> = roles
            .into_iter()
            .filter(|role| !before.contains(role))
            .collect();
        if added.is_empty() && !scope.existing.in_known() {
            return;
        }
        let look_for = if scope.existing.in_known() && added.is_empty() {
            before.clone()
        } else {
            added.clone()
        };
        let old_tree = if moved {
            self.tree.with_all_below(id)
        } else {
            Vec::new()
        };
        if known.is_none() {
            self.problems.solved(&path);
        }
        let folder = self.folder(id, dir, path, [before, added].concat(), scope);
        if moved || !self.tree.renew(&folder, self.walk) {
            self.tree.add(Node {
                folder: folder.clone(),
                watch,
                parent,
                below: HashSet::new(),
                walk: self.walk,
                private: scope.private,
            });
        }
        (self.tell)(News::Watched(folder.clone()));
        self.descend(&folder, dir, (&look_for, &had), None, scope);
        // Folders that were below it, and were not found under the new path, have been moved
        // elsewhere.
        for below in old_tree {
            if self.tree.get(below).is_some_and(|n| n.walk != self.walk) {
                self.forget_one(below);
            }
        }
    }

    fn too_many(&self, roles: &[Role]) -> Option<Problem> {
        match &roles.first()?.watched().target {
            Target::Rule(rule) if self.tree.share(roles) >= MOST_FOLDERS => {
                Some(Problem::TooMany(rule.name.clone()))
            }
            Target::Rule(_) | Target::Change(_) => None,
        }
    }

    /// The folder as the engine's thread needs it.
    fn folder(
        &mut self,
        id: FolderId,
        dir: &Dir,
        path: PathBuf,
        roles: Vec<Role>,
        scope: Scope,
    ) -> Arc<Folder> {
        let known = self.tree.get(id).map(|node| node.folder.clone());
        let ends_here = |role: &Role| matches!(role, Role::Leaf { watched, depth: 0 } if matches!(watched.target, Target::Rule(_)));
        let keep_open =
            scope.private || self.tree.open() < MOST_OPEN && roles.iter().any(ends_here);
        let kept = known.as_ref().and_then(|folder| folder.dir.clone());
        let dup = || dir.fd.try_clone().ok().map(Arc::new);
        let mut folder = Folder {
            id,
            inode: dir.inode,
            path,
            dir: kept.or_else(|| keep_open.then(dup).flatten()),
            roles,
            staging: known.and_then(|folder| folder.staging.clone()),
        };
        if folder.holds_candidates() && folder.staging.is_none() {
            let made = self
                .stagings
                .for_folder(dir.fd.as_fd(), &folder.path, &self.plan.library);
            match made {
                Ok(staging) => folder.staging = Some(staging),
                Err(e) => tracing::info!("{e}: files there are held by descriptor only"),
            }
        }
        Arc::new(folder)
    }

    /// Looks for what `roles` want in a watched folder: folders to enter, and files that were there
    /// before the watch was; `had` are those that it was watched for already. With `only`, that name
    /// alone.
    fn descend(
        &mut self,
        folder: &Folder,
        dir: &Dir,
        (roles, had): (&[Role], &[Role]),
        only: Option<&OsStr>,
        scope: Scope,
    ) {
        let mut listing = None;
        let mut children: BTreeMap<OsString, Child> = BTreeMap::new();
        for role in roles {
            // The next folder of a pattern: by its name, or each whose name matches.
            if let Some(component) = role.component() {
                match (component, only) {
                    (Component::Literal(name), only) if only.is_none_or(|only| only == name) => {
                        add(&mut children, name, role, true);
                    }
                    (Component::Glob(glob), Some(name)) if glob.matches(name) => {
                        add(&mut children, name, role, false);
                    }
                    (Component::Glob(glob), None) => {
                        let entries = listing.get_or_insert_with(|| list(dir));
                        for (name, is_folder) in entries.iter() {
                            if *is_folder && glob.matches(name) {
                                add(&mut children, name, role, false);
                            }
                        }
                    }
                    _ => {}
                }
                continue;
            }
            // A pattern's end, or below it: all folders of a recursive rule, and the files.
            let Role::Leaf { watched, depth } = role else {
                continue;
            };
            let deeper = watched.recursive && *depth < MAX_DEPTH;
            if let Some(name) = only {
                if deeper {
                    add(&mut children, name, role, false);
                }
                continue;
            }
            let is_new = !had.contains(role);
            let wants_files = match (&watched.target, scope.existing) {
                (_, Existing::None) => false,
                (Target::Change(_), _) => is_new,
                (Target::Rule(_), existing) => is_new || existing.in_known(),
            };
            if !deeper && !wants_files {
                continue;
            }
            for (name, is_folder) in listing.get_or_insert_with(|| list(dir)).iter() {
                match watched.target {
                    Target::Change(change) if wants_files && watched.names.matches(name) => {
                        (self.tell)(News::Changed(change));
                    }
                    Target::Rule(_) if *is_folder && deeper => {
                        add(&mut children, name, role, false);
                    }
                    Target::Rule(_) if !is_folder && wants_files && watched.names.matches(name) => {
                        self.found(folder.id, dir, name, scope.existing.since());
                    }
                    _ => {}
                }
            }
        }
        for (name, child) in children {
            if name.as_bytes().starts_with(staging::PREFIX.as_bytes()) {
                continue;
            }
            match dir.enter(&name, child.named) {
                Ok(entered) => self.enter(&entered, Some(folder.id), child.roles, scope),
                Err(refusal) => {
                    let path = folder.path.join(&name);
                    self.problems.refused(path, refusal, child.named);
                }
            }
        }
    }

    /// A file that is there; with `since`, only if it was made since then.
    fn found(&self, folder: FolderId, dir: &Dir, name: &OsStr, since: Option<SystemTime>) {
        let young = |since| born(&dir.fd, name).is_ok_and(|born| born >= since);
        if since.is_none_or(young) {
            let name = name.to_owned();
            (self.tell)(News::Found(FoundFile { folder, name }));
        }
    }

    /// What a crash, or the last end, left in staging.
    fn leftovers(&mut self) {
        let leaves = self.tree.iter().filter(|n| n.folder.holds_candidates());
        let folders: Vec<PathBuf> = leaves.map(|n| n.folder.path.clone()).collect();
        for left in self.stagings.leftovers(&self.plan.library, &folders) {
            let known = self.plan.rules.iter().find(|r| r.name == left.origin.rule);
            let rule = known
                .cloned()
                .unwrap_or_else(|| Arc::new(Rule::named(&left.origin.rule)));
            let source = self.origin(&rule, &left).join(&left.origin.name);
            (self.tell)(News::Leftover(left, rule, source));
        }
    }

    /// The folder that a staged file came from: the one where it still lies, else one that has a
    /// file of its name, else the only one of its rule.
    fn origin(&self, rule: &Rule, left: &Leftover) -> PathBuf {
        let name = &left.origin.name;
        let of_rule = |folder: &&Arc<Folder>| matches!(folder.target(name), Some(Target::Rule(r)) if r.name == rule.name);
        let folders: Vec<_> = self
            .tree
            .iter()
            .map(|n| &n.folder)
            .filter(of_rule)
            .collect();
        let there = |folder: &Folder| {
            let dir = folder.open().ok()?;
            let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some(Inode::from(&stat))
        };
        let mut named = None;
        for folder in &folders {
            match there(folder) {
                Some(inode) if inode == left.inode => return folder.path.clone(),
                Some(_) => named = named.or(Some(folder)),
                None => {}
            }
        }
        match (named, &folders[..]) {
            (Some(folder), _) | (None, [folder]) => folder.path.clone(),
            _ => {
                let first = rule.folders.first().filter(|folder| !folder.contains('*'));
                first.map(PathBuf::from).unwrap_or_default()
            }
        }
    }
}

/// A folder to enter, and its roles. It is `named` if a pattern has its name, and not only a glob
/// that matches.
#[derive(Default)]
struct Child {
    roles: Vec<Role>,
    named: bool,
}

fn add(children: &mut BTreeMap<OsString, Child>, name: &OsStr, role: &Role, named: bool) {
    let child = children.entry(name.to_owned()).or_default();
    child.roles.push(role.below());
    child.named |= named;
}

/// A watched folder, if it is where it was.
fn open(folder: &Folder) -> Option<Dir> {
    match &folder.dir {
        Some(dir) => Dir::admit(Access::Ours, dir.try_clone().ok()?).ok(),
        None => Dir::resolve(&folder.path)
            .ok()
            .filter(|dir| dir.inode == folder.inode),
    }
}

/// Names in a folder, and whether each is a folder.
fn list(dir: &Dir) -> Vec<(OsString, bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = openat(&dir.fd, ".", flags, Mode::empty()) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(Ok(entry)) = entries.next() {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        // Some file systems don't say (readdir(3), DT_UNKNOWN).
        let is_folder = match entry.file_type() {
            FileType::Unknown => statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory),
            kind => kind == FileType::Directory,
        };
        names.push((name.to_owned(), is_folder));
    }
    names
}
