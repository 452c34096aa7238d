//! The shipped rules for browsers' disk caches: one table, [`BROWSERS`].
//!
//! | engine | in the cache folder, `$XDG_CACHE_HOME` | elsewhere |
//! |---|---|---|
//! | Gecko | `PROFILE/cache2/entries` | |
//! | Chromium | `PROFILE/Cache/Cache_Data` | in the configuration folder: `PROFILE/Service Worker/CacheStorage/ORIGIN/CACHE` |
//! | Electron | | both in the configuration folder (`userData`), for each partition again |
//! | QtWebEngine | `PROFILE/Cache/Cache_Data`, in Qt 5 `PROFILE/Cache` | the second in the data folder |
//!
//! A program in a Flatpak has `~/.var/app/APP/cache`, `config` and `data` for these folders, one in
//! a Snap `.cache`, `.config` and `.local/share` in `~/snap/NAME/common` or `~/snap/NAME/current`
//! (by their documentation). Private windows keep their cache in memory, so they are never seen. A
//! cache at a place of the user's choice (`--user-data-dir`, `--disk-cache-dir`, `--profile`) needs
//! a rule of its own, by the name of the shipped one; `fisga doctor` finds it.
//!
//! Sources of the places: Chromium, `chrome/common/chrome_paths_linux.cc` and
//! `docs/user_data_dir.md`; Electron, `app.getPath`; Qt, `ProfileAdapter::buildLocationFromStandardPath`;
//! Gecko, `nsXREDirProvider.cpp`.

use std::path::{Component, Path};

use crate::{
    environment::Environment,
    rule::{Rule, Source},
    source::{Listed, temporary::folders},
};

/// Where a program's folders are.
struct Home {
    cache: &'static str,
    config: &'static str,
    data: &'static str,
    /// Where a Snap's browser has its profiles by `--user-data-dir`, which brings the cache along.
    all: Option<&'static str>,
}

const HOMES: [Home; 4] = [
    Home {
        cache: "$XDG_CACHE_HOME",
        config: "$XDG_CONFIG_HOME",
        data: "$XDG_DATA_HOME",
        all: None,
    },
    Home {
        cache: "~/.var/app/*/cache",
        config: "~/.var/app/*/config",
        data: "~/.var/app/*/data",
        all: None,
    },
    Home {
        cache: "~/snap/*/common/.cache",
        config: "~/snap/*/common/.config",
        data: "~/snap/*/common/.local/share",
        all: Some("~/snap/*/common"),
    },
    Home {
        cache: "~/snap/*/current/.cache",
        config: "~/snap/*/current/.config",
        data: "~/snap/*/current/.local/share",
        all: None,
    },
];

/// The HTTP cache of a Chromium profile.
const HTTP: &str = "Cache/Cache_Data";
/// What service workers keep of a site: by origin, then by the cache's name.
const STORAGE: &str = "Service Worker/CacheStorage/*/*";

/// What decides where in its folders a browser keeps what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Gecko,
    Chromium,
    Electron,
    Qt,
}
use Engine::{Chromium, Electron, Gecko, Qt};

/// A browser, or all programs that are made alike.
#[derive(Debug)]
pub struct Browser {
    /// Its rule is called `NAME-cache`.
    pub name: &'static str,
    engine: Engine,
    /// Its profiles in its folders.
    profiles: &'static [&'static str],
    /// Whether it was tried with the real program. The others follow from documentation, source
    /// or what the engine does elsewhere.
    pub tried: bool,
}

const fn browser(
    name: &'static str,
    engine: Engine,
    profiles: &'static [&'static str],
    tried: bool,
) -> Browser {
    Browser {
        name,
        engine,
        profiles,
        tried,
    }
}

