//! To the trash, by the freedesktop.org Trash specification; it needs no desktop.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use super::history::{self, History};

/// Why a file was not discarded.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    /// Nothing was saved yet.
    #[error("nothing was saved yet")]
    NothingSaved,
    /// It is not there, or can't be looked at.
    #[error("{} can't be discarded", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is none of ours.
    #[error("{} is neither in the library nor known to the history: remove it by other means", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A folder, a link, a device.
    #[error("{} is no file", path.display())]
    NoFile {
        /// What it is called.
        path: PathBuf,
    },
    /// The disk that the file lies on has no trash and can't get one.
    #[error("{} can't be moved to the trash: {reason}", path.display())]
    Trash {
        /// The file, which is still there.
        path: PathBuf,
        /// What the trash said.
        reason: String,
    },
    /// The history can't be read.
    #[error(transparent)]
    History(#[from] history::HistoryError),
}

/// Moves a file to the trash of the disk that it lies on, else to the user's.
///
/// # Errors
/// [`DiscardError::Trash`]; the file is still there.
pub fn trash(path: &Path) -> Result<(), DiscardError> {
    trash::delete(path).map_err(|e| {
        let reason = match e {
            trash::Error::FileSystem { path, source } => format!("{}: {source}", path.display()),
            trash::Error::Unknown { description } | trash::Error::Os { description, .. } => {
                description
            }
            e => e.to_string(),
        };
        DiscardError::Trash {
            path: path.to_owned(),
            reason,
        }
    })
}

/// `fisga discard LAST|FILE`: moves the file that was saved last, or the one named, to the trash.
/// `FILE` is a path, or a name in the library. Returns where it was.
///
/// # Errors
/// See [`DiscardError`]. Only regular files in the library, or ones that the history says were saved, are
/// touched. `LAST` that is gone is an error, and not the one before.
pub fn discard(target: &OsStr, library: &Path, history: &History) -> Result<PathBuf, DiscardError> {
    let path = if target == "LAST" {
        history
            .last_saved()?
            .and_then(|entry| entry.path)
            .ok_or(DiscardError::NothingSaved)?
    } else {
        named(target, library)?
    };
    let missing = |source| DiscardError::Missing {
        path: path.clone(),
        source,
    };
    if !fs::symlink_metadata(&path).map_err(missing)?.is_file() {
        return Err(DiscardError::NoFile { path });
    }
    let real = fs::canonicalize(&path).map_err(missing)?;
    let in_library = fs::canonicalize(library).is_ok_and(|library| real.starts_with(library));
    if !in_library && !history.saved()?.contains(&real) {
        return Err(DiscardError::NotOurs { path });
    }
    trash(&real)?;
    Ok(path)
}

/// A name without folders is looked for in the library, unless it is here.
fn named(target: &OsStr, library: &Path) -> Result<PathBuf, DiscardError> {
    let path = PathBuf::from(target);
    let bare = path.file_name().map(OsStr::to_owned) == Some(OsString::from(target));
    if bare && fs::symlink_metadata(&path).is_err() {
        return Ok(library.join(path));
    }
    std::path::absolute(&path).map_err(|source| DiscardError::Missing { path, source })
}
