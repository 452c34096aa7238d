//! Staging: a folder of ours on the candidate's own mount, where hard links to held files lie.
//!
//! A link works within one mount only: even a bind mount of the same file system gives EXDEV
//! (link(2)), so folders are kept by mount id (statx(2), STATX_MNT_ID). The name of a staged file
//! says where it came from, so that the next start knows what a crash left behind without a second
//! file that could be out of step: `MILLISECONDS-MARK@RULE@NAME`. The [`Mark`] keeps names of one
//! millisecond apart.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, atomic::AtomicBool},
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
    inode::Inode,
};

/// What a staged file is, and its number among those of its kind: links are numbered apart from
/// holds, so a link and a copy of one millisecond may have one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The link by which a file is held.
    Link(u64),
    /// A copy of content that the browser is going to remove from this hold's file.
    Copy(u64),
    /// What the keeper saved of this hold.
    Kept(u64),
}

/// What every staging folder's name begins with; no rule looks into such folders.
pub const PREFIX: &str = ".fisga-";

/// Where a keeper puts what it can't put into the library (file-hierarchy(7)).
pub(crate) const LAST_RESORTS: [&str; 2] = ["/var/tmp", "/tmp"];

/// Longest name of a staged file in bytes: what eCryptfs takes, the strictest file system in use.
const NAME_MAX: usize = 143;

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
    dir: RwLock<Arc<OwnedFd>>,
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

/// A staged file that an earlier run left.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) staged: Staged,
    pub(crate) inode: Inode,
    pub(crate) origin: Origin,
}

