//! A table of cases for [`choose`].

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Browser, Choice, Family, Metadata, Names, Players, Program, Wanted, Whose, choose};

const BROWSER: &[u32] = &[10];
const CONTENT: &[u32] = &[11, 10];
const OTHER: &[u32] = &[20];

/// When, which player, what it does.
type Script<'a> = &'a [(u64, &'a str, Act<'a>)];

#[derive(Clone, Copy)]
enum Act<'a> {
    Appears(&'a [u32]),
    /// By its process's name and its name on the bus.
    Is(&'a str, &'a str),
    /// Title, address, seconds (0: unknown).
    Shows(&'a str, &'a str, u64),
    Plays,
    Pauses,
    Vanishes,
}
use Act::{Appears, Is, Pauses, Plays, Shows, Vanishes};

struct Case<'a> {
    what: &'a str,
    script: Script<'a>,
    family: &'a [u32],
    /// In whose cache it was, instead of a process.
    browser: Option<&'a str>,
    /// From the hold to the last byte, seconds.
    span: (u64, u64),
    /// Seconds after it in which a title may come.
    grace: u64,
    /// Seconds; 0: not known, or not final.
    length: u64,
    tag: Option<&'a str>,
    wanted: Option<&'a str>,
    private: bool,
}

const PLAIN: Case<'_> = Case {
    what: "",
    script: &[],
    family: CONTENT,
    browser: None,
    span: (10, 100),
    grace: 0,
    length: 60,
    tag: None,
    wanted: None,
    private: false,
};

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn length(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn play(script: Script<'_>) -> Players {
    let mut players = Players::default();
    for (second, owner, act) in script {
        match *act {
            Appears(pids) => {
                let family = Family::test(pids);
                let program = Program {
                    family,
                    ..Program::default()
                };
                players.appeared(owner, program);
            }
            Is(comm, bus_name) => {
                let program = Program {
                    comm: comm.into(),
                    bus_name: bus_name.into(),
                    ..Program::default()
                };
                players.appeared(owner, program);
            }
            Shows(title, url, length) => {
                let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                let metadata = Metadata {
                    title: text(title),
                    url: text(url),
                    length: self::length(length),
                };
                players.metadata_changed(owner, metadata, at(*second));
            }
            Plays => players.playback_changed(owner, true),
            Pauses => players.playback_changed(owner, false),
            Vanishes => players.vanished(owner, at(*second)),
        }
    }
    players
}

#[test]
fn cases() {
    let hidden = "Firefox is playing media";
    for case in [
        Case {
            what: "nothing is known",
            tag: Some("  A tag "),
            wanted: Some("A tag"),
            ..PLAIN
        },
        Case {
            what: "nothing at all",
            ..PLAIN
        },
        Case {
            what: "the browser's title, not the container's",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows("Film", "", 60)),
                (2, "a", Plays),
            ],
            tag: Some("tag"),
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "a title that came after the hold, when the sound was turned on",
            script: &[
                (50, "a", Appears(BROWSER)),
                (50, "a", Shows("Film", "", 0)),
                (50, "a", Plays),
            ],
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "another program's title",
            script: &[
                (1, "b", Appears(OTHER)),
                (2, "b", Shows("Song", "", 60)),
                (2, "b", Plays),
            ],
            tag: Some("tag"),
            wanted: Some("tag"),
            ..PLAIN
        },
        Case {
            what: "two browsers: the one whose process it is",
            script: &[
                (1, "a", Appears(BROWSER)),
                (1, "b", Appears(OTHER)),
                (2, "b", Shows("Other", "", 60)),
                (2, "a", Shows("Film", "", 0)),
            ],
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "two at once in one browser: the length decides",
            script: &[
                (1, "a", Appears(&[12, 10])),
                (1, "b", Appears(&[13, 10])),
                (2, "a", Shows("One", "", 61)),
                (2, "b", Shows("Two", "", 90)),
                (2, "b", Plays),
            ],
            wanted: Some("One"),
            ..PLAIN
        },
        Case {
            what: "one after the other under one name: the length decides",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Plays),
                (2, "a", Shows("One", "", 60)),
                (20, "a", Shows("Two", "", 90)),
            ],
            wanted: Some("One"),
            ..PLAIN
        },
        Case {
            what: "a title of another length only is another video's",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows("Other", "", 300)),
                (2, "a", Plays),
            ],
            tag: Some("tag"),
            wanted: Some("tag"),
            ..PLAIN
        },
        Case {
            what: "without lengths: what was shown longest",
            script: &[
                (1, "a", Appears(BROWSER)),
                (1, "a", Plays),
                (2, "a", Shows("One", "", 0)),
                (95, "a", Shows("Two", "", 0)),
            ],
            length: 0,
            wanted: Some("One"),
            ..PLAIN
        },
        Case {
            what: "without lengths: what played, not what was paused",
            script: &[
                (1, "a", Appears(&[12, 10])),
                (1, "b", Appears(&[13, 10])),
                (2, "a", Shows("Paused", "", 0)),
                (2, "a", Pauses),
                (60, "b", Shows("Played", "", 0)),
                (61, "b", Plays),
                (62, "b", Pauses),
            ],
            wanted: Some("Played"),
            ..PLAIN
        },
        Case {
            what: "the length that comes a moment later belongs to the same title",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows("Film", "", 0)),
                (3, "a", Shows("Film", "", 60)),
                (4, "a", Shows("Advert", "", 0)),
                (4, "a", Plays),
            ],
            span: (2, 50),
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "what was shown before the hold or after the end doesn't count",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows("Before", "", 60)),
                (9, "a", Shows("", "", 0)),
                (101, "a", Shows("After", "", 60)),
            ],
            ..PLAIN
        },
        Case {
            what: "a tab that was closed in between",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows("Film", "", 60)),
                (50, "a", Vanishes),
            ],
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "a private window",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows(hidden, "", 60)),
                (2, "a", Plays),
            ],
            tag: Some("tag"),
            private: true,
            ..PLAIN
        },
        Case {
            what: "a page without a title isn't private: it has an address",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows(hidden, "https://example.org/", 60)),
            ],
            tag: Some("tag"),
            wanted: Some("tag"),
            ..PLAIN
        },
        Case {
            what: "a private window beside a normal one, and this is the normal one's",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows(hidden, "", 90)),
                (20, "a", Shows("Film", "", 60)),
            ],
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "another program's private window",
            script: &[
                (1, "b", Appears(OTHER)),
                (2, "b", Shows("A site is playing media", "", 60)),
            ],
            ..PLAIN
        },
        Case {
            what: "nobody knows whose file it is: the length alone decides",
            script: &[
                (1, "a", Appears(BROWSER)),
                (1, "b", Appears(OTHER)),
                (2, "a", Shows("Film", "", 60)),
                (2, "b", Shows("Song", "", 0)),
                (2, "b", Plays),
            ],
            family: &[],
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "nobody knows whose file it is, nor its length",
            script: &[
                (1, "a", Appears(BROWSER)),
                (2, "a", Shows("Film", "", 60)),
                (2, "a", Plays),
            ],
            family: &[],
            length: 0,
            ..PLAIN
        },
        Case {
            what: "a stream: what was shown while its pieces came, not what is shown when it is saved",
            script: &[
                (1, "a", Is("firefox-esr", "firefox")),
                (1, "a", Plays),
                (2, "a", Shows("A", "", 60)),
                (22, "a", Shows("B", "", 60)),
            ],
            browser: Some("firefox"),
            span: (10, 23),
            wanted: Some("A"),
            ..PLAIN
        },
        Case {
            what: "the one after it: what was shown longest while its pieces came",
            script: &[
                (1, "a", Is("firefox-esr", "firefox")),
                (1, "a", Plays),
                (2, "a", Shows("A", "", 60)),
                (22, "a", Shows("B", "", 60)),
            ],
            browser: Some("firefox"),
            span: (20, 100),
            wanted: Some("B"),
            ..PLAIN
        },
        Case {
            what: "zapping between live streams, which have no length",
            script: &[
                (1, "a", Is("chromium", "chromium")),
                (1, "a", Plays),
                (2, "a", Shows("One", "", 0)),
                (22, "a", Shows("Two", "", 0)),
                (34, "a", Shows("Three", "", 0)),
            ],
            browser: Some("chromium"),
            span: (21, 35),
            length: 0,
            wanted: Some("Two"),
            ..PLAIN
        },
        Case {
            what: "and back again: both times count",
            script: &[
                (1, "a", Is("chromium", "chromium")),
                (1, "a", Plays),
                (10, "a", Shows("One", "", 0)),
                (20, "a", Shows("Two", "", 0)),
                (35, "a", Shows("One", "", 0)),
            ],
            browser: Some("chromium"),
            span: (10, 45),
            length: 0,
            wanted: Some("One"),
            ..PLAIN
        },
        Case {
            what: "a live stream whose player publishes the length of the window",
            script: &[
                (1, "a", Is("chromium", "chromium")),
                (1, "a", Plays),
                (2, "a", Shows("Live", "", 30)),
                (12, "a", Shows("Live", "", 34)),
                (16, "a", Shows("Live", "", 38)),
            ],
            browser: Some("chromium"),
            length: 90,
            wanted: Some("Live"),
            ..PLAIN
        },
        Case {
            what: "a short video that was whole before its page showed the title",
            script: &[
                (1, "a", Is("firefox", "firefox")),
                (14, "a", Shows("Short", "", 0)),
                (15, "a", Shows("Short", "", 60)),
            ],
            browser: Some("firefox"),
            span: (10, 11),
            grace: 20,
            wanted: Some("Short"),
            ..PLAIN
        },
        Case {
            what: "of those that come later the first counts",
            script: &[
                (1, "a", Is("firefox", "firefox")),
                (14, "a", Shows("Short", "", 0)),
                (20, "a", Shows("Next", "", 60)),
                (20, "a", Plays),
            ],
            browser: Some("firefox"),
            span: (10, 11),
            grace: 20,
            wanted: Some("Short"),
            ..PLAIN
        },
        Case {
            what: "none of those that come much later",
            script: &[
                (1, "a", Is("firefox", "firefox")),
                (32, "a", Shows("Next", "", 60)),
            ],
            browser: Some("firefox"),
            span: (10, 11),
            grace: 20,
            tag: Some("tag"),
            wanted: Some("tag"),
            ..PLAIN
        },
        Case {
            what: "a later title doesn't count where one was shown while the video came",
            script: &[
                (1, "a", Is("firefox", "firefox")),
                (10, "a", Shows("A", "", 0)),
                (14, "a", Shows("B", "", 60)),
                (14, "a", Plays),
            ],
            browser: Some("firefox"),
            span: (10, 11),
            grace: 20,
            wanted: Some("A"),
            ..PLAIN
        },
        Case {
            what: "another browser's title, though the length is the same",
            script: &[
                (1, "a", Is("chromium", "chromium")),
                (2, "a", Shows("Other", "", 60)),
                (2, "a", Plays),
            ],
            browser: Some("firefox"),
            tag: Some("tag"),
            wanted: Some("tag"),
            ..PLAIN
        },
        Case {
            what: "a browser behind a sandbox's bus proxy",
            script: &[
                (1, "a", Is("xdg-dbus-proxy", "firefox")),
                (2, "a", Shows("Film", "", 60)),
            ],
            browser: Some("firefox"),
            wanted: Some("Film"),
            ..PLAIN
        },
        Case {
            what: "a private window beside it: what it plays is in no cache",
            script: &[
                (1, "a", Is("firefox", "firefox")),
                (1, "b", Is("firefox", "firefox")),
                (2, "a", Shows(hidden, "", 0)),
                (2, "a", Plays),
                (90, "b", Shows("Film", "", 0)),
            ],
            browser: Some("firefox"),
            wanted: Some("Film"),
            ..PLAIN
        },
    ] {
        let family = Family::test(case.family);
        let bus_name = match case.browser {
            Some("firefox") => "firefox",
            _ => "chromium",
        };
        let wanted = Wanted {
            whose: match case.browser {
                Some(name) => Whose::Browser(Browser { name, bus_name }),
                None => Whose::Process(&family),
            },
            from: at(case.span.0),
            to: at(case.span.1),
            deadline: at(case.span.1 + case.grace),
            length: length(case.length),
            names: Names {
                container: case.tag,
                ..Names::default()
            },
        };
        let choice = choose(&wanted, &play(case.script));
        assert_eq!(choice == Choice::Private, case.private, "{}", case.what);
        let title = choice.title();
        assert_eq!(title.as_deref(), case.wanted, "{}", case.what);
    }
}

