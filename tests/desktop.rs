//! The desktop with real parts: xfce4-panel, dunst, thunar, a session bus, under Xvfb; each part
//! missing, late, restarted and hanging.
#![cfg(feature = "tray")]
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{fs, time::Duration};

use common::{
    browser, media,
    page::Page,
    sandbox::{Sandbox, rules},
    server::Server,
    session::{
        self, ATTENTION, Arrival, FISGA, HOST, Item, NOTIFICATIONS, OBJECT, PAUSED, Session,
        WATCHING, eventually, terminate,
    },
};
use rustix::process::Signal;
use serde_json::json;
use zbus::zvariant::Value;

const TITLE: &str = "Big <b>Buck</b> & Bunny_1";

/// From a hidden file to the file manager, by the eyes and hands of a user.
#[test]
fn a_video_from_the_hidden_file_to_the_folder() {
    let session = Session::on_x11();
    session
        .sandbox
        .configure(json!({ "notifications": true, "thumbnails": true }));
    let _parts = (session.openbox(), session.dunst(), session.panel(false));
    let mut fisga = session.fisga();
    let item = Item::find(&session);
    session.see("the icon", WATCHING);
    session.picture("1-watching");
    session.close_welcome();

    item.click("Pause");
    session.wait_status("paused", |s| s["state"] == "paused");
    session.see("the icon of a pause", PAUSED);
    assert_eq!(session.panel_pixels(WATCHING), 0);
    assert!(item.entry("Resume").is_some() && item.entry("Pause").is_none());
    session.picture("2-paused");
    let video = session.video(TITLE);
    session.hide("paused", &video).close();

    item.click("Resume");
    session.wait_status("watching", |s| s["state"] == "watching");
    session.see("the first icon again", WATCHING);
    let producer = session.hide("seen", &video);
    session.wait_status("saved", |s| s["saved_today"] == 1);
    producer.close();
    eventually("one popup", || (session.popups() == 1).then_some(()));
    session.picture("3-popup");
    let saved = session.sandbox.saved();
    assert_eq!(saved.len(), 1, "nothing was saved while paused: {saved:?}");
    let history = session.sandbox.history();
    assert!(
        !history
            .iter()
            .any(|e| e["source"].as_str().is_some_and(|s| s.contains("paused"))),
        "{history:?}"
    );
    let label = format!("Recent/{TITLE} (");
    assert!(
        item.entries().iter().any(|e| e.label.starts_with(&label)),
        "{:?}",
        item.entries()
    );

    session.click_popup();
    session.picture("4-folder");

    item.click("Quit");
    let status = fisga.wait(Duration::from_secs(10)).expect("it ends");
    assert!(status.success(), "{status}");
    let bus = session.connect();
    eventually("the item is gone", || {
        Item::now(&bus).is_none().then_some(())
    });
    eventually("the icon is gone", || {
        (session.panel_pixels(WATCHING) == 0).then_some(())
    });
}

#[test]
fn the_menu_mirrors_the_truth() {
    let session = Session::on_x11();
    let _panel = session.panel(true);
    let fisga = session.fisga();
    let item = Item::find(&session);
    session.see("the icon on a dark panel", WATCHING);
    let ticked = |label: &str, wanted: bool| {
        eventually(label, || {
            (item.entry(label)?.ticked == Some(wanted)).then_some(())
        });
    };
    ticked("Start on login", false);
    assert!(session.sandbox.run(&["autostart", "on"]).status.success());
    ticked("Start on login", true);
    item.click("Start on login");
    ticked("Start on login", false);
    // The click alone moves the tick in the menu, before anything is done.
    let entry = session
        .sandbox
        .path("home/.config/autostart/io.github.fisga.Fisga.desktop");
    eventually("the entry is gone", || (!entry.exists()).then_some(()));

    ticked("Notifications", false);
    item.click("Notifications");
    ticked("Notifications", true);
    let written = || fs::read_to_string(session.sandbox.config_file()).unwrap();
    eventually("written down", || {
        written().contains("\"notifications\": true").then_some(())
    });
    session.sandbox.configure(json!({ "notifications": false }));
    ticked("Notifications", false);

    // A library that can't be written needs the user.
    let (library, away) = (session.sandbox.library(), session.sandbox.path("away"));
    fs::rename(&library, away).unwrap();
    fs::write(&library, "in the way").unwrap();
    let producer = session.hide("nowhere", &common::media::clip("short.mp4"));
    session.see("the icon that asks for attention", ATTENTION);
    let status = session.status();
    assert_eq!(status["state"], "attention");
    let line = status["status"].as_str().unwrap();
    assert!(
        item.entries()[0]
            .label
            .starts_with(&line.chars().take(20).collect::<String>()),
        "{line}"
    );
    session.picture("5-attention");
    fs::remove_file(&library).unwrap();
    fs::create_dir(&library).unwrap();
    session.wait_status("saved after all", |s| s["saved_today"] == 1);
    session.see("all is well again", WATCHING);
    producer.close();
    terminate(fisga);
}

