//! The real binary, in a home of its own.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

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
        command.args(args).env_clear().env("HOME", self.path()).stdin(Stdio::null()).current_dir(self.path());
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
        assert_eq!((self.status, self.out.as_str()), (status, ""), "{}", self.err);
        let line = self.err.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        line.strip_prefix("fisga: ").unwrap().to_owned()
    }
}

#[test]
fn config_says_where_and_what() {
    let home = Home::new();
    let path = home.path().join(".config/fisga/config.json");
    assert_eq!(home.run(&["config", "path"]).good(), format!("{}\n", path.display()));
    assert_eq!(home.run(&["--config", "/x.json", "config", "path"]).good(), "/x.json\n");
    let enabled = |home: &Home| {
        let shown: serde_json::Value = serde_json::from_str(&home.run(&["config", "show"]).good()).unwrap();
        shown["rules"].as_array().unwrap().iter().filter(|rule| rule["enabled"] == true).count()
    };
    let shipped = enabled(&home);
    let line = format!("{} is absent: defaults are in force: good, {shipped} rules\n", path.display());
    assert_eq!(home.run(&["config", "check"]).good(), line);
    home.configure(r#"{"rules": [{"name": "flash", "enabled": false}]}"#);
    assert_eq!(enabled(&home), shipped - 1);
    let line = format!("{}: good, {} rules\n", path.display(), shipped - 1);
    assert_eq!(home.run(&["config", "check"]).good(), line);

    let shown: serde_json::Value = serde_json::from_str(&home.run(&["config", "show"]).good()).unwrap();
    assert_eq!(shown["library"], "~/Videos/Fisga");
    assert_eq!(shown["rules"][0]["enabled"], false);
    let shown = home.run(&["config", "show", "--library", "/elsewhere"]).good();
    assert!(shown.contains("\"library\": \"/elsewhere\""), "{shown}");

    let schema: serde_json::Value = serde_json::from_str(&home.run(&["config", "schema"]).good()).unwrap();
    assert!(schema["properties"]["min_size"].is_object());
}

#[test]
fn the_videos_folder_is_the_desktops() {
    let home = Home::new();
    fs::create_dir(home.path().join(".config")).unwrap();
    fs::write(home.path().join(".config/user-dirs.dirs"), "XDG_VIDEOS_DIR=\"$HOME/Filme\"\n").unwrap();
    assert!(home.run(&["config", "show"]).good().contains("\"library\": \"~/Filme/Fisga\""));
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
    let line = home.run(&["--config", "nowhere.json", "config", "check"]).complaint(2);
    assert_eq!(line, "nowhere.json: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn usage_errors_are_one_line_and_status_2() {
    let home = Home::new();
    assert!(home.run(&["wach"]).complaint(2).starts_with("unrecognized subcommand 'wach'; tip: "));
    assert!(home.run(&["--version"]).good().starts_with("fisga "));
    assert!(home.run(&["--help"]).good().contains("autostart"));
}

#[test]
fn check_tells_whole_from_not() {
    let home = Home::new();
    fs::write(home.path().join("text"), "no video at all").unwrap();
    let answer = home.run(&["check", "text"]);
    assert_eq!((answer.status, answer.err.as_str()), (1, ""));
    assert!(answer.out.starts_with("text: not media ("), "{}", answer.out);

    let answer = home.run(&["check", "nothing", "text"]);
    assert_eq!(
        (answer.status, answer.err.as_str()),
        (1, "fisga: nothing: No such file or directory (os error 2)\n")
    );
    assert!(answer.out.starts_with("text: "), "the others are told all the same");

    rustix::fs::mknodat(
        rustix::fs::CWD,
        home.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert_eq!(home.run(&["check", "pipe"]).complaint(1), "pipe: is not a regular file");
}

#[test]
fn a_name_cannot_break_the_line() {
    let home = Home::new();
    let name = "a\nb\u{1b}[2J";
    fs::write(home.path().join(name), "no video at all").unwrap();
    let out = home.run(&["check", name]).out;
    assert!(out.starts_with("a\u{fffd}b\u{fffd}[2J: not media"), "{out:?}");
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
    for text in ["fisga watch", "fisga config schema", "fisga discard", "EXIT STATUS", "history.jsonl"] {
        assert!(page.contains(text), "{text}\n{page}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let home = Home::new();
    let mut child =
        home.command(&["config", "schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let answer = Answer::from(child.wait_with_output().unwrap());
    assert_eq!((answer.status, answer.err.as_str()), (0, ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let home = Home::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let answer = home.command(&["config", "schema"]).stdout(full).output().unwrap();
    assert_eq!(answer.status.code(), Some(1));
    assert_eq!(answer.stderr, b"fisga: No space left on device (os error 28)\n");
}
