//! What the interface knows. Events change it; the menu, the icon and `fisga status` read it. Pure:
//! it has no clock and no bus.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Local, NaiveDate};
use serde::Serialize;

use super::action::next_midnight;
use crate::event::{self, Event};

/// How many saved files are remembered.
pub const RECENT: usize = 10;

/// What the interface knows.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Where videos go.
    pub library: PathBuf,
    /// Watches are in place.
    pub ready: bool,
    /// Set while nothing is held.
    pub paused: Option<Paused>,
    /// The copy that goes on, if one does.
    pub saving: Option<Saving>,
    /// What the user should know and do something about.
    pub problem: Option<String>,
    /// The last files saved, newest first, at most [`RECENT`].
    pub recent: VecDeque<Recent>,
    /// Whether popups are wanted.
    pub notifications: bool,
    /// Whether the autostart entry is there.
    pub autostart: bool,
    /// What the desktop offers.
    pub present: DesktopParts,
    saved: (Option<NaiveDate>, u32),
}

/// A pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paused {
    /// When it ends by itself.
    pub until: Option<DateTime<Local>>,
}

/// A copy that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saving {
    /// Where the producer created it, which identifies the copy.
    pub source: PathBuf,
    /// Its title, as far as it is known.
    pub title: String,
    /// 0 to 100.
    pub percent: u8,
}

/// A file that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// Its title.
    pub title: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it is.
    #[serde(serialize_with = "shown")]
    pub path: PathBuf,
}

fn shown<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&event::display(path))
}

/// What the desktop offers now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DesktopParts {
    /// A display to draw on.
    pub display: bool,
    /// A session bus.
    pub session_bus: bool,
    /// Someone who shows tray icons.
    pub tray_host: bool,
    /// Someone who shows notifications.
    pub notifications: bool,
}

/// What fisga does, as one of the icons shows it. The most urgent wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// All is well, and nothing to do.
    Watching,
    /// A copy goes on.
    Saving,
    /// Nothing is held.
    Paused,
    /// The user should look.
    Attention,
}

impl State {
    /// What is known before anything has happened.
    pub fn new(library: PathBuf, notifications: bool) -> Self {
        Self {
            library,
            ready: false,
            paused: None,
            saving: None,
            problem: None,
            recent: VecDeque::with_capacity(RECENT),
            notifications,
            autostart: false,
            present: DesktopParts::default(),
            saved: (None, 0),
        }
    }

    /// Takes in what happened at `now`.
    pub fn apply(&mut self, event: &Event, now: DateTime<Local>) {
        match event {
            Event::Progress {
                source,
                title,
                done,
                total,
            } => {
                let percent = (u128::from(*done) * 100)
                    .checked_div(u128::from(*total))
                    .unwrap_or(0)
                    .min(100) as u8;
                self.saving = Some(Saving {
                    source: source.clone(),
                    title: title.clone(),
                    percent,
                });
            }
            Event::Saved(saved) => {
                self.finished(&saved.source);
                self.problem = None;
                let count = self.saved_today(now) + 1;
                self.saved = (Some(now.date_naive()), count);
                self.recent.retain(|r| r.path != saved.path);
                self.recent.push_front(Recent {
                    title: saved.title.clone(),
                    bytes: saved.bytes,
                    path: saved.path.clone(),
                });
                self.recent.truncate(RECENT);
            }
            Event::Dropped { source, .. } | Event::Lost { source, .. } => self.finished(source),
            Event::Paused { until } => self.paused = Some(Paused { until: *until }),
            Event::Resumed => self.paused = None,
            Event::Error { message } => self.problem = Some(message.clone()),
            Event::Ready { .. } => self.ready = true,
            Event::Held { .. } | Event::Overflow { .. } => {}
        }
    }

    /// A file that is no longer in the library is no longer recent.
    pub fn forget(&mut self, path: &Path) {
        self.recent.retain(|r| r.path != path);
    }

    /// Which icon to show.
    pub fn activity(&self) -> Activity {
        match self {
            State {
                problem: Some(_), ..
            } => Activity::Attention,
            State {
                paused: Some(_), ..
            } => Activity::Paused,
            State {
                saving: Some(_), ..
            } => Activity::Saving,
            _ => Activity::Watching,
        }
    }

    /// One line for people: what goes on, or what is wrong.
    pub fn status(&self, now: DateTime<Local>) -> String {
        if let Some(problem) = &self.problem {
            return problem.clone();
        }
        match (&self.paused, &self.saving) {
            (Some(Paused { until: None }), _) => "Paused".into(),
            (Some(Paused { until: Some(until) }), _) => {
                format!("Paused until {}", clock(*until, now))
            }
            (None, Some(saving)) => format!("Saving {}, {} %", saving.title, saving.percent),
            (None, None) => match self.saved_today(now) {
                0 => "Watching".into(),
                n => format!("Watching · {n} saved today"),
            },
        }
    }

    /// How many files were saved on the day of `now`, by this process.
    pub fn saved_today(&self, now: DateTime<Local>) -> u32 {
        if self.saved.0 == Some(now.date_naive()) {
            self.saved.1
        } else {
            0
        }
    }

    /// When the state, or what is shown of it, changes by itself: at the end of a pause, or of the
    /// day whose count is shown.
    pub fn next_change(&self, now: DateTime<Local>) -> Option<DateTime<Local>> {
        let pause = self.paused.and_then(|p| p.until);
        let day = (self.saved_today(now) > 0 || pause.is_some()).then(|| next_midnight(now));
        pause.into_iter().chain(day).min()
    }

