//! The configuration: what may be set, and what is in force.
//!
//! [`load`] reads `$XDG_CONFIG_HOME/fisga/config.json` into checked [`Settings`]. All that it
//! depends on is in its arguments: the file, what the command line overrides, and the
//! [`Environment`].

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    environment::Environment,
    library::name::{Template, TemplateError},
    rule::Rule,
    source,
};

mod edit;
mod error;
mod file;
mod keys;
mod rules;

pub use edit::{set, write_default};
pub use error::{ConfigError, Problem};
pub use file::{File, RuleEntry};

/// Most bytes that a configuration file may have.
pub const LIMIT: u64 = 1 << 20;

/// What is in force: every value checked, every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where finished videos go.
    pub library: PathBuf,
    /// How they are named.
    pub name: Template,
    /// Which files concern us: the shipped rules with the user's changes, enabled ones only.
    pub rules: Vec<Rule>,
    /// Smaller files are dropped, in bytes.
    pub min_size: u64,
    /// Shorter ones are dropped.
    pub min_duration: Duration,
    /// What becomes of a file that is not whole.
    pub incomplete: Incomplete,
    /// Days after which an incomplete file leaves.
    pub incomplete_days: u32,
    /// Whether sound without pictures is kept.
    pub audio: bool,
    /// What becomes of videos from private windows.
    pub private: Private,
    /// Which kinds of sources are watched.
    pub sources: Sources,
    /// Whether popups are shown.
    pub notifications: bool,
    /// Whether thumbnails are made.
    pub thumbnails: bool,
    /// Whether page addresses may stand in the history.
    pub addresses: bool,
    /// Most bytes that the library may hold.
    pub max_library: Option<u64>,
    /// Bytes to leave free on the library's disk.
    pub min_free: u64,
}

/// What becomes of a file that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Incomplete {
    /// It goes to `Incomplete/` in the library.
    Keep,
    /// It is dropped.
    Drop,
}

/// What becomes of videos from private windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Private {
    /// They are dropped.
    Skip,
    /// They are saved as any other.
    Keep,
}

/// Which kinds of sources are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
pub struct Sources {
    /// Players' temporary files.
    pub temporary_files: bool,
    /// Browsers' disk caches.
    pub browser_cache: bool,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            temporary_files: true,
            browser_cache: true,
        }
    }
}

/// What the command line sets beside the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--library DIR`, relative to the current folder.
    pub library: Option<PathBuf>,
}

/// Where the configuration is unless `--config` says otherwise.
pub fn default_path(env: &Environment) -> PathBuf {
    env.config_dir().join("fisga/config.json")
}

/// What is in force. Without a `path` the default one is read, which may be absent.
///
/// # Errors
/// A [`ConfigError`] that fits on one line: the file, the key, and what is allowed.
pub fn load(
    path: Option<&Path>,
    overrides: &Overrides,
    env: &Environment,
) -> Result<Settings, ConfigError> {
    let (path, file) = read(path, env)?;
    settings(&file, overrides, env, &path)
}

/// What is in force, as a configuration file with every key: `fisga config show`.
///
/// # Errors
/// Those of [`load`].
pub fn effective(
    path: Option<&Path>,
    overrides: &Overrides,
    env: &Environment,
) -> Result<File, ConfigError> {
    let (path, mut file) = read(path, env)?;
    let settings = settings(&file, overrides, env, &path)?;
    let rules = listed(&file, env, &path)?;
    file.library = Some(env.shorten(&settings.library));
    file.rules = rules
        .into_iter()
        .filter(|listed| !listed.rule.folders.is_empty())
        .map(|source::Listed { rule, enabled }| RuleEntry {
            name: rule.name,
            enabled: Some(enabled),
            folders: Some(rule.folders),
            files: Some(rule.files),
            recursive: Some(rule.recursive),
        })
        .collect();
    Ok(file)
}

/// The JSON schema of the configuration file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

/// JSON for people, with a final newline.
pub fn pretty(value: &impl Serialize) -> String {
    // Our own types have string keys and finite numbers: nothing that JSON can't say.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn default_library(env: &Environment) -> PathBuf {
    env.videos().join("Fisga")
}

