//! From the kernel's event to our grip on the file.
//!
//! One thread sleeps in poll(2) on inotify, a wake-up descriptor and the mount table. It links what
//! a rule matches at once and does nothing slow. Beside it, each on a thread of its own: scans of
//! `/proc` ([`rescue`]), walks through folders ([`watch`]), and closing, removing and keeping files
//! (`chores`). What comes after a file has settled is the caller's, who gets [`Notice`]s and gives
//! [`Command`]s.

mod chores;
mod descriptors;
pub mod hold;
pub mod keeper;
pub mod lease;
mod open;
mod priority;
pub mod processes;
mod program;
pub mod rescue;
pub mod settle;
pub mod staging;
mod thread;
mod trust;
pub mod watch;

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

pub use hold::{Hold, HoldId, Producer};
use inotify::Inotify;
use rustix::event::{EventfdFlags, eventfd};
pub use watch::{Cause, Change, Unwatched};

use self::{
    chores::Chores,
    descriptors::Descriptors,
    keeper::Keeper,
    staging::Stagings,
    thread::{EngineMessage, Parts},
    watch::{News, WalkRequest, Walker, WatchPlan},
};
use crate::rule::Rule;

/// How long the end waits for a walk: a file system may never answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the engine reports. The function that takes it is called on the engine's thread and must
/// not block.
#[derive(Debug)]
pub enum Notice {
    /// Watches are in place.
    Ready,
    /// Folders can't be watched, or a held file can't: then it is looked at now and then.
    Unwatched(Unwatched),
    /// We have a grip on a candidate.
    Held(Arc<Hold>),
    /// A held file can be judged: it is finished, or it is still open but has stopped growing. It
    /// stays held until [`Command::Done`] says what became of it.
    Settled {
        /// The file.
        hold: Arc<Hold>,
        /// Whether nobody writes to it any more.
        finished: bool,
    },
    /// A held file was let go after [`Command::Done`].
    Released {
        /// Its number.
        id: HoldId,
        /// The rule that matched.
        rule: Arc<Rule>,
    },
    /// A candidate was seen and could not be held.
    Lost {
        /// Where it was created.
        source: PathBuf,
        /// The rule that matched.
        rule: Arc<Rule>,
        /// Why, for people.
        reason: String,
    },
    /// The kernel dropped events, and what was created meanwhile was looked for.
    Overflow {
        /// How many candidates were found.
        recovered: u64,
    },
    /// A look for files that are open already is done.
    Grabbed {
        /// How many were not held before.
        count: u64,
        /// Whether [`Command::Grab`] asked for it. Else the engine looked by itself.
        asked: bool,
    },
    /// The configuration file or the library folder appeared or changed.
    Changed(Change),
    /// Something was created in a watched folder (with [`Options::trace`]).
    Created(PathBuf),
    /// Something was removed from a watched folder (with [`Options::trace`]).
    Removed(PathBuf),
    /// The thread can't go on.
    Failed(EngineError),
}

/// What the engine is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Holds nothing new until [`Command::Resume`].
    Pause,
    /// Holds again.
    Resume,
    /// Holds what is open already.
    Grab,
    /// Watches for other rules.
    Configure {
        /// All rules from now on.
        rules: Vec<Rule>,
        /// The library from now on.
        library: PathBuf,
    },
    /// A settled file was dealt with.
    Done {
        /// Which.
        id: HoldId,
        /// Keep it, and give notice again when it changes or is closed; else let it go.
        keep: bool,
    },
    /// Ends the thread; what is staged stays for the next start.
    Stop,
}

