//! The measurements, one function each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::json;

use crate::common::process::Group;
use crate::common::sandbox::{Fisga, Sandbox};
use crate::common::session::{FISGA, Item, OBJECT, PATIENCE, Session, eventually, terminate};
use crate::host::{Host, Notifications};
use crate::process;
use crate::table::Table;

/// A measurement; `true` asks for a tenth of the work.
pub(crate) type Measure = fn(bool, &mut Table) -> Result<()>;

/// All of them by name, in the order of the table.
pub(crate) const ALL: &[(&str, Measure)] = &[
    ("start", start),
    ("memory", memory),
    ("idle", idle),
    ("saves", saves),
    ("menus", menus),
    ("panels", panels),
    ("stop", stop),
    ("hold", hold),
];

/// Until the tray has been quiet for a second, what its start or a burst needed is still there.
const SETTLED: Duration = Duration::from_secs(2);
/// Resident memory may differ by so much, in KiB.
const FLAT: i64 = 2_000_000 / 1024;

fn quiet(command: &mut Command) -> Group {
    Group::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The smallest tray program, built as fisga is.
fn peer() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .context("no build folder")?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "--quiet",
            "--example",
            "smallest-tray",
            "--manifest-path",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status()?;
    ensure!(status.success(), "the smallest tray program can't be built");
    Ok(target.join("release/examples/smallest-tray"))
}

// --- until the icon is there
// --------------------------------------------------------------------------------------

