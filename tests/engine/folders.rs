//! Folders that come, go and are renamed while they are watched.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fisga::engine::Notice;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::lab::Lab;

/// One story: the rule's folder pattern, what is there before the start, the renames, the folders
/// in which a file is held afterwards, and those in which none is.
struct Story {
    what: &'static str,
    pattern: &'static str,
    before: &'static [&'static str],
    moves: &'static [Move],
    held: &'static [&'static str],
    ignored: &'static [&'static str],
}

enum Move {
    Rename(&'static str, &'static str),
    Swap(&'static str, &'static str),
    Make(&'static str),
}

use Move::{Make, Rename, Swap};

const STORIES: &[Story] = &[
    Story {
        what: "within",
        pattern: "in",
        before: &["in/a/x"],
        moves: &[Rename("in/a", "in/b")],
        held: &["in/b", "in/b/x"],
        ignored: &[],
    },
    Story {
        what: "deeper",
        pattern: "in",
        before: &["in/a/x", "in/c"],
        moves: &[Rename("in/a", "in/c/a")],
        held: &["in/c/a", "in/c/a/x", "in/c"],
        ignored: &[],
    },
    Story {
        what: "into",
        pattern: "in",
        before: &["in", "out/a/x"],
        moves: &[Rename("out/a", "in/a")],
        held: &["in/a", "in/a/x"],
        ignored: &[],
    },
    Story {
        what: "out of",
        pattern: "in",
        before: &["in/a/x", "out"],
        moves: &[Rename("in/a", "out/a")],
        held: &["in"],
        ignored: &["out/a", "out/a/x"],
    },
    Story {
        what: "out and back",
        pattern: "in",
        before: &["in/a/x", "out"],
        moves: &[Rename("in/a", "out/a"), Rename("out/a", "in/b")],
        held: &["in/b", "in/b/x"],
        ignored: &["out"],
    },
    Story {
        what: "swapped",
        pattern: "in",
        before: &["in/a/x", "in/b/y"],
        moves: &[Swap("in/a", "in/b")],
        held: &["in/a", "in/b", "in/a/y", "in/b/x"],
        ignored: &[],
    },
    Story {
        what: "swapped with one outside",
        pattern: "in",
        before: &["in/a/x", "out/b/y"],
        moves: &[Swap("in/a", "out/b")],
        held: &["in/a", "in/a/y"],
        ignored: &["out/b", "out/b/x"],
    },
    Story {
        what: "over an existing one",
        pattern: "in",
        before: &["in/a/x", "in/b"],
        moves: &[Rename("in/a", "in/b")],
        held: &["in/b", "in/b/x"],
        ignored: &[],
    },
    Story {
        what: "twice in a row",
        pattern: "in",
        before: &["in/a/x"],
        moves: &[Rename("in/a", "in/b"), Rename("in/b", "in/c")],
        held: &["in/c", "in/c/x"],
        ignored: &[],
    },
    Story {
        what: "another takes the name",
        pattern: "in",
        before: &["in/a/x"],
        moves: &[Rename("in/a", "in/b"), Make("in/a/x")],
        held: &["in/a", "in/a/x", "in/b", "in/b/x"],
        ignored: &[],
    },
    Story {
        what: "the rule's own folder",
        pattern: "in",
        before: &["in/a"],
        moves: &[Rename("in", "was"), Make("in/a")],
        held: &["in", "in/a"],
        ignored: &["was", "was/a"],
    },
    Story {
        what: "a folder on the way",
        pattern: "way/in",
        before: &["way/in/a", "other/in/b"],
        moves: &[Rename("way", "was"), Rename("other", "way")],
        held: &["way/in", "way/in/b"],
        ignored: &["was/in", "was/in/a"],
    },
    Story {
        what: "folders on the way, swapped",
        pattern: "way/in",
        before: &["way/in/a", "other/in/b"],
        moves: &[Swap("way", "other")],
        held: &["way/in", "way/in/b"],
        ignored: &["other/in", "other/in/a"],
    },
    Story {
        what: "a pattern matches the new name too",
        pattern: "w*/in",
        before: &["w1/in"],
        moves: &[Rename("w1", "w2")],
        held: &["w2/in"],
        ignored: &[],
    },
    Story {
        what: "a pattern matches the old name only",
        pattern: "w*/in",
        before: &["w1/in", "w3/in"],
        moves: &[Rename("w1", "x1")],
        held: &["w3/in"],
        ignored: &["x1/in"],
    },
];

/// A file in each folder is held at last, however the folder came by its name.
#[test]
fn renames() {
    for story in STORIES {
        let lab = Lab::with(story.pattern, "*.mp4", true, story.before);
        for step in story.moves {
            match *step {
                Rename(from, to) => fs::rename(lab.path(from), lab.path(to)).unwrap(),
                Swap(a, b) => {
                    renameat_with(CWD, lab.path(a), CWD, lab.path(b), RenameFlags::EXCHANGE)
                        .unwrap();
                }
                Make(folder) => fs::create_dir_all(lab.path(folder)).unwrap(),
            }
        }
        lab.settle_walks();
        for folder in story.ignored {
            fs::write(lab.path(folder).join("no.mp4"), "x").unwrap();
        }
        for (i, folder) in story.held.iter().enumerate() {
            let path = lab.path(folder).join(format!("film{i}.mp4"));
            fs::write(&path, "x").unwrap();
            assert_eq!(lab.held().source, path, "{}", story.what);
        }
    }
}

/// All folders are walked anew, as after a mount, while others are made with files in them: none
/// of these is missed.
#[test]
fn folders_that_are_made_during_a_walk() {
    let lab = Arc::new(Lab::new("in", "*.mp4", true));
    let stop = Arc::new(AtomicBool::new(false));
    let walks = std::thread::spawn({
        let (handle, stop, root) = (lab.handle(), stop.clone(), lab.root.path().to_owned());
        move || {
            while !stop.load(Ordering::Relaxed) {
                handle.send(crate::lab::configure(&root, "in", "*.mp4", true));
                std::thread::yield_now();
            }
        }
    });
    let count = 300;
    for i in 0..count {
        let folder = lab.path(&format!("in/{i}/2/3/4/5/6/7/8"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("film.mp4"), "x").unwrap();
    }
    let mut held = std::collections::BTreeSet::new();
    let all = lab.until_or(|notice| {
        if let Notice::Held(hold) = notice {
            let path = hold.source.strip_prefix(lab.path("in")).unwrap().to_owned();
            held.insert(first(&path));
        }
        (held.len() == count).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    walks.join().unwrap();
    assert!(all.is_some(), "{} of {count} held", held.len());
}

fn first(path: &Path) -> String {
    path.components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap()
        .into()
}
