//! The session bus: one connection for all that the program asks and answers there, made again when the bus
//! comes later or comes back.
//!
//! A thread listens for who comes and goes and for clicks on popups. Without a bus it sleeps until the bus's socket
//! appears (inotify(7)); nothing is polled. First it subscribes, then it asks how things stand, so that nothing falls
//! between.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use inotify::{Inotify, WatchMask};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
};
use zbus::{
    MatchRule, Message,
    address::transport::{Transport, UnixSocket},
    blocking::{Connection, MessageIterator, connection::Builder, fdo::DBusProxy},
    fdo::{RequestNameFlags, RequestNameReply},
    message::Type,
    names::BusName,
};

use super::{
    APP_ID,
    action::Waker,
    control::{self, Application, Control},
};

/// Who shows tray icons.
pub const TRAY_HOST: &str = "org.kde.StatusNotifierWatcher";
/// Who shows notifications.
pub const NOTIFICATIONS: &str = "org.freedesktop.Notifications";

/// A call that isn't answered by then has failed. A server that hangs costs that much, on its own thread.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits between attempts on a socket that has just appeared and doesn't listen yet, in milliseconds.
const ATTEMPTS: [u16; 7] = [10, 20, 40, 80, 160, 320, 640];

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

/// The thread that listens. Dropping it closes the connection and joins.
#[derive(Debug)]
pub struct Bus {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: OwnedFd,
    connection: Mutex<Link>,
}

#[derive(Debug)]
enum Link {
    Down,
    Up(Connection),
    Stopped,
}

impl Bus {
    /// Starts listening. `tell` is called on the thread; what is asked of us over the bus goes to `waker`.
    ///
    /// # Errors
    /// The kernel gives no descriptor or no thread.
    pub fn start(waker: Waker, tell: impl Fn(BusEvent) + Send + 'static) -> io::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { stop, connection: Mutex::new(Link::Down) });
        let thread = thread::Builder::new().name("bus".into()).spawn({
            let shared = shared.clone();
            move || listen(&shared, &waker, &tell)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        self.shared.set(Link::Stopped);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Puts `link` in force; a connection that was is closed, which ends its listener. `false`: it is over.
    fn set(&self, link: Link) -> bool {
        let mut current = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Link::Stopped = *current {
            return false;
        }
        if let Link::Up(old) = std::mem::replace(&mut *current, link) {
            let _ = old.close();
        }
        true
    }
}

fn listen(shared: &Shared, waker: &Waker, tell: &impl Fn(BusEvent)) {
    let mut socket = Socket::find();
    loop {
        match connect(waker) {
            Ok((connection, ours)) => {
                if !shared.set(Link::Up(connection.clone())) {
                    return;
                }
                tracing::debug!("on the session bus");
                tell(BusEvent::Up(connection.clone()));
                if !ours {
                    tell(BusEvent::NameTaken);
                }
                if let Err(error) = serve(&connection, tell) {
                    tracing::debug!(%error, "the session bus is gone");
                }
                tell(BusEvent::Down);
                if !shared.set(Link::Down) {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "no session bus"),
        }
        if !socket.wait(&shared.stop) {
            return;
        }
    }
}

fn connect(waker: &Waker) -> zbus::Result<(Connection, bool)> {
    let connection = Builder::session()?
        .method_timeout(CALL_TIMEOUT)
        .serve_at(control::PATH, Control::new(waker.clone()))?
        .serve_at(control::PATH, Application::new(waker.clone()))?
        .build()?;
    let reply = connection.request_name_with_flags(APP_ID, RequestNameFlags::DoNotQueue.into());
    let ours = match reply {
        Ok(reply) => matches!(reply, RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner),
        Err(zbus::Error::NameTaken) => false,
        Err(error) => return Err(error),
    };
    Ok((connection, ours))
}

/// Listens until the connection ends.
fn serve(connection: &Connection, tell: &impl Fn(BusEvent)) -> zbus::Result<()> {
    let messages = MessageIterator::from(connection);
    let bus = DBusProxy::new(connection)?;
    let owners = || MatchRule::builder().msg_type(Type::Signal).interface("org.freedesktop.DBus");
    for name in [TRAY_HOST, NOTIFICATIONS] {
        bus.add_match_rule(owners()?.member("NameOwnerChanged")?.arg(0, name)?.build())?;
    }
    let popups = MatchRule::builder().msg_type(Type::Signal).interface(NOTIFICATIONS)?.build();
    bus.add_match_rule(popups)?;

    let owned = |name: &str| -> zbus::Result<bool> { Ok(bus.name_has_owner(BusName::try_from(name)?)?) };
    let startable = |name: &str| bus.list_activatable_names().is_ok_and(|all| all.iter().any(|n| *n == name));
    tell(BusEvent::TrayHost(owned(TRAY_HOST)?));
    tell(BusEvent::Notifications(owned(NOTIFICATIONS)? || startable(NOTIFICATIONS)));
    for message in messages {
        match read(&message?) {
            Some(BusEvent::Notifications(false)) => tell(BusEvent::Notifications(startable(NOTIFICATIONS))),
            Some(event) => tell(event),
            None => {}
        }
    }
    Ok(())
}

/// What a message tells, if it concerns us.
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

/// Where the bus listens, and how far the attempts on it are.
#[derive(Debug)]
struct Socket {
    path: Option<PathBuf>,
    inotify: Option<Inotify>,
    attempt: usize,
}

impl Socket {
    fn find() -> Self {
        let path = zbus::Address::session().ok().and_then(|address| match address.transport() {
            Transport::Unix(unix) => match unix.path() {
                UnixSocket::File(path) => Some(path.clone()),
                _ => None,
            },
            _ => None,
        });
        let inotify = path.as_ref().and_then(|path| {
            let inotify = Inotify::init().ok()?;
            let arrival = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
            inotify.watches().add(path.parent()?, arrival).ok()?;
            Some(inotify)
        });
        Self { path, inotify, attempt: 0 }
    }

    /// Waits until it makes sense to connect (again). `false`: it is time to stop.
    ///
    /// A socket that is there and refuses is about to listen, or dead: a few attempts tell, then only a new socket
    /// counts.
    fn wait(&mut self, stop: &OwnedFd) -> bool {
        let pause = ATTEMPTS.get(self.attempt).filter(|_| self.path.as_ref().is_some_and(|p| p.exists()));
        self.attempt += 1;
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(self.inotify.as_ref().map(|i| PollFd::from_borrowed_fd(i.as_fd(), PollFlags::IN)));
        let timeout = pause.map(|ms| Timespec { tv_sec: 0, tv_nsec: i64::from(*ms) * 1_000_000 });
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) if !fds[0].revents().is_empty() => return false,
                Ok(0) => return true,
                Ok(_) => break,
            }
        }
        self.attempt = 0;
        let mut buffer = [0; 4096];
        // Whatever appeared: the next attempt tells whether it was the socket.
        let _ = self.inotify.as_mut().map(|i| i.read_events(&mut buffer).map(Iterator::count));
        true
    }
}
