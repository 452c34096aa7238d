//! A table of cases for [`choose`].

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Choice, Family, Metadata, Players, Wanted, choose};

const BROWSER: &[u32] = &[10];
const CONTENT: &[u32] = &[11, 10];
const OTHER: &[u32] = &[20];

/// When, which player, what it does.
type Script<'a> = &'a [(u64, &'a str, Act<'a>)];

#[derive(Clone, Copy)]
enum Act<'a> {
    Appears(&'a [u32]),
    /// Title, address, seconds (0: unknown).
    Shows(&'a str, &'a str, u64),
    Plays,
    Pauses,
    Vanishes,
}
use Act::{Appears, Pauses, Plays, Shows, Vanishes};

struct Case<'a> {
    what: &'a str,
    script: Script<'a>,
    family: &'a [u32],
    /// Held and settled, seconds.
    span: (u64, u64),
    /// Seconds; 0: not known.
    length: u64,
    tag: Option<&'a str>,
    wanted: Option<&'a str>,
    private: bool,
}

const PLAIN: Case<'_> = Case {
    what: "",
    script: &[],
    family: CONTENT,
    span: (10, 100),
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
            Appears(pids) => players.appeared(owner, Family::test(pids)),
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
    ] {
        let wanted = Wanted {
            family: &Family::test(case.family),
            from: at(case.span.0),
            to: at(case.span.1),
            length: length(case.length),
            source: Path::new("/var/tmp/WebKit-Media-ABCDEF"),
            tag: case.tag,
        };
        let expected = Choice {
            title: case.wanted.map(str::to_owned),
            private: case.private,
        };
        assert_eq!(
            choose(&wanted, &play(case.script)),
            expected,
            "{}",
            case.what
        );
    }
}

#[test]
fn history_is_bounded() {
    let mut players = Players::default();
    for player in 0..1000 {
        let owner = format!(":1.{player}");
        players.appeared(&owner, Family::test(&[player]));
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
