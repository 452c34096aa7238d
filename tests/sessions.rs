//! Sessions of real browsers, from the page to the library: what was watched, and what is there
//! afterwards, under which name, and why.
//!
//! The browsers are heard (a sound server without a sound card), so that they show their titles on
//! the bus. Each test prints a line of the table that the whole makes. They take seven minutes, and
//! a title has to come in time, which on a busy machine it may not:
//!
//!     cargo test --test sessions -- --ignored --test-threads 1 --nocapture
#![cfg(feature = "tray")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod common;

use std::{
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{
    browser::{self, Browser},
    desktop::{Bus, Xvfb},
    media,
    page::Page,
    process::Group,
    same,
    sandbox::{Fisga, Sandbox, rules},
    server::Server,
    sound,
};
use fisga::event::{Event, Saved};
use serde_json::json;

/// Enough to play a minute of video, on a machine that is busy with other things.
const PLAYED: Duration = Duration::from_secs(60);

const EMOJI: &str = "Pêche 🎣👨‍👩‍👧 au lac";
const SLASH: &str = "AC/DC: live? <\"Thunder\\struck\"> | 1/2";
const RIGHT_TO_LEFT: &str = "דיג בכנרת – صيد السمك";

/// 300 characters, of one to four bytes.
fn long() -> String {
    "Ein sehr länger Titel 🐟 "
        .chars()
        .cycle()
        .take(300)
        .collect()
}

/// Browsers that decode at the same time would only measure each other.
static TURN: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, Debug, PartialEq)]
enum App {
    MiniBrowser,
    PrivateMiniBrowser,
    Firefox,
    PrivateFirefox,
}

/// A desktop with a bus, a display, sound, fisga, and one browser at a time.
struct Session {
    app: App,
    fisga: Fisga,
    server: Server,
    display: Xvfb,
    _sound: Group,
    _bus: Bus,
    sandbox: Sandbox,
    _turn: MutexGuard<'static, ()>,
}

impl Session {
    fn new(app: App) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sandbox = Sandbox::new();
        let rule = if app.is_firefox() {
            "firefox"
        } else {
            "webkit"
        };
        sandbox.configure(json!({ "rules": rules(&[rule], json!([])) }));
        let bus = Bus::start(&sandbox);
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", bus.address.clone());
        let sound = sound::server(&sandbox);
        let display = Xvfb::start(&sandbox);
        let server = Server::start(&media::folder(), 6_000_000);
        let fisga = sandbox.watch();
        Self {
            app,
            fisga,
            server,
            display,
            _sound: sound,
            _bus: bus,
            sandbox,
            _turn: turn,
        }
    }

    /// Plays a page with these clips until it has reported these events, and closes the browser.
    fn play(&mut self, page: &Page, clips: &[&str], until: &[&str]) {
        for clip in clips {
            media::clip(clip);
        }
        let url = self.server.page(page);
        let (sandbox, display) = (&self.sandbox, &self.display);
        let browser: Browser = match self.app {
            App::MiniBrowser => browser::minibrowser(sandbox, display, &url),
            App::PrivateMiniBrowser => {
                browser::minibrowser_with(sandbox, display, &url, &["--private"])
            }
            App::Firefox => browser::firefox(sandbox, display, &url, &[]),
            App::PrivateFirefox => browser::firefox(sandbox, display, &url, &["--private-window"]),
        };
        for event in until {
            self.server.wait_for(event, PLAYED);
        }
        drop(browser);
    }

    /// What became of a video under this title. In WebKit's folder, which all share, other
    /// programs' files are passed over.
    fn saved(&mut self, title: &str, clip: &str) -> Saved {
        let (clip, app) = (media::clip(clip), self.app);
        let ours = |saved: &Saved| {
            app.is_firefox()
                || saved.title == title
                    && (!saved.verdict.is_whole() || same(Path::new(&saved.path), &clip))
        };
        let event =
            self.fisga.wait_for(
                &format!("{title}, {}", clip.display()),
                PLAYED,
                |event| match event {
                    Event::Saved(saved) => ours(saved),
                    _ => false,
                },
            );
        let Event::Saved(saved) = event else {
            unreachable!()
        };
        println!(
            "| {app:?} | {} | {} | {} | {} |",
            saved.verdict.as_str(),
            Path::new(&saved.path)
                .strip_prefix(self.sandbox.library())
                .unwrap()
                .display(),
            saved.producer.as_deref().unwrap_or("?"),
            saved.bytes,
        );
        saved
    }

    /// Saved whole, byte for byte, under this title.
    fn whole(&mut self, title: &str, clip: &str) -> Saved {
        let saved = self.saved(title, clip);
        assert_eq!(
            (saved.verdict.as_str(), saved.title.as_str()),
            ("complete", title)
        );
        assert!(
            same(Path::new(&saved.path), &media::clip(clip)),
            "{saved:?}"
        );
        let producer = saved.producer.as_deref().unwrap_or_default();
        assert!(
            producer.starts_with(if self.app.is_firefox() { "firefox" } else { "" }),
            "{saved:?}"
        );
        saved
    }

    fn dropped(&mut self, why: &str) {
        let event = self.fisga.wait_for(why, PLAYED, |event| match event {
            Event::Dropped { reason, .. } => reason.starts_with(why),
            _ => false,
        });
        let Event::Dropped { reason, .. } = event else {
            unreachable!()
        };
        println!("| {:?} | dropped | {reason} | | |", self.app);
    }

    /// No more than so many files are in the library. (In WebKit's folder others play, too.)
    fn end(self, files: usize) {
        self.fisga.stop();
        let saved = self.sandbox.saved();
        assert!(!self.app.is_firefox() || saved.len() == files, "{saved:?}");
    }
}

