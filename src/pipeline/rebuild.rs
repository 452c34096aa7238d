//! `fisga rebuild`: puts videos together from a browser's cache as it is, and saves them as if they
//! had been held while they played.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, mpsc},
};

use super::{Store, chain, joined::Arrival, limits, saver::Saver};
use crate::{
    config::Settings,
    event::Event,
    library::{folder::PlaceError, place},
    stream::collect::{
        rebuild::{self, CacheContents},
        video::CachedVideo,
    },
};

/// Why a cache was not rebuilt, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The folder can't be read.
    #[error("{}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing in it is a cache entry.
    #[error("{}: no cache entries of Chromium or Firefox are here or below", path.display())]
    NoCache {
        /// The folder.
        path: PathBuf,
    },
    /// The library can't be made.
    #[error(transparent)]
    Library(#[from] PlaceError),
    /// The library takes no more. The reason was reported as an event.
    #[error("not saved: {left} videos")]
    Stopped {
        /// How many.
        left: usize,
    },
}

/// Looks through `folder` and all below it; `progress` is called with the number of entries done
/// and of all entries.
///
/// # Errors
/// When the folder can't be read, when no cache is there.
pub fn look(
    folder: &Path,
    settings: &Settings,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<CacheContents, RebuildError> {
    let found =
        rebuild::scan(folder, limits(settings), progress).map_err(|source| RebuildError::Read {
            path: folder.to_owned(),
            source,
        })?;
    if found.entries == 0 {
        return Err(RebuildError::NoCache {
            path: folder.to_owned(),
        });
    }
    Ok(found)
}

/// Saves videos that were found. `tell` is called with what came of each.
///
/// # Errors
/// When the library can't be made, or can take no more.
pub fn save(
    videos: Vec<CachedVideo>,
    settings: Settings,
    store: Store,
    mut tell: impl FnMut(Event),
) -> Result<(), RebuildError> {
    if !videos.is_empty() {
        place::prepare(&settings.library)?;
    }
    let (send, events) = mpsc::channel();
    let sink = Box::new(move |event| drop(send.send(event)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut saver = Saver::new(Arc::new(settings), store, stop, sink);
    let mut videos = videos.into_iter();
    while let Some(video) = videos.next() {
        let arrival = Arrival::unwatched(&video);
        let saved = saver.stream(&video, &arrival);
        if let Err(e) = &saved {
            match e.retry() {
                true => saver.fail(chain(e)),
                false => saver.drop_source(&video.folder, &arrival.rule, chain(e)),
            }
        }
        events.try_iter().for_each(&mut tell);
        if saved.is_err_and(|e| e.retry()) {
            return Err(RebuildError::Stopped {
                left: 1 + videos.len(),
            });
        }
    }
    Ok(())
}
