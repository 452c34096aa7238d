//! What the desktop offers. All of it is optional, so nothing here is worse than a note.

use super::{Finding, Level};
use crate::desktop::health;

pub(super) fn findings() -> Vec<Finding> {
    let present = health::look();
    let parts = [
        (present.display, "a display"),
        (present.session_bus, "a session bus"),
        (present.tray_host, "a panel that shows tray icons"),
        (present.notifications, "a notification server"),
    ];
    let names = |there: bool| {
        let names: Vec<_> = parts
            .iter()
            .filter(|(is, _)| *is == there)
            .map(|(_, name)| *name)
            .collect();
        names.join(", ")
    };
    let mut findings = Vec::new();
    if parts.iter().any(|(is, _)| *is) {
        findings.push(Finding::new("desktop", Level::Ok, names(true)));
    }
    if parts.iter().any(|(is, _)| !*is) {
        let text = format!("missing: {}; saving goes on without", names(false));
        findings.push(Finding::new("desktop", Level::Note, text));
    }
    for missing in health::missing(present) {
        let text = format!("no {}", missing.part);
        findings.push(Finding::new("desktop", Level::Note, text).advise(missing.advice));
    }
    findings
}
