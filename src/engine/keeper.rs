//! The keeper: what has no name left survives our own crash in a second, tiny process.
//!
//! A hard link in staging outlives fisga; a descriptor does not. So each descriptor without a link
//! beside it is also given to a child that does nothing but hold it (unix(7), SCM_RIGHTS). When
//! fisga dies, the child stays. The next fisga need not talk to it: it finds the files in
//! `/proc/PID/fd` as it finds those of any process that has them open, and ends the child then
//! (SIGUSR1). If none comes, the child waits until the producer has finished, copies the file into
//! staging for the next start, and ends when all that it had is there. SIGTERM, at a logout, makes
//! it copy at once what it has. A file that can't be copied anywhere is tried again later.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            net::UnixStream,
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use inotify::{Inotify, WatchMask};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};
use signal_hook::consts::{SIGTERM, SIGUSR1};

use super::{
    hold::HoldId,
    lease,
    open::fd_path,
    settle::{FileKind, Settle, Step},
    staging::{LAST_RESORTS, Staging},
};

/// The subcommand of fisga that runs it.
pub const COMMAND: &str = "keeper";
/// Its name in `/proc/PID/comm` while fisga lives.
const NAME: &std::ffi::CStr = c"fisga-keeper";
/// Its name when fisga has died: the next fisga may end it.
const ORPHAN: &std::ffi::CStr = c"fisga-orphan";
/// Longest message: a number and a staged name.
const MESSAGE: usize = 8 + 256;
/// When a file is looked at that can't be watched, or could not be saved.
const LATER: Duration = Duration::from_secs(10);

/// Whether a process of this name is a keeper, and not a producer.
pub(crate) fn is_keeper(comm: &str) -> bool {
    [NAME, ORPHAN]
        .iter()
        .any(|name| name.to_bytes() == comm.as_bytes())
}

/// Whether it is one whose fisga has died.
pub(crate) fn is_orphan(comm: &str) -> bool {
    ORPHAN.to_bytes() == comm.as_bytes()
}

/// Ends an orphan whose files were taken over. Another process may have its number by now, so the
/// name is read again once a pidfd holds the process.
pub(crate) fn dismiss(pid: u32) {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    let comm =
        std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    if is_orphan(comm.trim_end()) {
        let _ = pidfd_send_signal(&process, Signal::USR1);
    }
}

/// Our side: the child, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    /// What is run as the child; without it nothing is kept.
    program: Option<PathBuf>,
    child: Option<(Child, OwnedFd)>,
    kept: usize,
}

impl Keeper {
    pub(crate) fn new(program: Option<PathBuf>) -> Self {
        Self {
            program,
            child: None,
            kept: 0,
        }
    }

    /// Gives the child a descriptor of this file, besides our own, until [`Self::drop`]. If fisga
    /// dies, the child copies the file to the first of the places that can take it.
    ///
    /// # Errors
    /// When there is no child to be had, or it can't take more.
    pub(crate) fn keep(
        &mut self,
        id: HoldId,
        file: &File,
        staged: &OsStr,
        places: &[PathBuf],
    ) -> io::Result<()> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        if self.child.is_none() {
            self.child = Some(spawn(program, places)?);
        }
        let mut message = id.0.to_ne_bytes().to_vec();
        message.extend_from_slice(staged.as_bytes());
        let fds = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        self.send(&message, &mut control)?;
        self.kept += 1;
        Ok(())
    }

    /// Has the child close a file: it is in the library, or nobody wants it.
    pub(crate) fn drop(&mut self, id: HoldId) {
        if self
            .send(&id.0.to_ne_bytes(), &mut SendAncillaryBuffer::default())
            .is_ok()
        {
            self.kept = self.kept.saturating_sub(1);
        }
        if self.kept == 0 {
            self.end();
        }
    }

    /// Closes our side. A child that keeps nothing ends at once, and is waited for; any other
    /// stays.
    pub(crate) fn end(&mut self) {
        if let Some((mut child, socket)) = self.child.take() {
            drop(socket);
            if self.kept == 0 {
                let _ = child.wait();
            }
        }
    }

    fn send(
        &mut self,
        message: &[u8],
        control: &mut SendAncillaryBuffer<'_, '_, '_>,
    ) -> io::Result<()> {
        let Some((child, socket)) = &mut self.child else {
            return Ok(());
        };
        match sendmsg(
            &*socket,
            &[IoSlice::new(message)],
            control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => Ok(()),
            Err(e) => {
                if e == Errno::PIPE {
                    let _ = child.wait();
                    (self.child, self.kept) = (None, 0);
                }
                Err(e.into())
            }
        }
    }
}

fn spawn(program: &Path, places: &[PathBuf]) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // A terminal's Ctrl-C must not end it, and it must not hold a pipe open that somebody reads our
    // output from.
    let child = Command::new(program)
        .arg0("fisga")
        .arg(COMMAND)
        .args(places)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok((child, ours))
}

/// The child: `fisga keeper PLACE…`, with the socket as standard input.
///
/// # Errors
/// What the system refuses before the first file is kept.
pub fn run(places: &[PathBuf]) -> io::Result<()> {
    let signals = Signals::new()?;
    let _ = rustix::thread::set_name(NAME);
    super::raise_descriptor_limit();
    lease::ignore_breaks()?;
    let mut kept = HashMap::new();
    let socket = rustix::stdio::stdin();
    // While fisga lives, the files are held and nothing else.
    loop {
        wait(&[&socket, &signals.arrived], None)?;
        if signals.save_now() {
            save_all(&mut kept, places);
            return Ok(());
        }
        match receive(socket) {
            Ok(Some((id, name, Some(file)))) => drop(kept.insert(id, Kept::new(name, file))),
            // Without a name it is let go; with one, the descriptor did not come through.
            Ok(Some((id, name, None))) if name.is_empty() => drop(kept.remove(&id)),
            Ok(Some(_)) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(None) | Err(_) => break,
        }
    }
    if !kept.is_empty() {
        orphaned(kept, places, &signals)?;
    }
    Ok(())
}

