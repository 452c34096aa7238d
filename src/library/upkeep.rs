//! Moves files from the library to the trash without being asked: for their age, or for room. Each
//! move is reported before it is made.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    history::{self, History},
    incomplete,
    room::{self, Disk},
    shelf::{self, LibraryFile},
    trash,
};
use crate::units::Size;

/// Moves the oldest files that were never opened to the trash, until `need` more bytes fit into a
/// library of `max`. Each move is reported by `tell`, in a sentence for the user, before it is
/// made. See [`room`] for what counts.
///
/// # Errors
/// That the history can't be read: then nobody knows which files are ours, and none is moved.
pub fn keep_below(
    library: &Path,
    history: &History,
    max: u64,
    need: u64,
    tell: &mut dyn FnMut(String),
) -> Result<(), history::HistoryError> {
    let videos = shelf::videos(library);
    // The history may be long, and mostly the library is small enough.
    if videos
        .iter()
        .fold(need, |sum, video| sum.saturating_add(video.bytes))
        <= max
    {
        return Ok(());
    }
    let disk = Disk::of(library).unwrap_or(Disk {
        free: 0,
        records_opened: false,
    });
    let plan = room::plan(&videos, &history.saved()?, disk, max, need);
    if !plan.trash.is_empty() {
        tell(format!(
            "the library would be larger than {}: what was never opened goes to the trash, the oldest first: {}",
            Size(max),
            names(plan.trash.iter())
        ));
    }
    for video in &plan.trash {
        remove(&video.path, tell);
    }
    if plan.over > 0 {
        let why = if disk.records_opened {
            "the rest was opened"
        } else {
            "its disk doesn't record what was opened"
        };
        tell(format!(
            "the library is larger than {}, and nothing more can leave it: {why}",
            Size(max)
        ));
    }
    Ok(())
}

/// Moves the incomplete files that have been there for `days` to the trash; returns when the next
/// one is due.
///
/// # Errors
/// As [`keep_below`].
pub fn expire(
    library: &Path,
    history: &History,
    days: u32,
    now: SystemTime,
    tell: &mut dyn FnMut(String),
) -> Result<Option<SystemTime>, history::HistoryError> {
    let videos = shelf::videos(library);
    if videos.iter().all(|video| video.whole) {
        return Ok(None);
    }
    let saved = history.saved()?;
    let expired = incomplete::expired(&videos, &saved, days, now);
    if !expired.is_empty() {
        let names = names(expired.iter().copied());
        tell(format!(
            "incomplete for {days} days, and now going to the trash: {names}"
        ));
    }
    for video in &expired {
        remove(&video.path, tell);
    }
    let stay: Vec<_> = videos
        .iter()
        .filter(|video| !expired.contains(video))
        .cloned()
        .collect();
    Ok(incomplete::next_expiry(&stay, &saved, days))
}

/// Moves the unfinished copies of a video to the trash that a whole one has replaced (see
/// [`duplicate::Judgement::Replaces`](super::duplicate::Judgement::Replaces)).
pub fn replaced(paths: &[PathBuf], tell: &mut dyn FnMut(String)) {
    for path in paths {
        remove(path, tell);
    }
}

fn remove(path: &Path, tell: &mut dyn FnMut(String)) {
    if let Err(e) = trash::trash(path) {
        tell(e.to_string());
    }
}

/// The first names, and how many more there are.
fn names<'a>(videos: impl ExactSizeIterator<Item = &'a LibraryFile>) -> String {
    const SHOWN: usize = 3;
    let more = videos.len().saturating_sub(SHOWN);
    let names: Vec<_> = videos
        .take(SHOWN)
        .filter_map(|video| video.path.file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let names = names.join(", ");
    if more > 0 {
        format!("{names} and {more} more")
    } else {
        names
    }
}
