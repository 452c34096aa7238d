//! Which program a player on the session bus belongs to.

use super::Family;
use crate::process::ProcessStat;

/// Longest name that the kernel keeps of a process, in bytes (proc(5), `/proc/PID/comm`).
const LONGEST_COMM: usize = 15;

/// Browsers whose process has another name than their folder.
const COMMS: [(&str, &[&str]); 2] = [
    // Builds of the project itself, and the Snap.
    ("chromium", &["chromium", "chrome"]),
    ("edge", &["msedge"]),
];

/// Processes behind which another program speaks: the bus proxy of a Flatpak (xdg-dbus-proxy(1)),
/// and interpreters.
const GO_BETWEENS: [&str; 3] = ["xdg-dbus-proxy", "python", "electron"];

/// The program behind a player's name on the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Its processes.
    pub family: Family,
    /// The name of the process that owns the bus name (proc(5), `/proc/PID/comm`).
    pub comm: String,
    /// `chromium` of `org.mpris.MediaPlayer2.chromium.instance42`.
    pub bus_name: String,
}

/// A browser, as far as its cache identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Browser<'a> {
    /// Its name, or its folder's.
    pub name: &'a str,
    /// What all browsers of its engine call themselves on the bus: `chromium`
    /// (system_media_controls_linux.cc), `firefox` (MPRISServiceHandler.cpp).
    pub bus_name: &'a str,
}

impl Program {
    /// The program of a process, as it is now. `bus_name` is what follows
    /// `org.mpris.MediaPlayer2.` in its name on the bus.
    pub fn of(pid: u32, bus_name: &str) -> Self {
        Self {
            family: Family::of(pid),
            comm: ProcessStat::of(pid)
                .map(|stat| stat.comm)
                .unwrap_or_default(),
            bus_name: bus_name.split('.').next().unwrap_or_default().into(),
        }
    }

    /// Whether it is this browser. No process is known of what lies in a cache, so names decide.
    pub fn is(&self, browser: Browser<'_>) -> bool {
        let comm = plain(&self.comm);
        let listed = COMMS.iter().find(|(name, _)| *name == browser.name);
        let own = match listed {
            Some((_, comms)) => comms.iter().any(|name| is_named(&comm, &plain(name))),
            None => is_named(&comm, &plain(browser.name)),
        };
        let between = || GO_BETWEENS.iter().any(|name| comm.starts_with(name));
        own || self.bus_name.eq_ignore_ascii_case(browser.bus_name) && between()
    }
}

/// `firefox-esr` and `python3` are called `firefox` and `python`, `zenity` isn't called `zen`. A
/// name may be cut by the kernel.
fn is_named(comm: &str, name: &str) -> bool {
    let cut = comm.len() == LONGEST_COMM && name.starts_with(comm);
    let rest = comm.strip_prefix(name).filter(|_| !name.is_empty());
    cut || rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphabetic()))
}

fn plain(name: &str) -> String {
    let dash = |c: char| if c.is_alphanumeric() { c } else { '-' };
    name.to_lowercase().chars().map(dash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_by_their_names() {
        for (browser, engine, comm, bus_name, same) in [
            ("firefox", "firefox", "firefox-esr", "firefox", true),
            ("firefox", "firefox", "firefox", "firefox", true),
            ("firefox", "firefox", "librewolf", "firefox", false),
            ("zen", "firefox", "zen-bin", "firefox", true),
            ("zen", "firefox", "zenity", "zenity", false),
            ("chromium", "chromium", "chromium", "chromium", true),
            ("chromium", "chromium", "chrome", "chromium", true),
            ("chromium", "chromium", "brave", "chromium", false),
            ("chrome", "chromium", "chromium", "chromium", false),
            ("vivaldi", "chromium", "vivaldi-bin", "chromium", true),
            ("edge", "chromium", "msedge", "chromium", true),
            ("yandex", "chromium", "yandex_browser", "chromium", true),
            ("brave", "chromium", "xdg-dbus-proxy", "chromium", true),
            ("brave", "chromium", "xdg-dbus-proxy", "firefox", false),
            ("qutebrowser", "chromium", "python3", "chromium", true),
            ("qutebrowser", "chromium", "python3", "Lollypop", false),
            (
                "YouTube Music",
                "chromium",
                "youtube-music",
                "chromium",
                true,
            ),
            (
                "youtube-music-desktop",
                "chromium",
                "youtube-music-d",
                "chromium",
                true,
            ),
            ("", "chromium", "anything", "chromium", false),
            ("firefox", "firefox", "", "", false),
            ("chromium", "chromium", "spotify", "spotify", false),
        ] {
            let program = Program {
                comm: comm.into(),
                bus_name: bus_name.into(),
                ..Program::default()
            };
            let asked = Browser {
                name: browser,
                bus_name: engine,
            };
            assert_eq!(program.is(asked), same, "{browser}: {comm} {bus_name}");
        }
    }

    #[test]
    fn a_real_process() {
        let program = Program::of(std::process::id(), "chromium.instance42");
        assert_eq!(program.bus_name, "chromium");
        assert!(!program.comm.is_empty());
    }
}
