//! Composes: settings, engine and worker behind one front end, the terminal or the tray.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Instant,
};

#[cfg(feature = "tray")]
use crate::desktop::mpris::Mpris;
use crate::{
    config::{self, ConfigError, Overrides, Settings},
    engine::{self, Change, Command, Engine, EngineError, Notice, Options},
    environment::Environment,
    event::Event,
    library::{history, place},
    pipeline::{self, Store, Work, Worker},
    title::Titles,
};

/// What the watcher reports to its front end, from several threads, which it must not block.
#[derive(Debug)]
pub enum WatcherEvent {
    /// Something of the contract happened.
    Event(Event),
    /// Something was created in a watched folder (`watch --events`).
    Created(PathBuf),
    /// Something was removed from a watched folder (`watch --events`).
    Removed(PathBuf),
    /// [`Watcher::grab`] is done: how many files are held that were not held before.
    Grabbed(u64),
    /// The configuration file changed.
    Configuration,
    /// The engine can't go on.
    Failed(EngineError),
}

/// How to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// The environment.
    pub env: Environment,
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// What the command line sets.
    pub overrides: Overrides,
    /// Report every creation and removal.
    pub trace: bool,
}

/// Why fisga can't watch.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel refuses what the engine needs.
    #[error("can't watch")]
    Engine(#[from] EngineError),
    /// The history can't be written.
    #[error(transparent)]
    History(#[from] history::HistoryError),
    /// The system gives no thread.
    #[error("can't start a thread")]
    Thread(#[source] std::io::Error),
}

/// Watching: the engine and the worker, and the settings that they go by.
#[derive(Debug)]
pub struct Watcher {
    start: Start,
    settings: Arc<Settings>,
    engine: Engine,
    worker: Worker,
    /// Listens to the players' titles as long as it lives.
    #[cfg(feature = "tray")]
    _mpris: Mpris,
}

impl Watcher {
    /// Reads the configuration and starts to watch. `report` is called on several threads and must
    /// not block.
    ///
    /// # Errors
    /// When the configuration can't be used, or the system refuses what is needed.
    pub fn start(
        start: Start,
        report: impl Fn(WatcherEvent) + Clone + Send + 'static,
    ) -> Result<Self, StartError> {
        let settings = Arc::new(config::load(
            start.config.as_deref(),
            &start.overrides,
            &start.env,
        )?);
        engine::raise_descriptor_limit();
        if let Some(error) = make_library(&settings, &start.env) {
            report(WatcherEvent::Event(error));
        }
        let titles = Titles::default();
        let store = Store::open(&start.env, titles.clone())?;
        let (inbox, works) = mpsc::channel();
        let options = Options {
            rules: settings.rules.clone(),
            library: settings.library.clone(),
            configuration: Some(configuration(&start)),
            runtime: start.env.runtime_dir(),
            keeper: Some("/proc/self/exe".into()),
            trace: start.trace,
        };
        let notice = translate(inbox.clone(), ready(&settings), report.clone());
        let engine = Engine::start(options, notice)?;
        let sink = Box::new(move |event| report(WatcherEvent::Event(event)));
        let worker = Worker::start(
            settings.clone(),
            store,
            engine.handle(),
            (inbox, works),
            sink,
        )
        .map_err(StartError::Thread)?;
        #[cfg(feature = "tray")]
        let mpris = Mpris::start(titles).map_err(StartError::Thread)?;
        Ok(Self {
            start,
            settings,
            engine,
            worker,
            #[cfg(feature = "tray")]
            _mpris: mpris,
        })
    }

    /// What is in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Holds nothing new until [`Self::resume`].
    pub fn pause(&self) {
        self.engine.handle().send(Command::Pause);
    }

    /// Holds again.
    pub fn resume(&self) {
        self.engine.handle().send(Command::Resume);
    }

    /// Holds what is open already. Answered with [`WatcherEvent::Grabbed`].
    pub fn grab(&self) {
        self.engine.handle().send(Command::Grab);
    }

    /// Reads the configuration again; the last good one stays in force when it can't be used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn reload(&mut self) -> Result<(), ConfigError> {
        let settings = config::load(
            self.start.config.as_deref(),
            &self.start.overrides,
            &self.start.env,
        )?;
        if settings == *self.settings {
            return Ok(());
        }
        self.settings = Arc::new(settings);
        if let Some(Event::Error { message }) = make_library(&self.settings, &self.start.env) {
            tracing::error!("{message}");
        }
        let (rules, library) = (self.settings.rules.clone(), self.settings.library.clone());
        self.engine
            .handle()
            .send(Command::Configure { rules, library });
        self.worker.send(Work::Settings(self.settings.clone()));
        Ok(())
    }

    /// Ends both: the engine first, so that nothing new comes; what is not saved yet stays in
    /// staging.
    pub fn shutdown(self) {
        self.engine.shutdown();
        self.worker.shutdown();
    }
}

/// Makes the library folder. Outside the home a missing parent is a disk that isn't mounted, not a
/// folder to be made.
fn make_library(settings: &Settings, env: &Environment) -> Option<Event> {
    let at_home = settings.library.starts_with(env.home());
    let mounted = settings.library.parent().is_some_and(Path::is_dir);
    if !at_home && !mounted {
        return None;
    }
    let error = place::prepare(&settings.library).err()?;
    Some(Event::Error {
        message: pipeline::chain(&error),
    })
}

/// The configuration file that is read, whether it is there or not.
fn configuration(start: &Start) -> PathBuf {
    let path = start
        .config
        .clone()
        .unwrap_or_else(|| config::default_path(&start.env));
    std::path::absolute(&path).unwrap_or(path)
}

fn ready(settings: &Settings) -> Event {
    Event::Ready {
        pid: std::process::id(),
        library: settings.library.clone(),
        rules: settings
            .rules
            .iter()
            .map(|rule| rule.name.clone())
            .collect(),
    }
}

/// What the engine says, sorted: events for the front end, work for the worker.
fn translate(
    worker: mpsc::Sender<Work>,
    ready: Event,
    report: impl Fn(WatcherEvent) + Send + 'static,
) -> impl Fn(Notice) + Send + 'static {
    move |notice| {
        let work = |work| drop(worker.send(work));
        match notice {
            Notice::Ready => report(WatcherEvent::Event(ready.clone())),
            Notice::Unwatched(unwatched) => report(WatcherEvent::Event(Event::Error {
                message: unwatched.advice(),
            })),
            // A piece from a browser's cache is nothing that the user has heard of.
            Notice::Held(hold) if hold.rule.source.is_cache() => {}
            Notice::Lost { rule, .. } if rule.source.is_cache() => {}
            Notice::Held(hold) => report(WatcherEvent::Event(Event::Held {
                path: hold.source.clone(),
                how: hold.how,
                rule: hold.rule.name.clone(),
                dev: hold.inode.dev,
                ino: hold.inode.ino,
            })),
            Notice::Settled { hold, finished } => work(Work::Settled {
                hold,
                finished,
                at: Instant::now(),
            }),
            // The worker let it go itself, and need not wake up to hear of it.
            Notice::Released { rule, .. } if rule.source.is_cache() => {}
            Notice::Released { id, .. } => work(Work::Released(id)),
            Notice::Lost {
                source,
                rule,
                reason,
            } => work(Work::Lost {
                source,
                rule,
                reason,
            }),
            Notice::Overflow { recovered } => {
                report(WatcherEvent::Event(Event::Overflow { recovered }))
            }
            Notice::Grabbed { count, asked: true } => report(WatcherEvent::Grabbed(count)),
            Notice::Grabbed { asked: false, .. } => {}
            Notice::Changed(Change::Sandbox) => {}
            Notice::Changed(Change::Library) => work(Work::Retry),
            Notice::Changed(Change::Configuration) => report(WatcherEvent::Configuration),
            Notice::Created(path) => report(WatcherEvent::Created(path)),
            Notice::Removed(path) => report(WatcherEvent::Removed(path)),
            Notice::Failed(error) => report(WatcherEvent::Failed(error)),
        }
    }
}
