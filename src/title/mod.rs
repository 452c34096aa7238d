//! Pure: what a video is called.
//!
//! While a player is audible it publishes a title on the session bus (MPRIS). Which of these titles
//! is a video's:
//!
//! 1. Program: of a file that a process had open, the player that shares the nearest ancestor below
//!    the session with it ([`Family`]); of a video from a browser's cache, that browser's players
//!    ([`Program`]). A file whose process isn't known gets a title only by its length.
//! 2. Length: a title whose `mpris:length` is another than the video's is another video's; the same
//!    length wins. A length that may yet change says nothing.
//! 3. Time: the title was shown while the video came, from the hold or the first piece to the last
//!    byte ([`Players`]). Of several, the one that played, then the one that was shown longest, then
//!    the one that came last.
//! 4. If no title was shown then, the first one that came soon after: players fetch a short video
//!    faster than they show what it is called.
//!
//! Without such a title: see [`Names`]. A private window shows a placeholder: see [`placeholder`].
//!
//! Spec: MPRIS D-Bus Interface Specification 2.2, and its Metadata guidelines for `xesam:title`,
//! `xesam:url` and `mpris:length`.

mod family;
pub mod placeholder;
mod players;
mod program;
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
pub use program::{Browser, Program};

/// What is known about a video that needs a title.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose players may have shown its title.
    pub whose: Whose<'a>,
    /// Since when it came: the hold, or the first piece.
    pub from: SystemTime,
    /// Until when it came: the last byte, or the last piece.
    pub to: SystemTime,
    /// Until when the first title may come, if none was shown while the video came.
    pub deadline: SystemTime,
    /// Its length, if that is final.
    pub length: Option<Duration>,
    /// What else it may be called.
    pub names: Names<'a>,
}

/// Whose players may have shown a title.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// Those of the process that had the file open, as it was when the file was held; empty if it
    /// isn't known.
    Process(&'a Family),
    /// Those of the browser in whose cache it was. Private windows keep their cache in memory, so
    /// none of it was played in one.
    Browser(Browser<'a>),
}

/// What a video may be called if no player says so; the first that says something is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Where the producer created the file. A name for people (BitTorrent players keep it) has the
    /// extension of a media file.
    pub source: Option<&'a Path>,
    /// The playlist's title.
    pub playlist: Option<&'a str>,
    /// The name that the server gave the file.
    pub entry: Option<&'a str>,
    /// The container's own title.
    pub container: Option<&'a str>,
    /// What the address says.
    pub address: Option<&'a str>,
}

/// The title that was chosen: one line without white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A player showed it.
    Shown(String),
    /// It was watched in a private window; there is no title then.
    Private,
    /// No player showed a title; what it is called otherwise. `None` means "Video".
    Named(Option<String>),
}

impl Choice {
    /// The title, if there is one.
    pub fn title(self) -> Option<String> {
        match self {
            Self::Shown(title) => Some(title),
            Self::Private => None,
            Self::Named(title) => title,
        }
    }
}

/// Chooses the title of a file.
///
/// ```
/// # use std::{path::Path, time::{Duration, SystemTime}};
/// # use fisga::title::{Choice, Family, Names, Players, Wanted, Whose, choose};
/// let now = SystemTime::now();
/// let wanted = Wanted {
///     whose: Whose::Process(&Family::default()),
///     from: now,
///     to: now + Duration::from_secs(60),
///     deadline: now + Duration::from_secs(60),
///     length: None,
///     names: Names {
///         source: Some(Path::new("/tmp/webtorrent/Big%20Buck%20Bunny.mp4")),
///         container: Some("made with a tool"),
///         ..Names::default()
///     },
/// };
/// let choice = choose(&wanted, &Players::default());
/// assert_eq!(choice.title().as_deref(), Some("Big Buck Bunny"));
/// ```
pub fn choose(wanted: &Wanted<'_>, players: &Players) -> Choice {
    let fitting: Vec<_> = players
        .showings()
        .filter_map(|showing| Some((fit(wanted, showing)?, showing)))
        .collect();
    let shown = while_it_came(wanted, &fitting).or_else(|| soon_after(wanted, &fitting));
    match shown {
        Some(showing) if showing.metadata.is_private() => Choice::Private,
        Some(showing) => Choice::Shown(words::page_title(&showing.metadata).unwrap_or_default()),
        None => Choice::Named(wanted.names.best()),
    }
}

