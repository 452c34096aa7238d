//! Headers of fragmented MP4 (ISO/IEC 14496-12) rewritten, so that tracks of several files share
//! one. Samples are never looked at.

use crate::container::{
    bytes::{be32, be64},
    fmp4::Init,
    mp4::{self, Tfhd, Trun, boxes, payload},
};

/// How a track's fragments change.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// The track's new id.
    pub(crate) id: u32,
    /// Added to its decode times.
    pub(crate) shift: i64,
    /// Its times are counted in other units.
    pub(crate) rescale: Option<Rescale>,
    /// Put in front of the first sample's bytes.
    pub(crate) prefix: Vec<u8>,
}

/// How a track's times become those of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rescale {
    /// Every time is multiplied by this.
    pub(crate) factor: u32,
    /// How long a sample lasts that states no duration, in old units (`trex`).
    pub(crate) default_duration: u32,
}

/// The beginning of a fragment, rewritten.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The `moof` and the header of the data, in place of the first `from` bytes.
    pub(crate) head: Vec<u8>,
    pub(crate) from: u64,
    /// What is inserted behind them, by offset in the old fragment.
    pub(crate) inserts: Vec<(u64, Vec<u8>)>,
}

/// One track of a joined file.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// Its init segment.
    pub(crate) init: &'a Init,
    /// Which track of it.
    pub(crate) track: usize,
    /// Its times are multiplied by this.
    pub(crate) factor: u32,
}

/// `ftyp` of what is joined.
const FTYP: &[u8] = b"\0\0\0\x1cftypiso5\0\0\x02\0iso5iso6mp41";

/// Rewrites the beginning of a fragment, which is a `moof` and at least the header of the `mdat`
/// behind it: another sequence number, and for each track the changes that `change` returns. It
/// begins at `at` of its file: data at absolute offsets (`base-data-offset`, ISO/IEC 14496-12,
/// 8.8.7) is counted from the `moof` from now on. `None` if it isn't one that can be rewritten: a
/// track that `change` doesn't know, data elsewhere.
pub(crate) fn rewrite(
    fragment: &[u8],
    at: u64,
    sequence: u32,
    change: &dyn Fn(u32) -> Option<Change>,
) -> Option<Rewritten> {
    let (_, range) = boxes(fragment).next().filter(|(kind, _)| kind == b"moof")?;
    let (body, end) = (&fragment[range.clone()], range.end);
    let mut inserts = Vec::new();
    for (kind, range) in boxes(body) {
        if &kind == b"traf" {
            inserts.extend(insert(&body[range], at, change)?);
        }
    }
    inserts.sort();
    let mut edit = Edit {
        at,
        growth: 0,
        inserts: &inserts,
        change,
    };
    let mut head = Vec::with_capacity(end + 64);
    // It is rewritten twice: the first time shows how much longer it gets, and with that where the
    // data is.
    for _ in 0..2 {
        head.clear();
        open(&mut head, b"moof");
        for (kind, range) in boxes(body) {
            let payload = &body[range];
            match &kind {
                b"mfhd" => {
                    let start = open(&mut head, &kind);
                    head.extend_from_slice(payload.get(..4)?);
                    head.extend_from_slice(&sequence.to_be_bytes());
                    close(&mut head, start)?;
                }
                b"traf" => edit.traf(&mut head, payload)?,
                _ => put(&mut head, &kind, payload)?,
            }
        }
        close(&mut head, 0)?;
        edit.growth = head.len() as i64 - end as i64;
    }
    let mut from = end;
    let longer: usize = inserts.iter().map(|(_, bytes)| bytes.len()).sum();
    if longer > 0 {
        let header = mp4::header(&fragment[end..])?;
        let (data, len) = (end as u64 + header.len, header.size?);
        let inside = inserts
            .iter()
            .all(|(at, _)| (data..end as u64 + len).contains(at));
        if &header.kind != b"mdat" || header.len != 8 || !inside {
            return None;
        }
        head.extend_from_slice(&u32::try_from(len + longer as u64).ok()?.to_be_bytes());
        head.extend_from_slice(b"mdat");
        from = data as usize;
    }
    Some(Rewritten {
        head,
        from: from as u64,
        inserts,
    })
}

/// Where a track's prefix goes: before its first sample.
fn insert(
    traf: &[u8],
    moof: u64,
    change: &dyn Fn(u32) -> Option<Change>,
) -> Option<Option<(u64, Vec<u8>)>> {
    let tfhd = Tfhd::parse(payload(traf, &[b"tfhd"])?)?;
    let prefix = change(tfhd.track)?.prefix;
    let Some(trun) = payload(traf, &[b"trun"]).filter(|_| !prefix.is_empty()) else {
        return Some(None);
    };
    // The run must say where it begins, and how long its first sample is.
    let run = Trun::parse(trun)?;
    let at = u64::try_from(i64::from(run.offset?) + tfhd.from(moof)?).ok()?;
    (run.flags & Trun::HAS_SIZE != 0 && run.count > 0).then_some(Some((at, prefix)))
}

