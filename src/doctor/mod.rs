//! `fisga doctor`: tries on this machine what fisga depends on, and says what stands in its way.
//!
//! Nothing here changes anything but files of the doctor's own, which it removes.

mod browsers;
#[cfg(feature = "tray")]
mod desktop;
mod folders;
mod hide;
mod limits;
mod processes;
mod room;

use std::{io::Write, path::Path};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    config::{self, Settings},
    environment::Environment,
    source, text,
};

pub use hide::{CHILD, child};

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, with something to know.
    Note,
    /// Videos can be lost, or can't be saved.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What kind of thing: "folder", "inotify", "library" …
    pub area: &'static str,
    /// How good it is.
    pub level: Level,
    /// What was found, on one line.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Figures, for programs.
    #[serde(flatten)]
    pub data: Map<String, Value>,
}

impl Finding {
    /// One without advice and figures.
    pub fn new(area: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self {
            area,
            level,
            text: text.into(),
            advice: None,
            data: Map::new(),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.into(), value.into());
        self
    }
}

/// Looks at everything, and returns how good the worst finding is. `program` is fisga's own binary,
/// which plays the producer that hides a file.
///
/// # Errors
/// When the engine can't start or `out` can't be written. What is wrong with the machine is a
/// finding, not an error.
pub fn run(
    settings: &Settings,
    program: &Path,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<Level> {
    let mut findings = limits::findings();
    findings.extend(room::findings(settings));
    findings.extend(processes::findings());
    findings.push(caches(settings));
    let shipped = Environment::current().map(|env| source::shipped(&env));
    let shipped = shipped.into_iter().flatten().map(|listed| listed.rule);
    findings.extend(browsers::findings(settings, &shipped.collect::<Vec<_>>()));
    findings.extend(folders(settings, program)?);
    #[cfg(feature = "tray")]
    findings.extend(desktop::findings());
    if json {
        out.write_all(config::pretty(&findings).as_bytes())?;
    } else {
        for finding in &findings {
            out.write_all(line(finding).as_bytes())?;
        }
    }
    let levels = findings.iter().map(|finding| finding.level);
    Ok(levels.max().unwrap_or(Level::Ok))
}

/// "ok       folder      /tmp: …", and the advice below it.
fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Problem => "PROBLEM",
    };
    let mut line = format!(
        "{level:<8} {:<10} {}\n",
        finding.area,
        text::one_line(&finding.text)
    );
    if let Some(advice) = &finding.advice {
        line.push_str(&format!("{:<19} → {}\n", "", text::one_line(advice)));
    }
    line
}

/// What is looked at in browsers' disk caches.
fn caches(settings: &Settings) -> Finding {
    let looks = settings.rules.iter().any(|rule| rule.source.is_cache());
    let text = if looks {
        "of each new entry in a browser's disk cache the beginning and the end are read; only media and playlists are held"
    } else {
        "no browser's disk cache is looked at"
    };
    let advice =
        "turn that off with \"sources\": { \"browser_cache\": false } in the configuration";
    let finding = Finding::new("caches", Level::Ok, text).with("watched", looks);
    if looks {
        finding.advise(advice)
    } else {
        finding
    }
}

fn folders(settings: &Settings, program: &Path) -> anyhow::Result<Vec<Finding>> {
    let (there, mut findings) = folders::list(&settings.rules);
    let paths: Vec<_> = there.iter().map(|folder| folder.path.clone()).collect();
    let trials = hide::trial(&paths, &settings.library, program)?;
    for (folder, tries) in there.iter().zip(trials) {
        findings.push(folders::finding(folder, &tries, &settings.library));
    }
    if there.is_empty() {
        let text = "no folder of any rule is there";
        findings.push(
            Finding::new("folder", Level::Problem, text)
                .advise("see the rules with: fisga config show"),
        );
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let finding = Finding::new("folder", Level::Problem, "a\nb").advise("do this");
        assert_eq!(
            line(&finding),
            "PROBLEM  folder     a\u{fffd}b\n                    → do this\n"
        );
        let value = serde_json::to_value(finding.with("lost", 1)).unwrap();
        let expected = serde_json::json!({
            "area": "folder", "level": "problem", "text": "a\nb", "advice": "do this", "lost": 1
        });
        assert_eq!(value, expected);
    }
}
