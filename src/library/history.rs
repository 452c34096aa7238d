//! What was saved, dropped or lost, and why: `history.jsonl` in the XDG state folder.
//!
//! One JSON object a line, appended by one `write` with `O_APPEND`, so that lines of several
//! processes don't mix (open(2)). Nothing is ever changed in it; a crash can tear the last line
//! only, and the next append starts a line of its own. It shows what somebody has watched, so only
//! its owner can read it.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Local};
use serde::{Deserialize, Serialize};

use crate::event::{self, Completeness, Event, How};

/// A longer file becomes `history.jsonl.1`, in the place of the one before: some 20,000 entries in
/// each.
const ROTATE: u64 = 8 << 20;

/// Bytes that reading takes at once, from the end.
const BLOCK: u64 = 64 << 10;

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is in the library.
    Saved,
    /// It was held, looked at, and let go.
    Dropped,
    /// It was seen, and could not be held or kept.
    Lost,
}

/// One line of the history. What does not apply is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended, RFC 3339.
    pub time: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Where the producer created it.
    #[serde(with = "event::json::path")]
    pub source: PathBuf,
    /// The rule that matched.
    pub rule: String,
    /// Why it was dropped or lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it is in the library.
    #[serde(flatten, with = "text_and_bytes")]
    pub path: Option<PathBuf>,
    /// Title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The program that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Address of the page, if the user wants addresses kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How it was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<How>,
    /// How much of it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Completeness>,
    /// The share that is there, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Container, as an extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Length in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
}

/// The path of a saved file: text for people in `path`, and where the path is no UTF-8 its bytes
/// beside it in `path_bytes`, so that the file is found again.
mod text_and_bytes {
    use std::{
        ffi::OsString,
        os::unix::ffi::{OsStrExt, OsStringExt},
    };

    use serde::{Deserializer, Serializer};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Keys {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path_bytes: Option<Vec<u8>>,
    }

    pub(super) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let path = path.as_deref();
        let bytes = path.filter(|path| path.to_str().is_none());
        Keys {
            path: path.map(event::display),
            path_bytes: bytes.map(|path| path.as_os_str().as_bytes().to_vec()),
        }
        .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let Keys { path, path_bytes } = Keys::deserialize(from)?;
        let bytes = path_bytes.map(|bytes| OsString::from_vec(bytes).into());
        Ok(bytes.or(path.map(PathBuf::from)))
    }
}

/// The history could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("can't {doing} the history {}", path.display())]
pub struct HistoryError {
    /// The operation that failed.
    pub doing: &'static str,
    /// The history file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The history file.
#[derive(Clone, Debug)]
pub struct History {
    path: PathBuf,
    rotate: u64,
}

impl Entry {
    /// An entry with these fields; the caller fills in the others.
    pub fn new(time: DateTime<Local>, outcome: Outcome, source: PathBuf, rule: String) -> Self {
        Self {
            time: event::timestamp(time),
            outcome,
            source,
            rule,
            reason: None,
            path: None,
            title: None,
            program: None,
            address: None,
            how: None,
            verdict: None,
            fraction: None,
            container: None,
            bytes: None,
            duration_s: None,
        }
    }

