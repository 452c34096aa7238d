//! What the desktop offers, what is missing, and what to install for it.

use std::{
    env,
    net::TcpStream,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
    path::PathBuf,
};

use serde::Serialize;
use zbus::blocking::{connection::Builder, fdo::DBusProxy};

use super::{
    bus::{NOTIFICATIONS, TRAY_HOST},
    connection::{self, CALL_TIMEOUT},
    state::DesktopParts,
};

/// A part of the desktop that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Which.
    pub part: &'static str,
    /// What doesn't work without it, and what helps.
    pub advice: String,
}

/// Looks at the desktop of this moment: display, session bus, tray host, notification server.
pub fn look() -> DesktopParts {
    let mut present = DesktopParts {
        display: display(),
        ..DesktopParts::default()
    };
    if connection::bus_hangs() {
        return present;
    }
    let Ok(bus) = Builder::session().and_then(|b| b.method_timeout(CALL_TIMEOUT).build()) else {
        return present;
    };
    present.session_bus = true;
    let Ok(bus) = DBusProxy::new(&bus) else {
        return present;
    };
    let owned = |name: &str| {
        name.try_into()
            .is_ok_and(|name| bus.name_has_owner(name).unwrap_or(false))
    };
    present.tray_host = owned(TRAY_HOST);
    let startable = || {
        bus.list_activatable_names()
            .is_ok_and(|all| all.iter().any(|n| *n == NOTIFICATIONS))
    };
    present.notifications = owned(NOTIFICATIONS) || startable();
    present
}

/// What is missing and what to do, on the desktop that `XDG_CURRENT_DESKTOP` names.
pub fn missing(present: DesktopParts) -> Vec<Missing> {
    advise(
        present,
        &env::var("XDG_CURRENT_DESKTOP").unwrap_or_default(),
    )
}

fn advise(present: DesktopParts, desktop: &str) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut add = |part, advice: &str| {
        missing.push(Missing {
            part,
            advice: advice.into(),
        })
    };
    if !present.session_bus {
        add(
            "session bus",
            "no tray, no notifications, and no fisga status, pause or quit from outside; start the session's bus \
             (Debian package dbus-user-session) or run fisga with dbus-run-session",
        );
        return missing;
    }
    if !present.tray_host {
        add(
            "tray",
            match desktop.to_ascii_lowercase() {
                d if d.contains("gnome") => {
                    "GNOME shows tray icons with the extension \"AppIndicator and KStatusNotifierItem Support\" \
                     (Debian package gnome-shell-extension-appindicator); log in again after installing it"
                }
                d if d.contains("xfce") => {
                    "add \"Status Tray Plugin\" to the panel (Panel Preferences, Items)"
                }
                d if d.contains("sway") || d.contains("hyprland") || d.contains("wlroots") => {
                    "run a bar with a tray, such as waybar with its \"tray\" module (Debian package waybar)"
                }
                _ => {
                    "no panel on this desktop shows tray icons; fisga status, pause, resume, open do the same"
                }
            },
        );
    }
    if !present.notifications {
        add(
            "notifications",
            "nobody shows notifications; install a notification server, such as the Debian package dunst \
             (X11) or mako-notifier (Wayland)",
        );
    }
    missing
}

/// Whether a display can be reached. The toolkit ends the program where it can't, so this looks
/// before it is asked.
pub fn display() -> bool {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let wayland = env::var_os("WAYLAND_DISPLAY")
        .filter(|name| !name.is_empty())
        .is_some_and(|name| {
            let path = runtime.map_or_else(|| PathBuf::from(&name), |dir| dir.join(&name));
            UnixStream::connect(path).is_ok()
        });
    wayland || env::var("DISPLAY").is_ok_and(|name| x11(&name))
}

/// `host:display.screen` (X(7), "Display names"); no host, or `unix`, is a socket of this machine.
fn x11(name: &str) -> bool {
    let Some((host, number)) = parse(name) else {
        return false;
    };
    match host {
        "" | "unix" => {
            let path = format!("/tmp/.X11-unix/X{number}");
            let abstract_one = SocketAddr::from_abstract_name(path.as_bytes());
            UnixStream::connect(&path).is_ok()
                || abstract_one.is_ok_and(|address| UnixStream::connect_addr(&address).is_ok())
        }
        host => TcpStream::connect((host, 6000 + number)).is_ok(),
    }
}

fn parse(name: &str) -> Option<(&str, u16)> {
    let (host, rest) = name.rsplit_once(':')?;
    let number = rest.split('.').next()?.parse().ok()?;
    (number < 59_000).then_some((host, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names() {
        let cases = [
            (":0", Some(("", 0))),
            (":12.1", Some(("", 12))),
            ("unix:1", Some(("unix", 1))),
            ("host:10.0", Some(("host", 10))),
            ("", None),
            (":x", None),
            (":60000", None),
        ];
        for (name, want) in cases {
            assert_eq!(parse(name), want, "{name}");
        }
    }

    #[test]
    fn advice_for_what_is_missing() {
        let all = DesktopParts {
            display: true,
            session_bus: true,
            tray_host: true,
            notifications: true,
        };
        let cases = [
            (all, "GNOME", &[][..]),
            (
                DesktopParts {
                    tray_host: false,
                    ..all
                },
                "ubuntu:GNOME",
                &["AppIndicator"],
            ),
            (
                DesktopParts {
                    tray_host: false,
                    ..all
                },
                "XFCE",
                &["Status Tray"],
            ),
            (
                DesktopParts {
                    tray_host: false,
                    notifications: false,
                    ..all
                },
                "sway",
                &["waybar", "mako"],
            ),
            (
                DesktopParts {
                    display: true,
                    ..DesktopParts::default()
                },
                "",
                &["dbus-user-session"],
            ),
        ];
        for (present, desktop, words) in cases {
            let missing = advise(present, desktop);
            assert_eq!(missing.len(), words.len(), "{desktop}");
            for (part, word) in missing.iter().zip(words) {
                assert!(part.advice.contains(word), "{part:?}");
            }
        }
    }
}
