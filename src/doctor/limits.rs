//! What the kernel allows.

use std::{fs, str::FromStr};

use rustix::process::{Resource, getrlimit};

use super::{Finding, Level, processes};

pub(super) fn findings() -> Vec<Finding> {
    let used = processes::inotify();
    let limit = |name: &str| read::<u64>(&format!("/proc/sys/fs/inotify/{name}"));
    vec![
        share(
            "watches",
            used.watches,
            limit("max_user_watches"),
            "max_user_watches",
        ),
        share(
            "instances",
            used.instances,
            limit("max_user_instances"),
            "max_user_instances",
        ),
        queue(limit("max_queued_events")),
        leases(read::<u8>("/proc/sys/fs/leases-enable")),
        hardlinks(read::<u8>("/proc/sys/fs/protected_hardlinks")),
        descriptors(),
    ]
}

fn read<T: FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A limit of all programs of the user together (inotify(7), "/proc interfaces").
fn share(what: &str, used: u64, limit: Option<u64>, sysctl: &str) -> Finding {
    let Some(limit) = limit else {
        return Finding::new(
            "inotify",
            Level::Note,
            format!("the limit of {what} can't be read"),
        );
    };
    let text = format!("{used} of {limit} {what} are in use by your programs");
    // The last tenth is what a browser or an editor takes at once.
    let level = if used.saturating_mul(10) >= limit.saturating_mul(9) {
        Level::Problem
    } else {
        Level::Ok
    };
    let finding = Finding::new("inotify", level, text)
        .with("used", used)
        .with("limit", limit);
    match level {
        Level::Ok => finding,
        _ => finding.advise(sysctl_line(
            &format!("fs.inotify.{sysctl}"),
            limit.saturating_mul(4),
        )),
    }
}

fn queue(limit: Option<u64>) -> Finding {
    let Some(limit) = limit else {
        return Finding::new(
            "inotify",
            Level::Note,
            "the length of the event queue can't be read",
        );
    };
    let finding = |level| {
        Finding::new("inotify", level, format!("{limit} events wait at most")).with("limit", limit)
    };
    match limit {
        16_384.. => finding(Level::Ok),
        _ => finding(Level::Note).advise(sysctl_line("fs.inotify.max_queued_events", 16_384)),
    }
}

/// fcntl(2), "Leases": they show whether anyone still has a file open for writing.
fn leases(enabled: Option<u8>) -> Finding {
    match enabled {
        Some(0) => {
            let text = "leases are off: that a file is finished is found out later, from /proc";
            Finding::new("kernel", Level::Note, text).advise(sysctl_line("fs.leases-enable", 1))
        }
        _ => Finding::new(
            "kernel",
            Level::Ok,
            "leases are on: a finished file is noticed at once",
        ),
    }
}

/// proc_sys_fs(5), protected_hardlinks. fisga links its own user's files only, so either is well.
fn hardlinks(protected: Option<u8>) -> Finding {
    let text = match protected {
        Some(0) => {
            "protected_hardlinks is 0: anyone may link anyone's files (fisga links yours only)"
        }
        Some(_) => "protected_hardlinks is on: your own files can be linked, others' can't",
        None => "protected_hardlinks can't be read",
    };
    Finding::new("kernel", Level::Ok, text).with("protected_hardlinks", protected)
}

/// Each held file takes a descriptor; fisga raises the soft limit to the hard one.
fn descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile).maximum;
    let text = match limit {
        Some(limit) => format!("{limit} files can be held at once"),
        None => "any number of files can be held at once".into(),
    };
    let level = if limit.is_some_and(|limit| limit < 1024) {
        Level::Note
    } else {
        Level::Ok
    };
    Finding::new("kernel", level, text).with("descriptors", limit)
}

fn sysctl_line(key: &str, value: u64) -> String {
    format!(
        "as root: sysctl {key}={value} (to stay: put {key}={value} into /etc/sysctl.d/50-fisga.conf)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_near_come_with_the_line_to_set() {
        let cases = [
            (0, 100, Level::Ok),
            (89, 100, Level::Ok),
            (90, 100, Level::Problem),
            (200, 100, Level::Problem),
        ];
        for (used, limit, level) in cases {
            let finding = share("watches", used, Some(limit), "max_user_watches");
            assert_eq!(finding.level, level, "{used} of {limit}");
            let advice = finding.advice.unwrap_or_default();
            assert_eq!(
                advice.contains("sysctl fs.inotify.max_user_watches=400 "),
                level == Level::Problem
            );
        }
        assert_eq!(share("watches", 0, None, "").level, Level::Note);
        assert_eq!(queue(Some(1000)).level, Level::Note);
        assert_eq!(queue(Some(16_384)).level, Level::Ok);
        assert_eq!(leases(Some(0)).level, Level::Note);
    }
}
