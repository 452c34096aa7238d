//! The collector against a model: random sites are played, and of each file that comes out it is
//! known of which film every sample is. Of each film that was seen, something comes out, or the
//! reason why not.
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
    let counts = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || run(seed, (thread..sites).step_by(threads as usize))))
            .collect();
        let runs = runs.into_iter().map(|run| run.join().unwrap());
        runs.reduce(Counts::add).unwrap()
    });
    println!("{sites} sites: {counts:?}");
    assert!(
        counts.files * 2 > sites,
        "most sites give a file: {counts:?}"
    );
    // What the generator makes does come up.
    let rare = [
        counts.complete,
        counts.in_ranges,
        counts.of_firefox,
        counts.reasons,
    ];
    assert!(rare.iter().all(|n| n * 50 > sites), "{counts:?}");
}

/// What came of sites.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    files: u64,
    /// Of them, what was called complete.
    complete: u64,
    /// Complete files of films that were asked for in ranges.
    in_ranges: u64,
    /// Files out of Firefox's cache.
    of_firefox: u64,
    /// Videos that are not kept, with the reason.
    reasons: u64,
}

impl Counts {
    fn add(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            complete: self.complete + other.complete,
            in_ranges: self.in_ranges + other.in_ranges,
            of_firefox: self.of_firefox + other.of_firefox,
            reasons: self.reasons + other.reasons,
        }
    }
}

/// Plays sites, and returns what came of them.
fn run(seed: u64, sites: impl Iterator<Item = u64>) -> Counts {
    let mut file = tempfile::tempfile().unwrap();
    let play = |n| {
        play(
            &Site::new(seed, n),
            &mut file,
            &format!("seed {seed}, site {n}"),
        )
    };
    sites.map(play).fold(Counts::default(), Counts::add)
}

fn play(site: &Site, file: &mut File, name: &str) -> Counts {
    let mut collector = Collector::new(LIMITS);
    let mut now = Instant::now();
    let mut outcomes = Vec::new();
    for (id, entry) in (0..).zip(&site.entries) {
        let (source, format) = if site.firefox {
            (
                format!("/cache/p.default/cache2/entries/{id:040X}"),
                Source::Firefox,
            )
        } else {
            let part = if entry.ranges { 's' } else { '0' };
            let name = format!("{id:016x}_{part}");
            (
                format!("/cache/Default/Cache/Cache_Data/{name}"),
                Source::Chromium,
            )
        };
        let held = HeldEntry {
            id,
            source: Path::new(&source),
            format,
            storage: Storage::Bytes(entry.bytes.clone().into()),
            spool: None,
        };
        collector.entry(&held, now);
        now += Duration::from_millis(200);
    }
    outcomes.extend(collector.finish(now));
    let (mut whole, mut told) = (BTreeSet::new(), BTreeSet::new());
    let mut counts = Counts::default();
    for outcome in outcomes {
        let video = match outcome {
            Outcome::Video(video) => video,
            Outcome::Dropped { url, reason, .. } => {
                assert!(!reason.is_empty(), "{name}: {url}");
                counts.reasons += 1;
                told.extend(site.films.iter().filter(|f| f.has(&url)).map(|f| f.id));
                continue;
            }
            Outcome::Release(_) => continue,
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
        told.extend(marks.iter().map(|m| m.film));
        let film = marks.first().map(|m| m.film).filter(|_| complete);
        whole.extend(film);
        let in_ranges = |id| site.films.iter().any(|f| Some(f.id) == id && f.single);
        counts.files += 1;
        counts.complete += u64::from(complete);
        counts.in_ranges += u64::from(complete && in_ranges(film));
        counts.of_firefox += u64::from(site.firefox);
    }
    for film in site.films.iter().filter(|f| f.seen) {
        assert!(
            told.contains(&film.id),
            "{name}: film {} was seen, and nothing is said of it\n{site}",
            film.id
        );
    }
    for film in site.films.iter().filter(|f| f.is_plain()) {
        assert!(
            whole.contains(&film.id),
            "{name}: film {} is all there and not complete\n{site}",
            film.id
        );
    }
    counts
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
