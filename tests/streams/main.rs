//! Streams in real browsers, from the page to the library: hls.js, dash.js, shaka, video.js and the
//! browser's own player, with the cache headers of many sites.
//!
//! Every run plays one row of each kind in both browsers. The whole table, printed: `cargo test
//! --release --test streams -- --ignored --nocapture --test-threads 1`, in half an hour.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod browser;
mod clips;
#[path = "../common/mod.rs"]
mod common;
mod site;

use std::{
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use browser::Browser::{self, Chromium, Firefox};
use clips::{SECONDS, joined};
use common::sandbox::{Fisga, Sandbox};
use fisga::event::{Event, Saved};
use serde_json::json;
use site::Site;

/// How long a page may say nothing.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long fisga may take after the last page: an incomplete stream is given out after a minute of
/// silence.
const MINUTE: Duration = Duration::from_secs(75);
const SOON: Duration = Duration::from_secs(10);
/// How long one look for fisga's events takes while pages play.
const LITTLE: Duration = Duration::from_millis(200);

/// One page of a session and what is to come of it.
struct Row {
    name: &'static str,
    player: &'static str,
    policy: &'static str,
    set: &'static str,
    file: &'static str,
    more: &'static str,
    chromium: Want,
    firefox: Want,
}

/// What is to be in the library.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    /// These bytes: the set's segments one after the other.
    Exact,
    /// As many pictures as the source has, and no complaint of the decoder.
    Frames,
    /// The same, though nothing tells where the end is.
    Guessed,
    /// Some of it, in its place, and called incomplete.
    Part,
    /// The browser keeps nothing, or some of it, or by chance all: never less than fisga says.
    Scraps,
    /// Nothing: the browser doesn't store it.
    Nothing,
    /// Nothing: left alone, with the reason.
    Dropped(&'static str),
}

use Want::{Dropped, Exact, Frames, Guessed, Nothing, Part, Scraps};

const fn row(
    name: &'static str,
    (player, policy): (&'static str, &'static str),
    (set, file): (&'static str, &'static str),
    more: &'static str,
    chromium: Want,
    firefox: Want,
) -> Row {
    Row {
        name,
        player,
        policy,
        set,
        file,
        more,
        chromium,
        firefox,
    }
}

/// One of each kind.
const FEW: [Row; 8] = [
    row(
        "transport",
        ("hls", "maxage"),
        ("ts", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "fragmented",
        ("hls", "br"),
        ("fmp4", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "apart",
        ("hls", "maxage"),
        ("sound", "index.m3u8"),
        "",
        Frames,
        Frames,
    ),
    row(
        "ranges",
        ("hls", "maxage"),
        ("range", "index.m3u8"),
        "",
        Exact,
        Nothing,
    ),
    row(
        "numbered",
        ("dash", "maxage"),
        ("number", "index.mpd"),
        "",
        Frames,
        Frames,
    ),
    row(
        "progressive",
        ("native", "maxage"),
        ("file", "film.mp4"),
        "",
        Exact,
        Exact,
    ),
    // A service worker keeps what the browser's cache may not.
    row(
        "offline",
        ("pwa", "nostore"),
        ("file", "film.mp4"),
        "",
        Exact,
        Nothing,
    ),
    row(
        "secret",
        ("hls", "maxage"),
        ("aes", "index.m3u8"),
        "",
        Dropped("encrypted"),
        Dropped("encrypted"),
    ),
];

/// All others.
const MANY: [Row; 25] = [
    row(
        "plainfile",
        ("native", "norange"),
        ("file", "film.mp4"),
        "",
        Exact,
        Exact,
    ),
    row(
        "largefile",
        ("native", "maxage"),
        ("file", "big.mp4"),
        "",
        Exact,
        Scraps,
    ),
    row(
        "switched",
        ("hls", "maxage"),
        ("master", "index.m3u8"),
        "&level=1&switch=0",
        Frames,
        Frames,
    ),
    row(
        "timed",
        ("dash", "maxage"),
        ("time", "index.mpd"),
        "",
        Frames,
        Frames,
    ),
    row(
        "indexed",
        ("dash", "maxage"),
        ("sidx", "index.mpd"),
        "",
        Frames,
        Nothing,
    ),
    row(
        "revalidated",
        ("hls", "nocache"),
        ("ts", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "privately",
        ("hls", "private"),
        ("ts", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "modified",
        ("hls", "lm"),
        ("fmp4", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "headerless",
        ("hls", "bare"),
        ("ts", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "unstored",
        ("hls", "nostore"),
        ("ts", "index.m3u8"),
        "",
        Nothing,
        Nothing,
    ),
    row(
        "listless",
        ("hls", "listless"),
        ("ts", "index.m3u8"),
        "",
        Guessed,
        Guessed,
    ),
    row(
        "listlessmp",
        ("hls", "listless"),
        ("fmp4", "index.m3u8"),
        "",
        Guessed,
        Guessed,
    ),
    row(
        "signed",
        ("hls", "token"),
        ("ts", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "zipped",
        ("hls", "gzip"),
        ("ts", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "zippedmpd",
        ("dash", "gzip"),
        ("number", "index.mpd"),
        "",
        Frames,
        Frames,
    ),
    row(
        "shaka",
        ("shaka", "maxage"),
        ("number", "index.mpd"),
        "",
        Frames,
        Frames,
    ),
    row(
        "videojs",
        ("videojs", "maxage"),
        ("fmp4", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "shakahls",
        ("shaka", "maxage"),
        ("fmp4", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "videojsmpd",
        ("videojs", "maxage"),
        ("number", "index.mpd"),
        "",
        Frames,
        Frames,
    ),
    row(
        "timedboth",
        ("dash", "maxage"),
        ("both", "index.mpd"),
        "",
        Frames,
        Frames,
    ),
    row(
        "webmdash",
        ("dash", "maxage"),
        ("webm", "index.mpd"),
        "",
        Frames,
        Frames,
    ),
    row(
        "subtitled",
        ("hls", "maxage"),
        ("subs", "index.m3u8"),
        "",
        Exact,
        Exact,
    ),
    row(
        "livestream",
        ("hls", "live"),
        ("ts", "index.m3u8"),
        "&x=1",
        Exact,
        Exact,
    ),
    row(
        "inparts",
        ("hls", "parts"),
        ("parts", "index.m3u8"),
        "&x=1",
        Exact,
        Exact,
    ),
    row(
        "halfway",
        ("hls", "maxage"),
        ("ts", "index.m3u8"),
        "&stop=5&x=1",
        Part,
        Part,
    ),
];

impl Row {
    fn page(&self, port: u16) -> String {
        let Self {
            name,
            player,
            policy,
            set,
            file,
            more,
            ..
        } = self;
        // A file is known by its own name, a stream by its folder's.
        let file = if file.ends_with(".mp4") {
            format!("{name}~{file}")
        } else {
            (*file).into()
        };
        let src = format!("http://127.0.0.1:{port}/{policy}/{set}/{name}/{file}");
        format!("http://localhost:{port}/page?row={name}&k={player}&s={src}{more}")
    }

    /// Whether a video is this row's.
    fn made(&self, saved: &Saved) -> bool {
        saved.title.split('~').next() == Some(self.name)
    }

    fn want(&self, browser: Browser) -> Want {
        match browser {
            Chromium => self.chromium,
            Firefox => self.firefox,
        }
    }
}

/// fisga and a browser in one home, and what came of it.
struct Session {
    browser: Browser,
    /// Kept for its files.
    sandbox: Sandbox,
    said: Vec<String>,
    saved: Vec<Saved>,
    dropped: Vec<String>,
    /// What fisga said on stderr.
    log: String,
}

impl Session {
    /// Plays one row after the other, then closes the browser. `cache` is the size of the browser's
    /// cache.
    fn play(browser: Browser, rows: &[&Row], cache: Option<u64>) -> Self {
        Self::play_in(browser, rows, cache, 1)
    }

    /// The same in so many windows at once.
    fn play_in(browser: Browser, rows: &[&Row], cache: Option<u64>, windows: usize) -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.set("RUST_LOG", "fisga=debug");
        sandbox.configure(json!({
            "sources": { "temporary_files": false, "browser_cache": true },
            "name": "{title}",
        }));
        let mut site = Site::start(&clips::sets(), &clips::players(), |port| {
            rows.iter().map(|r| r.page(port)).collect()
        });
        let mut fisga = sandbox.watch();
        let process = browser.start(&sandbox, &site.first(windows), cache);
        let mut session = Self {
            browser,
            sandbox,
            said: Vec::new(),
            saved: Vec::new(),
            dropped: Vec::new(),
            log: String::new(),
        };
        let long = rows.iter().any(|r| r.set == "long");
        let patience = PATIENCE + Duration::from_secs(if long { clips::LONG.into() } else { 0 });
        std::thread::scope(|scope| {
            let site = &mut site;
            let pages = scope.spawn(move || site.session(windows, patience));
            while !pages.is_finished() {
                session.gather(&mut fisga, Instant::now() + LITTLE);
            }
            session.said = pages.join().unwrap();
        });
        // What the browser still writes it writes when it ends.
        drop(process);
        let slow = |r: &&&Row| matches!(r.want(browser), Part | Guessed);
        let sure = |r: &&&Row| !matches!(r.want(browser), Nothing | Scraps);
        let expected = rows.iter().filter(sure).count();
        let end = Instant::now()
            + if rows.iter().any(|r| slow(&r)) {
                MINUTE
            } else {
                SOON
            };
        let there = |session: &Self| {
            let of = |saved: &&Saved| rows.iter().filter(sure).any(|r| r.made(saved));
            session.saved.iter().filter(of).count() + session.dropped.len()
        };
        while there(&session) < expected && Instant::now() < end {
            session.gather(&mut fisga, end.min(Instant::now() + LITTLE));
        }
        session.log = fisga.stop();
        session
    }

    /// Takes what fisga says until `end`. What is saved is moved away at once: most rows have the
    /// same content, and what is in the library already is not saved again.
    fn gather(&mut self, fisga: &mut Fisga, end: Instant) {
        while let Some(event) = fisga.try_next(end, |e| {
            matches!(e, Event::Saved(_) | Event::Dropped { .. })
        }) {
            match event {
                Event::Saved(mut saved) => {
                    let to =
                        self.sandbox
                            .path(&format!("tmp/{}.{}", self.saved.len(), saved.container));
                    std::fs::rename(&saved.path, &to).unwrap();
                    saved.path = to;
                    self.saved.push(saved);
                }
                Event::Dropped { reason, .. } => self.dropped.push(reason),
                _ => {}
            }
        }
    }

    /// What is wrong with a row.
    fn judge(&self, row: &Row) -> Result<String, String> {
        let said = self
            .said
            .iter()
            .find_map(|s| s.strip_prefix(row.name)?.strip_prefix(' '))
            .unwrap_or("nothing");
        let over = if row.more.contains("stop=") {
            "stopped"
        } else {
            "ended"
        };
        if said != over {
            return Err(format!("the page says: {said}; all pages: {:?}", self.said));
        }
        let saved: Vec<&Saved> = self.saved.iter().filter(|saved| row.made(saved)).collect();
        let want = row.want(self.browser);
        match (want, &saved[..]) {
            (Nothing | Scraps, []) => Ok("nothing stored".into()),
            (Dropped(why), []) if self.dropped.iter().any(|d| d.contains(why)) => {
                Ok(format!("dropped: {why}"))
            }
            (Exact | Frames | Guessed | Part | Scraps, [saved]) => check(row, want, saved)
                .and_then(|how| {
                    let text = self.subtitles(row.name);
                    match row.set {
                        "subs" if text != SECONDS => {
                            Err(format!("{how}, with {text} of {SECONDS} subtitles"))
                        }
                        _ => Ok(how),
                    }
                }),
            (_, saved) => {
                let told: Vec<_> = saved
                    .iter()
                    .map(|s| (&s.path, &s.verdict, s.fraction))
                    .collect();
                Err(format!(
                    "wanted {want:?}, saved {told:?}, dropped {:?}",
                    self.dropped
                ))
            }
        }
    }

    /// Cues in the file of subtitles beside a video.
    fn subtitles(&self, name: &str) -> u32 {
        let path = self.sandbox.library().join(format!("{name}.en.vtt"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|l| l.contains("-->")).count() as u32
    }

    /// Every row, and whether all are right.
    fn table(&self, rows: &[&Row]) -> (String, bool) {
        let (mut table, mut good) = (String::new(), true);
        for row in rows {
            let what = format!(
                "{:<12} {:<8} {:<9} {}/{}",
                row.name, row.player, row.policy, row.set, row.file
            );
            let outcome = match self.judge(row) {
                Ok(how) => format!("ok    {how}"),
                Err(why) => {
                    good = false;
                    format!("WRONG {why}")
                }
            };
            let _ = writeln!(
                table,
                "{:<9} {what:<56} {outcome}",
                format!("{:?}", self.browser)
            );
        }
        if !good {
            let _ = writeln!(table, "{}\n{}", self.log, files(&self.sandbox));
        }
        (table, good)
    }
}

/// What is left in the caches, to see why a row is wrong.
fn files(sandbox: &Sandbox) -> String {
    let all = common::files(&sandbox.path("home/.cache"));
    all.iter()
        .map(|f| format!("{} {}\n", f.metadata().map_or(0, |m| m.len()), f.display()))
        .collect()
}

fn check(row: &Row, want: Want, saved: &Saved) -> Result<String, String> {
    let path = Path::new(&saved.path);
    let bytes = std::fs::read(path).unwrap();
    let source = match row.file {
        file if file.ends_with(".mp4") => {
            std::fs::read(clips::sets().join(row.set).join(file)).unwrap()
        }
        _ if row.set == "subs" => joined(row.set, "video.m3u8"),
        file if file.ends_with(".m3u8") => joined(row.set, file),
        _ => Vec::new(),
    };
    let exact = !source.is_empty() && blake3::hash(&bytes) == blake3::hash(&source);
    let verdict = saved.verdict.as_str();
    let told = format!(
        "{verdict} {:.0} % in {} ms",
        saved.fraction * 100.0,
        saved.ms
    );
    if want == Scraps && verdict == "complete" && exact {
        return Ok(format!("exact, {} bytes, {told}", bytes.len()));
    }
    if matches!(want, Part | Scraps) {
        let part = verdict == "incomplete" && saved.fraction > 0.0 && saved.fraction < 1.0;
        // The first segments of a stream; of a file some blocks, and holes.
        let blocks = bytes.chunks(4096).zip(source.chunks(4096));
        let fits =
            bytes.len() <= source.len() && blocks.fold(true, |fits, (a, b)| fits && is_part(a, b));
        let told = format!("{told}, {} of {} bytes", bytes.len(), source.len());
        return if part && fits && !bytes.is_empty() {
            Ok(told)
        } else {
            Err(told)
        };
    }
    if verdict
        != if want == Guessed {
            "open-ended"
        } else {
            "complete"
        }
    {
        return Err(told);
    }
    let (frames, complaints) = clips::decode(path);
    let all = clips::frames(row.set);
    if frames != all || complaints > 0 {
        return Err(format!(
            "{frames} of {all} pictures, {complaints} complaints, {told}"
        ));
    }
    if want == Exact && !exact {
        return Err(format!(
            "{} bytes, not the source's {}, {told}",
            bytes.len(),
            source.len()
        ));
    }
    let how = if exact {
        format!("exact, {} bytes", bytes.len())
    } else {
        format!("{frames} pictures")
    };
    Ok(format!("{how}, {told}"))
}

/// A block with holes in it.
fn is_part(block: &[u8], of: &[u8]) -> bool {
    block.iter().zip(of).all(|(a, b)| a == b || *a == 0)
}

fn all_good(browser: Browser, rows: &[&Row]) {
    let (table, good) = Session::play(browser, rows, None).table(rows);
    println!("{table}");
    assert!(good, "\n{table}");
}

#[test]
fn one_of_each_kind_in_chromium() {
    all_good(Chromium, &FEW.iter().collect::<Vec<_>>());
}

#[test]
fn one_of_each_kind_in_firefox() {
    all_good(Firefox, &FEW.iter().collect::<Vec<_>>());
}

/// The table of everything, or with `ROWS=name,name` of these rows.
#[test]
#[ignore = "takes seven minutes"]
fn the_whole_table() {
    let only = std::env::var("ROWS").unwrap_or_default();
    let chosen = |r: &&Row| only.is_empty() || only.split(',').any(|name| name == r.name);
    let rows: Vec<&Row> = FEW.iter().chain(&MANY).filter(chosen).collect();
    let mut all = true;
    for browser in [Chromium, Firefox] {
        let (table, good) = Session::play(browser, &rows, None).table(&rows);
        println!("{table}");
        all &= good;
    }
    assert!(all);
}

/// A cache that holds one of three videos. In Chromium each is saved all the same, since a link
/// outlives eviction, and so is a file of ranges that is emptied again and again while it is
/// fetched. A Firefox whose cache is full of what this session fetched writes a newcomer's first
/// 256 KiB, dooms it and writes no more: of the second film there is what came before that, and it
/// is called incomplete.
#[test]
#[ignore = "takes two minutes"]
fn a_cache_that_is_too_small() {
    let rows = [
        row(
            "firstfilm",
            ("hls", "maxage"),
            ("large", "index.m3u8"),
            "",
            Exact,
            Exact,
        ),
        row(
            "secondfilm",
            ("hls", "maxage"),
            ("large", "index.m3u8"),
            "",
            Exact,
            Part,
        ),
        row(
            "thirdfilm",
            ("hls", "maxage"),
            ("large", "index.m3u8"),
            "",
            Exact,
            Scraps,
        ),
        row(
            "emptied",
            ("native", "slow"),
            ("file", "big.mp4"),
            "&x=1",
            Exact,
            Scraps,
        ),
    ];
    assert_both(&rows, Some(20 << 20), 1);
}

/// An evening: fisga in the tray, a stream in Chromium, played to its end; the popup, a click on
/// it, the file in the file manager, Return, and it plays.
#[cfg(feature = "tray")]
#[test]
#[ignore = "takes a minute"]
fn from_the_page_to_the_player() {
    use common::session::{Session as Desk, eventually, terminate};
    let desk = Desk::on_x11();
    desk.sandbox.configure(json!({
        "sources": { "temporary_files": true, "browser_cache": true },
        "notifications": true, "thumbnails": true,
    }));
    let applications = desk.sandbox.path("home/.local/share/applications");
    std::fs::create_dir_all(&applications).unwrap();
    let player = common::program("ffplay", "ffmpeg");
    let entry = format!(
        "[Desktop Entry]\nType=Application\nName=Player\nMimeType=video/mp4;\n\
         Exec=env SDL_AUDIODRIVER=dummy {} -autoexit -window_title Player %f\n",
        player.display()
    );
    std::fs::write(applications.join("player.desktop"), entry).unwrap();
    let default = "[Default Applications]\nvideo/mp4=player.desktop\n";
    std::fs::write(applications.join("mimeapps.list"), default).unwrap();
    let _parts = (desk.openbox(), desk.dunst(), desk.panel(false));
    let fisga = desk.fisga();
    desk.close_welcome();

    let row = row(
        "evening",
        ("hls", "maxage"),
        ("fmp4", "index.m3u8"),
        "",
        Exact,
        Exact,
    );
    let mut site = Site::start(&clips::sets(), &clips::players(), |port| {
        vec![row.page(port)]
    });
    let browser = Chromium.start(&desk.sandbox, &site.first(1), None);
    assert_eq!(site.session(1, PATIENCE), ["evening ended"]);
    let whole = blake3::hash(&joined("fmp4", "index.m3u8"));
    let is_it = |path: &std::path::PathBuf| blake3::hash(&std::fs::read(path).unwrap()) == whole;
    eventually("saved, byte for byte", || {
        desk.sandbox.saved().iter().any(is_it).then_some(())
    });
    eventually("its popup", || (desk.popups() > 0).then_some(()));
    desk.picture("stream-1-saved");
    drop(browser);

    let folder = desk.click_popup();
    desk.picture("stream-2-folder");
    desk.tool(
        "xdotool",
        "xdotool",
        &["windowactivate", "--sync", &folder, "key", "Return"],
    );
    eventually("the player's window", || desk.window("Player"));
    desk.picture("stream-3-playing");
    eventually("played to its end", || {
        desk.window("Player").is_none().then_some(())
    });
    terminate(fisga);
}

/// The same video twice is saved once.
#[test]
#[ignore = "takes a minute"]
fn the_same_video_twice() {
    let one = row(
        "onceonly",
        ("hls", "maxage"),
        ("ts", "index.m3u8"),
        "",
        Exact,
        Exact,
    );
    for browser in [Chromium, Firefox] {
        let session = Session::play(browser, &[&one, &one], None);
        assert_eq!(session.judge(&one).map(drop), Ok(()), "{browser:?}");
    }
}

/// Two windows play at once; one of them is closed half-way through its second video.
#[test]
#[ignore = "takes two minutes"]
fn two_at_once() {
    let rows = [
        row(
            "left",
            ("hls", "maxage"),
            ("ts", "index.m3u8"),
            "&x=2",
            Exact,
            Exact,
        ),
        row(
            "right",
            ("hls", "maxage"),
            ("fmp4", "index.m3u8"),
            "&x=2",
            Exact,
            Exact,
        ),
        row(
            "closed",
            ("hls", "maxage"),
            ("ts", "index.m3u8"),
            "&stop=5&x=1&close=1",
            Part,
            Part,
        ),
        row(
            "other",
            ("dash", "maxage"),
            ("number", "index.mpd"),
            "&x=2",
            Frames,
            Frames,
        ),
    ];
    assert_both(&rows, None, 2);
}

/// A live stream whose window slides for five minutes.
#[test]
#[ignore = "takes six minutes"]
fn live_for_five_minutes() {
    let rows = [row(
        "longlive",
        ("hls", "live4"),
        ("long", "index.m3u8"),
        "&x=1&within=400",
        Exact,
        Exact,
    )];
    let rows = [&rows[0]];
    let play = |browser| move || Session::play(browser, &rows, None).table(&rows);
    let tables = std::thread::scope(|scope| {
        let both = [Chromium, Firefox].map(|browser| scope.spawn(play(browser)));
        both.map(|one| one.join().unwrap())
    });
    tables.iter().for_each(|(table, _)| println!("{table}"));
    assert!(tables.iter().all(|(_, good)| *good));
}

fn assert_both(rows: &[Row], cache: Option<u64>, windows: usize) {
    let rows: Vec<&Row> = rows.iter().collect();
    let mut all = true;
    for browser in [Chromium, Firefox] {
        let (table, good) = Session::play_in(browser, &rows, cache, windows).table(&rows);
        println!("{table}");
        all &= good;
    }
    assert!(all);
}
