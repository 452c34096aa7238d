//! Does anyone have this file open for writing? One system call, for named and nameless files
//! alike.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::{Arc, atomic::AtomicBool},
};

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};

use super::settle::{Observation, Stamp, Writers};

/// Makes SIGIO harmless: the kernel sends it when somebody opens a file for writing in the
/// microseconds that we have a lease on it, and its default action ends the process (fcntl(2),
/// "Leases").
///
/// # Errors
/// What sigaction(2) returns.
pub fn ignore_breaks() -> io::Result<()> {
    signal_hook::flag::register(libc::SIGIO, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Asks for a read lease and gives it back at once: it is refused while a writer exists (fcntl(2),
/// F_SETLEASE).
pub fn writers(file: BorrowedFd<'_>) -> Writers {
    match set(file, libc::F_RDLCK) {
        Ok(()) => match set(file, libc::F_UNLCK) {
            Ok(()) => Writers::None,
            Err(_) => Writers::Unknown,
        },
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

/// One look at a held file; `ours` is the number of links that we made ourselves.
///
/// # Errors
/// What statx(2) returns.
pub fn look(file: &File, ours: u64) -> io::Result<Observation> {
    let stat = stat(file)?;
    Ok(Observation {
        writers: writers(file.as_fd()),
        named: u64::from(stat.stx_nlink) > ours,
        stamp: stamp_of(&stat),
    })
}

/// The state of a file's content.
///
/// # Errors
/// What statx(2) returns.
pub fn stamp(file: &File) -> io::Result<Stamp> {
    stat(file).map(|stat| stamp_of(&stat))
}

fn stat(file: &File) -> io::Result<Statx> {
    let wanted = StatxFlags::NLINK | StatxFlags::SIZE | StatxFlags::MTIME;
    Ok(statx(file, "", AtFlags::EMPTY_PATH, wanted)?)
}

fn stamp_of(stat: &Statx) -> Stamp {
    Stamp {
        size: stat.stx_size,
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
    }
}

#[allow(unsafe_code)]
fn set(file: BorrowedFd<'_>, lease: i32) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the call, and F_SETLEASE takes an int. No safe crate
    // offers it.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    /// Named and nameless, one writer and two, in the temporary folder and in the home.
    #[test]
    fn a_lease_tells_who_writes() {
        for dir in [std::env::temp_dir(), std::env::home_dir().unwrap()] {
            let dir = tempfile::tempdir_in(dir).unwrap();
            let path = dir.path().join("Flash");
            let mut first = File::create_new(&path).unwrap();
            let second = OpenOptions::new().append(true).open(&path).unwrap();
            let ours = File::open(&path).unwrap();
            assert_eq!(writers(ours.as_fd()), Writers::Some);
            std::fs::remove_file(&path).unwrap();
            first.write_all(b"x").unwrap();
            drop(first);
            assert_eq!(writers(ours.as_fd()), Writers::Some);
            drop(second);
            assert_eq!(writers(ours.as_fd()), Writers::None);
        }
    }

    #[test]
    fn a_writable_mapping_is_a_writer() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(4096).unwrap();
        let ours = File::open(file.path()).unwrap();
        let writer = OpenOptions::new()
            .read(true)
            .write(true)
            .open(file.path())
            .unwrap();
        drop(file.into_temp_path().keep());
        use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
        let (read_write, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a fresh mapping that nothing else refers to, unmapped below.
        let map =
            unsafe { mmap(std::ptr::null_mut(), 4096, read_write, shared, &writer, 0) }.unwrap();
        drop(writer);
        assert_eq!(writers(ours.as_fd()), Writers::Some);
        // SAFETY: the mapping from above, not used again.
        unsafe { munmap(map, 4096) }.unwrap();
        assert_eq!(writers(ours.as_fd()), Writers::None);
    }
}
