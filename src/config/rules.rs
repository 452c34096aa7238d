//! Pure: the shipped rules with the user's changes.

use std::collections::BTreeSet;

use super::{Problem, file::RuleEntry};
use crate::{
    environment::Environment,
    rule::{Matcher, Rule, Source},
    source::Listed,
};

/// Applies the user's entries in their order. A new rule adds, one of a shipped name replaces, and
/// an entry that has nothing but a name and `enabled` switches.
pub(super) fn merge(
    shipped: Vec<Listed>,
    entries: &[RuleEntry],
    env: &Environment,
) -> Result<Vec<Listed>, Problem> {
    let mut rules = shipped;
    let mut seen = BTreeSet::new();
    for (i, entry) in entries.iter().enumerate() {
        let key = |name: &str| format!("rules[{i}].{name}");
        check_name(&entry.name).map_err(|why| Problem::new(key("name"), why))?;
        if !seen.insert(entry.name.as_str()) {
            return Err(Problem::new(
                key("name"),
                format!("a rule {:?} stands above already", entry.name),
            ));
        }
        let known = rules
            .iter()
            .position(|listed| listed.rule.name == entry.name);
        match (entry, known) {
            (
                RuleEntry {
                    enabled: Some(enabled),
                    folders: None,
                    files: None,
                    recursive: None,
                    ..
                },
                Some(at),
            ) => {
                rules[at].enabled = *enabled;
            }
            (_, known) => {
                // A replaced rule for a browser's cache still is one.
                let source = known.map_or(Source::Temporary, |at| rules[at].rule.source);
                let listed = Listed {
                    rule: rule(entry, source, env, key)?,
                    enabled: entry.enabled.unwrap_or(true),
                };
                match known {
                    Some(at) => rules[at] = listed,
                    None => rules.push(listed),
                }
            }
        }
    }
    Ok(rules)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is empty"),
        name if name.len() > 64 => Err("is longer than 64 bytes"),
        name if name.chars().any(char::is_control) => Err("has a control character"),
        _ => Ok(()),
    }
}

fn rule(
    entry: &RuleEntry,
    source: Source,
    env: &Environment,
    key: impl Fn(&str) -> String,
) -> Result<Rule, Problem> {
    let required = |list: &Option<Vec<String>>, name| match list.as_deref() {
        None => Err(Problem::new(
            key(name),
            format!("is missing in rule {:?}", entry.name),
        )),
        Some([]) => Err(Problem::new(
            key(name),
            format!("is empty in rule {:?}", entry.name),
        )),
        Some(list) => Ok(list.to_vec()),
    };
    let written = required(&entry.folders, "folders")?;
    let mut folders = Vec::with_capacity(written.len());
    for (i, text) in written.iter().enumerate() {
        let problem = |why: String| Problem::new(key(&format!("folders[{i}]")), why);
        if text.split('/').any(|part| part.contains("**")) {
            return Err(problem(format!(
                "{text:?} has \"**\"; \"recursive\": true looks into folders below"
            )));
        }
        match env
            .expand(text)
            .map_err(|e| problem(e.to_string()))?
            .map(|path| path.into_os_string().into_string())
        {
            Some(Ok(folder)) if !folders.contains(&folder) => folders.push(folder),
            Some(Ok(_)) => {}
            Some(Err(_)) => {
                tracing::warn!(
                    rule = entry.name,
                    folder = text,
                    "left out: its variable is not UTF-8"
                )
            }
            None => tracing::warn!(
                rule = entry.name,
                folder = text,
                "left out: its variable is not set"
            ),
        }
    }
    let files = required(&entry.files, "files")?;
    for (i, glob) in files.iter().enumerate() {
        let problem = |why: String| Problem::new(key(&format!("files[{i}]")), why);
        if glob.is_empty() || glob.contains('/') {
            return Err(problem(format!("{glob:?} matches no file name")));
        }
        Matcher::new(std::slice::from_ref(glob)).map_err(|e| problem(e.to_string()))?;
    }
    Ok(Rule {
        name: entry.name.clone(),
        folders,
        files,
        recursive: entry.recursive.unwrap_or(false),
        source,
    })
}
