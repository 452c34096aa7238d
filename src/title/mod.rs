//! Pure: what a video is called.
//!
//! While a player is audible it publishes a title on the session bus (MPRIS). Processes decide
//! which player belongs to a file; time and length decide which of its titles:
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

/// What is known about a video that needs a title.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The process that had the file open, as it was when the file was held; empty if it isn't
    /// known.
    pub family: &'a Family,
    /// Since when the file is held.
    pub from: SystemTime,
    /// When it settled, or now.
    pub to: SystemTime,
    /// Its length, if the container states it.
    pub length: Option<Duration>,
    /// Where the producer created it.
    pub source: &'a Path,
    /// The container's own title.
    pub tag: Option<&'a str>,
}

/// The title that was chosen.
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
    let distance = wanted.family.distance_to(&showing.family);
    let same_length = match (wanted.length, showing.metadata.length) {
        (Some(ours), Some(theirs)) if !alike(ours, theirs) => return None,
        (Some(_), Some(_)) => true,
        _ => false,
    };
    let distance = match distance {
        Some(distance) => distance,
        // The process is unknown, so only an equal length can show that it is the same video.
        None if wanted.family.is_empty() && same_length => usize::MAX,
        None => return None,
    };
    let from = showing.from.max(wanted.from);
    let to = showing.to.map_or(wanted.to, |to| to.min(wanted.to));
    let shown = to.duration_since(from).ok()?;
    let has_text = showing.metadata.is_private() || words::page_title(&showing.metadata).is_some();
    has_text.then_some((
        Reverse(distance),
        same_length,
        showing.played,
        shown,
        showing.from,
    ))
}

/// Whether two lengths may be of one video: a container's and a player's differ by rounding, or by
/// the tail of the longer track.
fn alike(a: Duration, b: Duration) -> bool {
    let least = Duration::from_secs(1);
    a.abs_diff(b) <= least.max(a.max(b) / 50)
}
