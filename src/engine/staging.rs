//! Staging: a folder of ours on the candidate's own mount, where hard links to held files lie.
//!
//! A link works within one mount only: even a bind mount of the same file system gives EXDEV
//! (link(2)), so folders are kept by mount id (statx(2), STATX_MNT_ID). The name of a staged file
//! says where it came from, so that the next start knows what a crash left behind without a second
//! file that could be out of step: `MILLISECONDS-COUNT@RULE@NAME`.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, StatxFlags, flock, fstat,
        linkat, mkdirat, openat, renameat, statat, statx, unlinkat,
    },
    io::Errno,
};

use crate::{
    content::Content,
    copy::{self, Observer},
};

/// What every staging folder's name begins with; no rule looks into such folders.
pub const PREFIX: &str = ".fisga-";

/// Longest file name (NAME_MAX, limits.h).
const NAME_MAX: usize = 255;

/// Why a folder can't have a staging folder.
#[derive(Debug, thiserror::Error)]
#[error("no staging folder in {path}")]
pub struct StagingError {
    path: PathBuf,
    source: io::Error,
}

/// One staging folder, open.
#[derive(Debug)]
pub struct Staging {
    dir: OwnedFd,
    path: PathBuf,
}

/// A held file's name in staging.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The folder.
    pub staging: Arc<Staging>,
    /// The name in it.
    pub name: OsString,
}

/// What a staged name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When it was held.
    pub at: SystemTime,
    /// The rule that matched.
    pub rule: String,
    /// The producer's name for it, possibly cut at its end.
    pub name: OsString,
}

impl Staging {
    /// Opens the staging folder in `parent`, making it if need be: a real folder, ours, closed to
    /// others. In a folder that others may write to, somebody may sit on the name: then the next
    /// one is tried. The `label` keeps apart what must not meet; usually it is empty.
    ///
    /// # Errors
    /// With the folder's path, when it can't be made or opened.
    pub fn open(parent: &Path, label: &str) -> Result<Self, StagingError> {
        let uid = rustix::process::getuid().as_raw();
        let mut last = Errno::EXIST;
        for attempt in 0..8 {
            let mut name = format!("{PREFIX}{uid}{label}");
            if attempt > 0 {
                let _ = write!(name, ".{attempt}");
            }
            let path = parent.join(name);
            match mkdirat(CWD, &path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => {
                    return Err(StagingError {
                        path: parent.into(),
                        source: e.into(),
                    });
                }
            }
            match open_own(&path, uid) {
                Ok(dir) => return Ok(Self { dir, path }),
                Err(e) => last = e,
            }
        }
        Err(StagingError {
            path: parent.into(),
            source: last.into(),
        })
    }

    /// Hard-links `name` in `from` as `staged`: the fast path, one system call.
    ///
    /// # Errors
    /// What linkat(2) returns: ENOENT when the name is gone already.
    pub fn link(
        &self,
        from: BorrowedFd<'_>,
        name: &OsStr,
        staged: &OsStr,
    ) -> rustix::io::Result<()> {
        linkat(from, name, &self.dir, staged, AtFlags::empty())
    }

    /// Hard-links an open file, if it has a name left or was made with O_TMPFILE (open(2)).
    ///
    /// # Errors
    /// What linkat(2) returns: ENOENT for a nameless file, EXDEV on another mount.
    pub fn link_open(&self, file: &File, staged: &OsStr) -> rustix::io::Result<()> {
        linkat(
            CWD,
            super::open::fd_path(file),
            &self.dir,
            staged,
            AtFlags::SYMLINK_FOLLOW,
        )
    }

    /// Copies an open file in, holes kept, so that `staged` appears with all of it (rename(2) after
    /// fsync(2)).
    ///
    /// # Errors
    /// What reading, writing or renaming returns; nothing is left then.
    pub fn copy_in(&self, file: &File, staged: &OsStr) -> io::Result<()> {
        let draft = OsString::from(format!("draft-{}", std::process::id()));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = File::from(openat(&self.dir, &draft, flags, Mode::RUSR | Mode::WUSR)?);
        let mut observer = Observer {
            progress: &mut |_, _| (),
            stop: &AtomicBool::new(false),
        };
        let written = copy::copy(file, &copy, Content::len(file), &mut observer)
            .map_err(io::Error::from)
            .and_then(|()| copy.sync_all());
        let renamed = written.and_then(|()| Ok(renameat(&self.dir, &draft, &self.dir, staged)?));
        if renamed.is_err() {
            let _ = self.remove(&draft);
        }
        renamed
    }

