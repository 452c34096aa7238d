//! A file of the library that has no name there yet.
//!
//! It is a nameless file (`O_TMPFILE`), of which a crash leaves nothing. Where a file system has no
//! such files, it is a name in a hidden folder that only we enter, locked while we write it, so
//! that [`sweep`] recognises the ones that a crash left.

use std::{
    ffi::OsStr,
    fs::File,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags},
    io::Errno,
};

use super::{
    folder::{Folder, Means, PlaceError, Placed},
    name::Name,
    shelf,
};
use crate::inode::Inode;

/// What our temporary names begin with; no producer's rule matches it.
const PREFIX: &str = "place-";

/// Mode of a file in the library, before the umask.
const MODE: u32 = 0o644;

#[derive(Debug)]
pub(super) struct Draft<'a> {
    folder: &'a Folder,
    file: File,
    /// Where it lies if it has to have a name; gone when this is dropped.
    temp: Option<Temp>,
}

/// A name in the hidden folder. On drop it is removed, and the folder too if it was the last.
#[derive(Debug)]
struct Temp {
    parent: OwnedFd,
    dir: OwnedFd,
    name: String,
}

impl<'a> Draft<'a> {
    pub(super) fn new(folder: &'a Folder) -> Result<Self, PlaceError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&folder.fd, ".", flags, Mode::from_raw_mode(MODE)) {
            Ok(fd) => Ok(Self {
                folder,
                file: fd.into(),
                temp: None,
            }),
            // EISDIR comes from a kernel or network file system that doesn't know the flag.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                Self::named(folder)
            }
            Err(e) => Err(folder.error("make a file")(e)),
        }
    }

    fn named(folder: &'a Folder) -> Result<Self, PlaceError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let make = |dir: &OwnedFd, name: &str| {
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(MODE))
        };
        let (fd, temp) = Temp::new(folder, make).map_err(folder.error("make a file"))?;
        let file = File::from(fd);
        if let Err(e) = file.lock() {
            tracing::debug!("no lock on a temporary file: {e}");
        }
        Ok(Self {
            folder,
            file,
            temp: Some(temp),
        })
    }

    pub(super) fn folder(&self) -> &Folder {
        self.folder
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it the first name that is free, after its content is on the disk.
    pub(super) fn publish(self, name: &Name, means: Means) -> Result<Placed, PlaceError> {
        self.sync()?;
        let to = &self.folder.fd;
        let name = match &self.temp {
            None => {
                let (cwd, from) = by_descriptor(&self.file);
                self.folder.first_free(name, |name| {
                    rustix::fs::linkat(cwd, &from, to, name, AtFlags::SYMLINK_FOLLOW)
                })
            }
            Some(temp) => self.folder.first_free(name, |name| temp.rename(to, name)),
        }
        .map_err(self.folder.error("give the file its name"))?;
        self.placed(&name, means)
    }

    /// Puts it in the place of a file that was saved before.
    pub(super) fn publish_over(
        mut self,
        saved: &Placed,
        means: Means,
    ) -> Result<Placed, PlaceError> {
        self.sync()?;
        let gone = || PlaceError::Gone {
            path: saved.path.clone(),
        };
        let name = saved
            .path
            .file_name()
            .and_then(OsStr::to_str)
            .ok_or_else(gone)?;
        // Only a name can replace a name, so a nameless file gets one in the hidden folder first.
        let temp = match self.temp.take() {
            Some(temp) => temp,
            None => {
                let (cwd, from) = by_descriptor(&self.file);
                let link = |dir: &OwnedFd, name: &str| {
                    rustix::fs::linkat(cwd, &from, dir, name, AtFlags::SYMLINK_FOLLOW)
                };
                Temp::new(self.folder, link)
                    .map_err(self.folder.error("give the file a temporary name"))?
                    .1
            }
        };
        match rustix::fs::statat(&self.folder.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if Inode::from(&found) == saved.id => {}
            Ok(_) | Err(Errno::NOENT) => return Err(gone()),
            Err(e) => return Err(self.folder.error("look at the saved file")(e)),
        }
        rustix::fs::renameat(&temp.dir, &temp.name, &self.folder.fd, name)
            .map_err(self.folder.error("replace the saved file"))?;
        self.placed(name, means)
    }

    fn sync(&self) -> Result<(), PlaceError> {
        self.file
            .sync_all()
            .map_err(|e| PlaceError::new("sync the file", &self.folder.path, e))
    }

    fn placed(self, name: &str, means: Means) -> Result<Placed, PlaceError> {
        shelf::unopened(&self.file);
        self.folder.sync()?;
        let stat = rustix::fs::fstat(&self.file).map_err(self.folder.error("look at the file"))?;
        Ok(Placed {
            path: self.folder.path.join(name),
            id: Inode::from(&stat),
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            means,
        })
    }
}

