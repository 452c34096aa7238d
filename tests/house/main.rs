//! The house: which room of the code may import which, and that `docs/architecture.md`,
//! `CONTRIBUTING.md` and `README.md` say what is true of it.
#![allow(clippy::unwrap_used, reason = "a test's helpers are tests")]
#![allow(clippy::expect_used, reason = "a test's helpers are tests")]

mod imports;
mod pages;
mod rules;
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use imports::Imports;
use rules::{Fault, Row, faults};

/// What may import what, from the top down: the rooms of a row, and what each of them may import.
/// Rooms of one row don't know each other unless the row says so. `docs/architecture.md` shows the
/// same table.
const TABLE: &[Row] = &[
    ("main app cli commands resident terminal", "everything"),
    (
        "doctor",
        "config content desktop engine environment event inode library process rule source text \
         units",
    ),
    ("desktop", "environment event process text title units"),
    (
        "pipeline",
        "config container content copy engine environment event inode library media rule source \
         stream text title units",
    ),
    ("config", "environment library::name rule source units"),
    (
        "engine",
        "content copy environment event inode process rule text title units",
    ),
    (
        "library",
        "content copy environment event inode rule text title units",
    ),
    ("source", "content environment rule text units"),
    ("stream", "container content copy media rule text units"),
    ("event", "text units"),
    ("title", "process text units"),
    ("media", "container content"),
    ("container copy", "content"),
    (
        "content environment inode process rule text units",
        "nothing",
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|e| panic!("{page}: {e}"))
}

#[test]
fn no_room_imports_what_it_may_not_know() {
    let found = faults(&Imports::of_folder(&root().join("src")), TABLE);
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "not allowed:\n{}", lines.join("\n"));
}

/// What is tried, files by their path and text, and what has to be found.
type SmallTree = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

