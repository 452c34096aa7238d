//! One fisga for each user: a lock that the kernel gives back when its holder ends, however it
//! ends.
//!
//! The bus name would do where there is a bus. The lock is taken in any case: a bus may come later,
//! and then two would hold the same files.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use directories::{BaseDirs, ProjectDirs};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// Why the lock could not even be asked for.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// There is neither a runtime folder nor a home.
    #[error("there is no folder for the lock: neither XDG_RUNTIME_DIR nor HOME is set")]
    NoFolder,
    /// The lock file could not be opened or locked.
    #[error("can't lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Who has the lock.
#[derive(Debug)]
pub enum Claim {
    /// We have, until this value is dropped.
    Ours(Lock),
    /// Another process has.
    Taken {
        /// Its id, if it has written it down by now.
        pid: Option<u32>,
    },
}

/// The lock, held.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// `fisga.lock` in the runtime folder (XDG Base Directory Specification), else in the state folder.
///
/// # Errors
/// [`InstanceError::NoFolder`]
pub fn lock_path() -> Result<PathBuf, InstanceError> {
    let base = BaseDirs::new().ok_or(InstanceError::NoFolder)?;
    let runtime = base
        .runtime_dir()
        .filter(|dir| dir.is_dir())
        .map(Path::to_owned);
    let state =
        || ProjectDirs::from("", "", "fisga").and_then(|dirs| dirs.state_dir().map(Path::to_owned));
    Ok(runtime
        .or_else(state)
        .ok_or(InstanceError::NoFolder)?
        .join("fisga.lock"))
}

/// Takes the lock, or returns who has it.
///
/// # Errors
/// [`InstanceError`]
pub fn claim() -> Result<Claim, InstanceError> {
    claim_at(&lock_path()?)
}

/// [`claim`] with the lock file named.
///
/// # Errors
/// [`InstanceError::Lock`]
pub fn claim_at(path: &Path) -> Result<Claim, InstanceError> {
    let failed = |source| InstanceError::Lock {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let write = |file: &mut File| {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())
            };
            write(&mut file).map_err(failed)?;
            Ok(Claim::Ours(Lock { _file: file }))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            Ok(Claim::Taken {
                pid: text.trim().parse().ok(),
            })
        }
        Err(e) => Err(failed(e.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_the_next_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/fisga.lock");
        let Claim::Ours(first) = claim_at(&path).unwrap() else {
            panic!("free")
        };
        let Claim::Taken { pid } = claim_at(&path).unwrap() else {
            panic!("taken")
        };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        assert!(matches!(claim_at(&path).unwrap(), Claim::Ours(_)));
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fisga.lock");
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(matches!(claim_at(&path), Err(InstanceError::Lock { .. })));
        assert!(!dir.path().join("elsewhere").exists());
    }
}
