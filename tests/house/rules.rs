//! Holds what modules use against the table of what they may use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::imports::{Imports, Module};

/// Rooms, and what each of them may import: "everything", "nothing", or names, all separated by
/// single spaces. A room's name stands for all that is in it.
pub(crate) type Row = (&'static str, &'static str);

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A module imports another room that its own may not know.
    Import { from: String, to: String },
    /// A module is one of those files of a folder, or of those rooms, that import each other.
    Circle { module: String },
    /// The table has no row for a room.
    Unknown { room: String },
}

impl Fault {
    pub(crate) fn import(from: &str, to: &str) -> Self {
        let (from, to) = (from.to_owned(), to.to_owned());
        Self::Import { from, to }
    }

    pub(crate) fn circle(module: &str) -> Self {
        let module = module.to_owned();
        Self::Circle { module }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Import { from, to } => write!(f, "{from} imports {to}"),
            Self::Circle { module } => write!(f, "{module} is part of a circle"),
            Self::Unknown { room } => write!(f, "{room} has no row in the table"),
        }
    }
}

/// All faults of a tree.
pub(crate) fn faults(imports: &Imports, table: &[Row]) -> BTreeSet<Fault> {
    let edges = imports.edges();
    let unknown = imports
        .rooms()
        .into_iter()
        .filter(|room| may_import(table, room).is_none())
        .map(|room| Fault::Unknown { room: room.into() });
    let forbidden = edges
        .iter()
        .filter(|(from, to)| !allowed(table, from, to))
        .map(|(from, to)| Fault::import(&from.join("::"), &to.join("::")));
    let circles = circles(&edges)
        .into_iter()
        .map(|module| Fault::circle(&module.join("::")));
    unknown.chain(forbidden).chain(circles).collect()
}

/// What a room may import; `None` if the table has no row for it.
pub(crate) fn may_import(table: &[Row], room: &str) -> Option<&'static str> {
    let has = |(rooms, _): &&Row| rooms.split(' ').any(|name| name == room);
    table.iter().find(has).map(|row| row.1)
}

fn allowed(table: &[Row], from: &Module, to: &Module) -> bool {
    let (Some(own), Some(other)) = (from.first(), to.first()) else {
        return true;
    };
    let to = to.join("::");
    let leads_to = |name: &str| {
        to.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    own == other
        || may_import(table, own)
            .is_none_or(|names| names == "everything" || names.split(' ').any(leads_to))
}

/// The files of one folder, and the rooms of the crate, that import each other in a circle. What
/// lies in a folder counts as that folder's. A folder's own file (`mod.rs`) is left out: it
/// declares the others, and may hold what they share.
fn circles(edges: &BTreeSet<(Module, Module)>) -> BTreeSet<Module> {
    let mut siblings: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, to) in edges {
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if from.len() > common && to.len() > common {
            siblings
                .entry(from[..=common].to_vec())
                .or_default()
                .insert(to[..=common].to_vec());
        }
    }
    siblings
        .keys()
        .filter(|module| reaches_itself(module, &siblings))
        .cloned()
        .collect()
}

fn reaches_itself(start: &Module, edges: &BTreeMap<Module, BTreeSet<Module>>) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![start];
    while let Some(module) = waiting.pop() {
        for next in edges.get(module).into_iter().flatten() {
            if next == start {
                return true;
            }
            if seen.insert(next) {
                waiting.push(next);
            }
        }
    }
    false
}