fn start(quick: bool, table: &mut Table) -> Result<()> {
    let (peer, session) = (peer()?, Session::on_x11());
    let host = Host::start(&session)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..if quick { 5 } else { 30 } {
        for (mut command, times) in [
            (session.sandbox.fisga(&[]), &mut ours),
            (session.sandbox.command(&peer), &mut theirs),
        ] {
            let begun = Instant::now();
            let mut program = quiet(&mut command);
            let there = host.registered.recv_timeout(PATIENCE)?;
            times.push((there - begun).as_secs_f64() * 1e3);
            program.signal(Signal::TERM);
            program.wait(PATIENCE);
        }
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    table.goal(
        "start → icon registered",
        "≤ 2 × the smallest tray program",
        ours <= 2.0 * theirs,
        {
            format!(
                "{:.2} × (median {ours:.1} ms against {theirs:.1} ms)",
                ours / theirs
            )
        },
    );
    Ok(())
}

// --- at rest
// ------------------------------------------------------------------------------------------------------

/// A session with a panel and a notification server, which share the toolkit's memory, as they do
/// on a desktop.
fn desktop() -> (Session, [Group; 3]) {
    let session = Session::on_x11();
    let parts = [session.openbox(), session.dunst(), session.panel(false)];
    (session, parts)
}

fn memory(_: bool, table: &mut Table) -> Result<()> {
    let peer = peer()?;
    let mut mb = |name: &str, fisga: bool| -> Result<f64> {
        let (session, _parts) = desktop();
        let program = if fisga {
            session.fisga()
        } else {
            quiet(&mut session.sandbox.command(&peer))
        };
        Item::find(&session);
        process::await_rest(program.id());
        std::thread::sleep(Duration::from_secs(3)); // started
        let (pss, own) = (process::pss_kib(program.id())?, private_kib(program.id())?);
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        let text = format!("{:.1} MB, {:.1} MB of it its own alone", mb(pss), mb(own));
        match name {
            "fisga" => table.goal(
                "memory (PSS), idle, with tray",
                "≤ 10 MB",
                mb(pss) <= 10.0,
                text,
            ),
            name => table.report(&format!("the same: {name}"), text),
        }
        Ok(mb(pss))
    };
    mb("fisga", true)?;
    mb("the smallest tray program", false)?;
    Ok(())
}

fn idle(quick: bool, table: &mut Table) -> Result<()> {
    let (session, _parts) = desktop();
    let fisga = session.fisga();
    Item::find(&session);
    // Idle threads of the bus library end after a while, and some 17 s after its start GTK's loop
    // wakes up once.
    std::thread::sleep(Duration::from_secs(20));
    let seconds = if quick { 6 } else { 60 };
    let before = sleeps_by_thread(fisga.id())?;
    std::thread::sleep(Duration::from_secs(seconds));
    let after = sleeps_by_thread(fisga.id())?;
    let woken: Vec<String> = after
        .iter()
        .filter_map(|(thread, now)| {
            let more = now - before.get(thread).copied().unwrap_or(0);
            (more > 0).then(|| format!("{} {more}", thread.1))
        })
        .collect();
    let what = if woken.is_empty() {
        "none".into()
    } else {
        woken.join(", ")
    };
    table.goal(
        &format!("wake-ups in {seconds} s while nothing happens, with tray"),
        "0",
        woken.is_empty(),
        what,
    );
    Ok(())
}

// --- nothing grows
// ------------------------------------------------------------------------------------------------

fn saves(quick: bool, table: &mut Table) -> Result<()> {
    let session = Session::on_x11();
    session.sandbox.configure(json!({ "notifications": true }));
    let (_host, notifications) = (Host::start(&session)?, Notifications::start(&session)?);
    let fisga = session.fisga();
    let clip = fs::read(tiny(&session)?)?;
    let save = |numbers: std::ops::Range<u64>| -> Result<()> {
        for number in numbers.clone() {
            let path = session.sandbox.tmp().join(format!("Flash-{number}"));
            // A box that players skip makes each one another video (ISO/IEC 14496-12, 8.1.2).
            let skipped = [&16_u32.to_be_bytes()[..], b"free", &number.to_be_bytes()].concat();
            fs::write(path, [&clip[..], &skipped].concat())?;
            if number % 50 == 49 {
                session.wait_status("saved", |s| s["saved_today"] == number + 1);
            }
        }
        session.wait_status("saved", |s| s["saved_today"] == numbers.end);
        Ok(())
    };
    std::thread::sleep(SETTLED);
    save(0..50)?; // what the first ones load stays
    let count = if quick { 100 } else { 1000 };
    flat(
        table,
        &format!("{count} saves that nobody clicks"),
        &fisga,
        || save(50..50 + count),
    )?;
    let popups = notifications.shown.try_iter().count();
    table.report("popups for them", popups.to_string());
    Ok(())
}

fn menus(quick: bool, table: &mut Table) -> Result<()> {
    let session = Session::on_x11();
    let _host = Host::start(&session)?;
    let fisga = session.fisga();
    let (item, bus) = (Item::find(&session), session.connect());
    std::thread::sleep(SETTLED);
    let update = |count: u32| -> Result<()> {
        for _ in 0..count / 2 {
            for method in ["Pause", "Resume"] {
                let until = if method == "Pause" {
                    vec![0_i64]
                } else {
                    vec![]
                };
                match until.first() {
                    Some(until) => {
                        bus.call_method(Some(FISGA), OBJECT, Some(FISGA), method, until)?
                    }
                    None => bus.call_method(Some(FISGA), OBJECT, Some(FISGA), method, &())?,
                };
                item.entries();
            }
        }
        Ok(())
    };
    update(50)?;
    let count = if quick { 100 } else { 1000 };
    flat(
        table,
        &format!("{count} menu updates, each fetched by the host"),
        &fisga,
        || update(count),
    )
}

fn panels(quick: bool, table: &mut Table) -> Result<()> {
    let session = Session::on_x11();
    let fisga = session.fisga();
    let restart = |real: usize, least: usize| -> Result<()> {
        for _ in 0..real {
            let mut panel = session.panel(false);
            Item::find(&session);
            panel.stop();
        }
        for _ in 0..least {
            // The one before may still be leaving.
            let host = eventually("the host's name is free", || Host::start(&session).ok());
            host.registered.recv_timeout(PATIENCE)?;
            Item::find(&session).entries();
        }
        Ok(())
    };
    restart(1, 0)?;
    std::thread::sleep(SETTLED);
    restart(2, 3)?;
    let (real, least) = if quick { (2, 8) } else { (10, 90) };
    let what = format!(
        "{} panel restarts, {real} of them of xfce4-panel",
        real + least
    );
    flat(table, &what, &fisga, || restart(real, least))
}

/// Resident memory, threads and descriptors before and after.
fn flat(
    table: &mut Table,
    what: &str,
    fisga: &Group,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let measure = || -> Result<(i64, usize, usize)> {
        process::await_rest(fisga.id());
        let count =
            |of: &str| fs::read_dir(format!("/proc/{}/{of}", fisga.id())).map(Iterator::count);
        Ok((
            process::rss_kib(fisga.id())? as i64,
            count("task")?,
            count("fd")?,
        ))
    };
    std::thread::sleep(SETTLED);
    let before = measure()?;
    work()?;
    // Threads that wait for more work end after half a second.
    std::thread::sleep(SETTLED);
    let after = measure()?;
    let more = after.0 - before.0;
    let same = after.2.abs_diff(before.2) <= 2 && after.1.abs_diff(before.1) <= 2;
    table.goal(
        &format!("memory (RSS) after {what}"),
        "± 2 MB",
        more.abs() <= FLAT && same,
        {
            format!(
                "{:+.2} MB of {:.1} MB (threads {} → {}, descriptors {} → {})",
                more as f64 * 1024.0 / 1e6,
                before.0 as f64 * 1024.0 / 1e6,
                before.1,
                after.1,
                before.2,
                after.2
            )
        },
    );
    Ok(())
}

// --- the end
// ------------------------------------------------------------------------------------------------------

fn stop(quick: bool, table: &mut Table) -> Result<()> {
    let (session, _parts) = desktop();
    let mut times = Vec::new();
    for _ in 0..if quick { 3 } else { 20 } {
        let fisga = session.fisga();
        Item::find(&session);
        times.push(terminate(fisga).as_secs_f64() * 1e3);
    }
    let (median, worst) = (
        median(&mut times),
        times.last().copied().unwrap_or_default(),
    );
    table.goal(
        "SIGTERM → exit, with tray",
        "≤ 100 ms",
        worst <= 100.0,
        format!("median {median:.0} ms, worst {worst:.0} ms"),
    );
    Ok(())
}

// --- the desktop delays no hold
// -----------------------------------------------------------------------------------

fn hold(quick: bool, table: &mut Table) -> Result<()> {
    let (session, parts) = desktop();
    session.sandbox.configure(json!({ "notifications": true }));
    let tray = session.fisga();
    Item::find(&session);
    parts[1].signal(Signal::STOP); // dunst
    let alone = Sandbox::new();
    let watch: Fisga = alone.watch();
    let clip = tiny(&session)?;
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..if quick { 100 } else { 1000 } {
        if round % 100 == 0 {
            // Something to tell the server of.
            fs::copy(
                &clip,
                session.sandbox.tmp().join(format!("Flash-told-{round}")),
            )?;
            process::await_rest(tray.id());
        }
        for (folder, pid, times) in [
            (session.sandbox.tmp(), tray.id(), &mut ours),
            (alone.tmp(), watch.id(), &mut theirs),
        ] {
            times.extend(linked_after(&folder.join(format!("Flash-{round}")))?);
            process::await_rest(pid);
        }
    }
    terminate(tray);
    watch.stop();
    parts[1].signal(Signal::CONT);
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    let figure = "create → second link exists, with tray and a notification server that hangs";
    table.goal(
        figure,
        "≤ 1.15 × without a desktop",
        ours <= 1.15 * theirs,
        {
            format!(
                "{:.2} × (median {ours:.0} µs against {theirs:.0} µs)",
                ours / theirs
            )
        },
    );
    Ok(())
}

/// Creates a file and looks at its link count: after how many microseconds there are two.
fn linked_after(path: &Path) -> Result<Option<f64>> {
    let created = Instant::now();
    let file = File::create_new(path)?;
    let mut times = None;
    while times.is_none() && created.elapsed() < Duration::from_secs(1) {
        times = (file.metadata()?.nlink() > 1).then(|| created.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    Ok(times)
}

// --- helpers
// ------------------------------------------------------------------------------------------------------

/// A video of a few kilobytes.
fn tiny(session: &Session) -> Result<PathBuf> {
    let path = session.sandbox.path("tiny.mp4");
    let status = Command::new(crate::common::program("ffmpeg", "ffmpeg"))
        .args([
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=64x48:rate=5:duration=2",
        ])
        .args(["-pix_fmt", "yuv420p", "-movflags", "+faststart"])
        .arg(&path)
        .status()?;
    ensure!(status.success(), "ffmpeg makes no video");
    Ok(path)
}

/// How often each thread went to sleep so far, by id and name.
fn sleeps_by_thread(pid: u32) -> Result<BTreeMap<(String, String), u64>> {
    let mut all = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let status = fs::read_to_string(task.path().join("status"))?;
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let name = fs::read_to_string(task.path().join("comm"))?
            .trim()
            .to_owned();
        let id = task.file_name().to_string_lossy().into_owned();
        all.insert(
            (id, name),
            count
                .context("no count of context switches")?
                .trim()
                .parse()?,
        );
    }
    Ok(all)
}

/// What no other process shares, in KiB.
fn private_kib(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private
        .map(|line| {
            Ok(line
                .split_whitespace()
                .nth(1)
                .context("no number")?
                .parse::<u64>()?)
        })
        .sum()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