#[test]
fn a_panel_that_comes_late_restarts_and_hangs() {
    let session = Session::on_x11();
    let fisga = session.fisga();
    let status = session.wait_status("no host", |s| s["desktop"]["tray_host"] == false);
    assert!(
        status["missing"].to_string().contains("Status Tray Plugin"),
        "{status}"
    );
    for _ in 0..2 {
        let mut panel = session.panel(false);
        session.wait_status("a host", |s| s["desktop"]["tray_host"] == true);
        Item::find(&session);
        session.see("the icon", WATCHING);
        panel.stop();
        session.wait_status("no host again", |s| s["desktop"]["tray_host"] == false);
    }
    let panel = session.panel(false);
    Item::find(&session);
    panel.signal(Signal::STOP);
    assert!(session.sandbox.run(&["pause"]).status.success());
    assert_eq!(session.status()["state"], "paused");
    let took = terminate(fisga);
    assert!(took < Duration::from_secs(2), "{took:?}");

    // And one that hangs from the start.
    let fisga = session.fisga();
    let _open = session.hide("beside", &session.video("Beside"));
    session.wait_status("saved", |s| s["saved_today"] == 1);
    terminate(fisga);
    panel.signal(Signal::CONT);
}

#[test]
fn a_bus_that_dies_and_comes_back() {
    let mut session = Session::on_x11();
    let panel = session.panel(false);
    let fisga = session.fisga();
    Item::find(&session);
    drop(panel);
    session.kill_bus();
    let _open = session.hide("meanwhile", &common::media::clip("short.mp4"));
    eventually("saved without a bus", || {
        (session.sandbox.saved().len() == 1).then_some(())
    });
    session.restart_bus();
    comes_back(&session);
    let _panel = session.panel(false);
    Item::find(&session).click("Pause");
    session.wait_status("paused from the new panel", |s| s["state"] == "paused");
    terminate(fisga);
}

/// The bus is there since now, and fisga on it within two seconds.
fn comes_back(session: &Session) {
    let start = std::time::Instant::now();
    Arrival::watch(&session.connect(), FISGA).wait();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_display_and_a_bus_that_comes_late() {
    let mut session = Session::on_x11();
    session.kill_bus();
    let fisga = session.fisga_alone();
    let _open = session.hide("before", &common::media::clip("short.mp4"));
    eventually("saved without a bus", || {
        (session.sandbox.saved().len() == 1).then_some(())
    });
    let status = session.sandbox.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&status.stderr).contains("can't reach the session bus"),
        "{status:?}"
    );

    session.restart_bus();
    comes_back(&session);
    let _panel = session.panel(false);
    Item::find(&session).click("Pause");
    session.wait_status("paused from the panel", |s| s["state"] == "paused");
    terminate(fisga);
}

#[test]
fn a_bus_that_hangs() {
    let session = Session::on_x11();
    let _panel = session.panel(false);
    let clip = common::media::clip("short.mp4");
    let saved = |n| {
        eventually("saved", || {
            (session.sandbox.saved().len() == n).then_some(())
        })
    };

    let fisga = session.fisga();
    Item::find(&session);
    session.signal_bus(Signal::STOP);
    let _open = session.hide("beside", &clip);
    saved(1);
    let took = terminate(fisga);
    assert!(took < Duration::from_secs(2), "{took:?}");

    // And one that hangs from the start.
    let fisga = session.fisga_alone();
    let _open = session.hide("before", &session.video("Before"));
    saved(2);
    let status = session.sandbox.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&status.stderr),
        "fisga: the session bus doesn't answer\n"
    );
    let took = terminate(fisga);
    assert!(took < Duration::from_secs(2), "{took:?}");

    let fisga = session.fisga_alone();
    let _open = session.hide("after", &session.video("After"));
    saved(3);
    session.signal_bus(Signal::CONT);
    comes_back(&session);
    Item::find(&session);
    session.see("the icon", WATCHING);
    terminate(fisga);
}

