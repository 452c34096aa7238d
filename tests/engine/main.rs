//! The engine against the real kernel: real inotify, real files, on the temporary file system and
//! on the build's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

#[path = "../common/mod.rs"]
mod common;
mod folders;
mod foreign;
mod lab;
mod limits;

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use fisga::{
    engine::{Command, Notice},
    event::How,
};
use lab::{Lab, PATIENCE, content, parents};

#[test]
fn a_named_file_is_linked_and_finished_after_its_close() {
    for parent in parents() {
        let lab = Lab::in_folder(&parent, "in", "Flash*", false);
        let mut file = File::create_new(lab.path("in/Flash1")).unwrap();
        let held = lab.held();
        assert_eq!(held.how, How::Link);
        assert!(held.staged().is_some());
        file.write_all(b"the whole video").unwrap();
        drop(file);
        assert_eq!(content(&lab.finished()), b"the whole video");
    }
}

#[test]
fn a_hidden_file_outlives_its_producer() {
    for parent in parents() {
        let lab = Lab::in_folder(&parent, "in", "Flash*", false);
        let path = lab.path("in/Flash1");
        // Another process is the producer: our own descriptors are never looked at.
        let script =
            "exec 3>\"$1\"; rm \"$1\"; printf 'the whole video' >&3; echo; read line; exec 3>&-";
        let mut shell = std::process::Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        shell.stdout.take().unwrap().read_exact(&mut line).unwrap();
        let held = lab.held();
        assert_eq!(
            held.source,
            fs::canonicalize(lab.path("in")).unwrap().join("Flash1")
        );
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(content(&lab.finished()), b"the whole video");
    }
}

#[test]
fn folders_that_come_later_and_patterns() {
    for (pattern, folder) in [
        ("later/a/b", "later/a/b"),
        ("*/x*/tmp", "one/xyz/tmp"),
        ("later/*", "later/any"),
    ] {
        let lab = Lab::new(pattern, "Flash*", false);
        for round in 0..2 {
            fs::create_dir_all(lab.path(folder)).unwrap();
            fs::write(lab.path(folder).join("Flash1"), "x").unwrap();
            let held = lab.held();
            assert!(
                held.source.ends_with(Path::new(folder).join("Flash1")),
                "{pattern}, round {round}"
            );
            fs::remove_dir_all(lab.path(folder.split('/').next().unwrap())).unwrap();
        }
    }
}

#[test]
fn recursive_rules_catch_what_was_made_before_the_watch() {
    let lab = Lab::new("in", "*.mp4", true);
    let deep = lab.path("in/1/2/3/4/5/6/7/8");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("film.mp4"), "x").unwrap();
    assert!(lab.held().source.ends_with("1/2/3/4/5/6/7/8/film.mp4"));
}

