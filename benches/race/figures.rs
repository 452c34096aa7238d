//! The measurements, one function each.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::chart::Chart;
use crate::crowd::Crowd;
use crate::peers::{CREATED, Kind, Peer, exists};
use crate::process;
use crate::producer::{Hide, PREFIX, create, identify};
use crate::sandbox::{Fisga, Rules, Sandbox, program};
use crate::table::Table;

/// What the measurements of one run share.
#[derive(Debug)]
pub(crate) struct Run {
    quick: bool,
    /// What the chart shows.
    pub(crate) chart: Chart,
}

impl Run {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        fs::create_dir_all(env!("CARGO_TARGET_TMPDIR"))?;
        Ok(Self {
            quick,
            chart: Chart::default(),
        })
    }

    /// So many rounds, or a tenth of them.
    pub(crate) fn scaled(&self, full: u64) -> u64 {
        if self.quick { full.div_ceil(10) } else { full }
    }
}

/// Other processes, and open files in each, while files are hidden.
const BYSTANDERS: (usize, usize) = (300, 60);

// --- how soon the second link exists
// ------------------------------------------------------------------------------

pub(crate) fn latency(run: &mut Run, table: &mut Table) -> Result<()> {
    // A watcher on the producer's own processor would keep it from seeing the link until the
    // watcher sleeps.
    let processors = Processors::split()?;
    let home = Sandbox::new()?;
    let folder = home.folder("fisga")?;
    let fisga = Fisga::start(&program(), &home, &folder, Rules::Bench)?;
    let mut racers = vec![Racer::of_fisga("fisga", folder, fisga.pid())];
    for (kind, every) in [(Kind::Bare, 1), (Kind::Recipe, 10), (Kind::Original, 10)] {
        let folder = home.folder(kind.name())?;
        let staging = home.folder(&format!("{} staging", kind.name()))?;
        match Peer::start(kind, &folder, &staging, CREATED) {
            Ok(peer) => racers.push(Racer {
                name: kind.name(),
                folder,
                fisga: fisga.pid(),
                every,
                peer: Some((kind, peer, staging)),
                times: Vec::new(),
                deaths: 0,
            }),
            Err(error) => table.failed(
                &format!("latency of the {}", kind.name()),
                &format!("{error:#}"),
            ),
        }
    }
    for round in 0..run.scaled(1000) {
        for racer in racers.iter_mut().filter(|racer| round % racer.every == 0) {
            racer.run(round, &processors)?;
        }
    }
    drop(fisga);

    let ours = median(&mut racers[0].times).context("fisga linked nothing")?;
    for racer in &mut racers {
        let Some(median) = median(&mut racer.times) else {
            continue;
        };
        run.chart.latency(racer.name, median);
        let detail = format!(
            "median {median:.0} µs, p95 {:.0} µs",
            percentile(&racer.times, 0.95)
        );
        match racer.name {
            "fisga" => table.report("create → second link exists: fisga", detail),
            "bare C loop" => {
                let ratio = ours / median;
                table.goal(
                    "create → second link exists",
                    "≤ 1.15 × bare C loop",
                    ratio <= 1.15,
                    format!("{ratio:.2} × (bare C loop: {detail})"),
                );
            }
            name => {
                let died = if racer.deaths == 0 {
                    String::new()
                } else {
                    format!(", died {} times", racer.deaths)
                };
                table.report(
                    &format!("create → second link exists: {name}"),
                    format!("{detail}{died}"),
                );
            }
        }
    }
    Ok(())
}

/// The first processor for the producer, the others for the watchers, as they would divide by
/// themselves at rest.
pub(crate) struct Processors {
    first: CpuSet,
    others: CpuSet,
    all: CpuSet,
}

impl Processors {
    /// Leaves this thread, and what it starts, with the others.
    pub(crate) fn split() -> Result<Self> {
        let all = sched_getaffinity(None)?;
        let (mut first, mut others) = (CpuSet::new(), all);
        let index = (0..CpuSet::MAX_CPU)
            .find(|index| all.is_set(*index))
            .context("no processor")?;
        first.set(index);
        others.unset(index);
        let processors = Self { first, others, all };
        ensure!(others.count() > 0, "needs two processors");
        processors.watch()?;
        Ok(processors)
    }

