//! Pieces of a stream as they come into a browser's cache, without a browser.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use common::{
    cache::{entry, ranges, stored, stub},
    media,
    sandbox::{SOON, Sandbox},
};
use serde_json::json;

fn caches_only() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    sandbox.configure(json!({ "sources": { "temporary_files": false, "browser_cache": true } }));
    let cache = sandbox.path("home/.cache/chromium/Default/Cache/Cache_Data");
    fs::create_dir_all(&cache).unwrap();
    (sandbox, cache)
}

/// Six segments and their playlist, as ffmpeg makes them of a clip.
fn segments(folder: &Path) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut command = Command::new(common::program("ffmpeg", "ffmpeg"));
    command
        .current_dir(folder)
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(media::clip("short.mp4"));
    command.args([
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "50",
        "-keyint_min",
        "50",
        "-c:a",
        "copy",
    ]);
    command.args(["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod"]);
    assert!(
        command
            .args(["-hls_segment_filename", "seg%d.ts", "list.m3u8"])
            .status()
            .unwrap()
            .success()
    );
    let list = fs::read(folder.join("list.m3u8")).unwrap();
    let names: Vec<String> = String::from_utf8(list.clone())
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("seg"))
        .map(Into::into)
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    (
        names
            .iter()
            .map(|name| fs::read(folder.join(name)).unwrap())
            .collect(),
        list,
    )
}

/// Waits until so many files lie in staging, and so many bytes in those that are no links.
fn staged(sandbox: &Sandbox, count: usize, bytes: usize) {
    let staging = sandbox
        .library()
        .join(format!(".fisga-{}", rustix::process::getuid().as_raw()));
    let there = || {
        let all: Vec<_> = fs::read_dir(&staging)
            .unwrap()
            .flatten()
            .filter_map(|e| e.metadata().ok())
            .collect();
        let own = all
            .iter()
            .filter(|m| m.nlink() == 1)
            .map(|m| m.len() as usize)
            .sum::<usize>();
        all.len() == count && own >= bytes
    };
    assert!(
        common::wait_until(SOON, &staging, there),
        "not {count}: {:?}",
        common::files(&staging)
    );
}

/// What was held of a stream before fisga was killed counts, its playlist too, though the cache has
/// thrown it away.
#[test]
fn a_stream_survives_a_crash_in_the_middle() {
    let (sandbox, cache) = caches_only();
    let (segments, list) = segments(&sandbox.tmp());
    let put = |number: usize, name: &str, kind: &str, body: &[u8]| {
        entry(
            &cache,
            number as u64,
            &format!("https://cdn.example/film/{name}"),
            kind,
            body,
        )
        .unwrap()
    };
    let fisga = sandbox.watch();
    let mut early = vec![put(100, "list.m3u8", "audio/mpegurl", &list)];
    early.extend((0..2).map(|n| put(n, &format!("seg{n}.ts"), "video/mp2t", &segments[n])));
    staged(&sandbox, early.len(), 0);
    fisga.kill();
    early.iter().for_each(|path| fs::remove_file(path).unwrap());
    let mut fisga = sandbox.watch();
    for (n, segment) in segments.iter().enumerate().skip(2) {
        put(n, &format!("seg{n}.ts"), "video/mp2t", segment);
    }
    let saved = fisga.wait_saved(SOON);
    assert_eq!(
        (
            saved.verdict.as_str(),
            fs::read(&saved.path).unwrap() == segments.concat()
        ),
        ("complete", true)
    );
    assert_eq!(saved.producer.as_deref(), Some("chromium"));
    fisga.stop();
}

/// Chromium empties a file of ranges in place, and our link with it; what was copied before
/// survives a crash.
#[test]
fn ranges_survive_being_emptied_and_a_crash() {
    let (sandbox, cache) = caches_only();
    let video = fs::read(media::clip("short.mp4")).unwrap();
    let url = "https://cdn.example/film.mp4";
    let half = video.len() / 2;
    let fisga = sandbox.watch();
    stub(&cache, 7, url, video.len()).unwrap();
    ranges(&cache, 7, url, &[(0, &video[..half])]).unwrap();
    // Two links and a copy.
    staged(&sandbox, 3, half);
    // Emptied, and closed with what came next.
    ranges(&cache, 7, url, &[]).unwrap();
    fisga.kill();
    let mut fisga = sandbox.watch();
    ranges(&cache, 7, url, &[(half as u64, &video[half..])]).unwrap();
    let saved = fisga.wait_saved(SOON);
    assert_eq!(
        (
            saved.verdict.as_str(),
            fs::read(&saved.path).unwrap() == video
        ),
        ("complete", true)
    );
    staged(&sandbox, 0, 0);
    fisga.stop();
}

/// What a site with a service worker keeps for itself, `no-store` or not, in folders that the
/// browser makes on the way.
#[test]
fn a_film_that_a_service_worker_keeps() {
    let (sandbox, _) = caches_only();
    let mut fisga = sandbox.watch();
    let storage = sandbox.path("home/.config/chromium/Default/Service Worker/CacheStorage");
    let cache = storage.join("9c126a06/e179912e-dda0");
    fs::create_dir_all(&cache).unwrap();
    let film = fs::read(media::clip("short.mp4")).unwrap();
    let url = "https://site.example/the-harbour.mp4";
    stored(&cache, 7, url, "video/mp4", &film).unwrap();
    let saved = fisga.wait_saved(SOON);
    assert_eq!(
        (saved.verdict.as_str(), saved.title.as_str()),
        ("complete", "the-harbour")
    );
    assert_eq!(saved.producer.as_deref(), Some("chromium"));
    assert_eq!(fs::read(&saved.path).unwrap(), film);
    fisga.stop();
}
