//! Videos that are not whole: a folder of their own, for some days.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    folder::{INCOMPLETE, PlaceError},
    shelf::LibraryFile,
};

/// The folder of the incomplete ones; made if it is not there. The library itself is not made, see
/// [`place::prepare`](super::place::prepare).
///
/// # Errors
/// That it can't be made.
pub fn folder(library: &Path) -> Result<PathBuf, PlaceError> {
    let folder = library.join(INCOMPLETE);
    match std::fs::create_dir(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(PlaceError::new("make a folder", library, e))
        }
        _ => Ok(folder),
    }
}

/// Those that have been there for `days`, counted from their last change. Only files in `saved` are
/// ours to remove (see [`History::saved`](super::history::History::saved)): what the user puts into
/// the folder stays.
pub fn expired<'a>(
    videos: &'a [LibraryFile],
    saved: &HashSet<PathBuf>,
    days: u32,
    now: SystemTime,
) -> Vec<&'a LibraryFile> {
    deadlines(videos, saved, days)
        .filter(|(_, deadline)| *deadline <= now)
        .map(|(video, _)| video)
        .collect()
}

/// When the next one leaves: the time to look again. `None` if there is none.
pub fn next_expiry(
    videos: &[LibraryFile],
    saved: &HashSet<PathBuf>,
    days: u32,
) -> Option<SystemTime> {
    deadlines(videos, saved, days)
        .map(|(_, deadline)| deadline)
        .min()
}

fn deadlines<'a>(
    videos: &'a [LibraryFile],
    saved: &HashSet<PathBuf>,
    days: u32,
) -> impl Iterator<Item = (&'a LibraryFile, SystemTime)> {
    let kept = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    videos
        .iter()
        .filter(|video| !video.whole && saved.contains(&video.path))
        .map(move |video| {
            let since = Duration::from_secs(u64::try_from(video.modified.0).unwrap_or(0));
            (video, SystemTime::UNIX_EPOCH + since + kept)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode::Inode;

    fn video(name: &str, modified: i64, whole: bool) -> LibraryFile {
        let id = Inode { dev: 1, ino: 1 };
        LibraryFile {
            path: name.into(),
            id,
            bytes: 1,
            modified: (modified, 0),
            accessed: (0, 0),
            whole,
        }
    }

    #[test]
    fn they_leave_after_some_days() {
        const DAY: i64 = 24 * 60 * 60;
        let videos = [
            video("new", 5 * DAY, false),
            video("old", DAY, false),
            video("mine", 0, false),
            video("whole", 0, true),
        ];
        let saved = ["new", "old", "whole"].map(PathBuf::from).into();
        let at = |days: i64| SystemTime::UNIX_EPOCH + Duration::from_secs((days * DAY) as u64);
        for (days, now, leave) in [
            (7, 7, vec![]),
            (7, 8, vec!["old"]),
            (7, 12, vec!["new", "old"]),
            (0, 1, vec!["old"]),
            (u32::MAX, 9999, vec![]),
        ] {
            let left = expired(&videos, &saved, days, at(now));
            let left: Vec<_> = left
                .iter()
                .map(|video| video.path.to_str().unwrap())
                .collect();
            assert_eq!(left, leave, "{days} days, day {now}");
        }
        assert_eq!(next_expiry(&videos, &saved, 7), Some(at(8)));
        assert_eq!(next_expiry(&videos[2..], &saved, 7), None);
    }

    #[test]
    fn the_folder_is_made_but_not_the_library() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(folder(dir.path()).unwrap(), dir.path().join(INCOMPLETE));
        assert!(folder(dir.path()).unwrap().is_dir());
        assert!(matches!(
            folder(&dir.path().join("gone")),
            Err(PlaceError::Missing { .. })
        ));
    }
}
