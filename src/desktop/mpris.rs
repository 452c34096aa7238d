//! Listens to what the players of the session show (MPRIS), so that videos get their titles.
//!
//! Every change arrives as a signal, so a player is asked only once, when it appears, for what it
//! shows. Questions are sent without waiting: a player that doesn't answer delays nothing else.
//!
//! Spec: MPRIS D-Bus Interface Specification 2.2; D-Bus Specification, "Message Bus Messages".

use std::{
    collections::HashMap,
    io,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use zbus::{
    Address, MatchRule, Message,
    blocking::{Connection, MessageIterator},
    message::{Flags, Type},
    zvariant::{DynamicType, OwnedValue},
};

use super::connection::BusConnection;
use crate::title::{Metadata, Players, Program, Titles};

const PREFIX: &str = "org.mpris.MediaPlayer2";
const PLAYER: &str = "org.mpris.MediaPlayer2.Player";
const OBJECT: &str = "/org/mpris/MediaPlayer2";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const BUS: &str = "org.freedesktop.DBus";

/// Questions to players that have not been answered.
const MOST_QUESTIONS: usize = 256;
/// Longest text that is taken from a player, in characters.
const LONGEST: usize = 2000;
/// Nothing that is played from its beginning to its end is longer.
const LONGEST_PLAY: Duration = Duration::from_secs(7 * 24 * 3600);

type Values = HashMap<String, OwnedValue>;

/// The thread that listens. Dropping it closes its connection and joins.
#[derive(Debug)]
pub struct Mpris(#[expect(dead_code, reason = "held to be dropped")] BusConnection);

impl Mpris {
    /// Listens on the session bus whenever there is one, and keeps `titles` up to date. When the
    /// bus ends, so do all players.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor.
    pub fn start(titles: Titles) -> io::Result<Self> {
        Self::start_on(Address::session(), titles)
    }

    /// [`Mpris::start`] on the bus at this address.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor.
    pub fn start_at(address: &str, titles: Titles) -> io::Result<Self> {
        Self::start_on(address.parse(), titles)
    }

    fn start_on(address: zbus::Result<Address>, titles: Titles) -> io::Result<Self> {
        let serve = move |bus: &Connection| {
            titles.note(Players::bus_connected);
            let ended = listen(bus, &titles);
            titles.note(|players| players.bus_disconnected(SystemTime::now()));
            ended
        };
        BusConnection::start("mpris", address, Ok, serve).map(Self)
    }
}

/// Listens until the connection ends: first subscribes, then asks who is there, so that nobody is
/// missed.
fn listen(bus: &Connection, titles: &Titles) -> zbus::Result<()> {
    let mut listener = Listener {
        bus,
        titles,
        questions: HashMap::new(),
    };
    let messages = MessageIterator::from(bus);
    let signal = || MatchRule::builder().msg_type(Type::Signal);
    let owners = signal()
        .sender(BUS)?
        .interface(BUS)?
        .member("NameOwnerChanged")?;
    listener.ask_bus(
        "AddMatch",
        owners.arg0ns(PREFIX)?.build().to_string(),
        Question::Match,
    );
    let changes = signal()
        .interface(PROPERTIES)?
        .member("PropertiesChanged")?
        .path(OBJECT)?;
    listener.ask_bus(
        "AddMatch",
        changes.arg(0, PLAYER)?.build().to_string(),
        Question::Match,
    );
    listener.ask_bus("ListNames", (), Question::Names);
    for message in messages {
        listener.take(&message?);
    }
    Ok(())
}

/// What follows the dot in a player's name on the bus.
fn player_name(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.strip_prefix('.')
}

/// A question that was sent. Its answer comes among the other messages: waiting for it would hold
/// those up until their queue is full.
#[derive(Debug)]
enum Question {
    /// For signals of a kind.
    Match,
    /// Who is on the bus.
    Names,
    /// The unique name behind this name of a player.
    Owner(String),
    /// Whose process a unique name is.
    Process { owner: String, name: String },
    /// What a player shows.
    Shows { owner: String, again: bool },
}

struct Listener<'a> {
    bus: &'a Connection,
    titles: &'a Titles,
    /// By the serial number of the question.
    questions: HashMap<u32, Question>,
}

impl Listener<'_> {
    fn take(&mut self, message: &Message) {
        let header = message.header();
        let Some(sender) = header.sender().map(|sender| sender.as_str()) else {
            return;
        };
        match header.message_type() {
            Type::Signal => match header.member().map(|member| member.as_str()) {
                Some("NameOwnerChanged") if sender == BUS => self.owner_changed(message),
                Some("PropertiesChanged") => self.changed(sender, message),
                _ => {}
            },
            Type::MethodReturn | Type::Error => {
                let asked = header
                    .reply_serial()
                    .and_then(|serial| self.questions.remove(&serial.get()));
                if let Some(question) = asked
                    && header.message_type() == Type::MethodReturn
                {
                    self.answered(question, sender, message);
                }
            }
            Type::MethodCall => {}
        }
    }

    fn owner_changed(&mut self, message: &Message) {
        let body = message.body();
        let Ok((name, old, new)) = body.deserialize::<(&str, &str, &str)>() else {
            return;
        };
        let Some(name) = player_name(name) else {
            return;
        };
        if !old.is_empty() {
            self.titles
                .note(|players| players.vanished(old, SystemTime::now()));
        }
        if !new.is_empty() {
            self.came(new, name);
        }
    }

    /// A player of this name is there: asks whose process it is.
    fn came(&mut self, owner: &str, name: &str) {
        self.ask_bus(
            "GetConnectionUnixProcessID",
            owner,
            Question::Process {
                owner: owner.to_owned(),
                name: name.to_owned(),
            },
        );
    }

    fn answered(&mut self, question: Question, sender: &str, message: &Message) {
        let body = message.body();
        match question {
            Question::Match => {}
            Question::Names => {
                for name in body.deserialize::<Vec<&str>>().unwrap_or_default() {
                    if let Some(player) = player_name(name) {
                        self.ask_bus("GetNameOwner", name, Question::Owner(player.to_owned()));
                    }
                }
            }
            Question::Owner(name) => {
                if let Ok(owner) = body.deserialize::<&str>() {
                    self.came(owner, &name);
                }
            }
            Question::Process { owner, name } => {
                if let Ok(pid) = body.deserialize::<u32>() {
                    let program = Program::of(pid, &name);
                    self.titles
                        .note(|players| players.appeared(&owner, program));
                    self.ask_player(owner, false);
                }
            }
            // A signal that came since the question is newer than the answer.
            Question::Shows { owner, again } => {
                if (again || !self.titles.players().has_metadata(&owner))
                    && sender == owner
                    && let Ok(values) = body.deserialize::<Values>()
                {
                    self.note(&owner, &values);
                }
            }
        }
    }

    fn ask_bus(&mut self, method: &str, body: impl Serialize + DynamicType, question: Question) {
        let call = Message::method_call("/org/freedesktop/DBus", method)
            .and_then(|call| call.destination(BUS)?.interface(BUS)?.build(&body));
        self.ask(call, question);
    }

    fn ask_player(&mut self, owner: String, again: bool) {
        let call = Message::method_call(OBJECT, "GetAll").and_then(|call| {
            call.destination(owner.as_str())?
                .interface(PROPERTIES)?
                .with_flags(Flags::NoAutoStart)?
                .build(&PLAYER)
        });
        self.ask(call, Question::Shows { owner, again });
    }

    fn ask(&mut self, call: zbus::Result<Message>, question: Question) {
        if self.questions.len() >= MOST_QUESTIONS {
            return;
        }
        match call.and_then(|call| self.bus.send(&call).map(|()| call)) {
            Ok(call) => {
                self.questions
                    .insert(call.primary_header().serial_num().get(), question);
            }
            Err(error) => tracing::debug!(%error, ?question, "not asked"),
        }
    }

    fn changed(&mut self, owner: &str, message: &Message) {
        let body = message.body();
        let Ok((interface, values, unsaid)) = body.deserialize::<(String, Values, Vec<String>)>()
        else {
            return;
        };
        if interface != PLAYER {
            return;
        }
        self.note(owner, &values);
        if unsaid.iter().any(|property| property == "Metadata") {
            self.ask_player(owner.to_owned(), true);
        }
    }

    fn note(&self, owner: &str, values: &Values) {
        let status = values.get("PlaybackStatus").and_then(text);
        let metadata = values
            .get("Metadata")
            .and_then(|value| value.try_clone().ok()?.try_into().ok());
        self.titles.note(|players| {
            if let Some(status) = status {
                players.playback_changed(owner, status == "Playing");
            }
            if let Some(metadata) = metadata {
                players.metadata_changed(owner, read(&metadata), SystemTime::now());
            }
        });
    }
}

