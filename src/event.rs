//! What happened, in the words of the contract: one value for `watch --json`, the log, the tray and
//! the tests.
//!
//! Inside, a path is a path and a time is a time. They become text where JSON is written, by
//! `json`.

use std::path::{Path, PathBuf};

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
        #[serde(with = "json::path")]
        library: PathBuf,
        /// Names of the rules in force.
        rules: Vec<String>,
    },
    /// We have a grip on a candidate.
    Held {
        /// Where the producer created it.
        #[serde(with = "json::path")]
        path: PathBuf,
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
        #[serde(with = "json::path")]
        source: PathBuf,
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
        #[serde(with = "json::path")]
        source: PathBuf,
        /// The rule that matched.
        rule: String,
        /// Why, for people.
        reason: String,
    },
    /// Seen, and could not be held or kept.
    Lost {
        /// Where the producer created it.
        #[serde(with = "json::path")]
        source: PathBuf,
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
        /// When it ends by itself.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "json::optional_time"
        )]
        until: Option<DateTime<Local>>,
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
    #[serde(with = "json::path")]
    pub path: PathBuf,
    /// Where the producer created it.
    #[serde(with = "json::path")]
    pub source: PathBuf,
    /// The rule that matched.
    pub rule: String,
    /// How it was held.
    pub how: How,
    /// Size in bytes.
    pub bytes: u64,
    /// Container, as an extension without the dot ("mp4").
    pub container: String,
    /// How much of it is there.
    pub verdict: Completeness,
    /// The share that is there, 0 to 1.
    pub fraction: f64,
    /// Length in seconds, if the container says it.
    pub duration_s: Option<f64>,
    /// Title without the file name's additions.
    pub title: String,
    /// The program that wrote it ("firefox-esr"), if it was seen, or whose cache it comes from
    /// ("chromium").
    pub producer: Option<String>,
    /// Milliseconds from settled to saved.
    pub ms: u64,
    /// A picture of it, if there is one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "json::optional_path"
    )]
    pub thumbnail: Option<PathBuf>,
}

/// How much of a saved video is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Completeness {
    /// All of it.
    Complete,
    /// All that was there when its writer ended; the format promises no length.
    OpenEnded,
    /// A part.
    Incomplete,
    /// Not what its structure promises.
    Damaged,
}

impl Completeness {
    /// Its word in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::OpenEnded => "open-ended",
            Self::Incomplete => "incomplete",
            Self::Damaged => "damaged",
        }
    }

    /// Whether such a video lies in the library itself, and not among what is not whole.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Complete | Self::OpenEnded)
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

/// How paths and times stand in JSON, for serde's `with`.
pub(crate) mod json {
    use super::*;

    pub(crate) mod path {
        use serde::{Deserializer, Serializer};

        use super::*;

        pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(&display(path))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
            PathBuf::deserialize(from)
        }
    }

    pub(crate) mod optional_path {
        use serde::{Deserializer, Serializer};

        use super::*;

        pub(crate) fn serialize<S: Serializer>(
            path: &Option<PathBuf>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            path.as_deref().map(display).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<PathBuf>, D::Error> {
            Option::deserialize(from)
        }
    }

    pub(crate) mod optional_time {
        use serde::{Deserializer, Serializer};

        use super::*;

        pub(crate) fn serialize<S: Serializer>(
            at: &Option<DateTime<Local>>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            at.map(timestamp).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<DateTime<Local>>, D::Error> {
            let at = Option::<DateTime<chrono::FixedOffset>>::deserialize(from)?;
            Ok(at.map(|at| at.with_timezone(&Local)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn paths_and_times_become_text() {
        let at = DateTime::parse_from_rfc3339("2026-11-21T14:30:05.250+01:00").unwrap();
        let at = at.with_timezone(&Local);
        let foreign = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/Flash\xff")).to_owned();
        let lost = |source| Event::Lost {
            source,
            rule: "flash".into(),
            reason: "gone".into(),
        };
        let paused = |until| Event::Paused { until };
        for (event, json) in [
            (
                lost("/tmp/Flash1".into()),
                r#"{"event":"lost","source":"/tmp/Flash1","rule":"flash","reason":"gone"}"#.into(),
            ),
            (
                lost(foreign),
                "{\"event\":\"lost\",\"source\":\"/tmp/Flash\u{fffd}\",\"rule\":\"flash\",\"reason\":\"gone\"}"
                    .into(),
            ),
            (paused(None), r#"{"event":"paused"}"#.into()),
            (
                paused(Some(at)),
                format!(r#"{{"event":"paused","until":"{}"}}"#, timestamp(at)),
            ),
        ] {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(text, json);
            let back: Event = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), text);
        }
        for verdict in [
            Completeness::Complete,
            Completeness::OpenEnded,
            Completeness::Incomplete,
            Completeness::Damaged,
        ] {
            let word = serde_json::to_value(verdict).unwrap();
            assert_eq!(word, verdict.as_str());
        }
    }
}
