//! The pieces that were asked for, as bytes of bodies, and what they must have in common to share a
//! file.

use std::{collections::HashMap, io, ops::Range, time::Duration};

use crate::{
    container::{fmp4, ts},
    stream::{Body, Init, Piece, Pieces, Ref, Slot, address},
};

/// Why a fragment can't be used without its `moov`.
pub(crate) const NO_INIT: &str = "without its initialisation segment";

/// A filled slot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilledSlot {
    pub(crate) of: BodyRange,
    pub(crate) init: Option<BodyRange>,
    pub(crate) start: Duration,
    pub(crate) duration: Duration,
    pub(crate) discontinuity: u32,
}

impl FilledSlot {
    /// Where its tracks are declared: in its initialisation segment, or in its own bytes.
    pub(crate) fn head(&self) -> &BodyRange {
        self.init.as_ref().unwrap_or(&self.of)
    }
}

/// Bytes of a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BodyRange {
    /// Index into [`Choice::bodies`](super::Choice::bodies).
    pub(crate) body: usize,
    pub(crate) range: Range<u64>,
}

/// Pieces that were asked for, each body once.
pub(super) struct BodyTable<'a> {
    pieces: &'a dyn Pieces,
    pub(super) bodies: Vec<Body>,
    known: HashMap<*const Piece, usize>,
    /// Bytes that stand in an address itself, by address.
    inline: HashMap<String, Option<usize>>,
    /// The form of each initialisation segment that was looked at.
    forms: HashMap<BodyRange, Option<Form>>,
}

impl<'a> BodyTable<'a> {
    pub(super) fn new(pieces: &'a dyn Pieces) -> Self {
        Self {
            pieces,
            bodies: Vec::new(),
            known: HashMap::new(),
            inline: HashMap::new(),
            forms: HashMap::new(),
        }
    }

    pub(super) fn place(&mut self, of: &Ref) -> Option<BodyRange> {
        if of.url.starts_with("data:") {
            return self.inline(of);
        }
        let piece = self.pieces.get(of)?;
        // A compressed body's bytes are not the segment's.
        if piece.encoding.as_deref().is_some_and(|e| e != "identity") {
            return None;
        }
        let range = of.range.clone().unwrap_or(0..piece.body.len());
        if range.is_empty() || !piece.body.has(&range) {
            return None;
        }
        let body = *self.known.entry(piece).or_insert_with(|| {
            self.bodies.push(piece.body.clone());
            self.bodies.len() - 1
        });
        Some(BodyRange { body, range })
    }

    /// Places bytes that stand in the playlist itself.
    fn inline(&mut self, of: &Ref) -> Option<BodyRange> {
        if !self.inline.contains_key(&of.url) {
            let body = address::inline(&of.url).map(|bytes| {
                self.bodies.push(Body::bytes(bytes));
                self.bodies.len() - 1
            });
            self.inline.insert(of.url.clone(), body);
        }
        let body = self.inline[&of.url]?;
        let all = 0..self.bodies[body].len();
        let range = of.range.clone().unwrap_or(all.clone());
        (range.start < range.end && range.end <= all.end).then_some(BodyRange { body, range })
    }

    pub(super) fn fill(&mut self, slot: &Slot) -> Result<FilledSlot, &'static str> {
        if slot.protected.is_some() {
            return Err("encrypted");
        }
        let init = match &slot.init {
            Init::Own => None,
            Init::At(init) => Some(self.place(init).ok_or(NO_INIT)?),
            Init::Unknown => return Err(NO_INIT),
        };
        let of = slot.of.as_ref().ok_or("not in the stream")?;
        let of = self.place(of).ok_or("never loaded")?;
        let (start, duration, discontinuity) = (slot.start, slot.duration, slot.discontinuity);
        Ok(FilledSlot {
            of,
            init,
            start,
            duration,
            discontinuity,
        })
    }

    /// The form of a slot: slots of another form can't share a file with it. `None` if it isn't
    /// known.
    pub(super) fn form(&mut self, slot: &FilledSlot) -> Option<Form> {
        let place = slot.head();
        if let Some(known) = self.forms.get(place) {
            return known.clone();
        }
        let form = Form::read(&self.bodies[place.body], place.range.clone()).unwrap_or_default();
        self.forms.insert(place.clone(), form.clone());
        form
    }
}

/// What pieces of one file must have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Of each track its kind, its codec, and for sound how it is sampled.
    Mp4(Vec<([u8; 4], fmp4::Layout, Option<u32>)>),
    /// The kinds of the streams.
    Ts(Vec<u8>),
}

impl Form {
    fn read(body: &Body, range: Range<u64>) -> io::Result<Option<Self>> {
        let open = body.open()?;
        if let Some(head) = ts::head(&open, range.clone())? {
            let program = head.program;
            return Ok(program.map(|p| Self::Ts(p.streams.iter().map(|s| s.kind).collect())));
        }
        let init = fmp4::init(&open, range)?;
        Ok(init.map(|init| {
            let track = |(i, t): (usize, &fmp4::Trak)| {
                let sampled = (&t.handler == b"soun").then_some(t.timescale);
                (t.handler, init.parameter_sets(i).layout(), sampled)
            };
            Self::Mp4(init.tracks.iter().enumerate().map(track).collect())
        }))
    }
}