    fn produce(&self) -> Result<()> {
        Ok(sched_setaffinity(None, &self.first)?)
    }

    fn watch(&self) -> Result<()> {
        Ok(sched_setaffinity(None, &self.others)?)
    }
}

impl Drop for Processors {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}

/// One that tries to link a file as soon as it is there.
pub(crate) struct Racer {
    name: &'static str,
    folder: PathBuf,
    /// Its process id, where it is not a peer.
    fisga: u32,
    every: u64,
    peer: Option<(Kind, Peer, PathBuf)>,
    /// Microseconds.
    pub(crate) times: Vec<f64>,
    deaths: u32,
}

impl Racer {
    /// A fisga that watches `folder`.
    pub(crate) fn of_fisga(name: &'static str, folder: PathBuf, pid: u32) -> Self {
        Self {
            name,
            folder,
            fisga: pid,
            every: 1,
            peer: None,
            times: Vec::new(),
            deaths: 0,
        }
    }

    /// Creates a file and watches its link count from the producer's side.
    pub(crate) fn run(&mut self, round: u64, processors: &Processors) -> Result<()> {
        if let Some((kind, peer, staging)) = &mut self.peer
            && !peer.alive()
        {
            self.deaths += 1;
            *peer = Peer::start(*kind, &self.folder, staging, CREATED)?;
        }
        let path = self.folder.join(format!("{PREFIX}{round:06}"));
        processors.produce()?;
        let created = Instant::now();
        let file = create(&path)?;
        loop {
            let linked = file.metadata()?.nlink() > 1;
            let passed = created.elapsed();
            if linked {
                self.times.push(passed.as_secs_f64() * 1e6);
                break;
            } else if passed > Duration::from_secs(1) {
                break;
            }
        }
        processors.watch()?;
        fs::remove_file(&path)?;
        drop(file);
        process::await_rest(
            self.peer
                .as_ref()
                .map_or(self.fisga, |(_, peer, _)| peer.pid()),
        );
        Ok(())
    }
}

// --- how many hidden files are saved
// ------------------------------------------------------------------------------

pub(crate) fn hide(run: &mut Run, table: &mut Table) -> Result<()> {
    let (processes, files) = BYSTANDERS;
    let crowd = Crowd::gather(processes, files)?;
    // Kept open, how many at once, pause between two: a few hundred files a second in each case.
    for (hold, parallel, gap, goal) in [
        (250, 32, 0, Some(1.0)),
        (20, 4, 0, Some(0.995)),
        (0, 1, 5, None),
    ] {
        let label = if hold == 0 {
            "closed at once".to_owned()
        } else {
            format!("kept open {hold} ms")
        };
        let home = Sandbox::new()?;
        let mut job = Hide {
            folder: home.folder("fisga")?,
            count: run.scaled(10_000),
            delay: Duration::ZERO,
            hold: Duration::from_millis(hold),
            gap: Duration::from_millis(gap),
            parallel,
        };
        let mut fisga = Fisga::start(&program(), &home, &job.folder, Rules::Bench)?;
        job.run()?;
        let seen = Seen::collect(&mut fisga, job.count);
        fisga.stop();
        let (identical, entries) = (identical(&fisga.library)?, history_entries(&fisga.history));
        let share = identical as f64 / job.count as f64;
        run.chart.share("fisga", &label, share);
        let figure = format!("saved of {} hidden after 0 µs, {label}", job.count);
        let measured = format!("{identical} byte-identical ({seen}; {entries} history entries)");
        match goal {
            Some(goal) => table.goal(
                &figure,
                &format!("≥ {} %", goal * 100.0),
                share >= goal,
                measured,
            ),
            None => {
                table.report(&figure, measured);
                let accounted = entries as u64 == job.count;
                table.goal(
                    "every file of it in the history",
                    "all",
                    accounted,
                    format!("{entries}"),
                );
            }
        }

        job.count = run.scaled(1000);
        for kind in [Kind::Bare, Kind::Recipe, Kind::Original] {
            job.folder = home.folder(kind.name())?;
            let staging = home.folder(&format!("{} staging", kind.name()))?;
            let Ok(mut peer) = Peer::start(kind, &job.folder, &staging, CREATED) else {
                continue;
            };
            job.run()?;
            let died = if peer.alive() { "" } else { ", then it died" };
            let share = self::identical(&peer.catch)? as f64 / job.count as f64;
            run.chart.share(kind.name(), &label, share);
            let figure = format!("the same, {label}: {}", kind.name());
            table.report(&figure, format!("{:.1} %{died}", share * 100.0));
        }
    }
    drop(crowd);
    Ok(())
}

