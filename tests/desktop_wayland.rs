//! The same on Wayland: sway without a screen, waybar, mako, thunar.
#![cfg(feature = "tray")]
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{fs, process::Stdio, time::Duration};

use common::{
    process::Group,
    program,
    session::{HOST, Item, NOTIFICATIONS, PAUSED, Session, WATCHING, eventually},
};
use serde_json::json;

/// sway on an output in memory; returns when programs can connect to it.
fn sway(session: &mut Session) -> Group {
    let config = session.sandbox.path("sway.conf");
    fs::write(
        &config,
        "output HEADLESS-1 resolution 1280x720\nxwayland disable\n",
    )
    .unwrap();
    for (name, value) in [
        ("WLR_BACKENDS", "headless"),
        ("WLR_LIBINPUT_NO_DEVICES", "1"),
        ("WLR_RENDERER", "pixman"),
        ("XDG_CURRENT_DESKTOP", "sway"),
    ] {
        session.sandbox.set(name, value);
    }
    let sway = program("sway", "sway");
    let group = Group::start(
        session
            .sandbox
            .command(sway)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    let run = session.sandbox.path("run");
    let socket = |start: &str| {
        let names = fs::read_dir(&run)
            .unwrap()
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok());
        names
            .filter(|n| !n.ends_with(".lock"))
            .find(|n| n.starts_with(start))
    };
    let display = eventually("sway's socket", || socket("wayland-"));
    let ipc = eventually("sway's control socket", || socket("sway-ipc."));
    session.sandbox.set("WAYLAND_DISPLAY", display);
    session
        .sandbox
        .set("SWAYSOCK", run.join(ipc).to_str().unwrap());
    session.announce(&["WAYLAND_DISPLAY"]);
    group
}

fn waybar(session: &Session) -> Group {
    let folder = session.sandbox.path("home/.config/waybar");
    fs::create_dir_all(&folder).unwrap();
    let bar = json!({ "layer": "top", "height": 32, "modules-right": ["tray"], "tray": { "icon-size": 24 } });
    fs::write(folder.join("config"), bar.to_string()).unwrap();
    fs::write(
        folder.join("style.css"),
        "* { font-family: sans; } window { background: #202428; }",
    )
    .unwrap();
    session.start(
        &mut session.sandbox.command(program("waybar", "waybar")),
        HOST,
    )
}

fn mako(session: &Session) -> Group {
    session.start(
        &mut session.sandbox.command(program("mako", "mako-notifier")),
        NOTIFICATIONS,
    )
}

/// How many pixels of the bar have this colour, as grim sees them.
fn pixels(session: &Session, colour: [u8; 3]) -> usize {
    let mut command = session.sandbox.command(program("grim", "grim"));
    let shot = command
        .args(["-g", "0,0 1280x32", "-t", "ppm", "-"])
        .output()
        .unwrap()
        .stdout;
    // "P6 1280 32 255" and one white space, then three bytes a pixel.
    let body = &shot[shot.len().saturating_sub(1280 * 32 * 3)..];
    let close = |pixel: &&[u8]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2);
    body.chunks_exact(3).filter(close).count()
}

#[test]
fn a_video_from_the_hidden_file_to_the_folder() {
    let mut session = Session::bare();
    session.sandbox.configure(json!({ "notifications": true }));
    let _sway = sway(&mut session);
    let _parts = (mako(&session), waybar(&session));
    let see = |what, colour| eventually(what, || (pixels(&session, colour) > 30).then_some(()));
    let mut fisga = session.fisga();
    assert_eq!(session.status()["desktop"]["display"], true);
    let item = Item::find(&session);
    see("the icon", WATCHING);
    let makoctl = |args: &[&str]| session.tool("makoctl", "mako-notifier", args);
    eventually("the welcome", || {
        makoctl(&["list"]).contains("fisga keeps").then_some(())
    });
    makoctl(&["dismiss", "--all"]);

    item.click("Pause");
    see("the icon of a pause", PAUSED);
    let video = session.video("Big Buck Bunny");
    session.hide("paused", &video).close();
    item.click("Resume");
    see("the first icon again", WATCHING);

    let _open = session.hide("seen", &video);
    session.wait_status("saved", |s| s["saved_today"] == 1);
    eventually("a popup with the title", || {
        makoctl(&["list"]).contains("Big Buck Bunny").then_some(())
    });
    assert_eq!(session.sandbox.saved().len(), 1);
    if let Some(folder) = std::env::var_os("FISGA_TEST_PICTURES") {
        let path = std::path::Path::new(&folder).join("wayland.png");
        session.tool("grim", "grim", &[path.to_str().unwrap()]);
    }
    makoctl(&["invoke", "default"]);
    let tree = || session.tool("swaymsg", "sway", &["-t", "get_tree"]);
    eventually("the file manager's window", || {
        tree().to_lowercase().contains("thunar").then_some(())
    });

    item.click("Quit");
    let status = fisga.wait(Duration::from_secs(10)).expect("it ends");
    assert!(status.success(), "{status}");
    eventually("the icon is gone", || {
        (pixels(&session, WATCHING) == 0).then_some(())
    });
}