/// Every browser that is known, and at the end the programs that are named by their folder.
#[rustfmt::skip]
pub const BROWSERS: [Browser; 18] = [
    browser("firefox", Gecko, &["mozilla/firefox/*"], true),
    browser("librewolf", Gecko, &["librewolf/*"], false),
    browser("zen", Gecko, &["zen/*"], false),
    browser("floorp", Gecko, &["floorp/*"], false),
    browser("waterfox", Gecko, &["waterfox/*"], false),
    browser("thunderbird", Gecko, &["thunderbird/*"], false),
    browser("chromium", Chromium, &["chromium/*"], true),
    browser("chrome", Chromium, &["google-chrome/*", "google-chrome-beta/*", "google-chrome-unstable/*", "google-chrome-canary/*"], false),
    browser("brave", Chromium, &["BraveSoftware/*/*"], false),
    browser("edge", Chromium, &["microsoft-edge/*", "microsoft-edge-beta/*", "microsoft-edge-dev/*", "microsoft-edge-canary/*"], false),
    browser("vivaldi", Chromium, &["vivaldi/*", "vivaldi-snapshot/*"], false),
    browser("opera", Chromium, &["opera", "opera/*", "opera-beta", "opera-beta/*", "opera-developer", "opera-developer/*"], false),
    browser("thorium", Chromium, &["thorium/*"], false),
    browser("yandex", Chromium, &["yandex-browser/*", "yandex-browser-beta/*"], false),
    browser("qutebrowser", Qt, &["qutebrowser/webengine"], true),
    browser("falkon", Qt, &["falkon", "falkon/*"], false),
    browser("qtwebengine", Qt, &["*/QtWebEngine/*"], true),
    browser("electron", Electron, &["*", "*/Partitions/*"], false),
];

impl Browser {
    fn source(&self) -> Source {
        match self.engine {
            Gecko => Source::Firefox,
            Chromium | Electron | Qt => Source::Chromium,
        }
    }

    /// Patterns of the folders in which its entries are.
    fn patterns(&self) -> Vec<String> {
        let mut patterns = Vec::new();
        for home in &HOMES {
            for profile in self.profiles {
                let mut add = |root, kept| patterns.push(format!("{root}/{profile}/{kept}"));
                match self.engine {
                    Gecko => add(home.cache, "cache2/entries"),
                    Chromium => {
                        add(home.cache, HTTP);
                        add(home.config, STORAGE);
                        if let Some(root) = home.all {
                            add(root, HTTP);
                            add(root, STORAGE);
                        }
                    }
                    Electron => {
                        add(home.config, HTTP);
                        add(home.config, STORAGE);
                    }
                    Qt => {
                        add(home.cache, HTTP);
                        // Up to Qt 5.
                        add(home.cache, "Cache");
                        add(home.data, STORAGE);
                    }
                }
            }
        }
        patterns
    }
}

/// One rule for each browser that keeps a disk cache.
pub fn rules(env: &Environment) -> Vec<Listed> {
    BROWSERS
        .iter()
        .map(|browser| Listed {
            rule: Rule {
                name: format!("{}-cache", browser.name),
                folders: folders(env, &browser.patterns()),
                files: files(browser.source()),
                recursive: false,
                source: browser.source(),
            },
            enabled: true,
        })
        .collect()
}

/// The program in whose cache this folder is: the rule's, or for programs that are alike the one
/// that the folder is named after. `None` if it isn't the rule of a browser's cache.
pub fn program<'a>(rule: &'a Rule, folder: &'a Path) -> Option<&'a str> {
    match rule.name.strip_suffix("-cache")? {
        "electron" | "qtwebengine" => application(folder),
        name => Some(name),
    }
}

