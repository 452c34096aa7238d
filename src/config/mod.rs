//! The configuration: what may be set, and what is in force.

use std::{path::PathBuf, time::Duration};

use crate::{library::name::Template, rule::Rule};

/// What is in force: every value checked, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where finished videos go.
    pub library: PathBuf,
    /// How they are named.
    pub name: Template,
    /// Which files concern us: the shipped rules with the user's changes, enabled ones only.
    pub rules: Vec<Rule>,
    /// Smaller files are dropped, in bytes.
    pub min_size: u64,
    /// Shorter ones are dropped.
    pub min_duration: Duration,
    /// What becomes of a file that is not whole.
    pub incomplete: Incomplete,
    /// Days after which an incomplete file leaves.
    pub incomplete_days: u32,
    /// Whether sound without pictures is kept.
    pub audio: bool,
    /// What becomes of videos from private windows.
    pub private: Private,
    /// Which kinds of sources are watched.
    pub sources: Sources,
    /// Whether popups are shown.
    pub notifications: bool,
    /// Whether thumbnails are made.
    pub thumbnails: bool,
    /// Whether page addresses may stand in the history.
    pub addresses: bool,
    /// Most bytes that the library may hold.
    pub max_library: Option<u64>,
    /// Bytes to leave free on the library's disk.
    pub min_free: u64,
}

/// What becomes of a file that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// It goes to `Incomplete/` in the library.
    Keep,
    /// It is dropped.
    Drop,
}

/// What becomes of videos from private windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Private {
    /// They are dropped.
    Skip,
    /// They are saved as any other.
    Keep,
}

/// Which kinds of sources are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Players' temporary files.
    pub temporary_files: bool,
    /// Browsers' disk caches.
    pub browser_cache: bool,
}
