//! Held pieces by address.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Instant,
};

use crate::stream::{
    Piece, Pieces, Ref,
    cache::classify::Class,
    playlist::{
        address::without_query,
        order::{Probe, probe},
    },
};

/// Tells the held files of one run apart; the caller's numbers.
pub type Id = u64;

/// A piece, and which held files it is made of.
#[derive(Debug)]
pub struct Kept {
    /// The piece.
    pub piece: Piece,
    /// What it is to a stream.
    pub class: Class,
    /// When it arrived.
    pub at: Instant,
    /// The files to let go when it is no longer needed.
    pub ids: Vec<Id>,
    /// The times in it, once they were asked for.
    probe: OnceLock<Option<Probe>>,
}

impl Kept {
    /// A piece that arrived at `at`.
    pub fn new(piece: Piece, class: Class, at: Instant, ids: Vec<Id>) -> Self {
        Self {
            piece,
            class,
            at,
            ids,
            probe: OnceLock::new(),
        }
    }

    /// What tells its place where no playlist does. Looks inside the first time.
    pub fn probe(&self) -> Option<&Probe> {
        let look = || {
            probe(&self.piece)
                .inspect_err(|e| tracing::debug!("{}: {e}", self.piece.url))
                .ok()
                .flatten()
        };
        self.probe.get_or_init(look).as_ref()
    }
}

/// Pieces of one browser, profile and partition, to be looked up by what a playlist names.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// By exact address, the newest last.
    exact: HashMap<String, Vec<Arc<Kept>>>,
    /// The exact addresses of one without the query, the newest last.
    bare: HashMap<String, Vec<String>>,
}

impl Shelf {
    /// Puts a piece on the shelf.
    pub fn put(&mut self, kept: Arc<Kept>) {
        let url = &kept.piece.url;
        let bare = self.bare.entry(without_query(url).into()).or_default();
        bare.retain(|known| known != url);
        bare.push(url.clone());
        self.exact.entry(url.clone()).or_default().push(kept);
    }

    /// Takes a piece off the shelf.
    pub fn take(&mut self, kept: &Arc<Kept>) {
        let url = &kept.piece.url;
        let Some(same) = self.exact.get_mut(url) else {
            return;
        };
        same.retain(|k| !Arc::ptr_eq(k, kept));
        if same.is_empty() {
            self.exact.remove(url);
            let key = without_query(url);
            if let Some(bare) = self.bare.get_mut(key) {
                bare.retain(|known| known != url);
                if bare.is_empty() {
                    self.bare.remove(key);
                }
            }
        }
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// The pieces, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kept>> {
        self.exact.values().flatten()
    }

    /// As [`Pieces::get`].
    pub fn find(&self, of: &Ref) -> Option<&Arc<Kept>> {
        let fits = |kept: &&Arc<Kept>| match &of.range {
            Some(range) => kept.piece.body.has(range),
            None => kept.piece.body.is_whole() && !kept.piece.body.is_empty(),
        };
        let among = |url: &String| {
            self.exact
                .get(url)
                .and_then(|same| same.iter().rev().find(fits))
        };
        among(&of.url).or_else(|| {
            self.bare
                .get(without_query(&of.url))?
                .iter()
                .rev()
                .find_map(among)
        })
    }

    /// Every piece of that address, whatever its query, whole or not.
    pub fn of(&self, url: &str) -> impl Iterator<Item = &Arc<Kept>> {
        let bare = self.bare.get(without_query(url)).into_iter().flatten();
        bare.filter_map(|url| self.exact.get(url)).flatten()
    }
}

impl Pieces for Shelf {
    fn get(&self, of: &Ref) -> Option<&Piece> {
        self.find(of).map(|kept| &kept.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Body;

    fn piece(url: &str, body: &[u8]) -> Arc<Kept> {
        let piece = Piece {
            url: url.into(),
            partition: String::new(),
            status: 200,
            content_type: None,
            encoding: None,
            validator: None,
            file_name: None,
            body: Body::bytes(body),
        };
        Arc::new(Kept::new(piece, Class::Segment, Instant::now(), Vec::new()))
    }

    #[test]
    fn by_exact_address_else_without_the_query_and_the_newest() {
        let mut shelf = Shelf::default();
        let pieces = [
            piece("http://a/1?t=1", b"one"),
            piece("http://a/1?t=2", b"two!"),
            piece("http://a/1?t=2", b"three"),
        ];
        for p in &pieces {
            shelf.put(p.clone());
        }
        let len = |shelf: &Shelf, url: &str, range| {
            shelf
                .get(&Ref {
                    url: url.into(),
                    range,
                })
                .map(|p| p.body.len())
        };
        assert_eq!(len(&shelf, "http://a/1?t=1", None), Some(3));
        assert_eq!(len(&shelf, "http://a/1?t=2", None), Some(5));
        assert_eq!(len(&shelf, "http://a/1?t=3", None), Some(5));
        assert_eq!(
            len(&shelf, "http://a/1?t=1", Some(0..4)),
            Some(5),
            "the exact one is too short"
        );
        assert_eq!(len(&shelf, "http://a/2", None), None);
        assert_eq!(shelf.of("http://a/1").count(), 3);
        shelf.take(&pieces[2]);
        assert_eq!(len(&shelf, "http://a/1", None), Some(4));
        shelf.take(&pieces[0]);
        shelf.take(&pieces[1]);
        assert!(shelf.is_empty() && shelf.bare.is_empty());
    }
}
