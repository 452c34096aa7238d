//! A home of its own for the real program, and the events that it prints.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::producer::PREFIX;

/// The program as `cargo bench` built it, or the one that `RACE_PROGRAM` names.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("RACE_PROGRAM")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_fisga").into())
        .into()
}

/// Folders of one measurement: all on one file system, gone at its end.
#[derive(Debug)]
pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    /// A new one beside the build.
    pub(crate) fn new() -> Result<Self> {
        Self::on(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// A new one below `parent`.
    pub(crate) fn on(parent: &Path) -> Result<Self> {
        let root = tempfile::Builder::new()
            .prefix("race-")
            .tempdir_in(parent)
            .context("no room for a sandbox")?;
        Ok(Self { root })
    }

    /// A folder in it, made if need be.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

/// Which rules a fisga runs with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rules {
    /// Those that are shipped.
    Shipped,
    /// One for the files of our producers, and no other: what else happens on this machine stays
    /// outside.
    Bench,
    /// The same and browsers' caches.
    BenchAndCaches,
    /// Browsers' caches only.
    Caches,
}

/// A running `fisga watch --json`.
#[derive(Debug)]
pub(crate) struct Fisga {
    child: Child,
    events: Receiver<Value>,
    reader: Option<JoinHandle<()>>,
    /// From the start of the process to its `ready`.
    pub(crate) start: Duration,
    /// Where its files go.
    pub(crate) library: PathBuf,
    /// Where its history is.
    pub(crate) history: PathBuf,
    /// The names of its rules.
    pub(crate) rules: Vec<String>,
}

impl Fisga {
    /// Starts `program` with its home and library in `home`, watching `folder` if the rules are
    /// ours.
    pub(crate) fn start(
        program: &Path,
        home: &Sandbox,
        folder: &Path,
        rules: Rules,
    ) -> Result<Self> {
        let sources = json!({
            "temporary_files": rules != Rules::Caches,
            "browser_cache": matches!(rules, Rules::BenchAndCaches | Rules::Caches),
        });
        let rules = match rules {
            Rules::Shipped | Rules::Caches => json!([]),
            Rules::Bench | Rules::BenchAndCaches => {
                let temporary = json!({"temporary_files": true, "browser_cache": false});
                let shipped = Self::launch(program, home, &json!([]), &temporary)?
                    .rules
                    .clone();
                let mut rules: Vec<Value> = shipped
                    .iter()
                    .map(|name| json!({"name": name, "enabled": false}))
                    .collect();
                rules.push(
                    json!({"name": "bench", "folders": [folder], "files": [format!("{PREFIX}*")]}),
                );
                Value::Array(rules)
            }
        };
        Self::launch(program, home, &rules, &sources)
    }

    fn launch(program: &Path, home: &Sandbox, rules: &Value, sources: &Value) -> Result<Self> {
        let library = home.folder("library")?;
        let config = home.folder("config/fisga")?.join("config.json");
        let settings = json!({
            "library": library,
            "rules": rules,
            "min_size": "0 B",
            "min_duration": "0 s",
            "thumbnails": false, // another program's time
            "sources": sources,
        });
        fs::write(&config, serde_json::to_vec_pretty(&settings)?)?;
        let state = home.folder("state")?;
        let mut command = Command::new(program);
        command
            .args(["watch", "--json"])
            .env("HOME", home.folder("")?)
            .env("XDG_STATE_HOME", &state);
        for (name, folder) in [("CONFIG", "config"), ("CACHE", "cache"), ("DATA", "data")] {
            command.env(format!("XDG_{name}_HOME"), home.folder(folder)?);
        }
        command
            .env("XDG_RUNTIME_DIR", home.folder("runtime")?)
            .env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.env_remove("TMPDIR").env_remove("RUST_LOG");

        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let (sender, events) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let history = state.join("fisga/history.jsonl");
        let mut fisga = Self {
            child,
            events,
            reader: Some(reader),
            start: Duration::ZERO,
            library,
            history,
            rules: Vec::new(),
        };
        let ready = fisga.await_event("ready", Duration::from_secs(20))?;
        fisga.start = start.elapsed();
        let rules = ready["rules"].as_array().into_iter().flatten();
        fisga.rules = rules
            .filter_map(|rule| rule.as_str().map(str::to_owned))
            .collect();
        Ok(fisga)
    }

    /// Where it keeps links, on the library's file system.
    pub(crate) fn staging(&self) -> Result<PathBuf> {
        let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".fisga-");
        let entries = fs::read_dir(&self.library)?
            .flatten()
            .map(|entry| entry.path());
        entries
            .into_iter()
            .find(|path| path.file_name().is_some_and(ours))
            .context("no staging folder")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next event of this name; others are passed over.
    pub(crate) fn await_event(&mut self, name: &str, patience: Duration) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(event) if event["event"] == name => return Ok(event),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("no event {name:?} within {patience:?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("fisga ended before an event {name:?}")
                }
            }
        }
    }

    /// The next event, or nothing within `patience`.
    pub(crate) fn next_event(&mut self, patience: Duration) -> Option<Value> {
        self.events.recv_timeout(patience).ok()
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        terminate(&mut self.child);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Fisga {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks a child to end, and waits until it has.
pub(crate) fn terminate(child: &mut Child) {
    if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32)
        && matches!(child.try_wait(), Ok(None))
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let _ = child.wait();
}
