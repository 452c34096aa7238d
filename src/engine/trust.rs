//! Which folders are entered, and how: nobody else may lead us anywhere.
//!
//! Other users can write to some of the folders that we watch (`/tmp`). What they own is never
//! entered. A folder is trusted only if it and all above it belong to us or to root and nobody else
//! may write there; in a sticky folder others can make entries, but not touch ours. Symbolic links
//! are never followed by the kernel (openat2(2), RESOLVE_NO_SYMLINKS): a link that we or root made
//! in a trusted folder is read, and its target is walked by the same rules.
//!
//! A user namespace shows all owners that it doesn't map as one (user_namespaces(7)): root is known
//! there as the owner of `/`, and counts only in folders where nobody else can make an entry.

use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
    sync::OnceLock,
};

use rustix::{
    fs::{
        AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags, makedev, openat2, readlinkat,
        statx,
    },
    io::Errno,
};

use super::{open::fd_path, staging::mount_id};
use crate::inode::Inode;

/// Longest chain of symbolic links (path_resolution(7)).
const LINKS: usize = 40;
/// File systems that another machine or a program answers for (`/proc/self/mountinfo`, field 9);
/// names that begin with "fuse." are of this kind too.
const REMOTE: [&str; 12] = [
    "fuse", "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "afs", "autofs",
    "davfs",
];

/// Who may write to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// We and root.
    Ours,
    /// Everybody makes entries, and changes only their own (chmod(2), S_ISVTX).
    Sticky,
    /// Others too.
    Shared,
    /// It belongs to somebody else.
    Foreign,
}

/// Why a folder is not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It, or a symbolic link to it, belongs to somebody else.
    Foreign,
    /// Others may put anything in its place.
    Unsafe,
    /// Another machine or a program answers for it, and no rule names it.
    Remote,
    /// What the system said.
    System(Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

/// Whose files and groups are trusted.
#[derive(Clone, Copy, Debug)]
struct Trusted {
    user: u32,
    /// The owner of `/`.
    root: u32,
    /// Our group, if nobody else is in it.
    group: Option<u32>,
}

impl Trusted {
    fn get() -> Self {
        static TRUSTED: OnceLock<Trusted> = OnceLock::new();
        *TRUSTED.get_or_init(|| {
            let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
            let read = |path| std::fs::read_to_string(path).unwrap_or_default();
            let (passwd, groups) = (read("/etc/passwd"), read("/etc/group"));
            let alone = is_private(&passwd, &groups, user.as_raw(), group.as_raw());
            Self {
                user: user.as_raw(),
                root: rustix::fs::stat("/").map_or(0, |stat| stat.st_uid),
                group: alone.then_some(group.as_raw()),
            }
        })
    }

    fn is_owner(self, uid: u32) -> bool {
        [self.user, 0, self.root].contains(&uid)
    }

    /// Who may write to a folder with this owner and mode, in a folder with the access `above`.
    fn access(self, above: Access, uid: u32, gid: u32, mode: u32) -> Access {
        let in_shared = above != Access::Ours;
        if !self.is_owner(uid) || in_shared && uid != self.user && uid != 0 {
            return Access::Foreign;
        }
        let group = mode & 0o020 != 0 && gid != 0 && self.group != Some(gid);
        match (group || mode & 0o002 != 0, mode & 0o1000 != 0) {
            (false, _) => Access::Ours,
            (true, true) => Access::Sticky,
            (true, false) => Access::Shared,
        }
    }
}

/// Whether a user is alone in a group: nobody else is listed in it (group(5)), and it is nobody
/// else's first one (passwd(5)). A group that is not in the file may have anybody in it.
fn is_private(passwd: &str, groups: &str, user: u32, group: u32) -> bool {
    let field = |line: &str, n: usize| line.split(':').nth(n).unwrap_or_default().to_owned();
    let number = |line: &str, n: usize| field(line, n).parse::<u32>().ok();
    let name = passwd.lines().find(|line| number(line, 2) == Some(user));
    let name = name.map(|line| field(line, 0)).unwrap_or_default();
    let Some(line) = groups.lines().find(|line| number(line, 2) == Some(group)) else {
        return false;
    };
    let others = passwd
        .lines()
        .any(|line| number(line, 3) == Some(group) && number(line, 2) != Some(user));
    let members = field(line, 3);
    !others && members.split(',').all(|m| m.is_empty() || m == name)
}

/// An open folder (O_PATH), and who may write to it.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    pub(crate) inode: Inode,
    access: Access,
}