/// What fisga said about the files of a producer.
#[derive(Debug, Default)]
struct Seen {
    saved: u64,
    dropped: u64,
    lost: u64,
    rescued: u64,
}

impl Seen {
    /// Listens until each of `count` files has its end, or nothing happens any more.
    fn collect(fisga: &mut Fisga, count: u64) -> Self {
        let mut seen = Self::default();
        while seen.saved + seen.dropped + seen.lost < count {
            let Some(event) = fisga.next_event(Duration::from_secs(10)) else {
                break;
            };
            match event["event"].as_str() {
                Some("held") if event["how"] == "rescue" => seen.rescued += 1,
                Some("saved") => seen.saved += 1,
                Some("dropped") => seen.dropped += 1,
                Some("lost") => seen.lost += 1,
                _ => {}
            }
        }
        seen
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            saved,
            dropped,
            lost,
            rescued,
        } = self;
        write!(
            out,
            "{saved} saved, {rescued} of them rescued, {dropped} dropped, {lost} lost"
        )
    }
}

/// How many different files of a producer lie below `folder`, right to the last byte.
fn identical(folder: &Path) -> Result<usize> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                found.extend(identify(&fs::read(entry.path())?));
            }
        }
    }
    Ok(found.len())
}

fn history_entries(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

// --- what the thousands of files cost that are not ours
// -----------------------------------------------------------

pub(crate) fn busy(run: &mut Run, table: &mut Table) -> Result<()> {
    let home = Sandbox::new()?;
    let folders = [
        home.folder("fisga")?,
        home.folder("bare")?,
        home.folder("inotifywait")?,
    ];
    let mut fisga = Fisga::start(&program(), &home, &folders[0], Rules::Bench)?;
    let mask = process::watch_mask(fisga.pid(), &folders[0])?;
    let bare = Peer::start(Kind::Bare, &folders[1], &home.folder("staging")?, &mask)?;
    let inotifywait = Peer::inotifywait(&folders[2]);
    let mut pids = vec![fisga.pid(), bare.pid()];
    pids.extend(inotifywait.as_ref().ok().map(Peer::pid));

    let before: Vec<u64> = pids
        .iter()
        .map(|pid| process::cpu_ns(*pid))
        .collect::<Result<_>>()?;
    let count = run.scaled(200_000);
    for start in (0..count).step_by(500) {
        for folder in &folders[..pids.len()] {
            for index in start..start + 500 {
                create(&folder.join(format!("other{index:06}")))?;
            }
            std::thread::sleep(Duration::from_millis(2)); // no queue overflows (16,384 events)
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    let after: Vec<u64> = pids
        .iter()
        .map(|pid| process::cpu_ns(*pid))
        .collect::<Result<_>>()?;
    let ms: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| (after - before) as f64 / 1e6)
        .collect();

    ensure!(
        fisga.await_event("overflow", Duration::ZERO).is_err(),
        "the queue overflowed: nothing to compare"
    );
    let figure = format!("processor time for {count} creations that match nothing");
    let ratio = ms[0] / ms[1];
    table.goal(&figure, "≤ 1.3 × bare C loop, same mask", ratio <= 1.3, {
        format!(
            "{ratio:.2} × ({:.0} ms against {:.0} ms, mask {mask})",
            ms[0], ms[1]
        )
    });
    inotifywait.context("no inotifywait to compare with")?;
    let ratio = ms[0] / ms[2];
    table.goal(&figure, "≤ 1 × inotifywait -m -e create", ratio <= 1.0, {
        format!("{ratio:.2} × (against {:.0} ms)", ms[2])
    });
    Ok(())
}

// --- at rest
// ------------------------------------------------------------------------------------------------------

pub(crate) fn idle(run: &mut Run, table: &mut Table) -> Result<()> {
    let home = Sandbox::new()?;
    let fisga = Fisga::start(&program(), &home, &home.folder("fisga")?, Rules::Bench)?;
    let seconds = run.scaled(60);
    std::thread::sleep(Duration::from_secs(2)); // started
    let before = process::sleeps(fisga.pid())?;
    std::thread::sleep(Duration::from_secs(seconds));
    let wakes = process::sleeps(fisga.pid())? - before;
    table.goal(
        &format!("wake-ups in {seconds} s while nothing happens"),
        "0",
        wakes == 0,
        wakes.to_string(),
    );
    Ok(())
}

pub(crate) fn memory(_: &mut Run, table: &mut Table) -> Result<()> {
    let program = without_tray()?;
    let home = Sandbox::new()?;
    let fisga = Fisga::start(&program, &home, &home.folder("fisga")?, Rules::Shipped)?;
    std::thread::sleep(Duration::from_secs(2)); // started
    let mib = process::pss_kib(fisga.pid())? as f64 / 1024.0;
    table.goal(
        "memory (PSS), idle, without tray",
        "≤ 4 MB",
        mib * 1.048_576 <= 4.0,
        format!("{mib:.2} MiB"),
    );
    Ok(())
}

/// The program built without the feature `tray`; this build, if it is that.
fn without_tray() -> Result<PathBuf> {
    if !cfg!(feature = "tray") {
        return Ok(program());
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without-tray");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "--quiet",
            "--no-default-features",
            "--bin",
            "fisga",
            "--manifest-path",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()?;
    ensure!(status.success(), "the build without tray failed");
    Ok(target.join("release/fisga"))
}

pub(crate) fn start(run: &mut Run, table: &mut Table) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..run.scaled(30) {
        let home = Sandbox::new()?;
        let fisga = Fisga::start(&program(), &home, &home.folder("fisga")?, Rules::Shipped)?;
        times.push(fisga.start.as_secs_f64() * 1e3);
    }
    let median = median(&mut times).context("no start at all")?;
    table.goal(
        "start → ready, shipped rules",
        "≤ 30 ms",
        median <= 30.0,
        format!("median {median:.1} ms"),
    );
    Ok(())
}

// --- big files
// ----------------------------------------------------------------------------------------------------

pub(crate) fn big(run: &mut Run, table: &mut Table) -> Result<()> {
    let tags = if run.quick { 64 } else { 512 };
    let gib = tags as f64 / 128.0;

    let home = Sandbox::new()?;
    let folder = home.folder("fisga")?;
    let mut fisga = Fisga::start(&program(), &home, &folder, Rules::Bench)?;
    let mut times = Vec::new();
    for kind in 0..3 {
        times.push(save_big(&mut fisga, &folder, (tags, kind), true)?);
    }
    drop(fisga);
    let ms = median(&mut times).context("nothing was saved")?;
    table.goal(
        &format!("saving {gib} GiB on the same file system"),
        "≤ 10 ms",
        ms <= 10.0,
        format!("median {ms:.1} ms of {times:.1?}"),
    );

    let shared_memory = Path::new("/dev/shm");
    let other = Sandbox::on(shared_memory)?;
    let folder = other.folder("fisga")?;
    ensure!(
        fs::metadata(&folder)?.dev() != fs::metadata(home.folder("library")?)?.dev(),
        "/dev/shm and the build are on one file system"
    );
    let (mut ours, mut theirs, mut unsynced) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..2 {
        let home = Sandbox::new()?;
        let mut fisga = Fisga::start(&program(), &home, &folder, Rules::Bench)?;
        ours.push(save_big(&mut fisga, &folder, (tags, 0), false)?);
        drop(fisga);
        let source = folder.join("source");
        write_big(&mut create(&source)?, (tags, 0))?;
        let (copied, synced) = copy_and_sync(&source, &home.folder("copies")?.join("copy"))?;
        unsynced.push(copied);
        theirs.push(synced);
        fs::remove_file(&source)?;
    }
    let rate = |ms: &[f64]| ms.len() as f64 * gib * 1000.0 / ms.iter().sum::<f64>();
    let ratio = rate(&ours) / rate(&theirs);
    table.goal(
        &format!("saving {gib} GiB from tmpfs to disk"),
        "≥ 0.95 × cp and sync",
        ratio >= 0.95,
        format!(
            "{ratio:.2} × ({:.2} GiB/s against {:.2} GiB/s)",
            rate(&ours),
            rate(&theirs)
        ),
    );
    table.report(
        "the same against cp alone, which leaves the bytes in memory",
        format!(
            "{:.2} × (against {:.2} GiB/s)",
            rate(&ours) / rate(&unsynced),
            rate(&unsynced)
        ),
    );
    Ok(())
}

/// Hides a big file, and returns the milliseconds from settled to saved.
fn save_big(fisga: &mut Fisga, folder: &Path, film: (u32, u8), synced: bool) -> Result<f64> {
    let path = folder.join(format!("{PREFIX}Big"));
    let mut file = create(&path)?;
    fisga.await_event("held", Duration::from_secs(5))?;
    fs::remove_file(&path)?;
    write_big(&mut file, film)?;
    if synced {
        file.sync_all()?; // what is measured is the saving, not the producer's own writing
    }
    drop(file);
    let saved = fisga.await_event("saved", Duration::from_secs(120))?;
    // An FLV without metadata doesn't promise a length: whole as far as it goes.
    let verdict = saved["verdict"].as_str().unwrap_or_default();
    ensure!(
        ["complete", "open-ended"].contains(&verdict),
        "judged {verdict}"
    );
    saved["ms"].as_f64().context("no time in the event")
}

/// An FLV of so many frames of 8 MiB each; another `kind` is another film.
fn write_big(file: &mut File, (tags, kind): (u32, u8)) -> Result<()> {
    const PAYLOAD: u32 = (8 << 20) - 15;
    let mut frame = vec![0x5a ^ kind; PAYLOAD as usize];
    file.write_all(b"FLV\x01\x01\0\0\0\x09\0\0\0\0")?;
    for tag in 0..tags {
        let [_, size @ ..] = PAYLOAD.to_be_bytes();
        let [high, time @ ..] = (tag * 2000).to_be_bytes();
        frame[0] = if tag == 0 { 0x12 } else { 0x22 };
        frame[1..5].copy_from_slice(&tag.to_be_bytes());
        file.write_all(&[
            9, size[0], size[1], size[2], time[0], time[1], time[2], high, 0, 0, 0,
        ])?;
        file.write_all(&frame)?;
        file.write_all(&(PAYLOAD + 11).to_be_bytes())?;
    }
    Ok(())
}

/// `cp`, and what fisga promises too: that the bytes are on the disk. Returns the milliseconds of
/// `cp` and of both.
fn copy_and_sync(from: &Path, to: &Path) -> Result<(f64, f64)> {
    if !exists("cp") {
        bail!("no cp");
    }
    let start = Instant::now();
    let copied = Command::new("cp").arg(from).arg(to).status()?;
    let unsynced = start.elapsed();
    let synced = Command::new("sync").arg(to).status()?;
    ensure!(copied.success() && synced.success(), "cp or sync failed");
    Ok((
        unsynced.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3,
    ))
}

// --- one look at all processes
// ------------------------------------------------------------------------------------

pub(crate) fn scan(run: &mut Run, table: &mut Table) -> Result<()> {
    ensure!(exists("lsof"), "lsof is missing (Debian: lsof)");
    let (processes, files) = BYSTANDERS;
    let crowd = Crowd::gather(processes, files)?;
    let (mut ours, mut theirs, mut seen) = (Vec::new(), Vec::new(), 0);
    for _ in 0..run.scaled(20) {
        let start = Instant::now();
        seen = fisga::engine::processes::survey().descriptors;
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        Command::new("lsof").arg("+L1").output()?;
        theirs.push(start.elapsed().as_secs_f64() * 1e3);
    }
    drop(crowd);
    let (ours, theirs) = (
        median(&mut ours).unwrap_or_default(),
        median(&mut theirs).unwrap_or_default(),
    );
    table.goal(
        "one rescue scan against `lsof +L1`",
        "≥ 10 × faster",
        theirs >= 10.0 * ours,
        format!(
            "{:.1} × ({ours:.1} ms against {theirs:.0} ms, {seen} descriptors)",
            theirs / ours
        ),
    );
    Ok(())
}

// --- numbers
// ------------------------------------------------------------------------------------------------------

/// Sorts, and returns the middle.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Of sorted values.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
