//! An engine with a folder of its own.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use fisga::{
    engine::{Command, Engine, Handle, Hold, Notice, Options},
    rule::{Rule, Source},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    pub(crate) root: tempfile::TempDir,
    engine: Option<Engine>,
    notices: Mutex<Receiver<Notice>>,
}

impl Lab {
    pub(crate) fn new(folder: &str, files: &str, recursive: bool) -> Self {
        Self::in_folder(&std::env::temp_dir(), folder, files, recursive)
    }

    pub(crate) fn in_folder(parent: &Path, folder: &str, files: &str, recursive: bool) -> Self {
        let root = tempfile::tempdir_in(parent).unwrap();
        fs::create_dir_all(root.path().join("library")).unwrap();
        if !folder.contains('*') && !folder.contains("later") {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut lab = Self {
            root,
            engine: None,
            notices: Mutex::new(mpsc::channel().1),
        };
        lab.start(folder, files, recursive);
        lab
    }

    /// With these folders there before the start.
    pub(crate) fn with(folder: &str, files: &str, recursive: bool, before: &[&str]) -> Self {
        let mut lab = Self::new("unused", files, recursive);
        lab.stop();
        for folder in before {
            fs::create_dir_all(lab.path(folder)).unwrap();
        }
        lab.start(folder, files, recursive);
        lab
    }

    pub(crate) fn start(&mut self, folder: &str, files: &str, recursive: bool) {
        let folder = self.root.path().join(folder);
        self.start_at(folder.to_str().unwrap(), files, recursive);
    }

    pub(crate) fn start_at(&mut self, folder: &str, files: &str, recursive: bool) {
        self.start_options(folder, files, recursive, |_| {});
    }

    /// Starts, and shows what is said until it is ready.
    pub(crate) fn start_telling(
        &mut self,
        folder: &str,
        files: &str,
        recursive: bool,
        told: impl FnMut(&Notice),
    ) {
        let folder = self.root.path().join(folder);
        self.start_options(folder.to_str().unwrap(), files, recursive, told);
    }

    fn start_options(
        &mut self,
        folder: &str,
        files: &str,
        recursive: bool,
        mut told: impl FnMut(&Notice),
    ) {
        let options = Options {
            rules: vec![rule(folder, files, recursive)],
            library: self.root.path().join("library"),
            configuration: None,
            runtime: Some(self.root.path().join("run")),
            keeper: None,
            trace: false,
        };
        let (send, notices) = mpsc::channel();
        self.engine = Some(Engine::start(options, move |notice| drop(send.send(notice))).unwrap());
        self.notices = Mutex::new(notices);
        self.until(|notice| {
            told(&notice);
            matches!(notice, Notice::Ready).then_some(())
        });
    }

    /// The rules anew: all folders are walked again.
    pub(crate) fn configure(&self, folder: &str, files: &str, recursive: bool) {
        self.send(configure(self.root.path(), folder, files, recursive));
    }

    /// Waits until the folders are watched as they are now: what is asked for after a change is
    /// answered after it.
    pub(crate) fn settle_walks(&self) {
        for _ in 0..2 {
            self.send(Command::Grab);
            self.until(|notice| {
                matches!(notice, Notice::Grabbed { asked: true, .. }).then_some(())
            });
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.engine.as_ref().unwrap().handle()
    }

    pub(crate) fn until<T>(&self, wanted: impl FnMut(Notice) -> Option<T>) -> T {
        self.until_or(wanted)
            .unwrap_or_else(|| panic!("nothing of the kind within {PATIENCE:?}"))
    }

    /// The same; nothing when it does not come in time.
    pub(crate) fn until_or<T>(&self, mut wanted: impl FnMut(Notice) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let notices = self.notices.lock().unwrap();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(found) = wanted(notices.recv_timeout(left).ok()?) {
                return Some(found);
            }
        }
    }

    pub(crate) fn held(&self) -> Arc<Hold> {
        self.until(|notice| match notice {
            Notice::Held(hold) => Some(hold),
            _ => None,
        })
    }

    pub(crate) fn finished(&self) -> Arc<Hold> {
        self.until(|notice| match notice {
            Notice::Settled {
                hold,
                finished: true,
            } => Some(hold),
            _ => None,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn send(&self, command: Command) {
        self.engine.as_ref().unwrap().handle().send(command);
    }

    pub(crate) fn stop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.shutdown();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The command to watch for this rule alone.
pub(crate) fn configure(root: &Path, folder: &str, files: &str, recursive: bool) -> Command {
    Command::Configure {
        rules: vec![rule(root.join(folder).to_str().unwrap(), files, recursive)],
        library: root.join("library"),
    }
}

fn rule(folder: &str, files: &str, recursive: bool) -> Rule {
    Rule {
        name: "test".into(),
        folders: vec![folder.into()],
        files: vec![files.into()],
        recursive,
        source: Source::Temporary,
    }
}

pub(crate) fn content(hold: &Hold) -> Vec<u8> {
    let file = hold.open().unwrap();
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The temporary folder's file system and the build's: often tmpfs and a disk.
pub(crate) fn parents() -> [PathBuf; 3] {
    [
        std::env::temp_dir(),
        env!("CARGO_TARGET_TMPDIR").into(),
        "/dev/shm".into(),
    ]
}
