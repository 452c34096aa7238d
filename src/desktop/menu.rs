//! The tray as a pure function of the state: icon, tooltip and menu, to be compared with what is
//! shown.

use std::fmt::Write as _;

use chrono::{DateTime, Local};

use super::{
    action::{Action, Pause},
    state::{Face, State},
};

/// All that the tray shows.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Which icon.
    pub face: Face,
    /// The line under the pointer.
    pub tooltip: String,
    /// The menu.
    pub menu: Vec<Item>,
}

/// An entry of the menu. Labels are plain text; the back end escapes what its toolkit takes for a
/// mnemonic.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Something to read.
    Text(String),
    /// Something to do.
    Button(String, Action),
    /// Something to do that may not be possible now.
    Disabled(String),
    /// Something that is on or off.
    Check(String, bool, Action),
    /// Entries behind an entry.
    Sub(String, Vec<Item>),
    /// A line.
    Separator,
}

impl Item {
    /// The label; a line has none.
    pub fn label(&self) -> &str {
        match self {
            Item::Text(label) | Item::Disabled(label) | Item::Button(label, _) => label,
            Item::Check(label, ..) | Item::Sub(label, _) => label,
            Item::Separator => "",
        }
    }

    /// Whether an entry that shows `self` can show `other` with another label, tick or content:
    /// then it need not be replaced under the user's pointer.
    pub fn fits(&self, other: &Item) -> bool {
        match (self, other) {
            (Item::Text(_) | Item::Disabled(_), Item::Text(_) | Item::Disabled(_)) => true,
            (Item::Separator, Item::Separator) | (Item::Sub(..), Item::Sub(..)) => true,
            (Item::Button(_, a), Item::Button(_, b))
            | (Item::Check(_, _, a), Item::Check(_, _, b)) => a == b,
            _ => false,
        }
    }
}

/// What the tray shows in this state.
pub fn view(state: &State, now: DateTime<Local>) -> View {
    let status = state.status(now);
    View {
        face: state.face(),
        menu: menu(state, shorten(&status, 60)),
        tooltip: status,
    }
}

fn menu(state: &State, status: String) -> Vec<Item> {
    let button = |label: &str, action| Item::Button(label.into(), action);
    let mut items = vec![Item::Text(status), Item::Separator];
    if state.paused.is_some() {
        items.push(button("Resume", Action::Resume));
        items.push(Item::Disabled("Save what is playing now".into()));
    } else {
        items.push(button("Pause", Action::Pause(Pause::Open)));
        items.push(button(
            "Pause for 30 minutes",
            Action::Pause(Pause::HalfHour),
        ));
        items.push(button(
            "Pause until tomorrow",
            Action::Pause(Pause::Tomorrow),
        ));
        items.push(button("Save what is playing now", Action::Grab));
    }
    items.push(Item::Separator);
    items.push(recent(state));
    items.push(button("Open folder", Action::OpenFolder));
    items.push(Item::Separator);
    items.push(Item::Check(
        "Notifications".into(),
        state.notifications,
        Action::ToggleNotifications,
    ));
    items.push(Item::Check(
        "Start on login".into(),
        state.autostart,
        Action::ToggleAutostart,
    ));
    items.push(button("Settings", Action::Settings));
    items.push(Item::Separator);
    items.push(button("Quit", Action::Quit));
    items
}

fn recent(state: &State) -> Item {
    let mut items: Vec<_> = state
        .recent
        .iter()
        .map(|r| {
            let label = format!("{} ({})", shorten(&r.title, 50), size(r.bytes));
            Item::Button(label, Action::Show(r.path.clone()))
        })
        .collect();
    if items.is_empty() {
        items.push(Item::Disabled("Nothing saved yet".into()));
    }
    Item::Sub("Recent".into(), items)
}

