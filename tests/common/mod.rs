//! What the integration tests share: a home of their own, fisga as a process, a slow web server,
//! real players, and media made by ffmpeg.
//!
//! Nothing here waits for a fixed time: every wait is for an event, and bounded. Whatever a test
//! starts is ended by its process id when the value is dropped. A part that is missing on the
//! machine is a failure that names its Debian package.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test uses its part of it"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

pub mod browser;
pub mod cache;
pub mod desktop;
pub mod media;
pub mod namespace;
pub mod page;
pub mod process;
pub mod producer;
pub mod sandbox;
pub mod server;
#[cfg(feature = "tray")]
pub mod session;
pub mod sound;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where a program lies.
///
/// # Panics
/// If it is not installed; the message names the Debian package.
pub fn program(name: &str, package: &str) -> PathBuf {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: apt install {package}"))
}

/// Whether two files hold the same bytes.
pub fn same(a: &Path, b: &Path) -> bool {
    a.metadata().unwrap().len() == b.metadata().unwrap().len() && hash(a) == hash(b)
}

/// BLAKE3 of a file's content.
pub fn hash(path: &Path) -> blake3::Hash {
    let mut file = File::open(path).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf).unwrap() {
            0 => return hasher.finalize(),
            n => hasher.update(&buf[..n]),
        };
    }
}

/// All regular files below a folder, sorted; names that start with a dot are left out.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = folder.read_dir() else {
            continue;
        };
        for entry in entries.map(Result::unwrap) {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Waits for something to appear in a folder, told by the kernel.
pub struct Appearance {
    path: PathBuf,
    inotify: Inotify,
}

impl Appearance {
    /// The folder has to be there.
    pub fn watch(path: &Path) -> Self {
        let inotify = Inotify::init().unwrap();
        inotify
            .watches()
            .add(
                path.parent().unwrap(),
                WatchMask::CREATE | WatchMask::MOVED_TO,
            )
            .unwrap();
        Self {
            path: path.into(),
            inotify,
        }
    }

    /// # Panics
    /// If it doesn't in time.
    pub fn wait(mut self, what: &str, within: Duration) {
        let end = Instant::now() + within;
        while !self.path.exists() {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap();
            let ready = poll(
                &mut [PollFd::new(&self.inotify, PollFlags::IN)],
                Some(&left),
            )
            .unwrap();
            assert!(ready > 0, "{what}: not within {within:?}");
            self.inotify.read_events(&mut [0; 4096]).unwrap();
        }
    }
}

/// Waits until something is so, looking whenever something happens in a folder; false if it is not
/// after so long.
pub fn wait_until(within: Duration, folder: &Path, mut so: impl FnMut() -> bool) -> bool {
    let mut inotify = Inotify::init().unwrap();
    let mask = WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::MODIFY;
    inotify.watches().add(folder, mask).unwrap();
    let end = Instant::now() + within;
    while !so() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let left = Timespec::try_from(left).unwrap();
        poll(&mut [PollFd::new(&inotify, PollFlags::IN)], Some(&left)).unwrap();
        let _ = inotify.read_events(&mut [0; 4096]);
    }
    true
}
