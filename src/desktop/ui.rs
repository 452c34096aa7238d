//! The interface: joins state, tray, notifications, bus, timer and what the program does.
//!
//! It lives on the main thread and does nothing slow there: each edge is a thread of its own.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Local};
use serde::Serialize;

use super::{
    action::{Action, Pause},
    autostart::Autostart,
    bus::Bus,
    event_loop::Flow,
    health::{self, Missing},
    menu,
    notify::{Notifier, NotifierMessage},
    popups::{PopupInput, Popups, SavedFile},
    show::{OpenRequest, Opener},
    state::{Activity, DesktopParts, Recent, State},
    timer::{Timer, TimerEvent},
    tray::Tray,
    wake::{BusEvent, Reply, Wake, Waker},
};
use crate::event::{self, Event};

/// What the program does when the user asks for it. Called on the main thread; nothing here may
/// take long.
pub trait Backend {
    /// Holds nothing. Answered with [`Event::Paused`], which repeats `until`.
    fn pause(&mut self, until: Option<DateTime<Local>>);
    /// Holds again. Answered with [`Event::Resumed`].
    fn resume(&mut self);
    /// Saves what is playing now. Answered with [`Wake::Grabbed`].
    fn grab(&mut self);
    /// Puts a file of the library into the trash.
    fn discard(&mut self, path: &Path);
    /// Writes down whether popups are wanted.
    fn set_notifications(&mut self, on: bool);
    /// Makes sure that the configuration file exists, and returns its path.
    ///
    /// # Errors
    /// It can't be written.
    fn configuration(&mut self) -> anyhow::Result<PathBuf>;
    /// Reads the configuration again; `None` if the old one stays in force.
    fn reload(&mut self) -> Option<UiSettings>;
}

/// What the interface needs of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UiSettings {
    /// Where videos go.
    pub library: PathBuf,
    /// Whether popups are wanted.
    pub notifications: bool,
}

/// The interface.
pub struct Ui<B> {
    state: State,
    backend: B,
    /// Requests that are not answered yet. Those from the menu have no reply.
    waiting: Vec<(Awaited, Option<Reply>)>,
    autostart: Option<Autostart>,
    // Fields drop in this order: the bus closes first, so that no call holds up the rest.
    _bus: Bus,
    timer: Timer,
    tray: Tray,
    notifier: Notifier,
    opener: Opener,
}

/// The event that answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Paused,
    Resumed,
    Grabbed,
}

/// What `fisga status --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Status<'a> {
    /// Process id.
    pub pid: u32,
    /// Watches are in place.
    pub ready: bool,
    /// "watching", "saving", "paused" or "attention".
    pub state: Activity,
    /// The line that the tray shows.
    pub status: String,
    /// When the pause ends by itself, RFC 3339; absent while not paused, null without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Option<String>>,
    /// Files saved today.
    pub saved_today: u32,
    /// Where videos go.
    pub library: String,
    /// The last files saved.
    pub recent: Vec<&'a Recent>,
    /// Whether popups are wanted.
    pub notifications: bool,
    /// Whether it starts on login.
    pub autostart: bool,
    /// What the desktop offers.
    pub desktop: DesktopParts,
    /// What it doesn't, and what to do.
    pub missing: Vec<Missing>,
}

impl<B: Backend> Ui<B> {
    /// Starts all parts. `display`: there is one.
    ///
    /// # Errors
    /// The kernel gives no thread or descriptor.
    pub fn start(look: UiSettings, display: bool, waker: Waker, backend: B) -> io::Result<Self> {
        let mut state = State::new(look.library, look.notifications);
        state.present.display = display;
        let autostart = Autostart::new().ok();
        if let Some(autostart) = &autostart {
            mend(autostart);
            state.autostart = autostart.status().is_ok_and(|s| s.is_on());
        }
        let (timed, changes) = (waker.clone(), waker.clone());
        let folder = autostart.as_ref().map(Autostart::folder);
        Ok(Self {
            timer: Timer::start(folder, move |event| timed.wake(Wake::Timer(event)))?,
            tray: Tray::start(menu::view(&state, Local::now()), waker.clone())?,
            notifier: Notifier::start(Popups::new(look.notifications), waker.clone())?,
            opener: Opener::start()?,
            _bus: Bus::start(waker, move |event| changes.wake(Wake::Bus(event)))?,
            state,
            backend,
            waiting: Vec::new(),
            autostart,
        })
    }

