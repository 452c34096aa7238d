//! The name of the program that a process belongs to. A browser's helper processes have names that
//! no user knows.

use std::path::{Path, PathBuf};

use super::keeper;
use crate::process::ProcessStat;

/// Folders that many programs share: two programs there need not belong together.
const SHARED: [&str; 5] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin"];
/// Helpers that lie apart from their program, as `/proc/PID/comm` cuts their names (proc(5)).
const HELPERS: [&str; 3] = ["WebKitWebProces", "WebKitNetworkPr", "bwrap"];
/// Most steps from a helper to its program.
const MOST: usize = 8;

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    comm: String,
    exe: Option<PathBuf>,
}

/// The name of the program that a process belongs to.
pub(crate) fn name(pid: u32) -> String {
    climb(pid, read)
}

/// Goes up to the parent as long as the process is a helper, or both programs lie in one folder
/// that is not one that all programs share.
fn climb(pid: u32, read: impl Fn(u32) -> Option<Process>) -> String {
    let Some(mut process) = read(pid) else {
        return String::new();
    };
    for _ in 0..MOST {
        if keeper::is_keeper(&process.comm) {
            break;
        }
        let Some(parent) = Some(process.parent).filter(|&pid| pid > 1).and_then(&read) else {
            break;
        };
        let together = |a: &Path, b: &Path| {
            a.parent() == b.parent()
                && !a
                    .parent()
                    .is_some_and(|dir| SHARED.iter().any(|shared| dir == *shared))
        };
        let same = matches!((&process.exe, &parent.exe), (Some(a), Some(b)) if together(a, b));
        if !same && !HELPERS.contains(&process.comm.as_str()) {
            break;
        }
        process = parent;
    }
    process.comm
}

fn read(pid: u32) -> Option<Process> {
    let ProcessStat { comm, parent, .. } = ProcessStat::of(pid)?;
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    Some(Process { parent, comm, exe })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let table: [(u32, u32, &str, &str); 9] = [
            (2, 1, "gnome-shell", "/usr/bin/gnome-shell"),
            (10, 2, "firefox-esr", "/usr/lib/firefox-esr/firefox-esr"),
            (
                11,
                10,
                "Isolated Web Co",
                "/usr/lib/firefox-esr/firefox-esr",
            ),
            (20, 2, "MiniBrowser", "/usr/lib/webkit2gtk-4.1/MiniBrowser"),
            (
                21,
                20,
                "WebKitWebProces",
                "/usr/lib/webkit2gtk-4.1/WebKitWebProcess",
            ),
            (30, 2, "epiphany", "/usr/bin/epiphany"),
            (31, 30, "bwrap", "/usr/bin/bwrap"),
            (
                32,
                31,
                "WebKitWebProces",
                "/usr/lib/webkit2gtk-4.1/WebKitWebProcess",
            ),
            (40, 2, "mpv", "/usr/bin/mpv"),
        ];
        let read = |pid| {
            let (_, parent, comm, exe) = table.iter().find(|row| row.0 == pid)?;
            Some(Process {
                parent: *parent,
                comm: (*comm).into(),
                exe: Some((*exe).into()),
            })
        };
        let cases = [
            (10, "firefox-esr"),
            (11, "firefox-esr"),
            (21, "MiniBrowser"),
            (32, "epiphany"),
            (40, "mpv"),
            (99, ""),
        ];
        for (pid, want) in cases {
            assert_eq!(climb(pid, read), want, "{pid}");
        }
    }

    #[test]
    fn our_own_name_is_there() {
        assert!(!name(std::process::id()).is_empty());
    }
}