/// A size as people read it, in decimal units as file managers use.
pub fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64 / 1000.0;
    for (n, unit) in units.iter().enumerate() {
        if value < 999.5 || n + 1 == units.len() {
            let digits = usize::from(value < 9.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    String::new()
}

/// A length as people read it: `3:25`, `1:02:03`.
pub fn length(seconds: f64) -> String {
    let all = seconds.round().max(0.0) as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    let mut text = String::new();
    let _ = match hours {
        0 => write!(text, "{minutes}:{seconds:02}"),
        _ => write!(text, "{hours}:{minutes:02}:{seconds:02}"),
    };
    text
}

/// At most `most` characters on one line: a title of a thousand would push the panel aside.
pub fn shorten(text: &str, most: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if clean.chars().count() <= most {
        return clean;
    }
    let mut short: String = clean.chars().take(most - 1).collect();
    short.truncate(short.trim_end().len());
    short + "…"
}

#[cfg(test)]
mod tests {
    use super::{
        super::state::tests::{noon, saved, state},
        *,
    };
    use crate::event::Event;

    fn labels(items: &[Item]) -> Vec<String> {
        items
            .iter()
            .map(|item| match item {
                Item::Text(l) | Item::Button(l, _) => l.clone(),
                Item::Disabled(l) => format!("({l})"),
                Item::Check(l, on, _) => format!("{l} {}", if *on { "on" } else { "off" }),
                Item::Sub(l, below) => format!("{l} > {}", labels(below).join(" | ")),
                Item::Separator => "-".into(),
            })
            .collect()
    }

    #[test]
    fn menus() {
        let tail = [
            "-",
            "Notifications on",
            "Start on login off",
            "Settings",
            "-",
            "Quit",
        ];
        let mut state = state();
        let view1 = view(&state, noon());
        let mut want = vec![
            "Watching",
            "-",
            "Pause",
            "Pause for 30 minutes",
            "Pause until tomorrow",
        ];
        want.extend([
            "Save what is playing now",
            "-",
            "Recent > (Nothing saved yet)",
            "Open folder",
        ]);
        want.extend(tail);
        assert_eq!(labels(&view1.menu), want);
        assert_eq!(view1.tooltip, "Watching");

        state.apply(&saved("<b>A & B</b>_x"), noon());
        state.apply(&Event::Paused { until: None }, noon());
        let view2 = view(&state, noon());
        let mut want = vec!["Paused", "-", "Resume", "(Save what is playing now)", "-"];
        want.extend(["Recent > <b>A & B</b>_x (1.5 MB)", "Open folder"]);
        want.extend(tail);
        assert_eq!(labels(&view2.menu), want);
        assert_eq!(view2.face, Face::Paused);
    }

    #[test]
    fn what_can_stay_under_the_pointer() {
        let button = |label: &str, action| Item::Button(label.into(), action);
        let check = |on| Item::Check("c".into(), on, Action::ToggleAutostart);
        let cases = [
            (Item::Text("a".into()), Item::Text("b".into()), true),
            (Item::Separator, Item::Separator, true),
            (Item::Separator, Item::Text("a".into()), false),
            (button("a", Action::Quit), button("b", Action::Quit), true),
            (
                button("a", Action::Show("/1".into())),
                button("a", Action::Show("/2".into())),
                false,
            ),
            (button("a", Action::ToggleAutostart), check(true), false),
            (check(false), check(true), true),
            (
                Item::Sub("a".into(), vec![]),
                Item::Sub("a".into(), vec![Item::Separator]),
                true,
            ),
        ];
        for (a, b, fits) in cases {
            assert_eq!(a.fits(&b), fits, "{a:?} {b:?}");
        }
    }

    #[test]
    fn sizes_and_lengths() {
        let sizes = [
            (0, "0.0 kB"),
            (1_500, "1.5 kB"),
            (48_200_000, "48 MB"),
            (999_600, "1.0 MB"),
            (3_200_000_000, "3.2 GB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [
            (0.0, "0:00"),
            (59.6, "1:00"),
            (205.0, "3:25"),
            (3723.0, "1:02:03"),
            (f64::NAN, "0:00"),
        ] {
            assert_eq!(length(seconds), text);
        }
        assert_eq!(shorten("a\nb", 5), "a b");
        assert_eq!(shorten("äöüß und mehr", 5), "äöüß…");
    }
}
