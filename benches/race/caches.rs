//! What the browsers' disk caches cost: entries that are there, and entries that are of no concern.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cache::entry;
use crate::figures::{Processors, Racer, Run, median};
use crate::process;
use crate::sandbox::{Fisga, Rules, Sandbox, program};
use crate::table::Table;

/// Where Chromium keeps its entries, in a home of ours.
pub(crate) const CACHE: &str = "cache/chromium/Default/Cache/Cache_Data";

/// Entries that were there before.
pub(crate) fn entries(run: &mut Run, table: &mut Table) -> Result<()> {
    let home = Sandbox::new()?;
    let cache = home.folder(CACHE)?;
    let count = run.scaled(100_000);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let start = |times: &mut Vec<f64>| -> Result<()> {
        for _ in 0..run.scaled(20) {
            times.push(
                Fisga::start(&program(), &home, &cache, Rules::Caches)?
                    .start
                    .as_secs_f64()
                    * 1e3,
            );
        }
        Ok(())
    };
    start(&mut without)?;
    for number in 0..count {
        entry(
            &cache,
            number,
            &format!("https://site.example/{number}.png"),
            "image/png",
            b"\x89PNG",
        )?;
    }
    start(&mut with)?;
    let (with, without) = (
        median(&mut with).context("no start")?,
        median(&mut without).context("no start")?,
    );
    table.goal(
        &format!("start → ready with {count} cache entries"),
        "≤ 30 ms",
        with <= 30.0,
        format!("median {with:.1} ms ({without:.1} ms with none)"),
    );
    Ok(())
}

/// A page of pictures: what it costs, and how soon the last of them is let go.
pub(crate) fn images(_: &mut Run, table: &mut Table) -> Result<()> {
    let home = Sandbox::new()?;
    let cache = home.folder(CACHE)?;
    let fisga = Fisga::start(&program(), &home, &cache, Rules::Caches)?;
    process::await_rest(fisga.pid());
    let before = process::cpu_ns(fisga.pid())?;
    let picture = [&b"\x89PNG\r\n\x1a\n"[..], &vec![7; 40_000]].concat();
    let browse = || -> Result<()> {
        for number in 0..200 {
            entry(
                &cache,
                number,
                &format!("https://site.example/{number}.png"),
                "image/png",
                &picture,
            )?;
        }
        Ok(())
    };
    let longest = longest_stay(&fisga.staging()?, 200, browse)?.as_secs_f64() * 1e3;
    process::await_rest(fisga.pid());
    let ms = (process::cpu_ns(fisga.pid())? - before) as f64 / 1e6;
    table.goal(
        "processor time for 200 pictures",
        "< 20 ms",
        ms < 20.0,
        format!("{ms:.1} ms"),
    );
    table.goal(
        "the longest of them held",
        "≤ 1 s",
        longest <= 1e3,
        format!("{longest:.1} ms"),
    );
    Ok(())
}

/// The longest time that a name stays in `folder`, of the `count` that come and go while `act` runs
/// and after it.
fn longest_stay(
    folder: &Path,
    count: usize,
    act: impl FnOnce() -> Result<()> + Send,
) -> Result<Duration> {
    let mut inotify = Inotify::init()?;
    inotify
        .watches()
        .add(folder, WatchMask::CREATE | WatchMask::DELETE)?;
    let (mut here, mut stays) = (HashMap::new(), Vec::new());
    let patience = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    std::thread::scope(|scope| {
        let acting = scope.spawn(act);
        while stays.len() < count {
            let ready = poll(&mut [PollFd::new(&inotify, PollFlags::IN)], Some(&patience))?;
            ensure!(ready > 0, "{} of {count} were held and let go", stays.len());
            for event in inotify.read_events(&mut [0; 16 << 10])? {
                let name = event.name.context("an event without a name")?.to_owned();
                match here.remove(&name) {
                    None => drop(here.insert(name, Instant::now())),
                    Some(since) => stays.push(Instant::elapsed(&since)),
                }
            }
        }
        acting.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        stays.into_iter().max().context("nothing was held")
    })
}

/// How soon a file is linked with the cache sources on, against the same program with them off.
pub(crate) fn watched(run: &mut Run, table: &mut Table) -> Result<()> {
    let processors = Processors::split()?;
    let mut racers = Vec::new();
    for (name, rules) in [("off", Rules::Bench), ("on", Rules::BenchAndCaches)] {
        let home = Sandbox::new()?;
        home.folder(CACHE)?;
        let folder = home.folder("fisga")?;
        let fisga = Fisga::start(&program(), &home, &folder, rules)?;
        racers.push((Racer::of_fisga(name, folder, fisga.pid()), fisga, home));
    }
    for round in 0..run.scaled(1000) {
        for (racer, _, _) in &mut racers {
            racer.run(round, &processors)?;
        }
    }
    let mut medians = racers
        .iter_mut()
        .map(|(racer, _, _)| median(&mut racer.times));
    let (off, on) = (medians.next().flatten(), medians.next().flatten());
    let (off, on) = (
        off.context("nothing was linked")?,
        on.context("nothing was linked")?,
    );
    table.goal(
        "create → second link exists, cache sources on",
        "≤ 1.15 × off",
        on <= 1.15 * off,
        format!("{:.2} × ({on:.0} µs against {off:.0} µs)", on / off),
    );
    Ok(())
}
