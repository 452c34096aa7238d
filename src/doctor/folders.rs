//! Which watched folders there are, and what a trial in each of them says.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use globset::Glob;

use super::{Finding, Level, hide::Try, room};
use crate::{engine, event::How, rule::Rule};

/// A watched folder that is there.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Names of the rules that look into it.
    pub(super) rules: Vec<String>,
}

/// Every folder of these rules that is there, once, and a note for those that can't be tried.
pub(super) fn list(rules: &[Rule]) -> (Vec<Folder>, Vec<Finding>) {
    let mut folders: Vec<Folder> = Vec::new();
    let mut findings = Vec::new();
    let mut absent = 0_usize;
    for rule in rules {
        for pattern in &rule.folders {
            if pattern.starts_with("/proc/") {
                let text = format!(
                    "{pattern} ({}): not tried, since it lies inside other programs' sandboxes",
                    rule.name
                );
                findings.push(Finding::new("folder", Level::Ok, text));
                continue;
            }
            // What service workers keep is many folders of many sites, watched as the others are.
            if pattern.contains("/CacheStorage/") {
                continue;
            }
            let found = expand(pattern);
            absent += usize::from(found.is_empty());
            for path in found {
                match folders.iter_mut().find(|folder| folder.path == path) {
                    Some(folder) if folder.rules.contains(&rule.name) => {}
                    Some(folder) => folder.rules.push(rule.name.clone()),
                    None => folders.push(Folder {
                        path,
                        rules: vec![rule.name.clone()],
                    }),
                }
            }
        }
    }
    let mut seen = HashSet::new();
    folders.retain(|folder| {
        fs::metadata(&folder.path).is_ok_and(|meta| seen.insert((meta.dev(), meta.ino())))
    });
    if absent > 0 {
        let text = format!(
            "{absent} folder patterns match nothing yet; they are watched as soon as they do"
        );
        findings.push(Finding::new("folder", Level::Ok, text));
    }
    (folders, findings)
}

/// The folders that a pattern with globs in its components matches now.
pub(super) fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let glob = part
            .contains(['*', '?', '[', '{'])
            .then(|| Glob::new(part).ok())
            .flatten();
        found = match glob.map(|glob| glob.compile_matcher()) {
            None => found.into_iter().map(|folder| folder.join(part)).collect(),
            Some(glob) => {
                let entries = found
                    .iter()
                    .filter_map(|folder| fs::read_dir(folder).ok())
                    .flatten()
                    .flatten();
                entries
                    .filter(|entry| glob.is_match(entry.file_name()))
                    .map(|entry| entry.path())
                    .collect()
            }
        };
    }
    found.retain(|folder| folder.is_dir());
    found.sort();
    found
}

/// What the tries in a folder say.
pub(super) fn finding(folder: &Folder, tries: &[Try], library: &Path) -> Finding {
    let path = folder.path.display();
    let name = format!("{path} ({})", folder.rules.join(", "));
    let count = |wanted: How| {
        tries
            .iter()
            .filter(|t| matches!(t, Try::Held { how, .. } if *how == wanted))
            .count()
    };
    let (link, rescue) = (count(How::Link), count(How::Rescue) + count(How::Attach));
    let mut times: Vec<Duration> = tries.iter().filter_map(Try::after).collect();
    times.sort_unstable();
    let micros =
        |time: Option<&Duration>| time.map(|t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX));
    let (median, worst) = (micros(times.get(times.len() / 2)), micros(times.last()));
    let copy = !engine::same_mount(&folder.path, &room::nearest(library)).unwrap_or(false);
    let failure = tries.iter().find_map(Try::failure);
    let refused = tries.iter().find_map(Try::refused);

    let finding = match (failure, refused) {
        (Some(why), _) => {
            let text = format!(
                "{name}: {} of {} hidden files were not held: {why}",
                tries.len() - times.len(),
                tries.len()
            );
            Finding::new("folder", Level::Problem, text)
        }
        (None, Some(why)) => Finding::new(
            "folder",
            Level::Note,
            format!("{name}: not tried, no file can be made there: {why}"),
        ),
        (None, None) => {
            let text = format!(
                "{name}: {} hidden files held, {link} by link, {rescue} by rescue; median {} µs, worst {} µs; saving {}",
                tries.len(),
                median.unwrap_or_default(),
                worst.unwrap_or_default(),
                if copy {
                    "copies to the library's mount"
                } else {
                    "needs no copy"
                },
            );
            Finding::new("folder", Level::Ok, text)
        }
    };
    finding
        .with("folder", path.to_string())
        .with("rules", folder.rules.clone())
        .with("tries", tries.len())
        .with("link", link)
        .with("rescue", rescue)
        .with("median_us", median)
        .with("worst_us", worst)
        .with("copy", copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Source;

    #[test]
    fn patterns_become_folders() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["app/a/tmp", "app/b/tmp", "app/c", "x"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("app/c/tmp"), "no folder").unwrap();
        let root = dir.path().to_str().unwrap();
        let rule = |name: &str, folders: &[&str]| Rule {
            name: name.into(),
            folders: folders
                .iter()
                .map(|folder| format!("{root}/{folder}"))
                .collect(),
            files: vec!["*".into()],
            recursive: false,
            source: Source::Temporary,
        };
        let (folders, findings) = list(&[
            rule("one", &["app/*/tmp", "x"]),
            rule("two", &["x", "nowhere"]),
        ]);
        let found: Vec<_> = folders
            .iter()
            .map(|f| (f.path.strip_prefix(root).unwrap(), &f.rules[..]))
            .collect();
        let one = &["one".to_owned()][..];
        let expected = [
            ("app/a/tmp", one),
            ("app/b/tmp", one),
            ("x", &["one".to_owned(), "two".to_owned()]),
        ];
        assert_eq!(
            found,
            expected.map(|(path, rules)| (Path::new(path), rules))
        );
        assert_eq!(findings.len(), 1);
        assert!(findings[0].text.starts_with("1 folder patterns"));
    }

    #[test]
    fn tries_become_a_finding() {
        let held = |how, us| Try::Held {
            how,
            after: Duration::from_micros(us),
        };
        let folder = Folder {
            path: "/tmp".into(),
            rules: vec!["flash".into()],
        };
        let good = finding(
            &folder,
            &[
                held(How::Link, 20),
                held(How::Rescue, 900),
                held(How::Rescue, 80),
            ],
            Path::new("/tmp/x"),
        );
        assert_eq!(good.level, Level::Ok);
        assert_eq!(
            good.text,
            "/tmp (flash): 3 hidden files held, 1 by link, 2 by rescue; median 80 µs, worst 900 µs; saving needs no copy"
        );
        let bad = finding(
            &folder,
            &[held(How::Link, 20), Try::Lost("it is gone".into())],
            Path::new("/tmp/x"),
        );
        assert_eq!(
            (bad.level, &*bad.text),
            (
                Level::Problem,
                "/tmp (flash): 1 of 2 hidden files were not held: it is gone"
            )
        );
        let shut = finding(
            &folder,
            &[Try::Refused("Permission denied (os error 13)".into())],
            Path::new("/tmp/x"),
        );
        assert_eq!(shut.level, Level::Note);
    }
}