    /// The entry for an event with which a candidate ends; `None` for other events.
    pub fn of(event: &Event, time: DateTime<Local>) -> Option<Self> {
        let entry = |outcome, source: &Path, rule: &str| {
            Self::new(time, outcome, source.to_owned(), rule.to_owned())
        };
        match event {
            Event::Saved(saved) => Some(Self {
                path: Some(saved.path.clone()),
                title: Some(saved.title.clone()),
                program: saved.producer.clone(),
                how: Some(saved.how),
                verdict: Some(saved.verdict),
                fraction: Some(saved.fraction),
                container: Some(saved.container.clone()),
                bytes: Some(saved.bytes),
                duration_s: saved.duration_s,
                ..entry(Outcome::Saved, &saved.source, &saved.rule)
            }),
            Event::Dropped {
                source,
                rule,
                reason,
            } => Some(Self {
                reason: Some(reason.clone()),
                ..entry(Outcome::Dropped, source, rule)
            }),
            Event::Lost {
                source,
                rule,
                reason,
            } => Some(Self {
                reason: Some(reason.clone()),
                ..entry(Outcome::Lost, source, rule)
            }),
            _ => None,
        }
    }
}

impl History {
    /// The history in `path`. Its folder is made if need be, for its owner only; the file with the
    /// first entry.
    ///
    /// # Errors
    /// That the folder can't be made.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let history = Self {
            path: path.to_owned(),
            rotate: ROTATE,
        };
        if let Some(folder) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(history.error("make the folder of"))?;
        }
        Ok(history)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry. The entry of a saved file is on the disk when this returns, since the staged
    /// name is removed next. Others may come in thousands and are not synced: a power cut may lose
    /// the last of them.
    ///
    /// # Errors
    /// That it can't be written.
    pub fn append(&self, entry: &Entry) -> Result<(), HistoryError> {
        let mut line = serde_json::to_vec(entry).map_err(|e| self.error("write")(e.into()))?;
        line.push(b'\n');
        self.write(&line, entry.outcome == Outcome::Saved)
            .map_err(self.error("write"))
    }

    fn write(&self, line: &[u8], sync: bool) -> io::Result<()> {
        let file = self.locked()?;
        // If a crash has torn the last line, a line break ends it, so that the new line is whole.
        let len = file.metadata()?.len();
        let mut last = [b'\n'];
        if len > 0 {
            file.read_exact_at(&mut last, len - 1)?;
        }
        let start = if last == [b'\n'] { "" } else { "\n" };
        let mut text = Vec::with_capacity(line.len() + 1);
        text.extend_from_slice(start.as_bytes());
        text.extend_from_slice(line);
        (&file).write_all(&text)?;
        if sync { file.sync_data() } else { Ok(()) }
    }

    /// The file, ours alone until it is closed, and short enough.
    fn locked(&self) -> io::Result<File> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)?;
            file.lock()?;
            let ours = file.metadata()?;
            // Another process may have moved it away before we had the lock.
            if !fs::metadata(&self.path)
                .is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino()))
            {
                continue;
            }
            if ours.len() < self.rotate {
                return Ok(file);
            }
            fs::rename(&self.path, self.older())?;
        }
    }

    /// The last `n` entries, the oldest of them first. Lines that are no entries are skipped with a
    /// warning in the log.
    ///
    /// # Errors
    /// That the file is there and can't be read.
    pub fn read_last(&self, n: usize) -> Result<Vec<Entry>, HistoryError> {
        let mut entries = Vec::new();
        self.backwards(|entry| {
            entries.push(entry);
            entries.len() < n
        })?;
        entries.truncate(n);
        entries.reverse();
        Ok(entries)
    }

    /// The newest entry of a file that was saved.
    ///
    /// # Errors
    /// That the file is there and can't be read.
    pub fn last_saved(&self) -> Result<Option<Entry>, HistoryError> {
        self.newest(|entry| entry.outcome == Outcome::Saved)
    }

    /// The newest entry for which `wanted` returns true.
    ///
    /// # Errors
    /// That the file is there and can't be read.
    pub fn newest(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Option<Entry>, HistoryError> {
        let mut found = None;
        self.backwards(|entry| {
            if wanted(&entry) {
                found = Some(entry);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Where everything was saved that the history still knows of, whether it is still there or
    /// not.
    ///
    /// # Errors
    /// That the file is there and can't be read.
    pub fn saved(&self) -> Result<HashSet<PathBuf>, HistoryError> {
        let mut saved = HashSet::new();
        self.backwards(|entry| {
            if entry.outcome == Outcome::Saved {
                saved.extend(entry.path);
            }
            true
        })?;
        Ok(saved)
    }

    /// Gives the entries to `each`, the newest first, until it returns false.
    fn backwards(&self, mut each: impl FnMut(Entry) -> bool) -> Result<(), HistoryError> {
        for path in [self.path.clone(), self.older()] {
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(self.error("open")(e)),
            };
            let more = lines_backwards(&mut file, |line| match serde_json::from_slice(line) {
                Ok(entry) => each(entry),
                Err(e) => {
                    tracing::warn!(
                        "skipping a line of {} that is no entry: {e}",
                        path.display()
                    );
                    true
                }
            });
            if !more.map_err(self.error("read"))? {
                break;
            }
        }
        Ok(())
    }

    fn older(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".1");
        path.into()
    }

    fn error(&self, doing: &'static str) -> impl FnOnce(io::Error) -> HistoryError {
        move |source| HistoryError {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}

/// Gives the lines of a file to `each`, from the last to the first, until it returns false; returns
/// its last answer. Blank lines are left out.
fn lines_backwards(file: &mut File, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut start = file.seek(SeekFrom::End(0))?;
    // What lies between `start` and the first line break after it: the end of a line whose
    // beginning is not read yet.
    let mut rest = Vec::new();
    while start > 0 {
        let from = start.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(from))?;
        let mut block = Vec::new();
        file.take(start - from).read_to_end(&mut block)?;
        start = from;
        block.append(&mut rest);
        let mut lines = block.rsplit(|&b| b == b'\n').peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_none() && start > 0 {
                rest = line.to_vec();
            } else if !line.trim_ascii().is_empty() && !each(line) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};

    use chrono::TimeZone;

    use super::*;
    use crate::event::Saved;

    fn entry(n: usize) -> Entry {
        let time = Local.with_ymd_and_hms(2026, 11, 21, 14, 30, 5).unwrap();
        Entry {
            reason: Some(format!("reason {n}")),
            ..Entry::new(
                time,
                Outcome::Dropped,
                format!("/tmp/Flash{n}").into(),
                "flash".into(),
            )
        }
    }

    fn history() -> (tempfile::TempDir, History) {
        let dir = tempfile::tempdir().unwrap();
        let history = History::open(&dir.path().join("state/fisga/history.jsonl")).unwrap();
        (dir, history)
    }

    fn sources(history: &History, n: usize) -> Vec<String> {
        history
            .read_last(n)
            .unwrap()
            .into_iter()
            .map(|entry| event::display(&entry.source))
            .collect()
    }

    #[test]
    fn entries_come_back() {
        let (_dir, history) = history();
        assert_eq!(history.read_last(5).unwrap(), []);
        assert_eq!(history.last_saved().unwrap(), None);
        for n in 1..=3 {
            history.append(&entry(n)).unwrap();
        }
        assert_eq!(history.read_last(2).unwrap(), [entry(2), entry(3)]);
        assert_eq!(
            sources(&history, 9),
            ["/tmp/Flash1", "/tmp/Flash2", "/tmp/Flash3"]
        );
        assert_eq!(sources(&history, 0), [""; 0]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(history.path()), 0o600);
        assert_eq!(mode(history.path().parent().unwrap()), 0o700);
    }

    #[test]
    fn only_ends_are_entries() {
        let at = Local.with_ymd_and_hms(2026, 11, 21, 14, 30, 5).unwrap();
        let saved = Saved {
            path: "/home/a/Videos/Fisga/A film.mp4".into(),
            source: "/tmp/FlashXX".into(),
            rule: "flash".into(),
            how: How::Rescue,
            bytes: 7,
            container: "mp4".into(),
            verdict: Completeness::Complete,
            fraction: 1.0,
            duration_s: Some(60.0),
            title: "A film".into(),
            producer: Some("firefox-esr".into()),
            ms: 3,
            thumbnail: None,
        };
        let text = serde_json::to_string(&Entry::of(&Event::Saved(saved), at).unwrap()).unwrap();
        for part in [
            r#""outcome":"saved""#,
            r#""how":"rescue""#,
            r#""program":"firefox-esr""#,
            r#""bytes":7"#,
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            text.starts_with(r#"{"time":"2026-11-21T14:30:05.000"#) && !text.contains("null"),
            "{text}"
        );
        let lost = Event::Lost {
            source: "a".into(),
            rule: "b".into(),
            reason: "c".into(),
        };
        let lost = Entry::of(&lost, at).unwrap();
        assert_eq!(
            (lost.outcome, lost.reason.as_deref()),
            (Outcome::Lost, Some("c"))
        );
        assert_eq!(Entry::of(&Event::Resumed, at), None);
    }

    #[test]
    fn a_path_of_any_bytes_comes_back() {
        let (_dir, history) = history();
        for path in [&b"/library/\xff\n.mp4"[..], b"/library/a.mp4"] {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            history
                .append(&Entry {
                    outcome: Outcome::Saved,
                    path: Some(path.to_owned()),
                    ..entry(1)
                })
                .unwrap();
            let last = history.last_saved().unwrap().unwrap();
            assert_eq!(last.path.as_deref(), Some(path));
            assert!(history.saved().unwrap().contains(path));
        }
    }

    #[test]
    fn what_is_no_entry_is_skipped() {
        let (_dir, history) = history();
        history.append(&entry(1)).unwrap();
        let mut file = OpenOptions::new()
            .append(true)
            .open(history.path())
            .unwrap();
        file.write_all(b"not json\n{\"time\":1}\n\xff\xfe\n\n")
            .unwrap();
        history.append(&entry(2)).unwrap();
        file.write_all(br#"{"time":"2026-11-21T14:30"#).unwrap();
        assert_eq!(sources(&history, 9), ["/tmp/Flash1", "/tmp/Flash2"], "torn");
        history.append(&entry(3)).unwrap();
        assert_eq!(
            sources(&history, 9),
            ["/tmp/Flash1", "/tmp/Flash2", "/tmp/Flash3"],
            "after the torn line"
        );
    }

    #[test]
    fn lines_across_blocks() {
        let (_dir, history) = history();
        let long = Entry {
            reason: Some("x".repeat(3 * BLOCK as usize)),
            ..entry(2)
        };
        for entry in [entry(1), long, entry(3)] {
            history.append(&entry).unwrap();
        }
        let many: Vec<String> = (0..2000).map(|n| format!("/tmp/Flash{n}")).collect();
        for n in 0..2000 {
            let mut line = serde_json::to_vec(&entry(n)).unwrap();
            line.push(b'\n');
            OpenOptions::new()
                .append(true)
                .open(history.path())
                .unwrap()
                .write_all(&line)
                .unwrap();
        }
        let read = sources(&history, 9999);
        assert_eq!(read[..3], ["/tmp/Flash1", "/tmp/Flash2", "/tmp/Flash3"]);
        assert_eq!(read[3..], many);
    }

    #[test]
    fn a_long_history_is_turned_over() {
        let (_dir, mut history) = history();
        history.rotate = 2000;
        for n in 0..40 {
            history.append(&entry(n)).unwrap();
        }
        let read = sources(&history, 99);
        assert!(
            (10..40).contains(&read.len()),
            "{} of 40 are left",
            read.len()
        );
        assert_eq!(read.last().unwrap(), "/tmp/Flash39");
        assert_eq!(
            read[0],
            format!("/tmp/Flash{}", 40 - read.len()),
            "none is missing in between"
        );
        assert!(fs::metadata(history.older()).unwrap().len() < 3000);
    }

    #[test]
    fn many_write_at_once() {
        let (_dir, mut history) = history();
        history.rotate = 50_000;
        let history = &history;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let own = History { ..history.clone() };
                    (0..50).for_each(|n| own.append(&entry(thread * 1000 + n)).unwrap());
                });
            }
        });
        let mut read = sources(history, 999);
        assert_eq!(read.len(), 200);
        read.sort();
        read.dedup();
        assert_eq!(read.len(), 200);
    }
}
