//! The configuration from the outside: files on a real disk, and what is said about bad ones.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use fisga::{
    config::{self, ConfigError, Incomplete, Overrides, Private, Settings},
    environment::Environment,
    library::name::Template,
    rule::Source,
};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Sandbox {
    dir: TempDir,
    env: Environment,
}

impl Sandbox {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let env = Environment::new(dir.path(), [("TMPDIR", "/scratch")]);
        Self { dir, env }
    }

    fn path(&self) -> PathBuf {
        config::default_path(&self.env)
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path().parent().unwrap()).unwrap();
        fs::write(self.path(), text).unwrap();
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        config::load(None, &Overrides::default(), &self.env)
    }

    fn settings(&self, value: Value) -> Settings {
        self.write(value.to_string());
        self.load().unwrap()
    }

    /// The error as one line, without the file it names.
    fn error(&self, text: impl AsRef<[u8]>) -> String {
        self.write(text);
        self.complaint()
    }

    fn complaint(&self) -> String {
        let error = anyhow::Error::from(self.load().unwrap_err());
        let line = format!("{error:#}");
        assert!(!line.contains(char::is_control), "{line:?}");
        line.strip_prefix(&format!("{}: ", self.path().display()))
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    }
}

fn names(settings: &Settings) -> BTreeSet<&str> {
    settings
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect()
}

#[test]
fn without_a_file_everything_has_a_default() {
    let sandbox = Sandbox::new();
    let settings = sandbox.load().unwrap();
    assert_eq!(settings, Settings::defaults(&sandbox.env).unwrap());
    assert_eq!(settings.library, sandbox.dir.path().join("Videos/Fisga"));
    assert_eq!(settings.min_size, 1 << 20);
    assert_eq!(settings.min_duration, Duration::from_secs(10));
    assert_eq!(
        (settings.incomplete, settings.incomplete_days),
        (Incomplete::Keep, 7)
    );
    assert_eq!(settings.private, Private::Skip);
    assert_eq!((settings.max_library, settings.min_free), (None, 1 << 30));
    assert!(
        names(&settings).is_superset(&["flash", "webkit", "firefox", "totem", "gstreamer"].into())
    );
    assert!(!names(&settings).contains("nameless"), "shipped, but off");
    sandbox.write("{}");
    assert_eq!(sandbox.load().unwrap(), settings);
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let sandbox = Sandbox::new();
    let path = sandbox.dir.path().join("other.json");
    let load = || config::load(Some(&path), &Overrides::default(), &sandbox.env);
    let line = format!("{:#}", anyhow::Error::from(load().unwrap_err()));
    assert_eq!(
        line,
        format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            path.display()
        )
    );
    fs::write(&path, r#"{"audio": true}"#).unwrap();
    assert!(load().unwrap().audio);
}

#[test]
fn every_key_arrives() {
    let sandbox = Sandbox::new();
    let settings = sandbox.settings(json!({
        "$schema": "./config.schema.json",
        "library": "$TMPDIR/lib",
        "name": "{program} {title}",
        "rules": [{ "name": "mine", "folders": ["~/in/*", "$HOME/in/*/"], "files": ["*.{mp4,webm}"], "recursive": true }],
        "min_size": 5, "min_duration": "1m 5s",
        "incomplete": "drop", "incomplete_days": 30, "audio": true, "private": "keep",
        "sources": { "browser_cache": false },
        "notifications": false, "thumbnails": false, "addresses": true,
        "max_library": "50 GB", "min_free": "0 B"
    }));
    assert_eq!(settings.library, Path::new("/scratch/lib"));
    assert_eq!(settings.name, "{program} {title}".parse().unwrap());
    let mine = settings
        .rules
        .iter()
        .find(|rule| rule.name == "mine")
        .unwrap();
    assert_eq!(
        mine.folders,
        [format!("{}/in/*", sandbox.dir.path().display())],
        "the same folder counts once"
    );
    assert_eq!(
        (&mine.files[..], mine.recursive, mine.source),
        (&["*.{mp4,webm}".into()][..], true, Source::Temporary)
    );
    assert_eq!(
        (settings.min_size, settings.min_duration),
        (5, Duration::from_secs(65))
    );
    assert_eq!(
        (settings.incomplete, settings.incomplete_days),
        (Incomplete::Drop, 30)
    );
    assert_eq!((settings.audio, settings.private), (true, Private::Keep));
    assert!(settings.sources.temporary_files && !settings.sources.browser_cache);
    assert!(!settings.notifications && !settings.thumbnails && settings.addresses);
    assert_eq!(
        (settings.max_library, settings.min_free),
        (Some(50_000_000_000), 0)
    );
}

