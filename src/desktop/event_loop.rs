//! The main thread's loop: tao where there is a display, a plain channel where there is none.

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError, mpsc},
};

use tao::{
    event::{Event, StartCause},
    event_loop::{ControlFlow, EventLoop, EventLoopBuilder},
    platform::run_return::EventLoopExtRunReturn,
};

use super::{
    connection, health,
    wake::{Wake, Waker},
};

/// How GDK uses GL (GTK 3 Reference Manual, "Running and debugging GTK+ Applications").
pub(super) const GDK_GL: &str = "GDK_GL";

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Wait for the next wake.
    Continue,
    /// End.
    End,
}

/// Runs until `on` returns [`Flow::End`]. `start` is called once, when wakes can be delivered; its
/// second argument says whether there is a display. Its result is returned.
///
/// # Errors
/// Those of `start`.
pub fn run<T, E>(
    start: impl FnOnce(Waker, bool) -> Result<T, E>,
    mut on: impl FnMut(&mut T, Wake) -> Flow,
) -> Result<T, E> {
    // The toolkit waits for the bus, without end if that hangs. The tray needs only the bus, when
    // it answers again.
    let hangs = connection::bus_hangs();
    match (!hangs).then(tao_loop).flatten() {
        Some(event_loop) => run_tao(event_loop, start, on),
        None => {
            let (tx, rx) = mpsc::channel();
            let waker = Waker::new(move |wake| drop(tx.send(wake)));
            let mut it = start(waker, hangs && health::display())?;
            while let Ok(wake) = rx.recv() {
                if on(&mut it, wake) == Flow::End {
                    break;
                }
            }
            Ok(it)
        }
    }
}

fn run_tao<T, E>(
    mut event_loop: EventLoop<Wake>,
    start: impl FnOnce(Waker, bool) -> Result<T, E>,
    mut on: impl FnMut(&mut T, Wake) -> Flow,
) -> Result<T, E> {
    let proxy = Mutex::new(event_loop.create_proxy());
    let waker = Waker::new(move |wake| {
        let proxy = proxy.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = proxy.send_event(wake);
    });
    let mut it = start(waker, true)?;
    event_loop.run_return(|event, _, control| match event {
        Event::NewEvents(StartCause::Init) => *control = ControlFlow::Wait,
        Event::UserEvent(wake) => {
            *control = match on(&mut it, wake) {
                Flow::Continue => ControlFlow::Wait,
                Flow::End => ControlFlow::Exit,
            }
        }
        _ => {}
    });
    Ok(it)
}

/// The toolkit takes the shared bus connection for its application, and GIO ends a process by
/// SIGTERM when that connection closes (`GDBusConnection:exit-on-close`). Saving goes on without a
/// bus.
fn outlive_the_bus() -> Option<gio::DBusConnection> {
    let shared = gio::bus_get_sync(gio::BusType::Session, gio::Cancellable::NONE).ok()?;
    shared.set_exit_on_close(false);
    Some(shared)
}

/// Asks GDK 3 for no GL, unless the user has set it: on a display that no GTK program was on before
/// it would load the driver to look for visuals, 60 MB that a tray has no use for. Programs that we
/// start are not to inherit it.
fn without_gl() {
    if env::var_os(GDK_GL).is_none() {
        // SAFETY: this is the main thread, and it is the only one yet: threads begin with what
        // `run` starts.
        #[allow(unsafe_code)]
        unsafe {
            env::set_var(GDK_GL, "disable");
        }
    }
}

/// tao's loop. Its builder panics if the toolkit can't use the display: a display that takes
/// connections may still refuse ours, so a look before is not enough.
fn tao_loop() -> Option<EventLoop<Wake>> {
    if !health::display() {
        return None;
    }
    without_gl();
    // Kept until the toolkit has taken the same one: GIO forgets a connection that nobody has.
    let _shared = outlive_the_bus();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(
        |info| tracing::debug!(%info, "the display can't be used"),
    ));
    let built = panic::catch_unwind(AssertUnwindSafe(|| {
        EventLoopBuilder::with_user_event().build()
    }));
    panic::set_hook(hook);
    built.ok()
}
