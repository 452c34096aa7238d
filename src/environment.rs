//! Where this user's things are: home, XDG folders, variables. A value, so that all that depends on
//! it is pure.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The user's surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    home: PathBuf,
    videos: PathBuf,
    vars: BTreeMap<OsString, OsString>,
}

/// Why a path in the configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// Another user's home, or `$` without a name.
    #[error("{0:?} has a variable that cannot be read")]
    Syntax(String),
    /// Relative, empty, or with a component that leads upwards.
    #[error("{0:?} is not an absolute path")]
    NotAbsolute(String),
}

impl Environment {
    /// That of this process; home and Videos folder as the `directories` crate finds them (`$HOME`,
    /// else the user database; `XDG_VIDEOS_DIR` in `user-dirs.dirs`). `None` without an absolute
    /// home.
    pub fn current() -> Option<Self> {
        let user = directories::UserDirs::new().filter(|user| user.home_dir().is_absolute())?;
        let videos = user
            .video_dir()
            .filter(|dir| *dir != user.home_dir())
            .map(Path::to_owned);
        let mut env = Self::new(user.home_dir(), std::env::vars_os());
        if let Some(videos) = videos {
            env.videos = videos;
        }
        Some(env)
    }

    /// One made up of its parts; the Videos folder is `~/Videos`.
    pub fn new<K, V>(home: impl Into<PathBuf>, vars: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let home = home.into();
        let vars = vars
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        Self {
            videos: home.join("Videos"),
            home,
            vars,
        }
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The XDG Videos folder.
    pub fn videos(&self) -> &Path {
        &self.videos
    }

    /// `$XDG_CONFIG_HOME`, else `~/.config` (XDG Base Directory Specification; relative values
    /// don't count).
    pub fn config_dir(&self) -> PathBuf {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// `$XDG_CACHE_HOME`, else `~/.cache`.
    pub fn cache_dir(&self) -> PathBuf {
        self.xdg("XDG_CACHE_HOME", ".cache")
    }

    /// `$XDG_DATA_HOME`, else `~/.local/share`.
    pub fn data_dir(&self) -> PathBuf {
        self.xdg("XDG_DATA_HOME", ".local/share")
    }

    /// `$XDG_STATE_HOME`, else `~/.local/state`.
    pub fn state_dir(&self) -> PathBuf {
        self.xdg("XDG_STATE_HOME", ".local/state")
    }

    /// Where the history is.
    pub fn history_file(&self) -> PathBuf {
        self.state_dir().join("fisga/history.jsonl")
    }

    /// `$XDG_RUNTIME_DIR`, which has no substitute.
    pub fn runtime_dir(&self) -> Option<PathBuf> {
        self.absolute("XDG_RUNTIME_DIR")
    }

    /// `$TMPDIR`, else `/tmp`.
    pub fn tmp_dir(&self) -> PathBuf {
        self.absolute("TMPDIR").unwrap_or_else(|| "/tmp".into())
    }

    fn xdg(&self, name: &str, default: &str) -> PathBuf {
        self.absolute(name)
            .unwrap_or_else(|| self.home.join(default))
    }

    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.vars
            .get(OsStr::new(name))
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    /// What `$name` stands for in a path.
    fn var(&self, name: &str) -> Option<OsString> {
        match name {
            "HOME" => Some(self.home.clone().into()),
            "TMPDIR" => Some(self.tmp_dir().into()),
            "XDG_CONFIG_HOME" => Some(self.config_dir().into()),
            "XDG_CACHE_HOME" => Some(self.cache_dir().into()),
            "XDG_DATA_HOME" => Some(self.data_dir().into()),
            "XDG_STATE_HOME" => Some(self.state_dir().into()),
            "XDG_RUNTIME_DIR" => self.runtime_dir().map(Into::into),
            "XDG_VIDEOS_DIR" => Some(self.videos.clone().into()),
            _ => self
                .vars
                .get(OsStr::new(name))
                .filter(|value| !value.is_empty())
                .cloned(),
        }
    }

    /// Fills in a leading `~`, `$VAR` and `${VAR}`, and drops needless slashes and dots. `None`
    /// where a variable is not set: what such a path names is not on this machine.
    ///
    /// # Errors
    /// [`ExpandError`] where the text can't mean an absolute path.
    pub fn expand(&self, text: &str) -> Result<Option<PathBuf>, ExpandError> {
        let syntax = || ExpandError::Syntax(text.to_owned());
        let mut out = OsString::new();
        let mut rest = text;
        if let Some(after) = rest.strip_prefix('~') {
            if !after.is_empty() && !after.starts_with('/') {
                return Err(syntax());
            }
            out.push(&self.home);
            rest = after;
        }
        while let Some((before, after)) = rest.split_once('$') {
            out.push(before);
            let (name, after) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or_else(syntax)?,
                None => after.split_at(
                    after
                        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                        .unwrap_or(after.len()),
                ),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(syntax());
            }
            match self.var(name) {
                Some(value) => out.push(value),
                None => return Ok(None),
            }
            rest = after;
        }
        out.push(rest);
        normal(&out)
            .map(Some)
            .ok_or_else(|| ExpandError::NotAbsolute(text.to_owned()))
    }

    /// The reverse for people: `~` instead of the home folder, as far as the path is UTF-8.
    pub fn shorten(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(below) if below.as_os_str().is_empty() => "~".into(),
            Ok(below) => format!("~/{}", below.to_string_lossy()),
            Err(_) => path.to_string_lossy().into_owned(),
        }
    }
}

