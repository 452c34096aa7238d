//! Pure: what a video is called.
//!
//! While a player is audible it shows a title on the session bus (MPRIS). Which player belongs to a
//! file is told by the processes, which of its titles by time and length:
//!
//! 1. Process: the one that holds the file and the one that owns the bus name share an ancestor
//!    below the session ([`Family`]); the nearest counts. A file whose process isn't known gets a
//!    title only by its length.
//! 2. Time: the title was shown between the hold and the end of writing ([`Players`]).
//! 3. Length: a title whose `mpris:length` is another than the file's is another video's; the same
//!    length wins.
//! 4. Of what is left: what was playing, then what was shown longest, then what came last.
//!
//! Without such a title: the name that the producer gave the file, if it is one for people
//! (BitTorrent players keep it), then the container's own title. A private window shows a
//! placeholder: see [`placeholder`].
//!
//! Spec: MPRIS D-Bus Interface Specification 2.2, and its Metadata guidelines for `xesam:title`,
//! `xesam:url` and `mpris:length`.

mod family;
pub mod placeholder;
mod players;
mod words;

#[cfg(test)]
mod cases;

use std::{
    cmp::Reverse,
    path::Path,
    time::{Duration, SystemTime},
};

pub use family::Family;
pub use players::{Metadata, Players, Showing, Titles};

/// What is known about a file that needs a title.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The process that had the file open, as it was when the file was held; empty if it isn't
    /// known.
    pub family: &'a Family,
    /// Since when the file is held.
    pub from: SystemTime,
    /// When it settled, or now.
    pub to: SystemTime,
    /// Its length, if the container tells.
    pub length: Option<Duration>,
    /// Where the producer created it.
    pub source: &'a Path,
    /// The container's own title.
    pub tag: Option<&'a str>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The title, one line without white space at its ends; none means "Video".
    pub title: Option<String>,
    /// It was watched in a private window; there is no title then.
    pub private: bool,
}

/// Chooses the title of a file.
///
/// ```
/// # use std::{path::Path, time::{Duration, SystemTime}};
/// # use fisga::title::{Choice, Family, Players, Wanted, choose};
/// let now = SystemTime::now();
/// let wanted = Wanted {
///     family: &Family::default(),
///     from: now,
///     to: now + Duration::from_secs(60),
///     length: None,
///     source: Path::new("/tmp/webtorrent/Big%20Buck%20Bunny.mp4"),
///     tag: Some("made with a tool"),
/// };
/// let choice = choose(&wanted, &Players::default());
/// assert_eq!(choice.title.as_deref(), Some("Big Buck Bunny"));
/// ```
pub fn choose(wanted: &Wanted<'_>, players: &Players) -> Choice {
    let shown = players
        .showings()
        .filter_map(|showing| rank(wanted, showing).map(|rank| (rank, showing)));
    if let Some((_, showing)) = shown.max_by_key(|(rank, _)| *rank) {
        if showing.metadata.is_private() {
            return Choice {
                title: None,
                private: true,
            };
        }
        if let Some(title) = words::page_title(&showing.metadata) {
            return Choice {
                title: Some(title),
                private: false,
            };
        }
    }
    let named = || words::given_name(wanted.source);
    Choice {
        title: named().or_else(|| wanted.tag.and_then(words::one_line)),
        private: false,
    }
}

/// The better a title fits, the greater; `None` if it can't be this file's.
fn rank(
    wanted: &Wanted<'_>,
    showing: &Showing,
) -> Option<(Reverse<usize>, bool, bool, Duration, SystemTime)> {
    let steps = wanted.family.steps_to(&showing.family);
    let same_length = match (wanted.length, showing.metadata.length) {
        (Some(ours), Some(theirs)) if !alike(ours, theirs) => return None,
        (Some(_), Some(_)) => true,
        _ => false,
    };
    let steps = match steps {
        Some(steps) => steps,
        // Nobody knows whose file it was: only the length can tell.
        None if wanted.family.is_empty() && same_length => usize::MAX,
        None => return None,
    };
    let from = showing.from.max(wanted.from);
    let to = showing.to.map_or(wanted.to, |to| to.min(wanted.to));
    let shown = to.duration_since(from).ok()?;
    let says_something =
        showing.metadata.is_private() || words::page_title(&showing.metadata).is_some();
    says_something.then_some((
        Reverse(steps),
        same_length,
        showing.played,
        shown,
        showing.from,
    ))
}

/// Lengths of one video, as container and player tell them, differ by a rounding or by a track's
/// tail.
fn alike(a: Duration, b: Duration) -> bool {
    let least = Duration::from_secs(1);
    a.abs_diff(b) <= least.max(a.max(b) / 50)
}
