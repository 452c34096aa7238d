//! Pure: does this name in this folder concern us, and by which rule.

use std::ffi::OsStr;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Which kind of source a rule describes; decides what becomes of its files once they are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A player's temporary file: one file, one video.
    Temporary,
    /// An entry of a Chromium disk cache (`Cache_Data`): a piece.
    Chromium,
    /// An entry of a Firefox disk cache (`cache2/entries`): a piece.
    Firefox,
}

/// Where to look and for which names.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique name, shown in events and the history.
    pub name: String,
    /// Folder patterns, absolute, variables filled in; each component may hold `*`.
    pub folders: Vec<String>,
    /// Globs over the file name.
    pub files: Vec<String>,
    /// Whether folders below count too.
    pub recursive: bool,
    /// What its files are.
    pub source: Source,
}

/// A rule's file globs, compiled.
#[derive(Clone, Debug)]
pub struct Matcher(GlobSet);

impl Matcher {
    /// Compiles the globs of a rule.
    ///
    /// # Errors
    /// The first glob that doesn't parse, with what is wrong with it.
    pub fn new(files: &[String]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for file in files {
            set.add(Glob::new(file)?);
        }
        Ok(Self(set.build()?))
    }

    /// Whether a file of this name concerns the rule.
    pub fn matches(&self, name: &OsStr) -> bool {
        self.0.is_match(name)
    }
}
