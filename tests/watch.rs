//! `fisga watch` as its user sees it: lines, Ctrl-C, a configuration that changes.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use common::{
    media,
    process::Group,
    producer::Producer,
    sandbox::{SOON, Sandbox, rules},
};
use fisga::event::Event;
use rustix::process::Signal;
use serde_json::json;

/// A running command, and what it prints.
struct Lines {
    group: Group,
    lines: Receiver<String>,
}

impl Lines {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut group = Group::start(
            sandbox
                .fisga(args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        let stdout = BufReader::new(group.child().stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { group, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(SOON).unwrap()
    }

    /// Ends it as Ctrl-C does: exit status, what was still printed, and stderr.
    fn interrupt(mut self) -> (Option<i32>, Vec<String>, String) {
        self.group.signal(Signal::INT);
        let status = self.group.wait(SOON).unwrap();
        let mut stderr = String::new();
        self.group
            .child()
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        (status.code(), self.lines.iter().collect(), stderr)
    }
}

/// A duplicate that its player still has open is judged while it is, and again at its end.
#[test]
fn a_duplicate_is_said_once() {
    let sandbox = Sandbox::new();
    let mut fisga = sandbox.watch();
    let play = |name: &str, clip: &str| {
        Producer::start(&sandbox.tmp().join(name), &media::clip(clip), true)
    };
    play("FlashFirst", "short.mp4").close();
    fisga.wait_saved(SOON);
    let again = play("FlashAgain", "short.mp4");
    // Judged after it, and while both are open.
    let other = play("FlashOther", "short-end.mp4");
    fisga.wait_saved(SOON);
    again.close();
    fisga.wait_for("a duplicate", SOON, |event| {
        matches!(event, Event::Dropped { .. })
    });
    other.close();
    fisga.stop();
    let ends: Vec<_> = sandbox
        .history()
        .iter()
        .map(|entry| entry["outcome"].clone())
        .collect();
    assert_eq!(ends, ["saved", "saved", "dropped"]);
}

#[test]
fn events_are_told_as_the_original_script_told_them() {
    let sandbox = Sandbox::new();
    let fisga = Lines::start(&sandbox, &["watch", "--events"]);
    // Nothing says that it is ready: the first file that it sees does.
    let end = Instant::now() + SOON;
    let probe = (0..)
        .map(|n| sandbox.tmp().join(format!("probe{n}")))
        .find(|path| {
            assert!(Instant::now() < end, "nothing is told");
            fs::write(path, "").unwrap();
            fisga.lines.recv_timeout(Duration::from_millis(200)).is_ok()
        });
    let path = sandbox.tmp().join("anything");
    fs::write(&path, "").unwrap();
    let created = format!("Create: {}", path.display());
    while fisga.next() != created {}
    fs::remove_file(probe.unwrap()).unwrap();
    assert!(
        fisga
            .next()
            .starts_with(&format!("Remove: {}/probe", sandbox.tmp().display()))
    );
    assert_eq!(
        fisga.interrupt(),
        (Some(0), vec!["fisga stopped".into()], String::new())
    );
}

#[test]
fn for_people_a_plain_line_each() {
    let sandbox = Sandbox::new();
    let fisga = Lines::start(&sandbox, &["watch"]);
    assert_eq!(
        fisga.next(),
        format!("Watching; videos go to {}", sandbox.library().display())
    );
    let path = sandbox.tmp().join("Flash1");
    fs::write(&path, "no video").unwrap();
    assert_eq!(fisga.next(), format!("Holding {}", path.display()));
    assert!(
        fisga
            .next()
            .starts_with(&format!("Dropped {}: not media", path.display()))
    );
    assert_eq!(
        fisga.interrupt(),
        (Some(0), vec!["fisga stopped".into()], String::new())
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let sandbox = Sandbox::new();
    let mut group = Group::start(
        sandbox
            .fisga(&["watch"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut stdout = BufReader::new(group.child().stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    fs::write(sandbox.tmp().join("Flash1"), "no video").unwrap();
    assert_eq!(group.wait(SOON).unwrap().code(), Some(0));
    let mut stderr = String::new();
    group
        .child()
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn a_changed_configuration_is_in_force_and_a_bad_one_is_not() {
    let sandbox = Sandbox::new();
    let mut fisga = sandbox.watch();
    let other = sandbox.path("other");
    fs::create_dir(&other).unwrap();
    let with_other = |files: &str| {
        let own = json!([{ "name": "other", "folders": [other], "files": [files] }]);
        json!({ "rules": rules(&[], own) })
    };
    sandbox.configure(with_other("A*"));
    // The new rule also holds what is open when it comes into force, so this is no race.
    let held = |name: &'static str| move |event: &Event| matches!(event, Event::Held { path, .. } if path.ends_with(name));
    let open = fs::File::create(other.join("A1")).unwrap();
    fisga.wait_for("A1 held by the new rule", SOON, held("A1"));
    drop(open);

    fs::write(sandbox.config_file(), r#"{"audio": 1}"#).unwrap();
    let error = fisga.wait_for("error", SOON, |event| matches!(event, Event::Error { .. }));
    let Event::Error { message } = error else {
        unreachable!()
    };
    let expected = format!("{}: audio: invalid type", sandbox.config_file().display());
    assert!(message.starts_with(&expected), "{message}");
    fs::write(other.join("A2"), "the last good one is in force").unwrap();
    fisga.wait_for("A2 held", SOON, held("A2"));

    // Written anew under another name and moved there, as editors do.
    let new = sandbox.path("new.json");
    sandbox.configure(with_other("B*"));
    fs::rename(sandbox.config_file(), &new).unwrap();
    fs::rename(&new, sandbox.config_file()).unwrap();
    let open = fs::File::create(other.join("B1")).unwrap();
    fisga.wait_for("B1 held by the new rule", SOON, held("B1"));
    drop(open);

    fs::write(sandbox.config_file(), r#"{"audio": 2}"#).unwrap();
    fisga.wait_for("error", SOON, |event| matches!(event, Event::Error { .. }));
    fisga.signal(Signal::HUP);
    fisga.wait_for("the same on SIGHUP", SOON, |event| {
        matches!(event, Event::Error { .. })
    });
}