/// `APP` of `APP/Cache/Cache_Data`, `APP/Partitions/NAME/Cache/Cache_Data`,
/// `APP/QtWebEngine/PROFILE/Cache/Cache_Data` and what lies beside them.
fn application(folder: &Path) -> Option<&str> {
    let parts = folder.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let inside = ["QtWebEngine", "Partitions", "Service Worker", "Cache"];
    let mut before = None;
    for part in parts {
        if inside.contains(&part) {
            return before;
        }
        before = Some(part);
    }
    None
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
    use globset::GlobBuilder;

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

    /// Where a row of the table leads: cache, what service workers keep, a Flatpak, a Snap.
    #[test]
    fn folders_of_every_row() {
        let rules = rules(&env());
        for (name, folder) in [
            ("firefox", ".cache/mozilla/firefox/x.default/cache2/entries"),
            (
                "firefox",
                "snap/firefox/common/.cache/mozilla/firefox/x/cache2/entries",
            ),
            (
                "zen",
                ".var/app/app.zen_browser.zen/cache/zen/x/cache2/entries",
            ),
            ("thunderbird", ".cache/thunderbird/x/cache2/entries"),
            ("chromium", ".cache/chromium/Profile 1/Cache/Cache_Data"),
            (
                "chromium",
                ".config/chromium/Default/Service Worker/CacheStorage/9c/e1",
            ),
            (
                "chromium",
                "snap/chromium/common/chromium/Default/Service Worker/CacheStorage/9c/e1",
            ),
            (
                "chrome",
                ".cache/google-chrome-canary/Default/Cache/Cache_Data",
            ),
            (
                "chrome",
                ".var/app/com.google.Chrome/cache/google-chrome/Default/Cache/Cache_Data",
            ),
            (
                "brave",
                ".cache/BraveSoftware/Brave-Browser-Beta/Default/Cache/Cache_Data",
            ),
            ("edge", ".cache/microsoft-edge-dev/Default/Cache/Cache_Data"),
            ("opera", ".cache/opera/Cache/Cache_Data"),
            (
                "opera",
                ".config/opera/Default/Service Worker/CacheStorage/9c/e1",
            ),
            (
                "yandex",
                ".cache/yandex-browser-beta/Default/Cache/Cache_Data",
            ),
            ("thorium", ".cache/thorium/Default/Cache/Cache_Data"),
            (
                "qutebrowser",
                ".cache/qutebrowser/webengine/Cache/Cache_Data",
            ),
            (
                "qutebrowser",
                ".local/share/qutebrowser/webengine/Service Worker/CacheStorage/9c/e1",
            ),
            (
                "qtwebengine",
                ".cache/mail/QtWebEngine/Default/Cache/Cache_Data",
            ),
            ("electron", ".config/Some App/Cache/Cache_Data"),
            (
                "electron",
                ".config/Some App/Partitions/video/Cache/Cache_Data",
            ),
            (
                "electron",
                ".var/app/com.example.App/config/App/Service Worker/CacheStorage/9c/e1",
            ),
        ] {
            let name = format!("{name}-cache");
            let rule = &rules.iter().find(|l| l.rule.name == name).unwrap().rule;
            let path = format!("/home/ana/{folder}");
            let matches = |pattern: &String| {
                let glob = GlobBuilder::new(pattern).literal_separator(true).build();
                glob.unwrap().compile_matcher().is_match(&path)
            };
            assert!(rule.folders.iter().any(matches), "{name}: {path}");
        }
    }

    #[test]
    fn programs_by_rule_and_folder() {
        let rules = rules(&env());
        for (name, folder, want) in [
            (
                "chromium",
                "/home/ana/.cache/chromium/Default/Cache/Cache_Data",
                "chromium",
            ),
            (
                "electron",
                "/home/ana/.config/Some App/Cache/Cache_Data",
                "Some App",
            ),
            (
                "electron",
                "/home/ana/.config/App/Partitions/x/Cache/Cache_Data",
                "App",
            ),
            (
                "electron",
                "/home/ana/.config/App/Service Worker/CacheStorage/1/2",
                "App",
            ),
            (
                "qtwebengine",
                "/home/ana/.cache/mail/QtWebEngine/Default/Cache/Cache_Data",
                "mail",
            ),
        ] {
            let name = format!("{name}-cache");
            let rule = &rules.iter().find(|l| l.rule.name == name).unwrap().rule;
            assert_eq!(program(rule, Path::new(folder)), Some(want), "{folder}");
        }
        let own = Rule {
            name: "own".into(),
            ..rules[0].rule.clone()
        };
        assert_eq!(program(&own, Path::new("/x/Cache/Cache_Data")), None);
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
