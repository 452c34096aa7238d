//! What the user can ask for.

use std::path::PathBuf;

use chrono::{DateTime, Days, Local, NaiveTime, TimeDelta};

/// Something that the user asks for, from the menu, a popup, the session bus or the command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Hold nothing for a while.
    Pause(Pause),
    /// Hold again.
    Resume,
    /// Save what is playing now.
    Grab,
    /// Show the library.
    OpenFolder,
    /// Show a file in the file manager, selected.
    Show(PathBuf),
    /// Play a file in the user's player.
    Play(PathBuf),
    /// Put a file into the trash.
    Discard(PathBuf),
    /// Show popups, or no longer.
    ToggleNotifications,
    /// Start at login, or no longer.
    ToggleAutostart,
    /// Open the configuration in the user's editor.
    Settings,
    /// End the program.
    Quit,
}

/// How long nothing is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pause {
    /// Until the user resumes.
    Open,
    /// For thirty minutes.
    HalfHour,
    /// Until the next day begins.
    Tomorrow,
    /// Until a moment of the wall clock.
    Until(DateTime<Local>),
}

impl Pause {
    /// When the pause ends by itself, if it is asked for at `now`. `None`: it doesn't.
    pub fn until(self, now: DateTime<Local>) -> Option<DateTime<Local>> {
        match self {
            Pause::Open => None,
            Pause::HalfHour => Some(now + TimeDelta::minutes(30)),
            Pause::Tomorrow => Some(next_midnight(now)),
            Pause::Until(at) => Some(at),
        }
    }
}

/// When the next day begins where the user is. Where clocks change at midnight, the first moment
/// that exists.
pub(crate) fn next_midnight(now: DateTime<Local>) -> DateTime<Local> {
    let day = now.date_naive() + Days::new(1);
    let midnight = day.and_time(NaiveTime::MIN);
    (0..=3)
        .find_map(|hours| {
            (midnight + TimeDelta::hours(hours))
                .and_local_timezone(Local)
                .earliest()
        })
        .unwrap_or(now + TimeDelta::days(1))
}

#[cfg(test)]
mod tests {
    use chrono::{TimeZone, Timelike};

    use super::*;

    #[test]
    fn pauses_end_when_they_say() {
        let now = Local.with_ymd_and_hms(2026, 11, 21, 14, 0, 0).unwrap();
        assert_eq!(Pause::Open.until(now), None);
        assert_eq!(
            Pause::HalfHour.until(now),
            Some(now + TimeDelta::minutes(30))
        );
        assert_eq!(Pause::Until(now).until(now), Some(now));
        let tomorrow = Pause::Tomorrow.until(now).unwrap();
        assert_eq!(tomorrow.date_naive(), now.date_naive() + Days::new(1));
        assert!(tomorrow.hour() <= 3);
    }
}
