//! `fisga doctor` on this machine.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use common::sandbox::{SOON, Sandbox, rules};
use fisga::event::{Event, How};
use serde_json::{Value, json};

/// Exit status and findings.
fn doctor(sandbox: &Sandbox) -> (i32, Vec<Value>) {
    let output = sandbox.run(&["doctor", "--json"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (
        output.status.code().unwrap(),
        serde_json::from_slice(&output.stdout).unwrap(),
    )
}

fn of_area<'a>(findings: &'a [Value], area: &str) -> Vec<&'a Value> {
    findings
        .iter()
        .filter(|finding| finding["area"] == area)
        .collect()
}

fn of_folder<'a>(findings: &'a [Value], folder: &Path) -> &'a Value {
    findings
        .iter()
        .find(|finding| finding["folder"] == folder.to_str().unwrap())
        .unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_file_that_hides_is_held_and_nothing_is_left_behind() {
    let sandbox = Sandbox::new();
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    let own = json!([
        { "name": "test", "folders": [sandbox.tmp()], "files": ["Flash*"] },
        { "name": "other", "folders": [sandbox.tmp(), shm.path(), "~/not/yet"], "files": ["*"] },
    ]);
    sandbox.configure(json!({ "rules": rules(&[], own) }));
    let (status, findings) = doctor(&sandbox);
    assert_eq!(status, 0, "{findings:#?}");
    for (folder, names, copy) in [
        (sandbox.tmp(), json!(["test", "other"]), false),
        (shm.path().into(), json!(["other"]), true),
    ] {
        let finding = of_folder(&findings, &folder);
        assert_eq!(finding["level"], "ok");
        assert_eq!(finding["rules"], names);
        assert_eq!(finding["copy"], copy, "{finding}");
        assert_eq!(finding["tries"], 5);
        assert_eq!(
            finding["link"].as_u64().unwrap() + finding["rescue"].as_u64().unwrap(),
            5
        );
        assert!(finding["median_us"].as_u64().unwrap() > 0);
    }
    assert_eq!(names(&sandbox.tmp()), [""; 0]);
    assert_eq!(names(shm.path()), [""; 0]);
    assert!(!sandbox.library().exists());
    assert!(sandbox.history().is_empty());
}

#[test]
fn each_browser_that_is_found_is_watched_or_it_is_said_why_not() {
    let sandbox = Sandbox::new();
    sandbox.configure(json!({
        "rules": [{ "name": "brave-cache", "enabled": false }],
        "sources": { "temporary_files": false, "browser_cache": true },
    }));
    let home = sandbox.path("home");
    for folder in [
        ".cache/chromium/Default/Cache/Cache_Data",
        ".cache/chromium/Second/Cache/Cache_Data",
        ".config/chromium/Default/Service Worker/CacheStorage/9c/e1",
        ".cache/BraveSoftware/Brave-Browser/Default/Cache/Cache_Data",
        ".config/Some App/Cache/Cache_Data",
        ".cache/mozilla/firefox/x.default/cache2/entries",
    ] {
        fs::create_dir_all(home.join(folder)).unwrap();
    }
    fs::write(
        home.join(".cache/chromium/Second/Cache/Cache_Data/sqldb0"),
        "",
    )
    .unwrap();
    let (status, findings) = doctor(&sandbox);
    assert_eq!(status, 0, "{findings:#?}");
    let mut found: Vec<_> = of_area(&findings, "browser")
        .iter()
        .map(|finding| {
            let browser = finding["browser"].as_str().unwrap();
            (
                browser,
                finding["watched"] == true,
                finding["tried"] == true,
            )
        })
        .collect();
    found.sort_unstable();
    let expected = [
        ("Some App", true, false),
        ("brave", false, false),
        ("chromium", false, false),
        ("chromium", true, true),
        ("firefox", true, true),
    ];
    // Real browsers of this machine may run beside the test, at places of their own.
    found.retain(|row| expected.contains(row));
    assert_eq!(found, expected, "{findings:#?}");
    let worker = home.join(".config/chromium/Default/Service Worker/CacheStorage/9c/e1");
    assert_eq!(names(&worker), [""; 0]);
}

#[test]
fn for_people_a_line_each() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let line = format!(
        "ok       folder     {} (test): 5 hidden files held, ",
        sandbox.tmp().display()
    );
    assert!(text.lines().any(|l| l.starts_with(&line)), "{text}");
}

