//! What another process used: processor time, wake-ups, memory, its watches.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Processor time of all threads so far, in nanoseconds.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    let mut clock = 0;
    // SAFETY: writes one clockid_t, which lives here; any process id is allowed
    // (clock_getcpuclockid(3)).
    if unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) } != 0 {
        bail!("no processor clock for process {pid}");
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec, which lives here (clock_gettime(2)).
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(std::io::Error::last_os_error()).context("can't read a processor clock");
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Waits until it has used no processor time for a moment, or has ended; two seconds at most.
pub(crate) fn await_rest(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut before = None;
    while Instant::now() < deadline {
        let now = cpu_ns(pid).ok();
        if now == before {
            return;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// How often its threads went to sleep so far: each wake-up ends in one (`voluntary_ctxt_switches`,
/// proc(5)).
pub(crate) fn sleeps(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        sum += number_after(&status, "\nvoluntary_ctxt_switches:")
            .context("no count of context switches")?;
    }
    Ok(sum)
}

/// Proportional set size in KiB: its own memory and its share of what it shares.
pub(crate) fn pss_kib(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    number_after(&rollup, "\nPss:").context("no Pss in smaps_rollup")
}

/// Most resident memory so far in KiB (`VmHWM`, proc(5)).
pub(crate) fn peak_kib(pid: u32) -> Result<u64> {
    number_after(
        &fs::read_to_string(format!("/proc/{pid}/status"))?,
        "VmHWM:",
    )
    .context("no VmHWM in status")
}

/// Resident set size in KiB.
#[allow(dead_code, reason = "each bench uses its part of it")]
pub(crate) fn rss_kib(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    number_after(&rollup, "\nRss:").context("no Rss in smaps_rollup")
}

/// The inotify mask of its watch on `folder`, in hexadecimal as `/proc/PID/fdinfo` has it
/// (proc(5)).
pub(crate) fn watch_mask(pid: u32, folder: &Path) -> Result<String> {
    let inode = format!("{:x}", fs::metadata(folder)?.ino());
    watches(pid)?
        .into_iter()
        .find_map(|line| {
            (field(&line, "ino:")? == inode).then(|| field(&line, "mask:").map(str::to_owned))?
        })
        .with_context(|| format!("process {pid} doesn't watch {}", folder.display()))
}

fn watches(pid: u32) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let Ok(info) = fs::read_to_string(entry?.path()) else {
            continue;
        }; // closed in between
        lines.extend(
            info.lines()
                .filter(|line| line.starts_with("inotify "))
                .map(str::to_owned),
        );
    }
    Ok(lines)
}

fn field<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(label))
}

/// Waits until it watches something.
pub(crate) fn await_watch(pid: u32) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if watches(pid).is_ok_and(|watches| !watches.is_empty()) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("process {pid} watches nothing after 10 s");
}

/// The children of a process, oldest first.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    let (_, rest) = text.split_once(label)?;
    rest.split_whitespace().next()?.parse().ok()
}
