//! Real players, playing from a slow server: what they leave in the library.
//!
//! They run one at a time: two browsers decoding video at once would only measure each other.

mod common;

use std::{
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{
    browser::{self, Browser},
    desktop::Xvfb,
    media,
    page::Page,
    process::Group,
    same,
    sandbox::{Fisga, SOON, Sandbox, rules},
    server::Server,
};
use fisga::event::{Completeness, Event, How, Saved};
use serde_json::json;

/// Enough to play a minute of video eight times as fast, on a machine that is busy with other
/// things.
const PLAYED: Duration = Duration::from_secs(180);

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it lies in the folder of what is not whole.
fn is_apart(saved: &Saved) -> bool {
    saved
        .path
        .parent()
        .is_some_and(|folder| folder.ends_with("Incomplete"))
}

/// A sandbox with a shipped rule on, a display, and a server that sends 6 MB a second on each
/// connection.
struct Stage {
    sandbox: Sandbox,
    display: Xvfb,
    server: Server,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    fn new(rule: &str) -> Self {
        Self::on(Sandbox::new(), rule)
    }

    fn on(sandbox: Sandbox, rule: &str) -> Self {
        let turn = turn();
        sandbox.configure(json!({ "rules": rules(&[rule], json!([])) }));
        let display = Xvfb::start(&sandbox);
        let server = Server::start(&media::folder(), 6_000_000);
        Self {
            sandbox,
            display,
            server,
            _turn: turn,
        }
    }

    fn minibrowser(&self, page: &Page) -> Browser {
        browser::minibrowser(&self.sandbox, &self.display, &self.server.page(page))
    }

    fn firefox(&self, page: &Page) -> Browser {
        browser::firefox(&self.sandbox, &self.display, &self.server.page(page), &[])
    }
}

/// The next file in the library that is a clip, byte for byte. Other programs on the machine play,
/// too: what they leave in a folder that all share is passed over.
fn wait_same(fisga: &mut Fisga, clip: &Path) -> Saved {
    let event = fisga.wait_for(
        &format!("{}, byte for byte", clip.display()),
        PLAYED,
        |event| match event {
            Event::Saved(saved) => same(Path::new(&saved.path), clip),
            _ => false,
        },
    );
    match event {
        Event::Saved(saved) => saved,
        _ => unreachable!(),
    }
}

#[test]
fn minibrowser() {
    let mut stage = Stage::new("webkit");
    let mut fisga = stage.sandbox.watch();
    for name in ["short.mp4", "short.webm", "short.ogv"] {
        let clip = media::clip(name);
        let browser = stage.minibrowser(&Page::new(name).rate(2.0));
        stage.server.wait_for("ended", PLAYED);
        drop(browser);
        let saved = wait_same(&mut fisga, &clip);
        assert_eq!(
            (saved.verdict.as_str(), saved.rule.as_str()),
            ("complete", "webkit"),
            "{name}"
        );
        assert_eq!(saved.container, name.split_once('.').unwrap().1);
    }
    fisga.stop();
}

/// Stopped half-way, and the tail that the browser probes is there: not whole.
#[test]
fn minibrowser_half_way() {
    let mut stage = Stage::new("webkit");
    let clip = media::clip("big-end.mp4");
    let mut fisga = stage.sandbox.watch();
    let browser = stage.minibrowser(&Page::new("big-end.mp4?rate=1000000"));
    stage.server.wait_for("playing", PLAYED);
    drop(browser);
    let event = fisga.wait_for("part of the clip", SOON, |event| match event {
        Event::Saved(saved) => {
            saved.bytes <= clip.metadata().unwrap().len()
                && saved.verdict == Completeness::Incomplete
        }
        _ => false,
    });
    let Event::Saved(saved) = event else {
        unreachable!()
    };
    assert!(is_apart(&saved) && saved.fraction < 0.9, "{saved:?}");
    fisga.stop();
}

/// GStreamer's playbin with the download flag, with the temporary file and the library on one file
/// system and on two.
#[test]
fn playbin() {
    let clip = media::clip("short.mp4");
    for (home, library) in [
        (std::env::temp_dir(), None),
        ("/dev/shm".into(), Some(media::folder())),
    ] {
        let stage = Stage::on(Sandbox::on(&home), "gstreamer");
        let library = library.map(|folder| tempfile::tempdir_in(folder).unwrap());
        if let Some(library) = &library {
            let rules = rules(&["gstreamer"], json!([]));
            stage
                .sandbox
                .configure(json!({ "library": library.path(), "rules": rules }));
        }
        let mut fisga = stage.sandbox.watch();
        let mut player = playbin_of(&stage, "short.mp4");
        let held = fisga.wait_for("held", SOON, |event| matches!(event, Event::Held { .. }));
        let status = player.wait(PLAYED).expect("the player ends with the video");
        assert!(status.success(), "{status}");
        let saved = wait_same(&mut fisga, &clip);
        assert_eq!(
            (saved.verdict.as_str(), saved.how),
            ("complete", how(&held))
        );
        if let Some(library) = library {
            assert!(Path::new(&saved.path).starts_with(library.path()));
        }
        fisga.stop();
    }
}

fn playbin_of(stage: &Stage, clip: &str) -> Group {
    let program = common::program("gst-launch-1.0", "gstreamer1.0-tools");
    let mut command = stage.sandbox.command(program);
    command.args([
        "-q",
        "playbin",
        "flags=151",
        "video-sink=fakevideosink",
        "audio-sink=fakesink sync=true",
    ]);
    command.arg(format!("uri={}", stage.server.url(clip)));
    Group::start(&mut command)
}

fn how(held: &Event) -> How {
    match held {
        Event::Held { how, .. } => *how,
        other => panic!("{other:?}"),
    }
}

/// The player was there first, and its file has no name any more: fisga finds it when it starts.
#[test]
fn player_first() {
    let mut stage = Stage::new("webkit");
    let clip = media::clip("short.mp4");
    let browser = stage.minibrowser(&Page::new("short.mp4"));
    stage.server.wait_for("playing", PLAYED);
    let mut fisga = stage.sandbox.watch();
    stage.server.wait_for("ended", PLAYED);
    drop(browser);
    assert_eq!(wait_same(&mut fisga, &clip).how, How::Attach);
    fisga.stop();
}

/// Programs that keep the real names in folders of their own, made together with the file.
#[test]
fn torrents() {
    for (rule, path) in [
        (
            "webtorrent",
            "webtorrent/Some Film (1999)/Disc 1/Some Film.mp4",
        ),
        (
            "peerflix",
            "torrent-stream/0123456789abcdef/Some Film/Extras/a/b/c/Some Film.mp4",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.configure(json!({ "rules": rules(&[rule], json!([])) }));
        let clip = media::clip("short.mp4");
        let mut fisga = sandbox.watch();
        let path = sandbox.tmp().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&clip, &path).unwrap();
        let saved = wait_same(&mut fisga, &clip);
        assert_eq!(saved.rule, rule);
        // The producer's own file stays as it is.
        assert!(same(&path, &clip));
        fisga.stop();
    }
}

/// Plays a page in Firefox up to an event, closes it, and expects clips in the library, byte for
/// byte, and nothing else.
fn firefox_leaves(page: &Page, events: &[&str], clips: &[&str]) {
    let clips: Vec<_> = clips.iter().map(|name| media::clip(name)).collect();
    let mut stage = Stage::new("firefox");
    let mut fisga = stage.sandbox.watch();
    let browser = stage.firefox(page);
    for event in events {
        stage.server.wait_for(event, PLAYED);
    }
    drop(browser);
    for clip in &clips {
        let saved = wait_same(&mut fisga, clip);
        assert_eq!(
            (saved.verdict.as_str(), saved.rule.as_str()),
            ("complete", "firefox")
        );
    }
    fisga.stop();
    assert_eq!(
        stage.sandbox.saved().len(),
        clips.len(),
        "{:?}",
        stage.sandbox.saved()
    );
}

/// A plain play: the zeros at the end are cut.
#[test]
fn firefox_to_the_end() {
    firefox_leaves(&Page::new("big.mp4").rate(8.0), &["ended"], &["big.mp4"]);
}

#[test]
fn firefox_webm() {
    firefox_leaves(&Page::new("big.webm").rate(8.0), &["ended"], &["big.webm"]);
}

/// The tail with the index arrives between the head and the rest.
#[test]
fn firefox_index_at_the_end() {
    firefox_leaves(
        &Page::new("big-end.mp4").rate(8.0),
        &["ended"],
        &["big-end.mp4"],
    );
}

/// Forward, and then the whole: the second half lies before the first.
#[test]
fn firefox_seek() {
    let page = Page::new("big.mp4?rate=3000000")
        .rate(8.0)
        .seek(1.0, 40.0)
        .again();
    firefox_leaves(&page, &["ended", "ended again"], &["big.mp4"]);
}

#[test]
fn firefox_seek_in_webm() {
    let page = Page::new("big.webm?rate=1500000")
        .rate(8.0)
        .seek(1.0, 40.0)
        .seek(45.0, 20.0)
        .again();
    firefox_leaves(&page, &["ended", "ended again"], &["big.webm"]);
}

/// Firefox decodes no Theora any more, but plays the sound; the file arrives head, tail, rest.
#[test]
fn firefox_ogg() {
    firefox_leaves(&Page::new("big.ogv").rate(8.0), &["ended"], &["big.ogv"]);
}

/// Stopped half-way: kept apart, with the share that is there.
#[test]
fn firefox_half_way() {
    let clip = media::clip("big.mp4");
    let mut stage = Stage::new("firefox");
    let mut fisga = stage.sandbox.watch();
    let browser = stage.firefox(&Page::new("big.mp4?rate=2000000").seek(0.5, 50.0));
    stage.server.wait_for("seeked", PLAYED);
    stage.server.wait_for("playing", PLAYED);
    drop(browser);
    let saved = fisga.wait_saved(SOON);
    assert_eq!(saved.verdict, Completeness::Incomplete, "{saved:?}");
    assert!(
        is_apart(&saved) && (0.001..0.9).contains(&saved.fraction),
        "{saved:?}"
    );
    // What is there lies where it belongs.
    let (made, clip) = (fs::read(&saved.path).unwrap(), fs::read(clip).unwrap());
    let blocks = made.chunks(32 << 10).zip(clip.chunks(32 << 10));
    let other = blocks
        .filter(|(made, clip)| made != clip && made.iter().any(|byte| *byte != 0))
        .count();
    // The last block of each of the two downloads is cut off somewhere.
    assert!(other <= 2, "{other} blocks are not the clip's");
    fisga.stop();
}

/// Two at once share one file. They are taken apart where the structure allows it; what is not
/// certain is said to be damaged, and kept apart.
#[test]
fn firefox_two_at_once() {
    let clips = ["big.webm", "other.mp4"].map(media::clip);
    let mut stage = Stage::new("firefox");
    let mut fisga = stage.sandbox.watch();
    let browser = stage.firefox(&Page::new("big.webm").second("other.mp4").rate(6.0));
    stage.server.wait_for("ended", PLAYED);
    stage.server.wait_for("ended2", PLAYED);
    drop(browser);
    for _ in 0..2 {
        let saved = fisga.wait_saved(SOON);
        let exact = clips.iter().any(|clip| same(Path::new(&saved.path), clip));
        match saved.verdict.as_str() {
            "complete" => assert!(exact, "{saved:?}"),
            "damaged" => assert!(is_apart(&saved), "{saved:?}"),
            _ => panic!("{saved:?}"),
        }
        println!(
            "{}: {}, {}",
            saved.container,
            saved.verdict.as_str(),
            if exact { "exact" } else { "not exact" }
        );
    }
    fisga.stop();
}

/// The same video again is there already.
#[test]
fn the_same_twice() {
    let mut stage = Stage::new("webkit");
    let clip = media::clip("short.mp4");
    let mut fisga = stage.sandbox.watch();
    for round in ["first", "second"] {
        let browser = stage.minibrowser(&Page::new("short.mp4").rate(2.0).title(round));
        stage.server.wait_for("ended", PLAYED);
        drop(browser);
        if round == "first" {
            wait_same(&mut fisga, &clip);
        }
    }
    fisga.wait_for("a duplicate dropped", PLAYED, |event| match event {
        Event::Dropped { reason, .. } => reason.starts_with("duplicate of"),
        _ => false,
    });
    fisga.stop();
    let copies = stage
        .sandbox
        .saved()
        .into_iter()
        .filter(|saved| same(saved, &clip))
        .count();
    assert_eq!(copies, 1);
}