#[test]
fn a_folder_where_no_file_can_be_made_is_said() {
    let sandbox = Sandbox::new();
    let own = json!([{ "name": "test", "folders": ["/sys/kernel"], "files": ["*"] }]);
    sandbox.configure(json!({ "rules": rules(&[], own) }));
    let (status, findings) = doctor(&sandbox);
    let finding = of_folder(&findings, Path::new("/sys/kernel"));
    assert_eq!(
        (status, &finding["level"]),
        (0, &json!("note")),
        "{finding}"
    );
    assert!(
        finding["text"]
            .as_str()
            .unwrap()
            .contains("no file can be made there"),
        "{finding}"
    );
}

#[test]
fn a_library_that_can_take_nothing_is_a_problem() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.library().parent().unwrap()).unwrap();
    fs::write(sandbox.library(), "a file").unwrap();
    let (status, findings) = doctor(&sandbox);
    assert_eq!(
        (status, &of_area(&findings, "library")[0]["level"]),
        (1, &json!("problem"))
    );

    let sandbox = Sandbox::new();
    sandbox.configure(json!({ "min_free": "16000000 TiB" }));
    let (status, findings) = doctor(&sandbox);
    let room = of_area(&findings, "library")[1];
    assert_eq!((status, &room["level"]), (1, &json!("problem")));
    assert!(room["advice"].as_str().unwrap().contains("min_free"));
}

#[test]
fn rules_that_lead_nowhere_are_a_problem() {
    let sandbox = Sandbox::new();
    let own = json!([{ "name": "test", "folders": ["/nowhere/at/all"], "files": ["*"] }]);
    sandbox.configure(json!({ "rules": rules(&[], own) }));
    let (status, findings) = doctor(&sandbox);
    assert_eq!(status, 1);
    assert!(
        of_area(&findings, "folder")
            .iter()
            .any(|f| f["text"] == "no folder of any rule is there")
    );
}

#[test]
fn inotify_in_use_is_counted() {
    let sandbox = Sandbox::new();
    let inotify = inotify::Inotify::init().unwrap();
    for folder in ["a", "b", "c"] {
        let path = sandbox.path(folder);
        fs::create_dir(&path).unwrap();
        inotify
            .watches()
            .add(&path, inotify::WatchMask::CREATE)
            .unwrap();
    }
    let (_, findings) = doctor(&sandbox);
    let used: Vec<_> = of_area(&findings, "inotify")
        .iter()
        .filter_map(|f| f["used"].as_u64())
        .collect();
    assert!(used[0] >= 3 && used[1] >= 1, "{used:?}");
}

#[test]
fn a_running_fisga_is_not_disturbed() {
    let sandbox = Sandbox::new();
    let mut fisga = sandbox.watch();
    let (status, findings) = doctor(&sandbox);
    assert_eq!(status, 0, "{findings:#?}");
    let path = sandbox.tmp().join("Flash1");
    fs::write(&path, "not much of a video").unwrap();
    let held = fisga.wait_for("held", SOON, |event| matches!(event, Event::Held { .. }));
    let Event::Held {
        path: held, how, ..
    } = held
    else {
        unreachable!()
    };
    assert_eq!(
        (Path::new(&held), how),
        (&*path, How::Link),
        "its staging folder is still there"
    );
    fisga.wait_for("dropped", SOON, |event| {
        matches!(event, Event::Dropped { .. })
    });
    assert_eq!(
        sandbox.history().len(),
        1,
        "the doctor's own files concern nobody"
    );
}

#[cfg(feature = "tray")]
#[test]
fn a_desktop_that_is_missing_is_a_note() {
    let sandbox = Sandbox::new();
    let (status, findings) = doctor(&sandbox);
    let desktop = of_area(&findings, "desktop");
    assert_eq!(status, 0);
    assert!(
        desktop.iter().all(|finding| finding["level"] == "note") && !desktop.is_empty(),
        "{desktop:?}"
    );
}

#[test]
fn a_program_that_nobody_may_look_into_is_named() {
    let sandbox = Sandbox::new();
    // A program that can be executed and not read is not dumpable (prctl(2), PR_SET_DUMPABLE).
    let secretive = sandbox.path("secretive");
    fs::copy(common::program("sleep", "coreutils"), &secretive).unwrap();
    fs::set_permissions(&secretive, fs::Permissions::from_mode(0o111)).unwrap();
    let _sleeper = common::process::Group::start(sandbox.command(&secretive).arg("60"));
    let output = sandbox.run(&["doctor", "--json"]);
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let named = of_area(&findings, "processes")
        .into_iter()
        .find_map(|f| f["unreadable"].as_array())
        .unwrap();
    assert!(named.contains(&json!("secretive")), "{named:?}");
}
