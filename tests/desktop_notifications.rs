//! Notification servers of every kind: what they are sent, and what their clicks do.
#![cfg(feature = "tray")]
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

mod common;

use std::{
    collections::HashMap,
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use common::session::{NOTIFICATIONS, PATIENCE, Session, eventually, terminate};
use serde_json::json;
use zbus::{
    blocking::{Connection, connection::Builder},
    interface,
    zvariant::OwnedValue,
};

const PATH: &str = "/org/freedesktop/Notifications";
const TITLE: &str = "Big <b>Buck</b> & Bunny";

/// What a client asked for.
#[derive(Debug)]
struct Asked {
    id: u32,
    replaces: u32,
    summary: String,
    body: String,
    actions: Vec<String>,
    hints: HashMap<String, OwnedValue>,
}

struct Server {
    abilities: Vec<String>,
    next: u32,
    asked: Sender<Asked>,
}

#[interface(name = "org.freedesktop.Notifications")]
impl Server {
    fn get_capabilities(&self) -> Vec<String> {
        self.abilities.clone()
    }

    #[allow(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &mut self,
        _app_name: &str,
        replaces: u32,
        _app_icon: &str,
        summary: String,
        body: String,
        actions: Vec<String>,
        hints: HashMap<String, OwnedValue>,
        _expire_timeout: i32,
    ) -> u32 {
        let id = if replaces == 0 { self.next } else { replaces };
        self.next += u32::from(replaces == 0);
        self.asked
            .send(Asked {
                id,
                replaces,
                summary,
                body,
                actions,
                hints,
            })
            .unwrap();
        id
    }

    fn close_notification(&self, _id: u32) {}

    fn get_server_information(&self) -> (&str, &str, &str, &str) {
        ("test", "fisga", "1", "1.2")
    }
}

/// A server that can do so much, on a connection of its own: dropped, it is gone, and the next
/// one's ids start over.
fn serve(session: &Session, abilities: &[&str]) -> (Connection, Receiver<Asked>) {
    let (asked, popups) = channel();
    let abilities = abilities.iter().map(|a| a.to_string()).collect();
    let address = format!("unix:path={}", session.sandbox.path("run/bus").display());
    let connection = Builder::address(address.as_str())
        .unwrap()
        .serve_at(
            PATH,
            Server {
                abilities,
                next: 1,
                asked,
            },
        )
        .unwrap()
        .name(NOTIFICATIONS)
        .unwrap()
        .build()
        .unwrap();
    (connection, popups)
}

fn click(server: &Connection, id: u32, key: &str) {
    server
        .emit_signal(
            None::<&str>,
            PATH,
            NOTIFICATIONS,
            "ActionInvoked",
            &(id, key),
        )
        .unwrap();
}

/// fisga, past its welcome.
fn fisga(session: &Session, popups: &Receiver<Asked>) -> common::process::Group {
    session
        .sandbox
        .configure(json!({ "notifications": true, "thumbnails": true }));
    let fisga = session.fisga();
    let welcome = popups.recv_timeout(PATIENCE).unwrap();
    assert!(
        welcome
            .body
            .contains(session.sandbox.library().to_str().unwrap()),
        "{welcome:?}"
    );
    fisga
}

#[test]
fn a_server_that_can_do_all() {
    common::program("ffmpegthumbnailer", "ffmpegthumbnailer");
    let session = Session::bare();
    let (server, popups) = serve(&session, &["actions", "body", "body-markup"]);
    let fisga = fisga(&session, &popups);
    let _open = session.hide("1", &session.video(TITLE));
    let popup = popups.recv_timeout(PATIENCE).unwrap();
    assert_eq!((popup.summary.as_str(), popup.replaces), ("Video saved", 0));
    assert!(
        popup
            .body
            .starts_with("Big &lt;b&gt;Buck&lt;/b&gt; &amp; Bunny\n"),
        "{popup:?}"
    );
    assert!(popup.body.contains("0:15"), "{popup:?}");
    let keys: Vec<_> = popup
        .actions
        .iter()
        .step_by(2)
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["default", "open", "play", "discard"]);

    let saved = session.sandbox.saved();
    assert_eq!(saved.len(), 1);
    click(&server, popup.id, "discard");
    eventually("discarded", || {
        session.sandbox.saved().is_empty().then_some(())
    });
    let trash = common::files(&session.sandbox.path("home/.local/share/Trash/files"));
    assert_eq!(trash.len(), 1, "it is in the trash: {trash:?}");
    session.wait_status("no longer among the recent", |s| s["recent"] == json!([]));
    terminate(fisga);
}

