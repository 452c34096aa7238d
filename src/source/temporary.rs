//! The shipped rules for players' temporary files.
//!
//! A program in a Flatpak has its `/tmp` in `$XDG_RUNTIME_DIR/.flatpak/APP/tmp`, its `/var/tmp` in
//! `~/.var/app/APP/cache/tmp` and its `~/.cache` in `~/.var/app/APP/cache` (Flatpak documentation,
//! "Sandbox Permissions"). A program in another sandbox (bubblewrap, as Epiphany's web process) has
//! a `/tmp` of its own that only `/proc/PID/root` reaches.
//!
//! Left out on purpose: mpv's `--cache-on-disk` (`mpv-cache-*.dat`), packets without a container
//! that no player opens; GStreamer's `queue2`, whose file names each program chooses for itself.

use crate::{
    environment::Environment,
    rule::{Rule, Source},
    source::Listed,
};

/// Extensions of media files, for folders where programs keep the real names.
const EXTENSIONS: [&str; 20] = [
    "3gp", "aac", "avi", "flac", "flv", "m2ts", "m4a", "m4v", "mkv", "mov", "mp3", "mp4", "mpeg",
    "mpg", "oga", "ogg", "ogv", "opus", "ts", "webm",
];

/// What mkstemp(3) appends to a prefix: six letters or digits.
const MKSTEMP: &str = "[0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z]";

/// A producer of temporary files.
struct Producer {
    name: &'static str,
    folders: &'static [&'static str],
    files: Files,
    recursive: bool,
    enabled: bool,
}