/// GTK ends a program whose display dies, wherever it is. What it held is not lost: the next one
/// saves it, without a display.
#[test]
fn a_display_that_dies() {
    let mut session = Session::on_x11();
    let mut fisga = session.fisga();
    let clip = media::clip("short.mp4");
    let content = fs::read(&clip).unwrap();
    let [first, rest] = ["first", "rest"].map(|name| session.sandbox.path(name));
    let (a, b) = content.split_at(content.len() / 2);
    fs::write(&first, a).unwrap();
    fs::write(&rest, b).unwrap();
    let mut producer = session.hide("beside", &first);
    // Answered when all that is open is held.
    assert!(session.sandbox.run(&["grab"]).status.success());

    session.display = None;
    fisga.wait(Duration::from_secs(10)).expect("it ends");
    let fisga = session.fisga();
    producer.append(&rest);
    producer.close();
    let is_it = |path: &std::path::PathBuf| common::same(path, &clip);
    eventually("saved, byte for byte", || {
        session.sandbox.saved().iter().any(is_it).then_some(())
    });
    terminate(fisga);
}

#[test]
fn a_notification_server_that_hangs_or_restarts() {
    let session = Session::on_x11();
    session.sandbox.configure(json!({ "notifications": true }));
    let dunst = session.dunst();
    let fisga = session.fisga();
    dunst.signal(Signal::STOP);
    let clip = common::media::clip("short.mp4");
    let _open: Vec<_> = (0..5)
        .map(|n| session.hide(&n.to_string(), &clip))
        .collect();
    // The same video five times: one is saved, and the others are known to be the same or saved
    // too.
    session.wait_status("saved beside a server that hangs", |s| {
        s["saved_today"].as_u64() >= Some(1)
    });
    dunst.signal(Signal::CONT);
    drop(dunst);
    let _dunst = session.dunst();
    session.wait_status("a server", |s| s["desktop"]["notifications"] == true);
    let _open = session.hide("late", &session.video("Late"));
    eventually("a popup of the new server", || {
        (session.popups() > 0).then_some(())
    });
    let took = terminate(fisga);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn orders_over_the_bus() {
    let session = Session::bare();
    let none = session.sandbox.run(&["status"]);
    assert_eq!(none.status.code(), Some(3));
    assert_eq!(
        String::from_utf8_lossy(&none.stderr),
        "fisga: fisga is not running\n"
    );

    let mut fisga = session.fisga();
    let second = session.sandbox.run(&[]);
    assert!(second.status.success());
    let line = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(
        line.starts_with(&format!(
            "fisga is running already (process {})",
            fisga.id()
        )),
        "{line}"
    );

    assert!(
        session
            .sandbox
            .run(&["pause", "--for", "1s"])
            .status
            .success()
    );
    let paused = session.status();
    assert_eq!(paused["state"], "paused");
    assert!(paused["paused_until"].is_string(), "{paused}");
    session.wait_status("the pause has ended by itself", |s| {
        s["state"] == "watching"
    });

    assert!(session.sandbox.run(&["pause"]).status.success());
    assert!(session.status()["paused_until"].is_null());
    let refused = session.sandbox.run(&["grab"]);
    assert_eq!(refused.status.code(), Some(1));
    let line = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(
        line,
        "fisga: fisga is paused and holds nothing until it resumes\n"
    );
    assert!(session.sandbox.run(&["resume"]).status.success());

    let bus = session.connect();
    let action = |name: &str| {
        let body = (
            name,
            Vec::<Value<'_>>::new(),
            std::collections::HashMap::<&str, Value<'_>>::new(),
        );
        bus.call_method(
            Some(FISGA),
            OBJECT,
            Some("org.freedesktop.Application"),
            "ActivateAction",
            &body,
        )
    };
    action("pause").unwrap();
    session.wait_status("paused by the desktop entry", |s| s["state"] == "paused");
    action("resume").unwrap();
    session.wait_status("resumed by the desktop entry", |s| s["state"] == "watching");
    assert!(action("nonsense").is_err());

    assert!(session.sandbox.run(&["quit"]).status.success());
    assert!(
        fisga
            .wait(Duration::from_secs(10))
            .expect("it ends")
            .success()
    );
    assert_eq!(session.sandbox.run(&["resume"]).status.code(), Some(3));
}

/// A browser plays before fisga looks: first nothing is held, since it is paused; then the user
/// asks for it.
#[test]
fn what_is_playing_is_saved_when_asked() {
    let session = Session::on_x11();
    session
        .sandbox
        .configure(json!({ "notifications": true, "rules": rules(&["webkit"], json!([])) }));
    let _parts = (session.dunst(), session.panel(false));
    let fisga = session.fisga();
    let item = Item::find(&session);
    let shows = |text: &str| {
        let shown = session.tool("dunstctl", "dunst", &["history"]);
        eventually(text, || {
            session.tool("dunstctl", "dunst", &["close-all"]);
            let history = session.tool("dunstctl", "dunst", &["history"]);
            (history != shown && history.contains(text)).then_some(())
        });
    };
    item.click("Save what is playing now");
    shows("Nothing new to save");

    assert!(session.sandbox.run(&["pause"]).status.success());
    let clip = media::clip("short.mp4");
    let mut server = Server::start(&media::folder(), 6_000_000);
    let page = server.page(&Page::new("short.mp4"));
    let _browser = browser::minibrowser(&session.sandbox, session.display.as_ref().unwrap(), &page);
    server.wait_for("playing", session::PATIENCE);
    assert!(session.sandbox.run(&["resume"]).status.success());
    item.click("Save what is playing now");
    shows("One more video is held");
    let again = session.sandbox.run(&["grab"]);
    let line = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(
        line,
        "No program is playing anything that is not held already\n"
    );
    let is_it = |path: &std::path::PathBuf| common::same(path, &clip);
    eventually("saved, byte for byte", || {
        session.sandbox.saved().iter().any(is_it).then_some(())
    });
    // The entry follows the file.
    eventually("an entry in the history", || {
        let history = session.sandbox.history();
        let attached = |e: &serde_json::Value| e["outcome"] == "saved" && e["how"] == "attach";
        history.iter().any(attached).then_some(())
    });
    terminate(fisga);
}

/// No display, no bus, no host, no server: the terminal says what goes on.
#[test]
fn nothing_at_all() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.fisga(&[]);
    let mut fisga = common::process::Group::start(command.stdout(std::process::Stdio::piped()));
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        fisga.child().stdout.take().unwrap(),
    ));
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with("There is no display"));
    assert!(next().starts_with("Watching; videos go to "));
    let tmp = sandbox.tmp().join("Flash-1");
    let producer = common::producer::Producer::start(&tmp, &common::media::clip("short.mp4"), true);
    assert!(next().starts_with("Holding "));
    assert!(next().starts_with("Saved "));
    producer.close();
    terminate(fisga);
    assert_eq!(sandbox.saved().len(), 1);
}

