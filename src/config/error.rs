//! What can be wrong with a configuration, in one line each.

use std::{io, path::PathBuf};

use super::keys;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither `$HOME` nor the user database names an absolute home folder.
    #[error("no home folder: neither HOME nor the user database names one")]
    NoHome,
    /// The file can't be opened or read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The configuration file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Something else than a file bears its name.
    #[error("{}: is {what}; allowed: a file with JSON", path.display())]
    NotAFile {
        /// The configuration file.
        path: PathBuf,
        /// What it is ("a folder").
        what: &'static str,
    },
    /// More bytes than any configuration has.
    #[error("{}: is larger than {} bytes; allowed: at most that", path.display(), super::LIMIT)]
    TooLarge {
        /// The configuration file.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("{}: is empty; allowed: JSON, at least {{}}", path.display())]
    Empty {
        /// The configuration file.
        path: PathBuf,
    },
    /// Bytes that are no text.
    #[error("{}: is not UTF-8 at byte {at}; allowed: JSON in UTF-8", path.display())]
    NotUtf8 {
        /// The configuration file.
        path: PathBuf,
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Text that is no JSON.
    #[error("{}: line {line}, column {column}: {problem}; allowed: JSON", path.display())]
    NotJson {
        /// The configuration file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// A key that does not exist, or a value that it may not have.
    #[error("{}: {problem}", path.display())]
    Value {
        /// The configuration file.
        path: PathBuf,
        /// Which key, and what is wrong with it.
        problem: Problem,
    },
    /// The library that the command line names is no folder's name.
    #[error("--library {dir:?}: {problem}; allowed: a folder")]
    Library {
        /// As given.
        dir: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The file can't be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The configuration file, its schema or its folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}; allowed: {allowed}")]
pub struct Problem {
    /// Path of the key, as in `rules[0].files`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What is allowed there.
    pub allowed: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        let key = key.into();
        let allowed = keys::allowed(&key).to_owned();
        Self {
            key,
            what: what.into(),
            allowed,
        }
    }

    /// What serde found wrong; its own text gives the position, which the key makes needless, and
    /// for an unknown key what is allowed.
    pub(super) fn of_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let inner = error.inner();
        let text = without_position(inner);
        let key = match error.path().to_string().as_str() {
            "." => keys::TOP.to_owned(),
            path => one_line(path),
        };
        if text.starts_with("unknown field") {
            let allowed = text
                .split_once(", expected ")
                .map_or("nothing else", |(_, rest)| rest);
            let allowed = allowed
                .strip_prefix("one of ")
                .unwrap_or(allowed)
                .replace('`', "");
            return Self {
                key,
                what: "unknown key".into(),
                allowed,
            };
        }
        Self::new(key, text)
    }
}

/// What the parser says, without where.
pub(super) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    one_line(text.strip_suffix(&position).unwrap_or(&text))
}

/// Control characters escaped, so that a foreign text can't break the line.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}
