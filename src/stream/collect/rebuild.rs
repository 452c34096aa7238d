//! Puts videos together from a cache that exists already, in the same way as from held entries.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use super::{Collector, HeldEntry, Limits, Outcome, video::CachedVideo};
use crate::{
    rule::Source,
    stream::{
        Storage,
        cache::{chromium, firefox},
    },
};

/// Folders below the given one that are looked into: a browser's folder has its caches four levels
/// down.
const DEPTH: usize = 8;

/// What a cache holds.
#[derive(Debug, Default)]
pub struct CacheContents {
    /// Entries that were looked at.
    pub entries: usize,
    /// Videos that could be put together, the newest last.
    pub videos: Vec<CachedVideo>,
    /// Videos that are left alone: address and reason.
    pub dropped: Vec<(String, String)>,
}

/// Looks through a cache, or all caches below a folder. `progress` is called with the number of
/// entries done and of all entries.
///
/// # Errors
/// When `folder` itself can't be read; what lies below and can't is passed over.
pub fn scan(
    folder: &Path,
    limits: Limits,
    progress: &mut dyn FnMut(usize, usize),
) -> io::Result<CacheContents> {
    let mut files = Vec::new();
    walk(folder, DEPTH, &mut files)?;
    // The browser's order: a later version of an answer counts.
    files.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut collector = Collector::new(limits);
    let now = Instant::now();
    for (n, (_, path, format)) in files.iter().enumerate() {
        progress(n, files.len());
        let storage = Storage::path(path.as_path());
        collector.entry(
            &HeldEntry {
                id: n as u64,
                source: path,
                format: *format,
                storage,
                spool: None,
            },
            now,
        );
    }
    progress(files.len(), files.len());
    let mut found = CacheContents {
        entries: files.len(),
        ..CacheContents::default()
    };
    for outcome in collector.finish(now) {
        match outcome {
            Outcome::Video(video) => found.videos.push(*video),
            Outcome::Dropped { url, reason, .. } => found.dropped.push((url, reason)),
            Outcome::Release(_) => {}
        }
    }
    Ok(found)
}

/// Cache entries by the time of their last change; symbolic links are not followed.
fn walk(
    folder: &Path,
    depth: usize,
    files: &mut Vec<(SystemTime, PathBuf, Source)>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && depth > 0 {
            if let Err(e) = walk(&path, depth - 1, files) {
                tracing::info!("{}: {e}", path.display());
            }
        } else if kind.is_file() {
            let format = match (chromium::part(&path), firefox::is_entry(&path)) {
                (Some(_), _) => Source::Chromium,
                (None, true) => Source::Firefox,
                (None, false) => continue,
            };
            let changed = entry
                .metadata()
                .and_then(|m| m.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((changed, path, format));
        }
    }
    Ok(())
}
