//! A thread that sleeps until the wall clock reaches a set time, or a folder changes.
//!
//! A pause until 14:30 ends at 14:30, even if the machine was asleep or its clock was set in
//! between. An event loop's timeouts count monotonic time, which stands still in suspend. A kernel
//! timer on `CLOCK_REALTIME` with an absolute time follows a clock that is set, and fires
//! immediately after a suspend that outlasted it (timerfd_create(2)).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use chrono::{DateTime, Local};
use inotify::{Inotify, WatchMask};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// What the thread reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerEvent {
    /// The time has come.
    Due,
    /// Something in the folder came, went or was written.
    FolderChanged,
}

/// The thread. Dropping it ends and joins it.
#[derive(Debug)]
pub struct Timer {
    timer: Arc<OwnedFd>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    /// Starts the thread, which calls `report`. The folder need not exist yet.
    ///
    /// # Errors
    /// The kernel gives no timer, no inotify instance or no thread.
    pub fn start(
        folder: Option<PathBuf>,
        report: impl Fn(TimerEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let (timer, stop) = (
            Arc::new(timer),
            Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
        );
        let folder = folder.map(Folder::watch).transpose()?;
        let thread = thread::Builder::new().name("timer".into()).spawn({
            let (timer, stop) = (timer.clone(), stop.clone());
            move || wait(&timer, &stop, folder, report)
        })?;
        Ok(Self {
            timer,
            stop,
            thread: Some(thread),
        })
    }

    /// Sets the time, or clears it. A time in the past is reported at once.
    ///
    /// # Errors
    /// The kernel refuses the time.
    pub fn set(&self, at: Option<DateTime<Local>>) -> io::Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let it_value = match at {
            None => zero,
            // Zero would disarm it.
            Some(at) => Timespec {
                tv_sec: at.timestamp().max(1),
                tv_nsec: i64::from(at.timestamp_subsec_nanos().min(999_999_999)),
            },
        };
        let spec = Itimerspec {
            it_interval: zero,
            it_value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn wait(timer: &OwnedFd, stop: &OwnedFd, mut folder: Option<Folder>, report: impl Fn(TimerEvent)) {
    loop {
        let mut fds = vec![
            PollFd::new(stop, PollFlags::IN),
            PollFd::new(timer, PollFlags::IN),
        ];
        fds.extend(
            folder
                .as_ref()
                .map(|f| PollFd::from_borrowed_fd(f.inotify.as_fd(), PollFlags::IN)),
        );
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return tracing::error!(%error, "the timer can't wait; pauses end only by hand");
            }
        }
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            return;
        }
        if ready[1] && rustix::io::read(timer, &mut [0; 8]).is_ok() {
            report(TimerEvent::Due);
        }
        if ready.get(2) == Some(&true) && folder.as_mut().is_some_and(Folder::changed) {
            report(TimerEvent::FolderChanged);
        }
    }
}

/// A folder that may not exist; then its parent is watched until it is created.
#[derive(Debug)]
struct Folder {
    inotify: Inotify,
    path: PathBuf,
}

impl Folder {
    fn watch(path: PathBuf) -> io::Result<Self> {
        let folder = Self {
            inotify: Inotify::init()?,
            path,
        };
        folder.add_watch();
        Ok(folder)
    }

    fn add_watch(&self) {
        let add = |path: &Path, mask| self.inotify.watches().add(path, mask | WatchMask::ONLYDIR);
        let inside =
            WatchMask::CLOSE_WRITE | WatchMask::MOVE | WatchMask::DELETE | WatchMask::DELETE_SELF;
        if add(&self.path, inside | WatchMask::MOVE_SELF).is_ok() {
            return;
        }
        let arrival = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONESHOT;
        if self
            .path
            .parent()
            .is_some_and(|parent| add(parent, arrival).is_ok())
        {
            // It may have been created between the two calls.
            let _ = add(&self.path, inside | WatchMask::MOVE_SELF);
        }
    }

    /// Reads the pending events and watches the folder again, which may have been replaced.
    fn changed(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let any = self
            .inotify
            .read_events(&mut buffer)
            .is_ok_and(|mut events| events.next().is_some());
        self.add_watch();
        any
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, time::Duration};

    use chrono::TimeDelta;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn it_rings_at_the_time_and_not_before_and_again() {
        let (tx, rx) = mpsc::channel();
        let timer = Timer::start(None, move |sign| tx.send(sign).unwrap()).unwrap();
        for after in [0, -3_600_000, 50] {
            let at = Local::now() + TimeDelta::milliseconds(after);
            timer.set(Some(at)).unwrap();
            assert_eq!(rx.recv_timeout(LONG), Ok(TimerEvent::Due));
            assert!(Local::now() >= at);
        }
        timer.set(Some(Local::now() + TimeDelta::hours(1))).unwrap();
        timer.set(None).unwrap();
        drop(timer);
        assert_eq!(rx.recv(), Err(mpsc::RecvError));
    }

    #[test]
    fn a_folder_that_comes_goes_and_comes_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("autostart");
        let (tx, rx) = mpsc::channel();
        let _timer = Timer::start(Some(folder.clone()), move |sign| {
            let _ = tx.send(sign);
        })
        .unwrap();
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            assert_eq!(rx.recv_timeout(LONG), Ok(TimerEvent::FolderChanged));
            fs::write(folder.join("x"), "").unwrap();
            assert_eq!(rx.recv_timeout(LONG), Ok(TimerEvent::FolderChanged));
            fs::remove_dir_all(&folder).unwrap();
            while rx.recv_timeout(Duration::from_millis(200)).is_ok() {}
        }
    }
}
