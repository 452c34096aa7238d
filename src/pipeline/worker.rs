//! The worker: a thread that is given files, and saves them.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::Instant,
};

use super::{
    Sink, Store,
    agenda::{Agenda, Waiting},
    chain, limits,
    saver::Saver,
};
use crate::{
    config::Settings,
    engine::{Command, Handle, Hold, HoldId},
    event::Event,
    library::folder::PlaceError,
    rule::{Rule, Source},
    stream::collect::Collector,
};

/// What the worker is given.
#[derive(Debug)]
pub enum Work {
    /// The engine reports a file that can be judged.
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
    /// A candidate could not be held. It is written into the history.
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
        let stop = Arc::new(AtomicBool::new(false));
        let saver = Saver::new(settings, store, stop.clone(), sink);
        let pipeline = Pipeline::new(saver, engine);
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

    /// Gives it work. It has no effect when the thread has ended.
    pub fn send(&self, work: Work) {
        let _ = self.inbox.send(work);
    }

    /// Stops a copy under way, ends the thread and waits for it. Files that it was given and has
    /// not dealt with stay held.
    pub fn shutdown(self) {
        self.stop.store(true, Ordering::Relaxed);
        // Any work wakes the thread, so that it sees the flag.
        let _ = self.inbox.send(Work::Retry);
        if self.thread.join().is_err() {
            tracing::error!("the worker's thread panicked");
        }
    }
}

/// The thread's state.
pub(super) struct Pipeline {
    pub(super) saver: Saver,
    engine: Handle,
    pub(super) agenda: Agenda<Waiting>,
    /// Puts cache entries together.
    pub(super) collector: Collector,
    /// The entries that it keeps.
    pub(super) pieces: HashMap<HoldId, Arc<Hold>>,
}

impl Pipeline {
    fn new(saver: Saver, engine: Handle) -> Self {
        Self {
            collector: Collector::new(limits(saver.settings())),
            saver,
            engine,
            agenda: Agenda::new(),
            pieces: HashMap::new(),
        }
    }

    fn run(mut self, works: &Receiver<Work>) {
        self.saver.tidy();
        loop {
            let dues = [
                self.agenda.next(),
                self.collector.deadline(),
                self.saver.expiry(),
            ];
            let work = match dues.into_iter().flatten().min() {
                None => works.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => works.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match work {
                Ok(work) if !self.saver.is_stopped() => self.work(work),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.due(Instant::now());
        }
    }

    /// Does what is due at `now`.
    fn due(&mut self, now: Instant) {
        let due = self.agenda.due(now);
        self.again(due);
        if self.collector.deadline().is_some_and(|due| due <= now) {
            self.collected(now);
        }
        if self.saver.expiry().is_some_and(|due| due <= now) {
            self.saver.expire();
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Settled { hold, finished, at } => match hold.rule.source {
                Source::Temporary => self.player(hold, finished, at),
                Source::Chromium | Source::Firefox => self.piece(hold, at),
            },
            Work::Released(id) => self.saver.forget(id),
            Work::Lost { rule, .. } if rule.source.is_cache() => {}
            Work::Lost {
                source,
                rule,
                reason,
            } => {
                let rule = rule.name.clone();
                self.saver.end(Event::Lost {
                    source,
                    rule,
                    reason,
                });
            }
            Work::Settings(settings) => {
                self.collector.configure(limits(&settings));
                self.saver.configure(settings);
                self.retry();
            }
            Work::Retry => self.retry(),
            Work::Titles => {
                let untitled = self.agenda.untitled();
                self.again(untitled);
            }
        }
    }

    fn retry(&mut self) {
        let refused = self.agenda.refused();
        self.again(refused);
    }

    fn again(&mut self, waiting: Vec<Waiting>) {
        for waiting in waiting {
            match waiting {
                Waiting::Player { hold, finished, at } => self.player(hold, finished, at),
                Waiting::Stream(video) => self.stream(video),
            }
        }
        self.agenda.tried();
    }

    /// Reports to the engine that a file was dealt with: it is watched on with `keep`, else let go.
    pub(super) fn done(&self, id: HoldId, keep: bool) {
        self.engine.send(Command::Done { id, keep });
    }

    /// Puts a video that the library can't take on the agenda. Its file stays held; the user hears
    /// of the reason once.
    pub(super) fn wait(&mut self, waiting: Waiting, error: &PlaceError) {
        if self.agenda.refuse(waiting, Instant::now()) {
            self.saver.fail(format!(
                "{}; what is held is saved as soon as that is possible again",
                chain(error)
            ));
        }
    }
}
