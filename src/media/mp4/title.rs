//! The title that a film carries: iTunes' `ilst`, QuickTime's `udta/©nam` and `meta/keys`, 3GPP's
//! `titl`.

use super::boxes::{Head, children};
use crate::media::{
    reader::{Reader, Step},
    text,
};

/// Looks into `udta` or `meta`.
pub(crate) fn find(reader: &mut Reader, parent: &Head) -> Step<Option<String>> {
    if &parent.kind == b"meta" {
        return meta(reader, parent);
    }
    for head in children(reader, parent.body())? {
        let found = match &head.kind {
            b"meta" => meta(reader, &head)?,
            // QuickTime: length (16 bits), language (16 bits), text.
            b"\xa9nam" => match reader.be16(head.body)? {
                Some(n) => text::utf8(reader.bytes(head.body + 4, n.into())?),
                None => None,
            },
            // 3GPP TS 26.244, 8.2: version and flags, language, text.
            b"titl" => text::any(reader.bytes(head.body + 6, length(head.body + 6, head.end))?),
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn meta(reader: &mut Reader, meta: &Head) -> Step<Option<String>> {
    // ISO's `meta` has version and flags, QuickTime's has none: then its first child's type stands
    // at 4.
    let plain = reader
        .array::<4>(meta.body + 4)?
        .is_some_and(|kind| matches!(&kind, b"hdlr" | b"keys" | b"ilst"));
    let inside = children(reader, meta.body + if plain { 0 } else { 4 }..meta.end)?;
    let key = match inside.iter().find(|h| &h.kind == b"keys") {
        Some(keys) => title_key(reader, keys)?,
        None => None,
    };
    let Some(ilst) = inside.iter().find(|h| &h.kind == b"ilst") else {
        return Ok(None);
    };
    let mut at = ilst.body;
    // Items of `keys` are numbered, not named: their types are no text, so they are walked by hand.
    while let Some([a, b, c, d, kind @ ..]) = reader.array::<8>(at)? {
        let end = at.saturating_add(u32::from_be_bytes([a, b, c, d]).into());
        if end < at + 8 || end > ilst.end {
            break;
        }
        if &kind == b"\xa9nam" || key.is_some_and(|k| k == u32::from_be_bytes(kind)) {
            let data = children(reader, at + 8..end)?;
            if let Some(data) = data.iter().find(|h| &h.kind == b"data") {
                // Type and locale come before the text.
                return Ok(text::utf8(
                    reader.bytes(data.body + 8, length(data.body + 8, data.end))?,
                ));
            }
        }
        at = end;
    }
    Ok(None)
}

/// Number of the key that means the title.
fn title_key(reader: &mut Reader, keys: &Head) -> Step<Option<u32>> {
    /// More keys than any file has; the rest is not read.
    const MOST: u32 = 256;
    let count = reader.be32(keys.body + 4)?.unwrap_or(0).min(MOST);
    let mut at = keys.body + 8;
    for i in 1..=count {
        let Some(size) = reader.be32(at)?.filter(|&s| s >= 8) else {
            break;
        };
        if matches!(
            reader.bytes(at + 8, (size - 8) as usize)?,
            b"com.apple.quicktime.title" | b"title"
        ) {
            return Ok(Some(i));
        }
        at += u64::from(size);
    }
    Ok(None)
}

fn length(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}
