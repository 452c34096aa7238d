//! `fisga rebuild`: from a browser's cache on disk to the library.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::fs;

use common::{cache::entry, media, sandbox::Sandbox};

#[test]
fn a_cached_video_comes_into_the_library_and_stays_in_the_cache() {
    let sandbox = Sandbox::new();
    let video = fs::read(media::clip("short.mp4")).unwrap();
    let cache = sandbox.path("home/.cache/chromium/Default/Cache/Cache_Data");
    let file = entry(&cache, 1, "https://cdn.example/holiday.mp4", "video/mp4", &video).unwrap();
    entry(&cache, 2, "https://site.example/", "text/html", b"<html>nothing to keep</html>").unwrap();
    let before = fs::read(&file).unwrap();

    let output = sandbox.run(&["rebuild", "home/.cache"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.ends_with("1 saved, out of 2 cache entries\n"), "{out}");
    let saved = sandbox.saved();
    assert_eq!(saved.len(), 1, "{out}");
    assert_eq!(fs::read(&saved[0]).unwrap(), video);
    assert!(out.contains(&format!("saved {}\n", saved[0].display())), "{out}");
    assert_eq!(fs::read(&file).unwrap(), before);
    let history = sandbox.history();
    assert_eq!((history.len(), &history[0]["outcome"]), (1, &"saved".into()));
}

#[test]
fn what_is_no_cache_is_said() {
    let sandbox = Sandbox::new();
    for (folder, line) in [
        ("tmp", "tmp: no cache entries of Chromium or Firefox are here or below"),
        ("nowhere", "nowhere: No such file or directory (os error 2)"),
    ] {
        let output = sandbox.run(&["rebuild", folder]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("fisga: {line}\n"));
    }
}
