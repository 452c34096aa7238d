//! From a settled hold to the library: inspect, decide, name, place, write down. One thread, one file at a time.
//!
//! A file leaves our grip only after it is in the library, or nobody wants it, and that is in the history: a crash
//! in between finds the staged name again, and [`place::find`] the copy that is there already.

mod streams;

use std::{
    collections::HashMap,
    fs, io,
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, Local};

use crate::{
    config::Settings,
    engine::{
        Command, Handle, Hold, HoldId, Inode, lease,
        settle::{Stamp, Writers},
    },
    event::{Event, Saved, display},
    fate::{self, Case, Fate},
    library::{
        Means,
        history::{Entry, History},
        name::{Fields, Name},
        place::{self, FileId, Held, Placed, Staged, Work as Copying},
    },
    media::{self, Report, Verdict},
    rule::{Rule, Source},
};

/// Where files go that are not whole.
pub const APART: &str = "Incomplete";
/// Nothing tells that there is room again on a full disk: so long until the next try, twice as long after each.
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
        history: History,
        engine: Handle,
        (inbox, works): (Sender<Work>, Receiver<Work>),
        sink: Sink,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let streams = streams::Streams::new(&settings);
        let bench = Bench {
            settings,
            history,
            engine,
            sink,
            stop: stop.clone(),
            started: SystemTime::now(),
            copies: HashMap::new(),
            streams,
            waiting: Vec::new(),
            retry: None,
            complained: false,
        };
        let thread = std::thread::Builder::new().name("worker".into()).spawn(move || bench.run(&works))?;
        Ok(Self { inbox, stop, thread })
    }

    /// Gives it work; without effect when it has ended.
    pub fn send(&self, work: Work) {
        let _ = self.inbox.send(work);
    }

    /// Stops a copy under way, ends the thread and waits for it. What it was given and did not do is still held.
    pub fn shutdown(self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.inbox);
        if self.thread.join().is_err() {
            tracing::error!("the worker's thread panicked");
        }
    }
}

/// A file that was saved while its producer still had it open.
struct Copy {
    placed: Placed,
    stamp: Option<Stamp>,
}

/// A file that can't be saved just now.
struct Waiting {
    hold: Arc<Hold>,
    finished: bool,
    at: Instant,
}

struct Bench {
    settings: Arc<Settings>,
    history: History,
    engine: Handle,
    sink: Sink,
    stop: Arc<AtomicBool>,
    started: SystemTime,
    copies: HashMap<HoldId, Copy>,
    streams: streams::Streams,
    waiting: Vec<Waiting>,
    /// When to try again, and how long was waited.
    retry: Option<(Instant, Duration)>,
    /// The user knows that files are waiting.
    complained: bool,
}

