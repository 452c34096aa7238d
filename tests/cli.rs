//! The real binary, in a home of its own.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use fisga::library::history::{Entry, History, Outcome};
use tempfile::TempDir;

struct Home(TempDir);

struct Answer {
    status: i32,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fisga"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .stdin(Stdio::null())
            .current_dir(self.path());
        command
    }

    fn run(&self, args: &[&str]) -> Answer {
        self.command(args).output().unwrap().into()
    }

    fn configure(&self, text: &str) -> PathBuf {
        let path = self.path().join(".config/fisga/config.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// What it printed; it must have been content.
    fn good(self) -> String {
        assert_eq!((self.status, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The one line that it complained with.
    fn complaint(self, status: i32) -> String {
        assert_eq!(
            (self.status, self.out.as_str()),
            (status, ""),
            "{}",
            self.err
        );
        let line = self.err.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line.strip_prefix("fisga: ").unwrap().to_owned()
    }
}

#[test]
fn config_says_where_and_what() {
    let home = Home::new();
    let path = home.path().join(".config/fisga/config.json");
    assert_eq!(
        home.run(&["config", "path"]).good(),
        format!("{}\n", path.display())
    );
    assert_eq!(
        home.run(&["--config", "/x.json", "config", "path"]).good(),
        "/x.json\n"
    );
    let enabled = |home: &Home| {
        let shown: serde_json::Value =
            serde_json::from_str(&home.run(&["config", "show"]).good()).unwrap();
        shown["rules"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["enabled"] == true)
            .count()
    };
    let shipped = enabled(&home);
    let line = format!(
        "{} is absent: defaults are in force: good, {shipped} rules\n",
        path.display()
    );
    assert_eq!(home.run(&["config", "check"]).good(), line);
    home.configure(r#"{"rules": [{"name": "flash", "enabled": false}]}"#);
    assert_eq!(enabled(&home), shipped - 1);
    let line = format!("{}: good, {} rules\n", path.display(), shipped - 1);
    assert_eq!(home.run(&["config", "check"]).good(), line);

    let shown: serde_json::Value =
        serde_json::from_str(&home.run(&["config", "show"]).good()).unwrap();
    assert_eq!(shown["library"], "~/Videos/Fisga");
    assert_eq!(shown["rules"][0]["enabled"], false);
    let shown = home
        .run(&["config", "show", "--library", "/elsewhere"])
        .good();
    assert!(shown.contains("\"library\": \"/elsewhere\""), "{shown}");

    let schema: serde_json::Value =
        serde_json::from_str(&home.run(&["config", "schema"]).good()).unwrap();
    assert!(schema["properties"]["min_size"].is_object());
}

#[test]
fn the_videos_folder_is_the_desktops() {
    let home = Home::new();
    fs::create_dir(home.path().join(".config")).unwrap();
    fs::write(
        home.path().join(".config/user-dirs.dirs"),
        "XDG_VIDEOS_DIR=\"$HOME/Filme\"\n",
    )
    .unwrap();
    assert!(
        home.run(&["config", "show"])
            .good()
            .contains("\"library\": \"~/Filme/Fisga\"")
    );
}

#[test]
fn a_bad_configuration_is_one_line_and_status_2() {
    let home = Home::new();
    let path = home.configure("{\"audio\": 1}");
    for args in [["config", "check"], ["config", "show"]] {
        let line = format!(
            "{}: audio: invalid type: integer `1`, expected a boolean; allowed: true or false",
            path.display()
        );
        assert_eq!(home.run(&args).complaint(2), line);
    }
    let line = home
        .run(&["--config", "nowhere.json", "config", "check"])
        .complaint(2);
    assert_eq!(
        line,
        "nowhere.json: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn nothing_starts_with_a_bad_configuration() {
    let home = Home::new();
    let path = home.configure("{\"rules\": 1}");
    for args in [&["watch"][..], &["doctor"], &["discard", "LAST"]] {
        let line = home.run(args).complaint(2);
        assert!(
            line.starts_with(&format!("{}: rules: ", path.display())),
            "{line}"
        );
    }
    let answer = home
        .command(&["config", "path"])
        .env("HOME", "here")
        .output()
        .unwrap();
    let line = Answer::from(answer).complaint(2);
    assert_eq!(
        line,
        "no home folder: neither HOME nor the user database names one"
    );
}

#[test]
fn the_log_goes_to_stderr_and_can_be_raised() {
    let home = Home::new();
    home.configure(r#"{"rules": [{"name": "x", "folders": ["$NOT_SET/x"], "files": ["*"]}]}"#);
    let log = |args: &[&str], rust_log: &str| {
        let answer = Answer::from(
            home.command(args)
                .env("RUST_LOG", rust_log)
                .output()
                .unwrap(),
        );
        assert_eq!(answer.status, 0, "{}", answer.err);
        answer.err
    };
    assert!(log(&["config", "check"], "").contains("left out: its variable is not set"));
    assert_eq!(log(&["-q", "config", "check"], ""), "");
    assert_eq!(
        log(&["-v", "config", "check"], "fisga=error"),
        "",
        "RUST_LOG counts more"
    );
}

#[test]
fn usage_errors_are_one_line_and_status_2() {
    let home = Home::new();
    assert!(
        home.run(&["wach"])
            .complaint(2)
            .starts_with("unrecognized subcommand 'wach'; tip: ")
    );
    assert!(home.run(&["--version"]).good().starts_with("fisga "));
    assert!(home.run(&["--help"]).good().contains("autostart"));
}

#[test]
fn check_tells_whole_from_not() {
    let home = Home::new();
    fs::write(home.path().join("text"), "no video at all").unwrap();
    let answer = home.run(&["check", "text"]);
    assert_eq!((answer.status, answer.err.as_str()), (1, ""));
    assert!(
        answer.out.starts_with("text: not media ("),
        "{}",
        answer.out
    );

    let answer = home.run(&["check", "--json", "text", "text"]);
    assert_eq!((answer.status, answer.out.lines().count()), (1, 2));
    for line in answer.out.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["path"], &line["verdict"]),
            (&"text".into(), &"not-media".into())
        );
    }

    let answer = home.run(&["check", "nothing", "text"]);
    assert_eq!(
        (answer.status, answer.err.as_str()),
        (
            1,
            "fisga: nothing: No such file or directory (os error 2)\n"
        )
    );
    assert!(
        answer.out.starts_with("text: "),
        "the others are told all the same"
    );

    rustix::fs::mknodat(
        rustix::fs::CWD,
        home.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert_eq!(
        home.run(&["check", "pipe"]).complaint(1),
        "pipe: is not a regular file"
    );
}

#[test]
fn a_name_cannot_break_the_line() {
    let home = Home::new();
    let name = "a\nb\u{1b}[2J";
    fs::write(home.path().join(name), "no video at all").unwrap();
    let out = home.run(&["check", name]).out;
    assert!(
        out.starts_with("a\u{fffd}b\u{fffd}[2J: not media"),
        "{out:?}"
    );
    assert_eq!(out.lines().count(), 1);
}

#[test]
fn completions_and_manual_know_every_command() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).good();
        for command in ["watch", "history", "autostart", "discard"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let page = home.run(&["man"]).good();
    for text in [
        "fisga watch",
        "fisga config schema",
        "fisga discard",
        "EXIT STATUS",
        "history.jsonl",
    ] {
        assert!(page.contains(text), "{text}\n{page}");
    }
}

/// Two files in the library, and a history of three entries.
fn with_history(home: &Home) -> PathBuf {
    let library = home.path().join("Videos/Fisga");
    fs::create_dir_all(&library).unwrap();
    let history = History::open(&home.path().join(".local/state/fisga/history.jsonl")).unwrap();
    let entry = |outcome| {
        Entry::new(
            chrono::Local::now(),
            outcome,
            "/tmp/FlashX".into(),
            "flash".into(),
        )
    };
    for name in ["first.mp4", "second.mp4"] {
        let path = library.join(name);
        fs::write(&path, name).unwrap();
        let saved = Entry {
            title: Some(name.into()),
            bytes: Some(10),
            path: Some(path),
            ..entry(Outcome::Saved)
        };
        history.append(&saved).unwrap();
    }
    history
        .append(&Entry {
            reason: Some("too small".into()),
            ..entry(Outcome::Dropped)
        })
        .unwrap();
    library
}

#[test]
fn history_is_told() {
    let home = Home::new();
    assert_eq!(
        home.run(&["history"]).good(),
        "nothing was saved, dropped or lost yet\n"
    );
    assert_eq!(home.run(&["history", "--json"]).good(), "");
    with_history(&home);
    let table = home.run(&["history"]).good();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[0].ends_with("TITLE") && lines[1].ends_with("  first.mp4"),
        "{table}"
    );
    assert!(lines[3].ends_with("  /tmp/FlashX: too small"), "{table}");
    let json = home.run(&["history", "--json", "--limit", "2"]).good();
    let entries: Vec<Entry> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (entries.len(), entries[0].title.as_deref()),
        (2, Some("second.mp4"))
    );
}

#[test]
fn what_is_discarded_lies_in_the_trash() {
    let home = Home::new();
    assert_eq!(
        home.run(&["discard", "LAST"]).complaint(1),
        "nothing was saved yet"
    );
    let library = with_history(&home);
    let (first, second) = (library.join("first.mp4"), library.join("second.mp4"));
    assert_eq!(
        home.run(&["discard", "LAST"]).good(),
        format!("{}\n", second.display())
    );
    assert!(first.exists() && !second.exists());
    let trash = home.path().join(".local/share/Trash");
    assert_eq!(
        fs::read(trash.join("files/second.mp4")).unwrap(),
        b"second.mp4"
    );
    assert!(trash.join("info/second.mp4.trashinfo").exists());

    fs::write(home.path().join("mine.mp4"), "not from fisga").unwrap();
    std::os::unix::fs::symlink(home.path().join("mine.mp4"), library.join("link.mp4")).unwrap();
    let bad = [
        (
            "mine.mp4",
            "is neither in the library nor known to the history: remove it by other means",
        ),
        ("Videos/Fisga/link.mp4", "is no file"),
        ("Videos/Fisga", "is no file"),
        (
            "Videos/no.mp4",
            "can't be discarded: No such file or directory (os error 2)",
        ),
    ];
    for (name, why) in bad {
        let line = format!("{} {why}", home.path().join(name).display());
        assert_eq!(home.run(&["discard", name]).complaint(1), line);
    }
    // Said twice by mistake, it doesn't take the one before.
    let line = home.run(&["discard", "LAST"]).complaint(1);
    assert!(line.starts_with(&*second.to_string_lossy()), "{line}");
    home.run(&["discard", "first.mp4"]).good();
    assert!(!first.exists());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let home = Home::new();
    let mut child = home
        .command(&["config", "schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let answer = Answer::from(child.wait_with_output().unwrap());
    assert_eq!((answer.status, answer.err.as_str()), (0, ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let home = Home::new();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let answer = home
        .command(&["config", "schema"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(answer.status.code(), Some(1));
    assert_eq!(
        answer.stderr,
        b"fisga: No space left on device (os error 28)\n"
    );
}
