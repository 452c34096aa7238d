//! Reads pages of documentation, and tells whether what they show exists: commands, paths, names.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use clap::Parser as _;
use fisga::cli::Cli;

use crate::tests::{Test, tests_of};

/// The cells of a table's first two columns, below its header.
pub(crate) fn rows_below(page: &str, header: &str) -> Vec<(String, String)> {
    let lines = page.lines().skip_while(|line| !line.starts_with(header));
    lines
        .skip(2) // the header and the line below it
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let mut cell = || cells.next().unwrap_or_default().to_owned();
            (cell(), cell())
        })
        .collect()
}

/// Names, separated by spaces, as a page's table shows them.
pub(crate) fn code_list(names: &str) -> String {
    match names {
        "everything" | "nothing" => names.to_owned(),
        names => format!("`{}`", names.replace(' ', "`, `")),
    }
}

/// Code inside of sentences and tables.
pub(crate) fn spans(page: &str) -> Vec<String> {
    let text: Vec<_> = text_and_blocks(page).0;
    text.join("\n")
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|span| span.replace("\\|", "|").replace('\n', " "))
        .collect()
}

/// All commands of a page: each line of its blocks, and the code in its text that begins as one.
pub(crate) fn commands(page: &str) -> Vec<String> {
    let blocks = text_and_blocks(page).1;
    let lines = blocks
        .into_iter()
        .map(|line| {
            line.split(" # ")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let begins = ["fisga", "cargo", "packaging/setup.sh", ".ci/run"];
    let spans = spans(page).into_iter().filter(|span| {
        let first = split(span).into_iter().find(|word| !is_setting(word));
        first.is_some_and(|first| begins.contains(&first.as_str()))
    });
    lines
        .chain(spans)
        .flat_map(|line| line.split(" && ").map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// A page's text, and the lines of its blocks of commands. Blocks in a language are left out.
fn text_and_blocks(page: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut text, mut blocks) = (Vec::new(), Vec::new());
    let mut fence = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), fence) {
            (Some(language), None) => fence = Some(language),
            (Some(_), Some(_)) => fence = None,
            (None, Some("sh")) => blocks.push(line),
            (None, Some(_)) => {}
            (None, None) if line.starts_with("    ") => blocks.push(line),
            (None, None) => text.push(line),
        }
    }
    (text, blocks)
}

fn split(command: &str) -> Vec<String> {
    command.split_whitespace().map(str::to_owned).collect()
}

/// `NAME=value` before a command.
fn is_setting(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
}

/// What is wrong with a command in the project at `root`; nothing when all of it exists.
///
/// # Errors
/// The first thing that doesn't exist.
pub(crate) fn exists(root: &Path, command: &str) -> Result<(), String> {
    let words: Vec<_> = split(command)
        .into_iter()
        .skip_while(|word| is_setting(word))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (first, rest) = words.split_first().ok_or("no command")?;
    match *first {
        "fisga" => fisga(rest),
        "cargo" => cargo(root, rest),
        "git" | "tar" => named(root, rest),
        script if script.contains('/') => runs(root, script, rest),
        other => Err(format!("{other} is not known to the test")),
    }
}

/// Each way to read `on|off`, with names for placeholders, by the real command line.
fn fisga(words: &[&str]) -> Result<(), String> {
    let mut lines = vec![vec!["fisga".to_owned()]];
    for word in words {
        let choices: Vec<_> = word.split('|').map(placeholder).collect();
        lines = lines
            .iter()
            .flat_map(|line| {
                choices
                    .iter()
                    .map(|c| [&line[..], std::slice::from_ref(c)].concat())
            })
            .collect();
    }
    lines
        .iter()
        .try_for_each(|line| match Cli::try_parse_from(line) {
            Err(e) if e.use_stderr() => Err(format!("{}: {e}", line.join(" "))),
            _ => Ok(()),
        })
}

fn placeholder(word: &str) -> String {
    match word.trim_end_matches('…') {
        "SHELL" => "bash".into(),
        "N" => "1".into(),
        word => word.into(),
    }
}

/// What another program is given of the project's files is there.
fn named(root: &Path, words: &[&str]) -> Result<(), String> {
    let own = |word: &&&str| word.starts_with("tests/") || word.starts_with(".git-");
    match words
        .iter()
        .filter(own)
        .find(|word| !root.join(word).exists())
    {
        Some(word) => Err(format!("{word} is missing")),
        None => Ok(()),
    }
}

/// A script of the project, and that it knows its flags.
fn runs(root: &Path, script: &str, words: &[&str]) -> Result<(), String> {
    let path = root.join(script);
    let mode = fs::metadata(&path)
        .map_err(|e| format!("{script}: {e}"))?
        .permissions();
    if mode.mode() & 0o111 == 0 {
        return Err(format!("{script} can't be run"));
    }
    let text = fs::read_to_string(&path).map_err(|e| format!("{script}: {e}"))?;
    flags_in(&text, script, words)
}

