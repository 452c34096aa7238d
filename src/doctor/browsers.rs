//! Which browsers there are, and whether their caches are watched.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::{
    Finding, Level,
    folders::expand,
    processes::{name, own},
};
use crate::{
    config::Settings,
    rule::{Rule, Source},
    source::cache::{self, BROWSERS},
    text,
};

/// Each browser that is found on this machine: watched, or why not. `shipped` are the rules that
/// fisga comes with.
pub(super) fn findings(settings: &Settings, shipped: &[Rule]) -> Vec<Finding> {
    let is_cache = |rule: &&Rule| rule.source != Source::Temporary;
    let in_force = || settings.rules.iter().filter(is_cache);
    let off = |rule: &&Rule| !in_force().any(|own| own.name == rule.name);
    let mut seen = HashSet::new();
    let mut findings: Vec<_> = in_force()
        .flat_map(|rule| watched(rule, &mut seen))
        .collect();
    for rule in shipped.iter().filter(is_cache).filter(off) {
        findings.extend(turned_off(rule, &mut seen));
    }
    // The youngest first: what starts a browser has its options too, env(1) and timeout(1) do.
    let mut pids: Vec<String> = own().collect();
    pids.sort_by_key(|pid| Reverse(pid.parse::<u32>().ok()));
    for pid in pids {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        for pattern in chosen(&line) {
            let folders = expand(&pattern.to_string_lossy());
            let new = folders
                .into_iter()
                .filter(|folder| is_new(folder, &mut seen));
            findings.extend(new.map(|folder| elsewhere(&name(&pid), &folder)));
        }
    }
    findings
}

/// Whether it is a folder that nothing was said of yet.
fn is_new(folder: &Path, seen: &mut HashSet<(u64, u64)>) -> bool {
    fs::metadata(folder).is_ok_and(|meta| seen.insert((meta.dev(), meta.ino())))
}

/// The caches that a rule finds, by program.
fn caches(rule: &Rule, seen: &mut HashSet<(u64, u64)>) -> BTreeMap<String, Vec<PathBuf>> {
    let mut caches: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let folders = rule.folders.iter().flat_map(|pattern| expand(pattern));
    for folder in folders.filter(|folder| is_new(folder, seen)) {
        let program = cache::program(rule, &folder)
            .unwrap_or(&rule.name)
            .to_owned();
        caches.entry(program).or_default().push(folder);
    }
    caches
}

fn watched(rule: &Rule, seen: &mut HashSet<(u64, u64)>) -> Vec<Finding> {
    let tried = BROWSERS
        .iter()
        .any(|browser| browser.tried && rule.name.strip_suffix("-cache") == Some(browser.name));
    let mut findings = Vec::new();
    for (program, folders) in caches(rule, seen) {
        let (sql, good): (Vec<_>, Vec<_>) = folders.into_iter().partition(|f| is_sql(f));
        findings.extend(sql.iter().map(|folder| unreadable(&program, folder)));
        if good.is_empty() {
            continue;
        }
        let (workers, good): (Vec<_>, Vec<_>) = good.iter().partition(|f| is_of_worker(f));
        let mut parts: Vec<_> = good.iter().map(|f| f.display().to_string()).collect();
        if !workers.is_empty() {
            parts.push(format!("{} caches of service workers", workers.len()));
        }
        let doubt = if tried {
            ""
        } else {
            " (this browser's folders were not tried with the real program)"
        };
        let text = format!("{program}: watched: {}{doubt}", parts.join(", "));
        findings.push(
            Finding::new("browser", Level::Ok, text)
                .with("browser", program)
                .with("watched", true)
                .with("tried", tried),
        );
    }
    findings
}

/// Chromium's SQL backend, an experiment: while the browser runs, it has its databases locked, and
/// without a lock half of a change may be read.
fn is_sql(folder: &Path) -> bool {
    folder.join("sqldb0").exists()
}

fn is_of_worker(folder: &Path) -> bool {
    folder
        .components()
        .any(|part| part.as_os_str() == "CacheStorage")
}

fn unreadable(program: &str, folder: &Path) -> Finding {
    let text = format!(
        "{program}: not watched: {} is a database that nobody else can read while the browser runs",
        folder.display()
    );
    not_watched(program, text)
        .advise("start the browser with --disable-features=DiskCacheBackendExperiment")
}