impl Temp {
    /// Has `make` make a new name in the hidden folder. Another fisga may be removing the folder
    /// just now, since it was empty.
    fn new<T>(
        folder: &Folder,
        make: impl Fn(&OwnedFd, &str) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<(T, Self)> {
        let hidden = hidden();
        let mut result = Errno::EXIST;
        for n in 0..1000 {
            match rustix::fs::mkdirat(&folder.fd, &hidden, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
            let name = format!("{PREFIX}{}-{n}", std::process::id());
            match open_hidden(folder).and_then(|dir| Ok((make(&dir, &name)?, dir))) {
                Ok((made, dir)) => {
                    let parent = rustix::io::fcntl_dupfd_cloexec(&folder.fd, 0)?;
                    return Ok((made, Self { parent, dir, name }));
                }
                Err(e @ (Errno::EXIST | Errno::NOENT)) => result = e,
                Err(e) => return Err(e),
            }
        }
        Err(result)
    }

    /// Renames it without replacing anything, by the best means that the file system knows.
    fn rename(&self, to: &OwnedFd, name: &str) -> rustix::io::Result<()> {
        let unknown = |e: &Errno| {
            matches!(
                *e,
                Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM
            )
        };
        match rustix::fs::renameat_with(&self.dir, &self.name, to, name, RenameFlags::NOREPLACE) {
            Err(e) if unknown(&e) => {}
            renamed => return renamed,
        }
        // NFS and older FUSE.
        match rustix::fs::linkat(&self.dir, &self.name, to, name, AtFlags::empty()) {
            Err(e) if unknown(&e) => self.rename_reserved(to, name),
            linked => linked,
        }
    }

    /// Where neither is known (exFAT over FUSE): takes the name by an empty file of ours and
    /// replaces that. A crash between the two leaves the empty file; that is the lesser evil, since
    /// the other way could replace a file of the user's.
    fn rename_reserved(&self, to: &OwnedFd, name: &str) -> rustix::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::renameat(&self.dir, &self.name, to, name).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(to, name, AtFlags::empty());
        })
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // Gone already if it was renamed into the library. The folder stays while others use it.
        let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
        let _ = rustix::fs::unlinkat(&self.parent, hidden(), AtFlags::REMOVEDIR);
    }
}