impl App {
    fn is_firefox(self) -> bool {
        matches!(self, Self::Firefox | Self::PrivateFirefox)
    }

    /// A clip that it keeps in a file: Firefox does above 8 MiB.
    fn clip(self) -> &'static str {
        if self.is_firefox() {
            "big.mp4"
        } else {
            "short.mp4"
        }
    }

    /// As fast as it plays with sound.
    fn rate(self) -> f64 {
        if self.is_firefox() { 4.0 } else { 2.0 }
    }

    fn page(self, clip: &str, title: &str) -> Page {
        Page::new(clip).title(title).sound().rate(self.rate())
    }
}

fn name_of(saved: &Saved) -> String {
    Path::new(&saved.path)
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

fn to_the_end(app: App) {
    let mut session = Session::new(app);
    session.play(&app.page(app.clip(), EMOJI), &[app.clip()], &["ended"]);
    let saved = session.whole(EMOJI, app.clip());
    assert!(name_of(&saved).starts_with("Pêche 🎣"), "{saved:?}");
    session.end(1);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn to_the_end_in_minibrowser() {
    to_the_end(App::MiniBrowser);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn to_the_end_in_firefox() {
    to_the_end(App::Firefox);
}

/// Kept apart, with the share that is there in its name.
fn half_way(app: App) {
    let mut session = Session::new(app);
    let page = app
        .page("big.mp4?rate=1000000", SLASH)
        .rate(1.0)
        .seek(1.0, 4.0);
    session.play(&page, &["big.mp4"], &["seeked", "playing"]);
    let saved = session.saved(SLASH, "big.mp4");
    assert_eq!(
        (saved.verdict.as_str(), saved.title.as_str()),
        ("incomplete", SLASH)
    );
    assert!(
        saved.path.parent().unwrap().ends_with("Incomplete")
            && (0.001..0.9).contains(&saved.fraction),
        "{saved:?}"
    );
    assert!(name_of(&saved).contains(" %"), "{saved:?}");
    session.end(1);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn half_way_in_minibrowser() {
    half_way(App::MiniBrowser);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn half_way_in_firefox() {
    half_way(App::Firefox);
}

/// Forward, then the whole from its beginning.
fn seek_and_all(app: App, clip: &str, rate: u32, from: f64, to: f64) {
    let mut session = Session::new(app);
    let page = app
        .page(&format!("{clip}?rate={rate}"), SLASH)
        .seek(from, to)
        .again();
    session.play(&page, &[clip], &["seeked", "ended", "ended again"]);
    let saved = session.whole(SLASH, clip);
    assert!(
        name_of(&saved).starts_with("AC-DC- live ('Thunder-struck') - 1-2"),
        "{saved:?}"
    );
    session.end(1);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn seek_and_all_in_minibrowser() {
    seek_and_all(App::MiniBrowser, "short.mp4", 400_000, 1.0, 11.0);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn seek_and_all_in_firefox() {
    seek_and_all(App::Firefox, "big.mp4", 3_000_000, 1.0, 40.0);
}

fn index_at_the_end(app: App, clip: &str) {
    let mut session = Session::new(app);
    session.play(&app.page(clip, RIGHT_TO_LEFT), &[clip], &["ended"]);
    let saved = session.whole(RIGHT_TO_LEFT, clip);
    assert!(name_of(&saved).starts_with(RIGHT_TO_LEFT), "{saved:?}");
    session.end(1);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn index_at_the_end_in_minibrowser() {
    index_at_the_end(App::MiniBrowser, "short-end.mp4");
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn index_at_the_end_in_firefox() {
    index_at_the_end(App::Firefox, "big-end.mp4");
}

/// The second time it is there already.
fn twice(app: App) {
    let mut session = Session::new(app);
    let title = long();
    for round in 0..2 {
        session.play(&app.page(app.clip(), &title), &[app.clip()], &["ended"]);
        if round == 0 {
            let saved = session.whole(title.trim(), app.clip());
            let name = name_of(&saved);
            assert!(
                name.len() <= 255
                    && name.starts_with("Ein sehr länger Titel 🐟 Ein")
                    && name.len() > 200,
                "{name}"
            );
            let stem = Path::new(&name).file_stem().unwrap().to_str().unwrap();
            assert!(
                stem.as_bytes()[stem.len() - 8..].is_ascii(),
                "the time stays: {name}"
            );
        }
    }
    session.dropped("duplicate of");
    session.end(1);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn twice_in_minibrowser() {
    twice(App::MiniBrowser);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn twice_in_firefox() {
    twice(App::Firefox);
}

/// Two videos of one page bear its title; the second name is numbered or of another second.
#[test]
#[ignore = "minutes of real browsers: see above"]
fn two_at_once_in_minibrowser() {
    let mut session = Session::new(App::MiniBrowser);
    let page = App::MiniBrowser
        .page("short.mp4", EMOJI)
        .second("short-vp9.webm");
    session.play(
        &page,
        &["short.mp4", "short-vp9.webm"],
        &["ended", "ended2"],
    );
    session.whole(EMOJI, "short.mp4");
    session.whole(EMOJI, "short-vp9.webm");
    session.end(2);
}

/// They share one file of Firefox's: each is exact, or said to be damaged and kept apart.
#[test]
#[ignore = "minutes of real browsers: see above"]
fn two_at_once_in_firefox() {
    let mut session = Session::new(App::Firefox);
    let clips = ["big.webm", "other.mp4"];
    let page = App::Firefox.page(clips[0], EMOJI).second(clips[1]);
    session.play(&page, &clips, &["ended", "ended2"]);
    for _ in clips {
        let saved = session.saved(EMOJI, clips[0]);
        let exact = clips
            .iter()
            .any(|clip| same(Path::new(&saved.path), &media::clip(clip)));
        match saved.verdict.as_str() {
            "complete" => assert!(exact && saved.title == EMOJI, "{saved:?}"),
            "damaged" => assert!(
                saved.path.parent().unwrap().ends_with("Incomplete"),
                "{saved:?}"
            ),
            _ => panic!("{saved:?}"),
        }
    }
    session.end(2);
}

/// Not kept, and its title is nowhere.
#[test]
#[ignore = "minutes of real browsers: see above"]
fn private_window_of_firefox() {
    let app = App::PrivateFirefox;
    let mut session = Session::new(app);
    session.play(
        &app.page(app.clip(), "Nobody's business"),
        &[app.clip()],
        &["ended"],
    );
    session.dropped("played in a private window");
    let state = session
        .sandbox
        .path("home/.local/state/fisga/history.jsonl");
    assert!(
        !fs::read_to_string(state)
            .unwrap_or_default()
            .contains("business")
    );
    session.end(0);
}

/// WebKitGTK shows nothing of a private window on the bus, not even that there is one: nothing
/// tells it from a muted video.
#[test]
#[ignore = "minutes of real browsers: see above"]
fn private_window_of_minibrowser() {
    let app = App::PrivateMiniBrowser;
    let mut session = Session::new(app);
    session.play(
        &app.page(app.clip(), "Nobody's business"),
        &[app.clip()],
        &["ended"],
    );
    session.whole("Video", app.clip());
    let state = session
        .sandbox
        .path("home/.local/state/fisga/history.jsonl");
    assert!(
        !fs::read_to_string(state)
            .unwrap_or_default()
            .contains("business")
    );
    session.end(1);
}

/// WebKitGTK shows a title though nobody hears it. Firefox doesn't: the container's own, of which
/// the clips have none, or "Video".
fn muted(app: App, title: &str, name: &str) {
    let mut session = Session::new(app);
    let page = Page::new(app.clip()).title(EMOJI).rate(app.rate());
    session.play(&page, &[app.clip()], &["ended"]);
    let saved = session.whole(title, app.clip());
    assert!(name_of(&saved).starts_with(name), "{saved:?}");
    session.end(1);
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn muted_in_minibrowser() {
    muted(App::MiniBrowser, EMOJI, "Pêche 🎣");
}

#[test]
#[ignore = "minutes of real browsers: see above"]
fn muted_in_firefox() {
    muted(App::Firefox, "Video", "Video 2");
}
