//! A home of its own for each test, and fisga running in it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fisga::event::{Event, Saved};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Group;

/// Every shipped rule. They look into folders that all tests share, so a sandbox starts with them
/// off.
pub const SHIPPED: [&str; 9] = [
    "flash",
    "webkit",
    "epiphany",
    "firefox",
    "totem",
    "gstreamer",
    "webtorrent",
    "peerflix",
    "nameless",
];

/// A home with its XDG folders, a temp folder and a configuration.
pub struct Sandbox {
    root: TempDir,
    env: Vec<(String, String)>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// In the system's temp folder, with the shipped rules and the browser caches off, and one
    /// rule, `test`, for `Flash*` in [`Sandbox::tmp`].
    pub fn new() -> Self {
        Self::on(&std::env::temp_dir())
    }

    /// On another file system.
    pub fn on(folder: &Path) -> Self {
        let root = tempfile::Builder::new()
            .prefix("sandbox-")
            .tempdir_in(folder)
            .unwrap();
        let sandbox = Self {
            root,
            env: Vec::new(),
        };
        for folder in [
            "home/.config/fisga",
            "home/.cache",
            "home/.local/share",
            "home/.local/state",
            "tmp",
            "run",
        ] {
            fs::create_dir_all(sandbox.path(folder)).unwrap();
        }
        // The XDG base directory specification asks for 0700; /tmp is sticky, and staging stays
        // below such a folder.
        for (folder, mode) in [("run", 0o700), ("tmp", 0o1777)] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(sandbox.path(folder), mode).unwrap();
        }
        sandbox.configure(json!({}));
        sandbox
    }

    /// A path inside.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// `$TMPDIR` of everything that runs in the sandbox.
    pub fn tmp(&self) -> PathBuf {
        self.path("tmp")
    }

    pub fn library(&self) -> PathBuf {
        self.path("home/Videos/Fisga")
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("home/.config/fisga/config.json")
    }

    /// What `history.jsonl` holds.
    pub fn history(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("home/.local/state/fisga/history.jsonl"))
            .unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Media files in the library.
    pub fn saved(&self) -> Vec<PathBuf> {
        super::files(&self.library())
    }

    /// Writes the configuration: the sandbox's own with these top-level keys in place of its.
    pub fn configure(&self, keys: Value) {
        let mut config = json!({
            "library": self.library(),
            "min_free": "0 B",
            "sources": { "temporary_files": true, "browser_cache": false },
            "notifications": false,
            "thumbnails": false,
            "rules": rules(&[], json!([{ "name": "test", "folders": [self.tmp()], "files": ["Flash*"] }])),
        });
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(
            self.config_file(),
            serde_json::to_vec_pretty(&config).unwrap(),
        )
        .unwrap();
    }

    /// Adds a variable to the environment of everything that starts afterwards.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A variable that was added.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A program with the sandbox's environment and nothing of the session outside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.path("home/.config"))
            .env("XDG_CACHE_HOME", self.path("home/.cache"))
            .env("XDG_DATA_HOME", self.path("home/.local/share"))
            .env("XDG_STATE_HOME", self.path("home/.local/state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("TMPDIR", self.tmp())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// `fisga` with arguments, not started yet.
    pub fn fisga(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_fisga"));
        command.args(args);
        command
    }

    /// Runs a `fisga` command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.fisga(args).output().unwrap()
    }

    /// `fisga watch --json`, ready.
    pub fn watch(&self) -> Fisga {
        let mut fisga = Fisga::start(self.fisga(&["watch", "--json"]));
        fisga.wait_for("ready", SOON, |event| matches!(event, Event::Ready { .. }));
        fisga
    }
}

/// Rules for [`Sandbox::configure`]: the shipped ones named in `on`, the others off, and these.
pub fn rules(on: &[&str], own: Value) -> Value {
    let off = SHIPPED
        .iter()
        .filter(|name| !on.contains(name))
        .map(|name| json!({ "name": name, "enabled": false }));
    off.chain(own.as_array().unwrap().iter().cloned()).collect()
}

