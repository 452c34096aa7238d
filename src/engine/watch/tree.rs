//! The watched folders: which lies below which, how many each rule has, and how many are open.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use inotify::WatchDescriptor;

use super::folder::{Folder, FolderId, Role};

/// A watched folder and its place in the tree.
pub(super) struct Node {
    pub(super) folder: Arc<Folder>,
    pub(super) watch: WatchDescriptor,
    pub(super) parent: Option<FolderId>,
    pub(super) below: HashSet<FolderId>,
    /// The walk that came to it last.
    pub(super) walk: u64,
    /// It is a sandbox's.
    pub(super) private: bool,
}

/// All watched folders.
#[derive(Default)]
pub(super) struct Tree {
    nodes: HashMap<FolderId, Node>,
    /// How many folders count to each rule or other target, by its address.
    shares: HashMap<usize, usize>,
    open: usize,
}

impl Tree {
    pub(super) fn get(&self, id: FolderId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many folders are kept open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// How many folders count to the rule to which a folder with these roles would count.
    pub(super) fn share(&self, roles: &[Role]) -> usize {
        let share = owner(roles).and_then(|owner| self.shares.get(&owner));
        share.copied().unwrap_or_default()
    }

    /// A folder and all below it.
    pub(super) fn with_all_below(&self, id: FolderId) -> Vec<FolderId> {
        let mut all = vec![id];
        let mut next = 0;
        while let Some(id) = all.get(next) {
            if let Some(node) = self.nodes.get(id) {
                all.extend(&node.below);
            }
            next += 1;
        }
        all
    }

    /// Adds a folder. One that has another parent now keeps what is below it.
    pub(super) fn add(&mut self, mut node: Node) {
        let id = node.folder.id;
        if let Some(old) = self.remove(id) {
            node.below = old.below;
            (node.watch, node.private) = (old.watch, old.private);
        }
        self.count(&node.folder, true);
        if let Some(parent) = node.parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            parent.below.insert(id);
        }
        self.nodes.insert(id, node);
    }

    /// Puts `folder` in the place of its former state, where it is. False if it is not watched yet.
    pub(super) fn renew(&mut self, folder: &Arc<Folder>, walk: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&folder.id) else {
            return false;
        };
        let old = node.folder.clone();
        (node.folder, node.walk) = (folder.clone(), walk);
        self.count(&old, false);
        self.count(folder, true);
        true
    }

    /// Removes a folder; what is below it stays.
    pub(super) fn remove(&mut self, id: FolderId) -> Option<Node> {
        let node = self.nodes.remove(&id)?;
        self.count(&node.folder, false);
        if let Some(parent) = node.parent.and_then(|parent| self.nodes.get_mut(&parent)) {
            parent.below.remove(&id);
        }
        Some(node)
    }

    /// Counts a folder, or no longer, among its rule's and among the open ones.
    fn count(&mut self, folder: &Folder, add: bool) {
        let is_open = usize::from(folder.dir.is_some());
        let share = owner(&folder.roles).map(|owner| self.shares.entry(owner));
        match (add, share) {
            (true, Some(share)) => *share.or_default() += 1,
            (false, Some(Entry::Occupied(mut share))) if *share.get() > 1 => *share.get_mut() -= 1,
            (false, Some(Entry::Occupied(share))) => drop(share.remove()),
            (_, None) | (false, Some(Entry::Vacant(_))) => {}
        }
        match add {
            true => self.open += is_open,
            false => self.open -= is_open,
        }
    }
}

/// The rule or other target to whose share a folder counts, by its address.
fn owner(roles: &[Role]) -> Option<usize> {
    roles.first().map(|role| Arc::as_ptr(role.watched()).addr())
}
