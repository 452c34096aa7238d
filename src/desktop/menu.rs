//! The tray as a pure function of the state: icon, tooltip and menu, to be compared with what is
//! shown.

use chrono::{DateTime, Local};

use super::{
    action::{Action, Pause},
    state::{Activity, State},
};
use crate::text;

/// All that the tray shows.
#[derive(Clone, Debug, PartialEq)]
pub struct TrayView {
    /// Which icon.
    pub activity: Activity,
    /// The text that the panel shows under the pointer.
    pub tooltip: String,
    /// The menu.
    pub menu: Vec<MenuEntry>,
}

/// An entry of the menu. Labels are plain text; the back end escapes what its toolkit takes for a
/// mnemonic.
#[derive(Clone, Debug, PartialEq)]
pub enum MenuEntry {
    /// Something to read.
    Text(String),
    /// Something to do.
    Button(String, Action),
    /// Something to do that may not be possible now.
    Disabled(String),
    /// Something that is on or off.
    Check(String, bool, Action),
    /// Entries behind an entry.
    Sub(String, Vec<MenuEntry>),
    /// A line.
    Separator,
}

impl MenuEntry {
    /// The label; a line has none.
    pub fn label(&self) -> &str {
        match self {
            MenuEntry::Text(label) | MenuEntry::Disabled(label) | MenuEntry::Button(label, _) => {
                label
            }
            MenuEntry::Check(label, ..) | MenuEntry::Sub(label, _) => label,
            MenuEntry::Separator => "",
        }
    }

    /// Whether an entry that shows `self` can show `other` with another label, tick or content:
    /// then it need not be replaced under the user's pointer.
    pub fn fits(&self, other: &MenuEntry) -> bool {
        match (self, other) {
            (
                MenuEntry::Text(_) | MenuEntry::Disabled(_),
                MenuEntry::Text(_) | MenuEntry::Disabled(_),
            ) => true,
            (MenuEntry::Separator, MenuEntry::Separator)
            | (MenuEntry::Sub(..), MenuEntry::Sub(..)) => true,
            (MenuEntry::Button(_, a), MenuEntry::Button(_, b))
            | (MenuEntry::Check(_, _, a), MenuEntry::Check(_, _, b)) => a == b,
            _ => false,
        }
    }
}

/// What the tray shows in this state.
pub fn view(state: &State, now: DateTime<Local>) -> TrayView {
    let status = state.status(now);
    TrayView {
        activity: state.activity(),
        menu: menu(state, shorten(&status, 60)),
        tooltip: status,
    }
}

fn menu(state: &State, status: String) -> Vec<MenuEntry> {
    let button = |label: &str, action| MenuEntry::Button(label.into(), action);
    let mut items = vec![MenuEntry::Text(status), MenuEntry::Separator];
    if state.paused.is_some() {
        items.push(button("Resume", Action::Resume));
        items.push(MenuEntry::Disabled("Save what is playing now".into()));
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
    items.push(MenuEntry::Separator);
    items.push(recent(state));
    items.push(button("Open folder", Action::OpenFolder));
    items.push(MenuEntry::Separator);
    items.push(MenuEntry::Check(
        "Notifications".into(),
        state.notifications,
        Action::ToggleNotifications,
    ));
    items.push(MenuEntry::Check(
        "Start on login".into(),
        state.autostart,
        Action::ToggleAutostart,
    ));
    items.push(button("Settings", Action::Settings));
    items.push(MenuEntry::Separator);
    items.push(button("Quit", Action::Quit));
    items
}

fn recent(state: &State) -> MenuEntry {
    let mut items: Vec<_> = state
        .recent
        .iter()
        .map(|r| {
            let label = format!("{} ({})", shorten(&r.title, 50), text::size(r.bytes));
            MenuEntry::Button(label, Action::Show(r.path.clone()))
        })
        .collect();
    if items.is_empty() {
        items.push(MenuEntry::Disabled("Nothing saved yet".into()));
    }
    MenuEntry::Sub("Recent".into(), items)
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

    fn labels(items: &[MenuEntry]) -> Vec<String> {
        items
            .iter()
            .map(|item| match item {
                MenuEntry::Text(l) | MenuEntry::Button(l, _) => l.clone(),
                MenuEntry::Disabled(l) => format!("({l})"),
                MenuEntry::Check(l, on, _) => format!("{l} {}", if *on { "on" } else { "off" }),
                MenuEntry::Sub(l, below) => format!("{l} > {}", labels(below).join(" | ")),
                MenuEntry::Separator => "-".into(),
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
        assert_eq!(view2.activity, Activity::Paused);
    }

    #[test]
    fn what_can_stay_under_the_pointer() {
        let button = |label: &str, action| MenuEntry::Button(label.into(), action);
        let check = |on| MenuEntry::Check("c".into(), on, Action::ToggleAutostart);
        let cases = [
            (
                MenuEntry::Text("a".into()),
                MenuEntry::Text("b".into()),
                true,
            ),
            (MenuEntry::Separator, MenuEntry::Separator, true),
            (MenuEntry::Separator, MenuEntry::Text("a".into()), false),
            (button("a", Action::Quit), button("b", Action::Quit), true),
            (
                button("a", Action::Show("/1".into())),
                button("a", Action::Show("/2".into())),
                false,
            ),
            (button("a", Action::ToggleAutostart), check(true), false),
            (check(false), check(true), true),
            (
                MenuEntry::Sub("a".into(), vec![]),
                MenuEntry::Sub("a".into(), vec![MenuEntry::Separator]),
                true,
            ),
        ];
        for (a, b, fits) in cases {
            assert_eq!(a.fits(&b), fits, "{a:?} {b:?}");
        }
    }

    #[test]
    fn long_titles_are_shortened() {
        assert_eq!(shorten("a\nb", 5), "a b");
        assert_eq!(shorten("äöüß und mehr", 5), "äöüß…");
    }
}
