//! A program with its children, in a process group of its own, ended on drop.

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
};

/// How long a program may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running program and what it started.
pub struct Group {
    child: Child,
    name: String,
}

impl Group {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { child, name }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, within)
    }

    /// Asks it to end, and expects that it does.
    pub fn stop(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        self.signal(Signal::TERM);
        self.wait(PATIENCE * 4)
            .unwrap_or_else(|| panic!("{} goes on after SIGTERM", self.name))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = pid(&self.child);
        // A reaped leader's number stays the group's as long as a member lives, so this reaches
        // only our own.
        let _ = kill_process_group(group, Signal::TERM);
        let ended = wait(&mut self.child, PATIENCE).is_some();
        let _ = kill_process_group(group, Signal::KILL);
        if !ended {
            let _ = self.child.wait();
        }
    }
}

/// Waits for the end of a child, woken by the kernel.
pub fn wait(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    if let Some(status) = child.try_wait().unwrap() {
        return Some(status);
    }
    let end = Instant::now() + within;
    let pidfd = pidfd_open(pid(child), PidfdFlags::empty()).unwrap();
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => return None,
            Ok(_) => return Some(child.wait().unwrap()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
    }
}

/// What became of a program, in words.
pub fn ended(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
        None => status.to_string(),
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}
