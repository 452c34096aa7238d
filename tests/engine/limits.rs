//! Too few descriptors, too few watches, too many folders.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
};

use fisga::engine::Notice;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{common::namespace::in_namespace, lab::Lab};

/// How many descriptors this process has.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many inotify watches this process has (proc(5), /proc/PID/fdinfo).
pub(crate) fn watches() -> usize {
    let all = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    all.filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .map(|text| text.lines().filter(|l| l.starts_with("inotify ")).count())
        .sum()
}

fn limit_descriptors(to: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(to),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Files that are made, kept open and hidden or not, with fewer descriptors than files: all are
/// held, and finished in their time.
#[test]
fn fewer_descriptors_than_files() {
    if !in_namespace("limits::fewer_descriptors_than_files") {
        return;
    }
    let lab = Lab::new("in", "Flash*", false);
    limit_descriptors(descriptors() as u64 + 64);
    let count = 400;
    // Another process makes them: its descriptors are its own.
    let script = "i=0; while [ $i -lt $2 ]; do echo $i > \"$1/Flash$i\"; i=$((i+1)); done";
    let status = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(lab.path("in"))
        .arg(count.to_string())
        .status()
        .unwrap();
    assert!(status.success());
    let mut finished = BTreeSet::new();
    let all = lab.until_or(|notice| {
        match notice {
            Notice::Settled {
                hold,
                finished: true,
            } => drop(finished.insert(hold.source.clone())),
            Notice::Lost { source, reason, .. } => {
                panic!("{} is called lost: {reason}", source.display())
            }
            _ => {}
        }
        (finished.len() == count).then_some(())
    });
    assert!(all.is_some(), "{} of {count} finished", finished.len());
    let staged = fs::read_dir(lab.path("library"))
        .unwrap()
        .flatten()
        .map(|staging| fs::read_dir(staging.path()).unwrap().count())
        .sum::<usize>();
    assert_eq!(staged, count, "a link was removed");
}

/// No watch is to be had for the held files themselves: they are looked at all the same.
#[test]
fn held_files_without_a_watch() {
    if !in_namespace("limits::held_files_without_a_watch") {
        return;
    }
    let lab = Lab::new("in", "Flash*", false);
    fs::write("/proc/sys/user/max_inotify_watches", watches().to_string()).unwrap();
    let mut files: Vec<_> = (0..10)
        .map(|i| File::create(lab.path(&format!("in/Flash{i}"))).unwrap())
        .collect();
    for _ in &files {
        lab.held();
    }
    for file in &mut files {
        file.write_all(b"the whole video").unwrap();
    }
    drop(files);
    let mut finished = BTreeSet::new();
    let all = lab.until_or(|notice| {
        if let Notice::Settled {
            hold,
            finished: true,
        } = notice
        {
            finished.insert(hold.source.clone());
        }
        (finished.len() == 10).then_some(())
    });
    assert!(all.is_some(), "{} of 10 finished", finished.len());
}

/// Our own folders below a recursive rule take a watch each, and no descriptor.
#[test]
fn folders_take_no_descriptors() {
    if !in_namespace("limits::folders_take_no_descriptors") {
        return;
    }
    let mut lab = Lab::new("in", "*.mp4", true);
    lab.stop();
    for i in 0..2_000 {
        fs::create_dir(lab.path(&format!("in/{i}"))).unwrap();
    }
    let before = descriptors();
    lab.start("in", "*.mp4", true);
    fs::write(lab.path("in/1999/film.mp4"), "x").unwrap();
    lab.held();
    let after = descriptors();
    assert!(after < before + 100, "{before} → {after}");
}

/// A rule has its share of folders and no more, which is said once; another rule's files are held.
#[test]
fn a_rule_with_too_many_folders() {
    if !in_namespace("limits::a_rule_with_too_many_folders") {
        return;
    }
    let mut lab = Lab::new("in", "*.mp4", true);
    lab.stop();
    for i in 0..9_000 {
        fs::create_dir(lab.path(&format!("in/{i}"))).unwrap();
    }
    let mut unwatched = 0;
    lab.start_telling("in", "*.mp4", true, |notice| {
        unwatched += u32::from(matches!(notice, Notice::Unwatched(_)));
    });
    fs::write(lab.path("in/film.mp4"), "x").unwrap();
    lab.held();
    assert_eq!(unwatched, 1);
    assert!(watches() < 8_500, "{} watches", watches());
}