/// Ample for anything that takes milliseconds on a machine with nothing else to do, and for the 20
/// seconds that a title may take on one that does much else.
pub const SOON: Duration = Duration::from_secs(60);

/// A running `fisga watch --json`.
pub struct Fisga {
    group: Group,
    events: Receiver<String>,
    /// Events that nobody asked for yet, oldest first.
    pub pending: Vec<Event>,
    /// Every line of stdout so far.
    pub lines: Vec<String>,
    reader: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<String>>,
}

impl Fisga {
    /// Starts a command of [`Sandbox::fisga`] that prints events.
    pub fn start(mut command: Command) -> Self {
        let mut group = Group::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let stdout = BufReader::new(group.child().stdout.take().unwrap());
        let mut err = group.child().stderr.take().unwrap();
        let (sender, events) = channel();
        let reader = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = err.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            group,
            events,
            pending: Vec::new(),
            lines: Vec::new(),
            reader: Some(reader),
            stderr: Some(stderr),
        }
    }

    pub fn id(&self) -> u32 {
        self.group.id()
    }

    pub fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    /// Takes the first event that `wanted` accepts, out of those that came and those that come in
    /// time.
    ///
    /// # Panics
    /// If none does, or fisga ends; the message has all that fisga said.
    pub fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Event {
        let end = Instant::now() + within;
        loop {
            if let Some(at) = self.pending.iter().position(&wanted) {
                return self.pending.remove(at);
            }
            if let Err(e) = self.next(end) {
                let why = match e {
                    RecvTimeoutError::Timeout => format!("no event in {within:?}"),
                    RecvTimeoutError::Disconnected => "fisga ended".into(),
                };
                self.fail(&format!("waiting for {what}: {why}"));
            }
        }
    }

    /// Takes the first event that `wanted` accepts, unless none comes until `end`.
    pub fn try_next(&mut self, end: Instant, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        loop {
            if let Some(at) = self.pending.iter().position(&wanted) {
                return Some(self.pending.remove(at));
            }
            self.next(end).ok()?;
        }
    }

    /// The next file that is saved.
    pub fn wait_saved(&mut self, within: Duration) -> Saved {
        match self.wait_for("saved", within, |event| matches!(event, Event::Saved(_))) {
            Event::Saved(saved) => saved,
            _ => unreachable!(),
        }
    }

    /// Asks it to end with SIGTERM, expects status 0, and returns what it wrote on stderr.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let (status, stderr) = self.finish(SOON);
        assert!(status.success(), "fisga after SIGTERM: {status}\n{stderr}");
        stderr
    }

    /// Waits until it ends by itself: its status and stderr. Events that came meanwhile are in
    /// `pending`.
    pub fn finish(&mut self, within: Duration) -> (ExitStatus, String) {
        let end = Instant::now() + within;
        while self.next(end).is_ok() {}
        let Some(status) = self
            .group
            .wait(end.saturating_duration_since(Instant::now()))
        else {
            self.fail("fisga goes on");
        };
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        (
            status,
            self.stderr
                .take()
                .map(|text| text.join().unwrap())
                .unwrap_or_default(),
        )
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.finish(SOON);
    }

    fn next(&mut self, end: Instant) -> Result<(), RecvTimeoutError> {
        let line = self
            .events
            .recv_timeout(end.saturating_duration_since(Instant::now()))?;
        self.lines.push(line);
        let line = &self.lines[self.lines.len() - 1];
        match serde_json::from_str(line) {
            Ok(event) => self.pending.push(event),
            Err(e) => panic!("not an event: {e}: {line}"),
        }
        Ok(())
    }

    fn fail(&mut self, message: &str) -> ! {
        self.signal_if_alive();
        let stderr = self
            .stderr
            .take()
            .map(|text| text.join().unwrap())
            .unwrap_or_default();
        panic!(
            "{message}\nstdout:\n{}\nstderr:\n{stderr}",
            self.lines.join("\n")
        );
    }

    fn signal_if_alive(&mut self) {
        if self.group.wait(Duration::ZERO).is_none() {
            self.signal(Signal::KILL);
            self.group.wait(SOON);
        }
    }
}
