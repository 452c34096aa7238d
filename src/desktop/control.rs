//! Control over the session bus: what the running fisga offers, and how another process asks it.
//!
//! Object [`PATH`], interface `io.github.fisga.Fisga`; beside it `org.freedesktop.Application`, by
//! which a desktop entry's actions reach the running one (Desktop Entry Specification, "D-Bus
//! Activation").

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Local, TimeZone};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zbus::{
    blocking::{Proxy, connection::Builder},
    fdo, interface,
    proxy::MethodFlags,
    zvariant::{OwnedValue, Type},
};

use super::{
    APP_ID,
    action::{Action, Pause},
    connection,
    wake::{Reply, Wake, Waker},
};

/// The object.
pub const PATH: &str = "/io/github/fisga/Fisga";

/// The longest that a question waits for its answer.
const ANSWER: Duration = Duration::from_secs(10);

/// `io.github.fisga.Fisga`. Each method answers when it is done.
#[derive(Debug)]
pub(super) struct Control(Waker);

impl Control {
    pub(super) fn new(waker: Waker) -> Self {
        Self(waker)
    }

    async fn ask(&self, question: impl FnOnce(Reply) -> Wake) -> fdo::Result<String> {
        let (answer, wait) = async_channel::bounded(1);
        self.0.wake(question(Reply::new(move |text| {
            let _ = answer.try_send(text);
        })));
        wait.recv()
            .await
            .map_err(|_| fdo::Error::Failed("fisga is ending".into()))
    }

    async fn act(&self, action: Action) -> fdo::Result<()> {
        self.ask(|reply| Wake::Ask(action, reply)).await.map(drop)
    }
}

#[interface(name = "io.github.fisga.Fisga")]
impl Control {
    /// Its status, as JSON.
    async fn status(&self) -> fdo::Result<String> {
        self.ask(Wake::Status).await
    }

    /// Holds nothing until that time, in milliseconds since 1970; 0: until resumed.
    async fn pause(&self, until: i64) -> fdo::Result<()> {
        let pause = match until {
            0 => Pause::Open,
            at => Pause::Until(
                Local
                    .timestamp_millis_opt(at)
                    .single()
                    .ok_or_else(|| fdo::Error::InvalidArgs(format!("{at} is no time")))?,
            ),
        };
        self.act(Action::Pause(pause)).await
    }

    /// Holds again.
    async fn resume(&self) -> fdo::Result<()> {
        self.act(Action::Resume).await
    }

    /// Saves what is playing now; answers with how many files are held that were not before.
    async fn grab(&self) -> fdo::Result<u64> {
        let count = self.ask(|reply| Wake::Ask(Action::Grab, reply)).await?;
        count.parse().map_err(|_| fdo::Error::Failed(count))
    }

    /// Shows the library.
    async fn open(&self) -> fdo::Result<()> {
        self.act(Action::OpenFolder).await
    }

    /// Ends it.
    async fn quit(&self) -> fdo::Result<()> {
        self.act(Action::Quit).await
    }
}

/// `org.freedesktop.Application`.
#[derive(Debug)]
pub(super) struct Application(Waker);

impl Application {
    pub(super) fn new(waker: Waker) -> Self {
        Self(waker)
    }
}

/// An action of the desktop entry, by name.
fn named(action: &str) -> Option<Action> {
    Some(match action {
        "pause" => Action::Pause(Pause::Open),
        "resume" => Action::Resume,
        "grab" => Action::Grab,
        "open-folder" => Action::OpenFolder,
        "quit" => Action::Quit,
        _ => return None,
    })
}

#[interface(name = "org.freedesktop.Application")]
impl Application {
    fn activate(&self, _platform_data: HashMap<String, OwnedValue>) {
        self.0.wake(Wake::Do(Action::OpenFolder));
    }

    fn open(&self, _uris: Vec<String>, _platform_data: HashMap<String, OwnedValue>) {
        self.0.wake(Wake::Do(Action::OpenFolder));
    }

    fn activate_action(
        &self,
        action_name: &str,
        _parameter: Vec<OwnedValue>,
        _platform_data: HashMap<String, OwnedValue>,
    ) -> fdo::Result<()> {
        let action = named(action_name)
            .ok_or_else(|| fdo::Error::InvalidArgs(format!("no action {action_name}")))?;
        self.0.wake(Wake::Do(action));
        Ok(())
    }
}

