//! What happened, in the words of the contract: one value for `watch --json`, the log, the tray and
//! the tests.

use std::path::Path;

use chrono::{DateTime, Local, SecondsFormat};
use serde::{Deserialize, Serialize};

/// How a candidate came to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// A hard link in staging, made before the producer removed the name.
    Link,
    /// A descriptor opened through `/proc/PID/fd/N` after the name was gone.
    Rescue,
    /// A file that was already open when fisga looked (at the start, or on `grab`).
    Attach,
}

/// One thing that happened. Serialises as one JSON object with `"event"` first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Watches are in place.
    Ready {
        /// Our process id.
        pid: u32,
        /// The library folder.
        library: String,
        /// Names of the rules in force.
        rules: Vec<String>,
    },
    /// We have a grip on a candidate.
    Held {
        /// Where the producer created it.
        path: String,
        /// By which means.
        how: How,
        /// The rule that matched.
        rule: String,
        /// Device number (`st_dev`).
        dev: u64,
        /// Inode number.
        ino: u64,
    },
    /// A long copy goes on.
    Progress {
        /// Where the producer created it.
        source: String,
        /// Title, as far as it is known.
        title: String,
        /// Bytes copied.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A file is in the library.
    Saved(Saved),
    /// Held, looked at, and let go.
    Dropped {
        /// Where the producer created it.
        source: String,
        /// The rule that matched.
        rule: String,
        /// Why, for people.
        reason: String,
    },
    /// Seen, and could not be held or kept.
    Lost {
        /// Where the producer created it.
        source: String,
        /// The rule that matched.
        rule: String,
        /// Why, for people.
        reason: String,
    },
    /// The kernel dropped events (`IN_Q_OVERFLOW`); folders were looked through again.
    Overflow {
        /// Candidates found by looking again.
        recovered: u64,
    },
    /// Nothing is held until further notice.
    Paused {
        /// When it ends by itself, RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    },
    /// Holding again.
    Resumed,
    /// Something that the user should know.
    Error {
        /// One clear line.
        message: String,
    },
}

/// A file that is in the library now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Its path in the library.
    pub path: String,
    /// Where the producer created it.
    pub source: String,
    /// The rule that matched.
    pub rule: String,
    /// How it was held.
    pub how: How,
    /// Size in bytes.
    pub bytes: u64,
    /// Container, as an extension without the dot ("mp4").
    pub container: String,
    /// "complete"; "open-ended" where the format promises no length; "incomplete", "damaged".
    pub verdict: String,
    /// The share that is there, 0 to 1.
    pub fraction: f64,
    /// Length in seconds, if the container tells.
    pub duration_s: Option<f64>,
    /// Title without the file name's additions.
    pub title: String,
    /// The program that wrote it ("firefox-esr"), if it was seen, or whose cache it comes from
    /// ("chromium").
    pub producer: Option<String>,
    /// Milliseconds from settled to saved.
    pub ms: u64,
    /// A picture of it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
}

impl Saved {
    /// Whether it lies in the library itself, and not among what is not whole.
    pub fn is_whole(&self) -> bool {
        !matches!(self.verdict.as_str(), "incomplete" | "damaged")
    }
}

/// A path as the contract prints it: UTF-8, with what is not replaced.
pub fn display(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A time as the contract prints it: RFC 3339 with milliseconds and the local offset.
pub fn timestamp(at: DateTime<Local>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, false)
}