    /// On the very first start: says what this is, where videos go and how to pause.
    pub fn welcome(&self) {
        let library = event::display(&self.state.library);
        self.notifier
            .send(NotifierMessage::Input(PopupInput::Welcome { library }));
    }

    /// Takes in one wake.
    pub fn on(&mut self, wake: Wake) -> Flow {
        let flow = match wake {
            Wake::Event(event) => self.event(event),
            Wake::Do(action) => {
                if action == Action::Grab {
                    self.waiting.push((Awaited::Grabbed, None));
                }
                self.act(action)
            }
            Wake::Grabbed(count) => self.grabbed(count),
            Wake::Ask(action, reply) => self.ask(action, reply),
            Wake::Status(reply) => {
                reply.send(self.status());
                return Flow::Continue;
            }
            Wake::Bus(event) => self.bus(event),
            Wake::Timer(event) => self.timer_event(event),
            Wake::Reload => self.reload(),
            Wake::Quit => Flow::End,
            Wake::Nothing => return Flow::Continue,
        };
        self.refresh();
        flow
    }

    /// Ends all parts, and gives the program back.
    pub fn end(self) -> B {
        self.backend
    }

    /// The status, as JSON.
    pub fn status(&self) -> String {
        let now = Local::now();
        let state = &self.state;
        let status = Status {
            pid: std::process::id(),
            ready: state.ready,
            state: state.activity(),
            status: state.status(now),
            paused_until: state.paused.map(|p| p.until.map(event::timestamp)),
            saved_today: state.saved_today(now),
            library: event::display(&state.library),
            recent: state.recent.iter().collect(),
            notifications: state.notifications,
            autostart: state.autostart,
            desktop: state.present,
            missing: health::missing(state.present),
        };
        serde_json::to_string(&status).unwrap_or_default()
    }

    fn event(&mut self, event: Event) -> Flow {
        self.state.apply(&event, Local::now());
        match &event {
            // A video that is not whole gets no popup.
            Event::Saved(saved) if !saved.verdict.is_whole() => {}
            Event::Saved(saved) => self.popup(PopupInput::Saved(SavedFile {
                path: saved.path.clone(),
                title: saved.title.clone(),
                bytes: saved.bytes,
                length: saved
                    .duration_s
                    .and_then(|s| Duration::try_from_secs_f64(s).ok()),
                program: saved.producer.clone(),
                thumbnail: saved.thumbnail.clone(),
            })),
            Event::Error { message } => self.popup(PopupInput::Failed(message.clone())),
            Event::Paused { .. } => drop(self.answer(Awaited::Paused, "")),
            Event::Resumed => drop(self.answer(Awaited::Resumed, "")),
            _ => {}
        }
        Flow::Continue
    }

    fn act(&mut self, action: Action) -> Flow {
        match action {
            Action::Pause(pause) => self.pause(pause),
            Action::Resume => self.backend.resume(),
            Action::Grab => self.backend.grab(),
            Action::OpenFolder => self
                .opener
                .show(OpenRequest::Folder(self.state.library.clone())),
            Action::Show(path) => self.opener.show(OpenRequest::File(path)),
            Action::Play(path) => self.opener.show(OpenRequest::Open(path)),
            Action::Discard(path) => {
                self.state.forget(&path);
                self.backend.discard(&path);
            }
            Action::ToggleNotifications => {
                let on = !self.state.notifications;
                self.backend.set_notifications(on);
                self.notifications(on);
            }
            Action::ToggleAutostart => self.toggle_autostart(),
            Action::Settings => match self.backend.configuration() {
                Ok(path) => self.opener.show(OpenRequest::Open(path)),
                Err(error) => self.popup(PopupInput::Failed(format!("{error:#}"))),
            },
            Action::Quit => return Flow::End,
        }
        Flow::Continue
    }

    fn pause(&mut self, pause: Pause) {
        let now = Local::now();
        match pause.until(now) {
            Some(until) if until <= now => self.backend.resume(),
            until => self.backend.pause(until),
        }
    }