/// `Metadata` of a player, as the MPRIS metadata guidelines describe it.
fn read(values: &Values) -> Metadata {
    Metadata {
        title: values.get("xesam:title").and_then(text),
        url: values.get("xesam:url").and_then(text),
        length: values.get("mpris:length").and_then(length),
    }
}

fn text(value: &OwnedValue) -> Option<String> {
    let text: &str = value.downcast_ref().ok()?;
    let text: String = text.chars().take(LONGEST).collect();
    (!text.is_empty()).then_some(text)
}

/// Microseconds: a signed 64-bit integer by the specification, something else in some players.
/// Chromium publishes 0 where it knows no length, and the largest number for a stream without an end
/// (`base::TimeDelta::Max()` in system_media_controls_linux.cc).
fn length(value: &OwnedValue) -> Option<Duration> {
    let micros = value
        .downcast_ref::<i64>()
        .or_else(|_| value.downcast_ref::<u64>().map(|n| n as i64))
        .or_else(|_| value.downcast_ref::<i32>().map(i64::from))
        .or_else(|_| value.downcast_ref::<f64>().map(|n| n as i64))
        .ok()?;
    let length = Duration::from_micros(u64::try_from(micros).ok()?);
    (!length.is_zero() && length <= LONGEST_PLAY).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for (value, seconds) in [
            (OwnedValue::from(60_000_000_i64), Some(60)),
            (OwnedValue::from(60_000_000_u64), Some(60)),
            (OwnedValue::from(60_000_000_i32), Some(60)),
            (OwnedValue::from(60e6), Some(60)),
            (OwnedValue::from(0_i64), None),
            (OwnedValue::from(-1_i64), None),
            (OwnedValue::from(i64::MAX), None),
            (OwnedValue::from(f64::INFINITY), None),
            (OwnedValue::from(true), None),
        ] {
            let want = seconds.map(Duration::from_secs);
            assert_eq!(length(&value), want, "{value:?}");
        }
    }
}