/// The checker itself, by small trees: what it has to find in each.
#[test]
fn the_rules_find_each_kind_of_import() {
    const UP: &str = "low imports high";
    #[rustfmt::skip]
    let cases: &[SmallTree] = &[
        ("down", &[("high.rs", "use crate::low::Low;")], &[]),
        ("up", &[("low.rs", "use crate::high::High;")], &[UP]),
        ("in a group", &[("low.rs", "use crate::{high::{self, High}};")], &[UP]),
        ("all of it", &[("low.rs", "use crate::high::*;")], &[UP]),
        ("renamed", &[("low.rs", "use crate::high as above;")], &[UP]),
        ("one row", &[("other.rs", "use crate::low::Low;")], &["other imports low"]),
        ("written out", &[("low.rs", "fn f() { crate::high::g() }")], &[UP]),
        ("in a type", &[("low.rs", "struct S(Vec<crate::high::High>);")], &[UP]),
        ("in a function", &[("low.rs", "fn f() { use crate::high::g; g() }")], &[UP]),
        ("in a macro", &[("low.rs", "fn f() { println!(\"{}\", crate::high::g()) }")], &[UP]),
        ("in an attribute", &[("low.rs", "#[derive(crate::high::High)] struct S;")], &[UP]),
        ("through its parent", &[("low/mod.rs", ""), ("low/a.rs", "use super::super::high::g;")],
            &["low::a imports high"]),
        ("by a module inside", &[("low.rs", "mod m { use super::super::high::g; }")], &[UP]),
        ("into a file", &[("high/mod.rs", ""), ("high/deep.rs", ""),
            ("low.rs", "use crate::high::deep::g;")], &["low imports high::deep"]),
        ("through an alias", &[("high/mod.rs", ""), ("high/deep.rs", ""),
            ("low.rs", "use crate::high;\nfn f() { high::deep::g() }")],
            &["low imports high::deep", UP]),
        ("what is offered under another name", &[("high/mod.rs", "mod deep; pub use deep::G;"),
            ("high/deep.rs", ""), ("low.rs", "use crate::high::G;")],
            &["low imports high::deep", UP]),
        ("by the program", &[("main.rs", "use fisga::high::High;")], &["main imports high"]),
        ("a part only", &[("part.rs", "use crate::high::{one::A, two::B};"), ("high/mod.rs", ""),
            ("high/one.rs", ""), ("high/two.rs", "")], &["part imports high::two"]),
        ("no row", &[("new.rs", "")], &["new has no row in the table"]),
        ("visible only", &[("low.rs", "pub(crate) struct A;")], &[]),
        ("another crate", &[("low.rs", "use high::A;")], &[]),
        ("tests may", &[("low.rs", "#[cfg(test)] mod tests { use crate::high::g; }")], &[]),
        ("tests in a file may", &[("low/mod.rs", "#[cfg(test)] mod tests;"),
            ("low/tests.rs", "use crate::high::g;")], &[]),
        ("two files", &[("high/mod.rs", ""), ("high/a.rs", "use super::b::B;"),
            ("high/b.rs", "use super::a::A;")],
            &["high::a is part of a circle", "high::b is part of a circle"]),
        ("three files", &[("high/mod.rs", ""), ("high/a.rs", "use super::b::B;"),
            ("high/b.rs", "use super::c::C;"), ("high/c.rs", "use super::a::A;"),
            ("high/d.rs", "use super::a::A;")],
            &["high::a is part of a circle", "high::b is part of a circle",
              "high::c is part of a circle"]),
        ("folders", &[("high/mod.rs", ""), ("high/a/mod.rs", ""), ("high/b/mod.rs", ""),
            ("high/a/x.rs", "use crate::high::b::y::Y;"), ("high/a/z.rs", ""),
            ("high/b/y.rs", "use crate::high::a::z::Z;")],
            &["high::a is part of a circle", "high::b is part of a circle"]),
        ("offered by the folder", &[("high/mod.rs", "pub mod a; mod b; pub use b::B;"),
            ("high/a.rs", "use super::B;"), ("high/b.rs", "use super::a::A;")],
            &["high::a is part of a circle", "high::b is part of a circle"]),
        ("what the folder holds itself", &[("high/mod.rs", "mod a; use a::A; pub struct B;"),
            ("high/a.rs", "use super::B;")], &[]),
        ("rooms", &[("top.rs", "use crate::also::A;"), ("also.rs", "use crate::top::T;")],
            &["also is part of a circle", "top is part of a circle"]),
    ];
    const SMALL: &[Row] = &[
        ("top also", "everything"),
        ("high", "low"),
        ("part", "high::one"),
        ("main low other", "nothing"),
    ];
    for (name, files, expected) in cases {
        let mut tree: BTreeMap<String, String> = files.iter().map(|(p, t)| own(p, t)).collect();
        for room in ["high", "low"] {
            if !tree.contains_key(&format!("{room}/mod.rs")) {
                tree.entry(format!("{room}.rs")).or_default();
            }
        }
        let tree: Vec<_> = tree.into_iter().collect();
        let found = faults(&Imports::of(&tree), SMALL);
        let expected: BTreeSet<_> = expected.iter().map(|e| (*e).to_owned()).collect();
        let found: BTreeSet<_> = found.iter().map(Fault::to_string).collect();
        assert_eq!(found, expected, "{name}");
    }
}

fn own(path: &str, text: &str) -> (String, String) {
    (path.to_owned(), text.to_owned())
}

/// Each import from one room to another is either allowed by the table, or found.
#[test]
fn an_import_in_each_forbidden_direction_is_found() {
    let rooms: Vec<_> = TABLE
        .iter()
        .flat_map(|(rooms, _)| rooms.split(' '))
        .collect();
    let mut forbidden = 0;
    for from in &rooms {
        for to in &rooms {
            let mut tree: Vec<_> = rooms
                .iter()
                .map(|room| own(&format!("{room}.rs"), ""))
                .collect();
            tree.push(own("library/name.rs", ""));
            tree.retain(|(path, _)| *path != format!("{from}.rs"));
            tree.push(own(&format!("{from}.rs"), &format!("use crate::{to}::X;")));
            let found = faults(&Imports::of(&tree), TABLE);
            let names = rules::may_import(TABLE, from).unwrap();
            if from == to || names == "everything" || names.split(' ').any(|name| name == *to) {
                assert_eq!(found, BTreeSet::new(), "{from} may import {to}");
            } else {
                assert_eq!(found, BTreeSet::from([Fault::import(from, to)]));
                forbidden += 1;
            }
        }
    }
    assert!(forbidden > 200, "{forbidden}");
}