/// An absolute path with single slashes and no dots.
fn normal(path: &OsStr) -> Option<PathBuf> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') || bytes.contains(&0) {
        return None;
    }
    let mut out = Vec::with_capacity(bytes.len());
    for part in bytes.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            _ => {
                out.push(b'/');
                out.extend_from_slice(part);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Some(OsString::from_vec(out).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Environment {
        Environment::new(
            "/home/ana",
            [
                ("XDG_CACHE_HOME", "/fast/cache"),
                ("DISK", "/mnt/disk"),
                ("NOTHING", ""),
            ],
        )
    }

    #[test]
    fn expands() {
        let cases: &[(&str, Option<&str>)] = &[
            ("/tmp", Some("/tmp")),
            ("//tmp/./x/", Some("/tmp/x")),
            ("/", Some("/")),
            ("~", Some("/home/ana")),
            (
                "~/.var/app/*/cache/tmp",
                Some("/home/ana/.var/app/*/cache/tmp"),
            ),
            ("$HOME/x", Some("/home/ana/x")),
            ("$TMPDIR", Some("/tmp")),
            ("${XDG_CACHE_HOME}/a", Some("/fast/cache/a")),
            ("$XDG_STATE_HOME", Some("/home/ana/.local/state")),
            ("$DISK/a${DISK}b", Some("/mnt/disk/a/mnt/diskb")),
            ("/a~b", Some("/a~b")),
            ("$XDG_RUNTIME_DIR/.flatpak/*/tmp", None),
            ("$NOTHING/x", None),
            ("$UNSET", None),
        ];
        for (text, path) in cases {
            assert_eq!(env().expand(text), Ok(path.map(PathBuf::from)), "{text}");
        }
        for text in ["~bob/x", "/a/$/b", "/a/${b", "/a/${}/b", "/a/${b c}"] {
            assert_eq!(
                env().expand(text),
                Err(ExpandError::Syntax(text.into())),
                "{text}"
            );
        }
        for text in ["", "tmp", "./tmp", "/tmp/../etc", "..", "/a\0b"] {
            assert_eq!(
                env().expand(text),
                Err(ExpandError::NotAbsolute(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn relative_xdg_values_do_not_count() {
        let env = Environment::new(
            "/home/ana",
            [
                ("XDG_CONFIG_HOME", "x"),
                ("TMPDIR", ""),
                ("XDG_RUNTIME_DIR", "run"),
            ],
        );
        assert_eq!(env.config_dir(), Path::new("/home/ana/.config"));
        assert_eq!(env.tmp_dir(), Path::new("/tmp"));
        assert_eq!(env.runtime_dir(), None);
    }

    #[test]
    fn shortens() {
        for (path, text) in [
            ("/home/ana", "~"),
            ("/home/ana/Videos", "~/Videos"),
            ("/home/anabel", "/home/anabel"),
        ] {
            assert_eq!(env().shorten(Path::new(path)), text);
        }
    }
}