/// How well a title fits, whenever it was shown: the greater, the better. The nearest program, and
/// whether the length is the same.
type Fit = (Reverse<usize>, bool);

/// `None` if the title can't be this video's.
fn fit(wanted: &Wanted<'_>, showing: &Showing) -> Option<Fit> {
    let same_length = match (wanted.length, showing.metadata.length) {
        (Some(ours), Some(theirs)) if !alike(ours, theirs) => return None,
        (ours, theirs) => ours.is_some() && theirs.is_some(),
    };
    let private = showing.metadata.is_private();
    let distance = match wanted.whose {
        // Only an equal length can show that it is the same video.
        Whose::Process(family) if family.is_empty() => same_length.then_some(usize::MAX)?,
        Whose::Process(family) => family.distance_to(&showing.program.family)?,
        Whose::Browser(browser) => (showing.program.is(browser) && !private).then_some(0)?,
    };
    let has_text = private || words::page_title(&showing.metadata).is_some();
    has_text.then_some((Reverse(distance), same_length))
}

/// The best of those that were shown while the video came.
fn while_it_came<'a>(wanted: &Wanted<'_>, fitting: &[(Fit, &'a Showing)]) -> Option<&'a Showing> {
    let during: Vec<_> = fitting
        .iter()
        .filter_map(|(fit, showing)| Some((fit, overlap(wanted, showing)?, *showing)))
        .collect();
    // A title that was shown twice was shown for both times.
    let shown = |showing: &Showing| -> Duration {
        let same = |other: &&(_, _, &Showing)| other.2.is_same(showing);
        during.iter().filter(same).map(|(_, time, _)| *time).sum()
    };
    let rank = |(fit, _, showing): &(&Fit, Duration, &Showing)| {
        (**fit, showing.played, shown(showing), showing.from)
    };
    during
        .iter()
        .max_by_key(|one| rank(one))
        .map(|(.., showing)| *showing)
}

/// How long a title was shown while the video came; `None` if it wasn't.
fn overlap(wanted: &Wanted<'_>, showing: &Showing) -> Option<Duration> {
    let from = showing.from.max(wanted.from);
    let to = showing.to.map_or(wanted.to, |to| to.min(wanted.to));
    to.duration_since(from).ok()
}

/// The first of those that came after the video, of the program that is nearest to it.
fn soon_after<'a>(wanted: &Wanted<'_>, fitting: &[(Fit, &'a Showing)]) -> Option<&'a Showing> {
    let came = |(_, showing): &&(Fit, &Showing)| {
        wanted.to < showing.from && showing.from <= wanted.deadline
    };
    let after = fitting.iter().filter(came);
    after
        .max_by_key(|((distance, _), showing)| (*distance, Reverse(showing.from)))
        .map(|(_, showing)| *showing)
}

impl Names<'_> {
    fn best(&self) -> Option<String> {
        let told = [self.playlist, self.entry, self.container, self.address];
        let one_line = || told.into_iter().flatten().find_map(words::one_line);
        self.source.and_then(words::given_name).or_else(one_line)
    }
}

/// Whether two lengths may be of one video: a container's and a player's differ by rounding, or by
/// the tail of the longer track.
fn alike(a: Duration, b: Duration) -> bool {
    let least = Duration::from_secs(1);
    a.abs_diff(b) <= least.max(a.max(b) / 50)
}