#[test]
fn what_is_open_already_is_attached() {
    let mut lab = Lab::new("in", "Flash*", false);
    lab.stop();
    let (named, hidden) = (lab.path("in/Flash-named"), lab.path("in/Flash-hidden"));
    let script = "exec 3>\"$1\" 4>\"$2\"; rm \"$2\"; echo n >&3; echo h >&4; echo; read line";
    let mut shell = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .args([&named, &hidden])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    lab.start("in", "Flash*", false);
    let mut names: Vec<_> = (0..2)
        .map(|_| {
            let held = lab.held();
            assert_eq!(held.how, How::Attach);
            assert_eq!(held.producer.get().unwrap().pid, shell.id());
            held.source.file_name().unwrap().to_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["Flash-hidden", "Flash-named"]);
    drop(shell.stdin.take());
    shell.wait().unwrap();
    lab.finished();
}

#[test]
fn staged_files_survive_a_restart() {
    let mut lab = Lab::new("in", "Flash*", false);
    let file = File::create_new(lab.path("in/Flash1")).unwrap();
    file.write_all_at(b"held", 0).unwrap();
    lab.held();
    lab.stop();
    fs::remove_file(lab.path("in/Flash1")).unwrap();
    drop(file);
    lab.start("in", "Flash*", false);
    let hold = lab.finished();
    assert_eq!(content(&hold), b"held");
    assert!(hold.source.ends_with("in/Flash1"));
    lab.send(Command::Done {
        id: hold.id,
        keep: false,
    });
    lab.until(|notice| {
        matches!(notice, Notice::Released { id, .. } if id == hold.id).then_some(())
    });
    lab.stop();
    let left: Vec<_> = fs::read_dir(lab.path("library")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A cleaner of temporary folders takes what is empty and old.
#[test]
fn a_staging_folder_that_was_removed_is_made_again() {
    let lab = Lab::new("in", "Flash*", false);
    for entry in fs::read_dir(lab.path("library")).unwrap() {
        fs::remove_dir(entry.unwrap().path()).unwrap();
    }
    fs::write(lab.path("in/Flash1"), "x").unwrap();
    let held = lab.held();
    assert!(held.staged().is_some());
    assert_eq!(content(&lab.finished()), b"x");
}

#[test]
fn quiet_while_open_then_changed_then_closed() {
    let lab = Lab::new("in", "Flash*", false);
    let mut file = File::create_new(lab.path("in/Flash1")).unwrap();
    file.write_all(b"one").unwrap();
    let settled = |want: bool| {
        lab.until(|notice| match notice {
            Notice::Settled { hold, finished } if finished == want => Some(hold),
            _ => None,
        })
    };
    let hold = settled(false);
    assert_eq!(content(&hold), b"one");
    lab.send(Command::Done {
        id: hold.id,
        keep: true,
    });
    file.write_all(b"two").unwrap();
    let hold = settled(false);
    assert_eq!(content(&hold), b"onetwo");
    lab.send(Command::Done {
        id: hold.id,
        keep: true,
    });
    drop(file);
    assert_eq!(settled(true).id, hold.id);
}

#[test]
fn what_is_no_regular_file_is_ignored() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let lab = Lab::new("in", "Flash*", false);
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, lab.path("in/Flash-fifo"), FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", lab.path("in/Flash-link")).unwrap();
    fs::create_dir(lab.path("in/Flash-folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(lab.path("in/Flash-socket")).unwrap();
    if rustix::process::getuid().is_root() {
        mknodat(
            CWD,
            lab.path("in/Flash-zero"),
            FileType::CharacterDevice,
            mode,
            rustix::fs::makedev(1, 5),
        )
        .unwrap();
    }
    fs::write(lab.path("in/Flash-file"), "x").unwrap();
    assert!(lab.held().source.ends_with("Flash-file"));
    fs::write(lab.path("in/Flash-last"), "x").unwrap();
    assert!(lab.held().source.ends_with("Flash-last"));
}

#[test]
fn odd_names_are_held() {
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::new("in", "*", false);
    let long = vec![b'x'; 255];
    for name in [&b"a\nb"[..], b"\xff\xfe", b"-rf", b".hidden", &long] {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(lab.path("in").join(name), "x").unwrap();
        let held = lab.held();
        assert_eq!(
            (held.source.file_name().unwrap(), held.how),
            (name, How::Link)
        );
    }
}

#[test]
fn nameless_files_are_rescued_by_their_inode() {
    let lab = Lab::new("in", "#*", false);
    let script = "import os,sys; f=os.open(sys.argv[1],os.O_TMPFILE|os.O_RDWR,0o600); os.write(f,b'no name'); print(); sys.stdout.flush(); sys.stdin.read()";
    let mut python = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(lab.path("in"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 (package python3)");
    python.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let held = lab.held();
    assert!(
        held.staged().is_some(),
        "O_TMPFILE without O_EXCL can be linked"
    );
    drop(python.stdin.take());
    python.wait().unwrap();
    assert_eq!(content(&lab.finished()), b"no name");
}

#[test]
fn paused_means_that_nothing_is_held() {
    let lab = Lab::new("in", "Flash*", false);
    lab.send(Command::Pause);
    lab.send(Command::Grab);
    lab.until(|notice| matches!(notice, Notice::Grabbed { .. }).then_some(()));
    fs::write(lab.path("in/Flash-paused"), "x").unwrap();
    lab.send(Command::Grab);
    lab.until(|notice| match notice {
        Notice::Grabbed { .. } => Some(()),
        Notice::Held(hold) => panic!("{} was held", hold.source.display()),
        _ => None,
    });
    lab.send(Command::Resume);
    lab.send(Command::Grab);
    lab.until(|notice| matches!(notice, Notice::Grabbed { .. }).then_some(()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(lab.path("in/Flash-resumed"))
        .unwrap();
    assert!(lab.held().source.ends_with("Flash-resumed"));
}

#[test]
fn a_lost_file_is_told() {
    let lab = Lab::new("in", "Flash*", false);
    let deadline = Instant::now() + PATIENCE;
    let mut count = 0;
    // A name that is gone at once, and nobody has it open: the link wins some of these races.
    loop {
        assert!(
            Instant::now() < deadline,
            "the link won {count} races in a row"
        );
        let path = lab.path(&format!("in/Flash{count}"));
        count += 1;
        drop(File::create_new(&path).unwrap());
        fs::remove_file(&path).unwrap();
        let lost = lab.until(|notice| match notice {
            Notice::Lost { source, reason, .. } => Some(Some((source, reason))),
            Notice::Held(_) => Some(None),
            _ => None,
        });
        if let Some((source, reason)) = lost {
            assert!(source.ends_with(path.file_name().unwrap()), "{source:?}");
            assert!(reason.contains("no process has it open"), "{reason}");
            return;
        }
    }
}

/// In another mount namespace a path reads as anything: an older file of the same name there is not
/// ours.
#[test]
fn a_namesake_in_another_namespace_is_left_alone() {
    let lab = Lab::new("in", "Flash*", false);
    fs::create_dir(lab.path("elsewhere")).unwrap();
    let name = "FlashNamesake";
    let script = "exec 3>\"$1\"; rm \"$1\"; printf other >&3; echo; read line";
    let mut other = std::process::Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(lab.path("elsewhere").join(name))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("unshare (Debian package util-linux)");
    other.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    // Older by more than the clocks of file systems are apart.
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(100) {
        count += 1;
        fs::write(lab.path(&format!("in/Flash{count}")), "x").unwrap();
        lab.held();
    }
    loop {
        let path = lab.path("in").join(name);
        drop(File::create_new(&path).unwrap());
        fs::remove_file(&path).unwrap();
        // The link wins some of these races.
        let held = lab.until(|notice| match notice {
            Notice::Held(hold) => Some(Some(hold)),
            Notice::Lost { source, .. } => source.ends_with(name).then_some(None),
            _ => None,
        });
        match held {
            Some(hold) => assert_eq!(content(&hold), b"", "{:?}", hold.how),
            None => break,
        }
    }
    drop(other.stdin.take());
    other.wait().unwrap();
}

/// Epiphany's way: a private `/var/tmp` that no event of the host tells about.
#[test]
fn a_sandbox_that_starts_later_is_looked_into() {
    let mut lab = Lab::new("in", "Flash*", false);
    lab.stop();
    fs::create_dir_all(lab.path("run/webkitgtk")).unwrap();
    lab.start_at("/proc/*/root/var/tmp", "Flash*", false);
    let script = "echo; read line; touch \"$2/bus-proxy\"; read line; \
                  exec 3>/var/tmp/Flash1; rm /var/tmp/Flash1; echo hidden >&3; echo; read line";
    let mut sandbox = std::process::Command::new("bwrap")
        .args([
            "--dev-bind",
            "/",
            "/",
            "--tmpfs",
            "/var/tmp",
            "sh",
            "-c",
            script,
            "sh",
            "x",
        ])
        .arg(lab.path("run/webkitgtk"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("bwrap (package bubblewrap)");
    let mut stdin = sandbox.stdin.take().unwrap();
    sandbox
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0])
        .unwrap();
    stdin.write_all(b"\n").unwrap();
    // Nothing tells from outside when the folder is watched: a file is offered until one is held.
    stdin.write_all(b"\n").unwrap();
    let held = lab.held();
    assert!(held.source.ends_with("var/tmp/Flash1"), "{:?}", held.source);
    drop(stdin);
    sandbox.wait().unwrap();
    assert_eq!(content(&lab.finished()), b"hidden\n");
}