/// What to watch, at the start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rules in force.
    pub rules: Vec<Rule>,
    /// Where finished files go: staging is put beside it where that saves a copy.
    pub library: PathBuf,
    /// The configuration file: a change of it is reported.
    pub configuration: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`, where launchers of sandboxes leave their traces.
    pub runtime: Option<PathBuf>,
    /// The program that holds files that have no name left ([`keeper`]): fisga itself, run with
    /// [`keeper::COMMAND`].
    pub keeper: Option<PathBuf>,
    /// Give notice of every creation and removal.
    pub trace: bool,
}

/// Why the engine can't run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A rule's glob doesn't parse.
    #[error("a rule's pattern")]
    Pattern(#[from] globset::Error),
    /// No inotify instance could be had.
    #[error(
        "inotify can't be used (sysctl fs.inotify.max_user_instances limits how many programs may)"
    )]
    Inotify(#[source] io::Error),
    /// A system call failed that fails only on a system in trouble.
    #[error("{call}")]
    System {
        /// Which call.
        call: &'static str,
        /// What it returned.
        source: io::Error,
    },
}

/// The running engine.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    walker: JoinHandle<()>,
    /// Closed when the walker ends.
    walks: Mutex<Receiver<()>>,
}

/// Gives commands to the engine. It can be cloned.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: Sender<EngineMessage>,
    wake: Arc<OwnedFd>,
    /// Read for each file, so that a pause is in force as soon as the command returns.
    paused: Arc<AtomicBool>,
}

impl Engine {
    /// Starts its threads. `notice` is called on the engine's thread and must not block.
    ///
    /// # Errors
    /// When a pattern doesn't parse or the kernel refuses inotify or a descriptor.
    pub fn start(
        options: Options,
        notice: impl Fn(Notice) + Send + 'static,
    ) -> Result<Self, EngineError> {
        Self::with(options, Stagings::new(""), notice)
    }

    /// Starts it for a trial beside a running fisga. Its staging folders have names of their own,
    /// so that neither takes the other's files for leftovers of an earlier run.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn trial(
        options: Options,
        notice: impl Fn(Notice) + Send + 'static,
    ) -> Result<Self, EngineError> {
        Self::with(options, Stagings::new("-trial"), notice)
    }

    fn with(
        options: Options,
        stagings: Stagings,
        notice: impl Fn(Notice) + Send + 'static,
    ) -> Result<Self, EngineError> {
        let system = |call| move |source| EngineError::System { call, source };
        lease::ignore_breaks().map_err(system("sigaction"))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(|e| system("eventfd")(e.into()))?;
        let inotify = Inotify::init().map_err(EngineError::Inotify)?;
        let plan = WatchPlan::new(
            &options.rules,
            &options.library,
            options.configuration.as_deref(),
            options.runtime.as_deref(),
        )?;
        let (inbox, messages) = mpsc::channel();
        let handle = Handle {
            inbox,
            wake: Arc::new(wake),
            paused: Arc::default(),
        };
        let (requests, asked) = mpsc::channel();
        let (walker, walk_requests) = mpsc::channel::<WalkRequest>();
        let (chores, chores_asked) = mpsc::channel();
        let freed = handle.clone();
        let descriptors = Descriptors::new(move || freed.post(EngineMessage::Freed));
        let told = handle.clone();
        let news = move |news: News| told.post(EngineMessage::News(news));
        // Staging folders are tidied up when nothing is removed from them any more.
        let end_walks = walker.clone();
        let walks = Walker::new(inotify.watches(), stagings, options.trace, news);
        let core = thread::Core::new(
            Parts {
                inotify,
                plan,
                walker,
                requests: requests.clone(),
                chores: Chores::new(chores),
                descriptors: descriptors.clone(),
                messages,
                wake: handle.wake.clone(),
                paused: handle.paused.clone(),
                configuration: options.configuration,
                runtime: options.runtime,
                trace: options.trace,
            },
            notice,
        );
        let (walking, walks_end) = mpsc::channel();
        let walker = spawn("walk", move || {
            walks.run(&walk_requests);
            drop(walking);
        })?;
        let keeper = Keeper::new(options.keeper);
        let chores = spawn("chores", move || {
            chores::run(&chores_asked, keeper, || {
                drop(end_walks.send(WalkRequest::End))
            });
        })?;
        let answers = handle.clone();
        let scanner = spawn("rescue", move || {
            rescue::run(&asked, requests, descriptors, |answer| {
                answers.post(EngineMessage::Answer(answer))
            });
        })?;
        let engine = spawn("engine", move || core.run())?;
        Ok(Self {
            handle,
            threads: vec![engine, scanner, chores],
            walker,
            walks: Mutex::new(walks_end),
        })
    }

    /// A handle for commands.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends its threads and waits for them, except for a walk through a file system that doesn't
    /// answer.
    pub fn shutdown(self) {
        self.handle.send(Command::Stop);
        let mut threads = self.threads;
        let walks = self
            .walks
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match walks.recv_timeout(PATIENCE) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                tracing::warn!("a folder that is looked into doesn't answer");
            }
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => threads.push(self.walker),
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine panicked");
            }
        }
    }
}

impl Handle {
    /// Gives a command. It has no effect when the engine has ended.
    pub fn send(&self, command: Command) {
        match command {
            Command::Pause => self.paused.store(true, Ordering::Relaxed),
            Command::Resume => self.paused.store(false, Ordering::Relaxed),
            command => self.post(EngineMessage::Command(command)),
        }
    }

    fn post(&self, message: EngineMessage) {
        if self.inbox.send(message).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        }
    }
}

fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, EngineError> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|source| EngineError::System {
            call: "pthread_create",
            source,
        })
}

/// Raises the soft limit of open descriptors to the hard one: each held file without a link takes
/// one (getrlimit(2)).
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(e) = setrlimit(Resource::Nofile, limit) {
            tracing::info!("the limit of open files stays as it is: {e}");
        }
    }
}

/// Whether two folders lie on one mount, so that a hard link between them is possible.
///
/// # Errors
/// What statx(2) returns.
pub fn same_mount(a: &Path, b: &Path) -> io::Result<bool> {
    Ok(staging::mount_id(rustix::fs::CWD, a)? == staging::mount_id(rustix::fs::CWD, b)?)
}