#[test]
fn the_command_line_comes_first() {
    let sandbox = Sandbox::new();
    sandbox.write(r#"{"library": "/a"}"#);
    let overrides = Overrides {
        library: Some("some/where".into()),
    };
    let settings = config::load(None, &overrides, &sandbox.env).unwrap();
    assert_eq!(
        settings.library,
        std::env::current_dir().unwrap().join("some/where")
    );
}

#[test]
fn rules_add_replace_and_switch() {
    let sandbox = Sandbox::new();
    let shipped = Settings::defaults(&sandbox.env).unwrap();
    let entry = json!({ "name": "mine", "folders": ["/a"], "files": ["*"] });
    let settings = sandbox.settings(json!({ "rules": [entry] }));
    assert_eq!(settings.rules.len(), shipped.rules.len() + 1);

    let entry = json!({ "name": "flash", "folders": ["/a"], "files": ["*"] });
    let settings = sandbox.settings(json!({ "rules": [entry] }));
    assert_eq!(names(&settings), names(&shipped));
    assert_eq!(
        settings
            .rules
            .iter()
            .find(|rule| rule.name == "flash")
            .unwrap()
            .folders,
        ["/a"]
    );

    let switches =
        json!([{ "name": "flash", "enabled": false }, { "name": "nameless", "enabled": true }]);
    let settings = sandbox.settings(json!({ "rules": switches }));
    assert!(!names(&settings).contains("flash"));
    let nameless = settings
        .rules
        .iter()
        .find(|rule| rule.name == "nameless")
        .unwrap();
    assert_eq!(
        (&nameless.folders[..], &nameless.files[..]),
        (&["/tmp".into(), "/var/tmp".into()][..], &["#*".into()][..])
    );

    let entry = json!({ "name": "mine", "enabled": false, "folders": ["/a"], "files": ["*"] });
    assert_eq!(
        names(&sandbox.settings(json!({ "rules": [entry] }))),
        names(&shipped)
    );

    let entry = json!({ "name": "mine", "folders": ["$NOT_SET/a"], "files": ["*"] });
    assert_eq!(
        names(&sandbox.settings(json!({ "rules": [entry] }))),
        names(&shipped),
        "nowhere to look"
    );

    let settings = sandbox.settings(json!({ "sources": { "temporary_files": false } }));
    assert!(
        settings
            .rules
            .iter()
            .all(|rule| rule.source != Source::Temporary)
    );
}

#[test]
fn bad_values_are_named() {
    let sandbox = Sandbox::new();
    let size = r#"a size such as "1 MiB", "500 kB" or a number of bytes"#;
    let span = r#"a duration such as "10 s", "30m" or "1h30m""#;
    let folder = "an absolute folder, with ~, $VARIABLES and * in any component";
    let glob = "a glob over file names: * ? [abc] {this,that}";
    let cases: &[(&str, &str, &str, &str)] = &[
        // text, key, what is wrong, what is allowed
        (
            r#"{"audio": "yes"}"#,
            "audio",
            "invalid type: string \"yes\", expected a boolean",
            "true or false",
        ),
        (
            r#"{"audio": null}"#,
            "audio",
            "invalid type: null, expected a boolean",
            "true or false",
        ),
        (
            "[]",
            "top level",
            "is not an object",
            "an object of fisga's keys; see `fisga config schema`",
        ),
        (
            r#"{"audio": true, "audio": true}"#,
            "top level",
            "duplicate field `audio`",
            "an object of fisga's keys; see `fisga config schema`",
        ),
        (
            r#"{"library": 5}"#,
            "library",
            "invalid type: integer `5`, expected a string",
            "null, or an absolute folder, with ~ and $VARIABLES",
        ),
        (
            r#"{"library": "Videos"}"#,
            "library",
            "\"Videos\" is not an absolute path",
            "null, or an absolute folder, with ~ and $VARIABLES",
        ),
        (
            r#"{"library": "$NOT_SET/x"}"#,
            "library",
            "\"$NOT_SET/x\" has a variable that is not set",
            "null, or an absolute folder, with ~ and $VARIABLES",
        ),
        (
            r#"{"min_size": "1 parsec"}"#,
            "min_size",
            "\"1 parsec\" is not a size",
            size,
        ),
        (
            r#"{"min_size": -1}"#,
            "min_size",
            "invalid type: integer `-1`, expected a size",
            size,
        ),
        (
            r#"{"min_size": true}"#,
            "min_size",
            "invalid type: boolean `true`, expected a size",
            size,
        ),
        (
            r#"{"min_size": "20000000 TiB"}"#,
            "min_size",
            "\"20000000 TiB\" is too large",
            size,
        ),
        (
            r#"{"min_duration": "10"}"#,
            "min_duration",
            "\"10\" is not a duration",
            span,
        ),
        (
            r#"{"min_duration": 10}"#,
            "min_duration",
            "invalid type: integer `10`, expected a duration",
            span,
        ),
        (
            r#"{"max_library": "lots"}"#,
            "max_library",
            "\"lots\" is not a size",
            r#"null, or a size such as "50 GiB" or a number of bytes"#,
        ),
        (
            r#"{"incomplete": "burn"}"#,
            "incomplete",
            "unknown variant `burn`, expected `keep` or `drop`",
            r#""keep" or "drop""#,
        ),
        (
            r#"{"private": 1}"#,
            "private",
            "expected value",
            r#""skip" or "keep""#,
        ),
        (
            r#"{"incomplete_days": -1}"#,
            "incomplete_days",
            "invalid value: integer `-1`, expected u32",
            "a whole number of days from 0 to 4294967295",
        ),
        (
            r#"{"sources": []}"#,
            "sources",
            "is not an object",
            "{ \"temporary_files\", \"browser_cache\" }",
        ),
        (
            r#"{"sources": {"browser_cache": 1}}"#,
            "sources.browser_cache",
            "invalid type: integer `1`, expected a boolean",
            "true or false",
        ),
        (
            r#"{"rules": {}}"#,
            "rules",
            "invalid type: map, expected a sequence",
            "a list of rules: [ { \"name\", \"folders\", \"files\", \"recursive\", \"enabled\" } ]",
        ),
        (
            r#"{"rules": ["x"]}"#,
            "rules[0]",
            "is not an object",
            "a rule: { \"name\", \"folders\", \"files\", \"recursive\", \"enabled\" }",
        ),
        (
            r#"{"rules": [{"enabled": false}]}"#,
            "rules[0]",
            "missing field `name`",
            "a rule: { \"name\", \"folders\", \"files\", \"recursive\", \"enabled\" }",
        ),
        (
            r#"{"rules": [{"name": "x", "files": "*"}]}"#,
            "rules[0].files",
            "invalid type: string \"*\", expected a sequence",
            "a list of globs over file names, at least one",
        ),
        (
            r#"{"rules": [{"name": "x", "files": ["*"]}]}"#,
            "rules[0].folders",
            "is missing in rule \"x\"",
            "a list of absolute folders, at least one",
        ),
        (
            r#"{"rules": [{"name": "x", "files": ["*"], "folders": []}]}"#,
            "rules[0].folders",
            "is empty in rule \"x\"",
            "a list of absolute folders, at least one",
        ),
        (
            r#"{"rules": [{"name": "x", "folders": ["/a"]}]}"#,
            "rules[0].files",
            "is missing in rule \"x\"",
            "a list of globs over file names, at least one",
        ),
        (
            r#"{"rules": [{"name": "x", "enabled": false}]}"#,
            "rules[0].folders",
            "is missing in rule \"x\"",
            "a list of absolute folders, at least one",
        ),
        (
            r#"{"rules": [{"name": "x", "folders": ["/a", "b"], "files": ["*"]}]}"#,
            "rules[0].folders[1]",
            "\"b\" is not an absolute path",
            folder,
        ),
        (
            r#"{"rules": [{"name": "x", "folders": ["/a/../b"], "files": ["*"]}]}"#,
            "rules[0].folders[0]",
            "\"/a/../b\" is not an absolute path",
            folder,
        ),
        (
            r#"{"rules": [{"name": "x", "folders": ["~bob"], "files": ["*"]}]}"#,
            "rules[0].folders[0]",
            "\"~bob\" has a variable that cannot be read",
            folder,
        ),
        (
            r#"{"rules": [{"name": "x", "folders": ["/a/**"], "files": ["*"]}]}"#,
            "rules[0].folders[0]",
            "\"/a/**\" has \"**\"; \"recursive\": true looks into folders below",
            folder,
        ),
        (
            r#"{"rules": [{"name": "x", "folders": ["/a"], "files": ["[a"]}]}"#,
            "rules[0].files[0]",
            "error parsing glob '[a': unclosed character class; missing ']'",
            glob,
        ),
        (
            r#"{"rules": [{"name": "x", "folders": ["/a"], "files": ["*", "a/b"]}]}"#,
            "rules[0].files[1]",
            "\"a/b\" matches no file name",
            glob,
        ),
        (
            r#"{"rules": [{"name": "flash", "enabled": true}, {"name": "flash", "enabled": true}]}"#,
            "rules[1].name",
            "a rule \"flash\" stands above already",
            "a short text on one line, once",
        ),
        (
            r#"{"rules": [{"name": "", "enabled": true}]}"#,
            "rules[0].name",
            "is empty",
            "a short text on one line, once",
        ),
        (r#"{"name": "{titel}"}"#, "name", "", ""),
    ];
    for (text, key, what, allowed) in cases {
        let line = sandbox.error(text);
        if what.is_empty() {
            assert!(
                line.starts_with(&format!("{key}: ")) && line.contains("allowed"),
                "{text}\n{line}"
            );
        } else {
            assert_eq!(line, format!("{key}: {what}; allowed: {allowed}"), "{text}");
        }
    }
}

#[test]
fn unknown_keys_are_named_with_those_that_exist() {
    let sandbox = Sandbox::new();
    let schema = config::schema();
    let keys = |schema: &Value| -> Vec<String> {
        schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let cases = [
        (r#"{"min_sise": 1}"#, "min_sise", keys(&schema)),
        (
            r#"{"sources": {"disk": true}}"#,
            "sources.disk",
            keys(&schema["properties"]["sources"]),
        ),
        (
            r#"{"rules": [{"name": "x", "glob": "*"}]}"#,
            "rules[0].glob",
            keys(&schema["$defs"]["Rule"]),
        ),
    ];
    for (text, key, allowed) in cases {
        // The parser's keys are the schema's.
        assert_eq!(
            sandbox.error(text),
            format!("{key}: unknown key; allowed: {}", list(&allowed)),
            "{text}"
        );
    }
    assert!(
        sandbox
            .error("{\"a\\nb\": 1}")
            .starts_with("a\\nb: unknown key")
    );
}

fn list(keys: &[String]) -> String {
    match keys {
        [a, b] => format!("{a} or {b}"),
        keys => keys.join(", "),
    }
}

#[test]
fn bad_files_are_named() {
    let sandbox = Sandbox::new();
    let cases: &[(&[u8], &str)] = &[
        (b"", "is empty; allowed: JSON, at least {}"),
        (b" \n", "is empty; allowed: JSON, at least {}"),
        (
            b"{\"name\": \"\xff\"}",
            "is not UTF-8 at byte 10; allowed: JSON in UTF-8",
        ),
        (
            b"{\n  \"audio\": true,\n}",
            "line 3, column 1: trailing comma; allowed: JSON",
        ),
        (
            b"{\"audio\": true",
            "line 1, column 14: EOF while parsing an object; allowed: JSON",
        ),
        (
            b"{} {}",
            "line 1, column 4: trailing characters; allowed: JSON",
        ),
    ];
    for (text, line) in cases {
        assert_eq!(sandbox.error(text), *line, "{}", text.escape_ascii());
    }
    assert_eq!(
        sandbox.error(vec![b' '; 10_000_000]),
        "is larger than 1048576 bytes; allowed: at most that"
    );
    let deep = "[".repeat(100_000);
    assert!(
        sandbox
            .error(format!("{{\"rules\": {deep}"))
            .contains("recursion limit exceeded")
    );

    fs::remove_file(sandbox.path()).unwrap();
    fs::create_dir(sandbox.path()).unwrap();
    assert_eq!(
        sandbox.complaint(),
        "is a folder; allowed: a file with JSON"
    );
    fs::remove_dir(sandbox.path()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        sandbox.path(),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert_eq!(
        sandbox.complaint(),
        "is no regular file; allowed: a file with JSON",
        "and it didn't wait for a writer"
    );
}

#[test]
fn what_is_in_force_can_be_written_down() {
    let sandbox = Sandbox::new();
    sandbox.write(r#"{"library": "~/x", "rules": [{"name": "flash", "enabled": false}, {"name": "a", "folders": ["/a"], "files": ["*"]}]}"#);
    let before = sandbox.load().unwrap();
    let file = config::effective(None, &Overrides::default(), &sandbox.env).unwrap();
    sandbox.write(config::pretty(&file));
    assert_eq!(sandbox.load().unwrap(), before);
    let shown = serde_json::to_value(&file).unwrap();
    assert_eq!(shown["library"], "~/x");
    assert_eq!(shown["min_size"], "1 MiB");
    for key in config::schema()["properties"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| *key != "$schema")
    {
        assert!(shown.get(key).is_some(), "{key} is not shown");
    }
}

#[test]
fn a_file_to_edit_has_every_default() {
    let sandbox = Sandbox::new();
    config::write_default(&sandbox.path(), &sandbox.env).unwrap();
    assert_eq!(
        sandbox.load().unwrap(),
        Settings::defaults(&sandbox.env).unwrap()
    );
    let written: Value = serde_json::from_slice(&fs::read(sandbox.path()).unwrap()).unwrap();
    let schema = sandbox
        .path()
        .parent()
        .unwrap()
        .join(written["$schema"].as_str().unwrap());
    let schema: Value = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&written), keys(&schema["properties"]));

    sandbox.write("{\"audio\": true}");
    config::write_default(&sandbox.path(), &sandbox.env).unwrap();
    assert!(sandbox.load().unwrap().audio, "the user's file stays");
}

#[test]
fn one_key_can_be_set() {
    let sandbox = Sandbox::new();
    let set = |key: &str, value: Value| config::set(&sandbox.path(), key, value, &sandbox.env);
    set("notifications", false.into()).unwrap();
    let expected = Settings {
        notifications: false,
        ..Settings::defaults(&sandbox.env).unwrap()
    };
    assert_eq!(sandbox.load().unwrap(), expected, "beside it every default");

    sandbox.write(r#"{"min_size": "5 MB", "notifications": true, "audio": true}"#);
    let real = sandbox.dir.path().join("dotfiles.json");
    fs::rename(sandbox.path(), &real).unwrap();
    std::os::unix::fs::symlink(&real, sandbox.path()).unwrap();
    set("notifications", false.into()).unwrap();
    let expected =
        "{\n  \"min_size\": \"5 MB\",\n  \"notifications\": false,\n  \"audio\": true\n}\n";
    assert_eq!(
        fs::read_to_string(&real).unwrap(),
        expected,
        "in place, through the link"
    );
    assert!(sandbox.path().is_symlink());

    assert!(set("notifications", "perhaps".into()).is_err());
    assert_eq!(fs::read_to_string(&real).unwrap(), expected);
    sandbox.write("{\"audio\": ");
    assert!(matches!(
        set("notifications", true.into()),
        Err(ConfigError::NotJson { .. })
    ));
    assert_eq!(
        fs::read_to_string(&real).unwrap(),
        "{\"audio\": ",
        "what the user wrote is the user's"
    );
}

#[test]
fn what_the_readme_shows_can_be_used() {
    let sandbox = Sandbox::new();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks: Vec<_> = readme
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 3);
    for block in &blocks {
        sandbox.write(block);
        sandbox.load().unwrap_or_else(|e| panic!("{e}\n{block}"));
    }
    // The first states the defaults, and the table below it has every key.
    sandbox.write(blocks[0]);
    assert_eq!(
        sandbox.load().unwrap(),
        Settings::defaults(&sandbox.env).unwrap()
    );
    let shown: Value = serde_json::from_str(blocks[0]).unwrap();
    for key in config::schema()["properties"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| *key != "$schema")
    {
        assert!(
            shown.get(key).is_some(),
            "{key} is not in the README's example"
        );
        let in_table = readme.lines().any(|line| {
            line.starts_with("| `")
                && line
                    .split('|')
                    .nth(1)
                    .unwrap()
                    .contains(&format!("`{key}`"))
        });
        assert!(in_table, "{key} is not in the README's table");
    }
    for line in readme.lines().filter(|line| line.starts_with("| `{")) {
        let field = line.split('`').nth(1).unwrap();
        field
            .parse::<Template>()
            .unwrap_or_else(|e| panic!("{field}: {e}"));
    }
}
