//! The least that shows tray icons, and the least that shows notifications.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use anyhow::Result;
use zbus::blocking::{Connection, connection::Builder};
use zbus::interface;

use crate::common::session::{HOST, NOTIFICATIONS, Session};

/// A tray host on a connection of its own; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Host {
    /// When an icon was registered.
    pub(crate) registered: Receiver<Instant>,
    _connection: Connection,
}

impl Host {
    /// Takes the name on the session's bus.
    pub(crate) fn start(session: &Session) -> Result<Self> {
        let (sender, registered) = channel();
        let watcher = Watcher {
            items: Vec::new(),
            registered: sender,
        };
        let builder = builder(session)?.serve_at("/StatusNotifierWatcher", watcher)?;
        Ok(Self {
            registered,
            _connection: builder.name(HOST)?.build()?,
        })
    }
}

struct Watcher {
    items: Vec<String>,
    registered: Sender<Instant>,
}

#[interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&mut self, service: &str) {
        let _ = self.registered.send(Instant::now());
        self.items.push(format!("{service}/StatusNotifierItem"));
    }

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        self.items.clone()
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

/// A notification server whose popups nobody clicks, on a connection of its own.
#[derive(Debug)]
pub(crate) struct Notifications {
    /// What was shown: the headline.
    pub(crate) shown: Receiver<String>,
    _connection: Connection,
}

impl Notifications {
    /// Takes the name on the session's bus.
    pub(crate) fn start(session: &Session) -> Result<Self> {
        let (sender, shown) = channel();
        let builder =
            builder(session)?.serve_at("/org/freedesktop/Notifications", Server(0, sender))?;
        Ok(Self {
            shown,
            _connection: builder.name(NOTIFICATIONS)?.build()?,
        })
    }
}

struct Server(u32, Sender<String>);

#[interface(name = "org.freedesktop.Notifications")]
impl Server {
    fn get_capabilities(&self) -> Vec<String> {
        ["actions", "body", "body-markup"].map(String::from).into()
    }

    #[allow(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &mut self,
        _app_name: &str,
        replaces: u32,
        _app_icon: &str,
        summary: String,
        _body: &str,
        _actions: Vec<String>,
        _hints: std::collections::HashMap<String, zbus::zvariant::OwnedValue>,
        _expire_timeout: i32,
    ) -> u32 {
        let _ = self.1.send(summary);
        self.0 += u32::from(replaces == 0);
        if replaces == 0 { self.0 } else { replaces }
    }

    fn close_notification(&self, _id: u32) {}
}

fn builder(session: &Session) -> Result<Builder<'static>> {
    let address = format!("unix:path={}", session.sandbox.path("run/bus").display());
    Ok(Builder::address(address.as_str())?)
}
