//! The other ways to catch a hidden file, each as a running process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{await_watch, children};
use crate::producer::PREFIX;
use crate::sandbox::terminate;

/// Which peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `peers/bare.c`.
    Bare,
    /// `peers/recipe.sh`.
    Recipe,
    /// `peers/original.py`.
    Original,
}

impl Kind {
    /// As a reader knows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare C loop",
            Self::Recipe => "inotifywait recipe",
            Self::Original => "original script",
        }
    }
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// Where its links are.
    pub(crate) catch: PathBuf,
}

/// `IN_CREATE | IN_MOVED_TO`: what the bare loop watches for when nothing else is asked.
pub(crate) const CREATED: &str = "180";

impl Peer {
    /// Starts it on `folder`; its links go to `staging` (the original's stay in `folder`).
    pub(crate) fn start(kind: Kind, folder: &Path, staging: &Path, mask: &str) -> Result<Self> {
        let mut command = match kind {
            Kind::Bare => {
                let mut command = Command::new(bare()?);
                command.arg(folder).arg(PREFIX).arg(staging).arg(mask);
                command
            }
            Kind::Recipe => {
                ensure!(
                    exists("inotifywait"),
                    "inotifywait is missing (Debian: inotify-tools)"
                );
                let mut command = Command::new("sh");
                command
                    .arg(source("recipe.sh"))
                    .arg(folder)
                    .arg(PREFIX)
                    .arg(staging);
                command
            }
            Kind::Original => {
                let mut command = Command::new(python()?);
                command.arg(source("original.py")).arg(folder);
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let catch = if kind == Kind::Original {
            folder
        } else {
            staging
        }
        .to_owned();
        let peer = Self { child, catch };
        match kind {
            Kind::Recipe => await_watch(peer.recipe_watcher()?)?,
            _ => await_watch(peer.child.id())?,
        }
        Ok(peer)
    }

    /// `inotifywait -m -e create` alone, its output thrown away.
    pub(crate) fn inotifywait(folder: &Path) -> Result<Self> {
        ensure!(
            exists("inotifywait"),
            "inotifywait is missing (Debian: inotify-tools)"
        );
        let child = Command::new("inotifywait")
            .args(["-m", "-e", "create"])
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let peer = Self {
            child,
            catch: folder.to_owned(),
        };
        await_watch(peer.child.id())?;
        Ok(peer)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs: the original ends at the first race that it loses.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn recipe_watcher(&self) -> Result<u32> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::time::Instant::now() < deadline {
            for pid in children(self.child.id()) {
                if fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.trim() == "inotifywait")
                {
                    return Ok(pid);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        bail!("the recipe started no inotifywait")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The recipe is a shell with a pipeline: its children don't end with it.
        let below = children(self.child.id());
        for pid in below
            .into_iter()
            .filter_map(|pid| rustix::process::Pid::from_raw(pid as i32))
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        terminate(&mut self.child);
    }
}

/// Whether a program of this name is in the PATH.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/peers")
        .join(name)
}

/// Where what is built for the peers lies, beside the build.
fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn done(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("can't run {:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn bare() -> Result<PathBuf> {
    let program = built("bare");
    static COMPILED: OnceLock<()> = OnceLock::new();
    if COMPILED.get().is_none() {
        done(
            Command::new("cc")
                .args(["-O2", "-o"])
                .arg(&program)
                .arg(source("bare.c")),
        )?;
        let _ = COMPILED.set(());
    }
    Ok(program)
}

/// A Python that has pyinotify: the system's, or one with it from PyPI.
fn python() -> Result<PathBuf> {
    let has_it = |python: &Path| {
        let import = Command::new(python)
            .args(["-c", "import pyinotify"])
            .stderr(Stdio::null())
            .status();
        import.is_ok_and(|status| status.success())
    };
    let system = PathBuf::from("python3");
    if has_it(&system) {
        return Ok(system);
    }
    let venv = built("python");
    let python = venv.join("bin/python");
    if !has_it(&python) {
        done(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        // Python 3.12 dropped asyncore, which pyinotify imports.
        let packages = [
            "pyinotify",
            "setuptools",
            "pyasyncore; python_version >= '3.12'",
        ];
        done(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet"])
                .args(packages),
        )?;
    }
    Ok(python)
}