/// What a staged name says of the file.
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
    /// others. In a folder that others may write to, somebody else may have taken the name: then
    /// the next one is tried. The `label` becomes part of the name, so that the folders of a trial
    /// are other ones; usually it is empty.
    ///
    /// # Errors
    /// With the folder's path, when it can't be made or opened.
    pub fn open(parent: &Path, label: &str) -> Result<Self, StagingError> {
        let uid = rustix::process::getuid().as_raw();
        let failed = |source: Errno| StagingError {
            path: parent.into(),
            source: source.into(),
        };
        let mut last = Errno::EXIST;
        for path in candidates(parent, label) {
            make(&path).map_err(failed)?;
            match open_own(&path, uid) {
                Ok(dir) => return Ok(Self::new(dir, path)),
                Err(e) => last = e,
            }
        }
        Err(failed(last))
    }

    /// The staging folders that are in `parent` already.
    fn existing(parent: &Path, label: &str) -> Vec<Self> {
        let uid = rustix::process::getuid().as_raw();
        let mut all = Vec::new();
        for path in candidates(parent, label) {
            match open_own(&path, uid) {
                Ok(dir) => all.push(Self::new(dir, path)),
                // The next name is used only where somebody else has taken this one.
                Err(Errno::NOENT) => break,
                Err(_) => {}
            }
        }
        all
    }

    fn new(dir: OwnedFd, path: PathBuf) -> Self {
        Self {
            dir: RwLock::new(Arc::new(dir)),
            path,
        }
    }

    /// The folder, open for reading.
    pub fn dir(&self) -> Arc<OwnedFd> {
        self.dir
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes the folder again that somebody removed.
    ///
    /// # Errors
    /// What mkdirat(2) or openat(2) returns, or EPERM when somebody else has taken the name.
    pub(crate) fn renew(&self) -> rustix::io::Result<()> {
        let mut dir = self.dir.write().unwrap_or_else(PoisonError::into_inner);
        if !is_removed(&dir) {
            return Ok(());
        }
        make(&self.path)?;
        *dir = Arc::new(open_own(&self.path, rustix::process::getuid().as_raw())?);
        Ok(())
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
        linkat(from, name, &*self.dir(), staged, AtFlags::empty())
    }

    /// Hard-links an open file, if it has a name left or was made with O_TMPFILE (open(2)).
    ///
    /// # Errors
    /// What linkat(2) returns: ENOENT for a nameless file, EXDEV on another mount.
    pub fn link_open(&self, file: &File, staged: &OsStr) -> rustix::io::Result<()> {
        linkat(
            CWD,
            super::open::fd_path(file),
            &*self.dir(),
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
        let dir = self.dir();
        let draft = OsString::from(format!("draft-{}", std::process::id()));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = File::from(openat(&dir, &draft, flags, Mode::RUSR | Mode::WUSR)?);
        let mut observer = Observer {
            progress: &mut |_, _| (),
            stop: &AtomicBool::new(false),
        };
        let written = copy::copy(file, &copy, Content::len(file), &mut observer)
            .map_err(io::Error::from)
            .and_then(|()| copy.sync_all());
        let renamed = written.and_then(|()| Ok(renameat(&dir, &draft, &dir, staged)?));
        if renamed.is_err() {
            let _ = self.remove(&draft);
        }
        renamed
    }

    /// Which file is staged under this name; whatever isn't a regular file of ours is refused with
    /// EPERM.
    ///
    /// # Errors
    /// What fstatat(2) returns.
    pub(crate) fn inode(&self, staged: &OsStr) -> rustix::io::Result<Inode> {
        let stat = statat(&*self.dir(), staged, AtFlags::SYMLINK_NOFOLLOW)?;
        if !super::open::is_own_regular(&stat) {
            return Err(Errno::PERM);
        }
        Ok(Inode::from(&stat))
    }

    /// Opens a staged file for reading; whatever isn't a regular file of ours is refused with
    /// EPERM.
    ///
    /// # Errors
    /// What fstatat(2) and openat(2) return.
    pub fn read(&self, staged: &OsStr) -> rustix::io::Result<File> {
        // Nobody else can put another file in its place: what was looked at is what is opened.
        self.inode(staged)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(&*self.dir(), staged, flags, Mode::empty())?.into())
    }

    /// Removes a staged name.
    ///
    /// # Errors
    /// What unlinkat(2) returns.
    pub fn remove(&self, staged: &OsStr) -> rustix::io::Result<()> {
        unlinkat(&*self.dir(), staged, AtFlags::empty())
    }

    /// Locks the folder while it is open (flock(2)). False when another running fisga has locked
    /// it: then the files in it are that one's.
    pub fn is_ours_alone(&self) -> bool {
        flock(&*self.dir(), FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Whether somebody removed the folder: cleaners of temporary folders do that when it is empty
    /// for long (tmpfiles.d(5), "Age"). Nothing can be linked into it then.
    pub fn is_gone(&self) -> bool {
        is_removed(&self.dir())
    }

    /// All staged files and where they came from, for the start after a crash.
    ///
    /// # Errors
    /// What getdents64(2) returns.
    fn files(&self) -> rustix::io::Result<Vec<(OsString, Origin)>> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&*self.dir())? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if let Some(origin) = Origin::parse(&name) {
                files.push((name, origin));
            }
        }
        Ok(files)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Staged {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// As [`Staging::read`].
    pub fn read(&self) -> rustix::io::Result<File> {
        self.staging.read(&self.name)
    }
}

/// Makes a folder for us alone, unless the name is taken.
fn make(path: &Path) -> rustix::io::Result<()> {
    match mkdirat(CWD, path, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

fn is_removed(dir: &OwnedFd) -> bool {
    fstat(dir).is_ok_and(|stat| stat.st_nlink == 0)
}

/// The names that a staging folder may have, in their order.
fn candidates(parent: &Path, label: &str) -> impl Iterator<Item = PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let name = format!("{PREFIX}{uid}{label}");
    (0..8).map(move |attempt| match attempt {
        0 => parent.join(&name),
        n => parent.join(format!("{name}.{n}")),
    })
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

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(number) => write!(f, "{number}"),
            Self::Copy(number) => write!(f, "copy{number}"),
            Self::Kept(number) => write!(f, "kept{number}"),
        }
    }
}

