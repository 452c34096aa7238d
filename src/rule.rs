//! Pure: does this name in this folder concern us, and by which rule.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

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

impl Source {
    /// Whether its files are pieces from a browser's cache, and not videos of their own.
    pub fn is_cache(self) -> bool {
        match self {
            Self::Temporary => false,
            Self::Chromium | Self::Firefox => true,
        }
    }
}

impl Rule {
    /// A rule that is no longer in force: what it left is still its.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            folders: Vec::new(),
            files: Vec::new(),
            recursive: false,
            source: Source::Temporary,
        }
    }
}

/// Globs over names, compiled: a rule's files, or one component of its folders.
///
/// Each name in a watched folder is asked about, and nearly all are of no concern: what a glob's
/// fixed beginning decides is decided without the glob.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// What is fixed at the beginning of each glob; the rest is in `globs`, unless it is `*`.
    beginnings: Vec<(Box<[u8]>, bool)>,
    globs: GlobSet,
}

impl Matcher {
    /// Compiles the globs of a rule.
    ///
    /// # Errors
    /// The first glob that doesn't parse, with what is wrong with it.
    pub fn new(files: &[String]) -> Result<Self, globset::Error> {
        let mut globs = GlobSetBuilder::new();
        let mut beginnings = Vec::new();
        for file in files {
            let glob = Glob::new(file)?;
            let fixed = file.find(SPECIAL).unwrap_or(file.len());
            let all = &file[fixed..] == "*";
            // Compiled, a glob takes tens of kilobytes.
            if !all {
                globs.add(glob);
            }
            beginnings.push((file.as_bytes()[..fixed].into(), all));
        }
        Ok(Self {
            beginnings,
            globs: globs.build()?,
        })
    }

    /// Whether a file of this name concerns the rule.
    pub fn matches(&self, name: &OsStr) -> bool {
        let bytes = name.as_bytes();
        let mut maybe = false;
        for (beginning, all) in &self.beginnings {
            if bytes.starts_with(beginning) {
                if *all {
                    return true;
                }
                maybe = true;
            }
        }
        maybe && self.globs.is_match(name)
    }
}

/// Characters with a meaning in a glob (globset, "Syntax").
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cases = [
            ("Flash*", "Flash1", true),
            ("Flash*", "Flash", true),
            ("Flash*", "flash1", false),
            ("Flash*", "xFlash1", false),
            ("Flash*x", "Flash1x", true),
            ("Flash*x", "Flash1y", false),
            ("*", ".hidden", true),
            ("*", "-rf\n", true),
            ("?lash", "Flash", true),
            ("*-[0-9A-Za-z][0-9A-Za-z]", "totem-a1", true),
            ("*-[0-9A-Za-z][0-9A-Za-z]", "totem-a1b", false),
            ("*.{mp4,webm}", "a.webm", true),
            ("*.{mp4,webm}", "a.txt", false),
            ("#*", "#1234", true),
            (r"a\*b*", "a*bc", true),
            (r"a\*b*", "axbc", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ];
        for (glob, name, want) in cases {
            let matcher = Matcher::new(&[glob.into()]).unwrap();
            assert_eq!(matcher.matches(OsStr::new(name)), want, "{glob} {name}");
        }
        let both = Matcher::new(&["a*".into(), "b?".into()]).unwrap();
        assert!(
            both.matches(OsStr::new("a1"))
                && both.matches(OsStr::new("b1"))
                && !both.matches(OsStr::new("b"))
        );
    }
}
