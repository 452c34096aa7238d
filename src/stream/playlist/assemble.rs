//! From stored playlists to videos.

use std::collections::{HashMap, HashSet};

use super::{
    dash,
    hls::{self, Master, Media, Playlist},
};
use crate::stream::{Assembly, Document, Pieces, Ref, address::identity};

/// The videos that `documents`, the playlists of one partition, describe: one for each outermost
/// playlist. Versions of a live playlist are united. What can't be used is left out.
pub fn assemble(documents: &[Document], pieces: &dyn Pieces) -> Vec<Assembly> {
    let (manifests, playlists): (Vec<_>, Vec<_>) = documents.iter().partition(|d| is_manifest(d));
    let mut assemblies: Vec<Assembly> = manifests
        .into_iter()
        .filter_map(|d| manifest(d, pieces))
        .collect();
    let mut masters: Vec<Master> = Vec::new();
    let mut lists: Vec<Media> = Vec::new();
    let held = |of: &Ref| pieces.get(of).is_some();
    for document in playlists {
        let mut united: Vec<Media> = Vec::new();
        let mut master = None;
        for version in &document.versions {
            match hls::parse(version.as_bytes(), &document.url) {
                Ok(Playlist::Master(m)) => master = Some(m),
                // Another stream at the same address stays by itself.
                Ok(Playlist::Media(m)) => {
                    if !united.last_mut().is_some_and(|last| last.unite(&m, &held)) {
                        united.push(m);
                    }
                }
                Err(e) => tracing::debug!("{}: {e}", document.url),
            }
        }
        masters.extend(master);
        lists.extend(united);
    }
    // For an address in a multivariant playlist, the newest playlist of that address is taken. One
    // whose address differs in its credentials is taken if it is the only one, and if no playlist
    // names it exactly.
    let exact: HashMap<&str, &Media> = lists.iter().map(|m| (&*m.url, m)).collect();
    let mut alike: HashMap<String, Vec<&Media>> = HashMap::new();
    for media in exact.values() {
        alike.entry(identity(&media.url)).or_default().push(media);
    }
    let find = |url: &str| {
        let alike = || match alike.get(&identity(url)).map(Vec::as_slice) {
            Some([one]) => Some(*one),
            _ => None,
        };
        exact.get(url).copied().or_else(alike)
    };
    let mut named = HashSet::new();
    for master in &masters {
        if let Some(assembly) = master.assembly(find) {
            named.extend(master.playlists().filter_map(find).map(|m| m.url.clone()));
            assemblies.push(assembly);
        }
    }
    let alone = |m: &&Media| {
        !named.contains(&m.url)
            || exact
                .get(&*m.url)
                .is_some_and(|newest| !std::ptr::eq(*newest, *m))
    };
    assemblies.extend(lists.iter().filter(alone).map(Media::assembly));
    assemblies
}

fn is_manifest(document: &Document) -> bool {
    document.versions.last().is_some_and(|text| {
        text.trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('<')
    })
}

/// What all versions of a manifest list together.
fn manifest(document: &Document, pieces: &dyn Pieces) -> Option<Assembly> {
    let mut whole: Option<Assembly> = None;
    for version in &document.versions {
        match (
            dash::assembly(version.as_bytes(), &document.url, pieces),
            &mut whole,
        ) {
            (Ok(later), Some(earlier)) => dash::unite(earlier, later),
            (Ok(first), None) => whole = Some(first),
            (Err(e), _) => tracing::debug!("{}: {e}", document.url),
        }
    }
    let mut whole = whole?;
    dash::from_zero(&mut whole);
    Some(whole)
}
