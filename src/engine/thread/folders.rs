//! The watched folders, as far as this thread has heard of them.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    sync::{Arc, mpsc::Sender},
};

use inotify::EventMask;

use super::super::watch::{Folder, FolderId, WalkRequest};

/// Events of folders that are not known yet are kept up to this number, as many as the kernel keeps
/// (inotify(7), `max_queued_events`).
const MOST_EARLY: usize = 16_384;

/// An event in a folder.
#[derive(Debug)]
pub(super) struct EarlyEvent {
    folder: FolderId,
    pub(super) mask: EventMask,
    pub(super) name: Option<OsString>,
}

/// Watched folders, and walks under way.
pub(super) struct Folders {
    by_id: HashMap<FolderId, Arc<Folder>>,
    walker: Sender<WalkRequest>,
    /// Requests that are not answered.
    walking: usize,
    /// Events of folders that the walk under way watches, but has not reported.
    early: Vec<EarlyEvent>,
}

impl Folders {
    pub(super) fn new(walker: Sender<WalkRequest>) -> Self {
        Self {
            by_id: HashMap::new(),
            walker,
            walking: 0,
            early: Vec::new(),
        }
    }

    pub(super) fn get(&self, id: FolderId) -> Option<&Arc<Folder>> {
        self.by_id.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Folder>> {
        self.by_id.values()
    }

    pub(super) fn ask(&mut self, request: WalkRequest) {
        match self.walker.send(request) {
            Ok(()) => self.walking += 1,
            Err(_) => tracing::error!("the thread that walks folders has ended"),
        }
    }

    pub(super) fn is_walking(&self) -> bool {
        self.walking > 0
    }

    /// Keeps an event of a folder that isn't known, while a walk may yet report the folder. False
    /// when there are too many of them.
    pub(super) fn keep_early(
        &mut self,
        folder: FolderId,
        mask: EventMask,
        name: Option<&OsStr>,
    ) -> bool {
        if !self.is_walking() {
            return true;
        }
        if self.early.len() == MOST_EARLY {
            self.early.clear();
            return false;
        }
        let name = name.map(OsStr::to_owned);
        self.early.push(EarlyEvent { folder, mask, name });
        true
    }

    /// A folder is watched. Returns its events so far.
    pub(super) fn watched(&mut self, folder: Arc<Folder>) -> Vec<EarlyEvent> {
        let id = folder.id;
        self.by_id.insert(id, folder);
        self.early
            .extract_if(.., |event| event.folder == id)
            .collect()
    }

    pub(super) fn forgotten(&mut self, id: FolderId) {
        self.by_id.remove(&id);
    }

    /// A request was answered.
    pub(super) fn walked(&mut self) {
        self.walking = self.walking.saturating_sub(1);
        if self.walking == 0 {
            self.early.clear();
        }
    }
}