/// What changes in a `moof`.
struct Edit<'a> {
    /// Where it was in its file.
    at: u64,
    /// By how much it gets longer.
    growth: i64,
    inserts: &'a [(u64, Vec<u8>)],
    change: &'a dyn Fn(u32) -> Option<Change>,
}

impl Edit<'_> {
    fn traf(&self, out: &mut Vec<u8>, traf: &[u8]) -> Option<()> {
        let old = Tfhd::parse(payload(traf, &[b"tfhd"])?)?;
        let change = (self.change)(old.track)?;
        let from = old.from(self.at)?;
        let start = open(out, b"traf");
        let mut first_run = true;
        for (kind, range) in boxes(traf) {
            let body = &traf[range];
            let inner = open(out, &kind);
            match &kind {
                b"tfhd" => {
                    let absolute = old.base.is_some();
                    let flags = if absolute {
                        old.flags & !Tfhd::HAS_BASE | Tfhd::BASE_IS_MOOF
                    } else {
                        old.flags
                    };
                    let version = u32::from(*body.first()?) << 24;
                    let rest = body.get(if absolute { 16 } else { 8 }..)?;
                    let Some(rescale) = change.rescale else {
                        out.extend_from_slice(&(version | flags).to_be_bytes());
                        out.extend_from_slice(&change.id.to_be_bytes());
                        out.extend_from_slice(rest);
                        close(out, inner)?;
                        continue;
                    };
                    // The duration stands behind the sample description's index.
                    let before = if old.flags & Tfhd::HAS_DESCRIPTION != 0 {
                        4
                    } else {
                        0
                    };
                    let after = before + if old.duration.is_some() { 4 } else { 0 };
                    let duration = old.duration.unwrap_or(rescale.default_duration);
                    let duration = duration.checked_mul(rescale.factor)?;
                    let flags = version | flags | Tfhd::HAS_DURATION;
                    out.extend_from_slice(&flags.to_be_bytes());
                    out.extend_from_slice(&change.id.to_be_bytes());
                    out.extend_from_slice(rest.get(..before)?);
                    out.extend_from_slice(&duration.to_be_bytes());
                    out.extend_from_slice(rest.get(after..)?);
                }
                b"tfdt" if change.shift != 0 || change.rescale.is_some() => {
                    let factor = change.rescale.map_or(1, |r| u64::from(r.factor));
                    let time = mp4::tfdt(body)?.checked_mul(factor)?;
                    out.extend_from_slice(&[1, 0, 0, 0]);
                    out.extend_from_slice(&time.saturating_add_signed(change.shift).to_be_bytes());
                }
                b"trun" => {
                    let run = Trun::parse(body)?;
                    // The first run began at the absolute offset, which is gone: so it must say
                    // itself now where it begins.
                    if first_run && old.base.is_some() && run.offset.is_none() {
                        return None;
                    }
                    let prefix = if first_run { change.prefix.len() } else { 0 };
                    let start = out.len();
                    self.trun(out, body, &run, from, prefix)?;
                    if let Some(rescale) = change.rescale {
                        rescale_run(out.get_mut(start..)?, &run, rescale.factor)?;
                    }
                    first_run = false;
                }
                _ => out.extend_from_slice(body),
            }
            close(out, inner)?;
        }
        close(out, start)
    }

    /// A run whose data counts from `from` behind the old `moof`'s start, and whose first sample
    /// gets longer by `prefix`.
    fn trun(
        &self,
        out: &mut Vec<u8>,
        body: &[u8],
        run: &Trun<'_>,
        from: i64,
        prefix: usize,
    ) -> Option<()> {
        let start = out.len();
        out.extend_from_slice(body);
        if let Some(offset) = run.offset {
            let old = i64::from(offset) + from;
            // Bytes that are inserted before its data move it; bytes inserted at its very start
            // belong to it.
            let moved = self
                .inserts
                .iter()
                .filter(|(at, _)| (*at as i64) < old)
                .map(|(_, b)| b.len() as i64);
            let new = i32::try_from(old + self.growth + moved.sum::<i64>()).ok()?;
            out.get_mut(start + 8..start + 12)?
                .copy_from_slice(&new.to_be_bytes());
        }
        if prefix > 0 {
            let has_duration = run.flags & Trun::HAS_DURATION != 0;
            let at = run.first_entry() + if has_duration { 4 } else { 0 };
            let size = be32(body, at)?.checked_add(prefix as u32)?;
            out.get_mut(start + at..start + at + 4)?
                .copy_from_slice(&size.to_be_bytes());
        }
        Some(())
    }
}

