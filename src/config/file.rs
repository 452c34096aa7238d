//! The configuration file as it is written: every key with its meaning, its form and its default.
//!
//! The doc comments become the descriptions of the JSON schema (`fisga config schema`).

use std::{iter, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Incomplete, Private, Problem, Sources, keys};
use crate::units::{Size, Span};

/// fisga's configuration. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "fisga")]
pub struct File {
    /// Where this schema is, for editors.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Folder for finished videos; null: the folder Fisga in the Videos folder. May begin with ~ or
    /// hold $VARIABLES.
    pub library: Option<String>,
    /// File name without its extension. Fields: {title} {program} {date} {time} {rule} {container}
    /// {length} {number}; {date:%d.%m.%Y} and {time:%H-%M} in a form of your own (strftime).
    pub name: String,
    /// Rules beside the shipped ones. A rule of the same name replaces a shipped one.
    pub rules: Vec<RuleEntry>,
    /// Smaller files are not kept.
    pub min_size: Size,
    /// Shorter videos are not kept.
    pub min_duration: Span,
    /// What becomes of a file that is not whole: "keep" it in the folder Incomplete, or "drop" it.
    pub incomplete: Incomplete,
    /// Days after which a file goes from the folder Incomplete to the trash.
    pub incomplete_days: u32,
    /// Whether sound without pictures is kept.
    pub audio: bool,
    /// What becomes of videos from private windows: "skip" or "keep".
    pub private: Private,
    /// Where videos are looked for.
    pub sources: Sources,
    /// Whether popups are shown.
    pub notifications: bool,
    /// Whether thumbnails are made.
    pub thumbnails: bool,
    /// Whether page addresses may stand in the history.
    pub addresses: bool,
    /// Most that the library may hold before the oldest that were never opened go to the trash;
    /// null: no limit.
    pub max_library: Option<Size>,
    /// Room to leave on the library's disk; nothing is saved that would take it.
    pub min_free: Size,
}

impl Default for File {
    fn default() -> Self {
        Self {
            schema: None,
            library: None,
            name: "{title} {date} {time}".into(),
            rules: Vec::new(),
            min_size: Size(1 << 20),
            min_duration: Span(Duration::from_secs(10)),
            incomplete: Incomplete::Keep,
            incomplete_days: 7,
            audio: false,
            private: Private::Skip,
            sources: Sources::default(),
            notifications: true,
            thumbnails: true,
            addresses: false,
            max_library: None,
            min_free: Size(1 << 30),
        }
    }
}

/// Where to look, and for which names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rule")]
pub struct RuleEntry {
    /// Unique name. That of a shipped rule replaces it, or only switches it when "enabled" alone
    /// stands beside it.
    pub name: String,
    /// Whether the rule is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Absolute folders. They may begin with ~, hold $VARIABLES, and * in any component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folders: Option<Vec<String>>,
    /// Globs over file names: `*`, `?`, `[abc]`, `{this,that}`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// Whether the folders below count too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
}

/// Refuses a list where an object belongs: serde would take its items for the fields in their
/// order.
pub(super) fn only_objects(file: &Value) -> Result<(), Problem> {
    let rules = file
        .get("rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let rules = rules
        .enumerate()
        .map(|(i, rule)| (format!("rules[{i}]"), rule));
    let sources = file
        .get("sources")
        .map(|sources| ("sources".to_owned(), sources));
    match iter::once((keys::TOP.to_owned(), file))
        .chain(sources)
        .chain(rules)
        .find(|(_, value)| !value.is_object())
    {
        Some((key, _)) => Err(Problem::new(key, "is not an object")),
        None => Ok(()),
    }
}
