//! What can wake the interface: one enum, and the handle that delivers it from any thread.

use std::{fmt, sync::Arc};

use zbus::blocking::Connection;

use super::{action::Action, timer::TimerEvent};
use crate::event::Event;

/// Everything that can wake the interface.
#[derive(Debug)]
pub enum Wake {
    /// Something that the engine or the worker reports.
    Event(Event),
    /// The user asks for something.
    Do(Action),
    /// [`Action::Grab`] is done: how many files are held that were not held before.
    Grabbed(u64),
    /// Someone on the bus asks for something, and waits until it is done.
    Ask(Action, Reply),
    /// Someone on the bus asks for the status, as JSON.
    Status(Reply),
    /// The session bus, or something on it, came or went.
    Bus(BusEvent),
    /// The timer's time has come, or the autostart folder changed.
    Timer(TimerEvent),
    /// Read the configuration again.
    Reload,
    /// End in order.
    Quit,
    /// Nothing that concerns the interface.
    Nothing,
}

/// What happened on the bus.
#[derive(Clone, Debug)]
pub enum BusEvent {
    /// The bus is there.
    Up(Connection),
    /// The bus is gone.
    Down,
    /// A tray host is there, or none.
    TrayHost(bool),
    /// A notification server is there or can be started, or none. Sent whenever its owner changes.
    Notifications(bool),
    /// The user clicked on a popup, perhaps another program's.
    Clicked {
        /// The popup.
        id: u32,
        /// The button's key.
        key: String,
    },
    /// A popup is gone, perhaps another program's.
    Closed(u32),
    /// Another process has our name on this bus.
    NameTaken,
}

/// The other half of a question from the bus; if it is dropped unanswered, the asker gets an error.
pub struct Reply(Box<dyn FnOnce(String) + Send>);

impl Reply {
    /// A reply that hands its answer to `answer`.
    pub fn new(answer: impl FnOnce(String) + Send + 'static) -> Self {
        Self(Box::new(answer))
    }

    /// Answers.
    pub fn send(self, text: impl Into<String>) {
        (self.0)(text.into());
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Wakes the interface from any thread. Cheap to clone; a wake after the loop's end is dropped.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn(Wake) + Send + Sync>);

impl Waker {
    /// A waker that hands each [`Wake`] to `deliver`.
    pub fn new(deliver: impl Fn(Wake) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// Delivers.
    pub fn wake(&self, wake: Wake) {
        (self.0)(wake);
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}