/// Multiplies the durations and composition offsets of a run's samples.
fn rescale_run(trun: &mut [u8], run: &Trun<'_>, factor: u32) -> Option<()> {
    let fields = [
        Trun::HAS_DURATION,
        Trun::HAS_SIZE,
        Trun::HAS_FLAGS,
        Trun::HAS_COMPOSITION,
    ];
    let there: Vec<u32> = fields.into_iter().filter(|f| run.flags & f != 0).collect();
    if factor == 1 || there.is_empty() {
        return Some(());
    }
    let entries = trun.get_mut(run.first_entry()..)?;
    for entry in entries
        .chunks_exact_mut(4 * there.len())
        .take(run.count as usize)
    {
        for (field, bytes) in there.iter().zip(entry.chunks_exact_mut(4)) {
            let old = be32(bytes, 0)?;
            let new = match *field {
                Trun::HAS_DURATION => old.checked_mul(factor)?,
                // Signed in version 1; a positive one is the same in both.
                Trun::HAS_COMPOSITION => {
                    let factor = i32::try_from(factor).ok()?;
                    old.cast_signed().checked_mul(factor)?.cast_unsigned()
                }
                _ => continue,
            };
            bytes.copy_from_slice(&new.to_be_bytes());
        }
    }
    Some(())
}

/// Begins a box; [`close`] fills in its length.
fn open(out: &mut Vec<u8>, kind: &[u8; 4]) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    start
}

fn close(out: &mut [u8], start: usize) -> Option<()> {
    let len = u32::try_from(out.len() - start).ok()?;
    out.get_mut(start..start + 4)?
        .copy_from_slice(&len.to_be_bytes());
    Some(())
}

fn put(out: &mut Vec<u8>, kind: &[u8; 4], payload: &[u8]) -> Option<()> {
    let start = open(out, kind);
    out.extend_from_slice(payload);
    close(out, start)
}