fn turned_off(rule: &Rule, seen: &mut HashSet<(u64, u64)>) -> Vec<Finding> {
    let finding = |(program, folders): (String, Vec<PathBuf>)| {
        let text = format!(
            "{program}: not watched: the configuration turns {} off ({} folders)",
            rule.name,
            folders.len()
        );
        not_watched(&program, text)
    };
    caches(rule, seen).into_iter().map(finding).collect()
}

fn elsewhere(program: &str, folder: &Path) -> Finding {
    let text = format!(
        "{program}: not watched: {} is at a place of its user's choice",
        folder.display()
    );
    not_watched(program, text).advise(
        "add the folder to the browser's rule in the configuration; fisga config show prints the rule",
    )
}

fn not_watched(program: &str, text: String) -> Finding {
    Finding::new("browser", Level::Note, text)
        .with("browser", text::one_line(program))
        .with("watched", false)
}

/// Patterns of the caches that a command line chooses. Arguments end in NUL (proc(5),
/// `/proc/PID/cmdline`).
fn chosen(line: &[u8]) -> Vec<PathBuf> {
    let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    // A browser's own processes repeat some of its options.
    if args.iter().any(|arg| arg.starts_with(b"--type=")) {
        return Vec::new();
    }
    let mut patterns = Vec::new();
    let mut next = args.iter().skip(1).peekable();
    while let Some(arg) = next.next() {
        let (below, value): (&[&str], &[u8]) = match *arg {
            b"-profile" | b"--profile" => (&["cache2/entries"], next.peek().map_or(b"", |v| v)),
            arg => match (
                arg.strip_prefix(b"--disk-cache-dir="),
                arg.strip_prefix(b"--user-data-dir="),
            ) {
                (Some(value), _) | (_, Some(value)) => (
                    &["Cache/Cache_Data", "*/Cache/Cache_Data", "Cache_Data"],
                    value,
                ),
                _ => continue,
            },
        };
        let root = Path::new(std::ffi::OsStr::from_bytes(value));
        if root.is_absolute() {
            patterns.extend(below.iter().map(|below| root.join(below)));
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_users_choice() {
        let chromium = [
            "/d/Cache/Cache_Data",
            "/d/*/Cache/Cache_Data",
            "/d/Cache_Data",
        ];
        for (line, want) in [
            ("chromium\0--disk-cache-dir=/d\0", &chromium[..]),
            ("chromium\0--user-data-dir=/d\0https://a/\0", &chromium[..]),
            ("chromium\0--type=utility\0--user-data-dir=/d\0", &[]),
            ("chromium\0--disk-cache-dir=d\0", &[]),
            ("chromium\0--disk-cache-size=1\0", &[]),
            ("firefox\0--profile\0/p\0", &["/p/cache2/entries"]),
            ("firefox\0-profile\0", &[]),
            ("firefox\0-P\0work\0", &[]),
            ("", &[]),
        ] {
            let want: Vec<_> = want.iter().map(PathBuf::from).collect();
            assert_eq!(chosen(line.as_bytes()), want, "{line}");
        }
    }

    #[test]
    fn caches_by_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let below = |path: &str| dir.path().join(path);
        for folder in [
            "a/Cache/Cache_Data",
            "b/Cache/Cache_Data",
            "a/CacheStorage/1/2",
        ] {
            fs::create_dir_all(below(folder)).unwrap();
        }
        fs::write(below("b/Cache/Cache_Data/sqldb0"), "").unwrap();
        let rule = Rule {
            name: "chromium-cache".into(),
            folders: [
                "*/Cache/Cache_Data",
                "*/CacheStorage/*/*",
                "a/Cache/Cache_Data",
            ]
            .map(|folder| below(folder).to_str().unwrap().into())
            .into(),
            files: Vec::new(),
            recursive: false,
            source: Source::Chromium,
        };
        let found = watched(&rule, &mut HashSet::new());
        let texts: Vec<_> = found.iter().map(|f| (f.level, f.text.as_str())).collect();
        let [sql, good] =
            ["b", "a"].map(|p| below(p).join("Cache/Cache_Data").display().to_string());
        let bad = format!(
            "chromium: not watched: {sql} is a database that nobody else can read while the \
             browser runs"
        );
        let fine = format!("chromium: watched: {good}, 1 caches of service workers");
        assert_eq!(texts, [(Level::Note, &*bad), (Level::Ok, &*fine)]);
        let off = turned_off(&rule, &mut HashSet::new());
        assert_eq!(
            off[0].text,
            "chromium: not watched: the configuration turns chromium-cache off (3 folders)"
        );
    }
}