/// The file's values, or the defaults where the default file is absent.
fn read(path: Option<&Path>, env: &Environment) -> Result<(PathBuf, File), ConfigError> {
    let default;
    let (path, required) = match path {
        Some(path) => (path, true),
        None => {
            default = default_path(env);
            (default.as_path(), false)
        }
    };
    let text = match read_text(path) {
        Err(ConfigError::Read { source, .. })
            if !required && source.kind() == io::ErrorKind::NotFound =>
        {
            "{}".into()
        }
        text => text?,
    };
    Ok((path.to_owned(), parse(&text, path)?))
}

/// All of a regular file, without waiting for anything else that bears its name.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let error = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(error)?;
    let meta = file.metadata().map_err(error)?;
    if !meta.is_file() {
        let what = if meta.is_dir() {
            "a folder"
        } else {
            "no regular file"
        };
        return Err(ConfigError::NotAFile {
            path: path.to_owned(),
            what,
        });
    }
    let mut bytes = Vec::new();
    (&mut file)
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(error)?;
    if bytes.len() as u64 > LIMIT {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    String::from_utf8(bytes).map_err(|e| ConfigError::NotUtf8 {
        path: path.to_owned(),
        at: e.utf8_error().valid_up_to(),
    })
}

/// Reads the text of a configuration file; `path` is for messages.
///
/// # Errors
/// What is wrong with the text; whether its values make sense is for [`load`].
pub fn parse(text: &str, path: &Path) -> Result<File, ConfigError> {
    if text.trim().is_empty() {
        return Err(ConfigError::Empty {
            path: path.to_owned(),
        });
    }
    let not_json = |e: &serde_json::Error| ConfigError::NotJson {
        path: path.to_owned(),
        line: e.line(),
        column: e.column(),
        problem: error::without_position(e),
    };
    let value = |problem| ConfigError::Value {
        path: path.to_owned(),
        problem,
    };
    file::only_objects(&serde_json::from_str(text).map_err(|e| not_json(&e))?).map_err(value)?;
    // From the text again, since the parsed value has forgotten keys that stand twice.
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text))
        .map_err(|e| value(Problem::of_serde(&e)))
}

fn listed(file: &File, env: &Environment, path: &Path) -> Result<Vec<source::Listed>, ConfigError> {
    rules::merge(source::shipped(env), &file.rules, env).map_err(|problem| ConfigError::Value {
        path: path.to_owned(),
        problem,
    })
}

fn settings(
    file: &File,
    overrides: &Overrides,
    env: &Environment,
    path: &Path,
) -> Result<Settings, ConfigError> {
    let problem = |key: &str, what: String| ConfigError::Value {
        path: path.to_owned(),
        problem: Problem::new(key, what),
    };
    let library = match (&overrides.library, &file.library) {
        (Some(dir), _) => std::path::absolute(dir).map_err(|_| ConfigError::Library {
            dir: dir.clone(),
            problem: "is no path",
        })?,
        (None, Some(text)) => env
            .expand(text)
            .map_err(|e| problem("library", e.to_string()))?
            .ok_or_else(|| {
                problem(
                    "library",
                    format!("{text:?} has a variable that is not set"),
                )
            })?,
        (None, None) => default_library(env),
    };
    let rules = listed(file, env, path)?
        .into_iter()
        .filter(|listed| listed.enabled && file.sources.watches(listed.rule.source))
        .map(|listed| listed.rule)
        .filter(|rule| !rule.folders.is_empty())
        .collect();
    Ok(Settings {
        library,
        name: file
            .name
            .parse()
            .map_err(|e: TemplateError| problem("name", e.to_string()))?,
        rules,
        min_size: file.min_size.0,
        min_duration: file.min_duration.0,
        incomplete: file.incomplete,
        incomplete_days: file.incomplete_days,
        audio: file.audio,
        private: file.private,
        sources: file.sources,
        notifications: file.notifications,
        thumbnails: file.thumbnails,
        addresses: file.addresses,
        max_library: file.max_library.map(|size| size.0),
        min_free: file.min_free.0,
    })
}

impl Settings {
    /// Those of a user without a configuration file.
    ///
    /// # Errors
    /// None in practice: the defaults are checked as any other value.
    pub fn defaults(env: &Environment) -> Result<Self, ConfigError> {
        settings(
            &File::default(),
            &Overrides::default(),
            env,
            &default_path(env),
        )
    }
}

impl Sources {
    fn watches(self, source: crate::rule::Source) -> bool {
        match source {
            crate::rule::Source::Temporary => self.temporary_files,
            crate::rule::Source::Chromium | crate::rule::Source::Firefox => self.browser_cache,
        }
    }
}