/// `ftyp` and `moov` of a file with these tracks, numbered from 1. `duration` in nanoseconds.
pub(crate) fn joined_init(sources: &[Source<'_>], duration: u64) -> Option<Vec<u8>> {
    let first = sources.first()?.init;
    let mut out = FTYP.to_vec();
    let moov = open(&mut out, b"moov");
    let mut mvhd = payload(&first.moov, &[b"mvhd"])?.to_vec();
    let next = mvhd.len().checked_sub(4)?;
    mvhd[next..].copy_from_slice(&(sources.len() as u32 + 1).to_be_bytes());
    put(&mut out, b"mvhd", &mvhd)?;
    for (id, source) in (1..).zip(sources) {
        let trak = open(&mut out, b"trak");
        joined_trak(&mut out, source, id, first.timescale)?;
        close(&mut out, trak)?;
    }
    let mvex = open(&mut out, b"mvex");
    let total = u128::from(duration) * u128::from(first.timescale) / 1_000_000_000;
    let mut mehd = vec![1, 0, 0, 0];
    mehd.extend_from_slice(&u64::try_from(total).ok()?.to_be_bytes());
    put(&mut out, b"mehd", &mehd)?;
    for (id, source) in (1_u32..).zip(sources) {
        let trex = source.init.trex(source.init.tracks.get(source.track)?.id);
        let mut trex = trex
            .filter(|t| t.len() >= 24)
            .map_or_else(|| no_trex().to_vec(), <[u8]>::to_vec);
        trex[4..8].copy_from_slice(&id.to_be_bytes());
        let duration = be32(&trex, 12)?.checked_mul(source.factor)?;
        trex[12..16].copy_from_slice(&duration.to_be_bytes());
        put(&mut out, b"trex", &trex)?;
    }
    close(&mut out, mvex)?;
    close(&mut out, moov)?;
    Some(out)
}

/// A `trex` that sets nothing but the first sample entry.
fn no_trex() -> [u8; 24] {
    let mut trex = [0; 24];
    trex[11] = 1;
    trex
}

fn joined_trak(out: &mut Vec<u8>, source: &Source<'_>, id: u32, timescale: u32) -> Option<()> {
    let trak = &source.init.moov[source.init.tracks.get(source.track)?.payload.clone()];
    for (kind, range) in boxes(trak) {
        let body = &trak[range];
        match &kind {
            b"tkhd" => {
                let at = mp4::track_id_at(body)?;
                let mut tkhd = body.to_vec();
                tkhd.get_mut(at..at + 4)?.copy_from_slice(&id.to_be_bytes());
                put(out, &kind, &tkhd)?;
            }
            b"edts" => {
                let start = open(out, &kind);
                for (kind, range) in boxes(body) {
                    let mut list = body[range].to_vec();
                    if &kind == b"elst" {
                        rescale_edits(&mut list, source, timescale)?;
                    }
                    put(out, &kind, &list)?;
                }
                close(out, start)?;
            }
            b"mdia" => {
                let start = open(out, &kind);
                for (kind, range) in boxes(body) {
                    let mut inner = body[range].to_vec();
                    if &kind == b"mdhd" {
                        rescale_header(&mut inner, source.factor)?;
                    }
                    put(out, &kind, &inner)?;
                }
                close(out, start)?;
            }
            _ => put(out, &kind, body)?,
        }
    }
    Some(())
}

/// Time scale and duration of a track.
fn rescale_header(mdhd: &mut [u8], factor: u32) -> Option<()> {
    let wide = *mdhd.first()? == 1;
    let at = if wide { 20 } else { 12 };
    let scale = be32(mdhd, at)?.checked_mul(factor)?;
    mdhd.get_mut(at..at + 4)?
        .copy_from_slice(&scale.to_be_bytes());
    if wide {
        let duration = be64(mdhd, 24)?.saturating_mul(factor.into());
        mdhd.get_mut(24..32)?
            .copy_from_slice(&duration.to_be_bytes());
    } else {
        let duration = be32(mdhd, 16)?.saturating_mul(factor);
        mdhd.get_mut(16..20)?
            .copy_from_slice(&duration.to_be_bytes());
    }
    Some(())
}

/// `segment_duration` counts in the movie's time scale, which is the first file's now; `media_time`
/// in the track's.
fn rescale_edits(elst: &mut [u8], source: &Source<'_>, to: u32) -> Option<()> {
    let from = source.init.timescale;
    let wide = *elst.first()? == 1;
    let (width, entry) = if wide { (8, 20) } else { (4, 12) };
    for edit in elst.get_mut(8..)?.chunks_exact_mut(entry) {
        let old = if wide {
            be64(edit, 0)?
        } else {
            be32(edit, 0)?.into()
        };
        let new = u128::from(old) * u128::from(to) / u128::from(from.max(1));
        let new = u64::try_from(new).ok()?.to_be_bytes();
        edit[..width].copy_from_slice(&new[8 - width..]);
        let time = if wide {
            be64(edit, 8)?.cast_signed()
        } else {
            be32(edit, 4)?.cast_signed().into()
        };
        // -1 is an empty edit.
        if time > 0 {
            let time = time.checked_mul(source.factor.into())?.to_be_bytes();
            edit[width..2 * width].copy_from_slice(&time[8 - width..]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atom(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, kind, payload).unwrap();
        out
    }

    /// A fragment that lies at 5000 of its file, with its data's place given by `tfhd` and `trun`.
    fn fragment(tfhd: &[u8], offset: i32) -> Vec<u8> {
        let trun = [
            &[0, 0, 2, 1, 0, 0, 0, 1][..],
            &offset.to_be_bytes(),
            &4_u32.to_be_bytes(),
        ]
        .concat();
        let traf = [atom(b"tfhd", tfhd), atom(b"trun", &trun)].concat();
        let moof = [atom(b"mfhd", &[0; 8]), atom(b"traf", &traf)].concat();
        [atom(b"moof", &moof), atom(b"mdat", b"data")].concat()
    }

    #[test]
    fn data_is_counted_from_the_fragment() {
        let change = |id| {
            (id == 1).then(|| Change {
                id: 7,
                ..Change::default()
            })
        };
        let relative = [&[0, 2, 0, 0][..], &1_u32.to_be_bytes()].concat();
        let absolute =
            |base: u64| [&[0, 0, 0, 1][..], &1_u32.to_be_bytes(), &base.to_be_bytes()].concat();
        let len = |tfhd: &[u8]| fragment(tfhd, 0).len() as i32 - 4;
        let cases = [
            (relative.clone(), len(&relative)),
            (absolute(5000), len(&absolute(0))),
            (absolute(0), 5000 + len(&absolute(0))),
            (absolute(5000 + len(&absolute(0)) as u64), 0),
        ];
        for (tfhd, offset) in cases {
            let old = fragment(&tfhd, offset);
            let new = rewrite(&old, 5000, 3, &change).unwrap();
            let bytes = [&new.head[..], &old[new.from as usize..]].concat();
            assert_eq!(
                bytes,
                rewrite(&fragment(&relative, len(&relative)), 0, 3, &change)
                    .map(|n| n.head)
                    .unwrap()
                    .into_iter()
                    .chain(atom(b"mdat", b"data"))
                    .collect::<Vec<_>>()
            );
        }
        assert_eq!(
            rewrite(&fragment(&absolute(u64::MAX), 0), 5000, 3, &change),
            None
        );
    }
}
