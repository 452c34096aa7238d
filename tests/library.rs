//! The library on real file systems: one on disk, one in memory, full ones, read-only ones, and
//! ones that go away.
//!
//! The one on disk is that of the build. Another is taken with `FISGA_TEST_DISK=FOLDER`, say one
//! that can share blocks (btrfs, xfs).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::{FileExt, MetadataExt, PermissionsExt, symlink},
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use common::namespace::{in_namespace, mount, mount_again};
use fisga::{
    copy::Observer,
    inode::Inode,
    library::{
        folder::{Means, PlaceError, Placed},
        history::{Entry, History, Outcome},
        name::Name,
        place::{self, Held, Staged},
        trash, upkeep,
    },
};
use tempfile::TempDir;

/// A folder on the disk.
fn on_disk() -> TempDir {
    TempDir::new_in(disk()).unwrap()
}

fn disk() -> PathBuf {
    env::var_os("FISGA_TEST_DISK").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

/// A folder on another file system.
fn in_memory() -> TempDir {
    let dir = TempDir::new_in("/dev/shm").expect("a tmpfs at /dev/shm");
    assert_ne!(
        fs::metadata(dir.path()).unwrap().dev(),
        fs::metadata(disk()).unwrap().dev(),
        "these tests need two file systems: build outside of /dev/shm (CARGO_TARGET_DIR)"
    );
    dir
}

/// A held file: its content in staging, and the descriptor.
struct Hold {
    dir: PathBuf,
    name: &'static OsStr,
    file: File,
}

impl Hold {
    fn new(dir: &Path, content: &[u8]) -> Self {
        let name = OsStr::from_bytes(b"-held\n\xff");
        fs::write(dir.join(name), content).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            dir: dir.to_owned(),
            name,
            file: File::open(dir.join(name)).unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(self.name)
    }

    fn place_as(
        &self,
        library: &Path,
        name: &str,
        change: impl FnOnce(&mut Held<'_>),
    ) -> Result<Placed, PlaceError> {
        let dir = File::open(&self.dir).unwrap();
        let staged = Some(Staged {
            dir: dir.as_fd(),
            name: self.name,
        });
        let mut held = Held {
            file: &self.file,
            staged,
            writer: false,
            len: None,
        };
        change(&mut held);
        let stop = AtomicBool::new(false);
        place::place(
            &held,
            library,
            &Name::plain(name, "mp4"),
            &mut Observer {
                progress: &mut |_, _| (),
                stop: &stop,
            },
        )
    }

    fn place(&self, library: &Path) -> Result<Placed, PlaceError> {
        self.place_as(library, "A film", |_| ())
    }
}

fn library(parent: &Path) -> PathBuf {
    let library = parent.join(OsStr::from_bytes(b"Videos\n\xfe/Fisga"));
    place::prepare(&library).unwrap();
    library
}

/// All that is in a folder, hidden names too.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Something that two halves of are never equal in.
fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(b"content")
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

#[test]
fn an_inode_that_is_ours_alone_is_linked() {
    for dir in [on_disk(), in_memory()] {
        let (hold, library) = (Hold::new(dir.path(), b"content"), library(dir.path()));
        let placed = hold.place(&library).unwrap();
        assert_eq!(placed.path, library.join("A film.mp4"));
        assert_eq!((placed.means, placed.bytes), (Means::Link, 7));
        let metadata = fs::metadata(&placed.path).unwrap();
        assert_eq!(Inode::of(&hold.file).unwrap(), placed.id);
        assert_eq!(
            metadata.nlink(),
            2,
            "the staged name stays until the history is written"
        );

        let fresh = library.join("fresh");
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&fresh)
            .unwrap();
        let umask = 0o666 & !fs::metadata(fresh).unwrap().mode() & 0o777;
        assert_eq!(metadata.mode() & 0o777, 0o644 & !umask);

        assert_eq!(
            place::find(&library, &hold.file).unwrap(),
            Some(placed.path.clone()),
            "after a crash"
        );
        fs::remove_file(hold.path()).unwrap();
        assert_eq!(
            place::find(&library, &hold.file).unwrap(),
            None,
            "nothing to clear up"
        );
        let metadata = fs::metadata(&placed.path).unwrap();
        let accessed = (metadata.atime(), metadata.atime_nsec());
        assert_eq!(
            accessed,
            (metadata.mtime(), metadata.mtime_nsec()),
            "nobody has opened it"
        );
        assert_eq!(fs::read(&placed.path).unwrap(), b"content");
    }
}

#[test]
fn anything_else_is_copied() {
    type Case = (&'static str, fn(&Hold), fn(&mut Held<'_>), &'static [u8]);
    let cases: [Case; 7] = [
        (
            "another name",
            |hold| fs::hard_link(hold.path(), hold.dir.join("other")).unwrap(),
            |_| (),
            b"content",
        ),
        ("a writer", |_| (), |held| held.writer = true, b"content"),
        (
            "padding to be cut",
            |_| (),
            |held| held.len = Some(4),
            b"cont",
        ),
        (
            "a length beyond the end",
            |_| (),
            |held| (held.len, held.writer) = (Some(99), true),
            b"content",
        ),
        (
            "no staged name",
            |_| (),
            |held| held.staged = None,
            b"content",
        ),
        (
            "no name at all",
            |hold| fs::remove_file(hold.path()).unwrap(),
            |_| (),
            b"content",
        ),
        (
            "a staged name that leads elsewhere",
            |hold| {
                fs::rename(hold.path(), hold.dir.join("other")).unwrap();
                symlink("other", hold.path()).unwrap();
            },
            |_| (),
            b"content",
        ),
    ];
    for dir in [on_disk(), in_memory()] {
        for (what, before, change, expected) in cases {
            let staging = TempDir::new_in(dir.path()).unwrap();
            let (hold, library) = (
                Hold::new(staging.path(), b"content"),
                library(staging.path()),
            );
            before(&hold);
            let held = (
                names(staging.path()),
                hold.file.metadata().unwrap().ctime_nsec(),
            );
            let placed = hold.place_as(&library, "A film", change).unwrap();
            assert!(
                matches!(placed.means, Means::Copy | Means::Clone),
                "{what}: {:?}",
                placed.means
            );
            assert_eq!(fs::read(&placed.path).unwrap(), expected, "{what}");
            assert_eq!(fs::metadata(&placed.path).unwrap().nlink(), 1, "{what}");
            assert_ne!(placed.id, Inode::of(&hold.file).unwrap(), "{what}");
            let after = (
                names(staging.path()),
                hold.file.metadata().unwrap().ctime_nsec(),
            );
            assert_eq!(after, held, "{what}: the held file is as it was");
            assert_eq!(names(&library), ["A film.mp4"]);
        }
    }
}

#[test]
fn between_file_systems_with_holes() {
    for (from, to) in [(on_disk(), in_memory()), (in_memory(), on_disk())] {
        let (hold, library) = (
            Hold::new(from.path(), &content(3 << 20)),
            library(to.path()),
        );
        let writer = OpenOptions::new().write(true).open(hold.path()).unwrap();
        writer.write_all_at(b"the end", 64 << 20).unwrap();
        writer.set_len(80 << 20).unwrap();
        let placed = hold.place(&library).unwrap();
        assert_eq!(placed.means, Means::Copy);
        assert!(
            fs::read(hold.path()).unwrap() == fs::read(&placed.path).unwrap(),
            "the same bytes"
        );
        let blocks = fs::metadata(&placed.path).unwrap().blocks();
        assert!(
            blocks * 512 < 5 << 20,
            "{blocks} blocks: the holes are holes"
        );
    }
}

#[test]
fn names_that_are_taken() {
    let dir = on_disk();
    let library = library(dir.path());
    fs::write(library.join("A film.mp4"), "mine").unwrap();
    symlink("nowhere", library.join("A film (2).mp4")).unwrap();
    fs::create_dir(library.join("A film (3).mp4")).unwrap();
    for (n, writer) in [(4, true), (5, false), (6, true)] {
        let hold = Hold::new(
            TempDir::new_in(dir.path()).unwrap().keep().as_path(),
            b"content",
        );
        let placed = hold
            .place_as(&library, "A film", |held| held.writer = writer)
            .unwrap();
        assert_eq!(placed.path, library.join(format!("A film ({n}).mp4")));
    }
    assert_eq!(fs::read(library.join("A film.mp4")).unwrap(), b"mine");
}

#[test]
fn many_at_once_get_a_name_each() {
    let (dir, hold_dir) = (on_disk(), on_disk());
    let (library, hold) = (
        library(dir.path()),
        Hold::new(hold_dir.path(), &content(100_000)),
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    hold.place_as(&library, "A film", |held| held.writer = true)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(names(&library).len(), 80);
    for name in names(&library) {
        assert!(
            fs::read(library.join(&name)).unwrap() == content(100_000),
            "{name}"
        );
    }
}

#[test]
fn a_stopped_copy_leaves_nothing() {
    let (from, to) = (in_memory(), on_disk());
    let (hold, library) = (
        Hold::new(from.path(), &content(20 << 20)),
        library(to.path()),
    );
    let (stop, mut seen) = (AtomicBool::new(false), Vec::new());
    let mut progress = |done: u64, total: u64| {
        seen.push((done, total));
        stop.store(done > 9 << 20, Ordering::Relaxed);
    };
    let held = Held {
        file: &hold.file,
        staged: None,
        writer: false,
        len: None,
    };
    let work = &mut Observer {
        progress: &mut progress,
        stop: &stop,
    };
    let error = place::place(&held, &library, &Name::plain("A film", "mp4"), work).unwrap_err();
    assert!(matches!(error, PlaceError::Stopped) && error.retry());
    assert!(
        !seen.is_empty()
            && seen
                .iter()
                .all(|&(done, total)| done < total && total == 20 << 20),
        "{seen:?}"
    );
    assert_eq!(names(&library), [""; 0]);
    assert!(hold.place(&library).is_ok(), "at the next start");
}

#[test]
fn a_killed_copy_leaves_nothing() {
    if let Some(library) = env::var_os("FISGA_TEST_LIBRARY") {
        // The process that is killed: it stops half-way through a copy and waits for that.
        let hold = Hold::new(in_memory().keep().as_path(), &content(20 << 20));
        println!("staging {}", hold.dir.display());
        let stop = AtomicBool::new(false);
        let mut progress = |_: u64, _: u64| {
            println!("half-way");
            let _ = std::io::stdin().read(&mut [0]);
        };
        let held = Held {
            file: &hold.file,
            staged: None,
            writer: false,
            len: None,
        };
        let work = &mut Observer {
            progress: &mut progress,
            stop: &stop,
        };
        place::place(
            &held,
            Path::new(&library),
            &Name::plain("A film", "mp4"),
            work,
        )
        .unwrap();
        return;
    }
    let dir = on_disk();
    let library = library(dir.path());
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_copy_leaves_nothing", "--nocapture"])
        .env("FISGA_TEST_LIBRARY", &library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut staging = None;
    for line in BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
    {
        if let Some(at) = line.find("staging ") {
            staging = Some(line[at + 8..].to_owned());
        }
        if line.contains("half-way") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_dir_all(staging.expect("the child got that far")).unwrap();
    // Without nameless files, something hidden waits for the next start.
    let hidden = names(&library)
        .into_iter()
        .all(|name| name.starts_with('.'));
    assert!(hidden && place::sweep(&library).unwrap() <= 1);
    assert_eq!(names(&library), [""; 0]);
}

#[test]
fn a_full_disk() {
    if !in_namespace("a_full_disk") {
        return;
    }
    let (disk, other) = (on_disk(), on_disk());
    mount("size=1m", disk.path());
    let library = library(disk.path());
    let ballast = library.join("ballast");
    fs::write(&ballast, vec![1; 600 << 10]).unwrap();
    let hold = Hold::new(other.path(), &content(600 << 10));
    let error = hold.place(&library).unwrap_err();
    assert!(
        matches!(error, PlaceError::NoSpace { .. }) && error.retry(),
        "{error:?}"
    );
    assert_eq!(names(&library), ["ballast"]);
    let too_much = |file: &mut File| file.write_all(&content(600 << 10));
    let error = place::write_new(&library, &Name::plain("A film", "mp4"), too_much).unwrap_err();
    assert!(matches!(error, PlaceError::NoSpace { .. }), "{error:?}");
    assert_eq!(names(&library), ["ballast"]);
    fs::remove_file(ballast).unwrap();
    assert!(fs::read(hold.place(&library).unwrap().path).unwrap() == content(600 << 10));
}

#[test]
fn a_read_only_disk() {
    if !in_namespace("a_read_only_disk") {
        return;
    }
    let (disk, other) = (on_disk(), on_disk());
    mount("size=1m", disk.path());
    let library = library(disk.path());
    mount_again("remount,bind,ro", disk.path());
    let hold = Hold::new(other.path(), b"content");
    let error = hold.place(&library).unwrap_err();
    assert!(
        matches!(error, PlaceError::ReadOnly { .. }) && error.retry(),
        "{error:?}"
    );
    mount_again("remount,bind,rw", disk.path());
    hold.place(&library).unwrap();
}

/// Two mounts of one file system have the same device number, and no link crosses them.
#[test]
fn a_bind_mount() {
    if !in_namespace("a_bind_mount") {
        return;
    }
    let dir = on_disk();
    let (staging, bound) = (dir.path().join("staging"), dir.path().join("bound"));
    fs::create_dir_all(&staging).unwrap();
    fs::create_dir_all(&bound).unwrap();
    assert!(
        Command::new("mount")
            .arg("--bind")
            .args([&bound, &bound])
            .status()
            .unwrap()
            .success()
    );
    let hold = Hold::new(&staging, b"content");
    let placed = hold.place(&library(&bound)).unwrap();
    assert_ne!(placed.means, Means::Link);
    assert_eq!(fs::metadata(&placed.path).unwrap().nlink(), 1);
}

#[test]
fn a_library_that_goes_away() {
    let dir = on_disk();
    let (hold, library) = (Hold::new(dir.path(), b"content"), library(dir.path()));
    fs::remove_dir(&library).unwrap();
    let error = hold.place(&library).unwrap_err();
    assert!(
        matches!(error, PlaceError::Missing { .. }) && error.retry(),
        "{error:?}"
    );
    assert!(!library.exists(), "placing makes no second library");
    fs::write(&library, "a file").unwrap();
    assert!(matches!(
        hold.place(&library).unwrap_err(),
        PlaceError::Missing { .. }
    ));
    fs::remove_file(&library).unwrap();
    place::prepare(&library).unwrap();
    hold.place(&library).unwrap();
}

#[test]
fn what_is_replaced_stays_readable() {
    let dir = on_disk();
    let (hold, library) = (Hold::new(dir.path(), &content(1000)), library(dir.path()));
    let saved = hold
        .place_as(&library, "A film", |held| held.writer = true)
        .unwrap();
    let mut reader = File::open(&saved.path).unwrap();
    fs::write(hold.path(), content(5000)).unwrap();
    let stop = AtomicBool::new(false);
    let mut work = Observer {
        progress: &mut |_, _| (),
        stop: &stop,
    };
    let held = Held {
        file: &hold.file,
        staged: None,
        writer: true,
        len: None,
    };
    let newer = place::replace(&saved, &held, &mut work).unwrap();
    assert_eq!(newer.path, saved.path);
    assert!(fs::read(&newer.path).unwrap() == content(5000));
    let mut old = Vec::new();
    reader.read_to_end(&mut old).unwrap();
    assert!(old == content(1000), "who plays the old one still has it");

    let mended = place::write_over(&newer, |file| file.write_all(b"mended")).unwrap();
    assert_eq!(fs::read(&mended.path).unwrap(), b"mended");
    fs::rename(&mended.path, library.join("mine now")).unwrap();
    let error = place::replace(&mended, &held, &mut work).unwrap_err();
    assert!(matches!(error, PlaceError::Gone { .. }) && !error.retry());
    place::sweep(&library).unwrap();
    assert_eq!(names(&library), ["mine now"]);
}

#[test]
fn what_is_written_fails_as_a_whole() {
    let dir = on_disk();
    let name = Name::plain("A film", "mp4");
    let failed = place::write_new(dir.path(), &name, |file| {
        file.write_all(b"half")?;
        Err(std::io::Error::other("the playlist is broken"))
    });
    assert!(matches!(failed.unwrap_err(), PlaceError::Other { .. }));
    assert_eq!(names(dir.path()), [""; 0]);
    let placed = place::write_new(dir.path(), &name, |file| file.write_all(b"whole")).unwrap();
    assert_eq!(
        (placed.means, fs::read(&placed.path).unwrap()),
        (Means::Written, b"whole".to_vec())
    );
}

/// A history in which these files were saved, in this order.
fn history(dir: &Path, saved: &[&Path]) -> History {
    let history = History::open(&dir.join("history.jsonl")).unwrap();
    for path in saved {
        let entry = Entry::new(
            chrono::Local::now(),
            Outcome::Saved,
            "/tmp/Flash1".into(),
            "flash".into(),
        );
        history
            .append(&Entry {
                path: Some(path.to_path_buf()),
                ..entry
            })
            .unwrap();
    }
    history
}

#[test]
fn discarding() {
    if !in_namespace("discarding") {
        return;
    }
    let dir = on_disk();
    // The user's trash belongs to the user.
    mount("size=1m", dir.path());
    let (library, elsewhere) = (library(dir.path()), dir.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    let file = |path: PathBuf| {
        fs::write(&path, "content").unwrap();
        path
    };
    let (first, last) = (
        file(library.join("first.mp4")),
        file(library.join("last\n\u{1f3ac}.mp4")),
    );
    let (moved, foreign) = (
        file(elsewhere.join("moved.mp4")),
        file(elsewhere.join("foreign.mp4")),
    );
    let link = library.join("link.mp4");
    symlink(&foreign, &link).unwrap();
    let history = history(dir.path(), &[&first, &moved, &last]);
    let discard = |target: &OsStr| trash::discard(target, &library, &history);

    assert!(matches!(
        discard(foreign.as_os_str()),
        Err(trash::DiscardError::NotOurs { .. })
    ));
    assert!(matches!(
        discard(link.as_os_str()),
        Err(trash::DiscardError::NoFile { .. })
    ));
    assert!(matches!(
        discard(library.as_os_str()),
        Err(trash::DiscardError::NoFile { .. })
    ));
    assert!(matches!(
        discard(OsStr::new("not there")),
        Err(trash::DiscardError::Missing { .. })
    ));
    let escape = library.join("../../elsewhere/foreign.mp4");
    assert!(matches!(
        discard(escape.as_os_str()),
        Err(trash::DiscardError::NotOurs { .. })
    ));

    assert_eq!(discard(OsStr::new("LAST")).unwrap(), last);
    assert!(
        matches!(
            discard(OsStr::new("LAST")),
            Err(trash::DiscardError::Missing { .. })
        ),
        "and not the one before"
    );
    assert_eq!(discard(OsStr::new("first.mp4")).unwrap(), first);
    assert_eq!(discard(moved.as_os_str()).unwrap(), moved);
    assert_eq!(names(&library), ["link.mp4"]);
    assert_eq!(names(&elsewhere), ["foreign.mp4"]);
    let trashed = fs::read_dir(dir.path().join(".Trash-0/files")).expect("the trash of this disk");
    assert_eq!(trashed.count(), 3);

    let stuck = file(library.join("stuck.mp4"));
    mount_again("remount,bind,ro", dir.path());
    let error = discard(stuck.as_os_str()).unwrap_err();
    assert!(
        matches!(error, trash::DiscardError::Trash { .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("Read-only file system"),
        "{error}"
    );
    assert!(stuck.exists());
}

#[test]
fn nothing_to_discard() {
    let dir = on_disk();
    let history = history(dir.path(), &[]);
    let error = trash::discard(OsStr::new("LAST"), dir.path(), &history).unwrap_err();
    assert!(
        matches!(error, trash::DiscardError::NothingSaved),
        "{error:?}"
    );
}

#[test]
fn what_leaves_by_itself() {
    if !in_namespace("what_leaves_by_itself") {
        return;
    }
    let dir = on_disk();
    mount("size=4m", dir.path());
    let library = library(dir.path());
    fs::create_dir(library.join("Incomplete")).unwrap();
    let save = |folder: &Path, name: &str| {
        let write = |file: &mut File| file.write_all(&content(100_000));
        place::write_new(folder, &Name::plain(name, "mp4"), write)
            .unwrap()
            .path
    };
    let old = |path: &Path, days: u64| {
        let time = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
        let times = fs::FileTimes::new().set_modified(time).set_accessed(time);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_times(times)
            .unwrap();
    };
    let (first, opened, third) = (
        save(&library, "first"),
        save(&library, "opened"),
        save(&library, "third"),
    );
    let mine = library.join("mine.mp4");
    fs::write(&mine, content(100_000)).unwrap();
    for (path, days) in [(&first, 4), (&opened, 3), (&third, 2), (&mine, 9)] {
        old(path, days);
    }
    fs::read(&opened).unwrap();
    let half = save(&library.join("Incomplete"), "half 45 %");
    let newer = save(&library.join("Incomplete"), "newer 50 %");
    old(&half, 8);
    let history = history(dir.path(), &[&first, &opened, &third, &half, &newer]);

    let mut told = Vec::new();
    let next = upkeep::expire(&library, &history, 7, SystemTime::now(), &mut |line| {
        told.push((line, half.exists()));
    });
    let left = next
        .unwrap()
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!(
        left > Duration::from_secs(6 * 24 * 60 * 60),
        "the newer one is due in a week: {left:?}"
    );
    let line = "incomplete for 7 days, and now going to the trash: half 45 %.mp4";
    assert_eq!(told, [(line.to_owned(), true)], "told before it happened");
    assert_eq!(names(&library.join("Incomplete")), ["newer 50 %.mp4"]);

    let mut told = Vec::new();
    upkeep::keep_below(&library, &history, 500_000, 0, &mut |line| told.push(line)).unwrap();
    assert_eq!(told, [""; 0], "small enough");
    upkeep::keep_below(&library, &history, 500_000, 1, &mut |line| told.push(line)).unwrap();
    assert!(
        told.len() == 1 && told[0].ends_with("the oldest first: first.mp4"),
        "{told:?}"
    );
    assert_eq!(
        names(&library),
        ["Incomplete", "mine.mp4", "opened.mp4", "third.mp4"]
    );
    upkeep::keep_below(&library, &history, 0, 0, &mut |line| told.push(line)).unwrap();
    assert_eq!(names(&library), ["Incomplete", "mine.mp4", "opened.mp4"]);
    assert!(
        told.last()
            .unwrap()
            .ends_with("nothing more can leave it: the rest was opened"),
        "{told:?}"
    );
}
