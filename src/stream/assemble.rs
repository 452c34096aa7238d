//! From stored playlists to videos.

use std::collections::{HashMap, HashSet};

use super::{
    Assembly, Document, Pieces,
    address::without_query,
    hls::{self, Master, Media, Playlist},
};

/// The videos that `documents`, playlists of one room, tell of: each outermost playlist's. Versions of a live
/// playlist are united. What can't be used is left out.
pub fn assemble(documents: &[Document], pieces: &dyn Pieces) -> Vec<Assembly> {
    let _ = pieces;
    let mut masters: Vec<Master> = Vec::new();
    let mut lists: Vec<Media> = Vec::new();
    for document in documents {
        let mut united: Vec<Media> = Vec::new();
        let mut master = None;
        for version in &document.versions {
            match hls::parse(version.as_bytes(), &document.url) {
                Ok(Playlist::Master(m)) => master = Some(m),
                // A number that names another segment than before: another stream at the same address.
                Ok(Playlist::Media(m)) => {
                    if !united.last_mut().is_some_and(|last| last.unite(&m)) {
                        united.push(m);
                    }
                }
                Err(e) => tracing::debug!("{}: {e}", document.url),
            }
        }
        masters.extend(master);
        lists.extend(united);
    }
    // The newest of an address counts for what a multivariant playlist names.
    let exact: HashMap<&str, &Media> = lists.iter().map(|m| (&*m.url, m)).collect();
    let bare: HashMap<&str, &Media> = lists.iter().map(|m| (without_query(&m.url), m)).collect();
    let find = |url: &str| exact.get(url).or_else(|| bare.get(without_query(url))).copied();
    let mut named = HashSet::new();
    let mut assemblies = Vec::new();
    for master in &masters {
        if let Some(assembly) = master.assembly(find) {
            named.extend(master.playlists().filter_map(find).map(|m| m.url.clone()));
            assemblies.push(assembly);
        }
    }
    let alone = |m: &&Media| {
        !named.contains(&m.url) || exact.get(&*m.url).is_some_and(|newest| !std::ptr::eq(*newest, *m))
    };
    assemblies.extend(lists.iter().filter(alone).map(Media::assembly));
    assemblies
}
