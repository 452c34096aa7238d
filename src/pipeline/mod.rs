//! From a settled hold to the library: inspect, decide, name, place, write down. One thread, one
//! file at a time.
//!
//! A file leaves our grip only after it is in the library, or nobody wants it, and that is in the
//! history: a crash in between finds the staged name again, and [`place::find`] the copy that is
//! there already.
//!
//! | file | what it is about |
//! |---|---|
//! | [`fate`] | pure: what becomes of a file |
//! | `player` | a player's temporary file: judged, put in order, saved |
//! | `pieces` | cache entries: collected, put together, saved |
//! | `rebuild` | what a cache holds already |
//! | `item` | what can be saved, wherever it comes from |
//! | `save` | decided on, named, placed, written down |

pub mod fate;
mod item;
mod pieces;
mod player;
mod rebuild;
mod save;

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use item::{Copy, Key};
pub use rebuild::{RebuildError, look, save};

use crate::{
    config::Settings,
    engine::{Command, Handle, Hold, HoldId},
    environment::Environment,
    event::Event,
    library::{
        duplicate::Duplicates,
        folder::{INCOMPLETE, PlaceError},
        history::{self, History},
        place,
        thumbnail::Thumbnails,
    },
    rule::{Rule, Source},
    stream::collect::{Collector, video::CachedVideo},
    title::Titles,
};

/// Nothing tells that there is room again on a full disk: so long until the next try, twice as long
/// after each.
const RETRY: Duration = Duration::from_secs(15);
/// The longest time between two tries.
const RETRY_MOST: Duration = Duration::from_secs(600);

/// What the worker is given.
#[derive(Debug)]
pub enum Work {
    /// The engine says that a file can be judged.
    Settled {
        /// The file.
        hold: Arc<Hold>,
        /// Nobody writes to it any more.
        finished: bool,
        /// Since when.
        at: Instant,
    },
    /// The engine let a file go.
    Released(HoldId),
    /// A candidate could not be held: written down.
    Lost {
        /// Where it was created.
        source: PathBuf,
        /// The rule that matched.
        rule: Arc<Rule>,
        /// Why, for people.
        reason: String,
    },
    /// Other settings from now on.
    Settings(Arc<Settings>),
    /// Something changed that may let waiting files into the library.
    Retry,
    /// A player may have shown a title that a video waits for.
    Titles,
}

/// What the worker reads and writes beside the library.
#[derive(Debug)]
pub struct Store {
    /// What became of each candidate.
    pub history: History,
    /// What the library has, by its contents: a file of ours that may be missing.
    pub index: PathBuf,
    /// Pictures.
    pub thumbnails: Thumbnails,
    /// What players show.
    pub titles: Titles,
}

impl Store {
    /// Where the environment says that they are.
    ///
    /// # Errors
    /// That the history can't be written.
    pub fn open(env: &Environment, titles: Titles) -> Result<Self, history::HistoryError> {
        Ok(Self {
            history: History::open(&env.history_file())?,
            index: env.state_dir().join("fisga/index.jsonl"),
            thumbnails: Thumbnails::new(&env.cache_dir().join("thumbnails")),
            titles,
        })
    }
}

/// Tells what happened; called on the worker's thread.
pub type Sink = Box<dyn Fn(Event) + Send>;

/// The running worker.
#[derive(Debug)]
pub struct Worker {
    inbox: Sender<Work>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread. It gets its work through `inbox`, whose other end is `works`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        settings: Arc<Settings>,
        store: Store,
        engine: Handle,
        (inbox, works): (Sender<Work>, Receiver<Work>),
        sink: Sink,
    ) -> io::Result<Self> {
        let titles = store.titles.clone();
        let pipeline = Pipeline::new(settings, store, Some(engine), sink);
        let stop = pipeline.stop.clone();
        let thread = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || pipeline.run(&works))?;
        let changed = inbox.clone();
        titles.listen(move || drop(changed.send(Work::Titles)));
        Ok(Self {
            inbox,
            stop,
            thread,
        })
    }

    /// Gives it work; without effect when it has ended.
    pub fn send(&self, work: Work) {
        let _ = self.inbox.send(work);
    }

    /// Stops a copy under way, ends the thread and waits for it. What it was given and did not do
    /// is still held.
    pub fn shutdown(self) {
        self.stop.store(true, Ordering::Relaxed);
        // Whatever it is, it makes it look.
        let _ = self.inbox.send(Work::Retry);
        if self.thread.join().is_err() {
            tracing::error!("the worker's thread panicked");
        }
    }
}

/// What can't be saved just now.
enum Waiting {
    Player {
        hold: Arc<Hold>,
        finished: bool,
        at: Instant,
    },
    Stream(Box<CachedVideo>),
}

