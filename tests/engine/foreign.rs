//! Another user's folders in one where everybody may write.
//!
//! The second user is made by chown(2): as root at once, else in a user namespace with several
//! users (newuidmap(1)).

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use fisga::engine::Notice;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{common::namespace::with_other_users, lab::Lab};

/// Whoever it is, it is neither us nor root.
const OTHER: u32 = 7;

fn give_away(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    chown(path, Some(OTHER), Some(OTHER)).unwrap();
}

/// A lab with `tmp`, where everybody may write, and a private folder.
fn lab(pattern: &str) -> Lab {
    let lab = Lab::with(pattern, "*.mp4", true, &["tmp", "private", "own"]);
    fs::set_permissions(lab.path("tmp"), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(lab.path("private"), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(lab.root.path(), Permissions::from_mode(0o755)).unwrap();
    lab
}

/// What is held until the file `own` is: nothing but that.
fn nothing_but_own(lab: &Lab, what: &str) {
    let own = lab.path("tmp/mine");
    fs::create_dir_all(&own).unwrap();
    let last = own.join("last.mp4");
    fs::write(&last, "x").unwrap();
    lab.until(|notice| match notice {
        Notice::Held(hold) if hold.source == last => Some(()),
        Notice::Held(hold) => panic!("{what}: {} was held", hold.source.display()),
        Notice::Lost { source, .. } => panic!("{what}: {} is called lost", source.display()),
        _ => None,
    });
}

/// A symbolic link in another user's folder leads into a private one.
#[test]
fn links_of_others_lead_nowhere() {
    if !with_other_users("foreign::links_of_others_lead_nowhere") {
        return;
    }
    for mode in [0o755, 0o700, 0o777] {
        let mut lab = lab("tmp/*");
        fs::create_dir(lab.path("tmp/webtorrent")).unwrap();
        symlink(lab.path("private"), lab.path("tmp/webtorrent/sub")).unwrap();
        symlink(lab.path("private"), lab.path("tmp/direct")).unwrap();
        give_away(&lab.path("tmp/webtorrent"), mode);
        lab.stop();
        for pattern in ["tmp/webtorrent/sub", "tmp/*/sub", "tmp/direct", "tmp/*"] {
            lab.start(pattern, "*.mp4", true);
            fs::write(lab.path("private/secret.mp4"), "secret").unwrap();
            lab.configure("tmp/*", "*.mp4", true);
            nothing_but_own(&lab, pattern);
            lab.stop();
            fs::remove_file(lab.path("private/secret.mp4")).unwrap();
            fs::remove_dir_all(lab.path("tmp/mine")).unwrap();
            fs::remove_dir_all(lab.path("library")).unwrap();
            fs::create_dir(lab.path("library")).unwrap();
        }
    }
}

/// A folder and a symbolic link are swapped as fast as can be, in another user's folder.
#[test]
fn swaps_of_others_lead_nowhere() {
    if !with_other_users("foreign::swaps_of_others_lead_nowhere") {
        return;
    }
    let lab = lab("tmp/*");
    let theirs = lab.path("tmp/webtorrent");
    fs::create_dir_all(theirs.join("sub")).unwrap();
    symlink(lab.path("private"), theirs.join("link")).unwrap();
    give_away(&theirs, 0o755);
    for round in 0..3_000 {
        fs::create_dir_all(theirs.join(format!("new{round}"))).unwrap();
        for (a, b) in [("sub", "link"), ("link", "sub")] {
            renameat_with(
                CWD,
                theirs.join(a),
                CWD,
                theirs.join(b),
                RenameFlags::EXCHANGE,
            )
            .unwrap();
        }
        fs::write(lab.path("private").join(format!("{round}.mp4")), "secret").unwrap();
    }
    nothing_but_own(&lab, "swaps");
}

/// Thousands of another user's folders cost neither watches nor descriptors.
#[test]
fn folders_of_others_are_free() {
    if !with_other_users("foreign::folders_of_others_are_free") {
        return;
    }
    let mut lab = lab("tmp/*");
    lab.stop();
    for i in 0..3_000 {
        let path = lab.path(&format!("tmp/theirs{i}"));
        fs::create_dir(&path).unwrap();
        give_away(&path, 0o755);
    }
    let before = crate::limits::descriptors();
    lab.start("tmp/*", "*.mp4", true);
    for i in 3_000..4_000 {
        // Never ours where we watch.
        let made = lab.path("made");
        fs::create_dir(&made).unwrap();
        give_away(&made, 0o755);
        fs::rename(&made, lab.path(&format!("tmp/theirs{i}"))).unwrap();
    }
    nothing_but_own(&lab, "many");
    let (descriptors, watches) = (crate::limits::descriptors(), crate::limits::watches());
    assert!(descriptors < before + 100, "{before} → {descriptors}");
    assert!(watches < 200, "{watches} watches");
}