    /// Does what somebody on the bus asks for, and answers when it is done.
    fn ask(&mut self, action: Action, reply: Reply) -> Flow {
        if action == Action::Grab && self.state.paused.is_some() {
            reply.send("fisga is paused and holds nothing until it resumes");
            return Flow::Continue;
        }
        let awaited = match &action {
            Action::Pause(_) => Some(Awaited::Paused),
            Action::Resume => Some(Awaited::Resumed),
            Action::Grab => Some(Awaited::Grabbed),
            _ => None,
        };
        let flow = self.act(action);
        match awaited {
            Some(awaited) => self.waiting.push((awaited, Some(reply))),
            None => reply.send(""),
        }
        flow
    }

    /// Answers all on the bus who wait for this. Returns whether the menu waits for it too.
    fn answer(&mut self, what: Awaited, text: &str) -> bool {
        let mut menu = false;
        for (_, reply) in self.waiting.extract_if(.., |(awaited, _)| *awaited == what) {
            match reply {
                Some(reply) => reply.send(text),
                None => menu = true,
            }
        }
        menu
    }

    fn grabbed(&mut self, count: u64) -> Flow {
        if self.answer(Awaited::Grabbed, &count.to_string()) {
            self.popup(PopupInput::Grabbed(count));
        }
        Flow::Continue
    }

    fn bus(&mut self, event: BusEvent) -> Flow {
        let present = &mut self.state.present;
        match event {
            BusEvent::Up(connection) => {
                present.session_bus = true;
                self.opener.bus(Some(connection.clone()));
                self.notifier.send(NotifierMessage::Bus(Some(connection)));
                self.tray.bus(true);
            }
            BusEvent::Down => {
                *present = DesktopParts {
                    display: present.display,
                    ..DesktopParts::default()
                };
                self.opener.bus(None);
                self.notifier.send(NotifierMessage::Bus(None));
                self.tray.bus(false);
            }
            BusEvent::TrayHost(is) => present.tray_host = is,
            BusEvent::Notifications(is) => {
                present.notifications = is;
                self.popup(PopupInput::Server(is));
            }
            BusEvent::Clicked { id, key } => self.popup(PopupInput::Clicked { id, key }),
            BusEvent::Closed(id) => self.popup(PopupInput::Closed(id)),
            BusEvent::NameTaken => {
                tracing::warn!("another program has fisga's name on the session bus")
            }
        }
        Flow::Continue
    }

    fn timer_event(&mut self, event: TimerEvent) -> Flow {
        match event {
            TimerEvent::Due if self.state.pause_is_over(Local::now()) => self.backend.resume(),
            TimerEvent::Due => {}
            TimerEvent::FolderChanged => {
                let status = self.autostart.as_ref().and_then(|a| a.status().ok());
                self.state.autostart = status.is_some_and(|s| s.is_on());
            }
        }
        Flow::Continue
    }

    fn reload(&mut self) -> Flow {
        if let Some(look) = self.backend.reload() {
            self.state.library = look.library;
            self.notifications(look.notifications);
        }
        Flow::Continue
    }

    fn notifications(&mut self, on: bool) {
        self.state.notifications = on;
        self.popup(PopupInput::Enabled(on));
    }

    fn toggle_autostart(&mut self) {
        let Some(autostart) = &self.autostart else {
            return;
        };
        let done = if self.state.autostart {
            autostart.off()
        } else {
            env::current_exe().map_or_else(|_| Ok(()), |program| autostart.on(&program))
        };
        if let Err(error) = done {
            self.popup(PopupInput::Failed(error.to_string()));
        }
        self.timer_event(TimerEvent::FolderChanged);
    }

    fn popup(&self, input: PopupInput) {
        self.notifier.send(NotifierMessage::Input(input));
    }

    /// Shows the current state, and sets the timer to when that changes by itself.
    fn refresh(&self) {
        let now = Local::now();
        self.tray.show(menu::view(&self.state, now));
        if let Err(error) = self.timer.set(self.state.next_change(now)) {
            tracing::warn!(%error, "a pause may not end by itself");
        }
    }
}

impl<B> std::fmt::Debug for Ui<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ui")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn mend(autostart: &Autostart) {
    match env::current_exe().map(|program| autostart.mend(&program)) {
        Ok(Ok(true)) => tracing::info!("start on login names this program again"),
        Ok(Err(error)) => tracing::warn!(%error, "start on login"),
        Ok(Ok(false)) | Err(_) => {}
    }
}
