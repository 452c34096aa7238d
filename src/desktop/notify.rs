//! The thread that talks to the notification server.
//!
//! `notify-rust` builds the notification. Sending is done here, through the one connection that the
//! program has anyway: the crate's own `show()` opens a connection for each popup (a thread and
//! five descriptors until it is clicked; 260 popups at a limit of 1,024 descriptors lost 58 of
//! them), and some servers send a click only to the connection that asked for the popup, so that it
//! can't be closed early either.
//!
//! A call may take five seconds if the server hangs; that holds up this thread and nothing else.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Instant,
};

use notify_rust::{Hint, Notification, Urgency};
use zbus::{blocking::Connection, zvariant::Value};

use super::{
    APP_ID,
    bus::NOTIFICATIONS,
    inbox::InboxThread,
    popups::{Popup, PopupEffect, PopupInput, Popups},
    wake::{Wake, Waker},
};

const PATH: &str = "/org/freedesktop/Notifications";

/// What the thread receives.
#[derive(Debug)]
pub enum NotifierMessage {
    /// Something happened that may need a popup.
    Input(PopupInput),
    /// The session bus is there, or gone.
    Bus(Option<Connection>),
}

/// The thread. Dropping it ends and joins it; close the connection before, so that no call holds it
/// up.
#[derive(Debug)]
pub struct Notifier(InboxThread<NotifierMessage>);

impl Notifier {
    /// Starts the thread. What a click asks for goes to `waker`.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(popups: Popups, waker: Waker) -> io::Result<Self> {
        let mut worker = Worker {
            popups,
            server: Server {
                waker,
                connection: None,
                abilities: None,
            },
        };
        let run = move |from: Receiver<NotifierMessage>| {
            loop {
                let received = match worker.popups.deadline() {
                    Some(at) => from.recv_timeout(at.saturating_duration_since(Instant::now())),
                    None => from.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match received {
                    Ok(message) => worker.take(message),
                    Err(RecvTimeoutError::Timeout) => worker.input(PopupInput::Tick),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        InboxThread::start("notify", run).map(Self)
    }

    /// Sends to the thread.
    pub fn send(&self, message: NotifierMessage) {
        self.0.send(message);
    }
}

#[derive(Debug)]
struct Worker {
    popups: Popups,
    server: Server,
}

/// The notification server, as far as the bus reaches it.
#[derive(Debug)]
struct Server {
    waker: Waker,
    connection: Option<Connection>,
    /// What the server can do, once it has been asked.
    abilities: Option<Abilities>,
}

/// What a server says that it can do (Desktop Notifications Specification 1.2, `GetCapabilities`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Abilities {
    actions: bool,
    markup: bool,
}

impl Worker {
    fn take(&mut self, message: NotifierMessage) {
        match message {
            NotifierMessage::Bus(connection) => {
                self.server.connection = connection;
                self.input(PopupInput::Server(false));
            }
            NotifierMessage::Input(input) => self.input(input),
        }
    }

    fn input(&mut self, input: PopupInput) {
        if let PopupInput::Server(_) = input {
            self.server.abilities = None;
        }
        let Self { popups, server } = self;
        popups.run(input, Instant::now, |effect| server.perform(effect));
    }
}

impl Server {
    /// Does what the popups ask for; returns what has to be reported back to them.
    fn perform(&mut self, effect: PopupEffect) -> Option<PopupInput> {
        match effect {
            PopupEffect::Do(action) => self.waker.wake(Wake::Do(action)),
            PopupEffect::Close(id) => {
                let _: Option<()> = self.call("CloseNotification", &id);
            }
            PopupEffect::Show(popup, replaces) => {
                return Some(PopupInput::Shown(self.show(&popup, replaces)));
            }
        }
        None
    }

    fn show(&mut self, popup: &Popup, replaces: Option<u32>) -> Option<u32> {
        let abilities = match self.abilities {
            Some(abilities) => abilities,
            None => {
                let all: Vec<String> = self.call("GetCapabilities", &())?;
                let has = |what| all.iter().any(|c| c == what);
                *self.abilities.insert(Abilities {
                    actions: has("actions"),
                    markup: has("body-markup"),
                })
            }
        };
        let n = build(popup, abilities);
        let hints: HashMap<&str, Value<'_>> = n.hints.iter().map(Into::into).collect();
        let timeout = i32::from(n.timeout);
        // An id of 0 is no popup's (Desktop Notifications Specification, "Notify").
        let replaces = replaces.unwrap_or(0);
        self.call(
            "Notify",
            &(
                &n.appname, replaces, &n.icon, &n.summary, &n.body, &n.actions, hints, timeout,
            ),
        )
    }

    fn call<B, R>(&self, method: &str, body: &B) -> Option<R>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
        R: for<'d> serde::Deserialize<'d> + zbus::zvariant::Type,
    {
        let connection = self.connection.as_ref()?;
        let reply =
            connection.call_method(Some(NOTIFICATIONS), PATH, Some(NOTIFICATIONS), method, body);
        match reply.and_then(|reply| reply.body().deserialize()) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(%error, method, "the notification server refused a call");
                None
            }
        }
    }
}

fn build(popup: &Popup, abilities: Abilities) -> Notification {
    let mut n = Notification::new();
    n.appname("fisga").icon(APP_ID).summary(&popup.summary);
    n.body(&if abilities.markup {
        escape(&popup.body)
    } else {
        popup.body.clone()
    });
    n.hint(Hint::DesktopEntry(APP_ID.into()));
    if popup.warning {
        n.hint(Hint::Category("transfer.error".into()))
            .urgency(Urgency::Critical);
    } else {
        n.hint(Hint::Category("transfer.complete".into()))
            .urgency(Urgency::Normal);
    }
    if let Some(image) = popup.image.as_ref().and_then(|path| path.to_str()) {
        n.image_path(image);
    }
    if abilities.actions {
        for (key, label) in &popup.buttons {
            n.action(key, label);
        }
    }
    n
}

/// A body is markup to a server with `body-markup`, and only to such a one.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn popup() -> Popup {
        Popup {
            summary: "Video saved".into(),
            body: "<b>A & B</b>".into(),
            image: Some("/t/x.png".into()),
            warning: false,
            buttons: vec![("default", "Open folder"), ("play", "Play")],
        }
    }

    #[test]
    fn what_the_server_lacks_is_left_out() {
        let full = build(
            &popup(),
            Abilities {
                actions: true,
                markup: true,
            },
        );
        assert_eq!(full.body, "&lt;b&gt;A &amp; B&lt;/b&gt;");
        assert_eq!(full.actions, ["default", "Open folder", "play", "Play"]);
        assert!(full.hints.contains(&Hint::ImagePath("/t/x.png".into())));
        let plain = build(&popup(), Abilities::default());
        assert_eq!(plain.body, "<b>A & B</b>");
        assert!(plain.actions.is_empty());
    }
}
