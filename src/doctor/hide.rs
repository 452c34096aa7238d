//! The trial: a child process hides files as a browser does, and the real engine has to get hold of
//! them.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    fs::{CWD, Mode, OFlags, openat, unlink},
    time::{ClockId, clock_gettime},
};

use crate::{
    engine::{self, Engine, Notice, Options},
    event::How,
    rule::{Rule, Source},
};

/// The command of fisga that plays the hiding producer; not for people.
pub const CHILD: &str = "hide-for-doctor";
/// Files hidden in each folder.
const TRIES: usize = 5;
/// A scan of all processes takes a tenth of a second; what is not held by now is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one hidden file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Try {
    /// The engine holds it, this long after its creation began.
    Held { how: How, after: Duration },
    /// The engine hasn't, and why.
    Lost(String),
    /// No file could be made there.
    Refused(String),
}

impl Try {
    pub(super) fn after(&self) -> Option<Duration> {
        match self {
            Self::Held { after, .. } => Some(*after),
            _ => None,
        }
    }

    pub(super) fn failure(&self) -> Option<&str> {
        match self {
            Self::Lost(why) => Some(why),
            _ => None,
        }
    }

    pub(super) fn refused(&self) -> Option<&str> {
        match self {
            Self::Refused(why) => Some(why),
            _ => None,
        }
    }
}

/// Hides files in each of the folders; one list of tries for each.
pub(super) fn trial(
    folders: &[PathBuf],
    library: &Path,
    program: &Path,
) -> anyhow::Result<Vec<Vec<Try>>> {
    engine::raise_descriptor_limit();
    let prefix = format!("fisga-doctor.{}.", std::process::id());
    let rule = Rule {
        name: "doctor".into(),
        folders: folders
            .iter()
            .filter_map(|folder| folder.to_str())
            .map(escape)
            .collect(),
        files: vec![format!("{prefix}*")],
        recursive: false,
        source: Source::Temporary,
    };
    let options = Options {
        rules: vec![rule],
        library: library.into(),
        configuration: None,
        keeper: None,
        runtime: None,
        trace: false,
    };
    let (send, notices) = channel();
    let engine = Engine::trial(options, move |notice| drop(send.send((now(), notice))))?;
    let tries = Producer::start(program).and_then(|mut producer| {
        let unwatched = ready(&notices)?;
        let each =
            folders.iter().map(
                |folder| match unwatched.iter().find(|(path, _)| path == folder) {
                    Some((_, why)) => Ok(vec![Try::Lost(why.clone())]),
                    None => (0..TRIES)
                        .map(|i| hide(&mut producer, folder, &format!("{prefix}{i}"), &notices))
                        .collect(),
                },
            );
        each.collect()
    });
    engine.shutdown();
    // What came after its time is still linked in staging.
    for (_, notice) in notices {
        if let Notice::Held(hold) = notice {
            hold.release();
        }
    }
    tries
}

/// A folder's path as a pattern that matches nothing else.
fn escape(path: &str) -> String {
    path.split('/')
        .map(globset::escape)
        .collect::<Vec<_>>()
        .join("/")
}

/// Waits for the watches; folders that can't be watched, with the reason.
fn ready(notices: &Receiver<(Duration, Notice)>) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut unwatched = Vec::new();
    loop {
        match notices
            .recv_timeout(PATIENCE)
            .context("the engine does not get ready")?
            .1
        {
            Notice::Ready => return Ok(unwatched),
            Notice::Unwatched(folders) => {
                let why = folders.advice();
                unwatched.extend(folders.paths.into_iter().map(|path| (path, why.clone())));
            }
            Notice::Failed(e) => return Err(e.into()),
            _ => {}
        }
    }
}

fn hide(
    producer: &mut Producer,
    folder: &Path,
    name: &str,
    notices: &Receiver<(Duration, Notice)>,
) -> anyhow::Result<Try> {
    let path = folder.join(name);
    let created = match producer.hide(&path)? {
        Ok(created) => created,
        Err(why) => return Ok(Try::Refused(why)),
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match notices.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            // Folders may have several names; the file's own is unique.
            Ok((at, Notice::Held(hold))) if hold.source.file_name() == Some(OsStr::new(name)) => {
                hold.release();
                return Ok(Try::Held {
                    how: hold.how,
                    after: at.saturating_sub(created),
                });
            }
            Ok((_, Notice::Lost { source, reason, .. }))
                if source.file_name() == Some(OsStr::new(name)) =>
            {
                return Ok(Try::Lost(reason));
            }
            Ok((_, Notice::Failed(e))) => return Err(e.into()),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                return Ok(Try::Lost(format!("nothing happened in {PATIENCE:?}")));
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the engine has ended"),
        }
    }
}

/// The child process that hides files, one at a time.
struct Producer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Producer {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg(CHILD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} can't be started", program.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = BufReader::new(stdout.context("no pipe to the child process")?);
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    /// When the creation of the hidden file began, or why there is none.
    fn hide(&mut self, path: &Path) -> anyhow::Result<Result<Duration, String>> {
        let stdin = self
            .stdin
            .as_mut()
            .context("no pipe to the child process")?;
        stdin.write_all(path.as_os_str().as_bytes())?;
        stdin.write_all(b"\0")?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        match answer.trim_end().split_once(' ') {
            Some(("hidden", nanos)) => Ok(Ok(Duration::from_nanos(nanos.parse()?))),
            Some(("refused", why)) => Ok(Err(why.to_owned())),
            _ => anyhow::bail!("the child process ended"),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// The child's side: hides a file for each path that comes, NUL-ended, and keeps it open until the
/// next one.
///
/// # Errors
/// Input or output that can't be read or written.
pub fn child(mut input: impl BufRead, out: &mut impl Write) -> io::Result<()> {
    let mut open = None;
    loop {
        let mut path = Vec::new();
        if input.read_until(0, &mut path)? == 0 {
            return Ok(());
        }
        path.pop();
        drop(open.take());
        match hidden(&OsString::from_vec(path)) {
            Ok((file, began)) => {
                open = Some(file);
                writeln!(out, "hidden {}", began.as_nanos())?;
            }
            Err(e) => writeln!(out, "refused {e}")?,
        }
        out.flush()?;
    }
}

fn hidden(path: &OsStr) -> io::Result<(File, Duration)> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let began = now();
    let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
    unlink(path)?;
    let mut file = File::from(file);
    file.write_all(b"fisga doctor was here\n")?;
    Ok((file, began))
}

/// A clock that all processes share (clock_gettime(2), CLOCK_MONOTONIC).
fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}