    /// Opens a staged file for reading; whatever isn't a regular file of ours is refused with
    /// EPERM.
    ///
    /// # Errors
    /// What fstatat(2) and openat(2) return.
    pub fn read(&self, staged: &OsStr) -> rustix::io::Result<File> {
        // Nobody else can put another file in its place: what was looked at is what is opened.
        let stat = statat(&self.dir, staged, AtFlags::SYMLINK_NOFOLLOW)?;
        if !super::open::is_own_regular(&stat) {
            return Err(Errno::PERM);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(&self.dir, staged, flags, Mode::empty())?.into())
    }

    /// Removes a staged name.
    ///
    /// # Errors
    /// What unlinkat(2) returns.
    pub fn remove(&self, staged: &OsStr) -> rustix::io::Result<()> {
        unlinkat(&self.dir, staged, AtFlags::empty())
    }

    /// Locks the folder for as long as it is open; false when another fisga that runs has it
    /// (flock(2)). What lies in it is that one's then.
    pub fn is_ours_alone(&self) -> bool {
        flock(&self.dir, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Whether somebody removed the folder: cleaners of temporary folders do that when it is empty
    /// for long (tmpfiles.d(5), "Age"). Nothing can be linked into it then.
    pub fn is_gone(&self) -> bool {
        fstat(&self.dir).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Names of all staged files, for the start after a crash.
    ///
    /// # Errors
    /// What getdents64(2) returns.
    pub fn names(&self) -> rustix::io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if Origin::parse(&name).is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Staging {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn open_own(path: &Path, uid: u32) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(CWD, path, flags, Mode::empty())?;
    let stat = fstat(&dir)?;
    let own = stat.st_uid == uid && FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if own && stat.st_mode & 0o077 == 0 {
        Ok(dir)
    } else {
        Err(Errno::PERM)
    }
}

/// A staged name, made where microseconds count: without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct StagedName {
    bytes: [u8; NAME_MAX],
    len: usize,
}

impl StagedName {
    /// The name of a file that was held `at` this time by this rule; `count` keeps names of the
    /// same millisecond apart.
    pub fn new(at: SystemTime, count: u64, rule: &str, name: &OsStr) -> Self {
        let mut staged = Self {
            bytes: [0; NAME_MAX],
            len: 0,
        };
        let millis = at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        staged.number(u64::try_from(millis).unwrap_or(u64::MAX));
        staged.push(b"-");
        staged.number(count);
        staged.push(b"@");
        for byte in rule.bytes().take(64) {
            staged.push(&[if matches!(byte, b'/' | b'@' | 0) {
                b'_'
            } else {
                byte
            }]);
        }
        staged.push(b"@");
        staged.push(name.as_bytes());
        staged
    }

    fn push(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(NAME_MAX - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        self.len += n;
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }
}

impl AsRef<OsStr> for StagedName {
    fn as_ref(&self) -> &OsStr {
        OsStr::from_bytes(&self.bytes[..self.len])
    }
}

impl Origin {
    /// The staged name; `count` keeps names of the same millisecond apart.
    pub fn encode(&self, count: u64) -> OsString {
        StagedName::new(self.at, count, &self.rule, &self.name)
            .as_ref()
            .to_owned()
    }

    /// Reads a staged name back; nothing for a file that isn't a staged one.
    pub fn parse(staged: &OsStr) -> Option<Self> {
        let mut parts = staged.as_bytes().splitn(3, |&b| b == b'@');
        let (stamp, rule, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (millis, _) = std::str::from_utf8(stamp).ok()?.split_once('-')?;
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))?;
        Some(Self {
            at,
            rule: String::from_utf8_lossy(rule).into_owned(),
            name: OsStr::from_bytes(name).to_owned(),
        })
    }
}

/// The staging folders in use, one a mount.
#[derive(Debug, Default)]
pub struct Stagings {
    label: &'static str,
    by_mount: HashMap<u64, Arc<Staging>>,
}

impl Stagings {
    /// None yet; `label` is part of all their names.
    pub fn new(label: &'static str) -> Self {
        Self {
            label,
            by_mount: HashMap::new(),
        }
    }

    /// The staging folder for files in `folder` (open, at `path`): the library's when it is on the
    /// same mount, so that a finished file needs no copy; else in the nearest folder above that
    /// outlives `folder`.
    ///
    /// # Errors
    /// When none can be made there.
    pub fn for_folder(
        &mut self,
        folder: BorrowedFd<'_>,
        path: &Path,
        library: &Path,
    ) -> Result<Arc<Staging>, StagingError> {
        let mount = mount_id(folder, "").map_err(|e| StagingError {
            path: path.into(),
            source: e.into(),
        })?;
        if let Some(staging) = self.by_mount.get(&mount) {
            return Ok(staging.clone());
        }
        let parent = if mount_id(CWD, library).is_ok_and(|m| m == mount) {
            library
        } else {
            enduring(path, mount)
        };
        let staging = Arc::new(
            Staging::open(parent, self.label).or_else(|_| Staging::open(path, self.label))?,
        );
        self.by_mount.insert(mount, staging.clone());
        Ok(staging)
    }

    /// Forgets folders that were removed.
    pub fn forget_gone(&mut self) {
        self.by_mount.retain(|_, staging| !staging.is_gone());
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Staging>> {
        self.by_mount.values()
    }

    /// Removes the folders that are empty and that no other fisga uses; the others wait for the
    /// next start.
    pub fn tidy(&self) {
        for staging in self
            .by_mount
            .values()
            .filter(|staging| staging.is_ours_alone())
        {
            let _ = unlinkat(CWD, &staging.path, AtFlags::REMOVEDIR);
        }
    }
}

/// The mount id of a path below `dir` (statx(2), STATX_MNT_ID).
///
/// # Errors
/// What statx(2) returns.
pub fn mount_id<P: AsRef<Path>>(dir: BorrowedFd<'_>, path: P) -> rustix::io::Result<u64> {
    let flags = if path.as_ref().as_os_str().is_empty() {
        AtFlags::EMPTY_PATH
    } else {
        AtFlags::empty()
    };
    Ok(statx(dir, path.as_ref(), flags, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// A player may remove its own folder with all that is in it. The nearest folder above on the same
/// mount that is shared (sticky) or the start of a user's tree (a cache, a home) stays.
fn enduring(path: &Path, mount: u64) -> &Path {
    let uid = rustix::process::getuid().as_raw();
    let mut best = path;
    for above in path.ancestors() {
        let Ok(stat) = rustix::fs::stat(above) else {
            break;
        };
        let sticky = stat.st_mode & 0o1000 != 0;
        let same = mount_id(CWD, above).is_ok_and(|m| m == mount);
        if !same || above.parent().is_none() || (stat.st_uid != uid && !sticky) {
            break;
        }
        best = above;
        if sticky || above.file_name() == Some(OsStr::new(".cache")) {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_name_says_where_it_came_from() {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_000_000_123);
        for name in [&b"Flash7"[..], b"a@b@c", b"-rf\n\xff", &[b'x'; 255]] {
            let origin = Origin {
                at,
                rule: "my/rule@x".into(),
                name: OsStr::from_bytes(name).to_owned(),
            };
            let staged = origin.encode(42);
            assert!(staged.len() <= NAME_MAX);
            let back = Origin::parse(&staged).unwrap();
            assert_eq!((back.at, back.rule.as_str()), (at, "my_rule_x"));
            assert!(name.starts_with(back.name.as_bytes()));
        }
        for foreign in ["", "copy-1", "x-1@r@n", "12@r@n", "12-3@r"] {
            assert_eq!(Origin::parse(OsStr::new(foreign)), None, "{foreign}");
        }
    }

    #[test]
    fn nobody_can_sit_on_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::getuid().as_raw();
        let target = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(target.path(), dir.path().join(format!("{PREFIX}{uid}")))
            .unwrap();
        let staging = Staging::open(dir.path(), "").unwrap();
        assert_eq!(staging.path(), dir.path().join(format!("{PREFIX}{uid}.1")));
    }
}