/// Why the running one could not be asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// None runs: the command's exit status is 3.
    #[error("fisga is not running")]
    NotRunning,
    /// One may run, but there is no bus to reach it by.
    #[error("can't reach the session bus")]
    NoBus(#[source] zbus::Error),
    /// The bus takes connections and then says nothing.
    #[error("the session bus doesn't answer")]
    Silent,
    /// It runs, and gives a reason why it didn't do it.
    #[error("{0}")]
    Refused(String),
    /// It runs, and the question failed.
    #[error("the running fisga didn't answer")]
    Call(#[source] zbus::Error),
}

/// The running fisga, seen from another process.
#[derive(Debug)]
pub struct Client(Proxy<'static>);

impl Client {
    /// Finds the running one; starts none.
    ///
    /// # Errors
    /// [`ControlError::NoBus`], [`ControlError::Silent`], [`ControlError::NotRunning`]
    pub fn connect() -> Result<Self, ControlError> {
        if connection::bus_hangs() {
            return Err(ControlError::Silent);
        }
        let connection = Builder::session()
            .and_then(|b| b.method_timeout(ANSWER).build())
            .map_err(ControlError::NoBus)?;
        let bus = zbus::blocking::fdo::DBusProxy::new(&connection).map_err(ControlError::NoBus)?;
        let name =
            zbus::names::BusName::try_from(APP_ID).map_err(|e| ControlError::NoBus(e.into()))?;
        match bus.name_has_owner(name) {
            Ok(true) => {}
            Ok(false) => return Err(ControlError::NotRunning),
            Err(error) => return Err(ControlError::NoBus(error.into())),
        }
        Proxy::new(&connection, APP_ID, PATH, APP_ID)
            .map(Self)
            .map_err(ControlError::NoBus)
    }

    /// Its status, as JSON (see [`crate::desktop::ui::Status`]).
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn status(&self) -> Result<String, ControlError> {
        self.call("Status", &())
    }

    /// Pauses, until a time or until resumed. Returns when nothing is held any more.
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn pause(&self, until: Option<DateTime<Local>>) -> Result<(), ControlError> {
        self.call("Pause", &until.map_or(0, |at| at.timestamp_millis()))
    }

    /// Resumes. Returns when files are held again.
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn resume(&self) -> Result<(), ControlError> {
        self.call("Resume", &())
    }

    /// Saves what is playing now. Returns how many files are held that were not before.
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn grab(&self) -> Result<u64, ControlError> {
        self.call("Grab", &())
    }

    /// Shows the library.
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn open(&self) -> Result<(), ControlError> {
        self.call("Open", &())
    }

    /// Ends it. Returns when it has begun to end: its connection may close before its answer is
    /// out.
    ///
    /// # Errors
    /// [`ControlError`]
    pub fn quit(&self) -> Result<(), ControlError> {
        match self.call("Quit", &()) {
            Err(ControlError::Call(zbus::Error::MethodError(name, ..)))
                if name.as_str().ends_with(".NoReply") =>
            {
                Ok(())
            }
            result => result,
        }
    }

    fn call<B, R>(&self, method: &str, body: &B) -> Result<R, ControlError>
    where
        B: Serialize + Type,
        R: for<'d> Deserialize<'d> + Type + Default,
    {
        let reply = self
            .0
            .call_with_flags(method, MethodFlags::NoAutoStart.into(), body);
        match reply {
            Ok(value) => Ok(value.unwrap_or_default()),
            Err(zbus::Error::MethodError(name, ..))
                if name.as_str().ends_with(".ServiceUnknown") =>
            {
                Err(ControlError::NotRunning)
            }
            Err(zbus::Error::MethodError(name, Some(why), _))
                if name.as_str().ends_with(".Failed") =>
            {
                Err(ControlError::Refused(why))
            }
            Err(error) => Err(ControlError::Call(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_of_the_desktop_entry() {
        let entry = include_str!("../../packaging/io.github.fisga.Fisga.desktop");
        let listed = entry
            .lines()
            .find_map(|l| l.strip_prefix("Actions="))
            .unwrap();
        let listed: Vec<_> = listed.split_terminator(';').collect();
        assert_eq!(listed, ["pause", "resume", "open-folder"]);
        for action in listed {
            assert!(named(action).is_some(), "{action}");
            assert!(entry.contains(&format!("[Desktop Action {action}]")));
        }
        assert_eq!(named("rm -rf"), None);
    }
}