impl Origin {
    /// The staged name.
    pub fn encode(&self, mark: Mark) -> OsString {
        staged_name(self.at, mark, &self.rule, &self.name)
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

/// The name of a file that was held `at` this time by this rule, cut at the end if need be.
pub(crate) fn staged_name(at: SystemTime, mark: Mark, rule: &str, name: &OsStr) -> OsString {
    let millis = at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let mut staged = format!("{millis}-{mark}@").into_bytes();
    let harmless = |byte| {
        if matches!(byte, b'/' | b'@' | 0) {
            b'_'
        } else {
            byte
        }
    };
    staged.extend(rule.bytes().take(64).map(harmless));
    staged.push(b'@');
    staged.extend_from_slice(name.as_bytes());
    staged.truncate(NAME_MAX);
    OsString::from_vec(staged)
}

/// The staging folders in use, one a mount.
#[derive(Debug, Default)]
pub struct Stagings {
    label: &'static str,
    by_mount: HashMap<u64, Arc<Staging>>,
}

impl Stagings {
    /// No folder yet. `label` becomes part of all their names.
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
            if staging.renew().is_ok() {
                return Ok(staging.clone());
            }
            self.by_mount.remove(&mount);
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

    /// What earlier runs left in any staging folder that they may have had: in the library and in
    /// each folder above those that hold candidates, on whatever file system, and where a keeper
    /// puts what has no other place. What another running fisga uses is left alone.
    pub(crate) fn leftovers(&self, library: &Path, folders: &[PathBuf]) -> Vec<Leftover> {
        let mut parents: Vec<&Path> = vec![library];
        parents.extend(folders.iter().flat_map(|folder| folder.ancestors()));
        parents.extend(LAST_RESORTS.map(Path::new));
        let mut seen: HashSet<&Path> = HashSet::new();
        let mut left = Vec::new();
        let old = parents
            .into_iter()
            .filter(|parent| seen.insert(parent))
            .flat_map(|parent| Staging::existing(parent, self.label))
            .map(Arc::new);
        let in_use: HashSet<&Path> = self.by_mount.values().map(|s| s.path()).collect();
        let old: Vec<_> = old
            .filter(|staging| !in_use.contains(staging.path()))
            .collect();
        for staging in self.by_mount.values().chain(&old) {
            if !staging.is_ours_alone() {
                continue;
            }
            for (name, origin) in staging.files().unwrap_or_default() {
                if let Ok(inode) = staging.inode(&name) {
                    let staged = Staged {
                        staging: staging.clone(),
                        name,
                    };
                    left.push(Leftover {
                        staged,
                        inode,
                        origin,
                    });
                }
            }
        }
        // A folder with nothing left in it is not kept open.
        for staging in old.iter().filter(|staging| Arc::strong_count(staging) == 1) {
            if staging.is_ours_alone() {
                let _ = unlinkat(CWD, &staging.path, AtFlags::REMOVEDIR);
            }
        }
        left
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

/// The mount id of a path below `dir` (statx(2), STATX_MNT_ID). No server is asked for it.
///
/// # Errors
/// What statx(2) returns.
pub fn mount_id<P: AsRef<Path>>(dir: BorrowedFd<'_>, path: P) -> rustix::io::Result<u64> {
    let mut flags = AtFlags::STATX_DONT_SYNC;
    flags.set(AtFlags::EMPTY_PATH, path.as_ref().as_os_str().is_empty());
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
            let marks = [Mark::Link(42), Mark::Copy(42), Mark::Kept(42)];
            let names = marks.map(|mark| origin.encode(mark));
            assert_eq!(HashSet::from(names.clone()).len(), marks.len());
            for staged in names {
                assert!(staged.len() <= NAME_MAX);
                let back = Origin::parse(&staged).unwrap();
                assert_eq!((back.at, back.rule.as_str()), (at, "my_rule_x"));
                assert!(name.starts_with(back.name.as_bytes()));
            }
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
