//! A mount namespace of a test's own, where it may mount what it likes without privileges.

use std::{env, path::Path, process::Command};

/// Set in the process in which a test's body runs.
const INSIDE: &str = "FISGA_TEST_NAMESPACE";

/// Runs the body of the named test in a mount namespace of its own, where it may mount what it
/// likes: `false` in the test process, `true` in the one that it starts for this.
pub fn in_namespace(test: &str) -> bool {
    inside(test, || {
        vec![
            "--user",
            "--map-root-user",
            "--mount",
            "--propagation",
            "private",
        ]
    })
}

/// Runs the body of the named test where files can be given to other users: as root, else in a user
/// namespace with several users. `false` in the test process, `true` in the one that it starts for
/// this.
pub fn with_other_users(test: &str) -> bool {
    inside(test, || {
        if rustix::process::getuid().is_root() {
            return Vec::new();
        }
        super::program("newuidmap", "uidmap");
        vec!["--user", "--map-root-user", "--map-auto"]
    })
}

/// Runs the named test once more by unshare(1) with these options; `true` in that run.
fn inside(test: &str, options: impl FnOnce() -> Vec<&'static str>) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let options = options();
    let output = Command::new("unshare")
        .args(&options)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (Debian package util-linux)");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "by unshare {options:?}:\n{text}"
    );
    false
}

/// Mounts an empty tmpfs with these options.
pub fn mount(options: &str, at: &Path) {
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "fisga-test"])
        .arg(at)
        .status();
    assert!(status.expect("mount (Debian package mount)").success());
}

/// Changes the flags of a mount: `remount,bind,ro`. Without `bind` the file system's own options
/// are given again (mount(8)), and a user's number among them means nothing in the namespace.
pub fn mount_again(options: &str, at: &Path) {
    assert!(
        Command::new("mount")
            .args(["-o", options])
            .arg(at)
            .status()
            .unwrap()
            .success()
    );
}
