//! AMF 0, as far as FLV's `onMetaData` needs it (Adobe AMF 0 specification).

use std::ops::Range;

use super::{
    reader::{Reader, Step},
    text,
};

/// What `onMetaData` promises.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Seconds.
    pub(crate) duration: Option<f64>,
    /// Bytes.
    pub(crate) filesize: Option<u64>,
    pub(crate) title: Option<String>,
}

/// Reads the script tag in `range`. What can't be read is left out.
pub(crate) fn script(reader: &mut Reader, range: Range<u64>) -> Step<Script> {
    /// More properties than any writer sets; the rest is not read.
    const MOST: usize = 512;
    let mut script = Script::default();
    // A string "onMetaData", then an object (3) or an array (8, with a count).
    if reader.bytes(range.start, 13)? != b"\x02\0\x0aonMetaData" {
        return Ok(script);
    }
    let mut at = range.start + 13;
    at += match reader.u8(at)? {
        Some(8) => 5,
        Some(3) => 1,
        _ => return Ok(script),
    };
    for _ in 0..MOST {
        let Some(n) = reader.be16(at)?.filter(|_| at < range.end) else {
            break;
        };
        let name = reader.bytes(at + 2, n.into())?.to_vec();
        at += 2 + u64::from(n);
        let number = reader.array::<9>(at)?.and_then(|[kind, rest @ ..]| {
            let value = f64::from_be_bytes(rest);
            (kind == 0 && value.is_finite() && value > 0.0).then_some(value)
        });
        match name.as_slice() {
            b"duration" => script.duration = number,
            b"filesize" => script.filesize = number.map(|n| n as u64),
            b"title" if reader.u8(at)? == Some(2) => {
                let n = reader.be16(at + 1)?.unwrap_or(0);
                script.title = text::utf8(reader.bytes(at + 3, n.into())?);
            }
            _ => {}
        }
        match skip(reader, at, 0)? {
            Some(next) if next <= range.end => at = next,
            _ => break,
        }
    }
    Ok(script)
}

/// The place behind the value at `at`; `None` for a type whose length is not known.
fn skip(reader: &mut Reader, at: u64, depth: u8) -> Step<Option<u64>> {
    /// `keyframes` is an object of arrays of numbers; nothing nests deeper.
    const DEEPEST: u8 = 4;
    let Some(kind) = reader.u8(at)?.filter(|_| depth < DEEPEST) else {
        return Ok(None);
    };
    let at = at + 1;
    Ok(match kind {
        0 => Some(at + 8),
        1 => Some(at + 1),
        2 => reader.be16(at)?.map(|n| at + 2 + u64::from(n)),
        5 | 6 => Some(at),
        11 => Some(at + 10),
        12 => reader.be32(at)?.map(|n| at + 4 + u64::from(n)),
        3 | 8 => {
            let mut at = if kind == 8 { at + 4 } else { at };
            loop {
                let Some(n) = reader.be16(at)? else {
                    break None;
                };
                at += 2 + u64::from(n);
                if n == 0 && reader.u8(at)? == Some(9) {
                    break Some(at + 1);
                }
                match skip(reader, at, depth + 1)? {
                    Some(next) => at = next,
                    None => break None,
                }
            }
        }
        10 => {
            let Some(n) = reader.be32(at)? else {
                return Ok(None);
            };
            let mut at = at + 4;
            for _ in 0..n {
                match skip(reader, at, depth + 1)? {
                    Some(next) => at = next,
                    None => return Ok(None),
                }
            }
            Some(at)
        }
        _ => None,
    })
}
