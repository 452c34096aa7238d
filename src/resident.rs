//! `fisga` without a command: the front end on the desktop. Without a display it prints what happens, as
//! `fisga watch` does, and everything else works as far as there is a bus for it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Local};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::{
    app::{Start, StartError, Watcher, WatcherEvent},
    config,
    desktop::{
        Wake, Waker,
        control::Client,
        event_loop,
        instance::{self, Claim},
        ui::{Backend, Ui, UiSettings},
    },
    environment::Environment,
    event::Event,
    library::{history::History, trash},
    pipeline::chain,
    terminal::{self, Output, SignalThread},
};

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum ResidentError {
    /// The lock that shows whether another one runs can't be used.
    #[error(transparent)]
    Instance(#[from] instance::InstanceError),
    /// It did not even begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system gives no thread or descriptor.
    #[error("can't start the desktop's part")]
    Desktop(#[source] io::Error),
    /// Nobody reads us.
    #[error("stdout")]
    Output(#[source] io::Error),
}

/// Sits in the tray until SIGINT, SIGTERM or the user's Quit; SIGHUP reads the configuration again.
/// If one runs already, says so and shows its folder.
///
/// # Errors
/// When it can't begin.
pub fn run(start: Start, out: &mut impl Write) -> Result<(), ResidentError> {
    let _lock = match instance::claim()? {
        Claim::Ours(lock) => lock,
        Claim::Taken { pid } => return second(pid, out),
    };
    let resident = event_loop::run(
        |waker, display| Resident::start(start, waker, display, out),
        Resident::on,
    )?;
    resident.end().map_err(ResidentError::Output)
}

/// Shows the folder of the one that runs.
fn second(pid: Option<u32>, out: &mut impl Write) -> Result<(), ResidentError> {
    let process = pid
        .map(|pid| format!(" (process {pid})"))
        .unwrap_or_default();
    let shown = Client::connect().and_then(|fisga| fisga.open());
    let more = if shown.is_ok() {
        "; its folder is shown"
    } else {
        ""
    };
    writeln!(out, "fisga is running already{process}{more}").map_err(ResidentError::Output)
}

struct Resident<'a, W> {
    ui: Ui<ResidentBackend>,
    signals: SignalThread,
    /// Where events are printed, if there is no display.
    terminal: Option<&'a mut W>,
    written: io::Result<()>,
}

impl<'a, W: Write> Resident<'a, W> {
    fn start(
        start: Start,
        waker: Waker,
        display: bool,
        out: &'a mut W,
    ) -> Result<Self, ResidentError> {
        let deliver = waker.clone();
        let signals = SignalThread::start(&[SIGINT, SIGTERM, SIGHUP], move |signal| {
            deliver.wake(if signal == SIGHUP {
                Wake::Reload
            } else {
                Wake::Quit
            });
        })
        .map_err(ResidentError::Desktop)?;
        let deliver = waker.clone();
        let watcher = Watcher::start(start.clone(), move |event| deliver.wake(translate(event)))?;
        let look = look(&watcher);
        let first = is_first_start(&start.env);
        let program = ResidentBackend {
            watcher,
            start,
            waker: waker.clone(),
        };
        let ui = Ui::start(look, display, waker, program).map_err(ResidentError::Desktop)?;
        if first {
            ui.welcome();
        }
        let mut resident = Self {
            ui,
            signals,
            terminal: (!display).then_some(out),
            written: Ok(()),
        };
        resident.print(|out| {
            writeln!(
                out,
                "There is no display; this is the terminal. Ctrl-C ends fisga."
            )
        });
        Ok(resident)
    }

    fn on(&mut self, wake: Wake) -> event_loop::Flow {
        if let Wake::Event(event) = &wake {
            self.print(|out| terminal::print(event, Output::Plain, out));
        }
        self.ui.on(wake)
    }

    /// A terminal that is gone is no reason to stop keeping videos.
    fn print(&mut self, print: impl FnOnce(&mut W) -> io::Result<()>) {
        if let Some(out) = &mut self.terminal {
            self.written = print(out);
            if self.written.is_err() {
                self.terminal = None;
            }
        }
    }

    fn end(self) -> io::Result<()> {
        self.ui.end().watcher.shutdown();
        self.signals.shutdown();
        self.written
    }
}

/// A watcher's event as the loop takes it.
fn translate(event: WatcherEvent) -> Wake {
    match event {
        WatcherEvent::Event(event) => Wake::Event(event),
        WatcherEvent::Grabbed(count) => Wake::Grabbed(count),
        WatcherEvent::Configuration => Wake::Reload,
        WatcherEvent::Failed(error) => Wake::Event(Event::Error {
            message: format!("Nothing is saved any more: {}", chain(&error)),
        }),
        // Reported only with `watch --events`.
        WatcherEvent::Created(_) | WatcherEvent::Removed(_) => Wake::Nothing,
    }
}

fn look(watcher: &Watcher) -> UiSettings {
    let settings = watcher.settings();
    UiSettings {
        library: settings.library.clone(),
        notifications: settings.notifications,
    }
}

/// Whether fisga has never run here: then it leaves a mark.
fn is_first_start(env: &Environment) -> bool {
    let folder = env.state_dir().join("fisga");
    let mark = || {
        fs::create_dir_all(&folder)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(folder.join("welcomed"))
    };
    mark().is_ok()
}

/// What the interface asks of the program.
struct ResidentBackend {
    watcher: Watcher,
    start: Start,
    waker: Waker,
}

impl ResidentBackend {
    fn report(&self, event: Event) {
        self.waker.wake(Wake::Event(event));
    }

    fn complain(&self, error: &dyn std::error::Error) {
        self.report(Event::Error {
            message: chain(error),
        });
    }

    fn path(&self) -> PathBuf {
        self.start
            .config
            .clone()
            .unwrap_or_else(|| config::default_path(&self.start.env))
    }
}

impl Backend for ResidentBackend {
    fn pause(&mut self, until: Option<DateTime<Local>>) {
        self.watcher.pause();
        self.report(Event::Paused { until });
    }

    fn resume(&mut self) {
        self.watcher.resume();
        self.report(Event::Resumed);
    }

    fn grab(&mut self) {
        self.watcher.grab();
    }

    fn discard(&mut self, path: &Path) {
        let discarded = History::open(&self.start.env.history_file())
            .map_err(trash::DiscardError::from)
            .and_then(|history| {
                trash::discard(path.as_os_str(), &self.watcher.settings().library, &history)
            });
        if let Err(error) = discarded {
            self.complain(&error);
        }
    }

    fn set_notifications(&mut self, on: bool) {
        if let Err(error) = config::set(&self.path(), "notifications", on.into(), &self.start.env) {
            self.complain(&error);
        }
    }

    fn configuration(&mut self) -> anyhow::Result<PathBuf> {
        let path = self.path();
        config::write_default(&path, &self.start.env)?;
        Ok(path)
    }

    fn reload(&mut self) -> Option<UiSettings> {
        match self.watcher.reload() {
            Ok(()) => Some(look(&self.watcher)),
            Err(error) => {
                self.complain(&error);
                None
            }
        }
    }
}