fn flags_in(text: &str, name: &str, words: &[&str]) -> Result<(), String> {
    let unknown = words
        .iter()
        .find(|word| word.starts_with('-') && !text.contains(**word));
    unknown.map_or(Ok(()), |flag| Err(format!("{name} doesn't know {flag}")))
}

fn cargo(root: &Path, words: &[&str]) -> Result<(), String> {
    let own = words.iter().take_while(|word| **word != "--").count();
    let (own, behind) = (&words[..own], words.get(own + 1..).unwrap_or_default());
    let (first, own) = own.split_first().ok_or("cargo alone")?;
    match *first {
        "test" => test(root, own, behind),
        "bench" => bench(root, own, behind),
        "fuzz" => fuzz(root, own),
        "run" => flags(own).and(fisga(behind)),
        "build" | "check" | "clippy" | "doc" | "fmt" => flags(own),
        "install" | "deny" => Ok(()),
        other => Err(format!("cargo {other} is not known to the test")),
    }
}

/// Flags of cargo that stand alone.
fn flags(words: &[&str]) -> Result<(), String> {
    const KNOWN: &[&str] = &[
        "--all-targets",
        "--check",
        "--lib",
        "--locked",
        "--no-default-features",
        "--no-deps",
        "--no-run",
        "--release",
    ];
    let unknown = words.iter().find(|word| !KNOWN.contains(word));
    unknown.map_or(Ok(()), |flag| {
        Err(format!("{flag} is not known to the test"))
    })
}

fn bench(root: &Path, own: &[&str], behind: &[&str]) -> Result<(), String> {
    let (names, _, rest) = targets(own, "--bench")?;
    flags(&rest)?;
    for name in names {
        let main = format!("benches/{name}/main.rs");
        let text = fs::read_to_string(root.join(&main)).map_err(|e| format!("{main}: {e}"))?;
        flags_in(&text, &main, behind)?;
    }
    Ok(())
}

fn fuzz(root: &Path, own: &[&str]) -> Result<(), String> {
    let ["run", "--fuzz-dir", dir, target, ..] = own else {
        return Err("not of the form that is known to the test".into());
    };
    let target = format!("{dir}/targets/{target}.rs");
    let there = target.contains("TARGET") || root.join(&target).is_file();
    if there {
        Ok(())
    } else {
        Err(format!("{target} is missing"))
    }
}

/// A name must be some test's, one that is run.
fn test(root: &Path, own: &[&str], behind: &[&str]) -> Result<(), String> {
    const VALUED: &[&str] = &["--test-threads", "--skip"];
    let (names, filters, rest) = targets(own, "--test")?;
    flags(&rest)?;
    let mut tests: Vec<Test> = Vec::new();
    for name in &names {
        tests.extend(tests_of(root, name)?);
    }
    if names.is_empty() {
        tests = tests_of(root, "lib")?;
    }
    let mut ignored = false;
    let mut words = behind.iter();
    let mut filters = filters;
    while let Some(word) = words.next() {
        match *word {
            "--ignored" => ignored = true,
            "--include-ignored" | "--nocapture" | "--exact" | "--list" => {}
            flag if VALUED.contains(&flag) => drop(words.next()),
            flag if flag.starts_with('-') => {
                return Err(format!("{flag} is not known to the test"));
            }
            name => filters.push(name),
        }
    }
    tests.retain(|test| !ignored || test.ignored);
    let fits = |filter: &str| tests.iter().any(|test| test.name.contains(filter));
    match filters.iter().find(|filter| !fits(filter)) {
        Some(filter) => Err(format!("no test is called {filter}")),
        None if tests.is_empty() => Err("no such test".into()),
        None => Ok(()),
    }
}

/// The targets that cargo's words name, the names behind them, and the flags.
type Targets<'a> = (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>);

fn targets<'a>(own: &[&'a str], kind: &str) -> Result<Targets<'a>, String> {
    let (mut names, mut filters, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    let mut words = own.iter();
    while let Some(word) = words.next() {
        match *word {
            word if word == kind => names.push(*words.next().ok_or("no target's name")?),
            flag if flag.starts_with('-') => rest.push(flag),
            filter => filters.push(filter),
        }
    }
    Ok((names, filters, rest))
}

/// Paths of the project that a page names.
pub(crate) fn paths(page: &str) -> Vec<String> {
    let rooms = [
        "src/",
        "tests/",
        "docs/",
        "benches/",
        "packaging/",
        "icons/",
        ".ci/",
    ];
    let own = |span: &String| rooms.iter().any(|room| span.starts_with(room));
    let whole = |span: &String| !span.contains([' ', '*', '…']) && !span.contains("TARGET");
    spans(page).into_iter().filter(own).filter(whole).collect()
}

/// Names of the code that a page uses: `engine::rescue`, `Notice`.
pub(crate) fn names(page: &str) -> BTreeSet<String> {
    let is_name = |span: &str| {
        !span.is_empty()
            && span
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
    };
    spans(page)
        .into_iter()
        .filter(|span| is_name(span))
        .flat_map(|span| span.split("::").map(str::to_owned).collect::<Vec<_>>())
        .collect()
}
