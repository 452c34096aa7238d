//! `fisga discard`: a saved video goes to the trash.

use std::{
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{Outcome, text};
use crate::{
    config::Environment,
    library::history::{self, History},
};

/// Why a file was not discarded.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    /// `LAST`, and nothing that was saved is there.
    #[error("nothing that was saved is there any more")]
    Nothing,
    /// It can't be found.
    #[error("{}", path.display())]
    Find {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It isn't ours to throw away.
    #[error("{} is not a file in the library {}", path.display(), library.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The library.
        library: PathBuf,
    },
    /// The trash doesn't take it.
    #[error("{} can't be put into the trash", path.display())]
    Trash {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: trash::Error,
    },
}

/// Discards the newest saved video that is still there (`LAST`), or a file in the library, and prints its path.
///
/// # Errors
/// A [`DiscardError`], a history that can't be read, or an `out` that can't be written.
pub fn run(what: &Path, library: &Path, env: &Environment, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let path = if what == OsStr::new("LAST") { last(env)? } else { what.to_owned() };
    let path = discard(&path, library)?;
    writeln!(out, "{}", text::one_line(&path.to_string_lossy()))?;
    Ok(Outcome::Good)
}

fn last(env: &Environment) -> anyhow::Result<PathBuf> {
    let is_there = |entry: &history::Entry| {
        entry.outcome == history::Outcome::Saved && entry.file().is_some_and(|path| path.is_file())
    };
    let entry = History::open(&env.history_file())?.newest(is_there)?;
    Ok(entry.and_then(|entry| entry.file()).ok_or(DiscardError::Nothing)?)
}

/// Puts a regular file in the library into the trash (FreeDesktop.org Trash specification); returns its full path.
///
/// # Errors
/// When it isn't there, isn't in the library, or the trash doesn't take it.
pub fn discard(path: &Path, library: &Path) -> Result<PathBuf, DiscardError> {
    let find = |path: &Path| {
        let path = path.to_owned();
        |source| DiscardError::Find { path, source }
    };
    let full = path.canonicalize().map_err(find(path))?;
    let root = library.canonicalize().map_err(find(library))?;
    // A link in the library leads elsewhere; what it leads to isn't ours.
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    if !is_file || !full.starts_with(&root) {
        return Err(DiscardError::Foreign { path: path.to_owned(), library: library.to_owned() });
    }
    trash::delete(&full).map_err(|source| DiscardError::Trash { path: full.clone(), source })?;
    Ok(full)
}