    /// Whether the pause is over at `now`.
    pub fn pause_is_over(&self, now: DateTime<Local>) -> bool {
        self.paused
            .and_then(|p| p.until)
            .is_some_and(|until| until <= now)
    }

    fn finished(&mut self, source: &Path) {
        self.saving.take_if(|s| s.source == source);
    }
}

/// A time for people, with its day unless it is on the day of `now`.
fn clock(at: DateTime<Local>, now: DateTime<Local>) -> String {
    let days = (at.date_naive() - now.date_naive()).num_days();
    match days {
        0 => at.format("%H:%M").to_string(),
        1 if at == next_midnight(now) => "tomorrow".into(),
        1 => at.format("tomorrow, %H:%M").to_string(),
        _ => at.format("%-d %B, %H:%M").to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::TimeZone;

    use super::*;
    use crate::event::{Completeness, How, Saved};

    pub(crate) fn noon() -> DateTime<Local> {
        Local.with_ymd_and_hms(2026, 11, 21, 12, 0, 0).unwrap()
    }

    pub(crate) fn state() -> State {
        State::new("/v".into(), true)
    }

    pub(crate) fn saved(title: &str) -> Event {
        Event::Saved(Saved {
            path: format!("/v/{title}.mp4").into(),
            source: format!("/tmp/{title}").into(),
            rule: "r".into(),
            how: How::Link,
            bytes: 1_500_000,
            container: "mp4".into(),
            verdict: Completeness::Complete,
            fraction: 1.0,
            duration_s: Some(61.0),
            title: title.into(),
            producer: Some("firefox".into()),
            ms: 5,
            thumbnail: None,
        })
    }

    fn progress(title: &str, done: u64, total: u64) -> Event {
        Event::Progress {
            source: format!("/tmp/{title}").into(),
            title: title.into(),
            done,
            total,
        }
    }

    fn paused(until: Option<DateTime<Local>>) -> Event {
        Event::Paused { until }
    }

    fn error(message: &str) -> Event {
        Event::Error {
            message: message.into(),
        }
    }

    #[test]
    fn status_line_and_activity() {
        let evening = Local.with_ymd_and_hms(2026, 11, 21, 14, 30, 0).unwrap();
        let cases: &[(&[Event], &str, Activity)] = &[
            (&[], "Watching", Activity::Watching),
            (
                &[saved("a"), saved("b"), saved("c")],
                "Watching · 3 saved today",
                Activity::Watching,
            ),
            (
                &[progress("Big Buck Bunny", 45, 100)],
                "Saving Big Buck Bunny, 45 %",
                Activity::Saving,
            ),
            (&[progress("x", 0, 0)], "Saving x, 0 %", Activity::Saving),
            (&[progress("x", 7, 5)], "Saving x, 100 %", Activity::Saving),
            (
                &[progress("a", 1, 2), saved("a")],
                "Watching · 1 saved today",
                Activity::Watching,
            ),
            (
                &[progress("a", 1, 2), saved("b")],
                "Saving a, 50 %",
                Activity::Saving,
            ),
            (&[paused(None)], "Paused", Activity::Paused),
            (
                &[paused(Some(evening))],
                "Paused until 14:30",
                Activity::Paused,
            ),
            (
                &[paused(Some(next_midnight(noon())))],
                "Paused until tomorrow",
                Activity::Paused,
            ),
            (
                &[paused(None), Event::Resumed],
                "Watching",
                Activity::Watching,
            ),
            (
                &[error("The disk is full"), paused(None)],
                "The disk is full",
                Activity::Attention,
            ),
            (
                &[error("The disk is full"), saved("a")],
                "Watching · 1 saved today",
                Activity::Watching,
            ),
        ];
        for (events, line, face) in cases {
            let mut state = state();
            events.iter().for_each(|e| state.apply(e, noon()));
            assert_eq!(
                (state.status(noon()).as_str(), state.activity()),
                (*line, *face),
                "{events:?}"
            );
        }
    }

    #[test]
    fn the_count_is_for_one_day_and_the_change_is_announced() {
        let mut state = state();
        assert_eq!(state.next_change(noon()), None);
        state.apply(&saved("a"), noon());
        let midnight = state.next_change(noon()).unwrap();
        assert_eq!(midnight, next_midnight(noon()));
        assert_eq!(state.status(midnight), "Watching");
        assert_eq!(state.next_change(midnight), None);
        let soon = noon() + chrono::TimeDelta::minutes(1);
        state.apply(&paused(Some(soon)), noon());
        assert_eq!(state.next_change(noon()), Some(soon));
        assert!(!state.pause_is_over(noon()) && state.pause_is_over(soon));
    }

    #[test]
    fn recent_keeps_the_last_ten_once_each() {
        let mut state = state();
        (0..12).for_each(|n| state.apply(&saved(&n.to_string()), noon()));
        state.apply(&saved("5"), noon());
        let titles: Vec<_> = state.recent.iter().map(|r| r.title.as_str()).collect();
        assert_eq!(titles, ["5", "11", "10", "9", "8", "7", "6", "4", "3", "2"]);
        state.forget(Path::new("/v/11.mp4"));
        assert_eq!(state.recent.len(), 9);
    }
}
