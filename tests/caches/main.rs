//! Browser caches as sites of all kinds leave them, after public bug reports: each is put together
//! with default settings, and what came out is decoded.
//!
//! A case says what has to come out; each stands for a kind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod adverts;
#[path = "../common/mod.rs"]
mod common;
mod dash;
mod foreign;
mod live;
mod media;
mod same;

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use common::{
    cache::{entry, entry_with},
    sandbox::Sandbox,
};
use media::{Decoded, FRAMES, decode};

/// A cache, and what it holds.
struct Case {
    name: &'static str,
    fill: fn(&mut Cache),
    want: Want,
}

/// What has to come out.
#[derive(Clone, Copy)]
struct Want {
    /// Pictures and tone of each whole video.
    whole: &'static [(u32, u32)],
    /// How many are in `Incomplete`.
    incomplete: usize,
    /// What is said of what is left out.
    said: Option<&'static str>,
}

/// Whole videos and nothing else.
const fn whole(whole: &'static [(u32, u32)]) -> Want {
    Want {
        whole,
        incomplete: 0,
        said: None,
    }
}

/// One that is not whole.
const INCOMPLETE: Want = Want {
    whole: &[],
    incomplete: 1,
    said: None,
};

/// Nothing, for a reason that has these words.
const fn left_out(said: &'static str) -> Want {
    Want {
        whole: &[],
        incomplete: 0,
        said: Some(said),
    }
}

/// The first film.
const ONE: Want = whole(&[(FRAMES, 440)]);
/// Both.
const BOTH: Want = whole(&[(FRAMES, 440), (FRAMES, 880)]);

/// A folder of Chromium's cache.
struct Cache {
    folder: PathBuf,
    count: u64,
}

impl Cache {
    fn put(&mut self, url: &str, kind: &str, body: &[u8]) {
        self.count += 1;
        entry(&self.folder, self.count, url, kind, body).unwrap();
    }

    /// An answer with another header.
    fn put_with(&mut self, url: &str, kind: &str, header: &str, body: &[u8]) {
        self.count += 1;
        entry_with(&self.folder, self.count, url, kind, &[header], body).unwrap();
    }

    fn list(&mut self, url: &str, text: &str) {
        self.put(url, "application/vnd.apple.mpegurl", text.as_bytes());
    }

    fn manifest(&mut self, url: &str, text: &str) {
        self.put(url, "application/dash+xml", text.as_bytes());
    }

    /// Segments, at the addresses that `url` makes of their numbers.
    fn segments(&mut self, segments: &[Vec<u8>], url: impl Fn(usize) -> String) {
        for (n, body) in segments.iter().enumerate() {
            self.put(&url(n), "video/mp2t", body);
        }
    }
}

/// Puts a case's cache together, and returns what is wrong with what came out.
fn judge(case: &Case) -> Option<String> {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("home/.cache/chromium/Default/Cache/Cache_Data");
    std::fs::create_dir_all(&folder).unwrap();
    let mut cache = Cache { folder, count: 0 };
    (case.fill)(&mut cache);
    let output = sandbox.run(&["rebuild", "home/.cache"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_part = |path: &Path| path.components().any(|c| c.as_os_str() == "Incomplete");
    let saved = sandbox.saved();
    let (parts, whole): (Vec<_>, Vec<_>) = saved.iter().partition(|path| is_part(path));
    let mut decoded: Vec<Decoded> = whole.iter().map(|path| decode(path)).collect();
    decoded.sort_by_key(|d| (d.tone, d.frames));
    let sound_alone = |d: &Decoded| d.frames == 0;
    let clean = |d: &Decoded| {
        let length = f64::from(d.frames) / 25.0;
        d.complaints.is_empty() && (sound_alone(d) || (d.seconds - length).abs() < 1.0)
    };
    let got: Vec<(u32, u32)> = decoded.iter().map(|d| (d.frames, d.tone)).collect();
    let mut wanted = case.want.whole.to_vec();
    wanted.sort_by_key(|(frames, tone)| (*tone, *frames));
    let right = got == wanted
        && decoded.iter().all(clean)
        && parts.len() == case.want.incomplete
        && case.want.said.is_none_or(|words| said.contains(words));
    let wrong = || {
        let error = String::from_utf8_lossy(&output.stderr);
        format!(
            "{}: expected {wanted:?} and {} incomplete; came {decoded:?} and {}: {said}{error}",
            case.name,
            case.want.incomplete,
            parts.len()
        )
    };
    (!right).then(wrong)
}

/// Judges all cases, or the one that `FISGA_CASE` names.
fn judge_all(cases: &[Case]) {
    let chosen = std::env::var("FISGA_CASE").ok();
    let cases: Vec<&Case> = cases
        .iter()
        .filter(|c| chosen.as_deref().is_none_or(|name| c.name == name))
        .collect();
    media::folder();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Relaxed)) {
                    wrong.lock().unwrap().extend(judge(case));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let count = cases.len();
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Where most films lie.
const FILM: &str = "https://cdn.example/the-film/";
const HEAD: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n";
const END: &str = "#EXT-X-ENDLIST\n";

/// The lines of so many segments of four seconds.
fn lines(count: usize, name: impl Fn(usize) -> String) -> String {
    (0..count)
        .map(|n| format!("#EXTINF:4,\n{}\n", name(n)))
        .collect()
}

/// A playlist that is whole.
fn vod(count: usize, name: impl Fn(usize) -> String) -> String {
    format!("{HEAD}{}{END}", lines(count, name))
}

/// A playlist of fragments that is whole.
fn vod_with(init: &str, count: usize, name: impl Fn(usize) -> String) -> String {
    let map = format!("#EXT-X-MAP:URI=\"{init}\"\n");
    format!("{HEAD}{map}{}{END}", lines(count, name))
}

/// A film's transport stream segments.
fn ts(film: &str) -> Vec<Vec<u8>> {
    media::segments(&format!("ts-{film}"), "ts")
}

/// The initialisation segment of a set, and its fragments.
fn fmp4(set: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    (
        media::read(&format!("{set}/init.mp4")),
        media::segments(set, "m4s"),
    )
}

#[test]
fn the_same_and_not_the_same() {
    judge_all(&same::CASES);
}

#[test]
fn foreign_bytes_and_codings() {
    judge_all(&foreign::CASES);
}

#[test]
fn adverts_and_parts() {
    judge_all(&adverts::CASES);
}

#[test]
fn live_windows() {
    judge_all(&live::CASES);
}

#[test]
fn manifests() {
    judge_all(&dash::CASES);
}