#[test]
fn names_stay_one() {
    // What the code, the packaging and the test say must be the same name.
    let entry = include_str!("../packaging/io.github.fisga.Fisga.service");
    assert!(entry.contains(&format!("Name={FISGA}\n")));
    assert_eq!(
        (HOST, NOTIFICATIONS),
        (
            fisga::desktop::bus::TRAY_HOST,
            fisga::desktop::bus::NOTIFICATIONS
        )
    );
    assert_eq!(
        (FISGA, OBJECT),
        (fisga::desktop::APP_ID, fisga::desktop::control::PATH)
    );
}

/// A real browser: from the click on play to the click on the notification, without touching a
/// terminal.
#[test]
fn a_click_on_play_and_a_click_on_the_notification() {
    let session = Session::on_x11();
    session.sandbox.configure(json!({
        "notifications": true, "thumbnails": true, "rules": rules(&["webkit"], json!([])),
    }));
    let _parts = (session.openbox(), session.dunst(), session.panel(false));
    let fisga = session.fisga();
    session.close_welcome();

    let clip = media::clip("short.mp4");
    let mut server = Server::start(&media::folder(), 6_000_000);
    // WebKit keeps a file on disk only for what it may load ahead.
    let page = server.page(&Page::new("short.mp4").still("auto").title("Film"));
    let _browser = browser::minibrowser(&session.sandbox, session.display.as_ref().unwrap(), &page);
    let window = eventually("the browser's window", || session.window("Film"));
    server.wait_for("loadedmetadata", session::PATIENCE);
    session.tool(
        "xdotool",
        "xdotool",
        &["windowmove", "--sync", &window, "100", "120"],
    );
    // The video is in the page's upper left corner, below the window's tool bar.
    session.tool(
        "xdotool",
        "xdotool",
        &["mousemove", "--window", &window, "168", "175", "click", "1"],
    );
    server.wait_for("playing", session::PATIENCE);
    session.picture("6-playing");
    let is_it = |path: &std::path::PathBuf| common::same(path, &clip);
    eventually("saved, byte for byte", || {
        session.sandbox.saved().iter().any(is_it).then_some(())
    });
    eventually("its popup", || (session.popups() > 0).then_some(()));
    session.picture("7-saved");
    session.click_popup();
    session.picture("8-folder");
    terminate(fisga);
}