/// Without a player: the first that says something.
#[test]
fn names() {
    let all = Names {
        source: Some(Path::new("/tmp/webtorrent/Torrent.mkv")),
        playlist: Some("Playlist"),
        entry: Some("Entry"),
        container: Some("Container"),
        address: Some("address"),
    };
    let unnamed = Names {
        source: None,
        ..all
    };
    let no_playlist = Names {
        playlist: Some(" "),
        ..unnamed
    };
    let no_entry = Names {
        entry: None,
        ..no_playlist
    };
    let no_container = Names {
        container: None,
        ..no_entry
    };
    for (names, want) in [
        (all, Some("Torrent")),
        (unnamed, Some("Playlist")),
        (no_playlist, Some("Entry")),
        (no_entry, Some("Container")),
        (no_container, Some("address")),
        (Names::default(), None),
    ] {
        assert_eq!(names.best().as_deref(), want, "{names:?}");
    }
}

#[test]
fn history_is_bounded() {
    let mut players = Players::default();
    for player in 0..1000 {
        let owner = format!(":1.{player}");
        let program = Program {
            family: Family::test(&[player]),
            ..Program::default()
        };
        players.appeared(&owner, program);
        for title in 0..10 {
            let metadata = Metadata {
                title: Some(title.to_string()),
                ..Metadata::default()
            };
            players.metadata_changed(&owner, metadata, at(u64::from(player) * 10 + title));
        }
        if player % 2 == 0 {
            players.vanished(&owner, at(u64::from(player) * 10 + 10));
        }
    }
    assert!(players.showings().count() <= 1024 + 64);
    players.bus_disconnected(at(100_000));
    assert!(players.showings().all(|showing| showing.to.is_some()));
}

/// Each length of a live window was an entry of its own, which pushed out the others.
#[test]
fn a_live_window_is_one_showing() {
    let mut players = Players::default();
    players.appeared("a", Program::default());
    for second in 0..10_000 {
        let metadata = Metadata {
            title: Some("Live".into()),
            url: None,
            length: length(30 + second),
        };
        players.metadata_changed("a", metadata, at(second));
    }
    let showings: Vec<_> = players.showings().collect();
    assert_eq!(showings.len(), 1);
    assert_eq!(
        (showings[0].from, showings[0].metadata.length),
        (at(0), None)
    );
}