impl Dir {
    fn root() -> Result<Self, Refusal> {
        let fd = open(CWD, Path::new("/"), ResolveFlags::empty())?;
        Self::admit(Access::Ours, fd)
    }

    /// A folder that was reached otherwise, all above it being trusted.
    pub(crate) fn admit(above: Access, fd: OwnedFd) -> Result<Self, Refusal> {
        let stat = stat(fd.as_fd(), OsStr::new(""))?;
        let mode = u32::from(stat.stx_mode);
        match Trusted::get().access(above, stat.stx_uid, stat.stx_gid, mode) {
            Access::Foreign => Err(Refusal::Foreign),
            access => Ok(Self {
                fd,
                inode: inode(&stat),
                access,
            }),
        }
    }

    /// The folder of this name in this one; a mount of a remote file system only if it is `named`
    /// by a rule.
    pub(crate) fn enter(&self, name: &OsStr, named: bool) -> Result<Self, Refusal> {
        if self.access == Access::Shared {
            return Err(Refusal::Unsafe);
        }
        match open(self.fd.as_fd(), Path::new(name), ResolveFlags::NO_XDEV) {
            Ok(fd) => Self::admit(self.access, fd),
            Err(Errno::XDEV) => {
                let fd = open(self.fd.as_fd(), Path::new(name), ResolveFlags::empty())?;
                if !named && is_remote(fd.as_fd())? {
                    return Err(Refusal::Remote);
                }
                Self::admit(self.access, fd)
            }
            Err(Errno::LOOP) => {
                let target = self.link(name)?;
                let from = std::fs::read_link(fd_path(&self.fd)).unwrap_or_default();
                Self::resolve(&from.join(target))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The folder at an absolute path, entered step by step.
    pub(crate) fn resolve(path: &Path) -> Result<Self, Refusal> {
        let mut stack = vec![Self::root()?];
        let mut ahead = names(path);
        let mut links = 0;
        while let (Some(name), Some(top)) = (ahead.pop(), stack.last()) {
            if name == ".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            if top.access == Access::Shared {
                return Err(Refusal::Unsafe);
            }
            match open(top.fd.as_fd(), Path::new(&name), ResolveFlags::empty()) {
                Ok(fd) => stack.push(Self::admit(top.access, fd)?),
                Err(Errno::LOOP) if links < LINKS => {
                    links += 1;
                    let target = top.link(&name)?;
                    if target.is_absolute() {
                        stack.truncate(1);
                    }
                    ahead.extend(names(&target));
                }
                Err(e) => return Err(e.into()),
            }
        }
        stack.pop().ok_or(Refusal::System(Errno::NOENT))
    }

    /// Where a symbolic link leads that we or root made where nobody else can make one.
    fn link(&self, name: &OsStr) -> Result<PathBuf, Refusal> {
        let stat = stat(self.fd.as_fd(), name)?;
        if self.access != Access::Ours || !Trusted::get().is_owner(stat.stx_uid) {
            return Err(Refusal::Foreign);
        }
        let target = readlinkat(&self.fd, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }
}

/// Opens a folder by path only, past no symbolic link. The path must have none in it.
pub(crate) fn open_straight(path: &Path) -> rustix::io::Result<(OwnedFd, Inode)> {
    let fd = open(CWD, path, ResolveFlags::empty())?;
    let inode = inode(&stat(fd.as_fd(), OsStr::new(""))?);
    Ok((fd, inode))
}

fn open(at: BorrowedFd<'_>, path: &Path, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | more;
    resolve.set(ResolveFlags::BENEATH, path.is_relative());
    openat2(at, path, flags, Mode::empty(), resolve)
}

/// Owner and mode, as the kernel has them: no server is asked (statx(2), AT_STATX_DONT_SYNC).
fn stat(at: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(at, name, flags, StatxFlags::BASIC_STATS)
}

fn inode(stat: &Statx) -> Inode {
    Inode {
        dev: makedev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
    }
}

/// The components of a path, in reverse order.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

fn is_remote(dir: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let id = mount_id(dir, "")?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(file_system(&mounts, id)
        .is_some_and(|kind| REMOTE.contains(&kind) || kind.starts_with("fuse.")))
}

/// The type of a mounted file system (proc(5), `/proc/PID/mountinfo`).
fn file_system(mounts: &str, id: u64) -> Option<&str> {
    let of_it = |line: &&str| line.split(' ').next().and_then(|n| n.parse().ok()) == Some(id);
    let (_, after) = mounts.lines().find(of_it)?.split_once(" - ")?;
    after.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write() {
        use Access::{Foreign, Ours, Shared, Sticky};
        let (me, other, hidden) = (1000, 1001, 65534);
        let trusted = Trusted {
            user: me,
            root: 0,
            group: Some(me),
        };
        let cases = [
            (Ours, me, me, 0o700, Ours),
            (Ours, me, me, 0o775, Ours),
            (Ours, me, 100, 0o775, Shared),
            (Ours, me, me, 0o777, Shared),
            (Ours, me, me, 0o1777, Sticky),
            (Ours, 0, 0, 0o755, Ours),
            (Ours, 0, 0, 0o1777, Sticky),
            (Ours, 0, 50, 0o2775, Shared),
            (Ours, other, other, 0o755, Foreign),
            (Ours, other, me, 0o770, Foreign),
            (Sticky, me, me, 0o755, Ours),
            (Sticky, 0, 0, 0o755, Ours),
            (Sticky, other, other, 0o777, Foreign),
            (Sticky, hidden, hidden, 0o755, Foreign),
        ];
        for (above, uid, gid, mode, want) in cases {
            let got = trusted.access(above, uid, gid, mode);
            assert_eq!(got, want, "{above:?} {uid}:{gid} {mode:o}");
        }
        // In a user namespace root is shown as nobody, and so is everybody else.
        let inside = Trusted {
            root: hidden,
            ..trusted
        };
        assert_eq!(inside.access(Ours, hidden, hidden, 0o755), Ours);
        assert_eq!(inside.access(Sticky, hidden, hidden, 0o755), Foreign);
    }

    #[test]
    fn private_groups() {
        let passwd = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/:/bin/sh\nb:x:1001:100::/:\n";
        let groups = "root:x:0:\nme:x:1000:\nusers:x:100:me\nown:x:5:me\ntwo:x:6:me,b\n";
        for (group, want) in [
            (1000, true),
            (100, false),
            (5, true),
            (6, false),
            (7, false),
        ] {
            assert_eq!(is_private(passwd, groups, 1000, group), want, "{group}");
        }
    }

    #[test]
    fn what_is_mounted() {
        let mounts = "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      30 22 0:40 / /home/me/far rw - fuse.sshfs far: rw\n";
        assert_eq!(file_system(mounts, 22), Some("ext4"));
        assert_eq!(file_system(mounts, 30), Some("fuse.sshfs"));
        assert_eq!(file_system(mounts, 3), None);
    }

    /// A link of ours is followed where nobody else can make one, step by step.
    #[test]
    fn links() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let root = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(root.path()).unwrap();
        for folder in ["real/deep", "sticky", "shared"] {
            std::fs::create_dir_all(path.join(folder)).unwrap();
        }
        for (folder, mode) in [("sticky", 0o1777), ("shared", 0o777)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path.join(folder), mode).unwrap();
        }
        symlink("real", path.join("one")).unwrap();
        symlink(path.join("one/../one"), path.join("two")).unwrap();
        symlink("loop", path.join("loop")).unwrap();
        symlink("../real", path.join("sticky/link")).unwrap();
        symlink("../real", path.join("shared/link")).unwrap();
        let deep = Dir::resolve(&path.join("real/deep")).unwrap().inode;
        for way in ["one/deep", "two/deep", "sticky/../two/deep"] {
            let got = Dir::resolve(&path.join(way)).map(|dir| dir.inode);
            assert_eq!(got.ok(), Some(deep), "{way}");
        }
        for (way, why) in [
            ("loop", Refusal::System(Errno::LOOP)),
            ("sticky/link", Refusal::Foreign),
            ("shared/link", Refusal::Unsafe),
            ("nowhere", Refusal::System(Errno::NOENT)),
        ] {
            let got = Dir::resolve(&path.join(way)).map(|dir| dir.inode);
            assert_eq!(got, Err(why), "{way}");
        }
        let here = Dir::resolve(&path).unwrap();
        let two = here.enter(OsStr::new("two"), false).unwrap();
        assert_eq!(two.enter(OsStr::new("deep"), false).unwrap().inode, deep);
    }
}
