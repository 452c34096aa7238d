//! The session bus: one connection for all that the program asks and answers there, made again when
//! the bus comes later or comes back.
//!
//! A thread listens for services that come and go and for clicks on popups. It subscribes first and
//! then asks what is there, so that no change is missed.

use std::io;

use zbus::{
    Address, MatchRule, Message,
    blocking::{Connection, MessageIterator, fdo::DBusProxy},
    connection::Builder,
    fdo::{RequestNameFlags, RequestNameReply},
    message::Type,
    names::BusName,
};

use super::{
    APP_ID,
    connection::BusConnection,
    control::{self, Application, Control},
    wake::{BusEvent, Waker},
};

/// The service that shows tray icons.
pub const TRAY_HOST: &str = "org.kde.StatusNotifierWatcher";
/// The service that shows notifications.
pub const NOTIFICATIONS: &str = "org.freedesktop.Notifications";

/// The thread that listens. Dropping it closes the connection and joins.
#[derive(Debug)]
pub struct Bus(#[expect(dead_code, reason = "held to be dropped")] BusConnection);

impl Bus {
    /// Starts listening. The thread calls `report`; what others ask over the bus goes to
    /// `waker`.
    ///
    /// # Errors
    /// The kernel gives no descriptor or no thread.
    pub fn start(waker: Waker, report: impl Fn(BusEvent) + Send + 'static) -> io::Result<Self> {
        let prepare = move |builder: Builder<'static>| {
            builder
                .serve_at(control::PATH, Control::new(waker.clone()))?
                .serve_at(control::PATH, Application::new(waker.clone()))
        };
        let serve = move |connection: &Connection| {
            let ours = request_name(connection)?;
            tracing::debug!("on the session bus");
            report(BusEvent::Up(connection.clone()));
            if !ours {
                report(BusEvent::NameTaken);
            }
            let ended = listen(connection, &report);
            report(BusEvent::Down);
            ended
        };
        BusConnection::start("bus", Address::session(), prepare, serve).map(Self)
    }
}

/// Whether the name is ours now.
fn request_name(connection: &Connection) -> zbus::Result<bool> {
    match connection.request_name_with_flags(APP_ID, RequestNameFlags::DoNotQueue.into()) {
        Ok(reply) => Ok(matches!(
            reply,
            RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner
        )),
        Err(zbus::Error::NameTaken) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Listens until the connection ends.
fn listen(connection: &Connection, report: &impl Fn(BusEvent)) -> zbus::Result<()> {
    let messages = MessageIterator::from(connection);
    let bus = DBusProxy::new(connection)?;
    let owners = || {
        MatchRule::builder()
            .msg_type(Type::Signal)
            .interface("org.freedesktop.DBus")
    };
    for name in [TRAY_HOST, NOTIFICATIONS] {
        bus.add_match_rule(owners()?.member("NameOwnerChanged")?.arg(0, name)?.build())?;
    }
    let popups = MatchRule::builder()
        .msg_type(Type::Signal)
        .interface(NOTIFICATIONS)?
        .build();
    bus.add_match_rule(popups)?;

    let owned =
        |name: &str| -> zbus::Result<bool> { Ok(bus.name_has_owner(BusName::try_from(name)?)?) };
    let startable = |name: &str| {
        bus.list_activatable_names()
            .is_ok_and(|all| all.iter().any(|n| *n == name))
    };
    report(BusEvent::TrayHost(owned(TRAY_HOST)?));
    report(BusEvent::Notifications(
        owned(NOTIFICATIONS)? || startable(NOTIFICATIONS),
    ));
    for message in messages {
        match read(&message?) {
            Some(BusEvent::Notifications(false)) => {
                report(BusEvent::Notifications(startable(NOTIFICATIONS)))
            }
            Some(event) => report(event),
            None => {}
        }
    }
    Ok(())
}

/// The event in a message, if it concerns us.
fn read(message: &Message) -> Option<BusEvent> {
    let header = message.header();
    if header.message_type() != Type::Signal {
        return None;
    }
    let body = message.body();
    match (header.interface()?.as_str(), header.member()?.as_str()) {
        ("org.freedesktop.DBus", "NameOwnerChanged") => {
            let (name, _old, new): (String, String, String) = body.deserialize().ok()?;
            match name.as_str() {
                TRAY_HOST => Some(BusEvent::TrayHost(!new.is_empty())),
                NOTIFICATIONS => Some(BusEvent::Notifications(!new.is_empty())),
                _ => None,
            }
        }
        (NOTIFICATIONS, "ActionInvoked") => {
            let (id, key) = body.deserialize().ok()?;
            Some(BusEvent::Clicked { id, key })
        }
        (NOTIFICATIONS, "NotificationClosed") => {
            let (id, _reason): (u32, u32) = body.deserialize().ok()?;
            Some(BusEvent::Closed(id))
        }
        _ => None,
    }
}
