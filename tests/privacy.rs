//! What the browsers' disk caches give away: media that was watched, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{
    cache::entry,
    media,
    sandbox::{SOON, Sandbox},
};
use fisga::event::Event;
use serde_json::json;

const CACHE: &str = "home/.cache/chromium/Default/Cache/Cache_Data";

fn caches_only() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.configure(json!({ "sources": { "temporary_files": false, "browser_cache": true } }));
    fs::create_dir_all(sandbox.path(CACHE)).unwrap();
    sandbox
}

/// Staging folders that exist.
fn stagings(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .unwrap()
        .flatten()
        .filter(|e| e.path().is_dir())
    {
        if entry.file_name().to_string_lossy().starts_with(".fisga-") {
            found.push(entry.path());
        } else {
            found.extend(stagings(&entry.path()));
        }
    }
    found
}

/// Bytes that a process has read so far, by whatever call (proc_pid_io(5), `rchar`).
fn bytes_read(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix("rchar: "))
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn what_is_not_media_is_let_go_and_hardly_read() {
    let sandbox = caches_only();
    let fisga = sandbox.watch();
    let [staging] = &stagings(&sandbox.path(""))[..] else {
        panic!("one file system, one staging folder")
    };
    let cache = sandbox.path(CACHE);
    let before = bytes_read(fisga.id());
    let kinds = [
        ("image/png", &b"\x89PNG\r\n\x1a\n"[..]),
        ("text/html", b"<!doctype html>"),
        ("application/json", b"{\"a\":"),
    ];
    for number in 0..60 {
        let (kind, start) = kinds[number as usize % 3];
        let body = [start, &vec![7; 1 << 20]].concat();
        entry(
            &cache,
            number,
            &format!("https://site.example/{number}"),
            kind,
            &body,
        )
        .unwrap();
    }
    let gone = common::wait_until(SOON, staging, || {
        fs::read_dir(staging).unwrap().next().is_none()
    });
    assert!(gone, "{:?}", common::files(staging));
    let each = (bytes_read(fisga.id()) - before) / 60;
    assert!(each < 32 << 10, "{each} bytes read of each entry of 1 MiB");
    fisga.stop();
    assert!(
        sandbox.saved().is_empty() && sandbox.history().is_empty(),
        "nobody needs to know"
    );
}

#[test]
fn the_page_stands_in_the_history_only_if_that_is_wanted() {
    let video = fs::read(media::clip("short.mp4")).unwrap();
    for wanted in [false, true] {
        let sandbox = caches_only();
        sandbox.configure(json!({
            "sources": { "temporary_files": false, "browser_cache": true },
            "addresses": wanted,
        }));
        let mut fisga = sandbox.watch();
        entry(
            &sandbox.path(CACHE),
            1,
            "https://cdn.example/holiday.mp4?token=9",
            "video/mp4",
            &video,
        )
        .unwrap();
        fisga.wait_saved(SOON);
        fisga.stop();
        let history = sandbox.history();
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(text.contains("site.example"), wanted, "{text}");
        assert!(
            !text.contains("cdn.example") && !text.contains("token"),
            "{text}"
        );
    }
}

#[test]
fn one_key_turns_all_of_it_off() {
    let sandbox = caches_only();
    sandbox.configure(json!({ "sources": { "temporary_files": true, "browser_cache": false } }));
    let mut fisga = common::sandbox::Fisga::start(sandbox.fisga(&["watch", "--json"]));
    let ready = fisga.wait_for("ready", SOON, |event| matches!(event, Event::Ready { .. }));
    let Event::Ready { rules, .. } = ready else {
        unreachable!()
    };
    assert!(
        !rules.iter().any(|rule| rule.ends_with("-cache")),
        "{rules:?}"
    );
    let video = fs::read(media::clip("short.mp4")).unwrap();
    entry(
        &sandbox.path(CACHE),
        1,
        "https://cdn.example/holiday.mp4",
        "video/mp4",
        &video,
    )
    .unwrap();
    // What comes after it through another source is saved, so it would have been by now.
    fs::copy(media::clip("short.mp4"), sandbox.tmp().join("Flash1")).unwrap();
    let saved = fisga.wait_saved(SOON);
    assert_eq!(saved.rule, "test");
    fisga.stop();
    assert_eq!(sandbox.saved().len(), 1);
}

#[test]
fn the_doctor_says_what_is_looked_at() {
    for watched in [true, false] {
        let sandbox = caches_only();
        sandbox
            .configure(json!({ "sources": { "temporary_files": true, "browser_cache": watched } }));
        let output = sandbox.run(&["doctor", "--json"]);
        let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let caches = findings
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["area"] == "caches")
            .unwrap();
        assert_eq!(
            (&caches["watched"], caches["advice"].is_string()),
            (&json!(watched), watched),
            "{caches}"
        );
    }
}
