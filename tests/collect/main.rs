//! The collector against a model: random sites are played, and of each file that comes out it is
//! known of which film every sample is.
//!
//! 10,000 sites in each run. More of them, and others:
//!
//! ```sh
//! FISGA_SITES=1000000 cargo test --release --test collect
//! FISGA_SEED=7 cargo test --test collect
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod media;
mod site;

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    io::Seek,
    path::Path,
    time::{Duration, Instant},
};

use fisga::{
    media::Verdict,
    rule::Source,
    stream::{
        Storage,
        collect::{Collector, HeldEntry, Limits, Outcome},
    },
};
use media::{Mark, marks};
use site::{Film, Site};

/// What users have.
const LIMITS: Limits = Limits {
    min_size: 1 << 20,
    min_duration: Duration::from_secs(10),
};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().expect(name))
}

#[test]
fn every_file_is_a_stretch_of_one_film() {
    let (sites, seed) = (number("FISGA_SITES", 10_000), number("FISGA_SEED", 1));
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let tried: u64 = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(seed, (thread..sites).step_by(threads as usize))))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    println!("{tried} files of {sites} sites");
    assert!(tried * 2 > sites, "most sites give a file: {tried}");
}

/// Plays sites, and returns how many files came of them.
fn run(seed: u64, sites: impl Iterator<Item = u64>) -> u64 {
    let mut file = tempfile::tempfile().unwrap();
    let mut files = 0;
    for n in sites {
        let site = Site::new(seed, n);
        files += play(&site, &mut file, &format!("seed {seed}, site {n}"));
    }
    files
}

fn play(site: &Site, file: &mut File, name: &str) -> u64 {
    let mut collector = Collector::new(LIMITS);
    let mut now = Instant::now();
    let mut outcomes = Vec::new();
    for (id, entry) in (0..).zip(&site.entries) {
        let source = format!("/cache/Default/Cache/Cache_Data/{id:016x}_0");
        let held = HeldEntry {
            id,
            source: Path::new(&source),
            format: Source::Chromium,
            storage: Storage::Bytes(entry.clone().into()),
            spool: None,
        };
        collector.entry(&held, now);
        now += Duration::from_millis(200);
    }
    outcomes.extend(collector.finish(now));
    let mut whole = BTreeSet::new();
    let mut files = 0;
    for outcome in outcomes {
        let Outcome::Video(video) = outcome else {
            continue;
        };
        let planned = video
            .plan()
            .unwrap_or_else(|e| panic!("{name}: {}: {e:?}\n{site}", video.url));
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        planned.write(file).unwrap();
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let complete = video.whole()
            && planned.report.verdict == Verdict::Complete
            && !planned.report.open_ended;
        let marks = marks(&bytes);
        if let Err(why) = judge(site, &marks, complete) {
            panic!("{name}: {}: {why}\n{marks:?}\n{site}", video.url);
        }
        if complete {
            whole.extend(marks.first().map(|m| m.film));
        }
        files += 1;
    }
    for film in site.films.iter().filter(|f| f.is_plain()) {
        assert!(
            whole.contains(&film.id),
            "{name}: film {} is all there and not complete\n{site}",
            film.id
        );
    }
    files
}

/// Whether a file is a stretch of one film with its own sound, and complete only if it is.
fn judge(site: &Site, marks: &[Mark], complete: bool) -> Result<(), String> {
    let ids: BTreeSet<u8> = marks.iter().map(|m| m.film).collect();
    let of = |id: &u8| {
        site.films
            .iter()
            .find(|f| f.id == *id || f.adverts.contains(id))
    };
    let films: Vec<&Film> = ids.iter().filter_map(of).collect();
    let Some(film) = films.first() else {
        return Err("it has nothing of a film".into());
    };
    if films.iter().any(|f| f.id != film.id) {
        return Err(format!("it is mixed of films {ids:?}"));
    }
    let tracks: BTreeSet<u8> = marks.iter().map(|m| m.track).collect();
    let languages: Vec<u8> = tracks.iter().copied().filter(|t| *t != b'v').collect();
    if languages.len() > 1 {
        return Err(format!(
            "it has the sound of several languages: {languages:?}"
        ));
    }
    for track in &tracks {
        let own = marks
            .iter()
            .filter(|m| m.track == *track && m.film == film.id);
        let order: Vec<u16> = own.map(|m| m.segment).collect();
        // Muxed pictures and sound alternate, so a segment comes more than once in a row.
        let order: Vec<u16> = order.into_iter().fold(Vec::new(), |mut list, n| {
            if list.last() != Some(&n) {
                list.push(n);
            }
            list
        });
        if !order.is_sorted_by(|a, b| a < b) {
            return Err(format!("its segments are out of order: {order:?}"));
        }
        if complete && order.len() != film.segments.len() {
            return Err(format!(
                "called complete with {} of {} segments of {}",
                order.len(),
                film.segments.len(),
                char::from(*track)
            ));
        }
    }
    if complete && !film.ended {
        return Err("called complete though it hasn't ended".into());
    }
    if complete && tracks.len() != film.tracks_of_a_file() {
        return Err(format!("called complete with tracks {tracks:?}"));
    }
    Ok(())
}