struct Pipeline {
    settings: Arc<Settings>,
    history: History,
    index: PathBuf,
    duplicates: Duplicates,
    thumbnails: Thumbnails,
    titles: Titles,
    /// When the last picture was made.
    pictured: Cell<Option<Instant>>,
    /// It was said that the library refuses the template's names.
    said_renamed: Cell<bool>,
    /// When the next incomplete video leaves.
    expiry: Option<Instant>,
    /// None where nothing is held: see [`rebuild`].
    engine: Option<Handle>,
    sink: Sink,
    stop: Arc<AtomicBool>,
    started: SystemTime,
    /// What was saved while its producer still had it open.
    copies: HashMap<Key, Copy>,
    waiting: Vec<Waiting>,
    /// Whole, and without a title, and until when they wait for one.
    untitled: Vec<(Instant, Waiting)>,
    /// When to try again, and how long was waited.
    retry: Option<(Instant, Duration)>,
    /// The user knows that files are waiting.
    complained: bool,
    /// Puts cache entries together.
    collector: Collector,
    /// The entries that it keeps.
    pieces: HashMap<HoldId, Arc<Hold>>,
}

impl Pipeline {
    fn new(settings: Arc<Settings>, store: Store, engine: Option<Handle>, sink: Sink) -> Self {
        Self {
            collector: Collector::new(pieces::limits(&settings)),
            duplicates: Duplicates::new(&settings.library, &store.index),
            settings,
            history: store.history,
            index: store.index,
            thumbnails: store.thumbnails,
            titles: store.titles,
            pictured: Cell::default(),
            said_renamed: Cell::default(),
            expiry: None,
            engine,
            sink,
            stop: Arc::new(AtomicBool::new(false)),
            started: SystemTime::now(),
            copies: HashMap::new(),
            waiting: Vec::new(),
            untitled: Vec::new(),
            retry: None,
            complained: false,
            pieces: HashMap::new(),
        }
    }

    fn run(mut self, works: &Receiver<Work>) {
        self.tidy();
        loop {
            let untitled = self.untitled.iter().map(|(until, _)| *until).min();
            let dues = [
                self.retry.map(|(due, _)| due),
                self.collector.deadline(),
                self.expiry,
                untitled,
            ];
            let due = dues.into_iter().flatten().min();
            let work = match due {
                None => works.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => works.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match work {
                Ok(work) if !self.stopped() => self.work(work),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if self.retry.is_some_and(|(due, _)| due <= now) {
                self.retry();
            }
            if self.collector.deadline().is_some_and(|due| due <= now) {
                self.collected(now);
            }
            if self.expiry.is_some_and(|due| due <= now) {
                self.expire();
            }
            for (_, waiting) in self
                .untitled
                .extract_if(.., |(until, _)| *until <= now)
                .collect::<Vec<_>>()
            {
                self.again(waiting);
            }
        }
    }

    /// What a crash left of copies goes, and what is due by its age.
    fn tidy(&mut self) {
        for folder in [
            self.settings.library.clone(),
            self.settings.library.join(INCOMPLETE),
        ] {
            if folder.is_dir()
                && let Err(e) = place::sweep(&folder)
            {
                tracing::info!("{}", chain(&e));
            }
        }
        self.expire();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Settled { hold, finished, at } => match hold.rule.source {
                Source::Temporary => self.player(hold, finished, at),
                Source::Chromium | Source::Firefox => self.piece(hold, at),
            },
            Work::Released(id) => self.copies.retain(|key, _| !key.is_of(id)),
            Work::Lost { rule, .. } if rule.source.is_cache() => {}
            Work::Lost {
                source,
                rule,
                reason,
            } => {
                let rule = rule.name.clone();
                self.end(
                    Event::Lost {
                        source,
                        rule,
                        reason,
                    },
                    |_| {},
                );
            }
            Work::Settings(settings) => {
                self.collector.configure(pieces::limits(&settings));
                self.duplicates = Duplicates::new(&settings.library, &self.index);
                self.settings = settings;
                self.expire();
                self.retry();
            }
            Work::Retry => self.retry(),
            Work::Titles => {
                for (_, waiting) in std::mem::take(&mut self.untitled) {
                    self.again(waiting);
                }
            }
        }
    }

    fn again(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Player { hold, finished, at } => self.player(hold, finished, at),
            Waiting::Stream(video) => self.stream(video),
        }
    }

    /// Lets the engine go on with a file, or let it go.
    fn done(&self, id: HoldId, keep: bool) {
        if let Some(engine) = &self.engine {
            engine.send(Command::Done { id, keep });
        }
    }

    /// It stays held; the user is told once.
    fn wait(&mut self, waiting: Waiting, error: &PlaceError) {
        if !std::mem::replace(&mut self.complained, true) {
            let message = format!(
                "{}; what is held is saved as soon as that is possible again",
                chain(error)
            );
            (self.sink)(Event::Error { message });
        }
        self.waiting.push(waiting);
        let pause = self.retry.map_or(RETRY, |(_, pause)| pause);
        self.retry = Some((Instant::now() + pause, pause));
    }

    fn retry(&mut self) {
        let pause = self
            .retry
            .take()
            .map_or(RETRY, |(_, pause)| (pause * 2).min(RETRY_MOST));
        for waiting in std::mem::take(&mut self.waiting) {
            self.again(waiting);
        }
        if let Some((due, waited)) = &mut self.retry {
            (*due, *waited) = (Instant::now() + pause, pause);
        }
    }
}

/// An error and what caused it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
