//! Held pieces by address.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Instant,
};

use crate::stream::{
    Piece, Pieces, Ref,
    address::file_name,
    cache::classify::Class,
    playlist::order::{Probe, probe},
};

/// The caller's number for a held entry.
pub type EntryId = u64;

/// A piece, and which held files it is made of.
#[derive(Debug)]
pub struct HeldPiece {
    /// The piece.
    pub piece: Piece,
    /// What part it may play in a stream.
    pub class: Class,
    /// When it arrived.
    pub at: Instant,
    /// The files to let go when it is no longer needed.
    pub ids: Vec<EntryId>,
    /// The times in it, once they were asked for.
    probe: OnceLock<Option<Probe>>,
}

impl HeldPiece {
    /// A piece that arrived at `at`.
    pub fn new(piece: Piece, class: Class, at: Instant, ids: Vec<EntryId>) -> Self {
        Self {
            piece,
            class,
            at,
            ids,
            probe: OnceLock::new(),
        }
    }

    /// Whether it has every byte of `of`, whatever its address.
    pub fn fits(&self, of: &Ref) -> bool {
        let body = &self.piece.body;
        match &of.range {
            Some(range) => body.has(range),
            None => body.is_whole() && !body.is_empty(),
        }
    }

    /// The times and tracks in it, which give its place if no playlist does. Looks inside the first
    /// time.
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
pub struct PieceIndex {
    /// By exact address, the newest last.
    exact: HashMap<String, Vec<Arc<HeldPiece>>>,
    /// The exact addresses of one file name.
    named: HashMap<String, Vec<String>>,
}

impl PieceIndex {
    /// Adds a piece.
    pub fn put(&mut self, kept: Arc<HeldPiece>) {
        let url = &kept.piece.url;
        if !self.exact.contains_key(url) {
            let named = self.named.entry(file_name(url).into()).or_default();
            named.push(url.clone());
        }
        self.exact.entry(url.clone()).or_default().push(kept);
    }

    /// Removes a piece.
    pub fn take(&mut self, kept: &Arc<HeldPiece>) {
        let url = &kept.piece.url;
        let Some(same) = self.exact.get_mut(url) else {
            return;
        };
        same.retain(|k| !Arc::ptr_eq(k, kept));
        if !same.is_empty() {
            return;
        }
        self.exact.remove(url);
        if let Some(named) = self.named.get_mut(file_name(url)) {
            named.retain(|known| known != url);
            if named.is_empty() {
                self.named.remove(file_name(url));
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
    }

    /// The pieces, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<HeldPiece>> {
        self.exact.values().flatten()
    }

    /// As [`Pieces::get`].
    pub fn find(&self, of: &Ref) -> Option<&Arc<HeldPiece>> {
        self.exact.get(&of.url)?.iter().rev().find(|k| k.fits(of))
    }

    /// The pieces whose path ends in that name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Arc<HeldPiece>> {
        let urls = self.named.get(name).into_iter().flatten();
        urls.filter_map(|url| self.exact.get(url)).flatten()
    }
}

impl Pieces for PieceIndex {
    fn get(&self, of: &Ref) -> Option<&Piece> {
        self.find(of).map(|kept| &kept.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Body;

    fn piece(url: &str, body: &[u8]) -> Arc<HeldPiece> {
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
        Arc::new(HeldPiece::new(
            piece,
            Class::Segment,
            Instant::now(),
            Vec::new(),
        ))
    }

    #[test]
    fn by_exact_address_and_the_newest() {
        let mut index = PieceIndex::default();
        let pieces = [
            piece("http://a/1?m=1", b"one"),
            piece("http://a/1?m=2", b"two!"),
            piece("http://a/1?m=2", b"three"),
        ];
        for p in &pieces {
            index.put(p.clone());
        }
        let len = |index: &PieceIndex, url: &str, range| {
            let of = Ref {
                url: url.into(),
                range,
            };
            index.get(&of).map(|p| p.body.len())
        };
        assert_eq!(len(&index, "http://a/1?m=1", None), Some(3));
        assert_eq!(len(&index, "http://a/1?m=2", None), Some(5));
        assert_eq!(len(&index, "http://a/1?m=2", Some(0..5)), Some(5));
        assert_eq!(len(&index, "http://a/1?m=1", Some(0..4)), None, "too short");
        assert_eq!(len(&index, "http://a/1", None), None, "another parameter");
        assert_eq!(index.named("1").count(), 3);
        index.take(&pieces[2]);
        assert_eq!(len(&index, "http://a/1?m=2", None), Some(4));
        index.take(&pieces[0]);
        index.take(&pieces[1]);
        assert!(index.is_empty() && index.named.is_empty());
    }
}