/// A message: the number of a file, and the staged name and descriptor to keep it under; without a
/// name, the file is let go. `None` when fisga has ended.
type Received = Option<(HoldId, OsString, Option<OwnedFd>)>;

fn receive(socket: impl AsFd) -> rustix::io::Result<Received> {
    let mut bytes = [0; MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = recvmsg(&socket, &mut parts, &mut control, flags)?;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let Some((id, name)) = bytes[..got.bytes].split_first_chunk() else {
        return Ok(None);
    };
    let name = OsString::from_vec(name.to_vec());
    Ok(Some((HoldId(u64::from_ne_bytes(*id)), name, file)))
}

/// SIGTERM and SIGUSR1, caught from the start on.
struct Signals {
    arrived: UnixStream,
    terminated: Arc<AtomicBool>,
    dismissed: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (arrived, notify) = UnixStream::pair()?;
        arrived.set_nonblocking(true)?;
        let (terminated, dismissed) = (Arc::default(), Arc::default());
        for (signal, flag) in [(SIGTERM, &terminated), (SIGUSR1, &dismissed)] {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, notify.try_clone()?)?;
        }
        Ok(Self {
            arrived,
            terminated,
            dismissed,
        })
    }

    fn save_now(&self) -> bool {
        let _ = (&self.arrived).read(&mut [0; 64]);
        self.terminated.load(Ordering::Relaxed)
    }

    fn dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Relaxed)
    }
}

/// A file that is kept.
struct Kept {
    name: OsString,
    file: File,
    settle: Settle,
    /// When to look again, if no event says so before.
    due: Option<Instant>,
}

impl Kept {
    fn new(name: OsString, file: OwnedFd) -> Self {
        let (file, now) = (File::from(file), Instant::now());
        let stamp = lease::stamp(&file).unwrap_or_default();
        Self {
            name,
            settle: Settle::new(FileKind::Player, stamp, now),
            file,
            due: Some(now),
        }
    }

    /// Whether its producer has finished; else sets when to look again.
    fn is_finished(&mut self, watched: bool, now: Instant) -> bool {
        let step = lease::look(&self.file, 0).map(|look| self.settle.step(look, now));
        self.due = match step {
            Ok(Step::Finished | Step::Ask) => return true,
            Ok(Step::LookAt(at)) => Some(at),
            Ok(Step::Sleep | Step::Quiet) if watched => None,
            _ => Some(now + LATER),
        };
        false
    }
}

/// After fisga's end: holds the files until each producer has finished, the next fisga takes over,
/// or the session ends.
fn orphaned(
    mut kept: HashMap<HoldId, Kept>,
    places: &[PathBuf],
    signals: &Signals,
) -> io::Result<()> {
    let _ = rustix::thread::set_name(ORPHAN);
    // Without inotify, files are looked at now and then.
    let mut inotify = Inotify::init().ok();
    let watch = |one: &Kept| {
        let mut watches = inotify.as_ref()?.watches();
        watches.add(fd_path(&one.file), WatchMask::CLOSE_WRITE).ok()
    };
    let watched = kept.values().all(|one| watch(one).is_some());
    loop {
        let now = Instant::now();
        kept.retain(|_, one| {
            one.due.is_none_or(|due| due > now)
                || !one.is_finished(watched, now)
                || !one.save_or_wait(places, now)
        });
        if kept.is_empty() {
            return Ok(());
        }
        let due = kept.values().filter_map(|one| one.due).min();
        let fds: Vec<&dyn AsFd> = match &inotify {
            Some(inotify) => vec![&signals.arrived, inotify],
            None => vec![&signals.arrived],
        };
        wait(&fds, due.map(|due| due.saturating_duration_since(now)))?;
        if signals.dismissed() {
            return Ok(());
        }
        if signals.save_now() {
            save_all(&mut kept, places);
            return Ok(());
        }
        let closed = inotify
            .as_mut()
            .map(|i| i.read_events(&mut [0; 4096]).is_ok());
        if closed == Some(true) {
            let now = Instant::now();
            for one in kept.values_mut() {
                one.settle.closed(now);
                one.due = Some(now);
            }
        }
    }
}

impl Kept {
    /// Saves it. False if no place took it: then it is tried again later.
    fn save_or_wait(&mut self, places: &[PathBuf], now: Instant) -> bool {
        self.due = Some(now + LATER);
        save(self, places)
    }
}

/// Saves every file that can be saved; one that fails doesn't stop the others.
fn save_all(kept: &mut HashMap<HoldId, Kept>, places: &[PathBuf]) {
    kept.retain(|_, one| !save(one, places));
}

/// Copies a kept file into the staging folder of the first place that takes it, under the name that
/// says where it came from.
fn save(kept: &Kept, places: &[PathBuf]) -> bool {
    let last = LAST_RESORTS.map(PathBuf::from);
    places.iter().chain(&last).any(|place| {
        Staging::open(place, "")
            .is_ok_and(|staging| staging.copy_in(&kept.file, &kept.name).is_ok())
    })
}

/// Sleeps until one of these can be read, or the time is up.
fn wait(fds: &[&dyn AsFd], timeout: Option<Duration>) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
        .collect();
    let timeout = timeout.map(|left| Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
