//! Titles of players on a real bus: from a player's signals to the choice.
#![cfg(feature = "tray")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod common;
#[path = "streams/browser.rs"]
mod with_cache;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant, SystemTime},
};

use common::{
    browser::{self, Browser},
    cache,
    desktop::{Bus, Xvfb},
    media,
    page::Page,
    process::Group,
    sandbox::{Fisga, Sandbox},
    server::Server,
    sound,
};
use fisga::{
    desktop::mpris::Mpris,
    event::Event,
    title::{Choice, Family, Names, Showing, Titles, Wanted, Whose},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use zbus::zvariant::{OwnedValue, Value as Variant};

const PATIENCE: Duration = Duration::from_secs(30);
const PLAYER: &str = "FISGA_TEST_PLAYER";

/// A player in a process of its own: this test program again.
struct Player {
    process: Group,
    answers: BufReader<std::process::ChildStdout>,
}

impl Player {
    fn start(bus: &str, name: &str) -> Self {
        Self::start_program(&std::env::current_exe().unwrap(), bus, name)
    }

    /// A player whose process has this name, as far as anybody can see.
    fn start_as(sandbox: &Sandbox, program: &str, bus: &str, name: &str) -> Self {
        let link = sandbox.path(program);
        if !link.exists() {
            std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &link).unwrap();
        }
        Self::start_program(&link, bus, name)
    }

    fn start_program(program: &Path, bus: &str, name: &str) -> Self {
        let mut command = Command::new(program);
        command.args(["--exact", "player", "--ignored", "--nocapture", "--quiet"]);
        command
            .env(PLAYER, format!("{bus} {name}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Group::start(&mut command);
        let answers = BufReader::new(process.child().stdout.take().unwrap());
        let mut player = Self { process, answers };
        player.answer("here");
        player
    }

    /// Shows something: {title, url, length (seconds), status}.
    fn show(&mut self, what: &Value) {
        writeln!(self.process.child().stdin.as_mut().unwrap(), "{what}").unwrap();
        self.answer("shown");
    }

    /// A process below the player, as a browser's content process is.
    fn content_process(&mut self) -> u32 {
        writeln!(
            self.process.child().stdin.as_mut().unwrap(),
            "{}",
            json!({"fork": true})
        )
        .unwrap();
        self.answer("pid").parse().unwrap()
    }

    /// Waits until somebody has asked what it shows; who asks hears of every change.
    fn wait_asked(&mut self) {
        writeln!(
            self.process.child().stdin.as_mut().unwrap(),
            "{}",
            json!({"asked": true})
        )
        .unwrap();
        self.answer("asked");
    }

    /// A process below the player hides a file of this content, and closes it when the video has
    /// ended.
    fn hide(&mut self, path: &Path, content: &Path) {
        writeln!(
            self.process.child().stdin.as_mut().unwrap(),
            "{}",
            json!({"hide": [path, content]})
        )
        .unwrap();
        self.answer("hidden");
    }

    fn close(&mut self) {
        writeln!(
            self.process.child().stdin.as_mut().unwrap(),
            "{}",
            json!({"close": true})
        )
        .unwrap();
        self.answer("closed");
    }

    fn answer(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.answers.read_line(&mut line).unwrap() > 0,
                "the player ended"
            );
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().into();
            }
        }
    }
}

struct Shown {
    metadata: HashMap<String, OwnedValue>,
    status: String,
    asked: Sender<()>,
}

#[zbus::interface(name = "org.mpris.MediaPlayer2.Player")]
impl Shown {
    #[zbus(property)]
    fn metadata(&self) -> HashMap<String, OwnedValue> {
        let _ = self.asked.send(());
        self.metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.try_clone().unwrap()))
            .collect()
    }

    #[zbus(property)]
    fn playback_status(&self) -> &str {
        &self.status
    }
}

