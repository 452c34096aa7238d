//! The shipped rules for browsers' disk caches.
//!
//! Firefox keeps a cache for each profile in `mozilla/firefox/PROFILE/cache2/entries` of the cache
//! folder (`$XDG_CACHE_HOME`), Chromium and its kin in `NAME/PROFILE/Cache/Cache_Data`. A program
//! in a Flatpak has `~/.var/app/APP/cache` for a cache folder, one in a Snap
//! `~/snap/NAME/common/.cache` or `~/snap/NAME/current/.cache` (seen in their documentation, not
//! tried). Private windows keep their cache in memory, so they are never seen. A cache at a place
//! of the user's choice (`--user-data-dir`, `--profile`) needs a rule of its own, by the name of
//! the shipped one.

use crate::{
    environment::Environment,
    rule::{Rule, Source},
    source::{Listed, temporary::folders},
};

/// Where a program's cache folder may be.
const HOMES: [&str; 4] = [
    "$XDG_CACHE_HOME",
    "~/.var/app/*/cache",
    "~/snap/*/common/.cache",
    "~/snap/*/current/.cache",
];

/// A browser: the rule's name, its folders in the cache folder, the format.
const BROWSERS: [(&str, &[&str], Source); 8] = [
    (
        "firefox-cache",
        &["mozilla/firefox/*/cache2/entries"],
        Source::Firefox,
    ),
    (
        "librewolf-cache",
        &["librewolf/*/cache2/entries"],
        Source::Firefox,
    ),
    // The Snap sets `--user-data-dir`, which brings the cache along.
    (
        "chromium-cache",
        &[
            "chromium/*/Cache/Cache_Data",
            "../chromium/*/Cache/Cache_Data",
        ],
        Source::Chromium,
    ),
    (
        "chrome-cache",
        &[
            "google-chrome/*/Cache/Cache_Data",
            "google-chrome-beta/*/Cache/Cache_Data",
            "google-chrome-unstable/*/Cache/Cache_Data",
        ],
        Source::Chromium,
    ),
    (
        "brave-cache",
        &["BraveSoftware/*/*/Cache/Cache_Data"],
        Source::Chromium,
    ),
    (
        "edge-cache",
        &[
            "microsoft-edge/*/Cache/Cache_Data",
            "microsoft-edge-beta/*/Cache/Cache_Data",
            "microsoft-edge-dev/*/Cache/Cache_Data",
        ],
        Source::Chromium,
    ),
    (
        "vivaldi-cache",
        &[
            "vivaldi/*/Cache/Cache_Data",
            "vivaldi-snapshot/*/Cache/Cache_Data",
        ],
        Source::Chromium,
    ),
    (
        "opera-cache",
        &["opera/*/Cache/Cache_Data", "opera/Cache/Cache_Data"],
        Source::Chromium,
    ),
];

/// One rule for each browser that keeps a disk cache.
pub fn rules(env: &Environment) -> Vec<Listed> {
    BROWSERS
        .iter()
        .map(|(name, caches, source)| Listed {
            rule: Rule {
                name: (*name).into(),
                folders: folders(env, &patterns(caches)),
                files: files(*source),
                recursive: false,
                source: *source,
            },
            enabled: true,
        })
        .collect()
}

fn patterns(caches: &[&str]) -> Vec<String> {
    let mut patterns = Vec::new();
    for home in HOMES {
        for cache in caches {
            match cache.strip_prefix("../") {
                // Beside a Snap's cache folder only.
                Some(cache) if home.starts_with("~/snap") => {
                    patterns.push(format!("{}/{cache}", home.trim_end_matches("/.cache")));
                }
                Some(_) => {}
                None => patterns.push(format!("{home}/{cache}")),
            }
        }
    }
    patterns
}

/// Chromium: 16 hex digits, `_0` for an answer and `_s` for its ranges. Firefox: 40 hex digits.
fn files(source: Source) -> Vec<String> {
    match source {
        Source::Firefox => vec!["[0-9A-F]".repeat(40)],
        _ => vec![format!("{}_[0s]", "[0-9a-f]".repeat(16))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Matcher;

    fn env() -> Environment {
        Environment::new("/home/ana", [("", ""); 0])
    }

    #[test]
    fn names_that_browsers_give() {
        let rules = rules(&env());
        let rule = |name: &str| &rules.iter().find(|l| l.rule.name == name).unwrap().rule;
        let cases = [
            (
                "firefox-cache",
                "0123456789ABCDEF0123456789ABCDEF01234567",
                true,
            ),
            (
                "firefox-cache",
                "0123456789ABCDEF0123456789ABCDEF0123456",
                false,
            ),
            ("firefox-cache", "index.log", false),
            ("chromium-cache", "08f79542220f0d16_0", true),
            ("chromium-cache", "08f79542220f0d16_s", true),
            ("chromium-cache", "08f79542220f0d16_1", false),
            ("chromium-cache", "todelete_08f79542220f0d16_0_1", false),
            ("chromium-cache", "index", false),
        ];
        for (name, file, want) in cases {
            assert_eq!(
                Matcher::new(&rule(name).files)
                    .unwrap()
                    .matches(file.as_ref()),
                want,
                "{name}: {file}"
            );
        }
    }

    #[test]
    fn folders_of_every_packaging() {
        let rules = rules(&env());
        let chromium = &rules
            .iter()
            .find(|l| l.rule.name == "chromium-cache")
            .unwrap()
            .rule
            .folders;
        for folder in [
            "/home/ana/.cache/chromium/*/Cache/Cache_Data",
            "/home/ana/.var/app/*/cache/chromium/*/Cache/Cache_Data",
            "/home/ana/snap/*/common/.cache/chromium/*/Cache/Cache_Data",
            "/home/ana/snap/*/common/chromium/*/Cache/Cache_Data",
        ] {
            assert!(chromium.iter().any(|f| f == folder), "{folder}");
        }
        for Listed { rule, .. } in &rules {
            assert!(
                rule.folders
                    .iter()
                    .all(|f| f.starts_with('/') && !f.contains("..")),
                "{}",
                rule.name
            );
        }
    }
}
