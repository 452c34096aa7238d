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
    let file = entry(
        &cache,
        1,
        "https://cdn.example/holiday.mp4",
        "video/mp4",
        &video,
    )
    .unwrap();
    entry(
        &cache,
        2,
        "https://site.example/",
        "text/html",
        b"<html>nothing to keep</html>",
    )
    .unwrap();
    let before = fs::read(&file).unwrap();

    let output = sandbox.run(&["rebuild", "home/.cache"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(out.ends_with("1 saved, out of 2 cache entries\n"), "{out}");
    let saved = sandbox.saved();
    assert_eq!(saved.len(), 1, "{out}");
    assert_eq!(fs::read(&saved[0]).unwrap(), video);
    assert!(
        out.contains(&format!("saved {}\n", saved[0].display())),
        "{out}"
    );
    assert_eq!(fs::read(&file).unwrap(), before);
    let history = sandbox.history();
    assert_eq!(
        (history.len(), &history[0]["outcome"]),
        (1, &"saved".into())
    );
}

#[test]
fn what_was_found_is_listed_and_what_is_chosen_is_saved() {
    let sandbox = Sandbox::new();
    let cache = sandbox.path("cache");
    for (number, clip) in [(1, "short.mp4"), (2, "short.webm")] {
        let kind = if number == 1 {
            "video/mp4"
        } else {
            "video/webm"
        };
        let body = fs::read(media::clip(clip)).unwrap();
        entry(
            &cache,
            number,
            &format!("https://cdn.example/{clip}"),
            kind,
            &body,
        )
        .unwrap();
    }
    let run = |args: &[&str]| {
        let output = sandbox.run(args);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, list) = run(&["rebuild", "--list", "cache"]);
    assert_eq!(code, Some(0), "{list}");
    assert!(list.ends_with("2 videos in 2 cache entries\n"), "{list}");
    assert!(sandbox.saved().is_empty() && sandbox.history().is_empty());
    let line = list
        .lines()
        .find(|l| l.contains("webm"))
        .or_else(|| list.lines().nth(1))
        .unwrap();
    let number = line.trim().split(' ').next().unwrap();
    assert!(line.contains("whole, from https://site.example"), "{line}");
    let (code, out) = run(&["rebuild", "cache", number]);
    assert_eq!(
        (code, out.lines().last()),
        (Some(0), Some("1 saved, out of 2 cache entries")),
        "{out}"
    );
    assert_eq!(sandbox.saved().len(), 1);
    let (code, out) = run(&["rebuild", "cache", "3"]);
    assert_eq!(
        (code, &*out),
        (Some(1), "fisga: there is no video 3: the list has 2\n")
    );
}

#[test]
fn what_is_no_cache_is_said() {
    let sandbox = Sandbox::new();
    for (folder, line) in [
        (
            "tmp",
            "tmp: no cache entries of Chromium or Firefox are here or below",
        ),
        ("nowhere", "nowhere: No such file or directory (os error 2)"),
    ] {
        let output = sandbox.run(&["rebuild", folder]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("fisga: {line}\n")
        );
    }
}