enum Files {
    Prefix(&'static str),
    /// A prefix and the six characters that mkstemp(3) appends.
    Temporary(&'static str),
    /// A real name with one of [`EXTENSIONS`], in upper or lower case.
    Media,
}

const PRODUCERS: [Producer; 9] = [
    // Adobe Flash and its kin: removed at once.
    Producer {
        name: "flash",
        folders: &["/tmp", "$TMPDIR", "$XDG_RUNTIME_DIR/.flatpak/*/tmp"],
        files: Files::Prefix("Flash"),
        recursive: false,
        enabled: true,
    },
    // WebKitGTK: removed at once, in /var/tmp whatever $TMPDIR says
    // (MediaPlayerPrivateGStreamer.cpp).
    Producer {
        name: "webkit",
        folders: &[
            "/var/tmp",
            "$TMPDIR",
            "~/.var/app/*/cache/tmp",
            "$XDG_RUNTIME_DIR/.flatpak/*/tmp",
        ],
        files: Files::Prefix("WebKit-Media-"),
        recursive: false,
        enabled: true,
    },
    // Epiphany and other WebKitGTK browsers with a sandbox.
    Producer {
        name: "epiphany",
        folders: &["/proc/*/root/var/tmp", "/proc/*/root/tmp"],
        files: Files::Prefix("WebKit-Media-"),
        recursive: false,
        enabled: true,
    },
    // Firefox's media cache: removed at once, media over 8 MiB only.
    Producer {
        name: "firefox",
        folders: &[
            "/tmp",
            "$TMPDIR",
            "$XDG_RUNTIME_DIR/.flatpak/*/tmp",
            "~/.var/app/*/cache/tmp",
        ],
        files: Files::Prefix("mozilla-temp-"),
        recursive: false,
        enabled: true,
    },
    Producer {
        name: "totem",
        folders: &[
            "$XDG_CACHE_HOME/totem/stream-buffer",
            "~/.var/app/*/cache/totem/stream-buffer",
        ],
        files: Files::Temporary(""),
        recursive: false,
        enabled: true,
    },
    // GStreamer's playbin with the download flag: g_get_user_cache_dir()/PROGRAM-XXXXXX.
    Producer {
        name: "gstreamer",
        folders: &["$XDG_CACHE_HOME", "~/.var/app/*/cache"],
        files: Files::Temporary("*-"),
        recursive: false,
        enabled: true,
    },
    Producer {
        name: "webtorrent",
        folders: &[
            "/tmp/webtorrent",
            "$TMPDIR/webtorrent",
            "$XDG_RUNTIME_DIR/.flatpak/*/tmp/webtorrent",
        ],
        files: Files::Media,
        recursive: true,
        enabled: true,
    },
    Producer {
        name: "peerflix",
        folders: &[
            "/tmp/torrent-stream",
            "$TMPDIR/torrent-stream",
            "$XDG_RUNTIME_DIR/.flatpak/*/tmp/torrent-stream",
        ],
        files: Files::Media,
        recursive: true,
        enabled: true,
    },
    // open(2), O_TMPFILE: the kernel reports such files as "#INODE". Off, since few of them are
    // videos.
    Producer {
        name: "nameless",
        folders: &["/tmp", "/var/tmp"],
        files: Files::Prefix("#"),
        recursive: false,
        enabled: false,
    },
];

/// One rule for each producer that leaves a playable temporary file. Folders of variables that are
/// not set are left out.
pub fn rules(env: &Environment) -> Vec<Listed> {
    PRODUCERS
        .iter()
        .map(|producer| Listed {
            rule: Rule {
                name: producer.name.into(),
                folders: folders(env, producer.folders),
                files: files(&producer.files),
                recursive: producer.recursive,
                source: Source::Temporary,
            },
            enabled: producer.enabled,
        })
        .collect()
}

/// Fills in the variables of folder patterns; patterns with a variable that is not set are left out.
pub(super) fn folders<P: AsRef<str>>(env: &Environment, patterns: &[P]) -> Vec<String> {
    let mut folders = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        // A path that is not UTF-8 can't stand in a pattern.
        let folder = env
            .expand(pattern.as_ref())
            .ok()
            .flatten()
            .and_then(|path| path.into_os_string().into_string().ok());
        if let Some(folder) = folder.filter(|folder| !folders.contains(folder)) {
            folders.push(folder);
        }
    }
    folders
}

fn files(files: &Files) -> Vec<String> {
    match files {
        Files::Prefix(prefix) => vec![format!("{prefix}*")],
        Files::Temporary(prefix) => vec![format!("{prefix}{MKSTEMP}")],
        Files::Media => EXTENSIONS
            .iter()
            .map(|extension| any_case(extension))
            .collect(),
    }
}

/// A glob for an extension in upper and lower case.
fn any_case(extension: &str) -> String {
    let mut glob = String::from("*.");
    for c in extension.chars() {
        if c.is_ascii_alphabetic() {
            glob.extend(['[', c, c.to_ascii_uppercase(), ']']);
        } else {
            glob.push(c);
        }
    }
    glob
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rule::Matcher;

    fn rule(env: &Environment, name: &str) -> Rule {
        rules(env)
            .into_iter()
            .find(|listed| listed.rule.name == name)
            .unwrap()
            .rule
    }

    #[test]
    fn names_that_producers_give() {
        let env = Environment::new("/home/ana", [("XDG_RUNTIME_DIR", "/run/user/1000")]);
        let cases = [
            ("flash", "FlashXXk29F3s", true),
            ("flash", "flash.log", false),
            ("webkit", "WebKit-Media-M0Z2D3", true),
            ("webkit", "WebKit-Media", false),
            ("epiphany", "WebKit-Media-M0Z2D3", true),
            ("firefox", "mozilla-temp-1834291", true),
            ("totem", "8T1JK3", true),
            ("totem", "8T1JK3a", false),
            ("gstreamer", "python3-4X1ZZ0", true),
            ("gstreamer", "my-player-4X1ZZ0", true),
            ("gstreamer", "4X1ZZ0", false),
            ("gstreamer", "fontconfig-x.lock", false),
            ("webtorrent", "Sintel.mp4", true),
            ("webtorrent", "SINTEL.MKV", true),
            ("webtorrent", "Sintel.en.srt", false),
            ("peerflix", "movie.m2ts", true),
            ("nameless", "#1834291", true),
        ];
        for (name, file, expected) in cases {
            let matcher = Matcher::new(&rule(&env, name).files).unwrap();
            assert_eq!(matcher.matches(file.as_ref()), expected, "{name}: {file}");
        }
    }

    #[test]
    fn folders_follow_the_environment() {
        let bare = Environment::new("/home/ana", [("", ""); 0]);
        assert_eq!(rule(&bare, "flash").folders, ["/tmp"]);
        assert_eq!(
            rule(&bare, "firefox").folders,
            ["/tmp", "/home/ana/.var/app/*/cache/tmp"]
        );
        assert_eq!(
            rule(&bare, "gstreamer").folders,
            ["/home/ana/.cache", "/home/ana/.var/app/*/cache"]
        );
        let full = Environment::new(
            "/home/ana",
            [
                ("TMPDIR", "/scratch"),
                ("XDG_CACHE_HOME", "/fast"),
                ("XDG_RUNTIME_DIR", "/run/user/1000"),
            ],
        );
        assert_eq!(
            rule(&full, "flash").folders,
            ["/tmp", "/scratch", "/run/user/1000/.flatpak/*/tmp"]
        );
        assert_eq!(rule(&full, "totem").folders[0], "/fast/totem/stream-buffer");
        assert_eq!(rule(&full, "webkit").folders[..2], ["/var/tmp", "/scratch"]);
    }

    #[test]
    fn every_rule_is_sound() {
        let rules = rules(&Environment::new("/home/ana", [("", ""); 0]));
        let names: BTreeSet<_> = rules.iter().map(|listed| &listed.rule.name).collect();
        assert_eq!(names.len(), rules.len());
        for Listed { rule, .. } in &rules {
            Matcher::new(&rule.files).unwrap();
            assert!(!rule.folders.is_empty(), "{}", rule.name);
            assert!(
                rule.folders
                    .iter()
                    .all(|folder| folder.starts_with('/') && !folder.contains('$'))
            );
        }
        let off: Vec<_> = rules
            .iter()
            .filter(|listed| !listed.enabled)
            .map(|listed| &listed.rule.name)
            .collect();
        assert_eq!(off, ["nameless"]);
    }
}