impl Bench {
    fn run(mut self, works: &Receiver<Work>) {
        loop {
            let retry = self.retry.map(|(due, _)| due);
            let due = retry.into_iter().chain(self.streams.deadline()).min();
            let work = match due {
                None => works.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => works.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match work {
                _ if self.stopped() => return,
                Ok(work) => self.work(work),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if self.retry.is_some_and(|(due, _)| due <= now) {
                self.retry();
            }
            if self.streams.deadline().is_some_and(|due| due <= now) {
                self.streams_due();
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Settled { hold, finished, at } => self.settled(hold, finished, at),
            Work::Released(id) => drop(self.copies.remove(&id)),
            Work::Lost { source, rule, reason } => {
                let (source, rule) = (display(&source), rule.name.clone());
                self.end(Event::Lost { source, rule, reason }, None);
            }
            Work::Settings(settings) => {
                self.settings = settings;
                self.streams.configure(&self.settings);
                self.retry();
            }
            Work::Retry => self.retry(),
        }
    }

    /// Writes down how a candidate ended, and tells it.
    fn end(&self, event: Event, hold: Option<&Hold>) {
        self.end_with(event, |entry| {
            if let Some(hold) = hold {
                entry.how = Some(hold.how);
                entry.program = hold.producer.get().map(|p| p.name.clone());
            }
        });
    }

    /// The same with what the event doesn't tell.
    fn end_with(&self, event: Event, add: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = Entry::of(&event, Local::now()) {
            add(&mut entry);
            if let Err(e) = self.history.append(&entry) {
                tracing::error!("{}", chain(&e));
            }
        }
        (self.sink)(event);
    }

    fn settled(&mut self, hold: Arc<Hold>, finished: bool, at: Instant) {
        if hold.rule.source != Source::Temporary {
            return self.entry(hold);
        }
        let stamp = lease::look(&hold.file, hold.own_links()).ok().map(|look| look.stamp);
        if self.copies.get(&hold.id).is_some_and(|copy| copy.stamp == stamp) {
            return self.done(&hold, !finished);
        }
        let report = match media::inspect(&hold.file) {
            Ok(report) => report,
            Err(e) => return self.drop(&hold, format!("it can't be read: {e}")),
        };
        let bytes = stamp.map_or(0, |stamp| stamp.size);
        match fate::decide(Case { report: &report, bytes, private: false, finished }, &self.settings) {
            Fate::Wait => self.done(&hold, true),
            // What was saved while it was open stays as it was then.
            Fate::Drop(_) | Fate::SaveApart if self.copies.contains_key(&hold.id) => {
                self.done(&hold, !finished)
            }
            Fate::Drop(reason) => self.drop(&hold, reason),
            fate => self.save(Waiting { hold, finished, at }, &report, fate == Fate::SaveApart, stamp),
        }
    }

    fn drop(&mut self, hold: &Hold, reason: String) {
        let (source, rule) = (display(&hold.source), hold.rule.name.clone());
        self.end(Event::Dropped { source, rule, reason }, Some(hold));
        self.done(hold, false);
    }

    fn done(&self, hold: &Hold, keep: bool) {
        self.engine.send(Command::Done { id: hold.id, keep });
    }

    fn save(&mut self, file: Waiting, report: &Report, apart: bool, stamp: Option<Stamp>) {
        match self.place(&file.hold, report, apart) {
            Ok((placed, title)) => {
                self.complained = false;
                let event = Event::Saved(saved(&file, report, &placed, title));
                let copy = Copy { placed, stamp };
                // A later state of what is in the history already is not one more video.
                if self.copies.insert(file.hold.id, copy).is_none() {
                    self.end(event, Some(&file.hold));
                }
                self.done(&file.hold, !file.finished);
            }
            Err(place::Error::Stopped) => {}
            Err(e) if e.retry() => self.wait(file, &e),
            Err(e) => {
                let reason = chain(&e);
                (self.sink)(Event::Error { message: format!("{}: {reason}", display(&file.hold.source)) });
                self.drop(&file.hold, reason);
            }
        }
    }

    fn place(&self, hold: &Hold, report: &Report, apart: bool) -> Result<(Placed, String), place::Error> {
        let mut folder = self.settings.library.clone();
        if apart {
            folder.push(APART);
            // One level: a library that is gone stays gone.
            match fs::create_dir(&folder) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    tracing::debug!("{}: {e}", folder.display())
                }
                _ => {}
            }
        }
        let title = title(hold, report);
        let fields = Fields {
            title: title.clone(),
            program: hold.producer.get().map(|p| p.name.clone()),
            rule: hold.rule.name.clone(),
            container: extension(report).into(),
            length: report.duration,
            at: DateTime::<Local>::from(hold.at),
            share: match report.verdict {
                Verdict::Incomplete { fraction } => Some(fraction),
                _ => None,
            },
        };
        let name = self.settings.name.name(&fields);
        let shown = title.unwrap_or_else(|| "Video".into());
        let source = display(&hold.source);
        let mut progress = |done, total| {
            (self.sink)(Event::Progress { source: source.clone(), title: shown.clone(), done, total });
        };
        let mut copying = Copying { progress: &mut progress, stop: &self.stop };
        let held = Held {
            file: &hold.file,
            staged: hold.staged.as_ref().map(|s| Staged { dir: s.staging.as_fd(), name: &s.name }),
            writer: lease::writers(hold.file.as_fd()) != Writers::None,
            len: report.content_len,
        };
        let placed = match self.copies.get(&hold.id) {
            Some(copy) => place::replace(&copy.placed, &held, &mut copying)?,
            None => self.place_once(hold, &held, &folder, &name, &mut copying)?,
        };
        Ok((placed, shown))
    }

    /// A hold from before our start may have reached the library just before a crash.
    fn place_once(
        &self,
        hold: &Hold,
        held: &Held<'_>,
        folder: &std::path::Path,
        name: &Name,
        copying: &mut Copying<'_>,
    ) -> Result<Placed, place::Error> {
        if hold.at < self.started
            && let Some(path) = place::find(folder, held.file)?
        {
            let Inode { dev, ino } = hold.inode;
            let bytes = held.file.metadata().map_or(0, |m| m.len());
            return Ok(Placed { path, id: FileId { dev, ino }, bytes, means: Means::Link });
        }
        place::place(held, folder, name, copying)
    }

    /// It stays held; the user is told once.
    fn wait(&mut self, file: Waiting, error: &place::Error) {
        self.pause_for(error);
        self.waiting.push(file);
    }

    fn pause_for(&mut self, error: &place::Error) {
        if !self.complained {
            self.complained = true;
            let message =
                format!("{}; what is held is saved as soon as that is possible again", chain(error));
            (self.sink)(Event::Error { message });
        }
        let pause = self.retry.map_or(RETRY, |(_, pause)| pause);
        self.retry = Some((Instant::now() + pause, pause));
    }

    fn retry(&mut self) {
        let pause = self.retry.take().map_or(RETRY, |(_, pause)| (pause * 2).min(RETRY_MOST));
        for file in std::mem::take(&mut self.waiting) {
            self.settled(file.hold, file.finished, file.at);
        }
        self.streams_retry();
        if let Some((due, waited)) = &mut self.retry {
            (*due, *waited) = (Instant::now() + pause, pause);
        }
    }
}

/// Without anything better: the name that the producer gave, if it is one for people; else the container's title.
fn title(hold: &Hold, report: &Report) -> Option<String> {
    let _ = hold;
    report.title.clone()
}

fn extension(report: &Report) -> &'static str {
    report.container.map_or("bin", |container| container.extension())
}

fn saved(file: &Waiting, report: &Report, placed: &Placed, title: String) -> Saved {
    let (verdict, fraction) = match report.verdict {
        Verdict::Complete => ("complete", 1.0),
        Verdict::Incomplete { fraction } => ("incomplete", fraction),
        _ => ("damaged", 1.0),
    };
    Saved {
        path: display(&placed.path),
        source: display(&file.hold.source),
        rule: file.hold.rule.name.clone(),
        how: file.hold.how,
        bytes: placed.bytes,
        container: extension(report).into(),
        verdict: verdict.into(),
        fraction,
        duration_s: report.duration.map(|d| d.as_secs_f64()),
        title,
        producer: file.hold.producer.get().map(|p| p.name.clone()),
        ms: u64::try_from(file.at.elapsed().as_millis()).unwrap_or(u64::MAX),
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
