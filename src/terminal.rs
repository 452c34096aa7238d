//! `fisga watch`: the front end without a desktop. Events on stdout, for people or one JSON object a
//! line.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    sync::mpsc,
    thread::JoinHandle,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};

use crate::{
    app::{Start, StartError, Watcher, WatcherEvent},
    engine::EngineError,
    event::Event,
    pipeline::chain,
    text,
};

/// What goes to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// What happened, for people.
    Plain,
    /// One event a line as JSON.
    Json,
    /// "Create: PATH" and "Remove: PATH" for all that happens in the watched folders.
    Events,
}

/// Why watching ended early.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// It did not even begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Signals can't be received.
    #[error("signals can't be received")]
    Signals(#[source] io::Error),
    /// The engine can't go on.
    #[error("watching ended")]
    Engine(#[from] EngineError),
    /// Nobody reads us.
    #[error("stdout")]
    Output(#[source] io::Error),
}

enum Wake {
    Watcher(Box<WatcherEvent>),
    Signal(i32),
}

/// Watches until SIGINT or SIGTERM; SIGHUP reads the configuration again.
///
/// # Errors
/// When it can't begin or go on.
pub fn run(start: Start, output: Output, out: &mut impl Write) -> Result<(), TerminalError> {
    let (send, wakes) = mpsc::channel();
    let deliver = send.clone();
    let signals = SignalThread::start(&[SIGINT, SIGTERM, SIGHUP], move |signal| {
        drop(send.send(Wake::Signal(signal)))
    })
    .map_err(TerminalError::Signals)?;
    let mut watcher = Watcher::start(start, move |event| {
        drop(deliver.send(Wake::Watcher(Box::new(event))))
    })?;
    let ended = watch(&mut watcher, &wakes, output, out);
    watcher.shutdown();
    signals.shutdown();
    // What the worker still finished.
    let last = wakes.try_iter().try_for_each(|wake| match wake {
        Wake::Watcher(event) => match *event {
            WatcherEvent::Event(event) => print(&event, output, out),
            _ => Ok(()),
        },
        Wake::Signal(_) => Ok(()),
    });
    ended?;
    last.map_err(TerminalError::Output)?;
    if output == Output::Json {
        Ok(())
    } else {
        writeln!(out, "fisga stopped").map_err(TerminalError::Output)
    }
}

fn watch(
    watcher: &mut Watcher,
    wakes: &mpsc::Receiver<Wake>,
    output: Output,
    out: &mut impl Write,
) -> Result<(), TerminalError> {
    for wake in wakes {
        let written = match wake {
            Wake::Watcher(event) => match *event {
                WatcherEvent::Event(event) => print(&event, output, out),
                WatcherEvent::Created(path) => name(out, "Create", &path),
                WatcherEvent::Removed(path) => name(out, "Remove", &path),
                WatcherEvent::Grabbed(_) => Ok(()),
                WatcherEvent::Configuration => reload(watcher, output, out),
                WatcherEvent::Failed(error) => return Err(error.into()),
            },
            Wake::Signal(SIGHUP) => reload(watcher, output, out),
            Wake::Signal(_) => return Ok(()),
        };
        written.map_err(TerminalError::Output)?;
    }
    Ok(())
}

fn reload(watcher: &mut Watcher, output: Output, out: &mut impl Write) -> io::Result<()> {
    match watcher.reload() {
        Ok(()) => Ok(()),
        Err(e) => print(&Event::Error { message: chain(&e) }, output, out),
    }
}

/// As the original script printed it. The bytes of a name are printed as they are, but not to a
/// terminal: anybody may name a file in `/tmp`, and a terminal obeys.
fn name(out: &mut impl Write, what: &str, path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    write!(out, "{what}: ")?;
    if io::stdout().is_terminal() {
        out.write_all(text::one_line(&path.to_string_lossy()).as_bytes())?;
    } else {
        out.write_all(path.as_os_str().as_bytes())?;
    }
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints what happened.
pub(crate) fn print(event: &Event, output: Output, out: &mut impl Write) -> io::Result<()> {
    match output {
        Output::Json => {
            serde_json::to_writer(&mut *out, event)?;
            out.write_all(b"\n")?;
        }
        Output::Plain => {
            let line = match event {
                Event::Ready { library, .. } => {
                    format!("Watching; videos go to {}", library.display())
                }
                Event::Held { path, .. } => format!("Holding {}", path.display()),
                Event::Saved(saved) => format!("Saved {}", saved.path.display()),
                Event::Dropped { source, reason, .. } => {
                    format!("Dropped {}: {reason}", source.display())
                }
                Event::Lost { source, reason, .. } => {
                    format!("Lost {}: {reason}", source.display())
                }
                Event::Overflow { recovered } => {
                    format!("Too much happened at once; looked again and found {recovered}")
                }
                Event::Error { message } => {
                    tracing::error!("{message}");
                    return Ok(());
                }
                Event::Progress { .. } | Event::Paused { .. } | Event::Resumed => return Ok(()),
            };
            writeln!(out, "{}", text::one_line(&line))?;
        }
        Output::Events => {
            if let Event::Error { message } = event {
                tracing::error!("{message}");
            }
        }
    }
    out.flush()
}

/// A thread that turns signals into calls.
#[derive(Debug)]
pub struct SignalThread {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl SignalThread {
    /// Starts it; `each` is called on it.
    ///
    /// # Errors
    /// What sigaction(2) or thread creation returns.
    pub fn start(signals: &[i32], each: impl Fn(i32) + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new(signals)?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(each))?;
        Ok(Self { handle, thread })
    }

    /// Ends it and waits for it.
    pub fn shutdown(self) {
        self.handle.close();
        if self.thread.join().is_err() {
            tracing::error!("the signals' thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_name_is_one_line() {
        let event = Event::Lost {
            source: "/tmp/Flash\n\u{1b}[2J".into(),
            rule: "flash".into(),
            reason: "gone".into(),
        };
        let mut out = Vec::new();
        print(&event, Output::Plain, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Lost /tmp/Flash\u{fffd}\u{fffd}[2J: gone\n"
        );
    }
}