/// Where a nameless file can be linked from (linkat(2), open(2) under `O_TMPFILE`).
fn by_descriptor(file: &File) -> (BorrowedFd<'static>, String) {
    (CWD, format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Removes the names that a crash left in the hidden folder of `folder`; returns how many.
pub(super) fn sweep(folder: &Folder) -> Result<usize, PlaceError> {
    let error = || folder.error("clean the hidden folder");
    let dir = match open_hidden(folder) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(0),
        Err(e) => return Err(error()(e)),
    };
    let mut removed = 0;
    for entry in rustix::fs::Dir::read_from(&dir).map_err(error())? {
        let entry = entry.map_err(error())?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if !name.as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat(&dir, name, flags, Mode::empty()) else {
            continue;
        };
        if File::from(fd).try_lock().is_ok()
            && rustix::fs::unlinkat(&dir, name, AtFlags::empty()).is_ok()
        {
            removed += 1;
        }
    }
    let _ = rustix::fs::unlinkat(&folder.fd, hidden(), AtFlags::REMOVEDIR);
    Ok(removed)
}

/// It is not the engine's staging folder: that one stays while it is empty, this one goes with its
/// last file.
fn hidden() -> String {
    format!(".fisga-{}-drafts", rustix::process::geteuid().as_raw())
}

fn open_hidden(folder: &Folder) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&folder.fd, hidden(), flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    fn names(folder: &std::path::Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// Both kinds of draft: the nameless one, and the one for file systems without such files.
    fn both(test: impl Fn(&Folder, &dyn Fn() -> Draft<'static>)) {
        for nameless in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let folder: &'static Folder = Box::leak(Box::new(Folder::open(dir.path()).unwrap()));
            test(folder, &|| {
                let draft = if nameless {
                    Draft::new(folder)
                } else {
                    Draft::named(folder)
                };
                let mut draft = draft.unwrap();
                draft.file_mut().write_all(b"content").unwrap();
                draft
            });
            assert_eq!(
                fs::read_dir(dir.path().join(hidden())).map_or(0, Iterator::count),
                0,
                "nothing is left"
            );
            sweep(folder).unwrap();
            assert!(!dir.path().join(hidden()).exists());
        }
    }

    #[test]
    fn a_name_appears_with_the_content() {
        both(|folder, draft| {
            let pending = draft();
            assert_eq!(names(&folder.path), [""; 0]);
            for expected in ["a.mp4", "a (2).mp4", "a (3).mp4"] {
                let placed = draft()
                    .publish(&Name::plain("a", "mp4"), Means::Written)
                    .unwrap();
                assert_eq!(placed.path, folder.path.join(expected));
                assert_eq!(placed.bytes, 7);
                assert_eq!(fs::read(&placed.path).unwrap(), b"content");
                let stat = rustix::fs::stat(&placed.path).unwrap();
                assert_eq!((Inode::from(&stat), stat.st_nlink), (placed.id, 1));
            }
            drop(pending);
            assert_eq!(names(&folder.path), ["a (2).mp4", "a (3).mp4", "a.mp4"]);
        });
    }

    #[test]
    fn a_name_by_the_last_means() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let draft = Draft::named(&folder).unwrap();
        (&draft.file).write_all(b"content").unwrap();
        let temp = draft.temp.as_ref().unwrap();
        fs::write(dir.path().join("a"), "mine").unwrap();
        assert_eq!(temp.rename_reserved(&folder.fd, "a"), Err(Errno::EXIST));
        assert_eq!(temp.rename_reserved(&folder.fd, "b"), Ok(()));
        assert_eq!(
            temp.rename_reserved(&folder.fd, "c"),
            Err(Errno::NOENT),
            "and no empty file is left"
        );
        drop(draft);
        assert_eq!(names(dir.path()), ["a", "b"]);
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"mine");
        assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"content");
    }

    #[test]
    fn only_the_saved_file_is_replaced() {
        both(|folder, draft| {
            let saved = draft()
                .publish(&Name::plain("a", "mp4"), Means::Written)
                .unwrap();
            let mut newer = draft();
            newer.file_mut().write_all(b" and more").unwrap();
            let newer = newer.publish_over(&saved, Means::Written).unwrap();
            assert_eq!(fs::read(&saved.path).unwrap(), b"content and more");
            assert!(matches!(
                draft().publish_over(&saved, Means::Written),
                Err(PlaceError::Gone { .. })
            ));
            fs::remove_file(&newer.path).unwrap();
            assert!(matches!(
                draft().publish_over(&newer, Means::Written),
                Err(PlaceError::Gone { .. })
            ));
            assert_eq!(names(&folder.path), [""; 0]);
        });
    }

    #[test]
    fn sweeping_leaves_a_copy_that_is_being_made() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let at_work = Draft::named(&folder).unwrap();
        let hidden = dir.path().join(hidden());
        fs::write(hidden.join("place-1-0"), "left by a crash").unwrap();
        fs::write(hidden.join("not ours"), "").unwrap();
        assert_eq!(sweep(&folder).unwrap(), 1);
        assert!(
            at_work
                .publish(&Name::plain("a", "mp4"), Means::Written)
                .is_ok()
        );
        assert_eq!(names(&hidden), ["not ours"]);
    }
}