#[test]
fn the_page_shows_the_same_table() {
    let page = read("docs/architecture.md");
    let shown = pages::rows_below(&page, "| room | may import |");
    let own: Vec<_> = TABLE
        .iter()
        .map(|(rooms, names)| (pages::code_list(rooms), pages::code_list(names)))
        .collect();
    assert_eq!(shown, own);
}

/// The pages that people work by.
const PAGES: [&str; 3] = ["README.md", "CONTRIBUTING.md", "docs/architecture.md"];

#[test]
fn every_command_in_the_pages_exists() {
    let mut wrong = Vec::new();
    for page in PAGES {
        let commands = pages::commands(&read(page));
        assert!(
            page == "docs/architecture.md" || commands.len() > 10,
            "{page}: {commands:?}"
        );
        for command in commands {
            if let Err(why) = pages::exists(&root(), &command) {
                wrong.push(format!("{page}: {command}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The checker itself.
#[test]
fn a_command_that_does_not_exist_is_found() {
    for good in [
        "fisga",
        "fisga config path|show|check|schema",
        "RUST_LOG=fisga=debug fisga -vv watch",
        "cargo test",
        "cargo test --locked --test house every_command_in_the_pages_exists -- --nocapture",
        "cargo test --lib units::",
        "cargo bench --bench race -- --quick",
        "RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz mp4 -- -max_total_time=600",
        "packaging/setup.sh --test",
        ".ci/run",
    ] {
        pages::exists(&root(), good).unwrap_or_else(|why| panic!("{good}: {why}"));
    }
    for bad in [
        "fisga fly",
        "fisga config path|fly",
        "fisga watch --fly",
        "cargo fly",
        "cargo test --test fly",
        "cargo test --fly",
        "cargo test --test house fly",
        "cargo test --test house -- --ignored",
        "cargo test --lib fly",
        "cargo bench --bench fly",
        "cargo bench --bench race -- --fly",
        "cargo fuzz run --fuzz-dir tests/fuzz fly",
        "packaging/setup.sh --fly",
        "packaging/fly.sh",
        "README.md/",
        "fly",
    ] {
        assert!(pages::exists(&root(), bad).is_err(), "{bad}");
    }
    let page = "text `fisga open` and `Notice`\n\n    cargo fmt # why\n\n```sh\n# no\nA=1 .ci/run && cargo doc\n```\n```json\n{}\n```\n";
    assert_eq!(
        pages::commands(page),
        ["cargo fmt", "A=1 .ci/run", "cargo doc", "fisga open"]
    );
}

/// The map and the guide name files, types and threads that are there.
#[test]
fn what_the_pages_name_is_there() {
    let source = Source::read();
    for page in PAGES {
        for path in pages::paths(&read(page)) {
            assert!(root().join(&path).exists(), "{page}: {path}");
        }
    }
    let names = pages::names(&read("docs/architecture.md"));
    assert!(names.len() > 50, "{names:?}");
    let gone: Vec<_> = names
        .iter()
        .filter(|name| !source.words.contains(*name))
        .collect();
    assert!(
        gone.is_empty(),
        "docs/architecture.md: not in the code: {gone:?}"
    );
}

/// Each thread that the program starts has a row in the map.
#[test]
fn the_map_has_every_thread() {
    let page = read("docs/architecture.md");
    let shown: BTreeSet<_> = pages::rows_below(&page, "| thread |")
        .into_iter()
        .map(|(name, _)| name.trim_matches('`').to_owned())
        .filter(|name| name != "main")
        .collect();
    assert_eq!(shown, Source::read().threads);
}

/// What the whole source is searched for.
struct Source {
    words: BTreeSet<String>,
    /// Names that threads are given.
    threads: BTreeSet<String>,
}

impl Source {
    fn read() -> Self {
        let mut files = Vec::new();
        imports::find(&root().join("src"), &root().join("src"), &mut files);
        let text: Vec<_> = files.into_iter().map(|(_, text)| text).collect();
        let text = text.join("\n");
        let words = text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .map(str::to_owned);
        let starts = [".name(\"", "spawn(\"", "::start(\""];
        let threads = starts
            .iter()
            .flat_map(|start| text.split(start).skip(1))
            .map(|rest| rest.split('"').next().unwrap_or_default().to_owned());
        Self {
            words: words.collect(),
            threads: threads.collect(),
        }
    }
}