/// Not a test: the player's process.
#[test]
#[ignore = "a part of the other tests"]
fn player() {
    let Ok(job) = std::env::var(PLAYER) else {
        return;
    };
    let (bus, name) = job.split_once(' ').unwrap();
    let (sender, asked) = channel();
    let shown = Shown {
        metadata: HashMap::new(),
        status: String::new(),
        asked: sender,
    };
    let connection = zbus::blocking::connection::Builder::address(bus)
        .unwrap()
        .serve_at("/org/mpris/MediaPlayer2", shown)
        .unwrap()
        .name(format!("org.mpris.MediaPlayer2.{name}"))
        .unwrap()
        .build()
        .unwrap();
    let shown = connection
        .object_server()
        .interface::<_, Shown>("/org/mpris/MediaPlayer2")
        .unwrap();
    println!("here");
    let mut children = Vec::new();
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let what: Value = serde_json::from_str(&line).unwrap();
        if what["fork"] == true {
            let child = Command::new("sleep")
                .arg("1000")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            println!("pid {}", child.id());
            children.push(child);
            continue;
        }
        if what["asked"] == true {
            asked
                .recv_timeout(PATIENCE)
                .expect("nobody asks this player");
            println!("asked");
            continue;
        }
        if let Some([path, content]) = what["hide"].as_array().map(Vec::as_slice) {
            let script = "exec 3>\"$1\"; rm \"$1\"; cat \"$2\" >&3; echo done; read end";
            let mut child = Command::new("sh")
                .args([
                    "-c",
                    script,
                    "sh",
                    path.as_str().unwrap(),
                    content.as_str().unwrap(),
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            BufReader::new(child.stdout.as_mut().unwrap())
                .read_line(&mut String::new())
                .unwrap();
            children.push(child);
            println!("hidden");
            continue;
        }
        if what["close"] == true {
            let mut child = children.pop().unwrap();
            drop(child.stdin.take());
            child.wait().unwrap();
            println!("closed");
            continue;
        }
        let mut player = shown.get_mut();
        let mut put = |key: &str, value: Variant<'_>| {
            player
                .metadata
                .insert(key.into(), value.try_to_owned().unwrap());
        };
        put("mpris:trackid", Variant::from("/track"));
        for key in ["title", "url"] {
            if let Some(text) = what[key].as_str() {
                put(&format!("xesam:{key}"), Variant::from(text));
            }
        }
        if let Some(seconds) = what["length"].as_i64() {
            put("mpris:length", Variant::from(seconds * 1_000_000));
        }
        if let Some(status) = what["status"].as_str() {
            player.status = status.into();
        }
        zbus::block_on(player.metadata_changed(shown.signal_emitter())).unwrap();
        zbus::block_on(player.playback_status_changed(shown.signal_emitter())).unwrap();
        println!("shown");
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Waits until something of the kind is known.
fn until(titles: &Titles, what: &str, wanted: impl Fn(&Showing) -> bool) {
    let (changed, changes) = channel();
    titles.listen(move || {
        let _ = changed.send(());
    });
    let end = Instant::now() + PATIENCE;
    while !titles.players().showings().any(&wanted) {
        let left = end.saturating_duration_since(Instant::now());
        let change = changes.recv_timeout(left);
        assert!(change.is_ok(), "{what}: {:#?}", titles.players());
    }
}

fn is(title: &str) -> impl Fn(&Showing) -> bool {
    move |showing| showing.metadata.title.as_deref() == Some(title)
}

fn choose(titles: &Titles, pid: u32, from: SystemTime, length: Option<u64>) -> Choice {
    let now = SystemTime::now();
    titles.choose(&Wanted {
        whose: Whose::Process(&Family::of(pid)),
        from,
        to: now,
        deadline: now,
        length: length.map(Duration::from_secs),
        names: Names {
            source: Some(Path::new("/var/tmp/WebKit-Media-ABCDEF")),
            container: Some("the container's"),
            ..Names::default()
        },
    })
}

fn title(text: &str) -> Choice {
    Choice::Shown(text.into())
}

fn container_title() -> Choice {
    Choice::Named(Some("the container's".into()))
}

#[test]
fn a_player_that_was_there_and_one_that_comes() {
    let sandbox = Sandbox::new();
    let bus = Bus::start(&sandbox);
    let held = SystemTime::now();
    let mut first = Player::start(&bus.address, "one.instance1");
    first.show(&json!({"title": "First", "length": 60, "status": "Playing"}));
    let first_content = first.content_process();

    let titles = Titles::default();
    let mpris = Mpris::start_at(&bus.address, titles.clone()).unwrap();
    until(&titles, "a player that was there before", is("First"));

    let mut second = Player::start(&bus.address, "two.instance2");
    second.show(
        &json!({"title": "Second \u{1f3a3} / \u{5e2}\u{5d1}", "length": 90, "status": "Playing"}),
    );
    let second_content = second.content_process();
    until(
        &titles,
        "a player that came",
        is("Second \u{1f3a3} / \u{5e2}\u{5d1}"),
    );

    assert_eq!(
        choose(&titles, first_content, held, Some(60)),
        title("First")
    );
    assert_eq!(
        choose(&titles, second_content, held, None),
        title("Second \u{1f3a3} / \u{5e2}\u{5d1}")
    );
    assert_eq!(
        choose(&titles, std::process::id(), held, Some(60)),
        title("First"),
        "an unknown process: by length"
    );
    assert_eq!(
        choose(&titles, first_content, held, Some(300)),
        container_title(),
        "another video's length"
    );

    second.show(&json!({"title": "Firefox is playing media"}));
    until(&titles, "a private window", is("Firefox is playing media"));
    let later = SystemTime::now();
    assert_eq!(
        choose(&titles, second_content, later, Some(90)),
        Choice::Private
    );
    drop(mpris);
}

#[test]
fn what_was_shown_stays_known_when_the_player_ends() {
    let sandbox = Sandbox::new();
    let bus = Bus::start(&sandbox);
    let titles = Titles::default();
    let _mpris = Mpris::start_at(&bus.address, titles.clone()).unwrap();
    let held = SystemTime::now();
    let mut player = Player::start(&bus.address, "short");
    player.show(&json!({"title": "Gone soon", "status": "Playing"}));
    let family = Family::of(player.content_process());
    until(&titles, "the title", is("Gone soon"));
    drop(player);
    until(&titles, "the end of the player", |showing| {
        is("Gone soon")(showing) && showing.to.is_some()
    });
    let now = SystemTime::now();
    let wanted = Wanted {
        whose: Whose::Process(&family),
        from: held,
        to: now,
        deadline: now,
        length: None,
        names: Names::default(),
    };
    assert_eq!(titles.choose(&wanted), title("Gone soon"));
}

#[test]
fn a_player_that_hangs_keeps_nobody_waiting() {
    let sandbox = Sandbox::new();
    let bus = Bus::start(&sandbox);
    let hanging = Player::start(&bus.address, "a.hangs");
    hanging.process.signal(Signal::STOP);
    let titles = Titles::default();
    let mpris = Mpris::start_at(&bus.address, titles.clone()).unwrap();
    let mut good = Player::start(&bus.address, "b.works");
    let shown = Instant::now();
    good.show(&json!({"title": "Works", "status": "Playing"}));
    until(&titles, "the one that works", is("Works"));
    assert!(
        shown.elapsed() < Duration::from_secs(4),
        "waited {:?}",
        shown.elapsed()
    );

    let ending = Instant::now();
    drop(mpris);
    assert!(
        ending.elapsed() < Duration::from_secs(4),
        "took {:?} to end",
        ending.elapsed()
    );
    hanging.process.signal(Signal::CONT);
}

#[test]
fn a_thousand_changes_at_once() {
    let sandbox = Sandbox::new();
    let bus = Bus::start(&sandbox);
    let titles = Titles::default();
    let _mpris = Mpris::start_at(&bus.address, titles.clone()).unwrap();
    let mut player = Player::start(&bus.address, "busy");
    for n in 0..1000 {
        player.show(&json!({"title": format!("Title {n}"), "status": "Playing"}));
    }
    player.show(&json!({"title": "Last"}));
    until(&titles, "the last of many", is("Last"));
}

/// The address of a bus ends with its id, and the one that comes back has another.
#[test]
fn no_bus_and_a_bus_that_dies_and_comes_back() {
    let titles = Titles::default();
    drop(Mpris::start_at("unix:path=/nonexistent/bus", titles.clone()).unwrap());

    let sandbox = Sandbox::new();
    let bus = Bus::start(&sandbox);
    let mpris = Mpris::start_at(&bus.address, titles.clone()).unwrap();
    let address = bus.address.clone();
    let mut player = Player::start(&address, "orphan");
    player.show(&json!({"title": "Orphan", "status": "Playing"}));
    until(&titles, "the title", is("Orphan"));
    drop(bus);
    until(&titles, "the end of the bus", |showing| {
        is("Orphan")(showing) && showing.to.is_some()
    });
    let back = Bus::start(&sandbox);
    assert_ne!(back.address, address);
    let start = Instant::now();
    let mut player = Player::start(&back.address, "reborn");
    player.show(&json!({"title": "Reborn", "status": "Playing"}));
    until(&titles, "the title on the new bus", is("Reborn"));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(mpris);
}

/// What became of a video: fisga itself, on the bus of a player that shows something and hides a
/// file.
fn watched(shown: &Value) -> (Sandbox, Event) {
    let mut sandbox = Sandbox::new();
    let bus = Bus::start(&sandbox);
    sandbox.set("DBUS_SESSION_BUS_ADDRESS", bus.address.clone());
    let clip = media::clip("short.mp4");
    let mut fisga = sandbox.watch();
    let mut player = Player::start(&bus.address, "player");
    player.wait_asked();
    player.show(shown);
    player.hide(&sandbox.tmp().join("FlashABC"), &clip);
    fisga.wait_for("the hold", PATIENCE, |event| {
        matches!(event, Event::Held { .. })
    });
    player.close();
    let end = fisga.wait_for("an end", PATIENCE, |event| {
        matches!(
            event,
            Event::Saved(_) | Event::Dropped { .. } | Event::Lost { .. }
        )
    });
    (sandbox, end)
}

#[test]
fn a_saved_video_has_its_players_title() {
    let (sandbox, end) = watched(&json!({"title": ODD, "length": 15, "status": "Playing"}));
    let Event::Saved(saved) = end else {
        panic!("{end:?}")
    };
    assert_eq!(saved.title, ODD);
    let name = Path::new(&saved.path)
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    assert!(name.starts_with("Fish \u{1f3a3}"), "{name}");
    assert_eq!(sandbox.saved().len(), 1);
}

#[test]
fn a_private_window_is_not_saved() {
    let (sandbox, end) =
        watched(&json!({"title": "Firefox is playing media", "length": 15, "status": "Playing"}));
    let Event::Dropped { reason, .. } = &end else {
        panic!("{end:?}")
    };
    assert!(reason.contains("private"), "{reason}");
    assert!(sandbox.saved().is_empty());
    assert_eq!(sandbox.history().len(), 1);
}

/// What a browser's cache would have of a video: fisga on a bus, without a browser.
struct Cached {
    sandbox: Sandbox,
    bus: Bus,
    fisga: Fisga,
    cache: PathBuf,
}

impl Cached {
    fn start() -> Self {
        let mut sandbox = Sandbox::new();
        let bus = Bus::start(&sandbox);
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", bus.address.clone());
        sandbox.configure(json!({"sources": {"temporary_files": false, "browser_cache": true}}));
        let cache = sandbox.path("home/.cache/chromium/Default/Cache/Cache_Data");
        std::fs::create_dir_all(&cache).unwrap();
        let fisga = sandbox.watch();
        Self {
            sandbox,
            bus,
            fisga,
            cache,
        }
    }

    /// A player of Chromium that fisga listens to.
    fn player(&self, instance: &str) -> Player {
        let name = format!("chromium.{instance}");
        let mut player = Player::start_as(&self.sandbox, "chromium", &self.bus.address, &name);
        player.wait_asked();
        player
    }

    /// The entry of a video of 15 s, no two of which are the same.
    fn entry(&self, number: u8) -> (PathBuf, Vec<u8>) {
        let mut video = std::fs::read(media::clip("short.mp4")).unwrap();
        video.extend([0, 0, 0, 9]);
        video.extend(b"free");
        video.push(number);
        let url = format!("https://cdn.example/watch/lazy-address-{number}.mp4");
        let folder = self.sandbox.path("made");
        let path = cache::entry(&folder, number.into(), &url, "video/mp4", &video).unwrap();
        let entry = std::fs::read(&path).unwrap();
        (self.cache.join(path.file_name().unwrap()), entry)
    }

    /// It waits for longer than a video with a title does.
    fn none_saved(&mut self) {
        let end = Instant::now() + Duration::from_secs(3);
        let saved = |event: &Event| matches!(event, Event::Saved(_));
        assert_eq!(self.fisga.try_next(end, saved), None);
    }

    fn saved(&mut self) -> String {
        self.fisga.wait_saved(PATIENCE).title
    }
}

/// A title that came after the video, of the same length too, is another video's.
#[test]
fn a_stream_is_called_what_was_shown_while_it_came() {
    let mut cached = Cached::start();
    let mut first = cached.player("instance1");
    first.show(&json!({"title": "First", "length": 15, "status": "Playing"}));
    let (path, bytes) = cached.entry(1);
    let (early, late) = bytes.split_at(bytes.len() / 2);
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(early).unwrap();
    // Starting a process takes longer than hearing of a close.
    let mut second = cached.player("instance2");
    file.write_all(late).unwrap();
    drop(file);
    first.show(&json!({"title": "", "status": "Paused"}));
    second.show(&json!({"title": "Second", "length": 15, "status": "Playing"}));
    assert_eq!(cached.saved(), "First");
    let (path, bytes) = cached.entry(2);
    std::fs::write(path, bytes).unwrap();
    assert_eq!(cached.saved(), "Second");
}

/// Its page shows the title only after the whole of it was fetched. The next video ends the wait.
#[test]
fn a_short_stream_waits_for_its_title() {
    let mut cached = Cached::start();
    let mut player = cached.player("instance1");
    let (path, bytes) = cached.entry(1);
    std::fs::write(path, bytes).unwrap();
    cached.none_saved();
    player.show(&json!({"title": "Late", "length": 15, "status": "Playing"}));
    assert_eq!(cached.saved(), "Late");

    player.show(&json!({"title": "Longer", "length": 90, "status": "Playing"}));
    // That this one is asked shows that what was said before was heard.
    let _other = cached.player("instance2");
    let (path, bytes) = cached.entry(2);
    std::fs::write(path, bytes).unwrap();
    cached.none_saved();
    let next = Instant::now();
    let (path, bytes) = cached.entry(3);
    std::fs::write(path, bytes).unwrap();
    assert_eq!(cached.saved(), "lazy-address-2");
    assert!(next.elapsed() < Duration::from_secs(10), "it waited");
}

/// A real browser that plays a page's video with sound, and what is heard of it.
struct Watching {
    titles: Titles,
    held: SystemTime,
    browser: Browser,
    _mpris: Mpris,
    _server: Server,
    _display: Xvfb,
    _sound: Group,
    _bus: Bus,
    _sandbox: Sandbox,
}

impl Watching {
    fn start(
        clip: &str,
        title: &str,
        start: impl FnOnce(&Sandbox, &Xvfb, &str) -> Browser,
    ) -> Self {
        let mut sandbox = Sandbox::new();
        let bus = Bus::start(&sandbox);
        sandbox.set("DBUS_SESSION_BUS_ADDRESS", bus.address.clone());
        let titles = Titles::default();
        let mpris = Mpris::start_at(&bus.address, titles.clone()).unwrap();
        let sound = sound::server(&sandbox);
        let display = Xvfb::start(&sandbox);
        media::clip(clip);
        let mut server = Server::start(&media::folder(), 4 << 20);
        let held = SystemTime::now();
        let page = server.page(&Page::new(clip).title(title).sound());
        let browser = start(&sandbox, &display, &page);
        server.wait_for("playing", PATIENCE * 3);
        Self {
            titles,
            held,
            browser,
            _mpris: mpris,
            _server: server,
            _display: display,
            _sound: sound,
            _bus: bus,
            _sandbox: sandbox,
        }
    }

    /// The process of the browser that has its temporary file open: it has, since the video plays.
    fn holder(&self, name: &str) -> u32 {
        let mut family = vec![self.browser.group.id()];
        while let Some(pid) = family.pop() {
            let links = std::fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            let mut files = links.filter_map(|link| std::fs::read_link(link.path()).ok());
            if files.any(|file| file.to_string_lossy().contains(name)) {
                return pid;
            }
            // Each thread has children of its own (proc(5)).
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let children =
                    std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                family.extend(
                    children
                        .split_whitespace()
                        .map(|pid| pid.parse::<u32>().unwrap()),
                );
            }
        }
        panic!("no process of the browser has {name} open");
    }
}

const ODD: &str = "Fish \u{1f3a3} / \u{5d3}\u{5d2} <3";

#[test]
fn a_page_in_minibrowser() {
    let watching = Watching::start("short.mp4", ODD, browser::minibrowser);
    until(&watching.titles, "MiniBrowser's title", is(ODD));
    let holder = watching.holder("/WebKit-Media-");
    assert_eq!(
        choose(&watching.titles, holder, watching.held, Some(15)),
        title(ODD)
    );
}

#[test]
fn a_page_in_firefox() {
    let watching = Watching::start("big.mp4", ODD, |sandbox, display, url| {
        browser::firefox(sandbox, display, url, &[])
    });
    until(&watching.titles, "Firefox's title", is(ODD));
    let holder = watching.holder("/mozilla-temp-");
    assert_eq!(
        choose(&watching.titles, holder, watching.held, Some(60)),
        title(ODD)
    );
}

#[test]
fn a_private_window_of_firefox() {
    let watching = Watching::start("big.mp4", "Nobody's business", |sandbox, display, url| {
        browser::firefox(sandbox, display, url, &["--private-window"])
    });
    until(&watching.titles, "Firefox's placeholder", |showing| {
        showing.metadata.is_private() && showing.played
    });
    let holder = watching.browser.group.id();
    let choice = choose(&watching.titles, holder, watching.held, Some(60));
    assert_eq!(choice, Choice::Private);
    let told = format!("{:?}", watching.titles.players());
    assert!(!told.contains("business"), "{told}");
}

#[test]
fn a_page_without_a_title_in_firefox_is_not_private() {
    let watching = Watching::start("big.mp4", "", |sandbox, display, url| {
        browser::firefox(sandbox, display, url, &[])
    });
    until(&watching.titles, "Firefox's placeholder", |showing| {
        showing
            .metadata
            .title
            .as_deref()
            .is_some_and(fisga::title::placeholder::is_placeholder)
    });
    let choice = choose(
        &watching.titles,
        watching.browser.group.id(),
        watching.held,
        Some(60),
    );
    assert_eq!(choice, container_title());
}

/// Out of a real browser's cache: no process is known, so its name decides whose title it is, and
/// the whole is there before the page plays.
fn out_of_the_cache(kind: with_cache::Browser) {
    let mut sandbox = Sandbox::new();
    let bus = Bus::start(&sandbox);
    let _sound = sound::server(&sandbox);
    let display = Xvfb::start(&sandbox);
    sandbox
        .set("DBUS_SESSION_BUS_ADDRESS", bus.address.clone())
        .set("DISPLAY", display.display.clone())
        .configure(json!({"sources": {"temporary_files": false, "browser_cache": true}}));
    media::clip("short.mp4");
    let mut server = Server::start(&media::folder(), 4 << 20);
    let mut fisga = sandbox.watch();
    let page = server.page(&Page::new("short.mp4?norange=1").title(ODD).sound());
    let _browser = kind.start(&sandbox, &page, None);
    server.wait_for("playing", PATIENCE * 3);
    let saved = fisga.wait_saved(PATIENCE);
    assert_eq!(
        (saved.verdict.as_str(), saved.title.as_str()),
        ("complete", ODD)
    );
}

#[test]
fn a_page_out_of_chromiums_cache() {
    out_of_the_cache(with_cache::Browser::Chromium);
}

#[test]
fn a_page_out_of_firefoxes_cache() {
    out_of_the_cache(with_cache::Browser::Firefox);
}
