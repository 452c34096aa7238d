//! The keeper: what has no name left survives our own crash in a second, tiny process.
//!
//! A hard link in staging outlives fisga; a descriptor does not. So each descriptor without a link
//! beside it is also given to a child that does nothing but hold it (unix(7), SCM_RIGHTS). When
//! fisga dies, the child stays. The next fisga needs no word with it: it finds the files in
//! `/proc/PID/fd` as it finds those of any process that has them open, and ends the child then. If
//! none comes, the child waits until the producer has finished, copies the file into staging for
//! the next start, and ends by itself. It lives only while there is something to keep.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
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
    settle::{Manner, Settle, Step},
    staging::Staging,
};

/// Its command on our own command line.
pub const COMMAND: &str = "keeper";
/// Its name in `/proc/PID/comm` while fisga lives.
const NAME: &std::ffi::CStr = c"fisga-keeper";
/// Its name when fisga has died: the next fisga may end it.
const ORPHAN: &std::ffi::CStr = c"fisga-orphan";
/// Longest message: a number and a staged name.
const MESSAGE: usize = 8 + 256;

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

/// Ends an orphan whose files were taken over. Whoever has its number by now is looked at through
/// the pidfd first.
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

    /// Has this file kept beside our own descriptor, until [`Self::drop`].
    ///
    /// # Errors
    /// When there is no child to be had, or it can't take more.
    pub(crate) fn keep(
        &mut self,
        id: HoldId,
        file: &File,
        staged: &OsStr,
        library: &Path,
    ) -> io::Result<()> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        if self.child.is_none() {
            self.child = Some(spawn(program, library)?);
        }
        let mut message = id.to_ne_bytes().to_vec();
        message.extend_from_slice(staged.as_bytes());
        let fds = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        self.send(&message, &mut control)?;
        self.kept += 1;
        Ok(())
    }

    /// It is in the library, or nobody wants it.
    pub(crate) fn drop(&mut self, id: HoldId) {
        if self
            .send(&id.to_ne_bytes(), &mut SendAncillaryBuffer::default())
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
        let flags = SendFlags::NOSIGNAL;
        match sendmsg(&*socket, &[IoSlice::new(message)], control, flags) {
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

fn spawn(program: &Path, library: &Path) -> io::Result<(Child, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Neither a terminal's Ctrl-C nor whoever reads our output may concern it.
    let child = Command::new(program)
        .arg0("fisga")
        .arg(COMMAND)
        .arg(library)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok((child, ours))
}

/// The child: `fisga keeper LIBRARY`, with the socket as standard input.
///
/// # Errors
/// What the system refuses; what is kept is lost then if fisga is gone too.
pub fn run(library: &Path) -> io::Result<()> {
    let _ = rustix::thread::set_name(NAME);
    super::raise_descriptor_limit();
    lease::ignore_breaks()?;
    let mut kept = HashMap::new();
    let stdin = rustix::stdio::stdin();
    while let Some((id, name, file)) = receive(stdin)? {
        match file {
            Some(file) => drop(kept.insert(id, (name, File::from(file)))),
            None => drop(kept.remove(&id)),
        }
    }
    if kept.is_empty() {
        Ok(())
    } else {
        orphaned(kept.into_values().collect(), library)
    }
}

fn receive(socket: impl AsFd) -> io::Result<Option<(HoldId, OsString, Option<OwnedFd>)>> {
    let mut bytes = [0; MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            got => break got?,
        }
    };
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let Some((id, name)) = bytes[..got.bytes].split_first_chunk() else {
        return Ok(None);
    };
    Ok(Some((
        HoldId::from_ne_bytes(*id),
        OsString::from_vec(name.to_vec()),
        file,
    )))
}

/// A kept file, after fisga's death.
struct Kept {
    name: OsString,
    file: File,
    settle: Settle,
}

/// Holds until the next fisga takes over (SIGUSR1), each producer has finished, or the session ends
/// (SIGTERM).
fn orphaned(kept: Vec<(OsString, File)>, library: &Path) -> io::Result<()> {
    let _ = rustix::thread::set_name(ORPHAN);
    let (signals, arrived) = std::os::unix::net::UnixStream::pair()?;
    let mut inotify = Inotify::init()?;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for signal in [SIGTERM, SIGUSR1] {
        signal_hook::flag::register_usize(signal, stop.clone(), signal.unsigned_abs() as usize)?;
        signal_hook::low_level::pipe::register(signal, arrived.try_clone()?)?;
    }
    let now = Instant::now();
    let mut kept: Vec<Kept> = kept
        .into_iter()
        .map(|(name, file)| {
            let stamp = lease::stamp(&file).unwrap_or_default();
            Kept {
                name,
                settle: Settle::new(Manner::Player, stamp, now),
                file,
            }
        })
        .collect();
    for one in &kept {
        inotify
            .watches()
            .add(fd_path(&one.file), WatchMask::CLOSE_WRITE)?;
    }
    let mut buffer = [0; 4096];
    loop {
        let now = Instant::now();
        let mut due: Option<Instant> = None;
        let mut failed = None;
        kept.retain_mut(|one| {
            match lease::look(&one.file, 0).map(|look| one.settle.step(look, now)) {
                Ok(Step::Finished | Step::Ask) => match save(one, library) {
                    Ok(()) => false,
                    Err(e) => {
                        failed = Some(e);
                        true
                    }
                },
                Ok(Step::LookAt(at)) => {
                    due = Some(due.map_or(at, |due| due.min(at)));
                    true
                }
                Ok(Step::Sleep | Step::Quiet) => true,
                Err(_) => false,
            }
        });
        if kept.is_empty() {
            return Ok(());
        }
        if let Some(e) = failed {
            return wait_for_successor(&signals, &stop, e);
        }
        let timeout = due
            .map(|due| due.saturating_duration_since(now))
            .map(|left| Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            });
        let mut fds = [
            PollFd::new(&inotify, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        match i32::try_from(stop.load(std::sync::atomic::Ordering::Relaxed)) {
            Ok(SIGUSR1) => return Ok(()),
            Ok(SIGTERM) => return kept.iter().try_for_each(|one| save(one, library)),
            _ => {}
        }
        if inotify.read_events(&mut buffer).is_ok() {
            let now = Instant::now();
            kept.iter_mut().for_each(|one| one.settle.closed(now));
        }
    }
}

/// There is no room to save it: what is held stays held as long as this session does.
fn wait_for_successor(
    signals: &std::os::unix::net::UnixStream,
    stop: &std::sync::atomic::AtomicUsize,
    why: io::Error,
) -> io::Result<()> {
    while stop.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        match poll(&mut [PollFd::new(signals, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(why)
}

/// Copies a kept file into staging, under the name that says where it came from.
fn save(kept: &Kept, library: &Path) -> io::Result<()> {
    let staging = Staging::open(library, "").map_err(io::Error::other)?;
    staging.copy_in(&kept.file, &kept.name)
}
