//! What takes its time and may wait, on a thread of its own: closing a big file frees its content,
//! and so does removing its last name; starting the keeper takes milliseconds.

use std::{
    ffi::OsString,
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
};

use super::{
    descriptors::OpenFile,
    hold::{Hold, HoldId},
    keeper::Keeper,
    staging::Staged,
};

/// Something that may wait.
pub(crate) enum Chore {
    /// Closes a file.
    Close(OpenFile),
    /// Removes a link that nobody needs.
    Remove(Staged),
    /// Has a file without a name kept beside our own descriptor.
    Keep {
        id: HoldId,
        file: Arc<File>,
        staged: OsString,
        source: PathBuf,
        /// Where it may be put, the library first.
        places: Vec<PathBuf>,
    },
    /// Lets a held file go.
    Release(Arc<Hold>),
    End,
}

/// The sending side.
#[derive(Clone)]
pub(crate) struct Chores(Sender<Chore>);

impl Chores {
    pub(crate) fn new(sender: Sender<Chore>) -> Self {
        Self(sender)
    }

    pub(crate) fn send(&self, chore: Chore) {
        if self.0.send(chore).is_err() {
            tracing::error!("the thread for chores has ended");
        }
    }
}

/// The thread. It ends when it has done all that it was given, and calls `ended` then.
pub(crate) fn run(chores: &Receiver<Chore>, mut keeper: Keeper, ended: impl FnOnce()) {
    while let Ok(chore) = chores.recv() {
        match chore {
            Chore::Close(file) => drop(file),
            Chore::Remove(staged) => {
                let _ = staged.staging.remove(&staged.name);
            }
            Chore::Keep {
                id,
                file,
                staged,
                source,
                places,
            } => {
                if let Err(e) = keeper.keep(id, &file, &staged, &places) {
                    tracing::warn!("{}: it would not survive a crash: {e}", source.display());
                }
            }
            Chore::Release(hold) => {
                hold.release();
                if hold.staged().is_none() {
                    keeper.drop(hold.id);
                }
            }
            Chore::End => break,
        }
    }
    keeper.end();
    ended();
}
