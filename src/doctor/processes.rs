//! What our other processes have, and which of them can't be looked into.

use std::{fs, path::Path};

use rustix::process::getuid;

use super::{Finding, Level};
use crate::{engine::processes, text};

/// How much of inotify all readable processes of the user have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inotify {
    pub(super) instances: u64,
    pub(super) watches: u64,
}

pub(super) fn findings() -> Vec<Finding> {
    let began = std::time::Instant::now();
    let survey = processes::survey();
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let seen = Finding::new(
        "processes",
        Level::Ok,
        format!(
            "a look at {} descriptors of {} processes took {ms} ms",
            survey.descriptors, survey.processes
        ),
    )
    .with("processes", survey.processes)
    .with("descriptors", survey.descriptors)
    .with("ms", ms);
    let mut names: Vec<String> = own()
        .filter(|pid| shut(pid))
        .map(|pid| name(&pid))
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return vec![seen];
    }
    let text = format!(
        "files that these programs hide can't be rescued, only linked in time: {}",
        names.join(", ")
    );
    vec![
        seen,
        Finding::new("processes", Level::Note, text).with("unreadable", names),
    ]
}

/// Counts inotify instances and their watches (proc(5), /proc/PID/fdinfo).
pub(super) fn inotify() -> Inotify {
    let mut used = Inotify::default();
    for pid in own() {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            if !fs::read_link(descriptor.path())
                .is_ok_and(|target| target == Path::new("anon_inode:inotify"))
            {
                continue;
            }
            let number = descriptor.file_name();
            let info =
                fs::read_to_string(Path::new("/proc").join(&pid).join("fdinfo").join(number));
            used.instances += 1;
            used.watches += info
                .unwrap_or_default()
                .lines()
                .filter(|line| line.starts_with("inotify "))
                .count() as u64;
        }
    }
    used
}

/// Process ids of our user, ourselves included.
pub(super) fn own() -> impl Iterator<Item = String> {
    let uid = getuid().as_raw().to_string();
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter(move |pid| {
            // The owner of the folder itself is root for a process that is not dumpable (proc(5)).
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Uid:"))
                .unwrap_or_default();
            line.split_whitespace().next() == Some(&uid)
        })
}

/// Whether the process keeps its descriptors to itself (prctl(2), PR_SET_DUMPABLE). One that has
/// ended doesn't.
fn shut(pid: &str) -> bool {
    let error = fs::read_dir(format!("/proc/{pid}/fd")).err();
    error.is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
}

/// What the process is called, on one line.
pub(super) fn name(pid: &str) -> String {
    text::one_line(
        fs::read_to_string(format!("/proc/{pid}/comm"))
            .unwrap_or_default()
            .trim_end(),
    )
}