#[test]
fn a_server_that_can_do_little() {
    let session = Session::bare();
    let (_server, popups) = serve(&session, &["body"]);
    let fisga = fisga(&session, &popups);
    let _open = session.hide("1", &session.video(TITLE));
    let popup = popups.recv_timeout(PATIENCE).unwrap();
    assert!(popup.body.starts_with(&format!("{TITLE}\n")), "{popup:?}");
    assert!(popup.actions.is_empty());
    terminate(fisga);
}

#[test]
fn ids_that_start_over_reach_no_other_file() {
    let session = Session::bare();
    let (server, popups) = serve(&session, &["actions"]);
    let fisga = fisga(&session, &popups);
    let _open = session.hide("1", &session.video("First"));
    let first = popups.recv_timeout(PATIENCE).unwrap();
    drop(server);
    let (server, popups) = serve(&session, &["actions"]);
    // Another program's popup has the number that ours had.
    click(&server, first.id, "discard");
    let _open = session.hide("2", &session.video("Second"));
    // What came before this popup has been dealt with, and what that asked for before this status.
    popups.recv_timeout(PATIENCE).unwrap();
    let status = session.status();
    assert_eq!(session.sandbox.saved().len(), 2, "{status}");
    terminate(fisga);
}

/// A machine that is busy may make no picture in time, and then the popup comes without: some must
/// have one. Each try has a fisga of its own, since what is saved soon after another joins its
/// popup.
#[test]
fn pictures_of_videos() {
    common::program("ffmpegthumbnailer", "ffmpegthumbnailer");
    let session = Session::bare();
    let (_server, popups) = serve(&session, &["actions"]);
    terminate(fisga(&session, &popups));
    let picture = (1..=8).find_map(|n| {
        let fisga = session.fisga();
        let _open = session.hide(&n.to_string(), &session.video(&format!("Film {n}")));
        let popup = popups.recv_timeout(PATIENCE).unwrap();
        terminate(fisga);
        popup
            .hints
            .get("image-path")
            .map(|path| <&str>::try_from(path).unwrap().to_owned())
    });
    let picture = std::path::PathBuf::from(picture.expect("no popup has a picture"));
    assert!(
        picture.starts_with(session.sandbox.path("home/.cache/thumbnails")),
        "{picture:?}"
    );
    assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_burst_is_one_summary() {
    let session = Session::bare();
    let (_server, popups) = serve(&session, &["actions"]);
    let fisga = fisga(&session, &popups);
    session
        .sandbox
        .configure(json!({ "notifications": true, "thumbnails": false }));
    let videos: Vec<_> = (1..=5)
        .map(|n| session.video(&format!("Part {n}")))
        .collect();
    let _open: Vec<_> = videos
        .iter()
        .zip(1..)
        .map(|(v, n)| session.hide(&n.to_string(), v))
        .collect();
    let mut shown = vec![popups.recv_timeout(PATIENCE).unwrap()];
    while !shown.last().unwrap().body.contains("and 2 more") {
        shown.push(popups.recv_timeout(PATIENCE).unwrap());
    }
    assert!(shown.len() < 5, "as many popups as videos: {shown:?}");
    assert_eq!(shown.last().unwrap().summary, "5 videos saved");
    assert!(
        shown.iter().all(|popup| popup.id == shown[0].id),
        "in one popup: {shown:?}"
    );
    terminate(fisga);
}

#[test]
fn nobody_to_tell_and_then_someone() {
    let session = Session::barren();
    session.sandbox.configure(json!({ "notifications": true }));
    let fisga = session.fisga();
    let status = session.wait_status("no server", |s| s["desktop"]["notifications"] == false);
    assert!(status["missing"].to_string().contains("dunst"), "{status}");
    let _open = session.hide("1", &session.video(TITLE));
    session.wait_status("saved", |s| s["saved_today"] == 1);
    // What must be said is said when there is someone to say it; the popup of a video would be
    // stale by then.
    let start = Instant::now();
    let (server, popups) = serve(&session, &["actions"]);
    let welcome = popups.recv_timeout(PATIENCE).unwrap();
    assert!(welcome.summary.starts_with("fisga keeps"), "{welcome:?}");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    session.wait_status("a server", |s| s["desktop"]["notifications"] == true);
    drop(server);
    session.wait_status("no server again", |s| {
        s["desktop"]["notifications"] == false
    });
    terminate(fisga);
}
