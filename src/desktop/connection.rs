//! A connection to the session bus: a thread connects when the bus is there, and again when it
//! comes back.
//!
//! Without a bus the thread sleeps until the bus's socket appears (inotify(7)); nothing is polled.
//! A bus that takes the connection and never answers holds up this thread and nothing else, the
//! program's end included.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use async_channel::{Receiver, Sender, bounded};
use futures_lite::future;
use inotify::{Inotify, WatchMask};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
};
use zbus::{
    Address,
    address::transport::{Transport, UnixSocket},
    blocking::Connection,
    connection::Builder,
};

/// A call that isn't answered within this time has failed. A server that hangs blocks only the
/// thread that called it, and only for this long.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits between attempts on a socket that has just appeared and doesn't listen yet, in
/// milliseconds.
const ATTEMPTS: [u16; 7] = [10, 20, 40, 80, 160, 320, 640];

/// The thread. Dropping it closes the connection and joins.
#[derive(Debug)]
pub(super) struct BusConnection {
    shared: Arc<Shared>,
    /// Dropped, it ends an attempt to connect.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: OwnedFd,
    connection: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Down,
    Up(Connection),
    Stopped,
}

impl BusConnection {
    /// Starts the thread, named `name`, on the bus at `address`. `prepare` is what each connection
    /// begins with; `serve` is called with each, and returns when it has ended.
    ///
    /// # Errors
    /// The kernel gives no descriptor or no thread.
    pub(super) fn start(
        name: &str,
        address: zbus::Result<Address>,
        prepare: impl Fn(Builder<'static>) -> zbus::Result<Builder<'static>> + Send + 'static,
        serve: impl FnMut(&Connection) -> zbus::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            stop: eventfd(0, EventfdFlags::CLOEXEC)?,
            connection: Mutex::new(State::Down),
        });
        let (stop, stopped) = bounded(1);
        let thread = thread::Builder::new().name(name.into()).spawn({
            let shared = shared.clone();
            move || match address {
                Ok(address) => run(&shared, &stopped, &forget_guid(&address), prepare, serve),
                Err(error) => tracing::debug!(%error, "the session bus has no address"),
            }
        })?;
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for BusConnection {
    fn drop(&mut self) {
        self.stop = None;
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        self.shared.set(State::Stopped);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Sets the state, and closes the connection that there was, which ends its listener. False if
    /// the thread is to end.
    fn set(&self, state: State) -> bool {
        let mut current = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*current {
            State::Stopped => return false,
            State::Up(old) => drop(old.clone().close()),
            State::Down => {}
        }
        *current = state;
        true
    }
}

fn run(
    shared: &Shared,
    stopped: &Receiver<()>,
    address: &Address,
    prepare: impl Fn(Builder<'static>) -> zbus::Result<Builder<'static>>,
    mut serve: impl FnMut(&Connection) -> zbus::Result<()>,
) {
    let mut socket = Socket::of(address);
    loop {
        let build = async {
            prepare(Builder::address(address.clone())?)?
                .method_timeout(CALL_TIMEOUT)
                .build()
                .await
        };
        match unless(stopped, build) {
            None => return,
            Some(Ok(connection)) => {
                socket.connected();
                let connection = Connection::from(connection);
                if !shared.set(State::Up(connection.clone())) {
                    return;
                }
                if let Err(error) = serve(&connection) {
                    tracing::debug!(%error, "the session bus is gone");
                }
                if !shared.set(State::Down) {
                    return;
                }
            }
            Some(Err(error)) => tracing::debug!(%error, "no session bus"),
        }
        if !socket.wait(&shared.stop) {
            return;
        }
    }
}

/// A bus that comes back has another id, so the id in the address is dropped (D-Bus Specification,
/// "Server Addresses").
fn forget_guid(address: &Address) -> Address {
    Address::new(address.transport().clone())
}

/// Waits for `work`; `None` if the thread is to end before that.
fn unless<T>(stopped: &Receiver<()>, work: impl Future<Output = T>) -> Option<T> {
    future::block_on(future::or(async { Some(work.await) }, async {
        let _ = stopped.recv().await;
        None
    }))
}

/// The socket on which the bus listens, and how many attempts to connect were made.
#[derive(Debug)]
struct Socket {
    path: Option<PathBuf>,
    inotify: Option<Inotify>,
    attempt: usize,
}

impl Socket {
    fn of(address: &Address) -> Self {
        let path = match address.transport() {
            Transport::Unix(unix) => match unix.path() {
                UnixSocket::File(path) => Some(path.clone()),
                _ => None,
            },
            _ => None,
        };
        Self {
            path,
            inotify: None,
            attempt: 0,
        }
    }

    /// Watches for the socket, only while there is no bus: each user has few inotify instances.
    fn watch(&self) -> Option<Inotify> {
        let inotify = Inotify::init().ok()?;
        let arrival = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        inotify
            .watches()
            .add(self.path.as_ref()?.parent()?, arrival)
            .ok()?;
        Some(inotify)
    }

    /// There is a connection.
    fn connected(&mut self) {
        (self.inotify, self.attempt) = (None, 0);
    }

    /// Waits until it makes sense to connect (again). False if the thread is to end.
    ///
    /// A socket that exists and refuses is about to listen, or dead. After a few attempts it counts
    /// as dead, and only a new socket is tried.
    fn wait(&mut self, stop: &OwnedFd) -> bool {
        if self.inotify.is_none() {
            self.inotify = self.watch();
        }
        let pause = ATTEMPTS
            .get(self.attempt)
            .filter(|_| self.path.as_ref().is_some_and(|p| p.exists()));
        self.attempt += 1;
        let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
        fds.extend(
            self.inotify
                .as_ref()
                .map(|i| PollFd::from_borrowed_fd(i.as_fd(), PollFlags::IN)),
        );
        let timeout = pause.map(|ms| Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(*ms) * 1_000_000,
        });
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
        // Whatever has appeared, the next attempt shows whether it is the socket.
        let _ = self
            .inotify
            .as_mut()
            .map(|i| i.read_events(&mut buffer).map(Iterator::count));
        true
    }
}

/// A bus that stays silent for this long hangs.
const SILENCE: Duration = Duration::from_secs(1);

/// Whether the session bus takes connections and then says nothing. zbus and GIO would wait for
/// such a bus without end.
pub(super) fn bus_hangs() -> bool {
    let Ok(address) = Address::session() else {
        return false;
    };
    let Transport::Unix(unix) = address.transport() else {
        return false;
    };
    let connected = match unix.path() {
        UnixSocket::File(path) => UnixStream::connect(path),
        UnixSocket::Abstract(name) => SocketAddr::from_abstract_name(name.as_encoded_bytes())
            .and_then(|address| UnixStream::connect_addr(&address)),
        _ => return false,
    };
    let Ok(mut bus) = connected else { return false };
    // Any answer will do; an AUTH without a mechanism has one (D-Bus Specification, "Authentication
    // Protocol").
    let asked = bus
        .set_read_timeout(Some(SILENCE))
        .and_then(|()| bus.write_all(b"\0AUTH\r\n"));
    asked.is_ok()
        && bus
            .read(&mut [0; 1])
            .is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
}
