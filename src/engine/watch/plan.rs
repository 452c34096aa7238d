//! What to watch for: the rules, the configuration and the library as patterns of folders and
//! names, compiled.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::rule::{Matcher, Rule, Source};

/// A change outside the rules that matters to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The configuration file was written or replaced.
    Configuration,
    /// The library folder is there (again).
    Library,
    /// A sandbox seems to start: its launcher made a socket or a folder.
    Sandbox,
}

/// Where launchers of sandboxes leave something when they start one, below `$XDG_RUNTIME_DIR`: bus
/// proxies of WebKitGTK (XDGDBusProxy.cpp) and GNOME's portal, and Flatpak's instances
/// (flatpak-run(1)).
const LAUNCHERS: [&str; 3] = ["webkitgtk", ".dbus-proxy", ".flatpak"];

/// What a name in a watched folder stands for.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Rule(Arc<Rule>),
    Change(Change),
}

/// What to watch for: folder patterns and file names.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) target: Target,
    pub(super) names: Arc<Matcher>,
    pub(super) folders: Vec<Vec<Component>>,
    pub(super) recursive: bool,
    /// Its globs match the names that O_TMPFILE files go by (`#INODE`).
    pub(super) nameless: bool,
}

impl Watched {
    /// Whether a file may be written to again under a name that is there already: then its close is
    /// the only event. A temporary file has a new name each time, and closes of the thousands of
    /// files that are not ours cost.
    pub(super) fn reuses_names(&self) -> bool {
        match &self.target {
            Target::Rule(rule) => rule.recursive || rule.source != Source::Temporary,
            Target::Change(_) => true,
        }
    }
}

#[derive(Debug)]
pub(super) enum Component {
    Literal(OsString),
    Glob(Matcher),
}

/// Everything to watch for, compiled.
#[derive(Debug, Default)]
pub(crate) struct WatchPlan {
    pub(super) watched: Vec<Arc<Watched>>,
    pub(crate) library: PathBuf,
    pub(crate) rules: Vec<Arc<Rule>>,
}

impl WatchPlan {
    /// Compiles rules, the configuration's path and the library.
    pub(crate) fn new(
        rules: &[Rule],
        library: &Path,
        configuration: Option<&Path>,
        runtime: Option<&Path>,
    ) -> Result<Self, globset::Error> {
        let rules: Vec<_> = rules.iter().cloned().map(Arc::new).collect();
        let mut watched = Vec::new();
        for rule in &rules {
            watched.push(Arc::new(Watched {
                target: Target::Rule(rule.clone()),
                names: Arc::new(Matcher::new(&rule.files)?),
                folders: rule
                    .folders
                    .iter()
                    .map(|folder| components(folder))
                    .collect::<Result<_, _>>()?,
                recursive: rule.recursive,
                nameless: Matcher::new(&rule.files)?.matches(OsStr::new("#18446744073709551557")),
            }));
        }
        for (path, change) in [
            (configuration, Change::Configuration),
            (Some(library), Change::Library),
        ] {
            let Some((parent, name)) = path.and_then(|p| p.parent().zip(p.file_name()?.to_str()))
            else {
                continue;
            };
            watched.push(Arc::new(Watched {
                target: Target::Change(change),
                names: Arc::new(Matcher::new(&[globset::escape(name)])?),
                folders: vec![parent.components().filter_map(literal).collect()],
                recursive: false,
                nameless: false,
            }));
        }
        let wants_sandboxes = watched
            .iter()
            .any(|w| w.folders.iter().any(|f| private(f).is_some()));
        if let Some(runtime) = runtime.filter(|_| wants_sandboxes) {
            let launcher = |name| {
                runtime
                    .join(name)
                    .components()
                    .filter_map(literal)
                    .collect()
            };
            watched.push(Arc::new(Watched {
                target: Target::Change(Change::Sandbox),
                names: Arc::new(Matcher::new(&["*".into()])?),
                folders: LAUNCHERS.into_iter().map(launcher).collect(),
                recursive: false,
                nameless: false,
            }));
        }
        Ok(Self {
            watched,
            library: library.into(),
            rules,
        })
    }
}

pub(super) fn literal(component: std::path::Component<'_>) -> Option<Component> {
    match component {
        std::path::Component::Normal(name) => Some(Component::Literal(name.into())),
        _ => None,
    }
}

fn components(folder: &str) -> Result<Vec<Component>, globset::Error> {
    let parts = folder.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.contains(['*', '?', '[', '{']) {
            true => Ok(Component::Glob(Matcher::new(&[part.into()])?)),
            false => Ok(Component::Literal(part.into())),
        })
        .collect()
}

/// What follows `/proc/*/root` in a folder pattern.
pub(super) fn private(components: &[Component]) -> Option<&[Component]> {
    match components {
        [
            Component::Literal(proc),
            Component::Glob(_),
            Component::Literal(root),
            rest @ ..,
        ] if proc == "proc" && root == "root" => Some(rest),
        _ => None,
    }
}

pub(super) fn same_literal(a: &Component, b: &Component) -> bool {
    matches!((a, b), (Component::Literal(a), Component::Literal(b)) if a == b)
}
