//! What is not held yet: hidden files that are searched for, and files that wait for a descriptor.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    path::PathBuf,
    sync::Arc,
};

use super::super::{rescue::Ticket, staging::Staging, watch::FolderId};
use crate::rule::Rule;

/// A file whose name was gone before we had a link.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) source: PathBuf,
    pub(super) rule: Arc<Rule>,
    pub(super) staging: Option<Arc<Staging>>,
}

/// Everything that is not held yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    count: u64,
    searched: HashMap<Ticket, Searched>,
    /// Files that can't be linked, and for which there was no descriptor, by their names.
    unopened: VecDeque<(FolderId, OsString)>,
}

impl Pending {
    pub(super) fn search(&mut self, file: Searched) -> Ticket {
        self.count += 1;
        let ticket = Ticket(self.count);
        self.searched.insert(ticket, file);
        ticket
    }

    /// The search has ended.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Searched> {
        self.searched.remove(&ticket)
    }

    /// The file that was created there has been found in another way.
    pub(super) fn found(&mut self, source: &PathBuf) {
        self.searched
            .retain(|_, searched| searched.source != *source);
    }

    pub(super) fn queue(&mut self, folder: FolderId, name: OsString) {
        self.unopened.push_back((folder, name));
    }

    /// What waits for a descriptor, the longest wait first.
    pub(super) fn next_unopened(&mut self) -> Option<(FolderId, OsString)> {
        self.unopened.pop_front()
    }

    pub(super) fn unopened(&self) -> usize {
        self.unopened.len()
    }
}
